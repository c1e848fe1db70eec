//! What happens when: the rules of merging, a case each. The modules are their subjects, the names of the tests the
//! rules; how a case is written and run is told in `case.rs`.

mod case;

mod copies;
mod deletes;
mod keys;
mod schema;
mod triggers;
mod values;
