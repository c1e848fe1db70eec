//! The session, driven without sockets or a runtime.

use std::sync::Arc;

use driftless_protocol::{ClientMessage, CloseCode, Presence, RelayMessage, SpaceName};
use driftless_relay::connection::session::{
    Action, Event, Limits, ReadRequest, Session, StoreRequest, Stored, ask_log, ask_store,
};
use driftless_relay::log::memory::MemoryStore;
use driftless_relay::log::{Appended, LogError, LogStore, UploadId, UploadLimits};
use futures_util::FutureExt;

use crate::support::{changeset, changeset_of, hello, part, space, space_id, vector};

/// An engine's conversation over a store in memory; every request is answered at once.
struct Talk {
    store: Arc<dyn LogStore>,
    space: SpaceName,
    upload: UploadId,
    session: Session,
    said: Vec<String>,
}

fn store() -> Arc<dyn LogStore> {
    Arc::new(MemoryStore::new(UploadLimits::default()))
}

impl Talk {
    fn new(store: &Arc<dyn LogStore>, upload: u64) -> Self {
        let session = Session::new(Limits::default());
        Self {
            store: Arc::clone(store),
            space: space("s"),
            upload: UploadId(upload),
            session,
            said: Vec::new(),
        }
    }

    /// A conversation after its hello.
    fn begun(store: &Arc<dyn LogStore>, r: u8, have: &[(u8, u64)]) -> Self {
        let mut talk = Self::new(store, u64::from(r));
        talk.send(ClientMessage::Hello(hello(r, have)));
        talk
    }

    fn send(&mut self, message: ClientMessage) {
        self.happens(Event::Frame(message.encode()));
    }

    fn happens(&mut self, event: Event) {
        let mut actions = self.session.handle(event);
        while !actions.is_empty() {
            let mut next = Vec::new();
            for action in actions {
                match action {
                    Action::Store(request) => {
                        let answer = ask_store(&self.store, &self.space, self.upload, request).now_or_never();
                        let answer = answer.expect("the memory store answers at once");
                        next.extend(self.session.handle(Event::Stored(answer)));
                    }
                    Action::Reply(frame) | Action::Deliver(frame) => {
                        self.said.push(tell(&RelayMessage::decode(frame).expect("a frame of the protocol")));
                    }
                    Action::Close(code, _) => self.said.push(format!("close {}", code.number())),
                    other => panic!("{other:?}"),
                }
            }
            actions = next;
        }
    }

    /// Reads on until the log has nothing more.
    fn read_all(&mut self) {
        if let Some(Ok(grown)) = self.store.subscribe(&self.space).now_or_never() {
            let offset = *grown.borrow();
            self.happens(Event::Grown(offset));
        }
        while let Some(request) = self.session.next_read() {
            let have = self.session.have().clone();
            let answer = ask_log(&self.store, &self.space, have, 100, request).now_or_never();
            self.happens(Event::Read(answer.expect("the memory store answers at once")));
        }
    }

    fn said(&mut self) -> Vec<String> {
        self.read_all();
        std::mem::take(&mut self.said)
    }
}

fn tell(message: &RelayMessage) -> String {
    match message {
        RelayMessage::Welcome(_) => "welcome".to_owned(),
        RelayMessage::Stored(seq) => format!("stored {seq}"),
        RelayMessage::SnapshotStored(id) => format!("snapshot {} stored", id[0]),
        RelayMessage::Heads { nonce, heads } => format!("heads {nonce} of {}", heads.len()),
        RelayMessage::Changeset(c) => format!("{}:{}", c.header.replica.as_bytes()[0], c.header.seq),
        RelayMessage::Presence { .. } => "presence".to_owned(),
        RelayMessage::SnapshotPart(part) => format!("part {}/{}", part.header.snapshot[0], part.header.index),
    }
}

#[test]
fn the_first_message_must_be_a_hello_and_the_only_one() {
    for first in [ClientMessage::AskHeads(1), ClientMessage::Changeset(changeset(1, 1))] {
        let mut talk = Talk::new(&store(), 1);
        talk.send(first);
        assert_eq!(talk.said(), ["close 4400"]);
        // Nothing more is said or stored after the close.
        talk.send(ClientMessage::Hello(hello(1, &[])));
        assert_eq!(talk.said(), [""; 0]);
    }
    let mut talk = Talk::begun(&store(), 1, &[]);
    talk.send(ClientMessage::Hello(hello(1, &[])));
    assert_eq!(talk.said(), ["welcome", "close 4400"]);
}

#[test]
fn a_presence_is_taken_once_the_space_is_open_and_asks_nothing_of_the_store() {
    let presence = |text: &str| {
        ClientMessage::Presence(Presence::new(text.as_bytes().to_vec()).expect("short")).encode()
    };
    let mut stranger = Session::new(Limits::default());
    let refused = stranger.handle(Event::Frame(presence("here")));
    assert!(matches!(refused[..], [Action::Close(CloseCode::Malformed, _)]), "{refused:?}");

    let mut hasty = Session::new(Limits::default());
    hasty.handle(Event::Frame(ClientMessage::Hello(hello(1, &[])).encode()));
    let refused = hasty.handle(Event::Frame(presence("here")));
    assert!(matches!(refused[..], [Action::Close(CloseCode::Malformed, _)]), "{refused:?}");

    let mut talk = Talk::begun(&store(), 1, &[]);
    // While something is in the store too: it does not wait for that.
    let stored = talk.session.handle(Event::Frame(ClientMessage::AskHeads(1).encode()));
    assert!(matches!(stored[..], [Action::Store(StoreRequest::Heads)]));
    let taken = talk.session.handle(Event::Frame(presence("here")));
    assert!(matches!(&taken[..], [Action::Presence(said)] if said.as_bytes() == b"here"), "{taken:?}");
    let gone = talk.session.handle(Event::Frame(presence("")));
    assert!(matches!(&gone[..], [Action::Presence(said)] if said.is_none()), "{gone:?}");
    talk.session.handle(Event::ShutDown);
    assert!(talk.session.handle(Event::Frame(presence("late"))).is_empty());
}

#[test]
fn a_space_that_is_another_or_not_there_is_refused() {
    let store = store();
    let mut talk = Talk::new(&store, 1);
    talk.send(ClientMessage::Hello(driftless_protocol::message::Hello { propose: None, ..hello(1, &[]) }));
    assert_eq!(talk.said(), ["close 4404"]);
    Talk::begun(&store, 1, &[]);
    let mut talk = Talk::new(&store, 2);
    let other = driftless_protocol::message::Hello { space: Some(space_id(9)), ..hello(1, &[]) };
    talk.send(ClientMessage::Hello(other));
    assert_eq!(talk.said(), ["close 4409"]);
}

#[test]
fn a_newcomer_is_sent_what_it_lacks_and_then_what_comes() {
    let store = store();
    let mut author = Talk::begun(&store, 1, &[]);
    for s in 1..=3 {
        author.send(ClientMessage::Changeset(changeset(1, s)));
    }
    assert_eq!(author.said(), ["welcome", "stored 1", "stored 2", "stored 3"]);
    let mut reader = Talk::begun(&store, 2, &[(1, 1)]);
    assert_eq!(reader.said(), ["welcome", "1:2", "1:3"]);
    author.send(ClientMessage::Changeset(changeset(1, 4)));
    assert_eq!(reader.said(), ["1:4"]);
    assert_eq!(reader.said(), [""; 0], "nothing comes twice");
}

#[test]
fn changesets_that_wait_are_stored_together_and_acknowledged_once() {
    let mut session = Session::new(Limits::default());
    let mut actions = session.handle(Event::Frame(ClientMessage::Hello(hello(1, &[])).encode()));
    assert!(matches!(actions.pop(), Some(Action::Store(StoreRequest::Open { .. }))));
    // The space is not open yet: what comes meanwhile waits, in order.
    for s in 1..=3 {
        assert!(session.handle(Event::Frame(ClientMessage::Changeset(changeset(1, s)).encode())).is_empty());
    }
    assert!(session.handle(Event::Frame(ClientMessage::AskHeads(7).encode())).is_empty());
    let welcome = driftless_protocol::message::Welcome { space: space_id(1), heads: vector(&[]), own: None };
    let mut actions = session.handle(Event::Stored(Ok(Stored::Open(welcome))));
    match actions.pop() {
        Some(Action::Store(StoreRequest::Append(batch))) => assert_eq!(batch.len(), 3),
        other => panic!("{other:?}"),
    }
    let all = Appended { stored: 3, refused: None };
    let mut actions = session.handle(Event::Stored(Ok(Stored::Append(all)))).into_iter();
    match actions.next() {
        Some(Action::Reply(frame)) => {
            assert_eq!(tell(&RelayMessage::decode(frame).expect("a frame")), "stored 3");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(actions.next(), Some(Action::Store(StoreRequest::Heads))));
}

#[test]
fn nothing_is_acknowledged_before_the_store_has_answered() {
    let store = store();
    let mut talk = Talk::begun(&store, 1, &[]);
    assert_eq!(talk.said(), ["welcome"]);
    let actions = talk.session.handle(Event::Frame(ClientMessage::Changeset(changeset(1, 1)).encode()));
    assert!(matches!(actions[..], [Action::Store(StoreRequest::Append(_))]), "{actions:?}");
    // The disk failed: no acknowledgement, and a code after which the engine comes back.
    let actions = talk.session.handle(Event::Stored(Err(LogError::FileGone)));
    assert!(matches!(actions[..], [Action::Close(CloseCode::Internal, _)]), "{actions:?}");
}

#[test]
fn what_was_stored_before_a_refusal_is_acknowledged_first() {
    let store = store();
    let mut talk = Talk::begun(&store, 1, &[]);
    talk.send(ClientMessage::Changeset(changeset(1, 1)));
    talk.send(ClientMessage::Changeset(changeset(1, 3)));
    assert_eq!(talk.said(), ["welcome", "stored 1", "close 4502"]);
    let mut copy = Talk::begun(&store, 1, &[]);
    copy.send(ClientMessage::Changeset(changeset_of(1, 1, 5)));
    assert_eq!(copy.said()[..2], ["welcome", "close 4509"]);
}

#[test]
fn a_changeset_of_another_replica_is_refused_with_a_sentence() {
    let mut session = Talk::begun(&store(), 1, &[]).session;
    let actions = session.handle(Event::Frame(ClientMessage::Changeset(changeset(2, 1)).encode()));
    match &actions[..] {
        [Action::Close(CloseCode::Malformed, reason)] => {
            assert!(reason.contains("another replica"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_another_connection_pushed_under_the_same_name_is_delivered() {
    let store = store();
    let mut file = Talk::begun(&store, 1, &[]);
    let mut copy = Talk::begun(&store, 1, &[]);
    file.send(ClientMessage::Changeset(changeset(1, 1)));
    assert_eq!(file.said(), ["welcome", "stored 1"], "its own is not sent back");
    assert_eq!(copy.said(), ["welcome", "1:1"]);
}

#[test]
fn a_snapshot_reaches_who_lacks_it_and_not_its_author() {
    let store = store();
    let mut reader = Talk::begun(&store, 2, &[]);
    let mut author = Talk::begun(&store, 1, &[(1, 3)]);
    assert_eq!(reader.said(), ["welcome"]);
    for index in 0..3 {
        author.send(ClientMessage::SnapshotPart(part(7, index, 3, &[(1, 3)])));
    }
    author.send(ClientMessage::Changeset(changeset(1, 4)));
    assert_eq!(author.said(), ["welcome", "snapshot 7 stored", "stored 4"]);
    // To one who was there already, in its place, before what builds on it; and to a newcomer.
    assert_eq!(reader.said(), ["part 7/0", "part 7/1", "part 7/2", "1:4"]);
    let mut newcomer = Talk::begun(&store, 3, &[(1, 2)]);
    assert_eq!(newcomer.said(), ["welcome", "part 7/0", "part 7/1", "part 7/2", "1:4"]);
    let mut knowing = Talk::begun(&store, 4, &[(1, 3)]);
    assert_eq!(knowing.said(), ["welcome", "1:4"]);
}

#[test]
fn a_snapshot_dropped_while_it_is_read_is_replaced_by_the_one_that_covers_it() {
    let store = store();
    let mut author = Talk::begun(&store, 1, &[(1, 9)]);
    for index in 0..2 {
        author.send(ClientMessage::SnapshotPart(part(1, index, 2, &[(1, 3)])));
    }
    let mut reader = Talk::begun(&store, 2, &[]);
    assert_eq!(reader.session.next_read(), Some(ReadRequest::Start));
    let start = ask_log(&store, &reader.space, vector(&[]), 1, ReadRequest::Start).now_or_never();
    reader.happens(Event::Read(start.expect("at once")));
    let Some(first) = reader.session.next_read() else { panic!("the reader wants the parts") };
    let page = ask_log(&store, &reader.space, vector(&[]), 1, first).now_or_never();
    reader.happens(Event::Read(page.expect("at once")));
    for index in 0..2 {
        author.send(ClientMessage::SnapshotPart(part(2, index, 2, &[(1, 5)])));
    }
    assert_eq!(reader.said(), ["welcome", "part 1/0", "part 2/0", "part 2/1"]);
    assert_eq!(*reader.session.have(), vector(&[(1, 5)]));
}

#[test]
fn input_stops_at_its_limit_and_goes_on_when_it_is_stored() {
    let mut session = Session::new(Limits { input: 1000 });
    session.handle(Event::Frame(ClientMessage::Hello(hello(1, &[])).encode()));
    let mut sent = 0;
    while session.wants_input() {
        sent += 1;
        assert!(sent < 1000, "small frames count as nothing");
        session.handle(Event::Frame(ClientMessage::AskHeads(sent).encode()));
    }
    let welcome = driftless_protocol::message::Welcome { space: space_id(1), heads: vector(&[]), own: None };
    session.handle(Event::Stored(Ok(Stored::Open(welcome))));
    assert!(session.wants_input());
}

#[test]
fn a_shutdown_stores_what_came_and_takes_nothing_more() {
    let mut session = Talk::begun(&store(), 1, &[]).session;
    let mut actions = session.handle(Event::Frame(ClientMessage::Changeset(changeset(1, 1)).encode()));
    assert!(matches!(actions.pop(), Some(Action::Store(_))));
    session.handle(Event::Frame(ClientMessage::Changeset(changeset(1, 2)).encode()));
    assert!(session.handle(Event::ShutDown).is_empty());
    assert!(!session.wants_input());
    assert!(session.handle(Event::Frame(ClientMessage::Changeset(changeset(1, 3)).encode())).is_empty());
    let one = || Event::Stored(Ok(Stored::Append(Appended { stored: 1, refused: None })));
    let actions = session.handle(one());
    assert!(matches!(actions[..], [Action::Reply(_), Action::Store(_)]), "{actions:?}");
    let actions = session.handle(one());
    assert!(matches!(actions[..], [Action::Reply(_), Action::Close(CloseCode::GoingAway, _)]), "{actions:?}");
}
