//! What an app calls: an engine that runs, and functions over a file that need none.
//!
//! May use `sync` and what is below it. Begin with `engine.rs`; `setup.rs` says what of a file is tracked and how, `cloning.rs`
//! makes a new file from a space, `conflicts.rs` and `parked.rs` list rows.

pub(crate) mod cloning;
pub(crate) mod conflicts;
pub(crate) mod engine;
pub(crate) mod parked;
pub(crate) mod setup;
