//! What Driftless wants of SQLite about a file's write-ahead log and rusqlite has no safe call for.

#![expect(unsafe_code, reason = "sqlite3_file_control takes a pointer whose type depends on the operation")]

use std::ffi::c_int;
use std::ptr;

use rusqlite::{Connection, ffi};

/// Whether another process has a transaction open on the connection's main database: a read transaction, or a write
/// transaction, which is one too.
///
/// It asks the system who holds locks on the `-shm` file, in about a microsecond; it takes no lock itself and changes nothing
/// (`SQLITE_FCNTL_EXTERNAL_READER`, <https://sqlite.org/c3ref/c_fcntl_begin_atomic_write.html>). The answer may be out of
/// date as soon as it is given.
///
/// `false` wherever SQLite cannot tell: outside WAL mode, before the connection has first read, on systems without
/// POSIX locks, with a VFS that does not know the question. Transactions of other connections of this process are not
/// counted: the system does not tell a process of its own locks. Opening `-shm` to look for oneself would be worse than not
/// knowing: closing any descriptor of it drops all locks that this process has on it.
///
/// Fails if SQLite does: the lock file cannot be read.
pub fn has_external_transaction(connection: &Connection) -> rusqlite::Result<bool> {
    let mut found: c_int = 0;
    // SAFETY: the handle belongs to an open connection, which is borrowed until the call returns and, as it is not Sync, is
    // used by this thread alone. The name is null: the main database. This operation writes one int, to which the pointer
    // points, and keeps nothing.
    let code = unsafe {
        ffi::sqlite3_file_control(
            connection.handle(),
            ptr::null(),
            ffi::SQLITE_FCNTL_EXTERNAL_READER,
            ptr::from_mut(&mut found).cast(),
        )
    };
    match code {
        // A VFS that does not know the operation.
        ffi::SQLITE_NOTFOUND => Ok(false),
        code => check(code).map(|()| found != 0),
    }
}

/// Waits until the log is on the disk: every commit that the connection has seen or made is durable then. What SQLite does
/// in a commit with `synchronous=FULL`, but without the write lock: others can write meanwhile.
///
/// Does nothing where there is no log: outside WAL mode, or before the connection has first read.
///
/// Fails if the disk does. What was not on the disk by then may never get there, although it can be read and a second call
/// succeeds: Linux says once that a write failed, and takes the page for clean from then on. A checkpoint that empties the log
/// makes it durable.
pub fn sync(connection: &Connection) -> rusqlite::Result<()> {
    let Some((log, methods)) = file(connection, ffi::SQLITE_FCNTL_JOURNAL_POINTER)? else { return Ok(()) };
    let Some(sync) = methods.xSync else { return Ok(()) };
    // SAFETY: the file is open, and nobody else uses it: the connection is borrowed and not Sync.
    check(unsafe { sync(log, ffi::SQLITE_SYNC_NORMAL) })
}

/// Whether a database file keeps a write-ahead log, by the two numbers for that in its header
/// (<https://sqlite.org/fileformat.html#file_format_version_numbers>). `PRAGMA journal_mode` would tell too, but reads the whole
/// schema first.
///
/// `false` for a file that is empty, and for a database without a file. The header is read through the descriptor that SQLite has:
/// another one would, when closed, drop all locks that this process has on the file.
///
/// Fails if the file cannot be read.
pub fn keeps_log(connection: &Connection) -> rusqlite::Result<bool> {
    const VERSIONS_AT: ffi::sqlite3_int64 = 18;
    const LOG: u8 = 2;
    let Some((file, methods)) = file(connection, ffi::SQLITE_FCNTL_FILE_POINTER)? else { return Ok(false) };
    let Some(read) = methods.xRead else { return Ok(false) };
    let mut versions = [0u8; 2];
    // SAFETY: the file is open, and nobody else uses it: the connection is borrowed and not Sync. The buffer is as long as is
    // said.
    let code = unsafe { read(file, versions.as_mut_ptr().cast(), versions.len() as c_int, VERSIONS_AT) };
    match code {
        ffi::SQLITE_IOERR_SHORT_READ => Ok(false),
        code => check(code).map(|()| versions == [LOG; 2]),
    }
}

/// One of a connection's open files, and how SQLite works on it. `None` if it is not open. `which`:
/// `SQLITE_FCNTL_FILE_POINTER`, the database, or `SQLITE_FCNTL_JOURNAL_POINTER`, its log or journal. The file is open until the
/// next statement runs; the database's as long as the connection.
fn file(
    connection: &Connection,
    which: c_int,
) -> rusqlite::Result<Option<(*mut ffi::sqlite3_file, &ffi::sqlite3_io_methods)>> {
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    // SAFETY: the handle belongs to an open connection, which is borrowed until the call returns and, as it is not Sync, is used
    // by this thread alone. The name is null: the main database. These operations write one pointer, which is null or points to
    // a file of the connection's.
    let code = unsafe {
        ffi::sqlite3_file_control(connection.handle(), ptr::null(), which, ptr::from_mut(&mut file).cast())
    };
    check(code)?;
    // SAFETY: see above. A file that is not open has no methods; they are never freed while the connection is open.
    let methods = unsafe { file.as_ref().and_then(|file| file.pMethods.as_ref()) };
    Ok(methods.map(|methods| (file, methods)))
}

fn check(code: c_int) -> rusqlite::Result<()> {
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;

    fn open(path: &Path) -> Connection {
        let connection = Connection::open(path).expect("it opens");
        connection
            .execute_batch(
                "PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS t (x); INSERT INTO t VALUES (1)",
            )
            .expect("it is in WAL mode");
        connection
    }

    /// Not a test by itself: the other process of the test below, on the file in `WAL_TEST_FILE`. It says when its
    /// transaction has begun, and ends it when its input ends.
    #[test]
    fn the_other_process() {
        let Some(file) = std::env::var_os("WAL_TEST_FILE") else { return };
        let connection = open(Path::new(&file));
        connection.execute_batch("BEGIN; SELECT * FROM t;").expect("it reads");
        println!("\nbegun");
        std::io::stdout().flush().expect("somebody listens");
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).expect("it waits");
        connection.execute_batch("COMMIT").expect("it ends");
        println!("\nended");
        std::io::stdout().flush().expect("somebody listens");
        // Still connected: to have the file open is no transaction.
        std::thread::park();
    }

    #[test]
    fn the_header_says_whether_a_file_keeps_a_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.db");
        let connection = Connection::open(&path).expect("it opens");
        assert!(!keeps_log(&connection).expect("an answer"), "it is empty");
        connection.execute_batch("CREATE TABLE t (x)").expect("made");
        assert!(!keeps_log(&connection).expect("an answer"));
        for (mode, keeps) in [("WAL", true), ("DELETE", false), ("WAL", true)] {
            connection.pragma_update(None, "journal_mode", mode).expect("switched");
            assert_eq!(keeps_log(&connection).expect("an answer"), keeps, "{mode}");
            let another = Connection::open(&path).expect("it opens");
            assert_eq!(keeps_log(&another).expect("an answer"), keeps, "{mode}, before anything is read");
        }
        assert!(!keeps_log(&Connection::open_in_memory().expect("it opens")).expect("an answer"));
    }

    #[test]
    fn a_transaction_of_another_process_is_seen_from_its_first_read_to_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("app.db");
        let own = open(&file);
        assert!(!has_external_transaction(&own).expect("an answer"), "nobody else is there");
        let mut other = Command::new(std::env::current_exe().expect("a test knows its path"))
            .args(["--exact", "tests::the_other_process", "--nocapture"])
            .env("WAL_TEST_FILE", &file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut said = BufReader::new(other.stdout.take().expect("its stdout")).lines().map_while(Result::ok);
        assert!(said.any(|line| line == "begun"), "it ended without having begun");
        assert!(has_external_transaction(&own).expect("an answer"), "it reads");
        drop(other.stdin.take());
        assert!(said.any(|line| line == "ended"), "it ended without having ended its transaction");
        assert!(
            !has_external_transaction(&own).expect("an answer"),
            "it has the file open, and reads no more"
        );
        other.kill().expect("it can be killed");
        other.wait().expect("it ends");
    }

    #[test]
    fn where_sqlite_cannot_tell_nobody_is_there() {
        let memory = Connection::open_in_memory().expect("it opens");
        assert!(!has_external_transaction(&memory).expect("an answer"));
    }

    #[test]
    fn a_log_is_synced_and_where_there_is_none_nothing_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let connection = open(&folder.path().join("app.db"));
        sync(&connection).expect("it is on the disk");
        connection.query_row("PRAGMA journal_mode=DELETE", [], |_| Ok(())).expect("no longer in WAL mode");
        sync(&connection).expect("there is no log");
        sync(&Connection::open_in_memory().expect("it opens")).expect("nor is there in memory");
    }
}
