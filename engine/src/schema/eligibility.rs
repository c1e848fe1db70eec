//! Which tables can be tracked, and the reason and the way out where one cannot.

use thiserror::Error;

use super::Table;
use crate::config::TableOptions;

/// Why a table cannot be tracked, and what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such table.
    #[error("there is no such table")]
    NoSuchTable,
    /// It has no primary key, so nothing names its rows on every replica alike.
    #[error(
        "it has no PRIMARY KEY, so nothing names its rows on every replica; give it one, a UUID in a TEXT column for instance"
    )]
    NoPrimaryKey,
    /// Its key is an alias of the rowid.
    #[error(
        "its INTEGER PRIMARY KEY is handed out by each file on its own, so two replicas that are offline would both \
         make row 7, and the two would become one; use UUID keys, or allow it (--allow-integer-key) if \
         your keys are drawn apart"
    )]
    IntegerKey,
    /// It has a UNIQUE index beside its key.
    #[error(
        "it has a UNIQUE constraint or index beside its primary key ({0}), which this version cannot keep on every \
         replica yet; drop the constraint, or wait for the version that can"
    )]
    UniqueIndex(String),
    /// It is a virtual table.
    #[error("it is a virtual table; track the tables that its contents come from")]
    Virtual,
    /// It belongs to a virtual table.
    #[error("it is the storage of a virtual table, which SQLite fills itself")]
    Shadow,
    /// It is a view.
    #[error("it is a view; track the tables under it")]
    View,
    /// It belongs to SQLite or to Driftless.
    #[error("it is an internal table")]
    Internal,
    /// A collation in its key was registered by an application.
    #[error(
        "its primary key uses the collation {0}, which only your application knows; use BINARY, NOCASE or RTRIM in the key"
    )]
    CustomCollation(String),
    /// A column has no name.
    #[error("one of its columns has the empty name; rename it")]
    NamelessColumn,
    /// The name of the table or of a column is too long.
    #[error("its name or the name of a column is longer than 1,024 bytes")]
    LongName,
}

/// Whether a table can be tracked with these options.
pub(crate) fn check(table: &Table, options: TableOptions) -> Result<(), Refusal> {
    if table.integer_key && !options.allow_integer_key {
        return Err(Refusal::IntegerKey);
    }
    if let Some(unique) = table.unique.first() {
        let columns = unique.iter().map(|column| column.as_deref().unwrap_or("an expression"));
        return Err(Refusal::UniqueIndex(columns.collect::<Vec<_>>().join(", ")));
    }
    Ok(())
}
