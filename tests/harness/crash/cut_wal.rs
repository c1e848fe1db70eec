//! What a crash of the whole machine may leave: a database whose write-ahead log ends early.
//!
//! While engines sync and apps write, an image is taken of one database and its log; the others go on. Then the log is cut
//! at the end of each frame, and at some bytes in between, and put back into the very file. A cut before something that
//! was on the relay already is an older copy of the file: it must notice, by what the relay holds, and become another
//! replica. Either way all agree in the end, nothing that the others hold is lost, and nothing that is in the file as it was cut.
//!
//! The relay's database is cut in the same way: what it had acknowledged and lost it gets back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use fastrand::Rng;

use super::image::{Image, copy_database};
use super::peace::{assert_equal, assert_verified, status, sync_all, text};
use super::report::{Scratch, Tally};
use crate::{Commands, connect, create_database, free_port, query, sql};

/// What the counts of a run are called.
pub const COUNTS: [&str; 4] = ["cuts", "new replicas", "rounds", "transactions"];

const SCHEMA: &str = "
CREATE TABLE log (id TEXT PRIMARY KEY, n INTEGER, load BLOB);
CREATE TABLE latest (who TEXT PRIMARY KEY, n INTEGER);
CREATE TABLE page (id TEXT PRIMARY KEY, body TEXT);
INSERT INTO page VALUES ('all', '.');
";
/// Transactions of each app, and after which the image is taken.
const TRANSACTIONS: u32 = 60;
const IMAGE_AFTER: std::ops::Range<u32> = 20..50;

/// What is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The log of a file.
    File,
    /// The log of the relay.
    Relay,
}

/// One image, its log cut at the end of every so many frames and at `random` bytes. Panics if anything is lost or differs.
pub fn round(cut: Cut, seed: u64, every: usize, random: usize, tally: &Tally) {
    let mut scratch = Scratch::new(format!("cut-wal {cut:?} under seed {seed}"));
    let mut dice = Rng::with_seed(seed);
    let folder = scratch.path().join("files");
    std::fs::create_dir(&folder).expect("a folder");
    let files = ["a", "b"].map(|name| folder.join(format!("{name}.db")));
    let (data, port) = (folder.join("relay"), free_port());
    let url = format!("ws://127.0.0.1:{port}/space");
    let victim = match cut {
        Cut::File => files[0].clone(),
        Cut::Relay => data.join("relay.db"),
    };
    let image = scratch.path().join("image.db");
    let commands = Commands::get();
    for file in &files {
        create_database(file, SCHEMA);
        commands.succeed(["track", text(file), "--all", "--text", "page.body"]);
    }
    {
        let _relay = commands.relay(&data, port);
        sync_all(&files, &url);
        let syncs = files.each_ref().map(|file| commands.sync(file, &url));
        let apps = files.each_ref().map(|file| connect(file));
        let moment = dice.u32(IMAGE_AFTER);
        for n in 0..TRANSACTIONS {
            for (app, who) in apps.iter().zip(["a", "b"]) {
                let load = if dice.u8(..10) == 0 { 9000 } else { 20 };
                let transaction = format!(
                    "BEGIN IMMEDIATE; INSERT INTO log VALUES ('{who}{n:04}', {n}, randomblob({load}));
                     REPLACE INTO latest VALUES ('{who}', {n});
                     UPDATE page SET body = body || ' {who}{n}' WHERE {n} % 5 = 0; COMMIT"
                );
                app.execute_batch(&transaction).expect("the app's own SQL never fails");
                tally.add("transactions", 1);
                // So that the engine's turns fall here and there.
                std::thread::sleep(std::time::Duration::from_micros(dice.u64(0..6000)));
            }
            if n == moment {
                take(&victim, &image);
            }
        }
        drop(apps);
        // What is sent by then is sent.
        for sync in syncs {
            sync.stop();
        }
    }
    let rest = Image::take(&folder);
    let log = std::fs::read(wal(&image)).expect("there is a log");
    for at in cuts(&log, every, random, &mut dice) {
        scratch.trying(format!(
            "cut-wal {cut:?} under seed {seed}: the log cut after {at} of {} bytes",
            log.len()
        ));
        rest.restore();
        put(&image, &log[..at], &victim);
        let look = |path: &Path| ids_of(&copy(path, &scratch.path().join("look.db")));
        let mut all: BTreeSet<String> = look(&files[1]);
        all.extend(look(&files[0]));
        let before = head(&copy(&files[0], &scratch.path().join("look.db")));
        let on_relay =
            (cut == Cut::File).then(|| before.as_ref().map(|(own, _)| stored(&data, own, scratch.path())));
        // In the meantime somebody may have written to it.
        if dice.bool() {
            sql(&files[0], "INSERT INTO log VALUES ('after the cut', 0, NULL)");
            all.insert("'after the cut'".to_owned());
        }
        let (_relay, _) = commands.relay(&data, port);
        sync_all(&files, &url);
        assert_equal(&files);
        let now: BTreeSet<String> = ids_of(&files[0]);
        let lost: Vec<_> = all.difference(&now).collect();
        assert!(lost.is_empty(), "rows are lost: {lost:?}");
        if let (Some((own, last)), Some(Some(stored))) = (before, on_relay) {
            let renamed = hex(&files[0]) != own;
            assert!(
                renamed || last >= stored,
                "the relay holds {stored} of {own}, the file {last}, and it keeps its name"
            );
            // Not out of mere caution either: what nobody has need not be another's.
            assert!(
                !renamed || last < stored,
                "it took another name, although it has all that the relay holds of it"
            );
            tally.add("new replicas", u64::from(renamed));
        }
        let one = dice.usize(..files.len());
        assert_verified(&files[one], Some(&url));
        assert_verified(&files[1 - one], None);
        tally.add("cuts", 1);
    }
    tally.add("rounds", 1);
}

/// The ends of frames, and bytes anywhere.
fn cuts(log: &[u8], every: usize, random: usize, dice: &mut Rng) -> BTreeSet<usize> {
    // https://sqlite.org/fileformat2.html#the_write_ahead_log: 32 bytes, of which 4 at 8 say how large pages are; then
    // frames of 24 bytes and a page.
    const HEADER: usize = 32;
    let mut cuts: BTreeSet<usize> = [0, log.len()].into();
    if let Some(page) = log.get(8..12) {
        let frame = 24 + u32::from_be_bytes(page.try_into().expect("four bytes")) as usize;
        cuts.extend((HEADER..=log.len()).step_by(frame * every.max(1)));
        cuts.extend(std::iter::repeat_with(|| dice.usize(..log.len())).take(random));
    }
    cuts
}

fn wal(path: &Path) -> PathBuf {
    format!("{}-wal", path.display()).into()
}

/// Copies a database and its log while others write to it. A reader stands by meanwhile, so that the log is not begun anew;
/// and another process copies, since closing a file would take the locks from that reader.
fn take(from: &Path, to: &Path) {
    let reader = connect(from);
    reader.execute_batch("BEGIN").expect("a transaction");
    reader.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(())).expect("it can be read");
    for (from, to) in [(from.to_owned(), to.to_owned()), (wal(from), wal(to))] {
        let copied = Command::new("cp").args([from, to]).status().expect("cp runs");
        assert!(copied.success(), "the image is taken");
    }
}

/// Puts an image back into the very file that it was taken of.
fn put(image: &Path, log: &[u8], victim: &Path) {
    std::fs::write(victim, std::fs::read(image).expect("the image is there")).expect("it can be written");
    std::fs::write(wal(victim), log).expect("it can be written");
    let _ = std::fs::remove_file(format!("{}-shm", victim.display())); // it may not be there
}

fn copy(from: &Path, to: &Path) -> PathBuf {
    copy_database(from, to);
    to.to_owned()
}

fn ids_of(file: &Path) -> BTreeSet<String> {
    query(file, "SELECT id FROM log").into_iter().collect()
}

fn hex(file: &Path) -> String {
    status(file).replica.to_string().replace('-', "").to_uppercase()
}

/// A file's own id and its last seq.
fn head(file: &Path) -> Option<(String, u64)> {
    let own = "(SELECT value FROM _driftless_meta WHERE name = 'replica')";
    let row = query(
        file,
        &format!("SELECT hex({own}), (SELECT seq FROM _driftless_progress WHERE replica = {own})"),
    )
    .pop()?;
    let (own, last) = row.split_once(", ")?;
    Some((own.trim_matches('\'').to_owned(), last.parse().unwrap_or(0)))
}

/// The last seq that the relay holds of a replica.
fn stored(data: &Path, own: &str, scratch: &Path) -> u64 {
    let relay = copy(&data.join("relay.db"), &scratch.join("look-relay.db"));
    let rows = query(&relay, &format!("SELECT seq FROM head WHERE hex(replica) = '{own}'"));
    rows.first().and_then(|seq| seq.parse().ok()).unwrap_or(0)
}
