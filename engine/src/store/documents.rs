//! `_driftless_rows` and `_driftless_documents`: row key → row document.

use rusqlite::types::ToSql;
use rusqlite::{Connection, Transaction};

use super::sql;
use crate::error::{Doing, Result};

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

/// Forgets a row's document: it is damaged. The key's bytes, or whatever stands in their place.
pub(crate) fn forget(tx: &Transaction<'_>, table: i64, key: impl ToSql) -> Result<()> {
    let doing = "forgetting a row document";
    for sql in [
        "DELETE FROM _driftless_documents WHERE id IN
         (SELECT doc FROM _driftless_rows WHERE tbl = ?1 AND key = ?2)",
        "DELETE FROM _driftless_rows WHERE tbl = ?1 AND key = ?2",
    ] {
        sql::exec(tx, doing, sql, (table, &key))?;
    }
    Ok(())
}

/// Stores a document, whether the row had one (`id`) or not.
pub(crate) fn put(tx: &Transaction<'_>, id: Option<i64>, table: i64, key: &[u8], body: &[u8]) -> Result<()> {
    match id {
        Some(id) => update(tx, id, body),
        None => insert(tx, table, key, body),
    }
}

/// Shows every document: the name of its table, the bytes of its key, the document; by table and key. Stops when `see`
/// returns `false`, and returns whether it never did.
pub(crate) fn each(
    connection: &Connection,
    mut see: impl FnMut(&str, &[u8], &[u8]) -> Result<bool>,
) -> Result<bool> {
    let doing = "reading the row documents";
    let query = "SELECT t.name, r.key, d.body FROM _driftless_rows r JOIN _driftless_tables t ON t.id = r.tbl
                 JOIN _driftless_documents d ON d.id = r.doc ORDER BY r.tbl, r.key";
    sql::each_while(connection, doing, query, [], |row| {
        let table: String = row.get(0).doing(doing)?;
        see(&table, sql::blob(row, 1).doing(doing)?, sql::blob(row, 2).doing(doing)?)
    })
}

/// Shows the documents of a table from one key to another, both included, in the order of the keys: the number of the table,
/// the bytes of the key, the document. No last key: to the end.
pub(crate) fn each_of(
    connection: &Connection,
    table: &str,
    (first, last): (&[u8], Option<&[u8]>),
    mut see: impl FnMut(i64, &[u8], &[u8]) -> Result<()>,
) -> Result<()> {
    let doing = "reading the row documents";
    let query =
        "SELECT r.key, d.body, r.tbl FROM _driftless_rows r JOIN _driftless_documents d ON d.id = r.doc
                 WHERE r.tbl = (SELECT id FROM _driftless_tables WHERE name = ?1) AND r.key >= ?2
                 AND (?3 IS NULL OR r.key <= ?3) ORDER BY r.key";
    sql::each(connection, doing, query, (table, first, last), |row| {
        let (key, body) = (sql::blob(row, 0).doing(doing)?, sql::blob(row, 1).doing(doing)?);
        see(row.get(2).doing(doing)?, key, body)
    })
}

/// How many documents there are.
pub(crate) fn len(connection: &Connection) -> Result<u64> {
    let query = "SELECT count(*) FROM _driftless_documents";
    sql::one(connection, "counting the row documents", query, [], sql::number)
}

/// How many row keys and documents do not belong together one to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Misfits {
    /// Row keys whose document is not there.
    pub(crate) lost: u64,
    /// Documents that belong to no row.
    pub(crate) nameless: u64,
    /// Documents that belong to several rows.
    pub(crate) shared: u64,
    /// Row keys of tables that nobody knows.
    pub(crate) strays: u64,
}

/// Looks for row keys and documents that do not belong together.
pub(crate) fn misfits(connection: &Connection) -> Result<Misfits> {
    let count = |query| sql::one(connection, "verifying the side tables", query, [], sql::number);
    Ok(Misfits {
        lost: count(
            "SELECT count(*) FROM _driftless_rows r WHERE NOT EXISTS
             (SELECT 1 FROM _driftless_documents d WHERE d.id = r.doc)",
        )?,
        nameless: count(
            "SELECT count(*) FROM _driftless_documents WHERE id NOT IN (SELECT doc FROM _driftless_rows)",
        )?,
        shared: count(
            "SELECT count(*) FROM (SELECT doc FROM _driftless_rows GROUP BY doc HAVING count(*) > 1)",
        )?,
        strays: count(
            "SELECT count(*) FROM _driftless_rows r WHERE NOT EXISTS
             (SELECT 1 FROM _driftless_tables t WHERE t.id = r.tbl)",
        )?,
    })
}

/// Drops row keys without documents, documents without keys, and keys that share a document.
pub(crate) fn drop_unmatched(tx: &Transaction<'_>) -> Result<()> {
    tx.execute_batch(
        "DELETE FROM _driftless_rows WHERE doc NOT IN (SELECT id FROM _driftless_documents);
         DELETE FROM _driftless_rows WHERE tbl NOT IN (SELECT id FROM _driftless_tables);
         DELETE FROM _driftless_rows WHERE doc IN
           (SELECT doc FROM _driftless_rows GROUP BY doc HAVING count(*) > 1);
         DELETE FROM _driftless_documents WHERE id NOT IN (SELECT doc FROM _driftless_rows);",
    )
    .doing("repairing the side tables")
}
