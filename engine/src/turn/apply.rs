//! Changesets of others → row and text documents → the rows that were touched. User tables are not looked at here.

use std::collections::HashMap;

use driftless_protocol::RowKey;
use driftless_protocol::changeset::{Body, Document};
use rusqlite::Transaction;

use crate::document;
use crate::error::Result;
use crate::store::tables::{self, State};
use crate::store::texts::{self, Stored};
use crate::store::{bases, documents, writers};
use crate::turn::give_way::GiveWay;

/// How much memory the documents of touched rows may take, in bytes; beyond, they are read again.
const DOCUMENT_BYTES: usize = 32 << 20;

/// A row of which a document changed.
#[derive(Debug)]
pub(crate) struct Touched {
    /// The table's number.
    pub(crate) table: i64,
    pub(crate) key: RowKey,
    /// Whether it is known that the row had no document before: then it is not in its table either.
    pub(crate) new: bool,
    /// The row document as it is now; `None` to read it again: when many rows are touched in one transaction, or
    /// one of their texts.
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

/// A table's number, and whether it was shown what its documents hold and is no longer, or not at the moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number {
    id: i64,
    behind: bool,
}

impl TableNumbers {
    /// The table's number. One that nobody here knows yet gets one: its documents are kept until the app has it.
    pub(crate) fn get(&mut self, tx: &Transaction<'_>, name: &str) -> Result<Number> {
        if let Some(&number) = self.known.get(name) {
            return Ok(number);
        }
        let number = match tables::find(tx, name)? {
            Some(entry) => Number { id: entry.id, behind: entry.is_behind() },
            None => Number { id: tables::add(tx, name, name, State::Unknown)?, behind: false },
        };
        self.known.insert(name.to_owned(), number);
        Ok(number)
    }
}

/// Merges a body into the row and text documents. Fails on the first row that is refused; what came before it in this body
/// has been stored then, so the caller rolls back to a savepoint.
pub(crate) fn body(
    tx: &Transaction<'_>,
    numbers: &mut TableNumbers,
    body: &Body,
    touched: &mut TouchedRows,
    way: Option<&GiveWay<'_>>,
) -> Result<()> {
    let (authors, rows) = body.open()?;
    // Our own too: a file that was restored does not know of those that wrote after it was laid aside.
    for (writer, replica) in authors {
        writers::remember(tx, writer, replica)?;
    }
    for row in rows {
        let row = row?;
        if let Some(way) = way {
            way.check()?;
        }
        let Number { id: table, behind } = numbers.get(tx, row.table)?;
        if let Document::Text(column) = row.document {
            if text(tx, table, &row.key, column, row.update, behind)? {
                // Whether the row is new its row document tells, if one comes; without one there is nothing to show.
                touched.push(Touched::again(table, row.key));
            }
            continue;
        }
        let stored = documents::get(tx, table, row.key.as_bytes())?;
        let before = stored.as_ref().map(|stored| &stored.body[..]);
        let document = document::row::merge(before, row.update)?;
        if before == Some(&document[..]) {
            continue;
        }
        if behind {
            bases::keep(tx, table, row.key.as_bytes(), before.unwrap_or_default())?;
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

/// Merges an update into the text document of a row's column. Returns whether it had anything new. `behind`: the
/// table shows the text as it was before, and it is to be known what that was.
fn text(
    tx: &Transaction<'_>,
    table: i64,
    key: &RowKey,
    column: &str,
    update: &[u8],
    behind: bool,
) -> Result<bool> {
    let stored = texts::get(tx, table, key.as_bytes(), column)?;
    let parts = stored.as_ref().map(Stored::parts).unwrap_or_default();
    let Some(merged) = document::text::merge(&parts, update)? else { return Ok(false) };
    if behind {
        let shown = if parts.is_empty() { String::new() } else { document::text::content(&parts)? };
        bases::keep_text(tx, table, key.as_bytes(), column, &shown)?;
    }
    let id = match &stored {
        None => texts::create(tx, table, key.as_bytes(), column, &merged.document)?,
        Some(stored) if stored.is_full(merged.update.len()) => texts::replace(tx, stored, &merged.document)?,
        Some(stored) => texts::append(tx, stored, &merged.update)?,
    };
    texts::set_digest(tx, id, &merged.content)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::document::text::{TextDocError, content, seed, write};
    use crate::error::Error;
    use crate::store::migrations;
    use crate::turn::give_way::gave_way;
    use driftless_protocol::changeset::BodyBuilder;
    use driftless_protocol::{
        Changeset, ChangesetHeader, Collation, Part, ReplicaId, Seq, StateVector, Value, WriterId,
    };
    use rusqlite::Connection;
    use std::path::Path;

    fn key(id: &str) -> RowKey {
        RowKey::encode([(&Value::text(id), Collation::Binary)]).expect("a key")
    }

    /// A body with these updates of texts: key, column, update.
    fn texts_body(updates: &[(&str, &str, &[u8])]) -> Body {
        let mut body = BodyBuilder::new();
        for (id, column, update) in updates {
            body.text("notes", &key(id), column, update);
        }
        // Through a changeset, as it travels.
        let header = ChangesetHeader {
            replica: ReplicaId::random(),
            seq: Seq::FIRST,
            part: Part::Whole,
            after: StateVector::new(),
            time: 0,
        };
        Changeset::seal(header, &body.finish()).body().expect("opens")
    }

    /// Applies a body; the rows that it touched.
    fn apply(tx: &Transaction<'_>, body: &Body) -> Result<Vec<RowKey>> {
        let mut touched = TouchedRows::default();
        super::body(tx, &mut TableNumbers::default(), body, &mut touched, None)?;
        Ok(touched.take().into_iter().map(|row| row.key).collect())
    }

    fn stored(tx: &Transaction<'_>, id: &str, column: &str) -> Stored {
        let table = tables::find(tx, "notes").expect("reads").expect("is there").id;
        texts::get(tx, table, key(id).as_bytes(), column).expect("reads").expect("is there")
    }

    #[test]
    fn texts_are_merged_by_row_and_column_and_touch_their_rows() {
        let mut connection = Connection::open_in_memory().expect("opens");
        let tx = connection.transaction().expect("begins");
        migrations::run(&tx, Path::new("Cargo.toml")).expect("creates the tables");
        let text = |id, column, content| seed("notes", &key(id), column, content).1;
        let (a, b, c) = (text("1", "body", "one"), text("1", "title", "two"), text("2", "body", "three"));
        let first = texts_body(&[("1", "body", &a), ("1", "title", &b), ("2", "body", &c)]);
        assert_eq!(apply(&tx, &first).expect("applies"), [key("1"), key("2")]);
        assert_eq!(apply(&tx, &first).expect("applies"), [], "nothing new touches nothing");

        let writer = WriterId::from_bits(7);
        let update = write(&[&a], writer, "one more").expect("writes").expect("changed").update;
        assert_eq!(apply(&tx, &texts_body(&[("1", "body", &update)])).expect("applies"), [key("1")]);
        assert_eq!(content(&stored(&tx, "1", "body").parts()).expect("reads"), "one more");
        assert_eq!(content(&stored(&tx, "1", "title").parts()).expect("reads"), "two");

        // The same update in a document that it does not go on from.
        let error = apply(&tx, &texts_body(&[("2", "body", &update)])).expect_err("is refused");
        assert!(matches!(error, Error::TextDoc(TextDocError::Pending)) && error.blames_input(), "{error}");
        let error = apply(&tx, &texts_body(&[("2", "body", &[1, 2, 3])])).expect_err("is refused");
        assert!(matches!(error, Error::TextDoc(TextDocError::Invalid(_))) && error.blames_input(), "{error}");
        assert_eq!(content(&stored(&tx, "2", "body").parts()).expect("reads"), "three");
    }

    thread_local! {
        static CHECKS: Cell<u32> = const { Cell::new(0) };
    }

    /// A transaction that began while many rows were applied failed before the turn looked again.
    #[test]
    fn a_turn_that_gives_way_looks_after_each_row() {
        let mut connection = Connection::open_in_memory().expect("opens");
        let tx = connection.transaction().expect("begins");
        migrations::run(&tx, Path::new("Cargo.toml")).expect("creates the tables");
        let texts: Vec<(String, Vec<u8>)> = (0..5)
            .map(|n| n.to_string())
            .map(|id| (id.clone(), seed("notes", &key(&id), "body", "text").1))
            .collect();
        let updates: Vec<(&str, &str, &[u8])> =
            texts.iter().map(|(id, text)| (id.as_str(), "body", &text[..])).collect();
        // An app begins while the third row is written.
        let way = GiveWay::when(&tx, |_| CHECKS.replace(CHECKS.get() + 1) == 3);
        let mut touched = TouchedRows::default();
        let error =
            super::body(&tx, &mut TableNumbers::default(), &texts_body(&updates), &mut touched, Some(&way))
                .expect_err("it gives way");
        assert!(gave_way(&error) && !error.blames_input(), "{error}");
        assert_eq!(touched.take().len(), 3);
    }

    #[test]
    fn a_long_text_is_appended_to_and_now_and_then_stored_anew() {
        let mut connection = Connection::open_in_memory().expect("opens");
        let tx = connection.transaction().expect("begins");
        migrations::run(&tx, Path::new("Cargo.toml")).expect("creates the tables");
        let mut text = "a long text. ".repeat(1000);
        let mut parts = vec![seed("notes", &key("1"), "body", &text).1];
        apply(&tx, &texts_body(&[("1", "body", &parts[0])])).expect("applies");
        let mut most = 0;
        for n in 0..150 {
            text.insert_str(n * 7, &n.to_string());
            let before: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
            let update =
                write(&before, WriterId::from_bits(7), &text).expect("writes").expect("changed").update;
            apply(&tx, &texts_body(&[("1", "body", &update)])).expect("applies");
            parts.push(update);
            let stored = stored(&tx, "1", "body");
            assert_eq!(content(&stored.parts()).expect("reads"), text);
            most = most.max(stored.parts().len());
        }
        assert!((10..100).contains(&most), "{most} parts");
        assert!(stored(&tx, "1", "body").parts().len() < most);
    }
}
