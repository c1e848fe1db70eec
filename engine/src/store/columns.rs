//! `_driftless_columns`: what is known of the columns of a table, a row a column. Columns that a table no longer has stay
//! listed: one that came later may be one of them under another name, and somebody may say so at any time.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, Transaction};

use super::kinds::{self, Kinds};
use super::renames::Renames;
use super::sql;
use crate::config::ColumnKind;
use crate::error::{Doing, Result};

/// A column that the table has, or had.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct KnownColumn {
    /// As the table calls it, or called it last; folded.
    pub(crate) name: String,
    /// Its place in the table; `None` if the table no longer has it.
    pub(crate) place: Option<usize>,
    /// Its place in the primary key, and its collation there: `None` where the key is an alias of the rowid.
    pub(crate) key: Option<(usize, Option<String>)>,
    /// With which change of the table's columns it came.
    pub(crate) came: i64,
    /// With which it went.
    pub(crate) went: Option<i64>,
    /// The column that went when it came: perhaps it was renamed. Folded. Its own name: see [`KnownColumn::waits_to_join`].
    pub(crate) was: Option<String>,
}

impl KnownColumn {
    /// Whether it was renamed, and what others wrote under its new name is not taken for its own yet. The table has not shown those
    /// values, so they wait until everything written in the table is captured: [`begin_joining`] ends that.
    pub(crate) fn waits_to_join(&self) -> bool {
        self.was.as_ref() == Some(&self.name)
    }

    /// Makes what others wrote under its new name wait.
    pub(crate) fn postpone_joining(&mut self) {
        self.was.get_or_insert_with(|| self.name.clone());
    }
}

/// Everything that is known of a table's columns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Columns {
    /// Those that the table has, in its order, and then those that it had.
    pub(crate) known: Vec<KnownColumn>,
    /// Names under which columns travel, where they differ; of this table's columns and of others'.
    pub(crate) renames: Renames,
    pub(crate) kinds: Kinds,
    /// The names under which those travel that have just appeared.
    pub(crate) fresh: Vec<String>,
}

impl Columns {
    /// The name under which a column travels.
    fn travels<'a>(&'a self, name: &'a str) -> &'a str {
        self.renames.iter().find(|(now, _)| now == name).map_or(name, |(_, travels)| travels)
    }

    /// The names that need a row: of columns that are or were here, and of those of which only a rename or a kind is known.
    fn rows(&self) -> BTreeMap<&str, Option<&KnownColumn>> {
        let mut rows: BTreeMap<&str, Option<&KnownColumn>> =
            self.known.iter().map(|column| (&*column.name, Some(column))).collect();
        for (now, _) in &self.renames {
            rows.entry(now).or_default();
        }
        let travelling: BTreeSet<&str> = rows.keys().map(|name| self.travels(name)).collect();
        let stated = self.kinds.iter().map(|(column, _)| column).chain(&self.fresh);
        let homeless: Vec<&str> =
            stated.map(String::as_str).filter(|name| !travelling.contains(name)).collect();
        for name in homeless {
            rows.entry(name).or_default();
        }
        rows
    }
}

/// What is known of the columns of every table, by the table's number.
pub(crate) fn all(connection: &Connection) -> Result<BTreeMap<i64, Columns>> {
    read(connection, "", [])
}

/// What is known of the columns of one table.
pub(crate) fn of(connection: &Connection, table: i64) -> Result<Columns> {
    Ok(read(connection, "WHERE tbl = ?1", [table])?.remove(&table).unwrap_or_default())
}

fn read(
    connection: &Connection,
    condition: &str,
    binds: impl rusqlite::Params,
) -> Result<BTreeMap<i64, Columns>> {
    let doing = "reading _driftless_columns";
    let query = format!(
        "SELECT tbl, name, travels, kind, fresh, place, key, collation, came, went, was FROM _driftless_columns
         {condition} ORDER BY tbl, place IS NULL, place, name"
    );
    let mut tables: BTreeMap<i64, Columns> = BTreeMap::new();
    sql::each(connection, doing, &query, binds, |row| {
        let columns = tables.entry(row.get(0).doing(doing)?).or_default();
        add(columns, row).doing(doing)
    })?;
    for columns in tables.values_mut() {
        columns.renames.sort();
    }
    Ok(tables)
}

fn add(columns: &mut Columns, row: &rusqlite::Row<'_>) -> rusqlite::Result<()> {
    let (name, travels): (String, String) = (row.get(1)?, row.get(2)?);
    let kind: String = row.get(3)?;
    if row.get(4)? && !columns.fresh.contains(&travels) {
        columns.fresh.push(travels.clone());
    }
    // Somebody may have written to this table by hand: what says nothing that is known counts as the default.
    let kind = kind.parse().unwrap_or_default();
    if kind != ColumnKind::Register {
        kinds::set(&mut columns.kinds, travels.clone(), kind);
    }
    if let Some(came) = row.get(8)? {
        let place = |at: usize| row.get::<_, Option<i64>>(at).map(|place| place.map(|place| place as usize));
        let collation: Option<String> = row.get(7)?;
        columns.known.push(KnownColumn {
            name: name.clone(),
            place: place(5)?,
            key: place(6)?.map(|place| (place, collation)),
            came,
            went: row.get(9)?,
            was: row.get(10)?,
        });
    }
    if name != travels {
        columns.renames.push((name, travels));
    }
    Ok(())
}

/// Writes everything that is known of a table's columns, in place of what was.
pub(crate) fn put(tx: &Transaction<'_>, table: i64, columns: &Columns) -> Result<()> {
    let doing = "writing _driftless_columns";
    sql::exec(tx, doing, "DELETE FROM _driftless_columns WHERE tbl = ?1", [table])?;
    let mut insert = tx
        .prepare_cached(
            "INSERT INTO _driftless_columns (tbl, name, travels, kind, fresh, place, key, collation, came, went, was)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )
        .doing(doing)?;
    for (name, known) in columns.rows() {
        let travels = columns.travels(name);
        let key = known.and_then(|known| known.key.as_ref());
        insert
            .execute((
                table,
                name,
                travels,
                kinds::of(&columns.kinds, travels).name(),
                columns.fresh.iter().any(|fresh| fresh == travels),
                known.and_then(|known| known.place).map(|place| place as i64),
                key.map(|(place, _)| *place as i64),
                key.and_then(|(_, collation)| collation.as_deref()),
                known.map(|known| known.came),
                known.and_then(|known| known.went),
                known.and_then(|known| known.was.as_deref()),
            ))
            .doing(doing)?;
    }
    Ok(())
}

/// Whether there is anything for [`clear_fresh`] or [`begin_joining`] to do, or soon will be.
pub(crate) fn any_is_new(connection: &Connection) -> Result<bool> {
    let query = "SELECT 1 FROM _driftless_columns WHERE fresh <> 0 OR was = name";
    sql::exists(connection, "reading _driftless_columns", query, [])
}

/// Every table but those that were rebuilt and are not compared yet shows what its documents hold: no column of theirs has
/// just appeared any more. Returns whether one had.
pub(crate) fn clear_fresh(tx: &Transaction<'_>) -> Result<bool> {
    let cleared = sql::exec(
        tx,
        "writing _driftless_columns",
        "UPDATE _driftless_columns SET fresh = 0
         WHERE fresh <> 0 AND tbl NOT IN (SELECT id FROM _driftless_tables WHERE rebuilt IS NOT NULL)",
        [],
    )?;
    Ok(cleared > 0)
}

/// Lets renamed columns join what others wrote under their new names, now that everything else is captured and shown, but of tables
/// that were rebuilt and are not compared yet. Returns the tables that have such columns: their rows are to be shown anew.
pub(crate) fn begin_joining(tx: &Transaction<'_>) -> Result<Vec<i64>> {
    let doing = "writing _driftless_columns";
    let mut tables: Vec<i64> = sql::list(
        tx,
        doing,
        "UPDATE _driftless_columns SET was = NULL WHERE was = name
             AND tbl NOT IN (SELECT id FROM _driftless_tables WHERE rebuilt IS NOT NULL) RETURNING tbl",
        [],
        sql::first,
    )?;
    tables.sort_unstable();
    tables.dedup();
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::migrations;

    /// Column names with a comma and a space, or with a line break, were cut in two when lists of columns were strings.
    #[test]
    fn what_is_known_of_columns_reads_as_it_was_written_whatever_they_are_called() {
        let mut connection = Connection::open_in_memory().expect("in memory");
        let tx = connection.transaction().expect("begins");
        tx.execute_batch(migrations::SCHEMA).expect("the side tables");
        let known = |name: &str, place| KnownColumn { name: name.to_owned(), place, ..Default::default() };
        let mut columns = Columns {
            known: vec![
                KnownColumn { key: Some((0, Some("NOCASE".to_owned()))), ..known("a, b", Some(0)) },
                KnownColumn { came: 3, was: Some("c\"\td".to_owned()), ..known("first\nname", Some(1)) },
                KnownColumn { went: Some(3), ..known("c\"\td", None) },
            ],
            renames: vec![
                ("elsewhere".to_owned(), "x\ty".to_owned()),
                ("first\nname".to_owned(), "n\n".to_owned()),
            ],
            kinds: vec![("n\n".to_owned(), ColumnKind::Text), ("z z".to_owned(), ColumnKind::Counter)],
            fresh: vec!["n\n".to_owned()],
        };
        put(&tx, 7, &columns).expect("written");
        put(&tx, 8, &Columns::default()).expect("written");
        assert_eq!(of(&tx, 7).expect("read"), columns);
        assert_eq!(of(&tx, 8).expect("read"), Columns::default());
        assert!(clear_fresh(&tx).is_ok_and(|cleared| cleared) && clear_fresh(&tx).is_ok_and(|again| !again));
        columns.fresh.clear();
        assert_eq!(all(&tx).expect("read"), BTreeMap::from([(7, columns)]));
    }
}
