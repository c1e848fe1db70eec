//! What a replica takes from the machine: the time, and ids that nobody has. A simulator sets both.
//!
//! Uses no other module.

pub(crate) mod clock;
pub(crate) mod ids;

pub(crate) use clock::{is_virtual, now};
