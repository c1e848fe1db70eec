//! Do the triggers still match the tables? Asked whenever SQLite's `schema_version` has moved, and as long as a table is in
//! the making.
//!
//! `ALTER TABLE` needs no ceremony: a new column brings new triggers and shows what others already wrote in it. A
//! table that was dropped keeps its documents; dropping a table is not deleting its rows. One that is there without our
//! triggers was rebuilt, as migrations do, or a tool dropped the triggers: what it holds was written without them
//! watching, and it is compared with its documents once it has been left alone; see [`super::rebuilt`].

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Transaction};

use super::definitions::{self, Definition};
use super::evidence::made_again;
use super::identify::{Found, Places, find};
pub(crate) use super::installed::install;
use super::inventory::Inventory;
pub(crate) use super::lifecycle::look_because;
use super::renewal::Renewal;
use super::settling::Settling;
use super::{Catalog, Tracked, column_changes, effects, introspect};
use super::{objects, passing_names, rebuilt, unchanged, warnings};
use crate::config::TableOptions;
use crate::error::Result;
use crate::store::fold;
use crate::store::tables::{self, DEFINITIONS, Entry, State};

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

pub(super) fn own(connection: &Connection) -> Result<Tracked> {
    let table = definitions::own_table(connection)?;
    Ok(Tracked::new(DEFINITIONS, "_driftless_definitions".to_owned(), Default::default(), table))
}
