//! Columns that a migration renamed while it made the table anew: one column is gone, another is new, and each row has in the new
//! column what its document says of the old one. Rows look like that only where the column was copied under a new name.
//!
//! A row that was written since it was last captured may have any value, so such rows count only if there are no others. A
//! migration may change some values while it renames a column, so most rows have to agree, not all. If no row agrees, or if the
//! column held nothing but its default, the rows do not tell, and `status` asks.

use std::cmp::Reverse;

use driftless_protocol::Value;
use rusqlite::Transaction;

use super::compared_rows::{self, Compared};
use crate::error::Result;
use crate::schema::rename_questions::Perhaps;
use crate::schema::{Column, Table, column_names};
use crate::store::tables::Entry;

/// A column that went and one that came, and what the rows say of the two.
struct Pair {
    perhaps: Perhaps,
    /// The place of the one that came.
    at: usize,
    untouched: Votes,
    written: Votes,
    /// The first value that moved, and whether another value moved as well.
    first: Option<Value<'static>>,
    differ: bool,
    /// How many rows have in the new column neither the old column's value nor the new column's default.
    filled: u32,
    /// Whether another machine has written under the new name before it was known to be the old column. This table never showed
    /// that, so the user is asked.
    is_taken: bool,
}

/// How many rows show a value that moved, and how many show another.
#[derive(Default)]
struct Votes {
    moved: u32,
    differ: u32,
}

/// What the rows say of columns that went and others that came. Names are folded.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Columns that were renamed: the names before, and now. Each column once.
    pub(crate) renamed: Vec<(String, String)>,
    /// New columns that are none of the others: all rows have their defaults where the others had something else.
    pub(crate) new: Vec<String>,
}

/// Asks the rows which of `pairs` are one column.
pub(crate) fn find(tx: &Transaction<'_>, entry: &Entry, table: &Table, pairs: Vec<Perhaps>) -> Result<Told> {
    let pair = |perhaps: Perhaps| {
        let at = table.called(&perhaps.came)?;
        let (untouched, written) = (Votes::default(), Votes::default());
        Some(Pair { perhaps, at, untouched, written, first: None, differ: false, filled: 0, is_taken: false })
    };
    let mut pairs: Vec<Pair> = pairs.into_iter().filter_map(pair).collect();
    if pairs.is_empty() {
        return Ok(Told::default());
    }
    compared_rows::each(tx, entry, table, |Compared { state, row, is_marked }| {
        for pair in &mut pairs {
            pair.is_taken |= state.value(column_names::travelled(entry, &pair.perhaps.came)).is_some();
            let Some(was) = state.value(column_names::travelled(entry, &pair.perhaps.went)) else { continue };
            let column = &table.columns[pair.at];
            let moved = column.shows_for(tx, was, &row[pair.at])?;
            pair.count(column, &row[pair.at], moved, *is_marked);
        }
        Ok(true)
    })?;
    let new = pairs.iter().filter(|pair| pair.is_unfilled()).map(|pair| pair.perhaps.came.clone()).collect();
    pairs.retain(Pair::is_renamed);
    pairs.sort_by_key(|pair| (!pair.perhaps.in_place, Reverse(pair.untouched.moved + pair.written.moved)));
    let mut renamed: Vec<(String, String)> = Vec::new();
    for Perhaps { went, came, .. } in pairs.into_iter().map(|pair| pair.perhaps) {
        if !renamed.iter().any(|(old, new)| *old == went || *new == came) {
            renamed.push((went, came));
        }
    }
    Ok(Told { renamed, new })
}

impl Pair {
    /// Counts a row that has `now` in the new column. `moved`: its document says so of the old one.
    fn count(&mut self, column: &Column, now: &Value<'static>, moved: bool, is_marked: bool) {
        let votes = if is_marked { &mut self.written } else { &mut self.untouched };
        if !moved {
            votes.differ += 1;
            self.filled += u32::from(column.default.as_ref() != Some(now));
        } else if *now != Value::Null && column.default.as_ref() != Some(now) {
            votes.moved += 1;
            match &self.first {
                None => self.first = Some(now.clone()),
                Some(first) => self.differ |= first != now,
            }
        }
    }

    /// Whether the new column has its default wherever the other had something else.
    fn is_unfilled(&self) -> bool {
        let Self { untouched, written, filled, .. } = self;
        untouched.moved + written.moved + filled == 0 && untouched.differ + written.differ > 0
    }

    /// Of a column that stands elsewhere, one value may be the same by chance.
    fn is_renamed(&self) -> bool {
        let Self { perhaps, untouched, written, differ, is_taken, .. } = self;
        !is_taken
            && (perhaps.in_place || *differ)
            && (untouched.moved > untouched.differ
                || untouched.moved + untouched.differ == 0 && written.moved > written.differ)
    }
}
