//! A turn: one IMMEDIATE transaction (a read transaction that upgrades would fail with BUSY at once, whatever the
//! timeout). Its steps are always in this order: reconcile, capture, apply, materialize, progress. Documents, outbox, seq
//! and the consumed marks commit together or not at all.
//!
//! Begin with `Replica::try_turn`.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rusqlite::Transaction;

use super::cascade::{self, Progress};
use super::mark::Found;
use super::notes::Notes;
use super::space::adopt_options;
use super::{Replica, begin, data_version, lock_wait, schema_version};
use crate::env::{ids, is_virtual, now};
use crate::error::{Doing, Error, Result};
use crate::schema::settling::Settling;
use crate::schema::tracking::look;
use crate::schema::tracking::rule::Newcomers;
use crate::schema::{Catalog, objects, unchanged};
use crate::store::tables::Unjudged;
use crate::store::{backlog, bases, columns, identity, parked, progress, tables};
use crate::turn::apply::TableNumbers;
use crate::turn::capture::{self, Author, Limits};
use crate::turn::changes::{ChangedRow, Changes, Origin};
use crate::turn::materialize::{Limit, Materializer, Orphan, RolledBack};
use crate::turn::merge::{Flow, Incoming, Merge};

/// No turn takes on fewer rows. On a busy machine the time that a turn took says little, and many short turns break more of
/// an app's transactions than one that is a little longer.
const FEWEST_ROWS: usize = 256;
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

impl Replica {
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
