//! A room: the live connections to one space in this process.
//!
//! Nothing is pushed to a member. Each reads the log at its own pace, from its own offset, woken when the log has
//! grown; so nothing is ever skipped, and a slow member costs no more than a fast one. What the room adds is
//! that many members read the store once: its *pump* reads every new entry a single time and keeps the newest
//! of them, bounded in bytes, under shared reference-counted bytes. Who has fallen behind further than that
//! reads from the store itself.
//!
//! What members get is what the log gave back, never what some connection handed in. The one exception is what they let one
//! another know of who is there (`presence`), which is in no log.

pub(crate) mod presence;
pub mod registry;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use driftless_protocol::{SpaceName, StateVector};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::presence::Presences;
use crate::log::{Item, LogStore, Page};

/// The live side of one space. Members hold it; it ends with the last of them.
#[derive(Debug)]
pub struct Room {
    recent: Mutex<Recent>,
    grown: watch::Sender<u64>,
    presences: Mutex<Presences>,
    /// Counts what has changed in `presences`.
    present: watch::Sender<u64>,
    /// Stops the pump when the room goes.
    _pump: DropGuard,
}

/// The newest items of the log.
#[derive(Debug)]
struct Recent {
    /// Everything after this offset is in `items`.
    after: u64,
    /// Up to here the log was read.
    to: u64,
    items: VecDeque<Item>,
    bytes: usize,
    /// When full, the oldest go; at least one stays, however large.
    limit: usize,
}

impl Recent {
    fn add(&mut self, page: Page) {
        for item in page.items {
            self.bytes += item.size();
            self.items.push_back(item);
        }
        self.to = self.to.max(page.after);
        while self.bytes > self.limit && self.items.len() > 1 {
            if let Some(oldest) = self.items.pop_front() {
                self.bytes -= oldest.size();
                self.after = oldest.offset();
            }
        }
    }

    /// What lies after `after`, about `limit` bytes; `None` when some of it is here no longer.
    fn read(&self, after: u64, limit: usize) -> Option<Page> {
        if after < self.after {
            return None;
        }
        let from = self.items.partition_point(|item| item.offset() <= after);
        let mut page = Page { items: Vec::new(), after: self.to.max(after) };
        let mut size = 0;
        for item in self.items.range(from..) {
            if size >= limit && !page.items.is_empty() {
                page.after = page.items.last().map_or(after, Item::offset);
                break;
            }
            size += item.size();
            page.items.push(item.clone());
        }
        Some(page)
    }
}

impl Room {
    /// Opens the room of a space and starts its pump on the current runtime.
    fn open(
        store: &Arc<dyn LogStore>,
        space: &SpaceName,
        stored: watch::Receiver<u64>,
        cache: usize,
        page: usize,
    ) -> Arc<Self> {
        let from = *stored.borrow();
        let stop = CancellationToken::new();
        let room = Arc::new(Self {
            recent: Mutex::new(Recent {
                after: from,
                to: from,
                items: VecDeque::new(),
                bytes: 0,
                limit: cache,
            }),
            grown: watch::Sender::new(from),
            presences: Mutex::default(),
            present: watch::Sender::new(0),
            _pump: stop.clone().drop_guard(),
        });
        let pump = Pump {
            room: Arc::downgrade(&room),
            store: Arc::clone(store),
            space: space.clone(),
            stored,
            at: from,
            page,
        };
        tokio::spawn(async move { stop.run_until_cancelled_owned(pump.run()).await });
        room
    }

    /// How far the log reaches, now and whenever it has grown.
    pub(crate) fn grown(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    /// What lies after an offset, if the room still has all of it.
    pub(crate) fn read(&self, after: u64, limit: usize) -> Option<Page> {
        self.recent().read(after, limit)
    }

    fn presences(&self) -> MutexGuard<'_, Presences> {
        self.presences.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the members: something has changed in `presences`.
    fn tell(&self) {
        self.present.send_modify(|changes| *changes += 1);
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what is new, once for all members.
struct Pump {
    room: std::sync::Weak<Room>,
    store: Arc<dyn LogStore>,
    space: SpaceName,
    stored: watch::Receiver<u64>,
    at: u64,
    page: usize,
}

impl Pump {
    async fn run(mut self) {
        while self.stored.changed().await.is_ok() {
            let to = *self.stored.borrow_and_update();
            while self.at < to {
                let answer = self.store.read(&self.space, self.at, StateVector::new(), self.page).await;
                let Some(room) = self.room.upgrade() else { return };
                match answer {
                    Ok(page) => {
                        self.at = page.after;
                        room.recent().add(page);
                    }
                    Err(error) => {
                        // Members read for themselves, and each meets the failure in its own connection.
                        tracing::warn!(space = %self.space, %error, "a room could not read its log");
                        self.at = to;
                        let mut recent = room.recent();
                        let limit = recent.limit;
                        *recent = Recent { after: to, to, items: VecDeque::new(), bytes: 0, limit };
                    }
                }
                room.grown.send_replace(self.at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use driftless_protocol::{ReplicaId, Seq};

    use super::*;
    use crate::log::Entry;

    fn recent(limit: usize) -> Recent {
        Recent { after: 10, to: 10, items: VecDeque::new(), bytes: 0, limit }
    }

    fn page(offsets: std::ops::RangeInclusive<u64>, size: usize) -> Page {
        let after = *offsets.end();
        let items = offsets.map(|offset| {
            let replica = ReplicaId::from_bytes([1; 16]).expect("not nil");
            let seq = Seq::new(offset).expect("not zero");
            Item::Changeset(Entry { offset, replica, seq, frame: Bytes::from(vec![0; size]) })
        });
        Page { items: items.collect(), after }
    }

    fn offsets(page: Option<Page>) -> Vec<u64> {
        page.expect("the room has it").items.iter().map(Item::offset).collect()
    }

    #[test]
    fn a_reader_that_fell_out_of_the_rooms_memory_is_sent_to_the_store() {
        let mut recent = recent(2000);
        recent.add(page(11..=14, 800));
        assert_eq!(recent.read(11, usize::MAX), None);
        assert_eq!(offsets(recent.read(12, usize::MAX)), [13, 14]);
    }

    #[test]
    fn a_limit_ends_a_page_after_an_item_and_never_before_the_first() {
        let mut recent = recent(1 << 20);
        recent.add(page(11..=13, 500));
        let first = recent.read(10, 1).expect("the room has it");
        assert_eq!((first.items.len(), first.after), (1, 11));
        assert_eq!(recent.read(11, 1 << 20).map(|page| page.after), Some(13));
    }

    #[test]
    fn an_item_larger_than_the_rooms_memory_is_still_shared() {
        let mut recent = recent(10);
        recent.add(page(11..=12, 5000));
        assert_eq!(offsets(recent.read(11, 1)), [12]);
    }
}
