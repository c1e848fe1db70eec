//! One row, as it is in its table → updates of its documents.

use std::collections::BTreeSet;

use driftless_protocol::changeset::MAX_BODY_BYTES;
use driftless_protocol::lane::LIFE;
use driftless_protocol::{RowKey, Value, WriterId};
use rusqlite::{Transaction, params_from_iter};

use super::found::{Cause, Fresh, Unseeing, Unshown, says_all, set_fresh_apart, take_renamed, take_told};
use super::read::{self, Before, DOING};
use super::writing::Writing;
use super::{Author, Has, Kind, counters, texts};
use crate::document;
use crate::document::row::RowDocument;
use crate::document::row::diff::{self, Current};
use crate::document::row::resolve::RowState;
use crate::env::ids;
use crate::error::{Doing, Error, Result};
use crate::schema::Tracked;
use crate::store::dirty::{Mark, Why};
use crate::store::parked::{Reason, Stage};
use crate::store::{Bind, backlog, bases, documents, identity, parked, writers};
use crate::turn::apply::TouchedRows;

/// Rows larger than this, in bytes and with their keys, stay in this file: a changeset holds one whole row at least.
const MAX_ROW_BYTES: usize = MAX_BODY_BYTES - (1 << 20);

#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) tracked: &'a Tracked,
    pub(super) key: &'a RowKey,
    pub(super) mark: &'a Mark,
    pub(super) kind: Kind,
    /// Whether the row may have had a document that was lost. Others may then hold what the row shows, and that must
    /// not count twice.
    pub(super) lost: bool,
    /// Columns whose shown value is to win over the values kept beside it. It is written again, although it shows
    /// already.
    pub(super) settled: &'a [String],
}

/// An update for others.
pub(super) enum DocumentUpdate {
    /// Of the row document.
    Row(Vec<u8>),
    /// Of a column's text document.
    Text { column: String, update: Vec<u8> },
    /// Some of the updates are by this writer of ours, which is not the writer of this opening.
    By(WriterId),
}

/// Captures a row whose document cannot be read: one damaged document holds nothing up. It is dropped, and the row begins
/// anew under a writer id of its own, since the damaged document may hold clocks of ours.
pub(super) fn anew(
    tx: &Transaction<'_>,
    row: Row<'_>,
    author: Author,
    has: Has,
    touched: &mut TouchedRows,
    error: &Error,
) -> Result<Vec<DocumentUpdate>> {
    let (table, key) = (&row.tracked.table.spelled, row.key);
    tracing::error!(table, %error, "a row document cannot be read; the row is captured anew");
    documents::forget(tx, row.tracked.id, key.as_bytes())?;
    crate::store::texts::forget(tx, row.tracked.id, key.as_bytes())?;
    bases::forget(tx, row.tracked.id, key.as_bytes())?;
    identity::add_repaired(
        tx,
        &format!(
            "the document of {table} [{key}] could not be read and was made anew; what others wrote in the row comes back \
             with `driftless verify FILE URL --repair`"
        ),
    )?;
    let author = Author { writer: ids::writer(), ..author };
    writers::remember(tx, author.writer, author.replica)?;
    capture_row(tx, Row { lost: true, ..row }, author, has, touched)
}

/// The changes that write again what the `settled` columns show, if other values stand beside it.
fn restated<'a>(
    settled: &[String],
    state: Option<&RowState<'_>>,
    current: Option<&[Current<'a>]>,
) -> Vec<document::row::Change<'a>> {
    let of = |name: &String| {
        let before = state?.column(name).filter(|column| !column.kept.is_empty())?;
        let now = current?.iter().find(|now| now.column == name)?;
        Some(diff::restated(now, before))
    };
    settled.iter().filter_map(of).flatten().collect()
}

/// What a row is compared with, to find out what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Against {
    /// What the table showed of the row; nothing if it was not there.
    Shown,
    /// A document of others that the table never showed: the row was found independently of it.
    Apart,
    /// The row that is parked under the same key. It is in no table, so the app need not have known of it.
    Parked,
}

/// Where a write came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// A trigger saw it.
    Written,
    /// A trigger saw it, and the row's document may have been lost: others may hold what the row shows.
    WrittenAnew,
    /// No trigger saw it.
    Found,
}

impl Against {
    fn of(tx: &Transaction<'_>, row: Row<'_>, before: &Before, has: Has, is_there: bool) -> Result<Self> {
        if is_there && has.parked && before.stored.is_some() && is_over_parked(tx, row)? {
            return Ok(Self::Parked);
        }
        Ok(if before.apart { Self::Apart } else { Self::Shown })
    }
}

impl Origin {
    fn of(row: Row<'_>, is_new: bool) -> Self {
        match row.kind {
            Kind::Found => Self::Found,
            Kind::Written if row.lost && is_new => Self::WrittenAnew,
            Kind::Written => Self::Written,
        }
    }
}

/// Finds out whether the row has new columns that do not show yet what the document holds. `None` if it has none.
fn unshown(
    tx: &Transaction<'_>,
    row: Row<'_>,
    author: Author,
    document: Option<&RowDocument<'_>>,
    current: Option<&[Current<'_>]>,
) -> Result<Option<Unshown>> {
    let tracked = row.tracked;
    if tracked.fresh.is_empty() {
        return Ok(None);
    }
    // A rebuilt table shows nothing of what others wrote until it is compared. But if some of its rows have been
    // waiting to be shown since before it was rebuilt, then all the other rows have been shown.
    let shows_nothing = tracked.settling && !backlog::is_any_to_refresh(tx, tracked.id)?;
    if !shows_nothing && !backlog::is_to_refresh(tx, tracked.id, row.key.as_bytes())? {
        return Ok(None);
    }
    let mut own = BTreeSet::from([author.writer]);
    for (lane, _) in document.into_iter().flat_map(|document| document.lanes.iter()) {
        if writers::replica_of(tx, lane.writer)? == Some(author.replica) {
            own.insert(lane.writer);
        }
    }
    let counters = counters::new_counters(tracked, current.unwrap_or_default());
    Ok(Some(Unshown { own, counters }))
}

/// Whether a row was inserted under the key of a parked row. A parked row is in no table, so SQLite may have given
/// its rowid to the new row. A row that is listed only because it cannot leave this file is in its table, and does
/// not count.
fn is_over_parked(tx: &Transaction<'_>, row: Row<'_>) -> Result<bool> {
    // Rows that were found in a rebuilt table, or in one that was not tracked for a while, were written by the app as
    // well.
    let by_the_app = row.kind == Kind::Written || matches!(row.mark.why, Why::Rebuilt | Why::Again);
    let stage = parked::waits(tx, row.tracked.id, row.key)?.map(|(stage, _)| stage);
    Ok(by_the_app && stage.is_some_and(|stage| stage != Stage::Local as i64))
}

/// What is to be written into a row's document.
#[derive(Default)]
struct Plan<'a> {
    /// Written before all else: the values with which columns began that may be other columns under new names.
    begun: Vec<document::row::Change<'a>>,
    /// Changes by somebody who had seen what the table showed.
    seeing: Vec<document::row::Change<'a>>,
    /// Changes by somebody who had not.
    beside: Vec<document::row::Change<'a>>,
    /// Changes by somebody who had seen what the table showed, in columns that the table did not have yet when it
    /// showed that.
    unseeing: Unseeing<'a>,
}

impl<'a> Plan<'a> {
    fn of(
        row: Row<'_>,
        state: Option<&RowState<'_>>,
        mut current: Option<Vec<Current<'a>>>,
        (against, origin): (Against, Origin),
        cause: Cause<'_>,
    ) -> Self {
        let tracked = row.tracked;
        match (against, state) {
            (Against::Parked, Some(state)) => {
                let mut current = current.unwrap_or_default();
                set_fresh_apart(tracked, state, &mut current, cause);
                Self { beside: diff::inserted_over(state, current), ..Self::default() }
            }
            // The row is written as if it had been tracked before this file met the others, so that everybody who
            // finds this row makes the same document. Nothing is written if the document says all of it already, as
            // when the row was captured a moment ago.
            (Against::Apart, Some(state)) if says_all(tracked, state, current.as_deref()) => Self::default(),
            (Against::Apart, _) => Self { beside: diff::changes(None, current, true), ..Self::default() },
            (Against::Shown | Against::Parked, state) => {
                let (renamed, Fresh { mut beside, unseeing }) = match (state, &mut current) {
                    (Some(state), Some(columns)) => {
                        let renamed = take_renamed(tracked, state, columns);
                        (renamed, set_fresh_apart(tracked, state, columns, cause))
                    }
                    _ => Default::default(),
                };
                if origin == Origin::WrittenAnew {
                    // Others may hold what a counter shows, too. So it is written with no known time, and gives way
                    // to theirs.
                    beside.extend(counters::take(&mut current));
                }
                let mut seeing = diff::changes(state, current, origin != Origin::Written);
                // A value that a migration put into a new column does not mean that anybody wants the row to stay.
                let is_written =
                    row.kind == Kind::Written || renamed.edits.iter().any(document::row::Change::is_addition);
                let is_edited = !renamed.edits.is_empty() || !unseeing.changes.is_empty();
                if seeing.is_empty() && is_written && is_edited {
                    seeing.push(document::row::Change::set(LIFE, Value::Integer(1)));
                }
                seeing.extend(renamed.edits);
                Self { begun: renamed.begun, seeing, beside, unseeing }
            }
        }
    }

    /// Writes some columns again with the values that they show, except those that are written anyway.
    fn restate(&mut self, restated: Vec<document::row::Change<'a>>) {
        let written: Vec<_> = self.seeing.iter().map(|change| change.column().clone()).collect();
        for change in restated {
            if self.seeing.is_empty() {
                self.seeing.push(document::row::Change::set(LIFE, Value::Integer(1)));
            }
            if written.iter().all(|known| known != change.column()) {
                self.seeing.push(change);
            }
        }
    }

    /// Whether columns had other values beside the shown one before this plan is carried out, or may have them after
    /// it.
    fn may_leave_conflicts(&self, state: Option<&RowState<'_>>) -> bool {
        !self.unseeing.changes.is_empty() || state.is_some_and(RowState::is_in_conflict)
    }

    /// Whether the text document of a column is written.
    fn sets_text(&self, name: &str) -> bool {
        let sets = |change: &document::row::Change<'_>| matches!(change, document::row::Change::SetText { column } if column == name);
        self.seeing.iter().chain(&self.beside).any(sets)
    }
}

/// Brings one row's document up to the row. Returns the updates for others, in order; none if nothing changed.
pub(super) fn capture_row(
    tx: &Transaction<'_>,
    row: Row<'_>,
    author: Author,
    has: Has,
    touched: &mut TouchedRows,
) -> Result<Vec<DocumentUpdate>> {
    let Row { tracked, key, .. } = row;
    let before = Before::read(tx, row, has)?;
    let view = before.shown().map(|document| tracked.view(document)).transpose()?;
    let (document, mut state) = view.map(|view| (view.document, view.state)).unzip();
    let mut select = tx.prepare_cached(&tracked.select).doing(DOING)?;
    let mut rows = select.query(params_from_iter(row.mark.key.iter().map(Bind))).doing(DOING)?;
    let found = rows.next().doing(DOING)?.filter(|_| !before.is_of_another_type);
    let mut current =
        found.map(|found| read::columns(tx, tracked, &before, state.as_ref(), found)).transpose()?;
    // A deleted row needs no texts.
    if let (Some(state), Some(columns)) = (&mut state, &current)
        && state.texts().next().is_some()
    {
        texts::fill(tx, tracked, key, state, has.bases, |name| read::text_of(columns, name))?;
    }
    if let Some(reason) = too_large(current.as_deref().unwrap_or_default()) {
        parked::put(tx, tracked.id, key, &Reason::local(reason), None)?;
        return Ok(Vec::new());
    }
    let is_there = current.is_some();
    let new_texts = new_texts(state.as_ref(), current.as_deref().unwrap_or_default(), before.apart);
    let told = match (row.mark.why, &document, &mut current) {
        (Why::Told, Some(shown), Some(columns)) => take_told(tx, tracked, shown, columns, author.replica)?,
        _ => Unseeing::default(),
    };
    let restated = restated(row.settled, state.as_ref(), current.as_deref());
    let (against, origin) = (Against::of(tx, row, &before, has, is_there)?, Origin::of(row, state.is_none()));
    let unshown = unshown(tx, row, author, document.as_ref(), current.as_deref())?;
    let shown = document.as_ref().map(|document| &document.lanes);
    let cause = Cause { kind: row.kind, why: row.mark.why, unshown: unshown.as_ref(), shown };
    let mut plan = Plan::of(row, state.as_ref(), current, (against, origin), cause);
    plan.restate(restated);
    let set_texts: Vec<&(String, String)> =
        new_texts.iter().filter(|(name, _)| plan.sets_text(name)).collect();

    let in_conflict = against == Against::Parked || plan.may_leave_conflicts(state.as_ref());
    let mut writing = Writing::begin(tx, row, author, (&before, document), &new_texts);
    writing.write_begun(plan.begun)?;
    writing.write_seeing(plan.seeing)?;
    writing.write_unseeing(told)?;
    writing.write_unseeing(plan.unseeing)?;
    match &state {
        Some(state) if against == Against::Parked => {
            writing.write_over_parked(plan.beside, state.latest())?
        }
        _ => writing.write_beside(plan.beside)?,
    }
    for (column, text) in set_texts {
        writing.write_text(state.as_ref(), column, text)?;
    }
    writing.keep_as_shown(unshown.as_ref().map_or(&[], |unshown| &unshown.counters))?;
    writing.finish(has, is_there, in_conflict, touched)
}

/// Why a row stays in this file, if it is too large to travel.
fn too_large(columns: &[Current<'_>]) -> Option<String> {
    let size: usize = columns.iter().map(|column| column.value.payload_len() + column.column.len()).sum();
    (size > MAX_ROW_BYTES).then(|| {
        format!("it has {size} bytes, more than the {MAX_ROW_BYTES} that can travel: it stays local")
    })
}

/// The texts of a row that its documents do not show: column and content.
fn new_texts(state: Option<&RowState<'_>>, columns: &[Current<'_>], apart: bool) -> Vec<(String, String)> {
    let is_new = |now: &&Current<'_>| {
        let shown = state.and_then(|state| state.column(now.column));
        apart || !shown.is_some_and(|shown| shown.shows(&now.value))
    };
    let text = |now: &Current<'_>| Some((now.column.to_owned(), now.text()?.to_owned()));
    columns.iter().filter(is_new).filter_map(text).collect()
}
