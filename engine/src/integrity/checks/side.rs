//! The side tables among themselves: what belongs together is together, and every frame has its checksum.

use bytes::Bytes;
use driftless_protocol::{Changeset, ReplicaId, SnapshotPart};
use rusqlite::Connection;

use crate::error::Result;
use crate::integrity::report::{Check, Findings, plural};
use crate::replica::repair::Part;
use crate::store::documents::{self, Misfits};
use crate::store::inbox::{self, Stored};
use crate::store::{applying, conflicts, health, identity, outbox, progress, quarantine};

pub(in crate::integrity) fn check(connection: &Connection, found: &mut Findings) -> Result<()> {
    rows_and_documents(connection, found)?;
    own_changesets(connection, found)?;
    waiting_changesets(connection, found)?;
    if applying::is_on(connection)? {
        let what = "the triggers are told that the engine writes, so nobody's writes are marked";
        found.check("side tables").differs(None, None, what.to_owned());
    }
    let unknown = conflicts::of_unknown_writers(connection)?;
    if unknown > 0 {
        let note = format!("nobody knows who wrote {unknown} of the values in conflict");
        found.check("conflicts").notes.push(note);
    }
    let check = found.check("quarantine");
    for aside in quarantine::all(connection)? {
        check.looked_at += 1;
        let from = match aside.from {
            Some((replica, seq)) => format!("changeset {seq} of replica {replica}"),
            None => "a snapshot".to_owned(),
        };
        check.differs(None, None, format!("{from} could not be applied and is set aside: {}", aside.reason));
    }
    Ok(())
}

/// Checks that all side tables are there. To be called before the engine opens the file, which makes them again.
pub(in crate::integrity) fn missing(connection: &Connection) -> Result<Check> {
    let mut check = Check::new("side tables");
    for object in health::missing(connection)? {
        check.differs(None, None, format!("{} {} is missing", object.kind, object.name));
    }
    for (table, columns) in health::crippled(connection)? {
        check.differs(None, None, format!("table {table} lacks {}", columns.join(", ")));
    }
    Ok(check)
}

/// Row keys and documents, one to one.
fn rows_and_documents(connection: &Connection, found: &mut Findings) -> Result<()> {
    let documents = documents::len(connection)?;
    let Misfits { lost, nameless, shared, strays } = documents::misfits(connection)?;
    let check = found.check("documents");
    check.looked_at = 0;
    for (n, one, many) in [
        (lost, "row names a document that is not there", "rows name documents that are not there"),
        (nameless, "document belongs to no row", "documents belong to no row"),
        (shared, "document belongs to several rows", "documents belong to several rows"),
        (strays, "document is of a table that nobody knows", "documents are of tables that nobody knows"),
    ] {
        if n > 0 {
            check.differs(None, None, plural(n, one, many));
            check.differences += n - 1;
        }
    }
    if lost + nameless + shared + strays > 0 {
        found.rebuild(Part::RowKeys);
    }
    tracing::debug!(documents, "looked at the documents");
    Ok(())
}

/// What this replica has captured and the relay has not confirmed: every changeset sound, no number missing.
fn own_changesets(connection: &Connection, found: &mut Findings) -> Result<()> {
    let own = identity::replica(connection)?;
    let (last, acked) = (progress::vector(connection)?.get(own), identity::acked(connection)?);
    let check = found.check("side tables");
    let (mut previous, mut sound) = (None, true);
    outbox::each_stored(connection, |seq, part, frame| {
        check.looked_at += 1;
        if previous.is_some_and(|previous: i64| previous.checked_add(1) != Some(seq)) {
            sound = false;
            check.differs(None, None, format!("the outbox lacks changesets before {seq}"));
        }
        previous = Some(seq);
        if let Some(wrong) = wrong(frame, own, seq, part) {
            sound = false;
            check.differs(None, None, format!("changeset {seq} in the outbox: {wrong}"));
        }
        Ok(())
    })?;
    // A number below 0 is no end of anything, and was told of.
    let end = previous.map_or(last, |seq| u64::try_from(seq).unwrap_or(0));
    if end < last {
        sound = false;
        check.differs(
            None,
            None,
            format!("the outbox ends at changeset {end}, but {last} changesets were captured"),
        );
    }
    if end > last || acked > last {
        check.differs(
            None,
            None,
            format!(
                "this file's own number is lost: it counts {last} changesets of its own, and {} were made",
                end.max(acked)
            ),
        );
        found.rebuild(Part::Everything);
    } else if !sound {
        found.rebuild(Part::Outbox);
    }
    Ok(())
}

fn waiting_changesets(connection: &Connection, found: &mut Findings) -> Result<()> {
    let check = found.check("side tables");
    let (mut unreadable, mut snapshots) = (Vec::new(), false);
    inbox::each_stored(connection, |stored| {
        let Stored { id, seq, part, frame, .. } = stored;
        check.looked_at += 1;
        let wrong = match ReplicaId::from_slice(stored.replica) {
            Ok(replica) => wrong(frame, replica, seq, part),
            Err(error) => Some(error.to_string()),
        };
        if let Some(wrong) = wrong {
            check.differs(None, None, format!("changeset {seq} in the inbox: {wrong}"));
            unreadable.push(id);
        }
        Ok(())
    })?;
    inbox::each_part(connection, |part| {
        check.looked_at += 1;
        if let Err(error) = SnapshotPart::from_bytes(Bytes::copy_from_slice(part)) {
            check.differs(None, None, format!("a part of a snapshot: {error}"));
            snapshots = true;
        }
        Ok(())
    })?;
    if !unreadable.is_empty() || snapshots {
        found.rebuild(Part::Inbox { unreadable, snapshots });
    }
    Ok(())
}

/// What is wrong with a stored changeset, if anything.
fn wrong(frame: &[u8], replica: ReplicaId, seq: i64, part: i64) -> Option<String> {
    let changeset = match Changeset::from_bytes(Bytes::copy_from_slice(frame)) {
        Ok(changeset) => changeset,
        Err(error) => return Some(error.to_string()),
    };
    let header = &changeset.header;
    let is_seq = u64::try_from(seq).is_ok_and(|seq| seq == header.seq.get());
    if header.replica != replica || !is_seq || outbox::part_number(header.part) != part {
        return Some("it is listed under another number than its own".to_owned());
    }
    let body = match changeset.body() {
        Ok(body) => body,
        Err(error) => return Some(error.to_string()),
    };
    let rows = match body.open() {
        Ok((_, mut rows)) => rows.find_map(|row| row.err()),
        Err(error) => Some(error),
    };
    rows.map(|error| error.to_string())
}
