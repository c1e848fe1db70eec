//! Updates of row documents: what is accepted leaves yrs alive, alone, on top of a whole document and with that on top.
#![no_main]

mod bounds;
#[path = "../../tests/yrs_gate/gate.rs"]
#[allow(dead_code, reason = "one half is for rows, the other for texts")]
mod gate;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // The first byte says where the second update begins; without one, there is one update.
    let Some((&at, updates)) = data.split_first() else { return };
    let (base, update) = updates.split_at_checked(usize::from(at)).unwrap_or((&[], updates));
    bounds::within(data.len(), || {
        gate::row(update, &[base.to_vec()]);
    });
});
