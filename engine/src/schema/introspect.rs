//! Reading what a table looks like. See <https://sqlite.org/pragma.html#pragma_table_xinfo>.

use std::collections::{BTreeMap, HashMap};

use driftless_protocol::{Collation, Value};
use rusqlite::Connection;

use super::constraints;
use super::inventory::{Inventory, Kind, Object};
use super::{Column, KeyColumn, Table};
use crate::document::affinity::Affinity;
use crate::error::refusal::Refusal;
use crate::error::{Error, Result};
use crate::store::{PREFIX, fold, value};

/// A look at a table: as it is, or why it cannot be tracked whatever the options.
pub(crate) type Look = std::result::Result<Table, Refusal>;

/// Looks at a table. `None` if there is none of that name.
pub(crate) fn table(connection: &Connection, name: &str) -> Result<Option<Look>> {
    look(connection, &Inventory::read_one(connection, name)?, name, &mut Constants::default())
}

/// Looks at every table and view of the user's. By folded name.
pub(crate) fn tables(connection: &Connection, inventory: &Inventory) -> Result<BTreeMap<String, Look>> {
    let (mut looks, mut constants) = (BTreeMap::new(), Constants::default());
    for object in inventory.user_objects() {
        if let Some(look) = look(connection, inventory, &object.name, &mut constants)? {
            looks.insert(fold(&object.name), look);
        }
    }
    Ok(looks)
}

/// Looks at a table of which the inventory knows.
fn look(
    connection: &Connection,
    inventory: &Inventory,
    name: &str,
    constants: &mut Constants,
) -> Result<Option<Look>> {
    let Some(object) = inventory.get(name) else { return Ok(None) };
    let (folded, too_long) =
        (fold(&object.name), object.name.len() > driftless_protocol::changeset::MAX_TABLE_BYTES);
    let refusal = match object.kind {
        _ if object.sql.is_none() => Some(Refusal::Internal),
        Kind::View => Some(Refusal::View),
        Kind::Virtual => Some(Refusal::Virtual),
        Kind::Shadow => Some(Refusal::Shadow),
        Kind::Ordinary if folded.starts_with(PREFIX) || folded.starts_with("sqlite_") => {
            Some(Refusal::Internal)
        }
        Kind::Ordinary if too_long => Some(Refusal::LongName),
        Kind::Ordinary => None,
    };
    match refusal {
        Some(refusal) => Ok(Some(Err(refusal))),
        None => Ok(Some(ordinary(connection, inventory, object, constants)?)),
    }
}

/// Looks at one of the engine's own tables.
pub(crate) fn own(connection: &Connection, name: &'static str) -> Result<Table> {
    let damaged = |what: String| Error::Damaged { table: name, what };
    let inventory = Inventory::read_one(connection, name)?;
    let object = inventory.get(name).ok_or_else(|| damaged("it is not there".to_owned()))?;
    ordinary(connection, &inventory, object, &mut Constants::default())?
        .map_err(|refusal| damaged(refusal.to_string()))
}

fn ordinary(
    connection: &Connection,
    inventory: &Inventory,
    object: &Object,
    constants: &mut Constants,
) -> Result<Look> {
    let sql = object.sql.clone().unwrap_or_default();
    let mut table = Table {
        key: Vec::new(),
        spelled: object.name.clone(),
        columns: Vec::new(),
        all_columns: object.columns.iter().map(|column| column.name.clone()).collect(),
        generated: Vec::new(),
        integer_key: true,
        counts_keys: sql.to_ascii_uppercase().contains("AUTOINCREMENT"),
        nullable_key: false,
        rowid: None,
        unique: Vec::new(),
        references: Vec::new(),
        indexes: object.indexes.iter().filter_map(|index| index.sql.clone()).collect(),
        has_clauses: sql.to_ascii_uppercase().contains("CONFLICT"),
        fallbacks: Vec::new(),
        sql,
    };
    if let Err(refusal) = read_columns(connection, object, &mut table, constants) {
        return Ok(Err(refusal));
    }
    if let Err(refusal) = read_indexes(object, &mut table) {
        return Ok(Err(refusal));
    }
    // In a table without rowid SQLite enforces NOT NULL in the key by itself.
    table.nullable_key = !object.without_rowid
        && !table.integer_key
        && object.columns.iter().any(|column| column.key > 0 && !column.not_null);
    if !object.without_rowid && !table.integer_key {
        let hidden = |name: &&str| table.columns.iter().any(|column| column.name == *name);
        table.rowid = ["rowid", "_rowid_", "oid"].into_iter().find(|name| !hidden(name));
    }
    table.references = constraints::references(connection, inventory, object)?;
    Ok(Ok(table))
}

fn read_columns(
    connection: &Connection,
    object: &Object,
    table: &mut Table,
    constants: &mut Constants,
) -> std::result::Result<(), Refusal> {
    let mut key_order = Vec::new();
    for raw in &object.columns {
        if raw.generated {
            table.generated.push(fold(&raw.name));
            continue;
        }
        if raw.name.is_empty() {
            return Err(Refusal::NamelessColumn);
        }
        if raw.name.len() > driftless_protocol::lane::MAX_COLUMN_BYTES {
            return Err(Refusal::LongName);
        }
        if raw.key > 0 {
            key_order.push((raw.key, table.columns.len()));
        }
        let default = constants.value(connection, raw.default.as_deref());
        if raw.not_null
            && let Some(Value::Integer(_) | Value::Text(_) | Value::Blob(_)) = &default
        {
            table.fallbacks.extend(default.as_ref().map(|default| (raw.name.clone(), default.to_string())));
        }
        // In a STRICT table, ANY leaves values as they are.
        let any = object.strict && raw.declared.eq_ignore_ascii_case("ANY");
        let affinity = if any { Affinity::Blob } else { Affinity::of(&raw.declared) };
        table.columns.push(Column { name: fold(&raw.name), spelled: raw.name.clone(), default, affinity });
    }
    if key_order.is_empty() {
        return Err(Refusal::NoPrimaryKey);
    }
    key_order.sort_unstable();
    table.key = key_order.iter().map(|&(_, at)| KeyColumn { at, collation: Collation::Binary }).collect();
    Ok(())
}

fn read_indexes(object: &Object, table: &mut Table) -> std::result::Result<(), Refusal> {
    for index in &object.indexes {
        if index.of_key {
            table.integer_key = false;
            // The same column may stand twice in a key; only its first place counts.
            for key in &mut table.key {
                let name = &table.columns[key.at].spelled;
                let collation = index.terms.iter().find(|(column, _)| column.as_ref() == Some(name));
                let collation = collation.map_or("BINARY", |(_, collation)| collation);
                match Collation::from_name(collation) {
                    Some(known) => key.collation = known,
                    None => return Err(Refusal::CustomCollation(collation.to_owned())),
                }
            }
        } else if index.unique {
            match constraints::unique(index) {
                Some(unique) => table.unique.push(unique),
                None => return Err(Refusal::UnreadableIndex(index.name.clone())),
            }
        }
    }
    Ok(())
}

/// The values of the DEFAULTs seen so far, by their text: many columns have the same one.
#[derive(Default)]
struct Constants(HashMap<String, Option<Value<'static>>>);

impl Constants {
    fn value(&mut self, connection: &Connection, default: Option<&str>) -> Option<Value<'static>> {
        let Some(text) = default else { return Some(Value::Null) };
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let value = constant(connection, text);
        self.0.insert(text.to_owned(), value.clone());
        value
    }
}

/// The value of a DEFAULT, if it is a constant.
fn constant(connection: &Connection, default: &str) -> Option<Value<'static>> {
    let literal = default.trim();
    let varies = literal.contains('(') || literal.to_ascii_uppercase().starts_with("CURRENT_");
    if varies {
        return None;
    }
    // SQLite takes a bare word in a DEFAULT as text; evaluated, it would be a column. Not known then.
    let evaluated =
        connection.query_row(&format!("SELECT {literal}"), [], |row| Ok(value(row.get_ref(0)?).into_owned()));
    evaluated.ok()
}
