//! One connection: drives a [`Link`] with a socket and the engine's thread.
//!
//! One async task drives a connection. Work for the file runs on the engine's thread meanwhile and its outcome comes back as an
//! event, so that reading, writing and answering pings go on during a long turn.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use driftless_protocol::{
    Changeset, CloseCode, MessageError, Presence, RelayMessage, ReplicaId, SnapshotPart, StateVector,
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
use super::link::{Link, Over, Task};
use super::patience::Patience;
use super::presence::Others;
use super::worker::Worker;
use crate::config::SyncConfig;
use crate::error::{Error, Result};
use crate::file::state::SyncState;
use crate::replica::snapshot;
use crate::replica::{LONGEST_WAIT, Replica, SHORTEST_WAIT, Verdict};

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
    /// By an error of the replica, which is repaired or passes; whoever waits need be told of a disk that fails only. A file
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

/// The outcome of work for the file.
enum Event {
    Judged(Result<Verdict>),
    Read(Result<Vec<Changeset>>),
    Applied(Result<StateVector>),
    Noted(Result<()>),
    Renamed(Result<()>),
    /// Everything committed when somebody asked is captured: the question, and the last own seq.
    Captured(u64, Result<(ReplicaId, u64)>),
    /// What whoever asks this question is told is in the file.
    Written(u64, Result<()>),
    SnapshotPart(Option<SnapshotPart>),
    SnapshotMade(Result<()>),
}

type Pending = Pin<Box<dyn Future<Output = Event> + Send>>;

pub(super) struct Connection {
    link: Link,
    worker: Worker,
    config: SyncConfig,
    /// Frames to send beside those of the link: pings.
    outgoing: VecDeque<Message>,
    pending: FuturesUnordered<Pending>,
    snapshot: Option<mpsc::Receiver<SnapshotPart>>,
    /// Who waits for which question.
    waiting: Vec<(u64, oneshot::Sender<Result<()>>)>,
    /// Who asked before the session was live.
    asked: Vec<oneshot::Sender<Result<()>>>,
    last_question: u64,
    patience: Patience,
    others: Others,
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
        link: Link,
        worker: Worker,
        config: SyncConfig,
        others: Others,
        asked: Vec<oneshot::Sender<Result<()>>>,
    ) -> Self {
        Self {
            link,
            worker,
            config,
            outgoing: VecDeque::new(),
            pending: FuturesUnordered::new(),
            snapshot: None,
            waiting: Vec::new(),
            asked,
            last_question: 0,
            patience: Patience::default(),
            others,
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
            self.go_on();
            if let Some(ended) = self.ended.take() {
                break ended;
            }
            if self.link.session().is_live() && !self.online {
                self.go_online(state);
            }
            let wants_part = self.outgoing.is_empty();
            tokio::select! {
                frame = stream.next(), if self.link.can_read() => self.on_read(frame),
                sent = flush(&mut sink, &mut self.outgoing, &mut unflushed), if unflushed || !self.outgoing.is_empty() => {
                    if let Err(error) = sent {
                        self.end(Ended::Broken(error.to_string()));
                    }
                }
                Some(event) = self.pending.next() => self.on_event(event),
                changed = progress.changed() => match changed {
                    Ok(()) => {
                        let (name, held) = progress.borrow_and_update().clone();
                        self.link.progressed(name, held);
                    }
                    Err(_) => self.end(Ended::Refused(self.worker.stopped())),
                },
                part = next_part(&mut self.snapshot), if wants_part => self.on_event(Event::SnapshotPart(part)),
                // Only when nothing else waits: of what is said faster than it can be sent the latest is sent.
                Ok(()) = own.changed(), if self.outgoing.is_empty() => {
                    let presence = own.borrow_and_update().clone();
                    self.link.say(presence);
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

    /// Begins what the link has to be done, and notices its end.
    fn go_on(&mut self) {
        while let Some(frame) = self.link.take_frame() {
            self.outgoing.push_back(Message::Binary(frame));
        }
        while let Some(task) = self.link.next_task() {
            self.begin(task);
        }
        match self.link.over() {
            Some(Over::Renamed) => self.end(Ended::Renamed),
            Some(Over::Broken(why)) => {
                let why = why.clone();
                self.end(Ended::Broken(why));
            }
            None => {}
        }
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

    fn on_control(&mut self, message: Option<Control>) {
        match message {
            Some(Control::SyncNow(waiter)) if self.online => self.question(waiter),
            Some(Control::SyncNow(waiter)) => self.asked.push(waiter),
            Some(Control::Stop) | None => self.end(Ended::Stopped),
        }
    }

    /// Ends a connection on which the relay has been silent for too long; else pings it.
    fn on_heartbeat(&mut self) {
        if self.link.can_read() && self.heard.elapsed() > self.config.silence {
            return self.end(Ended::Broken(format!("nothing was heard for {:?}", self.config.silence)));
        }
        if !self.online && self.is_greeting() && self.begun.elapsed() > self.config.connect_timeout {
            return self.end(Ended::Broken(format!("no welcome in {:?}", self.config.connect_timeout)));
        }
        if !self.link.session().waits() || !self.has_done_its_part() {
            self.patience.renew();
        } else if self.patience.is_over(self.config.silence, self.link.session().in_flight_bytes()) {
            return self.end(Ended::Broken("the relay does not answer".into()));
        }
        let ping = self.patience.ping();
        self.outgoing.push_back(ping);
        self.link.tick();
    }

    /// Whether nothing that the session waits for is still to be done here.
    fn has_done_its_part(&self) -> bool {
        self.link.is_idle() && self.pending.is_empty() && self.snapshot.is_none()
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
                    self.link.on_message(message);
                    for (replica, presence) in self.link.take_presences() {
                        self.others.set(replica, &presence);
                    }
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
            self.link.rename();
        } else if code.is_permanent() {
            self.end(Ended::Refused(Error::Refused { code: number, reason }));
        } else {
            self.end(Ended::Broken(format!("the relay closed the connection ({number}) {reason}")));
        }
    }

    fn end(&mut self, ended: Ended) {
        self.ended.get_or_insert(ended);
    }

    /// Has a task done on the engine's thread.
    fn begin(&mut self, task: Task) {
        let (own, url) = (self.link.session().replica(), self.config.url.clone());
        match task {
            Task::Judge(welcome) => {
                self.ask(move |replica| replica.welcome(own, &welcome, &url), Event::Judged);
            }
            Task::ReadOutbox { after } => {
                self.ask(move |replica| replica.outgoing_or_empty(after, OUTBOX_BYTES), Event::Read);
            }
            Task::MakeSnapshot => self.make_snapshot(),
            Task::Apply(batch) => {
                let worker = self.worker.clone();
                self.pending.push(Box::pin(async move { Event::Applied(worker.apply(batch).await) }));
            }
            Task::Note(note) => {
                let note = move |replica: &mut Replica| {
                    replica.note(own, note.acknowledged, note.confirmed.as_ref(), &url);
                    Ok(())
                };
                self.ask(note, Event::Noted);
            }
            Task::Answer(question) => {
                // An answer promises that the file has these notes.
                let written = again_while_busy(self.worker.clone(), |replica| replica.write_notes());
                self.pending.push(Box::pin(async move { Event::Written(question, written.await) }));
            }
            Task::Rename => self.ask(|replica| replica.become_new(), Event::Renamed),
        }
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
        match event {
            Event::Judged(Ok(verdict)) => self.link.judged(verdict),
            Event::Judged(Err(error @ Error::WrongSpace { .. })) => self.end(Ended::Refused(error)),
            Event::Read(Ok(changesets)) => self.link.read(changesets),
            Event::Applied(Ok(held)) => self.link.applied(held),
            Event::Noted(Ok(())) => self.link.noted(),
            Event::Renamed(Ok(())) => self.link.renamed(),
            Event::SnapshotPart(Some(part)) => self.link.snapshot_part(part),
            Event::SnapshotPart(None) => self.snapshot = None,
            Event::SnapshotMade(Ok(())) => self.link.snapshot_made(),
            // What was not applied comes again with the next connection. A damaged outbox has been emptied, and the next
            // connection sends a snapshot.
            Event::Judged(Err(error))
            | Event::Read(Err(error))
            | Event::Applied(Err(error))
            | Event::Noted(Err(error))
            | Event::Renamed(Err(error))
            | Event::SnapshotMade(Err(error)) => self.end(Ended::by(error)),
            Event::Captured(id, Ok((name, last))) => self.link.captured(id, name, last),
            // It waits for the file as well.
            Event::Captured(_, Err(Error::FileAway { .. })) => self.end(Ended::FileAway),
            Event::Captured(id, Err(error)) => self.settle(id, Err(error)),
            Event::Written(id, written) => self.settle(id, written),
        }
    }

    /// On a thread and a connection of its own: it reads everything, and the engine goes on meanwhile.
    fn make_snapshot(&mut self) {
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
                    Err(error) => return Event::SnapshotMade(Err(error)),
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
                    Ok(made) => return Event::SnapshotMade(made.map(drop)),
                    Err(_) => return Event::SnapshotMade(Err(Error::Stopped)),
                }
            }
        }));
    }
}

/// Has `work` done on the engine's thread, again and again as long as it fails because somebody else holds the write
/// lock. Each attempt waits for the lock as long as the configuration says.
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
