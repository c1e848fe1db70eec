//! The tokio loop around connections: connect, drive the conversation until it ends, back off with jitter, again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use driftless_protocol::message::MAX_FRAME_BYTES;
use driftless_protocol::{Presence, SpaceId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::connect_async_with_config;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::http::Response;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::connection::{Connection, Ended, Socket, again_while_busy};
use super::link::Link;
use super::opening::Opening;
use super::presence::Others;
use super::session::Session;
use super::worker::Worker;
use super::{Refusal, unreachable};
use crate::address::Address;
use crate::config::SyncConfig;
use crate::error::{Error, Result};
use crate::file::state::SyncState;
use crate::replica::Introduction;

/// So often in a row a relay refuses with one code before it is believed: one bit that the network flips can make a
/// request into one that is refused for good, and then somebody would have to come and start the sync again.
const REFUSALS: u32 = 3;

/// What the handle asks of the task.
#[derive(Debug)]
pub(crate) enum Control {
    /// Answer when both sides agree.
    SyncNow(oneshot::Sender<Result<()>>),
    /// Say goodbye and end.
    Stop,
}

/// Everything the task has.
pub(crate) struct Client {
    pub(crate) worker: Worker,
    pub(crate) config: SyncConfig,
    pub(crate) address: Address,
    /// Whether a space that does not exist is to be made.
    pub(crate) create: bool,
    /// How the last attempt asked the relay to open the space.
    pub(super) opening: Opening,
    /// Holds the error that ended the sync, if nobody was waiting to be told.
    pub(super) refusal: Refusal,
    /// Whether this attempt has asked the relay for a connection.
    pub(super) knocked: Arc<AtomicBool>,
    pub(crate) control: mpsc::Receiver<Control>,
    pub(crate) state: watch::Sender<SyncState>,
    /// What the others are to be let know of this replica.
    pub(super) own: watch::Receiver<Presence>,
    pub(super) others: Others,
    pub(crate) waiting: Vec<oneshot::Sender<Result<()>>>,
}

impl Client {
    /// Connects again and again until told to stop or refused for good, and says in the engine's notice how the connection
    /// is.
    pub(crate) async fn run(self) {
        let (notice, url) = (self.worker.notice().clone(), self.config.url.clone());
        let (mut state, mut health) = (self.state.subscribe(), self.worker.health());
        let mut running = std::pin::pin!(self.connect_again_and_again());
        loop {
            tokio::select! {
                () = &mut running => break,
                Ok(()) = state.changed() => notice.connection(&url, &state.borrow_and_update()),
                Ok(()) = health.changed() => notice.health(&health.borrow_and_update()),
            }
        }
        // A refusal stays to be read, until the engine ends.
        let last = state.borrow_and_update().clone();
        match last {
            SyncState::Refused(_) => notice.connection(&url, &last),
            _ => notice.no_connection(),
        }
    }

    async fn connect_again_and_again(mut self) {
        let mut attempts = 0u32;
        // How often in a row the relay has refused, and with which code.
        let mut refusals = (0u32, 0u16);
        loop {
            self.knocked.store(false, Ordering::Relaxed);
            self.state.send_replace(SyncState::Connecting);
            let connected_at = Instant::now();
            let ended = self.connection().await;
            let before = std::mem::take(&mut refusals);
            let why = match ended {
                Ended::Stopped => break,
                Ended::Renamed => continue,
                Ended::FileAway => {
                    if self.wait(self.config.backoff_min).await {
                        break;
                    }
                    continue;
                }
                Ended::Refused(Error::Refused { code, reason })
                    if before != (REFUSALS - 1, code) && !self.opening.is_certain(code) =>
                {
                    refusals = (if before.1 == code { before.0 + 1 } else { 1 }, code);
                    tracing::info!(url = %self.config.url, code, reason, "refused, perhaps by mistake");
                    self.state
                        .send_replace(SyncState::Offline { why: reason, retry_in: self.config.backoff_min });
                    if self.wait(self.config.backoff_min).await {
                        break;
                    }
                    continue;
                }
                Ended::Refused(error) => {
                    let error = self.opening.explain(error, self.worker.path(), &self.address);
                    tracing::info!(url = %self.config.url, %error, "sync ends");
                    let (text, untold) = self.answer_all(error);
                    *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = untold;
                    self.state.send_replace(SyncState::Refused(text));
                    return;
                }
                Ended::Failed(error) => {
                    let (text, _) = self.answer_all(error);
                    format!("'{}': {text}", self.worker.path().display())
                }
                Ended::Broken(why) => why,
            };
            tracing::info!(url = %self.config.url, why, "offline");
            for waiter in self.waiting.drain(..) {
                let _ = waiter.send(Err(self.config.offline(&why)));
            }
            // A connection that lived long enough begins the back-off anew.
            attempts = if connected_at.elapsed() > self.config.backoff_max { 0 } else { attempts + 1 };
            let wait = backoff(&self.config, attempts);
            self.state.send_replace(SyncState::Offline { why, retry_in: wait });
            if self.wait(wait).await {
                break;
            }
        }
        self.state.send_replace(SyncState::Stopped);
    }

    /// Gives everybody who waits an error, the first of them the very one. Returns its text, and itself if nobody waits.
    fn answer_all(&mut self, error: Error) -> (String, Option<Error>) {
        let text = error.to_string();
        let mut error = Some(error);
        for waiter in self.waiting.drain(..) {
            let error = error.take().unwrap_or_else(|| self.config.offline(&text));
            let _ = waiter.send(Err(error)); // it may have stopped waiting
        }
        (text, error)
    }

    /// Waits, unless somebody wants to sync now. Returns whether to stop.
    async fn wait(&mut self, wait: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(wait) => false,
            // Then the next attempt says so.
            () = self.worker.closed() => false,
            control = self.control.recv() => match control {
                Some(Control::SyncNow(waiter)) => {
                    self.waiting.push(waiter);
                    false
                }
                Some(Control::Stop) | None => true,
            },
        }
    }

    /// One connection, from knocking at the relay's door to its end.
    async fn connection(&mut self) -> Ended {
        match self.begin().await {
            Ok((introduction, socket)) => self.converse(introduction, socket).await,
            Err(ended) => ended,
        }
    }

    /// Asks the file who it is, and the relay for a connection.
    async fn begin(&mut self) -> std::result::Result<(Introduction, Socket), Ended> {
        let introducing = again_while_busy(self.worker.clone(), |replica| replica.introduce());
        let introduction = {
            let mut introducing = std::pin::pin!(introducing);
            loop {
                tokio::select! {
                    introduced = &mut introducing => break introduced.map_err(Ended::by)?,
                    // Nobody who stops waits for an app that does not let go of the write lock.
                    control = self.control.recv() => stay(control, &mut self.waiting)?,
                }
            }
        };
        self.opening = Opening::of(&self.address, &introduction, self.config.new_space);
        if let Some(refusal) = self.opening.refusal(self.worker.path(), &self.address) {
            return Err(Ended::Refused(refusal));
        }
        self.knocked.store(true, Ordering::Relaxed);
        let mut connecting = std::pin::pin!(connect(&self.config, &self.address));
        loop {
            tokio::select! {
                connected = &mut connecting => return Ok((introduction, connected?)),
                () = self.worker.closed() => return Err(Ended::Refused(self.worker.stopped())),
                // Nobody who stops waits for a relay that does not answer.
                control = self.control.recv() => stay(control, &mut self.waiting)?,
            }
        }
    }

    /// Drives the conversation until it ends.
    async fn converse(&mut self, introduction: Introduction, mut socket: Socket) -> Ended {
        let propose = (self.create && introduction.space.is_none()).then(SpaceId::random);
        let mut link = Link::begin(Session::begin(
            introduction.replica,
            self.opening.known(introduction.space),
            propose,
            introduction.held,
            self.config.token.clone(),
        ));
        let own = self.own.borrow_and_update().clone();
        if !own.is_none() {
            link.say(own);
        }
        let asked = std::mem::take(&mut self.waiting);
        let (worker, config, others) = (self.worker.clone(), self.config.clone(), self.others.clone());
        let mut connection = Connection::new(link, worker, config, others, asked);
        let ended = connection.drive(&mut socket, &mut self.control, &self.state, &mut self.own).await;
        self.waiting.extend(connection.still_waiting());
        ended
    }
}

/// Notes who waits; ends what is begun, if it is to stop.
fn stay(
    control: Option<Control>,
    waiting: &mut Vec<oneshot::Sender<Result<()>>>,
) -> std::result::Result<(), Ended> {
    match control {
        Some(Control::SyncNow(waiter)) => {
            waiting.push(waiter);
            Ok(())
        }
        Some(Control::Stop) | None => Err(Ended::Stopped),
    }
}

async fn connect(config: &SyncConfig, address: &Address) -> std::result::Result<Socket, Ended> {
    if address.url.scheme() == "wss" {
        // Somebody else in this process may have chosen a provider already; then theirs is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let websocket = WebSocketConfig::default()
        .max_message_size(Some(MAX_FRAME_BYTES))
        .max_frame_size(Some(MAX_FRAME_BYTES))
        .max_write_buffer_size(2 * MAX_FRAME_BYTES);
    let connecting = connect_async_with_config(address.url.as_str(), Some(websocket), true);
    match timeout(config.connect_timeout, connecting).await {
        // A request that was damaged on its way may have opened, and made, another space.
        Ok(Ok((_, response))) if opened_another(&response, address) => {
            Err(Ended::Broken("the relay understood another space than was asked for".into()))
        }
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(refusal(&error)
            .unwrap_or_else(|| Ended::Broken(unreachable::words(&error, address.url.scheme() == "wss")))),
        Err(_) => Err(Ended::Broken(format!("no answer in {:?}", config.connect_timeout))),
    }
}

/// A relay's refusal for good; `None` if it is something else that answered, or did not.
fn refusal(error: &WsError) -> Option<Ended> {
    let WsError::Http(response) = error else { return None };
    if !response.status().is_client_error() {
        return None;
    }
    let reason = unreachable::refusal(response.body().as_deref().unwrap_or_default())?;
    let reason = format!("HTTP {}: {reason}", response.status());
    Some(Ended::Refused(Error::Refused { code: response.status().as_u16(), reason }))
}

/// Whether the relay says that it opened another space.
fn opened_another<B>(response: &Response<B>, address: &Address) -> bool {
    let opened = response.headers().get("driftless-space").map(|name| name.as_bytes());
    opened.is_some_and(|name| name != address.url.path().trim_start_matches('/').as_bytes())
}

impl SyncConfig {
    fn offline(&self, why: &str) -> Error {
        Error::Offline { url: self.url.clone(), why: why.to_owned() }
    }
}

/// The wait after `attempts` failures in a row: doubled each time, with full jitter above half, so that a crowd
/// that lost its relay does not come back at once.
fn backoff(config: &SyncConfig, attempts: u32) -> Duration {
    let factor = 1u32 << attempts.saturating_sub(1).min(16);
    let most = config.backoff_min.saturating_mul(factor).min(config.backoff_max);
    most.mul_f64(0.5 + 0.5 * fastrand::f64())
}
