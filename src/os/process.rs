//! Processes: fork, the end of a child, wait and signals by pidfd.

use crate::error::{Error, Result};
use crate::os::clock::{self, Deadline};
use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

pub(crate) use libc::{EINVAL, SIGABRT, SIGINT, SIGKILL, SIGTERM};

/// Whether there is a signal of this number; 0 stands for none and is allowed.
pub(crate) fn is_signal(number: i32) -> bool {
    (0..=libc::SIGRTMAX()).contains(&number)
}

/// How a child ended, as the kernel tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It called `_exit` with the lowest 8 bits of this.
    Exited(i32),
    /// A signal killed it.
    Signaled(i32),
    /// A signal killed it, and it left a core.
    Dumped(i32),
}

/// What a look at a child without waiting shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It runs, or is stopped.
    Alive,
    /// It ended, and is still to be reaped.
    Ended(Ended),
    /// There is no such child: it was reaped, or is a child of somebody else.
    NotOurs,
}

/// Which side of a fork the caller is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The new process.
    Child,
    /// The one that forked, with the child's process id.
    Parent(i32),
}

/// The calling process's id.
pub(crate) fn own_pid() -> i32 {
    // SAFETY: no preconditions.
    unsafe { libc::getpid() }
}

/// Whether the calling thread is its process's first: in a forked child, the one that came out of
/// the fork.
pub(crate) fn is_first_thread() -> bool {
    // SAFETY: no preconditions.
    unsafe { libc::syscall(libc::SYS_gettid) == libc::c_long::from(libc::getpid()) }
}

/// Forks, at-fork handlers included: the C library's `malloc` works in the child.
pub(crate) fn fork() -> Result<Side> {
    // SAFETY: no memory is freed or moved by a fork. The child has this thread alone; what its
    // caller may do there is its caller's affair, and a lock that never opens is no undefined
    // behaviour.
    match unsafe { libc::fork() } {
        0 => Ok(Side::Child),
        -1 => Err(Error::last_os("cannot fork")),
        pid => Ok(Side::Parent(pid)),
    }
}

/// Ends the process at once: no destructor, no `atexit` handler, no flush.
pub(crate) fn exit_at_once(code: i32) -> ! {
    // SAFETY: no preconditions; does not return.
    unsafe { libc::_exit(code) }
}

/// In a child of process `parent`: die when the thread that forked it ends, at the latest now if
/// that has happened. Allocates nothing.
pub(crate) fn die_with_parent(parent: i32) {
    // SAFETY: no pointers; the last call ends this very process.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, 0, 0, 0);
        // The parent may have died before the line above took effect. It reads as 0 to a child in
        // a pid namespace of its own, which cannot be told from death by this look.
        let now = libc::getppid();
        if now != parent && now != 0 {
            libc::kill(libc::getpid(), libc::SIGKILL);
        }
    }
}

/// A descriptor that refers to the process with this id for good; none if there is no such process.
pub(crate) fn open_pidfd(pid: i32) -> Result<Option<OwnedFd>> {
    // SAFETY: no pointers. The kernel sets close-on-exec itself.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return match last_errno() {
            libc::ESRCH => Ok(None),
            errno => Err(Error::from_errno(errno, format_args!("cannot open a pidfd of {pid}"))),
        };
    }
    // SAFETY: a fresh descriptor that nobody else has.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
}

/// A descriptor that is readable for ever: in place of the pidfd of a process that is gone.
pub(crate) fn open_readable() -> Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::eventfd(1, libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(Error::last_os("cannot make an eventfd"));
    }
    // SAFETY: a fresh descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal. A process that has ended takes it without effect.
pub(crate) fn signal(pidfd: BorrowedFd<'_>, number: i32) -> std::result::Result<(), i32> {
    // SAFETY: a null siginfo asks the kernel to fill in its own.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            number,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    match result {
        0 => Ok(()),
        _ => match last_errno() {
            libc::ESRCH => Ok(()),
            errno => Err(errno),
        },
    }
}

/// Looks at a child and leaves it to be reaped.
pub(crate) fn look(pidfd: BorrowedFd<'_>) -> Look {
    wait_id(libc::P_PIDFD, pidfd.as_raw_fd() as libc::id_t, libc::WNOHANG | libc::WNOWAIT)
}

/// Waits until a child has ended, and leaves it to be reaped. Never says that it lives.
pub(crate) fn wait_for_end(pidfd: BorrowedFd<'_>) -> Look {
    wait_id(libc::P_PIDFD, pidfd.as_raw_fd() as libc::id_t, libc::WNOWAIT)
}

/// Takes a child that has ended out of the process table; does nothing for any other.
pub(crate) fn reap(pidfd: BorrowedFd<'_>) -> Look {
    wait_id(libc::P_PIDFD, pidfd.as_raw_fd() as libc::id_t, libc::WNOHANG)
}

/// Kills and reaps a child that has no pidfd, if it still is a child of ours.
pub(crate) fn kill_unopened(pid: i32) {
    if wait_id(libc::P_PID, pid as libc::id_t, libc::WNOHANG | libc::WNOWAIT) != Look::NotOurs {
        // SAFETY: no pointers; `pid` is our own child's, not reaped yet.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        wait_id(libc::P_PID, pid as libc::id_t, 0);
    }
}

fn wait_id(kind: libc::idtype_t, id: libc::id_t, options: c_int) -> Look {
    // SAFETY: an all-zero siginfo is valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: `info` is a valid place for the answer.
        if unsafe { libc::waitid(kind, id, &raw mut info, libc::WEXITED | options) } == 0 {
            break;
        }
        if last_errno() != libc::EINTR {
            return Look::NotOurs;
        }
    }
    // SAFETY: waitid fills these fields, or leaves the zeros where nothing has changed.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    match (pid, info.si_code) {
        (0, _) => Look::Alive,
        (_, libc::CLD_EXITED) => Look::Ended(Ended::Exited(status)),
        (_, libc::CLD_DUMPED) => Look::Ended(Ended::Dumped(status)),
        _ => Look::Ended(Ended::Signaled(status)),
    }
}

/// Sleeps until `fd` is readable; false when the deadline passes first.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, deadline: Deadline) -> Result<bool> {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    loop {
        let time = remaining(deadline);
        let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: one valid pollfd, a valid or null time, no signal mask.
        match unsafe { libc::ppoll(&raw mut poll, 1, time, std::ptr::null()) } {
            0 if deadline.has_passed() => return Ok(false),
            0 => {}
            -1 if last_errno() == libc::EINTR => {}
            -1 => return Err(Error::last_os("cannot wait for a process")),
            _ if poll.revents & libc::POLLNVAL != 0 => {
                let doing = "cannot wait for a process: its descriptor was closed";
                return Err(Error::from_errno(libc::EBADF, doing));
            }
            _ => return Ok(true),
        }
    }
}

/// What is left until the deadline; none for one that never comes.
fn remaining(deadline: Deadline) -> Option<libc::timespec> {
    if deadline == Deadline::FOREVER {
        return None;
    }
    let left = deadline.as_nanoseconds().saturating_sub(clock::now());
    Some(libc::timespec {
        tv_sec: (left / 1_000_000_000) as libc::time_t,
        tv_nsec: (left % 1_000_000_000) as _,
    })
}

/// Memory that a process shares with the children that it forks from then on: zeros at first.
#[derive(Debug)]
pub(crate) struct SharedPages {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the address is valid in every thread; what lies there is reached through it only by
// those who take the pointer, and they say why that is sound.
unsafe impl Send for SharedPages {}
// SAFETY: as above.
unsafe impl Sync for SharedPages {}

impl SharedPages {
    /// Maps `length` bytes.
    pub(crate) fn new(length: usize) -> Result<Self> {
        // SAFETY: a fresh anonymous mapping.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(Error::last_os(format_args!("cannot map {length} shared bytes")));
        }
        NonNull::new(start.cast())
            .map(|start| Self { start, length })
            .ok_or_else(|| Error::from_errno(libc::ENOMEM, "the kernel mapped address 0"))
    }

    /// The first byte; page-aligned.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }
}

impl Drop for SharedPages {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; its pointers do not outlive `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// Writes to descriptor 2 with no buffer and no lock; what cannot be written is lost.
pub(crate) fn write_to_stderr(mut text: &[u8]) {
    while !text.is_empty() {
        // SAFETY: a valid buffer and its length.
        match unsafe { libc::write(2, text.as_ptr().cast(), text.len()) } {
            written if written > 0 => text = &text[written as usize..],
            -1 if last_errno() == libc::EINTR => {}
            _ => return,
        }
    }
}

fn last_errno() -> i32 {
    // SAFETY: the thread's own errno.
    unsafe { *libc::__errno_location() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_child_whose_parent_died_before_it_asked_to_die_with_it_kills_itself() {
        let _alone = crate::os::alone();
        let not_its_parent = own_pid() + 1;
        let Side::Parent(pid) = fork().unwrap() else {
            die_with_parent(not_its_parent);
            exit_at_once(0);
        };
        let fd = open_pidfd(pid).unwrap().unwrap();
        assert!(wait_readable(fd.as_fd(), Deadline::FOREVER).unwrap());
        assert_eq!(look(fd.as_fd()), Look::Ended(Ended::Signaled(SIGKILL)));
        assert_eq!(reap(fd.as_fd()), Look::Ended(Ended::Signaled(SIGKILL)));
        assert_eq!(reap(fd.as_fd()), Look::NotOurs);
    }

    #[test]
    fn a_child_without_a_pidfd_is_killed_and_reaped_and_a_stranger_is_let_be() {
        let _alone = crate::os::alone();
        let Side::Parent(pid) = fork().unwrap() else {
            loop {
                std::thread::park();
            }
        };
        kill_unopened(pid);
        assert!(open_pidfd(pid).unwrap().is_none());
        // Not a child of ours: this process itself.
        kill_unopened(own_pid());
    }
}
