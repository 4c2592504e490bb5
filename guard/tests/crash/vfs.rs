//! SQLite's way to the [`Disk`]: a VFS that is the process's default.
//!
//! SQLite calls it in the thread that uses a connection, so each thread has a disk of its
//! own. One connection at a time is open on a disk: locks are always granted. The shared
//! memory of the WAL index is the process's, and so it ends with every crash. No well-kept
//! crate gives shared memory to a VFS without a libclang at hand to build it, so the C
//! interface is met here: every `unsafe` in this file rests on SQLite's promise that it
//! calls with the pointers that its documentation tells of
//! (<https://sqlite.org/c3ref/vfs.html>, <https://sqlite.org/c3ref/io_methods.html>).

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::Once;

use rusqlite::ffi;

use crate::disk::Disk;
use crate::faults::{Failure, Numbers};

thread_local! {
    static DISK: RefCell<Disk> = RefCell::default();
    /// Random for SQLite: the salts of its WAL.
    static NUMBERS: Cell<u64> = const { Cell::new(1) };
}

/// Uses the calling thread's disk.
pub(crate) fn with_disk<T>(use_it: impl FnOnce(&mut Disk) -> T) -> T {
    DISK.with_borrow_mut(use_it)
}

/// Makes the VFS the default of this process.
pub(crate) fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let vfs = Box::leak(Box::new(vfs()));
        // SAFETY: it is leaked, so it is valid for ever, and made as documented.
        let registered = unsafe { ffi::sqlite3_vfs_register(vfs, 1) };
        assert_eq!(registered, ffi::SQLITE_OK, "registering the VFS");
    });
}

fn vfs() -> ffi::sqlite3_vfs {
    ffi::sqlite3_vfs {
        iVersion: 2,
        szOsFile: c_int::try_from(size_of::<OpenFile>()).expect("small"),
        mxPathname: 512,
        pNext: ptr::null_mut(),
        zName: c"torn".as_ptr(),
        pAppData: ptr::null_mut(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_path_name),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: Some(last_error),
        xCurrentTimeInt64: Some(current_time_int64),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(lock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// What SQLite makes room for in each of its files.
#[repr(C)]
struct OpenFile {
    base: ffi::sqlite3_file,
    /// Owned; made by [`open`], ended by [`close`].
    inside: *mut Inside,
}

struct Inside {
    name: String,
    /// A file without a name, which SQLite wants for the while.
    passing: bool,
    /// Regions of shared memory, which must not move.
    shared: Vec<Box<[u64]>>,
}

/// The inside of an open file.
///
/// # Safety
/// `file` is one that [`open`] made and [`close`] did not end, and nobody else uses it
/// meanwhile.
unsafe fn inside<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Inside {
    // SAFETY: SQLite gives the room of `szOsFile` that `open` filled; the caller's promise.
    let inside = unsafe { (*file.cast::<OpenFile>()).inside };
    // SAFETY: the caller's promise.
    unsafe { &mut *inside }
}

/// A name that SQLite gives.
///
/// # Safety
/// `name` is a C string.
unsafe fn text<'a>(name: *const c_char) -> &'a str {
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(name) }.to_str().expect("names of tests are UTF-8")
}

fn code(done: Result<(), Failure>, otherwise: c_int) -> c_int {
    match done {
        Ok(()) => ffi::SQLITE_OK,
        Err(Failure::Full) => ffi::SQLITE_FULL,
        Err(_) => otherwise,
    }
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    let passing = name.is_null();
    // SAFETY: a name that is not null is a C string.
    let name = if passing { "passing" } else { unsafe { text(name) } }.to_owned();
    let file = file.cast::<OpenFile>();
    // SAFETY: SQLite made room for it; null methods say that it is not open.
    unsafe { (*file).base.pMethods = ptr::null() };
    let made = with_disk(|disk| match flags & ffi::SQLITE_OPEN_CREATE != 0 || passing {
        true => disk.create(&name),
        false if disk.exists(&name) => Ok(()),
        false => Err(Failure::Broken),
    });
    if made.is_err() {
        return code(made, ffi::SQLITE_CANTOPEN);
    }
    let inside = Box::into_raw(Box::new(Inside { name, passing, shared: Vec::new() }));
    // SAFETY: as above.
    unsafe { (*file).inside = inside };
    // SAFETY: as above.
    unsafe { (*file).base.pMethods = &raw const METHODS };
    // SAFETY: null, or room for a number.
    if let Some(out) = unsafe { flags_out.as_mut() } {
        *out = flags;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: a C string.
    let name = unsafe { text(name) };
    code(with_disk(|disk| disk.delete(name, sync != 0)), ffi::SQLITE_IOERR_DELETE)
}

unsafe extern "C" fn access(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    _: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: a C string.
    let name = unsafe { text(name) };
    // SAFETY: room for a number.
    unsafe { *out = c_int::from(with_disk(|disk| disk.exists(name))) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_path_name(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: a C string.
    let bytes = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    if usize::try_from(room).is_ok_and(|room| bytes.len() > room) {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: there is as much room, as was just asked.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len()) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(_: *mut ffi::sqlite3_vfs, room: c_int, out: *mut c_char) -> c_int {
    let mut numbers = Numbers(NUMBERS.get());
    let length = usize::try_from(room).expect("not negative");
    // SAFETY: `room` bytes may be written.
    for byte in unsafe { std::slice::from_raw_parts_mut(out.cast::<u8>(), length) } {
        [*byte, ..] = numbers.next().to_le_bytes();
    }
    NUMBERS.set(numbers.0);
    room
}

unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, micros: c_int) -> c_int {
    micros
}

unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: room for a number.
    unsafe { *out = 2_461_000.0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time_int64(
    _: *mut ffi::sqlite3_vfs,
    out: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: room for a number.
    unsafe { *out = 2_461_000 * 86_400_000 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: an open file.
    let inside = ptr::from_mut(unsafe { inside(file) });
    // SAFETY: `open` made it so, and SQLite never gives the file again after this.
    let inside = unsafe { Box::from_raw(inside) };
    if inside.passing {
        // It is nobody's any more, whatever the disk says.
        let _ = with_disk(|disk| disk.delete(&inside.name, true));
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    out: *mut c_void,
    amount: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: an open file.
    let inside = unsafe { inside(file) };
    let (amount, offset) = (size(amount.into()), size(offset));
    // SAFETY: `amount` bytes may be written.
    let into = unsafe { std::slice::from_raw_parts_mut(out.cast::<u8>(), amount) };
    let length = with_disk(|disk| disk.read(&inside.name, offset, into));
    into[length..].fill(0);
    if length < amount { ffi::SQLITE_IOERR_SHORT_READ } else { ffi::SQLITE_OK }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    amount: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: an open file.
    let inside = unsafe { inside(file) };
    // SAFETY: `amount` bytes may be read.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), size(amount.into())) };
    let done = with_disk(|disk| disk.write(&inside.name, size(offset), bytes));
    code(done, ffi::SQLITE_IOERR_WRITE)
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, to: ffi::sqlite3_int64) -> c_int {
    // SAFETY: an open file.
    let inside = unsafe { inside(file) };
    let done = with_disk(|disk| disk.truncate(&inside.name, size(to)));
    code(done, ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: an open file.
    let inside = unsafe { inside(file) };
    code(with_disk(|disk| disk.sync(&inside.name)), ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn file_size(
    file: *mut ffi::sqlite3_file,
    out: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: an open file.
    let inside = unsafe { inside(file) };
    let size = with_disk(|disk| disk.size(&inside.name));
    // SAFETY: room for a number.
    unsafe { *out = size.try_into().expect("small") };
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(_: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: room for a number.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    512
}

/// What SQLite takes for granted on Linux.
unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: an open file.
    let inside = unsafe { inside(file) };
    let region = size(region.into());
    while extend != 0 && inside.shared.len() <= region {
        inside.shared.push(vec![0; size(bytes.into()) / size_of::<u64>()].into_boxed_slice());
    }
    let place = inside.shared.get_mut(region).map_or(ptr::null_mut(), |region| region.as_mut_ptr());
    // SAFETY: room for a pointer.
    unsafe { *out = place.cast() };
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_lock(_: *mut ffi::sqlite3_file, _: c_int, _: c_int, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn shm_barrier(_: *mut ffi::sqlite3_file) {}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: an open file, whose regions SQLite does not use any more.
    unsafe { inside(file) }.shared.clear();
    ffi::SQLITE_OK
}

fn size(number: ffi::sqlite3_int64) -> usize {
    usize::try_from(number).expect("not negative")
}
