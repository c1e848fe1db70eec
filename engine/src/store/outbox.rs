//! `_driftless_outbox`: what this replica captured and the relay has not confirmed for good.
//!
//! An acknowledgement alone does not empty it: a later state vector of the relay does, so that a relay that lost
//! what it had acknowledged is refilled.

use bytes::Bytes;
use driftless_protocol::{Changeset, Part};
use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::error::{Doing, Error, Result};

/// Parts as stored: 0 whole, 1 more follow, 2 last.
pub(super) fn part_number(part: Part) -> i64 {
    match part {
        Part::Whole => 0,
        Part::More => 1,
        Part::Last => 2,
    }
}

/// Adds the next changeset.
pub(crate) fn push(tx: &Transaction<'_>, changeset: &Changeset) -> Result<()> {
    let header = &changeset.header;
    tx.prepare_cached("INSERT INTO _driftless_outbox (seq, part, changeset) VALUES (?1, ?2, ?3)")
        .and_then(|mut statement| {
            statement.execute((header.seq.get() as i64, part_number(header.part), &changeset.bytes()[..]))
        })
        .doing("writing the outbox")?;
    Ok(())
}

/// Changesets after `seq` in order, until `bytes` are reached; at least one if there is one.
pub(crate) fn read(connection: &Connection, after: u64, bytes: usize) -> Result<Vec<Changeset>> {
    let doing = "reading the outbox";
    let mut statement = connection
        .prepare_cached("SELECT changeset FROM _driftless_outbox WHERE seq > ?1 ORDER BY seq")
        .doing(doing)?;
    let mut rows = statement.query([after as i64]).doing(doing)?;
    let (mut changesets, mut size) = (Vec::new(), 0);
    while size < bytes {
        let Some(row) = rows.next().doing(doing)? else { break };
        let frame: Vec<u8> = row.get(0).doing(doing)?;
        size += frame.len();
        let changeset = Changeset::from_bytes(Bytes::from(frame))
            .map_err(|error| Error::Damaged { table: "_driftless_outbox", what: error.to_string() })?;
        changesets.push(changeset);
    }
    Ok(changesets)
}

/// The changeset of that number, if it is still here.
pub(crate) fn get(connection: &Connection, seq: u64) -> Result<Option<Changeset>> {
    Ok(read(connection, seq.saturating_sub(1), 1)?.into_iter().find(|c| c.header.seq.get() == seq))
}

/// The lowest seq still here.
pub(crate) fn first(connection: &Connection) -> Result<Option<u64>> {
    connection
        .prepare_cached("SELECT min(seq) FROM _driftless_outbox")
        .and_then(|mut statement| statement.query_row([], |row| row.get::<_, Option<i64>>(0)))
        .map(|seq| seq.map(|seq| seq as u64))
        .doing("reading the outbox")
}

/// The highest seq here; 0 if none is.
pub(crate) fn last(connection: &Connection) -> Result<u64> {
    connection
        .prepare_cached("SELECT max(seq) FROM _driftless_outbox")
        .and_then(|mut statement| statement.query_row([], |row| row.get::<_, Option<i64>>(0)))
        .map(|seq| seq.unwrap_or(0) as u64)
        .doing("reading the outbox")
}

/// Changesets after `seq`, those left out that cannot be read.
pub(crate) fn readable(connection: &Connection, after: u64) -> Result<Vec<Changeset>> {
    let doing = "reading the outbox";
    let mut statement = connection
        .prepare("SELECT changeset FROM _driftless_outbox WHERE seq > ?1 ORDER BY seq")
        .doing(doing)?;
    let mut rows = statement.query([after as i64]).doing(doing)?;
    let mut changesets = Vec::new();
    while let Some(row) = rows.next().doing(doing)? {
        let frame = row.get_ref(0).doing(doing)?.as_blob().unwrap_or_default().to_vec();
        changesets.extend(Changeset::from_bytes(Bytes::from(frame)).ok());
    }
    Ok(changesets)
}

/// The highest seq at or below `seq` that ends whole transactions; 0 if none is here.
pub(crate) fn group_end(connection: &Connection, seq: u64) -> Result<Option<u64>> {
    connection
        .prepare_cached("SELECT max(seq) FROM _driftless_outbox WHERE seq <= ?1 AND part <> 1")
        .and_then(|mut statement| statement.query_row([seq as i64], |row| row.get::<_, Option<i64>>(0)))
        .optional()
        .map(|seq| seq.flatten().map(|seq| seq as u64))
        .doing("reading the outbox")
}

/// Forgets what the relay has for good. Parts stay until their whole transaction can go: should the file turn out
/// to be a copy, it must send such a transaction again from its beginning.
pub(crate) fn confirm(tx: &Transaction<'_>, seq: u64) -> Result<()> {
    let Some(end) = group_end(tx, seq)? else { return Ok(()) };
    tx.prepare_cached("DELETE FROM _driftless_outbox WHERE seq <= ?1")
        .and_then(|mut statement| statement.execute([end as i64]))
        .doing("emptying the outbox")?;
    Ok(())
}

/// Empties it.
pub(crate) fn clear(tx: &Transaction<'_>) -> Result<()> {
    tx.execute("DELETE FROM _driftless_outbox", []).doing("emptying the outbox")?;
    Ok(())
}

/// How many changesets after `seq` wait, and their bytes.
pub(crate) fn waiting(connection: &Connection, seq: u64) -> Result<(u64, u64)> {
    connection
        .query_row(
            "SELECT count(*), coalesce(sum(length(changeset)), 0) FROM _driftless_outbox WHERE seq > ?1",
            [seq as i64],
            |row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64)),
        )
        .doing("reading the outbox")
}
