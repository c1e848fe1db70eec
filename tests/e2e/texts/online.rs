//! Texts with engines and a relay: clones, copies, and a relay that loses its data.

use driftless::{Config, SyncConfig};
use driftless_tests::{Node, PATIENCE, TestRelay, agree, connect, create_database};
use tempfile::TempDir;

use super::{NOTES, body, digests, text};

/// Replicas with engines and a relay between them.
struct Online {
    nodes: Vec<Node>,
    relay: TestRelay,
    folder: TempDir,
}

impl Online {
    fn new(count: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let relay = TestRelay::in_memory();
        let nodes = (0..count).map(|n| {
            let path = folder.path().join(format!("{n}.db"));
            create_database(&path, NOTES);
            let node = Node::open(&path);
            node.track_all(body());
            node
        });
        let mut online = Self { nodes: nodes.collect(), relay, folder };
        online.meet();
        online
    }

    #[track_caller]
    fn meet(&mut self) {
        let url = self.relay.url("texts");
        self.nodes.iter_mut().for_each(|node| node.go_online(&url));
        agree(&self.nodes.iter().collect::<Vec<_>>());
        for node in &self.nodes[1..] {
            assert_eq!(digests(node.path()), digests(self.nodes[0].path()));
        }
    }

    fn part(&mut self) {
        self.nodes.iter_mut().for_each(Node::go_offline);
    }

    fn edit(&self, node: usize, from: &str, to: &str) {
        let node = &self.nodes[node];
        let old = text(node.path(), "n").expect("a text");
        assert!(old.contains(from), "{old:?} has no {from:?}");
        let new = old.replacen(from, to, 1);
        let set = connect(node.path()).execute("UPDATE notes SET body = ?1 WHERE id = 'n'", [new]);
        set.expect("updated");
        node.engine().capture().expect("captured");
    }
}

#[test]
fn a_clone_and_a_relay_that_lost_its_data_have_the_texts_and_typing_goes_on() {
    let mut online = Online::new(2);
    online.part();
    online.edit(0, "quick", "quick brown");
    online.edit(1, "fox", "fox jumps");
    online.meet();
    online.part();
    // All that it kept is gone; the files refill it.
    online.relay.stop();
    online.relay.restart();
    online.meet();
    let path = online.folder.path().join("clone.db");
    let url = online.relay.url("texts");
    driftless::clone(&path, SyncConfig::new(url), Config::default(), PATIENCE).expect("cloned");
    assert_eq!(text(&path, "n").as_deref(), Some("The quick brown fox jumps."));
    online.nodes.push(Node::open(&path));
    online.part();
    for (node, from, to) in [(0, "The", "A"), (1, "jumps", "jumps high"), (2, "brown", "red")] {
        online.edit(node, from, to);
    }
    online.meet();
    assert_eq!(text(&path, "n").as_deref(), Some("A quick red fox jumps high."));
}

#[test]
fn copies_of_a_file_type_on_and_what_both_type_is_in_the_text() {
    let mut online = Online::new(1);
    online.edit(0, "quick", "quick brown");
    let path = online.folder.path().join("copy.db");
    connect(online.nodes[0].path()).execute("VACUUM INTO ?1", [path.to_str()]).expect("copied");
    online.nodes.push(Node::open(&path));
    // And one that is only noticed when it meets the relay: the same file, put back to what it was.
    let backup = std::fs::read(&path).expect("the copy");
    online.part();
    for round in 0..3 {
        online.edit(0, ".", &format!(". 0-{round}."));
        online.edit(1, "The", &format!("1-{round} The"));
    }
    online.meet();
    let both = "1-0 1-1 1-2 The quick brown fox. 0-2. 0-1. 0-0.";
    assert_eq!(text(&path, "n").as_deref(), Some(both));
    online.nodes[1].close();
    for suffix in ["-wal", "-shm"] {
        // The last connection may have removed it.
        let _ = std::fs::remove_file(online.folder.path().join(format!("copy.db{suffix}")));
    }
    std::fs::write(&path, backup).expect("restored");
    online.nodes[1].reopen();
    online.edit(1, "fox", "fox restored");
    online.meet();
    let all = both.replace("fox", "fox restored");
    assert_eq!(text(&path, "n").as_deref(), Some(&*all));
}
