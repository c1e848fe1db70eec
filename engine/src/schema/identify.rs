//! Which of the tables that are there an entry stands for.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::introspect::Look;
use super::settling::Settling;
use super::triggers::{self, Trigger};
use crate::store::fold;
use crate::store::tables::{Entry, State};

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
    pub(super) fn new(look: Option<Look>) -> Self {
        Self { look, undecided: false, name_taken: None, late_triggers: false }
    }
}

/// Where our triggers stand, and which names are whose.
pub(super) struct Places {
    /// The table, folded, that the triggers of a number stand on.
    pub(super) by_id: HashMap<i64, String>,
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
    pub(super) fn forget(&mut self, id: i64) {
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
pub(super) fn find(
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
