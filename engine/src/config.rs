//! Every choice an embedder can make, with its default and unit.

use std::time::Duration;

/// How an engine works on a file. `Config::default()` suits nearly everybody.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// How long to wait for SQLite's write lock before leaving the work for the next turn. Default: 5 seconds.
    pub busy_timeout: Duration,
    /// The most rows that one turn captures. Default: 20,000.
    pub turn_rows: usize,
    /// How long a turn aims to hold the write lock while nobody else writes. Default: 100 milliseconds.
    pub turn_time: Duration,
    /// The same while somebody else does, whose writes wait for ours. Default: 10 milliseconds.
    pub contended_turn_time: Duration,
    /// How long the lock is left alone after it was held for `turn_time`, so that a writer who waits gets it:
    /// SQLite's busy timeout looks every 25 milliseconds by then. Default: 30 milliseconds.
    pub turn_gap: Duration,
    /// How often to look for commits of other processes where file events do not tell. Default: 250 milliseconds.
    pub poll_interval: Duration,
    /// About how large a changeset's body grows before the next is begun, in bytes before compression. Default:
    /// 256 KiB.
    pub changeset_bytes: usize,
    /// Changes that the change feed holds for a subscriber that does not read; beyond, it is told that it missed
    /// some. Default: 1,024.
    pub feed_capacity: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(5),
            turn_rows: 20_000,
            turn_time: Duration::from_millis(100),
            contended_turn_time: Duration::from_millis(10),
            turn_gap: Duration::from_millis(30),
            poll_interval: Duration::from_millis(250),
            changeset_bytes: 256 << 10,
            feed_capacity: 1024,
        }
    }
}

/// How a table is tracked. The options belong to the space: every replica must treat a table alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TableOptions {
    /// Track a table whose key is an alias of the rowid, although two replicas that are offline would both make
    /// row 7 and the two would become one. Default: refuse such tables.
    pub allow_integer_key: bool,
    /// A delete wins over a concurrent edit. Default: the edit wins, so that nobody's work vanishes.
    pub deletes_win: bool,
}

impl TableOptions {
    /// The default, with integer keys allowed.
    pub fn integer_key() -> Self {
        Self { allow_integer_key: true, ..Self::default() }
    }

    /// These options, with deletes winning over concurrent edits.
    pub fn deletes_win(self) -> Self {
        Self { deletes_win: true, ..self }
    }
}

/// How to reach a relay.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SyncConfig {
    /// The space's address: `ws://host:port/<space>` or `wss://…`.
    pub url: String,
    /// A token that grants access, where the relay asks for one.
    pub token: Option<String>,
    /// The first wait after a connection fails; it doubles from there, with jitter. Default: 250 milliseconds.
    pub backoff_min: Duration,
    /// The longest wait. Default: 30 seconds.
    pub backoff_max: Duration,
    /// How long connecting and the relay's first answer may take. Default: 10 seconds.
    pub connect_timeout: Duration,
    /// How long the connection may be silent, pings included, before it counts as dead. Default: 45 seconds.
    pub silence: Duration,
}

impl SyncConfig {
    /// The defaults for this address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: None,
            backoff_min: Duration::from_millis(250),
            backoff_max: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            silence: Duration::from_secs(45),
        }
    }

    /// Checks the address without connecting. Fails with [`Error::BadUrl`](crate::Error::BadUrl).
    pub fn check(&self) -> crate::Result<()> {
        crate::sync::address::Address::parse(&self.url).map(|_| ())
    }

    /// With a token.
    pub fn token(mut self, token: Option<String>) -> Self {
        self.token = token;
        self
    }
}
