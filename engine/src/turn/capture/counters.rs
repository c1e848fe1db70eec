//! New counters in rows that do not show yet what others counted in them: what was added here is counted once, however often the row
//! is written before it shows the rest.

use driftless_protocol::Value;
use driftless_protocol::WriterId;
use driftless_protocol::lane::LaneName;

use super::Kind;
use super::found::{Cause, asked_other};
use crate::config::ColumnKind;
use crate::document;
use crate::document::row::diff::Current;
use crate::document::row::resolve::{Column as Held, RowState};
use crate::document::row::{Change, Lanes, RowDocument};
use crate::error::Result;
use crate::schema::Tracked;
use crate::store::dirty::Why;

/// Who takes back, in the document that says what a table shows of a row, what others counted and the row does not show: no writer
/// has such an id, and nothing that they write leaves this file. The second adds 1 to each such counter, which tells that what
/// the first adds is right for it, be that nothing.
fn nobodies() -> (WriterId, WriterId) {
    (WriterId::from_bits(1), WriterId::from_bits(2))
}

/// Whether a document that says what a table shows of a row has this counter as it is there.
pub(super) fn is_as_shown(shown: &Lanes<'_>, column: &str) -> bool {
    let marks = shown.get(&LaneName::main(nobodies().1));
    marks.is_some_and(|lane| lane.added(column) != 0)
}

/// The new counters of a row and what they show.
pub(super) fn new_counters(tracked: &Tracked, columns: &[Current<'_>]) -> Vec<(String, i64)> {
    let is_new = |now: &&Current<'_>| {
        now.kind == ColumnKind::Counter && tracked.fresh.iter().any(|fresh| fresh == now.column)
    };
    let shows = |now: &Current<'_>| match now.value {
        Value::Integer(shows) => Some((now.column.to_owned(), shows)),
        _ => None,
    };
    columns.iter().filter(is_new).filter_map(shows).collect()
}

/// A row's document with `counters` as they show in the table: what is written next is compared with that. `None` if it has none
/// of them, or all are so already.
pub(super) fn as_shown(
    tracked: &Tracked,
    document: &[u8],
    counters: &[(String, i64)],
) -> Result<Option<Vec<u8>>> {
    let state = tracked.view(document)?.state;
    let shown = RowDocument::read(document, tracked.column_names())?.lanes;
    let (mut marks, mut differences) = (Vec::new(), Vec::new());
    for (column, shows) in counters {
        let Some(sum) = state.column(column).and_then(Held::sum) else { continue };
        let is_marked = is_as_shown(&shown, column);
        let by = i128::from(*shows) - sum - i128::from(!is_marked);
        if !is_marked {
            marks.push(Change::Add { column: column.into(), by: 1 });
        }
        if by != 0 {
            differences.push(Change::Add { column: column.into(), by });
        }
    }
    let (difference, mark) = nobodies();
    let mut with: Option<Vec<u8>> = None;
    for (writer, changes) in [(mark, marks), (difference, differences)] {
        if !changes.is_empty() {
            let before = RowDocument::read(with.as_deref().unwrap_or(document), tracked.column_names())?;
            with = Some(document::row::write_seeing(Some(before), writer, 0, changes, &[])?.document);
        }
    }
    Ok(with)
}

/// What a new counter began with in a row that does not show yet what others counted in it: what it showed under its old name, or
/// else its default. `None` where nobody added to it.
pub(super) fn start<'s>(
    tracked: &Tracked,
    state: &'s RowState<'_>,
    now: &Current<'s>,
    cause: Cause<'_>,
) -> Option<&'s Value<'s>> {
    match asked_other(tracked, now.column) {
        Some(other) if cause.kind == Kind::Written || cause.why == Why::Rebuilt => state.value(other),
        None if cause.kind == Kind::Written => now.implied.filter(|default| **default != now.value),
        _ => None,
    }
}

/// Sets a counter to what others counted plus what was added here, where it began with `start`. Returns whether it did: no
/// column of another kind is touched, and no value that is not an INTEGER.
pub(super) fn count_on(now: &mut Current<'_>, held: &Held<'_>, start: Option<&Value<'_>>) -> bool {
    if now.kind == ColumnKind::Counter
        && let (Some(&Value::Integer(start)), &Value::Integer(value)) = (start, &now.value)
        && let Some(sum) = held.sum()
        && let Ok(all) = i64::try_from(sum + i128::from(value) - i128::from(start))
    {
        now.value = Value::Integer(all);
        return true;
    }
    false
}

/// Takes the counters out of a row, as values that were found in it.
pub(super) fn take<'a>(current: &mut Option<Vec<Current<'a>>>) -> Vec<Change<'a>> {
    let mut counters = Vec::new();
    for columns in current.iter_mut() {
        columns.retain(|column| {
            let counts = column.kind == ColumnKind::Counter;
            if counts {
                counters.push(Change::set(column.column, column.value.clone()));
            }
            !counts
        });
    }
    counters
}
