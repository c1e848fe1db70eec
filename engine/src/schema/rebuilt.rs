//! A table that was rebuilt: it is there, and without our triggers. Migrations make a new table, copy what they keep, drop
//! the old table and rename the new one; other tools drop triggers. What the table holds is what its user wants: a row that
//! is missing was deleted, a row that is new was inserted, a row that differs was edited.
//!
//! One exception: an empty table was dropped and made again, and is filled again, but for rows that had been deleted before. And
//! two kinds of rows are missing for another reason: those that are parked, and those that the table was never shown.

use std::collections::{BTreeMap, HashSet};

use driftless_protocol::RowKey;
use rusqlite::{Transaction, params_from_iter};

use super::lifecycle::enqueue_all;
use super::{Catalog, Table};
use crate::error::{Doing, Error, Result};
use crate::store::dirty::{self, Mark, Why};
use crate::store::tables::{self, Entry};
use crate::store::{Bind, backlog, documents, parked, quote, sql};

/// Lists everything of a table that may differ from its documents, to be captured; and its documents, to be shown after
/// that. Edits that are found get the time `entry.rebuilt`.
pub(super) fn compare(tx: &Transaction<'_>, entry: &Entry, table: &Table, now: i64) -> Result<()> {
    tables::begin_comparison(tx, entry.id, now)?;
    dirty::widen(tx, table.key.len())?;
    if is_empty(tx, table)? {
        tracing::info!(table = %table.spelled, "the table was dropped and made again; it is filled again");
    } else {
        tracing::info!(table = %table.spelled, "the table was rebuilt; it is compared with what was known of it");
        let at = entry.rebuilt.unwrap_or(now);
        enqueue_all(tx, entry.id, table, Why::Rebuilt, at)?;
        for key in missing(tx, entry.id, table)? {
            backlog::look_at(tx, entry.id, &key.values(), Why::Rebuilt, at)?;
        }
    }
    backlog::refresh_table(tx, entry.id)?;
    tables::set_unjudged(tx, entry.id)
}

/// Forgets that rows were written which went with the old table, and that they are still to be compared from an earlier time.
/// Nobody deleted them: they are found missing when the table is compared, unless it is filled again, or still is being filled.
/// Rows that had gone before, as the triggers saw, were deleted.
pub(super) fn forget_lost_marks(tx: &Transaction<'_>, id: i64, table: &Table) -> Result<()> {
    let without_row = |log: &str| {
        format!(
            "DELETE FROM {log} WHERE tbl = {id} AND NOT EXISTS (SELECT 1 FROM main.{} WHERE {})",
            quote(&table.spelled),
            table.key_equals(|n| format!("{log}.k{n}"))
        )
    };
    let gone = format!(
        "SELECT id FROM (SELECT max(id) AS id, gone FROM _driftless_dirty WHERE tbl = {id} GROUP BY {}) WHERE gone",
        dirty::key_list(table.key.len())
    );
    let sql = format!(
        "DELETE FROM _driftless_dirty WHERE tbl = -{id}; {} AND id NOT IN ({gone}); {} AND first = {}",
        without_row("_driftless_dirty"),
        without_row("_driftless_backlog"),
        Why::Rebuilt.number()
    );
    tx.execute_batch(&sql).doing("forgetting marks of a table that was rebuilt")
}

pub(super) fn is_empty(tx: &Transaction<'_>, table: &Table) -> Result<bool> {
    let query = format!("SELECT 1 FROM main.{}", quote(&table.spelled));
    Ok(!sql::exists(tx, "looking at a table that was rebuilt", &query, [])?)
}

/// The keys of documents whose rows are not in the table, though it was shown them.
pub(crate) fn missing(tx: &Transaction<'_>, id: i64, table: &Table) -> Result<Vec<RowKey>> {
    let doing = "looking for rows that a table lacks";
    let mut excused: HashSet<Vec<u8>> = parked::keys(tx, id)?.into_iter().collect();
    excused.extend(backlog::to_refresh(tx, id)?);
    let there = format!(
        "SELECT EXISTS (SELECT 1 FROM main.{} WHERE {})",
        quote(&table.spelled),
        table.key_condition()
    );
    let mut there = tx.prepare_cached(&there).doing(doing)?;
    let mut missing = Vec::new();
    for key in documents::keys(tx, id)? {
        if excused.contains(&key) {
            continue;
        }
        let key = RowKey::from_bytes(&key)
            .map_err(|error| Error::Damaged { table: "_driftless_rows", what: error.to_string() })?;
        let values = key.values();
        if values.len() != table.key.len() {
            continue; // no row of this table: it is parked, or was deleted
        }
        let is_there: bool =
            there.query_row(params_from_iter(values.iter().map(Bind)), |row| row.get(0)).doing(doing)?;
        // A value that the column converts now finds the row of what it is converted to, which is another key.
        if !is_there || !table.can_have(tx, &key, &values)? {
            missing.push(key);
        }
    }
    Ok(missing)
}

/// Replaces the marks that name no row: REPLACE may have evicted one through a rowid that a statement named, and which one
/// that was the table no longer tells. So all rows of its documents that it lacks are marked.
pub(crate) fn with_evicted(tx: &Transaction<'_>, catalog: &Catalog, marks: Vec<Mark>) -> Result<Vec<Mark>> {
    let (nameless, mut marks): (Vec<Mark>, Vec<Mark>) = marks.into_iter().partition(|mark| mark.table < 0);
    let mut last: BTreeMap<i64, i64> = BTreeMap::new();
    for mark in nameless {
        let at = last.entry(-mark.table).or_insert(mark.at);
        *at = mark.at.max(*at);
    }
    for (table, at) in last {
        // While a table is in the making, what it lacks is found when that is over.
        let Some(tracked) = catalog.get(table).filter(|tracked| !tracked.settling) else { continue };
        let missing = missing(tx, table, &tracked.table)?;
        marks.extend(missing.iter().map(|key| Mark { id: 0, table, at, why: Why::Again, key: key.values() }));
    }
    Ok(marks)
}
