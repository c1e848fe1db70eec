//! What the rows of a table say, beside their documents, about what happened to the table and its columns while nobody
//! watched. SQLite tells nobody that a column was renamed, or that a table was dropped and made again.
//!
//! `compared_rows` hands out each row with its document; each other file answers one question by them, and
//! `reconcile` asks.

mod compared_rows;
pub(crate) mod made_again;
pub(crate) mod renamed_anew;
pub(crate) mod reused_names;
