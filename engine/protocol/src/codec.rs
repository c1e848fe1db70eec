//! Structs to bytes and back. The only user of bincode: everything it needs to be safe is here.
//!
//! A limit on what decoding may allocate (without it six bytes allocate gigabytes), and `used == length`
//! (bincode accepts trailing bytes). The length of a whole frame is checked by the caller before it gets here,
//! against [`MAX_FRAME_BYTES`](crate::message::MAX_FRAME_BYTES).

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// The most that decoding one header or message may claim to allocate, in bytes. Bodies are not decoded here.
pub(crate) const MAX_DECODED_BYTES: usize = 4 << 20;

/// Bytes that are not the struct they should be.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CodecError {
    /// bincode could not read them; the source says where it stopped.
    #[error("the bytes are not a message of this protocol version")]
    Malformed(#[source] Box<bincode::error::DecodeError>),
    /// Bytes were left over.
    #[error("{0} bytes are left over after a message")]
    Trailing(usize),
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<MAX_DECODED_BYTES>()
}

/// The bytes of `value`. Encoding a struct of this crate cannot fail: none has a field that bincode refuses.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, bincode::config::standard())
        .expect("structs of the protocol have no field that bincode refuses to encode")
}

/// The struct in `bytes`, all of them.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, used) = bincode::serde::decode_from_slice(bytes, config())
        .map_err(|error| CodecError::Malformed(Box::new(error)))?;
    if used == bytes.len() { Ok(value) } else { Err(CodecError::Trailing(bytes.len() - used)) }
}
