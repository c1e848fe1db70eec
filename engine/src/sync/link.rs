//! The bookkeeping of one connection, without I/O: frames to send, changesets that came in and are not applied, statements of the
//! relay that are not noted in the file, and questions that wait for both. The socket loop drives it, and so does the simulator.
//!
//! Work for the file is a [`Task`]. The driver takes tasks, does each on the thread that owns the
//! file, and reports the outcome. At most one batch is being applied and one note written at any time. Statements of the relay
//! that come meanwhile are merged into the next note, so they do not pile up, however many there are.

use std::collections::VecDeque;

use bytes::Bytes;
use driftless_protocol::message::Welcome;
use driftless_protocol::{Changeset, Presence, RelayMessage, ReplicaId, SnapshotPart, StateVector};

use super::session::{Action, Delivery, Session};
use crate::replica::Verdict;
use crate::turn::merge::Incoming;

/// Once changesets of this size, in bytes, have come in and are not applied, the driver reads nothing more from the
/// relay.
const UNAPPLIED_BYTES: usize = 8 << 20;
/// How much is applied at a time, in bytes: other work for the file waits meanwhile.
const BATCH_BYTES: usize = 1 << 20;

/// Statements of the relay that the file does not have yet.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    /// The relay has stored own changesets up to this seq; 0 if it has not said so.
    pub(crate) acknowledged: u64,
    /// The relay holds this, by a vector that it sent after its acknowledgements.
    pub(crate) confirmed: Option<StateVector>,
    /// The number of the note that contains all that was said so far.
    number: u64,
}

/// Work for the file. After each, the driver calls the method that is named with it, unless the work fails: then the connection
/// is over.
#[derive(Debug)]
pub(crate) enum Task {
    /// Judge the welcome: [`Link::judged`].
    Judge(Welcome),
    /// Read own changesets after this seq: [`Link::read`].
    ReadOutbox { after: u64 },
    /// Make a snapshot: [`Link::snapshot_part`] for each part, then [`Link::snapshot_made`].
    MakeSnapshot,
    /// Apply this: [`Link::applied`].
    Apply(VecDeque<Incoming>),
    /// Note this: [`Link::noted`].
    Note(Note),
    /// Both sides agree. Write what is noted to the file, and answer the question with this number.
    Answer(u64),
    /// Take another name: [`Link::renamed`].
    Rename,
}

/// Why the conversation is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Over {
    /// The file has another name now: it has to begin again.
    Renamed,
    /// The other side broke the protocol, or the file cannot go on from where it is. Another connection may succeed.
    Broken(String),
}

/// One connection, from hello to close.
#[derive(Debug)]
pub(crate) struct Link {
    session: Session,
    frames: VecDeque<Bytes>,
    presences: Vec<(ReplicaId, Presence)>,
    tasks: VecDeque<Task>,
    unapplied: VecDeque<Incoming>,
    unapplied_bytes: usize,
    applying: bool,
    /// Statements of the relay that are in no note yet.
    unnoted: Note,
    noting: Option<u64>,
    /// Notes up to this number are in the file.
    noted: u64,
    making_snapshot: bool,
    /// Settled questions, each after the number of the note that must be in the file before the question is answered.
    settled: VecDeque<(u64, u64)>,
    renaming: bool,
    over: Option<Over>,
}

impl Link {
    /// A connection whose session has just begun with this hello.
    pub(crate) fn begin((session, hello): (Session, Action)) -> Self {
        let mut link = Self {
            session,
            frames: VecDeque::new(),
            presences: Vec::new(),
            tasks: VecDeque::new(),
            unapplied: VecDeque::new(),
            unapplied_bytes: 0,
            applying: false,
            unnoted: Note::default(),
            noting: None,
            noted: 0,
            making_snapshot: false,
            settled: VecDeque::new(),
            renaming: false,
            over: None,
        };
        link.run(vec![hello]);
        link
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Why it is over; `None` while it is not.
    pub(crate) fn over(&self) -> Option<&Over> {
        self.over.as_ref()
    }

    /// The next frame to send.
    pub(crate) fn take_frame(&mut self) -> Option<Bytes> {
        self.frames.pop_front()
    }

    #[cfg(feature = "sim")]
    pub(crate) fn has_frames(&self) -> bool {
        !self.frames.is_empty()
    }

    /// Presences of other replicas that came since the last call, in order.
    pub(crate) fn take_presences(&mut self) -> Vec<(ReplicaId, Presence)> {
        std::mem::take(&mut self.presences)
    }

    /// Whether more may be read from the relay.
    pub(crate) fn can_read(&self) -> bool {
        self.unapplied_bytes < UNAPPLIED_BYTES && !self.renaming
    }

    /// Whether all work that the relay's messages require has at least begun. The driver knows what has begun and is
    /// not done.
    pub(crate) fn is_idle(&self) -> bool {
        self.can_read() && self.tasks.is_empty() && self.unapplied.is_empty() && !self.has_unnoted()
    }

    /// Whether there is a task that can be begun now.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn has_task(&self) -> bool {
        self.over.is_none()
            && (!self.tasks.is_empty() || self.can_apply() || self.can_note() || self.can_answer())
    }

    /// The next task to be begun now.
    pub(crate) fn next_task(&mut self) -> Option<Task> {
        if self.over.is_some() {
            return None;
        }
        if let Some(task) = self.tasks.pop_front() {
            return Some(task);
        }
        if self.can_note() {
            let note = std::mem::take(&mut self.unnoted);
            self.unnoted.number = note.number;
            self.noting = Some(note.number);
            return Some(Task::Note(note));
        }
        if self.can_answer() {
            return self.settled.pop_front().map(|(_, question)| Task::Answer(question));
        }
        self.can_apply().then(|| self.next_batch())
    }

    fn can_apply(&self) -> bool {
        !self.applying && !self.unapplied.is_empty() && self.session.is_judged() && !self.renaming
    }

    fn has_unnoted(&self) -> bool {
        self.unnoted.acknowledged > 0 || self.unnoted.confirmed.is_some()
    }

    fn can_note(&self) -> bool {
        self.noting.is_none() && self.has_unnoted()
    }

    fn can_answer(&self) -> bool {
        !self.making_snapshot && self.settled.front().is_some_and(|&(note, _)| note <= self.noted)
    }

    fn next_batch(&mut self) -> Task {
        let (mut batch, mut bytes) = (VecDeque::new(), 0);
        while let Some(next) = self.unapplied.pop_front() {
            bytes += next.len();
            batch.push_back(next);
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        self.unapplied_bytes = self.unapplied_bytes.saturating_sub(bytes);
        self.applying = true;
        Task::Apply(batch)
    }

    /// A message came from the relay.
    pub(crate) fn on_message(&mut self, message: RelayMessage) {
        if !self.renaming && self.over.is_none() {
            let actions = self.session.on_message(message);
            self.run(actions);
        }
    }

    /// The replica has judged the welcome.
    pub(crate) fn judged(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Proceed { send_after, snapshot } => {
                let actions = self.session.proceed(send_after, snapshot);
                self.run(actions);
            }
            Verdict::Copy => self.rename(),
            Verdict::Renamed => self.end(Over::Renamed),
        }
    }

    /// Own changesets were read from the outbox.
    pub(crate) fn read(&mut self, changesets: Vec<Changeset>) {
        let actions = self.session.outgoing(changesets);
        self.run(actions);
    }

    /// A part of a snapshot was made.
    pub(crate) fn snapshot_part(&mut self, part: SnapshotPart) {
        let action = self.session.snapshot_part(part);
        self.run(vec![action]);
    }

    /// A snapshot was made to its end.
    pub(crate) fn snapshot_made(&mut self) {
        self.making_snapshot = false;
    }

    /// A batch was applied; the file holds this now.
    pub(crate) fn applied(&mut self, held: StateVector) {
        self.applying = false;
        let actions = self.session.applied(held);
        self.run(actions);
    }

    /// The note that was begun is done.
    pub(crate) fn noted(&mut self) {
        self.noted = self.noting.take().unwrap_or(self.noted);
    }

    /// The file has taken another name.
    pub(crate) fn renamed(&mut self) {
        self.end(Over::Renamed);
    }

    /// The file has captured or applied without this connection: it has this name and holds this.
    pub(crate) fn progressed(&mut self, name: ReplicaId, held: StateVector) {
        if self.is_under(name) {
            let actions = self.session.progressed(held);
            self.run(actions);
        }
    }

    /// Everything that was committed when somebody asked a question is captured now, under this name and up to this
    /// seq.
    pub(crate) fn captured(&mut self, question: u64, name: ReplicaId, last: u64) {
        // Under another name the question is asked again.
        if self.is_under(name) {
            let actions = self.session.ask(question, last);
            self.run(actions);
        }
    }

    /// Sets the presence that others are told of this replica.
    pub(crate) fn say(&mut self, presence: Presence) {
        let actions = self.session.say(presence);
        self.run(actions);
    }

    /// Time has passed: asks for a vector that confirms what was acknowledged.
    pub(crate) fn tick(&mut self) {
        let actions = self.session.tick();
        self.run(actions);
    }

    /// Somebody else writes under this file's name: the file takes another one, keeps its unsent work, and connects
    /// again.
    pub(crate) fn rename(&mut self) {
        if !std::mem::replace(&mut self.renaming, true) {
            // What came in under our own name would count as written here.
            self.unapplied.clear();
            self.unapplied_bytes = 0;
            self.tasks.push_back(Task::Rename);
        }
    }

    /// Whether the conversation is held under this name. If not, the file has started over and sends under another
    /// name now: the conversation is over.
    fn is_under(&mut self, name: ReplicaId) -> bool {
        let is_same = name == self.session.replica();
        if !is_same {
            self.end(Over::Renamed);
        }
        is_same
    }

    fn end(&mut self, over: Over) {
        self.over.get_or_insert(over);
    }

    fn run(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(message) => self.frames.push_back(message.encode()),
                Action::Deliver(Delivery::Changeset(changeset)) => {
                    self.receive(Incoming::Changeset(changeset));
                }
                Action::Deliver(Delivery::SnapshotPart(part)) => self.receive(Incoming::SnapshotPart(part)),
                Action::Judge(welcome) => self.tasks.push_back(Task::Judge(welcome)),
                Action::ReadOutbox { after } => self.tasks.push_back(Task::ReadOutbox { after }),
                Action::MakeSnapshot => {
                    self.making_snapshot = true;
                    self.tasks.push_back(Task::MakeSnapshot);
                }
                Action::Acknowledged(seq) => {
                    self.unnoted.acknowledged = self.unnoted.acknowledged.max(seq);
                    self.unnoted.number += 1;
                }
                Action::Confirmed(heads) => {
                    self.unnoted.confirmed.get_or_insert_default().merge(&heads);
                    self.unnoted.number += 1;
                }
                Action::Settled(question) => self.settled.push_back((self.unnoted.number, question)),
                Action::Present(replica, presence) => self.presences.push((replica, presence)),
                Action::Rename => self.rename(),
                Action::Break(code, why) => {
                    self.end(Over::Broken(format!("the conversation broke ({}): {why}", code.number())));
                }
            }
        }
    }

    fn receive(&mut self, incoming: Incoming) {
        if !self.renaming {
            self.unapplied_bytes += incoming.len();
            self.unapplied.push_back(incoming);
        }
    }
}

#[cfg(test)]
mod tests {
    use driftless_protocol::{Seq, SpaceId};

    use super::*;

    fn live() -> Link {
        let own = ReplicaId::from_bytes([1; 16]).expect("not nil");
        let mut held = StateVector::new();
        held.raise(own, Seq::new(3).expect("not 0"));
        let mut link = Link::begin(Session::begin(own, None, None, held.clone(), None));
        let welcome = Welcome { space: SpaceId::random(), heads: held, own: None };
        link.on_message(RelayMessage::Welcome(welcome));
        assert!(matches!(link.next_task(), Some(Task::Judge(_))));
        link.judged(Verdict::Proceed { send_after: 3, snapshot: false });
        assert!(link.next_task().is_none());
        link
    }

    fn heads(n: u8) -> RelayMessage {
        let mut heads = StateVector::new();
        heads.raise(ReplicaId::from_bytes([n; 16]).expect("not nil"), Seq::new(1).expect("not 0"));
        RelayMessage::Heads { nonce: 0, heads }
    }

    /// Each vector from the relay used to be a task of its own for the engine's thread, and waited for it in memory.
    #[test]
    fn however_many_vectors_a_relay_sends_one_note_is_written_and_one_waits() {
        let mut link = live();
        for n in 1..=200 {
            link.on_message(heads(n));
            if n == 1 {
                assert!(matches!(link.next_task(), Some(Task::Note(_))));
            }
            assert!(link.next_task().is_none(), "a note is being written");
        }
        link.noted();
        let Some(Task::Note(note)) = link.next_task() else { panic!("no note of what was said meanwhile") };
        assert_eq!(note.confirmed.expect("a vector").iter().count(), 199);
        link.noted();
        assert!(link.next_task().is_none() && link.is_idle());
    }

    #[test]
    fn a_question_is_answered_after_what_was_said_before_is_noted_and_not_later() {
        let mut link = live();
        link.captured(9, link.session().replica(), 3);
        link.on_message(RelayMessage::Heads { nonce: 1, heads: StateVector::new() });
        assert!(matches!(link.next_task(), Some(Task::Note(_))));
        assert!(!link.has_task());
        // The answer need not wait for later statements.
        link.on_message(heads(7));
        link.noted();
        assert!(matches!(link.next_task(), Some(Task::Note(_))));
        assert!(matches!(link.next_task(), Some(Task::Answer(9))));
    }

    #[test]
    fn nothing_is_applied_or_read_once_the_file_takes_another_name() {
        let mut link = live();
        link.rename();
        link.rename();
        link.on_message(heads(2));
        assert!(!link.can_read());
        assert!(matches!(link.next_task(), Some(Task::Rename)));
        assert!(link.next_task().is_none(), "it takes one name");
        link.renamed();
        assert_eq!(link.over(), Some(&Over::Renamed));
    }
}
