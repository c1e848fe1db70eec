//! Which tables somebody is still at work on: a migration or an import that drops a table, makes it anew and fills it
//! takes several steps. What is missing half way is not deleted, so nothing is decided about such a table until it has
//! been left alone for a while. One that is written all the time is decided about in the end all the same, unless it is just
//! being filled: rows that it lacked keep coming back. Kept in memory: an engine that opens a file asks when that was last
//! written.

use std::collections::BTreeMap;
use std::time::Duration;

/// A table that is written all the time is decided about after so many times the quiet period.
const LONGEST: i64 = 15;

/// The tables that wait to be left alone, by number.
#[derive(Debug, Clone)]
pub(crate) struct Settling {
    /// How long a table must have been left alone, in milliseconds.
    quiet: i64,
    waiting: BTreeMap<i64, Waiting>,
    /// When the file had last been written before this engine opened it, until the first look at its tables. In
    /// milliseconds since 1970.
    last_write: Option<i64>,
}

#[derive(Debug, Clone)]
struct Waiting {
    /// What the table looked like: it is touched when that changes.
    looks: String,
    since: i64,
    touched: i64,
    /// How many rows it lacked when it had been waiting for the longest time, and when that was counted.
    lacked: Option<(usize, i64)>,
}

impl Waiting {
    /// When it may be decided about.
    fn due(&self, quiet: i64) -> i64 {
        let longest = self.since.saturating_add(quiet * LONGEST);
        let longest = self.lacked.map_or(longest, |(_, counted)| longest.max(counted + quiet));
        (self.touched + quiet).min(longest)
    }
}

impl Settling {
    /// `last_write`: when the file was last written, in milliseconds since 1970, if that is known.
    pub(crate) fn new(quiet: Duration, last_write: Option<i64>) -> Self {
        let quiet = i64::try_from(quiet.as_millis()).unwrap_or(i64::MAX / LONGEST);
        Self { quiet: quiet.min(i64::MAX / LONGEST), waiting: BTreeMap::new(), last_write }
    }

    /// When writes that no trigger saw were made, as far as is known: when the file was last written, if this is the first
    /// look at it, and now otherwise.
    pub(crate) fn time_of_unseen(&self, now: i64) -> i64 {
        self.last_write.map_or(now, |written| written.min(now))
    }

    /// The first look is over: from here on, whatever happens to the file is seen soon.
    pub(crate) fn looked(&mut self) {
        self.last_write = None;
    }

    /// Whether a table that looks so has been left alone for long enough, or has waited for the longest time. `since`: when it
    /// was found to be in the making, if that is known.
    pub(crate) fn is_settled(&mut self, table: i64, looks: String, since: Option<i64>, now: i64) -> bool {
        let touched = self.time_of_unseen(now);
        let waiting = self.waiting.entry(table).or_insert_with(|| Waiting {
            looks: looks.clone(),
            since: since.map_or(touched, |since| since.min(touched)),
            touched,
            lacked: None,
        });
        if waiting.looks != looks || waiting.touched > now {
            waiting.looks = looks;
            waiting.touched = now;
            waiting.since = waiting.since.min(now);
        }
        waiting.due(self.quiet) <= now
    }

    /// Whether a table is settled only because it has waited for the longest time: somebody still writes to it.
    pub(crate) fn is_busy(&self, table: i64, now: i64) -> bool {
        self.waiting.get(&table).is_some_and(|waiting| now - waiting.touched < self.quiet)
    }

    /// Whether rows that a busy table lacked have come back since it was last asked, so that it is just being filled.
    /// Asked the first time, it is not known yet: then it waits once more.
    pub(crate) fn is_filled(&mut self, table: i64, lacks: usize, now: i64) -> bool {
        let Some(waiting) = self.waiting.get_mut(&table) else { return false };
        let before = waiting.lacked.replace((lacks, now));
        before.map_or(lacks > 0, |(before, _)| lacks < before)
    }

    /// Somebody has written to a table.
    pub(crate) fn touch(&mut self, table: i64, now: i64) {
        if let Some(waiting) = self.waiting.get_mut(&table) {
            waiting.touched = now;
        }
    }

    /// A table does not wait any more.
    pub(crate) fn forget(&mut self, table: i64) {
        self.waiting.remove(&table);
    }

    /// In how long the next table may be decided about; `None` while none waits.
    pub(crate) fn due_in(&self, now: i64) -> Option<Duration> {
        let due = |waiting: &Waiting| Duration::from_millis((waiting.due(self.quiet) - now).max(0) as u64);
        self.waiting.values().map(due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_settled_once_it_has_been_left_alone_and_not_before() {
        let mut settling = Settling::new(Duration::from_secs(2), None);
        assert_eq!(settling.due_in(0), None);
        assert!(!settling.is_settled(7, "a".to_owned(), None, 10_000));
        assert_eq!(settling.due_in(10_500), Some(Duration::from_millis(1_500)));
        assert!(!settling.is_settled(7, "b".to_owned(), None, 11_000), "it looks otherwise");
        settling.touch(7, 12_500);
        assert!(!settling.is_settled(7, "b".to_owned(), None, 13_100), "somebody wrote to it");
        assert!(settling.is_settled(7, "b".to_owned(), None, 14_500));
        settling.forget(7);
        assert_eq!(settling.due_in(14_500), None);
    }

    #[test]
    fn one_that_is_written_all_the_time_is_settled_in_the_end() {
        let mut settling = Settling::new(Duration::from_secs(2), None);
        assert!(!settling.is_settled(7, String::new(), None, 0));
        for now in 1..30 {
            settling.touch(7, now * 1000);
            assert!(!settling.is_settled(7, String::new(), None, now * 1000), "{now}");
        }
        assert_eq!(settling.due_in(29_900), Some(Duration::from_millis(100)));
        assert!(settling.is_settled(7, String::new(), None, 30_000));
        assert!(settling.is_busy(7, 30_000));
        assert!(!settling.is_filled(7, 0, 30_000), "it lacks nothing");
        let mut opened_again = Settling::new(Duration::from_secs(2), Some(29_900));
        assert!(opened_again.is_settled(7, String::new(), Some(0), 30_000));
    }

    #[test]
    fn one_that_is_being_filled_waits_until_no_row_comes_back_any_more() {
        let mut settling = Settling::new(Duration::from_secs(2), None);
        assert!(!settling.is_settled(7, String::new(), None, 0));
        for (lacks, now) in [(9, 30_000), (8, 32_000), (3, 34_000)] {
            settling.touch(7, now);
            assert!(settling.is_settled(7, String::new(), None, now), "{now}");
            assert!(settling.is_filled(7, lacks, now), "{now}");
            assert!(!settling.is_settled(7, String::new(), None, now + 1_000), "{now}");
            assert_eq!(settling.due_in(now + 1_000), Some(Duration::from_secs(1)));
        }
        settling.touch(7, 35_900);
        assert!(settling.is_settled(7, String::new(), None, 36_000));
        assert!(!settling.is_filled(7, 3, 36_000));
    }

    #[test]
    fn the_first_look_counts_from_when_the_file_was_last_written() {
        let mut settling = Settling::new(Duration::from_secs(2), Some(5_000));
        assert_eq!(settling.time_of_unseen(9_000), 5_000);
        assert!(settling.is_settled(7, String::new(), None, 9_000));
        settling.looked();
        assert_eq!(settling.time_of_unseen(9_000), 9_000);
        assert!(!settling.is_settled(8, String::new(), None, 9_000));
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nobody_wait_for_long() {
        let mut settling = Settling::new(Duration::from_secs(2), None);
        assert!(!settling.is_settled(7, String::new(), None, 1_000_000));
        assert!(!settling.is_settled(7, String::new(), None, 1_000));
        assert!(settling.is_settled(7, String::new(), None, 3_000));
    }
}
