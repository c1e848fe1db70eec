//! `_driftless_writers`: which replica a writer was, so that conflicts name their authors.

use driftless_protocol::{IdError, ReplicaId, WriterId};
use rusqlite::{Connection, Transaction};

use super::sql;
use crate::error::{Doing, InTable, Result};

const TABLE: &str = "_driftless_writers";

/// A writer as the side tables hold it: the same 64 bits, as a signed integer.
pub(crate) fn stored(writer: WriterId) -> i64 {
    writer.get().cast_signed()
}

/// The writer that [`stored`] made a number of. Fails with [`IdError::BadWriter`].
fn from_stored(stored: i64) -> Result<WriterId, IdError> {
    WriterId::new(stored.cast_unsigned())
}

/// Remembers a writer. The first claim stays.
pub(crate) fn remember(tx: &Transaction<'_>, writer: WriterId, replica: ReplicaId) -> Result<()> {
    sql::exec(
        tx,
        "remembering a writer",
        "INSERT OR IGNORE INTO _driftless_writers (writer, replica) VALUES (?1, ?2)",
        (stored(writer), replica.as_bytes()),
    )?;
    Ok(())
}

/// Which replica a writer was, if that is known.
pub(crate) fn replica_of(connection: &Connection, writer: WriterId) -> Result<Option<ReplicaId>> {
    let doing = "reading the writers";
    let found: Option<Vec<u8>> = sql::opt(
        connection,
        doing,
        "SELECT replica FROM _driftless_writers WHERE writer = ?1",
        [stored(writer)],
        sql::first,
    )?;
    found.map(|bytes| ReplicaId::from_slice(&bytes).in_table(TABLE)).transpose()
}

/// Every writer known.
pub(crate) fn all(connection: &Connection) -> Result<Vec<(WriterId, ReplicaId)>> {
    let doing = "reading the writers";
    let mut all = Vec::new();
    sql::each(connection, doing, "SELECT writer, replica FROM _driftless_writers", [], |row| {
        let writer = from_stored(row.get(0).doing(doing)?).in_table(TABLE)?;
        let replica = ReplicaId::from_slice(sql::blob(row, 1).doing(doing)?).in_table(TABLE)?;
        all.push((writer, replica));
        Ok(())
    })?;
    Ok(all)
}
