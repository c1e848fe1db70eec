//! A schema that has not moved since it was last reconciled need not be reconciled when the file is opened: what was found
//! then is recorded, and stands.
//!
//! SQLite counts every change of the schema in the file's header (`PRAGMA schema_version`). The count at which the triggers
//! and tables were last compared is kept in `_driftless_meta`, with the version of Driftless that did so: another version
//! may want other triggers.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Transaction};

use super::inventory::Inventory;
use super::{Catalog, Tracked, column_names, effects, introspect, reconcile, rename_questions};
use crate::error::{Doing, Result};
use crate::store::tables::{self, DEFINITIONS, State};
use crate::store::{fold, identity};

/// What is recorded while the schema is as it is now.
fn stamp(connection: &Connection) -> Result<String> {
    let version: i64 = connection
        .query_row("PRAGMA schema_version", [], |row| row.get(0))
        .doing("reading the schema version")?;
    Ok(format!("{version} {}", env!("CARGO_PKG_VERSION")))
}

/// Whether nothing of the schema has changed since it was last reconciled.
pub(crate) fn is_unchanged(connection: &Connection) -> Result<bool> {
    Ok(identity::reconciled(connection)? == Some(stamp(connection)?))
}

/// Records that everything is reconciled with the schema as it is now.
pub(super) fn note(tx: &Transaction<'_>) -> Result<()> {
    identity::set_reconciled(tx, Some(&stamp(tx)?))
}

/// Forgets that, because something other than the schema has changed that the tables are compared with.
pub(crate) fn forget(tx: &Transaction<'_>) -> Result<()> {
    identity::set_reconciled(tx, None)
}

/// The tables to capture from and to materialize into, as they were recorded. `None` if the schema has moved.
pub(super) fn catalog(tx: &Transaction<'_>) -> Result<Option<Catalog>> {
    if !is_unchanged(tx)? {
        return Ok(None);
    }
    let inventory = Inventory::read_users(tx)?;
    let mut looks = introspect::tables(tx, &inventory)?;
    let mut effects = BTreeMap::new();
    let mut tracked = vec![reconcile::own(tx)?];
    for entry in tables::all(tx)? {
        if entry.id == DEFINITIONS || entry.state != State::Tracked {
            continue;
        }
        // It waits to be compared with its documents.
        if entry.rebuilt.is_some() {
            return Ok(None);
        }
        // Recorded as tracked and not there as such: then the record is wrong.
        let Some(Ok(mut table)) = looks.remove(&fold(&entry.spelled)) else { return Ok(None) };
        if inventory.has_foreign_triggers(&table.spelled) {
            effects.insert(entry.id, effects::of_triggers(tx, &table)?);
        }
        let renames = table.rename(&entry.renames);
        let asked = rename_questions::asked(&entry);
        let renames = column_names::without_waiting(&entry, renames);
        let new_here = column_names::new_here(&entry);
        let fresh = entry.fresh;
        let one = Tracked::new(entry.id, entry.name, entry.options, table);
        tracked.push(Tracked { fresh, new_here, renames, ..one.asking(asked) });
    }
    let written: BTreeSet<String> = effects.values().flatten().cloned().collect();
    let names: BTreeSet<String> = tracked.iter().map(|table| fold(&table.table.spelled)).collect();
    for table in &mut tracked {
        table.watched = written.contains(&fold(&table.table.spelled));
        table.meddles = effects.get(&table.id).is_some_and(|written| !written.is_disjoint(&names));
    }
    Ok(Some(Catalog::new(tracked)))
}
