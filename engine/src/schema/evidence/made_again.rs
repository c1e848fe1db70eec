//! Tables and columns that were dropped and made again before the engine looked. By its name such a table or column is still
//! the old one. Its rows decide: if they have nothing of what the old one held, it is new. That matters for what the space has
//! given up, whose values must not come back, and for columns, whose defaults must not be written over what others have.

use std::collections::HashSet;

use driftless_protocol::Value;
use rusqlite::Transaction;

use super::compared_rows::{self, Compared};
use crate::document::row::{ColumnNames, RowDocument};
use crate::error::Result;
use crate::schema::column_changes::{self, Key};
use crate::schema::column_names;
use crate::schema::{Table, Tracked};
use crate::store::tables::{Entry, State};
use crate::store::{backlog, documents, fold, parked};

/// Whether a table that lost our triggers is a new one: the old one showed rows, and this one has none of them. A migration
/// that makes a table anew keeps some, under their keys. SQLite hands out integer keys again, so those prove nothing.
pub(crate) fn table(tx: &Transaction<'_>, entry: &Entry, table: &Table) -> Result<bool> {
    // A table that waits to be compared was perhaps never shown the rows that it lacks.
    if entry.state != State::Tracked || entry.rebuilt.is_some() || table.integer_key {
        return Ok(false);
    }
    let mut travelling = table.clone();
    travelling.rename(&entry.renames);
    if matches!(column_changes::of_key(entry, &travelling), Key::Other { .. }) {
        return Ok(false);
    }
    let mut unshown: HashSet<Vec<u8>> = parked::keys(tx, entry.id)?.into_iter().collect();
    unshown.extend(backlog::to_refresh(tx, entry.id)?);
    let tracked = Tracked::new(entry.id, entry.name.clone(), entry.options.clone(), table.clone());
    let mut had_rows = false;
    for key in documents::keys(tx, entry.id)? {
        if compared_rows::row(tx, &tracked, &key)?.is_some() {
            return Ok(false);
        }
        had_rows = had_rows || !unshown.contains(&key) && is_alive(tx, entry, &key)?;
    }
    Ok(had_rows)
}

/// Whether a document shows a row.
fn is_alive(tx: &Transaction<'_>, entry: &Entry, key: &[u8]) -> Result<bool> {
    let Some(stored) = documents::get(tx, entry.id, key)? else { return Ok(false) };
    let document = RowDocument::read(&stored.body, ColumnNames::default());
    Ok(document.is_ok_and(|document| document.view(entry.options.deletes_win).state.alive))
}

/// Whether a column of a table that kept our triggers is a new one: a row that nobody wrote since has the column's default,
/// and its document says otherwise.
pub(crate) fn column(tx: &Transaction<'_>, entry: &Entry, table: &Table, at: usize) -> Result<bool> {
    let column = &table.columns[at];
    let (spelled, mut is_new) = (fold(&column.spelled), false);
    let travels = column_names::travels(entry, &spelled);
    compared_rows::each(tx, entry, table, |Compared { state, row, is_marked }| {
        let is_default = column.default.as_ref() == Some(&row[at]);
        if !is_marked
            && is_default
            && let Some(was) = state.value(travels)
        {
            is_new = !column.shows_for(tx, was, &row[at])?;
        }
        Ok(!is_new)
    })?;
    Ok(is_new)
}

/// Whether a column of a table that lost our triggers was filled anew: made anew without the column, and then with it. So it is
/// if rows that differ from their documents have the column's default; or if at least two differ, and all of them have one
/// and the same value. A row that has another value than this fill, and the one of its document, shows that it was copied.
pub(crate) fn filled_column(tx: &Transaction<'_>, entry: &Entry, table: &Table, at: usize) -> Result<bool> {
    let column = &table.columns[at];
    let default = column.default.clone().unwrap_or(Value::Null);
    let spelled = fold(&column.spelled);
    let travels = column_names::travels(entry, &spelled);
    let (mut filled, mut differing): (Vec<Value<'static>>, usize) = (Vec::new(), 0);
    let mut copied: Vec<Value<'static>> = Vec::new();
    compared_rows::each(tx, entry, table, |Compared { state, row, .. }| {
        let Some(was) = state.value(travels) else { return Ok(true) };
        let now = &row[at];
        let differs = !column.shows_for(tx, was, now)?;
        differing += usize::from(differs);
        let seen = if differs { &mut filled } else { &mut copied };
        if seen.len() < 2 && !seen.contains(now) {
            seen.push(now.clone());
        }
        // What two rows have that differ is no one value.
        Ok(copied.len() < 2)
    })?;
    let fill = match &filled[..] {
        all if all.contains(&default) => &default,
        [one] if differing > 1 => one,
        _ => return Ok(false),
    };
    Ok(copied.iter().all(|value| value == fill))
}
