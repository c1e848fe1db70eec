//! File events elsewhere than on Linux, from the `notify` crate.

use std::ffi::OsString;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

/// How long events are gathered after the first.
const GATHER: Duration = Duration::from_millis(1);

/// Events of some files in one folder.
pub(super) struct Events {
    told: Receiver<()>,
    _watcher: RecommendedWatcher,
}

impl Events {
    /// Watches the files of these names in `folder`, whether they are there or not. Fails where the system does.
    pub(super) fn of(folder: &Path, names: Vec<OsString>) -> notify::Result<Self> {
        // One event that waits is as good as many: the channel holds one and further ones are dropped.
        let (tell, told) = sync_channel::<()>(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let concerns = |event: &notify::Event| {
                !event.kind.is_access()
                    && event
                        .paths
                        .iter()
                        .any(|path| path.file_name().is_some_and(|of| names.iter().any(|name| name == of)))
            };
            if event.as_ref().map_or(true, concerns) {
                let _ = tell.try_send(()); // one waits already
            }
        })?;
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(Self { told, _watcher: watcher })
    }

    /// Waits for an event, for `longest` at most. Returns whether there was one.
    pub(super) fn wait(&self, longest: Duration) -> bool {
        match self.told.recv_timeout(longest) {
            Ok(()) => {
                // A commit is several events.
                std::thread::sleep(GATHER);
                let _ = self.told.try_recv(); // there may be none
                true
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(longest);
                false
            }
        }
    }
}
