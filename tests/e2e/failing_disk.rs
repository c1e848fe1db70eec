//! Disks that are full or fail while an engine is at work: once they are well again, so is everything.

use driftless::{Config, Selection, TableOptions, sim};
use driftless_test_disk::{Disk, Failure};
use driftless_tests::{create_database, query, sql};

const NOON: i64 = 1_700_000_000_000;

/// The engine took the table for tracked, since it had tracked it in the turn that failed, and did not look at it again.
#[test]
fn a_new_table_is_tracked_although_the_disk_was_full_when_it_was_to_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let (disk, path) = (Disk::at(folder.path()), folder.path().join("app.db"));
    create_database(&path, "CREATE TABLE notes (id TEXT PRIMARY KEY)");
    driftless::track(&path, Selection::All, TableOptions::default()).expect("tracked");
    sim::set_clock(Some(NOON));
    let mut replica = sim::Replica::open_durable(&path, Config::default()).expect("opened");
    replica.turn(Vec::new()).expect("a turn");
    sql(&path, "CREATE TABLE later (id TEXT PRIMARY KEY); INSERT INTO later VALUES ('a')");
    replica.turn(Vec::new()).expect("a turn that sees the table, and leaves it alone");

    sim::set_clock(Some(NOON + 3_000));
    disk.fail_from(1, Failure::Full);
    replica.turn(Vec::new()).expect_err("the disk is full");
    disk.heal();
    replica.turn(Vec::new()).expect("there is room again");
    let tracked = query(&path, "SELECT spelled FROM _driftless_tables WHERE state = 'tracked' AND id > 1");
    assert_eq!(tracked, ["'notes'", "'later'"]);
    assert!(replica.is_idle().expect("an answer"));
    sim::set_clock(None);
}
