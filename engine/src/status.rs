//! How a file is doing: one struct for the command, the API and whoever shows it. Read from the file alone, so it
//! works while an engine runs, and never needs the engine's lock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use driftless_protocol::{ReplicaId, SpaceId, StateVector};
use rusqlite::Connection;
use serde::Serialize;

use crate::config::{ColumnKind, Config};
use crate::error::{Doing, Error, Result};
use crate::lock;
use crate::notice::RunningEngine;
use crate::schema::definitions::Definition;
use crate::schema::eligibility::Refusal;
use crate::schema::inventory::Inventory;
use crate::schema::{Catalog, Table, definitions, introspect, triggers};
use crate::store::tables::{self, DEFINITIONS, Entry, State};
use crate::store::{self, fold, identity, inbox, outbox, progress, quarantine, quote};
use crate::time::now;
use crate::tracking::rule::{self, Rule};

/// How a file is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// This file's id.
    pub replica: ReplicaId,
    /// The space it belongs to; `None` until it first meets a relay.
    pub space: Option<SpaceId>,
    /// Every table that rows are known of, in the order of their tracking; not those that are gone from the space for good and
    /// not here.
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
    /// The engine that has the file open now; `None` if there is none.
    pub engine: Option<RunningEngine>,
    /// What is still to be done, step by step.
    pub waits: Waits,
    /// Whether tables that are made later are tracked too; see [`crate::Selection::All`].
    pub tracks_all: bool,
    /// The tables of the user's that are not tracked, in the order of their making. Those that have changed so that they
    /// cannot be are among `tables`.
    pub untracked: Vec<Untracked>,
}

/// What is still to be done, step by step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Waits {
    /// Writes that are not captured yet.
    pub to_capture: u64,
    /// Changesets that no relay has acknowledged.
    pub to_send: u64,
    /// Rows whose documents have changed and that their tables do not show yet.
    pub to_show: u64,
}

/// A table of the user's that is not tracked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Untracked {
    /// As the user wrote it.
    pub table: String,
    /// Why it cannot be tracked, or is left out of [`crate::Selection::All`]. `None`: it could be.
    pub refusal: Option<Refusal>,
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
    /// Whether the space has given up the table, or a column of it, that this file still has: `reason` says what to do.
    pub given_up: bool,
    /// Whether the table was dropped and made anew, or lost our triggers otherwise, and waits for an engine, and to be left
    /// alone, before it is compared with what was known of it.
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
    read(&store::open_to_read(path, Config::default().busy_timeout)?, path, None)
}

/// Reads how the file is doing that a connection has open. `catalog`: the tracked tables, where they are known.
pub(crate) fn read(connection: &Connection, path: &Path, catalog: Option<&Catalog>) -> Result<Status> {
    // One read transaction: the numbers fit together.
    let tx = connection.unchecked_transaction().doing("reading the status")?;
    if !store::is_initialized(&tx)? {
        return Err(Error::NotInitialized(path.to_owned()));
    }
    let acked = identity::acked(&tx)?;
    let (changesets, bytes) = outbox::waiting(&tx, acked)?;
    let entries = tables::all(&tx)?;
    let known = match catalog {
        Some(_) => BTreeMap::new(),
        None => introspect::tables(&tx, &Inventory::read_users(&tx)?)?,
    };
    let table_of = |entry: &Entry| match catalog {
        Some(catalog) => catalog.get(entry.id).map(|tracked| &tracked.table),
        None => known.get(&fold(&entry.spelled)).and_then(|look| look.as_ref().ok()),
    };
    let counts = Counts::read(&tx)?;
    let watched: BTreeSet<i64> = triggers::places(&tx)?.into_iter().map(|(id, _)| id).collect();
    let to_show = count(&tx, "SELECT count(*) FROM _driftless_refresh WHERE tbl <> 1")?;
    let retired = definitions::retired(&tx)?;
    let is_gone = |entry: &Entry| {
        matches!(entry.state, State::Missing | State::Unknown) && retired.contains(&entry.name)
    };
    let entries = entries.into_iter().filter(|entry| entry.id != DEFINITIONS && !is_gone(entry));
    let definitions: BTreeMap<String, Definition> =
        definitions::all(&tx)?.into_iter().map(|definition| (definition.name.clone(), definition)).collect();
    let is_given_up =
        |entry: &Entry| definitions.get(&entry.name).is_some_and(|definition| definition.gives_up(entry));
    let tables: Vec<TableStatus> = entries
        .map(|entry| {
            let table = table_of(&entry).filter(|_| entry.state == State::Tracked);
            let local_only = table.map_or(Ok(0), |table| local_only(&tx, table))?;
            let lost_triggers = table.is_some() && !watched.contains(&entry.id);
            let mut status = table_status(&entry, &counts, local_only);
            status.settling |= lost_triggers;
            status.given_up = table.is_some() && is_given_up(&entry);
            Ok(status)
        })
        .collect::<Result<_>>()?;
    let untracked = rule::untracked(&tx)?.into_iter();
    Ok(Status {
        replica: identity::replica(&tx)?,
        space: identity::space(&tx)?,
        unsent: Unsent { changesets, bytes },
        waits: Waits {
            to_capture: tables.iter().map(|table| table.pending).sum(),
            to_send: changesets,
            to_show,
        },
        tables,
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
        engine: lock::holder(path),
        tracks_all: matches!(Rule::of(&tx)?, Some(Rule::All(_))),
        untracked: untracked.map(|(table, refusal)| Untracked { table, refusal }).collect(),
    })
}

fn count(connection: &Connection, sql: &str) -> Result<u64> {
    connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map(|n| n as u64).doing("reading the status")
}

/// Rows of side tables, by the number of the table that they are about.
struct Counts {
    documents: HashMap<i64, u64>,
    dirty: HashMap<i64, u64>,
    backlog: HashMap<i64, u64>,
    parked: HashMap<i64, u64>,
}

impl Counts {
    fn read(connection: &Connection) -> Result<Self> {
        let by_table = |table: &str| -> Result<HashMap<i64, u64>> {
            let doing = "reading the status";
            let sql = format!("SELECT tbl, count(*) FROM {table} GROUP BY tbl");
            let mut statement = connection.prepare(&sql).doing(doing)?;
            let rows = statement
                .query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))
                .doing(doing)?;
            rows.collect::<rusqlite::Result<_>>().doing(doing)
        };
        Ok(Self {
            documents: by_table("_driftless_rows")?,
            dirty: by_table("_driftless_dirty")?,
            backlog: by_table("_driftless_backlog")?,
            parked: by_table("_driftless_parked")?,
        })
    }
}

fn table_status(entry: &Entry, counts: &Counts, local_only: u64) -> TableStatus {
    let of = |counts: &HashMap<i64, u64>| counts.get(&entry.id).copied().unwrap_or_default();
    TableStatus {
        documents: of(&counts.documents),
        pending: of(&counts.dirty) + of(&counts.backlog),
        parked: of(&counts.parked),
        local_only,
        table: entry.spelled.clone(),
        state: entry.state.name(),
        deletes_win: entry.options.deletes_win,
        kinds: entry.options.kinds.iter().cloned().collect(),
        reason: entry.reason.clone(),
        given_up: false,
        settling: entry.rebuilt.is_some(),
        rebuilt: entry.found.as_ref().map(|found| Rebuilt {
            at: found.compared,
            deleted: found.deleted,
            inserted: found.inserted,
            edited: found.edited,
        }),
    }
}

/// How many rows have a NULL in their key.
fn local_only(connection: &Connection, table: &Table) -> Result<u64> {
    if !table.nullable_key {
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
