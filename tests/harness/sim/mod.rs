//! The simulator: whole clusters on one thread, from one seed. Engines and relays are the real ones, without their threads and
//! sockets, over real SQLite; time, ids, network and disks are the simulator's.
//!
//! A run is a list of decisions ([`Step`]), drawn from the seed as it goes along. What must always hold is checked after each,
//! the rest at the end, when every fault has ceased and everybody has met everybody. A run that fails can be
//! [shrunk](shrink) to the few decisions that it takes, kept as a file, and [replayed](replay).

mod admitted;
mod always;
mod crowd;
mod draw;
mod heal;
mod model;
mod node;
mod planted;
mod read;
mod relay;
mod scenario;
mod schema;
mod shrink;
mod sql;
mod trace;
mod unwatched;
mod wires;
mod world;

use std::cell::{Cell, RefCell};

pub use crowd::{Crowd, Summary};
pub use planted::{Found, find_planted};
pub use scenario::{Scenario, Step};
pub use shrink::shrink;
pub use world::{Failure, Tally};

use draw::Dice;
use world::World;

/// One in so many runs also makes a new file from a relay in the end, and lets each file prove itself.
const THOROUGH_EVERY: u64 = 4;
/// One in so many is drawn twice.
const TWICE_EVERY: u64 = 100;

/// A run that is over.
#[derive(Debug)]
pub struct Run {
    /// What was done; up to the failure, if there was one.
    pub scenario: Scenario,
    /// What did not hold.
    pub failure: Option<Failure>,
    /// In numbers.
    pub tally: Tally,
    /// A number for all that went on, in order. Runs that do the same have the same.
    pub log: u64,
}

/// Draws a run from its seed. `print`: to stderr, line by line.
pub fn run(seed: u64, print: bool) -> Run {
    let (mut scenario, mut dice) = Dice::new(seed);
    let mut steps = Vec::new();
    let (failure, tally, log) = play(&scenario, print, |world| {
        let step = dice.next(world)?;
        steps.push(step.clone());
        Some(step)
    });
    scenario.steps = steps;
    Run { scenario, failure, tally, log }
}

/// Does what a scenario says.
pub fn replay(scenario: &Scenario, print: bool) -> Run {
    let mut steps = scenario.steps.iter();
    let (failure, tally, log) = play(scenario, print, |_| steps.next().cloned());
    Run { scenario: scenario.clone(), failure, tally, log }
}

fn play(
    scenario: &Scenario,
    print: bool,
    mut next: impl FnMut(&World) -> Option<Step>,
) -> (Option<Failure>, Tally, u64) {
    let mut world = match World::new(scenario, print) {
        Ok(world) => world,
        Err(failure) => return (Some(failure), Tally::default(), 0),
    };
    let mut go = || {
        while let Some(step) = next(&world) {
            world.step(&step)?;
        }
        world.finish(scenario.seed.is_multiple_of(THOROUGH_EVERY))
    };
    let failure = go().err();
    if print && let Some(failure) = &failure {
        eprintln!("-- {failure}");
    }
    let (tally, log) = (world.tally, world.trace.number());
    drop(world);
    driftless::sim::set_clock(None);
    driftless::sim::set_seed(None);
    driftless_test_disk::set_clock(None);
    (failure, tally, log)
}

/// Draws a run and, if it is one of those, draws it again: what is done twice must come out alike.
fn run_and_maybe_again(seed: u64) -> Run {
    let mut first = run(seed, false);
    if seed.is_multiple_of(TWICE_EVERY) && first.failure.is_none() && run(seed, false).log != first.log {
        first.failure = Some(Failure {
            rule: "the same seed does the same",
            found: format!("seed {seed} did something else the second time"),
        });
    }
    first
}

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    /// Whether a panic on this thread becomes a failure.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Keeps what panics of engines and relays say for the failure that they become, instead of printing it. For the whole
/// process; other panics are printed as ever.
pub fn quiet_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let aloud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| match GUARDED.get() {
            true => LAST_PANIC.set(Some(panic.to_string())),
            false => aloud(panic),
        }));
    });
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.rule, self.found)
    }
}
