//! When nobody dies any more: everything agrees, by the word of the commands and by the tables themselves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Commands, assert_same_tables, query};

/// What `driftless status --json` says.
pub fn status(file: &Path) -> Value {
    let said = Commands::get().succeed(["status", text(file), "--json"]);
    serde_json::from_str(&said).expect("status prints JSON")
}

/// The id of a file.
pub fn replica(file: &Path) -> String {
    status(file)["replica"].as_str().expect("a file has an id").to_owned()
}

/// Syncs each file with the space until all hold the same, in a few rounds, each of which must succeed at once.
#[track_caller]
pub fn sync_all(files: &[PathBuf], url: &str) {
    const ROUNDS: usize = 3;
    let mut vectors: Vec<Value> = Vec::new();
    for _ in 0..ROUNDS {
        for file in files {
            Commands::get().succeed(["sync", text(file), url, "--once", "--timeout", "30"]);
        }
        vectors = files.iter().map(|file| status(file)["vector"].clone()).collect();
        if vectors.iter().all(|vector| *vector == vectors[0]) {
            return;
        }
    }
    panic!("no equal state vectors after {ROUNDS} rounds: {vectors:#?}");
}

/// Syncs all files, and asserts that they are equal and well, that nothing waits or was set aside, that the space holds
/// the same, and that a clone of it is equal too. `url` is of a relay that runs.
#[track_caller]
pub fn assert_peace(files: &[PathBuf], url: &str) {
    sync_all(files, url);
    let paths: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    assert_same_tables(&paths);
    let commands = Commands::get();
    let lists =
        |file: &Path| ["conflicts", "parked"].map(|list| commands.succeed([list, text(file), "--json"]));
    let expected = files.first().map(|file| lists(file)).expect("there are files");
    for file in files {
        assert_well(file);
        let status = status(file);
        let name = file.display();
        assert_eq!(status["unsent"]["changesets"], 0, "{name}: {status:#}");
        assert_eq!(status["waiting"], 0, "{name}: {status:#}");
        assert_eq!(status["quarantined"], 0, "{name}: {status:#}");
        assert_eq!(lists(file), expected, "{name}: conflicts or parked rows differ");
        let verified = commands.driftless(["verify", text(file), url, "--timeout", "60"]);
        assert_eq!(verified.code, Some(0), "{name}: {verified:?}");
    }
    let clone = files[0].with_extension("clone");
    commands.succeed(["clone", url, text(&clone)]);
    assert_same_tables(&[&files[0], &clone]);
    std::fs::remove_file(&clone).expect("the clone can be removed");
    let _ = std::fs::remove_file(clone.with_extension("clone-driftless")); // the lock's file, if it is there
}

/// SQLite finds nothing wrong with a file.
#[track_caller]
pub fn assert_well(file: &Path) {
    assert_eq!(query(file, "PRAGMA integrity_check"), ["'ok'"], "{}", file.display());
    assert_eq!(query(file, "PRAGMA foreign_key_check"), [""; 0], "{}", file.display());
}

/// Every changeset that a relay holds: (replica, seq) → checksum. Only while it is down, or its file is read by
/// somebody whom it may wait for.
pub fn log(data: &Path) -> BTreeMap<(String, i64), String> {
    let database = data.join("relay.db");
    let rows = query(&database, "SELECT hex(replica), seq, hex(checksum) FROM log");
    let entry = |row: &String| {
        let mut columns = row.split(", ").map(str::to_owned);
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
