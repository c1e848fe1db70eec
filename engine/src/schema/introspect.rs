//! Reading what a table looks like. See <https://sqlite.org/pragma.html#pragma_table_xinfo>.

use driftless_protocol::{Collation, Value};
use rusqlite::{Connection, OptionalExtension};

use super::constraints;
use super::eligibility::Refusal;
use super::{Affinity, Column, KeyColumn, Table};
use crate::error::{Doing, Error, Result};
use crate::store::{PREFIX, fold, value};

/// A look at a table: as it is, or why it cannot be tracked whatever the options.
pub(crate) type Look = std::result::Result<Table, Refusal>;

/// Every table of the user's, in the order of their making.
pub(crate) fn user_tables(connection: &Connection) -> Result<Vec<String>> {
    let doing = "reading the schema";
    let mut statement = connection
        .prepare(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
             AND name NOT LIKE '\\_driftless\\_%' ESCAPE '\\' ORDER BY rowid",
        )
        .doing(doing)?;
    let names = statement.query_map([], |row| row.get(0)).doing(doing)?;
    names.collect::<rusqlite::Result<_>>().doing(doing)
}

/// Looks at a table. `None` if there is none of that name.
pub(crate) fn table(connection: &Connection, name: &str) -> Result<Option<Look>> {
    let doing = "reading the schema";
    let found: Option<(String, String, Option<String>)> = connection
        .query_row(
            "SELECT name, type, sql FROM sqlite_master WHERE name = ?1 COLLATE NOCASE AND type IN ('table', 'view')",
            [name],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()
        .doing(doing)?;
    let Some((spelled, kind, Some(sql))) = found else {
        return Ok(found.map(|_| Err(Refusal::Internal)));
    };
    if kind == "view" {
        return Ok(Some(Err(Refusal::View)));
    }
    let (kind, without_rowid): (String, bool) = connection
        .query_row("SELECT type, wr FROM pragma_table_list(?1) WHERE schema = 'main'", [&spelled], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .doing(doing)?;
    let refusal = match kind.as_str() {
        "virtual" => Some(Refusal::Virtual),
        "shadow" => Some(Refusal::Shadow),
        _ if fold(&spelled).starts_with(PREFIX) || fold(&spelled).starts_with("sqlite_") => {
            Some(Refusal::Internal)
        }
        _ if spelled.len() > driftless_protocol::changeset::MAX_TABLE_BYTES => Some(Refusal::LongName),
        _ => None,
    };
    match refusal {
        Some(refusal) => Ok(Some(Err(refusal))),
        None => Ok(Some(ordinary(connection, spelled, sql, without_rowid)?)),
    }
}

/// Looks at one of the engine's own tables.
pub(crate) fn own(connection: &Connection, name: &'static str) -> Result<Table> {
    let sql = connection
        .query_row("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?1", [name], |row| {
            row.get(0)
        })
        .doing("reading the schema")?;
    ordinary(connection, name.to_owned(), sql, true)?
        .map_err(|refusal| Error::Damaged { table: name, what: refusal.to_string() })
}

fn ordinary(connection: &Connection, spelled: String, sql: String, without_rowid: bool) -> Result<Look> {
    let doing = "reading the schema";
    let mut statement = connection
        .prepare(
            "SELECT name, dflt_value, pk, hidden, type, \"notnull\" FROM pragma_table_xinfo(?1) ORDER BY cid",
        )
        .doing(doing)?;
    let mut rows = statement.query([&spelled]).doing(doing)?;
    let (mut columns, mut all_columns, mut generated, mut key_order, mut fallbacks) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let strict = is_strict(connection, &spelled)?;
    while let Some(row) = rows.next().doing(doing)? {
        let (name, default): (String, Option<String>) = (row.get(0).doing(doing)?, row.get(1).doing(doing)?);
        let (pk, hidden): (i64, i64) = (row.get(2).doing(doing)?, row.get(3).doing(doing)?);
        all_columns.push(name.clone());
        if hidden != 0 {
            generated.push(fold(&name));
            continue;
        }
        if name.is_empty() {
            return Ok(Err(Refusal::NamelessColumn));
        }
        if name.len() > driftless_protocol::lane::MAX_COLUMN_BYTES {
            return Ok(Err(Refusal::LongName));
        }
        if pk > 0 {
            key_order.push((pk, columns.len()));
        }
        let default = constant(connection, default.as_deref())?;
        if row.get(5).doing(doing)?
            && let Some(Value::Integer(_) | Value::Text(_) | Value::Blob(_)) = &default
        {
            fallbacks.extend(default.as_ref().map(|default| (name.clone(), default.to_string())));
        }
        let declared: String = row.get(4).doing(doing)?;
        // In a STRICT table, ANY leaves values as they are.
        let any = strict && declared.eq_ignore_ascii_case("ANY");
        let affinity = if any { Affinity::Blob } else { Affinity::of(&declared) };
        columns.push(Column { name: fold(&name), spelled: name, default, affinity });
    }
    if key_order.is_empty() {
        return Ok(Err(Refusal::NoPrimaryKey));
    }
    key_order.sort_unstable();
    let mut table = Table {
        key: key_order.iter().map(|&(_, at)| KeyColumn { at, collation: Collation::Binary }).collect(),
        spelled,
        columns,
        all_columns,
        generated,
        integer_key: true,
        rowid: None,
        unique: Vec::new(),
        references: Vec::new(),
        indexes: Vec::new(),
        has_clauses: sql.to_ascii_uppercase().contains("CONFLICT"),
        fallbacks,
        sql,
    };
    if let Err(refusal) = read_indexes(connection, &mut table)? {
        return Ok(Err(refusal));
    }
    if !without_rowid && !table.integer_key {
        let hidden = |name: &&str| table.columns.iter().any(|column| column.name == *name);
        table.rowid = ["rowid", "_rowid_", "oid"].into_iter().find(|name| !hidden(name));
    }
    table.references = constraints::references(connection, &table)?;
    Ok(Ok(table))
}

fn read_indexes(connection: &Connection, table: &mut Table) -> Result<std::result::Result<(), Refusal>> {
    let doing = "reading the indexes";
    let mut statement = connection
        .prepare("SELECT name, \"unique\", origin FROM pragma_index_list(?1) ORDER BY name")
        .doing(doing)?;
    let indexes: Vec<(String, bool, String)> = statement
        .query_map([&table.spelled], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .and_then(|rows| rows.collect())
        .doing(doing)?;
    for (index, unique, origin) in indexes {
        let mut statement = connection
            .prepare("SELECT name, coll FROM pragma_index_xinfo(?1) WHERE key = 1 ORDER BY seqno")
            .doing(doing)?;
        let columns: Vec<(Option<String>, Option<String>)> = statement
            .query_map([&index], |row| Ok((row.get(0)?, row.get(1)?)))
            .and_then(|rows| rows.collect())
            .doing(doing)?;
        if origin == "pk" {
            table.integer_key = false;
            // The same column may stand twice in a key; only its first place counts.
            for key in &mut table.key {
                let name = &table.columns[key.at].spelled;
                let collation = columns.iter().find(|(column, _)| column.as_ref() == Some(name));
                let collation = collation.and_then(|(_, collation)| collation.as_deref()).unwrap_or("BINARY");
                match Collation::from_name(collation) {
                    Some(known) => key.collation = known,
                    None => return Ok(Err(Refusal::CustomCollation(collation.to_owned()))),
                }
            }
        } else if unique {
            match constraints::unique(connection, index.clone())? {
                Some(unique) => table.unique.push(unique),
                None => return Ok(Err(Refusal::UnreadableIndex(index))),
            }
        }
    }
    let mut statement = connection
        .prepare(
            "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ?1 COLLATE NOCASE
             AND sql IS NOT NULL ORDER BY name",
        )
        .doing(doing)?;
    table.indexes = statement
        .query_map([&table.spelled], |row| row.get(0))
        .and_then(|rows| rows.collect())
        .doing(doing)?;
    Ok(Ok(()))
}

fn is_strict(connection: &Connection, table: &str) -> Result<bool> {
    connection
        .query_row("SELECT strict FROM pragma_table_list(?1) WHERE schema = 'main'", [table], |row| {
            row.get(0)
        })
        .doing("reading the schema")
}

/// The value of a DEFAULT, if it is a constant. No DEFAULT is NULL.
fn constant(connection: &Connection, default: Option<&str>) -> Result<Option<Value<'static>>> {
    let Some(default) = default else { return Ok(Some(Value::Null)) };
    let literal = default.trim();
    let varies = literal.contains('(') || literal.to_ascii_uppercase().starts_with("CURRENT_");
    if varies {
        return Ok(None);
    }
    // SQLite takes a bare word in a DEFAULT as text; evaluated, it would be a column. Not known then.
    let evaluated =
        connection.query_row(&format!("SELECT {literal}"), [], |row| Ok(value(row.get_ref(0)?).into_owned()));
    Ok(evaluated.ok())
}
