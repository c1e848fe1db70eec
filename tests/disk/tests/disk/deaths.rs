//! Processes that are killed between two changes, or within one.

use std::collections::BTreeMap;
use std::path::Path;

use driftless_test_disk::{Disk, What};
use rusqlite::ErrorCode;

use crate::workload::{Content, Mode, fixed, kind, open, read, run};

const WAL: Mode = Mode { journal: "WAL", synchronous: "OFF", page_size: 1024 };

/// Every file in a folder, but for shared memory.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let named = entries.map(|entry| (entry.file_name().into_string().expect("a plain name"), entry.path()));
    let kept = named.filter(|(name, _)| !name.ends_with("-shm"));
    kept.map(|(name, path)| (name, std::fs::read(path).expect("read"))).collect()
}

#[test]
fn wherever_a_process_dies_transactions_stay_whole() {
    // Syncs do not matter here: the machine goes on.
    for journal in ["WAL", "DELETE", "TRUNCATE", "PERSIST"] {
        let mode = Mode { journal, ..WAL };
        for kept in [0, 300] {
            let mut nth = 0;
            loop {
                nth += 1;
                let folder = tempfile::tempdir().expect("a folder");
                let disk = Disk::at(folder.path());
                disk.die_at(nth, kept);
                let outcome = run(folder.path(), mode, Content::new(), &fixed());
                if !disk.is_dead() {
                    assert!(outcome.perhaps.is_none() && nth > 60, "all died in {nth} changes");
                    break;
                }
                assert_eq!(disk.changes(), nth);
                disk.revive();
                outcome.assert_allows(read(folder.path()));
            }
        }
    }
}

#[test]
fn the_dead_read_change_nothing_and_give_their_locks_back() {
    for mode in [WAL, Mode { journal: "DELETE", ..WAL }] {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::at(folder.path());
        let connection = open(folder.path(), mode).expect("opens");
        connection.execute_batch("CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)").expect("made");
        connection.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1, 'x')").expect("begins");
        let (before, changes) = (files(folder.path()), disk.changes());
        disk.die();
        assert!(disk.is_dead());
        let count = || connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0));
        assert_eq!(count(), Ok(1));
        assert_eq!(kind(connection.execute_batch("COMMIT")).0, ErrorCode::SystemIoFailure);
        drop(connection);
        assert!(files(folder.path()) == before, "closing changed a file ({})", mode.journal);
        assert_eq!(disk.changes(), changes, "what the dead ask for is counted");
        disk.revive();
        let connection = open(folder.path(), mode).expect("opens");
        connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK").expect("a dead process keeps its lock");
        drop(connection);
        assert_eq!(read(folder.path()), Content::new());
    }
}

#[test]
fn of_the_last_write_so_many_bytes_arrive() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::at(folder.path());
    let connection = open(folder.path(), WAL).expect("opens");
    connection.execute_batch("CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)").expect("made");
    let log = folder.path().join("a.db-wal");
    let before = std::fs::metadata(&log).expect("there").len();
    disk.take_log();
    disk.die_at(2, 77);
    assert!(connection.execute_batch("INSERT INTO t VALUES (1, 'x')").is_err());
    drop(connection);
    let changes: Vec<_> = disk.take_log().into_iter().map(|change| change.what).collect();
    let [What::Write { offset, bytes: 24 }, What::Write { .. }] = changes[..] else {
        panic!("a frame's header and its page: {changes:?}");
    };
    assert_eq!(offset, before);
    assert_eq!(std::fs::metadata(&log).expect("there").len(), before + 24 + 77);
}

#[test]
#[should_panic(expected = "still open")]
fn what_is_open_cannot_be_revived() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::at(folder.path());
    let _connection = open(folder.path(), WAL).expect("opens");
    disk.die();
    disk.revive();
}
