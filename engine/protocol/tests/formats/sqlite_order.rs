//! SQLite's order of values, written down a second time.

use std::cmp::Ordering;

use driftless_protocol::{Collation, Value};

/// How SQLite compares two values of a column, after `sqlite3MemCompare`, `sqlite3IntFloatCompare`,
/// `nocaseCollatingFunc` and `rtrimCollFunc` of its sources.
pub(crate) fn sqlite_order(a: &Value<'_>, b: &Value<'_>, collation: Collation) -> Ordering {
    let class = |v: &Value<'_>| match v {
        Value::Null => 0,
        Value::Integer(_) | Value::Real(_) => 1,
        Value::Text(_) => 2,
        Value::Blob(_) => 3,
    };
    match (a, b) {
        (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
        (Value::Real(a), Value::Real(b)) => a.partial_cmp(b).expect("no NaN"),
        (Value::Integer(i), Value::Real(r)) => integer_to_real(*i, *r),
        (Value::Real(r), Value::Integer(i)) => integer_to_real(*i, *r).reverse(),
        (Value::Text(a), Value::Text(b)) => match collation {
            Collation::Binary => a.cmp(b),
            Collation::NoCase => nocase(a, b),
            Collation::RTrim => trimmed(a).cmp(trimmed(b)),
        },
        (Value::Blob(a), Value::Blob(b)) => a.cmp(b),
        _ => class(a).cmp(&class(b)),
    }
}

fn integer_to_real(i: i64, r: f64) -> Ordering {
    if r >= 9_223_372_036_854_775_808.0 {
        return Ordering::Less;
    }
    if r < -9_223_372_036_854_775_808.0 {
        return Ordering::Greater;
    }
    // Both exact: the whole part fits.
    i.cmp(&(r.trunc() as i64)).then_with(|| 0.0f64.partial_cmp(&r.fract()).expect("no NaN"))
}

fn nocase(a: &[u8], b: &[u8]) -> Ordering {
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
        if a != b {
            return a.cmp(&b);
        }
        if a == 0 {
            break;
        }
    }
    a.len().cmp(&b.len())
}

fn trimmed(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|&b| b != b' ').map_or(0, |last| last + 1);
    &text[..end]
}
