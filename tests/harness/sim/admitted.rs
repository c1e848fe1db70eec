//! Which of the rows that are alive belong into their tables, found by asking SQLite in the plainest way: each row by itself in
//! an empty table, then all in the order of their keys, then without those whose parents are missing, until nothing changes.
//! The engine does none of it like this; what it shows and parks must be the same.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::always::unreadable;
use super::model::{Row, Snapshot};
use super::read;
use super::scenario::TableSpec;
use super::schema::quote;
use super::world::{Checked, broken};

/// Compares what is in the tables of a file with what should be, of the rows that it shows and those that it parks.
pub(super) fn check(app: &Connection, parked: &Snapshot, tables: &[TableSpec]) -> Checked {
    let judge = Connection::open_in_memory().map_err(unreadable)?;
    let sql = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'sqlite_*'
               AND name NOT GLOB '_driftless_*' UNION ALL
               SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL
               AND tbl_name NOT GLOB '_driftless_*'";
    let mut statement = app.prepare(sql).map_err(unreadable)?;
    let definitions = statement.query_map([], |row| row.get::<_, String>(0)).map_err(unreadable)?;
    judge.execute_batch("PRAGMA foreign_keys = 0").map_err(unreadable)?;
    for definition in definitions {
        judge.execute_batch(&definition.map_err(unreadable)?).map_err(unreadable)?;
    }
    for spec in tables {
        admit(app, &judge, parked, &spec.name).map_err(unreadable)?;
    }
    while orphans(&judge, tables).map_err(unreadable)? > 0 {}
    for spec in tables {
        let look = |connection: &Connection| {
            let rows = read::lines(connection, &format!("SELECT * FROM {}", quote(&spec.name)));
            rows.map(|rows| rows.into_iter().collect::<BTreeSet<_>>()).map_err(unreadable)
        };
        let (shows, should) = (look(app)?, look(&judge)?);
        if shows != should {
            let (too_many, missing): (Vec<_>, Vec<_>) =
                (shows.difference(&should).collect(), should.difference(&shows).collect());
            return broken(
                "who is parked follows from the constraints alone",
                format!("{} shows {too_many:?}, and not {missing:?}; parked are {parked:?}", spec.name),
            );
        }
    }
    Ok(())
}

/// Puts the rows of one table that are sound, and whose UNIQUE values no row with a smaller key has.
fn admit(app: &Connection, judge: &Connection, parked: &Snapshot, table: &str) -> rusqlite::Result<()> {
    let mut statement =
        app.prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0 ORDER BY cid")?;
    let columns: Vec<String> =
        statement.query_map([table], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let list = columns.iter().map(|column| quote(column)).collect::<Vec<_>>().join(", ");
    let name = quote(table);
    let mut rows = read::rows(app, &format!("SELECT {list} FROM {name}"))?;
    let of_parked = |row: &Row| -> Option<Vec<String>> {
        columns.iter().map(|column| row.get(column).cloned()).collect()
    };
    rows.extend(parked.iter().filter(|((of, _), _)| of == table).filter_map(|(_, row)| of_parked(row)));
    // Through a table without constraints, so that SQLite sorts them by its own rules.
    judge.execute_batch(&format!("CREATE TEMP TABLE waiting AS SELECT {list} FROM {name} LIMIT 0"))?;
    for row in rows {
        // As literals: they have their types.
        judge.execute_batch(&format!("INSERT INTO waiting VALUES ({})", literals(&row)))?;
    }
    let mut key = judge.prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE pk > 0 ORDER BY pk")?;
    let key: Vec<String> = key.query_map([table], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let folded = judge.query_row(
        "SELECT sql LIKE '%(k TEXT NOT NULL COLLATE NOCASE%' FROM sqlite_master WHERE name = ?1",
        [table],
        |row| row.get::<_, bool>(0),
    )?;
    let order =
        key.iter().map(|column| if folded { format!("lower({})", quote(column)) } else { quote(column) });
    let order = order.collect::<Vec<_>>().join(", ");
    for row in read::rows(judge, &format!("SELECT {list} FROM waiting ORDER BY {order}"))? {
        let _refused =
            judge.execute_batch(&format!("INSERT OR ABORT INTO {name} ({list}) VALUES ({})", literals(&row)));
    }
    judge.execute_batch("DROP TABLE waiting")
}

fn literals(row: &[String]) -> String {
    let literal = |value: &String| match value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')) {
        Some(text) => format!("'{}'", text.replace('\'', "''")),
        None => value.clone(),
    };
    row.iter().map(literal).collect::<Vec<_>>().join(", ")
}

/// Deletes rows that refer to what is not there. Returns how many.
fn orphans(judge: &Connection, tables: &[TableSpec]) -> rusqlite::Result<usize> {
    let mut gone = 0;
    for spec in tables {
        let mut statement = judge.prepare(
            "SELECT id, \"table\", \"from\", coalesce(\"to\", (SELECT name FROM pragma_table_xinfo(f.\"table\") WHERE pk = f.seq + 1))
             FROM pragma_foreign_key_list(?1) f ORDER BY id, seq",
        )?;
        let found: Vec<(i64, String, String, String)> = statement
            .query_map([&spec.name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let ids: BTreeSet<i64> = found.iter().map(|(id, ..)| *id).collect();
        for id in ids {
            let terms: Vec<_> = found.iter().filter(|(of, ..)| *of == id).collect();
            let Some((_, parent, ..)) = terms.first() else { continue };
            let child = quote(&spec.name);
            let set = terms.iter().map(|(.., from, _)| format!("{child}.{} IS NOT NULL", quote(from)));
            let same =
                terms.iter().map(|(.., from, to)| format!("p.{} = {child}.{}", quote(to), quote(from)));
            let set = set.collect::<Vec<_>>().join(" AND ");
            let same = same.collect::<Vec<_>>().join(" AND ");
            gone += judge.execute(
                &format!(
                    "DELETE FROM {child} WHERE {set} AND NOT EXISTS (SELECT 1 FROM {} p WHERE {same})",
                    quote(parent)
                ),
                [],
            )?;
        }
    }
    Ok(gone)
}
