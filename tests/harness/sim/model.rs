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

use driftless_protocol::{ReplicaId, Seq, StateVector};
use rusqlite::Connection;

use super::always::unreadable;
use super::scenario::Scenario;
use super::schema::quote;
use super::unwatched::{aside, is_undecided, is_watched, own_triggers};
use super::world::{Checked, broken};
use behind::Behind;

mod behind;
mod power_loss;

/// A table and a key, folded as the key compares.
pub(super) type RowId = (String, String);
/// The values of a row, by column, as SQL literals.
pub(super) type Row = BTreeMap<String, String>;
/// All rows of all tables.
pub(super) type Snapshot = BTreeMap<RowId, Row>;

/// What was written, by whom, having seen what.
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

/// A table as far as it matters here.
#[derive(Debug, Clone)]
struct Table {
    name: String,
    deletes_win: bool,
    /// In the order of the key; whether case is ignored.
    key: Vec<(String, bool)>,
    /// Columns of which one value shows and others are kept.
    registers: BTreeSet<String>,
}

/// What is known of a file.
#[derive(Debug, Clone, Default)]
struct Known {
    name: Option<ReplicaId>,
    vector: StateVector,
    /// What it showed when nothing was waiting to be captured.
    shown: Snapshot,
    /// What it showed when the engine last set to work, if something was waiting then.
    attempt: Option<Snapshot>,
    /// The rows that were parked in it then.
    parked: BTreeSet<RowId>,
    /// Rows that the app touched, whether or not they look different now.
    touched: BTreeSet<RowId>,
    /// Between which times the app wrote what waits.
    since: Option<(i64, i64)>,
    /// What the documents may still hold of rows that waited when something was captured.
    behind: Behind,
    unwatched: Option<Unwatched>,
}

/// Tables that lost our triggers and are not yet compared with the rows that they had shown.
#[derive(Debug, Clone, Default)]
struct Unwatched {
    /// All triggers that there should be.
    triggers: BTreeSet<String>,
    tables: BTreeMap<String, Lost>,
    /// The first and last time of the engine's looks. Rows that it finds get a time between them.
    looked: Option<(i64, i64)>,
    /// How many own changesets there were before any of them could tell of these tables.
    from: u64,
    /// Whether the file took another name meanwhile, so that it is not known what was captured under the old one.
    renamed: bool,
}

/// A table that lost triggers.
#[derive(Debug, Clone, Default)]
struct Lost {
    /// Whether it lost all of them, as one does that is made anew.
    all: bool,
    /// The state vector of the rows that the table shows: the engine writes nothing into it until it is compared.
    seen: StateVector,
    /// Between which times the app wrote since.
    since: Option<(i64, i64)>,
    /// Whether it may have done so under triggers that were made again before the table was compared.
    watched: bool,
    /// Whether the engine has yet to decide about it.
    undecided: bool,
    /// Rows that were gone before it lost them. A table that is made again empty need not be filled with these.
    gone: BTreeSet<RowId>,
}

#[derive(Debug)]
struct Op {
    /// The numbers under which it travels: more than one where a file was copied.
    ids: Vec<(ReplicaId, u64)>,
    /// How many changesets before those may hold a part of it already.
    spread: u64,
    seen: StateVector,
}

#[derive(Debug)]
struct Write {
    op: usize,
    value: String,
    optional: bool,
    /// Whether its author saw no row there, because it was parked: then it stands beside what was in that.
    blind: bool,
    time: (i64, i64),
}

#[derive(Debug)]
struct Life {
    op: usize,
    alive: bool,
    optional: bool,
    /// As of a write.
    blind: bool,
    /// The row, if it was found new in a table without triggers: all that find the same one have written the same.
    found: Option<Row>,
}

impl Op {
    fn is_in(&self, vector: &StateVector) -> bool {
        self.ids.iter().any(|(replica, seq)| vector.get(*replica) >= *seq)
    }

    /// Whether a part of it may be.
    fn may_be_in(&self, vector: &StateVector) -> bool {
        self.ids.iter().any(|(replica, seq)| vector.get(*replica) >= seq - self.spread.min(seq - 1))
    }
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

    fn snapshot(&self, app: &Connection) -> Checked<Snapshot> {
        let mut snapshot = Snapshot::new();
        let aside = aside(app).map_err(unreadable)?;
        for table in &self.tables {
            // As long as it is there, the engine writes into that.
            let stands_for = aside.as_ref().filter(|(name, _)| *name == table.name.to_lowercase());
            let name = stands_for.map_or(&table.name, |(_, aside)| aside);
            // Not cached: a statement that is kept does not notice that its table is gone.
            let mut statement = match app.prepare(&format!("SELECT * FROM {}", quote(name))) {
                Ok(statement) => statement,
                // A node that joined has no tables yet, or one is being made anew.
                Err(_) => continue,
            };
            let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
            let mut rows = statement.query([]).map_err(unreadable)?;
            while let Some(found) = rows.next().map_err(unreadable)? {
                let mut row = Row::new();
                for (at, name) in names.iter().enumerate() {
                    row.insert(name.clone(), crate::database::render(found.get_ref(at).map_err(unreadable)?));
                }
                snapshot.insert((table.name.clone(), table.key_of(&row)), row);
            }
        }
        Ok(snapshot)
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

    /// The rows that are listed as parked.
    fn parked_in(&self, app: &Connection) -> Checked<BTreeSet<RowId>> {
        let sql = "SELECT \"table\", \"key\" FROM driftless_parked";
        let listed: Vec<(String, String)> = app
            .prepare_cached(sql)
            .and_then(|mut statement| {
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
            })
            .map_err(unreadable)?;
        let id = |(table, key): (String, String)| (table.clone(), self.fold(&table, &key));
        Ok(listed.into_iter().map(id).collect())
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

    /// A file has taken another name: what it had not sent goes under that, too.
    fn renamed(&mut self, old: ReplicaId, new: ReplicaId, before: &StateVector, now: &StateVector) {
        let shared = now.get(old);
        for op in &mut self.ops {
            let unsent = op.ids.iter().find(|(replica, seq)| {
                *replica == old && *seq > shared && *seq <= before.get(old) && *seq - shared <= now.get(new)
            });
            if let Some(&(_, seq)) = unsent {
                op.ids.push((new, seq - shared));
            }
        }
    }

    /// `whole`: nothing is left to capture. Else it is not known how much of it was.
    fn captured(&mut self, known: &Known, attempt: &Snapshot, id: (ReplicaId, u64), whole: bool) {
        let op = self.ops.len();
        let unwatched = known.unwatched.as_ref();
        // Rows found by a comparison are no transaction: each of their changesets arrives by itself.
        let spread = unwatched.map_or(0, |unwatched| id.1.saturating_sub(unwatched.from + 1));
        let whole = whole && !unwatched.is_some_and(|unwatched| unwatched.renamed);
        self.ops.push(Op { ids: vec![id], spread, seen: known.vector.clone() });
        // A write in such a table has seen the rows that the table showed, and the earlier writes in it.
        let mut of_tables = BTreeMap::new();
        for (table, lost) in unwatched.into_iter().flat_map(|unwatched| &unwatched.tables) {
            let mut seen = lost.seen.clone();
            if let Some(own) = Seq::new(known.vector.get(id.0)) {
                seen.raise(id.0, own);
            }
            of_tables.insert(table, self.ops.len());
            self.ops.push(Op { ids: vec![id], spread, seen });
        }
        let mut touched = known.touched.clone();
        touched.extend(difference(&known.shown, attempt));
        for row in touched {
            let lost = unwatched.and_then(|unwatched| unwatched.tables.get(&row.0));
            // Triggers that were made again tell of some rows before the table is compared, not of all.
            let undecided = lost.is_some_and(|lost| lost.undecided);
            let whole = whole && !undecided;
            if (lost.is_none() || undecided) && id.1 == known.vector.get(id.0) {
                // Nothing was captured just now. Of tables that are compared it was when triggers were made again.
                continue;
            }
            let op = of_tables.get(&row.0).copied().unwrap_or(op);
            // While a row is listed as parked, nothing of what was inserted under its key is captured.
            let is_parked = known.parked.contains(&row);
            let (before, after) = (known.shown.get(&row).filter(|_| !is_parked), attempt.get(&row));
            let Some(after) = after else {
                let refilled = lost.is_some() && !has_rows(attempt, &row.0);
                if refilled && lost.is_some_and(|lost| lost.all && !lost.watched && !lost.gone.contains(&row))
                {
                    // An empty table was dropped and made again, and is filled again.
                    continue;
                }
                // Seen in the table and gone; or never seen there, because it was parked. Where triggers watched an empty table,
                // it may be one of those that were seen to go, or one that comes back.
                let may_be_gone = before.is_none() || known.behind.may_lack(&row);
                let optional = !whole || may_be_gone || refilled;
                let lives = self.lives.entry(row.clone()).or_default();
                lives.push(Life { op, alive: false, optional, blind: false, found: None });
                continue;
            };
            let blind = is_parked;
            let since = known.since.or(lost.and_then(|lost| lost.since));
            let mut time = since.unwrap_or_default();
            if let Some(lost) = lost {
                let wrote = lost.since.into_iter().flat_map(|(a, b)| [a, b]);
                wrote.for_each(|at| time = (time.0.min(at), time.1.max(at)));
                for looked in
                    unwatched.and_then(|unwatched| unwatched.looked).into_iter().flat_map(|(a, b)| [a, b])
                {
                    time = (time.0.min(looked), time.1.max(looked));
                }
            }
            let found = (lost.is_some() && before.is_none()).then(|| after.clone());
            if found.is_some() {
                // A row that is found new was written at no known time.
                time.0 = 0;
            }
            let is_twin = found.is_some() && self.has_twin(&row, &found);
            // Inserted just as it was parked, it is not written.
            let as_it_was = before == Some(after) || known.behind.may_be(&row, after);
            let optional = !whole || blind || as_it_was || is_twin;
            self.lives.entry(row.clone()).or_default().push(Life { op, alive: true, optional, blind, found });
            let Some(table) = self.tables.iter().find(|table| table.name == row.0) else { continue };
            // What is inserted where a row is parked shows, whatever the clocks say.
            let known_of_row = self.cells.iter().filter(|((id, _), _)| blind && *id == row);
            let seen = known_of_row
                .flat_map(|(_, writes)| writes)
                .filter(|write| self.ops[write.op].is_in(&known.vector));
            let time = (time.0, seen.map(|write| write.time.1 + 1).fold(time.1, i64::max));
            for column in &table.registers {
                let (Some(value), old) = (after.get(column), before.and_then(|row| row.get(column))) else {
                    continue;
                };
                if old == Some(value) {
                    continue;
                }
                let cell = self.cells.entry((row.clone(), column.clone())).or_default();
                // A row that comes back says nothing of columns that are as they were.
                let comes_back = old.is_none() || known.behind.may_lack(&row);
                let known_before =
                    cell.iter().any(|write| write.value == *value && self.ops[write.op].is_in(&known.vector));
                let put_back = known.behind.may_hold(&row, column, value);
                cell.push(Write {
                    op,
                    value: value.clone(),
                    optional: !whole || comes_back && known_before || put_back || is_twin,
                    blind,
                    time,
                });
            }
        }
    }

    /// Whether another op found the very same row in a table without triggers. Then neither need stand: who has seen one of them
    /// has seen the other, which is the same content by the same writer.
    fn has_twin(&mut self, row: &RowId, found: &Option<Row>) -> bool {
        let mut twins = BTreeSet::new();
        for life in self.lives.get_mut(row).into_iter().flatten().filter(|life| life.found == *found) {
            life.optional = true;
            twins.insert(life.op);
        }
        for ((of, _), writes) in &mut self.cells {
            let same = writes.iter_mut().filter(|write| of == row && twins.contains(&write.op));
            same.for_each(|write| write.optional = true);
        }
        !twins.is_empty()
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

    /// Whether none of these ops has seen that one.
    fn stands(&self, at: usize, mut others: impl Iterator<Item = usize>) -> bool {
        !others.any(|op| op != at && self.ops[at].is_in(&self.ops[op].seen))
    }

    /// Whether none of these ops can have seen anything of that one.
    fn surely_stands(&self, at: usize, mut others: impl Iterator<Item = usize>) -> bool {
        !others.any(|op| op != at && self.ops[at].may_be_in(&self.ops[op].seen))
    }

    /// Compares with a file in which everything has arrived. `forgetful`: files lost writes that nobody else had.
    pub(super) fn check(
        &self,
        app: &Connection,
        parked: &Snapshot,
        all: &StateVector,
        forgetful: bool,
    ) -> Checked {
        const LOST: &str = "every write is accounted for (I2)";
        if let Some(lost) = self.ops.iter().find(|op| !op.is_in(all))
            && !forgetful
        {
            return broken(LOST, format!("nobody has {:?}", lost.ids));
        }
        let shown = self.snapshot(app)?;
        let conflicts = self.conflicts(app)?;
        for (row, lives) in &self.lives {
            let Some(table) = self.tables.iter().find(|table| table.name == row.0) else { continue };
            let there: Vec<&Life> = lives.iter().filter(|life| self.ops[life.op].is_in(all)).collect();
            let seeing = || there.iter().filter(|life| !life.blind).map(|life| life.op);
            let mut standing = there.iter().filter(|life| self.stands(life.op, seeing()));
            let alive = match table.deletes_win {
                false => standing.any(|life| life.alive),
                true => standing.all(|life| life.alive),
            };
            let now = shown.get(row).or_else(|| parked.get(row));
            let unsure =
                |life: &&&Life| self.stands(life.op, seeing()) && !self.surely_stands(life.op, seeing());
            let doubt = there.is_empty()
                || there.iter().any(|life| life.optional)
                || there.iter().any(|life| unsure(&life));
            if !doubt && now.is_some() != alive {
                return broken(
                    LOST,
                    format!("{row:?} should be {}: {there:?}", if alive { "there" } else { "gone" }),
                );
            }
            let Some(now) = now else { continue };
            for column in &table.registers {
                self.check_cell(row, column, now, &conflicts, all)?;
            }
        }
        Ok(())
    }

    fn check_cell(
        &self,
        row: &RowId,
        column: &String,
        now: &Row,
        conflicts: &BTreeMap<(RowId, String), BTreeSet<String>>,
        all: &StateVector,
    ) -> Checked {
        const LOST: &str = "every write is accounted for (I2)";
        let Some(writes) = self.cells.get(&(row.clone(), column.clone())) else { return Ok(()) };
        let Some(value) = now.get(column) else { return Ok(()) };
        let there: Vec<&Write> = writes.iter().filter(|write| self.ops[write.op].is_in(all)).collect();
        // Nobody can have superseded it; nobody need have.
        let seeing = || there.iter().filter(|write| !write.blind);
        let must_stand =
            |write: &Write| self.surely_stands(write.op, seeing().map(|write| write.op)) && !write.optional;
        let certain = || seeing().filter(|write| !write.optional).map(|write| write.op);
        let standing: Vec<&&Write> = there.iter().filter(|write| self.stands(write.op, certain())).collect();
        if standing.is_empty() {
            return Ok(());
        }
        let none = BTreeSet::new();
        let kept = conflicts.get(&(row.clone(), column.clone())).unwrap_or(&none);
        let stands = |value: &String| standing.iter().any(|write| write.value == *value);
        if !stands(value) {
            return broken(
                LOST,
                format!(
                    "{row:?} {column} shows {value}; what stands is {standing:?}; {there:?}; {:?}",
                    self.ops
                ),
            );
        }
        if let Some(lost) = standing
            .iter()
            .find(|write| must_stand(write) && write.value != *value && !kept.contains(&write.value))
        {
            return broken(
                LOST,
                format!("{row:?} {column} shows {value}, keeps {kept:?}, and lost {lost:?}"),
            );
        }
        if let Some(back) = kept.iter().find(|kept| !stands(kept)) {
            return broken(
                "what was superseded does not come back",
                format!("{row:?} {column} keeps {back}; what stands is {standing:?}"),
            );
        }
        let latest = standing.iter().filter(|write| write.value == *value).map(|write| write.time.1).max();
        if let Some(later) = standing
            .iter()
            .find(|write| must_stand(write) && Some(write.time.0) > latest && write.value != *value)
        {
            return broken("the later value shows", format!("{row:?} {column} shows {value}, not {later:?}"));
        }
        Ok(())
    }

    /// What is listed beside what shows.
    fn conflicts(&self, app: &Connection) -> Checked<BTreeMap<(RowId, String), BTreeSet<String>>> {
        let mut conflicts: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        let sql = "SELECT \"table\", \"key\", \"column\", value FROM driftless_conflicts WHERE NOT shown";
        let mut statement = app.prepare(sql).map_err(unreadable)?;
        let mut rows = statement.query([]).map_err(unreadable)?;
        while let Some(row) = rows.next().map_err(unreadable)? {
            let text = |at: usize| row.get::<_, String>(at).map_err(unreadable);
            let table = text(0)?;
            let key = self.fold(&table, &text(1)?);
            let value = crate::database::render(row.get_ref(3).map_err(unreadable)?);
            conflicts.entry(((table, key), text(2)?)).or_default().insert(value);
        }
        Ok(conflicts)
    }

    /// A key as it is listed, folded like those that were read from tables.
    pub(super) fn fold(&self, table: &str, key: &str) -> String {
        let folds = |table: &&Table| table.key.iter().any(|(_, folds)| *folds);
        match self.tables.iter().filter(|known| known.name == table).find(folds) {
            Some(_) => key.to_ascii_lowercase(),
            None => key.to_owned(),
        }
    }
}

impl Table {
    fn key_of(&self, row: &Row) -> String {
        let values = self.key.iter().map(|(name, folds)| {
            let value = row.get(name).cloned().unwrap_or_default();
            if *folds { value.to_ascii_lowercase() } else { value }
        });
        values.collect::<Vec<_>>().join(", ")
    }
}

/// Whether an engine has yet to decide about a table.
fn is_kept(unwatched: Option<&Unwatched>, table: &str) -> bool {
    unwatched.and_then(|unwatched| unwatched.tables.get(table)).is_some_and(|lost| lost.undecided)
}

impl Known {
    /// The engine has decided about the rows that it changes, so their new values are no writes of the app's: also in a table that is
    /// compared over several turns, of which the others are to come.
    fn keep_shown(&mut self, before: &Snapshot, after: &Snapshot) {
        for row in difference(before, after) {
            match after.get(&row) {
                Some(values) => self.shown.insert(row, values.clone()),
                None => self.shown.remove(&row),
            };
        }
    }

    /// Keeps the known rows of tables that lost triggers.
    fn keep_lost(&self, look: &mut Snapshot) {
        let is_lost = |table: &str| {
            self.unwatched.as_ref().is_some_and(|unwatched| unwatched.tables.contains_key(table))
        };
        look.retain(|(table, _), _| !is_lost(table));
        let kept = self.shown.iter().filter(|((table, _), _)| is_lost(table));
        look.extend(kept.map(|(row, values)| (row.clone(), values.clone())));
    }

    /// Keeps the known rows of tables that the engine has not decided about.
    fn keep_undecided(&self, look: &mut Snapshot) {
        let is_kept = |(table, _): &RowId| is_kept(self.unwatched.as_ref(), table);
        look.retain(|row, _| !is_kept(row));
        let kept = self.shown.iter().filter(|(row, _)| is_kept(row));
        look.extend(kept.map(|(row, values)| (row.clone(), values.clone())));
    }
}

/// A span of time that holds this one too. Clocks may go backwards.
fn widened(span: Option<(i64, i64)>, now: i64) -> Option<(i64, i64)> {
    Some(span.map_or((now, now), |(least, most)| (least.min(now), most.max(now))))
}

fn has_rows(snapshot: &Snapshot, table: &str) -> bool {
    snapshot.keys().any(|(of, _)| of == table)
}

/// Rows that are not the same in both.
fn difference(before: &Snapshot, after: &Snapshot) -> Vec<RowId> {
    let rows: BTreeSet<&RowId> = before.keys().chain(after.keys()).collect();
    rows.into_iter().filter(|row| before.get(*row) != after.get(*row)).cloned().collect()
}

/// A file's name, its state vector, and whether nothing waits to be captured.
fn state(app: &Connection) -> rusqlite::Result<(ReplicaId, StateVector, bool)> {
    let name: Vec<u8> = app
        .prepare_cached("SELECT value FROM _driftless_meta WHERE name = 'replica'")?
        .query_row([], |row| row.get(0))?;
    let mut statement = app.prepare_cached("SELECT replica, seq FROM _driftless_progress")?;
    let entries = statement.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?)))?;
    let mut vector = StateVector::new();
    let id = |bytes: &[u8]| ReplicaId::from_slice(bytes).expect("an id in the engine's own table");
    for entry in entries {
        let (replica, seq) = entry?;
        if let Some(seq) = Seq::new(seq as u64) {
            vector.raise(id(&replica), seq);
        }
    }
    let clean = app
        .prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM _driftless_dirty)")?
        .query_row([], |row| row.get(0))?;
    Ok((id(&name), vector, clean))
}

/// Rows that are parked in a file, as [`Model::check`] takes them.
pub(super) fn parked(model: &Model, path: &std::path::Path) -> Checked<Snapshot> {
    use driftless_protocol::Value;
    use rusqlite::types::ValueRef;
    let literal = |value: &Value<'_>| {
        crate::database::render(match value {
            Value::Null => ValueRef::Null,
            Value::Integer(integer) => ValueRef::Integer(*integer),
            Value::Real(real) => ValueRef::Real(*real),
            Value::Text(text) => ValueRef::Text(text),
            Value::Blob(blob) => ValueRef::Blob(blob),
        })
    };
    let parked = driftless::parked(path).map_err(unreadable)?.into_iter().map(|parked| {
        let row = parked.row.iter().map(|(name, value)| (name.clone(), literal(value))).collect();
        let key = model.fold(&parked.table, &parked.key);
        ((parked.table, key), row)
    });
    Ok(parked.collect())
}
