//! Guard pages: every mapping of shared memory in this program lies between pages without access.
//!
//! The program has its own `mmap` and `munmap`, which the linker takes instead of the C library's. A shared mapping
//! of a file for which the caller names no address, and a reservation of addresses without access, get [`ROOM`]
//! bytes on either side that nobody may touch; so does what is mapped into such a reservation at a fixed address.
//! Whatever reaches out of a mapping, by any offset of 32 bits, is a signal. [`check`] looks whether that is true of
//! all mappings of segments that there are.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes without access on either side.
const ROOM: usize = 1 << 32;
const PAGE: usize = 4096;
/// A place in the list that somebody is just filling.
const TAKEN: usize = 1;

/// A mapping that has its guards; `start` 0 = none.
struct Guarded {
    start: AtomicUsize,
    length: AtomicUsize,
}

static GUARDED: [Guarded; 256] =
    [const { Guarded { start: AtomicUsize::new(0), length: AtomicUsize::new(0) } }; 256];

/// The system call itself.
///
/// # Safety
/// As for `mmap`.
pub unsafe fn map_bare(
    address: *mut c_void,
    length: usize,
    access: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe {
        libc::syscall(libc::SYS_mmap, address, length, access, flags, fd, offset) as *mut c_void
    }
}

/// # Safety
/// As for `munmap`.
unsafe fn unmap_bare(start: *mut c_void, length: usize) -> c_int {
    // SAFETY: the caller's word.
    unsafe { libc::syscall(libc::SYS_munmap, start, length) as c_int }
}

fn wants_guards(address: *mut c_void, access: c_int, flags: c_int, fd: c_int) -> bool {
    let fixed = flags & (libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE) != 0;
    let shared_file = flags & libc::MAP_SHARED != 0 && fd >= 0;
    let reservation = access == libc::PROT_NONE && flags & libc::MAP_ANONYMOUS != 0;
    address.is_null() && !fixed && (shared_file || reservation)
}

/// # Safety
/// As for `mmap` without an address.
unsafe fn map_guarded(
    length: usize,
    access: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
) -> *mut c_void {
    let length = length.next_multiple_of(PAGE);
    let free = |place: &&Guarded| {
        place.start.compare_exchange(0, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_ok()
    };
    // SAFETY: the caller's word; what is mapped at a fixed address lies inside the reservation just made.
    unsafe {
        let Some(place) = GUARDED.iter().find(free) else {
            return map_bare(null_mut(), length, access, flags, fd, offset); // `check` will say so
        };
        let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let whole = map_bare(null_mut(), length + 2 * ROOM, libc::PROT_NONE, private, -1, 0);
        let start = whole.wrapping_byte_add(ROOM);
        let mapped = if whole == libc::MAP_FAILED {
            whole
        } else {
            map_bare(start, length, access, flags | libc::MAP_FIXED, fd, offset)
        };
        if mapped == libc::MAP_FAILED {
            let errno = *libc::__errno_location();
            if whole != libc::MAP_FAILED {
                unmap_bare(whole, length + 2 * ROOM);
            }
            *libc::__errno_location() = errno;
            place.start.store(0, Ordering::Release);
            return mapped;
        }
        place.length.store(length, Ordering::Relaxed);
        place.start.store(mapped as usize, Ordering::Release);
        mapped
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mmap64(
    address: *mut c_void,
    length: usize,
    access: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe {
        if wants_guards(address, access, flags, fd) {
            map_guarded(length, access, flags, fd, offset)
        } else {
            map_bare(address, length, access, flags, fd, offset)
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mmap(
    address: *mut c_void,
    length: usize,
    access: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
) -> *mut c_void {
    // SAFETY: the caller's word.
    unsafe { mmap64(address, length, access, flags, fd, offset) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn munmap(start: *mut c_void, length: usize) -> c_int {
    let whole = |place: &&Guarded| {
        place.start.load(Ordering::Acquire) == start as usize
            && place.length.load(Ordering::Relaxed) == length.next_multiple_of(PAGE)
    };
    let place = if start.is_null() { None } else { GUARDED.iter().find(whole) };
    // SAFETY: the caller's word; with its guards it is the reservation made in `map_guarded`.
    unsafe {
        let Some(place) = place else { return unmap_bare(start, length) };
        let length = place.length.load(Ordering::Relaxed);
        place.start.store(0, Ordering::Release);
        unmap_bare(start.wrapping_byte_sub(ROOM), length + 2 * ROOM)
    }
}

/// A line of `/proc/self/maps`.
struct Line<'a> {
    start: usize,
    end: usize,
    text: &'a str,
}

impl<'a> Line<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (start, end) = text.split_once(' ')?.0.split_once('-')?;
        let number = |digits| usize::from_str_radix(digits, 16).ok();
        Some(Self { start: number(start)?, end: number(end)?, text })
    }

    fn is_a_segments(&self) -> bool {
        self.text.contains("/memfd:mpshm") || self.text.contains("/dev/shm/mpshm.")
    }

    fn is_a_guard(&self) -> bool {
        let mut words = self.text.split_ascii_whitespace().skip(1);
        words.next() == Some("---p") && self.end - self.start >= ROOM && words.nth(3).is_none()
    }
}

/// How many mappings of segments there are; or one without guards. Neighbours count as one: who reaches out of
/// the one into the other is at home there, as in memory that is mapped twice in a row.
pub fn check() -> Result<usize, String> {
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(|error| error.to_string())?;
    let lines: Vec<Line> = maps.lines().filter_map(Line::read).collect();
    let mut segments = 0;
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.is_a_segments()) {
        segments += 1;
        let kept = |other: Option<&Line>, touches: fn(&Line, &Line) -> bool| {
            other.is_some_and(|other| {
                touches(other, line) && (other.is_a_guard() || other.is_a_segments())
            })
        };
        let before = index.checked_sub(1).and_then(|index| lines.get(index));
        if !kept(before, |before, line| before.end == line.start)
            || !kept(lines.get(index + 1), |after, line| after.start == line.end)
        {
            return Err(format!("no guards around: {}", line.text));
        }
    }
    Ok(segments)
}

/// What is mapped at fixed addresses into a reservation has the reservation's guards, and all of them go with it.
pub fn check_reservations() -> Result<(), String> {
    let lines =
        || std::fs::read_to_string("/proc/self/maps").map_or(0, |maps| maps.lines().count());
    let before = (check()?, lines());
    // SAFETY: a name; the descriptor is ours, and so are the addresses that are mapped over and then given back.
    unsafe {
        let fd = libc::memfd_create(c"mpshm".as_ptr(), libc::MFD_CLOEXEC);
        libc::ftruncate(fd, PAGE as i64);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let start = libc::mmap(null_mut(), 2 * PAGE, libc::PROT_NONE, flags, -1, 0);
        for at in [0, PAGE] {
            let (access, flags) = (libc::PROT_READ, libc::MAP_SHARED | libc::MAP_FIXED);
            let half = libc::mmap(start.byte_add(at), PAGE, access, flags, fd, 0);
            assert_eq!(half, start.byte_add(at));
        }
        let during = check();
        libc::munmap(start, 2 * PAGE);
        libc::close(fd);
        if during? != before.0 + 2 {
            return Err("the two mappings were not seen".to_owned());
        }
    }
    let after = (check()?, lines());
    if after == before { Ok(()) } else { Err(format!("before {before:?}, after {after:?}")) }
}
