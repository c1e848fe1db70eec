//! Tables that were rebuilt, as migrations do: what they hold then is what their app wants. Once an engine looked at such a
//! table and showed every document that had no row again, so that rows which were left out on purpose came back everywhere.
//!
//! Here a table is compared with its documents as soon as an engine looks; how long it waits is a matter of `e2e/rebuilt.rs`.

use driftless::TableOptions;

use crate::case::{Case, Who::*, case};

const ITEMS: &str = "CREATE TABLE items (id TEXT PRIMARY KEY, name TEXT, qty INTEGER)";
const ROWS: &str = "INSERT INTO items VALUES ('1', 'one', 1), ('2', 'two', 2), ('3', 'three', 3)";
const NAMES: &str = "SELECT id, name FROM items ORDER BY id";
const COLUMNS: &str = "id TEXT PRIMARY KEY, name TEXT, qty INTEGER, kind TEXT NOT NULL DEFAULT 'x'";

/// The steps of migration tools: make a new table, copy the rows that are kept, drop the old table, rename the new one.
fn rebuild(columns: &str, select: &str) -> String {
    format!(
        "BEGIN; CREATE TABLE new_items ({columns}); INSERT INTO new_items {select}; DROP TABLE items;
         ALTER TABLE new_items RENAME TO items; COMMIT;"
    )
}

/// A case that begins with three items. Its replicas' tables come to differ.
fn items() -> Case {
    case(ITEMS).schemas_differ().a(ROWS).meet()
}

#[test]
fn what_the_app_does_after_a_migration_and_before_anybody_looks_counts_too() {
    items()
        .a(&format!(
            "{} DELETE FROM items WHERE id = '2'; UPDATE items SET name = 'ONE' WHERE id = '1';
             INSERT INTO items VALUES ('4', 'four', 4, 'z')",
            rebuild(COLUMNS, "SELECT *, 'y' FROM items")
        ))
        .meet()
        .shows(NAMES, &["'1', 'ONE'", "'3', 'three'", "'4', 'four'"])
        .holds();
}

#[test]
fn a_migration_that_rewrites_keys_leaves_no_row_twice() {
    items()
        .a(&rebuild(COLUMNS, "SELECT 'item-' || id, name, qty, 'y' FROM items"))
        .meet()
        .shows(NAMES, &["'item-1', 'one'", "'item-2', 'two'", "'item-3', 'three'"])
        .holds();
}

/// The old keys found the rows of what they are converted to, and stayed: parked here for ever, and there twice where the other
/// table takes both.
#[test]
fn a_migration_that_changes_the_type_of_a_key_leaves_no_row_twice() {
    let keys = |declared: &str| format!("CREATE TABLE t (id {declared} PRIMARY KEY, v)");
    let migration = |declared: &str| {
        let new = keys(declared).replacen("TABLE t", "TABLE n", 1);
        format!(
            "BEGIN; {new}; INSERT INTO n SELECT * FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t; COMMIT"
        )
    };
    const ALL: &str = "SELECT id, v FROM t ORDER BY v";
    for (old, new, keys_now) in [
        ("INT", "TEXT", ["'1'", "'2'"]),
        ("TEXT", "INT", ["1", "2"]),
        ("REAL", "TEXT", ["'1.0'", "'2.0'"]),
        ("", "TEXT", ["'1'", "'2'"]),
    ] {
        let rows: Vec<String> =
            std::iter::zip(keys_now, ["'a'", "'b'"]).map(|(k, v)| format!("{k}, {v}")).collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        let mut case = case(&format!("{}; INSERT INTO t VALUES (1, 'a'), (2, 'b')", keys(old)))
            .with("t", TableOptions::default)
            .schemas_differ()
            .a(&migration(new))
            .meet()
            .shows_at(A, ALL, &rows);
        // Until they migrate too, no row of the others' tables can have such a key.
        for key in keys_now.iter().filter(|_| !old.is_empty()) {
            for who in [B, C] {
                case = case.parks_at(who, "t", key, "no row of this table can have this key");
            }
        }
        case.b(&migration(new))
            .c(&migration(new))
            .meet()
            .shows_at(A, ALL, &rows)
            .shows_at(B, ALL, &rows)
            .holds();
    }
}

#[test]
fn the_same_migration_run_by_all_leaves_no_conflict() {
    let migration =
        &rebuild(COLUMNS, "SELECT 'item-' || id, upper(name), qty, 'y' FROM items WHERE id <> '2'");
    items()
        .a(migration)
        .b(migration)
        .c(migration)
        .meet()
        .shows(NAMES, &["'item-1', 'ONE'", "'item-3', 'THREE'"])
        .holds_of_three();
}

#[test]
fn an_edit_elsewhere_wins_over_a_row_that_was_left_out_as_over_any_delete() {
    items()
        .b("UPDATE items SET name = 'edited' WHERE id = '2'")
        .a(&rebuild(COLUMNS, "SELECT *, 'y' FROM items WHERE id = '1'"))
        .meet()
        .shows(NAMES, &["'1', 'one'", "'2', 'edited'"])
        .holds();
}

#[test]
fn a_table_that_was_made_again_empty_is_filled_again() {
    items()
        .a(&format!("DROP TABLE items; {ITEMS}"))
        .b("UPDATE items SET name = 'edited' WHERE id = '2'")
        .meet()
        .shows(NAMES, &["'1', 'one'", "'2', 'edited'", "'3', 'three'"])
        .holds();
}

/// The mark of the edit was read when the table was empty: the row counted as deleted, everywhere, and the others came back.
#[test]
fn a_row_that_was_edited_just_before_its_table_was_made_again_empty_is_filled_again_too() {
    items()
        .a(&format!("UPDATE items SET name = 'ONE' WHERE id = '1'; DROP TABLE items; {ITEMS}"))
        .meet()
        .shows(NAMES, &["'1', 'one'", "'2', 'two'", "'3', 'three'"])
        .holds();
}

/// Marks of rows that are not in the new table are forgotten. Those of deletes were forgotten, too.
#[test]
fn rows_that_were_deleted_before_a_migration_left_none_stay_deleted() {
    for migration in [rebuild(COLUMNS, "SELECT *, 'y' FROM items"), format!("DROP TABLE items; {ITEMS}")] {
        items().a(&format!("DELETE FROM items; {migration}")).meet().shows(NAMES, &[]).holds();
    }
    // Only those: one that came back went with its table.
    items()
        .a(&format!(
            "DELETE FROM items WHERE id <> '3'; INSERT INTO items (id, name) VALUES ('2', 'again');
             DROP TABLE items; {ITEMS}"
        ))
        .meet()
        .shows(NAMES, &["'2', 'two'", "'3', 'three'"])
        .holds();
}

/// Alembic's and Django's change of a column's type: '1' in the place of 1 is nobody's edit, and was taken for one that beat
/// what somebody else had written, and then written to and fro.
#[test]
fn a_value_that_only_took_on_its_columns_new_type_is_no_edit() {
    items()
        .b("UPDATE items SET qty = 50 WHERE id = '1'")
        .a(&rebuild("id TEXT PRIMARY KEY, name TEXT, qty TEXT", "SELECT * FROM items"))
        .meet()
        .shows_at(A, "SELECT qty FROM items ORDER BY id", &["'50'", "'2'", "'3'"])
        .shows_at(B, "SELECT qty FROM items ORDER BY id", &["50", "2", "3"])
        // An edit of another column takes nothing along.
        .a("UPDATE items SET name = 'a' WHERE id = '2'; UPDATE items SET qty = '7' WHERE id = '3'")
        .b("UPDATE items SET qty = 20 WHERE id = '2'")
        .meet()
        .shows_at(A, "SELECT name, qty FROM items WHERE id = '2'", &["'a', '20'"])
        .shows_at(B, "SELECT name, qty FROM items ORDER BY id", &["'one', 50", "'a', 20", "'three', 7"])
        .holds();
}

/// The defaults that the second migration filled in were written over everybody's values.
#[test]
fn a_column_that_two_migrations_left_out_and_added_again_shows_what_the_space_has() {
    for (with, fill) in [
        ("id TEXT PRIMARY KEY, qty INTEGER, name TEXT DEFAULT 'none'", "'none'"),
        ("id TEXT PRIMARY KEY, qty INTEGER, name TEXT", "NULL"),
        ("id TEXT PRIMARY KEY, qty INTEGER, name TEXT NOT NULL", "'filled'"),
    ] {
        // A column that allows no NULL was filled by the migration, and what it was filled with is kept.
        let is_kept = with.contains("NOT NULL");
        let mut case = items()
            .a(&format!(
                "{} {} UPDATE items SET qty = 20 WHERE id = '2'",
                rebuild("id TEXT PRIMARY KEY, qty INTEGER", "SELECT id, qty FROM items"),
                rebuild(with, &format!("SELECT id, qty, {fill} FROM items")),
            ))
            .meet()
            .shows("SELECT name, qty FROM items ORDER BY id", &["'one', 1", "'two', 20", "'three', 3"]);
        for (id, name) in [("1", "one"), ("2", "two"), ("3", "three")] {
            if is_kept {
                case = case.conflict(&format!("items '{id}' name: '{name}' over 'filled'"));
            }
        }
        case = case
            .a("UPDATE items SET name = 'ONE' WHERE id = '1'")
            .meet()
            .shows(NAMES, &["'1', 'ONE'", "'2', 'two'", "'3', 'three'"]);
        for (id, name) in [("2", "two"), ("3", "three")] {
            if is_kept {
                case = case.conflict(&format!("items '{id}' name: '{name}' over 'filled'"));
            }
        }
        case.holds();
    }
}

/// A migration that puts a column behind others has not added it again because somebody empties it.
#[test]
fn a_column_that_a_migration_moved_is_edited_by_what_it_holds() {
    items()
        .a(&format!(
            "{} UPDATE items SET name = NULL WHERE id <> '3'; UPDATE items SET name = 'x' WHERE id = '2'",
            rebuild("id TEXT PRIMARY KEY, qty INTEGER, name TEXT", "SELECT id, qty, name FROM items")
        ))
        .meet()
        .shows(NAMES, &["'1', NULL", "'2', 'x'", "'3', 'three'"])
        .holds();
}
