//! What about a tracked table will surprise its user, in sentences for `status`.

use std::collections::BTreeSet;

use rusqlite::Transaction;

use super::{Catalog, Tracked, introspect};
use crate::error::{Doing, Result};
use crate::store::fold;

/// Everything worth a warning about one table; `effects`: the tables that its triggers write into, `notes`: what there is
/// to say of its names.
pub(crate) fn about(
    tx: &Transaction<'_>,
    catalog: &Catalog,
    tracked: &Tracked,
    effects: Option<&BTreeSet<String>>,
    notes: Vec<String>,
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
    for table in untracked_children(tx, catalog, tracked)? {
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

fn untracked_children(tx: &Transaction<'_>, catalog: &Catalog, tracked: &Tracked) -> Result<Vec<String>> {
    let doing = "reading the foreign keys";
    let mut children = Vec::new();
    for name in introspect::user_tables(tx)? {
        if catalog.named(&name).is_some() {
            continue;
        }
        let mut statement =
            tx.prepare_cached("SELECT \"table\" FROM pragma_foreign_key_list(?1)").doing(doing)?;
        let parents: Vec<String> =
            statement.query_map([&name], |row| row.get(0)).and_then(|rows| rows.collect()).doing(doing)?;
        if parents.iter().any(|parent| fold(parent) == fold(&tracked.table.spelled)) {
            children.push(name);
        }
    }
    Ok(children)
}
