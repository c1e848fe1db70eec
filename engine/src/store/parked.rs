//! `_driftless_parked`: merged rows that a constraint keeps out of their table.

use driftless_protocol::RowKey;
use rusqlite::{Connection, Transaction};

use crate::error::{Doing, Result};

/// Whether nothing is parked.
pub(crate) fn is_empty(connection: &Connection) -> Result<bool> {
    connection
        .prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM _driftless_parked)")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .doing("reading the parked rows")
}

/// Parks a row, or renews the reason.
pub(crate) fn put(tx: &Transaction<'_>, table: i64, key: &RowKey, reason: &str) -> Result<()> {
    put_as(tx, table, key.as_bytes(), &key.to_string(), reason)
}

/// Parks a row under other bytes than its key's, as it has none that could travel.
pub(crate) fn put_as(tx: &Transaction<'_>, table: i64, key: &[u8], pk: &str, reason: &str) -> Result<()> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO _driftless_parked (tbl, key, pk, reason) VALUES (?1, ?2, ?3, ?4)",
    )
    .and_then(|mut statement| statement.execute((table, key, pk, reason)))
    .doing("parking a row")?;
    Ok(())
}

/// The row fits, or is gone.
pub(crate) fn remove(tx: &Transaction<'_>, table: i64, key: &RowKey) -> Result<()> {
    remove_as(tx, table, key.as_bytes())
}

/// The row that was parked under these bytes is gone.
pub(crate) fn remove_as(tx: &Transaction<'_>, table: i64, key: &[u8]) -> Result<()> {
    tx.prepare_cached("DELETE FROM _driftless_parked WHERE tbl = ?1 AND key = ?2")
        .and_then(|mut statement| statement.execute((table, key)))
        .doing("unparking a row")?;
    Ok(())
}
