//! Who and where: replicas, spaces, writers, and the numbers of changesets.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

/// A text or number that cannot be an id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdError {
    /// Not a UUID, or the nil UUID.
    #[error("'{0}' is not a UUID")]
    NotAUuid(String),
    /// Not a space name; see [`SpaceName`].
    #[error(
        "'{0}' cannot name a space: use 1 to {max} letters, digits, '-', '_' or '.', not starting with '.'",
        max = SpaceName::MAX_LEN
    )]
    BadSpaceName(String),
    /// Zero, or 2^53 and more.
    #[error("{0} is not a writer id: it must lie between 1 and 2^53 - 1")]
    BadWriter(u64),
    /// Zero, or more than [`Seq::MAX`].
    #[error("{0} is not the number of a changeset: it must lie between 1 and 2^63 - 2")]
    BadSeq(u64),
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "[u8; 16]", into = "[u8; 16]")]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh random id (UUID version 4).
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }

            /// The 16 bytes of the UUID.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// From 16 bytes. Fails with [`IdError::NotAUuid`] on the nil UUID.
            pub fn from_bytes(bytes: [u8; 16]) -> Result<Self, IdError> {
                let uuid = Uuid::from_bytes(bytes);
                if uuid.is_nil() { Err(IdError::NotAUuid(uuid.to_string())) } else { Ok(Self(uuid)) }
            }

            /// From a slice, which must be 16 bytes long. Fails with [`IdError::NotAUuid`].
            pub fn from_slice(bytes: &[u8]) -> Result<Self, IdError> {
                let bytes = bytes.try_into().map_err(|_| IdError::NotAUuid(format!("{} bytes", bytes.len())))?;
                Self::from_bytes(bytes)
            }

            /// The first eight hex digits, for people to read.
            pub fn short(&self) -> String {
                self.0.simple().to_string()[..8].to_owned()
            }
        }

        impl TryFrom<[u8; 16]> for $name {
            type Error = IdError;
            fn try_from(bytes: [u8; 16]) -> Result<Self, IdError> {
                Self::from_bytes(bytes)
            }
        }

        impl From<$name> for [u8; 16] {
            fn from(id: $name) -> Self {
                *id.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let uuid = Uuid::parse_str(text).map_err(|_| IdError::NotAUuid(text.to_owned()))?;
                Self::from_bytes(*uuid.as_bytes())
            }
        }
    };
}

uuid_id! {
    /// One database file among the copies. A file that turns out to be a copy of another draws a new one.
    ReplicaId
}

uuid_id! {
    /// The identity of a space, drawn by whoever first opened it. A file remembers the space it belongs to and
    /// refuses another, so that a mistyped URL never merges two strangers' databases.
    SpaceId
}

/// The number of a changeset among those of its replica: 1, 2, 3 … without gaps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Seq(NonZeroU64);

impl Seq {
    /// The first changeset of a replica.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// The highest seq, 2^63 - 2. SQL has signed integers alone: a seq, and the number after it, fit in one.
    pub const MAX: u64 = (1 << 63) - 2;

    /// `number` as a seq; `None` for zero, and above [`Seq::MAX`].
    pub fn new(number: u64) -> Option<Self> {
        NonZeroU64::new(number).filter(|number| number.get() <= Self::MAX).map(Self)
    }

    /// The number itself, 1 to [`Seq::MAX`].
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The one after this; `None` past [`Seq::MAX`].
    pub fn next(self) -> Option<Self> {
        Self::new(self.get() + 1)
    }
}

impl TryFrom<u64> for Seq {
    type Error = IdError;
    fn try_from(number: u64) -> Result<Self, IdError> {
        Self::new(number).ok_or(IdError::BadSeq(number))
    }
}

impl From<Seq> for u64 {
    fn from(seq: Seq) -> Self {
        seq.get()
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The Yrs client id of one opening of the engine: random, below 2^53 (Yjs reads such ids), never zero, and
/// never used by two openings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WriterId(NonZeroU64);

impl WriterId {
    /// One more than the greatest writer id.
    pub const LIMIT: u64 = 1 << 53;

    /// `id` as a writer id. Fails with [`IdError::BadWriter`] on zero and from 2^53 on: Yrs would silently mask
    /// the higher bits away.
    pub fn new(id: u64) -> Result<Self, IdError> {
        match NonZeroU64::new(id) {
            Some(id) if id.get() < Self::LIMIT => Ok(Self(id)),
            _ => Err(IdError::BadWriter(id)),
        }
    }

    /// Folds any 64 random or hashed bits into a writer id.
    pub fn from_bits(bits: u64) -> Self {
        Self(NonZeroU64::new(bits & (Self::LIMIT - 1)).unwrap_or(NonZeroU64::MIN))
    }

    /// The id as a number.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a space, as it stands in a URL: `ws://host:port/<name>`. 1 to 128 ASCII letters, digits, `-`, `_`
/// and `.`, not starting with `.`; so it is safe in paths, subjects and logs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SpaceName(String);

impl SpaceName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 128;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SpaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SpaceName {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if (1..=Self::MAX_LEN).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError::BadSpaceName(text.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_names_that_could_leave_their_folder_or_subject_are_refused() {
        for bad in ["", ".", "..", ".hidden", "a/b", "a b", "*", ">", "ü", &"x".repeat(129)] {
            assert!(bad.parse::<SpaceName>().is_err(), "{bad}");
        }
        for good in ["notes", "a.b-c_D9", &"x".repeat(128)] {
            assert!(good.parse::<SpaceName>().is_ok(), "{good}");
        }
    }

    #[test]
    fn writer_ids_stay_below_two_to_the_53() {
        assert!(WriterId::new(0).is_err());
        assert!(WriterId::new(1 << 53).is_err());
        assert_eq!(WriterId::new((1 << 53) - 1).map(WriterId::get), Ok((1 << 53) - 1));
        assert_eq!(WriterId::from_bits(1 << 53).get(), 1);
        assert_eq!(WriterId::from_bits(u64::MAX).get(), (1 << 53) - 1);
    }

    #[test]
    fn seqs_and_the_numbers_after_them_fit_in_signed_integers() {
        assert_eq!(Seq::MAX + 1, i64::MAX.unsigned_abs());
        assert_eq!(Seq::new(Seq::MAX).map(Seq::get), Some(Seq::MAX));
        assert_eq!(Seq::new(Seq::MAX).and_then(Seq::next), None);
        for none in [0, Seq::MAX + 1, Seq::MAX + 2, u64::MAX] {
            assert_eq!(Seq::new(none), None);
            assert_eq!(Seq::try_from(none), Err(IdError::BadSeq(none)));
        }
    }

    #[test]
    fn the_nil_uuid_is_nobody() {
        assert!(ReplicaId::from_bytes([0; 16]).is_err());
        assert!("00000000-0000-0000-0000-000000000000".parse::<SpaceId>().is_err());
    }
}
