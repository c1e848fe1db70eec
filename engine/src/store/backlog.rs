//! Work left for when there is time: `_driftless_backlog`, rows that were there when their table was tracked, and
//! `_driftless_refresh`, documents to materialize anew.

use driftless_protocol::{RowKey, Value};
use rusqlite::{Connection, Transaction};

use super::dirty::{Why, key_list};
use super::{Bind, sql};
use crate::error::Result;

/// Forgets all entries of the backlog up to `id`.
pub(crate) fn forget(tx: &Transaction<'_>, id: i64) -> Result<()> {
    sql::exec(tx, "draining the backlog", "DELETE FROM _driftless_backlog WHERE id <= ?1", [id])?;
    Ok(())
}

/// Forgets what the backlog and the dirty log hold of one table.
pub(crate) fn forget_table(tx: &Transaction<'_>, table: i64) -> Result<()> {
    for log in ["_driftless_backlog", "_driftless_dirty", "_driftless_refresh"] {
        sql::exec(tx, "draining the backlog", &format!("DELETE FROM {log} WHERE tbl = ?1"), [table])?;
    }
    Ok(())
}

/// Whether the backlog is empty.
pub(crate) fn is_empty(connection: &Connection) -> Result<bool> {
    Ok(!sql::exists(connection, "reading the backlog", "SELECT 1 FROM _driftless_backlog", [])?)
}

/// Whether a row waits in it for this reason.
pub(crate) fn has(connection: &Connection, why: Why) -> Result<bool> {
    let query = "SELECT 1 FROM _driftless_backlog WHERE first = ?1";
    sql::exists(connection, "reading the backlog", query, [why.number()])
}

/// Asks for every document of a table to be materialized anew. Does nothing for a rebuilt table that is not compared yet: the
/// comparison asks for it, and would not look for rows that already wait to be shown.
pub(crate) fn refresh_table(tx: &Transaction<'_>, table: i64) -> Result<()> {
    sql::exec(
        tx,
        "asking for a table to be materialized anew",
        "INSERT INTO _driftless_refresh (tbl, key) SELECT tbl, key FROM _driftless_rows WHERE tbl = ?1
         AND NOT EXISTS (SELECT 1 FROM _driftless_tables WHERE id = ?1 AND rebuilt IS NOT NULL)",
        [table],
    )?;
    Ok(())
}

/// Asks for every parked row to be tried again.
pub(crate) fn refresh_parked(tx: &Transaction<'_>) -> Result<()> {
    sql::exec(
        tx,
        "asking for parked rows to be tried again",
        "INSERT INTO _driftless_refresh (tbl, key) SELECT tbl, key FROM _driftless_parked",
        [],
    )?;
    Ok(())
}

/// The keys of a table's documents that are still to be materialized anew.
pub(crate) fn to_refresh(connection: &Connection, table: i64) -> Result<Vec<Vec<u8>>> {
    let doing = "reading what to materialize anew";
    sql::list(connection, doing, "SELECT key FROM _driftless_refresh WHERE tbl = ?1", [table], sql::first)
}

/// The requests that can be met: nothing is written into a table that was rebuilt and is not compared yet.
const CAN_BE_MET: &str = "tbl NOT IN (SELECT id FROM _driftless_tables WHERE rebuilt IS NOT NULL)";

/// Takes up to `limit` requests, those of the tables named first in `order` first: (table, key bytes). Requests for
/// tables that it does not name are forgotten, unless they cannot be met yet.
pub(crate) fn take_refresh(
    tx: &Transaction<'_>,
    order: impl IntoIterator<Item = i64>,
    limit: usize,
) -> Result<Vec<(i64, Vec<u8>)>> {
    let doing = "reading what to materialize anew";
    if refresh_is_empty(tx)? {
        return Ok(Vec::new());
    }
    let mut requests = Vec::new();
    for table in order {
        let rows: Vec<(i64, Vec<u8>)> = sql::list(
            tx,
            doing,
            "SELECT id, key FROM _driftless_refresh WHERE tbl = ?1 ORDER BY id LIMIT ?2",
            (table, sql::limit(limit - requests.len())),
            |row| row.try_into(),
        )?;
        if let Some(&(last, _)) = rows.last() {
            sql::exec(
                tx,
                doing,
                "DELETE FROM _driftless_refresh WHERE tbl = ?1 AND id <= ?2",
                (table, last),
            )?;
        }
        requests.extend(rows.into_iter().map(|(_, key)| (table, key)));
        if requests.len() >= limit {
            return Ok(requests);
        }
    }
    sql::exec(
        tx,
        "reading what to materialize anew",
        &format!("DELETE FROM _driftless_refresh WHERE {CAN_BE_MET}"),
        [],
    )?;
    Ok(requests)
}

/// How many documents are still to be materialized anew, those of the definitions of the space left out.
pub(crate) fn to_show(connection: &Connection) -> Result<u64> {
    let query = "SELECT count(*) FROM _driftless_refresh WHERE tbl <> 1";
    sql::one(connection, "reading what to materialize anew", query, [], sql::number)
}

/// Whether a table has documents, and none of them is to be materialized anew.
pub(crate) fn has_none_to_show(connection: &Connection, table: i64) -> Result<bool> {
    let query = "SELECT 1 FROM _driftless_rows WHERE tbl = ?1
                 AND NOT EXISTS (SELECT 1 FROM _driftless_refresh WHERE tbl = ?1)";
    sql::exists(connection, "reading what to materialize anew", query, [table])
}

/// Lists every definition of the space that is there to be looked at.
pub(crate) fn look_at_definitions(tx: &Transaction<'_>) -> Result<()> {
    sql::exec(
        tx,
        "listing the definitions to be looked at",
        "INSERT INTO _driftless_backlog (tbl, first, at, k0) SELECT 1, 0, 0, name FROM _driftless_definitions",
        [],
    )?;
    Ok(())
}

/// Whether a document is still to be materialized anew.
pub(crate) fn is_to_refresh(connection: &Connection, table: i64, key: &[u8]) -> Result<bool> {
    sql::exists(
        connection,
        "reading what to materialize anew",
        "SELECT 1 FROM _driftless_refresh WHERE tbl = ?1 AND key = ?2",
        (table, key),
    )
}

/// Whether any document of a table is still to be materialized anew.
pub(crate) fn is_any_to_refresh(connection: &Connection, table: i64) -> Result<bool> {
    let query = "SELECT 1 FROM _driftless_refresh WHERE tbl = ?1";
    sql::exists(connection, "reading what to materialize anew", query, [table])
}

/// Whether nothing is to be materialized anew that can be.
pub(crate) fn refresh_is_empty(connection: &Connection) -> Result<bool> {
    let query = format!("SELECT 1 FROM _driftless_refresh WHERE {CAN_BE_MET}");
    Ok(!sql::exists(connection, "reading what to materialize anew", &query, [])?)
}

/// Lists one row to be looked at, by its key's columns as they are. `at`: the time that an edit which is found gets.
pub(crate) fn look_at(tx: &Transaction<'_>, table: i64, key: &[Value<'_>], why: Why, at: i64) -> Result<()> {
    let columns = key_list(key.len());
    let places: Vec<String> = (4..key.len() + 4).map(|n| format!("?{n}")).collect();
    let sql = format!(
        "INSERT INTO _driftless_backlog (tbl, first, at, {columns}) VALUES (?1, ?2, ?3, {})",
        places.join(", ")
    );
    let first = [Value::Integer(table), Value::Integer(why.number()), Value::Integer(at)];
    sql::exec(
        tx,
        "listing a row to be looked at",
        &sql,
        rusqlite::params_from_iter(first.iter().chain(key).map(Bind)),
    )?;
    Ok(())
}

/// Asks for one document to be materialized anew.
pub(crate) fn refresh(tx: &Transaction<'_>, table: i64, key: &RowKey) -> Result<()> {
    sql::exec(
        tx,
        "asking for a row to be materialized anew",
        "INSERT INTO _driftless_refresh (tbl, key) VALUES (?1, ?2)",
        (table, key.as_bytes()),
    )?;
    Ok(())
}
