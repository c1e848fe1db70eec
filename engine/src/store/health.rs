//! Whether the side tables are all there, as this version makes them. They lie in the user's file, and users drop, empty
//! and alter tables. What is expected is read from a database in memory that was made by the very same statements.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::{migrations, quote};
use crate::error::{Doing, Error, Result};

/// Something of the schema that belongs to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    /// `table`, `index`, `view` or `trigger`.
    pub(crate) kind: String,
    pub(crate) name: String,
    sql: String,
}

/// Whether any side table is in this file.
pub(crate) fn any(connection: &Connection) -> Result<bool> {
    connection
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table'
             AND substr(name, 1, 11) = '_driftless_')",
            [],
            |row| row.get(0),
        )
        .doing("looking for the side tables")
}

/// What should be there and is not, tables first.
pub(crate) fn missing(connection: &Connection) -> Result<Vec<Object>> {
    let (present, _) = schema_of(connection)?;
    let (expected, _) = expected()?;
    let is_there = |object: &Object| {
        present.iter().any(|known| known.kind == object.kind && known.name.eq_ignore_ascii_case(&object.name))
    };
    Ok(expected.into_iter().filter(|object| !is_there(object)).collect())
}

/// Side tables that lack columns, and which: (table, columns).
pub(crate) fn crippled(connection: &Connection) -> Result<Vec<(String, Vec<String>)>> {
    let (_, present) = schema_of(connection)?;
    let (_, expected) = expected()?;
    let mut crippled = Vec::new();
    for (table, columns) in expected {
        let Some(found) = present.get(&table) else { continue };
        let lacks: Vec<String> = columns.into_iter().filter(|column| !found.contains(column)).collect();
        if !lacks.is_empty() {
            crippled.push((table, lacks));
        }
    }
    Ok(crippled)
}

/// Makes what is missing. A view that cannot be made because something else has its name is left out.
pub(crate) fn make(tx: &Transaction<'_>, missing: &[Object]) -> Result<()> {
    for object in missing {
        let made = tx.execute_batch(&object.sql);
        if object.kind == "table" {
            made.doing("making a side table again")?;
        } else if let Err(error) = made {
            tracing::warn!(name = object.name, %error, "could not be made again");
        }
    }
    Ok(())
}

/// Fails, saying what to do, if some side tables are there and others are not: whoever only reads cannot mend.
pub(crate) fn check_readable(connection: &Connection) -> Result<()> {
    let missing = missing(connection)?;
    let tables: Vec<&str> =
        missing.iter().filter(|object| object.kind == "table").map(|object| &*object.name).collect();
    if tables.is_empty() {
        return Ok(());
    }
    Err(Error::Damaged {
        table: "_driftless_*",
        what: format!("somebody dropped {}; the next `driftless sync` makes them again", tables.join(", ")),
    })
}

type Columns = BTreeMap<String, Vec<String>>;

/// The same for the life of the process, and some milliseconds to find out.
fn expected() -> Result<(Vec<Object>, Columns)> {
    static EXPECTED: OnceLock<(Vec<Object>, Columns)> = OnceLock::new();
    if let Some(expected) = EXPECTED.get() {
        return Ok(expected.clone());
    }
    let model = Connection::open_in_memory().doing("reading the schema")?;
    model.execute_batch(migrations::SCHEMA).doing("reading the schema")?;
    let expected = schema_of(&model)?;
    Ok(EXPECTED.get_or_init(|| expected).clone())
}

fn schema_of(connection: &Connection) -> Result<(Vec<Object>, Columns)> {
    let doing = "reading the schema";
    let mut statement = connection
        .prepare(
            "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL
             AND (type <> 'trigger' OR name = 'driftless_settle') AND (substr(name, 1, 11) = '_driftless_' OR substr(name, 1, 10) = 'driftless_') ORDER BY rowid",
        )
        .doing(doing)?;
    let objects: Vec<Object> = statement
        .query_map([], |row| Ok(Object { kind: row.get(0)?, name: row.get(1)?, sql: row.get(2)? }))
        .and_then(|rows| rows.collect())
        .doing(doing)?;
    let mut columns = Columns::new();
    for table in objects.iter().filter(|object| object.kind == "table") {
        let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1)").doing(doing)?;
        let names: Vec<String> = statement
            .query_map([&table.name], |row| row.get(0))
            .and_then(|rows| rows.collect())
            .doing(doing)?;
        columns.insert(table.name.clone(), names);
    }
    Ok((objects, columns))
}

/// Whether a table has any row.
pub(crate) fn has_rows(connection: &Connection, table: &str) -> Result<bool> {
    connection
        .prepare_cached(&format!("SELECT 1 FROM {} LIMIT 1", quote(table)))
        .and_then(|mut statement| statement.query_row([], |_| Ok(())).optional())
        .map(|row| row.is_some())
        .doing("looking at the side tables")
}
