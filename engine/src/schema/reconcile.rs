//! Do the triggers still match the tables? Asked whenever SQLite's `schema_version` has moved, and as long as a table is in
//! the making.
//!
//! `ALTER TABLE` needs no ceremony: a new column brings new triggers and shows what others already wrote in it. A
//! table that was dropped keeps its documents; dropping a table is not deleting its rows. One that is there without our
//! triggers was rebuilt, as migrations do, or a tool dropped the triggers: what it holds was written without them
//! watching, and it is compared with its documents once it has been left alone; see [`super::rebuilt`].

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::column_changes::{self, Key};
use super::definitions::{self, Definition};
use super::eligibility::{self, Refusal};
use super::introspect::{self, Look};
use super::settling::Settling;
use super::triggers::{self, Trigger};
use super::{Catalog, Table, Tracked};
use super::{effects, rebuilt, warnings};
use crate::config::TableOptions;
use crate::error::{Doing, Result};
use crate::store::dirty::Why;
use crate::store::renames::{self, Renames};
use crate::store::tables::{self, DEFINITIONS, Entry, State};
use crate::store::{backlog, dirty, fold, quote};

/// What a look at the tables found.
#[derive(Debug)]
pub(crate) struct Reconciled {
    /// The tables to capture from and to materialize into.
    pub(crate) catalog: Catalog,
    /// New tables that have the name of a tracked one that was renamed, to be tracked in their own right like that one.
    pub(crate) took_a_name: Vec<(String, TableOptions)>,
}

/// Renews what is recorded of every table. `now`: milliseconds since 1970.
pub(crate) fn run(tx: &Transaction<'_>, settling: &mut Settling, now: i64) -> Result<Reconciled> {
    let mut looks = Vec::new();
    for entry in tables::all(tx)?.into_iter().filter(|entry| entry.id != DEFINITIONS) {
        if matches!(entry.state, State::Untracked | State::Unknown) {
            continue;
        }
        // What has its name now is another table.
        let is_retired = entry.state == State::Missing
            && definitions::find(tx, &entry.name)?.is_some_and(|definition| definition.retired);
        if !is_retired {
            let found = find(tx, &entry, settling, now)?;
            looks.push((entry, found));
        }
    }
    let mut effects = BTreeMap::new();
    for (entry, found) in &looks {
        if let Some(Ok(table)) = &found.look {
            effects.insert(entry.id, effects::of_triggers(tx, table)?);
        }
    }
    let watched: BTreeSet<String> = effects.values().flatten().cloned().collect();
    let took_a_name = looks
        .iter()
        .filter_map(|(entry, found)| Some((found.name_taken.clone()?, entry.options.without_kinds())))
        .collect();
    let mut tracked = vec![own(tx)?];
    let mut renewal = Renewal { tx, settling, watched, now };
    for (entry, found) in looks {
        tracked.extend(renewal.renew(entry, found)?);
    }
    settling.looked();
    let names: BTreeSet<String> = tracked.iter().map(|table| fold(&table.table.spelled)).collect();
    for table in &mut tracked {
        table.meddles = effects.get(&table.id).is_some_and(|written| !written.is_disjoint(&names));
    }
    let catalog = Catalog::new(tracked);
    for table in catalog.iter().filter(|table| table.id != DEFINITIONS) {
        let notes = notes(tx, &catalog, table)?;
        let warning = warnings::about(tx, &catalog, table, effects.get(&table.id), notes)?;
        tables::set_reason(tx, table.id, warning.as_deref())?;
    }
    Ok(Reconciled { catalog, took_a_name })
}

/// What there is to say of a table's names.
fn notes(tx: &Transaction<'_>, catalog: &Catalog, table: &Tracked) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let spelled = &table.table.spelled;
    let namesake = catalog.named(&table.name).filter(|other| other.id != table.id);
    if let Some(other) = namesake.filter(|_| fold(spelled) != table.name) {
        notes.push(format!(
            "it was called '{}' before; the table that has that name now is another one and travels apart from it",
            other.table.spelled
        ));
    }
    if definitions::find(tx, &table.name)?.is_some_and(|definition| definition.retired) {
        notes.push(
            "the space has given it up with `driftless forget`: new copies no longer get it".to_owned(),
        );
    }
    if let Some(entry) = tables::find(tx, &table.name)? {
        notes.extend(column_changes::question(&entry, spelled));
    }
    Ok(notes)
}

/// The table that an entry stands for, as it is found now.
struct Found {
    /// `None` if there is none.
    look: Option<Look>,
    /// Whether it may still turn out to be another: it has another name, and a new table has its old one. Until that has
    /// been left alone, the old name is what it is known by.
    undecided: bool,
    /// The table that has the entry's old name now and is another.
    name_taken: Option<String>,
}

impl Found {
    fn new(look: Option<Look>) -> Self {
        Self { look, undecided: false, name_taken: None }
    }
}

/// Looks for the table that an entry stands for: the one that has our triggers, which SQLite takes along when a table is
/// renamed; without them the one that has its last name.
///
/// Where both are there, it was renamed and its name given to a new table. But a migration may be half way that renames the
/// table, makes it anew, copies the rows and drops the old one: so this is decided when they have been left alone.
fn find(tx: &Transaction<'_>, entry: &Entry, settling: &mut Settling, now: i64) -> Result<Found> {
    let doing = "reading the triggers";
    let marked = format!("{}insert", triggers::name_prefix(entry.id));
    let under: Option<String> = tx
        .prepare_cached("SELECT tbl_name FROM sqlite_master WHERE type = 'trigger' AND name = ?1")
        .and_then(|mut statement| statement.query_row([marked], |row| row.get(0)).optional())
        .doing(doing)?;
    let is_anothers = |name: &str| -> Result<bool> {
        let other = tables::called(tx, &fold(name))?.is_some_and(|other| other.id != entry.id);
        tx.prepare_cached(
            "SELECT ?2 OR EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'trigger'
             AND tbl_name = ?1 COLLATE NOCASE AND name GLOB '_driftless_[0-9]*_insert')",
        )
        .and_then(|mut statement| statement.query_row((name, other), |row| row.get(0)))
        .doing(doing)
    };
    if let Some(under) = under.as_deref().filter(|under| fold(under) != fold(&entry.spelled)) {
        let look = introspect::table(tx, under)?;
        let namesake = match introspect::table(tx, &entry.spelled)? {
            Some(Ok(table)) if !is_anothers(&entry.spelled)? => table,
            _ => return Ok(Found::new(look)),
        };
        let looks = format!("{under}\n{}", namesake.sql);
        let settled = settling.is_settled(entry.id, looks, now);
        if settled {
            settling.forget(entry.id);
        }
        return Ok(Found { look, undecided: !settled, name_taken: settled.then_some(namesake.spelled) });
    }
    match introspect::table(tx, &entry.spelled)? {
        Some(look) => Ok(Found::new(Some(look))),
        None if entry.name != fold(&entry.spelled) && !is_anothers(&entry.name)? => {
            Ok(Found::new(introspect::table(tx, &entry.name)?))
        }
        None => Ok(Found::new(None)),
    }
}

fn own(connection: &Connection) -> Result<Tracked> {
    let table = definitions::own_table(connection)?;
    Ok(Tracked::new(DEFINITIONS, "_driftless_definitions".to_owned(), Default::default(), table))
}

/// One look at the tables.
struct Renewal<'a> {
    tx: &'a Transaction<'a>,
    settling: &'a mut Settling,
    /// The tables, folded, that the triggers of tracked ones write into.
    watched: BTreeSet<String>,
    now: i64,
}

impl Renewal<'_> {
    /// Brings what is recorded of a table up to what it is. Returns it, unless it is given up.
    fn renew(&mut self, mut entry: Entry, found: Found) -> Result<Option<Tracked>> {
        let tx = self.tx;
        let mut table = match found.look {
            Some(Ok(table)) => table,
            Some(Err(refusal)) => return self.lose(entry, State::Unfit, &refusal.to_string()),
            None => {
                let reason =
                    "the table was dropped; what others write in it is kept and shows when it is made again";
                return self.lose(entry, State::Missing, reason);
            }
        };
        // A key of another kind would give every row another name.
        if let Err(refusal @ Refusal::IntegerKey) = eligibility::check(&table, &entry.options) {
            return self.lose(entry, State::Unfit, &refusal.to_string());
        }
        let renamed_apart = self.name_new_columns(&mut entry, &table)?;
        let mut renames = table.rename(&entry.renames);
        let key = column_changes::of_key(&entry, &table);
        match &key {
            Key::Same => {}
            Key::Renamed(renamed) => {
                tracing::info!(table = %table.spelled, ?renamed, "columns of the primary key were renamed");
                entry.renames.retain(|(now, _)| renamed.iter().all(|(name, _)| name != now));
                entry.renames.extend(renamed.iter().cloned());
                entry.renames.sort();
                renames = table.rename(&entry.renames);
            }
            Key::Other { before, now } => {
                let reason =
                    format!("its primary key changed from ({before}) to ({now}); make a new table instead");
                return self.lose(entry, State::Unfit, &reason);
            }
        }
        let change = column_changes::since_last_look(&entry, &table);
        let rules = rule_shape(&table);
        let same_rules = entry.rules.as_deref() == Some(&*rules);
        let watched = self.watched.contains(&fold(&table.spelled));
        let present = triggers_present(tx, &entry, &table, watched, same_rules)?;
        let lost = present == Presence::Missing || entry.state != State::Tracked;
        let same_name = found.undecided || entry.spelled == table.spelled;
        let unchanged = present == Presence::AsExpected && change.is_none() && key == Key::Same;
        if unchanged && !lost && same_name && same_rules && entry.rebuilt.is_none() {
            return Ok(Some(tracked(entry, table, watched, renames)));
        }
        if lost || present != Presence::AsExpected {
            install(tx, entry.id, &table, watched)?;
        }
        if lost {
            tracing::info!(table = %table.spelled, "the table lost our triggers: it was rebuilt, or somebody dropped them");
            let unseen = self.settling.time_of_unseen(self.now);
            entry.rebuilt = Some(entry.rebuilt.map_or(unseen, |before| before.max(unseen)));
            entry.state = State::Tracked;
        }
        if !change.is_none() || key != Key::Same || entry.columns.is_empty() {
            column_changes::record(&mut entry, &table);
            entry.fresh.extend(change.came.iter().cloned());
        }
        if entry.rebuilt.is_some() {
            self.compare_if_settled(&mut entry, &table, lost)?;
        } else if !change.is_none() {
            // Rows have values in a column that no document names yet, as after a rename; documents may have values for
            // a column that has just appeared.
            tracing::info!(table = %table.spelled, "the table changed; all its rows are looked at again");
            look_again(tx, entry.id, &table, self.now)?;
        } else if !same_rules {
            // What its constraints demand may have changed.
            backlog::refresh_table(tx, entry.id)?;
            tables::set_unjudged(tx, entry.id)?;
        }
        if !found.undecided {
            entry.spelled.clone_from(&table.spelled);
        }
        entry.rules = Some(rules);
        tables::update(tx, &entry)?;
        let mut definition = Definition::of(&entry.name, &table, &entry.options);
        if renamed_apart || key != Key::Same {
            definition.renames = Some(renames::to_text(&entry.renames));
        }
        definitions::put(tx, &definition, self.now)?;
        Ok(Some(tracked(entry, table, watched, renames)))
    }

    /// Gives columns that have come, and have the name of one that is gone from the space for good, another to travel by.
    /// Returns whether there are any.
    fn name_new_columns(&self, entry: &mut Entry, table: &Table) -> Result<bool> {
        let is_known = |name: &str| {
            entry.columns.iter().any(|known| known.place.is_some() && known.name.eq_ignore_ascii_case(name))
        };
        if entry.columns.is_empty() || table.columns.iter().all(|column| is_known(&column.spelled)) {
            return Ok(false);
        }
        let Some(definition) = definitions::find(self.tx, &entry.name)? else { return Ok(false) };
        let before = entry.renames.clone();
        let retired = definition.retired_columns();
        entry.renames = column_changes::rename_apart(table, &retired, Some(entry), before.clone());
        Ok(entry.renames != before)
    }

    /// Compares a table that was rebuilt with its documents, if it has been left alone for long enough. `lost`: it has
    /// just been found without our triggers.
    fn compare_if_settled(&mut self, entry: &mut Entry, table: &Table, lost: bool) -> Result<()> {
        if lost {
            self.settling.touch(entry.id, self.now);
        }
        if !self.settling.is_settled(entry.id, table.sql.clone(), self.now) {
            return Ok(());
        }
        self.settling.forget(entry.id);
        rebuilt::compare(self.tx, entry, table, self.now)?;
        entry.rebuilt = None;
        Ok(())
    }

    /// Gives a table up for now, leaving no trigger that points at nothing.
    fn lose(&mut self, mut entry: Entry, state: State, reason: &str) -> Result<Option<Tracked>> {
        self.settling.forget(entry.id);
        if entry.state == state && entry.reason.as_deref() == Some(reason) {
            return Ok(None);
        }
        tracing::warn!(table = %entry.spelled, reason, "the table is no longer captured");
        drop_triggers(self.tx, entry.id)?;
        backlog::forget_table(self.tx, entry.id)?;
        entry.state = state;
        entry.reason = Some(reason.to_owned());
        tables::update(self.tx, &entry)?;
        Ok(None)
    }
}

fn tracked(entry: Entry, table: Table, watched: bool, renames: Renames) -> Tracked {
    let (fresh, settling) = (entry.fresh, entry.rebuilt.is_some());
    let tracked = Tracked::new(entry.id, entry.name, entry.options, table);
    Tracked { fresh, watched, renames, settling, ..tracked }
}

/// What the table demands of its rows, as a digest: its definition, its UNIQUE indexes, and what it refers to.
fn rule_shape(table: &Table) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(table.sql.as_bytes());
    for reference in &table.references {
        hasher.update(reference.rule.as_bytes());
    }
    for unique in &table.unique {
        hasher.update(unique.name.as_bytes());
        hasher.update(unique.filter.as_deref().unwrap_or_default().as_bytes());
        for term in &unique.terms {
            hasher.update(term.sql.as_bytes());
        }
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// Begins to track a table: its triggers, its rows as they are, and what others wrote in it already. `kinds`: those that
/// were stated, as they are written down.
pub(crate) fn begin(
    tx: &Transaction<'_>,
    mut entry: Entry,
    table: &Table,
    kinds: Option<String>,
    now: i64,
) -> Result<()> {
    install(tx, entry.id, table, false)?;
    let why = if entry.state == State::Unknown { Why::First } else { Why::Again };
    enqueue_all(tx, entry.id, table, why, now)?;
    backlog::refresh_table(tx, entry.id)?;
    tables::set_unjudged(tx, entry.id)?;
    entry.state = State::Tracked;
    entry.reason = None;
    entry.rebuilt = None;
    entry.spelled.clone_from(&table.spelled);
    column_changes::record(&mut entry, table);
    entry.rules = Some(rule_shape(table));
    tables::update(tx, &entry)?;
    // The space's definition stays where there is one: this table may be of an older version of the app.
    match definitions::find(tx, &entry.name)? {
        Some(_) => Ok(()),
        None => definitions::put(
            tx,
            &Definition { kinds, ..Definition::of(&entry.name, table, &entry.options) },
            now,
        ),
    }
}

/// Ceases to track a table. Its documents stay, and what others write in it goes on being merged into them.
pub(crate) fn end(tx: &Transaction<'_>, mut entry: Entry) -> Result<()> {
    drop_triggers(tx, entry.id)?;
    backlog::forget_table(tx, entry.id)?;
    entry.state = State::Untracked;
    entry.reason = None;
    entry.rebuilt = None;
    tables::update(tx, &entry)
}

#[derive(Debug, PartialEq, Eq)]
enum Presence {
    AsExpected,
    /// Other triggers than expected: a column was renamed, a unique index added.
    Different,
    /// At least one is gone: the table was dropped and made anew, or somebody dropped it.
    Missing,
}

/// `same_rules`: no index of the table came or went, so that all of them must be there.
fn triggers_present(
    tx: &Transaction<'_>,
    entry: &Entry,
    table: &Table,
    watched: bool,
    same_rules: bool,
) -> Result<Presence> {
    let recorded = recorded_triggers(tx, entry.id)?;
    let expected = triggers::all(entry.id, table, watched);
    let is_there = |name: &str| recorded.iter().any(|trigger| trigger.name == name);
    let must_be_there = ["insert", "update", "delete"].map(|kind| triggers::name_prefix(entry.id) + kind);
    let watching = must_be_there.iter().all(|name| is_there(name))
        && (!same_rules || expected.iter().all(|trigger| is_there(&trigger.name)));
    Ok(match (watching, recorded.len() == expected.len() && expected.iter().all(|t| recorded.contains(t))) {
        (false, _) => Presence::Missing,
        (true, false) => Presence::Different,
        (true, true) => Presence::AsExpected,
    })
}

fn recorded_triggers(tx: &Transaction<'_>, id: i64) -> Result<Vec<Trigger>> {
    let doing = "reading the triggers";
    let mut statement = tx
        .prepare_cached(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, ?2) = ?1",
        )
        .doing(doing)?;
    let prefix = triggers::name_prefix(id);
    let rows = statement
        .query_map((&prefix, prefix.len() as i64), |row| Ok(Trigger { name: row.get(0)?, sql: row.get(1)? }))
        .doing(doing)?;
    rows.collect::<rusqlite::Result<_>>().doing(doing)
}

fn drop_triggers(tx: &Transaction<'_>, id: i64) -> Result<()> {
    for trigger in recorded_triggers(tx, id)? {
        tx.execute_batch(&format!("DROP TRIGGER {}", quote(&trigger.name))).doing("dropping a trigger")?;
    }
    Ok(())
}

/// Renews the triggers of a table, which moves the `schema_version` on.
pub(crate) fn install(tx: &Transaction<'_>, id: i64, table: &Table, watched: bool) -> Result<()> {
    drop_triggers(tx, id)?;
    dirty::widen(tx, table.key.len())?;
    for trigger in triggers::all(id, table, watched) {
        tx.execute_batch(&trigger.sql).doing("creating a trigger")?;
    }
    Ok(())
}

/// Compares every row of a table with its document again, every document with its row, and rows with what they refer to.
/// An edit that is found gets the time `at`.
pub(crate) fn look_again(tx: &Transaction<'_>, id: i64, table: &Table, at: i64) -> Result<()> {
    dirty::widen(tx, table.key.len())?;
    enqueue_all(tx, id, table, Why::Again, at)?;
    backlog::refresh_table(tx, id)?;
    tables::set_unjudged(tx, id)
}

/// Lists every row of a table to be looked at.
pub(super) fn enqueue_all(tx: &Transaction<'_>, id: i64, table: &Table, why: Why, at: i64) -> Result<()> {
    let (columns, key) = (dirty::key_list(table.key.len()), table.key_columns());
    tx.execute(
        &format!(
            "INSERT INTO _driftless_backlog (tbl, first, at, {columns}) SELECT {id}, {}, {at}, {key} FROM main.{}",
            why.number(),
            quote(&table.spelled)
        ),
        [],
    )
    .doing("listing the rows of a table")?;
    Ok(())
}
