//! Work that is always the same, for one of the built commands to do and to die of.
//!
//! Each begins with files that are prepared once, as an [`Image`](super::image::Image) of them is put back for every death.
//! What the tables hold in the end does not depend on whether anybody died on the way.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::peace::{sync_all, text};
use super::trace::Start;
use crate::{Commands, Outcome, Process, connect, create_database, free_port, query, sql};

/// How long an app waits for an engine before it writes on.
const TURN: Duration = Duration::from_millis(300);

/// Something to do.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    /// What to call it.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    prepare: fn(&Stage, &str),
    victim: Victim,
    /// Which files there are in the end.
    files: &'static [&'static str],
}

/// Who may die.
#[derive(Debug, Clone, Copy)]
enum Victim {
    /// This command, with FILE (as named) and URL in its arguments.
    Command(&'static [&'static str]),
    /// `driftless sync a.db`, which runs while an app commits these.
    Sync(&'static [&'static str]),
    /// The relay, while a and b sync.
    Relay,
}

const SCHEMA: &str = "
CREATE TABLE item (id TEXT PRIMARY KEY, title TEXT, n INTEGER, hits INTEGER NOT NULL DEFAULT 0, body TEXT, load BLOB);
CREATE TABLE part (id TEXT PRIMARY KEY, item TEXT REFERENCES item, code TEXT UNIQUE);
";
const TRACK: &[&str] = &["--all", "--counter", "item.hits", "--text", "item.body"];
/// What both files have from the beginning.
const BEGIN: &str = "
INSERT INTO item VALUES ('i1', 'one', 1, 0, 'a text to begin with', NULL), ('i2', 'two', 2, 0, 'another text', NULL),
                        ('i3', 'three', 3, 0, NULL, x'00'), ('i4', 'four', 4, 0, 'to be deleted', NULL);
INSERT INTO part VALUES ('p1', 'i1', 'c1'), ('p2', 'i2', 'c2');
";
/// What is written in one place, a statement a transaction: edits, a delete, a counter, a text, a large value, a clash
/// with the other place.
const HERE: &[&str] = &[
    "UPDATE item SET title = 'one, here' WHERE id = 'i1'",
    "UPDATE item SET hits = hits + 3 WHERE id = 'i2'",
    "UPDATE item SET body = 'a longer text to begin with' WHERE id = 'i1'",
    "BEGIN; INSERT INTO item VALUES ('h1', 'here', 5, 1, NULL, NULL); INSERT INTO part VALUES ('ph1', 'h1', 'c3'); COMMIT",
    "DELETE FROM part WHERE id = 'p2'",
    "DELETE FROM item WHERE id = 'i4'",
    "INSERT INTO item VALUES ('h2', 'large', 6, 0, NULL, zeroblob(9000))",
    "UPDATE item SET n = n + 10",
];
/// More rows than one turn captures, so that their transaction travels in parts.
const MANY: &[&str] = &["WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < 1050)
     INSERT INTO item (id, n) SELECT printf('m%05d', i), i FROM i"];
/// And in the other, at the same time.
const THERE: &[&str] = &[
    "UPDATE item SET title = 'one, there', hits = hits + 4 WHERE id IN ('i1', 'i2')",
    "UPDATE item SET body = 'a text to begin and end with' WHERE id = 'i1'",
    "INSERT INTO part VALUES ('pt1', 'i4', 'c3')",
];
/// What the other writes when nobody is to be in conflict.
const ELSEWHERE: &[&str] = &[
    "UPDATE item SET hits = hits + 4 WHERE id = 'i2'",
    "UPDATE item SET body = 'a text to begin and end with' WHERE id = 'i1'",
    "INSERT INTO item VALUES ('t1', 'there', 9, 2, 'more', NULL)",
];
/// What an app writes while a sync runs.
const MEANWHILE: &[&str] = &[
    "UPDATE item SET title = 'one, live' WHERE id = 'i1'",
    "UPDATE item SET hits = hits + 1 WHERE id = 'i2'",
    "BEGIN; INSERT INTO item VALUES ('l1', 'live', 5, 1, NULL, NULL); INSERT INTO part VALUES ('pl1', 'l1', 'c9'); COMMIT",
    "UPDATE item SET body = body || ', and more' WHERE id = 'i2'",
    "DELETE FROM part WHERE id = 'p2'",
    "UPDATE item SET hits = hits + 2 WHERE id = 'i2'",
];

/// All of them.
pub const ALL: &[Workload] = &[
    Workload {
        name: "capture",
        about: "sync --once of a file with transactions that nobody has captured yet",
        prepare: |stage, url| {
            stage.meet(url);
            stage.write("a", HERE);
            stage.write("a", MANY);
        },
        victim: Victim::Command(&["sync", "a", "URL", "--once", "--timeout", "20"]),
        files: &["a", "b"],
    },
    Workload {
        name: "apply",
        about: "sync --once of a file that takes in others' changesets, with conflicts and a parked row",
        prepare: |stage, url| {
            stage.meet(url);
            stage.write("b", THERE);
            stage.write("a", HERE);
            stage.write("a", MANY);
            stage.sync("a", url);
        },
        victim: Victim::Command(&["sync", "b", "URL", "--once", "--timeout", "20"]),
        files: &["a", "b"],
    },
    Workload {
        name: "first-sync",
        about: "the first sync of a file with rows, which makes the space",
        prepare: |stage, _| {
            stage.create("a", &[BEGIN]);
            stage.write("a", HERE);
            stage.track("a");
        },
        victim: Victim::Command(&["sync", "a", "URL", "--once", "--timeout", "20"]),
        files: &["a"],
    },
    Workload {
        name: "live",
        about: "a sync that runs while an app commits, and is told to stop",
        prepare: |stage, url| {
            stage.meet(url);
            stage.write("b", ELSEWHERE);
            stage.sync("b", url);
        },
        victim: Victim::Sync(MEANWHILE),
        files: &["a", "b"],
    },
    Workload {
        name: "clone",
        about: "clone into a new file",
        prepare: |stage, url| {
            stage.meet(url);
            stage.write("a", HERE);
            stage.sync("a", url);
        },
        victim: Victim::Command(&["clone", "URL", "c"]),
        files: &["a", "c"],
    },
    Workload {
        name: "schema",
        about: "sync --once after ALTER TABLE, a new index, and a table that was dropped and made again",
        prepare: |stage, url| {
            stage.meet(url);
            stage.write("b", THERE);
            stage.sync("b", url);
            for file in ["a", "b"] {
                stage.write(
                    file,
                    &[
                        "ALTER TABLE item ADD COLUMN extra TEXT DEFAULT 'none'; CREATE INDEX by_n ON item (n);
                         ALTER TABLE item DROP COLUMN load",
                        "DROP TABLE part;
                         CREATE TABLE part (id TEXT PRIMARY KEY, item TEXT REFERENCES item, code TEXT, more INTEGER);
                         CREATE UNIQUE INDEX part_code ON part (code)",
                    ],
                );
            }
            stage.write(
                "a",
                &[
                    "INSERT INTO part VALUES ('new', 'i1', 'c8', 1)",
                    "UPDATE item SET extra = 'some' WHERE n < 3",
                ],
            );
        },
        victim: Victim::Command(&["sync", "a", "URL", "--once", "--timeout", "20"]),
        files: &["a", "b"],
    },
    Workload {
        name: "relay-append",
        about: "the relay, while two files send it changesets",
        prepare: |stage, url| {
            stage.meet(url);
            stage.write("a", HERE);
            stage.write("b", THERE);
        },
        victim: Victim::Relay,
        files: &["a", "b"],
    },
    Workload {
        name: "relay-snapshot",
        about: "a relay that has lost its data, while two files fill it again",
        prepare: |stage, url| {
            stage.meet(url);
            stage.write("a", HERE);
            stage.write("b", THERE);
            for file in ["a", "b", "a", "b"] {
                stage.sync(file, url);
            }
            stage.forget_relay.set(true);
        },
        victim: Victim::Relay,
        files: &["a", "b"],
    },
    Workload {
        name: "track",
        about: "track of a file with rows",
        prepare: |stage, _| {
            stage.create("a", &[BEGIN]);
            stage.write("a", HERE);
        },
        victim: Victim::Command(&["track", "a", "--all", "--counter", "item.hits", "--text", "item.body"]),
        files: &["a"],
    },
    Workload {
        name: "repair",
        about: "verify --repair of a file that lost documents and a row, and was written to behind the triggers' back",
        prepare: |stage, url| {
            stage.meet(url);
            stage.write("b", THERE);
            stage.write("a", &["INSERT INTO item (id) VALUES ('gone')"]);
            stage.sync("b", url);
            stage.sync("a", url);
            stage.sync("b", url);
            stage.write(
                "a",
                &["DELETE FROM _driftless_documents WHERE id IN
                     (SELECT doc FROM _driftless_rows
                      WHERE tbl = (SELECT id FROM _driftless_tables WHERE name = 'part'));
                   INSERT INTO _driftless_applying VALUES (1);
                   UPDATE item SET n = 77 WHERE id = 'i3';
                   DELETE FROM item WHERE id = 'gone';
                   DELETE FROM _driftless_applying"],
            );
        },
        victim: Victim::Command(&["verify", "a", "URL", "--repair", "--timeout", "20"]),
        files: &["a", "b"],
    },
];

/// A folder with the files of a workload, and where its relay is.
#[derive(Debug)]
pub struct Stage {
    folder: PathBuf,
    port: Cell<u16>,
    forget_relay: Cell<bool>,
}

impl Stage {
    /// In this folder, which is empty; prepared for this workload, with nobody running.
    pub fn prepare(folder: &Path, workload: &Workload) -> Self {
        let stage = Self { folder: folder.to_owned(), port: 0.into(), forget_relay: false.into() };
        let mut relay = stage.relay(Start::Plainly);
        assert!(relay.says("listening on"), "the relay does not start: {}", relay.said());
        (workload.prepare)(&stage, &stage.url());
        relay.kill();
        if stage.forget_relay.get() {
            std::fs::remove_dir_all(stage.data()).expect("the relay's folder can be removed");
        }
        stage
    }

    /// One of the files, by its short name.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.db"))
    }

    /// The relay's folder.
    pub fn data(&self) -> PathBuf {
        self.folder.join("relay")
    }

    /// Whether the relay's data were lost before the work begins: then it lacks what it had acknowledged.
    pub fn has_lost_relay(&self) -> bool {
        self.forget_relay.get()
    }

    /// The space, where the relay was last.
    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/space", self.port.get())
    }

    /// Starts the relay, each time elsewhere: others may have taken the port in between.
    pub fn relay(&self, start: Start<'_>) -> Process {
        self.port.set(free_port());
        let listen = format!("127.0.0.1:{}", self.port.get());
        start.start("driftless-relay", &["--listen", &listen, "--data", text(&self.data())])
    }

    fn create(&self, name: &str, statements: &[&str]) {
        create_database(&self.file(name), SCHEMA);
        self.write(name, statements);
    }

    /// Each in a connection's own transaction; the connection is an app's.
    /// In a millisecond of its own: of two writes in the same one, chance decides which shows.
    fn write(&self, name: &str, statements: &[&str]) {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let begun = now();
        while now() == begun {
            std::hint::spin_loop();
        }
        let connection = connect(&self.file(name));
        for statement in statements {
            connection.execute_batch(statement).unwrap_or_else(|error| panic!("{error} in: {statement}"));
        }
    }

    fn track(&self, name: &str) {
        let file = self.file(name);
        Commands::get().succeed(["track", text(&file)].into_iter().chain(TRACK.iter().copied()));
    }

    fn sync(&self, name: &str, url: &str) {
        Commands::get().succeed(["sync", text(&self.file(name)), url, "--once", "--timeout", "30"]);
    }

    /// Two files in one space that agree.
    fn meet(&self, url: &str) {
        self.create("a", &[BEGIN]);
        self.track("a");
        self.create("b", &[]);
        self.track("b");
        sync_all(&[self.file("a"), self.file("b")], url);
    }
}

impl Workload {
    /// The one of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|workload| workload.name == name)
    }

    /// The files that are to agree in the end.
    pub fn files(&self, stage: &Stage) -> Vec<PathBuf> {
        self.files.iter().map(|name| stage.file(name)).collect()
    }

    /// Does the work once, its victim started like this, and returns how that one ended. Nothing runs afterwards: a relay
    /// that is not the victim is killed.
    pub fn run(&self, stage: &Stage, start: Start<'_>) -> Outcome {
        match self.victim {
            Victim::Command(_) => {
                let _relay = self.relay(stage);
                let arguments = self.arguments(stage);
                start.start("driftless", &arguments.iter().map(String::as_str).collect::<Vec<_>>()).outcome()
            }
            Victim::Sync(statements) => {
                let _relay = self.relay(stage);
                let file = stage.file("a");
                let mut sync = start.start("driftless", &["sync", text(&file), &stage.url()]);
                // Or it fails, and goes on trying.
                sync.says_any(&["online with", "trying again"]);
                for statement in statements {
                    sql(&file, statement);
                    let committed = Instant::now();
                    // Each is a turn of its own, unless the engine dies or cannot.
                    while !sync.has_ended()
                        && committed.elapsed() < TURN
                        && query(&file, "SELECT count(*) FROM _driftless_dirty") != ["0"]
                    {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                }
                sync.stop_if_alive()
            }
            Victim::Relay => {
                let relay = stage.relay(start);
                let url = stage.url();
                if relay.says("listening on") {
                    for name in ["a", "b", "a"] {
                        // It may be there or not; that is the point.
                        let file = stage.file(name);
                        Commands::get().driftless(["sync", text(&file), &url, "--once", "--timeout", "2"]);
                    }
                }
                relay.stop_if_alive()
            }
        }
    }

    /// Does again, with nothing in its way, what may have been cut short; the relay runs.
    pub fn again(&self, stage: &Stage) {
        match self.victim {
            Victim::Command(["clone", ..]) if stage.file("c").exists() => {} // it was as good as done
            Victim::Command(_) => {
                Commands::get().succeed(self.arguments(stage).iter().map(String::as_str));
            }
            Victim::Sync(_) | Victim::Relay => {}
        }
    }

    fn arguments(&self, stage: &Stage) -> Vec<String> {
        let Victim::Command(words) = self.victim else { return Vec::new() };
        let argument = |word: &&str| match *word {
            "a" | "b" | "c" => text(&stage.file(word)).to_owned(),
            "URL" => stage.url(),
            other => other.to_owned(),
        };
        words.iter().map(argument).collect()
    }

    /// Whether the relay is the victim.
    pub fn torments_relay(&self) -> bool {
        matches!(self.victim, Victim::Relay)
    }

    fn relay(&self, stage: &Stage) -> Process {
        let relay = stage.relay(Start::Plainly);
        assert!(relay.says("listening on"), "the relay does not start: {}", relay.said());
        relay
    }
}
