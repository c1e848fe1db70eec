//! The log: what a relay knows, durably, and the contract that every store of it keeps.
//!
//! Per space a log holds changesets in the order of their *offsets*, the number under which each was stored, and
//! any number of *active snapshots*. What the space holds is the union of both. Its head of a replica is the greater
//! of two numbers: the seq of the replica's last changeset in the log, and what the snapshots' vectors count.
//!
//! # The contract
//!
//! One suite of tests (`tests/log_contract.rs`) runs on every store.
//!
//! - An answer `Ok` to [`append`](LogStore::append) or [`put_snapshot`](LogStore::put_snapshot) means: on disk. A
//!   failure, at whatever moment, means that nothing of that request was kept or that repeating it is harmless.
//! - A changeset is accepted when its seq is the head plus one. At or below the head it is a duplicate, and fine,
//!   unless the log holds another checksum under its number ([`LogError::Forked`]). Above, it is a
//!   [`LogError::Gap`].
//! - Offsets of one space ascend in the order in which things were stored. They mean something only as long as the
//!   store stays open: a reader that comes back later starts from its vector.
//! - Whatever was answered `Ok` before a read began is seen by that read.
//! - A replica's changesets have ascending offsets. A number `log_from` is kept for each replica: the log has every
//!   changeset from there up to the head, and only snapshots have what lies below. So whether a reader needs the
//!   snapshots is one comparison for each replica, and costs nothing that grows with the log.
//! - Bodies are never opened.

pub mod memory;
pub mod sqlite;

use std::sync::Arc;

use bytes::Bytes;
use driftless_protocol::message::Head;
use driftless_protocol::{Changeset, ReplicaId, Seq, SnapshotPart, SpaceId, SpaceName, StateVector};
use futures_util::future::BoxFuture;
use tokio::sync::watch;

pub use crate::error::LogError;

/// The answer to a request to a store.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, LogError>>;

/// Who uploads a snapshot: one number for each connection, never used twice while the store is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(pub u64);

/// What became of the changesets of one [`LogStore::append`].
#[derive(Debug, Clone)]
pub struct Appended {
    /// How many, from the first on, are on disk now, duplicates included.
    pub stored: usize,
    /// Why the next one was refused; the rest after it was not looked at.
    pub refused: Option<LogError>,
}

/// An active snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRef {
    /// Its key in the store, for [`LogStore::parts`].
    pub key: u64,
    /// What its rows contain.
    pub vector: Arc<StateVector>,
}

/// A changeset in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it lies.
    pub offset: u64,
    /// Whose it is.
    pub replica: ReplicaId,
    /// Its number.
    pub seq: Seq,
    /// The frame to send ([`driftless_protocol::message::changeset_frame`]), made once where the bytes leave the
    /// store and shared by all who get it.
    pub frame: Bytes,
}

/// Something in the log, by offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A changeset.
    Changeset(Entry),
    /// A snapshot became active here.
    Snapshot {
        /// Where.
        offset: u64,
        /// Which.
        snapshot: SnapshotRef,
    },
}

impl Item {
    /// Where it lies.
    pub fn offset(&self) -> u64 {
        match self {
            Self::Changeset(entry) => entry.offset,
            Self::Snapshot { offset, .. } => *offset,
        }
    }

    /// About how much memory it holds, in bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::Changeset(entry) => entry.frame.len() + size_of::<Self>(),
            Self::Snapshot { snapshot, .. } => snapshot.vector.len() * 64 + size_of::<Self>(),
        }
    }
}

/// Where a reader begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Snapshots to deliver first, because the log alone cannot supply all that the reader lacks.
    pub snapshots: Vec<SnapshotRef>,
    /// The offset to read on after: just before the first changeset that the reader lacks.
    pub after: u64,
}

/// Some of the log, in the order of offsets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// What the reader lacks among what was looked at.
    pub items: Vec<Item>,
    /// The offset to read on after. It is at least the last offset that the space had when the read began,
    /// unless a limit was met.
    pub after: u64,
}

/// Some parts of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// The frames to send ([`driftless_protocol::message::snapshot_part_frame`]).
    pub frames: Vec<Bytes>,
    /// Whether the snapshot ends with them.
    pub last: bool,
}

/// A durable log of many spaces. See the [module](self) for the contract.
///
/// Requests are answered in any order; one that depends on another is made after that was answered. Dropping an
/// answer does not undo the request. The memory store answers at the first poll, so that a simulator can drive it
/// without a runtime.
pub trait LogStore: Send + Sync + std::fmt::Debug {
    /// The id of a space. If the space does not exist, and no space of another name has the id `known`, it is created
    /// with the id `known` or else `propose`.
    ///
    /// Fails with [`LogError::NoSuchSpace`] when it does not exist and both are `None`, with
    /// [`LogError::WrongSpace`] when it has another id than `known`, with [`LogError::OtherName`] when it does not exist and
    /// another space has that id: whoever asks has mistyped the name.
    fn open(
        &self,
        space: &SpaceName,
        known: Option<SpaceId>,
        propose: Option<SpaceId>,
    ) -> Answer<'_, SpaceId>;

    /// Stores changesets in their order, up to the first that is refused.
    fn append(&self, space: &SpaceName, changesets: Vec<Changeset>) -> Answer<'_, Appended>;

    /// What the space holds.
    fn heads(&self, space: &SpaceName) -> Answer<'_, StateVector>;

    /// The last changeset held of one replica; its checksum unless only a snapshot has it.
    fn head(&self, space: &SpaceName, replica: ReplicaId) -> Answer<'_, Option<Head>>;

    /// Stores a part of a snapshot; `true` when it was the last and the whole is on disk and active.
    ///
    /// The parts of one upload come in order, from 0 to the last. A part 0 begins anew and drops what the same
    /// upload had begun. On becoming active a snapshot replaces the active ones that its vector covers; if its
    /// vector brings nothing that the space lacks it is thrown away, and the answer is still `true`.
    ///
    /// Fails with [`LogError::Snapshot`] for a part out of place, with [`LogError::SnapshotTooLarge`] and
    /// [`LogError::UploadsFull`] at the limits on unfinished uploads; the upload is then gone.
    fn put_snapshot(&self, space: &SpaceName, upload: UploadId, part: SnapshotPart) -> Answer<'_, bool>;

    /// Drops what the upload left unfinished. Its connection has ended.
    fn end_upload(&self, upload: UploadId) -> Answer<'_, ()>;

    /// Where a reader begins that holds `have`.
    fn start(&self, space: &SpaceName, have: StateVector) -> Answer<'_, Start>;

    /// What lies after the offset `after` and is not counted by `have`: about `limit` bytes, but at least one item if
    /// there is any.
    fn read(&self, space: &SpaceName, after: u64, have: StateVector, limit: usize) -> Answer<'_, Page>;

    /// Parts of an active snapshot from the index `from` on, about `limit` bytes, at least one.
    /// `None` when the snapshot is no longer there: another one covers it, and the reader begins again from its
    /// vector.
    fn parts(&self, space: &SpaceName, snapshot: u64, from: u32, limit: usize) -> Answer<'_, Option<Parts>>;

    /// The greatest offset of the space, and every later one as soon as it is on disk.
    fn subscribe(&self, space: &SpaceName) -> Answer<'_, watch::Receiver<u64>>;

    /// Whether the store answers.
    fn ready(&self) -> Answer<'_, ()>;

    /// Stores and answers what was asked so far, then closes the files.
    fn close(&self) -> BoxFuture<'_, ()>;

    /// Closes the files at once, as a crash would: what is not on disk yet is given up. Blocks for as long as the
    /// write that is under way.
    fn kill(&self);
}

/// How much may be uploaded before it is known to be whole.
#[derive(Debug, Clone, Copy)]
pub struct UploadLimits {
    /// The largest snapshot, in bytes.
    pub snapshot: u64,
    /// All unfinished uploads together, in bytes.
    pub unfinished: u64,
}

impl Default for UploadLimits {
    fn default() -> Self {
        Self {
            snapshot: crate::defaults::MAX_SNAPSHOT_BYTES,
            unfinished: crate::defaults::MAX_UNFINISHED_UPLOAD_BYTES,
        }
    }
}
