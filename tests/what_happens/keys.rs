//! What is one row: keys, their collations and types, and what becomes of a row whose key changes.

use driftless::TableOptions;

use crate::case::{Who::*, case};

const NOTES: &str = "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT, stars);
                     INSERT INTO notes VALUES ('n', 'title', 1)";
const WORDS: &str = "CREATE TABLE words (word TEXT PRIMARY KEY COLLATE NOCASE, meaning TEXT, seen);
                     INSERT INTO words VALUES ('Hello', 'greeting', 1)";

#[test]
fn a_row_whose_key_one_changes_while_another_edits_it_is_there_under_both_keys() {
    case(NOTES)
        .a("UPDATE notes SET id = 'moved'")
        .b("UPDATE notes SET stars = 9")
        .meet()
        .shows("notes", &["'moved', 'title', 1", "'n', 'title', 9"])
        .holds();
}

#[test]
fn where_deletes_win_a_changed_key_leaves_nothing_under_the_old_one() {
    case(NOTES)
        .with("notes", || TableOptions::default().deletes_win())
        .a("UPDATE notes SET id = 'moved'")
        .b("UPDATE notes SET stars = 9")
        .meet()
        .shows("notes", &["'moved', 'title', 1"])
        .holds();
}

#[test]
fn a_key_that_two_change_differently_makes_two_rows() {
    case(NOTES)
        .a("UPDATE notes SET id = 'by a'")
        .b("UPDATE notes SET id = 'by b'")
        .meet()
        .shows("notes", &["'by a', 'title', 1", "'by b', 'title', 1"])
        .holds();
}

#[test]
fn a_key_that_two_change_alike_makes_one_row() {
    case(NOTES)
        .a("UPDATE notes SET id = 'moved', title = 'by a'")
        .b("UPDATE notes SET id = 'moved', stars = 9")
        .meet()
        .shows("notes", &["'moved', 'title', 9"])
        .conflict("notes 'moved' stars: 9 over 1")
        .conflict("notes 'moved' title: 'title' over 'by a'")
        .holds();
}

#[test]
fn a_key_that_goes_there_and_back_is_the_row_that_it_was() {
    case(NOTES)
        .a("UPDATE notes SET id = 'away'")
        .a("UPDATE notes SET id = 'n'")
        .b("UPDATE notes SET title = 'by b'")
        .meet()
        .shows("notes", &["'n', 'by b', 1"])
        .holds();
}

#[test]
fn keys_that_are_swapped_swap_everywhere() {
    case(
        "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT) WITHOUT ROWID;
          INSERT INTO notes VALUES ('m', 'was m'), ('n', 'was n')",
    )
    .a("BEGIN; UPDATE notes SET id = 'tmp' WHERE id = 'm'; UPDATE notes SET id = 'm' WHERE id = 'n';
            UPDATE notes SET id = 'n' WHERE id = 'tmp'; COMMIT")
    .meet()
    .shows("notes", &["'m', 'was n'", "'n', 'was m'"])
    .holds();
}

#[test]
fn a_key_taken_by_a_new_row_and_by_a_moved_one_is_one_row() {
    case(NOTES)
        .a("UPDATE notes SET id = 'x'")
        .b("INSERT INTO notes VALUES ('x', 'new', 1)")
        .meet()
        .shows("notes", &["'x', 'new', 1"])
        .conflict("notes 'x' title: 'new' over 'title'")
        .holds();
}

#[test]
fn rows_that_differ_in_one_part_of_a_composite_key_are_two() {
    case("CREATE TABLE seats (hall TEXT, seat INTEGER, guest TEXT, PRIMARY KEY (hall, seat))")
        .a("INSERT INTO seats VALUES ('red', 1, 'ann'), ('red', 2, 'bob')")
        .b("INSERT INTO seats VALUES ('blue', 1, 'cid'), ('red', 2, 'dan')")
        .meet()
        .shows("seats", &["'blue', 1, 'cid'", "'red', 1, 'ann'", "'red', 2, 'dan'"])
        .conflict("seats 'red', 2 guest: 'dan' over 'bob'")
        .holds();
}

#[test]
fn a_nocase_key_in_two_spellings_is_one_row() {
    case(WORDS)
        .a("UPDATE words SET meaning = 'by a' WHERE word = 'HELLO'")
        .b("UPDATE words SET seen = 9 WHERE word = 'hello'")
        .meet()
        .shows("words", &["'Hello', 'by a', 9"])
        .holds();
}

#[test]
fn a_nocase_key_that_two_insert_in_two_spellings_is_one_row_spelled_as_the_later_did() {
    case(WORDS)
        .a("INSERT INTO words VALUES ('Bye', 'farewell', 1)")
        .b("INSERT INTO words VALUES ('BYE', 'farewell', 1)")
        .meet()
        .shows("words", &["'BYE', 'farewell', 1", "'Hello', 'greeting', 1"])
        .conflict("words 'bye' word: 'BYE' over 'Bye'")
        .holds();
}

/// What the key's own canonical form says already is written nowhere else, so that keys cost nothing twice.
#[test]
fn a_nocase_key_inserted_in_small_letters_takes_the_capitals_of_the_other_whoever_was_later() {
    case(WORDS)
        .a("INSERT INTO words VALUES ('Bye', 'farewell', 1)")
        .b("INSERT INTO words VALUES ('bye', 'farewell', 1)")
        .meet()
        .shows("words", &["'Bye', 'farewell', 1", "'Hello', 'greeting', 1"])
        .holds();
}

#[test]
fn a_nocase_key_that_one_spells_anew_is_the_same_row_to_whoever_edits_it() {
    case(WORDS)
        .a("UPDATE words SET word = 'HELLO'")
        .b("UPDATE words SET seen = 9")
        .meet()
        .shows("words", &["'HELLO', 'greeting', 9"])
        .holds();
}

#[test]
fn a_nocase_key_that_one_spells_anew_is_the_same_row_to_whoever_deletes_it() {
    case(WORDS)
        .a("DELETE FROM words")
        .b("UPDATE words SET word = 'hello'")
        .meet()
        .shows("words", &["'hello', 'greeting', 1"])
        .holds();
}

#[test]
fn letters_beyond_ascii_differ_in_a_nocase_key_as_they_do_in_sqlite() {
    case(WORDS)
        .a("INSERT INTO words VALUES ('ÄRA', 'by a', 1)")
        .b("INSERT INTO words VALUES ('Ära', 'one with it', 1), ('ära', 'not one with it', 1)")
        .meet()
        .shows("SELECT count(*) FROM words", &["3"])
        .conflict("words 'Ära' meaning: 'one with it' over 'by a'")
        .holds();
}

#[test]
fn an_rtrim_key_with_and_without_spaces_at_its_end_is_one_row() {
    case("CREATE TABLE t (k TEXT PRIMARY KEY COLLATE RTRIM, v, w)")
        .a("INSERT INTO t VALUES ('x ', 1, 2)")
        .b("INSERT INTO t VALUES ('x  ', 1, 2)")
        .meet()
        .shows("t", &["'x  ', 1, 2"])
        .conflict("t 'x' k: 'x  ' over 'x '")
        .holds();
}

#[test]
fn the_keys_1_and_text_1_are_two_rows_and_1_and_1_0_are_one_as_in_sqlite() {
    case("CREATE TABLE t (k PRIMARY KEY, v)")
        .a("INSERT INTO t VALUES (1, 'by a')")
        .b("INSERT INTO t VALUES ('1', 'text'), (1.0, 'by b')")
        .meet()
        .shows("SELECT typeof(k), v FROM t ORDER BY 1", &["'real', 'by b'", "'text', 'text'"])
        .conflict("t 1 v: 'by b' over 'by a'")
        .holds();
}

#[test]
fn blob_keys_are_their_bytes() {
    case("CREATE TABLE t (k BLOB PRIMARY KEY, v) WITHOUT ROWID")
        .a("INSERT INTO t VALUES (x'00', 1), (x'', 2)")
        .b("INSERT INTO t VALUES (x'0000', 3), ('', 4)")
        .meet()
        .shows("t", &["'', 4", "x'', 2", "x'00', 1", "x'0000', 3"])
        .holds();
}

#[test]
fn an_integer_key_that_two_hand_out_is_one_row() {
    case("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT); INSERT INTO t (v) VALUES ('first')")
        .a("INSERT INTO t (v) VALUES ('by a')")
        .b("INSERT INTO t (v) VALUES ('by b'), ('more by b')")
        .meet()
        .shows("t", &["1, 'first'", "2, 'by b'", "3, 'more by b'"])
        .conflict("t 2 v: 'by b' over 'by a'")
        .holds();
}

#[test]
fn a_key_that_came_from_another_is_taken() {
    case(WORDS)
        .a("INSERT INTO words VALUES ('Bye', 'farewell', 1)")
        .meet()
        .shows("words", &["'Bye', 'farewell', 1", "'Hello', 'greeting', 1"])
        .refused(B, "INSERT INTO words VALUES ('bye', 'again', 1)", "UNIQUE constraint failed: words.word")
        .holds();
}

#[test]
fn a_row_with_null_in_its_key_stays_where_it_was_written() {
    case(NOTES)
        .schemas_differ()
        .a("INSERT INTO notes VALUES (NULL, 'local', 0), ('x', 'travels', 0)")
        .meet()
        .shows_at(A, "notes", &["'n', 'title', 1", "'x', 'travels', 0", "NULL, 'local', 0"])
        .shows_at(B, "notes", &["'n', 'title', 1", "'x', 'travels', 0"])
        .holds();
}

/// A key of two columns was bound to a statement that asks for one: every turn failed. Nobody meant ill.
#[test]
fn files_whose_tables_have_different_keys_keep_each_others_rows_aside() {
    const ANOTHER: &str =
        "CREATE TABLE t (id TEXT, lang TEXT, v, PRIMARY KEY (id, lang)); INSERT INTO t VALUES ('a', 'en', 2)";
    let mut case = case("CREATE TABLE t (id TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('a', 1)")
        .has_instead(B, ANOTHER)
        .has_instead(C, ANOTHER);
    for round in 1..4 {
        case = case
            .a("UPDATE t SET v = v + 10")
            .b("UPDATE t SET v = v + 10")
            .meet()
            .shows_at(A, "t", &[&*format!("'a', {round}1")])
            .shows_at(B, "t", &[&*format!("'a', 'en', {round}2")])
            .parks_at(A, "t", "'a', 'en'", "no row of this table can have this key")
            .parks_at(B, "t", "'a'", "no row of this table can have this key")
            .parks_at(C, "t", "'a'", "no row of this table can have this key");
    }
    // And gone when they are gone.
    case.a("DELETE FROM t").b("DELETE FROM t").meet().shows("t", &[]).holds();
}
