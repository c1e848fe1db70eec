//! What happens when: the rules of merging, a case each. The modules are their subjects, the names of the tests the
//! rules. README.md lists the rules with their tests, and `page` holds it to that; `case.rs` says how a case is written,
//! `case/play.rs` how it is run.

mod case;

mod constraints_self;
mod copies;
mod counters;
mod deletes;
mod inserted_over;
mod keys;
mod kinds;
mod odd_schemas;
mod page;
mod rebuilt;
mod references;
mod renames;
mod schema;
mod triggers;
mod triggers_that_write;
mod unique;
mod values;
