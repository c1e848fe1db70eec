//! Replicas of one space without a relay, which exchange everything when they meet.

use std::path::{Path, PathBuf};
use std::time::Duration;

use driftless::sim::Replica;
use driftless::{Config, TableOptions};
use tempfile::TempDir;

use crate::database::{create_database, query, sql};

/// Some replicas, by number.
#[derive(Debug)]
pub struct Circle {
    nodes: Vec<Replica>,
    config: Config,
    /// How much each has read of each.
    read: Vec<Vec<u64>>,
    folder: TempDir,
}

impl Circle {
    /// So many files of these statements, with these tables tracked, in agreement.
    pub fn new(count: usize, statements: &str, tracked: &[&str], options: &TableOptions) -> Self {
        Self::with_quiet(Duration::ZERO, count, statements, tracked, options)
    }

    /// The same, of replicas that compare a table which was rebuilt with what was known of it when it has been left alone
    /// for so long.
    pub fn with_quiet(
        quiet: Duration,
        count: usize,
        statements: &str,
        tracked: &[&str],
        options: &TableOptions,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        config.rebuild_quiet = quiet;
        let mut circle = Self { nodes: Vec::new(), config, read: Vec::new(), folder };
        for _ in 0..count {
            circle.join(statements);
            let node = circle.nodes.last_mut().expect("the one that joined");
            node.track(tracked, options.clone()).expect("tracked");
        }
        circle.meet();
        circle
    }

    /// Another file, of these statements, of which nothing is tracked yet. Returns its number.
    pub fn join(&mut self, statements: &str) -> usize {
        let number = self.nodes.len();
        let path = self.file(number);
        create_database(&path, statements);
        self.nodes.push(Replica::open(&path, self.config.clone()).expect("opened"));
        self.read.iter_mut().for_each(|read| read.push(0));
        self.read.push(vec![0; number + 1]);
        number
    }

    /// The replica of that number.
    pub fn node(&mut self, number: usize) -> &mut Replica {
        &mut self.nodes[number]
    }

    /// Its file.
    pub fn path(&self, number: usize) -> &Path {
        self.nodes[number].path()
    }

    /// Its file, closed or not.
    fn file(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("{number}.db"))
    }

    /// Runs statements at one, as an app would.
    pub fn sql(&self, number: usize, statements: &str) {
        sql(&self.file(number), statements);
    }

    /// Asks one.
    pub fn query(&self, number: usize, select: &str) -> Vec<String> {
        query(self.path(number), select)
    }

    /// Asks all, which must agree.
    #[track_caller]
    pub fn query_all(&self, select: &str) -> Vec<String> {
        let answer = self.query(0, select);
        for number in 1..self.nodes.len() {
            assert_eq!(self.query(number, select), answer, "{number}: {select}");
        }
        answer
    }

    /// Captures what was written at one.
    pub fn capture(&mut self, number: usize) {
        self.nodes[number].turn(Vec::new()).expect("captured");
    }

    /// Closes one, until it is opened again.
    pub fn close(&mut self, number: usize) {
        let nothing = self.folder.path().join("nothing.db");
        create_database(&nothing, "");
        self.nodes[number] = Replica::open(&nothing, self.config.clone()).expect("opened");
    }

    /// Opens the one again that was closed.
    pub fn reopen(&mut self, number: usize) {
        self.nodes[number] = Replica::open(self.file(number), self.config.clone()).expect("opened again");
    }

    /// One gets what it lacks of another.
    pub fn fetch(&mut self, to: usize, from: usize) {
        self.capture(from);
        let news = self.nodes[from].changesets_after(self.read[to][from]).expect("changesets");
        self.read[to][from] += news.len() as u64;
        self.nodes[to].turn(news).expect("applied");
    }

    fn exchange(&mut self) {
        let count = self.nodes.len();
        for to in 0..count {
            (0..count).filter(|from| *from != to).for_each(|from| self.fetch(to, from));
        }
    }

    /// Everybody gets everything, and what comes of that: where definitions of tables differed, they are agreed upon.
    #[track_caller]
    pub fn settle(&mut self) {
        for _ in 0..4 {
            self.exchange();
        }
        self.meet();
    }

    /// Everybody gets everything; and nothing comes of that which would have to be exchanged again.
    #[track_caller]
    pub fn meet(&mut self) {
        self.exchange();
        let before = self.read.clone();
        self.exchange();
        self.exchange();
        let count = |read: &[Vec<u64>]| read.iter().flatten().sum::<u64>();
        assert_eq!(count(&self.read), count(&before), "merging is no writing");
        let vectors: Vec<_> = self.nodes.iter().map(|node| node.vector().expect("a vector")).collect();
        assert!(vectors.iter().all(|vector| *vector == vectors[0]), "{vectors:?}");
    }

    /// Verifies the file of one, in which nothing may differ.
    #[track_caller]
    pub fn assert_well(&self, number: usize) {
        let options = driftless::VerifyOptions::default();
        let verified = driftless::verify(self.path(number), &options).expect("it can be verified");
        assert!(verified.is_well(), "{number}: {verified:#?}");
    }

    /// What `status` says of a table at the first.
    pub fn warning(&self, table: &str) -> Option<String> {
        let status = driftless::status(self.path(0)).expect("a status");
        status.tables.into_iter().find(|known| known.table == table).expect("a table").reason
    }
}
