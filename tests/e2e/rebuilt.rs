//! Tables that were rebuilt, as migrations do: what they hold then is what their app wants. Once an engine looked at such a
//! table and showed every document that had no row again, so that rows which were left out on purpose came back everywhere.

use std::time::Duration;

use driftless::{Selection, TableOptions, VerifyOptions, sim};
use driftless_tests::{Circle, later};

const ITEMS: &str = "CREATE TABLE items (id TEXT PRIMARY KEY, name TEXT, qty INTEGER)";
const ROWS: &str = "INSERT INTO items VALUES ('1', 'one', 1), ('2', 'two', 2), ('3', 'three', 3)";
/// How long a table must have been left alone in these tests.
const QUIET: Duration = Duration::from_secs(2);
/// Some moment.
const NOON: i64 = 1_800_000_000_000;

/// What migration tools do: a new table, the rows that are kept, the old one dropped, the new one renamed.
fn rebuild(columns: &str, select: &str) -> String {
    format!(
        "BEGIN; CREATE TABLE new_items ({columns}); INSERT INTO new_items {select}; DROP TABLE items;
         ALTER TABLE new_items RENAME TO items; COMMIT;"
    )
}

const COLUMNS: &str = "id TEXT PRIMARY KEY, name TEXT, qty INTEGER, kind TEXT NOT NULL DEFAULT 'x'";

fn circle(count: usize) -> Circle {
    let mut circle = Circle::new(count, ITEMS, &["items"], &TableOptions::default());
    circle.sql(0, ROWS);
    circle.meet();
    circle
}

fn names(circle: &Circle) -> Vec<String> {
    circle.query_all("SELECT id, name FROM items ORDER BY id")
}

#[test]
fn rows_that_a_migration_leaves_out_are_deleted_everywhere() {
    let mut circle = circle(3);
    circle.sql(0, &rebuild(COLUMNS, "SELECT id, name, qty, 'y' FROM items WHERE id <> '2'"));
    circle.meet();
    assert_eq!(names(&circle), ["'1', 'one'", "'3', 'three'"]);
    let status = driftless::status(circle.path(0)).expect("a status");
    let found = status.tables[0].rebuilt.expect("it was rebuilt");
    assert_eq!((found.deleted, found.inserted), (1, 0), "{found:?}");
}

#[test]
fn what_the_app_does_after_a_migration_and_before_anybody_looks_counts_too() {
    let mut circle = circle(2);
    circle.sql(0, &rebuild(COLUMNS, "SELECT *, 'y' FROM items"));
    circle.sql(0, "DELETE FROM items WHERE id = '2'; UPDATE items SET name = 'ONE' WHERE id = '1'");
    circle.sql(0, "INSERT INTO items VALUES ('4', 'four', 4, 'z')");
    circle.meet();
    assert_eq!(names(&circle), ["'1', 'ONE'", "'3', 'three'", "'4', 'four'"]);
}

#[test]
fn a_migration_that_rewrites_keys_leaves_no_row_twice() {
    let mut circle = circle(2);
    circle.sql(0, &rebuild(COLUMNS, "SELECT 'item-' || id, name, qty, 'y' FROM items"));
    circle.meet();
    assert_eq!(names(&circle), ["'item-1', 'one'", "'item-2', 'two'", "'item-3', 'three'"]);
}

#[test]
fn the_same_migration_run_by_all_leaves_no_conflict() {
    let mut circle = circle(3);
    let select = "SELECT 'item-' || id, upper(name), qty, 'y' FROM items WHERE id <> '2'";
    (0..3).for_each(|n| circle.sql(n, &rebuild(COLUMNS, select)));
    circle.meet();
    assert_eq!(names(&circle), ["'item-1', 'ONE'", "'item-3', 'THREE'"]);
    assert_eq!(circle.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"]);
}

#[test]
fn an_edit_elsewhere_wins_over_a_row_that_was_left_out_as_over_any_delete() {
    let mut circle = circle(2);
    circle.sql(1, "UPDATE items SET name = 'edited' WHERE id = '2'");
    circle.sql(0, &rebuild(COLUMNS, "SELECT *, 'y' FROM items WHERE id = '1'"));
    circle.meet();
    assert_eq!(names(&circle), ["'1', 'one'", "'2', 'edited'"]);
}

#[test]
fn a_table_that_was_made_again_empty_is_filled_again() {
    let mut circle = circle(2);
    circle.sql(0, &format!("DROP TABLE items; {ITEMS}"));
    circle.sql(1, "UPDATE items SET name = 'edited' WHERE id = '2'");
    circle.meet();
    assert_eq!(names(&circle), ["'1', 'one'", "'2', 'edited'", "'3', 'three'"]);
}

/// The mark of the edit was read when the table was empty: the row counted as deleted, everywhere, and the others came back.
#[test]
fn a_row_that_was_edited_just_before_its_table_was_made_again_empty_is_filled_again_too() {
    let mut circle = circle(2);
    circle.sql(0, &format!("UPDATE items SET name = 'ONE' WHERE id = '1'; DROP TABLE items; {ITEMS}"));
    circle.meet();
    assert_eq!(names(&circle), ["'1', 'one'", "'2', 'two'", "'3', 'three'"]);
}

/// Marks of rows that are not in the new table are forgotten. Those of deletes were forgotten, too.
#[test]
fn rows_that_were_deleted_before_a_migration_left_none_stay_deleted() {
    for migration in [rebuild(COLUMNS, "SELECT *, 'y' FROM items"), format!("DROP TABLE items; {ITEMS}")] {
        let mut circle = circle(2);
        circle.sql(0, &format!("DELETE FROM items; {migration}"));
        circle.meet();
        assert!(names(&circle).is_empty(), "{migration}");
    }
    // Only those: one that came back went with its table.
    let mut circle = circle(2);
    let again = "DELETE FROM items WHERE id <> '3'; INSERT INTO items (id, name) VALUES ('2', 'again')";
    circle.sql(0, &format!("{again}; DROP TABLE items; {ITEMS}"));
    circle.meet();
    assert_eq!(names(&circle), ["'2', 'two'", "'3', 'three'"]);
}

#[test]
fn a_row_that_was_edited_just_before_a_migration_is_not_deleted_half_way() {
    let mut circle = waiting_circle(2, &format!("{ITEMS}; {ROWS}"), &["items"]);
    circle.sql(0, "UPDATE items SET name = 'ONE' WHERE id = '1'; CREATE TABLE kept AS SELECT * FROM items");
    circle.sql(0, &format!("DROP TABLE items; {ITEMS}; INSERT INTO items SELECT * FROM kept WHERE id = '2'"));
    circle.capture(0);
    circle.fetch(1, 0);
    assert_eq!(circle.query(1, "SELECT count(*) FROM items"), ["3"]);
    circle.sql(0, "INSERT INTO items SELECT * FROM kept WHERE id <> '2'");
    leave_alone();
    circle.capture(0);
    circle.meet();
    sim::set_clock(None);
    assert_eq!(names(&circle), ["'1', 'ONE'", "'2', 'two'", "'3', 'three'"]);
}

#[test]
fn an_edit_that_no_trigger_saw_has_the_time_at_which_the_file_was_last_written() {
    let mut circle = circle(2);
    circle.close(0);
    circle.sql(0, &rebuild(COLUMNS, "SELECT *, 'y' FROM items"));
    circle.sql(0, "UPDATE items SET name = 'earlier'");
    // A file's last write is told in ticks of the system, of a few milliseconds.
    (0..20).for_each(|_| later());
    circle.sql(1, "UPDATE items SET name = 'later' WHERE id = '1'");
    circle.capture(1);
    later();
    // Reading the file is no write, though it leaves an empty log.
    driftless::status(circle.path(1).with_file_name("0.db")).expect("a status");
    circle.reopen(0);
    circle.meet();
    assert_eq!(names(&circle), ["'1', 'later'", "'2', 'earlier'", "'3', 'earlier'"]);
    let kept = circle.query_all("SELECT value FROM driftless_conflicts WHERE shown = 0");
    assert_eq!(kept, ["'earlier'"], "and is kept");
}

/// Alembic's and Django's change of a column's type: '1' in the place of 1 is nobody's edit, and was taken for one that beat
/// what somebody else had written, and then written to and fro.
#[test]
fn a_value_that_only_took_on_its_columns_new_type_is_no_edit() {
    let mut circle = circle(2);
    circle.sql(1, "UPDATE items SET qty = 50 WHERE id = '1'");
    circle.capture(1);
    later();
    circle.sql(0, &rebuild("id TEXT PRIMARY KEY, name TEXT, qty TEXT", "SELECT * FROM items"));
    circle.meet();
    assert_eq!(circle.query(0, "SELECT qty FROM items ORDER BY id"), ["'50'", "'2'", "'3'"]);
    assert_eq!(circle.query(1, "SELECT qty FROM items ORDER BY id"), ["50", "2", "3"]);
    // An edit of another column takes nothing along.
    circle.sql(0, "UPDATE items SET name = 'a' WHERE id = '2'; UPDATE items SET qty = '7' WHERE id = '3'");
    circle.sql(1, "UPDATE items SET qty = 20 WHERE id = '2'");
    circle.meet();
    assert_eq!(circle.query(0, "SELECT name, qty FROM items WHERE id = '2'"), ["'a', '20'"]);
    let there = circle.query(1, "SELECT name, qty FROM items ORDER BY id");
    assert_eq!(there, ["'one', 50", "'a', 20", "'three', 7"]);
    assert_eq!(circle.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"]);
}

/// Replicas whose clock stands still until a test sets it on.
fn waiting_circle(count: usize, statements: &str, tables: &[&str]) -> Circle {
    sim::set_clock(Some(NOON));
    let mut circle = Circle::with_quiet(QUIET, count, statements, tables, &TableOptions::default());
    circle.meet();
    circle
}

/// So much later that a table which nobody has touched is decided about.
fn leave_alone() {
    sim::set_clock(Some(NOON + QUIET.as_millis() as i64));
}

/// An import drops the table, makes it anew and fills it bit by bit, while the engine looks all the time.
#[test]
fn an_import_half_way_deletes_nothing_anywhere_and_shows_nothing_of_others() {
    let mut circle = waiting_circle(2, &format!("{ITEMS}; {ROWS}"), &["items"]);
    circle.sql(0, "DROP TABLE items");
    circle.capture(0);
    circle.sql(0, ITEMS);
    circle.capture(0);
    circle.sql(1, "INSERT INTO items VALUES ('9', 'new', 9); UPDATE items SET name = 'by b' WHERE id = '3'");
    circle.fetch(0, 1);
    for row in ["('1', 'one', 1)", "('3', 'three', 3)"] {
        circle.sql(0, &format!("INSERT INTO items VALUES {row}"));
        circle.fetch(1, 0);
        circle.fetch(0, 1);
        assert_eq!(circle.query(1, "SELECT count(*) FROM items"), ["4"], "the other sees no row go");
    }
    assert_eq!(circle.query(0, "SELECT id, name FROM items ORDER BY id"), ["'1', 'one'", "'3', 'three'"]);
    assert!(driftless::status(circle.path(0)).expect("a status").tables[0].settling);
    leave_alone();
    circle.meet();
    assert_eq!(names(&circle), ["'1', 'one'", "'3', 'by b'", "'9', 'new'"]);
    assert_eq!(circle.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"]);
    sim::set_clock(None);
}

/// When the table was compared, the rows that triggers had changed for a merged row were taken for the app's edits: they counted
/// twice, and a row that REPLACE had evicted was deleted everywhere. A row that is put back keeps its rowid, by which a full-text
/// index may know it.
#[test]
fn what_triggers_do_to_a_rebuilt_table_for_merged_rows_is_undone_before_it_is_compared() {
    const POST: &str = "(k TEXT PRIMARY KEY, likes INTEGER DEFAULT 0)";
    const LAST: &str = "(id TEXT PRIMARY KEY COLLATE NOCASE, post TEXT, day, UNIQUE (post, day))";
    let schema = format!(
        "CREATE TABLE liked (k TEXT PRIMARY KEY, post TEXT); CREATE TABLE post {POST}; CREATE TABLE last {LAST};
         CREATE UNIQUE INDEX by_day ON last (lower(day) || 'x') WHERE day IS NOT NULL;
         CREATE TRIGGER counts AFTER INSERT ON liked BEGIN
           UPDATE post SET likes = likes + 1 WHERE k = NEW.post;
           INSERT OR REPLACE INTO last VALUES (hex(randomblob(4)), NEW.post, 'MONDAY');
           INSERT INTO last VALUES ('THIRD', NULL, NULL) ON CONFLICT DO UPDATE SET id = 'third', day = 3;
           UPDATE OR REPLACE last SET post = 'q', day = 4 WHERE id = 'fourth';
           DELETE FROM last WHERE id = 'FIFTH';
         END;
         INSERT INTO post VALUES ('p', 0);
         INSERT INTO last VALUES ('first', 'p', 'Monday'), ('second', 'q', 4), ('Third', 't', 1), ('fourth', 'r', 4.5), ('Fifth', 'v', 5)"
    );
    let anew = |table: &str, columns: &str| {
        format!(
            "PRAGMA legacy_alter_table = 1; BEGIN; CREATE TABLE anew {columns};
             INSERT INTO anew SELECT * FROM {table}; DROP TABLE {table}; ALTER TABLE anew RENAME TO {table};
             COMMIT; PRAGMA legacy_alter_table = 0;"
        )
    };
    let mut circle = waiting_circle(2, &schema, &["liked", "post", "last"]);
    let all = "SELECT rowid, * FROM last ORDER BY id";
    let before = circle.query(0, all);
    circle.sql(0, &format!("{} {}", anew("post", POST), anew("last", LAST)));
    circle.sql(0, "CREATE UNIQUE INDEX by_day ON last (lower(day) || 'x') WHERE day IS NOT NULL");
    circle.capture(0);
    circle.sql(1, "INSERT INTO liked VALUES ('l1', 'p')");
    circle.fetch(0, 1);
    assert_eq!(circle.query(0, "SELECT k FROM liked"), ["'l1'"], "it is shown");
    assert_eq!(circle.query(0, "SELECT likes FROM post"), ["0"]);
    assert_eq!(circle.query(0, all), before);
    leave_alone();
    circle.meet();
    assert_eq!(circle.query_all("SELECT likes FROM post"), ["1"]);
    let after = circle.query_all("SELECT post, day FROM last ORDER BY post");
    assert_eq!(after, ["'p', 'MONDAY'", "'q', 4", "'t', 3"], "as its author has it");
    assert_eq!(circle.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"]);
    assert_eq!(circle.query_all("SELECT count(*) FROM driftless_parked"), ["0"]);
    sim::set_clock(None);
}

/// The rename asks for all rows to be shown anew, and rows that wait to be shown were taken for rows that the table does not lack.
#[test]
fn a_deleted_row_stays_deleted_though_a_rename_is_heard_of_before_the_table_is_compared() {
    let mut circle = waiting_circle(2, &format!("{ITEMS}; {ROWS}"), &["items"]);
    let anew = "CREATE TABLE anew (id TEXT PRIMARY KEY, title TEXT, qty INTEGER);
        INSERT INTO anew SELECT id, name, qty FROM items; DROP TABLE items; ALTER TABLE anew RENAME TO items";
    circle.sql(0, anew);
    circle.capture(0);
    leave_alone();
    circle.capture(0);
    driftless::rename_column(circle.path(0), "items", "name", "title").expect("told");
    circle.sql(1, &format!("DELETE FROM items WHERE id = '2'; {anew}"));
    circle.capture(1);
    circle.fetch(1, 0);
    assert!(driftless::status(circle.path(1)).expect("a status").tables[0].settling);
    sim::set_clock(Some(NOON + 3 * QUIET.as_millis() as i64));
    circle.meet();
    assert_eq!(circle.query_all("SELECT id, title FROM items ORDER BY id"), ["'1', 'one'", "'3', 'three'"]);
    assert_eq!(circle.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"]);
    sim::set_clock(None);
}

/// What others wrote while a table was in the making its app has not seen: theirs was once taken for seen, and was gone.
#[test]
fn what_two_write_while_a_table_is_in_the_making_is_in_conflict() {
    let mut circle = waiting_circle(2, &format!("{ITEMS}; {ROWS}"), &["items"]);
    circle.sql(0, &rebuild(COLUMNS, "SELECT *, 'y' FROM items"));
    circle.capture(0);
    circle.sql(
        1,
        "UPDATE items SET name = 'by b', qty = 7 WHERE id = '1'; INSERT INTO items VALUES ('8', 'b', 8)",
    );
    circle.fetch(0, 1);
    later();
    circle
        .sql(0, "UPDATE items SET name = 'by a' WHERE id = '1'; INSERT INTO items VALUES ('8', 'a', 8, 'y')");
    circle.capture(0);
    leave_alone();
    circle.meet();
    let shown = circle.query_all("SELECT id, name, qty FROM items WHERE id IN ('1', '8') ORDER BY id");
    assert_eq!(shown, ["'1', 'by a', 7", "'8', 'a', 8"]);
    let kept =
        circle.query_all("SELECT \"column\", value FROM driftless_conflicts WHERE shown = 0 ORDER BY 2");
    assert_eq!(kept, ["'name', 'b'", "'name', 'by b'"]);
    sim::set_clock(None);
}

/// What was parked was taken for what the app had seen, if others had written the row as well, and was gone.
#[test]
fn what_is_inserted_over_a_parked_row_of_a_table_in_the_making_leaves_a_conflict() {
    let schema =
        "CREATE TABLE p (id TEXT PRIMARY KEY); CREATE TABLE c (id TEXT PRIMARY KEY, p REFERENCES p (id), v);
                  INSERT INTO p VALUES ('1')";
    let mut circle = waiting_circle(2, schema, &["p", "c"]);
    circle.sql(0, "PRAGMA foreign_keys = OFF; INSERT INTO c VALUES ('a', 'none', 'parked')");
    circle.capture(0);
    assert_eq!(circle.query(0, "SELECT count(*) FROM c"), ["0"]);
    circle.sql(
        0,
        "BEGIN; CREATE TABLE new_c (id TEXT PRIMARY KEY, p REFERENCES p (id), v, w); INSERT INTO new_c SELECT *, 1 FROM c;
         DROP TABLE c; ALTER TABLE new_c RENAME TO c; COMMIT",
    );
    circle.capture(0);
    circle.sql(1, "INSERT INTO c VALUES ('a', '1', 'theirs')");
    circle.fetch(0, 1);
    later();
    circle.sql(0, "INSERT INTO c VALUES ('a', '1', 'first', 1)");
    circle.capture(0);
    circle.sql(0, "UPDATE c SET w = 2");
    circle.capture(0);
    leave_alone();
    circle.meet();
    assert_eq!(circle.query_all("SELECT id, p, v FROM c"), ["'a', '1', 'first'"]);
    let kept = circle
        .query_all("SELECT value FROM driftless_conflicts WHERE shown = 0 AND \"column\" = 'v' ORDER BY 1");
    assert_eq!(kept, ["'parked'", "'theirs'"]);
    sim::set_clock(None);
}

#[test]
fn rows_that_refer_to_a_table_in_the_making_stay() {
    let schema =
        "CREATE TABLE p (id TEXT PRIMARY KEY); CREATE TABLE c (id TEXT PRIMARY KEY, p REFERENCES p (id));
                  INSERT INTO p VALUES ('1'), ('2'); INSERT INTO c VALUES ('a', '1'), ('b', '2')";
    let mut circle = waiting_circle(2, schema, &["p", "c"]);
    circle.sql(0, "PRAGMA foreign_keys = OFF; DROP TABLE p; CREATE TABLE p (id TEXT PRIMARY KEY, more TEXT)");
    circle.capture(0);
    circle.sql(0, "UPDATE c SET id = id || '!'");
    circle.sql(1, "INSERT INTO c VALUES ('d', '2')");
    circle.fetch(0, 1);
    assert_eq!(circle.query(0, "SELECT id FROM c ORDER BY id"), ["'a!'", "'b!'", "'d'"]);
    circle.sql(0, "INSERT INTO p (id) VALUES ('1')");
    leave_alone();
    circle.meet();
    assert_eq!(circle.query_all("SELECT id FROM p"), ["'1'"]);
    assert_eq!(circle.query_all("SELECT id FROM c"), ["'a!'"]);
    let parked = circle.query_all("SELECT count(*) FROM driftless_parked");
    assert_eq!(parked, ["2"], "their parent is gone for good");
    sim::set_clock(None);
}

/// The steps of migrations, with a look of the engine between any two of them or not: the outcome is the same.
#[test]
fn the_outcome_does_not_depend_on_when_the_engine_looked() {
    let migrations: [&[&str]; 4] = [
        &[
            "CREATE TABLE new_items (id TEXT PRIMARY KEY, name TEXT, qty INTEGER, kind TEXT)",
            "INSERT INTO new_items SELECT *, 'y' FROM items WHERE id <> '2'",
            "DROP TABLE items",
            "ALTER TABLE new_items RENAME TO items",
            "UPDATE items SET name = 'ONE' WHERE id = '1'",
        ],
        &[
            "ALTER TABLE items RENAME TO old_items",
            "CREATE TABLE items (id TEXT PRIMARY KEY, name TEXT, qty TEXT)",
            "INSERT INTO items SELECT * FROM old_items WHERE id <> '2'",
            "DROP TABLE old_items",
            "INSERT INTO items VALUES ('4', 'four', '4')",
        ],
        &[
            "DROP TABLE items",
            "CREATE TABLE items (id TEXT PRIMARY KEY, qty INTEGER)",
            "INSERT INTO items VALUES ('3', 3)",
            "INSERT INTO items VALUES ('1', 7)",
        ],
        &[
            "ALTER TABLE items RENAME TO things",
            "CREATE TABLE items (id TEXT PRIMARY KEY, other TEXT)",
            "INSERT INTO items VALUES ('1', 'apart')",
            "UPDATE things SET name = 'THREE' WHERE id = '3'",
            "DELETE FROM things WHERE id = '2'",
        ],
    ];
    for migration in migrations {
        let outcomes: Vec<_> = (0..1u32 << migration.len()).map(|looks| outcome(migration, looks)).collect();
        for (looks, outcome) in outcomes.iter().enumerate() {
            assert_eq!(outcome, &outcomes[0], "{migration:#?} with looks after the steps {looks:#b}");
        }
    }
}

/// What all tables hold at both after these steps, with a look after each step whose bit is set in `looks`.
fn outcome(migration: &[&str], looks: u32) -> Vec<String> {
    let mut circle = waiting_circle(2, &format!("{ITEMS}; {ROWS}"), &["items"]);
    for (at, step) in migration.iter().enumerate() {
        circle.sql(0, step);
        if looks & 1 << at != 0 {
            circle.fetch(1, 0);
            circle.fetch(0, 1);
        }
    }
    circle.capture(0);
    leave_alone();
    circle.capture(0);
    circle.meet();
    sim::set_clock(None);
    let tables =
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%driftless%' ORDER BY name";
    let mut outcome = Vec::new();
    for node in 0..2 {
        for table in circle.query(node, tables) {
            let table = table.trim_matches('\'').to_owned();
            outcome.extend(circle.query(node, &format!("SELECT '{table}', * FROM {table} ORDER BY 2")));
        }
    }
    outcome
}

/// Lets time pass at all replicas, and all of them look before and after.
fn pass(circle: &mut Circle, clock: &mut i64, time: Duration) {
    for _ in 0..2 {
        circle.fetch(1, 0);
        circle.fetch(0, 1);
        *clock += time.as_millis() as i64 / 2;
        sim::set_clock(Some(*clock));
    }
}

/// The tables that `status` lists, with their states.
fn listed(circle: &Circle, node: usize) -> Vec<(String, &'static str)> {
    let status = driftless::status(circle.path(node)).expect("a status");
    status.tables.into_iter().map(|table| (table.table, table.state)).collect()
}

/// With `track --all`, the passing name of a migration that takes its time is tracked. Once the renamed table was two tables
/// then: it was listed twice, differed from what was known of it, and a repair brought rows back that the migration had left
/// out.
#[test]
fn a_migration_that_takes_its_time_leaves_one_table() {
    let make = "(id TEXT PRIMARY KEY, name TEXT, qty INTEGER, kind TEXT)";
    let renamed_last = [
        &*format!("CREATE TABLE new_items {make}"),
        "INSERT INTO new_items SELECT *, 'y' FROM items WHERE id <> '2'",
        "DROP TABLE items",
        "ALTER TABLE new_items RENAME TO items",
        "UPDATE items SET name = 'ONE' WHERE id = '1'",
    ];
    let renamed_first = [
        "ALTER TABLE items RENAME TO old_items",
        &*format!("CREATE TABLE items {make}"),
        "INSERT INTO items SELECT *, 'y' FROM old_items WHERE id <> '2'",
        "DROP TABLE old_items",
        "UPDATE items SET name = 'ONE' WHERE id = '1'",
    ];
    let both_renamed = [
        &*format!("CREATE TABLE new_items {make}"),
        "INSERT INTO new_items SELECT *, 'y' FROM items WHERE id <> '2'",
        "ALTER TABLE items RENAME TO old_items; ALTER TABLE new_items RENAME TO items",
        "DROP TABLE old_items",
        "UPDATE items SET name = 'ONE' WHERE id = '1'",
    ];
    let all = (0..1u32 << renamed_last.len()).map(|pauses| (renamed_last, pauses));
    let some = |migration| [0b11111, 0b00111, 0b01010, 0].map(|pauses| (migration, pauses));
    for (migration, pauses) in all.chain(some(renamed_first)).chain(some(both_renamed)) {
        let mut circle = waiting_circle(2, &format!("{ITEMS}; {ROWS}"), &["items"]);
        let mut clock = NOON;
        for node in 0..2 {
            driftless::track(circle.path(node), Selection::All, TableOptions::default()).expect("tracked");
        }
        for (at, step) in migration.iter().enumerate() {
            circle.sql(0, step);
            // Before the copy it would be in it; between the copy and the drop it would be lost like the app's own.
            if at == 3 {
                circle.sql(1, "UPDATE items SET name = 'THREE' WHERE id = '3'");
            }
            if pauses & 1 << at != 0 {
                pass(&mut circle, &mut clock, 3 * QUIET);
            }
        }
        pass(&mut circle, &mut clock, 3 * QUIET);
        circle.settle();
        for node in 0..2 {
            let found = listed(&circle, node);
            assert_eq!(found, [("items".to_owned(), "tracked")], "{node}: {migration:#?} {pauses:#b}");
            circle.assert_well(node);
        }
        assert_eq!(names(&circle), ["'1', 'ONE'", "'3', 'THREE'"], "{migration:#?} {pauses:#b}");
        let copy = circle.join("");
        circle.settle();
        let made = circle.node(copy).make_defined_tables().expect("made");
        assert_eq!(made, ["items"], "{pauses:#b}");
        // The other machine runs the same migration, later and at once.
        circle.sql(1, &rebuild(COLUMNS, "SELECT *, 'y' FROM items"));
        pass(&mut circle, &mut clock, 3 * QUIET);
        circle.settle();
        assert_eq!(circle.query(1, "SELECT id, name FROM items ORDER BY id"), ["'1', 'ONE'", "'3', 'THREE'"]);
        circle.assert_well(1);
        sim::set_clock(None);
    }
}

/// An app that never pauses for two seconds kept a table undecided for a minute, and its deletes with it.
#[test]
fn a_table_that_is_written_all_the_time_is_decided_after_half_a_minute() {
    let mut circle = waiting_circle(2, &format!("{ITEMS}; {ROWS}"), &["items"]);
    circle.sql(0, &rebuild(COLUMNS, "SELECT *, 'y' FROM items WHERE id <> '2'"));
    let mut clock = NOON;
    let mut decided = None;
    for second in 0..40 {
        circle.sql(0, &format!("UPDATE items SET qty = {second} WHERE id = '1'"));
        pass(&mut circle, &mut clock, Duration::from_secs(1));
        if circle.query(1, "SELECT id FROM items ORDER BY id") == ["'1'", "'3'"] {
            decided = decided.or(Some(second));
        }
    }
    assert!(decided.is_some_and(|second| (30..35).contains(&second)), "{decided:?}");
    circle.meet();
    assert_eq!(names(&circle), ["'1', 'one'", "'3', 'three'"]);
    sim::set_clock(None);
}

#[test]
fn an_import_that_never_pauses_deletes_nothing_however_long_it_takes() {
    let rows = |range: std::ops::Range<u32>| {
        let rows: Vec<String> = range.map(|n| format!("('{n:02}', 'n', {n})")).collect();
        format!("INSERT INTO items VALUES {}", rows.join(", "))
    };
    let mut circle = waiting_circle(2, &format!("{ITEMS}; {}", rows(0..90)), &["items"]);
    circle.sql(0, &format!("DROP TABLE items; {ITEMS}"));
    let mut clock = NOON;
    for second in 0..80 {
        circle.sql(0, &rows(second..second + 1));
        pass(&mut circle, &mut clock, Duration::from_secs(1));
        assert_eq!(circle.query(1, "SELECT count(*) FROM items"), ["90"], "after {second} seconds");
    }
    pass(&mut circle, &mut clock, 3 * QUIET);
    circle.meet();
    assert_eq!(circle.query_all("SELECT count(*) FROM items"), ["80"]);
    sim::set_clock(None);
}

/// The rows that a migration had left out a moment ago were counted as differences, and `--repair` was recommended, which
/// brings them back.
#[test]
fn a_table_that_is_not_decided_yet_is_no_difference() {
    let schema = format!(
        "{ITEMS}; {ROWS}; CREATE TABLE parts (id TEXT PRIMARY KEY, item TEXT REFERENCES items (id));
         INSERT INTO parts VALUES ('p', '2')"
    );
    let mut circle = waiting_circle(2, &schema, &["items", "parts"]);
    circle.sql(
        0,
        &format!(
            "PRAGMA foreign_keys = OFF; {}",
            rebuild(COLUMNS, "SELECT *, 'y' FROM items WHERE id <> '2'")
        ),
    );
    for look in 0..2 {
        let verified =
            driftless::verify(circle.path(0), &VerifyOptions::default()).expect("it can be verified");
        assert!(verified.is_well() && verified.differences() == 0, "{look}: {verified:#?}");
        let tables = verified.checks.iter().find(|check| check.name == "tables").expect("the check");
        assert!(tables.waiting >= 3, "{look}: {tables:#?}");
        assert!(tables.notes.iter().any(|note| note.contains("items was rebuilt just now")), "{tables:#?}");
        // The engine notices; and does not decide yet.
        circle.capture(0);
    }
    leave_alone();
    circle.meet();
    for node in 0..2 {
        circle.assert_well(node);
    }
    assert_eq!(names(&circle), ["'1', 'one'", "'3', 'three'"]);
    sim::set_clock(None);
}

/// `status` said to make a new table; what helps is to track it again, after which each row was there twice, once under its
/// old key.
#[test]
fn a_table_with_another_primary_key_is_another_table_once_it_is_tracked_again() {
    let rekey = "BEGIN; CREATE TABLE new_items (id TEXT, uid TEXT PRIMARY KEY, name TEXT, qty INTEGER);
                 INSERT INTO new_items SELECT id, 'u' || id, name, qty FROM items; DROP TABLE items;
                 ALTER TABLE new_items RENAME TO items; COMMIT;";
    let mut circle = Circle::new(3, ITEMS, &["items"], &TableOptions::default().counter("qty"));
    circle.sql(0, ROWS);
    circle.meet();
    circle.sql(0, rekey);
    circle.settle();
    let reason = circle.warning("items").expect("a reason");
    assert!(
        reason.contains("from (id) to (uid)") && reason.contains("`driftless track FILE items`"),
        "{reason}"
    );
    assert_eq!(listed(&circle, 0), [("items".to_owned(), "unfit")]);
    driftless::track(circle.path(0), Selection::Named(&["items"]), TableOptions::default()).expect("tracked");
    circle.capture(0);
    circle.sql(0, "UPDATE items SET name = 'ONE' WHERE uid = 'u1'; DELETE FROM items WHERE uid = 'u2'");
    circle.settle();
    assert_eq!(listed(&circle, 0), [("items".to_owned(), "tracked")]);
    let migrated = ["'1', 'u1', 'ONE'", "'3', 'u3', 'three'"];
    assert_eq!(circle.query(0, "SELECT id, uid, name FROM items ORDER BY uid"), migrated);
    // The others go on under the old key, among themselves.
    circle.sql(1, "UPDATE items SET qty = qty + 10 WHERE id = '3'");
    circle.settle();
    assert_eq!(
        circle.query(2, "SELECT id, name, qty FROM items ORDER BY id"),
        ["'1', 'one', 1", "'2', 'two', 2", "'3', 'three', 13"]
    );
    circle.sql(1, rekey);
    circle.settle();
    driftless::track(circle.path(1), Selection::Named(&["items"]), TableOptions::default()).expect("tracked");
    circle.settle();
    for node in 0..2 {
        assert_eq!(circle.query(node, "SELECT id, uid, name FROM items ORDER BY uid"), migrated, "{node}");
        circle.assert_well(node);
        assert_eq!(circle.query(node, "SELECT count(*) FROM driftless_parked"), ["0"]);
    }
    let copy = circle.join("");
    circle.settle();
    assert_eq!(circle.node(copy).make_defined_tables().expect("made"), ["items"]);
    circle.settle();
    assert_eq!(circle.query(copy, "SELECT id, uid, name FROM items ORDER BY uid"), migrated);
}

/// A table that others know, too, is no passing name, whatever it is called later.
/// The defaults that the second migration filled in were written over everybody's values.
#[test]
fn a_column_that_two_migrations_left_out_and_added_again_shows_what_the_space_has() {
    let without = "id TEXT PRIMARY KEY, qty INTEGER";
    for (with, fill) in [
        ("id TEXT PRIMARY KEY, qty INTEGER, name TEXT DEFAULT 'none'", "'none'"),
        ("id TEXT PRIMARY KEY, qty INTEGER, name TEXT", "NULL"),
        ("id TEXT PRIMARY KEY, qty INTEGER, name TEXT NOT NULL", "'filled'"),
    ] {
        let mut circle = circle(2);
        circle.sql(0, &rebuild(without, "SELECT id, qty FROM items"));
        circle.sql(0, &rebuild(with, &format!("SELECT id, qty, {fill} FROM items")));
        circle.sql(0, "UPDATE items SET qty = 20 WHERE id = '2'");
        circle.meet();
        assert_eq!(names(&circle), ["'1', 'one'", "'2', 'two'", "'3', 'three'"], "filled with {fill}");
        assert_eq!(circle.query_all("SELECT qty FROM items ORDER BY id"), ["1", "20", "3"]);
        circle.sql(0, "UPDATE items SET name = 'ONE' WHERE id = '1'");
        circle.meet();
        assert_eq!(names(&circle), ["'1', 'ONE'", "'2', 'two'", "'3', 'three'"], "filled with {fill}");
        (0..2).for_each(|node| circle.assert_well(node));
    }
}

/// A migration that puts a column behind others has not added it again because somebody empties it.
#[test]
fn a_column_that_a_migration_moved_is_edited_by_what_it_holds() {
    let mut circle = circle(2);
    let moved = rebuild("id TEXT PRIMARY KEY, qty INTEGER, name TEXT", "SELECT id, qty, name FROM items");
    circle.sql(0, &moved);
    circle.sql(0, "UPDATE items SET name = NULL WHERE id <> '3'; UPDATE items SET name = 'x' WHERE id = '2'");
    circle.meet();
    assert_eq!(names(&circle), ["'1', NULL", "'2', 'x'", "'3', 'three'"]);
    assert_eq!(circle.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"]);
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
        let mut circle = circle(2);
        circle.sql(
            0,
            &rebuild(
                "id TEXT PRIMARY KEY, name TEXT, qty INTEGER, more",
                "SELECT *, 1 FROM items WHERE id <> '2'",
            ),
        );
        circle.sql(0, "UPDATE items SET qty = 9 WHERE id = '1'");
        command(circle.path(0));
        circle.meet();
        assert_eq!(circle.query_all("SELECT id, qty FROM items ORDER BY id"), ["'1', 9", "'3', 3"], "{at}");
        (0..2).for_each(|node| circle.assert_well(node));
    }
}

/// `track` said that it tracked the table, and it did not until it was said again.
#[test]
fn a_table_that_is_tracked_right_after_its_key_changed_is_tracked_with_the_new_one() {
    let mut circle = circle(2);
    let rekeyed = rebuild("name TEXT PRIMARY KEY, id TEXT, qty INTEGER", "SELECT name, id, qty FROM items");
    for node in 0..2 {
        circle.sql(node, &rekeyed);
        driftless::track(circle.path(node), Selection::Named(&["items"]), TableOptions::default())
            .expect("tracked");
    }
    circle.sql(0, "INSERT INTO items VALUES ('four', '4', 4)");
    circle.meet();
    assert_eq!(
        circle.query_all("SELECT name FROM items ORDER BY id"),
        ["'one'", "'two'", "'three'", "'four'"]
    );
    let states = |node| {
        driftless::status(circle.path(node))
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
    let mut circle = Circle::new(2, &schema, &["items", "people"], &TableOptions::default());
    circle.sql(0, "DROP TABLE items");
    circle.meet();
    circle.sql(0, "ALTER TABLE people RENAME TO items; INSERT INTO items VALUES ('q', 'Bob')");
    circle.sql(1, "UPDATE people SET name = 'ANN' WHERE id = 'p'");
    circle.settle();
    let people = ["'p', 'ANN'", "'q', 'Bob'"];
    assert_eq!(circle.query(0, "SELECT id, name FROM items ORDER BY id"), people);
    assert_eq!(circle.query(1, "SELECT id, name FROM people ORDER BY id"), people);
    assert_eq!(circle.query(1, "SELECT count(*) FROM items"), ["3"]);
    circle.assert_well(0);
    // Somebody tracked by its name what a migration renames: the rows tell.
    circle.sql(1, "CREATE TABLE new_items (id TEXT PRIMARY KEY, name TEXT)");
    circle.node(1).track(&["new_items"], TableOptions::default()).expect("tracked");
    circle.sql(1, "INSERT INTO new_items SELECT id, name FROM items WHERE id <> '2'");
    circle.capture(1);
    circle.sql(1, "DROP TABLE items; ALTER TABLE new_items RENAME TO items");
    circle.settle();
    assert_eq!(circle.query(1, "SELECT id, name FROM items ORDER BY id"), ["'1', 'one'", "'3', 'three'"]);
    assert!(listed(&circle, 1).iter().all(|(table, _)| table != "new_items"), "{:?}", listed(&circle, 1));
    circle.assert_well(1);
}
