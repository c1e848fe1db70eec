//! The relay of Driftless: keeps the changesets of every replica, and passes them on.
//!
//! What it promises:
//!
//! - **Acknowledged means on disk.** `Stored` is said after the commit and its fsync, never before.
//! - **Nobody is skipped.** Every engine is sent all that it lacks, in the log's order, at its own pace. One that
//!   does not read is disconnected with a code that says so, and goes on from its state vector later.
//! - **What is fanned out is what the log gave back**, never what some connection handed in.
//! - **Every queue is bounded**, and one bad connection affects neither another space nor another engine.
//!
//! What it never looks at: the bodies of changesets. It knows spaces, replicas, seqs and state vectors.
//!
//! The way through: [`server`](Relay) accepts and upgrades; a [`connection`] carries frames to its
//! [session](connection::session), a state machine without I/O; the session asks the [`log`] to store, and reads
//! from it through a [`room`], which reads what is new once for all its members.
//!
//! ```no_run
//! # async fn example() -> Result<(), driftless_relay::Error> {
//! use driftless_relay::{Config, Relay, Storage};
//!
//! let config = Config { storage: Storage::Folder("data".into()), ..Config::default() };
//! let relay = Relay::start(config).await?;
//! println!("ws://{}/my-space", relay.local_addr());
//! relay.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod config;
pub mod connection;
pub mod defaults;
mod error;
pub mod log;
pub mod room;
mod server;

pub use config::{Config, Limits, Storage};
pub use error::Error;
pub use server::Relay;
