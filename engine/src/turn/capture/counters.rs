//! New counters in rows that do not show yet what others counted in them. An addition that is made here counts once, however often
//! the row is written before it shows the rest.
//!
//! To that end the row's base (`store::bases`), with which the next write is compared, has the counter as the row shows it: two writers
//! that stand for nobody add the difference there.

use driftless_protocol::lane::LaneName;
use driftless_protocol::{Value, WriterId};

use crate::config::ColumnKind;
use crate::document;
use crate::document::row::diff::Current;
use crate::document::row::resolve::Column as Held;
use crate::document::row::{Change, Lanes, RowDocument, RowView};
use crate::error::Result;
use crate::schema::Tracked;

/// The two writers of those differences. No real writer has such an id, and what they write never leaves this file. The first adds
/// the difference, which may be nothing; the second adds 1, which tells that the counter has been brought to what the row shows.
fn nobodies() -> (WriterId, WriterId) {
    (WriterId::from_bits(1), WriterId::from_bits(2))
}

/// Whether a base has been brought to what the row shows of this counter.
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

/// A row's document, brought to what the row shows of `counters`. `None` if the document has none of them, or shows them so already.
pub(super) fn as_shown(
    tracked: &Tracked,
    document: &[u8],
    counters: &[(String, i64)],
) -> Result<Option<Vec<u8>>> {
    let RowView { document: shown, state } = tracked.view(document)?;
    let (mut marks, mut differences) = (Vec::new(), Vec::new());
    for (column, shows) in counters {
        let Some(sum) = state.column(column).and_then(Held::sum) else { continue };
        let is_marked = is_as_shown(&shown.lanes, column);
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
