//! `track --all` is a rule: tables that are made later are tracked too, and what belongs to one machine is left out.

use std::time::{Duration, Instant};

use driftless::{Refusal, Selection, TableOptions};

use crate::support::File;

const T: &str = "CREATE TABLE t (k TEXT PRIMARY KEY, v)";

fn track_all(file: &File, options: TableOptions) -> driftless::Tracked {
    driftless::track(file.path(), Selection::All, options).expect("tracked")
}

fn is_tracked(file: &File, table: &str) -> bool {
    file.status().tables.iter().any(|known| known.table == table && known.state == "tracked")
}

/// Waits until the running engine tracks a table.
#[track_caller]
fn wait_until_tracked(file: &File, table: &str) {
    let begun = Instant::now();
    while !is_tracked(file, table) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{table} is not tracked: {:?}", file.status());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn untracked(file: &File) -> Vec<(String, Option<Refusal>)> {
    file.status().untracked.into_iter().map(|untracked| (untracked.table, untracked.refusal)).collect()
}

#[test]
fn a_table_that_is_made_later_is_tracked_with_the_options_of_the_rule_when_the_file_is_opened() {
    let file = File::new(T);
    track_all(&file, TableOptions::integer_key().deletes_win());
    file.run("CREATE TABLE later (id INTEGER PRIMARY KEY, v); INSERT INTO later VALUES (7, 'there')");
    assert_eq!(file.capture(), ["later[7]"]);
    let later = file.table_status("later");
    assert!(later.deletes_win);
    assert!(file.status().tracks_all);
    file.run("INSERT INTO later VALUES (8, 'new')");
    assert_eq!(file.capture(), ["later[8]"]);
}

#[test]
fn a_running_engine_tracks_a_table_that_is_made_later() {
    let file = File::new(T);
    track_all(&file, TableOptions::default());
    let engine = file.engine();
    engine.capture().expect("captured");
    file.run("CREATE TABLE later (k TEXT PRIMARY KEY); INSERT INTO later VALUES ('there')");
    wait_until_tracked(&file, "later");
    file.run("INSERT INTO later VALUES ('new')");
    engine.capture().expect("captured");
    assert_eq!(file.captured(), ["later['new']", "later['there']"]);
    engine.close();
}

/// Migrations make a table under a passing name, fill it and rename it. Were it tracked at once, everybody would get a table
/// of that name.
#[test]
fn a_table_that_is_renamed_within_a_moment_is_never_known_by_its_passing_name() {
    let file = File::new(T);
    track_all(&file, TableOptions::default());
    let engine = file.engine();
    engine.capture().expect("captured");
    // The engine looks after each.
    for step in [
        "CREATE TABLE passing (k TEXT PRIMARY KEY)",
        "INSERT INTO passing VALUES ('a')",
        "ALTER TABLE passing RENAME TO lasting",
    ] {
        file.run(step);
        engine.nudge();
    }
    wait_until_tracked(&file, "lasting");
    engine.close();
    assert_eq!(file.number("SELECT count(*) FROM _driftless_tables WHERE name = 'passing'"), 0);
    assert_eq!(file.captured(), ["lasting['a']"]);
}

/// The engine ended before it tracked the table; nothing of the schema had changed when it was opened again.
#[test]
fn a_table_that_waited_when_the_engine_ended_is_tracked_at_the_next_opening() {
    let file = File::new(T);
    track_all(&file, TableOptions::default());
    let engine = file.engine();
    engine.capture().expect("captured");
    file.run("CREATE TABLE later (k TEXT PRIMARY KEY); INSERT INTO later VALUES ('a')");
    engine.close();
    assert_eq!(untracked(&file), [("later".to_owned(), None)]);
    assert_eq!(file.capture(), ["later['a']"]);
}

/// The engine that opened the file took a renamed table for a new one, before it looked whose triggers it has: then the table
/// was two, and its rows travelled twice.
#[test]
fn a_table_that_was_renamed_while_no_engine_ran_is_no_new_one() {
    let file = File::new(T);
    track_all(&file, TableOptions::default());
    file.run("INSERT INTO t VALUES ('a', 1)");
    file.capture();
    file.run("ALTER TABLE t RENAME TO renamed; INSERT INTO renamed VALUES ('b', 2)");
    assert_eq!(track_all(&file, TableOptions::default()).tables, ["renamed"]);
    assert_eq!(file.capture(), ["t['b']"], "under the name that it travels by");
    assert_eq!(file.number("SELECT count(*) FROM _driftless_tables"), 2, "the definitions and the one");
    file.assert_captured("renamed");
}

#[test]
fn the_rule_ends_when_it_is_told_to_and_tables_that_are_tracked_stay_so() {
    let file = File::new(T);
    track_all(&file, TableOptions::default());
    driftless::end_track_all(file.path()).expect("ended");
    file.run("CREATE TABLE later (k TEXT PRIMARY KEY); INSERT INTO t VALUES ('a', 1)");
    assert_eq!(file.capture(), ["t['a']"]);
    assert_eq!(untracked(&file), [("later".to_owned(), None)]);
    assert!(!file.status().tracks_all);
    assert_eq!(track_all(&file, TableOptions::default()).tables, ["t", "later"]);
    assert_eq!(driftless::untrack_all(file.path()).expect("untracked"), ["t", "later"]);
    file.run("CREATE TABLE last (k TEXT PRIMARY KEY); INSERT INTO t VALUES ('b', 1)");
    assert_eq!(file.capture(), [""; 0]);
    assert_eq!(track_all(&file, TableOptions::default()).tables, ["t", "later", "last"]);
}

#[test]
fn a_table_that_was_untracked_by_its_name_stays_so_until_it_is_tracked_by_its_name() {
    let file = File::new(&format!("{T}; CREATE TABLE u (k TEXT PRIMARY KEY)"));
    track_all(&file, TableOptions::default());
    file.capture();
    driftless::untrack(file.path(), &["u"]).expect("untracked");
    file.run("CREATE TABLE later (k TEXT PRIMARY KEY); INSERT INTO u VALUES ('a')");
    assert_eq!(file.capture(), [""; 0]);
    assert!(is_tracked(&file, "later") && !is_tracked(&file, "u"));
    let again = track_all(&file, TableOptions::default());
    assert_eq!(again.left_out, [("u".to_owned(), Refusal::Untracked)]);
    assert_eq!(untracked(&file), [("u".to_owned(), Some(Refusal::Untracked))]);
    file.track(&["u"]);
    assert!(is_tracked(&file, "u"));
}

/// Renamed, or made anew in steps, it was a new table, and its rows went to everybody.
#[test]
fn a_table_that_was_untracked_by_its_name_stays_so_when_it_is_renamed_or_made_anew() {
    let make = "CREATE TABLE new_u (k TEXT PRIMARY KEY, secret TEXT, more TEXT)";
    let steps: [&[&str]; 3] = [
        &["ALTER TABLE u RENAME TO other"],
        &[
            "ALTER TABLE u RENAME TO old_u",
            "CREATE TABLE u (k TEXT PRIMARY KEY, secret TEXT); INSERT INTO u SELECT * FROM old_u",
            "DROP TABLE old_u",
        ],
        &[make, "INSERT INTO new_u SELECT *, '' FROM u", "DROP TABLE u", "ALTER TABLE new_u RENAME TO u"],
    ];
    for steps in steps {
        let file = File::new(&format!("{T}; CREATE TABLE u (k TEXT PRIMARY KEY, secret TEXT)"));
        track_all(&file, TableOptions::default());
        file.capture();
        driftless::untrack(file.path(), &["u"]).expect("untracked");
        file.run("INSERT INTO u VALUES ('a', 'secret')");
        let engine = file.engine();
        for (at, step) in steps.iter().enumerate() {
            // What else is made then is tracked as ever, with the same columns, too.
            let columns = if at == 0 { "k TEXT PRIMARY KEY, v, w" } else { "k TEXT PRIMARY KEY" };
            file.run(&format!("{step}; CREATE TABLE after_{at} ({columns})"));
            wait_until_tracked(&file, &format!("after_{at}"));
        }
        engine.close();
        assert_eq!(file.captured(), [""; 0], "{steps:?}");
        let left_out = track_all(&file, TableOptions::default()).left_out;
        assert_eq!(left_out.len(), 1, "{left_out:?}");
        file.track(&[&left_out[0].0]);
        assert_eq!(file.capture().len(), 1, "{steps:?}");
    }
}

/// One machine's migration made the other skip its own: the list of what was applied had travelled.
#[test]
fn what_migration_tools_and_sessions_keep_is_tracked_only_by_its_name() {
    let file = File::new(&format!(
        "{T}; CREATE TABLE schema_migrations (version TEXT PRIMARY KEY);
         CREATE TABLE sessions (sid TEXT PRIMARY KEY, sess TEXT, expired TEXT);
         CREATE TABLE no_key (v)"
    ));
    let tracked = track_all(&file, TableOptions::default());
    assert_eq!(tracked.tables, ["t"]);
    let left_out = [
        ("schema_migrations".to_owned(), Refusal::Migrations),
        ("sessions".to_owned(), Refusal::Sessions),
        ("no_key".to_owned(), Refusal::NoPrimaryKey),
    ];
    assert_eq!(tracked.left_out, left_out);
    assert!(tracked.switched_to_wal);
    file.capture();
    // Made later they are left out too.
    file.run("CREATE TABLE alembic_version (version_num TEXT PRIMARY KEY)");
    file.capture();
    assert!(!is_tracked(&file, "alembic_version"));
    assert_eq!(untracked(&file).len(), 4);
    let named =
        driftless::track(file.path(), Selection::Named(&["schema_migrations"]), TableOptions::default());
    let named = named.expect("tracked");
    assert_eq!(named.doubtful, [("schema_migrations".to_owned(), Refusal::Migrations)]);
    assert!(!named.switched_to_wal && is_tracked(&file, "schema_migrations"));
    // And then it stays tracked.
    assert_eq!(track_all(&file, TableOptions::default()).tables, ["t", "schema_migrations"]);
}

/// A table whose rows refer to nothing would be parked everywhere; it is tracked once they are repaired.
#[test]
fn a_table_that_does_not_fit_yet_is_named_and_tracked_once_it_does() {
    let file = File::new(T);
    track_all(&file, TableOptions::default());
    // As with apps that do not enforce foreign keys, which is SQLite's default.
    file.run("PRAGMA foreign_keys = OFF; CREATE TABLE child (k TEXT PRIMARY KEY, t TEXT REFERENCES t (k)); INSERT INTO child VALUES ('c', 'x')");
    file.capture();
    assert_eq!(untracked(&file), [("child".to_owned(), Some(Refusal::Orphans(1)))]);
    file.run("INSERT INTO t VALUES ('x', 1)");
    assert_eq!(file.capture(), ["child['c']", "t['x']"]);
    assert_eq!(untracked(&file), []);
}

/// So many triggers are made in another way than a few.
#[test]
fn many_tables_that_are_tracked_at_once_are_captured_like_one() {
    let table = |n| format!("CREATE TABLE t{n} (k TEXT PRIMARY KEY, u TEXT UNIQUE);");
    let file = File::new(&(0..40).map(table).collect::<String>());
    let app = file.user();
    app.execute("INSERT INTO t7 VALUES ('before', 1)", []).expect("written");
    assert_eq!(track_all(&file, TableOptions::default()).tables.len(), 40);
    // The app's connection, which has read the schema before, runs the triggers.
    app.execute("INSERT INTO t39 VALUES ('after', 1)", []).expect("written");
    assert_eq!(file.capture(), ["t39['after']", "t7['before']"]);
    app.execute("INSERT OR REPLACE INTO t39 VALUES ('instead', 1)", []).expect("written");
    assert_eq!(file.capture(), ["t39['after']", "t39['instead']"]);
    let well: String = app.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checked");
    assert_eq!(well, "ok");
}

/// Opening a file is cheap where nothing of its schema has changed: what was found before is recorded.
#[test]
fn the_schema_at_which_a_file_was_reconciled_is_recorded_and_forgotten_when_side_tables_are_repaired() {
    let file = File::tracked(T, &["t"]);
    let recorded = "SELECT CAST(value AS INTEGER) FROM _driftless_meta WHERE name = 'reconciled'";
    assert_eq!(file.number(recorded), file.number("PRAGMA schema_version"));
    // Without an engine: the triggers go, and a row is written that nobody marks.
    file.run("DROP TRIGGER _driftless_2_insert; INSERT INTO t VALUES ('unmarked', 1)");
    assert_ne!(file.number(recorded), file.number("PRAGMA schema_version"));
    assert_eq!(file.capture(), ["t['unmarked']"]);
    assert_eq!(file.number(recorded), file.number("PRAGMA schema_version"));
    // The list of tables is lost and made anew, which is no change of the schema.
    file.run("DELETE FROM _driftless_tables");
    file.capture();
    file.run("INSERT INTO t VALUES ('marked', 1)");
    file.capture();
    // As a new replica it counts from 1 again.
    let t = file.table_status("t");
    assert_eq!((t.state, t.documents, t.pending), ("tracked", 2, 0));
}

#[test]
fn a_table_that_is_tracked_already_keeps_the_options_that_were_given_for_it() {
    let file =
        File::new("CREATE TABLE i (id INTEGER PRIMARY KEY, v); CREATE TABLE t (k TEXT PRIMARY KEY, v)");
    let options = || TableOptions::integer_key().deletes_win();
    driftless::track(file.path(), Selection::Named(&["i"]), options()).expect("tracked");
    let tracked = track_all(&file, TableOptions::default());
    assert_eq!((tracked.tables, tracked.left_out.len()), (vec!["i".to_owned(), "t".to_owned()], 0));
    assert!(file.table_status("i").deletes_win);
    assert!(!file.table_status("t").deletes_win);
    let again = TableOptions::default().deletes_win();
    driftless::track(file.path(), Selection::Named(&["i"]), again).expect("an integer key is allowed once");
}
