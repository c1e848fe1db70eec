//! Columns that may be others under new names, where nothing tells for certain: `status` asks, and the user answers, at any later
//! time.
//!
//! Of a table that was altered, SQLite says which columns were renamed ([`super::column_list`]). Of one that was made anew, its
//! primary key says so for its own columns, and the rows for others ([`super::evidence::renamed_anew`]), where they tell.

use super::{Table, column_changes, column_names};
use crate::error::shell;
use crate::store::columns::KnownColumn;
use crate::store::fold;
use crate::store::renames::Renames;
use crate::store::tables::Entry;

/// A column that is gone and one that may be that under a new name. Names are folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Perhaps {
    pub(super) went: String,
    pub(super) came: String,
    /// Whether this look finds the new one where the other stood.
    pub(super) in_place: bool,
}

/// Pairs every column that is gone with every new column of the same change of the table. `is_new_look`: this look finds the change;
/// otherwise an earlier look recorded it.
pub(super) fn perhaps_renamed(entry: &Entry, table: &Table, is_new_look: bool) -> Vec<Perhaps> {
    let placed = if is_new_look { in_place(entry, table) } else { Vec::new() };
    let asked = open(entry);
    // Columns of the key are told by their places in it.
    let is_gone = |known: &&KnownColumn| table.called(&known.name).is_none() && known.key.is_none();
    let mut all = Vec::new();
    for name in table.columns.iter().map(|column| fold(&column.spelled)) {
        let known = entry.columns.iter().find(|known| known.name == name && known.place.is_some());
        let is_renamed = entry.renames.iter().any(|(now, _)| *now == name);
        for went in entry.columns.iter().filter(is_gone) {
            let with_it = match known {
                None => is_new_look && went.place.is_some(),
                Some(came) => !is_new_look && went.went == Some(came.came),
            };
            let is_among =
                |pairs: &[(String, String)]| pairs.iter().any(|(old, new)| *old == went.name && *new == name);
            let in_place = is_among(&placed);
            if in_place || is_among(&asked) || with_it && !is_renamed {
                all.push(Perhaps { went: went.name.clone(), came: name.clone(), in_place });
            }
        }
    }
    all
}

/// Columns that came with this look and stand where others stood that are gone: those, and these.
fn in_place(entry: &Entry, table: &Table) -> Vec<(String, String)> {
    let mut travelling = table.clone();
    travelling.rename(&entry.renames);
    let now: Vec<&str> = travelling.columns.iter().map(|column| &*column.name).collect();
    let before = column_changes::recorded(entry);
    if before.is_empty() {
        return Vec::new();
    }
    let (came_and_went, ..) = column_changes::pairs_in_place(&before, &now);
    let local = |(came, went): (String, String)| {
        let known =
            |known: &&KnownColumn| known.place.is_some() && column_names::travels(entry, &known.name) == went;
        let column = travelling.columns.iter().find(|column| column.name == came)?;
        Some((entry.columns.iter().find(known)?.name.clone(), fold(&column.spelled)))
    };
    came_and_went.into_iter().filter_map(local).collect()
}

/// Whether one column may be what the other was called before, both folded: they were never in the table together, and
/// the table has had the one.
pub(crate) fn may_be_renamed(entry: &Entry, old: &str, new: &str) -> bool {
    let known = |name: &str| entry.columns.iter().find(|known| known.name == name);
    match (known(old), known(new)) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(old), Some(new)) => {
            let end = |known: &KnownColumn| known.went.unwrap_or(i64::MAX);
            new.came >= end(old) || old.came >= end(new)
        }
    }
}

/// It was told that a column is another under a new name: that need not be asked about any more.
pub(crate) fn answer(entry: &mut Entry, old: &str, new: &str) {
    for known in &mut entry.columns {
        if known.name == new || known.was.as_deref() == Some(old) {
            known.was = None;
        }
    }
}

/// It was told that a column is not another under a new name: that is not asked again. The older one may be called by the name that it travels by. Returns whether it was asked.
pub(crate) fn deny(entry: &mut Entry, old: &str, new: &str) -> bool {
    let is_old = |was: &str| was == old || column_names::travels(entry, was) == old;
    let pair = open(entry).into_iter().find(|(was, name)| name == new && is_old(was));
    if pair.is_none() {
        return false;
    }
    for known in entry.columns.iter_mut().filter(|known| known.name == new) {
        known.was = None;
    }
    true
}

/// The columns of which it is asked whether they are others under new names: the others, and these.
pub(crate) fn open(entry: &Entry) -> Vec<(String, String)> {
    let asked = entry.columns.iter().filter(|known| known.place.is_some() && !known.waits_to_join());
    asked
        .filter_map(|known| Some((known.was.clone()?, known.name.clone())))
        .filter(|(was, name)| column_names::travels(entry, name) != *was)
        .collect()
}

/// Whether it is open whether the column `new` is `old` under another name.
pub(crate) fn was_asked(entry: &Entry, old: &str, new: &str) -> bool {
    entry.columns.iter().any(|known| known.name == new && known.was.as_deref() == Some(old))
}

/// Notes that the new column `new` may be `old` under another name; `status` asks.
pub(super) fn ask(entry: &mut Entry, old: &str, new: &str) {
    for known in entry.columns.iter_mut().filter(|known| known.name == new) {
        known.was = Some(old.to_owned());
    }
}

/// The columns that may be others under new names, which are gone: the names by which each travels and the other travelled.
pub(super) fn asked(entry: &Entry) -> Renames {
    let gone = open(entry).into_iter().filter(|(was, _)| column_changes::place(entry, was).is_none());
    let names = |(was, name): (String, String)| {
        let (was, name) = (column_names::travelled(entry, &was), column_names::travels(entry, &name));
        (was != name).then(|| (name.to_owned(), was.to_owned()))
    };
    gone.filter_map(names).collect()
}

/// What to ask the user about columns that may have been renamed.
pub(crate) fn questions(entry: &Entry, table: &str) -> Vec<String> {
    let asked = open(entry);
    let table = shell::word(table);
    let sentences = asked.iter().map(|(went, came)| {
        let (old, new) = (shell::word(went), shell::word(came));
        if column_changes::place(entry, went).is_some() {
            return format!(
                "column '{came}' came with the place or the values that '{went}' had, and '{went}' has others now: if '{went}' \
                 was renamed and its name given to a new column, say so with `driftless rename-column FILE {table} {old} {new}`; if not, with \
                 `driftless rename-column FILE {table} {old} {new} --no`"
            );
        }
        format!(
            "column '{went}' went and '{came}' came, which was taken for a dropped and an added column: if it was renamed, say \
             so with `driftless rename-column FILE {table} {old} {new}`, or what others write in '{went}' does not show here; \
             if '{went}' is gone for good, `driftless forget FILE {table} {old}`; if it is neither, `driftless rename-column FILE \
             {table} {old} {new} --no`"
        )
    });
    sentences.collect()
}
