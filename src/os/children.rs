//! What a process that keeps others needs: sleeping on many descriptors at once, a descriptor to be woken by, its
//! place among signals, and the limits that a worker is given.

use crate::error::{Error, Result};
use crate::os::clock::{self, Deadline};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A descriptor that [`ring`] makes readable and [`silence`] makes unreadable. Closed on exec.
pub(crate) fn bell() -> Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(Error::last_os("cannot make an eventfd"));
    }
    // SAFETY: a fresh descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a bell readable, in every process that has it. Never blocks; a bell that rings already goes on.
pub(crate) fn ring(bell: BorrowedFd<'_>) {
    let one = 1u64;
    // SAFETY: eight valid bytes.
    unsafe { libc::write(bell.as_raw_fd(), (&raw const one).cast(), 8) };
}

/// Makes a bell unreadable until it rings again.
pub(crate) fn silence(bell: BorrowedFd<'_>) {
    let mut count = 0u64;
    // SAFETY: a valid place for eight bytes.
    unsafe { libc::read(bell.as_raw_fd(), (&raw mut count).cast(), 8) };
}

/// Descriptors that one call sleeps on.
#[derive(Default)]
pub(crate) struct Watch(Vec<libc::pollfd>);

impl Watch {
    /// Forgets all descriptors.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds one, which has to stay open until the list is cleared.
    pub(crate) fn add(&mut self, fd: BorrowedFd<'_>) {
        self.0.push(libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    }

    /// Sleeps until one of them is readable, a signal comes, or `deadline` passes.
    pub(crate) fn sleep(&mut self, deadline: Deadline) {
        let time = (deadline != Deadline::FOREVER).then(|| {
            let left = deadline.as_nanoseconds().saturating_sub(clock::now());
            libc::timespec {
                tv_sec: (left / 1_000_000_000) as libc::time_t,
                tv_nsec: (left % 1_000_000_000) as _,
            }
        });
        let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let count = self.0.len() as libc::nfds_t;
        for entry in &mut self.0 {
            entry.revents = 0;
        }
        // SAFETY: `count` valid entries, a valid or null time, no signal mask.
        unsafe { libc::ppoll(self.0.as_mut_ptr(), count, time, std::ptr::null()) };
    }

    /// Whether the descriptor that was added as number `index` was readable when the sleep ended.
    pub(crate) fn woke(&self, index: usize) -> bool {
        self.0.get(index).is_some_and(|entry| entry.revents != 0)
    }
}

/// In a fresh child that will keep others: `SIGINT` does nothing to it and to those that it forks, `SIGTERM` and
/// `SIGCHLD` do what they do by default, whatever its parent made of them; and it is continued, should it be stopped,
/// when its parent dies.
pub(crate) fn begin_to_keep_others() {
    // SAFETY: no handlers, only dispositions; an all-zero set is made a valid one before its use.
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_IGN);
        libc::signal(libc::SIGTERM, libc::SIG_DFL);
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        // Sent whenever the thread that forked it ends, too: then it does no harm.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGCONT as libc::c_ulong, 0, 0, 0);
    }
}

/// Continues a child that is stopped; says whether it was.
pub(crate) fn continue_if_stopped(pidfd: BorrowedFd<'_>) -> bool {
    let options = libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: an all-zero siginfo is valid, and a valid place for the answer.
    let stopped = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let id = pidfd.as_raw_fd() as libc::id_t;
        libc::waitid(libc::P_PIDFD, id, &raw mut info, options) == 0 && info.si_pid() != 0
    };
    stopped && super::process::signal(pidfd, libc::SIGCONT).is_ok()
}

/// The signal that ends a stop.
pub(crate) const SIGCONT: i32 = libc::SIGCONT;

/// Lets this process have `bytes` of address space more than it has now; beyond that, allocations fail.
pub(crate) fn limit_memory(bytes: u64) -> Result<()> {
    let doing = || format!("cannot limit the memory of process {}", std::process::id());
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_ascii_whitespace().next().and_then(|pages| pages.parse::<u64>().ok());
    let Some(pages) = pages else { return Err(Error::from_errno(libc::ENOENT, doing())) };
    // SAFETY: no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    let most = pages.saturating_mul(page).saturating_add(bytes);
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: a valid limit.
    match unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) } {
        0 => Ok(()),
        _ => Err(Error::last_os(doing())),
    }
}

/// Lets this thread run only on the processor that is number `index`, counted round, of those that it may use.
pub(crate) fn pin_to_cpu(index: usize) -> Result<()> {
    let failed = || Error::last_os("cannot bind a process to a processor");
    // SAFETY: all-zero sets are valid, and valid places for the answer.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut allowed) != 0 {
            return Err(failed());
        }
        let cpus: Vec<usize> =
            (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &allowed)).collect();
        let Some(&cpu) = cpus.get(index % cpus.len().max(1)) else { return Ok(()) };
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut one);
        match libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const one) {
            0 => Ok(()),
            _ => Err(failed()),
        }
    }
}

/// For a process that somebody is about to kill: does nothing until then.
pub(crate) fn wait_to_be_killed() -> ! {
    loop {
        // SAFETY: no preconditions.
        unsafe { libc::pause() };
    }
}
