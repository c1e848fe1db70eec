//! A whole replica. The input is a script: changesets of forged rows, texts and definitions by others, in any order and
//! in parts, between plain SQL of the user's. Whatever comes in, every turn succeeds, the user's statements do, the file
//! proves to be whole afterwards, and a proper changeset is applied.
#![no_main]

mod bounds;

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use driftless::{Config, TableOptions, VerifyOptions, sim, verify};
use driftless_protocol::canonical::Writer;
use driftless_protocol::changeset::BodyBuilder;
use driftless_protocol::lane::{Cell, Content, Counter, Floor, Lane, LaneName, ROW_ROOT, Seen, TEXT_ROOT};
use driftless_protocol::{
    Changeset, ChangesetHeader, Collation, Part, ReplicaId, RowKey, Seq, SnapshotHeader, SnapshotPart,
    StateVector, Value, WriterId,
};
use libfuzzer_sys::fuzz_target;
use rusqlite::Connection;

/// SQLite and the engine take so much whatever comes in.
const MEMORY: usize = 48 << 20;

const SCHEMA: &str = "
    CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT NOT NULL DEFAULT '' UNIQUE, body TEXT, n INTEGER DEFAULT 0,
                        CHECK (n < 1000));
    CREATE TABLE tags (note TEXT REFERENCES notes(id) ON DELETE CASCADE, name TEXT COLLATE NOCASE,
                       PRIMARY KEY (note, name));
    INSERT INTO notes VALUES ('a', 'one', 'text', 1), ('b', 'two', 'more text', 2);
    INSERT INTO tags VALUES ('a', 'x');";

/// The tables that rows are forged for, and keys that mean something in them.
const TABLES: [&str; 4] = ["notes", "tags", "_driftless_definitions", "ghosts"];
const KEYS: [&str; 5] = ["a", "b", "notes", "tags", "ghosts"];
/// Columns of all of them; the first is the life register.
const COLUMNS: [&str; 14] = [
    "",
    "id",
    "title",
    "body",
    "n",
    "note",
    "name",
    "sql",
    "indexes",
    "kinds",
    "renames",
    "spelled",
    "deletes_win",
    "integer_key",
];
/// Texts that mean something in the columns of the definitions.
const TEXTS: [&str; 8] = [
    "a",
    "text body",
    "counter n\ntext title",
    "heading\ttitle",
    "title\tbody\nbody\ttitle",
    "ghosts",
    "CREATE TABLE ghosts (id TEXT PRIMARY KEY, n INTEGER)",
    "two",
];
const STATEMENTS: [&str; 8] = [
    "UPDATE OR IGNORE notes SET body = body || '!', n = n + 1",
    "INSERT OR REPLACE INTO notes (id, title) VALUES ('c', 'three')",
    "DELETE FROM notes WHERE id = 'a'",
    "INSERT OR IGNORE INTO tags VALUES ('b', 'Y')",
    "UPDATE OR IGNORE notes SET title = 'two'",
    "UPDATE OR IGNORE notes SET id = id || id WHERE length(id) < 4",
    "CREATE TABLE IF NOT EXISTS ghosts (id TEXT PRIMARY KEY, n INTEGER)",
    "DELETE FROM tags",
];

fuzz_target!(|data: &[u8]| {
    bounds::within_and(MEMORY, data.len(), || DESK.with_borrow(|desk| play(desk, data)));
});

thread_local! {
    static DESK: RefCell<Desk> = RefCell::new(Desk::new());
}

/// A file, and what is in it at first.
struct Desk {
    file: PathBuf,
    fresh: Vec<u8>,
}

impl Desk {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("driftless-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("replica.db");
        let _ = std::fs::remove_file(&file); // of a process before this one
        Connection::open(&file).and_then(|connection| connection.execute_batch(SCHEMA)).expect("a database");
        let mut replica = sim::Replica::open(&file, Config::default()).expect("opens");
        let options = TableOptions::default().text("notes.body").counter("notes.n");
        replica.track(&["notes", "tags"], options).expect("tracks");
        drop(replica);
        Self { fresh: std::fs::read(&file).expect("the file"), file }
    }

    fn sql(&self, statement: &str) {
        let connection = Connection::open(&self.file).expect("opens");
        // A forged definition may have renamed what it names; but nothing of ours may be in its way.
        if let Err(error) = connection.execute_batch(statement) {
            assert!(!error.to_string().contains("driftless"), "{statement}: {error}");
        }
    }
}

fn play(desk: &Desk, data: &[u8]) {
    for ending in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{ending}", desk.file.display())); // mostly there is none
    }
    std::fs::write(&desk.file, &desk.fresh).expect("written");
    let mut replica = sim::Replica::open(&desk.file, hurried()).expect("opens");
    let mut script = Script { left: data };
    let mut forger = Forger::default();
    let mut coming = Vec::new();
    while let Some(step) = script.byte() {
        match step % 10 {
            0..=3 => forger.lane(&mut script),
            4 => forger.row(&mut script),
            5 => forger.text(&mut script),
            6 => coming.push(forger.seal(&mut script)),
            7 => replica.turn(std::mem::take(&mut coming)).expect("a turn succeeds"),
            8 => desk.sql(STATEMENTS[usize::from(step / 10) % STATEMENTS.len()]),
            _ => replica.take_snapshot(vec![forger.seal_part(&mut script)]).expect("a turn succeeds"),
        }
    }
    coming.push(forger.seal(&mut script));
    replica.turn(coming).expect("a turn succeeds");
    // What the space defines may be refused; then it is not made.
    let _ = replica.make_defined_tables();
    replica.turn(vec![proper()]).expect("a turn succeeds");
    let status = driftless::status(&desk.file).expect("reads");
    assert_eq!(status.vector.get(friend()), 1, "a proper changeset is applied: {status:#?}");
    // With the file to itself, it also judges anew what is parked.
    drop(replica);
    let found = verify(&desk.file, &VerifyOptions::default()).expect("can be verified");
    for check in found.checks.iter().filter(|check| check.name != "quarantine") {
        assert_eq!(check.differences, 0, "{check:#?}");
    }
}

/// Nobody else writes to the file, so the lock need not be left alone in between.
fn hurried() -> Config {
    let mut config = Config::default();
    config.turn_gap = Duration::ZERO;
    config
}

fn friend() -> ReplicaId {
    ReplicaId::from_bytes([9; 16]).expect("not nil")
}

/// A note by somebody who means well.
fn proper() -> bytes::Bytes {
    let mut body = BodyBuilder::new();
    let mut lane = Lane::default();
    for (column, value) in [("", Value::Integer(1)), ("id", Value::text("proper"))] {
        let content = Content::Value(value);
        lane.cells.push(Cell { column: column.into(), content, time: 5, number: 1, seen: Vec::new() });
    }
    body.row("notes", &key("proper"), &update_of(WriterId::from_bits(99), &lane.to_bytes()));
    let header = ChangesetHeader {
        replica: friend(),
        seq: Seq::FIRST,
        part: Part::Whole,
        after: StateVector::new(),
        time: 0,
    };
    Changeset::seal(header, &body.finish()).bytes().clone()
}

fn key(text: &str) -> RowKey {
    RowKey::encode([(&Value::text(text), Collation::Binary)]).expect("a short key")
}

/// The first update of a document: one main lane.
fn update_of(writer: WriterId, lane: &[u8]) -> Vec<u8> {
    let mut update = Writer::new();
    update.varint(1);
    update.varint(1);
    update.varint(writer.get());
    update.varint(0);
    update.byte(0x23);
    update.varint(1);
    update.block(ROW_ROOT.as_bytes());
    update.block(LaneName::main(writer).to_string().as_bytes());
    update.block(lane);
    update.varint(0);
    update.finish()
}

/// The input, taken bit by bit; 0 when it is used up.
struct Script<'a> {
    left: &'a [u8],
}

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, left) = self.left.split_first()?;
        self.left = left;
        Some(first)
    }

    fn small(&mut self) -> usize {
        self.byte().unwrap_or(0).into()
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.small() % from.len()]
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = self.small().min(self.left.len());
        let (bytes, left) = self.left.split_at(len);
        self.left = left;
        bytes
    }

    fn writer(&mut self) -> WriterId {
        WriterId::from_bits(self.pick(&[1, 2, 3, WriterId::LIMIT - 1]))
    }

    fn number(&mut self) -> u64 {
        let odd = self.small();
        self.pick(&[1, 2, 3, 255, u64::MAX >> 1, odd as u64 + 1])
    }

    fn key(&mut self, table: &str) -> RowKey {
        let one = Value::text(self.pick(&KEYS));
        let number = Value::Integer(self.pick(&[0, 1, 7, -1]));
        let columns = match (self.small() % 16, table) {
            (0, _) => return RowKey::from_bytes(self.bytes()).unwrap_or_else(|_| key("a")),
            (1, _) => vec![number],
            (2, _) => vec![one, number],
            (3, "tags") => vec![one],
            (_, "tags") | (3, _) => vec![one, Value::text(self.pick(&KEYS))],
            _ => vec![one],
        };
        // Not folded: as is right for all but one column.
        RowKey::encode(columns.iter().map(|value| (value, Collation::Binary))).expect("a short key")
    }

    fn content(&mut self) -> Content<'a> {
        Content::Value(match self.small() % 8 {
            0 => Value::Null,
            1 => Value::Integer(self.pick(&[0, 1, -1, 7, 2_000, i64::MAX, i64::MIN])),
            2 => Value::Real(self.pick(&[0.0, 1.0, -0.5, f64::INFINITY])),
            3 => Value::Text(self.bytes().into()),
            4 => Value::Blob(self.bytes().into()),
            5 => return Content::InText,
            6 => Value::Text(vec![b'x'; 600].into()),
            _ => Value::text(self.pick(&TEXTS)),
        })
    }
}

/// What the forgers of the script have made so far.
#[derive(Default)]
struct Forger {
    body: BodyBuilder,
    seqs: [u64; 3],
}

impl Forger {
    /// A well-formed lane that says what the script wants.
    fn lane(&mut self, script: &mut Script<'_>) {
        let table = script.pick(&TABLES);
        let (key, writer) = (script.key(table), script.writer());
        let mut lane = Lane::default();
        let life = Content::Value(Value::Integer(i64::from(script.small() % 8 != 0)));
        lane.cells.push(Cell { column: "".into(), content: life, time: 1, number: 1, seen: Vec::new() });
        for _ in 0..script.small() % 5 {
            let column = script.pick(&COLUMNS[1..]);
            let time = script.pick(&[0, 1, -1, 1 << 40, i64::MAX, i64::MIN]);
            let mut cell = Cell {
                column: column.into(),
                content: script.content(),
                time,
                number: script.number(),
                seen: Vec::new(),
            };
            if script.small() % 3 == 0 {
                let (writer, large) = (script.writer(), script.small() % 2 == 0);
                cell.seen.push(Seen { writer, large, number: script.number() });
            }
            lane.cells.push(cell);
        }
        if script.small() % 4 == 0 {
            let column = Some(script.pick(&COLUMNS[1..]).into());
            let name =
                LaneName { writer: script.writer(), column: column.filter(|_| script.small() % 2 == 0) };
            lane.floors.push(Floor { lane: name, number: script.number() });
        }
        if script.small() % 4 == 0 {
            let added = script.pick(&[1, -1, i128::from(i64::MAX), 1 << 96, -(1 << 96)]);
            lane.counters.push(Counter { column: script.pick(&COLUMNS[1..]).into(), added });
        }
        lane.cells.sort_by(|a, b| a.column.cmp(&b.column));
        lane.cells.dedup_by(|a, b| a.column == b.column);
        self.body.row(table, &key, &update_of(writer, &lane.to_bytes()));
    }

    /// The script's own bytes as the update of a row, or as a lane.
    fn row(&mut self, script: &mut Script<'_>) {
        let table = script.pick(&TABLES);
        let (key, writer, whole) = (script.key(table), script.writer(), script.small() % 2 == 0);
        let bytes = script.bytes();
        let update = if whole { bytes.to_vec() } else { update_of(writer, bytes) };
        self.body.row(table, &key, &update);
    }

    /// An update of a text: the script's own bytes, or what somebody typed first.
    fn text(&mut self, script: &mut Script<'_>) {
        let table = script.pick(&TABLES);
        let (key, column) = (script.key(table), script.pick(&COLUMNS[1..]));
        if script.small() % 2 == 0 {
            return self.body.text(table, &key, column, script.bytes());
        }
        let mut update = Writer::new();
        update.varint(1);
        update.varint(1);
        update.varint(script.writer().get());
        update.varint(0);
        update.byte(4);
        update.varint(1);
        update.block(TEXT_ROOT.as_bytes());
        update.block(script.pick(&TEXTS).as_bytes());
        update.varint(0);
        self.body.text(table, &key, column, &update.finish());
    }

    /// What was forged since the last time, as the next changeset of somebody, or as one after the next.
    fn seal(&mut self, script: &mut Script<'_>) -> bytes::Bytes {
        let who = script.small() % 3;
        self.seqs[who] += if script.small() % 16 == 15 { 2 } else { 1 };
        let mut after = StateVector::new();
        if script.small() % 4 == 3 {
            let other = (who + 1) % 3;
            after.raise(replica(other), Seq::new(self.seqs[other].max(1)).expect("not zero"));
        }
        let part = script.pick(&[Part::Whole, Part::Whole, Part::Whole, Part::More, Part::Last]);
        let seq = Seq::new(self.seqs[who]).expect("not zero");
        let header = ChangesetHeader { replica: replica(who), seq, part, after, time: 0 };
        Changeset::seal(header, &std::mem::take(&mut self.body).finish()).bytes().clone()
    }

    /// The same as a part of a snapshot.
    fn seal_part(&mut self, script: &mut Script<'_>) -> bytes::Bytes {
        let who = script.small() % 3;
        let mut vector = StateVector::new();
        if script.small() % 2 == 0 {
            self.seqs[who] += 1;
            vector.raise(replica(who), Seq::new(self.seqs[who]).expect("not zero"));
        }
        let (index, last) = (script.pick(&[0, 0, 0, 1, u32::MAX]), script.small() % 4 != 0);
        let header = SnapshotHeader { snapshot: [script.pick(&[1, 2]); 16], index, last, vector };
        SnapshotPart::seal(header, &std::mem::take(&mut self.body).finish()).bytes().clone()
    }
}

fn replica(who: usize) -> ReplicaId {
    ReplicaId::from_bytes([who as u8 + 1; 16]).expect("not nil")
}
