//! An app at work on the file: what its transactions notice of a sidecar, and what the sidecar says of an app that does not
//! let go of the write lock. The app is another process, or the sidecar is: to SQLite that is not the same as two
//! connections of one process.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use driftless::{Config, FeedEvent, Health, Origin};
use driftless_tests::{Commands, Node, PATIENCE, TestRelay, agree, connect, eventually, query, sql};
use rusqlite::Connection;

const NOTES: &str = "CREATE TABLE notes (id TEXT PRIMARY KEY NOT NULL, n INTEGER NOT NULL);
     INSERT INTO notes VALUES ('one', 0), ('two', 0)";

/// A connection in a process of its own: this test binary, run again. It runs a line at a time and answers each.
struct App {
    process: Child,
    input: ChildStdin,
    said: Box<dyn Iterator<Item = String>>,
}

impl App {
    fn start(file: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("a test knows its path"))
            .args(["--exact", "busy_app::the_app", "--nocapture"])
            .env("BUSY_APP_FILE", file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let input = process.stdin.take().expect("its stdin");
        let lines = BufReader::new(process.stdout.take().expect("its stdout")).lines();
        let said =
            lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("app: ").map(str::to_owned));
        Self { process, input, said: Box::new(said) }
    }

    /// Runs statements; the answer is `done` or SQLite's message.
    fn run(&mut self, statements: &str) -> String {
        writeln!(self.input, "{statements}").expect("it listens");
        self.said.next().expect("it answers")
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended
        let _ = self.process.wait();
    }
}

/// The file and another, both online at a relay, in agreement.
fn pair(folder: &tempfile::TempDir, file: &Path) -> (TestRelay, Node, Node) {
    let relay = TestRelay::in_memory();
    let url = relay.url("busy");
    let mut b = Node::create(folder.path().join("b.db"), NOTES);
    let mut a = Node::create(file, NOTES);
    a.go_online(&url);
    b.go_online(&url);
    agree(&[&a, &b]);
    (relay, a, b)
}

/// Not a test by itself: the other process of the tests below.
#[test]
fn the_app() {
    let Some(file) = std::env::var_os("BUSY_APP_FILE") else { return };
    let connection: Connection = connect(Path::new(&file));
    for line in std::io::stdin().lines().map_while(Result::ok) {
        match connection.execute_batch(&line) {
            Ok(()) => println!("\napp: done"),
            Err(error) => println!("\napp: {error}"),
        }
    }
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("app.db");
    (folder, file)
}

/// Django's default: BEGIN, read, write. The engine committed in between each time somebody else had written just before, and
/// the write failed at once with "database is locked".
#[test]
fn a_transaction_that_reads_before_it_writes_is_not_broken_by_the_capture_of_the_one_before() {
    let (_folder, file) = folder();
    let node = Node::create(&file, NOTES);
    node.engine().capture().expect("captured");
    let mut app = App::start(&file);
    let mut failed = 0;
    for _ in 0..30 {
        // The engine has something to capture from the first commit on.
        let read = "UPDATE notes SET n = n + 1 WHERE id = 'one'; BEGIN; SELECT * FROM notes";
        assert_eq!(app.run(read), "done");
        node.engine().nudge();
        if app.run("UPDATE notes SET n = n + 1 WHERE id = 'two'") != "done" {
            failed += 1;
        }
        assert_eq!(app.run("COMMIT"), "done");
    }
    // A machine that halts the app between its statements for longer than the engine waits may break one.
    assert!(failed <= 3, "{failed} of 30 transactions failed");
}

#[test]
fn what_comes_in_is_not_applied_while_the_app_has_a_transaction_open_and_is_as_soon_as_it_ends() {
    let (folder, file) = folder();
    let (_relay, a, b) = pair(&folder, &file);
    let mut feed = a.engine().changes().expect("the engine runs");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut app = App::start(&file);
    // A machine that halts this test for longer than the engine waits tells nothing: then again.
    let waited = (1..=10).any(|n| {
        assert_eq!(app.run("BEGIN; SELECT * FROM notes"), "done");
        b.sql(&format!("UPDATE notes SET n = {n} WHERE id = 'one'"));
        b.sync_now();
        // The relay passes it on within milliseconds, and the engine waits for a quarter of a second.
        let applied = runtime
            .block_on(async { tokio::time::timeout(Duration::from_millis(100), feed.next()).await })
            .is_ok();
        let wrote = app.run("UPDATE notes SET n = n + 1 WHERE id = 'two'") == "done";
        assert_eq!(app.run("COMMIT"), "done");
        eventually("what came in", || {
            (query(&file, "SELECT n FROM notes WHERE id = 'one'") == [n.to_string()]).then_some(())
        });
        agree(&[&a, &b]);
        while runtime
            .block_on(async { tokio::time::timeout(Duration::from_millis(1), feed.next()).await })
            .is_ok()
        {}
        wrote && !applied
    });
    assert!(waited, "each time it was applied while the app had a transaction open");
}

/// Requests come when they like: one that begins while the engine writes was broken by the engine's commit.
#[test]
fn a_transaction_that_begins_while_a_turn_writes_makes_the_turn_give_way() {
    let (folder, file) = folder();
    let (_relay, a, b) = pair(&folder, &file);
    // A trigger makes the turn last for some hundredths of a second.
    a.sql(
        "CREATE TABLE numbers (n INTEGER PRIMARY KEY);
         WITH RECURSIVE up (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM up WHERE n < 80)
           INSERT INTO numbers SELECT n FROM up;
         CREATE TRIGGER slow AFTER UPDATE ON notes WHEN NEW.id = 'one' BEGIN
           SELECT count(*) FROM numbers x, numbers y, numbers z WHERE x.n + y.n + z.n > 3;
         END",
    );
    let probe = connect(&file);
    probe.busy_timeout(Duration::ZERO).expect("set");
    let is_free = || probe.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok();
    let mut app = App::start(&file);
    // A machine that halts this test at the wrong moment tells nothing: then again.
    let gave_way = (1..=10).any(|n| {
        b.sql(&format!("UPDATE notes SET n = {n} WHERE id = 'one'"));
        b.sync_now();
        eventually("the turn", || (!is_free()).then_some(()));
        assert_eq!(app.run("BEGIN; SELECT * FROM notes"), "done");
        let still = !is_free();
        eventually("the end of the turn", || is_free().then_some(()));
        let wrote = app.run("UPDATE notes SET n = n + 1 WHERE id = 'two'") == "done";
        assert_eq!(app.run("COMMIT"), "done");
        eventually("what came in", || {
            (query(&file, "SELECT n FROM notes WHERE id = 'one'") == [n.to_string()]).then_some(())
        });
        still && wrote
    });
    assert!(gave_way, "each time the turn broke the transaction");
}

/// A backup, a report, a tool that holds a transaction open for good: the engine goes on beside it.
#[test]
fn somebody_who_reads_for_good_does_not_keep_changes_from_being_captured_and_applied() {
    let (folder, file) = folder();
    let (_relay, a, b) = pair(&folder, &file);
    let mut reader = App::start(&file);
    assert_eq!(reader.run("BEGIN; SELECT * FROM notes"), "done");
    for n in 1..=3 {
        b.sql(&format!("UPDATE notes SET n = {n} WHERE id = 'one'"));
        a.sql(&format!("UPDATE notes SET n = {n} WHERE id = 'two'"));
        for node in [&a, &b] {
            eventually("the change", || {
                let both = vec![n.to_string(); 2];
                (query(node.path(), "SELECT n FROM notes ORDER BY id") == both).then_some(())
            });
        }
    }
}

/// The file event comes when the log is written, and the commit is visible only once the disk has it. The engine looked once, saw
/// nothing, and slept until the next poll.
#[test]
fn an_edit_is_captured_although_no_poll_ever_comes() {
    let (_folder, file) = folder();
    let mut config = Config::default();
    config.poll_interval = PATIENCE * 100;
    drop(Node::create(&file, NOTES));
    let node = Node::open_with(&file, config);
    node.engine().capture().expect("captured");
    let mut feed = node.engine().changes().expect("the engine runs");
    let mut app = App::start(&file);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for _ in 0..30 {
        assert_eq!(app.run("UPDATE notes SET n = n + 1 WHERE id = 'one'"), "done");
        let event = runtime
            .block_on(async { tokio::time::timeout(PATIENCE, feed.next()).await })
            .expect("it is captured although nobody polls");
        assert!(
            matches!(&event, Some(FeedEvent::Changed(changes)) if changes.origin == Origin::Local),
            "{event:?}"
        );
    }
}

/// The connection was given up as "offline", and what came in meanwhile was sent again and again.
#[test]
fn a_file_that_an_app_holds_is_called_busy_and_the_connection_stays() {
    let (folder, file) = folder();
    let relay = TestRelay::in_memory();
    let url = relay.url("busy");
    let mut b = Node::create(folder.path().join("b.db"), NOTES);
    let mut config = Config::default();
    config.busy_timeout = Duration::from_millis(50);
    drop(Node::create(&file, NOTES));
    let mut a = Node::open_with(&file, config);
    a.go_online(&url);
    b.go_online(&url);
    agree(&[&a, &b]);
    let mut states = a.sync().watch();
    states.mark_unchanged();
    let health = a.engine().health();
    let mut app = App::start(&file);
    assert_eq!(app.run("BEGIN IMMEDIATE; UPDATE notes SET n = 1 WHERE id = 'two'"), "done");
    b.sql("UPDATE notes SET n = 7 WHERE id = 'one'");
    b.sync_now();
    eventually("the file to be called busy", || matches!(*health.borrow(), Health::Busy(_)).then_some(()));
    assert_eq!(app.run("COMMIT"), "done");
    eventually("what came in", || {
        (query(&file, "SELECT n FROM notes ORDER BY id") == ["7", "1"]).then_some(())
    });
    eventually("the file to be well", || (*health.borrow() == Health::Well).then_some(()));
    assert!(!states.has_changed().expect("the sync runs"), "the connection broke: {:?}", *states.borrow());
    agree(&[&a, &b]);
}

#[test]
fn the_command_says_that_a_file_is_busy_and_since_when_and_goes_on() {
    let (folder, file) = folder();
    let commands = Commands::get();
    let text = |path: &Path| path.to_str().expect("a path of a test is text").to_owned();
    let (_relay, port) = commands.relay(&folder.path().join("relay"), 0);
    let url = format!("ws://127.0.0.1:{port}/busy");
    sql_new(&file);
    commands.succeed(["track", &text(&file), "--all"]);
    commands.succeed(["sync", &text(&file), &url, "--once"]);
    let other = folder.path().join("b.db");
    commands.succeed(["clone", &url, &text(&other)]);
    let sidecar = commands.sync(&file, &url);
    let app = connect(&file);
    app.execute_batch("BEGIN IMMEDIATE; UPDATE notes SET n = 2 WHERE id = 'two'").expect("it writes");
    // The sidecar has something to apply then.
    sql(&other, "UPDATE notes SET n = 1 WHERE id = 'one'");
    commands.succeed(["sync", &text(&other), &url, "--once"]);
    sidecar.wait_for("is busy: another program has held its write lock for 5");
    app.execute_batch("COMMIT").expect("it commits");
    sidecar.wait_for("is no longer busy");
    assert!(!sidecar.said().contains("offline"), "{}", sidecar.said());
    assert_eq!(sidecar.stop().code, Some(0));
}

fn sql_new(file: &Path) {
    driftless_tests::create_database(file, NOTES);
    sql(file, "PRAGMA journal_mode=WAL");
}
