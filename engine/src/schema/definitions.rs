//! The tables of the space as they travel: rows of `_driftless_definitions`, made from CREATE statements, and
//! tables made from those by a clone.

use std::collections::BTreeSet;

use driftless_protocol::{Collation, RowKey, Value};
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::Table;
use crate::config::TableOptions;
use crate::error::{Doing, Error, Result};
use crate::store::kinds::{self, Kinds};
use crate::store::renames::{self, Renames};
use crate::store::{fold, tables};

/// What the space says of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Definition {
    /// Folded; the name under which it travels.
    pub(crate) name: String,
    /// The name that it has now, if another.
    pub(crate) spelled: Option<String>,
    pub(crate) sql: Option<String>,
    pub(crate) indexes: Option<String>,
    /// Without the kinds.
    pub(crate) options: TableOptions,
    /// As they are written down; `None` while nobody has stated any.
    pub(crate) kinds: Option<String>,
    /// The columns that were renamed, as they are written down; `None` while there are none.
    pub(crate) renames: Option<String>,
    /// Whether the table is gone from the space for good.
    pub(crate) retired: bool,
    /// The columns that are gone for good, as they are written down; `None` while there are none.
    pub(crate) retired_columns: Option<String>,
}

impl Definition {
    /// Kinds and renames are left as the space has them.
    pub(crate) fn of(travels: &str, table: &Table, options: &TableOptions) -> Self {
        Self {
            name: travels.to_owned(),
            spelled: (fold(&table.spelled) != travels).then(|| table.spelled.clone()),
            sql: Some(table.sql.clone()),
            indexes: Some(table.indexes.join(";\n")),
            options: TableOptions {
                kinds: Kinds::new(),
                // Said of other tables it says nothing.
                allow_integer_key: options.allow_integer_key && table.integer_key,
                ..options.clone()
            },
            kinds: None,
            renames: None,
            retired: false,
            retired_columns: None,
        }
    }

    /// The columns that are gone from the space for good, by the names that they travelled by. Others may have written
    /// them, so what says nothing is passed over.
    pub(crate) fn retired_columns(&self) -> BTreeSet<String> {
        parse_retired(self.retired_columns.as_deref().unwrap_or("[]"))
    }

    /// Says which columns are gone for good.
    pub(crate) fn retire_columns(&mut self, columns: &BTreeSet<String>) {
        let names = columns.iter().map(|name| name.as_str().into()).collect();
        self.retired_columns = (!columns.is_empty()).then(|| serde_json::Value::Array(names).to_string());
    }

    /// What the table is called by those who make it anew.
    pub(crate) fn called(&self) -> &str {
        self.spelled.as_deref().unwrap_or(&self.name)
    }

    /// The columns that were renamed.
    pub(crate) fn renames(&self) -> Renames {
        renames::from_text(self.renames.as_deref().unwrap_or(""))
    }

    /// The columns that are no registers.
    pub(crate) fn kinds(&self) -> Kinds {
        kinds::from_text(self.kinds.as_deref().unwrap_or(""))
    }
}

/// From a list of retired columns as it is written down.
pub(crate) fn parse_retired(text: &str) -> BTreeSet<String> {
    let names: Vec<serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
    names.iter().filter_map(|name| name.as_str()).map(str::to_owned).collect()
}

/// Written by others, so whatever is there counts as a text or none, as yes or no.
fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Definition> {
    let text = |at: usize| -> rusqlite::Result<Option<String>> {
        Ok(match row.get_ref(at)? {
            ValueRef::Text(bytes) => String::from_utf8(bytes.to_vec()).ok(),
            _ => None,
        })
    };
    let flag =
        |at: usize| Ok::<_, rusqlite::Error>(matches!(row.get_ref(at)?, ValueRef::Integer(n) if n != 0));
    Ok(Definition {
        name: text(0)?.unwrap_or_default(),
        spelled: text(6)?,
        sql: text(1)?,
        indexes: text(2)?,
        options: TableOptions { deletes_win: flag(3)?, allow_integer_key: flag(4)?, kinds: Kinds::new() },
        kinds: text(5)?,
        renames: text(7)?,
        retired: flag(8)?,
        retired_columns: text(9)?,
    })
}

const COLUMNS: &str =
    "name, sql, indexes, deletes_win, integer_key, kinds, spelled, renames, retired, retired_columns";

/// The definition of a table, by folded name.
pub(crate) fn find(connection: &Connection, name: &str) -> Result<Option<Definition>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM _driftless_definitions WHERE name = ?1"))
        .and_then(|mut statement| statement.query_row([name], read).optional())
        .doing("reading the definitions of the space")
}

/// The definition of the table that is called so now, by folded name.
pub(crate) fn named(connection: &Connection, local: &str) -> Result<Option<Definition>> {
    Ok(all(connection)?.into_iter().find(|definition| fold(definition.called()) == local))
}

/// Everything that stands for a column of a definition, when files that were tracked apart said different things: the one
/// shown first.
pub(crate) fn standing(connection: &Connection, name: &str, column: &str) -> Result<Vec<String>> {
    let doing = "reading the definitions of the space";
    let key = RowKey::encode([(&Value::text(name), Collation::Binary)])
        .map_err(|error| Error::Damaged { table: "_driftless_definitions", what: error.to_string() })?;
    let mut statement = connection
        .prepare_cached(
            "SELECT value FROM _driftless_conflicts WHERE tbl = 1 AND key = ?1 AND col = ?2 AND typeof(value) = 'text'
             ORDER BY shown DESC, at DESC, writer DESC",
        )
        .doing(doing)?;
    let rows = statement.query_map((key.as_bytes(), column), |row| row.get(0)).doing(doing)?;
    rows.collect::<rusqlite::Result<_>>().doing(doing)
}

/// All of them, by name.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Definition>> {
    let doing = "reading the definitions of the space";
    let mut statement = connection
        .prepare(&format!("SELECT {COLUMNS} FROM _driftless_definitions ORDER BY name"))
        .doing(doing)?;
    let rows = statement.query_map([], read).doing(doing)?;
    let mut all: Vec<Definition> = rows.collect::<rusqlite::Result<_>>().doing(doing)?;
    // A name that is no text names no table.
    all.retain(|definition| !definition.name.is_empty());
    Ok(all)
}

/// Writes a definition and marks it for capture, if it says anything new. Kinds that it does not state stay.
pub(crate) fn put(tx: &Transaction<'_>, definition: &Definition, now: i64) -> Result<()> {
    let before = find(tx, &definition.name)?;
    let mut definition = definition.clone();
    if definition.kinds.is_none() {
        definition.kinds = before.as_ref().and_then(|before| before.kinds.clone());
    }
    if definition.renames.is_none() {
        definition.renames = before.as_ref().and_then(|before| before.renames.clone());
    }
    if let Some(before) = &before {
        definition.retired |= before.retired;
        let columns = &definition.retired_columns() | &before.retired_columns();
        definition.retire_columns(&columns);
    }
    if before.as_ref() == Some(&definition) {
        return Ok(());
    }
    tx.execute(
        &format!(
            "INSERT OR REPLACE INTO _driftless_definitions ({COLUMNS})
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
        ),
        (
            &definition.name,
            &definition.sql,
            &definition.indexes,
            // What is not said is left unsaid: it must not stand against what another file says.
            definition.options.deletes_win.then_some(true),
            definition.options.allow_integer_key.then_some(true),
            &definition.kinds,
            &definition.spelled,
            &definition.renames,
            definition.retired.then_some(true),
            &definition.retired_columns,
        ),
    )
    .doing("writing the definitions of the space")?;
    crate::store::dirty::mark(tx, tables::DEFINITIONS, now, &definition.name)
}

/// The definitions' own table, which is like any other.
pub(crate) fn own_table(connection: &Connection) -> Result<Table> {
    super::introspect::own(connection, "_driftless_definitions")
}

/// Makes a table and its indexes as the space defines them.
///
/// The statements come from outside, so they run under an authorizer that lets through the making of this table
/// and its indexes and nothing else: no other statement, no query, no attached file.
/// Fails with [`Error::Damaged`] on anything else, and then nothing has been made.
pub(crate) fn create(connection: &mut Connection, definition: &Definition) -> Result<()> {
    let refuse = |what: String| Error::Damaged {
        table: "_driftless_definitions",
        what: format!("the space's definition of table '{}' is not used: {what}", definition.name),
    };
    let sql = definition.sql.as_deref().ok_or_else(|| refuse("it is empty".into()))?;
    let name = definition.called().to_owned();
    connection
        .authorizer(Some(move |context: AuthContext<'_>| authorize(&context, &name)))
        .doing("cloning")?;
    let made = (|| {
        one_statement(connection, sql)?;
        for index in split(definition.indexes.as_deref().unwrap_or("")) {
            one_statement(connection, index)?;
        }
        Ok(())
    })();
    let cleared = connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>);
    made.map_err(|source: rusqlite::Error| {
        match (Error::Sqlite { doing: "making the space's tables", source }) {
            error if error.is_disk() => error,
            Error::Sqlite { source, .. } => refuse(source.to_string()),
            other => other,
        }
    })?;
    cleared.doing("cloning")
}

fn one_statement(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    // `execute` refuses text after the first statement.
    connection.execute(sql, []).map(|_| ())
}

/// One CREATE INDEX a piece. They were joined by a semicolon and a newline, which cannot otherwise stand in one
/// except within a quoted name, and then the piece fails to parse and nothing is made.
fn split(indexes: &str) -> impl Iterator<Item = &str> {
    indexes.split(";\n").map(str::trim).filter(|index| !index.is_empty())
}

fn authorize(context: &AuthContext<'_>, table: &str) -> Authorization {
    let ours = |name: &str| name.eq_ignore_ascii_case(table);
    let schema = |name: &str| matches!(name, "sqlite_master" | "sqlite_schema" | "sqlite_sequence");
    let allowed = match context.action {
        AuthAction::CreateTable { table_name } => ours(table_name),
        AuthAction::CreateIndex { table_name, .. } => ours(table_name),
        AuthAction::Reindex { .. } | AuthAction::Function { .. } => true,
        AuthAction::Insert { table_name } | AuthAction::Update { table_name, .. } => schema(table_name),
        AuthAction::Read { table_name, .. } => schema(table_name) || ours(table_name),
        AuthAction::Delete { .. } => false,
        _ => false,
    };
    let main = context.database_name.is_none_or(|database| database == "main");
    if allowed && main { Authorization::Allow } else { Authorization::Deny }
}
