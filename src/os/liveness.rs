//! Who a process is, and proof that it is dead.
//!
//! Two proofs count, and nothing else does: the byte lock that the process holds on a descriptor of
//! its own is free, or the process that bore its identity is gone. A wrong "dead" corrupts, a late
//! one only delays, so every doubt reads as alive.

use crate::os::proc;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a participant writes about itself, and others check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The process id in its own pid namespace.
    pub pid: u32,
    /// Start time of the process in clock ticks after boot; 0 = unknown (no `/proc`).
    pub start: u64,
    /// Inode numbers of the pid namespace (low half) and the time namespace (high half); 0 = unknown.
    pub namespaces: u64,
    /// The boot id, folded to 64 bits; 0 = unknown.
    pub boot: u64,
}

impl Identity {
    /// This process, now. Reads `/proc` (a few microseconds).
    pub(crate) fn own() -> Self {
        // SAFETY: no preconditions.
        let pid = unsafe { libc::getpid() } as u32;
        Self {
            pid,
            start: own_start_time(pid).unwrap_or(0),
            namespaces: own_namespaces(),
            boot: fold(boot_id()),
        }
    }

    /// Whether it is proven that the process with this identity has ended. To be asked while its byte
    /// lock is held: somebody who runs under this very kernel holds it, so another boot id proves nothing
    /// here (containers make up their own); after a real reboot nobody holds the byte.
    pub(crate) fn is_gone(self) -> bool {
        match self.find() {
            Found::Gone => true,
            Found::Process(fd) => has_ended(fd.as_raw_fd()),
            Found::Unknown => false,
        }
    }

    /// A descriptor that is readable when the process with this identity has ended; none where it is gone already, or there is
    /// no telling which one it is.
    pub(crate) fn open(self) -> Option<OwnedFd> {
        match self.find() {
            // Without a start time it may be another one that was given the same number.
            Found::Process(fd) if self.start != 0 => Some(fd),
            _ => None,
        }
    }

    fn find(self) -> Found {
        let namespaces = own_namespaces();
        if self.pid == 0 || namespaces == 0 || self.namespaces != namespaces {
            return Found::Unknown;
        }
        // SAFETY: no pointers; the descriptor returned is owned below.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, self.pid, 0) };
        if fd < 0 {
            // SAFETY: the thread's own errno.
            let errno = unsafe { *libc::__errno_location() };
            return if errno == libc::ESRCH { Found::Gone } else { Found::Unknown };
        }
        // SAFETY: a fresh descriptor that nobody else has.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        // The descriptor now pins the process, so the start time read next is of that very one,
        // or of none.
        // SAFETY: no preconditions.
        let own = unsafe { libc::getpid() } as u32;
        let start = if proc_is_ours(own) { start_time(self.pid) } else { None };
        if self.start != 0 && start.is_some_and(|start| start != self.start) {
            return Found::Gone;
        }
        Found::Process(fd)
    }
}

/// What there is of a process.
enum Found {
    /// It is proven to have ended.
    Gone,
    /// The process that has its number now; another one only if it is not known when either of them started.
    Process(OwnedFd),
    Unknown,
}

/// Whether the process of a pidfd has ended (a zombie has).
pub(crate) fn has_ended(pidfd: i32) -> bool {
    let mut poll = libc::pollfd { fd: pidfd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd; a time-out of zero does not block.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 && poll.revents & libc::POLLIN != 0 }
}

/// Takes the exclusive lock on byte `offset` for the description behind `fd`; false = taken.
pub(crate) fn lock_byte(fd: BorrowedFd<'_>, offset: u64) -> bool {
    let lock = byte(offset);
    // SAFETY: `lock` is a valid flock with l_pid 0, as open-file-description locks require.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) == 0 }
}

/// Takes a shared lock on byte `offset` for the description behind `fd`, beside other shared ones; false = error.
pub(crate) fn share_byte(fd: BorrowedFd<'_>, offset: u64) -> bool {
    let mut lock = byte(offset);
    lock.l_type = libc::F_RDLCK as _;
    // SAFETY: as in `lock_byte`.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) == 0 }
}

/// Gives the lock on byte `offset` back. Only ever for a description that this process opened.
pub(crate) fn unlock_byte(fd: BorrowedFd<'_>, offset: u64) {
    let mut lock = byte(offset);
    lock.l_type = libc::F_UNLCK as _;
    // SAFETY: as in `lock_byte`.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
}

/// Whether some other description holds byte `offset`; a failing query reads as held.
pub(crate) fn byte_is_held(fd: BorrowedFd<'_>, offset: u64) -> bool {
    let mut query = byte(offset);
    // SAFETY: as in `lock_byte`; the kernel writes the answer into `query`.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_OFD_GETLK, &raw mut query) };
    result != 0 || i32::from(query.l_type) != libc::F_UNLCK
}

fn byte(offset: u64) -> libc::flock {
    // SAFETY: an all-zero flock is valid.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as _;
    lock.l_whence = libc::SEEK_SET as _;
    lock.l_start = offset as _;
    lock.l_len = 1;
    lock
}

/// The kernel's boot id, 0 where `/proc` does not tell. Read once; fork does not change it.
pub(crate) fn boot_id() -> u128 {
    // Plain words, not a `OnceLock`: a fork in the middle of the first call must not leave the
    // child a lock that nobody opens. Racing first calls store the same values.
    static KNOWN: AtomicBool = AtomicBool::new(false);
    static HALVES: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
    if !KNOWN.load(Ordering::Acquire) {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        let id = u128::from_str_radix(&digits, 16).unwrap_or(0);
        HALVES[0].store(id as u64, Ordering::Relaxed);
        HALVES[1].store((id >> 64) as u64, Ordering::Relaxed);
        KNOWN.store(true, Ordering::Release);
    }
    let [low, high] = [0, 1].map(|half: usize| u128::from(HALVES[half].load(Ordering::Relaxed)));
    high << 64 | low
}

fn fold(id: u128) -> u64 {
    (id ^ (id >> 64)) as u64
}

fn own_namespaces() -> u64 {
    let inode = |path: &std::ffi::CStr| -> u64 {
        // SAFETY: an all-zero stat is valid.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: a terminated path and a valid place for the answer.
        if unsafe { libc::stat(path.as_ptr(), &raw mut stat) } == 0 {
            stat.st_ino as u32 as u64
        } else {
            0
        }
    };
    let pid = inode(c"/proc/self/ns/pid");
    // Kernels before 5.6 have no time namespaces: 0 for everybody.
    if pid == 0 { 0 } else { pid | inode(c"/proc/self/ns/time") << 32 }
}

/// Whether `/proc` shows this process's own pid namespace: in another one's, numbers mean strangers.
fn proc_is_ours(own: u32) -> bool {
    std::fs::read_link("/proc/self").is_ok_and(|link| link.as_os_str() == own.to_string().as_str())
}

/// When this process began; none in another pid namespace's `/proc`, which shows it under another number.
pub(crate) fn own_start_time(own: u32) -> Option<u64> {
    let mut room = proc::ROOM;
    let stat = proc::read("/proc/self/stat", &mut room)?;
    let number = stat.split(|&byte| byte == b' ').next()?;
    let is_own = number == own.to_string().as_bytes();
    start_in(stat).filter(|_| is_own)
}

fn start_time(pid: u32) -> Option<u64> {
    start_in(proc::read(&format!("/proc/{pid}/stat"), &mut proc::ROOM.clone())?)
}

/// Field 22 of `/proc/PID/stat`. The name in field 2 may hold anything, so fields count from its
/// last parenthesis on.
fn start_in(stat: &[u8]) -> Option<u64> {
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let rest = std::str::from_utf8(&stat[after_name..]).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_not_gone_and_a_reused_pid_is() {
        let own = Identity::own();
        assert!(!own.is_gone());
        assert!(own.start != 0);
        assert!(Identity { start: own.start - 1, ..own }.is_gone());
        assert!(!Identity { boot: own.boot ^ 1, ..own }.is_gone(), "a container's boot id");
        assert!(!Identity { namespaces: own.namespaces ^ 1, start: 1, ..own }.is_gone());
    }

    #[test]
    fn a_zombie_is_gone_and_a_stopped_process_is_not() {
        let _alone = crate::os::alone();
        // SAFETY: the child only pauses; the parent kills and reaps it.
        let child = unsafe { libc::fork() };
        if child == 0 {
            loop {
                // SAFETY: async-signal-safe.
                unsafe { libc::pause() };
            }
        }
        let pid = child as u32;
        let identity = Identity { pid, start: start_time(pid).unwrap(), ..Identity::own() };
        // SAFETY: signals to, and waits for, our own child.
        unsafe {
            libc::kill(child, libc::SIGSTOP);
            libc::waitpid(child, std::ptr::null_mut(), libc::WUNTRACED);
            assert!(!identity.is_gone());
            libc::kill(child, libc::SIGKILL);
            let mut info: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, pid, &raw mut info, libc::WEXITED | libc::WNOWAIT);
            assert!(identity.is_gone(), "a zombie");
            libc::waitpid(child, std::ptr::null_mut(), 0);
            assert!(identity.is_gone(), "a reaped child");
        }
    }
}
