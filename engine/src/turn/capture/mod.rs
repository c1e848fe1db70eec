//! Dirty rows → changesets. The mark says only which row and when; the row is read as it is now and compared with
//! its document, so a thousand updates of one row are one change, and an update that changes nothing is none.
//!
//! Transactions stay whole: a changeset that does not hold all marks is a part, and the last part is sealed in a
//! turn that leaves the log empty, which is a commit boundary of the writers. Nothing is applied before that.

mod counters;
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

use crate::error::{Error, Result};
use crate::schema::{Catalog, Tracked, rebuilt};
use crate::store::dirty::{self, Mark, Oldest, Why};
use crate::store::parked::Reason;
use crate::store::tables::{self, DEFINITIONS, Rebuilt};
use crate::store::{Bind, backlog, bases, documents, identity, parked, settled, sql, writers};
use crate::turn::apply::TouchedRows;
use crate::turn::changes::ChangedRow;
use crate::turn::give_way::GiveWay;
use row::{DocumentUpdate, Row};
pub(crate) use seal::publish;
use seal::seal;

/// Who captures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Author {
    pub(crate) replica: ReplicaId,
    pub(crate) writer: WriterId,
}

/// How much one turn takes on, and what ends it early.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits<'a> {
    /// Rows, each of which may have many marks.
    pub(crate) rows: usize,
    /// About how large a body grows, in bytes.
    pub(crate) bytes: usize,
    pub(crate) way: &'a GiveWay<'a>,
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
    limits: Limits<'_>,
    now: i64,
) -> Result<Captured> {
    let mut capture = Capture { tx, catalog, author, limits, now, captured: Captured::default() };
    let drained = capture.written()?;
    if drained && capture.captured.marks < limits.rows && !backlog::is_empty(tx)? {
        capture.found()?;
    }
    if drained {
        capture.settled()?;
    }
    let mut captured = capture.captured;
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

/// What one turn captures.
struct Capture<'a> {
    tx: &'a Transaction<'a>,
    catalog: &'a Catalog,
    author: Author,
    limits: Limits<'a>,
    /// Milliseconds since 1970.
    now: i64,
    captured: Captured,
}

impl Capture<'_> {
    /// Captures what is marked in the log. Returns whether that is all of it.
    fn written(&mut self) -> Result<bool> {
        let Oldest { marks, count, last, all: drained } = dirty::read_rows(self.tx, self.limits.rows)?;
        if count > 0 {
            self.captured.marks = count;
            self.captured.written = marks.iter().map(|mark| mark.table.abs()).collect();
            let bodies = self.capture(Marked::new(marks, Kind::Written))?;
            self.limits.way.check()?;
            dirty::forget(self.tx, last)?;
            seal(self.tx, self.author, bodies, drained, self.now)?;
        } else if identity::group_open(self.tx)? {
            seal(self.tx, self.author, Vec::new(), true, self.now)?;
        }
        Ok(drained)
    }

    /// Captures rows of the backlog, as many as are left to take on.
    fn found(&mut self) -> Result<()> {
        let marks = dirty::read_backlog(self.tx, self.limits.rows - self.captured.marks)?;
        let Some(last) = marks.last().map(|mark| mark.id) else { return Ok(()) };
        self.captured.marks += marks.len();
        let bodies = self.capture(Marked::new(marks, Kind::Found))?;
        backlog::forget(self.tx, last)?;
        self.seal_each(bodies)
    }

    /// Captures what is settled in favour of what shows, as though it were written now.
    fn settled(&mut self) -> Result<()> {
        let (mut settled, mut marks) = (SettledColumns::new(), Vec::new());
        for (table, key, column) in settled::take(self.tx)? {
            // A row document of ours has been under this key.
            let Ok(key) = RowKey::from_bytes(&key) else { continue };
            marks.push(Mark { id: 0, table, at: self.now, why: Why::Again, key: key.values() });
            settled.entry((table, key)).or_default().push(column);
        }
        if marks.is_empty() {
            return Ok(());
        }
        let bodies = self.capture(Marked { marks, kind: Kind::Written, settled })?;
        self.seal_each(bodies)
    }

    /// Seals bodies of rows that are not one transaction.
    fn seal_each(&self, bodies: Vec<Body>) -> Result<()> {
        bodies.into_iter().try_for_each(|body| seal(self.tx, self.author, vec![body], true, self.now))
    }

    /// Captures rows. Returns bodies of about the size that is allowed.
    fn capture(&mut self, Marked { marks, kind, settled }: Marked) -> Result<Vec<Body>> {
        let rows = self.by_key(marks)?;
        let has = Has {
            parked: !parked::is_empty(self.tx)?,
            bases: !bases::is_empty(self.tx)?,
            lost: identity::has_started_over(self.tx)?,
        };
        let (mut bodies, mut body) = (Vec::new(), BodyBuilder::new());
        for ((table, key), mark) in rows {
            let Some(tracked) = self.catalog.get(table) else { continue };
            self.limits.way.check()?;
            let settled = settled.get(&(table, key.clone())).map_or(&[][..], Vec::as_slice);
            let row = Row { tracked, key: &key, mark: &mark, kind, lost: has.lost, settled };
            let updates = self.capture_row(row, has)?;
            if updates.is_empty() {
                continue;
            }
            add(&mut body, row, self.author, updates);
            if table != DEFINITIONS {
                self.captured.changed.push(ChangedRow::new(tracked, key));
            }
            if body.size() >= self.limits.bytes {
                bodies.push(std::mem::take(&mut body).finish());
            }
        }
        if body.rows() > 0 {
            bodies.push(body.finish());
        }
        if !bodies.is_empty() {
            writers::remember(self.tx, self.author.writer, self.author.replica)?;
        }
        Ok(bodies)
    }

    /// Each row once, with the time of its last mark, in the order of the keys: that is the order of the index.
    fn by_key(&self, marks: Vec<Mark>) -> Result<BTreeMap<(i64, RowKey), Mark>> {
        let mut rows: BTreeMap<(i64, RowKey), Mark> = BTreeMap::new();
        for mut mark in rebuilt::with_evicted(self.tx, self.catalog, marks)? {
            let Some(tracked) = self.catalog.get(mark.table) else { continue };
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
                Err(error) => park_nameless(self.tx, tracked, &mark, error)?,
            }
        }
        Ok(rows)
    }

    /// Captures a row, anew if its document is damaged. Returns the updates for others, none if nothing changed.
    fn capture_row(&mut self, row: Row<'_>, has: Has) -> Result<Vec<DocumentUpdate>> {
        let (tx, author, touched) = (self.tx, self.author, &mut self.captured.touched);
        let is_rebuilt = row.mark.why == Why::Rebuilt;
        let was_known = is_rebuilt && documents::get(tx, row.tracked.id, row.key.as_bytes())?.is_some();
        let updates = match row::capture_row(tx, row, author, has, touched) {
            Err(error @ (Error::RowDoc(_) | Error::TextDoc(_))) => {
                row::anew(tx, row, author, has, touched, &error)?
            }
            captured => captured?,
        };
        if is_rebuilt && !updates.is_empty() {
            count_rebuilt(tx, row.tracked, row.key, was_known)?;
        }
        Ok(updates)
    }
}

/// Adds the updates of a row to a body.
fn add(body: &mut BodyBuilder, row: Row<'_>, author: Author, updates: Vec<DocumentUpdate>) {
    let (name, key) = (&row.tracked.name, row.key);
    body.author(author.writer, author.replica);
    for update in updates {
        match update {
            DocumentUpdate::By(writer) => body.author(writer, author.replica),
            DocumentUpdate::Row(update) => body.row(name, key, &update),
            DocumentUpdate::Text { column, update } => body.text(name, key, &column, &update),
        }
    }
}

/// Counts a row that was found otherwise than its document in a table that had been rebuilt.
fn count_rebuilt(tx: &Transaction<'_>, tracked: &Tracked, key: &RowKey, was_known: bool) -> Result<()> {
    let doing = "reading a row to capture it";
    let key_values = key.values();
    let binds = rusqlite::params_from_iter(key_values.iter().map(Bind));
    let is_there = sql::exists(tx, doing, &tracked.select, binds)?;
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
    let binds = rusqlite::params_from_iter(mark.key.iter().map(Bind));
    if sql::exists(tx, doing, &tracked.select, binds)? {
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
