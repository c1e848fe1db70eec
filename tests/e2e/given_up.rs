//! Tables and columns that the space has given up with `forget`: what becomes of them, of later ones of their names, and of files that
//! still have them.

use driftless::{Selection, TableOptions};
use driftless_tests::{Replicas, eventually};

use crate::renames::{NOTES, replicas};

#[test]
fn a_table_that_is_forgotten_is_not_cloned_and_one_of_its_name_begins_empty() {
    let mut replicas = replicas(2);
    let refused = driftless::forget(replicas.path(0), "notes", None).expect_err("it is there");
    assert!(refused.to_string().contains("this file still has it"), "{refused}");
    for node in [0, 1] {
        replicas.sql(node, "DROP TABLE notes");
    }
    replicas.meet();
    driftless::forget(replicas.path(0), "notes", None).expect("forgotten");
    replicas.meet();
    let copy = replicas.join("");
    replicas.settle();
    assert!(replicas.node(copy).make_defined_tables().expect("made").is_empty());
    for node in [0, 1, 2] {
        replicas.sql(node, "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT)");
        replicas.node(node).track(&["notes"], TableOptions::default()).expect("tracked");
    }
    replicas.settle();
    assert!(replicas.query_all("SELECT * FROM notes").is_empty());
    replicas.sql(1, "INSERT INTO notes VALUES ('a', 'begins anew')");
    replicas.meet();
    assert_eq!(replicas.query_all("SELECT * FROM notes"), ["'a', 'begins anew'"]);
}

/// `status` said that a running engine would track it within seconds, and no engine did.
#[test]
fn a_table_of_a_forgotten_ones_name_is_tracked_where_all_are_and_explained_elsewhere() {
    let mut replicas = replicas(2);
    driftless::track(replicas.path(0), Selection::All, TableOptions::default()).expect("tracked");
    replicas.sql(0, "DROP TABLE notes");
    replicas.meet();
    driftless::forget(replicas.path(0), "notes", None).expect("forgotten");
    let reason = |replicas: &Replicas, node: usize, state: &str| {
        let status = driftless::status(replicas.path(node)).expect("a status");
        status.tables.into_iter().find(|table| table.state == state).and_then(|table| table.reason)
    };
    assert!(driftless::status(replicas.path(0)).expect("a status").tables.is_empty());
    replicas.meet();
    assert!(reason(&replicas, 1, "tracked").is_some_and(|reason| reason.contains("given it up")));

    replicas
        .sql(0, "CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT); INSERT INTO notes VALUES ('n', 'new')");
    eventually("the new table to be tracked", || {
        replicas.capture(0);
        let status = driftless::status(replicas.path(0)).expect("a status");
        status.tables.iter().any(|known| known.state == "tracked").then_some(())
    });
    replicas.settle();
    assert!(
        reason(&replicas, 1, "unknown").is_some_and(|reason| reason.contains("called 'notes' where it is"))
    );
    // The other file makes the new one in place of the old, in one step.
    replicas.sql(1, "DROP TABLE notes; CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT)");
    replicas.capture(1);
    replicas.node(1).track(&["notes"], TableOptions::default()).expect("tracked");
    replicas.settle();
    assert_eq!(replicas.query_all("SELECT * FROM notes"), ["'n', 'new'"]);
    // The second of that name can be given up as well.
    for node in [0, 1] {
        replicas.sql(node, "DROP TABLE notes");
        replicas.capture(node);
    }
    replicas.settle();
    driftless::forget(replicas.path(0), "notes", None).expect("forgotten again");
    let again = driftless::forget(replicas.path(0), "notes", None).expect_err("both are gone");
    assert!(again.to_string().contains("that has been done"), "{again}");
    replicas.settle();
    let copy = replicas.join("");
    replicas.settle();
    assert!(replicas.node(copy).make_defined_tables().expect("made").is_empty());
}

#[test]
fn a_column_that_is_forgotten_begins_empty_when_one_of_its_name_comes() {
    let mut replicas = replicas(3);
    let refused = driftless::forget(replicas.path(0), "notes", Some("title")).expect_err("it is there");
    assert!(refused.to_string().contains("the table still has it"), "{refused}");
    for node in [0, 1] {
        replicas.sql(node, "ALTER TABLE notes DROP COLUMN title");
    }
    replicas.meet();
    driftless::forget(replicas.path(0), "notes", Some("title")).expect("forgotten");
    replicas.meet();
    for node in [0, 1] {
        replicas.sql(node, "ALTER TABLE notes ADD COLUMN title TEXT");
    }
    replicas.sql(1, "UPDATE notes SET title = 'anew' WHERE id = 'b'");
    replicas.meet();
    for node in [0, 1] {
        assert_eq!(replicas.query(node, "SELECT title FROM notes ORDER BY id"), ["NULL", "'anew'"]);
    }
    // Who still has the old column keeps it as it is.
    replicas.sql(2, "UPDATE notes SET title = 'ONE' WHERE id = 'a'");
    replicas.meet();
    assert_eq!(replicas.query(2, "SELECT title FROM notes ORDER BY id"), ["'ONE'", "'two'"]);
    assert_eq!(replicas.query(0, "SELECT title FROM notes ORDER BY id"), ["NULL", "'anew'"]);
}

/// When the column was made a third time, a file that still had the second one lost that one's name, and fell back to the
/// values of the first.
#[test]
fn a_column_that_is_forgotten_twice_keeps_its_values_where_it_still_is() {
    let mut replicas = replicas(2);
    let titles = |replicas: &Replicas, node| replicas.query(node, "SELECT title FROM notes ORDER BY id");
    let drop = "ALTER TABLE notes DROP COLUMN title";
    let add = "ALTER TABLE notes ADD COLUMN title TEXT";
    for nodes in [&[0, 1][..], &[0]] {
        for node in nodes {
            replicas.sql(*node, drop);
        }
        replicas.meet();
        driftless::forget(replicas.path(0), "notes", Some("title")).expect("forgotten");
        replicas.meet();
        for node in nodes {
            replicas.sql(*node, add);
        }
        replicas.sql(0, &format!("UPDATE notes SET title = 'in life {}'", 4 - nodes.len()));
        replicas.meet();
    }
    assert_eq!(titles(&replicas, 0), ["'in life 3'", "'in life 3'"]);
    assert_eq!(titles(&replicas, 1), ["'in life 2'", "'in life 2'"]);
    let status = driftless::status(replicas.path(1)).expect("a status");
    let note = status.tables.into_iter().find_map(|table| table.reason);
    assert!(note.as_ref().is_some_and(|note| note.contains("given up its column 'title'")), "{note:?}");
    // The user does as the note says.
    replicas.sql(1, drop);
    replicas.capture(1);
    replicas.sql(1, add);
    replicas.meet();
    assert_eq!(replicas.query_all("SELECT title FROM notes ORDER BY id"), ["'in life 3'", "'in life 3'"]);
}

/// A file in which the first replica has given up the table `notes` and made a new one; the other still has the old one.
fn replicas_with_given_up_table() -> Replicas {
    let mut replicas = replicas(2);
    replicas.sql(0, "DROP TABLE notes");
    replicas.meet();
    driftless::forget(replicas.path(0), "notes", None).expect("forgotten");
    replicas.meet();
    replicas
        .sql(0, "CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT); INSERT INTO notes VALUES ('n', 'new')");
    replicas.node(0).track(&["notes"], TableOptions::default()).expect("tracked");
    replicas.settle();
    replicas
}

fn note(replicas: &Replicas, node: usize) -> Option<String> {
    let status = driftless::status(replicas.path(node)).expect("a status");
    status.tables.into_iter().find(|table| table.state == "tracked").and_then(|table| table.reason)
}

/// Because it was not empty, the engine took it for the old table, made anew by a migration; so its rows reached nobody.
#[test]
fn a_given_up_table_that_is_made_again_with_rows_in_one_step_is_the_new_one() {
    let mut replicas = replicas_with_given_up_table();
    replicas.sql(
        1,
        "BEGIN; DROP TABLE notes; CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT);
         INSERT INTO notes VALUES ('m', 'mine'), ('o', 'other'); COMMIT",
    );
    replicas.capture(1);
    replicas.node(1).track(&["notes"], TableOptions::default()).expect("tracked");
    replicas.settle();
    assert_eq!(
        replicas.query_all("SELECT * FROM notes ORDER BY id"),
        ["'m', 'mine'", "'n', 'new'", "'o', 'other'"]
    );
    (0..2).for_each(|node| replicas.assert_well(node));
}

#[test]
fn a_given_up_table_that_a_migration_makes_anew_stays_the_given_up_one() {
    for rows in [
        // A row of the old one is there.
        "INSERT INTO new_notes SELECT id, title FROM notes WHERE id = 'b'; INSERT INTO new_notes VALUES ('m', 'mine');",
        "INSERT INTO new_notes SELECT id, title FROM notes;",
    ] {
        let mut replicas = replicas_with_given_up_table();
        replicas.sql(
            1,
            &format!(
                "BEGIN; CREATE TABLE new_notes (id TEXT PRIMARY KEY, title TEXT); {rows} DROP TABLE notes;
                 ALTER TABLE new_notes RENAME TO notes; COMMIT"
            ),
        );
        replicas.settle();
        let note = note(&replicas, 1).expect("a note");
        assert!(note.contains("given it up") && note.contains("let a sync see that"), "{note}");
        assert_eq!(replicas.query(0, "SELECT * FROM notes"), ["'n', 'new'"]);
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
        let mut replicas = Replicas::new(2, table, &["notes"], &TableOptions::default());
        let titles = |replicas: &Replicas, node| replicas.query(node, "SELECT title FROM notes ORDER BY id");
        replicas.sql(0, "ALTER TABLE notes DROP COLUMN title");
        replicas.meet();
        driftless::forget(replicas.path(0), "notes", Some("title")).expect("forgotten");
        replicas.meet();
        replicas.sql(0, "ALTER TABLE notes ADD COLUMN title TEXT");
        replicas.settle();
        assert_eq!(titles(&replicas, 1), ["'one'", "'two'"]);
        // Another look, when nothing has changed, finds no new column.
        replicas.sql(1, "CREATE INDEX stars ON notes (stars)");
        replicas.settle();
        assert!(
            note(&replicas, 1).is_some_and(|note| note.contains("given up its column 'title'")),
            "{write}"
        );
        replicas.sql(
            1,
            &format!("ALTER TABLE notes DROP COLUMN title; ALTER TABLE notes ADD COLUMN title TEXT; {write}"),
        );
        replicas.settle();
        if !is_certain {
            let note = note(&replicas, 1).expect("a note");
            assert!(note.contains("drop this one, let a sync see that, and make it anew"), "{note}");
            assert!(!driftless::status(replicas.path(1)).expect("a status").tables[0].concerns.is_empty());
            assert_eq!(titles(&replicas, 0), ["NULL", "NULL"]);
            continue;
        }
        assert_eq!(note(&replicas, 1), None, "{write}");
        assert!(driftless::status(replicas.path(1)).expect("a status").tables[0].concerns.is_empty());
        assert_eq!(titles(&replicas, 0), titles(&replicas, 1), "{write}");
        assert_eq!(titles(&replicas, 0)[0], "'mine'");
        replicas.sql(0, "UPDATE notes SET title = 'seen' WHERE id = 'b'");
        replicas.meet();
        assert_eq!(
            replicas.query_all("SELECT title FROM notes ORDER BY id"),
            ["'mine'", "'seen'"],
            "{write}"
        );
        (0..2).for_each(|node| replicas.assert_well(node));
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
            let mut replicas = Replicas::new(2, table, &["notes"], &TableOptions::default());
            replicas.sql(0, drop);
            replicas.meet();
            driftless::forget(replicas.path(0), "notes", Some("title")).expect("forgotten");
            replicas.meet();
            replicas.sql(1, &migration);
            replicas.sql(0, "ALTER TABLE notes ADD COLUMN title TEXT DEFAULT 'nn'");
            replicas.meet();
            let titles = "SELECT id, title FROM notes ORDER BY id";
            assert_eq!(replicas.query_all(titles), ["'a', 'nn'", "'b', 'nn'"], "{table}: {migration}");
            replicas.sql(1, "UPDATE notes SET title = 'new' WHERE id = 'b'");
            replicas.meet();
            assert_eq!(replicas.query_all(titles), ["'a', 'nn'", "'b', 'new'"], "{table}: {migration}");
            assert_eq!(note(&replicas, 1), None, "{migration}");
        }
    }
}
