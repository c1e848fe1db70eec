//! `_driftless_inbox`: changesets that came too early. `_driftless_snapshot`: a snapshot that is still coming in.

use bytes::Bytes;
use driftless_protocol::{Changeset, Part, ReplicaId, Seq, SnapshotPart};
use rusqlite::{Connection, Transaction};

use super::outbox::part_number;
use super::sql::{self, Number};
use crate::error::{Doing, Error, InTable, Result};

const TABLE: &str = "_driftless_inbox";

/// Keeps a changeset. Keeping it twice changes nothing.
pub(crate) fn keep(tx: &Transaction<'_>, changeset: &Changeset) -> Result<()> {
    let header = &changeset.header;
    sql::exec(
        tx,
        "writing the inbox",
        "INSERT OR IGNORE INTO _driftless_inbox (replica, seq, part, changeset) VALUES (?1, ?2, ?3, ?4)",
        (
            header.replica.as_bytes(),
            Number(header.seq.get()),
            part_number(header.part),
            &changeset.bytes()[..],
        ),
    )?;
    Ok(())
}

/// Whether nothing waits.
pub(crate) fn is_empty(connection: &Connection) -> Result<bool> {
    Ok(!sql::exists(connection, "reading the inbox", "SELECT 1 FROM _driftless_inbox", [])?)
}

/// How many changesets wait.
pub(crate) fn len(connection: &Connection) -> Result<u64> {
    sql::one(connection, "reading the inbox", "SELECT count(*) FROM _driftless_inbox", [], sql::number)
}

/// What waits, without the bodies: (replica, seq, part), by replica and seq.
pub(crate) fn list(connection: &Connection) -> Result<Vec<(ReplicaId, Seq, Part)>> {
    let doing = "reading the inbox";
    let query = "SELECT replica, seq, part FROM _driftless_inbox ORDER BY replica, seq";
    let mut list = Vec::new();
    sql::each(connection, doing, query, [], |row| {
        let replica = ReplicaId::from_slice(sql::blob(row, 0).doing(doing)?).in_table(TABLE)?;
        let seq = sql::seq(row.get(1).doing(doing)?, TABLE)?
            .ok_or_else(|| Error::Damaged { table: TABLE, what: "seq 0".into() })?;
        let part = match row.get::<_, i64>(2).doing(doing)? {
            0 => Part::Whole,
            1 => Part::More,
            _ => Part::Last,
        };
        list.push((replica, seq, part));
        Ok(())
    })?;
    Ok(list)
}

/// One of those that wait.
pub(crate) fn get(connection: &Connection, replica: ReplicaId, seq: Seq) -> Result<Option<Changeset>> {
    let frame: Option<Vec<u8>> = sql::opt(
        connection,
        "reading the inbox",
        "SELECT changeset FROM _driftless_inbox WHERE replica = ?1 AND seq = ?2",
        (replica.as_bytes(), Number(seq.get())),
        sql::first,
    )?;
    let damaged =
        |error: driftless_protocol::FrameError| Error::Damaged { table: TABLE, what: error.to_string() };
    frame.map(|frame| Changeset::from_bytes(Bytes::from(frame)).map_err(damaged)).transpose()
}

/// Forgets one changeset.
pub(crate) fn forget_one(tx: &Transaction<'_>, replica: ReplicaId, seq: Seq) -> Result<()> {
    sql::exec(
        tx,
        "emptying the inbox",
        "DELETE FROM _driftless_inbox WHERE replica = ?1 AND seq = ?2",
        (replica.as_bytes(), Number(seq.get())),
    )?;
    Ok(())
}

/// A changeset as it is stored, right or not.
#[derive(Debug)]
pub(crate) struct Stored<'r> {
    pub(crate) id: i64,
    pub(crate) replica: &'r [u8],
    pub(crate) seq: i64,
    pub(crate) part: i64,
    pub(crate) frame: &'r [u8],
}

/// Shows everything that waits, as it is stored.
pub(crate) fn each_stored(
    connection: &Connection,
    mut see: impl FnMut(Stored<'_>) -> Result<()>,
) -> Result<()> {
    let doing = "verifying the inbox";
    let query = "SELECT id, replica, seq, part, changeset FROM _driftless_inbox";
    sql::each(connection, doing, query, [], |row| {
        see(Stored {
            id: row.get(0).doing(doing)?,
            replica: sql::blob(row, 1).doing(doing)?,
            seq: row.get(2).doing(doing)?,
            part: row.get(3).doing(doing)?,
            frame: sql::blob(row, 4).doing(doing)?,
        })
    })
}

/// Forgets a changeset that cannot be read.
pub(crate) fn forget_stored(tx: &Transaction<'_>, id: i64) -> Result<()> {
    sql::exec(tx, "emptying the inbox", "DELETE FROM _driftless_inbox WHERE id = ?1", [id])?;
    Ok(())
}

/// Forgets everything of `replica` up to `seq`.
pub(crate) fn forget(tx: &Transaction<'_>, replica: ReplicaId, seq: u64) -> Result<()> {
    sql::exec(
        tx,
        "emptying the inbox",
        "DELETE FROM _driftless_inbox WHERE replica = ?1 AND seq <= ?2",
        (replica.as_bytes(), Number(seq)),
    )?;
    Ok(())
}

/// Keeps a part of a snapshot.
pub(crate) fn keep_part(tx: &Transaction<'_>, part: &SnapshotPart) -> Result<()> {
    let header = &part.header;
    sql::exec(
        tx,
        "keeping a part of a snapshot",
        "INSERT OR REPLACE INTO _driftless_snapshot (snapshot, idx, last, part) VALUES (?1, ?2, ?3, ?4)",
        (header.snapshot, header.index, header.last, &part.bytes()[..]),
    )?;
    Ok(())
}

/// A snapshot of which all parts are here, and the index of its last part.
pub(crate) fn complete_snapshot(connection: &Connection) -> Result<Option<([u8; 16], u32)>> {
    sql::opt(
        connection,
        "reading a snapshot",
        "SELECT s.snapshot, s.idx FROM _driftless_snapshot s WHERE s.last AND s.idx + 1 =
             (SELECT count(*) FROM _driftless_snapshot p WHERE p.snapshot = s.snapshot) LIMIT 1",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

/// One part of a snapshot.
pub(crate) fn part(connection: &Connection, snapshot: &[u8; 16], index: u32) -> Result<Option<SnapshotPart>> {
    let frame: Option<Vec<u8>> = sql::opt(
        connection,
        "reading a snapshot",
        "SELECT part FROM _driftless_snapshot WHERE snapshot = ?1 AND idx = ?2",
        (snapshot, index),
        sql::first,
    )?;
    Ok(frame.map(|frame| SnapshotPart::from_bytes(Bytes::from(frame))).transpose()?)
}

/// Forgets one snapshot: it is applied.
pub(crate) fn forget_snapshot(tx: &Transaction<'_>, snapshot: &[u8; 16]) -> Result<()> {
    sql::exec(
        tx,
        "forgetting a snapshot",
        "DELETE FROM _driftless_snapshot WHERE snapshot = ?1",
        [snapshot],
    )?;
    Ok(())
}

/// Forgets every part of every snapshot: a new connection begins anew.
pub(crate) fn forget_snapshots(tx: &Transaction<'_>) -> Result<()> {
    sql::exec(tx, "forgetting a snapshot", "DELETE FROM _driftless_snapshot", [])?;
    Ok(())
}

/// Shows every part of every snapshot, as it is stored.
pub(crate) fn each_part(connection: &Connection, mut see: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let doing = "verifying the inbox";
    sql::each(connection, doing, "SELECT part FROM _driftless_snapshot", [], |row| {
        see(sql::blob(row, 0).doing(doing)?)
    })
}
