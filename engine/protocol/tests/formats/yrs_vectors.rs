//! State vectors of Yrs, which reach it from outside.

use driftless_protocol::validate;
use proptest::collection::btree_map;
use proptest::prelude::*;
use yrs::ReadTxn as _;

use crate::damage::damage;
use crate::strategies::writer;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn yrs_state_vectors_are_accepted_and_damage_never_hurts_yrs(
        entries in btree_map(writer(), 0..=validate::MAX_CLOCK, 0..40), damage in damage(),
    ) {
        use yrs::updates::decoder::Decode;
        use yrs::updates::encoder::Encode;
        let vector: yrs::StateVector =
            entries.iter().map(|(writer, &clock)| (yrs::ClientID::new(writer.get()), clock)).collect();
        let bytes = vector.encode_v1();
        prop_assert_eq!(validate::state_vector(&bytes), Ok(()));
        let damaged = damage.to(&bytes);
        if validate::state_vector(&damaged).is_ok() {
            let read = yrs::StateVector::decode_v1(&damaged).expect("what is accepted decodes");
            let doc = yrs::Doc::new();
            let txn = yrs::Transact::transact(&doc);
            txn.encode_diff_v1(&read);
        }
    }
}

#[test]
fn a_yrs_state_vector_names_each_writer_once_and_clocks_within_reach() {
    let max = [0xff, 0xff, 0xff, 0xff, 0x07];
    assert_eq!(validate::state_vector(&[&[1, 5], &max[..]].concat()), Ok(()));
    for bad in [
        &[][..],
        &[1],
        &[2, 5, 1, 5, 1],
        &[1, 0, 1],
        &[0, 0],
        &[1, 5, 0x80, 0x80, 0x80, 0x80, 0x08],
        &[1, 5, 0x81, 0x00],
        &[1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10, 1],
    ] {
        assert!(validate::state_vector(bad).is_err(), "{}", hex::encode(bad));
    }
}
