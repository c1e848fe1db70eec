//! The thread that owns the replica. SQLite blocks, so everything that touches the file happens here, one piece
//! of work after the other; async stays at the socket.
//!
//! Work comes over a bounded channel: whoever sends waits while it is full. Between pieces of work the thread takes
//! turns as long as there is something to capture. It ends when all handles are gone or when told to; what it was
//! doing is finished first, and what was committed is captured at the next opening if not now.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use driftless_protocol::{ReplicaId, StateVector};
use tokio::sync::{mpsc, oneshot, watch};

use super::quiet::{Due, Quiet, Step};
use crate::error::{Error, Result};
use crate::file::notice::Notice;
use crate::file::state::Health;
use crate::replica::{Replica, Turn};
use crate::turn::merge::Incoming;

/// Pieces of work that wait at most.
const QUEUE: usize = 64;
/// How long to wait after a turn failed for a reason that may pass: a full disk, a lock held too long.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(500);
/// How long nobody must have written before a commit is made for notes alone.
const NOTES_WAIT: Duration = Duration::from_secs(1);
/// The same while others read all the time.
const NOTES_WAIT_AT_MOST: Duration = Duration::from_secs(10);
/// How long the end waits for the write lock, to write notes that can be had again from the relay.
const LAST_NOTES: Duration = Duration::from_millis(100);

/// How far a file is: its name, and what it holds, its own changesets included. While the thread has more to do, its own
/// alone: what came in may be kept for a later turn, or not be shown yet.
pub(crate) type Progress = (ReplicaId, StateVector);

/// Answers whether it failed because somebody holds the write lock.
type Job = Box<dyn FnOnce(&mut Replica) -> bool + Send>;

enum Command {
    Job(Job),
    /// What came in, to be applied with the next turns, and who is told when it is.
    Apply(VecDeque<Incoming>, oneshot::Sender<Result<StateVector>>),
    Nudge,
    Stop,
}

/// What the outside can see of the thread.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    path: Arc<Path>,
    commands: mpsc::Sender<Command>,
    nudged: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
    progress: watch::Receiver<Progress>,
    health: watch::Receiver<Health>,
    notice: Notice,
    fatal: Arc<OnceLock<Fatal>>,
}

impl Worker {
    /// Starts the thread. Joining the handle waits for its end.
    pub(crate) fn start(replica: Replica) -> Result<(Self, JoinHandle<()>)> {
        let (commands, receiver) = mpsc::channel(QUEUE);
        let nudged = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(AtomicU64::new(0));
        let (progress_sender, progress) = watch::channel((replica.id(), replica.captured()?));
        let (health_sender, health) = watch::channel(Health::Well);
        let (path, notice) = (replica.path().to_owned(), replica.notice().clone());
        let place = path.clone();
        let fatal = Arc::new(OnceLock::new());
        let mut thread = Thread {
            replica,
            commands: receiver,
            fatal: fatal.clone(),
            nudged: nudged.clone(),
            seen: seen.clone(),
            progress: progress_sender,
            health: health_sender,
            quiet: Quiet::default(),
            looked_at: 0,
            behind: true,
            incoming: VecDeque::new(),
            waiting: Vec::new(),
            written_at: Instant::now(),
            busy_since: None,
        };
        let handle = std::thread::Builder::new()
            .name("driftless".into())
            .spawn(move || thread.run())
            .map_err(|source| Error::Io { doing: "starting the engine's thread for", path, source })?;
        Ok((Self { path: place.into(), commands, nudged, seen, progress, health, notice, fatal }, handle))
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

    /// How many commits of others the thread has seen. Commits between two looks count as one.
    pub(crate) fn commits_seen(&self) -> u64 {
        self.seen.load(Ordering::Acquire)
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

    /// Applies what came in, together with what is captured meanwhile, in turns that the thread takes when the app leaves
    /// room for them. Returns what the file holds then. When it fails, what was not applied is dropped.
    pub(crate) async fn apply(&self, incoming: VecDeque<Incoming>) -> Result<StateVector> {
        let (sender, answer) = oneshot::channel();
        self.commands.send(Command::Apply(incoming, sender)).await.map_err(|_| Error::Stopped)?;
        answer.await.map_err(|_| Error::Stopped)?
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

    /// Where the engine says how it is.
    pub(crate) fn notice(&self) -> &Notice {
        &self.notice
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
        let done = work(replica);
        let busy = done.as_ref().is_err_and(Error::is_busy);
        let _ = sender.send(done); // whoever asked may have gone
        busy
    });
    (job, answer)
}

/// Why the thread has stopped for good: what can be told of an error as often as somebody asks.
#[derive(Debug, Clone)]
enum Fatal {
    Replaced(PathBuf, String),
    Locked(PathBuf, Option<u32>),
    Newer(PathBuf, i64, i64),
    Lost(PathBuf, Option<String>),
}

impl Fatal {
    /// `None` of an error after which it makes sense to go on.
    fn of(error: &Error) -> Option<Self> {
        match error {
            Error::FileReplaced { path, why } => Some(Self::Replaced(path.clone(), why.clone())),
            Error::Locked { path, holder } => Some(Self::Locked(path.clone(), *holder)),
            Error::NewerFormat { path, found, known } => Some(Self::Newer(path.clone(), *found, *known)),
            Error::TrackingLost { path, url } => Some(Self::Lost(path.clone(), url.clone())),
            _ => None,
        }
    }

    fn error(&self) -> Error {
        match self.clone() {
            Self::Replaced(path, why) => Error::FileReplaced { path, why },
            Self::Locked(path, holder) => Error::Locked { path, holder },
            Self::Newer(path, found, known) => Error::NewerFormat { path, found, known },
            Self::Lost(path, url) => Error::TrackingLost { path, url },
        }
    }
}

struct Thread {
    replica: Replica,
    commands: mpsc::Receiver<Command>,
    fatal: Arc<OnceLock<Fatal>>,
    nudged: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
    progress: watch::Sender<Progress>,
    health: watch::Sender<Health>,
    quiet: Quiet,
    /// `data_version` at the last look.
    looked_at: i64,
    /// Whether the last turn left something to do, or failed.
    behind: bool,
    /// What came in and is not applied, and who waits for it.
    incoming: VecDeque<Incoming>,
    waiting: Vec<oneshot::Sender<Result<StateVector>>>,
    /// When a commit was last seen or made.
    written_at: Instant,
    /// Since when somebody else has been holding the write lock.
    busy_since: Option<Instant>,
}

impl Thread {
    fn run(&mut self) {
        let reason = self.serve();
        if self.replica.has_notes() {
            // Lost, they come again with the next connection.
            let _ = self.replica.write_notes_within(LAST_NOTES);
        }
        self.health.send_replace(Health::Stopped(reason));
    }

    /// Works until told to stop, or until all handles are gone, or until it makes no sense to go on: then it says why.
    fn serve(&mut self) -> Option<String> {
        loop {
            let due = self.behind
                || self.replica.is_foreign(self.looked_at)
                || self.replica.is_due()
                || !self.waiting.is_empty();
            let command = match self.commands.try_recv() {
                Ok(command) => Some(command),
                Err(mpsc::error::TryRecvError::Empty) if due => None,
                Err(mpsc::error::TryRecvError::Empty) => {
                    // Whatever was committed while nobody listened.
                    if self.look() {
                        continue;
                    }
                    self.quiet.nothing_is_due();
                    self.write_notes_if_quiet();
                    match self.commands.blocking_recv() {
                        Some(command) => Some(command),
                        None => return None,
                    }
                }
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
            };
            match command {
                Some(Command::Job(job)) => {
                    let busy = job(&mut self.replica);
                    self.note_busy(busy);
                    self.publish(!self.behind && self.incoming.is_empty());
                }
                Some(Command::Apply(mut incoming, waiter)) => {
                    self.incoming.append(&mut incoming);
                    self.waiting.push(waiter);
                }
                Some(Command::Nudge) => {
                    self.nudged.store(false, Ordering::Release);
                    if !self.look() && !self.behind && self.waiting.is_empty() {
                        self.rest();
                    }
                }
                Some(Command::Stop) => return None,
                None => {
                    if let Err(fatal) = self.turn_if_quiet() {
                        let text = fatal.error().to_string();
                        let _ = self.fatal.set(fatal); // the first, and only one
                        return Some(text);
                    }
                }
            }
        }
    }

    /// Looks whether others have committed, and answers whether they have since the last turn.
    fn look(&mut self) -> bool {
        // A file that cannot be read: the turn finds out what is wrong with it.
        let version = self.replica.data_version().unwrap_or(self.looked_at + 1);
        if version != self.looked_at {
            self.looked_at = version;
            if self.replica.is_foreign(version) {
                self.written_at = Instant::now();
                self.quiet.committed(self.written_at);
                self.seen.fetch_add(1, Ordering::AcqRel);
            }
        }
        self.replica.is_foreign(version)
    }

    /// Takes a turn if the app leaves room for one now, else waits for a moment. Fails with a reason if it makes no sense to
    /// go on.
    fn turn_if_quiet(&mut self) -> std::result::Result<(), Fatal> {
        if !self.look() && !self.behind && !self.replica.is_due() && self.waiting.is_empty() {
            return Ok(()); // other work has captured it meanwhile
        }
        if self.replica.is_elsewhere() {
            // There is no app on the file that this engine has open; and it takes several turns to open the other.
            self.replica.prepare_turn(false, false);
            return self.turn();
        }
        let others = self.replica.others_have_transactions();
        let what = if self.behind { Due::Leftover } else { Due::Work };
        let gives_way = match self.quiet.step(Instant::now(), what, others) {
            Step::Wait(wait) => {
                std::thread::sleep(wait);
                return Ok(());
            }
            Step::Go { gives_way } => gives_way,
        };
        self.replica.prepare_turn(gives_way, self.quiet.is_at_work(Instant::now()));
        self.turn()
    }

    /// Takes a turn, and notes what became of it. Fails with a reason if it makes no sense to go on.
    fn turn(&mut self) -> std::result::Result<(), Fatal> {
        match self.take_turn() {
            Ok(turn) if turn.gave_way => {} // it is still due
            Ok(turn) => {
                tracing::debug!(marks = turn.marks, held = ?turn.held, met = turn.met_another, more = turn.more, "turn");
                self.quiet.turned(turn.held, turn.met_another);
                self.written_at = Instant::now();
                self.behind = turn.more;
                if !turn.more && self.incoming.is_empty() {
                    let waiting = std::mem::take(&mut self.waiting);
                    for waiter in waiting {
                        let _ = waiter.send(self.replica.held()); // whoever asked may have gone
                    }
                }
            }
            Err(Some(fatal)) => return Err(fatal),
            Err(None) => {
                self.behind = true;
                std::thread::sleep(PAUSE_AFTER_FAILURE);
            }
        }
        Ok(())
    }

    /// Fails with a reason if it makes no sense to go on.
    fn take_turn(&mut self) -> std::result::Result<Turn, Option<Fatal>> {
        let turn = self.replica.turn(&mut self.incoming);
        let is_done = turn.as_ref().is_ok_and(|turn| !turn.more) && self.incoming.is_empty();
        self.publish(is_done);
        match turn {
            Ok(turn) => {
                self.busy_since = None;
                self.tell(Health::Well);
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
                self.note_busy(true);
                Err(None)
            }
            Err(error) => {
                let fatal = Fatal::of(&error);
                if fatal.is_some() {
                    tracing::info!(path = %self.replica.path().display(), %error, "the engine stops");
                } else {
                    tracing::error!(path = %self.replica.path().display(), %error, "a turn failed; trying again");
                    self.tell(Health::Ailing(error.to_string()));
                    self.give_up_incoming(error);
                }
                Err(fatal)
            }
        }
    }

    /// What came in and could not be applied comes again with the next connection, which begins when this one is told.
    fn give_up_incoming(&mut self, error: Error) {
        self.incoming.clear();
        // One connection waits at a time; of earlier ones nobody is left to be told.
        if let Some(waiter) = self.waiting.drain(..).next_back() {
            let _ = waiter.send(Err(error)); // it may have gone
        }
    }

    /// Says how long the write lock could not be had, or finds out whether it can be had again.
    fn note_busy(&mut self, busy: bool) {
        if busy {
            // It was waited for already.
            let waited = self.replica.config().busy_timeout;
            let since = *self
                .busy_since
                .get_or_insert_with(|| Instant::now().checked_sub(waited).unwrap_or_else(Instant::now));
            self.tell(Health::Busy(since.elapsed()));
        } else if self.busy_since.is_some() {
            // It may only have read. A turn finds out.
            self.behind = true;
        }
    }

    fn tell(&self, now: Health) {
        self.health.send_if_modified(|health| {
            let changed = *health != now;
            *health = now;
            changed
        });
    }

    /// What a relay acknowledged is written by itself only once nobody has written for a while: such a commit would break
    /// the app's transactions like any other, and the next turn that has something to do takes it along.
    fn write_notes_if_quiet(&mut self) {
        let since = self.written_at.elapsed();
        if self.replica.has_notes()
            && since >= NOTES_WAIT
            && (since >= NOTES_WAIT_AT_MOST || !self.replica.others_have_transactions())
        {
            self.written_at = Instant::now();
            if let Err(error) = self.replica.write_notes() {
                tracing::debug!(%error, "what the relay acknowledged is not noted yet; trying again");
            }
        }
    }

    /// Nothing is to be done just now.
    fn rest(&mut self) {
        if let Err(error) = self.replica.rest() {
            tracing::warn!(path = %self.replica.path().display(), %error, "the log was not copied into the file");
        }
    }

    /// Says how far the file is. `is_done`: whether nothing is left to do.
    fn publish(&mut self, is_done: bool) {
        let held = if is_done { self.replica.held() } else { self.replica.captured() };
        if let Ok(held) = held {
            let progress = (self.replica.id(), held);
            self.progress.send_if_modified(|known| {
                let grown = *known != progress;
                *known = progress;
                grown
            });
        }
    }
}
