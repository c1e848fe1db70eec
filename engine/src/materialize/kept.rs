//! What the user's triggers did, while we wrote other rows, to tables that were rebuilt and are not compared with their
//! documents yet. Those cannot be brought back to documents, since they hold what the user wrote into them meanwhile: so the rows
//! are kept as they were before a trigger changed them, and put back at the end of the turn.
//!
//! Temporary triggers keep them, which only this connection has. REPLACE fires no trigger for a row that it evicts, so what would
//! be in the way of a new row is kept before that is written. See <https://sqlite.org/lang_createtrigger.html>.

use driftless_protocol::Value;
use rusqlite::{Transaction, params_from_iter};

use super::{Materializer, Step};
use crate::error::{Doing, Result};
use crate::schema::{Table, Tracked};
use crate::store::{Bind, quote, value};

/// Says of a kept row whether it was there.
const WAS_THERE: &str = "_driftless_was_there";

impl Materializer<'_> {
    /// Begins to keep the rows of the tables in the making that triggers write into, once a turn.
    pub(super) fn keep_rows(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.keeps_rows, true) || planted!(TriggerCountsTwice) {
            return Ok(());
        }
        for tracked in in_the_making(self) {
            self.tx.execute_batch(&keep_sql(tracked)).doing("keeping rows that triggers change")?;
        }
        Ok(())
    }

    /// Puts the kept rows back as they were, without running triggers: nothing of it is news to anybody.
    pub(super) fn put_back(&mut self) -> Step<()> {
        if !std::mem::replace(&mut self.keeps_rows, false) || planted!(TriggerCountsTwice) {
            return Ok(());
        }
        for tracked in in_the_making(self) {
            self.switch_triggers(false)?;
            let done = put_back(self.tx, tracked);
            self.switch_triggers(true)?;
            done?;
            self.tx.execute_batch(&forget_sql(tracked)).doing("forgetting kept rows")?;
        }
        Ok(())
    }
}

fn in_the_making<'a>(materializer: &Materializer<'a>) -> Vec<&'a Tracked> {
    materializer.catalog.iter().filter(|tracked| tracked.settling && tracked.watched).collect()
}

fn put_back(tx: &Transaction<'_>, tracked: &Tracked) -> Result<()> {
    let doing = "putting back what a trigger changed";
    let (table, columns) = (&tracked.table, column_names(&tracked.table));
    let sql = format!("SELECT {WAS_THERE}, {columns} FROM temp.{}", kept_name(tracked));
    let mut select = tx.prepare(&sql).doing(doing)?;
    let row = |row: &rusqlite::Row<'_>| -> rusqlite::Result<(bool, Vec<Value<'static>>)> {
        let values = (1..=table.columns.len()).map(|at| Ok(value(row.get_ref(at)?).into_owned()));
        Ok((row.get(0)?, values.collect::<rusqlite::Result<_>>()?))
    };
    let kept: Vec<_> = select.query_map([], row).and_then(|rows| rows.collect()).doing(doing)?;
    // All of them go first, so that none is in another's way.
    for (_, values) in &kept {
        let key = table.key.iter().map(|key| Bind(&values[key.at]));
        tx.prepare_cached(&tracked.delete)
            .and_then(|mut delete| delete.execute(params_from_iter(key)))
            .doing(doing)?;
    }
    for (_, values) in kept.iter().filter(|(was_there, _)| *was_there) {
        tx.prepare_cached(&tracked.insert)
            .and_then(|mut insert| insert.execute(params_from_iter(values.iter().map(Bind))))
            .doing(doing)?;
    }
    Ok(())
}

fn kept_name(tracked: &Tracked) -> String {
    format!("_driftless_kept_{}", tracked.id)
}

fn column_names(table: &Table) -> String {
    table.columns.iter().map(|column| quote(&column.spelled)).collect::<Vec<_>>().join(", ")
}

/// Makes the table of the kept rows, without types, so that values stay as they are, and the triggers that fill it.
fn keep_sql(tracked: &Tracked) -> String {
    let table = &tracked.table;
    let (kept, name, columns) = (kept_name(tracked), quote(&table.spelled), column_names(table));
    let key = table.key_columns();
    let new = |n: usize| format!("NEW.{}", quote(&table.columns[table.key[n].at].spelled));
    let is_kept = |of: &str| {
        let key = |n: usize| format!("{of}.{}", quote(&table.columns[table.key[n].at].spelled));
        format!("EXISTS (SELECT 1 FROM {kept} WHERE {})", table.key_equals(key))
    };
    let keep = |condition: &str| {
        format!(
            "INSERT INTO {kept} ({columns}, {WAS_THERE}) SELECT {columns}, 1 FROM main.{name} AS there
             WHERE ({condition}) AND NOT {};",
            is_kept("there")
        )
    };
    let keep_old =
        keep(&table.key_equals(|n| format!("OLD.{}", quote(&table.columns[table.key[n].at].spelled))));
    let keep_evicted = keep(&in_the_way_of_new(table, &table.key_equals(new)));
    let new_key = (0..table.key.len()).map(new).collect::<Vec<_>>().join(", ");
    let keep_absence =
        format!("INSERT INTO {kept} ({key}, {WAS_THERE}) SELECT {new_key}, 0 WHERE NOT {};", is_kept("NEW"));
    format!(
        "{}
         CREATE TEMP TABLE {kept} ({columns}, {WAS_THERE});
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

/// The rows, besides that of the same key, which a new one may evict: in a unique index they stand where it is to stand.
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
