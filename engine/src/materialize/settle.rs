//! The end of a turn: the third stage, everything that may fit put in first, and what has no parent taken out after that.

use driftless_protocol::RowKey;

use super::park::{Refused, by_itself, refused};
use super::references::{self, Check};
use super::write::{self, Clause};
use super::{Materializer, Step, Stop, shadow, waits};
use crate::error::Error;
use crate::row_doc;
use crate::schema::Tracked;
use crate::store::parked::{Reason, Stage};
use crate::store::{claims, documents, fold, parked, quote};

impl Materializer<'_> {
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

    /// Puts a row back that waited for what it refers to; whether it may stay is found out afterwards.
    pub(super) fn revive(&mut self, table: i64, key: &[u8]) -> Step<()> {
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
    pub(super) fn expel(&mut self, tracked: &Tracked, orphan: references::Orphan) -> Step<()> {
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
        let stored = documents::get(self.tx, tracked.id, key.as_bytes())?;
        let Some(stored) = stored else { return Ok(()) }; // a row that stays in this file is nobody's to take away
        let lanes = row_doc::lanes(&stored.body).map_err(Error::from)?.renamed(&tracked.renames);
        let mut state = lanes.state(tracked.options.deletes_win);
        self.fill_texts(tracked, &key, &mut state, true)?;
        self.park(tracked, &key, &key_values, Some(&state), &reason)
    }
}
