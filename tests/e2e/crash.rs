//! Engines and relays that die at any moment, and relays that lose their data: in the end all agree, and every
//! committed write is there.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use driftless::TableOptions;
use driftless_tests::{
    Commands, Node, Nodes, agree, assert_same_tables, connect, create_database, each_seed, eventually,
    free_port, query,
};
use fastrand::Rng;

const LOG: &str = "
CREATE TABLE log (id TEXT PRIMARY KEY, who TEXT, n INTEGER);
CREATE TABLE latest (who TEXT PRIMARY KEY, n INTEGER);
";

/// Writes until told to stop: each transaction a row of its own, and the number of the last in another table.
/// Returns how many it committed.
fn write(path: &Path, who: &str, stop: &AtomicBool, mut dice: Rng) -> u32 {
    let connection = connect(path);
    let mut n = 0;
    while !stop.load(Ordering::Acquire) {
        n += 1;
        let tx = connection.unchecked_transaction().expect("a transaction");
        tx.execute("INSERT INTO log VALUES (?1, ?2, ?3)", (format!("{who}-{n:06}"), who, n)).expect("a row");
        tx.execute("REPLACE INTO latest VALUES (?1, ?2)", (who, n)).expect("a row");
        tx.commit().expect("the writer's own commit never fails because of an engine that dies");
        std::thread::sleep(Duration::from_micros(dice.u64(200..4000)));
    }
    n
}

#[test]
fn engines_and_relay_killed_at_random_moments_lose_no_committed_write() {
    const ROUNDS: usize = 20;
    let commands = Commands::get();
    each_seed([7], |mut dice| {
        let folder = tempfile::tempdir().expect("a folder");
        let files = ["a", "b"].map(|name| folder.path().join(format!("{name}.db")));
        for file in &files {
            create_database(file, LOG);
            commands.succeed(["track", file.to_str().expect("text"), "--all"]);
        }
        let data = folder.path().join("relay");
        let (mut relay, port) = commands.relay(&data, free_port());
        let url = format!("ws://127.0.0.1:{port}/log");
        let mut syncs = files.each_ref().map(|file| commands.sync(file, &url));
        let stop = AtomicBool::new(false);
        let mut killed = [0; 3];
        let written = std::thread::scope(|threads| {
            let writers = [("a", &files[0]), ("b", &files[1])].map(|(who, file)| {
                let (dice, stop) = (dice.fork(), &stop);
                threads.spawn(move || write(file, who, stop, dice))
            });
            for _ in 0..ROUNDS {
                // The moment is the point: nothing is waited for.
                std::thread::sleep(Duration::from_millis(dice.u64(1..150)));
                let victim = dice.usize(..3);
                killed[victim] += 1;
                if let Some(sync) = syncs.get_mut(victim) {
                    sync.kill();
                    *sync = commands.sync_unwatched(&files[victim], &url);
                } else {
                    relay.kill();
                    relay = commands.relay(&data, port).0;
                }
            }
            stop.store(true, Ordering::Release);
            writers.map(|writer| writer.join().expect("the writer never fails"))
        });
        drop(syncs);
        for file in [&files[0], &files[1], &files[0]] {
            let file = file.to_str().expect("text");
            eventually("agreement", || {
                let outcome = commands.driftless(["sync", file, &url, "--once", "--timeout", "20"]);
                // A killed engine's lock goes with it; a relay that comes up may not be there yet.
                assert!(matches!(outcome.code, Some(0 | 4 | 5)), "{outcome:?}");
                (outcome.code == Some(0)).then_some(())
            });
        }
        assert_same_tables(&[&files[0], &files[1]]);
        for (who, n) in ["a", "b"].into_iter().zip(written) {
            let select = format!(
                "SELECT count(*), max(n), (SELECT n FROM latest WHERE who = '{who}') FROM log WHERE who = '{who}'"
            );
            assert_eq!(query(&files[0], &select), [format!("{n}, {n}, {n}")], "{who} committed {n}");
        }
        let copy = folder.path().join("copy.db");
        commands.succeed(["clone", &url, copy.to_str().expect("text")]);
        assert_same_tables(&[&files[0], &copy]);
        eprintln!("{written:?} transactions; killed a, b, relay: {killed:?}");
    });
}

/// So many nodes, of which each has written, in agreement; their relay keeps its data on disk.
fn nodes(count: usize) -> Nodes {
    let nodes = Nodes::with_relay_on_disk(count, LOG, &TableOptions::integer_key());
    write_at_each(&nodes, "first");
    nodes.agree();
    nodes
}

/// Each node inserts a row named for the occasion.
fn write_at_each(nodes: &[Node], occasion: &str) {
    for (n, node) in nodes.iter().enumerate() {
        node.sql(&format!("INSERT INTO log VALUES ('{occasion} {n}', 'node {n}', {n})"));
    }
}

fn ids(nodes: &Nodes) -> BTreeSet<String> {
    query(nodes.path(0), "SELECT id FROM log").into_iter().collect()
}

/// A fresh clone has what the nodes have.
fn assert_clone_equals(nodes: &Nodes) {
    let copy = nodes.file("clone.db");
    nodes.clone_into(&copy);
    assert_same_tables(&[nodes.path(0), &copy]);
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("the folder is there") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

#[test]
fn a_relay_whose_folder_was_deleted_is_refilled_by_the_nodes() {
    let mut nodes = nodes(3);
    nodes.stop_all();
    std::fs::remove_dir_all(nodes.relay_folder()).expect("the folder can be deleted");
    nodes.start_all();
    write_at_each(&nodes, "after the loss");
    nodes.agree();
    assert_eq!(ids(&nodes).len(), 6);
    assert_clone_equals(&nodes);
}

#[test]
fn a_relay_that_forgot_everything_while_the_nodes_went_on_is_refilled_too() {
    let mut nodes = nodes(2);
    nodes.relay.kill();
    std::fs::remove_dir_all(nodes.relay_folder()).expect("the folder can be deleted");
    write_at_each(&nodes, "without a relay");
    nodes.relay.restart();
    nodes.agree();
    write_at_each(&nodes, "after the loss");
    nodes.agree();
    assert_eq!(ids(&nodes).len(), 6);
    assert_clone_equals(&nodes);
}

#[test]
fn a_relay_restored_from_an_older_copy_of_its_folder_is_brought_up_to_date() {
    let mut nodes = nodes(2);
    nodes.stop_all();
    let backup = nodes.file("backup");
    copy_folder(&nodes.relay_folder(), &backup);
    nodes.start_all();
    for occasion in ["second", "third"] {
        write_at_each(&nodes, occasion);
        nodes.agree();
    }
    nodes.stop_all();
    std::fs::remove_dir_all(nodes.relay_folder()).expect("the folder can be deleted");
    copy_folder(&backup, &nodes.relay_folder());
    nodes.start_all();
    write_at_each(&nodes, "after the restore");
    nodes.agree();
    assert_eq!(ids(&nodes).len(), 8);
    assert_clone_equals(&nodes);
}

#[test]
fn the_rows_of_a_node_that_is_gone_for_good_come_back_to_a_new_relay_from_another_node() {
    let mut nodes = nodes(3);
    nodes.stop_all();
    nodes.lose_last();
    std::fs::remove_dir_all(nodes.relay_folder()).expect("the folder can be deleted");
    nodes.start_all();
    nodes.agree();
    write_at_each(&nodes, "after the loss");
    nodes.agree();
    assert!(ids(&nodes).contains("'first 2'"), "{:?}", ids(&nodes));
    assert_clone_equals(&nodes);
}

#[test]
fn a_node_that_was_away_while_the_relay_lost_its_data_gets_and_brings_everything() {
    let mut nodes = nodes(3);
    nodes[2].go_offline();
    nodes[2].sql("INSERT INTO log VALUES ('away', 'node 2', 2)");
    for node in &nodes[..2] {
        node.sql(&format!("INSERT INTO log VALUES ('at home {}', '', 0)", node.path().display()));
        node.sync_now();
    }
    nodes.relay.stop();
    std::fs::remove_dir_all(nodes.relay_folder()).expect("the folder can be deleted");
    nodes.relay.restart();
    agree(&[&nodes[0], &nodes[1]]);
    nodes.go_online();
    nodes.agree();
    assert_eq!(ids(&nodes).len(), 6);
    assert_clone_equals(&nodes);
}

#[test]
fn a_relay_that_was_shut_down_can_be_started_again_at_its_port_at_once() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let listen = ([127, 0, 0, 1], free_port()).into();
        for round in 0..50 {
            let config = driftless_relay::Config {
                listen,
                storage: driftless_relay::Storage::Memory,
                ..driftless_relay::Config::default()
            };
            let relay = driftless_relay::Relay::start(config).await;
            relay.unwrap_or_else(|error| panic!("round {round}: {error}")).shutdown().await;
        }
    });
}
