//! One row through the first two stages: into its table, or among the parked.

use driftless_protocol::{RowKey, Value};
use rusqlite::ffi;

use super::park::{Refused, by_itself, refused};
use super::write::{self, Clause, Effect, How, Wrote};
use super::{Act, Materializer, Queue, Step, Stop, sequence, unreadable, waits};
use crate::document;
use crate::document::row::resolve::RowState;
use crate::error::{Error, Result};
use crate::schema::Tracked;
use crate::store::parked::{self, Reason};
use crate::store::{bases, claims, conflicts, documents, limits, texts};
use crate::turn::apply::Touched;

impl Materializer<'_> {
    /// One row through the first two stages. Rows that this concerns are added to `queue`.
    pub(super) fn judge(&mut self, tracked: &Tracked, row: Touched, queue: &mut Queue) -> Step<()> {
        let (table, key) = (row.table, row.key.clone());
        match self.judge_one(tracked, row, queue) {
            // Between the writes something of the table's was evaluated, and took too long.
            Err(Stop::Error(Error::Sqlite { source, .. })) if limits::took_too_long(&source) => {
                Err(Stop::RolledBack((table, key, Act::Overrun)))
            }
            judged => judged,
        }
    }

    fn judge_one(&mut self, tracked: &Tracked, row: Touched, queue: &mut Queue) -> Step<()> {
        let document = match row.document {
            Some(document) => document,
            None => match documents::get(self.tx, row.table, row.key.as_bytes())? {
                Some(stored) => stored.body,
                None => return Ok(()),
            },
        };
        let lanes = match document::row::lanes(&document) {
            Ok(lanes) => lanes.renamed(&tracked.renames),
            Err(error) => {
                unreadable(tracked, &error);
                return Ok(());
            }
        };
        let mut state = lanes.state(tracked.options.deletes_win);
        if planted!(DeletesWinTooLate) && write::read_row(self.tx, tracked, &row.key.values())?.is_some() {
            state = lanes.state(false);
        }
        let key_values = row.key.values();
        if !tracked.table.can_have(self.tx, &row.key, &key_values)? {
            return self.keep_aside(tracked, &row.key, &key_values, &state);
        }
        match self.fill_texts(tracked, &row.key, &mut state, row.new) {
            Err(Error::TextDoc(error)) => {
                unreadable(tracked, &error);
                return Ok(());
            }
            filled => filled?,
        }
        if self.has_conflicts || state.is_in_conflict() {
            conflicts::put(self.tx, tracked.id, &row.key, &state)?;
            self.has_conflicts = true;
        }
        if self.has_claims {
            claims::remove(self.tx, tracked.id, &row.key)?;
        }
        if self.has_bases {
            // From here on the table shows what the documents hold.
            bases::forget(self.tx, tracked.id, row.key.as_bytes())?;
        }
        if row.local {
            self.note_local(tracked, &key_values, &state, row.before.as_deref())?;
        }
        let verdict = if !state.alive {
            match self.tx.prepare_cached(&tracked.delete) {
                // It needs something that only the application has; it is tried again when the schema has changed.
                Err(error) => Err(by_itself(error.to_string(), None)),
                Ok(_) => {
                    self.take_out(tracked, &row.key)?;
                    sequence::raise(self.tx, tracked, &key_values)?;
                    Ok(None)
                }
            }
        } else if self.shunned.contains(&(row.table, row.key.clone(), Act::Write)) {
            Err(by_itself(
                "a trigger of the table rolls back every transaction that writes this row".to_owned(),
                None,
            ))
        } else if self.shunned.contains(&(row.table, row.key.clone(), Act::Overrun)) {
            let what = "to write it took too long: a constraint, an index or a trigger of the table computes too much";
            Err(by_itself(what.to_owned(), Some("TIME".to_owned())))
        } else {
            self.admit(tracked, &row.key, &key_values, &state, row.new, queue)?.map(Some)
        };
        match verdict {
            Ok(wrote) => {
                self.admitted(tracked, &row.key, wrote)?;
            }
            Err(reason) => self.park(tracked, &row.key, &key_values, Some(&state), &reason)?,
        }
        if planted!(ParkedStays) && !state.alive {
            return Ok(());
        }
        if self.has_parked && !tracked.table.unique.is_empty() {
            for (table, key) in parked::waiting(self.tx, tracked.id, &waits::on_row(&row.key), usize::MAX)? {
                if table == tracked.id {
                    self.push(tracked, &key, queue)?;
                }
            }
        }
        Ok(())
    }

    /// A row is where the first two stages want it. `wrote`: what that took, for one that is in its table.
    fn admitted(&mut self, tracked: &Tracked, key: &RowKey, wrote: Option<Wrote>) -> Step<()> {
        let mut waited = None;
        if self.has_parked {
            waited = parked::waits(self.tx, tracked.id, key)?.and_then(|(_, waits)| waits);
            parked::remove(self.tx, tracked.id, key)?;
        }
        let Some(wrote) = wrote else { return Ok(()) };
        if wrote.effect == Effect::Came
            && let Some(orphan) = self.still_lacks(tracked, key, waited.as_ref())?
        {
            // It waits on as it did, so what is hopeless stays so.
            let (changed, hopeless) = (self.changed.len(), std::mem::take(&mut self.hopeless));
            self.expel(orphan)?;
            self.changed.truncate(changed);
            self.hopeless = hopeless;
        } else {
            self.note(tracked, key, &wrote);
        }
        Ok(())
    }

    /// Fills in what the row's text documents hold. `absent`: the row is not in its table.
    pub(super) fn fill_texts(
        &self,
        tracked: &Tracked,
        key: &RowKey,
        state: &mut RowState<'_>,
        absent: bool,
    ) -> Result<()> {
        if state.texts().next().is_none() {
            return Ok(());
        }
        let row = if absent { None } else { write::read_row(self.tx, tracked, &key.values())? };
        let guess = |name: &str| {
            let at = tracked.table.columns.iter().position(|column| column.name == name)?;
            match row.as_ref()?.get(at)? {
                Value::Text(text) => Some(&**text),
                _ => None,
            }
        };
        texts::fill(self.tx, tracked.id, key.as_bytes(), state, guess)
    }

    /// A row to be judged (again) after the one at hand.
    pub(super) fn push(&self, tracked: &Tracked, key: &[u8], queue: &mut Queue) -> Result<()> {
        let key = RowKey::from_bytes(key)
            .map_err(|error| Error::Damaged { table: "_driftless_parked", what: error.to_string() })?;
        queue.entry(key.clone()).or_insert_with(|| Touched::again(tracked.id, key));
        Ok(())
    }

    /// Puts a row into its table if the first two stages admit it. The inner error says why not.
    fn admit(
        &mut self,
        tracked: &Tracked,
        key: &RowKey,
        key_values: &[Value<'static>],
        state: &RowState<'_>,
        new: bool,
        queue: &mut Queue,
    ) -> Step<std::result::Result<Wrote, Reason>> {
        if state.alive
            && let Some((column, sum)) = state.overflow()
        {
            let what = format!(
                "counter '{column}' adds up to {sum}, which no 64-bit integer holds; write the row anew with a value that fits"
            );
            return Ok(Err(by_itself(what, Some("COUNTER".to_owned()))));
        }
        if state.alive
            && self.has_claims
            && !tracked.table.unique.is_empty()
            && let Some(reason) = self.claimed(tracked, key, key_values, state, queue)?
        {
            return Ok(Err(reason));
        }
        let time = self.row_time(tracked.id);
        let (abort, ignore) = (How { clause: Clause::Abort, time }, How { clause: Clause::Ignore, time });
        // Each time at least one row makes way, and in each index at most one can be in the way.
        for _ in 0..=tracked.table.unique.len() + 1 {
            let error = match write::write(self.tx, tracked, key_values, state, new, abort) {
                Ok(Wrote { effect: Effect::Ignored, .. }) => {
                    let what = "a trigger of the table ignores the row".to_owned();
                    return Ok(Err(by_itself(what, Some("TRIGGER".to_owned()))));
                }
                Ok(wrote) => return Ok(Ok(wrote)),
                Err(error) if self.tx.is_autocommit() => {
                    let act = if limits::took_too_long(&error) { Act::Overrun } else { Act::Write };
                    return Err(Stop::RolledBack((tracked.id, key.clone(), act)));
                }
                Err(error) => error,
            };
            // What a trigger would write here has come with the row, as a row of its own, and is in its way. What a trigger
            // refuses it refuses again, and RAISE(FAIL) leaves the row, so that it would be found to be there.
            if tracked.meddles
                && !is_raised(&error)
                && let Ok(wrote) = write::write(self.tx, tracked, key_values, state, new, ignore)
                && wrote.effect != Effect::Ignored
            {
                return Ok(Ok(wrote));
            }
            if self.tx.is_autocommit() {
                return Err(Stop::RolledBack((tracked.id, key.clone(), Act::Overrun)));
            }
            match refused(tracked, error)? {
                Refused::Itself(reason) => return Ok(Err(reason)),
                Refused::Unique => {
                    if let Some(reason) = self.make_way(tracked, key, key_values, state, queue)? {
                        return Ok(Err(reason));
                    }
                }
            }
        }
        let what = "a UNIQUE constraint refuses it, and no row is found that stands in its way".to_owned();
        Ok(Err(by_itself(what, None)))
    }

    /// Notes what a write of the user's, which was in the table already, took from those who refer to the row: with
    /// enforcement off, SQLite let it.
    fn note_local(
        &mut self,
        tracked: &Tracked,
        key_values: &[Value<'static>],
        state: &RowState<'_>,
        before: Option<&[u8]>,
    ) -> Result<()> {
        // Texts aside: nobody refers to those.
        let before = before.map(document::row::lanes).transpose()?;
        let before = before.map(|lanes| lanes.renamed(&tracked.renames));
        let Some(before) = before.map(|lanes| lanes.state(tracked.options.deletes_win)) else {
            return Ok(());
        };
        let value_in = |state: &RowState<'_>, place: usize| {
            let shown =
                state.value(&tracked.table.columns[place].name).map(|value| value.clone().into_owned());
            let in_key = tracked.table.key.iter().position(|key| key.at == place);
            shown.or_else(|| key_values.get(in_key?).cloned())
        };
        for target in &tracked.targets {
            let kept = state.alive
                && target.places.as_ref().is_some_and(|places| {
                    places.iter().all(|&place| value_in(state, place) == value_in(&before, place))
                });
            if !kept {
                self.pending.gone(target, |place| value_in(&before, place));
            }
        }
        Ok(())
    }
}

/// Whether a trigger refused the write.
fn is_raised(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_CONSTRAINT_TRIGGER)
}
