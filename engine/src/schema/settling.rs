//! Which tables somebody is still at work on: a migration or an import that drops a table, makes it anew and fills it
//! takes several steps. What is missing half way is not deleted, so nothing is decided about such a table until it has
//! been left alone for a while. Kept in memory: an engine that opens a file asks when that was last written.

use std::collections::BTreeMap;
use std::time::Duration;

/// A table that is still in the making is decided about after so many times the quiet period, even if it is written all
/// the time.
const LONGEST: i64 = 30;

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

    /// Whether a table that looks so has been left alone for long enough.
    pub(crate) fn is_settled(&mut self, table: i64, looks: String, now: i64) -> bool {
        let since = self.time_of_unseen(now);
        let waiting = self.waiting.entry(table).or_insert_with(|| Waiting {
            looks: looks.clone(),
            since,
            touched: since,
        });
        if waiting.looks != looks || waiting.touched > now {
            waiting.looks = looks;
            waiting.touched = now;
        }
        now - waiting.touched >= self.quiet || now - waiting.since >= self.quiet * LONGEST
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
        let due = |waiting: &Waiting| {
            let (quiet, longest) =
                (waiting.touched + self.quiet, waiting.since.saturating_add(self.quiet * LONGEST));
            Duration::from_millis(quiet.min(longest).saturating_sub(now).max(0) as u64)
        };
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
        assert!(!settling.is_settled(7, "a".to_owned(), 10_000));
        assert_eq!(settling.due_in(10_500), Some(Duration::from_millis(1_500)));
        assert!(!settling.is_settled(7, "b".to_owned(), 11_000), "it looks otherwise");
        settling.touch(7, 12_500);
        assert!(!settling.is_settled(7, "b".to_owned(), 13_100), "somebody wrote to it");
        assert!(settling.is_settled(7, "b".to_owned(), 14_500));
        settling.forget(7);
        assert_eq!(settling.due_in(14_500), None);
    }

    #[test]
    fn one_that_is_written_all_the_time_is_settled_in_the_end() {
        let mut settling = Settling::new(Duration::from_secs(2), None);
        assert!(!settling.is_settled(7, String::new(), 0));
        for now in 1..60 {
            settling.touch(7, now * 1000);
            assert!(!settling.is_settled(7, String::new(), now * 1000), "{now}");
        }
        assert_eq!(settling.due_in(59_900), Some(Duration::from_millis(100)));
        assert!(settling.is_settled(7, String::new(), 60_000));
    }

    #[test]
    fn the_first_look_counts_from_when_the_file_was_last_written() {
        let mut settling = Settling::new(Duration::from_secs(2), Some(5_000));
        assert_eq!(settling.time_of_unseen(9_000), 5_000);
        assert!(settling.is_settled(7, String::new(), 9_000));
        settling.looked();
        assert_eq!(settling.time_of_unseen(9_000), 9_000);
        assert!(!settling.is_settled(8, String::new(), 9_000));
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nobody_wait_for_long() {
        let mut settling = Settling::new(Duration::from_secs(2), None);
        assert!(!settling.is_settled(7, String::new(), 1_000_000));
        assert!(!settling.is_settled(7, String::new(), 1_000));
        assert!(settling.is_settled(7, String::new(), 3_000));
    }
}
