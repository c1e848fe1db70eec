//! Tables in the making, as of an import or of a migration that takes its time: nobody decides about one until it was left alone.
//! The clock stands still until a test sets it on.

use std::time::Duration;

use driftless::{Selection, TableOptions, VerifyOptions, sim};
use driftless_tests::{Replicas, later};

use crate::rebuilt::{COLUMNS, ITEMS, ROWS, listed, names, rebuild};

/// How long a table must have been left alone in these tests.
const QUIET: Duration = Duration::from_secs(2);
/// Some moment.
const NOON: i64 = 1_800_000_000_000;

/// Replicas whose clock stands still until a test sets it on.
fn waiting_replicas(count: usize, statements: &str, tables: &[&str]) -> Replicas {
    sim::set_clock(Some(NOON));
    let mut replicas = Replicas::with_quiet(QUIET, count, statements, tables, &TableOptions::default());
    replicas.meet();
    replicas
}

/// So much later that a table which nobody has touched is decided about.
fn leave_alone() {
    sim::set_clock(Some(NOON + QUIET.as_millis() as i64));
}

/// Lets time pass at all replicas, and all of them look before and after.
fn pass(replicas: &mut Replicas, clock: &mut i64, time: Duration) {
    for _ in 0..2 {
        replicas.fetch(1, 0);
        replicas.fetch(0, 1);
        *clock += time.as_millis() as i64 / 2;
        sim::set_clock(Some(*clock));
    }
}

#[test]
fn a_row_that_was_edited_just_before_a_migration_is_not_deleted_half_way() {
    let mut replicas = waiting_replicas(2, &format!("{ITEMS}; {ROWS}"), &["items"]);
    replicas.sql(0, "UPDATE items SET name = 'ONE' WHERE id = '1'; CREATE TABLE kept AS SELECT * FROM items");
    replicas
        .sql(0, &format!("DROP TABLE items; {ITEMS}; INSERT INTO items SELECT * FROM kept WHERE id = '2'"));
    replicas.capture(0);
    replicas.fetch(1, 0);
    assert_eq!(replicas.query(1, "SELECT count(*) FROM items"), ["3"]);
    replicas.sql(0, "INSERT INTO items SELECT * FROM kept WHERE id <> '2'");
    leave_alone();
    replicas.capture(0);
    replicas.meet();
    sim::set_clock(None);
    assert_eq!(names(&replicas), ["'1', 'ONE'", "'2', 'two'", "'3', 'three'"]);
}

/// An import drops the table, makes it anew and fills it bit by bit, while the engine looks all the time.
#[test]
fn an_import_half_way_deletes_nothing_anywhere_and_shows_nothing_of_others() {
    let mut replicas = waiting_replicas(2, &format!("{ITEMS}; {ROWS}"), &["items"]);
    replicas.sql(0, "DROP TABLE items");
    replicas.capture(0);
    replicas.sql(0, ITEMS);
    replicas.capture(0);
    replicas
        .sql(1, "INSERT INTO items VALUES ('9', 'new', 9); UPDATE items SET name = 'by b' WHERE id = '3'");
    replicas.fetch(0, 1);
    for row in ["('1', 'one', 1)", "('3', 'three', 3)"] {
        replicas.sql(0, &format!("INSERT INTO items VALUES {row}"));
        replicas.fetch(1, 0);
        replicas.fetch(0, 1);
        assert_eq!(replicas.query(1, "SELECT count(*) FROM items"), ["4"], "the other sees no row go");
    }
    assert_eq!(replicas.query(0, "SELECT id, name FROM items ORDER BY id"), ["'1', 'one'", "'3', 'three'"]);
    assert!(driftless::status(replicas.path(0)).expect("a status").tables[0].settling);
    leave_alone();
    replicas.meet();
    assert_eq!(names(&replicas), ["'1', 'one'", "'3', 'by b'", "'9', 'new'"]);
    assert_eq!(replicas.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"]);
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
    let mut replicas = waiting_replicas(2, &schema, &["liked", "post", "last"]);
    let all = "SELECT rowid, * FROM last ORDER BY id";
    let before = replicas.query(0, all);
    replicas.sql(0, &format!("{} {}", anew("post", POST), anew("last", LAST)));
    replicas.sql(0, "CREATE UNIQUE INDEX by_day ON last (lower(day) || 'x') WHERE day IS NOT NULL");
    replicas.capture(0);
    replicas.sql(1, "INSERT INTO liked VALUES ('l1', 'p')");
    replicas.fetch(0, 1);
    assert_eq!(replicas.query(0, "SELECT k FROM liked"), ["'l1'"], "it is shown");
    assert_eq!(replicas.query(0, "SELECT likes FROM post"), ["0"]);
    assert_eq!(replicas.query(0, all), before);
    leave_alone();
    replicas.meet();
    assert_eq!(replicas.query_all("SELECT likes FROM post"), ["1"]);
    let after = replicas.query_all("SELECT post, day FROM last ORDER BY post");
    assert_eq!(after, ["'p', 'MONDAY'", "'q', 4", "'t', 3"], "as its author has it");
    assert_eq!(replicas.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"]);
    assert_eq!(replicas.query_all("SELECT count(*) FROM driftless_parked"), ["0"]);
    sim::set_clock(None);
}

/// The rename asks for all rows to be shown anew, and rows that wait to be shown were taken for rows that the table does not lack.
#[test]
fn a_deleted_row_stays_deleted_though_a_rename_is_heard_of_before_the_table_is_compared() {
    let mut replicas = waiting_replicas(2, &format!("{ITEMS}; {ROWS}"), &["items"]);
    let anew = "CREATE TABLE anew (id TEXT PRIMARY KEY, title TEXT, qty INTEGER);
        INSERT INTO anew SELECT id, name, qty FROM items; DROP TABLE items; ALTER TABLE anew RENAME TO items";
    replicas.sql(0, anew);
    replicas.capture(0);
    leave_alone();
    replicas.capture(0);
    driftless::rename_column(replicas.path(0), "items", "name", "title").expect("told");
    replicas.sql(1, &format!("DELETE FROM items WHERE id = '2'; {anew}"));
    replicas.capture(1);
    replicas.fetch(1, 0);
    assert!(driftless::status(replicas.path(1)).expect("a status").tables[0].settling);
    sim::set_clock(Some(NOON + 3 * QUIET.as_millis() as i64));
    replicas.meet();
    assert_eq!(replicas.query_all("SELECT id, title FROM items ORDER BY id"), ["'1', 'one'", "'3', 'three'"]);
    assert_eq!(replicas.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"]);
    sim::set_clock(None);
}

/// The app has not seen what others write while its table is in the making. Their writes were once taken for seen, and were gone.
#[test]
fn what_two_write_while_a_table_is_in_the_making_is_in_conflict() {
    let mut replicas = waiting_replicas(2, &format!("{ITEMS}; {ROWS}"), &["items"]);
    replicas.sql(0, &rebuild(COLUMNS, "SELECT *, 'y' FROM items"));
    replicas.capture(0);
    replicas.sql(
        1,
        "UPDATE items SET name = 'by b', qty = 7 WHERE id = '1'; INSERT INTO items VALUES ('8', 'b', 8)",
    );
    replicas.fetch(0, 1);
    later();
    replicas
        .sql(0, "UPDATE items SET name = 'by a' WHERE id = '1'; INSERT INTO items VALUES ('8', 'a', 8, 'y')");
    replicas.capture(0);
    leave_alone();
    replicas.meet();
    let shown = replicas.query_all("SELECT id, name, qty FROM items WHERE id IN ('1', '8') ORDER BY id");
    assert_eq!(shown, ["'1', 'by a', 7", "'8', 'a', 8"]);
    let kept =
        replicas.query_all("SELECT \"column\", value FROM driftless_conflicts WHERE shown = 0 ORDER BY 2");
    assert_eq!(kept, ["'name', 'b'", "'name', 'by b'"]);
    sim::set_clock(None);
}

/// If others had written a parked row as well, its values were taken for seen by the app, and were gone.
#[test]
fn what_is_inserted_over_a_parked_row_of_a_table_in_the_making_leaves_a_conflict() {
    let schema =
        "CREATE TABLE p (id TEXT PRIMARY KEY); CREATE TABLE c (id TEXT PRIMARY KEY, p REFERENCES p (id), v);
                  INSERT INTO p VALUES ('1')";
    let mut replicas = waiting_replicas(2, schema, &["p", "c"]);
    replicas.sql(0, "PRAGMA foreign_keys = OFF; INSERT INTO c VALUES ('a', 'none', 'parked')");
    replicas.capture(0);
    assert_eq!(replicas.query(0, "SELECT count(*) FROM c"), ["0"]);
    replicas.sql(
        0,
        "BEGIN; CREATE TABLE new_c (id TEXT PRIMARY KEY, p REFERENCES p (id), v, w); INSERT INTO new_c SELECT *, 1 FROM c;
         DROP TABLE c; ALTER TABLE new_c RENAME TO c; COMMIT",
    );
    replicas.capture(0);
    replicas.sql(1, "INSERT INTO c VALUES ('a', '1', 'theirs')");
    replicas.fetch(0, 1);
    later();
    replicas.sql(0, "INSERT INTO c VALUES ('a', '1', 'first', 1)");
    replicas.capture(0);
    replicas.sql(0, "UPDATE c SET w = 2");
    replicas.capture(0);
    leave_alone();
    replicas.meet();
    assert_eq!(replicas.query_all("SELECT id, p, v FROM c"), ["'a', '1', 'first'"]);
    let kept = replicas
        .query_all("SELECT value FROM driftless_conflicts WHERE shown = 0 AND \"column\" = 'v' ORDER BY 1");
    assert_eq!(kept, ["'parked'", "'theirs'"]);
    sim::set_clock(None);
}

#[test]
fn rows_that_refer_to_a_table_in_the_making_stay() {
    let schema =
        "CREATE TABLE p (id TEXT PRIMARY KEY); CREATE TABLE c (id TEXT PRIMARY KEY, p REFERENCES p (id));
                  INSERT INTO p VALUES ('1'), ('2'); INSERT INTO c VALUES ('a', '1'), ('b', '2')";
    let mut replicas = waiting_replicas(2, schema, &["p", "c"]);
    replicas
        .sql(0, "PRAGMA foreign_keys = OFF; DROP TABLE p; CREATE TABLE p (id TEXT PRIMARY KEY, more TEXT)");
    replicas.capture(0);
    replicas.sql(0, "UPDATE c SET id = id || '!'");
    replicas.sql(1, "INSERT INTO c VALUES ('d', '2')");
    replicas.fetch(0, 1);
    assert_eq!(replicas.query(0, "SELECT id FROM c ORDER BY id"), ["'a!'", "'b!'", "'d'"]);
    replicas.sql(0, "INSERT INTO p (id) VALUES ('1')");
    leave_alone();
    replicas.meet();
    assert_eq!(replicas.query_all("SELECT id FROM p"), ["'1'"]);
    assert_eq!(replicas.query_all("SELECT id FROM c"), ["'a!'"]);
    let parked = replicas.query_all("SELECT count(*) FROM driftless_parked");
    assert_eq!(parked, ["2"], "their parent is gone for good");
    sim::set_clock(None);
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
        let mut replicas = waiting_replicas(2, &format!("{ITEMS}; {ROWS}"), &["items"]);
        let mut clock = NOON;
        for node in 0..2 {
            driftless::track(replicas.path(node), Selection::All, TableOptions::default()).expect("tracked");
        }
        for (at, step) in migration.iter().enumerate() {
            replicas.sql(0, step);
            // Before the copy it would be in it; between the copy and the drop it would be lost like the app's own.
            if at == 3 {
                replicas.sql(1, "UPDATE items SET name = 'THREE' WHERE id = '3'");
            }
            if pauses & 1 << at != 0 {
                pass(&mut replicas, &mut clock, 3 * QUIET);
            }
        }
        pass(&mut replicas, &mut clock, 3 * QUIET);
        replicas.settle();
        for node in 0..2 {
            let found = listed(&replicas, node);
            assert_eq!(found, [("items".to_owned(), "tracked")], "{node}: {migration:#?} {pauses:#b}");
            replicas.assert_well(node);
        }
        assert_eq!(names(&replicas), ["'1', 'ONE'", "'3', 'THREE'"], "{migration:#?} {pauses:#b}");
        let copy = replicas.join("");
        replicas.settle();
        let made = replicas.node(copy).make_defined_tables().expect("made");
        assert_eq!(made, ["items"], "{pauses:#b}");
        // The other machine runs the same migration, later and at once.
        replicas.sql(1, &rebuild(COLUMNS, "SELECT *, 'y' FROM items"));
        pass(&mut replicas, &mut clock, 3 * QUIET);
        replicas.settle();
        assert_eq!(
            replicas.query(1, "SELECT id, name FROM items ORDER BY id"),
            ["'1', 'ONE'", "'3', 'THREE'"]
        );
        replicas.assert_well(1);
        sim::set_clock(None);
    }
}

/// An app that never pauses for two seconds kept a table undecided for a minute, and its deletes with it.
#[test]
fn a_table_that_is_written_all_the_time_is_decided_after_half_a_minute() {
    let mut replicas = waiting_replicas(2, &format!("{ITEMS}; {ROWS}"), &["items"]);
    replicas.sql(0, &rebuild(COLUMNS, "SELECT *, 'y' FROM items WHERE id <> '2'"));
    let mut clock = NOON;
    let mut decided = None;
    for second in 0..40 {
        replicas.sql(0, &format!("UPDATE items SET qty = {second} WHERE id = '1'"));
        pass(&mut replicas, &mut clock, Duration::from_secs(1));
        if replicas.query(1, "SELECT id FROM items ORDER BY id") == ["'1'", "'3'"] {
            decided = decided.or(Some(second));
        }
    }
    assert!(decided.is_some_and(|second| (30..35).contains(&second)), "{decided:?}");
    replicas.meet();
    assert_eq!(names(&replicas), ["'1', 'one'", "'3', 'three'"]);
    sim::set_clock(None);
}

#[test]
fn an_import_that_never_pauses_deletes_nothing_however_long_it_takes() {
    let rows = |range: std::ops::Range<u32>| {
        let rows: Vec<String> = range.map(|n| format!("('{n:02}', 'n', {n})")).collect();
        format!("INSERT INTO items VALUES {}", rows.join(", "))
    };
    let mut replicas = waiting_replicas(2, &format!("{ITEMS}; {}", rows(0..90)), &["items"]);
    replicas.sql(0, &format!("DROP TABLE items; {ITEMS}"));
    let mut clock = NOON;
    for second in 0..80 {
        replicas.sql(0, &rows(second..second + 1));
        pass(&mut replicas, &mut clock, Duration::from_secs(1));
        assert_eq!(replicas.query(1, "SELECT count(*) FROM items"), ["90"], "after {second} seconds");
    }
    pass(&mut replicas, &mut clock, 3 * QUIET);
    replicas.meet();
    assert_eq!(replicas.query_all("SELECT count(*) FROM items"), ["80"]);
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
    let mut replicas = waiting_replicas(2, &schema, &["items", "parts"]);
    replicas.sql(
        0,
        &format!(
            "PRAGMA foreign_keys = OFF; {}",
            rebuild(COLUMNS, "SELECT *, 'y' FROM items WHERE id <> '2'")
        ),
    );
    for look in 0..2 {
        let verified =
            driftless::verify(replicas.path(0), &VerifyOptions::default()).expect("it can be verified");
        assert!(verified.is_well() && verified.differences() == 0, "{look}: {verified:#?}");
        let tables = verified.checks.iter().find(|check| check.name == "tables").expect("the check");
        assert!(tables.waiting >= 3, "{look}: {tables:#?}");
        assert!(tables.notes.iter().any(|note| note.contains("items was rebuilt just now")), "{tables:#?}");
        // The engine notices; and does not decide yet.
        replicas.capture(0);
    }
    leave_alone();
    replicas.meet();
    for node in 0..2 {
        replicas.assert_well(node);
    }
    assert_eq!(names(&replicas), ["'1', 'one'", "'3', 'three'"]);
    sim::set_clock(None);
}

/// Returns the rows of all tables on both replicas after these steps, with a look after each step whose bit is set in `looks`.
fn outcome(migration: &[&str], looks: u32) -> Vec<String> {
    let mut replicas = waiting_replicas(2, &format!("{ITEMS}; {ROWS}"), &["items"]);
    for (at, step) in migration.iter().enumerate() {
        replicas.sql(0, step);
        if looks & 1 << at != 0 {
            replicas.fetch(1, 0);
            replicas.fetch(0, 1);
        }
    }
    replicas.capture(0);
    leave_alone();
    replicas.capture(0);
    replicas.meet();
    sim::set_clock(None);
    let tables =
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%driftless%' ORDER BY name";
    let mut outcome = Vec::new();
    for node in 0..2 {
        for table in replicas.query(node, tables) {
            let table = table.trim_matches('\'').to_owned();
            outcome.extend(replicas.query(node, &format!("SELECT '{table}', * FROM {table} ORDER BY 2")));
        }
    }
    outcome
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

/// The values of others had never shown in the column, and those that the table did show counted as edits of them: on both machines
/// the others' writes were gone, without a conflict.
#[test]
fn a_rename_that_is_told_while_a_table_is_in_the_making_undoes_nothing_that_it_has_not_shown() {
    let table = |column: &str| {
        format!("CREATE TABLE t (id TEXT PRIMARY KEY, {column} INTEGER NOT NULL DEFAULT 0, o TEXT)")
    };
    let rows = "INSERT INTO t VALUES ('a', 10, 'o'), ('b', 10, 'o'), ('c', 10, 'o')";
    let rebuild = format!(
        "BEGIN; ALTER TABLE t RENAME TO old; {}; INSERT INTO t SELECT * FROM old; DROP TABLE old; COMMIT",
        table("hits")
    );
    for (options, expected) in
        [(TableOptions::default().counter("n"), vec!["112"]), (TableOptions::default(), vec!["110", "12"])]
    {
        let mut clock = NOON;
        sim::set_clock(Some(clock));
        let mut replicas =
            Replicas::with_quiet(QUIET, 2, &format!("{}; {rows}", table("n")), &["t"], &options);
        replicas.meet();
        let mut leave_alone = |replicas: &mut Replicas| {
            replicas.capture(1);
            clock += QUIET.as_millis() as i64;
            sim::set_clock(Some(clock));
            replicas.capture(1);
        };
        // Everything is written, so the rows do not tell that the column was renamed.
        replicas.sql(
            1,
            &format!("ALTER TABLE t RENAME COLUMN n TO hits; UPDATE t SET hits = hits + 2; {rebuild}"),
        );
        leave_alone(&mut replicas);
        replicas.sql(0, "UPDATE t SET n = n + 100 WHERE id = 'a'");
        replicas.fetch(0, 1);
        replicas.fetch(1, 0);
        replicas.sql(0, "ALTER TABLE t RENAME COLUMN n TO hits");
        replicas.capture(0);
        replicas.sql(1, &rebuild);
        replicas.fetch(1, 0);
        leave_alone(&mut replicas);
        replicas.settle();
        sim::set_clock(None);
        let mut stands = replicas.query_all(
            "SELECT hits FROM t WHERE id = 'a' UNION SELECT value FROM driftless_conflicts WHERE key = '''a'''",
        );
        stands.sort();
        assert_eq!(stands, expected);
        assert_eq!(replicas.query_all("SELECT hits FROM t WHERE id <> 'a'"), ["12", "12"]);
        (0..2).for_each(|replica| replicas.assert_well(replica));
    }
}

/// The app's additions were compared with all that others had counted in the new column, so that some were lost, and all of them
/// if the sums were the same.
#[test]
fn what_is_added_to_a_renamed_counter_while_its_table_is_in_the_making_counts_once_beside_what_others_added()
{
    let table = |column: &str| {
        format!("CREATE TABLE t (id TEXT PRIMARY KEY, {column} INTEGER NOT NULL DEFAULT 0, o TEXT)")
    };
    let alter = "ALTER TABLE t RENAME COLUMN n TO hits".to_owned();
    let rebuild = format!(
        "BEGIN; ALTER TABLE t RENAME TO old; {}; INSERT INTO t SELECT * FROM old; DROP TABLE old; COMMIT",
        table("hits")
    );
    let both = format!("{alter}; {rebuild}");
    for (first, second) in [(&alter, &rebuild), (&rebuild, &rebuild), (&both, &both)] {
        for times in 0..8 {
            // Before the migration, after it, and once more after a look.
            let adds = |bit: i32| times & bit != 0;
            let mut clock = NOON;
            sim::set_clock(Some(clock));
            let schema = format!("{}; INSERT INTO t VALUES ('a', 10, 'o'), ('b', 10, 'o')", table("n"));
            let options = TableOptions::default().counter("n");
            let mut replicas = Replicas::with_quiet(QUIET, 2, &schema, &["t"], &options);
            let mut leave_alone = |replicas: &mut Replicas| {
                for replica in 0..2 {
                    replicas.capture(replica);
                }
                clock += QUIET.as_millis() as i64;
                sim::set_clock(Some(clock));
                replicas.meet();
            };
            replicas.sql(0, &format!("{first}; UPDATE t SET hits = hits + 1 WHERE id = 'b'"));
            leave_alone(&mut replicas);
            if adds(1) {
                replicas.sql(1, "UPDATE t SET n = n + 1 WHERE id = 'b'");
            }
            replicas.sql(1, second);
            if adds(2) {
                replicas.sql(1, "UPDATE t SET hits = hits + 1 WHERE id = 'b'");
            }
            replicas.capture(1);
            if adds(4) {
                replicas.sql(1, "UPDATE t SET hits = hits + 1 WHERE id = 'b'");
            }
            leave_alone(&mut replicas);
            replicas.settle();
            sim::set_clock(None);
            let expected = ["10".to_owned(), (11 + times.count_ones()).to_string()];
            let case = format!("{first}; {second}; {times:03b}");
            assert_eq!(replicas.query_all("SELECT hits FROM t ORDER BY id"), expected, "{case}");
            assert_eq!(replicas.query_all("SELECT count(*) FROM driftless_conflicts"), ["0"], "{case}");
            (0..2).for_each(|replica| replicas.assert_well(replica));
        }
    }
}
