//! Who of a room lets the others know what of itself: the latest value of each replica, in memory, for as long as the
//! connection lasts that said it.
//!
//! As with the log nothing is pushed: each member reads what has changed since it last did, when its socket has room. So
//! a slow member costs nothing, and skips what was replaced before it came to read. Whatever was said last it gets.
//!
//! A replica has one value, that of its newest connection: when an engine comes back before the relay has noticed that
//! it was gone, the end of the old connection takes nothing of the new one's away.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use driftless_protocol::{MAX_PRESENCES, Presence, RelayMessage, ReplicaId};
use tokio::sync::watch;

use super::Room;

/// How many changes a room remembers. Who has fallen behind further compares everything.
const CHANGES: usize = MAX_PRESENCES;

/// What the members of a room let one another know.
#[derive(Debug, Default)]
pub(super) struct Presences {
    by_replica: BTreeMap<ReplicaId, Said>,
    /// The number of the last change.
    version: u64,
    /// Everything after this version is in `changes`.
    after: u64,
    /// Who has changed or gone, with the version that this made.
    changes: VecDeque<(u64, ReplicaId)>,
}

#[derive(Debug)]
struct Said {
    connection: u64,
    version: u64,
    frame: Bytes,
}

/// What a member has been given.
#[derive(Debug, Default)]
struct Seen {
    version: u64,
    replicas: BTreeSet<ReplicaId>,
}

impl Presences {
    /// What a connection says in the name of its replica from now on. Whether that changes anything.
    fn say(&mut self, replica: ReplicaId, connection: u64, presence: Presence) -> bool {
        let before = self.by_replica.get(&replica);
        if before.is_some_and(|before| before.connection > connection) {
            return false;
        }
        if presence.is_none() {
            return self.leave(replica, connection);
        }
        if before.is_none() && self.by_replica.len() >= MAX_PRESENCES {
            return false;
        }
        let frame = RelayMessage::Presence { replica, presence }.encode();
        if before.is_some_and(|before| before.connection == connection && before.frame == frame) {
            return false;
        }
        let version = self.changed(replica);
        self.by_replica.insert(replica, Said { connection, version, frame });
        true
    }

    /// A replica says nothing any more, on this connection or older ones. Whether it had.
    fn leave(&mut self, replica: ReplicaId, connection: u64) -> bool {
        let is_its = self.by_replica.get(&replica).is_some_and(|said| said.connection <= connection);
        if is_its {
            self.by_replica.remove(&replica);
            self.changed(replica);
        }
        is_its
    }

    fn changed(&mut self, replica: ReplicaId) -> u64 {
        self.version += 1;
        self.changes.push_back((self.version, replica));
        if self.changes.len() > CHANGES
            && let Some((oldest, _)) = self.changes.pop_front()
        {
            self.after = oldest;
        }
        self.version
    }

    /// What a member of this name lacks: first who is gone, so that it never holds more than there may be.
    fn read(&self, own: ReplicaId, seen: &mut Seen) -> Vec<Bytes> {
        let mut changed: BTreeSet<ReplicaId> = if seen.version >= self.after {
            let from = self.changes.partition_point(|&(version, _)| version <= seen.version);
            self.changes.range(from..).map(|&(_, replica)| replica).collect()
        } else {
            self.by_replica.keys().chain(&seen.replicas).copied().collect()
        };
        changed.remove(&own);
        let mut frames = Vec::new();
        for &replica in &changed {
            if !self.by_replica.contains_key(&replica) && seen.replicas.remove(&replica) {
                frames.push(RelayMessage::Presence { replica, presence: Presence::none() }.encode());
            }
        }
        for &replica in &changed {
            if let Some(said) = self.by_replica.get(&replica)
                && said.version > seen.version
            {
                seen.replicas.insert(replica);
                frames.push(said.frame.clone());
            }
        }
        seen.version = self.version;
        frames
    }
}

/// A connection in a room. Dropping it takes away what it let others know.
#[derive(Debug)]
pub(crate) struct Member {
    room: Arc<Room>,
    replica: ReplicaId,
    connection: u64,
    changed: watch::Receiver<u64>,
    seen: Seen,
}

impl Member {
    /// `connection` must be higher than that of every connection before. What an older one of this replica said is gone.
    pub(crate) fn join(room: Arc<Room>, replica: ReplicaId, connection: u64) -> Self {
        let mut changed = room.present.subscribe();
        if room.presences().leave(replica, connection) {
            room.tell();
        }
        if *changed.borrow() > 0 {
            changed.mark_changed();
        }
        Self { room, replica, connection, changed, seen: Seen::default() }
    }

    /// Lets the others know this, and nothing else any more.
    pub(crate) fn say(&self, presence: Presence) {
        if self.room.presences().say(self.replica, self.connection, presence) {
            self.room.tell();
        }
    }

    /// Returns when there is something to [read](Self::read). Can be dropped at any time without loss.
    pub(crate) async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// The frames that bring this member up to date, each replica's at most once.
    pub(crate) fn read(&mut self) -> Vec<Bytes> {
        self.room.presences().read(self.replica, &mut self.seen)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.room.presences().leave(self.replica, self.connection) {
            self.room.tell();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(n: u16) -> ReplicaId {
        let mut bytes = [1; 16];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        ReplicaId::from_bytes(bytes).expect("not nil")
    }

    fn presence(text: &str) -> Presence {
        Presence::new(text.as_bytes().to_vec()).expect("short")
    }

    /// The frames as text: "2:here", or "2:" for who is gone.
    fn told(frames: Vec<Bytes>) -> Vec<String> {
        let text = |frame| match RelayMessage::decode(frame) {
            Ok(RelayMessage::Presence { replica, presence }) => {
                let number = u16::from_be_bytes([replica.as_bytes()[0], replica.as_bytes()[1]]);
                format!("{number}:{}", String::from_utf8_lossy(presence.as_bytes()))
            }
            other => panic!("{other:?}"),
        };
        frames.into_iter().map(text).collect()
    }

    #[test]
    fn a_member_reads_the_latest_of_each_other_once_and_never_its_own() {
        let (mut presences, mut seen) = (Presences::default(), Seen::default());
        assert!(presences.say(replica(1), 1, presence("me")));
        for text in ["a", "b", "c"] {
            assert!(presences.say(replica(2), 2, presence(text)));
        }
        assert!(!presences.say(replica(2), 2, presence("c")), "the same again is no change");
        assert_eq!(told(presences.read(replica(1), &mut seen)), ["2:c"]);
        assert_eq!(told(presences.read(replica(1), &mut seen)), [""; 0]);
        assert!(presences.say(replica(2), 2, Presence::none()));
        assert!(!presences.say(replica(2), 2, Presence::none()));
        assert_eq!(told(presences.read(replica(1), &mut seen)), ["2:"]);
    }

    #[test]
    fn who_came_and_went_between_two_reads_is_not_mentioned() {
        let (mut presences, mut seen) = (Presences::default(), Seen::default());
        presences.say(replica(2), 2, presence("here"));
        assert!(presences.leave(replica(2), 2));
        assert!(!presences.leave(replica(2), 2), "it had said nothing any more");
        assert_eq!(told(presences.read(replica(1), &mut seen)), [""; 0]);
    }

    #[test]
    fn the_end_of_an_old_connection_takes_nothing_of_a_newer_one_away() {
        let mut presences = Presences::default();
        presences.say(replica(2), 5, presence("old"));
        presences.say(replica(2), 9, presence("new"));
        assert!(!presences.say(replica(2), 5, presence("late")));
        assert!(!presences.leave(replica(2), 5));
        assert_eq!(told(presences.read(replica(1), &mut Seen::default())), ["2:new"]);
        assert!(presences.leave(replica(2), 9));
    }

    #[test]
    fn a_member_that_fell_far_behind_is_told_the_same_as_one_that_did_not() {
        let (mut presences, mut slow) = (Presences::default(), Seen::default());
        for n in 2..6 {
            presences.say(replica(n), u64::from(n), presence("first"));
        }
        assert_eq!(presences.read(replica(1), &mut slow).len(), 4);
        presences.leave(replica(3), 3);
        presences.say(replica(4), 4, presence("second"));
        for n in 0..2 * CHANGES {
            presences.say(replica(5), 5, presence(&n.to_string()));
        }
        assert!(slow.version < presences.after, "or this tests nothing");
        let last = format!("5:{}", 2 * CHANGES - 1);
        assert_eq!(told(presences.read(replica(1), &mut slow)), ["3:", "4:second", &last]);
        assert_eq!(presences.changes.len(), CHANGES, "what is remembered is bounded");
        let newcomer = presences.read(replica(1), &mut Seen::default());
        assert_eq!(told(newcomer), ["2:first", "4:second", &last]);
    }

    #[test]
    fn a_room_has_room_for_so_many_and_one_that_goes_makes_room_for_another() {
        let (mut presences, mut seen) = (Presences::default(), Seen::default());
        let others = 2..2 + MAX_PRESENCES as u16;
        for n in others.clone() {
            assert!(presences.say(replica(n), u64::from(n), presence("here")));
        }
        assert!(!presences.say(replica(others.end), 9999, presence("too many")));
        assert!(presences.say(replica(2), 2, presence("moved")), "who is there goes on");
        assert_eq!(presences.read(replica(1), &mut seen).len(), MAX_PRESENCES);
        presences.leave(replica(others.end - 1), 9998);
        assert!(presences.say(replica(others.end), 9999, presence("in")));
        let next = told(presences.read(replica(1), &mut seen));
        assert_eq!(next, [format!("{}:", others.end - 1), format!("{}:in", others.end)], "who is gone first");
    }
}
