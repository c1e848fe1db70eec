//! A new file from a space: its tables and its rows.

use std::path::Path;
use std::time::Duration;

use crate::config::{Config, SyncConfig};
use crate::draft::Draft;
use crate::engine::Engine;
use crate::error::{Error, Result};

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
        replica.follow_space()?;
        replica.capture_all()?;
        Ok(tables)
    })?;
    engine.close();
    draft.finish(path)?;
    Ok(tables)
}
