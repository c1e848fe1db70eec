//! Columns that took over the names of other columns, as when two swap theirs: `RENAME a TO x; RENAME b TO a; RENAME x TO b`.
//! By its names such a table has the columns that it had, in another order, and other values in them.

use super::{Table, column_changes, column_names, rename_questions};
use crate::store::fold;
use crate::store::renames::Renames;
use crate::store::tables::Entry;

/// A column that has another name than at the last look, by its place. Names are folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Move {
    /// Its place among the columns.
    pub(crate) at: usize,
    /// Its name before.
    pub(crate) old: String,
    /// Its name now.
    pub(crate) new: String,
}

/// Puts those moves together of which one took the name that another gave up, each group in the order of the table.
pub(super) fn together(mut left: Vec<Move>) -> Vec<Vec<Move>> {
    let are_linked = |one: &Move, other: &Move| one.old == other.new || one.new == other.old;
    let mut groups = Vec::new();
    while let Some(first) = left.pop() {
        let mut moves = vec![first];
        while let Some(at) = left.iter().position(|one| moves.iter().any(|other| are_linked(one, other))) {
            moves.push(left.swap_remove(at));
        }
        moves.sort_by_key(|one| one.at);
        groups.push(moves);
    }
    groups.sort_by_key(|moves| moves[0].at);
    groups
}

/// Whether another column has, or had, the name that this one has now. A column that gets back a name of its own, which no other
/// column has, takes nothing over.
pub(super) fn is_taken_over(entry: &Entry, one: &Move) -> bool {
    if column_changes::place(entry, &one.new).is_some() {
        return true;
    }
    let was = entry.columns.iter().find(|known| known.name == one.old).and_then(|known| known.was.as_deref());
    let is_its_own = column_names::travels(entry, &one.old) == one.new || was == Some(&*one.new);
    let is_known = entry.columns.iter().any(|known| known.name == one.new)
        || entry.renames.iter().any(|(now, travels)| *travels == one.new && *now != one.new);
    is_known && !is_its_own
}

/// Records that columns were renamed together since the last look: each goes on travelling under the name that it had.
pub(super) fn record(entry: &mut Entry, moves: &[Move]) {
    set_renames(entry, moves);
    // Forgets columns that are gone and had one of these names: they could not be told apart from the columns that
    // have the name now.
    entry.columns.retain(|known| known.place.is_some() || moves.iter().all(|one| one.new != known.name));
    for known in entry.columns.iter_mut().filter(|known| known.place.is_some()) {
        if let Some(one) = moves.iter().find(|one| one.old == known.name) {
            known.name.clone_from(&one.new);
        }
    }
    // A column may be asked about whose earlier name another column has now. That other column's own earlier name is kept, so
    // that the answer tells the two apart.
    let asked: Vec<String> = rename_questions::open(entry).into_iter().map(|(was, _)| was).collect();
    for one in moves.iter().filter(|one| asked.contains(&one.new)) {
        rename_questions::ask(entry, &one.old, &one.new);
    }
}

fn set_renames(entry: &mut Entry, moves: &[Move]) {
    let travels: Vec<String> =
        moves.iter().map(|one| column_names::travels(entry, &one.old).to_owned()).collect();
    let is_moved = |name: &str| moves.iter().any(|one| one.old == name || one.new == name);
    entry.renames.retain(|(now, _)| !is_moved(now));
    for (one, travels) in moves.iter().zip(travels) {
        if one.new != travels {
            entry.renames.push((one.new.clone(), travels));
        }
    }
    for one in moves {
        let is_a_first_name = entry.renames.iter().any(|(_, travels)| *travels == one.new);
        let is_known = entry.columns.iter().any(|known| known.name == one.new && known.place.is_none());
        if is_known && !is_a_first_name {
            // An earlier column of this name wrote under it. This entry keeps those values apart from the column that has the name
            // now.
            entry.renames.push((column_names::first_of_name(&one.new), one.new.clone()));
        }
    }
    entry.renames.sort();
}

/// Tells that a column `new` is the one that was called `old` and asked about, before yet another column, which is there under
/// the name `old` now, took that over. Returns whether it is so.
pub(crate) fn tell_first(entry: &mut Entry, old: &str, new: &str) -> bool {
    let was = |name: &str| entry.columns.iter().find(|known| known.name == name)?.was.clone();
    let is_taken_over = was(old).is_some_and(|first| column_names::travels(entry, old) == first);
    if !is_taken_over || was(new).as_deref() != Some(old) {
        return false;
    }
    let travelled = column_names::travels(entry, new).to_owned();
    entry.renames.retain(|(now, _)| now != new);
    entry.renames.push((new.to_owned(), old.to_owned()));
    if travelled != new && travelled != old {
        // It is not this column's name any more, and what was written under it is this column's.
        entry.renames.push((travelled, old.to_owned()));
    }
    entry.renames.sort();
    rename_questions::answer(entry, old, new);
    true
}

/// Those of the renames by which a column has the name that was another's first. A file may have that other one under this name
/// still, so that they hold only where it is known that they do.
pub(crate) fn taken_over(renames: &Renames) -> Renames {
    let is_anothers = |name: &str| renames.iter().any(|(now, travels)| travels == name && now != name);
    let is_apart = |(now, travels): &(String, String)| column_names::is_named_apart(now, travels);
    renames.iter().filter(|rename| is_anothers(&rename.0) && !is_apart(rename)).cloned().collect()
}

/// The columns of a table that have other names to travel by: the names now, and those.
pub(super) fn renamed(table: &Table) -> Renames {
    let renamed = table.columns.iter().map(|column| (fold(&column.spelled), column.name.clone()));
    renamed.filter(|(now, travels)| now != travels).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_another_column_travels_by_is_taken_over() {
        let renames = |text: &str| -> Renames {
            let pairs = text.split(' ').filter_map(|pair| pair.split_once('>'));
            pairs.map(|(now, travels)| (now.to_owned(), travels.to_owned())).collect()
        };
        assert_eq!(taken_over(&renames("a>b b>a c>d")), renames("a>b b>a"));
        assert_eq!(taken_over(&renames("a>b c>a")), renames("a>b"));
        assert_eq!(taken_over(&renames("a>a#2 b>a c>d")), Renames::new());
    }
}
