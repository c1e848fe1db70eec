//! Three replicas, random SQL on each, syncing now and then: in the end they are equal, and so are their conflicts.

use driftless::TableOptions;
use driftless_tests::{Node, TestRelay, agree, create_database, each_seed, sql};
use fastrand::Rng;

const TABLES: &str = "
CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT, body, stars INTEGER DEFAULT 3);
CREATE TABLE places (x INTEGER, y TEXT, name TEXT, PRIMARY KEY (y, x));
CREATE TABLE compact (id TEXT, part INTEGER, value ANY, PRIMARY KEY (id, part)) WITHOUT ROWID;
CREATE TABLE folded (word TEXT COLLATE NOCASE PRIMARY KEY, meaning TEXT, n REAL);
CREATE TABLE numbered (id INTEGER PRIMARY KEY, label TEXT, amount NUMERIC);
CREATE INDEX notes_by_title ON notes (title);
";

/// Few keys, so that the replicas meet on them.
fn key(dice: &mut Rng) -> String {
    format!("'k{}'", dice.u8(..6))
}

fn word(dice: &mut Rng) -> &'static str {
    ["'apple'", "'APPLE'", "'Pear'", "'pear'", "'Fig'", "'fIG'"][dice.usize(..6)]
}

fn value(dice: &mut Rng) -> String {
    match dice.u8(..8) {
        0 => "NULL".to_owned(),
        1 => dice.i32(..).to_string(),
        2 => format!("{:?}", dice.f64() * 100.0),
        3 => format!("x'{:02x}'", dice.u8(..)),
        4 => "''".to_owned(),
        5 => "9223372036854775807".to_owned(),
        _ => format!("'v{}'", dice.u16(..)),
    }
}

fn statement(dice: &mut Rng) -> String {
    let (k, v, w) = (key(dice), value(dice), value(dice));
    let (n, small) = (dice.u8(..4), dice.u8(..6));
    match dice.u8(..22) {
        0 => format!("INSERT OR IGNORE INTO notes VALUES ({k}, {v}, {w}, {n})"),
        1 => format!("REPLACE INTO notes (id, title) VALUES ({k}, {v})"),
        2 => format!(
            "INSERT INTO notes (id, body) VALUES ({k}, {v}) ON CONFLICT DO UPDATE SET body = excluded.body"
        ),
        3 => format!("UPDATE notes SET title = {v} WHERE id = {k}"),
        4 => format!("UPDATE notes SET body = {v}, stars = stars + 1 WHERE id > {k}"),
        5 => format!("DELETE FROM notes WHERE id = {k}"),
        6 => format!("UPDATE OR REPLACE notes SET id = {k} WHERE id = {}", key(dice)),
        7 => format!("INSERT OR REPLACE INTO places VALUES ({n}, {k}, {v})"),
        8 => format!("UPDATE places SET name = {v} WHERE x = {n}"),
        9 => format!("DELETE FROM places WHERE y = {k}"),
        10 => format!("UPDATE OR IGNORE places SET x = x + 1 WHERE y = {k}"),
        11 => format!("INSERT OR REPLACE INTO compact VALUES ({k}, {n}, {v})"),
        12 => format!("UPDATE compact SET value = {v} WHERE part = {n}"),
        13 => format!("DELETE FROM compact WHERE id = {k} AND part >= {n}"),
        14 => format!("UPDATE OR REPLACE compact SET part = {n} WHERE id = {k}"),
        15 => format!("INSERT OR REPLACE INTO folded VALUES ({}, {v}, {small})", word(dice)),
        16 => format!("UPDATE folded SET meaning = {v} WHERE word = {}", word(dice)),
        17 => format!("UPDATE folded SET word = {0} WHERE word = {0}", word(dice)),
        18 => format!("DELETE FROM folded WHERE word = {}", word(dice)),
        19 => format!("INSERT OR REPLACE INTO numbered VALUES ({small}, {v}, {w})"),
        20 => format!("UPDATE numbered SET amount = {v} WHERE id % 2 = {}", n % 2),
        _ => format!("DELETE FROM numbered WHERE id = {small}"),
    }
}

/// One to five statements, sometimes as one transaction, sometimes with a part of it taken back.
fn burst(dice: &mut Rng) -> String {
    let mut statements: Vec<String> = (0..dice.usize(1..6)).map(|_| statement(dice)).collect();
    match dice.u8(..5) {
        0 => format!("BEGIN; {}; COMMIT", statements.join("; ")),
        1 => {
            let taken_back = statements.pop().unwrap_or_default();
            let before = statements.join("; ");
            format!("BEGIN; {before}; SAVEPOINT s; {taken_back}; ROLLBACK TO s; RELEASE s; COMMIT")
        }
        _ => statements.join("; "),
    }
}

fn run(mut dice: Rng, deletes_win: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut relay = TestRelay::in_memory();
    let names = ["a.db", "b.db", "c.db"];
    let mut nodes = names.map(|name| {
        let path = folder.path().join(name);
        create_database(&path, TABLES);
        // Some rows are there before anybody tracks anything.
        let options = TableOptions::integer_key();
        if dice.bool() {
            sql(&path, &burst(&mut dice));
        }
        let node = Node::open(&path);
        node.track_all(if deletes_win { options.deletes_win() } else { options });
        node
    });
    let url = relay.url("random");
    // All belong to the space before it may be forgotten: a stranger who came first then would make another.
    nodes.iter_mut().for_each(|node| node.go_online(&url));
    nodes.iter().for_each(Node::sync_now);
    for _ in 0..dice.usize(20..40) {
        let at = dice.usize(..nodes.len());
        let node = &mut nodes[at];
        match dice.u8(..12) {
            0 | 1 => node.go_online(&url),
            2 => node.go_offline(),
            3 => node.reopen(),
            4 if dice.u8(..4) == 0 => relay.restart(), // and it has forgotten everything
            _ => node.sql(&burst(&mut dice)),
        }
    }
    nodes.iter_mut().for_each(|node| node.go_online(&url));
    let [a, b, c] = &nodes;
    agree(&[a, b, c]);
    // Settling what is in conflict works for whoever does it.
    for conflict in b.conflicts() {
        b.sql(&format!(
            "UPDATE {} SET {} = 'settled' WHERE ({}) = ({})",
            conflict.table,
            conflict.column,
            key_columns(&conflict.table),
            conflict.key
        ));
    }
    agree(&[a, b, c]);
    let left: Vec<_> = a
        .conflicts()
        .into_iter()
        .filter(|c| !key_columns(&c.table).split(", ").any(|k| k == c.column))
        .collect();
    assert_eq!(left, []);
}

fn key_columns(table: &str) -> &'static str {
    match table {
        "notes" | "numbered" => "id",
        "places" => "y, x",
        "compact" => "id, part",
        "folded" => "word",
        other => panic!("no table {other}"),
    }
}

#[test]
fn random_writes_on_three_replicas_end_in_equal_tables_and_equal_conflicts() {
    each_seed(1..=24, |dice| run(dice, false));
}

#[test]
fn and_so_they_do_where_deletes_win() {
    each_seed(101..=108, |dice| run(dice, true));
}
