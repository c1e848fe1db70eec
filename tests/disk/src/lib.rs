//! A disk under SQLite that fails, dies and loses power when a test says so, and a clock that a test sets.
//!
//! [`Disk::install`] puts a layer between SQLite and the operating system, as the default VFS of the process:
//! whatever opens a database afterwards, in whichever crate, goes through it. It passes everything on, locks
//! and shared memory too, and costs next to nothing, except in the folders that somebody watches with
//! [`Disk::at`]. There a test can
//!
//! - let the nth change fail ([`Disk::fail_once`], [`Disk::fail_from`]),
//! - kill whoever writes, in the middle of a write if need be ([`Disk::die_at`]),
//! - cut the power ([`Disk::power_loss`]): what was not synced is there, is not there, or is there in part,
//! - see what was changed in which order ([`Disk::take_log`]).
//!
//! [`set_clock`] and [`set_randomness`] are a thread's own: what the thread's SQL takes for the time, and
//! what SQLite seeds its random numbers with.
//!
//! ```no_run
//! # use driftless_test_disk::Disk;
//! # fn write(_: &std::path::Path) -> Result<(), ()> { Ok(()) }
//! # let folder = std::path::Path::new("folder");
//! let disk = Disk::at(folder); // before anything in it is opened
//! disk.die_at(17, 100); // of the 17th change 100 bytes arrive, and nothing of what follows
//! let died = write(folder).is_err(); // opens, writes, and drops its connections
//! disk.power_loss(&mut fastrand::Rng::with_seed(7)); // and now open it again, and look
//! # let _ = died;
//! ```

mod clock;
mod disk;
mod record;
mod vfs;

pub use clock::{clock, set_clock};
pub use disk::{Change, Disk, Failure, Loss, What};
pub use vfs::set_randomness;
