//! Bounds for what comes from outside: the text of the space's tables, and what those tables' constraints, indexes and
//! triggers compute when a merged row is written. See <https://sqlite.org/security.html>.
//!
//! Two kinds. Those that a connection has from when it is opened never stand in the way of a legitimate app. The tight ones
//! hold while a statement runs that outsiders have a say in ([`Bounds::begin`]), and not while the engine reads its own
//! documents, which may be larger.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode};

/// The longest value or row that a statement under bounds may make, in bytes: twice the longest that travels, so that a
/// CHECK or an index may still turn that into hex.
const LONGEST_VALUE: i32 = 128 << 20;
/// How many steps of SQLite's program go by between two looks at the clock. A step that builds a value of
/// [`LONGEST_VALUE`] takes a tenth of a second; most take less than a microsecond.
const STEPS: i32 = 100;
/// How deep triggers may fire one another. No trigger fires itself: `recursive_triggers` is off.
const TRIGGER_DEPTH: i32 = 100;

thread_local! {
    /// When the statement that runs under bounds on this thread is to be interrupted. One thread owns a writing
    /// connection, and SQLite asks on the thread that runs the statement.
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Bounds a connection that has just been opened.
///
/// `trusted_schema` off keeps the schema to functions and virtual tables that do no harm. Those that apps rely on stay
/// usable: FTS3, FTS4, FTS5, R*Tree and json_each are declared innocuous, and so are our own functions. A trigger that
/// reads another, fts5vocab or `pragma_table_info` for instance, fails, and the row that it fires for is parked.
pub(super) fn set(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.set_limit(Limit::SQLITE_LIMIT_TRIGGER_DEPTH, TRIGGER_DEPTH)?;
    connection
        .progress_handler(STEPS, Some(|| DEADLINE.get().is_some_and(|deadline| Instant::now() >= deadline)))
}

/// What holds while a statement runs that outsiders have a say in; ends when dropped.
#[derive(Debug)]
pub(crate) struct Bounds<'a> {
    connection: &'a Connection,
    longest: i32,
    deadline: Option<Instant>,
}

impl<'a> Bounds<'a> {
    /// No value longer than [`LONGEST_VALUE`], which fails with SQLITE_TOOBIG, and no longer than `time` from now, after
    /// which the statement fails with SQLITE_INTERRUPT. SQLite rolls the whole transaction back when a write is
    /// interrupted.
    ///
    /// One call of a function cannot be interrupted: the clock is looked at after it.
    pub(crate) fn begin(connection: &'a Connection, time: Duration) -> rusqlite::Result<Self> {
        let longest = connection.limit(Limit::SQLITE_LIMIT_LENGTH)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, longest.min(LONGEST_VALUE))?;
        let deadline = DEADLINE.replace(Instant::now().checked_add(time));
        Ok(Self { connection, longest, deadline })
    }
}

impl Drop for Bounds<'_> {
    fn drop(&mut self) {
        DEADLINE.set(self.deadline);
        // Fails for no limit that SQLite knows.
        let _ = self.connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, self.longest);
    }
}

/// Whether a statement was interrupted because its time was over: nothing else interrupts ours.
pub(crate) fn took_too_long(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(sql: &str) -> Connection {
        let mut connection = Connection::open_in_memory().expect("in memory");
        set(&mut connection).expect("bounds");
        connection.execute_batch(sql).expect("valid SQL");
        connection
    }

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_check_cannot_build_a_value_of_gigabytes() {
        let connection = connection("CREATE TABLE t (v CHECK (length(hex(zeroblob(450000000))) > 0))");
        let bounds = Bounds::begin(&connection, LONG).expect("bounds");
        let error = connection.execute("INSERT INTO t VALUES (1)", []).expect_err("too big");
        assert_eq!(error.sqlite_error_code(), Some(ErrorCode::TooBig), "{error}");
        drop(bounds);
        assert_eq!(connection.limit(Limit::SQLITE_LIMIT_LENGTH).expect("a limit"), 1_000_000_000);
    }

    #[test]
    fn a_statement_that_never_ends_is_interrupted_only_while_it_is_under_bounds() {
        let connection = connection("CREATE TABLE t (v)");
        let endless =
            "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT count(*) FROM n";
        let bounds = Bounds::begin(&connection, Duration::from_millis(20)).expect("bounds");
        let error = connection.query_row(endless, [], |_| Ok(())).expect_err("interrupted");
        assert!(took_too_long(&error), "{error}");
        drop(bounds);
        let long = endless.replace("n + 1 FROM n", "n + 1 FROM n LIMIT 1000000");
        let count: i64 = connection.query_row(&long, [], |row| row.get(0)).expect("it ends");
        assert_eq!(count, 1_000_000);
    }

    #[test]
    fn bounds_within_bounds_leave_the_outer_ones_as_they_were() {
        let connection = connection("");
        let outer = Bounds::begin(&connection, LONG).expect("bounds");
        let deadline = DEADLINE.get();
        drop(Bounds::begin(&connection, Duration::ZERO).expect("bounds"));
        assert_eq!(DEADLINE.get(), deadline);
        drop(outer);
        assert_eq!(DEADLINE.get(), None);
    }

    #[test]
    fn triggers_keep_indexes_of_every_kind_that_apps_have_in_a_schema_that_is_not_trusted() {
        let connection = connection(
            "CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT, x REAL);
             CREATE VIRTUAL TABLE three USING fts3 (body);
             CREATE VIRTUAL TABLE four USING fts4 (body, content='notes');
             CREATE VIRTUAL TABLE five USING fts5 (body, content='notes', content_rowid='id');
             CREATE VIRTUAL TABLE place USING rtree (id, x0, x1);
             CREATE TRIGGER added AFTER INSERT ON notes BEGIN
               INSERT INTO three (docid, body) VALUES (NEW.id, NEW.body);
               INSERT INTO four (docid, body) VALUES (NEW.id, NEW.body);
               INSERT INTO five (rowid, body) VALUES (NEW.id, NEW.body);
               INSERT INTO place VALUES (NEW.id, NEW.x, NEW.x + 1);
             END;
             INSERT INTO notes VALUES (7, 'a heron stands', 2.5);",
        );
        for sql in [
            "SELECT docid FROM three WHERE three MATCH 'heron'",
            "SELECT docid FROM four WHERE four MATCH 'heron'",
            "SELECT rowid FROM five WHERE five MATCH 'heron'",
            "SELECT id FROM place WHERE x0 > 2",
        ] {
            let id: i64 =
                connection.query_row(sql, [], |row| row.get(0)).unwrap_or_else(|e| panic!("{sql}: {e}"));
            assert_eq!(id, 7, "{sql}");
        }
        connection
            .execute_batch("CREATE TRIGGER reads AFTER INSERT ON notes BEGIN SELECT name FROM pragma_table_info('notes'); END")
            .expect("valid SQL");
        let error =
            connection.execute("INSERT INTO notes (body) VALUES ('x')", []).expect_err("not innocuous");
        assert!(error.to_string().contains("unsafe use of virtual table"), "{error}");
    }
}
