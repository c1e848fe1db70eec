//! Changesets of others → row documents → the rows that were touched. User tables are not looked at here.

use std::collections::HashMap;

use driftless_protocol::canonical::CanonicalError;
use driftless_protocol::changeset::{Body, Document};
use driftless_protocol::{FrameError, ReplicaId, RowKey};
use rusqlite::Transaction;

use crate::error::Result;
use crate::row_doc;
use crate::store::tables::{self, State};
use crate::store::{bases, documents, writers};

/// How much memory the documents of touched rows may take, in bytes; beyond, they are read again.
const DOCUMENT_BYTES: usize = 32 << 20;

/// A row whose document changed.
#[derive(Debug)]
pub(crate) struct Touched {
    /// The table's number.
    pub(crate) table: i64,
    pub(crate) key: RowKey,
    /// Whether the row had no document before: then it is not in its table either.
    pub(crate) new: bool,
    /// The document as it is now; `None` to read it again, when many rows are touched in one transaction.
    pub(crate) document: Option<Vec<u8>>,
    /// Whether it was written here, and captured: then its table has it already.
    pub(crate) local: bool,
    /// Of a row that was written here: the document before.
    pub(crate) before: Option<Vec<u8>>,
}

impl Touched {
    /// A row that is to be looked at again.
    pub(crate) fn again(table: i64, key: RowKey) -> Self {
        Self { table, key, new: false, document: None, local: false, before: None }
    }
}

/// The rows touched since they were last taken, oldest first; one row may stand in it more than once.
#[derive(Debug, Default)]
pub(crate) struct TouchedRows {
    rows: Vec<Touched>,
    bytes: usize,
}

impl TouchedRows {
    pub(crate) fn push(&mut self, mut row: Touched) {
        if self.bytes > DOCUMENT_BYTES {
            row.document = None;
        }
        self.bytes += row.document.as_ref().map_or(0, Vec::len) + row.key.as_bytes().len() + 96;
        self.rows.push(row);
    }

    /// Adds what was touched after these.
    pub(crate) fn append(&mut self, later: Self) {
        self.bytes += later.bytes;
        self.rows.extend(later.rows);
    }

    /// How much memory they take, about, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Each row once, as it is now, in the order of the keys.
    pub(crate) fn take(&mut self) -> Vec<Touched> {
        self.bytes = 0;
        let mut rows = std::mem::take(&mut self.rows);
        // Stable: of several the last is the newest.
        rows.sort_by(|a, b| (a.table, &a.key).cmp(&(b.table, &b.key)));
        let mut each: Vec<Touched> = Vec::with_capacity(rows.len());
        for row in rows {
            match each.last_mut() {
                Some(last) if last.table == row.table && last.key == row.key => {
                    last.document = row.document;
                    last.local |= row.local;
                }
                _ => each.push(row),
            }
        }
        each
    }
}

/// The numbers of tables by the names under which they travel.
#[derive(Debug, Default)]
pub(crate) struct TableNumbers {
    known: HashMap<String, Number>,
}

/// A table's number, and whether it was shown what its documents hold and is no longer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number {
    id: i64,
    given_up: bool,
}

impl TableNumbers {
    /// The table's number. One that nobody here knows yet gets one: its documents are kept until the app has it.
    pub(crate) fn get(&mut self, tx: &Transaction<'_>, name: &str) -> Result<Number> {
        if let Some(&number) = self.known.get(name) {
            return Ok(number);
        }
        let number = match tables::find(tx, name)? {
            Some(entry) => Number {
                id: entry.id,
                given_up: matches!(entry.state, State::Untracked | State::Missing | State::Unfit),
            },
            None => Number { id: tables::add(tx, name, name, State::Unknown)?, given_up: false },
        };
        self.known.insert(name.to_owned(), number);
        Ok(number)
    }
}

/// Merges a body into the row documents. Fails on the first row that is refused; what came before it in this body
/// has been stored then, so the caller rolls back to a savepoint.
pub(crate) fn body(
    tx: &Transaction<'_>,
    numbers: &mut TableNumbers,
    body: &Body,
    own: ReplicaId,
    touched: &mut TouchedRows,
) -> Result<()> {
    let (authors, rows) = body.open()?;
    for (writer, replica) in authors {
        if replica != own {
            writers::remember(tx, writer, replica)?;
        }
    }
    for row in rows {
        let row = row?;
        if row.document != Document::Row {
            return Err(
                FrameError::from(CanonicalError::Invalid("a text document, which is not merged")).into()
            );
        }
        let Number { id: table, given_up } = numbers.get(tx, row.table)?;
        let stored = documents::get(tx, table, row.key.as_bytes())?;
        let before = stored.as_ref().map(|stored| &stored.body[..]);
        let document = row_doc::merge(before, row.update)?;
        if before == Some(&document[..]) {
            continue;
        }
        if let Some(before) = before.filter(|_| given_up) {
            bases::keep(tx, table, row.key.as_bytes(), before)?;
        }
        documents::put(tx, stored.as_ref().map(|stored| stored.id), table, row.key.as_bytes(), &document)?;
        touched.push(Touched {
            new: stored.is_none(),
            document: Some(document),
            ..Touched::again(table, row.key)
        });
    }
    Ok(())
}
