//! Parts of snapshots: frame, body and rows. The input as a frame, and as a body under a right checksum.
#![no_main]

mod bounds;
mod forge;

use driftless_protocol::changeset::BodyBuilder;
use driftless_protocol::{SnapshotHeader, SnapshotPart, StateVector};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    bounds::within(data.len(), || {
        read(data.to_vec());
        let header = SnapshotHeader { snapshot: [1; 16], index: 0, last: true, vector: StateVector::new() };
        let empty = SnapshotPart::seal(header, &BodyBuilder::new().finish());
        read(forge::with_body(empty.bytes(), data));
    });
});

fn read(bytes: Vec<u8>) {
    let Ok(part) = SnapshotPart::from_bytes(bytes.into()) else { return };
    if let Ok(body) = part.body()
        && let Ok((_, rows)) = body.open()
    {
        rows.for_each(drop);
    }
}
