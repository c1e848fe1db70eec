//! Row keys: the order of SQLite, one encoding for each row.

use std::cmp::Ordering;

use driftless_protocol::{Collation, KeyError, RowKey, Value};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::damage::damage;
use crate::sqlite_order::sqlite_order;
use crate::strategies::{collation, key, value};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn row_keys_order_as_sqlite_orders_rows(
        columns in vec((value(), value(), collation()), 1..4),
    ) {
        let a = RowKey::encode(columns.iter().map(|(a, _, c)| (a, *c)));
        let b = RowKey::encode(columns.iter().map(|(_, b, c)| (b, *c)));
        if let (Ok(a), Ok(b)) = (a, b) {
            let expected = columns
                .iter()
                .map(|(a, b, c)| sqlite_order(a, b, *c))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal);
            prop_assert_eq!(a.cmp(&b), expected);
        }
    }

    #[test]
    fn row_keys_give_back_the_row_that_they_name(columns in vec((value(), collation()), 1..4)) {
        if let Ok(key) = RowKey::encode(columns.iter().map(|(v, c)| (v, *c))) {
            let values = key.values();
            prop_assert_eq!(values.len(), columns.len());
            for (back, (value, collation)) in values.iter().zip(&columns) {
                prop_assert!(sqlite_order(back, value, *collation).is_eq(), "{} {}", back, value);
            }
            let again = RowKey::encode(values.iter().zip(&columns).map(|(v, (_, c))| (v, *c)));
            prop_assert_eq!(again.as_ref(), Ok(&key));
            prop_assert_eq!(RowKey::from_bytes(key.as_bytes()), Ok(key));
        } else {
            prop_assert!(columns.iter().any(|(v, _)| *v == Value::Null));
        }
    }

    #[test]
    fn bytes_are_a_row_key_only_if_encoding_writes_them(key in key(), damage in damage()) {
        let bytes = damage.to(key.as_bytes());
        if let Ok(key) = RowKey::from_bytes(&bytes) {
            let values = key.values();
            let again = RowKey::encode(values.iter().map(|v| (v, Collation::Binary)));
            prop_assert_eq!(again.as_ref(), Ok(&key));
            prop_assert_eq!(key.as_bytes(), &bytes[..]);
        }
    }
}

/// Reading a key added the two parts of a number as `i128`, which a REAL beyond 2^127 overflows.
#[test]
fn a_key_of_a_huge_number_with_something_added_is_refused_and_no_panic() {
    for real in [1e300, -1e300, f64::MAX, f64::INFINITY, f64::NEG_INFINITY] {
        let key = RowKey::encode([(&Value::Real(real), Collation::Binary)]).expect("a key");
        assert_eq!(RowKey::from_bytes(key.as_bytes()), Ok(key.clone()));
        for away in [[0x80, 0x01], [0x7f, 0xff], [0, 0], [0xff, 0xff]] {
            let mut bytes = key.as_bytes().to_vec();
            bytes[9..].copy_from_slice(&away);
            assert_eq!(RowKey::from_bytes(&bytes), Err(KeyError::Malformed), "{real} {away:?}");
        }
    }
}
