//! Rows that are inserted where another is parked under the same key. It is in no table, so whoever inserts one may have
//! seen it in the list of what is parked, and repair it; or may know nothing of it, as where SQLite hands a number out again.
//! Nobody can tell which, so the new values show and the others are kept.
//!
//! What went wrong: the values of the parked row were gone, silently.

use driftless::TableOptions;

use crate::case::{Case, Who::*, case};

const SHOP: &str = "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT);
                    CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER REFERENCES customers (id), what TEXT);
                    INSERT INTO customers VALUES (1, 'Ann'), (2, 'Bob')";

/// A counter and a text, and a CHECK that two edits can break.
const STOCK: &str =
    "CREATE TABLE stock (id TEXT PRIMARY KEY, n INTEGER, body TEXT, low INTEGER, high INTEGER,
                                         CHECK (low < high));
                     INSERT INTO stock VALUES ('s', 10, 'The quick fox.', 1, 9)";

fn kinds() -> TableOptions {
    TableOptions::default().counter("n").text("body")
}

/// An order of tea, which B inserted and which is parked: A deleted the customer meanwhile.
fn parked_tea() -> Case {
    case(SHOP)
        .with("customers", TableOptions::integer_key)
        .with("orders", TableOptions::integer_key)
        .a("DELETE FROM customers WHERE id = 1")
        .b("INSERT INTO orders (customer, what) VALUES (1, 'tea')")
        .meet()
        .shows("orders", &[])
        .parks("orders", "1", "FOREIGN KEY")
}

#[test]
fn a_number_that_sqlite_hands_out_again_shows_the_new_row_and_keeps_the_values_of_the_parked_one() {
    parked_tea()
        .a("INSERT INTO orders (customer, what) VALUES (2, 'jam')")
        .meet()
        .shows("orders", &["1, 2, 'jam'"])
        .conflict("orders 1 customer: 2 over 1")
        .conflict("orders 1 what: 'jam' over 'tea'")
        .holds();
}

#[test]
fn what_its_own_author_inserts_over_it_keeps_the_parked_values_as_well() {
    parked_tea()
        .b("INSERT INTO orders (customer, what) VALUES (2, 'jam')")
        .meet()
        .shows("orders", &["1, 2, 'jam'"])
        .conflict("orders 1 customer: 2 over 1")
        .conflict("orders 1 what: 'jam' over 'tea'")
        .holds();
}

/// Its values were gone: the row counted as an edit of one that had shown them.
#[test]
fn what_is_inserted_over_it_while_the_table_is_not_tracked_keeps_the_parked_values_as_well() {
    for who in [A, B] {
        const INSERT: &str = "INSERT INTO orders (id, customer, what) VALUES (1, 2, 'jam')";
        let case = parked_tea().untracks(who, "orders");
        let case = if who == A { case.a(INSERT) } else { case.b(INSERT) };
        case.tracks(who, "orders")
            .meet()
            .shows("orders", &["1, 2, 'jam'"])
            .conflict("orders 1 customer: 2 over 1")
            .conflict("orders 1 what: 'jam' over 'tea'")
            .holds();
    }
}

#[test]
fn the_new_values_show_even_if_their_authors_clock_is_behind() {
    parked_tea()
        .a("INSERT INTO orders (customer, what) VALUES (2, 'jam')")
        .by_a_clock_at(A, 1000)
        .meet()
        .shows("orders", &["1, 2, 'jam'"])
        .conflict("orders 1 customer: 2 over 1")
        .conflict("orders 1 what: 'jam' over 'tea'")
        .holds();
}

#[test]
fn columns_that_are_inserted_as_they_were_parked_are_in_no_conflict() {
    parked_tea()
        .a("INSERT INTO orders (customer, what) VALUES (2, 'tea')")
        .meet()
        .shows("orders", &["1, 2, 'tea'"])
        .conflict("orders 1 customer: 2 over 1")
        .holds();
}

#[test]
fn a_row_that_is_inserted_just_as_it_was_parked_is_in_no_conflict() {
    parked_tea()
        .a("INSERT INTO customers VALUES (1, 'Ann'); INSERT INTO orders (customer, what) VALUES (1, 'tea')")
        .meet()
        .shows("orders", &["1, 1, 'tea'"])
        .holds();
}

#[test]
fn deleting_the_new_row_deletes_the_parked_one_with_it() {
    parked_tea()
        .a("INSERT INTO orders (customer, what) VALUES (2, 'jam')")
        .a("DELETE FROM orders")
        .meet()
        .shows("orders", &[])
        .holds();
}

#[test]
fn writing_a_column_anew_settles_what_the_parked_row_had_in_it() {
    parked_tea()
        .a("INSERT INTO orders (customer, what) VALUES (2, 'jam')")
        .b("UPDATE customers SET name = 'Bill' WHERE id = 2")
        .a("UPDATE orders SET what = 'jam and tea'")
        .meet()
        .shows("orders", &["1, 2, 'jam and tea'"])
        .conflict("orders 1 customer: 2 over 1")
        .holds();
}

#[test]
fn what_was_in_conflict_in_the_parked_row_stays_so() {
    case(STOCK)
        .a("UPDATE stock SET low = 8")
        .b("UPDATE stock SET high = 5, body = 'by b'")
        .c("UPDATE stock SET body = 'by c'")
        .meet()
        .parks("stock", "'s'", "CHECK")
        .conflict("stock 's' body: 'by c' over 'by b'")
        .a("INSERT INTO stock VALUES ('s', 10, 'by a', 1, 5)")
        .meet()
        .shows("stock", &["'s', 10, 'by a', 1, 5"])
        .conflict("stock 's' body: 'by a' over 'by c', 'by b'")
        .conflict("stock 's' low: 1 over 8")
        .holds_of_three();
}

#[test]
fn a_counter_shows_what_was_inserted_and_keeps_what_it_had_come_to() {
    case(STOCK)
        .with("stock", kinds)
        .a("UPDATE stock SET low = 8, n = n + 5")
        .b("UPDATE stock SET high = 5, n = n + 1")
        .meet()
        .parks("stock", "'s'", "CHECK")
        .a("INSERT INTO stock VALUES ('s', 100, 'The quick fox.', 1, 5)")
        .meet()
        .shows("stock", &["'s', 100, 'The quick fox.', 1, 5"])
        .conflict("stock 's' low: 1 over 8")
        .conflict("stock 's' n: 100 over 16")
        .a("UPDATE stock SET n = n + 1")
        .b("UPDATE stock SET n = n + 2")
        .meet()
        .shows("stock", &["'s', 103, 'The quick fox.', 1, 5"])
        .conflict("stock 's' low: 1 over 8")
        .conflict("stock 's' n: 103 over 19")
        .holds();
}

#[test]
fn a_text_that_is_inserted_does_not_replace_the_parked_one() {
    case(STOCK)
        .with("stock", kinds)
        .a("UPDATE stock SET low = 8")
        .b("UPDATE stock SET high = 5, body = 'The quick brown fox.'")
        .meet()
        .parks("stock", "'s'", "CHECK")
        .a("INSERT INTO stock VALUES ('s', 10, 'Another.', 1, 5)")
        .meet()
        .shows("stock", &["'s', 10, 'Another.', 1, 5"])
        .conflict("stock 's' body: 'Another.' over 'The quick brown fox.'")
        .conflict("stock 's' low: 1 over 8")
        .b("UPDATE stock SET body = 'Another one.'")
        .meet()
        .shows("stock", &["'s', 10, 'Another one.', 1, 5"])
        .conflict("stock 's' low: 1 over 8")
        .holds();
}
