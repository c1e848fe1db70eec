//! "The file changed": file events from the folder, where another process's writes to `-wal` are seen, and a poll for
//! file systems that tell nothing. Both only nudge the engine's thread, which asks SQLite's `data_version` whether
//! anything was committed.

use std::ffi::OsString;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};

use super::worker::Worker;
use crate::error::{Error, Result};

/// How long events are gathered after one was passed on.
const COALESCE: Duration = Duration::from_millis(3);

/// Watches a database until the worker is gone.
pub(crate) fn start(path: &Path, poll: Duration, worker: Worker) -> Result<JoinHandle<()>> {
    // One event that waits is as good as many: the channel holds one and further ones are dropped.
    let (events, received) = sync_channel::<()>(1);
    let quiet = worker.clone();
    let name = path.file_name().map(OsString::from).unwrap_or_default();
    let mut wal = name.clone();
    wal.push("-wal");
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let concerns = |event: &notify::Event| {
            !event.kind.is_access()
                && event.paths.iter().any(|p| p.file_name().is_some_and(|f| f == name || f == wal))
        };
        // While the engine itself writes, nearly all events are its own; it looks for others' commits when it is done.
        if !quiet.is_busy() && event.as_ref().map_or(true, concerns) {
            let _ = events.try_send(());
        }
    });
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let watcher = watcher.and_then(|mut watcher| {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    if let Err(error) = &watcher {
        tracing::warn!(%error, ?poll, "no file events here; polling alone");
    }
    let io = |source| Error::Io { doing: "starting to watch", path: path.to_owned(), source };
    std::thread::Builder::new()
        .name("driftless-watch".into())
        .spawn(move || {
            let _watcher = watcher; // events end when it is dropped
            while !worker.is_closed() {
                match received.recv_timeout(poll) {
                    Ok(()) => {
                        worker.nudge();
                        // A commit is several events; the nudge sees them all.
                        std::thread::sleep(COALESCE);
                    }
                    Err(RecvTimeoutError::Timeout) => worker.nudge(),
                    // No watcher, so nobody can send: sleep the poll away.
                    Err(RecvTimeoutError::Disconnected) => {
                        std::thread::sleep(poll);
                        worker.nudge();
                    }
                }
            }
        })
        .map_err(io)
}
