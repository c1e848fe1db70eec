//! The end of a turn: the third stage, everything that may fit put in first, and what has no parent taken out after that.

use super::references::{self, Check};
use super::{Materializer, Queue, Step, shadow, unreadable, waits};
use crate::error::Error;
use crate::row_doc;
use crate::schema::Tracked;
use crate::store::parked::{Reason, Stage};
use crate::store::{claims, documents, fold, parked, quote};

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
                let Some(tracked) = self.catalog.get(table).filter(|tracked| !tracked.settling) else {
                    continue;
                };
                let orphans = match check {
                    Check::All => references::orphans(self.tx, self.catalog, tracked)?,
                    Check::Rows(keys) => {
                        let mut orphans = Vec::new();
                        for key in &keys {
                            orphans.extend(references::orphan(self.tx, self.catalog, tracked, key)?);
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

    /// Takes a row out of its table whose parent is not there. It goes on holding its UNIQUE values.
    pub(super) fn expel(&mut self, tracked: &Tracked, orphan: references::Orphan) -> Step<()> {
        let references::Orphan { key, reference, values } = orphan;
        let stored = documents::get(self.tx, tracked.id, key.as_bytes())?;
        let Some(stored) = stored else { return Ok(()) }; // a row that stays in this file is nobody's to take away
        let key_values = key.values();
        for unique in &tracked.table.unique {
            let table = format!("main.{}", quote(&tracked.table.spelled));
            let held = shadow::held(self.tx, unique, &table, &tracked.table.key_condition(), &key_values)?;
            if let Some(bytes) = held.and_then(|values| shadow::bytes(unique, &values))
                && !planted!(ClaimForgotten)
            {
                claims::put(self.tx, tracked.id, &unique.name, &bytes, &key)?;
                self.has_claims = true;
            }
        }
        let reference = &tracked.table.references[reference];
        let columns: Vec<String> = reference.to.iter().map(|column| fold(column)).collect();
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
        let lanes = match row_doc::lanes(&stored.body) {
            Ok(lanes) => lanes.renamed(&tracked.renames),
            Err(error) => {
                unreadable(tracked, &error);
                return self.park(tracked, &key, &key_values, None, &reason);
            }
        };
        let mut state = lanes.state(tracked.options.deletes_win);
        match self.fill_texts(tracked, &key, &mut state, true) {
            Err(Error::TextDoc(error)) => unreadable(tracked, &error),
            filled => filled?,
        }
        self.park(tracked, &key, &key_values, Some(&state), &reason)
    }
}
