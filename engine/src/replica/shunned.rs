//! Rows that a turn parks unseen, because an attempt to write them undid a whole turn: a trigger of the app's rolled it back, or
//! the row took too long.

use std::collections::HashSet;

use crate::turn::materialize::RolledBack;

#[derive(Debug, Default)]
pub(super) struct Shunned {
    rows: HashSet<RolledBack>,
    /// The `schema_version` under which these rows failed: under another they are tried again.
    under: i64,
}

impl Shunned {
    pub(super) fn rows(&self) -> &HashSet<RolledBack> {
        &self.rows
    }

    pub(super) fn add(&mut self, row: RolledBack) {
        self.rows.insert(row);
    }

    /// A turn begins under this schema.
    pub(super) fn follow_schema(&mut self, schema_version: i64) {
        if self.under != schema_version {
            self.rows.clear();
            self.under = schema_version;
        }
    }
}
