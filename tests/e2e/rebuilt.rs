//! Tables that were rebuilt, as migrations do: what is told of them, what commands do to them, and what becomes of them under
//! another key or name. What becomes of their rows is in `what_happens/rebuilt.rs`, and how long an engine waits for a table that
//! is in the making in `in_the_making.rs`.

use driftless::{Selection, TableOptions};
use driftless_tests::{Replicas, later};

pub(crate) const ITEMS: &str = "CREATE TABLE items (id TEXT PRIMARY KEY, name TEXT, qty INTEGER)";
pub(crate) const ROWS: &str = "INSERT INTO items VALUES ('1', 'one', 1), ('2', 'two', 2), ('3', 'three', 3)";
pub(crate) const COLUMNS: &str =
    "id TEXT PRIMARY KEY, name TEXT, qty INTEGER, kind TEXT NOT NULL DEFAULT 'x'";

/// The steps of migration tools: make a new table, copy the rows that are kept, drop the old table, rename the new one.
pub(crate) fn rebuild(columns: &str, select: &str) -> String {
    format!(
        "BEGIN; CREATE TABLE new_items ({columns}); INSERT INTO new_items {select}; DROP TABLE items;
         ALTER TABLE new_items RENAME TO items; COMMIT;"
    )
}

fn replicas(count: usize) -> Replicas {
    let mut replicas = Replicas::new(count, ITEMS, &["items"], &TableOptions::default());
    replicas.sql(0, ROWS);
    replicas.meet();
    replicas
}

pub(crate) fn names(replicas: &Replicas) -> Vec<String> {
    replicas.query_all("SELECT id, name FROM items ORDER BY id")
}

/// The tables that `status` lists, with their states.
pub(crate) fn listed(replicas: &Replicas, node: usize) -> Vec<(String, &'static str)> {
    let status = driftless::status(replicas.path(node)).expect("a status");
    status.tables.into_iter().map(|table| (table.table, table.state)).collect()
}

#[test]
fn rows_that_a_migration_leaves_out_are_deleted_everywhere() {
    let mut replicas = replicas(3);
    replicas.sql(0, &rebuild(COLUMNS, "SELECT id, name, qty, 'y' FROM items WHERE id <> '2'"));
    replicas.meet();
    assert_eq!(names(&replicas), ["'1', 'one'", "'3', 'three'"]);
    let status = driftless::status(replicas.path(0)).expect("a status");
    let found = status.tables[0].rebuilt.expect("it was rebuilt");
    assert_eq!((found.deleted, found.inserted), (1, 0), "{found:?}");
}

#[test]
fn an_edit_that_no_trigger_saw_has_the_time_at_which_the_file_was_last_written() {
    let mut replicas = replicas(2);
    replicas.close(0);
    replicas.sql(0, &rebuild(COLUMNS, "SELECT *, 'y' FROM items"));
    replicas.sql(0, "UPDATE items SET name = 'earlier'");
    // A file's last write is told in ticks of the system, of a few milliseconds.
    (0..20).for_each(|_| later());
    replicas.sql(1, "UPDATE items SET name = 'later' WHERE id = '1'");
    replicas.capture(1);
    later();
    // Reading the file is no write, though it leaves an empty log.
    driftless::status(replicas.path(1).with_file_name("0.db")).expect("a status");
    replicas.reopen(0);
    replicas.meet();
    assert_eq!(names(&replicas), ["'1', 'later'", "'2', 'earlier'", "'3', 'earlier'"]);
    let kept = replicas.query_all("SELECT value FROM driftless_conflicts WHERE shown = 0");
    assert_eq!(kept, ["'earlier'"], "and is kept");
}

/// `status` said to make a new table; what helps is to track it again, after which each row was there twice, once under its
/// old key.
#[test]
fn a_table_with_another_primary_key_is_another_table_once_it_is_tracked_again() {
    let rekey = "BEGIN; CREATE TABLE new_items (id TEXT, uid TEXT PRIMARY KEY, name TEXT, qty INTEGER);
                 INSERT INTO new_items SELECT id, 'u' || id, name, qty FROM items; DROP TABLE items;
                 ALTER TABLE new_items RENAME TO items; COMMIT;";
    let mut replicas = Replicas::new(3, ITEMS, &["items"], &TableOptions::default().counter("qty"));
    replicas.sql(0, ROWS);
    replicas.meet();
    replicas.sql(0, rekey);
    replicas.settle();
    let reason = replicas.warning("items").expect("a reason");
    assert!(
        reason.contains("from (id) to (uid)") && reason.contains("`driftless track FILE items`"),
        "{reason}"
    );
    assert_eq!(listed(&replicas, 0), [("items".to_owned(), "unfit")]);
    driftless::track(replicas.path(0), Selection::Named(&["items"]), TableOptions::default())
        .expect("tracked");
    replicas.capture(0);
    replicas.sql(0, "UPDATE items SET name = 'ONE' WHERE uid = 'u1'; DELETE FROM items WHERE uid = 'u2'");
    replicas.settle();
    assert_eq!(listed(&replicas, 0), [("items".to_owned(), "tracked")]);
    let migrated = ["'1', 'u1', 'ONE'", "'3', 'u3', 'three'"];
    assert_eq!(replicas.query(0, "SELECT id, uid, name FROM items ORDER BY uid"), migrated);
    // The others go on under the old key, among themselves.
    replicas.sql(1, "UPDATE items SET qty = qty + 10 WHERE id = '3'");
    replicas.settle();
    assert_eq!(
        replicas.query(2, "SELECT id, name, qty FROM items ORDER BY id"),
        ["'1', 'one', 1", "'2', 'two', 2", "'3', 'three', 13"]
    );
    replicas.sql(1, rekey);
    replicas.settle();
    driftless::track(replicas.path(1), Selection::Named(&["items"]), TableOptions::default())
        .expect("tracked");
    replicas.settle();
    for node in 0..2 {
        assert_eq!(replicas.query(node, "SELECT id, uid, name FROM items ORDER BY uid"), migrated, "{node}");
        replicas.assert_well(node);
        assert_eq!(replicas.query(node, "SELECT count(*) FROM driftless_parked"), ["0"]);
    }
    let copy = replicas.join("");
    replicas.settle();
    assert_eq!(replicas.node(copy).make_defined_tables().expect("made"), ["items"]);
    replicas.settle();
    assert_eq!(replicas.query(copy, "SELECT id, uid, name FROM items ORDER BY uid"), migrated);
}

/// Commands made our triggers anew before anybody looked, and so nobody knew that the table had been rebuilt: rows that the
/// migration left out came back, and edits were undone.
#[test]
fn a_command_right_after_a_migration_does_not_hide_it() {
    type Command = fn(&std::path::Path);
    let commands: [Command; 4] = [
        |path| driftless::set_kind(path, "items", "qty", driftless::ColumnKind::Counter).expect("changed"),
        |path| driftless::rename_column(path, "items", "name", "title").expect("renamed"),
        |path| {
            drop(
                driftless::track(path, Selection::Named(&["items"]), TableOptions::default())
                    .expect("tracked"),
            )
        },
        |path| drop(driftless::track(path, Selection::All, TableOptions::default()).expect("tracked")),
    ];
    for (at, command) in commands.into_iter().enumerate() {
        let mut replicas = replicas(2);
        replicas.sql(
            0,
            &rebuild(
                "id TEXT PRIMARY KEY, name TEXT, qty INTEGER, more",
                "SELECT *, 1 FROM items WHERE id <> '2'",
            ),
        );
        replicas.sql(0, "UPDATE items SET qty = 9 WHERE id = '1'");
        command(replicas.path(0));
        replicas.meet();
        assert_eq!(replicas.query_all("SELECT id, qty FROM items ORDER BY id"), ["'1', 9", "'3', 3"], "{at}");
        (0..2).for_each(|node| replicas.assert_well(node));
    }
}

/// `track` said that it tracked the table, and it did not until it was said again.
#[test]
fn a_table_that_is_tracked_right_after_its_key_changed_is_tracked_with_the_new_one() {
    let mut replicas = replicas(2);
    let rekeyed = rebuild("name TEXT PRIMARY KEY, id TEXT, qty INTEGER", "SELECT name, id, qty FROM items");
    for node in 0..2 {
        replicas.sql(node, &rekeyed);
        driftless::track(replicas.path(node), Selection::Named(&["items"]), TableOptions::default())
            .expect("tracked");
    }
    replicas.sql(0, "INSERT INTO items VALUES ('four', '4', 4)");
    replicas.meet();
    assert_eq!(
        replicas.query_all("SELECT name FROM items ORDER BY id"),
        ["'one'", "'two'", "'three'", "'four'"]
    );
    let states = |node| {
        driftless::status(replicas.path(node))
            .expect("a status")
            .tables
            .iter()
            .any(|table| table.table == "items" && table.state == "tracked")
    };
    assert!(states(0) && states(1));
}

#[test]
fn a_table_that_is_renamed_to_what_another_was_called_goes_on_as_itself() {
    let schema = format!(
        "{ITEMS}; {ROWS}; CREATE TABLE people (id TEXT PRIMARY KEY, name TEXT); INSERT INTO people VALUES ('p', 'Ann')"
    );
    let mut replicas = Replicas::new(2, &schema, &["items", "people"], &TableOptions::default());
    replicas.sql(0, "DROP TABLE items");
    replicas.meet();
    replicas.sql(0, "ALTER TABLE people RENAME TO items; INSERT INTO items VALUES ('q', 'Bob')");
    replicas.sql(1, "UPDATE people SET name = 'ANN' WHERE id = 'p'");
    replicas.settle();
    let people = ["'p', 'ANN'", "'q', 'Bob'"];
    assert_eq!(replicas.query(0, "SELECT id, name FROM items ORDER BY id"), people);
    assert_eq!(replicas.query(1, "SELECT id, name FROM people ORDER BY id"), people);
    assert_eq!(replicas.query(1, "SELECT count(*) FROM items"), ["3"]);
    replicas.assert_well(0);
    // Somebody tracked by its name what a migration renames: the rows tell.
    replicas.sql(1, "CREATE TABLE new_items (id TEXT PRIMARY KEY, name TEXT)");
    replicas.node(1).track(&["new_items"], TableOptions::default()).expect("tracked");
    replicas.sql(1, "INSERT INTO new_items SELECT id, name FROM items WHERE id <> '2'");
    replicas.capture(1);
    replicas.sql(1, "DROP TABLE items; ALTER TABLE new_items RENAME TO items");
    replicas.settle();
    assert_eq!(replicas.query(1, "SELECT id, name FROM items ORDER BY id"), ["'1', 'one'", "'3', 'three'"]);
    assert!(listed(&replicas, 1).iter().all(|(table, _)| table != "new_items"), "{:?}", listed(&replicas, 1));
    replicas.assert_well(1);
}
