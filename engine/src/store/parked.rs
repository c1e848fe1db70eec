//! `_driftless_parked`: merged rows that a constraint keeps out of their table.

use driftless_protocol::RowKey;
use rusqlite::{Connection, Transaction};

use super::sql;
use crate::error::Result;

/// Why a row is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It cannot travel: it is too large, or its key is.
    Local = 0,
    /// It is refused by itself: NOT NULL, CHECK, a STRICT type, a trigger that raises.
    Itself = 1,
    /// A row with a smaller key holds its UNIQUE value.
    Unique = 2,
    /// A row that it refers to is not there.
    Reference = 3,
}

/// What is noted of a parked row.
#[derive(Debug, Clone)]
pub(crate) struct Reason {
    pub(crate) stage: Stage,
    /// The constraint, as SQL.
    pub(crate) rule: Option<String>,
    /// A sentence.
    pub(crate) sentence: String,
    /// The key of the row in its way, or the values that no row has.
    pub(crate) clash: Option<String>,
    /// In which table something must change, and what.
    pub(crate) waits: Option<(i64, Vec<u8>)>,
}

impl Reason {
    /// A row that stays in this file.
    pub(crate) fn local(sentence: String) -> Self {
        Self { stage: Stage::Local, rule: None, sentence, clash: None, waits: None }
    }
}

/// Whether nothing is parked.
pub(crate) fn is_empty(connection: &Connection) -> Result<bool> {
    Ok(!sql::exists(connection, "reading the parked rows", "SELECT 1 FROM _driftless_parked", [])?)
}

/// The keys of the parked rows of a table.
pub(crate) fn keys(connection: &Connection, table: i64) -> Result<Vec<Vec<u8>>> {
    let doing = "reading the parked rows";
    sql::list(connection, doing, "SELECT key FROM _driftless_parked WHERE tbl = ?1", [table], sql::first)
}

/// Parks a row, or renews the reason. `row`: its values, a JSON object.
pub(crate) fn put(
    tx: &Transaction<'_>,
    table: i64,
    key: &RowKey,
    reason: &Reason,
    row: Option<&str>,
) -> Result<()> {
    put_as(tx, table, key.as_bytes(), &key.to_string(), reason, row)
}

/// Parks a row under other bytes than its key's, as it has none that could travel.
pub(crate) fn put_as(
    tx: &Transaction<'_>,
    table: i64,
    key: &[u8],
    pk: &str,
    reason: &Reason,
    row: Option<&str>,
) -> Result<()> {
    let (waits_table, waits) = reason.waits.as_ref().map(|(table, waits)| (*table, waits)).unzip();
    sql::exec(
        tx,
        "parking a row",
        "INSERT OR REPLACE INTO _driftless_parked (tbl, key, pk, stage, rule, reason, clash, row, waits_tbl, waits)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        (
            table,
            key,
            pk,
            reason.stage as i64,
            &reason.rule,
            &reason.sentence,
            &reason.clash,
            row,
            waits_table,
            waits,
        ),
    )?;
    Ok(())
}

/// The row fits, or is gone. Returns whether it was parked.
pub(crate) fn remove(tx: &Transaction<'_>, table: i64, key: &RowKey) -> Result<bool> {
    remove_as(tx, table, key.as_bytes())
}

/// The row that was parked under these bytes is gone. Returns whether it was parked.
pub(crate) fn remove_as(tx: &Transaction<'_>, table: i64, key: &[u8]) -> Result<bool> {
    let removed = sql::exec(
        tx,
        "unparking a row",
        "DELETE FROM _driftless_parked WHERE tbl = ?1 AND key = ?2",
        (table, key),
    )?;
    Ok(removed > 0)
}

/// Up to `limit` rows that wait for just this: (table, key).
pub(crate) fn waiting(
    connection: &Connection,
    table: i64,
    waits: &[u8],
    limit: usize,
) -> Result<Vec<(i64, Vec<u8>)>> {
    sql::list(
        connection,
        "reading the parked rows",
        "SELECT tbl, key FROM _driftless_parked WHERE waits_tbl = ?1 AND waits = ?2 ORDER BY tbl, key
         LIMIT ?3",
        (table, waits, sql::limit(limit)),
        |row| row.try_into(),
    )
}

/// At which stage a row was parked, and in which table something must change, and what, for it to fit; `None` if it is
/// not parked.
#[expect(clippy::type_complexity, reason = "a row of the table, taken apart where it is read")]
pub(crate) fn waits(
    connection: &Connection,
    table: i64,
    key: &RowKey,
) -> Result<Option<(i64, Option<(i64, Vec<u8>)>)>> {
    let read = |row: &rusqlite::Row<'_>| {
        let (table, waits): (Option<i64>, Option<Vec<u8>>) = (row.get(1)?, row.get(2)?);
        Ok((row.get(0)?, table.zip(waits)))
    };
    sql::opt(
        connection,
        "reading the parked rows",
        "SELECT stage, waits_tbl, waits FROM _driftless_parked WHERE tbl = ?1 AND key = ?2",
        (table, key.as_bytes()),
        read,
    )
}

/// Forgets the rows that have no document, but for those that stay in this file.
pub(crate) fn forget_without_document(tx: &Transaction<'_>) -> Result<()> {
    sql::exec(
        tx,
        "parking a row",
        "DELETE FROM _driftless_parked WHERE stage <> ?1 AND NOT EXISTS
         (SELECT 1 FROM _driftless_rows r WHERE r.tbl = _driftless_parked.tbl AND r.key = _driftless_parked.key)",
        [Stage::Local as i64],
    )?;
    Ok(())
}

/// Forgets what rows wait for that lack a parent. Each of them must be judged again, or it would wait for ever.
pub(crate) fn forget_waits(tx: &Transaction<'_>) -> Result<()> {
    sql::exec(
        tx,
        "forgetting what parked rows wait for",
        "UPDATE _driftless_parked SET waits_tbl = NULL, waits = NULL WHERE stage = 3",
        [],
    )?;
    Ok(())
}

/// Forgets what a row waits for that lacks a parent. It must be judged again.
pub(crate) fn forget_wait(tx: &Transaction<'_>, table: i64, key: &RowKey) -> Result<()> {
    sql::exec(
        tx,
        "forgetting what a parked row waits for",
        "UPDATE _driftless_parked SET waits_tbl = NULL, waits = NULL WHERE tbl = ?1 AND key = ?2",
        (table, key.as_bytes()),
    )?;
    Ok(())
}

/// Whether a row is among them.
pub(crate) fn is_listed(connection: &Connection, table: i64, key: &RowKey) -> Result<bool> {
    sql::exists(
        connection,
        "reading the parked rows",
        "SELECT 1 FROM _driftless_parked WHERE tbl = ?1 AND key = ?2",
        (table, key.as_bytes()),
    )
}

/// A row that is parked: the table, the key's bytes, the stage, the constraint.
pub(crate) type Judged = (i64, Vec<u8>, i64, Option<String>);

/// Every row that a constraint keeps out of its table, those left out that only cannot travel.
pub(crate) fn judged(connection: &Connection) -> Result<Vec<Judged>> {
    sql::list(
        connection,
        "reading the parked rows",
        "SELECT tbl, key, stage, rule FROM _driftless_parked WHERE stage <> 0",
        [],
        |row| row.try_into(),
    )
}
