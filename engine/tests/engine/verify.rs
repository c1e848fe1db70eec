//! `verify`: each kind of difference is planted, found, named and repaired, and a second look finds nothing.

use driftless::{Check, Error, Verification, VerifyOptions};

use crate::support::File;

const NOTES: &str = "
CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT, n INTEGER DEFAULT 7, r REAL, a);
INSERT INTO notes (id, title, r, a) VALUES ('1', 'one', 1, 1), ('2', 'two', 2.5, '2'), ('3', 'three', NULL, x'33');
";

fn file() -> File {
    File::tracked(NOTES, &["notes"])
}

fn look(file: &File) -> Verification {
    driftless::verify(file.path(), &VerifyOptions::default()).expect("verified")
}

fn repair(file: &File) -> Verification {
    driftless::verify(file.path(), &VerifyOptions::default().repair(true)).expect("repaired")
}

fn check<'a>(verification: &'a Verification, name: &str) -> &'a Check {
    verification.checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no check {name}"))
}

/// What differs, as `check: table[key]: what`.
fn differences(verification: &Verification) -> Vec<String> {
    let said = verification.checks.iter().flat_map(|check| {
        check.shown.iter().map(move |shown| {
            let (table, key) = (shown.table.as_deref().unwrap_or(""), shown.key.as_deref().unwrap_or(""));
            format!("{}: {table}[{key}]: {}", check.name, shown.what)
        })
    });
    said.collect()
}

/// Looking finds one thing with these words; repairing it leaves nothing.
#[track_caller]
fn found_and_repaired(file: &File, words: &str) {
    let found = look(file);
    assert!(!found.is_well(), "nothing was found, but should be: {words}");
    let said = differences(&found);
    assert!(said.iter().any(|line| line.contains(words)), "{words} is not in {said:#?}");
    assert!(found.repairs.is_empty() && found.after.is_none(), "looking repairs nothing");
    let repaired = repair(file);
    assert!(repaired.is_well(), "{repaired:#?}");
    assert!(!repaired.repairs.is_empty(), "what was done is told");
    let again = look(file);
    assert!(again.is_well(), "{:#?}", differences(&again));
}

/// What a write looks like that our triggers did not see: they are there before and after.
fn unseen(file: &File, sql: &str) {
    let user = file.user();
    let triggers: Vec<(String, String)> = user
        .prepare("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        .and_then(|mut all| all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .expect("the triggers");
    let drop: String = triggers.iter().map(|(name, _)| format!("DROP TRIGGER {name};")).collect();
    let make: String = triggers.iter().map(|(_, sql)| format!("{sql};")).collect();
    file.run(&format!("BEGIN; {drop} {sql}; {make} COMMIT;"));
}

#[test]
fn a_sound_file_is_well_and_nothing_of_it_changes() {
    let file = file();
    let (before, changesets) = (file.rows("notes"), file.changesets());
    let found = look(&file);
    assert!(found.is_well(), "{:#?}", differences(&found));
    assert_eq!(check(&found, "tables").looked_at, 3 + 1, "rows, and the table's definition");
    assert_eq!(check(&found, "documents").looked_at, 3 + 1);
    assert_eq!((file.rows("notes"), file.changesets()), (before, changesets));
}

#[test]
fn what_is_written_and_not_captured_is_captured_and_no_difference() {
    let file = file();
    file.run("UPDATE notes SET title = 'ONE' WHERE id = '1'; DELETE FROM notes WHERE id = '2'");
    assert!(look(&file).is_well());
    assert_eq!(file.captured(), ["notes['1']", "notes['2']"]);
}

#[test]
fn beside_a_running_engine_it_only_reads_and_does_not_repair() {
    let file = file();
    let engine = file.engine();
    let found = look(&file);
    assert!(found.engine_running && found.is_well(), "{:#?}", differences(&found));
    let repaired = driftless::verify(file.path(), &VerifyOptions::default().repair(true));
    assert!(matches!(repaired, Err(Error::Locked { .. })));
    engine.close();
}

#[test]
fn a_row_that_was_changed_unseen_is_captured() {
    let file = file();
    unseen(&file, "UPDATE notes SET title = 'ONE', n = 8 WHERE id = '1'");
    found_and_repaired(
        &file,
        "tables: notes['1']: the table has other values than the document: title is 'ONE', not 'one', n is 8, not 7",
    );
    assert_eq!(file.captured(), ["notes['1']"]);
    file.assert_captured("notes");
    assert_eq!(file.number("SELECT n FROM notes WHERE title = 'ONE'"), 8);
}

#[test]
fn a_value_of_another_type_is_another_value() {
    let file = file();
    unseen(&file, "UPDATE notes SET a = '1' WHERE id = '1'");
    found_and_repaired(&file, "a is '1', not 1");
    unseen(&file, "UPDATE notes SET a = 1.0 WHERE id = '1'");
    found_and_repaired(&file, "a is 1.0, not '1'");
}

#[test]
fn rows_that_came_unseen_are_captured() {
    let file = file();
    unseen(&file, "INSERT INTO notes (id) VALUES ('4')");
    found_and_repaired(&file, "tables: notes['4']: it is in the table, and there is no document of it");
    assert_eq!(file.captured(), ["notes['4']"]);
}

#[test]
fn a_deleted_row_that_came_back_unseen_is_captured() {
    let file = file();
    file.run("DELETE FROM notes WHERE id = '1'");
    file.capture();
    unseen(&file, "INSERT INTO notes (id, title) VALUES ('1', 'again')");
    found_and_repaired(&file, "although its document says that it was deleted");
    assert_eq!(file.captured(), ["notes['1']"]);
}

#[test]
fn a_row_that_went_unseen_is_shown_again() {
    let file = file();
    let before = file.rows("notes");
    unseen(&file, "DELETE FROM notes WHERE id = '3'");
    found_and_repaired(&file, "tables: notes['3']: it is not in the table");
    assert_eq!(file.rows("notes"), before);
    assert!(file.captured().is_empty(), "nothing was written");
}

#[test]
fn a_flipped_bit_in_a_document_is_found_and_the_document_made_anew() {
    let file = file();
    let before = file.rows("notes");
    file.run("UPDATE _driftless_documents SET body = x'01ff' || substr(body, 3) WHERE id = 3");
    found_and_repaired(&file, "the document cannot be read");
    assert_eq!(file.rows("notes"), before);
    file.assert_captured("notes");
}

/// A document that could not be read made every turn fail, for ever: nothing of the whole file travelled any more.
#[test]
fn a_damaged_document_holds_up_neither_its_row_nor_others() {
    let file = file();
    let engine = file.engine();
    file.run("UPDATE notes SET title = 'by the writer that goes on' WHERE id = '1'");
    engine.capture().expect("captured");
    file.captured();
    file.run(
        "UPDATE _driftless_documents SET body = x'01' WHERE id = (SELECT doc FROM _driftless_rows
              WHERE tbl = 2 AND key = x'20310000'); UPDATE notes SET title = 'ONE' WHERE id <= '2'",
    );
    engine.capture().expect("captured");
    assert_eq!(file.captured(), ["notes['1']", "notes['2']"]);
    let note = file.status().repaired.unwrap_or_default();
    assert!(note.contains("the document of notes ['1'] could not be read"), "{note}");
    engine.close();
    file.assert_captured("notes");
    assert!(look(&file).is_well());
}

#[test]
fn row_keys_and_documents_that_lost_each_other_are_tidied_up() {
    for (sql, words) in [
        ("DELETE FROM _driftless_documents WHERE id = 3", "1 row names a document that is not there"),
        ("DELETE FROM _driftless_rows WHERE doc = 3", "1 document belongs to no row"),
        ("UPDATE _driftless_rows SET doc = 3 WHERE doc = 4", "1 document belongs to several rows"),
        ("UPDATE _driftless_rows SET key = x'99' WHERE doc = 3", "the document cannot be read"),
        ("UPDATE _driftless_rows SET tbl = 99 WHERE doc = 3", "1 document is of a table that nobody knows"),
    ] {
        let file = file();
        let before = file.rows("notes");
        file.run(sql);
        found_and_repaired(&file, words);
        assert_eq!(file.rows("notes"), before, "{sql}");
        file.assert_captured("notes");
    }
}

#[test]
fn a_user_index_that_says_otherwise_than_its_table_is_made_anew() {
    let file = file();
    file.run(
        "CREATE INDEX titles ON notes (title); PRAGMA writable_schema = ON;
         UPDATE sqlite_master SET sql = 'CREATE INDEX titles ON notes (n)' WHERE name = 'titles'",
    );
    found_and_repaired(&file, "missing from index titles");
}

#[test]
fn what_tables_that_are_not_tracked_lack_is_a_note_and_no_difference() {
    let file = file();
    file.run(
        "PRAGMA foreign_keys = OFF; CREATE TABLE loose (k TEXT PRIMARY KEY, note TEXT REFERENCES notes);
         INSERT INTO loose VALUES ('a', 'no')",
    );
    let found = look(&file);
    assert!(found.is_well(), "{:#?}", differences(&found));
    assert!(check(&found, "sqlite").notes[0].starts_with("1 row of a table that is not tracked refers to"));
}

#[test]
fn a_damaged_outbox_is_emptied_for_a_snapshot_to_take_its_place() {
    for (sql, words) in [
        ("UPDATE _driftless_outbox SET changeset = x'00' WHERE seq = 2", "changeset 2 in the outbox: "),
        ("UPDATE _driftless_outbox SET seq = 5 WHERE seq = 3", "the outbox lacks changesets before 5"),
        (
            "DELETE FROM _driftless_outbox WHERE seq = 3",
            "the outbox ends at changeset 2, but 3 changesets were captured",
        ),
    ] {
        let file = file();
        file.run("UPDATE notes SET n = 9");
        file.capture();
        assert_eq!(file.changesets(), 3);
        file.run(sql);
        let found = look(&file);
        let said = differences(&found);
        if sql.contains("SET seq = 5") {
            // Noticed when the file is opened: its own number would be used twice.
            let notes = &check(&found, "side tables").notes;
            assert!(notes.iter().any(|note| note.contains("the state vector was lost")), "{notes:?}");
            assert!(found.is_well() && file.status().repaired.is_none());
            continue;
        }
        assert!(said.iter().any(|line| line.contains(words)), "{words} is not in {said:#?}");
        assert!(repair(&file).is_well());
        assert!(look(&file).is_well());
    }
}

#[test]
fn a_damaged_changeset_in_the_inbox_is_dropped_and_holds_nothing_up() {
    for seq in [1, 3] {
        let file = file();
        file.run(&format!(
            "INSERT INTO _driftless_inbox (replica, seq, part, changeset)
             VALUES (CAST(x'01' || zeroblob(15) AS BLOB), {seq}, 0, x'00'); UPDATE notes SET n = 9"
        ));
        file.capture();
        file.assert_captured("notes");
        assert!(repair(&file).is_well());
        assert_eq!(file.number("SELECT count(*) FROM _driftless_inbox"), 0, "seq {seq}");
    }
}

#[test]
fn conflicts_that_are_listed_and_are_none_are_taken_off() {
    let file = file();
    file.run(
        "INSERT INTO _driftless_conflicts (tbl, key, pk, col, shown, value, at, writer)
         SELECT tbl, key, 'x', 'title', 1, 'x', 5, 5 FROM _driftless_rows WHERE tbl = 2 LIMIT 1;
         INSERT INTO _driftless_conflicts (tbl, key, pk, col, shown, value, at, writer)
         VALUES (2, x'207a0000', 'z', 'title', 1, 'x', 5, 5)",
    );
    let said = differences(&look(&file));
    assert!(
        said.iter()
            .any(|line| line.contains("conflicts: notes['1']: it is listed as in conflict and is not"))
    );
    found_and_repaired(
        &file,
        "conflicts: notes['z']: it is listed as in conflict, and there is no document of it",
    );
    assert!(driftless::conflicts(file.path()).expect("conflicts").is_empty());
}

#[test]
fn a_parked_row_that_would_fit_returns() {
    let file = file();
    file.run(
        "INSERT INTO _driftless_parked (tbl, key, pk, stage, reason)
         SELECT tbl, key, 'x', 1, 'for no reason' FROM _driftless_rows WHERE tbl = 2 ORDER BY key LIMIT 1",
    );
    unseen(&file, "DELETE FROM notes WHERE id = '1'");
    // Reconcile judges parked rows when the triggers were renewed; a file that is just opened does so too.
    let repaired = repair(&file);
    assert!(repaired.is_well(), "{repaired:#?}");
    assert_eq!(file.number("SELECT count(*) FROM notes"), 3);
    assert!(driftless::parked(file.path()).expect("parked").is_empty());
}

#[test]
fn a_file_without_side_tables_is_said_to_be_so() {
    let file = File::new(NOTES);
    let verified = driftless::verify(file.path(), &VerifyOptions::default());
    assert!(matches!(verified, Err(Error::NotInitialized(_))));
}
