//! The built commands die, or their disk fails, at some of their writes; `torment every-write` does so at all of them.

use driftless_tests::crash::cut_wal::{self, Cut};
use driftless_tests::crash::every_write::{self, Plan};
use driftless_tests::crash::report::Tally;
use driftless_tests::crash::trace::{self, Harm};
use driftless_tests::crash::workloads::Workload;

/// A fraction of the writes, so that each test takes seconds.
const EVERY: u64 = 37;

fn torment(names: &[&str], harm: &Harm, every: u64) {
    if !trace::is_possible() {
        return;
    }
    let plan = Plan { harm: harm.clone(), every, calls: Vec::new(), threads: 2 };
    let tally = Tally::new(&every_write::COUNTS, true);
    for name in names {
        let workload = Workload::named(name).expect("there is such a piece of work");
        every_write::torment(workload, &plan, &tally);
    }
    assert!(tally.get("writes hit") > 0, "no write was hit: {}", tally.line());
    eprintln!("{}", tally.line());
}

#[test]
fn a_sync_killed_at_a_write_loses_nothing_and_sends_no_number_twice() {
    torment(&["capture", "apply", "live"], &Harm::Kill, EVERY);
}

#[test]
fn a_relay_killed_at_a_write_has_what_it_acknowledged() {
    torment(&["relay-append", "relay-snapshot"], &Harm::Kill, EVERY);
}

/// A clone that was killed after it had given the file its name left it with two, and the engine refused it.
#[test]
fn a_clone_or_a_first_sync_killed_at_a_write_can_be_done_again() {
    torment(&["clone", "first-sync", "track"], &Harm::Kill, EVERY);
}

#[test]
fn a_reconcile_or_a_repair_killed_at_a_write_is_done_by_the_next() {
    torment(&["schema", "repair"], &Harm::Kill, EVERY);
}

/// A clone whose disk was full at the very end put a file without its rows in place, and said that all was well.
#[test]
fn a_disk_that_is_full_at_a_write_is_told_and_costs_nothing() {
    let full = Harm::Fail { error: "ENOSPC".to_owned(), more: None };
    torment(&["capture", "clone", "relay-append"], &full, EVERY);
}

#[test]
fn a_write_that_fails_once_is_told_or_done_again_and_costs_nothing() {
    let fails = Harm::Fail { error: "EIO".to_owned(), more: Some(0) };
    torment(&["apply", "clone", "relay-snapshot"], &fails, EVERY);
}

#[test]
fn a_file_whose_log_was_cut_short_becomes_another_replica_where_it_must_and_loses_nothing() {
    let tally = Tally::new(&cut_wal::COUNTS, true);
    cut_wal::round(Cut::File, driftless_tests::seed().unwrap_or(1), 120, 3, &tally);
    eprintln!("{}", tally.line());
}

#[test]
fn a_relay_whose_log_was_cut_short_is_brought_up_to_date() {
    let tally = Tally::new(&cut_wal::COUNTS, true);
    cut_wal::round(Cut::Relay, driftless_tests::seed().unwrap_or(2), 80, 3, &tally);
    eprintln!("{}", tally.line());
}
