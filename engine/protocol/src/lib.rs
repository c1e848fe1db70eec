//! All that engine and relay of Driftless must agree on: ids, row keys, cells and lanes, changesets, state
//! vectors, messages, and which Yrs updates are let in. No I/O, no SQLite, no async: bytes in, values out.
//!
//! The way of one write, in the words of this crate: the engine captures a row into a *lane* ([`lane`]) of its
//! row document, sends the Yrs update under its [`RowKey`] in a [`Changeset`], numbered by [`Seq`]; the relay
//! stores the changeset unopened and passes it on; a receiver checks the update ([`validate`]) before Yrs sees
//! it. Who holds what is a [`StateVector`]. The conversation itself is [`message`].
//!
//! **Versions.** [`message::PROTOCOL_VERSION`] stands before every frame, [`changeset::BODY_VERSION`] before every
//! body, [`lane::LANE_VERSION`] before every lane. A change of any format raises its version; golden bytes in the
//! tests notice one that was not meant. Whoever meets a version it does not know refuses it and says so.

pub mod canonical;
pub mod changeset;
mod codec;
mod ids;
pub mod lane;
pub mod message;
mod presence;
mod row_key;
mod state_vector;
pub mod validate;
mod value;

pub use changeset::{Changeset, ChangesetHeader, FrameError, Part, SnapshotHeader, SnapshotPart};
pub use codec::CodecError;
pub use ids::{IdError, ReplicaId, Seq, SpaceId, SpaceName, WriterId};
pub use message::{ClientMessage, CloseCode, MessageError, RelayMessage};
pub use presence::{MAX_PRESENCE_BYTES, MAX_PRESENCES, Presence, PresenceTooLong};
pub use row_key::{Collation, KeyError, MAX_KEY_BYTES, RowKey};
pub use state_vector::{Gap, StateVector};
pub use value::Value;
