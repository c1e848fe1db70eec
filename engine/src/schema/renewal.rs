//! A look at one table: what is recorded of it is brought up to what it is, and what follows from that is done.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Transaction;

use super::column_changes::{self, Key};
use super::definitions::{self, Definition};
use super::identify::Found;
use super::installed::{Presence, drop_triggers, install, triggers_present};
use super::introspect::Look;
use super::lifecycle::look_again;
use super::rename_questions;
use super::settling::Settling;
use super::triggers::{self, Trigger};
use super::{Table, Tracked, column_names, eligibility, rebuilt};
use crate::error::Result;
use crate::error::refusal::Refusal;
use crate::store::renames::{self, Renames};
use crate::store::tables::{self, Entry, State};
use crate::store::{backlog, fold};

/// The reason that is recorded for a table that this file no longer has.
const DROPPED: &str =
    "the table was dropped; what others write in it is kept and shows when it is made again";

/// One look at the tables.
pub(super) struct Renewal<'a> {
    pub(super) tx: &'a Transaction<'a>,
    pub(super) settling: &'a mut Settling,
    /// The tables, folded, that the triggers of tracked ones write into.
    pub(super) watched: BTreeSet<String>,
    /// What the space says of its tables, by the names that they travel by.
    pub(super) definitions: &'a BTreeMap<String, Definition>,
    pub(super) now: i64,
}

impl Renewal<'_> {
    /// Brings what is recorded of a table up to what it is. `ours`: our triggers for it. Returns it, unless it is given up.
    pub(super) fn renew(
        &mut self,
        mut entry: Entry,
        found: Found,
        ours: &[(&str, &Trigger)],
    ) -> Result<Option<Tracked>> {
        let mut table = match self.fit(&entry, found.look) {
            Ok(table) => table,
            Err((state, reason)) => return self.lose(entry, state, &reason),
        };
        let names = self.find_names(&mut entry, &table, ours)?;
        let mut renames = table.rename(&entry.renames);
        let key = column_changes::of_key(&entry, &table);
        match &key {
            Key::Same => {}
            Key::Renamed(renamed) => {
                rename_key(&mut entry, renamed, &table);
                renames = table.rename(&entry.renames);
            }
            Key::Other { before, now } => {
                let reason = has_other_key(&table, before, now);
                return self.lose(entry, State::Unfit, &reason);
            }
        }
        let columns = column_changes::since_last_look(&entry, &table);
        let mut fresh = columns.came.clone();
        if names.let_columns_return() {
            let added_again = self.added_again(&entry, &table, ours)?;
            fresh.extend(added_again.into_iter().map(|at| table.columns[at].name.clone()));
        }
        let is_other = !columns.is_none() || key != Key::Same;
        let change = self.compare(&entry, &table, ours, found.late_triggers);
        let same_name = found.undecided || entry.spelled == table.spelled;
        if !is_other && change.is_none() && same_name && entry.rebuilt.is_none() {
            return Ok(Some(tracked(entry, table, change.watched, renames)));
        }
        self.renew_triggers(&mut entry, &table, ours, &change)?;
        if is_other || !are_listed(&entry, &table) {
            column_changes::record(&mut entry, &table, !names.are_listed);
            entry.fresh.extend(fresh);
        }
        names.ask(&mut entry);
        self.look_at_rows(&mut entry, &table, &columns, &change)?;
        if !found.undecided {
            entry.spelled.clone_from(&table.spelled);
        }
        entry.rules = Some(change.rules);
        tables::update(self.tx, &entry)?;
        self.define(&entry, &table, names.renamed_apart || key != Key::Same)?;
        Ok(Some(tracked(entry, table, change.watched, renames)))
    }

    /// The table, if it can be tracked. Otherwise the state that it is in, and why.
    fn fit(&self, entry: &Entry, look: Option<Look>) -> std::result::Result<Table, (State, String)> {
        let Some(look) = look else {
            let is_retired = self.definitions.get(&entry.name).is_some_and(|definition| definition.retired);
            let reason = if is_retired { definitions::FORGOTTEN } else { DROPPED };
            return Err((State::Missing, reason.to_owned()));
        };
        let unfit = |refusal: Refusal| (State::Unfit, refusal.to_string());
        let table = look.map_err(unfit)?;
        // A key of another kind would give every row another name.
        match eligibility::check(&table, &entry.options) {
            Err(refusal @ Refusal::IntegerKey) => Err(unfit(refusal)),
            _ => Ok(table),
        }
    }

    /// Compares a table's constraints and triggers with what was recorded of them. `late`: a trigger of the app's was made
    /// after ours.
    fn compare(&self, entry: &Entry, table: &Table, ours: &[(&str, &Trigger)], late: bool) -> Change {
        let rules = rule_shape(table);
        let same_rules = entry.rules.as_deref() == Some(&*rules);
        let watched = self.watched.contains(&fold(&table.spelled));
        let expected = triggers::all(entry.id, table, watched);
        let triggers = match triggers_present(ours, &expected, entry.id, same_rules) {
            // They would not run if one of those failed, and the row stayed.
            Presence::AsExpected if late => Presence::Different,
            present => present,
        };
        let lost = triggers == Presence::Missing || entry.state != State::Tracked;
        Change { rules, same_rules, watched, triggers, lost }
    }

    /// Makes the triggers that a table should have. One that lost them was rebuilt, and is to be compared with its documents.
    fn renew_triggers(
        &self,
        entry: &mut Entry,
        table: &Table,
        ours: &[(&str, &Trigger)],
        change: &Change,
    ) -> Result<()> {
        if change.lost || change.triggers != Presence::AsExpected {
            install(self.tx, entry.id, table, change.watched)?;
        }
        if change.lost {
            tracing::info!(table = %table.spelled, "the table lost our triggers: it was rebuilt, or somebody dropped them");
            if ours.is_empty() {
                rebuilt::forget_lost_marks(self.tx, entry.id, table)?;
            }
            let unseen = self.settling.time_of_unseen(self.now);
            entry.rebuilt = Some(entry.rebuilt.map_or(unseen, |before| before.max(unseen)));
            entry.state = State::Tracked;
        }
        Ok(())
    }

    /// Has the rows looked at that a change of their table concerns.
    fn look_at_rows(
        &mut self,
        entry: &mut Entry,
        table: &Table,
        columns: &column_changes::Change,
        change: &Change,
    ) -> Result<()> {
        if entry.rebuilt.is_some() {
            self.compare_if_settled(entry, table, change.lost)
        } else if !columns.is_none() {
            // Rows have values in a column that no document names yet, as after a rename; documents may have values for
            // a column that has just appeared.
            tracing::info!(table = %table.spelled, "the table changed; all its rows are looked at again");
            look_again(self.tx, entry.id, table, self.now)
        } else if !change.same_rules {
            // What its constraints demand may have changed.
            backlog::refresh_table(self.tx, entry.id)?;
            tables::set_unjudged(self.tx, entry.id)
        } else {
            Ok(())
        }
    }

    /// Tells the space what the table is, and, if any were found, which renames hold.
    fn define(&self, entry: &Entry, table: &Table, has_renamed: bool) -> Result<()> {
        let mut definition = Definition::of(&entry.name, table, &entry.options);
        if has_renamed {
            definition.renames = Some(renames::to_text(&entry.renames));
        }
        definitions::put(self.tx, &definition, self.now)
    }

    /// Compares a table that was rebuilt with its documents, if it has been left alone for long enough. `lost`: it has
    /// just been found without our triggers.
    fn compare_if_settled(&mut self, entry: &mut Entry, table: &Table, lost: bool) -> Result<()> {
        if lost {
            // Rebuilt once more, it waits from the beginning.
            self.settling.forget(entry.id);
        }
        if !self.settling.is_settled(entry.id, table.sql.clone(), entry.rebuilt, self.now) {
            return Ok(());
        }
        if self.settling.is_busy(entry.id, self.now) {
            // Written all the time: by an app that goes on with its work, or by an import that is not over.
            let lacks = rebuilt::missing(self.tx, entry.id, table)?.len();
            if self.settling.is_filled(entry.id, lacks, self.now) {
                return Ok(());
            }
        }
        self.settling.forget(entry.id);
        rebuilt::compare(self.tx, entry, table, self.now)?;
        entry.rebuilt = None;
        Ok(())
    }

    /// Gives a table up for now, leaving no trigger that points at nothing.
    fn lose(&mut self, mut entry: Entry, state: State, reason: &str) -> Result<Option<Tracked>> {
        self.settling.forget(entry.id);
        if entry.state == state && entry.reason.as_deref() == Some(reason) {
            return Ok(None);
        }
        tracing::warn!(table = %entry.spelled, reason, "the table is no longer captured");
        drop_triggers(self.tx, entry.id)?;
        backlog::forget_table(self.tx, entry.id)?;
        entry.state = state;
        entry.reason = Some(reason.to_owned());
        tables::update(self.tx, &entry)?;
        Ok(None)
    }
}

/// How a table's constraints and triggers differ from what was recorded.
struct Change {
    /// What the table demands of its rows, as a digest, and whether it demanded that before.
    rules: String,
    same_rules: bool,
    /// Whether triggers of tracked tables write into it.
    watched: bool,
    triggers: Presence,
    /// Whether it is there without our triggers, or was not tracked until now.
    lost: bool,
}

impl Change {
    fn is_none(&self) -> bool {
        self.triggers == Presence::AsExpected && !self.lost && self.same_rules
    }
}

/// Records new names of the columns of the primary key.
fn rename_key(entry: &mut Entry, renamed: &Renames, table: &Table) {
    tracing::info!(table = %table.spelled, ?renamed, "columns of the primary key were renamed");
    entry.renames.retain(|(now, _)| renamed.iter().all(|(name, _)| name != now));
    entry.renames.extend(renamed.iter().cloned());
    entry.renames.sort();
}

/// Why a table is not tracked any more whose primary key is another than before.
fn has_other_key(table: &Table, before: &str, now: &str) -> String {
    format!(
        "its primary key changed from ({before}) to ({now}), and rows are known by their key, so it is not tracked any more; \
         `driftless track FILE {}` tracks it with the new key, as a table of its own: do so on every machine that changes \
         the key",
        table.spelled
    )
}

/// Whether all columns of a table are recorded.
fn are_listed(entry: &Entry, table: &Table) -> bool {
    table.columns.iter().all(|column| column_changes::place(entry, &fold(&column.spelled)).is_some())
}

fn tracked(entry: Entry, table: Table, watched: bool, renames: Renames) -> Tracked {
    let asked = rename_questions::asked(&entry);
    let renames = column_names::without_waiting(&entry, renames);
    let new_here = column_names::new_here(&entry);
    let (fresh, settling) = (entry.fresh, entry.rebuilt.is_some());
    let tracked = Tracked::new(entry.id, entry.name, entry.options, table).asking(asked);
    Tracked { fresh, new_here, watched, renames, settling, ..tracked }
}

/// What the table demands of its rows, as a digest: its definition, its UNIQUE indexes, and what it refers to.
pub(super) fn rule_shape(table: &Table) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(table.sql.as_bytes());
    for reference in &table.references {
        hasher.update(reference.rule.as_bytes());
    }
    for unique in &table.unique {
        hasher.update(unique.name.as_bytes());
        hasher.update(unique.filter.as_deref().unwrap_or_default().as_bytes());
        for term in &unique.terms {
            hasher.update(term.sql.as_bytes());
        }
    }
    hasher.finalize().to_hex()[..16].to_owned()
}
