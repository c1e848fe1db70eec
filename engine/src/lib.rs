//! Keeps many copies of a SQLite database in agreement with no primary.
#![allow(dead_code)]

mod apply;
mod capture;
mod changes;
mod cloning;
mod config;
mod conflicts;
mod delivery;
mod engine;
mod error;
mod lock;
mod materialize;
mod replica;
mod row_doc;
mod schema;
mod snapshot;
mod status;
mod store;
mod sync;
mod tracking;

pub use changes::{ChangeFeed, ChangedRow, Changes, FeedEvent, Origin};
pub use cloning::clone;
pub use config::{Config, SyncConfig, TableOptions};
pub use conflicts::{Conflict, Written, conflicts};
pub use driftless_protocol::{ReplicaId, SpaceId, StateVector, Value};
pub use engine::Engine;
pub use error::{Error, Result};
pub use replica::{Selection, Tracked, track, untrack};
pub use row_doc::RowDocError;
pub use schema::eligibility::Refusal;
pub use status::{Contact, Status, TableStatus, Unsent, status};
pub use sync::worker::Health;
pub use sync::{Sync, SyncState};
