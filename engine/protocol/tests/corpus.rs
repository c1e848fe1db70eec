//! Bytes that made yrs panic, hang or allocate without bound, one hex string a line in `corpus/`: every one is
//! refused, in no time.

use std::time::{Duration, Instant};

use driftless_protocol::validate;

/// The lines of a file of the corpus.
fn lines(text: &str) -> Vec<Vec<u8>> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| hex::decode(line).expect("the corpus is hex")).collect()
}

/// Panics if `refuses` accepts the bytes or takes its time.
fn refused(bytes: &[u8], refuses: impl Fn(&[u8]) -> bool) {
    let start = Instant::now();
    assert!(refuses(bytes), "accepted: {}", hex::encode(bytes));
    let took = start.elapsed();
    assert!(took < Duration::from_millis(10), "took {took:?}: {}", hex::encode(bytes));
}

#[test]
fn every_update_that_hurt_yrs_is_refused_at_once() {
    let corpus = lines(include_str!("corpus/hostile-updates-v1.hex"));
    assert!(corpus.len() > 200, "{} lines", corpus.len());
    for bytes in corpus {
        refused(&bytes, |bytes| validate::row_update(bytes).is_err());
        refused(&bytes, |bytes| validate::text_update(bytes).is_err());
    }
}

#[test]
fn every_state_vector_that_hurt_yrs_is_refused_at_once() {
    let corpus = lines(include_str!("corpus/hostile-state-vectors.hex"));
    assert!(!corpus.is_empty());
    for bytes in corpus {
        refused(&bytes, |bytes| validate::state_vector(bytes).is_err());
    }
}
