//! Scenarios with two replicas or a relay: the modules are their subjects, the names of the tests their claims.

mod api;
mod bad_input;
mod bad_network;
mod conflicts;
mod copies;
mod counters;
mod crash;
mod every_write;
mod files_changed;
mod kills;
mod misfits;
mod odd_schemas;
mod parking;
mod planted;
mod presence;
mod real_data;
mod renames;
mod schema_rollout;
mod soak;
mod texts;
mod three_replicas;
mod transactions_whole;
mod triggers;
mod values;
mod verify;
