//! One row, as it is in its table → updates of its documents.

use driftless_protocol::changeset::MAX_BODY_BYTES;
use driftless_protocol::lane::LIFE;
use driftless_protocol::{RowKey, Value, WriterId};
use rusqlite::Transaction;

use super::found::{Told, finder, says_all, set_fresh_apart, take_counters, take_told};
use super::{Author, Has, Kind, texts};
use crate::document;
use crate::document::row::Lanes;
use crate::document::row::diff::{self, Current};
use crate::document::row::resolve::RowState;
use crate::env::ids;
use crate::error::{Doing, Error, Result};
use crate::schema::{Column, Tracked};
use crate::store::dirty::{Mark, Why};
use crate::store::parked::{Reason, Stage};
use crate::store::tables::DEFINITIONS;
use crate::store::{Bind, bases, claims, conflicts, documents, identity, parked, value, writers};
use crate::turn::apply::{Touched, TouchedRows};

/// Rows larger than this, keys and all, stay local: a changeset holds one row at least.
const MAX_ROW_BYTES: usize = MAX_BODY_BYTES - (1 << 20);

#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) tracked: &'a Tracked,
    pub(super) key: &'a RowKey,
    pub(super) mark: &'a Mark,
    pub(super) kind: Kind,
    pub(super) now: i64,
    /// Whether it may have had a document, which was lost: others may hold what it says, and it is not to count twice.
    pub(super) lost: bool,
    /// Columns of which what they show is to stand, though it shows already.
    pub(super) settled: &'a [String],
}

/// An update for others.
pub(super) enum DocumentUpdate {
    /// Of the row document.
    Row(Vec<u8>),
    /// Of a column's text document.
    Text { column: String, update: Vec<u8> },
    /// Another writer of ours than this opening's has a part in it.
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
    identity::add_mended(
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

/// What says once more what some columns show, where other values stand beside it.
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

/// Whether a row was inserted where another is parked under the same key: in no table, so that SQLite may have given its
/// number out again. A row that only stays in this file is in its table.
fn is_over_parked(tx: &Transaction<'_>, row: Row<'_>) -> Result<bool> {
    let by_the_app = row.kind == Kind::Written || row.mark.why == Why::Rebuilt;
    let stage = parked::waits(tx, row.tracked.id, row.key)?.map(|(stage, _)| stage);
    Ok(by_the_app && stage.is_some_and(|stage| stage != Stage::Local as i64))
}

/// The value that the document has for a column. If it has none yet, the value of the column that this one may be under a new
/// name.
fn written_value<'s>(tracked: &Tracked, state: &'s RowState<'_>, column: &Column) -> Option<&'s Value<'s>> {
    state.value(&column.name).or_else(|| {
        let (_, other) = tracked.asked.iter().find(|(asked, _)| *asked == column.name)?;
        state.value(other)
    })
}

/// Brings one row's document up to the row. Returns the updates for others, in order; none if nothing changed.
pub(super) fn capture_row(
    tx: &Transaction<'_>,
    row: Row<'_>,
    author: Author,
    has: Has,
    touched: &mut TouchedRows,
) -> Result<Vec<DocumentUpdate>> {
    let Row { tracked, key, mark, kind, now, lost, settled } = row;
    let doing = "reading a row to capture it";
    let stored = documents::get(tx, tracked.id, key.as_bytes())?;
    let base = if has.bases { bases::get(tx, tracked.id, key.as_bytes())? } else { None };
    // Never shown what the documents hold: what stands here was found apart from them.
    let apart = kind == Kind::Found && mark.why == Why::First && stored.is_some() && base.is_none();
    // What the table showed: of a row that has come since it was last shown anything, nothing.
    let shown = match &base {
        Some(base) => Some(&base[..]).filter(|base| !base.is_empty()),
        None => stored.as_ref().map(|stored| &stored.body[..]),
    };
    let is_new = shown.is_none();
    let lanes = shown.map(document::row::lanes).transpose()?;
    let lanes = lanes.map(|lanes: Lanes<'_>| lanes.renamed(&tracked.renames));
    let mut state = lanes.as_ref().map(|lanes| lanes.state(tracked.options.deletes_win));

    let implied = key.values();
    let mut select = tx.prepare_cached(&tracked.select).doing(doing)?;
    let binds: Vec<_> = mark.key.iter().map(Bind).collect();
    let mut found = select.query(rusqlite::params_from_iter(binds)).doing(doing)?;
    let mut current = match found.next().doing(doing)? {
        None => None,
        Some(found) => {
            let mut columns = Vec::with_capacity(tracked.table.columns.len());
            for (at, column) in tracked.table.columns.iter().enumerate() {
                let in_key = tracked.table.key.iter().position(|key| key.at == at);
                let implied = match (in_key, &state) {
                    (Some(place), _) => implied.get(place),
                    // Where a document exists but not this column, the row has the default it got with the column.
                    (None, Some(_)) if !apart => column.default.as_ref(),
                    // What a new definition leaves unstated must not stand against what another states.
                    (None, None) if tracked.id == DEFINITIONS => column.default.as_ref(),
                    (None, _) => None,
                };
                let mut value = value(found.get_ref(at).doing(doing)?);
                if planted!(TypeLost)
                    && let Value::Real(real) = value
                    && real == f64::from(real as i32)
                {
                    value = Value::Integer(real as i64);
                }
                // A value that is other than it was written only because of the column's type was not written here.
                if let Some(written) = state.as_ref().and_then(|state| written_value(tracked, state, column))
                    && *written != value
                    && column.shows_for(tx, written, &value)?
                {
                    value = written.clone().into_owned();
                }
                columns.push(Current { column: &column.name, kind: tracked.kinds[at], value, implied });
            }
            Some(columns)
        }
    };
    // Of a row that is gone nobody asks what was in it.
    if let Some(state) = state.as_mut().filter(|state| current.is_some() && state.texts().next().is_some()) {
        let value = |name: &str| {
            let column = current.iter().flatten().find(|column| column.column == name)?;
            match &column.value {
                Value::Text(text) => Some(&**text),
                _ => None,
            }
        };
        texts::fill(tx, tracked, key, state, has.bases, value)?;
    }
    let is_there = current.is_some();
    let size: usize =
        current.iter().flatten().map(|column| column.value.payload_len() + column.column.len()).sum();
    if size > MAX_ROW_BYTES {
        let reason =
            format!("it has {size} bytes, more than the {MAX_ROW_BYTES} that can travel: it stays local");
        parked::put(tx, tracked.id, key, &Reason::local(reason), None)?;
        return Ok(Vec::new());
    }
    let new_texts: Vec<(String, String)> = current
        .iter()
        .flatten()
        .filter(|now| {
            let shown = state.as_ref().and_then(|state| state.column(now.column));
            apart || !shown.is_some_and(|shown| shown.shows(&now.value))
        })
        .filter_map(|now| Some((now.column.to_owned(), now.text()?.to_owned())))
        .collect();
    let told = match (mark.why, shown, &mut current) {
        (Why::Told, Some(shown), Some(columns)) => take_told(tx, tracked, shown, columns, author.replica)?,
        _ => Told::default(),
    };
    let restated = restated(settled, state.as_ref(), current.as_deref());
    let over = is_there && has.parked && stored.is_some() && is_over_parked(tx, row)?;
    let (mut seeing, beside) = if let (true, Some(state)) = (over, &state) {
        let mut current = current.unwrap_or_default();
        if !tracked.fresh.is_empty() {
            set_fresh_apart(tracked, state, &mut current, (kind, mark.why));
        }
        (Vec::new(), diff::inserted_over(state, current))
    } else if apart {
        // As though it had been tracked before it met the others: the same document as anybody who found this row.
        // Unless the document says it all, as it does when the row was captured a moment ago.
        let said = state.as_ref().is_some_and(|state| says_all(tracked, state, current.as_deref()));
        (Vec::new(), if said { Vec::new() } else { diff::changes(None, current, true) })
    } else {
        let mut beside = match (&state, &mut current) {
            (Some(state), Some(columns)) if !tracked.fresh.is_empty() => {
                set_fresh_apart(tracked, state, columns, (kind, mark.why))
            }
            _ => Vec::new(),
        };
        let found = kind == Kind::Found || lost && state.is_none();
        if found && kind == Kind::Written {
            // What a counter shows is what others hold of it, too: written at no known time, it gives way to that.
            beside.extend(take_counters(&mut current));
        }
        (diff::changes(state.as_ref(), current, found), beside)
    };
    let written: Vec<_> = seeing.iter().map(|change| change.column().clone()).collect();
    for change in restated {
        if seeing.is_empty() {
            seeing.push(document::row::Change::set(LIFE, Value::Integer(1)));
        }
        if written.iter().all(|known| known != change.column()) {
            seeing.push(change);
        }
    }
    let names = document::row::Names { renames: &tracked.renames, asked: &tracked.asked };
    // What may have had a document elsewhere gives way even to what was found there.
    let found_at = if lost { -1 } else { 0 };
    let was_in_conflict = state.as_ref().is_some_and(|state| state.is_in_conflict());
    let mut document = stored.as_ref().map(|stored| stored.body.clone());
    let mut updates = Vec::new();
    let set: Vec<&(String, String)> = {
        let is_set = |name: &str| {
            seeing
                .iter()
                .chain(&beside)
                .any(|change| matches!(change, document::row::Change::SetText { column } if column == name))
        };
        new_texts.iter().filter(|(name, _)| is_set(name)).collect()
    };
    if !seeing.is_empty() {
        let (writer, time) = match kind {
            _ if is_new && tracked.id == DEFINITIONS => {
                (finder(&tracked.name, key, &seeing, &new_texts, &[]), 0)
            }
            Kind::Found if is_new => (finder(&tracked.name, key, &seeing, &new_texts, &[]), found_at),
            Kind::Written if planted!(TimeOfCapture) => (author.writer, now),
            Kind::Written | Kind::Found => (author.writer, mark.at),
        };
        let written = document::row::write_seeing(shown, writer, time, seeing, names, &[])?;
        if base.is_some() {
            // Until the row is shown, which may be turns later, what the user writes next goes on from this. What others
            // wrote meanwhile the user has not seen.
            bases::renew(tx, tracked.id, key.as_bytes(), &written.document)?;
            document = Some(document::row::merge(document.as_deref(), &written.update)?);
        } else {
            document = Some(written.document);
        }
        updates.push(DocumentUpdate::Row(written.update));
    }
    if !told.changes.is_empty()
        && let Some(before) = &document
    {
        let written = document::row::write_seeing(
            Some(before),
            author.writer,
            mark.at,
            told.changes,
            names,
            &told.unseen,
        )?;
        document = Some(written.document);
        updates.push(DocumentUpdate::Row(written.update));
    }
    if !beside.is_empty()
        && let Some(before) = &document
    {
        let (writer, time) = if over {
            // This opening's own may have written what is parked, and nobody writes beside oneself. Of the two the new one is
            // to show, whatever the clocks say: it is known to be the later.
            let later = state.as_ref().map_or(0, |state| state.latest().saturating_add(1));
            let writer = ids::writer();
            writers::remember(tx, writer, author.replica)?;
            updates.push(DocumentUpdate::By(writer));
            (writer, mark.at.max(later))
        } else {
            let seen = document::row::seen_elsewhere(before, &beside, names)?;
            (finder(&tracked.name, key, &beside, &new_texts, &seen), found_at)
        };
        if let Some(written) = document::row::write_beside(before, writer, time, beside, names)? {
            if over && let Some(base) = &base {
                let shown = document::row::merge(Some(base), &written.update)?;
                bases::renew(tx, tracked.id, key.as_bytes(), &shown)?;
            }
            document = Some(written.document);
            updates.push(DocumentUpdate::Row(written.update));
        }
    }
    for (column, text) in set {
        let before = texts::before(tx, tracked, key, state.as_ref(), column, apart)?;
        let written = texts::write(tx, tracked, key, column, before, text, author.writer)?;
        let update = |update| DocumentUpdate::Text { column: column.clone(), update };
        updates.extend(written.into_iter().map(update));
    }
    if updates.is_empty() && is_there && has.parked && parked::is_listed(tx, tracked.id, key)? {
        // Put back just as it was parked, past a constraint that is not enforced there.
        touched.push(Touched { local: true, ..Touched::again(tracked.id, key.clone()) });
    }
    if let Some(document) = document.filter(|_| !updates.is_empty()) {
        let id = stored.as_ref().map(|stored| stored.id);
        documents::put(tx, id, tracked.id, key.as_bytes(), &document)?;
        if was_in_conflict || over || base.is_some() || stored.is_some() && kind == Kind::Found {
            let lanes = document::row::lanes(&document)?.renamed(&tracked.renames);
            let mut state = lanes.state(tracked.options.deletes_win);
            crate::store::texts::fill(tx, tracked.id, key.as_bytes(), &mut state, |_| None)?;
            conflicts::put(tx, tracked.id, key, &state)?;
        }
        if has.parked && parked::remove(tx, tracked.id, key)? {
            // It holds what it holds in its table now.
            claims::remove(tx, tracked.id, key)?;
        }
        if tracked.is_bound() || has.parked && !tracked.table.unique.is_empty() {
            let before = if tracked.targets.is_empty() { None } else { stored.map(|stored| stored.body) };
            let document = Some(document);
            touched.push(Touched {
                document,
                local: true,
                before,
                ..Touched::again(tracked.id, key.clone())
            });
        }
    }
    Ok(updates)
}
