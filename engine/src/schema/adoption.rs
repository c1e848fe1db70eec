//! What the space says of tables, taken over into what this file knows of them: whether deletes win, the kinds of columns, and
//! which columns were renamed.
//!
//! Files that were tracked apart may each have made statements about a table. All of them hold; where two contradict each other, the
//! one that is shown holds. They are then written again as one statement, so that no conflict is left.

use std::collections::BTreeSet;

use rusqlite::{Connection, Transaction};

use super::definitions::{self, Definition};
use super::{column_names, moved_names, names};
use crate::config::ColumnKind;
use crate::error::Result;
use crate::store::dirty::Why;
use crate::store::kinds::Kinds;
use crate::store::renames::Renames;
use crate::store::tables::{self, Entry, State};
use crate::store::{backlog, kinds, renames};

/// Takes over what the space says of every table. `now`: milliseconds since 1970. Returns whether a rename has to wait, until no table
/// is to be compared with its documents any more: then call it again.
pub(crate) fn adopt(tx: &Transaction<'_>, now: i64) -> Result<bool> {
    let mut waits = false;
    for definition in definitions::all(tx)? {
        match tables::find(tx, &definition.name)? {
            Some(entry) => waits |= adopt_table(tx, entry, &definition, now)?,
            None => {
                tables::add(tx, &definition.name, &definition.name, State::Unknown)?;
                if let Some(entry) = tables::find(tx, &definition.name)? {
                    names::note_named_apart(tx, &entry, &definition)?;
                }
            }
        }
    }
    Ok(waits)
}

/// Whether a rebuilt table, or some of its rows, is still to be compared with its documents.
pub(crate) fn awaits_comparison(connection: &Connection) -> Result<bool> {
    Ok(tables::any_rebuilt(connection)? || backlog::has(connection, Why::Rebuilt)?)
}

/// Returns whether a rename waits.
fn adopt_table(tx: &Transaction<'_>, mut entry: Entry, definition: &Definition, now: i64) -> Result<bool> {
    adopt_deletes(tx, &mut entry, definition)?;
    let said = Said::read(tx, &entry, definition)?;
    if definition.kinds.is_some() && entry.options.kinds != said.kinds {
        tracing::info!(table = %entry.spelled, "the space has different kinds for columns of this table");
        entry.options.kinds.clone_from(&said.kinds);
        tables::update(tx, &entry)?;
    }
    names::adopt_moved(tx, &mut entry, &said.renames, now)?;
    let mut waits = false;
    if definition.renames.is_some() {
        waits = joins_what_showed(&entry, &said.renames) && awaits_comparison(tx)?;
        if !waits {
            adopt_renames(tx, &mut entry, &said.renames)?;
        }
    }
    names::note_named_apart(tx, &entry, definition)?;
    said.restate(tx, definition, now)?;
    Ok(waits)
}

/// Whether a rename that the space tells joins a column that this table has shown already with what others wrote under its other
/// name. The table never showed those values, so that it cannot be compared with both together: what it shows would count as
/// an edit of them.
fn joins_what_showed(entry: &Entry, said: &Renames) -> bool {
    let has_shown = |name: &String| {
        let is_here = entry.columns.iter().any(|known| known.name == *name && known.place.is_some());
        is_here && !entry.fresh.contains(name)
    };
    renames_here(entry, said).iter().any(|rename| !entry.renames.contains(rename) && has_shown(&rename.0))
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
