//! Opening a file as its one engine: the lock, the side tables, a new name for a copy, and a mark that tells the next
//! engine how this one found the file.

use std::path::Path;

use rusqlite::{Connection, Transaction};
use tokio::sync::broadcast;

use super::cascade::Cascade;
use super::durability::Durability;
use super::mark::{Mark, Memory};
use super::naming::take_new_name;
use super::notes::Notes;
use super::pace::Pace;
use super::place::Place;
use super::rest::Rest;
use super::shunned::Shunned;
use super::user_tables::UserTables;
use super::{Replica, begin, lock_wait, repair, schema_version};
use crate::config::Config;
use crate::env::{ids, is_virtual, now};
use crate::error::{Doing, Error, Result};
use crate::file::draft;
use crate::file::lock::{self, EngineLock};
use crate::file::notice::Sent;
use crate::file::stale_log;
use crate::schema::settling::Settling;
use crate::store::{self, identity, progress};

/// Whether a file is one that an engine can work on; before the lock leaves its file beside something that is no database.
pub(super) fn check_file(path: &Path, config: &Config) -> Result<()> {
    if identity::hard_links(path)? > 1 {
        draft::forget_names(path);
    }
    if identity::hard_links(path)? > 1 {
        return Err(Error::HardLinked(path.to_owned()));
    }
    let looked_at = store::open_to_read(path, config.busy_timeout)?;
    // A file in WAL is asked once it is open for writing, which reads the schema anyway; any other would be switched to WAL
    // by that, before it is refused.
    if config.refuse_lost
        && !driftless_wal::keeps_log(&looked_at).doing("reading the database")?
        && !store::health::any(&looked_at)?
    {
        lock::check_never_synced(path)?;
    }
    Ok(())
}

/// Opens a file, making the side tables if they are not there. A copy becomes a new replica; so does a file that is not as
/// this engine left it, if it had it open before: `known`; and one that has not captured yet what it has `sent`.
pub(super) fn open_file(
    path: &Path,
    config: &Config,
    sent: &Sent,
    known: Option<&Mark>,
) -> Result<(Connection, Memory)> {
    let mut connection = store::open(path, config.busy_timeout)?;
    if config.refuse_lost && !store::health::any(&connection)? {
        lock::check_never_synced(path)?;
    }
    lock_wait::install(&mut connection)?;
    lock_wait::set_longest(config.busy_timeout);
    let tx = begin(&mut connection)?;
    repair::restore_lost(&tx, path, true)?;
    let inode = identity::inode_of(path)?;
    let recorded = identity::inode(&tx)?;
    let is_copy = inode.is_some() && recorded.is_some() && recorded != inode;
    let is_another = known.is_some_and(|known| !matches!(Mark::read(&tx), Ok(Some(mark)) if mark == *known));
    if is_copy || is_another || has_sent_more(&tx, sent)? {
        tracing::info!(path = %path.display(), "the file was copied or restored: it becomes a new replica");
        take_new_name(&tx)?;
    }
    if let Some(inode) = inode.filter(|_| recorded != inode) {
        identity::set_inode(&tx, inode)?;
    }
    identity::set_opened(&tx, now())?;
    // Always another value than before, or SQLite would write nothing and wait for nothing: this commit must wait for the
    // disk. SQLite may have found a commit in the log whose author died before the disk had it, and what is sent from here
    // on must not be lost to the next loss of power.
    let mark = Mark::leave(&tx)?;
    let side_tables_at = schema_version(&tx)?;
    tx.commit().doing("opening the database")?;
    let memory =
        Memory { mark, writer: ids::writer(), data_version: 0, side_tables_at: Some(side_tables_at) };
    Ok((connection, memory))
}

/// Whether more changesets of a file were sent than it has: it was put back to an earlier state. That a relay would tell, unless it
/// has lost its data.
fn has_sent_more(tx: &Transaction<'_>, sent: &Sent) -> Result<bool> {
    let own = identity::replica(tx)?;
    Ok(progress::of(tx, own)? < sent.by(own))
}

impl Replica {
    /// Opens a file as its one engine, making the side tables if they are not there.
    pub(crate) fn open(path: &Path, config: Config) -> Result<Self> {
        if !path.is_file() {
            return Err(Error::NoSuchFile(path.to_owned()));
        }
        // The file itself, by whatever link it was named: the lock and SQLite's own files lie beside it.
        let path = &path.canonicalize().map_err(|source| Error::Io {
            doing: "resolving",
            path: path.to_owned(),
            source,
        })?;
        // Before anything of ours is written to it.
        let last_write = last_write(path);
        if let Some(why) = stale_log::in_use(path) {
            return Err(Error::FileAway { path: path.to_owned(), why: why.into() });
        }
        check_file(path, &config)?;
        let lock = EngineLock::take(path)?;
        let (connection, memory) = open_file(path, &config, &lock.notice().sent(), None)?;
        let feed = broadcast::Sender::new(config.feed_capacity.max(1));
        Ok(Self {
            path: path.to_owned(),
            place: Place::of(path),
            replica: memory.mark.replica,
            memory,
            rest: Rest::new(),
            user_tables: UserTables::new(Settling::new(config.rebuild_quiet, last_write)),
            pace: Pace::new(&config),
            gives_way: false,
            beside_app: false,
            notes: Notes::default(),
            durability: Durability::new(),
            shunned: Shunned::default(),
            cascade: Cascade::default(),
            feed,
            config,
            connection,
            lock,
        })
    }
}

/// When a database was last written, in milliseconds since 1970; `None` where the system does not tell, or time is not its
/// own.
pub(crate) fn last_write(path: &Path) -> Option<i64> {
    if is_virtual() {
        return None;
    }
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let written = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        // Whoever only reads a file leaves an empty log beside it.
        let modified = metadata.modified().ok().filter(|_| metadata.len() > 0)?;
        let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_millis()).ok()
    };
    written(path).max(written(Path::new(&log)))
}
