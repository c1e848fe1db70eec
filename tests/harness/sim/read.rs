//! Reading a file over the app's own connection, value for value and type for type.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use rusqlite::types::FromSql;
use rusqlite::{Connection, Result};

use super::schema::quote;
use crate::database::render;

/// The rows of a query, each as its values with commas between.
pub(super) fn lines(app: &Connection, sql: &str) -> Result<Vec<String>> {
    Ok(rows(app, sql)?.into_iter().map(|row| row.join(", ")).collect())
}

/// The rows of a query.
pub(super) fn rows(app: &Connection, sql: &str) -> Result<Vec<Vec<String>>> {
    // Not cached: a statement that is kept does not notice that its table has another column.
    let mut statement = app.prepare(sql)?;
    let columns = statement.column_count();
    let mut found = statement.query([])?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        rows.push((0..columns).map(|at| row.get_ref(at).map(render)).collect::<Result<_>>()?);
    }
    Ok(rows)
}

/// A query of two columns.
pub(super) fn pairs<A: FromSql + Ord, B: FromSql>(app: &Connection, sql: &str) -> Result<BTreeMap<A, B>> {
    let mut statement = app.prepare_cached(sql)?;
    let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    found.collect()
}

/// The tables that are replicated: all but the engine's and `mirror`, which each file keeps for itself.
pub(super) fn tables(app: &Connection) -> Result<Vec<String>> {
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'sqlite_*'
               AND name NOT GLOB '_driftless_*' AND name NOT IN ('mirror', 'the new one', 'the old one') ORDER BY name";
    let mut statement = app.prepare_cached(sql)?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// A number for all that a file shows and lists as parked; equal for equal content.
pub(super) fn digest(app: &Connection) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    for table in tables(app)? {
        let mut rows = rows(app, &format!("SELECT * FROM {}", quote(&table)))?;
        rows.sort();
        (table, rows).hash(&mut hasher);
    }
    lines(app, "SELECT \"table\", \"key\" FROM driftless_parked ORDER BY 1, 2")?.hash(&mut hasher);
    let mut conflicts = lines(app, "SELECT * FROM driftless_conflicts")?;
    conflicts.sort();
    conflicts.hash(&mut hasher);
    Ok(hasher.finish())
}
