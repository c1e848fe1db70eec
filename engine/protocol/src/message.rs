//! What engine and relay say to each other. One WebSocket binary message is one *frame*: protocol version (one
//! byte), tag (one byte), payload.
//!
//! ```text
//! engine                                        relay
//!   Hello { space, replica, vector … }  ───►      is the space the one the file belongs to?
//!                                       ◄───    Welcome { space, heads, own }
//!   Changeset … (what the relay lacks)  ───►      stores it durably, then
//!                                       ◄───    Stored { seq }
//!                                       ◄───    Changeset … (what the engine lacks, then all that comes)
//!   SnapshotPart … (the relay lost data)───►
//!                                       ◄───    SnapshotStored
//!   AskHeads { nonce }                  ───►
//!                                       ◄───    Heads { nonce, heads }
//!   Presence (who is here)              ───►      keeps it in memory while this connection lasts
//!                                       ◄───    Presence { replica } of the others who are there
//! ```
//!
//! Changesets and parts of snapshots have the same bytes in both directions, so a relay passes on the very bytes
//! it was given, with the checksum of their author in them. All other frames end with a checksum, eight bytes of BLAKE3 over
//! what is before: where there is no TLS, a bit that the network flips could else acknowledge what was never stored.
//!
//! A [`Presence`] is at most [`MAX_PRESENCE_BYTES`](crate::MAX_PRESENCE_BYTES) of the app's own. A relay passes the latest of
//! each replica on to whoever is connected to the space then or later, and an empty one when the connection ends that said it.
//!
//! Refusals are WebSocket close frames with a [`CloseCode`] and a sentence.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::changeset::{Changeset, Checksum, FrameError, MAX_BODY_BYTES, SnapshotPart};
use crate::codec::{self, CodecError};
use crate::ids::{ReplicaId, Seq, SpaceId};
use crate::presence::{Presence, PresenceTooLong};
use crate::state_vector::StateVector;

/// The version of everything in this crate that travels. A peer of another version is refused.
pub const PROTOCOL_VERSION: u8 = 1;

/// The largest frame, in bytes: a body that did not compress, its header, and room for its state vector.
pub const MAX_FRAME_BYTES: usize = MAX_BODY_BYTES + (5 << 20);

/// The checksum at the end of a frame that is neither a changeset nor a part of a snapshot.
const CHECKSUM_BYTES: usize = 8;
/// A replica id, as it stands before a presence.
const REPLICA_BYTES: usize = 16;

const HELLO: u8 = 1;
const ASK_HEADS: u8 = 2;
const PRESENCE: u8 = 3;
const WELCOME: u8 = 16;
const STORED: u8 = 17;
const SNAPSHOT_STORED: u8 = 18;
const HEADS: u8 = 19;
const PRESENCE_OF: u8 = 20;
const CHANGESET: u8 = 32;
const SNAPSHOT_PART: u8 = 33;

/// The first thing an engine says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The space this file belongs to; `None` if it belongs to none yet.
    pub space: Option<SpaceId>,
    /// The id to give to the space if the relay does not have it yet and `space` is `None`. `None` from someone
    /// who only wants an existing one: the relay then answers [`CloseCode::NoSuchSpace`].
    pub propose: Option<SpaceId>,
    /// Who is speaking.
    pub replica: ReplicaId,
    /// What this replica holds. The relay sends what it lacks.
    pub vector: StateVector,
    /// A token that grants access, where the relay asks for one.
    pub token: Option<String>,
}

/// The last changeset that a relay holds of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its number.
    pub seq: Seq,
    /// Its checksum; `None` where the relay has it only as part of a snapshot.
    pub checksum: Option<Checksum>,
}

/// A relay's answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The id of the space; the file belongs to it from now on.
    pub space: SpaceId,
    /// Everything that the relay holds. The engine sends what it lacks.
    pub heads: StateVector,
    /// What the relay holds under the name of this very replica. A file that never wrote that is a copy of
    /// another and must take a new name.
    pub own: Option<Head>,
}

/// From engine to relay.
#[derive(Debug, Clone)]
pub enum ClientMessage {
    /// Opens the conversation.
    Hello(Hello),
    /// Asks for [`RelayMessage::Heads`] with the same number.
    AskHeads(u64),
    /// A changeset of the engine's own.
    Changeset(Changeset),
    /// A part of a snapshot, for a relay that lacks what the engine can no longer send as changesets.
    SnapshotPart(SnapshotPart),
    /// What the others may know of this replica from now on, for as long as the connection lasts.
    Presence(Presence),
}

/// From relay to engine.
#[derive(Debug, Clone)]
pub enum RelayMessage {
    /// Answers [`Hello`].
    Welcome(Welcome),
    /// Everything of this replica up to and including this number is on the relay's disk.
    Stored(Seq),
    /// All of the snapshot with this number is on the relay's disk.
    SnapshotStored([u8; 16]),
    /// Everything that the relay held when it was asked.
    Heads {
        /// The number of the question.
        nonce: u64,
        /// What the relay held.
        heads: StateVector,
    },
    /// A changeset of somebody.
    Changeset(Changeset),
    /// A part of a snapshot.
    SnapshotPart(SnapshotPart),
    /// What another replica lets know of it; empty when it does no longer, or is gone.
    Presence {
        /// The other.
        replica: ReplicaId,
        /// What it lets know.
        presence: Presence,
    },
}

/// Why a frame is refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Shorter than its two leading bytes.
    #[error("the frame is empty")]
    Empty,
    /// Longer than [`MAX_FRAME_BYTES`].
    #[error("the frame has {0} bytes, more than the {MAX_FRAME_BYTES} allowed")]
    TooLarge(usize),
    /// Another version of the protocol.
    #[error(
        "the other side speaks protocol version {0}, this one {PROTOCOL_VERSION}: upgrade the older of the two"
    )]
    Version(u8),
    /// A tag that does not exist, or not in this direction.
    #[error("a message with the unknown tag {0}")]
    Tag(u8),
    /// The payload does not decode.
    #[error(transparent)]
    Payload(#[from] CodecError),
    /// The frame is not what was sent.
    #[error("the checksum of a message does not fit: it was damaged on its way")]
    Checksum,
    /// A changeset or a part of a snapshot is malformed.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A presence is too long.
    #[error(transparent)]
    Presence(#[from] PresenceTooLong),
}

impl MessageError {
    /// The close code to refuse such a frame with.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::Version(_) => CloseCode::UnsupportedVersion,
            Self::TooLarge(_) | Self::Frame(FrameError::TooLarge(_)) | Self::Presence(_) => {
                CloseCode::TooLarge
            }
            Self::Checksum | Self::Frame(FrameError::Checksum) => CloseCode::Damaged,
            _ => CloseCode::Malformed,
        }
    }
}

fn payload(frame: &Bytes) -> Result<(u8, Bytes), MessageError> {
    if frame.len() > MAX_FRAME_BYTES {
        return Err(MessageError::TooLarge(frame.len()));
    }
    match frame[..] {
        [] => Err(MessageError::Empty),
        [version, ..] if version != PROTOCOL_VERSION => Err(MessageError::Version(version)),
        [_] => Err(MessageError::Empty),
        [_, tag, ..] => Ok((tag, frame.slice(2..))),
    }
}

fn frame(tag: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(2 + payload.len());
    frame.put_u8(PROTOCOL_VERSION);
    frame.put_u8(tag);
    frame.put_slice(payload);
    frame.freeze()
}

/// A frame that ends with a checksum.
fn sealed(tag: u8, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::from(frame(tag, payload));
    let checksum = checksum(&frame);
    frame.put_slice(&checksum);
    frame.freeze()
}

/// The payload of such a frame, if that is what it was.
fn opened(frame: &Bytes) -> Result<Bytes, MessageError> {
    let (sealed, theirs) = frame.split_last_chunk().ok_or(MessageError::Checksum)?;
    if sealed.len() < 2 || checksum(sealed) != *theirs {
        return Err(MessageError::Checksum);
    }
    Ok(frame.slice(2..sealed.len()))
}

fn checksum(frame: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&blake3::hash(frame).as_bytes()[..CHECKSUM_BYTES]);
    checksum
}

/// The frame of a changeset, the same from either side. `changeset` is [`Changeset::bytes`].
pub fn changeset_frame(changeset: &[u8]) -> Bytes {
    frame(CHANGESET, changeset)
}

/// The frame of a part of a snapshot, the same from either side. `part` is [`SnapshotPart::bytes`].
pub fn snapshot_part_frame(part: &[u8]) -> Bytes {
    frame(SNAPSHOT_PART, part)
}

impl ClientMessage {
    /// The frame to send.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Hello(hello) => sealed(HELLO, &codec::encode(hello)),
            Self::AskHeads(nonce) => sealed(ASK_HEADS, &codec::encode(nonce)),
            Self::Changeset(changeset) => changeset_frame(changeset.bytes()),
            Self::SnapshotPart(part) => snapshot_part_frame(part.bytes()),
            Self::Presence(presence) => sealed(PRESENCE, presence.as_bytes()),
        }
    }

    /// Reads a frame from an engine. Bodies stay closed. Fails with [`MessageError`].
    pub fn decode(frame: Bytes) -> Result<Self, MessageError> {
        let (tag, payload) = payload(&frame)?;
        Ok(match tag {
            HELLO => Self::Hello(codec::decode(&opened(&frame)?)?),
            ASK_HEADS => Self::AskHeads(codec::decode(&opened(&frame)?)?),
            PRESENCE => Self::Presence(Presence::new(opened(&frame)?)?),
            CHANGESET => Self::Changeset(Changeset::from_bytes(payload)?),
            SNAPSHOT_PART => Self::SnapshotPart(SnapshotPart::from_bytes(payload)?),
            _ => return Err(MessageError::Tag(tag)),
        })
    }
}

impl RelayMessage {
    /// The frame to send.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Welcome(welcome) => sealed(WELCOME, &codec::encode(welcome)),
            Self::Stored(seq) => sealed(STORED, &codec::encode(seq)),
            Self::SnapshotStored(snapshot) => sealed(SNAPSHOT_STORED, &codec::encode(snapshot)),
            Self::Heads { nonce, heads } => sealed(HEADS, &codec::encode(&(nonce, heads))),
            Self::Changeset(changeset) => changeset_frame(changeset.bytes()),
            Self::SnapshotPart(part) => snapshot_part_frame(part.bytes()),
            Self::Presence { replica, presence } => {
                sealed(PRESENCE_OF, &[replica.as_bytes(), presence.as_bytes()].concat())
            }
        }
    }

    /// Reads a frame from a relay. Bodies stay closed. Fails with [`MessageError`].
    pub fn decode(frame: Bytes) -> Result<Self, MessageError> {
        let (tag, payload) = payload(&frame)?;
        Ok(match tag {
            WELCOME => Self::Welcome(codec::decode(&opened(&frame)?)?),
            STORED => Self::Stored(codec::decode(&opened(&frame)?)?),
            SNAPSHOT_STORED => Self::SnapshotStored(codec::decode(&opened(&frame)?)?),
            HEADS => {
                let (nonce, heads) = codec::decode(&opened(&frame)?)?;
                Self::Heads { nonce, heads }
            }
            PRESENCE_OF => {
                let mut presence = opened(&frame)?;
                let replica = presence.split_to(presence.len().min(REPLICA_BYTES));
                Self::Presence { replica: codec::decode(&replica)?, presence: Presence::new(presence)? }
            }
            CHANGESET => Self::Changeset(Changeset::from_bytes(payload)?),
            SNAPSHOT_PART => Self::SnapshotPart(SnapshotPart::from_bytes(payload)?),
            _ => return Err(MessageError::Tag(tag)),
        })
    }
}

/// Why a connection is closed, as the code of a WebSocket close frame; its reason is a sentence for people.
///
/// 4400 to 4499 are permanent: the same attempt would fail again, so the engine stops and tells its user.
/// After everything else it tries again, later each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseCode {
    /// 1000: the conversation is over.
    Normal,
    /// 1001: the relay is shutting down.
    GoingAway,
    /// 4400: a frame that is not one of this protocol, or a message out of place.
    Malformed,
    /// 4401: no token, or one that does not hold.
    Unauthorized,
    /// 4404: there is no such space and none was to be made.
    NoSuchSpace,
    /// 4409: the file belongs to another space.
    WrongSpace,
    /// 4410: another version of the protocol.
    UnsupportedVersion,
    /// 4413: a frame or body over the limit.
    TooLarge,
    /// 4500: something failed inside the relay, its disk perhaps.
    Internal,
    /// 4502: changesets came with one missing between. The engine sends again from what the relay holds.
    Gap,
    /// 4503: the reader was too slow. It catches up by its state vector when it reconnects.
    SlowReader,
    /// 4504: nothing was heard for too long.
    Silent,
    /// 4505: what came is not what was sent; its checksum does not fit.
    Damaged,
    /// 4508: too many connections.
    Busy,
    /// 4509: the relay holds other content under this replica and seq. The file is a copy of another: it takes a
    /// new name and comes back.
    Forked,
    /// Any other code.
    Other(u16),
}

impl CloseCode {
    const TABLE: [(Self, u16); 16] = [
        (Self::Normal, 1000),
        (Self::GoingAway, 1001),
        (Self::Malformed, 4400),
        (Self::Unauthorized, 4401),
        (Self::NoSuchSpace, 4404),
        (Self::WrongSpace, 4409),
        (Self::UnsupportedVersion, 4410),
        (Self::TooLarge, 4413),
        (Self::Internal, 4500),
        (Self::Gap, 4502),
        (Self::SlowReader, 4503),
        (Self::Silent, 4504),
        (Self::Damaged, 4505),
        (Self::Busy, 4508),
        (Self::Forked, 4509),
        (Self::Other(0), 0),
    ];

    /// The number on the wire.
    pub fn number(self) -> u16 {
        match self {
            Self::Other(number) => number,
            known => Self::TABLE.iter().find(|(code, _)| *code == known).map_or(1000, |&(_, number)| number),
        }
    }

    /// The code of a number.
    pub fn from_number(number: u16) -> Self {
        let known = Self::TABLE.iter().find(|&&(code, n)| n == number && !matches!(code, Self::Other(_)));
        known.map_or(Self::Other(number), |&(code, _)| code)
    }

    /// Whether trying again would fail again.
    pub fn is_permanent(self) -> bool {
        (4400..4500).contains(&self.number())
    }
}
