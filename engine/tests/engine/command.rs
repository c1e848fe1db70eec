//! The command from outside: exit codes, what goes to stdout, and the keys of its JSON, which scripts rely on.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value as Json;

use crate::support::File;

const T: &str = "CREATE TABLE t (k TEXT PRIMARY KEY, v); INSERT INTO t VALUES ('a', 1), ('b', 2)";

fn driftless(args: &[&str], file: &Path) -> Output {
    // The command, then the file, then the rest.
    let (command, rest) = args.split_first().expect("a command");
    Command::new(env!("CARGO_BIN_EXE_driftless")).arg(command).arg(file).args(rest).output().expect("it runs")
}

#[track_caller]
fn fails(args: &[&str], file: &Path, code: i32, says: &str) {
    let output = driftless(args, file);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
    assert!(errors.contains(says), "{args:?}: {errors}");
    assert!(output.stdout.is_empty(), "{args:?}: results only go to stdout");
}

#[track_caller]
fn succeeds(args: &[&str], file: &Path) -> String {
    let output = driftless(args, file);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[track_caller]
fn json(args: &[&str], file: &Path) -> Json {
    serde_json::from_str(&succeeds(args, file)).expect("JSON")
}

#[track_caller]
fn assert_keys(json: &Json, expected: &[&str]) {
    let mut keys: Vec<&str> = json.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, expected);
}

#[test]
fn help_names_the_exit_codes() {
    let output = Command::new(env!("CARGO_BIN_EXE_driftless")).arg("--help").output().expect("it runs");
    let help = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    assert!(help.contains("Exit codes: 0 done"), "{help}");
    for command in ["track", "set-kind", "untrack", "sync", "status", "conflicts", "clone"] {
        assert!(help.contains(command), "{help}");
    }
}

#[test]
fn each_local_failure_has_its_exit_code_and_changes_nothing() {
    let file =
        File::new(&format!("{T}; CREATE TABLE no_key (v); CREATE TABLE numbered (id INTEGER PRIMARY KEY)"));
    let missing = file.beside("missing.db");
    let text = file.beside("text.db");
    std::fs::write(
        &text,
        "no database, but long enough to hold a header of a hundred bytes if it were one ".repeat(4),
    )
    .expect("written");
    for command in ["status", "conflicts"] {
        fails(&[command], &missing, 3, "there is no file");
        fails(&[command], &text, 3, "not a SQLite database");
        fails(&[command], file.path(), 3, "not tracked by Driftless yet");
    }
    fails(&["track", "t"], &missing, 3, "there is no file");
    fails(&["track", "t"], &text, 3, "not a SQLite database");
    fails(&["track", "nothing"], file.path(), 3, "there is no such table");
    fails(&["track", "no_key"], file.path(), 3, "no PRIMARY KEY");
    fails(&["track", "numbered"], file.path(), 3, "--allow-integer-key");
    fails(&["track"], file.path(), 2, "Usage");
    fails(&["untrack", "t"], file.path(), 3, "not tracked by Driftless yet");
    fails(&["sync", "http://127.0.0.1:1/space"], file.path(), 2, "is not the address of a space");
    fails(&["nonsense"], file.path(), 2, "Usage");
    assert!(!missing.exists());
    assert_eq!(
        file.number("SELECT count(*) FROM sqlite_master WHERE name LIKE '%driftless%'"),
        0,
        "nothing changed"
    );
}

#[test]
fn clone_refuses_a_file_that_is_there() {
    let file = File::new(T);
    let url = "ws://127.0.0.1:1/space";
    let clone = |url: &str, to: &Path| {
        Command::new(env!("CARGO_BIN_EXE_driftless")).args(["clone", url]).arg(to).output().expect("it runs")
    };
    let output = clone(url, file.path());
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let output = clone("nonsense", &file.beside("new.db"));
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!file.beside("new.db").exists());
    assert_eq!(file.rows("t").len(), 2);
}

/// It had the exit code of failures that nothing can be said about, and named the file instead of its folder.
#[test]
fn clone_into_a_folder_that_is_not_there_names_the_folder_and_what_to_do() {
    let file = File::new(T);
    let missing = file.beside("a folder/b");
    let in_a_file = file.path().join("copy.db");
    for (to, folder) in [(missing.join("copy.db"), &*missing), (in_a_file, file.path())] {
        for show in [false, true] {
            let mut clone = Command::new(env!("CARGO_BIN_EXE_driftless"));
            clone.args(["clone", "ws://127.0.0.1:1/space", "--json"]).arg(&to).args(show.then_some("--show"));
            let output = clone.output().expect("it runs");
            assert_eq!(output.status.code(), Some(3), "{output:?}");
            let json: Json = serde_json::from_slice(&output.stdout).expect("JSON");
            assert_eq!(json["error"]["exit_code"], 3);
            let message = json["error"]["message"].as_str().expect("a text");
            let says = format!("there is no folder '{}' to make '{}' in", folder.display(), to.display());
            assert!(message.contains(&says), "{message}");
            assert!(message.contains("make the folder first: mkdir -p "), "{message}");
        }
    }
    assert!(!missing.exists());
}

#[test]
fn a_second_engine_is_refused_with_a_code_of_its_own() {
    let file = File::tracked(T, &["t"]);
    let engine = file.engine();
    fails(&["sync", "--once", "ws://127.0.0.1:1/space"], file.path(), 4, "another Driftless engine");
    succeeds(&["status"], file.path());
    succeeds(&["conflicts"], file.path());
    engine.close();
}

#[test]
fn a_relay_that_does_not_answer_is_no_connection() {
    let file = File::tracked(T, &["t"]);
    fails(&["sync", "ws://127.0.0.1:1/space", "--once", "--timeout", "1"], file.path(), 5, "");
}

#[test]
fn track_says_what_it_did_and_untrack_undoes_it() {
    let file = File::new(&format!("{T}; CREATE TABLE no_key (v)"));
    let output = driftless(&["track", "--all", "--json"], file.path());
    assert_eq!(output.status.code(), Some(9), "a table was left out because of its shape");
    let tracked: Json = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_keys(&tracked, &["captured", "left_out", "switched_to_wal", "tracked", "tracks_all"]);
    assert_keys(&tracked["left_out"][0], &["reason", "shape", "table"]);
    assert_eq!(tracked["tracked"], serde_json::json!(["t"]));
    assert_eq!(tracked["left_out"][0]["table"], "no_key");
    assert_eq!(tracked["captured"], true);
    assert_eq!(succeeds(&["untrack", "t"], file.path()), "no longer tracking t\n");
    fails(&["untrack", "t"], file.path(), 3, "not tracked");
}

/// What was written last was captured by nobody any more.
#[test]
fn untrack_refuses_while_an_engine_does_not_get_on() {
    let file = File::tracked(T, &["t"]);
    let engine = driftless::Engine::open(file.path(), driftless::Config::default()).expect("it opens");
    let app = rusqlite::Connection::open(file.path()).expect("it opens");
    app.busy_timeout(std::time::Duration::from_secs(10)).expect("a setting");
    // With the write lock taken, the engine cannot capture, unless it has done so just before.
    for row in 0.. {
        app.execute("INSERT INTO t (k) VALUES (?1)", [row.to_string()]).expect("written");
        app.execute_batch("BEGIN IMMEDIATE").expect("begun");
        if driftless::status(file.path()).expect("a status").waits.to_capture > 0 {
            break;
        }
        app.execute_batch("COMMIT").expect("committed");
    }
    fails(&["untrack", "t"], file.path(), 1, "nothing was untracked: an engine has");
    app.execute_batch("COMMIT").expect("committed");
    assert_eq!(succeeds(&["untrack", "t"], file.path()), "no longer tracking t\n");
    engine.close();
}

/// It told what was asked for, not what holds.
#[test]
fn track_tells_the_rule_as_it_is_afterwards() {
    let file = File::new(&format!("{T}; CREATE TABLE u (k TEXT PRIMARY KEY)"));
    assert_eq!(json(&["track", "t", "--json"], file.path())["tracks_all"], false);
    assert_eq!(json(&["track", "--all", "--json"], file.path())["tracks_all"], true);
    let by_name = json(&["track", "t", "--json"], file.path());
    assert_eq!((&by_name["tracks_all"], &by_name["tracked"]), (&Json::from(true), &serde_json::json!(["t"])));
    let ended = json(&["track", "--all", "--off", "--json"], file.path());
    let nothing = serde_json::json!({
        "tracked": [], "left_out": [], "captured": true, "tracks_all": false, "switched_to_wal": false,
    });
    assert_eq!(ended, nothing);
    assert_eq!(json(&["track", "t", "--json"], file.path())["tracks_all"], false);
}

#[test]
fn the_json_of_commands_that_change_what_is_tracked() {
    let file = File::new(
        "CREATE TABLE t (k TEXT PRIMARY KEY, n INTEGER, body TEXT, old TEXT); CREATE TABLE u (k TEXT PRIMARY KEY, x)",
    );
    succeeds(&["track", "--all"], file.path());
    assert_eq!(
        json(&["set-kind", "t", "body", "text", "--json"], file.path()),
        serde_json::json!({ "table": "t", "column": "body", "kind": "text", "captured": true })
    );
    assert_eq!(
        json(&["rename-column", "t", "n", "m", "--json"], file.path()),
        serde_json::json!({ "table": "t", "old": "n", "new": "m", "renamed": true, "captured": true })
    );
    file.run(
        "CREATE TABLE x (k TEXT PRIMARY KEY, m INTEGER, body TEXT, new TEXT); INSERT INTO x SELECT * FROM t; DROP TABLE t;
         ALTER TABLE x RENAME TO t",
    );
    assert_eq!(
        json(&["rename-column", "t", "old", "new", "--no", "--json"], file.path()),
        serde_json::json!({ "table": "t", "old": "old", "new": "new", "renamed": false, "captured": true })
    );
    assert_eq!(
        json(&["forget", "t", "old", "--json"], file.path()),
        serde_json::json!({ "table": "t", "column": "old", "captured": true })
    );
    file.run("DROP TABLE u");
    assert_eq!(
        json(&["forget", "u", "--json"], file.path()),
        serde_json::json!({ "table": "u", "column": null, "captured": true })
    );
    assert_eq!(
        json(&["untrack", "T", "--json"], file.path()),
        serde_json::json!({ "untracked": ["t"], "captured": true, "tracks_all": true })
    );
    assert_eq!(
        json(&["untrack", "--all", "--json"], file.path()),
        serde_json::json!({ "untracked": [], "captured": true, "tracks_all": false }),
        "'u' is gone for good"
    );
}

#[test]
fn every_command_that_fails_prints_its_error_as_json() {
    let file = File::new(T);
    let missing = file.beside("missing.db");
    for args in [
        &["track", "t"][..],
        &["track", "--all", "--off"],
        &["untrack", "t"],
        &["untrack", "--all"],
        &["set-kind", "t", "v", "text"],
        &["rename-column", "t", "v", "w"],
        &["rename-column", "t", "v", "w", "--no"],
        &["forget", "t"],
        &["sync", "ws://127.0.0.1:1/space", "--once"],
        &["status"],
        &["status", "--check"],
        &["conflicts"],
        &["parked"],
        &["verify"],
    ] {
        let output = driftless(&[args, &["--json"]].concat(), &missing);
        let said: Json = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(
            (output.status.code(), &said["error"]["exit_code"]),
            (Some(3), &Json::from(3)),
            "{args:?}"
        );
        assert_keys(&said, &["error"]);
        assert_keys(&said["error"], &["exit_code", "message"]);
        let message = said["error"]["message"].as_str().expect("a text");
        assert!(message.contains("there is no file"), "{args:?}: {message}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(message), "{args:?}");
    }
}

/// It was one line of several hundred characters.
#[test]
fn status_asks_about_a_column_on_short_lines() {
    let file = File::tracked("CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT, body TEXT)", &["notes"]);
    file.run(
        "CREATE TABLE n (id TEXT PRIMARY KEY, head TEXT, body TEXT); INSERT INTO n SELECT * FROM notes; DROP TABLE notes;
         ALTER TABLE n RENAME TO notes",
    );
    file.capture();
    let text = succeeds(&["status"], file.path());
    let asked: Vec<&str> = text.lines().skip_while(|line| !line.contains("went and")).collect();
    let path = file.path().to_str().expect("text");
    let expected = [
        "       ! column 'title' went and 'head' came, which was taken for a dropped and an added column:"
            .to_owned(),
        format!(
            "         if it was renamed, say so with `driftless rename-column {path} notes title head`, or what others write in \
             'title' does not show here;"
        ),
        format!("         if 'title' is gone for good, `driftless forget {path} notes title`;"),
        format!("         if it is neither, `driftless rename-column {path} notes title head --no`"),
    ];
    assert_eq!(asked, expected);
    let table = &json(&["status", "--json"], file.path())["tables"][0];
    assert_eq!(table["reason"], table["concerns"][0], "the JSON has one sentence");
    assert!(!table["reason"].as_str().expect("a text").contains('\n'));
}

#[test]
fn track_all_says_one_line_a_reason_and_that_the_file_is_switched_to_wal() {
    let file = File::new(&format!(
        "{T}; CREATE TABLE knex_migrations_lock (i INTEGER PRIMARY KEY); CREATE TABLE django_migrations (id INTEGER PRIMARY KEY)"
    ));
    let errors = |args: &[&str]| {
        let output = driftless(args, file.path());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let said = errors(&["track", "--all"]);
    assert!(said.contains("left out 2 tables (knex_migrations_lock, django_migrations)"), "{said}");
    assert!(said.contains("switched to WAL"), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(!errors(&["track", "--all"]).contains("WAL"), "it is in WAL already");
    let by_name = errors(&["track", "django_migrations", "--allow-integer-key"]);
    assert!(by_name.contains("tracked as you asked"), "{by_name}");
    assert!(succeeds(&["track", "--all", "--off"], file.path()).contains("not tracked by themselves"));
    let status = json(&["status", "--json"], file.path());
    assert_eq!(status["tracks_all"], false);
    let text = succeeds(&["status"], file.path());
    assert!(text.contains("not tracked: table knex_migrations_lock: it is the list of"), "{text}");
    assert_eq!(succeeds(&["untrack", "--all"], file.path()), "no longer tracking t, django_migrations\n");
}

#[test]
fn status_check_has_a_code_for_what_is_wrong_and_says_it() {
    let file = File::tracked(T, &["t"]);
    fails(&["status", "--check", "--max-lag", "x"], file.path(), 2, "max-lag");
    let check = |args: &[&str]| {
        let output = driftless(&[&["status", "--check"], args].concat(), file.path());
        (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
    };
    let (code, said) = check(&[]);
    assert_eq!((code, said.contains("no engine is running")), (Some(10), true), "{said}");
    let engine = file.engine();
    // It has begun this very moment: time to connect.
    assert_eq!(check(&[]), (Some(0), "well\n".to_owned()));
    let (code, said) = check(&["--max-lag", "0"]);
    assert_eq!((code, said.contains("does not sync")), (Some(11), true), "{said}");
    file.run("INSERT INTO _driftless_quarantine (reason, at, frame) VALUES ('a test', 1, x'00')");
    let (code, said) = check(&[]);
    assert_eq!((code, said.contains("1 changeset")), (Some(12), true), "{said}");
    let json = check(&["--json"]).1;
    let json: Json = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["check"]["code"], 12);
    assert_eq!(json["engine"]["pid"], std::process::id());
    assert!(succeeds(&["status"], file.path()).contains(&format!("running, process {}", std::process::id())));
    engine.close();
    assert_eq!(check(&[]).0, Some(10));
    assert!(succeeds(&["status"], file.path()).contains("not running"));
}

/// The lock file is anybody's to write: what it says is shown, and nothing depends on it.
#[test]
fn status_bears_a_lock_file_that_holds_anything() {
    let file = File::tracked(T, &["t"]);
    let engine = file.engine();
    let lock = file.beside("app.db-driftless");
    for garbage in
        [&b""[..], b"\xff\xfe{", b"{\"pid\": -4}", b"{\"pid\": 1, \"since\": -9223372036854775808}"]
    {
        std::fs::write(&lock, garbage).expect("written");
        assert!(succeeds(&["status"], file.path()).contains("running"), "{garbage:?}");
        driftless(&["status", "--check"], file.path());
    }
    engine.close();
}

#[test]
fn status_counts_rows_with_a_null_key_of_a_table_that_was_renamed() {
    let file = File::tracked(T, &["t"]);
    file.run("INSERT INTO t VALUES (NULL, 1); ALTER TABLE t RENAME TO u");
    file.capture();
    let status = json(&["status", "--json"], file.path());
    let table = &status["tables"][0];
    assert_eq!((&table["table"], &table["local_only"]), (&Json::from("u"), &Json::from(1)));
}

#[test]
fn kinds_are_stated_changed_and_shown() {
    let file = File::new(
        "CREATE TABLE t (k TEXT PRIMARY KEY, n INTEGER, body TEXT); CREATE TABLE u (k TEXT PRIMARY KEY, n INTEGER)",
    );
    fails(&["track", "--all", "--counter", "n"], file.path(), 3, "TABLE.COLUMN");
    fails(&["track", "t", "--counter", "body"], file.path(), 3, "TEXT affinity");
    succeeds(&["track", "--all", "--counter", "t.n", "--counter", "u.n", "--text", "t.body"], file.path());
    let status = json(&["status", "--json"], file.path());
    assert_eq!(status["tables"][0]["kinds"], serde_json::json!({ "body": "text", "n": "counter" }));
    assert!(succeeds(&["status"], file.path()).contains("body: text, n: counter"));
    fails(&["track", "t", "--text", "n"], file.path(), 3, "INTEGER affinity");
    fails(&["track", "u", "--counter", "k"], file.path(), 3, "primary key");
    assert_eq!(succeeds(&["set-kind", "u", "n", "register"], file.path()), "'n' of 'u' is now a register\n");
    fails(
        &["track", "u", "--counter", "n"],
        file.path(),
        3,
        "column 'n' as a register, which contradicts a counter",
    );
    fails(&["set-kind", "u", "n", "number"], file.path(), 2, "a register, a text or a counter");
    let status = json(&["status", "--json"], file.path());
    assert_eq!(status["tables"][1]["kinds"], serde_json::json!({}));
}

#[test]
fn golden_keys_of_status() {
    let file = File::tracked(T, &["t"]);
    file.run("UPDATE t SET v = 3 WHERE k = 'a'");
    let status = json(&["status", "--json"], file.path());
    assert_keys(
        &status,
        &[
            "conflicts",
            "engine",
            "lag_ms",
            "last_contact",
            "quarantined",
            "repaired",
            "replica",
            "space",
            "tables",
            "tracks_all",
            "unsent",
            "untracked",
            "vector",
            "waiting",
            "waits",
        ],
    );
    let table = &status["tables"][0];
    assert_keys(
        table,
        &[
            "concerns",
            "deletes_win",
            "documents",
            "kinds",
            "local_only",
            "parked",
            "pending",
            "reason",
            "rebuilt",
            "settling",
            "state",
            "table",
        ],
    );
    assert_eq!((&table["table"], &table["state"]), (&Json::from("t"), &Json::from("tracked")));
    assert_eq!((table["documents"].as_u64(), table["pending"].as_u64()), (Some(2), Some(1)));
    assert_keys(&status["unsent"], &["bytes", "changesets"]);
    assert!(status["lag_ms"].as_u64() > Some(0));
    assert!(status["space"].is_null() && status["last_contact"].is_null());
    let replica = status["replica"].as_str().expect("an id");
    assert!(status["vector"][replica].as_u64().is_some());
    assert!(succeeds(&["status"], file.path()).contains("tracked"));
}

/// A conflict takes two replicas, so this one is written where the engine would list it.
#[test]
fn golden_keys_of_conflicts() {
    let file = File::tracked(T, &["t"]);
    assert_eq!(json(&["conflicts", "--json"], file.path()), serde_json::json!({ "conflicts": [] }));
    file.run(
        "INSERT INTO _driftless_conflicts (tbl, key, pk, col, shown, value, at, writer)
         SELECT r.tbl, r.key, '''a''', 'v', 1, 7, 1700000000000, 99 FROM _driftless_rows r
         JOIN _driftless_tables t ON t.id = r.tbl WHERE t.name = 't' ORDER BY r.key LIMIT 1;
         INSERT INTO _driftless_conflicts (tbl, key, pk, col, shown, value, at, writer)
         SELECT tbl, key, pk, col, 0, v.column1, 0, v.column2 FROM _driftless_conflicts,
         (VALUES (x'00ff', 1), (CAST(x'ff' AS TEXT), 2), (9e999, 3), (NULL, 4), (0.5, 5), ('text', 6), (9223372036854775807, 7)) v",
    );
    let conflicts = json(&["conflicts", "--json"], file.path());
    let conflict = &conflicts["conflicts"][0];
    assert_keys(conflict, &["column", "has_column", "kept", "key", "shown", "table"]);
    assert_keys(&conflict["shown"], &["at", "replica", "value"]);
    assert_eq!(conflict["shown"]["value"], 7);
    assert_eq!(conflict["shown"]["at"], 1_700_000_000_000_i64);
    let kept: Vec<&Json> =
        conflict["kept"].as_array().expect("a list").iter().map(|kept| &kept["value"]).collect();
    let expected = serde_json::json!([
        i64::MAX, "text", 0.5, null, { "real": "Infinity" }, { "text_hex": "ff" }, { "blob_hex": "00ff" }
    ]);
    assert_eq!(serde_json::json!(kept), expected);
    assert!(succeeds(&["conflicts"], file.path()).contains("shown  7"));
}
