//! Row documents against the causal truth, over random histories.
//!
//! Some replicas each hold one row as a stored document. They write it, in random columns and sizes, and merge each
//! other's documents, or each other's updates one by one in causal order. The truth is the history: of every write,
//! which writes its author knew. In every replica, after every step, exactly those writes of a column stand that no
//! known write of the column had seen; and of a counter, which is set now and then too, every value that stands counts
//! with all that known writes have added. Neither Yrs nor clocks (these go back and forth) may make a difference.

use std::collections::BTreeSet;

use driftless_protocol::lane::LIFE;
use driftless_protocol::{Value, WriterId};
use fastrand::Rng;

use super::lanes::LARGE_VALUE_BYTES;
use super::resolve::RowState;
use super::{Change, lanes, merge, write};

/// How many histories are run; `DRIFTLESS_HISTORIES` asks for more.
const HISTORIES: u64 = 2_000;
const COLUMNS: [&str; 3] = ["a", "b", "c"];
const COUNTER: &str = "n";

/// Which writes somebody knows, by their place in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Known(u128);

impl Known {
    fn has(self, write: usize) -> bool {
        self.0 & (1 << write) != 0
    }

    fn add(&mut self, write: usize) {
        self.0 |= 1 << write;
    }

    fn has_all(self, others: Self) -> bool {
        others.0 & !self.0 == 0
    }

    fn writes(self) -> impl Iterator<Item = usize> {
        (0..128).filter(move |&write| self.has(write))
    }
}

/// One write: the truth about it, and the update that carries it.
#[derive(Debug)]
struct Write {
    columns: Vec<&'static str>,
    alive: bool,
    /// What it makes of the counter, if it sets it.
    set: Option<Value<'static>>,
    /// What it adds to the counter.
    added: i128,
    /// What its author knew.
    seen: Known,
    update: Vec<u8>,
}

/// The writes of `column` in `known` that no other known write of it had seen.
fn standing(history: &[Write], known: Known, column: &str) -> BTreeSet<usize> {
    let writes: Vec<usize> =
        known.writes().filter(|&w| column == LIFE || history[w].columns.contains(&column)).collect();
    writes.iter().copied().filter(|&w| !writes.iter().any(|&later| history[later].seen.has(w))).collect()
}

#[derive(Debug)]
struct Replica {
    writer: WriterId,
    document: Option<Vec<u8>>,
    known: Known,
}

/// The replicas of one history. All randomness comes from its seed.
struct World {
    seed: u64,
    rng: Rng,
    history: Vec<Write>,
    replicas: Vec<Replica>,
    columns: usize,
    writers: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let (replicas, columns) = (rng.usize(2..=7), rng.usize(1..=COLUMNS.len()));
        let mut world = Self { seed, rng, history: Vec::new(), replicas: Vec::new(), columns, writers: 0 };
        for _ in 0..replicas {
            let writer = world.new_writer();
            world.replicas.push(Replica { writer, document: None, known: Known::default() });
        }
        world
    }

    /// Ids of all lengths in no order, never twice.
    fn new_writer(&mut self) -> WriterId {
        self.writers += 1;
        let bits = self.rng.u32(0..44);
        let high = self.rng.u64(0..1 << bits);
        WriterId::new(high << 8 | self.writers).expect("below 2^53 and not 0")
    }

    fn step(&mut self) {
        let at = self.rng.usize(0..self.replicas.len());
        match self.rng.u32(0..100) {
            0..4 => self.replicas[at].writer = self.new_writer(),
            4..58 => self.write(at),
            58..80 => self.merge_document(at),
            _ => self.merge_updates(at),
        }
        self.check(at);
    }

    /// A value that no other write has, so that none is left out for being equal to the one shown.
    fn value(&mut self, write: usize) -> Value<'static> {
        let text = match self.rng.u32(0..4) {
            0 => format!("{write} {}", "x".repeat(LARGE_VALUE_BYTES + self.rng.usize(0..64))),
            _ => format!("{write}"),
        };
        Value::Text(text.into_bytes().into())
    }

    fn write(&mut self, at: usize) {
        let number = self.history.len();
        let mut columns: Vec<&'static str> = COLUMNS[..self.columns].to_vec();
        self.rng.shuffle(&mut columns);
        columns.truncate(self.rng.usize(0..=self.columns));
        let alive = self.rng.u32(0..4) > 0;
        let mut changes = vec![Change::set(LIFE, Value::Integer(alive.into()))];
        for column in &columns {
            let value = self.value(number);
            changes.push(Change::set(*column, value));
        }
        let set = match self.rng.u32(0..8) {
            0 => Some(Value::Null),
            1 => Some(Value::Integer(self.rng.i64(-5..5))),
            2 => Some(Value::Integer(self.rng.i64(..))),
            _ => None,
        };
        let added = match self.rng.u32(0..8) {
            0..4 => self.rng.i64(-3..=3).into(),
            4 => self.rng.i64(..).into(),
            _ => 0,
        };
        if let Some(value) = &set {
            columns.push(COUNTER);
            changes.push(Change::set(COUNTER, value.clone()));
        }
        if added != 0 {
            changes.push(Change::Add { column: COUNTER.into(), by: added });
        }
        let time = self.rng.i64(0..5);
        let replica = &mut self.replicas[at];
        let written = write(replica.document.as_deref(), replica.writer, time, changes)
            .unwrap_or_else(|error| panic!("seed {}: write {number}: {error}", self.seed));
        self.history.push(Write { columns, alive, set, added, seen: replica.known, update: written.update });
        replica.document = Some(written.document);
        replica.known.add(number);
    }

    fn merge_document(&mut self, at: usize) {
        let from = &self.replicas[self.rng.usize(0..self.replicas.len())];
        let (Some(document), known) = (from.document.clone(), from.known) else { return };
        self.receive(at, &document, known);
    }

    /// Some of the updates that another has, in a random order in which none comes before what it builds on; some of
    /// them twice.
    fn merge_updates(&mut self, at: usize) {
        let theirs = self.replicas[self.rng.usize(0..self.replicas.len())].known;
        for _ in 0..self.rng.usize(1..=12) {
            let ours = self.replicas[at].known;
            let again = self.rng.u32(0..10) == 0;
            let ready: Vec<usize> = theirs
                .writes()
                .filter(|&w| ours.has_all(self.history[w].seen) && (again || !ours.has(w)))
                .collect();
            let Some(&next) = self.rng.choice(&ready) else { return };
            let update = self.history[next].update.clone();
            self.receive(at, &update, Known(1 << next));
            self.check(at);
        }
    }

    fn receive(&mut self, at: usize, update: &[u8], known: Known) {
        let replica = &mut self.replicas[at];
        let merged = merge(replica.document.as_deref(), update)
            .unwrap_or_else(|error| panic!("seed {}: merging into replica {at}: {error}", self.seed));
        replica.document = Some(merged);
        replica.known.0 |= known.0;
    }

    fn check(&self, at: usize) {
        let (seed, replica) = (self.seed, &self.replicas[at]);
        let Some(document) = &replica.document else { return };
        let lanes = lanes(document).unwrap_or_else(|error| panic!("seed {seed}: replica {at}: {error}"));
        let state = lanes.state(false);
        for column in &COLUMNS[..self.columns] {
            let found = state.columns.iter().find(|known| known.name == *column);
            let values = found.iter().flat_map(|c| std::iter::once(&c.shown).chain(&c.kept));
            let found: Vec<usize> = values.map(|standing| author(&standing.value)).collect();
            let truth = standing(&self.history, replica.known, column);
            assert!(
                found.len() == truth.len() && found.iter().all(|write| truth.contains(write)),
                "seed {seed}, after write {}: in replica {at} the writes {found:?} of column {column} stand, \
                 but should {truth:?}",
                self.history.len(),
            );
        }
        self.check_counter(at, &state);
        let lives = standing(&self.history, replica.known, LIFE);
        let says = |write: &usize| self.history[*write].alive;
        assert_eq!(state.alive, lives.iter().any(says), "seed {seed}: replica {at}: edits win");
        assert_eq!(lanes.state(true).alive, lives.iter().all(says), "seed {seed}: replica {at}: deletes win");
    }

    /// The values that stand in the counter, each with all that was added.
    fn check_counter(&self, at: usize, state: &RowState<'_>) {
        let known = self.replicas[at].known;
        let added: i128 = known.writes().map(|write| self.history[write].added).sum();
        let name = format!("seed {}, after write {}: replica {at}", self.seed, self.history.len());
        let stand = standing(&self.history, known, COUNTER);
        let Some(column) = state.column(COUNTER) else {
            assert_eq!((stand.len(), added), (0, 0), "{name} has no counter");
            return;
        };
        assert_eq!(column.added, added, "{name}");
        let nearest = |sum: i128| Value::Integer(sum.clamp(i64::MIN.into(), i64::MAX.into()) as i64);
        let mut truth: Vec<Value<'_>> = stand
            .iter()
            .filter_map(|&write| self.history[write].set.clone())
            .map(|set| match set {
                Value::Integer(base) => nearest(i128::from(base) + added),
                other => other,
            })
            .collect();
        if truth.is_empty() {
            truth.push(nearest(added));
        }
        let mut found: Vec<Value<'_>> = column.kept.iter().map(|kept| kept.value.clone()).collect();
        found.push(column.shown.value.clone());
        for values in [&mut truth, &mut found] {
            values.sort_by_key(|value| value.to_string());
            values.dedup();
        }
        assert_eq!(found, truth, "{name}: what stands in the counter");
        let bases: Vec<i128> = stand
            .iter()
            .filter_map(|&write| match self.history[write].set {
                Some(Value::Integer(base)) => Some(base.into()),
                _ => None,
            })
            .collect();
        if let Some(sum) = column.overflow {
            assert!(i64::try_from(sum).is_err(), "{name}: {sum} fits");
            let base = sum - added;
            assert!(bases.contains(&base) || stand.is_empty() && base == 0, "{name}: {sum} is no sum");
        } else if column.shown.value == nearest(i128::MAX) || column.shown.value == nearest(i128::MIN) {
            let &Value::Integer(shown) = &column.shown.value else { panic!("an integer is shown") };
            assert!(bases.contains(&(i128::from(shown) - added)), "{name}: {shown} is not exact");
        }
    }

    /// Everybody hears everything, each in an order of its own.
    fn settle(&mut self) {
        for at in 0..self.replicas.len() {
            let mut others: Vec<usize> = (0..self.replicas.len()).collect();
            self.rng.shuffle(&mut others);
            for other in others {
                let (document, known) = (self.replicas[other].document.clone(), self.replicas[other].known);
                if let Some(document) = document {
                    self.receive(at, &document, known);
                }
            }
            self.check(at);
        }
    }

    /// Replicas that know the same writes have the same lanes, byte for byte.
    fn check_agreement(&self) {
        for (n, one) in self.replicas.iter().enumerate() {
            for other in self.replicas[..n].iter().filter(|other| other.known == one.known) {
                let (Some(one), Some(other)) = (&one.document, &other.document) else { continue };
                let (one, other) = (lanes(one).expect("checked"), lanes(other).expect("checked"));
                assert_eq!(one, other, "seed {}", self.seed);
                let bytes = |lanes: &super::Lanes<'_>| -> Vec<_> {
                    lanes.iter().map(|(name, lane)| (name.to_string(), lane.to_bytes())).collect()
                };
                assert_eq!(bytes(&one), bytes(&other), "seed {}", self.seed);
            }
        }
    }
}

/// The write that a value names.
fn author(value: &Value<'_>) -> usize {
    let Value::Text(text) = value else { panic!("only texts are written") };
    let number = text.split(|&b| b == b' ').next().and_then(|n| std::str::from_utf8(n).ok());
    number.and_then(|n| n.parse().ok()).expect("a text begins with the number of its write")
}

/// Every `part`th of the histories: two tests share them, so that two cores do.
fn run_histories(part: u64) {
    let wanted = std::env::var("DRIFTLESS_HISTORIES").ok().and_then(|n| n.parse().ok());
    for seed in (0..wanted.unwrap_or(HISTORIES)).filter(|seed| seed % 2 == part) {
        let mut world = World::new(seed);
        let most = world.rng.usize(8..=80);
        let steps = world.rng.usize(4..=most);
        for _ in 0..steps {
            world.step();
        }
        world.check_agreement();
        world.settle();
        world.check_agreement();
        let all = world.replicas.iter().all(|replica| replica.known.writes().count() == world.history.len());
        assert!(all, "seed {seed}: everybody has heard everything");
    }
}

#[test]
fn exactly_the_unseen_writes_stand_in_every_replica_at_every_step() {
    run_histories(0);
}

#[test]
fn exactly_the_unseen_writes_stand_in_every_replica_at_every_step_of_other_histories() {
    run_histories(1);
}

/// Two copies of a file that are tracked apart find the same row and must make the same document of it, under the
/// same writer id; the order of their columns may differ.
#[test]
fn the_order_of_the_columns_makes_no_difference_to_a_new_document() {
    let writer = WriterId::new(77).expect("a writer id");
    let large = |fill: &str| Value::Text(fill.repeat(LARGE_VALUE_BYTES + 1).into_bytes().into());
    let changes = vec![
        Change::set(LIFE, Value::Integer(1)),
        Change::set("a", large("a")),
        Change::set("b", large("b")),
        Change::set("c", Value::Integer(3)),
    ];
    let mut turned = changes.clone();
    turned.reverse();
    let (one, other) = (write(None, writer, 0, changes), write(None, writer, 0, turned));
    let same = one.expect("written").document == other.expect("written").document;
    assert!(same, "one writer id with two contents: Yrs never brings these documents together");
}
