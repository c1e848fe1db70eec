//! Snapshots: (state vector, row documents, text documents), made for a relay that lost its data, and taken by newcomers.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use driftless_protocol::changeset::BodyBuilder;
use driftless_protocol::{ReplicaId, RowKey, Seq, SnapshotHeader, SnapshotPart, StateVector};
use rusqlite::Connection;

use crate::document;
use crate::env::ids;
use crate::error::{Doing, Error, Result};
use crate::store::{self, documents, identity, progress, quarantine, tables, texts, writers};

/// About how large a part grows, in bytes before compression.
const PART_BYTES: usize = 4 << 20;

/// Makes a snapshot of everything that is applied, part by part, from a connection of its own and one read
/// transaction, so that the engine goes on meanwhile. `take` gets each part; it returns `false` to stop.
/// Returns the snapshot's vector; `None`, and nothing was made, while a transaction of this file is captured in part: the
/// documents have that part, and whoever took the snapshot would show half of it.
pub(crate) fn make(
    path: &Path,
    busy_timeout: Duration,
    mut take: impl FnMut(SnapshotPart) -> bool,
) -> Result<Option<StateVector>> {
    let mut connection = store::open_to_read(path, busy_timeout)?;
    let tx = connection.transaction().doing("making a snapshot")?;
    if identity::group_open(&tx)? {
        return Ok(None);
    }
    // The engine may have committed a turn a moment ago whose wait for the disk is not over.
    driftless_wal::sync(&tx).doing("making a snapshot")?;
    let vector = contained(&tx)?;
    let snapshot = ids::snapshot();
    let header = |index, last| SnapshotHeader { snapshot, index, last, vector: vector.clone() };
    let mut body = BodyBuilder::new();
    for (writer, replica) in writers::all(&tx)? {
        body.author(writer, replica);
    }
    let mut index = 0;
    // Whether there is room for a document, or was made.
    let mut room = |body: &mut BodyBuilder, document: &[u8]| {
        if body.rows() == 0 || body.size() + document.len() <= PART_BYTES {
            return true;
        }
        let full = std::mem::take(body).finish();
        let part = SnapshotPart::seal(header(index, false), &full);
        index += 1;
        take(part)
    };
    let mut finished = each_row(&tx, |table, key, document| {
        let goes_on = room(&mut body, document);
        if goes_on {
            body.row(table, key, document);
        }
        Ok(goes_on)
    })?;
    finished = finished
        && texts::each(&tx, |table, key, column, stored| {
            let key = row_key(key, "_driftless_texts")?;
            let document = document::text::compact(&stored.parts())?;
            let goes_on = room(&mut body, &document);
            if goes_on {
                body.text(table, &key, column, &document);
            }
            Ok(goes_on)
        })?;
    if finished {
        take(SnapshotPart::seal(header(index, true), &body.finish()));
    }
    drop(tx);
    Ok(Some(vector))
}

/// The documents of some rows, by the names under which their tables travel, as the parts of a snapshot that counts
/// nothing: to be merged by a file that counts the same already.
pub(crate) fn of_rows(
    path: &Path,
    busy_timeout: Duration,
    rows: &BTreeSet<(String, RowKey)>,
) -> Result<Vec<SnapshotPart>> {
    let mut connection = store::open_to_read(path, busy_timeout)?;
    let tx = connection.transaction().doing("making a snapshot")?;
    let snapshot = ids::snapshot();
    let mut bodies = Vec::new();
    let mut body = BodyBuilder::new();
    for (writer, replica) in writers::all(&tx)? {
        body.author(writer, replica);
    }
    for (name, key) in rows {
        let Some(entry) = tables::find(&tx, name)? else { continue };
        let Some(stored) = documents::get(&tx, entry.id, key.as_bytes())? else { continue };
        if body.rows() > 0 && body.size() + stored.body.len() > PART_BYTES {
            bodies.push(std::mem::take(&mut body).finish());
        }
        body.row(name, key, &stored.body);
        for (column, text) in texts::of_row(&tx, entry.id, key.as_bytes())? {
            body.text(name, key, &column, &document::text::compact(&text.parts())?);
        }
    }
    bodies.push(body.finish());
    let last = bodies.len() - 1;
    let seal = |(index, body): (usize, &driftless_protocol::changeset::Body)| {
        let header =
            SnapshotHeader { snapshot, index: index as u32, last: index == last, vector: StateVector::new() };
        SnapshotPart::seal(header, body)
    };
    Ok(bodies.iter().enumerate().map(seal).collect())
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
    documents::each(connection, |table, key, body| see(table, &row_key(key, "_driftless_rows")?, body))
}

fn row_key(bytes: &[u8], table: &'static str) -> Result<RowKey> {
    RowKey::from_bytes(bytes).map_err(|error| Error::Damaged { table, what: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{migrations, tables};
    use crate::turn::apply::{self, TableNumbers, TouchedRows};
    use driftless_protocol::changeset::Document;
    use driftless_protocol::{Collation, Value, WriterId};

    #[test]
    fn a_snapshot_brings_the_texts_as_they_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, copy) = (folder.path().join("a.db"), folder.path().join("b.db"));
        let key = RowKey::encode([(&Value::Integer(1), Collation::Binary)]).expect("a key");
        let open = |path: &Path| {
            Connection::open(path).expect("creates");
            let mut connection = store::open(path, Duration::ZERO).expect("opens");
            let tx = connection.transaction().expect("begins");
            migrations::run(&tx, path).expect("creates the tables");
            tx.commit().expect("commits");
            connection
        };
        let mut connection = open(&path);
        let tx = connection.transaction().expect("begins");
        let table = tables::add(&tx, "notes", "notes", tables::State::Unknown).expect("adds");
        // Two that do not fit one part together, and one that was edited.
        let long = "long ".repeat(PART_BYTES / 8);
        for (column, text) in [("a", &long[..]), ("b", &long), ("body", "one two")] {
            let (_, document) = document::text::seed("notes", &key, column, text);
            texts::create(&tx, table, key.as_bytes(), column, &document).expect("creates");
        }
        let stored = texts::get(&tx, table, key.as_bytes(), "body").expect("reads").expect("is there");
        let written =
            document::text::write(&stored.parts(), WriterId::from_bits(7), "one three").expect("writes");
        texts::append(&tx, &stored, &written.expect("changed").update).expect("appends");
        tx.commit().expect("commits");

        let mut parts = Vec::new();
        make(&path, Duration::ZERO, |part| {
            parts.push(part);
            true
        })
        .expect("makes a snapshot");
        assert_eq!(parts.len(), 2);
        assert_eq!(parts.iter().map(|part| part.header.last).collect::<Vec<_>>(), [false, true]);
        let last = parts[1].body().expect("opens");
        let kinds: Vec<_> =
            last.open().expect("opens").1.map(|row| row.expect("reads").document == Document::Row).collect();
        assert_eq!(kinds, [false, false]);

        let mut other = open(&copy);
        let tx = other.transaction().expect("begins");
        let mut touched = TouchedRows::default();
        for part in &parts {
            let body = part.body().expect("opens");
            apply::body(&tx, &mut TableNumbers::default(), &body, &mut touched, None).expect("applies");
        }
        let table = tables::find(&tx, "notes").expect("reads").expect("is there").id;
        for (column, text) in [("a", &long[..]), ("b", &long), ("body", "one three")] {
            let stored = texts::get(&tx, table, key.as_bytes(), column).expect("reads").expect("is there");
            assert_eq!(stored.parts().len(), 1);
            assert!(document::text::content(&stored.parts()).expect("reads") == text, "{column}");
        }
    }
}
