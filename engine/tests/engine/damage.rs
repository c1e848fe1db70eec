//! Side tables that the user drops or empties, with and without an engine running: the user's writes go on, nothing that
//! the tables hold is lost, and all is well again.

use std::time::{Duration, Instant};

use driftless::{Health, VerifyOptions};

use crate::support::File;

const SQL: &str = "
CREATE TABLE t (a TEXT, b INTEGER, v, PRIMARY KEY (a, b));
CREATE TABLE u (k TEXT PRIMARY KEY, v TEXT UNIQUE);
INSERT INTO t VALUES ('x', 1, 'one'), ('y', 2, 'two');
INSERT INTO u VALUES ('k', 'v');
";

/// Every side table, by what an old file calls it.
const SIDE_TABLES: [&str; 18] = [
    "meta",
    "tables",
    "dirty",
    "backlog",
    "refresh",
    "applying",
    "rows",
    "documents",
    "bases",
    "outbox",
    "inbox",
    "snapshot",
    "progress",
    "writers",
    "conflicts",
    "parked",
    "claims",
    "quarantine",
];

fn file() -> File {
    let file = File::tracked(SQL, &["t", "u"]);
    file.run("UPDATE t SET v = 'ONE' WHERE b = 1");
    file.capture();
    file
}

/// The user writes, the engine captures, and `verify` finds nothing (or repairs what it finds).
#[track_caller]
fn all_is_well(file: &File, what: &str) {
    file.run("INSERT INTO t VALUES ('z', 3, 'three'); UPDATE u SET v = 'w'; DELETE FROM t WHERE a = 'y'");
    file.capture();
    let options = VerifyOptions::default().repair(true);
    let verified = driftless::verify(file.path(), &options).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(verified.is_well(), "{what}: {verified:#?}");
    let again = driftless::verify(file.path(), &VerifyOptions::default()).expect("verified");
    assert!(again.is_well(), "{what}: {again:#?}");
    for table in ["t", "u"] {
        file.assert_captured(table);
    }
    assert_eq!(
        file.number("SELECT (SELECT count(*) FROM t) * 10 + (SELECT count(*) FROM u)"),
        21,
        "{what}: rows were lost or came back"
    );
    assert_eq!(file.number("SELECT count(*) FROM t WHERE v IN ('ONE', 'three')"), 2, "{what}");
    assert_eq!(file.status().repaired, None, "{what}: all is well, so nothing is told any more");
}

#[test]
fn any_side_table_dropped_while_no_engine_runs_is_made_again() {
    for table in SIDE_TABLES.iter().chain(&["definitions"]) {
        let file = file();
        file.run(&format!("DROP TABLE _driftless_{table}"));
        let found = driftless::verify(file.path(), &VerifyOptions::default()).expect("verified");
        let said = format!("{:?}", found.checks);
        assert!(said.contains(&format!("table _driftless_{table} is missing")), "{said}");
        file.engine().close();
        file.capture();
        let note = file.status().repaired.unwrap_or_default();
        assert!(note.contains(&format!("_driftless_{table}")), "{table}: status says '{note}'");
        all_is_well(&file, &format!("{table} dropped"));
    }
}

#[test]
fn any_side_table_emptied_while_no_engine_runs_is_filled_again() {
    for table in SIDE_TABLES.iter().chain(&["definitions"]) {
        let file = file();
        file.run(&format!("DELETE FROM _driftless_{table}"));
        file.capture();
        all_is_well(&file, &format!("{table} emptied"));
    }
}

/// Waits until the engine has taken a turn after which `holds`; it must not stop.
#[track_caller]
fn until(engine: &driftless::Engine, what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        engine.nudge();
        let health = engine.health().borrow().clone();
        assert!(!matches!(health, Health::Stopped(_)), "{what}: {health:?}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: waited in vain; {health:?}");
        std::thread::yield_now();
    }
}

fn while_an_engine_runs(statement: &str) {
    for table in SIDE_TABLES.iter().chain(&["definitions"]) {
        let what = format!("{statement} {table}");
        let file = file();
        let engine = file.engine();
        engine.capture().expect("captured");
        file.run(&format!("{statement} _driftless_{table}"));
        until(&engine, &what, || engine.capture().is_ok() && driftless::status(file.path()).is_ok());
        file.run("UPDATE t SET v = v");
        until(&engine, &what, || engine.capture().is_ok());
        engine.close();
        all_is_well(&file, &what);
    }
}

#[test]
fn any_side_table_dropped_while_an_engine_runs_is_made_again() {
    while_an_engine_runs("DROP TABLE");
}

#[test]
fn any_side_table_emptied_while_an_engine_runs_is_filled_again() {
    while_an_engine_runs("DELETE FROM");
}

#[test]
fn views_and_indexes_that_were_dropped_are_made_again() {
    let file = file();
    file.run(
        "DROP VIEW driftless_status; DROP VIEW driftless_conflicts; DROP VIEW driftless_parked;
         DROP INDEX _driftless_refresh_table; DROP INDEX _driftless_parked_waits; DROP INDEX _driftless_claims_row",
    );
    file.capture();
    assert_eq!(file.number("SELECT count(*) FROM driftless_status"), 2);
    all_is_well(&file, "views and indexes dropped");
}

#[test]
fn all_side_tables_dropped_at_once_leave_the_users_rows_and_what_is_tracked() {
    let file = file();
    let before = (file.rows("t"), file.rows("u"));
    let drop: String = SIDE_TABLES.iter().map(|table| format!("DROP TABLE _driftless_{table};")).collect();
    file.run(&drop);
    let failed = file.user().execute_batch("INSERT INTO u VALUES ('l', 'm')");
    assert!(
        failed.is_err_and(|error| error.to_string().contains("_driftless_")),
        "the triggers have no log to write to"
    );
    file.capture();
    assert_eq!((file.rows("t"), file.rows("u")), before);
    all_is_well(&file, "everything dropped");
}

#[test]
fn a_side_table_without_its_columns_is_named_with_what_to_do() {
    let file = file();
    file.run("DROP TABLE _driftless_parked; CREATE TABLE _driftless_parked (x)");
    let opened = driftless::Engine::open(file.path(), driftless::Config::default());
    let said = opened.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(
        said.contains("_driftless_parked lacks the columns") && said.contains("drop that table"),
        "{said}"
    );
    file.run("UPDATE u SET v = 'still writing'");
}

#[test]
fn a_file_that_lost_its_numbers_takes_another_name() {
    let file = file();
    let (before, rows) = (file.status().replica, file.rows("t"));
    file.run("DELETE FROM _driftless_progress");
    file.capture();
    assert_ne!(file.status().replica, before, "its numbers would be used twice");
    assert_eq!(file.rows("t"), rows);
}

#[test]
fn triggers_that_were_switched_off_for_good_are_switched_on_and_all_rows_looked_at() {
    let file = file();
    file.run("INSERT INTO _driftless_applying VALUES (1); UPDATE t SET v = 'unseen' WHERE b = 2");
    file.capture();
    file.assert_captured("t");
}

/// Whatever the table, `_driftless_meta` was blamed, and then dropped for nothing.
#[test]
fn an_id_that_is_none_is_blamed_on_the_table_that_holds_it() {
    for (damage, table) in [
        ("UPDATE _driftless_progress SET replica = x'00'", "_driftless_progress"),
        ("UPDATE _driftless_meta SET value = x'00' WHERE name = 'replica'", "_driftless_meta"),
    ] {
        let file = file();
        file.run(damage);
        let said = driftless::status(file.path()).expect_err("damaged").to_string();
        assert!(said.contains(&format!("the side table {table} is damaged")), "{said}");
    }
}
