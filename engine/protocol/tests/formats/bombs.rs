//! Few bytes that claim to be many, and bytes that are nothing at all.

use std::time::{Duration, Instant};

use driftless_protocol::canonical::Writer;
use driftless_protocol::changeset::MAX_BODY_BYTES;
use driftless_protocol::lane::Lane;
use driftless_protocol::{
    Changeset, ClientMessage, FrameError, RelayMessage, RowKey, SnapshotPart, Value, validate,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::forged::{forge, sealed};

/// Panics if `refused` is false, or takes so long that all that the bytes claim must have been read.
#[track_caller]
fn cheaply(refused: impl FnOnce() -> bool) {
    let start = Instant::now();
    assert!(refused(), "should be refused");
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
}

#[test]
fn a_decompression_bomb_is_refused_cheaply() {
    let zeros = vec![0; MAX_BODY_BYTES + 1];
    let bomb = forge(&zeros, 10);
    assert!(bomb.len() < 64 << 10, "{} bytes", bomb.len());
    let changeset = Changeset::from_bytes(bomb).expect("a right checksum");
    cheaply(|| matches!(changeset.body(), Err(FrameError::Compression)));

    let honest = forge(&zeros, zeros.len() as u64);
    cheaply(
        || matches!(Changeset::from_bytes(honest), Err(FrameError::TooLarge(n)) if n == zeros.len() as u64),
    );
    for claimed in [11, 1 << 20, MAX_BODY_BYTES as u64] {
        let changeset = Changeset::from_bytes(forge(&[0; 10], claimed)).expect("a right checksum");
        cheaply(|| matches!(changeset.body(), Err(FrameError::Compression)));
    }
    let changeset = Changeset::from_bytes(forge(&[0; 10], u64::MAX));
    assert!(matches!(changeset, Err(FrameError::TooLarge(u64::MAX))));
}

#[test]
fn length_prefix_bombs_are_refused_cheaply() {
    let hello = |tail: &[u8]| {
        let mut frame = vec![1, 1, 0, 0];
        frame.extend([1; 16]);
        frame.extend(tail);
        sealed(frame)
    };
    // A vector, then a token, of 2^64 - 1, 2^40, 2^32 - 1 and 4 million entries or bytes.
    let lengths: [Vec<u8>; 4] = [
        [[253].as_slice(), &u64::MAX.to_le_bytes()].concat(),
        [[253].as_slice(), &(1u64 << 40).to_le_bytes()].concat(),
        [[252].as_slice(), &u32::MAX.to_le_bytes()].concat(),
        [[252].as_slice(), &4_000_000u32.to_le_bytes()].concat(),
    ];
    for length in lengths {
        cheaply(|| ClientMessage::decode(hello(&length)).is_err());
        cheaply(|| ClientMessage::decode(hello(&[&[0, 1], &length[..]].concat())).is_err());
    }
    let huge = [u32::MAX.to_le_bytes().as_slice(), &[0; 100]].concat();
    cheaply(|| Changeset::from_bytes(huge.into()).is_err());

    // Counts of canonical bytes: authors, tables, rows, stamps, cells, seen, floors.
    for count in [u64::MAX, 1 << 40, 1 << 31, 1 << 20] {
        let after = |bytes: &[u8]| {
            let mut writer = Writer::new();
            writer.raw(bytes);
            writer.varint(count);
            writer.finish()
        };
        for body in [after(&[1]), after(&[1, 0]), after(&[1, 0, 0]), after(&[1, 0, 1, 1, b'a', 0, 0])] {
            let changeset = Changeset::from_bytes(forge(&body, body.len() as u64)).expect("a right checksum");
            cheaply(|| {
                let body = changeset.body().expect("decompresses");
                body.open().map_or(true, |(_, rows)| rows.last().is_some_and(|row| row.is_err()))
            });
        }
        for lane in [after(&[1]), after(&[1, 0]), after(&[1, 1, 1, 0, 1, 1, b'a', 0, 0]), after(&[1, 0, 0])] {
            cheaply(|| Lane::from_bytes(&lane).is_err());
        }
        for update in [after(&[]), after(&[1]), after(&[0]), after(&[0, 1, 1]), after(&[1, 1, 1, 0, 0x23])] {
            cheaply(|| validate::row_update(&update).is_err() && validate::text_update(&update).is_err());
        }
        cheaply(|| validate::state_vector(&after(&[])).is_err());
        cheaply(|| Value::from_bytes(&after(&[4])).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        drop(ClientMessage::decode(bytes.clone().into()));
        drop(RelayMessage::decode(bytes.clone().into()));
        drop(Changeset::from_bytes(bytes.clone().into()));
        drop(SnapshotPart::from_bytes(bytes.clone().into()));
        drop((RowKey::from_bytes(&bytes), Lane::from_bytes(&bytes).is_ok(), Value::from_bytes(&bytes).is_ok()));
        drop((validate::row_update(&bytes).is_ok(), validate::text_update(&bytes), validate::state_vector(&bytes)));
    }
}
