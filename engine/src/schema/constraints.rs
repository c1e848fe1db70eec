//! What a table demands of its rows beside their key: UNIQUE indexes and foreign keys, with the SQL to judge them by.

use driftless_protocol::Collation;
use rusqlite::{Connection, OptionalExtension};

use super::sql_text::index_terms;
use super::{Affinity, Table};
use crate::error::{Doing, Result};
use crate::store::{fold, quote};

/// A UNIQUE index beside the primary key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unique {
    /// The index's name.
    pub(crate) name: String,
    pub(crate) terms: Vec<Term>,
    /// Of a partial index: the rows that it holds.
    pub(crate) filter: Option<String>,
    /// For people: `UNIQUE (email)`.
    pub(crate) rule: String,
}

/// One term of an index.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Term {
    /// The column; `None` for an expression.
    pub(crate) column: Option<String>,
    /// The column or expression, compared as the index compares.
    pub(crate) sql: String,
    /// `None` for a collation that an application registered.
    pub(crate) collation: Option<Collation>,
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reference {
    /// The table referred to, as it is spelled in the constraint.
    pub(crate) parent: String,
    /// The columns that refer.
    pub(crate) from: Vec<String>,
    /// The columns referred to.
    pub(crate) to: Vec<String>,
    /// How those compare text.
    pub(crate) collations: Vec<Collation>,
    /// Whether a value on this side is the same value on the other: alike in affinity and collation.
    pub(crate) alike: bool,
    /// What the columns referred to make of what is compared with them; `None` where one compares by a collation that an
    /// application registered.
    pub(crate) affinities: Option<Vec<Affinity>>,
    /// Whether an index of this table begins with the columns that refer.
    pub(crate) indexed: bool,
    /// For people: `FOREIGN KEY (album) REFERENCES albums (id)`.
    pub(crate) rule: String,
}

/// Reads a UNIQUE index. `None` if its statement is not understood.
pub(super) fn unique(connection: &Connection, name: String) -> Result<Option<Unique>> {
    let doing = "reading the indexes";
    let sql: Option<String> = connection
        .query_row("SELECT sql FROM sqlite_master WHERE type = 'index' AND name = ?1", [&name], |row| {
            row.get(0)
        })
        .optional()
        .doing(doing)?
        .flatten();
    let parsed = match &sql {
        Some(sql) => match index_terms(sql) {
            Some(parsed) => Some(parsed),
            None => return Ok(None),
        },
        None => None,
    };
    let mut statement = connection
        .prepare("SELECT name, coll FROM pragma_index_xinfo(?1) WHERE key = 1 ORDER BY seqno")
        .doing(doing)?;
    let columns: Vec<(Option<String>, String)> = statement
        .query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(|rows| rows.collect())
        .doing(doing)?;
    let mut terms = Vec::with_capacity(columns.len());
    for (n, (column, collation)) in columns.into_iter().enumerate() {
        let value = match (&column, &parsed) {
            (Some(column), _) => quote(column),
            (None, Some((terms, _))) if n < terms.len() => format!("({}\n)", terms[n]),
            (None, _) => return Ok(None),
        };
        terms.push(Term {
            column,
            sql: format!("{value} COLLATE {}", quote(&collation)),
            collation: Collation::from_name(&collation),
        });
    }
    let filter = parsed.as_ref().and_then(|(_, filter)| filter.map(str::to_owned));
    let listed: Vec<&str> = match &parsed {
        Some((terms, _)) => terms.clone(),
        None => terms.iter().filter_map(|term| term.column.as_deref()).collect(),
    };
    let mut rule = format!("UNIQUE ({})", listed.join(", "));
    if let Some(filter) = &filter {
        rule = format!("{rule} WHERE {filter}");
    }
    Ok(Some(Unique { name, terms, filter, rule }))
}

/// Reads the foreign keys of a table. Those whose parent is not there, or has no such columns, are left out: SQLite
/// itself cannot judge them.
pub(super) fn references(connection: &Connection, table: &Table) -> Result<Vec<Reference>> {
    let doing = "reading the foreign keys";
    let mut statement = connection
        .prepare("SELECT id, \"table\", \"from\", \"to\" FROM pragma_foreign_key_list(?1) ORDER BY id, seq")
        .doing(doing)?;
    let rows: Vec<(i64, String, String, Option<String>)> = statement
        .query_map([&table.spelled], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .and_then(|rows| rows.collect())
        .doing(doing)?;
    let mut references = Vec::new();
    for one in rows.chunk_by(|a, b| a.0 == b.0) {
        let parent = one[0].1.clone();
        let from: Vec<String> = one.iter().map(|(_, _, from, _)| from.clone()).collect();
        let to = match one.iter().map(|(.., to)| to.clone()).collect::<Option<Vec<_>>>() {
            Some(to) => to,
            None => primary_key(connection, &parent)?,
        };
        let there = sides(connection, &table.spelled, &from)?;
        let beyond = sides(connection, &parent, &to)?;
        let (Some(here), Some(beyond)) = (there, beyond) else { continue };
        if from.len() != to.len() {
            continue;
        }
        references.push(Reference {
            alike: here.iter().zip(&beyond).all(|(here, beyond)| here == beyond && here.1.is_some()),
            affinities: beyond.iter().map(|side| side.1.map(|_| side.0)).collect(),
            collations: beyond.iter().map(|side| side.1.unwrap_or_default()).collect(),
            indexed: has_index(connection, &table.spelled, &from)?,
            rule: format!("FOREIGN KEY ({}) REFERENCES {parent} ({})", from.join(", "), to.join(", ")),
            parent,
            from,
            to,
        });
    }
    Ok(references)
}

fn primary_key(connection: &Connection, table: &str) -> Result<Vec<String>> {
    let doing = "reading the foreign keys";
    let mut statement =
        connection.prepare("SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk").doing(doing)?;
    statement.query_map([table], |row| row.get(0)).and_then(|rows| rows.collect()).doing(doing)
}

/// Affinity and collation of columns; `None` if there is no such table, or not these columns.
type Sides = Vec<(Affinity, Option<Collation>)>;

fn sides(connection: &Connection, table: &str, columns: &[String]) -> Result<Option<Sides>> {
    let mut sides = Vec::with_capacity(columns.len());
    for column in columns {
        let has = connection.column_exists(Some("main"), table, column.as_str());
        if !matches!(has, Ok(true)) {
            return Ok(None);
        }
        let (declared, collation, ..) = connection
            .column_metadata(Some("main"), table, column.as_str())
            .doing("reading the foreign keys")?;
        let declared = declared.map(|text| text.to_string_lossy()).unwrap_or_default();
        let collation = collation.map(|text| text.to_string_lossy()).unwrap_or("BINARY".into());
        sides.push((Affinity::of(&declared), Collation::from_name(&collation)));
    }
    Ok((!sides.is_empty()).then_some(sides))
}

fn has_index(connection: &Connection, table: &str, columns: &[String]) -> Result<bool> {
    let doing = "reading the indexes";
    let mut statement = connection
        .prepare(
            "SELECT l.seq, x.name FROM pragma_index_list(?1) l, pragma_index_xinfo(l.name) x
             WHERE l.partial = 0 AND x.key = 1 AND x.seqno < ?2 ORDER BY l.seq, x.seqno",
        )
        .doing(doing)?;
    let names: Vec<(i64, Option<String>)> = statement
        .query_map((table, columns.len() as i64), |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(|rows| rows.collect())
        .doing(doing)?;
    let mut wanted: Vec<String> = columns.iter().map(|column| fold(column)).collect();
    wanted.sort();
    Ok(names.chunk_by(|a, b| a.0 == b.0).any(|index| {
        let mut found: Vec<String> = index.iter().filter_map(|(_, name)| name.as_deref()).map(fold).collect();
        found.sort();
        found == wanted
    }))
}
