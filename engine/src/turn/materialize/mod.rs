//! Row documents → user tables, as far as the tables' own constraints allow.
//!
//! A row that is alive in its document becomes a row of its table, or is *parked*: kept out, and listed with the reason.
//! Which rows are parked is a function of the documents and the schema, whatever came when. There are three stages,
//! each judged only on what the one before admitted:
//!
//! 1. *by itself*: NOT NULL, CHECK, STRICT types, a trigger that raises;
//! 2. *UNIQUE*: in ascending order of the keys; a row whose value one with a smaller key holds is parked;
//! 3. *references*: what has no parent is parked, until nothing changes; see [`references`].
//!
//! Only what may have changed is judged: the rows that were touched, those that waited for one of them, and those whose
//! values or parents they took. All work is done in the tables themselves, in the engine's transaction: SQLite's own
//! indexes say who holds what, and nobody sees the steps between.

mod ahead;
mod doomed;
mod kept;
mod limit;
mod park;
mod references;
mod sequence;
mod settle;
mod shadow;
mod undo;
mod unique;
mod units;
mod waits;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use driftless_protocol::{RowKey, Value};
use rusqlite::{Transaction, ffi};

use crate::document;
use crate::document::row::resolve::RowState;
use crate::error::{Doing, Error, Result};
use crate::schema::{Catalog, Tracked};
use crate::store::parked::Reason;
use crate::store::tables::DEFINITIONS;
use crate::store::{bases, claims, conflicts, documents, limits, parked, texts};
use crate::turn::apply::Touched;
use crate::turn::changes::ChangedRow;
pub(crate) use ahead::Ahead;
pub(crate) use doomed::{Unit, all_that_go, refers_to_any};
pub(crate) use limit::Limit;
use park::{Refused, by_itself, refused};
pub(crate) use references::Orphan;
use references::Pending;
use shadow::Shadows;
pub(crate) use write::wanted;
use write::{Clause, Effect, How, Wrote};

/// A row whose trigger rolled the whole transaction back, and when.
pub(crate) type RolledBack = (i64, RowKey, Act);

/// What is done to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Act {
    Write,
    TakeOut,
    /// To write it takes longer than a row may take.
    Overrun,
}

/// Why materializing stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It failed, and so does the turn.
    Error(Error),
    /// A trigger of the user's rolled the transaction back while this row was written; the turn must begin again
    /// without it.
    RolledBack(RolledBack),
    /// More rows lose their places than one turn takes out: these, and what refers to them.
    TooMany(Vec<Orphan>),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

type Step<T> = std::result::Result<T, Stop>;

/// The rows of one table that are still to be judged, by key.
type Queue = BTreeMap<RowKey, Touched>;

/// Writes rows for the length of one turn.
#[derive(Debug)]
pub(crate) struct Materializer<'a> {
    tx: &'a Transaction<'a>,
    catalog: &'a Catalog,
    /// Rows to be parked unseen.
    shunned: &'a HashSet<RolledBack>,
    row_time: Duration,
    has_conflicts: bool,
    has_parked: bool,
    has_claims: bool,
    has_bases: bool,
    shadows: Shadows,
    pending: Pending,
    /// How much is judged at the end.
    limit: Limit,
    /// Whether rows are taken out of which it is known who refers to them.
    expelling: bool,
    /// Rows that are known not to come, as long as no other row comes or begins to wait.
    hopeless: HashSet<(i64, RowKey)>,
    /// Rows that are looked at again in a later turn, whatever becomes of them in this one.
    again: BTreeSet<(i64, RowKey)>,
    /// Whether rows of rebuilt tables are kept in this turn, to undo what triggers do to them: see [`kept`].
    keeps_rows: bool,
    /// Rows that are parked ahead of those that they refer to.
    pub(crate) ahead: Option<&'a HashSet<(i64, RowKey)>>,
    /// Whether parked rows fit now that were left for a later turn.
    pub(crate) left_some: bool,
    /// Rows that are now other than they were.
    pub(crate) changed: Vec<ChangedRow>,
    /// Whether the space's definitions of tables changed.
    pub(crate) definitions: bool,
}

impl<'a> Materializer<'a> {
    pub(crate) fn new(
        tx: &'a Transaction<'a>,
        catalog: &'a Catalog,
        shunned: &'a HashSet<RolledBack>,
        limit: Limit,
        row_time: Duration,
    ) -> Result<Self> {
        Ok(Self {
            has_conflicts: !conflicts::is_empty(tx)?,
            has_parked: !parked::is_empty(tx)?,
            has_claims: !claims::is_empty(tx)?,
            has_bases: !bases::is_empty(tx)?,
            tx,
            catalog,
            shunned,
            row_time,
            shadows: Shadows::default(),
            pending: Pending::default(),
            limit,
            expelling: false,
            hopeless: HashSet::new(),
            again: BTreeSet::new(),
            keeps_rows: false,
            ahead: None,
            left_some: false,
            changed: Vec::new(),
            definitions: false,
        })
    }

    /// The tables that are written to.
    pub(crate) fn catalog(&self) -> &'a Catalog {
        self.catalog
    }

    /// Judges and writes rows, which must ascend by table and key, each once: the first two stages.
    pub(crate) fn rows(&mut self, touched: Vec<Touched>) -> Step<()> {
        if touched.is_empty() {
            return Ok(());
        }
        self.announce()?;
        let mut touched = touched.into_iter().peekable();
        while let Some(first) = touched.peek() {
            let table = first.table;
            let of_table = std::iter::from_fn(|| touched.next_if(|row| row.table == table));
            // Of one that is in the making all documents are shown when it is compared with them.
            let Some(tracked) = self.catalog.get(table).filter(|tracked| !tracked.settling) else {
                of_table.for_each(drop);
                continue;
            };
            let mut queue = Queue::new();
            if tracked.table.unique.is_empty() {
                for row in of_table {
                    self.judge(tracked, row, &mut queue)?;
                }
            } else {
                queue.extend(of_table.map(|row| (row.key.clone(), row)));
            }
            self.judge_queue(tracked, queue)?;
        }
        self.renounce()
    }

    fn judge_queue(&mut self, tracked: &Tracked, mut queue: Queue) -> Step<()> {
        // Whatever is added on the way has a greater key than the row that it was added for.
        while let Some((_, row)) = queue.pop_first() {
            self.judge(tracked, row, &mut queue)?;
        }
        Ok(())
    }

    /// Ends the turn: the third stage, and then what the user's triggers did to other rows meanwhile is undone.
    pub(crate) fn settle(&mut self) -> Step<()> {
        self.settle_references()?;
        if planted!(TriggerCountsTwice) {
            return Ok(());
        }
        if self.catalog.iter().any(|table| table.watched) {
            self.undo_effects()?;
        }
        self.put_back()
    }

    /// Tells the triggers that it is us who write.
    fn announce(&mut self) -> Result<()> {
        self.keep_rows()?;
        let doing = "announcing our own writes to the triggers";
        self.tx.execute("INSERT INTO _driftless_applying (one) VALUES (1)", []).doing(doing)?;
        Ok(())
    }

    fn renounce(&self) -> Step<()> {
        let doing = "announcing our own writes to the triggers";
        self.tx.execute("DELETE FROM _driftless_applying", []).doing(doing)?;
        Ok(())
    }

    /// How long a write to a row of this table may take: less after each one that took too long, since each has the turn
    /// begin again.
    fn row_time(&self, table: i64) -> Duration {
        if self.shunned.is_empty() {
            return self.row_time;
        }
        let overruns =
            self.shunned.iter().filter(|(of, _, act)| *of == table && *act == Act::Overrun).count();
        self.row_time / (1 << overruns.min(7))
    }

    /// One row through the first two stages. Rows that this concerns are added to `queue`.
    fn judge(&mut self, tracked: &Tracked, row: Touched, queue: &mut Queue) -> Step<()> {
        let (table, key) = (row.table, row.key.clone());
        match self.judge_one(tracked, row, queue) {
            // Between the writes something of the table's was evaluated, and took too long.
            Err(Stop::Error(Error::Sqlite { source, .. })) if limits::took_too_long(&source) => {
                Err(Stop::RolledBack((table, key, Act::Overrun)))
            }
            judged => judged,
        }
    }

    fn judge_one(&mut self, tracked: &Tracked, row: Touched, queue: &mut Queue) -> Step<()> {
        let document = match row.document {
            Some(document) => document,
            None => match documents::get(self.tx, row.table, row.key.as_bytes())? {
                Some(stored) => stored.body,
                None => return Ok(()),
            },
        };
        let lanes = match document::row::lanes(&document) {
            Ok(lanes) => lanes.renamed(&tracked.renames),
            Err(error) => {
                unreadable(tracked, &error);
                return Ok(());
            }
        };
        let mut state = lanes.state(tracked.options.deletes_win);
        if planted!(DeletesWinTooLate) && write::read_row(self.tx, tracked, &row.key.values())?.is_some() {
            state = lanes.state(false);
        }
        let key_values = row.key.values();
        if !tracked.table.can_have(self.tx, &row.key, &key_values)? {
            return self.keep_aside(tracked, &row.key, &key_values, &state);
        }
        match self.fill_texts(tracked, &row.key, &mut state, row.new) {
            Err(Error::TextDoc(error)) => {
                unreadable(tracked, &error);
                return Ok(());
            }
            filled => filled?,
        }
        if self.has_conflicts || state.is_in_conflict() {
            conflicts::put(self.tx, tracked.id, &row.key, &state)?;
            self.has_conflicts = true;
        }
        if self.has_claims {
            claims::remove(self.tx, tracked.id, &row.key)?;
        }
        if self.has_bases {
            // From here on the table shows what the documents hold.
            bases::forget(self.tx, tracked.id, row.key.as_bytes())?;
        }
        if row.local {
            self.note_local(tracked, &key_values, &state, row.before.as_deref())?;
        }
        let verdict = if !state.alive {
            match self.tx.prepare_cached(&tracked.delete) {
                // It needs something that only the application has; it is tried again when the schema has changed.
                Err(error) => Err(by_itself(error.to_string(), None)),
                Ok(_) => {
                    self.take_out(tracked, &row.key)?;
                    sequence::raise(self.tx, tracked, &key_values)?;
                    Ok(None)
                }
            }
        } else if self.shunned.contains(&(row.table, row.key.clone(), Act::Write)) {
            Err(by_itself(
                "a trigger of the table rolls back every transaction that writes this row".to_owned(),
                None,
            ))
        } else if self.shunned.contains(&(row.table, row.key.clone(), Act::Overrun)) {
            let what = "to write it took too long: a constraint, an index or a trigger of the table computes too much";
            Err(by_itself(what.to_owned(), Some("TIME".to_owned())))
        } else {
            self.admit(tracked, &row.key, &key_values, &state, row.new, queue)?.map(Some)
        };
        match verdict {
            Ok(wrote) => {
                self.admitted(tracked, &row.key, wrote)?;
            }
            Err(reason) => self.park(tracked, &row.key, &key_values, Some(&state), &reason)?,
        }
        if planted!(ParkedStays) && !state.alive {
            return Ok(());
        }
        if self.has_parked && !tracked.table.unique.is_empty() {
            for (table, key) in parked::waiting(self.tx, tracked.id, &waits::on_row(&row.key), usize::MAX)? {
                if table == tracked.id {
                    self.push(tracked, &key, queue)?;
                }
            }
        }
        Ok(())
    }

    /// A row is where the first two stages want it. `wrote`: what that took, for one that is in its table.
    fn admitted(&mut self, tracked: &Tracked, key: &RowKey, wrote: Option<Wrote>) -> Step<()> {
        let mut waited = None;
        if self.has_parked {
            waited = parked::waits(self.tx, tracked.id, key)?.and_then(|(_, waits)| waits);
            parked::remove(self.tx, tracked.id, key)?;
        }
        let Some(wrote) = wrote else { return Ok(()) };
        if wrote.effect == Effect::Came
            && let Some(orphan) = self.still_lacks(tracked, key, waited.as_ref())?
        {
            // It waits on as it did, so what is hopeless stays so.
            let (changed, hopeless) = (self.changed.len(), std::mem::take(&mut self.hopeless));
            self.expel(orphan)?;
            self.changed.truncate(changed);
            self.hopeless = hopeless;
        } else {
            self.note(tracked, key, &wrote);
        }
        Ok(())
    }

    /// Fills in what the row's text documents hold. `absent`: the row is not in its table.
    fn fill_texts(
        &self,
        tracked: &Tracked,
        key: &RowKey,
        state: &mut RowState<'_>,
        absent: bool,
    ) -> Result<()> {
        if state.texts().next().is_none() {
            return Ok(());
        }
        let row = if absent { None } else { write::read_row(self.tx, tracked, &key.values())? };
        let guess = |name: &str| {
            let at = tracked.table.columns.iter().position(|column| column.name == name)?;
            match row.as_ref()?.get(at)? {
                Value::Text(text) => Some(&**text),
                _ => None,
            }
        };
        texts::fill(self.tx, tracked.id, key.as_bytes(), state, guess)
    }

    /// A row to be judged (again) after the one at hand.
    fn push(&self, tracked: &Tracked, key: &[u8], queue: &mut Queue) -> Result<()> {
        let key = RowKey::from_bytes(key)
            .map_err(|error| Error::Damaged { table: "_driftless_parked", what: error.to_string() })?;
        queue.entry(key.clone()).or_insert_with(|| Touched::again(tracked.id, key));
        Ok(())
    }

    /// Puts a row into its table if the first two stages admit it. The inner error says why not.
    fn admit(
        &mut self,
        tracked: &Tracked,
        key: &RowKey,
        key_values: &[Value<'static>],
        state: &RowState<'_>,
        new: bool,
        queue: &mut Queue,
    ) -> Step<std::result::Result<Wrote, Reason>> {
        if state.alive
            && let Some((column, sum)) = state.overflow()
        {
            let what = format!(
                "counter '{column}' adds up to {sum}, which no 64-bit integer holds; write the row anew with a value that fits"
            );
            return Ok(Err(by_itself(what, Some("COUNTER".to_owned()))));
        }
        if state.alive
            && self.has_claims
            && !tracked.table.unique.is_empty()
            && let Some(reason) = self.claimed(tracked, key, key_values, state, queue)?
        {
            return Ok(Err(reason));
        }
        let time = self.row_time(tracked.id);
        let (abort, ignore) = (How { clause: Clause::Abort, time }, How { clause: Clause::Ignore, time });
        // Each time at least one row makes way, and in each index at most one can be in the way.
        for _ in 0..=tracked.table.unique.len() + 1 {
            let error = match write::write(self.tx, tracked, key_values, state, new, abort) {
                Ok(Wrote { effect: Effect::Ignored, .. }) => {
                    let what = "a trigger of the table ignores the row".to_owned();
                    return Ok(Err(by_itself(what, Some("TRIGGER".to_owned()))));
                }
                Ok(wrote) => return Ok(Ok(wrote)),
                Err(error) if self.tx.is_autocommit() => {
                    let act = if limits::took_too_long(&error) { Act::Overrun } else { Act::Write };
                    return Err(Stop::RolledBack((tracked.id, key.clone(), act)));
                }
                Err(error) => error,
            };
            // What a trigger would write here has come with the row, as a row of its own, and is in its way. What a trigger
            // refuses it refuses again, and RAISE(FAIL) leaves the row, so that it would be found to be there.
            if tracked.meddles
                && !is_raised(&error)
                && let Ok(wrote) = write::write(self.tx, tracked, key_values, state, new, ignore)
                && wrote.effect != Effect::Ignored
            {
                return Ok(Ok(wrote));
            }
            if self.tx.is_autocommit() {
                return Err(Stop::RolledBack((tracked.id, key.clone(), Act::Overrun)));
            }
            match refused(tracked, error)? {
                Refused::Itself(reason) => return Ok(Err(reason)),
                Refused::Unique => {
                    if let Some(reason) = self.make_way(tracked, key, key_values, state, queue)? {
                        return Ok(Err(reason));
                    }
                }
            }
        }
        let what = "a UNIQUE constraint refuses it, and no row is found that stands in its way".to_owned();
        Ok(Err(by_itself(what, None)))
    }

    /// Notes what a write changed: for the feed, and for those who refer to the row.
    fn note(&mut self, tracked: &Tracked, key: &RowKey, wrote: &Wrote) {
        self.hopeless.clear();
        if !self.expelling {
            self.pending.note(tracked, key, wrote, self.has_parked);
        }
        if wrote.effect == Effect::None {
            return;
        }
        if tracked.id == DEFINITIONS {
            self.definitions = true;
        } else {
            self.changed.push(ChangedRow::new(tracked, key.clone()));
        }
    }

    /// Notes what a write of the user's, which was in the table already, took from those who refer to the row: with
    /// enforcement off, SQLite let it.
    fn note_local(
        &mut self,
        tracked: &Tracked,
        key_values: &[Value<'static>],
        state: &RowState<'_>,
        before: Option<&[u8]>,
    ) -> Result<()> {
        // Texts aside: nobody refers to those.
        let before = before.map(document::row::lanes).transpose()?;
        let before = before.map(|lanes| lanes.renamed(&tracked.renames));
        let Some(before) = before.map(|lanes| lanes.state(tracked.options.deletes_win)) else {
            return Ok(());
        };
        let value_in = |state: &RowState<'_>, place: usize| {
            let shown =
                state.value(&tracked.table.columns[place].name).map(|value| value.clone().into_owned());
            let in_key = tracked.table.key.iter().position(|key| key.at == place);
            shown.or_else(|| key_values.get(in_key?).cloned())
        };
        for target in &tracked.targets {
            let kept = state.alive
                && target.places.as_ref().is_some_and(|places| {
                    places.iter().all(|&place| value_in(state, place) == value_in(&before, place))
                });
            if !kept {
                self.pending.gone(target, |place| value_in(&before, place));
            }
        }
        Ok(())
    }
}

/// Whether a trigger refused the write.
fn is_raised(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_CONSTRAINT_TRIGGER)
}

/// A damaged document holds nothing else up: the row stays as it is until it is written, or mended by `verify`.
fn unreadable(tracked: &Tracked, error: &dyn std::error::Error) {
    tracing::error!(table = %tracked.name, %error, "a document cannot be read");
}
