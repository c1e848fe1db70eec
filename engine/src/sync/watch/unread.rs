//! File events on Linux, from inotify itself. The system wakes whoever waits for events at each write to the log, a dozen
//! times a commit, and that takes the writer's time. So nobody waits while events are gathered: they stay unread, and the
//! system joins those that are alike (<https://man7.org/linux/man-pages/man7/inotify.7.html>).

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

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
    names: Vec<OsString>,
}

impl Events {
    /// Watches the files of these names in `folder`, whether they are there or not. Fails where the system has no watch to
    /// spare, or the folder cannot be read.
    pub(super) fn of(folder: &Path, names: Vec<OsString>) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let changes = WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO;
        inotify::add_watch(&inotify, folder, changes)?;
        Ok(Self { inotify, names })
    }

    /// Waits for an event, for `longest` at most. Returns whether there was one.
    pub(super) fn wait(&self, longest: Duration) -> bool {
        if longest <= SHORT {
            std::thread::sleep(longest);
            return self.happened();
        }
        let time = Timespec::try_from(longest).ok();
        match poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], time.as_ref()) {
            Ok(0) => false,
            Ok(_) => {
                let concerned = self.happened();
                if concerned {
                    std::thread::sleep(GATHER);
                    self.happened();
                }
                concerned
            }
            Err(Errno::INTR) => false,
            Err(error) => {
                tracing::debug!(%error, "file events cannot be waited for");
                std::thread::sleep(longest);
                false
            }
        }
    }

    /// Whether anything happened to the files since this was last asked.
    fn happened(&self) -> bool {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        let mut events = Reader::new(&self.inotify, &mut buffer);
        let mut concerned = false;
        // Fails with WOULDBLOCK after the last one.
        while let Ok(event) = events.next() {
            let lost = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            let of = event.file_name().map(std::ffi::CStr::to_bytes);
            concerned |= lost || self.names.iter().any(|name| of == Some(name.as_bytes()));
        }
        concerned
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn events_of_the_named_files_are_told_once_and_those_of_others_never() {
        let folder = tempfile::tempdir().expect("a folder");
        let events = Events::of(folder.path(), vec!["a.db".into(), "a.db-wal".into()]).expect("watched");
        assert!(!events.happened());
        for _ in 0..3 {
            fs::write(folder.path().join("a.db-wal"), "a frame").expect("written");
        }
        assert!(events.wait(Duration::from_secs(60)));
        assert!(!events.happened(), "they were gathered");
        fs::write(folder.path().join("app.log"), "a line").expect("written");
        assert!(!events.wait(SHORT));
        fs::rename(folder.path().join("app.log"), folder.path().join("a.db")).expect("renamed");
        assert!(events.wait(Duration::ZERO));
        fs::remove_file(folder.path().join("a.db")).expect("removed");
        assert!(events.wait(Duration::ZERO));
    }

    #[test]
    fn a_folder_that_is_not_there_cannot_be_watched() {
        assert!(Events::of(Path::new("/nowhere/at/all"), Vec::new()).is_err());
    }
}
