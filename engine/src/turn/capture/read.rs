//! What a row's documents showed in its table, and what stands in the table now.

use driftless_protocol::Value;
use rusqlite::{Row, Transaction};

use super::row;
use super::{Has, Kind};
use crate::document::row::diff::Current;
use crate::document::row::resolve::RowState;
use crate::error::{Doing, Result};
use crate::schema::{Column, Tracked};
use crate::store::dirty::Why;
use crate::store::documents::Stored;
use crate::store::tables::DEFINITIONS;
use crate::store::{bases, documents, value};

pub(super) const DOING: &str = "reading a row to capture it";

/// What is known of a row before it is captured.
pub(super) struct Before {
    /// Its document.
    pub(super) stored: Option<Stored>,
    /// What the table showed, where that is not what the document holds.
    pub(super) base: Option<Vec<u8>>,
    /// Whether the row was found in a table that was never shown the document.
    pub(super) apart: bool,
    /// Whether its table, which was rebuilt, converts the key to another one: what it finds under the key is another row.
    pub(super) is_of_another_type: bool,
    /// The values of its key, as the key gives them back.
    key: Vec<Value<'static>>,
}

impl Before {
    pub(super) fn read(tx: &Transaction<'_>, row: row::Row<'_>, has: Has) -> Result<Self> {
        let (table, key) = (row.tracked.id, row.key.as_bytes());
        let stored = documents::get(tx, table, key)?;
        let base = if has.bases { bases::get(tx, table, key)? } else { None };
        let apart =
            row.kind == Kind::Found && row.mark.why == Why::First && stored.is_some() && base.is_none();
        let key = row.key.values();
        let is_of_another_type =
            row.mark.why == Why::Rebuilt && !row.tracked.table.can_have(tx, row.key, &key)?;
        Ok(Self { stored, base, apart, is_of_another_type, key })
    }

    /// The document as the table showed it. None of a row that has come since it was last shown anything.
    pub(super) fn shown(&self) -> Option<&[u8]> {
        match &self.base {
            Some(base) => Some(&base[..]).filter(|base| !base.is_empty()),
            None => self.stored.as_ref().map(|stored| &stored.body[..]),
        }
    }
}

/// The columns of a row as they are in its table. `found`: the row, selected by `tracked.select`.
pub(super) fn columns<'a>(
    tx: &Transaction<'_>,
    tracked: &'a Tracked,
    before: &'a Before,
    state: Option<&RowState<'_>>,
    found: &'a Row<'_>,
) -> Result<Vec<Current<'a>>> {
    let mut columns = Vec::with_capacity(tracked.table.columns.len());
    for (at, column) in tracked.table.columns.iter().enumerate() {
        let value = value(found.get_ref(at).doing(DOING)?);
        let value = match state.and_then(|state| written_value(tracked, state, column)) {
            Some(written) => as_written(tx, column, written, value)?,
            None => value,
        };
        let implied = implied(tracked, before, at, state.is_some());
        columns.push(Current { column: &column.name, kind: tracked.kinds[at], value, implied });
    }
    Ok(columns)
}

/// What the document of a row implies for a column that nobody wrote.
fn implied<'a>(
    tracked: &'a Tracked,
    before: &'a Before,
    at: usize,
    has_document: bool,
) -> Option<&'a Value<'a>> {
    if let Some(place) = tracked.table.key.iter().position(|key| key.at == at) {
        return before.key.get(place);
    }
    // Where a document exists but not this column, the row has the default it got with the column. And what a new
    // definition leaves unstated must not stand against what another states.
    let has_default = if has_document { !before.apart } else { tracked.id == DEFINITIONS };
    tracked.table.columns[at].default.as_ref().filter(|_| has_default)
}

/// A value that is other than it was written only because of the column's type was not written here.
fn as_written<'a>(
    tx: &Transaction<'_>,
    column: &Column,
    written: &Value<'_>,
    value: Value<'a>,
) -> Result<Value<'a>> {
    let is_same = *written != value && column.shows_for(tx, written, &value)?;
    Ok(if is_same { written.clone().into_owned() } else { value })
}

/// The value that the document has for a column. If it has none yet, the value of the column that this one may be under a new
/// name.
fn written_value<'s>(tracked: &Tracked, state: &'s RowState<'_>, column: &Column) -> Option<&'s Value<'s>> {
    state.value(&column.name).or_else(|| {
        let (_, other) = tracked.asked.iter().find(|(asked, _)| *asked == column.name)?;
        state.value(other)
    })
}

/// The text that stands in a column.
pub(super) fn text_of<'a>(columns: &'a [Current<'_>], name: &str) -> Option<&'a [u8]> {
    match &columns.iter().find(|column| column.column == name)?.value {
        Value::Text(text) => Some(&**text),
        _ => None,
    }
}
