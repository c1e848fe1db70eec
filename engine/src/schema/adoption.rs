//! What the space says of tables, taken over into what this file knows of them: whether deletes win, the kinds of columns, and
//! which columns were renamed.
//!
//! Files that were tracked apart may each have made statements about a table. All of them hold; where two contradict each other, the
//! one that is shown holds. They are then written again as one statement, so that no conflict is left.

use std::collections::BTreeSet;

use rusqlite::Transaction;

use super::definitions::{self, Definition};
use super::{column_names, moved_names, names};
use crate::config::ColumnKind;
use crate::error::Result;
use crate::store::kinds::Kinds;
use crate::store::renames::Renames;
use crate::store::tables::{self, Entry, State};
use crate::store::{backlog, kinds, renames};

/// Takes over what the space says of every table. `now`: milliseconds since 1970.
pub(crate) fn adopt(tx: &Transaction<'_>, now: i64) -> Result<()> {
    for definition in definitions::all(tx)? {
        match tables::find(tx, &definition.name)? {
            Some(entry) => adopt_table(tx, entry, &definition, now)?,
            None => {
                tables::add(tx, &definition.name, &definition.name, State::Unknown)?;
                if let Some(entry) = tables::find(tx, &definition.name)? {
                    names::note_named_apart(tx, &entry, &definition)?;
                }
            }
        }
    }
    Ok(())
}

fn adopt_table(tx: &Transaction<'_>, mut entry: Entry, definition: &Definition, now: i64) -> Result<()> {
    adopt_deletes(tx, &mut entry, definition)?;
    let said = Said::read(tx, &entry, definition)?;
    if definition.kinds.is_some() && entry.options.kinds != said.kinds {
        tracing::info!(table = %entry.spelled, "the space has other kinds for columns of this table");
        entry.options.kinds.clone_from(&said.kinds);
        tables::update(tx, &entry)?;
    }
    names::adopt_moved(tx, &mut entry, &said.renames, now)?;
    if definition.renames.is_some() {
        adopt_renames(tx, &mut entry, &said.renames)?;
    }
    names::note_named_apart(tx, &entry, definition)?;
    said.restate(tx, definition, now)
}

fn adopt_deletes(tx: &Transaction<'_>, entry: &mut Entry, definition: &Definition) -> Result<()> {
    let deletes_win = definition.options.deletes_win;
    if entry.options.deletes_win == deletes_win {
        return Ok(());
    }
    tracing::warn!(table = %entry.spelled, deletes_win,
        "the space treats deletes of this table otherwise; its rows are judged again");
    entry.options.deletes_win = deletes_win;
    tables::update(tx, entry)?;
    backlog::refresh_table(tx, entry.id)
}

/// What all files together say of a table.
struct Said {
    kinds: Kinds,
    renames: Renames,
    retired: BTreeSet<String>,
}

impl Said {
    fn read(tx: &Transaction<'_>, entry: &Entry, definition: &Definition) -> Result<Self> {
        let mut kinds = definition.kinds();
        for other in definitions::standing(tx, &definition.name, "kinds")? {
            for (column, kind) in kinds::from_text(&other) {
                if kinds::of(&kinds, &column) == ColumnKind::Register {
                    kinds::set(&mut kinds, column, kind);
                }
            }
        }
        let mut said = definition.renames();
        let others = definitions::standing(tx, &definition.name, "renames")?;
        for (now, travels) in others.iter().flat_map(|other| renames::from_text(other)) {
            if !said.iter().any(|(known, _)| *known == now) {
                said.push((now, travels));
            }
        }
        said.sort();
        let mut retired = definition.retired_columns();
        for other in definitions::standing(tx, &definition.name, "retired_columns")? {
            retired.extend(definitions::parse_retired(&other));
        }
        Ok(Self { kinds, renames: column_names::joined(entry, &said), retired })
    }

    /// Says it as one statement, if it was none.
    fn restate(&self, tx: &Transaction<'_>, definition: &Definition, now: i64) -> Result<()> {
        let mut stated = definition.clone();
        if self.retired != definition.retired_columns() {
            stated.retire_columns(&self.retired);
        }
        if self.kinds != definition.kinds() {
            stated.kinds = Some(kinds::to_text(&self.kinds));
        }
        if self.renames != definition.renames() {
            stated.renames = Some(renames::to_text(&self.renames));
        }
        if stated == *definition { Ok(()) } else { definitions::put(tx, &stated, now) }
    }
}

fn adopt_renames(tx: &Transaction<'_>, entry: &mut Entry, said: &Renames) -> Result<()> {
    let here = renames_here(entry, said);
    if entry.renames == here {
        return Ok(());
    }
    tracing::info!(table = %entry.spelled, "columns of this table were renamed in the space");
    entry.renames = here;
    for column in &mut entry.columns {
        if !column.waits_to_join() && said.iter().any(|(now, _)| *now == column.name) {
            column.was = None;
        }
    }
    tables::update(tx, entry)?;
    // What was written under one of the names shows under the other.
    backlog::refresh_table(tx, entry.id)
}

/// The renames that hold in this file: of those that the space has, and of its own.
fn renames_here(entry: &Entry, said: &Renames) -> Renames {
    // A column that has been here all along is still the one that others have given up.
    let known = |now: &str| entry.columns.iter().any(|known| known.name == now && known.place.is_some());
    // Unless another column here is what that one is called now.
    let is_called_otherwise = |name: &str| {
        said.iter().any(|(now, travels)| {
            now != name && known(now) && (travels == name || column_names::is_named_apart(name, travels))
        })
    };
    // Where a column took over the name of another elsewhere, this file may have that other one still: it finds out when it
    // has not.
    let taken_over = moved_names::taken_over(said);
    let holds = |rename: &&(String, String)| {
        let (now, travels) = rename;
        entry.renames.contains(rename)
            || !known(now)
            || is_called_otherwise(now) && column_names::is_named_apart(now, travels)
            || !column_names::is_named_apart(now, travels) && !taken_over.contains(rename)
    };
    let mut here: Renames = said.iter().filter(holds).cloned().collect();
    // It goes on under the name that it has had here, whichever that was.
    let taken_over_here = moved_names::taken_over(&entry.renames);
    let is_another_there = |name: &str| {
        said.iter().any(|(now, travels)| now == name && column_names::is_named_apart(now, travels))
    };
    let kept = entry.renames.iter().filter(|rename| {
        let (now, travels) = rename;
        (column_names::is_named_apart(now, travels)
            || taken_over_here.contains(rename)
            || is_another_there(now))
            && known(now)
            && here.iter().all(|(other, _)| other != now)
    });
    here.extend(kept.cloned().collect::<Renames>());
    here.sort();
    here
}
