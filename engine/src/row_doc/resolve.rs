//! From standing cells to what a user sees: the value shown, the values kept beside it, alive or not.

use std::borrow::Cow;

use driftless_protocol::lane::LIFE;
use driftless_protocol::{Value, WriterId};

use super::Lanes;

/// A value that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing<'a> {
    pub(crate) value: Value<'a>,
    pub(crate) time: i64,
    pub(crate) writer: WriterId,
}

/// One column as the merged row has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column<'a> {
    /// Folded to ASCII lower case.
    pub(crate) name: Cow<'a, str>,
    /// Of the cells that stand, the one with the greatest (time, writer).
    pub(crate) shown: Standing<'a>,
    /// Those that stand beside it with another value: kept until somebody writes the column again.
    pub(crate) kept: Vec<Standing<'a>>,
}

/// A merged row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RowState<'a> {
    pub(crate) alive: bool,
    /// Ascending by name; without the life register.
    pub(crate) columns: Vec<Column<'a>>,
}

impl<'a> RowState<'a> {
    /// The value shown in `column`; `None` if nobody ever wrote it.
    pub(crate) fn value(&self, column: &str) -> Option<&Value<'a>> {
        let at = self.columns.binary_search_by(|known| known.name.as_ref().cmp(column)).ok()?;
        Some(&self.columns[at].shown.value)
    }

    /// Whether any column has values beside the one shown.
    pub(crate) fn is_in_conflict(&self) -> bool {
        self.columns.iter().any(|column| !column.kept.is_empty())
    }
}

impl<'a> Lanes<'a> {
    /// What the lanes show together. A row lives while any life cell that stands says alive, whatever the times;
    /// with `deletes_win`, while none says dead.
    pub(crate) fn state(&self, deletes_win: bool) -> RowState<'a> {
        let mut cells: Vec<_> = self
            .iter()
            .flat_map(|(name, lane)| lane.cells.iter().map(move |cell| (name, cell)))
            // With one lane nothing can be superseded: nobody else could have seen or floored it.
            .filter(|(name, cell)| self.len() == 1 || !self.is_superseded(name, cell))
            .collect();
        // By column; within one, the cell to show last.
        cells.sort_by(|(a_name, a), (b_name, b)| {
            (&a.column, a.time, a_name).cmp(&(&b.column, b.time, b_name))
        });
        let mut state = RowState { alive: false, columns: Vec::with_capacity(cells.len()) };
        for column in cells.chunk_by(|(_, a), (_, b)| a.column == b.column) {
            let standing = |(name, cell): &(
                &driftless_protocol::lane::LaneName<'a>,
                &driftless_protocol::lane::Cell<'a>,
            )| Standing {
                value: cell.value.clone(),
                time: cell.time,
                writer: name.writer,
            };
            let Some((last, others)) = column.split_last() else { continue };
            if last.1.column == LIFE {
                let mut says_alive = column.iter().map(|(_, cell)| cell.value == Value::Integer(1));
                state.alive =
                    if deletes_win { says_alive.all(|alive| alive) } else { says_alive.any(|alive| alive) };
                continue;
            }
            let kept = others.iter().filter(|(_, cell)| cell.value != last.1.value).map(standing).collect();
            state.columns.push(Column { name: last.1.column.clone(), shown: standing(last), kept });
        }
        state
    }
}
