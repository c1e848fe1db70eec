//! Repairs: side tables that somebody dropped or emptied ([`lost`]), parts that are rebuilt ([`parts`]), and what `verify` asks of
//! a replica beyond its turns: to judge parked rows again, to change the side tables, to take and give whole documents.

mod lost;
mod parts;

pub(crate) use lost::{forget_note, restore_lost};
pub(crate) use parts::{Part, rebuild};

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use driftless_protocol::{Changeset, ReplicaId, RowKey, SnapshotPart, WriterId};
use rusqlite::{Connection, Transaction};

use super::{Replica, begin};
use crate::env::{ids, now};
use crate::error::Result;
use crate::schema::unchanged;
use crate::store::{backlog, identity, parked, quarantine, writers};
use crate::turn::capture::{self, Author};
use crate::turn::materialize::{Limit, Materializer};
use crate::turn::merge::{Flow, Incoming, Merge};

impl Replica {
    /// Judges all that is parked anew, in a transaction that is rolled back. Returns what `look` saw before and after;
    /// `None` if nothing can be judged now, because a trigger of the user's rolls everything back.
    pub(crate) fn judge_parked<T>(
        &mut self,
        look: impl Fn(&Connection) -> Result<T>,
    ) -> Result<Option<(T, T)>> {
        let tx = begin(&mut self.connection)?;
        let before = look(&tx)?;
        // Nothing of what is noted is believed, not even what the rows wait for.
        parked::forget_waits(&tx)?;
        backlog::refresh_parked(&tx)?;
        let (catalog, shunned) = (&self.user_tables.catalog, self.shunned.rows());
        let materializer = Materializer::new(&tx, catalog, shunned, Limit::NONE, self.config.row_time)?;
        let mut merge = Merge::new(&tx, Default::default(), materializer)?;
        for table in catalog.iter() {
            merge.materializer.judge_all(table.id);
        }
        match merge.all(&[], usize::MAX >> 1, None)? {
            Flow::GoOn => Ok(Some((before, look(&tx)?))),
            Flow::RolledBack(_) | Flow::TooMany(_) => Ok(None),
        }
    }

    /// The repairs of the side tables since the file was last found well, in words.
    pub(crate) fn repaired(&self) -> Result<Option<String>> {
        identity::repaired(&self.connection)
    }

    /// Changes the side tables by way of repair.
    pub(crate) fn repair(&mut self, work: impl FnOnce(&Transaction<'_>) -> Result<()>) -> Result<()> {
        self.write("repairing the side tables", |tx, _| {
            work(tx)?;
            unchanged::forget(tx)
        })?;
        // See `Start::look`: documents may have been dropped.
        self.memory.writer = ids::writer();
        self.user_tables.look_again();
        Ok(())
    }

    /// Merges documents that others have, and shows them.
    pub(crate) fn take_documents(&mut self, parts: Vec<SnapshotPart>) -> Result<()> {
        self.take(parts.into_iter().map(Incoming::SnapshotPart).collect())
    }

    /// Tries again what was set aside. Returns how much of it is applied now.
    pub(crate) fn try_again(&mut self) -> Result<usize> {
        self.capture_settled()?;
        let before = quarantine::all(&self.connection)?;
        let count = before.len();
        let readable = before.into_iter().filter(|aside| aside.from.is_some()).filter_map(|aside| {
            Some(Incoming::Again(aside.id, Changeset::from_bytes(Bytes::from(aside.frame)).ok()?))
        });
        self.take(readable.collect())?;
        Ok(count.saturating_sub(quarantine::len(&self.connection)? as usize))
    }

    fn take(&mut self, mut incoming: VecDeque<Incoming>) -> Result<()> {
        while self.turn(&mut incoming)?.more || !incoming.is_empty() {}
        Ok(())
    }

    /// Forgets what was set aside under these numbers: what it says came another way.
    pub(crate) fn forget_set_aside(&mut self, ids: &[i64]) -> Result<()> {
        self.repair(|tx| ids.iter().try_for_each(|id| quarantine::remove(tx, *id)))
    }

    /// Learns who writers were. Returns how many were not known.
    pub(crate) fn remember_writers(&mut self, all: &[(WriterId, ReplicaId)]) -> Result<usize> {
        self.write("remembering writers", |tx, _| {
            let before = writers::all(tx)?.len();
            all.iter().try_for_each(|&(writer, replica)| writers::remember(tx, writer, replica))?;
            Ok(writers::all(tx)?.len() - before)
        })
    }

    /// Sends the documents of some rows whole, as changesets of ours.
    pub(crate) fn publish(&mut self, rows: &BTreeSet<(String, RowKey)>) -> Result<()> {
        self.capture_settled()?;
        let (writer, bytes) = (self.memory.writer, self.config.changeset_bytes);
        self.write("sending documents whole", |tx, found| {
            let writer = if found.changed { ids::writer() } else { writer };
            let author = Author { replica: found.replica, writer };
            capture::publish(tx, author, rows.iter().map(|(name, key)| (&**name, key)), bytes, now())
        })
    }
}
