//! Row documents → user tables, as far as the tables' own constraints allow.
//!
//! A row that is alive in its document becomes a row of its table, or is *parked*: kept out, and listed with the reason.
//! Which rows are parked is a function of the documents and the schema, whatever came when. There are three stages,
//! each judged only on what the one before admitted:
//!
//! 1. *by itself*: NOT NULL, CHECK, STRICT types, a trigger that raises;
//! 2. *UNIQUE*: in ascending order of the keys; a row whose value one with a smaller key holds is parked;
//! 3. *references*: what has no parent is parked, until nothing changes; see [`references`].
//!
//! Only what may have changed is judged: the rows that were touched, those that waited for one of them, and those whose
//! values or parents they took. All work is done in the tables themselves, in the engine's transaction: SQLite's own
//! indexes say who holds what, and nobody sees the steps between.

mod references;
mod shadow;
mod waits;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use driftless_protocol::{RowKey, Value};
use rusqlite::config::DbConfig;
use rusqlite::{ErrorCode, Transaction, ffi, params_from_iter};

use crate::apply::Touched;
use crate::changes::ChangedRow;
use crate::error::{Doing, Error, Result};
use crate::json::to_json;
use crate::row_doc;
use crate::row_doc::resolve::RowState;
use crate::schema::{Catalog, Tracked};
use crate::store::parked::{Reason, Stage};
use crate::store::tables::DEFINITIONS;
use crate::store::{Bind, bases, claims, conflicts, dirty, documents, parked, quote, texts};
use references::{Check, Pending};
use shadow::Shadows;
pub(crate) use write::wanted;
use write::{Clause, Effect, Wrote};

/// A row whose trigger rolled the whole transaction back.
pub(crate) type RolledBack = (i64, RowKey);

/// Why materializing stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It failed, and so does the turn.
    Error(Error),
    /// A trigger of the user's rolled the transaction back while this row was written; the turn must begin again
    /// without it.
    RolledBack(RolledBack),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

type Step<T> = std::result::Result<T, Stop>;

/// The rows of one table that are still to be judged, by key.
type Queue = BTreeMap<RowKey, Touched>;

/// Writes rows for the length of one turn.
#[derive(Debug)]
pub(crate) struct Materializer<'a> {
    tx: &'a Transaction<'a>,
    catalog: &'a Catalog,
    /// Rows to be parked unseen.
    shunned: &'a HashSet<RolledBack>,
    has_conflicts: bool,
    has_parked: bool,
    has_claims: bool,
    has_bases: bool,
    shadows: Shadows,
    pending: Pending,
    /// Rows that are now other than they were.
    pub(crate) changed: Vec<ChangedRow>,
    /// Whether the space's definitions of tables changed.
    pub(crate) definitions: bool,
}

/// How SQLite refused a row.
enum Refused {
    /// Another row holds a UNIQUE value.
    Unique,
    /// For its own sake.
    Itself(Reason),
}

impl<'a> Materializer<'a> {
    pub(crate) fn new(
        tx: &'a Transaction<'a>,
        catalog: &'a Catalog,
        shunned: &'a HashSet<RolledBack>,
    ) -> Result<Self> {
        Ok(Self {
            has_conflicts: !conflicts::is_empty(tx)?,
            has_parked: !parked::is_empty(tx)?,
            has_claims: !claims::is_empty(tx)?,
            has_bases: !bases::is_empty(tx)?,
            tx,
            catalog,
            shunned,
            shadows: Shadows::default(),
            pending: Pending::default(),
            changed: Vec::new(),
            definitions: false,
        })
    }

    /// The tables that are written to.
    pub(crate) fn catalog(&self) -> &'a Catalog {
        self.catalog
    }

    /// Looks for the parents of all rows of a table, and of all rows that refer to it, when the turn ends.
    pub(crate) fn judge_all(&mut self, table: i64) {
        let Some(tracked) = self.catalog.get(table) else { return };
        if !tracked.table.references.is_empty() {
            self.pending.check_all(table);
        }
        for child in tracked.targets.iter().flat_map(|target| &target.children) {
            self.pending.check_all(child.table);
        }
    }

    /// Judges and writes rows, which must ascend by table and key, each once: the first two stages.
    pub(crate) fn rows(&mut self, touched: Vec<Touched>) -> Step<()> {
        if touched.is_empty() {
            return Ok(());
        }
        self.announce()?;
        let mut touched = touched.into_iter().peekable();
        while let Some(first) = touched.peek() {
            let table = first.table;
            let of_table = std::iter::from_fn(|| touched.next_if(|row| row.table == table));
            let Some(tracked) = self.catalog.get(table) else {
                of_table.for_each(drop);
                continue;
            };
            let mut queue = Queue::new();
            if tracked.table.unique.is_empty() {
                for row in of_table {
                    self.judge(tracked, row, &mut queue)?;
                }
            } else {
                queue.extend(of_table.map(|row| (row.key.clone(), row)));
            }
            // Whatever is added on the way has a greater key than the row that it was added for.
            while let Some((_, row)) = queue.pop_first() {
                self.judge(tracked, row, &mut queue)?;
            }
        }
        self.renounce()
    }

    /// Ends the turn: the third stage, and then what the user's triggers did to other rows meanwhile is undone.
    pub(crate) fn settle(&mut self) -> Step<()> {
        self.settle_references()?;
        if self.catalog.iter().any(|table| table.watched) { self.undo_effects() } else { Ok(()) }
    }

    /// Brings the rows back to their documents that the user's triggers have written while we wrote others: what they
    /// wrote for the author travels, and here it would come on top. Our own triggers on such tables have marked
    /// everything that was written; nothing else is in the log, since we write only when it is drained.
    ///
    /// The triggers run on what is undone, too: a full-text index must hear of it. Those that never come to an end, as
    /// one does that sets a time at each update, are switched off in the last round.
    fn undo_effects(&mut self) -> Step<()> {
        const ROUNDS: usize = 3;
        for round in 1..=ROUNDS {
            let marks = dirty::read(self.tx, usize::MAX >> 1)?;
            let Some(last) = marks.last() else { return Ok(()) };
            dirty::forget(self.tx, last.id)?;
            let mut rows = BTreeSet::new();
            for mut mark in marks {
                let Some(tracked) = self.catalog.get(mark.table) else { continue };
                mark.key.truncate(tracked.table.key.len());
                rows.extend(tracked.table.row_key(&mark.key).ok().map(|key| (mark.table, key)));
            }
            if round < ROUNDS {
                self.restore(rows)?;
            } else {
                self.switch_triggers(false)?;
                let restored = self.restore(rows);
                self.switch_triggers(true)?;
                return restored;
            }
        }
        Ok(())
    }

    fn switch_triggers(&self, on: bool) -> Result<()> {
        let set = self.tx.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, on);
        set.map(|_| ()).doing("switching the triggers")
    }

    fn restore(&mut self, rows: BTreeSet<(i64, RowKey)>) -> Step<()> {
        let mut touched = Vec::with_capacity(rows.len());
        self.announce()?;
        for (table, key) in rows {
            let Some(tracked) = self.catalog.get(table) else { continue };
            if documents::get(self.tx, table, key.as_bytes())?.is_some() {
                touched.push(Touched::again(table, key));
            } else if !parked::is_listed(self.tx, table, &key)? {
                // A row that a trigger made, which nobody wrote.
                self.take_out(tracked, &key)?;
            }
        }
        self.renounce()?;
        self.rows(touched)?;
        self.settle_references()
    }

    /// Judges what refers to what, for everything that was written since the last time: the third stage.
    fn settle_references(&mut self) -> Step<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.announce()?;
        while let Some((table, key)) = self.pending.next_came() {
            let Some(tracked) = self.catalog.get(table) else { continue };
            for waits in references::ends_waiting(self.tx, self.catalog, tracked, &key)? {
                for (child, key) in parked::waiting(self.tx, table, &waits)? {
                    self.revive(child, &key)?;
                }
            }
        }
        loop {
            if let Some(gone) = self.pending.next_gone() {
                references::look_for_children(self.tx, self.catalog, &mut self.pending, &gone)?;
            } else if let Some((table, check)) = self.pending.next_check() {
                let Some(tracked) = self.catalog.get(table) else { continue };
                let orphans = match check {
                    Check::All => references::orphans(self.tx, tracked)?,
                    Check::Rows(keys) => {
                        let mut orphans = Vec::new();
                        for key in &keys {
                            orphans.extend(references::orphan(self.tx, tracked, key)?);
                        }
                        orphans
                    }
                };
                for orphan in orphans {
                    self.expel(tracked, orphan)?;
                }
            } else {
                break;
            }
        }
        self.renounce()
    }

    /// Tells the triggers that it is us who write.
    fn announce(&self) -> Result<()> {
        let doing = "announcing our own writes to the triggers";
        self.tx.execute("INSERT INTO _driftless_applying (one) VALUES (1)", []).doing(doing)?;
        Ok(())
    }

    fn renounce(&self) -> Step<()> {
        let doing = "announcing our own writes to the triggers";
        self.tx.execute("DELETE FROM _driftless_applying", []).doing(doing)?;
        Ok(())
    }

    /// One row through the first two stages. Rows that this concerns are added to `queue`.
    fn judge(&mut self, tracked: &Tracked, row: Touched, queue: &mut Queue) -> Step<()> {
        let document = match row.document {
            Some(document) => document,
            None => match documents::get(self.tx, row.table, row.key.as_bytes())? {
                Some(stored) => stored.body,
                None => return Ok(()),
            },
        };
        let lanes = match row_doc::lanes(&document) {
            Ok(lanes) => lanes.renamed(&tracked.renames),
            Err(error) => {
                // It holds nothing else up: the row stays as it is until it is written, or mended by `verify`.
                tracing::error!(table = %tracked.name, %error, "a row document cannot be read");
                return Ok(());
            }
        };
        let mut state = lanes.state(tracked.options.deletes_win);
        match self.fill_texts(tracked, &row.key, &mut state, row.new) {
            Err(Error::TextDoc(error)) => {
                tracing::error!(table = %tracked.name, %error, "a text document cannot be read");
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
        let key_values = row.key.values();
        if row.local {
            self.note_local(tracked, &key_values, &state, row.before.as_deref())?;
        }
        let verdict = if self.shunned.contains(&(row.table, row.key.clone())) {
            Err(by_itself(
                "a trigger of the table rolls back every transaction that writes this row".to_owned(),
                None,
            ))
        } else {
            self.admit(tracked, &row.key, &key_values, &state, row.new, queue)?
        };
        match verdict {
            Ok(wrote) => {
                if self.has_parked {
                    parked::remove(self.tx, tracked.id, &row.key)?;
                }
                self.note(tracked, &row.key, &wrote);
            }
            Err(reason) => self.park(tracked, &row.key, &key_values, Some(&state), &reason)?,
        }
        if self.has_parked && !tracked.table.unique.is_empty() {
            for (table, key) in parked::waiting(self.tx, tracked.id, &waits::on_row(&row.key))? {
                if table == tracked.id {
                    self.push(tracked, &key, queue)?;
                }
            }
        }
        Ok(())
    }

    /// Fills in what the row's text documents hold. `absent`: the row is not in its table.
    fn fill_texts(
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
    fn push(&self, tracked: &Tracked, key: &[u8], queue: &mut Queue) -> Result<()> {
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
        // Each time at least one row makes way, and in each index at most one can be in the way.
        for _ in 0..=tracked.table.unique.len() + 1 {
            let error = match write::write(self.tx, tracked, key_values, state, new, Clause::Abort) {
                Ok(Wrote { effect: Effect::Ignored, .. }) => {
                    let what = "a trigger of the table ignores the row".to_owned();
                    return Ok(Err(by_itself(what, Some("TRIGGER".to_owned()))));
                }
                Ok(wrote) => return Ok(Ok(wrote)),
                Err(_) if self.tx.is_autocommit() => return Err(Stop::RolledBack((tracked.id, key.clone()))),
                Err(error) => error,
            };
            // What a trigger would write here has come with the row, as a row of its own, and is in its way.
            if tracked.meddles
                && let Ok(wrote) = write::write(self.tx, tracked, key_values, state, new, Clause::Ignore)
                && wrote.effect != Effect::Ignored
            {
                return Ok(Ok(wrote));
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

    /// Takes the rows out of the table that stand in a row's way, if it comes before all of them; they are judged again
    /// in their turn. Otherwise the reason why the row is parked.
    fn make_way(
        &mut self,
        tracked: &Tracked,
        key: &RowKey,
        key_values: &[Value<'static>],
        state: &RowState<'_>,
        queue: &mut Queue,
    ) -> Step<Option<Reason>> {
        let held = match self.shadows.unique_values(self.tx, tracked, key_values, state)? {
            Ok(held) => held,
            Err(error) => {
                return match refused(tracked, error)? {
                    Refused::Itself(reason) => Ok(Some(reason)),
                    Refused::Unique => Ok(Some(by_itself("a UNIQUE constraint refuses it".to_owned(), None))),
                };
            }
        };
        let mut in_the_way: BTreeMap<RowKey, String> = BTreeMap::new();
        for (unique, values) in tracked.table.unique.iter().zip(&held) {
            let Some(values) = values else { continue };
            let equal = unique.terms.iter().enumerate().map(|(n, term)| format!("{} = ?{}", term.sql, n + 1));
            let sql = format!(
                "SELECT {} FROM main.{} WHERE {} AND ({}\n)",
                tracked.table.key_columns(),
                quote(&tracked.table.spelled),
                equal.collect::<Vec<_>>().join(" AND "),
                unique.filter.as_deref().unwrap_or("1"),
            );
            let doing = "looking for the row that holds a UNIQUE value";
            let mut select = self.tx.prepare_cached(&sql).doing(doing)?;
            let mut rows = select.query(params_from_iter(values.iter().map(Bind))).doing(doing)?;
            while let Some(row) = rows.next().doing(doing)? {
                match references::key_of(tracked, row)? {
                    Some(holder) if holder == *key => {}
                    Some(holder) if documents::get(self.tx, tracked.id, holder.as_bytes())?.is_some() => {
                        in_the_way.entry(holder).or_insert_with(|| unique.rule.clone());
                    }
                    _ => {
                        return Ok(Some(Reason {
                            stage: Stage::Unique,
                            rule: Some(unique.rule.clone()),
                            sentence: format!(
                                "{}: a row that cannot travel and stays in this file holds the value",
                                unique.rule
                            ),
                            clash: None,
                            waits: None,
                        }));
                    }
                }
            }
        }
        if let Some((smallest, rule)) = in_the_way.first_key_value()
            && smallest < key
        {
            return Ok(Some(taken(tracked.id, rule, smallest)));
        }
        for (holder, _) in in_the_way {
            self.take_out(tracked, &holder)?;
            self.push(tracked, holder.as_bytes(), queue)?;
        }
        Ok(None)
    }

    /// Whether a parked row that waits for its parent holds one of the row's values. One with a smaller key keeps it;
    /// one with a greater is judged again.
    fn claimed(
        &mut self,
        tracked: &Tracked,
        key: &RowKey,
        key_values: &[Value<'static>],
        state: &RowState<'_>,
        queue: &mut Queue,
    ) -> Step<Option<Reason>> {
        // What is refused by itself, SQLite will say.
        let Ok(held) = self.shadows.unique_values(self.tx, tracked, key_values, state)? else {
            return Ok(None);
        };
        for (unique, values) in tracked.table.unique.iter().zip(&held) {
            let Some(bytes) = values.as_ref().and_then(|values| shadow::bytes(unique, values)) else {
                continue;
            };
            for holder in claims::holders(self.tx, tracked.id, &unique.name, &bytes)? {
                if *holder < *key.as_bytes() {
                    let holder = RowKey::from_bytes(&holder).map_err(|error| Error::Damaged {
                        table: "_driftless_claims",
                        what: error.to_string(),
                    })?;
                    return Ok(Some(taken(tracked.id, &unique.rule, &holder)));
                }
                self.push(tracked, &holder, queue)?;
            }
        }
        Ok(None)
    }

    /// Takes a row out of its table.
    fn take_out(&mut self, tracked: &Tracked, key: &RowKey) -> Step<()> {
        match write::delete(self.tx, tracked, &key.values()) {
            Ok(wrote) => {
                self.note(tracked, key, &wrote);
                Ok(())
            }
            Err(_) if self.tx.is_autocommit() => Err(Stop::RolledBack((tracked.id, key.clone()))),
            // A trigger that refuses the delete: then the row stays, and whoever it stands in the way of is parked.
            Err(error) => match refused(tracked, error)? {
                Refused::Itself(_) | Refused::Unique => Ok(()),
            },
        }
    }

    /// Keeps a row out of its table and lists it.
    fn park(
        &mut self,
        tracked: &Tracked,
        key: &RowKey,
        key_values: &[Value<'static>],
        state: Option<&RowState<'_>>,
        reason: &Reason,
    ) -> Step<()> {
        tracing::debug!(table = %tracked.name, reason = reason.sentence, "parked");
        self.take_out(tracked, key)?;
        let row = state.map(|state| listed(tracked, key_values, state));
        parked::put(self.tx, tracked.id, key, reason, row.as_deref())?;
        self.has_parked = true;
        Ok(())
    }

    /// Notes what a write changed: for the feed, and for those who refer to the row.
    fn note(&mut self, tracked: &Tracked, key: &RowKey, wrote: &Wrote) {
        self.pending.note(tracked, key, wrote, self.has_parked);
        if wrote.effect == Effect::None {
            return;
        }
        if tracked.id == DEFINITIONS {
            self.definitions = true;
        } else {
            self.changed.push(ChangedRow::new(tracked, key.clone()));
        }
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
        let before = before.map(row_doc::lanes).transpose()?;
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

    /// Puts a row back that waited for what it refers to; whether it may stay is found out afterwards.
    fn revive(&mut self, table: i64, key: &[u8]) -> Step<()> {
        let Some(tracked) = self.catalog.get(table) else { return Ok(()) };
        let Some(stored) = documents::get(self.tx, table, key)? else { return Ok(()) };
        let key = RowKey::from_bytes(key)
            .map_err(|error| Error::Damaged { table: "_driftless_parked", what: error.to_string() })?;
        let lanes = row_doc::lanes(&stored.body).map_err(Error::from)?.renamed(&tracked.renames);
        let mut state = lanes.state(tracked.options.deletes_win);
        self.fill_texts(tracked, &key, &mut state, true)?;
        let key_values = key.values();
        match write::write(self.tx, tracked, &key_values, &state, false, Clause::Abort) {
            Ok(wrote) => {
                parked::remove(self.tx, table, &key)?;
                claims::remove(self.tx, table, &key)?;
                self.note(tracked, &key, &wrote);
            }
            Err(_) if self.tx.is_autocommit() => return Err(Stop::RolledBack((table, key))),
            Err(error) => {
                let reason = match refused(tracked, error)? {
                    Refused::Itself(reason) => reason,
                    Refused::Unique => by_itself("a UNIQUE constraint refuses it".to_owned(), None),
                };
                self.park(tracked, &key, &key_values, Some(&state), &reason)?;
            }
        }
        Ok(())
    }

    /// Takes a row out of its table whose parent is not there. It goes on holding its UNIQUE values.
    fn expel(&mut self, tracked: &Tracked, orphan: references::Orphan) -> Step<()> {
        let references::Orphan { key, reference, values } = orphan;
        let key_values = key.values();
        for unique in &tracked.table.unique {
            let table = format!("main.{}", quote(&tracked.table.spelled));
            let held = shadow::held(self.tx, unique, &table, &tracked.table.key_condition(), &key_values)?;
            if let Some(bytes) = held.and_then(|values| shadow::bytes(unique, &values)) {
                claims::put(self.tx, tracked.id, &unique.name, &bytes, &key)?;
                self.has_claims = true;
            }
        }
        let reference = &tracked.table.references[reference];
        let columns: Vec<String> = reference.to.iter().map(|column| crate::store::fold(column)).collect();
        let parent = self.catalog.named(&reference.parent).map(|parent| parent.id);
        let missing = values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let bytes = waits::values(reference, &values);
        let reason = Reason {
            stage: Stage::Reference,
            rule: Some(reference.rule.clone()),
            sentence: format!("{}: no row there has {missing}", reference.rule),
            clash: Some(missing),
            waits: parent.map(|parent| (parent, waits::on_values(&columns, bytes.as_deref()))),
        };
        let stored = documents::get(self.tx, tracked.id, key.as_bytes())?;
        let Some(stored) = stored else { return Ok(()) }; // a row that stays in this file is nobody's to take away
        let lanes = row_doc::lanes(&stored.body).map_err(Error::from)?.renamed(&tracked.renames);
        let mut state = lanes.state(tracked.options.deletes_win);
        self.fill_texts(tracked, &key, &mut state, true)?;
        self.park(tracked, &key, &key_values, Some(&state), &reason)
    }
}

fn by_itself(sentence: String, rule: Option<String>) -> Reason {
    Reason { stage: Stage::Itself, rule, sentence, clash: None, waits: None }
}

fn taken(table: i64, rule: &str, holder: &RowKey) -> Reason {
    Reason {
        stage: Stage::Unique,
        rule: Some(rule.to_owned()),
        sentence: format!("{rule}: the row with the key {holder} holds the value"),
        clash: Some(holder.to_string()),
        waits: Some((table, waits::on_row(holder))),
    }
}

/// How a row is refused; or the error itself, where it is not the row's fault.
fn refused(tracked: &Tracked, error: rusqlite::Error) -> Result<Refused> {
    let ours = matches!(
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
fn listed(tracked: &Tracked, key_values: &[Value<'static>], state: &RowState<'_>) -> String {
    let columns = write::wanted(tracked, key_values, state);
    let row: serde_json::Map<_, _> = columns
        .into_iter()
        .map(|(at, value)| (tracked.table.columns[at].spelled.clone(), to_json(&value)))
        .collect();
    serde_json::Value::Object(row).to_string()
}
