//! Files of one space with a running engine on each, and a relay between them: they are cut off from each other, write, and
//! meet again.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use driftless::{Cloned, Config, SyncConfig, TableOptions};
use tempfile::TempDir;

use crate::database::create_database;
use crate::node::{Node, agree};
use crate::{PATIENCE, TestRelay};

/// Some nodes, by number, from 0; as a slice of them where all are meant.
#[derive(Debug)]
pub struct Nodes {
    nodes: Vec<Node>,
    /// The relay between them. A test may stop it, or let it lose its data.
    pub relay: TestRelay,
    folder: TempDir,
}

impl Nodes {
    /// So many files of these statements, with all tables tracked, in agreement and online. The relay keeps everything in
    /// memory.
    pub fn new(count: usize, statements: &str, options: &TableOptions) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::begin(TestRelay::in_memory(), folder, count, statements, options)
    }

    /// The same, with a relay that keeps everything in [`Nodes::relay_folder`].
    pub fn with_relay_on_disk(count: usize, statements: &str, options: &TableOptions) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let relay = TestRelay::on_disk(&folder.path().join("relay"));
        Self::begin(relay, folder, count, statements, options)
    }

    fn begin(
        relay: TestRelay,
        folder: TempDir,
        count: usize,
        statements: &str,
        options: &TableOptions,
    ) -> Self {
        let mut nodes = Self { nodes: Vec::new(), relay, folder };
        for number in 0..count {
            let path = nodes.file(&format!("{number}.db"));
            create_database(&path, statements);
            nodes.join(&path);
            nodes[number].track_all(options.clone());
        }
        nodes.meet();
        nodes
    }

    /// One more node, on a file that is there, offline. Returns its number.
    pub fn join(&mut self, path: &Path) -> usize {
        self.nodes.push(Node::open(path));
        self.nodes.len() - 1
    }

    /// The last one is there no more, and nor is its file.
    pub fn lose_last(&mut self) {
        let mut last = self.nodes.pop().expect("a node");
        last.close();
        std::fs::remove_file(last.path()).expect("the file can be deleted");
    }

    /// A place beside the files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the relay keeps its data, if it is on disk.
    pub fn relay_folder(&self) -> PathBuf {
        self.file("relay")
    }

    /// The file of the node of that number.
    pub fn path(&self, number: usize) -> &Path {
        self.nodes[number].path()
    }

    /// Where the space is.
    pub fn url(&self) -> String {
        self.relay.url("space")
    }

    /// Runs statements at one and captures what they wrote: a changeset of its own.
    pub fn write(&self, number: usize, statements: &str) {
        self.nodes[number].sql(statements);
        self.nodes[number].engine().capture().expect("captured");
    }

    /// Makes a new file of what the space holds.
    pub fn clone_into(&self, path: &Path) -> Cloned {
        driftless::clone_space(path, SyncConfig::new(self.url()), Config::default(), PATIENCE)
            .expect("cloned")
    }

    /// All are cut off from the relay. The engines go on capturing.
    pub fn part(&mut self) {
        self.nodes.iter_mut().for_each(Node::go_offline);
    }

    /// All begin to sync.
    pub fn go_online(&mut self) {
        let url = self.url();
        self.nodes.iter_mut().for_each(|node| node.go_online(&url));
    }

    /// One begins to sync.
    pub fn go_online_at(&mut self, number: usize) {
        let url = self.url();
        self.nodes[number].go_online(&url);
    }

    /// All sync and agree, see [`agree`].
    #[track_caller]
    pub fn meet(&mut self) {
        self.go_online();
        self.agree();
    }

    /// All that sync already agree.
    #[track_caller]
    pub fn agree(&self) {
        agree(&self.nodes.iter().collect::<Vec<_>>());
    }

    /// All engines are closed.
    pub fn close(&mut self) {
        self.nodes.iter_mut().for_each(Node::close);
    }

    /// All engines are closed and opened again; then they are offline.
    pub fn reopen(&mut self) {
        self.nodes.iter_mut().for_each(Node::reopen);
    }

    /// All engines end, and the relay with them.
    pub fn stop_all(&mut self) {
        self.close();
        self.relay.stop();
    }

    /// The relay and all engines start again, and sync.
    pub fn start_all(&mut self) {
        self.relay.restart();
        self.reopen();
        self.go_online();
    }
}

impl Deref for Nodes {
    type Target = [Node];

    fn deref(&self) -> &[Node] {
        &self.nodes
    }
}

impl DerefMut for Nodes {
    fn deref_mut(&mut self) -> &mut [Node] {
        &mut self.nodes
    }
}
