//! Updates of row documents: what is accepted leaves yrs alive, alone and on top of a whole document.
#![no_main]

#[path = "../../tests/yrs_gate/gate.rs"]
#[allow(dead_code, reason = "one half is for rows, the other for texts")]
mod gate;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // The first byte says where the second update begins; without one, there is one update.
    let Some((&at, data)) = data.split_first() else { return };
    let (base, update) = data.split_at_checked(usize::from(at)).unwrap_or((&[], data));
    gate::row(update, &[base.to_vec()]);
});
