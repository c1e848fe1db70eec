//! One row through the first two stages: into its table, or among the parked.

use driftless_protocol::{RowKey, Value};
use rusqlite::ffi;

use super::park::{Refused, by_itself, refused};
use super::write::{self, Clause, Effect, How, Wrote};
use super::{Act, Materializer, Queue, Step, Stop, sequence, unreadable, waits};
use crate::document::row::resolve::RowState;
use crate::error::{Error, Result};
use crate::schema::Tracked;
use crate::store::parked::{self, Reason};
use crate::store::{bases, claims, conflicts, documents, limits, texts};
use crate::turn::apply::Touched;

/// A row as its document wants it to be.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) tracked: &'a Tracked,
    pub(super) key: &'a RowKey,
    pub(super) key_values: &'a [Value<'static>],
    pub(super) state: &'a RowState<'a>,
    /// Whether it had no document before.
    pub(super) new: bool,
}

impl Materializer<'_> {
    /// Takes one row through the first two stages. Adds to `queue` the other rows of the table that must be judged
    /// because of it.
    pub(super) fn judge(&mut self, tracked: &Tracked, row: Touched, queue: &mut Queue) -> Step<()> {
        if let Some(way) = self.way {
            way.check()?;
        }
        let (table, key) = (row.table, row.key.clone());
        match self.judge_one(tracked, row, queue) {
            // It was not a write that took too long, but something else of the table's that was evaluated, such as an
            // index.
            Err(Stop::Error(Error::Sqlite { source, .. })) if limits::took_too_long(&source) => {
                Err(Stop::RolledBack((table, key, Act::Overrun)))
            }
            judged => judged,
        }
    }

    fn judge_one(&mut self, tracked: &Tracked, mut row: Touched, queue: &mut Queue) -> Step<()> {
        let Some(document) = self.document(&mut row)? else { return Ok(()) };
        let mut state = match tracked.view(&document) {
            Ok(view) => view.state,
            Err(error) => {
                unreadable(tracked, &error);
                return Ok(());
            }
        };
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
        let wanted = Wanted { tracked, key: &row.key, key_values: &key_values, state: &state, new: row.new };
        self.renew_lists(wanted)?;
        if row.local {
            self.note_local(wanted, row.before.as_deref())?;
        }
        match self.bring_about(wanted, queue)? {
            Ok(wrote) => self.admitted(tracked, &row.key, wrote)?,
            Err(reason) => self.park(tracked, &row.key, &key_values, Some(&state), &reason)?,
        }
        self.push_who_waits(tracked, &row.key, queue)
    }

    /// The row's document; `None` if it has none.
    fn document(&self, row: &mut Touched) -> Result<Option<Vec<u8>>> {
        if let Some(document) = row.document.take() {
            return Ok(Some(document));
        }
        Ok(documents::get(self.tx, row.table, row.key.as_bytes())?.map(|stored| stored.body))
    }

    /// Brings what is listed of the row beside its table up to date: conflicts, claims, bases.
    fn renew_lists(&mut self, row: Wanted<'_>) -> Result<()> {
        let table = row.tracked.id;
        if self.has_conflicts || row.state.is_in_conflict() {
            conflicts::put(self.tx, table, row.key, row.state)?;
            self.has_conflicts = true;
        }
        if self.has_claims {
            claims::remove(self.tx, table, row.key)?;
        }
        if self.has_bases {
            // From here on the table shows what the documents hold.
            bases::forget(self.tx, table, row.key.as_bytes())?;
        }
        Ok(())
    }

    /// Brings the table to the row's state if the first two stages admit that. Returns what was written, or `None` if
    /// the row is deleted; the inner error says why the row is parked.
    fn bring_about(
        &mut self,
        row: Wanted<'_>,
        queue: &mut Queue,
    ) -> Step<std::result::Result<Option<Wrote>, Reason>> {
        if !row.state.alive {
            return Ok(self.bring_about_delete(row)?.map(|()| None));
        }
        let is_shunned = |act| self.shunned.contains(&(row.tracked.id, row.key.clone(), act));
        if is_shunned(Act::Write) {
            let what = "a trigger of the table rolls back every transaction that writes this row";
            return Ok(Err(by_itself(what.to_owned(), None)));
        }
        if is_shunned(Act::Overrun) {
            let what = "to write it took too long: a constraint, an index or a trigger of the table computes too much";
            return Ok(Err(by_itself(what.to_owned(), Some("TIME".to_owned()))));
        }
        Ok(self.admit(row, queue)?.map(Some))
    }

    fn bring_about_delete(&mut self, row: Wanted<'_>) -> Step<std::result::Result<(), Reason>> {
        if let Err(error) = self.tx.prepare_cached(&row.tracked.delete) {
            // The DELETE needs something that only the application has. It is tried again when the schema has
            // changed.
            return Ok(Err(by_itself(error.to_string(), None)));
        }
        self.take_out(row.tracked, row.key)?;
        sequence::raise(self.tx, row.tracked, row.key_values)?;
        Ok(Ok(()))
    }

    /// Adds to `queue` the rows of this table that wait for this one to change.
    fn push_who_waits(&self, tracked: &Tracked, key: &RowKey, queue: &mut Queue) -> Step<()> {
        if !self.has_parked || tracked.table.unique.is_empty() {
            return Ok(());
        }
        for (table, key) in parked::waiting(self.tx, tracked.id, &waits::on_row(key), usize::MAX)? {
            if table == tracked.id {
                self.push(tracked, &key, queue)?;
            }
        }
        Ok(())
    }

    /// Called when a row is where the first two stages want it. `wrote`: what was written, if the row is in its
    /// table.
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
            // The row goes on waiting for what it waited for, so the rows that were known to stay parked still are.
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

    /// Adds a row to be judged, perhaps again, after the current one.
    pub(super) fn push(&self, tracked: &Tracked, key: &[u8], queue: &mut Queue) -> Result<()> {
        let key = RowKey::from_bytes(key)
            .map_err(|error| Error::Damaged { table: "_driftless_parked", what: error.to_string() })?;
        queue.entry(key.clone()).or_insert_with(|| Touched::again(tracked.id, key));
        Ok(())
    }

    /// Puts a row into its table if the first two stages admit it. The inner error says why not.
    fn admit(&mut self, row: Wanted<'_>, queue: &mut Queue) -> Step<std::result::Result<Wrote, Reason>> {
        if let Some((column, sum)) = row.state.overflow() {
            let what = format!(
                "counter '{column}' adds up to {sum}, which no 64-bit integer holds; write the row anew with a value that fits"
            );
            return Ok(Err(by_itself(what, Some("COUNTER".to_owned()))));
        }
        if self.has_claims
            && !row.tracked.table.unique.is_empty()
            && let Some(reason) = self.claimed(row, queue)?
        {
            return Ok(Err(reason));
        }
        // Each round takes at least one row out of the way, and each index has at most one row in the way.
        for _ in 0..=row.tracked.table.unique.len() + 1 {
            match self.try_to_write(row)? {
                Ok(wrote) => return Ok(Ok(wrote)),
                Err(Refused::Itself(reason)) => return Ok(Err(reason)),
                Err(Refused::Unique) => {
                    if let Some(reason) = self.make_way(row, queue)? {
                        return Ok(Err(reason));
                    }
                }
            }
        }
        let what = "a UNIQUE constraint refuses it, and no row is found that stands in its way".to_owned();
        Ok(Err(by_itself(what, None)))
    }

    /// Writes a row, if SQLite lets it; the inner error says how it was refused.
    fn try_to_write(&self, row: Wanted<'_>) -> Step<std::result::Result<Wrote, Refused>> {
        let time = self.row_time(row.tracked.id);
        let (abort, ignore) = (How { clause: Clause::Abort, time }, How { clause: Clause::Ignore, time });
        let rolled_back = |act| Err(Stop::RolledBack((row.tracked.id, row.key.clone(), act)));
        let error = match write::write(self.tx, row, abort) {
            Ok(Wrote { effect: Effect::Ignored, .. }) => {
                let what = "a trigger of the table ignores the row".to_owned();
                return Ok(Err(Refused::Itself(by_itself(what, Some("TRIGGER".to_owned())))));
            }
            Ok(wrote) => return Ok(Ok(wrote)),
            Err(error) if self.tx.is_autocommit() => {
                return rolled_back(if limits::took_too_long(&error) { Act::Overrun } else { Act::Write });
            }
            Err(error) => error,
        };
        // The row that a trigger would write here has come from the author as a row of its own, and that row is in the
        // trigger's way. If a trigger refuses the row, it would refuse it again; and RAISE(FAIL) leaves the row in
        // the table, where it would look as if it had been written.
        if row.tracked.meddles
            && !is_raised(&error)
            && let Ok(wrote) = write::write(self.tx, row, ignore)
            && wrote.effect != Effect::Ignored
        {
            return Ok(Ok(wrote));
        }
        if self.tx.is_autocommit() {
            return rolled_back(Act::Overrun);
        }
        Ok(Err(refused(row.tracked, error)?))
    }

    /// Notes the values that other rows refer to and that a write of the user's has taken away. That write is in the
    /// table already: SQLite allowed it because foreign keys were not enforced.
    fn note_local(&mut self, row: Wanted<'_>, before: Option<&[u8]>) -> Result<()> {
        let Wanted { tracked, key_values, state, .. } = row;
        // The texts are not filled in: no row refers to them.
        let Some(before) = before.map(|before| tracked.view(before)).transpose()? else { return Ok(()) };
        let before = before.state;
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
