//! What the user's tables look like, which of them can be tracked, and how we watch them.

pub(crate) mod definitions;
pub(crate) mod eligibility;
pub(crate) mod introspect;
pub(crate) mod reconcile;
pub(crate) mod triggers;

use driftless_protocol::{Collation, KeyError, RowKey, Value};

use crate::config::TableOptions;
use crate::store::{fold, quote};

/// One column that travels: generated ones are left to SQLite.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    /// As the user wrote it.
    pub(crate) spelled: String,
    /// As it travels.
    pub(crate) name: String,
    /// What a row has where nobody wrote the column, if that is a constant.
    pub(crate) default: Option<Value<'static>>,
}

/// One column of the primary key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyColumn {
    /// Its place among the columns.
    pub(crate) at: usize,
    pub(crate) collation: Collation,
}

/// A user's table as it is now.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table {
    /// As the user wrote it.
    pub(crate) spelled: String,
    /// In the order of the table.
    pub(crate) columns: Vec<Column>,
    /// In the order of the key.
    pub(crate) key: Vec<KeyColumn>,
    /// Whether the key is an alias of the rowid.
    pub(crate) integer_key: bool,
    /// A name by which SQL reaches the rowid, where there is one beside the key and no column hides it.
    pub(crate) rowid: Option<&'static str>,
    /// The columns of each UNIQUE index beside the key; `None` stands for an expression.
    pub(crate) unique: Vec<Vec<Option<String>>>,
    /// The CREATE TABLE statement.
    pub(crate) sql: String,
    /// The CREATE INDEX statements, by name.
    pub(crate) indexes: Vec<String>,
}

impl Table {
    /// The key of a row from the values of its key columns. Fails on NULL and on overlong keys.
    pub(crate) fn row_key(&self, values: &[Value<'_>]) -> Result<RowKey, KeyError> {
        RowKey::encode(values.iter().zip(&self.key).map(|(value, key)| (value, key.collation)))
    }

    /// `"k1" COLLATE … = ?1 AND …`, comparing as the primary key does.
    pub(crate) fn key_condition(&self) -> String {
        let terms = self.key.iter().enumerate().map(|(n, key)| {
            let column = quote(&self.columns[key.at].spelled);
            // A rowid alias compares integers, and a collation would hide that from the query planner.
            match (self.integer_key, key.collation) {
                (true, _) => format!("{column} = ?{}", n + 1),
                (_, Collation::Binary) => format!("{column} COLLATE BINARY = ?{}", n + 1),
                (_, Collation::NoCase) => format!("{column} COLLATE NOCASE = ?{}", n + 1),
                (_, Collation::RTrim) => format!("{column} COLLATE RTRIM = ?{}", n + 1),
            }
        });
        terms.collect::<Vec<_>>().join(" AND ")
    }

    /// The key's columns, quoted, with commas between.
    pub(crate) fn key_columns(&self) -> String {
        let names = self.key.iter().map(|key| quote(&self.columns[key.at].spelled));
        names.collect::<Vec<_>>().join(", ")
    }
}

/// A table that is tracked.
#[derive(Debug, Clone)]
pub(crate) struct Tracked {
    pub(crate) id: i64,
    /// Folded, as it travels.
    pub(crate) name: String,
    pub(crate) options: TableOptions,
    /// Columns that have just appeared and may not show yet what the documents hold.
    pub(crate) fresh: Vec<String>,
    pub(crate) table: Table,
    /// Reads a row by key: every column, in the table's order.
    pub(crate) select: String,
    /// Deletes a row by key.
    pub(crate) delete: String,
    /// Inserts a row that has a value for every column.
    pub(crate) insert: String,
}

impl Tracked {
    pub(crate) fn new(id: i64, options: TableOptions, table: Table) -> Self {
        let columns = table.columns.iter().map(|c| quote(&c.spelled)).collect::<Vec<_>>().join(", ");
        let (name, condition) = (quote(&table.spelled), table.key_condition());
        Self {
            id,
            name: fold(&table.spelled),
            options,
            fresh: Vec::new(),
            select: format!("SELECT {columns} FROM main.{name} WHERE {condition}"),
            delete: format!("DELETE FROM main.{name} WHERE {condition}"),
            insert: insert_sql(&table, 0..table.columns.len()),
            table,
        }
    }
}

/// Inserts a row with values for the columns at these places.
///
/// `OR ABORT` overrides the conflict clauses that the table's own constraints may have: one of `ROLLBACK` would end the
/// whole turn, one of `REPLACE` would remove somebody's row.
pub(crate) fn insert_sql(table: &Table, places: impl Iterator<Item = usize>) -> String {
    let names: Vec<String> = places.map(|at| quote(&table.columns[at].spelled)).collect();
    let values = vec!["?"; names.len()].join(", ");
    format!("INSERT OR ABORT INTO main.{} ({}) VALUES ({values})", quote(&table.spelled), names.join(", "))
}

/// The tracked tables, by number and by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog {
    tables: Vec<Tracked>,
}

impl Catalog {
    pub(crate) fn new(mut tables: Vec<Tracked>) -> Self {
        tables.sort_by_key(|table| table.id);
        Self { tables }
    }

    /// The tracked table of that number.
    pub(crate) fn get(&self, id: i64) -> Option<&Tracked> {
        self.tables.binary_search_by_key(&id, |table| table.id).ok().map(|at| &self.tables[at])
    }
}
