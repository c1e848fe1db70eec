//! The engine's own tables, in the user's file beside the user's. One file of code per table: its SQL, its reads,
//! its writes.
//!
//! Every statement here must parse in the SQLite of whoever opens the file, however old: no STRICT, no generated
//! columns, no functions beyond those of 2010. The user's connections read the whole schema, and one table that
//! they cannot parse would lock them out.
//!
//! May use `document`, `file` and what is below them. Begin with `migrations.rs`, which has the tables' statements.

pub(crate) mod applying;
pub(crate) mod backlog;
pub(crate) mod bases;
pub(crate) mod claims;
pub(crate) mod columns;
pub(crate) mod conflicts;
pub(crate) mod dirty;
pub(crate) mod documents;
mod format_1;
pub(crate) mod health;
pub(crate) mod identity;
pub(crate) mod inbox;
pub(crate) mod kinds;
pub(crate) mod limits;
pub(crate) mod math;
pub(crate) mod migrations;
pub(crate) mod outbox;
pub(crate) mod parked;
pub(crate) mod progress;
pub(crate) mod quarantine;
pub(crate) mod renames;
pub(crate) mod settled;
pub(crate) mod sql;
pub(crate) mod tables;
pub(crate) mod texts;
pub(crate) mod writers;

use std::borrow::Cow;
use std::path::Path;
use std::time::{Duration, Instant};

use driftless_protocol::Value;
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags};

use crate::error::{Doing, Error, Result};
use crate::file::stale_log;

/// What all side tables, triggers and views are named by.
pub(crate) const PREFIX: &str = "_driftless_";

/// Room for the pages that random keys scatter writes over; SQLite's default of 2 MB reads them again and again.
const CACHE_KIB: u32 = 32 << 10;
/// When there is much to write, turn after turn writes the same pages: copying them from the log into the database
/// less often saves work. This is 16 MB of log.
const CHECKPOINT_PAGES: u32 = 4000;

/// The time between two attempts to switch a database to WAL.
const SWITCH_PAUSE: Duration = Duration::from_millis(5);

/// Opens an existing database for the engine: WAL, FULL, foreign keys judged by nobody.
///
/// `synchronous=FULL`, because a seq must be durable before it leaves the machine: with NORMAL, WAL may forget
/// commits on power loss. Foreign-key enforcement is off because actions were captured where they ran.
pub(crate) fn open(path: &Path, busy_timeout: Duration) -> Result<Connection> {
    let connection = open_file(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(busy_timeout).doing("opening the database")?;
    if connection.is_readonly("main").doing("opening the database")? {
        return Err(Error::ReadOnly(path.to_owned()));
    }
    check_database(&connection, path)?;
    let mode = switch_to_wal(&connection, busy_timeout, || std::thread::sleep(SWITCH_PAUSE))
        .map_err(|source| readonly_or(path, "switching the database to WAL", source))?;
    if !mode.eq_ignore_ascii_case("wal") && !mode.eq_ignore_ascii_case("memory") {
        return Err(Error::Damaged { table: "journal", what: format!("the journal mode stays '{mode}'") });
    }
    connection
        .execute_batch(&format!(
            "PRAGMA synchronous=FULL; PRAGMA foreign_keys=OFF; PRAGMA recursive_triggers=OFF;
             PRAGMA cache_size=-{CACHE_KIB}; PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES};"
        ))
        .doing("opening the database")?;
    // Without this SQLite plans a statement anew whenever a bound value changes that its statistics might speak of:
    // measured at two fifths of capture's time.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).doing("opening the database")?;
    connection.set_prepared_statement_cache_capacity(256);
    Ok(connection)
}

/// Switches a database to WAL, if it is not in WAL. SQLite fails at once, whatever the busy timeout, while another connection writes
/// (<https://sqlite.org/wal.html#activating_and_configuring_wal_mode>), so this tries again until `busy_timeout` is over and calls
/// `pause` in between. Returns the mode.
fn switch_to_wal(
    connection: &Connection,
    busy_timeout: Duration,
    mut pause: impl FnMut(),
) -> rusqlite::Result<String> {
    let begun = Instant::now();
    loop {
        let switched = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0));
        let is_busy = matches!(&switched, Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy));
        if !is_busy || begun.elapsed() >= busy_timeout {
            return switched;
        }
        pause();
    }
}

/// Opens an existing database to look at it. Works while an engine runs, and on files that cannot be written. Fails with
/// [`Error::FileAway`] while another program uses a log that was removed: what is read then lacks what is in that.
pub(crate) fn open_to_read(path: &Path, busy_timeout: Duration) -> Result<Connection> {
    stale_log::check(path)?;
    let connection = open_file(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(busy_timeout).doing("opening the database")?;
    check_database(&connection, path)?;
    Ok(connection)
}

fn open_file(path: &Path, mode: OpenFlags) -> Result<Connection> {
    if !path.is_file() {
        return Err(Error::NoSuchFile(path.to_owned()));
    }
    let doing = "opening the database";
    let mut connection =
        Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX).doing(doing)?;
    limits::set(&mut connection).doing(doing)?;
    math::provide(&connection).doing(doing)?;
    Ok(connection)
}

/// Reads something, so that a file that is no database is noticed before anything else is tried on it.
fn check_database(connection: &Connection, path: &Path) -> Result<()> {
    // From the file's header alone: to read the whole schema takes a while where there are many tables.
    match connection.query_row("PRAGMA schema_version", [], |_| Ok(())) {
        Err(source) if source.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) => {
            Err(Error::NotADatabase(path.to_owned()))
        }
        Err(source) => Err(readonly_or(path, "reading the database", source)),
        Ok(()) => Ok(()),
    }
}

fn readonly_or(path: &Path, doing: &'static str, source: rusqlite::Error) -> Error {
    match source.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::CannotOpen) => {
            Error::ReadOnly(path.to_owned())
        }
        _ => Error::Sqlite { doing, source },
    }
}

/// Whether the engine's tables are in this file. Fails with [`Error::OlderFormat`] if an older version made them, and with
/// [`Error::Damaged`] if only some are there.
pub(crate) fn is_initialized(connection: &Connection) -> Result<bool> {
    let any = health::any(connection)?;
    if any {
        check_not_older(connection)?;
        health::check_readable(connection)?;
    }
    Ok(any)
}

/// Fails with [`Error::OlderFormat`] if an older version made the engine's tables in this file.
pub(crate) fn check_not_older(connection: &Connection) -> Result<()> {
    match identity::format_if_known(connection).filter(|found| *found < migrations::FORMAT) {
        Some(found) => {
            let path = connection.path().unwrap_or_default().into();
            Err(Error::OlderFormat { path, found, known: migrations::FORMAT })
        }
        None => Ok(()),
    }
}

/// A value to bind, borrowed.
pub(crate) struct Bind<'a>(pub(crate) &'a Value<'a>);

impl ToSql for Bind<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Integer(i) => ValueRef::Integer(*i),
            Value::Real(r) => ValueRef::Real(*r),
            Value::Text(bytes) => ValueRef::Text(bytes),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// A column's value as it is stored, whatever its type.
pub(crate) fn value(stored: ValueRef<'_>) -> Value<'_> {
    match stored {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(i) => Value::Integer(i),
        ValueRef::Real(r) => Value::Real(r),
        ValueRef::Text(bytes) => Value::Text(Cow::Borrowed(bytes)),
        ValueRef::Blob(bytes) => Value::Blob(Cow::Borrowed(bytes)),
    }
}

/// An identifier in SQL, whatever it contains.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A name as SQLite compares names: ASCII letters without regard to case.
pub(crate) fn fold(name: &str) -> String {
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `track` and `sync` of a file that was not in WAL yet failed at once while an app wrote.
    #[test]
    fn a_database_is_switched_to_wal_as_soon_as_its_writer_is_done() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.db");
        let app = Connection::open(&path).expect("it opens");
        app.execute_batch("CREATE TABLE t (k); BEGIN IMMEDIATE; INSERT INTO t VALUES (1)").expect("written");
        let refused = open(&path, Duration::ZERO).expect_err("it is being written");
        assert!(refused.is_busy(), "{refused}");
        let engine = Connection::open(&path).expect("it opens");
        let mut pauses = 0;
        let commit = || {
            pauses += 1;
            app.execute_batch("COMMIT").expect("committed while the engine pauses");
        };
        let mode = switch_to_wal(&engine, Duration::from_secs(60), commit).expect("the writer is done");
        assert_eq!((&*mode, pauses), ("wal", 1));
    }
}
