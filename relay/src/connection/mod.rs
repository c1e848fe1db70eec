//! One engine's connection, from the WebSocket upgrade to its close: the loop that carries events to the
//! [session] and does what it answers.

pub mod session;
pub(crate) mod socket;
mod throttle;

use std::sync::Arc;
use std::time::Duration;

use driftless_protocol::{CloseCode, SpaceName};
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use self::session::{Action, Event, ReadAnswer, ReadRequest, Session, StoreRequest, Stored};
use self::socket::{Socket, Turn};
use self::throttle::Throttle;
use crate::config::Limits;
use crate::log::{LogError, LogStore, UploadId};
use crate::room::Room;
use crate::room::presence::Member;
use crate::room::registry::Registry;

/// What every connection of a relay shares.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn LogStore>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) limits: Limits,
    /// Cancelled when the relay shuts down.
    pub(crate) draining: CancellationToken,
}

/// The answer to a request to the store, and the room when it was joined.
type StoreAnswer = (Result<Stored, LogError>, Option<Arc<Room>>);

struct Connection<S> {
    shared: Shared,
    space: SpaceName,
    upload: UploadId,
    session: Session,
    socket: Socket<S>,
    room: Option<(Arc<Room>, watch::Receiver<u64>)>,
    /// Among those who let one another know that they are there, once in the room.
    member: Option<Member>,
    throttle: Throttle,
    /// What the session wants stored next, until there is room for the reply.
    wanted: Option<StoreRequest>,
    storing: Option<BoxFuture<'static, StoreAnswer>>,
    reading: Option<BoxFuture<'static, Result<ReadAnswer, LogError>>>,
    vitals: Vitals,
}

/// When the peer was last known to be alive and reading.
struct Vitals {
    traffic: (u64, u64),
    heard: Instant,
    taken: Instant,
    pinged: Instant,
    began: Instant,
}

/// Serves a connection until it ends. `upload` is its own number.
pub(crate) async fn serve<S>(shared: Shared, space: SpaceName, upload: UploadId, socket: Socket<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let now = Instant::now();
    let limits = session::Limits { input: shared.limits.input_bytes };
    let connection = Connection {
        space,
        upload,
        session: Session::new(limits),
        socket,
        room: None,
        member: None,
        throttle: Throttle::default(),
        wanted: None,
        storing: None,
        reading: None,
        vitals: Vitals { traffic: (0, 0), heard: now, taken: now, pinged: now, began: now },
        shared,
    };
    connection.run().await;
}

/// The output of a future that may not be there; if it is not, never.
async fn answer<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn grown(room: &mut Option<(Arc<Room>, watch::Receiver<u64>)>) -> u64 {
    if let Some((_, grown)) = room
        && grown.changed().await.is_ok()
    {
        return *grown.borrow_and_update();
    }
    std::future::pending().await
}

async fn others_changed(member: &mut Option<Member>) {
    match member {
        Some(member) => member.changed().await,
        None => std::future::pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn run(mut self) {
        let (space, limits) = (self.space.clone(), self.shared.limits.clone());
        let mut tick = tokio::time::interval(self.shortest_wait());
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let draining = self.shared.draining.clone();
        let mut told = false;
        let farewell = loop {
            if let Some(farewell) = self.begin_requests() {
                break Some(farewell);
            }
            self.pass_on();
            let reading = self.reads_input();
            let due = self.throttle.due(Instant::now());
            let event = tokio::select! {
                turn = self.socket.turn(reading) => match self.turn(turn) {
                    Ok(Some(event)) => event,
                    Ok(None) => continue,
                    Err(Ended) => break None,
                },
                (answer, room) = answer(&mut self.storing) => {
                    self.storing = None;
                    if let Some(farewell) = self.act(Event::Stored(answer)) {
                        break Some(farewell);
                    }
                    match self.join(room) {
                        Some(offset) => Event::Grown(offset),
                        None => continue,
                    }
                }
                answer = answer(&mut self.reading) => {
                    self.reading = None;
                    Event::Read(answer)
                }
                offset = grown(&mut self.room) => Event::Grown(offset),
                () = others_changed(&mut self.member), if !self.socket.presences_wait() => {
                    if let Some(member) = &mut self.member {
                        self.socket.tell_presences(member.read());
                    }
                    continue;
                }
                () = until(due) => continue,
                () = draining.cancelled(), if !told => {
                    told = true;
                    Event::ShutDown
                }
                _ = tick.tick() => match self.check(reading) {
                    Some((code, reason)) => Event::Refused(code, reason),
                    None => continue,
                },
            };
            if let Some(farewell) = self.act(event) {
                break Some(farewell);
            }
        };
        // Before the farewell, which may take a while: what a connection began is not kept for it.
        self.reading = None;
        self.member = None;
        self.room = None;
        if let Some(storing) = self.storing.take() {
            // What is in the store is seen through, or an unfinished upload could come after its end.
            let _unheard = storing.await;
        }
        if let Err(error) = self.shared.store.end_upload(self.upload).await {
            tracing::debug!(%space, %error, "an upload was not cleared away");
        }
        let replica = self.session.replica().map(|replica| replica.short());
        match farewell {
            Some((code, reason)) => {
                if matches!(code, CloseCode::Normal | CloseCode::GoingAway) {
                    tracing::debug!(%space, replica, code = code.number(), reason, "closing");
                } else {
                    tracing::warn!(%space, replica, code = code.number(), reason, "closing");
                }
                self.socket.close(code, &reason, limits.close_timeout).await;
            }
            None => {
                tracing::debug!(%space, replica, "the peer is gone");
                self.socket.end(limits.close_timeout).await;
            }
        }
    }

    /// How often to look at the clock: often enough for the shortest limit.
    fn shortest_wait(&self) -> Duration {
        let limits = &self.shared.limits;
        let shortest =
            [limits.hello_timeout, limits.ping_interval, limits.silent_after, limits.slow_reader_after];
        let shortest = shortest.into_iter().min().unwrap_or_default() / 4;
        shortest.clamp(Duration::from_millis(5), Duration::from_secs(1))
    }

    fn reads_input(&self) -> bool {
        self.session.wants_input() && self.socket.reply_bytes() < self.shared.limits.reply_bytes
    }

    /// Starts what the session wants of the store, as far as there is room for what comes of it.
    /// `Some` is how to close.
    fn begin_requests(&mut self) -> Option<(CloseCode, String)> {
        if self.storing.is_none()
            && self.socket.reply_bytes() < self.shared.limits.reply_bytes
            && let Some(request) = self.wanted.take()
        {
            self.storing = Some(self.store(request));
        }
        while self.reading.is_none()
            && self.socket.delivery_bytes() < self.shared.limits.output_bytes
            && let Some(request) = self.session.next_read()
        {
            let page = self.shared.limits.page_bytes;
            // What the room remembers costs no request.
            if let ReadRequest::Log { after } = request
                && let Some(page) = self.room.as_ref().and_then(|(room, _)| room.read(after, page))
            {
                if let Some(farewell) = self.act(Event::Read(Ok(ReadAnswer::Log(page)))) {
                    return Some(farewell);
                }
            } else {
                let (store, space) = (Arc::clone(&self.shared.store), self.space.clone());
                let have = self.session.have().clone();
                self.reading =
                    Some(Box::pin(
                        async move { session::ask_log(&store, &space, have, page, request).await },
                    ));
            }
        }
        None
    }

    fn store(&self, request: StoreRequest) -> BoxFuture<'static, StoreAnswer> {
        let (store, space, upload) = (Arc::clone(&self.shared.store), self.space.clone(), self.upload);
        let registry = Arc::clone(&self.shared.registry);
        Box::pin(async move {
            let opening = matches!(request, StoreRequest::Open { .. });
            let answer = session::ask_store(&store, &space, upload, request).await;
            if !opening || answer.is_err() {
                return (answer, None);
            }
            match registry.join(&space).await {
                Ok(room) => (answer, Some(room)),
                Err(error) => (Err(error), None),
            }
        })
    }

    fn join(&mut self, room: Option<Arc<Room>>) -> Option<u64> {
        let room = room?;
        let mut grown = room.grown();
        let offset = *grown.borrow_and_update();
        self.member =
            self.session.replica().map(|replica| Member::join(Arc::clone(&room), replica, self.upload.0));
        self.room = Some((room, grown));
        let replica = self.session.replica().map(|replica| replica.short());
        tracing::info!(space = %self.space, replica, "an engine joined");
        Some(offset)
    }

    /// Lets the others know what the engine has said of itself, if it has not done so too often.
    fn pass_on(&mut self) {
        if let Some(member) = &self.member
            && let Some(presence) = self.throttle.take(Instant::now())
        {
            member.say(presence);
        }
    }

    fn turn(&mut self, turn: Turn) -> Result<Option<Event>, Ended> {
        Ok(match turn {
            Turn::Message(Message::Binary(frame)) => Some(Event::Frame(frame)),
            Turn::Message(Message::Text(_)) => Some(Event::Refused(
                CloseCode::Malformed,
                "a text message; this protocol has binary ones only",
            )),
            Turn::Refused(code, reason) => Some(Event::Refused(code, reason)),
            Turn::Message(_) | Turn::Wrote => None,
            Turn::Ended => return Err(Ended),
        })
    }

    /// Looks at the clock: pings, and says why to close.
    fn check(&mut self, reading: bool) -> Option<(CloseCode, &'static str)> {
        let (limits, now) = (&self.shared.limits, Instant::now());
        let traffic = self.socket.traffic();
        // When we do not read, because the disk is slow, its silence is ours.
        // And who takes bytes of a queue that is full is there, though it may have nothing to say.
        let takes = traffic.1 != self.vitals.traffic.1 && self.socket.waits_to_write();
        if traffic.0 != self.vitals.traffic.0 || !reading || takes {
            self.vitals.heard = now;
        }
        if traffic.1 != self.vitals.traffic.1 || !self.socket.waits_to_write() {
            self.vitals.taken = now;
        }
        self.vitals.traffic = traffic;
        if self.session.replica().is_none() && now - self.vitals.began >= limits.hello_timeout {
            return Some((CloseCode::Silent, "no hello came"));
        }
        if now - self.vitals.taken >= limits.slow_reader_after {
            return Some((
                CloseCode::SlowReader,
                "nothing was read for too long; come back and go on from there",
            ));
        }
        if now - self.vitals.heard >= limits.silent_after {
            return Some((CloseCode::Silent, "nothing was heard for too long"));
        }
        // Not while a reply waits: then the peer does not read, and pings would pile up.
        if now - self.vitals.pinged >= limits.ping_interval && !self.socket.replies_wait() {
            self.vitals.pinged = now;
            self.socket.ping();
        }
        None
    }

    /// Hands the session what happened and does what it answers. `Some` is how to close.
    fn act(&mut self, event: Event) -> Option<(CloseCode, String)> {
        for action in self.session.handle(event) {
            match action {
                Action::Store(request) => self.wanted = Some(request),
                Action::Reply(frame) => self.socket.reply(frame),
                Action::Deliver(frame) => self.socket.deliver(frame),
                Action::Presence(presence) => self.throttle.offer(presence),
                Action::Close(code, reason) => return Some((code, reason)),
            }
        }
        None
    }
}

/// The connection is over, from the other side.
struct Ended;

/// Turns an over-limit connection away in the protocol's own words, so that its engine tries again later.
pub(crate) async fn turn_away<S>(socket: Socket<S>, patience: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    socket.close(CloseCode::Busy, "this relay has as many connections as it is set to have", patience).await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use driftless_protocol::message::Hello;
    use driftless_protocol::{ClientMessage, Presence, RelayMessage, ReplicaId, SpaceId, StateVector};
    use futures_util::{SinkExt, StreamExt};
    use tokio::io::DuplexStream;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;
    use crate::defaults::{PRESENCE_BURST, PRESENCE_INTERVAL};
    use crate::log::UploadLimits;
    use crate::log::memory::MemoryStore;

    static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

    type Engine = WebSocketStream<DuplexStream>;

    fn shared() -> Shared {
        let store: Arc<dyn LogStore> = Arc::new(MemoryStore::new(UploadLimits::default()));
        let limits = Limits::default();
        let registry = Registry::new(Arc::clone(&store), limits.room_cache_bytes, limits.page_bytes);
        Shared { store, registry: Arc::new(registry), limits, draining: CancellationToken::new() }
    }

    /// An engine in the space, on a wire that holds so many bytes.
    async fn join(shared: &Shared, replica: u8, wire: usize) -> Engine {
        let (near, far) = tokio::io::duplex(wire);
        let space: SpaceName = "s".parse().expect("a space name");
        let upload = UploadId(CONNECTIONS.fetch_add(1, Ordering::Relaxed));
        let shared = shared.clone();
        tokio::spawn(async move { serve(shared, space, upload, Socket::new(far).await).await });
        let mut engine = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let space = Some(SpaceId::from_bytes([9; 16]).expect("not nil"));
        let replica = ReplicaId::from_bytes([replica; 16]).expect("not nil");
        let vector = StateVector::new();
        let hello = Hello { space, propose: space, replica, vector, token: None };
        send(&mut engine, ClientMessage::Hello(hello)).await;
        assert!(matches!(hear(&mut engine).await, RelayMessage::Welcome(_)));
        engine
    }

    async fn send(engine: &mut Engine, message: ClientMessage) {
        engine.send(Message::Binary(message.encode())).await.expect("the relay takes it");
    }

    async fn say(engine: &mut Engine, text: &str) {
        send(engine, ClientMessage::Presence(Presence::new(text.as_bytes().to_vec()).expect("short"))).await;
    }

    async fn hear(engine: &mut Engine) -> RelayMessage {
        let hearing = async {
            loop {
                match engine.next().await {
                    Some(Ok(Message::Binary(frame))) => {
                        return RelayMessage::decode(frame).expect("a frame");
                    }
                    Some(Ok(Message::Ping(_))) => {}
                    other => panic!("{other:?}"),
                }
            }
        };
        // It passes by itself when nobody has anything to do. Around all of it, for pings come for ever.
        tokio::time::timeout(Duration::from_secs(20), hearing).await.expect("the relay says something")
    }

    /// Who says what, as in "1:here".
    async fn hear_presence(engine: &mut Engine) -> String {
        match hear(engine).await {
            RelayMessage::Presence { replica, presence } => {
                format!("{}:{}", replica.as_bytes()[0], String::from_utf8_lossy(presence.as_bytes()))
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_flood_so_many_are_passed_on_and_then_the_last() {
        let shared = shared();
        let mut reader = join(&shared, 2, 1 << 20).await;
        let mut author = join(&shared, 1, 1 << 20).await;
        let start = Instant::now();
        // Each is heard before the next is said, so that none of them is only left out for the one after it.
        for n in 0..PRESENCE_BURST {
            say(&mut author, &n.to_string()).await;
            assert_eq!(hear_presence(&mut reader).await, format!("1:{n}"));
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for n in 0..50 {
            say(&mut author, &format!("more {n}")).await;
        }
        assert_eq!(hear_presence(&mut reader).await, "1:more 49");
        let waited = start.elapsed();
        assert!(waited >= PRESENCE_INTERVAL && waited < PRESENCE_INTERVAL * 2, "{waited:?}");
        drop(author);
        assert_eq!(hear_presence(&mut reader).await, "1:");
    }

    /// Nothing is queued for who does not read but the last that it has not been sent, and what is on the wire.
    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_sent_the_last_and_not_all_that_it_missed() {
        let shared = shared();
        let mut slow = join(&shared, 2, 64).await;
        let mut quick = join(&shared, 3, 1 << 20).await;
        let mut author = join(&shared, 1, 1 << 20).await;
        let said = |n: u32| format!("{n:0>900}");
        for n in 0..100 {
            say(&mut author, &said(n)).await;
            assert_eq!(hear_presence(&mut quick).await, format!("1:{}", said(n)));
        }
        let mut heard = vec![hear_presence(&mut slow).await];
        while heard.last() != Some(&format!("1:{}", said(99))) {
            heard.push(hear_presence(&mut slow).await);
        }
        // What went out before the wire was full, what waited behind that, and the last.
        assert!(heard.len() < 25, "{}", heard.len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_hears_who_is_there_and_nobody_hears_itself() {
        let shared = shared();
        let mut first = join(&shared, 1, 1 << 20).await;
        say(&mut first, "one").await;
        let mut second = join(&shared, 2, 1 << 20).await;
        assert_eq!(hear_presence(&mut second).await, "1:one");
        say(&mut second, "two").await;
        assert_eq!(hear_presence(&mut first).await, "2:two");
        // An engine that comes back before the relay has noticed that it was gone, and has nothing to say now.
        let mut again = join(&shared, 2, 1 << 20).await;
        assert_eq!(hear_presence(&mut first).await, "2:");
        assert_eq!(hear_presence(&mut again).await, "1:one");
        say(&mut again, "two again").await;
        assert_eq!(hear_presence(&mut first).await, "2:two again");
        drop(second);
        say(&mut first, "bye").await;
        assert_eq!(hear_presence(&mut again).await, "1:bye");
        drop(again);
        assert_eq!(hear_presence(&mut first).await, "2:", "not earlier, when the old connection ended");
    }
}
