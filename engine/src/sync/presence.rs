//! Who else is connected to the space now, and what they let others know of themselves.

use std::collections::BTreeMap;

use driftless_protocol::{MAX_PRESENCES, Presence, ReplicaId};
use tokio::sync::watch;

/// What the others of the space let know: for whoever watches it, told by the connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Others(watch::Sender<BTreeMap<ReplicaId, Vec<u8>>>);

impl Others {
    pub(super) fn watch(&self) -> watch::Receiver<BTreeMap<ReplicaId, Vec<u8>>> {
        self.0.subscribe()
    }

    /// What one of them says now. More than a relay passes on are not kept.
    pub(super) fn set(&self, replica: ReplicaId, presence: &Presence) {
        self.0.send_if_modified(|others| {
            if presence.is_none() {
                return others.remove(&replica).is_some();
            }
            if others.len() >= MAX_PRESENCES && !others.contains_key(&replica) {
                return false;
            }
            let before = others.insert(replica, presence.as_bytes().to_vec());
            before.as_deref() != Some(presence.as_bytes())
        });
    }

    /// The connection has ended: nothing is known of anybody.
    pub(super) fn nobody(&self) {
        self.0.send_if_modified(|others| !std::mem::take(others).is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_names_ever_more_others_fills_no_memory() {
        let others = Others::default();
        let here = Presence::new(&b"here"[..]).expect("short");
        for _ in 0..MAX_PRESENCES + 5 {
            others.set(ReplicaId::random(), &here);
        }
        let watch = others.watch();
        assert_eq!(watch.borrow().len(), MAX_PRESENCES);
        let first = *watch.borrow().keys().next().expect("somebody");
        others.set(first, &Presence::none());
        assert_eq!(watch.borrow().len(), MAX_PRESENCES - 1);
        others.nobody();
        assert!(watch.borrow().is_empty());
    }
}
