//! Carries changesets between replicas that nothing connects: everything to everybody, in an order of the caller's
//! choosing, each of them twice. What a network can do to changesets is done here on purpose: an author's later one
//! comes before the earlier, one author's before another's that it builds on, one by one or all in one turn.
//!
//! In a relay's place it keeps all that it was ever handed, so that a file which lost something gets it again, and one
//! that has another's name is told so.

use std::collections::BTreeMap;

use bytes::Bytes;
use driftless::sim;
use driftless_protocol::message::{Head, Welcome};
use driftless_protocol::{Changeset, ReplicaId, Seq, SpaceId, StateVector};
use fastrand::Rng;

/// So many orders are tried for one receiver. Four changesets have 24; of more there are samples.
const MOST_ORDERS: usize = 24;
/// A round may bring forth changesets, as when a definition is taken over; this many rounds do not.
const MOST_ROUNDS: usize = 6;

/// What was handed over, and in which order it is delivered.
#[derive(Debug, Clone)]
pub struct Courier {
    space: SpaceId,
    /// By replica, in the order of their seqs.
    log: BTreeMap<ReplicaId, Vec<Changeset>>,
    run: usize,
    orders: usize,
}

impl Courier {
    /// With nothing handed over yet; delivers in the order of writing.
    pub fn new() -> Self {
        Self { space: SpaceId::random(), log: BTreeMap::new(), run: 0, orders: 1 }
    }

    /// The same, delivering otherwise: `run` counts from 0, and comes to each order twice, once delivered one by one and
    /// once all together.
    pub fn in_order(&self, run: usize) -> Self {
        Self { run, orders: 1, ..self.clone() }
    }

    /// After how many runs every order will have been tried, both ways, by the receiver that had most to choose from.
    pub fn runs(&self) -> usize {
        2 * self.orders
    }

    /// Everybody captures and hands over, then gets what it lacks of what anybody has handed over; again until nobody
    /// lacks anything. Returns how many changesets came of what was delivered: none where merging writes nothing. Panics
    /// where an engine fails.
    #[track_caller]
    pub fn carry(&mut self, parties: &mut [&mut sim::Replica]) -> usize {
        let mut before = None;
        for _ in 0..MOST_ROUNDS {
            for party in &mut *parties {
                party.turn(Vec::new()).expect("the turn succeeds");
                self.collect(party);
            }
            let handed_over = self.log.values().map(Vec::len).sum::<usize>();
            let before = *before.get_or_insert(handed_over);
            let authors: Vec<ReplicaId> = parties.iter().map(|party| party.replica_id()).collect();
            let mut idle = true;
            for (at, party) in parties.iter_mut().enumerate() {
                let lacking = self.lacking(party, &authors);
                idle &= lacking.is_empty();
                self.deliver(party, &lacking, at);
            }
            if idle {
                return handed_over - before;
            }
        }
        panic!("there was something new to carry in each of {MOST_ROUNDS} rounds");
    }

    fn heads(&self) -> StateVector {
        let last = |(replica, log): (&ReplicaId, &Vec<Changeset>)| Some((*replica, log.last()?.header.seq));
        self.log.iter().filter_map(last).collect()
    }

    fn collect(&mut self, party: &mut sim::Replica) {
        let mut welcome = Welcome { space: self.space, heads: self.heads(), own: None };
        welcome.own = self
            .log
            .get(&party.replica_id())
            .and_then(|log| log.last())
            .map(|last| Head { seq: last.header.seq, checksum: Some(last.checksum()) });
        if party.welcome(&welcome).expect("the welcome is taken") {
            welcome.own = None;
            assert!(!party.welcome(&welcome).expect("the welcome is taken"), "its new name was taken");
        }
        let log = self.log.entry(party.replica_id()).or_default();
        let known = log.last().map_or(0, |last| last.header.seq.get());
        for frame in party.changesets_after(known).expect("the outbox can be read") {
            let changeset = Changeset::from_bytes(frame).expect("a changeset of our own");
            assert_eq!(Seq::new(log.len() as u64 + 1), Some(changeset.header.seq), "a gap in the outbox");
            log.push(changeset);
        }
    }

    /// What `party` lacks: by author, in the order in which `authors` are given, and by seq.
    fn lacking(&self, party: &sim::Replica, authors: &[ReplicaId]) -> Vec<Vec<Bytes>> {
        let vector = party.vector().expect("the vector can be read");
        let place = |replica: &ReplicaId| authors.iter().position(|author| author == replica);
        let mut replicas: Vec<&ReplicaId> = self.log.keys().filter(|id| **id != party.replica_id()).collect();
        replicas.sort_by_key(|replica| (place(replica).unwrap_or(usize::MAX), **replica));
        let of = |replica: &ReplicaId| {
            let behind = self.log[replica].iter().skip(vector.get(*replica) as usize);
            behind.map(|changeset| changeset.bytes().clone()).collect::<Vec<_>>()
        };
        replicas.into_iter().map(of).filter(|changesets| !changesets.is_empty()).collect()
    }

    /// Delivers in this run's order: one by one, each twice and at last all of them backwards; or all at once, forwards and
    /// backwards.
    fn deliver(&mut self, party: &mut sim::Replica, lacking: &[Vec<Bytes>], at: usize) {
        let (ordered, orders) = in_order(lacking, self.run / 2);
        self.orders = self.orders.max(orders);
        let backwards = || ordered.iter().rev().cloned().collect::<Vec<_>>();
        let mut turns: Vec<Vec<Bytes>> = Vec::new();
        if (self.run + at).is_multiple_of(2) {
            turns.extend(ordered.iter().map(|one| vec![one.clone(), one.clone()]));
            turns.push(backwards());
        } else {
            turns.push(ordered.iter().cloned().chain(backwards()).collect());
        }
        for turn in turns.into_iter().filter(|turn| !turn.is_empty()) {
            party.turn(turn).expect("the turn succeeds");
        }
    }
}

impl Default for Courier {
    fn default() -> Self {
        Self::new()
    }
}

/// The changesets of several authors in the order of that number, and how many orders there are. Order 0 is author by
/// author, each in the order of writing.
fn in_order(authors: &[Vec<Bytes>], number: usize) -> (Vec<Bytes>, usize) {
    let all: Vec<Bytes> = authors.iter().flatten().cloned().collect();
    if let Some(orders) = factorial(all.len()).filter(|orders| *orders <= MOST_ORDERS) {
        return (permutation(all, number % orders), orders);
    }
    let number = number % MOST_ORDERS;
    match factorial(authors.len()) {
        Some(orders) if number < orders.min(MOST_ORDERS / 2) => {
            (permutation(authors.to_vec(), number).into_iter().flatten().collect(), MOST_ORDERS)
        }
        _ => {
            let mut shuffled = all;
            Rng::with_seed(number as u64).shuffle(&mut shuffled);
            (shuffled, MOST_ORDERS)
        }
    }
}

fn factorial(n: usize) -> Option<usize> {
    (1..=n).try_fold(1usize, usize::checked_mul)
}

/// The permutation of that number, of `factorial(items.len())`; number 0 leaves all in place.
fn permutation<T>(mut items: Vec<T>, mut number: usize) -> Vec<T> {
    let mut permuted = Vec::with_capacity(items.len());
    while !items.is_empty() {
        let each = factorial(items.len() - 1).expect("as many as there are orders");
        permuted.push(items.remove(number / each));
        number %= each;
    }
    permuted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_comes_up_once() {
        let of = |names: &[&'static str]| {
            names.iter().map(|name| Bytes::from_static(name.as_bytes())).collect::<Vec<_>>()
        };
        let authors = [of(&["a1", "a2"]), of(&["b1"]), of(&["c1"])];
        let (first, orders) = in_order(&authors, 0);
        assert_eq!((&first[..], orders), (&of(&["a1", "a2", "b1", "c1"])[..], 24));
        let distinct: std::collections::BTreeSet<_> = (0..24).map(|run| in_order(&authors, run).0).collect();
        assert_eq!(distinct.len(), 24);

        let many = [of(&["a1", "a2", "a3"]), of(&["b1", "b2"])];
        let (swapped, orders) = in_order(&many, 1);
        assert_eq!((&swapped[..], orders), (&of(&["b1", "b2", "a1", "a2", "a3"])[..], MOST_ORDERS));
    }
}
