//! Row keys.
#![no_main]

mod bounds;

use driftless_protocol::{Collation, RowKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    bounds::within(data.len(), || {
        if let Ok(key) = RowKey::from_bytes(data) {
            let values = key.values();
            let again = RowKey::encode(values.iter().map(|value| (value, Collation::Binary)));
            assert_eq!(again.expect("a key").as_bytes(), data, "{key}");
        }
    });
});
