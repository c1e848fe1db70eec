//! The bugs that can be planted in the engine: each changes what somebody sees, in the smallest scenario that
//! shows it, and only where it is planted. Whether a simulator that knows nothing of these scenarios finds
//! them is for the simulator to tell.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use driftless::planted::{Bug, plant};
use driftless::sim::Replica;
use driftless::{Config, ReplicaId, StateVector, TableOptions};
use driftless_protocol::message::Welcome;
use driftless_protocol::{Changeset, SnapshotPart, SpaceId};
use driftless_tests::{create_database, later, query, sql};
use rusqlite::backup::Backup;
use tempfile::TempDir;

const ROWS: &str = "CREATE TABLE t (id TEXT PRIMARY KEY, v, w)";
const UNIQUE: &str = "CREATE TABLE t (id TEXT PRIMARY KEY, u TEXT UNIQUE)";

/// Some files of one schema, open, between which changesets are carried by hand.
struct Files {
    folder: TempDir,
    config: Config,
    open: Vec<Option<Replica>>,
}

impl Files {
    fn new(count: usize, schema: &str, tables: &[&str], options: TableOptions) -> Self {
        Self::with(Config::default(), count, schema, tables, options)
    }

    fn with(config: Config, count: usize, schema: &str, tables: &[&str], options: TableOptions) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut files = Self { folder, config, open: Vec::new() };
        for n in 0..count {
            create_database(&files.path(n), schema);
            files.open.push(None);
            files.reopen(n);
            files.node(n).track(tables, options.clone()).expect("tracked");
        }
        files.exchange();
        files
    }

    fn path(&self, n: usize) -> PathBuf {
        self.folder.path().join(format!("{n}.db"))
    }

    fn node(&mut self, n: usize) -> &mut Replica {
        self.open[n].as_mut().expect("it is open")
    }

    fn reopen(&mut self, n: usize) {
        self.open[n] = None;
        self.open[n] = Some(Replica::open(self.path(n), self.config.clone()).expect("opened"));
    }

    /// Copies a file while it is closed, and opens both. Returns the copy's number.
    fn copy(&mut self, n: usize) -> usize {
        self.open[n] = None;
        let copy = self.open.len();
        std::fs::copy(self.path(n), self.path(copy)).expect("copied");
        self.open.push(None);
        self.reopen(n);
        self.reopen(copy);
        copy
    }

    /// What an app writes, captured.
    fn write(&mut self, n: usize, statements: &str) {
        sql(&self.path(n), statements);
        self.node(n).turn(Vec::new()).expect("captured");
    }

    /// The same, written at this time.
    fn write_at(&mut self, n: usize, time: i64, statements: &str) {
        sql(&self.path(n), &format!("{statements}; UPDATE _driftless_dirty SET at = {time}"));
        self.node(n).turn(Vec::new()).expect("captured");
    }

    /// The last `count` changesets of one.
    fn last(&mut self, n: usize, count: usize) -> Vec<Bytes> {
        let all = self.node(n).changesets_after(0).expect("changesets");
        all[all.len() - count..].to_vec()
    }

    fn hand(&mut self, to: usize, changesets: Vec<Bytes>) {
        self.node(to).turn(changesets).expect("applied");
    }

    /// One gets everything that another captured.
    fn give(&mut self, from: usize, to: usize) {
        let all = self.node(from).changesets_after(0).expect("changesets");
        self.hand(to, all);
    }

    /// All get everything that all have captured.
    fn exchange(&mut self) {
        let all: Vec<Vec<Bytes>> =
            self.open.iter().flatten().map(|node| node.changesets_after(0).expect("changesets")).collect();
        for to in 0..self.open.len() {
            for (_, changesets) in all.iter().enumerate().filter(|(from, _)| *from != to) {
                self.hand(to, changesets.clone());
            }
        }
    }

    /// A relay that holds this says so.
    fn welcome(&mut self, n: usize, space: SpaceId, heads: StateVector) {
        let welcome = Welcome { space, heads, own: None };
        self.node(n).welcome(&welcome).expect("welcomed");
    }

    fn id(&mut self, n: usize) -> ReplicaId {
        self.node(n).replica_id()
    }

    fn held(&mut self, n: usize, of: ReplicaId) -> String {
        self.node(n).vector().expect("a vector").get(of).to_string()
    }

    fn see(&self, n: usize, select: &str) -> Vec<String> {
        query(&self.path(n), select)
    }

    /// What one sees, and another, and whether it is the same. For values of which chance says which is
    /// shown.
    fn agree(&self, select: &str) -> Vec<String> {
        vec![(self.see(0, select) == self.see(1, select)).to_string()]
    }

    fn see_both(&self, select: &str) -> Vec<String> {
        [self.see(0, select), vec!["|".to_owned()], self.see(1, select)].concat()
    }

    /// The columns that are in conflict.
    fn conflicts(&self, n: usize) -> Vec<String> {
        let all = driftless::conflicts(self.path(n)).expect("conflicts");
        all.into_iter().map(|conflict| conflict.column).collect()
    }
}

fn small_turns() -> Config {
    let mut config = Config::default();
    config.turn_rows = 1;
    config
}

/// Two files with two rows, whose engines take a table that was made anew as they find it.
fn rebuilt_rows() -> Files {
    let mut config = Config::default();
    config.rebuild_quiet = Duration::ZERO;
    let mut files = Files::with(config, 2, ROWS, &["t"], TableOptions::default());
    files.write(0, "INSERT INTO t VALUES ('1', 0, 0), ('2', 0, 0)");
    files.exchange();
    files
}

fn small_changesets() -> Config {
    let mut config = Config::default();
    config.changeset_bytes = 1;
    config
}

/// What somebody sees in the smallest scenario that shows a bug. `None`: not in what replicas show; the
/// crates have a test of their own.
fn seen(bug: Bug) -> Option<Vec<String>> {
    let rows = |count| Files::new(count, ROWS, &["t"], TableOptions::default());
    let unique = || Files::new(2, UNIQUE, &["t"], TableOptions::default());
    let text = |body: &str| {
        let mut files = Files::new(2, ROWS, &["t"], TableOptions::default().text("v"));
        files.write(0, &format!("INSERT INTO t VALUES ('1', '{body}', NULL)"));
        files.exchange();
        files
    };
    let counter = || {
        let mut files = Files::new(2, ROWS, &["t"], TableOptions::default().counter("v"));
        files.write(0, "INSERT INTO t VALUES ('1', 0, NULL)");
        files.write(0, "UPDATE t SET v = 9");
        files.exchange();
        files
    };
    let one_row = |count| {
        let mut files = rows(count);
        files.write(0, "INSERT INTO t VALUES ('1', 0, 0)");
        files.exchange();
        files
    };
    let both_edit = |files: &mut Files| {
        files.write(0, "UPDATE t SET v = 'a'");
        files.write(1, "UPDATE t SET v = 'b'");
        files.exchange();
    };
    let all = "SELECT * FROM t ORDER BY id";
    Some(match bug {
        Bug::ReusedSeq | Bug::SeqFromAcknowledged => {
            let mut files = one_row(1);
            let (id, space) = (files.id(0), SpaceId::random());
            let heads = files.node(0).vector().expect("a vector");
            files.welcome(0, space, heads);
            if bug == Bug::SeqFromAcknowledged {
                files.welcome(0, space, StateVector::new());
            }
            files.reopen(0);
            files.write(0, "UPDATE t SET v = 1");
            let last = Changeset::from_bytes(files.last(0, 1).remove(0)).expect("a changeset");
            vec![last.header.seq.to_string(), files.held(0, id)]
        }
        Bug::CopyKeepsName => {
            let mut files = one_row(1);
            let copy = files.copy(0);
            vec![(files.id(0) == files.id(copy)).to_string()]
        }
        Bug::WriterReused => {
            let mut files = one_row(1);
            files.copy(0);
            both_edit(&mut files);
            files.agree(all)
        }
        Bug::SwallowedDelete => {
            let mut files = one_row(2);
            both_edit(&mut files);
            files.write(0, "DELETE FROM t");
            files.exchange();
            files.see_both("SELECT count(*) FROM t")
        }
        Bug::EvictionUnmarked => {
            let mut files = unique();
            files.write(0, "INSERT INTO t VALUES ('1', 'x')");
            files.exchange();
            files.write(0, "INSERT OR REPLACE INTO t VALUES ('2', 'x')");
            files.exchange();
            files.see_both(all)
        }
        Bug::HalfTransaction => {
            let mut files = Files::with(small_changesets(), 2, ROWS, &["t"], TableOptions::default());
            files.write(0, "BEGIN; INSERT INTO t (id) VALUES ('1'), ('2'), ('3'); COMMIT");
            let first = files.last(0, 3).remove(0);
            files.hand(1, vec![first]);
            files.see(1, all)
        }
        Bug::AppliedBeforeCapture => {
            let mut files = Files::with(small_turns(), 2, ROWS, &["t"], TableOptions::default());
            files.write(0, "INSERT INTO t (id) VALUES ('1'), ('2')");
            files.exchange();
            files.write(0, "UPDATE t SET v = 'a' WHERE id = '2'");
            sql(&files.path(1), "UPDATE t SET v = 'b'");
            files.give(0, 1);
            files.conflicts(1)
        }
        Bug::OwnValueWins => {
            let mut files = one_row(2);
            files.write_at(0, 7, "UPDATE t SET v = 'a'");
            files.write_at(1, 7, "UPDATE t SET v = 'b'");
            files.exchange();
            files.agree(all)
        }
        Bug::ConflictForgotten => {
            let mut files = one_row(2);
            both_edit(&mut files);
            files.conflicts(0)
        }
        Bug::FloorForgotten => {
            let mut files = one_row(3);
            files.write(1, "UPDATE t SET v = 2, w = 2");
            files.give(1, 2);
            files.write(2, "UPDATE t SET v = 3, w = 3");
            files.write(0, "UPDATE t SET w = 9");
            files.exchange();
            files.conflicts(2)
        }
        Bug::CounterSet => {
            let mut files = counter();
            (0..2).for_each(|n| files.write(n, "UPDATE t SET v = v + 1"));
            files.exchange();
            files.see_both(all)
        }
        Bug::VectorPastGap => {
            let mut files = rows(2);
            (1..=2).for_each(|n| files.write(0, &format!("INSERT INTO t (id) VALUES ('{n}')")));
            let mut both = files.last(0, 2);
            both.reverse();
            files.hand(1, both);
            files.see(1, all)
        }
        Bug::AnswerBeforeQuestion => {
            let mut files = rows(3);
            files.write(0, "INSERT INTO t (id) VALUES ('question')");
            files.give(0, 1);
            files.write(1, "INSERT INTO t (id) VALUES ('answer')");
            files.give(1, 2);
            files.see(2, all)
        }
        Bug::UniqueByArrival | Bug::ParkedStays => {
            let mut files = unique();
            (0..2).for_each(|n| files.write(n, &format!("INSERT INTO t VALUES ('{n}', 'x')")));
            files.exchange();
            if bug == Bug::ParkedStays {
                files.write(0, "DELETE FROM t");
                files.exchange();
            }
            files.see_both(all)
        }
        Bug::ClaimForgotten => {
            let schema = "CREATE TABLE p (id TEXT PRIMARY KEY);
                          CREATE TABLE t (id TEXT PRIMARY KEY, u TEXT UNIQUE, p REFERENCES p)";
            let mut files = Files::new(2, schema, &["p", "t"], TableOptions::default());
            files.write(0, "INSERT INTO p VALUES ('p')");
            files.exchange();
            files.write(0, "INSERT INTO t VALUES ('1', 'x', 'p')");
            files.write(1, "DELETE FROM p");
            files.exchange();
            files.write(1, "INSERT INTO t VALUES ('2', 'x', NULL)");
            files.see(1, all)
        }
        Bug::CascadeNotFollowed => {
            let schema = "CREATE TABLE g (id TEXT PRIMARY KEY);
                          CREATE TABLE p (id TEXT PRIMARY KEY, g REFERENCES g);
                          CREATE TABLE t (id TEXT PRIMARY KEY, p REFERENCES p)";
            let mut files = Files::new(2, schema, &["g", "p", "t"], TableOptions::default());
            files.write(0, "INSERT INTO g VALUES ('g')");
            files.exchange();
            files.write(0, "INSERT INTO p VALUES ('p', 'g'); INSERT INTO t VALUES ('t', 'p')");
            files.write(1, "DELETE FROM g");
            files.exchange();
            files.see_both(all)
        }
        Bug::TextOffsetsInCharacters => {
            let mut files = text("😀 one two");
            files.write(0, "UPDATE t SET v = '😀 one and two'");
            files.exchange();
            files.see_both(all)
        }
        Bug::TextReplacedWhole => {
            let mut files = text("one two");
            files.write(0, "UPDATE t SET v = 'zero one two'");
            files.write(1, "UPDATE t SET v = 'one two three'");
            files.exchange();
            files.see_both(all)
        }
        Bug::TypeLost => {
            let mut files = rows(2);
            files.write(0, "INSERT INTO t VALUES ('1', 1.0, 0.5)");
            files.exchange();
            files.see_both(all)
        }
        Bug::TimeOfCapture => {
            let mut files = one_row(2);
            files.write_at(0, 2, "UPDATE t SET v = 'later'");
            later();
            files.write_at(1, 1, "UPDATE t SET v = 'earlier'");
            files.exchange();
            files.see_both("SELECT v FROM t")
        }
        Bug::SnapshotCountsWaiting => {
            let mut files = Files::with(small_changesets(), 2, ROWS, &["t"], TableOptions::default());
            files.write(0, "BEGIN; INSERT INTO t (id) VALUES ('1'), ('2'); COMMIT");
            let (author, first) = (files.id(0), files.last(0, 2).remove(0));
            files.hand(1, vec![first]);
            let last = files.node(1).snapshot().expect("a snapshot").pop().expect("a part");
            let part = SnapshotPart::from_bytes(last).expect("a part");
            vec![part.header.vector.get(author).to_string()]
        }
        Bug::SnapshotLowersVector => {
            let mut files = one_row(3);
            let (author, snapshot) = (files.id(0), files.node(2).snapshot().expect("a snapshot"));
            files.write(0, "UPDATE t SET v = 1");
            files.give(0, 1);
            files.node(1).take_snapshot(snapshot).expect("taken");
            vec![files.held(1, author)]
        }
        Bug::DeletesWinTooLate => {
            let mut files = Files::new(2, ROWS, &["t"], TableOptions::default().deletes_win());
            files.write(0, "INSERT INTO t VALUES ('1', 0, 0)");
            files.exchange();
            files.write(0, "UPDATE t SET v = 1");
            files.write(1, "DELETE FROM t");
            files.exchange();
            files.see_both(all)
        }
        Bug::KeyNotFolded => {
            let schema = "CREATE TABLE t (id TEXT COLLATE NOCASE PRIMARY KEY, v)";
            let mut files = Files::new(2, schema, &["t"], TableOptions::default());
            files.write(0, "INSERT INTO t VALUES ('Key', 'a')");
            files.write(1, "INSERT INTO t VALUES ('KEY', 'b')");
            files.exchange();
            files.agree("SELECT v FROM t")
        }
        Bug::TriggerCountsTwice => {
            let schema =
                "CREATE TABLE t (id TEXT PRIMARY KEY); CREATE TABLE s (id TEXT PRIMARY KEY, n INTEGER);
                          CREATE TRIGGER counts AFTER INSERT ON t BEGIN UPDATE s SET n = n + 1; END";
            let mut files = Files::new(2, schema, &["s", "t"], TableOptions::default().counter("s.n"));
            files.write(0, "INSERT INTO s VALUES ('all', 0)");
            files.exchange();
            files.write(0, "INSERT INTO t VALUES ('1')");
            files.exchange();
            files.see_both("SELECT n FROM s")
        }
        Bug::RebuiltRefilled | Bug::RebuiltKeepsDeleted => {
            let mut files = rebuilt_rows();
            files.write(
                0,
                "DROP TABLE t; CREATE TABLE t (id TEXT PRIMARY KEY, v, w); INSERT INTO t VALUES ('1', 'edited', 0)",
            );
            files.exchange();
            files.see_both(all)
        }
        Bug::LostMarksKept => {
            let mut files = rebuilt_rows();
            files.write(
                0,
                "UPDATE t SET v = 'edited' WHERE id = '1'; DROP TABLE t; CREATE TABLE t (id TEXT PRIMARY KEY, v, w)",
            );
            files.exchange();
            files.see_both(all)
        }
        Bug::RestoreUnnoticed => {
            let mut files = one_row(2);
            let saved = files.folder.path().join("saved.db");
            sql(&files.path(0), &format!("VACUUM INTO '{}'", saved.display()));
            files.write(0, "UPDATE t SET v = 1");
            files.exchange();
            let mut app = driftless_tests::connect(&files.path(0));
            let from = driftless_tests::connect(&saved);
            Backup::new(&from, &mut app).expect("begun").step(-1).expect("restored");
            files.write(0, "UPDATE t SET v = 2");
            files.exchange();
            files.see_both("SELECT v FROM t")
        }
        Bug::OutboxEmptiedEarly | Bug::UnsyncedCommits => return None,
    })
}

#[test]
fn every_planted_bug_changes_what_somebody_sees_and_nothing_does_while_none_is_planted() {
    let mut harmless = Vec::new();
    for &bug in Bug::ALL {
        let Some(right) = seen(bug) else { continue };
        assert_eq!(
            seen(bug),
            Some(right.clone()),
            "{}: nothing is planted, and it is not the same twice",
            bug.name()
        );
        plant(Some(bug));
        let wrong = seen(bug).expect("a scenario");
        plant(None);
        if wrong == right {
            harmless.push(bug.name());
        }
    }
    assert!(harmless.is_empty(), "these change nothing: {harmless:?}");
}

/// The features with which cargo builds the engine and the relay, as it lists them.
fn features(what: &[&str]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "features,no-dev", "--prefix", "none"])
        .args(what)
        .current_dir(root)
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    String::from_utf8(tree.stdout).expect("text")
}

/// `cargo build --release` in the workspace's folder built the tests as well, and so the command with whatever features they
/// switch on.
#[test]
fn what_is_built_to_be_released_has_no_bugs_to_plant() {
    for what in [&[][..], &["--package", "driftless"], &["--package", "driftless-relay"]] {
        let built = features(what);
        assert!(built.contains("driftless-protocol v"), "{what:?} {built}");
        assert!(
            !built.contains("feature \"planted\"") && !built.contains("feature \"sim\""),
            "{what:?} {built}"
        );
    }
    let tests = features(&["--workspace"]);
    for package in ["driftless", "driftless-relay"] {
        assert!(tests.contains(&format!("{package} feature \"planted\"")), "{tests}");
    }
}
