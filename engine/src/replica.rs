//! One database file as a replica: the façade over capture, apply and materialize. It alone begins transactions
//! and knows the order of the steps. Blocking; one thread owns it.
//!
//! A turn is one IMMEDIATE transaction (a read transaction that upgrades would fail with BUSY at once, whatever the
//! timeout): reconcile, capture, apply, materialize, progress. Documents, outbox, seq and the consumed marks commit
//! together or not at all.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use driftless_protocol::message::Welcome;
use driftless_protocol::{Changeset, ReplicaId, RowKey, SnapshotPart, SpaceId, StateVector, WriterId};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::broadcast;

use crate::apply::TableNumbers;
use crate::capture::{self, Author, Limits};
use crate::changes::{ChangeFeed, ChangedRow, Changes, Origin};
use crate::config::{ColumnKind, Config, TableOptions};
use crate::delivery;
use crate::draft;
use crate::error::{Doing, Error, Result};
use crate::fresh;
use crate::lock::EngineLock;
use crate::materialize::{Materializer, RolledBack};
use crate::mending;
use crate::merge::{Flow, Incoming, Merge};
use crate::naming::{is_foreign, take_new_name};
use crate::schema::eligibility::Refusal;
use crate::schema::{Catalog, definitions, reconcile};
use crate::store::tables::State;
use crate::store::{
    self, backlog, bases, identity, inbox, kinds, outbox, parked, progress, quarantine, renames, tables,
    writers,
};
use crate::time::{is_virtual, now};
use crate::tracking;

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

/// What a session needs to know of this replica when it begins.
#[derive(Debug, Clone)]
pub(crate) struct Introduction {
    pub(crate) replica: ReplicaId,
    pub(crate) space: Option<SpaceId>,
    /// What the relay need not send.
    pub(crate) held: StateVector,
}

/// What a replica makes of a relay's welcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on: send own changesets after this seq. With `snapshot`, the relay first needs a snapshot.
    Proceed { send_after: u64, snapshot: bool },
    /// The relay holds what this file never wrote under its name: it is a copy and must take another.
    Copy,
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
    ) -> Result<std::result::Result<(Turn, Vec<ChangedRow>, Vec<ChangedRow>), RolledBack>> {
        let rows = if self.partial_turns > MOST_PARTIAL_TURNS { usize::MAX >> 1 } else { self.turn_rows };
        let limits = Limits { rows, bytes: self.config.changeset_bytes };
        let tx = begin(&mut self.connection)?;
        // Read under the lock: a commit that comes after ours must be seen as one.
        let data_version = data_version(&tx)?;

        // Are the side tables all there? Asked where somebody else may have touched them.
        let moved = self.schema_version != Some(schema_version(&tx)?);
        let mended = (moved || data_version != self.data_version) && mending::run(&tx, &self.path, moved)?;
        let replica = if mended { identity::replica(&tx)? } else { self.replica };
        // Documents may be gone that this writer wrote: were they made anew under its id, its first clocks would name two
        // contents, and Yrs would never bring them together.
        let writer = if mended { fresh::writer() } else { self.writer };
        let author = Author { replica, writer };

        // 1 reconcile
        if moved || mended {
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
        tx.commit().doing("committing a turn")?;
        (self.replica, self.writer) = (replica, writer);
        self.schema_version = (!renewed).then_some(version);
        self.data_version = data_version;
        self.partial_turns = if captured.drained { 0 } else { self.partial_turns + 1 };
        Ok(Ok((turn, captured.changed, changed)))
    }

    /// What to say to a relay.
    pub(crate) fn introduce(&mut self) -> Result<Introduction> {
        let tx = begin(&mut self.connection)?;
        // Parts of a snapshot that an earlier connection left are sent again, whole.
        inbox::forget_snapshots(&tx)?;
        let vector = progress::vector(&tx)?;
        let held = delivery::held(&vector, &inbox::list(&tx)?);
        let introduction = Introduction { replica: self.replica, space: identity::space(&tx)?, held };
        tx.commit().doing("introducing this file to a relay")?;
        Ok(introduction)
    }

    /// The state vector of what is applied.
    pub(crate) fn vector(&self) -> Result<StateVector> {
        progress::vector(&self.connection)
    }

    /// What is applied, and what came in and waits for what nobody has sent yet: the rest of a transaction, or what it
    /// builds on. More cannot be done with what a relay that counts no more than this has.
    pub(crate) fn held(&self) -> Result<StateVector> {
        let vector = self.vector()?;
        if inbox::is_empty(&self.connection)? {
            return Ok(vector);
        }
        Ok(delivery::held(&vector, &inbox::list(&self.connection)?))
    }

    /// The last seq of ours.
    pub(crate) fn last_seq(&self) -> Result<u64> {
        Ok(self.vector()?.get(self.replica))
    }

    /// Takes a relay's welcome: joins its space, and finds out what the relay lacks.
    /// Fails with [`Error::WrongSpace`] if the file belongs to another.
    pub(crate) fn welcome(&mut self, welcome: &Welcome, url: &str) -> Result<Verdict> {
        let tx = begin(&mut self.connection)?;
        match identity::space(&tx)? {
            Some(ours) if ours != welcome.space => {
                return Err(Error::WrongSpace { ours, theirs: welcome.space });
            }
            Some(_) => {}
            None => identity::set_space(&tx, welcome.space)?,
        }
        let vector = progress::vector(&tx)?;
        let last = vector.get(self.replica);
        if let Some(own) = welcome.own
            && is_foreign(&tx, own, last)?
        {
            return Ok(Verdict::Copy);
        }
        identity::set_contact(&tx, now(), url)?;
        let stored = welcome.heads.get(self.replica);
        // What a later vector still counts is on the relay for good.
        outbox::confirm(&tx, stored)?;
        if stored < identity::acked(&tx)? {
            tracing::warn!(
                url,
                stored,
                "the space at this address lacks what a relay had acknowledged: either the relay lost its data and is \
                 refilled now, or this is another address than before"
            );
        }
        identity::set_acked(&tx, stored.min(last))?;
        let first = outbox::first(&tx)?.unwrap_or(last + 1);
        let lacks_others = vector.ahead_of(&welcome.heads).iter().any(|(replica, _)| replica != self.replica);
        let lacks_ours = stored + 1 < first;
        tx.commit().doing("joining the space")?;
        let snapshot = (lacks_others || lacks_ours) && !planted!(OutboxEmptiedEarly);
        Ok(Verdict::Proceed { send_after: stored.min(last), snapshot })
    }

    /// Becomes a new replica, keeping all unsent work.
    pub(crate) fn become_new(&mut self) -> Result<()> {
        let tx = begin(&mut self.connection)?;
        let replica = take_new_name(&tx)?;
        tx.commit().doing("becoming a new replica")?;
        tracing::info!(old = %self.replica.short(), new = %replica.short(), "this file is a copy: new replica id");
        self.replica = replica;
        Ok(())
    }

    /// Own changesets after `seq`, about `bytes` of them.
    pub(crate) fn outgoing(&self, after: u64, bytes: usize) -> Result<Vec<Changeset>> {
        outbox::read(&self.connection, after, bytes)
    }

    /// The same; if one is damaged the outbox is emptied. The next connection finds that the relay lacks what is no longer
    /// here, and sends it a snapshot.
    pub(crate) fn outgoing_or_empty(&mut self, after: u64, bytes: usize) -> Result<Vec<Changeset>> {
        let read = self.outgoing(after, bytes);
        if let Err(error @ Error::Damaged { .. }) = &read {
            tracing::error!(%error, "the outbox is emptied; the relay takes a snapshot instead");
            let tx = begin(&mut self.connection)?;
            outbox::clear(&tx)?;
            identity::add_mended(&tx, "the outbox was damaged; the relay takes a snapshot instead")?;
            tx.commit().doing("emptying the outbox")?;
        }
        read
    }

    /// The relay has stored everything of `own`'s up to `seq`. Nothing of it is true of another name than that which
    /// spoke to the relay.
    pub(crate) fn acknowledged(&mut self, own: ReplicaId, seq: u64) -> Result<()> {
        if own != self.replica {
            return Ok(());
        }
        let tx = begin(&mut self.connection)?;
        if identity::acked(&tx)? < seq {
            identity::set_acked(&tx, seq)?;
        }
        if planted!(OutboxEmptiedEarly) {
            outbox::confirm(&tx, seq)?;
        }
        tx.commit().doing("noting an acknowledgement")
    }

    /// A state vector of the relay's, later than the acknowledgements it confirms.
    pub(crate) fn confirmed(&mut self, heads: &StateVector, url: &str) -> Result<()> {
        let tx = begin(&mut self.connection)?;
        outbox::confirm(&tx, heads.get(self.replica))?;
        identity::set_contact(&tx, now(), url)?;
        tx.commit().doing("noting what the relay holds")
    }

    /// Judges all that is parked anew, in a transaction that is rolled back. Returns what `look` saw before and after;
    /// `None` if nothing can be judged now, because a trigger of the user's rolls everything back.
    pub(crate) fn judge_parked<T>(
        &mut self,
        look: impl Fn(&Connection) -> Result<T>,
    ) -> Result<Option<(T, T)>> {
        let tx = begin(&mut self.connection)?;
        let before = look(&tx)?;
        backlog::refresh_parked(&tx)?;
        let mut merge = Merge {
            tx: &tx,
            own: self.replica,
            vector: progress::vector(&tx)?,
            numbers: TableNumbers::default(),
            touched: Default::default(),
            materializer: Materializer::new(&tx, &self.catalog, &self.shunned)?,
        };
        for table in self.catalog.iter() {
            merge.materializer.judge_all(table.id);
        }
        match merge.all(&[], usize::MAX >> 1)? {
            Flow::GoOn => Ok(Some((before, look(&tx)?))),
            Flow::RolledBack(_) => Ok(None),
        }
    }

    /// What was mended in the side tables.
    pub(crate) fn mended(&self) -> Result<Option<String>> {
        identity::mended(&self.connection)
    }

    /// Changes the side tables by way of repair. If `work` returns `true`, the file starts over as a new replica.
    pub(crate) fn mend(&mut self, work: impl FnOnce(&Transaction<'_>) -> Result<bool>) -> Result<()> {
        let tx = begin(&mut self.connection)?;
        if work(&tx)? {
            mending::start_over(&tx, &self.path)?;
        }
        let replica = identity::replica(&tx)?;
        tx.commit().doing("repairing the side tables")?;
        // See `try_turn`: documents may have been dropped.
        (self.replica, self.writer) = (replica, fresh::writer());
        self.schema_version = None;
        Ok(())
    }

    /// Merges documents that others have, and shows them.
    pub(crate) fn take_documents(&mut self, parts: Vec<SnapshotPart>) -> Result<()> {
        self.take(parts.into_iter().map(Incoming::SnapshotPart).collect())
    }

    /// Tries again what was set aside. Returns how much of it is applied now.
    pub(crate) fn try_again(&mut self) -> Result<usize> {
        self.capture_all()?;
        let before = quarantine::all(&self.connection)?;
        let count = before.len();
        let readable = before.into_iter().filter(|aside| aside.from.is_some()).filter_map(|aside| {
            Some(Incoming::Again(aside.id, Changeset::from_bytes(Bytes::from(aside.frame)).ok()?))
        });
        self.take(readable.collect())?;
        Ok(count.saturating_sub(quarantine::len(&self.connection)? as usize))
    }

    fn take(&mut self, mut incoming: VecDeque<Incoming>) -> Result<()> {
        while self.turn(&mut incoming)?.more || !incoming.is_empty() {}
        Ok(())
    }

    /// Forgets what was set aside under these numbers: what it says came another way.
    pub(crate) fn forget_set_aside(&mut self, ids: &[i64]) -> Result<()> {
        self.mend(|tx| {
            ids.iter().try_for_each(|id| quarantine::remove(tx, *id))?;
            Ok(false)
        })
    }

    /// Learns who writers were. Returns how many were not known.
    pub(crate) fn remember_writers(&mut self, all: &[(WriterId, ReplicaId)]) -> Result<usize> {
        let tx = begin(&mut self.connection)?;
        let before = writers::all(&tx)?.len();
        all.iter().try_for_each(|&(writer, replica)| writers::remember(&tx, writer, replica))?;
        let learnt = writers::all(&tx)?.len() - before;
        tx.commit().doing("remembering writers")?;
        Ok(learnt)
    }

    /// Sends the documents of some rows whole, as changesets of ours.
    pub(crate) fn publish(&mut self, rows: &BTreeSet<(String, RowKey)>) -> Result<()> {
        self.capture_all()?;
        let author = Author { replica: self.replica, writer: self.writer };
        let bytes = self.config.changeset_bytes;
        let tx = begin(&mut self.connection)?;
        capture::publish(&tx, author, rows.iter().map(|(name, key)| (&**name, key)), bytes, now())?;
        tx.commit().doing("sending documents whole")
    }

    /// Makes the tables that the space defines and that are not here, and tracks them. Returns their names.
    pub(crate) fn make_defined_tables(&mut self) -> Result<Vec<String>> {
        let defined = definitions::all(&self.connection)?;
        let mut made = Vec::new();
        for definition in defined {
            if crate::schema::introspect::table(&self.connection, definition.called())?.is_some() {
                continue;
            }
            definitions::create(&mut self.connection, &definition)?;
            // What one replica could track all can; a key that was allowed there is allowed here. Saying so where nobody
            // had to would only be news for everybody.
            let table = crate::schema::introspect::table(&self.connection, definition.called())?;
            let allow_integer_key = matches!(&table, Some(Ok(table)) if table.integer_key);
            let options = TableOptions { allow_integer_key, ..definition.options.clone() };
            self.track(&[definition.called()], options)?;
            made.push(definition.called().to_owned());
        }
        self.schema_version = None;
        Ok(made)
    }
}

/// Takes over the options that the space has for tables. Returns whether any changed.
fn adopt_options(tx: &Transaction<'_>) -> Result<bool> {
    let mut renewed = false;
    for definition in &definitions::all(tx)? {
        let Some(mut entry) = tables::find(tx, &definition.name)? else {
            tables::add(tx, &definition.name, &definition.name, State::Unknown)?;
            continue;
        };
        if entry.options.deletes_win != definition.options.deletes_win {
            tracing::warn!(table = %entry.spelled, deletes_win = definition.options.deletes_win,
                "the space treats deletes of this table otherwise; its rows are judged again");
            entry.options.deletes_win = definition.options.deletes_win;
            tables::update(tx, &entry)?;
            backlog::refresh_table(tx, entry.id)?;
            renewed = true;
        }
        // Files that were tracked apart may each have said something: all of it holds, and of two that contradict each
        // other the one that is shown.
        let mut said = definition.clone();
        let mut kinds = definition.kinds();
        for other in definitions::standing(tx, &definition.name, "kinds")? {
            for (column, kind) in kinds::from_text(&other) {
                if kinds::of(&kinds, &column) == ColumnKind::Register {
                    kinds::set(&mut kinds, column, kind);
                }
            }
        }
        let mut renames = definition.renames();
        let others = definitions::standing(tx, &definition.name, "renames")?;
        for (now, travels) in others.iter().flat_map(|other| renames::from_text(other)) {
            if !renames.iter().any(|(known, _)| *known == now) {
                renames.push((now, travels));
            }
        }
        renames.sort();
        if definition.kinds.is_some() && entry.options.kinds != kinds {
            tracing::info!(table = %entry.spelled, "the space has other kinds for columns of this table");
            entry.options.kinds.clone_from(&kinds);
            tables::update(tx, &entry)?;
            renewed = true;
        }
        if definition.renames.is_some() && entry.renames != renames {
            tracing::info!(table = %entry.spelled, "columns of this table were renamed in the space");
            entry.renames.clone_from(&renames);
            entry.hint = None;
            tables::update(tx, &entry)?;
            // What was written under one of the names shows under the other.
            backlog::refresh_table(tx, entry.id)?;
            renewed = true;
        }
        if kinds != definition.kinds() {
            said.kinds = Some(kinds::to_text(&kinds));
        }
        if renames != definition.renames() {
            said.renames = Some(renames::to_text(&renames));
        }
        if said != *definition {
            definitions::put(tx, &said, now())?;
            renewed = true;
        }
    }
    Ok(renewed)
}

fn schema_version(connection: &Connection) -> Result<i64> {
    connection.query_row("PRAGMA schema_version", [], |row| row.get(0)).doing("reading the schema version")
}

fn data_version(connection: &Connection) -> Result<i64> {
    connection.query_row("PRAGMA data_version", [], |row| row.get(0)).doing("reading the data version")
}

/// Tables that were tracked, and those that could not be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tracked {
    /// The names as the tables spell them.
    pub tables: Vec<String>,
    /// With [`Selection::All`]: the tables that were left out, and why.
    pub left_out: Vec<(String, Refusal)>,
}

/// Which tables to track.
#[derive(Debug, Clone, Copy)]
pub enum Selection<'a> {
    /// These, all or none.
    Named(&'a [&'a str]),
    /// Every table that can be.
    All,
}

/// Begins to track tables, whether or not an engine has the file: it needs no engine's lock. The rows that are there
/// are captured by the running engine, or by the next to open the file. Makes the side tables if they are not there and
/// switches the file to WAL.
///
/// Fails with [`Error::NotTrackable`], [`Error::Contradiction`], [`Error::NoSuchFile`], [`Error::NotADatabase`],
/// [`Error::ReadOnly`], [`Error::NewerFormat`]; nothing is changed then.
pub fn track(path: impl AsRef<Path>, tables: Selection<'_>, options: TableOptions) -> Result<Tracked> {
    let path = path.as_ref();
    let mut connection = store::open(path, Config::default().busy_timeout)?;
    let tx = begin(&mut connection)?;
    mending::run(&tx, path, true)?;
    let tracked = match tables {
        Selection::Named(names) => {
            Tracked { tables: tracking::track(&tx, names, options, now())?, left_out: Vec::new() }
        }
        Selection::All => {
            let (fit, left_out) = tracking::trackable(&tx, &options)?;
            let names: Vec<&str> = fit.iter().map(String::as_str).collect();
            Tracked { tables: tracking::track(&tx, &names, options, now())?, left_out }
        }
    };
    tx.commit().doing("tracking tables")?;
    Ok(tracked)
}

/// Makes a column of a tracked table of another kind, whether or not an engine has the file. Every replica of the space
/// takes that over when it hears of it; what was written before stays as it is.
///
/// Fails with [`Error::NotTracked`], and with [`Error::KindRefused`] if the column cannot be of that kind.
pub fn set_kind(path: impl AsRef<Path>, table: &str, column: &str, kind: ColumnKind) -> Result<()> {
    let path = path.as_ref();
    let mut connection = open_initialized(path)?;
    let tx = begin(&mut connection)?;
    mending::run(&tx, path, true)?;
    tracking::set_kind(&tx, table, column, kind, now())?;
    tx.commit().doing("changing the kind of a column")
}

/// Tells that a column of a tracked table was renamed, whether or not an engine has the file, and renames it in the table
/// if that has not been done. Every replica of the space takes that over when it hears of it: there the column may have
/// the one name or the other, what is written under either is the same column's. Untold, a rename is a dropped column and
/// an added one.
///
/// Fails with [`Error::NotTracked`], and with [`Error::CannotRename`] if the table has neither column or both, or if it is
/// part of the primary key.
pub fn rename_column(path: impl AsRef<Path>, table: &str, old: &str, new: &str) -> Result<()> {
    let path = path.as_ref();
    let mut connection = open_initialized(path)?;
    let tx = begin(&mut connection)?;
    mending::run(&tx, path, true)?;
    tracking::rename_column(&tx, table, old, new, now())?;
    tx.commit().doing("renaming a column")
}

fn open_initialized(path: &Path) -> Result<Connection> {
    if !store::is_initialized(&store::open_to_read(path, Config::default().busy_timeout)?)? {
        return Err(Error::NotInitialized(path.to_owned()));
    }
    store::open(path, Config::default().busy_timeout)
}

/// Ceases to track tables, all or none, whether or not an engine has the file. What was written and is not captured
/// yet is not captured any more, so let the engine catch up first. Fails with [`Error::NotTracked`].
pub fn untrack(path: impl AsRef<Path>, names: &[&str]) -> Result<Vec<String>> {
    let path = path.as_ref();
    let mut connection = open_initialized(path)?;
    let tx = begin(&mut connection)?;
    mending::run(&tx, path, true)?;
    let untracked = tracking::untrack(&tx, names)?;
    tx.commit().doing("untracking tables")?;
    Ok(untracked)
}
