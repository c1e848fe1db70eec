//! One database file as a replica: the façade over capture, apply and materialize. It alone begins transactions
//! and knows the order of the steps. Blocking; one thread owns it.
//!
//! A turn is one IMMEDIATE transaction (a read transaction that upgrades would fail with BUSY at once, whatever the
//! timeout): reconcile, capture, apply, materialize, progress. Documents, outbox, seq and the consumed marks commit
//! together or not at all.

mod cascade;
mod conversation;
mod repair;
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
use crate::materialize::{Limit, Materializer, Orphan, RolledBack};
use crate::mending;
use crate::merge::{Flow, Incoming, Merge};
use crate::naming::take_new_name;
use crate::schema::{Catalog, reconcile};
use crate::store::tables::Unjudged;
use crate::store::{self, backlog, bases, identity, outbox, parked, progress, tables, writers};
use crate::time::{is_virtual, now};
use crate::tracking;

use cascade::{Cascade, Progress};
pub(crate) use conversation::Verdict;
use space::adopt_options;

/// Sizes of the first turn; later ones fit what was measured.
const FIRST_TURN_ROWS: usize = 1000;
const FIRST_TURN_BYTES: usize = 64 << 10;
/// So many rows of others leave their tables, or return to them, because of what one turn wrote; more take several turns.
const MOST_SETTLED: usize = 500;
/// After so many turns that left a transaction half captured, one takes all that there is.
const MOST_PARTIAL_TURNS: u32 = 1000;

/// What a turn did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turn {
    /// Marks of the dirty log and the backlog that were consumed.
    pub(crate) marks: usize,
    /// Whether there is more to do right now.
    pub(crate) more: bool,
    /// Whether that is the rest of one piece of work, which could have been done at once.
    goes_on: bool,
}

/// Why a turn must begin again: nothing has happened.
enum Undone {
    /// A trigger of the user's rolled it back.
    RolledBack(RolledBack),
    /// These rows lose their parents, and more with them than one turn takes out. With SQLite's `schema_version`.
    TooMany(Vec<Orphan>, i64),
}

/// One database file, opened by the engine.
#[derive(Debug)]
pub(crate) struct Replica {
    connection: Connection,
    path: PathBuf,
    inode: Option<i64>,
    config: Config,
    replica: ReplicaId,
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
    cascade: Cascade,
    feed: broadcast::Sender<Changes>,
    _lock: EngineLock,
}

fn begin(connection: &mut Connection) -> Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate).doing("waiting for the write lock")
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
        if identity::hard_links(path)? > 1 {
            draft::forget_names(path);
        }
        if identity::hard_links(path)? > 1 {
            return Err(Error::HardLinked(path.to_owned()));
        }
        // Before the lock leaves its file beside something that is no database.
        drop(store::open_to_read(path, config.busy_timeout)?);
        let lock = EngineLock::take(path)?;
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
        if let Some(inode) = inode.filter(|_| recorded != inode) {
            if recorded.is_some() && !planted!(CopyKeepsName) {
                tracing::info!(path = %path.display(), "the file was copied or restored: it becomes a new replica");
                take_new_name(&tx)?;
            }
            identity::set_inode(&tx, inode)?;
        }
        let replica = identity::replica(&tx)?;
        if planted!(ReusedSeq) && outbox::first(&tx)?.is_none() {
            let one_less = progress::of(&tx, replica)?.saturating_sub(1);
            progress::put(&tx, replica, one_less)?;
            identity::set_acked(&tx, one_less)?;
        }
        // Always something: the commit waits for the disk. SQLite may have found a commit in the log whose author died before
        // the disk had it, and what is sent from here on must not be lost to the next loss of power.
        identity::set_opened(&tx, crate::time::now())?;
        tx.commit().doing("opening the database")?;
        let turn_rows = config.turn_rows.min(FIRST_TURN_ROWS);
        let feed = broadcast::Sender::new(config.feed_capacity.max(1));
        Ok(Self {
            path: path.to_owned(),
            inode,
            replica,
            writer: if let Some((reused, _)) = reused { reused } else { fresh::writer() },
            catalog: Catalog::default(),
            schema_version: None,
            data_version: 0,
            turn_rows,
            turn_bytes: FIRST_TURN_BYTES,
            held: Duration::ZERO,
            released: Instant::now(),
            partial_turns: 0,
            shunned: HashSet::new(),
            cascade: Cascade::default(),
            feed,
            config,
            connection,
            _lock: lock,
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
            && !tables::any_unjudged(connection)?
            && !identity::is_parking(connection)?
            && self.cascade.is_over())
    }

    /// Counts, in thousands, the steps that SQLite takes for the engine.
    #[cfg(feature = "sim")]
    pub(crate) fn count_steps(&mut self) -> Result<std::sync::Arc<std::sync::atomic::AtomicU64>> {
        let steps = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let count = std::sync::Arc::clone(&steps);
        let handler = move || {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            false
        };
        self.connection.progress_handler(1000, Some(handler)).doing("counting steps")?;
        Ok(steps)
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
        let tx = begin(&mut self.connection)?;
        let tracked = tracking::track(&tx, names, options, now())?;
        tx.commit().doing("tracking tables")?;
        Ok(tracked)
    }

    /// Ceases to track tables, all or none. What was written before is captured first.
    pub(crate) fn untrack(&mut self, names: &[&str]) -> Result<Vec<String>> {
        self.capture_all()?;
        let tx = begin(&mut self.connection)?;
        let untracked = tracking::untrack(&tx, names)?;
        tx.commit().doing("untracking tables")?;
        self.schema_version = None;
        Ok(untracked)
    }

    /// Whether another connection has committed since the last turn.
    pub(crate) fn has_foreign_commits(&self) -> Result<bool> {
        Ok(data_version(&self.connection)? != self.data_version)
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
            self.plan_cascade()?;
            match self.try_turn(batch)? {
                Ok(done) => break done,
                Err(Undone::RolledBack(row)) => {
                    tracing::warn!(table = row.0, "a trigger rolled the turn back; its row is parked");
                    self.shunned.insert(row);
                }
                Err(Undone::TooMany(orphans, version)) => {
                    tracing::debug!("more rows lose their parents than one turn takes out");
                    self.cascade.begin(orphans, version);
                }
            }
        };
        incoming.drain(..count);
        turn.more |= !incoming.is_empty();
        self.pace(begun, turn.marks, bytes, before != self.data_version);
        if turn.goes_on && !is_virtual() {
            // Others write between the turns of one long piece of work.
            std::thread::sleep(self.config.turn_gap);
        }
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

    /// A file that was replaced under us takes no writes: they would go where nobody looks.
    fn check_place(&self) -> Result<()> {
        match identity::inode_of(&self.path) {
            Ok(inode) if inode == self.inode => Ok(()),
            _ => Err(Error::FileReplaced(self.path.clone())),
        }
    }

    #[expect(clippy::type_complexity, reason = "what a turn yields, taken apart at its one caller")]
    fn try_turn(
        &mut self,
        incoming: &[Incoming],
    ) -> Result<std::result::Result<(Turn, Vec<ChangedRow>, Vec<ChangedRow>), Undone>> {
        let rows = if self.partial_turns > MOST_PARTIAL_TURNS { usize::MAX >> 1 } else { self.turn_rows };
        let limits = Limits { rows, bytes: self.config.changeset_bytes };
        let tx = begin(&mut self.connection)?;
        let begun = Instant::now();
        // Read under the lock: a commit that comes after ours must be seen as one.
        let data_version = data_version(&tx)?;

        // Are the side tables all there? Asked where somebody else may have touched them.
        let found_version = schema_version(&tx)?;
        let moved = self.schema_version != Some(found_version);
        let mended = (moved || data_version != self.data_version) && mending::run(&tx, &self.path, moved)?;
        let replica = if mended { identity::replica(&tx)? } else { self.replica };
        // Documents may be gone that this writer wrote: were they made anew under its id, its first clocks would name two
        // contents, and Yrs would never bring them together.
        let writer = if mended { fresh::writer() } else { self.writer };
        let author = Author { replica, writer };

        // 1 reconcile
        if moved || mended {
            self.catalog = reconcile::run(&tx, now())?;
            if (identity::judge_by(&tx, schema_version(&tx)?)? || mended) && !parked::is_empty(&tx)? {
                backlog::refresh_parked(&tx)?;
            }
        }
        cascade::look_again(&tx, &self.cascade)?;

        // 2 capture
        let captured = capture::run(&tx, &self.catalog, author, limits, now())?;
        let mut turn = Turn { marks: captured.marks, more: !captured.drained, goes_on: false };

        // 3 apply and 4 materialize, never over an edit that is not captured yet
        let until = |time: Duration| (!is_virtual()).then(|| begun + time);
        let limit =
            Limit::new(self.config.turn_rows.min(MOST_SETTLED), until(self.config.contended_turn_time));
        let ahead = captured.drained && self.cascade.is_parking();
        let unlimited = ahead || self.cascade.is_due();
        let mut merge = Merge {
            tx: &tx,
            own: replica,
            vector: progress::vector(&tx)?,
            numbers: TableNumbers::default(),
            touched: captured.touched,
            materializer: Materializer::new(
                &tx,
                &self.catalog,
                &self.shunned,
                if unlimited { Limit::NONE } else { limit },
            )?,
        };
        let mut progress = Progress::None;
        let merged = if ahead {
            let flow;
            (flow, progress) = self.cascade.park(&mut merge, incoming, limit)?;
            Ok(flow)
        } else if captured.drained || planted!(AppliedBeforeCapture) {
            for (table, unjudged) in tables::take_unjudged(&tx)? {
                merge.materializer.judge_all(table);
                if unjudged == Unjudged::Parked {
                    backlog::refresh_parked(&tx)?;
                }
            }
            let merged = merge.all(incoming, self.turn_rows, until(self.config.turn_time / 4));
            if !self.cascade.is_over() && matches!(merged, Ok(Flow::GoOn)) {
                progress = Progress::Checked(self.cascade.check(&tx, &merge.materializer)?);
            }
            merged
        } else {
            merge.keep(incoming)
        };
        let materializer = merge.materializer;
        let (changed, definitions_changed) = (materializer.changed, materializer.definitions);
        turn.goes_on = materializer.left_some || !matches!(progress, Progress::None);
        let undone = match merged? {
            Flow::GoOn => None,
            Flow::RolledBack(row) => Some(Undone::RolledBack(row)),
            Flow::TooMany(orphans) => Some(Undone::TooMany(orphans, found_version)),
        };
        if let Some(undone) = undone {
            // What reconcile found is undone with the rest.
            if moved || mended {
                self.schema_version = None;
            }
            return Ok(Err(undone));
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
        tx.commit().doing("committing a turn")?;
        (self.replica, self.writer) = (replica, writer);
        self.schema_version = (!renewed).then_some(version);
        self.data_version = data_version;
        self.partial_turns = if captured.drained { 0 } else { self.partial_turns + 1 };
        self.cascade.advance(progress);
        turn.more |= !self.cascade.is_over();
        Ok(Ok((turn, captured.changed, changed)))
    }
}

fn schema_version(connection: &Connection) -> Result<i64> {
    connection.query_row("PRAGMA schema_version", [], |row| row.get(0)).doing("reading the schema version")
}

fn data_version(connection: &Connection) -> Result<i64> {
    connection.query_row("PRAGMA data_version", [], |row| row.get(0)).doing("reading the data version")
}
