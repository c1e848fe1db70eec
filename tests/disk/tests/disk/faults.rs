//! Changes that fail, once or for a while.

use driftless_test_disk::{Disk, Failure, What};
use rusqlite::{Connection, ErrorCode, ffi};

use crate::workload::{Content, Mode, applied, commit, database, fixed, kind, open, read};

const MODES: [Mode; 2] = [
    Mode { journal: "WAL", synchronous: "FULL", page_size: 1024 },
    Mode { journal: "DELETE", synchronous: "FULL", page_size: 1024 },
];

/// A database with a table, and its disk.
fn table(mode: Mode) -> (tempfile::TempDir, Disk, Connection) {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::at(folder.path());
    let connection = open(folder.path(), mode).expect("opens");
    connection.execute_batch("CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)").expect("made");
    (folder, disk, connection)
}

#[test]
fn each_failure_is_told_as_what_it_is() {
    let insert = "INSERT INTO t VALUES (NULL, 'x')";
    for mode in MODES {
        let (_folder, disk, connection) = table(mode);
        disk.fail_once(1, Failure::Full);
        assert_eq!(kind(connection.execute_batch(insert)).0, ErrorCode::DiskFull);
        connection.execute_batch(insert).expect("it fails once");
        disk.fail_once(1, Failure::Sync);
        let told = kind(connection.execute_batch(insert));
        assert_eq!(told, (ErrorCode::SystemIoFailure, ffi::SQLITE_IOERR_FSYNC));
        connection.execute_batch(insert).expect("it fails once");
    }
    let (_folder, disk, connection) = table(MODES[0]);
    disk.fail_once(1, Failure::Io);
    let told = kind(connection.execute_batch(insert));
    assert_eq!(told, (ErrorCode::SystemIoFailure, ffi::SQLITE_IOERR_WRITE));
    let (_folder, disk, connection) = table(MODES[1]);
    disk.fail_once(1, Failure::Io);
    assert_eq!(kind(connection.execute_batch(insert)).0, ErrorCode::CannotOpen, "there is no journal yet");
}

#[test]
fn what_is_to_fail_is_counted_from_now() {
    let (_folder, disk, connection) = table(MODES[0]);
    disk.take_log();
    disk.fail_once(3, Failure::Io);
    assert!(connection.execute_batch("INSERT INTO t VALUES (1, hex(zeroblob(3000)))").is_err());
    assert!(disk.take_log().len() >= 3, "it fails before the third");
    disk.fail_once(1, Failure::Sync);
    assert!(connection.execute_batch("INSERT INTO t VALUES (2, 'x')").is_err());
    let log = disk.take_log();
    assert_eq!(
        log.last().map(|change| change.what),
        Some(What::Sync),
        "something else than a sync fails: {log:?}"
    );
}

#[test]
fn what_fails_for_good_fails_until_it_is_healed() {
    for mode in MODES {
        for failure in [Failure::Full, Failure::Io, Failure::Sync] {
            let (folder, disk, connection) = table(mode);
            disk.fail_from(1, failure);
            for _ in 0..3 {
                assert!(connection.execute_batch("INSERT INTO t VALUES (1, 'x')").is_err(), "{failure:?}");
            }
            disk.heal();
            connection.execute_batch("INSERT INTO t VALUES (1, 'y')").expect("healed");
            drop(connection);
            assert_eq!(read(folder.path()), Content::from([(1, "y".to_owned())]));
        }
    }
}

#[test]
fn wherever_one_change_fails_transactions_stay_whole() {
    for mode in MODES {
        for failure in [Failure::Full, Failure::Io, Failure::Sync] {
            let mut nth = 0;
            loop {
                nth += 1;
                let (folder, disk, mut connection) = table(mode);
                disk.fail_once(nth, failure);
                let mut content = Content::new();
                let mut failed = false;
                for (number, transaction) in fixed().iter().enumerate() {
                    let after = applied(&content, number, transaction);
                    if commit(&mut connection, number, transaction).is_err() {
                        failed = true;
                        let found = read(folder.path());
                        assert!(found == content || found == after, "{mode:?} {failure:?} at {nth}");
                        content = found;
                    } else {
                        content = after;
                    }
                }
                drop(connection);
                let reached = nth <= disk.changes();
                disk.heal();
                assert_eq!(read(folder.path()), content, "{mode:?} {failure:?} at {nth}");
                if !reached {
                    assert!(!failed && nth > 30, "nothing failed");
                    break;
                }
            }
        }
    }
}

#[test]
fn the_file_stays_as_it_was_where_a_write_fails() {
    let (folder, disk, connection) = table(MODES[0]);
    let log = folder.path().join("a.db-wal");
    let before = std::fs::read(&log).expect("read");
    disk.fail_from(1, Failure::Full);
    assert!(connection.execute_batch("INSERT INTO t VALUES (1, 'x')").is_err());
    assert!(std::fs::read(&log).expect("read") == before, "the file changed");
    assert!(database(folder.path()).exists());
}
