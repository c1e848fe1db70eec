//! One engine per file at a time. An advisory lock on `<file>-driftless`, which also holds what the engine says of itself,
//! its [notice](crate::notice). The lock goes with the process, however it ends; the small file stays, since removing it would race.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::notice::{self, Notice, RunningEngine};

/// The lock, held until dropped.
#[derive(Debug)]
pub(crate) struct EngineLock {
    file: File,
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
        let path = lock_path(database);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(
                |source| match source.kind() {
                    std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                        Error::ReadOnly(database.to_owned())
                    }
                    _ => Error::Io { doing: "opening the lock", path: path.clone(), source },
                },
            )?;
        match try_for_a_moment(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = RunningEngine::parse(&notice::read(&mut file)).map(|engine| engine.pid);
                return Err(Error::Locked { path: database.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(Error::Io { doing: "locking", path, source }),
        }
        // The lock itself does not depend on what is written there.
        let written =
            file.try_clone().map_err(|source| Error::Io { doing: "opening the lock", path, source })?;
        Ok(Self { notice: Notice::begin(written), file })
    }

    /// Where the engine says how it is.
    pub(crate) fn notice(&self) -> &Notice {
        &self.notice
    }
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
    for _ in 0..3 {
        if let Some(engine) = RunningEngine::parse(&notice::read(&mut file)) {
            return Some(engine);
        }
        // It is being written.
        std::thread::sleep(Duration::from_millis(2));
    }
    Some(RunningEngine::unknown())
}

/// A lock that was just let go may be held for milliseconds more: by a child process that was being forked then and has
/// not replaced its image yet.
fn try_for_a_moment(file: &File) -> Result<(), TryLockError> {
    for _ in 0..5 {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
            done => return done,
        }
    }
    file.try_lock()
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
}
