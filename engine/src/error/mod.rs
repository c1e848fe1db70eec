//! What can go wrong, in three kinds that stay apart: the caller's mistake, the outside world, our own bug.
//!
//! May use what its variants carry: `document`, `space_objects` and `config`. Begin with the enum `Error`.

pub(crate) mod refusal;
pub(crate) mod shell;

use std::path::{Path, PathBuf};

use driftless_protocol::{FrameError, IdError, SpaceId};
use thiserror::Error;

use self::refusal::Refusal;
use crate::document::row::RowDocError;
use crate::document::text::TextDocError;
use crate::space_objects::LeftOut;

/// Every error of the engine. Match on it; the texts are for people and may change.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    // The caller's mistakes.
    /// There is no file at this path; a folder, perhaps. Driftless never creates one, except when cloning.
    #[error("{}; Driftless works on a database that is there already", no_such_file(.0))]
    NoSuchFile(PathBuf),
    /// There is no folder to make a file in. Cloning makes a file, and no folders.
    #[error("there is no folder '{folder}' to make '{path}' in; make the folder first: mkdir -p {}", shell::word(&folder.to_string_lossy()))]
    NoSuchFolder {
        /// The folder.
        folder: PathBuf,
        /// The file that was to be made in it.
        path: PathBuf,
    },
    /// The file exists already, and cloning never overwrites.
    #[error("'{0}' exists already; clone into a new file")]
    FileExists(PathBuf),
    /// There is no file, but the log of one that was there before. SQLite would take it for the new file's, and damage that; see
    /// <https://sqlite.org/howtocorrupt.html>.
    #[error(
        "'{0}' is left of a database that was there before, and would damage the new one: put that database back, or move \
         this file away"
    )]
    LogLeft(PathBuf),
    /// The file has several hard links. SQLite would keep a log for each name and damage the database; see
    /// <https://sqlite.org/howtocorrupt.html>.
    #[error(
        "'{0}' has another name (a hard link): SQLite would damage it when it is used under both; copy it instead"
    )]
    HardLinked(PathBuf),
    /// The file is not a SQLite database.
    #[error("'{0}' is not a SQLite database")]
    NotADatabase(PathBuf),
    /// Driftless has never worked on this file.
    #[error("'{0}' is not tracked by Driftless yet; begin with: driftless track '{0}' --all")]
    NotInitialized(PathBuf),
    /// Driftless synced a file of this path before, and what is there now holds none of its tables: a backup from before
    /// they were tracked, for instance. The tables must be tracked again before anything of the file travels.
    #[error("{}", tracking_lost(path, url.as_deref()))]
    TrackingLost {
        /// The database.
        path: PathBuf,
        /// The space that it was last synced with, if that is known.
        url: Option<String>,
    },
    /// The file, or its folder, cannot be written.
    #[error("'{0}' cannot be written: Driftless needs to write to the file and to its folder")]
    ReadOnly(PathBuf),
    /// Another engine has the file open.
    #[error("another Driftless engine has '{path}' open{}; only one can at a time", holder.as_ref().map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Locked {
        /// The database.
        path: PathBuf,
        /// The process that holds the lock, if it left its id.
        holder: Option<u32>,
    },
    /// A newer version of Driftless wrote the side tables.
    #[error(
        "'{path}' was last used by a newer Driftless (format {found}, this one knows {known}); upgrade this one"
    )]
    NewerFormat {
        /// The database.
        path: PathBuf,
        /// The format found.
        found: i64,
        /// The format this version writes.
        known: i64,
    },
    /// An older version of Driftless wrote the side tables, and whoever only reads cannot bring them up to date.
    #[error(
        "'{path}' was last used by an older Driftless (format {found}, this one knows {known}); any command that writes, \
         `driftless sync` or `driftless track`, brings it up to date"
    )]
    OlderFormat {
        /// The database.
        path: PathBuf,
        /// The format found.
        found: i64,
        /// The format this version writes.
        known: i64,
    },
    /// A table cannot be tracked.
    #[error("table '{table}' cannot be tracked: {refusal}")]
    NotTrackable {
        /// The table, as the caller named it.
        table: String,
        /// Why, and what to do instead.
        refusal: Refusal,
    },
    /// A table is tracked already, with other options.
    #[error("table '{table}' is tracked in this space with {existing}, which contradicts {asked}; {way_out}")]
    Contradiction {
        /// The table.
        table: String,
        /// The options of the space.
        existing: String,
        /// The options asked for.
        asked: String,
        /// What to do instead.
        way_out: &'static str,
    },
    /// A kind was stated for a column of none of the tables.
    #[error(
        "column '{0}' is in none of the tables that are to be tracked; of several tables, name it as TABLE.COLUMN"
    )]
    NoSuchColumn(String),
    /// A column of a tracked table cannot be of another kind.
    #[error("table '{table}' stays as it is: {refusal}")]
    KindRefused {
        /// The table.
        table: String,
        /// Why, and what to do instead.
        refusal: Refusal,
    },
    /// A column cannot be renamed.
    #[error("column '{old}' of table '{table}' cannot be renamed to '{new}': {why}")]
    CannotRename {
        /// The table.
        table: String,
        /// The column, as the caller named it.
        old: String,
        /// The name that it was to have.
        new: String,
        /// Why, and what to do instead.
        why: String,
    },
    /// Nobody asks whether a column is another one under a new name, so there is nothing to answer.
    #[error(
        "nobody asks whether column '{new}' of table '{table}' was called '{old}' before; {}",
        open_questions(asked)
    )]
    NothingAsked {
        /// The table.
        table: String,
        /// The older column, as the caller named it.
        old: String,
        /// The newer column, as the caller named it.
        new: String,
        /// The open questions about the table's columns: the older and the newer column of each.
        asked: Vec<(String, String)>,
    },
    /// A table or a column cannot be given up for the whole space.
    #[error("{what} cannot be forgotten: {why}")]
    CannotForget {
        /// The table or the column.
        what: String,
        /// Why, and what to do instead.
        why: String,
    },
    /// A table is not tracked.
    #[error("table '{0}' is not tracked")]
    NotTracked(String),
    /// The URL does not name a space on a relay.
    #[error(
        "'{url}' is not the address of a space: {why}; it looks like ws://host:7420/notes or wss://host/notes"
    )]
    BadUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The file belongs to another space.
    #[error(
        "this file belongs to space {ours}, but the relay's space has the id {theirs}: it is another space, or the relay's was made anew"
    )]
    WrongSpace {
        /// The space of the file.
        ours: SpaceId,
        /// The space of the relay.
        theirs: SpaceId,
    },
    /// The address names another space than the one that the file, or one of its path, was last synced with, and nobody said
    /// that it is meant: see [`SyncConfig::new_space`](crate::SyncConfig). Nothing was made on the relay.
    #[error("{}", other_space(path, last, url, meant, *why))]
    OtherSpace {
        /// The database.
        path: PathBuf,
        /// The address that it was last synced with.
        last: String,
        /// The address that was given.
        url: String,
        /// The same, with the name of the space that it was last synced with.
        meant: String,
        /// Why the address was refused.
        why: OtherSpace,
    },
    /// More than others can be let know of a replica.
    #[error("a presence of {length} bytes is too long: it may have {limit}")]
    PresenceTooLong {
        /// What was given, in bytes.
        length: usize,
        /// The most that there may be, in bytes.
        limit: usize,
    },

    // The outside world.
    /// SQLite failed: disk full, I/O error, a database locked for too long, a damaged file.
    #[error("SQLite failed while {doing}: {source}{}", advice(source))]
    Sqlite {
        /// What the engine was doing.
        doing: &'static str,
        /// SQLite's own error.
        #[source]
        source: rusqlite::Error,
    },
    /// The operating system failed.
    #[error("{doing} '{path}' failed: {source}")]
    Io {
        /// What the engine was doing.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The relay could not be reached or did not answer in time, or the connection broke.
    #[error("no connection to {url}: {why}")]
    Offline {
        /// The address.
        url: String,
        /// What failed.
        why: String,
    },
    /// The relay refuses for good; trying again would fail again.
    #[error("the relay refuses ({code}): {reason}")]
    Refused {
        /// The WebSocket close code, 4400 to 4499.
        code: u16,
        /// The relay's sentence.
        reason: String,
    },
    /// Syncing has ended because the relay, or the space, does not want this file; the text says why.
    #[error("{0}")]
    SyncEnded(String),
    /// What was waited for did not happen in time. Nothing is lost: it goes on when the connection is back.
    #[error(
        "not in agreement with the relay after {0:?}; nothing is lost, and the next sync goes on from there"
    )]
    TimedOut(std::time::Duration),
    /// The database file, or its `-wal` or `-shm`, was replaced or removed while the engine had it open, and cannot be opened
    /// again yet. The engine goes on trying for some seconds. Or a file is to be read whose `-wal` was removed while another program
    /// has it open.
    #[error("'{path}' {why}")]
    FileAway {
        /// The database.
        path: PathBuf,
        /// What happened to it, in words that follow its name.
        why: String,
    },
    /// The same, and the engine has given up: nothing that it could open came back within five seconds.
    #[error("'{path}' {why}")]
    FileReplaced {
        /// The database.
        path: PathBuf,
        /// Words that follow its name: what happened, and what to do.
        why: String,
    },
    /// The space defines tables, and none of them can be made: there is no clone. Each with the reason.
    #[error("none of the space's tables can be made here, so there is no clone{}", first_reason(.0))]
    NothingCloned(Vec<LeftOut>),
    /// A changeset or snapshot from outside is malformed.
    #[error("what the relay sent is malformed: {0}")]
    Frame(#[from] FrameError),
    /// A row document or update is refused.
    #[error(transparent)]
    RowDoc(#[from] RowDocError),
    /// A text document or update is refused.
    #[error(transparent)]
    TextDoc(#[from] TextDocError),

    // Ours.
    /// The side tables hold something that this version never writes: damage, or a bug.
    #[error(
        "the side table {table} is damaged: {what}; `driftless verify FILE --repair` repairs what it can"
    )]
    Damaged {
        /// The side table.
        table: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// The engine's thread has stopped; its last error was reported where it happened.
    #[error("the engine has stopped")]
    Stopped,
}

fn no_such_file(path: &Path) -> String {
    let path_shown = path.display();
    if path.is_dir() {
        format!("'{path_shown}' is a folder")
    } else {
        format!("there is no file '{path_shown}'")
    }
}

fn first_reason(left_out: &[LeftOut]) -> String {
    let first = left_out.first();
    first.map(|left| format!(": '{}' for instance: {}", left.name, left.reason)).unwrap_or_default()
}

fn tracking_lost(path: &Path, url: Option<&str>) -> String {
    let (name, file) = (path.display(), path.to_string_lossy());
    let file = shell::word(&file);
    let (before, sync) = match url {
        Some(url) => {
            (format!("was synced with {url} before"), format!("driftless sync {file} {}", shell::word(url)))
        }
        None => ("was opened by Driftless before".to_owned(), "sync again".to_owned()),
    };
    format!(
        "'{name}' {before}, and has none of Driftless's tables now: a backup from before `driftless track` took its place, or \
         somebody dropped them. What is written to it does not travel. Put a later backup in its place, or go on with what it \
         holds: driftless track {file} --all, and then {sync}"
    )
}

/// Why a file was not let into a space of another name than the one that it was last synced with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OtherSpace {
    /// The file belongs to no space, so that it would join any. The relay was not asked.
    Unknown,
    /// The relay has no space of this name.
    Missing,
    /// The relay has a space of this name, and it is not the one that the file belongs to.
    Foreign,
}

fn other_space(path: &Path, last: &str, url: &str, meant: &str, why: OtherSpace) -> String {
    let word = |text: &str| shell::word(text).into_owned();
    let file = word(&path.to_string_lossy());
    let found = match why {
        OtherSpace::Unknown => format!("{url} is another space"),
        OtherSpace::Missing => format!("there is no space at {url}"),
        OtherSpace::Foreign => format!("{url} is another space than the one that the file belongs to"),
    };
    let meant_all_the_same = match why {
        OtherSpace::Unknown => {
            format!("; if the other space is meant: driftless sync {file} {} --new-space", word(url))
        }
        // On the relay that has the space it would be the second name of one space, which no relay allows.
        OtherSpace::Missing if last != meant => {
            format!("; if it is to be made there: driftless sync {file} {} --new-space", word(url))
        }
        OtherSpace::Missing | OtherSpace::Foreign => String::new(),
    };
    format!(
        "'{}' was last synced with {last}, and {found}; if the name is mistyped: driftless sync {file} {}{meant_all_the_same}",
        path.display(),
        word(meant)
    )
}

/// What to do about a disk that fails; nothing for other failures.
fn advice(source: &rusqlite::Error) -> &'static str {
    match source.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => "; make room on the disk: nothing that was committed is lost",
        Some(rusqlite::ErrorCode::SystemIoFailure) => {
            "; the system's log says more about the disk: nothing that was committed is lost"
        }
        _ => "",
    }
}

/// A result of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Says which side table holds something that is no id.
pub(crate) trait InTable<T> {
    fn in_table(self, table: &'static str) -> Result<T>;
}

impl<T> InTable<T> for Result<T, IdError> {
    fn in_table(self, table: &'static str) -> Result<T> {
        self.map_err(|error| Error::Damaged { table, what: error.to_string() })
    }
}

/// Says what was being done when SQLite failed.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T>;
}

impl<T> Doing<T> for rusqlite::Result<T> {
    fn doing(self, doing: &'static str) -> Result<T> {
        self.map_err(|source| Error::Sqlite { doing, source })
    }
}

impl Error {
    /// Whether SQLite could not get its lock in time; the same call may succeed later.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Error::Sqlite { source, .. } if matches!(
            source.sqlite_error_code(),
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
        ))
    }

    /// Whether it is the disk that fails or is full, and not what was to be done.
    pub(crate) fn is_disk(&self) -> bool {
        matches!(self, Error::Sqlite { source, .. } if !advice(source).is_empty())
    }

    /// Whether the damage lies in the bytes that came in, not in this replica: such bytes are set aside.
    pub(crate) fn blames_input(&self) -> bool {
        matches!(self, Error::Frame(_) | Error::RowDoc(_) | Error::TextDoc(_))
    }
}

/// Lists the open questions about a table's columns, for [`Error::NothingAsked`].
fn open_questions(asked: &[(String, String)]) -> String {
    if asked.is_empty() {
        return "nothing is asked about its columns".to_owned();
    }
    let pairs: Vec<String> = asked.iter().map(|(old, new)| format!("whether '{new}' was '{old}'")).collect();
    format!("what is asked is {}", pairs.join(", and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_full_is_said_with_what_to_do_about_it() {
        let full =
            rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None);
        let error = Error::Sqlite { doing: "committing a turn", source: full };
        assert!(
            error.to_string().ends_with("make room on the disk: nothing that was committed is lost"),
            "{error}"
        );
    }
}
