//! Snapshots: (state vector, row documents), made for a relay that lost its data, and taken by newcomers.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use driftless_protocol::changeset::BodyBuilder;
use driftless_protocol::{ReplicaId, RowKey, Seq, SnapshotHeader, SnapshotPart, StateVector};
use rusqlite::Connection;

use crate::error::{Doing, Error, Result};
use crate::store::{self, progress, quarantine, writers};

/// About how large a part grows, in bytes before compression.
const PART_BYTES: usize = 4 << 20;

/// Makes a snapshot of everything that is applied, part by part, from a connection of its own and one read
/// transaction, so that the engine goes on meanwhile. `take` gets each part; it returns `false` to stop.
/// Returns the snapshot's vector.
pub(crate) fn make(
    path: &Path,
    busy_timeout: Duration,
    mut take: impl FnMut(SnapshotPart) -> bool,
) -> Result<StateVector> {
    let mut connection = store::open_to_read(path, busy_timeout)?;
    let tx = connection.transaction().doing("making a snapshot")?;
    let vector = contained(&tx)?;
    let mut snapshot = [0; 16];
    snapshot[..8].copy_from_slice(&fastrand::u64(..).to_le_bytes());
    snapshot[8..].copy_from_slice(&fastrand::u64(..).to_le_bytes());
    let header = |index, last| SnapshotHeader { snapshot, index, last, vector: vector.clone() };
    let mut body = BodyBuilder::new();
    for (writer, replica) in writers::all(&tx)? {
        body.author(writer, replica);
    }
    let mut index = 0;
    let finished = each_row(&tx, |table, key, document| {
        if body.rows() > 0 && body.size() + document.len() > PART_BYTES {
            let full = std::mem::take(&mut body).finish();
            let part = SnapshotPart::seal(header(index, false), &full);
            index += 1;
            if !take(part) {
                return Ok(false);
            }
        }
        body.row(table, key, document);
        Ok(true)
    })?;
    if finished {
        take(SnapshotPart::seal(header(index, true), &body.finish()));
    }
    drop(tx);
    Ok(vector)
}

/// What the documents contain: what is applied, short of what was set aside.
fn contained(connection: &Connection) -> Result<StateVector> {
    let mut lacking: HashMap<ReplicaId, u64> = HashMap::new();
    for (replica, seq) in quarantine::list(connection)? {
        let lowest = lacking.entry(replica).or_insert(seq);
        *lowest = seq.min(*lowest);
    }
    let vector = progress::vector(connection)?;
    let short = vector.iter().filter_map(|(replica, seq)| match lacking.get(&replica) {
        Some(&lacked) => Some((replica, Seq::new(seq.get().min(lacked.saturating_sub(1)))?)),
        None => Some((replica, seq)),
    });
    Ok(short.collect())
}

fn each_row(
    connection: &Connection,
    mut see: impl FnMut(&str, &RowKey, &[u8]) -> Result<bool>,
) -> Result<bool> {
    let doing = "reading the row documents";
    let mut statement = connection
        .prepare(
            "SELECT t.name, r.key, d.body FROM _driftless_rows r JOIN _driftless_tables t ON t.id = r.tbl
             JOIN _driftless_documents d ON d.id = r.doc ORDER BY r.tbl, r.key",
        )
        .doing(doing)?;
    let mut rows = statement.query([]).doing(doing)?;
    while let Some(row) = rows.next().doing(doing)? {
        let table: String = row.get(0).doing(doing)?;
        let key = RowKey::from_bytes(row.get_ref(1).doing(doing)?.as_blob().unwrap_or_default())
            .map_err(|error| Error::Damaged { table: "_driftless_rows", what: error.to_string() })?;
        if !see(&table, &key, row.get_ref(2).doing(doing)?.as_blob().unwrap_or_default())? {
            return Ok(false);
        }
    }
    Ok(true)
}
