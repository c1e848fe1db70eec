//! What the user's triggers did to other tracked rows while we wrote is undone: for the author it has been captured, and
//! comes as rows of its own.

use std::collections::BTreeSet;

use driftless_protocol::RowKey;
use rusqlite::config::DbConfig;

use super::{Materializer, Step};
use crate::error::{Doing, Result};
use crate::schema::rebuilt;
use crate::store::parked::{self, Stage};
use crate::store::{dirty, documents};
use crate::turn::apply::Touched;

impl Materializer<'_> {
    /// Brings the rows back to their documents that the user's triggers have written while we wrote others: what they
    /// wrote for the author travels, and here it would come on top. Our own triggers on such tables have marked
    /// everything that was written; nothing else is in the log, since we write only when it is drained.
    ///
    /// The triggers run on what is undone, too: a full-text index must hear of it. Those that never come to an end, as
    /// one does that sets a time at each update, are switched off in the last round.
    pub(super) fn undo_effects(&mut self) -> Step<()> {
        const ROUNDS: usize = 3;
        for round in 1..=ROUNDS {
            let marks = dirty::read(self.tx, usize::MAX >> 1)?;
            let Some(last) = marks.last() else { return Ok(()) };
            dirty::forget(self.tx, last.id)?;
            let mut rows = BTreeSet::new();
            for mut mark in rebuilt::with_evicted(self.tx, self.catalog, marks)? {
                let Some(tracked) = self.catalog.get(mark.table) else { continue };
                mark.key.truncate(tracked.table.key.len());
                rows.extend(tracked.table.row_key(&mark.key).ok().map(|key| (mark.table, key)));
            }
            if round < ROUNDS {
                self.restore(rows)?;
            } else {
                self.switch_triggers(false)?;
                let restored = self.restore(rows);
                self.switch_triggers(true)?;
                return restored;
            }
        }
        Ok(())
    }

    /// Returns whether they were on.
    pub(super) fn switch_triggers(&self, on: bool) -> Result<bool> {
        let were_on = self.triggers_run()?;
        self.tx
            .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, on)
            .doing("switching the triggers")?;
        Ok(were_on)
    }

    fn triggers_run(&self) -> Result<bool> {
        self.tx.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER).doing("asking whether triggers run")
    }

    pub(super) fn restore(&mut self, rows: BTreeSet<(i64, RowKey)>) -> Step<()> {
        let mut touched = Vec::with_capacity(rows.len());
        self.announce()?;
        for (table, key) in rows {
            let Some(tracked) = self.catalog.get(table).filter(|tracked| !tracked.settling) else { continue };
            let is_ahead = self.ahead.is_some_and(|ahead| ahead.contains(&(table, key.clone())));
            let stays_out = match parked::waits(self.tx, table, &key)? {
                // Its parent is still there, so it would fit; but it was taken out on purpose.
                Some(_) if is_ahead => true,
                // A trigger may have refused it that is switched off now.
                Some((stage, _)) => !self.triggers_run()? && stage == Stage::Itself as i64,
                // A row that a trigger made, which nobody wrote.
                None => documents::get(self.tx, table, key.as_bytes())?.is_none(),
            };
            if stays_out {
                self.take_out(tracked, &key)?;
            } else if documents::get(self.tx, table, key.as_bytes())?.is_some() {
                touched.push(Touched::again(table, key));
            }
        }
        self.renounce()?;
        self.rows(touched)?;
        self.settle_references()
    }
}
