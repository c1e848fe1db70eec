//! `_driftless_settled`: conflicts of which somebody has said that what shows is to stand, by deleting them from the view
//! `driftless_conflicts`.

use rusqlite::{Connection, Transaction};

use crate::error::{Doing, Result};

/// A column of a row: the table, the key's bytes, the column.
pub(crate) type Settled = (i64, Vec<u8>, String);

/// Whether nobody has said so of any.
pub(crate) fn is_empty(connection: &Connection) -> Result<bool> {
    connection
        .prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM _driftless_settled)")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .doing("reading which conflicts are settled")
}

/// Takes all of them off.
pub(crate) fn take(tx: &Transaction<'_>) -> Result<Vec<Settled>> {
    if is_empty(tx)? {
        return Ok(Vec::new());
    }
    let doing = "reading which conflicts are settled";
    let mut statement = tx.prepare_cached("SELECT tbl, key, col FROM _driftless_settled").doing(doing)?;
    let settled = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .and_then(|rows| rows.collect())
        .doing(doing)?;
    tx.execute("DELETE FROM _driftless_settled", []).doing(doing)?;
    Ok(settled)
}
