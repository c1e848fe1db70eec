//! Whole clusters from seeds, as many as every change must stand, and kept ones.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use driftless_test_disk::{Change, Disk, What};
use driftless_tests::sim::{self, Crowd, Scenario};

/// The first seed of this state of the code: another one for each commit, the same wherever it is tested.
fn first_seed() -> u64 {
    if let Some(seed) = driftless_tests::seed() {
        return seed;
    }
    let git = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let head = git.ok().filter(|git| git.status.success()).and_then(|git| String::from_utf8(git.stdout).ok());
    head.and_then(|head| u64::from_str_radix(head.trim(), 16).ok()).unwrap_or(1)
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

#[test]
fn six_hundred_fresh_clusters_keep_every_promise() {
    sim::quiet_panics();
    let count = match (driftless_tests::seed(), std::env::var("DRIFTLESS_SEEDS")) {
        (Some(_), _) => 1,
        (None, Ok(count)) => count.parse().expect("DRIFTLESS_SEEDS is a number"),
        (None, Err(_)) => 600,
    };
    let first = first_seed();
    eprintln!("{count} seeds from {first}");
    let told = Mutex::new(Instant::now());
    let crowd = Crowd { first, count: Some(count), until: None, threads: threads(), most_failures: 5 };
    let summary = crowd.run(|run, summary| {
        if let Some(failure) = &run.failure {
            eprintln!("failed under seed {}: {failure}", run.scenario.seed);
        }
        let mut told = told.lock().expect("nobody panics while holding it");
        if told.elapsed() > Duration::from_secs(30) {
            *told = Instant::now();
            eprintln!("{summary}");
        }
    });
    eprintln!("{summary}");
    let failed: Vec<u64> = summary.failures.iter().map(|(seed, _)| *seed).collect();
    assert!(
        failed.is_empty(),
        "seeds {failed:?} failed; shorten and see one with: cargo run --release -p driftless-tests --bin simulate -- \
         --seed {}",
        failed[0]
    );
    assert_eq!(summary.seeds, count);
}

#[test]
fn what_once_failed_does_not_fail_again() {
    sim::quiet_panics();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let mut kept: Vec<_> = std::fs::read_dir(&folder)
        .expect("the kept scenarios")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    kept.sort();
    assert!(!kept.is_empty(), "there are none in {}", folder.display());
    for path in kept {
        let scenario = Scenario::load(&path).expect("a kept scenario");
        let run = sim::replay(&scenario, false);
        if let Some(failure) = run.failure {
            panic!("{}: {failure}", path.display());
        }
        assert_eq!(run.tally.steps, scenario.steps.len() as u64, "{}", path.display());
    }
}

/// What an opening wrote, so that its commit waits for the disk, was the time: twice within a millisecond it was what it had
/// been, so that SQLite wrote nothing and waited for nothing. A commit that only the machine's memory had was sent, and the
/// next loss of power took it away (seed 5113).
#[test]
fn every_opening_waits_for_the_disk_even_the_second_within_a_millisecond() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::at(folder.path());
    let file = folder.path().join("app.db");
    driftless_tests::create_database(&file, "CREATE TABLE notes (id TEXT PRIMARY KEY)");
    driftless::sim::set_clock(Some(1_700_000_000_000));
    // Holds the log, or the last connection would remove it, and wait for the disk.
    let app = driftless_tests::connect(&file);
    let open = || driftless::sim::Replica::open_durable(&file, driftless::Config::default()).expect("opens");
    let reads = |app: &rusqlite::Connection| {
        app.query_row("SELECT count(*) FROM notes", [], |row| row.get::<_, i64>(0)).expect("reads")
    };
    drop(open());
    reads(&app);
    for _ in 0..2 {
        disk.take_log();
        let engine = open();
        let log = disk.take_log();
        drop(engine);
        let of_wal = |change: &&Change| change.file == Path::new("app.db-wal");
        let last = log.iter().filter(of_wal).map(|change| change.what).next_back();
        assert_eq!(last, Some(What::Sync), "{log:?}");
    }
    reads(&app);
    driftless::sim::set_clock(None);
}
