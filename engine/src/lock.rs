//! One engine per file at a time. An advisory lock on `<file>-driftless`, which also names the process that holds
//! it. The lock goes with the process, however it ends; the small file stays, since removing it would race.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};

/// The lock, held until dropped.
#[derive(Debug)]
pub(crate) struct EngineLock {
    file: File,
}

impl Drop for EngineLock {
    fn drop(&mut self) {
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
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder); // only for the message
                return Err(Error::Locked { path: database.to_owned(), holder: holder.trim().parse().ok() });
            }
            Err(TryLockError::Error(source)) => return Err(Error::Io { doing: "locking", path, source }),
        }
        // For the other's message; the lock itself does not depend on it.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Self { file })
    }
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
