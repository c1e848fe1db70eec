//! Who else has this note open: engines that let one another know something of themselves, while they are connected.

use std::collections::BTreeMap;

use driftless::{Error, ReplicaId};
use driftless_tests::{Node, PATIENCE, Proxy, TestRelay};
use tempfile::TempDir;

const NOTES: &str = "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT);";

type Others = BTreeMap<ReplicaId, Vec<u8>>;

/// A node of this name that is online in the space.
fn online(folder: &TempDir, name: &str, url: &str) -> Node {
    let mut node = Node::create(folder.path().join(name), NOTES);
    node.go_online(url);
    node.sync_now();
    node
}

fn id(node: &Node) -> ReplicaId {
    node.status().replica
}

/// Waits until a node is told what `is_it` takes; panics with the last that it was told.
#[track_caller]
fn sees(node: &Node, is_it: impl FnMut(&Others) -> bool) -> Others {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let mut others = node.sync().presence();
    let waiting = runtime.block_on(async {
        tokio::time::timeout(PATIENCE, others.wait_for(is_it)).await.map(|seen| seen.map(|seen| seen.clone()))
    });
    match waiting {
        Ok(seen) => seen.expect("the sync goes on"),
        Err(_) => panic!("{}: told {:?}", node.path().display(), *node.sync().presence().borrow()),
    }
}

/// Waits until a node is told this of others, and nothing else.
#[track_caller]
fn sees_only(node: &Node, expected: &[(ReplicaId, &str)]) {
    let expected: Others = expected.iter().map(|&(who, what)| (who, what.as_bytes().to_vec())).collect();
    sees(node, |others| *others == expected);
}

fn say(node: &Node, what: &str) {
    node.sync().set_presence(what).expect("short enough, and the sync goes on");
}

#[test]
fn the_others_of_the_space_see_it_newcomers_too_and_nobody_elsewhere() {
    let (folder, relay) = (TempDir::new().expect("a folder"), TestRelay::in_memory());
    let [a, b] = ["a.db", "b.db"].map(|name| online(&folder, name, &relay.url("notes")));
    let stranger = online(&folder, "stranger.db", &relay.url("other"));
    let neighbour = online(&folder, "neighbour.db", &relay.url("other"));
    say(&a, "n1");
    sees_only(&b, &[(id(&a), "n1")]);
    say(&b, "n2");
    sees_only(&a, &[(id(&b), "n2")]);

    let late = online(&folder, "late.db", &relay.url("notes"));
    sees_only(&late, &[(id(&a), "n1"), (id(&b), "n2")]);
    say(&late, "n3");
    sees_only(&a, &[(id(&b), "n2"), (id(&late), "n3")]);
    say(&a, "");
    sees_only(&b, &[(id(&late), "n3")]);

    // What the neighbour says comes after all that: had anything come from the other space, it would be there.
    say(&neighbour, "here");
    sees_only(&stranger, &[(id(&neighbour), "here")]);
}

#[test]
fn of_a_burst_the_last_arrives_and_nothing_is_seen_out_of_order() {
    let (folder, relay) = (TempDir::new().expect("a folder"), TestRelay::in_memory());
    let [a, b] = ["a.db", "b.db"].map(|name| online(&folder, name, &relay.url("notes")));
    let mut before = 0;
    for n in 1..=2_000 {
        say(&a, &n.to_string());
        // Now and then it is let through, so that the bucket at the relay runs empty.
        if n % 100 == 0 && n <= 1_000 {
            a.sync_now();
        }
    }
    let seen = sees(&b, |others| {
        let Some(said) = others.get(&id(&a)) else { return false };
        let said: u32 = String::from_utf8_lossy(said).parse().expect("a number");
        assert!(said >= before, "{said} after {before}");
        before = said;
        said == 2_000
    });
    assert_eq!(seen.len(), 1);
}

#[test]
fn it_is_gone_when_its_engine_is_closed_and_when_its_connection_is_cut() {
    let (folder, relay) = (TempDir::new().expect("a folder"), TestRelay::in_memory());
    let a = online(&folder, "a.db", &relay.url("notes"));
    let mut b = online(&folder, "b.db", &relay.url("notes"));
    let proxy = Proxy::new(relay.address(), 1);
    let c = online(&folder, "c.db", &proxy.url("notes"));
    say(&a, "a");
    say(&b, "b");
    say(&c, "c");
    let (b_id, c_id) = (id(&b), id(&c));
    sees_only(&a, &[(b_id, "b"), (c_id, "c")]);
    sees(&c, |others| others.len() == 2);
    b.close();
    sees_only(&a, &[(c_id, "c")]);
    // The sockets on both sides end without a goodbye of the engine's.
    drop(proxy);
    sees_only(&a, &[]);
    sees_only(&c, &[]);
}

#[test]
fn it_is_said_again_when_the_relay_is_back() {
    let (folder, mut relay) = (TempDir::new().expect("a folder"), TestRelay::in_memory());
    let [a, b] = ["a.db", "b.db"].map(|name| online(&folder, name, &relay.url("notes")));
    say(&a, "before");
    sees_only(&b, &[(id(&a), "before")]);
    relay.kill();
    sees_only(&b, &[]);
    say(&b, "while it was away");
    relay.restart();
    sees_only(&b, &[(id(&a), "before")]);
    sees_only(&a, &[(id(&b), "while it was away")]);
}

#[test]
fn a_replica_that_takes_another_name_leaves_under_the_old_one_and_comes_under_the_new() {
    let (folder, relay) = (TempDir::new().expect("a folder"), TestRelay::in_memory());
    let [a, b] = ["a.db", "b.db"].map(|name| online(&folder, name, &relay.url("notes")));
    say(&a, "n1");
    let before = id(&a);
    sees_only(&b, &[(before, "n1")]);
    // Without its identity a file begins anew.
    a.sql("DROP TABLE _driftless_meta");
    let seen = sees(&b, |others| others.len() == 1 && !others.contains_key(&before));
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [(id(&a), b"n1".to_vec())]);
    sees_only(&a, &[]);
}

#[test]
fn one_that_is_too_long_is_refused_and_the_one_before_stands() {
    let (folder, relay) = (TempDir::new().expect("a folder"), TestRelay::in_memory());
    let [a, b] = ["a.db", "b.db"].map(|name| online(&folder, name, &relay.url("notes")));
    let longest = "x".repeat(1024);
    say(&a, &longest);
    let refused = a.sync().set_presence("x".repeat(1025));
    assert!(matches!(refused, Err(Error::PresenceTooLong { length: 1025, limit: 1024 })), "{refused:?}");
    sees_only(&b, &[(id(&a), &longest)]);
    // The connection has not suffered.
    say(&a, "short");
    sees_only(&b, &[(id(&a), "short")]);
}

#[test]
fn the_relay_writes_none_of_it_to_disk() {
    const MARK: &str = "nobody stores this sentence";
    const STORED: &str = "somebody stores this sentence";
    let folder = TempDir::new().expect("a folder");
    let data = folder.path().join("relay");
    let mut relay = TestRelay::on_disk(&data);
    let [a, b] = ["a.db", "b.db"].map(|name| online(&folder, name, &relay.url("notes")));
    let files = || {
        let files = std::fs::read_dir(&data).expect("the folder is there");
        let read = |file: std::io::Result<std::fs::DirEntry>| {
            std::fs::read(file.expect("a file").path()).expect("a file that can be read")
        };
        files.map(read).collect::<Vec<_>>().concat()
    };
    let holds = |mark: &str| files().windows(mark.len()).any(|bytes| bytes == mark.as_bytes());
    say(&a, MARK);
    sees_only(&b, &[(id(&a), MARK)]);
    // What is stored can be found in this way, and is stored after the presence came.
    a.sql(&format!("INSERT INTO notes VALUES ('1', '{STORED}')"));
    a.sync_now();
    assert!(holds(STORED));
    assert!(!holds(MARK));
    relay.stop();
    assert!(holds(STORED) && !holds(MARK));
}
