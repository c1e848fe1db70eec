//! Where the file is, and what lies beside it, while the engine has it open.
//!
//! People replace files under a running program: they remove `-wal` and `-shm`, move another file over the database, write
//! a backup's bytes into it, delete it. A connection that is open then works on files that nobody else sees. It must not
//! write to them, and least of all copy its log into the file that took their place. So before each piece of work the
//! engine compares what the folder shows with what it has open. If it differs, the engine lets go of the connection
//! without a checkpoint, waits until nobody has touched the files for a moment (a copy takes its time), and opens the file
//! again, as when it starts: the file may have become another replica. If there is nothing to be opened for some seconds,
//! the engine ends with [`Error::FileReplaced`]; if what is there has none of our tables, with [`Error::TrackingLost`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::opening::{check_file, open_file};
use super::user_tables::UserTables;
use super::{Notes, Replica};
use crate::env::is_virtual;
use crate::error::{Doing, Error, Result};
use crate::file::lock::{self, FileId};
use crate::file::stale_log::{self, beside, is_used_by_others};
use crate::schema::settling::Settling;
use crate::store::{self, health};

/// How long a file must be left alone before it is opened again, after it or one of those beside it was replaced.
const SETTLED_AFTER: Duration = Duration::from_millis(750);
/// The same if only the content of the database changed while its log was empty: mostly an app's checkpoint.
const CHECKED_AFTER: Duration = Duration::from_millis(200);
/// After so long it is enough that the file stays as long as it is: an app may be at work on it already, whose every last
/// connection leaves other files beside it.
const ONLY_LENGTH_AFTER: Duration = Duration::from_secs(3);
/// What takes no longer than this is not worth telling.
const TOLD_AFTER: Duration = Duration::from_secs(2);
/// How long a file may be missing, or be no database, before the engine gives up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);

/// What the folder shows of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sight {
    file: Option<FileId>,
    wal: Option<FileId>,
    shm: Option<FileId>,
    length: u64,
    written: Option<SystemTime>,
    wal_length: u64,
}

impl Sight {
    /// `None` for what is missing or cannot be looked at.
    fn of(path: &Path) -> Self {
        let file = std::fs::metadata(path).ok();
        let wal = std::fs::metadata(beside(path, "-wal")).ok();
        Self {
            file: file.as_ref().map(FileId::from),
            wal: wal.as_ref().map(FileId::from),
            shm: FileId::of(&beside(path, "-shm")),
            length: file.as_ref().map_or(0, |file| file.len()),
            written: file.as_ref().and_then(|file| file.modified().ok()),
            wal_length: wal.as_ref().map_or(0, |wal| wal.len()),
        }
    }

    fn same_files(&self, other: &Self) -> bool {
        (self.file, self.wal, self.shm) == (other.file, other.wal, other.shm)
    }

    fn same_content(&self, other: &Self) -> bool {
        (self.length, self.written) == (other.length, other.written)
    }
}

/// How what is seen now differs from what the engine has open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Difference {
    None,
    /// The database was written to, and its log is not empty: by a checkpoint, as far as anybody can tell.
    Checkpointed,
    /// The database was written to while its log was empty: by somebody who does not use SQLite, unless a checkpoint
    /// emptied the log.
    Rewritten,
    /// Some of the files are gone, or are others.
    Replaced,
}

/// What the engine has open, and what it waits for if that is not what the folder shows.
#[derive(Debug)]
pub(super) struct Place {
    open: Sight,
    /// Whether the connection is one to the file.
    is_open: bool,
    /// What was seen last that differs from it.
    unsettled: Option<Unsettled>,
    /// Since when it has not had open what the folder shows.
    away: Option<Instant>,
    /// Since when there has been nothing to open.
    unusable: Option<Instant>,
    /// Why the engine has given up.
    given_up: Option<String>,
    /// Held by other readers of this process: SQLite shares what it knows of `-shm` among a process's connections.
    readers: Arc<()>,
}

/// A file that somebody may be at work on without SQLite.
#[derive(Debug, Clone)]
struct Unsettled {
    seen: Sight,
    /// Since when it has had this content, and since when this length.
    content_since: Instant,
    length_since: Instant,
}

impl Place {
    /// Of a file that was just opened.
    pub(super) fn of(path: &Path) -> Self {
        Self {
            open: Sight::of(path),
            is_open: true,
            unsettled: None,
            away: None,
            unusable: None,
            given_up: None,
            readers: Arc::new(()),
        }
    }

    /// Whether what is written goes where others see it.
    fn is_there(&self, path: &Path) -> bool {
        self.open.same_files(&Sight::of(path))
    }

    /// The last look before a commit. Fails if what was written does not go where others see it.
    pub(super) fn check_before_commit(&self, path: &Path) -> Result<()> {
        if self.is_there(path) {
            return Ok(());
        }
        Err(Error::FileAway { path: path.to_owned(), why: "was replaced".into() })
    }

    fn difference(&self, now: &Sight) -> Difference {
        if !self.open.same_files(now) {
            Difference::Replaced
        } else if self.open.same_content(now) {
            Difference::None
        } else if now.wal_length == 0 {
            Difference::Rewritten
        } else {
            Difference::Checkpointed
        }
    }
}

impl Replica {
    /// Whether the file, or one of those beside it, may be another than the one that the engine has open: then a turn finds
    /// out more.
    pub(crate) fn is_elsewhere(&self) -> bool {
        let is_another = || {
            let difference = self.place.difference(&Sight::of(&self.path));
            matches!(difference, Difference::Rewritten | Difference::Replaced)
        };
        !self.place.is_open || is_another() || !self.lock.stands()
    }

    /// Whether somebody wrote into the database since the last turn: an app's checkpoint, which changes nothing, unless it
    /// was a copy over the file. The next turn finds out, and can wait until the app leaves room for it.
    pub(super) fn is_checkpointed(&self) -> bool {
        self.place.is_open && self.place.difference(&Sight::of(&self.path)) == Difference::Checkpointed
    }

    /// Whether the file has been away for so short a time that there is nothing to tell yet.
    pub(crate) fn is_hardly_away(&self) -> bool {
        self.place.away.is_none_or(|since| since.elapsed() < TOLD_AFTER)
    }

    /// To be held by whoever reads the file from a connection of its own in this process: it is not opened again meanwhile.
    pub(crate) fn reader(&self) -> Arc<()> {
        self.place.readers.clone()
    }

    /// Makes sure that the engine has open what the folder shows, and that it still has the lock. Fails with
    /// [`Error::FileAway`] while it does not and that may pass, with [`Error::FileReplaced`] once it has given up, and with
    /// [`Error::Locked`] if another engine has the file now.
    pub(super) fn check_place(&mut self) -> Result<()> {
        if let Some(why) = &self.place.given_up {
            return Err(Error::FileReplaced { path: self.path.clone(), why: why.clone() });
        }
        let now = Sight::of(&self.path);
        let difference = if self.place.is_open { self.place.difference(&now) } else { Difference::Replaced };
        match difference {
            Difference::None => {}
            Difference::Checkpointed => {
                // Should it have been a copy: what SQLite remembers of the old content is not to be mixed with it.
                self.connection.release_memory().doing("forgetting what was read")?;
                self.place.open = now;
            }
            Difference::Rewritten => {
                self.settle(now, CHECKED_AFTER)?;
                self.open_again()?;
            }
            Difference::Replaced => {
                self.settle(now, SETTLED_AFTER)?;
                self.open_again()?;
            }
        }
        (self.place.unsettled, self.place.away) = (None, None);
        self.lock.renew()
    }

    /// Fails until the files have been left alone for so long.
    fn settle(&mut self, now: Sight, enough: Duration) -> Result<()> {
        self.place.away.get_or_insert_with(Instant::now);
        let begun = Instant::now();
        let is_patient = self.place.away.is_some_and(|since| since.elapsed() < ONLY_LENGTH_AFTER);
        let mut unsettled = Unsettled { seen: now.clone(), content_since: begun, length_since: begun };
        match self.place.unsettled.take() {
            Some(before) if (before.seen.file, before.seen.length) == (now.file, now.length) => {
                unsettled.length_since = before.length_since;
                if before.seen.written == now.written {
                    unsettled.content_since = before.content_since;
                }
            }
            // Something has come: it may be what is waited for.
            _ => self.place.unusable = None,
        }
        let since = if is_patient { unsettled.content_since } else { unsettled.length_since };
        self.place.unsettled = Some(unsettled);
        // An app that writes all the time makes the file grow; what SQLite is at work on nobody is still copying.
        let is_in_use = || {
            let new_log = now.wal.is_some() && now.wal != self.place.open.wal;
            new_log || now.file.and_then(is_used_by_others) == Some(true)
        };
        if since.elapsed() >= enough || is_virtual() || !is_patient && is_in_use() {
            return Ok(());
        }
        Err(self
            .away("was changed by something that is not SQLite; it is opened again when that is over".into()))
    }

    pub(super) fn away(&self, why: String) -> Error {
        Error::FileAway { path: self.path.clone(), why }
    }

    /// Lets go of the connection and opens what is there now.
    fn open_again(&mut self) -> Result<()> {
        if Arc::strong_count(&self.place.readers) > 1 {
            return Err(self.away("was replaced while it is being read".into()));
        }
        let was_open = self.place.is_open;
        let left = if was_open { self.log_of_replaced_file() } else { None };
        self.let_go()?;
        if let Some(log) = left {
            set_aside(&log);
        }
        match self.try_to_open() {
            Ok(()) => {
                tracing::warn!(path = %self.path.display(), "the file was replaced, or what lies beside it: opened again");
                Ok(())
            }
            Err(error @ Error::TrackingLost { .. }) => Err(error),
            Err(error) if error.is_busy() => Err(error),
            Err(error) => {
                let why = why(&error, &self.path);
                let since = *self.place.unusable.get_or_insert_with(Instant::now);
                if since.elapsed() < GIVE_UP_AFTER {
                    return Err(self.away(why));
                }
                let why = match stale_log::in_use(&self.path) {
                    Some(_) => format!("{why}; then start again"),
                    None => format!(
                        "{why} while Driftless had it open; put the database in its place and start again"
                    ),
                };
                self.place.given_up = Some(why.clone());
                Err(Error::FileReplaced { path: self.path.clone(), why })
            }
        }
    }

    /// Closes the connection without a checkpoint: it would copy the log of what is gone into what took its place, and
    /// remove the new one's log.
    fn let_go(&mut self) -> Result<()> {
        let doing = "letting go of a file that was replaced";
        if self.place.is_open {
            self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).doing(doing)?;
            let nothing = Connection::open_in_memory().doing(doing)?;
            drop(std::mem::replace(&mut self.connection, nothing));
            self.place.is_open = false;
        }
        self.lock.let_go_of_gone();
        Ok(())
    }

    fn try_to_open(&mut self) -> Result<()> {
        let path = self.path.clone();
        let found = std::fs::metadata(&path).map_err(|_| Error::NoSuchFile(path.clone()))?;
        if !found.is_file() || found.len() == 0 && !beside(&path, "-wal").exists() {
            return Err(Error::NotADatabase(path));
        }
        if let Some(why) = stale_log::in_use(&path) {
            return Err(self.away(why.into()));
        }
        check_file(&path, &self.config)?;
        if !health::any(&store::open_to_read(&path, self.config.busy_timeout)?)? {
            return Err(lock::tracking_lost(&path));
        }
        self.lock.renew()?;
        let (connection, memory) =
            open_file(&path, &self.config, &self.notice().sent(), Some(&self.memory.mark))?;
        let readers = self.place.readers.clone();
        self.replica = memory.mark.replica;
        (self.connection, self.memory) = (connection, memory);
        self.user_tables = UserTables::new(Settling::new(self.config.rebuild_quiet, None));
        self.notes = Notes::default();
        self.durability.begin_anew();
        self.place = Place { readers, ..Place::of(&path) };
        // Whoever goes on replacing files finds an empty log beside this one.
        self.checkpoint()
    }

    /// What was seen of the files after the engine itself wrote into the database, by a checkpoint.
    pub(super) fn has_checkpointed(&mut self) {
        let now = Sight::of(&self.path);
        if self.place.is_open && self.place.open.same_files(&now) {
            self.place.open = now;
        }
    }

    /// The log that a replaced file left beside its successor, if it is not empty and nobody has begun to use it for that.
    /// SQLite would take it for the successor's and damage that.
    fn log_of_replaced_file(&self) -> Option<PathBuf> {
        let now = Sight::of(&self.path);
        let left = now.file.is_some()
            && now.file != self.place.open.file
            && now.wal.is_some()
            && now.wal == self.place.open.wal
            && now.wal_length > 0;
        // Whoever uses the new file and is done with it has removed the log.
        let in_use = now.file.and_then(is_used_by_others).unwrap_or_else(|| {
            super::data_version(&self.connection).is_ok_and(|version| version != self.memory.data_version)
        });
        (left && !in_use).then(|| beside(&self.path, "-wal"))
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if self.place.is_open && !self.place.is_there(&self.path) {
            let _ = self.let_go(); // it fails only for want of memory
        }
    }
}

/// Why a file cannot be opened, in words that follow its name.
fn why(error: &Error, path: &Path) -> String {
    match error {
        Error::NoSuchFile(_) => "was removed".into(),
        Error::NotADatabase(_) => "was replaced by something that is not a SQLite database".into(),
        Error::FileAway { why, .. } => why.clone(),
        other => format!(
            "was replaced and cannot be opened again ({})",
            other.to_string().replace(&*path.to_string_lossy(), "it")
        ),
    }
}

/// Moves the log of a file that is gone out of the way, under a name that is free. Nothing in it is lost for a person who
/// wants it.
fn set_aside(log: &Path) {
    let free = (1..1000).map(|n| beside(log, &format!("-replaced-{n}"))).find(|path| !path.exists());
    let Some(to) = free else { return };
    match std::fs::rename(log, &to) {
        Ok(()) => tracing::warn!(
            log = %log.display(), to = %to.display(),
            "the database was replaced, but its old log was left behind; SQLite would have damaged the new file with it, so it was moved away"
        ),
        Err(error) => {
            tracing::error!(log = %log.display(), %error, "the log of a replaced file cannot be moved")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// Each turn that an app's own checkpoint brought on was taken at once, whatever transactions the app had open.
    #[test]
    fn an_apps_checkpoint_is_a_reason_for_a_turn_and_not_taken_for_another_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.db");
        let app = Connection::open(&path).expect("a connection");
        app.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t (k INTEGER PRIMARY KEY)").expect("made");
        let mut replica = Replica::open(&path, Config::default()).expect("opened");
        replica.capture_all().expect("captured");
        // The time of a file's last write may move on in steps of some milliseconds.
        let begun = Instant::now();
        while !replica.is_checkpointed() {
            assert!(begun.elapsed() < Duration::from_secs(30), "no checkpoint is ever noticed");
            app.execute_batch("INSERT INTO t DEFAULT VALUES; PRAGMA wal_checkpoint(PASSIVE)")
                .expect("written");
        }
        assert!(replica.is_due() && !replica.is_elsewhere());
        assert!(replica.data_version().is_ok(), "it is the same file");
        replica.capture_all().expect("captured");
        assert!(!replica.is_due());
    }
}
