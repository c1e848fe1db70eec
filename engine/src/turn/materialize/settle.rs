//! The end of a turn: the third stage, everything that may fit put in first, and what has no parent taken out after that.
//!
//! A turn that is limited does so much of it and no more. Parked rows whose parents are all there are put back a few in
//! each turn, the rest of them in later ones: every turn ends with rows that fit. Rows that must go cannot be taken out
//! in pieces like that, since the first of them goes for what this turn wrote: a turn that finds too many ends with
//! [`Stop::TooMany`], and its caller has their children parked before it tries again.

use std::collections::HashSet;

use driftless_protocol::RowKey;

use super::doomed::Doomed;
use super::references::{self, Check, Orphan};
use super::{Materializer, Queue, Step, Stop, shadow, unreadable, waits};
use crate::error::{Error, Result};
use crate::schema::Tracked;
use crate::store::parked::{Reason, Stage};
use crate::store::{backlog, claims, documents, fold, parked, quote};

/// A parked row that still lacks its parent stays parked if the parent does not come either. To find that out, at most so many
/// parked rows are followed, each of which waits for the next. If there are more, the parent is taken not to come: if it comes
/// later, the rows that wait are put back one after the other. A row that is waited for by UNIQUE values cannot be followed. It
/// may come, since it may be on the list of rows to be looked at again.
const FOLLOWED: usize = 64;

/// A row that came: its table's number and its key.
type Came = (i64, RowKey);

impl Materializer<'_> {
    /// Looks for the parents of all rows of a table, and of all rows that refer to it, when the turn ends.
    pub(crate) fn judge_all(&mut self, table: i64) {
        let Some(tracked) = self.catalog.get(table).filter(|tracked| !tracked.settling) else { return };
        if !tracked.table.references.is_empty() {
            self.pending.check_all(table);
        }
        for child in tracked.targets.iter().flat_map(|target| &target.children) {
            self.pending.check_all(child.table);
        }
    }

    /// Judges what refers to what, for everything that was written since the last time: the third stage.
    pub(super) fn settle_references(&mut self) -> Step<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.announce()?;
        self.wake_waiting()?;
        let orphans = self.find_orphans()?;
        if !orphans.is_empty() {
            let roots = if self.limit.is_none() { Vec::new() } else { orphans.clone() };
            let Some(doomed) = Doomed::new(self.tx, self.catalog, self.limit).find(orphans)? else {
                return Err(Stop::TooMany(roots));
            };
            for orphan in &doomed {
                self.release(orphan)?;
            }
            // The last first, so that at each step every row that is left has its parents, but for those that began it.
            for orphan in doomed.into_iter().rev() {
                self.expel(orphan)?;
            }
        }
        self.renounce()
    }

    /// The rows that have no parent, among those that are to be looked at.
    fn find_orphans(&mut self) -> Result<Vec<Orphan>> {
        let mut orphans = Vec::new();
        loop {
            if let Some(gone) = self.pending.next_gone() {
                references::look_for_children(self.tx, self.catalog, &mut self.pending, &gone)?;
            } else if let Some((table, check)) = self.pending.next_check() {
                let Some(tracked) = self.catalog.get(table).filter(|tracked| !tracked.settling) else {
                    continue;
                };
                match check {
                    Check::All => orphans.extend(references::orphans(self.tx, self.catalog, tracked)?),
                    Check::Rows(keys) => {
                        for key in &keys {
                            orphans.extend(references::orphan(self.tx, self.catalog, tracked, key)?);
                        }
                    }
                }
            } else {
                return Ok(orphans);
            }
        }
    }

    /// Puts back what waits for rows that came. First for those that have all their parents: what they end waiting for is
    /// certain. Then for those that lack one which may come because of them: rows that hold one another come together.
    fn wake_waiting(&mut self) -> Step<()> {
        let mut woken = Woken { limited: true, ..Woken::default() };
        let mut lacking: Vec<Came> = Vec::new();
        loop {
            while let Some((table, key)) = self.pending.next_came() {
                let Some(tracked) = self.catalog.get(table) else { continue };
                if self.lacks_parent(tracked, &key)?.is_some() {
                    lacking.push((table, key));
                } else {
                    self.wake(tracked, &key, &mut woken)?;
                }
            }
            let mut hopeless = HashSet::new();
            let mut changed = false;
            for (table, key) in std::mem::take(&mut lacking) {
                let Some(tracked) = self.catalog.get(table) else { continue };
                match self.lacks_parent(tracked, &key)? {
                    None => self.pending.comes(table, key),
                    Some(orphan) if !self.is_waited_for(tracked, &key)? => drop(orphan),
                    Some(orphan) if self.is_hopeless(&orphan, &mut hopeless, usize::MAX)? => {
                        lacking.push((table, key));
                        continue;
                    }
                    // Later, when everything that is certain is in its place.
                    Some(_) if woken.left_some => {
                        backlog::refresh(self.tx, table, &key)?;
                        self.again.insert((table, key));
                    }
                    Some(_) => {
                        woken.limited = false;
                        self.wake(tracked, &key, &mut woken)?;
                    }
                }
                changed = true;
            }
            if !changed {
                return Ok(());
            }
        }
    }

    fn lacks_parent(&self, tracked: &Tracked, key: &RowKey) -> Result<Option<Orphan>> {
        if tracked.table.references.is_empty() {
            return Ok(None);
        }
        references::orphan(self.tx, self.catalog, tracked, key)
    }

    /// Puts back what waits for a row, or as much of it as this turn has time for: the rest when the row is looked at
    /// again.
    fn wake(&mut self, tracked: &Tracked, key: &RowKey, woken: &mut Woken) -> Step<()> {
        for end in references::ends_waiting(self.tx, self.catalog, tracked, key)? {
            // Who waits for any row at all may go on waiting for this one: a part of those could be the same each time.
            let most = if woken.limited && end.exact { self.limit.left(woken.rows) } else { usize::MAX };
            let mut waiting = parked::waiting(self.tx, tracked.id, &end.waits, most.saturating_add(1))?;
            if waiting.len() > most {
                waiting.truncate(most);
                backlog::refresh(self.tx, tracked.id, key)?;
                (woken.left_some, self.left_some) = (true, true);
            }
            woken.rows += waiting.len();
            for (child, key) in waiting {
                self.revive(child, &key)?;
            }
        }
        Ok(())
    }

    fn is_waited_for(&self, tracked: &Tracked, key: &RowKey) -> Result<bool> {
        for end in references::ends_waiting(self.tx, self.catalog, tracked, key)? {
            if !parked::waiting(self.tx, tracked.id, &end.waits, 1)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether it is certain that the parent of a row does not come this time: it is not parked, or waits in its turn for
    /// what does not come. Each parked row waits for one thing, so this follows a line. `known`: what is known not to
    /// come. `most`: how far to follow it; what is farther away counts as what does not come.
    fn is_hopeless(&self, orphan: &Orphan, known: &mut HashSet<(i64, RowKey)>, most: usize) -> Result<bool> {
        let Some(tracked) = self.catalog.get(orphan.table) else { return Ok(true) };
        let mut next = self.reason(tracked, orphan).waits;
        let mut line = HashSet::new();
        let comes = loop {
            // Nobody puts a row of a table back that is not tracked.
            let Some((table, waits)) = next else { break false };
            let Some(parent) = self.catalog.get(table) else { break false };
            let Some(key) = parent.key_waited_for(&waits) else { break true };
            if known.contains(&(table, key.clone())) {
                break false;
            }
            if references::is_there(self.tx, parent, &key)? {
                break true;
            }
            let Some((stage, waits)) = parked::waits(self.tx, table, &key)? else {
                line.insert((table, key));
                break false;
            };
            if !line.insert((table, key)) || stage == Stage::Reference as i64 && waits.is_none() {
                break true;
            }
            if line.len() >= most {
                break false;
            }
            next = waits.filter(|_| stage == Stage::Reference as i64);
        };
        if !comes {
            known.extend(line);
        }
        Ok(!comes)
    }

    /// Puts a row back that waited for what it refers to; whether it may stay is found out afterwards. Of its UNIQUE values
    /// it has kept hold, but a trigger of the user's may have made a row that is in its way.
    pub(super) fn revive(&mut self, table: i64, key: &[u8]) -> Step<()> {
        let Some(tracked) = self.catalog.get(table).filter(|tracked| !tracked.settling) else {
            return Ok(());
        };
        let mut queue = Queue::new();
        self.push(tracked, key, &mut queue)?;
        self.judge_queue(tracked, queue)
    }

    /// How a row that was parked for its parent lacks that parent still, which does not come either. Then nothing has changed
    /// for those who wait for the row, and nobody need look at them. Rows that hold one another are to come together, so
    /// one whose parent is parked for such a reason is looked at like any that came.
    pub(super) fn still_lacks(
        &mut self,
        tracked: &Tracked,
        key: &RowKey,
        waited: Option<&(i64, Vec<u8>)>,
    ) -> Result<Option<Orphan>> {
        let Some((table, waits)) = waited else { return Ok(None) };
        // Any row of the table may end it, so it says nothing of which is missing.
        if self.catalog.get(*table).is_none_or(|parent| parent.values_waited_for(waits).is_none()) {
            return Ok(None);
        }
        for at in 0..tracked.table.references.len() {
            if let Some(orphan) = references::orphan_by(self.tx, tracked, at, key)?
                && self.reason(tracked, &orphan).waits.as_ref() == waited
            {
                let mut hopeless = std::mem::take(&mut self.hopeless);
                let certain = self.is_hopeless(&orphan, &mut hopeless, FOLLOWED)?;
                self.hopeless = hopeless;
                return Ok(certain.then_some(orphan));
            }
        }
        Ok(None)
    }

    /// Called before a row is taken out for which parked rows still wait: it had come, but they had not been looked
    /// at yet. If they went on waiting for it, and it then waited for one of them, a whole ring of rows that could be
    /// in their tables would wait for ever. So these rows are looked at again in a later turn.
    pub(super) fn release(&mut self, orphan: &Orphan) -> Result<()> {
        let Some(tracked) = self.catalog.get(orphan.table).filter(|_| self.has_parked) else { return Ok(()) };
        for end in references::ends_waiting(self.tx, self.catalog, tracked, &orphan.key)? {
            // Who waits for any row at all is looked at whenever one comes.
            if !end.exact {
                continue;
            }
            for (table, key) in parked::waiting(self.tx, tracked.id, &end.waits, usize::MAX)? {
                let key = RowKey::from_bytes(&key).map_err(|error| Error::Damaged {
                    table: "_driftless_parked",
                    what: error.to_string(),
                })?;
                let id = (table, key);
                if self.ahead.is_some_and(|ahead| ahead.contains(&id)) {
                    continue;
                }
                parked::forget_wait(self.tx, id.0, &id.1)?;
                backlog::refresh(self.tx, id.0, &id.1)?;
            }
        }
        Ok(())
    }

    /// Why a row is parked that lacks a parent.
    fn reason(&self, tracked: &Tracked, orphan: &Orphan) -> Reason {
        let reference = &tracked.table.references[orphan.reference];
        let columns: Vec<String> = reference.to.iter().map(|column| fold(column)).collect();
        let parent = self.catalog.named(&reference.parent).map(|parent| parent.id);
        let missing = orphan.values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let bytes = waits::values(reference, &orphan.values);
        Reason {
            stage: Stage::Reference,
            rule: Some(reference.rule.clone()),
            sentence: format!("{}: no row there has {missing}", reference.rule),
            clash: Some(missing),
            waits: parent.map(|parent| (parent, waits::on_values(&columns, bytes.as_deref()))),
        }
    }

    /// Takes a row out of its table whose parent is not there, or about to go. It goes on holding its UNIQUE values.
    /// Those who refer to it are not looked for: they are known, and go before it.
    pub(super) fn expel(&mut self, orphan: Orphan) -> Step<()> {
        let Some(tracked) = self.catalog.get(orphan.table) else { return Ok(()) };
        let mut reason = self.reason(tracked, &orphan);
        let key = orphan.key;
        let stored = documents::get(self.tx, tracked.id, key.as_bytes())?;
        let Some(stored) = stored else { return Ok(()) }; // a row that stays in this file is nobody's to take away
        if self.again.remove(&(tracked.id, key.clone())) {
            // It is looked at again in any case, and must not be taken for one that still lacks what it lacked.
            reason.waits = None;
        }
        let key_values = key.values();
        for unique in &tracked.table.unique {
            let table = format!("main.{}", quote(&tracked.table.spelled));
            let held = shadow::held(self.tx, unique, &table, &tracked.table.key_condition(), &key_values)?;
            if let Some(bytes) = held.and_then(|values| shadow::bytes(unique, &values)) {
                claims::put(self.tx, tracked.id, &unique.name, &bytes, &key)?;
                self.has_claims = true;
            }
        }
        self.expelling = true;
        let parked = self.park_stored(tracked, &key, &stored.body, &reason);
        self.expelling = false;
        parked
    }

    fn park_stored(&mut self, tracked: &Tracked, key: &RowKey, document: &[u8], reason: &Reason) -> Step<()> {
        let key_values = key.values();
        let mut state = match tracked.view(document) {
            Ok(view) => view.state,
            Err(error) => {
                unreadable(tracked, &error);
                return self.park(tracked, key, &key_values, None, reason);
            }
        };
        match self.fill_texts(tracked, key, &mut state, true) {
            Err(Error::TextDoc(error)) => unreadable(tracked, &error),
            filled => filled?,
        }
        self.park(tracked, key, &key_values, Some(&state), reason)
    }
}

/// What was put back at the end of a turn.
#[derive(Debug, Default)]
struct Woken {
    rows: usize,
    limited: bool,
    /// Whether something waits that could be put back.
    left_some: bool,
}
