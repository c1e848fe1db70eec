//! What an engine does when nobody has written for a while: it copies the log into the database, so that `cp` of the file
//! alone gets everything, as before the file was switched to WAL.
//!
//! First a PASSIVE checkpoint, which waits for nobody and lets nobody wait. Where it has copied everything, the log is
//! emptied at once, if that takes no waiting either. An empty log is safe where a copied one is not: if another file takes
//! the database's place, SQLite applies to it whatever the log still holds.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::{Replica, lock_wait};
use crate::error::{Doing, Result};

/// How long to wait at most before trying again what a reader of an old state has kept from being copied.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Since when it has been quiet, and whether there may be something to copy.
#[derive(Debug)]
pub(super) struct Rest {
    stirred: Instant,
    is_due: bool,
    /// How often in a row not everything could be copied.
    tries: u32,
}

impl Rest {
    /// After an opening, which has written something.
    pub(super) fn new() -> Self {
        Self { stirred: Instant::now(), is_due: true, tries: 0 }
    }

    /// Somebody has committed.
    pub(super) fn stir(&mut self) {
        *self = Self::new();
    }
}

impl Replica {
    /// For moments without work: a checkpoint, once it has been quiet for `checkpoint_after`.
    pub(crate) fn rest(&mut self) -> Result<()> {
        let wait = self.config.checkpoint_after.saturating_mul(1 << self.rest.tries.min(16));
        let wait = wait.min(LONGEST_PAUSE.max(self.config.checkpoint_after));
        // What a relay said is written first: an empty log is to stay empty.
        if !self.rest.is_due || self.has_notes() || self.rest.stirred.elapsed() < wait {
            return Ok(());
        }
        self.check_place()?;
        self.checkpoint()
    }

    /// Copies what is in the log into the database.
    pub(super) fn checkpoint(&mut self) -> Result<()> {
        let doing = "copying the log into the database";
        let checkpoint = |connection: &Connection, how: &str| {
            connection
                .query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |row| {
                    Ok((row.get::<_, bool>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
                })
                .doing(doing)
        };
        let (busy, frames, copied) = checkpoint(&self.connection, "PASSIVE")?;
        let is_whole = !busy && frames <= copied;
        // Before the log is emptied: what is written into the database after that is somebody else's doing.
        self.has_checkpointed();
        if is_whole && frames > 0 {
            // It takes all readers' locks, and the writers', for as long as it takes to cut a file off.
            lock_wait::set_longest(Duration::ZERO);
            let emptied = checkpoint(&self.connection, "TRUNCATE");
            lock_wait::set_longest(self.config.busy_timeout);
            match emptied {
                // That somebody reads just now is no failure: everything is copied.
                Err(error) if !error.is_busy() => return Err(error),
                _ => {}
            }
        }
        self.rest = Rest { stirred: Instant::now(), is_due: !is_whole, tries: self.rest.tries + 1 };
        Ok(())
    }
}
