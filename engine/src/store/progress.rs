//! `_driftless_progress`: the state vector of what is applied here, this replica's own changesets included.

use driftless_protocol::{ReplicaId, StateVector};
use rusqlite::{Connection, Transaction};

use super::sql::{self, Number};
use crate::error::{Doing, InTable, Result};

const TABLE: &str = "_driftless_progress";
/// The activity that an error names if reading fails.
const READING: &str = "reading the state vector";

/// The whole vector.
pub(crate) fn vector(connection: &Connection) -> Result<StateVector> {
    entries(connection, "SELECT replica, seq FROM _driftless_progress")
}

/// The last seq applied of one replica; 0 for none.
pub(crate) fn of(connection: &Connection, replica: ReplicaId) -> Result<u64> {
    sql::one(
        connection,
        READING,
        "SELECT max(seq) FROM _driftless_progress WHERE replica = ?1",
        [replica.as_bytes()],
        sql::number_or_0,
    )
}

fn entries(connection: &Connection, query: &str) -> Result<StateVector> {
    let mut vector = StateVector::new();
    sql::each(connection, READING, query, [], |row| {
        let replica = ReplicaId::from_slice(sql::blob(row, 0).doing(READING)?).in_table(TABLE)?;
        if let Some(seq) = sql::seq(row.get(1).doing(READING)?, TABLE)? {
            vector.raise(replica, seq);
        }
        Ok(())
    })?;
    Ok(vector)
}

/// Raises one entry; never lowers it.
pub(crate) fn raise(tx: &Transaction<'_>, replica: ReplicaId, seq: u64) -> Result<()> {
    let raised = sql::exec(
        tx,
        "writing the state vector",
        "UPDATE _driftless_progress SET seq = max(seq, ?2) WHERE replica = ?1",
        (replica.as_bytes(), Number(seq)),
    )?;
    if raised == 0 {
        sql::exec(
            tx,
            "writing the state vector",
            "INSERT INTO _driftless_progress (replica, seq, announced) VALUES (?1, ?2, 0)",
            (replica.as_bytes(), Number(seq)),
        )?;
    }
    Ok(())
}

/// Puts one entry, lower than before if need be: only for a file that takes a new name and no longer owns what it
/// held under the old one.
pub(crate) fn put(tx: &Transaction<'_>, replica: ReplicaId, seq: u64) -> Result<()> {
    sql::exec(
        tx,
        "writing the state vector",
        "INSERT OR REPLACE INTO _driftless_progress (replica, seq, announced) VALUES (?1, ?2, 0)",
        (replica.as_bytes(), Number(seq)),
    )?;
    Ok(())
}

/// What was applied since `own`'s last changeset, which the next one will name: what others must apply before it.
pub(crate) fn take_unannounced(tx: &Transaction<'_>, own: ReplicaId) -> Result<StateVector> {
    let fresh = entries(tx, "SELECT replica, seq FROM _driftless_progress WHERE announced < seq")?;
    sql::exec(
        tx,
        "writing the state vector",
        "UPDATE _driftless_progress SET announced = seq WHERE announced < seq",
        [],
    )?;
    Ok(fresh.iter().filter(|&(replica, _)| replica != own).collect())
}
