//! The folders that tests watch: what they ordered to fail, what was changed in them, and what of it is on
//! the platter.
//!
//! Nothing here knows SQLite's interface; [`vfs`](crate::vfs) calls in before and after it does what was
//! asked of it.

use std::collections::BTreeMap;
use std::ffi::c_int;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use fastrand::Rng;
use rusqlite::ffi;

use crate::record::{Crash, New, Record};

pub use crate::record::Loss;

/// Every folder that is watched.
static WATCHED: RwLock<Vec<Arc<Watched>>> = RwLock::new(Vec::new());

/// A folder under a disk that does as it is told. Forgotten when it is dropped; then whatever was opened
/// under it goes on as it was.
///
/// One folder is one disk and one process: what fails, dies or loses power is everything in it and below it.
/// Databases that are to fare differently lie in different folders.
#[derive(Debug)]
pub struct Disk {
    watched: Arc<Watched>,
}

/// How a change fails. The file stays as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Writes fail, those over what is there too: `SQLITE_FULL`. Everything else works.
    Full,
    /// Every change fails: `SQLITE_IOERR_WRITE` and its like, `SQLITE_CANTOPEN` where a file would be made.
    Io,
    /// Syncs fail: `SQLITE_IOERR_FSYNC`. What was written before can still get lost, until one succeeds.
    Sync,
}

/// One change that SQLite asked for, whether or not it was done.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Change {
    /// The file, from the watched folder.
    pub file: PathBuf,
    /// What was asked for.
    pub what: What,
}

/// Kinds of changes. Offsets and sizes are in bytes. What was written is not told: SQLite salts its logs with
/// random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "they say it")]
pub enum What {
    Create,
    Write { offset: u64, bytes: usize },
    Truncate { size: u64 },
    Sync,
    Delete,
}

/// A file as the operating system has it. The numbers are SQLite's result codes.
pub(crate) trait RealFile {
    /// Reads, with zeros past the end of the file.
    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), c_int>;
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), c_int>;
    fn truncate(&mut self, size: u64) -> Result<(), c_int>;
    fn size(&mut self) -> Result<u64, c_int>;
}

/// What a watched folder is.
#[derive(Debug)]
pub(crate) struct Watched {
    folder: PathBuf,
    state: Mutex<State>,
}

/// One opening of a file in a watched folder.
#[derive(Debug)]
pub(crate) struct WatchedFile {
    watched: Arc<Watched>,
    path: PathBuf,
}

#[derive(Debug, Default)]
struct State {
    changes: u64,
    log: Vec<Change>,
    fault: Option<Fault>,
    death: Option<Death>,
    dead: bool,
    /// How often each file is open.
    open: BTreeMap<PathBuf, usize>,
    files: BTreeMap<PathBuf, Known>,
    /// Files that were deleted, where a power loss may bring them back.
    removed: BTreeMap<PathBuf, Removed>,
}

#[derive(Debug)]
struct Known {
    /// Tells whether something else lies under the name now, which was put there by other means than SQLite.
    inode: u64,
    record: Record,
}

#[derive(Debug)]
struct Fault {
    /// The number of the first change that it may hit.
    from: u64,
    failure: Failure,
    once: bool,
}

#[derive(Debug)]
struct Death {
    at: u64,
    kept: usize,
}

#[derive(Debug)]
struct Removed {
    number: u64,
    /// The file as it was, and what of it was not synced.
    content: Vec<u8>,
    record: Record,
}

/// What happens to a change.
enum Verdict {
    Do,
    Refuse(c_int),
    /// The process dies here; of a write so many bytes are written.
    Die(usize),
}

impl Disk {
    /// Puts the layer between SQLite and the operating system, once and for the whole process. Connections
    /// that are open already stay as they are.
    pub fn install() {
        crate::vfs::install();
    }

    /// Watches a folder: to be called before anything in it is opened. What lies in it then is on the
    /// platter. Panics if it does not exist, or is watched already.
    pub fn at(folder: &Path) -> Self {
        Self::install();
        // SQLite resolves links before it opens anything.
        let folder = folder.canonicalize().expect("a folder that is to be watched exists");
        let mut all = WATCHED.write().unwrap_or_else(PoisonError::into_inner);
        let twice = all.iter().any(|other| other.folder == folder);
        assert!(!twice, "{} is watched already", folder.display());
        let watched = Arc::new(Watched { folder, state: Mutex::default() });
        all.push(watched.clone());
        Self { watched }
    }

    /// Lets the nth change from now fail, 1 being the next; or, if that is none which such a failure hits,
    /// the first one after it that is. Replaces what was to fail before.
    pub fn fail_once(&self, nth: u64, failure: Failure) {
        self.fail(nth, failure, true);
    }

    /// Lets the nth change from now fail, 1 being the next, and all that follow, as far as such a failure
    /// hits them, until [`Disk::heal`]. Replaces what was to fail before.
    pub fn fail_from(&self, nth: u64, failure: Failure) {
        self.fail(nth, failure, false);
    }

    fn fail(&self, nth: u64, failure: Failure, once: bool) {
        let mut state = self.watched.state();
        state.fault = Some(Fault { from: state.changes + nth, failure, once });
    }

    /// Lets nothing fail any more, and nobody die. What is dead stays so.
    pub fn heal(&self) {
        let mut state = self.watched.state();
        state.fault = None;
        state.death = None;
    }

    /// Kills whoever makes the nth change from now, 1 being the next. If that is a write, its first `kept`
    /// bytes arrive, and all of it if it has no more. From then on nothing in the folder is changed and every
    /// attempt fails with `SQLITE_IOERR`; reading works, and locks are given back. So the connections can be
    /// dropped without their doing anything that a killed process would not.
    pub fn die_at(&self, nth: u64, kept: usize) {
        let mut state = self.watched.state();
        state.death = Some(Death { at: state.changes + nth, kept });
    }

    /// As [`Disk::die_at`], now.
    pub fn die(&self) {
        self.watched.state().dead = true;
    }

    /// Whether somebody died, and was not revived.
    pub fn is_dead(&self) -> bool {
        self.watched.state().dead
    }

    /// The machine goes on after a process died: what was written is there. Heals everything. Panics if
    /// something is still open, because that would live again, with locks and shared memory that a process
    /// takes with it.
    pub fn revive(&self) {
        self.watched.state().revive();
    }

    /// Cuts the power, and switches it on again. Of each file there is what was there at its last sync; of
    /// what was changed since, all, nothing, all up to some moment, or anything: writes arrive in part, in
    /// sectors of 512 bytes, files are longer than what arrived in them, new files are not there, and deleted
    /// ones are, unless their folder was synced. Shared memory is gone. Heals and revives everything; what is
    /// there now is on the platter. Panics if something is still open.
    ///
    /// Syncs that failed count for nothing. Files that were changed by other means than SQLite are taken as
    /// they are, if they are others now ([`Disk::settle`] says so where the same were overwritten).
    pub fn power_loss(&self, rng: &mut Rng) -> Loss {
        let mut state = self.watched.state();
        state.revive();
        state.lose(rng)
    }

    /// Takes everything for synced as it is now: to be called when something else than SQLite has written
    /// into a file, as when one was restored from a backup. Panics if something is still open.
    pub fn settle(&self) {
        let mut state = self.watched.state();
        state.assert_closed();
        state.files.clear();
        state.removed.clear();
    }

    /// The same for one file, which SQLite may have open, and which something else has written over.
    pub fn settle_file(&self, path: &Path) {
        let (size, inode) = stat(path).unwrap_or_default();
        let known = Known { inode, record: Record::of_size(size) };
        self.watched.state().files.insert(path.to_owned(), known);
    }

    /// How many changes SQLite asked for since the folder is watched: files made, writes, cuts, syncs and
    /// deletions, also those that failed, and of the dead the one at which they died.
    pub fn changes(&self) -> u64 {
        self.watched.state().changes
    }

    /// The changes since this was last called.
    pub fn take_log(&self) -> Vec<Change> {
        std::mem::take(&mut self.watched.state().log)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut all = WATCHED.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| !Arc::ptr_eq(other, &self.watched));
    }
}

impl Watched {
    /// The innermost watched folder in which a file lies.
    pub(crate) fn of(path: &Path) -> Option<Arc<Self>> {
        let all = WATCHED.read().unwrap_or_else(PoisonError::into_inner);
        let around = all.iter().filter(|watched| path.starts_with(&watched.folder));
        around.max_by_key(|watched| watched.folder.components().count()).cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic of a test must not hide behind one of its connections' closing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, state: &mut State, path: &Path, what: What) -> Verdict {
        let file = path.strip_prefix(&self.folder).unwrap_or(path).to_owned();
        state.change(Change { file, what })
    }

    /// Opens a file by means of `open`, whose answer it returns.
    pub(crate) fn open(
        self: Arc<Self>,
        path: &Path,
        creates: bool,
        syncs_folder: bool,
        open: impl FnOnce() -> Result<(), c_int>,
    ) -> Result<WatchedFile, c_int> {
        let mut state = self.state();
        let made = creates && stat(path).is_none();
        if made {
            self.change(&mut state, path, What::Create).whole()?;
        }
        open()?;
        let (size, inode) = stat(path).unwrap_or_default();
        let record = match made {
            true => Record::of_new(New { number: state.changes, syncs_folder }),
            false => Record::of_size(size),
        };
        // The number of a file that is gone can be given to a new one.
        if made || state.files.get(path).is_none_or(|known| known.inode != inode) {
            state.files.insert(path.to_owned(), Known { inode, record });
        }
        *state.open.entry(path.to_owned()).or_default() += 1;
        drop(state);
        Ok(WatchedFile { watched: self, path: path.to_owned() })
    }

    /// Deletes a file by means of `delete`, whose answer it returns.
    pub(crate) fn delete(
        &self,
        path: &Path,
        syncs_folder: bool,
        delete: impl FnOnce() -> Result<(), c_int>,
    ) -> Result<(), c_int> {
        let mut state = self.state();
        let Some((_, inode)) = stat(path) else { return delete() }; // which says what is wrong
        self.change(&mut state, path, What::Delete).whole()?;
        let content = if syncs_folder { Vec::new() } else { fs::read(path).unwrap_or_default() };
        delete()?;
        let known = state.files.remove(path).filter(|known| known.inode == inode);
        let record = known.map_or_else(|| Record::of_size(content.len() as u64), |known| known.record);
        if syncs_folder {
            state.folder_synced(path);
        } else if record.new.is_none() || !state.removed.contains_key(path) {
            // What may never have been there cannot stand for what was before it.
            let number = state.changes;
            state.removed.insert(path.to_owned(), Removed { number, content, record });
        }
        Ok(())
    }
}

impl WatchedFile {
    pub(crate) fn write(&self, real: &mut impl RealFile, offset: u64, data: &[u8]) -> Result<(), c_int> {
        let mut state = self.watched.state();
        let what = What::Write { offset, bytes: data.len() };
        let (data, answer) = match self.watched.change(&mut state, &self.path, what) {
            Verdict::Do => (data, Ok(())),
            Verdict::Refuse(code) => return Err(code),
            Verdict::Die(kept) => (&data[..kept.min(data.len())], Err(ffi::SQLITE_IOERR)),
        };
        if !data.is_empty() {
            let number = state.changes;
            let record = state.record(&self.path);
            record.will_write(offset, data.len(), |at, bytes| real.read(at, bytes))?;
            real.write(offset, data)?;
            record.wrote(number, offset, data);
        }
        answer
    }

    pub(crate) fn truncate(&self, real: &mut impl RealFile, size: u64) -> Result<(), c_int> {
        let mut state = self.watched.state();
        self.watched.change(&mut state, &self.path, What::Truncate { size }).whole()?;
        let number = state.changes;
        let record = state.record(&self.path);
        record.will_truncate(size, |at, bytes| real.read(at, bytes))?;
        real.truncate(size)?;
        record.truncated(number, size);
        Ok(())
    }

    /// Syncs, which the operating system is not troubled with: a power loss is ours to make.
    pub(crate) fn sync(&self, real: &mut impl RealFile) -> Result<(), c_int> {
        let mut state = self.watched.state();
        self.watched.change(&mut state, &self.path, What::Sync).whole()?;
        let size = real.size()?;
        let record = state.record(&self.path);
        let new = record.new;
        record.synced(size);
        if let Some(new) = new {
            state.removed.remove(&self.path);
            if new.syncs_folder {
                state.folder_synced(&self.path);
            }
        }
        Ok(())
    }
}

impl Drop for WatchedFile {
    fn drop(&mut self) {
        let mut state = self.watched.state();
        if let Some(count) = state.open.get_mut(&self.path) {
            *count -= 1;
            if *count == 0 {
                state.open.remove(&self.path);
            }
        }
    }
}

impl Verdict {
    /// Of a change that is done whole or not at all.
    fn whole(self) -> Result<(), c_int> {
        match self {
            Verdict::Do => Ok(()),
            Verdict::Refuse(code) => Err(code),
            Verdict::Die(_) => Err(ffi::SQLITE_IOERR),
        }
    }
}

impl State {
    /// The record of a file that is open.
    fn record(&mut self, path: &Path) -> &mut Record {
        &mut self.files.get_mut(path).expect("a file that is open is known").record
    }

    fn change(&mut self, change: Change) -> Verdict {
        if self.dead {
            return Verdict::Refuse(ffi::SQLITE_IOERR);
        }
        let what = change.what;
        self.changes += 1;
        self.log.push(change);
        if let Some(death) = self.death.take_if(|death| death.at <= self.changes) {
            self.dead = true;
            return Verdict::Die(death.kept);
        }
        let hit = |fault: &Fault| fault.from <= self.changes && fault.failure.code(what).is_some();
        let Some(fault) = self.fault.as_ref().filter(|fault| hit(fault)) else { return Verdict::Do };
        let code = fault.failure.code(what).expect("it hits the change");
        if fault.once {
            self.fault = None;
        }
        Verdict::Refuse(code)
    }

    fn folder_synced(&mut self, path: &Path) {
        let folder = path.parent();
        self.removed.retain(|path, _| path.parent() != folder);
        for (_, known) in self.files.iter_mut().filter(|(path, _)| path.parent() == folder) {
            known.record.new = None;
        }
    }

    fn assert_closed(&self) {
        let open: Vec<_> = self.open.keys().collect();
        assert!(open.is_empty(), "still open: {open:?}");
    }

    fn revive(&mut self) {
        self.assert_closed();
        (self.fault, self.death, self.dead) = (None, None, false);
    }

    fn lose(&mut self, rng: &mut Rng) -> Loss {
        let mut loss = Loss::default();
        let unsynced: Vec<u64> = (self.files.values().flat_map(|known| known.record.unsynced()))
            .chain(
                self.removed.values().flat_map(|removed| removed.record.unsynced().chain([removed.number])),
            )
            .collect();
        let crash = Crash::draw(&unsynced, rng);
        let files = std::mem::take(&mut self.files);
        let mut removed = std::mem::take(&mut self.removed);
        for (path, Known { inode, record }) in &files {
            let _ = fs::remove_file(with_suffix(path, "-shm")); // of most files there is none
            if record.is_synced() || stat(path).is_none_or(|(_, now)| now != *inode) {
                continue;
            }
            if record.new.is_some_and(|new| !crash.keeps(new.number, rng, &mut loss)) {
                fs::remove_file(path).expect("a file that is there can be deleted");
                continue;
            }
            removed.remove(path); // the name is the later file's
            let now = fs::read(path).expect("a file that is there can be read");
            let survivor = record.survivor(now, crash, rng, &mut loss);
            // Into the same file, not in its place: a database may know itself by its inode.
            fs::write(path, survivor).expect("a file that is there can be written");
        }
        for (path, Removed { number, content, record }) in removed {
            // Its making counts before its deletion: what was never there does not come back.
            let made = record.new.is_none_or(|new| crash.keeps(new.number, rng, &mut loss));
            if made && !path.exists() && !crash.keeps(number, rng, &mut loss) {
                let survivor = record.survivor(content, crash, rng, &mut loss);
                fs::write(&path, survivor).expect("a deleted file can be made anew");
            }
        }
        loss
    }
}

impl Failure {
    /// What SQLite is told, if it hits the change.
    fn code(self, what: What) -> Option<c_int> {
        match (self, what) {
            (Failure::Full, What::Write { .. }) => Some(ffi::SQLITE_FULL),
            (Failure::Full, _) => None,
            (Failure::Sync | Failure::Io, What::Sync) => Some(ffi::SQLITE_IOERR_FSYNC),
            (Failure::Sync, _) => None,
            (Failure::Io, What::Create) => Some(ffi::SQLITE_CANTOPEN),
            (Failure::Io, What::Write { .. }) => Some(ffi::SQLITE_IOERR_WRITE),
            (Failure::Io, What::Truncate { .. }) => Some(ffi::SQLITE_IOERR_TRUNCATE),
            (Failure::Io, What::Delete) => Some(ffi::SQLITE_IOERR_DELETE),
        }
    }
}

/// The size and the number of a file, if there is one.
fn stat(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    #[cfg(unix)]
    return Some((metadata.len(), std::os::unix::fs::MetadataExt::ino(&metadata)));
    #[cfg(not(unix))]
    return Some((metadata.len(), 0));
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
