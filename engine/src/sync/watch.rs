//! "The file changed": file events from the folder, where another process's writes to `-wal` are seen, and a poll for
//! file systems that tell nothing. Both only nudge the engine's thread, which asks SQLite's `data_version` whether
//! anything was committed.

use std::ffi::OsString;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};

use super::worker::Worker;
use crate::error::{Error, Result};

/// When to look again after an event, in milliseconds after the look before. A commit writes to `-wal`, which is the event,
/// waits for the disk, and only then is visible, through shared memory, of which no event tells: 3 to 12 ms later with
/// `synchronous=FULL`, later yet on a slow disk.
const LOOKS: [u64; 9] = [1, 1, 2, 2, 4, 8, 16, 32, 64];
/// How long events are gathered.
const GATHER: Duration = Duration::from_millis(1);

/// Calls `look` now and again after each of [`LOOKS`], until it has found a commit. What happens meanwhile begins the looks
/// anew. `look` answers how many commits were found so far.
fn look_until_seen(mut look: impl FnMut() -> u64, events: &Receiver<()>) {
    let mut before = look();
    let mut waits = LOOKS.iter();
    while let Some(&wait) = waits.next() {
        match events.recv_timeout(Duration::from_millis(wait)) {
            Ok(()) => {
                // A commit is several events; the next look sees them all.
                std::thread::sleep(GATHER);
                // Perhaps they are of another commit than the one that is waited for.
                (waits, before) = (LOOKS.iter(), look());
            }
            Err(RecvTimeoutError::Timeout) => {
                if look() != before {
                    return;
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Watches a database until the worker is gone.
pub(crate) fn start(path: &Path, poll: Duration, worker: Worker) -> Result<JoinHandle<()>> {
    // One event that waits is as good as many: the channel holds one and further ones are dropped.
    let (events, received) = sync_channel::<()>(1);
    let name = path.file_name().map(OsString::from).unwrap_or_default();
    let mut wal = name.clone();
    wal.push("-wal");
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let concerns = |event: &notify::Event| {
            !event.kind.is_access()
                && event.paths.iter().any(|p| p.file_name().is_some_and(|f| f == name || f == wal))
        };
        // Those of the engine's own writes too: a commit of somebody else's may hide among them.
        if event.as_ref().map_or(true, concerns) {
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
                        let look = || {
                            let before = worker.commits_seen();
                            worker.nudge();
                            before
                        };
                        look_until_seen(look, &received);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_becomes_visible_after_its_event_is_found() {
        let (_events, received) = sync_channel(1);
        let mut looks = 0;
        // Visible at the fourth look.
        look_until_seen(
            || {
                looks += 1;
                u64::from(looks >= 4)
            },
            &received,
        );
        assert_eq!(looks, 4);
    }

    #[test]
    fn an_event_without_a_commit_is_given_up_after_all_looks() {
        let (_events, received) = sync_channel(1);
        let mut looks = 0;
        look_until_seen(
            || {
                looks += 1;
                7
            },
            &received,
        );
        assert_eq!(looks, LOOKS.len() + 1);
    }

    #[test]
    fn a_commit_whose_event_comes_while_another_is_waited_for_is_looked_for_as_well() {
        let (events, received) = sync_channel(1);
        let mut looks = 0;
        look_until_seen(
            || {
                looks += 1;
                if looks == 2 {
                    events.try_send(()).expect("room for one");
                }
                // The first commit is visible at the third look, the second four looks later.
                match looks {
                    ..3 => 0,
                    3..7 => 1,
                    _ => 2,
                }
            },
            &received,
        );
        assert_eq!(looks, 7);
    }
}
