//! A look at the user's tables: renews what is recorded of them, and tracks a new table that has the name of a renamed one.

use rusqlite::Transaction;

use crate::config::TableOptions;
use crate::error::{Error, Result};
use crate::schema::settling::Settling;
use crate::schema::tracking::{self, rule};
use crate::schema::{Catalog, reconcile};
use crate::store::{fold, tables};

/// What a look found.
pub(crate) struct Looked {
    /// The tables to capture from and to materialize into.
    pub(crate) catalog: Catalog,
    /// Whether a new table stands where one was that the space has given up.
    pub(crate) took_a_given_up_name: bool,
}

/// Looks at the tables. A new table that has the name of a tracked one which was renamed is tracked in its own right. `now`:
/// milliseconds since 1970.
pub(crate) fn at_tables(tx: &Transaction<'_>, settling: &mut Settling, now: i64) -> Result<Looked> {
    let found = reconcile::run(tx, settling, now)?;
    let took_a_given_up_name = found.took_a_given_up_name;
    if found.took_a_name.is_empty() {
        return Ok(Looked { catalog: found.catalog, took_a_given_up_name });
    }
    for (name, options) in found.took_a_name {
        track_apart(tx, &name, options, now)?;
    }
    Ok(Looked { catalog: reconcile::run(tx, settling, now)?.catalog, took_a_given_up_name })
}

/// Tracks a new table that has the name of a renamed one.
fn track_apart(tx: &Transaction<'_>, name: &str, options: TableOptions, now: i64) -> Result<()> {
    match tracking::track(tx, &[name], options, now) {
        Ok(_) => {
            tracing::info!(
                table = name,
                "a new table has the name of a renamed one, and is tracked apart from it"
            );
            let entry = tables::called(tx, &fold(name))?;
            rule::remember(tx, entry.map(|entry| entry.id).into_iter(), now)
        }
        Err(error @ (Error::NotTrackable { .. } | Error::Contradiction { .. })) => {
            tracing::warn!(table = name, %error, "a new table has the name of a renamed one, and is not tracked");
            Ok(())
        }
        Err(error) => Err(error),
    }
}
