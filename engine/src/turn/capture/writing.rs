//! What was found out about a row → its documents, and updates of them for others.

use rusqlite::Transaction;

use super::found::{Unseeing, finder};
use super::read::Before;
use super::row::{DocumentUpdate, Row};
use super::{Author, Has, Kind, texts};
use crate::document;
use crate::document::row::resolve::RowState;
use crate::document::row::{Change, RowDocument, Written};
use crate::env::ids;
use crate::error::Result;
use crate::store::tables::DEFINITIONS;
use crate::store::{bases, claims, conflicts, documents, parked, writers};
use crate::turn::apply::{Touched, TouchedRows};

/// The documents of one row while they are written.
pub(super) struct Writing<'a> {
    tx: &'a Transaction<'a>,
    row: Row<'a>,
    author: Author,
    before: &'a Before,
    /// The texts that the row has now and its documents do not show.
    new_texts: &'a [(String, String)],
    /// The document that the table showed, parsed. Only the first write uses it.
    shown: Option<RowDocument<'a>>,
    /// The row document as it is by now.
    document: Option<Vec<u8>>,
    /// The document as the table shows it by now, if that differs from `document`.
    base: Option<Vec<u8>>,
    updates: Vec<DocumentUpdate>,
}

impl<'a> Writing<'a> {
    pub(super) fn begin(
        tx: &'a Transaction<'a>,
        row: Row<'a>,
        author: Author,
        (before, shown): (&'a Before, Option<RowDocument<'a>>),
        new_texts: &'a [(String, String)],
    ) -> Self {
        let document = before.stored.as_ref().map(|stored| stored.body.clone());
        let base = before.base.clone();
        Self { tx, row, author, before, new_texts, shown, document, base, updates: Vec::new() }
    }

    /// The time to give to what was found, which has no time of its own. A row that may have had a document elsewhere
    /// gives way even to what was found there.
    fn found_at(&self) -> i64 {
        if self.row.lost { -1 } else { 0 }
    }

    /// Writes the values with which columns began that may be other columns under new names; what is written after
    /// this edits those values. The columns began with what the table showed, whatever others have written since.
    pub(super) fn write_begun(&mut self, changes: Vec<Change<'_>>) -> Result<()> {
        let Some(base) = self.base.as_deref().filter(|base| !base.is_empty()) else {
            return self.write_beside(changes);
        };
        if let Some(written) = self.found_beside(base, changes)? {
            let document = document::row::merge(self.document.as_deref(), &written.update)?;
            self.base = Some(written.document);
            // Others may have found the same, and the document may have it from them.
            if self.document.as_ref() != Some(&document) {
                self.add(Written { document, update: written.update });
            }
        }
        Ok(())
    }

    /// The base with this update merged into it. No base if there is none; the empty base if the table shows nothing
    /// of the row.
    fn base_with(&self, update: &[u8]) -> Result<Option<Vec<u8>>> {
        match &self.base {
            Some(base) if !base.is_empty() => Ok(Some(document::row::merge(Some(base), update)?)),
            base => Ok(base.clone()),
        }
    }

    /// Writes as somebody who saw what the table showed.
    pub(super) fn write_seeing(&mut self, changes: Vec<Change<'_>>) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let (row, base) = (self.row, self.base.clone());
        let shown = match &base {
            Some(base) => Some(&base[..]).filter(|base| !base.is_empty()),
            None => self.document.as_deref(),
        };
        let found = |time| (finder(&row.tracked.name, row.key, &changes, self.new_texts, &[]), time);
        let (writer, time) = match row.kind {
            _ if shown.is_none() && row.tracked.id == DEFINITIONS => found(0),
            Kind::Found if shown.is_none() => found(self.found_at()),
            Kind::Written | Kind::Found => (self.author.writer, row.mark.at),
        };
        let read = match self.shown.take().filter(|_| self.updates.is_empty()) {
            Some(read) => Some(read),
            None => shown.map(|bytes| RowDocument::read(bytes, row.tracked.column_names())).transpose()?,
        };
        let written = document::row::write_seeing(read, writer, time, changes, &[])?;
        if base.is_none() {
            self.add(written);
            return Ok(());
        }
        let document = document::row::merge(self.document.as_deref(), &written.update)?;
        // The user's next write is an edit of this until the row is shown, which may be some turns later: the
        // user has not seen what others wrote meanwhile.
        self.base = Some(written.document);
        self.add(Written { document, update: written.update });
        Ok(())
    }

    /// Writes columns beside what others wrote in them, which the author had not seen.
    pub(super) fn write_unseeing(&mut self, Unseeing { changes, writers }: Unseeing<'_>) -> Result<()> {
        if let Some(before) = self.document.as_deref().filter(|_| !changes.is_empty()) {
            let before = RowDocument::read(before, self.row.tracked.column_names())?;
            let (writer, at) = (self.author.writer, self.row.mark.at);
            let written = document::row::write_seeing(Some(before), writer, at, changes, &writers)?;
            self.base = self.base_with(&written.update)?;
            self.add(written);
        }
        Ok(())
    }

    /// Writes what was found, beside what the document holds.
    pub(super) fn write_beside(&mut self, changes: Vec<Change<'_>>) -> Result<()> {
        if let Some(before) = self.document.as_deref()
            && let Some(written) = self.found_beside(before, changes)?
        {
            self.add(written);
        }
        Ok(())
    }

    /// The document with the found changes beside what it holds. `None` if there is nothing to write, or if this was
    /// written before.
    fn found_beside(&self, document: &[u8], changes: Vec<Change<'_>>) -> Result<Option<Written>> {
        if changes.is_empty() {
            return Ok(None);
        }
        let (tracked, key) = (self.row.tracked, self.row.key);
        let before = RowDocument::read(document, tracked.column_names())?;
        let seen = document::row::seen_elsewhere(&before, &changes);
        let finder = finder(&tracked.name, key, &changes, self.new_texts, &seen);
        Ok(document::row::write_beside(before, finder, self.found_at(), changes)?)
    }

    /// Writes a row that was inserted under the key of a parked row. `latest`: when the parked row was last written.
    pub(super) fn write_over_parked(&mut self, changes: Vec<Change<'_>>, latest: i64) -> Result<()> {
        let Some(before) = self.document.as_deref().filter(|_| !changes.is_empty()) else { return Ok(()) };
        // The parked row may have been written by this opening's writer, and a writer cannot write beside what it
        // wrote itself. So this is done by a new writer.
        let writer = ids::writer();
        writers::remember(self.tx, writer, self.author.replica)?;
        // The new row is to show, whatever the clocks say: it is known to be the later one.
        let time = self.row.mark.at.max(latest.saturating_add(1));
        let before = RowDocument::read(before, self.row.tracked.column_names())?;
        let written = document::row::write_beside(before, writer, time, changes)?;
        self.updates.push(DocumentUpdate::By(writer));
        if let Some(written) = written {
            if let Some(base) = &self.base {
                self.base = Some(document::row::merge(Some(base), &written.update)?);
            }
            self.add(written);
        }
        Ok(())
    }

    /// Writes the text document of a column.
    pub(super) fn write_text(
        &mut self,
        state: Option<&RowState<'_>>,
        column: &str,
        text: &str,
    ) -> Result<()> {
        let (tx, tracked, key) = (self.tx, self.row.tracked, self.row.key);
        let before = texts::before(tx, tracked, key, state, column, self.before.apart)?;
        let written = texts::write(tx, tracked, key, column, before, text, self.author.writer)?;
        let update = |update| DocumentUpdate::Text { column: column.to_owned(), update };
        self.updates.extend(written.into_iter().map(update));
        Ok(())
    }

    /// Keeps what the table shows of new counters, if the row was written before it showed what others had counted.
    pub(super) fn keep_as_shown(&mut self, counters: &[(String, i64)]) -> Result<()> {
        if counters.is_empty() || self.updates.is_empty() {
            return Ok(());
        }
        let shown = self.base.as_deref().filter(|base| !base.is_empty()).or(self.document.as_deref());
        if let Some(shown) = shown
            && let Some(base) = super::counters::as_shown(self.row.tracked, shown, counters)?
        {
            self.base = Some(base);
        }
        Ok(())
    }

    fn add(&mut self, written: Written) {
        self.document = Some(written.document);
        self.updates.push(DocumentUpdate::Row(written.update));
    }

    /// Stores what was written and returns the updates. `in_conflict`: whether columns may have other values beside
    /// the shown one, or had them before.
    pub(super) fn finish(
        mut self,
        has: Has,
        is_there: bool,
        in_conflict: bool,
        touched: &mut TouchedRows,
    ) -> Result<Vec<DocumentUpdate>> {
        let (tx, tracked, key) = (self.tx, self.row.tracked, self.row.key);
        if self.base != self.before.base
            && let Some(base) = &self.base
        {
            bases::put(tx, tracked.id, key.as_bytes(), base)?;
        }
        if self.updates.is_empty() {
            if is_there && has.parked && parked::is_listed(tx, tracked.id, key)? {
                // The app put the row back exactly as it was parked, on a connection that does not enforce the
                // constraint.
                touched.push(Touched { local: true, ..Touched::again(tracked.id, key.clone()) });
            }
            return Ok(self.updates);
        }
        let Some(document) = self.document.take() else { return Ok(self.updates) };
        let stored = self.before.stored.as_ref();
        documents::put(tx, stored.map(|stored| stored.id), tracked.id, key.as_bytes(), &document)?;
        if in_conflict || self.before.base.is_some() || stored.is_some() && self.row.kind == Kind::Found {
            self.list_conflicts(&document)?;
        }
        if has.parked && parked::remove(tx, tracked.id, key)? {
            // The row is in its table now and holds its UNIQUE values there: it needs no claims.
            claims::remove(tx, tracked.id, key)?;
        }
        if tracked.is_bound() || has.parked && !tracked.table.unique.is_empty() {
            let before = stored.filter(|_| !tracked.targets.is_empty()).map(|stored| stored.body.clone());
            let document = Some(document);
            touched.push(Touched {
                document,
                local: true,
                before,
                ..Touched::again(tracked.id, key.clone())
            });
        }
        Ok(self.updates)
    }

    fn list_conflicts(&self, document: &[u8]) -> Result<()> {
        let (tracked, key) = (self.row.tracked, self.row.key);
        let mut state = tracked.view(document)?.state;
        crate::store::texts::fill(self.tx, tracked.id, key.as_bytes(), &mut state, |_| None)?;
        conflicts::put(self.tx, tracked.id, key, &state)
    }
}
