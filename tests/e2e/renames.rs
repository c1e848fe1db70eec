//! Renamed columns and tables: one replica before the others, told or not, and nothing of anybody's is lost.

use driftless::TableOptions;
use driftless_tests::{Circle, later};

const NOTES: &str = "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT, stars INTEGER DEFAULT 0);
    INSERT INTO notes VALUES ('a', 'one', 1), ('b', 'two', 2)";

fn circle(count: usize) -> Circle {
    Circle::new(count, NOTES, &["notes"], &TableOptions::default().counter("stars"))
}

#[test]
fn a_rename_that_is_told_first_reaches_those_that_rename_later() {
    let mut circle = circle(3);
    driftless::rename_column(circle.path(0), "notes", "Title", "head").expect("renamed");
    circle.sql(0, "UPDATE notes SET head = 'ONE' WHERE id = 'a'; INSERT INTO notes VALUES ('c', 'three', 3)");
    circle.sql(1, "UPDATE notes SET title = 'TWO' WHERE id = 'b'");
    circle.meet();
    let expected = ["'a', 'ONE'", "'b', 'TWO'", "'c', 'three'"];
    assert_eq!(circle.query(0, "SELECT id, head FROM notes ORDER BY id"), expected);
    assert_eq!(circle.query(1, "SELECT id, title FROM notes ORDER BY id"), expected);
    // The app's own migration, later; then the last one tells it again, as its own migration may.
    circle.sql(
        1,
        "ALTER TABLE notes RENAME COLUMN title TO head; UPDATE notes SET head = 'again' WHERE id = 'a'",
    );
    driftless::rename_column(circle.path(2), "notes", "title", "head").expect("renamed");
    circle.meet();
    assert_eq!(
        circle.query_all("SELECT id, head FROM notes ORDER BY id"),
        ["'a', 'again'", "'b', 'TWO'", "'c', 'three'"]
    );
    assert_eq!(circle.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"]);
    assert_eq!(circle.warning("notes"), None);
}

#[test]
fn what_was_written_under_both_names_before_the_rename_was_told_is_one_columns() {
    let mut circle = circle(2);
    circle.sql(0, "ALTER TABLE notes RENAME COLUMN title TO head");
    circle.capture(0);
    let warning = circle.warning("notes").expect("a warning");
    assert!(
        warning.contains("rename-column") && warning.contains("'title'") && warning.contains("'head'"),
        "{warning}"
    );
    circle.sql(1, "UPDATE notes SET title = 'by the old name' WHERE id = 'a'");
    circle.capture(1);
    later();
    circle.sql(0, "UPDATE notes SET head = 'by the new name' WHERE id = 'b'");
    circle.meet();
    assert_eq!(
        circle.query(0, "SELECT head FROM notes ORDER BY id"),
        ["'one'", "'by the new name'"],
        "not told yet"
    );
    assert_eq!(circle.query(1, "SELECT title FROM notes ORDER BY id"), ["'by the old name'", "'two'"]);
    driftless::rename_column(circle.path(0), "notes", "title", "head").expect("told");
    circle.meet();
    let expected = ["'by the old name'", "'by the new name'"];
    assert_eq!(circle.query(0, "SELECT head FROM notes ORDER BY id"), expected);
    assert_eq!(circle.query(1, "SELECT title FROM notes ORDER BY id"), expected);
    assert_eq!(circle.warning("notes"), None);
    // Written again, it is settled for good, under whichever name.
    circle.sql(
        1,
        "UPDATE notes SET title = 'settled' WHERE id = 'b'; ALTER TABLE notes RENAME COLUMN title TO head",
    );
    circle.meet();
    assert_eq!(circle.query_all("SELECT head FROM notes ORDER BY id"), ["'by the old name'", "'settled'"]);
}

#[test]
fn a_renamed_counter_counts_on() {
    let mut circle = circle(2);
    driftless::rename_column(circle.path(0), "notes", "stars", "likes").expect("renamed");
    circle.sql(0, "UPDATE notes SET likes = likes + 1");
    circle.sql(1, "UPDATE notes SET stars = stars + 10");
    circle.meet();
    assert_eq!(circle.query(0, "SELECT likes FROM notes ORDER BY id"), ["12", "13"]);
    assert_eq!(circle.query(1, "SELECT stars FROM notes ORDER BY id"), ["12", "13"]);
}

#[test]
fn a_column_renamed_twice_and_back_is_the_same_column() {
    let mut circle = circle(2);
    for (old, new) in [("title", "head"), ("head", "name"), ("name", "title")] {
        driftless::rename_column(circle.path(0), "notes", old, new).expect("renamed");
        circle.sql(0, &format!("UPDATE notes SET {new} = 'as {new}' WHERE id = 'a'"));
        circle.sql(1, &format!("UPDATE notes SET title = 'while {new}' WHERE id = 'b'"));
        circle.meet();
        let expected = [format!("'as {new}'"), format!("'while {new}'")];
        assert_eq!(circle.query(0, &format!("SELECT {new} FROM notes ORDER BY id")), expected);
        assert_eq!(circle.query(1, "SELECT title FROM notes ORDER BY id"), expected);
    }
}

#[test]
fn an_untold_rename_is_a_dropped_and_an_added_column_until_it_is_told() {
    let mut circle = circle(2);
    circle.sql(0, "ALTER TABLE notes RENAME COLUMN title TO head");
    circle.sql(1, "UPDATE notes SET title = 'TWO' WHERE id = 'b'");
    circle.meet();
    assert_eq!(circle.query(0, "SELECT head FROM notes ORDER BY id"), ["'one'", "'two'"]);
    circle.sql(1, "ALTER TABLE notes RENAME COLUMN title TO head");
    circle.meet();
    // Nobody knows that what stands in the new column is what was written in the old one; it is kept there.
    assert_eq!(circle.query_all("SELECT head FROM notes ORDER BY id"), ["'one'", "'two'"]);
    driftless::rename_column(circle.path(1), "notes", "title", "head").expect("told");
    circle.meet();
    assert_eq!(circle.query_all("SELECT head FROM notes ORDER BY id"), ["'one'", "'TWO'"]);
}

#[test]
fn a_rename_that_cannot_be_is_refused_and_changes_nothing() {
    let circle = circle(1);
    for (old, new, why) in [
        ("title", "stars", "both columns"),
        ("nothing", "neither", "neither column"),
        ("id", "key", "primary key"),
        ("title", "title", "the same name"),
        ("title", "a\tb", "no name"),
    ] {
        let refused = driftless::rename_column(circle.path(0), "notes", old, new).expect_err("refused");
        assert!(refused.to_string().contains(why), "{refused}");
    }
    assert!(matches!(
        driftless::rename_column(circle.path(0), "nowhere", "a", "b"),
        Err(driftless::Error::NotTracked(_))
    ));
    assert_eq!(circle.query(0, "SELECT title FROM notes"), ["'one'", "'two'"]);
}

#[test]
fn a_table_renamed_at_one_replica_and_later_at_the_other_is_one_table() {
    let mut circle = circle(2);
    circle.sql(0, "ALTER TABLE notes RENAME TO memos; INSERT INTO memos VALUES ('c', 'three', 3)");
    circle.sql(1, "UPDATE notes SET title = 'TWO' WHERE id = 'b'");
    circle.meet();
    let expected = ["'a', 'one'", "'b', 'TWO'", "'c', 'three'"];
    assert_eq!(circle.query(0, "SELECT id, title FROM memos ORDER BY id"), expected);
    assert_eq!(circle.query(1, "SELECT id, title FROM notes ORDER BY id"), expected);
    circle.sql(1, "ALTER TABLE notes RENAME TO memos; DELETE FROM memos WHERE id = 'a'");
    circle.meet();
    assert_eq!(circle.query_all("SELECT id, title FROM memos ORDER BY id"), expected[1..]);
}

/// A second rename of a column, onto another that had been there all along, made one column of the two.
#[test]
fn a_column_is_not_renamed_into_another_that_was_there() {
    let mut circle = circle(2);
    driftless::rename_column(circle.path(0), "notes", "title", "head").expect("renamed");
    circle.meet();
    for old in ["title", "never"] {
        let refused = driftless::rename_column(circle.path(0), "notes", old, "stars").expect_err("refused");
        assert!(refused.to_string().contains("another column"), "{refused}");
    }
    circle.meet();
    assert_eq!(circle.query(0, "SELECT head, stars FROM notes ORDER BY id"), ["'one', 1", "'two', 2"]);
}

#[test]
fn two_that_rename_one_column_differently_apart_both_go_on_with_it() {
    let mut circle = circle(2);
    driftless::rename_column(circle.path(0), "notes", "title", "head").expect("renamed");
    driftless::rename_column(circle.path(1), "notes", "title", "name").expect("renamed");
    circle.sql(0, "UPDATE notes SET head = 'ONE' WHERE id = 'a'");
    circle.sql(1, "UPDATE notes SET name = 'TWO' WHERE id = 'b'");
    circle.settle();
    assert_eq!(circle.query(0, "SELECT head FROM notes ORDER BY id"), ["'ONE'", "'TWO'"]);
    assert_eq!(circle.query(1, "SELECT name FROM notes ORDER BY id"), ["'ONE'", "'TWO'"]);
}
