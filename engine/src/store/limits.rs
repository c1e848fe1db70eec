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
/// The longest statement of others' that is run, in bytes. A table has at most 2,000 columns.
const LONGEST_STATEMENT: i32 = 1_000_000;
/// How deep its expressions may nest, how many SELECTs it may join to one, and how many arguments a function may have. What
/// SQLite takes by default could use up the stack of a thread.
const EXPRESSION_DEPTH: i32 = 500;
const COMPOUND_SELECTS: i32 = 100;
const FUNCTION_ARGUMENTS: i32 = 127;
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
    before: Vec<(Limit, i32)>,
    deadline: Option<Instant>,
}

impl<'a> Bounds<'a> {
    /// For a statement of ours on tables of others: no value longer than [`LONGEST_VALUE`], which fails with SQLITE_TOOBIG,
    /// and no longer than `time` from now, after which the statement fails with SQLITE_INTERRUPT. SQLite rolls the whole
    /// transaction back when a write is interrupted.
    ///
    /// One call of a function cannot be interrupted: the clock is looked at after it.
    pub(crate) fn begin(connection: &'a Connection, time: Duration) -> rusqlite::Result<Self> {
        let deadline = DEADLINE.replace(Instant::now().checked_add(time));
        let mut bounds = Self { connection, before: Vec::with_capacity(1), deadline };
        bounds.lower(Limit::SQLITE_LIMIT_LENGTH, LONGEST_VALUE)?;
        Ok(bounds)
    }

    /// For a statement whose text is of others: the same, and text that can be parsed in little time and space. Whoever has
    /// the statement in the file already must go on reading it, so this is no limit of the whole connection.
    pub(crate) fn of_text(connection: &'a Connection, time: Duration) -> rusqlite::Result<Self> {
        let mut bounds = Self::begin(connection, time)?;
        bounds.lower(Limit::SQLITE_LIMIT_SQL_LENGTH, LONGEST_STATEMENT)?;
        bounds.lower(Limit::SQLITE_LIMIT_EXPR_DEPTH, EXPRESSION_DEPTH)?;
        bounds.lower(Limit::SQLITE_LIMIT_COMPOUND_SELECT, COMPOUND_SELECTS)?;
        bounds.lower(Limit::SQLITE_LIMIT_FUNCTION_ARG, FUNCTION_ARGUMENTS)?;
        Ok(bounds)
    }

    fn lower(&mut self, limit: Limit, to: i32) -> rusqlite::Result<()> {
        let before = self.connection.limit(limit)?;
        self.connection.set_limit(limit, before.min(to))?;
        self.before.push((limit, before));
        Ok(())
    }
}

impl Drop for Bounds<'_> {
    fn drop(&mut self) {
        DEADLINE.set(self.deadline);
        for (limit, before) in &self.before {
            // Fails for no limit that SQLite knows.
            let _ = self.connection.set_limit(*limit, *before);
        }
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

    /// The test runs on a thread with as small a stack as an engine's.
    #[test]
    fn text_that_would_use_up_the_stack_or_takes_long_to_parse_is_refused_and_what_fits_is_run() {
        let connection = connection("");
        let nested = |depth: usize| format!("CREATE TABLE t{depth} (v CHECK ({}1))", "NOT ".repeat(depth));
        let joined =
            |count: usize| format!("CREATE VIEW v{count} AS {}", vec!["SELECT 1"; count].join(" UNION "));
        let arguments =
            |count: usize| format!("CREATE TABLE a{count} (v CHECK (max({})))", vec!["1"; count].join(", "));
        let long = |length: usize| format!("CREATE TABLE l{length} (v DEFAULT '{}')", "x".repeat(length));
        let bounds = Bounds::of_text(&connection, LONG).expect("bounds");
        for fits in [nested(400), joined(100), arguments(127), long(999_000)] {
            connection.execute(&fits, []).unwrap_or_else(|error| panic!("{error}"));
        }
        connection.execute("INSERT INTO t400 VALUES (1)", []).expect("a row");
        for (too_much, why) in [
            (nested(600), "depth"),
            (joined(101), "too many terms"),
            (arguments(128), "arguments"),
            (long(1_000_000), "statement too long"),
        ] {
            let error = connection.execute(&too_much, []).expect_err(why).to_string();
            assert!(error.contains(why), "{why}: {error:.200}");
        }
        drop(bounds);
        connection.execute(&arguments(128), []).expect("what SQLite takes by default");
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
