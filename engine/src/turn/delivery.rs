//! The order in which what came in is applied: causal order, and whole transactions only.
//!
//! A changeset is applied when everything that its author had applied before it is applied here, and when all
//! parts of its transaction are here. What comes early waits in the inbox.

use std::collections::{BTreeMap, VecDeque};

use driftless_protocol::{Changeset, ChangesetHeader, Part, ReplicaId, Seq, StateVector};
use rusqlite::Transaction;

use crate::error::{Error, Result};
use crate::store::{identity, inbox};

/// Whether `header` may be applied alone, right now.
pub(crate) fn is_next(vector: &StateVector, header: &ChangesetHeader) -> bool {
    let next = vector.get(header.replica) + 1;
    header.part == Part::Whole && header.seq.get() == next && vector.covers(&header.after)
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

/// A transaction in the inbox that can be applied: the seqs of its parts.
pub(crate) type Ready = (ReplicaId, Vec<Seq>);

/// The transactions in the inbox that can be applied, in an order in which they can be. Goes through the list once,
/// however much waits.
pub(crate) fn ready(tx: &Transaction<'_>, vector: &StateVector) -> Result<Vec<Ready>> {
    if inbox::is_empty(tx)? {
        return Ok(Vec::new());
    }
    let mut vector = vector.clone();
    let mut runs: BTreeMap<ReplicaId, VecDeque<(Seq, Part)>> = BTreeMap::new();
    let held = inbox::list(tx)?;
    for (replica, seq, part) in held {
        if seq.get() <= vector.get(replica) {
            continue;
        }
        let run = runs.entry(replica).or_default();
        if seq.get() == vector.get(replica) + 1 + run.len() as u64 {
            run.push_back((seq, part));
        }
    }
    let mut ready = Vec::new();
    loop {
        let before = ready.len();
        for (&replica, run) in &mut runs {
            while let Some(transaction) = first_transaction(tx, replica, run, &vector)? {
                run.drain(..transaction.len());
                if let Some(&last) = transaction.last() {
                    vector.raise(replica, last);
                }
                ready.push((replica, transaction));
            }
        }
        if ready.len() == before {
            return Ok(ready);
        }
    }
}

/// The first transaction of a run, if all its parts are there and may be applied.
fn first_transaction(
    tx: &Transaction<'_>,
    replica: ReplicaId,
    run: &VecDeque<(Seq, Part)>,
    vector: &StateVector,
) -> Result<Option<Vec<Seq>>> {
    // A `Last` without earlier parts is a whole transaction: its author took a new replica id in between.
    let Some(end) = run.iter().position(|(_, part)| *part != Part::More) else { return Ok(None) };
    let mut seqs = Vec::with_capacity(end + 1);
    for &(seq, _) in run.iter().take(end + 1) {
        match inbox::get(tx, replica, seq) {
            // It is not counted as held, so it comes again; and until then it holds up only what builds on it.
            Err(error @ Error::Damaged { .. }) => {
                tracing::error!(%error, "a changeset that waits is damaged and is dropped");
                inbox::forget_one(tx, replica, seq)?;
                let note = "a changeset that waited was damaged and was dropped: it comes again with the next connection";
                identity::add_repaired(tx, note)?;
                return Ok(None);
            }
            found => match found? {
                Some(changeset) if vector.covers(&changeset.header.after) => seqs.push(seq),
                _ => return Ok(None),
            },
        }
    }
    Ok(Some(seqs))
}

/// Takes a transaction's changesets out of the inbox.
pub(crate) fn take(tx: &Transaction<'_>, (replica, seqs): &Ready) -> Result<Vec<Changeset>> {
    let mut changesets = Vec::with_capacity(seqs.len());
    for &seq in seqs {
        changesets.extend(inbox::get(tx, *replica, seq)?);
    }
    if let Some(last) = seqs.last() {
        inbox::forget(tx, *replica, last.get())?;
    }
    Ok(changesets)
}
