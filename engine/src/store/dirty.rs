//! `_driftless_dirty`: which rows were written since their last capture. Appended to by triggers in the writer's
//! own transaction, drained by capture. The mark says only which row and when: capture reads the row as it is.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use driftless_protocol::Value;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, Statement, Transaction};

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

const READ: &str = "SELECT id, tbl, at, 0, * FROM _driftless_dirty ORDER BY id LIMIT ?1";

/// The oldest `limit` marks.
pub(crate) fn read(connection: &Connection, limit: usize) -> Result<Vec<Mark>> {
    read_log(connection, READ, limit)
}

/// The oldest marks of the log.
#[derive(Debug, Default)]
pub(crate) struct Oldest {
    /// Each row once, at its first mark's place and with the time of its last.
    pub(crate) marks: Vec<Mark>,
    /// How many marks of the log these are.
    pub(crate) count: usize,
    /// The last of them.
    pub(crate) last: i64,
    /// Whether the log has no others.
    pub(crate) all: bool,
}

/// The oldest marks of `rows` different rows. A row that is written again and again is captured once: of marks that name no
/// further row there may be many more.
pub(crate) fn read_rows(connection: &Connection, rows: usize) -> Result<Oldest> {
    /// So many marks a row at most, which bounds how long it takes to read them.
    const MARKS_PER_ROW: usize = 32;
    let doing = "reading the dirty log";
    let most = rows.saturating_mul(MARKS_PER_ROW).min(usize::MAX >> 1);
    let mut statement = connection.prepare_cached(READ).doing(doing)?;
    let mut found = statement.query([sql::limit(most)]).doing(doing)?;
    let mut keys = Vec::new();
    let mut oldest = Oldest::default();
    let mut known: HashMap<u64, usize> = HashMap::new();
    while let Some(row) = found.next().doing(doing)? {
        if oldest.count == 0 {
            // Looked up only after the first step: columns may have been added since the statement was prepared.
            keys = key_places(row.as_ref());
        }
        let (id, table, at) = named(row).doing(doing)?;
        let mut hasher = DefaultHasher::new();
        table.hash(&mut hasher);
        for place in &keys {
            hash_value(row.get_ref(*place).doing(doing)?, &mut hasher);
        }
        let different = oldest.marks.len();
        let place = *known.entry(hasher.finish()).or_insert(different);
        match oldest.marks.get_mut(place) {
            Some(mark) if mark.table == table && is_key(&mark.key, row, &keys).doing(doing)? => {
                mark.at = mark.at.max(at);
            }
            _ if different == rows => return Ok(oldest),
            // If two rows have one hash, the second is listed once for each of its marks, which does no harm.
            _ => oldest.marks.push(read_mark(row, &keys).doing(doing)?),
        }
        (oldest.last, oldest.count) = (id, oldest.count + 1);
    }
    oldest.all = oldest.count < most;
    Ok(oldest)
}

/// Equal for equal values, as [`is_key`] compares them.
fn hash_value(value: ValueRef<'_>, hasher: &mut DefaultHasher) {
    match value {
        ValueRef::Null => hasher.write_u8(0),
        ValueRef::Integer(n) => n.hash(hasher),
        ValueRef::Real(n) => n.to_bits().hash(hasher),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.hash(hasher),
    }
}

fn is_key(key: &[Value<'_>], row: &Row<'_>, places: &[usize]) -> rusqlite::Result<bool> {
    for (known, place) in key.iter().zip(places) {
        if value(row.get_ref(*place)?) != *known {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The oldest `limit` entries of the backlog.
pub(crate) fn read_backlog(connection: &Connection, limit: usize) -> Result<Vec<Mark>> {
    read_log(connection, "SELECT id, tbl, at, first, * FROM _driftless_backlog ORDER BY id LIMIT ?1", limit)
}

fn read_log(connection: &Connection, sql: &str, limit: usize) -> Result<Vec<Mark>> {
    let doing = "reading the dirty log";
    // Not cached: `*` must see the columns that were added since.
    let mut statement = connection.prepare(sql).doing(doing)?;
    let keys = key_places(&statement);
    let mut rows = statement.query([sql::limit(limit)]).doing(doing)?;
    let mut marks = Vec::new();
    while let Some(row) = rows.next().doing(doing)? {
        marks.push(read_mark(row, &keys).doing(doing)?);
    }
    Ok(marks)
}

/// Which columns of the result are the key's.
fn key_places(statement: &Statement<'_>) -> Vec<usize> {
    let names = statement.column_names().enumerate();
    names.filter(|(_, name)| is_key_column(name)).map(|(at, _)| at).collect()
}

/// A mark's number, table and time.
fn named(row: &Row<'_>) -> rusqlite::Result<(i64, i64, i64)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn read_mark(row: &Row<'_>, keys: &[usize]) -> rusqlite::Result<Mark> {
    let (id, table, at) = named(row)?;
    let key = keys.iter().map(|place| row.get_ref(*place).map(|v| value(v).into_owned()));
    Ok(Mark { id, table, at, why: Why::parse(row.get(3)?), key: key.collect::<rusqlite::Result<_>>()? })
}

/// When the oldest write was made that is marked, in milliseconds since 1970; `None` if none is.
pub(crate) fn oldest(connection: &Connection) -> Result<Option<i64>> {
    sql::one(connection, "reading the dirty log", "SELECT min(at) FROM _driftless_dirty", [], sql::first)
}

/// Forgets all marks up to `id`.
pub(crate) fn forget(tx: &Transaction<'_>, id: i64) -> Result<()> {
    let doing = "draining the dirty log";
    // Later ones may have been made in this very transaction.
    if sql::exists(tx, doing, "SELECT 1 FROM _driftless_dirty WHERE id > ?1", [id])? {
        sql::exec(tx, doing, "DELETE FROM _driftless_dirty WHERE id <= ?1", [id])?;
    } else {
        // Without a condition SQLite need not look at each mark:
        // <https://sqlite.org/lang_delete.html#the_truncate_optimization>.
        sql::exec(tx, doing, "DELETE FROM _driftless_dirty", [])?;
    }
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

    /// Numbers and texts are different keys, and a row's time is that of its last mark.
    #[test]
    fn marks_of_one_row_are_joined_and_those_of_others_are_not() {
        let connection = Connection::open_in_memory().expect("it opens");
        let log = "CREATE TABLE _driftless_dirty (id INTEGER PRIMARY KEY, tbl, at, k0, k1);
            INSERT INTO _driftless_dirty (tbl, at, k0, k1) VALUES
              (1, 5, 'a', 1), (1, 3, 'a', '1'), (1, 9, 'a', 1), (2, 1, 'a', 1), (1, 2, 'a', NULL),
              (1, 7, 'a', 1), (1, 4, x'61', 1), (1, 8, 'a', NULL), (1, 6, 'a', 1.0)";
        connection.execute_batch(log).expect("made");
        let marks = read_rows(&connection, 10).expect("read").marks;
        let times: Vec<(i64, i64, i64)> = marks.iter().map(|mark| (mark.id, mark.table, mark.at)).collect();
        assert_eq!(times, [(1, 1, 9), (2, 1, 3), (4, 2, 1), (5, 1, 8), (7, 1, 4), (9, 1, 6)]);
    }

    #[test]
    fn marks_that_come_after_those_that_are_forgotten_stay() {
        let mut connection = Connection::open_in_memory().expect("it opens");
        let log = "CREATE TABLE _driftless_dirty (id INTEGER PRIMARY KEY, tbl, at, k0);
            INSERT INTO _driftless_dirty (tbl, at, k0) VALUES (1, 1, 'a'), (1, 2, 'b'), (1, 3, 'c')";
        connection.execute_batch(log).expect("made");
        let tx = connection.transaction().expect("begun");
        let left = || read(&tx, 10).expect("read").iter().map(|mark| mark.id).collect::<Vec<_>>();
        forget(&tx, 2).expect("forgotten");
        assert_eq!(left(), [3]);
        forget(&tx, 3).expect("forgotten");
        assert!(left().is_empty());
    }

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
            let Oldest { marks, count, last, all } = read_rows(&connection, rows).expect("read");
            (marks.len(), count, last, all)
        };
        assert_eq!(taken(2), (2, 40, 40, true));
        assert_eq!(taken(1), (1, 1, 1, false));
        mark("c");
        mark("a");
        assert_eq!(taken(2), (2, 40, 40, false), "up to the first mark of a third row");
        assert_eq!(taken(3), (3, 42, 42, true));
    }
}
