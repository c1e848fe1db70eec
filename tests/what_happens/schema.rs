//! Versions of an app meet: one has columns, tables or constraints that another has not.
//!
//! Where the definitions differ the tables cannot be equal; what each shows is said by the case.

use crate::case::{Who::*, case};

const NOTES: &str = "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT);
                     INSERT INTO notes VALUES ('m', 'other'), ('n', 'title')";

#[test]
fn what_is_written_in_a_column_that_another_lacks_shows_there_when_it_has_the_column() {
    case(NOTES)
        .schemas_differ()
        .a("ALTER TABLE notes ADD COLUMN stars INTEGER; UPDATE notes SET stars = 5 WHERE id = 'n'")
        .b("UPDATE notes SET title = 'by b' WHERE id = 'n'")
        .meet()
        .shows_at(A, "notes", &["'m', 'other', NULL", "'n', 'by b', 5"])
        .shows_at(B, "notes", &["'m', 'other'", "'n', 'by b'"])
        .b("ALTER TABLE notes ADD COLUMN stars INTEGER")
        .meet()
        .shows_at(A, "notes", &["'m', 'other', NULL", "'n', 'by b', 5"])
        .shows_at(B, "notes", &["'m', 'other', NULL", "'n', 'by b', 5"])
        .holds();
}

#[test]
fn the_default_of_a_column_that_comes_later_is_written_over_nobody() {
    case(NOTES)
        .schemas_differ()
        .a("ALTER TABLE notes ADD COLUMN stars DEFAULT 7; UPDATE notes SET stars = 11 WHERE id = 'n'")
        .meet()
        .b("ALTER TABLE notes ADD COLUMN stars DEFAULT 7; UPDATE notes SET title = 'by b' WHERE id = 'n'")
        .meet()
        .shows_at(A, "notes", &["'m', 'other', 7", "'n', 'by b', 11"])
        .shows_at(B, "notes", &["'m', 'other', 7", "'n', 'by b', 11"])
        .holds();
}

#[test]
fn a_row_from_one_who_lacks_a_column_has_its_default_in_it() {
    case(NOTES)
        .schemas_differ()
        .a("ALTER TABLE notes ADD COLUMN stars NOT NULL DEFAULT 7")
        .b("INSERT INTO notes VALUES ('x', 'by b')")
        .meet()
        .shows_at(A, "SELECT * FROM notes WHERE id = 'x'", &["'x', 'by b', 7"])
        .shows_at(B, "SELECT * FROM notes WHERE id = 'x'", &["'x', 'by b'"])
        .holds();
}

#[test]
fn a_column_that_two_add_apart_is_one_column() {
    case(NOTES)
        .schemas_differ()
        .a("ALTER TABLE notes ADD COLUMN stars; UPDATE notes SET stars = 5")
        .b("ALTER TABLE notes ADD COLUMN stars; UPDATE notes SET stars = 6 WHERE id = 'n'")
        .meet()
        .shows_at(A, "notes", &["'m', 'other', 5", "'n', 'title', 6"])
        .shows_at(B, "notes", &["'m', 'other', 5", "'n', 'title', 6"])
        .conflict("notes 'n' stars: 6 over 5")
        .holds();
}

#[test]
fn columns_are_matched_by_name_whatever_their_order_and_their_capitals() {
    case("CREATE TABLE notes (id TEXT PRIMARY KEY)")
        .schemas_differ()
        .a("ALTER TABLE notes ADD COLUMN one; ALTER TABLE notes ADD COLUMN two")
        .b("ALTER TABLE notes ADD COLUMN TWO; ALTER TABLE notes ADD COLUMN One")
        .c("ALTER TABLE notes ADD COLUMN one; ALTER TABLE notes ADD COLUMN two")
        .a("INSERT INTO notes VALUES ('n', 1, 2)")
        .meet()
        .shows("SELECT id, one, two FROM notes", &["'n', 1, 2"])
        .b("UPDATE notes SET two = 22")
        .meet()
        .shows("SELECT id, one, two FROM notes", &["'n', 1, 22"])
        .holds_of_three();
}

#[test]
fn what_others_write_in_a_column_that_one_drops_is_there_when_it_is_added_again() {
    case(NOTES)
        .schemas_differ()
        .a("ALTER TABLE notes DROP COLUMN title")
        .b("UPDATE notes SET title = 'by b' WHERE id = 'n'")
        .meet()
        .shows_at(A, "notes", &["'m'", "'n'"])
        .shows_at(B, "notes", &["'m', 'other'", "'n', 'by b'"])
        .a("ALTER TABLE notes ADD COLUMN title TEXT")
        .meet()
        .shows_at(A, "notes", &["'m', 'other'", "'n', 'by b'"])
        .shows_at(B, "notes", &["'m', 'other'", "'n', 'by b'"])
        .holds();
}

#[test]
fn a_row_of_which_one_lacks_a_column_is_edited_there_without_harm_to_it() {
    case(NOTES)
        .schemas_differ()
        .a("ALTER TABLE notes ADD COLUMN stars; UPDATE notes SET stars = 5")
        .meet()
        .b("UPDATE notes SET title = 'by b' WHERE id = 'n'; DELETE FROM notes WHERE id = 'm'")
        .b("INSERT INTO notes VALUES ('m', 'anew')")
        .meet()
        .shows_at(A, "SELECT id, title FROM notes ORDER BY id", &["'m', 'anew'", "'n', 'by b'"])
        .shows_at(A, "SELECT stars FROM notes WHERE id = 'n'", &["5"])
        .shows_at(B, "notes", &["'m', 'anew'", "'n', 'by b'"])
        .holds();
}

#[test]
fn a_renamed_column_goes_on_under_either_name() {
    case(NOTES)
        .schemas_differ()
        .a("ALTER TABLE notes RENAME COLUMN title TO heading")
        .meet()
        .a("UPDATE notes SET heading = 'renamed' WHERE id = 'n'")
        .meet()
        .shows_at(A, "notes", &["'m', 'other'", "'n', 'renamed'"])
        .shows_at(B, "notes", &["'m', 'other'", "'n', 'renamed'"])
        .b("ALTER TABLE notes RENAME COLUMN title TO heading")
        .meet()
        .shows_at(A, "notes", &["'m', 'other'", "'n', 'renamed'"])
        .shows_at(B, "notes", &["'m', 'other'", "'n', 'renamed'"])
        .holds();
}

#[test]
fn the_rows_of_a_table_that_another_lacks_show_there_when_it_makes_and_tracks_it() {
    case(NOTES)
        .schemas_differ()
        .a("CREATE TABLE tags (tag TEXT PRIMARY KEY, note TEXT); INSERT INTO tags VALUES ('t', 'n')")
        .tracks(A, "tags")
        .a("INSERT INTO tags VALUES ('u', 'n')")
        .meet()
        .shows_at(B, "SELECT count(*) FROM sqlite_master WHERE name = 'tags'", &["0"])
        .b("CREATE TABLE tags (tag TEXT PRIMARY KEY, note TEXT); INSERT INTO tags VALUES ('v', 'm')")
        .tracks(B, "tags")
        .meet()
        .shows_at(A, "tags", &["'t', 'n'", "'u', 'n'", "'v', 'm'"])
        .shows_at(B, "tags", &["'t', 'n'", "'u', 'n'", "'v', 'm'"])
        .holds();
}

#[test]
fn dropping_a_table_deletes_nobody_elses_rows_and_they_show_when_it_is_made_again() {
    case(NOTES)
        .schemas_differ()
        .a("DROP TABLE notes")
        .b("UPDATE notes SET title = 'by b' WHERE id = 'n'")
        .meet()
        .shows_at(B, "notes", &["'m', 'other'", "'n', 'by b'"])
        .a("CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT)")
        .meet()
        .shows_at(A, "notes", &["'m', 'other'", "'n', 'by b'"])
        .shows_at(B, "notes", &["'m', 'other'", "'n', 'by b'"])
        .holds();
}

#[test]
fn a_table_that_is_tracked_again_sends_what_changed_here_and_shows_what_changed_elsewhere() {
    case(NOTES)
        .schemas_differ()
        .untracks(A, "notes")
        .a("UPDATE notes SET title = 'by a' WHERE id = 'm'; INSERT INTO notes VALUES ('x', 'new at a')")
        .b("UPDATE notes SET title = 'by b' WHERE id = 'n'; INSERT INTO notes VALUES ('y', 'new at b')")
        .meet()
        .shows_at(A, "notes", &["'m', 'by a'", "'n', 'title'", "'x', 'new at a'"])
        .shows_at(B, "notes", &["'m', 'other'", "'n', 'by b'", "'y', 'new at b'"])
        .tracks(A, "notes")
        .meet()
        .shows("notes", &["'m', 'by a'", "'n', 'by b'", "'x', 'new at a'", "'y', 'new at b'"])
        .holds();
}

#[test]
fn a_row_that_others_deleted_while_one_did_not_track_the_table_goes_when_it_does_again() {
    case(NOTES)
        .schemas_differ()
        .untracks(A, "notes")
        .b("DELETE FROM notes WHERE id = 'n'")
        .meet()
        .shows_at(A, "notes", &["'m', 'other'", "'n', 'title'"])
        .tracks(A, "notes")
        .meet()
        .shows("notes", &["'m', 'other'"])
        .holds();
}

#[test]
fn a_row_that_only_one_of_them_has_a_check_against_is_parked_there_until_it_fits() {
    case("CREATE TABLE tasks (id TEXT PRIMARY KEY, title TEXT)")
        .schemas_differ()
        .b("ALTER TABLE tasks ADD COLUMN urgency CHECK (urgency < 10)")
        .c("ALTER TABLE tasks ADD COLUMN urgency CHECK (urgency < 10)")
        .a("ALTER TABLE tasks ADD COLUMN urgency; INSERT INTO tasks VALUES ('t', 'title', 11)")
        .meet()
        .shows_at(A, "tasks", &["'t', 'title', 11"])
        .shows_at(B, "tasks", &[])
        .shows_at(C, "tasks", &[])
        .parks_at(B, "tasks", "'t'", "CHECK")
        .parks_at(C, "tasks", "'t'", "CHECK")
        .meet_of(&[B, C])
        .parks("tasks", "'t'", "CHECK")
        .a("UPDATE tasks SET urgency = 9")
        .meet()
        .shows("tasks", &["'t', 'title', 9"])
        .holds_of_three();
}

#[test]
fn a_row_from_one_who_lacks_a_column_that_another_must_fill_is_parked_there_until_it_is_filled() {
    case("CREATE TABLE tasks (id TEXT PRIMARY KEY, title TEXT)")
        .schemas_differ()
        .b("DROP TABLE tasks; CREATE TABLE tasks (id TEXT PRIMARY KEY, title TEXT, owner TEXT NOT NULL)")
        .a("INSERT INTO tasks VALUES ('t', 'title')")
        .meet()
        .shows_at(A, "tasks", &["'t', 'title'"])
        .shows_at(B, "tasks", &[])
        .parks_at(B, "tasks", "'t'", "NOT NULL")
        .b("INSERT INTO tasks VALUES ('t', 'title', 'by b')")
        .meet()
        .shows_at(A, "tasks", &["'t', 'title'"])
        .shows_at(B, "tasks", &["'t', 'title', 'by b'"])
        .holds();
}

#[test]
fn a_value_that_does_not_fit_the_type_of_a_strict_table_is_parked_there_and_nowhere_else() {
    case("CREATE TABLE tasks (id TEXT PRIMARY KEY, hours)")
        .schemas_differ()
        .b("DROP TABLE tasks; CREATE TABLE tasks (id TEXT PRIMARY KEY, hours INTEGER) STRICT")
        .a("INSERT INTO tasks VALUES ('t', 'many'), ('u', 3)")
        .meet()
        .shows_at(A, "tasks", &["'t', 'many'", "'u', 3"])
        .shows_at(B, "tasks", &["'u', 3"])
        .parks_at(B, "tasks", "'t'", "INTEGER")
        .a("UPDATE tasks SET hours = 40 WHERE id = 't'")
        .meet()
        .shows("tasks", &["'t', 40", "'u', 3"])
        .holds();
}

#[test]
fn a_generated_column_is_each_files_own() {
    case(
        "CREATE TABLE lines (id TEXT PRIMARY KEY, n INTEGER, price INTEGER,
                              total INTEGER GENERATED ALWAYS AS (n * price) STORED);
          INSERT INTO lines VALUES ('l', 2, 10)",
    )
    .a("UPDATE lines SET n = 3")
    .b("UPDATE lines SET price = 20")
    .meet()
    .shows("lines", &["'l', 3, 20, 60"])
    .holds();
}

#[test]
fn a_table_whose_rows_have_no_column_but_their_key_merges_too() {
    case(
        "CREATE TABLE tags (note TEXT, tag TEXT, PRIMARY KEY (note, tag)) WITHOUT ROWID;
          INSERT INTO tags VALUES ('n', 'old')",
    )
    .a("INSERT INTO tags VALUES ('n', 'by a'); DELETE FROM tags WHERE tag = 'old'")
    .b("INSERT INTO tags VALUES ('n', 'by a'), ('n', 'by b')")
    .meet()
    .shows("tags", &["'n', 'by a'", "'n', 'by b'"])
    .holds();
}
