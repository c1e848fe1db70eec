//! What is known about this file as a whole: `_driftless_meta`, one value a name.
//!
//! | name | value |
//! |---|---|
//! | `format` | the version of the side tables |
//! | `replica` | 16 bytes, the replica's UUID |
//! | `opened` | when an engine last opened the file, milliseconds since 1970 |
//! | `nonce` | a random number, another one after each commit of an engine: see `replica/mark.rs` |
//! | `inode` | where the file was when that id was drawn or last confirmed: a copy is elsewhere |
//! | `space` | 16 bytes; absent until the file first meets a relay |
//! | `acked` | the highest own seq that a relay has acknowledged as stored |
//! | `shared` | the highest own seq that any relay ever acknowledged: others may build on it |
//! | `group_open` | 1 while the last own changeset was not the last of its parts |
//! | `contact` | when a relay was last heard, milliseconds since 1970 |
//! | `url` | which relay that was |
//! | `started_over` | 1 once the file has lost its documents |
//! | `texts` | 1 once there has been a text document |
//! | `reconciled` | the `schema_version` at which triggers and tables were last compared, and by which Driftless |
//! | `all` | the rule that every table is tracked, see `schema/tracking/rule.rs`; absent without it |
//! | `newcomers` | tables that were tracked not long ago and not by name: a JSON array of number and time, see `schema/passing_names.rs` |
//! | `judged` | by which schema, and by which version of the engine, the parked rows were last listed to be judged |
//! | `parking` | 1 while rows are parked whose parents are still there, because those are about to go |
//! | `seen` | the indexes, views, triggers and numbers of the app's as this file last had them; see schema/objects.rs |
//! | `repaired` | what was repaired in the side tables, in words: for `status` |

use std::path::Path;

use driftless_protocol::{ReplicaId, SpaceId};
use rusqlite::types::{FromSql, ToSql};
use rusqlite::{Connection, Transaction};

use super::sql::{self, Number};
use crate::env::ids;
use crate::error::{Error, InTable, Result};

fn get<T: FromSql>(connection: &Connection, name: &str) -> Result<Option<T>> {
    sql::opt(
        connection,
        "reading _driftless_meta",
        "SELECT value FROM _driftless_meta WHERE name = ?1",
        [name],
        sql::first,
    )
}

/// The number of that name; 0 where there is none.
fn number(connection: &Connection, name: &str) -> Result<u64> {
    Ok(get(connection, name)?.map_or(0, |Number(number)| number))
}

fn set(tx: &Connection, name: &str, value: impl ToSql) -> Result<()> {
    sql::exec(
        tx,
        "writing _driftless_meta",
        "INSERT OR REPLACE INTO _driftless_meta (name, value) VALUES (?1, ?2)",
        (name, value),
    )?;
    Ok(())
}

pub(super) fn initialize(tx: &Transaction<'_>, path: &Path, format: i64) -> Result<()> {
    set(tx, "format", format)?;
    set(tx, "replica", ids::replica().as_bytes())?;
    match inode_of(path)? {
        Some(inode) => set_inode(tx, inode),
        None => Ok(()),
    }
}

/// By how many names the system knows a file.
pub(crate) fn hard_links(path: &Path) -> Result<u64> {
    let io = |source| Error::Io { doing: "looking at", path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(io)?;
    #[cfg(unix)]
    return Ok(std::os::unix::fs::MetadataExt::nlink(&metadata));
    #[cfg(not(unix))]
    return Ok(u64::from(metadata.is_file()));
}

/// Where a file is now; `None` where the system has no such number.
pub(crate) fn inode_of(path: &Path) -> Result<Option<i64>> {
    let io = |source| Error::Io { doing: "looking at", path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(io)?;
    #[cfg(unix)]
    return Ok(Some(std::os::unix::fs::MetadataExt::ino(&metadata) as i64));
    #[cfg(not(unix))]
    return Ok(metadata.is_file().then_some(0).filter(|_| false));
}

pub(super) fn set_format(tx: &Transaction<'_>, format: i64) -> Result<()> {
    set(tx, "format", format)
}

pub(crate) fn format(connection: &Connection) -> Result<i64> {
    get(connection, "format")?
        .ok_or(Error::Damaged { table: "_driftless_meta", what: "the format is missing".into() })
}

/// Notes that the parked rows are judged by this `schema_version`. Returns whether that is news: if not, whoever opens the
/// file need not judge them again.
pub(crate) fn judge_by(tx: &Transaction<'_>, schema_version: i64) -> Result<bool> {
    let by = format!("{schema_version} {}", env!("CARGO_PKG_VERSION"));
    if get::<String>(tx, "judged")?.is_some_and(|known| known == by) {
        return Ok(false);
    }
    set(tx, "judged", by)?;
    Ok(true)
}

/// Whether rows may be parked whose parents are there: a turn that was to take those away has not come to pass yet.
pub(crate) fn is_parking(connection: &Connection) -> Result<bool> {
    Ok(get::<i64>(connection, "parking")?.is_some_and(|parking| parking != 0))
}

pub(crate) fn set_parking(tx: &Transaction<'_>, parking: bool) -> Result<()> {
    set(tx, "parking", parking)
}

/// This file's id.
pub(crate) fn replica(connection: &Connection) -> Result<ReplicaId> {
    let bytes: Option<Vec<u8>> = get(connection, "replica")?;
    let missing = || Error::Damaged { table: "_driftless_meta", what: "the replica id is missing".into() };
    ReplicaId::from_slice(&bytes.ok_or_else(missing)?).in_table("_driftless_meta")
}

/// The version of the side tables, unless it is lost or damaged.
pub(crate) fn format_if_known(connection: &Connection) -> Option<i64> {
    get(connection, "format").ok().flatten()
}

/// Whether the version of the side tables is known.
pub(crate) fn has_format(connection: &Connection) -> Result<bool> {
    Ok(format_if_known(connection).is_some())
}

/// This file's id, unless it is lost or damaged.
pub(crate) fn replica_if_known(connection: &Connection) -> Result<Option<ReplicaId>> {
    if !has_format(connection)? {
        return Ok(None);
    }
    let bytes: Option<Vec<u8>> = get(connection, "replica").ok().flatten();
    Ok(bytes.and_then(|bytes| ReplicaId::from_slice(&bytes).ok()))
}

/// Begins again under a new id, of which no relay has heard. The space stays.
pub(crate) fn start_over(tx: &Transaction<'_>, path: &Path, format: i64, replica: ReplicaId) -> Result<()> {
    set(tx, "format", format)?;
    set_replica(tx, replica)?;
    set_unshared(tx)?;
    set_group_open(tx, false)?;
    set(tx, "started_over", 1)?;
    match inode_of(path)? {
        Some(inode) => set_inode(tx, inode),
        None => Ok(()),
    }
}

/// The repairs of the side tables that nobody may have read of yet, in words.
pub(crate) fn repaired(connection: &Connection) -> Result<Option<String>> {
    get(connection, "repaired")
}

/// Whether this file has lost its documents once: rows that it captures may have documents elsewhere.
pub(crate) fn has_started_over(connection: &Connection) -> Result<bool> {
    Ok(get::<i64>(connection, "started_over")?.is_some())
}

/// Whether this file ever had a text document.
pub(crate) fn had_texts(connection: &Connection) -> Result<bool> {
    Ok(get::<i64>(connection, "texts")?.is_some())
}

/// Notes that it has one.
pub(crate) fn note_texts(tx: &Transaction<'_>) -> Result<()> {
    sql::exec(
        tx,
        "writing _driftless_meta",
        "INSERT OR IGNORE INTO _driftless_meta (name, value) VALUES ('texts', 1)",
        [],
    )?;
    Ok(())
}

/// At which schema everything was last reconciled, as it was recorded.
pub(crate) fn reconciled(connection: &Connection) -> Result<Option<String>> {
    get(connection, "reconciled")
}

/// Records it, or that it is not known.
pub(crate) fn set_reconciled(tx: &Transaction<'_>, stamp: Option<&str>) -> Result<()> {
    match stamp {
        Some(stamp) => set(tx, "reconciled", stamp),
        None => forget(tx, "reconciled"),
    }
}

/// The rule that every table is tracked, in words; see `tracking::rule`.
pub(crate) fn rule(connection: &Connection) -> Result<Option<String>> {
    get(connection, "all")
}

pub(crate) fn set_rule(tx: &Transaction<'_>, rule: Option<&str>) -> Result<()> {
    match rule {
        Some(rule) => set(tx, "all", rule),
        None => forget(tx, "all"),
    }
}

/// The tables that were tracked not long ago without anybody naming them: their numbers, and when, in milliseconds since 1970.
pub(crate) fn newcomers(connection: &Connection) -> Result<Vec<(i64, i64)>> {
    let text: Option<String> = get(connection, "newcomers")?;
    // Somebody may have written to this table by hand: a text that cannot be read counts as an empty list.
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

pub(crate) fn set_newcomers(tx: &Transaction<'_>, newcomers: &[(i64, i64)]) -> Result<()> {
    let pairs = newcomers.iter().map(|(table, at)| serde_json::json!([table, at]));
    set(tx, "newcomers", serde_json::Value::Array(pairs.collect()).to_string())
}

fn forget(tx: &Transaction<'_>, name: &str) -> Result<()> {
    sql::exec(tx, "writing _driftless_meta", "DELETE FROM _driftless_meta WHERE name = ?1", [name])?;
    Ok(())
}

/// Notes what was repaired, beside what nobody may have read yet.
pub(crate) fn add_repaired(tx: &Transaction<'_>, note: &str) -> Result<()> {
    /// Beyond so many bytes a note is replaced, not added to.
    const LONGEST: usize = 2000;
    match repaired(tx)? {
        Some(before) if before.contains(note) => Ok(()),
        Some(before) if before.len() < LONGEST => set(tx, "repaired", format!("{before}; {note}")),
        _ => set(tx, "repaired", note),
    }
}

/// Forgets what was repaired.
pub(crate) fn forget_repaired(tx: &Transaction<'_>) -> Result<()> {
    forget(tx, "repaired")
}

/// What this file last had of what the space defines beside its tables, as schema/objects.rs writes it down.
pub(crate) fn seen(connection: &Connection) -> Result<Option<String>> {
    Ok(get(connection, "seen").ok().flatten())
}

pub(crate) fn set_seen(tx: &Transaction<'_>, seen: &str) -> Result<()> {
    set(tx, "seen", seen)
}

pub(crate) fn set_replica(tx: &Transaction<'_>, replica: ReplicaId) -> Result<()> {
    set(tx, "replica", replica.as_bytes())
}

/// The space the file belongs to.
pub(crate) fn space(connection: &Connection) -> Result<Option<SpaceId>> {
    let bytes: Option<Vec<u8>> = get(connection, "space")?;
    bytes.map(|bytes| SpaceId::from_slice(&bytes)).transpose().in_table("_driftless_meta")
}

pub(crate) fn set_space(tx: &Transaction<'_>, space: SpaceId) -> Result<()> {
    set(tx, "space", space.as_bytes())
}

/// Device-independent place of the file; a copy has another.
pub(crate) fn inode(connection: &Connection) -> Result<Option<i64>> {
    get(connection, "inode")
}

pub(crate) fn set_inode(tx: &Transaction<'_>, inode: i64) -> Result<()> {
    set(tx, "inode", inode)
}

/// The highest own seq that a relay acknowledged.
pub(crate) fn acked(connection: &Connection) -> Result<u64> {
    number(connection, "acked")
}

pub(crate) fn set_acked(tx: &Transaction<'_>, seq: u64) -> Result<()> {
    let highest = Number(shared(tx)?.max(seq));
    if get(tx, "shared")? != Some(highest) {
        set(tx, "shared", highest)?;
    }
    set(tx, "acked", Number(seq))
}

/// The highest own seq that any relay ever acknowledged, whichever relay the file meets now.
pub(crate) fn shared(connection: &Connection) -> Result<u64> {
    // A file of an older version noted only the other.
    Ok(number(connection, "shared")?.max(acked(connection)?))
}

/// No relay has anything under this file's name yet.
pub(crate) fn set_unshared(tx: &Transaction<'_>) -> Result<()> {
    set(tx, "shared", 0)?;
    set(tx, "acked", 0)
}

/// `at`: milliseconds since 1970.
pub(crate) fn set_opened(tx: &Transaction<'_>, at: i64) -> Result<()> {
    set(tx, "opened", at)
}

/// The random number that the last commit of an engine left; `None` in a file that only older versions have opened.
pub(crate) fn nonce(connection: &Connection) -> Result<Option<i64>> {
    get(connection, "nonce")
}

pub(crate) fn set_nonce(tx: &Transaction<'_>, nonce: i64) -> Result<()> {
    set(tx, "nonce", nonce)
}

/// Whether the last own changeset was a part that others must follow.
pub(crate) fn group_open(connection: &Connection) -> Result<bool> {
    Ok(get::<i64>(connection, "group_open")?.unwrap_or(0) != 0)
}

pub(crate) fn set_group_open(tx: &Transaction<'_>, open: bool) -> Result<()> {
    set(tx, "group_open", i64::from(open))
}

/// When and where a relay was last heard: (milliseconds since 1970, URL).
pub(crate) fn contact(connection: &Connection) -> Result<Option<(i64, String)>> {
    let (at, url) = (get(connection, "contact")?, get(connection, "url")?);
    Ok(at.zip(url))
}

pub(crate) fn set_contact(tx: &Transaction<'_>, at: i64, url: &str) -> Result<()> {
    set(tx, "contact", at)?;
    set(tx, "url", url)
}
