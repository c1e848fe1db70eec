//! The database as a file: one engine at a time, what a running engine tells others beside it, a file while it is made, and a
//! log that was removed.
//!
//! May use `env` and `error`. Begin with `lock.rs`.

pub(crate) mod draft;
pub(crate) mod lock;
pub(crate) mod notice;
pub(crate) mod stale_log;
pub(crate) mod state;
