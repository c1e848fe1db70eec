//! What an engine knows of the user's tables from turn to turn: how they looked, which of them wait, and the numbers that
//! the app keeps in the file's header. The first step of a turn, *reconcile*, brings it up to what the tables are.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::Transaction;

use super::mark::Found;
use super::schema_version;
use crate::env::now;
use crate::error::Result;
use crate::schema::settling::Settling;
use crate::schema::tracking::look;
use crate::schema::tracking::rule::Newcomers;
use crate::schema::{Catalog, adoption, objects, unchanged};
use crate::store::{backlog, identity, parked};

#[derive(Debug)]
pub(super) struct UserTables {
    pub(super) catalog: Catalog,
    /// SQLite's `schema_version` when a turn that committed had made the catalog; `None` if the tables are to be looked at again
    /// in any case.
    pub(super) schema_version: Option<i64>,
    /// The tables that wait to be left alone.
    settling: Settling,
    /// Tables that `track --all` is about to track.
    pub(super) newcomers: Newcomers,
    /// Whether a rename that the space told waits until rebuilt tables are compared with their documents; `None` before that
    /// was asked.
    renames_wait: Option<bool>,
    /// The app's numbers in the file's header, when somebody last committed.
    pub(super) pragmas: Option<[i32; 2]>,
}

/// The tables that wait for something, as they were before a turn.
#[derive(Debug)]
pub(super) struct Waiting {
    settling: Settling,
    newcomers: Newcomers,
    renames_wait: Option<bool>,
}

/// Whether a turn looked at the tables, and why.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reconciled {
    /// The schema, or the file, is another than it was: tables of it may be others.
    pub(super) moved: bool,
    /// A table has been left alone for long enough to be decided about.
    settled: bool,
}

impl Reconciled {
    pub(super) fn has_looked(self) -> bool {
        self.moved || self.settled
    }
}

impl UserTables {
    /// Of a file that was just opened.
    pub(super) fn new(settling: Settling) -> Self {
        Self {
            catalog: Catalog::default(),
            schema_version: None,
            settling,
            newcomers: Newcomers::default(),
            renames_wait: None,
            pragmas: None,
        }
    }

    /// To be put back if the turn that begins is undone.
    pub(super) fn waiting(&self) -> Waiting {
        let Self { settling, newcomers, renames_wait, .. } = self;
        Waiting { settling: settling.clone(), newcomers: newcomers.clone(), renames_wait: *renames_wait }
    }

    /// A turn is undone, and so is what it decided about tables that wait.
    pub(super) fn put_back(&mut self, before: Waiting) {
        (self.settling, self.newcomers) = (before.settling, before.newcomers);
        self.renames_wait = before.renames_wait;
    }

    /// Has the tables looked at in the next turn.
    pub(super) fn look_again(&mut self) {
        self.schema_version = None;
    }

    /// Whether a table that was rebuilt may be compared with its documents now.
    pub(super) fn is_settling_due(&self) -> bool {
        self.settling.due_in(now()).is_some_and(|wait| wait.is_zero())
    }

    /// Brings what is known of the tables up to what they are, where they may have become others or a table has waited for
    /// long enough.
    pub(super) fn reconcile(&mut self, tx: &Transaction<'_>, found: &Found) -> Result<Reconciled> {
        let settled = self.is_settling_due();
        let moved = found.changed || self.schema_version != Some(found.schema_version);
        if moved || settled || self.newcomers.is_due(now()) {
            self.newcomers.look(tx, now(), self.settling.time_of_unseen(now()))?;
        }
        // Tables that are tracked only now have moved it on.
        let moved = moved || self.schema_version != Some(schema_version(tx)?);
        let reconciled = Reconciled { moved, settled };
        if reconciled.has_looked() {
            self.look(tx)?;
            if (identity::judge_by(tx, schema_version(tx)?)? || found.changed) && !parked::is_empty(tx)? {
                backlog::refresh_parked(tx)?;
            }
        }
        Ok(reconciled)
    }

    fn look(&mut self, tx: &Transaction<'_>) -> Result<()> {
        // What is found is current once this transaction is committed, and never if it is undone.
        self.look_again();
        let looked = look::at_tables(tx, &mut self.settling, now())?;
        if looked.took_a_given_up_name {
            self.newcomers.space_changed();
        }
        self.catalog = looked.catalog;
        if self.newcomers.wait() {
            unchanged::forget(tx)?;
        }
        Ok(())
    }

    /// Tells the space of the app's numbers in the file's header, if they may have changed and did. Returns what they are.
    pub(super) fn follow_pragmas(&self, tx: &Transaction<'_>, ask: bool) -> Result<Option<[i32; 2]>> {
        if !ask {
            return Ok(self.pragmas);
        }
        objects::follow_pragmas(tx, &self.catalog, self.pragmas, now())
    }

    /// The app has written to these tables. Returns in how long the next table may be compared with its documents; `None` if
    /// none waits.
    pub(super) fn written(&mut self, tables: &BTreeSet<i64>) -> Option<Duration> {
        tables.iter().for_each(|table| self.settling.touch(*table, now()));
        self.settling.due_in(now())
    }

    /// Whether a rename that the space told had to wait for rebuilt tables to be compared, and need not any more. To be asked when
    /// everything is captured.
    pub(super) fn can_join(&mut self, tx: &Transaction<'_>) -> Result<bool> {
        let waits = match self.renames_wait {
            Some(waits) => waits,
            // An engine that was here before may have left one waiting.
            None => adoption::awaits_comparison(tx)?,
        };
        self.renames_wait = Some(waits);
        Ok(waits && !adoption::awaits_comparison(tx)?)
    }

    /// What the space says of its tables has changed, and is taken over. It may change the notes that `status` shows of a table
    /// too, so the tables are to be looked at again.
    pub(super) fn follow_space(&mut self, tx: &Transaction<'_>) -> Result<()> {
        self.renames_wait = Some(adoption::adopt(tx, now())?);
        // A table that is here may be one that the space knows only now: this engine looks, or the next.
        self.newcomers.space_changed();
        unchanged::forget(tx)
    }
}
