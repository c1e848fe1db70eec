//! Transactions on a small database, and what must be in it when one of them does not come to its end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, Result};

/// What the table holds.
pub(crate) type Content = BTreeMap<i64, String>;

/// How a database is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mode {
    pub(crate) journal: &'static str,
    pub(crate) synchronous: &'static str,
    pub(crate) page_size: u32,
}

/// Keys that are given values of so many characters; none is a key that is deleted.
pub(crate) type Transaction = Vec<(i64, Option<usize>)>;

/// How far a workload came.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What was committed, as far as COMMIT returned.
    pub(crate) sure: Content,
    /// That and the transaction that failed.
    pub(crate) perhaps: Option<Content>,
}

impl Outcome {
    /// The content, if it is one that may be.
    pub(crate) fn assert_allows(&self, found: Content) -> Content {
        let allowed = found == self.sure || Some(&found) == self.perhaps.as_ref();
        assert!(allowed, "found {}, but {self:?}", describe(&found));
        found
    }
}

fn describe(content: &Content) -> String {
    format!("{content:?}")
}

pub(crate) fn database(folder: &Path) -> PathBuf {
    folder.join("a.db")
}

/// Opens the database, with a cache so small that transactions spill, and checkpoints that come often.
pub(crate) fn open(folder: &Path, mode: Mode) -> Result<Connection> {
    let connection = Connection::open(database(folder))?;
    let Mode { journal, synchronous, page_size } = mode;
    connection.execute_batch(&format!(
        "PRAGMA page_size = {page_size}; PRAGMA journal_mode = {journal}; PRAGMA synchronous = {synchronous};
         PRAGMA cache_size = 4; PRAGMA wal_autocheckpoint = 8;"
    ))?;
    Ok(connection)
}

/// Runs transactions through two connections in turn, until one fails or all are done. Then the connections
/// are dropped.
pub(crate) fn run(folder: &Path, mode: Mode, before: Content, transactions: &[Transaction]) -> Outcome {
    let mut sure = before;
    let open = || -> Result<_> {
        let both = [open(folder, mode)?, open(folder, mode)?];
        both[0].execute_batch("CREATE TABLE IF NOT EXISTS t (k INTEGER PRIMARY KEY, v TEXT)")?;
        Ok(both)
    };
    let Ok(mut connections) = open() else { return Outcome { sure, perhaps: None } };
    for (number, transaction) in transactions.iter().enumerate() {
        let after = applied(&sure, number, transaction);
        if commit(&mut connections[number % 2], number, transaction).is_err() {
            return Outcome { sure, perhaps: Some(after) };
        }
        sure = after;
    }
    Outcome { sure, perhaps: None }
}

/// The content after a transaction.
pub(crate) fn applied(content: &Content, number: usize, transaction: &Transaction) -> Content {
    let mut content = content.clone();
    for &(key, size) in transaction {
        match size {
            Some(size) => content.insert(key, value(number, key, size)),
            None => content.remove(&key),
        };
    }
    content
}

/// Runs one transaction.
pub(crate) fn commit(connection: &mut Connection, number: usize, transaction: &Transaction) -> Result<()> {
    let open = connection.transaction()?;
    for &(key, size) in transaction {
        match size {
            Some(size) => open.execute("REPLACE INTO t VALUES (?1, ?2)", (key, value(number, key, size)))?,
            None => open.execute("DELETE FROM t WHERE k = ?1", [key])?,
        };
    }
    open.commit()
}

fn value(number: usize, key: i64, size: usize) -> String {
    let mut value = format!("{number} of {key} ").repeat(size / 4 + 1);
    value.truncate(size);
    value
}

/// What a database holds, which must be whole.
pub(crate) fn read(folder: &Path) -> Content {
    let connection = Connection::open(database(folder)).expect("opens");
    try_read(&connection).expect("can be read")
}

/// The same of one that may be damaged.
pub(crate) fn try_read(connection: &Connection) -> std::result::Result<Content, String> {
    let check = |connection: &Connection| -> Result<String> {
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))
    };
    match check(connection) {
        Ok(answer) if answer == "ok" => {}
        other => return Err(format!("integrity_check: {other:?}")),
    }
    let rows = || -> Result<Content> {
        let mut statement = connection.prepare("SELECT k, v FROM t")?;
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    };
    match rows() {
        Err(error) if error.to_string().starts_with("no such table") => Ok(Content::new()),
        other => other.map_err(|error| error.to_string()),
    }
}

/// The kind of an error of SQLite's.
pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T>) -> (ErrorCode, i32) {
    let error = result.expect_err("must fail");
    let error = error.sqlite_error().expect("SQLite says so");
    (error.code, error.extended_code)
}

/// Transactions that grow the file, spill, overwrite and shrink.
pub(crate) fn fixed() -> Vec<Transaction> {
    vec![
        vec![(1, Some(100)), (2, Some(3000)), (3, Some(10))],
        (10..22).map(|key| (key, Some(700))).collect(),
        vec![(2, None), (3, Some(6000))],
        (10..22).map(|key| (key, (key % 3 == 0).then_some(50))).collect(),
        vec![(1, Some(101))],
        (40..50).map(|key| (key, Some(900))).collect(),
    ]
}
