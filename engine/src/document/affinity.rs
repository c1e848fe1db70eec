//! What SQLite makes of values, by the declared type of their column.

/// What SQLite makes of the values that are written to a column. See
/// <https://sqlite.org/datatype3.html#determination_of_column_affinity>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affinity {
    /// Numbers become texts.
    Text,
    /// Texts that look like numbers become such.
    Numeric,
    /// The same.
    Integer,
    /// Numbers become REAL.
    Real,
    /// Values stay what they are.
    Blob,
}

impl Affinity {
    /// From a column's declared type, by SQLite's five rules.
    pub(crate) fn of(declared: &str) -> Self {
        let declared = declared.to_ascii_uppercase();
        let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
        if has(&["INT"]) {
            Self::Integer
        } else if has(&["CHAR", "CLOB", "TEXT"]) {
            Self::Text
        } else if declared.is_empty() || has(&["BLOB"]) {
            Self::Blob
        } else if has(&["REAL", "FLOA", "DOUB"]) {
            Self::Real
        } else {
            Self::Numeric
        }
    }
}

impl std::fmt::Display for Affinity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Text => "TEXT",
            Self::Numeric => "NUMERIC",
            Self::Integer => "INTEGER",
            Self::Real => "REAL",
            Self::Blob => "BLOB",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn affinity_is_determined_as_sqlite_does() {
        let connection = rusqlite::Connection::open_in_memory().expect("a database");
        let types = [
            "",
            "INT",
            "INTEGER",
            "BIGINT",
            "CHARINT",
            "VARCHAR(9)",
            "nchar",
            "CLOB",
            "TEXT",
            "BLOB",
            "real",
            "DOUBLE",
            "FLOAT",
            "FLOATING POINT",
            "NUMERIC",
            "DECIMAL(10,5)",
            "BOOLEAN",
            "DATE",
            "STRING",
            "ANY",
            "XBLOBTEXT",
        ];
        for declared in types {
            // What comes out of '1', 1 and 1.0 is different for each affinity but the numeric two, which only a cast
            // tells apart.
            let stored = |value: &str| -> String {
                connection
                    .execute_batch(&format!(
                        "DROP TABLE IF EXISTS t; CREATE TABLE t (c {declared}); INSERT INTO t VALUES ({value})"
                    ))
                    .expect("a table");
                connection.query_row("SELECT typeof(c) FROM t", [], |row| row.get(0)).expect("a type")
            };
            let found = (stored("'1'"), stored("1"));
            let expected = match Affinity::of(declared) {
                Affinity::Text => ("text", "text"),
                Affinity::Numeric | Affinity::Integer => ("integer", "integer"),
                Affinity::Real => ("real", "real"),
                Affinity::Blob => ("text", "integer"),
            };
            assert_eq!((found.0.as_str(), found.1.as_str()), expected, "{declared:?}");
        }
        assert_eq!(
            (Affinity::of("FLOATING POINT"), Affinity::of("DATE")),
            (Affinity::Integer, Affinity::Numeric)
        );
    }
}
