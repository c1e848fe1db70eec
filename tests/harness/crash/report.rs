//! How far it has come, for whoever waits; and the folder of what failed, kept for whoever looks into it.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Numbers that grow, by name, and a line on stderr that shows them now and then.
#[derive(Debug)]
pub struct Tally {
    begun: Instant,
    shown: Mutex<Instant>,
    counts: Vec<(&'static str, AtomicU64)>,
    quiet: bool,
}

impl Tally {
    /// All at zero. The first is shown per second as well; a quiet one shows nothing.
    pub fn new(names: &[&'static str], quiet: bool) -> Self {
        let counts = names.iter().map(|name| (*name, AtomicU64::new(0))).collect();
        Self { begun: Instant::now(), shown: Mutex::new(Instant::now()), counts, quiet }
    }

    /// Adds to one. Panics if there is none of that name.
    pub fn add(&self, name: &str, n: u64) {
        self.count(name).fetch_add(n, Ordering::Relaxed);
        self.show();
    }

    /// One of them.
    pub fn get(&self, name: &str) -> u64 {
        self.count(name).load(Ordering::Relaxed)
    }

    fn count(&self, name: &str) -> &AtomicU64 {
        &self.counts.iter().find(|(known, _)| *known == name).expect("a count has a name").1
    }

    fn show(&self) {
        // On a terminal the line is written over; elsewhere one now and then is enough.
        let terminal = std::io::stderr().is_terminal();
        let pause = Duration::from_millis(if terminal { 250 } else { 10_000 });
        let mut shown = self.shown.lock().expect("nobody panics with it");
        if !self.quiet && shown.elapsed() > pause {
            *shown = Instant::now();
            if terminal { eprint!("\r{}\x1b[K", self.line()) } else { eprintln!("{}", self.line()) }
        }
    }

    /// All of them, in a line.
    pub fn line(&self) -> String {
        let took = self.begun.elapsed().as_secs_f64();
        let first = self.counts.first().map_or(0, |(_, count)| count.load(Ordering::Relaxed));
        let counts = self.counts.iter().map(|(name, n)| format!("{} {name}", n.load(Ordering::Relaxed)));
        let counts = counts.collect::<Vec<_>>().join(", ");
        format!("{counts}; {:.1} a second, {took:.0} s", first as f64 / took.max(1e-3))
    }

    /// All of them, and the seconds.
    pub fn to_json(&self) -> serde_json::Value {
        let counts = self.counts.iter().map(|(name, n)| ((*name).into(), n.load(Ordering::Relaxed).into()));
        let mut all: serde_json::Map<String, serde_json::Value> = counts.collect();
        all.insert("seconds".into(), self.begun.elapsed().as_secs_f64().into());
        all.into()
    }
}

/// A folder that goes when its owner goes, and stays when that was by a panic: then it is named on stderr, with what was
/// being tried.
#[derive(Debug)]
pub struct Scratch {
    folder: Option<TempDir>,
    trying: String,
}

impl Scratch {
    /// A new folder. `trying` says what is tried in it, with everything that it takes to try it again.
    pub fn new(trying: impl Into<String>) -> Self {
        let folder = tempfile::Builder::new().prefix("torment-").tempdir().expect("a folder");
        Self { folder: Some(folder), trying: trying.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.as_ref().expect("it is there until it is dropped").path()
    }

    /// Says more precisely what is being tried now.
    pub fn trying(&mut self, trying: impl Into<String>) {
        self.trying = trying.into();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("\nfailed: {}\nits files are kept in {}", self.trying, folder.keep().display());
        }
    }
}
