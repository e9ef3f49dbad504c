//! The C library's output around a fork.
//!
//! # What it costs
//! A page that a process writes after a fork is copied, and one whose mapping the child does not have yet is a page fault;
//! each of these takes a hundredth of what the whole fork does. To flush all streams locks each of them, which writes to
//! the library's memory, in the parent and again in the child. So, where there is one thread and no stream but the standard
//! ones, it is only asked whether these hold anything back, which writes nothing.

use std::ffi::{CStr, c_char, c_int};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

// The C library's streams: glibc and musl have these under the same names.
unsafe extern "C" {
    static stdin: *mut libc::FILE;
    static stdout: *mut libc::FILE;
    static stderr: *mut libc::FILE;
    fn ftrylockfile(stream: *mut libc::FILE) -> c_int;
    fn funlockfile(stream: *mut libc::FILE);
    fn __fpurge(stream: *mut libc::FILE);
    fn __fpending(stream: *mut libc::FILE) -> usize;
}

/// A variable of the C library, if it has it.
struct Variable {
    name: &'static CStr,
    /// Null: not looked for yet.
    place: AtomicPtr<u8>,
}

impl Variable {
    const fn new(name: &'static CStr) -> Self {
        Self { name, place: AtomicPtr::new(ptr::null_mut()) }
    }

    fn find(&self) -> Option<*mut u8> {
        // In place of a variable that there is not.
        const NONE: *mut u8 = ptr::without_provenance_mut(1);
        let mut place = self.place.load(Ordering::Relaxed);
        if place.is_null() {
            // SAFETY: a terminated name.
            place = unsafe { libc::dlsym(libc::RTLD_DEFAULT, self.name.as_ptr()) }.cast();
            if place.is_null() {
                place = NONE;
            }
            // Racing first calls store the same.
            self.place.store(place, Ordering::Relaxed);
        }
        (place != NONE).then_some(place)
    }
}

/// Whether this thread is certainly the only one of its process. Since glibc 2.32; else no.
pub(crate) fn has_one_thread() -> bool {
    static SINGLE: Variable = Variable::new(c"__libc_single_threaded");
    // SAFETY: a `char` that only a process with one thread, which it then is not any more, changes.
    SINGLE.find().is_some_and(|place| unsafe { place.cast::<c_char>().read_volatile() } != 0)
}

/// Whether no stream but the standard ones is open, and these hold nothing back. For a process with one thread.
fn holds_nothing_back() -> bool {
    // The newest of all streams; of those of the beginning it is this one.
    static NEWEST: Variable = Variable::new(c"_IO_list_all");
    static FIRST: Variable = Variable::new(c"_IO_2_1_stderr_");
    let (Some(newest), Some(first)) = (NEWEST.find(), FIRST.find()) else { return false };
    // SAFETY: a pointer that no other thread changes, for there is none. The standard streams live as long as the process.
    unsafe {
        newest.cast::<*mut u8>().read() == first
            && __fpending(stdout) == 0
            && __fpending(stderr) == 0
    }
}

/// Which C streams were flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// All of them.
    All,
    /// `stdout` and `stderr` only: another thread sits in a read of `stdin`, holds its lock, and
    /// a flush of all streams would wait until it comes back.
    Standard,
}

/// Writes out what the C library holds back: of all streams if that cannot block on a read of
/// `stdin`.
pub(crate) fn flush(most: Flushed) -> Flushed {
    if has_one_thread() && holds_nothing_back() {
        return most;
    }
    // SAFETY: the standard streams live as long as the process, and these functions lock them
    // themselves; only what was locked here is unlocked.
    unsafe {
        if most == Flushed::All && ftrylockfile(stdin) == 0 {
            funlockfile(stdin);
            libc::fflush(std::ptr::null_mut());
            return Flushed::All;
        }
        libc::fflush(stdout);
        libc::fflush(stderr);
        Flushed::Standard
    }
}

/// In a forked child: forgets what other threads of the parent put into the standard streams
/// between the flush and the fork, for the parent will write it. Allocates nothing, takes no lock.
pub(crate) fn forget() {
    // SAFETY: the child has one thread, so nobody else is at these streams.
    unsafe {
        // Mostly there is nothing: not to write there saves the child the copy of a page.
        for stream in [stdout, stderr] {
            if __fpending(stream) > 0 {
                __fpurge(stream);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_has_several_threads_and_the_child_of_one_is_not_told_otherwise() {
        assert!(!has_one_thread());
    }

    #[test]
    fn a_stream_that_holds_something_back_is_seen() {
        let _alone = crate::os::alone();
        // SAFETY: the child calls only what this library calls in one.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: the standard streams are there; a terminated text and path.
            let seen = unsafe {
                let nothing = holds_nothing_back();
                libc::setvbuf(stdout, ptr::null_mut(), libc::_IOFBF, 1000);
                libc::fputs(c"held back".as_ptr(), stdout);
                let something = !holds_nothing_back();
                __fpurge(stdout);
                let nothing_again = holds_nothing_back();
                let file = libc::fopen(c"/dev/null".as_ptr(), c"w".as_ptr());
                let another = !file.is_null() && !holds_nothing_back();
                [nothing, something, nothing_again, another]
            };
            let glibc = cfg!(target_env = "gnu");
            let expected = [glibc, true, glibc, true];
            crate::os::process::exit_at_once(i32::from(seen != expected));
        }
        let mut status = 0;
        // SAFETY: waits for the child made above.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(status, 0);
    }
}
