//! A new file from a space: its tables and its rows.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Config, SyncConfig};
use crate::engine::Engine;
use crate::error::{Doing, Error, Result};

/// Makes `path` from the space at `sync.url`: the tables that the space defines, their indexes, and all rows. The file
/// appears when it is complete; a clone that fails leaves nothing. Returns the names of the tables.
///
/// Fails with [`Error::FileExists`], [`Error::BadUrl`], [`Error::Offline`], [`Error::Refused`] if there is no such
/// space, [`Error::TimedOut`].
pub fn clone(
    path: impl AsRef<Path>,
    sync: SyncConfig,
    config: Config,
    timeout: Duration,
) -> Result<Vec<String>> {
    let path = path.as_ref();
    crate::sync::address::Address::parse(&sync.url)?;
    if path.exists() {
        return Err(Error::FileExists(path.to_owned()));
    }
    let draft = Draft::create(path)?;
    // Nobody else writes to a file that is not there yet.
    let engine = Engine::open(&draft.path, Config { turn_gap: Duration::ZERO, ..config })?;
    let syncing = engine.sync_existing(sync)?;
    syncing.sync_now(timeout)?;
    syncing.stop();
    let tables = engine.worker().call_blocking(|replica| {
        let tables = replica.make_defined_tables()?;
        replica.capture_all()?;
        Ok(tables)
    })?;
    engine.close();
    draft.finish(path)?;
    Ok(tables)
}

/// The file while it is being made, under another name in the same folder; removed unless finished.
pub(crate) struct Draft {
    pub(crate) path: PathBuf,
}

impl Draft {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".cloning-{}", std::process::id()));
        let draft = Self { path: name.into() };
        let io = |source| Error::Io { doing: "creating", path: path.to_owned(), source };
        fs::File::create_new(&draft.path).map_err(io)?;
        let connection = rusqlite::Connection::open(&draft.path).doing("creating the database")?;
        // Writes the header, so that the file is a database from here on.
        connection.pragma_update(None, "journal_mode", "WAL").doing("creating the database")?;
        Ok(draft)
    }

    fn finish(self, path: &Path) -> Result<()> {
        // The engine was the only connection, so closing it has brought everything into the file itself.
        let io = |source| Error::Io { doing: "putting in place", path: path.to_owned(), source };
        fs::hard_link(&self.path, path).map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => Error::FileExists(path.to_owned()),
            _ => io(source),
        })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm", "-driftless"] {
            let mut name = self.path.as_os_str().to_owned();
            name.push(suffix);
            let _ = fs::remove_file(PathBuf::from(name)); // what is not there need not be removed
        }
    }
}
