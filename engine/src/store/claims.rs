//! `_driftless_claims`: the UNIQUE values of rows that are parked because of what they refer to. Such a row holds its
//! values all the same: if it gave them up, what one table admits would depend on what another does, and two answers
//! could both be right.

use driftless_protocol::RowKey;
use rusqlite::{Connection, Transaction};

use super::sql;
use crate::error::Result;

/// Whether nobody claims anything.
pub(crate) fn is_empty(connection: &Connection) -> Result<bool> {
    Ok(!sql::exists(connection, "reading the claims of parked rows", "SELECT 1 FROM _driftless_claims", [])?)
}

/// Notes that a parked row holds a value of an index.
pub(crate) fn put(tx: &Transaction<'_>, table: i64, rule: &str, value: &[u8], key: &RowKey) -> Result<()> {
    sql::exec(
        tx,
        "writing the claims of a parked row",
        "INSERT OR REPLACE INTO _driftless_claims (tbl, rule, value, key) VALUES (?1, ?2, ?3, ?4)",
        (table, rule, value, key.as_bytes()),
    )?;
    Ok(())
}

/// The keys of the parked rows that hold this value.
pub(crate) fn holders(connection: &Connection, table: i64, rule: &str, value: &[u8]) -> Result<Vec<Vec<u8>>> {
    let doing = "reading the claims of parked rows";
    sql::list(
        connection,
        doing,
        "SELECT key FROM _driftless_claims WHERE tbl = ?1 AND rule = ?2 AND value = ?3 ORDER BY key",
        (table, rule, value),
        sql::first,
    )
}

/// A row is parked no longer, or for another reason.
pub(crate) fn remove(tx: &Transaction<'_>, table: i64, key: &RowKey) -> Result<()> {
    sql::exec(
        tx,
        "forgetting the claims of a parked row",
        "DELETE FROM _driftless_claims WHERE tbl = ?1 AND key = ?2",
        (table, key.as_bytes()),
    )?;
    Ok(())
}

/// Nobody claims anything any more.
pub(crate) fn clear(tx: &Transaction<'_>) -> Result<()> {
    sql::exec(tx, "forgetting the claims of parked rows", "DELETE FROM _driftless_claims", [])?;
    Ok(())
}

/// A value that a parked row holds: the table, the key's bytes, the value.
pub(crate) type Claim = (i64, Vec<u8>, Vec<u8>);

/// Every value that a parked row holds; by table, key and index.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Claim>> {
    sql::list(
        connection,
        "reading the claims of parked rows",
        "SELECT tbl, key, value FROM _driftless_claims ORDER BY tbl, key, rule, value",
        [],
        |row| row.try_into(),
    )
}
