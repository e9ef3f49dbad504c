//! What a new child does to itself before its closure or its program runs, and how its parent
//! learns that it has. Nothing here allocates or takes a lock.
//!
//! The parent sleeps on a word that both share, the *gate*. The child makes the gate the lock that
//! the kernel marks, and wakes a sleeper on, when its holder ends **or executes another program**
//! (a robust list of one entry). So success of an `exec`, which leaves nobody to say so, is heard
//! of without a descriptor, which every child forked meanwhile by other threads would keep open.

use std::ffi::{CStr, c_char, c_int};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::os::clock::Deadline;
use crate::os::memory::errno;

// The gate's word: 0 = nobody has said anything; else the holder's thread id with a bit of the kernel's,
// or one of these, which are no thread's with that bit.
/// The child has done all it was to do.
const DONE: u32 = 1;
/// Something failed; the child ends.
const FAILED: u32 = 2;
/// Bits of the kernel's: somebody may sleep here; the holder is gone.
const WAITERS: u32 = libc::FUTEX_WAITERS;
const OWNER_DIED: u32 = libc::FUTEX_OWNER_DIED;

/// What the gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// The child has not got through yet.
    Closed,
    /// It has, or runs another program, or was killed on the way.
    Through,
    /// Something failed; where and why stands beside the gate.
    Failed,
}

/// Looks at a gate.
pub(crate) fn look(gate: &AtomicU32) -> Gate {
    // Acquire: pairs with the stores in `open_gate` and `fail_gate`.
    match gate.load(Ordering::Acquire) {
        DONE => Gate::Through,
        FAILED => Gate::Failed,
        word if word & OWNER_DIED != 0 => Gate::Through,
        _ => Gate::Closed,
    }
}

/// Sleeps while the gate is closed, but not beyond `deadline`, which is to be near: a child that was
/// killed before it held the gate wakes nobody.
pub(crate) fn wait(gate: &AtomicU32, deadline: Deadline) {
    let seen = gate.load(Ordering::Relaxed);
    if matches!(seen, DONE | FAILED) || seen & OWNER_DIED != 0 {
        return;
    }
    let nanoseconds = deadline.as_nanoseconds();
    let time = libc::timespec {
        tv_sec: (nanoseconds / 1_000_000_000) as libc::time_t,
        tv_nsec: (nanoseconds % 1_000_000_000) as _,
    };
    // SAFETY: a valid word and time for the whole call. Whatever it returns, the caller looks again.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            gate.as_ptr(),
            libc::FUTEX_WAIT_BITSET,
            seen,
            &raw const time,
            std::ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        );
    }
}

/// `struct robust_list_head` of linux/futex.h.
#[repr(C)]
struct RobustList {
    first: *const RobustList,
    offset: libc::c_long,
    pending: *const u32,
}

/// In the child: the gate is held from here on, until it is opened, or this process ends or
/// executes a program.
pub(crate) struct Holder<'a> {
    gate: &'a AtomicU32,
    /// The C library's own list.
    before: *const RobustList,
    list: RobustList,
}

impl<'a> Holder<'a> {
    /// A holder that does not hold yet.
    pub(crate) fn new(gate: &'a AtomicU32) -> Self {
        let list = RobustList { first: std::ptr::null(), offset: 0, pending: gate.as_ptr() };
        Self { gate, before: std::ptr::null(), list }
    }

    /// Takes the gate. `self` must not move before it is let go.
    pub(crate) fn hold(&mut self) -> Result<(), i32> {
        let mut length = 0_usize;
        self.list.first = &raw const self.list;
        // SAFETY: valid places for the answers; 0 is this thread.
        check(unsafe {
            libc::syscall(libc::SYS_get_robust_list, 0, &raw mut self.before, &raw mut length)
        })?;
        set_list(&raw const self.list)?;
        // SAFETY: no preconditions.
        let thread = unsafe { libc::syscall(libc::SYS_gettid) } as u32;
        self.gate.store(thread | WAITERS, Ordering::Relaxed);
        Ok(())
    }

    /// Everything is done.
    pub(crate) fn open(&self) {
        self.end(DONE);
    }

    /// Something failed, and that stands beside the gate.
    pub(crate) fn fail(&self) {
        self.end(FAILED);
    }

    fn end(&self, word: u32) {
        // Release: pairs with the load in `look`.
        self.gate.store(word, Ordering::Release);
        if !self.before.is_null() {
            let _ = set_list(self.before);
        }
        // SAFETY: a wake uses the address as a key alone.
        unsafe {
            libc::syscall(libc::SYS_futex, self.gate.as_ptr(), libc::FUTEX_WAKE, i32::MAX);
        }
    }
}

fn set_list(list: *const RobustList) -> Result<(), i32> {
    // SAFETY: the kernel reads the list when the thread ends or executes a program; it stays until
    // then, or until the list before is put back.
    check(unsafe { libc::syscall(libc::SYS_set_robust_list, list, size_of::<RobustList>()) })
}

fn check(result: libc::c_long) -> Result<(), i32> {
    if result < 0 { Err(errno()) } else { Ok(()) }
}

/// Makes the process the leader of a new session, which has no terminal.
pub(crate) fn new_session() -> Result<(), i32> {
    // SAFETY: no preconditions.
    check(unsafe { libc::setsid() }.into())
}

/// Puts the process into a group; 0 makes one that it leads.
pub(crate) fn join_group(group: i32) -> Result<(), i32> {
    // SAFETY: no pointers.
    check(unsafe { libc::setpgid(0, group) }.into())
}

/// Adds to the process's niceness.
pub(crate) fn add_nice(by: i32) -> Result<(), i32> {
    // −1 is a niceness, too. SAFETY: no pointers.
    let before = unsafe {
        *libc::__errno_location() = 0;
        libc::getpriority(libc::PRIO_PROCESS, 0)
    };
    if before == -1 && errno() != 0 {
        return Err(errno());
    }
    let wanted = before.saturating_add(by);
    // SAFETY: no pointers.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, wanted) }.into())
}

/// A set of processors, as the kernel takes it: a bit for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CpuSet(Vec<u64>);

impl CpuSet {
    /// The most processors that a kernel can be built for, and more.
    pub(crate) const MOST: usize = 1 << 16;

    /// Adds one; its number is less than [`CpuSet::MOST`].
    pub(crate) fn add(&mut self, cpu: usize) {
        let word = cpu / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (cpu % 64);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lets the calling thread run on these alone, and all that it starts. The kernel leaves out those
    /// that are not there, and refuses if none is left.
    pub(crate) fn apply(&self) -> Result<(), i32> {
        // SAFETY: a valid array and its size in bytes.
        check(unsafe {
            libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(&self.0[..]), self.0.as_ptr())
        })
    }

    /// Whether all of these processors are the calling thread's to use now.
    pub(crate) fn is_applied(&self) -> bool {
        let mut now = [0_u64; Self::MOST / 64];
        // SAFETY: a valid array and its size in bytes.
        let length = unsafe {
            libc::syscall(libc::SYS_sched_getaffinity, 0, size_of_val(&now), now.as_mut_ptr())
        };
        length > 0 && self.0.iter().zip(&now).all(|(wanted, now)| wanted & !now == 0)
    }
}

/// Makes the descriptors `new` the process's standard ones; each may be one of these itself, and may
/// come more than once. A negative one leaves things as they are.
pub(crate) fn set_standard(new: [RawFd; 3]) -> Result<(), i32> {
    // Out of the way, lest it is overwritten before it is used.
    let mut aside = new;
    for fd in aside.iter_mut().filter(|fd| (0..3).contains(*fd)) {
        // SAFETY: no pointers.
        *fd = unsafe { libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, 3) };
        if *fd < 0 {
            return Err(errno());
        }
    }
    for (number, fd) in (0..).zip(aside) {
        // SAFETY: no pointers. The new number stays open over an exec.
        if fd >= 0 && unsafe { libc::dup2(fd, number) } < 0 {
            return Err(errno());
        }
    }
    for (_, now) in new.into_iter().zip(aside).filter(|(before, now)| before != now) {
        close(now);
    }
    Ok(())
}

/// A descriptor of the null device, closed on exec.
pub(crate) fn open_null() -> Result<OwnedFd, i32> {
    // SAFETY: a terminated path.
    owned(unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) })
}

/// A copy of a descriptor under a number that is none of the standard ones, closed on exec.
pub(crate) fn copy_descriptor(fd: BorrowedFd<'_>) -> Result<OwnedFd, i32> {
    copy_number(fd.as_raw_fd())
}

/// The same of what may not be open at all.
pub(crate) fn copy_number(fd: RawFd) -> Result<OwnedFd, i32> {
    // SAFETY: no pointers.
    owned(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) })
}

fn owned(fd: RawFd) -> Result<OwnedFd, i32> {
    if fd < 0 {
        return Err(errno());
    }
    // SAFETY: a fresh descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Has a descriptor closed on exec.
pub(crate) fn set_close_on_exec(fd: RawFd) {
    // SAFETY: no pointers; a number that is not open is no error here.
    unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
}

/// Closes a descriptor that the caller knows to be its own.
pub(crate) fn close(fd: RawFd) {
    // SAFETY: no pointers.
    unsafe { libc::close(fd) };
}

/// Sees to it that of the descriptors from 3 on, only `kept` are open after an exec.
pub(crate) fn close_on_exec_but(kept: &[RawFd]) -> Result<(), i32> {
    const CLOEXEC: c_int = 4;
    // SAFETY: no pointers.
    let marked = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, CLOEXEC) };
    if marked != 0 {
        mark_one_by_one()?;
    }
    for &fd in kept {
        // SAFETY: no pointers.
        if unsafe { libc::fcntl(fd, libc::F_SETFD, 0) } < 0 {
            return Err(errno());
        }
    }
    Ok(())
}

/// Kernels before 5.11: every number that there can be.
fn mark_one_by_one() -> Result<(), i32> {
    // SAFETY: an all-zero limit is a valid place for the answer.
    let limit = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return Err(errno());
        }
        limit.rlim_cur
    };
    for fd in 3..limit.min(1 << 20) as RawFd {
        set_close_on_exec(fd);
    }
    Ok(())
}

/// Signals as a new program expects them: none blocked, and `SIGPIPE`, which Rust programs ignore, as
/// ever.
pub(crate) fn reset_signals() -> Result<(), i32> {
    // SAFETY: an all-zero set is a valid place for the empty one.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        if libc::signal(libc::SIGPIPE, libc::SIG_DFL) == libc::SIG_ERR {
            return Err(errno());
        }
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()).into())
    }
}

/// Arrays of terminated strings that a null pointer ends.
#[derive(Debug)]
pub(crate) struct Strings {
    pointers: Vec<*const c_char>,
    /// What they point to.
    _strings: Vec<std::ffi::CString>,
}

impl Strings {
    pub(crate) fn new(strings: Vec<std::ffi::CString>) -> Self {
        let pointers = strings
            .iter()
            .map(|string| string.as_ptr())
            .chain(std::iter::once(std::ptr::null()))
            .collect();
        Self { pointers, _strings: strings }
    }
}

/// Executes the first of `programs` that can be; returns why none could.
pub(crate) fn execute(
    programs: &[std::ffi::CString],
    arguments: &Strings,
    environment: &Strings,
) -> i32 {
    let mut worst = libc::ENOENT;
    for program in programs {
        let program: &CStr = program;
        // SAFETY: terminated strings, and arrays of them that a null pointer ends.
        unsafe {
            libc::execve(
                program.as_ptr(),
                arguments.pointers.as_ptr(),
                environment.pointers.as_ptr(),
            );
        }
        match errno() {
            libc::ENOENT | libc::ENOTDIR => {}
            // Another folder may have one that is allowed.
            libc::EACCES => worst = libc::EACCES,
            other => return other,
        }
    }
    worst
}
