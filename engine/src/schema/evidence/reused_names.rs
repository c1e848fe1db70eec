//! Columns of a table that was made anew, whose names were given to new ones in the same step: what was `a` is called `b`, and
//! there is another `a`. By its names such a table has one column more; `a` seems to hold other values than before, its default.
//! The values tell which column may be which: the rows show in `b` what their documents say of `a`. They prove nothing,
//! since the app may have copied `a` into a new column and written `a` anew, so `status` asks.

use rusqlite::Transaction;

use super::compared_rows::{self, Compared};
use crate::error::Result;
use crate::schema::Table;
use crate::schema::column_changes;
use crate::schema::column_names;
use crate::store::fold;
use crate::store::tables::Entry;

/// A pair of columns is dropped after so many rows that disagree while none agrees.
const ENOUGH: u32 = 10;

/// A column that was renamed and whose name was then given to a new column. Names are folded.
#[derive(Debug)]
pub(crate) struct Reused {
    /// Its name before.
    pub(crate) old: String,
    /// Its name now.
    pub(crate) new: String,
    /// Whether it is so. If not, `status` asks the user.
    pub(crate) is_certain: bool,
}

/// Two columns, by their places in the table: `old` has a known name, `new` is new and may be the same column renamed.
struct Pair {
    old: usize,
    new: usize,
    /// Rows that agree, and that say otherwise.
    agree: u32,
    disagree: u32,
}

/// The columns of a table that are new since the last look and may be one that was there, whose name has another column now.
pub(crate) fn find(tx: &Transaction<'_>, entry: &Entry, table: &Table) -> Result<Vec<Reused>> {
    let mut pairs = pairs(entry, table);
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let travels = |at: usize| column_names::travels(entry, &fold(&table.columns[at].spelled)).to_owned();
    compared_rows::each(tx, entry, table, |Compared { state, row, .. }| {
        for pair in &mut pairs {
            let Some(was) = state.value(&travels(pair.old)) else { continue };
            let (old, new) = (&table.columns[pair.old], &table.columns[pair.new]);
            let kept = old.shows_for(tx, was, &row[pair.old])?;
            let moved = new.shows_for(tx, was, &row[pair.new])?;
            if moved && kept && old.default.as_ref() == Some(&row[pair.old]) {
                continue; // says neither
            }
            if moved && !kept {
                pair.agree += 1;
            } else {
                pair.disagree += 1;
            }
        }
        pairs.retain(|pair| pair.agree > 0 || pair.disagree < ENOUGH);
        Ok(!pairs.is_empty())
    })?;
    Ok(chosen(entry, table, pairs))
}

fn pairs(entry: &Entry, table: &Table) -> Vec<Pair> {
    let in_key = |at: usize| table.key.iter().any(|key| key.at == at);
    let (known, new): (Vec<usize>, Vec<usize>) = (0..table.columns.len())
        .filter(|at| !in_key(*at))
        .partition(|at| column_changes::place(entry, &fold(&table.columns[*at].spelled)).is_some());
    let pair = |old, new| Pair { old, new, agree: 0, disagree: 0 };
    new.into_iter().flat_map(|new| known.iter().map(move |old| pair(*old, new))).collect()
}

/// Those of which more rows agree than not, each column once. Of several that hold the same, the one that stands where the
/// other stood: whoever copies a table mostly leaves its columns in their places.
fn chosen(entry: &Entry, table: &Table, mut pairs: Vec<Pair>) -> Vec<Reused> {
    let name = |at: usize| fold(&table.columns[at].spelled);
    pairs.sort_by_key(|pair| column_changes::place(entry, &name(pair.old)) != Some(pair.new));
    let mut reused: Vec<Reused> = Vec::new();
    for pair in pairs.iter().filter(|pair| pair.agree > pair.disagree) {
        let (old, new) = (name(pair.old), name(pair.new));
        if !reused.iter().any(|other| other.old == old || other.new == new) {
            reused.push(Reused { old, new, is_certain: false });
        }
    }
    reused
}
