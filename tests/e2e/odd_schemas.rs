//! Schemas and triggers of which one or another once went wrong: rows were parked in some files and not in others, or
//! every turn failed.

use driftless::TableOptions;
use driftless_tests::Circle;

fn circle(count: usize, schema: &str, tracked: &[&str]) -> Circle {
    Circle::new(count, schema, tracked, &TableOptions::default())
}

const PARKED: &str = "SELECT \"table\", \"key\", reason FROM driftless_parked ORDER BY 1, 2";

/// Our `OR ABORT` took the place of the trigger's `OR REPLACE`, and the second merged update of a row was parked.
#[test]
fn an_index_that_triggers_keep_with_insert_or_replace_follows_merged_updates() {
    let schema = "
        CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT);
        CREATE TABLE search (id TEXT PRIMARY KEY, words TEXT);
        CREATE TRIGGER added AFTER INSERT ON notes BEGIN
          INSERT OR REPLACE INTO search VALUES (NEW.id, lower(NEW.title));
        END;
        CREATE TRIGGER changed AFTER UPDATE ON notes BEGIN
          INSERT OR REPLACE INTO search VALUES (NEW.id, lower(NEW.title));
        END;";
    let mut nodes = circle(2, schema, &["notes"]);
    nodes.sql(0, "INSERT INTO notes VALUES ('n', '')");
    for title in ["One", "Two", "Three"] {
        nodes.sql(0, &format!("UPDATE notes SET title = '{title}'"));
        nodes.meet();
        assert_eq!(nodes.query_all("SELECT title FROM notes"), [format!("'{title}'")]);
        assert_eq!(nodes.query_all("SELECT words FROM search"), [format!("'{}'", title.to_lowercase())]);
    }
    assert_eq!(nodes.query_all(PARKED), [""; 0]);
}

/// A trigger of ours named every column of the table, so that SQLite let go of none.
#[test]
fn a_column_beside_a_unique_index_on_an_expression_can_be_dropped() {
    let schema = "CREATE TABLE t (k TEXT PRIMARY KEY, u TEXT, v TEXT, w TEXT);
                  CREATE UNIQUE INDEX low ON t (lower(u), \"w\");";
    let mut nodes = circle(2, schema, &["t"]);
    nodes.sql(0, "INSERT INTO t VALUES ('a', 'x', 'gone', 'w'), ('b', 'y', 'gone', 'w')");
    nodes.meet();
    nodes.sql(0, "ALTER TABLE t DROP COLUMN v; INSERT OR REPLACE INTO t VALUES ('c', 'X', 'w')");
    nodes.sql(1, "ALTER TABLE t DROP COLUMN v");
    nodes.meet();
    assert_eq!(nodes.query_all("SELECT * FROM t ORDER BY k"), ["'b', 'y', 'w'", "'c', 'X', 'w'"]);
}

/// REPLACE makes the DEFAULT of a NULL where NULL is not allowed, after our triggers have looked for whom it evicts: the
/// evicted row was gone in its author's file alone.
#[test]
fn a_row_that_replace_evicts_through_a_default_is_deleted_everywhere() {
    let schema = "
        CREATE TABLE t (k TEXT PRIMARY KEY, u TEXT NOT NULL DEFAULT 'it''s' UNIQUE);
        CREATE TABLE e (k TEXT PRIMARY KEY, u TEXT NOT NULL DEFAULT 'X', n INTEGER NOT NULL DEFAULT -1);
        CREATE UNIQUE INDEX low ON e (lower(u), n);";
    let mut nodes = circle(2, schema, &["t", "e"]);
    nodes.sql(0, "INSERT INTO t (k) VALUES ('a'); INSERT INTO e VALUES ('a', 'x', -1), ('b', 'y', -1)");
    nodes.meet();
    nodes.sql(
        1,
        "INSERT OR REPLACE INTO t VALUES ('b', NULL); INSERT OR REPLACE INTO e VALUES ('c', NULL, NULL)",
    );
    nodes.sql(0, "UPDATE OR REPLACE e SET n = NULL WHERE k = 'b'");
    nodes.meet();
    assert_eq!(nodes.query_all("SELECT * FROM t"), ["'b', 'it's'"]);
    assert_eq!(nodes.query_all("SELECT * FROM e ORDER BY k"), ["'b', 'y', -1", "'c', 'X', -1"]);
}

/// A row is looked at in a table of another name, in which such a CHECK named nothing: every turn failed.
#[test]
fn a_check_that_names_its_table_holds_nothing_up() {
    let schema = "CREATE TABLE \"my t\" (k TEXT PRIMARY KEY, u TEXT UNIQUE, n INTEGER CHECK (\"my t\".n < 8 AND [My T] . n > 0),
                    g TEXT GENERATED ALWAYS AS (u || '!') STORED UNIQUE)";
    let mut nodes = circle(2, schema, &["my t"]);
    nodes.sql(0, "INSERT INTO \"my t\" (k, u, n) VALUES ('a', 'x', 1)");
    nodes.sql(1, "INSERT INTO \"my t\" (k, u, n) VALUES ('b', 'x', 2), ('c', 'y', 3)");
    nodes.meet();
    assert_eq!(nodes.query_all("SELECT k FROM \"my t\" ORDER BY k"), ["'a'", "'c'"]);
    assert_eq!(nodes.query_all("SELECT \"key\" FROM driftless_parked"), ["''b''"]);
}

/// One that ignored the delete was asked again for ever; one that rolled it back, likewise; one that raised left the row in
/// the file where it had come first.
#[test]
fn a_row_that_a_trigger_does_not_let_go_leaves_its_table_all_the_same() {
    for raise in ["RAISE(IGNORE)", "RAISE(ABORT, 'no')", "RAISE(FAIL, 'no')", "RAISE(ROLLBACK, 'no')"] {
        let schema = format!(
            "CREATE TABLE p (k TEXT PRIMARY KEY);
             CREATE TABLE c (k TEXT PRIMARY KEY, p TEXT REFERENCES p, u TEXT UNIQUE, dead INTEGER DEFAULT 0);
             CREATE TABLE may (what TEXT);
             CREATE TRIGGER soft BEFORE DELETE ON c WHEN NOT EXISTS (SELECT 1 FROM may) BEGIN
               UPDATE c SET dead = 1 WHERE k = OLD.k; SELECT {raise};
             END;
             INSERT INTO p VALUES ('p'), ('q')"
        );
        let mut nodes = circle(3, &schema, &["p", "c"]);
        nodes.sql(0, "INSERT INTO c (k, p, u) VALUES ('1', 'p', 'x'), ('4', 'q', 'z')");
        nodes.sql(1, "DELETE FROM p WHERE k = 'p'");
        nodes.sql(2, "INSERT INTO c (k, p, u) VALUES ('2', 'q', 'y')");
        nodes.meet();
        assert_eq!(nodes.query_all("SELECT k, dead FROM c ORDER BY k"), ["'2', 0", "'4', 0"], "{raise}");
        nodes.sql(0, "INSERT INTO c (k, p, u) VALUES ('3', 'q', 'v')");
        nodes.meet();
        // Both have it; then the one with the smaller key takes its value.
        nodes.sql(1, "UPDATE c SET u = 'v2' WHERE k = '3'");
        nodes.sql(2, "UPDATE c SET u = 'v2' WHERE k = '2'");
        nodes.meet();
        assert_eq!(nodes.query_all("SELECT k, dead FROM c ORDER BY k"), ["'2', 0", "'4', 0"], "{raise}");
        // A delete that its author's file allowed.
        nodes.sql(0, "INSERT INTO may VALUES ('delete'); DELETE FROM c WHERE k = '4'");
        nodes.meet();
        assert_eq!(nodes.query_all("SELECT k, dead FROM c ORDER BY k"), ["'2', 0"], "{raise}");
        nodes.sql(2, "INSERT INTO p VALUES ('p')");
        nodes.meet();
        assert_eq!(nodes.query_all("SELECT k, dead FROM c ORDER BY k"), ["'1', 0", "'2', 0"], "{raise}");
    }
}

/// It was taken for a row that cannot travel, and the one that its author's trigger had made waited for it for ever.
#[test]
fn a_row_that_a_trigger_has_just_made_gives_way_to_the_one_that_was_written() {
    let schema = "
        CREATE TABLE t (k TEXT PRIMARY KEY, p TEXT REFERENCES t);
        CREATE TABLE log (id TEXT PRIMARY KEY, what UNIQUE);
        CREATE TRIGGER logs AFTER INSERT ON t BEGIN
          INSERT INTO log VALUES (hex(randomblob(8)), 'made ' || NEW.k);
        END;";
    let mut nodes = circle(2, schema, &["t", "log"]);
    for key in ["a", "b", "c", "d"] {
        nodes.sql(0, &format!("INSERT INTO t VALUES ('{key}', NULL)"));
        nodes.meet();
    }
    assert_eq!(nodes.query_all("SELECT id, what FROM log ORDER BY id").len(), 4);
    assert_eq!(nodes.query_all(PARKED), [""; 0]);

    // A row that comes back when its parent does: then, too, what its trigger would make is there already.
    nodes.sql(0, "INSERT INTO t VALUES ('e', 'a'), ('f', 'e')");
    nodes.sql(1, "DELETE FROM t WHERE k = 'a'");
    nodes.meet();
    assert_eq!(nodes.query_all("SELECT k FROM t ORDER BY k"), ["'b'", "'c'", "'d'"]);
    nodes.sql(1, "DELETE FROM log WHERE what = 'made a'; INSERT INTO t VALUES ('a', NULL)");
    nodes.meet();
    assert_eq!(nodes.query_all("SELECT count(*) FROM t"), ["6"]);
    assert_eq!(nodes.query_all(PARKED), [""; 0]);
}

/// A row that waited for its parent was put back past a trigger that ignored it, and was nowhere.
#[test]
fn a_row_that_a_trigger_ignores_when_it_comes_back_is_still_parked() {
    let schema = "
        CREATE TABLE t (k TEXT PRIMARY KEY, p TEXT REFERENCES t);
        CREATE TABLE stop (k TEXT);
        CREATE TRIGGER none BEFORE INSERT ON t WHEN NEW.k IN (SELECT k FROM stop) BEGIN SELECT RAISE(IGNORE); END;
        INSERT INTO t VALUES ('a', NULL)";
    let mut nodes = circle(2, schema, &["t"]);
    nodes.sql(0, "INSERT INTO t VALUES ('b', 'a')");
    nodes.sql(1, "DELETE FROM t WHERE k = 'a'");
    nodes.meet();
    nodes.sql(1, "INSERT INTO stop VALUES ('b')");
    nodes.sql(0, "INSERT INTO t VALUES ('a', NULL)");
    nodes.meet();
    assert_eq!(nodes.query(0, "SELECT k FROM t ORDER BY k"), ["'a'", "'b'"]);
    assert_eq!(nodes.query(1, "SELECT k FROM t ORDER BY k"), ["'a'"]);
    assert_eq!(nodes.query(1, "SELECT rule FROM driftless_parked"), ["'TRIGGER'"]);
}

/// What a trigger makes for a merged row is undone. While it was there it had no parent, and its UNIQUE value was kept for
/// it, so that nobody could have it in that file any more.
#[test]
fn a_row_that_is_undone_holds_no_unique_value() {
    let schema = "
        CREATE TABLE p (k TEXT PRIMARY KEY);
        CREATE TABLE t (k TEXT PRIMARY KEY, p TEXT REFERENCES p);
        CREATE TABLE log (id TEXT PRIMARY KEY, what TEXT UNIQUE, t TEXT REFERENCES t);
        CREATE TRIGGER logs AFTER INSERT ON t BEGIN
          INSERT OR IGNORE INTO log VALUES ('1 ' || NEW.k, 'made ' || NEW.k, NEW.k);
        END;
        INSERT INTO p VALUES ('p')";
    let mut nodes = circle(2, schema, &["p", "t", "log"]);
    nodes.sql(0, "INSERT INTO t VALUES ('a', 'p'); DELETE FROM log");
    nodes.sql(1, "DELETE FROM p");
    nodes.meet();
    assert_eq!(nodes.query_all("SELECT count(*) FROM _driftless_claims"), ["0"]);
    nodes.sql(0, "INSERT INTO log VALUES ('2', 'made a', NULL)");
    nodes.meet();
    assert_eq!(nodes.query_all("SELECT id FROM log"), ["'2'"]);
}

/// A transaction so large that it is captured in parts is not judged row by row; a row that it wrote anew went on holding
/// the value that it had while it was parked.
#[test]
fn a_row_that_is_written_anew_in_a_large_transaction_lets_go_of_what_it_held() {
    let schema = "CREATE TABLE p (k TEXT PRIMARY KEY);
                  CREATE TABLE c (k TEXT PRIMARY KEY, p TEXT REFERENCES p, u TEXT UNIQUE);
                  INSERT INTO p VALUES ('p')";
    let mut nodes = circle(2, schema, &["p", "c"]);
    nodes.sql(0, "INSERT INTO c VALUES ('a', 'p', 'x')");
    nodes.sql(1, "DELETE FROM p");
    nodes.meet();
    assert_eq!(nodes.query_all("SELECT count(*) FROM _driftless_claims"), ["1"]);
    nodes.sql(
        0,
        "BEGIN; INSERT INTO c VALUES ('a', NULL, 'y');
         WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5000)
         INSERT INTO p SELECT 'more ' || n FROM n; COMMIT",
    );
    nodes.capture(0);
    assert_eq!(nodes.query(0, "SELECT count(*) FROM _driftless_claims"), ["0"]);
    nodes.meet();
    nodes.sql(1, "INSERT INTO c VALUES ('b', NULL, 'x')");
    nodes.meet();
    assert_eq!(nodes.query_all("SELECT k, u FROM c ORDER BY k"), ["'a', 'y'", "'b', 'x'"]);
}

/// A parked row whose document is damaged failed every turn once its parent came.
#[test]
fn a_damaged_document_of_a_parked_row_holds_nothing_up() {
    let schema =
        "CREATE TABLE p (k TEXT PRIMARY KEY); CREATE TABLE c (k TEXT PRIMARY KEY, p TEXT REFERENCES p);
                  INSERT INTO p VALUES ('p'); INSERT INTO c VALUES ('0', 'p')";
    let mut nodes = circle(2, schema, &["p", "c"]);
    nodes.sql(0, "INSERT INTO c VALUES ('1', 'p'), ('2', 'p')");
    nodes.sql(1, "DELETE FROM c; DELETE FROM p");
    nodes.meet();
    let damage = "UPDATE _driftless_documents SET body = x'ff' WHERE id =
                  (SELECT doc FROM _driftless_rows JOIN _driftless_tables t ON t.id = tbl
                   WHERE name = 'c' AND key = (SELECT max(key) FROM _driftless_parked))";
    nodes.sql(1, damage);
    nodes.sql(0, "INSERT INTO p VALUES ('p'), ('q')");
    nodes.meet();
    assert_eq!(nodes.query_all("SELECT k FROM p"), ["'p'", "'q'"]);
    assert_eq!(nodes.query(0, "SELECT k FROM c ORDER BY k"), ["'1'", "'2'"]);
    assert_eq!(nodes.query(1, "SELECT k FROM c ORDER BY k"), ["'1'"]);
    // And where the row is in its table, and must leave it.
    nodes.sql(1, &damage.replace("max(key) FROM _driftless_parked", "max(key) FROM _driftless_rows"));
    nodes.sql(0, "DELETE FROM c; DELETE FROM p");
    nodes.meet();
}

/// What others say of tables is read as this version writes it, and one value of another type failed every turn.
#[test]
fn definitions_that_say_something_else_hold_nothing_up() {
    let mut nodes = circle(2, "CREATE TABLE t (k TEXT PRIMARY KEY, v)", &["t"]);
    nodes.sql(
        0,
        "INSERT INTO _driftless_definitions (name, spelled, sql, indexes, deletes_win, integer_key, renames, kinds)
         VALUES ('odd', x'00', 1.5, x'ff', 'perhaps', x'01', 7.5, CAST(x'ff' AS TEXT)), (x'01', NULL, 1, 1, 1, 1, 1, 1);
         INSERT INTO _driftless_dirty (tbl, at, k0) VALUES (1, 1, 'odd'), (1, 1, x'01');
         INSERT INTO t VALUES ('a', 1)",
    );
    nodes.meet();
    assert_eq!(nodes.query_all("SELECT * FROM t"), ["'a', 1"]);
    assert_eq!(nodes.query_all("SELECT count(*) FROM _driftless_definitions"), ["3"]);
}

/// Both columns travelled as one, and each showed what was written in the other.
#[test]
fn two_columns_that_are_told_to_be_one_stay_two() {
    let mut nodes = circle(
        2,
        "CREATE TABLE t (k TEXT PRIMARY KEY, title TEXT); INSERT INTO t VALUES ('a', 'one')",
        &["t"],
    );
    driftless::rename_column(nodes.path(0), "t", "title", "head").expect("renamed");
    nodes.meet();
    nodes.sql(0, "ALTER TABLE t ADD COLUMN name TEXT");
    driftless::rename_column(nodes.path(1), "t", "title", "name").expect("renamed");
    nodes.meet();
    driftless::rename_column(nodes.path(0), "t", "title", "head").expect("told again");
    nodes.meet();
    nodes.sql(0, "UPDATE t SET head = 'h', name = 'n'");
    nodes.meet();
    nodes.sql(1, "UPDATE t SET name = 'of the other'");
    nodes.meet();
    assert_eq!(nodes.query(0, "SELECT head, name FROM t"), ["'of the other', 'n'"]);
}
