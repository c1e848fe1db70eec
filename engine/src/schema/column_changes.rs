//! How the columns of a table changed since they were last looked at: which came, which went, and which of those that came
//! may be one that went under another name.
//!
//! Of a table that was altered, SQLite says which columns were renamed ([`super::column_list`]). Of one that was made anew, the
//! primary key says so for its own columns: a row is known by its place in it, so a column that stands where another stood is
//! that one. Of other columns somebody has to say so (`rename-column`), and may do so at any later time.

use std::collections::BTreeSet;

use super::Table;
use super::column_list::Listed;
use super::moved_names::{self, Move};
use crate::error::shell;
use crate::store::columns::KnownColumn;
use crate::store::fold;
use crate::store::renames::Renames;
use crate::store::tables::Entry;

/// What changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Names by which columns travel that came, in the order of the table.
    pub(super) came: Vec<String>,
    /// Names by which columns travel that went.
    pub(super) went: Vec<String>,
    /// Whether the columns that stayed are in another order.
    reordered: bool,
}

impl Change {
    pub(super) fn is_none(&self) -> bool {
        self.came.is_empty() && self.went.is_empty() && !self.reordered
    }
}

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

/// The place of a column that the table had at the last look, by its folded name.
pub(crate) fn place(entry: &Entry, name: &str) -> Option<usize> {
    entry.columns.iter().find(|known| known.name == name)?.place
}

/// The places of columns that were dropped and added again since the last look, in a table that was not made anew since.
///
/// `ALTER TABLE` adds a column behind all others and moves none. So if a column stands behind another that it stood before, it was
/// added since, and so was every column behind it. If the last columns were dropped and added again in the same order, places do
/// not tell.
pub(super) fn added_again(entry: &Entry, table: &Table) -> Vec<usize> {
    let mut furthest = 0;
    let known = table.columns.iter().enumerate().filter_map(|(at, column)| {
        let place = place(entry, &fold(&column.spelled))?;
        let stood_before_another = place < furthest;
        furthest = furthest.max(place);
        Some((at, stood_before_another))
    });
    known.skip_while(|(_, stood_before_another)| !stood_before_another).map(|(at, _)| at).collect()
}

/// Records that the table no longer has a column: one that has its name now is new.
pub(super) fn went(entry: &mut Entry, name: &str) {
    let latest = entry.columns.iter().flat_map(|known| [Some(known.came), known.went]).flatten().max();
    for known in entry.columns.iter_mut().filter(|known| known.name == name) {
        (known.place, known.key) = (None, None);
        known.went = latest.map(|latest| latest + 1);
    }
}

/// Whether the column `name` travels as `name#2` or the like.
pub(super) fn has_another_name(renames: &[(String, String)], name: &str) -> bool {
    renames.iter().any(|(now, travels)| now == name && is_named_apart(now, travels))
}

/// The columns as they were at the last look, by the names that they travel by, in the order of the table.
fn recorded(entry: &Entry) -> Vec<&str> {
    let present = entry.columns.iter().filter(|known| known.place.is_some());
    present.map(|known| travels(entry, &known.name)).collect()
}

/// Compares a table, whose columns have the names that they travel by, with what was known of them.
pub(super) fn since_last_look(entry: &Entry, table: &Table) -> Change {
    let (before, now) = (recorded(entry), table.columns.iter().map(|column| &*column.name));
    let now: Vec<&str> = now.collect();
    let without = |all: &[&str], others: &[&str]| -> Vec<String> {
        all.iter().filter(|name| !others.contains(name)).map(|name| (*name).to_owned()).collect()
    };
    let (came, went) = (without(&now, &before), without(&before, &now));
    let stayed = |all: &[&str], others: &[&str]| -> Vec<String> {
        all.iter().filter(|name| others.contains(name)).map(|name| (*name).to_owned()).collect()
    };
    let reordered = stayed(&before, &now) != stayed(&now, &before);
    Change { came, went, reordered }
}

/// The primary key as it was at the last look: the names by which its columns travel, and their collations.
fn recorded_key(entry: &Entry) -> Vec<(&str, Option<&str>)> {
    let mut key: Vec<_> = entry
        .columns
        .iter()
        .filter_map(|known| Some((known.key.as_ref()?, known)).filter(|_| known.place.is_some()))
        .collect();
    key.sort_by_key(|((place, _), _)| *place);
    key.into_iter()
        .map(|((_, collation), known)| (travels(entry, &known.name), collation.as_deref()))
        .collect()
}

fn key_of(table: &Table) -> Vec<(&str, Option<&str>)> {
    let collation = |key: &super::KeyColumn| (!table.integer_key).then_some(key.collation.name());
    table.key.iter().map(|key| (&*table.columns[key.at].name, collation(key))).collect()
}

/// What became of a table's primary key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// It is as it was.
    Same,
    /// Columns of it were renamed: the names now, and those that they travel by.
    Renamed(Renames),
    /// It is another key; both as text.
    Other { before: String, now: String },
}

/// Compares a table's primary key with the one that was known.
pub(crate) fn of_key(entry: &Entry, table: &Table) -> Key {
    let (before, now) = (recorded_key(entry), key_of(table));
    if entry.columns.is_empty() || before == now {
        return Key::Same;
    }
    let alike = before.len() == now.len()
        && before.iter().zip(&now).all(|((_, before), (_, now))| before == now)
        && before.iter().zip(&now).all(|((before, _), (now, _))| {
            // The one went and the other came: neither may be another column of the table, then or now.
            before == now
                || table.columns.iter().all(|column| column.name != *before)
                    && recorded(entry).iter().all(|known| known != now)
        });
    if !alike {
        let text = |key: &[(&str, Option<&str>)]| {
            let columns = key.iter().map(|(name, collation)| match collation {
                Some("BINARY") => (*name).to_owned(),
                Some(collation) => format!("{name} COLLATE {collation}"),
                None => format!("{name} INTEGER"),
            });
            columns.collect::<Vec<_>>().join(", ")
        };
        return Key::Other { before: text(&before), now: text(&now) };
    }
    let renamed = table.key.iter().zip(&before).filter_map(|(key, (travels, _))| {
        let column = &table.columns[key.at];
        (column.name != *travels).then(|| (fold(&column.spelled), (*travels).to_owned()))
    });
    Key::Renamed(renamed.collect())
}

/// Which of the columns that came may be one that went under another name: (came, went). A column that is renamed keeps its
/// place, so those are paired that stand between the same columns that stayed.
fn pairs(before: &[&str], now: &[&str]) -> Vec<(String, String)> {
    // The column before which each stands, of those that stayed.
    let gap = |all: &[&str], others: &[&str], at: usize| -> Option<String> {
        all[..at].iter().rev().find(|name| others.contains(name)).map(|name| (*name).to_owned())
    };
    let in_gaps = |all: &[&str], others: &[&str]| -> Vec<(Option<String>, String)> {
        let absent = all.iter().enumerate().filter(|(_, name)| !others.contains(name));
        absent.map(|(at, name)| (gap(all, others, at), (*name).to_owned())).collect()
    };
    let (mut came, mut went) = (in_gaps(now, before), in_gaps(before, now));
    let mut pairs = Vec::new();
    came.retain(|(gap, came)| match went.iter().position(|(known, _)| known == gap) {
        Some(at) => {
            pairs.push((came.clone(), went.remove(at).1));
            false
        }
        None => true,
    });
    if let ([(_, came)], [(_, went)]) = (&came[..], &went[..]) {
        pairs.push((came.clone(), went.clone()));
    }
    pairs
}

/// Takes over which columns were renamed, as SQLite says: each goes on travelling under the name that it had. Returns which.
pub(super) fn take_over(entry: &mut Entry, table: &Table, listed: &[Listed]) -> Vec<Move> {
    let is_listed_twice = |name: &str| listed.iter().filter(|listed| listed.new == name).count() > 1;
    let renamed = listed.iter().filter_map(|Listed { old, new }| {
        let at = place(entry, old)?;
        // A column that was dropped is still listed. If another got its name then, two have that name in the list.
        (old != new && table.called(new).is_some() && !is_listed_twice(new)).then(|| Move {
            at,
            old: old.clone(),
            new: new.clone(),
        })
    });
    let renamed: Vec<Move> = renamed.collect();
    for moves in moved_names::together(renamed.clone()) {
        match &moves[..] {
            [one] if !moved_names::is_taken_over(entry, one) => rename(entry, &one.old, &one.new),
            moves => moved_names::record(entry, moves),
        }
    }
    renamed
}

/// Columns that may be others under new names: the others, which are gone, and these. Names are folded. Some were asked about
/// before, and some came with this look.
pub(super) fn perhaps_renamed(entry: &Entry, table: &Table) -> Vec<(String, String)> {
    let is_gone = |name: &str| table.called(name).is_none();
    let mut all: Vec<(String, String)> = open(entry).into_iter().filter(|(was, _)| is_gone(was)).collect();
    let mut travelling = table.clone();
    travelling.rename(&entry.renames);
    let now: Vec<&str> = travelling.columns.iter().map(|column| &*column.name).collect();
    let before = recorded(entry);
    for (came, went) in if before.is_empty() { Vec::new() } else { pairs(&before, &now) } {
        let known = |known: &&KnownColumn| known.place.is_some() && travels(entry, &known.name) == went;
        let column = travelling.columns.iter().find(|column| column.name == came);
        if let (Some(known), Some(column)) = (entry.columns.iter().find(known), column) {
            all.push((known.name.clone(), fold(&column.spelled)));
        }
    }
    all
}

/// Records that the column `old`, which is gone, is called `new` now.
pub(super) fn renamed(entry: &mut Entry, old: &str, new: &str) {
    if place(entry, new).is_none() {
        return rename(entry, old, new);
    }
    let travels = travelled(entry, old).to_owned();
    join(entry, new, &travels);
    answer(entry, old, new);
}

/// Records that the column which is or was called `name` travels by `travels`. What it travelled by until now is the same column's,
/// and so is every other name that travels by that.
pub(crate) fn join(entry: &mut Entry, name: &str, travels: &str) {
    let before = travelled(entry, name).to_owned();
    if !is_named_apart(name, &before) {
        for (now, known) in &mut entry.renames {
            if *known == before && now != travels {
                travels.clone_into(known);
            }
        }
        if before != name && place(entry, &before).is_none() {
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

/// Records a table's columns as they are now. `ask`: whether one that came may be one that went under another name.
pub(super) fn record(entry: &mut Entry, table: &Table, ask: bool) {
    let now: Vec<&str> = table.columns.iter().map(|column| &*column.name).collect();
    let pairs = if ask { pairs(&recorded(entry), &now) } else { Vec::new() };
    let was = |travels: &str| pairs.iter().find(|(came, _)| came == travels).map(|(_, went)| went.clone());
    let present_before = entry.columns.iter().filter(|known| known.place.is_some());
    let called: Vec<(String, String)> =
        present_before.map(|known| (travels(entry, &known.name).to_owned(), known.name.clone())).collect();
    let before = std::mem::take(&mut entry.columns);
    let first = before.is_empty();
    let latest = before.iter().flat_map(|known| [Some(known.came), known.went]).flatten().max().unwrap_or(-1);
    let present: BTreeSet<String> = table.columns.iter().map(|column| fold(&column.spelled)).collect();
    let local = |travels: String| -> String {
        let known = called.iter().find(|(known, _)| *known == travels);
        known.map_or(travels, |(_, name)| name.clone())
    };
    for (at, column) in table.columns.iter().enumerate() {
        let name = fold(&column.spelled);
        let key = table.key.iter().position(|key| key.at == at);
        let collation =
            |place: usize| (!table.integer_key).then(|| table.key[place].collation.name().to_owned());
        let known = before.iter().find(|known| known.name == name);
        let stayed = known.filter(|known| known.place.is_some());
        entry.columns.push(KnownColumn {
            place: Some(at),
            key: key.map(|place| (place, collation(place))),
            came: stayed.map_or(latest + 1, |known| known.came),
            went: None,
            was: match stayed {
                Some(known) => known.was.clone(),
                None if first => None,
                None => was(&column.name).map(&local),
            },
            name,
        });
    }
    for known in before.into_iter().filter(|known| !present.contains(&known.name)) {
        let went = known.went.or(Some(latest + 1));
        entry.columns.push(KnownColumn { place: None, key: None, went, ..known });
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
        if place(entry, &new).is_some() {
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

/// What the space says of renames, with those joined that follow each other: who calls a column `c` that was `b`, and who calls it
/// `b` where it was `a`, may each have said so apart. Where a column took over the name of another, the renames look the same,
/// so they are joined only where this file knows that the two were never in the table together.
pub(super) fn joined(entry: &Entry, said: &Renames) -> Renames {
    let knows = |name: &str| entry.columns.iter().any(|known| known.name == name);
    let is_one = |now: &str, name: &str, first: &str| {
        if place(entry, first).is_some() || knows(name) {
            return false;
        }
        let is_told_here = entry.renames.iter().any(|(now, travels)| now == name && travels == first);
        let known =
            entry.columns.iter().find(|known| known.place.is_some() && travels(entry, &known.name) == name);
        is_told_here || known.is_some_and(|known| known.name == now && may_be_renamed(entry, first, now))
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
        let is_gone = |name: &str| place(entry, name).is_none();
        if let Some(travels) = said
            && travels != *before
            && place(entry, now).is_some()
            && is_gone(before)
            && is_gone(&travels)
            && may_be_renamed(entry, &travels, now)
            && ![before, &travels].into_iter().any(|travels| is_named_apart(now, travels))
            && !joined.iter().any(|(known, travels)| known == before || travels == before)
        {
            joined.push((before.clone(), travels));
        }
    }
    joined.sort();
    joined
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
    let is_old = |was: &str| was == old || travels(entry, was) == old;
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
    let present = entry.columns.iter().filter(|known| known.place.is_some());
    present
        .filter_map(|known| Some((known.was.clone()?, known.name.clone())))
        .filter(|(was, name)| travels(entry, name) != *was)
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
    let travelled =
        |name: &str| entry.renames.iter().find(|(now, _)| now == name).map(|(_, name)| name.clone());
    let present =
        entry.columns.iter().filter(|known| known.place.is_some() && travelled(&known.name).is_none());
    present
        .filter_map(|known| {
            let was = known.was.as_deref().filter(|was| place(entry, was).is_none())?;
            Some((known.name.clone(), travelled(was).unwrap_or_else(|| was.to_owned())))
        })
        .collect()
}

/// What to ask the user about columns that may have been renamed.
pub(crate) fn questions(entry: &Entry, table: &str) -> Vec<String> {
    let asked = open(entry);
    let table = shell::word(table);
    let sentences = asked.iter().map(|(went, came)| {
        let (old, new) = (shell::word(went), shell::word(came));
        if place(entry, went).is_some() {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(before: &str, now: &str) -> Vec<String> {
        let (before, now): (Vec<&str>, Vec<&str>) = (before.split(' ').collect(), now.split(' ').collect());
        pairs(&before, &now).into_iter().map(|(came, went)| format!("{went}>{came}")).collect()
    }

    #[test]
    fn what_came_is_paired_with_what_went_from_the_same_place() {
        assert_eq!(pair("k a b", "k x b"), ["a>x"]);
        assert_eq!(pair("k a b c", "k x b y"), ["a>x", "c>y"]);
        assert_eq!(pair("k a b", "k x b e f"), ["a>x"], "e and f were added");
        assert_eq!(pair("k a b c", "k b x"), ["c>x"], "a was dropped");
        assert_eq!(pair("k a b", "x a b"), ["k>x"]);
        assert_eq!(pair("k a b", "k b x"), ["a>x"], "one went and one came, wherever they stand");
        assert!(pair("k a", "k a b").is_empty() && pair("k a b", "k a").is_empty());
    }
}
