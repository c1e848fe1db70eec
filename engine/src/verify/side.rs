//! The side tables among themselves: what belongs together is together, and every frame has its checksum.

use bytes::Bytes;
use driftless_protocol::{Changeset, Part, ReplicaId, SnapshotPart};
use rusqlite::Connection;

use super::repair::Remedy;
use super::{Findings, plural};
use crate::error::{Doing, Result};
use crate::store::{health, identity, progress, quarantine};

pub(super) fn check(connection: &Connection, found: &mut Findings) -> Result<()> {
    rows_and_documents(connection, found)?;
    own_changesets(connection, found)?;
    waiting_changesets(connection, found)?;
    if health::has_rows(connection, "_driftless_applying")? {
        let what = "the triggers are told that the engine writes, so nobody's writes are marked";
        found.check("side tables").differs(None, None, what.to_owned());
    }
    let unknown = count(
        connection,
        "SELECT count(*) FROM _driftless_conflicts c WHERE c.at <> 0
         AND NOT EXISTS (SELECT 1 FROM _driftless_writers w WHERE w.writer = c.writer)",
    )?;
    if unknown > 0 {
        let note = format!("nobody knows who wrote {unknown} of the values in conflict");
        found.check("conflicts").notes.push(note);
    }
    let aside = quarantine::all(connection)?;
    if !aside.is_empty() {
        found.remedies.push(Remedy::TryAgain);
    }
    let check = found.check("quarantine");
    for aside in aside {
        check.looked_at += 1;
        let from = match aside.from {
            Some((replica, seq)) => format!("changeset {seq} of replica {replica}"),
            None => "a snapshot".to_owned(),
        };
        check.differs(None, None, format!("{from} could not be applied and is set aside: {}", aside.reason));
    }
    Ok(())
}

fn count(connection: &Connection, sql: &str) -> Result<u64> {
    connection
        .query_row(sql, [], |row| row.get::<_, i64>(0))
        .map(|count| count as u64)
        .doing("verifying the side tables")
}

/// Row keys and documents, one to one.
fn rows_and_documents(connection: &Connection, found: &mut Findings) -> Result<()> {
    let documents = count(connection, "SELECT count(*) FROM _driftless_documents")?;
    let lost = count(
        connection,
        "SELECT count(*) FROM _driftless_rows r WHERE NOT EXISTS
         (SELECT 1 FROM _driftless_documents d WHERE d.id = r.doc)",
    )?;
    let nameless = count(
        connection,
        "SELECT count(*) FROM _driftless_documents WHERE id NOT IN (SELECT doc FROM _driftless_rows)",
    )?;
    let shared = count(
        connection,
        "SELECT count(*) FROM (SELECT doc FROM _driftless_rows GROUP BY doc HAVING count(*) > 1)",
    )?;
    let strays = count(
        connection,
        "SELECT count(*) FROM _driftless_rows r WHERE NOT EXISTS
         (SELECT 1 FROM _driftless_tables t WHERE t.id = r.tbl)",
    )?;
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
        found.remedies.push(Remedy::Tidy);
    }
    tracing::debug!(documents, "looked at the documents");
    Ok(())
}

/// What this replica has captured and the relay has not confirmed: every changeset sound, no number missing.
fn own_changesets(connection: &Connection, found: &mut Findings) -> Result<()> {
    let doing = "verifying the outbox";
    let own = identity::replica(connection)?;
    let (last, acked) = (progress::vector(connection)?.get(own), identity::acked(connection)?);
    let check = found.check("side tables");
    let mut statement =
        connection.prepare("SELECT seq, part, changeset FROM _driftless_outbox ORDER BY seq").doing(doing)?;
    let mut rows = statement.query([]).doing(doing)?;
    let (mut previous, mut sound) = (None, true);
    while let Some(row) = rows.next().doing(doing)? {
        let (seq, part): (i64, i64) = (row.get(0).doing(doing)?, row.get(1).doing(doing)?);
        let frame = row.get_ref(2).doing(doing)?.as_blob().unwrap_or_default().to_vec();
        check.looked_at += 1;
        if previous.is_some_and(|previous| seq != previous + 1) {
            sound = false;
            check.differs(None, None, format!("the outbox lacks changesets before {seq}"));
        }
        previous = Some(seq);
        if let Some(wrong) = wrong(frame, own, seq, part) {
            sound = false;
            check.differs(None, None, format!("changeset {seq} in the outbox: {wrong}"));
        }
    }
    let end = previous.map_or(last, |seq| seq as u64);
    if end < last {
        sound = false;
        check.differs(None, None, format!("the outbox ends at {end}, and {last} were captured"));
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
        found.remedies.push(Remedy::StartOver);
    } else if !sound {
        found.remedies.push(Remedy::EmptyOutbox);
    }
    Ok(())
}

fn waiting_changesets(connection: &Connection, found: &mut Findings) -> Result<()> {
    let doing = "verifying the inbox";
    let check = found.check("side tables");
    let mut bad = Vec::new();
    {
        let mut statement = connection
            .prepare("SELECT replica, seq, part, changeset, id FROM _driftless_inbox")
            .doing(doing)?;
        let mut rows = statement.query([]).doing(doing)?;
        while let Some(row) = rows.next().doing(doing)? {
            check.looked_at += 1;
            let blob = |at: usize| -> Result<Vec<u8>> {
                Ok(row.get_ref(at).doing(doing)?.as_blob().unwrap_or_default().to_vec())
            };
            let (seq, part): (i64, i64) = (row.get(1).doing(doing)?, row.get(2).doing(doing)?);
            let wrong = match ReplicaId::from_slice(&blob(0)?) {
                Ok(replica) => wrong(blob(3)?, replica, seq, part),
                Err(error) => Some(error.to_string()),
            };
            if let Some(wrong) = wrong {
                check.differs(None, None, format!("changeset {seq} in the inbox: {wrong}"));
                bad.push(Remedy::DropWaiting(row.get(4).doing(doing)?));
            }
        }
        let mut statement = connection.prepare("SELECT part FROM _driftless_snapshot").doing(doing)?;
        let mut rows = statement.query([]).doing(doing)?;
        while let Some(row) = rows.next().doing(doing)? {
            let part = row.get_ref(0).doing(doing)?.as_blob().unwrap_or_default().to_vec();
            check.looked_at += 1;
            if let Err(error) = SnapshotPart::from_bytes(Bytes::from(part)) {
                check.differs(None, None, format!("a part of a snapshot: {error}"));
                bad.push(Remedy::DropSnapshots);
            }
        }
    }
    found.remedies.extend(bad);
    Ok(())
}

/// What is wrong with a stored changeset, if anything.
fn wrong(frame: Vec<u8>, replica: ReplicaId, seq: i64, part: i64) -> Option<String> {
    let changeset = match Changeset::from_bytes(Bytes::from(frame)) {
        Ok(changeset) => changeset,
        Err(error) => return Some(error.to_string()),
    };
    let header = &changeset.header;
    let number = match header.part {
        Part::Whole => 0,
        Part::More => 1,
        Part::Last => 2,
    };
    if header.replica != replica || header.seq.get() != seq as u64 || number != part {
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
