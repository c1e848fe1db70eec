//! A replica's side of a connection to a relay, one step at a time: the engine's own bookkeeping of a connection, with a driver in
//! the place of sockets and threads. Frames are handed in and taken out; work for the file waits, and is done when the
//! test says so, as it waits for the engine's thread in life.

use bytes::Bytes;
use driftless_protocol::{CloseCode, RelayMessage, SpaceId};

use super::Replica;
use crate::error::{Error, Result};
use crate::replica::snapshot;
use crate::sync::link::{self, Over, Task};
use crate::sync::session::Session;

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

/// One connection, from hello to close.
#[derive(Debug)]
pub struct Link {
    inner: link::Link,
    /// Questions whose commits are to be captured first.
    asked: Vec<u64>,
    settled: Vec<u64>,
    ended: Option<Ended>,
}

impl Link {
    /// Begins a connection; the hello is the first thing to take out. A file that belongs to no space yet makes one of
    /// this id, if the relay has none.
    pub fn begin(replica: &mut Replica, propose: SpaceId) -> Result<Self> {
        let introduction = replica.inner.introduce()?;
        let propose = introduction.space.is_none().then_some(propose);
        let begun =
            Session::begin(introduction.replica, introduction.space, propose, introduction.held, None);
        Ok(Self { inner: link::Link::begin(begun), asked: Vec::new(), settled: Vec::new(), ended: None })
    }

    /// Whether changesets flow.
    pub fn is_live(&self) -> bool {
        self.inner.session().is_live()
    }

    /// Why it is over, if it is.
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// The next frame to send.
    pub fn take_frame(&mut self) -> Option<Bytes> {
        self.inner.take_frame()
    }

    /// Whether there are frames to send.
    pub fn has_frames(&self) -> bool {
        self.inner.has_frames()
    }

    /// Whether there is something to do for the file.
    pub fn has_work(&self) -> bool {
        self.ended.is_none() && (self.inner.has_task() || !self.asked.is_empty())
    }

    /// Questions that were settled since the last call.
    pub fn take_settled(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.settled)
    }

    /// A frame came from the relay.
    pub fn receive(&mut self, frame: Bytes) {
        if self.ended.is_some() {
            return;
        }
        match RelayMessage::decode(frame) {
            Ok(message) => {
                self.inner.on_message(message);
                // No part of what a cluster agrees on.
                self.inner.take_presences();
                self.notice_end();
            }
            Err(error) => self.end(Ended::Broken(format!("the relay sent something malformed: {error}"))),
        }
    }

    /// The relay closed the connection.
    pub fn closed(&mut self, code: CloseCode, reason: &str) {
        if code == CloseCode::Forked {
            self.inner.rename();
        } else if code.is_permanent() {
            self.end(Ended::Refused(format!("{} {reason}", code.number())));
        } else {
            self.end(Ended::Broken(format!("{} {reason}", code.number())));
        }
    }

    /// The file has captured, or applied, by itself.
    pub fn progressed(&mut self, replica: &Replica) -> Result<()> {
        self.inner.progressed(replica.inner.id(), replica.inner.held()?);
        self.notice_end();
        Ok(())
    }

    /// Time has passed: asks for a vector that confirms what was acknowledged.
    pub fn tick(&mut self) {
        self.inner.tick();
    }

    /// Asks to be told, under this number, when both sides agree.
    pub fn ask(&mut self, question: u64) {
        self.asked.push(question);
    }

    /// Does the next piece of work, if there is one. A failure ends the connection, as it does in the engine, and is
    /// returned.
    pub fn work(&mut self, replica: &mut Replica) -> Result<()> {
        if self.ended.is_some() {
            return Ok(());
        }
        let done = match self.inner.next_task() {
            Some(task) => self.perform(task, replica),
            None => self.capture(replica),
        };
        if let Err(error) = &done {
            self.end(match error {
                Error::WrongSpace { .. } => Ended::Refused(error.to_string()),
                _ => Ended::Broken(error.to_string()),
            });
        }
        self.notice_end();
        done
    }

    /// Captures for what was asked, and tells the session up to where.
    fn capture(&mut self, replica: &mut Replica) -> Result<()> {
        let file = &mut replica.inner;
        if self.asked.is_empty() {
            return Ok(());
        }
        file.capture_all()?;
        let (name, last) = (file.id(), file.last_seq()?);
        for question in self.asked.drain(..) {
            self.inner.captured(question, name, last);
        }
        Ok(())
    }

    fn perform(&mut self, task: Task, replica: &mut Replica) -> Result<()> {
        let file = &mut replica.inner;
        let own = self.inner.session().replica();
        match task {
            Task::Judge(welcome) => self.inner.judged(file.welcome(own, &welcome, "sim:")?),
            Task::ReadOutbox { after } => self.inner.read(file.outgoing_or_empty(after, OUTBOX_BYTES)?),
            Task::MakeSnapshot => {
                file.capture_all()?;
                let inner = &mut self.inner;
                snapshot::make(file.path(), file.config().busy_timeout, |part| {
                    inner.snapshot_part(part);
                    true
                })?;
                self.inner.snapshot_made();
            }
            Task::Apply(mut incoming) => {
                while file.turn(&mut incoming)?.more || !incoming.is_empty() {}
                self.inner.applied(file.held()?);
            }
            Task::Note(note) => {
                file.note(own, note.acknowledged, note.confirmed.as_ref(), "sim:");
                if note.confirmed.is_some() {
                    file.write_notes()?;
                }
                self.inner.noted();
            }
            Task::Answer(question) => {
                file.write_notes()?;
                self.settled.push(question);
            }
            Task::Rename => {
                file.become_new()?;
                self.inner.renamed();
            }
        }
        Ok(())
    }

    fn notice_end(&mut self) {
        match self.inner.over() {
            Some(Over::Renamed) => self.end(Ended::Renamed),
            Some(Over::Broken(why)) => {
                let why = why.clone();
                self.end(Ended::Broken(why));
            }
            None => {}
        }
    }

    fn end(&mut self, ended: Ended) {
        self.ended.get_or_insert(ended);
    }
}
