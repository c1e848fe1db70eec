//! Bringing one row of a user's table to what its document says. Nothing is judged here: what SQLite refuses comes back
//! as its error.

use std::borrow::Cow;
use std::time::Duration;

use driftless_protocol::Value;
use rusqlite::{ErrorCode, Transaction, params_from_iter};

use super::judge::Wanted;
use crate::document::row::resolve::RowState;
use crate::error::Result;
use crate::schema::column_names::is_named_apart;
use crate::schema::{Tracked, insert_sql, insert_sql_or, or_abort};
use crate::store::limits::Bounds;
use crate::store::{Bind, fold, quote, sql, value};

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It was so already.
    None,
    Came,
    Changed,
    Went,
    /// Nothing became of it: a trigger said RAISE(IGNORE).
    Ignored,
}

/// A write that succeeded.
#[derive(Debug)]
pub(super) struct Wrote {
    pub(super) effect: Effect,
    /// The row as it was, every column in the table's order, if other tables refer to this one.
    pub(super) old: Option<Vec<Value<'static>>>,
    /// The places of the columns that changed in a row that stays.
    pub(super) changed: Vec<usize>,
}

impl Wrote {
    fn new(effect: Effect) -> Self {
        Self { effect, old: None, changed: Vec::new() }
    }
}

/// What SQLite does about a constraint, also in what the user's triggers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clause {
    /// Fail.
    Abort,
    /// Leave that row be.
    Ignore,
}

/// How a row is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    pub(super) clause: Clause,
    /// How long each statement may take.
    pub(super) time: Duration,
}

/// Brings a row that is alive to its state.
pub(super) fn write(tx: &Transaction<'_>, row: Wanted<'_>, how: How) -> rusqlite::Result<Wrote> {
    let Wanted { tracked, key_values, state, new, .. } = row;
    let wanted = wanted(tracked, key_values, state);
    let came = |done| Wrote::new(if done { Effect::Came } else { Effect::Ignored });
    if new {
        // A row without a document is not in its table: every row that is has been captured. Were it there after
        // all, with a NULL in its way or a mark that got lost, the insert says so and the row is looked at.
        let changes_before = tx.total_changes();
        match insert(tx, tracked, &wanted, how) {
            // A trigger that fails with RAISE(FAIL) leaves the row that it refuses.
            Err(error) if is_taken(&error) && tx.total_changes() == changes_before => {}
            inserted => return inserted.map(came),
        }
    }
    let Some(Difference { columns, old }) = compare(tx, row, &wanted)? else {
        return insert(tx, tracked, &wanted, how).map(came);
    };
    if columns.is_empty() {
        return Ok(Wrote::new(Effect::None));
    }
    if !update(tx, tracked, key_values, &columns, how)? {
        return Ok(Wrote::new(Effect::Ignored));
    }
    let changed = columns.iter().map(|(at, _)| *at).collect();
    Ok(Wrote { effect: Effect::Changed, old, changed })
}

/// How a row in its table differs from what its document wants.
struct Difference<'a> {
    /// The columns that differ, by their places in the table, and what is wanted of them.
    columns: Vec<(usize, &'a Cow<'a, Value<'a>>)>,
    /// The row as it is, if it differs and other tables refer to this one.
    old: Option<Vec<Value<'static>>>,
}

/// `None`: the row is not there.
fn compare<'a>(
    tx: &Transaction<'_>,
    row: Wanted<'_>,
    wanted: &'a [(usize, Cow<'a, Value<'a>>)],
) -> rusqlite::Result<Option<Difference<'a>>> {
    let tracked = row.tracked;
    let mut select = tx.prepare_cached(&tracked.select)?;
    let mut rows = select.query(params_from_iter(row.key_values.iter().map(Bind)))?;
    let Some(found) = rows.next()? else { return Ok(None) };
    let mut columns = Vec::new();
    for (at, wanted) in wanted {
        let (column, is) = (&tracked.table.columns[*at], value(found.get_ref(*at)?));
        if is != **wanted && !column.shows_for(tx, wanted, &is).unwrap_or(false) {
            columns.push((*at, wanted));
        }
    }
    let is_referred_to = !tracked.targets.is_empty() && !columns.is_empty();
    let old = is_referred_to.then(|| read(tracked, found)).transpose()?;
    Ok(Some(Difference { columns, old }))
}

/// Deletes one row, if it is there. `time`: how long that may take; `None` for as long as it takes, where no trigger runs.
pub(super) fn delete(
    tx: &Transaction<'_>,
    tracked: &Tracked,
    key_values: &[Value<'static>],
    time: Option<Duration>,
) -> rusqlite::Result<Wrote> {
    let mut old = None;
    if !tracked.targets.is_empty() {
        let mut select = tx.prepare_cached(&tracked.select)?;
        let mut rows = select.query(params_from_iter(key_values.iter().map(Bind)))?;
        match rows.next()? {
            Some(row) => old = Some(read(tracked, row)?),
            None => return Ok(Wrote::new(Effect::None)),
        }
    }
    let mut delete = tx.prepare_cached(&tracked.delete)?;
    let bounds = time.map(|time| Bounds::begin(tx, time)).transpose()?;
    let gone = delete.execute(params_from_iter(key_values.iter().map(Bind)))? > 0;
    drop(bounds);
    Ok(Wrote { old, ..Wrote::new(if gone { Effect::Went } else { Effect::None }) })
}

/// A row as it is in its table, every column in the table's order.
pub(super) fn read_row(
    tx: &Transaction<'_>,
    tracked: &Tracked,
    key_values: &[Value<'static>],
) -> Result<Option<Vec<Value<'static>>>> {
    let doing = "reading a row";
    sql::opt(tx, doing, &tracked.select, params_from_iter(key_values.iter().map(Bind)), |row| {
        read(tracked, row)
    })
}

fn read(tracked: &Tracked, row: &rusqlite::Row<'_>) -> rusqlite::Result<Vec<Value<'static>>> {
    (0..tracked.table.columns.len()).map(|at| Ok(value(row.get_ref(at)?).into_owned())).collect()
}

/// The columns that the document or the key says something of, by their place in the table.
pub(crate) fn wanted<'a>(
    tracked: &Tracked,
    key_values: &'a [Value<'static>],
    state: &'a RowState<'a>,
) -> Vec<(usize, Cow<'a, Value<'a>>)> {
    let columns = tracked.table.columns.iter().enumerate();
    columns
        .filter_map(|(at, column)| {
            let said = state.value(&column.name);
            let in_key = tracked.table.key.iter().position(|key| key.at == at);
            let value = match in_key.and_then(|place| Some((place, key_values.get(place)?))) {
                Some((place, key)) => tracked.table.spelling(place, key, said),
                // The row may still show a value of the older column that had this name: set the default.
                None if said.is_none() && is_named_apart(&fold(&column.spelled), &column.name) => {
                    return column.default.clone().map(|default| (at, Cow::Owned(default)));
                }
                None => said?,
            };
            Some((at, Cow::Borrowed(value)))
        })
        .collect()
}

fn is_taken(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

/// Returns whether anything came of it.
fn insert(
    tx: &Transaction<'_>,
    tracked: &Tracked,
    wanted: &[(usize, Cow<'_, Value<'_>>)],
    how: How,
) -> rusqlite::Result<bool> {
    let mut insert = if how.clause == Clause::Ignore {
        tx.prepare_cached(&insert_sql_or(" OR IGNORE", &tracked.table, wanted.iter().map(|(at, _)| *at)))?
    } else if wanted.len() == tracked.table.columns.len() {
        tx.prepare_cached(&tracked.insert)?
    } else {
        tx.prepare_cached(&insert_sql(&tracked.table, wanted.iter().map(|(at, _)| *at)))?
    };
    let _bounds = Bounds::begin(tx, how.time)?;
    insert.execute(params_from_iter(wanted.iter().map(|(_, value)| Bind(value)))).map(|rows| rows > 0)
}

/// Returns whether anything came of it.
fn update(
    tx: &Transaction<'_>,
    tracked: &Tracked,
    key_values: &[Value<'_>],
    differs: &[(usize, &Cow<'_, Value<'_>>)],
    how: How,
) -> rusqlite::Result<bool> {
    let key_len = key_values.len();
    let sets = differs
        .iter()
        .enumerate()
        .map(|(n, (at, _))| format!("{} = ?{}", quote(&tracked.table.columns[*at].spelled), key_len + n + 1));
    let sql = format!(
        "UPDATE{} main.{} SET {} WHERE {}",
        if how.clause == Clause::Ignore { " OR IGNORE" } else { or_abort(&tracked.table) },
        quote(&tracked.table.spelled),
        sets.collect::<Vec<_>>().join(", "),
        tracked.table.key_condition()
    );
    let mut update = tx.prepare_cached(&sql)?;
    let binds = key_values.iter().map(Bind).chain(differs.iter().map(|(_, value)| Bind(value)));
    let _bounds = Bounds::begin(tx, how.time)?;
    update.execute(params_from_iter(binds)).map(|rows| rows > 0)
}
