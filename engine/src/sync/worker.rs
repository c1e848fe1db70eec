//! The thread that owns the replica. SQLite blocks, so everything that touches the file happens here, one piece
//! of work after the other; async stays at the socket.
//!
//! Work comes over a bounded channel: whoever sends waits while it is full. Between pieces of work the thread takes
//! turns as long as there is something to capture. It ends when all handles are gone or when told to; what it was
//! doing is finished first, and what was committed is captured at the next opening if not now.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use driftless_protocol::{ReplicaId, StateVector};
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::{Error, Result};
use crate::replica::{Replica, Turn};

/// Pieces of work that wait at most.
const QUEUE: usize = 64;
/// How long to wait after a turn failed for a reason that may pass: a full disk, a lock held too long.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);

/// How far a file is: its name, and what it holds, its own changesets included.
pub(crate) type Progress = (ReplicaId, StateVector);

type Job = Box<dyn FnOnce(&mut Replica) + Send>;

enum Command {
    Job(Job),
    Nudge,
    Stop,
}

/// How the engine's thread is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It works.
    Well,
    /// The last turn failed; it is tried again. The text says why.
    Ailing(String),
    /// It stopped for good: closed, or for the reason given.
    Stopped(Option<String>),
}

/// What the outside can see of the thread.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    path: Arc<Path>,
    commands: mpsc::Sender<Command>,
    nudged: Arc<AtomicBool>,
    busy: Arc<AtomicBool>,
    progress: watch::Receiver<Progress>,
    health: watch::Receiver<Health>,
    fatal: Arc<OnceLock<Fatal>>,
}

impl Worker {
    /// Starts the thread. Joining the handle waits for its end.
    pub(crate) fn start(replica: Replica) -> Result<(Self, JoinHandle<()>)> {
        let (commands, receiver) = mpsc::channel(QUEUE);
        let nudged = Arc::new(AtomicBool::new(false));
        let busy = Arc::new(AtomicBool::new(false));
        let (progress_sender, progress) = watch::channel((replica.id(), replica.held()?));
        let (health_sender, health) = watch::channel(Health::Well);
        let path = replica.path().to_owned();
        let place = path.clone();
        let fatal = Arc::new(OnceLock::new());
        let mut thread = Thread {
            replica,
            commands: receiver,
            fatal: fatal.clone(),
            nudged: nudged.clone(),
            busy: busy.clone(),
            progress: progress_sender,
            health: health_sender,
        };
        let handle = std::thread::Builder::new()
            .name("driftless".into())
            .spawn(move || thread.run())
            .map_err(|source| Error::Io { doing: "starting the engine's thread for", path, source })?;
        Ok((Self { path: place.into(), commands, nudged, busy, progress, health, fatal }, handle))
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Tells the thread that the file may have changed. Never waits; many nudges are one.
    pub(crate) fn nudge(&self) {
        if !self.nudged.swap(true, Ordering::AcqRel) && self.commands.try_send(Command::Nudge).is_err() {
            // The queue is full: the thread takes a turn after the work that fills it anyway.
            self.nudged.store(false, Ordering::Release);
        }
    }

    /// Whether the thread is at work, and so writes to the file itself.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// Whether the thread has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    /// Asks the thread to end. Never waits.
    pub(crate) fn stop(&self) {
        let commands = self.commands.clone();
        if let Err(mpsc::error::TrySendError::Full(stop)) = commands.try_send(Command::Stop) {
            std::thread::spawn(move || {
                let _ = commands.blocking_send(stop); // closed already: then it has stopped
            });
        }
    }

    /// Waits until the thread has ended.
    pub(crate) async fn closed(&self) {
        self.commands.closed().await;
    }

    /// What to tell whoever wants something of the thread when it has ended.
    pub(crate) fn stopped(&self) -> Error {
        self.fatal.get().map_or(Error::Stopped, Fatal::error)
    }

    /// Runs `work` on the thread and waits for its result. Fails with [`Error::Stopped`] if the thread has ended, or with
    /// the error that ended it.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Replica) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (job, answer) = job(work);
        self.commands.send(Command::Job(job)).await.map_err(|_| self.stopped())?;
        answer.await.map_err(|_| self.stopped())?
    }

    /// Like [`Worker::call`], blocking.
    pub(crate) fn call_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Replica) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (job, answer) = job(work);
        self.commands.blocking_send(Command::Job(job)).map_err(|_| self.stopped())?;
        answer.blocking_recv().map_err(|_| self.stopped())?
    }

    /// How far the file is, whatever took it there: a turn may capture, and may apply what had waited.
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    pub(crate) fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }
}

fn job<T: Send + 'static>(
    work: impl FnOnce(&mut Replica) -> Result<T> + Send + 'static,
) -> (Job, oneshot::Receiver<Result<T>>) {
    let (sender, answer) = oneshot::channel();
    let job: Job = Box::new(move |replica| {
        let _ = sender.send(work(replica)); // whoever asked may have gone
    });
    (job, answer)
}

/// Why the thread has stopped for good: what can be told of an error as often as somebody asks.
#[derive(Debug, Clone)]
enum Fatal {
    Replaced(PathBuf, String),
    Locked(PathBuf, Option<u32>),
    Newer(PathBuf, i64, i64),
}

impl Fatal {
    /// `None` of an error after which it makes sense to go on.
    fn of(error: &Error) -> Option<Self> {
        match error {
            Error::FileReplaced { path, why } => Some(Self::Replaced(path.clone(), why.clone())),
            Error::Locked { path, holder } => Some(Self::Locked(path.clone(), *holder)),
            Error::NewerFormat { path, found, known } => Some(Self::Newer(path.clone(), *found, *known)),
            _ => None,
        }
    }

    fn error(&self) -> Error {
        match self.clone() {
            Self::Replaced(path, why) => Error::FileReplaced { path, why },
            Self::Locked(path, holder) => Error::Locked { path, holder },
            Self::Newer(path, found, known) => Error::NewerFormat { path, found, known },
        }
    }
}

struct Thread {
    replica: Replica,
    commands: mpsc::Receiver<Command>,
    fatal: Arc<OnceLock<Fatal>>,
    nudged: Arc<AtomicBool>,
    busy: Arc<AtomicBool>,
    progress: watch::Sender<Progress>,
    health: watch::Sender<Health>,
}

impl Thread {
    fn run(&mut self) {
        let mut more = true;
        loop {
            let command = match self.commands.try_recv() {
                Ok(command) => Some(command),
                Err(mpsc::error::TryRecvError::Empty) if more => None,
                Err(mpsc::error::TryRecvError::Empty) => {
                    self.busy.store(false, Ordering::Release);
                    // Whatever was committed while nobody listened.
                    if self.replica.has_foreign_commits().unwrap_or(false) {
                        more = true;
                        continue;
                    }
                    self.commands.blocking_recv()
                }
                Err(mpsc::error::TryRecvError::Disconnected) => break,
            };
            self.busy.store(true, Ordering::Release);
            match command {
                Some(Command::Job(job)) => {
                    job(&mut self.replica);
                    self.publish();
                }
                Some(Command::Nudge) => {
                    self.nudged.store(false, Ordering::Release);
                    more |= self.replica.has_foreign_commits().unwrap_or(true);
                    if !more {
                        self.rest();
                    }
                }
                Some(Command::Stop) => break,
                None if more => match self.take_turn() {
                    Ok(turn) => more = turn.more,
                    Err(Some(fatal)) => {
                        let text = fatal.error().to_string();
                        let _ = self.fatal.set(fatal); // the first, and only one
                        self.health.send_replace(Health::Stopped(Some(text)));
                        return;
                    }
                    // The next nudge, at the latest the next poll, tries again.
                    Err(None) => {
                        more = false;
                        std::thread::sleep(PAUSE_AFTER_FAILURE);
                    }
                },
                None => break,
            }
        }
        self.health.send_replace(Health::Stopped(None));
    }

    /// Fails with a reason if it makes no sense to go on.
    fn take_turn(&mut self) -> std::result::Result<Turn, Option<Fatal>> {
        let turn = self.replica.turn(&mut VecDeque::new());
        self.publish();
        match turn {
            Ok(turn) => {
                self.health.send_if_modified(|health| {
                    let recovered = *health != Health::Well;
                    *health = Health::Well;
                    recovered
                });
                Ok(turn)
            }
            Err(Error::FileAway { why, .. }) => {
                tracing::debug!(why, "the file is away; trying again");
                let ailing = Health::Ailing(format!("it {why}"));
                if !self.replica.is_hardly_away() && *self.health.borrow() != ailing {
                    self.health.send_replace(ailing);
                }
                Err(None)
            }
            Err(error) if error.is_busy() => {
                tracing::debug!(%error, "somebody holds the write lock; trying again");
                Err(None)
            }
            Err(error) => {
                let fatal = Fatal::of(&error);
                if fatal.is_some() {
                    tracing::info!(path = %self.replica.path().display(), %error, "the engine stops");
                } else {
                    tracing::error!(path = %self.replica.path().display(), %error, "a turn failed; trying again");
                    self.health.send_replace(Health::Ailing(error.to_string()));
                }
                Err(fatal)
            }
        }
    }

    /// Nothing is to be done just now.
    fn rest(&mut self) {
        if let Err(error) = self.replica.rest() {
            tracing::warn!(path = %self.replica.path().display(), %error, "the log was not copied into the file");
        }
    }

    fn publish(&mut self) {
        if let Ok(held) = self.replica.held() {
            let progress = (self.replica.id(), held);
            self.progress.send_if_modified(|known| {
                let grown = *known != progress;
                *known = progress;
                grown
            });
        }
    }
}
