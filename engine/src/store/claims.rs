//! `_driftless_claims`: the UNIQUE values of rows that are parked because of what they refer to. Such a row holds its
//! values all the same: if it gave them up, what one table admits would depend on what another does, and two answers
//! could both be right.

use driftless_protocol::RowKey;
use rusqlite::{Connection, Transaction};

use crate::error::{Doing, Result};

/// Whether nobody claims anything.
pub(crate) fn is_empty(connection: &Connection) -> Result<bool> {
    connection
        .prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM _driftless_claims)")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .doing("reading the claims of parked rows")
}

/// Notes that a parked row holds a value of an index.
pub(crate) fn put(tx: &Transaction<'_>, table: i64, rule: &str, value: &[u8], key: &RowKey) -> Result<()> {
    tx.prepare_cached(
        "INSERT OR REPLACE INTO _driftless_claims (tbl, rule, value, key) VALUES (?1, ?2, ?3, ?4)",
    )
    .and_then(|mut statement| statement.execute((table, rule, value, key.as_bytes())))
    .doing("writing the claims of a parked row")?;
    Ok(())
}

/// The keys of the parked rows that hold this value.
pub(crate) fn holders(connection: &Connection, table: i64, rule: &str, value: &[u8]) -> Result<Vec<Vec<u8>>> {
    let doing = "reading the claims of parked rows";
    let mut statement = connection
        .prepare_cached(
            "SELECT key FROM _driftless_claims WHERE tbl = ?1 AND rule = ?2 AND value = ?3 ORDER BY key",
        )
        .doing(doing)?;
    let rows = statement.query_map((table, rule, value), |row| row.get(0)).doing(doing)?;
    rows.collect::<rusqlite::Result<_>>().doing(doing)
}

/// A row is parked no longer, or for another reason.
pub(crate) fn remove(tx: &Transaction<'_>, table: i64, key: &RowKey) -> Result<()> {
    tx.prepare_cached("DELETE FROM _driftless_claims WHERE tbl = ?1 AND key = ?2")
        .and_then(|mut statement| statement.execute((table, key.as_bytes())))
        .doing("forgetting the claims of a parked row")?;
    Ok(())
}
