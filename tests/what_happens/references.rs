//! Rows that refer to others. A row whose parent is not there is parked until it is. What ON DELETE and ON UPDATE did at
//! their author's is part of what the author wrote; nothing of the kind runs anywhere else.

use crate::case::{Who::*, case};

fn albums(action: &str) -> String {
    format!(
        "CREATE TABLE albums (id TEXT PRIMARY KEY, title TEXT);
         CREATE TABLE tracks (id TEXT PRIMARY KEY, album TEXT REFERENCES albums (id) {action}, title TEXT);
         INSERT INTO albums VALUES ('a1', 'one'), ('a2', 'two');
         INSERT INTO tracks VALUES ('t1', 'a1', 'first'), ('t2', 'a2', 'second')"
    )
}

#[test]
fn a_child_added_while_its_parent_is_deleted_is_parked() {
    case(&albums("ON DELETE CASCADE"))
        .a("DELETE FROM albums WHERE id = 'a1'")
        .b("INSERT INTO tracks VALUES ('t3', 'a1', 'by b')")
        .meet()
        .shows("albums", &["'a2', 'two'"])
        .shows("tracks", &["'t2', 'a2', 'second'"])
        .parks("tracks", "'t3'", "FOREIGN KEY")
        .holds();
}

#[test]
fn a_child_parked_for_its_parent_returns_with_it() {
    case(&albums("ON DELETE CASCADE"))
        .a("DELETE FROM albums WHERE id = 'a1'")
        .b("INSERT INTO tracks VALUES ('t3', 'a1', 'by b')")
        .meet()
        .parks("tracks", "'t3'", "FOREIGN KEY")
        .a("INSERT INTO albums VALUES ('a1', 'again')")
        .meet()
        .shows("albums", &["'a1', 'again'", "'a2', 'two'"])
        .shows("tracks", &["'t2', 'a2', 'second'", "'t3', 'a1', 'by b'"])
        .holds();
}

#[test]
fn a_child_parked_for_its_parent_is_repaired_by_inserting_it_with_another() {
    case(&albums("ON DELETE CASCADE"))
        .a("DELETE FROM albums WHERE id = 'a1'")
        .b("INSERT INTO tracks VALUES ('t3', 'a1', 'by b')")
        .meet()
        .parks("tracks", "'t3'", "FOREIGN KEY")
        .b("INSERT INTO tracks VALUES ('t3', 'a2', 'by b')")
        .meet()
        .shows("tracks", &["'t2', 'a2', 'second'", "'t3', 'a2', 'by b'"])
        .conflict("tracks 't3' album: 'a2' over 'a1'")
        .holds();
}

#[test]
fn what_a_cascade_deleted_is_deleted_everywhere() {
    case(&albums("ON DELETE CASCADE"))
        .a("DELETE FROM albums WHERE id = 'a1'")
        .b("UPDATE tracks SET title = 'by b' WHERE id = 't2'")
        .meet()
        .shows("albums", &["'a2', 'two'"])
        .shows("tracks", &["'t2', 'a2', 'by b'"])
        .holds();
}

#[test]
fn a_child_edited_while_a_cascade_deletes_it_lives_and_is_parked_for_its_parent() {
    case(&albums("ON DELETE CASCADE"))
        .a("DELETE FROM albums WHERE id = 'a1'")
        .b("UPDATE tracks SET title = 'by b' WHERE id = 't1'")
        .meet()
        .shows("tracks", &["'t2', 'a2', 'second'"])
        .parks("tracks", "'t1'", "FOREIGN KEY")
        .holds();
}

#[test]
fn a_parent_edited_while_it_is_deleted_lives_and_the_children_that_went_along_do_not() {
    case(&albums("ON DELETE CASCADE"))
        .a("DELETE FROM albums WHERE id = 'a1'")
        .b("UPDATE albums SET title = 'by b' WHERE id = 'a1'; INSERT INTO tracks VALUES ('t3', 'a1', 'by b')")
        .meet()
        .shows("albums", &["'a1', 'by b'", "'a2', 'two'"])
        .shows("tracks", &["'t2', 'a2', 'second'", "'t3', 'a1', 'by b'"])
        .holds();
}

#[test]
fn what_set_null_wrote_is_an_edit_like_any_other() {
    case(&albums("ON DELETE SET NULL"))
        .a("DELETE FROM albums WHERE id = 'a1'")
        .b("UPDATE tracks SET title = 'by b' WHERE id = 't1'")
        .meet()
        .shows("albums", &["'a2', 'two'"])
        .shows("tracks", &["'t1', NULL, 'by b'", "'t2', 'a2', 'second'"])
        .holds();
}

#[test]
fn a_child_moved_away_while_set_null_empties_its_reference_is_where_it_was_moved() {
    case(&albums("ON DELETE SET NULL"))
        .a("DELETE FROM albums WHERE id = 'a1'")
        .b("UPDATE tracks SET album = 'a2' WHERE id = 't1'")
        .meet()
        .shows("tracks", &["'t1', 'a2', 'first'", "'t2', 'a2', 'second'"])
        .conflict("tracks 't1' album: 'a2' over NULL")
        .holds();
}

#[test]
fn a_child_moved_to_a_parent_that_another_deletes_is_parked() {
    case(&albums("ON DELETE SET NULL"))
        .a("UPDATE tracks SET album = 'a2' WHERE id = 't1'")
        .b("DELETE FROM albums WHERE id = 'a2'")
        .meet()
        .shows("tracks", &["'t2', NULL, 'second'"])
        .parks("tracks", "'t1'", "FOREIGN KEY")
        .holds();
}

#[test]
fn a_delete_that_restrict_allowed_parks_the_child_that_it_could_not_know() {
    case(&albums("ON DELETE RESTRICT"))
        .refused(A, "DELETE FROM albums WHERE id = 'a1'", "FOREIGN KEY")
        .a("DELETE FROM tracks WHERE id = 't1'; DELETE FROM albums WHERE id = 'a1'")
        .b("INSERT INTO tracks VALUES ('t3', 'a1', 'by b')")
        .meet()
        .shows("albums", &["'a2', 'two'"])
        .shows("tracks", &["'t2', 'a2', 'second'"])
        .parks("tracks", "'t3'", "FOREIGN KEY")
        .holds();
}

#[test]
fn what_a_cascade_of_a_key_change_wrote_is_an_edit_and_a_child_of_the_old_key_is_parked() {
    case(&albums("ON UPDATE CASCADE"))
        .a("UPDATE albums SET id = 'a9' WHERE id = 'a1'")
        .b("INSERT INTO tracks VALUES ('t3', 'a1', 'by b'); UPDATE tracks SET title = 'by b' WHERE id = 't1'")
        .meet()
        .shows("albums", &["'a2', 'two'", "'a9', 'one'"])
        .shows("tracks", &["'t1', 'a9', 'by b'", "'t2', 'a2', 'second'"])
        .parks("tracks", "'t3'", "FOREIGN KEY")
        .holds();
}

#[test]
fn a_parent_and_its_child_arrive_together_in_whatever_order_their_tables_were_made() {
    case(
        "CREATE TABLE tracks (id TEXT PRIMARY KEY, album TEXT NOT NULL REFERENCES albums (id));
          CREATE TABLE albums (id TEXT PRIMARY KEY)",
    )
    .a("INSERT INTO albums VALUES ('a1')")
    .a("INSERT INTO tracks VALUES ('t1', 'a1')")
    .b("BEGIN; INSERT INTO albums VALUES ('a2'); INSERT INTO tracks VALUES ('t2', 'a2'); COMMIT")
    .meet()
    .shows("albums", &["'a1'", "'a2'"])
    .shows("tracks", &["'t1', 'a1'", "'t2', 'a2'"])
    .holds();
}

const TREE: &str = "CREATE TABLE folders (id TEXT PRIMARY KEY,
                                          parent TEXT REFERENCES folders (id) ON DELETE CASCADE, name TEXT);
                    INSERT INTO folders VALUES ('root', NULL, 'root'), ('x', 'root', 'x'), ('y', 'root', 'y')";

#[test]
fn a_whole_branch_is_parked_for_the_root_that_is_gone_and_returns_with_it() {
    case(TREE)
        .a("DELETE FROM folders WHERE id = 'x'")
        .b("INSERT INTO folders VALUES ('x1', 'x', 'by b'), ('x2', 'x1', 'by b'), ('x3', 'x2', 'by b')")
        .meet()
        .shows("folders", &["'root', NULL, 'root'", "'y', 'root', 'y'"])
        .parks("folders", "'x1'", "FOREIGN KEY")
        .parks("folders", "'x2'", "FOREIGN KEY")
        .parks("folders", "'x3'", "FOREIGN KEY")
        .b("INSERT INTO folders VALUES ('x', 'y', 'elsewhere')")
        .meet()
        .shows(
            "folders",
            &[
                "'root', NULL, 'root'",
                "'x', 'y', 'elsewhere'",
                "'x1', 'x', 'by b'",
                "'x2', 'x1', 'by b'",
                "'x3', 'x2', 'by b'",
                "'y', 'root', 'y'",
            ],
        )
        .holds();
}

#[test]
fn two_moves_that_make_a_ring_together_leave_a_ring_and_park_nobody() {
    case(TREE)
        .a("UPDATE folders SET parent = 'y' WHERE id = 'x'")
        .b("UPDATE folders SET parent = 'x' WHERE id = 'y'")
        .meet()
        .shows("folders", &["'root', NULL, 'root'", "'x', 'y', 'x'", "'y', 'x', 'y'"])
        .holds();
}

#[test]
fn a_row_that_is_its_own_parent_is_never_parked_for_it() {
    case("CREATE TABLE people (id TEXT PRIMARY KEY, boss TEXT NOT NULL REFERENCES people (id))")
        .a("INSERT INTO people VALUES ('p1', 'p1'), ('p2', 'p1')")
        .b("INSERT INTO people VALUES ('p3', 'p3')")
        .meet()
        .shows("people", &["'p1', 'p1'", "'p2', 'p1'", "'p3', 'p3'"])
        .holds();
}

#[test]
fn a_reference_to_null_asks_for_no_parent() {
    case(&albums(""))
        .a("INSERT INTO tracks VALUES ('t3', NULL, 'by a')")
        .b("DELETE FROM tracks WHERE id = 't1'; DELETE FROM albums WHERE id = 'a1'")
        .meet()
        .shows("tracks", &["'t2', 'a2', 'second'", "'t3', NULL, 'by a'"])
        .holds();
}

#[test]
fn a_reference_of_two_columns_asks_for_both_or_for_none() {
    case(
        "CREATE TABLE seats (hall TEXT, seat INTEGER, PRIMARY KEY (hall, seat));
          CREATE TABLE tickets (id TEXT PRIMARY KEY, hall TEXT, seat INTEGER,
                                FOREIGN KEY (hall, seat) REFERENCES seats (hall, seat));
          INSERT INTO seats VALUES ('red', 1), ('red', 2)",
    )
    .a("DELETE FROM seats WHERE seat = 1")
    .b("INSERT INTO tickets VALUES ('t1', 'red', 1), ('t2', 'red', 2), ('t3', 'red', NULL)")
    .meet()
    .shows("seats", &["'red', 2"])
    .shows("tickets", &["'t2', 'red', 2", "'t3', 'red', NULL"])
    .parks("tickets", "'t1'", "FOREIGN KEY")
    .holds();
}

#[test]
fn a_reference_to_a_unique_column_asks_for_its_value() {
    case(
        "CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT UNIQUE);
          CREATE TABLE mails (id TEXT PRIMARY KEY, sender TEXT REFERENCES users (email));
          INSERT INTO users VALUES ('u', 'old@x')",
    )
    .a("UPDATE users SET email = 'new@x'")
    .b("INSERT INTO mails VALUES ('m', 'old@x')")
    .meet()
    .shows("users", &["'u', 'new@x'"])
    .shows("mails", &[])
    .parks("mails", "'m'", "FOREIGN KEY")
    .b("INSERT INTO users VALUES ('v', 'old@x')")
    .meet()
    .shows("mails", &["'m', 'old@x'"])
    .holds();
}

#[test]
fn a_reference_finds_its_parent_by_the_collation_of_the_parents_key() {
    case(
        "CREATE TABLE words (word TEXT PRIMARY KEY COLLATE NOCASE);
          CREATE TABLE uses (id TEXT PRIMARY KEY, word TEXT REFERENCES words (word));
          INSERT INTO words VALUES ('Hello')",
    )
    .a("UPDATE words SET word = 'HELLO'")
    .b("INSERT INTO uses VALUES ('u', 'hello')")
    .meet()
    .shows("words", &["'HELLO'"])
    .shows("uses", &["'u', 'hello'"])
    .holds();
}

#[test]
fn the_child_of_a_row_that_is_parked_is_parked_with_it() {
    case(
        "CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT UNIQUE);
          CREATE TABLE notes (id TEXT PRIMARY KEY, owner TEXT REFERENCES users (id))",
    )
    .a("INSERT INTO users VALUES ('u1', 'same@x'); INSERT INTO notes VALUES ('n1', 'u1')")
    .b("INSERT INTO users VALUES ('u2', 'same@x'); INSERT INTO notes VALUES ('n2', 'u2')")
    .meet()
    .shows("users", &["'u1', 'same@x'"])
    .shows("notes", &["'n1', 'u1'"])
    .parks("notes", "'n2'", "FOREIGN KEY")
    .parks("users", "'u2'", "UNIQUE")
    .a("UPDATE users SET email = 'other@x'")
    .meet()
    .shows("users", &["'u1', 'other@x'", "'u2', 'same@x'"])
    .shows("notes", &["'n1', 'u1'", "'n2', 'u2'"])
    .holds();
}

#[test]
fn a_row_parked_for_its_parent_goes_on_holding_its_unique_value() {
    case(
        "CREATE TABLE albums (id TEXT PRIMARY KEY);
          CREATE TABLE tracks (id TEXT PRIMARY KEY, album TEXT REFERENCES albums (id), code TEXT UNIQUE);
          INSERT INTO albums VALUES ('a1'), ('a2')",
    )
    .a("DELETE FROM albums WHERE id = 'a1'")
    .b("INSERT INTO tracks VALUES ('t1', 'a1', 'code')")
    .c("INSERT INTO tracks VALUES ('t2', 'a2', 'code')")
    .meet()
    .shows("tracks", &[])
    .parks("tracks", "'t1'", "FOREIGN KEY")
    .parks("tracks", "'t2'", "UNIQUE")
    .a("INSERT INTO albums VALUES ('a1')")
    .meet()
    .shows("tracks", &["'t1', 'a1', 'code'"])
    .parks("tracks", "'t2'", "UNIQUE")
    .holds_of_three();
}

#[test]
fn the_child_of_a_row_that_does_not_fit_by_itself_is_parked_with_it() {
    case(
        "CREATE TABLE shifts (id TEXT PRIMARY KEY, begins, ends, CHECK (begins < ends));
          CREATE TABLE tasks (id TEXT PRIMARY KEY, shift TEXT REFERENCES shifts (id));
          INSERT INTO shifts VALUES ('s', 8, 16); INSERT INTO tasks VALUES ('t', 's')",
    )
    .a("UPDATE shifts SET begins = 15")
    .b("UPDATE shifts SET ends = 9")
    .meet()
    .shows("shifts", &[])
    .shows("tasks", &[])
    .parks("shifts", "'s'", "CHECK")
    .parks("tasks", "'t'", "FOREIGN KEY")
    .b("INSERT INTO shifts VALUES ('s', 1, 9)")
    .meet()
    .shows("shifts", &["'s', 1, 9"])
    .shows("tasks", &["'t', 's'"])
    .conflict("shifts 's' begins: 1 over 15")
    .holds();
}

#[test]
fn a_parent_deleted_by_one_and_a_child_deleted_by_another_leave_nothing_parked() {
    case(&albums(""))
        .a("DELETE FROM tracks WHERE id = 't1'; DELETE FROM albums WHERE id = 'a1'")
        .b("INSERT INTO tracks VALUES ('t3', 'a1', 'by b')")
        .b("DELETE FROM tracks WHERE id = 't3'")
        .meet()
        .shows("albums", &["'a2', 'two'"])
        .shows("tracks", &["'t2', 'a2', 'second'"])
        .holds();
}
