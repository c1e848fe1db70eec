//! `_driftless_quarantine`: what came in and could not be applied. It is kept whole and reported; it counts as
//! held, so that it never holds back what comes after it.

use driftless_protocol::ReplicaId;
use rusqlite::{Connection, Transaction};

use crate::error::{Doing, InTable, Result};

const TABLE: &str = "_driftless_quarantine";

/// Sets a frame aside.
pub(crate) fn put(
    tx: &Transaction<'_>,
    from: Option<(ReplicaId, u64)>,
    reason: &str,
    at: i64,
    frame: &[u8],
) -> Result<()> {
    let (replica, seq) = from.map(|(replica, seq)| (*replica.as_bytes(), seq as i64)).unzip();
    tx.execute(
        "INSERT INTO _driftless_quarantine (replica, seq, reason, at, frame) VALUES (?1, ?2, ?3, ?4, ?5)",
        (replica, seq, reason, at, frame),
    )
    .doing("setting a changeset aside")?;
    Ok(())
}

/// The changesets that are set aside: (replica, seq).
pub(crate) fn list(connection: &Connection) -> Result<Vec<(ReplicaId, u64)>> {
    let doing = "reading the quarantine";
    let mut statement = connection
        .prepare("SELECT replica, seq FROM _driftless_quarantine WHERE replica IS NOT NULL")
        .doing(doing)?;
    let mut rows = statement.query([]).doing(doing)?;
    let mut list = Vec::new();
    while let Some(row) = rows.next().doing(doing)? {
        let replica = ReplicaId::from_slice(row.get_ref(0).doing(doing)?.as_blob().unwrap_or_default());
        let replica = replica.in_table(TABLE)?;
        list.push((replica, row.get::<_, i64>(1).doing(doing)? as u64));
    }
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
    let doing = "reading the quarantine";
    let mut statement = connection
        .prepare("SELECT id, replica, seq, reason, frame FROM _driftless_quarantine ORDER BY id")
        .doing(doing)?;
    let mut rows = statement.query([]).doing(doing)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next().doing(doing)? {
        let replica = row.get_ref(1).doing(doing)?.as_blob().ok().map(ReplicaId::from_slice);
        let replica = replica.transpose().in_table(TABLE)?;
        let seq: Option<i64> = row.get(2).doing(doing)?;
        all.push(Aside {
            id: row.get(0).doing(doing)?,
            from: replica.zip(seq.map(|seq| seq as u64)),
            reason: row.get(3).doing(doing)?,
            frame: row.get_ref(4).doing(doing)?.as_blob().unwrap_or_default().to_vec(),
        });
    }
    Ok(all)
}

/// A frame is set aside no longer.
pub(crate) fn remove(tx: &Transaction<'_>, id: i64) -> Result<()> {
    tx.execute("DELETE FROM _driftless_quarantine WHERE id = ?1", [id]).doing("emptying the quarantine")?;
    Ok(())
}

/// How many frames are set aside.
pub(crate) fn len(connection: &Connection) -> Result<u64> {
    connection
        .query_row("SELECT count(*) FROM _driftless_quarantine", [], |row| row.get::<_, i64>(0))
        .map(|count| count as u64)
        .doing("reading the quarantine")
}
