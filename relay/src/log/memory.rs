//! A log in memory, for tests and simulators: the contract in its plainest form. Nothing outlives it.
//!
//! Every answer is ready at its first poll. Nothing here blocks for longer than a mutex is held by another call.

use std::collections::btree_map::Entry as MapEntry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use driftless_protocol::changeset::Checksum;
use driftless_protocol::message::{self, Head};
use driftless_protocol::{Changeset, ReplicaId, Seq, SnapshotPart, SpaceId, SpaceName, StateVector};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::watch;

use super::{
    Answer, Appended, Entry, Item, LogError, LogStore, Page, Parts, SnapshotRef, Start, UploadId,
    UploadLimits,
};

/// A log in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
    limits: UploadLimits,
}

#[derive(Debug, Default)]
struct State {
    spaces: HashMap<SpaceName, Space>,
    uploads: HashMap<UploadId, Upload>,
    next: u64,
    closed: bool,
}

#[derive(Debug)]
struct Space {
    id: SpaceId,
    heads: BTreeMap<ReplicaId, HeadRow>,
    log: BTreeMap<u64, (Entry, Checksum)>,
    by_replica: BTreeMap<(ReplicaId, Seq), u64>,
    snapshots: BTreeMap<u64, Snapshot>,
    grown: watch::Sender<u64>,
}

#[derive(Debug, Clone, Copy)]
struct HeadRow {
    seq: Seq,
    /// The log has every changeset from here to the head; one past the head if it has none.
    log_from: u64,
}

#[derive(Debug)]
struct Snapshot {
    vector: Arc<StateVector>,
    parts: Vec<Bytes>,
}

#[derive(Debug)]
struct Upload {
    space: SpaceName,
    id: [u8; 16],
    vector: StateVector,
    parts: Vec<Bytes>,
    bytes: u64,
}

impl MemoryStore {
    /// An empty log.
    pub fn new(limits: UploadLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    fn answer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> Result<T, LogError>,
    ) -> Answer<'_, T> {
        let mut state = self.lock();
        let answer = if state.closed { Err(LogError::Closed) } else { work(&mut state) };
        ready(answer).boxed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn space(&mut self, name: &SpaceName) -> Result<&mut Space, LogError> {
        self.spaces.get_mut(name).ok_or_else(|| LogError::NoSuchSpace(name.clone()))
    }

    fn offset(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn append_one(&mut self, name: &SpaceName, changeset: &Changeset) -> Result<(), LogError> {
        let offset = self.offset();
        let space = self.space(name)?;
        let (replica, seq) = (changeset.header.replica, changeset.header.seq);
        let held = space.heads.get(&replica).map_or(0, |head| head.seq.get());
        if seq.get() <= held {
            let stored = space.by_replica.get(&(replica, seq)).and_then(|at| space.log.get(at));
            return match stored {
                Some((_, checksum)) if *checksum != changeset.checksum() => {
                    Err(LogError::Forked { replica, seq })
                }
                _ => Ok(()),
            };
        }
        if seq.get() != held + 1 {
            return Err(LogError::Gap { replica, held, got: seq });
        }
        let frame = message::changeset_frame(changeset.bytes());
        space.log.insert(offset, (Entry { offset, replica, seq, frame }, changeset.checksum()));
        space.by_replica.insert((replica, seq), offset);
        space.heads.entry(replica).or_insert(HeadRow { seq, log_from: seq.get() }).seq = seq;
        space.grown.send_replace(offset);
        Ok(())
    }

    fn put(
        &mut self,
        name: &SpaceName,
        upload: UploadId,
        part: &SnapshotPart,
        limits: UploadLimits,
    ) -> Result<bool, LogError> {
        // Taken out, so that every refusal leaves it dropped.
        let mut begun = self.uploads.remove(&upload);
        self.space(name)?;
        if part.header.index == 0 {
            let (space, id, vector) = (name.clone(), part.header.snapshot, part.header.vector.clone());
            begun = Some(Upload { space, id, vector, parts: Vec::new(), bytes: 0 });
        }
        let Some(mut begun) = begun else {
            return Err(LogError::Snapshot("a part of a snapshot that was not begun"));
        };
        if begun.parts.len() != part.header.index as usize
            || begun.id != part.header.snapshot
            || begun.vector != part.header.vector
            || begun.space != *name
        {
            return Err(LogError::Snapshot("a part of a snapshot that does not follow the one before"));
        }
        begun.bytes += part.bytes().len() as u64;
        if begun.bytes > limits.snapshot {
            return Err(LogError::SnapshotTooLarge { limit: limits.snapshot });
        }
        if begun.bytes + self.uploads.values().map(|other| other.bytes).sum::<u64>() > limits.unfinished {
            return Err(LogError::UploadsFull);
        }
        begun.parts.push(message::snapshot_part_frame(part.bytes()));
        if part.header.last {
            self.activate(name, begun)?;
            Ok(true)
        } else {
            self.uploads.insert(upload, begun);
            Ok(false)
        }
    }

    fn activate(&mut self, name: &SpaceName, upload: Upload) -> Result<(), LogError> {
        let offset = self.offset();
        let space = self.space(name)?;
        if space.vector().covers(&upload.vector) {
            return Ok(());
        }
        for (replica, seq) in upload.vector.iter() {
            let raised = HeadRow { seq, log_from: seq.get().saturating_add(1) };
            match space.heads.entry(replica) {
                MapEntry::Occupied(mut held) if held.get().seq < seq => {
                    *held.get_mut() = raised;
                }
                MapEntry::Occupied(_) => {}
                MapEntry::Vacant(vacant) => drop(vacant.insert(raised)),
            }
        }
        space.snapshots.retain(|_, older| !upload.vector.covers(&older.vector));
        space.snapshots.insert(offset, Snapshot { vector: Arc::new(upload.vector), parts: upload.parts });
        space.grown.send_replace(offset);
        Ok(())
    }
}

impl Space {
    fn vector(&self) -> StateVector {
        self.heads.iter().map(|(&replica, head)| (replica, head.seq)).collect()
    }

    fn last(&self) -> u64 {
        *self.grown.borrow()
    }

    fn start(&self, have: &StateVector) -> Start {
        let lacks_snapshots =
            |(replica, head): (&ReplicaId, &HeadRow)| have.get(*replica).saturating_add(1) < head.log_from;
        let mut snapshots = Vec::new();
        if self.heads.iter().any(lacks_snapshots) {
            let lacked = self.snapshots.iter().filter(|(_, snapshot)| !have.covers(&snapshot.vector));
            snapshots = lacked.map(|(&key, s)| SnapshotRef { key, vector: Arc::clone(&s.vector) }).collect();
        }
        let first_lacked = self.heads.iter().filter_map(|(&replica, head)| {
            let seq = Seq::new(have.get(replica).saturating_add(1).max(head.log_from))?;
            self.by_replica.get(&(replica, seq))
        });
        Start { snapshots, after: first_lacked.min().map_or(self.last(), |offset| offset - 1) }
    }

    fn read(&self, after: u64, have: &StateVector, limit: usize) -> Page {
        let entries = self.log.range(after + 1..).map(|(_, (entry, _))| Item::Changeset(entry.clone()));
        let snapshots = self.snapshots.range(after + 1..).map(|(&offset, snapshot)| Item::Snapshot {
            offset,
            snapshot: SnapshotRef { key: offset, vector: Arc::clone(&snapshot.vector) },
        });
        let mut found: Vec<Item> = entries
            .filter(|item| matches!(item, Item::Changeset(e) if e.seq.get() > have.get(e.replica)))
            .chain(snapshots)
            .collect();
        found.sort_by_key(Item::offset);
        let mut page = Page { items: Vec::new(), after: self.last().max(after) };
        let mut size = 0;
        for item in found {
            if size >= limit && !page.items.is_empty() {
                page.after = page.items.last().map_or(after, Item::offset);
                break;
            }
            size += item.size();
            page.items.push(item);
        }
        page
    }
}

impl LogStore for MemoryStore {
    fn open(
        &self,
        name: &SpaceName,
        known: Option<SpaceId>,
        propose: Option<SpaceId>,
    ) -> Answer<'_, SpaceId> {
        self.answer(|state| {
            let named = |id: SpaceId| {
                let mut all = state.spaces.iter();
                all.find(|(_, space)| space.id == id).map(|(name, _)| name.clone())
            };
            if let Some(space) = state.spaces.get(name) {
                return match known {
                    Some(known) if known != space.id => Err(LogError::WrongSpace {
                        space: name.clone(),
                        stored: space.id,
                        known,
                        known_as: named(known),
                    }),
                    _ => Ok(space.id),
                };
            }
            if let Some(known_as) = known.and_then(named) {
                return Err(LogError::OtherName { space: name.clone(), known_as });
            }
            let id = known.or(propose).ok_or_else(|| LogError::NoSuchSpace(name.clone()))?;
            let space = Space {
                id,
                heads: BTreeMap::new(),
                log: BTreeMap::new(),
                by_replica: BTreeMap::new(),
                snapshots: BTreeMap::new(),
                grown: watch::Sender::new(0),
            };
            state.spaces.insert(name.clone(), space);
            Ok(id)
        })
    }

    fn append(&self, name: &SpaceName, changesets: Vec<Changeset>) -> Answer<'_, Appended> {
        self.answer(|state| {
            state.space(name)?;
            for (stored, changeset) in changesets.iter().enumerate() {
                if let Err(refused) = state.append_one(name, changeset) {
                    return Ok(Appended { stored, refused: Some(refused) });
                }
            }
            Ok(Appended { stored: changesets.len(), refused: None })
        })
    }

    fn heads(&self, name: &SpaceName) -> Answer<'_, StateVector> {
        self.answer(|state| Ok(state.space(name)?.vector()))
    }

    fn head(&self, name: &SpaceName, replica: ReplicaId) -> Answer<'_, Option<Head>> {
        self.answer(|state| {
            let space = state.space(name)?;
            Ok(space.heads.get(&replica).map(|head| {
                let at = space.by_replica.get(&(replica, head.seq));
                let checksum = at.and_then(|at| space.log.get(at)).map(|(_, checksum)| *checksum);
                Head { seq: head.seq, checksum }
            }))
        })
    }

    fn put_snapshot(&self, name: &SpaceName, upload: UploadId, part: SnapshotPart) -> Answer<'_, bool> {
        let limits = self.limits;
        self.answer(|state| state.put(name, upload, &part, limits))
    }

    fn end_upload(&self, upload: UploadId) -> Answer<'_, ()> {
        self.answer(|state| {
            state.uploads.remove(&upload);
            Ok(())
        })
    }

    fn start(&self, name: &SpaceName, have: StateVector) -> Answer<'_, Start> {
        self.answer(|state| Ok(state.space(name)?.start(&have)))
    }

    fn read(&self, name: &SpaceName, after: u64, have: StateVector, limit: usize) -> Answer<'_, Page> {
        self.answer(|state| Ok(state.space(name)?.read(after, &have, limit)))
    }

    fn parts(&self, name: &SpaceName, key: u64, from: u32, limit: usize) -> Answer<'_, Option<Parts>> {
        self.answer(|state| {
            let Some(snapshot) = state.space(name)?.snapshots.get(&key) else { return Ok(None) };
            let mut frames = Vec::new();
            let mut size = 0;
            for frame in snapshot.parts.iter().skip(from as usize) {
                if size >= limit && !frames.is_empty() {
                    return Ok(Some(Parts { frames, last: false }));
                }
                size += frame.len();
                frames.push(frame.clone());
            }
            Ok(Some(Parts { frames, last: true }))
        })
    }

    fn subscribe(&self, name: &SpaceName) -> Answer<'_, watch::Receiver<u64>> {
        self.answer(|state| Ok(state.space(name)?.grown.subscribe()))
    }

    fn ready(&self) -> Answer<'_, ()> {
        self.answer(|_| Ok(()))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.kill();
        ready(()).boxed()
    }

    fn kill(&self) {
        self.lock().closed = true;
    }
}
