//! Whether the file is still as this engine left it. It is not if it was restored in place while the engine ran: by
//! `.restore`, by the backup API, or by another file's bytes written over it. These keep the inode, and the file goes
//! on from an earlier state. If the engine went on under its replica id, it would give numbers to changesets that a
//! relay already holds with other content.
//!
//! So every commit of an engine leaves a new random number in the file, the *nonce*, and every transaction that writes
//! begins by comparing it, the replica id and the last own seq with what this engine remembers of its last commit. If
//! they differ, the file takes a new replica id in that very transaction: what a relay has acknowledged stays under the
//! old id, so what the file no longer knows of it comes back from the relay like any other replica's changesets; what was
//! not sent is renumbered. The engine takes a new writer id as well, since documents under the old one may be further on.

use std::path::Path;

use driftless_protocol::{ReplicaId, WriterId};
use rusqlite::{Connection, Transaction};

use super::naming::take_new_name;
use super::repair;
use super::{Replica, begin, schema_version};
use crate::env::ids;
use crate::error::{Doing, Result};
use crate::file::lock;
use crate::store::{health, identity, progress};

/// What a file says of itself after an engine's commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) replica: ReplicaId,
    seq: u64,
    nonce: Option<i64>,
}

impl Mark {
    /// `None` if the file does not say who it is: its side tables were dropped, or it is from before they were made.
    pub(super) fn read(connection: &Connection) -> Result<Option<Self>> {
        let Some(replica) = identity::replica_if_known(connection)? else { return Ok(None) };
        let (seq, nonce) = (progress::of(connection, replica)?, identity::nonce(connection)?);
        Ok(Some(Self { replica, seq, nonce }))
    }

    /// Leaves a new one in the file, as the last thing before a commit.
    pub(super) fn leave(tx: &Transaction<'_>) -> Result<Self> {
        let replica = identity::replica(tx)?;
        let nonce = ids::nonce();
        identity::set_nonce(tx, nonce)?;
        Ok(Self { replica, seq: progress::of(tx, replica)?, nonce: Some(nonce) })
    }
}

/// What this engine remembers of the file since its last commit.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) mark: Mark,
    pub(super) writer: WriterId,
    /// SQLite's `data_version` at the end of the last turn: whether others have committed since.
    pub(super) data_version: i64,
    /// SQLite's `schema_version` when the side tables were looked at, before the first turn.
    pub(super) side_tables_at: Option<i64>,
}

/// How a transaction found the file at its beginning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// The file's id, which the transaction writes under.
    pub(super) replica: ReplicaId,
    /// Whether the file is not as this engine left it, or was repaired. Then nothing that is remembered of it holds.
    pub(super) changed: bool,
    /// SQLite's `schema_version`.
    pub(super) schema_version: i64,
    writes: u64,
}

impl Found {
    /// Compares the file with what is `known` of it, in a transaction that has just begun. `side_tables`: with `None`
    /// no lost side tables are looked for, with `Some(false)` only those that were emptied, with `Some(true)` also
    /// those that were dropped.
    pub(super) fn look(
        tx: &Transaction<'_>,
        path: &Path,
        known: &Mark,
        side_tables: Option<bool>,
    ) -> Result<Self> {
        let (writes, schema_version) = (tx.total_changes(), schema_version(tx)?);
        let found = |replica, changed| Self { replica, changed, writes, schema_version };
        if side_tables == Some(true) && !health::any(tx)? {
            // No side table is left. A repair would make them again, empty: the file would go on with nothing
            // tracked, unnoticed.
            return Err(lock::tracking_lost(path));
        }
        let named = identity::replica_if_known(tx)?;
        let mut repaired = match side_tables {
            Some(whole) => repair::restore_lost(tx, path, whole)?,
            None => false,
        };
        // A mark that cannot be read is lost or damaged: a repair finds out which, and fails if it is neither.
        let mut mark = Mark::read(tx).unwrap_or(None);
        if mark.is_none() {
            if !health::any(tx)? {
                return Err(lock::tracking_lost(path));
            }
            repaired |= repair::restore_lost(tx, path, true)?;
            mark = Mark::read(tx)?;
        }
        if mark.as_ref() == Some(known) {
            return Ok(found(known.replica, repaired));
        }
        match mark {
            // The repair has just given the file a new id, which nobody else has.
            Some(mark) if repaired && named != Some(mark.replica) => Ok(found(mark.replica, true)),
            _ => {
                let replica = take_new_name(tx)?;
                if let Some(inode) = identity::inode_of(path)? {
                    identity::set_inode(tx, inode)?;
                }
                tracing::warn!(path = %path.display(), old = %known.replica.short(), new = %replica.short(),
                    "the file was restored to an earlier state: it goes on as a new replica, and what it had sent comes \
                     back from the relay");
                Ok(found(replica, true))
            }
        }
    }

    /// Whether anything was written since [`Found::look`], or the schema is another now.
    pub(super) fn has_written(&self, tx: &Transaction<'_>, schema_version: i64) -> bool {
        tx.total_changes() != self.writes || schema_version != self.schema_version
    }

    /// Leaves a new mark if anything was written since [`Found::look`]. Returns what is known of the file once the
    /// transaction is committed.
    pub(super) fn leave_mark(&self, tx: &Transaction<'_>, known: &Mark) -> Result<Mark> {
        let wrote = tx.total_changes() != self.writes || schema_version(tx)? != self.schema_version;
        if wrote || self.changed { Mark::leave(tx) } else { Ok(*known) }
    }
}

impl Replica {
    /// Runs `work` in a transaction of its own. If the file is not as this engine left it, it takes a new replica id
    /// first. `work` is told what was found.
    pub(super) fn write<T>(
        &mut self,
        doing: &'static str,
        work: impl FnOnce(&Transaction<'_>, Found) -> Result<T>,
    ) -> Result<T> {
        self.check_place()?;
        let tx = begin(&mut self.connection)?;
        let found = Found::look(&tx, &self.path, &self.memory.mark, None)?;
        let done = work(&tx, found)?;
        let mark = found.leave_mark(&tx, &self.memory.mark)?;
        tx.commit().doing(doing)?;
        if mark != self.memory.mark {
            self.rest.stir();
        }
        self.memory.mark = mark;
        if found.changed {
            self.memory.writer = ids::writer();
            self.user_tables.look_again();
        }
        self.replica = mark.replica;
        Ok(done)
    }
}
