//! Deaths of the built commands, and what must be true afterwards. [`kills`] ends processes at random moments;
//! [`every_write`] ends one, or fails its disk, at each single write of a fixed piece of work ([`workloads`]); [`cut_wal`] cuts
//! off what a machine that crashed may not have written.
//!
//! What is promised is the same for all: nothing that was committed is lost or shown twice, syncing goes on, and the files
//! and the space agree. [`peace`] asks for it, through the commands that a user would take.

pub mod cut_wal;
pub mod every_write;
pub mod image;
pub mod kills;
pub mod peace;
pub mod report;
pub mod trace;
pub mod workloads;
