//! Values of columns.
#![no_main]

mod bounds;

use driftless_protocol::Value;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    bounds::within(data.len(), || {
        if let Ok(value) = Value::from_bytes(data) {
            assert_eq!(value.to_bytes(), data, "one value has one encoding");
            value.to_string();
        }
    });
});
