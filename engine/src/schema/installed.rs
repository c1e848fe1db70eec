//! Our triggers on a table: whether those are there that should be, making them, and dropping them.

use rusqlite::Transaction;

use super::inventory::Inventory;
use super::triggers::{self, Trigger};
use super::{Table, creation};
use crate::error::{Doing, Result};
use crate::store::{dirty, quote, sql};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Presence {
    AsExpected,
    /// Other triggers than expected: a column was renamed, a unique index added. Or the app made one after them.
    Different,
    /// At least one is gone: the table was dropped and made anew, or somebody dropped it.
    Missing,
}

/// `same_rules`: no index of the table came or went, so that all of them must be there.
pub(super) fn triggers_present(
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
    sql::list(
        tx,
        "reading the triggers",
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, length(?1)) = ?1",
        [triggers::name_prefix(id)],
        |row| Ok(Trigger { name: row.get(0)?, sql: row.get(1)? }),
    )
}

pub(super) fn drop_triggers(tx: &Transaction<'_>, id: i64) -> Result<()> {
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
