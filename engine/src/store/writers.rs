//! `_driftless_writers`: which replica a writer was, so that conflicts name their authors.

use driftless_protocol::{ReplicaId, WriterId};
use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::error::{Doing, InTable, Result};

const TABLE: &str = "_driftless_writers";

/// Remembers a writer. The first claim stays.
pub(crate) fn remember(tx: &Transaction<'_>, writer: WriterId, replica: ReplicaId) -> Result<()> {
    tx.prepare_cached("INSERT OR IGNORE INTO _driftless_writers (writer, replica) VALUES (?1, ?2)")
        .and_then(|mut statement| statement.execute((writer.get() as i64, replica.as_bytes())))
        .doing("remembering a writer")?;
    Ok(())
}

/// Which replica a writer was, if that is known.
pub(crate) fn replica_of(connection: &Connection, writer: WriterId) -> Result<Option<ReplicaId>> {
    let doing = "reading the writers";
    let found: Option<Vec<u8>> = connection
        .prepare_cached("SELECT replica FROM _driftless_writers WHERE writer = ?1")
        .and_then(|mut statement| statement.query_row([writer.get() as i64], |row| row.get(0)).optional())
        .doing(doing)?;
    found.map(|bytes| ReplicaId::from_slice(&bytes).in_table(TABLE)).transpose()
}

/// Every writer known.
pub(crate) fn all(connection: &Connection) -> Result<Vec<(WriterId, ReplicaId)>> {
    let doing = "reading the writers";
    let mut statement =
        connection.prepare_cached("SELECT writer, replica FROM _driftless_writers").doing(doing)?;
    let mut rows = statement.query([]).doing(doing)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next().doing(doing)? {
        let writer = WriterId::new(row.get::<_, i64>(0).doing(doing)? as u64).in_table(TABLE)?;
        let replica = ReplicaId::from_slice(row.get_ref(1).doing(doing)?.as_blob().unwrap_or_default());
        all.push((writer, replica.in_table(TABLE)?));
    }
    Ok(all)
}
