//! One row as one small Yrs document. Knows values and bytes, never a connection.
//!
//! A document has one root map, `row`, from lane name to lane (`driftless_protocol::lane`). What a stored document
//! shows is read straight from its bytes; Yrs is asked only where documents merge or a lane is overwritten, and
//! the document is dropped again afterwards: loaded row documents cost kilobytes each.

pub(crate) mod diff;
mod lanes;
#[cfg(test)]
mod model;
pub(crate) mod resolve;
mod view;

pub(crate) use lanes::{Change, Lanes};
pub(crate) use view::{ColumnNames, RowDocument, RowView};

use lanes::Sight;

use std::sync::Arc;

use driftless_protocol::WriterId;
use driftless_protocol::canonical::Writer;
use driftless_protocol::lane::{Content, Lane, LaneName, ROW_ROOT, Seen};
use driftless_protocol::validate::{self, InvalidUpdate};
use thiserror::Error;
use yrs::block::{ItemContent, Prelim, Unused};
use yrs::branch::BranchPtr;
use yrs::updates::decoder::Decode;
use yrs::{
    ClientID, Doc, Map, MapRef, OffsetKind, Options, ReadTxn, StateVector, Transact, TransactionMut, Update,
};

/// Why a document cannot be read or an update cannot be merged into it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RowDocError {
    /// The validator refuses the update.
    #[error("the update of a row is refused: {0}")]
    Invalid(#[from] InvalidUpdate),
    /// Yrs refuses what the validator let through.
    #[error("Yrs refuses the update: {0}")]
    Yrs(String),
    /// The update builds on others that are not here. Delivery is causal, so this is somebody's bug.
    #[error("the update builds on writes that are missing here")]
    Pending,
}

/// The bytes of a document after a write, and the update that takes others there.
#[derive(Debug)]
pub(crate) struct Written {
    /// The whole document, as it is stored.
    pub(crate) document: Vec<u8>,
    /// What others apply.
    pub(crate) update: Vec<u8>,
}

/// The lanes present in a stored document, parsed. Fails if the document is damaged.
fn lanes(document: &[u8]) -> Result<Lanes<'_>, RowDocError> {
    let present = validate::row_update(document)?.into_lanes().ok_or(RowDocError::Pending)?;
    Ok(Lanes::new(present))
}

/// A digest of what a stored document is: its Yrs state vector and its delete set, which together name its content.
/// Fails if the document is damaged.
pub(crate) fn digest(document: &[u8]) -> Result<[u8; 32], RowDocError> {
    let facts = validate::row_update(document)?;
    let mut hasher = blake3::Hasher::new();
    let mut number = |number: u64| {
        hasher.update(&number.to_le_bytes());
    };
    for (writer, clock) in facts.clocks() {
        number(writer.get());
        number(clock.into());
    }
    number(0);
    for (writer, start, end) in facts.deletions() {
        number(writer.get());
        number(start.into());
        number(end.into());
    }
    Ok(*hasher.finalize().as_bytes())
}

/// Writes `changes` at `time` as `writer`, who has seen the document (none: a new one) but for what `unseen` wrote.
pub(crate) fn write_seeing<'a>(
    document: Option<RowDocument<'a>>,
    writer: WriterId,
    time: i64,
    changes: Vec<Change<'a>>,
    unseen: &[WriterId],
) -> Result<Written, RowDocError> {
    write_with(document, writer, time, changes, Sight::AllBut(unseen))
}

/// The same where nothing was renamed and everything was seen.
#[cfg(test)]
fn write(
    document: Option<&[u8]>,
    writer: WriterId,
    time: i64,
    changes: Vec<Change<'_>>,
) -> Result<Written, RowDocError> {
    let document = document.map(|bytes| RowDocument::read(bytes, ColumnNames::default())).transpose()?;
    write_seeing(document, writer, time, changes, &[])
}

/// Writes `changes` beside what a document holds, as somebody does who has not seen it: what was found, at no known time
/// (`time` is 0 or below), or inserted where no row was to be seen. `None` if this writer has written in it before: a finder
/// is drawn from what it found, so that is there or has been superseded since.
pub(crate) fn write_beside<'a>(
    document: RowDocument<'a>,
    finder: WriterId,
    time: i64,
    changes: Vec<Change<'a>>,
) -> Result<Option<Written>, RowDocError> {
    if validate::row_update(document.bytes)?.writers().any(|known| known == finder) {
        return Ok(None);
    }
    write_with(Some(document), finder, time, changes, Sight::Blind).map(Some)
}

/// The cells of other columns that `changes` name as seen when they are written beside what a document holds.
pub(crate) fn seen_elsewhere(document: &RowDocument<'_>, changes: &[Change<'_>]) -> Vec<Seen> {
    let lanes = &document.lanes;
    let seen = changes.iter().flat_map(|change| match change {
        Change::Set { column, value } => {
            lanes.seen_elsewhere(&Lane::default(), column, &Content::Value(value.clone()), |_| false)
        }
        Change::SetText { .. } | Change::Add { .. } => Vec::new(),
    });
    seen.collect()
}

fn write_with<'a>(
    document: Option<RowDocument<'a>>,
    writer: WriterId,
    time: i64,
    changes: Vec<Change<'a>>,
    sight: Sight<'_>,
) -> Result<Written, RowDocError> {
    let (document, mut lanes) = match document {
        Some(RowDocument { bytes, lanes }) => (Some(bytes), lanes),
        None => (None, Lanes::default()),
    };
    let plan = lanes.write(writer, time, changes, sight);
    let written: Vec<(LaneName<'_>, Vec<u8>)> = plan
        .written
        .into_iter()
        .map(|name| {
            let bytes = lanes.get(&name).map(|lane| lane.to_bytes()).unwrap_or_default();
            (name, bytes)
        })
        .collect();
    let Some(document) = document else {
        let document = first_update(writer, &written);
        return Ok(Written { update: document.clone(), document });
    };
    let doc = load(document, writer)?;
    let root = doc.get_or_insert_map(ROW_ROOT);
    let mut txn = doc.transact_mut();
    for (name, bytes) in written {
        root.insert(&mut txn, name.to_string(), Binary(bytes));
    }
    for name in plan.removed {
        root.remove(&mut txn, &name.to_string());
    }
    let update = txn.encode_update_v1();
    drop(txn);
    Ok(Written { document: encode(&doc), update })
}

/// Merges an update from outside into a document (none: a new one) and gives back the whole document. The update
/// is validated first, and nothing of it may be left pending. Fails otherwise, and then nothing has happened.
pub(crate) fn merge(document: Option<&[u8]>, update: &[u8]) -> Result<Vec<u8>, RowDocError> {
    let facts = validate::row_update(update)?;
    let Some(document) = document else {
        return if facts.is_self_contained() { Ok(update.to_vec()) } else { Err(RowDocError::Pending) };
    };
    // This opening of the document writes nothing, so its client id is never used.
    let doc = load(document, WriterId::from_bits(1))?;
    let mut txn = doc.transact_mut();
    // Asked before applying: Yrs would take an update whose earlier clocks are missing, call nothing pending, and
    // read freed memory at the next update that overlaps the gap.
    let held = txn.state_vector();
    if facts.needs().iter().any(|&(writer, clock)| held.get(&ClientID::new(writer.get())) < clock) {
        return Err(RowDocError::Pending);
    }
    let update = Update::decode_v1(update).map_err(|error| RowDocError::Yrs(error.to_string()))?;
    txn.apply_update(update).map_err(|error| RowDocError::Yrs(error.to_string()))?;
    if txn.has_missing_updates() {
        return Err(RowDocError::Pending);
    }
    drop(txn);
    let document = encode(&doc);
    // Somebody who writes under another's writer id can fork a lane across two updates. Yrs bears it; stored, the
    // document could never be read again.
    validate::row_update(&document)?;
    Ok(document)
}

fn load(document: &[u8], writer: WriterId) -> Result<Doc, RowDocError> {
    let options = Options {
        offset_kind: OffsetKind::Utf16,
        // Random by default, and never looked at: a constant saves drawing it.
        guid: Arc::from(""),
        ..Options::with_client_id(ClientID::new(writer.get()))
    };
    let doc = Doc::with_options(options);
    let _: MapRef = doc.get_or_insert_map(ROW_ROOT);
    let mut txn = doc.transact_mut();
    let update = Update::decode_v1(document).map_err(|error| RowDocError::Yrs(error.to_string()))?;
    txn.apply_update(update).map_err(|error| RowDocError::Yrs(error.to_string()))?;
    drop(txn);
    Ok(doc)
}

fn encode(doc: &Doc) -> Vec<u8> {
    doc.transact().encode_state_as_update_v1(&StateVector::default())
}

/// The update that makes a new document with these lanes, in the bytes that Yrs would write (a unit test holds it
/// to that): most rows are written once, and this spares them the making of a `Doc`.
fn first_update(writer: WriterId, lanes: &[(LaneName<'_>, Vec<u8>)]) -> Vec<u8> {
    /// Content kind 3 (binary), with a parent-sub and without origins.
    const BINARY_UNDER_A_KEY: u8 = 0x23;
    let size: usize = lanes.iter().map(|(_, bytes)| bytes.len() + 32).sum();
    let mut update = Writer::with_capacity(16 + size);
    update.varint(1); // one client
    update.varint(lanes.len() as u64);
    update.varint(writer.get());
    update.varint(0); // from clock 0 on
    for (name, bytes) in lanes {
        update.byte(BINARY_UNDER_A_KEY);
        update.varint(1); // the parent is a root, named next
        update.block(ROW_ROOT.as_bytes());
        update.block(name.to_string().as_bytes());
        update.block(bytes);
    }
    update.varint(0); // nothing is deleted
    update.finish()
}

/// A binary value of a Yrs map as Yjs writes one. (`Any::Buffer` would become an "any" instead.)
struct Binary(Vec<u8>);

impl Prelim for Binary {
    type Return = Unused;

    fn into_content(self, _txn: &mut TransactionMut<'_>) -> (ItemContent, Option<Self>) {
        (ItemContent::Binary(self.0), None)
    }

    fn integrate(self, _txn: &mut TransactionMut<'_>, _inner_ref: BranchPtr) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use driftless_protocol::Value;
    use driftless_protocol::lane::LIFE;

    fn writer(id: u64) -> WriterId {
        WriterId::new(id).expect("a writer id")
    }

    fn set<'a>(column: &'a str, value: Value<'a>) -> Change<'a> {
        Change::set(column, value)
    }

    fn row<'a>(title: &'a str) -> Vec<Change<'a>> {
        vec![set(LIFE, Value::Integer(1)), set("title", Value::text(title))]
    }

    #[test]
    fn a_new_document_has_the_bytes_that_yrs_would_write() {
        let long = "x".repeat(600);
        let ours = write(None, writer(7), 5, row(&long)).expect("written");
        let doc = Doc::with_client_id(7);
        let root = doc.get_or_insert_map(ROW_ROOT);
        let present = lanes(&ours.document).expect("lanes");
        let mut txn = doc.transact_mut();
        for name in ["7", "7/title"] {
            let name = LaneName::parse(name).expect("a name");
            let bytes = present.get(&name).expect("a lane").to_bytes();
            root.insert(&mut txn, name.to_string(), Binary(bytes));
        }
        drop(txn);
        assert_eq!(ours.document, encode(&doc));
    }

    #[test]
    fn updates_take_another_copy_to_the_same_lanes() {
        let mut author: Option<Vec<u8>> = None;
        let mut reader: Option<Vec<u8>> = None;
        for n in 0..20u64 {
            let title = if n % 3 == 0 { "y".repeat(700) } else { format!("title {n}") };
            let written =
                write(author.as_deref(), writer(1 + n % 2), n as i64, row(&title)).expect("written");
            reader = Some(merge(reader.as_deref(), &written.update).expect("merged"));
            author = Some(written.document);
            let (a, r) = (author.as_deref().expect("there"), reader.as_deref().expect("there"));
            assert_eq!(lanes(a).expect("lanes"), lanes(r).expect("lanes"), "after write {n}");
            let shown = lanes(a).expect("lanes").state(false);
            assert_eq!(shown.value("title"), Some(&Value::text(&title)));
        }
    }

    #[test]
    fn ten_thousand_updates_keep_a_document_below_a_kilobyte() {
        for writers in 1..=2 {
            let mut document = None;
            for n in 0..10_000u64 {
                let title = format!("title {n}");
                let written = write(document.as_deref(), writer(1 + n % writers), n as i64, row(&title));
                document = Some(written.expect("written").document);
            }
            let size = document.expect("written").len();
            assert!(size < 1024, "{size} bytes by {writers} writers");
        }
    }

    #[test]
    fn ten_thousand_additions_keep_a_document_below_a_kilobyte_and_none_is_lost() {
        for writers in 1..=2 {
            let start = [set(LIFE, Value::Integer(1)), set("n", Value::Integer(0))];
            let mut document = write(None, writer(1), 0, start.to_vec()).expect("written").document;
            for n in 0..10_000u64 {
                let changes = vec![set(LIFE, Value::Integer(1)), Change::Add { column: "n".into(), by: 1 }];
                let written = write(Some(&document), writer(1 + n % writers), n as i64, changes);
                document = written.expect("written").document;
            }
            let shown = lanes(&document).expect("lanes").state(false).value("n").cloned();
            assert_eq!(shown, Some(Value::Integer(10_000)));
            assert!(document.len() < 1024, "{} bytes by {writers} writers", document.len());
        }
    }

    /// Each opening of an engine writes under a new id, and a lane that has added something stays. When every lane also
    /// named all the others, two hundred openings took 188 KB and a thousand would have taken megabytes.
    #[test]
    fn two_hundred_writers_that_add_in_turn_take_little_more_than_a_lane_each() {
        let mut document = None;
        for n in 0..200u64 {
            let id = WriterId::LIMIT - 1 - n * 7919;
            let changes = vec![set(LIFE, Value::Integer(1)), Change::Add { column: "n".into(), by: 1 }];
            document =
                Some(write(document.as_deref(), writer(id), n as i64, changes).expect("written").document);
        }
        let document = document.expect("written");
        let shown = lanes(&document).expect("lanes").state(false).value("n").cloned();
        assert_eq!(shown, Some(Value::Integer(200)));
        assert!(document.len() < 20_000, "{} bytes", document.len());
    }

    #[test]
    fn an_update_whose_predecessor_is_missing_is_refused_and_changes_nothing() {
        let first = write(None, writer(1), 1, row("a")).expect("written");
        let second = write(Some(&first.document), writer(1), 2, row("b")).expect("written");
        assert!(matches!(merge(None, &second.update), Err(RowDocError::Pending)));
        let other = write(None, writer(2), 1, row("c")).expect("written");
        assert!(matches!(merge(Some(&other.document), &second.update), Err(RowDocError::Pending)));
    }
}
