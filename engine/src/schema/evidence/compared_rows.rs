//! Compares the rows of a table with their documents. The differences tell what happened to the table and its columns when
//! SQLite does not tell.

use std::collections::HashSet;

use driftless_protocol::{RowKey, Value};
use rusqlite::{Transaction, params_from_iter};

use crate::document::row::resolve::RowState;
use crate::document::row::{ColumnNames, RowDocument};
use crate::error::{Doing, Error, Result};
use crate::schema::{Table, Tracked, column_names};
use crate::store::tables::Entry;
use crate::store::{Bind, backlog, dirty, documents, texts, value};

/// At most so many documents are compared with their rows: the first ones show what happened to a column.
const COMPARED: usize = 1000;

/// A row that is there and the document that it was last shown or captured as.
pub(crate) struct Compared<'a> {
    pub(crate) state: &'a RowState<'a>,
    /// In the order of the table.
    pub(crate) row: &'a [Value<'static>],
    /// Whether it waits to be captured: our triggers marked it, or it was listed.
    pub(crate) is_marked: bool,
}

/// Tells of one row after the other, until `tell` has heard enough and says `false`.
pub(crate) fn each(
    tx: &Transaction<'_>,
    entry: &Entry,
    table: &Table,
    mut tell: impl FnMut(&Compared<'_>) -> Result<bool>,
) -> Result<()> {
    let renames = column_names::without_waiting(entry, column_names::merging(&entry.renames));
    let marked = marked(tx, entry, table)?;
    // Rows that wait to be captured may differ from their documents without a mark.
    let waits = !backlog::is_empty(tx)?;
    // These rows wait to be written from their documents, so they prove nothing.
    let unshown: HashSet<Vec<u8>> = backlog::to_refresh(tx, entry.id)?.into_iter().collect();
    let tracked = Tracked::new(entry.id, entry.name.clone(), entry.options.clone(), table.clone());
    for bytes in
        documents::keys(tx, entry.id)?.into_iter().filter(|key| !unshown.contains(key)).take(COMPARED)
    {
        let Some(row) = row(tx, &tracked, &bytes)? else { continue };
        let Some(stored) = documents::get(tx, entry.id, &bytes)? else { continue };
        // One that cannot be read is made anew when the row is captured.
        let names = ColumnNames { renames: &renames, asked: &[] };
        let Ok(document) = RowDocument::read(&stored.body, names) else { continue };
        let mut state = document.view(entry.options.deletes_win).state;
        if !state.alive {
            continue;
        }
        match texts::fill(tx, entry.id, &bytes, &mut state, |_| None) {
            Err(Error::TextDoc(_)) => continue,
            filled => filled?,
        }
        let compared = Compared { state: &state, row: &row, is_marked: waits || marked.contains(&bytes) };
        if !tell(&compared)? {
            break;
        }
    }
    Ok(())
}

/// The keys of the rows that our triggers marked.
fn marked(tx: &Transaction<'_>, entry: &Entry, table: &Table) -> Result<HashSet<Vec<u8>>> {
    let mut marked = HashSet::new();
    for mut mark in dirty::read(tx, usize::MAX >> 1)?.into_iter().filter(|mark| mark.table == entry.id) {
        mark.key.truncate(table.key.len());
        marked.extend(table.row_key(&mark.key).ok().map(|key| key.as_bytes().to_vec()));
    }
    Ok(marked)
}

/// The row of a document as its table has it.
pub(crate) fn row(
    tx: &Transaction<'_>,
    tracked: &Tracked,
    key: &[u8],
) -> Result<Option<Vec<Value<'static>>>> {
    let doing = "comparing a row with its document";
    let Ok(key) = RowKey::from_bytes(key) else { return Ok(None) };
    let values = key.values();
    if values.len() != tracked.table.key.len() {
        return Ok(None);
    }
    let mut select = tx.prepare_cached(&tracked.select).doing(doing)?;
    let mut rows = select.query(params_from_iter(values.iter().map(Bind))).doing(doing)?;
    let Some(row) = rows.next().doing(doing)? else { return Ok(None) };
    let columns = 0..tracked.table.columns.len();
    columns
        .map(|at| Ok(value(row.get_ref(at)?).into_owned()))
        .collect::<rusqlite::Result<_>>()
        .map(Some)
        .doing(doing)
}
