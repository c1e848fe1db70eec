//! The engine from outside: through its public API, with plain connections as the user.

mod capture;
#[cfg(feature = "cli")]
mod command;
mod counters;
mod damage;
mod formats;
mod outcome;
mod rule;
mod schema_change;
mod support;
mod values;
mod verify;
