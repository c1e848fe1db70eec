//! `_driftless_tables`: the tables that rows are known of, by number, name and state.

use rusqlite::{Connection, Transaction};

use super::columns::{self, Columns, KnownColumn};
use super::fold;
use super::renames::Renames;
use super::sql::{self, Number};
use crate::config::TableOptions;
use crate::error::{Error, Result};

/// The number of `_driftless_definitions` itself.
pub(crate) const DEFINITIONS: i64 = 1;

/// What the engine does with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Captured and materialized.
    Tracked,
    /// Its documents are kept and merged; the table is left alone.
    Untracked,
    /// Only others have it.
    Unknown,
    /// It was dropped here.
    Missing,
    /// It changed so that it cannot be tracked.
    Unfit,
}

impl State {
    const NAMES: [(Self, &'static str); 5] = [
        (Self::Tracked, "tracked"),
        (Self::Untracked, "untracked"),
        (Self::Unknown, "unknown"),
        (Self::Missing, "missing"),
        (Self::Unfit, "unfit"),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(state, _)| *state == self).map_or("", |(_, name)| name)
    }

    fn parse(name: &str) -> Result<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(state, _)| *state).ok_or_else(|| {
            Error::Damaged { table: "_driftless_tables", what: format!("a table has the state '{name}'") }
        })
    }
}

/// One row of `_driftless_tables`, with what is known of the table's columns.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) id: i64,
    /// Folded.
    pub(crate) name: String,
    pub(crate) spelled: String,
    pub(crate) state: State,
    pub(crate) reason: Option<String>,
    pub(crate) options: TableOptions,
    /// A digest of what the table demands of its rows, as it was looked at last.
    pub(crate) rules: Option<String>,
    /// The table lost our triggers and waits to be compared with its documents: the time that edits get which are found
    /// then.
    pub(crate) rebuilt: Option<i64>,
    /// What was found when that was last done; [`update`] leaves it.
    pub(crate) found: Option<Rebuilt>,
    /// The columns that it has, in its order, and then those that it had.
    pub(crate) columns: Vec<KnownColumn>,
    pub(crate) renames: Renames,
    /// The names under which columns travel that have just appeared.
    pub(crate) fresh: Vec<String>,
}

impl Entry {
    /// Whether its table is not shown what comes in, although it was before: what it shows is to be known until it is.
    pub(crate) fn is_behind(&self) -> bool {
        self.rebuilt.is_some() || matches!(self.state, State::Untracked | State::Missing | State::Unfit)
    }
}

const COLUMNS: &str = "id, name, spelled, state, reason, deletes_win, integer_key, rules, rebuilt, compared, deleted, inserted, edited";

/// Reads an entry; what is known of its columns is added by [`complete`].
fn entry(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Entry, String)> {
    let state: String = row.get(3)?;
    let entry = Entry {
        id: row.get(0)?,
        name: row.get(1)?,
        spelled: row.get(2)?,
        state: State::Unknown,
        reason: row.get(4)?,
        options: TableOptions { deletes_win: row.get(5)?, allow_integer_key: row.get(6)?, kinds: Vec::new() },
        rules: row.get(7)?,
        rebuilt: row.get(8)?,
        found: found(row)?,
        columns: Vec::new(),
        renames: Renames::new(),
        fresh: Vec::new(),
    };
    Ok((entry, state))
}

fn found(row: &rusqlite::Row<'_>) -> rusqlite::Result<Option<Rebuilt>> {
    let Some(compared) = row.get(9)? else { return Ok(None) };
    // Somebody may have written to this table by hand: a number below 0 counts as 0.
    let count = |at| row.get(at).map(|count: i64| u64::try_from(count).unwrap_or(0));
    Ok(Some(Rebuilt { compared, deleted: count(10)?, inserted: count(11)?, edited: count(12)? }))
}

fn complete((mut entry, state): (Entry, String), columns: Columns) -> Result<Entry> {
    entry.state = State::parse(&state)?;
    entry.options.kinds = columns.kinds;
    (entry.columns, entry.renames, entry.fresh) = (columns.known, columns.renames, columns.fresh);
    Ok(entry)
}

/// Every known table, by number.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Entry>> {
    let mut columns = columns::all(connection)?;
    let query = format!("SELECT {COLUMNS} FROM _driftless_tables ORDER BY id");
    let rows: Vec<_> = sql::list(connection, "reading _driftless_tables", &query, [], entry)?;
    let with_columns = |row: (Entry, String)| {
        let columns = columns.remove(&row.0.id).unwrap_or_default();
        complete(row, columns)
    };
    rows.into_iter().map(with_columns).collect()
}

/// The table of that folded name.
pub(crate) fn find(connection: &Connection, name: &str) -> Result<Option<Entry>> {
    let found = sql::opt(
        connection,
        "reading _driftless_tables",
        &format!("SELECT {COLUMNS} FROM _driftless_tables WHERE name = ?1"),
        [name],
        entry,
    )?;
    found
        .map(|row| {
            let columns = columns::of(connection, row.0.id)?;
            complete(row, columns)
        })
        .transpose()
}

/// The table that is called so here, by folded name: of those that were renamed the one that has the name now.
pub(crate) fn called(connection: &Connection, name: &str) -> Result<Option<Entry>> {
    let found = all(connection)?.into_iter().filter(|entry| entry.state != State::Unknown);
    let mut found: Vec<Entry> = found.filter(|entry| fold(&entry.spelled) == name).collect();
    found.sort_by_key(|entry| entry.state != State::Tracked);
    match found.into_iter().next() {
        Some(entry) => Ok(Some(entry)),
        None => Ok(find(connection, name)?.filter(|entry| fold(&entry.spelled) == name)),
    }
}

/// Notes what there is to say of a tracked table.
pub(crate) fn set_reason(tx: &Transaction<'_>, id: i64, reason: Option<&str>) -> Result<()> {
    sql::exec(
        tx,
        "writing _driftless_tables",
        "UPDATE _driftless_tables SET reason = ?2 WHERE id = ?1 AND reason IS NOT ?2",
        (id, reason),
    )?;
    Ok(())
}

/// Adds a table and returns its number.
pub(crate) fn add(tx: &Transaction<'_>, name: &str, spelled: &str, state: State) -> Result<i64> {
    sql::insert(
        tx,
        "writing _driftless_tables",
        "INSERT INTO _driftless_tables (name, spelled, state) VALUES (?1, ?2, ?3)",
        (name, spelled, state.name()),
    )
}

/// Puts a table back on the list that was on it before, under its old number, as one that is tracked.
pub(crate) fn regain(
    tx: &Transaction<'_>,
    id: i64,
    name: &str,
    spelled: &str,
    options: TableOptions,
) -> Result<()> {
    sql::exec(
        tx,
        "writing _driftless_tables",
        "INSERT OR REPLACE INTO _driftless_tables (id, name, spelled, state, deletes_win, integer_key)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (id, name, spelled, State::Tracked.name(), options.deletes_win, options.allow_integer_key),
    )?;
    Ok(())
}

/// Writes everything of an entry but its number and name.
pub(crate) fn update(tx: &Transaction<'_>, entry: &Entry) -> Result<()> {
    sql::exec(
        tx,
        "writing _driftless_tables",
        "UPDATE _driftless_tables SET spelled = ?2, state = ?3, reason = ?4, deletes_win = ?5, integer_key = ?6,
         rules = ?7, rebuilt = ?8 WHERE id = ?1",
        (
            entry.id,
            &entry.spelled,
            entry.state.name(),
            &entry.reason,
            entry.options.deletes_win,
            entry.options.allow_integer_key,
            &entry.rules,
            entry.rebuilt,
        ),
    )?;
    let columns = Columns {
        known: entry.columns.clone(),
        renames: entry.renames.clone(),
        kinds: entry.options.kinds.clone(),
        fresh: entry.fresh.clone(),
    };
    columns::put(tx, entry.id, &columns)
}

/// What was found when a table that had been rebuilt was compared with its documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rebuilt {
    /// When, in milliseconds since 1970.
    pub(crate) compared: i64,
    pub(crate) deleted: u64,
    pub(crate) inserted: u64,
    pub(crate) edited: u64,
}

/// Notes that a table that had been rebuilt is being compared with its documents now.
pub(crate) fn begin_comparison(tx: &Transaction<'_>, id: i64, now: i64) -> Result<()> {
    sql::exec(
        tx,
        "writing _driftless_tables",
        "UPDATE _driftless_tables SET rebuilt = NULL, compared = ?2, deleted = 0, inserted = 0, edited = 0 WHERE id = ?1",
        (id, now),
    )?;
    Ok(())
}

/// Counts rows that were found otherwise than their documents in a table that had been rebuilt.
pub(crate) fn count_rebuilt(tx: &Transaction<'_>, id: i64, found: &Rebuilt) -> Result<()> {
    sql::exec(
        tx,
        "writing _driftless_tables",
        "UPDATE _driftless_tables SET deleted = deleted + ?2, inserted = inserted + ?3, edited = edited + ?4 WHERE id = ?1",
        (id, Number(found.deleted), Number(found.inserted), Number(found.edited)),
    )?;
    Ok(())
}

/// What is noted of a table whose rows were written and are not compared yet with what they refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unjudged {
    /// The rows that are parked may fit now, too.
    Parked = 1,
    /// Those that are parked are listed to be looked at, as far as they may fit.
    Table = 2,
}

/// Notes that rows of a table were written that nobody has compared with what they refer to, and that parked rows may fit
/// now.
pub(crate) fn set_unjudged(tx: &Transaction<'_>, id: i64) -> Result<()> {
    sql::exec(
        tx,
        "writing _driftless_tables",
        "UPDATE _driftless_tables SET unjudged = 1 WHERE id = ?1 AND unjudged <> 1",
        [id],
    )?;
    Ok(())
}

/// The same where the rows that may fit now are listed one by one.
pub(crate) fn set_unjudged_alone(tx: &Transaction<'_>, id: i64) -> Result<()> {
    sql::exec(
        tx,
        "writing _driftless_tables",
        "UPDATE _driftless_tables SET unjudged = 2 WHERE id = ?1 AND unjudged = 0",
        [id],
    )?;
    Ok(())
}

/// Whether any table is noted so.
#[cfg(feature = "sim")]
pub(crate) fn any_unjudged(connection: &Connection) -> Result<bool> {
    sql::exists(
        connection,
        "reading _driftless_tables",
        "SELECT 1 FROM _driftless_tables WHERE unjudged <> 0",
        [],
    )
}

/// Whether any table was rebuilt and is not compared with its documents yet.
pub(crate) fn any_rebuilt(connection: &Connection) -> Result<bool> {
    sql::exists(
        connection,
        "reading _driftless_tables",
        "SELECT 1 FROM _driftless_tables WHERE rebuilt IS NOT NULL",
        [],
    )
}

/// Takes the numbers of the tables that are noted so.
pub(crate) fn take_unjudged(tx: &Transaction<'_>) -> Result<Vec<(i64, Unjudged)>> {
    let doing = "reading _driftless_tables";
    let unjudged: Vec<(i64, Unjudged)> = sql::list(
        tx,
        doing,
        "SELECT id, unjudged FROM _driftless_tables WHERE unjudged <> 0 ORDER BY id",
        [],
        |row| {
            let table = row.get::<_, i64>(1)? == Unjudged::Table as i64;
            Ok((row.get(0)?, if table { Unjudged::Table } else { Unjudged::Parked }))
        },
    )?;
    if !unjudged.is_empty() {
        sql::exec(tx, "writing _driftless_tables", "UPDATE _driftless_tables SET unjudged = 0", [])?;
    }
    Ok(unjudged)
}
