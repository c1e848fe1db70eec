//! Frames with a right checksum over whatever body: the fuzzer would not find one in a lifetime, somebody who means ill
//! writes one at once.

/// The checksum, which stands before the length of the body at the end of a header.
const CHECKSUM: usize = 16;

/// A frame of an empty changeset or part of a snapshot with this body instead. The header of an empty one ends with the
/// checksum and one byte: lengths below 251 take one.
pub fn with_body(frame: &[u8], body: &[u8]) -> Vec<u8> {
    let (length, rest) = frame.split_first_chunk::<4>().expect("a length");
    let mut header = rest[..u32::from_le_bytes(*length) as usize].to_vec();
    header.pop();
    let at = header.len() - CHECKSUM;
    match body.len() {
        len @ 0..=250 => header.push(len as u8),
        len @ 251..=0xffff => header.extend([&[251], &(len as u16).to_le_bytes()[..]].concat()),
        len => header.extend([&[252], &(len as u32).to_le_bytes()[..]].concat()),
    }

    header[at..at + CHECKSUM].fill(0);
    let compressed = zstd::bulk::compress(body, 1).expect("compresses");
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(header.len() as u64).to_le_bytes());
    hasher.update(&header);
    hasher.update(&compressed);
    header[at..at + CHECKSUM].copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM]);
    [&(header.len() as u32).to_le_bytes()[..], &header, &compressed].concat()
}
