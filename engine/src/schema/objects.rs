//! What the space defines beside its tables' statements, followed as it changes in this file: which indexes its tables
//! have, the views, triggers and virtual tables of the app's, and the two numbers that an app keeps in the file's header.
//!
//! A file says what *it* changes: what came, went or was altered here since it was last looked at, which it remembers in
//! `_driftless_meta`. The first look only fills in what the space says nothing of. So an old copy, a clone that was made
//! without views, or a file in which an index could not be made takes nothing away from the others.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Transaction};

use super::Catalog;
use super::definitions::{self, Defined, Type};
use crate::error::{Doing, Result};
use crate::store::tables::DEFINITIONS;
use crate::store::{PREFIX, fold, identity, sql};

/// The numbers in the file's header that belong to the app. See <https://sqlite.org/pragma.html#pragma_user_version>.
pub(crate) const PRAGMAS: [&str; 2] = ["user_version", "application_id"];

/// The slots that hold the indexes of a table.
const INDEXES: &str = "indexes";

/// What a file had when it was last looked at, by kind and folded name: of indexes the statements, of numbers the number, of
/// anything else a digest.
type Seen = BTreeMap<String, String>;

/// Brings the definitions of indexes, views, triggers and virtual tables up to date. Asked whenever the schema has
/// changed.
pub(super) fn follow(tx: &Transaction<'_>, catalog: &Catalog, now: i64) -> Result<()> {
    if !tracks_anything(catalog) {
        return Ok(());
    }
    let before = seen(tx)?.unwrap_or_default();
    let mut after = before.clone();
    let present = objects(tx)?;
    for object in present.iter().filter(|object| object.travels(catalog)) {
        let (slot, noted) = (object.slot(), object.noted());
        let is_news = match before.get(&slot) {
            Some(known) => *known != noted,
            None => !definitions::is_defined(tx, object.defined.is, &object.defined.name)?,
        };
        if is_news {
            definitions::put_defined(tx, &object.defined, now)?;
        }
        after.insert(slot, noted);
    }
    forget_gone(tx, catalog, &present, &mut after, now)?;
    for table in catalog.iter().filter(|table| table.id != DEFINITIONS) {
        let slot = slot(INDEXES, &table.name);
        let current = serde_json::Value::from(table.table.indexes.as_slice()).to_string();
        if let Some(known) = before.get(&slot).filter(|known| **known != current) {
            follow_indexes(tx, &table.name, known, &table.table.indexes, now)?;
        }
        after.insert(slot, current);
    }
    if after == before { Ok(()) } else { identity::set_seen(tx, &to_text(&after)) }
}

/// Takes back what was here and is no longer. A trigger goes with its table, and a table that was dropped here may be there
/// elsewhere: only one that went from a table that stayed was dropped.
fn forget_gone(
    tx: &Transaction<'_>,
    catalog: &Catalog,
    present: &[Object],
    after: &mut Seen,
    now: i64,
) -> Result<()> {
    let here: BTreeSet<String> = present.iter().map(Object::slot).collect();
    let has_table = |name: &str| {
        catalog.named(name).is_some()
            || present.iter().any(|object| {
                object.defined.is == Type::View && object.defined.name.eq_ignore_ascii_case(name)
            })
    };
    for is in [Type::View, Type::Trigger, Type::Virtual] {
        let prefix = slot(is.name(), "");
        let gone: Vec<String> = after
            .iter()
            .filter(|(slot, _)| slot.starts_with(&prefix) && !here.contains(*slot))
            .filter(|(_, noted)| {
                is != Type::Trigger || noted.split_once(' ').is_some_and(|(_, table)| has_table(table))
            })
            .map(|(slot, _)| slot.clone())
            .collect();
        for slot in gone {
            definitions::remove_defined(tx, is, &slot[prefix.len()..], now)?;
            after.remove(&slot);
        }
    }
    Ok(())
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
    for object in objects(tx)?.iter().filter(|object| object.travels(catalog)) {
        all.insert(object.slot(), object.noted());
    }
    for table in catalog.iter().filter(|table| table.id != DEFINITIONS) {
        let current = serde_json::Value::from(table.table.indexes.as_slice()).to_string();
        all.insert(slot(INDEXES, &table.name), current);
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
    let read = |sql| sql::one(connection, "reading the app's numbers of a file", sql, [], sql::first);
    Ok([read("PRAGMA user_version")?, read("PRAGMA application_id")?])
}

/// A view, a virtual table or a trigger of the app's.
struct Object {
    defined: Defined,
    /// Of a trigger, what it is on, and whether that is a view.
    on: Option<(String, bool)>,
}

impl Object {
    /// A trigger travels with its table.
    fn travels(&self, catalog: &Catalog) -> bool {
        self.on.as_ref().is_none_or(|(table, is_view)| *is_view || catalog.named(table).is_some())
    }

    fn slot(&self) -> String {
        slot(self.defined.is.name(), &self.defined.name)
    }

    /// What is remembered of it: a digest, and of a trigger its table after a blank.
    fn noted(&self) -> String {
        let digest = blake3::hash(self.defined.sql.as_bytes()).to_hex();
        match &self.on {
            Some((table, _)) => format!("{} {}", &digest[..16], fold(table)),
            None => digest[..16].to_owned(),
        }
    }
}

/// Everything of that kind in the file that is the app's own.
fn objects(connection: &Connection) -> Result<Vec<Object>> {
    let doing = "reading the schema";
    let rows: Vec<(String, String, String, String)> = sql::list(
        connection,
        doing,
        "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL
             AND (type = 'view' OR type = 'trigger' AND substr(name, 1, 11) <> '_driftless_'
               OR type = 'table' AND substr(sql, 1, 20) = 'CREATE VIRTUAL TABLE') ORDER BY name",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
    )?;
    let is_ours = |name: &str| [PREFIX, "driftless_"].iter().any(|prefix| fold(name).starts_with(prefix));
    let views: BTreeSet<String> =
        rows.iter().filter(|(kind, ..)| kind == "view").map(|(_, name, ..)| fold(name)).collect();
    let mut objects = Vec::new();
    for (kind, name, table, sql) in rows {
        if is_ours(&name) || is_ours(&table) {
            continue;
        }
        let (is, on) = match kind.as_str() {
            "view" => (Type::View, None),
            "trigger" => {
                let is_view = views.contains(&fold(&table));
                (Type::Trigger, Some((table, is_view)))
            }
            _ => (Type::Virtual, None),
        };
        objects.push(Object { defined: Defined { is, name, sql }, on });
    }
    Ok(objects)
}

fn slot(kind: &str, name: &str) -> String {
    format!("{kind}\u{1}{}", fold(name))
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
