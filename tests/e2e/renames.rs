//! Renamed columns and tables: what is asked, answered, refused and told. What becomes of the data is in `what_happens/renames.rs`.

use driftless::{Selection, TableOptions};
use driftless_tests::Replicas;

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
pub(crate) fn replicas(count: usize) -> Replicas {
    Replicas::new(count, NOTES, &["notes"], &TableOptions::default().counter("stars"))
}

#[test]
fn a_new_column_that_holds_the_same_value_in_every_row_is_taken_for_no_other_by_that() {
    let mut replicas = replicas(2);
    replicas.sql(0, "ALTER TABLE notes ADD COLUMN flag INTEGER; UPDATE notes SET flag = 1");
    replicas.settle();
    replicas.sql(0, &anew("kind INTEGER DEFAULT 0, title TEXT, stars INTEGER DEFAULT 0", "1, title, stars"));
    replicas.settle();
    assert!(replicas.warning("notes").is_some_and(|asked| asked.contains("'flag' went and 'kind' came")));
    driftless::deny_rename(replicas.path(0), "notes", "flag", "kind").expect("answered");
    replicas.sql(1, "ALTER TABLE notes ADD COLUMN flag INTEGER; UPDATE notes SET flag = 7");
    replicas.settle();
    assert_eq!(replicas.query(0, "SELECT kind FROM notes ORDER BY id"), ["1", "1"]);
}

#[test]
fn a_rename_that_cannot_be_is_refused_and_changes_nothing() {
    let replicas = replicas(1);
    for (old, new, why) in [
        ("title", "stars", "both columns"),
        ("nothing", "neither", "never had a column 'nothing'"),
        ("title", "title", "the same name"),
        ("title", "", "1 to 1024 bytes"),
    ] {
        let refused = driftless::rename_column(replicas.path(0), "notes", old, new).expect_err("refused");
        assert!(refused.to_string().contains(why), "{refused}");
    }
    assert!(matches!(
        driftless::rename_column(replicas.path(0), "nowhere", "a", "b"),
        Err(driftless::Error::NotTracked(_))
    ));
    assert_eq!(replicas.query(0, "SELECT title FROM notes"), ["'one'", "'two'"]);
}

/// A second rename of a column, onto another that had been there all along, made one column of the two.
#[test]
fn a_column_is_not_renamed_into_another_that_was_there() {
    let mut replicas = replicas(2);
    driftless::rename_column(replicas.path(0), "notes", "title", "head").expect("renamed");
    replicas.meet();
    for (old, why) in [("title", "it is 'head' now"), ("never", "never had")] {
        let refused = driftless::rename_column(replicas.path(0), "notes", old, "stars").expect_err("refused");
        assert!(refused.to_string().contains(why), "{refused}");
    }
    replicas.meet();
    assert_eq!(replicas.query(0, "SELECT head, stars FROM notes ORDER BY id"), ["'one', 1", "'two', 2"]);
}

/// The question was asked about the first columns that came and went, and forgotten with the next change of the table.
#[test]
fn a_rename_can_be_told_however_often_the_table_changed_since() {
    let mut replicas = replicas(2);
    replicas.sql(0, "ALTER TABLE notes ADD COLUMN extra");
    replicas.sql(0, &anew("head TEXT, stars INTEGER DEFAULT 0, extra", "upper(title), stars, extra"));
    replicas.capture(0);
    for change in ["ADD COLUMN one", "DROP COLUMN extra", "RENAME COLUMN one TO two", "ADD COLUMN three"] {
        replicas.sql(0, &format!("ALTER TABLE notes {change}"));
        replicas.capture(0);
        let question = replicas.warning("notes").expect("a question");
        assert!(question.contains("column 'title' went and 'head' came"), "{question}");
        assert!(!question.contains("'three' came"), "{question}");
    }
    replicas.sql(0, "UPDATE notes SET head = 'first' WHERE id = 'a'");
    driftless::rename_column(replicas.path(0), "notes", "title", "head").expect("told");
    replicas.meet();
    assert_eq!(replicas.query(1, "SELECT title FROM notes WHERE id = 'a'"), ["'first'"]);
    assert_eq!(replicas.warning("notes"), None);
}

/// `track` took the new table for the renamed one. It said that the table was tracked, and no row of it ever left the file.
#[test]
fn a_new_table_with_the_new_name_of_one_that_is_renamed_elsewhere_travels_apart() {
    let mut replicas = replicas(3);
    replicas.sql(0, "ALTER TABLE notes RENAME TO memos");
    replicas.meet();
    for node in [1, 2] {
        replicas.sql(node, "CREATE TABLE memos (id TEXT PRIMARY KEY, z TEXT)");
        replicas.sql(node, &format!("INSERT INTO memos VALUES ('{node}', 'by {node}')"));
        driftless::track(replicas.path(node), Selection::Named(&["memos"]), TableOptions::default())
            .expect("tracked");
        replicas.meet();
    }
    for node in [1, 2] {
        assert_eq!(replicas.query(node, "SELECT * FROM memos ORDER BY id"), ["'1', 'by 1'", "'2', 'by 2'"]);
        assert_eq!(replicas.query(node, "SELECT id FROM notes ORDER BY id"), ["'a'", "'b'"]);
        replicas.assert_well(node);
    }
    replicas.sql(0, "UPDATE memos SET title = 'ONE' WHERE id = 'a'");
    replicas.meet();
    assert_eq!(replicas.query(1, "SELECT title FROM notes ORDER BY id"), ["'ONE'", "'two'"]);
    // The first machine is told what to do, and that shows it.
    let status = driftless::status(replicas.path(0)).expect("a status");
    let theirs = status.tables.iter().find(|table| table.state == "unknown").expect("the others' table");
    assert!(theirs.concerns[0].contains("another table that is called 'memos'"), "{theirs:?}");
    replicas
        .sql(0, "ALTER TABLE memos RENAME TO older_memos; CREATE TABLE memos (id TEXT PRIMARY KEY, z TEXT)");
    replicas.capture(0);
    driftless::track(replicas.path(0), Selection::Named(&["memos"]), TableOptions::default())
        .expect("tracked");
    replicas.meet();
    assert_eq!(replicas.query(0, "SELECT * FROM memos ORDER BY id"), ["'1', 'by 1'", "'2', 'by 2'"]);
    assert_eq!(replicas.query(0, "SELECT title FROM older_memos ORDER BY id"), ["'ONE'", "'two'"]);
}
