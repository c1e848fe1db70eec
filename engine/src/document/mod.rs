//! A row and a text column as Yrs documents, and the values in them: bytes and strings, never a connection.
//!
//! May use `config`, for the kind of a column. Begin with `row/mod.rs`; `row/lanes.rs` and `row/resolve.rs` decide which
//! value wins.

pub(crate) mod affinity;
pub(crate) mod json;
pub(crate) mod row;
pub(crate) mod text;
