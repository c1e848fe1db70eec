//! Many runs, on several threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Failure, Run, Tally, run_and_maybe_again};

/// Which runs.
#[derive(Debug, Clone)]
pub struct Crowd {
    /// The first seed; the others follow it.
    pub first: u64,
    /// How many; no end of them if `None`.
    pub count: Option<u64>,
    /// When to begin no more.
    pub until: Option<Instant>,
    /// How many at once.
    pub threads: usize,
    /// After how many failures to begin no more.
    pub most_failures: usize,
}

/// What came of them.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// How many runs are over.
    pub seeds: u64,
    /// All together.
    pub tally: Tally,
    /// By seed.
    pub failures: Vec<(u64, Failure)>,
    /// How long it took.
    pub took: Duration,
}

impl Summary {
    /// Runs a second.
    pub fn speed(&self) -> f64 {
        self.seeds as f64 / self.took.as_secs_f64().max(0.001)
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} clusters, {} transactions, {} faults, {} frames, {:.1} clusters a second, {} failed",
            self.seeds,
            self.tally.transactions,
            self.tally.faults,
            self.tally.frames,
            self.speed(),
            self.failures.len()
        )
    }
}

impl Crowd {
    /// Runs them. `told` hears of each that is over, and how things stand.
    pub fn run(&self, told: impl Fn(&Run, &Summary) + Sync) -> Summary {
        let begun = Instant::now();
        let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let summary = Mutex::new(Summary::default());
        std::thread::scope(|threads| {
            for _ in 0..self.threads.max(1) {
                threads.spawn(|| {
                    while !stop.load(Ordering::Relaxed)
                        && self.until.is_none_or(|until| Instant::now() < until)
                    {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if self.count.is_some_and(|count| n >= count) {
                            return;
                        }
                        let run = run_and_maybe_again(self.first.wrapping_add(n));
                        let mut summary = summary.lock().expect("nobody panics while holding it");
                        summary.seeds += 1;
                        summary.tally += run.tally;
                        summary.took = begun.elapsed();
                        if let Some(failure) = &run.failure {
                            summary.failures.push((run.scenario.seed, failure.clone()));
                            if summary.failures.len() >= self.most_failures {
                                stop.store(true, Ordering::Relaxed);
                            }
                        }
                        told(&run, &summary);
                    }
                });
            }
        });
        summary.into_inner().expect("all threads are done")
    }
}
