//! Do the triggers still match the tables? Asked whenever SQLite's `schema_version` has moved.
//!
//! `ALTER TABLE` needs no ceremony: a new column brings new triggers and shows what others already wrote in it. A
//! table that was dropped keeps its documents; dropping a table is not deleting its rows. One that was made anew was
//! written without our triggers watching, so all its rows are captured again.

use rusqlite::{Connection, Transaction};

use super::definitions::{self, Definition};
use super::eligibility::{self, Refusal};
use super::introspect;
use super::triggers::{self, Trigger};
use super::{Catalog, Table, Tracked};
use crate::error::{Doing, Result};
use crate::store::tables::{self, DEFINITIONS, Entry, State};
use crate::store::{backlog, dirty, quote};

/// Renews what is recorded of every table. Returns the tables to capture from and to materialize into.
pub(crate) fn run(tx: &Transaction<'_>, now: i64) -> Result<Catalog> {
    let mut tracked = vec![own(tx)?];
    for entry in tables::all(tx)?.into_iter().filter(|entry| entry.id != DEFINITIONS) {
        match entry.state {
            State::Untracked | State::Unknown => {}
            State::Tracked | State::Missing | State::Unfit => tracked.extend(renew(tx, entry, now)?),
        }
    }
    Ok(Catalog::new(tracked))
}

fn own(connection: &Connection) -> Result<Tracked> {
    Ok(Tracked::new(DEFINITIONS, Default::default(), definitions::own_table(connection)?))
}

fn renew(tx: &Transaction<'_>, mut entry: Entry, now: i64) -> Result<Option<Tracked>> {
    let looked = introspect::table(tx, &entry.name)?;
    let table = match looked {
        Some(Ok(table)) => table,
        Some(Err(refusal)) => return lose(tx, entry, State::Unfit, &refusal.to_string()),
        None => {
            let reason =
                "the table was dropped; what others write in it is kept and shows when it is made again";
            return lose(tx, entry, State::Missing, reason);
        }
    };
    // A key of another kind would give every row another name.
    if let Err(refusal @ Refusal::IntegerKey) = eligibility::check(&table, entry.options) {
        return lose(tx, entry, State::Unfit, &refusal.to_string());
    }
    let key = key_shape(&table);
    let recorded = entry.shape.clone().unwrap_or_default();
    let (old_key, old_columns) = recorded.split_once('\n').unwrap_or(("", ""));
    if !recorded.is_empty() && old_key != key {
        let reason = format!("its primary key changed from ({old_key}) to ({key}); make a new table instead");
        return lose(tx, entry, State::Unfit, &reason);
    }
    let columns = column_shape(&table);
    let (changed, present) = (columns != old_columns, triggers_present(tx, &entry, &table)?);
    let back = entry.state != State::Tracked;
    if present == Presence::AsExpected && !changed && !back && entry.spelled == table.spelled {
        let fresh = entry.fresh;
        return Ok(Some(Tracked { fresh, ..Tracked::new(entry.id, entry.options, table) }));
    }
    install(tx, entry.id, &table)?;
    if present == Presence::Missing || changed || back {
        // Rows may have been written unseen, or have values in a column that no document names yet, as after a
        // rename; documents may have rows that the table lacks, or values for a column that has just appeared.
        tracing::info!(table = %entry.spelled, "the table changed; all its rows are looked at again");
        enqueue_all(tx, entry.id, &table, false)?;
        backlog::refresh_table(tx, entry.id)?;
    }
    if changed {
        let known: Vec<&str> = old_columns.split(", ").collect();
        let appeared = table.columns.iter().filter(|column| !known.contains(&quote(&column.name).as_str()));
        entry.fresh.extend(appeared.map(|column| column.name.replace('\n', " ")));
    }
    entry.state = State::Tracked;
    entry.reason = unique_warning(&table);
    entry.spelled.clone_from(&table.spelled);
    entry.shape = Some(format!("{key}\n{columns}"));
    tables::update(tx, &entry)?;
    definitions::put(tx, &Definition::of(&table, entry.options), now)?;
    Ok(Some(Tracked { fresh: entry.fresh, ..Tracked::new(entry.id, entry.options, table) }))
}

/// Gives a table up for now, leaving no trigger that points at nothing.
fn lose(tx: &Transaction<'_>, mut entry: Entry, state: State, reason: &str) -> Result<Option<Tracked>> {
    if entry.state == state && entry.reason.as_deref() == Some(reason) {
        return Ok(None);
    }
    tracing::warn!(table = %entry.spelled, reason, "the table is no longer captured");
    drop_triggers(tx, entry.id)?;
    backlog::forget_table(tx, entry.id)?;
    entry.state = state;
    entry.reason = Some(reason.to_owned());
    tables::update(tx, &entry)?;
    Ok(None)
}

fn unique_warning(table: &Table) -> Option<String> {
    match eligibility::check(table, crate::config::TableOptions::integer_key()) {
        Err(refusal @ Refusal::UniqueIndex(_)) => Some(refusal.to_string()),
        _ => None,
    }
}

fn key_shape(table: &Table) -> String {
    let columns = table.key.iter().map(|key| {
        let rowid = if table.integer_key { " rowid" } else { "" };
        format!("{} {:?}{rowid}", quote(&table.columns[key.at].name), key.collation)
    });
    columns.collect::<Vec<_>>().join(", ").replace('\n', " ")
}

fn column_shape(table: &Table) -> String {
    table.columns.iter().map(|column| quote(&column.name)).collect::<Vec<_>>().join(", ")
}

/// Begins to track a table: its triggers, its rows as they are, and what others wrote in it already.
pub(crate) fn begin(tx: &Transaction<'_>, mut entry: Entry, table: &Table, now: i64) -> Result<()> {
    install(tx, entry.id, table)?;
    enqueue_all(tx, entry.id, table, entry.state == State::Unknown)?;
    backlog::refresh_table(tx, entry.id)?;
    entry.state = State::Tracked;
    entry.reason = None;
    entry.spelled.clone_from(&table.spelled);
    entry.shape = Some(format!("{}\n{}", key_shape(table), column_shape(table)));
    tables::update(tx, &entry)?;
    // The space's definition stays where there is one: this table may be of an older version of the app.
    match definitions::find(tx, &entry.name)? {
        Some(_) => Ok(()),
        None => definitions::put(tx, &Definition::of(table, entry.options), now),
    }
}

/// Ceases to track a table. Its documents stay, and what others write in it goes on being merged into them.
pub(crate) fn end(tx: &Transaction<'_>, mut entry: Entry) -> Result<()> {
    drop_triggers(tx, entry.id)?;
    backlog::forget_table(tx, entry.id)?;
    entry.state = State::Untracked;
    entry.reason = None;
    tables::update(tx, &entry)
}

#[derive(Debug, PartialEq, Eq)]
enum Presence {
    AsExpected,
    /// Other text than expected: a column was renamed, a unique index added.
    Different,
    /// At least one is gone: the table was dropped and made anew, perhaps.
    Missing,
}

fn triggers_present(tx: &Transaction<'_>, entry: &Entry, table: &Table) -> Result<Presence> {
    let recorded = recorded_triggers(tx, entry.id)?;
    let expected = triggers::all(entry.id, table);
    let watching = ["insert", "update", "delete"]
        .iter()
        .all(|kind| recorded.iter().any(|t| t.name == format!("{}{kind}", triggers::name_prefix(entry.id))));
    Ok(match (watching, recorded.len() == expected.len() && expected.iter().all(|t| recorded.contains(t))) {
        (false, _) => Presence::Missing,
        (true, false) => Presence::Different,
        (true, true) => Presence::AsExpected,
    })
}

fn recorded_triggers(tx: &Transaction<'_>, id: i64) -> Result<Vec<Trigger>> {
    let doing = "reading the triggers";
    let mut statement = tx
        .prepare_cached(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, ?2) = ?1",
        )
        .doing(doing)?;
    let prefix = triggers::name_prefix(id);
    let rows = statement
        .query_map((&prefix, prefix.len() as i64), |row| Ok(Trigger { name: row.get(0)?, sql: row.get(1)? }))
        .doing(doing)?;
    rows.collect::<rusqlite::Result<_>>().doing(doing)
}

fn drop_triggers(tx: &Transaction<'_>, id: i64) -> Result<()> {
    for trigger in recorded_triggers(tx, id)? {
        tx.execute_batch(&format!("DROP TRIGGER {}", quote(&trigger.name))).doing("dropping a trigger")?;
    }
    Ok(())
}

fn install(tx: &Transaction<'_>, id: i64, table: &Table) -> Result<()> {
    drop_triggers(tx, id)?;
    dirty::widen(tx, table.key.len())?;
    for trigger in triggers::all(id, table) {
        tx.execute_batch(&trigger.sql).doing("creating a trigger")?;
    }
    Ok(())
}

/// `first`: the table was never shown what the documents hold.
fn enqueue_all(tx: &Transaction<'_>, id: i64, table: &Table, first: bool) -> Result<()> {
    let (columns, key) = (dirty::key_list(table.key.len()), table.key_columns());
    tx.execute(
        &format!(
            "INSERT INTO _driftless_backlog (tbl, first, {columns}) SELECT {id}, {}, {key} FROM main.{}",
            i64::from(first),
            quote(&table.spelled)
        ),
        [],
    )
    .doing("listing the rows of a table")?;
    Ok(())
}
