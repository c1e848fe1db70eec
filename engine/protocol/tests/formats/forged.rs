//! What somebody hostile would send: wrong inside, under right checksums.

use bytes::Bytes;
use driftless_protocol::changeset::BodyBuilder;
use driftless_protocol::{Changeset, ChangesetHeader, Part, ReplicaId, Seq, StateVector};

pub(crate) fn plain_body(changeset: &Changeset) -> Vec<u8> {
    let (length, rest) = changeset.bytes().split_first_chunk::<4>().expect("a length");
    let compressed = &rest[u32::from_le_bytes(*length) as usize..];
    zstd::bulk::decompress(compressed, 1 << 20).expect("decompresses")
}

/// A changeset with a right checksum whose header claims a body of `claimed` bytes.
pub(crate) fn forge(body: &[u8], claimed: u64) -> Bytes {
    // replica, seq, part, after, time
    forge_under([[1; 16].as_slice(), &[1, 0, 0, 0]].concat(), body, claimed)
}

/// The same under any header; what it begins with is followed by the checksum and the length of the body.
pub(crate) fn forge_under(mut header: Vec<u8>, body: &[u8], claimed: u64) -> Bytes {
    let compressed = zstd::bulk::compress(body, 1).expect("compresses");
    let checksum_at = header.len();
    header.extend([0; 16]);
    match claimed {
        0..=250 => header.push(claimed as u8),
        251..=0xffff => header.extend([[251].as_slice(), &(claimed as u16).to_le_bytes()].concat()),
        0x1_0000..=0xffff_ffff => header.extend([[252].as_slice(), &(claimed as u32).to_le_bytes()].concat()),
        _ => header.extend([[253].as_slice(), &claimed.to_le_bytes()].concat()),
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(header.len() as u64).to_le_bytes());
    hasher.update(&header);
    hasher.update(&compressed);
    header[checksum_at..checksum_at + 16].copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    [&(header.len() as u32).to_le_bytes()[..], &header, &compressed].concat().into()
}

/// A frame with a right checksum.
pub(crate) fn sealed(mut frame: Vec<u8>) -> Bytes {
    let checksum = blake3::hash(&frame);
    frame.extend(&checksum.as_bytes()[..8]);
    frame.into()
}

#[test]
fn the_forger_of_these_tests_writes_what_sealing_writes() {
    let body = BodyBuilder::new().finish();
    let sealed = Changeset::seal(plain_header(), &body);
    assert_eq!(forge(&plain_body(&sealed), body.len() as u64), sealed.bytes());
}

/// A header of 63 bytes at most in front of a checksum and the length of the body.
pub(crate) fn plain_header() -> ChangesetHeader {
    ChangesetHeader {
        replica: ReplicaId::from_bytes([1; 16]).expect("not nil"),
        seq: Seq::FIRST,
        part: Part::Whole,
        after: StateVector::new(),
        time: 0,
    }
}
