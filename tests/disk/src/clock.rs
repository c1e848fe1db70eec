//! The time and the randomness that a thread has set for itself.

use std::cell::{Cell, RefCell};

use fastrand::Rng;

thread_local! {
    static CLOCK: Cell<Option<i64>> = const { Cell::new(None) };
    static RANDOMNESS: RefCell<Option<Rng>> = const { RefCell::new(None) };
}

/// Sets what SQLite takes for the time when this thread runs it, in milliseconds since 1970; `None` is the
/// system's.
///
/// A clock that is set stands still. Only sleeping moves it on: a busy timeout runs out at once, and the
/// clock has gone on by as much as it would have taken. It is seen by connections that were opened after
/// [`Disk::install`](crate::Disk::install).
pub fn set_clock(milliseconds: Option<i64>) {
    CLOCK.set(milliseconds);
}

/// What [`set_clock`] set in this thread, and sleeping moved on.
pub fn clock() -> Option<i64> {
    CLOCK.get()
}

/// Sleeps by the clock that is set. Returns false if none is.
pub(crate) fn sleep(microseconds: i64) -> bool {
    let Some(now) = CLOCK.get() else { return false };
    // A clock of whole milliseconds must not stand still for somebody who waits in smaller steps.
    CLOCK.set(Some(now + (microseconds + 999) / 1000));
    true
}

pub(crate) fn seed(seed: Option<u64>) {
    RANDOMNESS.set(seed.map(Rng::with_seed));
}

/// Fills `bytes` from the generator that is set. Returns false if none is.
pub(crate) fn fill(bytes: &mut [u8]) -> bool {
    RANDOMNESS.with_borrow_mut(|rng| rng.as_mut().map(|rng| rng.fill(bytes)).is_some())
}
