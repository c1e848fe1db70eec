//! Row documents → user tables, as far as the tables' own constraints allow.
//!
//! A row that is alive in its document becomes a row of its table, or is *parked*: kept out, and listed with the reason.
//! Which rows are parked depends on the documents and the schema alone, not on the order in which things came. There
//! are three stages, and each judges only the rows that the stage before admitted:
//!
//! 1. *by itself*: NOT NULL, CHECK, STRICT types, a trigger that raises;
//! 2. *UNIQUE*: rows are judged in ascending order of their keys; a row is parked if one with a smaller key holds its
//!    value (`unique.rs`, `make_way`);
//! 3. *references*: rows without a parent are parked, until no more rows lose their parents; see [`references`].
//!
//! Only what may have changed is judged: the rows that were touched, those that waited for one of them, and those whose
//! values or parents they took. All work is done in the tables themselves, in the engine's transaction: SQLite's own
//! indexes say who holds what, and nobody sees the steps between.

mod ahead;
mod doomed;
mod judge;
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

use driftless_protocol::RowKey;
use rusqlite::Transaction;

use crate::error::{Error, Result};
use crate::schema::{Catalog, Tracked};
use crate::store::tables::DEFINITIONS;
use crate::store::{applying, bases, claims, conflicts, parked};
use crate::turn::apply::Touched;
use crate::turn::changes::ChangedRow;
use crate::turn::give_way::GiveWay;
pub(crate) use ahead::Ahead;
pub(crate) use doomed::{Unit, all_that_go, refers_to_any};
pub(crate) use limit::Limit;
pub(crate) use references::Orphan;
use references::Pending;
use shadow::Shadows;
pub(crate) use write::wanted;
use write::{Effect, Wrote};

/// A row for which SQLite rolled the whole transaction back, and what was being done to it.
pub(crate) type RolledBack = (i64, RowKey, Act);

/// What is done to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Act {
    Write,
    TakeOut,
    /// A write that took longer than one row may take.
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
    /// More rows would leave their tables than one turn may take out: these rows, and the rows that refer to them.
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
    /// Rows that are parked without trying to write them.
    shunned: &'a HashSet<RolledBack>,
    row_time: Duration,
    /// Asked before each row whether the turn is to end early for an app.
    pub(crate) way: Option<&'a GiveWay<'a>>,
    has_conflicts: bool,
    has_parked: bool,
    has_claims: bool,
    has_bases: bool,
    shadows: Shadows,
    pending: Pending,
    /// How many rows are put back or taken out at the end of the turn.
    limit: Limit,
    /// Whether rows are being taken out whose children are known, so that nobody needs to look for them.
    expelling: bool,
    /// Parked rows that are known to stay parked. Forgotten whenever a row is written or parked.
    hopeless: HashSet<(i64, RowKey)>,
    /// Rows that are looked at again in a later turn, whatever becomes of them in this one.
    again: BTreeSet<(i64, RowKey)>,
    /// Whether rows of rebuilt tables are kept in this turn, to undo what triggers do to them: see [`kept`].
    keeps_rows: bool,
    /// Rows of a cascade that are parked before the rows that they refer to go.
    pub(crate) ahead: Option<&'a HashSet<(i64, RowKey)>>,
    /// Whether parked rows that fit now were left for a later turn.
    pub(crate) left_some: bool,
    /// Rows that changed in their tables.
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
            way: None,
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

    /// Judges and writes rows: the first two stages. The rows must be sorted by table and key, each only once.
    pub(crate) fn rows(&mut self, touched: Vec<Touched>) -> Step<()> {
        if touched.is_empty() {
            return Ok(());
        }
        self.announce()?;
        let mut touched = touched.into_iter().peekable();
        while let Some(first) = touched.peek() {
            let table = first.table;
            let of_table = std::iter::from_fn(|| touched.next_if(|row| row.table == table));
            // Nothing is written into a table in the making: all its documents are shown when it is compared with
            // them.
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
        if self.catalog.iter().any(|table| table.watched) {
            self.undo_effects()?;
        }
        self.put_back()
    }

    /// Tells the triggers that it is us who write.
    fn announce(&mut self) -> Result<()> {
        self.keep_rows()?;
        applying::begin(self.tx)
    }

    fn renounce(&self) -> Step<()> {
        applying::end(self.tx)?;
        Ok(())
    }

    /// How long a write to a row of this table may take. The time is halved after each write that took too long,
    /// because each of those makes the turn begin again.
    fn row_time(&self, table: i64) -> Duration {
        if self.shunned.is_empty() {
            return self.row_time;
        }
        let overruns =
            self.shunned.iter().filter(|(of, _, act)| *of == table && *act == Act::Overrun).count();
        self.row_time / (1 << overruns.min(7))
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
}

/// A damaged document holds nothing else up: the row stays as it is until it is written, or repaired by `verify`.
fn unreadable(tracked: &Tracked, error: &dyn std::error::Error) {
    tracing::error!(table = %tracked.name, %error, "a document cannot be read");
}
