//! The app's own triggers that write into tracked tables. What they wrote at the author's is part of what the author
//! wrote; they run again where the row is merged, and what they do there must not be what stands.

use crate::case::{Who::*, case};

#[test]
fn a_count_that_a_trigger_keeps_in_the_row_itself_is_the_authors() {
    case(
        "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT, edits INTEGER DEFAULT 0);
          CREATE TRIGGER count AFTER UPDATE OF title ON notes BEGIN
            UPDATE notes SET edits = edits + 1 WHERE id = NEW.id;
          END;
          INSERT INTO notes VALUES ('n', 'title', 0)",
    )
    .a("UPDATE notes SET title = 'by a'")
    .meet()
    .shows("notes", &["'n', 'by a', 1"])
    .b("UPDATE notes SET title = 'by b'")
    .meet()
    .shows("notes", &["'n', 'by b', 2"])
    .holds();
}

#[test]
fn a_stamp_that_a_trigger_sets_on_every_update_is_the_authors() {
    case(
        "CREATE TABLE here (name TEXT);
          CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT, stamp TEXT);
          CREATE TRIGGER stamp AFTER UPDATE ON notes WHEN NEW.stamp IS OLD.stamp BEGIN
            UPDATE notes SET stamp = (SELECT name FROM here) WHERE id = NEW.id;
          END;
          INSERT INTO notes VALUES ('n', 'title', 'nobody')",
    )
    .leaves("here")
    .schemas_differ()
    .a("INSERT INTO here VALUES ('stamped by a')")
    .b("INSERT INTO here VALUES ('stamped by b')")
    .a("UPDATE notes SET title = 'by a'")
    .meet()
    .shows("notes", &["'n', 'by a', 'stamped by a'"])
    .b("UPDATE notes SET title = 'by b'")
    .meet()
    .shows("notes", &["'n', 'by b', 'stamped by b'"])
    .holds();
}

#[test]
fn a_total_that_a_trigger_keeps_in_another_table_is_the_authors_whichever_table_is_first() {
    for [sums, parts] in [["a_sums", "b_parts"], ["b_sums", "a_parts"]] {
        case(&format!(
            "CREATE TABLE {sums} (id TEXT PRIMARY KEY, total INTEGER);
             CREATE TABLE {parts} (id TEXT PRIMARY KEY, n INTEGER);
             CREATE TRIGGER added AFTER INSERT ON {parts} BEGIN UPDATE {sums} SET total = total + NEW.n; END;
             INSERT INTO {sums} VALUES ('s', 0)"
        ))
        .a(&format!("INSERT INTO {parts} VALUES ('p', 5)"))
        .meet()
        .shows(sums, &["'s', 5"])
        .holds();
    }
}

#[test]
fn a_row_that_a_trigger_writes_beside_another_is_there_once() {
    case(
        "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT);
          CREATE TABLE events (id TEXT PRIMARY KEY, what TEXT);
          CREATE TRIGGER added AFTER INSERT ON notes BEGIN
            INSERT INTO events VALUES ('of ' || NEW.id, 'added ' || NEW.id);
          END",
    )
    .schemas_differ()
    .a("INSERT INTO notes VALUES ('n', 'by a')")
    .b("INSERT INTO notes VALUES ('o', 'by b')")
    .meet()
    .shows("SELECT what FROM events ORDER BY what", &["'added n'", "'added o'"])
    .holds();
}

#[test]
fn a_merged_row_that_a_trigger_of_the_app_ignores_is_parked() {
    case("CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT)")
        .schemas_differ()
        .b("CREATE TRIGGER no_rude BEFORE INSERT ON notes WHEN NEW.title = 'rude'
            BEGIN SELECT raise(IGNORE); END")
        .a("INSERT INTO notes VALUES ('n', 'rude'), ('o', 'kind')")
        .meet()
        .shows_at(B, "notes", &["'o', 'kind'"])
        .parks_at(B, "notes", "'n'", "trigger")
        .holds();
}
