//! The oracle: what must have become of every committed write. It shares no code with the engine and knows nothing of
//! documents, lanes or clocks; it watches tables and state vectors alone.
//!
//! What an app changed between two turns of its engine is one *op*: the difference between what the file showed after the
//! one turn and before the other. An op is known by the seq that the turn gave it and has seen what the file's state
//! vector counted then. So one op supersedes another exactly if it had seen it; and what no op has superseded must be there
//! in the end: shown, kept as a conflict, or in a row that is parked.
//!
//! Where tables alone do not tell whether the engine had to write anything, as for a row that came back with a value that it
//! had before, an op is *optional*: it may stand, and need not.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

use super::always::unreadable;
use super::scenario::Scenario;
use super::unwatched::{is_undecided, is_watched, own_triggers};
use super::world::Checked;
use shown::{Known, Lost, Table, Unwatched, difference, is_kept, state, widened};
use written::{Life, Op, Write};

pub(super) use shown::{Row, RowId, Snapshot, parked};

mod behind;
mod power_loss;
mod shown;
mod written;

/// All writes, with their authors and with what the authors had seen.
#[derive(Debug, Default)]
pub(super) struct Model {
    tables: Vec<Table>,
    nodes: BTreeMap<usize, Known>,
    saved: BTreeMap<usize, Known>,
    ops: Vec<Op>,
    cells: BTreeMap<(RowId, String), Vec<Write>>,
    lives: BTreeMap<RowId, Vec<Life>>,
    /// What was known before each capture, while the power may fail.
    earlier: Option<Vec<power_loss::Earlier>>,
}

impl Model {
    /// `None` where a run is too large to be watched like this.
    pub(super) fn new(scenario: &Scenario) -> Option<Self> {
        (scenario.nodes.len() <= 5).then(Self::default)
    }

    /// Reads the schema, from the first file.
    fn learn(&mut self, app: &Connection, specs: &[super::scenario::TableSpec]) -> rusqlite::Result<()> {
        for spec in specs {
            let sql: String =
                app.query_row("SELECT sql FROM sqlite_master WHERE name = ?1", [&spec.name], |row| {
                    row.get(0)
                })?;
            let mut statement =
                app.prepare("SELECT name, pk, hidden FROM pragma_table_xinfo(?1) ORDER BY pk")?;
            let columns: Vec<(String, i64, i64)> = statement
                .query_map([&spec.name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect::<rusqlite::Result<_>>()?;
            let folds = |column: &str| sql.contains(&format!("({column} TEXT NOT NULL COLLATE NOCASE"));
            let key = columns.iter().filter(|(_, pk, _)| *pk > 0);
            let is_register = |column: &str| {
                !spec.counters.iter().any(|name| name == column)
                    && !spec.texts.iter().any(|name| name == column)
            };
            let registers = columns
                .iter()
                .filter(|(name, pk, hidden)| *pk == 0 && *hidden == 0 && is_register(name))
                .map(|(name, ..)| name.clone());
            self.tables.push(Table {
                name: spec.name.clone(),
                deletes_win: spec.deletes_win,
                key: key.map(|(name, ..)| (name.clone(), folds(name))).collect(),
                registers: registers.collect(),
            });
        }
        Ok(())
    }

    /// A file is there, with tables that are tracked and captured.
    pub(super) fn begin(
        &mut self,
        n: usize,
        app: &Connection,
        specs: &[super::scenario::TableSpec],
    ) -> Checked {
        if self.tables.is_empty() {
            self.learn(app, specs).map_err(unreadable)?;
        }
        let (name, vector, _) = state(app).map_err(unreadable)?;
        let shown = self.snapshot(app)?;
        self.nodes.insert(n, Known { name: Some(name), vector, shown, ..Known::default() });
        Ok(())
    }

    /// The app has written, or has run one statement of several.
    pub(super) fn wrote(&mut self, n: usize, app: &Connection, now: i64) -> Checked {
        if !self.nodes.contains_key(&n) {
            return Ok(());
        }
        self.settle(n, app)?;
        let look = self.snapshot(app)?;
        let Some(known) = self.nodes.get_mut(&n) else { return Ok(()) };
        known.touched.extend(difference(&known.shown, &look));
        known.since = widened(known.since, now);
        if let Some(unwatched) = &mut known.unwatched {
            let present = own_triggers(app).map_err(unreadable)?;
            let watched = unwatched.triggers.is_subset(&present);
            for lost in unwatched.tables.values_mut() {
                lost.since = widened(lost.since, now);
                lost.watched |= watched;
            }
        }
        Ok(())
    }

    /// A table is about to lose some of the triggers that are there, or `all` of its own.
    pub(super) fn unwatch(
        &mut self,
        n: usize,
        app: &Connection,
        table: &str,
        triggers: BTreeSet<String>,
        all: bool,
    ) -> Checked {
        if !self.nodes.contains_key(&n) {
            return Ok(());
        }
        self.settle(n, app)?;
        let there = self.snapshot(app)?;
        let Some(known) = self.nodes.get_mut(&n) else { return Ok(()) };
        let from = known.name.map_or(0, |name| known.vector.get(name));
        let unwatched = known.unwatched.get_or_insert_with(|| Unwatched { from, ..Unwatched::default() });
        unwatched.triggers.extend(triggers);
        let shown = known.shown.keys().chain(&known.touched);
        let gone = shown.filter(|row| row.0 == table && !there.contains_key(row)).cloned().collect();
        let new = || Lost { seen: known.vector.clone(), since: known.since, gone, ..Lost::default() };
        unwatched.tables.entry(table.to_owned()).or_insert_with(new).all |= all;
        Ok(())
    }

    /// Whether single statements matter: a row that is parked can be written and deleted without a trace in the table.
    pub(super) fn wants_statements(&self, app: &Connection) -> bool {
        app.query_row("SELECT EXISTS (SELECT 1 FROM _driftless_parked)", [], |row| row.get(0))
            .unwrap_or(false)
    }

    /// The engine is about to do something.
    pub(super) fn before(&mut self, n: usize, app: &Connection, now: i64) -> Checked {
        if !self.nodes.contains_key(&n) {
            return Ok(());
        }
        self.settle(n, app)?;
        if let Some(unwatched) = self.nodes.get_mut(&n).and_then(|known| known.unwatched.as_mut()) {
            unwatched.looked = widened(unwatched.looked, now);
        }
        let known = &self.nodes[&n];
        let waits = known.since.is_some() || known.unwatched.is_some();
        let look = if waits { Some(self.snapshot(app)?) } else { None };
        let parked = if waits { self.parked_in(app)? } else { BTreeSet::new() };
        if let Some(known) = self.nodes.get_mut(&n) {
            (known.attempt, known.parked) = (look, parked);
        }
        Ok(())
    }

    /// The engine has done something.
    pub(super) fn after(&mut self, n: usize, app: &Connection) -> Checked {
        self.settle(n, app)?;
        let Some(attempt) = self.nodes.get_mut(&n).and_then(|known| known.attempt.take()) else {
            return Ok(());
        };
        // It found nothing to capture, and has more to do.
        let look = self.snapshot(app)?;
        if let Some(known) = self.nodes.get_mut(&n) {
            known.keep_shown(&attempt, &look);
        }
        Ok(())
    }

    /// Finds out what the engine has done since this was last asked.
    pub(super) fn settle(&mut self, n: usize, app: &Connection) -> Checked {
        let Some(known) = self.nodes.get(&n) else { return Ok(()) };
        let (name, vector, drained) = state(app).map_err(unreadable)?;
        let mut clean = drained;
        if let Some(unwatched) = &known.unwatched {
            clean &= is_watched(app, &unwatched.triggers).map_err(unreadable)?;
        }
        let moved = known.name != Some(name) || known.vector != vector;
        let waited = known.attempt.is_some();
        if !(moved || waited && clean) {
            return Ok(());
        }
        let mut known = self.nodes.remove(&n).unwrap_or_default();
        if let Some(unwatched) = &mut known.unwatched {
            for (table, lost) in &mut unwatched.tables {
                lost.undecided = is_undecided(app, table, &unwatched.triggers).map_err(unreadable)?;
            }
        }
        if let Some(old) = known.name.filter(|old| *old != name) {
            // No turn does that: what waited waits.
            self.renamed(old, name, &known.vector, &vector);
            if let Some(unwatched) = &mut known.unwatched {
                (unwatched.from, unwatched.renamed) = (vector.get(name), true);
            }
            (known.name, known.vector, known.attempt) = (Some(name), vector, None);
            self.nodes.insert(n, known);
            return Ok(());
        }
        let attempt = known.attempt.take();
        if let Some(attempt) = &attempt {
            let decided = known.unwatched.as_ref().filter(|unwatched| unwatched.from < vector.get(name));
            let any_decided =
                decided.is_some_and(|unwatched| unwatched.tables.values().any(|lost| !lost.undecided));
            if vector.get(name) > known.vector.get(name) || any_decided {
                self.keep_earlier(n, &known);
                self.captured(&known, attempt, (name, vector.get(name)), clean);
            }
        }
        if let Some(attempt) = &attempt
            && (drained || vector.get(name) > known.vector.get(name))
        {
            known.leave_behind(attempt, drained, clean);
        }
        let now = self.snapshot(app)?;
        let mut look = now.clone();
        if drained && waited && vector.get(name) == known.vector.get(name) && known.unwatched.is_some() {
            // All marks were captured and changed nothing, so later differences in watched tables come from other replicas.
            let mut watched = now.clone();
            known.keep_lost(&mut watched);
            known.shown = watched;
            let unwatched = known.unwatched.as_ref();
            known.touched.retain(|(table, _)| unwatched.is_some_and(|lost| lost.tables.contains_key(table)));
        }
        known.keep_undecided(&mut look);
        let captured = clean || vector.get(name) > known.vector.get(name);
        if captured && (waited || known.since.is_none()) {
            known.shown = look;
            // A row that is captured while marks of it are left gets the time of one of them (seed 700628).
            known.since = known.since.filter(|_| !drained);
            let Known { touched, unwatched, .. } = &mut known;
            touched.retain(|(table, _)| is_kept(unwatched.as_ref(), table));
            if clean {
                *unwatched = None;
            } else if let Some(unwatched) = unwatched {
                // A table that is compared is watched again. Its rows that are left to capture are recorded as optional.
                unwatched.tables.retain(|_, lost| lost.undecided);
            }
        } else if known.since.is_none() {
            known.shown = look;
        }
        if let Some(attempt) = attempt.filter(|_| drained) {
            known.keep_shown(&attempt, &now);
        }
        (known.name, known.vector) = (Some(name), vector);
        self.nodes.insert(n, known);
        Ok(())
    }

    /// A copy of the file was laid aside.
    pub(super) fn saved(&mut self, n: usize) {
        if let Some(known) = self.nodes.get(&n) {
            self.saved.insert(n, known.clone());
        }
    }

    /// The copy has taken the file's place.
    pub(super) fn restored(&mut self, n: usize) {
        if let Some(known) = self.saved.get(&n) {
            self.nodes.insert(n, known.clone());
        }
    }

    /// A node works on a copy of another's file.
    pub(super) fn copied(&mut self, from: usize, to: usize) {
        if let Some(known) = self.nodes.get(&from) {
            self.nodes.insert(to, known.clone());
        }
    }
}
