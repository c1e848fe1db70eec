//! `_driftless_conflicts`: the columns in which several values stand.

use driftless_protocol::RowKey;
use rusqlite::{Connection, Transaction};

use super::{Bind, sql, writers};
use crate::document::row::resolve::RowState;
use crate::error::{Doing, Result};

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
