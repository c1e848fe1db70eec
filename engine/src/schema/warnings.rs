//! What about a tracked table will surprise its user, in sentences for `status`.

use std::collections::{BTreeSet, HashMap};

use rusqlite::Transaction;

use super::inventory::Inventory;
use super::{Catalog, Tracked};
use crate::error::Result;
use crate::store::fold;

/// Everything worth a warning about one table; `effects`: the tables that its triggers write into, `notes`: what there is
/// to say of its names, `children`: which tables refer to which.
pub(crate) fn about(
    tx: &Transaction<'_>,
    catalog: &Catalog,
    tracked: &Tracked,
    effects: Option<&BTreeSet<String>>,
    notes: Vec<String>,
    children: &Children<'_>,
) -> Result<Option<String>> {
    let mut warnings = notes;
    for reference in &tracked.table.references {
        if catalog.named(&reference.parent).is_none() {
            warnings.push(format!(
                "it refers to table '{}', which is not tracked: rows whose parent is not in this file are parked; track it too",
                reference.parent
            ));
        }
    }
    if let Err(error) = tx.prepare(&tracked.insert).and_then(|_| tx.prepare(&tracked.delete)) {
        warnings.push(format!(
            "nothing but your application can write to it ({error}): rows that are merged here are parked; drop what needs a \
             function or a collation of the application's, an index for instance"
        ));
    }
    let children = children.get(&fold(&tracked.table.spelled));
    for table in children.into_iter().flatten().filter(|child| catalog.named(child).is_none()) {
        warnings.push(format!(
            "table '{table}' refers to it and is not tracked: rows deleted elsewhere leave rows of '{table}' without a parent; track it too"
        ));
    }
    for written in effects.into_iter().flatten() {
        if let Some(table) = catalog.named(written) {
            warnings.push(format!(
                "its triggers write into the tracked table '{}': what they write there for a merged row is undone, since what they wrote for its author travels",
                table.table.spelled
            ));
        }
    }
    warnings.dedup();
    Ok((!warnings.is_empty()).then(|| warnings.join("; ")))
}

/// The tables that refer to a table, by the folded name of that.
pub(crate) type Children<'a> = HashMap<String, Vec<&'a str>>;

/// Which tables of the user's refer to which.
pub(crate) fn children(inventory: &Inventory) -> Children<'_> {
    let mut children = Children::new();
    for table in inventory.user_tables() {
        for key in &table.foreign_keys {
            let known = children.entry(fold(&key.parent)).or_default();
            if known.last() != Some(&&*table.name) {
                known.push(&table.name);
            }
        }
    }
    children
}
