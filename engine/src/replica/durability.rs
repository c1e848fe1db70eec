//! When a turn is on the disk. It commits without waiting for the disk and waits when it has let go of the write lock: on most
//! disks that wait is longer than all the rest of a turn, and a transaction of the app's that wants to write meanwhile would
//! wait too, or fail if it has read before. Nothing of a turn leaves the machine before it is on the disk.
//!
//! All other transactions of the engine are rare, and commit with `synchronous=FULL`.

use rusqlite::Connection;

use crate::error::{Doing, Error, Result};

#[derive(Debug)]
pub(super) struct Durability {
    /// Nothing waits for the disk: files that need not outlive a test.
    off: bool,
    /// Something is committed that may not be on the disk.
    pending: bool,
    /// Syncing failed. The system may have forgotten what it could not write.
    failed: bool,
}

impl Durability {
    pub(super) fn new() -> Self {
        Self { off: false, pending: false, failed: false }
    }

    /// Another file was opened, and nothing of it waits.
    pub(super) fn begin_anew(&mut self) {
        (self.pending, self.failed) = (false, false);
    }

    /// Leaves it to the system when to write to the disk.
    #[cfg(feature = "sim")]
    pub(super) fn turn_off(&mut self, connection: &Connection) -> Result<()> {
        self.off = true;
        connection.pragma_update(None, "synchronous", "OFF").doing("setting how to commit")
    }

    /// The next transaction does not wait for the disk. [`Durability::restore`] must follow it.
    pub(super) fn relax(&self, connection: &Connection) -> Result<()> {
        if self.off {
            return Ok(());
        }
        connection.execute_batch("PRAGMA synchronous=NORMAL").doing("setting how to commit")
    }

    /// Transactions wait for the disk again.
    pub(super) fn restore(&self, connection: &Connection) -> Result<()> {
        if self.off {
            return Ok(());
        }
        connection.execute_batch("PRAGMA synchronous=FULL").doing("setting how to commit")
    }

    /// Something was committed that has to be on the disk.
    pub(super) fn committed(&mut self) {
        self.pending = !self.off;
    }

    /// Waits until all that was committed is on the disk. Fails if the disk does, and then does not succeed before the log
    /// has been copied into the database.
    pub(super) fn wait(&mut self, connection: &Connection) -> Result<()> {
        let doing = "waiting for the disk";
        if !self.pending {
            return Ok(());
        }
        if self.failed {
            let copied = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
            if copied.doing(doing)? {
                return Err(busy(doing));
            }
        } else if let Err(error) = driftless_wal::sync(connection) {
            self.failed = true;
            return Err(error).doing(doing);
        }
        (self.pending, self.failed) = (false, false);
        Ok(())
    }
}

/// Somebody reads from the log, so that it cannot be emptied.
fn busy(doing: &'static str) -> Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
    Error::Sqlite { doing, source: rusqlite::Error::SqliteFailure(code, None) }
}
