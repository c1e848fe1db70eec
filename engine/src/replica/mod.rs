//! One database file as a replica: the façade over capture, apply and materialize. It alone begins transactions
//! and knows the order of the steps. Blocking; one thread owns it.
//!
//! May use `turn` and what is below it. Begin with [`turn`], and there with `Replica::try_turn`.

mod cascade;
mod conversation;
mod durability;
mod lock_wait;
mod mark;
mod naming;
mod notes;
mod opening;
mod pace;
mod place;
pub(crate) mod repair;
mod rest;
mod shunned;
pub(crate) mod snapshot;
mod space;
pub(crate) mod status;
mod turn;
mod user_tables;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use driftless_protocol::ReplicaId;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::broadcast;

use crate::config::{Config, TableOptions};
use crate::env::{is_virtual, now};
use crate::error::{Doing, Result};
use crate::file::lock::EngineLock;
use crate::file::notice::Notice;
use crate::schema::settling::Settling;
use crate::schema::tracking;
use crate::schema::tracking::look;
use crate::store::sql;
#[cfg(feature = "sim")]
use crate::store::{self, backlog, identity, tables};
use crate::turn::changes::{ChangeFeed, Changes};

use cascade::Cascade;
pub(crate) use conversation::{Introduction, Verdict};
use durability::Durability;
use mark::Memory;
use notes::Notes;
pub(crate) use opening::last_write;
use pace::Pace;
use place::Place;
use rest::Rest;
use shunned::Shunned;
pub(crate) use space::Made;
use status::Status;
pub(crate) use turn::Turn;
use user_tables::UserTables;

/// How long to wait at a time for a table that was rebuilt to be left alone.
pub(crate) const SHORTEST_WAIT: Duration = Duration::from_millis(5);
pub(crate) const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// One database file, opened by the engine.
#[derive(Debug)]
pub(crate) struct Replica {
    connection: Connection,
    path: PathBuf,
    place: Place,
    config: Config,
    replica: ReplicaId,
    memory: Memory,
    rest: Rest,
    user_tables: UserTables,
    pace: Pace,
    /// Whether the next turn gives the lock back if another process has a transaction open.
    gives_way: bool,
    /// Whether an app is at work, so that turns are to be short.
    beside_app: bool,
    notes: Notes,
    durability: Durability,
    shunned: Shunned,
    cascade: Cascade,
    feed: broadcast::Sender<Changes>,
    lock: EngineLock,
}

fn begin(connection: &mut Connection) -> Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate).doing("waiting for the write lock")
}

impl Replica {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the engine says how it is.
    pub(crate) fn notice(&self) -> &Notice {
        self.lock.notice()
    }

    /// How the file is doing, by the connection that is open.
    pub(crate) fn status(&self) -> Result<Status> {
        let is_current = self.user_tables.schema_version == Some(schema_version(&self.connection)?);
        status::read(&self.connection, &self.path, is_current.then_some(&self.user_tables.catalog))
    }

    /// This file's id.
    pub(crate) fn id(&self) -> ReplicaId {
        self.replica
    }

    /// Leaves it to the system when to write to the disk: for files that need not outlive a test.
    #[cfg(feature = "sim")]
    pub(crate) fn without_fsync(&mut self) -> Result<()> {
        self.durability.turn_off(&self.connection)
    }

    /// Whether everything that was committed is captured, and everything that is applied is shown.
    #[cfg(feature = "sim")]
    pub(crate) fn is_idle(&self) -> Result<bool> {
        use crate::store::dirty;
        let connection = &self.connection;
        Ok(dirty::read(connection, 1)?.is_empty()
            && !identity::group_open(connection)?
            && backlog::is_empty(connection)?
            && store::settled::is_empty(connection)?
            && backlog::refresh_is_empty(connection)?
            && !tables::any_unjudged(connection)?
            && !tables::any_rebuilt(connection)?
            && !identity::is_parking(connection)?
            && self.cascade.is_over())
    }

    /// Counts, in thousands, the steps that SQLite takes for the engine.
    #[cfg(feature = "sim")]
    pub(crate) fn count_steps(&mut self) -> Result<std::sync::Arc<std::sync::atomic::AtomicU64>> {
        let steps = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let count = std::sync::Arc::clone(&steps);
        let handler = move || {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            false
        };
        self.connection.progress_handler(1000, Some(handler)).doing("counting steps")?;
        Ok(steps)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// A subscription to what changes from now on.
    pub(crate) fn subscribe(&self) -> ChangeFeed {
        ChangeFeed::new(self.feed.subscribe())
    }

    /// Begins to track tables, all or none. Returns their names as the tables spell them.
    pub(crate) fn track(&mut self, names: &[&str], options: TableOptions) -> Result<Vec<String>> {
        let quiet = self.config.rebuild_quiet;
        self.write("tracking tables", |tx, _| {
            // A missing trigger is how a look knows that a table was rebuilt, and tracking makes the triggers anew.
            look::at_tables(tx, &mut Settling::new(quiet, None), now())?;
            tracking::track(tx, names, options, now())
        })
    }

    /// Ceases to track tables, all or none. What was written before is captured first.
    pub(crate) fn untrack(&mut self, names: &[&str]) -> Result<Vec<String>> {
        self.capture_settled()?;
        let untracked = self.write("untracking tables", |tx, _| tracking::untrack(tx, names))?;
        self.user_tables.look_again();
        Ok(untracked)
    }

    /// A number that changes when another connection commits. Fails where the file may be another: then a turn finds out.
    pub(crate) fn data_version(&self) -> Result<i64> {
        if self.is_elsewhere() {
            return Err(self.away("may have been replaced".to_owned()));
        }
        data_version(&self.connection)
    }

    /// Whether another connection has committed since the last turn, by the file's [`Replica::data_version`] now.
    pub(crate) fn is_foreign(&self, data_version: i64) -> bool {
        data_version != self.memory.data_version
    }

    /// Whether a turn is to be taken though nobody has committed: to look again at new tables and at those that were rebuilt,
    /// or because the database was written to.
    pub(crate) fn is_due(&self) -> bool {
        self.user_tables.newcomers.is_due(now()) || self.is_settling_due() || self.is_checkpointed()
    }

    /// Whether another process has a transaction open. `false` where SQLite cannot tell; connections of this process are
    /// not counted.
    pub(crate) fn others_have_transactions(&self) -> bool {
        driftless_wal::has_external_transaction(&self.connection).unwrap_or(false)
    }

    /// Says of the next turn whether it gives the lock back, and does nothing, if another process has a transaction open
    /// when it has the lock, or begins one before the turn commits: its first write would fail. And whether the turn is to
    /// be short, for an app that is at work.
    pub(crate) fn prepare_turn(&mut self, gives_way: bool, beside_app: bool) {
        (self.gives_way, self.beside_app) = (gives_way, beside_app);
    }

    /// Captures everything that is committed now, but for what was done to a table that was made, or made anew, and is not
    /// left alone yet. Returns in how long that may be captured; `None` if nothing is left.
    pub(crate) fn capture_all(&mut self) -> Result<Option<Duration>> {
        loop {
            let turn = self.turn(&mut VecDeque::new())?;
            if !turn.more {
                let newcomers = self.user_tables.newcomers.due_in(now());
                return Ok(turn.settles_in.into_iter().chain(newcomers).min());
            }
        }
    }

    /// Captures everything that is committed now, and waits until tables in the making have been left alone. Where a
    /// test sets the time, which does not pass by itself, it does not wait.
    pub(crate) fn capture_settled(&mut self) -> Result<()> {
        while let Some(wait) = self.capture_all()? {
            if is_virtual() {
                break;
            }
            std::thread::sleep(wait.clamp(SHORTEST_WAIT, LONGEST_WAIT));
        }
        Ok(())
    }

    /// Whether a table that was rebuilt may be compared with its documents now.
    pub(crate) fn is_settling_due(&self) -> bool {
        self.user_tables.is_settling_due()
    }
}

fn schema_version(connection: &Connection) -> Result<i64> {
    sql::one(connection, "reading the schema version", "PRAGMA schema_version", [], sql::first)
}

fn data_version(connection: &Connection) -> Result<i64> {
    sql::one(connection, "reading the data version", "PRAGMA data_version", [], sql::first)
}
