//! The oracle, tested: bugs that are planted on purpose, and in how many seeds each is found.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::run;

/// When a bug was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// After how many seeds.
    pub seeds: u64,
    /// By which promise.
    pub rule: &'static str,
}

/// Runs seeds with a bug on, on this thread, until one fails. `bug`: its place among [`planted::bugs`](crate::planted::bugs).
fn find(bug: usize, first: u64, most: u64) -> Option<Found> {
    (0..most).find_map(|n| {
        driftless_planted::plant(Some(bug));
        let run_with = run(first + n, false);
        driftless_planted::plant(None);
        let failure = run_with.failure?;
        // It has to be the bug that was found.
        run(first + n, false).failure.is_none().then_some(Found { seeds: n + 1, rule: failure.rule })
    })
}

/// Looks for each of these bugs in at most so many seeds each. `told` hears what came of each. Only in the sources that have the bugs
/// in them is any of them found.
pub fn find_planted(
    bugs: &[usize],
    first: u64,
    most: u64,
    threads: usize,
    told: impl Fn(usize, Option<Found>) + Sync,
) -> Vec<(usize, Option<Found>)> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let Some(&bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let came = find(bug, first, most);
                    told(bug, came);
                    found.lock().expect("nobody panics while holding it").push((bug, came));
                }
            });
        }
    });
    found.into_inner().expect("all threads are done")
}
