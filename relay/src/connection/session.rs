//! The conversation with one engine, without I/O: events in, actions out. The mirror of the engine's session.
//!
//! Whoever drives it (the [socket loop](super), a simulator) tells it what happened with [`Session::handle`] and does
//! what that returns. Two kinds of requests to the log come out of it, each with at most one under way.
//!
//! - [`Action::Store`], one at a time: hello, changesets, snapshots and questions of the engine, strictly in the order in which
//!   they came. Frames that come meanwhile wait here, in at most [`Limits::input`] bytes and one frame;
//!   [`Session::wants_input`] then says no. Waiting changesets are stored together, so a long push costs an fsync
//!   for each batch and not for each changeset.
//! - [`Session::next_read`]: what the engine lacks, one page at a time, whenever there is room to send it. A reader
//!   is a vector and an offset: the vector counts what was delivered (or came from this very engine), the
//!   offset says how far in the log. Nothing is queued for a reader that does not read, and nothing is skipped.
//!
//! What an engine pushed over this connection is not sent back on it, because its seqs are counted as held when
//! they arrive. What *another* connection pushed under the same replica is delivered: so a copied file finds out.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use driftless_protocol::message::{Hello, Welcome};
use driftless_protocol::{
    Changeset, ClientMessage, CloseCode, Presence, RelayMessage, ReplicaId, Seq, SnapshotPart, SpaceId,
    StateVector,
};

use crate::defaults;
use crate::log::{Appended, Item, LogError, Page, Parts, SnapshotRef, Start};

/// What bounds a session.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many bytes of frames may wait to be stored. Above that the session wants no input; one frame may exceed
    /// it.
    pub input: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { input: defaults::MAX_INPUT_BYTES }
    }
}

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A binary frame came.
    Frame(Bytes),
    /// Something came that is not a binary frame of this protocol; why, in a sentence.
    Refused(CloseCode, &'static str),
    /// The answer to [`Action::Store`].
    Stored(Result<Stored, LogError>),
    /// The answer to [`Session::next_read`].
    Read(Result<ReadAnswer, LogError>),
    /// The log of the space reaches to this offset.
    Grown(u64),
    /// The relay shuts down: finish what came, take nothing more.
    ShutDown,
}

/// Something to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Action {
    /// Ask the store, and answer with [`Event::Stored`]. May wait until there is room for the reply.
    Store(StoreRequest),
    /// Send an answer. It may overtake deliveries.
    Reply(Bytes),
    /// Send something from the log, in order.
    Deliver(Bytes),
    /// Tell the others of the space this presence of the engine, in place of its last one.
    Presence(Presence),
    /// Send what was replied, then close. Nothing follows.
    Close(CloseCode, String),
}

/// A request to the store.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreRequest {
    /// Open the space, and begin to report [`Event::Grown`].
    Open {
        /// The id that the file remembers.
        known: Option<SpaceId>,
        /// The id to create it with.
        propose: Option<SpaceId>,
        /// Who asks.
        replica: ReplicaId,
    },
    /// Append these, in this order.
    Append(Vec<Changeset>),
    /// Store a part of a snapshot.
    PutSnapshot(SnapshotPart),
    /// Read the heads.
    Heads,
}

/// The answer to a [`StoreRequest`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Stored {
    /// To [`StoreRequest::Open`].
    Open(Welcome),
    /// To [`StoreRequest::Append`].
    Append(Appended),
    /// To [`StoreRequest::PutSnapshot`]: whether the snapshot is whole.
    PutSnapshot(bool),
    /// To [`StoreRequest::Heads`].
    Heads(StateVector),
}

/// A read from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadRequest {
    /// [`LogStore::start`](crate::log::LogStore::start) with [`Session::have`].
    Start,
    /// [`LogStore::parts`](crate::log::LogStore::parts).
    Parts {
        /// The key of the snapshot.
        snapshot: u64,
        /// The first part.
        from: u32,
    },
    /// [`LogStore::read`](crate::log::LogStore::read) with [`Session::have`], or the same from a room's memory.
    Log {
        /// The offset to read after.
        after: u64,
    },
}

/// The answer to a [`ReadRequest`].
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadAnswer {
    /// To [`ReadRequest::Start`].
    Start(Start),
    /// To [`ReadRequest::Parts`].
    Parts(Option<Parts>),
    /// To [`ReadRequest::Log`].
    Log(Page),
}

/// The state of one conversation. See the [module](self).
#[derive(Debug)]
pub struct Session {
    limits: Limits,
    phase: Phase,
    draining: bool,
    work: VecDeque<Work>,
    work_bytes: usize,
    /// The request that the store is working on, and its share of `work_bytes`.
    in_store: Option<(InStore, usize)>,
    have: StateVector,
    reader: Reader,
    reading: bool,
    grown: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was said yet.
    New,
    /// Hello was said, and frames are taken in. The space may not be open yet: [`Work::Open`] is the first in the
    /// queue.
    Greeted(ReplicaId),
    Closed,
}

#[derive(Debug)]
enum Work {
    Open(Hello),
    Append(Changeset),
    PutSnapshot(SnapshotPart),
    Heads(u64),
}

/// What is kept of the request that the store is working on, for when it is answered.
#[derive(Debug)]
enum InStore {
    Open,
    Append(Vec<Seq>),
    PutSnapshot([u8; 16]),
    Heads(u64),
}

#[derive(Debug)]
enum Reader {
    /// The space is not open yet.
    Waiting,
    Start,
    Parts {
        snapshots: VecDeque<SnapshotRef>,
        from: u32,
        after: u64,
    },
    Log {
        after: u64,
    },
}

impl Session {
    /// A conversation in which nothing was said yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            phase: Phase::New,
            draining: false,
            work: VecDeque::new(),
            work_bytes: 0,
            in_store: None,
            have: StateVector::new(),
            reader: Reader::Waiting,
            reading: false,
            grown: 0,
        }
    }

    /// What the engine holds, or has been sent, or sent itself.
    pub fn have(&self) -> &StateVector {
        &self.have
    }

    /// Who speaks, once it has said so.
    pub fn replica(&self) -> Option<ReplicaId> {
        match self.phase {
            Phase::Greeted(replica) => Some(replica),
            _ => None,
        }
    }

    /// Whether frames should be read from the socket. When not, let them wait there.
    pub fn wants_input(&self) -> bool {
        self.phase != Phase::Closed && !self.draining && self.work_bytes < self.limits.input
    }

    /// The next read, if the reader is behind and none is under way. Ask when there is room to send what it brings.
    pub fn next_read(&mut self) -> Option<ReadRequest> {
        if self.reading || self.draining || self.phase == Phase::Closed {
            return None;
        }
        let request = match &self.reader {
            Reader::Start => ReadRequest::Start,
            Reader::Parts { snapshots, from, .. } => {
                ReadRequest::Parts { snapshot: snapshots.front()?.key, from: *from }
            }
            Reader::Log { after } if *after < self.grown => ReadRequest::Log { after: *after },
            Reader::Log { .. } | Reader::Waiting => return None,
        };
        self.reading = true;
        Some(request)
    }

    /// Takes in what happened and returns what is to be done, in order. After [`Action::Close`] it returns nothing
    /// more.
    pub fn handle(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.phase == Phase::Closed {
            return actions;
        }
        let result = match event {
            Event::Frame(frame) => self.frame(frame, &mut actions),
            Event::Refused(code, reason) => Err((code, reason.to_owned())),
            Event::Stored(answer) => self.stored(answer, &mut actions),
            Event::Read(answer) => self.read(answer, &mut actions),
            Event::Grown(offset) => {
                self.grown = self.grown.max(offset);
                Ok(())
            }
            Event::ShutDown => {
                self.draining = true;
                Ok(())
            }
        };
        match result {
            Err((code, reason)) => self.close(code, reason, &mut actions),
            Ok(()) => actions.extend(self.next_store().map(Action::Store)),
        }
        if self.draining && self.in_store.is_none() && self.phase != Phase::Closed {
            self.close(CloseCode::GoingAway, "the relay is shutting down".to_owned(), &mut actions);
        }
        actions
    }

    fn close(&mut self, code: CloseCode, reason: String, actions: &mut Vec<Action>) {
        self.phase = Phase::Closed;
        self.work.clear();
        self.work_bytes = 0;
        actions.push(Action::Close(code, reason));
    }

    fn frame(&mut self, frame: Bytes, actions: &mut Vec<Action>) -> Result<(), (CloseCode, String)> {
        let malformed = |reason: &str| Err((CloseCode::Malformed, reason.to_owned()));
        if self.draining {
            return Ok(());
        }
        let message =
            ClientMessage::decode(frame).map_err(|refused| (refused.close_code(), refused.to_string()))?;
        let work = match (message, self.phase) {
            (ClientMessage::Hello(hello), Phase::New) => {
                self.phase = Phase::Greeted(hello.replica);
                self.have = hello.vector.clone();
                Work::Open(hello)
            }
            (ClientMessage::Hello(_), _) => return malformed("a second hello"),
            (_, Phase::New | Phase::Closed) => return malformed("the first message must be a hello"),
            (ClientMessage::Presence(_), _) if matches!(self.reader, Reader::Waiting) => {
                return malformed("a presence before the welcome");
            }
            // A presence is not stored, so it does not wait for the things that are.
            (ClientMessage::Presence(presence), _) => {
                actions.push(Action::Presence(presence));
                return Ok(());
            }
            (ClientMessage::AskHeads(nonce), _) => Work::Heads(nonce),
            (ClientMessage::Changeset(changeset), Phase::Greeted(replica)) => {
                if changeset.header.replica != replica {
                    return malformed("a changeset of another replica than the one that said hello");
                }
                // Counted as held now, so that it is not sent back. A seq that is not the next one is not counted: it
                // is a duplicate, or the store refuses it, or others wrote under this name and the engine must be
                // sent what they wrote.
                let _out_of_turn = self.have.advance(replica, changeset.header.seq);
                Work::Append(changeset)
            }
            (ClientMessage::SnapshotPart(part), _) => {
                if part.header.last {
                    self.have.merge(&part.header.vector);
                }
                Work::PutSnapshot(part)
            }
        };
        self.work_bytes += work.size();
        self.work.push_back(work);
        Ok(())
    }

    /// The next request to the store, if none is under way.
    fn next_store(&mut self) -> Option<StoreRequest> {
        if self.in_store.is_some() {
            return None;
        }
        let first = self.work.pop_front()?;
        let mut bytes = first.size();
        let (request, waiting) = match first {
            Work::Open(Hello { space, propose, replica, .. }) => {
                (StoreRequest::Open { known: space, propose, replica }, InStore::Open)
            }
            Work::PutSnapshot(part) => {
                let id = part.header.snapshot;
                (StoreRequest::PutSnapshot(part), InStore::PutSnapshot(id))
            }
            Work::Heads(nonce) => (StoreRequest::Heads, InStore::Heads(nonce)),
            Work::Append(first) => {
                let mut batch = vec![first];
                while let Some(Work::Append(_)) = self.work.front()
                    && let Some(Work::Append(next)) = self.work.pop_front()
                {
                    bytes += next.bytes().len().max(LEAST);
                    batch.push(next);
                }
                let seqs = batch.iter().map(|changeset| changeset.header.seq).collect();
                (StoreRequest::Append(batch), InStore::Append(seqs))
            }
        };
        self.in_store = Some((waiting, bytes));
        Some(request)
    }

    fn stored(
        &mut self,
        answer: Result<Stored, LogError>,
        actions: &mut Vec<Action>,
    ) -> Result<(), (CloseCode, String)> {
        let refuse = |refused: LogError| (refused.close_code(), refused.to_string());
        let Some((asked, bytes)) = self.in_store.take() else { return Ok(()) };
        self.work_bytes = self.work_bytes.saturating_sub(bytes);
        let reply = match (asked, answer.map_err(refuse)?) {
            (InStore::Open, Stored::Open(welcome)) => {
                self.reader = Reader::Start;
                RelayMessage::Welcome(welcome)
            }
            (InStore::Append(seqs), Stored::Append(Appended { stored, refused })) => {
                if let Some(&last) = stored.checked_sub(1).and_then(|last| seqs.get(last)) {
                    actions.push(Action::Reply(RelayMessage::Stored(last).encode()));
                }
                return refused.map_or(Ok(()), |refused| Err(refuse(refused)));
            }
            (InStore::PutSnapshot(id), Stored::PutSnapshot(whole)) => {
                if !whole {
                    return Ok(());
                }
                RelayMessage::SnapshotStored(id)
            }
            (InStore::Heads(nonce), Stored::Heads(heads)) => RelayMessage::Heads { nonce, heads },
            (asked, answer) => {
                tracing::error!(?asked, ?answer, "the store answered another question");
                return Err((CloseCode::Internal, "the relay failed".to_owned()));
            }
        };
        actions.push(Action::Reply(reply.encode()));
        Ok(())
    }

    fn read(
        &mut self,
        answer: Result<ReadAnswer, LogError>,
        actions: &mut Vec<Action>,
    ) -> Result<(), (CloseCode, String)> {
        self.reading = false;
        match answer.map_err(|refused| (refused.close_code(), refused.to_string()))? {
            ReadAnswer::Start(Start { snapshots, after }) => {
                self.reader = Self::reader(snapshots.into(), after);
            }
            ReadAnswer::Parts(parts) => self.parts(parts, actions),
            ReadAnswer::Log(page) => self.page(page, actions),
        }
        Ok(())
    }

    fn reader(snapshots: VecDeque<SnapshotRef>, after: u64) -> Reader {
        if snapshots.is_empty() { Reader::Log { after } } else { Reader::Parts { snapshots, from: 0, after } }
    }

    fn parts(&mut self, parts: Option<Parts>, actions: &mut Vec<Action>) {
        let reader = std::mem::replace(&mut self.reader, Reader::Start);
        // Gone: another snapshot covers it. Begin again from the vector.
        let (Some(parts), Reader::Parts { mut snapshots, from, after }) = (parts, reader) else { return };
        let next = from.saturating_add(parts.frames.len() as u32);
        actions.extend(parts.frames.into_iter().map(Action::Deliver));
        self.reader = if parts.last {
            if let Some(delivered) = snapshots.pop_front() {
                self.have.merge(&delivered.vector);
            }
            Self::reader(snapshots, after)
        } else {
            Reader::Parts { snapshots, from: next, after }
        };
    }

    fn page(&mut self, page: Page, actions: &mut Vec<Action>) {
        for item in page.items {
            match item {
                Item::Changeset(entry) => match self.have.advance(entry.replica, entry.seq) {
                    Ok(true) => actions.push(Action::Deliver(entry.frame)),
                    Ok(false) => {}
                    // Only snapshots have what lies between: begin again from the vector, which finds them.
                    Err(_gap) => {
                        self.reader = Reader::Start;
                        return;
                    }
                },
                Item::Snapshot { offset, snapshot } => {
                    if !self.have.covers(&snapshot.vector) {
                        self.reader = Self::reader(VecDeque::from([snapshot]), offset);
                        return;
                    }
                }
            }
        }
        self.reader = Reader::Log { after: page.after };
    }
}

/// The least that a frame counts as, in bytes: about the memory that even the smallest one takes here.
const LEAST: usize = 256;

impl Work {
    fn size(&self) -> usize {
        match self {
            Self::Open(hello) => LEAST + hello.vector.len() * 24,
            Self::Heads(_) => LEAST,
            Self::Append(changeset) => changeset.bytes().len().max(LEAST),
            Self::PutSnapshot(part) => part.bytes().len().max(LEAST),
        }
    }
}

/// Asks the store what a session wants stored, in `space`.
///
/// [`StoreRequest::Open`] reads this replica's head before all heads, so that the latter never lack the former.
pub async fn ask_store(
    store: &Arc<dyn crate::log::LogStore>,
    space: &driftless_protocol::SpaceName,
    upload: crate::log::UploadId,
    request: StoreRequest,
) -> Result<Stored, LogError> {
    Ok(match request {
        StoreRequest::Open { known, propose, replica } => {
            let id = store.open(space, known, propose).await?;
            let own = store.head(space, replica).await?;
            Stored::Open(Welcome { space: id, heads: store.heads(space).await?, own })
        }
        StoreRequest::Append(changesets) => Stored::Append(store.append(space, changesets).await?),
        StoreRequest::PutSnapshot(part) => {
            Stored::PutSnapshot(store.put_snapshot(space, upload, part).await?)
        }
        StoreRequest::Heads => Stored::Heads(store.heads(space).await?),
    })
}

/// Asks the store what a session wants to read, in `space`, about `limit` bytes.
pub async fn ask_log(
    store: &Arc<dyn crate::log::LogStore>,
    space: &driftless_protocol::SpaceName,
    have: StateVector,
    limit: usize,
    request: ReadRequest,
) -> Result<ReadAnswer, LogError> {
    Ok(match request {
        ReadRequest::Start => ReadAnswer::Start(store.start(space, have).await?),
        ReadRequest::Parts { snapshot, from } => {
            ReadAnswer::Parts(store.parts(space, snapshot, from, limit).await?)
        }
        ReadRequest::Log { after } => ReadAnswer::Log(store.read(space, after, have, limit).await?),
    })
}
