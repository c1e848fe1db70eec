//! Versions of an app meet: columns appear on one replica before another, tables are tracked late or again. A column
//! that comes into view shows what others wrote in it; what the table happens to hold there is not captured over it.

use driftless::{TableOptions, Value};
use driftless_tests::{Node, Nodes, query};

const T: &str =
    "CREATE TABLE t (id TEXT PRIMARY KEY, v TEXT); INSERT INTO t VALUES ('1', 'old'), ('2', 'old2');";

/// Two nodes that hold the same, online; the second is a clone.
fn two() -> Nodes {
    let mut nodes = Nodes::new(1, T, &TableOptions::integer_key());
    let path = nodes.file("clone.db");
    nodes.clone_into(&path);
    nodes.join(&path);
    nodes.meet();
    nodes
}

fn rows(node: &Node, sql: &str) -> Vec<String> {
    query(node.path(), sql).iter().map(|literal| literal.trim_matches('\'').to_owned()).collect()
}

/// The other copy's fresh default was captured as a write of its own, over what the author had written: 11 became 7
/// everywhere, in the author's own file too.
fn a_column_that_is_added_later_shows_what_others_wrote(column: &str) {
    let nodes = two();
    let (a, b) = (&nodes[0], &nodes[1]);
    a.sql(&format!("ALTER TABLE t ADD COLUMN {column}; UPDATE t SET n = 11 WHERE id = '1'"));
    a.sync_now();
    b.sync_now();
    // In the same breath a write to another column of that row, and one to the new column of the other row.
    b.sql(&format!(
        "BEGIN; ALTER TABLE t ADD COLUMN {column}; UPDATE t SET v = 'new' WHERE id = '1';
         UPDATE t SET n = 22 WHERE id = '2'; COMMIT"
    ));
    nodes.agree();
    for node in nodes.iter() {
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
    stands_beside_what_others_wrote_unseen(ADD_SLUG, ADD_SLUG);
}

/// The row was written just before, so it was captured before the table was compared.
#[test]
fn what_a_migration_that_rebuilds_a_table_fills_a_new_column_with_stands_beside_it_too() {
    let migration = "UPDATE t SET v = v WHERE id = '1';
        BEGIN; CREATE TABLE new_t (id TEXT PRIMARY KEY, v TEXT, slug TEXT); INSERT INTO new_t SELECT id, v, upper(v) FROM t;
        DROP TABLE t; ALTER TABLE new_t RENAME TO t; COMMIT";
    stands_beside_what_others_wrote_unseen(ADD_SLUG, migration);
}

const ADD_SLUG: &str = "BEGIN; ALTER TABLE t ADD COLUMN slug TEXT; UPDATE t SET slug = upper(v); COMMIT";

fn stands_beside_what_others_wrote_unseen(first: &str, second: &str) {
    let nodes = two();
    let (a, b) = (&nodes[0], &nodes[1]);
    a.sql(first);
    a.sync_now();
    a.sql("UPDATE t SET slug = 'mine' WHERE id = '1'");
    a.sync_now();
    b.sync_now();
    b.sql(second);
    nodes.agree();
    let values = |node: &Node| -> Vec<_> {
        let conflicts = node.conflicts();
        let [conflict] = &conflicts[..] else { panic!("{conflicts:#?}") };
        assert_eq!((&*conflict.key, &*conflict.column), ("'1'", "slug"));
        std::iter::once(&conflict.shown).chain(&conflict.kept).map(|written| written.value.clone()).collect()
    };
    for node in nodes.iter() {
        assert_eq!(values(node), [Value::text("OLD"), Value::text("mine")], "the later shows");
        assert_eq!(rows(node, "SELECT slug FROM t WHERE id = '2'"), ["OLD2"]);
    }
    // Once the column shows what is in it, a write of it settles that.
    b.sql("UPDATE t SET slug = 'settled' WHERE id = '1'; UPDATE t SET slug = NULL WHERE id = '2'");
    nodes.agree();
    assert_eq!(a.conflicts(), []);
    assert_eq!(rows(a, "SELECT coalesce(slug, 'none') FROM t ORDER BY id"), ["settled", "none"]);
}

/// An app that knows the column's default wrote the whole row, and NULL into the new column.
#[test]
fn a_whole_row_that_is_written_after_its_table_got_a_column_replaces_nothing_that_it_never_showed() {
    let nodes = two();
    let (a, b) = (&nodes[0], &nodes[1]);
    a.sql("ALTER TABLE t ADD COLUMN n TEXT DEFAULT 'x'; UPDATE t SET n = 'mine' WHERE id = '1'");
    a.sync_now();
    b.sync_now();
    b.sql(
        "BEGIN; ALTER TABLE t ADD COLUMN n TEXT DEFAULT 'x';
         INSERT INTO t VALUES ('1', 'whole', NULL) ON CONFLICT DO UPDATE SET v = excluded.v, n = excluded.n; COMMIT",
    );
    nodes.agree();
    for node in nodes.iter() {
        assert_eq!(rows(node, "SELECT v || coalesce(n, 'none') FROM t WHERE id = '1'"), ["wholenone"]);
        let conflicts = node.conflicts();
        let [conflict] = &conflicts[..] else { panic!("{conflicts:#?}") };
        assert_eq!(conflict.kept[0].value, Value::text("mine"));
    }
}

#[test]
fn a_column_that_is_renamed_later_shows_what_others_wrote_under_the_new_name() {
    let nodes = two();
    let (a, b) = (&nodes[0], &nodes[1]);
    a.sql("ALTER TABLE t RENAME COLUMN v TO w");
    a.sync_now();
    a.sql("UPDATE t SET w = 'renamed' WHERE id = '1'");
    a.sync_now();
    b.sync_now();
    // A write under the old name that a's new name knows nothing of: kept beside, not lost.
    b.sql("UPDATE t SET v = 'late' WHERE id = '2'");
    b.sync_now();
    b.sql("ALTER TABLE t RENAME COLUMN v TO w");
    nodes.agree();
    for node in nodes.iter() {
        assert_eq!(rows(node, "SELECT id || w FROM t WHERE id = '1'"), ["1renamed"]);
    }
}

#[test]
fn a_table_that_is_tracked_again_shows_what_others_wrote_meanwhile() {
    let nodes = two();
    let (a, b) = (&nodes[0], &nodes[1]);
    a.engine().untrack(&["t"]).expect("untracked");
    a.sql("UPDATE t SET v = 'mine' WHERE id = '2'");
    b.sql("UPDATE t SET v = 'theirs' WHERE id = '1'; INSERT INTO t VALUES ('3', 'new')");
    b.sync_now();
    a.sync_now();
    assert_eq!(rows(a, "SELECT v FROM t ORDER BY id"), ["old", "mine"]);
    a.engine().track(&["t"], TableOptions::default()).expect("tracked again");
    nodes.agree();
    for node in nodes.iter() {
        assert_eq!(rows(node, "SELECT v FROM t ORDER BY id"), ["theirs", "mine", "new"]);
        assert_eq!(node.conflicts(), []);
    }
}

#[test]
fn a_row_that_others_deleted_while_its_table_was_not_tracked_is_deleted_when_it_is_again() {
    let nodes = two();
    let (a, b) = (&nodes[0], &nodes[1]);
    a.engine().untrack(&["t"]).expect("untracked");
    b.sql("DELETE FROM t WHERE id = '1'");
    b.sync_now();
    a.sync_now();
    a.engine().track(&["t"], TableOptions::default()).expect("tracked again");
    nodes.agree();
    assert_eq!(rows(a, "SELECT id FROM t"), ["2"]);
}

/// A file that joined before it tracked captured what it happened to hold as new writes, over everybody's edits.
#[test]
fn a_copy_that_tracks_only_after_it_has_synced_overwrites_nothing() {
    let mut nodes = Nodes::new(1, T, &TableOptions::integer_key());
    let path = nodes.file("late.db");
    let a = &nodes[0];
    a.sql("UPDATE t SET v = 'edited' WHERE id = '1'; DELETE FROM t WHERE id = '2'");
    a.sync_now();
    driftless_tests::create_database(&path, T);
    driftless_tests::connect(&path).execute("INSERT INTO t VALUES ('3', 'mine')", []).expect("inserted");
    let late = nodes.join(&path);
    nodes.go_online_at(late);
    let b = &nodes[late];
    b.sync_now();
    b.track_all(TableOptions::default());
    nodes.agree();
    for node in nodes.iter() {
        assert_eq!(rows(node, "SELECT id || v FROM t ORDER BY id"), ["1edited", "3mine"]);
        assert_eq!(node.conflicts(), []);
    }
}
