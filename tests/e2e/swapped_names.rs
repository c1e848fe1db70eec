//! Columns that swap names, or hand them on: each machine runs the same migration, one after the other, and the values go along.

use driftless::TableOptions;
use driftless_tests::Circle;

const PEOPLE: &str =
    "CREATE TABLE people (id TEXT PRIMARY KEY, first TEXT, last TEXT, nick TEXT, age INTEGER DEFAULT 0);
    INSERT INTO people VALUES ('a', 'Ann', 'Archer', 'an', 30), ('b', 'Bob', 'Baker', 'bo', 40)";

const SWAP: &str = "ALTER TABLE people RENAME first TO x; ALTER TABLE people RENAME last TO first;
    ALTER TABLE people RENAME x TO last";

const ROTATE: &str = "ALTER TABLE people RENAME first TO x; ALTER TABLE people RENAME last TO first;
    ALTER TABLE people RENAME nick TO last; ALTER TABLE people RENAME x TO nick";

fn circle(count: usize) -> Circle {
    Circle::new(count, PEOPLE, &["people"], &TableOptions::default())
}

fn conflicts(circle: &Circle) -> Vec<String> {
    circle.query_all("SELECT count(*) FROM driftless_conflicts")
}

/// The second machine's migration undid the first's: its columns had the other's values under the new names already.
#[test]
fn two_columns_that_swap_names_on_one_machine_after_the_other_keep_their_values() {
    for in_one_transaction in [true, false] {
        let mut circle = circle(3);
        let swap = if in_one_transaction { format!("BEGIN; {SWAP}; COMMIT") } else { SWAP.to_owned() };
        circle.sql(0, &swap);
        circle.settle();
        let names = "SELECT first, last FROM people ORDER BY id";
        assert_eq!(circle.query(0, names), ["'Archer', 'Ann'", "'Baker', 'Bob'"]);
        for node in [1, 2] {
            assert_eq!(circle.query(node, names), ["'Ann', 'Archer'", "'Bob', 'Baker'"]);
        }
        circle.sql(1, "UPDATE people SET first = 'Anna' WHERE id = 'a'");
        circle.settle();
        assert_eq!(circle.query(0, names)[0], "'Archer', 'Anna'");
        circle.sql(1, &swap);
        circle.settle();
        circle.sql(1, "UPDATE people SET first = 'Cook' WHERE id = 'b'");
        circle.meet();
        circle.sql(2, &swap);
        circle.settle();
        assert_eq!(circle.query_all(names), ["'Archer', 'Anna'", "'Cook', 'Bob'"]);
        assert_eq!(conflicts(&circle), ["0"]);
        assert_eq!(circle.warning("people"), None);
        (0..3).for_each(|node| circle.assert_well(node));
        let copy = circle.join("");
        circle.settle();
        assert_eq!(circle.node(copy).make_defined_tables().expect("made"), ["people"]);
        circle.settle();
        circle.sql(copy, "UPDATE people SET last = 'Ben' WHERE id = 'b'");
        circle.meet();
        assert_eq!(circle.query_all(names), ["'Archer', 'Anna'", "'Cook', 'Ben'"]);
        // And back.
        for node in 0..4 {
            circle.sql(node, &swap);
            circle.settle();
        }
        assert_eq!(circle.query_all(names), ["'Anna', 'Archer'", "'Ben', 'Cook'"]);
        (0..4).for_each(|node| circle.assert_well(node));
    }
}

#[test]
fn names_that_are_handed_on_in_a_circle_or_in_a_row_are_known() {
    let row = "ALTER TABLE people RENAME first TO given; ALTER TABLE people RENAME last TO first";
    for (migrate, select, expected) in [
        (ROTATE, "SELECT first, last, nick", ["'Archer', 'an', 'Anna'", "'Baker', 'bo', 'Bob'"]),
        (row, "SELECT given, first, nick", ["'Anna', 'Archer', 'an'", "'Bob', 'Baker', 'bo'"]),
    ] {
        let mut circle = circle(2);
        circle.sql(0, migrate);
        circle.settle();
        circle.sql(1, "UPDATE people SET first = 'Anna' WHERE id = 'a'");
        circle.settle();
        circle.sql(1, migrate);
        circle.settle();
        let select = format!("{select} FROM people ORDER BY id");
        assert_eq!(circle.query_all(&select), expected, "{migrate}");
        assert_eq!(conflicts(&circle), ["0"], "{migrate}");
        assert_eq!(circle.warning("people"), None, "{migrate}");
        (0..2).for_each(|node| circle.assert_well(node));
    }
}

#[test]
fn what_was_written_offline_before_names_are_swapped_arrives_under_the_new_names() {
    for (edit, first) in [
        ("UPDATE people SET first = 'Anna' WHERE id = 'a'", "'Bob'"),
        // In every row, so that no row is as it was.
        ("UPDATE people SET first = first || 'a'", "'Boba'"),
    ] {
        let mut circle = circle(2);
        circle.sql(0, SWAP);
        circle.settle();
        circle.sql(1, edit);
        circle.sql(1, "INSERT INTO people (id, first, last) VALUES ('c', 'Cid', 'Cook')");
        circle.sql(1, SWAP);
        circle.sql(1, "UPDATE people SET first = 'Miller' WHERE id = 'b'");
        circle.settle();
        let expected =
            ["'Archer', 'Anna'".to_owned(), format!("'Miller', {first}"), "'Cook', 'Cid'".to_owned()];
        assert_eq!(circle.query_all("SELECT first, last FROM people ORDER BY id"), expected, "{edit}");
        assert_eq!(conflicts(&circle), ["0"]);
        assert_eq!(circle.warning("people"), None);
        (0..2).for_each(|node| circle.assert_well(node));
    }
}

/// Without rows, or where both columns hold the same, the values do not tell.
#[test]
fn swapped_names_of_columns_that_hold_the_same_are_known() {
    for rows in ["", "INSERT INTO people (id, first, last) VALUES ('a', 'same', 'same')"] {
        let schema = format!("CREATE TABLE people (id TEXT PRIMARY KEY, first TEXT, last TEXT); {rows}");
        let mut circle = Circle::new(3, &schema, &["people"], &TableOptions::default());
        for node in [0, 1] {
            circle.sql(node, SWAP);
            circle.settle();
            assert_eq!(circle.warning("people"), None);
        }
        circle.sql(2, "INSERT INTO people (id, first, last) VALUES ('z', 'Zoe', 'Zorn')");
        circle.meet();
        assert_eq!(circle.query(0, "SELECT first, last FROM people WHERE id = 'z'"), ["'Zorn', 'Zoe'"]);
        circle.sql(2, SWAP);
        circle.settle();
        assert_eq!(circle.query_all("SELECT first, last FROM people WHERE id = 'z'"), ["'Zorn', 'Zoe'"]);
        (0..3).for_each(|node| circle.assert_well(node));
    }
}

#[test]
fn a_column_that_is_dropped_and_added_again_swapped_no_names() {
    for fill in ["", "UPDATE people SET first = last", "UPDATE people SET age = 1"] {
        let mut circle = circle(2);
        circle.sql(
            0,
            &format!("ALTER TABLE people DROP first; ALTER TABLE people ADD first TEXT DEFAULT '-'; {fill}"),
        );
        circle.settle();
        assert_eq!(
            circle.query_all("SELECT last FROM people ORDER BY id"),
            ["'Archer'", "'Baker'"],
            "{fill}"
        );
        let question = circle.warning("people");
        assert_eq!(question, None, "{fill}");
    }
}

/// An engine that looks in the middle of such a migration took the first column for a dropped one, and filled the second with what
/// the first had held.
#[test]
fn names_that_are_swapped_while_a_sync_looks_on_are_known_and_lose_no_values() {
    let mut circle = circle(2);
    let names = "SELECT first, last FROM people ORDER BY id";
    let step_by_step = |circle: &mut Circle, node: usize| {
        for statement in SWAP.split(';') {
            circle.sql(node, statement);
            circle.settle();
        }
    };
    step_by_step(&mut circle, 0);
    assert_eq!(circle.query(0, names), ["'Archer', 'Ann'", "'Baker', 'Bob'"]);
    circle.sql(1, "UPDATE people SET first = 'Anna' WHERE id = 'a'");
    circle.settle();
    assert_eq!(circle.query(0, names), ["'Archer', 'Anna'", "'Baker', 'Bob'"]);
    step_by_step(&mut circle, 1);
    assert_eq!(circle.query_all(names), ["'Archer', 'Anna'", "'Baker', 'Bob'"]);
    circle.sql(1, "UPDATE people SET first = 'Baxter', last = 'Ben' WHERE id = 'b'");
    circle.meet();
    assert_eq!(circle.query_all(names), ["'Archer', 'Anna'", "'Baxter', 'Ben'"]);
    assert_eq!(conflicts(&circle), ["0"]);
    assert_eq!(circle.warning("people"), None);
    (0..2).for_each(|node| circle.assert_well(node));
}

/// Conflicts were listed under the name that the column had at first. Another column has that name now, and whoever settled a
/// conflict as told overwrote that other column.
#[test]
fn conflicts_are_listed_and_settled_under_the_names_that_the_columns_have_now() {
    let mut circle = circle(2);
    circle.sql(0, "UPDATE people SET first = 'Anna' WHERE id = 'a'");
    circle.sql(1, "UPDATE people SET first = 'Anne' WHERE id = 'a'");
    circle.meet();
    for node in 0..2 {
        circle.sql(node, SWAP);
        circle.settle();
    }
    circle.meet();
    assert_eq!(circle.query_all("SELECT DISTINCT \"column\" FROM driftless_conflicts"), ["'last'"]);
    let listed = driftless::conflicts(circle.path(0)).expect("read");
    assert_eq!(listed.iter().map(|conflict| &*conflict.column).collect::<Vec<_>>(), ["last"]);
    circle.sql(0, "DELETE FROM driftless_conflicts WHERE \"table\" = 'people' AND \"column\" = 'last'");
    circle.settle();
    circle.meet();
    assert_eq!(conflicts(&circle), ["0"]);
    assert_eq!(circle.query_all("SELECT first FROM people WHERE id = 'a'"), ["'Archer'"]);
}

/// Machine 1 swaps the columns of an empty table, and the other adds a row before it swaps them as well. The other's columns were
/// turned back.
#[test]
fn a_swap_in_an_empty_table_does_not_undo_it_on_the_other() {
    let mut circle = circle(2);
    circle.sql(0, "DELETE FROM people");
    circle.settle();
    circle.sql(1, SWAP);
    circle.settle();
    circle.sql(0, "INSERT INTO people (id, first, last) VALUES ('c', 'Cid', 'Cook')");
    circle.settle();
    assert_eq!(circle.query(1, "SELECT first, last FROM people"), ["'Cook', 'Cid'"]);
    circle.sql(0, SWAP);
    circle.settle();
    circle.meet();
    assert_eq!(circle.query_all("SELECT first, last FROM people"), ["'Cook', 'Cid'"]);
    (0..2).for_each(|node| circle.assert_well(node));
}
