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

use crate::document::affinity::Affinity;
use crate::schema::constraints::Reference;
use crate::schema::{Target, Tracked};
use crate::store::fold;

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

/// The values by which a row refers to another, as bytes that are equal to those of [`held`] when SQLite holds the two
/// equal. `None` where that cannot be told from the values alone.
pub(super) fn values(reference: &Reference, values: &[Value<'_>]) -> Option<Vec<u8>> {
    let affinities = reference.affinities.as_ref()?;
    let compared: Option<Vec<Value<'_>>> = values
        .iter()
        .zip(affinities)
        .map(
            |(value, &affinity)| {
                if reference.alike { Some(value.clone()) } else { compared(value, affinity) }
            },
        )
        .collect();
    encode(reference, &compared?)
}

/// The values by which a row can be referred to, as bytes.
pub(super) fn held(reference: &Reference, values: &[Value<'_>]) -> Option<Vec<u8>> {
    reference.affinities.as_ref()?;
    encode(reference, values)
}

fn encode(reference: &Reference, values: &[Value<'_>]) -> Option<Vec<u8>> {
    let columns = values.iter().zip(reference.collations.iter().copied());
    RowKey::encode(columns).ok().map(|key| key.as_bytes().to_vec())
}

/// What SQLite makes of a value that is compared with a column of this affinity, where that is plain: not of REALs that
/// become texts, nor of texts that only look a little like numbers. See
/// <https://sqlite.org/datatype3.html#type_conversions_prior_to_comparison>.
fn compared<'a>(value: &Value<'a>, affinity: Affinity) -> Option<Value<'a>> {
    match (affinity, value) {
        (Affinity::Text, Value::Integer(integer)) => {
            Some(Value::Text(integer.to_string().into_bytes().into()))
        }
        (Affinity::Text, Value::Real(_)) => None,
        (Affinity::Integer | Affinity::Numeric | Affinity::Real, Value::Text(text)) => {
            let digits = text.strip_prefix(b"-").unwrap_or(text);
            if (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) {
                std::str::from_utf8(text).ok()?.parse().ok().map(Value::Integer)
            } else if text.iter().any(u8::is_ascii_digit) {
                None
            } else {
                Some(value.clone())
            }
        }
        _ => Some(value.clone()),
    }
}

impl Tracked {
    /// By which of its columns, and for which values there, a row waits for a row of this table; `None` if any will do.
    /// The values are folded as the columns compare.
    pub(super) fn values_waited_for(&self, waits: &[u8]) -> Option<(&Target, Vec<Value<'static>>)> {
        self.targets.iter().find_map(|target| {
            let values = waits.strip_prefix(&*on_values(&target.columns, None))?;
            let values = RowKey::from_bytes(values).ok()?.values();
            (values.len() == target.columns.len()).then_some((target, values))
        })
    }

    /// The key of the row that ends waiting for this; `None` where the values are not those of the key.
    pub(super) fn key_waited_for(&self, waits: &[u8]) -> Option<RowKey> {
        let (target, values) = self.values_waited_for(waits)?;
        let key = self.table.key.iter().map(|key| fold(&self.table.columns[key.at].spelled));
        if !key.eq(target.columns.iter().cloned()) {
            return None;
        }
        self.table.row_key(&values).ok()
    }
}

#[cfg(test)]
mod tests {
    use driftless_protocol::Collation;
    use rusqlite::{Connection, params};

    use super::*;
    use crate::store::{Bind, value};

    /// Values of every type, and texts that look like some of them.
    fn values_of_all_types() -> [Value<'static>; 20] {
        [
            Value::Integer(0),
            Value::Integer(7),
            Value::Integer(-7),
            Value::Integer(123_456_789_012_345),
            Value::Integer(i64::MAX),
            Value::Real(7.0),
            Value::Real(0.5),
            Value::text("7"),
            Value::text("007"),
            Value::text("-7"),
            Value::text("-"),
            Value::text(""),
            Value::text("abc"),
            Value::text("ABC"),
            Value::text("abc  "),
            Value::text(" 7"),
            Value::text("7.0"),
            Value::text("1e1"),
            Value::text("123456789012345"),
            Value::Blob(b"7".to_vec().into()),
        ]
    }

    #[test]
    fn values_are_equal_as_bytes_just_when_sqlite_finds_them_equal() {
        let connection = Connection::open_in_memory().expect("a database");
        let values = values_of_all_types();
        let types = ["TEXT", "INTEGER", "REAL", "NUMERIC", "BLOB"];
        let collations =
            [("BINARY", Collation::Binary), ("NOCASE", Collation::NoCase), ("RTRIM", Collation::RTrim)];
        let (mut told, mut compared) = (0, 0);
        for (declared, (name, collation)) in types.iter().flat_map(|t| collations.map(|c| (*t, c))) {
            let schema = format!("DROP TABLE IF EXISTS p; CREATE TABLE p (k {declared} COLLATE {name})");
            connection.execute_batch(&schema).expect("a table");
            let reference = Reference {
                parent: "p".into(),
                from: vec!["f".into()],
                to: vec!["k".into()],
                collations: vec![collation],
                alike: false,
                affinities: Some(vec![Affinity::of(declared)]),
                indexed: false,
                rule: String::new(),
            };
            for parent in &values {
                connection.execute_batch("DELETE FROM p").expect("emptied");
                connection.execute("INSERT INTO p VALUES (?1)", [Bind(parent)]).expect("inserted");
                let stored: Value<'static> = connection
                    .query_row("SELECT k FROM p", [], |row| Ok(value(row.get_ref(0)?).into_owned()))
                    .expect("a row");
                let held = held(&reference, std::slice::from_ref(&stored)).expect("bytes");
                for child in &values {
                    let equal: bool = connection
                        .query_row("SELECT p.k = ?1 FROM p", params![Bind(child)], |row| row.get(0))
                        .expect("compared");
                    compared += 1;
                    let Some(bytes) = super::values(&reference, std::slice::from_ref(child)) else {
                        continue;
                    };
                    told += 1;
                    assert_eq!(bytes == held, equal, "{declared} {name}: {stored} and {child}");
                }
            }
        }
        assert!(told * 4 > compared * 3, "{told} of {compared} are told");
    }
}
