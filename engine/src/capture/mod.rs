//! Dirty rows → changesets. The mark says only which row and when; the row is read as it is now and compared with
//! its document, so a thousand updates of one row are one change, and an update that changes nothing is none.
//!
//! Transactions stay whole: a changeset that does not hold all marks is a part, and the last part is sealed in a
//! turn that leaves the log empty, which is a commit boundary of the writers. Nothing is applied before that.

mod texts;

use std::collections::BTreeMap;

use driftless_protocol::changeset::{Body, BodyBuilder, MAX_BODY_BYTES};
use driftless_protocol::{Changeset, ChangesetHeader, KeyError, Part, ReplicaId, RowKey, Value, WriterId};
use rusqlite::Transaction;

use crate::apply::{Touched, TouchedRows};
use crate::changes::ChangedRow;
use crate::config::ColumnKind;
use crate::error::{Doing, Error, Result};
use crate::row_doc::diff::{self, Current};
use crate::row_doc::resolve::RowState;
use crate::row_doc::{self, Lanes};
use crate::schema::{Catalog, Column, Tracked};
use crate::store::dirty::{self, Mark};
use crate::store::parked::Reason;
use crate::store::tables::{self, DEFINITIONS};
use crate::store::{
    Bind, backlog, bases, conflicts, documents, identity, outbox, parked, progress, value, writers,
};
use crate::text_doc;
use crate::tracking::following;

/// Rows larger than this, keys and all, stay local: a changeset holds one row at least.
const MAX_ROW_BYTES: usize = MAX_BODY_BYTES - (1 << 20);

/// Who captures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Author {
    pub(crate) replica: ReplicaId,
    pub(crate) writer: WriterId,
}

/// A writer id that nobody has ever used.
pub(crate) fn new_writer() -> WriterId {
    WriterId::from_bits(uuid::Uuid::new_v4().as_u64_pair().1.rotate_left(8))
}

/// How much one turn takes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Marks read.
    pub(crate) rows: usize,
    /// About how large a body grows, in bytes.
    pub(crate) bytes: usize,
}

/// What one turn captured.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    /// Marks consumed, those of the backlog included.
    pub(crate) marks: usize,
    /// Rows that had changed.
    pub(crate) changed: Vec<ChangedRow>,
    /// Whether nothing is left to capture: only then may anything be applied.
    pub(crate) drained: bool,
    /// Rows that have something to do with others, through a constraint: to be judged once all is captured.
    pub(crate) touched: TouchedRows,
}

/// Captures up to `limits.rows` marks, then, if that empties the log, as much of the backlog.
pub(crate) fn run(
    tx: &Transaction<'_>,
    catalog: &Catalog,
    author: Author,
    limits: Limits,
    now: i64,
) -> Result<Captured> {
    let mut captured = Captured::default();
    let marks = dirty::read(tx, limits.rows)?;
    let drained = marks.len() < limits.rows;
    if let Some(last) = marks.last().map(|mark| mark.id) {
        captured.marks = marks.len();
        let bodies = capture_marks(tx, catalog, author, limits, (marks, Kind::Written), now, &mut captured)?;
        dirty::forget(tx, last)?;
        seal(tx, author, bodies, drained, now)?;
    } else if identity::group_open(tx)? {
        seal(tx, author, Vec::new(), true, now)?;
    }
    if drained && captured.marks < limits.rows && !backlog::is_empty(tx)? {
        let marks = dirty::read_backlog(tx, limits.rows - captured.marks)?;
        if let Some(last) = marks.last().map(|mark| mark.id) {
            captured.marks += marks.len();
            let bodies =
                capture_marks(tx, catalog, author, limits, (marks, Kind::Found), now, &mut captured)?;
            backlog::forget(tx, last)?;
            for body in bodies {
                // Rows that were found here are not one transaction.
                seal(tx, author, vec![body], true, now)?;
            }
        }
    }
    captured.drained = drained && backlog::is_empty(tx)?;
    if !captured.drained {
        // What is left may be their parents: whole tables are judged when all is there.
        for row in captured.touched.take() {
            tables::set_unjudged(tx, row.table)?;
        }
    }
    Ok(captured)
}

/// What marks the backlog's entries of a table that was never shown what the documents hold.
const FIRST: i64 = 1;

/// Which side tables have anything in them at all: nearly always none, and then no row need ask.
#[derive(Debug, Clone, Copy)]
struct Has {
    parked: bool,
    bases: bool,
    /// Whether this file has lost its documents once.
    lost: bool,
}

/// Whether a row was written under our triggers' eyes or found when its table was tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Written,
    Found,
}

fn capture_marks(
    tx: &Transaction<'_>,
    catalog: &Catalog,
    author: Author,
    limits: Limits,
    (marks, kind): (Vec<Mark>, Kind),
    now: i64,
    captured: &mut Captured,
) -> Result<Vec<Body>> {
    // Each row once, with the time of its last mark, in the order of the keys: that is the order of the index.
    let mut rows: BTreeMap<(i64, RowKey), Mark> = BTreeMap::new();
    for mut mark in marks {
        let Some(tracked) = catalog.get(mark.table) else { continue };
        mark.key.truncate(tracked.table.key.len());
        match tracked.table.row_key(&mark.key) {
            Ok(key) => {
                rows.entry((mark.table, key))
                    .and_modify(|known| known.at = known.at.max(mark.at))
                    .or_insert(mark);
            }
            // Such rows have no name that another replica could know them by: they stay here, and status counts
            // the ones with NULL.
            Err(KeyError::Null) => {}
            Err(error) => park_nameless(tx, tracked, &mark, error)?,
        }
    }
    let has = Has {
        parked: !parked::is_empty(tx)?,
        bases: !bases::is_empty(tx)?,
        lost: identity::has_started_over(tx)?,
    };
    let (mut bodies, mut body) = (Vec::new(), BodyBuilder::new());
    for ((table, key), mark) in rows {
        let Some(tracked) = catalog.get(table) else { continue };
        let row = Row { tracked, key: &key, mark: &mark, kind, now, lost: has.lost };
        let updates = match capture_row(tx, row, author, has, &mut captured.touched) {
            Err(error @ (Error::RowDoc(_) | Error::TextDoc(_))) => {
                anew(tx, row, author, has, &mut captured.touched, &error)?
            }
            captured => captured?,
        };
        if updates.is_empty() {
            continue;
        }
        body.author(author.writer, author.replica);
        for update in updates {
            match update {
                DocumentUpdate::Row(update) => body.row(&tracked.name, &key, &update),
                DocumentUpdate::Text { column, update } => body.text(&tracked.name, &key, &column, &update),
            }
        }
        if table != DEFINITIONS {
            captured.changed.push(ChangedRow::new(tracked, key));
        }
        if body.size() >= limits.bytes {
            bodies.push(std::mem::take(&mut body).finish());
        }
    }
    if body.rows() > 0 {
        bodies.push(body.finish());
    }
    if !bodies.is_empty() {
        writers::remember(tx, author.writer, author.replica)?;
    }
    Ok(bodies)
}

/// Lists a row whose key cannot travel among the parked ones, under a digest of the key; takes it off when it is gone.
fn park_nameless(tx: &Transaction<'_>, tracked: &Tracked, mark: &Mark, error: KeyError) -> Result<()> {
    let doing = "reading a row to capture it";
    let mut hasher = blake3::Hasher::new();
    for value in &mark.key {
        hasher.update(&value.to_bytes());
    }
    let digest = hasher.finalize();
    let mut select = tx.prepare_cached(&tracked.select).doing(doing)?;
    let binds = rusqlite::params_from_iter(mark.key.iter().map(Bind));
    if select.exists(binds).doing(doing)? {
        let pk = format!("a key of {} bytes", mark.key.iter().map(Value::payload_len).sum::<usize>());
        parked::put_as(
            tx,
            tracked.id,
            digest.as_bytes(),
            &pk,
            &Reason::local(format!("{error}: the row stays in this file")),
            None,
        )
    } else {
        parked::remove_as(tx, tracked.id, digest.as_bytes()).map(|_| ())
    }
}

/// Captures a row whose document cannot be read: one damaged document holds nothing up. It is dropped, and the row begins
/// anew under a writer id of its own, since the damaged document may hold clocks of ours.
fn anew(
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
    let author = Author { writer: new_writer(), ..author };
    writers::remember(tx, author.writer, author.replica)?;
    capture_row(tx, Row { lost: true, ..row }, author, has, touched)
}

#[derive(Clone, Copy)]
struct Row<'a> {
    tracked: &'a Tracked,
    key: &'a RowKey,
    mark: &'a Mark,
    kind: Kind,
    now: i64,
    /// Whether it may have had a document, which was lost: others may hold what it says, and it is not to count twice.
    lost: bool,
}

/// An update for others.
enum DocumentUpdate {
    /// Of the row document.
    Row(Vec<u8>),
    /// Of a column's text document.
    Text { column: String, update: Vec<u8> },
}

/// Brings one row's document up to the row. Returns the updates for others, in order; none if nothing changed.
fn capture_row(
    tx: &Transaction<'_>,
    row: Row<'_>,
    author: Author,
    has: Has,
    touched: &mut TouchedRows,
) -> Result<Vec<DocumentUpdate>> {
    let Row { tracked, key, mark, kind, now, lost } = row;
    let doing = "reading a row to capture it";
    let stored = documents::get(tx, tracked.id, key.as_bytes())?;
    let base = if has.bases { bases::get(tx, tracked.id, key.as_bytes())? } else { None };
    // Never shown what the documents hold: what stands here was found apart from them.
    let apart = kind == Kind::Found && mark.at == FIRST && stored.is_some() && base.is_none();
    let shown = base.as_deref().or(stored.as_ref().map(|stored| &stored.body[..]));
    let lanes = shown.map(row_doc::lanes).transpose()?;
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
                let value = value(found.get_ref(at).doing(doing)?);
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
    let (seeing, beside) = if apart {
        // As though it had been tracked before it met the others: the same document as anybody who found this row.
        // Unless the document says it all, as it does when the row was captured a moment ago.
        let said = state.as_ref().is_some_and(|state| says_all(tracked, state, current.as_deref()));
        (Vec::new(), if said { Vec::new() } else { diff::changes(None, current, true) })
    } else {
        let mut beside = match (&state, &mut current) {
            (Some(state), Some(columns)) if !tracked.fresh.is_empty() => {
                set_fresh_apart(tracked, state, columns, kind)
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
    let was_in_conflict = state.as_ref().is_some_and(|state| state.is_in_conflict());
    let mut document = stored.as_ref().map(|stored| stored.body.clone());
    let mut updates = Vec::new();
    let set: Vec<&(String, String)> = {
        let is_set = |name: &str| {
            seeing
                .iter()
                .chain(&beside)
                .any(|change| matches!(change, row_doc::Change::SetText { column } if column == name))
        };
        new_texts.iter().filter(|(name, _)| is_set(name)).collect()
    };
    if !seeing.is_empty() {
        let (writer, time) = match kind {
            _ if stored.is_none() && tracked.id == DEFINITIONS => {
                (finder(&tracked.name, key, &seeing, &new_texts), 0)
            }
            Kind::Found if stored.is_none() => (finder(&tracked.name, key, &seeing, &new_texts), 0),
            // Found changed, as after the table was made anew: nobody knows when it was written.
            Kind::Found => (author.writer, now),
            Kind::Written => (author.writer, mark.at),
        };
        if let Some(base) = &base {
            // Until the row is shown, which may be turns later, what the user writes next goes on from this.
            let shown = row_doc::write_seeing(Some(base), writer, time, seeing.clone(), &tracked.renames)?;
            bases::renew(tx, tracked.id, key.as_bytes(), &shown.document)?;
        }
        let written = row_doc::write_seeing(document.as_deref(), writer, time, seeing, &tracked.renames)?;
        document = Some(written.document);
        updates.push(DocumentUpdate::Row(written.update));
    }
    if !beside.is_empty()
        && let Some(before) = &document
        && let Some(written) = row_doc::write_beside(
            before,
            finder(&tracked.name, key, &beside, &new_texts),
            beside,
            &tracked.renames,
        )?
    {
        document = Some(written.document);
        updates.push(DocumentUpdate::Row(written.update));
    }
    for (column, text) in set {
        let before = text_before(tx, tracked, key, state.as_ref(), column, apart)?;
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
        if was_in_conflict || base.is_some() || stored.is_some() && kind == Kind::Found {
            let lanes = row_doc::lanes(&document)?.renamed(&tracked.renames);
            let mut state = lanes.state(tracked.options.deletes_win);
            crate::store::texts::fill(tx, tracked.id, key.as_bytes(), &mut state, |_| None)?;
            conflicts::put(tx, tracked.id, key, &state)?;
        }
        if has.parked {
            parked::remove(tx, tracked.id, key)?;
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

/// Takes the counters out of a row, as values that were found in it.
fn take_counters<'a>(current: &mut Option<Vec<Current<'a>>>) -> Vec<row_doc::Change<'a>> {
    let mut counters = Vec::new();
    for columns in current.iter_mut() {
        columns.retain(|column| {
            let counts = column.kind == ColumnKind::Counter;
            if counts {
                counters.push(row_doc::Change::set(column.column, column.value.clone()));
            }
            !counts
        });
    }
    counters
}

/// What the table was known to show of a text.
fn text_before<'a>(
    tx: &Transaction<'_>,
    tracked: &'a Tracked,
    key: &RowKey,
    state: Option<&'a RowState<'a>>,
    column: &str,
    apart: bool,
) -> Result<texts::Before<'a>> {
    if apart {
        return Ok(texts::Before::Apart);
    }
    let shown = state.and_then(|state| state.column(column));
    let default = || {
        let known = tracked.table.columns.iter().find(|known| known.name == column)?;
        utf8(known.default.as_ref()?)
    };
    let is_fresh = shown.is_some() && tracked.fresh.iter().any(|fresh| fresh == column);
    if is_fresh && backlog::is_to_refresh(tx, tracked.id, key.as_bytes())? {
        return Ok(texts::Before::Fresh(default().unwrap_or_default()));
    }
    let plain = match shown {
        Some(shown) if shown.shown.in_text => None,
        Some(shown) => utf8(&shown.shown.value),
        // The column came to a row that was there and had its DEFAULT: everybody goes on from that.
        None if state.is_some_and(|state| state.alive) => default(),
        None => None,
    };
    Ok(plain.map_or(texts::Before::Document, texts::Before::Plain))
}

fn utf8<'a>(value: &'a Value<'_>) -> Option<&'a str> {
    match value {
        Value::Text(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// Whether a document shows just this row.
fn says_all(tracked: &Tracked, state: &RowState<'_>, current: Option<&[Current<'_>]>) -> bool {
    let Some(columns) = current else { return !state.alive };
    let shows = |(now, column): (&Current<'_>, &Column)| match state.column(now.column) {
        Some(held) => held.shows(&now.value),
        None => now.implied.or(column.default.as_ref()).is_some_and(|implied| *implied == now.value),
    };
    state.alive && columns.iter().zip(&tracked.table.columns).all(shows)
}

/// Takes out of `columns` those that have just appeared here and that the document has a value for: the document is
/// to be shown, not the table to be captured. Returns what stands in them that nobody else has: neither a default, nor
/// what the document holds under the name that the column had before.
fn set_fresh_apart<'a>(
    tracked: &Tracked,
    state: &RowState<'_>,
    columns: &mut Vec<Current<'a>>,
    kind: Kind,
) -> Vec<row_doc::Change<'a>> {
    let mut beside = Vec::new();
    columns.retain(|now| {
        let is_fresh = tracked.fresh.iter().any(|fresh| fresh == now.column);
        let held = state.column(now.column);
        if is_fresh && held.is_none() && kind == Kind::Found && now.implied != Some(&now.value) {
            // Of what stands in a column that has just come, as by a rename, nobody knows when it was written.
            beside.push(row_doc::Change::set(now.column, now.value.clone()));
            return false;
        }
        if !is_fresh || held.is_none_or(|held| held.shows(&now.value)) {
            return true;
        }
        let is_default = now.implied.is_some_and(|default| *default == now.value);
        let under_another_name = || {
            state.columns.iter().any(|column| {
                column.shown.value == now.value
                    && !tracked.table.columns.iter().any(|known| known.name == column.name)
            })
        };
        match kind {
            // The user wrote this row since the column appeared: what is no default is theirs.
            Kind::Written => !is_default,
            Kind::Found => {
                if !is_default && !under_another_name() {
                    beside.push(row_doc::Change::set(now.column, now.value.clone()));
                }
                false
            }
        }
    });
    beside
}

/// The writer of a row that was found rather than written: drawn from the row itself, so that two copies of one file
/// that are tracked apart make the very same document of a row that they share, and neither's edits collide with
/// what the other found. Different contents draw different writers, as Yrs needs.
fn finder(
    table: &str,
    key: &RowKey,
    changes: &[row_doc::Change<'_>],
    texts: &[(String, String)],
) -> WriterId {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(b"driftless: a row found when its table was tracked, 1");
    part(table.as_bytes());
    part(key.as_bytes());
    // By column name: the order of the columns may differ between copies.
    let mut sorted: Vec<_> = changes.iter().collect();
    sorted.sort_by(|a, b| a.column().cmp(b.column()));
    for change in sorted {
        part(change.column().as_bytes());
        match change {
            row_doc::Change::Set { value, .. } => part(&value.to_bytes()),
            row_doc::Change::Add { by, .. } => part(&[&[5], &by.to_le_bytes()[..]].concat()),
            row_doc::Change::SetText { column } => {
                let text = texts.iter().find(|(known, _)| known == column).map(|(_, text)| text.as_bytes());
                part(&[&[6], text.unwrap_or_default()].concat());
            }
        }
    }
    let mut bits = [0; 8];
    bits.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    WriterId::from_bits(u64::from_le_bytes(bits))
}

/// Puts whole documents into changesets of ours: for others that lack some of what is in them. Rows that have none are left
/// out.
pub(crate) fn publish<'r>(
    tx: &Transaction<'_>,
    author: Author,
    rows: impl IntoIterator<Item = (&'r str, &'r RowKey)>,
    bytes: usize,
    now: i64,
) -> Result<()> {
    let mut body = BodyBuilder::new();
    for (writer, replica) in writers::all(tx)? {
        body.author(writer, replica);
    }
    for (name, key) in rows {
        let Some(entry) = tables::find(tx, name)? else { continue };
        let Some(stored) = documents::get(tx, entry.id, key.as_bytes())? else { continue };
        body.row(name, key, &stored.body);
        for (column, text) in crate::store::texts::of_row(tx, entry.id, key.as_bytes())? {
            body.text(name, key, &column, &text_doc::compact(&text.parts())?);
        }
        if body.size() >= bytes {
            seal(tx, author, vec![std::mem::take(&mut body).finish()], true, now)?;
        }
    }
    if body.rows() > 0 {
        seal(tx, author, vec![body.finish()], true, now)?;
    }
    Ok(())
}

/// Numbers the bodies as changesets of ours and puts them into the outbox. `ends`: the log is drained, so that the
/// last one ends whole transactions.
fn seal(tx: &Transaction<'_>, author: Author, mut bodies: Vec<Body>, ends: bool, now: i64) -> Result<()> {
    let mut open = identity::group_open(tx)?;
    let was_open = open;
    if bodies.is_empty() && open && ends {
        // What was left changed nothing, but receivers wait for a last part.
        bodies.push(BodyBuilder::new().finish());
    }
    let count = bodies.len();
    let mut last = progress::vector(tx)?.get(author.replica);
    for (n, body) in bodies.into_iter().enumerate() {
        let part = match (open, ends && n + 1 == count) {
            (false, true) => Part::Whole,
            (true, true) => Part::Last,
            (_, false) => Part::More,
        };
        open = part == Part::More;
        let full = || Error::Damaged { table: "_driftless_progress", what: "there is no seq left".into() };
        let seq = following(last).ok_or_else(full)?;
        last = seq.get();
        let after = progress::take_unannounced(tx, author.replica)?;
        let header = ChangesetHeader { replica: author.replica, seq, part, after, time: now };
        let changeset = Changeset::seal(header, &body);
        tracing::debug!(
            seq = last,
            rows_bytes = body.len(),
            bytes = changeset.bytes().len(),
            ?part,
            "captured"
        );
        outbox::push(tx, &changeset)?;
        progress::raise(tx, author.replica, last)?;
    }
    if open != was_open {
        identity::set_group_open(tx, open)?;
    }
    Ok(())
}
