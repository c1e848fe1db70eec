//! SIGKILL at random moments: engines and the relay die and are started again at once, also while they start and while
//! they recover from the death before; apps write all the while.
//!
//! A round is a fresh folder with two or three files and a relay, and each has a keeper, a thread that starts it, lets it
//! live for a random time, and kills it. How long they live at most differs from round to round, from hardly long enough to
//! open the file to long enough to sync. At the end of a round all must agree, and every committed transaction must be
//! there, once: rows by their number, a counter by its sum, a text by its words.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use driftless::ReplicaId;
use fastrand::Rng;

use super::peace::{self, assert_peace, text};
use super::report::{Scratch, Tally};
use crate::{Commands, Process, connect, create_database, free_port, query};

const SCHEMA: &str = "
CREATE TABLE log (id TEXT PRIMARY KEY, who TEXT NOT NULL, n INTEGER NOT NULL, load BLOB);
CREATE TABLE latest (who TEXT PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE bulk (who TEXT, n INTEGER, i INTEGER, PRIMARY KEY (who, n, i));
CREATE TABLE tally (id TEXT PRIMARY KEY, hits INTEGER NOT NULL);
CREATE TABLE page (id TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE person (id TEXT PRIMARY KEY, email TEXT UNIQUE, boss TEXT REFERENCES person);
INSERT INTO tally VALUES ('all', 0);
INSERT INTO page VALUES ('all', '.');
INSERT INTO person VALUES ('root', 'root@x', NULL);
";
/// Every so many transactions one writes many rows.
const BULK_EVERY: u32 = 40;
const BULK_ROWS: u32 = 150;
/// Every so many transactions one adds a word to the text.
const WORD_EVERY: u32 = 7;

/// One round under the tally's numbers "kills", "relay kills" and "transactions"; ends after `kills`.
/// Panics if anything was lost or differs.
pub fn round(seed: u64, kills: u64, tally: &Tally) {
    let scratch = Scratch::new(format!("a round of {kills} kills under seed {seed}"));
    let mut dice = Rng::with_seed(seed);
    let commands = Commands::get();
    let files: Vec<PathBuf> =
        (0..dice.usize(2..=3)).map(|n| scratch.path().join(format!("{}.db", name(n)))).collect();
    for file in &files {
        create_database(file, SCHEMA);
        commands.succeed(["track", text(file), "--all", "--counter", "tally.hits", "--text", "page.body"]);
    }
    let replicas: Vec<ReplicaId> = files.iter().map(|file| peace::status(file).replica).collect();
    let (data, port) = (scratch.path().join("relay"), free_port());
    let url = format!("ws://127.0.0.1:{port}/torment");

    let lives = Lives {
        engine: *dice.choice(&[10, 40, 150, 500]).expect("there are some"),
        relay: *dice.choice(&[20, 100, 400, 1500]).expect("there are some"),
    };
    let left = Left { kills: AtomicU64::new(kills), stop: AtomicBool::new(false) };
    let left = &left;
    let written = std::thread::scope(|threads| {
        let keepers: Vec<_> = (0..=files.len())
            .map(|victim| {
                let (mut dice, files, data, url) = (dice.fork(), &files, &data, &url);
                let lives = &lives;
                threads.spawn(move || {
                    let _guard = StopAll(left);
                    match files.get(victim) {
                        Some(file) => keep(
                            left,
                            tally,
                            || dice.u64(0..lives.engine * 1000),
                            &["kills"],
                            || commands.sync_unwatched(file, url),
                        ),
                        None => {
                            let start = || commands.relay_unwatched(data, port);
                            keep(
                                left,
                                tally,
                                || dice.u64(0..lives.relay * 1000),
                                &["kills", "relay kills"],
                                start,
                            );
                        }
                    }
                })
            })
            .collect();
        let writers: Vec<_> = files
            .iter()
            .enumerate()
            .map(|(n, file)| {
                let dice = dice.fork();
                threads.spawn(move || {
                    let _guard = StopAll(left);
                    write(file, &name(n), left, dice, tally)
                })
            })
            .collect();
        let reader = threads.spawn(|| {
            let _guard = StopAll(left);
            while !left.stop.load(Ordering::Acquire) {
                files.iter().for_each(|file| assert_whole(file));
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let keepers: Vec<_> = keepers.into_iter().map(|keeper| keeper.join()).collect();
        left.stop.store(true, Ordering::Release);
        let written: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        let reader = reader.join();
        for ended in keepers.into_iter().chain([reader]) {
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        let written = written.into_iter().map(|n| n.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        written.collect::<Vec<u32>>()
    });

    let (_relay, _) = commands.relay(&data, port);
    assert_peace(&files, &url);
    for (file, replica) in files.iter().zip(&replicas) {
        assert_eq!(peace::status(file).replica, *replica, "a death made {} another replica", file.display());
    }
    assert_all_there(&files[0], &written);
    // Nobody else ever wrote in the space.
    let heads = query(&data.join("relay.db"), "SELECT lower(hex(replica)) FROM head");
    assert!(heads.len() <= replicas.len(), "replicas in the log: {heads:?}, files: {replicas:?}");
}

/// How long processes live at most, in milliseconds.
struct Lives {
    engine: u64,
    relay: u64,
}

/// How many are still to be killed, and whether it is over.
struct Left {
    kills: AtomicU64,
    stop: AtomicBool,
}

/// Ends the round for all threads when one of them fails.
struct StopAll<'a>(&'a Left);

impl Drop for StopAll<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop.store(true, Ordering::Release);
        }
    }
}

/// Starts a process, lets it live for some microseconds and kills it, again and again.
fn keep(
    left: &Left,
    tally: &Tally,
    mut life: impl FnMut() -> u64,
    counts: &[&str],
    start: impl Fn() -> Process,
) {
    while !left.stop.load(Ordering::Acquire) {
        let mut process = start();
        // The moment is the point: nothing is waited for.
        std::thread::sleep(Duration::from_micros(life()));
        assert!(!process.has_ended(), "ended by itself: {}", process.said());
        process.kill();
        counts.iter().for_each(|count| tally.add(count, 1));
        if left.kills.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_err() {
            left.stop.store(true, Ordering::Release);
        }
    }
}

fn name(n: usize) -> String {
    ["a", "b", "c"][n].to_owned()
}

/// An app that knows nothing of engines and their deaths. Returns how many transactions it committed.
fn write(path: &Path, who: &str, left: &Left, mut dice: Rng, tally: &Tally) -> u32 {
    let connection = connect(path);
    let mut n = 0;
    while !left.stop.load(Ordering::Acquire) {
        n += 1;
        transaction(&connection, who, n, &mut dice)
            .unwrap_or_else(|error| panic!("the app's own SQL fails in {}: {error}", path.display()));
        tally.add("transactions", 1);
        std::thread::sleep(Duration::from_micros(dice.u64(500..20_000)));
    }
    n
}

fn transaction(connection: &rusqlite::Connection, who: &str, n: u32, dice: &mut Rng) -> rusqlite::Result<()> {
    // IMMEDIATE, as an app that shares its file with anybody must: an upgrade could not wait.
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let load = if dice.u8(..20) == 0 { dice.i64(1000..60_000) } else { dice.i64(0..50) };
    let run = |sql: &str| connection.prepare_cached(sql)?.execute([]).map(|_| ());
    run(&format!("INSERT INTO log VALUES ('{who}-{n:06}', '{who}', {n}, randomblob({load}))"))?;
    run(&format!("REPLACE INTO latest VALUES ('{who}', {n})"))?;
    run("UPDATE tally SET hits = hits + 1 WHERE id = 'all'")?;
    if n.is_multiple_of(WORD_EVERY) {
        run(&format!("UPDATE page SET body = body || ' {who}{n:05}' WHERE id = 'all'"))?;
    }
    if n.is_multiple_of(BULK_EVERY) {
        run(&format!(
            "WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < {BULK_ROWS})
             INSERT INTO bulk SELECT '{who}', {n}, i FROM i"
        ))?;
    }
    match dice.u8(..6) {
        // Everybody hands out the same few addresses: some people are parked, and return.
        0 => {
            run(&format!("INSERT OR IGNORE INTO person VALUES ('{who}{n}', 'p{}@x', 'root')", dice.u8(..30)))?
        }
        1 => run(&format!(
            "DELETE FROM person WHERE rowid = (SELECT max(rowid) FROM person WHERE id LIKE '{who}_%')"
        ))?,
        2 => run(&format!("UPDATE person SET email = 'q{}@x' || random() WHERE id = 'root'", dice.u8(..9)))?,
        _ => {}
    }
    connection.execute_batch("COMMIT")
}

/// In one moment of one file: everybody's transactions are there whole, and the earlier of each before the later.
#[track_caller]
fn assert_whole(file: &Path) {
    let select = format!(
        "SELECT l.who, l.n, (SELECT count(*) FROM log WHERE who = l.who), (SELECT max(n) FROM log WHERE who = l.who),
                l.n / {BULK_EVERY} * {BULK_ROWS} - (SELECT count(*) FROM bulk WHERE who = l.who)
         FROM latest l"
    );
    for row in query(file, &select) {
        let columns: Vec<&str> = row.split(", ").collect();
        let [_, n, count, most, bulk] = columns[..] else { panic!("five columns: {row}") };
        assert!(
            n == count && n == most && bulk == "0",
            "half a transaction is shown in {}: {row}",
            file.display()
        );
    }
}

/// Everything that was committed is there once. `written` is how many transactions each writer committed.
#[track_caller]
fn assert_all_there(file: &Path, written: &[u32]) {
    assert_whole(file);
    let all = |query_of: &str| query(file, query_of);
    for (n, count) in written.iter().enumerate() {
        let who = name(n);
        let select = format!(
            "SELECT count(*), max(n), (SELECT n FROM latest WHERE who = '{who}') FROM log WHERE who = '{who}'"
        );
        assert_eq!(all(&select), [format!("{count}, {count}, {count}")], "{who} committed {count}");
    }
    let sum: u32 = written.iter().sum();
    assert_eq!(all("SELECT hits FROM tally"), [sum.to_string()], "the counter");
    let text = all("SELECT body FROM page").concat();
    let mut words: Vec<&str> = text.trim_matches('\'').split_whitespace().skip(1).collect();
    words.sort_unstable();
    let expected = written.iter().enumerate().flat_map(|(n, count)| {
        (1..=*count).filter(|n| n.is_multiple_of(WORD_EVERY)).map(move |at| format!("{}{at:05}", name(n)))
    });
    assert_eq!(words, expected.collect::<Vec<_>>(), "the words of the text");
}
