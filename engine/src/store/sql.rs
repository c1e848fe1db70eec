//! A statement in one call: it is prepared, or taken from the connection's cache, and run, and an error says what was being
//! done. And the numbers that SQL holds: seqs and counts, which never wrap.
//!
//! A loop that runs one statement for each of many rows prepares it by hand, once.

use driftless_protocol::Seq;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Params, Row};

use crate::error::{Doing, Error, Result};

/// Runs a statement that returns no rows. Returns how many rows it changed.
pub(crate) fn exec(
    connection: &Connection,
    doing: &'static str,
    sql: &str,
    params: impl Params,
) -> Result<usize> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute(params)).doing(doing)
}

/// Inserts a row. Returns its rowid.
pub(crate) fn insert(
    connection: &Connection,
    doing: &'static str,
    sql: &str,
    params: impl Params,
) -> Result<i64> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.insert(params)).doing(doing)
}

/// Whether a query returns any row.
pub(crate) fn exists(
    connection: &Connection,
    doing: &'static str,
    sql: &str,
    params: impl Params,
) -> Result<bool> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.exists(params)).doing(doing)
}

/// The first row of a query that always returns one.
pub(crate) fn one<T>(
    connection: &Connection,
    doing: &'static str,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<T> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.query_row(params, read)).doing(doing)
}

/// The first row of a query, if it returns any.
pub(crate) fn opt<T>(
    connection: &Connection,
    doing: &'static str,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row(params, read).optional())
        .doing(doing)
}

/// All rows of a query: in a list, or in whatever else can be collected.
pub(crate) fn list<T, C: FromIterator<T>>(
    connection: &Connection,
    doing: &'static str,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<C> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_map(params, read)?.collect())
        .doing(doing)
}

/// Shows the rows of a query one by one. The first error of `see` ends it.
pub(crate) fn each(
    connection: &Connection,
    doing: &'static str,
    sql: &str,
    params: impl Params,
    mut see: impl FnMut(&Row<'_>) -> Result<()>,
) -> Result<()> {
    each_while(connection, doing, sql, params, |row| see(row).map(|()| true))?;
    Ok(())
}

/// Shows the rows of a query one by one until `see` returns `false`. Returns whether it never did.
pub(crate) fn each_while(
    connection: &Connection,
    doing: &'static str,
    sql: &str,
    params: impl Params,
    mut see: impl FnMut(&Row<'_>) -> Result<bool>,
) -> Result<bool> {
    let mut statement = connection.prepare_cached(sql).doing(doing)?;
    let mut rows = statement.query(params).doing(doing)?;
    while let Some(row) = rows.next().doing(doing)? {
        if !see(row)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads the first column of a row.
pub(crate) fn first<T: FromSql>(row: &Row<'_>) -> rusqlite::Result<T> {
    row.get(0)
}

/// The bytes in a column; none where something else is stored there.
pub(crate) fn blob<'r>(row: &'r Row<'_>, at: usize) -> rusqlite::Result<&'r [u8]> {
    Ok(row.get_ref(at)?.as_blob().unwrap_or_default())
}

/// A `LIMIT`. More rows than SQL can count are no limit.
pub(crate) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// A seq or a count: SQL has signed integers alone. Binding fails for a number that an `INTEGER` cannot hold, and reading for
/// one below 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number(pub(crate) u64);

impl ToSql for Number {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match i64::try_from(self.0) {
            Ok(number) => Ok(ToSqlOutput::from(number)),
            Err(error) => Err(rusqlite::Error::ToSqlConversionFailure(error.into())),
        }
    }
}

impl FromSql for Number {
    fn column_result(stored: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = i64::column_result(stored)?;
        u64::try_from(number).map(Self).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

/// Reads the number in the first column of a row.
pub(crate) fn number(row: &Row<'_>) -> rusqlite::Result<u64> {
    row.get(0).map(|Number(number)| number)
}

/// Reads the number in the first column of a row; 0 where it is NULL, as the highest seq is where there is none.
pub(crate) fn number_or_0(row: &Row<'_>) -> rusqlite::Result<u64> {
    row.get(0).map(|number: Option<Number>| number.map_or(0, |Number(number)| number))
}

/// The seq that a side table names by a number; `None` for 0, which stands for none. Fails with [`Error::Damaged`] for a
/// number that no changeset can bear.
pub(crate) fn seq(Number(number): Number, table: &'static str) -> Result<Option<Seq>> {
    let damaged = || Error::Damaged { table, what: format!("no changeset has the number {number}") };
    if number == 0 { Ok(None) } else { Seq::new(number).map(Some).ok_or_else(damaged) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers were cast: 2^63 was stored as the lowest of all, and -1 read as the highest.
    #[test]
    fn a_number_that_sql_or_the_engine_cannot_hold_is_refused() {
        let connection = Connection::open_in_memory().expect("it opens");
        let back = |stored: u64| one(&connection, "testing", "SELECT ?1", [Number(stored)], number);
        let highest = u64::MAX >> 1;
        for stored in [0, 1, highest - 1, highest] {
            assert_eq!(back(stored).expect("it fits"), stored);
        }
        for stored in [highest + 1, u64::MAX] {
            let error = back(stored).expect_err("it does not fit");
            assert!(error.to_string().starts_with("SQLite failed while testing"), "{error}");
        }
        for query in ["SELECT -1", "SELECT NULL", "SELECT 'one'"] {
            assert!(one(&connection, "testing", query, [], number).is_err(), "{query}");
        }
        let of = |number| seq(Number(number), "_driftless_progress");
        assert_eq!(of(0).expect("none"), None);
        assert_eq!(of(highest - 1).expect("the last").map(Seq::get), Some(highest - 1));
        assert!(matches!(of(highest), Err(Error::Damaged { table: "_driftless_progress", .. })));
    }

    #[test]
    fn an_error_says_what_was_being_done() {
        let connection = Connection::open_in_memory().expect("it opens");
        let error = exec(&connection, "counting sheep", "DELETE FROM sheep", []).expect_err("no such table");
        assert!(
            error.to_string().starts_with("SQLite failed while counting sheep: no such table"),
            "{error}"
        );
        assert_eq!(opt(&connection, "x", "SELECT 1 WHERE 0", [], first::<i64>).expect("runs"), None);
        assert!(!exists(&connection, "x", "SELECT 1 WHERE 0", []).expect("runs"));
        let all: Vec<i64> =
            list(&connection, "x", "SELECT 1 UNION SELECT 2 ORDER BY 1", [], first).expect("runs");
        assert_eq!(all, [1, 2]);
    }
}
