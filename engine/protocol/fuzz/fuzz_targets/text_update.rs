//! Updates of text documents: what is accepted leaves yrs alive, alone and on top of another that is accepted.
#![no_main]

#[path = "../../tests/yrs_gate/gate.rs"]
mod gate;

use driftless_protocol::validate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // The first byte says where the second update begins; without one, there is one update.
    let Some((&at, data)) = data.split_first() else { return };
    let (base, update) = data.split_at_checked(usize::from(at)).unwrap_or((&[], data));
    let bases = if validate::text_update(base).is_ok() { vec![base.to_vec()] } else { Vec::new() };
    gate::text_update(update, &bases);
});
