//! The rooms of a relay: opened on first join, gone with the last member.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use driftless_protocol::SpaceName;

use super::Room;
use crate::log::{LogError, LogStore};

/// All open rooms.
#[derive(Debug)]
pub struct Registry {
    store: Arc<dyn LogStore>,
    rooms: Mutex<Rooms>,
    cache: usize,
    page: usize,
}

#[derive(Debug, Default)]
struct Rooms {
    by_space: HashMap<SpaceName, Weak<Room>>,
    /// At how many the ones that are gone are cleared away: twice as many as were there after the last time, so
    /// that joining costs the same however many there are.
    clear_at: usize,
}

impl Registry {
    /// No rooms yet. `cache` is what each keeps in memory, `page` what it reads at once, both in bytes.
    pub fn new(store: Arc<dyn LogStore>, cache: usize, page: usize) -> Self {
        Self { store, rooms: Mutex::default(), cache, page }
    }

    /// The room of a space that exists. Fails with what the store fails with.
    pub async fn join(&self, space: &SpaceName) -> Result<Arc<Room>, LogError> {
        // Before the lock, and in vain if the room is open: no lock is held while the store is asked.
        let stored = self.store.subscribe(space).await?;
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = rooms.by_space.get(space).and_then(Weak::upgrade) {
            return Ok(open);
        }
        if rooms.by_space.len() >= rooms.clear_at {
            rooms.by_space.retain(|_, room| room.strong_count() > 0);
            rooms.clear_at = (rooms.by_space.len() * 2).max(64);
        }
        tracing::debug!(%space, "a room opens");
        let room = Room::open(&self.store, space, stored, self.cache, self.page);
        rooms.by_space.insert(space.clone(), Arc::downgrade(&room));
        Ok(room)
    }
}
