//! `_driftless_settled`: conflicts of which somebody has said that what shows is to stand, by deleting them from the view
//! `driftless_conflicts`.

use rusqlite::{Connection, Transaction};

use super::sql;
use crate::error::Result;

/// A column of a row: the table, the key's bytes, the column.
pub(crate) type Settled = (i64, Vec<u8>, String);

/// Whether nobody has said so of any.
pub(crate) fn is_empty(connection: &Connection) -> Result<bool> {
    Ok(!sql::exists(
        connection,
        "reading which conflicts are settled",
        "SELECT 1 FROM _driftless_settled",
        [],
    )?)
}

/// Takes all of them off.
pub(crate) fn take(tx: &Transaction<'_>) -> Result<Vec<Settled>> {
    if is_empty(tx)? {
        return Ok(Vec::new());
    }
    let settled = sql::list(
        tx,
        "reading which conflicts are settled",
        "SELECT tbl, key, col FROM _driftless_settled",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    sql::exec(tx, "reading which conflicts are settled", "DELETE FROM _driftless_settled", [])?;
    Ok(settled)
}
