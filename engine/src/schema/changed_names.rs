//! Under which names the columns of a table travel, where their own names changed hands since the last look: columns that were
//! renamed, whose names new ones have now, or that were dropped and added again.

use super::column_changes;
use super::column_list::{self, Listed};
use super::column_names;
use super::definitions::Definition;
use super::evidence::renamed_anew::Told;
use super::evidence::reused_names::Reused;
use super::evidence::{made_again, renamed_anew, reused_names};
use super::rename_questions;
use super::renewal::Renewal;
use super::triggers::Trigger;
use super::{Column, Table};
use crate::error::Result;
use crate::store::fold;
use crate::store::tables::{Entry, State};

/// What a look found out about the names of a table's columns.
pub(super) struct Names {
    /// Whether SQLite says which columns were renamed, so that nobody has to be asked.
    pub(super) are_listed: bool,
    /// Columns that were renamed and whose names others have now; where that is not certain, the user is asked.
    reused: Vec<Reused>,
    /// Columns that the rows show to be new: nobody is asked whether they are older ones.
    new: Vec<String>,
    /// Whether a column travels by another name than its own, and did not before.
    pub(super) renamed_apart: bool,
}

impl Names {
    /// Whether a column that seems to have been dropped and added again is just that.
    pub(super) fn let_columns_return(&self) -> bool {
        self.reused.iter().all(|reused| reused.is_certain)
    }

    /// Notes the questions for the user.
    pub(super) fn ask(&self, entry: &mut Entry) {
        for known in entry.columns.iter_mut().filter(|known| self.new.contains(&known.name)) {
            known.was = None;
        }
        for reused in self.reused.iter().filter(|reused| !reused.is_certain) {
            rename_questions::ask(entry, &reused.old, &reused.new);
        }
    }
}

impl Renewal<'_> {
    /// Finds out under which names columns travel whose own names changed hands, and records what is certain.
    pub(super) fn find_names(
        &self,
        entry: &mut Entry,
        table: &Table,
        ours: &[(&str, &Trigger)],
    ) -> Result<Names> {
        let listed = column_list::read(entry.id, ours);
        let mut renamed = match &listed {
            Some(listed) => self.take_over_renames(entry, table, listed)?,
            None => false,
        };
        let (mut reused, mut new) = (Vec::new(), Vec::new());
        if listed.is_none() || entry.rebuilt.is_some() {
            let told = self.find_renamed(entry, table, listed.is_none())?;
            renamed |= !told.renamed.is_empty();
            new = told.new;
        }
        if listed.is_none() {
            reused = self.find_reused(entry, table)?;
        }
        self.part_from_given_up(entry, table, ours)?;
        let named = self.name_new_columns(entry, table);
        let renamed_apart = named || renamed || reused.iter().any(|reused| reused.is_certain);
        Ok(Names { are_listed: listed.is_some(), reused, new, renamed_apart })
    }

    /// Records which columns were renamed with `ALTER TABLE`, where SQLite says so. Returns whether any were.
    fn take_over_renames(&self, entry: &mut Entry, table: &Table, listed: &[Listed]) -> Result<bool> {
        let renamed = column_names::take_over(entry, table, listed);
        if renamed.is_empty() {
            return Ok(false);
        }
        let names: Vec<String> =
            renamed.iter().map(|one| format!("'{}' is '{}' now", one.old, one.new)).collect();
        tracing::info!(table = %table.spelled, "columns were renamed: {}", names.join(", "));
        Ok(true)
    }

    /// Finds out by the rows which columns of a table that was made anew are older columns under new names, and records that.
    /// `is_new_look`: it was made anew since the last look.
    fn find_renamed(&self, entry: &mut Entry, table: &Table, is_new_look: bool) -> Result<Told> {
        let in_key = |name: &str| table.key.iter().any(|key| fold(&table.columns[key.at].spelled) == name);
        let mut pairs = rename_questions::perhaps_renamed(entry, table, is_new_look);
        pairs.retain(|pair| !in_key(&pair.came));
        let told = renamed_anew::find(self.tx, entry, table, pairs)?;
        for (old, new) in &told.renamed {
            tracing::info!(table = %table.spelled, old, new, "a column was renamed when its table was made anew");
            column_names::renamed(entry, old, new);
        }
        Ok(told)
    }

    /// Finds columns of a table that was made anew whose names others have now, and records those of which that is certain
    /// because the space says so. By what the columns hold it is only likely.
    fn find_reused(&self, entry: &mut Entry, table: &Table) -> Result<Vec<Reused>> {
        let is_new = |column: &Column| column_changes::place(entry, &fold(&column.spelled)).is_none();
        if entry.columns.is_empty() || !table.columns.iter().any(is_new) {
            return Ok(Vec::new());
        }
        let definition = self.definitions.get(&entry.name);
        let retired = definition.map(Definition::retired_columns).unwrap_or_default();
        let mut found = Vec::new();
        let said = definition.map(Definition::renames).unwrap_or_default();
        for (old, new, apart) in column_names::reused_in_space(entry, table, &said) {
            column_names::reuse_name(entry, &old, &new, apart, &retired);
            found.push(Reused { old, new, is_certain: true });
        }
        found.extend(reused_names::find(self.tx, entry, table)?);
        Ok(found)
    }

    /// The places of columns outside the key that were dropped and added again since the last look.
    pub(super) fn added_again(
        &self,
        entry: &Entry,
        table: &Table,
        ours: &[(&str, &Trigger)],
    ) -> Result<Vec<usize>> {
        let mut added_again = column_changes::added_again(entry, table);
        added_again.retain(|at| table.key.iter().all(|key| key.at != *at));
        if kept_triggers(entry, ours) {
            return Ok(added_again);
        }
        // Whoever makes a table anew may put its columns in any order, so the rows have to say so, too.
        let mut certain = Vec::new();
        for at in added_again {
            if made_again::filled_column(self.tx, entry, table, at)? {
                certain.push(at);
            }
        }
        Ok(certain)
    }

    /// Records that columns went which the space has given up, where the table has new ones of their names.
    fn part_from_given_up(&self, entry: &mut Entry, table: &Table, ours: &[(&str, &Trigger)]) -> Result<()> {
        let retired = self.definitions.get(&entry.name).map(Definition::retired_columns).unwrap_or_default();
        if retired.is_empty() {
            return Ok(());
        }
        let added_again = self.added_again(entry, table, ours)?;
        let is_new = |entry: &Entry, at: usize| match ours {
            _ if kept_triggers(entry, ours) => made_again::column(self.tx, entry, table, at),
            [] => made_again::filled_column(self.tx, entry, table, at),
            _ => Ok(false),
        };
        for at in (0..table.columns.len()).filter(|at| table.key.iter().all(|key| key.at != *at)) {
            let name = fold(&table.columns[at].spelled);
            let is_given_up = column_changes::place(entry, &name).is_some()
                && retired.contains(column_names::travels(entry, &name));
            if is_given_up && (added_again.contains(&at) || is_new(entry, at)?) {
                tracing::info!(table = %table.spelled, column = name,
                    "a column that the space has given up was dropped, and a new one of its name was added");
                column_changes::went(entry, &name);
            }
        }
        Ok(())
    }

    /// Lets a new column travel by another name than its own, if a column that the space has given up, or one that is called
    /// otherwise now, travels by that. Returns whether there are any such columns.
    fn name_new_columns(&self, entry: &mut Entry, table: &Table) -> bool {
        let is_known = |name: &str| {
            entry.columns.iter().any(|known| known.place.is_some() && known.name.eq_ignore_ascii_case(name))
        };
        if entry.columns.is_empty() || table.columns.iter().all(|column| is_known(&column.spelled)) {
            return false;
        }
        let Some(definition) = self.definitions.get(&entry.name) else { return false };
        let before = entry.renames.clone();
        let mut retired = definition.retired_columns();
        // A column that was here before and is called otherwise now travels by that name.
        let stays = |name: &str| is_known(name) && table.called(name).is_some();
        let renamed = entry.renames.iter().filter(|(now, travels)| stays(now) && !is_known(travels));
        retired.extend(renamed.map(|(_, travels)| travels.clone()));
        entry.renames = column_names::rename_apart(table, &retired, Some(entry), before.clone());
        entry.renames != before
    }
}

/// Whether our triggers have been on a table since the last look, so that it was not made anew, and every write was marked.
/// `ours`: those that are there now.
fn kept_triggers(entry: &Entry, ours: &[(&str, &Trigger)]) -> bool {
    entry.state == State::Tracked && entry.rebuilt.is_none() && !ours.is_empty()
}
