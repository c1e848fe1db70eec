//! What the space defines beside its tables' statements, followed as it changes in this file: which indexes its tables
//! have, the views, triggers and virtual tables of the app's, and the two numbers that an app keeps in the file's header.
//!
//! A file says what *it* changes: what came, went or was altered here since it was last looked at, which it remembers in
//! `_driftless_meta`. The first look only fills in what the space says nothing of. So an old copy, a clone that was made
//! without views, or a file in which an index could not be made takes nothing away from the others.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction};

use super::Catalog;
use super::definitions::{self, Defined, Type};
use crate::error::{Doing, Result};
use crate::store::tables::DEFINITIONS;
use crate::store::{PREFIX, fold, identity};

/// The numbers in the file's header that belong to the app. See <https://sqlite.org/pragma.html#pragma_user_version>.
pub(crate) const PRAGMAS: [&str; 2] = ["user_version", "application_id"];

/// What a file had when it was last looked at: digests of statements, by kind and folded name.
type Seen = BTreeMap<String, String>;

/// Brings the definitions of indexes, views, triggers and virtual tables up to date. Asked whenever the schema has
/// changed.
pub(super) fn follow(tx: &Transaction<'_>, catalog: &Catalog, now: i64) -> Result<()> {
    if !tracks_anything(catalog) {
        return Ok(());
    }
    let before = seen(tx)?;
    let objects = objects(tx, catalog)?;
    let mut after = Seen::new();
    for object in &objects {
        let (slot, digest) = (slot(object.is.name(), &object.name), digest(&object.sql));
        let known = before.as_ref().and_then(|seen| seen.get(&slot));
        let is_new = if before.is_some() {
            known != Some(&digest)
        } else {
            !definitions::is_defined(tx, object.is, &object.name)?
        };
        if is_new {
            definitions::put_defined(tx, object, now)?;
        }
        after.insert(slot, digest);
    }
    for is in [Type::View, Type::Trigger, Type::Virtual] {
        let prefix = slot(is.name(), "");
        let gone = before
            .iter()
            .flatten()
            .filter(|(slot, _)| slot.starts_with(&prefix) && !after.contains_key(*slot));
        for (slot, _) in gone {
            definitions::remove_defined(tx, is, &slot[prefix.len()..], now)?;
        }
    }
    for table in catalog.iter().filter(|table| table.id != DEFINITIONS) {
        let slot = slot("indexes", &table.name);
        let current = serde_json::Value::from(table.table.indexes.as_slice()).to_string();
        if let Some(known) =
            before.as_ref().and_then(|seen| seen.get(&slot)).filter(|known| **known != current)
        {
            follow_indexes(tx, &table.name, known, &table.table.indexes, now)?;
        }
        after.insert(slot, current);
    }
    // What is known of tables that are not here at the moment stays known.
    for (slot, known) in before
        .iter()
        .flatten()
        .filter(|(slot, _)| slot.starts_with("indexes\u{1}") || slot.starts_with("pragma\u{1}"))
    {
        after.entry(slot.clone()).or_insert_with(|| known.clone());
    }
    if before.as_ref() == Some(&after) { Ok(()) } else { identity::set_seen(tx, &to_text(&after)) }
}

/// Says which indexes of a table came, went or were altered here; what the space has beside those stays.
fn follow_indexes(
    tx: &Transaction<'_>,
    table: &str,
    known: &str,
    current: &[String],
    now: i64,
) -> Result<()> {
    let Some(definition) = definitions::find(tx, table)? else { return Ok(()) };
    let known: Vec<String> = serde_json::from_str(known).unwrap_or_default();
    let name = |sql: &str| super::sql_text::index_head(sql).map(|head| fold(&head.name));
    let mut indexes = definition.indexes();
    let gone = known.iter().filter(|index| !current.contains(index));
    for index in gone {
        indexes
            .retain(|defined| defined != index && (name(defined).is_none() || name(defined) != name(index)));
    }
    for index in current.iter().filter(|index| !known.contains(index)) {
        if !indexes.contains(index) {
            indexes.push(index.clone());
        }
    }
    indexes.sort_by_cached_key(|index| name(index));
    definitions::put_indexes(tx, table, &indexes, now)
}

/// Brings the definitions of `user_version` and `application_id` up to date. They move without the schema's version, so
/// this is asked whenever somebody has committed. `known`: as they were when last asked.
pub(crate) fn follow_pragmas(
    tx: &Transaction<'_>,
    catalog: &Catalog,
    known: Option<[i32; 2]>,
    now: i64,
) -> Result<Option<[i32; 2]>> {
    let values = pragmas(tx)?;
    if known == Some(values) || !tracks_anything(catalog) {
        return Ok(known);
    }
    let mut seen = seen(tx)?.unwrap_or_default();
    let before = seen.clone();
    for (name, value) in PRAGMAS.iter().zip(values) {
        let (slot, value) = (slot(Type::Pragma.name(), name), value.to_string());
        let is_news = match seen.get(&slot) {
            Some(before) => *before != value,
            // 0 is what a file has for which nobody ever set it.
            None => value != "0" && !definitions::is_defined(tx, Type::Pragma, name)?,
        };
        if is_news {
            let defined = Defined { is: Type::Pragma, name: (*name).to_owned(), sql: value.clone() };
            definitions::put_defined(tx, &defined, now)?;
        }
        seen.insert(slot, value);
    }
    if seen != before {
        identity::set_seen(tx, &to_text(&seen))?;
    }
    Ok(Some(values))
}

/// Takes everything as seen that a clone has just made from the definitions: it is nothing that this file says.
pub(crate) fn remember(tx: &Transaction<'_>, catalog: &Catalog) -> Result<()> {
    let mut all = Seen::new();
    for object in objects(tx, catalog)? {
        all.insert(slot(object.is.name(), &object.name), digest(&object.sql));
    }
    for table in catalog.iter().filter(|table| table.id != DEFINITIONS) {
        let current = serde_json::Value::from(table.table.indexes.as_slice()).to_string();
        all.insert(slot("indexes", &table.name), current);
    }
    for (name, value) in PRAGMAS.iter().zip(pragmas(tx)?) {
        all.insert(slot(Type::Pragma.name(), name), value.to_string());
    }
    identity::set_seen(tx, &to_text(&all))
}

/// Sets what the space says of `user_version` and `application_id`. Returns the names of those that it set.
pub(crate) fn set_pragmas(tx: &Transaction<'_>) -> Result<Vec<String>> {
    let mut set = Vec::new();
    for defined in definitions::defined(tx)?.iter().filter(|defined| defined.is == Type::Pragma) {
        let name = PRAGMAS.iter().find(|name| **name == defined.name);
        if let (Some(name), Ok(value)) = (name, defined.sql.parse::<i32>()) {
            tx.pragma_update(None, name, value).doing("setting the app's numbers of a file")?;
            set.push(format!("{name} {value}"));
        }
    }
    Ok(set)
}

fn tracks_anything(catalog: &Catalog) -> bool {
    catalog.iter().any(|table| table.id != DEFINITIONS)
}

fn pragmas(connection: &Connection) -> Result<[i32; 2]> {
    let read = |sql| {
        connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .doing("reading the app's numbers of a file")
    };
    Ok([read("PRAGMA user_version")?, read("PRAGMA application_id")?])
}

/// The app's own views and virtual tables, and its triggers on tables that travel and on views.
fn objects(connection: &Connection, catalog: &Catalog) -> Result<Vec<Defined>> {
    let doing = "reading the schema";
    let mut statement = connection
        .prepare_cached(
            "SELECT m.type, m.name, m.tbl_name, m.sql, (SELECT v.type FROM sqlite_master v
               WHERE v.name = m.tbl_name COLLATE NOCASE AND v.type = 'view')
             FROM sqlite_master m WHERE m.sql IS NOT NULL AND (m.type IN ('view', 'trigger')
             OR m.type = 'table' AND substr(m.sql, 1, 20) = 'CREATE VIRTUAL TABLE') ORDER BY m.name",
        )
        .doing(doing)?;
    type Row = (String, String, String, String, Option<String>);
    let rows: Vec<Row> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
        .and_then(|rows| rows.collect())
        .doing(doing)?;
    let mut objects = Vec::new();
    for (kind, name, table, sql, of_view) in rows {
        let is_ours = [PREFIX, "driftless_"].iter().any(|prefix| fold(&name).starts_with(prefix));
        let is = match kind.as_str() {
            "view" => Type::View,
            "trigger" if of_view.is_some() || catalog.named(&table).is_some() => Type::Trigger,
            "trigger" => continue,
            _ => Type::Virtual,
        };
        let of_ours = is == Type::Trigger
            && [PREFIX, "driftless_"].iter().any(|prefix| fold(&table).starts_with(prefix));
        if !is_ours && !of_ours {
            objects.push(Defined { is, name, sql });
        }
    }
    Ok(objects)
}

fn slot(kind: &str, name: &str) -> String {
    format!("{kind}\u{1}{}", fold(name))
}

fn digest(sql: &str) -> String {
    blake3::hash(sql.as_bytes()).to_hex()[..16].to_owned()
}

fn to_text(seen: &Seen) -> String {
    let map: serde_json::Map<_, _> =
        seen.iter().map(|(slot, known)| (slot.clone(), known.clone().into())).collect();
    serde_json::Value::Object(map).to_string()
}

/// `None` if nothing was ever seen, or what was noted of it cannot be read.
fn seen(connection: &Connection) -> Result<Option<Seen>> {
    Ok(identity::seen(connection)?.and_then(|text| serde_json::from_str(&text).ok()))
}
