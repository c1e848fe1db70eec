//! Renamed columns and tables: one replica before the others, told or not, and nothing of anybody's is lost.

use driftless::{Selection, TableOptions};
use driftless_tests::Circle;

pub(crate) const NOTES: &str =
    "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT, stars INTEGER DEFAULT 0);
    INSERT INTO notes VALUES ('a', 'one', 1), ('b', 'two', 2)";

/// Makes the table `notes` anew, as a migration does. `columns`: what follows the key; `values`: what they get of the old ones.
pub(crate) fn anew(columns: &str, values: &str) -> String {
    format!(
        "BEGIN; CREATE TABLE new_notes (id TEXT PRIMARY KEY, {columns}); INSERT INTO new_notes SELECT id, {values} FROM notes;
         DROP TABLE notes; ALTER TABLE new_notes RENAME TO notes; COMMIT;"
    )
}

/// So many files with two notes in agreement.
pub(crate) fn circle(count: usize) -> Circle {
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

/// SQLite renames a column in our triggers, too. Until that was read, a rename by the app was a dropped and an added column.
#[test]
fn a_rename_by_the_app_is_known_without_a_word_though_it_was_written_before_and_after() {
    for in_between in [true, false] {
        let mut circle = circle(3);
        circle.sql(0, "UPDATE notes SET title = 'before' WHERE id = 'a'");
        circle.sql(0, "ALTER TABLE notes RENAME COLUMN title TO head");
        circle.sql(0, "UPDATE notes SET head = head || ', after', stars = stars + 1 WHERE id = 'a'");
        circle.sql(1, "UPDATE notes SET title = 'TWO' WHERE id = 'b'");
        if in_between {
            circle.settle();
            assert_eq!(circle.query(0, "SELECT head FROM notes ORDER BY id"), ["'before, after'", "'TWO'"]);
        }
        circle.sql(1, "ALTER TABLE notes RENAME COLUMN title TO head");
        circle.sql(1, "UPDATE notes SET stars = stars + 1 WHERE id = 'a'");
        circle.settle();
        for (node, column) in [(0, "head"), (1, "head"), (2, "title")] {
            let rows = circle.query(node, &format!("SELECT {column}, stars FROM notes ORDER BY id"));
            assert_eq!(rows, ["'before, after', 3", "'TWO', 2"], "{node}");
            circle.assert_well(node);
        }
        assert_eq!(circle.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"]);
        assert_eq!(circle.warning("notes"), None);
    }
}

#[test]
fn a_new_column_that_holds_the_same_value_in_every_row_is_taken_for_no_other_by_that() {
    let mut circle = circle(2);
    circle.sql(0, "ALTER TABLE notes ADD COLUMN flag INTEGER; UPDATE notes SET flag = 1");
    circle.settle();
    circle.sql(0, &anew("kind INTEGER DEFAULT 0, title TEXT, stars INTEGER DEFAULT 0", "1, title, stars"));
    circle.settle();
    assert!(circle.warning("notes").is_some_and(|asked| asked.contains("'flag' went and 'kind' came")));
    driftless::deny_rename(circle.path(0), "notes", "flag", "kind").expect("answered");
    circle.sql(1, "ALTER TABLE notes ADD COLUMN flag INTEGER; UPDATE notes SET flag = 7");
    circle.settle();
    assert_eq!(circle.query(0, "SELECT kind FROM notes ORDER BY id"), ["1", "1"]);
}

/// Beside a renamed column, one that was dropped and added again counted as edited: its default replaced what everybody had.
#[test]
fn a_column_that_is_dropped_and_added_again_beside_a_renamed_one_shows_what_the_space_has() {
    let schema = "CREATE TABLE p (id TEXT PRIMARY KEY, a TEXT, b TEXT, c TEXT); INSERT INTO p VALUES ('1', 'A', 'B', 'C')";
    let mut circle = Circle::new(2, schema, &["p"], &TableOptions::default());
    circle.sql(
        0,
        "ALTER TABLE p DROP COLUMN a; ALTER TABLE p RENAME COLUMN b TO d; ALTER TABLE p ADD COLUMN a TEXT DEFAULT '-'",
    );
    circle.settle();
    assert_eq!(circle.query(0, "SELECT a, d, c FROM p"), ["'A', 'B', 'C'"]);
    assert_eq!(circle.query(1, "SELECT a, b, c FROM p"), ["'A', 'B', 'C'"]);
    (0..2).for_each(|node| circle.assert_well(node));
}

/// The command did otherwise than `ALTER TABLE`: the columns' values were exchanged, and a counter was set to another's sum.
#[test]
fn the_command_gives_a_column_a_name_that_another_had_just_as_alter_table_does() {
    let schema = "CREATE TABLE p (id TEXT PRIMARY KEY, a TEXT, b TEXT, n INTEGER DEFAULT 0);
        INSERT INTO p VALUES ('1', 'A', 'B', 100)";
    for steps in
        [&[("b", "c"), ("n", "b"), ("a", "n")][..], &[("a", "x"), ("b", "a"), ("x", "b"), ("n", "x")]]
    {
        let mut circle = Circle::new(2, schema, &["p"], &TableOptions::default().counter("n"));
        for (old, new) in steps {
            driftless::rename_column(circle.path(0), "p", old, new).expect("renamed");
        }
        circle.settle();
        let counter = if steps.len() == 3 { "b" } else { "x" };
        circle.sql(0, &format!("UPDATE p SET {counter} = {counter} + 1"));
        circle.sql(1, "UPDATE p SET n = n + 10, a = 'A1'");
        circle.settle();
        let select = if steps.len() == 3 { "SELECT n, c, b FROM p" } else { "SELECT b, a, x FROM p" };
        assert_eq!(circle.query(0, select), ["'A1', 'B', 111"], "{steps:?}");
        assert_eq!(circle.query(1, "SELECT a, b, n FROM p"), ["'A1', 'B', 111"], "{steps:?}");
        assert_eq!(circle.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"], "{steps:?}");
        (0..2).for_each(|node| circle.assert_well(node));
    }
}

/// Its rows had not shown what another machine had written under the new name, and were taken for edits of that: the other's values
/// were gone everywhere.
#[test]
fn a_column_that_one_machine_adds_under_its_later_name_keeps_what_it_holds() {
    for (more, write) in
        [("", ""), ("; ALTER TABLE notes ADD COLUMN yet TEXT", ""), ("", "UPDATE notes SET stars = 9")]
    {
        let mut circle = circle(2);
        circle.sql(
            0,
            "ALTER TABLE notes ADD COLUMN extra TEXT; UPDATE notes SET extra = 'of ' || id;
             ALTER TABLE notes RENAME COLUMN extra TO more",
        );
        circle.settle();
        circle.sql(1, "ALTER TABLE notes ADD COLUMN extra TEXT");
        circle.settle();
        circle.sql(1, write);
        circle.sql(1, &format!("ALTER TABLE notes RENAME COLUMN extra TO more{more}"));
        circle.settle();
        assert_eq!(
            circle.query_all("SELECT more FROM notes ORDER BY id"),
            ["'of a'", "'of b'"],
            "{more} {write}"
        );
        assert_eq!(circle.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"], "{more} {write}");
        (0..2).for_each(|node| circle.assert_well(node));
    }
}

/// Django's migrations make the table anew with its columns in another order, and put new ones last. Nothing knew which column was
/// which, and nothing asked.
#[test]
fn a_column_that_a_migration_renames_drops_others_and_moves_is_known_by_its_rows() {
    let mut circle = circle(3);
    let migration = anew("stars INTEGER DEFAULT 0, v TEXT, head TEXT", "stars, 'new', title");
    circle.sql(0, "ALTER TABLE notes ADD COLUMN note TEXT");
    circle.settle();
    circle.sql(0, &migration);
    circle.sql(1, "UPDATE notes SET title = 'TWO' WHERE id = 'b'");
    circle.settle();
    assert_eq!(circle.query(0, "SELECT head, v FROM notes ORDER BY id"), ["'one', 'new'", "'TWO', 'new'"]);
    circle.sql(0, "UPDATE notes SET head = 'ONE' WHERE id = 'a'");
    circle.sql(1, &migration);
    circle.settle();
    assert_eq!(circle.query(1, "SELECT head, v FROM notes ORDER BY id"), ["'ONE', 'new'", "'TWO', 'new'"]);
    assert_eq!(circle.query(2, "SELECT title FROM notes ORDER BY id"), ["'ONE'", "'TWO'"]);
    assert_eq!(circle.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"]);
    (0..3).for_each(|node| circle.assert_well(node));
}

#[test]
fn a_rename_that_cannot_be_is_refused_and_changes_nothing() {
    let circle = circle(1);
    for (old, new, why) in [
        ("title", "stars", "both columns"),
        ("nothing", "neither", "never had a column 'nothing'"),
        ("title", "title", "the same name"),
        ("title", "", "1 to 1024 bytes"),
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
    for (old, why) in [("title", "it is 'head' now"), ("never", "never had")] {
        let refused = driftless::rename_column(circle.path(0), "notes", old, "stars").expect_err("refused");
        assert!(refused.to_string().contains(why), "{refused}");
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

/// Django's and Rails' key columns are called `id` until somebody calls them otherwise.
#[test]
fn a_renamed_key_column_is_the_same_key_told_or_not() {
    let mut circle = circle(3);
    circle.sql(0, "ALTER TABLE notes RENAME COLUMN id TO uuid; INSERT INTO notes VALUES ('c', 'three', 3)");
    circle.meet();
    driftless::rename_column(circle.path(1), "notes", "id", "uuid").expect("told");
    circle.sql(1, "UPDATE notes SET title = 'TWO' WHERE uuid = 'b'; DELETE FROM notes WHERE uuid = 'a'");
    circle.meet();
    let expected = ["'b', 'TWO'", "'c', 'three'"];
    for (node, key) in [(0, "uuid"), (1, "uuid"), (2, "id")] {
        assert_eq!(circle.query(node, &format!("SELECT {key}, title FROM notes ORDER BY 1")), expected);
    }
}

/// The question was asked about the first columns that came and went, and forgotten with the next change of the table.
#[test]
fn a_rename_can_be_told_however_often_the_table_changed_since() {
    let mut circle = circle(2);
    circle.sql(0, "ALTER TABLE notes ADD COLUMN extra");
    circle.sql(0, &anew("head TEXT, stars INTEGER DEFAULT 0, extra", "upper(title), stars, extra"));
    circle.capture(0);
    for change in ["ADD COLUMN one", "DROP COLUMN extra", "RENAME COLUMN one TO two", "ADD COLUMN three"] {
        circle.sql(0, &format!("ALTER TABLE notes {change}"));
        circle.capture(0);
        let question = circle.warning("notes").expect("a question");
        assert!(question.contains("column 'title' went and 'head' came"), "{question}");
        assert!(!question.contains("'three' came"), "{question}");
    }
    circle.sql(0, "UPDATE notes SET head = 'first' WHERE id = 'a'");
    driftless::rename_column(circle.path(0), "notes", "title", "head").expect("told");
    circle.meet();
    assert_eq!(circle.query(1, "SELECT title FROM notes WHERE id = 'a'"), ["'first'"]);
    assert_eq!(circle.warning("notes"), None);
}

#[test]
fn a_renamed_table_and_a_new_one_of_its_name_are_two_everywhere() {
    let mut circle = circle(3);
    let migration = "BEGIN; ALTER TABLE notes RENAME TO memos;
                     CREATE TABLE notes (id TEXT PRIMARY KEY, other TEXT); COMMIT";
    for node in [0, 1] {
        circle.sql(node, migration);
    }
    circle.sql(0, "INSERT INTO notes VALUES ('n', 'new'); UPDATE memos SET title = 'ONE' WHERE id = 'a'");
    circle.sql(1, "INSERT INTO memos VALUES ('c', 'three', 3)");
    circle.meet();
    let memos = ["'a', 'ONE'", "'b', 'two'", "'c', 'three'"];
    for node in [0, 1] {
        assert_eq!(circle.query(node, "SELECT * FROM notes"), ["'n', 'new'"]);
        assert_eq!(circle.query(node, "SELECT id, title FROM memos ORDER BY id"), memos);
    }
    // The third has the old tables still, and migrates later.
    assert_eq!(circle.query(2, "SELECT id, title FROM notes ORDER BY id"), memos);
    circle.sql(2, migration);
    circle.meet();
    assert_eq!(circle.query_all("SELECT * FROM notes"), ["'n', 'new'"]);
    assert_eq!(circle.query_all("SELECT id, title FROM memos ORDER BY id"), memos);
    let note = circle.warning("memos").expect("it is reported");
    assert!(note.contains("it was called 'notes' before"), "{note}");
}

/// The second rename was taken for a new column, which travelled apart from then on. Machines that had the column under that name
/// lost its values.
#[test]
fn a_column_renamed_twice_is_the_same_where_the_engine_looks_in_between() {
    let mut circle = circle(3);
    driftless::rename_column(circle.path(0), "notes", "title", "head").expect("renamed");
    circle.settle();
    driftless::rename_column(circle.path(0), "notes", "head", "name").expect("renamed");
    circle.settle();
    for (old, new) in [("title", "head"), ("head", "name")] {
        circle.sql(1, &format!("ALTER TABLE notes RENAME COLUMN {old} TO {new}"));
        circle.settle();
    }
    circle.sql(1, "UPDATE notes SET name = 'ONE' WHERE id = 'a'");
    circle.sql(0, "UPDATE notes SET name = 'TWO' WHERE id = 'b'");
    circle.meet();
    let expected = ["'a', 'ONE'", "'b', 'TWO'"];
    assert_eq!(circle.query(0, "SELECT id, name FROM notes ORDER BY id"), expected);
    assert_eq!(circle.query(1, "SELECT id, name FROM notes ORDER BY id"), expected);
    assert_eq!(circle.query(2, "SELECT id, title FROM notes ORDER BY id"), expected);
    (0..3).for_each(|node| circle.assert_well(node));
}

/// Two machines have a column `name` each: on one it is the renamed column, on the other a new column beside that. When the space
/// called `name` a new column, the first machine took its own for neither.
#[test]
fn a_column_goes_on_as_what_it_is_where_another_machine_adds_one_of_its_new_name() {
    let mut circle = circle(3);
    driftless::rename_column(circle.path(0), "notes", "title", "head").expect("renamed");
    circle.settle();
    circle.sql(1, "ALTER TABLE notes RENAME COLUMN title TO head");
    circle.settle();
    driftless::rename_column(circle.path(0), "notes", "head", "name").expect("renamed");
    circle.settle();
    circle.sql(1, "ALTER TABLE notes ADD COLUMN name TEXT DEFAULT 'new'");
    circle.settle();
    circle.sql(1, "UPDATE notes SET head = 'ONE' WHERE id = 'a'");
    circle.sql(0, "UPDATE notes SET name = 'TWO' WHERE id = 'b'");
    circle.meet();
    assert_eq!(circle.query(0, "SELECT id, name FROM notes ORDER BY id"), ["'a', 'ONE'", "'b', 'TWO'"]);
    let both = circle.query(1, "SELECT id, head, name FROM notes ORDER BY id");
    assert_eq!(both, ["'a', 'ONE', 'new'", "'b', 'TWO', 'new'"]);
    assert_eq!(circle.query(2, "SELECT id, title FROM notes ORDER BY id"), ["'a', 'ONE'", "'b', 'TWO'"]);
    (0..3).for_each(|node| circle.assert_well(node));
}

/// The defaults of the new columns were written over what everybody had, and a counter was counted down by what it had shown.
#[test]
fn a_column_dropped_and_added_again_in_one_step_shows_what_the_space_has_of_it() {
    let schema = "CREATE TABLE p (id TEXT PRIMARY KEY, a TEXT, n INTEGER DEFAULT 0, b TEXT);
        INSERT INTO p VALUES ('1', 'one', 5, 'x'), ('2', 'two', 6, 'y'), ('3', 'three', 7, 'z')";
    let anew = "BEGIN; ALTER TABLE p DROP COLUMN a; ALTER TABLE p DROP COLUMN n; ALTER TABLE p ADD COLUMN a TEXT DEFAULT 'dd';
        ALTER TABLE p ADD COLUMN n INTEGER DEFAULT 0; COMMIT";
    let all = "SELECT id, a, n, b FROM p ORDER BY id";
    let mut circle = Circle::new(3, schema, &["p"], &TableOptions::default().counter("n"));
    circle.sql(0, anew);
    // What the app writes after that is a write.
    circle.sql(0, "UPDATE p SET a = 'new', n = n + 4 WHERE id = '2'");
    circle.sql(1, "UPDATE p SET n = n + 1, b = 'X' WHERE id = '1'");
    circle.meet();
    let expected = ["'1', 'one', 6, 'X'", "'2', 'new', 10, 'y'", "'3', 'three', 7, 'z'"];
    assert_eq!(circle.query_all(all), expected);
    circle.sql(1, anew);
    circle.sql(2, anew);
    circle.meet();
    circle.sql(2, "UPDATE p SET n = n + 10 WHERE id = '3'");
    circle.meet();
    let expected = ["'1', 'one', 6, 'X'", "'2', 'new', 10, 'y'", "'3', 'three', 17, 'z'"];
    assert_eq!(circle.query_all(all), expected);
    assert_eq!(circle.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"]);
    (0..3).for_each(|node| circle.assert_well(node));
}

/// `track` took the new table for the renamed one. It said that the table was tracked, and no row of it ever left the file.
#[test]
fn a_new_table_with_the_new_name_of_one_that_is_renamed_elsewhere_travels_apart() {
    let mut circle = circle(3);
    circle.sql(0, "ALTER TABLE notes RENAME TO memos");
    circle.meet();
    for node in [1, 2] {
        circle.sql(node, "CREATE TABLE memos (id TEXT PRIMARY KEY, z TEXT)");
        circle.sql(node, &format!("INSERT INTO memos VALUES ('{node}', 'by {node}')"));
        driftless::track(circle.path(node), Selection::Named(&["memos"]), TableOptions::default())
            .expect("tracked");
        circle.meet();
    }
    for node in [1, 2] {
        assert_eq!(circle.query(node, "SELECT * FROM memos ORDER BY id"), ["'1', 'by 1'", "'2', 'by 2'"]);
        assert_eq!(circle.query(node, "SELECT id FROM notes ORDER BY id"), ["'a'", "'b'"]);
        circle.assert_well(node);
    }
    circle.sql(0, "UPDATE memos SET title = 'ONE' WHERE id = 'a'");
    circle.meet();
    assert_eq!(circle.query(1, "SELECT title FROM notes ORDER BY id"), ["'ONE'", "'two'"]);
    // The first machine is told what to do, and that shows it.
    let status = driftless::status(circle.path(0)).expect("a status");
    let theirs = status.tables.iter().find(|table| table.state == "unknown").expect("the others' table");
    assert!(theirs.concerns[0].contains("another table that is called 'memos'"), "{theirs:?}");
    circle
        .sql(0, "ALTER TABLE memos RENAME TO older_memos; CREATE TABLE memos (id TEXT PRIMARY KEY, z TEXT)");
    circle.capture(0);
    driftless::track(circle.path(0), Selection::Named(&["memos"]), TableOptions::default()).expect("tracked");
    circle.meet();
    assert_eq!(circle.query(0, "SELECT * FROM memos ORDER BY id"), ["'1', 'by 1'", "'2', 'by 2'"]);
    assert_eq!(circle.query(0, "SELECT title FROM older_memos ORDER BY id"), ["'ONE'", "'two'"]);
}
