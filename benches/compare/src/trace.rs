//! Counts the system calls of a child.

use crate::Result;
use std::io::Error;

/// A system call that does not exist: what lies between two of them is counted.
const MARK: i64 = 1_000_003;

/// How many system calls `body` makes in a forked child, behind `prepare`. The kernel tells of each; a body that makes
/// none runs as fast as ever.
pub fn system_calls(prepare: impl FnOnce(), body: impl FnOnce()) -> Result<u64> {
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        -1 => Err(Error::last_os_error().into()),
        0 => {
            traced(prepare, body);
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(0) }
        }
        child => watch(child),
    }
}

fn traced(prepare: impl FnOnce(), body: impl FnOnce()) {
    prepare();
    // SAFETY: plain system calls; a stop is what the parent waits for, and the mark is refused by the kernel.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
        libc::raise(libc::SIGSTOP);
        libc::syscall(MARK);
    }
    body();
    // SAFETY: as above.
    unsafe { libc::syscall(MARK) };
}

fn watch(child: libc::pid_t) -> Result<u64> {
    let mut counted = None;
    let mut all = None;
    wait(child)?;
    // SAFETY: our own child, which has stopped; the option makes stops at system calls tell themselves apart.
    unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, child, 0, libc::PTRACE_O_TRACESYSGOOD) };
    loop {
        // SAFETY: our own child, which has stopped.
        if unsafe { libc::ptrace(libc::PTRACE_SYSCALL, child, 0, 0) } != 0 {
            return Err(Error::last_os_error().into());
        }
        let status = wait(child)?;
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            let complete = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
            return all.filter(|_| complete).ok_or("the traced child failed; see above".into());
        }
        match entered(child) {
            Some(MARK) if counted.is_some() => all = counted.take(),
            Some(MARK) => counted = Some(0),
            Some(_) => counted = counted.map(|count| count + 1),
            None => {}
        }
    }
}

fn wait(child: libc::pid_t) -> Result<i32> {
    let mut status = 0;
    // SAFETY: our own child; the status is writable.
    if unsafe { libc::waitpid(child, &mut status, 0) } < 0 {
        return Err(Error::last_os_error().into());
    }
    Ok(status)
}

/// The number of the system call that the child is about to make, if it has stopped for one.
fn entered(child: libc::pid_t) -> Option<i64> {
    // SAFETY: plain numbers, for which zeros are valid.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    // SAFETY: our own child, which has stopped; the kernel writes as many bytes as it is told at most.
    let written = unsafe {
        libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, child, size_of_val(&info), &raw mut info)
    };
    if written <= 0 || info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // SAFETY: the operation says that this is the field which was written.
    Some(unsafe { info.u.entry.nr } as i64)
}
