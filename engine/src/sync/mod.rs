//! Syncing with a relay: the only async part.
//!
//! - `session`: the conversation, without I/O; `link`: what a connection still has to do, without I/O; `connection`: the socket and
//!   the engine's thread around it; `client`: connects again and again;
//! - `opening`: may a space be made at an address? `patience`: does the relay still answer? `unreachable`: why is there no
//!   connection?
//! - `presence`: who else is connected;
//! - `worker`: the thread that owns the file; `quiet`: when it may write beside an app; `watch`: notices that others wrote.
//!
//! May use `replica` and what is below it. Begin with `session.rs`.

mod client;
mod connection;
pub(crate) mod link;
mod opening;
mod patience;
mod presence;
mod quiet;
pub(crate) mod session;
mod unreachable;
pub(crate) mod watch;
pub(crate) mod worker;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use driftless_protocol::{MAX_PRESENCE_BYTES, Presence, PresenceTooLong, ReplicaId};
use tokio::sync::{mpsc, oneshot, watch as watch_channel};

use self::client::{Client, Control};
use self::opening::Opening;
use self::presence::Others;
use self::worker::Worker;
use crate::address::Address;
use crate::config::SyncConfig;
use crate::error::{Error, Result};
use crate::file::state::SyncState;

/// The error that ended a sync, until somebody is told.
type Refusal = Arc<Mutex<Option<Error>>>;

/// A running sync. It goes on in the background, connecting again whenever the connection breaks, until it is stopped
/// or dropped.
#[derive(Debug)]
pub struct SyncHandle {
    control: mpsc::Sender<Control>,
    state: watch_channel::Receiver<SyncState>,
    own: watch_channel::Sender<Presence>,
    others: watch_channel::Receiver<BTreeMap<ReplicaId, Vec<u8>>>,
    refusal: Refusal,
    url: String,
    knocked: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl SyncHandle {
    /// Starts syncing. `create`: whether a space that does not exist is to be made.
    pub(crate) fn start(worker: Worker, config: SyncConfig, create: bool) -> Result<Self> {
        let address = Address::parse(&config.url)?;
        let (control, receiver) = mpsc::channel(8);
        let (state_sender, state) = watch_channel::channel(SyncState::Connecting);
        let (own_sender, own) = watch_channel::channel(Presence::none());
        let others = Others::default();
        let watched = others.watch();
        let refusal = Refusal::default();
        let (url, knocked) = (config.url.clone(), Arc::<AtomicBool>::default());
        let client = Client {
            worker,
            config,
            address,
            create,
            opening: Opening::Make,
            refusal: refusal.clone(),
            knocked: knocked.clone(),
            control: receiver,
            state: state_sender,
            own,
            others,
            waiting: Vec::new(),
        };
        let io = |source| Error::Io { doing: "starting to sync", path: Default::default(), source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io)?;
        let thread = std::thread::Builder::new()
            .name("driftless-sync".into())
            .spawn(move || runtime.block_on(client.run()))
            .map_err(io)?;
        Ok(Self {
            control,
            state,
            own: own_sender,
            others: watched,
            refusal,
            url,
            knocked,
            thread: Some(thread),
        })
    }

    /// How the connection is now.
    pub fn state(&self) -> SyncState {
        self.state.borrow().clone()
    }

    /// The state as it changes, for whoever wants to wait for one.
    pub fn watch(&self) -> watch_channel::Receiver<SyncState> {
        self.state.clone()
    }

    /// Returns when everything committed to the file before the call is on the relay's disk, and everything that
    /// the relay held by then is in the tables. Waits for a connection if there is none; not to be called on an
    /// async runtime's thread.
    ///
    /// Fails with [`Error::Offline`] if an attempt to connect fails, the connection breaks meanwhile or the relay has not answered
    /// after `timeout`, [`Error::TimedOut`] after `timeout` otherwise, [`Error::Refused`] and [`Error::WrongSpace`] if the relay does not want
    /// this file, [`Error::OtherSpace`] if the address names another space than the last. After these three the sync has ended,
    /// and a second call fails with [`Error::SyncEnded`]. [`Error::Stopped`] if the sync or the engine has been stopped.
    /// Whatever it returns, nothing is lost, and syncing goes on in the background unless it has ended.
    pub fn sync_now(&self, timeout: Duration) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|source| Error::Io { doing: "waiting for", path: Default::default(), source })?;
        runtime.block_on(self.sync_now_async(timeout))
    }

    /// Like [`SyncHandle::sync_now`], for async callers, on any runtime with tokio's timer. Cancelling it stops only the
    /// waiting.
    pub async fn sync_now_async(&self, timeout: Duration) -> Result<()> {
        let (waiter, answer) = oneshot::channel();
        let asked = async {
            self.control.send(Control::SyncNow(waiter)).await.map_err(|_| self.refused())?;
            answer.await.map_err(|_| self.refused())?
        };
        tokio::time::timeout(timeout, asked).await.unwrap_or_else(|_| Err(self.timed_out(timeout)))
    }

    fn timed_out(&self, timeout: Duration) -> Error {
        let unanswered = self.state() == SyncState::Connecting && self.knocked.load(Ordering::Relaxed);
        if unanswered {
            let why = format!("no answer in {timeout:?}");
            return Error::Offline { url: self.url.clone(), why };
        }
        Error::TimedOut(timeout)
    }

    /// Lets the others of the space know something of this replica, in place of what it let them know before: who has
    /// which note open, where the cursor is. At most 1024 bytes, whose meaning is the app's; empty for nothing.
    ///
    /// It is never stored, and lasts as long as the connection: others see it in [`SyncHandle::presence`] until this sync is
    /// stopped or cannot be reached any more. It is said again whenever the connection is made anew, under the new name if
    /// the file has taken another. Never blocks, and may be called as often as you like: a relay passes on ten in a row and
    /// then five a second of each replica, and of what comes faster the latest, so that the last always arrives. Of more
    /// than 1000 replicas in a space a relay passes on the first 1000.
    ///
    /// Fails with [`Error::PresenceTooLong`], and then what was said before stands; with [`Error::SyncEnded`] or
    /// [`Error::Stopped`] if the sync has ended.
    ///
    /// ```no_run
    /// # async fn example(engine: driftless::Engine) -> driftless::Result<()> {
    /// use driftless::SyncConfig;
    ///
    /// let sync = engine.sync(SyncConfig::new("ws://127.0.0.1:7420/demo"))?;
    /// sync.set_presence("Ann has n1 open")?;
    ///
    /// let mut others = sync.presence();
    /// while others.changed().await.is_ok() {
    ///     for (replica, presence) in others.borrow_and_update().iter() {
    ///         println!("{}: {}", replica.short(), String::from_utf8_lossy(presence));
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_presence(&self, presence: impl Into<Vec<u8>>) -> Result<()> {
        let presence = Presence::new(presence.into()).map_err(|PresenceTooLong(length)| {
            Error::PresenceTooLong { length, limit: MAX_PRESENCE_BYTES }
        })?;
        self.own.send(presence).map_err(|_| self.ended())
    }

    /// What the others who are connected to the space let know of themselves now with [`SyncHandle::set_presence`], and as it
    /// changes. Never this replica, and nobody who says nothing. Empty while there is no connection; what is left of one
    /// that broke is up to the relay to notice, after 45 seconds at the latest. Values are at most 1024 bytes, as the others
    /// sent them: do not trust them.
    pub fn presence(&self) -> watch_channel::Receiver<BTreeMap<ReplicaId, Vec<u8>>> {
        self.others.clone()
    }

    /// Why it has ended: the very error, for the first who asks.
    fn refused(&self) -> Error {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take();
        refusal.unwrap_or_else(|| self.ended())
    }

    fn ended(&self) -> Error {
        match self.state() {
            SyncState::Refused(reason) => Error::SyncEnded(reason),
            _ => Error::Stopped,
        }
    }

    /// Says goodbye to the relay and ends. What is not sent yet is sent by the next sync.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Full: then seven others wait to be told the same by the closing of the channel.
            let _ = self.control.try_send(Control::Stop);
            let (closed, _) = mpsc::channel(1);
            self.control = closed;
            let _ = thread.join(); // it cannot panic, and if it did there is nobody to tell here
        }
    }
}

impl Drop for SyncHandle {
    fn drop(&mut self) {
        self.end();
    }
}
