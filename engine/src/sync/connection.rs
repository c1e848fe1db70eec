//! One connection: a session's actions done on a socket and on the engine's thread, and what comes of them given back to it.
//!
//! One task drives a connection; work for the replica runs on the engine's thread meanwhile and comes back as an
//! event, so that reading, writing and answering pings go on during a long turn. What is read and not yet applied is
//! bounded in bytes: beyond, the socket is not read, and the relay waits.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use driftless_protocol::{
    CloseCode, MessageError, Presence, RelayMessage, ReplicaId, SnapshotPart, StateVector,
};
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::client::Control;
use super::patience::Patience;
use super::presence::Others;
use super::session::{Action, Delivery, Session};
use super::worker::Worker;
use crate::config::SyncConfig;
use crate::error::{Error, Result};
use crate::file::state::SyncState;
use crate::replica::snapshot;
use crate::replica::{LONGEST_WAIT, Replica, SHORTEST_WAIT, Verdict};
use crate::turn::merge::Incoming;

/// What is read and not yet applied, in bytes; beyond, the socket is not read.
const UNAPPLIED_BYTES: usize = 8 << 20;
/// What the engine's thread is given to apply at a time, in bytes: other work waits for it.
const BATCH_BYTES: usize = 1 << 20;
/// How much of the outbox is read at a time, in bytes.
const OUTBOX_BYTES: usize = 2 << 20;
/// Parts of a snapshot that wait to be sent.
const SNAPSHOT_PARTS: usize = 2;
/// How often to ping, and to ask for a vector that confirms what was acknowledged.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Between two attempts to get the write lock, so that the engine's thread gets to other work.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// How long to wait for the socket when saying goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// How a connection ended.
pub(super) enum Ended {
    Stopped,
    /// Try again at once: the file has another name now.
    Renamed,
    /// Try again later.
    Broken(String),
    /// It is the file's disk that failed, not the connection. Try again later.
    Failed(Error),
    /// The file is not there just now: the engine's thread waits for it, and ends if it does not come back.
    FileAway,
    /// Trying again would fail again.
    Refused(Error),
}

impl Ended {
    /// By an error of the replica, which is mended or passes; whoever waits need be told of a disk that fails only. A file
    /// that is busy ends no connection: see [`Connection::ask`].
    pub(super) fn by(error: Error) -> Self {
        match error {
            Error::FileAway { .. } => Self::FileAway,
            Error::FileReplaced { .. }
            | Error::Locked { .. }
            | Error::NewerFormat { .. }
            | Error::TrackingLost { .. }
            | Error::Stopped => Self::Refused(error),
            error if error.is_disk() => Self::Failed(error),
            error => Self::Broken(error.to_string()),
        }
    }
}

pub(super) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What the engine's thread answered.
enum Event {
    Judged(Result<Verdict>),
    Read(Result<Vec<driftless_protocol::Changeset>>),
    Applied(Result<StateVector>),
    Noted(Result<()>),
    Renamed(Result<()>),
    /// Everything committed when somebody asked is captured: the question, and the last own seq.
    Captured(u64, Result<(ReplicaId, u64)>),
    /// What whoever asks this question is told is in the file.
    Written(u64, Result<()>),
    Snapshot(Option<SnapshotPart>),
}

type Pending = Pin<Box<dyn Future<Output = Event> + Send>>;

pub(super) struct Connection {
    session: Session,
    worker: Worker,
    config: SyncConfig,
    /// Frames to send; bounded by the session's window and, for snapshots, by their channel.
    outgoing: VecDeque<Message>,
    unapplied: VecDeque<Incoming>,
    unapplied_bytes: usize,
    applying: bool,
    pending: FuturesUnordered<Pending>,
    snapshot: Option<mpsc::Receiver<SnapshotPart>>,
    /// Who waits for which question.
    waiting: Vec<(u64, oneshot::Sender<Result<()>>)>,
    /// Who asked before the session was live.
    asked: Vec<oneshot::Sender<Result<()>>>,
    last_question: u64,
    /// The file is taking another name: nothing more is read from this connection.
    renaming: bool,
    /// Notes for the file that were begun, and that are done.
    notes: (u64, u64),
    patience: Patience,
    others: Others,
    /// Questions to be answered once so many notes are done and written.
    settled: VecDeque<(u64, u64)>,
    /// When the relay was greeted, and when it was last heard.
    begun: Instant,
    heard: Instant,
    /// Whether the session has become live.
    online: bool,
    ended: Option<Ended>,
}

impl Connection {
    /// `asked`: who waits until both sides agree.
    pub(super) fn new(
        session: Session,
        worker: Worker,
        config: SyncConfig,
        others: Others,
        asked: Vec<oneshot::Sender<Result<()>>>,
    ) -> Self {
        Self {
            session,
            worker,
            config,
            outgoing: VecDeque::new(),
            unapplied: VecDeque::new(),
            unapplied_bytes: 0,
            applying: false,
            pending: FuturesUnordered::new(),
            snapshot: None,
            waiting: Vec::new(),
            asked,
            last_question: 0,
            renaming: false,
            notes: (0, 0),
            patience: Patience::default(),
            others,
            settled: VecDeque::new(),
            begun: Instant::now(),
            heard: Instant::now(),
            online: false,
            ended: None,
        }
    }

    /// Who asked and was not answered.
    pub(super) fn still_waiting(self) -> impl Iterator<Item = oneshot::Sender<Result<()>>> {
        self.asked.into_iter().chain(self.waiting.into_iter().map(|(_, waiter)| waiter))
    }

    /// Drives the conversation until it ends, and says goodbye. `own`: what the others are to be let know of this replica.
    pub(super) async fn drive(
        &mut self,
        socket: &mut Socket,
        control: &mut mpsc::Receiver<Control>,
        state: &watch::Sender<SyncState>,
        own: &mut watch::Receiver<Presence>,
    ) -> Ended {
        let (mut sink, mut stream) = socket.split();
        let mut progress = self.worker.progress();
        let mut heartbeat = heartbeat(&self.config);
        // The frame on its way, and whether the sink has bytes that it has not yet flushed.
        let mut unflushed = false;
        let ended = loop {
            if let Some(ended) = self.ended.take() {
                break ended;
            }
            if self.session.is_live() && !self.online {
                self.go_online(state);
            }
            self.apply_next();
            let wants_part = self.outgoing.is_empty();
            tokio::select! {
                frame = stream.next(), if self.can_read() => self.on_read(frame),
                sent = flush(&mut sink, &mut self.outgoing, &mut unflushed), if unflushed || !self.outgoing.is_empty() => {
                    if let Err(error) = sent {
                        self.end(Ended::Broken(error.to_string()));
                    }
                }
                Some(event) = self.pending.next() => self.on_event(event),
                changed = progress.changed() => match changed {
                    Ok(()) => {
                        let (name, held) = progress.borrow_and_update().clone();
                        self.on_progress(name, held);
                    }
                    Err(_) => self.end(Ended::Refused(self.worker.stopped())),
                },
                part = next_part(&mut self.snapshot), if wants_part => self.on_event(Event::Snapshot(part)),
                // Only when nothing else waits: of what is said faster than it can be sent the latest is sent.
                Ok(()) = own.changed(), if self.outgoing.is_empty() => {
                    let presence = own.borrow_and_update().clone();
                    let actions = self.session.say(presence);
                    self.run(actions);
                }
                message = control.recv() => self.on_control(message),
                _ = heartbeat.tick() => self.on_heartbeat(),
            }
        };
        self.others.nobody();
        let close =
            Message::Close(Some(CloseFrame { code: CloseCode::Normal.number().into(), reason: "".into() }));
        // Only a courtesy: the relay notices the end of the connection as well.
        let _ = timeout(GOODBYE, sink.send(close)).await;
        ended
    }

    /// Both sides have agreed on where they are.
    fn go_online(&mut self, state: &watch::Sender<SyncState>) {
        self.online = true;
        state.send_replace(SyncState::Online);
        self.worker.notice().heard(&self.config.url);
        tracing::info!(url = %self.config.url, "online");
        for waiter in std::mem::take(&mut self.asked) {
            self.question(waiter);
        }
    }

    fn can_read(&self) -> bool {
        self.unapplied_bytes < UNAPPLIED_BYTES && !self.renaming
    }

    fn on_read(&mut self, frame: Option<std::result::Result<Message, WsError>>) {
        self.heard = Instant::now();
        match frame {
            Some(Ok(message)) => {
                if self.online {
                    self.worker.notice().heard(&self.config.url);
                }
                self.on_frame(message);
            }
            Some(Err(error)) => self.end(Ended::Broken(error.to_string())),
            None => self.end(Ended::Broken("the relay hung up".into())),
        }
    }

    /// The file has this name now, and holds this.
    fn on_progress(&mut self, name: ReplicaId, held: StateVector) {
        if name != self.session.replica() {
            // The file started over: what it sends now it sends under another name.
            return self.end(Ended::Renamed);
        }
        let actions = self.session.progressed(held);
        self.run(actions);
    }

    fn on_control(&mut self, message: Option<Control>) {
        match message {
            Some(Control::SyncNow(waiter)) if self.online => self.question(waiter),
            Some(Control::SyncNow(waiter)) => self.asked.push(waiter),
            Some(Control::Stop) | None => self.end(Ended::Stopped),
        }
    }

    /// Ends a connection on which the relay has been silent for too long; else pings it.
    fn on_heartbeat(&mut self) {
        if self.can_read() && self.heard.elapsed() > self.config.silence {
            return self.end(Ended::Broken(format!("nothing was heard for {:?}", self.config.silence)));
        }
        if !self.online && self.is_greeting() && self.begun.elapsed() > self.config.connect_timeout {
            return self.end(Ended::Broken(format!("no welcome in {:?}", self.config.connect_timeout)));
        }
        if !self.session.waits() || !self.has_done_its_part() {
            self.patience.renew();
        } else if self.patience.is_over(self.config.silence, self.session.in_flight_bytes()) {
            return self.end(Ended::Broken("the relay does not answer".into()));
        }
        let ping = self.patience.ping();
        self.outgoing.push_back(ping);
        let actions = self.session.tick();
        self.run(actions);
    }

    /// Whether nothing that the session waits for is still to be done here.
    fn has_done_its_part(&self) -> bool {
        self.can_read() && self.pending.is_empty() && self.snapshot.is_none() && self.unapplied.is_empty()
    }

    fn is_greeting(&self) -> bool {
        self.pending.is_empty() && self.snapshot.is_none()
    }

    /// Somebody wants to know when both sides agree: first everything committed by now is captured.
    fn question(&mut self, waiter: oneshot::Sender<Result<()>>) {
        self.last_question += 1;
        let id = self.last_question;
        self.waiting.push((id, waiter));
        let worker = self.worker.clone();
        self.pending.push(Box::pin(async move {
            loop {
                let captured = again_while_busy(worker.clone(), |replica| {
                    Ok((replica.capture_all()?, (replica.id(), replica.last_seq()?)))
                });
                match captured.await {
                    // A table was made just now, or made anew: what is to become of it is known once it is left alone.
                    Ok((Some(wait), _)) => {
                        tokio::time::sleep(wait.clamp(SHORTEST_WAIT, LONGEST_WAIT)).await;
                    }
                    captured => return Event::Captured(id, captured.map(|(_, last)| last)),
                }
            }
        }));
    }

    fn answer_settled(&mut self) {
        while let Some(&(notes, id)) = self.settled.front()
            && notes <= self.notes.1
        {
            self.settled.pop_front();
            // Whoever asked finds in the file what it was told.
            let written = again_while_busy(self.worker.clone(), |replica| replica.write_notes());
            self.pending.push(Box::pin(async move { Event::Written(id, written.await) }));
        }
    }

    fn settle(&mut self, id: u64, answer: Result<()>) {
        if let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == id) {
            let _ = self.waiting.swap_remove(at).1.send(answer); // it may have stopped waiting
        }
    }

    fn on_frame(&mut self, message: Message) {
        match message {
            Message::Binary(frame) => match RelayMessage::decode(frame) {
                Ok(message) => {
                    self.patience.renew();
                    let actions = self.session.on_message(message);
                    self.run(actions);
                }
                Err(error @ MessageError::Version(_)) => {
                    let code = CloseCode::UnsupportedVersion.number();
                    self.end(Ended::Refused(Error::Refused { code, reason: error.to_string() }));
                }
                Err(error) => self.end(Ended::Broken(format!("the relay sent something malformed: {error}"))),
            },
            Message::Close(frame) => self.on_close(frame),
            Message::Text(_) => self.end(Ended::Broken("this is not a Driftless relay: it sent text".into())),
            Message::Pong(payload) => self.patience.on_pong(&payload),
            Message::Ping(_) | Message::Frame(_) => {}
        }
    }

    fn on_close(&mut self, frame: Option<CloseFrame>) {
        let (number, reason) = frame.map_or((1005, String::new()), |f| (f.code.into(), f.reason.to_string()));
        let code = CloseCode::from_number(number);
        if code == CloseCode::Forked {
            self.rename();
        } else if code.is_permanent() {
            self.end(Ended::Refused(Error::Refused { code: number, reason }));
        } else {
            self.end(Ended::Broken(format!("the relay closed the connection ({number}) {reason}")));
        }
    }

    fn end(&mut self, ended: Ended) {
        self.ended.get_or_insert(ended);
    }

    /// This file is a copy of another: it takes a new name, keeping its unsent work, and comes back.
    fn rename(&mut self) {
        if self.renaming {
            return;
        }
        self.renaming = true;
        // What came in under our own name would count as written here.
        self.unapplied.clear();
        self.unapplied_bytes = 0;
        self.ask(|replica| replica.become_new(), Event::Renamed);
    }

    pub(super) fn run(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(message) => self.outgoing.push_back(Message::Binary(message.encode())),
                Action::Deliver(Delivery::Changeset(changeset)) => {
                    self.receive(Incoming::Changeset(changeset));
                }
                Action::Deliver(Delivery::SnapshotPart(part)) => {
                    self.receive(Incoming::SnapshotPart(part));
                }
                Action::Judge(welcome) => {
                    let (own, url) = (self.session.replica(), self.config.url.clone());
                    self.ask(move |replica| replica.welcome(own, &welcome, &url), Event::Judged);
                }
                Action::ReadOutbox { after } => {
                    self.ask(move |replica| replica.outgoing_or_empty(after, OUTBOX_BYTES), Event::Read);
                }
                Action::Acknowledged(seq) => {
                    self.notes.0 += 1;
                    let own = self.session.replica();
                    let note = move |replica: &mut Replica| {
                        replica.note_acknowledged(own, seq);
                        Ok(())
                    };
                    self.ask(note, Event::Noted);
                }
                Action::Confirmed(heads) => {
                    self.notes.0 += 1;
                    let (own, url) = (self.session.replica(), self.config.url.clone());
                    let note = move |replica: &mut Replica| {
                        replica.note_confirmed(own, &heads, &url);
                        Ok(())
                    };
                    self.ask(note, Event::Noted);
                }
                Action::MakeSnapshot => self.make_snapshot(),
                Action::Present(replica, presence) => self.others.set(replica, &presence),
                Action::Rename => self.rename(),
                Action::Settled(id) => {
                    self.settled.push_back((self.notes.0, id));
                    self.answer_settled();
                }
                Action::Break(code, why) => {
                    self.end(Ended::Broken(format!("the conversation broke ({}): {why}", code.number())));
                }
            }
        }
    }

    fn receive(&mut self, incoming: Incoming) {
        self.unapplied_bytes += incoming.len();
        self.unapplied.push_back(incoming);
    }

    /// Has something done on the engine's thread, as often as it takes to get the write lock: an app that holds it for long
    /// is no reason to begin the connection again, and the worker says that the file is busy.
    fn ask<T: Send + 'static>(
        &mut self,
        work: impl Fn(&mut Replica) -> Result<T> + Send + Sync + 'static,
        event: fn(Result<T>) -> Event,
    ) {
        let done = again_while_busy(self.worker.clone(), work);
        self.pending.push(Box::pin(async move { event(done.await) }));
    }

    fn on_event(&mut self, event: Event) {
        let actions = match event {
            Event::Judged(Ok(Verdict::Proceed { send_after, snapshot })) => {
                self.session.proceed(send_after, snapshot)
            }
            Event::Judged(Ok(Verdict::Copy)) => return self.rename(),
            Event::Judged(Ok(Verdict::Renamed)) => return self.end(Ended::Renamed),
            Event::Renamed(Ok(())) => return self.end(Ended::Renamed),
            Event::Judged(Err(error @ Error::WrongSpace { .. })) => return self.end(Ended::Refused(error)),
            Event::Judged(Err(error)) | Event::Noted(Err(error)) | Event::Renamed(Err(error)) => {
                return self.end(Ended::by(error));
            }
            Event::Noted(Ok(())) => {
                self.notes.1 += 1;
                self.answer_settled();
                Vec::new()
            }
            Event::Read(Ok(changesets)) => self.session.outgoing(changesets),
            // Of a damaged outbox too: it has been emptied, and the next connection sends a snapshot.
            Event::Read(Err(error)) => return self.end(Ended::by(error)),
            Event::Applied(applied) => {
                self.applying = false;
                match applied {
                    Ok(held) => self.session.applied(held),
                    // What was not applied comes again with the next connection.
                    Err(error) => return self.end(Ended::by(error)),
                }
            }
            // It is asked again under the new name.
            Event::Captured(_, Ok((name, _))) if name != self.session.replica() => {
                return self.end(Ended::Renamed);
            }
            Event::Captured(id, Ok((_, last))) => self.session.ask(id, last),
            // It waits for the file as well.
            Event::Captured(_, Err(Error::FileAway { .. })) => return self.end(Ended::FileAway),
            Event::Captured(id, Err(error)) => {
                self.settle(id, Err(error));
                Vec::new()
            }
            Event::Written(id, written) => {
                self.settle(id, written);
                Vec::new()
            }
            Event::Snapshot(Some(part)) => vec![self.session.snapshot_part(part)],
            Event::Snapshot(None) => {
                self.snapshot = None;
                Vec::new()
            }
        };
        self.run(actions);
    }

    /// Hands what came in to the engine's thread, a turn's worth at a time.
    fn apply_next(&mut self) {
        if self.applying || self.unapplied.is_empty() || !self.session.is_judged() {
            return;
        }
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
        let worker = self.worker.clone();
        self.pending.push(Box::pin(async move { Event::Applied(worker.apply(batch).await) }));
    }

    /// On a thread and a connection of its own: it reads everything, and the engine goes on meanwhile.
    fn make_snapshot(&mut self) {
        self.notes.0 += 1;
        let (parts, receiver) = mpsc::channel(SNAPSHOT_PARTS);
        self.snapshot = Some(receiver);
        let worker = self.worker.clone();
        self.pending.push(Box::pin(async move {
            loop {
                // Up to the end of a transaction: there is none of half of one.
                let place = again_while_busy(worker.clone(), |replica| {
                    replica.capture_all()?;
                    Ok((replica.path().to_owned(), replica.config().busy_timeout, replica.reader()))
                });
                let (path, busy_timeout, reader) = match place.await {
                    Ok(place) => place,
                    Err(error) => return Event::Noted(Err(error)),
                };
                tracing::info!(path = %path.display(), "the relay lacks what this file holds: sending it a snapshot");
                let parts = parts.clone();
                let made = tokio::task::spawn_blocking(move || {
                    let _reader = reader; // until it is made
                    snapshot::make(&path, busy_timeout, |part| parts.blocking_send(part).is_ok())
                });
                match made.await {
                    // Somebody has begun another large one meanwhile.
                    Ok(Ok(None)) => {}
                    Ok(made) => return Event::Noted(made.map(drop)),
                    Err(_) => return Event::Noted(Err(Error::Stopped)),
                }
            }
        }));
    }
}

/// Has something done on the engine's thread, again for as long as it fails because the write lock cannot be had. Each
/// attempt waits for the lock as the configuration says.
pub(super) async fn again_while_busy<T: Send + 'static>(
    worker: Worker,
    work: impl Fn(&mut Replica) -> Result<T> + Send + Sync + 'static,
) -> Result<T> {
    let work = Arc::new(work);
    loop {
        let once = work.clone();
        match worker.call(move |replica| once(replica)).await {
            Err(error) if error.is_busy() => tokio::time::sleep(BUSY_PAUSE).await,
            done => return done,
        }
    }
}

/// Ticks whenever it is time to ping.
fn heartbeat(config: &SyncConfig) -> Interval {
    let mut heartbeat = interval(HEARTBEAT.min(config.silence / 3).max(Duration::from_millis(10)));
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeat
}

/// The next part of a snapshot that is being made; never, if none is.
async fn next_part(snapshot: &mut Option<mpsc::Receiver<SnapshotPart>>) -> Option<SnapshotPart> {
    match snapshot {
        Some(parts) => parts.recv().await,
        None => std::future::pending().await,
    }
}

/// Feeds one frame to the sink, or flushes it when there is none. Cancelling it in between loses nothing: a frame
/// leaves the queue only when the sink has taken it.
async fn flush<S>(
    sink: &mut S,
    outgoing: &mut VecDeque<Message>,
    unflushed: &mut bool,
) -> std::result::Result<(), WsError>
where
    S: futures_util::Sink<Message, Error = WsError> + Unpin,
{
    std::future::poll_fn(|context| {
        let mut sink = Pin::new(&mut *sink);
        while !outgoing.is_empty() {
            match sink.as_mut().poll_ready(context)? {
                std::task::Poll::Pending => return std::task::Poll::Pending,
                std::task::Poll::Ready(()) => {}
            }
            if let Some(frame) = outgoing.pop_front() {
                sink.as_mut().start_send(frame)?;
                *unflushed = true;
            }
        }
        match sink.as_mut().poll_flush(context)? {
            std::task::Poll::Pending => std::task::Poll::Pending,
            std::task::Poll::Ready(()) => {
                *unflushed = false;
                std::task::Poll::Ready(Ok(()))
            }
        }
    })
    .await
}
