//! What a parked row waits for, as bytes: one thing each, which must change before the row can fit.
//!
//! One is enough. While the row that holds its UNIQUE value stays, a row stays parked, whatever else is in its way; when
//! that one changes, it is judged again and may find another. Of references likewise: a row was parked because of a
//! parent that was missing *then*, so among parked rows that wait for one another some one waits for a row that is
//! truly missing, and when that comes all of them are judged again, one after the other.
//!
//! | tag | then |
//! |---|---|
//! | `2` | the key of the row that holds a UNIQUE value |
//! | `3` | the columns that a reference refers to, folded, each with a NUL behind it; the values looked for as a key's bytes, or nothing where the two sides compare values differently: then any row of that table will do |

use driftless_protocol::{RowKey, Value};

use crate::schema::constraints::Reference;

/// Waits for the row with this key to change.
pub(super) fn on_row(key: &RowKey) -> Vec<u8> {
    [&[2], key.as_bytes()].concat()
}

/// Waits for a row with these values in these columns to come; `None` for any.
pub(super) fn on_values(columns: &[String], values: Option<&[u8]>) -> Vec<u8> {
    let mut waits = vec![3];
    for column in columns {
        waits.extend_from_slice(column.as_bytes());
        waits.push(0);
    }
    waits.extend_from_slice(values.unwrap_or_default());
    waits
}

/// The values of a reference as bytes that are equal when SQLite holds the values equal. `None` where that cannot be
/// told from the values alone.
pub(super) fn values(reference: &Reference, values: &[Value<'_>]) -> Option<Vec<u8>> {
    if !reference.alike {
        return None;
    }
    let columns = values.iter().zip(reference.collations.iter().copied());
    RowKey::encode(columns).ok().map(|key| key.as_bytes().to_vec())
}
