//! The steps of a turn: functions over a transaction that hand values on. `replica` calls them in their order.
//!
//! `capture` makes changesets of what was written here, `delivery` finds which changesets of others can be applied, `apply`
//! merges those into documents, `materialize` writes documents into tables; `merge` is the second half of a turn, `changes` the
//! change feed, `give_way` what ends a turn early beside an app.
//!
//! May use `schema` and what is below it. Begin with `capture/mod.rs` and `materialize/mod.rs`.

pub(crate) mod apply;
pub(crate) mod capture;
pub(crate) mod changes;
pub(crate) mod delivery;
pub(crate) mod give_way;
pub(crate) mod materialize;
pub(crate) mod merge;
