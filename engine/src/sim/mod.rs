//! A replica without threads, sockets or a relay, for tests that decide themselves what arrives where, when and how
//! often: feature `sim`, off by default. No part of the public API; it may change with any version.
//!
//! It does what the engine does with one turn after the other, and nothing between calls. [`Link`] is its side of a
//! connection to a relay, likewise one step at a time. With [`set_clock`] and [`set_seed`] a thread's replicas do the
//! same again and again.
//!
//! May use `sync` and what is below it.

mod link;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use driftless_protocol::message::Welcome;
use driftless_protocol::{Changeset, ReplicaId, SnapshotPart, StateVector};

use crate::config::{Config, TableOptions};
use crate::env::clock::virtual_time;
use crate::env::ids::seeded;
use crate::error::Result;
use crate::replica::snapshot;
use crate::replica::{self, Verdict};
use crate::turn::merge::Incoming;

pub use link::{Ended, Link};

/// More turns than any test needs. One that takes more would go on for ever.
const MOST_TURNS: usize = 1_000_000;

/// Sets the clock of this thread's replicas, in milliseconds since 1970; `None` gives them the machine's again.
pub fn set_clock(now: Option<i64>) {
    virtual_time::set(now);
}

/// From now on this thread's replicas draw their ids from this seed; `None` gives them the system's randomness again.
pub fn set_seed(seed: Option<u64>) {
    seeded::set(seed);
}

/// Gives a connection the mathematical functions that the SQLite of most systems has, and the bundled one lacks.
pub fn math_functions(connection: &rusqlite::Connection) -> rusqlite::Result<()> {
    crate::store::math::provide(connection)
}

/// A database file, opened as the one engine that it may have.
#[derive(Debug)]
pub struct Replica {
    inner: replica::Replica,
}

impl Replica {
    /// Opens an existing database, making the side tables if they are not there. Captures nothing yet. Unlike the engine
    /// it does not wait for the disk: what it does survives the process, not the machine.
    pub fn open(path: impl AsRef<Path>, config: Config) -> Result<Self> {
        let mut inner = replica::Replica::open(path.as_ref(), config)?;
        inner.without_fsync()?;
        Ok(Self { inner })
    }

    /// The same, but what it commits is on the disk, as with the engine: for disks that a test makes fail.
    pub fn open_durable(path: impl AsRef<Path>, config: Config) -> Result<Self> {
        Ok(Self { inner: replica::Replica::open(path.as_ref(), config)? })
    }

    /// Begins to track tables, all or none, and captures the rows that are there.
    pub fn track(&mut self, names: &[&str], options: TableOptions) -> Result<Vec<String>> {
        let tracked = self.inner.track(names, options)?;
        self.inner.capture_all()?;
        Ok(tracked)
    }

    /// Ceases to track tables, all or none.
    pub fn untrack(&mut self, names: &[&str]) -> Result<Vec<String>> {
        self.inner.untrack(names)
    }

    /// Takes changesets, in the order given, and goes on until nothing is left to do: what was written is captured,
    /// what came in is applied or waits in the inbox. Fails before anything happens on a frame that is malformed.
    pub fn turn(&mut self, changesets: Vec<Bytes>) -> Result<()> {
        let frames =
            changesets.into_iter().map(|frame| Ok(Incoming::Changeset(Changeset::from_bytes(frame)?)));
        self.take(frames.collect::<Result<_>>()?)
    }

    /// Takes the parts of a snapshot, as [`Replica::turn`] does changesets.
    pub fn take_snapshot(&mut self, parts: Vec<Bytes>) -> Result<()> {
        let parts = parts.into_iter().map(|part| Ok(Incoming::SnapshotPart(SnapshotPart::from_bytes(part)?)));
        self.take(parts.collect::<Result<_>>()?)
    }

    /// One turn, with nothing coming in. Returns whether there is more to do.
    pub fn one_turn(&mut self) -> Result<bool> {
        Ok(self.inner.turn(&mut VecDeque::new())?.more)
    }

    /// The same as [`Replica::turn`], with a look at the file after each turn.
    pub fn turn_by_turn(&mut self, changesets: Vec<Bytes>, look: impl FnMut(&Path)) -> Result<()> {
        let frames =
            changesets.into_iter().map(|frame| Ok(Incoming::Changeset(Changeset::from_bytes(frame)?)));
        self.take_looking(frames.collect::<Result<_>>()?, look)
    }

    fn take(&mut self, incoming: VecDeque<Incoming>) -> Result<()> {
        self.take_looking(incoming, |_| {})
    }

    fn take_looking(&mut self, mut incoming: VecDeque<Incoming>, mut look: impl FnMut(&Path)) -> Result<()> {
        for _ in 0..MOST_TURNS {
            let turn = self.inner.turn(&mut incoming)?;
            look(self.inner.path());
            if !turn.more && incoming.is_empty() {
                return Ok(());
            }
        }
        panic!("there is still something to do after {MOST_TURNS} turns");
    }

    /// Own changesets after `seq`, as they travel. Those that a relay holds for good are no longer here.
    pub fn changesets_after(&self, seq: u64) -> Result<Vec<Bytes>> {
        let changesets = self.inner.outgoing(seq, usize::MAX)?;
        Ok(changesets.iter().map(|changeset| changeset.bytes().clone()).collect())
    }

    /// Everything that is applied, as the parts of a snapshot; none while a transaction is captured in part.
    pub fn snapshot(&self) -> Result<Vec<Bytes>> {
        let mut parts = Vec::new();
        snapshot::make(self.inner.path(), self.inner.config().busy_timeout, |part| {
            parts.push(part.bytes().clone());
            true
        })?;
        Ok(parts)
    }

    /// Joins a space as on a relay's welcome. If the space holds what this file never wrote under its name, the file is
    /// a copy, takes another name, and `true` is returned: then it must be welcomed again.
    pub fn welcome(&mut self, welcome: &Welcome) -> Result<bool> {
        let own = self.inner.id();
        match self.inner.welcome(own, welcome, "sim:")? {
            Verdict::Proceed { .. } => return Ok(false),
            Verdict::Renamed => {}
            Verdict::Copy => self.inner.become_new()?,
        }
        Ok(true)
    }

    /// Makes the tables that the space defines and that are not here, and tracks them, as a clone does.
    pub fn make_defined_tables(&mut self) -> Result<Vec<String>> {
        let made = self.inner.make_defined_tables()?;
        self.inner.capture_all()?;
        Ok(made.tables)
    }

    /// From now on counts, in thousands, the steps of SQLite's virtual machine that the engine's statements take: what they
    /// cost, on whatever machine. See <https://sqlite.org/c3ref/progress_handler.html>.
    pub fn count_steps(&mut self) -> Result<Arc<AtomicU64>> {
        self.inner.count_steps()
    }

    /// Whether everything that was committed is captured, and everything that is applied is shown.
    pub fn is_idle(&self) -> Result<bool> {
        self.inner.is_idle()
    }

    /// The state vector of what is applied.
    pub fn vector(&self) -> Result<StateVector> {
        self.inner.vector()
    }

    /// The file's id.
    pub fn replica_id(&self) -> ReplicaId {
        self.inner.id()
    }

    /// The file, with links resolved.
    pub fn path(&self) -> &Path {
        self.inner.path()
    }
}
