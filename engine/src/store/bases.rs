//! `_driftless_bases`: documents as their table shows them, while it is not shown what comes in: it is not tracked, or
//! was rebuilt just now.

use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::error::{Doing, Result};

/// Keeps a row's document as it was before the first write of others that the table does not show: empty for a row that
/// had none.
pub(crate) fn keep(tx: &Transaction<'_>, table: i64, key: &[u8], body: &[u8]) -> Result<()> {
    tx.prepare_cached("INSERT OR IGNORE INTO _driftless_bases (tbl, key, body) VALUES (?1, ?2, ?3)")
        .and_then(|mut statement| statement.execute((table, key, body)))
        .doing("keeping a document")?;
    Ok(())
}

/// Keeps a text as it was before the first write of others that the table does not show.
pub(crate) fn keep_text(
    tx: &Transaction<'_>,
    table: i64,
    key: &[u8],
    column: &str,
    content: &str,
) -> Result<()> {
    tx.prepare_cached(
        "INSERT OR IGNORE INTO _driftless_text_bases (tbl, key, col, content) VALUES (?1, ?2, ?3, ?4)",
    )
    .and_then(|mut statement| statement.execute((table, key, column, content)))
    .doing("keeping a text")?;
    Ok(())
}

/// The table shows this of a row now that what the user changed is captured, and not yet what its document holds.
pub(crate) fn renew(tx: &Transaction<'_>, table: i64, key: &[u8], body: &[u8]) -> Result<()> {
    tx.prepare_cached("UPDATE _driftless_bases SET body = ?3 WHERE tbl = ?1 AND key = ?2")
        .and_then(|mut statement| statement.execute((table, key, body)))
        .doing("keeping a document")?;
    Ok(())
}

/// The same of a text.
pub(crate) fn renew_text(
    tx: &Transaction<'_>,
    table: i64,
    key: &[u8],
    column: &str,
    content: &str,
) -> Result<()> {
    tx.prepare_cached(
        "UPDATE _driftless_text_bases SET content = ?4 WHERE tbl = ?1 AND key = ?2 AND col = ?3",
    )
    .and_then(|mut statement| statement.execute((table, key, column, content)))
    .doing("keeping a text")?;
    Ok(())
}

/// What the table shows of a text, where that is not what its document holds.
pub(crate) fn text(connection: &Connection, table: i64, key: &[u8], column: &str) -> Result<Option<String>> {
    connection
        .prepare_cached("SELECT content FROM _driftless_text_bases WHERE tbl = ?1 AND key = ?2 AND col = ?3")
        .and_then(|mut statement| statement.query_row((table, key, column), |row| row.get(0)).optional())
        .doing("reading a kept text")
}

/// What the table shows of a row, where that is not its document: the document as it was, empty where the table shows
/// nothing of it.
pub(crate) fn get(connection: &Connection, table: i64, key: &[u8]) -> Result<Option<Vec<u8>>> {
    connection
        .prepare_cached("SELECT body FROM _driftless_bases WHERE tbl = ?1 AND key = ?2")
        .and_then(|mut statement| statement.query_row((table, key), |row| row.get(0)).optional())
        .doing("reading a document")
}

/// Whether none is kept.
pub(crate) fn is_empty(connection: &Connection) -> Result<bool> {
    connection
        .prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM _driftless_bases) AND NOT EXISTS (SELECT 1 FROM _driftless_text_bases)")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .doing("reading the kept documents")
}

/// Forgets those of tables that show what their documents hold: all that are tracked and were not rebuilt just now.
pub(crate) fn forget_shown(tx: &Transaction<'_>) -> Result<()> {
    for table in ["_driftless_bases", "_driftless_text_bases"] {
        tx.prepare_cached(&format!(
            "DELETE FROM {table} WHERE tbl IN (SELECT id FROM _driftless_tables WHERE state = 'tracked' AND rebuilt IS NULL)"
        ))
        .and_then(|mut statement| statement.execute([]))
        .doing("forgetting kept documents")?;
    }
    Ok(())
}

/// Forgets those of one row: its table shows what the documents hold.
pub(crate) fn forget(tx: &Transaction<'_>, table_id: i64, key: &[u8]) -> Result<()> {
    for table in ["_driftless_bases", "_driftless_text_bases"] {
        tx.prepare_cached(&format!("DELETE FROM {table} WHERE tbl = ?1 AND key = ?2"))
            .and_then(|mut statement| statement.execute((table_id, key)))
            .doing("forgetting a kept document")?;
    }
    Ok(())
}
