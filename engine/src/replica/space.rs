//! The definitions that the space has of its tables: taken over, and made where a table is missing.

use rusqlite::Transaction;

use super::{Replica, begin};
use crate::config::{ColumnKind, TableOptions};
use crate::error::{Doing, Result};
use crate::schema::{column_changes, definitions};
use crate::store::renames::Renames;
use crate::store::tables::State;
use crate::store::{backlog, kinds, renames, tables};
use crate::time::now;
use crate::tracking::rule;

/// What is said of a table that is gone from the space for good.
const RETIRED: &str = "the table is gone for good: somebody said so with `driftless forget`";

impl Replica {
    /// Makes the tables that the space defines and that are not here, and tracks them. Returns their names.
    pub(crate) fn make_defined_tables(&mut self) -> Result<Vec<String>> {
        let defined = definitions::all(&self.connection)?;
        let mut made = Vec::new();
        for definition in defined {
            let is_there = crate::schema::introspect::table(&self.connection, definition.called())?.is_some();
            if definition.retired || is_there {
                continue;
            }
            definitions::create(&mut self.connection, &definition)?;
            // What one replica could track all can; a key that was allowed there is allowed here. Saying so where nobody
            // had to would only be news for everybody.
            let table = crate::schema::introspect::table(&self.connection, definition.called())?;
            let allow_integer_key = matches!(&table, Some(Ok(table)) if table.integer_key);
            let options = TableOptions { allow_integer_key, ..definition.options.clone() };
            self.track(&[definition.called()], options)?;
            made.push(definition.called().to_owned());
        }
        self.schema_version = None;
        Ok(made)
    }
}

impl Replica {
    /// Tracks tables that are made later and that the space knows: what a clone does.
    pub(crate) fn follow_space(&mut self) -> Result<()> {
        let tx = begin(&mut self.connection)?;
        rule::set_space(&tx)?;
        tx.commit().doing("writing the rule of a clone")
    }
}

/// Takes over the options that the space has for tables. Returns whether any changed.
pub(super) fn adopt_options(tx: &Transaction<'_>) -> Result<bool> {
    let mut renewed = false;
    for definition in &definitions::all(tx)? {
        let Some(mut entry) = tables::find(tx, &definition.name)? else {
            tables::add(tx, &definition.name, &definition.name, State::Unknown)?;
            continue;
        };
        if entry.options.deletes_win != definition.options.deletes_win {
            tracing::warn!(table = %entry.spelled, deletes_win = definition.options.deletes_win,
                "the space treats deletes of this table otherwise; its rows are judged again");
            entry.options.deletes_win = definition.options.deletes_win;
            tables::update(tx, &entry)?;
            backlog::refresh_table(tx, entry.id)?;
            renewed = true;
        }
        // Files that were tracked apart may each have said something: all of it holds, and of two that contradict each
        // other the one that is shown.
        let mut said = definition.clone();
        let mut kinds = definition.kinds();
        for other in definitions::standing(tx, &definition.name, "kinds")? {
            for (column, kind) in kinds::from_text(&other) {
                if kinds::of(&kinds, &column) == ColumnKind::Register {
                    kinds::set(&mut kinds, column, kind);
                }
            }
        }
        let mut renames = definition.renames();
        let others = definitions::standing(tx, &definition.name, "renames")?;
        for (now, travels) in others.iter().flat_map(|other| renames::from_text(other)) {
            if !renames.iter().any(|(known, _)| *known == now) {
                renames.push((now, travels));
            }
        }
        renames.sort();
        if definition.kinds.is_some() && entry.options.kinds != kinds {
            tracing::info!(table = %entry.spelled, "the space has other kinds for columns of this table");
            entry.options.kinds.clone_from(&kinds);
            tables::update(tx, &entry)?;
            renewed = true;
        }
        // A column that has been here all along is still the one that others have given up.
        let known = |now: &str| entry.columns.iter().any(|known| known.name == now && known.place.is_some());
        let own = |(now, travels): &&(String, String)| {
            let rename = entry.renames.iter().any(|(known, name)| known == now && name == travels);
            rename || !column_changes::is_named_apart(now, travels) || !known(now)
        };
        let here: Renames = renames.iter().filter(own).cloned().collect();
        if definition.renames.is_some() && entry.renames != here {
            tracing::info!(table = %entry.spelled, "columns of this table were renamed in the space");
            entry.renames = here;
            for column in &mut entry.columns {
                column.was =
                    column.was.take().filter(|_| !renames.iter().any(|(now, _)| *now == column.name));
            }
            tables::update(tx, &entry)?;
            // What was written under one of the names shows under the other.
            backlog::refresh_table(tx, entry.id)?;
            renewed = true;
        }
        let mut retired = definition.retired_columns();
        for other in definitions::standing(tx, &definition.name, "retired_columns")? {
            retired.extend(definitions::parse_retired(&other));
        }
        if retired != definition.retired_columns() {
            said.retire_columns(&retired);
        }
        if definition.retired && entry.state == State::Missing && entry.reason.as_deref() != Some(RETIRED) {
            entry.reason = Some(RETIRED.to_owned());
            tables::update(tx, &entry)?;
        }
        if kinds != definition.kinds() {
            said.kinds = Some(kinds::to_text(&kinds));
        }
        if renames != definition.renames() {
            said.renames = Some(renames::to_text(&renames));
        }
        if said != *definition {
            definitions::put(tx, &said, now())?;
            renewed = true;
        }
    }
    Ok(renewed)
}
