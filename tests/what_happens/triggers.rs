//! What SQL does at its author's, and what of it others see: the app's own triggers, REPLACE, upserts, savepoints.

use crate::case::{Who::*, case};

const NOTES: &str = "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT, stars DEFAULT 3);
                     INSERT INTO notes VALUES ('n', 'title', 1)";

#[test]
fn an_index_kept_by_the_apps_triggers_covers_what_came_from_others() {
    case(
        "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT);
          CREATE TABLE words (word TEXT, id TEXT, PRIMARY KEY (word, id));
          CREATE TRIGGER added AFTER INSERT ON notes BEGIN INSERT INTO words VALUES (NEW.title, NEW.id); END;
          CREATE TRIGGER gone AFTER DELETE ON notes BEGIN DELETE FROM words WHERE id = OLD.id; END;
          CREATE TRIGGER changed AFTER UPDATE ON notes BEGIN
            DELETE FROM words WHERE id = OLD.id; INSERT INTO words VALUES (NEW.title, NEW.id);
          END;
          INSERT INTO notes VALUES ('m', 'other'), ('n', 'title')",
    )
    .leaves("words")
    .a("UPDATE notes SET title = 'by a' WHERE id = 'n'; INSERT INTO notes VALUES ('x', 'new')")
    .b("UPDATE notes SET title = 'by b' WHERE id = 'n'; DELETE FROM notes WHERE id = 'm'")
    .meet()
    .shows("notes", &["'n', 'by b'", "'x', 'new'"])
    .shows("words", &["'by b', 'n'", "'new', 'x'"])
    .conflict("notes 'n' title: 'by b' over 'by a'")
    .holds();
}

#[test]
fn a_merged_row_that_a_trigger_of_the_app_refuses_is_parked() {
    case("CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT)")
        .schemas_differ()
        .b("CREATE TRIGGER no_rude BEFORE INSERT ON notes WHEN NEW.title = 'rude'
            BEGIN SELECT raise(ABORT, 'mind your words'); END")
        .a("INSERT INTO notes VALUES ('n', 'rude'), ('o', 'kind')")
        .meet()
        .shows_at(A, "notes", &["'n', 'rude'", "'o', 'kind'"])
        .shows_at(B, "notes", &["'o', 'kind'"])
        .parks_at(B, "notes", "'n'", "mind your words")
        .a("UPDATE notes SET title = 'kind now' WHERE id = 'n'")
        .meet()
        .shows("notes", &["'n', 'kind now'", "'o', 'kind'"])
        .holds();
}

#[test]
fn a_merged_row_for_which_a_trigger_rolls_everything_back_is_parked_alone() {
    case("CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT)")
        .schemas_differ()
        .b("CREATE TRIGGER no_rude BEFORE INSERT ON notes WHEN NEW.title = 'rude'
            BEGIN SELECT raise(ROLLBACK, 'mind your words'); END")
        .a("INSERT INTO notes VALUES ('n', 'rude'), ('o', 'kind')")
        .meet()
        .shows_at(B, "notes", &["'o', 'kind'"])
        .parks_at(B, "notes", "'n'", "rolls back")
        .holds();
}

#[test]
fn replace_under_the_same_key_is_an_edit_of_what_it_changes() {
    case(NOTES)
        .a("INSERT OR REPLACE INTO notes VALUES ('n', 'by a', 1)")
        .b("UPDATE notes SET stars = 9")
        .meet()
        .shows("notes", &["'n', 'by a', 9"])
        .holds();
}

#[test]
fn a_column_that_replace_does_not_name_takes_its_default() {
    case(NOTES)
        .a("INSERT OR REPLACE INTO notes (id, title) VALUES ('n', 'by a')")
        .b("UPDATE notes SET stars = 9")
        .meet()
        .shows("notes", &["'n', 'by a', 9"])
        .conflict("notes 'n' stars: 9 over 3")
        .holds();
}

#[test]
fn two_upserts_under_one_new_key_are_one_row() {
    case(NOTES)
        .a("INSERT INTO notes VALUES ('x', 'by a', 1) ON CONFLICT (id) DO UPDATE SET stars = stars + 1")
        .a("INSERT INTO notes VALUES ('x', 'by a', 1) ON CONFLICT (id) DO UPDATE SET stars = stars + 1")
        .b("INSERT INTO notes VALUES ('x', 'by a', 1) ON CONFLICT (id) DO UPDATE SET stars = stars + 1")
        .meet()
        .shows("notes", &["'n', 'title', 1", "'x', 'by a', 1"])
        .conflict("notes 'x' stars: 1 over 2")
        .holds();
}

#[test]
fn an_insert_that_is_ignored_is_nothing() {
    case(NOTES)
        .a("INSERT OR IGNORE INTO notes VALUES ('n', 'ignored', 0)")
        .b("UPDATE notes SET title = 'by b'")
        .meet()
        .shows("notes", &["'n', 'by b', 1"])
        .holds();
}

#[test]
fn what_is_rolled_back_never_was() {
    case(NOTES)
        .a("BEGIN; UPDATE notes SET stars = 5; SAVEPOINT s; UPDATE notes SET title = 'no'; DELETE FROM notes;
            ROLLBACK TO s; COMMIT")
        .a("BEGIN; DELETE FROM notes; ROLLBACK")
        .b("UPDATE notes SET title = 'by b'")
        .meet()
        .shows("notes", &["'n', 'by b', 5"])
        .holds();
}

#[test]
fn a_row_that_comes_and_goes_before_anybody_sees_it_never_was() {
    case(NOTES)
        .a("INSERT INTO notes VALUES ('x', 'short-lived', 0); DELETE FROM notes WHERE id = 'x'")
        .b("INSERT INTO notes VALUES ('y', 'by b', 0)")
        .meet()
        .shows("notes", &["'n', 'title', 1", "'y', 'by b', 0"])
        .holds();
}

#[test]
fn a_later_transaction_shows_only_after_the_one_it_builds_on() {
    case(NOTES)
        .a("BEGIN; INSERT INTO notes VALUES ('1', 'first', 0); UPDATE notes SET stars = 5 WHERE id = 'n'; COMMIT")
        .meet_of(&[A, B])
        .b("BEGIN; DELETE FROM notes WHERE id = '1'; INSERT INTO notes VALUES ('2', 'second', 0); COMMIT")
        .meet_of(&[B, C])
        .shows("notes", &["'2', 'second', 0", "'n', 'title', 5"])
        .c("UPDATE notes SET title = 'third' WHERE id = '2'")
        .meet()
        .shows("notes", &["'2', 'third', 0", "'n', 'title', 5"])
        .holds();
}

#[test]
fn a_merged_row_that_a_trigger_refused_shows_once_the_trigger_is_gone() {
    case(
        "CREATE TABLE t (k TEXT PRIMARY KEY, v);
         CREATE TRIGGER never BEFORE INSERT ON t WHEN NEW.v = 'bad' BEGIN SELECT RAISE(ABORT, 'no bad ones'); END;
         INSERT INTO t VALUES ('a', 'good'), ('b', 'good')",
    )
    .schemas_differ()
    .b("DROP TRIGGER never; INSERT INTO t VALUES ('c', 'bad'), ('d', 'good')")
    .c("DROP TRIGGER IF EXISTS never")
    .meet()
    .shows_at(A, "t", &["'a', 'good'", "'b', 'good'", "'d', 'good'"])
    .shows_at(B, "t", &["'a', 'good'", "'b', 'good'", "'c', 'bad'", "'d', 'good'"])
    .parks_at(A, "t", "'c'", "no bad ones")
    .a("DROP TRIGGER never")
    .meet()
    .shows("t", &["'a', 'good'", "'b', 'good'", "'c', 'bad'", "'d', 'good'"])
    .holds();
}

/// A trigger that fails under `OR FAIL` ends the statement and leaves the row in the table. Triggers that would have run after
/// it do not run; if ours were among them, nobody knew of the row.
#[test]
fn a_row_that_stays_though_a_later_trigger_of_the_app_fails_is_captured() {
    const UNIQUE: &str = "UNIQUE constraint failed: log.v";
    let logs = |event: &str, row: &str| {
        format!(
            "CREATE TRIGGER logs_{event} AFTER {event} ON t BEGIN INSERT INTO log VALUES ({row}.v || '{event}'); END;"
        )
    };
    case("CREATE TABLE t (k TEXT PRIMARY KEY, v); CREATE TABLE log (v UNIQUE)")
        .leaves("log")
        .schemas_differ()
        .a(&(logs("INSERT", "NEW") + &logs("UPDATE", "NEW") + &logs("DELETE", "OLD")))
        .a("INSERT INTO t VALUES ('a', 1), ('gone', 2); INSERT INTO log VALUES ('3INSERT'), ('3UPDATE')")
        .refused(A, "INSERT OR FAIL INTO t VALUES ('b', 3)", UNIQUE)
        .refused(A, "UPDATE OR FAIL t SET v = 3 WHERE k = 'a'", UNIQUE)
        .a("DELETE FROM log WHERE v GLOB '*DELETE'; DROP TRIGGER logs_DELETE;
            CREATE TRIGGER logs_delete AFTER DELETE ON t BEGIN SELECT RAISE(FAIL, 'no'); END")
        .refused(A, "DELETE FROM t WHERE k = 'gone'", "no")
        .meet()
        .shows("t", &["'a', 3", "'b', 3"])
        .holds();
}

/// RAISE(FAIL) keeps what the statement did before it. The row that was refused stood in its table, equal to its document, and
/// was taken for one that is admitted.
#[test]
fn a_merged_row_that_a_trigger_refuses_is_parked_whichever_way_the_trigger_raises() {
    const ROWS: &str = "SELECT k, v FROM t ORDER BY k";
    for raise in ["ABORT", "FAIL", "ROLLBACK"] {
        for writes in ["", "UPDATE t SET seen = 1 WHERE k = NEW.k;"] {
            let refused = case(&format!(
                "CREATE TABLE t (k TEXT PRIMARY KEY, v, seen);
                 CREATE TABLE may (what TEXT);
                 CREATE TRIGGER refuses_insert AFTER INSERT ON t WHEN NOT EXISTS (SELECT 1 FROM may) BEGIN
                   {writes} SELECT RAISE({raise}, 'not here') WHERE NEW.v = 'bad';
                 END;
                 CREATE TRIGGER refuses_update AFTER UPDATE OF v ON t WHEN NOT EXISTS (SELECT 1 FROM may) BEGIN
                   {writes} SELECT RAISE({raise}, 'not here') WHERE NEW.v = 'bad';
                 END;
                 INSERT INTO t (k, v) VALUES ('old', 'good')"
            ))
            .leaves("may")
            .schemas_differ()
            .a("INSERT INTO may VALUES ('everything')")
            .a("INSERT INTO t (k, v) VALUES ('new', 'bad'), ('fine', 'good')")
            .a("UPDATE t SET v = 'bad' WHERE k = 'old'")
            .meet()
            .shows_at(B, ROWS, &["'fine', 'good'"])
            .parks_at(B, "t", "'new'", "")
            .parks_at(B, "t", "'old'", "")
            .parks_at(C, "t", "'new'", "")
            .parks_at(C, "t", "'old'", "");
            if raise == "ROLLBACK" {
                // It is tried again once the schema has changed.
                refused.holds();
                continue;
            }
            let better = ["'fine', 'better'", "'new', 'better'", "'old', 'better'"];
            refused.a("UPDATE t SET v = 'better'").meet().shows(ROWS, &better).holds();
        }
    }
}
