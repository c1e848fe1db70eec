//! The oracle, tested: bugs that are planted on purpose, and in how many seeds each is found.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::run;

/// A bug of the engine's or the relay's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// In the engine.
    Engine(driftless::planted::Bug),
    /// In the relay.
    Relay(driftless_relay::planted::Bug),
}

/// When a bug was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// After how many seeds.
    pub seeds: u64,
    /// By which promise.
    pub rule: &'static str,
}

impl Planted {
    /// All of them.
    pub fn all() -> Vec<Self> {
        let engine = driftless::planted::Bug::ALL.iter().copied().map(Self::Engine);
        engine.chain(driftless_relay::planted::Bug::ALL.iter().copied().map(Self::Relay)).collect()
    }

    /// As it is called in the code.
    pub fn name(self) -> &'static str {
        match self {
            Self::Engine(bug) => bug.name(),
            Self::Relay(bug) => bug.name(),
        }
    }

    /// Runs seeds with the bug in place, on this thread, until one fails.
    pub fn find(self, first: u64, most: u64) -> Option<Found> {
        let plant = |on: bool| match self {
            Self::Engine(bug) => driftless::planted::plant(on.then_some(bug)),
            Self::Relay(bug) => driftless_relay::planted::plant(on.then_some(bug)),
        };
        (0..most).find_map(|n| {
            plant(true);
            let run_with = run(first + n, false);
            plant(false);
            let failure = run_with.failure?;
            // It has to be the bug that was found.
            run(first + n, false).failure.is_none().then_some(Found { seeds: n + 1, rule: failure.rule })
        })
    }
}

/// Looks for each of these bugs in at most so many seeds each. `told` hears what came of each.
pub fn find_planted(
    bugs: &[Planted],
    first: u64,
    most: u64,
    threads: usize,
    told: impl Fn(&str, Option<Found>) + Sync,
) -> Vec<(Planted, Option<Found>)> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let came = bug.find(first, most);
                    told(bug.name(), came);
                    found.lock().expect("nobody panics while holding it").push((*bug, came));
                }
            });
        }
    });
    found.into_inner().expect("all threads are done")
}
