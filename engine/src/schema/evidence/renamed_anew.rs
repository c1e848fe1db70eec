//! Columns that a migration renamed while it made the table anew: one went, one came, and the rows show in the new one what their
//! documents say of the old one. So they do only where the column was copied under a new name.
//!
//! Rows that were written since they were last captured may have any value, so they count only if there are no others. A
//! migration that renames a column and tidies its values leaves most of them alone. Where none is left as it was, or where all that
//! a column held is its default, the rows do not tell, and `status` asks.

use driftless_protocol::Value;
use rusqlite::Transaction;

use super::compared_rows::{self, Compared};
use crate::error::Result;
use crate::schema::{Table, column_names};
use crate::store::fold;
use crate::store::tables::Entry;

/// A column that went and one that came, and what the rows say of the two.
struct Pair {
    /// Folded.
    went: String,
    /// The place of the one that came.
    at: usize,
    untouched: Votes,
    written: Votes,
    /// Whether somebody has written in a column of the new name that was not known to be the old one. That was never shown here.
    is_taken: bool,
}

/// How many rows show a value that moved, and how many show another.
#[derive(Default)]
struct Votes {
    moved: u32,
    differ: u32,
}

/// Those of `pairs` (a column that went, one that came; folded names) that are one column, by what the rows hold.
pub(crate) fn find(
    tx: &Transaction<'_>,
    entry: &Entry,
    table: &Table,
    pairs: &[(String, String)],
) -> Result<Vec<(String, String)>> {
    let pair = |(went, came): &'_ (String, String)| {
        let at = table.called(came)?;
        Some(Pair {
            went: went.clone(),
            at,
            untouched: Votes::default(),
            written: Votes::default(),
            is_taken: false,
        })
    };
    let mut pairs: Vec<Pair> = pairs.iter().filter_map(pair).collect();
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    compared_rows::each(tx, entry, table, |Compared { state, row, is_marked }| {
        for pair in &mut pairs {
            let Some(was) = state.value(column_names::travelled(entry, &pair.went)) else { continue };
            let came = fold(&table.columns[pair.at].spelled);
            pair.is_taken |= state.value(column_names::travelled(entry, &came)).is_some();
            let (column, now) = (&table.columns[pair.at], &row[pair.at]);
            let votes = if *is_marked { &mut pair.written } else { &mut pair.untouched };
            if !column.shows_for(tx, was, now)? {
                votes.differ += 1;
            } else if *now != Value::Null && column.default.as_ref() != Some(now) {
                votes.moved += 1;
            }
        }
        Ok(true)
    })?;
    let renamed = pairs.into_iter().filter(Pair::is_renamed);
    Ok(renamed.map(|pair| (pair.went, fold(&table.columns[pair.at].spelled))).collect())
}

impl Pair {
    fn is_renamed(&self) -> bool {
        let Self { untouched, written, is_taken, .. } = self;
        !is_taken
            && (untouched.moved > untouched.differ
                || untouched.moved + untouched.differ == 0 && written.moved > written.differ)
    }
}
