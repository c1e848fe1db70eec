//! Engines and a relay with a bad network between them: everything that a proxy can do to a connection, while all write.
//! Nothing is lost, nobody sees half a transaction, and when the network is good again all agree in bounded time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use driftless::{Config, Error, SyncConfig, TableOptions};
use driftless_protocol::message::Welcome;
use driftless_protocol::{RelayMessage, SpaceId, StateVector};
use driftless_tests::{
    Node, PATIENCE, Proxy, TestRelay, agree, connect, create_database, each_seed, eventually, query,
};
use fastrand::Rng;
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

/// Every transaction makes some entries, adds their number to the total, and appends a word to the page.
const SHOP: &str = "
CREATE TABLE entries (id TEXT PRIMARY KEY, batch TEXT NOT NULL, size INTEGER NOT NULL, filler BLOB);
CREATE TABLE totals (name TEXT PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE pages (id TEXT PRIMARY KEY, title TEXT, words TEXT NOT NULL);
INSERT INTO totals VALUES ('entries', 0);
INSERT INTO pages VALUES ('one', '', '');
";

/// Whether only whole transactions are there, in one read.
const WHOLE: &str = "
SELECT NOT EXISTS (SELECT 1 FROM entries GROUP BY batch HAVING count(*) <> max(size))
   AND (SELECT count(*) FROM entries) = (SELECT n FROM totals)
   AND (SELECT count(DISTINCT batch) FROM entries)
     = (SELECT length(words) - length(replace(words, ' ', '')) FROM pages)
";

/// Transactions of each node while the network is bad.
const TRANSACTIONS: usize = 14;

fn shop(path: &std::path::Path) -> Node {
    create_database(path, SHOP);
    // Small, so that some transactions travel in parts.
    let mut config = Config::default();
    config.changeset_bytes = 6_000;
    let node = Node::open_with(path, config);
    node.track_all(TableOptions::default().counter("totals.n").text("pages.words"));
    node
}

/// As impatient as a test is.
fn impatient(url: &str) -> SyncConfig {
    let mut config = SyncConfig::new(url);
    config.backoff_min = Duration::from_millis(10);
    config.backoff_max = Duration::from_millis(80);
    config.connect_timeout = Duration::from_millis(1_000);
    config.silence = Duration::from_millis(1_000);
    config
}

/// A transaction; how many entries it makes.
fn transaction(node: &Node, batch: &str, dice: &mut Rng) -> usize {
    let size = dice.usize(1..6);
    let mut sql = String::from("BEGIN IMMEDIATE;");
    for n in 0..size {
        let filler = if dice.u8(..10) == 0 { 30_000 } else { dice.usize(..400) };
        sql +=
            &format!("INSERT INTO entries VALUES ('{batch}/{n}', '{batch}', {size}, randomblob({filler}));");
    }
    sql += &format!(
        "UPDATE totals SET n = n + {size};
         UPDATE pages SET title = '{batch}', words = words || '{batch} ';
         COMMIT;"
    );
    node.sql(&sql);
    size
}

#[track_caller]
fn whole(node: &Node) {
    let whole: bool = connect(node.path()).query_row(WHOLE, [], |row| row.get(0)).expect("can be read");
    assert!(whole, "{} shows half a transaction", node.path().display());
}

#[test]
fn nothing_is_lost_or_torn_by_a_bad_network_and_all_agree_when_it_is_good_again() {
    storms(|proxy| proxy.rough_but_true());
}

#[test]
fn nothing_is_lost_or_torn_by_a_network_that_also_flips_bits() {
    storms(|proxy| proxy.rough());
}

fn storms(rough: impl Fn(&Proxy)) {
    let count = std::env::var("DRIFTLESS_SEEDS").map_or(4, |count| count.parse().expect("a number"));
    each_seed(1..=count, |mut dice: Rng| {
        let folder = tempfile::tempdir().expect("a folder");
        let relay = TestRelay::on_disk(&folder.path().join("relay"));
        let proxy = Proxy::new(relay.address(), dice.u64(..));
        let mut nodes = ["a.db", "b.db", "c.db"].map(|name| shop(&folder.path().join(name)));
        // Some begin when the network is bad already.
        let late = dice.usize(..=3);
        nodes.iter_mut().skip(late).for_each(|node| node.go_online_with(impatient(&proxy.url("shop"))));
        rough(&proxy);
        nodes.iter_mut().take(late).for_each(|node| node.go_online_with(impatient(&proxy.url("shop"))));
        let begun = Instant::now();
        let written: usize = std::thread::scope(|threads| {
            let writers = nodes.iter().enumerate().map(|(at, node)| {
                let mut dice = dice.fork();
                threads.spawn(move || {
                    let mut written = 0;
                    for n in 0..TRANSACTIONS {
                        written += transaction(node, &format!("{}{n}", ["a", "b", "c"][at]), &mut dice);
                        let (whole_after, some) = (dice.bool(), Duration::from_millis(dice.u64(5..250)));
                        match node.sync().sync_now(some) {
                            Ok(()) | Err(Error::Offline { .. } | Error::TimedOut(_)) => {}
                            Err(error) => panic!("{}: {error}", node.path().display()),
                        }
                        if whole_after {
                            whole(node);
                        }
                    }
                    written
                })
            });
            let writers: Vec<_> = writers.collect();
            writers.into_iter().map(|writer| writer.join().expect("the writer writes")).sum()
        });
        let rough = begun.elapsed();
        proxy.smooth();
        let begun = Instant::now();
        agree(&nodes.each_ref());
        let (agreed, befell) = (begun.elapsed(), proxy.befell());
        eprintln!("{rough:?} rough, agreed in {agreed:?}; {} connections, {befell:?}", proxy.connections());
        assert!(agreed < PATIENCE, "{agreed:?}");
        for node in &nodes {
            whole(node);
            let rows = query(node.path(), "SELECT count(*), (SELECT n FROM totals) FROM entries");
            assert_eq!(rows, [format!("{written}, {written}")]);
            let words = query(node.path(), "SELECT words FROM pages").concat();
            let mut words: Vec<&str> = words.trim_matches('\'').split_terminator(' ').collect();
            words.sort_unstable();
            let mut expected: Vec<String> =
                (0..TRANSACTIONS).flat_map(|n| ["a", "b", "c"].map(|at| format!("{at}{n}"))).collect();
            expected.sort_unstable();
            assert_eq!(words, expected);
        }
    });
}

/// One whose connection stands still, so that neither end is told, and what the relay has for it piles up: it keeps nobody
/// else waiting, neither at the relay nor in its own file, and catches up when the network is back.
#[test]
fn a_stalled_connection_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().expect("a folder");
    let relay = TestRelay::on_disk(&folder.path().join("relay"));
    let proxy = Proxy::new(relay.address(), 1);
    let mut nodes = ["stalled.db", "b.db", "c.db"].map(|name| shop(&folder.path().join(name)));
    // As long as the test goes on, it does not give up this connection.
    nodes[0].go_online(&proxy.url("shop"));
    nodes.iter_mut().skip(1).for_each(|node| node.go_online(&relay.url("shop")));
    let [stalled, b, c] = &nodes;
    agree(&[stalled, b, c]);

    proxy.stall(true);
    let mut dice = Rng::with_seed(1);
    let mut written = 0;
    // More in all than the sockets' buffers hold.
    for n in 0..10 {
        b.sql(&format!("INSERT INTO entries VALUES ('big{n}', 'big', 10, randomblob(1000000))"));
        b.sql("UPDATE totals SET n = n + 1");
        written += 1;
        // Its own user waits for nobody.
        let begun = Instant::now();
        written += transaction(stalled, &format!("s{n}"), &mut dice);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        // And neither do the others: what one has committed the other has.
        b.sync_now();
        c.sync_now();
        let at = |node: &Node| query(node.path(), "SELECT count(*) FROM entries WHERE batch = 'big'");
        assert_eq!(at(c), [(n + 1).to_string()]);
        assert_eq!(at(stalled), ["0"], "it is stalled");
    }
    proxy.stall(false);
    agree(&[stalled, b, c]);
    assert_eq!(
        query(c.path(), "SELECT count(*), (SELECT n FROM totals) FROM entries"),
        [format!("{written}, {written}")]
    );
}

/// A relay that welcomes whoever comes and says nothing more. It answers pings, if it `reads`; else it pings, so that it is
/// heard. Its address, and how many connections came.
fn forgetful_relay(reads: bool) -> (String, Arc<AtomicUsize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("a socket");
    let came = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&came);
    let serve = async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
        while let Ok((socket, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(socket).await else { return };
                let _hello = socket.next().await;
                let space = SpaceId::from_bytes([9; 16]).expect("not nil");
                let welcome = Welcome { space, heads: StateVector::new(), own: None };
                let _ = socket.send(Message::Binary(RelayMessage::Welcome(welcome).encode())).await; // it may have gone
                if reads {
                    while let Some(Ok(_)) = socket.next().await {}
                }
                while socket.send(Message::Ping(Vec::new().into())).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
        }
    };
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(serve);
    });
    (format!("ws://{address}/shop"), came)
}

/// A message that got lost on a connection that went on, as by a bit flipped in the header of its frame, was waited for
/// for ever: the relay was heard, in pings and pongs.
#[test]
fn an_engine_that_is_heard_and_not_answered_begins_again() {
    for reads in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let (url, came) = forgetful_relay(reads);
        let mut node = shop(&folder.path().join("it.db"));
        let mut config = impatient(&url);
        config.silence = Duration::from_millis(200);
        node.go_online_with(config);
        eventually("a third attempt", || (came.load(Ordering::SeqCst) > 2).then_some(()));
        assert!(node.status().unsent.changesets > 0, "nothing was acknowledged");
    }
}
