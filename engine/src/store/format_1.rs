//! From format 1 of the side tables to format 2. Format 1 kept lists of columns as strings, in which names with a comma or
//! a line break could not be told apart.

use rusqlite::Transaction;

use super::columns::{self, Columns, KnownColumn};
use super::{fold, health, kinds, renames, sql};
use crate::env::now;
use crate::error::{Doing, Result};

/// What format 1 has on a table in the columns that format 2 gives up.
struct Old {
    id: i64,
    spelled: String,
    kinds: String,
    renames: String,
    hint: String,
    fresh: String,
    shape: String,
}

/// Brings the side tables of a file of format 1 to format 2; the format's number is left to the caller.
pub(super) fn upgrade(tx: &Transaction<'_>) -> Result<()> {
    let doing = "bringing the side tables to format 2";
    let tables = old_tables(tx)?;
    tx.execute_batch(
        "DROP VIEW IF EXISTS driftless_conflicts;
         DROP VIEW IF EXISTS driftless_parked;
         DROP VIEW IF EXISTS driftless_status;
         ALTER TABLE _driftless_tables DROP COLUMN kinds;
         ALTER TABLE _driftless_tables DROP COLUMN renames;
         ALTER TABLE _driftless_tables DROP COLUMN hint;
         ALTER TABLE _driftless_tables DROP COLUMN fresh;
         ALTER TABLE _driftless_tables DROP COLUMN shape;
         ALTER TABLE _driftless_tables ADD COLUMN rules TEXT;
         ALTER TABLE _driftless_tables ADD COLUMN rebuilt INTEGER;
         ALTER TABLE _driftless_tables ADD COLUMN compared INTEGER;
         ALTER TABLE _driftless_tables ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;
         ALTER TABLE _driftless_tables ADD COLUMN inserted INTEGER NOT NULL DEFAULT 0;
         ALTER TABLE _driftless_tables ADD COLUMN edited INTEGER NOT NULL DEFAULT 0;
         ALTER TABLE _driftless_definitions ADD COLUMN type TEXT;
         ALTER TABLE _driftless_definitions ADD COLUMN retired INTEGER;
         ALTER TABLE _driftless_definitions ADD COLUMN retired_columns TEXT;
         ALTER TABLE _driftless_backlog RENAME TO _driftless_backlog_1;",
    )
    .doing(doing)?;
    health::make(tx, &health::missing(tx)?)?;
    move_backlog(tx)?;
    for old in tables {
        let columns = columns_of(tx, &old)?;
        columns::put(tx, old.id, &columns)?;
        sql::exec(
            tx,
            doing,
            "UPDATE _driftless_tables SET rules = ?2 WHERE id = ?1",
            (old.id, old.shape.split('\n').nth(2)),
        )?;
    }
    Ok(())
}

fn old_tables(tx: &Transaction<'_>) -> Result<Vec<Old>> {
    let doing = "reading the side tables of format 1";
    sql::list(
        tx,
        doing,
        "SELECT id, spelled, kinds, renames, coalesce(hint, ''), coalesce(fresh, ''), coalesce(shape, '')
             FROM _driftless_tables",
        [],
        |row| {
            Ok(Old {
                id: row.get(0)?,
                spelled: row.get(1)?,
                kinds: row.get(2)?,
                renames: row.get(3)?,
                hint: row.get(4)?,
                fresh: row.get(5)?,
                shape: row.get(6)?,
            })
        },
    )
}

/// Copies the backlog, however many key columns it has, with now as the time of what is found.
fn move_backlog(tx: &Transaction<'_>) -> Result<()> {
    let doing = "bringing the backlog to format 2";
    let keys: u32 = sql::one(
        tx,
        doing,
        "SELECT count(*) FROM pragma_table_info('_driftless_backlog_1') WHERE name GLOB 'k[0-9]*'",
        [],
        sql::first,
    )?;
    let keys = super::dirty::key_list(keys as usize);
    let width = keys.split(", ").count();
    super::dirty::widen(tx, width)?;
    tx.execute_batch(&format!(
        "INSERT INTO _driftless_backlog (id, tbl, first, at, {keys})
         SELECT id, tbl, first, {}, {keys} FROM _driftless_backlog_1;
         DROP TABLE _driftless_backlog_1;",
        now()
    ))
    .doing(doing)
}

fn columns_of(tx: &Transaction<'_>, old: &Old) -> Result<Columns> {
    let renames = renames::from_text(&old.renames);
    let present = present(tx, &old.spelled)?;
    // Format 1 recorded columns by the names that they travel by.
    let local = |travels: &str| {
        let renamed = renames.iter().find(|(now, known)| known == travels && present.contains(now));
        match renamed {
            Some((now, _)) if !present.iter().any(|name| name == travels) => now.clone(),
            _ => travels.to_owned(),
        }
    };
    let mut lines = old.shape.splitn(3, '\n');
    let key = parse_key(lines.next().unwrap_or_default());
    let names = lines.next().map(parse_names).unwrap_or_default();
    let mut known: Vec<KnownColumn> = Vec::new();
    for (place, travels) in names.iter().enumerate() {
        let in_key = key.iter().position(|(column, _)| column == travels);
        known.push(KnownColumn {
            name: local(travels),
            place: Some(place),
            key: in_key.map(|at| (at, key[at].1.map(str::to_owned))),
            ..KnownColumn::default()
        });
    }
    let (went, came) = old.hint.split_once('\n').unwrap_or((&old.hint, ""));
    let split = |line: &str| -> Vec<String> {
        line.split('\t').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let (went, came) = (split(went), split(came));
    // A name with a comma in it was cut in two when the table was first looked at, and stands before what came and went later.
    for (name, went) in came.iter().rev().zip(went.iter().rev()).filter(|(name, _)| !name.contains(", ")) {
        let name = local(name);
        if let Some(column) = known.iter_mut().find(|column| column.name == name) {
            column.came = 1;
            column.was = Some(went.clone());
        }
    }
    for name in went {
        if known.iter().all(|column| column.name != name) {
            known.push(KnownColumn { name, went: Some(1), ..KnownColumn::default() });
        }
    }
    Ok(Columns {
        known,
        kinds: kinds::from_text(&old.kinds),
        fresh: old.fresh.lines().map(str::to_owned).collect(),
        renames,
    })
}

/// The columns that a table has, folded; none if there is no such table.
fn present(tx: &Transaction<'_>, table: &str) -> Result<Vec<String>> {
    sql::list(tx, "reading the schema", "SELECT name FROM pragma_table_info(?1)", [table], |row| {
        row.get(0).map(|name: String| fold(&name))
    })
}

/// `"a" Binary, "b" NoCase rowid`: the names, and the collations; `None` for an alias of the rowid.
fn parse_key(line: &str) -> Vec<(String, Option<&'static str>)> {
    let mut key = Vec::new();
    let mut rest = line;
    while let Some((name, after)) = quoted(rest) {
        let end = after.find(", ").unwrap_or(after.len());
        let words = &after[..end];
        let collation = if words.contains("NoCase") {
            "NOCASE"
        } else if words.contains("RTrim") {
            "RTRIM"
        } else {
            "BINARY"
        };
        key.push((name, (!words.ends_with(" rowid")).then_some(collation)));
        rest = after[end..].strip_prefix(", ").unwrap_or_default();
    }
    key
}

/// `"a", "b, c"`: the names.
fn parse_names(line: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = line;
    while let Some((name, after)) = quoted(rest) {
        names.push(name);
        rest = after.strip_prefix(", ").unwrap_or_default();
    }
    names
}

/// The name at the beginning, and what follows its closing quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut name = String::new();
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return Some((name, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_whatever_is_in_them() {
        assert_eq!(parse_names("\"a\", \"b, c\", \"d\"\", \"\"\", \"e\""), ["a", "b, c", "d\", \"", "e"]);
        assert_eq!(
            parse_key("\"k, l\" NoCase, \"m\" Binary rowid"),
            [("k, l".to_owned(), Some("NOCASE")), ("m".to_owned(), None)]
        );
        assert!(parse_names("").is_empty() && parse_names("\"cut").is_empty());
    }
}
