//! Which planted bug is on: bugs made on purpose, to find out whether the tests would notice them.
//!
//! The engine and the relay know nothing of this. `bugs.toml`, beside this package, says how the sources differ where a bug is
//! planted; `simulate --planted` makes a copy of the workspace with all of them in it, builds that, and switches on one after the
//! other.
//!
//! One bug at a time is on, for the thread that asks: tests that run beside each other do not disturb each other, and an engine's
//! own thread is never wrong.

use std::cell::Cell;

/// Whether these sources have the bugs in them. The copy that has them says `true`.
pub const ARE_PLANTED: bool = false;

thread_local! {
    static ON: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Switches a bug on for this thread, by its place in `bugs.toml`, and the one before off. `None` switches all off.
pub fn plant(bug: Option<usize>) {
    ON.set(bug);
}

/// Whether this bug is on.
pub fn is(bug: usize) -> bool {
    ON.get() == Some(bug)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bug_at_a_time_is_on_and_on_no_other_thread() {
        assert!((0..3).all(|bug| !is(bug)));
        for bug in 0..3 {
            plant(Some(bug));
            assert!((0..3).all(|other| is(other) == (other == bug)), "{bug}");
        }
        let elsewhere = std::thread::spawn(|| (0..3).any(is));
        assert!(!elsewhere.join().expect("ends"));
        plant(None);
        assert!((0..3).all(|bug| !is(bug)));
    }
}
