//! Says of a file what is tracked and how, whether or not an engine has it.

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::config::{ColumnKind, Config, TableOptions};
use crate::env::now;
use crate::error::refusal::Refusal;
use crate::error::{Doing, Error, Result};
use crate::file::lock;
use crate::replica::{last_write, repair};
use crate::schema::names;
use crate::schema::settling::Settling;
use crate::schema::tracking::{self, look};
use crate::store;

/// Tables that were tracked, and those that could not be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tracked {
    /// The names as the tables spell them.
    pub tables: Vec<String>,
    /// With [`Selection::All`]: the tables that were left out, and why. [`Refusal::is_shape`] tells those that cannot be
    /// tracked from those that were left out for what they are for.
    pub left_out: Vec<(String, Refusal)>,
    /// Without it: tables that are tracked now and that [`Selection::All`] leaves out for what they are for.
    pub doubtful: Vec<(String, Refusal)>,
    /// Whether the file had another journal mode than WAL before. It stays in WAL, for the app too.
    pub switched_to_wal: bool,
}

/// Which tables to track.
#[derive(Debug, Clone, Copy)]
pub enum Selection<'a> {
    /// These, all or none.
    Named(&'a [&'a str]),
    /// Every table that can be, and from now on every one that is made later: whoever opens the file, or a running engine
    /// within seconds, tracks it with the same options. Left out are the bookkeeping of migration tools, sessions and
    /// caches, and tables that were [untracked](untrack) by their names. [`end_track_all`] ends that.
    All,
}

/// Does something to a file in one transaction, with its side tables whole.
fn change<T>(
    path: &Path,
    mut connection: Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T>,
) -> Result<T> {
    let immediate = TransactionBehavior::Immediate;
    let tx = connection.transaction_with_behavior(immediate).doing("waiting for the write lock")?;
    repair::restore_lost(&tx, path, true)?;
    // A missing trigger is how a look knows that a table was rebuilt, and `work` may make the triggers anew.
    look_at_tables(&tx, path)?;
    let done = work(&tx)?;
    tx.commit().doing("committing what is tracked, and how")?;
    Ok(done)
}

fn look_at_tables(tx: &Transaction<'_>, path: &Path) -> Result<()> {
    let mut settling = Settling::new(Config::default().rebuild_quiet, last_write(path));
    look::at_tables(tx, &mut settling, now()).map(drop)
}

/// Begins to track tables, whether or not an engine has the file: it needs no engine's lock. The rows that are there
/// are captured by the running engine, or by the next to open the file. Makes the side tables if they are not there and
/// switches the file to WAL.
///
/// Fails with [`Error::NotTrackable`], [`Error::Contradiction`], [`Error::NoSuchFile`], [`Error::NotADatabase`],
/// [`Error::ReadOnly`], [`Error::NewerFormat`]; nothing is changed then.
pub fn track(path: impl AsRef<Path>, tables: Selection<'_>, options: TableOptions) -> Result<Tracked> {
    let path = path.as_ref();
    let looked_at = store::open_to_read(path, Config::default().busy_timeout)?;
    let switched_to_wal = !driftless_wal::keeps_log(&looked_at).doing("reading the database")?;
    drop(looked_at);
    change(path, store::open(path, Config::default().busy_timeout)?, |tx| {
        Ok(match tables {
            Selection::Named(names) => {
                let tables = tracking::track(tx, names, options, now())?;
                let mut doubtful = Vec::new();
                for table in &tables {
                    doubtful
                        .extend(tracking::is_bookkeeping(tx, table)?.map(|refusal| (table.clone(), refusal)));
                }
                Tracked { tables, left_out: Vec::new(), doubtful, switched_to_wal }
            }
            Selection::All => {
                let (tables, left_out) = tracking::track_all(tx, options, now())?;
                Tracked { tables, left_out, doubtful: Vec::new(), switched_to_wal }
            }
        })
    })
}

/// Ends the rule that [`Selection::All`] made, whether or not an engine has the file: tables that are made from now on are
/// not tracked by themselves. Those that are tracked stay so. Harmless where there is no such rule.
///
/// Fails with [`Error::NotInitialized`] if Driftless has never worked on the file.
pub fn end_track_all(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    change(path, open_initialized(path)?, tracking::rule::end)
}

/// Ceases to track all tables, as [`untrack`] does, and ends the rule that [`Selection::All`] made. Returns their names.
pub fn untrack_all(path: impl AsRef<Path>) -> Result<Vec<String>> {
    let path = path.as_ref();
    change(path, open_initialized(path)?, tracking::untrack_all)
}

/// Makes a column of a tracked table of another kind, whether or not an engine has the file. Every replica of the space
/// takes that over when it hears of it; what was written before stays as it is.
///
/// Fails with [`Error::NotTracked`], and with [`Error::KindRefused`] if the column cannot be of that kind.
pub fn set_kind(path: impl AsRef<Path>, table: &str, column: &str, kind: ColumnKind) -> Result<()> {
    let path = path.as_ref();
    change(path, open_initialized(path)?, |tx| tracking::set_kind(tx, table, column, kind, now()))
}

/// Tells that a column of a tracked table was renamed, whether or not an engine has the file, and renames it in the table
/// if that has not been done. Every replica of the space takes that over when it hears of it: there the column may have
/// the one name or the other, what is written under either is the same column's. Of a column that the app has renamed with
/// `ALTER TABLE` nobody has to tell. Of one that a migration renamed while it made the table anew somebody has to: untold, that is
/// a dropped column and an added one.
///
/// It may be told at any time, whatever became of the table's other columns meanwhile. Where the table has both columns, and
/// `new` came later than `old`, it tells that `old` was renamed and its name given to another column, which starts with what
/// it holds in this file; what `new` holds here becomes the renamed column's, unless others wrote that one meanwhile.
///
/// Fails with [`Error::NotTracked`], and with [`Error::CannotRename`] if the table has neither column, had both at one time,
/// or has both and `new` is no newer, or one of them is in the primary key.
pub fn rename_column(path: impl AsRef<Path>, table: &str, old: &str, new: &str) -> Result<()> {
    let path = path.as_ref();
    change(path, open_initialized(path)?, |tx| {
        names::rename_column(tx, table, old, new, now())?;
        look_at_tables(tx, path)
    })
}

/// Tells that a column of a tracked table is not another under a new name, where [`status`](crate::status()) asks whether it is.
/// Nothing changes but that it is not asked any more; [`rename_column`] may tell otherwise later.
///
/// Fails with [`Error::NotTracked`], and with [`Error::NothingAsked`] if that is not asked.
pub fn deny_rename(path: impl AsRef<Path>, table: &str, old: &str, new: &str) -> Result<()> {
    let path = path.as_ref();
    change(path, open_initialized(path)?, |tx| names::deny_rename(tx, table, old, new))
}

/// Gives a table, or a column of it, up for the whole space, whether or not an engine has the file: clones no longer make
/// the table, and a later table or column of that name begins empty. Files that still have it keep it. Returns the name of
/// the table as it was called last.
///
/// Fails with [`Error::CannotForget`] while this file has the table or the column, and with [`Error::NotTracked`] if there is
/// no such table.
pub fn forget(path: impl AsRef<Path>, table: &str, column: Option<&str>) -> Result<String> {
    let path = path.as_ref();
    change(path, open_initialized(path)?, |tx| match column {
        None => names::forget_table(tx, table, now()),
        Some(column) => names::forget_column(tx, table, column, now()),
    })
}

/// Looks whether Driftless has worked on a file, before [`Engine::open`](crate::Engine::open) makes its tables there. Cheap,
/// whatever the file holds.
///
/// Fails with [`Error::TrackingLost`] if a file of this path was synced before and what is there now has none of those
/// tables, with [`Error::NoSuchFile`] and [`Error::NotADatabase`].
pub fn is_initialized(path: impl AsRef<Path>) -> Result<bool> {
    let path = path.as_ref();
    if store::health::any(&store::open_to_read(path, Config::default().busy_timeout)?)? {
        return Ok(true);
    }
    lock::check_never_synced(path).map(|()| false)
}

fn open_initialized(path: &Path) -> Result<Connection> {
    match store::is_initialized(&store::open_to_read(path, Config::default().busy_timeout)?) {
        Ok(false) => return Err(lock::not_initialized(path)),
        // It is brought up to date.
        Ok(true) | Err(Error::OlderFormat { .. }) => {}
        Err(error) => return Err(error),
    }
    store::open(path, Config::default().busy_timeout)
}

/// Ceases to track tables, all or none, whether or not an engine has the file. What was written and is not captured
/// yet is not captured any more, so let the engine catch up first. [`Selection::All`] leaves them out from then on, until
/// they are tracked by their names. Fails with [`Error::NotTracked`].
pub fn untrack(path: impl AsRef<Path>, names: &[&str]) -> Result<Vec<String>> {
    let path = path.as_ref();
    change(path, open_initialized(path)?, |tx| tracking::untrack(tx, names))
}
