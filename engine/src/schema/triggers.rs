//! The triggers that mark what was written: plain SQL that runs in the writer's own library, whatever that is.
//!
//! Each appends `(table, time, key)` to the dirty log in the writer's transaction, unless the engine itself is
//! writing. The traps:
//!
//! - A conflict clause of the outer statement (`INSERT OR IGNORE`) takes the place of any in a trigger. Ours has none
//!   and needs none: appending under a fresh rowid meets no constraint.
//! - An insert takes 1.2 to 1.4 times as long with an append, and up to 2.7 times with a set kept by `INSERT OR
//!   IGNORE` (measured).
//! - `REPLACE` removes rows that stand in its way without firing a DELETE trigger. A row under the same key is
//!   marked by the INSERT itself; one under another key, reached through a UNIQUE column, by a BEFORE trigger.
//! - A table whose key is not an alias of the rowid has a hidden rowid, which a statement may name: REPLACE can evict
//!   a row through that, too. It has BEFORE triggers of its own, which fire only if a rowid is given or changed.
//! - Only the triggers for UNIQUE columns name the table in their bodies. Where `legacy_alter_table` is on, `RENAME
//!   TABLE` does not change that name, and every write fails until the engine has made the triggers anew.
//! - An UPDATE marks the new key, and the old one if it differs; `IS NOT` compares them with the column's own
//!   collation.
//! - BEFORE triggers do not see defaults of the rowid, so keys are marked AFTER.
//! - If a trigger of the app's fails, the row may stay although the statement ends (`RAISE(FAIL)`, or any error under
//!   `OR FAIL`), and triggers that would have run after it do not run. SQLite runs the trigger that was made last
//!   first, so ours are made anew when the app makes one. SQLite does not promise this order; the test
//!   `a_row_that_stays_though_a_later_trigger_of_the_app_fails_is_captured` notices if it changes.
//! - One trigger never runs. It lists the table's columns, and SQLite renames a column there, too: see [`super::column_list`].
//! - The time is the write's, not the capture's, which may be hours later. `julianday` is as old as SQLite 3.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::constraints::Unique;
use super::sql_text::{column_definition, mentions};
use super::{Table, column_list};
use crate::error::Result;
use crate::store::dirty::key_list;
use crate::store::{PREFIX, fold, quote, sql};

/// Milliseconds since 1970, in any SQLite. Rounded, not cut off: the fraction of a day is slightly more or less than
/// the millisecond that it stands for, so cutting off could make one number of two consecutive milliseconds, and
/// chance would decide which write wins.
const NOW: &str = "CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)";

/// A trigger's name and the statement that makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trigger {
    pub(crate) name: String,
    pub(crate) sql: String,
}

/// The prefix of the names of all triggers of table number `id`.
pub(crate) fn name_prefix(id: i64) -> String {
    format!("_driftless_{id}_")
}

/// The tables that our triggers stand on: the number that they were made for, and the table's name now.
pub(crate) fn places(connection: &Connection) -> Result<Vec<(i64, String)>> {
    let doing = "reading the triggers";
    let rows = sql::list::<_, Vec<_>>(
        connection,
        doing,
        "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger' AND name GLOB '_driftless_[0-9]*_insert'",
        [],
        |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)),
    )?;
    let number = |name: &str| name.strip_prefix(PREFIX)?.strip_suffix("_insert")?.parse().ok();
    Ok(rows.into_iter().filter_map(|(name, table)| Some((number(&name)?, table))).collect())
}

/// The triggers that watch `table`, which has number `id`. With `watched` they mark rows even while the engine
/// writes, because triggers of the user's on other tables then write into this table, and that has to be undone.
pub(crate) fn all(id: i64, table: &Table, watched: bool) -> Vec<Trigger> {
    let unless = if watched { "1" } else { "NOT EXISTS (SELECT 1 FROM _driftless_applying)" };
    let trigger = |kind: &str, event: &str, when: &str, body: &str| {
        let name = format!("{}{kind}", name_prefix(id));
        let (on, body) = (quote(&table.spelled), body.trim_end());
        let sql = format!("CREATE TRIGGER {name} {event} ON {on} WHEN {when}{unless} BEGIN {body} END");
        Trigger { name, sql }
    };
    let mark = |from: &str| mark(id, table, from);
    let updated = format!("{} {}", mark("NEW"), mark_if_moved(id, table));
    let mut triggers = vec![
        trigger("insert", "AFTER INSERT", "", &mark("NEW")),
        trigger("update", "AFTER UPDATE", "", &updated),
        trigger("delete", "AFTER DELETE", "", &mark_gone(id, table)),
        column_list::trigger(id, table),
    ];
    let evicted: String = table.unique.iter().map(|unique| mark_evicted(id, table, unique)).collect();
    if !evicted.is_empty() {
        triggers.push(trigger("replace_insert", "BEFORE INSERT", "", &evicted));
        triggers.push(trigger("replace_update", "BEFORE UPDATE", "", &evicted));
    }
    if let Some(rowid) = table.rowid {
        let evicted = mark_rowid(id);
        let given = format!("NEW.{rowid} IS NOT -1 AND ");
        triggers.push(trigger("rowid_insert", "BEFORE INSERT", &given, &evicted));
        let moved = format!("NEW.{rowid} IS NOT OLD.{rowid} AND ");
        triggers.push(trigger("rowid_update", "BEFORE UPDATE", &moved, &evicted));
    }
    triggers
}

fn key_of(table: &Table, from: &str) -> String {
    let columns = table.key.iter().map(|key| format!("{from}.{}", quote(&table.columns[key.at].spelled)));
    columns.collect::<Vec<_>>().join(", ")
}

fn mark(id: i64, table: &Table, from: &str) -> String {
    let (columns, key) = (key_list(table.key.len()), key_of(table, from));
    format!("INSERT INTO _driftless_dirty (tbl, at, {columns}) VALUES ({id}, {NOW}, {key});")
}

/// Marks a deleted row. That it was deleted matters if its table is dropped later: see [`super::rebuilt`].
fn mark_gone(id: i64, table: &Table) -> String {
    let (columns, key) = (key_list(table.key.len()), key_of(table, "OLD"));
    format!("INSERT INTO _driftless_dirty (tbl, at, gone, {columns}) VALUES ({id}, {NOW}, 1, {key});")
}

fn mark_if_moved(id: i64, table: &Table) -> String {
    let moved = table.key.iter().map(|key| {
        let column = quote(&table.columns[key.at].spelled);
        format!("OLD.{column} IS NOT NEW.{column}")
    });
    let (columns, key) = (key_list(table.key.len()), key_of(table, "OLD"));
    let moved = moved.collect::<Vec<_>>().join(" OR ");
    format!(
        "INSERT INTO _driftless_dirty (tbl, at, gone, {columns}) SELECT {id}, {NOW}, 1, {key} WHERE {moved};"
    )
}

/// Marks the rows that hold the new row's values in a UNIQUE index, since REPLACE may evict them. Marking too many is
/// harmless, so partial indexes are treated as if they covered all rows. Marking too few loses a delete, so the terms
/// are compared as the index compares them. If REPLACE is going to turn a NULL into the column's DEFAULT, a trigger
/// still sees the NULL: the DEFAULT is compared in its place. But a generated column that is computed from it is not
/// known here, and then all rows are marked.
fn mark_evicted(id: i64, table: &Table, unique: &Unique) -> String {
    let new = |column: &str| match table.fallbacks.iter().find(|(known, _)| known == column) {
        Some((_, fallback)) => format!("coalesce(NEW.{}, {fallback})", quote(column)),
        None => format!("NEW.{}", quote(column)),
    };
    let equal = unique.terms.iter().map(|term| {
        let named: Vec<&str> = match &term.column {
            Some(column) => vec![column],
            None => named(table, &term.sql).collect(),
        };
        let equal = match &term.column {
            Some(column) => format!("{} = {}", term.sql, new(column)),
            // The expression over the new row, whose columns keep their names. Only the columns that it names: a
            // column that a trigger names cannot be dropped.
            None => {
                let from: Vec<String> =
                    named.iter().map(|column| format!("{} AS {}", new(column), quote(column))).collect();
                let from = if from.is_empty() { "1".to_owned() } else { from.join(", ") };
                format!("{0} = (SELECT {0} FROM (SELECT {from}))", term.sql)
            }
        };
        let unsettled = computed_from_fallbacks(table, &named);
        let unsettled: String =
            unsettled.into_iter().map(|column| format!(" OR NEW.{} IS NULL", quote(column))).collect();
        if unsettled.is_empty() { equal } else { format!("({equal}{unsettled})") }
    });
    let equal = equal.collect::<Vec<_>>().join(" AND ");
    let (columns, key) = (key_list(table.key.len()), table.key_columns());
    let name = quote(&table.spelled);
    format!(
        "INSERT INTO _driftless_dirty (tbl, at, {columns}) SELECT {id}, {NOW}, {key} FROM {name} WHERE {equal}; "
    )
}

/// The columns that an expression names.
fn named<'a>(table: &'a Table, expression: &str) -> impl Iterator<Item = &'a str> {
    table.all_columns.iter().map(String::as_str).filter(move |column| mentions(expression, column))
}

/// The columns that have a DEFAULT for a NULL, and from which generated columns among `columns` are computed.
fn computed_from_fallbacks<'a>(table: &'a Table, columns: &[&'a str]) -> BTreeSet<&'a str> {
    let is_generated = |column: &str| table.generated.contains(&fold(column));
    let mut found = BTreeSet::new();
    let mut generated: Vec<&str> = columns.iter().copied().filter(|column| is_generated(column)).collect();
    let mut seen: BTreeSet<&str> = generated.iter().copied().collect();
    while let Some(column) = generated.pop() {
        // If the definition is not found, the column may be computed from any column.
        let definition = column_definition(&table.sql, column).unwrap_or(&table.sql);
        for named in named(table, definition) {
            if is_generated(named) {
                if seen.insert(named) {
                    generated.push(named);
                }
            } else if table.fallbacks.iter().any(|(known, _)| known == named) {
                found.insert(named);
            }
        }
    }
    found
}

/// Marks that the row at the new rowid may be evicted, without saying which row that is. To find it here would take a
/// query that names the table, and where `legacy_alter_table` is on, as on macOS, SQLite does not rename the table
/// inside a trigger: after a rename the next write would fail. So the engine looks for the row. Before an insert that
/// gives no rowid, `NEW.rowid` is -1; a row that really is inserted at -1 can evict only the row there, and that one
/// is not looked for.
fn mark_rowid(id: i64) -> String {
    format!("INSERT INTO _driftless_dirty (tbl, at) VALUES (-{id}, {NOW});")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::introspect;

    fn table(sql: &str) -> Table {
        let connection = rusqlite::Connection::open_in_memory().expect("in memory");
        connection.execute_batch(sql).expect("valid SQL");
        introspect::table(&connection, "t").expect("read").expect("there").expect("eligible")
    }

    #[test]
    fn every_millisecond_is_a_time_of_its_own() {
        let connection = rusqlite::Connection::open_in_memory().expect("in memory");
        let sql = format!("SELECT {}", NOW.replace("'now'", "?1"));
        let mut statement = connection.prepare(&sql).expect("valid SQL");
        for ms in 0..1000 {
            let time = format!("2026-11-22T10:20:30.{ms:03}Z");
            let told: i64 = statement.query_row([&time], |row| row.get(0)).expect("a time");
            assert_eq!(told, 1_795_342_830_000 + ms, "{time}");
        }
    }

    #[test]
    fn a_default_that_replaces_a_null_evicts_through_a_generated_column_too() {
        let connection = rusqlite::Connection::open_in_memory().expect("in memory");
        connection
            .execute_batch(
                "CREATE TABLE t (k TEXT PRIMARY KEY, \"u u\" INTEGER NOT NULL DEFAULT 2, w NOT NULL DEFAULT 1,
                                 g AS (\"u u\" || 'x'), h AS (upper(g)) UNIQUE);
                 CREATE TABLE _driftless_applying (one);
                 CREATE TABLE _driftless_dirty (tbl, at, gone, k0);",
            )
            .expect("valid SQL");
        let table = introspect::table(&connection, "t").expect("read").expect("there").expect("eligible");
        for trigger in all(7, &table, false) {
            connection.execute_batch(&trigger.sql).expect("valid SQL");
        }
        connection
            .execute_batch(
                "INSERT INTO t VALUES ('old', 2, 1); DELETE FROM _driftless_dirty;
                 INSERT OR REPLACE INTO t VALUES ('new', NULL, 1);",
            )
            .expect("valid SQL");
        let marked: bool = connection
            .query_row("SELECT EXISTS (SELECT 1 FROM _driftless_dirty WHERE k0 = 'old')", [], |row| {
                row.get(0)
            })
            .expect("the marks");
        let rows: i64 =
            connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("the rows");
        assert_eq!((rows, marked), (1, true));
        connection.execute_batch("ALTER TABLE t DROP COLUMN w").expect("no trigger is in the way");
    }

    #[test]
    fn golden_triggers_of_a_composite_key() {
        let triggers = all(
            7,
            &table("CREATE TABLE t (\"a\"\"b\" TEXT, c, v, PRIMARY KEY (c, \"a\"\"b\")) WITHOUT ROWID"),
            false,
        );
        let now = "CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)";
        let head = |name: &str, event: &str| {
            format!(
                "CREATE TRIGGER _driftless_7_{name} AFTER {event} ON \"t\" \
                 WHEN NOT EXISTS (SELECT 1 FROM _driftless_applying) BEGIN "
            )
        };
        let mark = |from: &str| {
            format!(
                "INSERT INTO _driftless_dirty (tbl, at, k0, k1) VALUES (7, {now}, {from}.\"c\", {from}.\"a\"\"b\");"
            )
        };
        let gone = format!(
            "INSERT INTO _driftless_dirty (tbl, at, gone, k0, k1) VALUES (7, {now}, 1, OLD.\"c\", OLD.\"a\"\"b\");"
        );
        let moved = format!(
            " INSERT INTO _driftless_dirty (tbl, at, gone, k0, k1) SELECT 7, {now}, 1, OLD.\"c\", OLD.\"a\"\"b\" \
             WHERE OLD.\"c\" IS NOT NEW.\"c\" OR OLD.\"a\"\"b\" IS NOT NEW.\"a\"\"b\";"
        );
        let expected = [
            head("insert", "INSERT") + &mark("NEW") + " END",
            head("update", "UPDATE") + &mark("NEW") + &moved + " END",
            head("delete", "DELETE") + &gone + " END",
            "CREATE TRIGGER _driftless_7_columns AFTER UPDATE OF \"a\"\"b\", \"c\", \"v\" ON \"t\" WHEN 0 \
             BEGIN SELECT '[\"a\\\"b\",\"c\",\"v\"]'; END"
                .to_owned(),
        ];
        assert_eq!(triggers.iter().map(|t| t.sql.as_str()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_unique_column_beside_the_key_brings_triggers_that_mark_whom_replace_would_evict() {
        let triggers = all(7, &table("CREATE TABLE t (k TEXT PRIMARY KEY, u TEXT UNIQUE)"), false);
        assert_eq!(triggers.len(), 8);
        assert!(
            triggers[4].sql.contains("BEFORE INSERT")
                && triggers[4].sql.contains("WHERE \"u\" COLLATE \"BINARY\" = NEW.\"u\"")
        );
    }
}
