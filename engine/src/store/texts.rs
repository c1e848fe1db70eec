//! `_driftless_texts` and `_driftless_text_updates`: (row key, column) → the parts of a text document.
//!
//! The first part makes a whole document; each of the others is an update that was appended to it. So a keystroke in a
//! long text writes a few bytes. When the appended parts have outgrown the first, or are many, one part replaces them.

use rusqlite::{Connection, Transaction};

use super::sql;
use crate::document;
use crate::document::row::resolve::RowState;
use crate::error::{Doing, Result};

/// More appended parts than this are replaced by one.
const MOST_PARTS: usize = 64;
/// Appended parts of this many bytes in all are never too large, however small the first part.
const ALWAYS_BYTES: usize = 2 << 10;
/// The parts of one document are numbered from `id << PART_BITS` on, so that one tree of integers holds all.
const PART_BITS: u32 = 16;

/// A stored document.
#[derive(Debug)]
pub(crate) struct Stored {
    id: i64,
    parts: Vec<Vec<u8>>,
}

impl Stored {
    /// Its parts, in order.
    pub(crate) fn parts(&self) -> Vec<&[u8]> {
        self.parts.iter().map(|part| &part[..]).collect()
    }

    /// Whether all parts should become one instead of an update of `more` bytes being appended.
    pub(crate) fn is_full(&self, more: usize) -> bool {
        let (first, appended) = match self.parts.split_first() {
            Some((first, appended)) => (first.len(), appended),
            None => (0, &[][..]),
        };
        let bytes = more + appended.iter().map(Vec::len).sum::<usize>();
        appended.len() >= MOST_PARTS || bytes > first.max(ALWAYS_BYTES)
    }
}

/// The document of a row's column, if it has one.
pub(crate) fn get(connection: &Connection, table: i64, key: &[u8], column: &str) -> Result<Option<Stored>> {
    let doing = "reading a text document";
    let id = sql::opt(
        connection,
        doing,
        "SELECT id FROM _driftless_texts WHERE tbl = ?1 AND key = ?2 AND col = ?3",
        (table, key, column),
        sql::first,
    )?;
    let Some(id) = id else { return Ok(None) };
    Ok(Some(Stored { id, parts: parts(connection, id)? }))
}

fn parts(connection: &Connection, id: i64) -> Result<Vec<Vec<u8>>> {
    let doing = "reading a text document";
    sql::list(
        connection,
        doing,
        "SELECT body FROM _driftless_text_updates WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
        (first(id), first(id + 1) - 1),
        sql::first,
    )
}

fn first(id: i64) -> i64 {
    id << PART_BITS
}

/// Stores the document of a column that has none. This and the other two return its number.
pub(crate) fn create(
    tx: &Transaction<'_>,
    table: i64,
    key: &[u8],
    column: &str,
    document: &[u8],
) -> Result<i64> {
    let id = sql::insert(
        tx,
        "storing a text document",
        "INSERT INTO _driftless_texts (tbl, key, col) VALUES (?1, ?2, ?3)",
        (table, key, column),
    )?;
    insert(tx, first(id), document)?;
    super::identity::note_texts(tx)?;
    Ok(id)
}

/// Notes what a document holds as a digest, so that a text need not be read from it to see that it is the same.
pub(crate) fn set_digest(tx: &Transaction<'_>, id: i64, content: &str) -> Result<()> {
    sql::exec(
        tx,
        "storing a text document",
        "UPDATE _driftless_texts SET digest = ?2 WHERE id = ?1",
        (id, &digest(content.as_bytes())[..]),
    )?;
    Ok(())
}

fn digest(content: &[u8]) -> [u8; 16] {
    let mut digest = [0; 16];
    digest.copy_from_slice(&blake3::hash(content).as_bytes()[..16]);
    digest
}

/// Whether the document of a row's column holds just this text. One that is not there holds the empty text.
fn holds(connection: &Connection, table: i64, key: &[u8], column: &str, text: &[u8]) -> Result<bool> {
    let known: Option<Option<Vec<u8>>> = sql::opt(
        connection,
        "reading a text document",
        "SELECT digest FROM _driftless_texts WHERE tbl = ?1 AND key = ?2 AND col = ?3",
        (table, key, column),
        sql::first,
    )?;
    Ok(match known {
        Some(known) => known.is_some_and(|known| known == digest(text)),
        None => text.is_empty(),
    })
}

/// Fills the columns of a row whose value stands in their text documents. `guess` may give what a column holds, as its
/// table says: then the document is only read when it holds something else.
pub(crate) fn fill<'g>(
    connection: &Connection,
    table: i64,
    key: &[u8],
    state: &mut RowState<'_>,
    guess: impl Fn(&str) -> Option<&'g [u8]>,
) -> Result<()> {
    let columns: Vec<String> = state.texts().map(str::to_owned).collect();
    for column in columns {
        let text = match guess(&column) {
            Some(guess) if holds(connection, table, key, &column, guess)? => {
                String::from_utf8_lossy(guess).into_owned()
            }
            _ => match get(connection, table, key, &column)? {
                Some(stored) => document::text::content(&stored.parts())?,
                None => String::new(),
            },
        };
        state.fill_text(&column, text);
    }
    Ok(())
}

/// Appends an update to a document that is not full.
pub(crate) fn append(tx: &Transaction<'_>, stored: &Stored, update: &[u8]) -> Result<i64> {
    insert(tx, first(stored.id) + stored.parts.len() as i64, update)?;
    Ok(stored.id)
}

/// Stores a document anew, in one part.
pub(crate) fn replace(tx: &Transaction<'_>, stored: &Stored, document: &[u8]) -> Result<i64> {
    sql::exec(
        tx,
        "storing a text document",
        "DELETE FROM _driftless_text_updates WHERE id BETWEEN ?1 AND ?2",
        (first(stored.id), first(stored.id + 1) - 1),
    )?;
    insert(tx, first(stored.id), document)?;
    Ok(stored.id)
}

fn insert(tx: &Transaction<'_>, id: i64, body: &[u8]) -> Result<()> {
    sql::exec(
        tx,
        "storing a text document",
        "INSERT INTO _driftless_text_updates (id, body) VALUES (?1, ?2)",
        (id, body),
    )?;
    Ok(())
}

/// The documents of a row, by column.
pub(crate) fn of_row(connection: &Connection, table: i64, key: &[u8]) -> Result<Vec<(String, Stored)>> {
    let doing = "reading the text documents";
    let found: Vec<(String, i64)> = sql::list(
        connection,
        doing,
        "SELECT col, id FROM _driftless_texts WHERE tbl = ?1 AND key = ?2 ORDER BY col",
        (table, key),
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    found.into_iter().map(|(column, id)| Ok((column, Stored { id, parts: parts(connection, id)? }))).collect()
}

/// Forgets the documents of a row, which cannot be read.
pub(crate) fn forget(tx: &Transaction<'_>, table: i64, key: &[u8]) -> Result<()> {
    for (_, stored) in of_row(tx, table, key)? {
        sql::exec(
            tx,
            "forgetting a damaged text document",
            "DELETE FROM _driftless_text_updates WHERE id BETWEEN ?1 AND ?2",
            (first(stored.id), first(stored.id + 1) - 1),
        )?;
    }
    sql::exec(
        tx,
        "forgetting a damaged text document",
        "DELETE FROM _driftless_texts WHERE tbl = ?1 AND key = ?2",
        (table, key),
    )?;
    Ok(())
}

/// Shows every document, by table, key and column: the table's name, the key's bytes, the column, the document. Stops
/// when `see` returns `false`, and returns whether it never did.
pub(crate) fn each(
    connection: &Connection,
    mut see: impl FnMut(&str, &[u8], &str, &Stored) -> Result<bool>,
) -> Result<bool> {
    let doing = "reading the text documents";
    let query =
        "SELECT t.name, d.key, d.col, d.id FROM _driftless_texts d JOIN _driftless_tables t ON t.id = d.tbl
                 ORDER BY d.tbl, d.key, d.col";
    sql::each_while(connection, doing, query, [], |row| {
        let (table, column): (String, String) = (row.get(0).doing(doing)?, row.get(2).doing(doing)?);
        let id = row.get(3).doing(doing)?;
        let stored = Stored { id, parts: parts(connection, id)? };
        see(&table, sql::blob(row, 1).doing(doing)?, &column, &stored)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::migrations;
    use crate::store::tables::{self, State};
    use std::path::Path;

    /// Runs `work` on the side tables of a new database.
    fn with_tables(work: impl FnOnce(&Transaction<'_>)) {
        let mut connection = Connection::open_in_memory().expect("opens");
        let tx = connection.transaction().expect("begins");
        migrations::run(&tx, Path::new("Cargo.toml")).expect("creates the tables");
        work(&tx);
    }

    fn stored(tx: &Transaction<'_>, table: i64, key: &[u8], column: &str) -> Stored {
        get(tx, table, key, column).expect("reads").expect("is there")
    }

    #[test]
    fn parts_come_back_in_order_and_of_the_right_document() {
        with_tables(|tx| {
            for (table, key, column) in
                [(2, b"a", "body"), (2, b"a", "title"), (2, b"b", "body"), (3, b"a", "body")]
            {
                let base = format!("{table} {key:?} {column}");
                create(tx, table, key, column, base.as_bytes()).expect("creates");
                for n in 0..20u8 {
                    append(tx, &stored(tx, table, key, column), &[n]).expect("appends");
                }
            }
            for (table, key, column) in
                [(2, b"a", "body"), (2, b"a", "title"), (2, b"b", "body"), (3, b"a", "body")]
            {
                let base = format!("{table} {key:?} {column}");
                let mut expected = vec![base.into_bytes()];
                expected.extend((0..20u8).map(|n| vec![n]));
                assert_eq!(stored(tx, table, key, column).parts, expected);
            }
            assert!(get(tx, 4, b"a", "body").expect("reads").is_none());
            let one = stored(tx, 2, b"a", "title");
            replace(tx, &one, b"whole").expect("replaces");
            assert_eq!(stored(tx, 2, b"a", "title").parts, [b"whole"]);
            assert_eq!(stored(tx, 2, b"a", "body").parts.len(), 21);
            append(tx, &stored(tx, 2, b"a", "title"), b"more").expect("appends");
            assert_eq!(stored(tx, 2, b"a", "title").parts, [&b"whole"[..], b"more"]);
        });
    }

    #[test]
    fn a_document_is_full_when_what_was_appended_is_large_or_in_many_parts() {
        let of =
            |lengths: &[usize]| Stored { id: 1, parts: lengths.iter().map(|&len| vec![0; len]).collect() };
        assert!(!of(&[]).is_full(2048));
        assert!(!of(&[10, 1000]).is_full(1000));
        assert!(of(&[10, 1000]).is_full(1049));
        assert!(!of(&[100_000, 50_000]).is_full(50_000));
        assert!(of(&[100_000, 50_000]).is_full(50_001));
        assert!(!of(&[1; MOST_PARTS]).is_full(1));
        assert!(of(&[1; MOST_PARTS + 1]).is_full(1));
    }

    #[test]
    fn each_goes_by_table_key_and_column() {
        with_tables(|tx| {
            let notes = tables::add(tx, "notes", "notes", State::Unknown).expect("adds");
            let tags = tables::add(tx, "tags", "tags", State::Unknown).expect("adds");
            for (table, key, column) in
                [(tags, "a", "b"), (notes, "b", "a"), (notes, "a", "b"), (notes, "a", "a")]
            {
                create(tx, table, key.as_bytes(), column, b"base").expect("creates");
            }
            let mut seen = Vec::new();
            let all = each(tx, |table, key, column, stored| {
                assert_eq!(stored.parts(), [b"base"]);
                seen.push(format!("{table} {} {column}", String::from_utf8_lossy(key)));
                Ok(true)
            });
            assert!(all.expect("reads"));
            assert_eq!(seen, ["notes a a", "notes a b", "notes b a", "tags a b"]);
            let mut count = 0;
            let all = each(tx, |_, _, _, _| {
                count += 1;
                Ok(count < 2)
            });
            assert!(!all.expect("reads"));
            assert_eq!(count, 2);
        });
    }
}
