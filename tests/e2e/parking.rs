//! Which rows are parked, held to a model that knows nothing of how the engine finds out: three replicas with UNIQUE and
//! foreign keys of every form write at random, with and without enforcement, and exchange what they wrote in random
//! order. At every step every constraint holds in every file; when all have everything, the tables are equal, and the
//! rows in them are just those that the rule admits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use driftless::sim::Replica;
use driftless::{Config, TableOptions, Value};
use driftless_tests::{connect, create_database, each_seed, query, tables};
use fastrand::Rng;
use rusqlite::Connection;

const SCHEMA: &str = "
CREATE TABLE p (
  k TEXT PRIMARY KEY,
  u TEXT COLLATE NOCASE UNIQUE,
  v INTEGER CHECK (v < 8),
  boss TEXT REFERENCES p ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE c (
  k TEXT PRIMARY KEY,
  p TEXT REFERENCES p (k) ON DELETE CASCADE ON UPDATE CASCADE,
  pu TEXT REFERENCES p (u) ON UPDATE CASCADE ON DELETE SET NULL,
  n INTEGER, m INTEGER,
  t TEXT NOT NULL DEFAULT '',
  UNIQUE (n, m)
);
CREATE UNIQUE INDEX lower_t ON c (lower(t) || 'x') WHERE n IS NOT NULL;
CREATE TABLE d (
  a INTEGER, b TEXT, n INTEGER, m INTEGER, c TEXT REFERENCES c,
  PRIMARY KEY (a, b),
  FOREIGN KEY (n, m) REFERENCES c (n, m)
) WITHOUT ROWID;
CREATE INDEX d_c ON d (c);
CREATE UNIQUE INDEX d_m ON d (m, c);
";

/// A random statement; many fail, as they would in an app.
fn statement(rng: &mut Rng) -> String {
    let key = |rng: &mut Rng| format!("'{}'", rng.choice(["a", "b", "c", "d", "e", "f"]).expect("a letter"));
    let name = |rng: &mut Rng| rng.choice(["'x'", "'X'", "'y'", "'z'", "NULL"]).expect("a name").to_owned();
    let small = |rng: &mut Rng| rng.choice(["1", "2", "3", "NULL"]).expect("a number").to_owned();
    let parent = |rng: &mut Rng| if rng.u8(..4) == 0 { "NULL".to_owned() } else { key(rng) };
    let or = rng.choice(["", "OR REPLACE ", "OR IGNORE ", "OR REPLACE "]).expect("a clause");
    let (k, p, pu, n, m) = (key(rng), parent(rng), name(rng), small(rng), small(rng));
    match rng.u8(..12) {
        0 | 1 => format!("INSERT {or}INTO p VALUES ({k}, {pu}, {}, {p})", rng.u8(..9)),
        2 => format!("UPDATE {or}p SET u = {pu} WHERE k = {k}"),
        3 => format!("UPDATE {or}p SET v = {}, boss = {p} WHERE k = {k}", rng.u8(..9)),
        4 => format!("DELETE FROM p WHERE k = {k}"),
        5 | 6 => {
            let t = rng.choice(["'q'", "'Q'", "'r'", "''", "'s'"]).expect("a text");
            format!("INSERT {or}INTO c VALUES ({k}, {p}, {pu}, {n}, {m}, {t})")
        }
        7 => format!("UPDATE {or}c SET n = {n}, m = {m}, p = {p} WHERE k = {k}"),
        8 => format!("DELETE FROM c WHERE k = {k}"),
        9 => format!("INSERT {or}INTO d VALUES ({}, {k}, {n}, {m}, {p})", rng.u8(1..4)),
        10 => format!("UPDATE {or}d SET n = {n}, m = {m}, c = {p} WHERE b = {k}"),
        // Two rows trade their values.
        _ => "UPDATE p SET u = NULL; UPDATE p SET u = 'x' WHERE k = (SELECT max(k) FROM p)".to_owned(),
    }
}

fn write(connection: &Connection, rng: &mut Rng) {
    let enforced = rng.bool();
    write_with(connection, rng, enforced);
}

fn write_with(connection: &Connection, rng: &mut Rng, enforced: bool) {
    let _ = connection.execute_batch(&format!("PRAGMA foreign_keys = {enforced}"));
    let whole = rng.bool();
    if whole {
        let _ = connection.execute_batch("BEGIN");
    }
    for _ in 0..rng.u8(1..5) {
        let _ = connection.execute_batch(&statement(rng)); // whatever fails is the app's own affair
    }
    if whole && connection.execute_batch("COMMIT").is_err() {
        let _ = connection.execute_batch("ROLLBACK");
    }
}

#[track_caller]
fn assert_sound(replica: &Replica) {
    let path = replica.path();
    assert_eq!(query(path, "PRAGMA foreign_key_check"), [""; 0], "{}", path.display());
    assert_eq!(query(path, "PRAGMA integrity_check"), ["'ok'"], "{}", path.display());
}

#[track_caller]
fn assert_no_orphans(path: &Path) {
    assert_eq!(query(path, "PRAGMA foreign_key_check"), [""; 0], "{}", path.display());
}

type Row = BTreeMap<String, Value<'static>>;

/// Every row that is alive: in its table or parked.
fn alive(replica: &Replica) -> BTreeMap<(String, String), Row> {
    let connection = connect(replica.path());
    let mut alive = BTreeMap::new();
    for table in ["p", "c", "d"] {
        for row in rows(&connection, table) {
            alive.insert((table.to_owned(), key_of(table, &row)), row);
        }
    }
    for parked in driftless::parked(replica.path()).expect("the parked rows") {
        let row: Row = parked.row.into_iter().collect();
        let known = alive.insert((parked.table.clone(), key_of(&parked.table, &row)), row);
        assert!(known.is_none(), "{} [{}] is in its table and parked", parked.table, parked.key);
    }
    alive
}

fn rows(connection: &Connection, table: &str) -> Vec<Row> {
    let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).expect("a table");
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.query([]).expect("rows");
    let mut found = Vec::new();
    while let Some(row) = rows.next().expect("a row") {
        let value = |at| match row.get_ref(at).expect("a column") {
            rusqlite::types::ValueRef::Null => Value::Null,
            rusqlite::types::ValueRef::Integer(i) => Value::Integer(i),
            rusqlite::types::ValueRef::Text(text) => Value::Text(text.to_vec().into()),
            other => panic!("{other:?}"),
        };
        found.push(names.iter().enumerate().map(|(at, name)| (name.clone(), value(at))).collect());
    }
    found
}

/// Keys that order as the primary keys do.
fn key_of(table: &str, row: &Row) -> String {
    if table == "d" { format!("{} {}", row["a"], row["b"]) } else { row["k"].to_string() }
}

fn lower(value: &Value<'_>) -> String {
    value.to_string().to_lowercase()
}

/// What the rule admits, said anew: by itself, UNIQUE by ascending key, references until nothing changes.
fn admitted(alive: &BTreeMap<(String, String), Row>) -> BTreeSet<(String, String)> {
    let mut admitted: BTreeSet<(String, String)> = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for ((table, key), row) in alive {
        let is_null = |column: &str| row[column] == Value::Null;
        let sound = match &**table {
            "p" => !matches!(row["v"], Value::Integer(v) if v >= 8),
            "c" => !is_null("t"),
            _ => true,
        };
        let mut values = Vec::new();
        match &**table {
            "p" if !is_null("u") => values.push(format!("p.u {}", lower(&row["u"]))),
            "c" => {
                if !is_null("n") {
                    values.push(format!("c.t {}", lower(&row["t"])));
                }
                if !is_null("n") && !is_null("m") {
                    values.push(format!("c.nm {} {}", row["n"], row["m"]));
                }
            }
            "d" if !is_null("m") && !is_null("c") => values.push(format!("d.m {} {}", row["m"], row["c"])),
            _ => {}
        }
        if sound && values.iter().all(|value| !taken.contains(value)) {
            taken.extend(values);
            admitted.insert((table.clone(), key.clone()));
        }
    }
    loop {
        let has = |table: &str, matches: &dyn Fn(&Row) -> bool| {
            admitted.iter().any(|id| id.0 == table && matches(&alive[id]))
        };
        let refers = |row: &Row, columns: &[&str], table: &str, to: &[&str], fold: bool| {
            columns.iter().any(|column| row[*column] == Value::Null)
                || has(table, &|parent: &Row| {
                    columns.iter().zip(to).all(|(column, to)| match fold {
                        true => lower(&row[*column]) == lower(&parent[*to]),
                        false => row[*column] == parent[*to],
                    })
                })
        };
        let orphan = admitted.iter().find(|id| {
            let row = &alive[*id];
            !match &*id.0 {
                "p" => refers(row, &["boss"], "p", &["k"], false),
                "c" => refers(row, &["p"], "p", &["k"], false) && refers(row, &["pu"], "p", &["u"], true),
                _ => {
                    refers(row, &["c"], "c", &["k"], false)
                        && refers(row, &["n", "m"], "c", &["n", "m"], false)
                }
            }
        });
        let Some(orphan) = orphan.cloned() else { return admitted };
        admitted.remove(&orphan);
    }
}

#[test]
fn the_rows_in_the_tables_are_those_that_the_rule_admits_whatever_came_when() {
    const NODES: usize = 3;
    let count = std::env::var("DRIFTLESS_SEEDS").map_or(30, |count| count.parse().expect("a number"));
    each_seed(0..count, |mut rng| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut nodes: Vec<Replica> = (0..NODES)
            .map(|n| {
                let path = folder.path().join(format!("{n}.db"));
                create_database(&path, SCHEMA);
                // However little a turn does of what it brings about.
                let mut config = Config::default();
                config.turn_rows = *rng.choice(&[1, 2, 3, 20_000]).expect("a number");
                config.turn_gap = Duration::ZERO;
                let mut replica = Replica::open(&path, config).expect("opened");
                replica.track(&["p", "c", "d"], TableOptions::default()).expect("tracked");
                replica
            })
            .collect();
        let users: Vec<Connection> = nodes.iter().map(|node| connect(node.path())).collect();
        let mut read = [[0; NODES]; NODES];
        // Dice of its own for what is written between the turns.
        let mut between = Rng::with_seed(rng.get_seed() ^ 0xbe7);
        let steps = rng.usize(10..60);
        for step in 0..=steps + 2 {
            let settling = step > steps;
            for to in 0..NODES {
                if !settling && rng.bool() {
                    write(&users[to], &mut rng);
                }
                for from in 0..NODES {
                    if from != to && (settling || rng.u8(..4) == 0) {
                        nodes[from].turn(Vec::new()).expect("captured");
                        let news = nodes[from].changesets_after(read[to][from]).expect("changesets");
                        read[to][from] += news.len() as u64;
                        // First what its own app wrote, which may have left rows without their parents.
                        nodes[to].turn(Vec::new()).expect("captured");
                        assert_sound(&nodes[to]);
                        let mut left = between.usize(..4);
                        nodes[to]
                            .turn_by_turn(news, |path| {
                                assert_no_orphans(path);
                                // Its app writes on between the turns, and leaves no orphan either.
                                if left > 0 && !settling && between.bool() {
                                    left -= 1;
                                    write_with(&users[to], &mut between, true);
                                    assert_no_orphans(path);
                                }
                            })
                            .expect("applied");
                        assert_sound(&nodes[to]);
                    }
                }
            }
        }
        let vectors: Vec<_> = nodes.iter().map(|node| node.vector().expect("a vector")).collect();
        assert!(vectors.iter().all(|vector| *vector == vectors[0]), "{vectors:?}");
        for node in &nodes {
            let alive = alive(node);
            let inside: BTreeSet<_> = {
                let connection = connect(node.path());
                let of = |table: &'static str| {
                    rows(&connection, table)
                        .into_iter()
                        .map(move |row| (table.to_owned(), key_of(table, &row)))
                };
                ["p", "c", "d"].into_iter().flat_map(of).collect()
            };
            assert_eq!(inside, admitted(&alive), "{alive:#?}");
        }
        let first = tables(nodes[0].path());
        for node in &nodes[1..] {
            if let Some(difference) = first.difference(&tables(node.path())) {
                panic!("{difference}");
            }
        }
    });
}
