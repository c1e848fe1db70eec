//! Texts with engines and a relay: clones, copies, and a relay that loses its data.

use driftless_tests::{Nodes, connect};

use super::{NOTES, body, digests, text};

/// Puts this in the place of `from` in the body of the note 'n', and captures it.
fn edit(nodes: &Nodes, number: usize, from: &str, to: &str) {
    let node = &nodes[number];
    let old = text(node.path(), "n").expect("a text");
    assert!(old.contains(from), "{old:?} has no {from:?}");
    let new = old.replacen(from, to, 1);
    let set = connect(node.path()).execute("UPDATE notes SET body = ?1 WHERE id = 'n'", [new]);
    set.expect("updated");
    node.engine().capture().expect("captured");
}

#[track_caller]
fn meet(nodes: &mut Nodes) {
    nodes.meet();
    for node in &nodes[1..] {
        assert_eq!(digests(node.path()), digests(nodes.path(0)));
    }
}

#[test]
fn a_clone_and_a_relay_that_lost_its_data_have_the_texts_and_typing_goes_on() {
    let mut nodes = Nodes::new(2, NOTES, &body());
    nodes.part();
    edit(&nodes, 0, "quick", "quick brown");
    edit(&nodes, 1, "fox", "fox jumps");
    meet(&mut nodes);
    nodes.part();
    // All that it kept is gone; the files refill it.
    nodes.relay.stop();
    nodes.relay.restart();
    meet(&mut nodes);
    let path = nodes.file("clone.db");
    nodes.clone_into(&path);
    assert_eq!(text(&path, "n").as_deref(), Some("The quick brown fox jumps."));
    nodes.join(&path);
    nodes.part();
    for (node, from, to) in [(0, "The", "A"), (1, "jumps", "jumps high"), (2, "brown", "red")] {
        edit(&nodes, node, from, to);
    }
    meet(&mut nodes);
    assert_eq!(text(&path, "n").as_deref(), Some("A quick red fox jumps high."));
}

#[test]
fn copies_of_a_file_type_on_and_what_both_type_is_in_the_text() {
    let mut nodes = Nodes::new(1, NOTES, &body());
    edit(&nodes, 0, "quick", "quick brown");
    let path = nodes.file("copy.db");
    connect(nodes[0].path()).execute("VACUUM INTO ?1", [path.to_str()]).expect("copied");
    nodes.join(&path);
    // And one that is only noticed when it meets the relay: the same file, put back to what it was.
    let backup = std::fs::read(&path).expect("the copy");
    nodes.part();
    for round in 0..3 {
        edit(&nodes, 0, ".", &format!(". 0-{round}."));
        edit(&nodes, 1, "The", &format!("1-{round} The"));
    }
    meet(&mut nodes);
    let both = "1-0 1-1 1-2 The quick brown fox. 0-2. 0-1. 0-0.";
    assert_eq!(text(&path, "n").as_deref(), Some(both));
    nodes[1].close();
    for suffix in ["-wal", "-shm"] {
        // The last connection may have removed it.
        let _ = std::fs::remove_file(nodes.file(&format!("copy.db{suffix}")));
    }
    std::fs::write(&path, backup).expect("restored");
    nodes[1].reopen();
    edit(&nodes, 1, "fox", "fox restored");
    meet(&mut nodes);
    let all = both.replace("fox", "fox restored");
    assert_eq!(text(&path, "n").as_deref(), Some(&*all));
}
