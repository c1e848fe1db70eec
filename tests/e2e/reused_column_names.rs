//! Columns whose names were given to new columns, with `ALTER TABLE` or while the table was made anew; and columns that only look so.

use driftless::TableOptions;
use driftless_tests::{Replicas, later};

use crate::renames::{NOTES, anew, replicas};

/// The column's old values came back on the very machine that had dropped it, and what the other column held was nowhere.
#[test]
fn a_column_that_gets_the_name_of_one_that_was_dropped_in_the_same_step_is_not_that() {
    let schema = "CREATE TABLE p (id TEXT PRIMARY KEY, price TEXT, n INTEGER, other TEXT);
        INSERT INTO p VALUES ('1', 'P1', 1, 'O1'), ('2', 'P2', 2, 'O2')";
    let behind = "CREATE TABLE p (id TEXT PRIMARY KEY, other TEXT, n INTEGER, price TEXT);
        INSERT INTO p VALUES ('1', 'O1', 1, 'P1'), ('2', 'O2', 2, 'P2')";
    let steps = ["ALTER TABLE p DROP COLUMN price", "ALTER TABLE p RENAME COLUMN other TO price"];
    for (schema, at_once) in [(schema, true), (schema, false), (behind, true), (behind, false)] {
        let mut replicas = Replicas::new(3, schema, &["p"], &TableOptions::default());
        // The dropped column was written last.
        for price in ["'later'", "'P' || id"] {
            replicas.sql(1, &format!("UPDATE p SET price = {price}"));
            replicas.settle();
        }
        for (node, at_once) in [(0, at_once), (1, !at_once)] {
            for step in steps {
                replicas.sql(node, step);
                if !at_once {
                    replicas.settle();
                }
            }
            replicas.settle();
            let rows = replicas.query(node, "SELECT price FROM p ORDER BY id");
            assert_eq!(rows, ["'O1'", "'O2'"], "{node} {at_once}: {schema}");
        }
        let old = replicas.query(2, "SELECT price, other FROM p ORDER BY id");
        assert_eq!(old, ["'P1', 'O1'", "'P2', 'O2'"], "{at_once}: {schema}");
        replicas.sql(0, "UPDATE p SET price = 'new' WHERE id = '1'");
        replicas.settle();
        assert_eq!(
            replicas.query(1, "SELECT price FROM p ORDER BY id"),
            ["'new'", "'O2'"],
            "{at_once}: {schema}"
        );
        assert_eq!(
            replicas.query(2, "SELECT price, other FROM p WHERE id = '1'"),
            ["'P1', 'new'"],
            "{schema}"
        );
        assert_eq!(replicas.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"], "{schema}");
        (0..3).for_each(|node| replicas.assert_well(node));
    }
}

/// A rename, and a new column of the old name with a default.
const REUSE: &str =
    "ALTER TABLE notes RENAME COLUMN title TO head; ALTER TABLE notes ADD COLUMN title TEXT DEFAULT 'x'";

/// Where nobody looked between the two statements, the default replaced everybody's values, and the rename could not be told.
#[test]
fn a_column_whose_name_a_new_one_got_at_once_is_known() {
    let mut replicas = replicas(3);
    replicas.sql(0, REUSE);
    replicas.sql(0, "UPDATE notes SET title = 'new', head = 'ONE' WHERE id = 'a'");
    replicas.sql(1, "UPDATE notes SET title = 'TWO' WHERE id = 'b'");
    replicas.meet();
    assert_eq!(
        replicas.query(0, "SELECT head, title FROM notes ORDER BY id"),
        ["'ONE', 'new'", "'TWO', 'x'"]
    );
    for node in [1, 2] {
        assert_eq!(replicas.query(node, "SELECT title FROM notes ORDER BY id"), ["'ONE'", "'TWO'"]);
    }
    assert_eq!(replicas.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"]);
    // Told all the same, it is so.
    driftless::rename_column(replicas.path(0), "notes", "title", "head").expect("told");
    // The others migrate later: in one go, and in two.
    replicas.sql(1, REUSE);
    replicas.sql(1, "INSERT INTO notes (id, head) VALUES ('c', 'three')");
    let (rename, add) = REUSE.split_once("; ").expect("two statements");
    replicas.sql(2, rename);
    replicas.settle();
    replicas.sql(2, add);
    replicas.settle();
    let expected = ["'ONE', 'new'", "'TWO', 'x'", "'three', 'x'"];
    assert_eq!(replicas.query_all("SELECT head, title FROM notes ORDER BY id"), expected);
    replicas.sql(2, "UPDATE notes SET title = 'both' WHERE id = 'b'");
    replicas.sql(1, "UPDATE notes SET head = 'both' WHERE id = 'b'");
    replicas.meet();
    assert_eq!(replicas.query_all("SELECT head, title FROM notes WHERE id = 'b'"), ["'both', 'both'"]);
    (0..3).for_each(|node| replicas.assert_well(node));
    // A copy has them apart, too.
    let copy = replicas.join("");
    replicas.settle();
    assert_eq!(replicas.node(copy).make_defined_tables().expect("made"), ["notes"]);
    replicas.settle();
    assert_eq!(replicas.query_all("SELECT head, title FROM notes WHERE id = 'b'"), ["'both', 'both'"]);
}

#[test]
fn a_name_can_be_given_to_one_new_column_after_the_other() {
    let mut replicas = replicas(2);
    for (new, value) in [("first", "'x'"), ("second", "'y'"), ("third", "'z'")] {
        replicas.sql(
            0,
            &format!(
                "ALTER TABLE notes RENAME COLUMN title TO {new}; ALTER TABLE notes ADD COLUMN title TEXT DEFAULT {value}"
            ),
        );
        replicas.meet();
    }
    replicas.sql(0, "UPDATE notes SET title = 'now' WHERE id = 'b'");
    replicas.meet();
    let select = "SELECT first, second, third, title FROM notes ORDER BY id";
    assert_eq!(replicas.query(0, select), ["'one', 'x', 'y', 'z'", "'two', 'x', 'y', 'now'"]);
    assert_eq!(replicas.query(1, "SELECT title FROM notes ORDER BY id"), ["'one'", "'two'"]);
    replicas.sql(
        1,
        "ALTER TABLE notes RENAME COLUMN title TO first; ALTER TABLE notes ADD COLUMN second TEXT DEFAULT 'x';
         ALTER TABLE notes ADD COLUMN third TEXT DEFAULT 'y'; ALTER TABLE notes ADD COLUMN title TEXT DEFAULT 'z'",
    );
    replicas.settle();
    assert_eq!(replicas.query_all(select), ["'one', 'x', 'y', 'z'", "'two', 'x', 'y', 'now'"]);
    (0..2).for_each(|node| replicas.assert_well(node));
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
        let mut replicas = replicas(3);
        replicas.sql(0, REBUILD_REUSING_THE_NAME);
        if both {
            replicas.sql(1, REBUILD_REUSING_THE_NAME);
        }
        replicas.settle();
        let question = replicas.warning("notes").expect("a question");
        assert!(question.contains("`driftless rename-column FILE notes title head`"), "{question}");
        replicas.sql(
            0,
            "UPDATE notes SET head = 'ONE' WHERE id = 'a'; UPDATE notes SET title = 'new' WHERE id = 'b'",
        );
        replicas.settle();
        driftless::rename_column(replicas.path(0), "notes", "title", "head").expect("told");
        replicas.settle();
        assert_eq!(replicas.warning("notes"), None);
        let expected = ["'ONE', 'x'", "'two', 'new'"];
        for node in 0..if both { 2 } else { 1 } {
            assert_eq!(
                replicas.query(node, "SELECT head, title FROM notes ORDER BY id"),
                expected,
                "{node}, {both}"
            );
        }
        assert_eq!(replicas.query(2, "SELECT title FROM notes ORDER BY id"), ["'ONE'", "'two'"], "{both}");
        replicas.sql(2, "UPDATE notes SET title = 'TWO' WHERE id = 'b'");
        replicas.meet();
        assert_eq!(replicas.query(0, "SELECT head, title FROM notes WHERE id = 'b'"), ["'TWO', 'new'"]);
        replicas.sql(2, REBUILD_REUSING_THE_NAME);
        replicas.settle();
        assert_eq!(replicas.query(2, "SELECT head FROM notes ORDER BY id"), ["'ONE'", "'TWO'"], "{both}");
        (0..3).for_each(|node| replicas.assert_well(node));
        // What came earlier, or is another column already, is not told so.
        for (old, new) in [("head", "title"), ("title", "stars"), ("id", "head")] {
            let refused = driftless::rename_column(replicas.path(0), "notes", old, new).expect_err("refused");
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
        let mut replicas = replicas(2);
        replicas.sql(0, statements);
        replicas.settle();
        let question = replicas.warning("notes").expect("a question");
        assert!(question.contains("`driftless rename-column FILE notes title head --no`"), "{question}");
        let columns = "SELECT * FROM notes ORDER BY id";
        let before = [0, 1].map(|node| replicas.query(node, columns));
        driftless::deny_rename(replicas.path(0), "notes", "Title", "HEAD").expect("answered");
        replicas.settle();
        assert_eq!(replicas.warning("notes"), None);
        assert_eq!([0, 1].map(|node| replicas.query(node, columns)), before, "nothing else changes");
        let refused =
            driftless::deny_rename(replicas.path(0), "notes", "title", "head").expect_err("refused");
        assert!(matches!(refused, driftless::Error::NothingAsked { .. }), "{refused}");
        // Made anew once more, and looked at by another engine, the table asks no more.
        replicas.sql(
            0,
            "BEGIN; CREATE TABLE other AS SELECT * FROM notes; DELETE FROM notes;
             INSERT INTO notes SELECT * FROM other; DROP TABLE other; COMMIT",
        );
        replicas.close(0);
        replicas.reopen(0);
        replicas.settle();
        assert_eq!(replicas.warning("notes"), None);
        (0..2).for_each(|node| replicas.assert_well(node));
    }
}

#[test]
fn a_column_that_is_only_added_is_nobody_s_under_another_name() {
    let mut replicas = replicas(2);
    replicas.sql(0, "ALTER TABLE notes ADD COLUMN head TEXT; UPDATE notes SET head = title");
    replicas.sql(0, "ALTER TABLE notes ADD COLUMN likes INTEGER DEFAULT 1");
    replicas.meet();
    assert_eq!(replicas.warning("notes"), None);
    replicas.sql(0, "UPDATE notes SET title = 'ONE' WHERE id = 'a'");
    replicas.meet();
    assert_eq!(replicas.query(1, "SELECT title FROM notes ORDER BY id"), ["'ONE'", "'two'"]);
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
        let mut replicas = Replicas::new(3, table, &["notes"], &TableOptions::default());
        let migrate = format!("{REUSE}; {fill}");
        replicas.sql(0, &migrate);
        replicas.sql(1, "UPDATE notes SET title = 'TWO' WHERE id = 'b'");
        replicas.meet();
        assert_eq!(replicas.query(0, "SELECT head FROM notes ORDER BY id"), ["'one'", "'TWO'"], "{fill}");
        for node in [1, 2] {
            assert_eq!(
                replicas.query(node, "SELECT title FROM notes ORDER BY id"),
                ["'one'", "'TWO'"],
                "{fill}"
            );
        }
        assert_eq!(replicas.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"], "{fill}");
        assert_eq!(replicas.warning("notes"), None, "{fill}");
        let new = replicas.query(0, "SELECT title FROM notes ORDER BY id");
        replicas.sql(1, &migrate);
        replicas.settle();
        replicas.sql(0, "UPDATE notes SET title = 'last' WHERE id = 'b'");
        replicas.meet();
        assert_eq!(
            replicas.query(1, "SELECT head, title FROM notes ORDER BY id")[1],
            "'TWO', 'last'",
            "{fill}"
        );
        assert_eq!(replicas.query(0, "SELECT title FROM notes WHERE id = 'a'"), new[..1], "{fill}");
        (0..3).for_each(|node| replicas.assert_well(node));
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
        let mut replicas = Replicas::new(2, table, &["notes"], &TableOptions::default());
        replicas.sql(0, &migrate);
        replicas.meet();
        assert_eq!(replicas.warning("notes"), None, "{migrate}");
        assert_eq!(replicas.query(1, "SELECT title FROM notes ORDER BY id"), ["'new'", "'new'"], "{migrate}");
    }
}

#[test]
fn a_column_whose_name_a_new_one_got_at_once_is_known_where_it_was_written_as_well() {
    let mut replicas = replicas(2);
    replicas.sql(0, REUSE);
    replicas.sql(0, "UPDATE notes SET head = upper(head), title = 'new ' || id");
    replicas.settle();
    assert_eq!(replicas.warning("notes"), None);
    assert_eq!(replicas.query(1, "SELECT title FROM notes ORDER BY id"), ["'ONE'", "'TWO'"]);
    replicas.sql(1, REUSE);
    replicas.settle();
    assert_eq!(
        replicas.query_all("SELECT head, title FROM notes ORDER BY id"),
        ["'ONE', 'new a'", "'TWO', 'new b'"]
    );
    (0..2).for_each(|node| replicas.assert_well(node));
}

/// Machine 1 has not migrated and writes the old name, while machine 0 has a new column of that name. Once the rename was told,
/// those writes were lost: the renamed column's values replaced them everywhere, and no conflict listed them.
#[test]
fn what_others_wrote_before_a_reused_name_was_told_is_kept() {
    for writes_own in [false, true] {
        let mut replicas = replicas(2);
        replicas.sql(0, REBUILD_REUSING_THE_NAME);
        replicas.settle();
        if writes_own {
            replicas.sql(0, "UPDATE notes SET head = 'ONE', title = 'new' WHERE id = 'a'");
            replicas.settle();
            later();
        }
        replicas.sql(1, "UPDATE notes SET title = 'meanwhile' WHERE id = 'b'");
        replicas.settle();
        driftless::rename_column(replicas.path(0), "notes", "title", "head").expect("told");
        replicas.settle();
        let first = if writes_own { "'ONE'" } else { "'one'" };
        assert_eq!(replicas.query(0, "SELECT head FROM notes ORDER BY id"), [first, "'meanwhile'"]);
        assert_eq!(replicas.query(1, "SELECT title FROM notes ORDER BY id"), [first, "'meanwhile'"]);
        // Nobody knows which of the two columns that write was for, so the renamed column's own value is kept beside it.
        let select = "SELECT key, value FROM driftless_conflicts WHERE shown = 0";
        assert_eq!(replicas.query_all(select), ["''b'', 'two'"]);
        (0..2).for_each(|node| replicas.assert_well(node));
    }
}

/// After a column's name had been given to a new one, the next question named the new column instead of the renamed one, and the
/// answer with the true names was refused.
#[test]
fn a_rename_after_a_name_was_reused_is_asked_about_by_the_names_of_its_own_columns() {
    let rebuild =
        anew("heading TEXT, stars INTEGER DEFAULT 0, title TEXT DEFAULT 'x'", "upper(head), stars, title");
    for answer in ["yes", "no"] {
        let mut replicas = replicas(2);
        replicas.sql(0, REUSE);
        replicas.settle();
        replicas.sql(0, &rebuild);
        replicas.settle();
        let question = replicas.warning("notes").expect("a question");
        assert!(question.contains("`driftless rename-column FILE notes head heading`"), "{question}");
        let refused =
            driftless::deny_rename(replicas.path(0), "notes", "stars", "heading").expect_err("refused");
        assert!(refused.to_string().contains("what is asked is whether 'heading' was 'head'"), "{refused}");
        if answer == "yes" {
            driftless::rename_column(replicas.path(0), "notes", "head", "heading").expect("told");
            replicas.settle();
            replicas.sql(1, "UPDATE notes SET title = 'TWO' WHERE id = 'b'");
            replicas.meet();
            assert_eq!(replicas.query(0, "SELECT heading, title FROM notes WHERE id = 'b'"), ["'TWO', 'x'"]);
            (0..2).for_each(|node| replicas.assert_well(node));
        } else {
            driftless::deny_rename(replicas.path(0), "notes", "head", "heading").expect("answered");
            let refused =
                driftless::deny_rename(replicas.path(0), "notes", "head", "heading").expect_err("refused");
            assert!(refused.to_string().contains("nothing is asked about its columns"), "{refused}");
        }
        replicas.settle();
        assert_eq!(replicas.warning("notes"), None);
    }
}

/// The new column took the place of the renamed one, whose values its default replaced on machines that had not migrated.
#[test]
fn a_new_column_that_gets_the_name_of_one_whose_rename_was_told_is_another() {
    let mut replicas = replicas(3);
    let add = "ALTER TABLE notes ADD COLUMN title TEXT DEFAULT 'x'";
    driftless::rename_column(replicas.path(0), "notes", "title", "head").expect("renamed");
    replicas.settle();
    replicas.sql(0, add);
    replicas.settle();
    assert_eq!(replicas.query(2, "SELECT title FROM notes ORDER BY id"), ["'one'", "'two'"]);
    replicas.sql(2, "UPDATE notes SET title = 'ONE' WHERE id = 'a'");
    replicas.sql(0, "UPDATE notes SET title = 'new' WHERE id = 'a'");
    replicas.settle();
    // One machine migrates with the engine looking in between, the other in one go.
    replicas.sql(1, "ALTER TABLE notes RENAME COLUMN title TO head");
    replicas.settle();
    replicas.sql(1, add);
    replicas.settle();
    replicas.sql(2, REUSE);
    replicas.settle();
    assert_eq!(
        replicas.query_all("SELECT head, title FROM notes ORDER BY id"),
        ["'ONE', 'new'", "'two', 'x'"]
    );
    replicas.sql(1, "UPDATE notes SET head = 'TWO', title = 'y' WHERE id = 'b'");
    replicas.meet();
    assert_eq!(
        replicas.query_all("SELECT head, title FROM notes ORDER BY id"),
        ["'ONE', 'new'", "'TWO', 'y'"]
    );
    assert_eq!(replicas.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"]);
    (0..3).for_each(|node| replicas.assert_well(node));
}
