//! What a relay has said and is not yet written down: noted in memory, written with the next turn that commits anyway.
//!
//! A commit for each acknowledgement would break the transactions of an app that has read and is about to write, and
//! cost a wait for the disk each time. A note that is lost is only said again: the outbox keeps what was not confirmed, and the
//! next connection asks what the relay holds.

use std::time::Duration;

use driftless_protocol::{ReplicaId, StateVector};
use rusqlite::Transaction;

use super::Replica;
use crate::env::now;
use crate::error::Result;
use crate::store::{identity, outbox};

/// Notes of what was said under one name. Nothing of them is true of another.
#[derive(Debug, Default)]
pub(super) struct Notes {
    own: Option<ReplicaId>,
    /// The highest own seq that was acknowledged; 0 if none was.
    acknowledged: u64,
    /// The highest own seq that a later vector of a relay counted; 0 if none did.
    confirmed: u64,
    /// When a relay was last heard, in milliseconds since 1970, and which.
    contact: Option<(i64, String)>,
    /// Whether somebody waits until they are written.
    urgent: bool,
}

impl Notes {
    pub(super) fn is_empty(&self) -> bool {
        self.own.is_none()
    }

    pub(super) fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// These notes, to be added to: emptied if they were about another name.
    fn of(&mut self, own: ReplicaId) -> &mut Self {
        if self.own != Some(own) {
            *self = Self { own: Some(own), urgent: self.urgent, ..Self::default() };
        }
        self
    }

    /// Writes them, unless the file has another name now.
    pub(super) fn write(&self, tx: &Transaction<'_>, replica: ReplicaId) -> Result<()> {
        if self.own != Some(replica) {
            return Ok(());
        }
        if identity::acked(tx)? < self.acknowledged {
            identity::set_acked(tx, self.acknowledged)?;
        }
        if self.confirmed > 0 {
            outbox::confirm(tx, self.confirmed)?;
        }
        if let Some((at, url)) = &self.contact {
            identity::set_contact(tx, *at, url)?;
        }
        Ok(())
    }
}

impl Replica {
    /// Notes that the relay has stored everything of `own`'s up to `acknowledged`, and that it holds `confirmed`, a state vector
    /// that is later than the acknowledgements it confirms.
    pub(crate) fn note(
        &mut self,
        own: ReplicaId,
        acknowledged: u64,
        confirmed: Option<&StateVector>,
        url: &str,
    ) {
        if own != self.replica {
            return;
        }
        let notes = self.notes.of(own);
        notes.acknowledged = notes.acknowledged.max(acknowledged);
        if let Some(heads) = confirmed {
            notes.confirmed = notes.confirmed.max(heads.get(own));
            notes.contact = Some((now(), url.to_owned()));
        }
    }

    /// Whether something is noted and not written.
    pub(crate) fn has_notes(&self) -> bool {
        !self.notes.is_empty()
    }

    /// Writes what is noted, and captures what there is.
    pub(crate) fn write_notes(&mut self) -> Result<()> {
        if self.notes.is_empty() {
            return Ok(());
        }
        self.notes.urgent = true;
        // As in any turn, what there is to capture comes first.
        let written = self.capture_all().map(|_| ());
        self.notes.urgent = false;
        written
    }

    /// The same, waiting for the write lock for so long at most. The engine ends after this.
    pub(crate) fn write_notes_within(&mut self, wait: Duration) -> Result<()> {
        self.config.busy_timeout = wait;
        self.write_notes()
    }
}

#[cfg(test)]
mod tests {
    use driftless_protocol::message::Welcome;
    use driftless_protocol::{Seq, SpaceId};
    use rusqlite::Connection;

    use super::*;
    use crate::config::{Config, TableOptions};

    /// A file with one changeset that is sent, and another connection to it.
    fn sent(folder: &std::path::Path) -> (Replica, Connection) {
        let path = folder.join("app.db");
        let app = Connection::open(&path).expect("it opens");
        app.execute_batch("CREATE TABLE t (id TEXT PRIMARY KEY); INSERT INTO t VALUES ('a')").expect("made");
        let mut replica = Replica::open(&path, Config::default()).expect("opened");
        replica.track(&["t"], TableOptions::default()).expect("tracked");
        replica.capture_all().expect("captured");
        let empty = Welcome { space: SpaceId::random(), heads: StateVector::new(), own: None };
        replica.welcome(replica.id(), &empty, "here").expect("welcomed");
        (replica, app)
    }

    fn data_version(app: &Connection) -> i64 {
        app.query_row("PRAGMA data_version", [], |row| row.get(0)).expect("a number")
    }

    /// Each acknowledgement was a commit of its own, and each commit breaks a transaction of the app's that has read.
    #[test]
    fn acknowledgements_cost_no_commit() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut replica, app) = sent(folder.path());
        let (own, last) = (replica.id(), replica.last_seq().expect("a seq"));
        let before = data_version(&app);
        replica.note(own, last, None, "ws://there");
        let heads = [(own, Seq::new(last).expect("not zero"))].into_iter().collect();
        replica.note(own, 0, Some(&heads), "here");
        replica.capture_all().expect("there is nothing to capture");
        assert_eq!(data_version(&app), before, "nothing was committed");
        assert!(replica.has_notes());

        // The next turn that has something to do takes them along.
        app.execute_batch("INSERT INTO t VALUES ('b')").expect("written");
        let before = data_version(&app);
        replica.capture_all().expect("captured");
        assert!(!replica.has_notes());
        assert_ne!(data_version(&app), before);
        assert_eq!(identity::acked(&app).expect("a number"), last);
        assert_eq!(outbox::first(&app).expect("a number"), Some(last + 1));
    }

    #[test]
    fn whoever_waits_for_notes_has_them_written_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut replica, app) = sent(folder.path());
        let (own, last) = (replica.id(), replica.last_seq().expect("a seq"));
        replica.note(own, last, None, "ws://there");
        replica.write_notes().expect("written");
        assert_eq!(identity::acked(&app).expect("a number"), last);
        assert!(!replica.has_notes());
    }

    /// A file that takes a new name sends anew what was not acknowledged under the old one; and what was said of the old name is
    /// nothing about the new.
    #[test]
    fn a_new_name_takes_the_old_ones_acknowledgements_into_account_and_none_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut replica, app) = sent(folder.path());
        let (own, last) = (replica.id(), replica.last_seq().expect("a seq"));
        replica.note(own, last, None, "ws://there");
        replica.become_new().expect("renamed");
        assert_eq!(outbox::first(&app).expect("a number"), None, "the relay has all that was written");
        replica.note(own, 5, None, "ws://there");
        replica.write_notes().expect("written");
        assert_eq!(identity::acked(&app).expect("a number"), 0);
    }
}
