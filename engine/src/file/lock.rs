//! One engine per file at a time.
//!
//! An advisory lock on `<file>-driftless`, which also holds what the engine says of itself,
//! its [notice](crate::file::notice), part of which outlasts it. The lock goes with the process,
//! however it ends; the small file stays, since removing it would race. Should somebody remove it all the same, a second
//! engine could lock another file of that name. So
//!
//! - whoever has locked it looks whether the name still stands for what was locked;
//! - an engine looks again before each piece of work, and makes and locks the file anew; if another engine has it by then,
//!   it gives way;
//! - on Linux an engine takes a second lock before it, which nobody can remove: a socket in the abstract namespace, of a
//!   name made from the database's device and inode. It keeps out engines of the same machine and network namespace
//!   in the moment before the first engine has noticed. Elsewhere, and between containers, that moment (`poll_interval`
//!   at most) is not covered: then the second engine stays and the first gives way.
//!
//! A lock on the database itself is no way: closing any descriptor of that file drops the locks that SQLite has on it
//! in this process.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::file::notice::{self, LastSync, Notice, RunningEngine};

/// How often to try for a lock that may be let go in a moment, or for a file that may be removed again.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(20);

/// A file, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    pub(crate) inode: u64,
}

impl FileId {
    /// Of the file that has this name now; `None` if none has. Where the system has no such numbers, all files are one.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|found| Self::from(&found))
    }
}

impl From<&std::fs::Metadata> for FileId {
    #[cfg(unix)]
    fn from(found: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { device: found.dev(), inode: found.ino() }
    }

    #[cfg(not(unix))]
    fn from(_: &std::fs::Metadata) -> Self {
        Self { device: 0, inode: 0 }
    }
}

/// The lock, held until dropped.
#[derive(Debug)]
pub(crate) struct EngineLock {
    database: PathBuf,
    file: File,
    id: FileId,
    guard: Guard,
    notice: Notice,
}

impl Drop for EngineLock {
    fn drop(&mut self) {
        self.notice.end();
        // Closing the file would leave the lock with a child that inherited it; unlocking takes it from all.
        let _ = self.file.unlock(); // closing follows
    }
}

/// Where the lock of a database is.
fn lock_path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-driftless");
    path.into()
}

impl EngineLock {
    /// Takes the lock. Fails with [`Error::Locked`] while another engine has it.
    pub(crate) fn take(database: &Path) -> Result<Self> {
        // First what nobody can remove: an engine that does not get that must not even for a moment hold the other.
        let guard = Guard::take(database)?;
        let (file, id) = lock_file(database)?;
        // The lock itself does not depend on what is written there.
        let notice = Notice::begin(written_to(&file, database)?);
        Ok(Self { database: database.to_owned(), file, notice, id, guard })
    }

    /// Where the engine says how it is.
    pub(crate) fn notice(&self) -> &Notice {
        &self.notice
    }

    /// Whether it is still what another engine would look for.
    pub(crate) fn stands(&self) -> bool {
        FileId::of(&lock_path(&self.database)) == Some(self.id)
            && FileId::of(&self.database).is_none_or(|id| self.guard.is_of(id))
    }

    /// To be called by an engine that has closed its connection: if the database is gone from its place, or another is there, the
    /// second lock is let go of. The system gives a deleted file's inode to the next that is made, which may be a database of
    /// anybody's.
    pub(crate) fn let_go_of_gone(&mut self) {
        if FileId::of(&self.database).is_none_or(|id| !self.guard.is_of(id)) {
            self.guard = Guard::none();
        }
    }

    /// Takes again what does not stand any more. Fails with [`Error::Locked`] if another engine has it now.
    pub(crate) fn renew(&mut self) -> Result<()> {
        if self.stands() {
            return Ok(());
        }
        if FileId::of(&self.database).is_some_and(|id| !self.guard.is_of(id)) {
            self.guard = Guard::take(&self.database)?;
        }
        if FileId::of(&lock_path(&self.database)) != Some(self.id) {
            tracing::warn!(lock = %lock_path(&self.database).display(), "somebody removed the engine's lock; it is made again");
            (self.file, self.id) = lock_file(&self.database)?;
            self.notice.move_to(written_to(&self.file, &self.database)?);
        }
        Ok(())
    }
}

/// Another handle of the lock's file, to write to.
fn written_to(file: &File, database: &Path) -> Result<File> {
    file.try_clone().map_err(|source| Error::Io {
        doing: "opening the lock",
        path: lock_path(database),
        source,
    })
}

/// The file of that name, locked.
fn lock_file(database: &Path) -> Result<(File, FileId)> {
    let path = lock_path(database);
    let io = |doing| {
        let path = path.clone();
        move |source| Error::Io { doing, path, source }
    };
    for _ in 0..TRIES {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(
                |source| match source.kind() {
                    std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                        Error::ReadOnly(database.to_owned())
                    }
                    _ => io("opening the lock")(source),
                },
            )?;
        match try_for_a_moment(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(locked(database)),
            Err(TryLockError::Error(source)) => return Err(io("locking")(source)),
        }
        let id = FileId::from(&file.metadata().map_err(io("looking at"))?);
        if FileId::of(&path) == Some(id) {
            return Ok((file, id));
        }
        // Removed between opening and locking: what was locked is not what the next engine would look for.
        std::thread::sleep(PAUSE);
    }
    Err(io("locking")(std::io::Error::other("somebody removes it again and again")))
}

/// Says who has a database, as far as that process has left its id.
fn locked(database: &Path) -> Error {
    let said = File::open(lock_path(database)).ok().map(|mut file| notice::read(&mut file)); // only for the message
    let holder = said.and_then(|said| RunningEngine::parse(&said)).map(|engine| engine.pid);
    Error::Locked { path: database.to_owned(), holder }
}

/// The engine that has a database open; `None` if there is none. Never waits, and never keeps the lock: an engine that
/// begins in this very moment tries for longer than this takes.
pub(crate) fn holder(database: &Path) -> Option<RunningEngine> {
    let database = database.canonicalize().ok()?;
    let mut file = File::open(lock_path(&database)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {}
        _ => return None, // free; closing the file lets go of it again
    }
    Some(said(&mut file, RunningEngine::parse).unwrap_or_else(RunningEngine::unknown))
}

/// What a lock file says, read again for a moment if it says nothing: it may be being written.
fn said<T>(file: &mut File, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    for _ in 0..3 {
        let said = parse(&notice::read(file));
        if said.is_some() {
            return said;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    None
}

/// The relay that a database of this path was last synced with, whether or not an engine has it now, and whatever has taken
/// the database's place since.
pub(crate) fn last_sync(database: &Path) -> Option<LastSync> {
    let mut file = File::open(lock_path(&database.canonicalize().ok()?)).ok()?;
    said(&mut file, notice::last_sync)
}

/// The error for a file that has lost our tables.
pub(crate) fn tracking_lost(database: &Path) -> Error {
    let url = last_sync(database).map(|last| last.url);
    Error::TrackingLost { path: database.to_owned(), url }
}

/// The error for a file without our tables: if it was ever synced it has lost them, else it never had any.
pub(crate) fn not_initialized(database: &Path) -> Error {
    match last_sync(database) {
        Some(last) => Error::TrackingLost { path: database.to_owned(), url: Some(last.url) },
        None => Error::NotInitialized(database.to_owned()),
    }
}

/// Fails with [`Error::TrackingLost`] if a file without our tables was ever synced.
pub(crate) fn check_never_synced(database: &Path) -> Result<()> {
    match not_initialized(database) {
        Error::NotInitialized(_) => Ok(()),
        lost => Err(lost),
    }
}

/// A lock that was just let go may be held for milliseconds more: by a child process that was being forked then and has
/// not replaced its image yet.
fn try_for_a_moment(file: &File) -> Result<(), TryLockError> {
    for _ in 1..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    file.try_lock()
}

/// The second lock, which has no name in any folder. Without a socket where the system has no such thing.
#[derive(Debug)]
struct Guard {
    /// The database that it is for.
    of: Option<FileId>,
    #[cfg(target_os = "linux")]
    _socket: Option<std::os::unix::net::UnixListener>,
}

impl Guard {
    /// One of no database.
    fn none() -> Self {
        Self {
            of: None,
            #[cfg(target_os = "linux")]
            _socket: None,
        }
    }

    #[cfg(target_os = "linux")]
    fn take(database: &Path) -> Result<Self> {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::{SocketAddr, UnixListener};

        let Some(of) = FileId::of(database) else { return Ok(Self::none()) };
        let name = format!("driftless-engine/{}/{}", of.device, of.inode);
        for attempt in 1.. {
            match SocketAddr::from_abstract_name(&name).and_then(|name| UnixListener::bind_addr(&name)) {
                Ok(socket) => return Ok(Self { of: Some(of), _socket: Some(socket) }),
                Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
                    tracing::debug!(%error, "there is no second lock here");
                    break;
                }
                // As with the file: a child that is being forked may have it for a moment.
                Err(_) if attempt < TRIES => std::thread::sleep(PAUSE),
                Err(_) => return Err(locked(database)),
            }
        }
        Ok(Self { of: Some(of), _socket: None })
    }

    #[cfg(not(target_os = "linux"))]
    fn take(database: &Path) -> Result<Self> {
        Ok(Self { of: FileId::of(database) })
    }

    /// Whether it need not be taken anew for that database.
    fn is_of(&self, database: FileId) -> bool {
        self.of == Some(database)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_engine_is_refused_and_told_who_has_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("app.db");
        let first = EngineLock::take(&database).expect("the first");
        let second = EngineLock::take(&database);
        let own = std::process::id();
        assert!(matches!(second, Err(Error::Locked { holder: Some(pid), .. }) if pid == own), "{second:?}");
        drop(first);
        EngineLock::take(&database).expect("free again");
    }

    /// Whoever removed the small file beside a database let a second engine start on it, and both wrote under one name.
    #[test]
    fn a_lock_that_somebody_removes_is_taken_again_and_keeps_a_second_engine_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("app.db");
        File::create(&database).expect("a database");
        let mut first = EngineLock::take(&database).expect("the first");
        std::fs::remove_file(lock_path(&database)).expect("the lock can be removed");
        assert!(!first.stands());
        if cfg!(target_os = "linux") {
            let second = EngineLock::take(&database);
            assert!(matches!(second, Err(Error::Locked { .. })), "before the first has noticed: {second:?}");
            assert!(!lock_path(&database).exists(), "it has not come near the file");
        }
        first.renew().expect("taken again");
        assert!(first.stands());
        let second = EngineLock::take(&database);
        let own = std::process::id();
        assert!(matches!(second, Err(Error::Locked { holder: Some(pid), .. }) if pid == own), "{second:?}");
    }

    #[test]
    fn an_engine_whose_removed_lock_another_has_taken_gives_way() {
        let folder = tempfile::tempdir().expect("a folder");
        let database = folder.path().join("app.db");
        // Without a database there is no second lock, as on other systems.
        let mut first = EngineLock::take(&database).expect("the first");
        std::fs::remove_file(lock_path(&database)).expect("the lock can be removed");
        let second = EngineLock::take(&database).expect("nobody has noticed yet");
        assert!(matches!(first.renew(), Err(Error::Locked { .. })));
        assert!(second.stands());
    }

    /// A running sync whose file was deleted kept every engine from the file that was made next, wherever that was, if the
    /// system gave it the same inode.
    #[test]
    fn the_second_lock_keeps_nobody_from_another_database_that_has_the_inode_of_one_that_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let [database, next] = ["app.db", "next.db"].map(|name| folder.path().join(name));
        File::create(&database).expect("a database");
        let mut first = EngineLock::take(&database).expect("the first");
        first.let_go_of_gone();
        std::fs::hard_link(&database, &next).expect("another of its inode");
        if cfg!(target_os = "linux") {
            let other = EngineLock::take(&next);
            assert!(matches!(other, Err(Error::Locked { .. })), "nothing is gone: {other:?}");
        }
        std::fs::remove_file(&database).expect("it is gone");
        first.let_go_of_gone();
        let other = EngineLock::take(&next).expect("that is another database");
        std::fs::rename(&next, &database).expect("moved into the first's place");
        if cfg!(target_os = "linux") {
            assert!(!first.stands() && first.renew().is_err(), "another engine has it");
        }
        drop(other);
        first.renew().expect("taken again");
        assert!(first.stands());
    }
}
