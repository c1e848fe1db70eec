//! Columns that swap names, or hand them on: each machine runs the same migration, one after the other, and the values go along.

use driftless::TableOptions;
use driftless_tests::Replicas;

const PEOPLE: &str =
    "CREATE TABLE people (id TEXT PRIMARY KEY, first TEXT, last TEXT, nick TEXT, age INTEGER DEFAULT 0);
    INSERT INTO people VALUES ('a', 'Ann', 'Archer', 'an', 30), ('b', 'Bob', 'Baker', 'bo', 40)";

const SWAP: &str = "ALTER TABLE people RENAME first TO x; ALTER TABLE people RENAME last TO first;
    ALTER TABLE people RENAME x TO last";

const ROTATE: &str = "ALTER TABLE people RENAME first TO x; ALTER TABLE people RENAME last TO first;
    ALTER TABLE people RENAME nick TO last; ALTER TABLE people RENAME x TO nick";

fn replicas(count: usize) -> Replicas {
    Replicas::new(count, PEOPLE, &["people"], &TableOptions::default())
}

fn conflicts(replicas: &Replicas) -> Vec<String> {
    replicas.query_all("SELECT count(*) FROM driftless_conflicts")
}

/// The second machine's migration undid the first's: its columns had the other's values under the new names already.
#[test]
fn two_columns_that_swap_names_on_one_machine_after_the_other_keep_their_values() {
    for in_one_transaction in [true, false] {
        let mut replicas = replicas(3);
        let swap = if in_one_transaction { format!("BEGIN; {SWAP}; COMMIT") } else { SWAP.to_owned() };
        replicas.sql(0, &swap);
        replicas.settle();
        let names = "SELECT first, last FROM people ORDER BY id";
        assert_eq!(replicas.query(0, names), ["'Archer', 'Ann'", "'Baker', 'Bob'"]);
        for node in [1, 2] {
            assert_eq!(replicas.query(node, names), ["'Ann', 'Archer'", "'Bob', 'Baker'"]);
        }
        replicas.sql(1, "UPDATE people SET first = 'Anna' WHERE id = 'a'");
        replicas.settle();
        assert_eq!(replicas.query(0, names)[0], "'Archer', 'Anna'");
        replicas.sql(1, &swap);
        replicas.settle();
        replicas.sql(1, "UPDATE people SET first = 'Cook' WHERE id = 'b'");
        replicas.meet();
        replicas.sql(2, &swap);
        replicas.settle();
        assert_eq!(replicas.query_all(names), ["'Archer', 'Anna'", "'Cook', 'Bob'"]);
        assert_eq!(conflicts(&replicas), ["0"]);
        assert_eq!(replicas.warning("people"), None);
        (0..3).for_each(|node| replicas.assert_well(node));
        let copy = replicas.join("");
        replicas.settle();
        assert_eq!(replicas.node(copy).make_defined_tables().expect("made"), ["people"]);
        replicas.settle();
        replicas.sql(copy, "UPDATE people SET last = 'Ben' WHERE id = 'b'");
        replicas.meet();
        assert_eq!(replicas.query_all(names), ["'Archer', 'Anna'", "'Cook', 'Ben'"]);
        // And back.
        for node in 0..4 {
            replicas.sql(node, &swap);
            replicas.settle();
        }
        assert_eq!(replicas.query_all(names), ["'Anna', 'Archer'", "'Ben', 'Cook'"]);
        (0..4).for_each(|node| replicas.assert_well(node));
    }
}

#[test]
fn names_that_are_handed_on_in_a_circle_or_in_a_row_are_known() {
    let row = "ALTER TABLE people RENAME first TO given; ALTER TABLE people RENAME last TO first";
    for (migrate, select, expected) in [
        (ROTATE, "SELECT first, last, nick", ["'Archer', 'an', 'Anna'", "'Baker', 'bo', 'Bob'"]),
        (row, "SELECT given, first, nick", ["'Anna', 'Archer', 'an'", "'Bob', 'Baker', 'bo'"]),
    ] {
        let mut replicas = replicas(2);
        replicas.sql(0, migrate);
        replicas.settle();
        replicas.sql(1, "UPDATE people SET first = 'Anna' WHERE id = 'a'");
        replicas.settle();
        replicas.sql(1, migrate);
        replicas.settle();
        let select = format!("{select} FROM people ORDER BY id");
        assert_eq!(replicas.query_all(&select), expected, "{migrate}");
        assert_eq!(conflicts(&replicas), ["0"], "{migrate}");
        assert_eq!(replicas.warning("people"), None, "{migrate}");
        (0..2).for_each(|node| replicas.assert_well(node));
    }
}

#[test]
fn what_was_written_offline_before_names_are_swapped_arrives_under_the_new_names() {
    for (edit, first) in [
        ("UPDATE people SET first = 'Anna' WHERE id = 'a'", "'Bob'"),
        // In every row, so that no row is as it was.
        ("UPDATE people SET first = first || 'a'", "'Boba'"),
    ] {
        let mut replicas = replicas(2);
        replicas.sql(0, SWAP);
        replicas.settle();
        replicas.sql(1, edit);
        replicas.sql(1, "INSERT INTO people (id, first, last) VALUES ('c', 'Cid', 'Cook')");
        replicas.sql(1, SWAP);
        replicas.sql(1, "UPDATE people SET first = 'Miller' WHERE id = 'b'");
        replicas.settle();
        let expected =
            ["'Archer', 'Anna'".to_owned(), format!("'Miller', {first}"), "'Cook', 'Cid'".to_owned()];
        assert_eq!(replicas.query_all("SELECT first, last FROM people ORDER BY id"), expected, "{edit}");
        assert_eq!(conflicts(&replicas), ["0"]);
        assert_eq!(replicas.warning("people"), None);
        (0..2).for_each(|node| replicas.assert_well(node));
    }
}

/// Without rows, or where both columns hold the same, the values do not tell.
#[test]
fn swapped_names_of_columns_that_hold_the_same_are_known() {
    for rows in ["", "INSERT INTO people (id, first, last) VALUES ('a', 'same', 'same')"] {
        let schema = format!("CREATE TABLE people (id TEXT PRIMARY KEY, first TEXT, last TEXT); {rows}");
        let mut replicas = Replicas::new(3, &schema, &["people"], &TableOptions::default());
        for node in [0, 1] {
            replicas.sql(node, SWAP);
            replicas.settle();
            assert_eq!(replicas.warning("people"), None);
        }
        replicas.sql(2, "INSERT INTO people (id, first, last) VALUES ('z', 'Zoe', 'Zorn')");
        replicas.meet();
        assert_eq!(replicas.query(0, "SELECT first, last FROM people WHERE id = 'z'"), ["'Zorn', 'Zoe'"]);
        replicas.sql(2, SWAP);
        replicas.settle();
        assert_eq!(replicas.query_all("SELECT first, last FROM people WHERE id = 'z'"), ["'Zorn', 'Zoe'"]);
        (0..3).for_each(|node| replicas.assert_well(node));
    }
}

#[test]
fn a_column_that_is_dropped_and_added_again_swapped_no_names() {
    for fill in ["", "UPDATE people SET first = last", "UPDATE people SET age = 1"] {
        let mut replicas = replicas(2);
        replicas.sql(
            0,
            &format!("ALTER TABLE people DROP first; ALTER TABLE people ADD first TEXT DEFAULT '-'; {fill}"),
        );
        replicas.settle();
        assert_eq!(
            replicas.query_all("SELECT last FROM people ORDER BY id"),
            ["'Archer'", "'Baker'"],
            "{fill}"
        );
        let question = replicas.warning("people");
        assert_eq!(question, None, "{fill}");
    }
}

/// An engine that looks in the middle of such a migration took the first column for a dropped one, and filled the second with what
/// the first had held.
#[test]
fn names_that_are_swapped_while_a_sync_looks_on_are_known_and_lose_no_values() {
    let mut replicas = replicas(2);
    let names = "SELECT first, last FROM people ORDER BY id";
    let step_by_step = |replicas: &mut Replicas, node: usize| {
        for statement in SWAP.split(';') {
            replicas.sql(node, statement);
            replicas.settle();
        }
    };
    step_by_step(&mut replicas, 0);
    assert_eq!(replicas.query(0, names), ["'Archer', 'Ann'", "'Baker', 'Bob'"]);
    replicas.sql(1, "UPDATE people SET first = 'Anna' WHERE id = 'a'");
    replicas.settle();
    assert_eq!(replicas.query(0, names), ["'Archer', 'Anna'", "'Baker', 'Bob'"]);
    step_by_step(&mut replicas, 1);
    assert_eq!(replicas.query_all(names), ["'Archer', 'Anna'", "'Baker', 'Bob'"]);
    replicas.sql(1, "UPDATE people SET first = 'Baxter', last = 'Ben' WHERE id = 'b'");
    replicas.meet();
    assert_eq!(replicas.query_all(names), ["'Archer', 'Anna'", "'Baxter', 'Ben'"]);
    assert_eq!(conflicts(&replicas), ["0"]);
    assert_eq!(replicas.warning("people"), None);
    (0..2).for_each(|node| replicas.assert_well(node));
}

/// Conflicts were listed under the name that the column had at first. Another column has that name now, and whoever settled a
/// conflict as told overwrote that other column.
#[test]
fn conflicts_are_listed_and_settled_under_the_names_that_the_columns_have_now() {
    let mut replicas = replicas(2);
    replicas.sql(0, "UPDATE people SET first = 'Anna' WHERE id = 'a'");
    replicas.sql(1, "UPDATE people SET first = 'Anne' WHERE id = 'a'");
    replicas.meet();
    for node in 0..2 {
        replicas.sql(node, SWAP);
        replicas.settle();
    }
    replicas.meet();
    assert_eq!(replicas.query_all("SELECT DISTINCT \"column\" FROM driftless_conflicts"), ["'last'"]);
    let listed = driftless::conflicts(replicas.path(0)).expect("read");
    assert_eq!(listed.iter().map(|conflict| &*conflict.column).collect::<Vec<_>>(), ["last"]);
    replicas.sql(0, "DELETE FROM driftless_conflicts WHERE \"table\" = 'people' AND \"column\" = 'last'");
    replicas.settle();
    replicas.meet();
    assert_eq!(conflicts(&replicas), ["0"]);
    assert_eq!(replicas.query_all("SELECT first FROM people WHERE id = 'a'"), ["'Archer'"]);
}

/// Machine 1 swaps the columns of an empty table, and the other adds a row before it swaps them as well. The other's columns were
/// turned back.
#[test]
fn a_swap_in_an_empty_table_does_not_undo_it_on_the_other() {
    let mut replicas = replicas(2);
    replicas.sql(0, "DELETE FROM people");
    replicas.settle();
    replicas.sql(1, SWAP);
    replicas.settle();
    replicas.sql(0, "INSERT INTO people (id, first, last) VALUES ('c', 'Cid', 'Cook')");
    replicas.settle();
    assert_eq!(replicas.query(1, "SELECT first, last FROM people"), ["'Cook', 'Cid'"]);
    replicas.sql(0, SWAP);
    replicas.settle();
    replicas.meet();
    assert_eq!(replicas.query_all("SELECT first, last FROM people"), ["'Cook', 'Cid'"]);
    (0..2).for_each(|node| replicas.assert_well(node));
}
