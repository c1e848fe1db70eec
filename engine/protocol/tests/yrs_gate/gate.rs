//! What must hold of every update that the validator accepts: yrs takes it, on any whole document, and lives; and if
//! the document held what the update needs, it is whole afterwards.
//!
//! A document that is not whole is never kept, here as in the engine: applied to one with a gap in it, an update
//! that overlaps the gap makes yrs 0.28 read memory that it has freed (`BlockSet::exclude`).
//!
//! Shared by the tests and the fuzz targets. Everything panics on a violation; hanging is for the caller to
//! notice.

use std::collections::BTreeMap;

use driftless_protocol::lane::{LaneName, ROW_ROOT, TEXT_ROOT};
use driftless_protocol::validate::{self, RowUpdateFacts, TextUpdateFacts};
use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{
    ClientID, Doc, GetString, Map, OffsetKind, Options, Out, ReadTxn, StateVector, Text, Transact, Update,
};

/// A document as the engine opens them.
pub(crate) fn document() -> Doc {
    document_of(9_007_199_254_740_881)
}

pub(crate) fn document_of(client: u64) -> Doc {
    Doc::with_options(Options {
        client_id: ClientID::new(client),
        offset_kind: OffsetKind::Utf16,
        ..Options::default()
    })
}

pub(crate) fn apply(doc: &Doc, update: &[u8]) {
    let update = Update::decode_v1(update).expect("what is accepted decodes");
    doc.transact_mut().apply_update(update).expect("what is accepted applies");
}

pub(crate) fn state(doc: &Doc) -> Vec<u8> {
    doc.transact().encode_state_as_update_v1(&StateVector::default())
}

pub(crate) fn is_pending(doc: &Doc) -> bool {
    doc.transact().has_missing_updates()
}

/// Whether the document holds what an update needs.
pub(crate) fn covers(doc: &Doc, needs: &[(driftless_protocol::WriterId, u32)]) -> bool {
    let vector = doc.transact().state_vector();
    needs.iter().all(|&(writer, clock)| vector.get(&ClientID::new(writer.get())) >= clock)
}

/// The lanes that yrs shows.
pub(crate) fn lanes(doc: &Doc) -> BTreeMap<String, Vec<u8>> {
    let map = doc.get_or_insert_map(ROW_ROOT);
    let txn = doc.transact();
    let bytes = |out| match out {
        Out::Any(yrs::Any::Buffer(bytes)) => bytes.to_vec(),
        other => panic!("a lane is {other:?}"),
    };
    map.iter(&txn).map(|(key, out)| (key.to_owned(), bytes(out))).collect()
}

pub(crate) fn text(doc: &Doc) -> String {
    let text = doc.get_or_insert_text(TEXT_ROOT);
    let txn = doc.transact();
    let string = text.get_string(&txn);
    assert_eq!(
        string.encode_utf16().count(),
        text.len(&txn) as usize,
        "yrs counts the text as long as it is"
    );
    string
}

/// The same for the lanes as the validator reads them.
pub(crate) fn lanes_of_facts(facts: &RowUpdateFacts<'_>) -> Option<BTreeMap<String, Vec<u8>>> {
    let lanes = facts.lanes()?;
    assert!(lanes.windows(2).all(|pair| pair[0].0 < pair[1].0), "lanes ascend");
    let entry = |(name, bytes): (LaneName<'_>, &[u8])| (name.to_string(), bytes.to_vec());
    Some(lanes.into_iter().map(entry).collect())
}

/// Puts an update of a row document through yrs, alone and on top of `bases`, if the validator accepts it.
pub(crate) fn row(bytes: &[u8], bases: &[Vec<u8>]) -> bool {
    let Ok(facts) = validate::row_update(bytes) else { return false };
    let fresh = document();
    row_onto(&fresh, bytes, &facts);
    assert_eq!(facts.is_self_contained(), facts.needs().is_empty());
    if let Some(expected) = lanes_of_facts(&facts) {
        assert_eq!(lanes(&fresh), expected, "the validator and yrs see the same lanes");
        let again = state(&fresh);
        let facts = validate::row_update(&again).expect("yrs writes only what is accepted");
        assert_eq!(lanes_of_facts(&facts), Some(expected), "and see them again in what yrs writes");
    }
    for base in bases.iter().filter(|base| is_whole_row(base)) {
        let doc = document();
        apply(&doc, base);
        row_onto(&doc, bytes, &facts);
        if facts.is_self_contained() {
            let base_facts = validate::row_update(base).expect("accepted just now");
            row_onto(&fresh, base, &base_facts);
        }
    }
    true
}

/// Whether it is a document that the engine would store.
pub(crate) fn is_whole_row(bytes: &[u8]) -> bool {
    validate::row_update(bytes).is_ok_and(|facts| facts.is_self_contained())
}

fn row_onto(doc: &Doc, bytes: &[u8], facts: &RowUpdateFacts<'_>) {
    let covered = covers(doc, facts.needs());
    let before = doc.transact().state_vector();
    apply(doc, bytes);
    lanes(doc);
    let written = state(doc);
    doc.transact().encode_diff_v1(&before);
    if !covered {
        return;
    }
    assert!(!is_pending(doc), "what is needed was there, so nothing waits");
    apply(doc, bytes);
    assert_eq!(state(doc).len(), written.len(), "applying twice changes nothing");
    match validate::row_update(&written) {
        Ok(facts) => {
            assert!(facts.is_self_contained(), "a whole document stays whole");
            let copy = document();
            apply(&copy, &written);
            assert_eq!(lanes(&copy), lanes(doc), "what was written is read as it was");
        }
        // Two histories of one writer: only a forger makes these. yrs lives, but such a document is not stored.
        Err(validate::InvalidUpdate::Fork(_)) => {}
        Err(error) => panic!("yrs wrote what is refused: {error}"),
    }
}

/// Puts an update of a text document through yrs, alone and on top of `bases`, if the validator accepts it.
pub(crate) fn text_update(bytes: &[u8], bases: &[Vec<u8>]) -> bool {
    let Ok(facts) = validate::text_update(bytes) else { return false };
    let fresh = document();
    text_onto(&fresh, bytes, &facts);
    for base in bases.iter().filter(|base| is_whole_text(base)) {
        let doc = document();
        apply(&doc, base);
        if let Err(error) = validate::text_update_onto(base, bytes) {
            let covered = covers(&doc, facts.needs());
            assert!(!covered || matches!(error, validate::InvalidUpdate::CutCharacter(_)), "{error}");
        }
        text_onto(&doc, bytes, &facts);
        if facts.is_self_contained() {
            let base_facts = validate::text_update(base).expect("accepted just now");
            text_onto(&fresh, base, &base_facts);
        }
    }
    true
}

/// Whether it is a document that the engine would store.
pub(crate) fn is_whole_text(bytes: &[u8]) -> bool {
    validate::text_update(bytes).is_ok_and(|facts| facts.is_self_contained())
}

fn text_onto(doc: &Doc, bytes: &[u8], facts: &TextUpdateFacts) {
    let covered = covers(doc, facts.needs());
    let before = doc.transact().state_vector();
    apply(doc, bytes);
    text(doc);
    let written = state(doc);
    doc.transact().encode_diff_v1(&before);
    if !covered {
        return;
    }
    assert!(!is_pending(doc), "what is needed was there, so nothing waits");
    assert!(is_whole_text(&written), "a whole document stays whole");
    apply(doc, bytes);
    text(doc);
    // Of origins that no author can have written, yrs may make another order when it reads them again.
    let copy = document();
    apply(&copy, &written);
    text(&copy);
}

/// Puts a state vector through yrs, against these whole documents, if the validator accepts it.
pub(crate) fn state_vector(bytes: &[u8], documents: &[Vec<u8>]) -> bool {
    if validate::state_vector(bytes).is_err() {
        return false;
    }
    let vector = StateVector::decode_v1(bytes).expect("what is accepted decodes");
    let written = vector.encode_v1();
    assert_eq!(validate::state_vector(&written), Ok(()), "what yrs writes of it is accepted");
    assert_eq!(StateVector::decode_v1(&written).ok().as_ref(), Some(&vector), "and is the same");
    for document in documents {
        let doc = document_of(1);
        apply(&doc, document);
        let missing = doc.transact().encode_diff_v1(&vector);
        let is_text = validate::text_update(document).is_ok();
        // A vector that ends within a character has yrs send half of it, as U+FFFD: that is accepted too.
        let accepted = if is_text {
            validate::text_update(&missing).is_ok()
        } else {
            validate::row_update(&missing).is_ok()
        };
        assert!(accepted, "what yrs sends to whoever has this is accepted");
        let mut merged = doc.transact().state_vector();
        merged.merge(vector.clone());
        assert!(vector.iter().all(|(&client, &clock)| merged.get(&client) >= clock));
    }
    true
}
