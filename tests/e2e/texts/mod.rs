//! Text columns, which merge by character: what people type apart from each other is all in the text.

mod kinds;
mod nodes;
mod online;
mod plain;
mod typing;

use std::path::Path;

use driftless::TableOptions;
use driftless_tests::{connect, query};
use rusqlite::Connection;

const NOTES: &str = "CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT, body TEXT, done INTEGER DEFAULT 0);
    INSERT INTO notes VALUES ('n', 'title', 'The quick fox.', 0)";

/// The digest of the empty text, of which some files have a document and others none.
const EMPTY: &str = "AF1349B9F5F9A1A6A0404DEA36DCC949";

fn body() -> TableOptions {
    TableOptions::default().text("body")
}

/// A connection that does not wait for the disk: these tests write often.
fn hasty(path: &Path) -> Connection {
    let connection = connect(path);
    connection.pragma_update(None, "synchronous", "OFF").expect("set");
    connection
}

fn text(path: &Path, id: &str) -> Option<String> {
    connect(path)
        .query_row("SELECT body FROM notes WHERE id = ?1", [id], |row| row.get(0))
        .expect("the note is there")
}

/// What the file takes the texts to hold, by table, key and column.
fn digests(path: &Path) -> Vec<String> {
    let select = format!(
        "SELECT t.name, hex(d.key), d.col, hex(d.digest) FROM _driftless_texts d JOIN _driftless_tables t
         ON t.id = d.tbl WHERE hex(d.digest) <> '{EMPTY}' ORDER BY 1, 2, 3"
    );
    query(path, &select)
}
