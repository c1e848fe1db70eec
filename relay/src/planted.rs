//! Bugs that a test plants, to find out whether it would notice them: feature `planted`, off by default, and
//! no part of the public API. Nothing that is released is built with it; see ARCHITECTURE.md.
//!
//! One bug at a time is switched on, for the thread that asks, and only what runs on that thread is wrong:
//! sessions and the memory store under a simulator, not a relay's own threads. The engine has its own, in the
//! same manner; there it is told what I1 to I10 are.

use std::cell::Cell;

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Switches a bug on for this thread, and whatever was on before off. `None` switches all off.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this bug is on.
pub(crate) fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// The enum, all of it as a list, and the names, from one list.
macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $bug:ident,)+) => {
        /// What can be planted in the relay.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Bug {
            $($(#[doc = $doc])+ $bug,)+
        }

        impl Bug {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$bug),+];

            /// Its name, as it stands here.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$bug => stringify!($bug),)+
                }
            }
        }
    };
}

bugs! {
    /// In the session: changesets are acknowledged when they go to the store, not when it has answered. If
    /// the relay dies or the store fails in between, they were acknowledged and are not there; an author that
    /// is thrown away then, since all was stored, takes them along. (One that comes back sends them again: it
    /// keeps what no vector has confirmed.) Needs a crash or a failure between the action and its answer.
    /// That an acknowledgement means on disk; I2.
    AckBeforeCommit,
    /// In the memory store: where a page is full, the next one begins after the first entry that did not fit.
    /// If that is the last of its author, no gap tells: it comes with the next connection, or when its author
    /// writes again. Needs pages smaller than what is to be read. I10.
    PageBoundarySkipped,
    /// In the memory store: a snapshot replaces all the others, not only those that it covers. What only they
    /// had is gone, though the heads count it: a newcomer never gets it, and its session reads from the
    /// beginning again and again. Needs two snapshots of which neither covers the other, as when a lost relay
    /// is refilled by two files. I2, I10.
    SnapshotReplacesAll,
    /// In the memory store: a snapshot that counts less of some replica than the log does lowers its head.
    /// What was acknowledged is asked for again, and what is pushed on top is refused. Needs a snapshot that
    /// is behind in one and ahead in another. I7.
    HeadsRunBackwards,
    /// In the session: that the log grew is missed while a page is being read. What came then is not
    /// delivered until something else comes. Needs growth between a read and its answer. I10.
    GrowthMissed,
}

#[cfg(test)]
mod tests {
    use driftless_protocol::changeset::BodyBuilder;
    use driftless_protocol::message::Hello;
    use driftless_protocol::{
        Changeset, ChangesetHeader, ClientMessage, Part, ReplicaId, Seq, SnapshotHeader, SnapshotPart,
        SpaceId, SpaceName, StateVector,
    };
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::connection::session::{Action, Event, Limits, ReadAnswer, Session, Stored};
    use crate::log::memory::MemoryStore;
    use crate::log::{LogError, LogStore, Start, UploadId};

    #[test]
    fn one_bug_at_a_time_is_on_and_on_no_other_thread() {
        assert!(Bug::ALL.iter().all(|bug| !is(*bug)));
        for &bug in Bug::ALL {
            plant(Some(bug));
            let on: Vec<_> = Bug::ALL.iter().filter(|known| is(**known)).collect();
            assert_eq!(on, [&bug], "{}", bug.name());
        }
        let elsewhere = std::thread::spawn(|| Bug::ALL.iter().any(|bug| is(*bug)));
        assert!(!elsewhere.join().expect("ends"));
        plant(None);
        assert!(Bug::ALL.iter().all(|bug| !is(*bug)));
    }

    fn replica(r: u8) -> ReplicaId {
        ReplicaId::from_bytes([r; 16]).expect("not nil")
    }

    fn seq(n: u64) -> Seq {
        Seq::new(n).expect("not zero")
    }

    fn vector(entries: &[(u8, u64)]) -> StateVector {
        entries.iter().map(|&(r, n)| (replica(r), seq(n))).collect()
    }

    /// `time` tells contents apart.
    fn changeset(r: u8, n: u64, time: i64) -> Changeset {
        let (replica, seq) = (replica(r), seq(n));
        let header = ChangesetHeader { replica, seq, part: Part::Whole, after: StateVector::new(), time };
        Changeset::seal(header, &BodyBuilder::new().finish())
    }

    fn snapshot(id: u8, entries: &[(u8, u64)]) -> SnapshotPart {
        let vector = vector(entries);
        let header = SnapshotHeader { snapshot: [id; 16], index: 0, last: true, vector };
        SnapshotPart::seal(header, &BodyBuilder::new().finish())
    }

    fn now<T>(answer: BoxFuture<'_, Result<T, LogError>>) -> T {
        answer.now_or_never().expect("the memory store answers at once").expect("it is well")
    }

    /// A conversation in which the space is open.
    fn session() -> Session {
        let mut session = Session::new(Limits::default());
        let (space, vector) = (SpaceId::random(), StateVector::new());
        let hello = Hello {
            space: None,
            propose: Some(space),
            replica: replica(1),
            vector: vector.clone(),
            token: None,
        };
        session.handle(Event::Frame(ClientMessage::Hello(hello).encode()));
        let welcome = driftless_protocol::message::Welcome { space, heads: vector, own: None };
        session.handle(Event::Stored(Ok(Stored::Open(welcome))));
        session
    }

    fn push(session: &mut Session, n: u64) -> Vec<Action> {
        session.handle(Event::Frame(ClientMessage::Changeset(changeset(1, n, 0)).encode()))
    }

    /// What a store or a session comes to in the smallest scenario that shows a bug.
    fn seen(bug: Bug) -> String {
        let (store, space) = (MemoryStore::default(), "s".parse::<SpaceName>().expect("a name"));
        now(store.open(&space, None, Some(SpaceId::random())));
        let append = |changesets: Vec<Changeset>| now(store.append(&space, changesets));
        let put = |part| now(store.put_snapshot(&space, UploadId(1), part));
        match bug {
            Bug::AckBeforeCommit => format!("{} actions", push(&mut session(), 1).len()),
            Bug::PageBoundarySkipped => {
                append(vec![changeset(1, 1, 0), changeset(2, 1, 0)]);
                let first = now(store.read(&space, 0, StateVector::new(), 1));
                let second = now(store.read(&space, first.after, StateVector::new(), 1));
                format!("{} and {}", first.items.len(), second.items.len())
            }
            Bug::SnapshotReplacesAll => {
                put(snapshot(1, &[(1, 1)]));
                put(snapshot(2, &[(2, 1)]));
                format!("{} snapshots", now(store.start(&space, StateVector::new())).snapshots.len())
            }
            Bug::HeadsRunBackwards => {
                append(vec![changeset(1, 1, 0), changeset(1, 2, 0)]);
                put(snapshot(1, &[(1, 1), (2, 1)]));
                format!("{}", now(store.heads(&space)).get(replica(1)))
            }
            Bug::GrowthMissed => {
                let mut session = session();
                session.next_read();
                session.handle(Event::Grown(5));
                let start = Start { snapshots: Vec::new(), after: 0 };
                session.handle(Event::Read(Ok(ReadAnswer::Start(start))));
                format!("{:?}", session.next_read())
            }
        }
    }

    #[test]
    fn every_planted_bug_changes_what_a_store_or_a_session_does() {
        for &bug in Bug::ALL {
            let right = seen(bug);
            assert_eq!(seen(bug), right, "{}: nothing is planted, and it is not the same twice", bug.name());
            plant(Some(bug));
            let wrong = seen(bug);
            plant(None);
            assert_ne!(wrong, right, "{}", bug.name());
        }
    }
}
