//! Beginning and ceasing to track tables: triggers, options, what the space already says of them. A few writes in
//! one transaction, so it needs no engine: it works beside a running one, which then captures the rows.

use driftless_protocol::Seq;
use rusqlite::Transaction;

use crate::config::TableOptions;
use crate::error::{Error, Result};
use crate::schema::eligibility::{self, Refusal};
use crate::schema::{definitions, introspect, reconcile};
use crate::store::fold;
use crate::store::tables::{self, State};

/// Begins to track tables. One that is tracked already with the same options is left as it is.
/// Fails on the first that cannot be, and then the transaction must be rolled back.
pub(crate) fn track(
    tx: &Transaction<'_>,
    names: &[&str],
    options: TableOptions,
    now: i64,
) -> Result<Vec<String>> {
    names.iter().map(|name| track_one(tx, name, options, now)).collect()
}

fn track_one(tx: &Transaction<'_>, name: &str, options: TableOptions, now: i64) -> Result<String> {
    let refuse = |refusal| Error::NotTrackable { table: name.to_owned(), refusal };
    let table = introspect::table(tx, name)?.ok_or(refuse(Refusal::NoSuchTable))?.map_err(refuse)?;
    eligibility::check(&table, options).map_err(refuse)?;
    let local = fold(&table.spelled);
    // A table that was renamed travels under its first name.
    let known = tables::called(tx, &local)?;
    let folded = match &known {
        Some(entry) => entry.name.clone(),
        None => definitions::named(tx, &local)?.map_or(local, |definition| definition.name),
    };
    let known = match known {
        Some(entry) => Some(entry),
        None => tables::find(tx, &folded)?,
    };
    if let Some(entry) = &known
        && entry.state == State::Tracked
        && fold(&entry.spelled) != fold(&table.spelled)
    {
        return Err(refuse(Refusal::NameTaken(entry.spelled.clone())));
    }
    if known.as_ref().is_none_or(|entry| entry.state != State::Tracked) {
        eligibility::check_rows(tx, &table)?.map_err(refuse)?;
    }
    let agreed = match &known {
        Some(entry) if entry.state == State::Tracked => Some(entry.options),
        _ => definitions::find(tx, &folded)?.map(|definition| definition.options),
    };
    if let Some(agreed) = agreed.filter(|agreed| agreed.deletes_win != options.deletes_win) {
        return Err(Error::Contradiction {
            table: table.spelled,
            existing: describe(agreed).to_owned(),
            asked: describe(options).to_owned(),
        });
    }
    let mut entry = match known {
        Some(entry) if entry.state == State::Tracked => return Ok(entry.spelled),
        Some(entry) => entry,
        None => {
            tables::add(tx, &folded, &table.spelled, State::Unknown)?;
            tables::find(tx, &folded)?.ok_or(Error::NotTracked(name.to_owned()))?
        }
    };
    entry.options = options;
    reconcile::begin(tx, entry, &table, now)?;
    Ok(table.spelled)
}

fn describe(options: TableOptions) -> &'static str {
    if options.deletes_win { "deletes winning over edits" } else { "edits winning over deletes" }
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
pub(crate) fn trackable(tx: &Transaction<'_>, options: TableOptions) -> Result<(Vec<String>, Vec<LeftOut>)> {
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
