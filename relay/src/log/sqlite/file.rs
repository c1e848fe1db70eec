//! The data folder: its lock, the file `relay.db`, its tables, and who it is.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::Error;

/// "DRLY": tells the log of a relay from any other SQLite file.
const APPLICATION_ID: i64 = 0x4452_4C59;
/// The format of the tables below.
const FORMAT: i64 = 1;

/// How often a lock that is held is tried again, and after how long.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(20);

/// The tables. Integers that are seqs or offsets stay below 2^63.
const TABLES: &str = "
CREATE TABLE space (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,          -- as in the URL
    uuid BLOB NOT NULL                  -- SpaceId, 16 bytes
) STRICT;

-- What each space holds of each replica: the union of log and active snapshots.
CREATE TABLE head (
    space    INTEGER NOT NULL,
    replica  BLOB    NOT NULL,          -- ReplicaId, 16 bytes
    seq      INTEGER NOT NULL,          -- the head
    log_from INTEGER NOT NULL,          -- the log has every seq from here to the head; head + 1 if none
    PRIMARY KEY (space, replica)
) STRICT, WITHOUT ROWID;

CREATE TABLE log (
    offset   INTEGER PRIMARY KEY,       -- ascending in the order of storing, over all spaces
    space    INTEGER NOT NULL,
    replica  BLOB    NOT NULL,
    seq      INTEGER NOT NULL,
    checksum BLOB    NOT NULL,          -- 16 bytes; tells two contents under one seq apart
    bytes    BLOB    NOT NULL           -- Changeset::bytes; last, so that the rest is read without it
) STRICT;
CREATE UNIQUE INDEX log_of_replica ON log (space, replica, seq);    -- where a replica's seq lies: includes the offset
CREATE INDEX log_of_space ON log (space, offset, replica, seq);     -- a reader skips what it has without the bytes

CREATE TABLE snapshot (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used again, so that a reader notices when it is gone
    space  INTEGER NOT NULL,
    uuid   BLOB    NOT NULL,            -- the 16 bytes under which its author sends it
    upload INTEGER,                     -- UploadId while it is not whole; NULL once active
    offset INTEGER,                     -- where it became active; NULL before
    parts  INTEGER NOT NULL,            -- how many are stored
    bytes  INTEGER NOT NULL             -- how large they are together
) STRICT;
CREATE INDEX snapshot_of_space ON snapshot (space, offset);
CREATE UNIQUE INDEX snapshot_of_upload ON snapshot (upload) WHERE upload IS NOT NULL;

CREATE TABLE snapshot_vector (
    snapshot INTEGER NOT NULL,
    replica  BLOB    NOT NULL,
    seq      INTEGER NOT NULL,
    PRIMARY KEY (snapshot, replica)
) STRICT, WITHOUT ROWID;

CREATE TABLE snapshot_part (
    id       INTEGER PRIMARY KEY,
    snapshot INTEGER NOT NULL,
    part     INTEGER NOT NULL,          -- from 0
    bytes    BLOB    NOT NULL           -- SnapshotPart::bytes
) STRICT;
CREATE UNIQUE INDEX part_of_snapshot ON snapshot_part (snapshot, part);
";

/// The opened log.
pub(super) struct LogFile {
    pub(super) lock: File,
    pub(super) writer: Connection,
    pub(super) reader: Connection,
    pub(super) identity: Identity,
}

/// Which file is open, to notice when it is no longer the one under its name: SQLite would go on writing into a
/// file that nobody can find again.
#[derive(Debug)]
pub(super) struct Identity {
    path: PathBuf,
    #[cfg(unix)]
    inode: (u64, u64),
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        #[cfg(unix)]
        let inode = inode(path)?;
        Ok(Self {
            path: path.to_owned(),
            #[cfg(unix)]
            inode,
        })
    }

    /// Its name.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file under the name is still the one that was opened.
    pub(super) fn stands(&self) -> bool {
        #[cfg(unix)]
        let stands = inode(&self.path).is_ok_and(|now| now == self.inode);
        #[cfg(not(unix))]
        let stands = self.path.exists();
        stands
    }
}

#[cfg(unix)]
fn inode(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

impl LogFile {
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let lock = lock_folder(folder)?;
        let path = folder.join("relay.db");
        let failed = |source| store_error(&path, source);
        let writer = open_writer(&path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let reader = Connection::open_with_flags(&path, flags).map_err(failed)?;
        reader.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
        reader.set_prepared_statement_cache_capacity(32);
        // The new file's name must be on disk before anything in it counts as stored.
        sync_folder(folder).map_err(|source| Error::Folder { path: folder.to_owned(), source })?;
        let identity = Identity::of(&path).map_err(|source| Error::Folder { path: path.clone(), source })?;
        Ok(Self { lock, writer, reader, identity })
    }
}

fn lock_folder(folder: &Path) -> Result<File, Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Folder { path, source }
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    let path = folder.join("lock");
    // Never truncated or removed: the lock is on the file, not its content.
    let lock =
        OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed(&path))?;
    match try_for_a_moment(&lock) {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(Error::Folder { path, source }),
    }
}

/// A lock that was just let go may be held for milliseconds more: by a child process that was being forked then and has not
/// replaced its image yet.
fn try_for_a_moment(lock: &File) -> Result<(), TryLockError> {
    for _ in 1..TRIES {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    lock.try_lock()
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        File::open(folder)?.sync_all()?;
        if let Some(parent) = folder.canonicalize()?.parent() {
            File::open(parent)?.sync_all()?;
        }
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

fn open_writer(path: &Path) -> Result<Connection, Error> {
    let failed = |source| store_error(path, source);
    let mut db = Connection::open(path).map_err(failed)?;
    db.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
    db.set_prepared_statement_cache_capacity(64);
    let number =
        |db: &Connection, pragma: &str| db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    // Before anything is changed: a file that is not ours stays as it is.
    let objects: i64 =
        db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
    let application = number(&db, "application_id").map_err(failed)?;
    let format = number(&db, "user_version").map_err(failed)?;
    if application != APPLICATION_ID && (application != 0 || objects != 0) {
        let reason = "it is an SQLite database of another program".to_owned();
        return Err(Error::Foreign { path: path.to_owned(), reason });
    }
    if format > FORMAT {
        return Err(Error::Format { path: path.to_owned(), found: format, known: FORMAT });
    }
    let mode: String =
        db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(failed)?;
    if !mode.eq_ignore_ascii_case("wal") {
        let reason = format!("SQLite cannot keep a write-ahead log there (journal mode {mode})");
        return Err(Error::Foreign { path: path.to_owned(), reason });
    }
    // FULL: a commit is an fsync of the write-ahead log. That is what an acknowledgement stands on.
    db.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    // On macOS fsync alone leaves data in the drive's cache; elsewhere this does nothing.
    db.pragma_update(None, "fullfsync", true).map_err(failed)?;
    db.pragma_update(None, "journal_size_limit", 64 << 20).map_err(failed)?;
    let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(failed)?;
    if format == 0 {
        tx.execute_batch(TABLES).map_err(failed)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
        tx.pragma_update(None, "user_version", FORMAT).map_err(failed)?;
    }
    // What was being uploaded when the relay last ended: its connections are gone.
    tx.execute_batch(
        "DELETE FROM snapshot_part   WHERE snapshot IN (SELECT id FROM snapshot WHERE offset IS NULL);
         DELETE FROM snapshot_vector WHERE snapshot IN (SELECT id FROM snapshot WHERE offset IS NULL);
         DELETE FROM snapshot WHERE offset IS NULL;",
    )
    .map_err(failed)?;
    tx.commit().map_err(failed)?;
    Ok(db)
}

fn store_error(path: &Path, source: rusqlite::Error) -> Error {
    if source.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) {
        return Error::Foreign { path: path.to_owned(), reason: "it is not an SQLite database".to_owned() };
    }
    let failed = matches!(
        source.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DiskFull | rusqlite::ErrorCode::SystemIoFailure)
    );
    if failed {
        // The disk, not what is on it: restoring a backup would help nobody.
        return Error::Folder { path: path.to_owned(), source: io::Error::other(source) };
    }
    Error::Store { path: path.to_owned(), source }
}
