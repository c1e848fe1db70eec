//! Frames from an engine.
#![no_main]

mod bounds;

use driftless_protocol::ClientMessage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    bounds::within(data.len(), || {
        read(data.to_vec());
        // With a right checksum, which the fuzzer would not find.
        read([data, &blake3::hash(data).as_bytes()[..8]].concat());
    });
});

fn read(frame: Vec<u8>) {
    if let Ok(message) = ClientMessage::decode(frame.into()) {
        let frame = message.encode();
        let again = ClientMessage::decode(frame.clone()).expect("what is written is read");
        assert_eq!(again.encode(), frame);
    }
}
