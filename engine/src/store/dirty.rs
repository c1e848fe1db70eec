//! `_driftless_dirty`: which rows were written since their last capture. Appended to by triggers in the writer's
//! own transaction, drained by capture. The mark says only which row and when: capture reads the row as it is.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use driftless_protocol::Value;
use rusqlite::{Connection, Transaction};

use super::{Bind, sql, value};
use crate::error::{Doing, Result};

/// One mark.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) id: i64,
    pub(crate) table: i64,
    /// When, in milliseconds since 1970.
    pub(crate) at: i64,
    /// Of an entry of the backlog: why the row is looked at.
    pub(crate) why: Why,
    /// The key's columns; shorter keys than the longest leave NULLs at the end.
    pub(crate) key: Vec<Value<'static>>,
}

/// Why a row is looked at that no trigger marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Why {
    /// It is compared with its document again.
    #[default]
    Again,
    /// Its table was never shown what the documents hold.
    First,
    /// Its table was rebuilt.
    Rebuilt,
    /// One of its columns was taken for another until somebody said which is which.
    Told,
}

impl Why {
    /// As the backlog keeps it.
    pub(crate) fn number(self) -> i64 {
        match self {
            Self::Again => 0,
            Self::First => 1,
            Self::Rebuilt => 2,
            Self::Told => 3,
        }
    }

    fn parse(number: i64) -> Self {
        [Self::First, Self::Rebuilt, Self::Told]
            .into_iter()
            .find(|why| why.number() == number)
            .unwrap_or_default()
    }
}

/// Adds key columns to the log and to the backlog until they hold `columns`; and to a log that was made without it, whether a
/// marked row went.
pub(crate) fn widen(tx: &Transaction<'_>, columns: usize) -> Result<()> {
    let tells_gone =
        "SELECT EXISTS (SELECT 1 FROM pragma_table_info('_driftless_dirty') WHERE name = 'gone')";
    if !sql::one(tx, "reading the dirty log", tells_gone, [], sql::first)? {
        tx.execute_batch("ALTER TABLE _driftless_dirty ADD COLUMN gone INTEGER NOT NULL DEFAULT 0")
            .doing("widening the dirty log")?;
    }
    for log in ["_driftless_dirty", "_driftless_backlog"] {
        let present = key_columns(tx, log)?;
        for n in present..columns {
            tx.execute_batch(&format!("ALTER TABLE {log} ADD COLUMN k{n}"))
                .doing("widening the dirty log")?;
        }
    }
    Ok(())
}

fn key_columns(connection: &Connection, log: &str) -> Result<usize> {
    let count: u32 = sql::one(
        connection,
        "reading the dirty log",
        "SELECT count(*) FROM pragma_table_info(?1) WHERE name GLOB 'k[0-9]*'",
        [log],
        sql::first,
    )?;
    Ok(count as usize)
}

/// Whether a column of the log is one of the key's.
fn is_key_column(name: &str) -> bool {
    name.strip_prefix('k').is_some_and(|number| number.parse::<u32>().is_ok())
}

/// `k0, k1, …` for a key of that many columns.
pub(crate) fn key_list(columns: usize) -> String {
    (0..columns).map(|n| format!("k{n}")).collect::<Vec<_>>().join(", ")
}

/// The oldest `limit` marks.
pub(crate) fn read(connection: &Connection, limit: usize) -> Result<Vec<Mark>> {
    read_log(connection, "SELECT id, tbl, at, 0, * FROM _driftless_dirty ORDER BY id LIMIT ?1", limit)
}

/// The oldest marks of `rows` different rows, and whether those are all marks. A row that is written again and again is
/// captured once: of marks that name no further row there may be many more.
pub(crate) fn read_rows(connection: &Connection, rows: usize) -> Result<(Vec<Mark>, bool)> {
    /// So many marks a row at most, which bounds the memory that they take.
    const MARKS_PER_ROW: usize = 32;
    let most = rows.saturating_mul(MARKS_PER_ROW).min(usize::MAX >> 1);
    let mut marks = read(connection, most)?;
    let mut all = marks.len() < most;
    let mut different = HashSet::new();
    let end = marks.iter().position(|mark| {
        let mut hasher = DefaultHasher::new();
        mark.table.hash(&mut hasher);
        mark.key.iter().for_each(|value| value.to_bytes().hash(&mut hasher));
        // Two rows of one hash count as one, which changes nothing but how many are taken.
        different.insert(hasher.finish());
        different.len() > rows
    });
    if let Some(end) = end {
        marks.truncate(end);
        all = false;
    }
    Ok((marks, all))
}

/// The oldest `limit` entries of the backlog.
pub(crate) fn read_backlog(connection: &Connection, limit: usize) -> Result<Vec<Mark>> {
    read_log(connection, "SELECT id, tbl, at, first, * FROM _driftless_backlog ORDER BY id LIMIT ?1", limit)
}

fn read_log(connection: &Connection, sql: &str, limit: usize) -> Result<Vec<Mark>> {
    let doing = "reading the dirty log";
    // Not cached: `*` must see the columns that were added since.
    let mut statement = connection.prepare(sql).doing(doing)?;
    let names = statement.column_names().enumerate();
    let keys: Vec<usize> = names.filter(|(_, name)| is_key_column(name)).map(|(at, _)| at).collect();
    let mut rows = statement.query([sql::limit(limit)]).doing(doing)?;
    let mut marks = Vec::new();
    while let Some(row) = rows.next().doing(doing)? {
        let key = keys.iter().map(|at| row.get_ref(*at).map(|v| value(v).into_owned()));
        marks.push(Mark {
            id: row.get(0).doing(doing)?,
            table: row.get(1).doing(doing)?,
            at: row.get(2).doing(doing)?,
            why: Why::parse(row.get(3).doing(doing)?),
            key: key.collect::<rusqlite::Result<_>>().doing(doing)?,
        });
    }
    Ok(marks)
}

/// When the oldest write was made that is marked, in milliseconds since 1970; `None` if none is.
pub(crate) fn oldest(connection: &Connection) -> Result<Option<i64>> {
    sql::one(connection, "reading the dirty log", "SELECT min(at) FROM _driftless_dirty", [], sql::first)
}

/// Forgets all marks up to `id`.
pub(crate) fn forget(tx: &Transaction<'_>, id: i64) -> Result<()> {
    sql::exec(tx, "draining the dirty log", "DELETE FROM _driftless_dirty WHERE id <= ?1", [id])?;
    Ok(())
}

/// Marks one row by its key, as a trigger would.
pub(crate) fn mark_key(tx: &Transaction<'_>, table: i64, at: i64, key: &[Value<'_>]) -> Result<()> {
    let places: Vec<String> = (3..key.len() + 3).map(|n| format!("?{n}")).collect();
    let sql = format!(
        "INSERT INTO _driftless_dirty (tbl, at, {}) VALUES (?1, ?2, {})",
        key_list(key.len()),
        places.join(", ")
    );
    let first = [Value::Integer(table), Value::Integer(at)];
    sql::exec(tx, "marking a row", &sql, rusqlite::params_from_iter(first.iter().chain(key).map(Bind)))?;
    Ok(())
}

/// Marks one row of a side table, as a trigger would.
pub(crate) fn mark(tx: &Transaction<'_>, table: i64, at: i64, key: &str) -> Result<()> {
    sql::exec(
        tx,
        "marking a row",
        "INSERT INTO _driftless_dirty (tbl, at, k0) VALUES (?1, ?2, ?3)",
        (table, at, key),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beside an app that writes the same rows again and again, a limit of marks made one turn into many, each of which captured
    /// nearly the same rows.
    #[test]
    fn a_row_that_is_written_often_counts_once() {
        let connection = Connection::open_in_memory().expect("it opens");
        let table = "CREATE TABLE _driftless_dirty (id INTEGER PRIMARY KEY, tbl, at, k0)";
        connection.execute_batch(table).expect("made");
        let mark = |row: &str| {
            connection
                .execute("INSERT INTO _driftless_dirty (tbl, at, k0) VALUES (1, 0, ?1)", [row])
                .expect("marked");
        };
        for _ in 0..20 {
            mark("a");
            mark("b");
        }
        let taken = |rows| {
            let (marks, all) = read_rows(&connection, rows).expect("read");
            (marks.len(), all)
        };
        assert_eq!(taken(2), (40, true));
        assert_eq!(taken(1), (1, false));
        mark("c");
        mark("a");
        assert_eq!(taken(2), (40, false), "up to the first mark of a third row");
        assert_eq!(taken(3), (42, true));
    }
}
