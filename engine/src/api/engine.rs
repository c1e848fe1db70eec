//! The public handle of an open file.

use std::path::Path;
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::config::{Config, SyncConfig, TableOptions};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::file::state::Health;
use crate::replica::status::Status;
use crate::replica::{LONGEST_WAIT, Replica, SHORTEST_WAIT};
use crate::sync::worker::Worker;
use crate::sync::{self, SyncHandle};
use crate::turn::changes::ChangeFeed;

/// A database file with its engine running: a thread captures what anybody writes to the tracked tables. Writing goes
/// on through any SQLite connection, in this process or another; nothing is written through the engine.
///
/// Dropping it stops the engine; what was committed and not yet captured is captured when the file is next
/// opened.
#[derive(Debug)]
pub struct Engine {
    worker: Worker,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Opens an existing database as its one engine, and captures from now on. Makes the side tables if they are
    /// not there and switches the file to WAL.
    ///
    /// Fails with [`Error::NoSuchFile`], [`Error::NotADatabase`], [`Error::ReadOnly`], [`Error::Locked`] while another
    /// engine has the file, [`Error::NewerFormat`] if a later version has used it.
    pub fn open(path: impl AsRef<Path>, config: Config) -> Result<Self> {
        let path = path.as_ref();
        let poll = config.poll_interval;
        let (worker, thread) = Worker::start(Replica::open(path, config)?)?;
        sync::watch::start(path, poll, worker.clone())?;
        Ok(Self { worker, thread: Some(thread) })
    }

    /// Begins to track tables, all or none, and captures the rows that are there. Tracking a table that is tracked
    /// already with the same options changes nothing. Returns the names as the tables spell them.
    ///
    /// Fails with [`Error::NotTrackable`], which says why and what to do instead, and with
    /// [`Error::Contradiction`] if the space treats the table otherwise.
    pub fn track(&self, tables: &[&str], options: TableOptions) -> Result<Vec<String>> {
        let tables = owned(tables);
        self.worker.call_blocking(move |replica| {
            let spelled = replica.track(&borrowed(&tables), options)?;
            replica.capture_all()?;
            Ok(spelled)
        })
    }

    /// Like [`Engine::track`], for async callers.
    pub async fn track_async(&self, tables: &[&str], options: TableOptions) -> Result<Vec<String>> {
        let tables = owned(tables);
        let tracked = self.worker.call(move |replica| {
            let spelled = replica.track(&borrowed(&tables), options)?;
            replica.capture_all()?;
            Ok(spelled)
        });
        tracked.await
    }

    /// Ceases to track tables, all or none. Their documents stay, and what others write is merged into them: tracking
    /// the table again shows it. Fails with [`Error::NotTracked`].
    pub fn untrack(&self, tables: &[&str]) -> Result<Vec<String>> {
        let tables = owned(tables);
        self.worker.call_blocking(move |replica| replica.untrack(&borrowed(&tables)))
    }

    /// Captures everything committed before the call. The engine does so by itself, within milliseconds where the
    /// system tells it about file changes; this is for whoever wants to know when it is done. Where a table was dropped and
    /// made anew just now, or a new one made that is to be tracked by rule, it waits until that has been left alone for
    /// about two seconds; see [`Config::rebuild_quiet`](crate::Config).
    pub fn capture(&self) -> Result<()> {
        while let Some(wait) = self.worker.call_blocking(Replica::capture_all)? {
            std::thread::sleep(wait.clamp(SHORTEST_WAIT, LONGEST_WAIT));
        }
        Ok(())
    }

    /// Tells the engine that the file was just written to, sparing it the wait for the file event. Never blocks.
    pub fn nudge(&self) {
        self.worker.nudge();
    }

    /// How the file is doing, as [`status`](crate::status()) tells it, read by the engine's own connection: cheaper where
    /// there are many tables, but it waits for the turn that is under way. Fails with [`Error::Stopped`](crate::Error).
    pub fn status(&self) -> Result<Status> {
        self.worker.call_blocking(|replica| replica.status())
    }

    /// Subscribes to which rows of which table change from now on, here or elsewhere.
    pub fn changes(&self) -> Result<ChangeFeed> {
        self.worker.call_blocking(|replica| Ok(replica.subscribe()))
    }

    /// Starts syncing with the space at `config.url`, making the space if it does not exist. The file belongs to the
    /// space from then on and refuses another. Where the file was synced before, a space is made only under the same name, on
    /// whatever relay, or with [`SyncConfig::new_space`]. Fails with [`Error::BadUrl`]; everything else, of this
    /// [`Error::OtherSpace`], is reported by [`SyncHandle::state`] and [`SyncHandle::sync_now`].
    pub fn sync(&self, config: SyncConfig) -> Result<SyncHandle> {
        SyncHandle::start(self.worker.clone(), config, true)
    }

    pub(crate) fn sync_existing(&self, config: SyncConfig) -> Result<SyncHandle> {
        SyncHandle::start(self.worker.clone(), config, false)
    }

    pub(crate) fn worker(&self) -> &Worker {
        &self.worker
    }

    /// How the engine's thread is, as it changes.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.worker.health()
    }

    /// Stops the engine and waits until its thread has ended and the file's lock is free.
    pub fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.worker.stop();
            let _ = thread.join(); // a panic there is a bug, reported where it happened
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn borrowed(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}
