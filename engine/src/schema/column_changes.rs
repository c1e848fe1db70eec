//! How the columns of a table changed since they were last looked at: which came, which went, what became of its primary key, and
//! which of those that came may be one that went under another name.

use std::collections::BTreeSet;

use super::{Table, column_names};
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

/// The columns as they were at the last look, by the names that they travel by, in the order of the table.
pub(super) fn recorded(entry: &Entry) -> Vec<&str> {
    let present = entry.columns.iter().filter(|known| known.place.is_some());
    present.map(|known| column_names::travels(entry, &known.name)).collect()
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
        .map(|((_, collation), known)| (column_names::travels(entry, &known.name), collation.as_deref()))
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

/// Which of the columns that came may be one that went under another name: (came, went). If one is left that went and one that
/// came, those are paired wherever they stand.
fn pairs(before: &[&str], now: &[&str]) -> Vec<(String, String)> {
    let (mut pairs, came, went) = pairs_in_place(before, now);
    if let ([came], [went]) = (&came[..], &went[..]) {
        pairs.push((came.clone(), went.clone()));
    }
    pairs
}

/// The columns that came and went at the same place, (came, went): a column that is renamed keeps its place, so those are paired
/// that stand between the same columns that stayed. And the other ones that came, and that went.
pub(super) fn pairs_in_place(
    before: &[&str],
    now: &[&str],
) -> (Vec<(String, String)>, Vec<String>, Vec<String>) {
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
    let names = |left: Vec<(Option<String>, String)>| left.into_iter().map(|(_, name)| name).collect();
    (pairs, names(came), names(went))
}

/// Records a table's columns as they are now. `ask`: whether one that came may be one that went under another name.
pub(super) fn record(entry: &mut Entry, table: &Table, ask: bool) {
    let now: Vec<&str> = table.columns.iter().map(|column| &*column.name).collect();
    let pairs = if ask { pairs(&recorded(entry), &now) } else { Vec::new() };
    let was = |travels: &str| pairs.iter().find(|(came, _)| came == travels).map(|(_, went)| went.clone());
    let present_before = entry.columns.iter().filter(|known| known.place.is_some());
    let called: Vec<(String, String)> = present_before
        .map(|known| (column_names::travels(entry, &known.name).to_owned(), known.name.clone()))
        .collect();
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
