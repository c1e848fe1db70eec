//! Files that are copied, restored, cloned, or opened again.

use crate::case::{Who::*, case};

const NOTES: &str = "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT);
                     INSERT INTO notes VALUES ('n', 'title')";

#[test]
fn a_copy_of_a_file_is_one_more_replica_and_what_both_write_is_kept() {
    case(NOTES)
        .a("INSERT INTO notes VALUES ('1', 'before the copy')")
        .copies(A, C)
        .a("INSERT INTO notes VALUES ('2', 'at the original'); UPDATE notes SET title = 'by a' WHERE id = 'n'")
        .c("INSERT INTO notes VALUES ('3', 'at the copy'); UPDATE notes SET title = 'by the copy' WHERE id = 'n'")
        .meet()
        .shows(
            "notes",
            &["'1', 'before the copy'", "'2', 'at the original'", "'3', 'at the copy'", "'n', 'by the copy'"],
        )
        .conflict("notes 'n' title: 'by the copy' over 'by a'")
        .holds();
}

#[test]
fn a_copy_with_unsent_work_sends_it_once_more_without_harm() {
    case(NOTES)
        .a("UPDATE notes SET title = 'unsent'")
        .a("INSERT INTO notes VALUES ('1', 'unsent too')")
        .copies(A, C)
        .meet_of(&[B, C])
        .shows("notes", &["'1', 'unsent too'", "'n', 'unsent'"])
        .a("UPDATE notes SET title = 'and after the copy' WHERE id = 'n'")
        .meet()
        .shows("notes", &["'1', 'unsent too'", "'n', 'and after the copy'"])
        .holds_of_three();
}

#[test]
fn a_copy_of_a_copy_is_one_more_replica() {
    case(NOTES)
        .a("INSERT INTO notes VALUES ('1', 'at the original')")
        .copies(A, B)
        .b("INSERT INTO notes VALUES ('2', 'at the copy')")
        .copies(B, C)
        .c("INSERT INTO notes VALUES ('3', 'at the copy of the copy')")
        .a("INSERT INTO notes VALUES ('4', 'at the original')")
        .b("INSERT INTO notes VALUES ('5', 'at the copy')")
        .meet()
        .shows(
            "notes",
            &[
                "'1', 'at the original'",
                "'2', 'at the copy'",
                "'3', 'at the copy of the copy'",
                "'4', 'at the original'",
                "'5', 'at the copy'",
                "'n', 'title'",
            ],
        )
        .holds_of_three();
}

#[test]
fn what_vacuum_into_makes_is_one_more_replica() {
    case(NOTES)
        .a("INSERT INTO notes VALUES ('1', 'unsent')")
        .vacuums(A, C)
        .a("DELETE FROM notes WHERE id = 'n'")
        .c("UPDATE notes SET title = 'at the copy' WHERE id = 'n'")
        .meet()
        .shows("notes", &["'1', 'unsent'", "'n', 'at the copy'"])
        .holds();
}

#[test]
fn a_clone_has_all_the_rows_and_no_conflict_with_them() {
    case(NOTES)
        .a("UPDATE notes SET title = 'by a'")
        .b("UPDATE notes SET title = 'by b'; INSERT INTO notes VALUES ('1', 'gone soon')")
        .meet()
        .conflict("notes 'n' title: 'by b' over 'by a'")
        .a("DELETE FROM notes WHERE id = '1'")
        .clones(A, C)
        .c("INSERT INTO notes VALUES ('2', 'at the clone')")
        .meet()
        .shows("notes", &["'2', 'at the clone'", "'n', 'by b'"])
        .conflict("notes 'n' title: 'by b' over 'by a'")
        .holds_of_three();
}

#[test]
fn a_restored_file_gets_back_what_it_had_sent_and_keeps_what_it_writes_now() {
    case(NOTES)
        .saves(A)
        .a("INSERT INTO notes VALUES ('1', 'after the backup'); UPDATE notes SET title = 'after the backup'")
        .meet()
        .restores(A)
        .a("INSERT INTO notes VALUES ('2', 'after the restore')")
        .b("INSERT INTO notes VALUES ('3', 'by b meanwhile')")
        .meet()
        .shows(
            "notes",
            &[
                "'1', 'after the backup'",
                "'2', 'after the restore'",
                "'3', 'by b meanwhile'",
                "'n', 'after the backup'",
            ],
        )
        .holds();
}

#[test]
fn a_restored_file_that_wrote_as_much_as_before_is_noticed_too() {
    case(NOTES)
        .saves(A)
        .a("INSERT INTO notes VALUES ('1', 'after the backup')")
        .meet()
        .restores(A)
        .a("INSERT INTO notes VALUES ('2', 'after the restore')")
        .a("INSERT INTO notes VALUES ('3', 'and more')")
        .meet()
        .shows(
            "notes",
            &["'1', 'after the backup'", "'2', 'after the restore'", "'3', 'and more'", "'n', 'title'"],
        )
        .holds();
}

#[test]
fn a_row_deleted_after_the_backup_is_deleted_again_and_edited_after_the_restore_it_lives() {
    case(
        "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT);
          INSERT INTO notes VALUES ('m', 'other'), ('n', 'title')",
    )
    .saves(A)
    .a("DELETE FROM notes")
    .meet()
    .shows("notes", &[])
    .restores(A)
    .a("UPDATE notes SET title = 'after the restore' WHERE id = 'n'")
    .meet()
    .shows("notes", &["'n', 'after the restore'"])
    .holds();
}

#[test]
fn what_is_written_while_no_engine_runs_is_captured_when_one_does() {
    case(NOTES)
        .a("UPDATE notes SET title = 'first'")
        .reopens(A)
        .a("UPDATE notes SET title = 'second'")
        .reopens(A)
        .b("INSERT INTO notes VALUES ('1', 'by b')")
        .reopens(B)
        .meet()
        .shows("notes", &["'1', 'by b'", "'n', 'second'"])
        .holds();
}
