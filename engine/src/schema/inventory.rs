//! The schema of a file, read once for all its tables. Asking SQLite table by table reads the whole of `sqlite_master`
//! each time: with some hundred tables, and the engine's triggers on each, that is most of what opening a file costs.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, Params, Row};

use super::triggers::Trigger;
use crate::error::{Doing, Result};
use crate::store::{self, PREFIX, fold};

const DOING: &str = "reading the schema";

/// What `sqlite_master` and SQLite's pragmas say, table by table.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// By folded name; in the order of their making.
    tables: BTreeMap<String, Object>,
    order: Vec<String>,
    /// By the folded name of their table; in the order of their making.
    triggers: HashMap<String, Vec<Trigger>>,
    /// Whether the engine's own triggers are among them.
    knows_own_triggers: bool,
}

/// A table or a view.
#[derive(Debug)]
pub(crate) struct Object {
    /// As it was written.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) sql: Option<String>,
    pub(crate) without_rowid: bool,
    pub(crate) strict: bool,
    /// In the table's order. Read for ordinary tables only, as all that follows.
    pub(crate) columns: Vec<RawColumn>,
    /// By name.
    pub(crate) indexes: Vec<RawIndex>,
    /// By number and place.
    pub(crate) foreign_keys: Vec<RawForeignKey>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ordinary,
    View,
    Virtual,
    /// Storage of a virtual table.
    Shadow,
}

/// A row of <https://sqlite.org/pragma.html#pragma_table_xinfo>.
#[derive(Debug)]
pub(crate) struct RawColumn {
    at: i64,
    pub(crate) name: String,
    pub(crate) declared: String,
    pub(crate) not_null: bool,
    pub(crate) default: Option<String>,
    /// Its place in the primary key, from 1; 0 if it is not part of it.
    pub(crate) key: i64,
    pub(crate) generated: bool,
}

/// A row of <https://sqlite.org/pragma.html#pragma_index_list>, with the terms of the index.
#[derive(Debug)]
pub(crate) struct RawIndex {
    pub(crate) name: String,
    pub(crate) unique: bool,
    /// Whether it is that of the primary key.
    pub(crate) of_key: bool,
    pub(crate) partial: bool,
    /// Its CREATE INDEX statement; `None` for one that a constraint made.
    pub(crate) sql: Option<String>,
    /// Its terms: the column, `None` for an expression, and the collation.
    pub(crate) terms: Vec<(Option<String>, String)>,
}

/// A row of <https://sqlite.org/pragma.html#pragma_foreign_key_list>.
#[derive(Debug)]
pub(crate) struct RawForeignKey {
    pub(crate) id: i64,
    seq: i64,
    pub(crate) parent: String,
    pub(crate) from: String,
    /// `None` for the parent's primary key.
    pub(crate) to: Option<String>,
}

impl Inventory {
    /// Reads the whole schema of the main database.
    pub(crate) fn read(connection: &Connection) -> Result<Self> {
        let mut all = Self::read_tables(connection, None)?;
        all.read_triggers(connection, "sql IS NOT NULL")?;
        all.knows_own_triggers = true;
        Ok(all)
    }

    /// Reads it without the engine's own triggers, which are most of it.
    pub(crate) fn read_users(connection: &Connection) -> Result<Self> {
        let mut all = Self::read_tables(connection, None)?;
        all.read_triggers(connection, "sql IS NOT NULL AND name NOT GLOB '_driftless_*'")?;
        Ok(all)
    }

    fn read_triggers(&mut self, connection: &Connection, which: &str) -> Result<()> {
        let sql = format!(
            "SELECT tbl_name, name, sql FROM sqlite_master WHERE type = 'trigger' AND {which} ORDER BY rowid"
        );
        for_each(connection, &sql, [], |row| {
            let trigger = Trigger { name: row.get(1)?, sql: row.get(2)? };
            self.triggers.entry(fold(&row.get::<_, String>(0)?)).or_default().push(trigger);
            Ok(())
        })
    }

    /// Reads one table or view, without triggers.
    pub(crate) fn read_one(connection: &Connection, name: &str) -> Result<Self> {
        Self::read_tables(connection, Some(name))
    }

    fn read_tables(connection: &Connection, only: Option<&str>) -> Result<Self> {
        let mut all = Self::default();
        all.read_objects(connection, only)?;
        // A virtual table has no root page; asking for its columns needs its module, which only the app may have.
        let of_ordinary =
            "m.type = 'table' AND m.rootpage <> 0 AND (?1 IS NULL OR m.name = ?1 COLLATE NOCASE)";
        let sql = format!(
            "SELECT m.name, p.cid, p.name, p.type, p.\"notnull\", p.dflt_value, p.pk, p.hidden
             FROM sqlite_master m JOIN pragma_table_xinfo(m.name, 'main') p WHERE {of_ordinary}"
        );
        for_each(connection, &sql, [only], |row| {
            let column = RawColumn {
                at: row.get(1)?,
                name: row.get(2)?,
                declared: row.get(3)?,
                not_null: row.get(4)?,
                default: row.get(5)?,
                key: row.get(6)?,
                generated: row.get::<_, i64>(7)? != 0,
            };
            all.with(row, |table| table.columns.push(column))
        })?;
        all.read_indexes(connection, only, of_ordinary)?;
        let sql = format!(
            "SELECT m.name, p.id, p.seq, p.\"table\", p.\"from\", p.\"to\"
             FROM sqlite_master m JOIN pragma_foreign_key_list(m.name, 'main') p WHERE {of_ordinary}"
        );
        for_each(connection, &sql, [only], |row| {
            let key = RawForeignKey {
                id: row.get(1)?,
                seq: row.get(2)?,
                parent: row.get(3)?,
                from: row.get(4)?,
                to: row.get(5)?,
            };
            all.with(row, |table| table.foreign_keys.push(key))
        })?;
        for table in all.tables.values_mut() {
            table.columns.sort_by_key(|column| column.at);
            table.indexes.sort_by(|a, b| a.name.cmp(&b.name));
            table.foreign_keys.sort_by_key(|key| (key.id, key.seq));
        }
        Ok(all)
    }

    fn read_objects(&mut self, connection: &Connection, only: Option<&str>) -> Result<()> {
        let sql = "SELECT name, type, sql FROM sqlite_master WHERE type IN ('table', 'view')
                   AND (?1 IS NULL OR name = ?1 COLLATE NOCASE) ORDER BY rowid";
        for_each(connection, sql, [only], |row| {
            let (name, kind): (String, String) = (row.get(0)?, row.get(1)?);
            let folded = fold(&name);
            self.order.push(folded.clone());
            let object = Object {
                name,
                kind: if kind == "view" { Kind::View } else { Kind::Ordinary },
                sql: row.get(2)?,
                without_rowid: false,
                strict: false,
                columns: Vec::new(),
                indexes: Vec::new(),
                foreign_keys: Vec::new(),
            };
            self.tables.insert(folded, object);
            Ok(())
        })?;
        let (list, name) = match only {
            Some(name) => ("pragma_table_list(?1)", self.tables.get(&fold(name)).map(|table| &*table.name)),
            None => ("pragma_table_list", None),
        };
        if only.is_some() && name.is_none() {
            return Ok(());
        }
        let sql = format!("SELECT name, type, wr, strict FROM {list} WHERE schema = 'main'");
        let name = name.map(str::to_owned);
        let mut note = |row: &Row<'_>| {
            let kind: String = row.get(1)?;
            let (without_rowid, strict) = (row.get(2)?, row.get(3)?);
            self.with(row, |table| {
                (table.without_rowid, table.strict) = (without_rowid, strict);
                match kind.as_str() {
                    "virtual" => table.kind = Kind::Virtual,
                    "shadow" => table.kind = Kind::Shadow,
                    _ => {}
                }
            })
        };
        match name {
            Some(name) => for_each(connection, &sql, [name], &mut note),
            None => for_each(connection, &sql, [], &mut note),
        }
    }

    fn read_indexes(&mut self, connection: &Connection, only: Option<&str>, of_ordinary: &str) -> Result<()> {
        let mut statements: HashMap<String, String> = HashMap::new();
        let sql = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL
                   AND (?1 IS NULL OR tbl_name = ?1 COLLATE NOCASE)";
        for_each(connection, sql, [only], |row| {
            statements.insert(row.get(0)?, row.get(1)?);
            Ok(())
        })?;
        // Each term of an index is a row; terms come in their order, indexes one after the other.
        let sql = format!(
            "SELECT m.name, l.name, l.\"unique\", l.origin, l.partial, x.name, x.coll
             FROM sqlite_master m JOIN pragma_index_list(m.name, 'main') l
             JOIN pragma_index_xinfo(l.name, 'main') x WHERE x.key = 1 AND {of_ordinary}"
        );
        for_each(connection, &sql, [only], |row| {
            let name: String = row.get(1)?;
            let (unique, origin, partial) = (row.get(2)?, row.get::<_, String>(3)?, row.get(4)?);
            let term = (row.get(5)?, row.get::<_, Option<String>>(6)?.unwrap_or_else(|| "BINARY".to_owned()));
            let statement = statements.remove(&name);
            self.with(row, |table| match table.indexes.iter_mut().find(|index| index.name == name) {
                Some(index) => index.terms.push(term),
                None => table.indexes.push(RawIndex {
                    name,
                    unique,
                    of_key: origin == "pk",
                    partial,
                    sql: statement,
                    terms: vec![term],
                }),
            })
        })
    }

    /// Adds something to the table that a row names in its first column.
    fn with(&mut self, row: &Row<'_>, add: impl FnOnce(&mut Object)) -> rusqlite::Result<()> {
        if let Some(table) = self.tables.get_mut(&fold(&row.get::<_, String>(0)?)) {
            add(table);
        }
        Ok(())
    }

    /// The table or view of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&Object> {
        self.tables.get(&fold(name))
    }

    /// Every table and view of the user's, in the order of their making.
    pub(super) fn user_objects(&self) -> impl Iterator<Item = &Object> {
        let all = self.order.iter().filter_map(|name| Some((name, self.tables.get(name)?)));
        let users = all.filter(|(name, _)| !name.starts_with(PREFIX) && !name.starts_with("sqlite_"));
        users.map(|(_, object)| object)
    }

    /// Every table of the user's, in the order of their making.
    pub(crate) fn user_tables(&self) -> impl Iterator<Item = &Object> {
        self.user_objects().filter(|object| object.kind != Kind::View)
    }

    /// Whether the engine's own triggers were read.
    pub(super) fn knows_own_triggers(&self) -> bool {
        self.knows_own_triggers
    }

    /// The engine's triggers for the table of a number, and the name of the table that each stands on.
    pub(crate) fn own_triggers(&self) -> HashMap<i64, Vec<(&str, &Trigger)>> {
        let mut own: HashMap<i64, Vec<(&str, &Trigger)>> = HashMap::new();
        for (table, triggers) in &self.triggers {
            for trigger in triggers {
                let number = trigger.name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_'));
                if let Some(id) = number.and_then(|(number, _)| number.parse().ok()) {
                    own.entry(id).or_default().push((table, trigger));
                }
            }
        }
        own
    }

    /// Whether a table has triggers that are not the engine's.
    pub(crate) fn has_foreign_triggers(&self, table: &str) -> bool {
        let on_it = self.triggers.get(&fold(table)).into_iter().flatten();
        on_it.into_iter().any(|trigger| !trigger.name.starts_with(PREFIX))
    }

    /// Whether a trigger that is not the engine's was made after the first of the engine's.
    pub(super) fn has_later_foreign_triggers(&self, table: &str) -> bool {
        let is_own = |trigger: &&Trigger| trigger.name.starts_with(PREFIX);
        let on_it = self.triggers.get(&fold(table)).into_iter().flatten();
        !on_it.skip_while(|trigger| !is_own(trigger)).all(|trigger| is_own(&trigger))
    }

    /// The columns of a table's primary key, in its order. `None` if no such ordinary table was read.
    pub(super) fn primary_key(&self, table: &str) -> Option<Vec<String>> {
        let table = self.get(table).filter(|table| !table.columns.is_empty())?;
        let mut key: Vec<&RawColumn> = table.columns.iter().filter(|column| column.key > 0).collect();
        key.sort_by_key(|column| column.key);
        Some(key.into_iter().map(|column| column.name.clone()).collect())
    }
}

/// The names of the user's tables alone.
pub(crate) fn user_tables(connection: &Connection) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
               AND name NOT LIKE '\\_driftless\\_%' ESCAPE '\\'";
    for_each(connection, sql, [], |row| {
        names.push(row.get(0)?);
        Ok(())
    })?;
    Ok(names)
}

fn for_each(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    mut each: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> Result<()> {
    store::sql::each(connection, DOING, sql, parameters, |row| each(row).doing(DOING))
}
