//! Database files, written and read by ordinary connections, and their comparison.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

/// An ordinary connection, as an app would have: no extension, a busy timeout, and the mathematical functions that the
/// SQLite of most systems has.
pub fn connect(path: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).expect("the database opens");
    connection.busy_timeout(Duration::from_secs(20)).expect("a busy timeout");
    driftless::sim::math_functions(&connection).expect("functions");
    connection
}

/// Makes a database of these statements.
pub fn create_database(path: &Path, statements: &str) {
    let connection = Connection::open(path).expect("a new database");
    driftless::sim::math_functions(&connection).expect("functions");
    connection.execute_batch(statements).unwrap_or_else(|error| panic!("{error} in: {statements}"));
}

/// Runs statements on a connection of their own.
pub fn sql(path: &Path, statements: &str) {
    connect(path).execute_batch(statements).unwrap_or_else(|error| panic!("{error} in: {statements}"));
}

/// The rows of a query, each as its values with commas between, in the form of [`Tables`].
pub fn query(path: &Path, query: &str) -> Vec<String> {
    rows(&connect(path), query).into_iter().map(|row| row.join(", ")).collect()
}

/// All user tables of a file: definition, columns in order, rows in the order of their keys. Every value with its
/// type, so that 1, 1.0 and '1' are three values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    tables: Vec<Table>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Table {
    name: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// Reads all user tables in one read transaction.
pub fn tables(path: &Path) -> Tables {
    let mut connection = connect(path);
    let tx = connection.transaction().expect("a read transaction");
    let names = rows_of_text(
        &tx,
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
         AND name NOT LIKE '\\_driftless\\_%' ESCAPE '\\' ORDER BY name",
    );
    let tables = names.into_iter().map(|name| read_table(&tx, name)).collect();
    Tables { tables }
}

fn read_table(connection: &Connection, name: String) -> Table {
    let quoted = name.replace('\'', "''");
    let info = format!("SELECT name FROM pragma_table_xinfo('{quoted}') ORDER BY cid");
    let columns = rows_of_text(connection, &info);
    let key = format!("SELECT cid FROM pragma_table_xinfo('{quoted}') WHERE pk > 0 ORDER BY pk");
    let key: Vec<usize> = {
        let mut statement = connection.prepare(&key).expect("the columns of a table");
        let found = statement.query_map([], |row| row.get::<_, i64>(0)).expect("the columns of a table");
        found.map(|cid| cid.expect("a number") as usize).collect()
    };
    let mut rows = rows(connection, &format!("SELECT * FROM \"{}\"", name.replace('"', "\"\"")));
    rows.sort_by_cached_key(|row| {
        let key: Vec<String> = key.iter().map(|&at| row[at].clone()).collect();
        (key, row.clone())
    });
    Table { name, columns, rows }
}

fn rows_of_text(connection: &Connection, query: &str) -> Vec<String> {
    let mut statement = connection.prepare(query).expect("the schema can be read");
    let found = statement.query_map([], |row| row.get(0)).expect("the schema can be read");
    found.map(|text| text.expect("text")).collect()
}

fn rows(connection: &Connection, query: &str) -> Vec<Vec<String>> {
    let mut statement = connection.prepare(query).unwrap_or_else(|error| panic!("{error} in: {query}"));
    let columns = statement.column_count();
    let mut found = statement.query([]).expect("the query runs");
    let mut rows = Vec::new();
    while let Some(row) = found.next().expect("a row") {
        rows.push((0..columns).map(|at| render(row.get_ref(at).expect("a column"))).collect());
    }
    rows
}

/// A value and its type: an SQL literal, or for text that is not UTF-8 and for blobs their bytes.
pub(crate) fn render(value: ValueRef<'_>) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(integer) => integer.to_string(),
        ValueRef::Real(real) => format!("{real:?}"),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => format!("'{text}'"),
            Err(_) => format!("text x'{}'", hex(text)),
        },
        ValueRef::Blob(blob) => format!("x'{}'", hex(blob)),
    }
}

/// Panics, saying where, unless all files have the same tables: names, order of columns, and every value with
/// its type.
#[track_caller]
pub fn assert_same_tables(paths: &[&Path]) {
    let Some((first, others)) = paths.split_first() else { return };
    let expected = tables(first);
    for other in others {
        let found = tables(other);
        if let Some(difference) = expected.difference(&found) {
            panic!("{} and {} differ:\n{difference}", first.display(), other.display());
        }
    }
}

impl Tables {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.tables.iter().map(|table| table.rows.len()).sum()
    }

    /// The names of the tables, sorted.
    pub fn names(&self) -> Vec<&str> {
        self.tables.iter().map(|table| &*table.name).collect()
    }

    /// What differs first, for people; `None` if nothing does.
    pub fn difference(&self, other: &Self) -> Option<String> {
        if self.names() != other.names() {
            return Some(format!("tables {:?} against {:?}", self.names(), other.names()));
        }
        self.tables.iter().zip(&other.tables).find_map(|(one, other)| one.difference(other))
    }
}

impl Table {
    fn difference(&self, other: &Self) -> Option<String> {
        /// So many rows are shown.
        const MOST: usize = 5;
        if self == other {
            return None;
        }
        if self.columns != other.columns {
            return Some(format!("columns of {}: {:?} against {:?}", self.name, self.columns, other.columns));
        }
        let only = |one: &Self, other: &Self| {
            let rows = one.rows.iter().filter(|row| !other.rows.contains(row));
            rows.take(MOST).map(|row| format!("    {}", row.join(", "))).collect::<Vec<_>>().join("\n")
        };
        Some(format!(
            "table {} ({}), {} rows against {}\n  only in the first:\n{}\n  only in the second:\n{}",
            self.name,
            self.columns.join(", "),
            self.rows.len(),
            other.rows.len(),
            only(self, other),
            only(other, self)
        ))
    }
}

impl fmt::Display for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in &self.tables {
            writeln!(f, "{} ({})", table.name, table.columns.join(", "))?;
            for row in &table.rows {
                writeln!(f, "  {}", row.join(", "))?;
            }
        }
        Ok(())
    }
}
