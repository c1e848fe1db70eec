//! A new file from a space: its tables and its rows, and what else of its schema is asked for.

use std::path::Path;
use std::time::Duration;

use crate::api::engine::Engine;
use crate::config::{Config, SyncConfig};
use crate::error::{Error, Result};
use crate::file::draft::{self, Draft};
use crate::replica::Made;
use crate::space_objects::{LeftOut, ObjectKind, RenamedIndex, SpaceObject};

/// What a clone has, and what not.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[non_exhaustive]
pub struct Cloned {
    /// The tables, as they spell their names.
    pub tables: Vec<String>,
    /// The views, virtual tables and triggers.
    pub objects: Vec<SpaceObject>,
    /// What was left out, and why. Rows of a table that was left out are kept in the file, and show once it can be made.
    pub left_out: Vec<LeftOut>,
    /// Indexes that have another name than in the space.
    pub renamed_indexes: Vec<RenamedIndex>,
    /// What else there is to say, in sentences.
    pub notes: Vec<String>,
}

/// The reason of a view, a trigger or a virtual table that was left out because nobody asked for it.
pub const NOT_ASKED_FOR: &str = "nobody asked for it";

/// Makes `path` from the space at `sync.url`: the tables that the space defines, their indexes, and all rows; and sets
/// `user_version` and `application_id` as the space has them. The file appears when it is complete; a clone that fails leaves
/// nothing. What cannot be made is left out and listed. Views, triggers and virtual tables are left out: see
/// [`clone_space_with`].
///
/// Fails with [`Error::FileExists`], [`Error::LogLeft`], [`Error::NoSuchFolder`], [`Error::ReadOnly`] if the folder cannot be
/// written, [`Error::BadUrl`], [`Error::Offline`], [`Error::Refused`] if there is no such space, [`Error::TimedOut`], and with
/// [`Error::NothingCloned`] if the space defines tables of which none can be made.
pub fn clone_space(
    path: impl AsRef<Path>,
    sync: SyncConfig,
    config: Config,
    timeout: Duration,
) -> Result<Cloned> {
    clone_space_with(path, sync, config, timeout, |_| false)
}

/// The same, with those views, triggers and virtual tables that `wanted` says yes to. It is asked before any of them is made,
/// in the order in which they are made, and is shown the statement: it was written by somebody else, and what a trigger does
/// is done to this file with each write from then on. Each statement can make just the object it names. Full-text tables
/// are filled where another table has their contents.
///
/// Fails as [`clone_space`] does.
pub fn clone_space_with(
    path: impl AsRef<Path>,
    sync: SyncConfig,
    config: Config,
    timeout: Duration,
    mut wanted: impl FnMut(&SpaceObject) -> bool,
) -> Result<Cloned> {
    let path = path.as_ref();
    crate::address::Address::parse(&sync.url)?;
    if path.exists() {
        return Err(Error::FileExists(path.to_owned()));
    }
    if let Some(log) = draft::log_left(path) {
        return Err(Error::LogLeft(log));
    }
    let draft = Draft::create(path)?;
    let engine = downloaded(&draft, sync, config, timeout)?;
    let (mut made, objects) = engine.worker().call_blocking(|replica| {
        let made = replica.make_defined_tables()?;
        replica.capture_all()?;
        Ok((made, replica.space_objects()?))
    })?;
    if made.tables.is_empty() && !made.left_out.is_empty() {
        return Err(Error::NothingCloned(made.left_out));
    }
    let mut chosen = Vec::new();
    for object in objects {
        let optional =
            matches!(object.kind, ObjectKind::View | ObjectKind::VirtualTable | ObjectKind::Trigger);
        if !optional {
            continue;
        }
        if wanted(&object) {
            chosen.push(object);
        } else {
            let reason = NOT_ASKED_FOR.to_owned();
            made.left_out.push(LeftOut { kind: object.kind, name: object.name, table: None, reason });
        }
    }
    let made = engine.worker().call_blocking(move |replica| {
        replica.make_objects(&chosen, &mut made)?;
        replica.follow_space()?;
        replica.capture_all()?;
        Ok(made)
    })?;
    engine.close();
    draft.finish(path)?;
    let Made { tables, objects, left_out, renamed_indexes, notes } = made;
    Ok(Cloned { tables, objects, left_out, renamed_indexes, notes })
}

/// Everything that the space at `sync.url` defines, in the order in which a clone makes it. Downloads the space into a file
/// beside `path`, which is removed again; `path` itself is not touched.
///
/// Fails with [`Error::NoSuchFolder`], [`Error::ReadOnly`] if the folder cannot be written, [`Error::BadUrl`],
/// [`Error::Offline`], [`Error::Refused`] if there is no such space, [`Error::TimedOut`].
pub fn space_objects(
    path: impl AsRef<Path>,
    sync: SyncConfig,
    config: Config,
    timeout: Duration,
) -> Result<Vec<SpaceObject>> {
    crate::address::Address::parse(&sync.url)?;
    let draft = Draft::create(path.as_ref())?;
    let engine = downloaded(&draft, sync, config, timeout)?;
    let objects = engine.worker().call_blocking(|replica| replica.space_objects())?;
    engine.close();
    Ok(objects)
}

/// An engine on a draft that holds everything that the space has.
fn downloaded(draft: &Draft, sync: SyncConfig, config: Config, timeout: Duration) -> Result<Engine> {
    // Nobody else writes to a file that is not there yet.
    let engine = Engine::open(&draft.path, Config { turn_gap: Duration::ZERO, ..config })?;
    let syncing = engine.sync_existing(sync)?;
    syncing.sync_now(timeout)?;
    syncing.stop();
    Ok(engine)
}
