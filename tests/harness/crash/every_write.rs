//! Death, or a failing disk, at every single write of a [`Workload`].
//!
//! First the work is done unharmed, counting its writes and keeping what the tables hold in the end. Then, from the same
//! image, it comes to harm at the first write, the second, and so on. Afterwards, with nothing in its way, it is done
//! again, and then: the tables hold what they held, on all files, which are well and agree with the space; nobody has
//! become another replica; and no changeset that the relay or a file held before has another content now.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};

use driftless::{Conflict, Parked, ReplicaId};

use super::image::{Image, copy_database};
use super::peace::{self, Log, assert_equal, assert_verified, lists, sync_all};
use super::report::{Scratch, Tally};
use super::trace::{self, Harm, Place, Point, Start};
use super::workloads::{Stage, Workload};
use crate::{Outcome, Tables, query, sql, tables};

/// What the counts of a run are called.
pub const COUNTS: [&str; 5] =
    ["writes hit", "writes not reached", "writes to hit", "workloads", "exits other than 0"];

/// Which writes are hit, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What happens at a write.
    pub harm: Harm,
    /// Only every so many of them, counted over all files and system calls.
    pub every: u64,
    /// Only these system calls; all if there are none.
    pub calls: Vec<String>,
    /// How many at a time.
    pub threads: usize,
}

/// What commands said that ended with another code than 0, and how often.
pub type Complaints = BTreeMap<String, u64>;

/// Hits a workload at its writes, as planned. Panics if anything is lost, differs, or goes on wrongly.
pub fn torment(workload: &'static Workload, plan: &Plan, tally: &Tally) -> Complaints {
    let announced = Once::new();
    let next = AtomicUsize::new(0);
    let complaints = Mutex::new(Complaints::new());
    std::thread::scope(|threads| {
        let all: Vec<_> = (0..plan.threads.max(1))
            .map(|_| {
                threads.spawn(|| {
                    let mut lab = Lab::new(workload);
                    // Everybody's files are elsewhere; what is counted is the same.
                    let own = lab.points(plan);
                    announced.call_once(|| tally.add("writes to hit", own.len() as u64));
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(point) = own.get(at) else { break };
                        let outcome = lab.hit(point, &plan.harm);
                        tally.add(if outcome.is_some() { "writes hit" } else { "writes not reached" }, 1);
                        if let Some(complaint) = outcome.and_then(|outcome| complaint(&outcome, &lab)) {
                            tally.add("exits other than 0", 1);
                            *complaints
                                .lock()
                                .expect("nobody panics with it")
                                .entry(complaint)
                                .or_default() += 1;
                        }
                    }
                })
            })
            .collect();
        for thread in all {
            if let Err(panic) = thread.join() {
                next.store(usize::MAX >> 1, Ordering::Relaxed);
                std::panic::resume_unwind(panic);
            }
        }
    });
    tally.add("workloads", 1);
    complaints.into_inner().expect("nobody panics with it")
}

/// What a command said that failed, without what differs from run to run.
fn complaint(outcome: &Outcome, lab: &Lab) -> Option<String> {
    let code = outcome.code?;
    let said = outcome.stderr.lines().filter(|line| {
        (line.starts_with("driftless") && !line.contains("online with"))
            || line.contains(" ERROR ")
            || line.contains(" WARN ")
    });
    let said: BTreeSet<String> = said
        .map(|line| {
            let line =
                line.replace(&lab.scratch.path().display().to_string(), "…").replace(&lab.stage.url(), "URL");
            // Log lines begin with their time.
            line.split_once("Z ")
                .filter(|(time, _)| time.len() < 40 && time.contains('T'))
                .map_or(line.clone(), |(_, rest)| rest.trim_start().to_owned())
        })
        .collect();
    (code != 0 || !said.is_empty())
        .then(|| format!("exit {code}: {}", said.into_iter().collect::<Vec<_>>().join(" | ")))
}

/// A place where one workload is done again and again.
struct Lab {
    workload: &'static Workload,
    scratch: Scratch,
    stage: Stage,
    image: Image,
    writes: BTreeMap<Place, u64>,
    /// What the tables and lists hold in the end, and who the files were before.
    tables: Tables,
    lists: (Vec<Conflict>, Vec<Parked>),
    replicas: Vec<Option<ReplicaId>>,
}

impl Lab {
    fn new(workload: &'static Workload) -> Self {
        let scratch = Scratch::new(format!("the workload {} unharmed", workload.name));
        let folder = scratch.path().join("files");
        std::fs::create_dir(&folder).expect("a folder");
        let stage = Stage::prepare(&folder, workload);
        let files = workload.files(&stage);
        // One that is not there yet, or not tracked, is nobody yet.
        let replicas = files.iter().map(|file| Some(driftless::status(file).ok()?.replica)).collect();
        let image = Image::take(&folder);
        let log = scratch.path().join("strace.log");
        let outcome = workload.run(&stage, Start::Counting { log: &log });
        assert_eq!(outcome.code, Some(0), "{}: {outcome:?}", workload.name);
        let writes = trace::counted(&log, &folder);
        assert!(!writes.is_empty(), "{} writes nothing", workload.name);
        let relay = stage.relay(Start::Plainly);
        assert!(relay.says("listening on"), "the relay does not start: {}", relay.said());
        sync_all(&files, &stage.url());
        assert_equal(&files);
        let (tables, lists) = (tables(&files[0]), lists(&files[0]));
        Self { workload, scratch, stage, image, writes, tables, lists, replicas }
    }

    /// The writes to be hit, in the order of the files.
    fn points(&self, plan: &Plan) -> Vec<Point> {
        let wanted = |call: &str| plan.calls.is_empty() || plan.calls.iter().any(|wanted| wanted == call);
        let places = self.writes.iter().filter(|(place, _)| wanted(&place.call));
        let all =
            places.flat_map(|(place, count)| (1..=*count).map(|nth| Point { place: place.clone(), nth }));
        all.step_by(plan.every.max(1) as usize).collect()
    }

    /// Does the work with harm at this point, and sees that all is well. `None` if it never came to that point.
    fn hit(&mut self, point: &Point, harm: &Harm) -> Option<Outcome> {
        let Self { workload, scratch, stage, image, .. } = self;
        scratch.trying(format!("every-write --workload {}: {harm} at {point}", workload.name));
        image.restore();
        let log = scratch.path().join("strace.log");
        let outcome = workload.run(stage, Start::Harming { log: &log, point, harm });
        let harmed = trace::came_to_harm(&log);
        match harm {
            Harm::Kill if harmed => assert_eq!(outcome.code, None, "{outcome:?}"),
            // It may fail, in so many words, or go on.
            _ => {
                let panicked = outcome.stderr.contains("panicked");
                assert!(matches!(outcome.code, Some(0..=7)) && !panicked, "{outcome:?}");
                assert!(harmed || outcome.code == Some(0), "failed unharmed: {outcome:?}");
                if outcome.code != Some(0) {
                    let names_file = outcome.stderr.contains(&scratch.path().display().to_string());
                    assert!(
                        names_file && !outcome.stderr.contains("no connection"),
                        "misleading: {outcome:?}"
                    );
                }
            }
        }
        let held = self.held();
        // An app goes on writing, and perhaps finds the file before the engine does. In a row that nobody else writes: what
        // is not captured yet of a row gets the time of its last write, and might win then over what it else loses to.
        if point.nth.is_multiple_of(2) {
            sql(&self.stage.file("a"), "UPDATE item SET n = n WHERE id = 'i3'");
        }
        let relay = self.stage.relay(Start::Plainly);
        assert!(relay.says("listening on"), "the relay does not start: {}", relay.said());
        self.workload.again(&self.stage);
        let (files, url) = (self.workload.files(&self.stage), self.stage.url());
        sync_all(&files, &url);
        assert_equal(&files);
        let found = tables(&files[0]);
        if let Some(difference) = self.tables.difference(&found) {
            panic!("other rows than without harm:\n{difference}\n{outcome:?}");
        }
        assert_eq!(lists(&files[0]), self.lists, "other conflicts or parked rows than without harm");
        for (file, replica) in files.iter().zip(&self.replicas) {
            let now = peace::status(file).replica;
            assert!(replica.is_none_or(|before| before == now), "{} became another replica", file.display());
        }
        let which = point.nth as usize % files.len();
        for (at, file) in files.iter().enumerate() {
            assert_verified(file, (at == which).then_some(&*url));
        }
        let after = self.held();
        for (changeset, digest) in &held {
            let now = after.get(changeset);
            assert_eq!(now, Some(digest), "changeset {changeset:?} was held, and is another or none now");
        }
        harmed.then_some(outcome)
    }

    /// Every changeset that the relay's database holds now, read beside it. Then every author's acknowledged ones are
    /// among them.
    fn held(&self) -> Log {
        let folder = self.scratch.path().join("copies");
        std::fs::create_dir_all(&folder).expect("a folder");
        let copy = |from: PathBuf| {
            let to = folder.join(from.file_name().expect("a file has a name"));
            copy_database(&from, &to);
            to
        };
        let relay = self.stage.data().join("relay.db");
        if !relay.exists() {
            return Log::new();
        }
        let relay = copy(relay);
        if query(&relay, "SELECT name FROM sqlite_master WHERE name = 'log'").is_empty() {
            return Log::new();
        }
        let heads = query(&relay, "SELECT hex(replica), seq FROM head");
        for file in ["a", "b"].map(|name| self.stage.file(name)) {
            if !file.exists() {
                continue;
            }
            let own = copy(file);
            if let Some((replica, acked)) = acknowledged(&own) {
                let head = heads.iter().find_map(|row| row.strip_prefix(&format!("{replica}, ")));
                let head: u64 = head.and_then(|seq| seq.parse().ok()).unwrap_or(0);
                assert!(
                    acked <= head || self.stage.has_lost_relay(),
                    "{}: {acked} were acknowledged, the relay has {head}",
                    own.display()
                );
            }
        }
        peace::log(&relay)
    }
}

/// A file's id in the form of [`query`], and how many of its changesets a relay has acknowledged.
fn acknowledged(file: &Path) -> Option<(String, u64)> {
    if query(file, "SELECT name FROM sqlite_master WHERE name = '_driftless_meta'").is_empty() {
        return None;
    }
    let meta = |select: &str, name: &str| {
        query(file, &format!("SELECT {select} FROM _driftless_meta WHERE name = '{name}'")).pop()
    };
    Some((meta("hex(value)", "replica")?, meta("value", "acked")?.parse().ok()?))
}
