//! Reading the log: plain functions over a read transaction.

use std::sync::Arc;

use driftless_protocol::changeset::Checksum;
use driftless_protocol::message::{self, Head};
use driftless_protocol::{ReplicaId, Seq, SpaceName, StateVector};
use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use crate::log::{Entry, Item, LogError, Page, Parts, SnapshotRef, Start};

/// How many changesets one read looks at, so that skipping many never holds the thread for long.
const LOOKED_AT: usize = 20_000;

/// A number as SQLite holds it. Nothing stored is as large as the greatest: comparisons stay true. Seqs end below it, see
/// [`Seq::MAX`].
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn damaged(column: usize, what: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Null, what.into())
}

pub(super) fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| damaged(column, "a negative number"))
}

pub(super) fn seq(row: &Row<'_>, column: usize) -> rusqlite::Result<Seq> {
    Seq::new(number(row, column)?).ok_or_else(|| damaged(column, "not a seq"))
}

pub(super) fn replica(row: &Row<'_>, column: usize) -> rusqlite::Result<ReplicaId> {
    let bytes = row.get_ref(column)?.as_blob()?;
    ReplicaId::from_slice(bytes).map_err(|_| damaged(column, "not a replica id"))
}

/// The key of a space.
pub(super) fn space(tx: &Transaction<'_>, name: &SpaceName) -> Result<i64, LogError> {
    tx.prepare_cached("SELECT id FROM space WHERE name = ?1")?
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?
        .ok_or_else(|| LogError::NoSuchSpace(name.clone()))
}

pub(super) fn heads(tx: &Transaction<'_>, space: i64) -> Result<StateVector, LogError> {
    let mut query = tx.prepare_cached("SELECT replica, seq FROM head WHERE space = ?1")?;
    let heads = query.query_map([space], |row| Ok((replica(row, 0)?, seq(row, 1)?)))?;
    Ok(heads.collect::<Result<_, _>>()?)
}

pub(super) fn head(tx: &Transaction<'_>, space: i64, replica: ReplicaId) -> Result<Option<Head>, LogError> {
    let head = tx
        .prepare_cached(
            "SELECT head.seq, log.checksum FROM head
             LEFT JOIN log ON log.space = head.space AND log.replica = head.replica AND log.seq = head.seq
             WHERE head.space = ?1 AND head.replica = ?2",
        )?
        .query_row(params![space, replica.as_bytes()], |row| {
            Ok(Head { seq: seq(row, 0)?, checksum: row.get::<_, Option<Checksum>>(1)? })
        })
        .optional()?;
    Ok(head)
}

/// The greatest offset of the space; 0 for none.
pub(super) fn last(tx: &Transaction<'_>, space: i64) -> Result<u64, LogError> {
    let last = tx
        .prepare_cached(
            "SELECT max(ifnull((SELECT max(offset) FROM log      WHERE space = ?1), 0),
                        ifnull((SELECT max(offset) FROM snapshot WHERE space = ?1), 0))",
        )?
        .query_row([space], |row| number(row, 0))?;
    Ok(last)
}

fn snapshot(tx: &Transaction<'_>, key: u64) -> Result<SnapshotRef, LogError> {
    let mut query = tx.prepare_cached("SELECT replica, seq FROM snapshot_vector WHERE snapshot = ?1")?;
    let vector = query.query_map([int(key)], |row| Ok((replica(row, 0)?, seq(row, 1)?)))?;
    Ok(SnapshotRef { key, vector: Arc::new(vector.collect::<Result<_, _>>()?) })
}

/// Active snapshots that became active between two offsets, oldest first.
fn snapshots(tx: &Transaction<'_>, space: i64, after: u64, to: u64) -> Result<Vec<Item>, LogError> {
    let mut query = tx.prepare_cached(
        "SELECT offset, id FROM snapshot WHERE space = ?1 AND offset > ?2 AND offset <= ?3 ORDER BY offset",
    )?;
    let found = query
        .query_map(params![space, int(after), int(to)], |row| Ok((number(row, 0)?, number(row, 1)?)))?
        .collect::<Result<Vec<_>, _>>()?;
    found
        .into_iter()
        .map(|(offset, key)| Ok(Item::Snapshot { offset, snapshot: snapshot(tx, key)? }))
        .collect()
}

pub(super) fn start(tx: &Transaction<'_>, space: i64, have: &StateVector) -> Result<Start, LogError> {
    let last = last(tx, space)?;
    let mut lacks_snapshots = false;
    let mut after = last;
    let mut heads = tx.prepare_cached("SELECT replica, seq, log_from FROM head WHERE space = ?1")?;
    let mut first = tx.prepare_cached(
        "SELECT offset FROM log WHERE space = ?1 AND replica = ?2 AND seq >= ?3 ORDER BY seq LIMIT 1",
    )?;
    let mut rows = heads.query([space])?;
    while let Some(row) = rows.next()? {
        let (replica, head, log_from) = (replica(row, 0)?, number(row, 1)?, number(row, 2)?);
        let next = have.get(replica).saturating_add(1);
        lacks_snapshots |= next < log_from;
        if next <= head {
            let first = first
                .query_row(params![space, replica.as_bytes(), int(next.max(log_from))], |row| number(row, 0))
                .optional()?;
            after = after.min(first.map_or(after, |offset| offset.saturating_sub(1)));
        }
    }
    let mut needed = Vec::new();
    if lacks_snapshots {
        for item in snapshots(tx, space, 0, last)? {
            match item {
                Item::Snapshot { snapshot, .. } if !have.covers(&snapshot.vector) => needed.push(snapshot),
                _ => {}
            }
        }
    }
    Ok(Start { snapshots: needed, after })
}

pub(super) fn page(
    tx: &Transaction<'_>,
    space: i64,
    after: u64,
    have: &StateVector,
    limit: usize,
) -> Result<Page, LogError> {
    // Answered from the index alone; the bytes are fetched one by one for what the reader lacks.
    let mut index = tx.prepare_cached(
        "SELECT offset, replica, seq FROM log WHERE space = ?1 AND offset > ?2 ORDER BY offset",
    )?;
    let mut fetch = tx.prepare_cached("SELECT bytes FROM log WHERE offset = ?1")?;
    let mut items = Vec::new();
    let (mut size, mut looked_at, mut to) = (0, 0, after);
    let mut rows = index.query(params![space, int(after)])?;
    let mut ended = true;
    while let Some(row) = rows.next()? {
        if (size >= limit && !items.is_empty()) || looked_at == LOOKED_AT {
            ended = false;
            break;
        }
        let (offset, replica, seq) = (number(row, 0)?, replica(row, 1)?, seq(row, 2)?);
        (looked_at, to) = (looked_at + 1, offset);
        if seq.get() <= have.get(replica) {
            continue;
        }
        let frame =
            fetch.query_row([int(offset)], |row| Ok(message::changeset_frame(row.get_ref(0)?.as_blob()?)))?;
        let item = Item::Changeset(Entry { offset, replica, seq, frame });
        size += item.size();
        items.push(item);
    }
    if ended {
        to = last(tx, space)?.max(after);
    }
    let snapshots = snapshots(tx, space, after, to)?;
    if !snapshots.is_empty() {
        items.extend(snapshots);
        items.sort_by_key(Item::offset);
    }
    Ok(Page { items, after: to })
}

pub(super) fn parts(
    tx: &Transaction<'_>,
    space: i64,
    key: u64,
    from: u32,
    limit: usize,
) -> Result<Option<Parts>, LogError> {
    let stored: Option<i64> = tx
        .prepare_cached("SELECT parts FROM snapshot WHERE id = ?1 AND space = ?2 AND offset IS NOT NULL")?
        .query_row(params![int(key), space], |row| row.get(0))
        .optional()?;
    let Some(stored) = stored else { return Ok(None) };
    let mut query = tx
        .prepare_cached("SELECT bytes FROM snapshot_part WHERE snapshot = ?1 AND part >= ?2 ORDER BY part")?;
    let mut rows = query.query(params![int(key), from])?;
    let mut parts = Parts { frames: Vec::new(), last: false };
    let mut size = 0;
    while let Some(row) = rows.next()? {
        if size >= limit && !parts.frames.is_empty() {
            return Ok(Some(parts));
        }
        let frame = message::snapshot_part_frame(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?);
        size += frame.len();
        parts.frames.push(frame);
    }
    if i64::from(from) + parts.frames.len() as i64 != stored {
        return Err(damaged(0, "a snapshot lacks some of its parts").into());
    }
    parts.last = true;
    Ok(Some(parts))
}
