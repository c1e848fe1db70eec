//! Counters, of which everything that is added anywhere counts: in every order of delivery, past 64 bits, beside NULL, and under
//! kinds and names that change.

use driftless::{ColumnKind, TableOptions};

use crate::case::{Who::*, case};

const PAGES: &str = "CREATE TABLE pages (id TEXT PRIMARY KEY, title TEXT, hits INTEGER DEFAULT 0);
                     INSERT INTO pages VALUES ('p', 'page', 0)";
const ADD_1: &str = "UPDATE pages SET hits = hits + 1";

fn counting() -> TableOptions {
    TableOptions::default().counter("hits")
}

#[test]
fn what_is_taken_away_counts_too_and_numbers_past_half_of_64_bits_are_exact() {
    const TAKE: &str = "UPDATE pages SET hits = hits - 4000000000000000000";
    case(PAGES)
        .with("pages", counting)
        .a("UPDATE pages SET hits = (1 << 62) + 12345")
        .meet()
        .a("UPDATE pages SET hits = hits + (1 << 61)")
        .a("UPDATE pages SET hits = hits - 1")
        .b("UPDATE pages SET hits = hits - 1000")
        .b("UPDATE pages SET hits = hits - 1")
        .c("UPDATE pages SET hits = hits + 7")
        .c("UPDATE pages SET hits = hits - 1")
        .meet()
        .shows("pages", &["'p', 'page', 6917529027641093205"])
        .a(TAKE)
        .b(TAKE)
        .c(TAKE)
        .meet()
        .shows("pages", &["'p', 'page', -5082470972358906795"])
        .holds();
}

#[test]
fn additions_count_through_new_openings_and_beside_edits_of_other_columns() {
    case(PAGES)
        .with("pages", counting)
        .reopens(A)
        .a("UPDATE pages SET hits = hits + 1, title = '1 a'")
        .a(ADD_1)
        .reopens(B)
        .b("UPDATE pages SET hits = hits + 1, title = '1 b'")
        .b(ADD_1)
        .reopens(C)
        .c("UPDATE pages SET hits = hits + 1, title = '1 c'")
        .c(ADD_1)
        .meet()
        .shows("pages", &["'p', '1 c', 6"])
        .conflict("pages 'p' title: '1 c' over '1 b', '1 a'")
        .reopens(A)
        .a("UPDATE pages SET hits = hits + 1, title = '2 a'")
        .reopens(B)
        .b("UPDATE pages SET hits = hits + 1, title = '2 b'")
        .b(ADD_1)
        .reopens(C)
        .c("UPDATE pages SET hits = hits + 1, title = '2 c'")
        .meet()
        .shows("pages", &["'p', '2 c', 10"])
        .conflict("pages 'p' title: '2 c' over '2 b', '2 a'")
        .holds_of_three();
}

#[test]
fn what_is_added_while_another_deletes_the_row_brings_it_back_with_all_that_was_added() {
    case(PAGES)
        .with("pages", counting)
        .b("UPDATE pages SET hits = hits + 5")
        // The 2 are never there by themselves: a row is captured as a transaction leaves it.
        .a("BEGIN; UPDATE pages SET hits = hits + 2; DELETE FROM pages; COMMIT")
        .b("UPDATE pages SET hits = hits + 5")
        .meet()
        .shows("pages", &["'p', 'page', 10"])
        .holds();
}

#[test]
fn a_value_that_is_set_apart_is_the_base_of_what_others_add() {
    const ADD_10: &str = "UPDATE pages SET hits = hits + 10";
    case(PAGES)
        .with("pages", counting)
        .a(ADD_10)
        .b(ADD_10)
        .c(ADD_10)
        .meet()
        .shows("pages", &["'p', 'page', 30"])
        // From NULL a number is set and nothing is added.
        .a("UPDATE pages SET hits = NULL")
        .a("UPDATE pages SET hits = 1000")
        .b("UPDATE pages SET hits = hits + 3")
        .c("UPDATE pages SET hits = hits - 4")
        .meet()
        .shows("pages", &["'p', 'page', 999"])
        .holds();
}

#[test]
fn null_shows_until_a_number_is_written_and_what_others_add_meanwhile_counts() {
    case(PAGES)
        .with("pages", counting)
        .a("UPDATE pages SET hits = NULL")
        .b("UPDATE pages SET hits = hits + 3")
        .meet()
        .shows("pages", &["'p', 'page', NULL"])
        // Additions that were hidden under NULL are not added to a number written by somebody who saw NULL.
        .a("UPDATE pages SET hits = 50")
        .meet()
        .shows("pages", &["'p', 'page', 50"])
        // Nor is adding to NULL anything to SQLite.
        .a("UPDATE pages SET hits = hits + NULL")
        .b(ADD_1)
        .meet()
        .shows("pages", &["'p', 'page', NULL"])
        .holds();
}

#[test]
fn two_numbers_that_are_set_apart_are_a_conflict_and_both_count_what_is_added() {
    case("CREATE TABLE pages (id TEXT PRIMARY KEY, title TEXT, hits INTEGER)")
        .with("pages", counting)
        .a("INSERT INTO pages VALUES ('p', 'page', NULL)")
        .meet()
        .a("UPDATE pages SET hits = 100")
        .b("UPDATE pages SET hits = 200")
        .b("UPDATE pages SET hits = hits + 7")
        .meet()
        .shows("pages", &["'p', 'page', 207"])
        .conflict("pages 'p' hits: 207 over 107")
        .c("UPDATE pages SET hits = NULL")
        .c("UPDATE pages SET hits = 5")
        .meet()
        .shows("pages", &["'p', 'page', 5"])
        .holds();
}

#[test]
fn what_sqlite_makes_of_more_than_64_bits_is_shown_as_it_is() {
    case(PAGES)
        .with("pages", counting)
        .a("UPDATE pages SET hits = 9223372036854775807")
        .meet()
        .a(ADD_1)
        .b("UPDATE pages SET title = 'other'")
        .meet()
        .shows("pages", &["'p', 'other', 9.223372036854776e18"])
        .b("UPDATE pages SET hits = 3")
        .meet()
        .shows("pages", &["'p', 'other', 3"])
        .holds();
}

#[test]
fn a_row_whose_sum_no_integer_holds_is_parked_and_returns_when_somebody_writes_a_smaller_number() {
    for (nearly, add, sum, kept) in [
        ("9223372036854775806", "hits + 1", "9223372036854775808", Some("9223372036854775807")),
        ("-9223372036854775807", "hits - 1", "-9223372036854775809", None),
    ] {
        let add = &format!("UPDATE pages SET hits = {add}");
        let mut case = case(PAGES)
            .with("pages", counting)
            .a(&format!("REPLACE INTO pages VALUES ('p', 'page', {nearly})"))
            .meet()
            .shows("pages", &[&*format!("'p', 'page', {nearly}")])
            .a(add)
            .b(add)
            .meet()
            .shows("pages", &[])
            .parks("pages", "'p'", &format!("counter 'hits' adds up to {sum}"))
            .b("REPLACE INTO pages VALUES ('p', 'again', 5)")
            // The parked row's values are kept until somebody says that the new ones are to stand.
            .meet()
            .shows("pages", &["'p', 'again', 5"]);
        if let Some(kept) = kept {
            case = case.conflict(&format!("pages 'p' hits: 5 over {kept}"));
        }
        case.conflict("pages 'p' title: 'again' over 'page'")
            .a("DELETE FROM driftless_conflicts")
            .meet()
            .shows("pages", &["'p', 'again', 5"])
            .a(ADD_1)
            .b(ADD_1)
            .meet()
            .shows("pages", &["'p', 'again', 7"])
            .holds();
    }
}

#[test]
fn a_counter_that_the_app_adds_to_its_table_later_counts_from_its_default() {
    const ADD_COLUMN: &str = "ALTER TABLE pages ADD COLUMN hits INTEGER DEFAULT 100";
    const HITS: &str = "SELECT hits FROM pages";
    case("CREATE TABLE pages (id TEXT PRIMARY KEY, title TEXT); INSERT INTO pages VALUES ('p', 'page')")
        .schemas_differ()
        .a(ADD_COLUMN)
        .sets_kind(A, "pages", "hits", ColumnKind::Counter)
        .b(ADD_COLUMN)
        .settle()
        .shows_at(A, HITS, &["100"])
        .shows_at(B, HITS, &["100"])
        .a(ADD_1)
        .b(ADD_1)
        .meet()
        .shows_at(A, HITS, &["102"])
        .shows_at(B, HITS, &["102"])
        .holds();
}

#[test]
fn a_kind_that_is_changed_while_another_is_offline_is_taken_over_and_nothing_diverges() {
    case(PAGES)
        .with("pages", TableOptions::default)
        .a("UPDATE pages SET hits = 10")
        .meet()
        .sets_kind(A, "PAGES", "Hits", ColumnKind::Counter)
        .a("UPDATE pages SET hits = hits + 5")
        .b("UPDATE pages SET hits = 20")
        .settle()
        // One added, the other took it for a register and set it: both count.
        .shows("pages", &["'p', 'page', 25"])
        .kinds("pages", &["hits: counter"])
        .a(ADD_1)
        .b(ADD_1)
        .meet()
        .shows("pages", &["'p', 'page', 27"])
        .sets_kind(B, "pages", "hits", ColumnKind::Register)
        .b("UPDATE pages SET hits = 1")
        .settle()
        .shows("pages", &["'p', 'page', 1"])
        .kinds("pages", &[])
        .a(ADD_1)
        .b(ADD_1)
        .meet()
        .shows("pages", &["'p', 'page', 2"])
        .holds();
}

#[test]
fn a_file_that_states_kinds_and_one_that_does_not_agree_on_those_that_are_stated() {
    for stating in [A, B] {
        case(PAGES)
            .with("pages", TableOptions::default)
            .with_at(stating, "pages", counting)
            .settle()
            .kinds("pages", &["hits: counter"])
            .holds();
    }
}

/// The kinds of one file took the place of the other's, and its counter ceased to count.
#[test]
fn kinds_that_two_files_stated_apart_before_they_met_all_hold() {
    const ADD_10: &str = "UPDATE pages SET hits = hits + 10";
    case(
        "CREATE TABLE pages (id TEXT PRIMARY KEY, body TEXT, hits INTEGER DEFAULT 0);
          INSERT INTO pages VALUES ('x', 'A paragraph.', 100)",
    )
    .with("pages", TableOptions::default)
    .with_at(A, "pages", counting)
    .with_at(B, "pages", || TableOptions::default().text("body"))
    .meet()
    .kinds("pages", &["body: text", "hits: counter"])
    .a(ADD_10)
    .b(ADD_10)
    .c(ADD_10)
    .meet()
    .shows("pages", &["'x', 'A paragraph.', 130"])
    .holds_of_three();
}

/// Until somebody told, the later of two additions took the place of the other.
#[test]
fn a_counter_that_both_rename_and_nobody_tells_of_counts_on() {
    case("CREATE TABLE p (id TEXT PRIMARY KEY, n INTEGER DEFAULT 0); INSERT INTO p VALUES ('1', 1)")
        .with("p", || TableOptions::default().counter("n"))
        .schemas_differ()
        .a("UPDATE p SET n = n + 10")
        .meet()
        .a("ALTER TABLE p RENAME COLUMN n TO hits")
        .b("ALTER TABLE p RENAME COLUMN n TO hits")
        .meet()
        .a("UPDATE p SET hits = hits + 1")
        .b("UPDATE p SET hits = hits + 1")
        .meet()
        .shows_at(A, "SELECT hits FROM p", &["13"])
        .shows_at(B, "SELECT hits FROM p", &["13"])
        .holds();
}
