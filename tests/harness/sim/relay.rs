//! A relay on one thread: the real session and the real contract of the log, one request at a time. What is stored stays
//! when the relay is killed, and a copy of it can be put in its place. What it says to be stored must be.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use driftless_protocol::{
    Changeset, ClientMessage, CloseCode, RelayMessage, ReplicaId, SnapshotPart, SpaceId, SpaceName,
    StateVector,
};
use driftless_relay::connection::session::{
    self, Action, Event, Limits, ReadRequest, Session, StoreRequest, Stored,
};
use driftless_relay::log::memory::MemoryStore;
use driftless_relay::log::{LogError, LogStore, UploadId, UploadLimits};
use futures_util::FutureExt as _;

/// About how much is read at a time, in bytes: so little that everything takes several pages.
const PAGE_BYTES: usize = 700;

/// What a relay says to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Frame(Bytes),
    Close(CloseCode, String),
}

/// A relay, its connections by number, and what it has stored in the order in which it did.
#[derive(Debug)]
pub(super) struct Relay {
    store: Arc<dyn LogStore>,
    space: SpaceName,
    connections: BTreeMap<u64, Connection>,
    history: Vec<Entry>,
    saved: Option<usize>,
    grown: u64,
    /// What it held when it last did something.
    held: StateVector,
    /// What is not as it said.
    lie: Option<String>,
}

#[derive(Debug)]
struct Connection {
    session: Session,
    /// Under which name the other end said hello.
    author: Option<ReplicaId>,
    wanted: Option<StoreRequest>,
    reading: Option<ReadRequest>,
    upload: UploadId,
    /// The parts of a snapshot that is not whole yet.
    parts: Vec<SnapshotPart>,
}

/// Something stored, to be stored again after a loss.
#[derive(Debug, Clone)]
enum Entry {
    Open(SpaceId),
    Changeset(Changeset),
    Snapshot(Vec<SnapshotPart>),
}

fn now<T>(answer: driftless_relay::log::Answer<'_, T>) -> Result<T, LogError> {
    answer.now_or_never().expect("the memory store answers at the first poll")
}

fn empty() -> Arc<dyn LogStore> {
    Arc::new(MemoryStore::new(UploadLimits::default()))
}

impl Relay {
    pub(super) fn new() -> Self {
        Self {
            store: empty(),
            space: "space".parse().expect("a space name"),
            connections: BTreeMap::new(),
            history: Vec::new(),
            saved: None,
            grown: 0,
            held: StateVector::new(),
            lie: None,
        }
    }

    /// Accepts a connection under a number that was never used.
    pub(super) fn accept(&mut self, number: u64) {
        let limits = Limits { input: 4 << 10 };
        self.connections.insert(
            number,
            Connection {
                session: Session::new(limits),
                author: None,
                wanted: None,
                reading: None,
                upload: UploadId(number),
                parts: Vec::new(),
            },
        );
    }

    /// Whether the connection is there.
    pub(super) fn has(&self, number: u64) -> bool {
        self.connections.contains_key(&number)
    }

    /// Whether frames of it are to be read.
    pub(super) fn wants_input(&self, number: u64) -> bool {
        self.connections.get(&number).is_some_and(|connection| connection.session.wants_input())
    }

    /// The connection is gone.
    pub(super) fn drop_connection(&mut self, number: u64) {
        if self.connections.remove(&number).is_some() {
            let _nothing_unfinished = now(self.store.end_upload(UploadId(number)));
        }
    }

    /// A frame came.
    pub(super) fn receive(&mut self, number: u64, frame: Bytes) -> Vec<Said> {
        if let Ok(ClientMessage::Hello(hello)) = ClientMessage::decode(frame.clone())
            && let Some(connection) = self.connections.get_mut(&number)
        {
            connection.author = Some(hello.replica);
        }
        self.handle(number, Event::Frame(frame))
    }

    /// Whether there is something to store or to read for the connection.
    pub(super) fn has_work(&mut self, number: u64) -> bool {
        let Some(connection) = self.connections.get_mut(&number) else { return false };
        if connection.reading.is_none() {
            connection.reading = connection.session.next_read();
        }
        connection.wanted.is_some() || connection.reading.is_some()
    }

    /// Stores or reads the next, and says what comes of it.
    pub(super) fn work(&mut self, number: u64) -> Vec<Said> {
        if !self.has_work(number) {
            return Vec::new();
        }
        let Some(connection) = self.connections.get_mut(&number) else { return Vec::new() };
        let Some(request) = connection.wanted.take() else {
            let Some(request) = connection.reading.take() else { return Vec::new() };
            let have = connection.session.have().clone();
            let answer = session::ask_log(&self.store, &self.space, have, PAGE_BYTES, request)
                .now_or_never()
                .expect("the memory store answers at the first poll");
            return self.handle(number, Event::Read(answer));
        };
        let asked = Asked::of(&request);
        let upload = connection.upload;
        let answer = session::ask_store(&self.store, &self.space, upload, request)
            .now_or_never()
            .expect("the memory store answers at the first poll");
        self.note(number, asked, &answer);
        let heads = self.heads();
        if !heads.covers(&self.held) {
            self.lie = Some(format!("it held {:?} and now {heads:?}", self.held));
        }
        self.held = heads;
        let mut said = self.handle(number, Event::Stored(answer));
        said.extend(self.grow(number));
        said
    }

    /// Remembers what was stored.
    fn note(&mut self, number: u64, asked: Asked, answer: &Result<Stored, LogError>) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        match (asked, answer) {
            (Asked::Open, Ok(Stored::Open(welcome))) => self.history.push(Entry::Open(welcome.space)),
            (Asked::Append(changesets), Ok(Stored::Append(appended))) => {
                self.history.extend(changesets.into_iter().take(appended.stored).map(Entry::Changeset));
            }
            (Asked::Part(part), Ok(Stored::PutSnapshot(whole))) => {
                if part.header.index == 0 {
                    connection.parts.clear();
                }
                connection.parts.push(part);
                if *whole {
                    self.history.push(Entry::Snapshot(std::mem::take(&mut connection.parts)));
                }
            }
            _ => {}
        }
    }

    /// Tells everybody how far the log reaches. Answers what this connection is told.
    fn grow(&mut self, number: u64) -> Vec<Said> {
        let Ok(offset) = now(self.store.subscribe(&self.space)) else { return Vec::new() };
        self.grown = *offset.borrow();
        let mut said = Vec::new();
        for (other, connection) in &mut self.connections {
            // One that says nothing about growth answers nothing either.
            let actions = connection.session.handle(Event::Grown(self.grown));
            if *other == number {
                said.extend(actions.into_iter().filter_map(Self::said));
            }
        }
        said
    }

    fn handle(&mut self, number: u64, event: Event) -> Vec<Said> {
        let Some(connection) = self.connections.get_mut(&number) else { return Vec::new() };
        let mut said = Vec::new();
        let author = connection.author;
        for action in connection.session.handle(event) {
            match action {
                Action::Store(request) => connection.wanted = Some(request),
                other => said.extend(Self::said(other)),
            }
        }
        for said in &said {
            let Said::Frame(frame) = said else { continue };
            let is_so = match (RelayMessage::decode(frame.clone()), author) {
                (Ok(RelayMessage::Stored(seq)), Some(author)) => self.heads().get(author) >= seq.get(),
                (Ok(RelayMessage::Heads { heads: told, .. }), _) => self.heads().covers(&told),
                _ => true,
            };
            if !is_so {
                let heads = self.heads();
                self.lie = Some(format!("{author:?} was told of more than is there: {heads:?}"));
            }
        }
        if said.iter().any(|said| matches!(said, Said::Close(..))) {
            self.drop_connection(number);
        }
        said
    }

    fn said(action: Action) -> Option<Said> {
        match action {
            Action::Reply(frame) | Action::Deliver(frame) => Some(Said::Frame(frame)),
            Action::Close(code, reason) => Some(Said::Close(code, reason)),
            _ => None,
        }
    }

    /// All connections are gone, and what was about to be stored; what is stored is not.
    pub(super) fn kill(&mut self) {
        let numbers: Vec<u64> = self.connections.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.drop_connection(number));
    }

    /// Lays a copy aside.
    pub(super) fn save(&mut self) {
        self.saved = Some(self.history.len());
    }

    /// The copy takes the place of what is there; without one, nothing does.
    pub(super) fn restore(&mut self) {
        self.kill();
        self.history.truncate(self.saved.unwrap_or(0));
        self.store = empty();
        (self.grown, self.held) = (0, StateVector::new());
        for (at, entry) in self.history.clone().into_iter().enumerate() {
            match entry {
                Entry::Open(id) => {
                    let _id = now(self.store.open(&self.space, Some(id), None));
                }
                Entry::Changeset(changeset) => {
                    let _stored = now(self.store.append(&self.space, vec![changeset]));
                }
                Entry::Snapshot(parts) => {
                    for part in parts {
                        let _whole =
                            now(self.store.put_snapshot(&self.space, UploadId(u64::MAX - at as u64), part));
                    }
                }
            }
        }
    }

    /// What it said to be stored and is not, or is not any more.
    pub(super) fn take_lie(&mut self) -> Option<String> {
        self.lie.take()
    }

    /// What it holds.
    pub(super) fn heads(&self) -> StateVector {
        now(self.store.heads(&self.space)).unwrap_or_default()
    }
}

/// What of a request has to be remembered.
enum Asked {
    Open,
    Append(Vec<Changeset>),
    Part(SnapshotPart),
    Nothing,
}

impl Asked {
    fn of(request: &StoreRequest) -> Self {
        match request {
            StoreRequest::Open { .. } => Self::Open,
            StoreRequest::Append(changesets) => Self::Append(changesets.clone()),
            StoreRequest::PutSnapshot(part) => Self::Part(part.clone()),
            _ => Self::Nothing,
        }
    }
}
