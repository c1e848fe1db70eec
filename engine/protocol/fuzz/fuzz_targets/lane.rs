//! Lanes, and the names of lanes.
#![no_main]

mod bounds;

use driftless_protocol::lane::{Lane, LaneName};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    bounds::within(data.len(), || {
        if let Ok(lane) = Lane::from_bytes(data) {
            assert_eq!(lane.to_bytes(), data, "one lane has one encoding");
        }
        if let Ok(text) = std::str::from_utf8(data)
            && let Ok(name) = LaneName::parse(text)
        {
            assert_eq!(name.to_string(), text);
        }
    });
});
