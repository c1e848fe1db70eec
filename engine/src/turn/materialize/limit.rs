//! How much of what a turn brings about it does itself.

use std::time::Instant;

/// So many rows are done whatever the time: each turn must get somewhere.
const LEAST_ROWS: usize = 32;

/// So many rows of others, put back or taken out because of what came, and so long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    rows: usize,
    until: Option<Instant>,
}

impl Limit {
    /// Everything at once.
    pub(crate) const NONE: Self = Self { rows: usize::MAX, until: None };

    /// At most so many rows, and when this time has come only a few.
    pub(crate) fn new(rows: usize, until: Option<Instant>) -> Self {
        Self { rows: rows.max(1), until }
    }

    /// So many rows more than that, however long they take.
    pub(crate) fn besides(self, rows: usize) -> Self {
        Self { rows: self.rows.saturating_add(rows), until: None }
    }

    pub(crate) fn is_none(&self) -> bool {
        self.rows == usize::MAX
    }

    /// How many more rows may be done after so many.
    pub(crate) fn left(&self, done: usize) -> usize {
        let least = LEAST_ROWS.min(self.rows);
        if done >= least && self.is_late() { 0 } else { self.rows.saturating_sub(done) }
    }

    /// Whether the time has come.
    pub(crate) fn is_late(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }
}
