//! The layer itself: a VFS that hands everything on to the one that was the default before, and what changes
//! files in a watched folder to [`disk`](crate::disk) first. The only file with unsafe code.
//!
//! A file of ours is a [`File`] with the file of the system's VFS right behind it, in memory that SQLite
//! allocates and never moves. See <https://sqlite.org/c3ref/vfs.html> and
//! <https://sqlite.org/c3ref/io_methods.html>; the rules are theirs.
#![expect(unsafe_code, reason = "a VFS is a table of C functions that SQLite calls with pointers")]
#![expect(non_snake_case, reason = "the functions are named as the slots of the tables they fill")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;
use std::slice;
use std::sync::{Arc, Once};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_io_methods, sqlite3_vfs};

use crate::clock;
use crate::disk::{RealFile, Watched, WatchedFile};

/// 1970 in the milliseconds of Julian days, which SQLite counts in.
const EPOCH: i64 = 210_866_760_000_000;

/// What a watched disk does not promise, whatever the system's does: it tears and reorders.
const NOT_PROMISED: c_int = ffi::SQLITE_IOCAP_ATOMIC
    | ffi::SQLITE_IOCAP_ATOMIC512
    | ffi::SQLITE_IOCAP_ATOMIC1K
    | ffi::SQLITE_IOCAP_ATOMIC2K
    | ffi::SQLITE_IOCAP_ATOMIC4K
    | ffi::SQLITE_IOCAP_ATOMIC8K
    | ffi::SQLITE_IOCAP_ATOMIC16K
    | ffi::SQLITE_IOCAP_ATOMIC32K
    | ffi::SQLITE_IOCAP_ATOMIC64K
    | ffi::SQLITE_IOCAP_SAFE_APPEND
    | ffi::SQLITE_IOCAP_SEQUENTIAL
    | ffi::SQLITE_IOCAP_BATCH_ATOMIC;

/// An open file. The real one lies behind it.
#[repr(C)]
struct File {
    /// What SQLite knows of it.
    base: sqlite3_file,
    /// From `Box::into_raw`, freed by `xClose`; null in folders that nobody watches.
    watched: *mut WatchedFile,
}

const _: () = assert!(size_of::<File>().is_multiple_of(8), "what follows a file must be aligned");

/// By version of the interface, from 1: SQLite calls a slot only if the version has it, and the real file's
/// version is passed on.
static METHODS: [sqlite3_io_methods; 3] = [methods(1), methods(2), methods(3)];

pub(crate) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: this option takes one int. SQLite refuses it, and nothing else, where it is at work already. Counting the
        // memory that is in use takes a lock that all threads would wait for.
        let _refused = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0 as c_int) };
        // SAFETY: null asks for the default; this initializes SQLite, which is safe at any time, and the
        // answer lives until the process ends or somebody unregisters it, which nobody does.
        let real = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
        assert!(!real.is_null(), "SQLite has a default VFS");
        // SAFETY: it is a valid VFS, of which nobody changes anything but `pNext`, under a lock of SQLite's.
        let (version, file, path) = unsafe { ((*real).iVersion, (*real).szOsFile, (*real).mxPathname) };
        assert!(version >= 3, "the system's VFS is of version 3, as it has been since 2011");
        let ours = Box::leak(Box::new(sqlite3_vfs {
            iVersion: 3,
            szOsFile: size_of::<File>() as c_int + file,
            mxPathname: path,
            pNext: ptr::null_mut(),
            zName: c"driftless-test-disk".as_ptr(),
            pAppData: real.cast(),
            xOpen: Some(xOpen),
            xDelete: Some(xDelete),
            xAccess: Some(xAccess),
            xFullPathname: Some(xFullPathname),
            xDlOpen: Some(xDlOpen),
            xDlError: Some(xDlError),
            xDlSym: Some(xDlSym),
            xDlClose: Some(xDlClose),
            xRandomness: Some(xRandomness),
            xSleep: Some(xSleep),
            xCurrentTime: Some(xCurrentTime),
            xGetLastError: Some(xGetLastError),
            xCurrentTimeInt64: Some(xCurrentTimeInt64),
            xSetSystemCall: Some(xSetSystemCall),
            xGetSystemCall: Some(xGetSystemCall),
            xNextSystemCall: Some(xNextSystemCall),
        }));
        // SAFETY: it is complete and is never freed.
        let code = unsafe { ffi::sqlite3_vfs_register(ours, 1) };
        assert_eq!(code, ffi::SQLITE_OK, "a VFS can be registered");
    });
}

/// Seeds the random numbers that SQLite makes when this thread first needs one; `None` is the system's
/// randomness.
///
/// SQLite has one generator for the whole process, which this makes it seed again. What SQL draws
/// (`random()`, `randomblob()`, the salts of logs) is the same under the same seed only while no other thread
/// runs SQLite.
pub fn set_randomness(seed: Option<u64>) {
    install();
    clock::seed(seed);
    // SAFETY: it takes a lock of its own; no bytes and no buffer mean that the generator is to be seeded
    // again.
    unsafe { ffi::sqlite3_randomness(0, ptr::null_mut()) };
}

const fn methods(version: c_int) -> sqlite3_io_methods {
    sqlite3_io_methods {
        iVersion: version,
        xClose: Some(xClose),
        xRead: Some(xRead),
        xWrite: Some(xWrite),
        xTruncate: Some(xTruncate),
        xSync: Some(xSync),
        xFileSize: Some(xFileSize),
        xLock: Some(xLock),
        xUnlock: Some(xUnlock),
        xCheckReservedLock: Some(xCheckReservedLock),
        xFileControl: Some(xFileControl),
        xSectorSize: Some(xSectorSize),
        xDeviceCharacteristics: Some(xDeviceCharacteristics),
        xShmMap: Some(xShmMap),
        xShmLock: Some(xShmLock),
        xShmBarrier: Some(xShmBarrier),
        xShmUnmap: Some(xShmUnmap),
        xFetch: Some(xFetch),
        xUnfetch: Some(xUnfetch),
    }
}

/// The file of the system's VFS. `file` is one of ours, or memory for one.
unsafe fn real(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: SQLite allocates `szOsFile` bytes, of which the first are ours and the others its.
    unsafe { file.cast::<File>().add(1).cast() }
}

/// What the disk knows of an open file.
unsafe fn watched<'a>(file: *mut sqlite3_file) -> Option<&'a WatchedFile> {
    // SAFETY: `xOpen` set it to null or to what `xClose`, the last call for the file, frees. Nobody has it
    // mutably.
    unsafe { (*file.cast::<File>()).watched.as_ref() }
}

/// Calls a method of the real file.
macro_rules! real_file {
    ($file:expr, $method:ident $(, $argument:expr)*) => {{
        let real = real($file);
        ((*(*real).pMethods).$method.expect("a file has the methods of its version"))(real $(, $argument)*)
    }};
}

/// Calls a function of the system's VFS.
macro_rules! real_vfs {
    ($vfs:expr, $function:ident $(, $argument:expr)*) => {{
        let real = (*$vfs).pAppData.cast::<sqlite3_vfs>();
        ((*real).$function.expect("the system's VFS is complete"))(real $(, $argument)*)
    }};
}

/// Methods that only hand on.
macro_rules! hand_on {
    ($($method:ident($($name:ident: $type:ty),*) $(-> $answer:ty)?;)*) => {$(
        unsafe extern "C" fn $method(file: *mut sqlite3_file $(, $name: $type)*) $(-> $answer)? {
            // SAFETY: the file is open and of ours, so the real one behind it is open too; the arguments are
            // SQLite's.
            unsafe { real_file!(file, $method $(, $name)*) }
        }
    )*};
}

/// Functions of the VFS that only hand on.
macro_rules! hand_on_vfs {
    ($($function:ident($($name:ident: $type:ty),*) $(-> $answer:ty)?;)*) => {$(
        unsafe extern "C" fn $function(vfs: *mut sqlite3_vfs $(, $name: $type)*) $(-> $answer)? {
            // SAFETY: the VFS is ours, whose `pAppData` is the system's; the arguments are SQLite's.
            unsafe { real_vfs!(vfs, $function $(, $name)*) }
        }
    )*};
}

hand_on! {
    xRead(to: *mut c_void, amount: c_int, offset: i64) -> c_int;
    xFileSize(size: *mut i64) -> c_int;
    xLock(level: c_int) -> c_int;
    xUnlock(level: c_int) -> c_int;
    xCheckReservedLock(result: *mut c_int) -> c_int;
    xSectorSize() -> c_int;
    xShmMap(region: c_int, size: c_int, extend: c_int, memory: *mut *mut c_void) -> c_int;
    xShmLock(offset: c_int, count: c_int, flags: c_int) -> c_int;
    xShmBarrier();
    xShmUnmap(delete: c_int) -> c_int;
    xFetch(offset: i64, amount: c_int, memory: *mut *mut c_void) -> c_int;
    xUnfetch(offset: i64, memory: *mut c_void) -> c_int;
}

type Symbol = Option<unsafe extern "C" fn(*mut sqlite3_vfs, *mut c_void, *const c_char)>;

hand_on_vfs! {
    xAccess(path: *const c_char, flags: c_int, result: *mut c_int) -> c_int;
    xFullPathname(path: *const c_char, size: c_int, full: *mut c_char) -> c_int;
    xDlOpen(path: *const c_char) -> *mut c_void;
    xDlError(size: c_int, message: *mut c_char);
    xDlSym(library: *mut c_void, name: *const c_char) -> Symbol;
    xDlClose(library: *mut c_void);
    xGetLastError(size: c_int, message: *mut c_char) -> c_int;
    xSetSystemCall(name: *const c_char, call: ffi::sqlite3_syscall_ptr) -> c_int;
    xGetSystemCall(name: *const c_char) -> ffi::sqlite3_syscall_ptr;
    xNextSystemCall(name: *const c_char) -> *const c_char;
}

/// The folder that watches a path. Temporary files have none; ours are named in UTF-8.
unsafe fn watcher<'a>(path: *const c_char) -> Option<(&'a Path, Arc<Watched>)> {
    if path.is_null() {
        return None;
    }
    // SAFETY: a path is a C string, which lives longer than the call it was an argument of.
    let path = Path::new(unsafe { CStr::from_ptr(path) }.to_str().ok()?);
    Some((path, Watched::of(path)?))
}

fn result(code: c_int) -> Result<(), c_int> {
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(code) }
}

fn code(result: Result<(), c_int>) -> c_int {
    result.err().unwrap_or(ffi::SQLITE_OK)
}

unsafe extern "C" fn xOpen(
    vfs: *mut sqlite3_vfs,
    path: ffi::sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let ours = file.cast::<File>();
    // SAFETY: the memory is for a file of ours, and not initialized. Without methods SQLite does not close a
    // file that could not be opened.
    unsafe { ours.write(File { base: sqlite3_file { pMethods: ptr::null() }, watched: ptr::null_mut() }) };
    // SAFETY: the memory behind is for a file of the system's. The path is handed on as it came: SQLite has
    // hidden the parameters of a URI behind it.
    let open = || result(unsafe { real_vfs!(vfs, xOpen, path, real(file), flags, out_flags) });
    let creates = flags & ffi::SQLITE_OPEN_CREATE != 0;
    let temporary = flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0;
    // The system's VFS syncs the folder with the first sync of these.
    let syncs_folder =
        flags & (ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL | ffi::SQLITE_OPEN_WAL) != 0;
    // SAFETY: SQLite gives a path or null.
    let opened = match unsafe { watcher(path) }.filter(|_| !temporary) {
        Some((path, watched)) => {
            watched.open(path, creates, syncs_folder, open).map(|file| Box::into_raw(Box::new(file)))
        }
        None => open().map(|()| ptr::null_mut()),
    };
    let watched = match opened {
        Ok(watched) => watched,
        Err(code) => return code,
    };
    // SAFETY: the real file is open, so it has methods, and both structures are initialized.
    unsafe {
        let version = (*(*real(file)).pMethods).iVersion.clamp(1, 3);
        (*ours).watched = watched;
        (*ours).base.pMethods = &METHODS[version as usize - 1];
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn xClose(file: *mut sqlite3_file) -> c_int {
    // SAFETY: the file is open; it is closed once, and nobody uses it afterwards. `watched` came from
    // `Box::into_raw`.
    unsafe {
        let code = real_file!(file, xClose);
        let ours = file.cast::<File>();
        if !(*ours).watched.is_null() {
            drop(Box::from_raw((*ours).watched));
        }
        (*ours).watched = ptr::null_mut();
        (*ours).base.pMethods = ptr::null();
        code
    }
}

unsafe extern "C" fn xWrite(
    file: *mut sqlite3_file,
    from: *const c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: the file is open; `from` has `amount` bytes, which nobody changes during the call.
    unsafe {
        let Some(watched) = watched(file) else { return real_file!(file, xWrite, from, amount, offset) };
        let data = slice::from_raw_parts(from.cast::<u8>(), amount as usize);
        code(watched.write(&mut Real(file), offset as u64, data))
    }
}

unsafe extern "C" fn xTruncate(file: *mut sqlite3_file, size: i64) -> c_int {
    // SAFETY: the file is open.
    unsafe {
        let Some(watched) = watched(file) else { return real_file!(file, xTruncate, size) };
        code(watched.truncate(&mut Real(file), size as u64))
    }
}

unsafe extern "C" fn xSync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: the file is open.
    unsafe {
        let Some(watched) = watched(file) else { return real_file!(file, xSync, flags) };
        code(watched.sync(&mut Real(file)))
    }
}

unsafe extern "C" fn xFileControl(file: *mut sqlite3_file, operation: c_int, argument: *mut c_void) -> c_int {
    // SAFETY: the file is open; the argument is what the operation calls for.
    unsafe {
        // These let the system's VFS grow a file by itself. They are hints, which may be ignored.
        let grows = matches!(operation, ffi::SQLITE_FCNTL_SIZE_HINT | ffi::SQLITE_FCNTL_CHUNK_SIZE);
        if grows && watched(file).is_some() {
            return ffi::SQLITE_OK;
        }
        real_file!(file, xFileControl, operation, argument)
    }
}

unsafe extern "C" fn xDeviceCharacteristics(file: *mut sqlite3_file) -> c_int {
    // SAFETY: the file is open.
    unsafe {
        let promised = real_file!(file, xDeviceCharacteristics);
        if watched(file).is_some() { promised & !NOT_PROMISED } else { promised }
    }
}

unsafe extern "C" fn xDelete(vfs: *mut sqlite3_vfs, path: *const c_char, sync_folder: c_int) -> c_int {
    // SAFETY: the VFS is ours; the path is a C string.
    unsafe {
        let delete = || result(real_vfs!(vfs, xDelete, path, sync_folder));
        match watcher(path) {
            Some((path, watched)) => code(watched.delete(path, sync_folder & 1 != 0, delete)),
            None => code(delete()),
        }
    }
}

unsafe extern "C" fn xRandomness(vfs: *mut sqlite3_vfs, size: c_int, to: *mut c_char) -> c_int {
    // SAFETY: `to` has room for `size` bytes, which are SQLite's until now; zeros make them ours to look at.
    let bytes = unsafe {
        ptr::write_bytes(to, 0, size as usize);
        slice::from_raw_parts_mut(to.cast::<u8>(), size as usize)
    };
    if clock::fill(bytes) {
        return size;
    }
    // SAFETY: as above.
    unsafe { real_vfs!(vfs, xRandomness, size, to) }
}

unsafe extern "C" fn xSleep(vfs: *mut sqlite3_vfs, microseconds: c_int) -> c_int {
    if clock::sleep(microseconds.into()) {
        return microseconds;
    }
    // SAFETY: the VFS is ours.
    unsafe { real_vfs!(vfs, xSleep, microseconds) }
}

unsafe extern "C" fn xCurrentTimeInt64(vfs: *mut sqlite3_vfs, time: *mut i64) -> c_int {
    // SAFETY: the VFS is ours, and `time` is a place for an integer.
    unsafe {
        let Some(now) = clock::clock() else { return real_vfs!(vfs, xCurrentTimeInt64, time) };
        *time = now + EPOCH;
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn xCurrentTime(vfs: *mut sqlite3_vfs, days: *mut f64) -> c_int {
    // SAFETY: the VFS is ours, and `days` is a place for a number.
    unsafe {
        let Some(now) = clock::clock() else { return real_vfs!(vfs, xCurrentTime, days) };
        *days = (now + EPOCH) as f64 / 86_400_000.0;
        ffi::SQLITE_OK
    }
}

/// The real file behind one of ours, which is open for as long as this is there.
struct Real(*mut sqlite3_file);

impl RealFile for Real {
    fn read(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), c_int> {
        let (to, amount) = (bytes.as_mut_ptr().cast(), length(bytes));
        // SAFETY: the file is open, and the buffer has that many bytes.
        match unsafe { real_file!(self.0, xRead, to, amount, offset as i64) } {
            ffi::SQLITE_IOERR_SHORT_READ => Ok(()), // the rest is zeros
            code => result(code),
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), c_int> {
        let (from, amount) = (bytes.as_ptr().cast(), length(bytes));
        // SAFETY: the file is open, and the buffer has that many bytes.
        result(unsafe { real_file!(self.0, xWrite, from, amount, offset as i64) })
    }

    fn truncate(&mut self, size: u64) -> Result<(), c_int> {
        // SAFETY: the file is open.
        result(unsafe { real_file!(self.0, xTruncate, size as i64) })
    }

    fn size(&mut self) -> Result<u64, c_int> {
        let mut size = 0;
        // SAFETY: the file is open, and `size` is a place for an integer.
        result(unsafe { real_file!(self.0, xFileSize, &mut size) })?;
        Ok(size as u64)
    }
}

fn length(bytes: &[u8]) -> c_int {
    bytes.len().try_into().expect("a test's file is smaller than 2 GB")
}
