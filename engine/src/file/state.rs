//! How a running engine and its connection to a relay are: what `sync` tells the app, and the lock file others.

use std::time::Duration;

/// How the engine's thread is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It works.
    Well,
    /// Another connection has held the write lock for so long, and longer than [`Config::busy_timeout`](crate::Config). The
    /// work waits, is tried again, and goes on when the lock is free: nothing is lost. Said again after each attempt.
    Busy(Duration),
    /// The last turn failed; it is tried again. The text says why.
    Ailing(String),
    /// It stopped for good: closed, or for the reason given.
    Stopped(Option<String>),
}

/// How the connection to the relay is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncState {
    /// Connecting, or waiting for the relay's welcome.
    Connecting,
    /// Connected: changes flow both ways.
    Online,
    /// Not connected. Changes are kept and sent when the relay is back.
    Offline {
        /// What failed.
        why: String,
        /// When the next attempt begins.
        retry_in: Duration,
    },
    /// The relay refuses for good; the text says why. Syncing has ended.
    Refused(String),
    /// Stopped by its owner.
    Stopped,
}
