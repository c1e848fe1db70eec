//! Randomness that can be had again: each random test runs under seeds, says which, and takes one from outside.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use fastrand::Rng;

/// The seed in `DRIFTLESS_SEED`, if there is one.
pub fn seed() -> Option<u64> {
    let text = std::env::var("DRIFTLESS_SEED").ok()?;
    Some(text.parse().expect("DRIFTLESS_SEED is a number"))
}

/// Runs `test` under `seeds`, or only under the one in `DRIFTLESS_SEED`. A failure names its seed.
pub fn each_seed(seeds: impl IntoIterator<Item = u64>, mut test: impl FnMut(Rng)) {
    let seeds = seed().map_or_else(|| seeds.into_iter().collect(), |seed| vec![seed]);
    for seed in seeds {
        let run = catch_unwind(AssertUnwindSafe(|| test(Rng::with_seed(seed))));
        if let Err(panic) = run {
            eprintln!("failed under seed {seed}; again with DRIFTLESS_SEED={seed}");
            resume_unwind(panic);
        }
    }
}
