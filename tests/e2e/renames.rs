//! Renamed columns and tables: one replica before the others, told or not, and nothing of anybody's is lost.

use driftless::{Selection, TableOptions};
use driftless_tests::{Circle, eventually, later};

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

/// The column's old values came back on the very machine that had dropped it, and what the other column held was nowhere.
#[test]
fn a_column_that_gets_the_name_of_one_that_was_dropped_in_the_same_step_is_not_that() {
    let schema = "CREATE TABLE p (id TEXT PRIMARY KEY, price TEXT, n INTEGER, other TEXT);
        INSERT INTO p VALUES ('1', 'P1', 1, 'O1'), ('2', 'P2', 2, 'O2')";
    let behind = "CREATE TABLE p (id TEXT PRIMARY KEY, other TEXT, n INTEGER, price TEXT);
        INSERT INTO p VALUES ('1', 'O1', 1, 'P1'), ('2', 'O2', 2, 'P2')";
    let steps = ["ALTER TABLE p DROP COLUMN price", "ALTER TABLE p RENAME COLUMN other TO price"];
    for (schema, at_once) in [(schema, true), (schema, false), (behind, true), (behind, false)] {
        let mut circle = Circle::new(3, schema, &["p"], &TableOptions::default());
        // The dropped column was written last.
        for price in ["'later'", "'P' || id"] {
            circle.sql(1, &format!("UPDATE p SET price = {price}"));
            circle.settle();
        }
        for (node, at_once) in [(0, at_once), (1, !at_once)] {
            for step in steps {
                circle.sql(node, step);
                if !at_once {
                    circle.settle();
                }
            }
            circle.settle();
            let rows = circle.query(node, "SELECT price FROM p ORDER BY id");
            assert_eq!(rows, ["'O1'", "'O2'"], "{node} {at_once}: {schema}");
        }
        let old = circle.query(2, "SELECT price, other FROM p ORDER BY id");
        assert_eq!(old, ["'P1', 'O1'", "'P2', 'O2'"], "{at_once}: {schema}");
        circle.sql(0, "UPDATE p SET price = 'new' WHERE id = '1'");
        circle.settle();
        assert_eq!(
            circle.query(1, "SELECT price FROM p ORDER BY id"),
            ["'new'", "'O2'"],
            "{at_once}: {schema}"
        );
        assert_eq!(circle.query(2, "SELECT price, other FROM p WHERE id = '1'"), ["'P1', 'new'"], "{schema}");
        assert_eq!(circle.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"], "{schema}");
        (0..3).for_each(|node| circle.assert_well(node));
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

#[test]
fn a_table_that_is_forgotten_is_not_cloned_and_one_of_its_name_begins_empty() {
    let mut circle = circle(2);
    let refused = driftless::forget(circle.path(0), "notes", None).expect_err("it is there");
    assert!(refused.to_string().contains("this file still has it"), "{refused}");
    for node in [0, 1] {
        circle.sql(node, "DROP TABLE notes");
    }
    circle.meet();
    driftless::forget(circle.path(0), "notes", None).expect("forgotten");
    circle.meet();
    let copy = circle.join("");
    circle.settle();
    assert!(circle.node(copy).make_defined_tables().expect("made").is_empty());
    for node in [0, 1, 2] {
        circle.sql(node, "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT)");
        circle.node(node).track(&["notes"], TableOptions::default()).expect("tracked");
    }
    circle.settle();
    assert!(circle.query_all("SELECT * FROM notes").is_empty());
    circle.sql(1, "INSERT INTO notes VALUES ('a', 'begins anew')");
    circle.meet();
    assert_eq!(circle.query_all("SELECT * FROM notes"), ["'a', 'begins anew'"]);
}

/// `status` said that a running engine would track it within seconds, and no engine did.
#[test]
fn a_table_of_a_forgotten_ones_name_is_tracked_where_all_are_and_explained_elsewhere() {
    let mut circle = circle(2);
    driftless::track(circle.path(0), Selection::All, TableOptions::default()).expect("tracked");
    circle.sql(0, "DROP TABLE notes");
    circle.meet();
    driftless::forget(circle.path(0), "notes", None).expect("forgotten");
    let reason = |circle: &Circle, node: usize, state: &str| {
        let status = driftless::status(circle.path(node)).expect("a status");
        status.tables.into_iter().find(|table| table.state == state).and_then(|table| table.reason)
    };
    assert!(driftless::status(circle.path(0)).expect("a status").tables.is_empty());
    circle.meet();
    assert!(reason(&circle, 1, "tracked").is_some_and(|reason| reason.contains("given it up")));

    circle
        .sql(0, "CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT); INSERT INTO notes VALUES ('n', 'new')");
    eventually("the new table to be tracked", || {
        circle.capture(0);
        let status = driftless::status(circle.path(0)).expect("a status");
        status.tables.iter().any(|known| known.state == "tracked").then_some(())
    });
    circle.settle();
    assert!(
        reason(&circle, 1, "unknown").is_some_and(|reason| reason.contains("called 'notes' where it is"))
    );
    // The other file makes the new one in place of the old, in one step.
    circle.sql(1, "DROP TABLE notes; CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT)");
    circle.capture(1);
    circle.node(1).track(&["notes"], TableOptions::default()).expect("tracked");
    circle.settle();
    assert_eq!(circle.query_all("SELECT * FROM notes"), ["'n', 'new'"]);
    // The second of that name can be given up as well.
    for node in [0, 1] {
        circle.sql(node, "DROP TABLE notes");
        circle.capture(node);
    }
    circle.settle();
    driftless::forget(circle.path(0), "notes", None).expect("forgotten again");
    let again = driftless::forget(circle.path(0), "notes", None).expect_err("both are gone");
    assert!(again.to_string().contains("that has been done"), "{again}");
    circle.settle();
    let copy = circle.join("");
    circle.settle();
    assert!(circle.node(copy).make_defined_tables().expect("made").is_empty());
}

#[test]
fn a_column_that_is_forgotten_begins_empty_when_one_of_its_name_comes() {
    let mut circle = circle(3);
    let refused = driftless::forget(circle.path(0), "notes", Some("title")).expect_err("it is there");
    assert!(refused.to_string().contains("the table still has it"), "{refused}");
    for node in [0, 1] {
        circle.sql(node, "ALTER TABLE notes DROP COLUMN title");
    }
    circle.meet();
    driftless::forget(circle.path(0), "notes", Some("title")).expect("forgotten");
    circle.meet();
    for node in [0, 1] {
        circle.sql(node, "ALTER TABLE notes ADD COLUMN title TEXT");
    }
    circle.sql(1, "UPDATE notes SET title = 'anew' WHERE id = 'b'");
    circle.meet();
    for node in [0, 1] {
        assert_eq!(circle.query(node, "SELECT title FROM notes ORDER BY id"), ["NULL", "'anew'"]);
    }
    // Who still has the old column keeps it as it is.
    circle.sql(2, "UPDATE notes SET title = 'ONE' WHERE id = 'a'");
    circle.meet();
    assert_eq!(circle.query(2, "SELECT title FROM notes ORDER BY id"), ["'ONE'", "'two'"]);
    assert_eq!(circle.query(0, "SELECT title FROM notes ORDER BY id"), ["NULL", "'anew'"]);
}

/// When the column was made a third time, a file that still had the second one lost that one's name, and fell back to the
/// values of the first.
#[test]
fn a_column_that_is_forgotten_twice_keeps_its_values_where_it_still_is() {
    let mut circle = circle(2);
    let titles = |circle: &Circle, node| circle.query(node, "SELECT title FROM notes ORDER BY id");
    let drop = "ALTER TABLE notes DROP COLUMN title";
    let add = "ALTER TABLE notes ADD COLUMN title TEXT";
    for nodes in [&[0, 1][..], &[0]] {
        for node in nodes {
            circle.sql(*node, drop);
        }
        circle.meet();
        driftless::forget(circle.path(0), "notes", Some("title")).expect("forgotten");
        circle.meet();
        for node in nodes {
            circle.sql(*node, add);
        }
        circle.sql(0, &format!("UPDATE notes SET title = 'in life {}'", 4 - nodes.len()));
        circle.meet();
    }
    assert_eq!(titles(&circle, 0), ["'in life 3'", "'in life 3'"]);
    assert_eq!(titles(&circle, 1), ["'in life 2'", "'in life 2'"]);
    let status = driftless::status(circle.path(1)).expect("a status");
    let note = status.tables.into_iter().find_map(|table| table.reason);
    assert!(note.as_ref().is_some_and(|note| note.contains("given up its column 'title'")), "{note:?}");
    // The user does as the note says.
    circle.sql(1, drop);
    circle.capture(1);
    circle.sql(1, add);
    circle.meet();
    assert_eq!(circle.query_all("SELECT title FROM notes ORDER BY id"), ["'in life 3'", "'in life 3'"]);
}

/// A rename, and a new column of the old name with a default.
const REUSE: &str =
    "ALTER TABLE notes RENAME COLUMN title TO head; ALTER TABLE notes ADD COLUMN title TEXT DEFAULT 'x'";

/// Where nobody looked between the two statements, the default replaced everybody's values, and the rename could not be told.
#[test]
fn a_column_whose_name_a_new_one_got_at_once_is_known() {
    let mut circle = circle(3);
    circle.sql(0, REUSE);
    circle.sql(0, "UPDATE notes SET title = 'new', head = 'ONE' WHERE id = 'a'");
    circle.sql(1, "UPDATE notes SET title = 'TWO' WHERE id = 'b'");
    circle.meet();
    assert_eq!(circle.query(0, "SELECT head, title FROM notes ORDER BY id"), ["'ONE', 'new'", "'TWO', 'x'"]);
    for node in [1, 2] {
        assert_eq!(circle.query(node, "SELECT title FROM notes ORDER BY id"), ["'ONE'", "'TWO'"]);
    }
    assert_eq!(circle.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"]);
    // Told all the same, it is so.
    driftless::rename_column(circle.path(0), "notes", "title", "head").expect("told");
    // The others migrate later: in one go, and in two.
    circle.sql(1, REUSE);
    circle.sql(1, "INSERT INTO notes (id, head) VALUES ('c', 'three')");
    let (rename, add) = REUSE.split_once("; ").expect("two statements");
    circle.sql(2, rename);
    circle.settle();
    circle.sql(2, add);
    circle.settle();
    let expected = ["'ONE', 'new'", "'TWO', 'x'", "'three', 'x'"];
    assert_eq!(circle.query_all("SELECT head, title FROM notes ORDER BY id"), expected);
    circle.sql(2, "UPDATE notes SET title = 'both' WHERE id = 'b'");
    circle.sql(1, "UPDATE notes SET head = 'both' WHERE id = 'b'");
    circle.meet();
    assert_eq!(circle.query_all("SELECT head, title FROM notes WHERE id = 'b'"), ["'both', 'both'"]);
    (0..3).for_each(|node| circle.assert_well(node));
    // A copy has them apart, too.
    let copy = circle.join("");
    circle.settle();
    assert_eq!(circle.node(copy).make_defined_tables().expect("made"), ["notes"]);
    circle.settle();
    assert_eq!(circle.query_all("SELECT head, title FROM notes WHERE id = 'b'"), ["'both', 'both'"]);
}

#[test]
fn a_name_can_be_given_to_one_new_column_after_the_other() {
    let mut circle = circle(2);
    for (new, value) in [("first", "'x'"), ("second", "'y'"), ("third", "'z'")] {
        circle.sql(
            0,
            &format!(
                "ALTER TABLE notes RENAME COLUMN title TO {new}; ALTER TABLE notes ADD COLUMN title TEXT DEFAULT {value}"
            ),
        );
        circle.meet();
    }
    circle.sql(0, "UPDATE notes SET title = 'now' WHERE id = 'b'");
    circle.meet();
    let select = "SELECT first, second, third, title FROM notes ORDER BY id";
    assert_eq!(circle.query(0, select), ["'one', 'x', 'y', 'z'", "'two', 'x', 'y', 'now'"]);
    assert_eq!(circle.query(1, "SELECT title FROM notes ORDER BY id"), ["'one'", "'two'"]);
    circle.sql(
        1,
        "ALTER TABLE notes RENAME COLUMN title TO first; ALTER TABLE notes ADD COLUMN second TEXT DEFAULT 'x';
         ALTER TABLE notes ADD COLUMN third TEXT DEFAULT 'y'; ALTER TABLE notes ADD COLUMN title TEXT DEFAULT 'z'",
    );
    circle.settle();
    assert_eq!(circle.query_all(select), ["'one', 'x', 'y', 'z'", "'two', 'x', 'y', 'now'"]);
    (0..2).for_each(|node| circle.assert_well(node));
}

/// Makes the table anew: `title` is called `head`, and a new column has its name.
const REBUILD_REUSING_THE_NAME: &str =
    "BEGIN; CREATE TABLE new_notes (id TEXT PRIMARY KEY, head TEXT, stars INTEGER DEFAULT 0, title TEXT DEFAULT 'x');
     INSERT INTO new_notes (id, head, stars) SELECT id, title, stars FROM notes; DROP TABLE notes;
     ALTER TABLE new_notes RENAME TO notes; COMMIT;";

/// A rebuilt table is what counts, so that nobody can be sure: `status` asks.
#[test]
fn a_name_that_a_new_column_got_in_a_rebuilt_table_is_asked_about_and_can_be_told_later() {
    for both in [false, true] {
        let mut circle = circle(3);
        circle.sql(0, REBUILD_REUSING_THE_NAME);
        if both {
            circle.sql(1, REBUILD_REUSING_THE_NAME);
        }
        circle.settle();
        let question = circle.warning("notes").expect("a question");
        assert!(question.contains("`driftless rename-column FILE notes title head`"), "{question}");
        circle.sql(
            0,
            "UPDATE notes SET head = 'ONE' WHERE id = 'a'; UPDATE notes SET title = 'new' WHERE id = 'b'",
        );
        circle.settle();
        driftless::rename_column(circle.path(0), "notes", "title", "head").expect("told");
        circle.settle();
        assert_eq!(circle.warning("notes"), None);
        let expected = ["'ONE', 'x'", "'two', 'new'"];
        for node in 0..if both { 2 } else { 1 } {
            assert_eq!(
                circle.query(node, "SELECT head, title FROM notes ORDER BY id"),
                expected,
                "{node}, {both}"
            );
        }
        assert_eq!(circle.query(2, "SELECT title FROM notes ORDER BY id"), ["'ONE'", "'two'"], "{both}");
        circle.sql(2, "UPDATE notes SET title = 'TWO' WHERE id = 'b'");
        circle.meet();
        assert_eq!(circle.query(0, "SELECT head, title FROM notes WHERE id = 'b'"), ["'TWO', 'new'"]);
        circle.sql(2, REBUILD_REUSING_THE_NAME);
        circle.settle();
        assert_eq!(circle.query(2, "SELECT head FROM notes ORDER BY id"), ["'ONE'", "'TWO'"], "{both}");
        (0..3).for_each(|node| circle.assert_well(node));
        // What came earlier, or is another column already, is not told so.
        for (old, new) in [("head", "title"), ("title", "stars"), ("id", "head")] {
            let refused = driftless::rename_column(circle.path(0), "notes", old, new).expect_err("refused");
            assert!(refused.to_string().contains("both columns"), "{refused}");
        }
    }
}

/// Such a question could only be answered with yes: `forget` refuses a column that the table has.
#[test]
fn a_question_about_a_rename_can_be_answered_with_no_in_a_rebuilt_table_and_elsewhere() {
    let rebuild = "BEGIN; CREATE TABLE new_notes (id TEXT PRIMARY KEY, head TEXT, stars INTEGER DEFAULT 0, title TEXT DEFAULT 'x');
                   INSERT INTO new_notes (id, head, stars) SELECT id, title, stars FROM notes; DROP TABLE notes;
                   ALTER TABLE new_notes RENAME TO notes; COMMIT;";
    for statements in [rebuild, &anew("head TEXT, stars INTEGER DEFAULT 0", "upper(title), stars")] {
        let mut circle = circle(2);
        circle.sql(0, statements);
        circle.settle();
        let question = circle.warning("notes").expect("a question");
        assert!(question.contains("`driftless rename-column FILE notes title head --no`"), "{question}");
        let columns = "SELECT * FROM notes ORDER BY id";
        let before = [0, 1].map(|node| circle.query(node, columns));
        driftless::deny_rename(circle.path(0), "notes", "Title", "HEAD").expect("answered");
        circle.settle();
        assert_eq!(circle.warning("notes"), None);
        assert_eq!([0, 1].map(|node| circle.query(node, columns)), before, "nothing else changes");
        let refused = driftless::deny_rename(circle.path(0), "notes", "title", "head").expect_err("refused");
        assert!(matches!(refused, driftless::Error::NothingAsked { .. }), "{refused}");
        // Made anew once more, and looked at by another engine, the table asks no more.
        circle.sql(
            0,
            "BEGIN; CREATE TABLE other AS SELECT * FROM notes; DELETE FROM notes;
             INSERT INTO notes SELECT * FROM other; DROP TABLE other; COMMIT",
        );
        circle.close(0);
        circle.reopen(0);
        circle.settle();
        assert_eq!(circle.warning("notes"), None);
        (0..2).for_each(|node| circle.assert_well(node));
    }
}

#[test]
fn a_column_that_is_only_added_is_nobody_s_under_another_name() {
    let mut circle = circle(2);
    circle.sql(0, "ALTER TABLE notes ADD COLUMN head TEXT; UPDATE notes SET head = title");
    circle.sql(0, "ALTER TABLE notes ADD COLUMN likes INTEGER DEFAULT 1");
    circle.meet();
    assert_eq!(circle.warning("notes"), None);
    circle.sql(0, "UPDATE notes SET title = 'ONE' WHERE id = 'a'");
    circle.meet();
    assert_eq!(circle.query(1, "SELECT title FROM notes ORDER BY id"), ["'ONE'", "'two'"]);
}

/// Where the migration filled the new column in every row, its values replaced everybody's, and nothing asked.
#[test]
fn a_column_whose_name_a_new_one_got_at_once_is_known_though_every_row_was_written() {
    let one_column = "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT NOT NULL DEFAULT '');
                      INSERT INTO notes VALUES ('a', 'one'), ('b', 'two')";
    for (table, fill) in [
        // Columns that were there before stay behind the renamed one, or it was the last.
        (NOTES, "UPDATE notes SET title = 'new'"),
        (NOTES, "UPDATE notes SET title = upper(head) || '!'; UPDATE notes SET stars = 5"),
        (one_column, "UPDATE notes SET title = 'new ' || id"),
        (one_column, "UPDATE notes SET title = iif(id = 'a', head, 'new')"),
    ] {
        let mut circle = Circle::new(3, table, &["notes"], &TableOptions::default());
        let migrate = format!("{REUSE}; {fill}");
        circle.sql(0, &migrate);
        circle.sql(1, "UPDATE notes SET title = 'TWO' WHERE id = 'b'");
        circle.meet();
        assert_eq!(circle.query(0, "SELECT head FROM notes ORDER BY id"), ["'one'", "'TWO'"], "{fill}");
        for node in [1, 2] {
            assert_eq!(
                circle.query(node, "SELECT title FROM notes ORDER BY id"),
                ["'one'", "'TWO'"],
                "{fill}"
            );
        }
        assert_eq!(circle.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"], "{fill}");
        assert_eq!(circle.warning("notes"), None, "{fill}");
        let new = circle.query(0, "SELECT title FROM notes ORDER BY id");
        circle.sql(1, &migrate);
        circle.settle();
        circle.sql(0, "UPDATE notes SET title = 'last' WHERE id = 'b'");
        circle.meet();
        assert_eq!(
            circle.query(1, "SELECT head, title FROM notes ORDER BY id")[1],
            "'TWO', 'last'",
            "{fill}"
        );
        assert_eq!(circle.query(0, "SELECT title FROM notes WHERE id = 'a'"), new[..1], "{fill}");
        (0..3).for_each(|node| circle.assert_well(node));
    }
}

/// Changes of a table that are no rename, though the values look like one.
#[test]
fn columns_that_only_look_renamed_are_not_taken_for_it() {
    let copied = "ALTER TABLE notes ADD COLUMN head TEXT; UPDATE notes SET head = title; UPDATE notes SET title = 'new'";
    let alike = "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT);
                 INSERT INTO notes VALUES ('a', 'same'), ('b', 'same')";
    let made_again = |kind: &str| {
        format!(
            "ALTER TABLE notes DROP COLUMN title; ALTER TABLE notes ADD COLUMN head {kind};
             ALTER TABLE notes ADD COLUMN title TEXT"
        )
    };
    let last = "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT);
                INSERT INTO notes VALUES ('a', 'one'), ('b', 'two')";
    let one_two = "UPDATE notes SET title = 'new', head = iif(id = 'a', 'one', 'two')";
    for (table, migrate) in [
        (NOTES, copied.to_owned()),
        (last, copied.to_owned()),
        (last, format!("{}; UPDATE notes SET title = 'new', head = 'x'", made_again("TEXT"))),
        (alike, format!("{}; UPDATE notes SET title = 'new', head = 'same'", made_again("TEXT"))),
        (last, format!("{}; {one_two}", made_again("TEXT"))),
    ] {
        let mut circle = Circle::new(2, table, &["notes"], &TableOptions::default());
        circle.sql(0, &migrate);
        circle.meet();
        assert_eq!(circle.warning("notes"), None, "{migrate}");
        assert_eq!(circle.query(1, "SELECT title FROM notes ORDER BY id"), ["'new'", "'new'"], "{migrate}");
    }
}

#[test]
fn a_column_whose_name_a_new_one_got_at_once_is_known_where_it_was_written_as_well() {
    let mut circle = circle(2);
    circle.sql(0, REUSE);
    circle.sql(0, "UPDATE notes SET head = upper(head), title = 'new ' || id");
    circle.settle();
    assert_eq!(circle.warning("notes"), None);
    assert_eq!(circle.query(1, "SELECT title FROM notes ORDER BY id"), ["'ONE'", "'TWO'"]);
    circle.sql(1, REUSE);
    circle.settle();
    assert_eq!(
        circle.query_all("SELECT head, title FROM notes ORDER BY id"),
        ["'ONE', 'new a'", "'TWO', 'new b'"]
    );
    (0..2).for_each(|node| circle.assert_well(node));
}

/// A file in which the first replica has given up the table `notes` and made a new one; the other still has the old one.
fn circle_with_given_up_table() -> Circle {
    let mut circle = circle(2);
    circle.sql(0, "DROP TABLE notes");
    circle.meet();
    driftless::forget(circle.path(0), "notes", None).expect("forgotten");
    circle.meet();
    circle
        .sql(0, "CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT); INSERT INTO notes VALUES ('n', 'new')");
    circle.node(0).track(&["notes"], TableOptions::default()).expect("tracked");
    circle.settle();
    circle
}

fn note(circle: &Circle, node: usize) -> Option<String> {
    let status = driftless::status(circle.path(node)).expect("a status");
    status.tables.into_iter().find(|table| table.state == "tracked").and_then(|table| table.reason)
}

/// Because it was not empty, the engine took it for the old table, made anew by a migration; so its rows reached nobody.
#[test]
fn a_given_up_table_that_is_made_again_with_rows_in_one_step_is_the_new_one() {
    let mut circle = circle_with_given_up_table();
    circle.sql(
        1,
        "BEGIN; DROP TABLE notes; CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT);
         INSERT INTO notes VALUES ('m', 'mine'), ('o', 'other'); COMMIT",
    );
    circle.capture(1);
    circle.node(1).track(&["notes"], TableOptions::default()).expect("tracked");
    circle.settle();
    assert_eq!(
        circle.query_all("SELECT * FROM notes ORDER BY id"),
        ["'m', 'mine'", "'n', 'new'", "'o', 'other'"]
    );
    (0..2).for_each(|node| circle.assert_well(node));
}

#[test]
fn a_given_up_table_that_a_migration_makes_anew_stays_the_given_up_one() {
    for rows in [
        // A row of the old one is there.
        "INSERT INTO new_notes SELECT id, title FROM notes WHERE id = 'b'; INSERT INTO new_notes VALUES ('m', 'mine');",
        "INSERT INTO new_notes SELECT id, title FROM notes;",
    ] {
        let mut circle = circle_with_given_up_table();
        circle.sql(
            1,
            &format!(
                "BEGIN; CREATE TABLE new_notes (id TEXT PRIMARY KEY, title TEXT); {rows} DROP TABLE notes;
                 ALTER TABLE new_notes RENAME TO notes; COMMIT"
            ),
        );
        circle.settle();
        let note = note(&circle, 1).expect("a note");
        assert!(note.contains("given it up") && note.contains("let a sync see that"), "{note}");
        assert_eq!(circle.query(0, "SELECT * FROM notes"), ["'n', 'new'"]);
    }
}

#[test]
fn a_given_up_column_that_is_made_again_in_one_step_is_the_new_one_where_that_is_certain() {
    let last = "CREATE TABLE notes (id TEXT PRIMARY KEY, stars INTEGER, title TEXT);
                INSERT INTO notes VALUES ('a', 1, 'one'), ('b', 2, 'two')";
    for (table, write, is_certain) in [
        // It stood before others, and stands behind them now.
        (NOTES, "UPDATE notes SET title = 'mine'", true),
        // It was the last, and a row that nobody wrote has lost its value.
        (last, "UPDATE notes SET title = 'mine' WHERE id = 'a'", true),
        (last, "UPDATE notes SET title = 'mine'", false),
    ] {
        let mut circle = Circle::new(2, table, &["notes"], &TableOptions::default());
        let titles = |circle: &Circle, node| circle.query(node, "SELECT title FROM notes ORDER BY id");
        circle.sql(0, "ALTER TABLE notes DROP COLUMN title");
        circle.meet();
        driftless::forget(circle.path(0), "notes", Some("title")).expect("forgotten");
        circle.meet();
        circle.sql(0, "ALTER TABLE notes ADD COLUMN title TEXT");
        circle.settle();
        assert_eq!(titles(&circle, 1), ["'one'", "'two'"]);
        // Another look, when nothing has changed, finds no new column.
        circle.sql(1, "CREATE INDEX stars ON notes (stars)");
        circle.settle();
        assert!(note(&circle, 1).is_some_and(|note| note.contains("given up its column 'title'")), "{write}");
        circle.sql(
            1,
            &format!("ALTER TABLE notes DROP COLUMN title; ALTER TABLE notes ADD COLUMN title TEXT; {write}"),
        );
        circle.settle();
        if !is_certain {
            let note = note(&circle, 1).expect("a note");
            assert!(note.contains("drop this one, let a sync see that, and make it anew"), "{note}");
            assert!(!driftless::status(circle.path(1)).expect("a status").tables[0].concerns.is_empty());
            assert_eq!(titles(&circle, 0), ["NULL", "NULL"]);
            continue;
        }
        assert_eq!(note(&circle, 1), None, "{write}");
        assert!(driftless::status(circle.path(1)).expect("a status").tables[0].concerns.is_empty());
        assert_eq!(titles(&circle, 0), titles(&circle, 1), "{write}");
        assert_eq!(titles(&circle, 0)[0], "'mine'");
        circle.sql(0, "UPDATE notes SET title = 'seen' WHERE id = 'b'");
        circle.meet();
        assert_eq!(circle.query_all("SELECT title FROM notes ORDER BY id"), ["'mine'", "'seen'"], "{write}");
        (0..2).for_each(|node| circle.assert_well(node));
    }
}

/// Where a migration makes the table anew, the given-up column's values came back over the new one's.
#[test]
fn a_given_up_column_that_a_rebuild_makes_again_is_the_new_one() {
    let anew = |columns: &str, from: &str| {
        format!(
            "BEGIN; CREATE TABLE n ({columns}); INSERT INTO n ({from}) SELECT {from} FROM notes; DROP TABLE notes;
             ALTER TABLE n RENAME TO notes; COMMIT;"
        )
    };
    let out = anew("id TEXT PRIMARY KEY, stars INTEGER", "id, stars");
    let back = anew("id TEXT PRIMARY KEY, stars INTEGER, title TEXT DEFAULT 'nn'", "id, stars");
    let (drop, add) =
        ("ALTER TABLE notes DROP COLUMN title;", "ALTER TABLE notes ADD COLUMN title TEXT DEFAULT 'nn';");
    let last = "CREATE TABLE notes (id TEXT PRIMARY KEY, stars INTEGER, title TEXT);
                INSERT INTO notes VALUES ('a', 1, 'one'), ('b', 2, 'two')";
    for table in [NOTES, last] {
        for migration in [back.clone(), out.clone() + &back, drop.to_owned() + &back, out.clone() + add] {
            let mut circle = Circle::new(2, table, &["notes"], &TableOptions::default());
            circle.sql(0, drop);
            circle.meet();
            driftless::forget(circle.path(0), "notes", Some("title")).expect("forgotten");
            circle.meet();
            circle.sql(1, &migration);
            circle.sql(0, "ALTER TABLE notes ADD COLUMN title TEXT DEFAULT 'nn'");
            circle.meet();
            let titles = "SELECT id, title FROM notes ORDER BY id";
            assert_eq!(circle.query_all(titles), ["'a', 'nn'", "'b', 'nn'"], "{table}: {migration}");
            circle.sql(1, "UPDATE notes SET title = 'new' WHERE id = 'b'");
            circle.meet();
            assert_eq!(circle.query_all(titles), ["'a', 'nn'", "'b', 'new'"], "{table}: {migration}");
            assert_eq!(note(&circle, 1), None, "{migration}");
        }
    }
}

/// Machine 1 has not migrated and writes the old name, while machine 0 has a new column of that name. Once the rename was told,
/// those writes were lost: the renamed column's values replaced them everywhere, and no conflict listed them.
#[test]
fn what_others_wrote_before_a_reused_name_was_told_is_kept() {
    for writes_own in [false, true] {
        let mut circle = circle(2);
        circle.sql(0, REBUILD_REUSING_THE_NAME);
        circle.settle();
        if writes_own {
            circle.sql(0, "UPDATE notes SET head = 'ONE', title = 'new' WHERE id = 'a'");
            circle.settle();
            later();
        }
        circle.sql(1, "UPDATE notes SET title = 'meanwhile' WHERE id = 'b'");
        circle.settle();
        driftless::rename_column(circle.path(0), "notes", "title", "head").expect("told");
        circle.settle();
        let first = if writes_own { "'ONE'" } else { "'one'" };
        assert_eq!(circle.query(0, "SELECT head FROM notes ORDER BY id"), [first, "'meanwhile'"]);
        assert_eq!(circle.query(1, "SELECT title FROM notes ORDER BY id"), [first, "'meanwhile'"]);
        // Nobody knows which of the two columns that write was for, so the renamed column's own value is kept beside it.
        let select = "SELECT key, value FROM driftless_conflicts WHERE shown = 0";
        assert_eq!(circle.query_all(select), ["''b'', 'two'"]);
        (0..2).for_each(|node| circle.assert_well(node));
    }
}

/// After a column's name had been given to a new one, the next question named the new column instead of the renamed one, and the
/// answer with the true names was refused.
#[test]
fn a_rename_after_a_name_was_reused_is_asked_about_by_the_names_of_its_own_columns() {
    let rebuild =
        anew("heading TEXT, stars INTEGER DEFAULT 0, title TEXT DEFAULT 'x'", "upper(head), stars, title");
    for answer in ["yes", "no"] {
        let mut circle = circle(2);
        circle.sql(0, REUSE);
        circle.settle();
        circle.sql(0, &rebuild);
        circle.settle();
        let question = circle.warning("notes").expect("a question");
        assert!(question.contains("`driftless rename-column FILE notes head heading`"), "{question}");
        let refused =
            driftless::deny_rename(circle.path(0), "notes", "stars", "heading").expect_err("refused");
        assert!(refused.to_string().contains("what is asked is whether 'heading' was 'head'"), "{refused}");
        if answer == "yes" {
            driftless::rename_column(circle.path(0), "notes", "head", "heading").expect("told");
            circle.settle();
            circle.sql(1, "UPDATE notes SET title = 'TWO' WHERE id = 'b'");
            circle.meet();
            assert_eq!(circle.query(0, "SELECT heading, title FROM notes WHERE id = 'b'"), ["'TWO', 'x'"]);
            (0..2).for_each(|node| circle.assert_well(node));
        } else {
            driftless::deny_rename(circle.path(0), "notes", "head", "heading").expect("answered");
            let refused =
                driftless::deny_rename(circle.path(0), "notes", "head", "heading").expect_err("refused");
            assert!(refused.to_string().contains("nothing is asked about its columns"), "{refused}");
        }
        circle.settle();
        assert_eq!(circle.warning("notes"), None);
    }
}

/// The new column took the place of the renamed one, whose values its default replaced on machines that had not migrated.
#[test]
fn a_new_column_that_gets_the_name_of_one_whose_rename_was_told_is_another() {
    let mut circle = circle(3);
    let add = "ALTER TABLE notes ADD COLUMN title TEXT DEFAULT 'x'";
    driftless::rename_column(circle.path(0), "notes", "title", "head").expect("renamed");
    circle.settle();
    circle.sql(0, add);
    circle.settle();
    assert_eq!(circle.query(2, "SELECT title FROM notes ORDER BY id"), ["'one'", "'two'"]);
    circle.sql(2, "UPDATE notes SET title = 'ONE' WHERE id = 'a'");
    circle.sql(0, "UPDATE notes SET title = 'new' WHERE id = 'a'");
    circle.settle();
    // One machine migrates with the engine looking in between, the other in one go.
    circle.sql(1, "ALTER TABLE notes RENAME COLUMN title TO head");
    circle.settle();
    circle.sql(1, add);
    circle.settle();
    circle.sql(2, REUSE);
    circle.settle();
    assert_eq!(circle.query_all("SELECT head, title FROM notes ORDER BY id"), ["'ONE', 'new'", "'two', 'x'"]);
    circle.sql(1, "UPDATE notes SET head = 'TWO', title = 'y' WHERE id = 'b'");
    circle.meet();
    assert_eq!(circle.query_all("SELECT head, title FROM notes ORDER BY id"), ["'ONE', 'new'", "'TWO', 'y'"]);
    assert_eq!(circle.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"]);
    (0..3).for_each(|node| circle.assert_well(node));
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
