//! Is it all there? Documents against tables, indexes against both, and the documents against those of the space; and the repair of
//! what differs.
//!
//! The checks only read, on a connection and in a read transaction of their own, so that they work beside a running
//! engine; rows that wait to be captured or shown are left out and counted. Whoever has the file's lock captures first
//! and may repair. Each check adds to [`report::Findings`] what differs, in words, and the repair, as a value: capture a row, show a
//! row, or rebuild a part of the side tables ([`crate::replica::repair::Part`]). [`repairs`] applies them.
//!
//! May use all the other modules but `sim`. Begin with the function `verify`.

mod checks;
mod repairs;
mod report;
mod space;

use std::path::Path;
use std::time::Duration;

use crate::config::{Config, SyncConfig};
use crate::error::{Doing, Error, Result};
use crate::file::lock;
use crate::replica::Replica;
use crate::store::tables::{self, State};
use crate::store::{self, health};
use checks::{parked, rows, side, sqlite};
use report::Findings;
pub use report::{Check, Difference, Verification};

/// The extent of a verification, and whether it repairs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// Repair what can be repaired. Needs the file: no engine may be running on it. Default: only look.
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
    /// These options, and repair what can be repaired.
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

/// Verifies a file, and with [`VerifyOptions::repair`] repairs it.
///
/// Values that a table has beyond its documents are captured as writes, since somebody wrote them; a row that a document has
/// and its table has not is shown again; documents that are damaged are dropped and made anew from the table and, with a
/// relay, from what the space holds; what the relay lacks is sent to it.
///
/// Without `repair` nothing is changed but that committed writes are captured, and, with a relay, sent; unless an engine
/// runs, which does both.
///
/// Fails with [`Error::NotInitialized`], [`Error::TrackingLost`], [`Error::OlderFormat`], [`Error::Locked`] if something is
/// to be repaired while an engine has the file, and as opening and syncing do.
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
    let mut verification = Verification::default();
    let dropped = look_at_schema(path)?;
    if dropped.differences > 0 && !options.repair {
        // Opening the engine would repair it without a word.
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
                verification.checks.push(space::beside(path, relay, options.timeout, tell)?);
            }
            return Ok(verification);
        }
        Err(error) => return Err(error),
    };
    own(path, replica, dropped, options, tell, &mut verification)?;
    Ok(verification)
}

/// Verifies a file of which the lock is ours. `dropped`: which side tables it lacked before it was opened.
fn own(
    path: &Path,
    mut replica: Replica,
    dropped: Check,
    options: &VerifyOptions,
    tell: &mut dyn FnMut(&str),
    verification: &mut Verification,
) -> Result<()> {
    let found = look_at_own(path, &mut replica, &dropped, tell)?;
    verification.checks = found.checks;
    if dropped.differences > 0 {
        verification.repairs.push("side tables that were dropped were made again".to_owned());
    }
    let mut again = options.repair && verification.checks.iter().any(|check| check.differences > 0);
    if again {
        tell("repairing");
        verification.repairs.extend(repairs::apply(&mut replica, &found.repairs)?);
        // Other side tables may lack something only now that these were repaired.
        let mut found = look(path, tell)?;
        parked::check(&mut replica, &mut found)?;
        verification.repairs.extend(repairs::apply(&mut replica, &found.repairs)?);
    }
    drop(replica);
    let mut met_after = None;
    if let Some(relay) = &options.relay {
        let met = space::meet(path, relay, options, tell)?;
        again |= options.repair && met.found.differences > 0;
        verification.checks.push(met.found);
        verification.repairs.extend(met.repairs);
        met_after = Some(met.after);
    }
    if again {
        let mut after = look_with_lock(path, tell)?;
        after.extend(met_after);
        verification.after = Some(after);
    }
    verification.tracked_tables = tracked_tables(path)?;
    if verification.all_agree() {
        // `status` need not tell of repairs any more.
        crate::replica::repair::forget_note(path)?;
    }
    Ok(())
}

/// All checks, once what was written is captured.
fn look_at_own(
    path: &Path,
    replica: &mut Replica,
    dropped: &Check,
    tell: &mut dyn FnMut(&str),
) -> Result<Findings> {
    tell("capturing");
    let captured = replica.capture_settled();
    let mut found = look(path, tell)?;
    let check = found.check("side tables");
    if let Err(error) = &captured {
        check.differs(None, None, format!("the engine cannot go on: {error}"));
    }
    check.absorb(dropped);
    if let Some(note) = replica.repaired()? {
        // Told here if nowhere else: when all is well, `status` forgets it.
        check.notes.push(format!("repaired when the file was opened: {note}"));
    }
    if captured.is_ok() {
        tell("judging the parked rows");
        parked::check(replica, &mut found)?;
    }
    Ok(found)
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

/// The same check of the schema as [`side::missing`], of a file that is fit for it.
fn look_at_schema(path: &Path) -> Result<Check> {
    let connection = store::open_to_read(path, Config::default().busy_timeout)?;
    if !health::any(&connection)? {
        return Err(lock::not_initialized(path));
    }
    store::check_not_older(&connection)?;
    side::missing(&connection)
}

/// All checks that only read.
fn look(path: &Path, tell: &mut dyn FnMut(&str)) -> Result<Findings> {
    let mut connection = store::open_to_read(path, Config::default().busy_timeout)?;
    let tx = connection.transaction().doing("verifying")?;
    let mut found = Findings::default();
    tell("SQLite's own integrity check");
    sqlite::check(&tx, &mut found)?;
    tell("the side tables");
    side::check(&tx, &mut found)?;
    rows::check(&tx, tell, &mut found)?;
    Ok(found)
}
