//! The change feed: which rows of which table changed, and whether here or elsewhere.

use driftless_protocol::{RowKey, Value};
use tokio::sync::broadcast;

use crate::schema::Tracked;

/// Where a change was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// By a connection to this file; it has just been captured.
    Local,
    /// On another replica; it has just been written into this file.
    Remote,
}

/// A row that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedRow {
    /// The table, as the user wrote it.
    pub table: String,
    key: RowKey,
}

impl ChangedRow {
    pub(crate) fn new(tracked: &Tracked, key: RowKey) -> Self {
        Self { table: tracked.table.spelled.clone(), key }
    }

    /// The primary key, one value a column. Text of a NOCASE column is in lower case, of an RTRIM column without
    /// trailing spaces: SQLite finds the row by it all the same.
    pub fn key(&self) -> Vec<Value<'static>> {
        self.key.values()
    }
}

/// Rows that changed together in one turn of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// Where.
    pub origin: Origin,
    /// Which rows; each once.
    pub rows: Vec<ChangedRow>,
}

/// What a subscriber hears.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FeedEvent {
    /// Rows changed.
    Changed(Changes),
    /// The subscriber read too slowly and missed this many events: read the tables anew.
    Missed(u64),
}

/// A subscription to the change feed. Dropping it ends it.
#[derive(Debug)]
pub struct ChangeFeed {
    receiver: broadcast::Receiver<Changes>,
}

impl ChangeFeed {
    pub(crate) fn new(receiver: broadcast::Receiver<Changes>) -> Self {
        Self { receiver }
    }

    /// Waits for the next event; `None` once the engine has stopped. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<FeedEvent> {
        match self.receiver.recv().await {
            Ok(changes) => Some(FeedEvent::Changed(changes)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(FeedEvent::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }

    /// Like [`ChangeFeed::next`], blocking. Not to be called on an async runtime's thread.
    pub fn next_blocking(&mut self) -> Option<FeedEvent> {
        match self.receiver.blocking_recv() {
            Ok(changes) => Some(FeedEvent::Changed(changes)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(FeedEvent::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
