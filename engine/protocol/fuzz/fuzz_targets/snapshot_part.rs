//! Parts of snapshots: frame, body and rows.
#![no_main]

use driftless_protocol::SnapshotPart;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(part) = SnapshotPart::from_bytes(data.to_vec().into()) else { return };
    if let Ok(body) = part.body()
        && let Ok((_, rows)) = body.open()
    {
        rows.for_each(drop);
    }
});
