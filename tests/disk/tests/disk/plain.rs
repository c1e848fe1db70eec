//! What nobody told to fail works as without the disk.

use driftless_test_disk::{Disk, What};
use rusqlite::Connection;

use crate::workload::{Mode, database, fixed, open, read, run};

const WAL: Mode = Mode { journal: "WAL", synchronous: "FULL", page_size: 4096 };
const DELETE: Mode = Mode { journal: "DELETE", synchronous: "FULL", page_size: 4096 };

#[test]
fn a_database_works_through_it() {
    for mode in [WAL, DELETE] {
        for watched in [false, true] {
            Disk::install();
            let folder = tempfile::tempdir().expect("a folder");
            let disk = watched.then(|| Disk::at(folder.path()));
            let outcome = run(folder.path(), mode, Default::default(), &fixed());
            assert!(outcome.perhaps.is_none(), "{mode:?}: not all is done");
            assert_eq!(read(folder.path()), outcome.sure);
            assert_eq!(disk.map(|disk| disk.changes() > 0), watched.then_some(true));
            assert!(!folder.path().join("a.db-wal").exists(), "the last to close leaves a log");
        }
    }
}

#[test]
fn a_reader_goes_on_while_somebody_writes_a_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let _disk = Disk::at(folder.path());
    let writer = open(folder.path(), WAL).expect("opens");
    writer.execute_batch("CREATE TABLE t (k)").expect("made");
    let reader = open(folder.path(), WAL).expect("opens");
    let count =
        || reader.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).expect("counts");
    reader.execute_batch("BEGIN").expect("begins");
    assert_eq!(count(), 0);
    writer.execute_batch("INSERT INTO t VALUES (1)").expect("written");
    assert_eq!(count(), 0, "a reader sees what came after it began");
    reader.execute_batch("COMMIT").expect("ends");
    assert_eq!(count(), 1);
}

#[test]
fn one_writer_keeps_another_out() {
    for mode in [WAL, DELETE] {
        let folder = tempfile::tempdir().expect("a folder");
        let _disk = Disk::at(folder.path());
        let one = open(folder.path(), mode).expect("opens");
        let other = open(folder.path(), mode).expect("opens");
        other.busy_timeout(std::time::Duration::ZERO).expect("set");
        one.execute_batch("CREATE TABLE t (k); BEGIN IMMEDIATE").expect("begins");
        let error = other.execute_batch("BEGIN IMMEDIATE").expect_err("two write");
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy));
    }
}

#[test]
fn memory_maps_attached_files_and_vacuum_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let _disk = Disk::at(folder.path());
    let connection = open(folder.path(), WAL).expect("opens");
    let other = folder.path().join("other.db");
    connection
        .execute_batch(&format!(
            "PRAGMA mmap_size = 1000000; CREATE TABLE t (k, v);
             WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 500)
             INSERT INTO t SELECT n, hex(zeroblob(300)) FROM n;
             PRAGMA wal_checkpoint(TRUNCATE);
             VACUUM INTO '{0}'; ATTACH '{0}' AS other;
             DELETE FROM t WHERE k > 10; VACUUM; INSERT INTO other.t SELECT * FROM main.t;",
            other.display()
        ))
        .expect("done");
    let count = |table: &str| -> i64 {
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect("counts")
    };
    assert_eq!((count("main.t"), count("other.t")), (10, 510));
}

#[test]
fn one_workload_makes_the_same_changes_in_every_folder_and_thread() {
    let logs = || {
        [WAL, DELETE].map(|mode| {
            let folder = tempfile::tempdir().expect("a folder");
            let disk = Disk::at(folder.path());
            run(folder.path(), mode, Default::default(), &fixed());
            let log = disk.take_log();
            assert_eq!(log.len() as u64, disk.changes());
            assert!(disk.take_log().is_empty(), "a change is told twice");
            log
        })
    };
    let (one, other) = std::thread::scope(|scope| {
        let [one, other] = [scope.spawn(logs), scope.spawn(logs)];
        (one.join().expect("runs"), other.join().expect("runs"))
    });
    assert_eq!(one, other);
    for what in [What::Create, What::Sync, What::Delete] {
        assert!(one[1].iter().any(|change| change.what == what), "no {what:?}");
    }
    assert!(one[0].iter().any(|change| change.file.ends_with("a.db-wal")), "no log is written");
}

#[test]
fn folders_do_not_know_each_other() {
    let (one, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (dead, alive) = (Disk::at(one.path()), Disk::at(other.path()));
    dead.die();
    assert!(Connection::open(database(one.path())).is_err(), "the dead make files");
    run(other.path(), WAL, Default::default(), &fixed());
    assert!(alive.changes() > 0 && dead.changes() == 0);
}

#[test]
fn a_folder_is_forgotten_with_its_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::at(folder.path());
    disk.fail_from(1, driftless_test_disk::Failure::Io);
    assert!(Connection::open(database(folder.path())).is_err());
    drop(disk);
    let outcome = run(folder.path(), WAL, Default::default(), &fixed());
    assert!(outcome.perhaps.is_none());
    assert_eq!(Disk::at(folder.path()).changes(), 0);
}
