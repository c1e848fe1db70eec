//! What a replica says to a relay and hears from it: the beginning of a conversation, the outbox, and what is confirmed.

use driftless_protocol::message::Welcome;
use driftless_protocol::{Changeset, ReplicaId, SpaceId, StateVector};

use super::{Notes, Replica, begin};
use crate::delivery;
use crate::error::{Doing, Error, Result};
use crate::naming::{is_foreign, take_new_name};
use crate::store::{identity, inbox, outbox, progress};
use crate::time::now;

/// What a session needs to know of this replica when it begins.
#[derive(Debug, Clone)]
pub(crate) struct Introduction {
    pub(crate) replica: ReplicaId,
    pub(crate) space: Option<SpaceId>,
    /// What the relay need not send.
    pub(crate) held: StateVector,
}

/// What a replica makes of a relay's welcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Go on: send own changesets after this seq. With `snapshot`, the relay first needs a snapshot.
    Proceed { send_after: u64, snapshot: bool },
    /// The relay holds what this file never wrote under its name: it is a copy and must take another.
    Copy,
}

impl Replica {
    /// What to say to a relay.
    pub(crate) fn introduce(&mut self) -> Result<Introduction> {
        let tx = begin(&mut self.connection)?;
        // Parts of a snapshot that an earlier connection left are sent again, whole.
        inbox::forget_snapshots(&tx)?;
        let vector = progress::vector(&tx)?;
        let held = delivery::held(&vector, &inbox::list(&tx)?);
        let introduction = Introduction { replica: self.replica, space: identity::space(&tx)?, held };
        tx.commit().doing("introducing this file to a relay")?;
        Ok(introduction)
    }

    /// The state vector of what is applied.
    pub(crate) fn vector(&self) -> Result<StateVector> {
        progress::vector(&self.connection)
    }

    /// What is applied, and what came in and waits for what nobody has sent yet: the rest of a transaction, or what it
    /// builds on. More cannot be done with what a relay that counts no more than this has.
    pub(crate) fn held(&self) -> Result<StateVector> {
        let vector = self.vector()?;
        if inbox::is_empty(&self.connection)? {
            return Ok(vector);
        }
        Ok(delivery::held(&vector, &inbox::list(&self.connection)?))
    }

    /// The last seq of ours.
    pub(crate) fn last_seq(&self) -> Result<u64> {
        Ok(self.vector()?.get(self.replica))
    }

    /// Takes a relay's welcome: joins its space, and finds out what the relay lacks.
    /// Fails with [`Error::WrongSpace`] if the file belongs to another.
    pub(crate) fn welcome(&mut self, welcome: &Welcome, url: &str) -> Result<Verdict> {
        let tx = begin(&mut self.connection)?;
        match identity::space(&tx)? {
            Some(ours) if ours != welcome.space => {
                return Err(Error::WrongSpace { ours, theirs: welcome.space });
            }
            Some(_) => {}
            None => identity::set_space(&tx, welcome.space)?,
        }
        // What the last relay said was said before this.
        self.notes.write(&tx, self.replica)?;
        let vector = progress::vector(&tx)?;
        let last = vector.get(self.replica);
        if let Some(own) = welcome.own
            && is_foreign(&tx, own, last)?
        {
            return Ok(Verdict::Copy);
        }
        identity::set_contact(&tx, now(), url)?;
        let stored = welcome.heads.get(self.replica);
        // What a later vector still counts is on the relay for good.
        outbox::confirm(&tx, stored)?;
        if stored < identity::acked(&tx)? {
            tracing::warn!(
                url,
                stored,
                "the space at this address lacks what a relay had acknowledged: either the relay lost its data and is \
                 refilled now, or this is another address than before"
            );
        }
        identity::set_acked(&tx, stored.min(last))?;
        let first = outbox::first(&tx)?.unwrap_or(last + 1);
        let lacks_others = vector.ahead_of(&welcome.heads).iter().any(|(replica, _)| replica != self.replica);
        let lacks_ours = stored + 1 < first;
        tx.commit().doing("joining the space")?;
        self.notes = Notes::default();
        let snapshot = (lacks_others || lacks_ours) && !planted!(OutboxEmptiedEarly);
        Ok(Verdict::Proceed { send_after: stored.min(last), snapshot })
    }

    /// Becomes a new replica, keeping all unsent work.
    pub(crate) fn become_new(&mut self) -> Result<()> {
        let tx = begin(&mut self.connection)?;
        self.notes.write(&tx, self.replica)?;
        let replica = take_new_name(&tx)?;
        tx.commit().doing("becoming a new replica")?;
        tracing::info!(old = %self.replica.short(), new = %replica.short(), "this file is a copy: new replica id");
        self.replica = replica;
        self.notes = Notes::default();
        Ok(())
    }

    /// Own changesets after `seq`, about `bytes` of them.
    pub(crate) fn outgoing(&self, after: u64, bytes: usize) -> Result<Vec<Changeset>> {
        outbox::read(&self.connection, after, bytes)
    }

    /// The same; if one is damaged the outbox is emptied. The next connection finds that the relay lacks what is no longer
    /// here, and sends it a snapshot.
    pub(crate) fn outgoing_or_empty(&mut self, after: u64, bytes: usize) -> Result<Vec<Changeset>> {
        // A number that leaves the machine must not be lost with its power, and given to another changeset.
        self.durability.wait(&self.connection)?;
        let read = self.outgoing(after, bytes);
        if let Err(error @ Error::Damaged { .. }) = &read {
            tracing::error!(%error, "the outbox is emptied; the relay takes a snapshot instead");
            let tx = begin(&mut self.connection)?;
            outbox::clear(&tx)?;
            identity::add_mended(&tx, "the outbox was damaged; the relay takes a snapshot instead")?;
            tx.commit().doing("emptying the outbox")?;
        }
        read
    }
}
