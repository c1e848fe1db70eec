//! The default store: one SQLite file, `relay.db`, in the data folder.
//!
//! Two threads. `relay-log-write` owns the only writing connection: it takes every request that waits, up to a
//! bound, into one IMMEDIATE transaction, commits it (WAL, `synchronous=FULL`: the commit is an fsync), and only
//! then answers. So under load many connections share an fsync, and alone nobody waits for company.
//! `relay-log-read` owns a read-only connection, so that a newcomer's long reading never delays a commit; a read
//! that begins after an answer sees what was answered.
//!
//! Both take requests over channels of 1,024 requests; whoever finds one full waits. A connection has at
//! most one write and one read under way, so what waits is bounded by their limits.

mod file;
mod read;
mod write;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use driftless_protocol::message::Head;
use driftless_protocol::{Changeset, ReplicaId, SnapshotPart, SpaceId, SpaceName, StateVector};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rusqlite::{Connection, Transaction};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Answer, Appended, LogError, LogStore, Page, Parts, Start, UploadId, UploadLimits};
use crate::error::Error;

/// How many requests may wait for each thread.
const WAITING: usize = 1024;

/// The log in one SQLite file. See the [module](self).
pub struct SqliteStore {
    folder: PathBuf,
    write: mpsc::Sender<write::Request>,
    read: mpsc::Sender<ReadRequest>,
    killed: Arc<AtomicBool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Reads in a transaction, if there is one, and answers.
type ReadWork = dyn FnOnce(Result<&Transaction<'_>, LogError>) + Send;

/// What the reading thread is asked.
enum ReadRequest {
    Run(Box<ReadWork>),
    Stop,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the log in `folder`, or makes it, and holds the folder's lock until the store is closed or dropped.
    ///
    /// Fails with [`Error::Locked`] when another relay holds the folder, with [`Error::Foreign`],
    /// [`Error::Format`] or [`Error::Store`] when `relay.db` is not a log that can be used.
    pub fn open(folder: &Path, limits: UploadLimits) -> Result<Self, Error> {
        let file = file::LogFile::open(folder)?;
        let killed = Arc::new(AtomicBool::new(false));
        let (write, requests) = mpsc::channel(WAITING);
        let writer = write::Writer::new(file.writer, file.identity, limits, Arc::clone(&killed));
        let lock = file.lock;
        let write_thread = spawn("relay-log-write", folder, move || {
            writer.run(requests);
            // Let go only now: the file is closed, another relay may have it.
            drop(lock);
        })?;
        let (read, requests) = mpsc::channel(WAITING);
        let reader = file.reader;
        let flag = Arc::clone(&killed);
        let read_thread = spawn("relay-log-read", folder, move || run_reader(reader, requests, &flag))?;
        // The reader ends first, so that the writer, closing last, folds the write-ahead log into the file.
        let threads = Mutex::new(vec![read_thread, write_thread]);
        Ok(Self { folder: folder.to_owned(), write, read, killed, threads })
    }

    fn write<T: Send + 'static>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, LogError>>) -> write::Request,
    ) -> Answer<'_, T> {
        let (reply, answer) = oneshot::channel();
        let request = request(reply);
        async move {
            self.write.send(request).await.map_err(|_| LogError::Closed)?;
            answer.await.unwrap_or(Err(LogError::Closed))
        }
        .boxed()
    }

    fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, LogError> + Send + 'static,
    ) -> Answer<'_, T> {
        let (reply, answer) = oneshot::channel();
        let run = move |tx: Result<&Transaction<'_>, LogError>| {
            let _gone = reply.send(tx.and_then(work));
        };
        async move {
            self.read.send(ReadRequest::Run(Box::new(run))).await.map_err(|_| LogError::Closed)?;
            answer.await.unwrap_or(Err(LogError::Closed))
        }
        .boxed()
    }

    fn read_space<T: Send + 'static>(
        &self,
        space: &SpaceName,
        work: impl FnOnce(&Transaction<'_>, i64) -> Result<T, LogError> + Send + 'static,
    ) -> Answer<'_, T> {
        let space = space.clone();
        self.read(move |tx| work(tx, read::space(tx, &space)?))
    }

    fn join(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the log ended by a panic");
            }
        }
    }
}

fn spawn(name: &str, folder: &Path, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|source| Error::Folder { path: folder.to_owned(), source })
}

fn run_reader(mut connection: Connection, mut requests: mpsc::Receiver<ReadRequest>, killed: &AtomicBool) {
    while let Some(ReadRequest::Run(run)) = requests.blocking_recv() {
        if killed.load(Ordering::Acquire) {
            return;
        }
        match connection.transaction() {
            Ok(tx) => run(Ok(&tx)),
            Err(error) => run(Err(error.into())),
        }
    }
}

impl LogStore for SqliteStore {
    fn open(
        &self,
        space: &SpaceName,
        known: Option<SpaceId>,
        propose: Option<SpaceId>,
    ) -> Answer<'_, SpaceId> {
        let space = space.clone();
        self.write(|reply| write::Request::Open { space, known, propose, reply })
    }

    fn append(&self, space: &SpaceName, changesets: Vec<Changeset>) -> Answer<'_, Appended> {
        let space = space.clone();
        self.write(|reply| write::Request::Append { space, changesets, reply })
    }

    fn heads(&self, space: &SpaceName) -> Answer<'_, StateVector> {
        self.read_space(space, read::heads)
    }

    fn head(&self, space: &SpaceName, replica: ReplicaId) -> Answer<'_, Option<Head>> {
        self.read_space(space, move |tx, space| read::head(tx, space, replica))
    }

    fn put_snapshot(&self, space: &SpaceName, upload: UploadId, part: SnapshotPart) -> Answer<'_, bool> {
        let space = space.clone();
        self.write(|reply| write::Request::PutSnapshot { space, upload, part, reply })
    }

    fn end_upload(&self, upload: UploadId) -> Answer<'_, ()> {
        self.write(|reply| write::Request::EndUpload { upload, reply })
    }

    fn start(&self, space: &SpaceName, have: StateVector) -> Answer<'_, Start> {
        self.read_space(space, move |tx, space| read::start(tx, space, &have))
    }

    fn read(&self, space: &SpaceName, after: u64, have: StateVector, limit: usize) -> Answer<'_, Page> {
        self.read_space(space, move |tx, space| read::page(tx, space, after, &have, limit))
    }

    fn parts(&self, space: &SpaceName, snapshot: u64, from: u32, limit: usize) -> Answer<'_, Option<Parts>> {
        self.read_space(space, move |tx, space| read::parts(tx, space, snapshot, from, limit))
    }

    fn subscribe(&self, space: &SpaceName) -> Answer<'_, watch::Receiver<u64>> {
        let space = space.clone();
        self.write(|reply| write::Request::Subscribe { space, reply })
    }

    fn ready(&self) -> Answer<'_, ()> {
        async move {
            self.write(|reply| write::Request::Ready { reply }).await?;
            self.read(|tx| Ok(tx.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?)).await
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            // Behind everything that waits already, so all of it is stored and answered first.
            let _ended = self.read.send(ReadRequest::Stop).await;
            let _ended = self.write.send(write::Request::Stop).await;
            self.read.closed().await;
            self.write.closed().await;
            self.join();
        }
        .boxed()
    }

    fn kill(&self) {
        self.killed.store(true, Ordering::Release);
        // Wakes threads that wait. A full channel wakes them by itself.
        let _full = self.read.try_send(ReadRequest::Stop);
        let _full = self.write.try_send(write::Request::Stop);
        self.join();
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.kill();
    }
}
