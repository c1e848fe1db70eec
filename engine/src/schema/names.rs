//! The names under which tables and columns travel: those that they were first tracked by anywhere. What is renamed goes on
//! under its first name. Where that is taken, by a table that was renamed away or by one that is gone from the space for
//! good, the next of the name travels as `name#2`, and so on: the same on all replicas that come to it by the same way.

use driftless_protocol::lane::MAX_COLUMN_BYTES;
use rusqlite::Transaction;

use crate::error::shell;
use crate::error::{Error, Result};
use crate::schema::column_changes;
use crate::schema::column_names;
use crate::schema::definitions::{self, Definition};
use crate::schema::rename_questions;
use crate::schema::{Table, installed, introspect, lifecycle, making, moved_names};
use crate::store::dirty::Why;
use crate::store::renames::{self, Renames};
use crate::store::tables::{self, Entry, State};
use crate::store::{backlog, fold, quote};

/// The name under which the table travels that is called `local` (folded) here, and what is known of it. `called`: the entry
/// of the table that is or was last called so here; `defined`: the name by which one travels that the space calls so.
pub(crate) fn of_table(
    tx: &Transaction<'_>,
    local: &str,
    called: Option<Entry>,
    defined: Option<&str>,
) -> Result<(Option<Entry>, String)> {
    let is_retired = |name: &str| -> Result<bool> {
        Ok(definitions::find(tx, name)?.is_some_and(|definition| definition.retired))
    };
    if let Some(entry) = called.filter(|entry| entry.state != State::Unknown)
        && (entry.state == State::Tracked || !is_retired(&entry.name)?)
    {
        let name = entry.name.clone();
        return Ok((Some(entry), name));
    }
    if let Some(name) = defined {
        let entry = tables::find(tx, name)?;
        // This file may have that table still, under an older name. Then the one that is called `local` is another table.
        let other = entry.as_ref().map(|entry| &*entry.spelled).filter(|spelled| fold(spelled) != local);
        if other.map(|other| introspect::table(tx, other)).transpose()?.flatten().is_none() {
            return Ok((entry, name.to_owned()));
        }
    }
    for n in 1.. {
        let name = column_names::nth_name(local, n);
        let entry = tables::find(tx, &name)?;
        // One that is called otherwise here was renamed, and its name is taken.
        let taken = entry
            .as_ref()
            .is_some_and(|entry| entry.state != State::Unknown && fold(&entry.spelled) != local);
        if !taken && !is_retired(&name)? {
            return Ok((entry, name));
        }
    }
    unreachable!("there are more names than tables")
}

/// What is known of a tracked table, and what it looks like.
fn tracked(tx: &Transaction<'_>, name: &str) -> Result<(Entry, Table)> {
    let not_tracked = || Error::NotTracked(name.to_owned());
    let known = tables::called(tx, &fold(name))?.filter(|entry| entry.state == State::Tracked);
    let entry = known.ok_or_else(not_tracked)?;
    Ok((entry, look(tx, name)?))
}

fn look(tx: &Transaction<'_>, name: &str) -> Result<Table> {
    let refuse = |refusal| Error::NotTrackable { table: name.to_owned(), refusal };
    introspect::table(tx, name)?.ok_or_else(|| Error::NotTracked(name.to_owned()))?.map_err(refuse)
}

/// Tells that a column was renamed, here and, when they hear of it, on all replicas of the space: it goes on travelling
/// under its first name. Renames it in the table if that has not been done; the next look at the tables records that, as it
/// does when the app renames a column.
pub(crate) fn rename_column(tx: &Transaction<'_>, name: &str, old: &str, new: &str, now: i64) -> Result<()> {
    let (mut entry, table) = tracked(tx, name)?;
    let (from, to) = (fold(old), fold(new));
    if moved_names::tell_first(&mut entry, &from, &to) {
        // The column now also shows what others wrote under its first name.
        backlog::refresh_table(tx, entry.id)?;
        return put_renames(tx, &entry, table, now);
    }
    check_rename(&entry, &table, old, new)?;
    if table.called(&from).is_none() && is_given_up(tx, &entry, &from)? {
        return cannot_rename(
            &entry,
            old,
            new,
            format!("the space has given '{old}' up for good (`driftless forget`)"),
        );
    }
    if table.called(&from).is_some() && table.called(&to).is_some() {
        return tell_reused_name(tx, entry, table, &from, &to, now);
    }
    if table.called(&from).is_some() {
        let sql = format!(
            "ALTER TABLE main.{} RENAME COLUMN {} TO {}",
            quote(&table.spelled),
            quote(old),
            quote(new)
        );
        let doing = "renaming a column";
        return tx
            .execute_batch(&sql)
            .or_else(|source| cannot_rename(&entry, old, new, making::refusal(doing, source)?));
    }
    let travels =
        entry.renames.iter().find(|(now, _)| *now == from).map_or(&from, |(_, travels)| travels).clone();
    let is_news = column_names::travelled(&entry, &to) != travels;
    column_names::join(&mut entry, &to, &travels);
    if is_news || rename_questions::was_asked(&entry, &from, &to) {
        rename_questions::answer(&mut entry, &from, &to);
    }
    // What was written under one of the names shows under the other.
    backlog::refresh_table(tx, entry.id)?;
    put_renames(tx, &entry, table, now)
}

/// Whether the space has given up the column of that name for good.
fn is_given_up(tx: &Transaction<'_>, entry: &Entry, name: &str) -> Result<bool> {
    let retired =
        definitions::find(tx, &entry.name)?.map(|known| known.retired_columns()).unwrap_or_default();
    let travels = column_names::travels(entry, name);
    Ok(retired.iter().any(|known| known == travels))
}

/// Tells that the column `new` is not `old` under another name, where `status` asks. Nothing changes but that it asks no more:
/// the two were taken for two columns until now.
pub(crate) fn deny_rename(tx: &Transaction<'_>, name: &str, old: &str, new: &str) -> Result<()> {
    let (mut entry, mut table) = tracked(tx, name)?;
    if !rename_questions::deny(&mut entry, &fold(old), &fold(new)) {
        return Err(Error::NothingAsked {
            asked: rename_questions::open(&entry),
            table: entry.spelled,
            old: old.to_owned(),
            new: new.to_owned(),
        });
    }
    tables::update(tx, &entry)?;
    table.rename(&entry.renames);
    // A running engine looks at its tables again when the schema has changed.
    installed::install(tx, entry.id, &table, false)
}

/// The time of values that are captured because a column turns out to be another one. Every write has a later time.
const NO_KNOWN_TIME: i64 = 0;

/// Records that the column `from` was renamed to `to`, and that a new column was named `from`. The rows of this file are
/// captured again: until now the two columns were taken for each other. What others wrote in `from` meanwhile may be of the
/// one or of the other, so it stands beside what this file has.
fn tell_reused_name(
    tx: &Transaction<'_>,
    mut entry: Entry,
    table: Table,
    from: &str,
    to: &str,
    now: i64,
) -> Result<()> {
    if is_reused(&entry, from, to) {
        return Ok(()); // it was found, or told before
    }
    let retired =
        definitions::find(tx, &entry.name)?.map(|known| known.retired_columns()).unwrap_or_default();
    column_names::reuse_name(&mut entry, from, to, None, &retired);
    rename_questions::answer(&mut entry, from, to);
    recapture(tx, &entry, table, now)
}

/// Tells the space which columns are which, as `entry` has it now, and captures the rows of this file again: until now columns
/// were taken for each other.
fn recapture(tx: &Transaction<'_>, entry: &Entry, table: Table, now: i64) -> Result<()> {
    lifecycle::look_because(tx, entry.id, &table, Why::Told, NO_KNOWN_TIME)?;
    put_renames(tx, entry, table, now)
}

/// Tells the space which columns are which, as `entry` has it now.
fn put_renames(tx: &Transaction<'_>, entry: &Entry, mut table: Table, now: i64) -> Result<()> {
    tables::update(tx, entry)?;
    table.rename(&entry.renames);
    let definition = Definition {
        renames: Some(renames::to_text(&entry.renames)),
        ..Definition::of(&entry.name, &table, &entry.options)
    };
    definitions::put(tx, &definition, now)?;
    // A running engine looks at its tables again when the schema has changed.
    installed::install(tx, entry.id, &table, false)
}

/// Takes over what the space says of columns that this file asks about, where names of others were taken over. `said`: the
/// renames of the space.
pub(crate) fn adopt_moved(tx: &Transaction<'_>, entry: &mut Entry, said: &Renames, now: i64) -> Result<()> {
    for (old, new) in rename_questions::open(entry) {
        let is_said = said.iter().any(|(now, travels)| *now == new && *travels == old);
        if is_said
            && moved_names::tell_first(entry, &old, &new)
            && let Some(Ok(table)) = introspect::table(tx, &entry.spelled)?
        {
            backlog::refresh_table(tx, entry.id)?;
            put_renames(tx, entry, table, now)?;
        }
    }
    Ok(())
}

/// Whether it is known that a column is called `to` now, and that the one called `from` is another.
fn is_reused(entry: &Entry, from: &str, to: &str) -> bool {
    let apart =
        entry.renames.iter().any(|(now, name)| now == from && column_names::is_named_apart(now, name));
    apart
        && entry
            .renames
            .iter()
            .any(|(now, name)| now == to && (name == from || column_names::is_named_apart(from, name)))
}

fn cannot_rename(entry: &Entry, old: &str, new: &str, why: String) -> Result<()> {
    let table = entry.spelled.clone();
    Err(Error::CannotRename { table, old: old.to_owned(), new: new.to_owned(), why })
}

/// Whether it can be told that the column `old` is called `new`.
fn check_rename(entry: &Entry, table: &Table, old: &str, new: &str) -> Result<()> {
    let (from, to) = (fold(old), fold(new));
    let why_not = if from == to {
        Some("that is the same name".to_owned())
    } else if to.is_empty() || to.len() > MAX_COLUMN_BYTES {
        Some(format!("a column's name has 1 to {MAX_COLUMN_BYTES} bytes"))
    } else {
        match (table.called(&from), table.called(&to)) {
            (Some(_), Some(_)) if is_reused(entry, &from, &to) => None,
            (Some(older), Some(newer)) => why_not_reused(entry, table, (old, older), (new, newer)),
            (Some(_), None) => None,
            (None, _) => why_not_renamed(entry, table, old, new),
        }
    };
    why_not.map_or(Ok(()), |why| cannot_rename(entry, old, new, why))
}

/// Why a column that the table has is not another one of it whose name it got. Each is given with its place.
fn why_not_reused(
    entry: &Entry,
    table: &Table,
    (old, older): (&str, usize),
    (new, newer): (&str, usize),
) -> Option<String> {
    let came = |name: &str| {
        let name = fold(name);
        entry.columns.iter().find(|known| known.name == name).map(|known| known.came)
    };
    let in_key = |at: usize| table.key.iter().any(|key| key.at == at);
    if came(new) <= came(old) {
        Some(format!(
            "the table has both columns, and '{new}' was not added after '{old}', so it is a different column"
        ))
    } else if in_key(older) || in_key(newer) {
        Some("the table has both columns, and one is in its primary key".to_owned())
    } else if entry.renames.iter().any(|(now, _)| *now == fold(new)) {
        Some(format!("the table has both columns, and '{new}' was something else before"))
    } else {
        None
    }
}

/// Why a column that the table no longer has is not called `new` now.
fn why_not_renamed(entry: &Entry, table: &Table, old: &str, new: &str) -> Option<String> {
    let (from, to) = (fold(old), fold(new));
    let is_called_now = |(now, travels): &&(String, String)| *travels == from && table.called(now).is_some();
    if let Some((now, _)) = entry.renames.iter().find(is_called_now).filter(|(now, _)| *now != to) {
        return Some(format!("it was renamed before: it is '{now}' now"));
    }
    let is_known = entry.columns.iter().any(|column| column.name == from)
        || entry.renames.iter().any(|(now, travels)| *now == from || *travels == from);
    if !is_known {
        return Some(format!("the table never had a column '{old}'"));
    }
    if table.called(&to).is_none() && entry.columns.iter().all(|column| column.name != to) {
        return Some(format!("the table has neither '{old}' nor '{new}'"));
    }
    let may_be = match entry.renames.iter().find(|(now, _)| *now == to) {
        Some((_, travels)) if travels == column_names::travelled(entry, &from) => true,
        // It was renamed before, while it was open which column it is.
        Some((_, travels)) => {
            !column_names::is_named_apart(&to, travels)
                && column_changes::place(entry, travels).is_none()
                && rename_questions::was_asked(entry, &from, &to)
        }
        None => rename_questions::may_be_renamed(entry, &from, &to),
    };
    (!may_be).then(|| format!("the table had both at one time, so '{new}' is another column"))
}

/// Gives a table up for the whole space: clones no longer make it, and a later table of that name begins empty. Its rows
/// stay in files that still have it. Returns what it was called.
///
/// Fails with [`Error::CannotForget`] while this file has the table, and with [`Error::NotTracked`] if the space knows no
/// such table.
pub(crate) fn forget_table(tx: &Transaction<'_>, name: &str, now: i64) -> Result<String> {
    let local = fold(name);
    let cannot = |why: &str| Error::CannotForget { what: format!("table '{name}'"), why: why.to_owned() };
    if introspect::table(tx, name)?.is_some() {
        return Err(cannot("this file still has it; drop it first"));
    }
    let entry = tables::called(tx, &local)?;
    let here = entry.map(|entry| definitions::find(tx, &entry.name)).transpose()?.flatten();
    // The space may know several tables by this name: those that were forgotten, and one that was made after them.
    let named = definitions::all(tx)?.into_iter().filter(|known| fold(known.called()) == local);
    let (forgotten, known): (Vec<_>, Vec<_>) = here.into_iter().chain(named).partition(|known| known.retired);
    let definition = match known.into_iter().next() {
        Some(definition) => definition,
        None if forgotten.is_empty() => return Err(Error::NotTracked(name.to_owned())),
        None => return Err(cannot("that has been done")),
    };
    let name = definition.called().to_owned();
    definitions::put(tx, &Definition { retired: true, ..definition }, now)?;
    Ok(name)
}

/// Notes, for `status`, how a table comes into this file that only others have and whose name another table had first.
pub(crate) fn note_named_apart(tx: &Transaction<'_>, entry: &Entry, definition: &Definition) -> Result<()> {
    let called = definition.called();
    if entry.state != State::Unknown || fold(called) == definition.name {
        return Ok(());
    }
    let word = shell::word(called);
    let namesake = definitions::find(tx, &fold(called))?;
    let note = if namesake.is_some_and(|known| known.retired) {
        format!(
            "it is called '{called}' where it is; the one that had that name before was given up there, by `driftless forget` or \
             for another primary key: make the same change here, then `driftless track FILE {word}`; to drop the old one \
             instead, let a sync see that before you make the new one"
        )
    } else {
        format!(
            "it is called '{called}' where it is; the one that had that name before was renamed there: rename it here too, and \
             then make this one"
        )
    };
    tables::set_reason(tx, entry.id, Some(&note))
}

/// Gives a column of a tracked table up for the whole space: a later column of that name begins empty, and nobody is asked
/// any more whether it was renamed. Files that still have it keep it. Returns the table's name.
///
/// Fails with [`Error::NotTracked`] on a table that is not tracked here, and with [`Error::CannotForget`] while it has the
/// column, or if it never had it.
pub(crate) fn forget_column(tx: &Transaction<'_>, name: &str, column: &str, now: i64) -> Result<String> {
    let (mut entry, mut table) = tracked(tx, name)?;
    let local = fold(column);
    let cannot = |why: String| Error::CannotForget {
        what: format!("column '{column}' of table '{}'", entry.spelled),
        why,
    };
    if table.called(&local).is_some() {
        return Err(cannot("the table still has it; drop it first".to_owned()));
    }
    if entry.columns.iter().all(|known| known.name != local) {
        return Err(cannot("the table never had it".to_owned()));
    }
    let travels =
        entry.renames.iter().find(|(now, _)| *now == local).map_or(&local, |(_, travels)| travels).clone();
    table.rename(&entry.renames);
    if table.columns.iter().any(|column| column.name == travels) {
        let now =
            table.columns.iter().find(|column| column.name == travels).map_or("", |column| &column.spelled);
        return Err(cannot(format!("it was renamed: it is '{now}' now")));
    }
    let mut definition = definitions::find(tx, &entry.name)?
        .unwrap_or_else(|| Definition::of(&entry.name, &table, &entry.options));
    let mut retired = definition.retired_columns();
    if !retired.insert(travels) {
        return Err(cannot("that has been done".to_owned()));
    }
    definition.retire_columns(&retired);
    for known in &mut entry.columns {
        known.was = known.was.take().filter(|was| *was != local);
    }
    tables::update(tx, &entry)?;
    definitions::put(tx, &definition, now)?;
    // A running engine looks at its tables again when the schema has changed.
    installed::install(tx, entry.id, &table, false)?;
    Ok(entry.spelled)
}
