//! Columns whose names were given to new ones before anybody looked: `RENAME COLUMN a TO b`, then `ADD COLUMN a`. By its
//! names such a table has one column more; `a` seems to hold other values than before, its default, and those would replace
//! everybody's. So the values decide: a row that nobody wrote shows in `b` what its document says of `a`.

use std::collections::HashSet;

use driftless_protocol::{RowKey, Value};
use rusqlite::{Transaction, params_from_iter};

use crate::error::{Doing, Error, Result};
use crate::row_doc;
use crate::schema::reconcile::Reused;
use crate::schema::{Table, Tracked, column_changes};
use crate::store::renames::Renames;
use crate::store::tables::Entry;
use crate::store::{Bind, backlog, dirty, documents, fold, texts, value};

/// At most so many documents are compared with their rows. A renamed column shows in the first ones.
const COMPARED: usize = 1000;
/// A pair of columns is dropped after so many rows that disagree while none agrees.
const ENOUGH: u32 = 10;

/// Two columns, by their places in the table: `old` has a known name, `new` is new and may be the same column renamed.
struct Pair {
    old: usize,
    new: usize,
    /// Rows that nobody has written since they were captured, and that agree or say otherwise.
    untouched: Votes,
    /// The same of all rows.
    all: Votes,
}

#[derive(Default)]
struct Votes {
    agree: u32,
    disagree: u32,
}

/// The columns of a table that are new since the last look and may be one that was there, whose name has another column now.
/// `watched`: our triggers saw every write since, so that rows which they did not mark prove it.
pub(crate) fn find(tx: &Transaction<'_>, entry: &Entry, table: &Table, watched: bool) -> Result<Vec<Reused>> {
    let mut pairs = pairs(entry, table);
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let before: Renames = entry
        .renames
        .iter()
        .filter(|(now, name)| !column_changes::is_named_apart(now, name))
        .cloned()
        .collect();
    let travels = |at: usize| column_changes::travels(entry, &fold(&table.columns[at].spelled)).to_owned();
    let mut marked = HashSet::new();
    for mut mark in dirty::read(tx, usize::MAX >> 1)?.into_iter().filter(|mark| mark.table == entry.id) {
        mark.key.truncate(table.key.len());
        marked.extend(table.row_key(&mark.key).ok().map(|key| key.as_bytes().to_vec()));
    }
    // These rows wait to be written from their documents, so they prove nothing.
    let unshown: HashSet<Vec<u8>> = backlog::to_refresh(tx, entry.id)?.into_iter().collect();
    let tracked = Tracked::new(entry.id, entry.name.clone(), entry.options.clone(), table.clone());
    for bytes in
        documents::keys(tx, entry.id)?.into_iter().filter(|key| !unshown.contains(key)).take(COMPARED)
    {
        let Some(row) = row(tx, &tracked, &bytes)? else { continue };
        let Some(stored) = documents::get(tx, entry.id, &bytes)? else { continue };
        // One that cannot be read is made anew when the row is captured.
        let Ok(lanes) = row_doc::lanes(&stored.body) else { continue };
        let mut state = lanes.renamed(&before).state(entry.options.deletes_win);
        if !state.alive {
            continue;
        }
        match texts::fill(tx, entry.id, &bytes, &mut state, |_| None) {
            Err(Error::TextDoc(_)) => continue,
            filled => filled?,
        }
        for pair in &mut pairs {
            let Some(was) = state.value(&travels(pair.old)) else { continue };
            let (old, new) = (&table.columns[pair.old], &table.columns[pair.new]);
            let kept = old.shows_for(tx, was, &row[pair.old])?;
            let moved = new.shows_for(tx, was, &row[pair.new])?;
            let is_default = old.default.as_ref() == Some(&row[pair.old]);
            let agrees = match (moved, kept) {
                (true, true) if is_default => continue,
                (moved, kept) => moved && !kept && (is_default || !watched),
            };
            pair.all.count(agrees);
            if watched && !marked.contains(&bytes) {
                pair.untouched.count(agrees);
            }
        }
        pairs.retain(|pair| pair.all.agree > 0 || pair.all.disagree < ENOUGH);
        if pairs.is_empty() {
            return Ok(Vec::new());
        }
    }
    Ok(chosen(entry, table, pairs))
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

fn pairs(entry: &Entry, table: &Table) -> Vec<Pair> {
    let in_key = |at: usize| table.key.iter().any(|key| key.at == at);
    let (known, new): (Vec<usize>, Vec<usize>) = (0..table.columns.len())
        .filter(|at| !in_key(*at))
        .partition(|at| column_changes::place(entry, &fold(&table.columns[*at].spelled)).is_some());
    let pair = |old, new| Pair { old, new, untouched: Votes::default(), all: Votes::default() };
    new.into_iter().flat_map(|new| known.iter().map(move |old| pair(*old, new))).collect()
}

/// The row of a document as its table has it.
fn row(tx: &Transaction<'_>, tracked: &Tracked, key: &[u8]) -> Result<Option<Vec<Value<'static>>>> {
    let doing = "looking for renamed columns";
    let Ok(key) = RowKey::from_bytes(key) else { return Ok(None) };
    let values = key.values();
    if values.len() != tracked.table.key.len() {
        return Ok(None);
    }
    let mut select = tx.prepare_cached(&tracked.select).doing(doing)?;
    let mut rows = select.query(params_from_iter(values.iter().map(Bind))).doing(doing)?;
    let Some(row) = rows.next().doing(doing)? else { return Ok(None) };
    let columns = 0..tracked.table.columns.len();
    columns
        .map(|at| Ok(value(row.get_ref(at)?).into_owned()))
        .collect::<rusqlite::Result<_>>()
        .map(Some)
        .doing(doing)
}

/// Each column once. Of several that hold the same, the one that stands where the other stood: a renamed column stays in its
/// place.
fn chosen(entry: &Entry, table: &Table, mut pairs: Vec<Pair>) -> Vec<Reused> {
    let name = |at: usize| fold(&table.columns[at].spelled);
    pairs.sort_by_key(|pair| column_changes::place(entry, &name(pair.old)) != Some(pair.new));
    let mut reused: Vec<Reused> = Vec::new();
    for pair in pairs {
        let (old, new) = (name(pair.old), name(pair.new));
        let is_certain = pair.untouched.agree > 0 && pair.untouched.disagree == 0;
        let is_likely = pair.untouched.disagree == 0 && pair.all.agree > pair.all.disagree;
        let is_taken = reused.iter().any(|other| other.old == old || other.new == new);
        if (is_certain || is_likely) && !is_taken {
            reused.push(Reused { old, new, is_certain });
        }
    }
    reused
}
