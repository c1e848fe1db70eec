//! A file with the app that writes to it and the engine that works on it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use driftless::sim::{Link, Replica};
use driftless_protocol::ReplicaId;
use driftless_test_disk::Disk;
use rusqlite::Connection;
use rusqlite::backup::Backup;

use super::scenario::NodeSpec;
use super::world::copy_files;

/// A connection to a relay, from the node's end.
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) link: Link,
    pub(super) wire: u64,
}

/// A node. What is `None` is not running.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) path: PathBuf,
    pub(super) disk: Disk,
    pub(super) spec: NodeSpec,
    /// Before the connection of the app, so that it goes first.
    pub(super) engine: Option<Replica>,
    pub(super) app: Option<Connection>,
    pub(super) link: Option<Conversation>,
    /// Connections that it has left and that their relay does not know to be over.
    pub(super) old_wires: Vec<u64>,
    pub(super) blocked_up: bool,
    pub(super) blocked_down: bool,
    pub(super) saved: Option<PathBuf>,
    /// How many changes of the schema it has made.
    pub(super) changed: usize,
    /// How many it had made when the copy was laid aside.
    saved_changed: usize,
    /// How often another file has taken its place.
    replaced: u32,
    /// What is left to do of a table that is being made anew.
    pub(super) half: VecDeque<String>,
    pub(super) half_of: String,
    /// Its name when the file was restored under the engine, until that has found out.
    pub(super) unnoticed: Option<ReplicaId>,
    /// Whether it came with an empty file.
    pub(super) joined: bool,
}

impl Node {
    /// In a folder of its own, which is empty.
    pub(super) fn new(folder: &Path, spec: NodeSpec) -> Self {
        Self {
            path: folder.join("file.db"),
            disk: Disk::at(folder),
            spec,
            engine: None,
            app: None,
            link: None,
            old_wires: Vec::new(),
            blocked_up: false,
            blocked_down: false,
            saved: None,
            changed: 0,
            saved_changed: 0,
            replaced: 0,
            half: VecDeque::new(),
            half_of: String::new(),
            unnoticed: None,
            joined: false,
        }
    }

    pub(super) fn open_app(&mut self) {
        self.app = Some(crate::connect(&self.path));
        self.set_durability();
    }

    /// Lets the app wait for the disk, or not.
    pub(super) fn set_durability(&self) {
        let synchronous = if self.spec.durable { "FULL" } else { "NORMAL" };
        if let Some(app) = &self.app {
            app.pragma_update(None, "synchronous", synchronous).expect("a setting");
        }
    }

    /// Lays a copy of the file aside.
    pub(super) fn save(&mut self) {
        let to = self.path.with_extension("saved");
        remove(&to);
        copy_files(&self.path, &to);
        self.saved = Some(to);
        self.saved_changed = self.changed;
    }

    /// The copy takes the file's place. Nothing may have the file open.
    pub(super) fn restore(&mut self, same_inode: bool) {
        let Some(saved) = &self.saved else { return };
        self.app = None;
        for end in ["-wal", "-shm"] {
            let _missing = std::fs::remove_file(beside(&self.path, end));
        }
        if same_inode {
            let bytes = std::fs::read(saved).expect("the copy can be read");
            std::fs::write(&self.path, bytes).expect("the file can be written");
            let wal = beside(saved, "-wal");
            if wal.exists() {
                std::fs::copy(wal, beside(&self.path, "-wal")).expect("the log can be copied");
            }
        } else {
            let fresh = self.path.with_extension("fresh");
            copy_files(saved, &fresh);
            // What was there stays somewhere, so that its inode is not given to the next: that would be the other way.
            self.replaced += 1;
            let gone = self.path.with_extension(format!("gone{}", self.replaced));
            std::fs::rename(&self.path, gone).expect("the file can be moved away");
            std::fs::rename(&fresh, &self.path).expect("a copy takes its place");
            let wal = beside(&fresh, "-wal");
            if wal.exists() {
                std::fs::rename(wal, beside(&self.path, "-wal")).expect("so does its log");
            }
        }
        // What lies there now lies there for good.
        self.disk.settle();
        self.changed = self.saved_changed;
    }
}

impl Node {
    /// Lets SQLite copy what was laid aside into the file, in a transaction of the app's.
    pub(super) fn restore_by_backup(&mut self) -> rusqlite::Result<()> {
        let (Some(saved), Some(app)) = (&self.saved, &mut self.app) else { return Ok(()) };
        let from = Connection::open(saved)?;
        // It waits for the disk, as a migration does: a migration that was under way is over, and a loss of power that undid this
        // would leave a table half made for good.
        app.pragma_update(None, "synchronous", "FULL")?;
        Backup::new(&from, app)?.run_to_completion(i32::MAX, Duration::ZERO, None)?;
        self.set_durability();
        self.changed = self.saved_changed;
        Ok(())
    }

    /// Writes the bytes of what was laid aside over the file's. `now` becomes the time of that: in a folder in memory many
    /// things happen at one time.
    pub(super) fn restore_bytes(&mut self, now: i64) -> rusqlite::Result<()> {
        let Some(saved) = &self.saved else { return Ok(()) };
        self.app = None;
        for path in [saved, &self.path] {
            Connection::open(path)?.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        }
        let bytes = std::fs::read(saved).expect("the copy can be read");
        std::fs::write(&self.path, bytes).expect("the file can be written");
        let written = SystemTime::UNIX_EPOCH + Duration::from_millis(now.unsigned_abs());
        let file = std::fs::File::options().write(true).open(&self.path).expect("the file can be opened");
        file.set_modified(written).expect("the file has a time");
        for end in ["", "-wal"] {
            self.disk.settle_file(&beside(&self.path, end));
        }
        self.changed = self.saved_changed;
        self.open_app();
        Ok(())
    }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

fn remove(path: &Path) {
    for end in ["", "-wal", "-shm"] {
        let _missing = std::fs::remove_file(beside(path, end));
    }
}
