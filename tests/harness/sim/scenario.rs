//! What a run does, decision by decision, in a form that can be kept, shortened and run again: JSON.
//!
//! A scenario says everything itself. The random generators that made it may change; what it does stays the same.

use std::path::Path;

use driftless::TableOptions;
use serde::{Deserialize, Serialize};

/// A whole run: a cluster, and what happens to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Scenario {
    /// What was drawn from it.
    pub seed: u64,
    /// The statements that make each file.
    pub schema: String,
    /// The tables to track.
    pub tables: Vec<TableSpec>,
    /// One for each file that is there from the beginning.
    pub nodes: Vec<NodeSpec>,
    /// For how many milliseconds a table that was made anew must be left alone before an engine decides about it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub quiet: i64,
    /// How many relays there are. Each has the whole space; nodes carry changes from one to the other.
    pub relays: usize,
    /// What happens, in order. Afterwards everything is healed and must agree.
    pub steps: Vec<Step>,
}

/// A table, and how it is tracked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TableSpec {
    /// Its name.
    pub name: String,
    /// Whether its key is an INTEGER PRIMARY KEY.
    #[serde(default, skip_serializing_if = "is_false")]
    pub integer_key: bool,
    /// Whether deletes win over concurrent edits.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deletes_win: bool,
    /// Columns of that kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counters: Vec<String>,
    /// Columns of that kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<String>,
}

fn one() -> i64 {
    1
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn is_false(value: &bool) -> bool {
    !value
}

impl TableSpec {
    /// Tables that can be tracked in one go, and how.
    pub(super) fn together(tables: &[Self]) -> Vec<(Vec<&str>, TableOptions)> {
        let mut groups: Vec<(Vec<&str>, TableOptions)> = Vec::new();
        for table in tables {
            let of_group = |options: &TableOptions| {
                (options.allow_integer_key, options.deletes_win) == (table.integer_key, table.deletes_win)
            };
            let at = groups.iter().position(|(_, options)| of_group(options)).unwrap_or_else(|| {
                let mut options = TableOptions::default();
                (options.allow_integer_key, options.deletes_win) = (table.integer_key, table.deletes_win);
                groups.push((Vec::new(), options));
                groups.len() - 1
            });
            let (names, options) = &mut groups[at];
            names.push(&table.name);
            for column in &table.counters {
                *options = std::mem::take(options).counter(format!("{}.{column}", table.name));
            }
            for column in &table.texts {
                *options = std::mem::take(options).text(format!("{}.{column}", table.name));
            }
        }
        groups
    }
}

/// How one file is worked on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Rows that a turn captures: few, so that transactions are captured in parts.
    pub turn_rows: usize,
    /// Bytes of a changeset's body.
    pub changeset_bytes: usize,
    /// By how many milliseconds its clock is wrong.
    pub clock: i64,
    /// Its clock goes in steps of so many milliseconds: so that much is written at the same time.
    #[serde(default = "one")]
    pub grain: i64,
    /// Whether the app waits for the disk when it commits; if not, the loss of power may take its last commits.
    pub durable: bool,
}

/// Something that happens. A step that cannot happen, for instance because another node is gone, does nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "what they do is said, and who does it")]
pub enum Step {
    /// The app runs statements, each of which may fail.
    Write { node: usize, sql: Vec<String> },
    /// The app changes its schema.
    Alter { node: usize, change: Change },
    /// The app makes a table anew in one transaction, and runs statements in it before that is committed. Our triggers are
    /// gone with the old table.
    Rebuild { node: usize, table: String, how: Rebuilding, sql: Vec<String> },
    /// The app begins to make a table anew, and takes the first step of it. Each is a transaction of its own.
    Migrate { node: usize, table: String, how: Migrating },
    /// It goes on with that.
    MigrateOn { node: usize },
    /// So many milliseconds pass. No table is half made then.
    Wait { by: i64 },
    /// A tool drops our triggers of a table, all of them or those that are called so, and the app runs statements.
    DropTriggers { node: usize, table: String, only: Vec<String>, sql: Vec<String> },
    /// The engine is closed, and the app goes on without it.
    Close { node: usize },
    /// An engine that was closed is opened.
    Open { node: usize },
    /// The engine takes a turn.
    Turn { node: usize },
    /// The engine connects to a relay; a connection that it has goes.
    Connect { node: usize, relay: usize },
    /// The connection breaks. `Both` know it, or only one of them.
    Cut { node: usize, known_to: Side },
    /// So many things go on that are due at the node's connection: work, frames sent, stored, received.
    Pump { node: usize, moves: u16 },
    /// What an old connection, which the node has left, still has under way.
    PumpOld { node: usize, moves: u16 },
    /// Something becomes of the next frame on its way.
    Mangle { node: usize, to: Side, how: Mangle },
    /// Nothing passes in that direction, until the node connects again.
    Block { node: usize, to: Side },
    /// A while passes without anything: the engine asks the relay for confirmation.
    Tick { node: usize },
    /// The engine is killed between two calls, and opens the file anew.
    Kill { node: usize },
    /// The engine is killed at that write to its files, torn or whole, while it does so many things.
    KillAt { node: usize, write: u32, torn: bool, moves: u16 },
    /// The machine loses its power, at that write if one is given; everything is opened anew from what the disk has then.
    PowerLoss { node: usize, write: Option<u32>, moves: u16, chance: u64 },
    /// The disk refuses from that write on, full or broken, while so many things go on; then it is well again.
    DiskFails { node: usize, write: u32, full: bool, once: bool, moves: u16 },
    /// The machine's clock is set.
    Clock { node: usize, by: i64 },
    /// The file is copied, and a new node works on the copy.
    Copy { node: usize, how: Copying },
    /// A copy of the file is laid aside.
    Save { node: usize },
    /// The copy that was laid aside takes the file's place: as another file, or in the very same.
    Restore { node: usize, same_inode: bool },
    /// The copy that was laid aside takes the place of what the file holds, while the engine has it open.
    RestoreUnder { node: usize, how: Restoring },
    /// A new node joins with an empty file and gets everything from a relay.
    Join { relay: usize },
    /// The relay is killed: connections and what it was about to say are gone, what it has stored is not.
    RelayKill { relay: usize },
    /// A copy of what the relay has stored is laid aside.
    RelaySave { relay: usize },
    /// The copy takes its place; without one, everything is lost.
    RelayRestore { relay: usize },
}

/// How a table is made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rebuilding {
    /// With the rows that it had.
    Copied,
    /// Without any.
    Empty,
}

/// How a table is made anew step by step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Migrating {
    /// A new one is filled and takes the old one's name when that is dropped.
    Beside,
    /// The old one gives up its name, and is dropped when the new one is filled.
    Aside,
}

/// How a file is restored under an engine that has it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restoring {
    /// By SQLite, as `.restore` does.
    Backup,
    /// Byte by byte, once its log is empty and the app has closed it.
    Bytes,
}

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    Node,
    Relay,
    Both,
}

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mangle {
    Lose,
    Twice,
    /// It changes places with the next.
    Swap,
    /// It ends after so many bytes.
    Cut(u16),
    /// A bit of it flips.
    Flip(u16),
    /// It is of another version of the protocol.
    Version(u8),
}

/// How a file is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Copying {
    /// Byte by byte, with its log.
    Files,
    /// By `VACUUM INTO`.
    Vacuum,
}

/// A change of the schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A statement.
    Sql(String),
    /// A renamed column; some files tell the engine.
    Rename { table: String, old: String, new: String },
}

impl Step {
    /// The statements that the app runs in it.
    pub(super) fn statements(&self) -> &[String] {
        match self {
            Self::Write { sql, .. } | Self::Rebuild { sql, .. } | Self::DropTriggers { sql, .. } => sql,
            _ => &[],
        }
    }

    /// The same statements, so that some of them can be left out.
    pub(super) fn statements_mut(&mut self) -> Option<&mut Vec<String>> {
        match self {
            Self::Write { sql, .. } | Self::Rebuild { sql, .. } | Self::DropTriggers { sql, .. } => Some(sql),
            _ => None,
        }
    }

    /// Whether it is a fault rather than work.
    pub fn is_fault(&self) -> bool {
        !matches!(
            self,
            Self::Write { .. }
                | Self::Alter { .. }
                | Self::Rebuild { .. }
                | Self::Migrate { .. }
                | Self::MigrateOn { .. }
                | Self::Wait { .. }
                | Self::DropTriggers { .. }
                | Self::Close { .. }
                | Self::Open { .. }
                | Self::Turn { .. }
                | Self::Connect { .. }
                | Self::Pump { .. }
                | Self::Tick { .. }
                | Self::Save { .. }
                | Self::RelaySave { .. }
                | Self::Join { .. }
        )
    }
}

impl Scenario {
    /// Reads one that was kept. The error says what is wrong with the file.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        use anyhow::Context as _;
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no scenario", path.display()))
    }

    /// As it is kept: a step a line.
    pub fn to_text(&self) -> String {
        let json = |value: &dyn erased::Json| value.json();
        let mut text = String::from("{\n");
        text += &format!("  \"seed\": {},\n", self.seed);
        text += &format!("  \"schema\": {},\n", json(&self.schema));
        text += &format!("  \"tables\": {},\n", json(&self.tables));
        text += &format!("  \"nodes\": {},\n", json(&self.nodes));
        if self.quiet != 0 {
            text += &format!("  \"quiet\": {},\n", self.quiet);
        }
        text += &format!("  \"relays\": {},\n", self.relays);
        text += "  \"steps\": [\n";
        let steps: Vec<String> = self.steps.iter().map(|step| format!("    {}", json(step))).collect();
        text += &steps.join(",\n");
        text += "\n  ]\n}\n";
        text
    }
}

mod erased {
    /// Anything as one line of JSON.
    pub(super) trait Json {
        fn json(&self) -> String;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> String {
            serde_json::to_string(self).expect("a scenario is plain data")
        }
    }
}
