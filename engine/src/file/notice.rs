//! What a running engine lets others know of itself: a line of JSON in its lock file, written when something changes. It is
//! no part of the database, so that telling costs the app no commit. Readers take whatever they cannot read for nothing.
//!
//! The file outlasts the engine, and a database that is replaced. So it also tells with which relay a database of this path
//! was last synced, and when that was last heard; and up to which number changesets of its have left this machine, so that a
//! database that was put back to an earlier state is known by that, whatever the relay has forgotten.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::sync::{Arc, Mutex, PoisonError};

use driftless_protocol::ReplicaId;
use serde::{Deserialize, Serialize};

use crate::env::now;
use crate::file::state::{Health, SyncState};

/// More than that is no notice, in bytes.
const LONGEST: u64 = 64 << 10;
/// How often at most it is written that the relay was heard, in milliseconds.
const HEARD_EVERY: i64 = 1_000;

/// An engine that is running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunningEngine {
    /// The process; 0 if that is not known.
    pub pid: u32,
    /// Since when it runs, in milliseconds since 1970.
    #[serde(default)]
    pub since: i64,
    /// How its thread is: `well`, `busy` while others hold the write lock, `ailing` while its turns fail.
    #[serde(default = "well")]
    pub health: String,
    /// What failed last, while it is not well.
    #[serde(default)]
    pub why: Option<String>,
    /// The connection to the relay; `None` while it does not sync.
    #[serde(default)]
    pub connection: Option<RunningConnection>,
}

/// The connection of a running engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunningConnection {
    /// The relay and the space.
    pub url: String,
    /// `online`, `offline` or `refused`.
    pub state: String,
    /// Since when it is in that state, in milliseconds since 1970.
    pub since: i64,
    /// What the last attempt failed with.
    #[serde(default)]
    pub why: Option<String>,
}

/// The relay that a database was last synced with. It stays when the engine ends, for the next one to keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastSync {
    /// The relay and the space.
    pub(crate) url: String,
    /// When it was last heard, in milliseconds since 1970.
    pub(crate) heard: i64,
}

/// The last number that each replica, which the database of this path has been, has sent; the replica that it was last stands last. It
/// stays when the engine ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Sent(Vec<(String, u64)>);

impl Sent {
    /// How many replicas are remembered.
    const MOST: usize = 32;

    /// The last number that this replica has sent; 0 if that is not known.
    pub(crate) fn by(&self, replica: ReplicaId) -> u64 {
        let replica = replica.to_string();
        self.0.iter().find(|(known, _)| *known == replica).map_or(0, |(_, seq)| *seq)
    }

    fn set(&mut self, replica: ReplicaId, seq: u64) {
        let replica = replica.to_string();
        self.0.retain(|(known, _)| *known != replica);
        self.0.push((replica, seq));
        self.0.drain(..self.0.len().saturating_sub(Self::MOST));
    }
}

/// All that a lock file says.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    engine: &'a RunningEngine,
    last_sync: Option<&'a LastSync>,
    sent: &'a Sent,
}

fn well() -> String {
    "well".to_owned()
}

impl RunningEngine {
    fn of_this_process() -> Self {
        Self { pid: std::process::id(), since: now(), health: well(), why: None, connection: None }
    }

    /// Understands what a lock file holds: this, or the bare number of a process that older versions wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        match serde_json::from_str(text) {
            Ok(known) => Some(known),
            Err(_) => text.parse().ok().map(|pid| Self { pid, ..Self::unknown() }),
        }
    }

    /// One of which nothing is known but that it runs.
    pub(crate) fn unknown() -> Self {
        Self { pid: 0, since: 0, health: well(), why: None, connection: None }
    }
}

/// Where a running engine writes its notice. Clones write the same.
#[derive(Debug, Clone)]
pub(crate) struct Notice(Arc<Mutex<Open>>);

#[derive(Debug)]
struct Open {
    /// `None` once the lock is let go: from then on the file is another engine's.
    file: Option<File>,
    said: RunningEngine,
    last_sync: Option<LastSync>,
    sent: Sent,
    /// How many bytes the file has.
    len: usize,
}

impl Notice {
    /// Begins a notice in the lock file, which this process holds.
    pub(crate) fn begin(mut file: File) -> Self {
        let text = read(&mut file);
        let (last_sync, sent) = (last_sync(&text), part(&text, "sent").unwrap_or_default());
        let said = RunningEngine::of_this_process();
        let len = file.metadata().map_or(0, |metadata| metadata.len());
        if len > LONGEST {
            let _ = file.set_len(0); // nothing that we wrote
        }
        let mut open = Open { file: Some(file), said, last_sync, sent, len: len.min(LONGEST) as usize };
        open.write();
        Self(Arc::new(Mutex::new(open)))
    }

    /// The address that a database of this path was last synced with.
    pub(crate) fn last_url(&self) -> Option<String> {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.last_sync.as_ref().map(|last| last.url.clone())
    }

    /// Writes nothing more: the lock is about to be let go.
    pub(crate) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).file = None;
    }

    /// Goes on in another file: somebody removed the one before.
    pub(crate) fn move_to(&self, file: File) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (open.file, open.len) = (Some(file), 0);
        open.write();
    }

    /// Says how the connection is.
    pub(crate) fn connection(&self, url: &str, state: &SyncState) {
        let (state, why) = match state {
            SyncState::Online => ("online", None),
            SyncState::Offline { why, .. } => ("offline", Some(why.clone())),
            SyncState::Refused(why) => ("refused", Some(why.clone())),
            SyncState::Connecting | SyncState::Stopped => ("offline", None),
        };
        let is_over = matches!(state, "offline") && why.is_none();
        self.change(|said| {
            let before = said.connection.take();
            let same = before.as_ref().filter(|before| before.state == state && before.url == url);
            let since = same.map_or_else(now, |before| before.since);
            // Connecting again is no news: what the last attempt failed with still holds.
            let why = if is_over { same.and_then(|before| before.why.clone()) } else { why };
            said.connection =
                Some(RunningConnection { url: url.to_owned(), state: state.to_owned(), since, why });
        });
    }

    /// Says that the relay was heard just now.
    pub(crate) fn heard(&self, url: &str) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = now();
        // The difference in either direction: the clock may have been set back, and the file may contain any number.
        let apart = |last: &LastSync| heard.saturating_sub(last.heard).saturating_abs();
        let is_news = |last: &LastSync| last.url != url || apart(last) >= HEARD_EVERY;
        if open.last_sync.as_ref().is_none_or(is_news) {
            open.last_sync = Some(LastSync { url: url.to_owned(), heard });
            open.write();
        }
    }

    /// The last numbers that databases of this path have sent.
    pub(crate) fn sent(&self) -> Sent {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sent.clone()
    }

    /// Says that changesets up to this number are about to be sent.
    pub(crate) fn sends(&self, replica: ReplicaId, seq: u64) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.sent.by(replica) < seq {
            open.sent.set(replica, seq);
            open.write();
        }
    }

    /// Says that it does not sync any more.
    pub(crate) fn no_connection(&self) {
        self.change(|said| said.connection = None);
    }

    /// Says how the engine's thread is.
    pub(crate) fn health(&self, health: &Health) {
        let (name, why) = match health {
            Health::Well => ("well", None),
            Health::Busy(_) => ("busy", None),
            Health::Ailing(why) => ("ailing", Some(why.clone())),
            Health::Stopped(why) => ("stopped", why.clone()),
        };
        self.change(|said| (said.health, said.why) = (name.to_owned(), why));
    }

    fn change(&self, change: impl FnOnce(&mut RunningEngine)) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = open.said.clone();
        change(&mut open.said);
        if open.said != before {
            open.write();
        }
    }
}

impl Open {
    fn write(&mut self) {
        let Some(file) = &mut self.file else { return };
        let line = Line { engine: &self.said, last_sync: self.last_sync.as_ref(), sent: &self.sent };
        let Ok(mut text) = serde_json::to_string(&line) else { return };
        // In one write, over all that was there: whoever is killed leaves one line or the other, and nobody reads a mixture.
        text.extend(std::iter::repeat_n(' ', self.len.saturating_sub(text.len())));
        if file.rewind().and_then(|()| file.write_all(text.as_bytes())).is_ok() {
            self.len = text.len();
        }
    }
}

/// What a lock file says; empty if it cannot be read.
pub(crate) fn read(file: &mut File) -> String {
    let mut text = Vec::new();
    let read = file.rewind().and_then(|()| file.take(LONGEST).read_to_end(&mut text));
    read.ok().and_then(|_| String::from_utf8(text).ok()).unwrap_or_default()
}

/// The relay that the text of a lock file names as the last one.
pub(crate) fn last_sync(text: &str) -> Option<LastSync> {
    part(text, "last_sync")
}

fn part<T: serde::de::DeserializeOwned>(text: &str, name: &str) -> Option<T> {
    let line: serde_json::Value = serde_json::from_str(text.trim()).ok()?;
    serde_json::from_value(line.get(name)?.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn open(path: &Path) -> File {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path);
        file.expect("a file")
    }

    #[test]
    fn a_notice_is_read_back_and_garbage_is_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        let notice = Notice::begin(open(&path));
        notice.connection("ws://relay/a", &SyncState::Online);
        notice.health(&Health::Ailing("the disk is full".into()));
        let said = || RunningEngine::parse(&read(&mut File::open(&path).expect("a file"))).expect("a notice");
        assert_eq!((said().pid, said().health.as_str()), (std::process::id(), "ailing"));
        assert_eq!(said().connection.expect("connected").state, "online");
        notice.end();
        notice.no_connection();
        assert!(said().connection.is_some(), "written after the end");

        assert_eq!(RunningEngine::parse("4711\n").map(|engine| engine.pid), Some(4711));
        for garbage in ["", "{", "\u{0}", "{\"pid\":-1}", "{\"pid\":\"x\"}", "[]", "nonsense"] {
            assert_eq!(RunningEngine::parse(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn the_relay_that_was_heard_last_is_said_after_the_engine_has_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        let open = || open(&path);
        let said = || last_sync(&read(&mut open()));
        let notice = Notice::begin(open());
        assert_eq!(said(), None);
        notice.heard("ws://relay/a");
        let heard = said().expect("it was heard");
        assert_eq!(heard.url, "ws://relay/a");
        notice.end();
        let next = Notice::begin(open());
        assert_eq!(said().as_ref(), Some(&heard), "the next engine keeps it");
        next.heard("ws://relay/b");
        assert_eq!(said().map(|last| last.url).as_deref(), Some("ws://relay/b"));
        for garbage in ["", "4711", "{\"last_sync\":7}", "{\"last_sync\":{\"url\":1}}"] {
            assert_eq!(last_sync(garbage), None, "{garbage}");
        }
        let impossible = format!("{{\"last_sync\":{{\"url\":\"ws://relay/b\",\"heard\":{}}}}}", i64::MIN);
        std::fs::write(&path, impossible).expect("written");
        Notice::begin(open()).heard("ws://relay/b");
        assert!(said().is_some_and(|last| last.heard >= heard.heard));
    }

    #[test]
    fn how_far_a_database_has_sent_is_known_to_the_next_engine_also_of_what_it_was_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        let open = || open(&path);
        std::fs::write(&path, [0xff; 3000]).expect("written");
        let (first, second) = (ReplicaId::random(), ReplicaId::random());
        let notice = Notice::begin(open());
        notice.health(&Health::Ailing("a long reason ".repeat(200)));
        notice.sends(first, 7);
        notice.sends(first, 6);
        notice.sends(second, 1);
        notice.health(&Health::Well);
        notice.end();
        let next = Notice::begin(open()).sent();
        assert_eq!([next.by(first), next.by(second), next.by(ReplicaId::random())], [7, 1, 0]);
    }

    #[test]
    fn what_an_attempt_failed_with_is_said_until_one_succeeds_and_since_when() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = File::create_new(folder.path().join("lock")).expect("a file");
        let notice = Notice::begin(file);
        let said = || notice.0.lock().expect("no panic").said.connection.clone().expect("a connection");
        let offline = SyncState::Offline { why: "refused".into(), retry_in: Default::default() };
        notice.connection("ws://relay/a", &offline);
        let first = said();
        notice.connection("ws://relay/a", &SyncState::Connecting);
        assert_eq!(said(), first);
        notice.connection("ws://relay/a", &SyncState::Online);
        assert_eq!((said().state.as_str(), said().why), ("online", None));
    }
}
