//! The engine's side of the conversation, as a state machine without I/O: what happened goes in, actions come out.
//! Clock, socket and database are the driver's; a simulator can be another driver.
//!
//! ```text
//! Greeting ── Welcome ──► Judging ── the replica says ──► Live
//!                            │ the relay lacks what the outbox no longer has
//!                            └──► Filling ── SnapshotStored ──► Live
//! ```

use std::collections::VecDeque;

use driftless_protocol::message::{Hello, Welcome};
use driftless_protocol::{
    Changeset, ClientMessage, CloseCode, Presence, RelayMessage, ReplicaId, Seq, SnapshotPart, SpaceId,
    StateVector,
};

/// The most that is sent and not yet acknowledged, in bytes; one changeset larger than that may go alone.
pub(crate) const WINDOW_BYTES: usize = 8 << 20;

/// What the driver has to do.
#[derive(Debug)]
pub(crate) enum Action {
    /// Send this.
    Send(ClientMessage),
    /// Ask the replica to judge this welcome; answer with [`Session::proceed`], or end.
    Judge(Welcome),
    /// Read own changesets after this seq; answer with [`Session::outgoing`].
    ReadOutbox { after: u64 },
    /// Make a snapshot; hand its parts to [`Session::snapshot_part`].
    MakeSnapshot,
    /// Apply this.
    Deliver(Delivery),
    /// Note that the relay stored everything of ours up to this seq.
    Acknowledged(u64),
    /// Note that the relay holds this, by a vector that it sent after its acknowledgements.
    Confirmed(StateVector),
    /// The question with this number is settled.
    Settled(u64),
    /// The presence of another replica; empty if the replica has withdrawn it, or is gone.
    Present(ReplicaId, Presence),
    /// Take another name and connect again: somebody else writes under this one.
    Rename,
    /// Close with this code and reason: the other side broke the protocol, or the file cannot go on with this
    /// conversation.
    Break(CloseCode, &'static str),
}

/// What came in for the tables.
#[derive(Debug)]
pub(crate) enum Delivery {
    Changeset(Changeset),
    SnapshotPart(SnapshotPart),
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Greeting,
    Judging,
    Filling,
    Live,
}

/// Someone waits until both sides agree.
#[derive(Debug)]
struct Question {
    id: u64,
    /// Own changesets up to here must be stored.
    target: u64,
    nonce: Option<u64>,
    /// What the relay held when asked; it must be applied here.
    heads: Option<StateVector>,
}

/// One connection, from hello to close.
#[derive(Debug)]
pub(crate) struct Session {
    replica: ReplicaId,
    phase: Phase,
    /// The last own seq that there is to send.
    captured: u64,
    /// The last own seq that was sent, or that the relay had before.
    sent: u64,
    /// The last own seq that the relay acknowledged.
    stored: u64,
    /// What was sent and not yet acknowledged: (seq, bytes).
    in_flight: VecDeque<(u64, usize)>,
    in_flight_bytes: usize,
    reading: bool,
    /// Own changesets up to this seq are confirmed: the relay counted them in a vector that it sent after
    /// acknowledging them.
    confirmed: u64,
    /// What the file has: in the tables, or in the inbox, waiting for something that has not come yet.
    held: StateVector,
    questions: Vec<Question>,
    last_nonce: u64,
    /// The presence that others are to be told, until it is sent.
    unsaid: Option<Presence>,
}

impl Session {
    /// Begins: the session and the first thing to say. `held`: what the relay need not send.
    pub(crate) fn begin(
        replica: ReplicaId,
        space: Option<SpaceId>,
        propose: Option<SpaceId>,
        held: StateVector,
        token: Option<String>,
    ) -> (Self, Action) {
        let session = Self {
            replica,
            phase: Phase::Greeting,
            captured: held.get(replica),
            sent: 0,
            stored: 0,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            reading: false,
            confirmed: 0,
            held: held.clone(),
            questions: Vec::new(),
            last_nonce: 0,
            unsaid: None,
        };
        let hello = Hello { space, propose, replica, vector: held, token };
        (session, Action::Send(ClientMessage::Hello(hello)))
    }

    /// Whether the relay has answered and nothing is in the way of changesets.
    pub(crate) fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// Whether the welcome has been judged, so that what is delivered may be applied. Before that, this file may be a
    /// copy that does not know it yet: changesets that build on the original's changesets would then seem to build on
    /// this file's changesets with the same numbers.
    pub(crate) fn is_judged(&self) -> bool {
        matches!(self.phase, Phase::Filling | Phase::Live)
    }

    /// The name (replica id) under which this conversation is held.
    pub(crate) fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// A message came in.
    pub(crate) fn on_message(&mut self, message: RelayMessage) -> Vec<Action> {
        match (message, &self.phase) {
            (RelayMessage::Welcome(welcome), Phase::Greeting) => {
                self.phase = Phase::Judging;
                self.stored = welcome.heads.get(self.replica);
                vec![Action::Judge(welcome)]
            }
            (RelayMessage::Welcome(_), _) => vec![broken("a second welcome")],
            (_, Phase::Greeting) => vec![broken("something before the welcome")],
            (RelayMessage::Stored(seq), _) => self.on_stored(seq),
            // From an earlier connection of our own, whose end the relay has not noticed yet.
            (RelayMessage::Presence { replica, .. }, _) if replica == self.replica => Vec::new(),
            (RelayMessage::Presence { replica, presence }, _) => vec![Action::Present(replica, presence)],
            (RelayMessage::SnapshotStored(_), Phase::Filling) => {
                self.phase = Phase::Live;
                // Nothing else was sent meanwhile: what the snapshot contains of ours is stored.
                self.stored = self.sent;
                let mut actions = vec![Action::Acknowledged(self.stored)];
                actions.extend(self.go_on());
                actions
            }
            (RelayMessage::SnapshotStored(_), _) => Vec::new(),
            (RelayMessage::Heads { nonce, heads }, _) => self.on_heads(nonce, heads),
            // A relay sends back nothing that this connection sent, and nothing that the hello counted: so another
            // file has this name and has gone on writing.
            (RelayMessage::Changeset(changeset), _) if changeset.header.replica == self.replica => {
                vec![Action::Rename]
            }
            (RelayMessage::Changeset(changeset), _) => vec![Action::Deliver(Delivery::Changeset(changeset))],
            (RelayMessage::SnapshotPart(part), _) => vec![Action::Deliver(Delivery::SnapshotPart(part))],
        }
    }

    /// The replica has judged the welcome: own changesets after `send_after` are to be sent, after a snapshot if the
    /// relay needs one.
    pub(crate) fn proceed(&mut self, send_after: u64, snapshot: bool) -> Vec<Action> {
        self.sent = send_after;
        self.stored = send_after;
        self.confirmed = send_after;
        if snapshot {
            self.phase = Phase::Filling;
            return vec![Action::MakeSnapshot];
        }
        self.phase = Phase::Live;
        self.go_on()
    }

    /// A part of the snapshot that was asked for.
    pub(crate) fn snapshot_part(&mut self, part: SnapshotPart) -> Action {
        if part.header.last {
            // Everything of ours up to here is in it.
            self.sent = self.sent.max(part.header.vector.get(self.replica));
        }
        Action::Send(ClientMessage::SnapshotPart(part))
    }

    /// There are own changesets up to `last`.
    pub(crate) fn captured(&mut self, last: u64) -> Vec<Action> {
        self.captured = self.captured.max(last);
        self.go_on()
    }

    /// Own changesets that were read from the outbox.
    pub(crate) fn outgoing(&mut self, changesets: Vec<Changeset>) -> Vec<Action> {
        self.reading = false;
        let mut actions = Vec::with_capacity(changesets.len());
        for changeset in changesets {
            let (seq, bytes) = (changeset.header.seq.get(), changeset.bytes().len());
            if changeset.header.replica != self.replica {
                actions.push(Action::Break(CloseCode::Normal, "the file has taken another name"));
                return actions;
            }
            if seq != self.sent + 1 {
                // The outbox begins after what the relay has. It takes another welcome to find out what the relay
                // lacks.
                actions.push(Action::Break(CloseCode::Gap, "the outbox has a gap"));
                return actions;
            }
            self.sent = seq;
            self.in_flight.push_back((seq, bytes));
            self.in_flight_bytes += bytes;
            actions.push(Action::Send(ClientMessage::Changeset(changeset)));
        }
        actions.extend(self.go_on());
        actions
    }

    /// What the file holds now: in the tables, or waiting for what nobody has sent yet.
    pub(crate) fn applied(&mut self, held: StateVector) -> Vec<Action> {
        self.held.merge(&held);
        self.settle()
    }

    /// The file went on without this connection: it captured, and may have applied what had waited in it. `held`:
    /// what it holds now.
    pub(crate) fn progressed(&mut self, held: StateVector) -> Vec<Action> {
        let last = held.get(self.replica);
        self.held.merge(&held);
        self.captured(last)
    }

    /// Asks for [`Action::Settled`] when everything of ours up to `target` is stored and everything that the relay
    /// holds by then is applied.
    pub(crate) fn ask(&mut self, id: u64, target: u64) -> Vec<Action> {
        self.captured = self.captured.max(target);
        self.questions.push(Question { id, target, nonce: None, heads: None });
        self.go_on()
    }

    /// Sets the presence that others are told of this replica, in place of the last one. It is sent as soon as the
    /// conversation is live.
    pub(crate) fn say(&mut self, presence: Presence) -> Vec<Action> {
        self.unsaid = Some(presence);
        self.go_on()
    }

    /// To be called now and then: asks for a vector that confirms what has only been acknowledged so far.
    pub(crate) fn tick(&mut self) -> Vec<Action> {
        if !self.is_live() || self.stored <= self.confirmed {
            return Vec::new();
        }
        let nonce = self.nonce();
        vec![Action::Send(ClientMessage::AskHeads(nonce))]
    }

    /// Whether the relay still has to answer something that was sent, or a question is open.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.phase, Phase::Greeting | Phase::Filling)
            || !self.in_flight.is_empty()
            || !self.questions.is_empty()
    }

    /// What was sent and not yet acknowledged, in bytes.
    pub(crate) fn in_flight_bytes(&self) -> usize {
        self.in_flight_bytes
    }

    fn nonce(&mut self) -> u64 {
        self.last_nonce += 1;
        self.last_nonce
    }

    fn on_stored(&mut self, seq: Seq) -> Vec<Action> {
        let seq = seq.get();
        if seq > self.sent {
            return vec![broken("an acknowledgement of what was never sent")];
        }
        if seq <= self.stored {
            return Vec::new();
        }
        self.stored = seq;
        while let Some(&(sent, bytes)) = self.in_flight.front()
            && sent <= seq
        {
            self.in_flight.pop_front();
            self.in_flight_bytes -= bytes;
        }
        let mut actions = vec![Action::Acknowledged(seq)];
        actions.extend(self.go_on());
        actions
    }

    fn on_heads(&mut self, nonce: u64, heads: StateVector) -> Vec<Action> {
        self.confirmed = self.confirmed.max(heads.get(self.replica));
        for question in self.questions.iter_mut().filter(|question| question.nonce == Some(nonce)) {
            question.heads = Some(heads.clone());
        }
        let mut actions = vec![Action::Confirmed(heads)];
        actions.extend(self.settle());
        actions
    }

    /// Does all that can be done now: reads more to send, asks the questions that were not asked, settles those that
    /// can be settled.
    fn go_on(&mut self) -> Vec<Action> {
        if !self.is_live() {
            return Vec::new();
        }
        let mut actions = Vec::new();
        if let Some(presence) = self.unsaid.take() {
            actions.push(Action::Send(ClientMessage::Presence(presence)));
        }
        if !self.reading && self.sent < self.captured && self.in_flight_bytes < WINDOW_BYTES {
            self.reading = true;
            actions.push(Action::ReadOutbox { after: self.sent });
        }
        for at in 0..self.questions.len() {
            if self.questions[at].nonce.is_none() {
                let nonce = self.nonce();
                self.questions[at].nonce = Some(nonce);
                actions.push(Action::Send(ClientMessage::AskHeads(nonce)));
            }
        }
        actions.extend(self.settle());
        actions
    }

    fn settle(&mut self) -> Vec<Action> {
        // Changesets that were captured here are in the tables here, although they are never reported as applied.
        if let Some(own) = Seq::new(self.captured) {
            self.held.raise(self.replica, own);
        }
        let (stored, held) = (self.stored, &self.held);
        let is_settled = |question: &Question| {
            question.target <= stored && question.heads.as_ref().is_some_and(|heads| held.covers(heads))
        };
        let settled = self.questions.extract_if(.., |question| is_settled(question));
        settled.map(|question| Action::Settled(question.id)).collect()
    }
}

fn broken(why: &'static str) -> Action {
    Action::Break(CloseCode::Malformed, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use driftless_protocol::changeset::BodyBuilder;
    use driftless_protocol::{ChangesetHeader, Part};

    fn replica(n: u8) -> ReplicaId {
        ReplicaId::from_bytes([n; 16]).expect("not nil")
    }

    fn vector(entries: &[(u8, u64)]) -> StateVector {
        entries.iter().filter_map(|&(r, n)| Some((replica(r), Seq::new(n)?))).collect()
    }

    fn changeset(seq: u64) -> Changeset {
        let header = ChangesetHeader {
            replica: replica(1),
            seq: Seq::new(seq).expect("not zero"),
            part: Part::Whole,
            after: StateVector::new(),
            time: 0,
        };
        Changeset::seal(header, &BodyBuilder::new().finish())
    }

    fn session(applied: &[(u8, u64)]) -> Session {
        Session::begin(replica(1), None, None, vector(applied), None).0
    }

    fn welcome(heads: &[(u8, u64)]) -> RelayMessage {
        RelayMessage::Welcome(Welcome { space: SpaceId::random(), heads: vector(heads), own: None })
    }

    #[test]
    fn nothing_is_sent_before_the_replica_has_judged_the_welcome() {
        let mut session = session(&[(1, 3)]);
        assert!(session.captured(3).is_empty());
        assert!(matches!(session.on_message(welcome(&[]))[..], [Action::Judge(_)]));
        assert!(session.captured(4).is_empty());
        assert!(matches!(session.proceed(1, false)[..], [Action::ReadOutbox { after: 1 }]));
        let sent = session.outgoing(vec![changeset(2), changeset(3)]);
        assert!(matches!(sent[..], [Action::Send(_), Action::Send(_), Action::ReadOutbox { after: 3 }]));
    }

    /// A file that was restored from an older copy, and had captured something since, was sent changesets that build
    /// on its later ones, which it had lost. It took them for ready before it had noticed that it was a copy, could
    /// not apply them, and set them aside for good.
    #[test]
    fn what_is_delivered_is_not_to_be_applied_before_the_welcome_is_judged() {
        let mut session = session(&[(1, 3)]);
        assert!(!session.is_judged());
        session.on_message(welcome(&[(1, 9), (2, 1)]));
        let other = ChangesetHeader { replica: replica(2), ..changeset(1).header };
        let other = Changeset::seal(other, &BodyBuilder::new().finish());
        assert!(matches!(session.on_message(RelayMessage::Changeset(other))[..], [Action::Deliver(_)]));
        assert!(!session.is_judged());
        session.proceed(3, true);
        assert!(session.is_judged(), "while it fills the relay it takes in what comes");
    }

    #[test]
    fn a_question_is_settled_only_when_ours_is_stored_and_theirs_is_applied() {
        let mut session = session(&[(1, 1)]);
        session.on_message(welcome(&[(2, 5)]));
        session.proceed(0, false);
        assert!(matches!(session.ask(9, 1)[..], [Action::Send(ClientMessage::AskHeads(1))]));
        session.outgoing(vec![changeset(1)]);
        let heads = RelayMessage::Heads { nonce: 1, heads: vector(&[(1, 1), (2, 5)]) };
        assert!(matches!(session.on_message(heads)[..], [Action::Confirmed(_)]));
        let stored = session.on_message(RelayMessage::Stored(Seq::FIRST));
        assert!(matches!(stored[..], [Action::Acknowledged(1)]));
        assert!(session.applied(vector(&[(1, 1), (2, 4)])).is_empty());
        assert!(matches!(session.applied(vector(&[(1, 1), (2, 5)]))[..], [Action::Settled(9)]));
    }

    /// What was captured after the hello was never counted as applied, so that the relay's heads, which count it once
    /// it is stored, were never covered.
    #[test]
    fn a_question_is_settled_when_the_relay_counts_what_was_captured_since_the_hello() {
        let mut session = session(&[]);
        session.on_message(welcome(&[]));
        session.proceed(0, false);
        session.ask(3, 1);
        session.outgoing(vec![changeset(1)]);
        session.on_message(RelayMessage::Stored(Seq::FIRST));
        let heads = RelayMessage::Heads { nonce: 1, heads: vector(&[(1, 1)]) };
        assert!(matches!(session.on_message(heads)[..], [Action::Confirmed(_), Action::Settled(3)]));
    }

    /// Changesets that had waited in the file, and were applied by one of the file's own turns, were never counted. So a
    /// caller that had asked was told nothing until something else came.
    #[test]
    fn a_question_is_settled_by_what_the_file_applies_by_itself() {
        let mut session = session(&[]);
        session.on_message(welcome(&[(2, 1)]));
        session.proceed(0, false);
        session.ask(3, 0);
        assert!(session.on_message(RelayMessage::Heads { nonce: 1, heads: vector(&[(2, 1)]) }).len() == 1);
        assert!(matches!(session.progressed(vector(&[(2, 1)]))[..], [Action::Settled(3)]));
    }

    #[test]
    fn a_relay_that_lost_its_data_gets_a_snapshot_before_anything_else() {
        let mut session = session(&[(1, 7), (2, 2)]);
        session.on_message(welcome(&[]));
        assert!(matches!(session.proceed(0, true)[..], [Action::MakeSnapshot]));
        assert!(session.captured(8).is_empty());
        let header = driftless_protocol::SnapshotHeader {
            snapshot: [1; 16],
            index: 0,
            last: true,
            vector: vector(&[(1, 7), (2, 2)]),
        };
        let part = SnapshotPart::seal(header, &BodyBuilder::new().finish());
        assert!(matches!(session.snapshot_part(part), Action::Send(ClientMessage::SnapshotPart(_))));
        let stored = session.on_message(RelayMessage::SnapshotStored([1; 16]));
        assert!(matches!(stored[..], [Action::Acknowledged(7), Action::ReadOutbox { after: 7 }]));
    }

    /// What a snapshot contained was never counted as stored, so that whoever waited for agreement waited for ever.
    #[test]
    fn a_question_is_settled_by_a_snapshot_that_contains_what_it_waits_for() {
        let mut session = session(&[(1, 7)]);
        session.on_message(welcome(&[]));
        session.proceed(0, true);
        let header = driftless_protocol::SnapshotHeader {
            snapshot: [1; 16],
            index: 0,
            last: true,
            vector: vector(&[(1, 7)]),
        };
        session.snapshot_part(SnapshotPart::seal(header, &BodyBuilder::new().finish()));
        session.on_message(RelayMessage::SnapshotStored([1; 16]));
        assert!(matches!(session.ask(1, 7)[..], [Action::Send(ClientMessage::AskHeads(1))]));
        let heads = RelayMessage::Heads { nonce: 1, heads: vector(&[(1, 7)]) };
        assert!(matches!(session.on_message(heads)[..], [Action::Confirmed(_), Action::Settled(1)]));
    }

    #[test]
    fn a_changeset_under_our_own_name_that_we_did_not_write_makes_us_take_another() {
        let mut session = session(&[(1, 2)]);
        session.on_message(welcome(&[(1, 2)]));
        session.proceed(2, false);
        let foreign = session.on_message(RelayMessage::Changeset(changeset(3)));
        assert!(matches!(foreign[..], [Action::Rename]));
    }

    #[test]
    fn a_presence_is_said_once_when_the_conversation_is_live_and_only_the_last() {
        let presence = |text: &str| Presence::new(text.as_bytes().to_vec()).expect("short");
        let says = |actions: &[Action], text: &str| match actions {
            [Action::Send(ClientMessage::Presence(said)), ..] => *said == presence(text),
            _ => false,
        };
        let mut session = session(&[]);
        assert!(session.say(presence("first")).is_empty());
        session.on_message(welcome(&[]));
        assert!(session.say(presence("second")).is_empty(), "nothing is said before the welcome is judged");
        let live = session.proceed(0, false);
        assert!(live.len() == 1 && says(&live, "second"), "{live:?}");
        assert!(session.captured(0).is_empty(), "nothing is said twice");
        assert!(says(&session.say(presence("third")), "third"));
    }

    #[test]
    fn what_others_let_know_is_passed_on_and_what_an_earlier_connection_of_ours_said_is_not() {
        let presence = Presence::new(&b"here"[..]).expect("short");
        let of = |n| RelayMessage::Presence { replica: replica(n), presence: presence.clone() };
        let mut session = session(&[]);
        assert!(matches!(session.on_message(of(2))[..], [Action::Break(..)]), "before the welcome");
        session.on_message(welcome(&[]));
        let other = session.on_message(of(2));
        assert!(
            matches!(&other[..], [Action::Present(who, said)] if *who == replica(2) && *said == presence)
        );
        assert!(session.on_message(of(1)).is_empty());
    }

    #[test]
    fn acknowledging_what_was_never_sent_ends_the_conversation() {
        let mut session = session(&[]);
        session.on_message(welcome(&[]));
        session.proceed(0, false);
        assert!(matches!(session.on_message(RelayMessage::Stored(Seq::FIRST))[..], [Action::Break(..)]));
    }
}
