//! The clock that a thread sets for its SQL.

use std::time::{Duration, Instant};

use driftless_test_disk::{Disk, clock, set_clock};
use rusqlite::{Connection, types::FromSql};

fn ask<T: FromSql>(question: &str) -> T {
    Disk::install();
    let connection = Connection::open_in_memory().expect("opens");
    connection.query_row(&format!("SELECT {question}"), [], |row| row.get(0)).expect("answers")
}

#[test]
fn sql_sees_the_clock_that_is_set() {
    set_clock(Some(1_234_567_890_123));
    assert_eq!(ask::<f64>("unixepoch('subsec')"), 1_234_567_890.123);
    assert_eq!(ask::<String>("strftime('%Y-%m-%d %H:%M:%f', 'now')"), "2009-02-13 23:31:30.123");
    assert_eq!(ask::<String>("CURRENT_TIMESTAMP"), "2009-02-13 23:31:30");
    // As the triggers ask.
    assert_eq!(
        ask::<i64>("CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)"),
        1_234_567_890_123
    );
    set_clock(Some(-1500));
    assert_eq!(ask::<f64>("unixepoch('subsec')"), -1.5);
    set_clock(None);
    assert!(ask::<f64>("unixepoch('subsec')") > 1_700_000_000.0);
}

#[test]
fn each_thread_has_its_own() {
    set_clock(Some(1000));
    let other = std::thread::spawn(|| {
        let before = ask::<i64>("unixepoch()");
        set_clock(Some(2000));
        (before, ask::<i64>("unixepoch()"))
    });
    let (before, after) = other.join().expect("runs");
    assert!(before > 1_700_000_000);
    assert_eq!((after, ask::<i64>("unixepoch()")), (2, 1));
}

#[test]
fn who_waits_by_it_does_not_wait() {
    Disk::install();
    let folder = tempfile::tempdir().expect("a folder");
    let open = || Connection::open(folder.path().join("a.db")).expect("opens");
    let (one, other) = (open(), open());
    one.execute_batch("CREATE TABLE t (k); BEGIN IMMEDIATE").expect("begins");
    other.busy_timeout(Duration::from_secs(600)).expect("set");
    set_clock(Some(0));
    let before = Instant::now();
    let error = other.execute_batch("BEGIN IMMEDIATE").expect_err("two write");
    assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy));
    assert!(before.elapsed() < Duration::from_secs(60), "it waited");
    let now = clock().expect("it is set");
    assert!((599_000..601_000).contains(&now), "ten minutes are {now} ms");
}
