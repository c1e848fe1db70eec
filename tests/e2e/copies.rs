//! A file that is copied or restored is one more replica: nothing is lost, nothing is overwritten.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use driftless_tests::{Node, TestRelay, agree, connect, query};

const NOTES: &str = "
CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT);
INSERT INTO notes VALUES ('0', 'from the beginning');
";

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.into();
    name.push(suffix);
    name.into()
}

/// What `cp` does to a database whose `-wal` is copied along, or not.
fn copy(from: &Path, to: &Path, with_wal: bool) {
    std::fs::copy(from, to).expect("the file can be copied");
    if with_wal {
        std::fs::copy(beside(from, "-wal"), beside(to, "-wal")).expect("the log can be copied");
    }
}

/// Puts an older copy in place of a closed database, as a restore from a backup does.
fn restore(backup: &Path, path: &Path) {
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(beside(path, suffix)); // the last connection may have removed it
    }
    // Into the same file: the inode tells nothing.
    std::fs::write(path, std::fs::read(backup).expect("the backup can be read"))
        .expect("the file can be written");
}

/// Two files that agree, online, the first of them closed; and a copy of that one.
fn backed_up(folder: &Path, url: &str) -> (Node, Node, PathBuf) {
    let mut node = Node::create(folder.join("app.db"), NOTES);
    let mut other = Node::create(folder.join("other.db"), NOTES);
    node.go_online(url);
    other.go_online(url);
    agree(&[&node, &other]);
    node.close();
    let backup = folder.join("backup.db");
    copy(node.path(), &backup, false);
    (node, other, backup)
}

fn checkpoint(path: &Path) {
    connect(path).query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("a checkpoint");
}

fn ids(path: &Path) -> Vec<String> {
    query(path, "SELECT id FROM notes ORDER BY id")
}

fn insert(node: &Node, id: &str) {
    node.sql(&format!("INSERT INTO notes VALUES ('{id}', 'by {}')", node.path().display()));
}

#[track_caller]
fn all_differ(nodes: &[&Node]) {
    let replicas: BTreeSet<_> = nodes.iter().map(|node| node.status().replica.to_string()).collect();
    assert_eq!(replicas.len(), nodes.len(), "two files have one replica id: {replicas:?}");
}

fn copied_while_a_sync_runs(with_wal: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let url = relay.url("notes");
    let mut original = Node::create(folder.path().join("original.db"), NOTES);
    original.go_online(&url);
    original.sync_now();
    insert(&original, "1 before the copy");
    original.engine().capture().expect("captured");
    if !with_wal {
        checkpoint(original.path());
    }
    let path = folder.path().join("copy.db");
    copy(original.path(), &path, with_wal);
    let mut beside = Node::open(&path);
    all_differ(&[&original, &beside]);

    insert(&original, "2 on the original");
    insert(&beside, "2 on the copy");
    original.sql("UPDATE notes SET title = 'edited' WHERE id = '0'");
    beside.go_online(&url);
    agree(&[&original, &beside]);
    insert(&beside, "3 on the copy");
    insert(&original, "3 on the original");
    agree(&[&original, &beside]);
    let expected = [
        "0",
        "1 before the copy",
        "2 on the copy",
        "2 on the original",
        "3 on the copy",
        "3 on the original",
    ];
    assert_eq!(ids(original.path()), expected.map(|id| format!("'{id}'")));
    assert_eq!(query(&path, "SELECT title FROM notes WHERE id = '0'"), ["'edited'"]);
    all_differ(&[&original, &beside]);
    assert_eq!(original.conflicts(), []);
}

#[test]
fn a_checkpointed_file_copied_while_a_sync_runs_is_one_more_replica() {
    copied_while_a_sync_runs(false);
}

#[test]
fn a_file_copied_with_its_wal_while_a_sync_runs_is_one_more_replica() {
    copied_while_a_sync_runs(true);
}

#[test]
fn a_copy_made_with_vacuum_into_is_one_more_replica() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let url = relay.url("notes");
    let mut original = Node::create(folder.path().join("original.db"), NOTES);
    original.go_online(&url);
    original.sync_now();
    insert(&original, "1 unsent, perhaps");
    let path = folder.path().join("copy.db");
    connect(original.path()).execute("VACUUM INTO ?1", [path.to_str().expect("text")]).expect("a copy");
    let mut copy = Node::open(&path);
    insert(&copy, "2 on the copy");
    insert(&original, "2 on the original");
    copy.go_online(&url);
    agree(&[&original, &copy]);
    all_differ(&[&original, &copy]);
    assert_eq!(ids(&path).len(), 4);
}

#[test]
fn a_copy_with_unsent_work_loses_it_to_no_other_work_under_the_same_number() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let url = relay.url("notes");
    let mut original = Node::create(folder.path().join("original.db"), NOTES);
    original.go_online(&url);
    original.sync_now();
    original.go_offline();
    // Captured as the next changeset, and not sent.
    insert(&original, "1 unsent in both");
    original.engine().capture().expect("captured");
    original.close();
    let path = folder.path().join("copy.db");
    copy(original.path(), &path, false);
    original.reopen();
    original.go_online(&url);
    original.sync_now();
    insert(&original, "2 on the original");
    original.sync_now();

    let mut copy = Node::open(&path);
    insert(&copy, "2 on the copy");
    copy.go_online(&url);
    agree(&[&original, &copy]);
    all_differ(&[&original, &copy]);
    assert_eq!(ids(&path), ["'0'", "'1 unsent in both'", "'2 on the copy'", "'2 on the original'"]);
    assert_eq!(original.conflicts(), []);
}

#[test]
fn a_file_restored_in_place_from_an_older_copy_gets_back_what_it_had_sent_and_keeps_what_it_does_now() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let url = relay.url("notes");
    let (mut node, other, backup) = backed_up(folder.path(), &url);
    let first = node.status().replica;
    node.reopen();
    node.go_online(&url);
    insert(&node, "1 after the backup");
    node.sql("UPDATE notes SET title = 'after the backup' WHERE id = '0'");
    agree(&[&node, &other]);

    node.close();
    restore(&backup, node.path());
    assert_eq!(ids(node.path()), ["'0'"]);
    node.reopen();
    insert(&node, "2 after the restore");
    node.go_online(&url);
    agree(&[&node, &other]);
    assert_ne!(node.status().replica, first, "its old name counts further than it knows");
    assert_eq!(ids(node.path()), ["'0'", "'1 after the backup'", "'2 after the restore'"]);
    assert_eq!(query(node.path(), "SELECT title FROM notes WHERE id = '0'"), ["'after the backup'"]);
    // And a second time.
    node.close();
    restore(&backup, node.path());
    node.reopen();
    insert(&node, "3 after the second restore");
    node.go_online(&url);
    agree(&[&node, &other]);
    assert_eq!(ids(other.path()).len(), 4);
}

/// Nobody else knew that its numbers had been used, and the two files went apart for ever, each of them in agreement.
#[test]
fn a_file_restored_in_place_is_noticed_though_the_relay_has_lost_its_data() {
    for restored_first in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut relay = TestRelay::in_memory();
        let url = relay.url("notes");
        let (mut node, mut other, backup) = backed_up(folder.path(), &url);
        node.reopen();
        // Twice: the second time the file goes back to what it was called before the first.
        for id in ["1", "2"] {
            node.go_online(&url);
            other.go_online(&url);
            insert(&node, &format!("{id} after the backup"));
            agree(&[&node, &other]);
            node.close();
            other.go_offline();
            restore(&backup, node.path());
            relay.stop();
            relay.restart();
            node.reopen();
            insert(&node, &format!("{id} after the restore"));
            if restored_first {
                node.go_online(&url);
                node.sync_now();
            }
            other.go_online(&url);
            other.sync_now();
            node.go_online(&url);
            agree(&[&node, &other]);
        }
        let all = [
            "'0'",
            "'1 after the backup'",
            "'1 after the restore'",
            "'2 after the backup'",
            "'2 after the restore'",
        ];
        assert_eq!(ids(other.path()), all, "restored first {restored_first}");
    }
}

#[test]
fn a_restored_file_that_wrote_as_much_as_before_is_noticed_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let url = relay.url("notes");
    let mut node = Node::create(folder.path().join("app.db"), NOTES);
    node.go_online(&url);
    node.sync_now();
    node.close();
    let backup = folder.path().join("backup.db");
    copy(node.path(), &backup, false);
    node.reopen();
    node.go_online(&url);
    insert(&node, "1 after the backup");
    node.sync_now();
    node.close();
    restore(&backup, node.path());
    node.reopen();
    // Other content under the very number that the relay holds, and one more than that.
    for id in ["1 after the restore", "2 after the restore"] {
        insert(&node, id);
        node.engine().capture().expect("captured");
    }
    let mut other = Node::create(folder.path().join("other.db"), NOTES);
    node.go_online(&url);
    other.go_online(&url);
    agree(&[&node, &other]);
    assert_eq!(
        ids(other.path()),
        ["'0'", "'1 after the backup'", "'1 after the restore'", "'2 after the restore'"]
    );
}
