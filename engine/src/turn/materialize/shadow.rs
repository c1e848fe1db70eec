//! What a row would be in its table, when it is not there: the values under which it would stand in each UNIQUE index.
//!
//! The row is put, alone, into an empty temporary table of the same definition, and read back: types converted, defaults
//! and generated columns filled in, expressions evaluated by SQLite itself. No trigger sees it.

use std::collections::HashSet;

use driftless_protocol::{Collation, RowKey, Value};
use rusqlite::{Transaction, params_from_iter};

use super::write::wanted;
use crate::document::row::resolve::RowState;
use crate::error::{Error, Result};
use crate::schema::constraints::Unique;
use crate::schema::sql_text::after_table_name;
use crate::schema::{Tracked, insert_sql};
use crate::store::{Bind, sql, value};

/// The temporary tables that this turn has made.
#[derive(Debug, Default)]
pub(super) struct Shadows {
    made: HashSet<i64>,
}

/// For each UNIQUE index the values under which a row stands in it; `None` where it does not, being outside of a
/// partial index or having a NULL, which SQLite holds to be distinct from every other.
pub(super) type UniqueValues = Vec<Option<Vec<Value<'static>>>>;

fn name(table: i64) -> String {
    format!("_driftless_shadow_{table}")
}

impl Shadows {
    /// What the row would hold in each UNIQUE index. The inner error is SQLite's, when the row is refused by itself.
    pub(super) fn unique_values(
        &mut self,
        tx: &Transaction<'_>,
        tracked: &Tracked,
        key_values: &[Value<'static>],
        state: &RowState<'_>,
    ) -> Result<rusqlite::Result<UniqueValues>> {
        let name = name(tracked.id);
        if let Err(error) = self.make(tx, tracked, &name)? {
            return Ok(Err(error));
        }
        let wanted = wanted(tracked, key_values, state);
        let insert = insert_sql(&tracked.table, wanted.iter().map(|(at, _)| *at));
        let insert = insert.replacen(
            &format!("main.{}", crate::store::quote(&tracked.table.spelled)),
            &format!("temp.{name}"),
            1,
        );
        let inserted = tx.prepare_cached(&insert).and_then(|mut insert| {
            insert.execute(params_from_iter(wanted.iter().map(|(_, value)| Bind(value))))
        });
        if let Err(error) = inserted {
            return Ok(Err(error));
        }
        let mut all = Vec::with_capacity(tracked.table.unique.len());
        for unique in &tracked.table.unique {
            all.push(held(tx, unique, &format!("temp.{name}"), "1", &[])?);
        }
        sql::exec(tx, "judging a row", &format!("DELETE FROM temp.{name}"), [])?;
        Ok(Ok(all))
    }

    /// The inner error is SQLite's, when it does not take the table's definition under another name.
    fn make(&mut self, tx: &Transaction<'_>, tracked: &Tracked, name: &str) -> Result<rusqlite::Result<()>> {
        if self.made.contains(&tracked.id) {
            return Ok(Ok(()));
        }
        let rest = after_table_name(&tracked.table.sql, name).ok_or_else(|| Error::Damaged {
            table: "sqlite_master",
            what: format!("the definition of '{}' is not understood", tracked.table.spelled),
        })?;
        // One of an earlier turn may be of an older definition.
        let made =
            tx.execute_batch(&format!("DROP TABLE IF EXISTS temp.{name}; CREATE TEMP TABLE {name}{rest}"));
        if made.is_ok() {
            self.made.insert(tracked.id);
        }
        Ok(made)
    }
}

/// The values under which the one row of `table` that meets `condition` stands in an index.
pub(super) fn held(
    tx: &Transaction<'_>,
    unique: &Unique,
    table: &str,
    condition: &str,
    binds: &[Value<'_>],
) -> Result<Option<Vec<Value<'static>>>> {
    let terms: Vec<&str> = unique.terms.iter().map(|term| &*term.sql).collect();
    let filter = unique.filter.as_deref().unwrap_or("1");
    let sql = format!("SELECT {} FROM {table} WHERE ({condition}) AND ({filter}\n)", terms.join(", "));
    let values = sql::opt(tx, "judging a row", &sql, params_from_iter(binds.iter().map(Bind)), |row| {
        (0..terms.len())
            .map(|at| Ok(value(row.get_ref(at)?).into_owned()))
            .collect::<rusqlite::Result<Vec<_>>>()
    })?;
    Ok(values.filter(|values| !values.contains(&Value::Null)))
}

/// Values of an index as bytes that are equal when the index holds them equal.
pub(super) fn bytes(unique: &Unique, values: &[Value<'_>]) -> Option<Vec<u8>> {
    let collations = unique.terms.iter().map(|term| term.collation.unwrap_or(Collation::Binary));
    RowKey::encode(values.iter().zip(collations)).ok().map(|key| key.as_bytes().to_vec())
}
