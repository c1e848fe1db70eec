//! State vectors: replica → highest seq held with nothing missing below.
//!
//! Two sides exchange them on connecting and each sends what the other lacks, so that reconnecting costs what
//! changed and never the size of the database.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::ids::{ReplicaId, Seq};

/// A seq that does not follow the last one held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("changeset {got} of replica {replica} does not follow {held}, the last one held")]
pub struct Gap {
    /// Whose changeset it was.
    pub replica: ReplicaId,
    /// The highest seq held so far; 0 for none.
    pub held: u64,
    /// The seq that was to be added.
    pub got: Seq,
}

/// Replica → highest seq held with nothing missing below it. A replica that is not named has 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StateVector {
    entries: BTreeMap<ReplicaId, Seq>,
}

impl StateVector {
    /// The vector of a replica that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The highest seq held of `replica`; 0 for none.
    pub fn get(&self, replica: ReplicaId) -> u64 {
        self.entries.get(&replica).map_or(0, |seq| seq.get())
    }

    /// Counts one changeset more. `Ok(false)` when it was held already. Fails with [`Gap`] when one before it
    /// is missing, and then changes nothing: a vector never counts past a gap.
    pub fn advance(&mut self, replica: ReplicaId, seq: Seq) -> Result<bool, Gap> {
        let held = self.get(replica);
        if seq.get() <= held {
            return Ok(false);
        }
        if seq.get() != held + 1 {
            return Err(Gap { replica, held, got: seq });
        }
        self.entries.insert(replica, seq);
        Ok(true)
    }

    /// Raises `replica` to `seq`, which the caller knows to be held with all before it. Never lowers.
    pub fn raise(&mut self, replica: ReplicaId, seq: Seq) {
        let entry = self.entries.entry(replica).or_insert(seq);
        *entry = seq.max(*entry);
    }

    /// Raises every entry to that of `other`: what is held by someone who holds both.
    pub fn merge(&mut self, other: &Self) {
        for (&replica, &seq) in &other.entries {
            self.raise(replica, seq);
        }
    }

    /// Whether everything `other` counts is held here too.
    pub fn covers(&self, other: &Self) -> bool {
        other.entries.iter().all(|(&replica, seq)| self.get(replica) >= seq.get())
    }

    /// The entries in which this vector is ahead of `other`.
    pub fn ahead_of(&self, other: &Self) -> Self {
        let ahead = self.entries.iter().filter(|(replica, seq)| seq.get() > other.get(**replica));
        Self { entries: ahead.map(|(&replica, &seq)| (replica, seq)).collect() }
    }

    /// Every replica named, with its seq, ascending by replica.
    pub fn iter(&self) -> impl Iterator<Item = (ReplicaId, Seq)> + '_ {
        self.entries.iter().map(|(&replica, &seq)| (replica, seq))
    }

    /// How many replicas are named.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is held of anybody.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl FromIterator<(ReplicaId, Seq)> for StateVector {
    fn from_iter<T: IntoIterator<Item = (ReplicaId, Seq)>>(iter: T) -> Self {
        let mut vector = Self::new();
        iter.into_iter().for_each(|(replica, seq)| vector.raise(replica, seq));
        vector
    }
}

impl Serialize for StateVector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for StateVector {
    /// Accepts entries in ascending order only, so that a vector has one encoding.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> serde::de::Visitor<'de> for Entries {
            type Value = StateVector;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a state vector, ascending by replica")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<StateVector, A::Error> {
                let mut vector = StateVector::new();
                // Grown entry by entry: a length prefix from outside reserves nothing.
                while let Some((replica, at)) = seq.next_element::<(ReplicaId, Seq)>()? {
                    if vector.entries.last_key_value().is_some_and(|(&last, _)| last >= replica) {
                        return Err(A::Error::custom("the entries of a state vector are not in order"));
                    }
                    vector.entries.insert(replica, at);
                }
                Ok(vector)
            }
        }
        deserializer.deserialize_seq(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(n: u8) -> ReplicaId {
        ReplicaId::from_bytes([n; 16]).expect("not nil")
    }

    fn seq(n: u64) -> Seq {
        Seq::new(n).expect("not zero")
    }

    #[test]
    fn a_vector_never_counts_past_a_gap() {
        let mut vector = StateVector::new();
        assert_eq!(vector.advance(replica(1), seq(1)), Ok(true));
        assert_eq!(vector.advance(replica(1), seq(1)), Ok(false));
        let gap = Gap { replica: replica(1), held: 1, got: seq(3) };
        assert_eq!(vector.advance(replica(1), seq(3)), Err(gap));
        assert_eq!(vector.get(replica(1)), 1);
    }

    #[test]
    fn merge_is_the_greater_of_each_and_ahead_of_is_what_the_other_lacks() {
        let a: StateVector = [(replica(1), seq(5)), (replica(2), seq(1))].into_iter().collect();
        let b: StateVector = [(replica(1), seq(3)), (replica(3), seq(9))].into_iter().collect();
        let mut both = a.clone();
        both.merge(&b);
        assert!(both.covers(&a) && both.covers(&b) && !a.covers(&b));
        assert_eq!(a.ahead_of(&b).iter().collect::<Vec<_>>(), [(replica(1), seq(5)), (replica(2), seq(1))]);
        assert_eq!(b.ahead_of(&a).iter().collect::<Vec<_>>(), [(replica(3), seq(9))]);
    }
}
