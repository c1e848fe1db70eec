//! What a replica lets the others of its space know of it while it is connected: who has this note open, where the
//! cursor is. Bytes of the app's, that neither engine nor relay looks into. They are never stored.

use bytes::Bytes;
use thiserror::Error;

/// The largest presence, in bytes.
pub const MAX_PRESENCE_BYTES: usize = 1024;

/// The most presences that a space has at a time. Relay and engine pass over what comes beyond.
pub const MAX_PRESENCES: usize = 1000;

/// What one replica shows of itself, at most [`MAX_PRESENCE_BYTES`]; empty if nothing, or nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Presence(Bytes);

/// More bytes than a [`Presence`] may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a presence of {0} bytes, more than the {MAX_PRESENCE_BYTES} allowed")]
pub struct PresenceTooLong(pub usize);

impl Presence {
    /// A presence of these bytes. Fails with [`PresenceTooLong`].
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, PresenceTooLong> {
        let bytes = bytes.into();
        if bytes.len() > MAX_PRESENCE_BYTES { Err(PresenceTooLong(bytes.len())) } else { Ok(Self(bytes)) }
    }

    /// Nothing, or nothing any more.
    pub const fn none() -> Self {
        Self(Bytes::new())
    }

    /// Whether it says nothing.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The app's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
