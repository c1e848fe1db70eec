//! The documents of this file against all that the space holds.
//!
//! The relay never opens a body and knows no Yrs, so it has nothing to compare with: everything is downloaded into a
//! replica beside the file, as a clone is, but without tables. That costs the size of the data; and it proves more than a
//! relay's word could: that what a newcomer gets is what this file has. Both sides are compared when their state vectors
//! are equal; while others go on writing, that is tried again at a later vector, and not for ever.
//!
//! Compared are *fingerprints* of ranges of keys: BLAKE3 over each key and the state of its document, which is the Yrs
//! state vector and the delete set (the vector alone does not see deletes). Where a range begins depends on the keys
//! alone, so that a row that one side lacks moves no other range. Only ranges that differ are looked at row by row.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use driftless_protocol::RowKey;
use rusqlite::{Connection, Transaction};

use super::VerifyOptions;
use super::report::{Check, DEFINITIONS_CALLED, plural};
use crate::api::engine::Engine;
use crate::config::{Config, SyncConfig};
use crate::document;
use crate::error::{Doing, Result};
use crate::file::draft::Draft;
use crate::replica::snapshot;
use crate::store::tables::{self, DEFINITIONS, Entry};
use crate::store::{self, documents, identity, progress, quarantine, texts, writers};
use crate::sync::SyncHandle;

/// How often to look for equal vectors while others write.
const TRIES: usize = 8;
/// How long to wait between two tries.
const PAUSE: Duration = Duration::from_millis(200);
/// One key in so many begins a range.
const RANGE_ROWS: u64 = 128;
/// Ranges whose rows are held in memory at once are few: beyond so many rows that differ the rest is only counted.
const MOST_ROWS: usize = 1 << 20;

/// The result of a comparison that could also repair.
pub(super) struct Met {
    pub(super) found: Check,
    pub(super) repairs: Vec<String>,
    pub(super) after: Check,
}

/// A row by the name of its table, as it travels.
type Row = (String, RowKey);

/// Sends what is not sent, compares, and repairs if asked to: in both directions.
pub(super) fn meet(
    path: &Path,
    relay: &SyncConfig,
    options: &VerifyOptions,
    tell: &mut dyn FnMut(&str),
) -> Result<Met> {
    if let Some(check) = without_space(path)? {
        return Ok(Met { after: check.clone(), found: check, repairs: Vec::new() });
    }
    let engine = Engine::open(path, Config::default())?;
    tell("sending what is not sent");
    let syncing = engine.sync_existing(relay.clone())?;
    let download = Download::begin(path, relay)?;
    let level = |tell: &mut dyn FnMut(&str)| -> Result<Compared> {
        for _ in 0..TRIES {
            syncing.sync_now(options.timeout)?;
            tell("downloading the space");
            download.syncing.sync_now(options.timeout)?;
            tell("comparing fingerprints");
            if let Some(compared) = compare(path, &download.draft.path)? {
                return Ok(compared);
            }
        }
        Ok(Compared::never())
    };
    let compared = level(tell)?;
    let mut met = Met { found: compared.check(), repairs: Vec::new(), after: compared.check() };
    if options.repair {
        let theirs =
            writers::all(&store::open_to_read(&download.draft.path, Config::default().busy_timeout)?)?;
        let learnt = engine.worker().call_blocking(move |replica| replica.remember_writers(&theirs))?;
        if learnt > 0 {
            met.repairs.push(format!("learnt from the space who wrote: {learnt} writers"));
        }
    }
    if options.repair && (!compared.rows.is_empty() || has_quarantine(path)?) {
        tell("repairing");
        met.repairs.extend(repair(&engine, path, &download, &compared)?);
        met.after = level(tell)?.check();
    }
    syncing.stop();
    engine.close();
    Ok(met)
}

/// Compares while another engine has the file: what it has not sent or applied yet is waited for, but not for ever.
pub(super) fn beside(
    path: &Path,
    relay: &SyncConfig,
    timeout: Duration,
    tell: &mut dyn FnMut(&str),
) -> Result<Check> {
    if let Some(check) = without_space(path)? {
        return Ok(check);
    }
    let download = Download::begin(path, relay)?;
    for _ in 0..TRIES {
        tell("downloading the space");
        download.syncing.sync_now(timeout)?;
        tell("comparing fingerprints");
        if let Some(compared) = compare(path, &download.draft.path)? {
            return Ok(compared.check());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(Compared::never().check())
}

/// What to say of a file that has no space: by asking for one it would join it.
fn without_space(path: &Path) -> Result<Option<Check>> {
    let connection = store::open_to_read(path, Config::default().busy_timeout)?;
    if identity::space(&connection)?.is_some() {
        return Ok(None);
    }
    let mut check = Check::new("relay");
    let what = "this file belongs to no space, so there is nothing to compare it with: sync it first";
    check.differs(None, None, what.to_owned());
    Ok(Some(check))
}

/// The space, downloaded into a replica beside the file.
struct Download {
    // In this order: the sync ends before the engine, and the engine before its file goes.
    syncing: SyncHandle,
    _engine: Engine,
    draft: Draft,
}

impl Download {
    fn begin(path: &Path, relay: &SyncConfig) -> Result<Self> {
        let draft = Draft::create(path)?;
        let engine = Engine::open(&draft.path, Config { turn_gap: Duration::ZERO, ..Config::default() })?;
        let syncing = engine.sync_existing(relay.clone())?;
        Ok(Self { syncing, _engine: engine, draft })
    }
}

/// How the two sides differ.
#[derive(Debug, Default)]
struct Compared {
    documents: u64,
    /// The names of tables in reports, by the names under which the tables travel.
    called: BTreeMap<String, String>,
    rows: Vec<(Row, Side)>,
    notes: Vec<String>,
}

/// Who has a document that the other has not, or has otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Ours,
    Theirs,
    Both,
}

impl Compared {
    fn never() -> Self {
        let note =
            "not compared: the space was written to faster than it could be downloaded; try again later";
        Self { notes: vec![note.to_owned()], ..Self::default() }
    }

    fn check(&self) -> Check {
        let mut check = Check::new("relay");
        check.looked_at = self.documents;
        check.notes.clone_from(&self.notes);
        for ((table, key), side) in &self.rows {
            let what = match side {
                Side::Ours => "the space lacks its document",
                Side::Theirs => "this file lacks the document that the space has",
                Side::Both => "the document of this file and that of the space differ",
            };
            let called = self.called.get(table).unwrap_or(table).clone();
            check.differs(Some(called), Some(key.to_string()), what.to_owned());
        }
        check
    }
}

/// Compares two files, if they hold the same changesets.
fn compare(ours: &Path, theirs: &Path) -> Result<Option<Compared>> {
    let doing = "comparing with the space";
    let timeout = Config::default().busy_timeout;
    let (mut ours, mut theirs) = (store::open_to_read(ours, timeout)?, store::open_to_read(theirs, timeout)?);
    let (ours, theirs) = (ours.transaction().doing(doing)?, theirs.transaction().doing(doing)?);
    if progress::vector(&ours)? != progress::vector(&theirs)? {
        return Ok(None);
    }
    let mut compared = Compared::default();
    let aside = quarantine::len(&theirs)?;
    if aside > 0 {
        let changesets = plural(aside, "changeset", "changesets");
        compared.notes.push(format!("the space holds {changesets} that no newcomer can apply"));
    }
    compared.called = table_names(&theirs)?;
    // Ours last: a table is called as this file calls it.
    compared.called.extend(table_names(&ours)?);
    for (name, called) in compared.called.clone() {
        let (here, there) = (ranges(&ours, &name)?, ranges(&theirs, &name)?);
        let documents: u64 = here.iter().map(|range| range.rows).sum();
        compared.documents += documents;
        if name != "_driftless_definitions" {
            let print = fingerprint(&here);
            let documents = plural(documents, "document", "documents");
            compared.notes.push(format!("{called}: {documents}, fingerprint {print}"));
        }
        let one_sided = |one: &[Range], other: &[Range]| -> Vec<(Vec<u8>, Vec<u8>)> {
            let known: BTreeSet<&Range> = other.iter().collect();
            let differ = one.iter().filter(|range| !known.contains(range));
            differ.map(|range| (range.first.clone(), range.last.clone())).collect()
        };
        let (mine, yours) = (one_sided(&here, &there), one_sided(&there, &here));
        let (mine, yours) = (digests(&ours, &name, &mine)?, digests(&theirs, &name, &yours)?);
        let keys: BTreeSet<&Vec<u8>> = mine.keys().chain(yours.keys()).collect();
        for key in keys {
            let side = match (mine.get(key), yours.get(key)) {
                (Some(one), Some(other)) if one == other => continue,
                (Some(_), Some(_)) => Side::Both,
                (Some(_), None) => Side::Ours,
                (None, _) => Side::Theirs,
            };
            // A key that cannot be read is found with the documents themselves.
            if let Ok(key) = RowKey::from_bytes(key) {
                compared.rows.push(((name.clone(), key), side));
            }
        }
    }
    Ok(Some(compared))
}

/// The names under which tables travel, and what they are called.
fn table_names(connection: &Connection) -> Result<BTreeMap<String, String>> {
    let called = |entry: &Entry| match entry.id {
        DEFINITIONS => DEFINITIONS_CALLED.to_owned(),
        _ => entry.spelled.clone(),
    };
    Ok(tables::all(connection)?.into_iter().map(|entry| (entry.name.clone(), called(&entry))).collect())
}

/// A range of keys of one table: where it begins and ends, and what the documents in it are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    first: Vec<u8>,
    last: Vec<u8>,
    rows: u64,
    digest: [u8; 32],
}

fn begins_range(key: &[u8]) -> bool {
    let mut bits = [0; 8];
    bits.copy_from_slice(&blake3::hash(key).as_bytes()[..8]);
    u64::from_le_bytes(bits) % RANGE_ROWS == 0
}

/// All ranges of a table, in order.
fn ranges(connection: &Transaction<'_>, name: &str) -> Result<Vec<Range>> {
    let mut ranges = Vec::new();
    let mut open: Option<(Range, blake3::Hasher)> = None;
    let close = |open: Option<(Range, blake3::Hasher)>, ranges: &mut Vec<Range>| {
        if let Some((range, hasher)) = open {
            ranges.push(Range { digest: *hasher.finalize().as_bytes(), ..range });
        }
    };
    each_document(connection, name, (&[], None), |key, digest| {
        if open.is_none() || begins_range(key) {
            close(open.take(), &mut ranges);
        }
        let (range, hasher) = open.get_or_insert_with(|| {
            let range = Range { first: key.to_vec(), last: Vec::new(), rows: 0, digest: [0; 32] };
            (range, blake3::Hasher::new())
        });
        range.last.clear();
        range.last.extend_from_slice(key);
        range.rows += 1;
        hasher.update(&(key.len() as u64).to_le_bytes());
        hasher.update(key);
        hasher.update(&digest);
    })?;
    close(open, &mut ranges);
    Ok(ranges)
}

/// The documents of some ranges, one by one.
fn digests(
    connection: &Transaction<'_>,
    name: &str,
    ranges: &[(Vec<u8>, Vec<u8>)],
) -> Result<BTreeMap<Vec<u8>, [u8; 32]>> {
    let mut digests = BTreeMap::new();
    for (first, last) in ranges {
        each_document(connection, name, (first, Some(last)), |key, digest| {
            if digests.len() < MOST_ROWS {
                digests.insert(key.to_vec(), digest);
            }
        })?;
    }
    Ok(digests)
}

/// A digest of what a document is; of its bytes, if it cannot be read.
fn digest(body: &[u8]) -> [u8; 32] {
    document::row::digest(body).unwrap_or_else(|_| *blake3::hash(body).as_bytes())
}

/// A table's fingerprint for people: two files with the same one have the same documents of it.
fn fingerprint(ranges: &[Range]) -> String {
    let mut hasher = blake3::Hasher::new();
    for range in ranges {
        hasher.update(&range.digest);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

fn each_document(
    connection: &Transaction<'_>,
    name: &str,
    range: (&[u8], Option<&[u8]>),
    mut see: impl FnMut(&[u8], [u8; 32]),
) -> Result<()> {
    documents::each_of(connection, name, range, |table, key, body| {
        let mut digest = digest(body);
        for (column, text) in texts::of_row(connection, table, key)? {
            let Some(text) = document::text::digest(&text.parts()).unwrap_or(Some([0; 32])) else { continue };
            let mut hasher = blake3::Hasher::new();
            hasher.update(&digest);
            hasher.update(column.as_bytes());
            hasher.update(&text);
            digest = *hasher.finalize().as_bytes();
        }
        see(key, digest);
        Ok(())
    })
}

fn has_quarantine(path: &Path) -> Result<bool> {
    Ok(quarantine::len(&store::open_to_read(path, Config::default().busy_timeout)?)? > 0)
}

/// Merges what the space has into the file's documents, and sends it what it lacks then. Both sides end with the union.
fn repair(engine: &Engine, path: &Path, download: &Download, compared: &Compared) -> Result<Vec<String>> {
    let timeout = Config::default().busy_timeout;
    let (mut taken, mut repairs) = (0, Vec::new());
    let theirs: BTreeSet<Row> =
        compared.rows.iter().filter(|(_, side)| *side != Side::Ours).map(|(row, _)| row.clone()).collect();
    if !theirs.is_empty() {
        taken = theirs.len();
        let parts = snapshot::of_rows(&download.draft.path, timeout, &theirs)?;
        engine.worker().call_blocking(move |replica| replica.take_documents(parts))?;
    }
    let retried = engine.worker().call_blocking(|replica| replica.try_again())?;
    let settled = settled_by(path, &download.draft.path)?;
    let applied = retried + settled.len();
    engine.worker().call_blocking(move |replica| replica.forget_set_aside(&settled))?;
    // What still differs, or was ours alone, the space lacks.
    let lacking: BTreeSet<Row> = match compare_documents(path, &download.draft.path, compared)? {
        rows if rows.is_empty() => BTreeSet::new(),
        rows => rows,
    };
    let sent = lacking.len();
    engine.worker().call_blocking(move |replica| replica.publish(&lacking))?;
    for (count, what) in [
        (taken, "merged documents of the space into this file's: "),
        (applied, "applied what was set aside, or took what it says from the space: "),
        (sent, "sent documents to the space whole: "),
    ] {
        if count > 0 {
            repairs.push(format!("{what}{count}"));
        }
    }
    Ok(repairs)
}

/// Of the rows that differed, those whose document here is still another than the space's: it lacks something.
fn compare_documents(ours: &Path, theirs: &Path, compared: &Compared) -> Result<BTreeSet<Row>> {
    let doing = "comparing with the space";
    let timeout = Config::default().busy_timeout;
    let (mut ours, mut theirs) = (store::open_to_read(ours, timeout)?, store::open_to_read(theirs, timeout)?);
    let (ours, theirs) = (ours.transaction().doing(doing)?, theirs.transaction().doing(doing)?);
    let mut lacking = BTreeSet::new();
    for (row, _) in &compared.rows {
        let one = [(row.1.as_bytes().to_vec(), row.1.as_bytes().to_vec())];
        let (here, there) = (digests(&ours, &row.0, &one)?, digests(&theirs, &row.0, &one)?);
        if !here.is_empty() && here != there {
            lacking.insert(row.clone());
        }
    }
    Ok(lacking)
}

/// What is set aside here although the space's documents have it.
fn settled_by(ours: &Path, theirs: &Path) -> Result<Vec<i64>> {
    let timeout = Config::default().busy_timeout;
    let (ours, theirs) = (store::open_to_read(ours, timeout)?, store::open_to_read(theirs, timeout)?);
    let (vector, aside) = (progress::vector(&theirs)?, quarantine::list(&theirs)?);
    let whole = quarantine::len(&theirs)? == 0;
    let has = |from: Option<(driftless_protocol::ReplicaId, u64)>| match from {
        Some((replica, seq)) => vector.get(replica) >= seq && !aside.contains(&(replica, seq)),
        // Of a snapshot nobody knows any more what it held: all that the space has is here now.
        None => whole,
    };
    Ok(quarantine::all(&ours)?.into_iter().filter(|aside| has(aside.from)).map(|aside| aside.id).collect())
}
