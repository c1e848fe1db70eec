//! Columns whose names were given to new ones before anybody looked: `RENAME COLUMN a TO b`, then `ADD COLUMN a`. By its
//! names such a table has one column more; `a` seems to hold other values than before, its default, and those would replace
//! everybody's. So the values decide: a row that nobody wrote shows in `b` what its document says of `a`.
//!
//! Where the migration wrote every row, its places decide as well: `ALTER TABLE` leaves a renamed column where it stood and puts
//! an added one last. An app that adds `b`, copies `a` into it and writes `a` anew ends with `b` last. One that copies `a`,
//! drops it and adds it again may end with the same table, and has renamed it by hand.

use driftless_protocol::Value;
use rusqlite::Transaction;

use super::compared_rows::{self, Compared};
use crate::error::Result;
use crate::schema::column_changes::{self, TookPlace};
use crate::schema::sql_text::same_but_name;
use crate::schema::{Column, Table, definitions};
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
    /// Whether the values prove it. If not, `status` asks the user.
    pub(crate) is_certain: bool,
}

/// Two columns, by their places in the table: `old` has a known name, `new` is new and may be the same column renamed.
struct Pair {
    old: usize,
    new: usize,
    /// Rows that nobody has written since they were captured, and that agree or say otherwise.
    untouched: Votes,
    /// The same of all rows.
    all: Votes,
    /// Whether `new` stands where `old` stood, in a table that was not made anew.
    took_place: TookPlace,
    /// The values that stand in `new` in the table and in `old` in the documents.
    moved: Moved,
    /// Whether every row shows in `new` what its document says of `old`, whatever it has in `old`.
    is_shown: bool,
}

#[derive(Default)]
struct Votes {
    agree: u32,
    disagree: u32,
}

/// How telling the values are that moved from one column to another.
#[derive(Default)]
struct Moved {
    first: Option<Value<'static>>,
    /// Whether there are several: no default and no single statement gives a column those of another by chance.
    differ: bool,
    /// Whether one is not the new column's default.
    any_written: bool,
}

/// The columns of a table that are new since the last look and may be one that was there, whose name has another column now.
/// `watched`: our triggers saw every write since, so that rows which they did not mark prove it.
pub(crate) fn find(tx: &Transaction<'_>, entry: &Entry, table: &Table, watched: bool) -> Result<Vec<Reused>> {
    let mut pairs = pairs(entry, table, watched);
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let travels = |at: usize| column_changes::travels(entry, &fold(&table.columns[at].spelled)).to_owned();
    compared_rows::each(tx, entry, table, |Compared { state, row, is_marked }| {
        for pair in &mut pairs {
            let Some(was) = state.value(&travels(pair.old)) else { continue };
            let (old, new) = (&table.columns[pair.old], &table.columns[pair.new]);
            let seen = Seen {
                kept: old.shows_for(tx, was, &row[pair.old])?,
                moved: new.shows_for(tx, was, &row[pair.new])?,
                is_default: old.default.as_ref() == Some(&row[pair.old]),
                is_untouched: watched && !is_marked,
            };
            pair.count(&seen, watched, was, new);
        }
        pairs.retain(Pair::is_open);
        Ok(!pairs.is_empty())
    })?;
    let before = definitions::find(tx, &entry.name)?.and_then(|definition| definition.sql);
    Ok(chosen(entry, table, pairs, before.as_deref()))
}

/// One row's evidence about a pair of columns.
struct Seen {
    /// The old column has what the document says of it.
    kept: bool,
    /// The new column has that.
    moved: bool,
    /// The old column has its default.
    is_default: bool,
    /// Nobody has written the row since it was captured.
    is_untouched: bool,
}

impl Pair {
    /// Whether more rows may still tell of it.
    fn is_open(&self) -> bool {
        self.all.agree > 0 || self.all.disagree < ENOUGH || self.took_place != TookPlace::No
    }

    /// Counts a row whose document says `was` of the old column.
    fn count(&mut self, seen: &Seen, watched: bool, was: &Value<'_>, new: &Column) {
        self.is_shown &= seen.moved;
        if seen.moved && seen.kept && seen.is_default {
            return;
        }
        let (moved, by_itself) = (seen.moved && !seen.kept, seen.is_default || !watched);
        if seen.is_untouched {
            self.untouched.count(moved && by_itself);
        }
        match self.took_place {
            TookPlace::No => self.all.count(moved && by_itself),
            // The new column of the old name was given the old values: that says neither.
            _ if seen.moved && seen.kept => {}
            _ => self.all.count(moved),
        }
        if seen.moved {
            self.moved.add(was, new);
        }
    }

    /// Whether the column was renamed for certain. `others`: all pairs; `before`: the table's definition before.
    fn is_certain(&self, table: &Table, others: &[Self], before: Option<&str>) -> bool {
        if self.untouched.disagree > 0 {
            return false;
        }
        let names = |at: usize| &*table.columns[at].spelled;
        let is_telling = match self.took_place {
            TookPlace::No => false,
            TookPlace::Last => self.moved.differ,
            TookPlace::BeforeOthers => self.moved.any_written,
        };
        let is_rival = |other: &Self| other.new == self.new && other.old != self.old && other.is_shown;
        self.untouched.agree > 0
            || is_telling
                && self.all.agree > 0
                && self.all.disagree == 0
                && !others.iter().any(is_rival)
                && before
                    .is_some_and(|before| same_but_name(before, names(self.old), &table.sql, names(self.new)))
    }

    /// Whether the user is to be asked. Only a renamed column has others of before behind it.
    fn is_likely(&self) -> bool {
        self.untouched.disagree == 0
            && (self.all.agree > self.all.disagree || self.took_place == TookPlace::BeforeOthers)
    }
}

impl Moved {
    fn add(&mut self, value: &Value<'_>, new: &Column) {
        self.any_written |= new.default.as_ref() != Some(value);
        match &self.first {
            None => self.first = Some(value.clone().into_owned()),
            Some(first) => self.differ |= first != value,
        }
    }
}

impl Votes {
    fn count(&mut self, agrees: bool) {
        if agrees {
            self.agree += 1;
        } else {
            self.disagree += 1;
        }
    }
}

fn pairs(entry: &Entry, table: &Table, watched: bool) -> Vec<Pair> {
    let in_key = |at: usize| table.key.iter().any(|key| key.at == at);
    let (known, new): (Vec<usize>, Vec<usize>) = (0..table.columns.len())
        .filter(|at| !in_key(*at))
        .partition(|at| column_changes::place(entry, &fold(&table.columns[*at].spelled)).is_some());
    let took_place = |old, new| match watched {
        true => column_changes::took_place(entry, table, old, new),
        false => TookPlace::No,
    };
    let pair = |old, new| Pair {
        old,
        new,
        untouched: Votes::default(),
        all: Votes::default(),
        took_place: took_place(old, new),
        moved: Moved::default(),
        is_shown: true,
    };
    new.into_iter().flat_map(|new| known.iter().map(move |old| pair(*old, new))).collect()
}

/// Each column once. Of several that hold the same, the one that stands where the other stood: a renamed column stays in its
/// place.
fn chosen(entry: &Entry, table: &Table, mut pairs: Vec<Pair>, before: Option<&str>) -> Vec<Reused> {
    let name = |at: usize| fold(&table.columns[at].spelled);
    pairs.sort_by_key(|pair| column_changes::place(entry, &name(pair.old)) != Some(pair.new));
    let mut reused: Vec<Reused> = Vec::new();
    for pair in &pairs {
        let (old, new) = (name(pair.old), name(pair.new));
        let is_certain = pair.is_certain(table, &pairs, before);
        let is_taken = reused.iter().any(|other| other.old == old || other.new == new);
        if (is_certain || pair.is_likely()) && !is_taken {
            reused.push(Reused { old, new, is_certain });
        }
    }
    reused
}
