//! What is captured may be only some of the rows that were written. Documents still hold what the others were, and what an app
//! then puts back is no write, as far as the engine can see: a row's document and its table are equal again.

use std::collections::BTreeMap;

use super::shown::{Known, Row, RowId, Snapshot, difference};

/// Rows of which it is not known whether they were captured, and all that their documents may hold: `None` for no row.
#[derive(Debug, Clone, Default)]
pub(super) struct Behind(BTreeMap<RowId, Vec<Option<Row>>>);

impl Behind {
    fn of(&self, row: &RowId) -> &[Option<Row>] {
        self.0.get(row).map_or(&[], Vec::as_slice)
    }

    /// Whether documents may hold no such row.
    pub(super) fn may_lack(&self, row: &RowId) -> bool {
        self.of(row).contains(&None)
    }

    /// Whether they may hold just these values of it.
    pub(super) fn may_be(&self, row: &RowId, values: &Row) -> bool {
        self.of(row).iter().flatten().any(|held| held == values)
    }

    /// Whether they may hold this value in a column of it.
    pub(super) fn may_hold(&self, row: &RowId, column: &str, value: &str) -> bool {
        self.of(row).iter().flatten().any(|held| held.get(column).is_some_and(|held| held == value))
    }
}

impl Known {
    /// Something was captured of what the app had written when the file looked like `attempt`. As long as marks are left
    /// it may be any of the rows; when it is `drained`, only those of tables that lost triggers are left, if it is not `clean`.
    pub(super) fn leave_behind(&mut self, attempt: &Snapshot, drained: bool, clean: bool) {
        let unwatched = self.unwatched.as_ref().filter(|_| !clean);
        let is_lost = |table: &str| unwatched.is_some_and(|unwatched| unwatched.tables.contains_key(table));
        let may_be_left = |row: &RowId| !drained || is_lost(&row.0);
        self.behind.0.retain(|row, _| may_be_left(row));
        let changed = difference(&self.shown, attempt);
        for row in self.touched.iter().chain(&changed).filter(|row| may_be_left(row)) {
            let held = self.shown.get(row).cloned();
            let behind = self.behind.0.entry(row.clone()).or_default();
            if !behind.contains(&held) {
                behind.push(held);
            }
        }
    }
}
