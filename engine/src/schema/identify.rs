//! Which of the tables that are there an entry stands for.

use std::collections::{BTreeMap, HashMap, HashSet};

use rusqlite::Transaction;

use super::definitions::Definition;
use super::evidence::made_again;
use super::introspect::Look;
use super::inventory::Inventory;
use super::settling::Settling;
use super::triggers::{self, Trigger};
use super::{passing_names, rebuilt};
use crate::error::Result;
use crate::store::fold;
use crate::store::tables::{DEFINITIONS, Entry, State};

/// What there is in the file, to find the tables in it that entries stand for.
pub(super) struct Search<'a> {
    pub(super) tx: &'a Transaction<'a>,
    pub(super) inventory: &'a Inventory,
    /// The tables, by folded name.
    pub(super) known: BTreeMap<String, Look>,
    pub(super) places: Places,
    /// What the space says of its tables, by the names that they travel by.
    pub(super) definitions: &'a BTreeMap<String, Definition>,
    pub(super) now: i64,
}

/// The tables that entries stand for.
pub(super) struct Identified {
    pub(super) found: Vec<(Entry, Found)>,
    /// Whether a new table stands where one was that the space has given up.
    pub(super) took_a_given_up_name: bool,
}

impl Search<'_> {
    /// Finds the table of each entry that may have one. An entry of a passing name, whose table is another's new form by now,
    /// is given up.
    pub(super) fn find_all(mut self, entries: Vec<Entry>, settling: &mut Settling) -> Result<Identified> {
        let (by_id, is_retired) = (&self.places.by_id, |entry: &Entry| self.is_retired(entry));
        let new_forms =
            passing_names::new_forms(self.tx, &entries, by_id, is_retired, &self.known, self.now)?;
        new_forms.keys().for_each(|id| self.places.forget(*id));
        let mut identified = Identified { found: Vec::new(), took_a_given_up_name: false };
        for entry in entries.into_iter().filter(|entry| entry.id != DEFINITIONS) {
            if matches!(entry.state, State::Untracked | State::Unknown) {
                continue;
            }
            if let Some(rebuilt) = new_forms.get(&entry.id) {
                settling.forget(entry.id);
                passing_names::retire(self.tx, entry, rebuilt, self.definitions, self.now)?;
                continue;
            }
            if entry.state == State::Missing && self.is_retired(&entry) {
                continue; // a table that has this name now is another one
            }
            let mut found = find(&entry, &self.known, &self.places, settling, self.now);
            if self.is_another(&entry, &found)? {
                // The given-up table was dropped, and a new one has its name: the old rows must not fill it.
                found = Found::new(None);
                identified.took_a_given_up_name = true;
            }
            if let Some(Ok(table)) = &found.look {
                found.late_triggers = self.inventory.has_later_foreign_triggers(&table.spelled);
            }
            identified.found.push((entry, found));
        }
        Ok(identified)
    }

    fn is_retired(&self, entry: &Entry) -> bool {
        self.definitions.get(&entry.name).is_some_and(|known| known.retired)
    }

    /// Whether the table that was found is a new one, made where a table was dropped that the space has given up.
    fn is_another(&self, entry: &Entry, found: &Found) -> Result<bool> {
        let Some(Ok(table)) = &found.look else { return Ok(false) };
        if !self.is_retired(entry) || self.places.by_id.contains_key(&entry.id) {
            return Ok(false);
        }
        Ok(rebuilt::is_empty(self.tx, table)? || made_again::table(self.tx, entry, table)?)
    }
}

/// The table that an entry stands for, as it is found now.
pub(super) struct Found {
    /// `None` if there is none.
    pub(super) look: Option<Look>,
    /// Whether it may still turn out to be another: it has another name, and a new table has its old one. Until that has
    /// been left alone, the old name is what it is known by.
    pub(super) undecided: bool,
    /// The table that has the entry's old name now and is another.
    pub(super) name_taken: Option<String>,
    /// Whether the app has made a trigger on the table after ours.
    pub(super) late_triggers: bool,
}

impl Found {
    fn new(look: Option<Look>) -> Self {
        Self { look, undecided: false, name_taken: None, late_triggers: false }
    }
}

/// Where our triggers stand, and which names are whose.
pub(super) struct Places {
    /// The table, folded, that the triggers of a number stand on.
    by_id: HashMap<i64, String>,
    marked: HashSet<String>,
    /// The entry that a folded name stands for; as `tables::called` has it.
    called: HashMap<String, i64>,
}

impl Places {
    pub(super) fn new(entries: &[Entry], own_triggers: &HashMap<i64, Vec<(&str, &Trigger)>>) -> Self {
        let insert = |(id, triggers): (&i64, &Vec<(&str, &Trigger)>)| {
            let name = format!("{}insert", triggers::name_prefix(*id));
            let found = triggers.iter().find(|(_, trigger)| trigger.name == name);
            found.map(|(table, _)| (*id, (*table).to_owned()))
        };
        let by_id: HashMap<i64, String> = own_triggers.iter().filter_map(insert).collect();
        let marked = by_id.values().cloned().collect();
        let mut called = HashMap::new();
        let mut known: Vec<&Entry> = entries.iter().filter(|entry| entry.state != State::Unknown).collect();
        known.sort_by_key(|entry| entry.state != State::Tracked);
        known.extend(entries.iter().filter(|entry| entry.state == State::Unknown));
        for entry in known {
            called.entry(fold(&entry.spelled)).or_insert(entry.id);
        }
        Self { by_id, marked, called }
    }

    fn is_anothers(&self, name: &str, id: i64) -> bool {
        self.called.get(name).is_some_and(|other| *other != id) || self.marked.contains(name)
    }

    /// The triggers of a number are about to go.
    fn forget(&mut self, id: i64) {
        if let Some(under) = self.by_id.remove(&id) {
            self.marked.remove(&under);
        }
        self.called.retain(|_, known| *known != id);
    }
}

/// Looks for the table that an entry stands for: the one that has our triggers, which SQLite takes along when a table is
/// renamed; without them the one that has its last name.
///
/// Where both are there, it was renamed and its name given to a new table. But a migration may be half way that renames the
/// table, makes it anew, copies the rows and drops the old one: so this is decided when they have been left alone.
fn find(
    entry: &Entry,
    known: &BTreeMap<String, Look>,
    places: &Places,
    settling: &mut Settling,
    now: i64,
) -> Found {
    let last = fold(&entry.spelled);
    let look = |name: &str| known.get(name).cloned();
    if let Some(under) = places.by_id.get(&entry.id).filter(|under| **under != last) {
        let namesake = match look(&last) {
            Some(Ok(table)) if !places.is_anothers(&last, entry.id) => table,
            _ => return Found::new(look(under)),
        };
        let settled = settling.is_settled(entry.id, format!("{under}\n{}", namesake.sql), None, now);
        if settled {
            settling.forget(entry.id);
        }
        let name_taken = settled.then_some(namesake.spelled);
        return Found { undecided: !settled, name_taken, ..Found::new(look(under)) };
    }
    match look(&last) {
        None if entry.name != last && !places.is_anothers(&entry.name, entry.id) => {
            Found::new(look(&entry.name))
        }
        // Another table was renamed to what this one was called.
        Some(_) if !places.by_id.contains_key(&entry.id) && places.marked.contains(&last) => Found::new(None),
        found => Found::new(found),
    }
}
