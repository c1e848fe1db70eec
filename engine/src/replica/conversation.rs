//! What a replica says to a relay and hears from it: the beginning of a conversation, the outbox, and what is confirmed.

use driftless_protocol::message::Welcome;
use driftless_protocol::{Changeset, ReplicaId, Seq, SpaceId, StateVector};

use super::Replica;
use super::mark::Mark;
use super::naming::{is_foreign, take_new_name};
use crate::env::now;
use crate::error::{Doing, Error, Result};
use crate::store::{identity, inbox, outbox, progress};
use crate::turn::delivery;

/// What a session needs to know of this replica when it begins.
#[derive(Debug, Clone)]
pub(crate) struct Introduction {
    pub(crate) replica: ReplicaId,
    pub(crate) space: Option<SpaceId>,
    /// The address that the file was last synced with: as it knows itself, or else, of a file of its path, as the lock file
    /// beside it tells.
    pub(crate) last_url: Option<String>,
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
    /// The file has another name than the one that the relay welcomed: it begins again.
    Renamed,
}

impl Replica {
    /// What to say to a relay.
    pub(crate) fn introduce(&mut self) -> Result<Introduction> {
        let said = self.notice().last_url();
        self.write("introducing this file to a relay", |tx, found| {
            // Parts of a snapshot that an earlier connection left are sent again, whole.
            inbox::forget_snapshots(tx)?;
            let held = delivery::held(&progress::vector(tx)?, &inbox::list(tx)?);
            let last_url = identity::contact(tx)?.map(|(_, url)| url).or(said);
            Ok(Introduction { replica: found.replica, space: identity::space(tx)?, last_url, held })
        })
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

    /// The last seq of ours, as a vector of that alone.
    pub(crate) fn captured(&self) -> Result<StateVector> {
        let own = Seq::new(self.last_seq()?).map(|seq| (self.replica, seq));
        Ok(own.into_iter().collect())
    }

    /// The last seq of ours.
    pub(crate) fn last_seq(&self) -> Result<u64> {
        Ok(self.vector()?.get(self.replica))
    }

    /// Takes a relay's welcome of `own`: joins its space, and finds out what the relay lacks.
    /// Fails with [`Error::WrongSpace`] if the file belongs to another.
    pub(crate) fn welcome(&mut self, own: ReplicaId, welcome: &Welcome, url: &str) -> Result<Verdict> {
        let notes = std::mem::take(&mut self.notes);
        let verdict = self.write("joining the space", |tx, found| {
            // What the last relay said was said before this.
            notes.write(tx, found.replica)?;
            let space = identity::space(tx)?;
            if let Some(ours) = space.filter(|ours| *ours != welcome.space) {
                return Err(Error::WrongSpace { ours, theirs: welcome.space });
            }
            // What the relay holds under the old name is not this one's any more: there is nothing to compare it with.
            if found.replica != own {
                return Ok(Verdict::Renamed);
            }
            let vector = progress::vector(tx)?;
            let last = vector.get(own);
            if let Some(head) = welcome.own
                && is_foreign(tx, head, last)?
            {
                return Ok(Verdict::Copy);
            }
            if space.is_none() {
                identity::set_space(tx, welcome.space)?;
            }
            identity::set_contact(tx, now(), url)?;
            let stored = welcome.heads.get(own);
            // What a later vector still counts is on the relay for good.
            outbox::confirm(tx, stored)?;
            if stored < identity::acked(tx)? {
                tracing::warn!(
                    url,
                    stored,
                    "the space at this address lacks what a relay had acknowledged: either the relay lost its data and \
                     is refilled now, or this is another address than before"
                );
            }
            identity::set_acked(tx, stored.min(last))?;
            let first = outbox::first(tx)?.unwrap_or(last + 1);
            let lacks_others = vector.ahead_of(&welcome.heads).iter().any(|(replica, _)| replica != own);
            let lacks_ours = stored + 1 < first;
            let snapshot = lacks_others || lacks_ours;
            Ok(Verdict::Proceed { send_after: stored.min(last), snapshot })
        })?;
        if matches!(verdict, Verdict::Proceed { snapshot: true, .. }) {
            // The snapshot says that it holds them all.
            self.notice().sends(own, self.last_seq()?);
        }
        Ok(verdict)
    }

    /// Becomes a new replica, keeping all unsent work.
    pub(crate) fn become_new(&mut self) -> Result<()> {
        let old = self.replica;
        let notes = std::mem::take(&mut self.notes);
        self.write("becoming a new replica", |tx, found| {
            // It may have taken another name just now, for its own reasons.
            if found.replica != old {
                return Ok(());
            }
            notes.write(tx, old)?;
            take_new_name(tx).map(drop)
        })?;
        tracing::info!(old = %old.short(), new = %self.replica.short(), "this file is a copy: new replica id");
        Ok(())
    }

    /// Own changesets after `seq`, about `bytes` of them, as they are.
    #[cfg(feature = "sim")]
    pub(crate) fn outgoing(&self, after: u64, bytes: usize) -> Result<Vec<Changeset>> {
        outbox::read(&self.connection, after, bytes)
    }

    /// Own changesets after `seq`, about `bytes` of them; if one is damaged the outbox is emptied. The next connection finds that the relay lacks what is no longer
    /// here, and sends it a snapshot. Nothing is sent of a file that is not as this engine left it: it takes a new name.
    pub(crate) fn outgoing_or_empty(&mut self, after: u64, bytes: usize) -> Result<Vec<Changeset>> {
        self.check_place()?;
        // A number that leaves the machine must not be lost with its power, and given to another changeset.
        self.durability.wait(&self.connection)?;
        let read = {
            let tx = self.connection.transaction().doing("reading the outbox")?;
            let is_ours = Mark::read(&tx).unwrap_or(None) == Some(self.memory.mark);
            is_ours.then(|| outbox::read(&tx, after, bytes))
        };
        let Some(read) = read else {
            self.write("taking a new name", |_, _| Ok(()))?;
            return Ok(Vec::new());
        };
        if let Err(error @ Error::Damaged { .. }) = &read {
            tracing::error!(%error, "the outbox is emptied; the relay takes a snapshot instead");
            self.write("emptying the outbox", |tx, _| {
                outbox::clear(tx)?;
                identity::add_repaired(tx, "the outbox was damaged; the relay takes a snapshot instead")
            })?;
        }
        if let Some(last) = read.as_ref().ok().and_then(|changesets| changesets.last()) {
            self.notice().sends(self.replica, last.header.seq.get());
        }
        read
    }
}
