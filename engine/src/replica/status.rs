//! How a file is doing: one struct for the command, the API and whoever shows it. Read from the file alone, so it
//! works while an engine runs, and never needs the engine's lock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use driftless_protocol::{ReplicaId, SpaceId, StateVector};
use rusqlite::Connection;
use serde::Serialize;

use crate::config::{ColumnKind, Config};
use crate::env::now;
#[cfg(doc)]
use crate::error::Error;
use crate::error::refusal::Refusal;
use crate::error::shell;
use crate::error::{Doing, Result};
use crate::file::lock;
use crate::file::notice::RunningEngine;
use crate::schema::definitions::{self, Definition};
use crate::schema::introspect::Look;
use crate::schema::inventory::Inventory;
use crate::schema::tracking::rule::{self, Rule};
use crate::schema::{Catalog, Table, column_names, introspect, rename_questions, triggers};
use crate::store::tables::{self, DEFINITIONS, Entry, State};
use crate::store::{
    self, backlog, conflicts, dirty, fold, health, identity, inbox, outbox, progress, quarantine, quote, sql,
};

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
    /// The repairs of damaged side tables, in words, until [`crate::verify`] finds all well.
    pub repaired: Option<String>,
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
    /// A sentence for each question that waits for an answer (a column may have been renamed), and for each thing whose rows or
    /// values do not reach the others (a table or a column that the space has given up). `reason` has them too.
    pub concerns: Vec<String>,
    /// Why a table is missing or unfit, what becomes of one that only others have; a warning about one that is tracked.
    pub reason: Option<String>,
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
/// Fails with [`Error::NoSuchFile`], [`Error::NotADatabase`], [`Error::FileAway`] while another program uses a `-wal` that was
/// removed, [`Error::TrackingLost`], and [`Error::NotInitialized`] if Driftless has never
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
        return Err(lock::not_initialized(path));
    }
    let acked = identity::acked(&tx)?;
    let untracked = rule::untracked(&tx)?;
    let tracks_all = matches!(Rule::of(&tx)?, Some(Rule::All(_)));
    let (changesets, bytes) = outbox::waiting(&tx, acked)?;
    let tables = Survey::read(&tx, catalog)?.tables(&untracked, tracks_all)?;
    Ok(Status {
        replica: identity::replica(&tx)?,
        space: identity::space(&tx)?,
        unsent: Unsent { changesets, bytes },
        waits: Waits {
            to_capture: tables.iter().map(|table| table.pending).sum(),
            to_send: changesets,
            to_show: backlog::to_show(&tx)?,
        },
        tables,
        lag_ms: lag(&tx, acked)?,
        vector: progress::vector(&tx)?,
        last_contact: last_contact(&tx, path)?,
        conflicts: conflicts::len(&tx)?,
        waiting: inbox::len(&tx)?,
        quarantined: quarantine::len(&tx)?,
        repaired: identity::repaired(&tx)?,
        engine: lock::holder(path),
        tracks_all,
        untracked: untracked.into_iter().map(|(table, refusal)| Untracked { table, refusal }).collect(),
    })
}

/// What is read of a file to say how each table of it is doing.
struct Survey<'a> {
    connection: &'a Connection,
    catalog: Option<&'a Catalog>,
    /// The tables as they are, by folded name, where there is no catalog.
    looks: BTreeMap<String, Look>,
    counts: Counts,
    /// The numbers of the tables that have our triggers.
    watched: BTreeSet<i64>,
    /// What the space says of its tables, by the names that they travel by.
    definitions: BTreeMap<String, Definition>,
}

impl<'a> Survey<'a> {
    fn read(connection: &'a Connection, catalog: Option<&'a Catalog>) -> Result<Self> {
        let looks = match catalog {
            Some(_) => BTreeMap::new(),
            None => introspect::tables(connection, &Inventory::read_users(connection)?)?,
        };
        let definitions = definitions::all(connection)?;
        Ok(Self {
            connection,
            catalog,
            looks,
            counts: Counts::read(connection)?,
            watched: triggers::places(connection)?.into_iter().map(|(id, _)| id).collect(),
            definitions: definitions.into_iter().map(|known| (known.name.clone(), known)).collect(),
        })
    }

    /// How each table is doing that the file, or the space, has.
    fn tables(&self, untracked: &[(String, Option<Refusal>)], tracks_all: bool) -> Result<Vec<TableStatus>> {
        let mut entries = tables::all(self.connection)?;
        let tracked = entries.iter().filter(|entry| entry.state == State::Tracked);
        let tracked: BTreeSet<String> = tracked.map(|entry| fold(&entry.spelled)).collect();
        entries.retain(|entry| entry.id != DEFINITIONS && !self.is_gone(entry));
        let status = |entry: Entry| {
            let namesake = namesake(&entry, &tracked);
            let elsewhere = namesake.clone().or_else(|| elsewhere(&entry, untracked, tracks_all));
            let mut status = self.table(entry)?;
            status.concerns.extend(namesake);
            status.reason = status.reason.or(elsewhere);
            Ok(status)
        };
        entries.into_iter().map(status).collect()
    }

    /// Whether a table is not here, and the space has given it up.
    fn is_gone(&self, entry: &Entry) -> bool {
        let is_retired = || self.definitions.get(&entry.name).is_some_and(|known| known.retired);
        matches!(entry.state, State::Missing | State::Unknown) && is_retired()
    }

    /// How one table is doing, by itself.
    fn table(&self, entry: Entry) -> Result<TableStatus> {
        let table = match self.catalog {
            Some(catalog) => catalog.get(entry.id).map(|tracked| &tracked.table),
            None => self.looks.get(&fold(&entry.spelled)).and_then(|look| look.as_ref().ok()),
        };
        let table = table.filter(|_| entry.state == State::Tracked);
        let local_only = table.map_or(Ok(0), |table| local_only(self.connection, table))?;
        let lost_triggers = table.is_some() && !self.watched.contains(&entry.id);
        let concerns = concerns(&entry, self.definitions.get(&entry.name));
        let mut status = TableStatus { concerns, ..table_status(entry, &self.counts, local_only) };
        status.settling |= lost_triggers;
        Ok(status)
    }
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
        let by_table = |table| health::rows_by_table(connection, table);
        Ok(Self {
            documents: by_table("_driftless_rows")?,
            dirty: by_table("_driftless_dirty")?,
            backlog: by_table("_driftless_backlog")?,
            parked: by_table("_driftless_parked")?,
        })
    }
}

fn table_status(entry: Entry, counts: &Counts, local_only: u64) -> TableStatus {
    let of = |counts: &HashMap<i64, u64>| counts.get(&entry.id).copied().unwrap_or_default();
    let kinds = kinds_here(&entry);
    TableStatus {
        documents: of(&counts.documents),
        pending: of(&counts.dirty) + of(&counts.backlog),
        parked: of(&counts.parked),
        local_only,
        table: entry.spelled,
        state: entry.state.name(),
        deletes_win: entry.options.deletes_win,
        kinds,
        concerns: Vec::new(),
        reason: entry.reason,
        settling: entry.rebuilt.is_some(),
        rebuilt: entry.found.map(|found| Rebuilt {
            at: found.compared,
            deleted: found.deleted,
            inserted: found.inserted,
            edited: found.edited,
        }),
    }
}

/// The kinds of a table's columns, by the names that the columns have here.
fn kinds_here(entry: &Entry) -> BTreeMap<String, ColumnKind> {
    let here = |travels: &str| {
        let mut present = entry.columns.iter().filter(|known| known.place.is_some());
        present
            .find(|known| column_names::travels(entry, &known.name) == travels)
            .map(|known| known.name.clone())
    };
    let kinds = entry.options.kinds.iter();
    kinds.map(|(column, kind)| (here(column).unwrap_or_else(|| column.clone()), *kind)).collect()
}

/// The sentences of [`TableStatus::concerns`]. `definition`: the space's definition of the table.
fn concerns(entry: &Entry, definition: Option<&Definition>) -> Vec<String> {
    if entry.state != State::Tracked {
        return Vec::new();
    }
    let present = entry.columns.iter().filter(|known| known.place.is_some());
    let columns = present.map(|known| (&*known.name, column_names::travels(entry, &known.name)));
    let mut concerns = definitions::given_up(definition, columns);
    concerns.extend(rename_questions::questions(entry, &entry.spelled));
    concerns
}

/// Says of a table of others' that this file tracks another table of its name. `tracked`: the names of those.
fn namesake(entry: &Entry, tracked: &BTreeSet<String>) -> Option<String> {
    let spelled = &entry.spelled;
    (entry.state == State::Unknown && tracked.contains(&fold(spelled))).then(|| {
        format!(
            "other machines have another table that is called '{spelled}': what they write in it is kept here, and shows when \
             this file's '{spelled}' has another name (ALTER TABLE … RENAME TO …) and your app makes theirs"
        )
    })
}

/// Explains the state `unknown`: other replicas have the table. `untracked`: the tables of this file that are not tracked.
fn elsewhere(entry: &Entry, untracked: &[(String, Option<Refusal>)], tracks_all: bool) -> Option<String> {
    if entry.state != State::Unknown {
        return None;
    }
    let word = shell::word(&entry.spelled);
    let is_here = untracked.iter().any(|(table, _)| fold(table) == fold(&entry.spelled));
    Some(match (is_here, tracks_all) {
        (true, _) => format!(
            "other machines track a table of this name: what they write is kept here, and this file's table shows it once you say \
             `driftless track FILE {word}`"
        ),
        (false, true) => "only other machines have this table: what they write is kept here, and shows when your app makes the \
                          table in this file too"
            .to_owned(),
        (false, false) => format!(
            "only other machines have this table: what they write is kept here, and shows when your app has made the table in this \
             file too and you say `driftless track FILE {word}`"
        ),
    })
}

/// When a relay was last heard: as the file knows from its last commit about it, or as the engine has said since beside the
/// file.
fn last_contact(connection: &Connection, path: &Path) -> Result<Option<Contact>> {
    let noted = identity::contact(connection)?.map(|(at, url)| Contact { at, url });
    let said = lock::last_sync(path).map(|last| Contact { at: last.heard, url: last.url });
    Ok(noted.into_iter().chain(said).max_by_key(|contact| contact.at))
}

/// How many rows have a NULL in their key.
fn local_only(connection: &Connection, table: &Table) -> Result<u64> {
    if !table.nullable_key {
        return Ok(0);
    }
    let null = table.key.iter().map(|key| format!("{} IS NULL", quote(&table.columns[key.at].spelled)));
    let null = null.collect::<Vec<_>>().join(" OR ");
    let query = format!("SELECT count(*) FROM main.{} WHERE {null}", quote(&table.spelled));
    sql::one(connection, "reading the status", &query, [], sql::number)
}

fn lag(connection: &Connection, acked: u64) -> Result<u64> {
    let marked = dirty::oldest(connection)?;
    let unsent = outbox::read(connection, acked, 1)?.first().map(|changeset| changeset.header.time);
    let oldest = marked.into_iter().chain(unsent).min();
    Ok(oldest.map_or(0, |oldest| now().saturating_sub(oldest).max(1).unsigned_abs()))
}
