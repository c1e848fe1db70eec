//! The names under which the columns of a table travel: those that they were first tracked by. A column that is renamed goes on under
//! its first name, one whose name another has travels as `name#2`, and renames that follow each other are joined.

use std::collections::BTreeSet;

use super::column_list::Listed;
use super::moved_names::{self, Move};
use super::{Table, column_changes, rename_questions};
use crate::store::columns::KnownColumn;
use crate::store::fold;
use crate::store::renames::Renames;
use crate::store::tables::Entry;

/// The renames that hold in a table. One does not while the table has a column of the first name as well, unless that one
/// travels by another name itself, or while an earlier one gives another column the same name to travel by. `has`: whether
/// the table has a column that is called so.
pub(crate) fn in_force(renames: &Renames, has: impl Fn(&str) -> bool) -> Renames {
    let mut holding = renames.clone();
    loop {
        let travels_elsewhere = |name: &str| holding.iter().any(|(now, _)| now == name);
        let taken =
            holding.iter().position(|(now, travels)| has(now) && has(travels) && !travels_elsewhere(travels));
        let taken_twice = || {
            (1..holding.len()).find(|at| {
                let (now, travels) = &holding[*at];
                has(now) && holding[..*at].iter().any(|(other, known)| known == travels && has(other))
            })
        };
        match taken.or_else(taken_twice) {
            Some(at) => holding.remove(at),
            None => return holding,
        };
    }
}

/// Those of the renames by which what was written under the name now is what the column of the first name has: not those that
/// only set a column apart from one of its name that is gone for good, nor those whose name now is another column's first.
pub(crate) fn merging(renames: &Renames) -> Renames {
    let is_a_first_name = |name: &str| renames.iter().any(|(now, travels)| travels == name && now != name);
    let merges = |(now, travels): &&(String, String)| !is_named_apart(now, travels) && !is_a_first_name(now);
    renames.iter().filter(merges).cloned().collect()
}

/// Those of a table's fresh columns that it has not had from the beginning. Another was dropped and added again between two looks: what
/// documents hold of it, it had shown.
pub(super) fn new_here(entry: &Entry) -> Vec<String> {
    let came_later = |fresh: &&String| {
        let here = entry.columns.iter().filter(|known| known.place.is_some() && known.came > 0);
        here.map(|known| travels(entry, &known.name)).any(|travelling| travelling == **fresh)
    };
    entry.fresh.iter().filter(came_later).cloned().collect()
}

/// The name by which a column travels that the table called so at the last look.
pub(crate) fn travels<'a>(entry: &'a Entry, name: &'a str) -> &'a str {
    let has = |name: &str| entry.columns.iter().any(|known| known.place.is_some() && known.name == name);
    let Some((_, travels)) = entry.renames.iter().find(|(now, _)| now == name) else { return name };
    // Nearly always the table has no column of that name, or one that is named apart.
    let holds = !has(travels)
        || has_another_name(&entry.renames, travels)
        || in_force(&entry.renames, has).iter().any(|(now, _)| now == name);
    if holds { travels } else { name }
}

/// The name by which a column travelled that the table may no longer have.
pub(crate) fn travelled<'a>(entry: &'a Entry, name: &'a str) -> &'a str {
    entry.renames.iter().find(|(now, _)| now == name).map_or(name, |(_, travels)| travels)
}

/// Whether the column `name` travels as `name#2` or the like.
pub(super) fn has_another_name(renames: &[(String, String)], name: &str) -> bool {
    renames.iter().any(|(now, travels)| now == name && is_named_apart(now, travels))
}

/// Takes over which columns were renamed, as SQLite says: each goes on travelling under the name that it had. Returns which.
pub(super) fn take_over(entry: &mut Entry, table: &Table, listed: &[Listed]) -> Vec<Move> {
    if listed.iter().all(|one| one.old == one.new) {
        return Vec::new();
    }
    let now: Vec<String> = table.columns.iter().map(|column| fold(&column.spelled)).collect();
    let (listed, dropped): (Vec<&Listed>, Vec<&Listed>) =
        listed.iter().partition(|one| !is_dropped(&now, listed, one));
    for one in dropped.into_iter().filter(|one| now.contains(&one.old)) {
        column_changes::went(entry, &one.old); // another column has its name now
    }
    let renamed = listed.into_iter().filter(|one| one.old != one.new).filter_map(|Listed { old, new }| {
        let at = column_changes::place(entry, old)?;
        Some(Move { at, old: old.clone(), new: new.clone() })
    });
    let renamed: Vec<Move> = renamed.collect();
    for moves in moved_names::together(renamed.clone()) {
        match &moves[..] {
            [one] if !moved_names::is_taken_over(entry, one) => {
                rename(entry, &one.old, &one.new);
                let renamed = entry.columns.iter_mut().filter(|known| known.name == one.new);
                renamed.for_each(KnownColumn::postpone_joining);
            }
            moves => moved_names::record(entry, moves),
        }
    }
    renamed
}

/// Whether a listed column was dropped. `now`: the names of the table's columns. A dropped column stays in the list, so if another
/// column has its name now, both are listed under that name. `ALTER TABLE` moves no column, so the order of the table's columns tells
/// which of the two was dropped. If it does not, the one whose name changed is taken for the one that is there.
fn is_dropped(now: &[String], listed: &[Listed], one: &Listed) -> bool {
    let namesakes: Vec<&Listed> = listed.iter().filter(|other| other.new == one.new).collect();
    if namesakes.len() == 1 || !now.contains(&one.new) {
        return !now.contains(&one.new);
    }
    let stands_with = |chosen: &Listed| {
        let stayed = listed.iter().filter(|other| other.new != chosen.new || std::ptr::eq(*other, chosen));
        let mut names = stayed.map(|other| &other.new).filter(|name| now.contains(name)).zip(now);
        names.all(|(name, now)| name == now)
    };
    let is_there = |other: &Listed| (stands_with(other), other.old != other.new);
    let there = namesakes.into_iter().max_by_key(|other| is_there(other));
    there.is_some_and(|there| !std::ptr::eq(there, one))
}

/// The renames, without those whose columns still wait to join what others wrote under their new names.
pub(super) fn without_waiting(entry: &Entry, mut renames: Renames) -> Renames {
    let waits = |now: &String| entry.columns.iter().any(|known| known.name == *now && known.waits_to_join());
    renames.retain(|(now, _)| !waits(now));
    renames
}

/// Records that the column `old`, which is gone, is called `new` now.
pub(super) fn renamed(entry: &mut Entry, old: &str, new: &str) {
    if column_changes::place(entry, new).is_none() {
        return rename(entry, old, new);
    }
    let travels = travelled(entry, old).to_owned();
    join(entry, new, &travels);
    rename_questions::answer(entry, old, new);
}

/// Records that the column which is or was called `name` travels as `travels`. Until now it may have travelled under another name:
/// what was written under that name belongs to the same column, and so does every name that travelled as that one.
pub(crate) fn join(entry: &mut Entry, name: &str, travels: &str) {
    let before = travelled(entry, name).to_owned();
    if !is_named_apart(name, &before) {
        for (now, known) in &mut entry.renames {
            if *known == before && now != travels {
                travels.clone_into(known);
            }
        }
        if before != name && column_changes::place(entry, &before).is_none() {
            entry.renames.push((before, travels.to_owned()));
        }
    }
    entry.renames.retain(|(now, _)| now != name);
    entry.renames.push((name.to_owned(), travels.to_owned()));
    entry.renames.retain(|(now, travels)| now != travels);
    entry.renames.sort();
    entry.renames.dedup();
}

/// Records that the column `old` is called `new` now, a name that no other column has or had.
fn rename(entry: &mut Entry, old: &str, new: &str) {
    let travels = travels(entry, old).to_owned();
    // Where another column travels by the old name, what is written under that is the other's.
    let is_anothers = entry.renames.iter().any(|(now, known)| known == old && now != old);
    entry.renames.retain(|(now, _)| now != new && !(is_anothers && now == old));
    if travels != new {
        entry.renames.push((new.to_owned(), travels));
        entry.renames.sort();
    }
    entry.columns.retain(|known| known.name != new);
    for known in entry.columns.iter_mut().filter(|known| known.name == old) {
        new.clone_into(&mut known.name);
    }
}

/// The n-th name of what is called so: the first is the name itself.
pub(crate) fn nth_name(name: &str, n: u32) -> String {
    if n <= 1 { name.to_owned() } else { format!("{name}#{n}") }
}

/// A name that no column has, for the first column of a name that another has now.
pub(super) fn first_of_name(name: &str) -> String {
    format!("{name}#1")
}

/// Whether a column travels as `name#2` or the like: an older column has its name in the space, and was forgotten or renamed.
pub(crate) fn is_named_apart(now: &str, travels: &str) -> bool {
    let number = travels.strip_prefix(now).and_then(|rest| rest.strip_prefix('#'));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// What has to be added to `renames`, so that a column which is new in a table does not travel under the name of one that
/// is gone for good.
pub(crate) fn rename_apart(
    table: &Table,
    retired: &BTreeSet<String>,
    entry: Option<&Entry>,
    mut renames: Renames,
) -> Renames {
    for column in &table.columns {
        let local = fold(&column.spelled);
        let is_known = entry.is_some_and(|entry| {
            entry.columns.iter().any(|known| known.name == local && known.place.is_some())
        });
        let travels = renames.iter().find(|(now, _)| *now == local).map_or(&local, |(_, travels)| travels);
        if is_known || !retired.contains(travels) {
            continue;
        }
        let free = (2..).map(|n| nth_name(&local, n)).find(|name| !retired.contains(name));
        renames.retain(|(now, _)| *now != local);
        renames.extend(free.map(|free| (local, free)));
        renames.sort();
    }
    renames
}

/// Records that the column `old` is called `new` now, and that the one which is called `old` now is another: it travels apart,
/// under the name `apart` or the next that is free. All folded; neither column is in the key.
pub(crate) fn reuse_name(
    entry: &mut Entry,
    old: &str,
    new: &str,
    apart: Option<String>,
    retired: &BTreeSet<String>,
) {
    let known = entry.renames.iter().find(|(now, _)| now == old);
    let travels = known.map_or(old, |(_, travels)| travels).to_owned();
    let is_used = |name: &String| {
        retired.contains(name)
            || entry.renames.iter().any(|(_, travels)| travels == name)
            || entry.columns.iter().any(|known| known.name == *name)
    };
    let free = || (2..).map(|n| nth_name(old, n)).find(|name| !is_used(name));
    let apart = apart.or_else(free);
    entry.renames.retain(|(now, _)| now != old && now != new);
    if travels != new {
        entry.renames.push((new.to_owned(), travels));
    }
    entry.renames.extend(apart.map(|apart| (old.to_owned(), apart)));
    entry.renames.sort();
    let at = |name: &str| entry.columns.iter().position(|known| known.name == name && known.place.is_some());
    match (at(old), at(new)) {
        (Some(older), Some(newer)) => {
            let came = entry.columns[older].came;
            entry.columns[older].came = std::mem::replace(&mut entry.columns[newer].came, came);
            entry.columns[newer].was = entry.columns[older].was.take();
        }
        // The new one of the old name has yet to be recorded.
        (Some(_), None) => {
            entry.columns.retain(|known| known.name != new);
            for known in entry.columns.iter_mut().filter(|known| known.name == old) {
                new.clone_into(&mut known.name);
            }
        }
        _ => {}
    }
}

/// Finds new columns of this table that the space knows as older ones under another name. Returns for each: the name of the
/// older column, the name of the new one, and the name under which the column travels that now has the older one's name.
pub(super) fn reused_in_space(
    entry: &Entry,
    table: &Table,
    renames: &[(String, String)],
) -> Vec<(String, String, Option<String>)> {
    let mut reused = Vec::new();
    for column in &table.columns {
        let new = fold(&column.spelled);
        if column_changes::place(entry, &new).is_some() {
            continue;
        }
        let Some((_, said)) = renames.iter().find(|(now, name)| *now == new && !is_named_apart(now, name))
        else {
            continue;
        };
        let is_it = |known: &&KnownColumn| {
            known.place.is_some()
                && travels(entry, &known.name) == said
                && table.called(&known.name).is_some()
        };
        let Some(known) = entry.columns.iter().find(is_it) else { continue };
        let apart = renames.iter().find(|(now, name)| *now == known.name && is_named_apart(now, name));
        reused.push((known.name.clone(), new, apart.map(|(_, apart)| apart.clone())));
    }
    reused
}

/// The renames that the space has, with those joined that follow each other: one machine may have said that `b` is called `c`, and
/// another that `a` is called `b`; then `c` is `a`. The same two renames also arise where a column took over the name of another, so
/// they are joined only if this file knows that `a` and `b` were never in the table together.
pub(super) fn joined(entry: &Entry, said: &Renames) -> Renames {
    let knows = |name: &str| entry.columns.iter().any(|known| known.name == name);
    let is_one = |now: &str, name: &str, first: &str| {
        if column_changes::place(entry, first).is_some() || knows(name) {
            return false;
        }
        let is_told_here = entry.renames.iter().any(|(now, travels)| now == name && travels == first);
        let known =
            entry.columns.iter().find(|known| known.place.is_some() && travels(entry, &known.name) == name);
        is_told_here
            || known
                .is_some_and(|known| known.name == now && rename_questions::may_be_renamed(entry, first, now))
    };
    let mut joined = said.clone();
    for (now, travels) in &mut joined {
        let is_apart = is_named_apart(now, travels);
        let first = said.iter().find(|(known, first)| known == travels && !is_named_apart(known, first));
        if let Some((name, first)) = first.filter(|(_, first)| !is_apart && first != now)
            && is_one(now, name, first)
        {
            travels.clone_from(first);
        }
    }
    // What a column travelled by here, before somebody said otherwise, is the same column's.
    for (now, before) in &entry.renames {
        let said = joined.iter().find(|(known, _)| known == now).map(|(_, travels)| travels.clone());
        let is_gone = |name: &str| column_changes::place(entry, name).is_none();
        if let Some(travels) = said
            && travels != *before
            && column_changes::place(entry, now).is_some()
            && is_gone(before)
            && is_gone(&travels)
            && rename_questions::may_be_renamed(entry, &travels, now)
            && ![before, &travels].into_iter().any(|travels| is_named_apart(now, travels))
            && !joined.iter().any(|(known, travels)| known == before || travels == before)
        {
            joined.push((before.clone(), travels));
        }
    }
    joined.sort();
    joined
}
