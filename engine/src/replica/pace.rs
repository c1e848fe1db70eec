//! How large the next turn is, and when turns leave the write lock alone.

use std::time::{Duration, Instant};

use crate::config::Config;
use crate::env::is_virtual;

/// Sizes of the first turn; later ones fit what was measured.
const FIRST_TURN_ROWS: usize = 1000;
const FIRST_TURN_BYTES: usize = 64 << 10;
/// No turn takes on fewer rows. On a busy machine the time that a turn took says little, and many short turns break more of
/// an app's transactions than one that is a little longer.
const FEWEST_ROWS: usize = 256;
/// After so many turns that left a transaction half captured, one takes all that there is.
const MOST_PARTIAL_TURNS: u32 = 1000;

/// The sizes of turns, fitted to how long the last ones took.
#[derive(Debug)]
pub(super) struct Pace {
    /// How many rows the next turn takes on, and how many bytes of what came in.
    pub(super) rows: usize,
    pub(super) bytes: usize,
    /// How long the write lock was held, turn upon turn, and when it was last let go.
    held: Duration,
    released: Instant,
    /// How many turns in a row have left a transaction half captured.
    partial_turns: u32,
}

/// How many turns in a row may leave a transaction half captured before turns beside other writers get longer.
const BEHIND: u32 = 25;

/// What a turn took on and how long that took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// How long the write lock was held.
    pub(super) took: Duration,
    /// Marks that were captured.
    pub(super) marks: usize,
    /// Bytes of what came in.
    pub(super) bytes: usize,
    /// Whether somebody else writes too.
    pub(super) contended: bool,
}

impl Pace {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            rows: config.turn_rows.min(FIRST_TURN_ROWS),
            bytes: FIRST_TURN_BYTES,
            held: Duration::ZERO,
            released: Instant::now(),
            partial_turns: 0,
        }
    }

    /// How many rows the next turn captures.
    pub(super) fn rows_to_capture(&self) -> usize {
        if self.partial_turns > MOST_PARTIAL_TURNS { usize::MAX >> 1 } else { self.rows }
    }

    /// A turn has committed. `drained`: it left no transaction half captured.
    pub(super) fn committed(&mut self, drained: bool) {
        self.partial_turns = if drained { 0 } else { self.partial_turns + 1 };
    }

    /// How long a turn aims to hold the lock while somebody else writes. The longer capture stays behind, the longer: beside an
    /// app that writes as fast as short turns capture it would never catch up, and nothing of others' would be applied.
    fn beside_others(&self, config: &Config) -> Duration {
        (config.contended_turn_time * (1 + self.partial_turns / BEHIND)).min(config.turn_time)
    }

    /// Fits the next turn's size to how long this one took: large while nobody else writes, short while somebody
    /// does. Then leaves the lock alone for a while, if it was held for long: SQLite's waiters look now and then, and
    /// turn upon turn they would find it taken each time.
    pub(super) fn follow(&mut self, load: Load, config: &Config) {
        if is_virtual() {
            return;
        }
        let begun = Instant::now().checked_sub(load.took).unwrap_or(self.released);
        let aim = if load.contended { self.beside_others(config) } else { config.turn_time };
        let factor = (aim.as_secs_f64() / load.took.as_secs_f64().max(1e-6)).clamp(0.5, 2.0);
        if load.marks > 0 {
            let most = config.turn_rows.max(1);
            self.rows = ((self.rows as f64 * factor) as usize).clamp(most.min(FEWEST_ROWS), most);
        }
        if load.bytes > 0 {
            self.bytes = ((self.bytes as f64 * factor) as usize).clamp(16 << 10, 8 << 20);
        }
        let goes_on = begun.duration_since(self.released) <= config.turn_gap;
        self.held = if goes_on { self.held + load.took } else { load.took };
        if self.held >= config.turn_time {
            std::thread::sleep(config.turn_gap);
            self.held = Duration::ZERO;
        }
        self.released = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand rows take `took`, and turns are fitted to that.
    fn rows_after(turns: u32, drained: bool, took: Duration) -> usize {
        let config = Config { turn_gap: Duration::ZERO, ..Config::default() };
        let mut pace = Pace::new(&config);
        for _ in 0..turns {
            pace.committed(drained);
            let load =
                Load { took: took * pace.rows as u32 / 1000, marks: pace.rows, bytes: 0, contended: true };
            pace.follow(load, &config);
        }
        pace.rows
    }

    #[test]
    fn turns_beside_others_get_longer_while_capture_stays_behind_and_only_then() {
        let a_thousand_rows = Duration::from_millis(10);
        let close = |rows: usize, expected: usize| rows.abs_diff(expected) <= expected / 10;
        assert!(close(rows_after(200, true, a_thousand_rows), 500), "5 ms");
        assert!(
            close(rows_after(20, false, a_thousand_rows), 500),
            "5 ms: a large transaction is no reason yet"
        );
        assert!(close(rows_after(60, false, a_thousand_rows), 1500), "15 ms");
        assert!(
            close(rows_after(800, false, a_thousand_rows), 10_000),
            "100 ms, as while nobody else writes"
        );
    }
}
