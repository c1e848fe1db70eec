//! How the engine waits for the write lock. SQLite's own busy timeout looks again after up to 100 ms: beside an app that
//! writes in a tight loop the lock would be taken at nearly every look, for seconds. This one looks again after half a
//! millisecond, and less often once it has waited for long.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::error::{Doing, Result};

const LOOK: Duration = Duration::from_micros(500);
const LATER_LOOK: Duration = Duration::from_millis(5);
/// An app that has the lock for so long is not in a loop of short transactions.
const LATER: Duration = Duration::from_millis(500);

thread_local! {
    // SQLite's callback brings no data with it. A thread waits for one lock at a time.
    static LONGEST: Cell<Duration> = const { Cell::new(Duration::from_secs(5)) };
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// From now on the connection waits like this for every lock: for as long as [`set_longest`] says.
pub(super) fn install(connection: &mut Connection) -> Result<()> {
    connection.busy_handler(Some(wait)).doing("setting how to wait for the write lock")
}

/// How long this thread waits for a lock before SQLite's error is returned. Five seconds if nobody says.
pub(super) fn set_longest(longest: Duration) {
    LONGEST.set(longest);
}

/// `looks`: how often it was called for this lock already. Returns whether to look again.
fn wait(looks: i32) -> bool {
    let now = Instant::now();
    if looks == 0 {
        BEGUN.set(Some(now));
    }
    let waited = BEGUN.get().map_or(Duration::ZERO, |begun| now.saturating_duration_since(begun));
    if waited >= LONGEST.get() {
        return false;
    }
    std::thread::sleep(if waited < LATER { LOOK } else { LATER_LOOK });
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_waited_for_as_long_as_was_said_and_taken_soon_after_it_is_free() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.db");
        let app = Connection::open(&path).expect("it opens");
        app.execute_batch("PRAGMA journal_mode=WAL; BEGIN IMMEDIATE").expect("it has the lock");
        let mut engine = Connection::open(&path).expect("it opens");
        install(&mut engine).expect("installed");
        set_longest(Duration::from_millis(30));
        let begun = Instant::now();
        let error = engine.execute_batch("BEGIN IMMEDIATE").expect_err("the lock is taken");
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy));
        assert!(begun.elapsed() >= Duration::from_millis(30), "{:?}", begun.elapsed());

        set_longest(Duration::from_secs(60));
        let freed = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            app.execute_batch("COMMIT").expect("it gives the lock back");
        });
        engine.execute_batch("BEGIN IMMEDIATE").expect("the lock is free by then");
        freed.join().expect("it ends");
    }
}
