//! What went on, as lines: printed for people, and as one number by which two runs are told apart.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// The lines of a run.
#[derive(Debug)]
pub(super) struct Trace {
    hash: DefaultHasher,
    print: bool,
}

impl Trace {
    pub(super) fn new(print: bool) -> Self {
        Self { hash: DefaultHasher::new(), print }
    }

    pub(super) fn line(&mut self, line: impl FnOnce() -> String) {
        let line = line();
        line.hash(&mut self.hash);
        if self.print {
            eprintln!("{line}");
        }
    }

    /// Equal for equal lines.
    pub(super) fn number(&self) -> u64 {
        self.hash.finish()
    }
}
