//! Do the triggers still match the tables? Asked whenever SQLite's `schema_version` has moved, and as long as a table is in
//! the making.
//!
//! `ALTER TABLE` needs no ceremony: a new column brings new triggers and shows what others already wrote in it. A
//! table that was dropped keeps its documents; dropping a table is not deleting its rows. One that is there without our
//! triggers was rebuilt, as migrations do, or a tool dropped the triggers: what it holds was written without them
//! watching, and it is compared with its documents once it has been left alone; see [`super::rebuilt`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rusqlite::{Connection, Transaction};

use super::column_changes::{self, Key};
use super::column_list::{self, Listed};
use super::definitions::{self, Definition};
use super::eligibility;
use super::evidence::reused_names::Reused;
use super::evidence::{made_again, reused_names};
use super::introspect::{self, Look};
use super::inventory::Inventory;
use super::settling::Settling;
use super::triggers::{self, Trigger};
use super::{Catalog, Column, Table, Tracked};
use super::{creation, effects, objects, passing_names, rebuilt, unchanged, warnings};
use crate::config::TableOptions;
use crate::error::refusal::Refusal;
use crate::error::{Doing, Result};
use crate::store::dirty::Why;
use crate::store::renames::{self, Renames};
use crate::store::tables::{self, DEFINITIONS, Entry, State};
use crate::store::{backlog, dirty, fold, quote};

/// The reason that is recorded for a table that this file no longer has.
const DROPPED: &str =
    "the table was dropped; what others write in it is kept and shows when it is made again";

/// What a look at the tables found.
#[derive(Debug)]
pub(crate) struct Reconciled {
    /// The tables to capture from and to materialize into.
    pub(crate) catalog: Catalog,
    /// New tables that have the name of a tracked one that was renamed, to be tracked in their own right like that one.
    pub(crate) took_a_name: Vec<(String, TableOptions)>,
    /// Whether a new table stands where one was that the space has given up.
    pub(crate) took_a_given_up_name: bool,
}

/// Renews what is recorded of every table. `now`: milliseconds since 1970.
pub(crate) fn run(tx: &Transaction<'_>, settling: &mut Settling, now: i64) -> Result<Reconciled> {
    if let Some(catalog) = unchanged::catalog(tx)? {
        settling.looked();
        return Ok(Reconciled { catalog, took_a_name: Vec::new(), took_a_given_up_name: false });
    }
    let inventory = Inventory::read(tx)?;
    let known = introspect::tables(tx, &inventory)?;
    let own_triggers = inventory.own_triggers();
    let definitions: BTreeMap<String, Definition> =
        definitions::all(tx)?.into_iter().map(|definition| (definition.name.clone(), definition)).collect();
    let entries = tables::all(tx)?;
    let mut places = Places::new(&entries, &own_triggers);
    let is_retired = |entry: &Entry| definitions.get(&entry.name).is_some_and(|known| known.retired);
    let new_forms = passing_names::new_forms(tx, &entries, &places.by_id, is_retired, &known, now)?;
    new_forms.keys().for_each(|id| places.forget(*id));
    let (mut looks, mut took_a_given_up_name) = (Vec::new(), false);
    for entry in entries.into_iter().filter(|entry| entry.id != DEFINITIONS) {
        if matches!(entry.state, State::Untracked | State::Unknown) {
            continue;
        }
        if let Some(rebuilt) = new_forms.get(&entry.id) {
            settling.forget(entry.id);
            passing_names::retire(tx, entry, rebuilt, &definitions, now)?;
            continue;
        }
        if entry.state == State::Missing && is_retired(&entry) {
            continue; // a table that has this name now is another one
        }
        let mut found = find(&entry, &known, &places, settling, now);
        if let Some(Ok(table)) = &found.look
            && is_retired(&entry)
            && !places.by_id.contains_key(&entry.id)
            && (rebuilt::is_empty(tx, table)? || made_again::table(tx, &entry, table)?)
        {
            // The given-up table was dropped, and a new one has its name: the old rows must not fill it.
            found = Found::new(None);
            took_a_given_up_name = true;
        }
        if let Some(Ok(table)) = &found.look {
            found.late_triggers = inventory.has_later_foreign_triggers(&table.spelled);
        }
        looks.push((entry, found));
    }
    let mut effects = BTreeMap::new();
    for (entry, found) in &looks {
        if let Some(Ok(table)) = &found.look
            && inventory.has_foreign_triggers(&table.spelled)
        {
            effects.insert(entry.id, effects::of_triggers(tx, table)?);
        }
    }
    let watched: BTreeSet<String> = effects.values().flatten().cloned().collect();
    let undecided = looks.iter().any(|(_, found)| found.undecided);
    let took_a_name = looks
        .iter()
        .filter_map(|(entry, found)| Some((found.name_taken.clone()?, entry.options.without_kinds())))
        .collect();
    let mut tracked = vec![own(tx)?];
    let mut renewal = Renewal { tx, settling, watched, definitions: &definitions, now };
    for (entry, found) in looks {
        let triggers = own_triggers.get(&entry.id).map_or(&[][..], Vec::as_slice);
        tracked.extend(renewal.renew(entry, found, triggers)?);
    }
    settling.looked();
    let names: BTreeSet<String> = tracked.iter().map(|table| fold(&table.table.spelled)).collect();
    for table in &mut tracked {
        table.meddles = effects.get(&table.id).is_some_and(|written| !written.is_disjoint(&names));
    }
    let catalog = Catalog::new(tracked);
    let children = warnings::children(&inventory);
    let entries = tables::all(tx)?;
    for entry in entries.iter().filter(|entry| entry.id != DEFINITIONS) {
        let Some(table) = catalog.get(entry.id) else { continue };
        let notes = notes(&catalog, table, entry, definitions.get(&entry.name));
        let warning = warnings::about(tx, &catalog, table, effects.get(&table.id), notes, &children)?;
        tables::set_reason(tx, table.id, warning.as_deref())?;
    }
    objects::follow(tx, &catalog, now)?;
    // What waits to be left alone is looked at again although the schema does not move.
    if undecided || catalog.iter().any(|table| table.settling) {
        unchanged::forget(tx)?;
    } else {
        unchanged::note(tx)?;
    }
    Ok(Reconciled { catalog, took_a_name, took_a_given_up_name })
}

/// The notes about a table's names for `status`. `definition`: the table's definition in the space.
fn notes(catalog: &Catalog, table: &Tracked, entry: &Entry, definition: Option<&Definition>) -> Vec<String> {
    let mut notes = Vec::new();
    let spelled = &table.table.spelled;
    let namesake = catalog.named(&table.name).filter(|other| other.id != table.id);
    if let Some(other) = namesake.filter(|_| fold(spelled) != table.name) {
        notes.push(format!(
            "it was called '{}' before; the table that has that name now is another one and travels apart from it",
            other.table.spelled
        ));
    }
    let columns = table.table.columns.iter().map(|column| (&*column.spelled, &*column.name));
    notes.extend(definitions::given_up(definition, columns));
    notes.extend(column_changes::questions(entry, spelled));
    notes
}

/// The table that an entry stands for, as it is found now.
struct Found {
    /// `None` if there is none.
    look: Option<Look>,
    /// Whether it may still turn out to be another: it has another name, and a new table has its old one. Until that has
    /// been left alone, the old name is what it is known by.
    undecided: bool,
    /// The table that has the entry's old name now and is another.
    name_taken: Option<String>,
    /// Whether the app has made a trigger on the table after ours.
    late_triggers: bool,
}

impl Found {
    fn new(look: Option<Look>) -> Self {
        Self { look, undecided: false, name_taken: None, late_triggers: false }
    }
}

/// Where our triggers stand, and which names are whose.
struct Places {
    /// The table, folded, that the triggers of a number stand on.
    by_id: HashMap<i64, String>,
    marked: HashSet<String>,
    /// The entry that a folded name stands for; as `tables::called` has it.
    called: HashMap<String, i64>,
}

impl Places {
    fn new(entries: &[Entry], own_triggers: &HashMap<i64, Vec<(&str, &Trigger)>>) -> Self {
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

pub(super) fn own(connection: &Connection) -> Result<Tracked> {
    let table = definitions::own_table(connection)?;
    Ok(Tracked::new(DEFINITIONS, "_driftless_definitions".to_owned(), Default::default(), table))
}

/// One look at the tables.
struct Renewal<'a> {
    tx: &'a Transaction<'a>,
    settling: &'a mut Settling,
    /// The tables, folded, that the triggers of tracked ones write into.
    watched: BTreeSet<String>,
    /// What the space says of its tables, by the names that they travel by.
    definitions: &'a BTreeMap<String, Definition>,
    now: i64,
}

impl Renewal<'_> {
    /// Brings what is recorded of a table up to what it is. `ours`: our triggers for it. Returns it, unless it is given up.
    fn renew(
        &mut self,
        mut entry: Entry,
        found: Found,
        ours: &[(&str, &Trigger)],
    ) -> Result<Option<Tracked>> {
        let tx = self.tx;
        let mut table = match found.look {
            Some(Ok(table)) => table,
            Some(Err(refusal)) => return self.lose(entry, State::Unfit, &refusal.to_string()),
            None => {
                let is_retired =
                    self.definitions.get(&entry.name).is_some_and(|definition| definition.retired);
                let reason = if is_retired { definitions::FORGOTTEN } else { DROPPED };
                return self.lose(entry, State::Missing, reason);
            }
        };
        // A key of another kind would give every row another name.
        if let Err(refusal @ Refusal::IntegerKey) = eligibility::check(&table, &entry.options) {
            return self.lose(entry, State::Unfit, &refusal.to_string());
        }
        let listed = column_list::read(entry.id, ours);
        let renamed = self.take_over_renames(&mut entry, &table, listed.as_deref())?;
        let reused = match &listed {
            Some(_) => Vec::new(),
            None => self.find_reused(&mut entry, &table)?,
        };
        self.part_from_given_up(&mut entry, &table, ours)?;
        let renamed_apart = self.name_new_columns(&mut entry, &table)
            || renamed
            || reused.iter().any(|reused| reused.is_certain);
        let mut renames = table.rename(&entry.renames);
        let key = column_changes::of_key(&entry, &table);
        match &key {
            Key::Same => {}
            Key::Renamed(renamed) => {
                tracing::info!(table = %table.spelled, ?renamed, "columns of the primary key were renamed");
                entry.renames.retain(|(now, _)| renamed.iter().all(|(name, _)| name != now));
                entry.renames.extend(renamed.iter().cloned());
                entry.renames.sort();
                renames = table.rename(&entry.renames);
            }
            Key::Other { before, now } => {
                let reason = format!(
                    "its primary key changed from ({before}) to ({now}), and rows are known by their key, so it is not tracked \
                     any more; `driftless track FILE {}` tracks it with the new key, as a table of its own: do so on every \
                     machine that changes the key",
                    table.spelled
                );
                return self.lose(entry, State::Unfit, &reason);
            }
        }
        let change = column_changes::since_last_look(&entry, &table);
        let mut fresh = change.came.clone();
        if !renamed && reused.iter().all(|reused| reused.is_certain) {
            let added_again = self.added_again(&entry, &table, ours)?;
            fresh.extend(added_again.into_iter().map(|at| table.columns[at].name.clone()));
        }
        let rules = rule_shape(&table);
        let same_rules = entry.rules.as_deref() == Some(&*rules);
        let watched = self.watched.contains(&fold(&table.spelled));
        let expected = triggers::all(entry.id, &table, watched);
        let present = match triggers_present(ours, &expected, entry.id, same_rules) {
            // They would not run if one of those failed, and the row stayed.
            Presence::AsExpected if found.late_triggers => Presence::Different,
            present => present,
        };
        let lost = present == Presence::Missing || entry.state != State::Tracked;
        let same_name = found.undecided || entry.spelled == table.spelled;
        let unchanged = present == Presence::AsExpected && change.is_none() && key == Key::Same;
        if unchanged && !lost && same_name && same_rules && entry.rebuilt.is_none() {
            return Ok(Some(tracked(entry, table, watched, renames)));
        }
        if lost || present != Presence::AsExpected {
            install(tx, entry.id, &table, watched)?;
        }
        if lost {
            tracing::info!(table = %table.spelled, "the table lost our triggers: it was rebuilt, or somebody dropped them");
            if ours.is_empty() && !planted!(LostMarksKept) {
                rebuilt::forget_lost_marks(tx, entry.id, &table)?;
            }
            let unseen = self.settling.time_of_unseen(self.now);
            entry.rebuilt = Some(entry.rebuilt.map_or(unseen, |before| before.max(unseen)));
            entry.state = State::Tracked;
        }
        let is_listed = |column: &Column| column_changes::place(&entry, &fold(&column.spelled)).is_some();
        let same_names = table.columns.iter().all(is_listed);
        if !change.is_none() || key != Key::Same || !same_names {
            column_changes::record(&mut entry, &table, listed.is_none());
            entry.fresh.extend(fresh);
        }
        for reused in reused.into_iter().filter(|reused| !reused.is_certain) {
            column_changes::ask(&mut entry, &reused.old, &reused.new);
        }
        if entry.rebuilt.is_some() {
            self.compare_if_settled(&mut entry, &table, lost)?;
        } else if !change.is_none() {
            // Rows have values in a column that no document names yet, as after a rename; documents may have values for
            // a column that has just appeared.
            tracing::info!(table = %table.spelled, "the table changed; all its rows are looked at again");
            look_again(tx, entry.id, &table, self.now)?;
        } else if !same_rules {
            // What its constraints demand may have changed.
            backlog::refresh_table(tx, entry.id)?;
            tables::set_unjudged(tx, entry.id)?;
        }
        if !found.undecided {
            entry.spelled.clone_from(&table.spelled);
        }
        entry.rules = Some(rules);
        tables::update(tx, &entry)?;
        let mut definition = Definition::of(&entry.name, &table, &entry.options);
        if renamed_apart || key != Key::Same {
            definition.renames = Some(renames::to_text(&entry.renames));
        }
        definitions::put(tx, &definition, self.now)?;
        Ok(Some(tracked(entry, table, watched, renames)))
    }

    /// Records which columns were renamed with `ALTER TABLE`, where SQLite says so. Returns whether any were.
    fn take_over_renames(&self, entry: &mut Entry, table: &Table, listed: Option<&[Listed]>) -> Result<bool> {
        let renamed = column_changes::take_over(entry, table, listed.unwrap_or_default());
        if renamed.is_empty() {
            return Ok(false);
        }
        tracing::info!(table = %table.spelled, ?renamed, "columns were renamed");
        // What others wrote under the new names shows here from now on.
        backlog::refresh_table(self.tx, entry.id)?;
        Ok(true)
    }

    /// Finds columns of a table that was made anew whose names others have now, and records those of which that is certain
    /// because the space says so. By what the columns hold it is only likely.
    fn find_reused(&self, entry: &mut Entry, table: &Table) -> Result<Vec<Reused>> {
        let is_new = |column: &Column| column_changes::place(entry, &fold(&column.spelled)).is_none();
        if entry.columns.is_empty() || !table.columns.iter().any(is_new) {
            return Ok(Vec::new());
        }
        let definition = self.definitions.get(&entry.name);
        let retired = definition.map(Definition::retired_columns).unwrap_or_default();
        let mut found = Vec::new();
        let said = definition.map(Definition::renames).unwrap_or_default();
        for (old, new, apart) in column_changes::reused_in_space(entry, table, &said) {
            column_changes::reuse_name(entry, &old, &new, apart, &retired);
            found.push(Reused { old, new, is_certain: true });
        }
        found.extend(reused_names::find(self.tx, entry, table)?);
        Ok(found)
    }

    /// The places of columns outside the key that were dropped and added again since the last look.
    fn added_again(&self, entry: &Entry, table: &Table, ours: &[(&str, &Trigger)]) -> Result<Vec<usize>> {
        let mut added_again = column_changes::added_again(entry, table);
        added_again.retain(|at| table.key.iter().all(|key| key.at != *at));
        if kept_triggers(entry, ours) {
            return Ok(added_again);
        }
        // Whoever makes a table anew may put its columns in any order, so the rows have to say so, too.
        let mut certain = Vec::new();
        for at in added_again {
            if made_again::filled_column(self.tx, entry, table, at)? {
                certain.push(at);
            }
        }
        Ok(certain)
    }

    /// Records that columns went which the space has given up, where the table has new ones of their names.
    fn part_from_given_up(&self, entry: &mut Entry, table: &Table, ours: &[(&str, &Trigger)]) -> Result<()> {
        let retired = self.definitions.get(&entry.name).map(Definition::retired_columns).unwrap_or_default();
        if retired.is_empty() {
            return Ok(());
        }
        let added_again = self.added_again(entry, table, ours)?;
        let is_new = |entry: &Entry, at: usize| match ours {
            _ if kept_triggers(entry, ours) => made_again::column(self.tx, entry, table, at),
            [] => made_again::filled_column(self.tx, entry, table, at),
            _ => Ok(false),
        };
        for at in (0..table.columns.len()).filter(|at| table.key.iter().all(|key| key.at != *at)) {
            let name = fold(&table.columns[at].spelled);
            let is_given_up = column_changes::place(entry, &name).is_some()
                && retired.contains(column_changes::travels(entry, &name));
            if is_given_up && (added_again.contains(&at) || is_new(entry, at)?) {
                tracing::info!(table = %table.spelled, column = name,
                    "a column that the space has given up was dropped, and a new one of its name was added");
                column_changes::went(entry, &name);
            }
        }
        Ok(())
    }

    /// Lets a new column travel by another name than its own, if a column that the space has given up, or one that is called
    /// otherwise now, travels by that. Returns whether there are any such columns.
    fn name_new_columns(&self, entry: &mut Entry, table: &Table) -> bool {
        let is_known = |name: &str| {
            entry.columns.iter().any(|known| known.place.is_some() && known.name.eq_ignore_ascii_case(name))
        };
        if entry.columns.is_empty() || table.columns.iter().all(|column| is_known(&column.spelled)) {
            return false;
        }
        let Some(definition) = self.definitions.get(&entry.name) else { return false };
        let before = entry.renames.clone();
        let mut retired = definition.retired_columns();
        // A column that was here before and is called otherwise now travels by that name.
        let stays = |name: &str| is_known(name) && table.called(name).is_some();
        let renamed = entry.renames.iter().filter(|(now, travels)| stays(now) && !is_known(travels));
        retired.extend(renamed.map(|(_, travels)| travels.clone()));
        entry.renames = column_changes::rename_apart(table, &retired, Some(entry), before.clone());
        entry.renames != before
    }

    /// Compares a table that was rebuilt with its documents, if it has been left alone for long enough. `lost`: it has
    /// just been found without our triggers.
    fn compare_if_settled(&mut self, entry: &mut Entry, table: &Table, lost: bool) -> Result<()> {
        if lost {
            // Rebuilt once more, it waits from the beginning.
            self.settling.forget(entry.id);
        }
        if !self.settling.is_settled(entry.id, table.sql.clone(), entry.rebuilt, self.now) {
            return Ok(());
        }
        if self.settling.is_busy(entry.id, self.now) {
            // Written all the time: by an app that goes on with its work, or by an import that is not over.
            let lacks = rebuilt::missing(self.tx, entry.id, table)?.len();
            if self.settling.is_filled(entry.id, lacks, self.now) {
                return Ok(());
            }
        }
        self.settling.forget(entry.id);
        rebuilt::compare(self.tx, entry, table, self.now)?;
        entry.rebuilt = None;
        Ok(())
    }

    /// Gives a table up for now, leaving no trigger that points at nothing.
    fn lose(&mut self, mut entry: Entry, state: State, reason: &str) -> Result<Option<Tracked>> {
        self.settling.forget(entry.id);
        if entry.state == state && entry.reason.as_deref() == Some(reason) {
            return Ok(None);
        }
        tracing::warn!(table = %entry.spelled, reason, "the table is no longer captured");
        drop_triggers(self.tx, entry.id)?;
        backlog::forget_table(self.tx, entry.id)?;
        entry.state = state;
        entry.reason = Some(reason.to_owned());
        tables::update(self.tx, &entry)?;
        Ok(None)
    }
}

/// Whether our triggers have been on a table since the last look, so that it was not made anew, and every write was marked.
/// `ours`: those that are there now.
fn kept_triggers(entry: &Entry, ours: &[(&str, &Trigger)]) -> bool {
    entry.state == State::Tracked && entry.rebuilt.is_none() && !ours.is_empty()
}

fn tracked(entry: Entry, table: Table, watched: bool, renames: Renames) -> Tracked {
    let asked = column_changes::asked(&entry);
    let (fresh, settling) = (entry.fresh, entry.rebuilt.is_some());
    let tracked = Tracked::new(entry.id, entry.name, entry.options, table).asking(asked);
    Tracked { fresh, watched, renames, settling, ..tracked }
}

/// What the table demands of its rows, as a digest: its definition, its UNIQUE indexes, and what it refers to.
fn rule_shape(table: &Table) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(table.sql.as_bytes());
    for reference in &table.references {
        hasher.update(reference.rule.as_bytes());
    }
    for unique in &table.unique {
        hasher.update(unique.name.as_bytes());
        hasher.update(unique.filter.as_deref().unwrap_or_default().as_bytes());
        for term in &unique.terms {
            hasher.update(term.sql.as_bytes());
        }
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// Begins to track a table: its rows as they are, and what others wrote in it already. `kinds`: those that were stated, as
/// they are written down. Its triggers are still to be made, in the same transaction: see [`install_all`].
pub(crate) fn begin(
    tx: &Transaction<'_>,
    mut entry: Entry,
    table: &Table,
    kinds: Option<String>,
    now: i64,
) -> Result<()> {
    dirty::widen(tx, table.key.len())?;
    let why = if entry.state == State::Unknown { Why::First } else { Why::Again };
    enqueue_all(tx, entry.id, table, why, now)?;
    backlog::refresh_table(tx, entry.id)?;
    tables::set_unjudged(tx, entry.id)?;
    entry.state = State::Tracked;
    entry.reason = None;
    entry.rebuilt = None;
    entry.spelled.clone_from(&table.spelled);
    column_changes::record(&mut entry, table, true);
    entry.rules = Some(rule_shape(table));
    tables::update(tx, &entry)?;
    // The space's definition stays where there is one: this table may be of an older version of the app.
    match definitions::find(tx, &entry.name)? {
        Some(_) => Ok(()),
        None => definitions::put(
            tx,
            &Definition { kinds, ..Definition::of(&entry.name, table, &entry.options) },
            now,
        ),
    }
}

/// Ceases to track a table, for the reason that its entry gives. Its documents stay, and what others write in it goes on
/// being merged into them.
pub(crate) fn end(tx: &Transaction<'_>, entry: Entry) -> Result<()> {
    end_as(tx, entry, State::Untracked)
}

/// The same of a table that is in another state from now on.
pub(crate) fn end_as(tx: &Transaction<'_>, mut entry: Entry, state: State) -> Result<()> {
    drop_triggers(tx, entry.id)?;
    backlog::forget_table(tx, entry.id)?;
    entry.state = state;
    entry.rebuilt = None;
    tables::update(tx, &entry)
}

#[derive(Debug, PartialEq, Eq)]
enum Presence {
    AsExpected,
    /// Other triggers than expected: a column was renamed, a unique index added. Or the app made one after them.
    Different,
    /// At least one is gone: the table was dropped and made anew, or somebody dropped it.
    Missing,
}

/// `same_rules`: no index of the table came or went, so that all of them must be there.
fn triggers_present(
    recorded: &[(&str, &Trigger)],
    expected: &[Trigger],
    id: i64,
    same_rules: bool,
) -> Presence {
    let is_there = |name: &str| recorded.iter().any(|(_, trigger)| trigger.name == name);
    let must_be_there =
        ["insert", "update", "delete", "columns"].map(|kind| triggers::name_prefix(id) + kind);
    let watching = must_be_there.iter().all(|name| is_there(name))
        && (!same_rules || expected.iter().all(|trigger| is_there(&trigger.name)));
    let same = recorded.len() == expected.len()
        && expected.iter().all(|trigger| recorded.iter().any(|(_, known)| *known == trigger));
    match (watching, same) {
        (false, _) => Presence::Missing,
        (true, false) => Presence::Different,
        (true, true) => Presence::AsExpected,
    }
}

fn recorded_triggers(tx: &Transaction<'_>, id: i64) -> Result<Vec<Trigger>> {
    let doing = "reading the triggers";
    let mut statement = tx
        .prepare_cached(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, ?2) = ?1",
        )
        .doing(doing)?;
    let prefix = triggers::name_prefix(id);
    let rows = statement
        .query_map((&prefix, prefix.len() as i64), |row| Ok(Trigger { name: row.get(0)?, sql: row.get(1)? }))
        .doing(doing)?;
    rows.collect::<rusqlite::Result<_>>().doing(doing)
}

fn drop_triggers(tx: &Transaction<'_>, id: i64) -> Result<()> {
    for trigger in recorded_triggers(tx, id)? {
        tx.execute_batch(&format!("DROP TRIGGER {}", quote(&trigger.name))).doing("dropping a trigger")?;
    }
    Ok(())
}

/// Renews the triggers of a table, which moves the `schema_version` on.
pub(crate) fn install(tx: &Transaction<'_>, id: i64, table: &Table, watched: bool) -> Result<()> {
    drop_triggers(tx, id)?;
    dirty::widen(tx, table.key.len())?;
    for trigger in triggers::all(id, table, watched) {
        tx.execute_batch(&trigger.sql).doing("creating a trigger")?;
    }
    Ok(())
}

/// Makes the triggers of tables that are tracked from now on; those that are there, as `inventory` knows, go first.
pub(crate) fn install_all(
    tx: &Transaction<'_>,
    tables: &[(i64, Table)],
    inventory: &Inventory,
) -> Result<()> {
    let there = inventory.own_triggers();
    let mut made = Vec::new();
    for (id, table) in tables {
        if !inventory.knows_own_triggers() || there.contains_key(id) {
            drop_triggers(tx, *id)?;
        }
        made.extend(triggers::all(*id, table, false).into_iter().map(|trigger| (&*table.spelled, trigger)));
    }
    creation::create(tx, &made)
}

/// Compares every row of a table with its document again, every document with its row, and rows with what they refer to.
/// An edit that is found gets the time `at`.
pub(crate) fn look_again(tx: &Transaction<'_>, id: i64, table: &Table, at: i64) -> Result<()> {
    look_because(tx, id, table, Why::Again, at)
}

/// The same for another reason.
pub(crate) fn look_because(tx: &Transaction<'_>, id: i64, table: &Table, why: Why, at: i64) -> Result<()> {
    dirty::widen(tx, table.key.len())?;
    enqueue_all(tx, id, table, why, at)?;
    backlog::refresh_table(tx, id)?;
    tables::set_unjudged(tx, id)
}

/// Lists every row of a table to be looked at.
pub(super) fn enqueue_all(tx: &Transaction<'_>, id: i64, table: &Table, why: Why, at: i64) -> Result<()> {
    let (columns, key) = (dirty::key_list(table.key.len()), table.key_columns());
    tx.execute(
        &format!(
            "INSERT INTO _driftless_backlog (tbl, first, at, {columns}) SELECT {id}, {}, {at}, {key} FROM main.{}",
            why.number(),
            quote(&table.spelled)
        ),
        [],
    )
    .doing("listing the rows of a table")?;
    Ok(())
}
