//! State vectors of yrs.
#![no_main]

use driftless_protocol::validate;
use libfuzzer_sys::fuzz_target;
use yrs::updates::decoder::Decode;
use yrs::{Doc, ReadTxn, Text, Transact};

fuzz_target!(|data: &[u8]| {
    if validate::state_vector(data).is_ok() {
        let vector = yrs::StateVector::decode_v1(data).expect("what is accepted decodes");
        let doc = Doc::with_client_id(1);
        let text = doc.get_or_insert_text("text");
        text.push(&mut doc.transact_mut(), "a\u{1f980}b");
        doc.transact().encode_diff_v1(&vector);
    }
});
