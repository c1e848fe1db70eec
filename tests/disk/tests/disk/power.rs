//! Power losses.

use driftless_test_disk::Disk;
use fastrand::Rng;
use proptest::prelude::*;
use rusqlite::Connection;

use crate::workload::{Content, Mode, Transaction, database, fixed, open, read, run, try_read};

/// Those that promise that what is committed is there.
const DURABLE: [Mode; 4] = [
    Mode { journal: "WAL", synchronous: "FULL", page_size: 4096 },
    // Less does not sync the folder when the journal is deleted, see below.
    Mode { journal: "DELETE", synchronous: "EXTRA", page_size: 4096 },
    Mode { journal: "TRUNCATE", synchronous: "FULL", page_size: 4096 },
    Mode { journal: "PERSIST", synchronous: "FULL", page_size: 4096 },
];

/// One life of the machine: what is run, and when the power goes.
#[derive(Debug, Clone)]
struct Life {
    transactions: Vec<Transaction>,
    /// None is after all is done and closed.
    ends_at: Option<(u64, usize)>,
}

fn lives() -> impl Strategy<Value = Vec<Life>> {
    let write = (0..30i64, proptest::option::weighted(0.8, 0..3000usize));
    let transactions = proptest::collection::vec(proptest::collection::vec(write, 1..12), 1..8);
    let ends_at = proptest::option::weighted(0.9, (1..120u64, 0..5000usize));
    let life = (transactions, ends_at).prop_map(|(transactions, ends_at)| Life { transactions, ends_at });
    proptest::collection::vec(life, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_committed_durably_is_there_and_the_last_transaction_whole_or_not(
        (mode, page_size) in (prop::sample::select(&DURABLE), prop::sample::select(&[512u32, 1024, 4096])),
        lives in lives(),
        seed in any::<u64>(),
    ) {
        let mut rng = Rng::with_seed(seed);
        let mode = Mode { page_size, ..mode };
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::at(folder.path());
        let mut content = Content::new();
        for Life { transactions, ends_at } in lives {
            if let Some((nth, kept)) = ends_at {
                disk.die_at(nth, kept);
            }
            let outcome = run(folder.path(), mode, content, &transactions);
            disk.power_loss(&mut rng);
            content = outcome.assert_allows(read(folder.path()));
        }
    }
}

/// What the power left after a workload that died somewhere, from `seeds`: (came to no harm, lost what was
/// committed, is damaged).
fn harm(mode: Mode, seeds: u64) -> (usize, usize, usize) {
    let (mut whole, mut lost, mut damaged) = (0, 0, 0);
    for seed in 0..seeds {
        let mut rng = Rng::with_seed(seed);
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::at(folder.path());
        disk.die_at(rng.u64(20..200), rng.usize(..4096));
        let outcome = run(folder.path(), mode, Content::new(), &fixed());
        disk.power_loss(&mut rng);
        let found = Connection::open(database(folder.path())).map_err(|error| error.to_string());
        match found.and_then(|connection| try_read(&connection)) {
            Err(_) => damaged += 1,
            Ok(found) if found == outcome.sure || Some(&found) == outcome.perhaps.as_ref() => whole += 1,
            Ok(_) => lost += 1,
        }
    }
    (whole, lost, damaged)
}

#[test]
fn without_syncs_files_are_damaged() {
    for journal in ["WAL", "DELETE"] {
        let (whole, lost, damaged) = harm(Mode { journal, synchronous: "OFF", page_size: 1024 }, 100);
        assert!(whole > 0 && damaged > 0, "{journal}: {whole} whole, {lost} lost, {damaged} damaged");
    }
}

#[test]
fn a_log_that_is_synced_at_checkpoints_loses_its_end_and_nothing_else() {
    let (whole, lost, damaged) = harm(Mode { journal: "WAL", synchronous: "NORMAL", page_size: 1024 }, 200);
    assert!(whole > 0 && lost > 0 && damaged == 0, "{whole} whole, {lost} lost, {damaged} damaged");
}

#[test]
fn a_deleted_journal_comes_back_unless_its_folder_was_synced() {
    let mode = Mode { journal: "DELETE", synchronous: "FULL", page_size: 1024 };
    let (whole, lost, damaged) = harm(mode, 200);
    assert!(whole > 0 && lost > 0 && damaged == 0, "{whole} whole, {lost} lost, {damaged} damaged");
    let (_, lost, damaged) = harm(Mode { synchronous: "EXTRA", ..mode }, 200);
    assert_eq!((lost, damaged), (0, 0));
}

#[test]
fn a_new_file_can_be_gone_unless_it_was_synced() {
    let there = |synchronous| {
        let there = |seed| {
            let folder = tempfile::tempdir().expect("a folder");
            let disk = Disk::at(folder.path());
            let mode = Mode { synchronous, ..DURABLE[1] };
            run(folder.path(), mode, Content::new(), &fixed()[..1]);
            disk.power_loss(&mut Rng::with_seed(seed));
            database(folder.path()).exists()
        };
        (0..20).filter(|seed| there(*seed)).count()
    };
    assert_eq!(there("FULL"), 20);
    assert!((1..20).contains(&there("OFF")));
}

#[test]
fn one_seed_leaves_the_same_files() {
    let left = || {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::at(folder.path());
        // No random numbers are in the file of a database itself.
        let mode = Mode { journal: "MEMORY", synchronous: "OFF", page_size: 1024 };
        disk.die_at(30, 500);
        run(folder.path(), mode, Content::new(), &fixed());
        let loss = disk.power_loss(&mut Rng::with_seed(5));
        assert!(loss.kept + loss.torn + loss.lost > 0);
        (loss, std::fs::read(database(folder.path())).unwrap_or_default())
    };
    assert!(left() == left());
}

#[test]
fn a_database_keeps_its_inode_and_not_its_shared_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::at(folder.path());
    let mode = DURABLE[0];
    let content = run(folder.path(), mode, Content::new(), &fixed()).sure;
    let inode = || {
        let metadata = std::fs::metadata(database(folder.path())).expect("there");
        std::os::unix::fs::MetadataExt::ino(&metadata)
    };
    let before = inode();
    disk.die_at(40, 0);
    let outcome = run(folder.path(), Mode { synchronous: "OFF", ..mode }, content, &fixed());
    assert!(disk.is_dead() && outcome.perhaps.is_some());
    let memory = folder.path().join("a.db-shm");
    assert!(memory.exists());
    disk.power_loss(&mut Rng::with_seed(1));
    assert!(!memory.exists());
    assert_eq!(inode(), before);
}

#[test]
fn a_file_that_was_replaced_or_settled_is_taken_as_it_is() {
    for replaced in [true, false] {
        for seed in 0..20 {
            let folder = tempfile::tempdir().expect("a folder");
            let (backup, database) = (folder.path().join("backup"), database(folder.path()));
            let disk = Disk::at(folder.path());
            let mode = Mode { journal: "DELETE", synchronous: "OFF", page_size: 4096 };
            let content = run(folder.path(), mode, Content::new(), &fixed()[..2]).sure;
            std::fs::copy(&database, &backup).expect("copied");
            run(folder.path(), mode, content.clone(), &fixed());
            match replaced {
                true => std::fs::rename(&backup, &database).expect("renamed"),
                false => {
                    std::fs::copy(&backup, &database).expect("copied");
                    disk.settle();
                }
            }
            let _ = std::fs::remove_file(folder.path().join("a.db-journal"));
            disk.power_loss(&mut Rng::with_seed(seed));
            if replaced {
                // The journal's name is the disk's to bring back; it is of the file that is gone.
                let _ = std::fs::remove_file(folder.path().join("a.db-journal"));
            }
            assert_eq!(read(folder.path()), content);
        }
    }
}

#[test]
#[should_panic(expected = "still open")]
fn what_is_open_cannot_lose_its_power() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::at(folder.path());
    let _connection = open(folder.path(), DURABLE[0]).expect("opens");
    disk.power_loss(&mut Rng::with_seed(1));
}
