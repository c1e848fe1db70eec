//! Frames from an engine.
#![no_main]

mod bounds;

use driftless_protocol::ClientMessage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    bounds::within(data.len(), || {
        if let Ok(message) = ClientMessage::decode(data.to_vec().into()) {
            let frame = message.encode();
            let again = ClientMessage::decode(frame.clone()).expect("what is written is read");
            assert_eq!(again.encode(), frame);
        }
    });
});
