//! Beginning to track a table, ceasing to, and looking at all rows of one again.

use rusqlite::Transaction;

use super::definitions::{self, Definition};
use super::installed::drop_triggers;
use super::renewal::rule_shape;
use super::{Table, column_changes};
use crate::error::{Doing, Result};
use crate::store::dirty::Why;
use crate::store::tables::{self, Entry, State};
use crate::store::{backlog, dirty, quote};

/// Begins to track a table: its rows as they are, and what others wrote in it already. `kinds`: those that were stated, as
/// they are written down. Its triggers are still to be made, in the same transaction: see [`super::installed::install_all`].
pub(crate) fn begin(
    tx: &Transaction<'_>,
    mut entry: Entry,
    table: &Table,
    kinds: Option<String>,
    now: i64,
) -> Result<()> {
    dirty::widen(tx, table.key.len())?;
    let why = if entry.state == State::Unknown { Why::First } else { Why::Again };
    enqueue_all(tx, entry.id, table, why, now)?;
    backlog::refresh_table(tx, entry.id)?;
    tables::set_unjudged(tx, entry.id)?;
    entry.state = State::Tracked;
    entry.reason = None;
    entry.rebuilt = None;
    entry.spelled.clone_from(&table.spelled);
    if !entry.columns.is_empty() {
        // It was tracked before: columns that came meanwhile are as new as in a table that was tracked all along.
        let came = column_changes::since_last_look(&entry, table).came;
        entry.fresh.extend(came);
    }
    column_changes::record(&mut entry, table, true);
    entry.rules = Some(rule_shape(table));
    tables::update(tx, &entry)?;
    // The space's definition stays where there is one: this table may be of an older version of the app.
    match definitions::find(tx, &entry.name)? {
        Some(_) => Ok(()),
        None => definitions::put(
            tx,
            &Definition { kinds, ..Definition::of(&entry.name, table, &entry.options) },
            now,
        ),
    }
}

/// Ceases to track a table, for the reason that its entry gives. Its documents stay, and what others write in it goes on
/// being merged into them.
pub(crate) fn end(tx: &Transaction<'_>, entry: Entry) -> Result<()> {
    end_as(tx, entry, State::Untracked)
}

/// The same of a table that is in another state from now on.
pub(crate) fn end_as(tx: &Transaction<'_>, mut entry: Entry, state: State) -> Result<()> {
    drop_triggers(tx, entry.id)?;
    backlog::forget_table(tx, entry.id)?;
    entry.state = state;
    entry.rebuilt = None;
    tables::update(tx, &entry)
}

/// Compares every row of a table with its document again, every document with its row, and rows with what they refer to.
/// An edit that is found gets the time `at`.
pub(crate) fn look_again(tx: &Transaction<'_>, id: i64, table: &Table, at: i64) -> Result<()> {
    look_because(tx, id, table, Why::Again, at)
}

/// The same for another reason.
pub(crate) fn look_because(tx: &Transaction<'_>, id: i64, table: &Table, why: Why, at: i64) -> Result<()> {
    dirty::widen(tx, table.key.len())?;
    enqueue_all(tx, id, table, why, at)?;
    backlog::refresh_table(tx, id)?;
    tables::set_unjudged(tx, id)
}

/// Lists every row of a table to be looked at.
pub(super) fn enqueue_all(tx: &Transaction<'_>, id: i64, table: &Table, why: Why, at: i64) -> Result<()> {
    let (columns, key) = (dirty::key_list(table.key.len()), table.key_columns());
    tx.execute(
        &format!(
            "INSERT INTO _driftless_backlog (tbl, first, at, {columns}) SELECT {id}, {}, {at}, {key} FROM main.{}",
            why.number(),
            quote(&table.spelled)
        ),
        [],
    )
    .doing("listing the rows of a table")?;
    Ok(())
}
