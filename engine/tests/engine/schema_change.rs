//! The schema changes under tracked tables, with and without an engine running: the user's writes never fail, status
//! says what is the matter, nothing gets stuck, and what is written afterwards is captured.

use std::time::Duration;

use driftless::Value;

use crate::support::File;

const T: &str = "CREATE TABLE t (k TEXT PRIMARY KEY, v, w);
                 INSERT INTO t VALUES ('a', 1, 'x'), ('b', 2, 'y');
                 CREATE TABLE u (k TEXT PRIMARY KEY, v); INSERT INTO u VALUES ('1', 1)";

/// Changes the schema by `ddl`, once with no engine and once beside a running one, writes by `then`, and looks.
#[track_caller]
fn whether_or_not_an_engine_runs(ddl: &str, then: &str, look: impl Fn(&File)) {
    for running in [false, true] {
        let file = File::tracked(T, &["t", "u"]);
        let engine = running.then(|| file.engine());
        file.run(ddl);
        if let Some(engine) = &engine {
            engine.capture().expect("captured");
        }
        file.run(then);
        if let Some(engine) = engine {
            engine.capture().expect("captured");
            engine.close();
        }
        file.capture();
        look(&file);
        go_on(&file);
    }
}

/// The same for a migration in steps: the engine that runs looks whenever it likes and decides nothing half way.
#[track_caller]
fn whether_or_not_an_engine_looks_half_way(ddl: &str, then: &str, look: impl Fn(&File)) {
    for running in [false, true] {
        let file = File::tracked(T, &["t", "u"]);
        let engine = running.then(|| file.engine_waiting(Duration::from_secs(3600)));
        file.run(ddl);
        file.run(then);
        if let Some(engine) = engine {
            engine.close();
        }
        file.capture();
        look(&file);
        go_on(&file);
    }
}

/// Whatever became of t, the other table goes on.
#[track_caller]
fn go_on(file: &File) {
    file.run("UPDATE u SET v = v + 1");
    assert_eq!(file.capture(), ["u['1']"]);
    file.assert_captured("u");
}

#[test]
fn an_added_column() {
    whether_or_not_an_engine_runs(
        "ALTER TABLE t ADD COLUMN n",
        "UPDATE t SET n = 'new' WHERE k = 'a'; INSERT INTO t VALUES ('c', 3, 'z', 'new')",
        |file| {
            file.assert_captured("t");
            assert_eq!(file.table_status("t").state, "tracked");
        },
    );
}

#[test]
fn an_added_column_with_a_default() {
    whether_or_not_an_engine_runs(
        "ALTER TABLE t ADD COLUMN n TEXT NOT NULL DEFAULT 'none'",
        "UPDATE t SET n = 'new'; INSERT INTO t VALUES ('c', 3, 'z', 'none')",
        |file| file.assert_captured("t"),
    );
}

#[test]
fn an_added_column_whose_default_an_update_goes_back_to() {
    whether_or_not_an_engine_runs(
        "ALTER TABLE t ADD COLUMN n DEFAULT 7",
        "UPDATE t SET n = 8; UPDATE t SET n = 7 WHERE k = 'a'; UPDATE t SET v = 3 WHERE k = 'b'",
        |file| {
            let n: Vec<_> = file.documents("t").into_iter().map(|row| row["n"].clone()).collect();
            // Null here stands for "nobody wrote it": the DEFAULT applies wherever the row is.
            assert_eq!(n, [Value::Null, Value::Integer(8)]);
        },
    );
}

#[test]
fn a_dropped_column() {
    whether_or_not_an_engine_runs(
        "ALTER TABLE t DROP COLUMN w",
        "UPDATE t SET v = 3 WHERE k = 'a'; DELETE FROM t WHERE k = 'b'; INSERT INTO t VALUES ('c', 3)",
        |file| {
            let without_w = |mut row: crate::support::Row| {
                row.remove("w");
                row
            };
            let documents: Vec<_> = file.documents("t").into_iter().map(without_w).collect();
            assert_eq!(documents, file.rows("t"));
        },
    );
}

#[test]
fn a_renamed_column_goes_on_under_the_name_that_it_had() {
    whether_or_not_an_engine_runs(
        "ALTER TABLE t RENAME COLUMN v TO renamed",
        "UPDATE t SET renamed = 3 WHERE k = 'a'; INSERT INTO t VALUES ('c', 3, 'z')",
        |file| {
            let values = |rows: Vec<crate::support::Row>, column: &str| -> Vec<_> {
                rows.into_iter().map(|row| (row["k"].clone(), row[column].clone())).collect()
            };
            assert_eq!(values(file.documents("t"), "v"), values(file.rows("t"), "renamed"));
            assert_eq!(file.table_status("t").reason, None);
        },
    );
}

#[test]
fn a_renamed_key_column_is_followed() {
    whether_or_not_an_engine_runs(
        "ALTER TABLE t RENAME COLUMN k TO id",
        "UPDATE t SET v = 3 WHERE id = 'a'; INSERT INTO t VALUES ('c', 3, 'z'); DELETE FROM t WHERE id = 'b'",
        |file| {
            assert_eq!(file.table_status("t").state, "tracked");
            assert_eq!(file.rows("t").len(), 2);
            assert_eq!(file.number("SELECT count(*) FROM _driftless_rows WHERE tbl = 2"), 3, "b was deleted");
            assert_eq!(file.number("SELECT count(*) FROM _driftless_dirty"), 0);
        },
    );
}

#[test]
fn a_key_column_renamed_by_a_rebuild_is_followed() {
    whether_or_not_an_engine_runs(
        "BEGIN; CREATE TABLE new_t (id TEXT PRIMARY KEY, v, w);
         INSERT INTO new_t SELECT * FROM t WHERE k <> 'b'; DROP TABLE t; ALTER TABLE new_t RENAME TO t; COMMIT",
        "UPDATE t SET v = 3 WHERE id = 'a'",
        |file| {
            let status = file.table_status("t");
            assert_eq!(status.state, "tracked");
            let found = status.rebuilt.expect("it was rebuilt");
            assert_eq!((found.deleted, found.inserted), (1, 0), "{found:?}");
        },
    );
}

/// Columns that trade places in the key would give every row another name.
#[test]
fn a_key_whose_columns_trade_names_is_another_key() {
    let file = File::tracked(
        "CREATE TABLE t (a TEXT, b TEXT, v, PRIMARY KEY (a, b)); INSERT INTO t VALUES ('1', '2', 3)",
        &["t"],
    );
    file.run("DROP TABLE t; CREATE TABLE t (b TEXT, a TEXT, v, PRIMARY KEY (b, a)); INSERT INTO t VALUES ('2', '1', 3)");
    file.capture();
    let status = file.table_status("t");
    assert_eq!(status.state, "unfit");
    assert!(status.reason.is_some_and(|reason| reason.contains("primary key changed from (a, b) to (b, a)")));
}

#[test]
fn a_dropped_table() {
    whether_or_not_an_engine_runs("DROP TABLE t", "SELECT 1", |file| {
        let status = file.table_status("t");
        assert_eq!(status.state, "missing");
        assert!(status.reason.is_some_and(|reason| reason.contains("dropped")));
        assert_eq!(status.documents, 2, "what others write in it is kept");
        assert_eq!(file.number("SELECT count(*) FROM sqlite_master WHERE name GLOB '_driftless_2_*'"), 0);
    });
}

#[test]
fn a_table_dropped_with_writes_that_were_not_captured_yet() {
    let file = File::tracked(T, &["t", "u"]);
    file.run("UPDATE t SET v = 9; UPDATE u SET v = 9; DROP TABLE t");
    assert_eq!(file.capture(), ["u['1']"]);
    assert_eq!(file.table_status("t").pending, 0);
}

/// What an app leaves out when it makes a table anew it wants to be rid of: such rows came back, here and everywhere.
#[test]
fn a_table_dropped_and_made_again_with_other_rows_says_what_became_of_each() {
    whether_or_not_an_engine_looks_half_way(
        "DROP TABLE t; CREATE TABLE t (k TEXT PRIMARY KEY, v, w); INSERT INTO t VALUES ('a', 7, 'x'), ('d', 4, 'w')",
        "UPDATE t SET w = 'again' WHERE k = 'a'; INSERT INTO t VALUES ('c', 3, 'z')",
        |file| {
            let status = file.table_status("t");
            assert_eq!(status.state, "tracked");
            let found = status.rebuilt.expect("it was rebuilt");
            assert_eq!(found.deleted, 1, "{found:?}");
            let rows = file.rows("t");
            let mut keys: Vec<_> = rows.iter().map(|row| row["k"].to_string()).collect();
            keys.sort();
            assert_eq!(keys, ["'a'", "'c'", "'d'"]);
            file.assert_captured("t");
        },
    );
}

#[test]
fn a_table_dropped_and_made_again_empty_is_filled_again() {
    whether_or_not_an_engine_runs(
        "DROP TABLE t; CREATE TABLE t (k TEXT PRIMARY KEY, v, w)",
        "SELECT 1",
        |file| {
            assert_eq!(file.rows("t").len(), 2);
            assert_eq!(file.table_status("t").rebuilt.expect("it was rebuilt").deleted, 0);
            file.assert_captured("t");
        },
    );
}

/// Some tools drop every trigger before they work on a table, and make only the app's own again.
#[test]
fn writes_made_while_triggers_were_dropped_are_found_whichever_were() {
    for drop in [
        "DROP TRIGGER _driftless_2_insert; DROP TRIGGER _driftless_2_update; DROP TRIGGER _driftless_2_delete",
        "DROP TRIGGER _driftless_2_delete",
        "DROP TRIGGER _driftless_2_rowid_insert",
        "DROP TRIGGER _driftless_2_columns",
    ] {
        let file = File::tracked(T, &["t", "u"]);
        file.run(&format!(
            "{drop}; DELETE FROM t WHERE k = 'a'; UPDATE t SET v = 9; INSERT INTO t VALUES ('c', 3, 'z')"
        ));
        let captured = file.capture();
        for key in ["t['a']", "t['b']", "t['c']"] {
            assert!(captured.iter().any(|row| row == key), "{drop}: {captured:?}");
        }
        file.assert_captured("t");
        assert_eq!(file.rows("t").len(), 2, "{drop}");
        assert_eq!(file.number("SELECT count(*) FROM sqlite_master WHERE name GLOB '_driftless_2_*'"), 6);
    }
}

/// The twelve steps of <https://sqlite.org/lang_altertable.html#otheralter>.
#[test]
fn a_table_made_anew_under_another_name_and_renamed_into_place() {
    whether_or_not_an_engine_runs(
        "BEGIN; CREATE TABLE new_t (k TEXT PRIMARY KEY, w, v INTEGER NOT NULL);
         INSERT INTO new_t SELECT k, w, v + 100 FROM t; DROP TABLE t; ALTER TABLE new_t RENAME TO t; COMMIT",
        "UPDATE t SET w = 'again' WHERE k = 'a'; INSERT INTO t VALUES ('c', 'z', 3)",
        |file| {
            assert_eq!(file.table_status("t").state, "tracked");
            file.assert_captured("t");
            assert_eq!(file.rows("t").len(), 3);
        },
    );
}

#[test]
fn a_table_made_again_with_another_key_is_unfit() {
    whether_or_not_an_engine_runs(
        "DROP TABLE t; CREATE TABLE t (v PRIMARY KEY, k, w)",
        "INSERT INTO t VALUES (1, 2, 3); UPDATE t SET w = 4; DELETE FROM t",
        |file| assert_eq!(file.table_status("t").state, "unfit"),
    );
}

#[test]
fn a_view_in_the_place_of_a_dropped_table() {
    whether_or_not_an_engine_runs(
        "DROP TABLE t; CREATE VIEW t AS SELECT * FROM u",
        "SELECT * FROM t",
        |file| {
            assert_eq!(file.table_status("t").state, "unfit");
        },
    );
}

#[test]
fn a_renamed_table_goes_on_under_the_name_that_it_travels_by() {
    whether_or_not_an_engine_runs(
        "ALTER TABLE t RENAME TO tt",
        "UPDATE tt SET v = 3 WHERE k = 'a'; DELETE FROM tt WHERE k = 'b'; INSERT INTO tt VALUES ('c', 3, 'z')",
        |file| {
            assert_eq!(file.table_status("tt").state, "tracked");
            file.assert_captured("tt");
            let travels = "SELECT count(*) FROM _driftless_tables WHERE name = 't' AND spelled = 'tt'";
            assert_eq!(file.number(travels), 1);
        },
    );
}

#[test]
fn a_renamed_table_and_a_new_one_of_its_name_are_two_tables() {
    whether_or_not_an_engine_runs(
        "ALTER TABLE t RENAME TO t_old; CREATE TABLE t (k TEXT PRIMARY KEY, v INTEGER, w TEXT);
         INSERT INTO t SELECT k, v + 100, w FROM t_old",
        "UPDATE t_old SET v = 7; UPDATE t SET w = 'new' WHERE k = 'a'",
        |file| {
            for table in ["t", "t_old"] {
                assert_eq!(file.table_status(table).state, "tracked");
                file.assert_captured(table);
            }
            let reason = file.table_status("t_old").reason.expect("it is reported");
            assert!(reason.contains("it was called 't' before"), "{reason}");
        },
    );
}

/// A migration that keeps the old table until the rows are copied: only the new one is left in the end.
#[test]
fn a_table_put_aside_while_its_rows_are_copied_is_the_new_one_in_the_end() {
    whether_or_not_an_engine_looks_half_way(
        "ALTER TABLE t RENAME TO t_old; CREATE TABLE t (k TEXT PRIMARY KEY, v INTEGER, w TEXT);
         INSERT INTO t SELECT k, v + 100, w FROM t_old WHERE k = 'a'; DROP TABLE t_old",
        "UPDATE t SET w = 'new' WHERE k = 'a'",
        |file| {
            assert_eq!(file.rows("t").len(), 1);
            file.assert_captured("t");
            assert_eq!(file.number("SELECT count(*) FROM _driftless_tables"), 3, "no table was added");
        },
    );
}

#[test]
fn a_table_renamed_and_renamed_back() {
    let file = File::tracked(T, &["t", "u"]);
    file.run("ALTER TABLE t RENAME TO tt; UPDATE tt SET v = 3 WHERE k = 'a'; ALTER TABLE tt RENAME TO t; UPDATE t SET v = 4 WHERE k = 'b'");
    assert_eq!(file.capture(), ["t['a']", "t['b']"]);
    file.assert_captured("t");
}

#[test]
fn two_tables_that_trade_names() {
    let schema = "CREATE TABLE t (k TEXT PRIMARY KEY, v); CREATE TABLE u (k TEXT PRIMARY KEY, v);
                  INSERT INTO t VALUES ('a', 1); INSERT INTO u VALUES ('b', 2)";
    let file = File::tracked(schema, &["t", "u"]);
    file.run("ALTER TABLE t RENAME TO x; ALTER TABLE u RENAME TO t; ALTER TABLE x RENAME TO u; UPDATE t SET v = 3; UPDATE u SET v = 4");
    file.capture();
    file.run("UPDATE t SET v = v + 10; UPDATE u SET v = v + 10");
    file.capture();
    file.assert_captured("t");
    file.assert_captured("u");
}

#[test]
fn another_case_of_a_table_name_is_the_same_table() {
    let file = File::tracked(T, &["t", "u"]);
    file.run("ALTER TABLE t RENAME TO Tmp; ALTER TABLE Tmp RENAME TO T; UPDATE T SET v = 3 WHERE k = 'a'");
    assert_eq!(file.capture(), ["t['a']"]);
    file.assert_captured("T");
}

#[test]
fn a_trigger_of_ours_that_somebody_dropped_is_made_again_and_all_rows_are_looked_at() {
    let file = File::tracked(T, &["t"]);
    let triggers = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger'";
    let before = file.number(triggers);
    let name: String = file
        .user()
        .query_row(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name GLOB '_driftless_*_update'",
            [],
            |row| row.get(0),
        )
        .expect("a trigger");
    file.run(&format!("DROP TRIGGER {name}; UPDATE t SET v = 9 WHERE k = 'a'"));
    assert_eq!(file.capture(), ["t['a']"]);
    assert_eq!(file.number(triggers), before);
    file.assert_captured("t");
}

/// Rows that were deleted while the trigger was gone are in no table any more; their documents are.
#[test]
fn rows_deleted_while_our_trigger_was_gone() {
    let file = File::tracked(T, &["t"]);
    let name: String = file
        .user()
        .query_row(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name GLOB '_driftless_*_delete'",
            [],
            |row| row.get(0),
        )
        .expect("a trigger");
    file.run(&format!("DROP TRIGGER {name}; DELETE FROM t WHERE k = 'a'"));
    file.capture();
    // Whether the row was deleted or its table made anew cannot be told: it comes back, here as everywhere.
    file.assert_captured("t");
}

#[test]
fn the_dirty_log_grows_with_the_longest_key_and_marks_of_shorter_keys_stay_right() {
    let file = File::tracked(
        "CREATE TABLE one (a TEXT PRIMARY KEY, v); CREATE TABLE three (a, b, c, v, PRIMARY KEY (c, b, a))",
        &["one"],
    );
    file.run("INSERT INTO one VALUES ('before', 1)");
    file.track(&["three"]);
    file.run("INSERT INTO one VALUES ('after', 2); INSERT INTO three VALUES (1, 'b', x'03', 'v'), (NULL, 2, 3, 'no name')");
    assert_eq!(file.capture(), ["one['after']", "one['before']", "three[x'03', 'b', 1]"]);
    file.assert_captured("one");
    assert_eq!(file.table_status("three").local_only, 1);
}

#[test]
fn a_longer_key_tracked_beside_a_running_engine() {
    let file = File::tracked(
        "CREATE TABLE one (a TEXT PRIMARY KEY, v); CREATE TABLE two (a, b, v, PRIMARY KEY (a, b))",
        &["one"],
    );
    let engine = file.engine();
    file.run("INSERT INTO one VALUES ('x', 1); INSERT INTO two VALUES (1, 2, 3)");
    file.track(&["two"]);
    file.run("INSERT INTO two VALUES (4, 5, 6)");
    engine.capture().expect("captured");
    engine.close();
    assert_eq!(file.captured(), ["one['x']", "two[1, 2]", "two[4, 5]"]);
}

#[test]
fn ddl_and_writes_in_one_transaction() {
    whether_or_not_an_engine_runs(
        "BEGIN; UPDATE t SET v = 5 WHERE k = 'a'; ALTER TABLE t ADD COLUMN n; UPDATE t SET n = 6; CREATE INDEX i ON t (n); COMMIT",
        "REINDEX; VACUUM; ANALYZE; UPDATE t SET n = 7 WHERE k = 'b'",
        |file| file.assert_captured("t"),
    );
}

#[test]
fn another_journal_mode_loses_nothing() {
    let file = File::tracked(T, &["t"]);
    file.run("PRAGMA journal_mode = DELETE; UPDATE t SET v = 9 WHERE k = 'a'");
    assert_eq!(file.capture(), ["t['a']"]);
    file.assert_captured("t");
}

#[test]
fn a_table_whose_key_becomes_the_rowid() {
    let file = File::new("CREATE TABLE t (k TEXT PRIMARY KEY, v)");
    driftless::track(file.path(), driftless::Selection::All, driftless::TableOptions::default())
        .expect("tracked");
    file.run("DROP TABLE t; CREATE TABLE t (k INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 2)");
    file.capture();
    let status = file.table_status("t");
    assert_eq!(status.state, "unfit");
    assert!(status.reason.is_some());
    file.run("UPDATE t SET v = 3; DELETE FROM t");
}
