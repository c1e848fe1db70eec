//! `_driftless_applying`: one row while the engine writes to the user's tables, so that its triggers mark nothing.

use rusqlite::{Connection, Transaction};

use super::{health, sql};
use crate::error::Result;

/// Tells the triggers that the engine writes.
pub(crate) fn begin(tx: &Transaction<'_>) -> Result<()> {
    let doing = "announcing our own writes to the triggers";
    sql::exec(tx, doing, "INSERT INTO _driftless_applying (one) VALUES (1)", [])?;
    Ok(())
}

/// Tells the triggers that the engine has written.
pub(crate) fn end(tx: &Transaction<'_>) -> Result<()> {
    sql::exec(tx, "announcing our own writes to the triggers", "DELETE FROM _driftless_applying", [])?;
    Ok(())
}

/// Whether the triggers are told that the engine writes.
pub(crate) fn is_on(connection: &Connection) -> Result<bool> {
    health::has_rows(connection, "_driftless_applying")
}
