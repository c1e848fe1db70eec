//! What a row document holds: values, lanes and their names.

use std::borrow::Cow;

use driftless_protocol::lane::{Cell, Counter, Floor, Lane, LaneName, Seen};
use driftless_protocol::{Value, WriterId};
use proptest::option;
use proptest::prelude::*;

use crate::damage::damage;
use crate::strategies::{lane, name, value, writer};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn values_round_trip_and_have_one_encoding(value in value(), damage in damage()) {
        let bytes = value.to_bytes();
        prop_assert_eq!(Value::from_bytes(&bytes), Ok(value));
        let damaged = damage.to(&bytes);
        if let Ok(other) = Value::from_bytes(&damaged) {
            prop_assert_eq!(other.to_bytes(), damaged);
        }
    }

    #[test]
    fn lanes_round_trip_and_have_one_encoding(lane in lane(), damage in damage()) {
        let bytes = lane.to_bytes();
        prop_assert_eq!(Lane::from_bytes(&bytes), Ok(lane));
        let damaged = damage.to(&bytes);
        if let Ok(other) = Lane::from_bytes(&damaged) {
            prop_assert_eq!(other.to_bytes(), damaged);
        }
    }

    #[test]
    fn lane_names_round_trip(writer in writer(), column in option::of(name())) {
        let name = LaneName { writer, column: column.map(Cow::Owned) };
        let text = name.to_string();
        prop_assert_eq!(LaneName::parse(&text), Ok(name));
    }
}

#[test]
fn a_real_that_is_not_a_number_is_refused() {
    for bits in [f64::NAN.to_bits(), u64::MAX, 0x7ff0_0000_0000_0001] {
        let bytes = [&[2][..], &bits.to_be_bytes()].concat();
        assert!(Value::from_bytes(&bytes).is_err(), "{bits:x}");
    }
}

/// `Lane::to_bytes` leaves the order to whoever makes the lane, so it writes these as they are.
#[test]
fn a_lane_out_of_order_or_with_a_repeated_entry_is_refused() {
    let writer = |id| WriterId::new(id).expect("a writer");
    let seen = |id, large, number| Seen { writer: writer(id), large, number };
    let floor = |id, number| Floor { lane: LaneName::main(writer(id)), number };
    let cell = |column: &'static str, seen| Cell {
        column: column.into(),
        content: Value::Null.into(),
        time: 0,
        number: 1,
        seen,
    };
    let counter = |column: &'static str| Counter { column: column.into(), added: 1 };
    let good = Lane {
        cells: vec![cell("a", vec![seen(1, false, 9), seen(1, true, 1)]), cell("b", Vec::new())],
        floors: vec![floor(1, 2), floor(2, 1)],
        counters: vec![counter("a"), counter("b")],
    };
    assert!(Lane::from_bytes(&good.to_bytes()).is_ok());
    let bad = [
        Lane { cells: vec![cell("b", Vec::new()), cell("a", Vec::new())], ..Lane::default() },
        Lane { cells: vec![cell("a", Vec::new()), cell("a", Vec::new())], ..Lane::default() },
        Lane { cells: vec![cell("a", vec![seen(1, true, 1), seen(1, false, 2)])], ..Lane::default() },
        Lane { cells: vec![cell("a", vec![seen(1, true, 1), seen(1, true, 2)])], ..Lane::default() },
        Lane { floors: vec![floor(2, 1), floor(1, 2)], ..Lane::default() },
        Lane { floors: vec![floor(1, 1), floor(1, 2)], ..Lane::default() },
        Lane { counters: vec![counter("b"), counter("a")], ..Lane::default() },
        Lane { counters: vec![counter("a"), counter("a")], ..Lane::default() },
    ];
    for lane in bad {
        assert!(Lane::from_bytes(&lane.to_bytes()).is_err(), "{lane:?}");
    }
}
