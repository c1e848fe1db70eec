//! Which tables the user's triggers write into.
//!
//! SQLite is asked, not the text of the triggers: EXPLAIN lists the program of a statement and, after it, those of the
//! triggers that it fires, and theirs; `OpenWrite` names the tables by their root pages.
//! See <https://sqlite.org/opcode.html>. FK actions would be such programs too, but enforcement is off on the engine's
//! connection.

use std::collections::{BTreeSet, HashMap};

use rusqlite::Connection;

use super::Table;
use crate::error::{Doing, Result};
use crate::store::{PREFIX, fold, quote, sql};

/// The tables, folded, that the triggers of a table write into, whatever is done to it: its own name too, if one writes
/// into the table that it is of. Empty where SQLite cannot tell, because a trigger is broken: then no write to the table
/// succeeds either.
pub(crate) fn of_triggers(connection: &Connection, table: &Table) -> Result<BTreeSet<String>> {
    let doing = "reading what the triggers do";
    let name = quote(&table.spelled);
    let sets: Vec<String> =
        table.columns.iter().map(|column| format!("{0} = {0}", quote(&column.spelled))).collect();
    let statements = [
        format!(
            "EXPLAIN INSERT INTO main.{name} ({0}) SELECT {0} FROM main.{name}",
            quote(&table.columns[0].spelled)
        ),
        format!("EXPLAIN UPDATE main.{name} SET {}", sets.join(", ")),
        format!("EXPLAIN DELETE FROM main.{name}"),
    ];
    let mut pages = BTreeSet::new();
    for sql in statements {
        let Ok(mut explain) = connection.prepare(&sql) else { continue };
        let mut rows = explain.query([]).doing(doing)?;
        let mut programs = 0;
        while let Some(row) = rows.next().doing(doing)? {
            let (at, opcode): (i64, String) = (row.get(0).doing(doing)?, row.get(1).doing(doing)?);
            programs += i64::from(at == 0);
            let (page, database): (i64, i64) = (row.get(3).doing(doing)?, row.get(4).doing(doing)?);
            if programs > 1 && opcode == "OpenWrite" && database == 0 {
                pages.insert(page);
            }
        }
    }
    if pages.is_empty() {
        return Ok(BTreeSet::new());
    }
    let names: HashMap<i64, String> = sql::list(
        connection,
        doing,
        "SELECT rootpage, tbl_name FROM sqlite_master WHERE type IN ('table', 'index')",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let written = pages.iter().filter_map(|page| names.get(page)).map(|name| fold(name));
    Ok(written.filter(|name| !name.starts_with(PREFIX)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::introspect;

    #[test]
    fn what_triggers_write_into_directly_and_through_others() {
        let connection = Connection::open_in_memory().expect("in memory");
        connection
            .execute_batch(
                "CREATE TABLE t (k TEXT PRIMARY KEY, v); CREATE TABLE u (k TEXT PRIMARY KEY, v);
                 CREATE TABLE w (k TEXT PRIMARY KEY, v); CREATE TABLE x (k TEXT PRIMARY KEY, v);
                 CREATE INDEX wv ON w (v);
                 CREATE TRIGGER a AFTER UPDATE ON t BEGIN UPDATE t SET v = 1 WHERE k = NEW.k; DELETE FROM u; END;
                 CREATE TRIGGER b BEFORE DELETE ON u BEGIN INSERT INTO w SELECT k, v FROM x; END;",
            )
            .expect("valid SQL");
        let effects = |name: &str| {
            let table =
                introspect::table(&connection, name).expect("read").expect("there").expect("eligible");
            of_triggers(&connection, &table).expect("read").into_iter().collect::<Vec<_>>()
        };
        assert_eq!(effects("t"), ["t", "u", "w"]);
        assert_eq!(effects("u"), ["w"]);
        assert!(effects("w").is_empty() && effects("x").is_empty());
    }
}
