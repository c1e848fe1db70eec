//! How often one connection may let others know something of itself: a bucket of [`BURST`] tokens, of which one comes back
//! every [`INTERVAL`]. What comes while it is empty waits, and only the latest of it, so that the last always goes out.

use std::time::Duration;

use driftless_protocol::Presence;
use tokio::time::Instant;

use crate::defaults::{PRESENCE_BURST as BURST, PRESENCE_INTERVAL as INTERVAL};

/// How long it takes to fill all of the bucket but one token.
const SLACK: Duration = INTERVAL.saturating_mul(BURST - 1);

#[derive(Debug, Default)]
pub(super) struct Throttle {
    /// When the bucket will be full again; `None` if it was never touched.
    full: Option<Instant>,
    waiting: Option<Presence>,
}

impl Throttle {
    /// This is to go out, in place of what still waits.
    pub(super) fn offer(&mut self, presence: Presence) {
        self.waiting = Some(presence);
    }

    /// When what waits may go out; `None` if nothing does.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.waiting.as_ref()?;
        Some(self.full.and_then(|full| full.checked_sub(SLACK)).map_or(now, |due| due.max(now)))
    }

    /// What may go out now, for a token.
    pub(super) fn take(&mut self, now: Instant) -> Option<Presence> {
        if self.due(now)? > now {
            return None;
        }
        self.full = Some(self.full.map_or(now, |full| full.max(now)) + INTERVAL);
        self.waiting.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence(n: u32) -> Presence {
        Presence::new(n.to_be_bytes().to_vec()).expect("short")
    }

    /// Offers numbers from `first` on, one each `every`, for `length`; which of them go out.
    fn offered(throttle: &mut Throttle, from: Instant, every: Duration, count: u32) -> Vec<u32> {
        let sent = (0..count).filter_map(|n| {
            throttle.offer(presence(n));
            throttle.take(from + every * n)
        });
        sent.map(|sent| u32::from_be_bytes(sent.as_bytes().try_into().expect("4 bytes"))).collect()
    }

    #[test]
    fn a_burst_goes_out_at_once_and_of_the_rest_the_last_when_a_token_is_back() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        assert_eq!(throttle.due(start), None);
        assert_eq!(offered(&mut throttle, start, Duration::ZERO, 100), (0..BURST).collect::<Vec<_>>());
        let due = throttle.due(start).expect("something waits");
        assert_eq!(due, start + INTERVAL);
        assert_eq!(throttle.take(due - Duration::from_millis(1)), None);
        assert_eq!(throttle.take(due), Some(presence(99)));
        assert_eq!((throttle.take(due), throttle.due(due)), (None, None), "nothing goes out twice");
    }

    #[test]
    fn the_rate_holds_over_time_and_the_bucket_never_holds_more_than_a_burst() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        let hour = start + Duration::from_secs(3600);
        for from in [start, hour] {
            // A hundred a second, for ten seconds.
            let sent = offered(&mut throttle, from, Duration::from_millis(10), 1000).len();
            let allowed =
                BURST as usize + (Duration::from_millis(9_990).as_millis() / INTERVAL.as_millis()) as usize;
            assert_eq!(sent, allowed);
        }
    }
}
