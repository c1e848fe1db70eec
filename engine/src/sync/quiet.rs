//! When to take a turn beside an app that is at work: a state machine without clock or file; the worker tells it what it
//! sees and does what it says.
//!
//! A deferred transaction that has read fails at its first write if anybody committed since, or holds the write lock
//! just then, whatever its busy timeout (`SQLITE_BUSY_SNAPSHOT`, `SQLITE_BUSY`;
//! <https://sqlite.org/isolation.html>). A turn of ours does both, so it is taken where no transaction of the app's is open
//! and none is about to begin:
//!
//! - a moment after a commit, when no other follows: not after each commit of a burst, and early in the rest that an app
//!   with a rhythm takes until its next. Of rests that are hardly longer than a turn only some are used;
//! - not while another process has a transaction open;
//! - after a bounded wait all the same. The wait follows the length of our turns, so that an app that never rests finds the lock
//!   taken in a small and constant share of its time.

use std::time::{Duration, Instant};

/// How long no commit may have followed the last one.
const QUIET: Duration = Duration::from_millis(1);
/// Between two looks. A look costs some microseconds.
const LOOK: Duration = Duration::from_micros(400);
/// How long to wait for the end of others' transactions while nobody commits.
const READERS: Duration = Duration::from_millis(100);
/// The same once somebody has read for longer than that: a backup, a report, a tool that keeps a transaction open for good.
const LONG_READERS: Duration = Duration::from_millis(5);
/// An app that has committed so recently is at work.
const AT_WORK: Duration = Duration::from_millis(50);
/// Turns beside an app that never rests come this many times their own length apart, within these bounds, if its transactions
/// read before they write. Each breaks the transaction that is open then, and all that are begun until it is over.
const RARELY: u32 = 500;
const RARELY_AT_LEAST: Duration = Duration::from_millis(500);
const RARELY_AT_MOST: Duration = Duration::from_secs(5);
/// The same if its transactions begin with `BEGIN IMMEDIATE`: they wait for the lock, and none fails.
const OFTEN: u32 = 15;
const OFTEN_AT_LEAST: Duration = Duration::from_millis(25);
/// An app that waits in `BEGIN IMMEDIATE` has no transaction open at the end of our turn. The last `TURNS` turns are counted;
/// up to `MET_AT_MOST` may have met a transaction, since other programs may be reading.
const TURNS: usize = 8;
const TURNS_TO_KNOW: usize = 3;
const MET_AT_MOST: usize = 2;
/// An app that commits this often or more often has a rhythm: what came in from others waits for its next rest.
const SLOWEST_RHYTHM: Duration = Duration::from_millis(200);
/// How long what came in waits for that.
const REST: Duration = Duration::from_millis(250);
/// How many rests the rhythm is taken from.
const RESTS: usize = 4;
/// How long before the end of a rest no turn is begun, at least: longer than a turn takes, and its wait for the disk.
const EARLY: Duration = Duration::from_millis(5);
/// A rest is long if it is that much longer than a quiet moment and two turns. Then each one has room for a turn.
const MARGIN: Duration = Duration::from_millis(2);
/// How far apart turns are in the rests of an app whose rests are short: some meet its next transaction.
const SELDOM: Duration = Duration::from_millis(250);

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// The last turn left something to do. It must not wait for long: work that comes faster than it is done piles up.
    Leftover,
    /// Commits of the app to capture, or what others wrote to apply.
    Work,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Take a turn. If it `gives_way`, it gives the lock back when another process has a transaction open, from the moment when
    /// it has the lock until it commits.
    Go { gives_way: bool },
    /// Look again after this.
    Wait(Duration),
}

/// How long the app rests between its transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rests {
    /// For much longer than a turn takes.
    Long,
    /// For about as long: a turn that is begun early in a rest mostly fits in.
    Short,
    /// A turn does not fit in.
    None,
}

/// What is known of the app's commits and of our own turns.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    /// When the last commit of others was seen.
    last: Option<Instant>,
    /// The last rests between bursts of commits, the oldest first.
    rests: [Option<Duration>; RESTS],
    /// Since when a turn is due.
    due: Option<Instant>,
    /// How long a turn holds the lock.
    held: Duration,
    /// Whether the last turns met a transaction of another process, the oldest first.
    met: [Option<bool>; TURNS],
    /// Whether others have read for longer than we waited, and still did at each look since.
    read_for_long: bool,
}

impl Quiet {
    /// A commit of others was seen that was not there at the last look.
    pub(crate) fn committed(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            let rest = now.saturating_duration_since(last);
            if rest > QUIET {
                self.rests.rotate_left(1);
                self.rests[RESTS - 1] = Some(rest);
            }
        }
    }

    /// A turn was taken that held the lock for so long. `met`: whether another process had a transaction open at its end.
    pub(crate) fn turned(&mut self, held: Duration, met: bool) {
        self.due = None;
        self.met.rotate_left(1);
        self.met[TURNS - 1] = Some(met);
        // Falls slowly: one short turn does not say that the next is short.
        self.held = held.max(self.held.mul_f64(0.8));
    }

    /// There is nothing to do.
    pub(crate) fn nothing_is_due(&mut self) {
        self.due = None;
    }

    /// Whether the app has committed a moment ago.
    pub(crate) fn is_at_work(&self, now: Instant) -> bool {
        self.last.is_some_and(|last| now.saturating_duration_since(last) < AT_WORK)
    }

    /// What to do about what is due. `others`: whether another process has a transaction open.
    pub(crate) fn step(&mut self, now: Instant, what: Due, others: bool) -> Step {
        let due = *self.due.get_or_insert(now);
        let waited = now.saturating_duration_since(due);
        let since = self.last.map(|last| now.saturating_duration_since(last));
        self.read_for_long &= others;
        let is_at_work = self.is_at_work(now);
        let most = self.most(what, is_at_work);
        if waited >= most {
            self.read_for_long |= others;
            if what == Due::Work && is_at_work && self.rests() == Rests::Short && waited < self.rarely() {
                let rests = !others && since.is_some_and(|since| since >= QUIET);
                return if rests { Step::Go { gives_way: true } } else { Step::Wait(LOOK) };
            }
            return Step::Go { gives_way: false };
        }
        match since {
            Some(since) if since < QUIET => Step::Wait((QUIET - since).min(LOOK)),
            _ if others => Step::Wait(LOOK),
            _ if is_at_work && self.rests() != Rests::Long => Step::Wait(LOOK),
            Some(since) if self.expects_another(since) && waited < REST => Step::Wait(LOOK),
            _ => Step::Go { gives_way: true },
        }
    }

    /// The longest that a turn waits. `is_at_work`: whether the app has committed a moment ago.
    fn most(&self, what: Due, is_at_work: bool) -> Duration {
        match what {
            Due::Leftover => READERS.min(self.held * 4),
            Due::Work if is_at_work && self.rests() == Rests::Short => SELDOM,
            Due::Work if is_at_work && self.breaks_transactions() => self.rarely(),
            Due::Work if is_at_work => (self.held * OFTEN).clamp(OFTEN_AT_LEAST, RARELY_AT_MOST),
            Due::Work if self.read_for_long => LONG_READERS,
            Due::Work => READERS.max(REST),
        }
    }

    /// How far apart turns are beside an app of which each of them breaks transactions.
    fn rarely(&self) -> Duration {
        (self.held * RARELY).clamp(RARELY_AT_LEAST, RARELY_AT_MOST)
    }

    /// Whether our turns are to be expected to make transactions of the app's fail.
    fn breaks_transactions(&self) -> bool {
        let known = self.met.iter().flatten();
        let met = known.clone().filter(|met| **met).count();
        met > MET_AT_MOST || known.count() < TURNS_TO_KNOW
    }

    /// How long the app's rests are, all but one at most.
    fn rests(&self) -> Rests {
        let are_shorter_than = |length: Duration| {
            self.rests.iter().flatten().filter(|rest| **rest < length).count() >= RESTS - 1
        };
        if !are_shorter_than(QUIET + self.held * 2 + MARGIN) {
            Rests::Long
        } else if !are_shorter_than(QUIET + self.held + self.held / 4) {
            Rests::Short
        } else {
            Rests::None
        }
    }

    /// Whether the app rests and is expected to write again soon, and no longer has just begun to rest. Not once it has
    /// rested for twice as long as it usually does.
    fn expects_another(&self, since: Duration) -> bool {
        let known = || self.rests.iter().flatten().copied();
        let (Some(shortest), Some(longest), RESTS) = (known().min(), known().max(), known().count()) else {
            return false;
        };
        // The more alike its rests are, the better the end of this one is known.
        let early = (longest - shortest).saturating_mul(2).max(EARLY).min(shortest / 2);
        shortest < SLOWEST_RHYTHM
            && since > (shortest - early).max(QUIET * 2)
            && since < shortest * 2 + AT_WORK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GO: Step = Step::Go { gives_way: true };
    const AT_ALL_COSTS: Step = Step::Go { gives_way: false };

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// Steps on until a turn is to be taken. Returns after how long, and how.
    fn turn(
        quiet: &mut Quiet,
        begin: Instant,
        what: Due,
        others: impl Fn(Duration) -> bool,
    ) -> (Duration, Step) {
        let mut waited = Duration::ZERO;
        loop {
            match quiet.step(begin + waited, what, others(waited)) {
                Step::Wait(wait) => waited += wait,
                go => return (waited, go),
            }
            assert!(waited < Duration::from_secs(60), "no turn is ever taken");
        }
    }

    /// An app that has committed so often, that far apart. Returns the time of its last commit.
    fn app(quiet: &mut Quiet, begin: Instant, commits: u32, apart: Duration) -> Instant {
        for n in 0..commits {
            quiet.committed(begin + apart * n);
        }
        begin + apart * (commits - 1)
    }

    /// Goes on committing that far apart, and steps once in each rest, after two thirds of it, until a turn is due. Returns after
    /// how long it is, and how it is to be taken.
    fn turn_beside(quiet: &mut Quiet, mut at: Instant, apart: Duration) -> (Duration, Step) {
        let due = at;
        loop {
            match quiet.step(at + apart * 2 / 3, Due::Work, false) {
                Step::Wait(_) => {}
                go => return (at - due, go),
            }
            at += apart;
            quiet.committed(at);
            assert!(at < due + RARELY_AT_MOST, "no turn is ever taken");
        }
    }

    #[test]
    fn rests_that_are_shorter_than_a_turn_are_none() {
        let (mut quiet, begun) = (Quiet::default(), Instant::now());
        quiet.turned(ms(4), true);
        let at = app(&mut quiet, begun, 20, ms(3));
        // Nobody has a transaction open, and the next is begun in a moment.
        let (waited, how) = turn(&mut quiet, at, Due::Work, |_| false);
        assert!(how == GO && (AT_WORK..=AT_WORK + ms(10)).contains(&waited), "it has stopped: {waited:?}");
        quiet.turned(ms(4), true);
        let at = app(&mut quiet, at + ms(3), 20, ms(3));
        let (waited, how) = turn_beside(&mut quiet, at, ms(3));
        assert!(how == AT_ALL_COSTS && waited >= RARELY_AT_LEAST, "{waited:?}");
    }

    #[test]
    fn short_rests_are_used_seldom_and_from_their_beginning() {
        let (mut quiet, begun) = (Quiet::default(), Instant::now());
        quiet.turned(ms(1), false);
        let at = app(&mut quiet, begun, 20, ms(3));
        let (waited, how) = turn_beside(&mut quiet, at, ms(3));
        assert!(how == GO && (SELDOM - ms(3)..SELDOM + ms(3)).contains(&waited), "{waited:?}");

        quiet.turned(ms(1), false);
        let mut at = app(&mut quiet, at + waited, 20, ms(3));
        let due = at;
        quiet.step(due, Due::Work, true);
        while at < due + SELDOM {
            at += ms(3);
            quiet.committed(at);
        }
        assert_eq!(quiet.step(at, Due::Work, false), Step::Wait(LOOK), "it has just committed");
        assert_eq!(quiet.step(at + ms(2), Due::Work, true), Step::Wait(LOOK), "it has a transaction open");
        assert_eq!(quiet.step(at + ms(2), Due::Work, false), GO);
        while at + ms(5) < due + RARELY_AT_LEAST {
            assert_eq!(quiet.step(at + ms(2), Due::Work, true), Step::Wait(LOOK));
            at += ms(3);
            quiet.committed(at);
        }
        assert_eq!(quiet.step(at + ms(5), Due::Work, true), AT_ALL_COSTS, "no rest begins");
    }

    #[test]
    fn long_rests_are_used_each_time() {
        let (mut quiet, begun) = (Quiet::default(), Instant::now());
        quiet.turned(ms(1), true);
        let at = app(&mut quiet, begun, 20, ms(6));
        assert_eq!(turn(&mut quiet, at, Due::Work, |_| false), (QUIET, GO));
    }

    #[test]
    fn on_a_quiet_file_what_came_in_is_applied_at_once() {
        let mut quiet = Quiet::default();
        assert_eq!(quiet.step(Instant::now(), Due::Work, false), GO);
    }

    #[test]
    fn a_single_commit_is_captured_a_millisecond_later() {
        let (mut quiet, now) = (Quiet::default(), Instant::now());
        quiet.committed(now);
        assert_eq!(turn(&mut quiet, now, Due::Work, |_| false), (QUIET, GO));
    }

    #[test]
    fn a_burst_of_commits_is_captured_once_when_it_is_over() {
        let (mut quiet, begun) = (Quiet::default(), Instant::now());
        for n in 0..20 {
            let now = begun + ms(n);
            quiet.committed(now);
            assert!(matches!(quiet.step(now, Due::Work, false), Step::Wait(_)), "after {n} ms");
        }
        assert_eq!(turn(&mut quiet, begun + ms(19), Due::Work, |_| false), (QUIET, GO));
    }

    #[test]
    fn no_turn_is_taken_while_another_process_has_a_transaction_open_until_the_bound_has_passed() {
        let (mut quiet, now) = (Quiet::default(), Instant::now());
        let (waited, step) = turn(&mut quiet, now, Due::Work, |waited| waited < ms(40));
        assert!(waited >= ms(40) && waited <= ms(40) + LOOK, "{waited:?}");
        assert_eq!(step, GO);

        quiet.turned(ms(1), true);
        let (waited, step) = turn(&mut quiet, now + ms(100), Due::Work, |_| true);
        assert!(waited >= READERS && waited <= READERS.max(REST) + LOOK, "{waited:?}");
        assert_eq!(step, AT_ALL_COSTS);
    }

    #[test]
    fn somebody_who_reads_for_good_holds_up_one_turn_and_not_each() {
        let (mut quiet, now) = (Quiet::default(), Instant::now());
        turn(&mut quiet, now, Due::Work, |_| true);
        quiet.turned(ms(1), true);
        let (waited, _) = turn(&mut quiet, now + ms(1000), Due::Work, |_| true);
        assert!(waited <= LONG_READERS + LOOK, "{waited:?}");
        // Once nobody reads, whoever does next is waited for again.
        quiet.turned(ms(1), true);
        quiet.step(now + ms(2000), Due::Work, false);
        quiet.turned(ms(1), true);
        let (waited, _) = turn(&mut quiet, now + ms(3000), Due::Work, |_| true);
        assert!(waited >= READERS, "{waited:?}");
    }

    #[test]
    fn an_app_that_never_rests_finds_the_lock_taken_once_in_a_while() {
        let (mut quiet, begun) = (Quiet::default(), Instant::now());
        quiet.turned(ms(2), true);
        let mut turns = 0;
        for n in 0..10_000 {
            let now = begun + ms(n);
            quiet.committed(now);
            if let Step::Go { .. } = quiet.step(now, Due::Work, n % 2 == 0) {
                turns += 1;
                quiet.turned(ms(2), true);
            }
        }
        assert!((6..=14).contains(&turns), "{turns} turns of 2 ms in 10 s");
    }

    #[test]
    fn an_app_whose_transactions_wait_for_the_lock_is_not_spared_as_much() {
        let (mut quiet, begun) = (Quiet::default(), Instant::now());
        let mut turns = |met: &dyn Fn(u32) -> bool, from: u64| {
            let mut turns = 0;
            for n in from..from + 10_000 {
                let now = begun + ms(n);
                quiet.committed(now);
                if let Step::Go { .. } = quiet.step(now, Due::Work, n % 2 == 0) {
                    turns += 1;
                    quiet.turned(ms(2), met(turns));
                }
            }
            turns
        };
        // Now and then somebody reads.
        let (waiting, breaking) = (turns(&|turn| turn % 20 == 0, 0), turns(&|turn| turn % 2 == 0, 10_000));
        assert!(waiting > 100, "{waiting} turns beside an app that uses BEGIN IMMEDIATE");
        assert!(breaking < 20, "{breaking} turns beside one that does not");
    }

    #[test]
    fn what_came_in_waits_for_the_next_rest_of_an_app_with_a_rhythm() {
        let (mut quiet, begun) = (Quiet::default(), Instant::now());
        let last = app(&mut quiet, begun, 6, ms(50));
        // Late in its rest the app is about to begin a transaction.
        let came_in = last + ms(46);
        assert!(matches!(quiet.step(came_in, Due::Work, false), Step::Wait(_)));
        quiet.committed(last + ms(50));
        assert_eq!(turn(&mut quiet, last + ms(50), Due::Work, |_| false), (QUIET, GO));
        // Early in its rest there is time.
        quiet.turned(ms(1), true);
        assert_eq!(quiet.step(last + ms(60), Due::Work, false), GO);
    }

    #[test]
    fn an_app_that_has_stopped_is_not_waited_for() {
        let (mut quiet, begun) = (Quiet::default(), Instant::now());
        let last = app(&mut quiet, begun, 6, ms(50));
        assert_eq!(quiet.step(last + ms(500), Due::Work, false), GO);
        quiet.turned(ms(1), true);
        // Nor for long, if it stops while something waits.
        let last = app(&mut quiet, last + ms(1000), 6, ms(50));
        let (waited, _) = turn(&mut quiet, last + ms(40), Due::Work, |_| false);
        assert!(waited <= REST, "{waited:?}");
    }

    #[test]
    fn what_is_left_of_a_turn_does_not_wait_for_a_rest_that_never_comes() {
        let (mut quiet, begun) = (Quiet::default(), Instant::now());
        quiet.turned(ms(10), true);
        quiet.committed(begun);
        let (waited, step) = turn(&mut quiet, begun, Due::Leftover, |_| true);
        assert!(waited <= ms(40) + LOOK, "{waited:?}");
        assert_eq!(step, AT_ALL_COSTS);
    }

    #[test]
    fn a_turn_gives_the_lock_back_as_often_as_it_meets_somebody_until_the_bound_has_passed() {
        let (mut quiet, now) = (Quiet::default(), Instant::now());
        let most = READERS.max(REST);
        for n in 0..20 {
            assert_eq!(quiet.step(now + most * n / 20, Due::Work, false), GO);
        }
        assert_eq!(quiet.step(now + most, Due::Work, false), AT_ALL_COSTS);
    }
}
