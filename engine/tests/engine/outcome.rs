//! What a user's statement does to a tracked table is what it does to the same table untracked: the rows it returns, the
//! error, `changes()`, `last_insert_rowid()`, whether the transaction goes on, and the rows that are there afterwards.
//! In this SQLite and, where they are installed, in those of the `sqlite3` shell and of Python, which are others.
//!
//! Two things differ on any table that has a trigger, and no trigger can help it: `total_changes()` counts what triggers
//! write, and `last_insert_rowid()` after an INSERT that a foreign key refused may name the row that was refused.

use std::io::Write;
use std::process::{Command, Stdio};

use rusqlite::Connection;

use crate::support::{File, value};

/// Tables of every kind of key. Each script below runs on each.
const SCHEMAS: [&str; 5] = [
    "CREATE TABLE t (k TEXT PRIMARY KEY, v INTEGER NOT NULL CHECK (v < 100), w TEXT DEFAULT 'none')",
    "CREATE TABLE t (k TEXT PRIMARY KEY, v INTEGER NOT NULL CHECK (v < 100), w TEXT DEFAULT 'none') WITHOUT ROWID",
    "CREATE TABLE t (k INTEGER PRIMARY KEY, v INTEGER NOT NULL CHECK (v < 100), w TEXT DEFAULT 'none')",
    "CREATE TABLE t (k TEXT COLLATE NOCASE, v INTEGER NOT NULL CHECK (v < 100), w TEXT DEFAULT 'none', PRIMARY KEY (k))",
    "CREATE TABLE t (k TEXT PRIMARY KEY ON CONFLICT REPLACE, v INTEGER NOT NULL ON CONFLICT IGNORE CHECK (v < 100), w)",
];

const FILL: &str = "INSERT INTO t VALUES (1, 10, 'a'), (2, 20, 'b'), (3, 30, 'c')";

const SCRIPTS: [&[&str]; 12] = [
    &[
        "INSERT INTO t VALUES (4, 40, 'd')",
        "INSERT INTO t VALUES (4, 41, 'd')",
        "INSERT INTO t (k, v) VALUES (5, 50), (5, 51)",
        "INSERT INTO t VALUES (6, NULL, 'd')",
        "INSERT INTO t VALUES (6, 100, 'd')",
    ],
    &[
        "INSERT OR IGNORE INTO t VALUES (1, 11, 'x'), (4, 40, 'd'), (5, NULL, 'n')",
        "INSERT OR IGNORE INTO t VALUES (1, 11, 'x')",
        "INSERT OR IGNORE INTO t VALUES (7, 100, 'x')",
    ],
    &[
        "INSERT OR REPLACE INTO t VALUES (1, 11, 'x'), (4, 40, 'd')",
        "REPLACE INTO t VALUES (2, NULL, 'x')",
        "REPLACE INTO t VALUES (2, 100, 'x')",
        "REPLACE INTO t (k, v) VALUES (2, 21)",
    ],
    &["INSERT OR FAIL INTO t VALUES (4, 40, 'd'), (1, 11, 'x'), (5, 50, 'e')", "SELECT count(*) FROM t"],
    &["INSERT OR ABORT INTO t VALUES (4, 40, 'd'), (1, 11, 'x'), (5, 50, 'e')", "SELECT count(*) FROM t"],
    &[
        "BEGIN",
        "UPDATE t SET v = v + 1",
        "INSERT OR ROLLBACK INTO t VALUES (4, 40, 'd'), (1, 11, 'x')",
        "INSERT INTO t VALUES (8, 80, 'h')",
        "COMMIT",
    ],
    &[
        "INSERT INTO t VALUES (1, 11, 'x'), (4, 40, 'd') ON CONFLICT (k) DO UPDATE SET v = excluded.v",
        "INSERT INTO t VALUES (1, 12, 'x') ON CONFLICT (k) DO UPDATE SET v = 13 WHERE 0",
        "INSERT INTO t VALUES (1, 12, 'x') ON CONFLICT DO NOTHING",
        "INSERT INTO t VALUES (1, 12, 'x') ON CONFLICT (k) DO UPDATE SET v = 100",
        "INSERT INTO t VALUES (1, 12, 'x') ON CONFLICT (k) DO UPDATE SET k = 2",
        "INSERT INTO t VALUES (9, 90, 'x') ON CONFLICT (k) DO NOTHING RETURNING k, v, w",
        "INSERT INTO t VALUES (1, 14, 'x') ON CONFLICT (k) DO UPDATE SET w = 'y' RETURNING *",
    ],
    &[
        "UPDATE OR IGNORE t SET k = 2 WHERE k IN (1, 3)",
        "UPDATE OR REPLACE t SET k = 2 WHERE k = 1",
        "UPDATE OR FAIL t SET k = k + 1",
        "UPDATE OR ABORT t SET k = 3",
        "BEGIN",
        "UPDATE OR ROLLBACK t SET k = 3",
        "COMMIT",
    ],
    &[
        "UPDATE t SET v = v * 4",
        "UPDATE OR IGNORE t SET v = v * 4",
        "UPDATE OR FAIL t SET v = v + 50",
        "UPDATE t SET v = NULL WHERE k = 1",
        "UPDATE t SET w = w || '!' RETURNING w",
        "UPDATE t SET k = k + 10",
    ],
    &[
        "INSERT INTO t SELECT k + 10, v, w FROM t WHERE v > 10",
        "INSERT OR IGNORE INTO t SELECT k + 1, v, w FROM t ORDER BY k",
        "DELETE FROM t WHERE k = 2 RETURNING v",
        "DELETE FROM t WHERE k = 999",
        "DELETE FROM t",
        "INSERT INTO t (v) VALUES (1)",
    ],
    &[
        "BEGIN",
        "INSERT INTO t VALUES (4, 40, 'd')",
        "SAVEPOINT s",
        "DELETE FROM t",
        "INSERT OR FAIL INTO t VALUES (5, 50, 'e'), (6, 100, 'f')",
        "ROLLBACK TO s",
        "REPLACE INTO t VALUES (1, 15, 'z')",
        "RELEASE s",
        "COMMIT",
    ],
    &[
        "PRAGMA recursive_triggers = ON",
        "PRAGMA foreign_keys = ON",
        "PRAGMA count_changes = ON",
        "REPLACE INTO t VALUES (1, 11, 'x'), (2, 21, 'y')",
        "UPDATE OR REPLACE t SET k = 3 WHERE k = 1",
        "DELETE FROM t WHERE v > 0",
    ],
];

/// A tracked file and an untracked one alike.
fn twins(schema: &str) -> [File; 2] {
    let schema = format!("PRAGMA journal_mode = WAL; {schema}; {FILL}");
    [File::tracked(&schema, &["t"]), File::new(&schema)]
}

fn assert_same_outcome(outcome: impl Fn(&File, &[&str]) -> String, capture_each: bool) {
    for schema in SCHEMAS {
        let [mut tracked, mut plain] = twins(schema);
        for script in SCRIPTS {
            assert_eq!(outcome(&tracked, script), outcome(&plain, script), "{schema}\n{script:#?}");
            assert_eq!(tracked.rows("t"), plain.rows("t"), "{schema}\n{script:#?}");
            if capture_each {
                tracked.capture();
                tracked.assert_captured("t");
            }
            // A fresh start, cheaper than fresh twins.
            for file in [&mut tracked, &mut plain] {
                file.run(&format!("DELETE FROM t; {FILL}"));
            }
        }
        tracked.capture();
        tracked.assert_captured("t");
    }
}

fn outcome_here(file: &File, script: &[&str]) -> String {
    let user = file.user();
    script.iter().map(|sql| format!("{sql}: {}\n", one_outcome(&user, sql))).collect()
}

fn one_outcome(user: &Connection, sql: &str) -> String {
    let rows = (|| {
        let mut statement = user.prepare(sql)?;
        let width = statement.column_count();
        let mut rows = statement.query([])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push((0..width).map(|at| row.get_ref(at).map(value)).collect::<rusqlite::Result<Vec<_>>>()?);
        }
        Ok::<_, rusqlite::Error>(all)
    })();
    let rowid = rows.is_ok().then(|| user.last_insert_rowid());
    format!("{rows:?}, {}, {rowid:?}, {}", user.changes(), user.is_autocommit())
}

#[test]
fn every_statement_ends_as_on_an_untracked_table() {
    assert_same_outcome(outcome_here, true);
}

/// Runs a program with `input`; what it printed, or `None` if there is no such program.
fn run(program: &mut Command, input: &str) -> Option<String> {
    let child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.ok()?;
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(format!("{}\n{}", text(&output.stdout), text(&output.stderr)))
}

#[test]
fn every_statement_of_the_sqlite3_shell_ends_as_on_an_untracked_table() {
    let Some(version) = run(Command::new("sqlite3").arg("-version"), "") else {
        eprintln!("left out: there is no sqlite3 shell here");
        return;
    };
    let outcome = |file: &File, script: &[&str]| {
        let lines = script.iter().map(|sql| format!("{sql};\nSELECT changes(), last_insert_rowid();\n"));
        let input: String = lines.collect();
        run(Command::new("sqlite3").arg(file.path()), &input).expect("there is a shell")
    };
    assert_same_outcome(outcome, false);
    eprintln!("with the shell's SQLite {version}");
}

/// Reads statements from stdin, one a line, and prints what each did.
const PYTHON: &str = r"
import sqlite3, sys
user = sqlite3.connect(sys.argv[1], isolation_level=None)
for sql in sys.stdin:
    try:
        cursor = user.execute(sql)
        outcome = (cursor.fetchall(), cursor.rowcount, cursor.lastrowid)
    except sqlite3.Error as error:
        outcome = (type(error).__name__, str(error))
    changes = user.execute('SELECT changes(), last_insert_rowid()').fetchone()
    print(sql.strip(), outcome, changes, user.in_transaction)
";

#[test]
fn every_statement_of_python_ends_as_on_an_untracked_table() {
    let version =
        run(Command::new("python3").args(["-c", "import sqlite3; print(sqlite3.sqlite_version)"]), "");
    let Some(version) = version.filter(|version| version.starts_with('3')) else {
        eprintln!("left out: there is no python3 with sqlite3 here");
        return;
    };
    let outcome = |file: &File, script: &[&str]| {
        let input: String = script.iter().map(|sql| format!("{sql}\n")).collect();
        run(Command::new("python3").args(["-c", PYTHON]).arg(file.path()), &input).expect("there is Python")
    };
    assert_same_outcome(outcome, false);
    eprintln!("with Python's SQLite {version}");
}

#[test]
fn a_failing_foreign_key_fails_as_on_untracked_tables() {
    let schema = "CREATE TABLE p (k TEXT PRIMARY KEY);
        CREATE TABLE t (k TEXT PRIMARY KEY, p TEXT REFERENCES p, q TEXT REFERENCES p ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED);
        INSERT INTO p VALUES ('1'), ('2'); INSERT INTO t VALUES ('a', '1', NULL), ('b', NULL, '2')";
    let (tracked, plain) = (File::tracked(schema, &["p", "t"]), File::new(schema));
    let script = [
        "PRAGMA foreign_keys = ON",
        "DELETE FROM p WHERE k = '1'",
        "DELETE FROM p WHERE k = '2'",
        "INSERT INTO t VALUES ('c', '3', NULL)",
        "INSERT OR REPLACE INTO p VALUES ('1')",
        "BEGIN",
        "INSERT INTO t VALUES ('d', NULL, '3')",
        "COMMIT",
        "INSERT INTO p VALUES ('3')",
        "COMMIT",
    ];
    assert_eq!(outcome_here(&tracked, &script), outcome_here(&plain, &script));
    for table in ["p", "t"] {
        assert_eq!(tracked.rows(table), plain.rows(table));
    }
}

#[test]
fn a_trigger_of_the_users_that_raises_ends_as_on_an_untracked_table() {
    let schema = "CREATE TABLE t (k TEXT PRIMARY KEY, v);
        CREATE TRIGGER guard BEFORE INSERT ON t BEGIN
          SELECT CASE NEW.v WHEN 1 THEN RAISE(IGNORE) WHEN 2 THEN RAISE(FAIL, 'two')
                 WHEN 3 THEN RAISE(ABORT, 'three') WHEN 4 THEN RAISE(ROLLBACK, 'four') END;
        END";
    let (tracked, plain) = (File::tracked(schema, &["t"]), File::new(schema));
    let script = [
        "INSERT INTO t VALUES ('a', 0), ('b', 1), ('c', 0)",
        "INSERT INTO t VALUES ('d', 0), ('e', 2), ('f', 0)",
        "INSERT INTO t VALUES ('g', 0), ('h', 3), ('i', 0)",
        "BEGIN",
        "INSERT INTO t VALUES ('j', 0)",
        "INSERT INTO t VALUES ('k', 0), ('l', 4)",
        "COMMIT",
    ];
    assert_eq!(outcome_here(&tracked, &script), outcome_here(&plain, &script));
    assert_eq!(tracked.rows("t"), plain.rows("t"));
    tracked.capture();
    tracked.assert_captured("t");
}

#[test]
fn a_writer_waits_for_the_engine_no_longer_than_a_turn() {
    let schema = "CREATE TABLE t (k TEXT PRIMARY KEY, v);
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
        INSERT INTO t SELECT 'row ' || i, i FROM n";
    let file = File::new(schema);
    file.track(&["t"]);
    let engine = file.engine();
    let user = file.user();
    for n in 0..200 {
        user.execute("UPDATE t SET v = -v WHERE k = 'row ' || ?1", [1 + n % 3000])
            .expect("SQLite's own wait is enough");
    }
    engine.capture().expect("captured");
    engine.close();
    file.assert_captured("t");
}
