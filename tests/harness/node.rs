//! A database file with an engine on it, and perhaps a sync.

use std::path::{Path, PathBuf};

use driftless::{
    Config, Conflict, Engine, Error, Status, SyncConfig, SyncHandle, TableOptions, VerifyOptions,
};

use crate::database::{assert_same_tables, create_database, sql, tables};
use crate::{PATIENCE, eventually};

/// One replica of a scenario: the file, and whatever runs on it.
#[derive(Debug)]
pub struct Node {
    path: PathBuf,
    config: Config,
    engine: Option<Engine>,
    sync: Option<SyncHandle>,
}

impl Node {
    /// A new database of these statements, with all its tables tracked and an engine on it.
    pub fn create(path: impl AsRef<Path>, statements: &str) -> Self {
        create_database(path.as_ref(), statements);
        let node = Self::open(path);
        node.track_all(TableOptions::integer_key());
        node
    }

    /// An engine on a file that is there.
    pub fn open(path: impl AsRef<Path>) -> Self {
        Self::open_with(path, Config::default())
    }

    /// The same, with other settings.
    pub fn open_with(path: impl AsRef<Path>, config: Config) -> Self {
        let path = path.as_ref().to_owned();
        let engine = Engine::open(&path, config.clone()).expect("the engine opens the file");
        Self { path, config, engine: Some(engine), sync: None }
    }

    /// Tracks every table.
    pub fn track_all(&self, options: TableOptions) {
        let found = tables(&self.path);
        self.engine().track(&found.names(), options).expect("the tables can be tracked");
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The engine. Panics if it is closed.
    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("the engine is open")
    }

    /// The sync. Panics if there is none.
    pub fn sync(&self) -> &SyncHandle {
        self.sync.as_ref().expect("the node syncs")
    }

    /// Runs statements through an ordinary connection.
    pub fn sql(&self, statements: &str) {
        sql(&self.path, statements);
    }

    /// Starts to sync, or does so with another relay.
    pub fn go_online(&mut self, url: &str) {
        let mut config = SyncConfig::new(url);
        config.backoff_max = config.backoff_min;
        self.go_online_with(config);
    }

    /// The same, with other settings.
    pub fn go_online_with(&mut self, config: SyncConfig) {
        self.sync = None;
        self.sync = Some(self.engine().sync(config).expect("the address is good"));
    }

    /// Stops syncing; the engine goes on capturing.
    pub fn go_offline(&mut self) {
        self.sync = None;
    }

    /// Everything of ours is with the relay and everything it held is here. Panics if that does not come about.
    #[track_caller]
    pub fn sync_now(&self) {
        let mut last = None;
        // A connection that breaks meanwhile answers with an error, and syncing goes on.
        for _ in 0..20 {
            match self.sync().sync_now(PATIENCE) {
                Ok(()) => return,
                Err(error @ Error::Offline { .. }) => last = Some(error),
                Err(error) => panic!("{}: {error}", self.path.display()),
            }
        }
        panic!("{}: {last:?}", self.path.display());
    }

    /// Stops the engine, and the sync with it.
    pub fn close(&mut self) {
        self.sync = None;
        if let Some(engine) = self.engine.take() {
            engine.close();
        }
    }

    /// Opens the engine again after [`Node::close`].
    pub fn reopen(&mut self) {
        self.close();
        let own = std::process::id();
        // Another test of this process may be starting a command just now: until that runs, it holds a copy of every
        // open file, of the lock too.
        let engine = eventually("the lock", || match Engine::open(&self.path, self.config.clone()) {
            Err(Error::Locked { holder: Some(pid), .. }) if pid == own => None,
            opened => Some(opened.expect("the engine opens the file")),
        });
        self.engine = Some(engine);
    }

    /// What `driftless status` says.
    pub fn status(&self) -> Status {
        driftless::status(&self.path).expect("the status can be read")
    }

    /// What `driftless conflicts` says.
    pub fn conflicts(&self) -> Vec<Conflict> {
        driftless::conflicts(&self.path).expect("the conflicts can be read")
    }
}

/// Syncs in rounds until all state vectors are equal; panics after a bounded number of rounds. Then nothing waits,
/// nothing is set aside, tables and conflicts are equal everywhere, and each file is well.
#[track_caller]
pub fn agree(nodes: &[&Node]) {
    settle_in(nodes, 3);
    let paths: Vec<&Path> = nodes.iter().map(|node| node.path()).collect();
    assert_same_tables(&paths);
    let expected = nodes.first().map(|node| node.conflicts());
    for node in nodes {
        let status = node.status();
        let name = node.path().display();
        assert_eq!((status.waiting, status.quarantined), (0, 0), "{name}: waiting, set aside");
        assert_eq!(status.unsent.changesets, 0, "{name}: not acknowledged");
        assert_eq!(Some(node.conflicts()), expected, "{name}: the conflicts differ");
        let verified =
            driftless::verify(node.path(), &VerifyOptions::default()).expect("the file can be verified");
        assert!(verified.is_well(), "{name}: {verified:#?}");
    }
}

/// Syncs until all state vectors are equal, in at most so many rounds.
#[track_caller]
pub fn settle_in(nodes: &[&Node], rounds: usize) {
    for _ in 0..rounds {
        nodes.iter().for_each(|node| node.sync_now());
        let mut vectors = nodes.iter().map(|node| node.status().vector);
        let first = vectors.next();
        if vectors.all(|vector| Some(&vector) == first.as_ref()) {
            return;
        }
    }
    let vectors: Vec<_> = nodes.iter().map(|node| node.status().vector).collect();
    panic!("no equal state vectors after {rounds} rounds: {vectors:#?}");
}
