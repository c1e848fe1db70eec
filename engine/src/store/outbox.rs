//! `_driftless_outbox`: what this replica captured and the relay has not confirmed for good.
//!
//! An acknowledgement alone does not empty it: a later state vector of the relay does, so that a relay that lost
//! what it had acknowledged is refilled.

use bytes::Bytes;
use driftless_protocol::{Changeset, Part};
use rusqlite::{Connection, Transaction};

use super::sql::{self, Number};
use crate::error::{Doing, Error, Result};

/// Parts as stored: 0 whole, 1 more follow, 2 last.
pub(crate) fn part_number(part: Part) -> i64 {
    match part {
        Part::Whole => 0,
        Part::More => 1,
        Part::Last => 2,
    }
}

/// Adds the next changeset.
pub(crate) fn push(tx: &Transaction<'_>, changeset: &Changeset) -> Result<()> {
    let header = &changeset.header;
    sql::exec(
        tx,
        "writing the outbox",
        "INSERT INTO _driftless_outbox (seq, part, changeset) VALUES (?1, ?2, ?3)",
        (Number(header.seq.get()), part_number(header.part), &changeset.bytes()[..]),
    )?;
    Ok(())
}

/// The activity that an error names if reading fails.
const READING: &str = "reading the outbox";
/// The changesets after a seq.
const AFTER: &str = "SELECT changeset FROM _driftless_outbox WHERE seq > ?1 ORDER BY seq";

/// Changesets after `seq` in order, until `bytes` are reached; at least one if there is one.
pub(crate) fn read(connection: &Connection, after: u64, bytes: usize) -> Result<Vec<Changeset>> {
    let (mut changesets, mut size) = (Vec::new(), 0);
    sql::each_while(connection, READING, AFTER, [Number(after)], |row| {
        let frame: Vec<u8> = row.get(0).doing(READING)?;
        size += frame.len();
        let changeset = Changeset::from_bytes(Bytes::from(frame))
            .map_err(|error| Error::Damaged { table: "_driftless_outbox", what: error.to_string() })?;
        changesets.push(changeset);
        Ok(size < bytes)
    })?;
    Ok(changesets)
}

/// The changeset of that number, if it is still here.
pub(crate) fn get(connection: &Connection, seq: u64) -> Result<Option<Changeset>> {
    Ok(read(connection, seq.saturating_sub(1), 1)?.into_iter().find(|c| c.header.seq.get() == seq))
}

/// The lowest seq still here.
pub(crate) fn first(connection: &Connection) -> Result<Option<u64>> {
    sql::opt(connection, READING, "SELECT seq FROM _driftless_outbox ORDER BY seq LIMIT 1", [], sql::number)
}

/// The highest seq here; 0 if none is.
pub(crate) fn last(connection: &Connection) -> Result<u64> {
    sql::one(connection, READING, "SELECT max(seq) FROM _driftless_outbox", [], sql::number_or_0)
}

/// Changesets after `seq`, those left out that cannot be read.
pub(crate) fn readable(connection: &Connection, after: u64) -> Result<Vec<Changeset>> {
    let mut changesets = Vec::new();
    sql::each(connection, READING, AFTER, [Number(after)], |row| {
        let frame = sql::blob(row, 0).doing(READING)?.to_vec();
        changesets.extend(Changeset::from_bytes(Bytes::from(frame)).ok());
        Ok(())
    })?;
    Ok(changesets)
}

/// The highest seq at or below `seq` that ends whole transactions; `None` if none is here.
pub(crate) fn group_end(connection: &Connection, seq: u64) -> Result<Option<u64>> {
    sql::opt(
        connection,
        READING,
        "SELECT seq FROM _driftless_outbox WHERE seq <= ?1 AND part <> 1 ORDER BY seq DESC LIMIT 1",
        [Number(seq)],
        sql::number,
    )
}

/// Forgets what the relay has for good. Parts stay until their whole transaction can go: should the file turn out
/// to be a copy, it must send such a transaction again from its beginning.
pub(crate) fn confirm(tx: &Transaction<'_>, seq: u64) -> Result<()> {
    let Some(end) = group_end(tx, seq)? else { return Ok(()) };
    sql::exec(tx, "emptying the outbox", "DELETE FROM _driftless_outbox WHERE seq <= ?1", [Number(end)])?;
    Ok(())
}

/// Empties it.
pub(crate) fn clear(tx: &Transaction<'_>) -> Result<()> {
    sql::exec(tx, "emptying the outbox", "DELETE FROM _driftless_outbox", [])?;
    Ok(())
}

/// How many changesets after `seq` wait, and their bytes.
pub(crate) fn waiting(connection: &Connection, seq: u64) -> Result<(u64, u64)> {
    sql::one(
        connection,
        "reading the outbox",
        "SELECT count(*), coalesce(sum(length(changeset)), 0) FROM _driftless_outbox WHERE seq > ?1",
        [Number(seq)],
        |row| {
            let (Number(count), Number(bytes)) = (row.get(0)?, row.get(1)?);
            Ok((count, bytes))
        },
    )
}

/// Shows every changeset as it is stored, right or not, in order: seq, part, bytes.
pub(crate) fn each_stored(
    connection: &Connection,
    mut see: impl FnMut(i64, i64, &[u8]) -> Result<()>,
) -> Result<()> {
    let doing = "verifying the outbox";
    let query = "SELECT seq, part, changeset FROM _driftless_outbox ORDER BY seq";
    sql::each(connection, doing, query, [], |row| {
        see(row.get(0).doing(doing)?, row.get(1).doing(doing)?, sql::blob(row, 2).doing(doing)?)
    })
}
