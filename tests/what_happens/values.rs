//! Two write the same row while they are apart: columns and their values.

use crate::case::{Who::*, case};

const NOTES: &str = "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT, body TEXT, stars);
                     INSERT INTO notes VALUES ('n', 'title', 'body', 1)";
/// Milliseconds since 1970 of a clock that runs in the year 2100, and of one that runs in 1990.
const YEAR_2100: i64 = 4_102_444_800_000;
const YEAR_1990: i64 = 631_152_000_000;

#[test]
fn different_columns_of_one_row_both_stay() {
    case(NOTES)
        .a("UPDATE notes SET title = 'by a'")
        .b("UPDATE notes SET body = 'by b', stars = NULL")
        .meet()
        .shows("notes", &["'n', 'by a', 'by b', NULL"])
        .holds();
}

#[test]
fn of_two_values_in_one_column_the_later_shows_and_the_other_is_kept() {
    case(NOTES)
        .a("UPDATE notes SET title = 'by a'")
        .b("UPDATE notes SET title = 'by b'")
        .meet()
        .shows("notes", &["'n', 'by b', 'body', 1"])
        .conflict("notes 'n' title: 'by b' over 'by a'")
        .holds();
}

#[test]
fn of_three_values_in_one_column_the_latest_shows_and_both_others_are_kept() {
    case(NOTES)
        .b("UPDATE notes SET title = 'by b'")
        .a("UPDATE notes SET title = 'by a'")
        .c("UPDATE notes SET title = 'by c'")
        .meet()
        .shows("notes", &["'n', 'by c', 'body', 1"])
        .conflict("notes 'n' title: 'by c' over 'by a', 'by b'")
        .holds_of_three();
}

#[test]
fn of_several_writes_by_one_of_them_only_the_last_stands() {
    case(NOTES)
        .a("UPDATE notes SET title = 'first by a'")
        .b("UPDATE notes SET title = 'first by b'")
        .a("UPDATE notes SET title = 'second by a'")
        .b("UPDATE notes SET title = 'second by b'")
        .meet()
        .shows("notes", &["'n', 'second by b', 'body', 1"])
        .conflict("notes 'n' title: 'second by b' over 'second by a'")
        .holds();
}

#[test]
fn writing_the_column_again_settles_its_conflict_and_no_other() {
    case(NOTES)
        .a("UPDATE notes SET title = 'by a', stars = 5")
        .b("UPDATE notes SET title = 'by b', stars = 6")
        .meet()
        .conflict("notes 'n' stars: 6 over 5")
        .conflict("notes 'n' title: 'by b' over 'by a'")
        .a("UPDATE notes SET title = 'by both'")
        .meet()
        .shows("notes", &["'n', 'by both', 'body', 6"])
        .conflict("notes 'n' stars: 6 over 5")
        .b("UPDATE notes SET stars = 7")
        .meet()
        .shows("notes", &["'n', 'by both', 'body', 7"])
        .holds();
}

#[test]
fn a_conflict_that_is_deleted_from_the_view_is_settled_with_what_shows_and_no_other_is() {
    case(NOTES)
        .a("UPDATE notes SET title = 'by a', stars = 5")
        .b("UPDATE notes SET title = 'by b', stars = 6")
        .meet()
        .conflict("notes 'n' stars: 6 over 5")
        .conflict("notes 'n' title: 'by b' over 'by a'")
        .a("DELETE FROM driftless_conflicts WHERE \"column\" = 'title'")
        .meet()
        .shows("notes", &["'n', 'by b', 'body', 6"])
        .conflict("notes 'n' stars: 6 over 5")
        .holds();
}

#[test]
fn what_is_settled_with_what_shows_is_a_write_like_any_other() {
    case(NOTES)
        .a("UPDATE notes SET title = 'by a'")
        .b("UPDATE notes SET title = 'by b'")
        .meet()
        .conflict("notes 'n' title: 'by b' over 'by a'")
        .a("UPDATE notes SET title = 'a third'")
        .b("DELETE FROM driftless_conflicts")
        .meet()
        .shows("notes", &["'n', 'by b', 'body', 1"])
        .conflict("notes 'n' title: 'by b' over 'a third'")
        .holds();
}

#[test]
fn a_conflict_settled_in_a_row_that_is_then_deleted_or_written_is_what_was_done_last() {
    case(NOTES)
        .a("UPDATE notes SET title = 'by a'")
        .b("UPDATE notes SET title = 'by b'")
        .meet()
        .conflict("notes 'n' title: 'by b' over 'by a'")
        .a("DELETE FROM driftless_conflicts; UPDATE notes SET title = 'anew'")
        .meet()
        .shows("notes", &["'n', 'anew', 'body', 1"])
        .a("UPDATE notes SET title = 'by a'")
        .b("UPDATE notes SET title = 'by b'")
        .meet()
        .conflict("notes 'n' title: 'by b' over 'by a'")
        .b("DELETE FROM driftless_conflicts; DELETE FROM notes")
        .meet()
        .shows("notes", &[])
        .holds();
}

#[test]
fn a_conflict_that_two_settle_differently_is_one_between_their_answers() {
    case(NOTES)
        .a("UPDATE notes SET title = 'by a'")
        .b("UPDATE notes SET title = 'by b'")
        .meet()
        .conflict("notes 'n' title: 'by b' over 'by a'")
        .a("UPDATE notes SET title = 'settled by a'")
        .b("UPDATE notes SET title = 'settled by b'")
        .meet()
        .shows("notes", &["'n', 'settled by b', 'body', 1"])
        .conflict("notes 'n' title: 'settled by b' over 'settled by a'")
        .holds();
}

#[test]
fn equal_values_are_no_conflict() {
    case(NOTES)
        .a("UPDATE notes SET title = 'the same'; INSERT INTO notes VALUES ('m', 'x', 'y', 0)")
        .b("UPDATE notes SET title = 'the same'; INSERT INTO notes VALUES ('m', 'x', 'y', 0)")
        .meet()
        .shows("notes", &["'m', 'x', 'y', 0", "'n', 'the same', 'body', 1"])
        .holds();
}

#[test]
fn the_integer_1_the_real_1_and_the_text_1_are_three_values() {
    case(NOTES)
        .a("UPDATE notes SET stars = '1'")
        .b("UPDATE notes SET stars = 1.0")
        .meet()
        .shows("notes", &["'n', 'title', 'body', 1.0"])
        .conflict("notes 'n' stars: 1.0 over '1'")
        .holds();
}

#[test]
fn null_is_a_value_like_any_other() {
    case(NOTES)
        .a("UPDATE notes SET title = 'by a', body = NULL")
        .b("UPDATE notes SET title = NULL, body = 'by b'")
        .meet()
        .shows("notes", &["'n', NULL, 'by b', 1"])
        .conflict("notes 'n' body: 'by b' over NULL")
        .conflict("notes 'n' title: NULL over 'by a'")
        .holds();
}

#[test]
fn an_update_that_changes_nothing_does_not_win_over_an_earlier_one_that_does() {
    case(NOTES)
        .a("UPDATE notes SET title = 'by a'")
        .b("UPDATE notes SET title = 'title', body = body")
        .meet()
        .shows("notes", &["'n', 'by a', 'body', 1"])
        .holds();
}

#[test]
fn two_inserts_under_one_key_are_one_row_and_what_differs_is_in_conflict() {
    case(NOTES)
        .a("INSERT INTO notes VALUES ('x', 'same', 'by a', 7)")
        .b("INSERT INTO notes VALUES ('x', 'same', 'by b', 7)")
        .meet()
        .shows("notes", &["'n', 'title', 'body', 1", "'x', 'same', 'by b', 7"])
        .conflict("notes 'x' body: 'by b' over 'by a'")
        .holds();
}

#[test]
fn a_clock_years_ahead_wins_once_and_not_against_whoever_has_seen_it() {
    case(NOTES)
        .a("UPDATE notes SET title = 'from 2100'")
        .by_a_clock_at(A, YEAR_2100)
        .b("UPDATE notes SET title = 'from today'")
        .meet()
        .shows("notes", &["'n', 'from 2100', 'body', 1"])
        .conflict("notes 'n' title: 'from 2100' over 'from today'")
        .b("UPDATE notes SET title = 'seen'")
        .meet()
        .shows("notes", &["'n', 'seen', 'body', 1"])
        .holds();
}

#[test]
fn a_clock_years_behind_loses_only_where_it_had_not_seen_the_other_value() {
    case(NOTES)
        .a("UPDATE notes SET title = 'from today', body = 'from today'")
        .b("UPDATE notes SET title = 'from 1990'")
        .by_a_clock_at(B, YEAR_1990)
        .meet()
        .shows("notes", &["'n', 'from today', 'from today', 1"])
        .conflict("notes 'n' title: 'from today' over 'from 1990'")
        .b("UPDATE notes SET title = 'seen, in 1990', body = 'seen, in 1990'")
        .by_a_clock_at(B, YEAR_1990)
        .meet()
        .shows("notes", &["'n', 'seen, in 1990', 'seen, in 1990', 1"])
        .holds();
}

#[test]
fn what_one_wrote_having_seen_one_of_two_values_replaces_only_that() {
    case(NOTES)
        .a("UPDATE notes SET title = 'by a'")
        .meet_of(&[A, B])
        .b("UPDATE notes SET title = 'by b after a'")
        .c("UPDATE notes SET title = 'by c apart'")
        .meet()
        .shows("notes", &["'n', 'by c apart', 'body', 1"])
        .conflict("notes 'n' title: 'by c apart' over 'by b after a'")
        .holds_of_three();
}

#[test]
fn large_values_collide_like_small_ones() {
    case(NOTES)
        .a("UPDATE notes SET body = replace(hex(zeroblob(1000)), '00', 'a1')")
        .b("UPDATE notes SET body = replace(hex(zeroblob(1000)), '00', 'b1'), title = 'by b'")
        .meet()
        .shows("SELECT title, substr(body, 1, 2), length(body) FROM notes", &["'by b', 'b1', 2000"])
        .conflict(&format!("notes 'n' body: '{}' over '{}'", "b1".repeat(1000), "a1".repeat(1000)))
        .a("UPDATE notes SET body = 'short again'")
        .meet()
        .shows("notes", &["'n', 'by b', 'short again', 1"])
        .holds();
}

#[test]
fn every_kind_of_value_arrives_as_it_is() {
    case(NOTES)
        .a("INSERT INTO notes VALUES ('i', 'integers', -9223372036854775808, 9223372036854775807)")
        .a("INSERT INTO notes VALUES ('r', 'reals', 'in text', 9e999), ('s', 'small', NULL, -0.5)")
        .b("INSERT INTO notes VALUES ('b', 'blobs', x'', x'00ff'), ('t', 'text', 'a' || char(0) || 'b', CAST(x'ff' AS TEXT))")
        .meet()
        .shows(
            "notes",
            &[
                "'b', 'blobs', x'', x'00ff'",
                "'i', 'integers', '-9223372036854775808', 9223372036854775807",
                "'n', 'title', 'body', 1",
                "'r', 'reals', 'in text', inf",
                "'s', 'small', NULL, -0.5",
                "'t', 'text', 'a\0b', text x'ff'",
            ],
        )
        .holds();
}

/// A changeset that waited and then came again was applied, and went on being counted as waiting.
#[test]
fn a_chain_of_answers_arrives_whole_in_whatever_order_it_is_carried() {
    case(NOTES)
        .a("UPDATE notes SET title = 'asked by a'")
        .meet_of(&[A, B])
        .b("UPDATE notes SET title = 'answered by b'")
        .b("INSERT INTO notes VALUES ('o', 'more by b', NULL, NULL)")
        .meet()
        .shows("notes", &["'n', 'answered by b', 'body', 1", "'o', 'more by b', NULL, NULL"])
        .holds();
}

#[test]
fn rows_that_all_found_when_they_tracked_the_same_table_are_not_in_conflict() {
    case(NOTES)
        .meet()
        .shows("notes", &["'n', 'title', 'body', 1"])
        // And an edit of one meets no ghost of what the others found.
        .a("UPDATE notes SET title = 'edited'")
        .meet()
        .shows("notes", &["'n', 'edited', 'body', 1"])
        .holds();
}
