//! Which keys the rows of a table can have. What comes from others may have any: their table may have another key, and
//! who means ill writes what he likes. Written to a table, such a row would be another row than its document says.

use driftless_protocol::{Collation, RowKey, Value};
use rusqlite::Connection;

use super::Table;
use crate::document::affinity::Affinity;
use crate::error::Result;
use crate::store::{Bind, sql};

impl Table {
    /// Whether a row of this table can have this key, of which `values` are the values: as many columns, folded as the
    /// table compares them, and of types that its columns leave as they are.
    pub(crate) fn can_have(
        &self,
        connection: &Connection,
        key: &RowKey,
        values: &[Value<'_>],
    ) -> Result<bool> {
        if values.len() != self.key.len() {
            return Ok(false);
        }
        for (value, column) in values.iter().zip(&self.key) {
            let kept = match (value, self.columns[column.at].affinity) {
                (Value::Integer(_) | Value::Real(_), Affinity::Text) => false,
                (Value::Integer(integer), Affinity::Real) => {
                    (*integer as f64) as i128 == i128::from(*integer)
                }
                (Value::Text(_), Affinity::Integer | Affinity::Numeric | Affinity::Real) => {
                    !becomes_a_number(connection, value)?
                }
                _ => true,
            };
            if !kept {
                return Ok(false);
            }
        }
        let folds = self.key.iter().any(|column| column.collation != Collation::Binary);
        Ok(!folds || self.row_key(values).as_ref() == Ok(key))
    }

    /// What a row has in a key column: what its document says, if that is the key's value in another spelling, as
    /// `Key` is where the column is NOCASE; else the key's.
    pub(crate) fn spelling<'a>(
        &self,
        place: usize,
        key: &'a Value<'a>,
        said: Option<&'a Value<'a>>,
    ) -> &'a Value<'a> {
        let collation = self.key[place].collation;
        let encoded = |value: &Value<'_>| RowKey::encode([(value, collation)]);
        match said {
            Some(said) if said == key || encoded(said).is_ok_and(|said| Ok(said) == encoded(key)) => said,
            _ => key,
        }
    }
}

/// Whether a column of numbers takes this text for one: a comparison with a number converts it just so. See
/// <https://sqlite.org/datatype3.html#type_conversions_prior_to_comparison>.
fn becomes_a_number(connection: &Connection, text: &Value<'_>) -> Result<bool> {
    sql::one(connection, "looking at a key", "SELECT CAST(?1 AS NUMERIC) = ?1", [Bind(text)], sql::first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::introspect;

    /// The rows that SQLite has are the ones that can be: what a column makes of any value is a key that fits, and no
    /// other fits.
    #[test]
    fn a_key_fits_if_and_only_if_a_row_that_is_written_with_it_has_it() {
        let connection = Connection::open_in_memory().expect("a database");
        let text = Value::text;
        let values = [
            Value::Integer(0),
            Value::Integer(7),
            Value::Integer((1 << 53) + 1),
            Value::Integer(i64::MAX),
            Value::Real(0.5),
            Value::Real(1e300),
            Value::Real(9.3e18),
            Value::Real(f64::INFINITY),
            text(""),
            text("a"),
            text("A"),
            text("a "),
            text("7"),
            text(" 7"),
            text("7 "),
            text("7x"),
            text("1e3"),
            text("0x10"),
            text("9223372036854775808"),
            text("1e999"),
            text("7\0"),
            Value::Blob(b"7".as_slice().into()),
            Value::Blob(b"".as_slice().into()),
        ];
        let types = [
            "",
            "TEXT",
            "TEXT COLLATE NOCASE",
            "TEXT COLLATE RTRIM",
            "INT",
            "NUMERIC",
            "NUMERIC COLLATE NOCASE",
            "REAL",
            "BLOB",
        ];
        for declared in types {
            let sql = format!("DROP TABLE IF EXISTS t; CREATE TABLE t (k {declared} PRIMARY KEY)");
            connection.execute_batch(&sql).expect("a table");
            let table = introspect::table(&connection, "t").expect("reads").expect("is there").expect("fits");
            for value in &values {
                connection.execute("DELETE FROM t", []).expect("deletes");
                connection.execute("INSERT INTO t VALUES (?1)", [Bind(value)]).expect("inserts");
                let has = connection.query_row("SELECT k FROM t", [], |row| {
                    Ok(crate::store::value(row.get_ref(0)?).into_owned())
                });
                let has = table.row_key(&[has.expect("reads")]).expect("a key");
                let key = RowKey::encode([(value, Collation::Binary)]).expect("a key");
                let fits = table.can_have(&connection, &key, &key.values()).expect("can be told");
                assert_eq!(fits, has == key, "{declared}: {value}");
                assert!(
                    table.can_have(&connection, &has, &has.values()).expect("can be told"),
                    "{declared}: {value}"
                );
            }
        }
    }
}
