//! In which order what came in is applied: causally, and transactions whole.
//!
//! A changeset is applied when everything that its author had applied before it is applied here, and when all
//! parts of its transaction are here. What comes early waits in the inbox.

use std::collections::HashMap;

use driftless_protocol::{Changeset, ChangesetHeader, Part, ReplicaId, Seq, StateVector};
use rusqlite::Transaction;

use crate::error::Result;
use crate::store::inbox;

/// Whether `header` may be applied alone, right now.
pub(crate) fn is_next(vector: &StateVector, header: &ChangesetHeader) -> bool {
    header.part == Part::Whole
        && header.seq.get() == vector.get(header.replica) + 1
        && vector.covers(&header.after)
}

/// What is held: applied, or waiting in the inbox with nothing missing before it. This is what a relay need not
/// send again.
pub(crate) fn held(vector: &StateVector, waiting: &[(ReplicaId, Seq, Part)]) -> StateVector {
    let mut held = vector.clone();
    for &(replica, seq, _) in waiting {
        // In order of seq; what lies behind a gap is simply not counted.
        let _ = held.advance(replica, seq);
    }
    held
}

/// Takes from the inbox the next transaction that can be applied: its changesets in order, one or several parts.
pub(crate) fn take_ready(tx: &Transaction<'_>, vector: &StateVector) -> Result<Option<Vec<Changeset>>> {
    if inbox::is_empty(tx)? {
        return Ok(None);
    }
    let mut runs: HashMap<ReplicaId, Vec<(Seq, Part)>> = HashMap::new();
    for (replica, seq, part) in inbox::list(tx)? {
        if seq.get() <= vector.get(replica) {
            continue;
        }
        let run = runs.entry(replica).or_default();
        if seq.get() == vector.get(replica) + 1 + run.len() as u64 {
            run.push((seq, part));
        }
    }
    for (replica, run) in runs {
        // A `Last` without a beginning is whole: its author became another replica in between.
        let Some(end) = run.iter().position(|(_, part)| *part != Part::More) else { continue };
        let mut transaction = Vec::with_capacity(end + 1);
        for &(seq, _) in &run[..=end] {
            match inbox::get(tx, replica, seq)? {
                Some(changeset) if vector.covers(&changeset.header.after) => transaction.push(changeset),
                _ => break,
            }
        }
        if transaction.len() == end + 1 {
            let last = run[end].0.get();
            inbox::forget(tx, replica, last)?;
            return Ok(Some(transaction));
        }
    }
    Ok(None)
}
