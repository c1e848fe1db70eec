//! State vectors of yrs: what is accepted leaves yrs alive, whatever document it is compared with.
#![no_main]

mod bounds;
#[path = "../../tests/yrs_gate/gate.rs"]
#[allow(dead_code, reason = "the other parts are for updates")]
mod gate;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // Two writers each; in the text there is a character of two code units, and something is deleted.
    let text = include_bytes!("../seeds/text_update/0");
    let row = include_bytes!("../seeds/row_update/0");
    bounds::within(data.len(), || {
        gate::state_vector(data, &[text[1..].to_vec(), row[1..].to_vec()]);
    });
});
