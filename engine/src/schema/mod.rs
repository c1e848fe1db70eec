//! What the user's tables look like, which of them can be tracked, and how we watch them.
//!
//! May use `store` and what is below it. Begin with `reconcile.rs`, which brings the rest together; it finds the table of
//! each entry (`identify`) and looks at each by itself (`renewal`):
//!
//! - the tables as they are: `inventory`, `introspect`, `constraints`, `keys`, `storage`, `sql_text`, `effects`;
//! - which are tracked, and by which triggers: `tracking`, `lifecycle`, `eligibility`, `bookkeeping`, `warnings`,
//!   `triggers`, `installed`, `creation`, `unchanged`;
//! - the names under which they travel: `names`, `column_list`, `column_changes`, `changed_names`, `moved_names`, and the rows'
//!   `evidence`;
//! - tables that were rebuilt: `rebuilt`, `settling`, `passing_names`;
//! - what the space defines: `definitions`, `objects`, `making`, and what of it is taken over: `adoption`.

pub(crate) mod adoption;
pub(crate) mod bookkeeping;
mod changed_names;
pub(crate) mod column_changes;
mod column_list;
pub(crate) mod column_names;
pub(crate) mod constraints;
mod creation;
pub(crate) mod definitions;
pub(crate) mod effects;
pub(crate) mod eligibility;
mod evidence;
mod identify;
mod installed;
pub(crate) mod introspect;
pub(crate) mod inventory;
mod keys;
pub(crate) mod lifecycle;
pub(crate) mod making;
pub(crate) mod moved_names;
pub(crate) mod names;
pub(crate) mod objects;
pub(crate) mod passing_names;
pub(crate) mod rebuilt;
pub(crate) mod reconcile;
pub(crate) mod rename_questions;
mod renewal;
pub(crate) mod settling;
pub(crate) mod sql_text;
mod storage;
pub(crate) mod tracking;
pub(crate) mod triggers;
pub(crate) mod unchanged;
pub(crate) mod warnings;

use std::collections::HashMap;

use driftless_protocol::{Collation, KeyError, RowKey, Value};

use crate::config::{ColumnKind, TableOptions};
use crate::document::affinity::Affinity;
use crate::document::row::{ColumnNames, RowDocError, RowDocument, RowView};
use crate::store::renames::Renames;
use crate::store::{fold, kinds, quote};
use constraints::{Reference, Unique};

/// One column that travels: generated ones are left to SQLite.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    /// As the user wrote it.
    pub(crate) spelled: String,
    /// As it travels: folded, and the first name if it was renamed.
    pub(crate) name: String,
    /// What a row has where nobody wrote the column, if that is a constant.
    pub(crate) default: Option<Value<'static>>,
    pub(crate) affinity: Affinity,
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
    /// The names of all columns, the generated ones included, as the user wrote them.
    pub(crate) all_columns: Vec<String>,
    /// The names of the generated ones, folded.
    pub(crate) generated: Vec<String>,
    /// In the order of the key.
    pub(crate) key: Vec<KeyColumn>,
    /// Whether the key is an alias of the rowid.
    pub(crate) integer_key: bool,
    /// Whether its statement says AUTOINCREMENT, perhaps only in a comment: SQLite remembers the highest key.
    pub(crate) counts_keys: bool,
    /// Whether SQLite lets a column of the key be NULL.
    pub(crate) nullable_key: bool,
    /// A name by which SQL reaches the rowid, where there is one beside the key and no column hides it.
    pub(crate) rowid: Option<&'static str>,
    /// The UNIQUE indexes beside the key, by name.
    pub(crate) unique: Vec<Unique>,
    /// The foreign keys that can be judged.
    pub(crate) references: Vec<Reference>,
    /// Whether its constraints may have conflict clauses of their own.
    pub(crate) has_clauses: bool,
    /// NOT NULL columns with a constant DEFAULT, as the user wrote them, with the constant as SQL: what REPLACE makes of a
    /// NULL.
    pub(crate) fallbacks: Vec<(String, String)>,
    /// The CREATE TABLE statement.
    pub(crate) sql: String,
    /// The CREATE INDEX statements, by name.
    pub(crate) indexes: Vec<String>,
}

impl Table {
    /// Lets renamed columns travel by their first names, as far as the renames hold in this table: see
    /// [`column_names::in_force`]. Returns those by which what was written under the one name is the other's.
    pub(crate) fn rename(&mut self, renames: &Renames) -> Renames {
        let has = |name: &str| self.columns.iter().any(|column| fold(&column.spelled) == name);
        let holding = column_names::in_force(renames, has);
        for column in &mut self.columns {
            let spelled = fold(&column.spelled);
            column.name = match holding.iter().find(|(now, _)| *now == spelled) {
                Some((_, travels)) => travels.clone(),
                None => spelled,
            };
        }
        column_names::merging(&holding)
    }

    /// The column of that folded name, as it is called here.
    pub(crate) fn called(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| fold(&column.spelled) == name)
    }

    /// The key of a row from the values of its key columns. Fails on NULL and on overlong keys.
    pub(crate) fn row_key(&self, values: &[Value<'_>]) -> Result<RowKey, KeyError> {
        RowKey::encode(values.iter().zip(&self.key).map(|(value, key)| (value, key.collation)))
    }

    /// `"k1" COLLATE … = ?1 AND …`, comparing as the primary key does.
    pub(crate) fn key_condition(&self) -> String {
        self.key_equals(|n| format!("?{}", n + 1))
    }

    /// The same, for a key whose columns, from 0, are named so.
    pub(crate) fn key_equals(&self, name: impl Fn(usize) -> String) -> String {
        let terms = self.key.iter().enumerate().map(|(n, key)| {
            let column = quote(&self.columns[key.at].spelled);
            // A rowid alias compares integers, and a collation would hide that from the query planner.
            match (self.integer_key, key.collation) {
                (true, _) => format!("{column} = {}", name(n)),
                (_, Collation::Binary) => format!("{column} COLLATE BINARY = {}", name(n)),
                (_, Collation::NoCase) => format!("{column} COLLATE NOCASE = {}", name(n)),
                (_, Collation::RTrim) => format!("{column} COLLATE RTRIM = {}", name(n)),
            }
        });
        terms.collect::<Vec<_>>().join(" AND ")
    }

    /// Selects `columns` of the rows that meet `condition` and refer to a row that is not there. Compares as SQLite does
    /// for foreign keys: with the affinity and the collation of the columns referred to, so the unary plus takes the
    /// affinity of the other side away. See <https://sqlite.org/foreignkeys.html#fk_basics>.
    pub(crate) fn orphans_sql(&self, reference: usize, columns: &str, condition: &str) -> String {
        let reference = &self.references[reference];
        let from: Vec<String> = reference.from.iter().map(|column| format!("c.{}", quote(column))).collect();
        let present: Vec<String> = from.iter().map(|column| format!("{column} IS NOT NULL")).collect();
        let equal = reference.to.iter().zip(&from).map(|(to, from)| format!("p.{} = +{from}", quote(to)));
        format!(
            "SELECT {columns} FROM main.{} AS c WHERE {condition} AND {} \
             AND NOT EXISTS (SELECT 1 FROM main.{} AS p WHERE {})",
            quote(&self.spelled),
            present.join(" AND "),
            quote(&reference.parent),
            equal.collect::<Vec<_>>().join(" AND "),
        )
    }

    /// The key's columns as terms of an index that serves [`Self::key_equals`].
    pub(crate) fn key_terms(&self) -> String {
        let terms = self.key.iter().map(|key| {
            let column = quote(&self.columns[key.at].spelled);
            if self.integer_key { column } else { format!("{column} COLLATE {}", key.collation.name()) }
        });
        terms.collect::<Vec<_>>().join(", ")
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
    /// Folded, as it travels: the name that the table had when it was first tracked anywhere.
    pub(crate) name: String,
    pub(crate) options: TableOptions,
    /// Whether triggers of the user's on tracked tables write into it: then ours mark what the engine's own writes bring
    /// about.
    pub(crate) watched: bool,
    /// Whether its own triggers write into tracked tables.
    pub(crate) meddles: bool,
    /// The kind of each column, in the table's order.
    pub(crate) kinds: Vec<ColumnKind>,
    /// Columns that were renamed: what was written under their new names counts as theirs.
    pub(crate) renames: Renames,
    /// Columns that may be others under new names, each and the other, as they travel: somebody may still say so.
    pub(crate) asked: Renames,
    /// Whether it was rebuilt and is not compared with its documents yet: what its user writes is captured, and nothing is
    /// written into it or judged by it.
    pub(crate) settling: bool,
    /// Columns that have just appeared and may not show yet what the documents hold.
    pub(crate) fresh: Vec<String>,
    /// Those of them that the table has not had before: it has shown nothing of what others wrote in them.
    pub(crate) new_here: Vec<String>,
    pub(crate) table: Table,
    /// By which columns tracked tables refer to this one.
    pub(crate) targets: Vec<Target>,
    /// Reads a row by key: every column, in the table's order.
    pub(crate) select: String,
    /// Deletes a row by key.
    pub(crate) delete: String,
    /// Inserts a row that has a value for every column.
    pub(crate) insert: String,
}

impl Tracked {
    /// How the documents of its rows name columns.
    pub(crate) fn column_names(&self) -> ColumnNames<'_> {
        ColumnNames { renames: &self.renames, asked: &self.asked }
    }

    /// The row that a document of this table shows. Fails if the document is damaged.
    pub(crate) fn view<'d>(&self, document: &'d [u8]) -> std::result::Result<RowView<'d>, RowDocError> {
        Ok(RowDocument::read(document, self.column_names())?.view(self.options.deletes_win))
    }

    /// `travels`: the folded name under which it travels.
    pub(crate) fn new(id: i64, travels: String, options: TableOptions, table: Table) -> Self {
        let columns = table.columns.iter().map(|c| quote(&c.spelled)).collect::<Vec<_>>().join(", ");
        let (name, condition) = (quote(&table.spelled), table.key_condition());
        // Of the key nobody may say so, but what others say is not checked when it comes in.
        let in_key = |at: usize| table.key.iter().any(|key| key.at == at);
        let kind = |(at, column): (usize, &Column)| {
            if in_key(at) { ColumnKind::Register } else { kinds::of(&options.kinds, &column.name) }
        };
        let kinds = table.columns.iter().enumerate().map(kind).collect();
        Self {
            kinds,
            id,
            name: travels,
            options,
            renames: Renames::new(),
            asked: Renames::new(),
            watched: false,
            meddles: false,
            settling: false,
            fresh: Vec::new(),
            new_here: Vec::new(),
            targets: Vec::new(),
            select: format!("SELECT {columns} FROM main.{name} WHERE {condition}"),
            delete: format!("DELETE FROM main.{name} WHERE {condition}"),
            insert: insert_sql(&table, 0..table.columns.len()),
            table,
        }
    }
}

impl Tracked {
    /// This table with columns that may be others under new names. What is added to one that may be a counter is counted, so
    /// that it is not lost once somebody says so.
    pub(crate) fn asking(mut self, asked: Renames) -> Self {
        let is_counter = |name: &String| kinds::of(&self.options.kinds, name) == ColumnKind::Counter;
        for (name, other) in &asked {
            let at = self.table.columns.iter().position(|column| column.name == *name);
            if let Some(kind) = at.and_then(|at| self.kinds.get_mut(at))
                && *kind == ColumnKind::Register
                && is_counter(other)
            {
                *kind = ColumnKind::Counter;
            }
        }
        self.asked = asked;
        self
    }
}

/// A foreign key of a tracked table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Child {
    /// The number of the table that refers.
    pub(crate) table: i64,
    /// Which of its references.
    pub(crate) reference: usize,
}

/// Columns by which other tables refer to rows of this one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    /// Folded.
    pub(crate) columns: Vec<String>,
    /// Their places in the table; `None` where one is generated.
    pub(crate) places: Option<Vec<usize>>,
    pub(crate) children: Vec<Child>,
}

impl Target {
    fn new(table: &Table, columns: Vec<String>, child: Child) -> Self {
        let place = |name: &String| table.columns.iter().position(|column| fold(&column.spelled) == *name);
        Self { places: columns.iter().map(place).collect(), columns, children: vec![child] }
    }
}

impl Tracked {
    /// Whether it refers to a table, or a table to it.
    pub(crate) fn is_bound(&self) -> bool {
        !self.targets.is_empty() || !self.table.references.is_empty()
    }
}

/// The conflict clause of a write that is to fail on any constraint.
///
/// `OR ABORT` overrides the clauses that the table's own constraints may have: one of `ROLLBACK` would end the whole
/// turn, one of `REPLACE` would remove somebody's row. It also overrides those of the statements in the user's triggers,
/// an `INSERT OR REPLACE` into an index of theirs for one, so it stands only where it is needed.
pub(crate) fn or_abort(table: &Table) -> &'static str {
    if table.has_clauses { " OR ABORT" } else { "" }
}

/// Inserts a row with values for the columns at these places.
pub(crate) fn insert_sql(table: &Table, places: impl Iterator<Item = usize>) -> String {
    insert_sql_or(or_abort(table), table, places)
}

/// The same with another conflict clause, which also takes the place of any that the triggers' statements have.
pub(crate) fn insert_sql_or(clause: &str, table: &Table, places: impl Iterator<Item = usize>) -> String {
    let names: Vec<String> = places.map(|at| quote(&table.columns[at].spelled)).collect();
    let values = vec!["?"; names.len()].join(", ");
    format!("INSERT{clause} INTO main.{} ({}) VALUES ({values})", quote(&table.spelled), names.join(", "))
}

/// The tracked tables, by number and by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog {
    tables: Vec<Tracked>,
}

impl Catalog {
    pub(crate) fn new(mut tables: Vec<Tracked>) -> Self {
        tables.sort_by_key(|table| table.id);
        let mut targets: Vec<Vec<Target>> = tables.iter().map(|_| Vec::new()).collect();
        let mut places = HashMap::new();
        for (at, table) in tables.iter().enumerate() {
            places.entry(fold(&table.table.spelled)).or_insert(at);
        }
        for child in &tables {
            for (reference, key) in child.table.references.iter().enumerate() {
                let Some(&at) = places.get(&fold(&key.parent)) else { continue };
                let columns: Vec<String> = key.to.iter().map(|column| fold(column)).collect();
                let child = Child { table: child.id, reference };
                match targets[at].iter_mut().find(|target| target.columns == columns) {
                    Some(target) => target.children.push(child),
                    None => targets[at].push(Target::new(&tables[at].table, columns, child)),
                }
            }
        }
        for (table, targets) in tables.iter_mut().zip(targets) {
            table.targets = targets;
        }
        Self { tables }
    }

    /// The numbers of those that can be written to, each after those that its rows refer to, as far as they do not refer in
    /// rings: rows that are written in this order find their parents.
    pub(crate) fn parents_first(&self) -> Vec<i64> {
        let mut ordered: Vec<i64> = Vec::with_capacity(self.tables.len());
        let mut left: Vec<&Tracked> = self.tables.iter().filter(|table| !table.settling).collect();
        while !left.is_empty() {
            let is_free = |table: &&Tracked| {
                let parents = table.table.references.iter().filter_map(|key| self.named(&key.parent));
                parents
                    .into_iter()
                    .all(|parent| parent.settling || parent.id == table.id || ordered.contains(&parent.id))
            };
            let next = left.iter().position(is_free).unwrap_or(0);
            ordered.push(left.remove(next).id);
        }
        ordered
    }

    /// All of them, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Tracked> {
        self.tables.iter()
    }

    /// The tracked table of that name, as it is called here.
    pub(crate) fn named(&self, spelled: &str) -> Option<&Tracked> {
        self.tables.iter().find(|table| table.table.spelled.eq_ignore_ascii_case(spelled))
    }

    /// The tracked table of that number.
    pub(crate) fn get(&self, id: i64) -> Option<&Tracked> {
        self.tables.binary_search_by_key(&id, |table| table.id).ok().map(|at| &self.tables[at])
    }
}
