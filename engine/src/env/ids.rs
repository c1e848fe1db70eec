//! Ids that nobody has ever used, drawn from the system's randomness; a simulator draws them from its seed.

use driftless_protocol::{ReplicaId, WriterId};
use uuid::Uuid;

/// For a file.
pub(crate) fn replica() -> ReplicaId {
    ReplicaId::from_bytes(uuid().into_bytes()).unwrap_or_else(|_| ReplicaId::random())
}

/// For one opening of a file.
pub(crate) fn writer() -> WriterId {
    WriterId::from_bits(uuid().as_u64_pair().1.rotate_left(8))
}

/// For a snapshot.
pub(crate) fn snapshot() -> [u8; 16] {
    uuid().into_bytes()
}

/// For a commit: by it an engine knows its own last commit again.
pub(crate) fn nonce() -> i64 {
    #[cfg(feature = "sim")]
    if let Some(random) = seeded::draw_nonce() {
        return random;
    }
    Uuid::new_v4().as_u64_pair().1.rotate_left(8) as i64
}

fn uuid() -> Uuid {
    #[cfg(feature = "sim")]
    if let Some(random) = seeded::draw() {
        return uuid::Builder::from_random_bytes(random).into_uuid();
    }
    Uuid::new_v4()
}

/// The randomness of this thread, where a simulator has seeded it.
#[cfg(feature = "sim")]
pub(crate) mod seeded {
    use std::cell::RefCell;

    thread_local! {
        static RNG: RefCell<Option<fastrand::Rng>> = const { RefCell::new(None) };
        // Apart from the others: how often an engine commits must not change which ids it draws.
        static NONCES: RefCell<Option<fastrand::Rng>> = const { RefCell::new(None) };
    }

    pub(super) fn draw_nonce() -> Option<i64> {
        NONCES.with_borrow_mut(|rng| rng.as_mut().map(|rng| rng.i64(..)))
    }

    pub(super) fn draw() -> Option<[u8; 16]> {
        RNG.with_borrow_mut(|rng| rng.as_mut().map(|rng| rng.u128(..).to_le_bytes()))
    }

    pub(crate) fn set(seed: Option<u64>) {
        RNG.set(seed.map(fastrand::Rng::with_seed));
        NONCES.set(seed.map(|seed| fastrand::Rng::with_seed(!seed)));
    }
}
