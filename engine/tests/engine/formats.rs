//! What the engine leaves in the file and beside it: side tables that every SQLite can read, an identity that a copy does
//! not share, one engine at a time, a format that newer versions are respected for.

use std::fs;
use std::process::{Command, Stdio};

use driftless::{Config, Engine, Error, Selection, TableOptions};

use crate::support::File;

const T: &str = "CREATE TABLE t (k TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('a', 1), ('b', 2)";

/// The statements of `sqlite_master`, comments and all.
fn side_schema(file: &File) -> Vec<String> {
    let user = file.user();
    let mut statement = user
        .prepare(
            "SELECT sql FROM sqlite_master WHERE name LIKE '%driftless%' AND sql IS NOT NULL ORDER BY rowid",
        )
        .expect("the schema");
    statement.query_map([], |row| row.get(0)).and_then(|sql| sql.collect()).expect("the schema")
}

#[test]
fn the_side_tables_use_no_sql_younger_than_2010() {
    let schema = side_schema(&File::tracked(T, &["t"]));
    assert!(schema.len() > 20, "{schema:#?}");
    for sql in schema {
        let plain: String =
            sql.lines().map(|line| line.split("--").next().unwrap_or("")).collect::<Vec<_>>().join(" ");
        let upper = plain.to_ascii_uppercase();
        for young in [
            "STRICT",
            "GENERATED",
            " AS (",
            "ON CONFLICT",
            "OVER (",
            "->",
            "RETURNING",
            "WITH ",
            "ROW_NUMBER",
            "IIF(",
            "UNIXEPOCH(",
        ] {
            assert!(!upper.contains(young), "{young} in {sql}");
        }
    }
}

#[test]
fn another_sqlite_reads_and_writes_a_tracked_file() {
    let file = File::tracked(T, &["t"]);
    let script = "
import sqlite3, sys
user = sqlite3.connect(sys.argv[1])
user.execute('INSERT INTO t VALUES (?, ?)', ('c', 3))
user.execute('UPDATE t SET v = v + 1')
user.execute(\"DELETE FROM t WHERE k = 'b'\")
user.commit()
for view in ('status', 'conflicts', 'parked'):
    user.execute('SELECT * FROM driftless_' + view).fetchall()
print(user.execute('PRAGMA integrity_check').fetchone()[0])
";
    let run = Command::new("python3").args(["-c", script]).arg(file.path()).output();
    let Some(output) = run.ok().filter(|output| output.status.success() || !output.stderr.is_empty()) else {
        eprintln!("left out: there is no python3 here");
        return;
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("ModuleNotFoundError") {
        eprintln!("left out: this python3 has no sqlite3");
        return;
    }
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "ok", "{errors}");
    assert_eq!(file.capture(), ["t['a']", "t['b']", "t['c']"]);
    file.assert_captured("t");
}

/// A dump holds our tables and triggers too: the restored file goes on as a new replica.
#[test]
fn a_dump_restores_into_a_file_that_goes_on() {
    let file = File::tracked(T, &["t"]);
    let restored = file.beside("restored.db");
    let Ok(dump) = Command::new("sqlite3").arg(file.path()).arg(".dump").output() else {
        eprintln!("left out: there is no sqlite3 shell here");
        return;
    };
    let script = file.beside("dump.sql");
    fs::write(&script, &dump.stdout).expect("written");
    let input = fs::File::open(&script).expect("the dump");
    let restore = Command::new("sqlite3")
        .arg("-bail")
        .arg(&restored)
        .stdin(Stdio::from(input))
        .output()
        .expect("a shell");
    assert!(restore.status.success(), "{}", String::from_utf8_lossy(&restore.stderr));
    let before = driftless::status(&restored).expect("a status").replica;
    rusqlite::Connection::open(&restored)
        .expect("opened")
        .execute_batch("UPDATE t SET v = 9 WHERE k = 'a'")
        .expect("written");
    let engine = Engine::open(&restored, Config::default()).expect("opens");
    engine.capture().expect("captured");
    engine.close();
    let status = driftless::status(&restored).expect("a status");
    assert_ne!(status.replica, before, "a copy is another replica");
    assert_eq!(status.tables[0].pending, 0);
    assert_eq!(
        status.unsent.changesets,
        2 + 1,
        "what was unsent is kept: definitions and rows, and the update"
    );
}

/// A file as format 1 left it, with renamed columns, kinds, a name with a comma in it, and writes that wait.
#[test]
fn a_file_of_format_1_goes_on_with_all_that_was_known_of_it() {
    let file = File::new("SELECT 1");
    let old = file.beside("old.db");
    let user = rusqlite::Connection::open(&old).expect("a connection");
    user.execute_batch(include_str!("format_1.sql")).expect("restored");
    assert!(matches!(driftless::status(&old), Err(Error::OlderFormat { found: 1, known: 2, .. })));
    let verified = driftless::verify(&old, &driftless::VerifyOptions::default());
    assert!(matches!(verified, Err(Error::OlderFormat { found: 1, .. })), "{verified:?}");
    let engine = Engine::open(&old, Config::default()).expect("opens");
    engine.capture().expect("captured");
    engine.close();
    let status = driftless::status(&old).expect("a status");
    let [t, i] = &status.tables[..] else { panic!("{:?}", status.tables) };
    assert_eq!((t.table.as_str(), t.state, t.pending, t.documents), ("t", "tracked", 0, 2));
    assert_eq!((i.table.as_str(), i.state, i.pending, i.documents), ("i", "tracked", 0, 1));
    let kinds: Vec<_> = t.kinds.iter().map(|(column, kind)| format!("{column} {kind}")).collect();
    assert_eq!(kinds, ["body text", "n counter"]);
    let reason = t.reason.as_deref().expect("a question");
    assert!(reason.contains("column 'most' went and 'last' came"), "{reason}");
    let columns = |what: &str| -> String {
        let sql = format!(
            "SELECT group_concat({what}, '|') FROM (SELECT * FROM _driftless_columns WHERE tbl = 2 AND place >= 0 ORDER BY place)"
        );
        user.query_row(&sql, [], |row| row.get(0)).expect("the columns")
    };
    assert_eq!(columns("name"), "k|n|body|x, y|renamed|last");
    assert_eq!(columns("travels"), "k|n|body|x, y|old|last");
    let check: String = user.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checked");
    assert_eq!(check, "ok");
    // What is found to have been renamed can still be told.
    driftless::rename_column(&old, "t", "most", "last").expect("told");
    Engine::open(&old, Config::default()).and_then(|engine| engine.capture()).expect("captured");
    assert_eq!(driftless::status(&old).expect("a status").tables[0].reason, None);
}

#[test]
fn a_file_keeps_its_id_and_its_copy_takes_another() {
    let file = File::tracked(T, &["t"]);
    let (id, unsent) = (file.status().replica, file.status().unsent.changesets);
    file.capture();
    assert_eq!(file.status().replica, id);
    let copy = file.beside("copy.db");
    fs::copy(file.path(), &copy).expect("copied");
    Engine::open(&copy, Config::default()).expect("opens").close();
    let copied = driftless::status(&copy).expect("a status");
    assert_ne!(copied.replica, id);
    assert_eq!(copied.unsent.changesets, unsent, "what nobody has yet is kept, under the new id");
    Engine::open(&copy, Config::default()).expect("opens").close();
    assert_eq!(driftless::status(&copy).expect("a status").replica, copied.replica, "and stays");
    assert_eq!(file.status().replica, id);
}

#[test]
fn a_file_that_was_moved_keeps_its_id() {
    let file = File::tracked(T, &["t"]);
    let id = file.status().replica;
    let moved = file.beside("moved.db");
    fs::rename(file.path(), &moved).expect("moved");
    Engine::open(&moved, Config::default()).expect("opens").close();
    assert_eq!(driftless::status(&moved).expect("a status").replica, id);
}

#[test]
fn one_engine_at_a_time_while_readers_and_track_need_no_lock() {
    let file = File::tracked(&format!("{T}; CREATE TABLE u (k TEXT PRIMARY KEY)"), &["t"]);
    let engine = file.engine();
    let second = Engine::open(file.path(), Config::default());
    assert!(matches!(second, Err(Error::Locked { holder: Some(pid), .. }) if pid == std::process::id()));
    file.status();
    driftless::conflicts(file.path()).expect("conflicts");
    file.track(&["u"]);
    engine.capture().expect("captured");
    engine.close();
    file.engine().close();
}

#[test]
fn an_engine_that_is_dropped_frees_the_file() {
    let file = File::tracked(T, &["t"]);
    drop(file.engine());
    file.engine().close();
}

#[test]
fn a_file_of_a_newer_format_is_left_as_it_is() {
    let file = File::tracked(T, &["t"]);
    file.run("UPDATE _driftless_meta SET value = 99 WHERE name = 'format'; PRAGMA wal_checkpoint(TRUNCATE)");
    let dump = |file: &File| -> String {
        let tables = ["_driftless_meta", "_driftless_tables", "_driftless_dirty", "_driftless_outbox", "t"];
        tables.iter().map(|table| format!("{:?}\n", file.rows(table))).collect()
    };
    let (before, schema) = (dump(&file), side_schema(&file));
    let newer = |error: &Error| matches!(error, Error::NewerFormat { found: 99, .. });
    assert!(Engine::open(file.path(), Config::default()).is_err_and(|error| newer(&error)));
    let tracked = driftless::track(file.path(), Selection::All, TableOptions::default());
    assert!(tracked.is_err_and(|error| newer(&error)));
    assert!(driftless::untrack(file.path(), &["t"]).is_err_and(|error| newer(&error)));
    assert_eq!((dump(&file), side_schema(&file)), (before, schema));
    // Its user goes on writing: the triggers of the newer version may stay.
    file.run("UPDATE t SET v = 3");
}

#[test]
fn untracking_leaves_no_trigger_and_tracking_again_captures_what_changed_meanwhile() {
    let file = File::tracked(T, &["t"]);
    assert_eq!(driftless::untrack(file.path(), &["T"]).expect("untracked"), ["t"]);
    assert_eq!(
        file.number("SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 't'"),
        0
    );
    assert_eq!(file.table_status("t").state, "untracked");
    file.run("UPDATE t SET v = 9 WHERE k = 'a'; INSERT INTO t VALUES ('c', 3)");
    assert!(file.capture().is_empty());
    file.track(&["t"]);
    assert_eq!(file.capture(), ["t['a']", "t['c']"]);
    file.assert_captured("t");
    let again = driftless::untrack(file.path(), &["nothing"]);
    assert!(matches!(again, Err(Error::NotTracked(name)) if name == "nothing"));
}

#[test]
fn a_running_engine_captures_before_it_untracks() {
    let file = File::tracked(T, &["t"]);
    let engine = file.engine();
    file.run("UPDATE t SET v = 9 WHERE k = 'a'");
    engine.untrack(&["t"]).expect("untracked");
    engine.close();
    assert_eq!(file.captured(), ["t['a']"]);
}

#[test]
fn tracking_is_all_or_none() {
    let file = File::new(&format!("{T}; CREATE TABLE no_key (v)"));
    let tracked = driftless::track(file.path(), Selection::Named(&["t", "no_key"]), TableOptions::default());
    assert!(matches!(tracked, Err(Error::NotTrackable { table, .. }) if table == "no_key"));
    assert_eq!(file.number("SELECT count(*) FROM sqlite_master WHERE name LIKE '%driftless%'"), 0);
}

#[test]
fn a_table_that_is_tracked_with_other_options_is_not_tracked_otherwise() {
    let file = File::tracked(T, &["t"]);
    let other = TableOptions::default().deletes_win();
    let tracked = driftless::track(file.path(), Selection::Named(&["t"]), other.clone());
    assert!(matches!(tracked, Err(Error::Contradiction { .. })));
    driftless::untrack(file.path(), &["t"]).expect("untracked");
    let tracked = driftless::track(file.path(), Selection::Named(&["t"]), other);
    assert!(matches!(tracked, Err(Error::Contradiction { .. })), "the space still says so");
}

/// After `untrack`, such a table could not be tracked again together with others: either it or they contradicted the options.
#[test]
fn a_table_in_which_deletes_win_stays_so_when_it_is_tracked_again_without_a_word() {
    let file = File::new("CREATE TABLE t (k TEXT PRIMARY KEY, v); CREATE TABLE u (k TEXT PRIMARY KEY, v)");
    let track = |which, options| driftless::track(file.path(), which, options).expect("tracked");
    track(Selection::Named(&["t"]), TableOptions::default().deletes_win());
    track(Selection::Named(&["u"]), TableOptions::default());
    let (plain, deletes_win) = (TableOptions::default(), TableOptions::default().deletes_win());
    for (which, options) in [
        (Selection::Named(&["t"][..]), plain.clone()),
        (Selection::All, plain),
        (Selection::All, deletes_win),
    ] {
        track(which, options.clone());
        driftless::untrack(file.path(), &["t", "u"]).expect("untracked");
        track(Selection::Named(&["t", "u"]), TableOptions::default());
        let options = ["t", "u"].map(|table| file.table_status(table).deletes_win);
        assert_eq!(options, [true, false], "{which:?}, {options:?}");
    }
}

#[test]
fn a_missing_file_and_a_file_of_another_kind_are_named_and_left_alone() {
    let file = File::new(T);
    let (missing, text) = (file.beside("missing.db"), file.beside("text.db"));
    assert!(matches!(Engine::open(&missing, Config::default()), Err(Error::NoSuchFile(_))));
    assert!(!missing.exists());
    let content = "this is a text of more than sixteen bytes, and no database at all\n".repeat(100);
    fs::write(&text, &content).expect("written");
    assert!(matches!(Engine::open(&text, Config::default()), Err(Error::NotADatabase(_))));
    assert_eq!(fs::read_to_string(&text).expect("read"), content);
    let beside: Vec<_> =
        fs::read_dir(file.beside("")).expect("the folder").flatten().map(|entry| entry.file_name()).collect();
    assert!(beside.iter().all(|name| !name.to_string_lossy().starts_with("text.db-")), "{beside:?}");
    assert!(matches!(driftless::status(file.path()), Err(Error::NotInitialized(_))));
}

/// Two engines on one file, one of them through a link, numbered their changesets alike and waited for each other.
#[cfg(unix)]
#[test]
fn a_file_has_one_engine_whatever_link_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    rusqlite::Connection::open(&path)
        .and_then(|user| user.execute_batch("CREATE TABLE t (k TEXT PRIMARY KEY)"))
        .expect("a database");
    let engine = driftless::Engine::open(&path, driftless::Config::default()).expect("the first");
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).expect("a symbolic link");
    let second = driftless::Engine::open(&link, driftless::Config::default());
    assert!(matches!(second, Err(driftless::Error::Locked { .. })), "{second:?}");
    engine.close();
    driftless::Engine::open(&link, driftless::Config::default()).expect("by its other name").close();
    std::fs::hard_link(&path, folder.path().join("hard.db")).expect("a hard link");
    let linked = driftless::Engine::open(&path, driftless::Config::default());
    assert!(matches!(linked, Err(driftless::Error::HardLinked(_))), "{linked:?}");
}
