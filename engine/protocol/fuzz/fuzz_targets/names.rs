//! What comes as a text: names of spaces (the path of whoever connects to a relay), ids, the address of a relay, codes
//! of close frames.
#![no_main]

mod bounds;

use driftless::SyncConfig;
use driftless_protocol::{CloseCode, ReplicaId, SpaceId, SpaceName};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    bounds::within(text.len(), || {
        if let Ok(name) = text.parse::<SpaceName>() {
            assert_eq!(name.to_string(), text);
            assert!(SyncConfig::new(format!("ws://127.0.0.1:1/{name}")).check().is_ok(), "{name}");
        }
        if let Ok(id) = text.parse::<ReplicaId>() {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        if let Ok(id) = text.parse::<SpaceId>() {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for address in [text.to_owned(), format!("ws://{text}"), format!("wss://h/{text}")] {
            if let Err(error) = SyncConfig::new(address).check() {
                error.to_string();
            }
        }
        for number in text.encode_utf16() {
            assert_eq!(CloseCode::from_number(number).number(), number);
        }
    });
});
