//! Replicas without a relay, whose texts are looked at.

use std::path::Path;
use std::time::Duration;

use driftless::sim::Replica;
use driftless::{Config, TableOptions, Value};
use driftless_tests::{Courier, assert_same_tables, create_database, sql};
use tempfile::TempDir;

use super::{digests, hasty, text};

/// Replicas without a relay, that exchange everything when they meet.
pub(super) struct Nodes {
    pub(super) nodes: Vec<Replica>,
    pub(super) courier: Courier,
    folder: TempDir,
}

impl Nodes {
    /// Replicas that have met, all with these tables.
    pub(super) fn new(count: usize, statements: &str, options: &TableOptions) -> Self {
        let mut nodes = Self {
            nodes: Vec::new(),
            courier: Courier::new(),
            folder: tempfile::tempdir().expect("a folder"),
        };
        for _ in 0..count {
            nodes.join(statements);
            nodes.nodes.last_mut().expect("joined").track(&["notes"], options.clone()).expect("tracked");
        }
        nodes.meet();
        nodes
    }

    /// One more replica, that tracks nothing yet.
    pub(super) fn join(&mut self, statements: &str) {
        self.join_with(statements, Config::default());
    }

    pub(super) fn join_with(&mut self, statements: &str, mut config: Config) {
        config.rebuild_quiet = Duration::ZERO;
        let path = self.folder.path().join(format!("{}.db", self.nodes.len()));
        create_database(&path, statements);
        self.nodes.push(Replica::open(&path, config).expect("opened"));
    }

    pub(super) fn path(&self, node: usize) -> &Path {
        self.nodes[node].path()
    }

    /// One write, captured by itself.
    pub(super) fn write(&mut self, node: usize, statements: &str) {
        sql(self.path(node), statements);
        self.capture(node);
    }

    pub(super) fn capture(&mut self, node: usize) {
        self.nodes[node].turn(Vec::new()).expect("captured");
    }

    /// Puts this in the place of `from` in the body of the note 'n', and captures it.
    pub(super) fn edit(&mut self, node: usize, from: &str, to: &str) {
        let old = text(self.path(node), "n").expect("a text");
        assert!(old.contains(from), "{old:?} has no {from:?}");
        self.set(node, &old.replacen(from, to, 1));
    }

    pub(super) fn set(&mut self, node: usize, new: &str) {
        let set = hasty(self.path(node)).execute("UPDATE notes SET body = ?1 WHERE id = 'n'", [new]);
        set.expect("updated");
        self.capture(node);
    }

    /// Everybody gets everything: then all is equal everywhere.
    #[track_caller]
    pub(super) fn meet(&mut self) {
        self.exchange();
        let paths: Vec<&Path> = self.nodes.iter().map(Replica::path).collect();
        assert_same_tables(&paths);
    }

    /// Everybody gets everything; tables that are not tracked everywhere may differ.
    #[track_caller]
    pub(super) fn exchange(&mut self) {
        self.courier.carry(&mut self.nodes.iter_mut().collect::<Vec<_>>());
        let conflicts = |node: &Replica| driftless::conflicts(node.path()).expect("the conflicts");
        for node in &self.nodes {
            assert_eq!(conflicts(node), conflicts(&self.nodes[0]), "{}", node.path().display());
            assert_eq!(digests(node.path()), digests(self.path(0)), "{}", node.path().display());
            let status = driftless::status(node.path()).expect("a status");
            assert_eq!((status.waiting, status.quarantined), (0, 0), "{}", node.path().display());
        }
    }

    /// Only what is handed on, where files differ in what they track.
    pub(super) fn exchange_documents(&mut self) {
        self.courier.carry(&mut self.nodes.iter_mut().collect::<Vec<_>>());
    }

    /// What the body of the note 'n' is everywhere, without a conflict.
    #[track_caller]
    pub(super) fn assert_body(&self, expected: &str) {
        for node in &self.nodes {
            assert_eq!(text(node.path(), "n").as_deref(), Some(expected), "{}", node.path().display());
            assert_eq!(driftless::conflicts(node.path()).expect("the conflicts"), []);
        }
    }

    /// The values that stand in the body of the note 'n': first the one shown.
    pub(super) fn standing(&self) -> Vec<Value<'static>> {
        let conflicts = driftless::conflicts(self.path(0)).expect("the conflicts");
        let of_body = conflicts.into_iter().filter(|conflict| conflict.column == "body");
        of_body
            .flat_map(|conflict| std::iter::once(conflict.shown).chain(conflict.kept))
            .map(|written| written.value)
            .collect()
    }
}
