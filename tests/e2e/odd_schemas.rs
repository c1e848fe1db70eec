//! Schemas, triggers and side tables of which one or another once went wrong, and which are random, large or damaged on purpose.
//! Cases that can be played in every order of delivery are in `what_happens/odd_schemas.rs`.

use driftless::TableOptions;
use driftless_tests::Replicas;

fn replicas(count: usize, schema: &str, tracked: &[&str]) -> Replicas {
    Replicas::new(count, schema, tracked, &TableOptions::default())
}

const PARKED: &str = "SELECT \"table\", \"key\", reason FROM driftless_parked ORDER BY 1, 2";

/// It was taken for a row that cannot travel, and the one that its author's trigger had made waited for it for ever.
#[test]
fn a_row_that_a_trigger_has_just_made_gives_way_to_the_one_that_was_written() {
    let schema = "
        CREATE TABLE t (k TEXT PRIMARY KEY, p TEXT REFERENCES t);
        CREATE TABLE log (id TEXT PRIMARY KEY, what UNIQUE);
        CREATE TRIGGER logs AFTER INSERT ON t BEGIN
          INSERT INTO log VALUES (hex(randomblob(8)), 'made ' || NEW.k);
        END;";
    let mut nodes = replicas(2, schema, &["t", "log"]);
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

/// A transaction so large that it is captured in parts is not judged row by row; a row that it wrote anew went on holding
/// the value that it had while it was parked.
#[test]
fn a_row_that_is_written_anew_in_a_large_transaction_lets_go_of_what_it_held() {
    let schema = "CREATE TABLE p (k TEXT PRIMARY KEY);
                  CREATE TABLE c (k TEXT PRIMARY KEY, p TEXT REFERENCES p, u TEXT UNIQUE);
                  INSERT INTO p VALUES ('p')";
    let mut nodes = replicas(2, schema, &["p", "c"]);
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
    let mut nodes = replicas(2, schema, &["p", "c"]);
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
    let mut nodes = replicas(2, "CREATE TABLE t (k TEXT PRIMARY KEY, v)", &["t"]);
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
    let mut nodes = replicas(
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
