//! `_driftless_quarantine`: what came in and could not be applied. It is kept whole and reported; it counts as
//! held, so that it never holds back what comes after it.

use driftless_protocol::ReplicaId;
use rusqlite::{Connection, Transaction};

use super::sql::{self, Number};
use crate::error::{Doing, InTable, Result};

const TABLE: &str = "_driftless_quarantine";
/// The activity that an error names if reading fails.
const READING: &str = "reading the quarantine";

/// Sets a frame aside.
pub(crate) fn put(
    tx: &Transaction<'_>,
    from: Option<(ReplicaId, u64)>,
    reason: &str,
    at: i64,
    frame: &[u8],
) -> Result<()> {
    let (replica, seq) = from.map(|(replica, seq)| (*replica.as_bytes(), Number(seq))).unzip();
    sql::exec(
        tx,
        "setting a changeset aside",
        "INSERT INTO _driftless_quarantine (replica, seq, reason, at, frame) VALUES (?1, ?2, ?3, ?4, ?5)",
        (replica, seq, reason, at, frame),
    )?;
    Ok(())
}

/// The changesets that are set aside: (replica, seq).
pub(crate) fn list(connection: &Connection) -> Result<Vec<(ReplicaId, u64)>> {
    let query = "SELECT replica, seq FROM _driftless_quarantine WHERE replica IS NOT NULL";
    let mut list = Vec::new();
    sql::each(connection, READING, query, [], |row| {
        let replica = ReplicaId::from_slice(sql::blob(row, 0).doing(READING)?).in_table(TABLE)?;
        let Number(seq) = row.get(1).doing(READING)?;
        list.push((replica, seq));
        Ok(())
    })?;
    Ok(list)
}

/// A frame that is set aside.
#[derive(Debug)]
pub(crate) struct Aside {
    pub(crate) id: i64,
    /// Of which replica, and its number; `None` of a snapshot.
    pub(crate) from: Option<(ReplicaId, u64)>,
    pub(crate) reason: String,
    pub(crate) frame: Vec<u8>,
}

/// Everything that is set aside, oldest first.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Aside>> {
    let query = "SELECT id, replica, seq, reason, frame FROM _driftless_quarantine ORDER BY id";
    let mut all = Vec::new();
    sql::each(connection, READING, query, [], |row| {
        let replica = row.get_ref(1).doing(READING)?.as_blob().ok().map(ReplicaId::from_slice);
        let replica = replica.transpose().in_table(TABLE)?;
        let seq: Option<Number> = row.get(2).doing(READING)?;
        all.push(Aside {
            id: row.get(0).doing(READING)?,
            from: replica.zip(seq.map(|Number(seq)| seq)),
            reason: row.get(3).doing(READING)?,
            frame: sql::blob(row, 4).doing(READING)?.to_vec(),
        });
        Ok(())
    })?;
    Ok(all)
}

/// A frame is set aside no longer.
pub(crate) fn remove(tx: &Transaction<'_>, id: i64) -> Result<()> {
    sql::exec(tx, "emptying the quarantine", "DELETE FROM _driftless_quarantine WHERE id = ?1", [id])?;
    Ok(())
}

/// How many frames are set aside.
pub(crate) fn len(connection: &Connection) -> Result<u64> {
    sql::one(connection, READING, "SELECT count(*) FROM _driftless_quarantine", [], sql::number)
}
