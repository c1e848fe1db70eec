//! Two rows with one value in a UNIQUE column. The row with the smaller key keeps the value, whoever wrote first; the
//! other is parked until the value is free.

use crate::case::{Who::*, case};

const USERS: &str = "CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT UNIQUE, name TEXT);
                     INSERT INTO users VALUES ('u1', 'ann@x', 'Ann'), ('u5', 'eve@x', 'Eve')";
const ANN: &str = "'u1', 'ann@x', 'Ann'";
const EVE: &str = "'u5', 'eve@x', 'Eve'";

#[test]
fn of_two_rows_with_one_value_the_smaller_key_keeps_it_though_it_came_later() {
    case(USERS)
        .a("INSERT INTO users VALUES ('u3', 'bob@x', 'by a')")
        .b("INSERT INTO users VALUES ('u2', 'bob@x', 'by b')")
        .meet()
        .shows("users", &[ANN, "'u2', 'bob@x', 'by b'", EVE])
        .parks("users", "'u3'", "UNIQUE")
        .holds();
}

#[test]
fn of_two_rows_with_one_value_the_smaller_key_keeps_it_though_it_came_first() {
    case(USERS)
        .a("INSERT INTO users VALUES ('u2', 'bob@x', 'by a')")
        .b("INSERT INTO users VALUES ('u3', 'bob@x', 'by b')")
        .meet()
        .shows("users", &[ANN, "'u2', 'bob@x', 'by a'", EVE])
        .parks("users", "'u3'", "UNIQUE")
        .holds();
}

#[test]
fn a_row_parked_for_its_value_returns_when_the_holder_is_deleted() {
    case(USERS)
        .a("INSERT INTO users VALUES ('u2', 'bob@x', 'by a')")
        .b("INSERT INTO users VALUES ('u3', 'bob@x', 'by b')")
        .meet()
        .parks("users", "'u3'", "UNIQUE")
        .b("DELETE FROM users WHERE id = 'u2'")
        .meet()
        .shows("users", &[ANN, "'u3', 'bob@x', 'by b'", EVE])
        .holds();
}

#[test]
fn a_row_parked_for_its_value_returns_when_the_holder_takes_another() {
    case(USERS)
        .a("INSERT INTO users VALUES ('u2', 'bob@x', 'by a')")
        .b("INSERT INTO users VALUES ('u3', 'bob@x', 'by b')")
        .meet()
        .parks("users", "'u3'", "UNIQUE")
        .a("UPDATE users SET email = 'rob@x' WHERE id = 'u2'")
        .meet()
        .shows("users", &[ANN, "'u2', 'rob@x', 'by a'", "'u3', 'bob@x', 'by b'", EVE])
        .holds();
}

#[test]
fn a_row_parked_for_its_value_is_repaired_by_inserting_it_with_another() {
    case(USERS)
        .a("INSERT INTO users VALUES ('u2', 'bob@x', 'by a')")
        .b("INSERT INTO users VALUES ('u3', 'bob@x', 'by b')")
        .meet()
        .parks("users", "'u3'", "UNIQUE")
        .refused(B, "INSERT INTO users VALUES ('u3', 'bob@x', 'by b')", "UNIQUE")
        .b("INSERT INTO users VALUES ('u3', 'rob@x', 'by b')")
        .meet()
        .shows("users", &[ANN, "'u2', 'bob@x', 'by a'", "'u3', 'rob@x', 'by b'", EVE])
        .conflict("users 'u3' email: 'rob@x' over 'bob@x'")
        .holds();
}

#[test]
fn a_row_that_returns_to_its_place_pushes_out_the_one_that_took_its_value_meanwhile() {
    case(USERS)
        .a("DELETE FROM users WHERE id = 'u1'; INSERT INTO users VALUES ('u2', 'ann@x', 'new Ann')")
        .b("UPDATE users SET name = 'old Ann' WHERE id = 'u1'")
        .meet()
        .shows("users", &["'u1', 'ann@x', 'old Ann'", EVE])
        .parks("users", "'u2'", "UNIQUE")
        .holds();
}

#[test]
fn two_rows_edited_to_one_value_clash_like_new_ones() {
    case(USERS)
        .a("UPDATE users SET email = 'same@x' WHERE id = 'u1'")
        .b("UPDATE users SET email = 'same@x' WHERE id = 'u5'")
        .meet()
        .shows("users", &["'u1', 'same@x', 'Ann'"])
        .parks("users", "'u5'", "UNIQUE")
        .a("UPDATE users SET email = 'ann@x' WHERE id = 'u1'")
        .meet()
        .shows("users", &[ANN, "'u5', 'same@x', 'Eve'"])
        .holds();
}

#[test]
fn of_three_rows_with_one_value_two_are_parked_and_the_next_smallest_follows() {
    case(USERS)
        .a("INSERT INTO users VALUES ('u4', 'bob@x', 'by a')")
        .b("INSERT INTO users VALUES ('u2', 'bob@x', 'by b')")
        .c("INSERT INTO users VALUES ('u3', 'bob@x', 'by c')")
        .meet()
        .shows("users", &[ANN, "'u2', 'bob@x', 'by b'", EVE])
        .parks("users", "'u3'", "UNIQUE")
        .parks("users", "'u4'", "UNIQUE")
        .c("DELETE FROM users WHERE id = 'u2'")
        .meet()
        .shows("users", &[ANN, "'u3', 'bob@x', 'by c'", EVE])
        .parks("users", "'u4'", "UNIQUE")
        .holds_of_three();
}

#[test]
fn a_parked_row_holds_nothing_so_that_its_other_values_are_free() {
    case("CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT UNIQUE, phone TEXT UNIQUE)")
        .a("INSERT INTO users VALUES ('u1', 'bob@x', '1'), ('u3', 'cid@x', '2')")
        .b("INSERT INTO users VALUES ('u2', 'bob@x', '2')")
        .meet()
        .shows("users", &["'u1', 'bob@x', '1'", "'u3', 'cid@x', '2'"])
        .parks("users", "'u2'", "UNIQUE")
        // Its e-mail address is free now, and with its phone it pushes out the larger key.
        .a("DELETE FROM users WHERE id = 'u1'")
        .meet()
        .shows("users", &["'u2', 'bob@x', '2'"])
        .parks("users", "'u3'", "UNIQUE")
        .holds();
}

#[test]
fn nulls_are_distinct() {
    case(USERS)
        .a("INSERT INTO users VALUES ('u2', NULL, 'by a')")
        .b("INSERT INTO users VALUES ('u3', NULL, 'by b')")
        .meet()
        .shows("users", &[ANN, "'u2', NULL, 'by a'", "'u3', NULL, 'by b'", EVE])
        .holds();
}

#[test]
fn two_spellings_are_one_value_where_the_column_says_nocase() {
    case("CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT UNIQUE COLLATE NOCASE)")
        .a("INSERT INTO users VALUES ('u1', 'Bob@X')")
        .b("INSERT INTO users VALUES ('u2', 'bob@x')")
        .meet()
        .shows("users", &["'u1', 'Bob@X'"])
        .parks("users", "'u2'", "UNIQUE")
        .holds();
}

#[test]
fn two_spellings_are_two_values_where_it_does_not() {
    case("CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT UNIQUE)")
        .a("INSERT INTO users VALUES ('u1', 'Bob@X')")
        .b("INSERT INTO users VALUES ('u2', 'bob@x')")
        .meet()
        .shows("users", &["'u1', 'Bob@X'", "'u2', 'bob@x'"])
        .holds();
}

#[test]
fn two_columns_that_are_unique_together_clash_only_together() {
    case("CREATE TABLE seats (id TEXT PRIMARY KEY, hall TEXT, seat INTEGER, UNIQUE (hall, seat))")
        .a("INSERT INTO seats VALUES ('s1', 'red', 1), ('s3', 'red', 2)")
        .b("INSERT INTO seats VALUES ('s2', 'red', 1), ('s4', 'blue', 2), ('s5', 'red', NULL)")
        .meet()
        .shows("seats", &["'s1', 'red', 1", "'s3', 'red', 2", "'s4', 'blue', 2", "'s5', 'red', NULL"])
        .parks("seats", "'s2'", "UNIQUE")
        .holds();
}

#[test]
fn a_partial_index_binds_only_the_rows_that_it_holds() {
    case(
        "CREATE TABLE jobs (id TEXT PRIMARY KEY, machine TEXT, done INTEGER);
          CREATE UNIQUE INDEX one_at_a_time ON jobs (machine) WHERE NOT done",
    )
    .a("INSERT INTO jobs VALUES ('j1', 'm', 0), ('j3', 'm', 1)")
    .b("INSERT INTO jobs VALUES ('j2', 'm', 0), ('j4', 'm', 1)")
    .meet()
    .shows("jobs", &["'j1', 'm', 0", "'j3', 'm', 1", "'j4', 'm', 1"])
    .parks("jobs", "'j2'", "UNIQUE")
    .a("UPDATE jobs SET done = 1 WHERE id = 'j1'")
    .meet()
    .shows("jobs", &["'j1', 'm', 1", "'j2', 'm', 0", "'j3', 'm', 1", "'j4', 'm', 1"])
    .holds();
}

#[test]
fn an_index_on_an_expression_binds_like_any_other() {
    case(
        "CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT);
          CREATE UNIQUE INDEX same_address ON users (lower(trim(email)))",
    )
    .a("INSERT INTO users VALUES ('u1', ' Bob@X ')")
    .b("INSERT INTO users VALUES ('u2', 'bob@x')")
    .meet()
    .shows("users", &["'u1', ' Bob@X '"])
    .parks("users", "'u2'", "")
    .b("DELETE FROM users WHERE id = 'u1'")
    .meet()
    .shows("users", &["'u2', 'bob@x'"])
    .holds();
}

#[test]
fn values_that_one_swaps_are_swapped_everywhere() {
    case(USERS)
        .a("BEGIN; UPDATE users SET email = NULL WHERE id = 'u1'; UPDATE users SET email = 'ann@x' WHERE id = 'u5';
            UPDATE users SET email = 'eve@x' WHERE id = 'u1'; COMMIT")
        .b("UPDATE users SET name = 'by b'")
        .meet()
        .shows("users", &["'u1', 'eve@x', 'by b'", "'u5', 'ann@x', 'by b'"])
        .holds();
}

#[test]
fn values_that_go_round_in_a_ring_arrive_so() {
    case(
        "CREATE TABLE places (id TEXT PRIMARY KEY, rank INTEGER UNIQUE);
          INSERT INTO places VALUES ('p1', 1), ('p2', 2), ('p3', 3)",
    )
    .a("BEGIN; UPDATE places SET rank = -rank; UPDATE places SET rank = -rank % 3 + 1; COMMIT")
    .meet()
    .shows("places", &["'p1', 2", "'p2', 3", "'p3', 1"])
    .holds();
}

#[test]
fn a_value_given_from_one_row_to_another_is_given_everywhere() {
    case(USERS)
        .a("BEGIN; UPDATE users SET email = NULL WHERE id = 'u1'; INSERT INTO users VALUES ('u0', 'ann@x', 'heir');
            UPDATE users SET email = 'old@x' WHERE id = 'u5'; INSERT INTO users VALUES ('u9', 'eve@x', 'heir'); COMMIT")
        .meet()
        .shows(
            "users",
            &["'u0', 'ann@x', 'heir'", "'u1', NULL, 'Ann'", "'u5', 'old@x', 'Eve'", "'u9', 'eve@x', 'heir'"],
        )
        .holds();
}

#[test]
fn a_row_that_replace_evicts_through_a_unique_column_is_deleted_by_that_author() {
    case(USERS)
        .a("INSERT OR REPLACE INTO users VALUES ('u7', 'ann@x', 'new Ann')")
        .meet()
        .shows("users", &[EVE, "'u7', 'ann@x', 'new Ann'"])
        .holds();
}

#[test]
fn a_row_that_replace_evicts_while_another_edits_it_lives_and_the_smaller_key_keeps_the_value() {
    case(USERS)
        .a("INSERT OR REPLACE INTO users VALUES ('u7', 'ann@x', 'new Ann')")
        .b("UPDATE users SET name = 'by b' WHERE id = 'u1'")
        .meet()
        .shows("users", &["'u1', 'ann@x', 'by b'", EVE])
        .parks("users", "'u7'", "UNIQUE")
        .holds();
}

#[test]
fn update_or_replace_evicts_everywhere_too() {
    case(USERS)
        .a("UPDATE OR REPLACE users SET email = 'eve@x' WHERE id = 'u1'")
        .meet()
        .shows("users", &["'u1', 'eve@x', 'Ann'"])
        .b("INSERT INTO users VALUES ('u6', 'ann@x', 'by b')")
        .meet()
        .shows("users", &["'u1', 'eve@x', 'Ann'", "'u6', 'ann@x', 'by b'"])
        .holds();
}

#[test]
fn an_upsert_on_a_unique_column_makes_two_rows_that_clash_where_both_find_it_free() {
    let upsert = |id: &str| {
        format!(
            "INSERT INTO users VALUES ('{id}', 'bob@x', 'by {id}')
             ON CONFLICT (email) DO UPDATE SET name = excluded.name"
        )
    };
    case(USERS)
        .a(&upsert("u3"))
        .b(&upsert("u2"))
        .meet()
        .shows("users", &[ANN, "'u2', 'bob@x', 'by u2'", EVE])
        .parks("users", "'u3'", "UNIQUE")
        .a(&upsert("u4"))
        .meet()
        .shows("users", &[ANN, "'u2', 'bob@x', 'by u4'", EVE])
        .parks("users", "'u3'", "UNIQUE")
        .holds();
}

#[test]
fn a_row_that_does_not_fit_by_itself_holds_no_unique_value() {
    case(
        "CREATE TABLE shifts (id TEXT PRIMARY KEY, desk TEXT UNIQUE, begins, ends, CHECK (begins < ends));
          INSERT INTO shifts VALUES ('s1', 'north', 8, 16)",
    )
    .a("UPDATE shifts SET begins = 15")
    .b("UPDATE shifts SET ends = 9, desk = 'south'")
    .c("INSERT INTO shifts VALUES ('s2', 'south', 1, 2)")
    .meet()
    .shows("shifts", &["'s2', 'south', 1, 2"])
    .parks("shifts", "'s1'", "CHECK")
    .holds_of_three();
}

#[test]
fn a_row_parked_for_its_value_goes_when_it_is_deleted_by_whoever_still_had_it() {
    case(USERS)
        .a("INSERT INTO users VALUES ('u3', 'bob@x', 'by a')")
        .meet_of(&[A, B])
        .b("DELETE FROM users WHERE id = 'u3'")
        .c("INSERT INTO users VALUES ('u2', 'bob@x', 'by c')")
        .meet_of(&[A, C])
        .shows("users", &[ANN, "'u2', 'bob@x', 'by c'", EVE])
        .parks("users", "'u3'", "UNIQUE")
        .meet()
        .shows("users", &[ANN, "'u2', 'bob@x', 'by c'", EVE])
        .holds_of_three();
}

#[test]
fn keys_decide_by_the_order_of_their_values_numbers_before_texts() {
    case("CREATE TABLE t (k PRIMARY KEY, u UNIQUE)")
        .a("INSERT INTO t VALUES ('1', 'x'), (10, 'y')")
        .b("INSERT INTO t VALUES (2, 'x'), (9.5, 'y')")
        .meet()
        .shows("t", &["2, 'x'", "9.5, 'y'"])
        .parks("t", "'1'", "UNIQUE")
        .parks("t", "10", "UNIQUE")
        .holds();
}

#[test]
fn a_unique_value_in_a_table_without_rowid_clashes_alike() {
    case("CREATE TABLE t (a TEXT, b TEXT, u UNIQUE, PRIMARY KEY (a, b)) WITHOUT ROWID")
        .a("INSERT INTO t VALUES ('k', '2', 'x')")
        .b("INSERT INTO t VALUES ('k', '1', 'x')")
        .meet()
        .shows("t", &["'k', '1', 'x'"])
        .parks("t", "'k', '2'", "UNIQUE")
        .holds();
}
