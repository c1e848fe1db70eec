//! Do the triggers still match the tables? Asked whenever SQLite's `schema_version` has moved.
//!
//! `ALTER TABLE` needs no ceremony: a new column brings new triggers and shows what others already wrote in it. A
//! table that was dropped keeps its documents; dropping a table is not deleting its rows. One that was made anew was
//! written without our triggers watching, so all its rows are captured again.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::definitions::{self, Definition};
use super::eligibility::{self, Refusal};
use super::introspect::{self, Look};
use super::triggers::{self, Trigger};
use super::{Catalog, Table, Tracked};
use super::{effects, objects, warnings};
use crate::error::{Doing, Result};
use crate::store::tables::{self, DEFINITIONS, Entry, State};
use crate::store::{backlog, dirty, fold, quote};

/// Renews what is recorded of every table. Returns the tables to capture from and to materialize into.
pub(crate) fn run(tx: &Transaction<'_>, now: i64) -> Result<Catalog> {
    let mut looks = Vec::new();
    for entry in tables::all(tx)?.into_iter().filter(|entry| entry.id != DEFINITIONS) {
        if !matches!(entry.state, State::Untracked | State::Unknown) {
            let looked = look(tx, &entry)?;
            looks.push((entry, looked));
        }
    }
    let mut effects = BTreeMap::new();
    for (entry, looked) in &looks {
        if let Some(Ok(table)) = looked {
            effects.insert(entry.id, effects::of_triggers(tx, table)?);
        }
    }
    let watched: BTreeSet<String> = effects.values().flatten().cloned().collect();
    let mut tracked = vec![own(tx)?];
    for (entry, looked) in looks {
        tracked.extend(renew(tx, entry, looked, &watched, now)?);
    }
    let names: BTreeSet<String> = tracked.iter().map(|table| fold(&table.table.spelled)).collect();
    for table in &mut tracked {
        table.meddles = effects.get(&table.id).is_some_and(|written| !written.is_disjoint(&names));
    }
    let catalog = Catalog::new(tracked);
    for table in catalog.iter().filter(|table| table.id != DEFINITIONS) {
        let hint = tables::find(tx, &table.name)?.and_then(|entry| entry.hint);
        let hint = hint.and_then(|hint| Hint::parse(&hint).sentence(&table.table.spelled));
        let warning = warnings::about(tx, &catalog, table, effects.get(&table.id), hint)?;
        tables::set_reason(tx, table.id, warning.as_deref())?;
    }
    objects::follow(tx, &catalog, now)?;
    Ok(catalog)
}

/// Looks at the table that an entry stands for: the one that has its last name, unless our triggers have gone elsewhere.
/// SQLite takes them along when a table is renamed. But a table that was made anew under the old name, as migrations do
/// before they copy the rows over, is the one that is meant.
fn look(tx: &Transaction<'_>, entry: &Entry) -> Result<Option<Look>> {
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
        let made_anew = introspect::table(tx, &entry.spelled)?;
        return match made_anew {
            Some(look) if !is_anothers(&entry.spelled)? => Ok(Some(look)),
            _ => introspect::table(tx, under),
        };
    }
    match introspect::table(tx, &entry.spelled)? {
        Some(look) => Ok(Some(look)),
        None if entry.name != fold(&entry.spelled) && !is_anothers(&entry.name)? => {
            introspect::table(tx, &entry.name)
        }
        None => Ok(None),
    }
}

fn own(connection: &Connection) -> Result<Tracked> {
    let table = definitions::own_table(connection)?;
    Ok(Tracked::new(DEFINITIONS, "_driftless_definitions".to_owned(), Default::default(), table))
}

fn renew(
    tx: &Transaction<'_>,
    mut entry: Entry,
    looked: Option<Look>,
    watched: &BTreeSet<String>,
    now: i64,
) -> Result<Option<Tracked>> {
    let mut table = match looked {
        Some(Ok(table)) => table,
        Some(Err(refusal)) => return lose(tx, entry, State::Unfit, &refusal.to_string()),
        None => {
            let reason =
                "the table was dropped; what others write in it is kept and shows when it is made again";
            return lose(tx, entry, State::Missing, reason);
        }
    };
    // A key of another kind would give every row another name.
    if let Err(refusal @ Refusal::IntegerKey) = eligibility::check(&table, &entry.options) {
        return lose(tx, entry, State::Unfit, &refusal.to_string());
    }
    let renames = table.rename(&entry.renames);
    let key = key_shape(&table);
    let recorded = entry.shape.clone().unwrap_or_default();
    let mut lines = recorded.splitn(3, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (old_key, old_columns, old_rules) = (line(), line(), line());
    // A rename that was told since the table was last looked at is no change of its columns.
    let travels = |known: &str| match renames.iter().find(|(now, _)| quote(now) == known) {
        Some((_, travels)) => quote(travels),
        None => known.to_owned(),
    };
    let old_columns = old_columns.split(", ").map(travels).collect::<Vec<_>>().join(", ");
    if !recorded.is_empty() && old_key != key {
        let reason = format!("its primary key changed from ({old_key}) to ({key}); make a new table instead");
        return lose(tx, entry, State::Unfit, &reason);
    }
    let (columns, rules) = (column_shape(&table), rule_shape(&table));
    let watched = watched.contains(&fold(&table.spelled));
    let (changed, present) = (columns != old_columns, triggers_present(tx, &entry, &table, watched)?);
    let back = entry.state != State::Tracked;
    let same_name = entry.spelled == table.spelled;
    if present == Presence::AsExpected && !changed && !back && same_name && rules == old_rules {
        let fresh = entry.fresh;
        let tracked = Tracked::new(entry.id, entry.name, entry.options, table);
        return Ok(Some(Tracked { fresh, watched, renames, ..tracked }));
    }
    install(tx, entry.id, &table, watched)?;
    if present == Presence::Missing || changed || back {
        // Rows may have been written unseen, or have values in a column that no document names yet, as after a
        // rename; documents may have rows that the table lacks, or values for a column that has just appeared.
        tracing::info!(table = %table.spelled, "the table changed; all its rows are looked at again");
        enqueue_all(tx, entry.id, &table, false)?;
    }
    if present == Presence::Missing || changed || back || rules != old_rules {
        // What its constraints demand may have changed.
        backlog::refresh_table(tx, entry.id)?;
        tables::set_unjudged(tx, entry.id)?;
    }
    if changed {
        let known: Vec<&str> = old_columns.split(", ").collect();
        let appeared = table.columns.iter().filter(|column| !known.contains(&quote(&column.name).as_str()));
        let came: Vec<String> = appeared.map(|column| column.name.replace('\n', " ")).collect();
        let now: Vec<String> = table.columns.iter().map(|column| quote(&column.name)).collect();
        let went = known.iter().filter(|known| !known.is_empty() && !now.iter().any(|now| now == *known));
        let went: Vec<String> = went.map(|name| name.trim_matches('"').replace("\"\"", "\"")).collect();
        entry.hint =
            (!went.is_empty() && !came.is_empty()).then(|| Hint { went, came: came.clone() }.to_text());
        entry.fresh.extend(came);
    }
    entry.state = State::Tracked;
    entry.spelled.clone_from(&table.spelled);
    entry.shape = Some(format!("{key}\n{columns}\n{rules}"));
    tables::update(tx, &entry)?;
    definitions::put(tx, &Definition::of(&entry.name, &table, &entry.options), now)?;
    let fresh = entry.fresh;
    let tracked = Tracked::new(entry.id, entry.name, entry.options, table);
    Ok(Some(Tracked { fresh, watched, renames, ..tracked }))
}

/// Columns that went and columns that came when the table last changed: what may have been a rename that nobody told.
struct Hint {
    went: Vec<String>,
    came: Vec<String>,
}

impl Hint {
    /// Two lines, names apart by tabs, as `_driftless_tables` keeps it.
    fn to_text(&self) -> String {
        format!("{}\n{}", self.went.join("\t"), self.came.join("\t"))
    }

    fn parse(text: &str) -> Self {
        let (went, came) = text.split_once('\n').unwrap_or((text, ""));
        let names =
            |line: &str| line.split('\t').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Self { went: names(went), came: names(came) }
    }

    fn sentence(&self, table: &str) -> Option<String> {
        let (went, came) = (self.went.first()?, self.came.first()?);
        Some(format!(
            "column '{went}' went and '{came}' came, which was taken for a dropped and an added one: if it was a rename, \
             tell so (driftless rename-column FILE {table} {went} {came}), else what others write in '{went}' does not \
             show here"
        ))
    }
}

/// Whether one column may be what the other was called before, both folded: they went and came together, or did so since
/// the table was last looked at.
pub(crate) fn may_be_renamed(entry: &Entry, old: &str, new: &str) -> bool {
    let hint = Hint::parse(entry.hint.as_deref().unwrap_or(""));
    let has = |names: &[String], name: &str| names.iter().any(|known| known == name);
    if has(&hint.went, old) && has(&hint.came, new) {
        return true;
    }
    let recorded = entry.shape.as_deref().and_then(|shape| shape.lines().nth(1)).unwrap_or("");
    let columns: Vec<&str> = recorded.split(", ").collect();
    columns.contains(&&*quote(old)) && !columns.contains(&&*quote(new))
}

/// A rename was told: it need not be asked about any more.
pub(crate) fn settle_hint(entry: &mut Entry, old: &str, new: &str) {
    let Some(hint) = &entry.hint else { return };
    let mut hint = Hint::parse(hint);
    hint.went.retain(|name| *name != fold(old));
    hint.came.retain(|name| *name != fold(new));
    entry.hint = (!hint.went.is_empty() && !hint.came.is_empty()).then(|| hint.to_text());
}

/// Gives a table up for now, leaving no trigger that points at nothing.
fn lose(tx: &Transaction<'_>, mut entry: Entry, state: State, reason: &str) -> Result<Option<Tracked>> {
    if entry.state == state && entry.reason.as_deref() == Some(reason) {
        return Ok(None);
    }
    tracing::warn!(table = %entry.spelled, reason, "the table is no longer captured");
    drop_triggers(tx, entry.id)?;
    backlog::forget_table(tx, entry.id)?;
    entry.state = state;
    entry.reason = Some(reason.to_owned());
    tables::update(tx, &entry)?;
    Ok(None)
}

fn key_shape(table: &Table) -> String {
    let columns = table.key.iter().map(|key| {
        let rowid = if table.integer_key { " rowid" } else { "" };
        format!("{} {:?}{rowid}", quote(&table.columns[key.at].name), key.collation)
    });
    columns.collect::<Vec<_>>().join(", ").replace('\n', " ")
}

fn column_shape(table: &Table) -> String {
    table.columns.iter().map(|column| quote(&column.name)).collect::<Vec<_>>().join(", ")
}

/// What the table demands of its rows, as a digest: its definition, and what it refers to.
fn rule_shape(table: &Table) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(table.sql.as_bytes());
    for reference in &table.references {
        hasher.update(reference.rule.as_bytes());
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
    enqueue_all(tx, entry.id, table, entry.state == State::Unknown)?;
    backlog::refresh_table(tx, entry.id)?;
    tables::set_unjudged(tx, entry.id)?;
    entry.state = State::Tracked;
    entry.reason = None;
    entry.spelled.clone_from(&table.spelled);
    entry.shape = Some([key_shape(table), column_shape(table), rule_shape(table)].join("\n"));
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
    tables::update(tx, &entry)
}

#[derive(Debug, PartialEq, Eq)]
enum Presence {
    AsExpected,
    /// Other text than expected: a column was renamed, a unique index added.
    Different,
    /// At least one is gone: the table was dropped and made anew, perhaps.
    Missing,
}

fn triggers_present(tx: &Transaction<'_>, entry: &Entry, table: &Table, watched: bool) -> Result<Presence> {
    let recorded = recorded_triggers(tx, entry.id)?;
    let expected = triggers::all(entry.id, table, watched);
    let watching = ["insert", "update", "delete"]
        .iter()
        .all(|kind| recorded.iter().any(|t| t.name == format!("{}{kind}", triggers::name_prefix(entry.id))));
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
pub(crate) fn look_again(tx: &Transaction<'_>, id: i64, table: &Table) -> Result<()> {
    dirty::widen(tx, table.key.len())?;
    enqueue_all(tx, id, table, false)?;
    backlog::refresh_table(tx, id)?;
    tables::set_unjudged(tx, id)
}

/// `first`: the table was never shown what the documents hold.
fn enqueue_all(tx: &Transaction<'_>, id: i64, table: &Table, first: bool) -> Result<()> {
    let (columns, key) = (dirty::key_list(table.key.len()), table.key_columns());
    tx.execute(
        &format!(
            "INSERT INTO _driftless_backlog (tbl, first, {columns}) SELECT {id}, {}, {key} FROM main.{}",
            i64::from(first),
            quote(&table.spelled)
        ),
        [],
    )
    .doing("listing the rows of a table")?;
    Ok(())
}
