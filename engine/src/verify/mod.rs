//! Is it all there? Documents against tables, indexes against both, and the documents against those of the space.
//!
//! The checks only read, on a connection and in a read transaction of their own, so that they work beside a running
//! engine; rows that wait to be captured or shown are left out and counted. Whoever has the file's lock captures first
//! and may repair. Each kind of check stands in a file of its own and adds to [`Findings`] what differs, in words, and
//! the remedy, as a value; [`repair`] applies remedies.
//!
//! May use all the other modules but `sim`. Begin with the function `verify`.

mod parked;
mod relay;
mod repair;
mod rows;
mod side;

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use serde::Serialize;

use crate::config::{Config, SyncConfig};
use crate::error::{Doing, Error, Result};
use crate::file::lock;
use crate::replica::Replica;
use crate::store::tables::State;
use crate::store::{self, fold, health, sql, tables};
use repair::Remedy;

/// So many differences of a check are told in words; all are counted.
const SHOWN: usize = 20;
/// Stands in reports for the name of our own table that holds the space's definitions.
const DEFINITIONS_CALLED: &str = "the space's definitions";

/// What to verify, and what to do about it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// Mend what can be mended. Needs the file: no engine may be running on it. Default: only look.
    pub repair: bool,
    /// Also compare with everything that the space holds at this address. Takes room on the disk beside the file for a
    /// second copy of the documents. Default: look at the file alone.
    pub relay: Option<SyncConfig>,
    /// How long one agreement with the relay may take. Default: one hour.
    pub timeout: Duration,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self { repair: false, relay: None, timeout: Duration::from_secs(3600) }
    }
}

impl VerifyOptions {
    /// These options, and mend what can be mended.
    pub fn repair(self, repair: bool) -> Self {
        Self { repair, ..self }
    }

    /// These options, and compare with the space at that address.
    pub fn relay(self, relay: Option<SyncConfig>) -> Self {
        Self { relay, ..self }
    }

    /// These options, with another limit for each agreement with the relay.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

/// What was looked at, what differs, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Verification {
    /// How many tables are tracked: of others nothing travels, and nothing is known that could be compared.
    pub tracked_tables: u64,
    /// Whether an engine has the file: then what it has not captured yet, and all that needs its lock, was left out.
    pub engine_running: bool,
    /// Each check, as things were found.
    pub checks: Vec<Check>,
    /// What was done to mend them, a sentence each.
    pub repairs: Vec<String>,
    /// Each check again, as things are now, if anything was to be mended.
    pub after: Option<Vec<Check>>,
}

impl Verification {
    /// Whether everything is there now: nothing differed, or all of it was mended. Of a file in which nothing is tracked that
    /// cannot be said.
    pub fn is_well(&self) -> bool {
        self.tracked_tables > 0 && self.all_agree()
    }

    fn all_agree(&self) -> bool {
        self.after.as_ref().unwrap_or(&self.checks).iter().all(|check| check.differences == 0)
    }

    /// How many differences were found.
    pub fn differences(&self) -> u64 {
        self.checks.iter().map(|check| check.differences).sum()
    }
}

/// One kind of check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// `sqlite`, `side tables`, `documents`, `tables`, `conflicts`, `parked`, `quarantine` or `relay`.
    pub name: &'static str,
    /// How many things were looked at.
    pub looked_at: u64,
    /// Rows left out because they wait to be captured or shown.
    pub waiting: u64,
    /// How many things differ.
    pub differences: u64,
    /// The first of them, in words.
    pub shown: Vec<Difference>,
    /// What else there is to say: why a check was not made, fingerprints that two people can compare.
    pub notes: Vec<String>,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The table, as it is called here, or in the space if it is not here; `the space's definitions` of what the space defines
    /// (its tables, indexes and the like), with what is defined as the key.
    pub table: Option<String>,
    /// The primary key as SQL literals, with commas between.
    pub key: Option<String>,
    /// What differs, in words.
    pub what: String,
}

/// Verifies a file, and with [`VerifyOptions::repair`] mends it.
///
/// What the tables say beyond the documents is captured as a write, since somebody wrote it; a row that a document has
/// and its table has not is shown again; documents that are damaged are dropped and made anew from the table and, with a
/// relay, from what the space holds; what the relay lacks is sent to it.
///
/// Without `repair` nothing is changed but that committed writes are captured, and, with a relay, sent; unless an engine
/// runs, which does both.
///
/// Fails with [`Error::NotInitialized`], [`Error::TrackingLost`], [`Error::OlderFormat`], [`Error::Locked`] if something is
/// to be mended while an engine has the file, and as opening and syncing do.
pub fn verify(path: impl AsRef<Path>, options: &VerifyOptions) -> Result<Verification> {
    verify_telling(path, options, &mut |_| ())
}

/// Like [`verify`]; `tell` hears what is being done, in a few words, whenever that changes.
pub fn verify_telling(
    path: impl AsRef<Path>,
    options: &VerifyOptions,
    tell: &mut dyn FnMut(&str),
) -> Result<Verification> {
    let path = path.as_ref();
    if let Some(relay) = &options.relay {
        relay.check()?;
    }
    let mut verification = Verification {
        tracked_tables: 0,
        engine_running: false,
        checks: Vec::new(),
        repairs: Vec::new(),
        after: None,
    };
    let dropped = look_at_schema(path)?;
    if dropped.differences > 0 && !options.repair {
        // Opening the engine would mend it without a word.
        verification.checks = vec![dropped];
        return Ok(verification);
    }
    let replica = match Replica::open(path, Config::default()) {
        Ok(replica) => replica,
        Err(Error::Locked { .. }) if !options.repair => {
            verification.engine_running = true;
            verification.checks = look(path, tell)?.checks;
            verification.tracked_tables = tracked_tables(path)?;
            if let Some(relay) = &options.relay {
                verification.checks.push(relay::beside(path, relay, options.timeout, tell)?);
            }
            return Ok(verification);
        }
        Err(error) => return Err(error),
    };
    own(path, replica, dropped, options, tell, &mut verification)?;
    Ok(verification)
}

/// Verifies a file of which the lock is ours.
fn own(
    path: &Path,
    mut replica: Replica,
    dropped: Check,
    options: &VerifyOptions,
    tell: &mut dyn FnMut(&str),
    verification: &mut Verification,
) -> Result<()> {
    tell("capturing");
    let mended = replica.capture_settled();
    let mut found = look(path, tell)?;
    if let Err(error) = &mended {
        let check = found.check("side tables");
        check.differs(None, None, format!("the engine cannot go on: {error}"));
    }
    found.check("side tables").absorb(&dropped);
    if let Some(note) = replica.mended()? {
        // Told here if nowhere else: when all is well, `status` forgets it.
        found.check("side tables").notes.push(format!("mended when the file was opened: {note}"));
    }
    if mended.is_ok() {
        tell("judging the parked rows");
        parked::check(&mut replica, &mut found)?;
    }
    verification.checks = std::mem::take(&mut found.checks);
    if dropped.differences > 0 {
        verification.repairs.push("side tables that were dropped were made again".to_owned());
    }
    let differ = |checks: &[Check]| checks.iter().any(|check| check.differences > 0);
    let mut again = false;
    if options.repair && differ(&verification.checks) {
        tell("mending");
        again = true;
        verification.repairs.extend(repair::apply(&mut replica, &found.remedies)?);
        // What was dropped from the side tables may be missing from the others only now.
        let mut found = look(path, tell)?;
        parked::check(&mut replica, &mut found)?;
        verification.repairs.extend(repair::apply(&mut replica, &found.remedies)?);
    }
    drop(replica);
    if let Some(relay) = &options.relay {
        let met = relay::meet(path, relay, options, tell)?;
        again |= options.repair && met.found.differences > 0;
        verification.checks.push(met.found);
        verification.repairs.extend(met.repairs);
        if again {
            let mut after = look_with_lock(path, tell)?;
            after.push(met.after);
            verification.after = Some(after);
        }
    } else if again {
        verification.after = Some(look_with_lock(path, tell)?);
    }
    verification.tracked_tables = tracked_tables(path)?;
    if verification.all_agree() {
        // What was said of it in `status` is said no more.
        crate::replica::mending::forget_note(path)?;
    }
    Ok(())
}

fn tracked_tables(path: &Path) -> Result<u64> {
    let entries = tables::all(&store::open_to_read(path, Config::default().busy_timeout)?)?;
    let is_tracked =
        |entry: &&tables::Entry| entry.id != tables::DEFINITIONS && entry.state == State::Tracked;
    Ok(entries.iter().filter(is_tracked).count() as u64)
}

fn look_with_lock(path: &Path, tell: &mut dyn FnMut(&str)) -> Result<Vec<Check>> {
    let mut replica = Replica::open(path, Config::default())?;
    replica.capture_settled()?;
    let mut found = look(path, tell)?;
    parked::check(&mut replica, &mut found)?;
    Ok(found.checks)
}

/// What is missing from the schema: looked at before the engine, which makes it again.
fn look_at_schema(path: &Path) -> Result<Check> {
    let connection = store::open_to_read(path, Config::default().busy_timeout)?;
    if !health::any(&connection)? {
        return Err(lock::not_initialized(path));
    }
    store::check_not_older(&connection)?;
    let mut check = Check::new("side tables");
    for object in health::missing(&connection)? {
        check.differs(None, None, format!("{} {} is missing", object.kind, object.name));
    }
    for (table, columns) in health::crippled(&connection)? {
        check.differs(None, None, format!("table {table} lacks {}", columns.join(", ")));
    }
    Ok(check)
}

/// All checks that only read.
fn look(path: &Path, tell: &mut dyn FnMut(&str)) -> Result<Findings> {
    let mut connection = store::open_to_read(path, Config::default().busy_timeout)?;
    let tx = connection.transaction().doing("verifying")?;
    let mut found = Findings::default();
    tell("SQLite's own integrity check");
    sqlite(&tx, &mut found)?;
    tell("the side tables");
    side::check(&tx, &mut found)?;
    rows::check(&tx, tell, &mut found)?;
    Ok(found)
}

/// What SQLite says of the whole file, the user's indexes included.
fn sqlite(connection: &Connection, found: &mut Findings) -> Result<()> {
    let doing = "checking the database";
    let lines: Vec<String> = sql::list(connection, doing, "PRAGMA integrity_check(1000)", [], sql::first)?;
    found.check("sqlite").looked_at = 1;
    for line in lines.into_iter().filter(|line| line != "ok") {
        // "row 7 missing from index x", "wrong # of entries in index x", "non-unique entry in index x"
        if let Some((_, index)) = line.split_once(" index ") {
            found.remedies.push(Remedy::Reindex(index.to_owned()));
        }
        found.check("sqlite").differs(None, None, line);
    }
    let tracked: Vec<String> = tables::all(connection)?
        .into_iter()
        .filter(|entry| entry.state == State::Tracked)
        .map(|entry| fold(&entry.spelled))
        .collect();
    let undecided = rows::undecided(connection)?;
    let mut statement = connection.prepare("PRAGMA foreign_key_check").doing(doing)?;
    let mut rows = match statement.query([]) {
        Ok(rows) => rows,
        // A key that refers to columns without a UNIQUE index: SQLite would refuse every write too.
        Err(error) => {
            found.check("sqlite").notes.push(format!("foreign keys were not checked: {error}"));
            return Ok(());
        }
    };
    let mut others = 0;
    while let Some(row) = rows.next().doing(doing)? {
        let table: String = row.get(0).doing(doing)?;
        let (rowid, parent): (Option<i64>, String) = (row.get(1).doing(doing)?, row.get(2).doing(doing)?);
        if !tracked.contains(&fold(&table)) {
            others += 1;
            continue;
        }
        // A rebuilt table may be missing rows that are not decided yet.
        if undecided.contains(&fold(&table)) || undecided.contains(&fold(&parent)) {
            continue;
        }
        let row = rowid.map_or("a row".to_owned(), |rowid| format!("the row with rowid {rowid}"));
        let what = format!("{row} refers to a row of {parent} that is not there");
        found.check("sqlite").differs(Some(table), None, what);
        found.remedies.push(Remedy::JudgeAgain);
    }
    if others > 0 {
        let rows = plural(
            others,
            "row of a table that is not tracked refers",
            "rows of tables that are not tracked refer",
        );
        found.check("sqlite").notes.push(format!("{rows} to rows that are not there"));
    }
    Ok(())
}

/// A number, and words that agree with it.
fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// What the checks found so far.
#[derive(Debug, Default)]
struct Findings {
    checks: Vec<Check>,
    remedies: Vec<Remedy>,
}

impl Findings {
    fn check(&mut self, name: &'static str) -> &mut Check {
        let at = self.checks.iter().position(|check| check.name == name).unwrap_or_else(|| {
            self.checks.push(Check::new(name));
            self.checks.len() - 1
        });
        &mut self.checks[at]
    }
}

impl Check {
    fn new(name: &'static str) -> Self {
        Self { name, looked_at: 0, waiting: 0, differences: 0, shown: Vec::new(), notes: Vec::new() }
    }

    fn differs(&mut self, table: Option<String>, key: Option<String>, what: String) {
        self.differences += 1;
        if self.shown.len() < SHOWN {
            self.shown.push(Difference { table, key, what });
        }
    }

    fn absorb(&mut self, other: &Self) {
        self.differences += other.differences;
        self.shown.extend(other.shown.iter().cloned());
        self.shown.truncate(SHOWN);
    }
}
