//! Rows that are kept out of their tables: how SQLite refuses one, and what is listed of it.

use driftless_protocol::{RowKey, Value};
use rusqlite::{ErrorCode, ffi};

use super::write::{self, Effect};
use super::{Act, Materializer, Step, Stop};
use crate::document::json::to_json;
use crate::document::row::resolve::RowState;
use crate::error::{Doing, Error, Result};
use crate::schema::Tracked;
use crate::store::parked::{self, Reason, Stage};

/// How SQLite refused a row.
pub(super) enum Refused {
    /// Another row holds a UNIQUE value.
    Unique,
    /// For its own sake.
    Itself(Reason),
}

impl Materializer<'_> {
    /// Takes a row out of its table. A trigger that refuses or ignores that is not asked: were the row to stay, a constraint
    /// would be broken, or this table would show what others do not.
    pub(super) fn take_out(&mut self, tracked: &Tracked, key: &RowKey) -> Step<()> {
        let key_values = key.values();
        if !self.shunned.contains(&(tracked.id, key.clone(), Act::TakeOut)) {
            match write::delete(self.tx, tracked, &key_values, Some(self.row_time(tracked.id))) {
                Ok(wrote) if wrote.effect == Effect::Went => {
                    self.note(tracked, key, &wrote);
                    return Ok(());
                }
                Ok(_) if write::read_row(self.tx, tracked, &key_values)?.is_none() => return Ok(()),
                Ok(_) => {}
                Err(_) if self.tx.is_autocommit() => {
                    return Err(Stop::RolledBack((tracked.id, key.clone(), Act::TakeOut)));
                }
                // What only the application can write, nobody here can take out either.
                Err(error @ rusqlite::Error::SqlInputError { .. }) => {
                    tracing::error!(table = %tracked.name, %error, "a row cannot be deleted");
                    return Ok(());
                }
                Err(error) => match refused(tracked, error)? {
                    Refused::Itself(_) | Refused::Unique => {}
                },
            }
        }
        let were_on = self.switch_triggers(false)?;
        let taken_out = write::delete(self.tx, tracked, &key_values, None).doing("deleting a row");
        self.switch_triggers(were_on)?;
        let wrote = taken_out?;
        if wrote.effect == Effect::Went {
            self.note(tracked, key, &wrote);
        }
        Ok(())
    }

    /// Lists a row that has a key which no row of the table can have, if it is alive. What the table has under that key
    /// would be another row.
    pub(super) fn keep_aside(
        &mut self,
        tracked: &Tracked,
        key: &RowKey,
        key_values: &[Value<'static>],
        state: &RowState<'_>,
    ) -> Step<()> {
        if !state.alive {
            parked::remove(self.tx, tracked.id, key)?;
            return Ok(());
        }
        let columns = tracked.table.key_columns();
        let sentence = format!("no row of this table can have this key, which should be one of ({columns})");
        let reason = by_itself(sentence, Some("PRIMARY KEY".to_owned()));
        parked::put(self.tx, tracked.id, key, &reason, Some(&listed(tracked, key_values, state)))?;
        self.has_parked = true;
        Ok(())
    }

    /// Keeps a row out of its table and lists it.
    pub(super) fn park(
        &mut self,
        tracked: &Tracked,
        key: &RowKey,
        key_values: &[Value<'static>],
        state: Option<&RowState<'_>>,
        reason: &Reason,
    ) -> Step<()> {
        tracing::debug!(table = %tracked.name, reason = reason.sentence, "parked");
        self.take_out(tracked, key)?;
        self.hopeless.clear();
        let row = state.map(|state| listed(tracked, key_values, state));
        parked::put(self.tx, tracked.id, key, reason, row.as_deref())?;
        self.has_parked = true;
        Ok(())
    }
}

pub(super) fn by_itself(sentence: String, rule: Option<String>) -> Reason {
    Reason { stage: Stage::Itself, rule, sentence, clash: None, waits: None }
}

/// How a row is refused; or the error itself, where it is not the row's fault.
pub(super) fn refused(tracked: &Tracked, error: rusqlite::Error) -> Result<Refused> {
    // A statement that cannot be prepared needs something that only the application has: a function, a collation.
    let ours = !matches!(error, rusqlite::Error::SqlInputError { .. })
        && matches!(
            error.sqlite_error_code(),
            None | Some(
                ErrorCode::DiskFull
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::DatabaseCorrupt
                    | ErrorCode::NotADatabase
                    | ErrorCode::OutOfMemory
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
                    | ErrorCode::ReadOnly
                    | ErrorCode::OperationInterrupted
            )
        );
    if ours {
        return Err(Error::Sqlite { doing: "writing a merged row", source: error });
    }
    let code = error.sqlite_error().map_or(0, |error| error.extended_code);
    let message = match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message,
        other => other.to_string(),
    };
    let detail = message.split_once(": ").map_or(&*message, |(_, detail)| detail);
    let rule = match code {
        ffi::SQLITE_CONSTRAINT_UNIQUE if !tracked.table.unique.is_empty() => return Ok(Refused::Unique),
        ffi::SQLITE_CONSTRAINT_CHECK => Some(format!("CHECK ({detail})")),
        ffi::SQLITE_CONSTRAINT_NOTNULL => {
            Some(format!("NOT NULL ({})", detail.rsplit('.').next().unwrap_or(detail)))
        }
        ffi::SQLITE_CONSTRAINT_DATATYPE => Some("STRICT".to_owned()),
        ffi::SQLITE_CONSTRAINT_TRIGGER => Some("TRIGGER".to_owned()),
        _ => None,
    };
    Ok(Refused::Itself(by_itself(message, rule)))
}

/// The values of a row for people and programs: a JSON object, by column.
pub(super) fn listed(tracked: &Tracked, key_values: &[Value<'static>], state: &RowState<'_>) -> String {
    let columns = write::wanted(tracked, key_values, state);
    let row: serde_json::Map<_, _> = columns
        .into_iter()
        .map(|(at, value)| (tracked.table.columns[at].spelled.clone(), to_json(&value)))
        .collect();
    serde_json::Value::Object(row).to_string()
}
