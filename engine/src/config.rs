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
    /// The same while somebody else does, whose writes wait for ours, and fail if their transactions have read before. Default:
    /// 5 milliseconds. While capture stays behind such a writer, turns get longer, up to `turn_time`.
    pub contended_turn_time: Duration,
    /// How long the lock is left alone after it was held for `turn_time`, so that a writer who waits gets it:
    /// SQLite's busy timeout looks every 25 milliseconds by then. Default: 30 milliseconds.
    pub turn_gap: Duration,
    /// How long SQLite may take to write one merged row, with all that the table's constraints, indexes and triggers do then.
    /// A row that takes longer is parked. After each such row of a table the next gets half as long, so that no table
    /// holds the others up for more than twice this time. Default: 10 seconds.
    pub row_time: Duration,
    /// How often to look for commits of other processes where file events do not tell. Default: 250 milliseconds.
    pub poll_interval: Duration,
    /// How long a table that was dropped and made anew, as by a migration, must have been left alone before it is compared
    /// with what was known of it: then rows that are missing count as deleted. A table that is written all the time is
    /// compared after fifteen times as long, which is 30 seconds, or later, once no row that is missing comes back any more:
    /// as long as they do, an import is filling it. Default: 2 seconds.
    pub rebuild_quiet: Duration,
    /// How long nobody may have committed before the log is copied into the database, so that `cp` of the file alone has
    /// everything. It waits for nobody and nobody waits for it. `Duration::MAX`: never. Default: 1 second.
    pub checkpoint_after: Duration,
    /// About how large a changeset's body grows before the next is begun, in bytes before compression. Default:
    /// 256 KiB.
    pub changeset_bytes: usize,
    /// Changes that the change feed holds for a subscriber that does not read; beyond, it is told that it missed
    /// some. Default: 1,024.
    pub feed_capacity: usize,
    /// Whether opening a file fails with [`Error::TrackingLost`](crate::Error::TrackingLost) if it was synced before and has lost
    /// all that Driftless kept in it. Default: `false`, for apps that track their tables at every start.
    pub refuse_lost: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(5),
            turn_rows: 20_000,
            turn_time: Duration::from_millis(100),
            contended_turn_time: Duration::from_millis(5),
            turn_gap: Duration::from_millis(30),
            row_time: Duration::from_secs(10),
            poll_interval: Duration::from_millis(250),
            rebuild_quiet: Duration::from_secs(2),
            checkpoint_after: Duration::from_secs(1),
            changeset_bytes: 256 << 10,
            feed_capacity: 1024,
            refuse_lost: false,
        }
    }
}

/// What becomes of a column that is written in several places at once. Kinds belong to the space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnKind {
    /// One value is shown, the others are kept as conflicts. What every column is unless it is said to be another.
    #[default]
    Register,
    /// A text of which both sides' changes are merged.
    Text,
    /// An integer: what is written is what it adds to what was there, and everything that is added counts.
    Counter,
}

impl ColumnKind {
    const NAMES: [(Self, &'static str); 3] =
        [(Self::Register, "register"), (Self::Text, "text"), (Self::Counter, "counter")];

    /// `register`, `text` or `counter`.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

impl std::fmt::Display for ColumnKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for ColumnKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::NAMES.iter().find(|(_, known)| *known == name);
        known.map(|(kind, _)| *kind).ok_or_else(|| "a column is a register, a text or a counter".to_owned())
    }
}

/// How a table is tracked. The options belong to the space: every replica must treat a table alike.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TableOptions {
    /// Track a table whose key is an alias of the rowid, although two replicas that are offline would both make
    /// row 7 and the two would become one. Default: refuse such tables.
    pub allow_integer_key: bool,
    /// A delete wins over a concurrent edit. Default: what the space says of the table; if it says nothing, the edit wins, so that
    /// nobody's work vanishes.
    pub deletes_win: bool,
    /// Columns that are of a certain kind: `column`, or `table.column` where several tables are tracked at once.
    /// Default: what the space says of the table; registers, if it says nothing.
    pub kinds: Vec<(String, ColumnKind)>,
}

impl TableOptions {
    /// The default, with integer keys allowed.
    pub fn integer_key() -> Self {
        Self { allow_integer_key: true, ..Self::default() }
    }

    /// These options, without what they say of columns.
    pub(crate) fn without_kinds(&self) -> Self {
        Self { kinds: Vec::new(), ..self.clone() }
    }

    /// These options, with deletes winning over concurrent edits.
    pub fn deletes_win(self) -> Self {
        Self { deletes_win: true, ..self }
    }

    /// These options, with a column whose texts are merged.
    pub fn text(self, column: impl Into<String>) -> Self {
        self.kind(column, ColumnKind::Text)
    }

    /// These options, with a column of which everything that is added counts.
    pub fn counter(self, column: impl Into<String>) -> Self {
        self.kind(column, ColumnKind::Counter)
    }

    /// These options, with a column of this kind.
    pub fn kind(mut self, column: impl Into<String>, kind: ColumnKind) -> Self {
        self.kinds.push((column.into(), kind));
        self
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
    /// Whether the space may have another name than the one that the file was last synced with. Else such an address counts as
    /// mistyped: a file that belongs to a space opens it under another name only where a relay has it under that name; one
    /// that belongs to none, since a backup from before it was tracked took its place, is refused. Default: no.
    pub new_space: bool,
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
            new_space: false,
            backoff_min: Duration::from_millis(250),
            backoff_max: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            silence: Duration::from_secs(45),
        }
    }

    /// With [`new_space`](Self::new_space): the address may name another space than the last one, which is made if it does
    /// not exist.
    pub fn new_space(mut self, new_space: bool) -> Self {
        self.new_space = new_space;
        self
    }

    /// With a token.
    pub fn token(mut self, token: Option<String>) -> Self {
        self.token = token;
        self
    }
}
