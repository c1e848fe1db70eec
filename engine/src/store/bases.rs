//! `_driftless_bases`: documents as their table showed them when it ceased to be tracked.

use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::error::{Doing, Result};

/// Keeps a row's document as it was before the first write of others that the table does not show.
pub(crate) fn keep(tx: &Transaction<'_>, table: i64, key: &[u8], body: &[u8]) -> Result<()> {
    tx.prepare_cached("INSERT OR IGNORE INTO _driftless_bases (tbl, key, body) VALUES (?1, ?2, ?3)")
        .and_then(|mut statement| statement.execute((table, key, body)))
        .doing("keeping a document")?;
    Ok(())
}

/// What the table shows of a row, where that is not its document.
pub(crate) fn get(connection: &Connection, table: i64, key: &[u8]) -> Result<Option<Vec<u8>>> {
    connection
        .prepare_cached("SELECT body FROM _driftless_bases WHERE tbl = ?1 AND key = ?2")
        .and_then(|mut statement| statement.query_row((table, key), |row| row.get(0)).optional())
        .doing("reading a document")
}

/// Whether none is kept.
pub(crate) fn is_empty(connection: &Connection) -> Result<bool> {
    connection
        .prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM _driftless_bases)")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .doing("reading the kept documents")
}

/// Forgets those of tables that are tracked: they show what their documents hold.
pub(crate) fn forget_shown(tx: &Transaction<'_>) -> Result<()> {
    tx.prepare_cached(
        "DELETE FROM _driftless_bases WHERE tbl IN (SELECT id FROM _driftless_tables WHERE state = 'tracked')",
    )
    .and_then(|mut statement| statement.execute([]))
    .doing("forgetting kept documents")?;
    Ok(())
}

/// Forgets one: what the user changed since is captured.
pub(crate) fn forget(tx: &Transaction<'_>, table: i64, key: &[u8]) -> Result<()> {
    tx.prepare_cached("DELETE FROM _driftless_bases WHERE tbl = ?1 AND key = ?2")
        .and_then(|mut statement| statement.execute((table, key)))
        .doing("forgetting a kept document")?;
    Ok(())
}
