//! Which columns an app has renamed with `ALTER TABLE` since the last look. SQLite says so itself: it renames the column in every
//! trigger that names it, and one of our triggers names all columns of its table. That trigger never runs. It also holds, in a
//! string, the names that the columns had when it was made; SQLite does not change the string.
//!
//! The names stand after `UPDATE OF`, where SQLite accepts a column that the table does not have. Named in a trigger's body, a
//! column could not be dropped: <https://sqlite.org/lang_altertable.html#altertabdropcol>. A table that was made anew has lost
//! this trigger with the others, so of its columns nothing is known.

use super::Table;
use super::triggers::{Trigger, name_prefix};
use crate::store::{fold, quote};

/// A column by its folded names: when the list was made, and now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) old: String,
    pub(crate) new: String,
}

/// The trigger that lists the columns of `table`, which has number `id`.
pub(super) fn trigger(id: i64, table: &Table) -> Trigger {
    let spelled: Vec<&str> = table.columns.iter().map(|column| &*column.spelled).collect();
    let listed: Vec<String> = spelled.iter().map(|name| quote(name)).collect();
    let names = serde_json::Value::from(spelled).to_string().replace('\'', "''");
    let name = format!("{}columns", name_prefix(id));
    let (listed, on) = (listed.join(", "), quote(&table.spelled));
    let sql =
        format!("CREATE TRIGGER {name} AFTER UPDATE OF {listed} ON {on} WHEN 0 BEGIN SELECT '{names}'; END");
    Trigger { name, sql }
}

/// Reads the list of table number `id` out of its triggers. `None` if the trigger is not there or somebody has changed it. A column
/// that was dropped is still listed.
pub(super) fn read(id: i64, triggers: &[(&str, &Trigger)]) -> Option<Vec<Listed>> {
    let name = format!("{}columns", name_prefix(id));
    let (_, Trigger { sql, .. }) = triggers.iter().find(|(_, trigger)| trigger.name == name)?;
    let rest = sql.split_once(" AFTER UPDATE OF ")?.1;
    let (now, rest) = quoted_names(rest)?;
    let json = rest.split_once(" WHEN 0 BEGIN SELECT '")?.1.strip_suffix("'; END")?;
    let before: Vec<String> = serde_json::from_str(&json.replace("''", "'")).ok()?;
    if before.len() != now.len() {
        return None;
    }
    let listed = before.iter().zip(&now).map(|(old, new)| Listed { old: fold(old), new: fold(new) });
    Some(listed.collect())
}

/// Names in double quotes with commas between, and what follows them.
fn quoted_names(mut text: &str) -> Option<(Vec<String>, &str)> {
    let mut names = Vec::new();
    loop {
        let mut name = String::new();
        text = text.strip_prefix('"')?;
        loop {
            let (part, rest) = text.split_once('"')?;
            name.push_str(part);
            text = rest;
            match text.strip_prefix('"') {
                Some(rest) => {
                    name.push('"');
                    text = rest;
                }
                None => break,
            }
        }
        names.push(name);
        match text.strip_prefix(", ") {
            Some(rest) => text = rest,
            None => return Some((names, text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::schema::introspect;

    fn look(connection: &Connection) -> Table {
        introspect::table(connection, "t").expect("read").expect("there").expect("eligible")
    }

    fn listed(connection: &Connection) -> String {
        let sql = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'";
        let trigger = connection
            .query_row(sql, [], |row| Ok(Trigger { name: row.get(0)?, sql: row.get(1)? }))
            .expect("the trigger");
        let listed = read(7, &[("t", &trigger)]).expect("a list");
        let renamed = listed.into_iter().map(|Listed { old, new }| format!("{old}>{new}"));
        renamed.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn sqlite_renames_columns_in_the_list_and_lets_them_be_dropped() {
        let connection = Connection::open_in_memory().expect("in memory");
        connection.execute_batch("CREATE TABLE t (k TEXT PRIMARY KEY, A, b, c)").expect("valid SQL");
        connection.execute_batch(&trigger(7, &look(&connection)).sql).expect("valid SQL");
        for (statement, expected) in [
            ("ALTER TABLE t RENAME COLUMN a TO x", "k>k a>x b>b c>c"),
            ("ALTER TABLE t ADD COLUMN a", "k>k a>x b>b c>c"),
            ("ALTER TABLE t RENAME COLUMN k TO a2; ALTER TABLE t RENAME COLUMN x TO k", "k>a2 a>k b>b c>c"),
            ("ALTER TABLE t DROP COLUMN c", "k>a2 a>k b>b c>c"),
            ("PRAGMA legacy_alter_table = ON; ALTER TABLE t RENAME COLUMN b TO y", "k>a2 a>k b>y c>c"),
            ("ALTER TABLE t RENAME TO u; ALTER TABLE u RENAME COLUMN y TO z", "k>a2 a>k b>z c>c"),
        ] {
            connection.execute_batch(statement).expect("valid SQL");
            assert_eq!(listed(&connection), expected, "{statement}");
        }
        let update = "INSERT INTO u (a2) VALUES (1); UPDATE u SET a2 = 2, k = 3, z = 4, a = 5";
        connection.execute_batch(update).expect("the list is never in the way");
    }

    #[test]
    fn columns_are_listed_whatever_they_are_called() {
        let connection = Connection::open_in_memory().expect("in memory");
        let names = ["a, b", "it's", "q\"\"x", "[]", "new\nline", "sel\\ect", "' when 0 begin select '"];
        let columns: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        let sql = format!("CREATE TABLE t (k TEXT PRIMARY KEY, {})", columns.join(", "));
        connection.execute_batch(&sql).expect("valid SQL");
        connection.execute_batch(&trigger(7, &look(&connection)).sql).expect("valid SQL");
        for (at, column) in columns.iter().enumerate() {
            let rename = format!("ALTER TABLE t RENAME COLUMN {column} TO \"n, '{at}'\"");
            connection.execute_batch(&rename).expect("valid SQL");
        }
        let renamed = names.iter().enumerate();
        let renamed = renamed.map(|(at, name)| format!("{}>n, '{at}'", name.replace("\"\"", "\"")));
        assert_eq!(listed(&connection), format!("k>k {}", renamed.collect::<Vec<_>>().join(" ")));
    }

    #[test]
    fn a_trigger_that_somebody_changed_lists_nothing() {
        for sql in [
            "CREATE TRIGGER _driftless_7_columns AFTER UPDATE ON t BEGIN SELECT 1; END",
            "CREATE TRIGGER _driftless_7_columns AFTER UPDATE OF \"a\" ON t WHEN 0 BEGIN SELECT '[\"a\",\"b\"]'; END",
            "CREATE TRIGGER _driftless_7_columns AFTER UPDATE OF \"a ON t WHEN 0 BEGIN SELECT '[]'; END",
            "",
        ] {
            let trigger = Trigger { name: "_driftless_7_columns".to_owned(), sql: sql.to_owned() };
            assert_eq!(read(7, &[("t", &trigger)]), None, "{sql}");
        }
    }
}
