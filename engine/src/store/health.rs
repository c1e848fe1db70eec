//! Whether the side tables are all there, as this version makes them. They lie in the user's file, and users drop, empty
//! and alter tables. What is expected is read from a database in memory that was made by the very same statements.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use rusqlite::{Connection, Transaction};

use super::sql::{self, Number};
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
    sql::exists(
        connection,
        "looking for the side tables",
        "SELECT 1 FROM sqlite_master WHERE type = 'table'
             AND substr(name, 1, 11) = '_driftless_'",
        [],
    )
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

/// Fails, saying what to do, if some side tables are there and others are not: whoever only reads cannot repair.
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
    let objects: Vec<Object> = sql::list(
        connection,
        doing,
        "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL
             AND (type <> 'trigger' OR name = 'driftless_settle') AND (substr(name, 1, 11) = '_driftless_' OR substr(name, 1, 10) = 'driftless_') ORDER BY rowid",
        [],
        |row| Ok(Object { kind: row.get(0)?, name: row.get(1)?, sql: row.get(2)? }),
    )?;
    let mut columns = Columns::new();
    for table in objects.iter().filter(|object| object.kind == "table") {
        let names: Vec<String> = sql::list(
            connection,
            doing,
            "SELECT name FROM pragma_table_info(?1)",
            [&table.name],
            sql::first,
        )?;
        columns.insert(table.name.clone(), names);
    }
    Ok((objects, columns))
}

/// Whether a table has any row.
pub(crate) fn has_rows(connection: &Connection, table: &str) -> Result<bool> {
    sql::exists(connection, "looking at the side tables", &format!("SELECT 1 FROM {}", quote(table)), [])
}

/// Whether each of these tables has any row.
pub(crate) fn have_rows<const N: usize>(connection: &Connection, tables: [&str; N]) -> Result<[bool; N]> {
    let each = tables.map(|table| format!("EXISTS (SELECT 1 FROM {})", quote(table)));
    let query = format!("SELECT {}", each.join(", "));
    sql::one(connection, "looking at the side tables", &query, [], |row| {
        let mut have = [false; N];
        for (place, has) in have.iter_mut().enumerate() {
            *has = row.get(place)?;
        }
        Ok(have)
    })
}

/// How many rows of a side table are about each table, by the table's number.
pub(crate) fn rows_by_table(connection: &Connection, table: &str) -> Result<HashMap<i64, u64>> {
    let query = format!("SELECT tbl, count(*) FROM {} GROUP BY tbl", quote(table));
    sql::list(connection, "counting the rows of side tables", &query, [], |row| {
        row.get(1).map(|Number(count)| count).and_then(|count| Ok((row.get(0)?, count)))
    })
}

/// Empties every side table that holds what came from documents, or is to become of them.
pub(crate) fn empty_documents(tx: &Transaction<'_>) -> Result<()> {
    for table in [
        "rows",
        "documents",
        "bases",
        "texts",
        "text_updates",
        "text_bases",
        "outbox",
        "inbox",
        "snapshot",
        "progress",
        "conflicts",
        "parked",
        "claims",
        "quarantine",
        "refresh",
    ] {
        sql::exec(tx, "starting over", &format!("DELETE FROM _driftless_{table}"), [])?;
    }
    Ok(())
}
