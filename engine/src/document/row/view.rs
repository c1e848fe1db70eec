//! A row document that is read once and passed along: its bytes, the lanes in them, and what these show.

use super::resolve::RowState;
use super::{Lanes, RowDocError, lanes};

/// How the columns of a table's rows are, or may be, renamed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ColumnNames<'n> {
    /// Columns that were renamed: the names now, and those that they travel by.
    pub(crate) renames: &'n [(String, String)],
    /// Columns that may be others under new names: each, and the other.
    pub(crate) asked: &'n [(String, String)],
}

/// A stored document and the lanes in it, under the names by which their columns travel.
#[derive(Debug)]
pub(crate) struct RowDocument<'d> {
    pub(crate) bytes: &'d [u8],
    pub(crate) lanes: Lanes<'d>,
}

impl<'d> RowDocument<'d> {
    /// Fails if the document is damaged.
    pub(crate) fn read(bytes: &'d [u8], names: ColumnNames<'_>) -> Result<Self, RowDocError> {
        Ok(Self { bytes, lanes: lanes(bytes)?.renamed(names.renames).asking(names.asked) })
    }

    /// `deletes_win`: the option of its table.
    pub(crate) fn view(self, deletes_win: bool) -> RowView<'d> {
        RowView { state: self.lanes.state(deletes_win), document: self }
    }
}

/// A document, and the row that it shows.
#[derive(Debug)]
pub(crate) struct RowView<'d> {
    pub(crate) document: RowDocument<'d>,
    /// Without what its text documents hold, until somebody fills that in.
    pub(crate) state: RowState<'d>,
}
