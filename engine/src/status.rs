//! How a file is doing: one struct for the command, the API and whoever shows it. Read from the file alone, so it
//! works while an engine runs, and never needs the engine's lock.

use std::collections::BTreeMap;
use std::path::Path;

use driftless_protocol::{ReplicaId, SpaceId, StateVector};
use rusqlite::Connection;
use serde::Serialize;

use crate::config::{ColumnKind, Config};
use crate::error::{Doing, Error, Result};

use crate::schema::introspect;
use crate::store::tables::{self, DEFINITIONS, Entry, State};
use crate::store::{self, identity, inbox, outbox, progress, quarantine, quote};
use crate::time::now;

/// How a file is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// This file's id.
    pub replica: ReplicaId,
    /// The space it belongs to; `None` until it first meets a relay.
    pub space: Option<SpaceId>,
    /// Every table that rows are known of, in the order of their tracking.
    pub tables: Vec<TableStatus>,
    /// Changesets that no relay has acknowledged.
    pub unsent: Unsent,
    /// How old the oldest write is that no relay has acknowledged, in milliseconds; 0 when there is none.
    pub lag_ms: u64,
    /// What is applied here, own changesets included.
    pub vector: StateVector,
    /// When a relay was last heard, and which.
    pub last_contact: Option<Contact>,
    /// Columns in which several values stand; see [`crate::conflicts`].
    pub conflicts: u64,
    /// Changesets that came before something they build on.
    pub waiting: u64,
    /// Changesets that could not be applied and were set aside. Not zero is a bug of somebody's, or damage.
    pub quarantined: u64,
    /// What was damaged in the side tables and has been mended, in words, until [`crate::verify`] finds all well.
    pub mended: Option<String>,
}

/// How one table is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TableStatus {
    /// As the user wrote it.
    pub table: String,
    /// `tracked`, `untracked`, `unknown` (only others have it), `missing` (dropped here) or `unfit` (changed so that
    /// it cannot be tracked).
    pub state: &'static str,
    /// Row documents, those of deleted rows included.
    pub documents: u64,
    /// Writes that are not captured yet.
    pub pending: u64,
    /// Rows that a constraint keeps out of the table, or that are too large to travel.
    pub parked: u64,
    /// Rows with a NULL in their key: nothing names them on another replica, so they stay here.
    pub local_only: u64,
    /// Whether a delete wins over a concurrent edit.
    pub deletes_win: bool,
    /// The columns that are no registers, in lower case.
    pub kinds: BTreeMap<String, ColumnKind>,
    /// Why a table is missing or unfit; a warning about one that is tracked.
    pub reason: Option<String>,
    /// Whether the table was dropped and made anew, or lost our triggers otherwise, and waits to be left alone before it is
    /// compared with what was known of it.
    pub settling: bool,
    /// What was found when that was last done; `None` if it never was.
    pub rebuilt: Option<Rebuilt>,
}

/// What was found when a table that had been dropped and made anew, as by a migration, was compared with what was known of
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rebuilt {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// Rows that were missing, and count as deleted.
    pub deleted: u64,
    /// Rows that were new.
    pub inserted: u64,
    /// Rows that differed.
    pub edited: u64,
}

/// What waits to be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Unsent {
    /// How many changesets.
    pub changesets: u64,
    /// Their size as they travel, in bytes.
    pub bytes: u64,
}

/// When a relay was last heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Contact {
    /// Milliseconds since 1970.
    pub at: i64,
    /// The relay's address.
    pub url: String,
}

/// Reads how a file is doing.
///
/// Fails with [`Error::NoSuchFile`], [`Error::NotADatabase`], and [`Error::NotInitialized`] if Driftless has never
/// worked on the file.
pub fn status(path: impl AsRef<Path>) -> Result<Status> {
    let path = path.as_ref();
    let mut connection = store::open_to_read(path, Config::default().busy_timeout)?;
    if !store::is_initialized(&connection)? {
        return Err(Error::NotInitialized(path.to_owned()));
    }
    // One read transaction: the numbers fit together.
    let tx = connection.transaction().doing("reading the status")?;
    let acked = identity::acked(&tx)?;
    let (changesets, bytes) = outbox::waiting(&tx, acked)?;
    Ok(Status {
        replica: identity::replica(&tx)?,
        space: identity::space(&tx)?,
        tables: tables::all(&tx)?
            .into_iter()
            .filter(|entry| entry.id != DEFINITIONS)
            .map(|entry| table_status(&tx, entry))
            .collect::<Result<_>>()?,
        unsent: Unsent { changesets, bytes },
        lag_ms: lag(&tx, acked)?,
        vector: progress::vector(&tx)?,
        last_contact: identity::contact(&tx)?.map(|(at, url)| Contact { at, url }),
        conflicts: count(
            &tx,
            "SELECT count(*) FROM (SELECT DISTINCT tbl, key, col FROM _driftless_conflicts WHERE tbl <> 1)",
        )?,
        waiting: inbox::len(&tx)?,
        quarantined: quarantine::len(&tx)?,
        mended: identity::mended(&tx)?,
    })
}

fn count(connection: &Connection, sql: &str) -> Result<u64> {
    connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(|n| n as u64).doing("reading the status")
}

fn table_status(connection: &Connection, entry: Entry) -> Result<TableStatus> {
    let id = entry.id;
    let of = |table: &str| count(connection, &format!("SELECT count(*) FROM {table} WHERE tbl = {id}"));
    let local_only = if entry.state == State::Tracked { local_only(connection, &entry)? } else { 0 };
    Ok(TableStatus {
        documents: of("_driftless_rows")?,
        pending: of("_driftless_dirty")? + of("_driftless_backlog")?,
        parked: of("_driftless_parked")?,
        local_only,
        table: entry.spelled,
        state: entry.state.name(),
        deletes_win: entry.options.deletes_win,
        kinds: entry.options.kinds.into_iter().collect(),
        reason: entry.reason,
        settling: entry.rebuilt.is_some(),
        rebuilt: tables::rebuilt(connection, id)?.map(|found| Rebuilt {
            at: found.compared,
            deleted: found.deleted,
            inserted: found.inserted,
            edited: found.edited,
        }),
    })
}

fn local_only(connection: &Connection, entry: &Entry) -> Result<u64> {
    let Some(Ok(table)) = introspect::table(connection, &entry.spelled)? else { return Ok(0) };
    if table.integer_key {
        return Ok(0);
    }
    let null = table.key.iter().map(|key| format!("{} IS NULL", quote(&table.columns[key.at].spelled)));
    let null = null.collect::<Vec<_>>().join(" OR ");
    count(connection, &format!("SELECT count(*) FROM main.{} WHERE {null}", quote(&table.spelled)))
}

fn lag(connection: &Connection, acked: u64) -> Result<u64> {
    let marked: Option<i64> = connection
        .query_row("SELECT min(at) FROM _driftless_dirty", [], |row| row.get(0))
        .doing("reading the status")?;
    let unsent = outbox::read(connection, acked, 1)?.first().map(|changeset| changeset.header.time);
    let oldest = marked.into_iter().chain(unsent).min();
    Ok(oldest.map_or(0, |oldest| (now() - oldest).max(1) as u64))
}
