//! The steps of a turn: functions over a transaction, which hand values on and do not know each other's order.
//!
//! `capture` makes changesets of what was written here, `delivery` says what of others can be applied, `apply` merges that
//! into documents, `materialize` shows documents in tables; `merge` is the second half of a turn, and `changes` the feed. May
//! use `schema` and what is below. Begin with `capture/mod.rs` and `materialize/mod.rs`; `replica` has the order.

pub(crate) mod apply;
pub(crate) mod capture;
pub(crate) mod changes;
pub(crate) mod delivery;
pub(crate) mod materialize;
pub(crate) mod merge;
