//! Where several values stand in one column: the one shown, and those kept beside it until somebody writes the column
//! again. Read from the file alone.

use std::path::Path;

use driftless_protocol::{ReplicaId, Value};

use crate::config::Config;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::file::lock;
use crate::store::conflicts::Standing;
use crate::store::{self, conflicts};

/// A column of a row in which several values stand.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// The table, as the user wrote it.
    pub table: String,
    /// The primary key as SQL literals, with commas between.
    pub key: String,
    /// The column as the table calls it, in lower case; its first name, if the table has no such column.
    pub column: String,
    /// Whether the table has the column. If not, no statement can settle the conflict in this file: a migration that others ran
    /// has yet to run here, or a column was dropped that others go on writing.
    pub has_column: bool,
    /// What the table shows: the one written last.
    pub shown: Written,
    /// The others, latest first.
    pub kept: Vec<Written>,
}

/// A value, and who wrote it when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The value.
    pub value: Value<'static>,
    /// By the writer's clock, in milliseconds since 1970; `None` for a value that Driftless found in the table and nobody
    /// knows the time of: when the table was first tracked, in a column that had just come, as by a migration, or when the side
    /// tables were made again.
    pub at: Option<i64>,
    /// Which replica wrote it; `None` where that is not known, as for a value that was found.
    pub replica: Option<ReplicaId>,
}

/// Reads the conflicts of a file: by table, key and column.
///
/// Fails with [`Error::NoSuchFile`], [`Error::NotADatabase`], [`Error::FileAway`], [`Error::TrackingLost`], and [`Error::NotInitialized`] if Driftless has never
/// worked on the file.
pub fn conflicts(path: impl AsRef<Path>) -> Result<Vec<Conflict>> {
    let path = path.as_ref();
    let connection = store::open_to_read(path, Config::default().busy_timeout)?;
    if !store::is_initialized(&connection)? {
        return Err(lock::not_initialized(path));
    }
    let mut conflicts: Vec<Conflict> = Vec::new();
    for Standing { table, key, column, has_column, shown, value, at, replica } in conflicts::all(&connection)?
    {
        let written = Written { value, at: (at > 0).then_some(at), replica };
        if shown {
            conflicts.push(Conflict { table, key, column, has_column, shown: written, kept: Vec::new() });
        } else if let Some(conflict) = conflicts.last_mut() {
            conflict.kept.push(written);
        }
    }
    Ok(conflicts)
}
