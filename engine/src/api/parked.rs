//! Rows that were merged and that a constraint keeps out of their table. Read from the file alone.

use std::path::Path;

use driftless_protocol::{RowKey, Value};
use rusqlite::Connection;

use crate::config::Config;
use crate::document::row::{ColumnNames, RowDocument};
#[cfg(doc)]
use crate::error::Error;
use crate::error::{Doing, Result};
use crate::file::lock;
use crate::schema::introspect;
use crate::store::{self, documents, tables, texts};

/// A row that is kept out of its table. It returns by itself as soon as it fits; writing it anew, with the same key,
/// repairs it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Parked {
    /// The table, as it is called here.
    pub table: String,
    /// The primary key as SQL literals, with commas between.
    pub key: String,
    /// The constraint, as SQL: `UNIQUE (email)`; `None` where there is none, as for a row that is too large to travel.
    pub rule: Option<String>,
    /// Why, in a sentence.
    pub reason: String,
    /// What it clashes with: the key of the row that holds its UNIQUE value, or the values of the parent that is
    /// missing, as SQL literals.
    pub clash: Option<String>,
    /// Its columns and values, in the order of the table; empty for a row that stays in this file.
    pub row: Vec<(String, Value<'static>)>,
}

/// Reads the parked rows of a file: by table and key.
///
/// Fails with [`Error::NoSuchFile`], [`Error::NotADatabase`], [`Error::FileAway`], [`Error::TrackingLost`], and [`Error::NotInitialized`] if Driftless has never
/// worked on the file.
pub fn parked(path: impl AsRef<Path>) -> Result<Vec<Parked>> {
    let path = path.as_ref();
    let doing = "reading the parked rows";
    let mut connection = store::open_to_read(path, Config::default().busy_timeout)?;
    if !store::is_initialized(&connection)? {
        return Err(lock::not_initialized(path));
    }
    let tx = connection.transaction().doing(doing)?;
    let mut statement = tx
        .prepare(
            "SELECT p.tbl, t.spelled, p.key, p.pk, p.rule, p.reason, p.clash FROM _driftless_parked p
             JOIN _driftless_tables t ON t.id = p.tbl ORDER BY lower(t.spelled), p.key",
        )
        .doing(doing)?;
    let mut rows = statement.query([]).doing(doing)?;
    let mut parked = Vec::new();
    while let Some(row) = rows.next().doing(doing)? {
        let (table, spelled): (i64, String) = (row.get(0).doing(doing)?, row.get(1).doing(doing)?);
        let key: Vec<u8> = row.get(2).doing(doing)?;
        parked.push(Parked {
            row: values(&tx, table, &spelled, &key)?,
            table: spelled,
            key: row.get(3).doing(doing)?,
            rule: row.get(4).doing(doing)?,
            reason: row.get(5).doing(doing)?,
            clash: row.get(6).doing(doing)?,
        });
    }
    Ok(parked)
}

/// What the row's document says, for the columns that the table has.
fn values(
    connection: &Connection,
    table: i64,
    spelled: &str,
    key: &[u8],
) -> Result<Vec<(String, Value<'static>)>> {
    let (Some(stored), Ok(key)) = (documents::get(connection, table, key)?, RowKey::from_bytes(key)) else {
        return Ok(Vec::new());
    };
    let Some(Ok(mut look)) = introspect::table(connection, spelled)? else { return Ok(Vec::new()) };
    let Some(entry) = tables::all(connection)?.into_iter().find(|entry| entry.id == table) else {
        return Ok(Vec::new());
    };
    let renames = look.rename(&entry.renames);
    let names = ColumnNames { renames: &renames, asked: &[] };
    let mut state = RowDocument::read(&stored.body, names)?.view(entry.options.deletes_win).state;
    texts::fill(connection, table, key.as_bytes(), &mut state, |_| None)?;
    let key_values = key.values();
    let columns = look.columns.iter().enumerate().filter_map(|(at, column)| {
        let in_key = || key_values.get(look.key.iter().position(|key| key.at == at)?);
        let value = state.value(&column.name).or_else(in_key)?;
        Some((column.spelled.clone(), value.clone().into_owned()))
    });
    Ok(columns.collect())
}
