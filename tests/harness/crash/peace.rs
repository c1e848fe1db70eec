//! When nobody dies any more: everything agrees, by the word of the commands and by the tables themselves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use driftless::{Conflict, Parked, Status};

use crate::{Commands, assert_same_tables, query};

/// What `driftless status` says.
#[track_caller]
pub fn status(file: &Path) -> Status {
    driftless::status(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// What `driftless conflicts` and `driftless parked` list.
#[track_caller]
pub fn lists(file: &Path) -> (Vec<Conflict>, Vec<Parked>) {
    let conflicts = driftless::conflicts(file).expect("the conflicts can be read");
    (conflicts, driftless::parked(file).expect("the parked rows can be read"))
}

/// Syncs each file with the space until all hold the same, in a few rounds, each of which must succeed at once. Nothing
/// waits then, and nothing was set aside.
#[track_caller]
pub fn sync_all(files: &[PathBuf], url: &str) {
    const ROUNDS: usize = 3;
    let mut found = Vec::new();
    for _ in 0..ROUNDS {
        for file in files {
            Commands::get().succeed(["sync", text(file), url, "--once", "--timeout", "30"]);
        }
        found = files.iter().map(|file| status(file)).collect::<Vec<_>>();
        if found.iter().all(|status| status.vector == found[0].vector) {
            for (status, file) in found.iter().zip(files) {
                let counts = [status.unsent.changesets, status.waiting, status.quarantined];
                assert_eq!(counts, [0; 3], "{}: {status:#?}", file.display());
            }
            return;
        }
    }
    panic!("no equal state vectors after {ROUNDS} rounds: {found:#?}");
}

/// All files are equal and well, and so is what they list.
#[track_caller]
pub fn assert_equal(files: &[PathBuf]) {
    let paths: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    assert_same_tables(&paths);
    let expected = files.first().map(|file| lists(file)).expect("there are files");
    for file in files {
        assert_well(file);
        assert_eq!(lists(file), expected, "{}: conflicts or parked rows differ", file.display());
    }
}

/// `driftless verify` finds nothing.
#[track_caller]
pub fn assert_verified(file: &Path, url: Option<&str>) {
    let arguments = ["verify", text(file), "--timeout", "60"].into_iter().chain(url);
    let verified = Commands::get().driftless(arguments);
    assert_eq!(verified.code, Some(0), "{}: {verified:?}", file.display());
}

/// Syncs all files, and asserts that they are equal and well, that the space holds the same, and that a clone of it is
/// equal too. `url` is of a relay that runs.
#[track_caller]
pub fn assert_peace(files: &[PathBuf], url: &str) {
    sync_all(files, url);
    assert_equal(files);
    files.iter().for_each(|file| assert_verified(file, Some(url)));
    let clone = files[0].with_extension("clone");
    Commands::get().succeed(["clone", url, text(&clone)]);
    assert_same_tables(&[&files[0], &clone]);
    for suffix in ["", "-wal", "-shm", "-driftless"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", clone.display())); // what is there of it
    }
}

/// SQLite finds nothing wrong with a file.
#[track_caller]
pub fn assert_well(file: &Path) {
    assert_eq!(query(file, "PRAGMA integrity_check"), ["'ok'"], "{}", file.display());
    assert_eq!(query(file, "PRAGMA foreign_key_check"), [""; 0], "{}", file.display());
}

/// Changesets by replica and seq, with a digest of their content.
pub type Log = BTreeMap<(String, i64), String>;

/// Every changeset that a relay's database holds.
pub fn log(database: &Path) -> Log {
    let rows = query(database, "SELECT hex(replica), seq, hex(checksum) FROM log");
    let entry = |row: &String| {
        let mut columns = row.split(", ").map(|column| column.trim_matches('\'').to_owned());
        let mut next = || columns.next().expect("three columns");
        let (replica, seq) = (next(), next());
        ((replica, seq.parse().expect("a number")), next())
    };
    rows.iter().map(entry).collect()
}

/// A path as an argument; the paths of tests are all text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path of a test is text")
}
