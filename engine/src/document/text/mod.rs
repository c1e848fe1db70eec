//! One text column of one row as a Yrs document of its own. Knows strings and bytes, never a connection.
//!
//! A document has one root text, `text`, in which offsets count UTF-16 code units, as in Yjs. It is stored as *parts*:
//! a base and the updates appended to it, in order, so that a keystroke in a long text writes a few bytes. No parts
//! and a base without items both are the empty text. Yrs has the document in memory only while it is asked.
//!
//! Parts were validated before they were stored, or written here; they are not validated again each time.

pub(crate) mod diff;
mod merge;

use std::sync::Arc;

use driftless_protocol::canonical::Writer;
use driftless_protocol::lane::TEXT_ROOT;
use driftless_protocol::validate::{self, InvalidUpdate};
use driftless_protocol::{RowKey, WriterId};
use thiserror::Error;
use yrs::block::{ItemContent, Prelim, Unused};
use yrs::branch::BranchPtr;
use yrs::types::Delta;
use yrs::updates::decoder::Decode;
use yrs::{
    ClientID, Doc, GetString, OffsetKind, Options, ReadTxn, StateVector, Text, TextRef, Transact,
    TransactionMut, Update,
};

pub use merge::merge_text;

/// An update with nothing in it: no writers, nothing deleted.
const EMPTY: [u8; 2] = [0, 0];

/// Why a text document cannot be read or an update cannot be merged into it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TextDocError {
    /// The validator refuses the update, or what the document would become.
    #[error("the update of a text is refused: {0}")]
    Invalid(#[from] InvalidUpdate),
    /// Yrs refuses what the validator let through.
    #[error("Yrs refuses the update: {0}")]
    Yrs(String),
    /// The update builds on others that are not here. Delivery is causal, so this is somebody's bug.
    #[error("the update builds on writes that are missing here")]
    Pending,
}

/// What a write is.
#[derive(Debug)]
pub(crate) struct Written {
    /// What others apply, and what is appended to the parts.
    pub(crate) update: Vec<u8>,
}

/// A document after an update from outside that had something new.
#[derive(Debug)]
pub(crate) struct Merged {
    /// What was new, to be appended to the parts.
    pub(crate) update: Vec<u8>,
    /// The whole document, to replace all parts.
    pub(crate) document: Vec<u8>,
    /// The text as it is now.
    pub(crate) content: String,
}

/// The text of a document. Fails if the document is damaged.
pub(crate) fn content(parts: &[&[u8]]) -> Result<String, TextDocError> {
    let (doc, text) = load(parts, READER)?;
    let content = text.get_string(&doc.transact());
    Ok(content)
}

/// Makes the text into `new`, by edits of `writer`. `None` if it is that already. Fails if the document is damaged.
pub(crate) fn write(parts: &[&[u8]], writer: WriterId, new: &str) -> Result<Option<Written>, TextDocError> {
    let (doc, text) = load(parts, writer)?;
    let mut txn = doc.transact_mut();
    let old = text.get_string(&txn);
    let edits = diff::edits(&old, new);
    if edits.is_empty() {
        return Ok(None);
    }
    let mut at = 0;
    let mut delta = Vec::with_capacity(3 * edits.len());
    for edit in edits {
        if edit.at > at {
            delta.push(Delta::Retain(edit.at - at, None));
        }
        // Before what is removed: a text that was replaced then stands between its old neighbours.
        if !edit.inserted.is_empty() {
            delta.push(Delta::Inserted(Inserted(edit.inserted), None));
        }
        if edit.removed > 0 {
            delta.push(Delta::Deleted(edit.removed));
        }
        at = edit.at + edit.removed;
    }
    text.apply_delta(&mut txn, delta);
    Ok(Some(Written { update: txn.encode_update_v1() }))
}

/// What `current` becomes when somebody makes `new` out of `base`, while others have made `current` out of it: both
/// changes, merged as two replicas' would be.
pub(crate) fn rebase(base: &str, new: &str, current: &str) -> Result<String, TextDocError> {
    let writer = |id: u64| WriterId::from_bits(id);
    let Some(begun) = write(&[], writer(1), base)? else { return Ok(format!("{current}{new}")) };
    let theirs = write(&[&begun.update], writer(2), current)?;
    let ours = write(&[&begun.update], writer(3), new)?;
    let parts: Vec<&[u8]> =
        [Some(&begun), theirs.as_ref(), ours.as_ref()].into_iter().flatten().map(|w| &w.update[..]).collect();
    content(&parts)
}

/// The first content of a document, and who it is by: a writer drawn from where the text stands and what it is. So two
/// copies that make the same first text of one row, apart from each other, make the very same document.
///
/// Only to be used where there is no document yet: a writer that has written in one would write its clocks again.
/// An empty text has nobody's items in it, so its update is the same whoever writes it.
pub(crate) fn seed(table: &str, key: &RowKey, column: &str, content: &str) -> (WriterId, Vec<u8>) {
    /// Content kind 4 (string), without origins.
    const STRING: u8 = 4;
    let place = [table.as_bytes(), key.as_bytes(), column.as_bytes()];
    let writer = drawn(b"driftless: the first content of a text, 1", place, [content.as_bytes()]);
    if content.is_empty() {
        return (writer, EMPTY.to_vec());
    }
    let mut update = Writer::with_capacity(content.len() + 32);
    update.varint(1); // one client
    update.varint(1); // with one item
    update.varint(writer.get());
    update.varint(0); // from clock 0 on
    update.byte(STRING);
    update.varint(1); // the parent is a root, named next
    update.block(TEXT_ROOT.as_bytes());
    update.block(content.as_bytes());
    update.varint(0); // nothing is deleted
    (writer, update.finish())
}

/// Makes a document into `content` that somebody wrote without it, as a whole. By a writer drawn from where it stands,
/// what was in it and what it becomes, so that two copies that do so apart make the very same update. `None` if it is
/// that already. Fails if the document is damaged.
pub(crate) fn restart(
    table: &str,
    key: &RowKey,
    column: &str,
    parts: &[&[u8]],
    content: &str,
) -> Result<Option<Vec<u8>>, TextDocError> {
    let document = compact(parts)?;
    let place = [table.as_bytes(), key.as_bytes(), column.as_bytes()];
    let writer = drawn(b"driftless: a text begins again, 1", place, [&document, content.as_bytes()]);
    let (doc, text) = load(&[&document], writer)?;
    let mut txn = doc.transact_mut();
    if text.get_string(&txn) == content {
        return Ok(None);
    }
    // Without looking for what is the same: what comes out must not depend on how good one is at that.
    let len = text.len(&txn);
    let mut delta = Vec::with_capacity(2);
    if !content.is_empty() {
        delta.push(Delta::Inserted(Inserted(content), None));
    }
    if len > 0 {
        delta.push(Delta::Deleted(len));
    }
    text.apply_delta(&mut txn, delta);
    Ok(Some(txn.encode_update_v1()))
}

/// A writer drawn from what it writes, and where.
fn drawn<'a>(what: &'a [u8], place: [&'a [u8]; 3], written: impl IntoIterator<Item = &'a [u8]>) -> WriterId {
    let mut hasher = blake3::Hasher::new();
    for part in [what].into_iter().chain(place).chain(written) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut bits = [0; 8];
    bits.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    WriterId::from_bits(u64::from_le_bytes(bits))
}

/// Merges an update from outside into a document. `None` if it has nothing new. The update is validated first, nothing
/// of it may be left pending, and the whole must be a document that others accept too. Fails otherwise, and then
/// nothing has happened.
pub(crate) fn merge(parts: &[&[u8]], update: &[u8]) -> Result<Option<Merged>, TextDocError> {
    let facts = validate::text_update(update)?;
    let (doc, text) = load(parts, READER)?;
    let mut txn = doc.transact_mut();
    // Asked before applying: Yrs would take an update whose earlier clocks are missing, call nothing pending, and
    // read freed memory at the next update that overlaps the gap.
    let held = txn.state_vector();
    if facts.needs().iter().any(|&(writer, clock)| held.get(&ClientID::new(writer.get())) < clock) {
        return Err(TextDocError::Pending);
    }
    // A document without items costs nothing: what the update costs by itself was checked.
    if !parts.is_empty() {
        validate::text_update_onto(&txn.encode_state_as_update_v1(&StateVector::default()), update)?;
    }
    apply(&mut txn, update)?;
    if txn.has_missing_updates() {
        return Err(TextDocError::Pending);
    }
    let update = txn.encode_update_v1();
    drop(txn);
    if update == EMPTY {
        return Ok(None);
    }
    let txn = doc.transact();
    let document = txn.encode_state_as_update_v1(&StateVector::default());
    // What each update by itself may cost, many together may not: such a document could not be sent to anybody.
    validate::text_update(&document)?;
    Ok(Some(Merged { update, document, content: text.get_string(&txn) }))
}

/// A digest of what a document is: its Yrs state vector, and the text. `None` for one that nobody has written in, which
/// is as good as none. Fails if the document is damaged.
pub(crate) fn digest(parts: &[&[u8]]) -> Result<Option<[u8; 32]>, TextDocError> {
    let (doc, text) = load(parts, READER)?;
    let txn = doc.transact();
    let mut clocks: Vec<(u64, u32)> =
        txn.state_vector().iter().map(|(writer, clock)| (writer.get(), *clock)).collect();
    if clocks.is_empty() {
        return Ok(None);
    }
    clocks.sort_unstable();
    let mut hasher = blake3::Hasher::new();
    for (writer, clock) in clocks {
        hasher.update(&writer.to_le_bytes());
        hasher.update(&clock.to_le_bytes());
    }
    hasher.update(text.get_string(&txn).as_bytes());
    Ok(Some(*hasher.finalize().as_bytes()))
}

/// All parts as one, without what was deleted. Fails if the document is damaged.
pub(crate) fn compact(parts: &[&[u8]]) -> Result<Vec<u8>, TextDocError> {
    let (doc, _) = load(parts, READER)?;
    let document = doc.transact().encode_state_as_update_v1(&StateVector::default());
    Ok(document)
}

/// Who opens a document without writing in it: the id is never used.
const READER: Option<WriterId> = None;

fn load(parts: &[&[u8]], writer: impl Into<Option<WriterId>>) -> Result<(Doc, TextRef), TextDocError> {
    let writer = writer.into().map_or(1, WriterId::get);
    let options = Options {
        offset_kind: OffsetKind::Utf16,
        // Random by default, and never looked at: a constant saves drawing it.
        guid: Arc::from(""),
        ..Options::with_client_id(ClientID::new(writer))
    };
    let doc = Doc::with_options(options);
    let text = doc.get_or_insert_text(TEXT_ROOT);
    for part in parts {
        apply(&mut doc.transact_mut(), part)?;
    }
    Ok((doc, text))
}

fn apply(txn: &mut TransactionMut<'_>, update: &[u8]) -> Result<(), TextDocError> {
    let update = Update::decode_v1(update).map_err(|error| TextDocError::Yrs(error.to_string()))?;
    txn.apply_update(update).map_err(|error| TextDocError::Yrs(error.to_string()))
}

/// A string as it goes into a Yrs text.
struct Inserted<'a>(&'a str);

impl Prelim for Inserted<'_> {
    type Return = Unused;

    fn into_content(self, _txn: &mut TransactionMut<'_>) -> (ItemContent, Option<Self>) {
        (ItemContent::String(self.0.into()), None)
    }

    fn integrate(self, _txn: &mut TransactionMut<'_>, _inner_ref: BranchPtr) {}
}

#[cfg(test)]
mod tests;
