//! One deletes, another edits.

use driftless::TableOptions;

use crate::case::{Who::*, case};

const NOTES: &str = "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT, stars);
                     INSERT INTO notes VALUES ('m', 'other', 2), ('n', 'title', 1)";

fn deletes_win() -> TableOptions {
    TableOptions::default().deletes_win()
}

#[test]
fn an_edit_wins_over_a_delete_that_was_earlier_and_the_row_comes_back_whole() {
    case(NOTES)
        .a("DELETE FROM notes WHERE id = 'n'")
        .b("UPDATE notes SET stars = 9 WHERE id = 'n'")
        .meet()
        .shows("notes", &["'m', 'other', 2", "'n', 'title', 9"])
        .holds();
}

#[test]
fn an_edit_wins_over_a_delete_that_was_later() {
    case(NOTES)
        .a("UPDATE notes SET stars = 9 WHERE id = 'n'")
        .b("DELETE FROM notes WHERE id = 'n'")
        .meet()
        .shows("notes", &["'m', 'other', 2", "'n', 'title', 9"])
        .holds();
}

#[test]
fn an_edit_wins_over_two_deletes() {
    case(NOTES)
        .b("DELETE FROM notes WHERE id = 'n'")
        .a("UPDATE notes SET stars = 9 WHERE id = 'n'")
        .c("DELETE FROM notes WHERE id = 'n'")
        .meet()
        .shows("notes", &["'m', 'other', 2", "'n', 'title', 9"])
        .holds();
}

#[test]
fn a_delete_by_whoever_has_seen_the_edit_is_a_delete() {
    case(NOTES)
        .a("UPDATE notes SET stars = 9 WHERE id = 'n'")
        .meet()
        .b("DELETE FROM notes WHERE id = 'n'")
        .meet()
        .shows("notes", &["'m', 'other', 2"])
        .holds();
}

#[test]
fn a_delete_by_whoever_has_seen_one_of_two_edits_does_not_reach_the_other() {
    case(NOTES)
        .a("UPDATE notes SET stars = 9 WHERE id = 'n'")
        .meet_of(&[A, B])
        .c("UPDATE notes SET title = 'by c' WHERE id = 'n'")
        .b("DELETE FROM notes WHERE id = 'n'")
        .meet()
        .shows("notes", &["'m', 'other', 2", "'n', 'by c', 9"])
        .holds_of_three();
}

#[test]
fn two_deletes_are_one() {
    case(NOTES)
        .a("DELETE FROM notes WHERE id = 'n'")
        .b("DELETE FROM notes WHERE id = 'n'")
        .meet()
        .shows("notes", &["'m', 'other', 2"])
        .holds();
}

#[test]
fn what_was_edited_before_the_delete_is_there_again_when_the_row_is() {
    case(NOTES)
        .a("UPDATE notes SET title = 'last words' WHERE id = 'n'")
        .a("DELETE FROM notes WHERE id = 'n'")
        .b("UPDATE notes SET stars = 9 WHERE id = 'n'")
        .meet()
        .shows("notes", &["'m', 'other', 2", "'n', 'last words', 9"])
        .holds();
}

#[test]
fn deleting_all_rows_leaves_those_that_others_add_meanwhile() {
    case(NOTES)
        .a("DELETE FROM notes")
        .b("INSERT INTO notes VALUES ('x', 'new', 0)")
        .meet()
        .shows("notes", &["'x', 'new', 0"])
        .holds();
}

#[test]
fn a_deleted_row_that_is_inserted_again_is_there_again() {
    case(NOTES)
        .a("DELETE FROM notes WHERE id = 'n'")
        .meet()
        .shows("notes", &["'m', 'other', 2"])
        .b("INSERT INTO notes (id, title) VALUES ('n', 'again')")
        .meet()
        .shows("notes", &["'m', 'other', 2", "'n', 'again', NULL"])
        .holds();
}

#[test]
fn deleted_and_inserted_again_by_one_is_an_edit_to_the_other() {
    case(NOTES)
        .a("DELETE FROM notes WHERE id = 'n'")
        .a("INSERT INTO notes VALUES ('n', 'anew', 5)")
        .b("UPDATE notes SET title = 'by b' WHERE id = 'n'")
        .meet()
        .shows("notes", &["'m', 'other', 2", "'n', 'by b', 5"])
        .conflict("notes 'n' title: 'by b' over 'anew'")
        .holds();
}

#[test]
fn a_row_inserted_again_by_two_is_one_row() {
    case(NOTES)
        .a("DELETE FROM notes WHERE id = 'n'")
        .meet()
        .a("INSERT INTO notes VALUES ('n', 'by a', 3)")
        .b("INSERT INTO notes VALUES ('n', 'by b', 3)")
        .meet()
        .shows("notes", &["'m', 'other', 2", "'n', 'by b', 3"])
        .conflict("notes 'n' title: 'by b' over 'by a'")
        .holds();
}

#[test]
fn a_row_inserted_again_while_another_deletes_it_stays() {
    case(NOTES)
        .a("DELETE FROM notes WHERE id = 'n'")
        .a("INSERT INTO notes VALUES ('n', 'anew', 5)")
        .b("DELETE FROM notes WHERE id = 'n'")
        .meet()
        .shows("notes", &["'m', 'other', 2", "'n', 'anew', 5"])
        .holds();
}

#[test]
fn a_deleted_row_has_no_conflicts() {
    case(NOTES)
        .a("UPDATE notes SET title = 'by a' WHERE id = 'n'")
        .b("UPDATE notes SET title = 'by b' WHERE id = 'n'")
        .meet()
        .conflict("notes 'n' title: 'by b' over 'by a'")
        .a("DELETE FROM notes WHERE id = 'n'")
        .meet()
        .shows("notes", &["'m', 'other', 2"])
        .holds();
}

#[test]
fn a_delete_wins_over_an_edit_where_the_table_says_so_whoever_was_later() {
    case(NOTES)
        .with("notes", deletes_win)
        .a("DELETE FROM notes WHERE id = 'n'")
        .b("DELETE FROM notes WHERE id = 'm'; UPDATE notes SET stars = 9 WHERE id = 'n'")
        .a("UPDATE notes SET stars = 8 WHERE id = 'm'")
        .meet()
        .shows("notes", &[])
        .holds();
}

#[test]
fn where_deletes_win_a_row_inserted_after_the_delete_was_seen_lives() {
    case(NOTES)
        .with("notes", deletes_win)
        .a("DELETE FROM notes WHERE id = 'n'")
        .b("UPDATE notes SET stars = 9 WHERE id = 'n'")
        .meet()
        .shows("notes", &["'m', 'other', 2"])
        .b("INSERT INTO notes VALUES ('n', 'again', 4)")
        .meet()
        .shows("notes", &["'m', 'other', 2", "'n', 'again', 4"])
        .holds();
}
