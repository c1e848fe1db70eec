//! How a file opens the space at an address.
//!
//! A relay makes a space that it does not have. Were that always allowed, a mistyped name would make a space in which the file is
//! alone, and nobody would notice. So a file that was synced before has a space made only under the name that the
//! space had then, on whatever relay: one that is new or has lost its data is filled. Under another name
//!
//! - a file that belongs to a space joins the one at the address only if it is there and has the same id;
//! - a file that belongs to none, because it lost what it knew (a backup from before it was tracked), is refused: nothing tells
//!   whether the space at the address is its own.
//!
//! [`SyncConfig::new_space`](crate::SyncConfig) says that the other name is meant.

use std::path::Path;

use driftless_protocol::{CloseCode, SpaceId};

use crate::address::Address;
use crate::error::{Error, OtherSpace};
use crate::replica::Introduction;

/// How a file asks the relay at an address to open the space.
#[derive(Debug, Clone)]
pub(super) enum Opening {
    /// It opens the space, and the relay makes it if it is not there.
    Make,
    /// It opens the space only if it is there, because the last sync, with this address, was with a space of another name.
    IfThere(Address),
    /// It does not ask: the file belongs to no space, and the last sync, with this address, was with a space of another name.
    Refused(Address),
}

impl Opening {
    /// Decides how a file that introduces itself so opens the space at `address`. `new_space`: the user says that another name
    /// than the last is meant.
    pub(super) fn of(address: &Address, introduction: &Introduction, new_space: bool) -> Self {
        // Whatever cannot be read is no address that anybody was synced with.
        let last = introduction.last_url.as_deref().and_then(|url| Address::parse(url).ok());
        match last.filter(|last| !new_space && last.space() != address.space()) {
            None => Self::Make,
            Some(last) if introduction.space.is_some() => Self::IfThere(last),
            Some(last) => Self::Refused(last),
        }
    }

    /// The id to tell the relay, which makes the space with it.
    pub(super) fn known(&self, space: Option<SpaceId>) -> Option<SpaceId> {
        space.filter(|_| matches!(self, Self::Make))
    }

    /// Turns a refusal, the relay's or the replica's, into one that names the address that was probably meant. `path`: the file.
    pub(super) fn explain(&self, error: Error, path: &Path, address: &Address) -> Error {
        let Self::IfThere(last) = self else { return error };
        let why = match &error {
            Error::Refused { code, .. } if *code == CloseCode::NoSuchSpace.number() => OtherSpace::Missing,
            Error::WrongSpace { .. } => OtherSpace::Foreign,
            _ => return error,
        };
        other_space(path, last, address, why)
    }

    /// Whether a refusal with this close code is believed the first time. Others must come again, since a damaged request may be
    /// refused by mistake. "No such space", for an address that is taken for mistyped, cannot be such a mistake: the request had
    /// a checksum, the relay has said which space it understood, and no other refusal differs from this one by a single bit.
    pub(super) fn is_certain(&self, code: u16) -> bool {
        matches!(self, Self::IfThere(_)) && code == CloseCode::NoSuchSpace.number()
    }

    /// The refusal, if nothing is to be asked of the relay.
    pub(super) fn refusal(&self, path: &Path, address: &Address) -> Option<Error> {
        match self {
            Self::Refused(last) => Some(other_space(path, last, address, OtherSpace::Unknown)),
            _ => None,
        }
    }
}

fn other_space(path: &Path, last: &Address, address: &Address, why: OtherSpace) -> Error {
    Error::OtherSpace {
        path: path.to_owned(),
        last: last.url.to_string(),
        url: address.url.to_string(),
        // The relay may have moved, so that the name alone is mistyped.
        meant: address.with_space(last.space()).to_string(),
        why,
    }
}
