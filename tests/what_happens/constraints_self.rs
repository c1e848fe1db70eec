//! Rows that two writes together make unfit by themselves: NOT NULL, CHECK, STRICT. Such a row is parked, at its authors
//! too, and returns by itself as soon as it fits.

use driftless::TableOptions;

use crate::case::{Who::*, case};

const SHIFTS: &str = "CREATE TABLE shifts (id TEXT PRIMARY KEY, begins INTEGER, ends INTEGER, who TEXT,
                                           CHECK (begins < ends));
                      INSERT INTO shifts VALUES ('s', 8, 16, 'ann')";

#[test]
fn a_row_that_two_edits_together_bring_against_a_check_is_parked_at_their_authors_too() {
    case(SHIFTS)
        .a("UPDATE shifts SET begins = 15")
        .b("UPDATE shifts SET ends = 9")
        .meet()
        .shows("shifts", &[])
        .parks("shifts", "'s'", "CHECK")
        .holds();
}

#[test]
fn a_parked_row_is_repaired_by_inserting_it_anew() {
    case(SHIFTS)
        .a("UPDATE shifts SET begins = 15")
        .b("UPDATE shifts SET ends = 9")
        .meet()
        .parks("shifts", "'s'", "CHECK")
        .a("INSERT INTO shifts VALUES ('s', 15, 20, 'ann')")
        .meet()
        .shows("shifts", &["'s', 15, 20, 'ann'"])
        .conflict("shifts 's' ends: 20 over 9")
        .holds();
}

#[test]
fn a_parked_row_is_got_rid_of_by_inserting_it_anew_and_deleting_it() {
    case(SHIFTS)
        .a("UPDATE shifts SET begins = 15")
        .b("UPDATE shifts SET ends = 9")
        .meet()
        .parks("shifts", "'s'", "CHECK")
        .a("INSERT INTO shifts VALUES ('s', 1, 2, NULL)")
        .a("DELETE FROM shifts WHERE id = 's'")
        .meet()
        .shows("shifts", &[])
        .holds();
}

#[test]
fn two_repairs_of_a_parked_row_that_fit_together_are_one_row() {
    case(SHIFTS)
        .a("UPDATE shifts SET begins = 15")
        .b("UPDATE shifts SET ends = 9")
        .meet()
        .parks("shifts", "'s'", "CHECK")
        .a("INSERT INTO shifts VALUES ('s', 7, 9, 'ann')")
        .b("INSERT INTO shifts VALUES ('s', 6, 9, 'ann')")
        .meet()
        .shows("shifts", &["'s', 6, 9, 'ann'"])
        .conflict("shifts 's' begins: 6 over 7, 15")
        .holds();
}

#[test]
fn two_repairs_of_a_parked_row_that_do_not_fit_together_leave_it_parked() {
    case(SHIFTS)
        .a("UPDATE shifts SET begins = 15")
        .b("UPDATE shifts SET ends = 9")
        .meet()
        .parks("shifts", "'s'", "CHECK")
        // Each leaves one column as the documents have it, so that each writes another.
        .a("INSERT INTO shifts VALUES ('s', 15, 20, 'ann')")
        .b("INSERT INTO shifts VALUES ('s', 30, 31, 'ann')")
        .a("UPDATE shifts SET begins = 33, ends = 40")
        .b("UPDATE shifts SET begins = 33, ends = 34")
        .a("UPDATE shifts SET begins = 35")
        .meet()
        .shows("shifts", &[])
        .parks("shifts", "'s'", "CHECK")
        .conflict("shifts 's' begins: 35 over 33")
        .conflict("shifts 's' ends: 34 over 40")
        .holds();
}

#[test]
fn a_parked_row_returns_by_itself_when_somebody_who_was_away_had_written_what_fits() {
    case(SHIFTS)
        .a("UPDATE shifts SET begins = 15")
        .b("UPDATE shifts SET ends = 9")
        .c("UPDATE shifts SET ends = 22")
        .meet_of(&[A, B])
        .shows("shifts", &[])
        .parks("shifts", "'s'", "CHECK")
        .meet()
        .shows("shifts", &["'s', 15, 22, 'ann'"])
        .conflict("shifts 's' ends: 22 over 9")
        .holds_of_three();
}

#[test]
fn a_row_that_fits_again_after_a_third_edit_is_never_missed() {
    case(SHIFTS)
        .a("UPDATE shifts SET begins = 15")
        .b("UPDATE shifts SET ends = 9")
        .a("UPDATE shifts SET begins = 7")
        .meet()
        .shows("shifts", &["'s', 7, 9, 'ann'"])
        .holds();
}

#[test]
fn what_others_write_in_a_parked_row_is_there_when_it_returns() {
    case(SHIFTS)
        .a("UPDATE shifts SET begins = 15")
        .b("UPDATE shifts SET ends = 9")
        .c("UPDATE shifts SET who = 'by c'")
        .meet()
        .shows("shifts", &[])
        .parks("shifts", "'s'", "CHECK")
        .a("INSERT INTO shifts VALUES ('s', 1, 9, 'by c')")
        .meet()
        .shows("shifts", &["'s', 1, 9, 'by c'"])
        .conflict("shifts 's' begins: 1 over 15")
        .holds();
}

#[test]
fn a_row_that_two_bring_against_a_check_on_null_is_parked() {
    case(
        "CREATE TABLE contacts (id TEXT PRIMARY KEY, mail TEXT, phone TEXT,
                                 CHECK (mail IS NOT NULL OR phone IS NOT NULL));
          INSERT INTO contacts VALUES ('c', 'mail', 'phone'), ('d', 'mail', 'phone')",
    )
    .a("UPDATE contacts SET mail = NULL")
    .b("UPDATE contacts SET phone = NULL WHERE id = 'c'")
    .meet()
    .shows("contacts", &["'d', NULL, 'phone'"])
    .parks("contacts", "'c'", "CHECK")
    .holds();
}

#[test]
fn a_parked_row_that_somebody_who_does_not_know_deletes_lives_on_with_the_edits() {
    case(SHIFTS)
        .a("UPDATE shifts SET begins = 15")
        .b("UPDATE shifts SET ends = 9")
        .c("DELETE FROM shifts")
        .meet()
        .shows("shifts", &[])
        .parks("shifts", "'s'", "CHECK")
        .holds_of_three();
}

#[test]
fn where_deletes_win_a_row_that_does_not_fit_is_deleted_and_not_parked() {
    case(SHIFTS)
        .with("shifts", || TableOptions::default().deletes_win())
        .a("UPDATE shifts SET begins = 15")
        .b("UPDATE shifts SET ends = 9")
        .c("DELETE FROM shifts")
        .meet()
        .shows("shifts", &[])
        .holds();
}

#[test]
fn a_row_revived_by_an_edit_is_judged_like_any_other() {
    case(SHIFTS)
        .a("UPDATE shifts SET begins = 15")
        .a("DELETE FROM shifts")
        .b("UPDATE shifts SET ends = 9")
        .meet()
        .shows("shifts", &[])
        .parks("shifts", "'s'", "CHECK")
        .holds();
}

#[test]
fn a_parked_row_and_the_others_of_its_transaction_are_judged_apart() {
    case(SHIFTS)
        .a("BEGIN; UPDATE shifts SET begins = 15; INSERT INTO shifts VALUES ('t', 1, 2, 'bob'); COMMIT")
        .b("BEGIN; UPDATE shifts SET ends = 9; INSERT INTO shifts VALUES ('u', 3, 4, 'cid'); COMMIT")
        .meet()
        .shows("shifts", &["'t', 1, 2, 'bob'", "'u', 3, 4, 'cid'"])
        .parks("shifts", "'s'", "CHECK")
        .holds();
}

#[test]
fn a_parked_row_returns_when_the_check_is_dropped() {
    case(SHIFTS)
        .schemas_differ()
        .a("UPDATE shifts SET begins = 15")
        .b("UPDATE shifts SET ends = 9")
        .meet()
        .parks("shifts", "'s'", "CHECK")
        .a("CREATE TABLE free (id TEXT PRIMARY KEY, begins INTEGER, ends INTEGER, who TEXT);
            INSERT INTO free SELECT * FROM shifts; DROP TABLE shifts; ALTER TABLE free RENAME TO shifts")
        .meet()
        .shows_at(A, "shifts", &["'s', 15, 9, 'ann'"])
        .shows_at(B, "shifts", &[])
        .parks_at(B, "shifts", "'s'", "CHECK")
        .parks_at(C, "shifts", "'s'", "CHECK")
        .holds_of_three();
}

#[test]
fn a_parked_row_stays_parked_when_its_file_is_opened_again_or_copied() {
    case(SHIFTS)
        .a("UPDATE shifts SET begins = 15")
        .b("UPDATE shifts SET ends = 9")
        .meet()
        .parks("shifts", "'s'", "CHECK")
        .reopens(A)
        .copies(A, C)
        .meet()
        .shows("shifts", &[])
        .parks("shifts", "'s'", "CHECK")
        .holds_of_three();
}

#[test]
fn a_clone_parks_what_the_others_park() {
    case(SHIFTS)
        .a("UPDATE shifts SET begins = 15")
        .b("UPDATE shifts SET ends = 9; INSERT INTO shifts VALUES ('t', 1, 2, 'bob')")
        .meet()
        .parks("shifts", "'s'", "CHECK")
        .clones(A, C)
        .meet()
        .shows("shifts", &["'t', 1, 2, 'bob'"])
        .parks("shifts", "'s'", "CHECK")
        .holds_of_three();
}
