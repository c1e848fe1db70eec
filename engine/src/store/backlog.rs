//! Work left for when there is time: `_driftless_backlog`, rows that were there when their table was tracked, and
//! `_driftless_refresh`, documents to materialize anew.

use driftless_protocol::{RowKey, Value};
use rusqlite::{Connection, Transaction};

use super::Bind;
use super::dirty::{Why, key_list};
use crate::error::{Doing, Result};

/// Forgets all entries of the backlog up to `id`.
pub(crate) fn forget(tx: &Transaction<'_>, id: i64) -> Result<()> {
    tx.prepare_cached("DELETE FROM _driftless_backlog WHERE id <= ?1")
        .and_then(|mut statement| statement.execute([id]))
        .doing("draining the backlog")?;
    Ok(())
}

/// Forgets what the backlog and the dirty log hold of one table.
pub(crate) fn forget_table(tx: &Transaction<'_>, table: i64) -> Result<()> {
    for log in ["_driftless_backlog", "_driftless_dirty", "_driftless_refresh"] {
        tx.execute(&format!("DELETE FROM {log} WHERE tbl = ?1"), [table]).doing("draining the backlog")?;
    }
    Ok(())
}

/// Whether the backlog is empty.
pub(crate) fn is_empty(connection: &Connection) -> Result<bool> {
    connection
        .prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM _driftless_backlog)")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .doing("reading the backlog")
}

/// Asks for every document of a table to be materialized anew. Does nothing for a rebuilt table that is not compared yet: the
/// comparison asks for it, and would not look for rows that already wait to be shown.
pub(crate) fn refresh_table(tx: &Transaction<'_>, table: i64) -> Result<()> {
    tx.execute(
        "INSERT INTO _driftless_refresh (tbl, key) SELECT tbl, key FROM _driftless_rows WHERE tbl = ?1
         AND NOT EXISTS (SELECT 1 FROM _driftless_tables WHERE id = ?1 AND rebuilt IS NOT NULL)",
        [table],
    )
    .doing("asking for a table to be materialized anew")?;
    Ok(())
}

/// Asks for every parked row to be tried again.
pub(crate) fn refresh_parked(tx: &Transaction<'_>) -> Result<()> {
    tx.prepare_cached("INSERT INTO _driftless_refresh (tbl, key) SELECT tbl, key FROM _driftless_parked")
        .and_then(|mut statement| statement.execute([]))
        .doing("asking for parked rows to be tried again")?;
    Ok(())
}

/// The keys of a table's documents that are still to be materialized anew.
pub(crate) fn to_refresh(connection: &Connection, table: i64) -> Result<Vec<Vec<u8>>> {
    let doing = "reading what to materialize anew";
    let mut statement =
        connection.prepare_cached("SELECT key FROM _driftless_refresh WHERE tbl = ?1").doing(doing)?;
    statement.query_map([table], |row| row.get(0)).and_then(|keys| keys.collect()).doing(doing)
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
        let mut statement = tx
            .prepare_cached("SELECT id, key FROM _driftless_refresh WHERE tbl = ?1 ORDER BY id LIMIT ?2")
            .doing(doing)?;
        let rows = statement
            .query_map((table, (limit - requests.len()) as i64), |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
            })
            .and_then(|rows| rows.collect::<rusqlite::Result<Vec<_>>>())
            .doing(doing)?;
        if let Some(&(last, _)) = rows.last() {
            tx.prepare_cached("DELETE FROM _driftless_refresh WHERE tbl = ?1 AND id <= ?2")
                .and_then(|mut delete| delete.execute((table, last)))
                .doing(doing)?;
        }
        requests.extend(rows.into_iter().map(|(_, key)| (table, key)));
        if requests.len() >= limit {
            return Ok(requests);
        }
    }
    tx.execute(&format!("DELETE FROM _driftless_refresh WHERE {CAN_BE_MET}"), []).doing(doing)?;
    Ok(requests)
}

/// Whether a document is still to be materialized anew.
pub(crate) fn is_to_refresh(connection: &Connection, table: i64, key: &[u8]) -> Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM _driftless_refresh WHERE tbl = ?1 AND key = ?2)")
        .and_then(|mut statement| statement.query_row((table, key), |row| row.get(0)))
        .doing("reading what to materialize anew")
}

/// Whether nothing is to be materialized anew that can be.
pub(crate) fn refresh_is_empty(connection: &Connection) -> Result<bool> {
    connection
        .prepare_cached(&format!("SELECT NOT EXISTS (SELECT 1 FROM _driftless_refresh WHERE {CAN_BE_MET})"))
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .doing("reading what to materialize anew")
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
    tx.prepare_cached(&sql)
        .and_then(|mut statement| {
            statement.execute(rusqlite::params_from_iter(first.iter().chain(key).map(Bind)))
        })
        .doing("listing a row to be looked at")?;
    Ok(())
}

/// Asks for one document to be materialized anew.
pub(crate) fn refresh(tx: &Transaction<'_>, table: i64, key: &RowKey) -> Result<()> {
    tx.prepare_cached("INSERT INTO _driftless_refresh (tbl, key) VALUES (?1, ?2)")
        .and_then(|mut statement| statement.execute((table, key.as_bytes())))
        .doing("asking for a row to be materialized anew")?;
    Ok(())
}
