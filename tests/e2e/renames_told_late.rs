//! A migration renames a column while it makes the table anew, and somebody tells of the rename only later. Values
//! that nobody wrote concurrently are no conflict then, and nothing is lost.

use driftless::TableOptions;
use driftless_tests::{Replicas, later};

use crate::renames::{NOTES, anew, replicas};

/// Such a migration. It changes every value, so that the rows do not tell that the column was renamed.
fn title_to_head() -> String {
    anew("head TEXT, stars INTEGER DEFAULT 0", "upper(title), stars")
}

/// Machine 0 renames the column before the others do, and does not tell. Once it told, every row was in conflict: the values that
/// stood in the renamed column counted as writes of their own, and later writes under the new name had replaced nothing.
#[test]
fn a_rename_that_is_told_late_makes_no_conflict_of_what_nobody_wrote_apart() {
    let conflicts =
        |replicas: &Replicas| replicas.query_all("SELECT count(*) FROM driftless_conflicts WHERE shown = 0");
    let mut replicas = replicas(3);
    replicas.sql(
        1,
        "UPDATE notes SET title = 'by 1' WHERE id = 'a'; INSERT INTO notes (id, title) VALUES ('c', 'three')",
    );
    replicas.meet();
    replicas.sql(0, &title_to_head());
    replicas.settle();
    replicas.sql(0, "UPDATE notes SET head = 'first' WHERE id = 'a'");
    replicas.meet();
    // Another opening of the engine goes on, which has another writer.
    replicas.close(0);
    replicas.reopen(0);
    replicas.sql(0, "UPDATE notes SET head = 'second' WHERE id = 'a'");
    replicas.sql(1, "UPDATE notes SET title = 'TWO' WHERE id = 'b'");
    replicas.meet();
    driftless::rename_column(replicas.path(0), "notes", "title", "head").expect("told");
    replicas.settle();
    let expected = ["'second'", "'TWO'", "'THREE'"];
    assert_eq!(replicas.query(0, "SELECT head FROM notes ORDER BY id"), expected);
    assert_eq!(replicas.query(1, "SELECT title FROM notes ORDER BY id"), expected);
    assert_eq!(conflicts(&replicas), ["0"]);
    replicas.sql(2, "UPDATE notes SET title = 'last' WHERE id = 'a'");
    replicas.meet();
    assert_eq!(replicas.query(0, "SELECT head FROM notes WHERE id = 'a'"), ["'last'"]);
    assert_eq!(conflicts(&replicas), ["0"]);
    (0..3).for_each(|node| replicas.assert_well(node));
}

#[test]
fn what_was_written_under_both_names_without_being_shown_stays_a_conflict_when_the_rename_is_told() {
    for new_name_first in [true, false] {
        let mut replicas = replicas(2);
        replicas.sql(0, &title_to_head());
        replicas.settle();
        let writes =
            [(0, "UPDATE notes SET head = 'new'"), (1, "UPDATE notes SET title = 'old' WHERE id = 'b'")];
        for turn in 0..2 {
            let (node, write) = writes[(turn + usize::from(!new_name_first)) % 2];
            replicas.sql(node, write);
            replicas.settle();
            later();
        }
        driftless::rename_column(replicas.path(0), "notes", "title", "head").expect("told");
        replicas.settle();
        let (shown, kept) = if new_name_first { ("'old'", "'new'") } else { ("'new'", "'old'") };
        assert_eq!(replicas.query(0, "SELECT head FROM notes ORDER BY id"), ["'new'", shown]);
        assert_eq!(replicas.query(1, "SELECT title FROM notes ORDER BY id"), ["'new'", shown]);
        let select = "SELECT value FROM driftless_conflicts WHERE shown = 0";
        assert_eq!(replicas.query_all(select), [kept], "{new_name_first}");
    }
}

/// A row that comes after the migration shows nothing in the renamed column. What was then written there counted as an edit of the
/// value under the old name, and that value was gone once the rename was told.
#[test]
fn a_value_that_never_showed_under_the_new_name_is_kept_beside_what_was_written_there_when_the_rename_is_told()
 {
    for teller in [0, 1] {
        let mut replicas = replicas(2);
        replicas.sql(0, &title_to_head());
        replicas.sql(1, "INSERT INTO notes (id, title) VALUES ('c', 'by 1')");
        replicas.meet();
        assert_eq!(replicas.query(0, "SELECT head FROM notes WHERE id = 'c'"), ["NULL"]);
        later();
        replicas.sql(0, "UPDATE notes SET head = 'by 0' WHERE id = 'c'");
        replicas.meet();
        if teller == 0 {
            driftless::rename_column(replicas.path(0), "notes", "title", "head").expect("told");
        } else {
            replicas.sql(1, "ALTER TABLE notes RENAME COLUMN title TO head");
        }
        replicas.settle();
        replicas.meet();
        let select = "SELECT value FROM driftless_conflicts WHERE shown = 0";
        assert_eq!(replicas.query(0, "SELECT head FROM notes WHERE id = 'c'"), ["'by 0'"], "{teller}");
        assert_eq!(replicas.query_all(select), ["'by 1'"], "{teller}");
    }
}

/// The value in a column of another type was not the same as what the document said under the old name, so that every row was in
/// conflict once the rename was told.
#[test]
fn a_rename_that_is_told_late_makes_no_conflict_of_values_that_changed_only_their_type() {
    let retype = |name: &str, from: &str| {
        format!(
            "BEGIN; CREATE TABLE new_notes (id TEXT PRIMARY KEY, title TEXT, {name} TEXT DEFAULT '0');
             INSERT INTO new_notes SELECT id, title, {from} FROM notes; DROP TABLE notes;
             ALTER TABLE new_notes RENAME TO notes; COMMIT;"
        )
    };
    let rename = "ALTER TABLE notes RENAME COLUMN stars TO likes;";
    for steps in [
        vec![retype("stars", "stars"), rename.to_owned()],
        vec![rename.to_owned(), retype("likes", "likes")],
        vec![retype("likes", "stars")],
    ] {
        let mut replicas = Replicas::new(3, NOTES, &["notes"], &TableOptions::default());
        for node in [0, 1] {
            for step in &steps {
                replicas.sql(node, step);
                replicas.settle();
            }
        }
        replicas.sql(2, "UPDATE notes SET stars = 5 WHERE id = 'b'");
        replicas.settle();
        driftless::rename_column(replicas.path(0), "notes", "stars", "likes").expect("told");
        replicas.settle();
        assert_eq!(replicas.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"], "{steps:?}");
        for (node, select, expected) in [
            (0, "SELECT likes FROM notes ORDER BY id", ["'1'", "'5'"]),
            (1, "SELECT likes FROM notes ORDER BY id", ["'1'", "'5'"]),
            (2, "SELECT stars FROM notes ORDER BY id", ["1", "5"]),
        ] {
            assert_eq!(replicas.query(node, select), expected, "{node} {steps:?}");
        }
        (0..3).for_each(|node| replicas.assert_well(node));
    }
}

/// The rows told the second machine that the column was renamed, and what the first had written in it, which the second had never
/// shown, counted as edited away.
#[test]
fn what_one_machine_writes_under_a_new_name_in_an_empty_table_is_not_lost_when_another_renames_the_column() {
    let mut replicas = replicas(2);
    replicas.sql(0, "DELETE FROM notes");
    replicas.settle();
    let migration = anew("head TEXT, stars INTEGER DEFAULT 0", "title, stars");
    replicas.sql(0, &migration);
    replicas.sql(0, "INSERT INTO notes (id, head) VALUES ('new', 'by 0')");
    replicas.sql(1, "INSERT INTO notes (id, title) VALUES ('old', 'by 1')");
    replicas.settle();
    replicas.sql(1, &migration);
    replicas.settle();
    assert_eq!(replicas.query(0, "SELECT head FROM notes WHERE id = 'new'"), ["'by 0'"]);
    driftless::rename_column(replicas.path(0), "notes", "title", "head").expect("told");
    replicas.settle();
    assert_eq!(
        replicas.query_all("SELECT id, head FROM notes ORDER BY id"),
        ["'new', 'by 0'", "'old', 'by 1'"]
    );
    (0..2).for_each(|node| replicas.assert_well(node));
}

/// Beside the copy that another machine had found in its new column, the written value was taken for a copy, too, and was gone
/// once somebody told.
#[test]
fn what_an_app_writes_as_soon_as_it_has_made_the_table_anew_is_not_lost_when_the_rename_is_told() {
    for teller in 0..2 {
        let mut replicas = replicas(2);
        replicas.sql(0, &title_to_head());
        replicas.settle();
        replicas.meet();
        replicas.sql(1, &format!("{} UPDATE notes SET head = 'mine' WHERE id = 'a'", title_to_head()));
        replicas.settle();
        replicas.meet();
        driftless::rename_column(replicas.path(teller), "notes", "title", "head").expect("told");
        replicas.settle();
        replicas.meet();
        let stands = replicas
            .query_all("SELECT head FROM notes WHERE id = 'a' UNION SELECT value FROM driftless_conflicts");
        assert!(stands.contains(&"'mine'".to_owned()), "{teller}: {stands:?}");
        assert_eq!(replicas.query_all("SELECT head FROM notes WHERE id = 'b'"), ["'TWO'"], "{teller}");
    }
}

/// The column that is there became a part of what was given up, and reached nobody any more.
#[test]
fn no_column_can_be_told_to_be_one_that_the_space_has_given_up() {
    let mut replicas = replicas(2);
    replicas.sql(0, "ALTER TABLE notes DROP COLUMN title");
    replicas.settle();
    driftless::forget(replicas.path(0), "notes", Some("title")).expect("forgotten");
    replicas.settle();
    replicas.sql(0, "ALTER TABLE notes ADD COLUMN head TEXT");
    replicas.settle();
    let refused = driftless::rename_column(replicas.path(0), "notes", "title", "head").expect_err("refused");
    assert!(refused.to_string().contains("given 'title' up for good"), "{refused}");
    replicas.sql(1, "ALTER TABLE notes ADD COLUMN head TEXT; UPDATE notes SET head = 'one' WHERE id = 'a'");
    replicas.meet();
    assert_eq!(replicas.query(0, "SELECT head FROM notes ORDER BY id"), ["'one'", "NULL"]);
}

/// The value under the old name counted as written when the table was tracked again, and showed instead of later writes.
#[test]
fn a_column_that_is_renamed_while_its_table_is_not_tracked_shows_the_later_writes_once_that_is_told() {
    let schema =
        "CREATE TABLE t (id TEXT PRIMARY KEY, c TEXT); INSERT INTO t VALUES ('r', 'c0'), ('s', 'c1')";
    let rebuild = "BEGIN; CREATE TABLE n (id TEXT PRIMARY KEY, cc TEXT); INSERT INTO n SELECT * FROM t;
        DROP TABLE t; ALTER TABLE n RENAME TO t; COMMIT";
    for migration in ["ALTER TABLE t RENAME COLUMN c TO cc", rebuild] {
        let mut replicas = Replicas::new(2, schema, &["t"], &TableOptions::default());
        replicas.node(1).untrack(&["t"]).expect("untracked");
        replicas.sql(1, migration);
        replicas.sql(1, "UPDATE t SET cc = 'of 1' WHERE id = 's'");
        replicas.sql(0, "UPDATE t SET c = 'of 0' WHERE id = 'r'");
        replicas.fetch(1, 0);
        replicas.node(1).track(&["t"], TableOptions::default()).expect("tracked again");
        replicas.meet();
        driftless::rename_column(replicas.path(1), "t", "c", "cc").expect("told");
        replicas.meet();
        for (replica, select) in [(0, "SELECT c FROM t ORDER BY id"), (1, "SELECT cc FROM t ORDER BY id")] {
            assert_eq!(replicas.query(replica, select), ["'of 0'", "'of 1'"], "{migration}");
            assert_eq!(
                replicas.query(replica, "SELECT count(*) FROM driftless_conflicts"),
                ["0"],
                "{migration}"
            );
            replicas.assert_well(replica);
        }
    }
}
