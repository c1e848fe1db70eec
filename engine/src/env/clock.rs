//! The machine's clock, which a simulator may set.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 by this machine's clock.
pub(crate) fn now() -> i64 {
    #[cfg(feature = "sim")]
    if let Some(now) = virtual_time::get() {
        return now;
    }
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Whether time does not pass by itself: then nothing may depend on how long something took.
pub(crate) fn is_virtual() -> bool {
    #[cfg(feature = "sim")]
    return virtual_time::get().is_some();
    #[cfg(not(feature = "sim"))]
    false
}

/// The time of this thread, where a simulator has set one.
#[cfg(feature = "sim")]
pub(crate) mod virtual_time {
    use std::cell::Cell;

    thread_local! {
        static NOW: Cell<Option<i64>> = const { Cell::new(None) };
    }

    pub(crate) fn get() -> Option<i64> {
        NOW.get()
    }

    pub(crate) fn set(now: Option<i64>) {
        NOW.set(now);
    }
}
