//! The second half of a turn: what came in is applied in causal order, and what that touched is written to the tables.
//!
//! A changeset that cannot be applied because of its own bytes is rolled back to a savepoint and set aside. It still
//! counts as held, so that it holds no others up.

use std::time::Instant;

use driftless_protocol::changeset::Body;
use driftless_protocol::{Changeset, RowKey, SnapshotPart, StateVector};
use rusqlite::Transaction;

use crate::env::now;
use crate::error::{Doing, Error, Result};
use crate::store::{backlog, documents, inbox, progress, quarantine};
use crate::turn::apply::{self, TableNumbers, Touched, TouchedRows};
use crate::turn::delivery;
use crate::turn::materialize::{Ahead, Limit, Materializer, Orphan, RolledBack, Stop, Unit};

/// Touched rows are written to their tables when they take this much memory, in bytes.
const TOUCHED_BYTES: usize = 16 << 20;

/// What comes in from a relay.
#[derive(Debug, Clone)]
pub(crate) enum Incoming {
    Changeset(Changeset),
    SnapshotPart(SnapshotPart),
    /// A changeset that was set aside under this number and is tried again. The state vector counts it already.
    Again(i64, Changeset),
}

impl Incoming {
    /// Its size as it travelled, in bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Changeset(changeset) => changeset.bytes().len(),
            Self::SnapshotPart(part) => part.bytes().len(),
            Self::Again(_, changeset) => changeset.bytes().len(),
        }
    }
}

/// Whether a turn can go on, or must begin again.
pub(crate) enum Flow {
    GoOn,
    RolledBack(RolledBack),
    TooMany(Vec<Orphan>),
}

/// The second half of a turn: apply, materialize, progress.
pub(crate) struct Merge<'a> {
    pub(crate) tx: &'a Transaction<'a>,
    vector: StateVector,
    numbers: TableNumbers,
    pub(crate) touched: TouchedRows,
    pub(crate) materializer: Materializer<'a>,
}

impl<'a> Merge<'a> {
    /// `touched`: rows that were captured, which are to be materialized first.
    pub(crate) fn new(
        tx: &'a Transaction<'a>,
        touched: TouchedRows,
        materializer: Materializer<'a>,
    ) -> Result<Self> {
        let vector = progress::vector(tx)?;
        Ok(Self { tx, vector, numbers: TableNumbers::default(), touched, materializer })
    }
}

impl Merge<'_> {
    /// Applies what came in, and materializes three things: that, the rows on the list to be shown again (about
    /// `limit` of them, or fewer if `until` passes), and what the user's own writes do to other rows.
    pub(crate) fn all(
        &mut self,
        incoming: &[Incoming],
        limit: usize,
        until: Option<Instant>,
    ) -> Result<Flow> {
        type Do<'b, 'a> = &'b dyn Fn(&mut Merge<'a>) -> Result<Flow>;
        let steps: [Do<'_, '_>; 4] = [
            &|merge| merge.materialize(),
            &|merge| merge.receive(incoming),
            &|merge| merge.refresh(limit, until),
            &|merge| merge.settle(),
        ];
        for step in steps {
            match step(self)? {
                Flow::GoOn => {}
                stop => return Ok(stop),
            }
        }
        Ok(Flow::GoOn)
    }

    /// Keeps everything for a later turn.
    pub(crate) fn keep(&mut self, incoming: &[Incoming]) -> Result<Flow> {
        for one in incoming {
            match one {
                Incoming::Changeset(changeset) => self.keep_changeset(changeset)?,
                Incoming::SnapshotPart(part) => inbox::keep_part(self.tx, part)?,
                // It stays in the quarantine.
                Incoming::Again(..) => {}
            }
        }
        Ok(Flow::GoOn)
    }

    fn keep_changeset(&mut self, changeset: &Changeset) -> Result<()> {
        if changeset.header.seq.get() > self.vector.get(changeset.header.replica) {
            inbox::keep(self.tx, changeset)?;
        }
        Ok(())
    }

    /// Applies what can be applied, keeps the rest, and applies what was kept before and is ready now.
    fn receive(&mut self, incoming: &[Incoming]) -> Result<Flow> {
        for one in incoming {
            match one {
                Incoming::Changeset(changeset) if delivery::is_next(&self.vector, &changeset.header) => {
                    if let Flow::RolledBack(row) = self.apply(std::slice::from_ref(changeset))? {
                        return Ok(Flow::RolledBack(row));
                    }
                    // The same changeset may have come before, too early, and still wait in the inbox: nobody would
                    // look at it again.
                    inbox::forget(self.tx, changeset.header.replica, changeset.header.seq.get())?;
                }
                Incoming::Changeset(changeset) => self.keep_changeset(changeset)?,
                Incoming::SnapshotPart(part) => inbox::keep_part(self.tx, part)?,
                Incoming::Again(id, changeset) => {
                    if self.guarded(|merge| merge.apply_body(&changeset.body()?))?.is_ok() {
                        quarantine::remove(self.tx, *id)?;
                    }
                }
            }
        }
        if let Flow::RolledBack(row) = self.apply_snapshots()? {
            return Ok(Flow::RolledBack(row));
        }
        for transaction in delivery::ready(self.tx, &self.vector)? {
            let changesets = delivery::take(self.tx, &transaction)?;
            if let Flow::RolledBack(row) = self.apply(&changesets)? {
                return Ok(Flow::RolledBack(row));
            }
        }
        self.materialize()
    }

    /// Applies the changesets of one transaction, or sets them aside together.
    fn apply(&mut self, transaction: &[Changeset]) -> Result<Flow> {
        let applied = self.guarded(|merge| {
            for changeset in transaction {
                merge.apply_body(&changeset.body()?)?;
            }
            Ok(())
        })?;
        if let Err(error) = applied {
            let first = transaction.first().map(|c| (c.header.replica.short(), c.header.seq.get()));
            tracing::error!(?first, %error, "a changeset could not be applied and is set aside");
            for changeset in transaction {
                let from = Some((changeset.header.replica, changeset.header.seq.get()));
                quarantine::put(self.tx, from, &error.to_string(), now(), changeset.bytes())?;
            }
        }
        for changeset in transaction {
            let header = &changeset.header;
            self.vector.raise(header.replica, header.seq);
            progress::raise(self.tx, header.replica, header.seq.get())?;
        }
        self.materialize_if_many()
    }

    fn apply_body(&mut self, body: &Body) -> Result<()> {
        apply::body(self.tx, &mut self.numbers, body, &mut self.touched, self.materializer.way)
    }

    /// Runs `work` under a savepoint. If it fails because of the bytes that came in, it is undone, and the inner
    /// result is the error; other errors end the turn.
    fn guarded(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<Result<()>> {
        let doing = "applying changesets";
        self.tx.execute_batch("SAVEPOINT _driftless_apply").doing(doing)?;
        // The rows touched before are put aside: if `work` is undone they are kept, and only those that `work` touched
        // are dropped.
        let touched = std::mem::take(&mut self.touched);
        let result = work(self);
        match result {
            Ok(()) => {
                self.tx.execute_batch("RELEASE _driftless_apply").doing(doing)?;
                let fresh = std::mem::replace(&mut self.touched, touched);
                self.touched.append(fresh);
                Ok(Ok(()))
            }
            Err(error) if error.blames_input() => {
                self.tx
                    .execute_batch("ROLLBACK TO _driftless_apply; RELEASE _driftless_apply")
                    .doing(doing)?;
                self.touched = touched;
                self.numbers = TableNumbers::default();
                Ok(Err(error))
            }
            Err(error) => Err(error),
        }
    }

    /// Applies every snapshot of which all parts are here.
    fn apply_snapshots(&mut self) -> Result<Flow> {
        while let Some((snapshot, last)) = inbox::complete_snapshot(self.tx)? {
            let mut vector = StateVector::new();
            let applied = self.guarded(|merge| {
                for index in 0..=last {
                    if let Some(part) = inbox::part(merge.tx, &snapshot, index)? {
                        merge.apply_body(&part.body()?)?;
                        vector = part.header.vector;
                    }
                }
                Ok(())
            })?;
            if let Err(error) = applied {
                tracing::error!(%error, "a snapshot could not be applied and is set aside");
                if let Some(part) = inbox::part(self.tx, &snapshot, last)? {
                    quarantine::put(self.tx, None, &error.to_string(), now(), part.bytes())?;
                }
            } else {
                for (replica, seq) in vector.iter() {
                    progress::raise(self.tx, replica, seq.get())?;
                    inbox::forget(self.tx, replica, seq.get())?;
                }
                self.vector.merge(&vector);
            }
            inbox::forget_snapshot(self.tx, &snapshot)?;
            if let Flow::RolledBack(row) = self.materialize_if_many()? {
                return Ok(Flow::RolledBack(row));
            }
        }
        Ok(Flow::GoOn)
    }

    fn materialize_if_many(&mut self) -> Result<Flow> {
        if self.touched.bytes() > TOUCHED_BYTES { self.materialize() } else { Ok(Flow::GoOn) }
    }

    fn materialize(&mut self) -> Result<Flow> {
        let touched = self.touched.take();
        flow(self.materializer.rows(touched))
    }

    /// Judges the references, once everything is written.
    fn settle(&mut self) -> Result<Flow> {
        flow(self.materializer.settle())
    }

    /// Parks, before what came in is applied, the rows that will have to leave their tables then. `changed`: other
    /// rows may refer to them by now.
    pub(crate) fn park_ahead(
        &mut self,
        units: &[Unit],
        limit: Limit,
        changed: bool,
    ) -> Result<std::result::Result<Ahead, Flow>> {
        let parked = self.materializer.park_ahead(units, limit, changed);
        let settled = parked.and_then(|ahead| self.materializer.settle().map(|()| ahead));
        match settled {
            Ok(ahead) => Ok(Ok(ahead)),
            Err(stop) => flow(Err(stop)).map(Err),
        }
    }

    /// Materializes documents whose table or column has just appeared.
    fn refresh(&mut self, limit: usize, until: Option<Instant>) -> Result<Flow> {
        const PORTION: usize = 64;
        let order = self.materializer.catalog().parents_first();
        let mut left = limit;
        loop {
            let portion = if until.is_some() { left.min(PORTION) } else { left };
            let requests = backlog::take_refresh(self.tx, order.iter().copied(), portion)?;
            let count = requests.len();
            for (table, key) in requests {
                let Some(stored) = documents::get(self.tx, table, &key)? else { continue };
                let key = RowKey::from_bytes(&key).map_err(|error| Error::Damaged {
                    table: "_driftless_refresh",
                    what: error.to_string(),
                })?;
                self.touched.push(Touched { document: Some(stored.body), ..Touched::again(table, key) });
            }
            match self.materialize()? {
                Flow::GoOn => {}
                stop => return Ok(stop),
            }
            left -= count;
            if count < portion || left == 0 || until.is_some_and(|until| Instant::now() >= until) {
                return Ok(Flow::GoOn);
            }
        }
    }
}

fn flow(step: std::result::Result<(), Stop>) -> Result<Flow> {
    match step {
        Ok(()) => Ok(Flow::GoOn),
        Err(Stop::Error(error)) => Err(error),
        Err(Stop::RolledBack(row)) => Ok(Flow::RolledBack(row)),
        Err(Stop::TooMany(orphans)) => Ok(Flow::TooMany(orphans)),
    }
}
