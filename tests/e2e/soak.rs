//! A database as people have them, with its foreign keys enforced and constraints of our own added, written by three apps
//! at once, on- and offline, through real engines and a relay. Whoever looks at a file at any moment finds every
//! constraint holding. Runs for some seconds, or for `DRIFTLESS_SOAK_SECONDS`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use driftless::{Config, TableOptions};
use driftless_tests::{MusicShop, Node, TestRelay, agree, connect, query, seed, sql};
use fastrand::Rng;
use rusqlite::Connection;

const CONSTRAINTS: &str = "
CREATE UNIQUE INDEX artist_name ON Artist (Name);
CREATE UNIQUE INDEX genre_name ON Genre (Name COLLATE NOCASE);
CREATE UNIQUE INDEX album_title ON Album (ArtistId, lower(Title));
ALTER TABLE Track ADD COLUMN Stars INTEGER CHECK (Stars BETWEEN 1 AND 5);
ALTER TABLE Track ADD COLUMN Cost NUMERIC CHECK (Cost <= UnitPrice);
ALTER TABLE Album ADD COLUMN Lead INTEGER REFERENCES Track (TrackId) ON DELETE SET NULL;
CREATE UNIQUE INDEX album_lead ON Album (Lead) WHERE Lead IS NOT NULL;
";

/// Rows that must not be. `integrity_check` covers UNIQUE indexes, NOT NULL and CHECK.
const LAWS: [&str; 5] = [
    "PRAGMA foreign_key_check",
    "SELECT * FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
    "SELECT TrackId FROM Track WHERE Stars NOT BETWEEN 1 AND 5 OR Cost > UnitPrice",
    "SELECT Name FROM Artist GROUP BY Name HAVING count(*) > 1 AND Name IS NOT NULL",
    "SELECT Lead FROM Album WHERE Lead IS NOT NULL GROUP BY Lead HAVING count(*) > 1",
];

fn statement(rng: &mut Rng, node: u64) -> String {
    // Keys from a small set are made at two places at once; most are a node's own.
    let key =
        |rng: &mut Rng| if rng.u8(..3) == 0 { rng.u64(9_000..9_040) } else { node * 10_000 + rng.u64(..60) };
    let any = |rng: &mut Rng| if rng.bool() { rng.u64(1..40) } else { key(rng) };
    let name = |rng: &mut Rng| format!("Name {}", rng.u8(..60));
    let or = rng.choice(["", "", "OR REPLACE ", "OR IGNORE "]).expect("a clause");
    let (k, a, b, n) = (key(rng), any(rng), any(rng), name(rng));
    match rng.u8(..16) {
        0 | 1 => format!("INSERT {or}INTO Artist VALUES ({k}, '{n}')"),
        2 => format!("UPDATE {or}Artist SET Name = '{n}' WHERE ArtistId = {a}"),
        3 => format!("DELETE FROM Artist WHERE ArtistId = {k}"),
        4 | 5 => format!("INSERT {or}INTO Album (AlbumId, Title, ArtistId, Lead) VALUES ({k}, '{n}', {a}, {b})"),
        6 => format!("UPDATE {or}Album SET ArtistId = {a}, Lead = {b} WHERE AlbumId = {k}"),
        7 => format!("DELETE FROM Album WHERE AlbumId = {k}"),
        8 | 9 => format!(
            "INSERT {or}INTO Track (TrackId, Name, AlbumId, MediaTypeId, GenreId, Milliseconds, UnitPrice, Cost)
             VALUES ({k}, '{n}', {a}, 1, {}, 1000, 5, 3)",
            rng.u8(1..6)
        ),
        10 => format!("UPDATE Track SET UnitPrice = {} WHERE TrackId = {a}", rng.u8(1..6)),
        11 => format!("UPDATE Track SET Cost = {}, Stars = {} WHERE TrackId = {a}", rng.u8(1..6), rng.u8(1..7)),
        12 => format!("DELETE FROM Track WHERE TrackId = {k}"),
        13 => format!("INSERT {or}INTO PlaylistTrack VALUES ({}, {b})", rng.u8(1..4)),
        14 => format!("DELETE FROM PlaylistTrack WHERE TrackId = {b}"),
        _ => format!("INSERT {or}INTO Genre VALUES ({k}, '{}')", if rng.bool() { n.to_uppercase() } else { n }),
    }
}

fn write(connection: &Connection, rng: &mut Rng, node: u64) {
    let count = rng.usize(1..6);
    let whole = rng.bool();
    let statements: Vec<String> = (0..count).map(|_| statement(rng, node)).collect();
    if whole && connection.execute_batch("BEGIN IMMEDIATE").is_err() {
        return;
    }
    for one in statements {
        let _ = connection.execute_batch(&one); // what the constraints refuse is the app's own affair
    }
    if whole && connection.execute_batch("COMMIT").is_err() {
        let _ = connection.execute_batch("ROLLBACK");
    }
}

#[track_caller]
fn assert_lawful(node: &Node) {
    for law in LAWS {
        let broken = query(node.path(), law);
        assert!(broken.is_empty(), "{}: {law}\n{broken:#?}", node.path().display());
    }
}

#[test]
fn constraints_hold_at_every_moment_while_three_apps_write_one_shop() {
    let seconds =
        std::env::var("DRIFTLESS_SOAK_SECONDS").map_or(6, |seconds| seconds.parse().expect("a number"));
    let seed = seed().unwrap_or_else(|| fastrand::u64(..));
    eprintln!("seed {seed} for what is written; what meets what is up to the machine");
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let first = folder.path().join("0.db");
    MusicShop::put(&first);
    sql(&first, CONSTRAINTS);
    let mut nodes: Vec<Node> = (0..3)
        .map(|n| {
            let path = folder.path().join(format!("{n}.db"));
            if n > 0 {
                std::fs::copy(&first, &path).expect("a copy");
            }
            let node = Node::open_with(&path, Config::default());
            node.track_all(TableOptions::integer_key());
            node
        })
        .collect();
    let url = relay.url("shop");
    nodes.iter_mut().for_each(|node| node.go_online(&url));
    agree(&nodes.iter().collect::<Vec<_>>());

    let (stop, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    let paths: Vec<_> = nodes.iter().map(|node| node.path().to_owned()).collect();
    let (broken, written) = (std::sync::Mutex::new(Vec::new()), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for (n, path) in paths.iter().enumerate() {
            let (stop, looks, broken, written) = (&stop, &looks, &broken, &written);
            scope.spawn(move || {
                let mut rng = Rng::with_seed(seed.wrapping_add(n as u64));
                let connection = connect(path);
                connection.execute_batch("PRAGMA foreign_keys = ON").expect("enforced");
                while !stop.load(Ordering::Relaxed) {
                    write(&connection, &mut rng, n as u64 + 1);
                    written.fetch_add(1, Ordering::Relaxed);
                    std::thread::yield_now();
                }
            });
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    for law in LAWS {
                        let found = query(path, law);
                        if !found.is_empty() {
                            let mut broken = broken.lock().expect("nobody panicked");
                            broken.push(format!("{}: {law}: {found:?}", path.display()));
                        }
                    }
                    looks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut rng = Rng::with_seed(seed);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(seconds) {
            let node = &mut nodes[rng.usize(..3)];
            node.go_offline();
            std::thread::sleep(Duration::from_millis(rng.u64(50..400)));
            node.go_online(&url);
            std::thread::sleep(Duration::from_millis(rng.u64(50..400)));
        }
        stop.store(true, Ordering::Relaxed);
    });
    nodes.iter_mut().for_each(|node| node.go_online(&url));
    agree(&nodes.iter().collect::<Vec<_>>());
    nodes.iter().for_each(assert_lawful);
    let parked = |node: &Node| -> Vec<(String, String)> {
        let parked = driftless::parked(node.path()).expect("the parked rows");
        parked.into_iter().map(|row| (row.table, row.key)).collect()
    };
    let expected = parked(&nodes[0]);
    for node in &nodes[1..] {
        assert_eq!(parked(node), expected, "the same rows are parked");
    }
    eprintln!(
        "{} transactions, {} looks, {} rows parked, {} conflicts",
        written.into_inner(),
        looks.into_inner(),
        expected.len(),
        nodes[0].conflicts().len()
    );
    assert_eq!(broken.into_inner().expect("nobody panicked"), [""; 0]);
}
