//! A turn: one IMMEDIATE transaction (a read transaction that upgrades would fail with BUSY at once, whatever the
//! timeout). Its steps are always in this order: reconcile, capture, apply, materialize, progress. Documents, outbox, seq
//! and the consumed marks commit together or not at all.
//!
//! Begin with `Replica::try_turn`.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Transaction;

use super::cascade::{self, Cascade, Progress};
use super::mark::{Found, Mark, Memory};
use super::notes::Notes;
use super::pace::Load;
use super::{Replica, begin, data_version, lock_wait, schema_version};
use crate::config::Config;
use crate::env::{ids, is_virtual, now};
use crate::error::{Doing, Error, Result};
use crate::store::tables::Unjudged;
use crate::store::{backlog, bases, columns, tables};
use crate::turn::capture::{self, Author, Limits};
use crate::turn::changes::{ChangedRow, Changes, Origin};
use crate::turn::give_way::{GiveWay, gave_way, meets_transaction};
use crate::turn::materialize::{Limit, Materializer, Orphan, RolledBack};
use crate::turn::merge::{Flow, Incoming, Merge};

/// At most this many other rows leave their tables, or return to them, because of what one turn wrote. More take
/// several turns.
const MOST_SETTLED: usize = 500;

/// What a turn did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turn {
    /// Marks of the dirty log and the backlog that were consumed.
    pub(crate) marks: usize,
    /// Whether there is more to do right now.
    pub(crate) more: bool,
    /// After how long a rebuilt table may be compared with its documents; `None` if no table waits for that.
    pub(crate) settles_in: Option<Duration>,
    /// Whether nothing was done because another process had a transaction open; see [`Replica::prepare_turn`].
    pub(crate) gave_way: bool,
    /// How long the write lock was held.
    pub(crate) held: Duration,
    /// Whether another process had a transaction open at the end, which fails if it goes on to write.
    pub(crate) met_another: bool,
    /// Whether what is left to do is the rest of one piece of work that was divided among several turns.
    goes_on: bool,
}

impl Turn {
    fn gave_way() -> Self {
        Self { more: true, gave_way: true, ..Self::default() }
    }
}

/// A turn that committed: what it did, and the rows that it changed.
struct Done {
    turn: Turn,
    /// Rows that the app had written.
    local: Vec<ChangedRow>,
    /// Rows that others had written.
    remote: Vec<ChangedRow>,
}

/// Why a turn was undone.
enum Undone {
    /// It failed.
    Failed(Error),
    /// A trigger of the user's rolled it back.
    RolledBack(RolledBack),
    /// These rows lose their parents, and more rows go with them than one turn takes out. With SQLite's
    /// `schema_version`.
    TooMany(Vec<Orphan>, i64),
    /// Another process has a transaction open; see [`Replica::prepare_turn`].
    Met,
}

impl From<Error> for Undone {
    fn from(error: Error) -> Self {
        if gave_way(&error) { Self::Met } else { Self::Failed(error) }
    }
}

/// How a turn found the file.
struct Start {
    found: Found,
    /// Who captures in this turn.
    author: Author,
    /// SQLite's `data_version`, read under the lock: a commit of others right after ours must not be taken for ours.
    data_version: i64,
    /// Whether others have committed since the last turn.
    others_wrote: bool,
}

impl Start {
    /// Compares the file with what is remembered of it. `tables_at`: SQLite's `schema_version` when the user's tables were
    /// last looked at.
    fn look(tx: &Transaction<'_>, path: &Path, memory: &mut Memory, tables_at: Option<i64>) -> Result<Self> {
        let data_version = data_version(tx)?;
        let others_wrote = data_version != memory.data_version;
        let schema_version = schema_version(tx)?;
        // Are the side tables all there? That is asked only if somebody else may have touched them. And is the file
        // as we left it?
        let moved = tables_at != Some(schema_version);
        // They need not be looked at again if that was done under this schema when the file was opened.
        let whole = moved && memory.side_tables_at.take() != Some(schema_version);
        let side_tables = (moved || others_wrote).then_some(whole);
        let found = Found::look(tx, path, &memory.mark, side_tables)?;
        // Documents that this writer wrote may be gone. If they were made again under the same writer id, its first
        // clocks would stand for two different contents, and Yrs would never bring them together.
        let writer = if found.changed { ids::writer() } else { memory.writer };
        let author = Author { replica: found.replica, writer };
        Ok(Self { found, author, data_version, others_wrote })
    }
}

/// How a turn left the file.
struct Left {
    mark: Mark,
    /// SQLite's.
    schema_version: i64,
    /// Whether the tables are to be looked at again.
    renewed: bool,
    /// The app's numbers in the file's header.
    pragmas: Option<[i32; 2]>,
    /// Whether nothing was left to capture.
    captured_all: bool,
}

impl Replica {
    /// One turn. Takes as much from the front of `incoming` as it has time for, and applies it or keeps it in the
    /// inbox. If the turn fails, nothing has happened and `incoming` is as it was. But if the disk fails after the
    /// commit, what was taken is done, and nothing is sent until a later turn has brought it to the disk.
    pub(crate) fn turn(&mut self, incoming: &mut VecDeque<Incoming>) -> Result<Turn> {
        self.check_place()?;
        lock_wait::set_longest(self.config.busy_timeout);
        let before = self.memory.data_version;
        let (count, bytes) = front(incoming, self.pace.bytes);
        let batch = &incoming.make_contiguous()[..count];
        self.durability.relax(&self.connection)?;
        let done = self.try_until_done(batch);
        self.durability.restore(&self.connection)?;
        let Some(Done { mut turn, local, remote }) = done? else { return Ok(Turn::gave_way()) };
        incoming.drain(..count);
        turn.more |= !incoming.is_empty();
        let contended = std::mem::take(&mut self.beside_app) || before != self.memory.data_version;
        self.pace.follow(Load { took: turn.held, marks: turn.marks, bytes, contended }, &self.config);
        self.announce(Origin::Local, local);
        self.announce(Origin::Remote, remote);
        self.durability.wait(&self.connection)?;
        if turn.goes_on && !is_virtual() {
            // So that others can write between the turns of one long piece of work.
            std::thread::sleep(self.config.turn_gap);
        }
        Ok(turn)
    }

    /// Tries the turn again until nothing undoes it. Returns `None` if it gave way to another process.
    fn try_until_done(&mut self, batch: &[Incoming]) -> Result<Option<Done>> {
        loop {
            self.plan_cascade()?;
            let waiting = self.user_tables.waiting();
            let undone = match self.try_turn(batch) {
                Ok(done) => return Ok(Some(done)),
                Err(undone) => undone,
            };
            self.user_tables.put_back(waiting);
            match undone {
                Undone::Failed(error) => return Err(error),
                Undone::RolledBack(row) => {
                    tracing::warn!(
                        table = row.0,
                        act = ?row.2,
                        "a trigger rolled the turn back, or a row took too long to write; the row is parked"
                    );
                    self.shunned.add(row);
                }
                Undone::TooMany(orphans, version) => {
                    tracing::debug!("more rows lose their parents than one turn takes out");
                    self.cascade.begin(orphans, version);
                }
                Undone::Met => return Ok(None),
            }
        }
    }

    fn announce(&self, origin: Origin, rows: Vec<ChangedRow>) {
        if !rows.is_empty() {
            // Fails only when nobody listens.
            let _ = self.feed.send(Changes { origin, rows });
        }
    }

    /// The steps of a turn, in their order.
    fn try_turn(&mut self, incoming: &[Incoming]) -> std::result::Result<Done, Undone> {
        let tx = begin(&mut self.connection)?;
        let begun = Instant::now();
        let way = GiveWay::new(&tx, std::mem::take(&mut self.gives_way));
        way.check()?;
        let start = Start::look(&tx, &self.path, &mut self.memory, self.user_tables.schema_version)?;
        let found = start.found;
        self.shunned.follow_schema(found.schema_version);

        way.check()?;

        // 1 reconcile
        let reconciled = self.user_tables.reconcile(&tx, &found)?;
        cascade::look_again(&tx, &self.cascade)?;
        self.cascade.follow_schema(found.schema_version);
        let pragmas = self.user_tables.follow_pragmas(&tx, reconciled.moved || start.others_wrote)?;

        // 2 capture
        if reconciled.has_looked() || !self.cascade.is_over() {
            way.goes_through();
        }
        let (rows, bytes) = (self.pace.rows_to_capture(), self.config.changeset_bytes);
        let limits = Limits { rows, bytes, way: &way };
        let captured = capture::run(&tx, &self.user_tables.catalog, start.author, limits, now())?;
        let settles_in = self.user_tables.written(&captured.written);
        way.check()?;

        // 3 apply and 4 materialize, never over an edit that is not captured yet
        let room = Room::new(&self.config, self.pace.rows, begun);
        let half = SecondHalf { cascade: &self.cascade, captured_all: captured.drained, room };
        let (catalog, shunned) = (&self.user_tables.catalog, self.shunned.rows());
        let mut materializer = Materializer::new(&tx, catalog, shunned, half.limit(), self.config.row_time)?;
        materializer.way = Some(&way);
        let mut merge = Merge::new(&tx, captured.touched, materializer)?;
        let (flow, progress) = half.run(&mut merge, incoming)?;
        let Materializer { changed, definitions, left_some, .. } = merge.materializer;
        go_on(flow, found.schema_version)?;
        way.check()?;
        let follows = definitions || captured.drained && self.user_tables.can_join(&tx)?;
        if follows {
            self.user_tables.follow_space(&tx)?;
        }
        let renewed = forget_what_is_shown(&tx, captured.drained)? || follows;
        let more = !captured.drained || renewed || !backlog::refresh_is_empty(&tx)?;

        // 5 progress is written with each changeset; it all becomes true here
        let schema_version = schema_version(&tx)?;
        let wrote = found.has_written(&tx, schema_version) || self.notes.is_urgent();
        if wrote {
            self.notes.write(&tx, found.replica)?;
        }
        let mark = found.leave_mark(&tx, &self.memory.mark)?;
        self.place.check_before_commit(&self.path)?;
        if wrote && !renewed {
            way.clear_for_commit()?;
        }
        let met_another = self.beside_app && meets_transaction(&tx);
        tx.commit().doing("committing a turn")?;
        let goes_on = left_some || matches!(progress, Progress::Parked(..) | Progress::Checked(_));
        let left = Left { mark, schema_version, renewed, pragmas, captured_all: captured.drained };
        self.remember(&start, left, progress);
        let more = more || !self.cascade.is_over();
        let (marks, held) = (captured.marks, begun.elapsed());
        let turn = Turn { marks, more, settles_in, gave_way: false, held, met_another, goes_on };
        Ok(Done { turn, local: captured.changed, remote: changed })
    }

    /// Remembers how a turn that has committed left the file.
    fn remember(&mut self, start: &Start, left: Left, progress: Progress) {
        let has_written = left.mark != self.memory.mark;
        if has_written {
            self.notes = Notes::default();
            self.durability.committed();
        }
        if has_written || start.others_wrote {
            self.rest.stir();
            self.has_checkpointed();
        }
        (self.replica, self.memory.writer) = (start.author.replica, start.author.writer);
        (self.memory.mark, self.memory.data_version) = (left.mark, start.data_version);
        self.user_tables.schema_version = (!left.renewed).then_some(left.schema_version);
        self.user_tables.pragmas = left.pragmas;
        self.pace.committed(left.captured_all);
        self.cascade.advance(progress, left.schema_version);
    }
}

/// How much one turn does: of what came in, and of what follows from that.
struct Room {
    /// How many rows are shown again, and until when more of them may be begun.
    rows: usize,
    until: Option<Instant>,
    /// How many other rows leave their tables or return to them.
    settled: Limit,
}

impl Room {
    /// In a turn that has had the write lock since `begun`.
    fn new(config: &Config, rows: usize, begun: Instant) -> Self {
        let until = |time: Duration| (!is_virtual()).then(|| begun + time);
        let most_settled = config.turn_rows.min(MOST_SETTLED);
        Self {
            rows,
            until: until(config.turn_time / 4),
            settled: Limit::new(most_settled, until(config.contended_turn_time)),
        }
    }
}

/// The second half of a turn: apply and materialize, or what is to come before that.
struct SecondHalf<'a> {
    cascade: &'a Cascade,
    /// Whether nothing is left to capture: only then may anything be applied.
    captured_all: bool,
    room: Room,
}

impl<'a> SecondHalf<'a> {
    /// Whether this turn only parks rows ahead, and applies nothing yet.
    fn is_ahead(&self) -> bool {
        self.captured_all && self.cascade.is_parking()
    }

    /// How much the materializer settles.
    fn limit(&self) -> Limit {
        // Parking ahead has the limit passed to it. The turn that then applies what came in must not stop again.
        if self.is_ahead() || self.cascade.is_due() { Limit::NONE } else { self.room.settled }
    }

    /// Returns whether the turn can go on, and what it did about a cascade.
    fn run(&self, merge: &mut Merge<'a>, incoming: &[Incoming]) -> Result<(Flow, Progress)> {
        if self.is_ahead() {
            self.cascade.park(merge, incoming, self.room.settled)
        } else if self.captured_all {
            self.apply(merge, incoming)
        } else {
            Ok((merge.keep(incoming)?, Progress::Captured))
        }
    }

    fn apply(&self, merge: &mut Merge<'a>, incoming: &[Incoming]) -> Result<(Flow, Progress)> {
        for (table, unjudged) in tables::take_unjudged(merge.tx)? {
            merge.materializer.judge_all(table);
            if unjudged == Unjudged::Parked {
                backlog::refresh_parked(merge.tx)?;
            }
        }
        let flow = merge.all(incoming, self.room.rows, self.room.until)?;
        if self.cascade.is_over() || !matches!(flow, Flow::GoOn) {
            return Ok((flow, Progress::None));
        }
        let checked = self.cascade.check(merge.tx, &merge.materializer)?;
        Ok((flow, Progress::Checked(checked)))
    }
}

/// Whether a turn goes on after its second half. `schema_version`: SQLite's, when it began.
fn go_on(flow: Flow, schema_version: i64) -> std::result::Result<(), Undone> {
    match flow {
        Flow::GoOn => Ok(()),
        Flow::RolledBack(row) => Err(Undone::RolledBack(row)),
        Flow::TooMany(orphans) => Err(Undone::TooMany(orphans, schema_version)),
    }
}

/// Does three things when everything is captured and shown: forgets which columns had just appeared, forgets what tables
/// showed when they were given up, and lets renamed columns join what others wrote under their new names. Returns
/// whether there were any such columns.
fn forget_what_is_shown(tx: &Transaction<'_>, captured_all: bool) -> Result<bool> {
    if !captured_all || !backlog::refresh_is_empty(tx)? {
        return Ok(false);
    }
    if !bases::is_empty(tx)? {
        bases::forget_shown(tx)?;
    }
    if !columns::any_is_new(tx)? {
        return Ok(false);
    }
    let had_fresh = columns::clear_fresh(tx)?;
    let joining = columns::begin_joining(tx)?;
    for table in &joining {
        backlog::refresh_table(tx, *table)?;
    }
    Ok(had_fresh || !joining.is_empty())
}

/// How many entries of `incoming` one turn takes (about `most` bytes, but at least one), and how many bytes they are.
fn front(incoming: &VecDeque<Incoming>, most: usize) -> (usize, usize) {
    let (mut count, mut bytes) = (0, 0);
    while let Some(next) = incoming.get(count)
        && (count == 0 || bytes + next.len() <= most)
    {
        bytes += next.len();
        count += 1;
    }
    (count, bytes)
}
