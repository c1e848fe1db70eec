//! Ending a turn early where an app has begun a transaction. While a turn holds the write lock, and once it has committed, the
//! first write of such a transaction fails at once; nothing has happened to it if the turn is rolled back before. So a turn that
//! gives way looks after each row, which takes a microsecond, and is taken again later.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rusqlite::{Transaction, ffi};

use crate::error::{Doing, Error, Result};

/// A transaction that has been open for less than this may be a single query. An app that queries often would be met again
/// and again, and a commit does not harm an app that only reads.
const QUERY: Duration = Duration::from_micros(60);

const DOING: &str = "leaving the write lock to an app";

/// Asked by a turn, after each row, whether it is to end.
#[derive(Debug)]
pub(crate) struct GiveWay<'a> {
    tx: &'a Transaction<'a>,
    gives_way: Cell<bool>,
    meets: fn(&Transaction<'_>) -> bool,
}

impl<'a> GiveWay<'a> {
    pub(crate) fn new(tx: &'a Transaction<'a>, gives_way: bool) -> Self {
        Self { tx, gives_way: Cell::new(gives_way), meets: meets_transaction }
    }

    /// One that gives way whenever `meets` says so.
    #[cfg(test)]
    pub(crate) fn when(tx: &'a Transaction<'a>, meets: fn(&Transaction<'_>) -> bool) -> Self {
        Self { tx, gives_way: Cell::new(true), meets }
    }

    /// From here on the turn does what is not done twice.
    pub(crate) fn goes_through(&self) {
        self.gives_way.set(false);
    }

    /// Fails where another process has a transaction open and the turn gives way; see [`gave_way`].
    pub(crate) fn check(&self) -> Result<()> {
        if self.gives_way.get() && (self.meets)(self.tx) {
            let busy = ffi::Error::new(ffi::SQLITE_BUSY);
            return Err(Error::Sqlite { doing: DOING, source: rusqlite::Error::SqliteFailure(busy, None) });
        }
        Ok(())
    }

    /// The last check before a commit. It leaves so little of the commit to be done that hardly any transaction begins
    /// meanwhile.
    pub(crate) fn clear_for_commit(&self) -> Result<()> {
        if self.gives_way.get() {
            self.check()?;
            // To the log, where nobody sees it before the commit: <https://sqlite.org/c3ref/db_cacheflush.html>.
            self.tx.cache_flush().doing("writing a turn to the log")?;
        }
        self.check()
    }
}

/// Whether a turn failed because it gave way.
pub(crate) fn gave_way(error: &Error) -> bool {
    matches!(error, Error::Sqlite { doing: DOING, .. })
}

/// Whether another process has a transaction open, and for longer than a query takes.
pub(crate) fn meets_transaction(tx: &Transaction<'_>) -> bool {
    let begun = Instant::now();
    while driftless_wal::has_external_transaction(tx).unwrap_or(false) {
        if begun.elapsed() >= QUERY {
            return true;
        }
        std::hint::spin_loop();
    }
    false
}
