//! Row documents → user tables. A row is written as its document says; nothing is decided here.
//!
//! A row that a constraint refuses is parked: it stays in its document, is counted, and is tried again when it is
//! touched and whenever the schema changes. It holds nothing else up.

use std::borrow::Cow;
use std::collections::HashSet;

use driftless_protocol::{RowKey, Value};
use rusqlite::{ErrorCode, Transaction, params_from_iter};

use crate::apply::Touched;
use crate::changes::ChangedRow;
use crate::error::{Doing, Error, Result};
use crate::row_doc;
use crate::row_doc::resolve::RowState;
use crate::schema::{Catalog, Tracked, insert_sql};
use crate::store::tables::DEFINITIONS;
use crate::store::{Bind, conflicts, documents, parked, quote, value};

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Materialized {
    /// Rows that are now other than they were.
    pub(crate) changed: Vec<ChangedRow>,
    /// Rows that a constraint refused.
    pub(crate) parked: usize,
    /// Whether the space's definitions of tables changed.
    pub(crate) definitions: bool,
}

/// A row whose trigger rolled the whole transaction back.
pub(crate) type RolledBack = (i64, RowKey);

/// How materializing ended.
pub(crate) enum Outcome {
    /// Everything is written or parked.
    Done(Materialized),
    /// A trigger of the user's rolled the transaction back while this row was written; the turn must begin again
    /// without it.
    RolledBack(RolledBack),
}

/// Writes rows, each at most once in `touched`. Rows in `shunned` are parked unseen.
pub(crate) fn run(
    tx: &Transaction<'_>,
    catalog: &Catalog,
    touched: Vec<Touched>,
    shunned: &HashSet<RolledBack>,
) -> Result<Outcome> {
    let mut done = Materialized::default();
    if touched.is_empty() {
        return Ok(Outcome::Done(done));
    }
    let doing = "announcing our own writes to the triggers";
    tx.execute("INSERT INTO _driftless_applying (one) VALUES (1)", []).doing(doing)?;
    let mut has_conflicts = !conflicts::is_empty(tx)?;
    let mut has_parked = !parked::is_empty(tx)?;
    for row in touched {
        let Some(tracked) = catalog.get(row.table) else { continue };
        let document = match row.document {
            Some(document) => document,
            None => match documents::get(tx, row.table, row.key.as_bytes())? {
                Some(stored) => stored.body,
                None => continue,
            },
        };
        let lanes = row_doc::lanes(&document)?;
        let state = lanes.state(tracked.options.deletes_win);
        if has_conflicts || state.is_in_conflict() {
            conflicts::put(tx, tracked.id, &row.key, &state)?;
            has_conflicts = true;
        }
        let refused = if shunned.contains(&(row.table, row.key.clone())) {
            Err("a trigger of the table rolls back every transaction that writes this row".to_owned())
        } else {
            match write(tx, tracked, &row.key, &state, row.new) {
                Ok(changed) => Ok(changed),
                Err(_) if tx.is_autocommit() => return Ok(Outcome::RolledBack((row.table, row.key))),
                Err(error) => Err(refusal(error)?),
            }
        };
        match refused {
            Ok(changed) => {
                if has_parked {
                    parked::remove(tx, tracked.id, &row.key)?;
                }
                done.definitions |= changed && tracked.id == DEFINITIONS;
                if changed && tracked.id != DEFINITIONS {
                    done.changed.push(ChangedRow::new(tracked, row.key));
                }
            }
            Err(reason) => {
                tracing::debug!(table = %tracked.name, reason, "parked");
                parked::put(tx, tracked.id, &row.key, &reason)?;
                has_parked = true;
                done.parked += 1;
            }
        }
    }
    tx.execute("DELETE FROM _driftless_applying", []).doing(doing)?;
    Ok(Outcome::Done(done))
}

/// Why the row is refused; or the error itself, where it is not the row's fault.
fn refusal(error: rusqlite::Error) -> Result<String> {
    let ours = matches!(
        error.sqlite_error_code(),
        None | Some(
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::OutOfMemory
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::ReadOnly
                | ErrorCode::OperationInterrupted
        )
    );
    if ours {
        return Err(Error::Sqlite { doing: "writing a merged row", source: error });
    }
    Ok(match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message,
        other => other.to_string(),
    })
}

/// Brings one row to its state. Returns whether anything changed.
fn write(
    tx: &Transaction<'_>,
    tracked: &Tracked,
    key: &RowKey,
    state: &RowState<'_>,
    new: bool,
) -> rusqlite::Result<bool> {
    let key_values = key.values();
    if !state.alive {
        let mut delete = tx.prepare_cached(&tracked.delete)?;
        return Ok(delete.execute(params_from_iter(key_values.iter().map(Bind)))? > 0);
    }
    let wanted = wanted(tracked, &key_values, state);
    if new {
        // A row without a document is not in its table: every row that is has been captured. Were it there after
        // all, with a NULL in its way or a mark that got lost, the insert says so and the row is looked at.
        match insert(tx, tracked, &wanted) {
            Err(error) if is_taken(&error) => {}
            inserted => return inserted.map(|()| true),
        }
    }
    let differs = {
        let mut select = tx.prepare_cached(&tracked.select)?;
        let mut rows = select.query(params_from_iter(key_values.iter().map(Bind)))?;
        match rows.next()? {
            None => None,
            Some(row) => {
                let mut differs = Vec::new();
                for (at, wanted) in &wanted {
                    if value(row.get_ref(*at)?) != **wanted {
                        differs.push((*at, wanted));
                    }
                }
                Some(differs)
            }
        }
    };
    match differs {
        None => insert(tx, tracked, &wanted).map(|()| true),
        Some(differs) if differs.is_empty() => Ok(false),
        Some(differs) => update(tx, tracked, &key_values, &differs).map(|()| true),
    }
}

/// The columns that the document or the key says something of, by their place in the table.
fn wanted<'a>(
    tracked: &Tracked,
    key_values: &'a [Value<'static>],
    state: &'a RowState<'a>,
) -> Vec<(usize, Cow<'a, Value<'a>>)> {
    let columns = tracked.table.columns.iter().enumerate();
    columns
        .filter_map(|(at, column)| {
            let in_key = || {
                let place = tracked.table.key.iter().position(|key| key.at == at)?;
                key_values.get(place)
            };
            Some((at, Cow::Borrowed(state.value(&column.name).or_else(in_key)?)))
        })
        .collect()
}

fn is_taken(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

fn insert(
    tx: &Transaction<'_>,
    tracked: &Tracked,
    wanted: &[(usize, Cow<'_, Value<'_>>)],
) -> rusqlite::Result<()> {
    let mut insert = if wanted.len() == tracked.table.columns.len() {
        tx.prepare_cached(&tracked.insert)?
    } else {
        tx.prepare_cached(&insert_sql(&tracked.table, wanted.iter().map(|(at, _)| *at)))?
    };
    insert.execute(params_from_iter(wanted.iter().map(|(_, value)| Bind(value)))).map(|_| ())
}

fn update(
    tx: &Transaction<'_>,
    tracked: &Tracked,
    key_values: &[Value<'_>],
    differs: &[(usize, &Cow<'_, Value<'_>>)],
) -> rusqlite::Result<()> {
    let key_len = key_values.len();
    let sets = differs
        .iter()
        .enumerate()
        .map(|(n, (at, _))| format!("{} = ?{}", quote(&tracked.table.columns[*at].spelled), key_len + n + 1));
    let sql = format!(
        "UPDATE OR ABORT main.{} SET {} WHERE {}",
        quote(&tracked.table.spelled),
        sets.collect::<Vec<_>>().join(", "),
        tracked.table.key_condition()
    );
    let mut update = tx.prepare_cached(&sql)?;
    let binds = key_values.iter().map(Bind).chain(differs.iter().map(|(_, value)| Bind(value)));
    update.execute(params_from_iter(binds)).map(|_| ())
}
