//! A file that turns out to be a copy of another takes a name of its own.

use driftless_protocol::message::Head;
use driftless_protocol::{ChangesetHeader, ReplicaId, Seq};
use rusqlite::Transaction;

use crate::env::ids;
use crate::error::{Error, Result};
use crate::store::{identity, outbox, progress};

/// Whether the relay holds something of ours that this file never wrote.
pub(crate) fn is_foreign(tx: &Transaction<'_>, own: Head, last: u64) -> Result<bool> {
    if own.seq.get() > last {
        return Ok(true);
    }
    let Some(stored) = own.checksum else { return Ok(false) };
    let ours = match outbox::get(tx, own.seq.get()) {
        // Sending it finds out.
        Err(Error::Damaged { .. }) => None,
        read => read?,
    };
    Ok(ours.is_some_and(|changeset| changeset.checksum() != stored))
}

/// A new replica id. What a relay had acknowledged stays under the old one, whose original may live on; the rest
/// is renumbered under the new. A transaction that was sent only in part goes again from its beginning.
pub(crate) fn take_new_name(tx: &Transaction<'_>) -> Result<ReplicaId> {
    let old = identity::replica(tx)?;
    let new = ids::replica();
    let last = progress::vector(tx)?.get(old);
    // Of any relay: what others wrote upon it may be applied here, and must find it under the old name.
    let shared = match outbox::group_end(tx, identity::shared(tx)?)? {
        Some(end) => end,
        None => outbox::first(tx)?.map_or(last, |first| first - 1),
    };
    let (unsent, damaged) = match outbox::read(tx, shared, usize::MAX) {
        // The documents have it: with a number that no changeset bears, the relay is sent a snapshot.
        Err(Error::Damaged { .. }) => (Vec::new(), 1),
        read => (read?, 0),
    };
    outbox::clear(tx)?;
    progress::put(tx, old, shared)?;
    for (n, changeset) in unsent.iter().enumerate() {
        let mut header: ChangesetHeader = changeset.header.clone();
        header.replica = new;
        let broken = || Error::Damaged { table: "_driftless_outbox", what: "there is no seq left".into() };
        header.seq = Seq::new(n as u64 + 1).ok_or_else(broken)?;
        if n == 0
            && let Some(shared) = Seq::new(shared)
        {
            header.after.raise(old, shared);
        }
        outbox::push(tx, &changeset.reissue(header))?;
    }
    progress::raise(tx, new, unsent.len() as u64 + damaged)?;
    identity::set_unshared(tx)?;
    identity::set_replica(tx, new)?;
    Ok(new)
}
