//! "The file changed": events of the file and its `-wal`, which tell of another process's writes, and a poll for file systems
//! that tell nothing. Both only nudge the engine's thread, which asks SQLite's `data_version` whether anything was committed.
//!
//! On Linux events come from `unread.rs`, elsewhere from `told.rs`.

#[cfg_attr(target_os = "linux", path = "unread.rs")]
#[cfg_attr(not(target_os = "linux"), path = "told.rs")]
mod events;

use std::ffi::OsString;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use self::events::Events;
use super::worker::Worker;
use crate::error::{Error, Result};

/// When to look again after an event, in milliseconds after the look before. A commit writes to `-wal`, which is the event,
/// waits for the disk, and only then is visible, through shared memory, of which no event tells: 3 to 12 ms later with
/// `synchronous=FULL`, later yet on a slow disk.
const LOOKS: [u64; 9] = [1, 1, 2, 2, 4, 8, 16, 32, 64];

/// Calls `look` now and again after each of [`LOOKS`], until it has found a commit. An event in between begins the looks
/// anew. `look` returns how many commits were found so far. `wait` waits for an event, for the given time at most, and returns
/// whether there was one.
fn look_until_seen(mut look: impl FnMut() -> u64, mut wait: impl FnMut(Duration) -> bool) {
    let mut before = look();
    let mut waits = LOOKS.iter();
    while let Some(&next) = waits.next() {
        if wait(Duration::from_millis(next)) {
            // Perhaps it is of another commit than the one that is waited for.
            (waits, before) = (LOOKS.iter(), look());
        } else if look() != before {
            return;
        }
    }
}

/// Watches a database until the worker is gone.
pub(crate) fn start(path: &Path, poll: Duration, worker: Worker) -> Result<JoinHandle<()>> {
    // Where the file itself is, by whatever link it was named.
    let file = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = file.file_name().map(OsString::from).unwrap_or_default();
    let mut wal = name.clone();
    wal.push("-wal");
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Those of the engine's own writes too: a commit of somebody else's may hide among them.
    let events = Events::of(folder, vec![name, wal]);
    if let Err(error) = &events {
        tracing::warn!(%error, ?poll, "no file events here; polling alone");
    }
    let io = |source| Error::Io { doing: "starting to watch", path: path.to_owned(), source };
    std::thread::Builder::new()
        .name("driftless-watch".into())
        .spawn(move || {
            let wait = |longest| match &events {
                Ok(events) => events.wait(longest),
                Err(_) => {
                    std::thread::sleep(longest);
                    false
                }
            };
            let look = || {
                let before = worker.commits_seen();
                worker.nudge();
                before
            };
            while !worker.is_closed() {
                if wait(poll) { look_until_seen(look, wait) } else { worker.nudge() }
            }
        })
        .map_err(io)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_commit_that_becomes_visible_after_its_event_is_found() {
        let mut looks = 0;
        // Visible at the fourth look.
        look_until_seen(
            || {
                looks += 1;
                u64::from(looks >= 4)
            },
            |_| false,
        );
        assert_eq!(looks, 4);
    }

    #[test]
    fn an_event_without_a_commit_is_given_up_after_all_looks() {
        let mut looks = 0;
        look_until_seen(
            || {
                looks += 1;
                7
            },
            |_| false,
        );
        assert_eq!(looks, LOOKS.len() + 1);
    }

    #[test]
    fn a_commit_whose_event_comes_while_another_is_waited_for_is_looked_for_as_well() {
        let looks = Cell::new(0);
        look_until_seen(
            || {
                looks.set(looks.get() + 1);
                // The first commit is visible at the third look, the second four looks later.
                match looks.get() {
                    ..3 => 0,
                    3..7 => 1,
                    _ => 2,
                }
            },
            |_| looks.get() == 2,
        );
        assert_eq!(looks.get(), 7);
    }
}
