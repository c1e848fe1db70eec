//! Side tables that somebody dropped or emptied: made again, and filled again from what is left.
//!
//! The user's tables hold the rows, the relay holds the documents. So whatever is lost, nothing that the tables say is:
//! in the worst case the file *starts over*: it becomes a new replica that holds nothing yet, its rows are found anew,
//! and every document comes again from the relay. That is the answer wherever a part is missing that the others cannot
//! be trusted without: the documents (updates would build on what is not here), the state vector (own numbers would be
//! used twice), the identity, the list of tables.
//!
//! Runs when the file is opened, whenever the schema has changed and, as a few look-ups, whenever others have committed.
//! What was emptied row by row is not noticed here; `verify` finds it.

use std::collections::BTreeSet;
use std::path::Path;

use driftless_protocol::RowKey;
use rusqlite::Transaction;

use super::{Part, rebuild};
use crate::config::{Config, TableOptions};
use crate::env::{ids, now};
use crate::error::{Doing, Error, Result};
use crate::schema::{definitions, introspect, unchanged};
use crate::store::tables::{self, DEFINITIONS};
use crate::store::{
    self, applying, backlog, dirty, fold, health, identity, migrations, outbox, progress, sql,
};

/// Looks whether everything is there and restores what is not. `whole`: the schema too, which costs a millisecond.
/// Returns whether anything was repaired; then the triggers must be looked at, and the replica's id may be another.
///
/// Fails with [`Error::Damaged`] if a side table has lost columns, and as migrations do.
pub(crate) fn restore_lost(tx: &Transaction<'_>, path: &Path, whole: bool) -> Result<bool> {
    let mut done = Vec::new();
    if whole {
        if !health::any(tx)? {
            migrations::run(tx, path)?;
            return Ok(false);
        }
        remake(tx, path, &mut done)?;
    }
    if applying::is_on(tx)? {
        applying::end(tx)?;
        rebuild(tx, path, &Part::Logs)?;
        done.push(
            "the triggers had been switched off; all rows are compared with their documents".to_owned(),
        );
    }
    if let Some(lost) = lost(tx)? {
        tracing::error!(lost, "the file starts over as a new replica");
        rebuild(tx, path, &Part::Everything)?;
        done.push(format!(
            "{lost}; the file became a new replica, captured all rows anew and takes all documents from the relay again"
        ));
    } else if !health::has_rows(tx, "_driftless_definitions")? && backlog::has_none_to_show(tx, DEFINITIONS)?
    {
        rebuild(tx, path, &Part::Definitions)?;
        done.push("the definitions of tables were emptied, and are shown again".to_owned());
    }
    if done.is_empty() {
        return Ok(false);
    }
    unchanged::forget(tx)?;
    let note = done.join("; ");
    tracing::warn!(path = %path.display(), note, "side tables were damaged and are repaired");
    identity::add_repaired(tx, &note)?;
    Ok(true)
}

/// Makes side tables again that were dropped, and fills them.
fn remake(tx: &Transaction<'_>, path: &Path, done: &mut Vec<String>) -> Result<()> {
    let has_meta = health::missing(tx)?.iter().all(|object| object.name != "_driftless_meta");
    if has_meta && identity::has_format(tx)? {
        // A newer version's tables may not be judged, let alone made; an older version's are brought up to this one first.
        migrations::run(tx, path)?;
    }
    let missing = health::missing(tx)?;
    let is_missing = |name: &str| missing.iter().any(|object| object.name == name);
    health::make(tx, &missing)?;
    if let Some((table, columns)) = health::crippled(tx)?.first() {
        return Err(Error::Damaged {
            table: "_driftless_*",
            what: format!(
                "{table} lacks the columns {}; drop that table, and it is made again and filled",
                columns.join(", ")
            ),
        });
    }
    if missing.is_empty() {
        return Ok(());
    }
    if is_missing("_driftless_dirty") || is_missing("_driftless_backlog") {
        // Marks were lost; and the logs must be as wide again as the longest key.
        rebuild(tx, path, &Part::Logs)?;
    } else if ["_driftless_refresh", "_driftless_conflicts", "_driftless_parked", "_driftless_claims"]
        .iter()
        .any(|name| is_missing(name))
    {
        rebuild(tx, path, &Part::Lists)?;
    }
    let names: Vec<&str> = missing.iter().map(|object| &*object.name).collect();
    done.push(format!("{} had been dropped", names.join(", ")));
    Ok(())
}

/// What is lost that the rest cannot do without, in words.
fn lost(tx: &Transaction<'_>) -> Result<Option<&'static str>> {
    let Some(own) = identity::replica_if_known(tx)? else { return Ok(Some("this file's identity was lost")) };
    if tables::find(tx, "_driftless_definitions")?.is_none() {
        return Ok(Some("the list of tables was lost"));
    }
    let [rows, documents, texts, text_updates, progress] = health::have_rows(
        tx,
        [
            "_driftless_rows",
            "_driftless_documents",
            "_driftless_texts",
            "_driftless_text_updates",
            "_driftless_progress",
        ],
    )?;
    let captured = progress::of(tx, own)?;
    if rows != documents || !documents && captured > 0 {
        return Ok(Some("the row documents were lost"));
    }
    if texts != text_updates || !texts && identity::had_texts(tx)? {
        return Ok(Some("the text documents were lost"));
    }
    // Every document came with a number, and none that a relay acknowledged was not ours.
    if documents && !progress || identity::acked(tx)?.max(outbox::last(tx)?) > captured {
        return Ok(Some("the state vector was lost"));
    }
    Ok(None)
}

/// Begins again as a new replica that holds nothing. Every row is found anew, and rows whose changesets were not sent
/// yet count as written now. The space stays the same.
pub(super) fn start_over(tx: &Transaction<'_>, path: &Path) -> Result<()> {
    regain_tables(tx)?;
    let unsent = unsent_rows(tx)?;
    health::empty_documents(tx)?;
    identity::start_over(tx, path, migrations::FORMAT, ids::replica())?;
    rebuild(tx, path, &Part::Logs)?;
    backlog::look_at_definitions(tx)?;
    for (table, key) in unsent {
        if let Some(entry) = tables::find(tx, &table)? {
            dirty::widen(tx, key.values().len())?;
            dirty::mark_key(tx, entry.id, now(), &key.values())?;
        }
    }
    Ok(())
}

/// The rows of changesets that no relay has, by the name of their table as it travels. What cannot be read is left out.
fn unsent_rows(tx: &Transaction<'_>) -> Result<BTreeSet<(String, RowKey)>> {
    let mut rows = BTreeSet::new();
    let acked = identity::acked(tx)?;
    for body in outbox::readable(tx, acked)?.iter().filter_map(|changeset| changeset.body().ok()) {
        let Ok((_, updates)) = body.open() else { continue };
        rows.extend(updates.map_while(|row| row.ok()).map(|row| (row.table.to_owned(), row.key)));
    }
    Ok(rows)
}

/// Puts the tables that our triggers stand on back on the list, under the numbers that the triggers know.
fn regain_tables(tx: &Transaction<'_>) -> Result<()> {
    let doing = "finding the tracked tables again";
    if tables::find(tx, "_driftless_definitions")?.is_some() {
        return Ok(());
    }
    tables::regain(
        tx,
        DEFINITIONS,
        "_driftless_definitions",
        "_driftless_definitions",
        TableOptions::default(),
    )?;
    let triggers: Vec<(String, String)> = sql::list(
        tx,
        doing,
        "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger'
             AND name GLOB '_driftless_[0-9]*_insert' ORDER BY name",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    for (trigger, spelled) in triggers {
        let number = trigger.strip_prefix(store::PREFIX).and_then(|rest| rest.strip_suffix("_insert"));
        let Some(id) = number.and_then(|number| number.parse().ok()) else { continue };
        let local = fold(&spelled);
        let definition = definitions::named(tx, &local)?;
        let name = definition.as_ref().map_or(&*local, |definition| &*definition.name);
        // A key that is an alias of the rowid had been allowed: the triggers are there.
        let options = TableOptions {
            allow_integer_key: true,
            ..definition.as_ref().map(|definition| definition.options.clone()).unwrap_or_default()
        };
        if tables::find(tx, name)?.is_none() {
            tables::regain(tx, id, name, &spelled, options)?;
            if let (Some(mut entry), Some(definition)) = (tables::find(tx, name)?, definition) {
                entry.options.kinds = definition.kinds();
                entry.renames = match introspect::table(tx, &spelled)? {
                    Some(Ok(table)) => definition.renames_of(&table),
                    _ => definition.renames(),
                };
                tables::update(tx, &entry)?;
            }
        }
    }
    Ok(())
}

/// Everything is well again: `status` need not speak of it any more.
pub(crate) fn forget_note(path: &Path) -> Result<()> {
    let mut connection = store::open(path, Config::default().busy_timeout)?;
    let tx = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .doing("waiting for the write lock")?;
    identity::forget_repaired(&tx)?;
    tx.commit().doing("forgetting what was repaired")
}
