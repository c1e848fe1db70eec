//! File events on Linux, from inotify itself. The system wakes whoever waits for events at each write to the log, a dozen
//! times a commit, and that takes the writer's time. So nobody waits while events are gathered: they stay unread, and the
//! system joins those that are alike (<https://man7.org/linux/man-pages/man7/inotify.7.html>).
//!
//! The files are watched for writes, and their folder for files that come and go: a write to another file in it wakes nobody.

use std::cell::Cell;
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// Shorter waits are slept away.
const SHORT: Duration = Duration::from_millis(4);
/// How long events are gathered after the first.
const GATHER: Duration = Duration::from_millis(1);

/// Events of some files in one folder.
pub(super) struct Events {
    inotify: OwnedFd,
    folder: PathBuf,
    names: Vec<OsString>,
    /// Whether the folder could not be watched when that was last tried: it had been moved away.
    lost: Cell<bool>,
}

impl Events {
    /// Watches the files of these names in `folder`, whether they are there or not. Fails where the system has no watch to
    /// spare, or the folder cannot be read.
    pub(super) fn of(folder: &Path, names: Vec<OsString>) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let events = Self { inotify, folder: folder.to_owned(), names, lost: Cell::new(false) };
        events.watch()?;
        Ok(events)
    }

    /// Watches the folder and those of the files that are there now. Those that are watched already stay watched.
    fn watch(&self) -> io::Result<()> {
        let comes_or_goes = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&self.inotify, &self.folder, comes_or_goes)?;
        for name in &self.names {
            let file = self.folder.join(name);
            match inotify::add_watch(&self.inotify, &file, WatchFlags::MODIFY | WatchFlags::ATTRIB) {
                // The folder tells when it comes.
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn watch_again(&self) {
        let watched = self.watch();
        if let Err(error) = &watched {
            tracing::debug!(folder = %self.folder.display(), %error, "no file events for now");
        }
        self.lost.set(watched.is_err());
    }

    /// Waits for an event, for `longest` at most. Returns whether there was one.
    pub(super) fn wait(&self, longest: Duration) -> bool {
        if self.lost.get() {
            self.watch_again();
        }
        if longest <= SHORT {
            std::thread::sleep(longest);
            return self.happened();
        }
        let until = Instant::now().checked_add(longest);
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let time = left.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], time.as_ref()) {
                Ok(0) | Err(Errno::INTR) => return false,
                Ok(_) => {
                    let concerned = self.happened();
                    std::thread::sleep(GATHER);
                    if concerned {
                        self.happened();
                        return true;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "file events cannot be waited for");
                    std::thread::sleep(left.unwrap_or(longest));
                    return false;
                }
            }
        }
    }

    /// Whether anything happened to the files since this was last asked.
    fn happened(&self) -> bool {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        let mut events = Reader::new(&self.inotify, &mut buffer);
        let (mut concerned, mut moved) = (false, false);
        // Fails with WOULDBLOCK after the last one.
        while let Ok(event) = events.next() {
            let of = event.file_name().map(std::ffi::CStr::to_bytes);
            // Events of the files themselves, of the folder itself, and of a queue that has overflowed have no name.
            let named = of.is_some_and(|of| self.names.iter().any(|name| of == name.as_bytes()));
            concerned |= named || of.is_none();
            moved |= named || of.is_none() && event.events() != ReadFlags::MODIFY;
        }
        if moved {
            self.watch_again();
        }
        concerned
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn watched(folder: &Path) -> Events {
        Events::of(folder, vec!["a.db".into(), "a.db-wal".into()]).expect("watched")
    }

    /// Events are there as soon as the call that caused them returns.
    fn nobody_is_woken(events: &Events) -> bool {
        let ready = poll(&mut [PollFd::new(&events.inotify, PollFlags::IN)], Some(&Timespec::default()));
        ready.expect("an answer") == 0
    }

    fn write(file: &Path) {
        fs::write(file, "a frame").expect("written");
    }

    #[test]
    fn events_of_the_named_files_are_told_once_and_those_of_others_never() {
        let folder = tempfile::tempdir().expect("a folder");
        let [file, log, other] = ["a.db", "a.db-wal", "app.log"].map(|name| folder.path().join(name));
        write(&file);
        write(&other);
        let events = watched(folder.path());
        assert!(!events.happened());
        for _ in 0..3 {
            write(&file);
        }
        assert!(events.wait(LONG));
        assert!(!events.happened(), "they were gathered");
        write(&log);
        assert!(events.wait(LONG), "it has come");
        write(&log);
        assert!(events.wait(LONG), "it is written to");
        write(&other);
        assert!(nobody_is_woken(&events));
        fs::rename(&other, &file).expect("renamed");
        assert!(events.wait(Duration::ZERO));
        write(&file);
        assert!(events.wait(Duration::ZERO), "the new file is watched");
        fs::remove_file(&file).expect("removed");
        assert!(events.wait(Duration::ZERO));
    }

    #[test]
    fn a_folder_that_was_replaced_is_watched_again() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("data");
        fs::create_dir(&folder).expect("made");
        let events = watched(&folder);
        fs::rename(&folder, parent.path().join("away")).expect("renamed");
        assert!(events.wait(LONG));
        fs::create_dir(&folder).expect("made");
        write(&folder.join("a.db"));
        // The next wait finds the new folder.
        events.wait(Duration::ZERO);
        write(&folder.join("a.db"));
        assert!(events.wait(LONG));
    }

    #[test]
    fn a_folder_that_is_not_there_cannot_be_watched() {
        assert!(Events::of(Path::new("/nowhere/at/all"), Vec::new()).is_err());
    }
}
