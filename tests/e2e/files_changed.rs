//! Files that are restored, copied over, moved away, deleted or stripped of what lies beside them, by whatever means, while
//! a sync runs: nothing is lost that is still somewhere, nothing is damaged, and nothing goes on for ever in vain.
//!
//! The engine is the built command: a test that wrote a database's bytes in the engine's own process would take SQLite's
//! locks away from it.

use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use driftless::sim;
use driftless::{Config, Error, TableOptions};
use driftless_tests::{
    Commands, Node, Process, TestRelay, agree, connect, create_database, eventually, has_shell, query, shell,
    sql,
};
use tempfile::TempDir;

const NOTES: &str = "
CREATE TABLE notes (id TEXT PRIMARY KEY NOT NULL, title TEXT);
INSERT INTO notes VALUES ('0', 'from the beginning');
";

/// The exit code of a sync whose file is gone for good.
const FILE_GONE: Option<i32> = Some(8);

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.into();
    name.push(suffix);
    name.into()
}

fn remove_beside(path: &Path) {
    fs::remove_file(beside(path, "-wal")).expect("the log is there");
    fs::remove_file(beside(path, "-shm")).expect("its index is there");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// A file with the command's sync on it, another replica in this process, and a relay.
struct Scene {
    folder: TempDir,
    relay: TestRelay,
    file: PathBuf,
    sync: Option<Process>,
    other: Node,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let relay = TestRelay::in_memory();
        let file = folder.path().join("app.db");
        create_database(&file, NOTES);
        let commands = Commands::get();
        commands.succeed(["track", text(&file), "notes"]);
        let mut other = Node::create(folder.path().join("other.db"), NOTES);
        other.go_online(&relay.url("notes"));
        other.sync_now();
        let sync = Some(commands.sync(&file, &relay.url("notes")));
        let scene = Self { folder, relay, file, sync, other };
        // Enough for the file to be many pages, so that old pages among new ones are noticed.
        sql(
            &scene.file,
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
             INSERT INTO notes SELECT printf('row %03d', i), hex(zeroblob(150)) FROM n",
        );
        scene.meet(&["0"]);
        scene
    }

    fn insert(&self, id: &str) {
        sql(&self.file, &format!("INSERT INTO notes VALUES ('{id}', 'here')"));
    }

    fn insert_elsewhere(&self, id: &str) {
        self.other.sql(&format!("INSERT INTO notes VALUES ('{id}', 'elsewhere')"));
    }

    /// A backup of the file as it is now, made by SQLite.
    fn backup(&self) -> PathBuf {
        let backup = self.folder.path().join("backup.db");
        // Unlike VACUUM INTO, the pages are where they are in the file itself.
        checkpoint(&self.file);
        fs::copy(&self.file, &backup).expect("a copy");
        backup
    }

    /// Waits until both have these notes, and all that was there before.
    #[track_caller]
    fn meet(&self, ids: &[&str]) {
        let mut expected: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
        expected.sort();
        let select = "SELECT id FROM notes WHERE id NOT LIKE 'row %' ORDER BY id";
        let count = "SELECT count(*) FROM notes WHERE id LIKE 'row %'";
        eventually(&format!("both to have {expected:?}"), || {
            let have = |path| query(path, select) == expected && query(path, count) == ["200"];
            (have(&self.file) && have(self.other.path())).then_some(())
        });
    }

    /// Ends the sync as its user would. Then both files are well, and agree once more.
    #[track_caller]
    fn ends_well(mut self) {
        let outcome = self.sync.take().expect("a sync").stop();
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert_eq!(query(&self.file, "PRAGMA integrity_check"), ["'ok'"], "{outcome:?}");
        let mut node = Node::open(&self.file);
        node.go_online(&self.relay.url("notes"));
        agree(&[&node, &self.other]);
        let paths = [node.path(), self.other.path()];
        let [one, other] = paths.map(|path| driftless::status(path).expect("the status").replica);
        assert_ne!(one, other);
    }

    fn replica(&self) -> String {
        driftless::status(&self.file).expect("the status").replica.to_string()
    }

    /// Waits until the log is empty: the sync has nothing to do, and has copied everything into the file.
    fn is_at_rest(&self) {
        is_at_rest(&self.file);
    }

    /// Waits until the engine has noticed what was done to the file.
    fn opens_again(&self) {
        eventually("the engine to have noticed", || {
            self.sync.as_ref().is_some_and(|sync| sync.said().contains("opened again")).then_some(())
        });
    }
}

fn is_at_rest(file: &Path) {
    eventually("an empty log", || {
        fs::metadata(beside(file, "-wal")).is_ok_and(|wal| wal.len() == 0).then_some(())
    });
}

/// A database and its log are one: everything into the database, whoever else has it open.
fn checkpoint(path: &Path) {
    eventually("a whole checkpoint", || {
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
        let (log, copied) =
            connect(path).query_row("PRAGMA wal_checkpoint(PASSIVE)", [], row).expect("a checkpoint");
        (log == copied).then_some(())
    });
}

/// A file that `.restore` had put back in time went on under its name. It gave numbers to changesets that the relay held
/// already with other content, and the two sides never met again, while `sync` said that they agreed.
#[test]
fn a_file_restored_in_place_while_a_sync_runs_goes_on_as_a_new_replica_and_gets_back_what_it_had_sent() {
    if !has_shell() {
        return; // there is no other program here that restores with the backup API
    }
    let scene = Scene::new();
    let backup = scene.backup();
    let first = scene.replica();
    scene.insert("1 after the backup");
    sql(&scene.file, "UPDATE notes SET title = 'newer' WHERE id = '0'");
    scene.meet(&["0", "1 after the backup"]);
    shell(&scene.file, &format!(".restore '{}'", text(&backup)));
    scene.insert("2 after the restore");
    scene.insert_elsewhere("3 elsewhere");
    scene.meet(&["0", "1 after the backup", "2 after the restore", "3 elsewhere"]);
    assert_ne!(scene.replica(), first);
    // The row from elsewhere may come before it, by the connection that the engine had under its old name.
    let title = || query(&scene.file, "SELECT title FROM notes WHERE id = '0'");
    eventually("the edit that had been sent comes back", || (title() == ["'newer'"]).then_some(()));
    // And once more, now that the backup's name is nobody's.
    shell(&scene.file, &format!(".restore '{}'", text(&backup)));
    scene.insert("4 after the second restore");
    scene.meet(&[
        "0",
        "1 after the backup",
        "2 after the restore",
        "3 elsewhere",
        "4 after the second restore",
    ]);
    scene.ends_well();
}

/// The engine went on with the log that had been removed, mixed the pages that it remembered with the new ones, and at its
/// end copied the old log into the restored file.
#[test]
fn a_backup_copied_over_the_file_while_a_sync_runs_stays_sound_and_gets_back_what_had_been_sent() {
    let scene = Scene::new();
    let backup = scene.backup();
    scene.insert("1 after the backup");
    sql(&scene.file, "UPDATE notes SET title = hex(zeroblob(140)) WHERE id LIKE 'row %'");
    scene.meet(&["0", "1 after the backup"]);
    remove_beside(&scene.file);
    fs::write(&scene.file, fs::read(&backup).expect("the backup")).expect("copied over");
    scene.insert("2 after the restore");
    scene.insert_elsewhere("3 elsewhere");
    scene.meet(&["0", "1 after the backup", "2 after the restore", "3 elsewhere"]);
    assert_eq!(query(&scene.file, "PRAGMA integrity_check"), ["'ok'"]);
    scene.ends_well();
}

/// As for a file in another journal mode: whoever knows nothing of WAL copies a backup over a file that nobody uses just
/// now. The log must be empty by then, or SQLite would apply it to the backup.
#[test]
fn a_backup_copied_over_an_idle_file_whose_log_nobody_removes_stays_sound() {
    for larger in [false, true] {
        let scene = Scene::new();
        let backup = scene.backup();
        let big = "UPDATE notes SET title = hex(zeroblob(900)) WHERE id LIKE 'row %'";
        // The file is the smaller one, or the backup is.
        if larger {
            sql(&backup, &format!("PRAGMA journal_mode = DELETE; {big}; PRAGMA journal_mode = WAL"));
            fs::remove_file(beside(&backup, "-wal")).unwrap_or_default();
        } else {
            sql(&scene.file, big);
        }
        scene.insert("1 after the backup");
        scene.meet(&["0", "1 after the backup"]);
        scene.is_at_rest();
        fs::write(&scene.file, fs::read(&backup).expect("the backup")).expect("copied over");
        scene.opens_again();
        scene.insert("2 after the restore");
        scene.insert_elsewhere("3 elsewhere");
        scene.meet(&["0", "1 after the backup", "2 after the restore", "3 elsewhere"]);
        scene.ends_well();
    }
}

fn replaced_by_rename(with_log: bool, at_rest: bool) {
    let scene = Scene::new();
    let backup = scene.backup();
    let first = scene.replica();
    scene.insert("1 after the backup");
    sql(&scene.file, "UPDATE notes SET title = hex(zeroblob(140)) WHERE id LIKE 'row %'");
    scene.meet(&["0", "1 after the backup"]);
    scene.is_at_rest();
    if !at_rest {
        // Pages of which the backup has other neighbours: together they would be no database.
        sql(
            &scene.file,
            "UPDATE notes SET title = hex(zeroblob(700)) WHERE id BETWEEN 'row 050' AND 'row 099'",
        );
        eventually("the last write to have been sent", || {
            let sent = query(scene.other.path(), "SELECT length(title) FROM notes WHERE id = 'row 099'");
            (sent == ["1400"]).then_some(())
        });
        assert!(fs::metadata(beside(&scene.file, "-wal")).is_ok_and(|wal| wal.len() > 0), "the log is full");
    }
    if with_log {
        remove_beside(&scene.file);
    }
    fs::rename(&backup, &scene.file).expect("moved over");
    scene.opens_again();
    scene.insert("2 in the new file");
    scene.insert_elsewhere("3 elsewhere");
    scene.meet(&["0", "1 after the backup", "2 in the new file", "3 elsewhere"]);
    assert_ne!(scene.replica(), first);
    scene.ends_well();
}

/// The sync said for ever that it was offline, and wrote nothing more.
#[test]
fn a_file_replaced_by_rename_with_its_log_removed_is_opened_again() {
    replaced_by_rename(true, false);
}

#[test]
fn a_file_replaced_by_rename_beside_its_empty_log_is_opened_again() {
    replaced_by_rename(false, true);
}

/// SQLite would have applied the old file's log to the new file.
#[test]
fn a_file_replaced_by_rename_beside_its_full_log_is_opened_again_without_that_log() {
    replaced_by_rename(false, false);
}

/// An app may begin to work on the new file at once, with a connection for each statement, of which each last one leaves no
/// log behind.
#[test]
fn a_file_replaced_under_an_app_that_never_rests_is_opened_again_too() {
    let scene = Scene::new();
    let backup = scene.backup();
    remove_beside(&scene.file);
    fs::rename(&backup, &scene.file).expect("moved over");
    let mut n = 0;
    eventually("what was written into the new file", || {
        n += 1;
        scene.insert(&format!("new {n}"));
        (!query(scene.other.path(), "SELECT id FROM notes WHERE id = 'new 1'").is_empty()).then_some(())
    });
    let ids: Vec<String> = (1..=n).map(|n| format!("new {n}")).chain(["0".into()]).collect();
    scene.meet(&ids.iter().map(|id| &**id).collect::<Vec<_>>());
    scene.ends_well();
}

#[test]
fn a_log_that_is_removed_while_a_sync_runs_takes_nothing_along_that_had_come_to_rest() {
    let scene = Scene::new();
    scene.insert("1 before");
    scene.meet(&["0", "1 before"]);
    scene.is_at_rest();
    fs::remove_file(beside(&scene.file, "-wal")).expect("the log is there");
    scene.opens_again();
    scene.insert("2 after");
    scene.insert_elsewhere("3 elsewhere");
    scene.meet(&["0", "1 before", "2 after", "3 elsewhere"]);
    scene.ends_well();
}

#[test]
fn a_log_that_is_removed_before_it_came_to_rest_leaves_a_sound_file_that_gets_back_what_was_sent() {
    let scene = Scene::new();
    scene.insert("1 before");
    scene.meet(&["0", "1 before"]);
    remove_beside(&scene.file);
    scene.opens_again();
    scene.insert("2 after");
    scene.insert_elsewhere("3 elsewhere");
    scene.meet(&["0", "1 before", "2 after", "3 elsewhere"]);
    scene.ends_well();
}

/// The index of the log, which the app's connection keeps, still counts the frames that went with the log. A checkpoint
/// would fill the database with what is not there.
#[test]
fn a_log_that_is_removed_while_an_app_has_it_open_is_waited_for_and_costs_nothing() {
    let scene = Scene::new();
    scene.meet(&["0"]);
    let app = rusqlite::Connection::open(&scene.file).expect("the file can be opened");
    let read = |app: &rusqlite::Connection| {
        app.query_row("SELECT count(*) FROM notes", [], |row| row.get::<_, i64>(0))
    };
    let _ = read(&app).expect("it can be read");
    for id in ["1 before", "2 before", "3 before"] {
        scene.insert(id);
    }
    fs::remove_file(beside(&scene.file, "-wal")).expect("the log is there");
    eventually("the engine to have noticed", || {
        let sync = scene.sync.as_ref().expect("a sync");
        sync.said().contains("which another program still has open").then_some(())
    });
    drop(app);
    eventually("the engine to go on", || {
        scene.sync.as_ref().is_some_and(|sync| sync.said().contains("opened again")).then_some(())
    });
    scene.insert("4 after");
    // The app's last look at the log it kept has put that into the database.
    scene.meet(&["0", "1 before", "2 before", "3 before", "4 after"]);
    scene.ends_well();
}

/// "Offline: … was replaced or removed", again and again.
#[test]
fn a_sync_whose_file_is_deleted_ends_with_a_code_of_its_own() {
    let mut scene = Scene::new();
    fs::remove_file(&scene.file).expect("it is there");
    remove_beside(&scene.file);
    let outcome = scene.sync.take().expect("a sync").outcome();
    assert_eq!(outcome.code, FILE_GONE, "{outcome:?}");
    let words = format!("'{}' was removed while Driftless had it open", scene.file.display());
    assert!(outcome.stderr.contains(&words), "{outcome:?}");
    assert!(!outcome.stderr.contains("offline"), "{outcome:?}");
    assert!(!scene.file.exists(), "nothing is made in its place");
}

#[test]
fn a_sync_whose_file_becomes_something_else_ends_with_the_same_code() {
    let outcome = |replace: fn(&Scene)| {
        let mut scene = Scene::new();
        replace(&scene);
        let outcome = scene.sync.take().expect("a sync").outcome();
        assert_eq!(outcome.code, FILE_GONE, "{outcome:?}");
        assert!(outcome.stderr.contains("is not a SQLite database"), "{outcome:?}");
        scene
    };
    let scene = outcome(|scene| {
        let garbage = scene.folder.path().join("garbage");
        fs::write(&garbage, "no database at all\n".repeat(1000)).expect("a file");
        fs::rename(&garbage, &scene.file).expect("moved over");
    });
    assert!(fs::read(&scene.file).expect("it is there").starts_with(b"no database"), "it is left alone");
    // A folder was said to be a file with two names.
    outcome(|scene| {
        fs::remove_file(&scene.file).expect("it was there");
        fs::create_dir(&scene.file).expect("made");
    });
}

#[test]
fn a_sync_once_that_waits_for_a_relay_ends_when_its_file_is_deleted() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("app.db");
    create_database(&file, NOTES);
    Commands::get().succeed(["track", text(&file), "notes"]);
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("ws://{}/notes", silent.local_addr().expect("an address"));
    let mut command = std::process::Command::new(Commands::get().path("driftless"));
    command.args(["sync", text(&file), &url, "--once"]);
    let once = Process::start(command);
    let _connected = silent.accept().expect("it connects");
    fs::remove_file(&file).expect("it is there");
    let outcome = once.outcome();
    assert_eq!(outcome.code, FILE_GONE, "{outcome:?}");
}

/// `status` failed with "disk I/O error", and the lists were read without what was in the removed log.
#[test]
fn reading_commands_beside_a_removed_log_that_an_app_has_open_say_so_with_the_engines_exit_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("app.db");
    create_database(&file, "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT)");
    Commands::get().succeed(["track", text(&file), "--all"]);
    let app = rusqlite::Connection::open(&file).expect("the file can be opened");
    app.execute("INSERT INTO notes VALUES ('1', 'one')", []).expect("written");
    fs::remove_file(beside(&file, "-wal")).expect("the log is there");
    // The second time somebody may have made an empty log.
    for _ in 0..2 {
        for command in ["status", "conflicts", "parked", "verify", "untrack"] {
            let all = if command == "untrack" { Some("--all") } else { None };
            let said = Commands::get().driftless([command, text(&file)].into_iter().chain(all));
            assert_eq!(said.code, FILE_GONE, "{command}: {said:?}");
            assert!(said.stderr.contains("lost its -wal, which another program still has open"), "{said:?}");
        }
        let check = Commands::get().driftless(["status", text(&file), "--check"]);
        assert_eq!(check.code, FILE_GONE, "{check:?}");
        fs::File::create(beside(&file, "-wal")).expect("made");
    }
    // An app that goes on with a log that is there, empty or not, is no reason to refuse.
    drop(app);
    let app = rusqlite::Connection::open(&file).expect("the file can be opened");
    for statement in ["INSERT INTO notes VALUES ('2', 'two')", "PRAGMA wal_checkpoint(TRUNCATE)"] {
        app.execute_batch(statement).expect("done");
        for command in ["status", "conflicts", "parked"] {
            Commands::get().succeed([command, text(&file)]);
        }
    }
}

#[test]
fn a_file_that_is_moved_away_and_back_is_gone_on_with() {
    let scene = Scene::new();
    scene.is_at_rest();
    let first = scene.replica();
    let away = scene.folder.path().join("away.db");
    fs::rename(&scene.file, &away).expect("moved away");
    scene.sync.as_ref().expect("a sync").wait_for("it was removed; trying again");
    fs::rename(&away, &scene.file).expect("moved back");
    scene.insert("1 after");
    scene.insert_elsewhere("2 elsewhere");
    scene.meet(&["0", "1 after", "2 elsewhere"]);
    assert_eq!(scene.replica(), first, "it is the very file");
    scene.ends_well();
}

#[test]
fn a_sync_that_waits_for_its_file_can_be_stopped() {
    let mut scene = Scene::new();
    fs::remove_file(&scene.file).expect("it is there");
    let sync = scene.sync.take().expect("a sync");
    sync.wait_for("it was removed; trying again");
    let outcome = sync.stop();
    assert!(outcome.code == Some(0) || outcome.code == FILE_GONE, "{outcome:?}");
}

/// Whoever removed the small file beside the database let a second engine start, and both wrote under one name.
#[test]
fn a_second_engine_is_refused_though_somebody_removed_the_lock() {
    let scene = Scene::new();
    let lock = beside(&scene.file, "-driftless");
    for _ in 0..3 {
        fs::remove_file(&lock).expect("the lock is there");
        let second =
            Commands::get().driftless(["sync", text(&scene.file), &scene.relay.url("notes"), "--once"]);
        assert_eq!(second.code, Some(4), "{second:?}");
        assert!(second.stderr.contains("another Driftless engine has"), "{second:?}");
        eventually("the lock to be there again", || lock.exists().then_some(()));
    }
    let second = Commands::get().driftless(["sync", text(&scene.file), &scene.relay.url("notes"), "--once"]);
    let said = fs::read_to_string(&lock).expect("the lock names its holder");
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let pid = said["pid"].as_u64().expect("a process");
    assert!(second.code == Some(4) && second.stderr.contains(&format!("(process {pid})")), "{second:?}");
    scene.insert("1 after");
    scene.meet(&["0", "1 after"]);
    scene.ends_well();
}

/// A backup script that had copied a file in another journal mode while nobody wrote lost everything since the last
/// checkpoint when the engine had switched the file to WAL.
#[test]
fn the_file_alone_of_an_idle_database_has_all_that_was_committed() {
    let scene = Scene::new();
    scene.insert("1 here");
    scene.insert_elsewhere("2 elsewhere");
    scene.meet(&["0", "1 here", "2 elsewhere"]);
    scene.is_at_rest();
    let copy = scene.folder.path().join("copy.db");
    fs::copy(&scene.file, &copy).expect("a copy");
    let all = query(&scene.file, "SELECT * FROM notes ORDER BY id");
    assert_eq!(query(&copy, "SELECT * FROM notes ORDER BY id"), all);
    let mut node = Node::open(&copy);
    node.go_online(&scene.relay.url("notes"));
    node.sync_now();
    assert_eq!(
        node.status().vector.len(),
        scene.other.status().vector.len(),
        "it had nothing of its own to send"
    );
    scene.ends_well();
}

/// What is copied while an app reads an old state is copied later; the app is not disturbed.
#[test]
fn an_app_that_reads_while_the_log_is_copied_goes_on_with_what_it_reads_and_may_then_write() {
    let scene = Scene::new();
    let app = connect(&scene.file);
    app.execute_batch("BEGIN").expect("begins");
    let count = |app: &rusqlite::Connection| {
        app.query_row("SELECT count(*) FROM notes", [], |row| row.get::<_, i64>(0)).expect("reads")
    };
    assert_eq!(count(&app), 201);
    scene.insert("1 meanwhile");
    let copied = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).expect("it is there");
    let before = copied(&scene.file);
    scene.insert("2 meanwhile");
    eventually("a part to be copied, or all of it", || {
        (copied(&scene.file) != before
            || fs::metadata(beside(&scene.file, "-wal")).is_ok_and(|wal| wal.len() > 0))
        .then_some(())
    });
    assert_eq!(count(&app), 201, "its state stands");
    app.execute_batch("COMMIT").expect("ends");
    app.execute_batch("BEGIN; INSERT INTO notes VALUES ('3 then', 'by the reader'); COMMIT").expect("writes");
    scene.meet(&["0", "1 meanwhile", "2 meanwhile", "3 then"]);
    drop(app);
    scene.is_at_rest();
    scene.ends_well();
}

/// A file on a sim's replica, whose engine goes on between two calls.
fn simulated(folder: &Path) -> (PathBuf, sim::Replica) {
    let file = folder.join("app.db");
    create_database(&file, NOTES);
    let mut replica = sim::Replica::open(&file, Config::default()).expect("opens");
    replica.track(&["notes"], TableOptions::default()).expect("tracks");
    (file, replica)
}

/// A copy beside a file that no engine is writing.
fn checkpointed_copy(file: &Path) -> PathBuf {
    let copy = file.with_file_name("copy.db");
    checkpoint(file);
    fs::copy(file, &copy).expect("a copy");
    copy
}

/// What a process does that writes another file's bytes over a database which nobody else has open.
fn copy_over(from: &Path, to: &Path) {
    for suffix in ["-wal", "-shm"] {
        fs::remove_file(beside(to, suffix)).unwrap_or_default();
    }
    fs::write(to, fs::read(from).expect("the copy")).expect("written over");
}

#[test]
fn a_file_overwritten_between_two_turns_has_another_name_after_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    sim::set_clock(Some(1_700_000_000_000));
    let (file, mut replica) = simulated(folder.path());
    let copy = checkpointed_copy(&file);
    let first = replica.replica_id();
    sql(&file, "INSERT INTO notes VALUES ('1', 'lost with the file')");
    replica.turn(Vec::new()).expect("a turn");
    let last = replica.vector().expect("the vector").get(first);
    copy_over(&copy, &file);
    // An app in this very process, which shares SQLite's locks with the engine, can go on only then.
    replica.turn(Vec::new()).expect("a turn");
    assert_ne!(replica.replica_id(), first);
    sql(&file, "INSERT INTO notes VALUES ('2', 'after')");
    replica.turn(Vec::new()).expect("a turn");
    let vector = replica.vector().expect("the vector");
    assert!(vector.get(first) < last, "what is gone is not counted: {vector:?}");
    assert!(vector.get(replica.replica_id()) > 0, "what was written since is captured under the new name");
    assert_eq!(query(&file, "SELECT id FROM notes"), ["'0'", "'2'"]);
    sim::set_clock(None);
}

/// By name and number alone the two states are one.
#[test]
fn a_file_overwritten_by_one_that_wrote_as_much_is_noticed_too() {
    let folder = tempfile::tempdir().expect("a folder");
    sim::set_clock(Some(1_700_000_000_000));
    let (file, mut replica) = simulated(folder.path());
    let [before, one] = ["before.db", "one.db"].map(|name| folder.path().join(name));
    checkpoint(&file);
    fs::copy(&file, &before).expect("a copy");
    sql(&file, "INSERT INTO notes VALUES ('1', 'on one side')");
    replica.turn(Vec::new()).expect("a turn");
    checkpoint(&file);
    fs::copy(&file, &one).expect("a copy");
    // While no engine has it open, nothing is remembered that could tell.
    let first = replica.replica_id();
    drop(replica);
    copy_over(&before, &file);
    let mut replica = sim::Replica::open(&file, Config::default()).expect("opens");
    sql(&file, "INSERT INTO notes VALUES ('1', 'on the other side')");
    replica.turn(Vec::new()).expect("a turn");
    let number = replica.vector().expect("the vector").get(first);
    assert_eq!(replica.replica_id(), first);
    copy_over(&one, &file);
    replica.turn(Vec::new()).expect("a turn");
    assert_ne!(replica.replica_id(), first);
    assert!(number > 0);
    assert_eq!(query(&file, "SELECT title FROM notes WHERE id = '1'"), ["'on one side'"]);
    sim::set_clock(None);
}

/// For some seconds the engine that waited for its file kept others from it, and from whatever file was given its inode.
#[test]
fn a_file_that_was_moved_away_can_be_opened_while_the_engine_still_waits_for_it() {
    let folder = tempfile::tempdir().expect("a folder");
    sim::set_clock(Some(1_700_000_000_000));
    let (file, mut replica) = simulated(folder.path());
    checkpoint(&file);
    let moved = folder.path().join("moved.db");
    fs::rename(&file, &moved).expect("moved away");
    let waits = replica.turn(Vec::new());
    assert!(matches!(waits, Err(Error::FileAway { .. })), "{waits:?}");
    let mut other = sim::Replica::open(&moved, Config::default()).expect("nobody uses it");
    sql(&moved, "INSERT INTO notes VALUES ('1', 'elsewhere')");
    other.turn(Vec::new()).expect("a turn");
    drop(other);
    fs::rename(&moved, &file).expect("moved back");
    replica.turn(Vec::new()).expect("it is there again");
    assert_eq!(query(&file, "SELECT id FROM notes"), ["'0'", "'1'"]);
    sim::set_clock(None);
}

/// The numbers had been told of the file that was there before, and were taken for told of the one that took its place.
#[test]
fn the_apps_numbers_of_a_file_that_took_the_place_are_told_though_they_are_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    sim::set_clock(Some(1_700_000_000_000));
    let (file, mut replica) = simulated(folder.path());
    let copy = checkpointed_copy(&file);
    for path in [&file, &copy] {
        sql(path, "PRAGMA user_version = 7");
        replica.turn(Vec::new()).expect("a turn");
    }
    let told = "SELECT sql FROM _driftless_definitions WHERE spelled = 'user_version'";
    assert_eq!(query(&file, told), ["'7'"]);
    assert!(query(&copy, told).is_empty(), "no engine has seen the copy");
    checkpoint(&copy);
    copy_over(&copy, &file);
    replica.turn(Vec::new()).expect("a turn");
    assert_eq!(query(&file, told), ["'7'"]);
    sim::set_clock(None);
}
