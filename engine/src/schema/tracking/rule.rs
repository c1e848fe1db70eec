//! The rule that `track --all` leaves behind: tables that are made later are tracked too. A clone has another: tables that
//! are made later and that the space knows are tracked, since the app that it is for makes them everywhere.
//!
//! A running engine looks when the schema has changed, and tracks a new table once it has been left alone for a while:
//! migrations make a table under a passing name, fill it, drop the old one and rename it, not always in one transaction, and
//! nobody else should ever hear of the passing name. An engine that opens a file asks when that was last written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rusqlite::{Connection, Transaction};

use super::{Known, judge, track_one};
use crate::config::TableOptions;
use crate::error::refusal::Refusal;
use crate::error::{Error, Result};
use crate::schema::eligibility;
use crate::schema::inventory::{self, Inventory};
use crate::schema::{Table, definitions, installed, passing_names, unchanged};
use crate::store::kinds::Kinds;
use crate::store::tables::{self, Entry, State};
use crate::store::{fold, identity, quote};

/// How long a new table must have been left alone, in milliseconds.
const QUIET: i64 = 2_000;
/// A table that is written to all the time is tracked after so long, in milliseconds.
const LONGEST: i64 = 30_000;
/// How often a table that waits is looked at, in milliseconds.
const LOOK_EVERY: i64 = 500;

/// Makes it the rule that tables to come are tracked with these options. Kinds are of columns that are there, so they are
/// no part of it.
pub(crate) fn set(tx: &Transaction<'_>, options: &TableOptions) -> Result<()> {
    let mut words = vec!["on"];
    words.extend(options.allow_integer_key.then_some("integer_key"));
    words.extend(options.deletes_win.then_some("deletes_win"));
    identity::set_rule(tx, Some(&words.join(" ")))
}

/// Makes it the rule that tables to come are tracked if the space knows them.
pub(crate) fn set_space(tx: &Transaction<'_>) -> Result<()> {
    identity::set_rule(tx, Some("space"))
}

/// Ends the rule. Tables that are tracked stay so.
pub(crate) fn end(tx: &Transaction<'_>) -> Result<()> {
    identity::set_rule(tx, None)
}

/// Which tables to come are tracked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rule {
    /// All, with these options.
    All(TableOptions),
    /// Those that the space defines, with its options.
    Space,
}

impl Rule {
    /// The rule of a file, if it has one.
    pub(crate) fn of(connection: &Connection) -> Result<Option<Self>> {
        let Some(rule) = identity::rule(connection)? else { return Ok(None) };
        let has = |word: &str| rule.split(' ').any(|known| known == word);
        if has("space") {
            return Ok(Some(Self::Space));
        }
        Ok(Some(Self::All(TableOptions {
            allow_integer_key: has("integer_key"),
            deletes_win: has("deletes_win"),
            kinds: Kinds::new(),
        })))
    }

    fn is_for(&self, known: &Known, name: &str) -> bool {
        matches!(self, Self::All(_)) || known.defined.contains_key(name)
    }

    /// The options for a table. What the space says of it counts for more than the rule.
    fn options(&self, tx: &Transaction<'_>, known: &Known, name: &str) -> Result<TableOptions> {
        let mut options = match self {
            Self::All(options) => options.clone(),
            Self::Space => TableOptions::default(),
        };
        if let Some(travels) = known.defined.get(name)
            && let Some(definition) = definitions::find(tx, travels)?
        {
            options.deletes_win = definition.options.deletes_win;
            options.allow_integer_key |= definition.options.allow_integer_key;
        }
        Ok(options)
    }
}

/// New tables that a running engine has seen and does not track yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Newcomers {
    /// By folded name.
    waiting: BTreeMap<String, Seen>,
    /// When tables were last looked at, in milliseconds since 1970; `None` until the engine has looked at the file.
    looked: Option<i64>,
    /// The space says something new of its tables, or a name has become free.
    space_changed: bool,
    /// A table does not fit for what is in it, which may change without the schema.
    unfit: bool,
}

#[derive(Debug, Clone)]
struct Seen {
    /// Since when it is there, and since when it is as it is now: milliseconds since 1970.
    first: i64,
    since: i64,
    /// Its last row, which moves while it is filled.
    last_row: Option<i64>,
}

impl Newcomers {
    /// Whether tables wait and are to be looked at again.
    pub(crate) fn is_due(&self, now: i64) -> bool {
        // A clock that was set back must not keep them waiting.
        let looked = self.looked.unwrap_or_default();
        let waits = !self.waiting.is_empty() || self.space_changed;
        waits && !(looked..looked + LOOK_EVERY).contains(&now)
    }

    /// A table that is here may be one now that the rule is for: the space knows it, or has given up another of its name.
    pub(crate) fn space_changed(&mut self) {
        self.space_changed = true;
    }

    /// In how long a table may be tracked that waits; `None` if none does.
    pub(crate) fn due_in(&self, now: i64) -> Option<Duration> {
        let due = |seen: &Seen| (seen.since + QUIET).min(seen.first + LONGEST);
        let due = self.waiting.values().map(due).min()?.max(self.looked.unwrap_or_default() + LOOK_EVERY);
        Some(Duration::from_millis((due - now).clamp(0, LONGEST) as u64))
    }

    /// Tracks what the rule demands, if there is one. `written`: when the file was last written, as far as is known: at the
    /// engine's first look at the file a table waits only if that was a moment ago.
    pub(crate) fn look(&mut self, tx: &Transaction<'_>, now: i64, written: i64) -> Result<()> {
        let opening = self.looked.replace(now).is_none();
        self.space_changed = false;
        let Some(rule) = Rule::of(tx)? else {
            self.waiting.clear();
            return Ok(());
        };
        if opening && unchanged::is_unchanged(tx)? {
            return Ok(());
        }
        let known = Known::read(tx)?;
        let (mut begun, mut still) = (Vec::new(), BTreeMap::new());
        self.unfit = false;
        for (name, table) in candidates(tx, &known, &rule)? {
            if eligibility::check_rows(tx, &table)?.is_err() {
                self.unfit = true;
                continue;
            }
            let last_row = last_row(tx, &table);
            let first = if opening { written.min(now) } else { now };
            let seen = self.waiting.remove(&name).unwrap_or(Seen { first, since: first, last_row });
            let since = if seen.last_row == last_row { seen.since } else { now };
            if (0..QUIET).contains(&(now - since)) && (0..LONGEST).contains(&(now - seen.first)) {
                still.insert(name, Seen { first: seen.first, since, last_row });
                continue;
            }
            begun.extend(track(tx, &known, &name, &rule, now)?);
        }
        self.waiting = still;
        remember(tx, begun.iter().map(|(table, _)| *table), now)?;
        installed::install_all(tx, &begun, &known.inventory)?;
        Ok(())
    }

    /// Whether the next opening is to look at the tables again, whatever else has changed.
    pub(crate) fn wait(&self) -> bool {
        !self.waiting.is_empty() || self.unfit || self.space_changed
    }
}

/// Remembers which tables nobody asked for by name: one of them may have had a passing name.
pub(crate) fn remember(tx: &Transaction<'_>, tables: impl Iterator<Item = i64>, now: i64) -> Result<()> {
    let mut tables = tables.map(|table| (table, now)).peekable();
    if tables.peek().is_none() {
        return Ok(());
    }
    let mut newcomers = identity::newcomers(tx)?;
    newcomers.retain(|(_, at)| now - at < passing_names::PASSING);
    newcomers.extend(tables);
    identity::set_newcomers(tx, &newcomers)
}

/// The tables that are not tracked and that the rule is for, by folded name; what is in them is not looked at.
fn candidates(tx: &Transaction<'_>, known: &Known, rule: &Rule) -> Result<Vec<(String, Table)>> {
    let mut candidates = Vec::new();
    for object in known.inventory.user_tables() {
        let name = fold(&object.name);
        let entry = known.entry(tx, &name)?;
        // One that was given up, or that changed so that it does not fit, is reconciled or stays as it is.
        if entry.is_some_and(|entry| entry.state != State::Unknown) || !rule.is_for(known, &name) {
            continue;
        }
        let Some(look @ Ok(table)) = known.looks.get(&name) else { continue };
        let options = rule.options(tx, known, &name)?;
        if judge(tx, known, object, look, &options)?.is_ok() {
            candidates.push((name, table.clone()));
        }
    }
    Ok(candidates)
}

/// Returns the table and its number; `None` if it cannot be tracked, which `status` tells of.
fn track(
    tx: &Transaction<'_>,
    known: &Known,
    name: &str,
    rule: &Rule,
    now: i64,
) -> Result<Option<(i64, Table)>> {
    let options = rule.options(tx, known, name)?;
    match track_one(tx, known, name, &options, now) {
        Ok((spelled, begun)) => {
            tracing::warn!(table = spelled, "a new table is tracked from now on");
            Ok(begun)
        }
        Err(Error::NotTrackable { table, refusal }) => {
            tracing::warn!(table, %refusal, "a new table is not tracked");
            Ok(None)
        }
        Err(error @ Error::Contradiction { .. }) => {
            tracing::warn!(table = name, %error, "a new table is not tracked");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The highest rowid of a table; `None` where it is empty or has none.
fn last_row(tx: &Transaction<'_>, table: &Table) -> Option<i64> {
    // WITHOUT ROWID: then only the schema tells whether it is left alone.
    tx.query_row(&format!("SELECT max(rowid) FROM main.{}", quote(&table.spelled)), [], |row| row.get(0))
        .ok()
        .flatten()
}

/// The tables of the user's that are not tracked, in the order of their making, with the reason; `None`: nobody asked for
/// them to be tracked, or the rule is about to.
pub(crate) fn untracked(tx: &Transaction<'_>) -> Result<Vec<(String, Option<Refusal>)>> {
    let is_known = |entry: &Entry| matches!(entry.state, State::Tracked | State::Unfit);
    let tracked: BTreeSet<String> =
        tables::all(tx)?.iter().filter(|entry| is_known(entry)).map(|entry| fold(&entry.spelled)).collect();
    if inventory::user_tables(tx)?.iter().all(|name| tracked.contains(&fold(name))) {
        return Ok(Vec::new());
    }
    let known = Known::with(tx, Inventory::read_users(tx)?)?;
    let rule = Rule::of(tx)?;
    let mut untracked = Vec::new();
    for object in known.inventory.user_tables() {
        let name = fold(&object.name);
        let entry = known.entry(tx, &name)?;
        if entry.is_some_and(|entry| is_known(&entry)) {
            continue;
        }
        let Some(look) = known.looks.get(&name) else { continue };
        let rule = rule.as_ref().filter(|rule| rule.is_for(&known, &name));
        let options = match rule {
            Some(rule) => rule.options(tx, &known, &name)?,
            None => Rule::Space.options(tx, &known, &name)?,
        };
        let mut judged = judge(tx, &known, object, look, &options)?;
        // Where the rule would have tracked it, its rows are the reason that it has not.
        if let (Ok(()), Ok(table), true) = (&judged, look, rule.is_some()) {
            judged = eligibility::check_rows(tx, table)?;
        }
        match judged {
            Err(Refusal::Shadow) => {}
            judged => untracked.push((object.name.clone(), judged.err())),
        }
    }
    Ok(untracked)
}
