//! A barrier for everybody: the rare side of a meeting pays for the frequent one.
//!
//! Two sides each write a word and then read the other's; at least one of them has to see the other.
//! That takes a full barrier between write and read on both sides, some 20 cycles each. When one side comes
//! millions of times a second and the other is about to sleep anyway, `membarrier(2)` lets the
//! second one make the barrier for both: on return, every running thread of every registered process has
//! been through one, and who was not running is through one too.
//!
//! The frequent side only keeps the compiler from moving its read before its write ([`light`]).

#[cfg(loom)]
use crate::atomic::fence;
use crate::error::{Error, Result};
#[cfg(not(loom))]
use std::sync::atomic::compiler_fence;
use std::sync::atomic::{AtomicU32, Ordering};

const GLOBAL_EXPEDITED: i32 = 1 << 1;
const REGISTER_GLOBAL_EXPEDITED: i32 = 1 << 2;

/// The frequent side's half: between its write and its read.
#[inline]
pub(crate) fn light() {
    #[cfg(not(loom))]
    compiler_fence(Ordering::SeqCst); // SeqCst: the only one that keeps a store before a load
    #[cfg(loom)]
    fence(Ordering::SeqCst); // stands for the barrier of all processors // the models know no membarrier: both sides make their own
}

/// The rare side's half: between its write and its read. Some microseconds.
#[cold]
pub(crate) fn heavy() {
    #[cfg(not(loom))]
    {
        // What `register` has found to work fails for no reason that the manual names; then two looks at the
        // clock's slice remain to the sleeper, as after the death of a waker.
        call(GLOBAL_EXPEDITED);
    }
    #[cfg(loom)]
    fence(Ordering::SeqCst); // what the system call is on every processor
}

/// Lets this process take part: to be called by a process, identified by its `generation`, before it uses either half.
///
/// # Errors
/// `System` where the kernel (before 4.16), or a filter on system calls, offers no such barrier.
pub(crate) fn register(generation: u32) -> Result<()> {
    static REGISTERED: AtomicU32 = AtomicU32::new(0);
    if REGISTERED.load(Ordering::Relaxed) == generation {
        return Ok(());
    }
    if call(REGISTER_GLOBAL_EXPEDITED) != 0 || call(GLOBAL_EXPEDITED) != 0 {
        return Err(Error::last_os(
            "rings need membarrier(2), which this system does not offer or does not allow",
        ));
    }
    REGISTERED.store(generation, Ordering::Relaxed);
    Ok(())
}

fn call(command: i32) -> libc::c_long {
    // SAFETY: takes numbers only.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) }
}
