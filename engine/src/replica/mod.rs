//! One database file as a replica: the façade over capture, apply and materialize. It alone begins transactions
//! and knows the order of the steps. Blocking; one thread owns it.
//!
//! A turn is one IMMEDIATE transaction (a read transaction that upgrades would fail with BUSY at once, whatever the
//! timeout): reconcile, capture, apply, materialize, progress. Documents, outbox, seq and the consumed marks commit
//! together or not at all.

mod conversation;
mod mark;
mod place;
mod repair;
mod rest;
mod space;

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use driftless_protocol::{ReplicaId, WriterId};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::broadcast;

use crate::apply::TableNumbers;
use crate::capture::{self, Author, Limits};
use crate::changes::{ChangeFeed, ChangedRow, Changes, Origin};
use crate::config::{Config, TableOptions};
use crate::draft;
use crate::error::{Doing, Error, Result};
use crate::fresh;
use crate::lock::EngineLock;
use crate::materialize::{Materializer, RolledBack};
use crate::mending;
use crate::merge::{Flow, Incoming, Merge};
use crate::naming::take_new_name;
use crate::schema::{Catalog, reconcile};
use crate::store::{self, backlog, bases, identity, outbox, parked, progress, tables, writers};
use crate::time::{is_virtual, now};
use crate::tracking;

pub(crate) use conversation::Verdict;
use mark::{Found, Mark};
use place::Place;
use rest::Rest;
use space::adopt_options;

/// Sizes of the first turn; later ones fit what was measured.
const FIRST_TURN_ROWS: usize = 1000;
const FIRST_TURN_BYTES: usize = 64 << 10;
/// After so many turns that left a transaction half captured, one takes all that there is.
const MOST_PARTIAL_TURNS: u32 = 1000;

/// What a turn did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turn {
    /// Marks of the dirty log and the backlog that were consumed.
    pub(crate) marks: usize,
    /// Whether there is more to do right now.
    pub(crate) more: bool,
}

/// One database file, opened by the engine.
#[derive(Debug)]
pub(crate) struct Replica {
    connection: Connection,
    path: PathBuf,
    place: Place,
    config: Config,
    replica: ReplicaId,
    /// What the file said of itself after our last commit.
    mark: Mark,
    rest: Rest,
    writer: WriterId,
    catalog: Catalog,
    /// SQLite's `schema_version` when the catalog was made.
    schema_version: Option<i64>,
    /// `data_version` at the end of the last turn: whether others have committed since.
    data_version: i64,
    turn_rows: usize,
    turn_bytes: usize,
    /// How long the write lock was held, turn upon turn, and when it was last let go.
    held: Duration,
    released: Instant,
    partial_turns: u32,
    shunned: HashSet<RolledBack>,
    feed: broadcast::Sender<Changes>,
    lock: EngineLock,
}

fn begin(connection: &mut Connection) -> Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate).doing("waiting for the write lock")
}

/// A file that was just opened by its one engine.
struct Opened {
    connection: Connection,
    mark: Mark,
    writer: WriterId,
}

/// Whether a file is one that an engine can work on; before the lock leaves its file beside something that is no database.
fn check_file(path: &Path, config: &Config) -> Result<()> {
    if identity::hard_links(path)? > 1 {
        draft::forget_names(path);
    }
    if identity::hard_links(path)? > 1 {
        return Err(Error::HardLinked(path.to_owned()));
    }
    store::open_to_read(path, config.busy_timeout).map(drop)
}

/// Opens a file, making the side tables if they are not there. A copy becomes a new replica; so does a file that is not as
/// this engine left it, if it had it open before: `known`.
fn open_file(path: &Path, config: &Config, known: Option<&Mark>) -> Result<Opened> {
    let mut connection = store::open(path, config.busy_timeout)?;
    let tx = begin(&mut connection)?;
    mending::run(&tx, path, true)?;
    let inode = identity::inode_of(path)?;
    let recorded = identity::inode(&tx)?;
    let mut reused = None;
    if planted!(WriterReused) {
        let own = identity::replica(&tx)?;
        reused = writers::all(&tx)?.into_iter().find(|(_, replica)| *replica == own);
    }
    let is_copy = inode.is_some() && recorded.is_some() && recorded != inode && !planted!(CopyKeepsName);
    let is_another = known.is_some_and(|known| !matches!(Mark::read(&tx), Ok(Some(mark)) if mark == *known));
    if is_copy || is_another {
        tracing::info!(path = %path.display(), "the file was copied or restored: it becomes a new replica");
        take_new_name(&tx)?;
    }
    if let Some(inode) = inode.filter(|_| recorded != inode) {
        identity::set_inode(&tx, inode)?;
    }
    let replica = identity::replica(&tx)?;
    if planted!(ReusedSeq) && outbox::first(&tx)?.is_none() {
        let one_less = progress::of(&tx, replica)?.saturating_sub(1);
        progress::put(&tx, replica, one_less)?;
        identity::set_acked(&tx, one_less)?;
    }
    identity::set_opened(&tx, now())?;
    // Always another value than before, or SQLite would write nothing and wait for nothing: this commit must wait for the
    // disk. SQLite may have found a commit in the log whose author died before the disk had it, and what is sent from here
    // on must not be lost to the next loss of power.
    let mark = Mark::leave(&tx)?;
    tx.commit().doing("opening the database")?;
    let writer = reused.map_or_else(fresh::writer, |(writer, _)| writer);
    Ok(Opened { connection, mark, writer })
}

impl Replica {
    /// Opens a file as its one engine, making the side tables if they are not there.
    pub(crate) fn open(path: &Path, config: Config) -> Result<Self> {
        if !path.is_file() {
            return Err(Error::NoSuchFile(path.to_owned()));
        }
        // The file itself, by whatever link it was named: the lock and SQLite's own files lie beside it.
        let path = &path.canonicalize().map_err(|source| Error::Io {
            doing: "resolving",
            path: path.to_owned(),
            source,
        })?;
        check_file(path, &config)?;
        let lock = EngineLock::take(path)?;
        let Opened { connection, mark, writer } = open_file(path, &config, None)?;
        let turn_rows = config.turn_rows.min(FIRST_TURN_ROWS);
        let feed = broadcast::Sender::new(config.feed_capacity.max(1));
        Ok(Self {
            path: path.to_owned(),
            place: Place::of(path),
            replica: mark.replica,
            mark,
            rest: Rest::new(),
            writer,
            catalog: Catalog::default(),
            schema_version: None,
            data_version: 0,
            turn_rows,
            turn_bytes: FIRST_TURN_BYTES,
            held: Duration::ZERO,
            released: Instant::now(),
            partial_turns: 0,
            shunned: HashSet::new(),
            feed,
            config,
            connection,
            lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// This file's id.
    pub(crate) fn id(&self) -> ReplicaId {
        self.replica
    }

    /// Leaves it to the system when to write to the disk: for files that need not outlive a test.
    #[cfg(feature = "sim")]
    pub(crate) fn without_fsync(&self) -> Result<()> {
        self.connection.pragma_update(None, "synchronous", "OFF").doing("setting how to commit")
    }

    /// Whether everything that was committed is captured, and everything that is applied is shown.
    #[cfg(feature = "sim")]
    pub(crate) fn is_idle(&self) -> Result<bool> {
        use crate::store::dirty;
        let connection = &self.connection;
        Ok(dirty::read(connection, 1)?.is_empty()
            && !identity::group_open(connection)?
            && backlog::is_empty(connection)?
            && store::settled::is_empty(connection)?
            && backlog::refresh_is_empty(connection)?
            && !tables::any_unjudged(connection)?)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// A subscription to what changes from now on.
    pub(crate) fn subscribe(&self) -> ChangeFeed {
        ChangeFeed::new(self.feed.subscribe())
    }

    /// Begins to track tables, all or none. Returns their names as the tables spell them.
    pub(crate) fn track(&mut self, names: &[&str], options: TableOptions) -> Result<Vec<String>> {
        self.write("tracking tables", |tx, _| tracking::track(tx, names, options, now()))
    }

    /// Ceases to track tables, all or none. What was written before is captured first.
    pub(crate) fn untrack(&mut self, names: &[&str]) -> Result<Vec<String>> {
        self.capture_all()?;
        let untracked = self.write("untracking tables", |tx, _| tracking::untrack(tx, names))?;
        self.schema_version = None;
        Ok(untracked)
    }

    /// Whether another connection has committed since the last turn, or the file may be another.
    pub(crate) fn has_foreign_commits(&self) -> Result<bool> {
        Ok(self.is_elsewhere() || data_version(&self.connection)? != self.data_version)
    }

    /// Captures everything that is committed now. Returns how many marks were consumed.
    pub(crate) fn capture_all(&mut self) -> Result<usize> {
        let mut marks = 0;
        loop {
            let turn = self.turn(&mut VecDeque::new())?;
            marks += turn.marks;
            if !turn.more {
                return Ok(marks);
            }
        }
    }

    /// One turn. Takes what it has time for from the front of `incoming`: applied, or kept in the inbox. When the turn
    /// fails nothing has happened and `incoming` is as it was.
    pub(crate) fn turn(&mut self, incoming: &mut VecDeque<Incoming>) -> Result<Turn> {
        self.check_place()?;
        let begun = Instant::now();
        let before = self.data_version;
        let (mut count, mut bytes) = (0, 0);
        while let Some(next) = incoming.get(count)
            && (count == 0 || bytes + next.len() <= self.turn_bytes)
        {
            bytes += next.len();
            count += 1;
        }
        let batch = &incoming.make_contiguous()[..count];
        let (mut turn, local, remote) = loop {
            match self.try_turn(batch)? {
                Ok(done) => break done,
                Err(rolled_back) => {
                    tracing::warn!(
                        table = rolled_back.0,
                        "a trigger rolled the turn back; its row is parked"
                    );
                    self.shunned.insert(rolled_back);
                }
            }
        };
        incoming.drain(..count);
        turn.more |= !incoming.is_empty();
        self.pace(begun, turn.marks, bytes, before != self.data_version);
        self.announce(Origin::Local, local);
        self.announce(Origin::Remote, remote);
        Ok(turn)
    }

    fn announce(&self, origin: Origin, rows: Vec<ChangedRow>) {
        if !rows.is_empty() {
            // Fails only when nobody listens.
            let _ = self.feed.send(Changes { origin, rows });
        }
    }

    /// Fits the next turn's size to how long this one took: large while nobody else writes, short while somebody
    /// does. Then leaves the lock alone for a while, if it was held for long: SQLite's waiters look now and then, and
    /// turn upon turn they would find it taken each time.
    fn pace(&mut self, begun: Instant, marks: usize, bytes: usize, contended: bool) {
        if is_virtual() {
            return;
        }
        let took = begun.elapsed();
        let aim = if contended { self.config.contended_turn_time } else { self.config.turn_time };
        let factor = (aim.as_secs_f64() / took.as_secs_f64().max(1e-6)).clamp(0.1, 2.0);
        if marks > 0 {
            let most = self.config.turn_rows.max(1);
            self.turn_rows = ((self.turn_rows as f64 * factor) as usize).clamp(most.min(64), most);
        }
        if bytes > 0 {
            self.turn_bytes = ((self.turn_bytes as f64 * factor) as usize).clamp(16 << 10, 8 << 20);
        }
        self.held =
            if begun.duration_since(self.released) > self.config.turn_gap { took } else { self.held + took };
        if self.held >= self.config.turn_time {
            std::thread::sleep(self.config.turn_gap);
            self.held = Duration::ZERO;
        }
        self.released = Instant::now();
    }

    #[expect(clippy::type_complexity, reason = "what a turn yields, taken apart at its one caller")]
    fn try_turn(
        &mut self,
        incoming: &[Incoming],
    ) -> Result<std::result::Result<(Turn, Vec<ChangedRow>, Vec<ChangedRow>), RolledBack>> {
        let rows = if self.partial_turns > MOST_PARTIAL_TURNS { usize::MAX >> 1 } else { self.turn_rows };
        let limits = Limits { rows, bytes: self.config.changeset_bytes };
        let tx = begin(&mut self.connection)?;
        // Read under the lock: a commit that comes after ours must be seen as one.
        let data_version = data_version(&tx)?;

        // Are the side tables all there? Asked where somebody else may have touched them. And is it the file that we left?
        let moved = self.schema_version != Some(schema_version(&tx)?);
        let mend = (moved || data_version != self.data_version).then_some(moved);
        let found = Found::look(&tx, &self.path, &self.mark, mend)?;
        let replica = found.replica;
        // Documents may be gone that this writer wrote: were they made anew under its id, its first clocks would name two
        // contents, and Yrs would never bring them together.
        let writer = if found.changed { fresh::writer() } else { self.writer };
        let author = Author { replica, writer };

        // 1 reconcile
        if moved || found.changed {
            self.catalog = reconcile::run(&tx, now())?;
            if !parked::is_empty(&tx)? {
                backlog::refresh_parked(&tx)?;
            }
        }

        // 2 capture
        let captured = capture::run(&tx, &self.catalog, author, limits, now())?;
        let mut turn = Turn { marks: captured.marks, more: !captured.drained };

        // 3 apply and 4 materialize, never over an edit that is not captured yet
        let mut merge = Merge {
            tx: &tx,
            own: replica,
            vector: progress::vector(&tx)?,
            numbers: TableNumbers::default(),
            touched: captured.touched,
            materializer: Materializer::new(&tx, &self.catalog, &self.shunned)?,
        };
        let merged = if captured.drained || planted!(AppliedBeforeCapture) {
            for table in tables::take_unjudged(&tx)? {
                merge.materializer.judge_all(table);
                backlog::refresh_parked(&tx)?;
            }
            merge.all(incoming, self.turn_rows)
        } else {
            merge.keep(incoming)
        };
        let materializer = merge.materializer;
        let (changed, definitions_changed) = (materializer.changed, materializer.definitions);
        match merged? {
            Flow::GoOn => {}
            Flow::RolledBack(row) => {
                self.schema_version = None;
                return Ok(Err(row));
            }
        }
        let mut renewed = definitions_changed && adopt_options(&tx)?;
        if captured.drained && backlog::refresh_is_empty(&tx)? {
            renewed |= tables::clear_fresh(&tx)?;
            if !bases::is_empty(&tx)? {
                bases::forget_shown(&tx)?;
            }
        }
        turn.more |= renewed || !backlog::refresh_is_empty(&tx)?;

        // 5 progress is written with each changeset; it all becomes true here
        let version = schema_version(&tx)?;
        let mark = found.leave_mark(&tx, &self.mark)?;
        if !self.place.is_there(&self.path) {
            return Err(Error::FileAway { path: self.path.clone(), why: "was replaced".into() });
        }
        tx.commit().doing("committing a turn")?;
        if mark != self.mark || data_version != self.data_version {
            self.rest.stir();
            self.has_checkpointed();
        }
        (self.replica, self.writer, self.mark) = (replica, writer, mark);
        self.schema_version = (!renewed).then_some(version);
        self.data_version = data_version;
        self.partial_turns = if captured.drained { 0 } else { self.partial_turns + 1 };
        Ok(Ok((turn, captured.changed, changed)))
    }
}

fn schema_version(connection: &Connection) -> Result<i64> {
    connection.query_row("PRAGMA schema_version", [], |row| row.get(0)).doing("reading the schema version")
}

fn data_version(connection: &Connection) -> Result<i64> {
    connection.query_row("PRAGMA data_version", [], |row| row.get(0)).doing("reading the data version")
}
