//! What can go wrong in a relay, and the one place where a failure becomes a close code.
//!
//! Three kinds stay apart: mistakes of whoever configured the relay ([`Error::is_usage`]), the outside world (disk
//! and network), and what a peer did wrong ([`LogError`] and the session's own refusals), which never stops more
//! than that peer's connection.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use driftless_protocol::{CloseCode, ReplicaId, Seq, SpaceId, SpaceName};
use thiserror::Error;

/// Why a relay does not start, or did not stop as it should.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The address to listen on can be reached from other machines.
    #[error(
        "refusing to listen on {0}: access tokens are not there yet, so anybody who reaches this address could \
         read and write every space. Listen on a loopback address such as 127.0.0.1:7420"
    )]
    NotLoopback(SocketAddr),
    /// A setting that cannot work.
    #[error("{0}")]
    Setting(String),
    /// The address is taken, or not one of this machine.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The data folder cannot be made, read or written.
    #[error("cannot use {path}")]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another relay holds the data folder.
    #[error("another relay is using the data folder {0}: two must never share one")]
    Locked(PathBuf),
    /// The log's file belongs to another program, or is not a database at all.
    #[error("{path} is not the log of a Driftless relay: {reason}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        reason: String,
    },
    /// The log's file was written by a newer relay.
    #[error("{path} has format {found}, this relay knows formats up to {known}: upgrade the relay")]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format known here.
        known: i64,
    },
    /// The log's file is damaged, or SQLite cannot open it.
    #[error("cannot open {path}; if it is damaged, restore it from a backup or move it away")]
    Store {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

impl Error {
    /// Whether the person who started the relay gave invalid arguments.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::NotLoopback(_) | Self::Setting(_))
    }
}

/// Why a [`LogStore`](crate::log::LogStore) refuses or fails. Whatever it is, nothing was changed.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum LogError {
    /// There is no such space, and none was to be made.
    #[error("there is no space '{0}' here")]
    NoSuchSpace(SpaceName),
    /// The space has another id than the file remembers.
    #[error(
        "{}'{space}' is another space here than the one the file belongs to",
        known_as.as_ref().map(|name| format!("did you mean '{name}'? ")).unwrap_or_default()
    )]
    WrongSpace {
        /// The name of the space.
        space: SpaceName,
        /// The id it has here.
        stored: SpaceId,
        /// The id that was expected.
        known: SpaceId,
        /// The name of the space here that has that id, if there is one.
        known_as: Option<SpaceName>,
    },
    /// There is no such space, and the one that the file belongs to has another name here.
    #[error(
        "did you mean '{known_as}'? the file belongs to that space, and there is no space '{space}' here"
    )]
    OtherName {
        /// The name that was asked for.
        space: SpaceName,
        /// The name of the file's space here.
        known_as: SpaceName,
    },
    /// Other content is stored under this replica and seq.
    #[error("changeset {seq} of replica {} is stored with other content", replica.short())]
    Forked {
        /// Whose changeset.
        replica: ReplicaId,
        /// Its number.
        seq: Seq,
    },
    /// A changeset between the last one held and this one is missing.
    #[error("changeset {got} of replica {} does not follow {held}, the last one held", replica.short())]
    Gap {
        /// Whose changeset.
        replica: ReplicaId,
        /// The last one held; 0 for none.
        held: u64,
        /// The one that came.
        got: Seq,
    },
    /// A part of a snapshot out of place.
    #[error("{0}")]
    Snapshot(&'static str),
    /// A snapshot over the limit.
    #[error("the snapshot has more than the {limit} bytes allowed")]
    SnapshotTooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// Unfinished snapshots of all connections together are over the limit.
    #[error("too many snapshots are being uploaded, try again later")]
    UploadsFull,
    /// The disk, or SQLite, failed.
    #[error("the relay could not use its disk")]
    Storage(#[source] Arc<rusqlite::Error>),
    /// The file was removed or replaced under the running relay; what is written now would be lost.
    #[error("the file of the relay's log was removed or replaced")]
    FileGone,
    /// The store is closed.
    #[error("the relay's log is closed")]
    Closed,
}

impl From<rusqlite::Error> for LogError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(Arc::new(error))
    }
}

impl LogError {
    /// Whether the store failed, rather than the request.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Storage(_) | Self::FileGone | Self::Closed)
    }

    /// The close code for whoever asked.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::NoSuchSpace(_) => CloseCode::NoSuchSpace,
            Self::WrongSpace { .. } | Self::OtherName { .. } => CloseCode::WrongSpace,
            Self::Forked { .. } => CloseCode::Forked,
            Self::Gap { .. } => CloseCode::Gap,
            Self::Snapshot(_) => CloseCode::Malformed,
            Self::SnapshotTooLarge { .. } => CloseCode::TooLarge,
            Self::UploadsFull => CloseCode::Busy,
            Self::Storage(_) | Self::FileGone => CloseCode::Internal,
            Self::Closed => CloseCode::GoingAway,
        }
    }
}
