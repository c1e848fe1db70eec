//! Undoes what the app's triggers did to rebuilt tables while we wrote rows of other tables.
//!
//! A rebuilt table is ahead of its documents until it is compared with them: it holds what the app has written into it since. So
//! its rows cannot be brought back to their documents, as `undo` does for other tables. Instead each row is kept as it was before a
//! trigger changed it, and put back at the end of the turn.
//!
//! Temporary triggers keep the rows; they run for this connection only. REPLACE evicts rows without running triggers, so before a
//! row is written, the rows that it may evict are kept. See <https://sqlite.org/lang_createtrigger.html> and
//! <https://sqlite.org/lang_conflict.html>.

use driftless_protocol::Value;
use rusqlite::{OptionalExtension, Transaction, params_from_iter};

use super::{Materializer, Step};
use crate::error::{Doing, Result};
use crate::schema::{Table, Tracked, or_abort};
use crate::store::{Bind, quote, sql, value};

/// The columns that a table of kept rows has beside those of the app's table: 1 if the row was there, else 0; and its rowid.
const WAS_THERE: &str = "_driftless_was_there";
const ROWID: &str = "_driftless_rowid";

/// A row of a table: its rowid, NULL where SQL cannot reach it beside the key, and the columns in the table's order.
type Row = Vec<Value<'static>>;

impl Materializer<'_> {
    /// Begins to keep rows of the rebuilt tables that triggers write into, unless that was done in this turn.
    pub(super) fn keep_rows(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.keeps_rows, true) {
            return Ok(());
        }
        for tracked in rebuilt(self) {
            self.tx.execute_batch(&keep_sql(tracked)).doing("keeping rows that triggers change")?;
        }
        Ok(())
    }

    /// Puts the kept rows back as they were. No trigger runs meanwhile: ours would mark the rows as written.
    pub(super) fn put_back(&mut self) -> Step<()> {
        if !std::mem::replace(&mut self.keeps_rows, false) {
            return Ok(());
        }
        for tracked in rebuilt(self) {
            self.switch_triggers(false)?;
            let done = put_back(self.tx, tracked);
            self.switch_triggers(true)?;
            done?;
            self.tx.execute_batch(&forget_sql(tracked)).doing("forgetting kept rows")?;
        }
        Ok(())
    }
}

/// The rebuilt tables that triggers write into.
fn rebuilt<'a>(materializer: &Materializer<'a>) -> Vec<&'a Tracked> {
    materializer.catalog.iter().filter(|tracked| tracked.settling && tracked.watched).collect()
}

fn put_back(tx: &Transaction<'_>, tracked: &Tracked) -> Result<()> {
    let doing = "putting back what a trigger changed";
    let changed = changed(tx, tracked).doing(doing)?;
    // All of them are deleted first: one may be in another's way.
    for (_, row) in &changed {
        sql::exec(tx, doing, &tracked.delete, params_from_iter(key(&tracked.table, row)))?;
    }
    let insert = insert_sql(&tracked.table);
    for (_, row) in changed.iter().filter(|(was_there, _)| *was_there) {
        // The rowid stays: an index of the app's may know the row by it.
        let values = row.iter().skip(usize::from(tracked.table.rowid.is_none()));
        sql::exec(tx, doing, &insert, params_from_iter(values.map(Bind)))?;
    }
    Ok(())
}

/// The kept rows that are now other than they were, and whether each was there.
fn changed(tx: &Transaction<'_>, tracked: &Tracked) -> rusqlite::Result<Vec<(bool, Row)>> {
    let (table, columns) = (&tracked.table, column_names(&tracked.table));
    let width = table.columns.len() + 1;
    let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<Row> {
        (0..width).map(|at| Ok(value(row.get_ref(at)?).into_owned())).collect()
    };
    let kept = format!("SELECT {ROWID}, {columns}, {WAS_THERE} FROM temp.{}", kept_name(tracked));
    let now = format!(
        "SELECT {}, {columns} FROM main.{} WHERE {}",
        table.rowid.unwrap_or("NULL"),
        quote(&table.spelled),
        table.key_condition()
    );
    let (mut kept, mut now) = (tx.prepare(&kept)?, tx.prepare(&now)?);
    let mut changed = Vec::new();
    let mut rows = kept.query([])?;
    while let Some(found) = rows.next()? {
        let (was_there, row) = (found.get(width)?, read(found)?);
        let is_now = now.query_row(params_from_iter(key(table, &row)), read).optional()?;
        let is_as_it_was = if was_there { is_now.as_ref() == Some(&row) } else { is_now.is_none() };
        if !is_as_it_was {
            changed.push((was_there, row));
        }
    }
    Ok(changed)
}

/// The values of the key.
fn key<'a>(table: &Table, row: &'a Row) -> impl Iterator<Item = Bind<'a>> {
    table.key.iter().map(|key| Bind(&row[key.at + 1])).collect::<Vec<_>>().into_iter()
}

fn insert_sql(table: &Table) -> String {
    let names = table.rowid.map(|rowid| format!("{rowid}, ")).unwrap_or_default() + &column_names(table);
    let values = vec!["?"; table.columns.len() + usize::from(table.rowid.is_some())].join(", ");
    format!("INSERT{} INTO main.{} ({names}) VALUES ({values})", or_abort(table), quote(&table.spelled))
}

fn kept_name(tracked: &Tracked) -> String {
    format!("_driftless_kept_{}", tracked.id)
}

fn column_names(table: &Table) -> String {
    table.columns.iter().map(|column| quote(&column.spelled)).collect::<Vec<_>>().join(", ")
}

/// Makes the table of the kept rows, and the triggers that fill it. Its columns have no types, so that values stay as they are.
fn keep_sql(tracked: &Tracked) -> String {
    let table = &tracked.table;
    let (kept, name, columns) = (kept_name(tracked), quote(&table.spelled), column_names(table));
    let key_of = |row: &'static str| {
        move |n: usize| format!("{row}.{}", quote(&table.columns[table.key[n].at].spelled))
    };
    let is_kept = |row| format!("EXISTS (SELECT 1 FROM {kept} WHERE {})", table.key_equals(key_of(row)));
    let keep = |condition: &str| {
        format!(
            "INSERT INTO {kept} ({ROWID}, {columns}, {WAS_THERE}) SELECT {}, {columns}, 1 FROM main.{name} AS there
             WHERE ({condition}) AND NOT {};",
            table.rowid.unwrap_or("NULL"),
            is_kept("there")
        )
    };
    let keep_old = keep(&table.key_equals(key_of("OLD")));
    let keep_evicted = keep(&in_the_way_of_new(table, &table.key_equals(key_of("NEW"))));
    let keep_absence = format!(
        "INSERT INTO {kept} ({}, {WAS_THERE}) SELECT {}, 0 WHERE NOT {};",
        table.key_columns(),
        (0..table.key.len()).map(key_of("NEW")).collect::<Vec<_>>().join(", "),
        is_kept("NEW")
    );
    format!(
        "{}
         CREATE TEMP TABLE {kept} ({ROWID}, {columns}, {WAS_THERE});
         CREATE INDEX temp.{kept}_key ON {kept} ({});
         CREATE TEMP TRIGGER {kept}_bi BEFORE INSERT ON main.{name} BEGIN {keep_evicted} END;
         CREATE TEMP TRIGGER {kept}_ai AFTER INSERT ON main.{name} BEGIN {keep_absence} END;
         CREATE TEMP TRIGGER {kept}_bu BEFORE UPDATE ON main.{name} BEGIN {keep_old} {keep_evicted} END;
         CREATE TEMP TRIGGER {kept}_au AFTER UPDATE ON main.{name} BEGIN {keep_absence} END;
         CREATE TEMP TRIGGER {kept}_bd BEFORE DELETE ON main.{name} BEGIN {keep_old} END;",
        forget_sql(tracked),
        table.key_terms(),
    )
}

/// Finds the rows that a new row may evict: the one with its key, and those with its values in a unique index. A generated column of
/// the new row is not known yet, so an index over one finds every row.
fn in_the_way_of_new(table: &Table, same_key: &str) -> String {
    let columns = table.columns.iter().map(|column| format!("NEW.{0} AS {0}", quote(&column.spelled)));
    let new_row = columns.collect::<Vec<_>>().join(", ");
    let same_place = table.unique.iter().map(|unique| {
        let terms = unique.terms.iter();
        let equal = terms.map(|term| format!("{0} = (SELECT {0} FROM (SELECT {new_row}))", term.sql));
        let filter = unique.filter.as_deref().unwrap_or("1");
        format!(" OR {} AND ({filter}\n)", equal.collect::<Vec<_>>().join(" AND "))
    });
    format!("{same_key}{}", same_place.collect::<String>())
}

fn forget_sql(tracked: &Tracked) -> String {
    let kept = kept_name(tracked);
    let triggers =
        ["bi", "ai", "bu", "au", "bd"].map(|end| format!("DROP TRIGGER IF EXISTS temp.{kept}_{end};"));
    format!("{} DROP TABLE IF EXISTS temp.{kept};", triggers.concat())
}
