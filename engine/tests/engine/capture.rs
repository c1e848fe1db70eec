//! Each SQL form a user may write a tracked table with is captured: exactly the rows that changed, once each.

use driftless::{FeedEvent, Origin};
use rusqlite::config::DbConfig;

use crate::support::File;

const T: &str = "CREATE TABLE t (k TEXT PRIMARY KEY, v INTEGER NOT NULL, w TEXT);
                 INSERT INTO t VALUES ('a', 1, 'x'), ('b', 2, 'y'), ('c', 3, 'z');";

/// On a table `t` made and filled by `schema`, `sql` changes exactly the rows with the keys `changed`.
#[track_caller]
fn captures(schema: &str, sql: &str, changed: &[&str]) {
    let file = File::tracked(schema, &["t"]);
    file.run(sql);
    assert_changed(&file, changed);
}

/// Like [`captures`], for statements of which the last fails.
#[track_caller]
fn captures_of_failing(sql: &str, changed: &[&str]) {
    let file = File::tracked(T, &["t"]);
    file.user().execute_batch(sql).expect_err("the statement fails");
    assert_changed(&file, changed);
}

#[track_caller]
fn assert_changed(file: &File, changed: &[&str]) {
    let expected: Vec<String> = changed.iter().map(|key| format!("t[{key}]")).collect();
    assert_eq!(file.capture(), expected);
    file.assert_captured("t");
    assert!(file.capture().is_empty(), "what is captured once is not captured again");
}

#[test]
fn the_rows_that_were_there_when_the_table_was_tracked() {
    let file = File::new(T);
    file.track(&["t"]);
    assert_eq!(file.table_status("t").pending, 3);
    assert_changed(&file, &["'a'", "'b'", "'c'"]);
}

#[test]
fn insert() {
    captures(T, "INSERT INTO t VALUES ('d', 4, NULL), ('e', 5, '')", &["'d'", "'e'"]);
}

#[test]
fn insert_of_defaults() {
    captures(
        "CREATE TABLE t (k TEXT PRIMARY KEY DEFAULT 'made up', v DEFAULT (abs(-7)))",
        "INSERT INTO t DEFAULT VALUES",
        &["'made up'"],
    );
}

#[test]
fn insert_of_a_generated_rowid() {
    captures(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (7, 'x')",
        "INSERT INTO t (v) VALUES ('y'); INSERT INTO t VALUES (NULL, 'z')",
        &["8", "9"],
    );
}

#[test]
fn insert_or_ignore_of_new_and_of_taken_keys() {
    captures(T, "INSERT OR IGNORE INTO t VALUES ('a', 9, 'n'), ('d', 4, 'n'), ('e', NULL, 'n')", &["'d'"]);
}

#[test]
fn insert_or_replace_of_the_same_key() {
    captures(T, "INSERT OR REPLACE INTO t VALUES ('a', 9, NULL), ('d', 4, 'n')", &["'a'", "'d'"]);
}

#[test]
fn replace_into() {
    captures(T, "REPLACE INTO t (k, v) VALUES ('b', 8)", &["'b'"]);
}

#[test]
fn insert_or_fail_keeps_what_came_before_the_failure() {
    captures_of_failing("INSERT OR FAIL INTO t VALUES ('d', 4, 'n'), ('a', 9, 'n'), ('e', 5, 'n')", &["'d'"]);
}

#[test]
fn insert_or_abort_that_fails() {
    captures_of_failing("INSERT OR ABORT INTO t VALUES ('d', 4, 'n'), ('a', 9, 'n')", &[]);
}

#[test]
fn insert_or_rollback_that_fails() {
    captures_of_failing(
        "BEGIN; UPDATE t SET v = 9; INSERT OR ROLLBACK INTO t VALUES ('d', 4, 'n'), ('a', 9, 'n')",
        &[],
    );
}

#[test]
fn insert_or_abort_that_fails_within_a_transaction_that_commits() {
    let file = File::tracked(T, &["t"]);
    let user = file.user();
    user.execute_batch("BEGIN; UPDATE t SET v = 9 WHERE k = 'b'").expect("written");
    user.execute_batch("INSERT INTO t VALUES ('d', 4, 'n'), ('a', 9, 'n')").expect_err("'a' is taken");
    user.execute_batch("COMMIT").expect("committed");
    assert_changed(&file, &["'b'"]);
}

#[test]
fn upsert_that_updates() {
    captures(
        T,
        "INSERT INTO t VALUES ('a', 9, 'n'), ('d', 4, 'n')
         ON CONFLICT (k) DO UPDATE SET v = excluded.v WHERE excluded.v > 5",
        &["'a'", "'d'"],
    );
}

#[test]
fn upsert_whose_condition_is_false() {
    captures(T, "INSERT INTO t VALUES ('a', 9, 'n') ON CONFLICT (k) DO UPDATE SET v = 9 WHERE 0", &[]);
}

#[test]
fn upsert_that_does_nothing() {
    captures(T, "INSERT INTO t VALUES ('a', 9, 'n'), ('d', 4, 'n') ON CONFLICT DO NOTHING", &["'d'"]);
}

#[test]
fn upsert_that_moves_the_key() {
    captures(T, "INSERT INTO t VALUES ('a', 9, 'n') ON CONFLICT (k) DO UPDATE SET k = 'd'", &["'a'", "'d'"]);
}

#[test]
fn insert_select() {
    captures(T, "INSERT INTO t SELECT k || '2', v, w FROM t WHERE v > 1", &["'b2'", "'c2'"]);
}

#[test]
fn update() {
    captures(T, "UPDATE t SET w = NULL WHERE v >= 2", &["'b'", "'c'"]);
}

#[test]
fn update_from() {
    captures(
        T,
        "CREATE TEMP TABLE n (k, v); INSERT INTO n VALUES ('c', 30);
         UPDATE t SET v = n.v FROM n WHERE n.k = t.k",
        &["'c'"],
    );
}

#[test]
fn a_changed_key_marks_both_keys() {
    captures(T, "UPDATE t SET k = 'd' WHERE k = 'a'", &["'a'", "'d'"]);
}

#[test]
fn keys_that_trade_places() {
    captures(
        T,
        "BEGIN; UPDATE t SET k = '-' WHERE k = 'a'; UPDATE t SET k = 'a' WHERE k = 'b';
         UPDATE t SET k = 'b' WHERE k = '-'; COMMIT",
        &["'a'", "'b'"],
    );
}

#[test]
fn update_or_replace_that_moves_a_key_onto_another_row() {
    captures(T, "UPDATE OR REPLACE t SET k = 'b' WHERE k = 'a'", &["'a'", "'b'"]);
}

#[test]
fn update_or_replace_that_moves_a_rowid_onto_another_row() {
    captures(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'x'), (2, 'y')",
        "UPDATE OR REPLACE t SET id = 2 WHERE id = 1",
        &["1", "2"],
    );
}

#[test]
fn update_or_ignore_that_would_move_a_key_onto_another_row() {
    captures(T, "UPDATE OR IGNORE t SET k = 'b' WHERE k IN ('a', 'b')", &[]);
}

#[test]
fn delete() {
    captures(T, "DELETE FROM t WHERE k = 'b'", &["'b'"]);
}

#[test]
fn delete_without_where() {
    captures(T, "DELETE FROM t", &["'a'", "'b'", "'c'"]);
}

#[test]
fn a_row_that_is_deleted_and_comes_back_the_same() {
    captures(T, "DELETE FROM t WHERE k = 'a'; INSERT INTO t VALUES ('a', 1, 'x')", &[]);
}

#[test]
fn a_row_that_comes_and_goes_between_two_captures() {
    captures(T, "INSERT INTO t VALUES ('d', 4, 'n'); DELETE FROM t WHERE k = 'd'", &[]);
}

#[test]
fn a_row_that_comes_back_after_its_deletion_was_captured() {
    let file = File::tracked(T, &["t"]);
    file.run("DELETE FROM t WHERE k = 'a'");
    assert_changed(&file, &["'a'"]);
    file.run("INSERT INTO t (k, v) VALUES ('a', 1)");
    assert_changed(&file, &["'a'"]);
}

#[test]
fn cascades_of_foreign_keys() {
    let schema = "CREATE TABLE p (k TEXT PRIMARY KEY);
        CREATE TABLE t (k TEXT PRIMARY KEY, p TEXT REFERENCES p ON DELETE CASCADE ON UPDATE CASCADE,
                        q TEXT REFERENCES p ON DELETE SET NULL, r TEXT DEFAULT 'p9' REFERENCES p ON DELETE SET DEFAULT);
        INSERT INTO p VALUES ('p1'), ('p2'), ('p3'), ('p4'), ('p9');
        INSERT INTO t VALUES ('a', 'p1', NULL, 'p9'), ('b', 'p2', 'p3', 'p9'), ('c', NULL, NULL, 'p4'), ('d', NULL, NULL, 'p9')";
    let file = File::tracked(schema, &["p", "t"]);
    let foreign_keys = "PRAGMA foreign_keys = ON;";
    for (sql, changed) in [
        ("DELETE FROM p WHERE k = 'p1'", ["p['p1']", "t['a']"].as_slice()),
        ("DELETE FROM p WHERE k = 'p3'", &["p['p3']", "t['b']"]),
        ("DELETE FROM p WHERE k = 'p4'", &["p['p4']", "t['c']"]),
        ("UPDATE p SET k = 'p5' WHERE k = 'p2'", &["p['p2']", "p['p5']", "t['b']"]),
        ("REPLACE INTO p VALUES ('p5')", &["t['b']"]), // the replaced parent takes its child along
    ] {
        file.run(&format!("{foreign_keys} {sql}"));
        assert_eq!(file.capture(), changed, "{sql}");
        file.assert_captured("t");
        file.assert_captured("p");
    }
}

#[test]
fn a_savepoint_that_is_rolled_back() {
    captures(
        T,
        "BEGIN; UPDATE t SET v = 9 WHERE k = 'a'; SAVEPOINT s; UPDATE t SET v = 9 WHERE k = 'b';
         DELETE FROM t WHERE k = 'c'; ROLLBACK TO s; INSERT INTO t VALUES ('d', 4, 'n'); RELEASE s; COMMIT",
        &["'a'", "'d'"],
    );
}

#[test]
fn a_transaction_that_is_rolled_back() {
    captures(T, "BEGIN; UPDATE t SET v = 9; DELETE FROM t; ROLLBACK", &[]);
}

#[test]
fn recursive_triggers() {
    captures(
        T,
        "PRAGMA recursive_triggers = ON; REPLACE INTO t VALUES ('a', 9, 'n'); UPDATE OR REPLACE t SET k = 'c' WHERE k = 'b'",
        &["'a'", "'b'", "'c'"],
    );
}

#[test]
fn a_writer_that_trusts_no_schema() {
    let file = File::tracked(T, &["t"]);
    let user = file.user();
    user.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).expect("configured");
    user.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).expect("configured");
    user.execute_batch(
        "INSERT INTO t VALUES ('d', 4, 'n'); UPDATE t SET v = 9 WHERE k = 'a'; DELETE FROM t WHERE k = 'b'",
    )
    .expect("written");
    assert_changed(&file, &["'a'", "'b'", "'d'"]);
}

#[test]
fn a_writer_that_has_the_file_attached_beside_another_of_the_same_tables() {
    let file = File::tracked(T, &["t"]);
    let user = rusqlite::Connection::open_in_memory().expect("in memory");
    user.execute("ATTACH ?1 AS app", [file.path().to_str().expect("UTF-8")]).expect("attached");
    user.execute_batch(
        "CREATE TABLE t (k); CREATE TEMP TABLE _driftless_dirty (x);
         UPDATE app.t SET v = 9 WHERE k = 'a'; DELETE FROM app.t WHERE k = 'b'; INSERT INTO app.t VALUES ('d', 4, 'n')",
    )
    .expect("written");
    drop(user);
    assert_changed(&file, &["'a'", "'b'", "'d'"]);
}

#[test]
fn tables_without_rowid() {
    captures(
        "CREATE TABLE t (k TEXT PRIMARY KEY, v) WITHOUT ROWID; INSERT INTO t VALUES ('a', 1), ('b', 2), ('c', 3)",
        "REPLACE INTO t VALUES ('a', 9); UPDATE OR REPLACE t SET k = 'c' WHERE k = 'b'; INSERT INTO t VALUES ('d', 4)",
        &["'a'", "'b'", "'c'", "'d'"],
    );
}

#[test]
fn composite_keys() {
    captures(
        "CREATE TABLE t (v, b INTEGER, a TEXT, c BLOB, PRIMARY KEY (a, b, c));
         INSERT INTO t VALUES ('x', 1, 'a', x'00'), ('y', 2, 'a', x'00'), ('z', 1, 'b', x'ff')",
        "UPDATE t SET v = 'n' WHERE b = 2; UPDATE t SET b = 3 WHERE a = 'b'; DELETE FROM t WHERE v = 'x'",
        &["'a', 1, x'00'", "'a', 2, x'00'", "'b', 1, x'FF'", "'b', 3, x'FF'"],
    );
}

#[test]
fn another_case_of_a_nocase_key_is_the_same_row() {
    captures(
        "CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY, v); INSERT INTO t VALUES ('Key', 1), ('other', 2)",
        "UPDATE t SET k = 'KEY' WHERE k = 'key'; REPLACE INTO t VALUES ('OTHER', 2)",
        &["'key'", "'other'"],
    );
}

#[test]
fn trailing_spaces_of_an_rtrim_key_are_the_same_row() {
    captures(
        "CREATE TABLE t (k TEXT COLLATE RTRIM PRIMARY KEY, v); INSERT INTO t VALUES ('a', 1)",
        "UPDATE t SET k = 'a   '",
        &["'a'"],
    );
}

#[test]
fn one_and_one_point_zero_are_one_row_of_an_untyped_key() {
    for without_rowid in ["", "WITHOUT ROWID"] {
        captures(
            &format!(
                "CREATE TABLE t (k PRIMARY KEY, v) {without_rowid}; INSERT INTO t VALUES (1, 'x'), ('1', 'y')"
            ),
            "REPLACE INTO t VALUES (1.0, 'x')",
            &["1"],
        );
    }
}

#[test]
fn a_thousand_updates_of_one_row_are_one_change() {
    let file = File::tracked(T, &["t"]);
    let user = file.user();
    user.execute_batch("BEGIN").expect("begun");
    for n in 10..1010 {
        user.execute("UPDATE t SET v = ?1 WHERE k = 'a'", [n]).expect("updated");
    }
    user.execute_batch("COMMIT").expect("committed");
    assert_changed(&file, &["'a'"]);
}

#[test]
fn an_update_that_changes_nothing_is_none() {
    let file = File::tracked(T, &["t"]);
    let before = file.changesets();
    file.run("UPDATE t SET v = v, w = w; REPLACE INTO t SELECT * FROM t");
    assert_changed(&file, &[]);
    assert_eq!(file.changesets(), before, "nothing is sent about nothing");
}

#[test]
fn what_the_users_own_triggers_write_into_tracked_tables() {
    let schema = "CREATE TABLE t (k TEXT PRIMARY KEY, n INTEGER NOT NULL DEFAULT 0);
        CREATE TABLE log (line TEXT);
        CREATE VIEW names AS SELECT k FROM t;
        CREATE TABLE u (k TEXT PRIMARY KEY, t TEXT);
        CREATE TRIGGER count AFTER INSERT ON u BEGIN
          UPDATE t SET n = n + 1 WHERE k = NEW.t; INSERT INTO log VALUES (NEW.k);
        END;
        CREATE TRIGGER add_name INSTEAD OF INSERT ON names BEGIN INSERT INTO t (k) VALUES (NEW.k); END;
        INSERT INTO t (k) VALUES ('a'), ('b')";
    let file = File::tracked(schema, &["t", "u"]);
    file.run("INSERT INTO u VALUES ('1', 'b'), ('2', 'b'); INSERT INTO names VALUES ('c')");
    assert_eq!(file.capture(), ["t['b']", "t['c']", "u['1']", "u['2']"]);
    file.assert_captured("t");
    file.assert_captured("u");
}

#[test]
fn a_before_trigger_of_the_users_that_gives_the_row_another_shape() {
    captures(
        "CREATE TABLE t (k TEXT PRIMARY KEY, v);
         CREATE TRIGGER before_it BEFORE INSERT ON t BEGIN DELETE FROM t WHERE v = NEW.v; END;
         CREATE TRIGGER after_it AFTER INSERT ON t BEGIN UPDATE t SET k = lower(NEW.k) WHERE k = NEW.k; END;
         INSERT INTO t VALUES ('a', 1), ('b', 2)",
        "INSERT INTO t VALUES ('C', 1)",
        &["'a'", "'c'"],
    );
}

#[test]
fn generated_columns_are_left_to_sqlite() {
    let file = File::tracked(
        "CREATE TABLE t (k TEXT PRIMARY KEY, v, d AS (v * 2) STORED, e AS (v + 1)); INSERT INTO t (k, v) VALUES ('a', 1)",
        &["t"],
    );
    file.run("UPDATE t SET v = 2");
    assert_changed(&file, &["'a'"]);
    assert!(file.documents("t").iter().all(|row| !row.contains_key("d") && !row.contains_key("e")));
}

#[test]
fn several_transactions_of_several_connections() {
    let file = File::tracked(T, &["t"]);
    let (one, other) = (file.user(), file.user());
    one.execute_batch("UPDATE t SET v = 10 WHERE k = 'a'").expect("written");
    other.execute_batch("UPDATE t SET v = 20 WHERE k = 'b'").expect("written");
    one.execute_batch("DELETE FROM t WHERE k = 'b'").expect("written");
    assert_changed(&file, &["'a'", "'b'"]);
}

#[test]
fn a_key_that_is_null_stays_here_and_is_counted() {
    let file = File::tracked("CREATE TABLE t (k TEXT PRIMARY KEY, v)", &["t"]);
    file.run("INSERT INTO t VALUES (NULL, 1), (NULL, 2), ('a', 3)");
    assert_eq!(file.capture(), ["t['a']"]);
    assert_eq!(file.table_status("t").local_only, 2);
    file.run("UPDATE t SET k = 'b' WHERE v = 1");
    assert_eq!(file.capture(), ["t['b']"], "a row that gets a name travels");
    assert_eq!(file.table_status("t").local_only, 1);
    file.run("UPDATE t SET k = NULL WHERE v = 3");
    assert_eq!(file.capture(), ["t['a']"], "a row that loses its name is deleted elsewhere");
}

#[test]
fn a_row_that_replace_evicts_through_any_unique_index() {
    let schema = "
        CREATE TABLE t (k TEXT PRIMARY KEY, u TEXT UNIQUE, a, b, g AS (a || b), UNIQUE (a, b));
        CREATE UNIQUE INDEX lower_u ON t (lower(u)); CREATE UNIQUE INDEX u_nocase ON t (u COLLATE NOCASE);
        CREATE UNIQUE INDEX partial ON t (b) WHERE a = 'p'; CREATE UNIQUE INDEX generated ON t (g COLLATE NOCASE, u);
        INSERT INTO t VALUES ('1', 'One', 1, 1), ('2', 'Two', 2, 2), ('3', 'Three', 'p', 3)";
    for evicts in [
        "INSERT OR REPLACE INTO t VALUES ('9', 'One', 9, 9)",
        "INSERT OR REPLACE INTO t VALUES ('9', 'oNE', 9, 9)",
        "INSERT OR REPLACE INTO t VALUES ('9', 'nine', 1, 1)",
        "REPLACE INTO t VALUES ('9', 'nine', 'p', 3), ('8', 'TWO', 8, 8)",
        "UPDATE OR REPLACE t SET u = 'two' WHERE k = '1'",
        "UPDATE OR REPLACE t SET a = 1, b = 1 WHERE k = '2'",
    ] {
        let file = File::tracked(schema, &["t"]);
        file.capture();
        file.run(evicts);
        file.capture();
        file.assert_captured("t");
    }
}

#[test]
fn a_row_that_replace_evicts_through_a_unique_index_made_after_tracking() {
    let file = File::tracked(T, &["t"]);
    file.run("CREATE UNIQUE INDEX by_w ON t (w)");
    assert!(file.capture().is_empty());
    file.run("INSERT OR REPLACE INTO t VALUES ('d', 4, 'x')");
    assert_changed(&file, &["'a'", "'d'"]);
    file.run("UPDATE OR REPLACE t SET w = 'y' WHERE k = 'c'");
    assert_changed(&file, &["'b'", "'c'"]);
}

/// A rowid is a unique column that no index shows: REPLACE evicts whoever has it.
#[test]
fn a_row_that_replace_evicts_through_its_hidden_rowid() {
    let file = File::tracked(T, &["t"]);
    file.run("INSERT OR REPLACE INTO t (rowid, k, v, w) SELECT rowid, 'd', 4, 'n' FROM t WHERE k = 'a'");
    assert_changed(&file, &["'a'", "'d'"]);
}

#[test]
fn a_row_that_an_update_evicts_through_its_hidden_rowid() {
    let file = File::tracked(T, &["t"]);
    file.run("UPDATE OR REPLACE t SET rowid = (SELECT rowid FROM t WHERE k = 'b') WHERE k = 'a'");
    assert_changed(&file, &["'b'"]);
}

#[test]
fn a_running_engine_captures_by_itself_and_tells_the_change_feed() {
    let file = File::tracked(T, &["t"]);
    let engine = file.engine();
    let mut feed = engine.changes().expect("a feed");
    file.run("UPDATE t SET v = 9 WHERE k = 'b'");
    let Some(FeedEvent::Changed(changes)) = feed.next_blocking() else { panic!("the engine goes on") };
    assert_eq!(changes.origin, Origin::Local);
    let rows: Vec<_> = changes.rows.iter().map(|row| (row.table.as_str(), row.key())).collect();
    assert_eq!(rows, [("t", vec![driftless::Value::text("b")])]);
    engine.close();
    assert_eq!(file.captured(), ["t['b']"]);
}

#[test]
fn a_transaction_too_large_for_one_changeset_goes_in_parts_of_which_the_last_says_so() {
    let file = File::tracked(T, &["t"]);
    file.run(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
         INSERT INTO t SELECT 'row ' || i, i, hex(randomblob(5000)) FROM n",
    );
    assert_eq!(file.capture().len(), 300);
    let user = file.user();
    let mut statement = user.prepare("SELECT part FROM _driftless_outbox ORDER BY seq").expect("the outbox");
    let parts: Vec<i64> =
        statement.query_map([], |row| row.get(0)).and_then(|parts| parts.collect()).expect("parts");
    let (first, parts) = parts.split_first().expect("tracking made one");
    assert_eq!(*first, 0);
    let (last, more) =
        parts[parts.iter().position(|&part| part == 1).expect("parts")..].split_last().expect("several");
    assert!(*last == 2 && !more.is_empty() && more.iter().all(|&part| part == 1), "{parts:?}");
}

#[test]
fn a_row_of_which_nothing_but_its_key_is_known() {
    captures(
        "CREATE TABLE t (a TEXT, b TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID; INSERT INTO t VALUES ('x', 'y')",
        "INSERT INTO t VALUES ('x', 'z'); DELETE FROM t WHERE b = 'y'",
        &["'x', 'y'", "'x', 'z'"],
    );
}

#[test]
fn names_that_need_quoting() {
    let name = "or\"der; --";
    let file = File::tracked(
        "CREATE TABLE \"or\"\"der; --\" (\"select\" TEXT PRIMARY KEY, \"a b\" INT, \"new\" INT, \"Ünï\" INT)",
        &[name],
    );
    file.run(
        "INSERT INTO \"or\"\"der; --\" VALUES ('a', 1, 2, 3); UPDATE \"or\"\"der; --\" SET \"select\" = 'b'",
    );
    assert_eq!(file.capture(), [format!("{name}['b']")]);
    file.assert_captured(name);
}
