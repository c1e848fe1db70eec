//! What was written, by whom and having seen what, is recorded when an engine captures it; and in the end it is judged whether
//! all of it that nothing has superseded is there.

use std::collections::{BTreeMap, BTreeSet};

use driftless_protocol::{ReplicaId, Seq, StateVector};
use rusqlite::Connection;

use super::super::always::unreadable;
use super::super::world::{Checked, broken};
use super::Model;
use super::shown::{Known, Row, RowId, Snapshot, difference, has_rows};

#[derive(Debug)]
pub(super) struct Op {
    /// The numbers under which it travels: more than one where a file was copied.
    pub(super) ids: Vec<(ReplicaId, u64)>,
    /// How many changesets before those may hold a part of it already.
    pub(super) spread: u64,
    pub(super) seen: StateVector,
}

#[derive(Debug)]
pub(super) struct Write {
    pub(super) op: usize,
    pub(super) value: String,
    pub(super) optional: bool,
    /// Whether its author saw no row there, because it was parked: then it stands beside what was in that.
    pub(super) blind: bool,
    pub(super) time: (i64, i64),
}

#[derive(Debug)]
pub(super) struct Life {
    pub(super) op: usize,
    pub(super) alive: bool,
    pub(super) optional: bool,
    /// As of a write.
    pub(super) blind: bool,
    /// The row, if it was found new in a table without triggers: all that find the same one have written the same.
    pub(super) found: Option<Row>,
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
    /// A file has taken another name: what it had not sent goes under that, too.
    pub(super) fn renamed(
        &mut self,
        old: ReplicaId,
        new: ReplicaId,
        before: &StateVector,
        now: &StateVector,
    ) {
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
    pub(super) fn captured(&mut self, known: &Known, attempt: &Snapshot, id: (ReplicaId, u64), whole: bool) {
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
            // A row that is inserted over a parked one shows, whatever the clocks say.
            let known_of_row = self.cells.iter().filter(|((id, _), _)| blind && *id == row);
            let seen = known_of_row
                .flat_map(|(_, writes)| writes)
                .filter(|write| self.ops[write.op].is_in(&known.vector));
            let time = (time.0, seen.map(|write| write.time.1 + 1).fold(time.1, i64::max));
            for column in &table.registers {
                let (Some(value), old) = (after.get(column), before.and_then(|row| row.get(column))) else {
                    continue;
                };
                let cell = self.cells.entry((row.clone(), column.clone())).or_default();
                // A write that was recorded as optional may be captured only now. Then it has this op's time, and a value that
                // returns to the one before is a write of its own.
                let ops = &self.ops;
                let is_own = |write: &Write| ops[write.op].ids.iter().any(|(replica, _)| *replica == id.0);
                let was_open = cell.iter().any(|write| write.optional && is_own(write));
                if old == Some(value) && !was_open {
                    continue;
                }
                // A row that comes back says nothing of columns that are as they were.
                let comes_back = old.is_none() || known.behind.may_lack(&row);
                let known_before =
                    cell.iter().any(|write| write.value == *value && self.ops[write.op].is_in(&known.vector));
                let put_back = known.behind.may_hold(&row, column, value);
                cell.push(Write {
                    op,
                    value: value.clone(),
                    optional: !whole
                        || comes_back && known_before
                        || put_back
                        || is_twin
                        || old == Some(value),
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

    /// Whether none of these ops has seen that one.
    fn stands(&self, at: usize, mut others: impl Iterator<Item = usize>) -> bool {
        !others.any(|op| op != at && self.ops[at].is_in(&self.ops[op].seen))
    }

    /// Whether none of these ops can have seen anything of that one.
    fn surely_stands(&self, at: usize, mut others: impl Iterator<Item = usize>) -> bool {
        !others.any(|op| op != at && self.ops[at].may_be_in(&self.ops[op].seen))
    }

    /// Compares with a file in which everything has arrived. `forgetful`: files lost writes that nobody else had.
    pub(in super::super) fn check(
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

    /// The values that are listed as conflicts beside the value shown.
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
}
