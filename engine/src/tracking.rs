//! Beginning and ceasing to track tables: triggers, options, what the space already says of them. A few writes in
//! one transaction, so it needs no engine: it works beside a running one, which then captures the rows.

use driftless_protocol::Seq;
use rusqlite::Transaction;

use crate::config::{ColumnKind, TableOptions};
use crate::error::{Error, Result};
use crate::names;
use crate::schema::definitions::{self, Definition};
use crate::schema::eligibility::{self, Refusal};
use crate::schema::{Table, column_changes, introspect, reconcile};
use crate::store::fold;
use crate::store::kinds::{self, Kinds};
use crate::store::renames::Renames;
use crate::store::tables::{self, State};

/// Begins to track tables. One that is tracked already with the same options is left as it is.
/// Fails on the first that cannot be, and then the transaction must be rolled back.
pub(crate) fn track(
    tx: &Transaction<'_>,
    names: &[&str],
    options: TableOptions,
    now: i64,
) -> Result<Vec<String>> {
    let mut stated = vec![Vec::new(); names.len()];
    for (column, kind) in &options.kinds {
        // A table's name may hold a dot, so that the longest counts.
        let of_table = |name: &&&str| names.len() == 1 || strip_table(column, name).is_some();
        let table = names.iter().filter(of_table).max_by_key(|name| name.len());
        let at = table.and_then(|table| names.iter().position(|name| name == table));
        stated[at.ok_or_else(|| Error::NoSuchColumn(column.clone()))?].push((column.clone(), *kind));
    }
    let tables = names.iter().zip(stated);
    tables.map(|(name, kinds)| track_one(tx, name, &TableOptions { kinds, ..options.clone() }, now)).collect()
}

/// The column of `table.column`.
fn strip_table<'a>(column: &'a str, table: &str) -> Option<&'a str> {
    let (before, after) = (column.get(..table.len())?, column.get(table.len()..)?);
    before.eq_ignore_ascii_case(table).then(|| after.strip_prefix('.')).flatten()
}

/// The columns that a caller states a kind of, folded; registers included.
fn stated_kinds(table: &Table, options: &TableOptions) -> std::result::Result<Kinds, Refusal> {
    let mut stated = Kinds::new();
    for (given, kind) in &options.kinds {
        let is_column = table.columns.iter().any(|column| column.name == fold(given));
        let column = strip_table(given, &table.spelled).filter(|_| !is_column).unwrap_or(given);
        eligibility::check_kind(table, column, *kind)?;
        let column = fold(column);
        stated.retain(|(known, _)| *known != column);
        stated.push((column, *kind));
    }
    Ok(stated)
}

fn track_one(tx: &Transaction<'_>, name: &str, options: &TableOptions, now: i64) -> Result<String> {
    let refuse = |refusal| Error::NotTrackable { table: name.to_owned(), refusal };
    let mut table = introspect::table(tx, name)?.ok_or(refuse(Refusal::NoSuchTable))?.map_err(refuse)?;
    eligibility::check(&table, options).map_err(refuse)?;
    let (known, folded) = names::of_table(tx, &fold(&table.spelled))?;
    if known.as_ref().is_none_or(|entry| entry.state != State::Tracked) {
        eligibility::check_rows(tx, &table)?.map_err(refuse)?;
    }
    let defined = definitions::find(tx, &folded)?;
    let renames = match (&known, &defined) {
        (Some(entry), _) if !entry.renames.is_empty() => entry.renames.clone(),
        (_, Some(definition)) => definition.renames(),
        _ => Renames::new(),
    };
    let retired = defined.as_ref().map(Definition::retired_columns).unwrap_or_default();
    let renames = column_changes::rename_apart(&table, &retired, known.as_ref(), renames);
    table.rename(&renames);
    let stated = stated_kinds(&table, options).map_err(refuse)?;
    let agreed = match &known {
        Some(entry) if entry.state == State::Tracked => Some(entry.options.clone()),
        _ => defined.map(|definition| TableOptions { kinds: definition.kinds(), ..definition.options }),
    };
    let kinds = match &agreed {
        Some(agreed) => {
            agree(&table, agreed, options, &stated)?;
            agreed.kinds.clone()
        }
        None => {
            let mut kinds = Kinds::new();
            stated.iter().for_each(|(column, kind)| kinds::set(&mut kinds, column.clone(), *kind));
            kinds
        }
    };
    let mut entry = match known {
        Some(entry) if entry.state == State::Tracked => return Ok(entry.spelled),
        Some(entry) => entry,
        None => {
            tables::add(tx, &folded, &table.spelled, State::Unknown)?;
            tables::find(tx, &folded)?.ok_or(Error::NotTracked(name.to_owned()))?
        }
    };
    let text = kinds::to_text(&kinds);
    entry.options = TableOptions { kinds, ..options.clone() };
    entry.renames = renames;
    reconcile::begin(tx, entry, &table, (!stated.is_empty()).then_some(text), now)?;
    Ok(table.spelled)
}

/// Whether what a caller says of a table is what the space says.
fn agree(table: &Table, agreed: &TableOptions, asked: &TableOptions, kinds: &Kinds) -> Result<()> {
    let contradiction = |existing: String, asked: String, way_out| {
        Err(Error::Contradiction { table: table.spelled.clone(), existing, asked, way_out })
    };
    if agreed.deletes_win != asked.deletes_win {
        let describe = |options: &TableOptions| {
            let text =
                if options.deletes_win { "deletes winning over edits" } else { "edits winning over deletes" };
            text.to_owned()
        };
        return contradiction(describe(agreed), describe(asked), "every replica must treat a table alike");
    }
    for (column, kind) in kinds {
        let existing = kinds::of(&agreed.kinds, column);
        if existing != *kind {
            return contradiction(
                format!("column '{column}' as a {existing}"),
                format!("a {kind}"),
                "`driftless set-kind` changes it for the whole space",
            );
        }
    }
    Ok(())
}

/// Makes a column of a tracked table of this kind, here and, when they hear of it, on all replicas of the space.
pub(crate) fn set_kind(
    tx: &Transaction<'_>,
    name: &str,
    column: &str,
    kind: ColumnKind,
    now: i64,
) -> Result<()> {
    let not_tracked = || Error::NotTracked(name.to_owned());
    let known = tables::called(tx, &fold(name))?.filter(|entry| entry.state == State::Tracked);
    let mut entry = known.ok_or_else(not_tracked)?;
    let refuse = |refusal| Error::NotTrackable { table: name.to_owned(), refusal };
    let mut table = introspect::table(tx, name)?.ok_or_else(not_tracked)?.map_err(refuse)?;
    table.rename(&entry.renames);
    let folded =
        table.called(&fold(column)).map_or_else(|| fold(column), |at| table.columns[at].name.clone());
    // What others said of a column that does not fit it here can be taken back.
    let takes_back =
        kind == ColumnKind::Register && kinds::of(&entry.options.kinds, &folded) != ColumnKind::Register;
    if !takes_back {
        let refuse = |refusal| Error::KindRefused { table: table.spelled.clone(), refusal };
        eligibility::check_kind(&table, column, kind).map_err(refuse)?;
    }
    kinds::set(&mut entry.options.kinds, folded, kind);
    tables::update(tx, &entry)?;
    let definition = definitions::find(tx, &entry.name)?;
    let mut definition =
        definition.unwrap_or_else(|| definitions::Definition::of(&entry.name, &table, &entry.options));
    definition.kinds = Some(kinds::to_text(&entry.options.kinds));
    definitions::put(tx, &definition, now)?;
    // A running engine looks at its tables again when the schema has changed.
    reconcile::install(tx, entry.id, &table, false)
}

/// Ceases to track tables. Fails with [`Error::NotTracked`] on one that is not.
pub(crate) fn untrack(tx: &Transaction<'_>, names: &[&str]) -> Result<Vec<String>> {
    names
        .iter()
        .map(|name| {
            let entry = tables::called(tx, &fold(name))?;
            let tracked = entry.filter(|entry| !matches!(entry.state, State::Untracked | State::Unknown));
            let entry = tracked.ok_or_else(|| Error::NotTracked((*name).to_owned()))?;
            let spelled = entry.spelled.clone();
            reconcile::end(tx, entry)?;
            Ok(spelled)
        })
        .collect()
}

/// A table that cannot be tracked, and why.
pub(crate) type LeftOut = (String, Refusal);

/// Every table of the user's that these options allow to track, and the others with the reason.
pub(crate) fn trackable(tx: &Transaction<'_>, options: &TableOptions) -> Result<(Vec<String>, Vec<LeftOut>)> {
    let (mut fit, mut unfit) = (Vec::new(), Vec::new());
    for name in introspect::user_tables(tx)? {
        match introspect::table(tx, &name)? {
            Some(Ok(table)) => match eligibility::check(&table, options) {
                Ok(()) => match eligibility::check_rows(tx, &table)? {
                    Ok(()) => fit.push(name),
                    Err(refusal) => unfit.push((name, refusal)),
                },
                Err(refusal) => unfit.push((name, refusal)),
            },
            // The storage of a virtual table is nobody's to track, and naming it would only confuse.
            Some(Err(Refusal::Shadow)) | None => {}
            Some(Err(refusal)) => unfit.push((name, refusal)),
        }
    }
    Ok((fit, unfit))
}

/// The seq after the last, for a replica that has `last`.
pub(crate) fn following(last: u64) -> Option<Seq> {
    Seq::new(last.checked_add(1)?)
}
