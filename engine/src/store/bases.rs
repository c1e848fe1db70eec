//! `_driftless_bases`: documents as their table shows them, while it is not shown what comes in: it is not tracked, or was
//! rebuilt just now, or a row that the app wrote does not show yet what others counted in a new counter.

use rusqlite::{Connection, Transaction};

use super::sql;
use crate::error::Result;

/// Keeps a row's document as it was before the first write of others that the table does not show: empty for a row that
/// had none.
pub(crate) fn keep(tx: &Transaction<'_>, table: i64, key: &[u8], body: &[u8]) -> Result<()> {
    sql::exec(
        tx,
        "keeping a document",
        "INSERT OR IGNORE INTO _driftless_bases (tbl, key, body) VALUES (?1, ?2, ?3)",
        (table, key, body),
    )?;
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
    sql::exec(
        tx,
        "keeping a text",
        "INSERT OR IGNORE INTO _driftless_text_bases (tbl, key, col, content) VALUES (?1, ?2, ?3, ?4)",
        (table, key, column, content),
    )?;
    Ok(())
}

/// The table shows this of a row now that what the user changed is captured, and not yet what its document holds.
pub(crate) fn put(tx: &Transaction<'_>, table: i64, key: &[u8], body: &[u8]) -> Result<()> {
    sql::exec(
        tx,
        "keeping a document",
        "INSERT INTO _driftless_bases (tbl, key, body) VALUES (?1, ?2, ?3)
         ON CONFLICT (tbl, key) DO UPDATE SET body = excluded.body",
        (table, key, body),
    )?;
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
    sql::exec(
        tx,
        "keeping a text",
        "UPDATE _driftless_text_bases SET content = ?4 WHERE tbl = ?1 AND key = ?2 AND col = ?3",
        (table, key, column, content),
    )?;
    Ok(())
}

/// What the table shows of a text, where that is not what its document holds.
pub(crate) fn text(connection: &Connection, table: i64, key: &[u8], column: &str) -> Result<Option<String>> {
    sql::opt(
        connection,
        "reading a kept text",
        "SELECT content FROM _driftless_text_bases WHERE tbl = ?1 AND key = ?2 AND col = ?3",
        (table, key, column),
        sql::first,
    )
}

/// What the table shows of a row, where that is not its document: the document as it was, empty where the table shows
/// nothing of it.
pub(crate) fn get(connection: &Connection, table: i64, key: &[u8]) -> Result<Option<Vec<u8>>> {
    sql::opt(
        connection,
        "reading a document",
        "SELECT body FROM _driftless_bases WHERE tbl = ?1 AND key = ?2",
        (table, key),
        sql::first,
    )
}

/// Whether none is kept.
pub(crate) fn is_empty(connection: &Connection) -> Result<bool> {
    let query = "SELECT 1 FROM _driftless_bases UNION ALL SELECT 1 FROM _driftless_text_bases";
    Ok(!sql::exists(connection, "reading the kept documents", query, [])?)
}

/// Forgets those of tables that show what their documents hold: all that are tracked and were not rebuilt just now.
pub(crate) fn forget_shown(tx: &Transaction<'_>) -> Result<()> {
    for table in ["_driftless_bases", "_driftless_text_bases"] {
        sql::exec(
            tx,
            "forgetting kept documents",
            &format!(
                "DELETE FROM {table} WHERE tbl IN
                 (SELECT id FROM _driftless_tables WHERE state = 'tracked' AND rebuilt IS NULL)"
            ),
            [],
        )?;
    }
    Ok(())
}

/// Forgets those of one row: its table shows what the documents hold.
pub(crate) fn forget(tx: &Transaction<'_>, table_id: i64, key: &[u8]) -> Result<()> {
    for table in ["_driftless_bases", "_driftless_text_bases"] {
        sql::exec(
            tx,
            "forgetting a kept document",
            &format!("DELETE FROM {table} WHERE tbl = ?1 AND key = ?2"),
            (table_id, key),
        )?;
    }
    Ok(())
}
