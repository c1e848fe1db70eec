//! Cascades: rows that lose their places one after the other because the first of them lost its parent.
//!
//! A short one is a part of the turn that brings it about. A long one would hold the write lock for as long as it takes,
//! and it cannot be done in pieces from its beginning: until the end of it there would always be a row without its
//! parent. So it is done from its end. The turn that finds too many rows is undone; which rows go is found out outside
//! of the lock; turn after turn parks some of them, the last first, so that every row that is left has its parent; and
//! then what came in is applied at last, which has nothing left to take out. Until that is done nothing else is applied.
//! Rows that the app writes meanwhile are captured as ever, and judged together with what came in. But a row that refers to one
//! which a turn parks is parked in that turn too, since nobody may see it without its parent.
//!
//! All this is kept in memory. If it is lost, a note in the file tells the next engine to look at everything that is
//! parked.

use std::collections::HashSet;

use driftless_protocol::RowKey;
use rusqlite::Transaction;

use crate::error::{Doing, Result};
use crate::schema::Catalog;
use crate::store::{backlog, identity, parked, tables};
use crate::turn::apply::TouchedRows;
use crate::turn::materialize::{self, Ahead, Limit, Materializer, Orphan, Unit};
use crate::turn::merge::{Flow, Incoming, Merge};

use super::{Replica, schema_version};

/// So many rows that were parked ahead are compared in one turn with what they wait for.
const CHECKED_IN_A_TURN: usize = 1000;

/// What there is to do in turns to come.
#[derive(Debug, Default)]
pub(super) struct Cascade {
    stage: Stage,
    /// Rows that were parked ahead. When what came in is applied it is to be seen whether each of them had to be.
    parked: Vec<(i64, RowKey)>,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    None,
    /// These rows lose their parents: what else goes is to be found out. With SQLite's `schema_version` at that time.
    Found(Vec<Orphan>, i64),
    /// `units` are to be parked, the last first. `all`: their rows, and those that are parked ahead already.
    /// `changed`: rows were captured meanwhile that may refer to these.
    Parking { begun_by: (Vec<Orphan>, i64), units: Vec<Unit>, all: HashSet<(i64, RowKey)>, changed: Changed },
    /// What came in is to be applied, however much it brings about: what could be done ahead is done.
    Due,
}

impl Cascade {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::None) && self.parked.is_empty()
    }

    /// Whether the next turn that applies something must not stop again.
    pub(super) fn is_due(&self) -> bool {
        matches!(self.stage, Stage::Due)
    }

    /// A turn was undone in which these rows lost their parents, and too many others through them.
    pub(super) fn begin(&mut self, orphans: Vec<Orphan>, schema_version: i64) {
        self.stage = Stage::Found(orphans, schema_version);
    }

    /// These rows go with those that lose their parents.
    fn planned(&mut self, units: Vec<Unit>) {
        let Stage::Found(orphans, version) = std::mem::take(&mut self.stage) else { return };
        self.stage = if units.is_empty() {
            Stage::Due
        } else {
            let to_come = units.iter().flatten().map(|row| (row.table(), row.key().clone()));
            let all = to_come.chain(self.parked.iter().cloned()).collect();
            Stage::Parking { begun_by: (orphans, version), units, all, changed: false }
        };
    }

    /// A turn begins under this schema. If the list of rows was made under another schema, rows may refer to the listed ones by
    /// references that did not exist then: so that turn does the whole cascade.
    pub(super) fn follow_schema(&mut self, schema_version: i64) {
        if let Stage::Parking { begun_by: (_, version), .. } = &self.stage
            && *version != schema_version
        {
            self.stage = Stage::Due;
        }
    }

    /// Whether rows are to be parked before anything is applied.
    pub(super) fn is_parking(&self) -> bool {
        matches!(self.stage, Stage::Parking { .. })
    }

    /// Parks some of the rows that are about to lose their parents, and keeps what came in for later.
    pub(super) fn park<'a>(
        &'a self,
        merge: &mut Merge<'a>,
        incoming: &[Incoming],
        limit: Limit,
    ) -> Result<(Flow, Progress)> {
        let Stage::Parking { units, all, changed, .. } = &self.stage else {
            return Ok((Flow::GoOn, Progress::None));
        };
        merge.materializer.ahead = Some(all);
        let (tx, catalog) = (merge.tx, merge.materializer.catalog());
        let changed = self.put_off(tx, catalog, std::mem::take(&mut merge.touched))? || *changed;
        identity::set_parking(tx, true)?;
        merge.keep(incoming)?;
        Ok(match merge.park_ahead(units, limit, changed)? {
            Ok(ahead) => (Flow::GoOn, Progress::Parked(ahead, changed)),
            Err(stop) => (stop, Progress::None),
        })
    }

    /// The turn is committed, under this schema.
    pub(super) fn advance(&mut self, progress: Progress, schema_version: i64) {
        if let Stage::Parking { begun_by: (_, version), .. } = &mut self.stage {
            *version = schema_version;
        }
        match progress {
            Progress::None => {}
            Progress::Captured => {
                if let Stage::Parking { changed, .. } = &mut self.stage {
                    *changed = true;
                }
            }
            Progress::Parked(ahead, changed) => self.parked(ahead, changed),
            Progress::Checked(count) => self.checked(count),
        }
    }

    /// Rows were written by the app. They are judged when the rest is done: all that is noted here is which. If they have to
    /// do with those that go, what goes is found out anew.
    fn put_off(&self, tx: &Transaction<'_>, catalog: &Catalog, mut touched: TouchedRows) -> Result<Changed> {
        let mut changed = false;
        for row in touched.take() {
            backlog::refresh(tx, row.table, &row.key)?;
            tables::set_unjudged_alone(tx, row.table)?;
            if let Stage::Parking { all, .. } = &self.stage {
                changed = changed
                    || all.contains(&(row.table, row.key.clone()))
                    || materialize::refers_to_any(tx, catalog, row.table, &row.key, all)?;
            }
        }
        Ok(changed)
    }

    /// Some of the units are parked. `changed`: the rest may be others by now.
    fn parked(&mut self, ahead: Ahead, changed: Changed) {
        let Stage::Parking { begun_by, units, .. } = &mut self.stage else { return };
        let left = units.len().saturating_sub(ahead.units);
        units.truncate(left);
        self.parked.extend(ahead.rows);
        if changed {
            let (orphans, version) = std::mem::take(begun_by);
            self.stage = Stage::Found(orphans, version);
        } else if left == 0 {
            self.stage = Stage::Due;
        }
    }

    /// What came in is applied. Compares some of the rows that were parked ahead with what they wait for: those that need not
    /// have been parked are looked at again. Returns how many are compared.
    pub(super) fn check(&self, tx: &Transaction<'_>, materializer: &Materializer<'_>) -> Result<usize> {
        let from = self.parked.len().saturating_sub(CHECKED_IN_A_TURN);
        for (table, key) in &self.parked[from..] {
            if !materializer.is_rightly_parked(*table, key)? {
                backlog::refresh(tx, *table, key)?;
            }
        }
        if from == 0 && identity::is_parking(tx)? {
            identity::set_parking(tx, false)?;
        }
        Ok(self.parked.len() - from)
    }

    /// So many are compared.
    fn checked(&mut self, count: usize) {
        self.stage = Stage::None;
        self.parked.truncate(self.parked.len().saturating_sub(count));
    }
}

/// Whether what goes is to be found out anew.
type Changed = bool;

/// What a turn did about a cascade.
pub(super) enum Progress {
    None,
    /// Rows were captured that were not compared with those that go, since there are more to capture.
    Captured,
    /// These were parked ahead; whether what is left is to be found out anew.
    Parked(Ahead, Changed),
    /// So many rows that had been parked ahead were compared with what they wait for.
    Checked(usize),
}

impl Replica {
    /// Finds out which rows go with those that lose their parents: outside of the write lock, for others to write meanwhile.
    pub(super) fn plan_cascade(&mut self) -> Result<()> {
        let Stage::Found(orphans, version) = &self.cascade.stage else { return Ok(()) };
        let doing = "looking for rows that lose their parents";
        let tx = self.connection.transaction().doing(doing)?;
        // If the schema is another, the turn that follows has to see to it all.
        let units = if *version == schema_version(&tx)? {
            materialize::all_that_go(&tx, &self.user_tables.catalog, orphans.clone())?
        } else {
            Vec::new()
        };
        tx.finish().doing(doing)?;
        self.cascade.planned(units);
        Ok(())
    }
}

/// An engine that stopped in the middle of a cascade has left rows parked that may fit.
pub(super) fn look_again(tx: &Transaction<'_>, cascade: &Cascade) -> Result<()> {
    if cascade.is_over() && identity::is_parking(tx)? {
        if !parked::is_empty(tx)? {
            backlog::refresh_parked(tx)?;
        }
        identity::set_parking(tx, false)?;
    }
    Ok(())
}
