//! The tables of the space as they travel: rows of `_driftless_definitions`, made from CREATE statements.
//!
//! Rows that have a `type` are no tables but what else the space defines: see [`Defined`].

use std::collections::BTreeSet;

use driftless_protocol::{Collation, RowKey, Value};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Transaction};

use super::{Table, column_names, moved_names, sql_text};
use crate::config::TableOptions;
use crate::error::{Error, Result};
use crate::store::kinds::{self, Kinds};
use crate::store::renames::{self, Renames};
use crate::store::{conflicts, fold, sql, tables};

/// The reason that is recorded for a table that this file no longer has and the space has given up.
pub(crate) const FORGOTTEN: &str = "the table is gone for good: somebody said so with `driftless forget`, or a migration \
     gave it another name or another primary key";

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
    /// The columns of the table that `sql` describes which travel by other names, where a file states that. Not written down.
    pub(crate) own: Renames,
}

impl Definition {
    /// Kinds and renames are left as the space has them.
    pub(crate) fn of(travels: &str, table: &Table, options: &TableOptions) -> Self {
        Self {
            name: travels.to_owned(),
            spelled: (fold(&table.spelled) != travels).then(|| table.spelled.clone()),
            sql: Some(table.sql.clone()),
            indexes: Some(indexes_to_text(&table.indexes)),
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
            own: moved_names::renamed(table),
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

    /// The CREATE INDEX statements.
    pub(crate) fn indexes(&self) -> Vec<String> {
        indexes_from_text(self.indexes.as_deref().unwrap_or(""))
    }

    /// The columns that were renamed.
    pub(crate) fn renames(&self) -> Renames {
        renames::from_text(self.renames.as_deref().unwrap_or(""))
    }

    /// The columns that were renamed, as far as that holds for a table of which nothing else is known. Where columns took over
    /// the names of others, a table in which they stand as in the statement is of after that, and another one of before.
    pub(crate) fn renames_of(&self, table: &Table) -> Renames {
        let mut renames = self.renames();
        let taken_over = moved_names::taken_over(&renames);
        let places: Vec<(Option<usize>, Option<usize>)> = taken_over
            .iter()
            .map(|(now, _)| {
                let sql = self.sql.as_deref().unwrap_or_default();
                (table.called(now), sql_text::column_place(sql, now))
            })
            .collect();
        let (mut here, mut there) = (places.clone(), places);
        here.sort();
        there.sort_by_key(|(_, there)| *there);
        if here != there {
            renames.retain(|rename| !taken_over.contains(rename));
        }
        renames
    }

    /// The columns that are no registers.
    pub(crate) fn kinds(&self) -> Kinds {
        kinds::from_text(self.kinds.as_deref().unwrap_or(""))
    }
}

/// Sentences about a table of this file that the space has given up, or whose columns it has. `columns`: the table's columns,
/// as it calls them, and by the names that they travel by.
pub(crate) fn given_up<'a>(
    definition: Option<&Definition>,
    columns: impl Iterator<Item = (&'a str, &'a str)>,
) -> Vec<String> {
    let Some(definition) = definition else { return Vec::new() };
    let mut sentences = Vec::new();
    if definition.retired {
        sentences.push(
            "the space has given it up, with `driftless forget` or because another machine's has another primary key now: \
             what is written here reaches only files that still have it too, and new copies no longer get it; drop it, or make \
             the same change here; a later table of that name travels apart from it: to have that one here, drop this one, let \
             a sync see that, and make it anew"
                .to_owned(),
        );
    }
    let retired = definition.retired_columns();
    for (column, _) in columns.filter(|(_, travels)| retired.contains(*travels)) {
        sentences.push(format!(
            "the space has given up its column '{column}' with `driftless forget`: what is written in it here reaches only files \
             that still have it too, and what others write in a later column of that name does not show here; drop this one, let \
             a sync see that, and make it anew"
        ));
    }
    sentences
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
        own: Renames::new(),
    })
}

const COLUMNS: &str =
    "name, sql, indexes, deletes_win, integer_key, kinds, spelled, renames, retired, retired_columns";

/// The definition of a table, by folded name.
pub(crate) fn find(connection: &Connection, name: &str) -> Result<Option<Definition>> {
    sql::opt(
        connection,
        "reading the definitions of the space",
        &format!("SELECT {COLUMNS} FROM _driftless_definitions WHERE name = ?1 AND type IS NULL"),
        [name],
        read,
    )
}

/// The definition of the table that is called so now, by folded name.
pub(crate) fn named(connection: &Connection, local: &str) -> Result<Option<Definition>> {
    Ok(all(connection)?.into_iter().find(|definition| fold(definition.called()) == local))
}

/// Everything that stands for a column of a definition, when files that were tracked apart said different things: the one
/// shown first.
pub(crate) fn standing(connection: &Connection, name: &str, column: &str) -> Result<Vec<String>> {
    let key = RowKey::encode([(&Value::text(name), Collation::Binary)])
        .map_err(|error| Error::Damaged { table: "_driftless_definitions", what: error.to_string() })?;
    conflicts::texts_of(connection, tables::DEFINITIONS, &key, column)
}

/// Those of all tables, by name.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Definition>> {
    let doing = "reading the definitions of the space";
    let mut all: Vec<Definition> = sql::list(
        connection,
        doing,
        &format!("SELECT {COLUMNS} FROM _driftless_definitions WHERE type IS NULL ORDER BY name"),
        [],
        read,
    )?;
    // A name that is no text names no table.
    all.retain(|definition| !definition.name.is_empty());
    Ok(all)
}

/// Writes a definition and marks it for capture, if it says anything new. Kinds that it does not state stay, and so do the
/// indexes of a table that is defined already: a file may lack some that others have, and says only which of its own came
/// and went ([`put_indexes`]).
pub(crate) fn put(tx: &Transaction<'_>, definition: &Definition, now: i64) -> Result<()> {
    let before = find(tx, &definition.name)?;
    let mut definition = definition.clone();
    let states_renames = definition.renames.is_some();
    if definition.kinds.is_none() {
        definition.kinds = before.as_ref().and_then(|before| before.kinds.clone());
    }
    if definition.renames.is_none() {
        definition.renames = before.as_ref().and_then(|before| before.renames.clone());
    }
    if let Some(before) = &before {
        // Columns that travel apart from an older one of their name do so for good; this file may not have them.
        let mut renames = definition.renames();
        let apart = before.renames().into_iter().filter(|(now, travels)| {
            column_names::is_named_apart(now, travels) && renames.iter().all(|(known, _)| known != now)
        });
        let apart: Renames = apart.collect();
        if !apart.is_empty() {
            renames.extend(apart);
            renames.sort();
            definition.renames = Some(renames::to_text(&renames));
        }
        definition.retired |= before.retired;
        let columns = &definition.retired_columns() | &before.retired_columns();
        definition.retire_columns(&columns);
    }
    let own = std::mem::take(&mut definition.own);
    if !states_renames && before.as_ref().is_some_and(|before| before.sql != definition.sql) {
        // Whoever makes the table from this statement has the columns as this file has them.
        let mut renames = definition.renames();
        let others = moved_names::taken_over(&renames);
        if others.iter().any(|rename| !own.contains(rename)) {
            renames.retain(|rename| !others.contains(rename) || own.contains(rename));
            definition.renames = Some(renames::to_text(&renames));
        }
    }
    if let Some(indexes) = before.as_ref().and_then(|before| before.indexes.clone()) {
        definition.indexes = Some(indexes);
    }
    if before.as_ref() == Some(&definition) {
        return Ok(());
    }
    write(tx, &definition, now)
}

/// Writes which indexes the space has of a table, and marks that for capture, if it is anything new.
pub(crate) fn put_indexes(tx: &Transaction<'_>, name: &str, indexes: &[String], now: i64) -> Result<()> {
    let Some(mut definition) = find(tx, name)? else { return Ok(()) };
    if definition.indexes() == indexes {
        return Ok(());
    }
    definition.indexes = Some(indexes_to_text(indexes));
    write(tx, &definition, now)
}

fn write(tx: &Transaction<'_>, definition: &Definition, now: i64) -> Result<()> {
    sql::exec(
        tx,
        "writing the definitions of the space",
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
    )?;
    crate::store::dirty::mark(tx, tables::DEFINITIONS, now, &definition.name)
}

/// The CREATE INDEX statements of a table as they are written down: a JSON array of strings.
fn indexes_to_text(indexes: &[String]) -> String {
    serde_json::Value::from(indexes).to_string()
}

/// Reads what [`indexes_to_text`] writes, and what earlier versions wrote: the statements with a semicolon and a line break
/// between them, which may also stand within one. Written by others, so whatever is there yields some statements, or none.
fn indexes_from_text(text: &str) -> Vec<String> {
    if let Ok(serde_json::Value::Array(listed)) = serde_json::from_str(text) {
        let statements = listed.iter().filter_map(|index| index.as_str());
        return statements.filter(|index| !index.trim().is_empty()).map(str::to_owned).collect();
    }
    let mut statements: Vec<String> = Vec::new();
    for piece in text.split(";\n") {
        // SQLite stores every statement with these words first, as they are here.
        let begins = piece.starts_with("CREATE INDEX ") || piece.starts_with("CREATE UNIQUE INDEX ");
        match statements.last_mut() {
            Some(last) if !begins => {
                last.push_str(";\n");
                last.push_str(piece);
            }
            _ => statements.push(piece.to_owned()),
        }
    }
    statements.retain(|statement| !statement.trim_matches([' ', '\t', '\r', '\n', ';']).is_empty());
    statements
}

/// What the space defines beside its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Type {
    View,
    Trigger,
    Virtual,
    /// `user_version` or `application_id`; its number stands in place of a statement.
    Pragma,
}

impl Type {
    const NAMES: [(Self, &'static str); 4] = [
        (Self::View, "view"),
        (Self::Trigger, "trigger"),
        (Self::Virtual, "virtual"),
        (Self::Pragma, "pragma"),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(known, _)| *known == self).map_or("", |(_, name)| name)
    }

    fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(known, _)| *known)
    }
}

/// A view, a trigger or a virtual table of the app's, or a number in the file's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Defined {
    pub(crate) is: Type,
    /// As the app wrote it.
    pub(crate) name: String,
    pub(crate) sql: String,
}

impl Defined {
    /// The row's key, which no table can be mistaken for.
    fn key(is: Type, name: &str) -> String {
        format!("\u{1}{}\u{1}{}", is.name(), fold(name))
    }
}

/// Everything beside tables that the space defines, by kind and name. What is not understood is left out.
pub(crate) fn defined(connection: &Connection) -> Result<Vec<Defined>> {
    let text = |row: &rusqlite::Row<'_>, at: usize| -> rusqlite::Result<Option<String>> {
        Ok(match row.get_ref(at)? {
            ValueRef::Text(bytes) => String::from_utf8(bytes.to_vec()).ok(),
            _ => None,
        })
    };
    let read = |row: &rusqlite::Row<'_>| {
        let (key, is, name, sql) = (text(row, 0)?, text(row, 1)?, text(row, 2)?, text(row, 3)?);
        let is = is.as_deref().and_then(Type::parse);
        let (Some(key), Some(is), Some(name), Some(sql)) = (key, is, name, sql) else { return Ok(None) };
        Ok((key == Defined::key(is, &name)).then_some(Defined { is, name, sql }))
    };
    let all: Vec<Option<Defined>> = sql::list(
        connection,
        "reading the definitions of the space",
        "SELECT name, type, spelled, sql FROM _driftless_definitions WHERE type IS NOT NULL ORDER BY name",
        [],
        read,
    )?;
    let mut all: Vec<Defined> = all.into_iter().flatten().collect();
    all.sort_by(|a, b| (a.is, &a.name).cmp(&(b.is, &b.name)));
    Ok(all)
}

/// Whether the space defines something of that kind and name.
pub(crate) fn is_defined(connection: &Connection, is: Type, name: &str) -> Result<bool> {
    let query = "SELECT 1 FROM _driftless_definitions WHERE name = ?1 AND sql IS NOT NULL";
    sql::exists(connection, "reading the definitions of the space", query, [Defined::key(is, name)])
}

/// Writes what something beside the tables is now, and marks that for capture, if it is anything new.
pub(crate) fn put_defined(tx: &Transaction<'_>, defined: &Defined, now: i64) -> Result<()> {
    let key = Defined::key(defined.is, &defined.name);
    let written = sql::exec(
        tx,
        "writing the definitions of the space",
        "INSERT INTO _driftless_definitions (name, type, spelled, sql) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (name) DO UPDATE SET type = ?2, spelled = ?3, sql = ?4
             WHERE type IS NOT ?2 OR spelled IS NOT ?3 OR sql IS NOT ?4",
        (&key, defined.is.name(), &defined.name, &defined.sql),
    )?;
    if written == 0 { Ok(()) } else { crate::store::dirty::mark(tx, tables::DEFINITIONS, now, &key) }
}

/// Takes back what [`put_defined`] wrote.
pub(crate) fn remove_defined(tx: &Transaction<'_>, is: Type, name: &str, now: i64) -> Result<()> {
    let key = Defined::key(is, name);
    let removed = sql::exec(
        tx,
        "writing the definitions of the space",
        "DELETE FROM _driftless_definitions WHERE name = ?1",
        [&key],
    )?;
    if removed == 0 { Ok(()) } else { crate::store::dirty::mark(tx, tables::DEFINITIONS, now, &key) }
}

/// The definitions' own table, which is like any other.
pub(crate) fn own_table(connection: &Connection) -> Result<Table> {
    super::introspect::own(connection, "_driftless_definitions")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_of_indexes_are_read_as_they_were_written_whatever_stands_in_them() {
        for indexes in [
            vec![],
            vec!["CREATE INDEX i ON t (a)"],
            vec![
                "CREATE INDEX \"a;\n\"\"b\" ON t (a) -- live;\n WHERE a",
                "CREATE UNIQUE INDEX [,] ON t (';\nCREATE INDEX ')",
            ],
        ] {
            let indexes: Vec<String> = indexes.into_iter().map(str::to_owned).collect();
            assert_eq!(indexes_from_text(&indexes_to_text(&indexes)), indexes);
        }
    }

    #[test]
    fn statements_of_indexes_that_earlier_versions_wrote_are_still_read() {
        let first = "CREATE INDEX live ON t(v) -- only those that live;\n WHERE gone IS NULL";
        let old = format!("{first};\nCREATE UNIQUE INDEX u ON t(a);\nCREATE INDEX i ON t(b)");
        assert_eq!(
            indexes_from_text(&old),
            [first, "CREATE UNIQUE INDEX u ON t(a)", "CREATE INDEX i ON t(b)"]
        );
        assert_eq!(indexes_from_text(""), [""; 0]);
        assert_eq!(indexes_from_text(" ;\n"), [""; 0]);
    }

    #[test]
    fn a_list_of_indexes_that_is_something_else_yields_what_can_be_read_of_it() {
        assert_eq!(
            indexes_from_text("[1, \"CREATE INDEX i ON t (a)\", null, \"\"]"),
            ["CREATE INDEX i ON t (a)"]
        );
        assert_eq!(indexes_from_text("{}"), ["{}"]);
        assert_eq!(indexes_from_text("[\"CREATE"), ["[\"CREATE"]);
    }
}
