//! `_driftless_progress`: the state vector of what is applied here, this replica's own changesets included.

use driftless_protocol::{ReplicaId, Seq, StateVector};
use rusqlite::{Connection, Transaction};

use crate::error::{Doing, InTable, Result};

/// The whole vector.
pub(crate) fn vector(connection: &Connection) -> Result<StateVector> {
    entries(connection, "SELECT replica, seq FROM _driftless_progress")
}

/// The last seq applied of one replica; 0 for none.
pub(crate) fn of(connection: &Connection, replica: ReplicaId) -> Result<u64> {
    connection
        .prepare_cached("SELECT max(seq) FROM _driftless_progress WHERE replica = ?1")
        .and_then(|mut statement| {
            statement.query_row([replica.as_bytes()], |row| row.get::<_, Option<i64>>(0))
        })
        .map(|seq| seq.unwrap_or(0) as u64)
        .doing("reading the state vector")
}

fn entries(connection: &Connection, sql: &str) -> Result<StateVector> {
    let doing = "reading the state vector";
    let mut statement = connection.prepare_cached(sql).doing(doing)?;
    let mut rows = statement.query([]).doing(doing)?;
    let mut vector = StateVector::new();
    while let Some(row) = rows.next().doing(doing)? {
        let replica = ReplicaId::from_slice(row.get_ref(0).doing(doing)?.as_blob().unwrap_or_default());
        let replica = replica.in_table("_driftless_progress")?;
        if let Some(seq) = Seq::new(row.get::<_, i64>(1).doing(doing)? as u64) {
            vector.raise(replica, seq);
        }
    }
    Ok(vector)
}

/// Raises one entry; never lowers it.
pub(crate) fn raise(tx: &Transaction<'_>, replica: ReplicaId, seq: u64) -> Result<()> {
    let raised = tx
        .prepare_cached("UPDATE _driftless_progress SET seq = max(seq, ?2) WHERE replica = ?1")
        .and_then(|mut statement| statement.execute((replica.as_bytes(), seq as i64)))
        .doing("writing the state vector")?;
    if raised == 0 {
        tx.prepare_cached("INSERT INTO _driftless_progress (replica, seq, announced) VALUES (?1, ?2, 0)")
            .and_then(|mut statement| statement.execute((replica.as_bytes(), seq as i64)))
            .doing("writing the state vector")?;
    }
    Ok(())
}

/// Puts one entry, lower than before if need be: only for a file that takes a new name and no longer owns what it
/// held under the old one.
pub(crate) fn put(tx: &Transaction<'_>, replica: ReplicaId, seq: u64) -> Result<()> {
    tx.execute(
        "INSERT OR REPLACE INTO _driftless_progress (replica, seq, announced) VALUES (?1, ?2, 0)",
        (replica.as_bytes(), seq as i64),
    )
    .doing("writing the state vector")?;
    Ok(())
}

/// What was applied since `own`'s last changeset, which the next one will name: what others must apply before it.
pub(crate) fn take_unannounced(tx: &Transaction<'_>, own: ReplicaId) -> Result<StateVector> {
    let fresh = entries(tx, "SELECT replica, seq FROM _driftless_progress WHERE announced < seq")?;
    tx.prepare_cached("UPDATE _driftless_progress SET announced = seq WHERE announced < seq")
        .and_then(|mut statement| statement.execute([]))
        .doing("writing the state vector")?;
    Ok(fresh.iter().filter(|&(replica, _)| replica != own).collect())
}
