//! A file while it is being made: under another name in the same folder, so that nobody takes it for the whole one.
//!
//! A process that is killed cannot clean up. What it leaves is removed by whoever next makes a file of that name; and if it
//! had already given the finished file its name, then by whoever opens that, since SQLite would damage a file that is used
//! under two names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Doing, Error, Result};
use crate::file::lock::EngineLock;

/// What follows the file's own name, before the number of the process.
const INFIX: &str = ".cloning-";
/// What SQLite and the engine put beside a database, and the database: it goes last, since the others are found by it.
const SUFFIXES: [&str; 4] = ["-wal", "-shm", "-driftless", ""];

/// The file; removed unless finished.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) path: PathBuf,
}

impl Draft {
    /// Fails with [`Error::NoSuchFolder`] and [`Error::ReadOnly`].
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("{INFIX}{}", std::process::id()));
        for left in left_behind(path) {
            if is_abandoned(&left) {
                remove(&left);
            }
        }
        // Ours to remove only from here on.
        fs::File::create_new(&name).map_err(|source| cannot_create(path, source))?;
        let draft = Self { path: name.into() };
        let connection = rusqlite::Connection::open(&draft.path).doing("creating the database")?;
        // Writes the header, so that the file is a database from here on.
        connection.pragma_update(None, "journal_mode", "WAL").doing("creating the database")?;
        Ok(draft)
    }

    /// Gives it its name. Nobody has it open any more.
    pub(crate) fn finish(self, path: &Path) -> Result<()> {
        self.gather()?;
        if let Some(log) = log_left(path) {
            return Err(Error::LogLeft(log));
        }
        let io = |source| Error::Io { doing: "putting in place", path: path.to_owned(), source };
        fs::hard_link(&self.path, path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => Error::FileExists(path.to_owned()),
            _ => io(source),
        })
    }

    /// Brings everything into the file itself. Closing the last connection does so too, but where that fails, as on a full
    /// disk, nobody is told.
    fn gather(&self) -> Result<()> {
        let doing = "bringing everything into the file";
        let connection = rusqlite::Connection::open(&self.path).doing(doing)?;
        let busy: bool =
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).doing(doing)?;
        let what = || "somebody else has it open".to_owned();
        if busy { Err(Error::Damaged { table: "journal", what: what() }) } else { Ok(()) }
    }
}

/// The log of a file that is not there, if there is one with something in it.
pub(crate) fn log_left(path: &Path) -> Option<PathBuf> {
    let logs = ["-wal", "-journal"].map(|end| {
        let mut log = path.as_os_str().to_owned();
        log.push(end);
        PathBuf::from(log)
    });
    logs.into_iter().find(|log| fs::metadata(log).is_ok_and(|log| log.len() > 0))
}

impl Drop for Draft {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Takes from a finished file the name that it had while it was made, if the process that made it died in between.
pub(crate) fn forget_names(path: &Path) {
    for left in left_behind(path) {
        if is_same(&left, path) {
            remove(&left);
        }
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The error for a file that could not be made: its folder is missing, or cannot be written, or something else failed.
fn cannot_create(path: &Path, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Error::NoSuchFolder { folder: folder(path).to_owned(), path: path.to_owned() }
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Error::ReadOnly(path.to_owned())
        }
        _ => Error::Io { doing: "creating", path: path.to_owned(), source },
    }
}

/// The drafts of a file.
fn left_behind(path: &Path) -> Vec<PathBuf> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    // A folder that cannot be read keeps what is in it.
    let entries = fs::read_dir(folder(path)).into_iter().flatten().flatten();
    let is_draft = |entry: &fs::DirEntry| {
        let found = entry.file_name();
        let number = found
            .to_str()
            .and_then(|found| found.strip_prefix(name)?.strip_prefix(INFIX)?.parse::<u32>().ok());
        number.is_some()
    };
    entries.filter(is_draft).map(|entry| entry.path()).collect()
}

/// Whether nobody works on a draft any more. In doubt somebody does.
fn is_abandoned(draft: &Path) -> bool {
    let number = draft.to_str().and_then(|name| name.rsplit('-').next()?.parse::<u32>().ok());
    let processes = Path::new("/proc/self");
    // Between making the file and locking it, only its process shows that somebody is at it.
    let lives = number.is_none_or(|number| {
        number != std::process::id()
            && processes.exists()
            && processes.with_file_name(number.to_string()).exists()
    });
    !lives && EngineLock::take(draft).is_ok()
}

#[cfg(unix)]
fn is_same(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    matches!((place(one), place(other)), (Ok(one), Ok(other)) if one == other)
}

#[cfg(not(unix))]
fn is_same(_: &Path, _: &Path) -> bool {
    false
}

fn remove(draft: &Path) {
    for suffix in SUFFIXES {
        let mut name = draft.as_os_str().to_owned();
        name.push(suffix);
        let _ = fs::remove_file(PathBuf::from(name)); // what is not there need not be removed
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::config::DbConfig;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries =
            fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("an entry"));
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// A clone that was killed left its data beside the file for ever; and where the number of the process came again, as in
    /// a container, no clone could be made any more.
    #[test]
    fn what_a_killed_process_left_of_a_draft_is_removed_by_the_next_and_what_lives_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.db");
        let own = std::process::id();
        for left in [
            format!("app.db.cloning-{own}"),
            format!("app.db.cloning-{}-wal", u32::MAX),
            format!("app.db.cloning-{}", u32::MAX),
        ] {
            fs::write(folder.path().join(left), "left").expect("a file");
        }
        // Not a draft of this file, and one that somebody else's living process makes.
        let others = ["app.db.cloning-x".to_owned(), "my.app.db.cloning-1".to_owned()];
        others.iter().for_each(|name| fs::write(folder.path().join(name), "kept").expect("a file"));
        let draft = Draft::create(&path).expect("a draft");
        let locked = EngineLock::take(&draft.path).expect("the lock");
        assert!(!is_abandoned(&draft.path), "an engine works on it");
        drop((locked, draft));
        assert_eq!(names(folder.path()), others);
    }

    /// Where the last connection could not bring its log into the file, for want of room, a clone without its rows, or a
    /// damaged one, was put in place and said to be good.
    #[test]
    fn a_finished_file_has_what_was_only_in_its_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.db");
        let draft = Draft::create(&path).expect("a draft");
        let connection = rusqlite::Connection::open(&draft.path).expect("a connection");
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).expect("a setting");
        connection.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (7)").expect("rows");
        drop(connection);
        draft.finish(&path).expect("finished");
        let connection = rusqlite::Connection::open(&path).expect("a connection");
        let x: i64 = connection.query_row("SELECT x FROM t", [], |row| row.get(0)).expect("the row");
        drop(connection);
        assert_eq!((x, names(folder.path())), (7, vec!["app.db".to_owned()]));
    }

    /// SQLite took the old log for the new file's. The clone was damaged, though the command had said that it was good.
    #[test]
    fn no_file_is_put_beside_the_log_of_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.db");
        let draft = Draft::create(&path).expect("a draft");
        fs::write(folder.path().join("app.db-wal"), "a log").expect("a file");
        let refused = draft.finish(&path).expect_err("there is a log").to_string();
        assert!(refused.contains("app.db-wal' is left of a database"), "{refused}");
        assert_eq!(names(folder.path()), ["app.db-wal"]);
        fs::write(folder.path().join("app.db-wal"), "").expect("an empty log");
        Draft::create(&path).expect("a draft").finish(&path).expect("an empty one does no harm");
    }

    /// A clone that was killed between the two left a file that the engine refused for its second name.
    #[cfg(unix)]
    #[test]
    fn a_finished_file_that_still_has_its_draft_s_name_loses_only_that() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.db");
        let draft = Draft::create(&path).expect("a draft");
        fs::hard_link(&draft.path, &path).expect("a link");
        std::mem::forget(draft);
        let other = folder.path().join("app.db.cloning-1");
        fs::write(&other, "another draft").expect("a file");
        forget_names(&path);
        assert_eq!(names(folder.path()), ["app.db", "app.db.cloning-1"]);
    }
}
