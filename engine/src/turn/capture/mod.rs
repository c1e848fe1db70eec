//! Dirty rows → changesets. The mark says only which row and when; the row is read as it is now and compared with
//! its document, so a thousand updates of one row are one change, and an update that changes nothing is none.
//!
//! Transactions stay whole: a changeset that does not hold all marks is a part, and the last part is sealed in a
//! turn that leaves the log empty, which is a commit boundary of the writers. Nothing is applied before that.

mod found;
mod read;
mod row;
mod seal;
mod texts;
mod writing;

use std::collections::{BTreeMap, BTreeSet};

use driftless_protocol::changeset::{Body, BodyBuilder};
use driftless_protocol::{KeyError, ReplicaId, RowKey, Value, WriterId};
use rusqlite::Transaction;

use crate::error::{Doing, Error, Result};
use crate::schema::{Catalog, Tracked, rebuilt};
use crate::store::dirty::{self, Mark, Why};
use crate::store::parked::Reason;
use crate::store::tables::{self, DEFINITIONS, Rebuilt};
use crate::store::{Bind, backlog, bases, documents, identity, parked, settled, writers};
use crate::turn::apply::TouchedRows;
use crate::turn::changes::ChangedRow;
use row::{DocumentUpdate, Row};
pub(crate) use seal::publish;
use seal::seal;

/// Who captures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Author {
    pub(crate) replica: ReplicaId,
    pub(crate) writer: WriterId,
}

/// How much one turn takes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Rows, each of which may have many marks.
    pub(crate) rows: usize,
    /// About how large a body grows, in bytes.
    pub(crate) bytes: usize,
}

/// What one turn captured.
#[derive(Debug, Default)]
pub(crate) struct Captured {
    /// Marks consumed, those of the backlog included.
    pub(crate) marks: usize,
    /// The tables in which rows were marked.
    pub(crate) written: BTreeSet<i64>,
    /// Rows that had changed.
    pub(crate) changed: Vec<ChangedRow>,
    /// Whether nothing is left to capture: only then may anything be applied.
    pub(crate) drained: bool,
    /// Rows that have something to do with others, through a constraint: to be judged once all is captured.
    pub(crate) touched: TouchedRows,
}

/// Captures the marks of up to `limits.rows` rows, then, if that empties the log, as much of the backlog.
pub(crate) fn run(
    tx: &Transaction<'_>,
    catalog: &Catalog,
    author: Author,
    limits: Limits,
    now: i64,
) -> Result<Captured> {
    let mut captured = Captured::default();
    let (marks, drained) = dirty::read_rows(tx, limits.rows)?;
    if let Some(last) = marks.last().map(|mark| mark.id) {
        captured.marks = marks.len();
        captured.written = marks.iter().map(|mark| mark.table.abs()).collect();
        let bodies = capture_marks(
            tx,
            catalog,
            author,
            limits,
            Marked::new(marks, Kind::Written),
            now,
            &mut captured,
        )?;
        dirty::forget(tx, last)?;
        seal(tx, author, bodies, drained, now)?;
    } else if identity::group_open(tx)? {
        seal(tx, author, Vec::new(), true, now)?;
    }
    if drained && captured.marks < limits.rows && !backlog::is_empty(tx)? {
        let marks = dirty::read_backlog(tx, limits.rows - captured.marks)?;
        if let Some(last) = marks.last().map(|mark| mark.id) {
            captured.marks += marks.len();
            let bodies = capture_marks(
                tx,
                catalog,
                author,
                limits,
                Marked::new(marks, Kind::Found),
                now,
                &mut captured,
            )?;
            backlog::forget(tx, last)?;
            for body in bodies {
                // Rows that were found here are not one transaction.
                seal(tx, author, vec![body], true, now)?;
            }
        }
    }
    if drained {
        let settled = settled::take(tx)?;
        for body in capture_settled(tx, catalog, author, limits, settled, now, &mut captured)? {
            seal(tx, author, vec![body], true, now)?;
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

/// Captures what is settled in favour of what shows, as though it were written now.
fn capture_settled(
    tx: &Transaction<'_>,
    catalog: &Catalog,
    author: Author,
    limits: Limits,
    columns: Vec<settled::Settled>,
    now: i64,
    captured: &mut Captured,
) -> Result<Vec<Body>> {
    let (mut settled, mut marks) = (SettledColumns::new(), Vec::new());
    for (table, key, column) in columns {
        // A row document of ours has been under this key.
        let Ok(key) = RowKey::from_bytes(&key) else { continue };
        marks.push(Mark { id: 0, table, at: now, why: Why::Again, key: key.values() });
        settled.entry((table, key)).or_default().push(column);
    }
    if marks.is_empty() {
        return Ok(Vec::new());
    }
    capture_marks(tx, catalog, author, limits, Marked { marks, kind: Kind::Written, settled }, now, captured)
}

/// By row: the columns of which what they show is to stand.
type SettledColumns = BTreeMap<(i64, RowKey), Vec<String>>;

/// Rows to be captured.
struct Marked {
    marks: Vec<Mark>,
    kind: Kind,
    settled: SettledColumns,
}

impl Marked {
    fn new(marks: Vec<Mark>, kind: Kind) -> Self {
        Self { marks, kind, settled: SettledColumns::new() }
    }
}

fn capture_marks(
    tx: &Transaction<'_>,
    catalog: &Catalog,
    author: Author,
    limits: Limits,
    Marked { marks, kind, settled }: Marked,
    now: i64,
    captured: &mut Captured,
) -> Result<Vec<Body>> {
    // Each row once, with the time of its last mark, in the order of the keys: that is the order of the index.
    let mut rows: BTreeMap<(i64, RowKey), Mark> = BTreeMap::new();
    for mut mark in rebuilt::with_evicted(tx, catalog, marks)? {
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
        let settled = settled.get(&(table, key.clone())).map_or(&[][..], Vec::as_slice);
        let row = Row { tracked, key: &key, mark: &mark, kind, now, lost: has.lost, settled };
        let was_known = mark.why == Why::Rebuilt && documents::get(tx, table, key.as_bytes())?.is_some();
        let updates = match row::capture_row(tx, row, author, has, &mut captured.touched) {
            Err(error @ (Error::RowDoc(_) | Error::TextDoc(_))) => {
                row::anew(tx, row, author, has, &mut captured.touched, &error)?
            }
            captured => captured?,
        };
        if updates.is_empty() {
            continue;
        }
        if mark.why == Why::Rebuilt {
            count_rebuilt(tx, tracked, &key, was_known)?;
        }
        body.author(author.writer, author.replica);
        for update in updates {
            match update {
                DocumentUpdate::By(writer) => body.author(writer, author.replica),
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

/// Counts a row that was found otherwise than its document in a table that had been rebuilt.
fn count_rebuilt(tx: &Transaction<'_>, tracked: &Tracked, key: &RowKey, was_known: bool) -> Result<()> {
    let doing = "reading a row to capture it";
    let key_values = key.values();
    let mut select = tx.prepare_cached(&tracked.select).doing(doing)?;
    let is_there = select.exists(rusqlite::params_from_iter(key_values.iter().map(Bind))).doing(doing)?;
    let mut found = Rebuilt::default();
    match (is_there, was_known) {
        (false, _) => found.deleted = 1,
        (true, false) => found.inserted = 1,
        (true, true) => found.edited = 1,
    }
    tables::count_rebuilt(tx, tracked.id, &found)
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
