//! Versions of an app meet: columns appear on one replica before another, tables are tracked late or again. A column
//! that comes into view shows what others wrote in it; what the table happens to hold there is not captured over it.

use driftless::{Config, SyncConfig, TableOptions, Value};
use driftless_tests::{Node, PATIENCE, TestRelay, agree, query};

const T: &str =
    "CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT); INSERT INTO t VALUES ('1', 'old'), ('2', 'old2');";

/// Two nodes that hold the same, online.
fn two(folder: &tempfile::TempDir, relay: &TestRelay) -> (Node, Node) {
    let url = relay.url("rollout");
    let mut a = Node::create(folder.path().join("a.db"), T);
    a.go_online(&url);
    a.sync_now();
    let path = folder.path().join("b.db");
    driftless::clone(&path, SyncConfig::new(&url), Config::default(), PATIENCE).expect("cloned");
    let mut b = Node::open(&path);
    b.go_online(&url);
    agree(&[&a, &b]);
    (a, b)
}

fn rows(node: &Node, sql: &str) -> Vec<String> {
    query(node.path(), sql).iter().map(|literal| literal.trim_matches('\'').to_owned()).collect()
}

/// The other copy's fresh default was captured as a write of its own, over what the author had written: 11 became 7
/// everywhere, in the author's own file too.
fn a_column_that_is_added_later_shows_what_others_wrote(column: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let (a, b) = two(&folder, &relay);
    a.sql(&format!("ALTER TABLE t ADD COLUMN {column}; UPDATE t SET n = 11 WHERE id = '1'"));
    a.sync_now();
    b.sync_now();
    // In the same breath a write to another column of that row, and one to the new column of the other row.
    b.sql(&format!(
        "BEGIN; ALTER TABLE t ADD COLUMN {column}; UPDATE t SET v = 'new' WHERE id = '1';
         UPDATE t SET n = 22 WHERE id = '2'; COMMIT"
    ));
    agree(&[&a, &b]);
    for node in [&a, &b] {
        assert_eq!(rows(node, "SELECT id || v || n FROM t ORDER BY id"), ["1new11", "2old222"]);
        assert_eq!(node.conflicts(), []);
    }
}

#[test]
fn a_column_with_a_default_that_is_added_later_shows_what_others_wrote() {
    a_column_that_is_added_later_shows_what_others_wrote("n INTEGER DEFAULT 7");
}

#[test]
fn a_column_without_a_default_that_is_added_later_shows_what_others_wrote() {
    a_column_that_is_added_later_shows_what_others_wrote("n INTEGER");
}

/// The machine that migrated second replaced everywhere, without a conflict, what users had written in the column before.
#[test]
fn what_a_migration_fills_a_new_column_with_stands_beside_what_others_wrote_there_unseen() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let (a, b) = two(&folder, &relay);
    let migration = "BEGIN; ALTER TABLE t ADD COLUMN slug TEXT; UPDATE t SET slug = upper(v); COMMIT";
    a.sql(migration);
    a.sync_now();
    a.sql("UPDATE t SET slug = 'mine' WHERE id = '1'");
    a.sync_now();
    b.sync_now();
    b.sql(migration);
    agree(&[&a, &b]);
    let values = |node: &Node| -> Vec<_> {
        let conflicts = node.conflicts();
        let [conflict] = &conflicts[..] else { panic!("{conflicts:#?}") };
        assert_eq!((&*conflict.key, &*conflict.column), ("'1'", "slug"));
        std::iter::once(&conflict.shown).chain(&conflict.kept).map(|written| written.value.clone()).collect()
    };
    for node in [&a, &b] {
        assert_eq!(values(node), [Value::text("OLD"), Value::text("mine")], "the later shows");
        assert_eq!(rows(node, "SELECT slug FROM t WHERE id = '2'"), ["OLD2"]);
    }
    // Once the column shows what is in it, a write of it settles that.
    b.sql("UPDATE t SET slug = 'settled' WHERE id = '1'; UPDATE t SET slug = NULL WHERE id = '2'");
    agree(&[&a, &b]);
    assert_eq!(a.conflicts(), []);
    assert_eq!(rows(&a, "SELECT coalesce(slug, 'none') FROM t ORDER BY id"), ["settled", "none"]);
}

/// An app that knows the column's default wrote the whole row, and NULL into the new column.
#[test]
fn a_whole_row_that_is_written_after_its_table_got_a_column_replaces_nothing_that_it_never_showed() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let (a, b) = two(&folder, &relay);
    a.sql("ALTER TABLE t ADD COLUMN n TEXT DEFAULT 'x'; UPDATE t SET n = 'mine' WHERE id = '1'");
    a.sync_now();
    b.sync_now();
    b.sql(
        "BEGIN; ALTER TABLE t ADD COLUMN n TEXT DEFAULT 'x';
         INSERT INTO t VALUES ('1', 'whole', NULL) ON CONFLICT DO UPDATE SET v = excluded.v, n = excluded.n; COMMIT",
    );
    agree(&[&a, &b]);
    for node in [&a, &b] {
        assert_eq!(rows(node, "SELECT v || coalesce(n, 'none') FROM t WHERE id = '1'"), ["wholenone"]);
        let conflicts = node.conflicts();
        let [conflict] = &conflicts[..] else { panic!("{conflicts:#?}") };
        assert_eq!(conflict.kept[0].value, Value::text("mine"));
    }
}

#[test]
fn a_column_that_is_renamed_later_shows_what_others_wrote_under_the_new_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let (a, b) = two(&folder, &relay);
    a.sql("ALTER TABLE t RENAME COLUMN v TO w");
    a.sync_now();
    a.sql("UPDATE t SET w = 'renamed' WHERE id = '1'");
    a.sync_now();
    b.sync_now();
    // A write under the old name that a's new name knows nothing of: kept beside, not lost.
    b.sql("UPDATE t SET v = 'late' WHERE id = '2'");
    b.sync_now();
    b.sql("ALTER TABLE t RENAME COLUMN v TO w");
    agree(&[&a, &b]);
    for node in [&a, &b] {
        assert_eq!(rows(node, "SELECT id || w FROM t WHERE id = '1'"), ["1renamed"]);
    }
}

#[test]
fn a_table_that_is_tracked_again_shows_what_others_wrote_meanwhile() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let (a, b) = two(&folder, &relay);
    a.engine().untrack(&["t"]).expect("untracked");
    a.sql("UPDATE t SET v = 'mine' WHERE id = '2'");
    b.sql("UPDATE t SET v = 'theirs' WHERE id = '1'; INSERT INTO t VALUES ('3', 'new')");
    b.sync_now();
    a.sync_now();
    assert_eq!(rows(&a, "SELECT v FROM t ORDER BY id"), ["old", "mine"]);
    a.engine().track(&["t"], TableOptions::default()).expect("tracked again");
    agree(&[&a, &b]);
    for node in [&a, &b] {
        assert_eq!(rows(node, "SELECT v FROM t ORDER BY id"), ["theirs", "mine", "new"]);
        assert_eq!(node.conflicts(), []);
    }
}

#[test]
fn a_row_that_others_deleted_while_its_table_was_not_tracked_is_deleted_when_it_is_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let (a, b) = two(&folder, &relay);
    a.engine().untrack(&["t"]).expect("untracked");
    b.sql("DELETE FROM t WHERE id = '1'");
    b.sync_now();
    a.sync_now();
    a.engine().track(&["t"], TableOptions::default()).expect("tracked again");
    agree(&[&a, &b]);
    assert_eq!(rows(&a, "SELECT id FROM t"), ["2"]);
}

/// A file that joined before it tracked captured what it happened to hold as new writes, over everybody's edits.
#[test]
fn a_copy_that_tracks_only_after_it_has_synced_overwrites_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let url = relay.url("late");
    let mut a = Node::create(folder.path().join("a.db"), T);
    a.go_online(&url);
    a.sql("UPDATE t SET v = 'edited' WHERE id = '1'; DELETE FROM t WHERE id = '2'");
    a.sync_now();
    let path = folder.path().join("b.db");
    driftless_tests::create_database(&path, T);
    driftless_tests::connect(&path).execute("INSERT INTO t VALUES ('3', 'mine')", []).expect("inserted");
    let mut b = Node::open(&path);
    b.go_online(&url);
    b.sync_now();
    b.track_all(TableOptions::default());
    agree(&[&a, &b]);
    for node in [&a, &b] {
        assert_eq!(rows(node, "SELECT id || v FROM t ORDER BY id"), ["1edited", "3mine"]);
        assert_eq!(node.conflicts(), []);
    }
}
