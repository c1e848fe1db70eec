//! A person's notes: a SQLite file, the app's own connection to it, and Driftless beside it. All that an app has to do to be
//! shared is in [`Node::open`]: open an engine on the file, say which tables, start to sync.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use driftless::{ChangeFeed, Engine, FeedEvent, Origin, SyncConfig, SyncState, TableOptions, Value};
use rusqlite::{Connection, OptionalExtension as _};
use serde::{Deserialize, Serialize};

/// Who writes here.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) colour: String,
}

impl Person {
    pub(crate) fn new(name: &str, colour: &str) -> Self {
        Self { name: name.to_owned(), colour: colour.to_owned() }
    }
}

/// A file with notes, and what keeps it in agreement with the others.
pub(crate) struct Node {
    path: PathBuf,
    person: Person,
    url: String,
    alone: bool,
    /// The app's own connection: what is written here, or by anybody else to the file, the engine notices.
    notes: Mutex<Connection>,
    engine: Engine,
    /// `None` while the person is offline.
    sync: Mutex<Option<driftless::SyncHandle>>,
    /// Which note is open here, and how many pages listen: when the last one goes, nobody has it open.
    open: Mutex<(Option<String>, usize)>,
}

/// Who has which note open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Presence {
    person: String,
    colour: String,
    note: Option<String>,
}

/// How it goes, for the status line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Status {
    state: &'static str,
    why: Option<String>,
    unsent: u64,
    lag_ms: u64,
    last_contact: Option<i64>,
    conflicts: i64,
    parked: u64,
    waiting: u64,
}

/// Something changed in the tables.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Changed {
    origin: &'static str,
    /// Which notes; `None` if it may be any.
    notes: Option<Vec<String>>,
    tables: Vec<String>,
}

impl Node {
    /// Opens the notes in a file, makes the tables if they are not there, and goes online.
    pub(crate) fn open(path: &Path, url: &str, person: Person, alone: bool) -> Result<Self> {
        let sync = SyncConfig::new(url);
        sync.check()?;
        // As every app does: a connection, and the tables.
        let about = || format!("'{}' cannot be used for notes", path.display());
        let notes = Connection::open(path).with_context(about)?;
        notes.busy_timeout(Duration::from_secs(5))?;
        let foreign: Option<String> = notes
            .query_row(
                "SELECT name FROM sqlite_master WHERE type = 'table'
                 AND NOT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'seen') LIMIT 1",
                [],
                |row| row.get(0),
            )
            .optional()
            .with_context(about)?;
        if let Some(table) = foreign {
            anyhow::bail!("{}: it is another app's, with a table '{table}'; give a file of its own", about());
        }
        notes.pragma_update(None, "foreign_keys", true)?;
        notes.execute_batch(include_str!("../schema.sql")).with_context(about)?;

        // And this is Driftless. Bodies are merged by character, and every "like" counts.
        let engine = Engine::open(path, driftless::Config::default())?;
        let kinds = TableOptions::default().text("notes.body").counter("notes.likes");
        engine.track(&["notebooks", "notes", "items", "tags", "other_titles", "people"], kinds)?;

        // So that others can read who wrote what.
        let replica = driftless::status(path)?.replica.to_string();
        notes.execute(
            "INSERT INTO people VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET name = ?2, colour = ?3
             WHERE (name, colour) <> (?2, ?3)",
            (&replica, &person.name, &person.colour),
        )?;
        let sync = Mutex::new(Some(engine.sync(sync)?));
        let (path, url) = (path.to_owned(), url.to_owned());
        let (notes, open) = (Mutex::new(notes), Mutex::default());
        let node = Self { path, person, url, alone, notes, engine, sync, open };
        node.show_presence()?;
        Ok(node)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn person(&self) -> &Person {
        &self.person
    }

    /// Whether these are the only notes that this process serves.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone
    }

    /// Does something with the app's connection.
    pub(crate) fn with_notes<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        let done = work(&mut lock(&self.notes));
        // The engine notices by itself; told, it need not wait for the system to say that the file has changed.
        self.engine.nudge();
        done
    }

    /// Ends the sync. Writing goes on as before: nothing else changes.
    pub(crate) fn go_offline(&self) {
        if let Some(sync) = lock(&self.sync).take() {
            sync.stop();
        }
    }

    /// Begins to sync, unless it has. What was written meanwhile is sent, what others wrote comes in.
    pub(crate) fn go_online(&self) -> Result<()> {
        let mut sync = lock(&self.sync);
        if sync.as_ref().is_none_or(|sync| matches!(sync.state(), SyncState::Stopped | SyncState::Refused(_)))
        {
            *sync = Some(self.engine.sync(SyncConfig::new(&self.url))?);
        }
        drop(sync);
        self.show_presence()
    }

    pub(crate) fn status(&self) -> Result<Status> {
        let state = lock(&self.sync).as_ref().map(driftless::SyncHandle::state);
        let (state, why) = match state {
            None | Some(SyncState::Stopped) => ("off", None),
            Some(SyncState::Connecting) => ("connecting", None),
            Some(SyncState::Online) => ("online", None),
            Some(SyncState::Offline { why, .. }) => ("offline", Some(why)),
            Some(SyncState::Refused(why)) => ("refused", Some(why)),
            Some(_) => ("offline", None),
        };
        let status = driftless::status(&self.path)?;
        Ok(Status {
            state,
            why,
            unsent: status.unsent.changesets + status.tables.iter().map(|table| table.pending).sum::<u64>(),
            lag_ms: status.lag_ms,
            last_contact: status.last_contact.map(|contact| contact.at),
            conflicts: crate::collisions::count(&lock(&self.notes))?,
            parked: status.tables.iter().map(|table| table.parked).sum(),
            waiting: status.waiting,
        })
    }

    /// A note is opened here, or left.
    pub(crate) fn set_open(&self, note: Option<String>) -> Result<()> {
        lock(&self.open).0 = note;
        self.show_presence()
    }

    /// A page begins to listen, or ceases to.
    pub(crate) fn listens(&self, begins: bool) -> Result<()> {
        let mut open = lock(&self.open);
        open.1 = if begins { open.1 + 1 } else { open.1.saturating_sub(1) };
        if open.1 == 0 {
            open.0 = None;
        }
        drop(open);
        self.show_presence()
    }

    /// Lets the others know: it lasts as long as the connection, and nobody stores it.
    fn show_presence(&self) -> Result<()> {
        let Person { name, colour } = self.person.clone();
        let presence = match lock(&self.open).clone() {
            // Nobody looks at these notes.
            (_, 0) => Vec::new(),
            (note, _) => serde_json::to_vec(&Presence { person: name, colour, note })?,
        };
        match lock(&self.sync).as_ref().map(|sync| sync.set_presence(presence)) {
            // What has ended says nothing to anybody.
            None | Some(Ok(()) | Err(driftless::Error::SyncEnded(_) | driftless::Error::Stopped)) => Ok(()),
            Some(Err(error)) => Err(error.into()),
        }
    }

    /// Who else is there now, and with which note.
    pub(crate) fn others(&self) -> Vec<Presence> {
        let sync = lock(&self.sync);
        let Some(sync) = sync.as_ref() else { return Vec::new() };
        // What another app says in this space is passed over.
        sync.presence().borrow().values().filter_map(|bytes| serde_json::from_slice(bytes).ok()).collect()
    }

    /// What changes from now on, here or elsewhere.
    pub(crate) fn changes(&self) -> Result<ChangeFeed> {
        Ok(self.engine.changes()?)
    }

    /// A change as the page wants to hear of it; `None`: so much was missed that it should read everything anew.
    pub(crate) fn told(&self, event: FeedEvent) -> Option<Changed> {
        let FeedEvent::Changed(changes) = event else { return None };
        let mut tables: Vec<String> = changes.rows.iter().map(|row| row.table.clone()).collect();
        tables.sort();
        tables.dedup();
        let note_of = |row: &driftless::ChangedRow| match (&*row.table, row.key().first()) {
            ("notes" | "tags" | "other_titles", Some(Value::Text(id))) => {
                Some(String::from_utf8_lossy(id).into_owned())
            }
            ("items", Some(Value::Text(id))) => {
                crate::notes::note_of_item(&lock(&self.notes), &String::from_utf8_lossy(id))
            }
            _ => None,
        };
        let mut notes: Option<Vec<String>> = changes.rows.iter().map(note_of).collect();
        if let Some(notes) = &mut notes {
            notes.sort();
            notes.dedup();
        }
        let origin = if changes.origin == Origin::Local { "local" } else { "remote" };
        Some(Changed { origin, notes, tables })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What panicked in between has left a connection, which rolls back by itself.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
