//! (merged row, row as it is in the table) → what to write into the document.

use driftless_protocol::Value;
use driftless_protocol::lane::LIFE;

use super::Change;
use super::resolve::RowState;

/// One column of a row as it is in the table.
#[derive(Debug)]
pub(crate) struct Current<'a> {
    /// Folded to ASCII lower case.
    pub(crate) column: &'a str,
    /// Its value now.
    pub(crate) value: Value<'a>,
    /// What the row document implies when nobody wrote the column: the value that the row key gives back, or the
    /// column's DEFAULT. `None` where that is not known, and then the value is written.
    pub(crate) implied: Option<&'a Value<'a>>,
}

/// What a write of this row has to change; empty if the document says all of it already. `current` is `None`
/// when the row is not in the table. Every write restates life, so that an edit wins over a concurrent delete.
pub(crate) fn changes<'a>(
    state: Option<&RowState<'_>>,
    current: Option<Vec<Current<'a>>>,
) -> Vec<Change<'a>> {
    let alive = state.is_some_and(|state| state.alive);
    let life = |alive: bool| Change { column: LIFE.into(), value: Value::Integer(alive.into()) };
    let Some(current) = current else {
        return if alive { vec![life(false)] } else { Vec::new() };
    };
    let changed: Vec<Change<'a>> = current
        .into_iter()
        .filter(|now| match state.and_then(|state| state.value(now.column)) {
            Some(shown) => *shown != now.value,
            // A new row states every column, so that it is whole wherever the defaults differ; only what the key
            // itself says need not be said again.
            None => now.implied.is_none_or(|implied| *implied != now.value),
        })
        .map(|now| Change { column: now.column.into(), value: now.value })
        .collect();
    if changed.is_empty() && alive {
        return Vec::new();
    }
    std::iter::once(life(true)).chain(changed).collect()
}
