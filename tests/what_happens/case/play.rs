//! How a case is run: with two replicas and with three, in every order of delivery (see `courier.rs`), with every changeset
//! delivered twice; after each meeting all replicas must be equal, and equal to what they were in every other order.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use driftless::{Config, TableOptions, VerifyOptions, sim};
use driftless_tests::{Courier, assert_same_tables, connect, create_database, later, query, tables};
use rusqlite::Connection;
use tempfile::TempDir;

use super::Who::{A, B, C};
use super::{Case, Meeting, Step, Tracked, Who};

impl Case {
    #[track_caller]
    pub(super) fn run_with(&self, replicas: usize) {
        let table = Table::lay(self, replicas);
        let (mut first, mut runs, mut run) = (None, 1, 0);
        while run < runs {
            let played = catch_unwind(AssertUnwindSafe(|| {
                let (outcome, found) = Play::begin(self, &table, run).play();
                let expected = first.get_or_insert_with(|| outcome.clone());
                assert_eq!(*expected, outcome, "another order made a difference");
                found
            }));
            match played {
                Ok(found) => runs = runs.max(found),
                Err(panic) => {
                    eprintln!("with {replicas} replicas, in run {run}:\n{self}");
                    resume_unwind(panic);
                }
            }
            run += 1;
        }
    }
}

fn settings() -> Config {
    let mut config = Config::default();
    config.rebuild_quiet = Duration::ZERO;
    // Nobody waits for the write lock here.
    config.turn_gap = Duration::ZERO;
    config
}

/// The files as they are when the case begins: made once, and put back for each order, into the same places, so that
/// they go on being the same replicas.
struct Table {
    folder: TempDir,
    files: Vec<(PathBuf, Vec<u8>)>,
    courier: Courier,
}

impl Table {
    fn lay(case: &Case, replicas: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut courier = Courier::new();
        let paths: Vec<PathBuf> =
            ["a", "b", "c"][..replicas].iter().map(|name| folder.path().join(format!("{name}.db"))).collect();
        let mut opened: Vec<sim::Replica> = paths
            .iter()
            .enumerate()
            .map(|(at, path)| {
                let who = [A, B, C][at];
                create_database(path, &format!("PRAGMA synchronous = OFF; {}", case.statements(who)));
                let mut replica = sim::Replica::open(path, settings()).expect("the file opens");
                let found = tables(path);
                for name in found.names().into_iter().filter(|name| !case.untracked.iter().any(|n| n == name))
                {
                    replica.track(&[name], case.options(who, name)).unwrap_or_else(|error| panic!("{error}"));
                }
                replica
            })
            .collect();
        courier.carry(&mut opened.iter_mut().collect::<Vec<_>>());
        drop(opened);
        let files = paths.into_iter().map(|path| (path.clone(), read(&path))).collect();
        Self { folder, files, courier }
    }
}

impl Case {
    fn statements(&self, who: Who) -> &str {
        self.others.iter().find(|(other, _)| *other == who).map_or(&self.both, |(_, statements)| statements)
    }

    fn options(&self, who: Who, table: &str) -> TableOptions {
        let is_meant = |of: &&Tracked| of.at.is_none_or(|at| at == who) && of.table == table;
        let found = self.options.iter().find(is_meant);
        found.map_or_else(TableOptions::integer_key, |of| (of.options)())
    }
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).expect("the file can be read")
}

/// A file, what the app has on it, and the engine.
struct Site {
    path: PathBuf,
    replica: Option<sim::Replica>,
    app: Option<Connection>,
    saved: Vec<u8>,
}

impl Site {
    fn new(path: &Path, bytes: &[u8]) -> Self {
        let mut site = Self { path: path.to_owned(), replica: None, app: None, saved: Vec::new() };
        site.replace(bytes);
        site.open();
        site
    }

    fn open(&mut self) {
        self.replica = Some(sim::Replica::open(&self.path, settings()).expect("the file opens"));
        let app = connect(&self.path);
        app.execute_batch("PRAGMA synchronous = OFF; PRAGMA foreign_keys = ON").expect("settings");
        self.app = Some(app);
    }

    fn close(&mut self) {
        // The last connection to go leaves everything in the file itself.
        (self.app, self.replica) = (None, None);
    }

    /// Other content in the same place, which tells nothing by itself.
    fn replace(&mut self, bytes: &[u8]) {
        fs::write(&self.path, bytes).expect("the file can be written");
    }

    fn app(&self) -> &Connection {
        self.app.as_ref().expect("open")
    }

    fn replica(&mut self) -> &mut sim::Replica {
        self.replica.as_mut().expect("open")
    }

    fn capture(&mut self) {
        self.replica().turn(Vec::new()).expect("the turn succeeds");
    }

    /// As an app: every call is one changeset at most.
    fn write(&mut self, sql: &str) {
        later();
        self.app().execute_batch(sql).unwrap_or_else(|error| panic!("{error} in: {sql}"));
    }
}

/// One run of a case.
struct Play<'a> {
    case: &'a Case,
    folder: &'a Path,
    sites: Vec<Site>,
    courier: Courier,
    /// Whether the files are verified in the end: in two of the runs, as it takes its time.
    is_verified: bool,
    outcome: String,
}

impl<'a> Play<'a> {
    fn begin(case: &'a Case, table: &'a Table, run: usize) -> Self {
        let sites = table.files.iter().map(|(path, bytes)| Site::new(path, bytes)).collect();
        let courier = table.courier.in_order(run);
        Self {
            case,
            folder: table.folder.path(),
            sites,
            courier,
            is_verified: run < 2,
            outcome: String::new(),
        }
    }

    fn at(&self, who: Who) -> usize {
        (who as usize).min(self.sites.len() - 1)
    }

    fn site(&mut self, who: Who) -> &mut Site {
        let at = self.at(who);
        &mut self.sites[at]
    }

    /// Plays it to the end. Returns what came out, and after how many runs every order has been tried.
    fn play(mut self) -> (String, usize) {
        let mut steps = self.case.steps.iter().peekable();
        while let Some(step) = steps.next() {
            match step {
                Step::Sql(who, sql) => {
                    self.site(*who).write(sql);
                    // A clock that is set by hand is set before the engine looks.
                    if !matches!(steps.peek(), Some(Step::Clock(..))) {
                        self.site(*who).capture();
                    }
                }
                Step::Clock(who, at) => {
                    let site = self.site(*who);
                    site.app().execute("UPDATE _driftless_dirty SET at = ?1", [at]).expect("marks");
                    site.capture();
                }
                Step::Refused(who, sql, why) => match self.site(*who).app().execute_batch(sql) {
                    Ok(()) => panic!("was not refused: {sql}"),
                    Err(error) => assert!(error.to_string().contains(why), "{error} in: {sql}"),
                },
                Step::Track(who, table) => {
                    let options = self.case.options(*who, table);
                    self.site(*who).replica().track(&[table], options).expect("it can be tracked");
                }
                Step::Untrack(who, table) => {
                    self.site(*who).replica().untrack(&[table]).expect("it was tracked");
                }
                Step::Rename(who, [table, old, new]) => {
                    driftless::rename_column(&self.site(*who).path, table, old, new).expect("renamed");
                    self.site(*who).capture();
                }
                Step::Kind(who, [table, column], kind) => {
                    driftless::set_kind(&self.site(*who).path, table, column, *kind).expect("changed");
                    self.site(*who).capture();
                }
                Step::Reopen(who) => {
                    self.site(*who).close();
                    self.site(*who).open();
                }
                Step::Save(who) => {
                    self.site(*who).close();
                    let bytes = read(&self.site(*who).path);
                    self.site(*who).saved = bytes;
                    self.site(*who).open();
                }
                Step::Restore(who) => {
                    let site = self.site(*who);
                    site.close();
                    site.replace(&site.saved.clone());
                    site.open();
                }
                Step::Copy(from, to) => {
                    self.site(*from).close();
                    let bytes = read(&self.site(*from).path);
                    self.site(*from).open();
                    self.put(*to, &bytes);
                }
                Step::Vacuum(from, to) => {
                    let vacuumed = self.folder.join("vacuumed.db");
                    let into = vacuumed.to_str().expect("text");
                    self.site(*from).app().execute("VACUUM INTO ?1", [into]).expect("a copy");
                    let bytes = read(&vacuumed);
                    fs::remove_file(&vacuumed).expect("removed");
                    self.put(*to, &bytes);
                }
                Step::Clone(from, to) => {
                    let parts = self.site(*from).replica().snapshot().expect("a snapshot");
                    let to = self.site(*to);
                    to.close();
                    to.replace(&[]);
                    create_database(&to.path, "PRAGMA journal_mode = WAL");
                    to.open();
                    to.replica().take_snapshot(parts).expect("the turn succeeds");
                    to.replica().make_defined_tables().expect("tables");
                }
                Step::Meet(meeting) => self.meet(meeting),
            }
        }
        if self.is_verified {
            for site in &self.sites {
                let options = VerifyOptions::default();
                let verified = driftless::verify(&site.path, &options).expect("it can be verified");
                assert!(verified.is_well(), "{}: {verified:#?}", site.path.display());
            }
        }
        (self.outcome, self.courier.runs())
    }

    fn put(&mut self, who: Who, bytes: &[u8]) {
        let site = self.site(who);
        site.close();
        site.replace(bytes);
        site.open();
    }

    fn meet(&mut self, meeting: &Meeting) {
        let mut met: Vec<usize> = meeting.parties.iter().map(|who| self.at(*who)).collect();
        met.dedup();
        let mut parties: Vec<&mut sim::Replica> = Vec::new();
        for (at, site) in self.sites.iter_mut().enumerate() {
            if met.contains(&at) {
                parties.push(site.replica());
            }
        }
        let brought_forth = self.courier.carry(&mut parties);
        assert!(meeting.settles || brought_forth == 0, "merging brought forth {brought_forth} changesets");
        let vectors: Vec<_> = parties.iter().map(|party| party.vector().expect("a vector")).collect();
        assert!(vectors.windows(2).all(|pair| pair[0] == pair[1]), "the vectors differ: {vectors:?}");

        let paths: Vec<&Path> = met.iter().map(|at| &*self.sites[*at].path).collect();
        if self.case.one_schema {
            assert_same_tables(&paths);
        }
        let (mut all_parked, mut all_conflicts) = (Vec::new(), Vec::new());
        for (&at, path) in met.iter().zip(&paths) {
            let name = ["a", "b", "c"][at];
            let here = |who: &Option<Who>| who.is_none_or(|who| self.at(who) == at);
            let is_sound = query(path, "PRAGMA integrity_check");
            assert_eq!(is_sound, ["'ok'"], "{name}: integrity_check");
            assert_eq!(query(path, "PRAGMA foreign_key_check"), [""; 0], "{name}: foreign_key_check");
            let status = driftless::status(path).expect("a status");
            assert_eq!((status.waiting, status.quarantined), (0, 0), "{name}: waiting, set aside");
            for (_, what, expected) in meeting.shows.iter().filter(|(who, ..)| here(who)) {
                assert_eq!(rows(path, what), *expected, "{name}: {what}");
            }
            for (table, kinds) in &meeting.kinds {
                let known = status.tables.iter().find(|known| known.table == *table).expect("a table");
                let found: Vec<String> =
                    known.kinds.iter().map(|(column, kind)| format!("{column}: {kind}")).collect();
                assert_eq!(found, *kinds, "{name}: kinds of {table}");
            }
            for (_, table, words) in meeting.remarks.iter().filter(|(who, ..)| here(who)) {
                let known = status.tables.iter().find(|known| known.table == *table).expect("a table");
                let says = match (words, &known.reason) {
                    (None, reason) => reason.is_none(),
                    (Some(words), reason) => reason.as_ref().is_some_and(|reason| reason.contains(words)),
                };
                assert!(says, "{name}: of {table} status says {:?}, not {words:?}", known.reason);
            }
            let found = parked(path);
            // With two replicas, what is said of b and of c is said of one.
            let expected: BTreeSet<&[String; 3]> =
                meeting.parked.iter().filter(|(who, _)| here(who)).map(|(_, parked)| parked).collect();
            let fits = |expected: &[String; 3], found: &[String; 3]| {
                expected[..2] == found[..2] && found[2].to_lowercase().contains(&expected[2].to_lowercase())
            };
            let all = expected.len() == found.len()
                && expected.iter().all(|expected| found.iter().any(|found| fits(expected, found)));
            assert!(all, "{name}: parked are {found:#?}, not {expected:#?}");
            let found_conflicts = conflicts(path);
            assert_eq!(found_conflicts, meeting.conflicts, "{name}: conflicts");
            assert_eq!(
                status.conflicts,
                found_conflicts.len() as u64,
                "{name}: conflicts that status counts"
            );
            let _ = writeln!(
                self.outcome,
                "{name}:\n{}parked: {found:?}\nin conflict: {found_conflicts:?}",
                tables(path)
            );
            all_parked.push(found);
            all_conflicts.push(driftless::conflicts(path).expect("conflicts"));
        }
        if self.case.one_schema {
            assert!(all_parked.windows(2).all(|pair| pair[0] == pair[1]), "parked: {all_parked:#?}");
            // With authors and times.
            let same = all_conflicts.windows(2).all(|pair| pair[0] == pair[1]);
            assert!(same, "the conflicts differ: {all_conflicts:#?}");
        }
    }
}

/// The rows of a table, in the order of their text, or of a query, in its own.
fn rows(path: &Path, what: &str) -> Vec<String> {
    if what.starts_with("SELECT") {
        return query(path, what);
    }
    let mut rows = query(path, &format!("SELECT * FROM {what}"));
    rows.sort();
    rows
}

/// Table, key and reason of what is parked.
fn parked(path: &Path) -> Vec<[String; 3]> {
    let app = connect(path);
    let mut statement = app
        .prepare("SELECT \"table\", \"key\", reason FROM driftless_parked ORDER BY 1, 2")
        .expect("the view is there");
    let rows = statement.query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?])).expect("rows");
    rows.map(|row| row.expect("a row")).collect()
}

/// A line for each column in which several values stand.
fn conflicts(path: &Path) -> Vec<String> {
    let app = connect(path);
    let mut statement = app
        .prepare(
            "SELECT \"table\" || ' ' || \"key\" || ' ' || \"column\", quote(value), shown FROM driftless_conflicts
             ORDER BY 1, shown DESC, written_at DESC, 2",
        )
        .expect("the view is there");
    let mut rows = statement.query([]).expect("rows");
    let mut lines: Vec<String> = Vec::new();
    while let Some(row) = rows.next().expect("a row") {
        let text = |at: usize| row.get::<_, String>(at).expect("text");
        let (what, value, shown) = (text(0), text(1), row.get::<_, bool>(2).expect("a flag"));
        match lines.last_mut() {
            Some(line) if !shown => {
                let between = if line.contains(" over ") { ", " } else { " over " };
                line.push_str(&format!("{between}{value}"));
            }
            _ => lines.push(format!("{what}: {value}")),
        }
    }
    lines
}
