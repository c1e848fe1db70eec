//! What a table demands of its rows beside their key: UNIQUE indexes and foreign keys, with the SQL to judge them by.

use driftless_protocol::Collation;
use rusqlite::Connection;

use super::inventory::{Inventory, Object, RawIndex};
use super::sql_text::index_terms;
use crate::document::affinity::Affinity;
use crate::error::{Doing, Result};
use crate::store::{fold, quote, sql};

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

/// Understands a UNIQUE index. `None` if its statement is not understood.
pub(super) fn unique(index: &RawIndex) -> Option<Unique> {
    let parsed = match &index.sql {
        Some(sql) => Some(index_terms(sql)?),
        None => None,
    };
    let mut terms = Vec::with_capacity(index.terms.len());
    for (n, (column, collation)) in index.terms.iter().enumerate() {
        let value = match (column, &parsed) {
            (Some(column), _) => quote(column),
            (None, Some((terms, _))) if n < terms.len() => format!("({}\n)", terms[n]),
            (None, _) => return None,
        };
        terms.push(Term {
            column: column.clone(),
            sql: format!("{value} COLLATE {}", quote(collation)),
            collation: Collation::from_name(collation),
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
    Some(Unique { name: index.name.clone(), terms, filter, rule })
}

/// The foreign keys of a table. Those whose parent is not there, or has no such columns, are left out: SQLite
/// itself cannot judge them.
pub(super) fn references(
    connection: &Connection,
    inventory: &Inventory,
    table: &Object,
) -> Result<Vec<Reference>> {
    let mut references = Vec::new();
    for one in table.foreign_keys.chunk_by(|a, b| a.id == b.id) {
        let parent = one[0].parent.clone();
        let from: Vec<String> = one.iter().map(|key| key.from.clone()).collect();
        let to = match one.iter().map(|key| key.to.clone()).collect::<Option<Vec<_>>>() {
            Some(to) => to,
            None => match inventory.primary_key(&parent) {
                Some(key) => key,
                None => primary_key(connection, &parent)?,
            },
        };
        let there = sides(connection, &table.name, &from)?;
        let beyond = sides(connection, &parent, &to)?;
        let (Some(here), Some(beyond)) = (there, beyond) else { continue };
        if from.len() != to.len() {
            continue;
        }
        references.push(Reference {
            alike: here.iter().zip(&beyond).all(|(here, beyond)| here == beyond && here.1.is_some()),
            affinities: beyond.iter().map(|side| side.1.map(|_| side.0)).collect(),
            collations: beyond.iter().map(|side| side.1.unwrap_or_default()).collect(),
            indexed: has_index(table, &from),
            rule: format!("FOREIGN KEY ({}) REFERENCES {parent} ({})", from.join(", "), to.join(", ")),
            parent,
            from,
            to,
        });
    }
    Ok(references)
}

/// The primary key of a table that was not read along.
fn primary_key(connection: &Connection, table: &str) -> Result<Vec<String>> {
    let doing = "reading the foreign keys";
    sql::list(
        connection,
        doing,
        "SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk",
        [table],
        sql::first,
    )
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

/// Whether a whole index begins with these columns, in whatever order.
fn has_index(table: &Object, columns: &[String]) -> bool {
    let mut wanted: Vec<String> = columns.iter().map(|column| fold(column)).collect();
    wanted.sort();
    table.indexes.iter().filter(|index| !index.partial).any(|index| {
        let first = index.terms.iter().take(columns.len());
        let mut found: Vec<String> = first.filter_map(|(column, _)| column.as_deref()).map(fold).collect();
        found.sort();
        found == wanted
    })
}
