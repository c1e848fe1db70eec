//! A replica's side of a connection to a relay, one step at a time: the engine's session, with a driver in the place of
//! sockets and threads. Frames are handed in and taken out; what the session wants of the file waits as *work*, and is done
//! when the test says so, as it waits for the engine's thread in life.

use std::collections::VecDeque;

use bytes::Bytes;
use driftless_protocol::message::Welcome;
use driftless_protocol::{CloseCode, RelayMessage, SpaceId, StateVector};

use super::Replica;
use crate::error::{Error, Result};
use crate::replica::Verdict;
use crate::replica::snapshot;
use crate::sync::session::{Action, Delivery, Session};
use crate::turn::merge::Incoming;

/// How much of the outbox is read at a time, in bytes: so little that a long one takes several readings.
const OUTBOX_BYTES: usize = 4 << 10;

/// Why a connection is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It broke; trying again may help.
    Broken(String),
    /// The file has another name now: it has to begin again.
    Renamed,
    /// Trying again would fail again.
    Refused(String),
}

/// What the session wants of the file.
#[derive(Debug)]
enum Work {
    Judge(Welcome),
    ReadOutbox {
        after: u64,
    },
    MakeSnapshot,
    Apply(VecDeque<Incoming>),
    Acknowledged(u64),
    Confirmed(StateVector),
    Rename,
    /// Capture for a question, and tell the session up to where.
    Capture(u64),
}

/// One connection, from hello to close.
#[derive(Debug)]
pub struct Link {
    session: Session,
    work: VecDeque<Work>,
    outgoing: VecDeque<Bytes>,
    settled: Vec<u64>,
    ended: Option<Ended>,
}

impl Link {
    /// Begins a connection; the hello is the first thing to take out. A file that belongs to no space yet makes one of
    /// this id, if the relay has none.
    pub fn begin(replica: &mut Replica, propose: SpaceId) -> Result<Self> {
        let introduction = replica.inner.introduce()?;
        let propose = introduction.space.is_none().then_some(propose);
        let (session, hello) =
            Session::begin(introduction.replica, introduction.space, propose, introduction.held, None);
        let mut link = Self {
            session,
            work: VecDeque::new(),
            outgoing: VecDeque::new(),
            settled: Vec::new(),
            ended: None,
        };
        link.run(vec![hello]);
        Ok(link)
    }

    /// Whether changesets flow.
    pub fn is_live(&self) -> bool {
        self.session.is_live()
    }

    /// Why it is over, if it is.
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// The next frame to send.
    pub fn take_frame(&mut self) -> Option<Bytes> {
        self.outgoing.pop_front()
    }

    /// Whether there are frames to send.
    pub fn has_frames(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether there is something to do for the file.
    pub fn has_work(&self) -> bool {
        !self.work.is_empty() && self.ended.is_none()
    }

    /// Questions that were settled since the last call.
    pub fn take_settled(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.settled)
    }

    /// A frame came from the relay.
    pub fn receive(&mut self, frame: Bytes) {
        if self.ended.is_some() || self.work.iter().any(|work| matches!(work, Work::Rename)) {
            return;
        }
        match RelayMessage::decode(frame) {
            Ok(message) => {
                let actions = self.session.on_message(message);
                self.run(actions);
            }
            Err(error) => self.end(Ended::Broken(format!("the relay sent something malformed: {error}"))),
        }
    }

    /// The relay closed the connection.
    pub fn closed(&mut self, code: CloseCode, reason: &str) {
        if code == CloseCode::Forked {
            self.run(vec![Action::Rename]);
        } else if code.is_permanent() {
            self.end(Ended::Refused(format!("{} {reason}", code.number())));
        } else {
            self.end(Ended::Broken(format!("{} {reason}", code.number())));
        }
    }

    /// The file has captured, or applied, by itself.
    pub fn progressed(&mut self, replica: &Replica) -> Result<()> {
        if replica.inner.id() != self.session.replica() {
            self.end(Ended::Renamed);
            return Ok(());
        }
        let actions = self.session.progressed(replica.inner.held()?);
        self.run(actions);
        Ok(())
    }

    /// Time has passed: asks for a vector that confirms what was acknowledged.
    pub fn tick(&mut self) {
        let actions = self.session.tick();
        self.run(actions);
    }

    /// Asks to be told, under this number, when both sides agree.
    pub fn ask(&mut self, question: u64) {
        self.work.push_back(Work::Capture(question));
    }

    /// Does the next piece of work, if there is one. A failure ends the connection, as it does in the engine, and is
    /// returned.
    pub fn work(&mut self, replica: &mut Replica) -> Result<()> {
        let Some(work) = self.work.pop_front().filter(|_| self.ended.is_none()) else { return Ok(()) };
        let done = self.perform(work, replica);
        if let Err(error) = &done {
            self.end(match error {
                Error::WrongSpace { .. } => Ended::Refused(error.to_string()),
                _ => Ended::Broken(error.to_string()),
            });
        }
        done
    }

    fn perform(&mut self, work: Work, replica: &mut Replica) -> Result<()> {
        let file = &mut replica.inner;
        let actions = match work {
            Work::Judge(welcome) => match file.welcome(self.session.replica(), &welcome, "sim:")? {
                Verdict::Proceed { send_after, snapshot } => self.session.proceed(send_after, snapshot),
                Verdict::Copy => vec![Action::Rename],
                Verdict::Renamed => {
                    self.end(Ended::Renamed);
                    return Ok(());
                }
            },
            Work::ReadOutbox { after } => {
                let changesets = file.outgoing_or_empty(after, OUTBOX_BYTES)?;
                self.session.outgoing(changesets)
            }
            Work::MakeSnapshot => {
                file.capture_all()?;
                let mut actions = Vec::new();
                let session = &mut self.session;
                snapshot::make(file.path(), file.config().busy_timeout, |part| {
                    actions.push(session.snapshot_part(part));
                    true
                })?;
                actions
            }
            Work::Apply(mut incoming) => {
                while file.turn(&mut incoming)?.more || !incoming.is_empty() {}
                self.session.applied(file.held()?)
            }
            Work::Acknowledged(seq) => {
                file.note_acknowledged(self.session.replica(), seq);
                Vec::new()
            }
            Work::Confirmed(heads) => {
                file.note_confirmed(self.session.replica(), &heads, "sim:");
                file.write_notes()?;
                Vec::new()
            }
            Work::Rename => {
                file.become_new()?;
                self.end(Ended::Renamed);
                Vec::new()
            }
            Work::Capture(question) => {
                file.capture_all()?;
                if file.id() != self.session.replica() {
                    self.end(Ended::Renamed);
                    return Ok(());
                }
                self.session.ask(question, file.last_seq()?)
            }
        };
        self.run(actions);
        Ok(())
    }

    fn run(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(message) => self.outgoing.push_back(message.encode()),
                Action::Judge(welcome) => self.work.push_back(Work::Judge(welcome)),
                Action::ReadOutbox { after } => self.work.push_back(Work::ReadOutbox { after }),
                Action::MakeSnapshot => self.work.push_back(Work::MakeSnapshot),
                Action::Deliver(Delivery::Changeset(changeset)) => {
                    self.deliver(Incoming::Changeset(changeset));
                }
                Action::Deliver(Delivery::SnapshotPart(part)) => self.deliver(Incoming::SnapshotPart(part)),
                Action::Acknowledged(seq) => self.work.push_back(Work::Acknowledged(seq)),
                Action::Confirmed(heads) => self.work.push_back(Work::Confirmed(heads)),
                Action::Settled(question) => self.settled.push(question),
                // No part of what a cluster agrees on.
                Action::Present(..) => {}
                Action::Rename => {
                    // What came in under our own name would count as written here.
                    self.work.retain(|work| !matches!(work, Work::Apply(_)));
                    self.work.push_back(Work::Rename);
                }
                Action::Break(code, why) => self.end(Ended::Broken(format!("{} {why}", code.number()))),
            }
        }
    }

    /// What came in waits, and is applied together with what came before it.
    fn deliver(&mut self, incoming: Incoming) {
        if let Some(Work::Apply(waiting)) = self.work.back_mut() {
            waiting.push_back(incoming);
        } else {
            self.work.push_back(Work::Apply(VecDeque::from([incoming])));
        }
    }

    fn end(&mut self, ended: Ended) {
        self.ended.get_or_insert(ended);
    }
}
