//! Slow migrations: a table is made under a passing name, filled, and given the old table's name, with seconds between the
//! steps. With `track --all` the passing name has been tracked by then. When a tracked table takes the name of one that is gone
//! from the file, it is that table's new form: the entry of the passing name is given up, and the old table's entry goes on.

use std::collections::{BTreeMap, HashMap};

use driftless_protocol::Value;
use rusqlite::Transaction;

use super::definitions::{self, Definition};
use super::introspect::Look;
use super::lifecycle;
use crate::error::{Doing, Result};
use crate::store::tables::{Entry, State};
use crate::store::{documents, fold, identity, quote, value};

/// So long a table may have had a passing name, in milliseconds: a day. A migration that takes longer is none.
pub(crate) const PASSING: i64 = 24 * 60 * 60 * 1000;
/// So many rows of a renamed table are looked for among those of the table whose name it took.
const COMPARED: i64 = 1000;

/// Finds the tables that are new forms of others. Returns their numbers, each with the name of the other. `places`: the folded
/// names of the tables that the triggers of each number are on.
pub(super) fn new_forms(
    tx: &Transaction<'_>,
    entries: &[Entry],
    places: &HashMap<i64, String>,
    is_retired: impl Fn(&Entry) -> bool,
    known: &BTreeMap<String, Look>,
    now: i64,
) -> Result<HashMap<i64, String>> {
    let mut new_forms = HashMap::new();
    for (new, old, name) in candidates(entries, places, is_retired, |name| known.contains_key(name)) {
        if is_new_form(tx, new, old, name, known, now)? {
            new_forms.insert(new.id, old.spelled.clone());
        }
    }
    Ok(new_forms)
}

/// Pairs of tables: one that has the name of another, and that other, which is gone from this file. `is_there`: whether a
/// table has that name.
fn candidates<'a>(
    entries: &'a [Entry],
    places: &HashMap<i64, String>,
    is_retired: impl Fn(&Entry) -> bool,
    is_there: impl Fn(&str) -> bool,
) -> Vec<(&'a Entry, &'a Entry, TookName)> {
    let is_gone = |entry: &&Entry| {
        matches!(entry.state, State::Tracked | State::Missing | State::Unfit)
            && !places.contains_key(&entry.id)
            && !is_retired(entry)
    };
    let gone: Vec<&Entry> = entries.iter().filter(is_gone).collect();
    let mut found = Vec::new();
    for entry in entries.iter().filter(|entry| entry.state == State::Tracked) {
        let Some(under) = places.get(&entry.id) else { continue };
        let has_last_name = |gone: &&&Entry| fold(&gone.spelled) == *under && fold(&entry.spelled) != *under;
        let has_first_name = |gone: &&&Entry| gone.name == *under && !is_there(&fold(&gone.spelled));
        if let Some(old) = gone.iter().find(has_last_name) {
            found.push((entry, *old, TookName::Last));
        } else if let Some(old) = gone.iter().find(has_first_name) {
            found.push((entry, *old, TookName::First));
        }
    }
    found
}

/// Which name of a table that is gone another has now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TookName {
    /// The one that it had at the end: the other was renamed then.
    Last,
    /// The one that it had before somebody renamed it, and that the other got then.
    First,
}

/// Whether the table `new`, which took the name of the table `old`, is the new form of `old`: a slow migration made it under a
/// passing name, or renamed the old one first. If not, both stay the tables that they were.
fn is_new_form(
    tx: &Transaction<'_>,
    new: &Entry,
    old: &Entry,
    name: TookName,
    known: &BTreeMap<String, Look>,
    now: i64,
) -> Result<bool> {
    let is_recent = |&(table, at): &(i64, i64)| table == new.id && now - at < PASSING;
    match (identity::newcomers(tx)?.iter().any(is_recent), name) {
        (true, TookName::Last) => return Ok(true),
        (false, TookName::First) => return Ok(false),
        // Tracked by its name, or when the old one was renamed: two tables, as far as is known. The rows tell, unless SQLite
        // drew their keys: those are the same in many tables.
        (false, TookName::Last) | (true, TookName::First) => {}
    }
    let under = if name == TookName::Last { fold(&old.spelled) } else { old.name.clone() };
    let Some(Ok(table)) = known.get(&under) else { return Ok(false) };
    if table.integer_key {
        return Ok(false);
    }
    let doing = "looking at the rows of a renamed table";
    let mut keys = tx
        .prepare(&format!(
            "SELECT {} FROM main.{} LIMIT {COMPARED}",
            table.key_columns(),
            quote(&table.spelled)
        ))
        .doing(doing)?;
    let mut rows = keys.query([]).doing(doing)?;
    let (mut shared, mut others) = (0, 0);
    while let Some(row) = rows.next().doing(doing)? {
        let values: Vec<Value<'_>> = (0..table.key.len())
            .map(|at| Ok(value(row.get_ref(at)?)))
            .collect::<rusqlite::Result<_>>()
            .doing(doing)?;
        let is_shared = match table.row_key(&values) {
            Ok(key) => documents::get(tx, old.id, key.as_bytes())?.is_some(),
            Err(_) => false,
        };
        *(if is_shared { &mut shared } else { &mut others }) += 1;
    }
    Ok(shared > others)
}

/// Gives up the entry that a table got under a passing name, here and in the space. The rows are captured as those of the
/// table that was rebuilt.
pub(super) fn retire(
    tx: &Transaction<'_>,
    mut entry: Entry,
    rebuilt: &str,
    definitions: &BTreeMap<String, Definition>,
    now: i64,
) -> Result<()> {
    tracing::info!(table = %entry.spelled, rebuilt, "a table was rebuilt under a passing name, which is given up");
    if let Some(definition) = definitions.get(&entry.name) {
        definitions::put(tx, &Definition { retired: true, ..definition.clone() }, now)?;
    }
    entry.reason =
        Some(format!("it was renamed to '{rebuilt}', which a migration made anew under this name"));
    lifecycle::end_as(tx, entry, State::Missing)
}
