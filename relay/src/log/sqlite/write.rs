//! Writing the log: the thread that owns the writing connection, and group commit.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use driftless_protocol::{Changeset, SnapshotPart, SpaceId, SpaceName, StateVector};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot, watch};

use super::file::Identity;
use super::read;
use crate::log::{Appended, LogError, UploadId, UploadLimits};

/// How many bytes one transaction takes in before it commits. More share an fsync, but wait longer for it.
const BATCH_BYTES: usize = 32 << 20;
/// How many requests one transaction takes in.
const BATCH_REQUESTS: usize = 4096;

type Reply<T> = oneshot::Sender<Result<T, LogError>>;

/// What the writing thread is asked: the methods of `LogStore` that change something, or must not overtake a change.
pub(super) enum Request {
    Open { space: SpaceName, known: Option<SpaceId>, propose: Option<SpaceId>, reply: Reply<SpaceId> },
    Append { space: SpaceName, changesets: Vec<Changeset>, reply: Reply<Appended> },
    PutSnapshot { space: SpaceName, upload: UploadId, part: SnapshotPart, reply: Reply<bool> },
    EndUpload { upload: UploadId, reply: Reply<()> },
    Subscribe { space: SpaceName, reply: Reply<watch::Receiver<u64>> },
    Ready { reply: Reply<()> },
    Stop,
}

impl Request {
    fn size(&self) -> usize {
        match self {
            Self::Append { changesets, .. } => changesets.iter().map(|c| c.bytes().len()).sum(),
            Self::PutSnapshot { part, .. } => part.bytes().len(),
            _ => 0,
        }
    }
}

/// Sends an answer once the transaction has ended, with how it ended.
type Finish = Box<dyn FnOnce(Result<(), LogError>)>;

fn finish<T: 'static>(reply: Reply<T>, answer: Result<T, LogError>) -> Finish {
    Box::new(move |committed| {
        // Whoever asked may be gone; what was asked is stored all the same.
        let _gone = reply.send(committed.and(answer));
    })
}

/// The writing thread's state.
pub(super) struct Writer {
    db: Connection,
    identity: Identity,
    limits: UploadLimits,
    killed: Arc<AtomicBool>,
    /// The last offset given out. After a rollback some stay unused, which harms nobody.
    offset: u64,
    grown: HashMap<SpaceName, watch::Sender<u64>>,
}

/// What one transaction has done so far.
#[derive(Default)]
struct Batch {
    finish: Vec<Finish>,
    /// Spaces that grew, and up to where: told after the commit.
    grown: HashMap<SpaceName, u64>,
}

impl Writer {
    pub(super) fn new(
        db: Connection,
        identity: Identity,
        limits: UploadLimits,
        killed: Arc<AtomicBool>,
    ) -> Self {
        Self { db, identity, limits, killed, offset: 0, grown: HashMap::new() }
    }

    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            let mut batch = Vec::new();
            let (mut size, mut stop) = (0, false);
            let mut next = Some(first);
            while let Some(request) = next {
                if matches!(request, Request::Stop) {
                    stop = true;
                    break;
                }
                size += request.size();
                batch.push(request);
                let full = size >= BATCH_BYTES || batch.len() >= BATCH_REQUESTS;
                next = if full { None } else { requests.try_recv().ok() };
            }
            if self.killed.load(Ordering::Acquire) {
                return;
            }
            self.commit(batch);
            if stop {
                return;
            }
        }
    }

    /// Runs the requests in one transaction and answers them. If the disk fails, all of them fail.
    fn commit(&mut self, requests: Vec<Request>) {
        let mut batch = Batch::default();
        let outcome = self.transaction(requests, &mut batch);
        match &outcome {
            Ok(()) => {
                for (space, offset) in batch.grown {
                    if self.grown.get(&space).is_some_and(|grown| grown.send(offset).is_err()) {
                        self.grown.remove(&space);
                    }
                }
            }
            Err(error) => {
                tracing::error!(path = %self.identity.path().display(), error = %detail(error), "storing failed; nothing of it is acknowledged")
            }
        }
        for finish in batch.finish {
            finish(outcome.clone());
        }
    }

    fn transaction(&mut self, requests: Vec<Request>, batch: &mut Batch) -> Result<(), LogError> {
        let Self { db, identity, limits, offset, grown, .. } = self;
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate);
        let mut failed = None;
        let mut tx = match tx {
            Ok(tx) => Some(tx),
            Err(error) => {
                failed = Some(LogError::from(error));
                None
            }
        };
        if let Some(tx) = &tx
            && *offset == 0
        {
            match last_offset(tx) {
                Ok(last) => *offset = last,
                Err(error) => failed = Some(error),
            }
        }
        let mut work = Work { limits: *limits, offset, touched: &mut batch.grown };
        for request in requests {
            let failure = failed.clone();
            let tx = tx.as_ref().filter(|_| failure.is_none());
            let answered = |error: LogError, failed: &mut Option<LogError>| {
                if error.is_failure() && failed.is_none() {
                    *failed = Some(error);
                }
            };
            // Without a transaction the answer is its failure, which `finish` puts before this one.
            macro_rules! run {
                ($reply:expr, $work:expr) => {{
                    let answer = match tx {
                        Some(tx) => $work(tx),
                        None => Err(LogError::Closed),
                    };
                    if let Err(error) = &answer {
                        answered(error.clone(), &mut failed);
                    }
                    batch.finish.push(finish($reply, answer));
                }};
            }
            match request {
                Request::Open { space, known, propose, reply } => {
                    run!(reply, |tx| open(tx, &space, known, propose));
                }
                Request::Append { space, changesets, reply } => {
                    run!(reply, |tx| work.append(tx, &space, &changesets));
                }
                Request::PutSnapshot { space, upload, part, reply } => {
                    run!(reply, |tx| work.put(tx, &space, upload, &part));
                }
                Request::EndUpload { upload, reply } => run!(reply, |tx| drop_upload(tx, upload)),
                Request::Subscribe { space, reply } => run!(reply, |tx| subscribe(tx, grown, &space)),
                Request::Ready { reply } => run!(reply, |_: &Transaction<'_>| Ok(())),
                Request::Stop => {}
            }
        }
        let Some(tx) = tx.take().filter(|_| failed.is_none()) else {
            // Dropping the transaction rolled it back.
            return Err(failed.unwrap_or(LogError::Closed));
        };
        tx.commit()?;
        if identity.stands() { Ok(()) } else { Err(LogError::FileGone) }
    }
}

/// The error with its causes, in one line.
fn detail(error: &LogError) -> String {
    match error {
        LogError::Storage(source) => format!("{error}: {source}"),
        other => other.to_string(),
    }
}

fn last_offset(tx: &Transaction<'_>) -> Result<u64, LogError> {
    let last = tx.query_row(
        "SELECT max(ifnull((SELECT max(offset) FROM log), 0), ifnull((SELECT max(offset) FROM snapshot), 0))",
        [],
        |row| read::number(row, 0),
    )?;
    Ok(last)
}

fn open(
    tx: &Transaction<'_>,
    name: &SpaceName,
    known: Option<SpaceId>,
    propose: Option<SpaceId>,
) -> Result<SpaceId, LogError> {
    let stored: Option<[u8; 16]> = tx
        .prepare_cached("SELECT uuid FROM space WHERE name = ?1")?
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?;
    if let Some(stored) = stored {
        let stored = SpaceId::from_bytes(stored)
            .map_err(|_| rusqlite::Error::InvalidColumnType(0, "uuid".into(), rusqlite::types::Type::Blob))?;
        return match known {
            Some(known) if known != stored => Err(LogError::WrongSpace {
                space: name.clone(),
                stored,
                known,
                known_as: name_of(tx, known)?,
            }),
            _ => Ok(stored),
        };
    }
    if let Some(known) = known
        && let Some(known_as) = name_of(tx, known)?
    {
        return Err(LogError::OtherName { space: name.clone(), known_as });
    }
    let id = known.or(propose).ok_or_else(|| LogError::NoSuchSpace(name.clone()))?;
    tx.prepare_cached("INSERT INTO space (name, uuid) VALUES (?1, ?2)")?
        .execute(params![name.as_str(), id.as_bytes()])?;
    Ok(id)
}

/// The name of the space that has an id, the oldest if several have it.
fn name_of(tx: &Transaction<'_>, id: SpaceId) -> Result<Option<SpaceName>, LogError> {
    let name: Option<String> = tx
        .prepare_cached("SELECT name FROM space WHERE uuid = ?1 ORDER BY id LIMIT 1")?
        .query_row([id.as_bytes()], |row| row.get(0))
        .optional()?;
    Ok(name.and_then(|name| name.parse().ok()))
}

fn subscribe(
    tx: &Transaction<'_>,
    grown: &mut HashMap<SpaceName, watch::Sender<u64>>,
    name: &SpaceName,
) -> Result<watch::Receiver<u64>, LogError> {
    let space = read::space(tx, name)?;
    if let Some(sender) = grown.get(name).filter(|sender| sender.receiver_count() > 0) {
        return Ok(sender.subscribe());
    }
    // Includes what this very transaction stored. Should it fail, the offset is merely never reached; whoever
    // waits for it reads a little in vain.
    let (sender, receiver) = watch::channel(read::last(tx, space)?);
    grown.retain(|_, sender| sender.receiver_count() > 0);
    grown.insert(name.clone(), sender);
    Ok(receiver)
}

fn drop_upload(tx: &Transaction<'_>, upload: UploadId) -> Result<(), LogError> {
    let snapshot: Option<i64> = tx
        .prepare_cached("SELECT id FROM snapshot WHERE upload = ?1")?
        .query_row([read::int(upload.0)], |row| row.get(0))
        .optional()?;
    snapshot.map_or(Ok(()), |snapshot| drop_snapshot(tx, snapshot))
}

fn drop_snapshot(tx: &Transaction<'_>, snapshot: i64) -> Result<(), LogError> {
    for delete in [
        "DELETE FROM snapshot_part WHERE snapshot = ?1",
        "DELETE FROM snapshot_vector WHERE snapshot = ?1",
        "DELETE FROM snapshot WHERE id = ?1",
    ] {
        tx.prepare_cached(delete)?.execute([snapshot])?;
    }
    Ok(())
}

/// Offsets, limits, and what grew: what the requests of one transaction share.
struct Work<'a> {
    limits: UploadLimits,
    offset: &'a mut u64,
    touched: &'a mut HashMap<SpaceName, u64>,
}

impl Work<'_> {
    fn next_offset(&mut self) -> u64 {
        *self.offset += 1;
        *self.offset
    }

    fn append(
        &mut self,
        tx: &Transaction<'_>,
        name: &SpaceName,
        changesets: &[Changeset],
    ) -> Result<Appended, LogError> {
        let space = read::space(tx, name)?;
        for (stored, changeset) in changesets.iter().enumerate() {
            match self.append_one(tx, name, space, changeset) {
                Ok(()) => {}
                Err(refused) if !refused.is_failure() => {
                    return Ok(Appended { stored, refused: Some(refused) });
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(Appended { stored: changesets.len(), refused: None })
    }

    fn append_one(
        &mut self,
        tx: &Transaction<'_>,
        name: &SpaceName,
        space: i64,
        changeset: &Changeset,
    ) -> Result<(), LogError> {
        let (replica, seq) = (changeset.header.replica, changeset.header.seq);
        let held = tx
            .prepare_cached("SELECT seq FROM head WHERE space = ?1 AND replica = ?2")?
            .query_row(params![space, replica.as_bytes()], |row| read::number(row, 0))
            .optional()?
            .unwrap_or(0);
        if seq.get() <= held {
            let stored: Option<[u8; 16]> = tx
                .prepare_cached("SELECT checksum FROM log WHERE space = ?1 AND replica = ?2 AND seq = ?3")?
                .query_row(params![space, replica.as_bytes(), read::int(seq.get())], |row| row.get(0))
                .optional()?;
            return match stored {
                Some(checksum) if checksum != changeset.checksum() => Err(LogError::Forked { replica, seq }),
                _ => Ok(()),
            };
        }
        if seq.get() != held + 1 {
            return Err(LogError::Gap { replica, held, got: seq });
        }
        let number = read::int(seq.get());
        let offset = self.next_offset();
        tx.prepare_cached(
            "INSERT INTO log (offset, space, replica, seq, checksum, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            read::int(offset),
            space,
            replica.as_bytes(),
            number,
            changeset.checksum(),
            &changeset.bytes()[..]
        ])?;
        tx.prepare_cached(
            "INSERT INTO head (space, replica, seq, log_from) VALUES (?1, ?2, ?3, ?3)
             ON CONFLICT DO UPDATE SET seq = excluded.seq",
        )?
        .execute(params![space, replica.as_bytes(), number])?;
        let bytes = changeset.bytes().len();
        tracing::debug!(space = %name, replica = replica.short(), seq = number, bytes, "storing");
        self.touched.insert(name.clone(), offset);
        Ok(())
    }

    fn put(
        &mut self,
        tx: &Transaction<'_>,
        name: &SpaceName,
        upload: UploadId,
        part: &SnapshotPart,
    ) -> Result<bool, LogError> {
        let answer = self.put_part(tx, name, upload, part);
        if answer.as_ref().is_err_and(|refused| !refused.is_failure()) {
            drop_upload(tx, upload)?;
        }
        answer
    }

    fn put_part(
        &mut self,
        tx: &Transaction<'_>,
        name: &SpaceName,
        upload: UploadId,
        part: &SnapshotPart,
    ) -> Result<bool, LogError> {
        let header = &part.header;
        let space = read::space(tx, name)?;
        if header.index == 0 {
            drop_upload(tx, upload)?;
            begin_upload(tx, space, upload, part)?;
        }
        let begun = tx
            .prepare_cached(
                "SELECT id, parts, bytes FROM snapshot WHERE upload = ?1 AND space = ?2 AND uuid = ?3",
            )?
            .query_row(params![read::int(upload.0), space, header.snapshot], |row| {
                Ok((row.get::<_, i64>(0)?, read::number(row, 1)?, read::number(row, 2)?))
            })
            .optional()?;
        let Some((snapshot, parts, bytes)) = begun else {
            return Err(LogError::Snapshot("a part of a snapshot that was not begun"));
        };
        if parts != u64::from(header.index) || vector(tx, snapshot)? != header.vector {
            return Err(LogError::Snapshot("a part of a snapshot that does not follow the one before"));
        }
        let size = part.bytes().len() as u64;
        if bytes + size > self.limits.snapshot {
            return Err(LogError::SnapshotTooLarge { limit: self.limits.snapshot });
        }
        let unfinished = tx
            .prepare_cached("SELECT ifnull(sum(bytes), 0) FROM snapshot WHERE upload IS NOT NULL")?
            .query_row([], |row| read::number(row, 0))?;
        if unfinished + size > self.limits.unfinished {
            return Err(LogError::UploadsFull);
        }
        tx.prepare_cached("INSERT INTO snapshot_part (snapshot, part, bytes) VALUES (?1, ?2, ?3)")?
            .execute(params![snapshot, header.index, &part.bytes()[..]])?;
        tx.prepare_cached("UPDATE snapshot SET parts = parts + 1, bytes = bytes + ?2 WHERE id = ?1")?
            .execute(params![snapshot, read::int(size)])?;
        if header.last {
            self.activate(tx, name, space, snapshot, &header.vector)?;
        }
        Ok(header.last)
    }

    fn activate(
        &mut self,
        tx: &Transaction<'_>,
        name: &SpaceName,
        space: i64,
        snapshot: i64,
        counted: &StateVector,
    ) -> Result<(), LogError> {
        if read::heads(tx, space)?.covers(counted) {
            return drop_snapshot(tx, snapshot);
        }
        let mut query =
            tx.prepare_cached("SELECT id FROM snapshot WHERE space = ?1 AND offset IS NOT NULL")?;
        let older = query.query_map([space], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
        for older in older {
            if counted.covers(&vector(tx, older)?) {
                drop_snapshot(tx, older)?;
            }
        }
        let mut raise = tx.prepare_cached(
            "INSERT INTO head (space, replica, seq, log_from) VALUES (?1, ?2, ?3, ?3 + 1)
             ON CONFLICT DO UPDATE SET seq = excluded.seq, log_from = excluded.log_from WHERE seq < excluded.seq",
        )?;
        for (replica, seq) in counted.iter() {
            raise.execute(params![space, replica.as_bytes(), read::int(seq.get())])?;
        }
        let offset = self.next_offset();
        tx.prepare_cached("UPDATE snapshot SET offset = ?2, upload = NULL WHERE id = ?1")?
            .execute(params![snapshot, read::int(offset)])?;
        self.touched.insert(name.clone(), offset);
        Ok(())
    }
}

fn begin_upload(
    tx: &Transaction<'_>,
    space: i64,
    upload: UploadId,
    part: &SnapshotPart,
) -> Result<(), LogError> {
    tx.prepare_cached("INSERT INTO snapshot (space, uuid, upload, parts, bytes) VALUES (?1, ?2, ?3, 0, 0)")?
        .execute(params![space, part.header.snapshot, read::int(upload.0)])?;
    let snapshot = tx.last_insert_rowid();
    let mut insert =
        tx.prepare_cached("INSERT INTO snapshot_vector (snapshot, replica, seq) VALUES (?1, ?2, ?3)")?;
    for (replica, seq) in part.header.vector.iter() {
        insert.execute(params![snapshot, replica.as_bytes(), read::int(seq.get())])?;
    }
    Ok(())
}

fn vector(tx: &Transaction<'_>, snapshot: i64) -> Result<StateVector, LogError> {
    let mut query = tx.prepare_cached("SELECT replica, seq FROM snapshot_vector WHERE snapshot = ?1")?;
    let vector = query.query_map([snapshot], |row| Ok((read::replica(row, 0)?, read::seq(row, 1)?)))?;
    Ok(vector.collect::<Result<_, _>>()?)
}
