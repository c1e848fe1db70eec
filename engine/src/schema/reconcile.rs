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
use super::identify::{Found, Identified, Places, Search};
use super::inventory::Inventory;
use super::renewal::Renewal;
use super::settling::Settling;
use super::{Catalog, Tracked};
use super::{effects, introspect, objects, rename_questions, unchanged, warnings};
use crate::config::TableOptions;
use crate::error::Result;
use crate::store::fold;
use crate::store::tables::{self, DEFINITIONS, Entry};

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
    let definitions: BTreeMap<String, Definition> =
        definitions::all(tx)?.into_iter().map(|definition| (definition.name.clone(), definition)).collect();
    let entries = tables::all(tx)?;
    let known = introspect::tables(tx, &inventory)?;
    let own_triggers = inventory.own_triggers();
    let places = Places::new(&entries, &own_triggers);
    let search = Search { tx, inventory: &inventory, known, places, definitions: &definitions, now };
    let Identified { found, took_a_given_up_name } = search.find_all(entries, settling)?;
    let effects = effects_of(tx, &inventory, &found)?;
    let undecided = found.iter().any(|(_, found)| found.undecided);
    let took_a_name = found
        .iter()
        .filter_map(|(entry, found)| Some((found.name_taken.clone()?, entry.options.without_kinds())))
        .collect();
    let mut tracked = vec![own(tx)?];
    let watched = effects.values().flatten().cloned().collect();
    let mut renewal = Renewal { tx, settling, watched, definitions: &definitions, now };
    for (entry, found) in found {
        let triggers = own_triggers.get(&entry.id).map_or(&[][..], Vec::as_slice);
        tracked.extend(renewal.renew(entry, found, triggers)?);
    }
    settling.looked();
    note_who_meddles(&mut tracked, &effects);
    let catalog = Catalog::new(tracked);
    warn(tx, &catalog, &inventory, &definitions, &effects)?;
    objects::follow(tx, &catalog, now)?;
    // What waits to be left alone is looked at again although the schema does not move.
    if undecided || catalog.iter().any(|table| table.settling) {
        unchanged::forget(tx)?;
    } else {
        unchanged::note(tx)?;
    }
    Ok(Reconciled { catalog, took_a_name, took_a_given_up_name })
}

/// The tables, folded, that the triggers of a table write into, by the number of that table.
type Effects = BTreeMap<i64, BTreeSet<String>>;

fn effects_of(tx: &Transaction<'_>, inventory: &Inventory, found: &[(Entry, Found)]) -> Result<Effects> {
    let mut effects = Effects::new();
    for (entry, found) in found {
        if let Some(Ok(table)) = &found.look
            && inventory.has_foreign_triggers(&table.spelled)
        {
            effects.insert(entry.id, effects::of_triggers(tx, table)?);
        }
    }
    Ok(effects)
}

/// Notes of each table whether its triggers write into tracked ones.
fn note_who_meddles(tracked: &mut [Tracked], effects: &Effects) {
    let names: BTreeSet<String> = tracked.iter().map(|table| fold(&table.table.spelled)).collect();
    for table in tracked {
        table.meddles = effects.get(&table.id).is_some_and(|written| !written.is_disjoint(&names));
    }
}

/// Records what about each table will surprise its user.
fn warn(
    tx: &Transaction<'_>,
    catalog: &Catalog,
    inventory: &Inventory,
    definitions: &BTreeMap<String, Definition>,
    effects: &Effects,
) -> Result<()> {
    let children = warnings::children(inventory);
    let entries = tables::all(tx)?;
    for entry in entries.iter().filter(|entry| entry.id != DEFINITIONS) {
        let Some(table) = catalog.get(entry.id) else { continue };
        let notes = notes(catalog, table, entry, definitions.get(&entry.name));
        let warning = warnings::about(tx, catalog, table, effects.get(&table.id), notes, &children)?;
        tables::set_reason(tx, table.id, warning.as_deref())?;
    }
    Ok(())
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
    notes.extend(rename_questions::questions(entry, spelled));
    notes
}

pub(super) fn own(connection: &Connection) -> Result<Tracked> {
    let table = definitions::own_table(connection)?;
    Ok(Tracked::new(DEFINITIONS, "_driftless_definitions".to_owned(), Default::default(), table))
}
