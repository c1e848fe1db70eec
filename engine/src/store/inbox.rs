//! `_driftless_inbox`: changesets that came too early. `_driftless_snapshot`: a snapshot that is still coming in.

use bytes::Bytes;
use driftless_protocol::{Changeset, Part, ReplicaId, Seq, SnapshotPart};
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::outbox::part_number;
use crate::error::{Doing, Error, InTable, Result};

/// Keeps a changeset. Keeping it twice changes nothing.
pub(crate) fn keep(tx: &Transaction<'_>, changeset: &Changeset) -> Result<()> {
    let header = &changeset.header;
    tx.prepare_cached(
        "INSERT OR IGNORE INTO _driftless_inbox (replica, seq, part, changeset) VALUES (?1, ?2, ?3, ?4)",
    )
    .and_then(|mut statement| {
        statement.execute((
            header.replica.as_bytes(),
            header.seq.get() as i64,
            part_number(header.part),
            &changeset.bytes()[..],
        ))
    })
    .doing("writing the inbox")?;
    Ok(())
}

/// Whether nothing waits.
pub(crate) fn is_empty(connection: &Connection) -> Result<bool> {
    connection
        .prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM _driftless_inbox)")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .doing("reading the inbox")
}

/// How many changesets wait.
pub(crate) fn len(connection: &Connection) -> Result<u64> {
    connection
        .query_row("SELECT count(*) FROM _driftless_inbox", [], |row| row.get::<_, i64>(0))
        .map(|count| count as u64)
        .doing("reading the inbox")
}

/// What waits, without the bodies: (replica, seq, part), by replica and seq.
pub(crate) fn list(connection: &Connection) -> Result<Vec<(ReplicaId, Seq, Part)>> {
    let doing = "reading the inbox";
    let mut statement = connection
        .prepare_cached("SELECT replica, seq, part FROM _driftless_inbox ORDER BY replica, seq")
        .doing(doing)?;
    let mut rows = statement.query([]).doing(doing)?;
    let mut list = Vec::new();
    while let Some(row) = rows.next().doing(doing)? {
        let replica = ReplicaId::from_slice(row.get_ref(0).doing(doing)?.as_blob().unwrap_or_default());
        let replica = replica.in_table("_driftless_inbox")?;
        let seq: i64 = row.get(1).doing(doing)?;
        let part = match row.get::<_, i64>(2).doing(doing)? {
            0 => Part::Whole,
            1 => Part::More,
            _ => Part::Last,
        };
        let seq = Seq::new(seq as u64)
            .ok_or_else(|| Error::Damaged { table: "_driftless_inbox", what: "seq 0".into() })?;
        list.push((replica, seq, part));
    }
    Ok(list)
}

/// One of those that wait.
pub(crate) fn get(connection: &Connection, replica: ReplicaId, seq: Seq) -> Result<Option<Changeset>> {
    let frame: Option<Vec<u8>> = connection
        .prepare_cached("SELECT changeset FROM _driftless_inbox WHERE replica = ?1 AND seq = ?2")
        .and_then(|mut statement| {
            statement.query_row((replica.as_bytes(), seq.get() as i64), |row| row.get(0)).optional()
        })
        .doing("reading the inbox")?;
    let damaged = |error: driftless_protocol::FrameError| Error::Damaged {
        table: "_driftless_inbox",
        what: error.to_string(),
    };
    frame.map(|frame| Changeset::from_bytes(Bytes::from(frame)).map_err(damaged)).transpose()
}

/// Forgets one changeset.
pub(crate) fn forget_one(tx: &Transaction<'_>, replica: ReplicaId, seq: Seq) -> Result<()> {
    tx.prepare_cached("DELETE FROM _driftless_inbox WHERE replica = ?1 AND seq = ?2")
        .and_then(|mut statement| statement.execute((replica.as_bytes(), seq.get() as i64)))
        .doing("emptying the inbox")?;
    Ok(())
}

/// Forgets everything of `replica` up to `seq`.
pub(crate) fn forget(tx: &Transaction<'_>, replica: ReplicaId, seq: u64) -> Result<()> {
    tx.prepare_cached("DELETE FROM _driftless_inbox WHERE replica = ?1 AND seq <= ?2")
        .and_then(|mut statement| statement.execute((replica.as_bytes(), seq as i64)))
        .doing("emptying the inbox")?;
    Ok(())
}

/// Keeps a part of a snapshot.
pub(crate) fn keep_part(tx: &Transaction<'_>, part: &SnapshotPart) -> Result<()> {
    let header = &part.header;
    tx.prepare_cached(
        "INSERT OR REPLACE INTO _driftless_snapshot (snapshot, idx, last, part) VALUES (?1, ?2, ?3, ?4)",
    )
    .and_then(|mut statement| {
        statement.execute((header.snapshot, header.index, header.last, &part.bytes()[..]))
    })
    .doing("keeping a part of a snapshot")?;
    Ok(())
}

/// A snapshot of which all parts are here, and the index of its last part.
pub(crate) fn complete_snapshot(connection: &Connection) -> Result<Option<([u8; 16], u32)>> {
    connection
        .prepare_cached(
            "SELECT s.snapshot, s.idx FROM _driftless_snapshot s WHERE s.last AND s.idx + 1 =
             (SELECT count(*) FROM _driftless_snapshot p WHERE p.snapshot = s.snapshot) LIMIT 1",
        )
        .and_then(|mut statement| statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional())
        .doing("reading a snapshot")
}

/// One part of a snapshot.
pub(crate) fn part(connection: &Connection, snapshot: &[u8; 16], index: u32) -> Result<Option<SnapshotPart>> {
    let frame: Option<Vec<u8>> = connection
        .prepare_cached("SELECT part FROM _driftless_snapshot WHERE snapshot = ?1 AND idx = ?2")
        .and_then(|mut statement| statement.query_row((snapshot, index), |row| row.get(0)).optional())
        .doing("reading a snapshot")?;
    Ok(frame.map(|frame| SnapshotPart::from_bytes(Bytes::from(frame))).transpose()?)
}

/// Forgets one snapshot: it is applied.
pub(crate) fn forget_snapshot(tx: &Transaction<'_>, snapshot: &[u8; 16]) -> Result<()> {
    tx.execute("DELETE FROM _driftless_snapshot WHERE snapshot = ?1", [snapshot])
        .doing("forgetting a snapshot")?;
    Ok(())
}

/// Forgets every part of every snapshot: a new connection begins anew.
pub(crate) fn forget_snapshots(tx: &Transaction<'_>) -> Result<()> {
    tx.execute("DELETE FROM _driftless_snapshot", []).doing("forgetting a snapshot")?;
    Ok(())
}
