//! Files of one space without a relay and without threads: a test writes to them, says when which of them hears what of
//! another, and what all of them have when they meet.
//!
//! The replicas are `driftless::sim::Replica`: the engine's turns, at the test's word. Nothing waits for anything.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use driftless::sim::Replica;
use driftless::{Config, Status, TableOptions};
use tempfile::TempDir;

use crate::courier::Courier;
use crate::database::{assert_same_tables, create_database, query, sql};

/// Some replicas, by number, from 0.
#[derive(Debug)]
pub struct Replicas {
    replicas: Vec<Replica>,
    configs: Vec<Config>,
    /// By receiver and author: how many changesets were handed over.
    read: Vec<Vec<u64>>,
    courier: Courier,
    folder: TempDir,
}

impl Replicas {
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
        let mut config = Config::default();
        config.rebuild_quiet = quiet;
        Self::with_config(&config, count, statements, tracked, options)
    }

    /// The same, with other settings.
    pub fn with_config(
        config: &Config,
        count: usize,
        statements: &str,
        tracked: &[&str],
        options: &TableOptions,
    ) -> Self {
        let mut replicas = Self {
            replicas: Vec::new(),
            configs: Vec::new(),
            read: Vec::new(),
            courier: Courier::new(),
            folder: tempfile::tempdir().expect("a folder"),
        };
        for _ in 0..count {
            let number = replicas.join_with(config.clone(), statements);
            replicas.node(number).track(tracked, options.clone()).expect("tracked");
        }
        replicas.meet();
        replicas
    }

    /// Another file, of these statements, of which nothing is tracked yet. Returns its number.
    pub fn join(&mut self, statements: &str) -> usize {
        let mut config = self.configs.first().cloned().unwrap_or_default();
        if self.configs.is_empty() {
            config.rebuild_quiet = Duration::ZERO;
        }
        self.join_with(config, statements)
    }

    /// The same, with settings of its own.
    pub fn join_with(&mut self, config: Config, statements: &str) -> usize {
        let number = self.replicas.len();
        let path = self.file(number);
        create_database(&path, statements);
        self.replicas.push(Replica::open(&path, config.clone()).expect("opened"));
        self.configs.push(config);
        self.read.iter_mut().for_each(|read| read.push(0));
        self.read.push(vec![0; number + 1]);
        number
    }

    /// The replica of that number.
    pub fn node(&mut self, number: usize) -> &mut Replica {
        &mut self.replicas[number]
    }

    /// Its file.
    pub fn path(&self, number: usize) -> &Path {
        self.replicas[number].path()
    }

    /// All files.
    pub fn paths(&self) -> Vec<&Path> {
        self.replicas.iter().map(Replica::path).collect()
    }

    /// Its file, closed or not.
    fn file(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("{number}.db"))
    }

    /// Runs statements at one, as an app would.
    pub fn sql(&self, number: usize, statements: &str) {
        sql(&self.file(number), statements);
    }

    /// The same, and captures what they wrote: a changeset of its own.
    pub fn write(&mut self, number: usize, statements: &str) {
        self.sql(number, statements);
        self.capture(number);
    }

    /// Asks one.
    pub fn query(&self, number: usize, select: &str) -> Vec<String> {
        query(self.path(number), select)
    }

    /// Asks all, which must agree.
    #[track_caller]
    pub fn query_all(&self, select: &str) -> Vec<String> {
        let answer = self.query(0, select);
        for number in 1..self.replicas.len() {
            assert_eq!(self.query(number, select), answer, "{number}: {select}");
        }
        answer
    }

    /// Captures what was written at one.
    pub fn capture(&mut self, number: usize) {
        self.replicas[number].turn(Vec::new()).expect("captured");
    }

    /// Closes one, until it is opened again.
    pub fn close(&mut self, number: usize) {
        let nothing = self.folder.path().join("nothing.db");
        create_database(&nothing, "");
        self.replicas[number] = Replica::open(&nothing, Config::default()).expect("opened");
    }

    /// Opens the one again that was closed.
    pub fn reopen(&mut self, number: usize) {
        let config = self.configs[number].clone();
        self.replicas[number] = Replica::open(self.file(number), config).expect("opened again");
    }

    /// Returns the changesets that one lacks of another, and counts them as handed over.
    pub fn news(&mut self, to: usize, from: usize) -> Vec<Bytes> {
        self.capture(from);
        let news = self.replicas[from].changesets_after(self.read[to][from]).expect("changesets");
        self.read[to][from] += news.len() as u64;
        news
    }

    /// One gets what it lacks of another.
    pub fn fetch(&mut self, to: usize, from: usize) {
        let news = self.news(to, from);
        self.replicas[to].turn(news).expect("applied");
    }

    /// The same, and a test looks at the file after each turn that it takes.
    pub fn fetch_turn_by_turn(&mut self, to: usize, from: usize, look: impl FnMut(&Path)) {
        let news = self.news(to, from);
        self.replicas[to].turn_by_turn(news, look).expect("applied");
    }

    fn exchange(&mut self) {
        let count = self.replicas.len();
        for to in 0..count {
            (0..count).filter(|from| *from != to).for_each(|from| self.fetch(to, from));
        }
    }

    /// Everybody gets everything by a [`Courier`], each changeset twice, until nobody lacks anything. Unlike
    /// [`Replicas::settle`] it finds files that were copied.
    #[track_caller]
    pub fn carry(&mut self) {
        self.courier.carry(&mut self.replicas.iter_mut().collect::<Vec<_>>());
    }

    /// The same among the first of them, so many.
    #[track_caller]
    pub fn carry_among(&mut self, count: usize) {
        self.courier.carry(&mut self.replicas[..count].iter_mut().collect::<Vec<_>>());
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
        let vectors: Vec<_> = self.replicas.iter().map(|node| node.vector().expect("a vector")).collect();
        assert!(vectors.iter().all(|vector| *vector == vectors[0]), "{vectors:?}");
    }

    /// All have the same tables.
    #[track_caller]
    pub fn assert_same_tables(&self) {
        assert_same_tables(&self.paths());
    }

    /// Verifies the file of one, in which nothing may differ.
    #[track_caller]
    pub fn assert_well(&self, number: usize) {
        let options = driftless::VerifyOptions::default();
        let verified = driftless::verify(self.path(number), &options).expect("it can be verified");
        assert!(verified.is_well(), "{number}: {verified:#?}");
    }

    /// The status of one replica, as `status` prints it.
    pub fn status(&self, number: usize) -> Status {
        driftless::status(self.path(number)).expect("a status")
    }

    /// The remark of `status` on a table of the first replica.
    pub fn warning(&self, table: &str) -> Option<String> {
        let known = self.status(0).tables.into_iter().find(|known| known.table == table);
        known.expect("a table").reason
    }
}
