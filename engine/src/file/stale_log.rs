//! A log that was removed while others go on using it.
//!
//! A database in WAL mode is the file and its `-wal`; `-shm` is the index of that. When somebody removes `-wal` while a program
//! has the database open, that program goes on with a log that nobody else sees, and the index tells of frames that are not
//! there. A new connection would fail with an I/O error, or miss what was committed, and a checkpoint of its would damage the
//! database. So nobody opens the database then. Known on Linux only.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::file::lock::FileId;

const LOST: &str =
    "lost its -wal, which another program still has open: it cannot be opened until that program has ended";

/// Why nobody should open the database just now, in words that follow its name. To be called while the caller has no connection to
/// it, and before anything else opens it.
pub(crate) fn in_use(path: &Path) -> Option<&'static str> {
    let shm = beside(path, "-shm");
    if maps_removed(&shm) {
        return Some(
            "lost its -shm while another connection of this process has it open: it cannot be opened until that one is closed",
        );
    }
    is_removed(path, &shm).then_some(LOST)
}

/// Fails with [`Error::FileAway`] if the database has lost its log and others use it. This process may have it open.
pub(crate) fn check(path: &Path) -> Result<()> {
    let Ok(file) = path.canonicalize() else { return Ok(()) };
    if is_removed(&file, &beside(&file, "-shm")) {
        return Err(Error::FileAway { path: path.to_owned(), why: LOST.to_owned() });
    }
    Ok(())
}

/// Whether another process uses the index of a log that is not there. An index that nobody has open is made anew by the first
/// who opens the database.
fn is_removed(path: &Path, shm: &Path) -> bool {
    FileId::of(shm).is_some_and(|id| is_used_by_others(id) == Some(true) && lacks_log(path, shm, id))
}

/// Indexes that were looked into. Closing one would end the locks that a connection of this process may have on it,
/// <https://www.sqlite.org/howtocorrupt.html>.
static INDEXES: Mutex<Vec<Index>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Index {
    path: PathBuf,
    id: FileId,
    file: File,
}

impl Index {
    /// Whether nobody can use it any more.
    fn is_over(&self) -> bool {
        FileId::of(&self.path) != Some(self.id) && !maps_removed(&self.path)
    }
}

/// Whether the index of a log tells of frames that the log does not have. A log is written before its index says so, and
/// cut after: <https://www.sqlite.org/walformat.html>.
fn lacks_log(path: &Path, shm: &Path, id: FileId) -> bool {
    const LOG_HEADER: u64 = 32;
    const FRAME_HEADER: u64 = 24;
    let mut indexes = INDEXES.lock().unwrap_or_else(PoisonError::into_inner);
    indexes.retain(|index| !index.is_over());
    if !indexes.iter().any(|index| index.id == id) {
        let Ok(file) = File::open(shm) else { return false };
        // It may be another by now: then it is kept as what it is, and the next call finds out.
        let Ok(id) = file.metadata().map(|found| FileId::from(&found)) else { return false };
        indexes.push(Index { path: shm.to_owned(), id, file });
    }
    let Some(index) = indexes.iter().find(|index| index.id == id) else { return false };
    for _ in 0..3 {
        let Some(header) = index_header(&index.file) else { return false };
        let length = std::fs::metadata(beside(path, "-wal")).map_or(0, |wal| wal.len());
        if index_header(&index.file).as_ref() != Some(&header) {
            continue;
        }
        let page = u16::from_ne_bytes([header[14], header[15]]);
        let page = if page == 1 { 65_536 } else { u64::from(page) };
        let frames = u64::from(u32::from_ne_bytes([header[16], header[17], header[18], header[19]]));
        return frames > 0 && length < LOG_HEADER + frames * (FRAME_HEADER + page);
    }
    false // it is being written to, so it is in use as it stands
}

/// The first of the two copies of the index's header; `None` if there is none yet.
fn index_header(mut index: &File) -> Option<[u8; 48]> {
    let mut header = [0; 48];
    index.seek(SeekFrom::Start(0)).ok()?;
    index.read_exact(&mut header).ok()?;
    (header[12] != 0).then_some(header)
}

/// Whether this process still uses a file that has been removed.
fn maps_removed(path: &Path) -> bool {
    let removed = format!("{} (deleted)", path.display());
    std::fs::read_to_string("/proc/self/maps")
        .is_ok_and(|maps| maps.lines().any(|line| line.ends_with(&removed)))
}

/// Whether another process holds SQLite's lock on a database, or on the index of its log. Every connection that has
/// read from the file in WAL mode holds one. `None` where the system does not tell.
pub(crate) fn is_used_by_others(file: FileId) -> Option<bool> {
    let own = std::process::id().to_string();
    let inode = format!(":{}", file.inode);
    let is_others = |line: &str| {
        // 1: POSIX  ADVISORY  READ 4242 fd:01:131 1073741826 1073742335
        let mut words = line.split_whitespace().skip_while(|word| *word != "POSIX").skip(3);
        matches!((words.next(), words.next()), (Some(pid), Some(place)) if pid != own && place.ends_with(&inode))
    };
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    Some(locks.lines().any(is_others))
}

/// The file with something after its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
