//! One database file as a replica: the façade over capture, apply and materialize. It alone begins transactions
//! and knows the order of the steps. Blocking; one thread owns it.
//!
//! A turn is one IMMEDIATE transaction (a read transaction that upgrades would fail with BUSY at once, whatever the
//! timeout): reconcile, capture, apply, materialize, progress. Documents, outbox, seq and the consumed marks commit
//! together or not at all.
//!
//! May use `turn` and what is below it. Begin with `Replica::try_turn`.

mod cascade;
mod conversation;
mod durability;
mod lock_wait;
mod mark;
pub(crate) mod mending;
mod naming;
mod notes;
mod place;
mod repair;
mod rest;
pub(crate) mod snapshot;
mod space;
pub(crate) mod status;

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use driftless_protocol::{ReplicaId, WriterId};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::broadcast;

use crate::config::{Config, TableOptions};
use crate::env::{ids, is_virtual, now};
use crate::error::{Doing, Error, Result};
use crate::file::draft;
use crate::file::lock::EngineLock;
use crate::file::notice::Notice;
use crate::file::stale_log;
use crate::schema::settling::Settling;
use crate::schema::tracking::look;
use crate::schema::tracking::rule::Newcomers;
use crate::schema::{Catalog, objects, tracking, unchanged};
use crate::store::tables::Unjudged;
use crate::store::{self, backlog, bases, columns, identity, outbox, parked, progress, tables, writers};
use crate::turn::apply::TableNumbers;
use crate::turn::capture::{self, Author, Limits};
use crate::turn::changes::{ChangeFeed, ChangedRow, Changes, Origin};
use crate::turn::materialize::{Limit, Materializer, Orphan, RolledBack};
use crate::turn::merge::{Flow, Incoming, Merge};

use cascade::{Cascade, Progress};
pub(crate) use conversation::{Introduction, Verdict};
use durability::Durability;
use mark::{Found, Mark};
use naming::take_new_name;
use notes::Notes;
use place::Place;
use rest::Rest;
pub(crate) use space::Made;
use space::adopt_options;
use status::Status;

/// Sizes of the first turn; later ones fit what was measured.
const FIRST_TURN_ROWS: usize = 1000;
const FIRST_TURN_BYTES: usize = 64 << 10;
/// No turn takes on fewer rows. On a busy machine the time that a turn took says little, and many short turns break more of
/// an app's transactions than one that is a little longer.
const FEWEST_ROWS: usize = 256;
/// So many rows of others leave their tables, or return to them, because of what one turn wrote; more take several turns.
const MOST_SETTLED: usize = 500;
/// After so many turns that left a transaction half captured, one takes all that there is.
const MOST_PARTIAL_TURNS: u32 = 1000;

/// How long to wait at a time for a table that was rebuilt to be left alone.
pub(crate) const SHORTEST_WAIT: Duration = Duration::from_millis(5);
pub(crate) const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// What a turn did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turn {
    /// Marks of the dirty log and the backlog that were consumed.
    pub(crate) marks: usize,
    /// Whether there is more to do right now.
    pub(crate) more: bool,
    /// In how long a table that was rebuilt may be compared with its documents; `None` if none waits.
    pub(crate) settles_in: Option<Duration>,
    /// Whether nothing was done because another process had a transaction open; see [`Replica::retreats`].
    pub(crate) retreated: bool,
    /// How long the write lock was held.
    pub(crate) held: Duration,
    /// Whether another process had a transaction open at the end, which fails if it goes on to write.
    pub(crate) met_another: bool,
    /// Whether that is the rest of one piece of work, which could have been done at once.
    goes_on: bool,
}

impl Turn {
    fn retreated() -> Self {
        Self { more: true, retreated: true, ..Self::default() }
    }
}

/// Why a turn must begin again: nothing has happened.
enum Undone {
    /// A trigger of the user's rolled it back.
    RolledBack(RolledBack),
    /// These rows lose their parents, and more with them than one turn takes out. With SQLite's `schema_version`.
    TooMany(Vec<Orphan>, i64),
    /// Another process has a transaction open; see [`Replica::retreats`].
    Met,
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
    /// The tables that wait to be left alone.
    settling: Settling,
    /// The app's numbers in the file's header, when somebody last committed.
    pragmas: Option<[i32; 2]>,
    /// SQLite's `schema_version` when the catalog was made.
    schema_version: Option<i64>,
    /// The same when the side tables were looked at, before the first turn.
    side_tables_at: Option<i64>,
    /// `data_version` at the end of the last turn: whether others have committed since.
    data_version: i64,
    turn_rows: usize,
    turn_bytes: usize,
    /// How long the write lock was held, turn upon turn, and when it was last let go.
    held: Duration,
    released: Instant,
    partial_turns: u32,
    /// Tables that `track --all` is about to track.
    newcomers: Newcomers,
    /// Whether the next turn gives the lock back if another process has a transaction open.
    retreats: bool,
    /// Whether an app is at work, so that turns are to be short.
    beside_app: bool,
    notes: Notes,
    durability: Durability,
    shunned: HashSet<RolledBack>,
    cascade: Cascade,
    /// The `schema_version` under which those rows failed: under another they are tried again.
    shunned_under: i64,
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
    /// SQLite's `schema_version` when the side tables were looked at.
    side_tables_at: i64,
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
    lock_wait::install(&mut connection)?;
    lock_wait::set_longest(config.busy_timeout);
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
    if is_copy || is_another && !planted!(RestoreUnnoticed) {
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
    let side_tables_at = schema_version(&tx)?;
    tx.commit().doing("opening the database")?;
    let writer = reused.map_or_else(ids::writer, |(writer, _)| writer);
    Ok(Opened { connection, mark, writer, side_tables_at })
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
        // Before anything of ours is written to it.
        let last_write = last_write(path);
        if let Some(why) = stale_log::in_use(path) {
            return Err(Error::FileAway { path: path.to_owned(), why: why.into() });
        }
        check_file(path, &config)?;
        let lock = EngineLock::take(path)?;
        let Opened { connection, mark, writer, side_tables_at } = open_file(path, &config, None)?;
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
            settling: Settling::new(config.rebuild_quiet, last_write),
            pragmas: None,
            schema_version: None,
            side_tables_at: Some(side_tables_at),
            data_version: 0,
            turn_rows,
            turn_bytes: FIRST_TURN_BYTES,
            held: Duration::ZERO,
            released: Instant::now(),
            partial_turns: 0,
            newcomers: Newcomers::default(),
            retreats: false,
            beside_app: false,
            notes: Notes::default(),
            durability: Durability::new(),
            shunned: HashSet::new(),
            cascade: Cascade::default(),
            shunned_under: 0,
            feed,
            config,
            connection,
            lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the engine says how it is.
    pub(crate) fn notice(&self) -> &Notice {
        self.lock.notice()
    }

    /// How the file is doing, by the connection that is open.
    pub(crate) fn status(&self) -> Result<Status> {
        let is_current = self.schema_version == Some(schema_version(&self.connection)?);
        status::read(&self.connection, &self.path, is_current.then_some(&self.catalog))
    }

    /// This file's id.
    pub(crate) fn id(&self) -> ReplicaId {
        self.replica
    }

    /// Leaves it to the system when to write to the disk: for files that need not outlive a test.
    #[cfg(feature = "sim")]
    pub(crate) fn without_fsync(&mut self) -> Result<()> {
        self.durability.turn_off(&self.connection)
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
            && !tables::any_rebuilt(connection)?
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
        let quiet = self.config.rebuild_quiet;
        self.write("tracking tables", |tx, _| {
            // A missing trigger is how a look knows that a table was rebuilt, and tracking makes the triggers anew.
            look::at_tables(tx, &mut Settling::new(quiet, None), now())?;
            tracking::track(tx, names, options, now())
        })
    }

    /// Ceases to track tables, all or none. What was written before is captured first.
    pub(crate) fn untrack(&mut self, names: &[&str]) -> Result<Vec<String>> {
        self.capture_settled()?;
        let untracked = self.write("untracking tables", |tx, _| tracking::untrack(tx, names))?;
        self.schema_version = None;
        Ok(untracked)
    }

    /// A number that changes when another connection commits. Fails where the file may be another: then a turn finds out.
    pub(crate) fn data_version(&self) -> Result<i64> {
        if self.is_elsewhere() {
            return Err(self.away("may have been replaced".to_owned()));
        }
        data_version(&self.connection)
    }

    /// Whether another connection has committed since the last turn, by the file's [`Replica::data_version`] now.
    pub(crate) fn is_foreign(&self, data_version: i64) -> bool {
        data_version != self.data_version
    }

    /// Whether a turn is to be taken though nobody has committed: to look again at new tables and at those that were rebuilt,
    /// or because the database was written to.
    pub(crate) fn is_due(&self) -> bool {
        self.newcomers.is_due(now()) || self.is_settling_due() || self.is_checkpointed()
    }

    /// Whether another process has a transaction open. `false` where SQLite cannot tell; connections of this process are
    /// not counted.
    pub(crate) fn others_have_transactions(&self) -> bool {
        driftless_wal::has_external_transaction(&self.connection).unwrap_or(false)
    }

    /// For the next turn: whether it gives the lock back, and does nothing, if another process has a transaction open
    /// when it has the lock, or begins one before the turn commits: its first write would fail. And whether the turn is to
    /// be short, for an app that is at work.
    pub(crate) fn retreats(&mut self, retreats: bool, beside_app: bool) {
        (self.retreats, self.beside_app) = (retreats, beside_app);
    }

    /// Captures everything that is committed now, but for what was done to a table that was made, or made anew, and is not
    /// left alone yet. Returns in how long that may be captured; `None` if nothing is left.
    pub(crate) fn capture_all(&mut self) -> Result<Option<Duration>> {
        loop {
            let turn = self.turn(&mut VecDeque::new())?;
            if !turn.more {
                let newcomers = self.newcomers.due_in(now());
                return Ok(turn.settles_in.into_iter().chain(newcomers).min());
            }
        }
    }

    /// Captures everything that is committed now, and waits until tables in the making have been left alone. Where a
    /// test sets the time, which does not pass by itself, it does not wait.
    pub(crate) fn capture_settled(&mut self) -> Result<()> {
        while let Some(wait) = self.capture_all()? {
            if is_virtual() {
                break;
            }
            std::thread::sleep(wait.clamp(SHORTEST_WAIT, LONGEST_WAIT));
        }
        Ok(())
    }

    /// Whether a table that was rebuilt may be compared with its documents now.
    pub(crate) fn is_settling_due(&self) -> bool {
        self.settling.due_in(now()).is_some_and(|wait| wait.is_zero())
    }

    /// One turn. Takes what it has time for from the front of `incoming`: applied, or kept in the inbox. When the turn
    /// fails nothing has happened and `incoming` is as it was; but when the disk fails after its commit, what it took is
    /// done, and nothing is sent before a later turn has brought it to the disk.
    pub(crate) fn turn(&mut self, incoming: &mut VecDeque<Incoming>) -> Result<Turn> {
        self.check_place()?;
        lock_wait::set_longest(self.config.busy_timeout);
        let before = self.data_version;
        let (mut count, mut bytes) = (0, 0);
        while let Some(next) = incoming.get(count)
            && (count == 0 || bytes + next.len() <= self.turn_bytes)
        {
            bytes += next.len();
            count += 1;
        }
        let batch = &incoming.make_contiguous()[..count];
        self.durability.relax(&self.connection)?;
        let done = self.try_until_done(batch);
        self.durability.restore(&self.connection)?;
        let (mut turn, local, remote) = done?;
        if turn.retreated {
            return Ok(turn);
        }
        incoming.drain(..count);
        turn.more |= !incoming.is_empty();
        let contended = std::mem::take(&mut self.beside_app) || before != self.data_version;
        self.pace(turn.held, turn.marks, bytes, contended);
        self.announce(Origin::Local, local);
        self.announce(Origin::Remote, remote);
        self.durability.wait(&self.connection)?;
        if turn.goes_on && !is_virtual() {
            // Others write between the turns of one long piece of work.
            std::thread::sleep(self.config.turn_gap);
        }
        Ok(turn)
    }

    fn try_until_done(&mut self, batch: &[Incoming]) -> Result<(Turn, Vec<ChangedRow>, Vec<ChangedRow>)> {
        loop {
            self.plan_cascade()?;
            let settling = self.settling.clone();
            let tried = self.try_turn(batch);
            if !matches!(tried, Ok(Ok(_))) {
                // The transaction is undone, so its decisions about rebuilt tables are undone in memory too.
                self.settling = settling;
            }
            match tried? {
                Ok(done) => return Ok(done),
                Err(Undone::RolledBack(row)) => {
                    tracing::warn!(
                        table = row.0,
                        act = ?row.2,
                        "a trigger rolled the turn back, or a row took too long to write; the row is parked"
                    );
                    self.shunned.insert(row);
                }
                Err(Undone::TooMany(orphans, version)) => {
                    tracing::debug!("more rows lose their parents than one turn takes out");
                    self.cascade.begin(orphans, version);
                }
                Err(Undone::Met) => return Ok((Turn::retreated(), Vec::new(), Vec::new())),
            }
        }
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
    fn pace(&mut self, took: Duration, marks: usize, bytes: usize, contended: bool) {
        if is_virtual() {
            return;
        }
        let begun = Instant::now().checked_sub(took).unwrap_or(self.released);
        let aim = if contended { self.config.contended_turn_time } else { self.config.turn_time };
        let factor = (aim.as_secs_f64() / took.as_secs_f64().max(1e-6)).clamp(0.5, 2.0);
        if marks > 0 {
            let most = self.config.turn_rows.max(1);
            self.turn_rows = ((self.turn_rows as f64 * factor) as usize).clamp(most.min(FEWEST_ROWS), most);
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
    ) -> Result<std::result::Result<(Turn, Vec<ChangedRow>, Vec<ChangedRow>), Undone>> {
        let rows = if self.partial_turns > MOST_PARTIAL_TURNS { usize::MAX >> 1 } else { self.turn_rows };
        let limits = Limits { rows, bytes: self.config.changeset_bytes };
        let tx = begin(&mut self.connection)?;
        let begun = Instant::now();
        let retreats = std::mem::take(&mut self.retreats);
        if retreats && meets_transaction(&tx) {
            return Ok(Err(Undone::Met));
        }
        // Read under the lock: a commit that comes after ours must be seen as one.
        let data_version = data_version(&tx)?;
        let changes_before = tx.total_changes();

        // Are the side tables all there? Asked where somebody else may have touched them. And is it the file that we left?
        let found_version = schema_version(&tx)?;
        let moved = self.schema_version != Some(found_version);
        if self.shunned_under != found_version {
            self.shunned.clear();
            self.shunned_under = found_version;
        }
        // At the opening they were looked at already.
        let whole = moved && self.side_tables_at.take() != Some(found_version);
        let mend = (moved || data_version != self.data_version).then_some(whole);
        let found = Found::look(&tx, &self.path, &self.mark, mend)?;
        let replica = found.replica;
        // Documents may be gone that this writer wrote: were they made anew under its id, its first clocks would name two
        // contents, and Yrs would never bring them together.
        let writer = if found.changed { ids::writer() } else { self.writer };
        let author = Author { replica, writer };

        // 1 reconcile
        let settled = self.settling.due_in(now()).is_some_and(|wait| wait.is_zero());
        if moved || found.changed || settled || self.newcomers.is_due(now()) {
            self.newcomers.look(&tx, now(), self.settling.time_of_unseen(now()))?;
        }
        // Tables that are tracked only now have moved it on.
        let moved = moved || self.schema_version != Some(schema_version(&tx)?);
        if moved || found.changed || settled {
            self.catalog = look_at_tables(&tx, &mut self.settling, &mut self.newcomers)?;
            if self.newcomers.wait() {
                unchanged::forget(&tx)?;
            }
            if (identity::judge_by(&tx, schema_version(&tx)?)? || found.changed) && !parked::is_empty(&tx)? {
                backlog::refresh_parked(&tx)?;
            }
        }
        cascade::look_again(&tx, &self.cascade)?;
        self.cascade.follow_schema(found_version);

        let mut pragmas = self.pragmas;
        if moved || found.changed || data_version != self.data_version {
            pragmas = objects::follow_pragmas(&tx, &self.catalog, pragmas, now())?;
        }

        // 2 capture
        // Longer work than that is not done twice.
        let gives_way = retreats && !(moved || found.changed || settled) && self.cascade.is_over();
        if gives_way && meets_transaction(&tx) {
            return Ok(Err(Undone::Met));
        }
        let captured = capture::run(&tx, &self.catalog, author, limits, now())?;
        captured.written.iter().for_each(|table| self.settling.touch(*table, now()));
        let settles_in = self.settling.due_in(now());
        let mut turn = Turn { marks: captured.marks, more: !captured.drained, settles_in, ..Turn::default() };

        if gives_way && meets_transaction(&tx) {
            return Ok(Err(Undone::Met));
        }

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
                self.config.row_time,
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
            progress = Progress::Captured;
            merge.keep(incoming)
        };
        let materializer = merge.materializer;
        let (changed, definitions_changed) = (materializer.changed, materializer.definitions);
        turn.goes_on =
            materializer.left_some || matches!(progress, Progress::Parked(..) | Progress::Checked(_));
        let undone = match merged? {
            Flow::GoOn => None,
            Flow::RolledBack(row) => Some(Undone::RolledBack(row)),
            Flow::TooMany(orphans) => Some(Undone::TooMany(orphans, found_version)),
        };
        if let Some(undone) = undone {
            // What reconcile found is undone with the rest.
            if moved || found.changed {
                self.schema_version = None;
            }
            return Ok(Err(undone));
        }
        // A changed definition may change the notes that `status` shows of a table, so the tables are looked at again.
        let mut renewed = definitions_changed;
        if definitions_changed {
            adopt_options(&tx)?;
            // A table that is here may be one that the space knows only now: this engine looks, or the next.
            self.newcomers.space_changed();
            unchanged::forget(&tx)?;
        }
        if captured.drained && backlog::refresh_is_empty(&tx)? {
            renewed |= columns::clear_fresh(&tx)?;
            if !bases::is_empty(&tx)? {
                bases::forget_shown(&tx)?;
            }
        }
        turn.more |= renewed || !backlog::refresh_is_empty(&tx)?;

        // 5 progress is written with each changeset; it all becomes true here
        let version = schema_version(&tx)?;
        let wrote =
            tx.total_changes() != changes_before || version != found_version || self.notes.is_urgent();
        if wrote {
            self.notes.write(&tx, replica)?;
        }
        let mark = found.leave_mark(&tx, &self.mark)?;
        if !self.place.is_there(&self.path) {
            return Err(Error::FileAway { path: self.path.clone(), why: "was replaced".into() });
        }
        if gives_way && wrote && !renewed && meets_transaction(&tx) {
            return Ok(Err(Undone::Met));
        }
        turn.met_another = self.beside_app && driftless_wal::has_external_transaction(&tx).unwrap_or(false);
        tx.commit().doing("committing a turn")?;
        if mark != self.mark {
            self.notes = Notes::default();
            self.durability.committed();
        }
        if mark != self.mark || data_version != self.data_version {
            self.rest.stir();
            self.has_checkpointed();
        }
        turn.held = begun.elapsed();
        (self.replica, self.writer, self.mark) = (replica, writer, mark);
        self.schema_version = (!renewed).then_some(version);
        (self.data_version, self.pragmas) = (data_version, pragmas);
        self.partial_turns = if captured.drained { 0 } else { self.partial_turns + 1 };
        self.cascade.advance(progress, version);
        turn.more |= !self.cascade.is_over();
        Ok(Ok((turn, captured.changed, changed)))
    }
}

/// Whether another process has a transaction open, and for longer than a query takes: an app that asks often would be met again
/// and again, and whoever only reads is not harmed by a commit.
fn meets_transaction(tx: &Transaction<'_>) -> bool {
    const QUERY: Duration = Duration::from_micros(60);
    let begun = Instant::now();
    while driftless_wal::has_external_transaction(tx).unwrap_or(false) {
        if begun.elapsed() >= QUERY {
            return true;
        }
        std::hint::spin_loop();
    }
    false
}

/// Looks at the user's tables.
fn look_at_tables(
    tx: &Transaction<'_>,
    settling: &mut Settling,
    newcomers: &mut Newcomers,
) -> Result<Catalog> {
    let looked = look::at_tables(tx, settling, now())?;
    if looked.took_a_given_up_name {
        newcomers.space_changed();
    }
    Ok(looked.catalog)
}

/// When a database was last written, in milliseconds since 1970; `None` where the system does not tell, or time is not its
/// own.
pub(crate) fn last_write(path: &Path) -> Option<i64> {
    if is_virtual() {
        return None;
    }
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let written = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        // Whoever only reads a file leaves an empty log beside it.
        let modified = metadata.modified().ok().filter(|_| metadata.len() > 0)?;
        let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_millis()).ok()
    };
    written(path).max(written(Path::new(&log)))
}

fn schema_version(connection: &Connection) -> Result<i64> {
    connection.query_row("PRAGMA schema_version", [], |row| row.get(0)).doing("reading the schema version")
}

fn data_version(connection: &Connection) -> Result<i64> {
    connection.query_row("PRAGMA data_version", [], |row| row.get(0)).doing("reading the data version")
}
