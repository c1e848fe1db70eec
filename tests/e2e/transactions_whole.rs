//! Another replica shows all of a transaction or none of it.

use std::sync::atomic::{AtomicBool, Ordering};

use driftless::{Config, TableOptions, sim};
use driftless_tests::{Node, TestRelay, agree, connect, create_database, each_seed, query, sql};
use fastrand::Rng;

const ROWS: usize = 1200;
const LEDGER: &str = "
CREATE TABLE debits (id TEXT PRIMARY KEY, amount INTEGER NOT NULL);
CREATE TABLE credits (id TEXT PRIMARY KEY, amount INTEGER NOT NULL, note TEXT);
";

/// The sum of all debits and of all credits, and how many of each, in one read transaction.
const BALANCE: &str = "
SELECT (SELECT ifnull(sum(amount), 0) FROM debits) = (SELECT ifnull(sum(amount), 0) FROM credits)
   AND (SELECT count(*) FROM debits) = (SELECT count(*) FROM credits),
  (SELECT count(*) FROM debits)
";

/// Turns and changesets so small that one transaction needs many of either.
fn small() -> Config {
    let mut config = Config::default();
    config.turn_rows = 70;
    config.changeset_bytes = 2000;
    config
}

#[test]
fn a_transaction_over_two_tables_sent_in_many_parts_is_never_seen_half() {
    each_seed([1], |mut dice: Rng| {
        let folder = tempfile::tempdir().expect("a folder");
        let mut relay = TestRelay::on_disk(&folder.path().join("relay"));
        let mut nodes = ["a.db", "b.db"].map(|name| {
            let path = folder.path().join(name);
            create_database(&path, LEDGER);
            let node = Node::open_with(&path, small());
            node.track_all(TableOptions::default());
            node.track_all(TableOptions::default());
            node
        });
        nodes.iter_mut().for_each(|node| node.go_online(&relay.url("ledger")));
        let [a, b] = &nodes;

        let done = AtomicBool::new(false);
        let looks = std::thread::scope(|threads| {
            let reader = threads.spawn(|| {
                let reader = connect(b.path());
                let (mut looks, mut sizes) = (0u32, std::collections::BTreeSet::new());
                while !done.load(Ordering::Acquire) {
                    let (balanced, rows): (bool, i64) = reader
                        .query_row(BALANCE, [], |row| Ok((row.get(0)?, row.get(1)?)))
                        .expect("readers are never locked out");
                    assert!(balanced, "half a transaction is visible, {rows} debits");
                    sizes.insert(rows);
                    looks += 1;
                }
                (looks, sizes)
            });
            for round in 0..4 {
                let writer = connect(a.path());
                let tx = writer.unchecked_transaction().expect("a transaction");
                // Table by table, so that a cut anywhere leaves the books unbalanced.
                for (table, columns) in [("debits", "id, amount"), ("credits", "id, amount")] {
                    let mut insert = tx
                        .prepare(&format!(
                            "INSERT INTO {table} ({columns}) VALUES (?1, ?2)
                             ON CONFLICT DO UPDATE SET amount = amount + excluded.amount"
                        ))
                        .expect("the statement");
                    for n in 0..ROWS {
                        insert.execute((format!("{:05}", n + round * ROWS / 2), 7)).expect("the row");
                    }
                }
                tx.commit().expect("the commit");
                match dice.u8(..3) {
                    // Cut off in the middle of it, and again.
                    0 => relay.restart(),
                    1 => b.engine().nudge(),
                    _ => a.sync_now(),
                }
            }
            agree(&[a, b]);
            done.store(true, Ordering::Release);
            reader.join().expect("the reader saw whole transactions only")
        });
        assert!(looks.0 > 10, "the reader looked {} times only", looks.0);
        let total = ROWS + 3 * (ROWS / 2);
        assert_eq!(query(b.path(), "SELECT count(*) FROM debits"), [total.to_string()]);
        eprintln!("{} looks, {} states: {:?}", looks.0, looks.1.len(), looks.1);
    });
}

#[test]
fn an_engine_killed_in_the_middle_of_the_parts_goes_on_where_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::in_memory();
    let mut nodes = ["a.db", "b.db"].map(|name| {
        let path = folder.path().join(name);
        create_database(&path, LEDGER);
        let node = Node::open_with(&path, small());
        node.track_all(TableOptions::default());
        node
    });
    let url = relay.url("ledger");
    nodes.iter_mut().for_each(|node| node.go_online(&url));
    let [a, b] = &mut nodes;
    let fill = |table: &str| {
        format!(
            "INSERT INTO {table} (id, amount) WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n
             WHERE n < {ROWS}) SELECT printf('%05d', n), n FROM n;"
        )
    };
    a.sql(&format!("BEGIN; {} {} COMMIT", fill("debits"), fill("credits")));
    a.engine().nudge();
    // However far it got.
    a.close();
    assert_eq!(query(b.path(), &format!("SELECT count(*) IN (0, {ROWS}) FROM debits")), ["1"]);
    a.reopen();
    a.go_online(&url);
    agree(&[a, b]);
    assert_eq!(query(b.path(), "SELECT sum(amount) FROM credits"), [(ROWS * (ROWS + 1) / 2).to_string()]);
}

/// A snapshot that was made between two turns that captured one transaction had half of it, and whoever took it showed
/// that half.
#[test]
fn no_snapshot_is_made_of_half_a_transaction() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    create_database(&path, "CREATE TABLE t (id TEXT PRIMARY KEY)");
    let mut config = Config::default();
    config.turn_rows = 1;
    let mut replica = sim::Replica::open(&path, config).expect("opened");
    replica.track(&["t"], TableOptions::default()).expect("tracked");
    sql(&path, "BEGIN; INSERT INTO t VALUES ('a'); INSERT INTO t VALUES ('b'); COMMIT");
    assert!(replica.one_turn().expect("a turn"), "there is more to capture");
    assert!(replica.snapshot().expect("an answer").is_empty());
    while replica.one_turn().expect("a turn") {}
    assert!(!replica.snapshot().expect("an answer").is_empty());
}
