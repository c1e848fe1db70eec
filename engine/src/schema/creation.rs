//! Making many triggers at once.
//!
//! SQLite reads all of `sqlite_master` for each CREATE TRIGGER, so that making those of 800 tables reads it 5,600 times: 2.3
//! seconds of the 2.5 that tracking them took. Beyond some hundred triggers their rows are therefore written into
//! `sqlite_master` as CREATE TRIGGER would write them, by the way that SQLite documents for changes of the schema
//! (<https://sqlite.org/lang_altertable.html#making_other_kinds_of_table_schema_changes>), and the schema is read once
//! afterwards. A statement that SQLite cannot read is found then, before anything is committed: the transaction fails, and
//! the file stays as it was.

use rusqlite::Connection;

use super::triggers::Trigger;
use crate::error::{Doing, Result};

const DOING: &str = "creating triggers";

/// From so many triggers on they are made at once.
const MANY: usize = 100;

/// Makes triggers, each on the table that is named beside it. None of them may be there. In a transaction that must be
/// rolled back on failure.
pub(super) fn create(connection: &Connection, triggers: &[(&str, Trigger)]) -> Result<()> {
    if triggers.len() >= MANY && create_at_once(connection, triggers)? {
        return Ok(());
    }
    triggers.iter().try_for_each(|(_, trigger)| connection.execute_batch(&trigger.sql).doing(DOING))
}

/// Returns `false`, having done nothing, where SQLite does not let `sqlite_master` be written.
fn create_at_once(connection: &Connection, triggers: &[(&str, Trigger)]) -> Result<bool> {
    connection.execute_batch("PRAGMA writable_schema = ON").doing(DOING)?;
    let is_writable: bool =
        connection.query_row("PRAGMA writable_schema", [], |row| row.get(0)).doing(DOING)?;
    if !is_writable {
        return Ok(false);
    }
    let written = write(connection, triggers);
    // RESET: the schema is read again, and no error in it is passed over any more.
    connection.execute_batch("PRAGMA writable_schema = RESET").doing(DOING)?;
    written?;
    // Reads the schema, and fails if any statement in it cannot be understood.
    connection
        .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get::<_, i64>(0))
        .map(|_| true)
        .doing(DOING)
}

fn write(connection: &Connection, triggers: &[(&str, Trigger)]) -> Result<()> {
    let mut insert = connection
        .prepare(
            "INSERT INTO sqlite_master (type, name, tbl_name, rootpage, sql) VALUES ('trigger', ?1, ?2, 0, ?3)",
        )
        .doing(DOING)?;
    for (table, trigger) in triggers {
        insert.execute((&trigger.name, table, &trigger.sql)).doing(DOING)?;
    }
    let version: i64 = connection.query_row("PRAGMA schema_version", [], |row| row.get(0)).doing(DOING)?;
    // Tells all other connections to read the schema again, as CREATE TRIGGER does.
    connection.execute_batch(&format!("PRAGMA schema_version = {}", version + 1)).doing(DOING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(name: &str, body: &str) -> (&'static str, Trigger) {
        let sql = format!("CREATE TRIGGER {name} AFTER INSERT ON \"T t\" BEGIN {body} END");
        ("T t", Trigger { name: name.to_owned(), sql })
    }

    const TABLES: &str = "CREATE TABLE \"T t\" (k TEXT PRIMARY KEY); CREATE TABLE log (n)";

    #[test]
    fn triggers_that_are_made_at_once_are_those_that_would_be_made_one_by_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let (at_once, one_by_one) = (folder.path().join("a.db"), folder.path().join("b.db"));
        let triggers: Vec<_> =
            (0..MANY).map(|n| trigger(&format!("n{n}"), "INSERT INTO log VALUES (1);")).collect();
        let schema = |connection: &Connection| -> Vec<(String, String, String, i64, String)> {
            let sql = "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master WHERE type = 'trigger'";
            let mut statement = connection.prepare(sql).expect("valid SQL");
            let rows = statement
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
                .expect("rows");
            rows.map(|row| row.expect("a row")).collect()
        };
        for (path, fewer) in [(&at_once, MANY), (&one_by_one, 1)] {
            let mut connection = Connection::open(path).expect("a file");
            let other = Connection::open(path).expect("the same");
            connection.execute_batch(TABLES).expect("valid SQL");
            other.query_row("SELECT count(*) FROM log", [], |row| row.get::<_, i64>(0)).expect("read");
            let tx = connection.transaction().expect("begun");
            triggers.chunks(fewer).for_each(|some| create(&tx, some).expect("made"));
            tx.commit().expect("committed");
            // Seen by a connection that had read the schema before.
            other.execute("INSERT INTO \"T t\" VALUES ('k')", []).expect("written");
            let fired: i64 = other.query_row("SELECT count(*) FROM log", [], |row| row.get(0)).expect("read");
            assert_eq!(fired, MANY as i64);
            let well: String =
                other.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checked");
            assert_eq!(well, "ok");
        }
        let (a, b) = (Connection::open(&at_once), Connection::open(&one_by_one));
        assert_eq!(schema(&a.expect("a file")), schema(&b.expect("a file")));
    }

    #[test]
    fn a_trigger_that_sqlite_cannot_read_fails_the_transaction_and_nothing_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.db");
        let mut connection = Connection::open(&path).expect("a file");
        connection.execute_batch(TABLES).expect("valid SQL");
        let mut triggers: Vec<_> =
            (0..MANY).map(|n| trigger(&format!("n{n}"), "INSERT INTO log VALUES (1);")).collect();
        triggers.push(trigger("broken", "INSERT INTO INTO log;"));
        let tx = connection.transaction().expect("begun");
        let refused = create(&tx, &triggers).expect_err("refused").to_string();
        assert!(refused.contains("broken"), "{refused}");
        drop(tx);
        for connection in [connection, Connection::open(&path).expect("a file")] {
            connection.execute("INSERT INTO \"T t\" VALUES (hex(randomblob(4)))", []).expect("written");
            let fired: i64 =
                connection.query_row("SELECT count(*) FROM log", [], |row| row.get(0)).expect("read");
            assert_eq!(fired, 0);
            let left: bool =
                connection.query_row("PRAGMA writable_schema", [], |row| row.get(0)).expect("read");
            assert!(!left, "the schema stayed writable");
        }
    }
}
