//! Columns that merge in a way of their own: counters add up, texts merge character by character.

use driftless::TableOptions;

use crate::case::{Who::*, case};

const STOCK: &str = "CREATE TABLE stock (id TEXT PRIMARY KEY, n INTEGER, place TEXT);
                     INSERT INTO stock VALUES ('s', 10, 'shelf')";
const DRAFTS: &str = "CREATE TABLE drafts (id TEXT PRIMARY KEY, body TEXT, title TEXT);
                      INSERT INTO drafts VALUES ('d', 'The quick fox.', 'fox')";

fn counter() -> TableOptions {
    TableOptions::default().counter("n")
}

fn text() -> TableOptions {
    TableOptions::default().text("body")
}

#[test]
fn what_two_add_to_a_counter_adds_up() {
    case(STOCK)
        .with("stock", counter)
        .a("UPDATE stock SET n = n + 5")
        .b("UPDATE stock SET n = n - 3")
        .meet()
        .shows("stock", &["'s', 12, 'shelf'"])
        .holds();
}

#[test]
fn what_three_add_in_several_writes_adds_up_however_often_it_arrives() {
    case(STOCK)
        .with("stock", counter)
        .a("UPDATE stock SET n = n + 1")
        .b("UPDATE stock SET n = n + 10")
        .c("UPDATE stock SET n = n + 100")
        .a("UPDATE stock SET n = n + 1000")
        .meet()
        .shows("stock", &["'s', 1121, 'shelf'"])
        .b("UPDATE stock SET n = n - 1121")
        .meet()
        .shows("stock", &["'s', 0, 'shelf'"])
        .holds();
}

#[test]
fn setting_a_counter_adds_the_difference_to_what_was_there() {
    case(STOCK)
        .with("stock", counter)
        .a("UPDATE stock SET n = 0")
        .b("UPDATE stock SET n = n + 3")
        .meet()
        .shows("stock", &["'s', 3, 'shelf'"])
        .holds();
}

#[test]
fn a_counter_and_another_column_of_one_row_are_written_apart() {
    case(STOCK)
        .with("stock", counter)
        .a("UPDATE stock SET n = n + 5, place = 'by a'")
        .b("UPDATE stock SET n = n + 5, place = 'by b'")
        .meet()
        .shows("stock", &["'s', 20, 'by b'"])
        .conflict("stock 's' place: 'by b' over 'by a'")
        .holds();
}

#[test]
fn adding_to_a_counter_wins_over_a_delete() {
    case(STOCK)
        .with("stock", counter)
        .a("DELETE FROM stock")
        .b("UPDATE stock SET n = n + 1")
        .meet()
        .shows("stock", &["'s', 11, 'shelf'"])
        .holds();
}

#[test]
fn what_was_added_before_the_engine_was_opened_again_counts_once() {
    case(STOCK)
        .with("stock", counter)
        .a("UPDATE stock SET n = n + 1")
        .reopens(A)
        .a("UPDATE stock SET n = n + 1")
        .copies(A, C)
        .a("UPDATE stock SET n = n + 10")
        .c("UPDATE stock SET n = n + 100")
        .meet()
        .shows("stock", &["'s', 122, 'shelf'"])
        .holds_of_three();
}

#[test]
fn two_edits_of_one_text_in_different_places_are_both_in_it() {
    case(DRAFTS)
        .with("drafts", text)
        .a("UPDATE drafts SET body = 'The quick brown fox.'")
        .b("UPDATE drafts SET body = 'The quick fox jumps.'")
        .meet()
        .shows("drafts", &["'d', 'The quick brown fox jumps.', 'fox'"])
        .holds();
}

#[test]
fn what_one_deletes_in_a_text_is_deleted_and_what_another_inserts_there_stays() {
    case(DRAFTS)
        .with("drafts", text)
        .a("UPDATE drafts SET body = 'The fox.'")
        .b("UPDATE drafts SET body = 'The quick fox runs.'")
        .meet()
        .shows("drafts", &["'d', 'The fox runs.', 'fox'"])
        .holds();
}

#[test]
fn letters_of_more_than_one_byte_are_merged_whole() {
    case(
        "CREATE TABLE drafts (id TEXT PRIMARY KEY, body TEXT);
          INSERT INTO drafts VALUES ('d', '𝄞 Größe 日本')",
    )
    .with("drafts", text)
    .a("UPDATE drafts SET body = '𝄞𝄞 Größe 日本'")
    .b("UPDATE drafts SET body = '𝄞 Größe 日本語'")
    .meet()
    .shows("drafts", &["'d', '𝄞𝄞 Größe 日本語'"])
    .holds();
}

#[test]
fn a_text_edited_while_its_row_is_deleted_brings_the_row_back_with_the_edit() {
    case(DRAFTS)
        .with("drafts", text)
        .a("DELETE FROM drafts")
        .b("UPDATE drafts SET body = 'The quick fox lives.'")
        .meet()
        .shows("drafts", &["'d', 'The quick fox lives.', 'fox'"])
        .holds();
}

#[test]
fn a_text_and_the_other_columns_of_its_row_are_written_apart() {
    case(DRAFTS)
        .with("drafts", text)
        .a("UPDATE drafts SET body = 'A quick fox.', title = 'by a'")
        .b("UPDATE drafts SET body = 'The quick fox!', title = 'by b'")
        .meet()
        .shows("drafts", &["'d', 'A quick fox!', 'by b'"])
        .conflict("drafts 'd' title: 'by b' over 'by a'")
        .holds();
}

#[test]
fn a_text_merges_on_after_a_merge() {
    case(DRAFTS)
        .with("drafts", text)
        .a("UPDATE drafts SET body = 'The quick brown fox.'")
        .b("UPDATE drafts SET body = 'The quick fox jumps.'")
        .meet()
        .a("UPDATE drafts SET body = 'One quick brown fox jumps.'")
        .b("UPDATE drafts SET body = 'The quick brown fox jumps high.'")
        .meet()
        .shows("drafts", &["'d', 'One quick brown fox jumps high.', 'fox'"])
        .holds();
}
