//! Keeps many copies of a SQLite database in agreement, with no primary.
//!
//! The app goes on using SQLite: its own connections, plain SQL, no extension. An [`Engine`] opens the same file, watches
//! what is written to the tables it was told to [track](Engine::track), and [syncs](Engine::sync) with a relay in the
//! background. Concurrent writes converge; where two collide, one is shown and the other kept in [`conflicts`].
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("app.db");
//! use driftless::{Config, Engine, FeedEvent, Origin, TableOptions};
//!
//! // The app's own database and connection.
//! let app = rusqlite::Connection::open(&path)?;
//! app.execute_batch("CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT)")?;
//!
//! let engine = Engine::open(&path, Config::default())?;
//! engine.track(&["notes"], TableOptions::default())?;
//! let mut changes = engine.changes()?;
//!
//! app.execute("INSERT INTO notes VALUES ('n1', 'buy milk')", [])?;
//!
//! let Some(FeedEvent::Changed(changed)) = changes.next_blocking() else { panic!("the engine stopped") };
//! assert_eq!(changed.origin, Origin::Local);
//! assert_eq!(changed.rows[0].table, "notes");
//! assert_eq!(driftless::status(&path)?.unsent.changesets, 2); // the table's definition, and the row
//! # Ok(())
//! # }
//! ```
//!
//! With a relay, two more lines: `let sync = engine.sync(SyncConfig::new("ws://127.0.0.1:7420/demo"))?;` and, to wait for
//! agreement, `sync.sync_now(timeout)?`.
//!
//! The words (replica, space, changeset, capture …) are defined in ARCHITECTURE.md.

mod address;
mod api;
mod config;
mod document;
mod env;
mod error;
mod file;
mod integrity;
mod replica;
mod schema;
#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod sim;
mod space_objects;
mod store;
mod sync;
mod turn;

pub use api::cloning::{Cloned, NOT_ASKED_FOR, clone_space, clone_space_with, space_objects};
pub use api::conflicts::{Conflict, Written, conflicts};
pub use api::engine::Engine;
pub use api::parked::{Parked, parked};
pub use api::setup::{
    Selection, Tracked, deny_rename, end_track_all, forget, is_initialized, rename_column, set_kind, track,
    untrack, untrack_all,
};
pub use config::{ColumnKind, Config, SyncConfig, TableOptions};
pub use document::affinity::Affinity;
pub use document::json::to_json;
pub use document::row::RowDocError;
pub use document::text::{TextDocError, merge_text};
pub use driftless_protocol::{ReplicaId, SpaceId, StateVector, Value};
pub use error::refusal::{KindRefusal, Refusal};
pub use error::{Error, OtherSpace, Result};
pub use file::notice::{RunningConnection, RunningEngine};
pub use file::state::{Health, SyncState};
pub use integrity::{Check, Difference, Verification, VerifyOptions, verify, verify_telling};
pub use replica::status::{Contact, Rebuilt, Status, TableStatus, Unsent, Untracked, Waits, status};
pub use space_objects::{LeftOut, ObjectKind, RenamedIndex, SpaceObject};
pub use sync::SyncHandle;
pub use turn::changes::{ChangeFeed, ChangedRow, Changes, FeedEvent, Origin};
