//! Under which names the columns of a table travel, where their own names changed hands since the last look: columns that were
//! renamed together, whose names new ones have now, or that were dropped and added again.

use super::column_changes;
use super::definitions::Definition;
use super::evidence::moved_names::Answer;
use super::evidence::reused_names::Reused;
use super::evidence::{self, made_again, reused_names};
use super::moved_names::{self, Move};
use super::renewal::Renewal;
use super::triggers::Trigger;
use super::{Column, Table};
use crate::error::Result;
use crate::store::fold;
use crate::store::tables::{Entry, State};

/// What a look found out about the names of a table's columns.
pub(super) struct Names {
    /// Whether columns were renamed together, so that one has the name of another.
    moved: bool,
    /// Columns that may have been: the user is asked.
    doubtful: Vec<Vec<Move>>,
    /// Columns that were renamed and whose names others have now; where that is not certain, the user is asked.
    reused: Vec<Reused>,
    /// Whether a column travels by another name than its own, and did not before.
    pub(super) renamed_apart: bool,
}

impl Names {
    /// Whether a column that seems to have been dropped and added again is just that.
    pub(super) fn let_columns_return(&self) -> bool {
        !self.moved && self.doubtful.is_empty() && self.reused.iter().all(|reused| reused.is_certain)
    }

    /// Notes the questions for the user.
    pub(super) fn ask(&self, entry: &mut Entry) {
        for reused in self.reused.iter().filter(|reused| !reused.is_certain) {
            column_changes::ask(entry, &reused.old, &reused.new);
        }
        self.doubtful.iter().for_each(|moves| moved_names::ask(entry, moves));
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
        let (moved, doubtful) = self.find_moved(entry, table, ours)?;
        let reused = self.find_reused(entry, table, ours)?;
        self.part_from_given_up(entry, table, ours)?;
        let named = self.name_new_columns(entry, table);
        let renamed_apart = named || moved || reused.iter().any(|reused| reused.is_certain);
        Ok(Names { moved, doubtful, reused, renamed_apart })
    }

    /// Finds columns that were renamed together, so that one has the name of another, and records those of which that is
    /// certain: by what they hold, or because the space says so. Returns whether there are any, and those to ask about.
    fn find_moved(
        &self,
        entry: &mut Entry,
        table: &Table,
        ours: &[(&str, &Trigger)],
    ) -> Result<(bool, Vec<Vec<Move>>)> {
        if entry.columns.is_empty() || !kept_triggers(entry, ours) {
            return Ok((false, Vec::new()));
        }
        let (mut any, mut doubtful) = (false, Vec::new());
        let said = self.definitions.get(&entry.name).map(Definition::renames).unwrap_or_default();
        for found in moved_names::since_last_look(entry, table) {
            let is_told = || moved_names::are_in_space(entry, &found.moves, &said);
            match evidence::moved_names::find(self.tx, entry, table, &found)? {
                Answer::NotRenamed => {}
                Answer::Unclear if !found.is_only_explanation => {}
                Answer::Unclear if !is_told() => doubtful.push(found.moves),
                Answer::Unclear | Answer::Renamed => {
                    let names: Vec<String> =
                        found.moves.iter().map(|one| format!("'{}' is '{}' now", one.old, one.new)).collect();
                    tracing::info!(table = %table.spelled, "columns took over the names of others: {}", names.join(", "));
                    moved_names::record(entry, &found.moves);
                    any = true;
                }
            }
        }
        Ok((any, doubtful))
    }

    /// Finds columns whose names others have now, and records those of which that is certain: because the space says so, or
    /// by what they hold.
    fn find_reused(
        &self,
        entry: &mut Entry,
        table: &Table,
        ours: &[(&str, &Trigger)],
    ) -> Result<Vec<Reused>> {
        let is_new = |column: &Column| column_changes::place(entry, &fold(&column.spelled)).is_none();
        if entry.columns.is_empty() || !table.columns.iter().any(is_new) {
            return Ok(Vec::new());
        }
        let definition = self.definitions.get(&entry.name);
        let retired = definition.map(Definition::retired_columns).unwrap_or_default();
        let mut found = Vec::new();
        let said = definition.map(Definition::renames).unwrap_or_default();
        for (old, new, apart) in column_changes::reused_in_space(entry, table, &said) {
            column_changes::reuse_name(entry, &old, &new, apart, &retired);
            found.push(Reused { old, new, is_certain: true });
        }
        for reused in reused_names::find(self.tx, entry, table, kept_triggers(entry, ours))? {
            if reused.is_certain {
                tracing::warn!(table = %table.spelled, old = reused.old, new = reused.new,
                    "a column was renamed and its name given to a new one");
                column_changes::reuse_name(entry, &reused.old, &reused.new, None, &retired);
            }
            found.push(reused);
        }
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
                && retired.contains(column_changes::travels(entry, &name));
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
        entry.renames = column_changes::rename_apart(table, &retired, Some(entry), before.clone());
        entry.renames != before
    }
}

/// Whether our triggers have been on a table since the last look, so that it was not made anew, and every write was marked.
/// `ours`: those that are there now.
fn kept_triggers(entry: &Entry, ours: &[(&str, &Trigger)]) -> bool {
    entry.state == State::Tracked && entry.rebuilt.is_none() && !ours.is_empty()
}
