//! A database file, its user, and what the engine captured of it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use driftless::{Config, Engine, Selection, Status, TableOptions, TableStatus, Value};
use driftless_protocol::lane::{self, LIFE, Lane, LaneName};
use driftless_protocol::{Changeset, RowKey, validate};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, params_from_iter};
use tempfile::TempDir;

/// Column → value.
pub(crate) type Row = BTreeMap<String, Value<'static>>;

/// A database in a folder of its own.
#[derive(Debug)]
pub(crate) struct File {
    folder: TempDir,
    path: PathBuf,
    /// The own seq up to which [`File::capture`] has reported.
    reported: Cell<u64>,
}

impl File {
    /// A file made by `sql`. Nothing of it is tracked.
    pub(crate) fn new(sql: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.db");
        let file = Self { folder, path, reported: Cell::new(0) };
        file.run(sql);
        file
    }

    /// A file whose `tables` are tracked and captured as `sql` leaves them.
    pub(crate) fn tracked(sql: &str, tables: &[&str]) -> Self {
        let file = Self::new(sql);
        file.track(tables);
        file.capture();
        file
    }

    /// Tracks tables, with integer keys allowed.
    pub(crate) fn track(&self, tables: &[&str]) {
        driftless::track(&self.path, Selection::Named(tables), TableOptions::integer_key())
            .unwrap_or_else(|error| panic!("tracking {tables:?}: {error}"));
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A path beside the file.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A connection as an app has one, which knows nothing of Driftless.
    pub(crate) fn user(&self) -> Connection {
        let user = Connection::open(&self.path).expect("a connection");
        user.busy_timeout(Duration::from_secs(10)).expect("a timeout");
        user
    }

    /// Runs statements as a user would, on a connection of their own. None may fail.
    pub(crate) fn run(&self, sql: &str) {
        self.user().execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// An engine that compares tables that were rebuilt with what was known of them at once.
    pub(crate) fn engine(&self) -> Engine {
        self.engine_waiting(Duration::ZERO)
    }

    /// An engine that decides about a rebuilt table when it has been left alone for so long.
    pub(crate) fn engine_waiting(&self, quiet: Duration) -> Engine {
        let mut config = Config::default();
        config.rebuild_quiet = quiet;
        Engine::open(&self.path, config).expect("the engine opens")
    }

    /// Lets an engine capture what there is, and says which rows travel that did not before, as `table[key]`, once
    /// for each change.
    pub(crate) fn capture(&self) -> Vec<String> {
        let engine = self.engine();
        engine.capture().expect("captured");
        engine.close();
        self.captured()
    }

    /// Which rows travel that did not when this was last asked.
    pub(crate) fn captured(&self) -> Vec<String> {
        let user = self.user();
        let mut statement = user
            .prepare("SELECT seq, changeset FROM _driftless_outbox WHERE seq > ?1 ORDER BY seq")
            .expect("the outbox");
        let mut rows = statement.query([self.reported.get() as i64]).expect("the outbox");
        let mut captured = Vec::new();
        while let Some(row) = rows.next().expect("a changeset") {
            self.reported.set(row.get::<_, i64>(0).expect("a seq") as u64);
            let frame: Vec<u8> = row.get(1).expect("a frame");
            let body =
                Changeset::from_bytes(Bytes::from(frame)).expect("a changeset").body().expect("a body");
            for update in body.open().expect("well-formed").1 {
                let update = update.expect("a row");
                validate::row_update(update.update).expect("what travels passes the validator");
                if update.table != "_driftless_definitions" {
                    captured.push(format!("{}[{}]", update.table, update.key));
                }
            }
        }
        captured.sort();
        captured
    }

    /// How many changesets there are.
    pub(crate) fn changesets(&self) -> i64 {
        self.number("SELECT count(*) FROM _driftless_outbox")
    }

    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.user().query_row(sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub(crate) fn status(&self) -> Status {
        driftless::status(&self.path).expect("a status")
    }

    pub(crate) fn table_status(&self, table: &str) -> TableStatus {
        let found = self.status().tables.into_iter().find(|known| known.table == table);
        found.unwrap_or_else(|| panic!("status knows nothing of {table}"))
    }

    /// The rows of a table, every value as it is stored, generated columns left out.
    pub(crate) fn rows(&self, table: &str) -> Vec<Row> {
        let user = self.user();
        let columns = columns(&user, table);
        let list = columns.iter().map(|(name, _)| quote(name)).collect::<Vec<_>>().join(", ");
        let mut statement = user.prepare(&format!("SELECT {list} FROM {}", quote(table))).expect("the table");
        let mut found = statement.query([]).expect("the rows");
        let mut rows = Vec::new();
        while let Some(row) = found.next().expect("a row") {
            let named = columns.iter().enumerate();
            rows.push(
                named
                    .map(|(at, (name, _))| {
                        (name.to_ascii_lowercase(), value(row.get_ref(at).expect("a value")))
                    })
                    .collect(),
            );
        }
        sorted(rows)
    }

    /// The rows of a table as their documents have them. A column of the key that the document need not repeat comes
    /// from the key, and one that nobody wrote is NULL.
    pub(crate) fn documents(&self, table: &str) -> Vec<Row> {
        let user = self.user();
        let columns = columns(&user, table);
        let mut key: Vec<_> = columns.iter().filter(|(_, place)| *place > 0).collect();
        key.sort_by_key(|(_, place)| *place);
        let mut statement = user
            .prepare(
                "SELECT r.key, d.body FROM _driftless_rows r JOIN _driftless_documents d ON d.id = r.doc
                 JOIN _driftless_tables t ON t.id = r.tbl WHERE lower(t.spelled) = ?1",
            )
            .expect("the documents");
        let mut found = statement.query([table.to_ascii_lowercase()]).expect("the documents");
        let mut rows = Vec::new();
        while let Some(row) = found.next().expect("a document") {
            let (key_bytes, body): (Vec<u8>, Vec<u8>) =
                (row.get(0).expect("a key"), row.get(1).expect("a body"));
            let Some(mut cells) = shown(&body) else { continue };
            let key_values = RowKey::from_bytes(&key_bytes).expect("a key").values();
            for ((name, _), value) in key.iter().zip(key_values) {
                cells.entry(name.to_ascii_lowercase()).or_insert(value);
            }
            for (name, _) in &columns {
                cells.entry(name.to_ascii_lowercase()).or_insert(Value::Null);
            }
            rows.push(cells);
        }
        sorted(rows)
    }

    /// Nothing waits to be captured, and the documents say of the table what it says itself, bit for bit. Rows with a
    /// NULL in their key stay here and have none.
    #[track_caller]
    pub(crate) fn assert_captured(&self, table: &str) {
        assert_eq!(self.table_status(table).pending, 0, "nothing waits");
        let key: Vec<String> = columns(&self.user(), table)
            .into_iter()
            .filter(|(_, place)| *place > 0)
            .map(|(name, _)| name.to_ascii_lowercase())
            .collect();
        let (documents, mut rows) = (self.documents(table), self.rows(table));
        rows.retain(|row| key.iter().all(|column| row[column] != Value::Null));
        assert_eq!(documents.len(), rows.len(), "documents {documents:?}\nrows {rows:?}");
        for (document, row) in documents.iter().zip(&rows) {
            if document != row {
                assert_eq!(short(document), short(row));
                panic!("a long value differs");
            }
        }
    }
}

/// A row, long values cut.
fn short(row: &Row) -> Vec<String> {
    let cut = |(name, value): (&String, &Value<'_>)| {
        format!("{name}: {}", format!("{value:?}").chars().take(200).collect::<String>())
    };
    row.iter().map(cut).collect()
}

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_cached_key(short);
    rows
}

pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The columns that are not generated: name, place in the key or 0.
fn columns(user: &Connection, table: &str) -> Vec<(String, i64)> {
    let mut statement = user
        .prepare("SELECT name, pk FROM pragma_table_xinfo(?1) WHERE hidden = 0 ORDER BY cid")
        .expect("the columns");
    let columns = statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?))).expect("the columns");
    columns.collect::<rusqlite::Result<_>>().expect("the columns")
}

/// What a document shows: `None` if the row is dead. One replica wrote it, so one value stands in each column.
fn shown(document: &[u8]) -> Option<Row> {
    let lanes = validate::row_update(document).expect("a valid document").lanes().expect("a whole document");
    let lanes: Vec<(LaneName<'_>, Lane<'_>)> =
        lanes.into_iter().map(|(name, bytes)| (name, Lane::from_bytes(bytes).expect("a lane"))).collect();
    let superseded = |name: &LaneName<'_>, cell: &lane::Cell<'_>| {
        lanes.iter().filter(|(other, _)| other != name).any(|(_, lane)| {
            let floored = lane.floors.iter().any(|f| f.lane == *name && f.number >= cell.number);
            let seen = lane.cell(&cell.column).is_some_and(|theirs| {
                theirs.seen.iter().any(|seen| {
                    (seen.writer, seen.large) == (name.writer, name.column.is_some())
                        && seen.number >= cell.number
                })
            });
            floored || seen
        })
    };
    let mut row = Row::new();
    for (name, lane) in &lanes {
        for cell in lane.cells.iter().filter(|cell| !superseded(name, cell)) {
            let mut value = cell.content.value().expect("no text documents here").clone().into_owned();
            if let Value::Integer(base) = &mut value {
                let added: i128 = lanes.iter().map(|(_, lane)| lane.added(&cell.column)).sum();
                *base = i64::try_from(i128::from(*base) + added).expect("no sum of these tests overflows");
            }
            let before = row.insert(cell.column.to_string(), value);
            assert!(before.is_none(), "two values stand in column {:?}", cell.column);
        }
    }
    (row.remove(LIFE)? == Value::Integer(1)).then_some(row)
}

/// A value as SQLite stores it.
pub(crate) fn value(stored: ValueRef<'_>) -> Value<'static> {
    match stored {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => Value::Integer(integer),
        ValueRef::Real(real) => Value::Real(real),
        ValueRef::Text(bytes) => Value::Text(bytes.to_vec().into()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec().into()),
    }
}

/// A value to bind, whatever its bytes.
#[derive(Debug)]
pub(crate) struct Bound<'a>(pub(crate) &'a Value<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Integer(integer) => ValueRef::Integer(*integer),
            Value::Real(real) => ValueRef::Real(*real),
            Value::Text(bytes) => ValueRef::Text(bytes),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// Executes one statement with these values.
pub(crate) fn execute(user: &Connection, sql: &str, values: &[&Value<'_>]) -> rusqlite::Result<usize> {
    user.execute(sql, params_from_iter(values.iter().map(|value| Bound(value))))
}
