//! What a column's declared type makes of the values that are written to it. Another copy may declare the column otherwise:
//! the value that travels is what its author wrote, and this table shows it as its own column stores it. See
//! <https://sqlite.org/datatype3.html#type_affinity>.

use driftless_protocol::Value;
use rusqlite::Connection;

use super::Column;
use crate::document::affinity::Affinity;
use crate::error::Result;
use crate::store::{Bind, sql, value};

impl Column {
    /// Whether the column shows `now` where `written` was written to it: the same value, or what its type makes of that.
    /// SQLite itself is asked how it turns numbers into text and text into numbers.
    pub(crate) fn shows_for(
        &self,
        connection: &Connection,
        written: &Value<'_>,
        now: &Value<'_>,
    ) -> Result<bool> {
        if written == now {
            return Ok(true);
        }
        let sql = match (self.affinity, written, now) {
            (Affinity::Text, Value::Integer(_) | Value::Real(_), Value::Text(_)) => {
                "SELECT CAST(?1 AS TEXT), 1"
            }
            (Affinity::Numeric | Affinity::Integer, Value::Real(_), Value::Integer(_)) => {
                "SELECT CAST(?1 AS INTEGER), CAST(?1 AS INTEGER) = ?1"
            }
            // The comparison says whether the whole text is a number.
            (Affinity::Numeric | Affinity::Integer, Value::Text(_), Value::Integer(_) | Value::Real(_)) => {
                "SELECT CAST(?1 AS NUMERIC), CAST(?1 AS NUMERIC) = ?1"
            }
            (Affinity::Real, Value::Integer(_), Value::Real(_)) => "SELECT CAST(?1 AS REAL), 1",
            (Affinity::Real, Value::Text(_), Value::Real(_)) => {
                "SELECT CAST(?1 AS REAL), CAST(?1 AS NUMERIC) = ?1"
            }
            _ => return Ok(false),
        };
        sql::one(connection, "looking at how a column stores a value", sql, [Bind(written)], |row| {
            Ok(row.get::<_, bool>(1)? && value(row.get_ref(0)?) == *now)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a column of each type really stores is what it is said to show, and nothing else is.
    #[test]
    fn a_column_shows_what_sqlite_stores_in_it() {
        let connection = Connection::open_in_memory().expect("in memory");
        let values = [
            Value::Integer(0),
            Value::Integer(1),
            Value::Integer(-7),
            Value::Integer(i64::MAX),
            Value::Integer((1 << 53) + 1),
            Value::Real(1.0),
            Value::Real(1.5),
            Value::Real(0.1),
            Value::Real(1e300),
            Value::Real(-7.0),
            Value::Real(9.3e18),
            Value::text("1"),
            Value::text("1.0"),
            Value::text(" 1"),
            Value::text("1.50"),
            Value::text("1.5"),
            Value::text("1x"),
            Value::text(""),
            Value::text("abc"),
            Value::text("1e2"),
            Value::text("9223372036854775807"),
            Value::text("9223372036854775808"),
            Value::Blob(b"1".to_vec().into()),
            Value::Null,
        ];
        for declared in ["TEXT", "INTEGER", "NUMERIC", "REAL", "BLOB", ""] {
            let column = Column {
                spelled: "c".into(),
                name: "c".into(),
                default: None,
                affinity: Affinity::of(declared),
            };
            connection
                .execute_batch(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t (c {declared})"))
                .expect("a table");
            for written in &values {
                connection.execute("DELETE FROM t", []).expect("emptied");
                connection.execute("INSERT INTO t VALUES (?1)", [Bind(written)]).expect("written");
                let stored = connection
                    .query_row("SELECT c FROM t", [], |row| Ok(value(row.get_ref(0)?).into_owned()))
                    .expect("the value");
                for shown in values.iter().chain([&stored]) {
                    let says = column.shows_for(&connection, written, shown).expect("asked");
                    assert_eq!(
                        says,
                        *shown == stored || shown == written,
                        "{declared}: {written} as {shown}"
                    );
                }
            }
        }
    }
}
