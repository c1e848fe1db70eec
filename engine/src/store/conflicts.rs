//! `_driftless_conflicts`: the columns in which several values stand.

use driftless_protocol::{ReplicaId, RowKey, Value};
use rusqlite::{Connection, Transaction};

use super::{Bind, sql, value, writers};
use crate::document::row::resolve::RowState;
use crate::error::{Doing, InTable, Result};

/// Whether no conflict is known: then a row without conflicts has nothing to be forgotten.
pub(crate) fn is_empty(connection: &Connection) -> Result<bool> {
    Ok(!sql::exists(connection, "reading the conflicts", "SELECT 1 FROM _driftless_conflicts", [])?)
}

/// Replaces what is known of one row.
pub(crate) fn put(tx: &Transaction<'_>, table: i64, key: &RowKey, state: &RowState<'_>) -> Result<()> {
    let doing = "writing the conflicts";
    sql::exec(
        tx,
        doing,
        "DELETE FROM _driftless_conflicts WHERE tbl = ?1 AND key = ?2",
        (table, key.as_bytes()),
    )?;
    // What stands in a row that is deleted shows again when the row comes back.
    if !state.alive || !state.is_in_conflict() {
        return Ok(());
    }
    let pk = key.to_string();
    let mut insert = tx
        .prepare_cached(
            "INSERT OR REPLACE INTO _driftless_conflicts (tbl, key, pk, col, shown, value, at, writer)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .doing(doing)?;
    for column in state.columns.iter().filter(|column| !column.kept.is_empty()) {
        let all = std::iter::once((true, &column.shown)).chain(column.kept.iter().map(|kept| (false, kept)));
        for (shown, standing) in all {
            let writer = writers::stored(standing.writer);
            let (key, name, value) = (key.as_bytes(), &*column.name, Bind(&standing.value));
            insert.execute((table, key, &pk, name, shown, value, standing.time, writer)).doing(doing)?;
        }
    }
    Ok(())
}

/// Forgets all that is listed.
pub(crate) fn clear(tx: &Transaction<'_>) -> Result<()> {
    sql::exec(tx, "writing the conflicts", "DELETE FROM _driftless_conflicts", [])?;
    Ok(())
}

/// How many columns of rows are in conflict, those of the definitions of the space left out.
pub(crate) fn len(connection: &Connection) -> Result<u64> {
    let query =
        "SELECT count(*) FROM (SELECT DISTINCT tbl, key, col FROM _driftless_conflicts WHERE tbl <> 1)";
    sql::one(connection, "reading the conflicts", query, [], sql::number)
}

/// How many values stand in a conflict whose writer nobody knows.
pub(crate) fn of_unknown_writers(connection: &Connection) -> Result<u64> {
    let query = "SELECT count(*) FROM _driftless_conflicts c WHERE c.at <> 0
                 AND NOT EXISTS (SELECT 1 FROM _driftless_writers w WHERE w.writer = c.writer)";
    sql::one(connection, "reading the conflicts", query, [], sql::number)
}

/// The texts that stand in a column in conflict, the one that shows first.
pub(crate) fn texts_of(
    connection: &Connection,
    table: i64,
    key: &RowKey,
    column: &str,
) -> Result<Vec<String>> {
    let query = "SELECT value FROM _driftless_conflicts WHERE tbl = ?1 AND key = ?2 AND col = ?3
                 AND typeof(value) = 'text' ORDER BY shown DESC, at DESC, writer DESC";
    sql::list(connection, "reading the conflicts", query, (table, key.as_bytes(), column), sql::first)
}

/// A value that stands in a column in conflict.
#[derive(Debug)]
pub(crate) struct Standing {
    /// The table, as the user wrote it.
    pub(crate) table: String,
    /// The primary key as SQL literals.
    pub(crate) key: String,
    /// The column as the table calls it; as it travels, if the table has no such column.
    pub(crate) column: String,
    pub(crate) has_column: bool,
    /// Whether it is the value that shows.
    pub(crate) shown: bool,
    pub(crate) value: Value<'static>,
    /// In milliseconds since 1970; 0 where that is not known.
    pub(crate) at: i64,
    pub(crate) replica: Option<ReplicaId>,
}

/// Every value that stands in a conflict, those in the definitions of the space left out: by table, key and column, the one
/// that shows first, and then the latest first.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Standing>> {
    let doing = "reading the conflicts";
    let query = "SELECT t.spelled, c.pk, coalesce(n.name, c.col), n.name IS NOT NULL, c.shown, c.value, c.at, w.replica
                 FROM _driftless_conflicts c JOIN _driftless_tables t ON t.id = c.tbl
                 LEFT JOIN _driftless_columns n ON n.tbl = c.tbl AND n.travels = c.col AND n.place IS NOT NULL
                 LEFT JOIN _driftless_writers w ON w.writer = c.writer
                 WHERE c.tbl <> 1 ORDER BY t.id, c.key, c.col, c.shown DESC, c.at DESC, c.writer DESC";
    let mut all = Vec::new();
    sql::each(connection, doing, query, [], |row| {
        let replica: Option<Vec<u8>> = row.get(7).doing(doing)?;
        let replica = replica.map(|bytes| ReplicaId::from_slice(&bytes)).transpose();
        all.push(Standing {
            table: row.get(0).doing(doing)?,
            key: row.get(1).doing(doing)?,
            column: row.get(2).doing(doing)?,
            has_column: row.get(3).doing(doing)?,
            shown: row.get(4).doing(doing)?,
            value: value(row.get_ref(5).doing(doing)?).into_owned(),
            at: row.get(6).doing(doing)?,
            replica: replica.in_table("_driftless_writers")?,
        });
        Ok(())
    })?;
    Ok(all)
}
