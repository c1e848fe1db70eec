//! What happens when: the rules of merging, a case each. The modules are their subjects, the names of the tests the
//! rules; how a case is written is told in `case.rs`, and how it is run in `case/play.rs`.

mod case;

mod constraints_self;
mod copies;
mod counters;
mod deletes;
mod inserted_over;
mod keys;
mod kinds;
mod odd_schemas;
mod rebuilt;
mod references;
mod renames;
mod schema;
mod triggers;
mod triggers_that_write;
mod unique;
mod values;
