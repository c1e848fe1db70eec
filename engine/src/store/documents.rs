//! `_driftless_rows` and `_driftless_documents`: row key → row document.

use rusqlite::{Connection, Transaction};

use super::sql;
use crate::error::Result;

/// A stored document and its number.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) id: i64,
    pub(crate) body: Vec<u8>,
}

/// The document of a row, if it has one.
pub(crate) fn get(connection: &Connection, table: i64, key: &[u8]) -> Result<Option<Stored>> {
    sql::opt(
        connection,
        "reading a row document",
        "SELECT d.id, d.body FROM _driftless_rows r JOIN _driftless_documents d ON d.id = r.doc
             WHERE r.tbl = ?1 AND r.key = ?2",
        (table, key),
        |row| Ok(Stored { id: row.get(0)?, body: row.get(1)? }),
    )
}

/// The keys of all rows of a table that have a document, ascending.
pub(crate) fn keys(connection: &Connection, table: i64) -> Result<Vec<Vec<u8>>> {
    let doing = "reading the keys of documents";
    sql::list(
        connection,
        doing,
        "SELECT key FROM _driftless_rows WHERE tbl = ?1 ORDER BY key",
        [table],
        sql::first,
    )
}

/// Stores the document of a row that has none.
pub(crate) fn insert(tx: &Transaction<'_>, table: i64, key: &[u8], body: &[u8]) -> Result<()> {
    let id = sql::insert(
        tx,
        "storing a row document",
        "INSERT INTO _driftless_documents (body) VALUES (?1)",
        [body],
    )?;
    sql::exec(
        tx,
        "storing a row document",
        "INSERT INTO _driftless_rows (tbl, key, doc) VALUES (?1, ?2, ?3)",
        (table, key, id),
    )?;
    Ok(())
}

/// Stores a document anew.
pub(crate) fn update(tx: &Transaction<'_>, id: i64, body: &[u8]) -> Result<()> {
    sql::exec(
        tx,
        "storing a row document",
        "UPDATE _driftless_documents SET body = ?2 WHERE id = ?1",
        (id, body),
    )?;
    Ok(())
}

/// Forgets a row's document: it is damaged.
pub(crate) fn forget(tx: &Transaction<'_>, table: i64, key: &[u8]) -> Result<()> {
    sql::exec(
        tx,
        "forgetting a row document",
        "DELETE FROM _driftless_documents WHERE id IN
         (SELECT doc FROM _driftless_rows WHERE tbl = ?1 AND key = ?2)",
        (table, key),
    )?;
    sql::exec(
        tx,
        "forgetting a row document",
        "DELETE FROM _driftless_rows WHERE tbl = ?1 AND key = ?2",
        (table, key),
    )?;
    Ok(())
}

/// Stores a document, whether the row had one (`id`) or not.
pub(crate) fn put(tx: &Transaction<'_>, id: Option<i64>, table: i64, key: &[u8], body: &[u8]) -> Result<()> {
    match id {
        Some(id) => update(tx, id, body),
        None => insert(tx, table, key, body),
    }
}
