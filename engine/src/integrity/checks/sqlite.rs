//! SQLite's own checks: of the whole file, the user's indexes included, and of foreign keys.

use rusqlite::Connection;

use super::rows;
use crate::error::{Doing, Result};
use crate::integrity::report::{Findings, plural};
use crate::replica::repair::Part;
use crate::store::tables::{self, State};
use crate::store::{fold, sql};

pub(in crate::integrity) fn check(connection: &Connection, found: &mut Findings) -> Result<()> {
    whole_file(connection, found)?;
    foreign_keys(connection, found)
}

const DOING: &str = "checking the database";

fn whole_file(connection: &Connection, found: &mut Findings) -> Result<()> {
    let lines: Vec<String> = sql::list(connection, DOING, "PRAGMA integrity_check(1000)", [], sql::first)?;
    found.check("sqlite").looked_at = 1;
    for line in lines.into_iter().filter(|line| line != "ok") {
        // "row 7 missing from index x", "wrong # of entries in index x", "non-unique entry in index x"
        if let Some((_, index)) = line.split_once(" index ") {
            found.rebuild(Part::Index(index.to_owned()));
        }
        found.check("sqlite").differs(None, None, line);
    }
    Ok(())
}

fn foreign_keys(connection: &Connection, found: &mut Findings) -> Result<()> {
    let tracked: Vec<String> = tables::all(connection)?
        .into_iter()
        .filter(|entry| entry.state == State::Tracked)
        .map(|entry| fold(&entry.spelled))
        .collect();
    let undecided = rows::undecided(connection)?;
    let mut statement = connection.prepare("PRAGMA foreign_key_check").doing(DOING)?;
    let mut rows = match statement.query([]) {
        Ok(rows) => rows,
        // A key that refers to columns without a UNIQUE index: SQLite would refuse every write too.
        Err(error) => {
            found.check("sqlite").notes.push(format!("foreign keys were not checked: {error}"));
            return Ok(());
        }
    };
    let mut others = 0;
    while let Some(row) = rows.next().doing(DOING)? {
        let table: String = row.get(0).doing(DOING)?;
        let (rowid, parent): (Option<i64>, String) = (row.get(1).doing(DOING)?, row.get(2).doing(DOING)?);
        if !tracked.contains(&fold(&table)) {
            others += 1;
            continue;
        }
        // A rebuilt table may be missing rows that are not decided yet.
        if undecided.contains(&fold(&table)) || undecided.contains(&fold(&parent)) {
            continue;
        }
        let row = rowid.map_or("a row".to_owned(), |rowid| format!("the row with rowid {rowid}"));
        let what = format!("{row} refers to a row of {parent} that is not there");
        found.check("sqlite").differs(Some(table), None, what);
        found.rebuild(Part::Lists);
    }
    if others > 0 {
        let rows = plural(
            others,
            "row of a table that is not tracked refers",
            "rows of tables that are not tracked refer",
        );
        found.check("sqlite").notes.push(format!("{rows} to rows that are not there"));
    }
    Ok(())
}
