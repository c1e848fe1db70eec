//! Columns that may have been renamed together, so that one has the name of another: the rows decide. `ALTER TABLE` writes no
//! row, so in a row that nobody wrote each column shows, under its new name, what the document says of the old one. Where
//! another column was dropped and added again, those that stayed show what they had.

use driftless_protocol::Value;
use rusqlite::Transaction;

use super::compared_rows::{self, Compared};
use crate::error::Result;
use crate::schema::moved_names::Moved;
use crate::schema::{Table, column_changes};
use crate::store::tables::Entry;

/// Whether columns were renamed together, judged by the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The columns were renamed together.
    Renamed,
    /// The columns were not renamed together.
    NotRenamed,
    /// The rows do not tell.
    Unclear,
}

/// How many rows speak for a rename, and how many against it.
#[derive(Default)]
struct Votes {
    agree: u32,
    disagree: u32,
}

/// Judges by the rows of a table, which our triggers watched, whether columns were renamed together.
pub(crate) fn find(
    tx: &Transaction<'_>,
    entry: &Entry,
    table: &Table,
    Moved { moves, .. }: &Moved,
) -> Result<Answer> {
    let (mut untouched, mut written) = (Votes::default(), Votes::default());
    // Values that moved in rows that were written: a single one may stand there by chance.
    let mut values: Vec<Value<'static>> = Vec::new();
    compared_rows::each(tx, entry, table, |Compared { state, row, is_marked }| {
        let (mut moved, mut kept, mut neither) = (0, 0, 0);
        for one in moves {
            let column = &table.columns[one.at];
            let said = |name: &str| state.value(column_changes::travels(entry, name));
            let was = said(&one.old).or(column.default.as_ref());
            let namesake = moves.iter().find(|other| other.old == one.new);
            let default = namesake.and_then(|other| table.columns[other.at].default.as_ref());
            let shows = |value: Option<&Value<'_>>| match value {
                Some(value) => column.shows_for(tx, value, &row[one.at]),
                None => Ok(false),
            };
            match (shows(was)?, shows(said(&one.new).or(default))?) {
                (true, true) => {}
                (true, false) => {
                    moved += 1;
                    if !values.contains(&row[one.at]) && values.len() < 2 {
                        values.push(row[one.at].clone());
                    }
                }
                (false, true) => kept += 1,
                (false, false) => neither += 1,
            }
        }
        if !is_marked {
            untouched.agree += u32::from(moved > 0 && kept == 0 && neither == 0);
            untouched.disagree += u32::from(kept > 0 || neither > 0);
        } else {
            written.agree += u32::from(moved > 0 && kept == 0);
            written.disagree += u32::from(moved == 0 && kept > 0);
        }
        Ok(true)
    })?;
    Ok(match (untouched, written) {
        (Votes { disagree: 1.., .. }, _) => Answer::NotRenamed,
        (Votes { agree: 1.., .. }, _) => Answer::Renamed,
        (_, Votes { agree: 0, disagree: 1.. }) => Answer::NotRenamed,
        (_, Votes { agree: 1.., disagree: 0 }) if values.len() > 1 => Answer::Renamed,
        _ => Answer::Unclear,
    })
}
