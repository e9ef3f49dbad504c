//! Shared futexes: sleep on a 32-bit word that other processes may change, and wake such sleepers.
//!
//! Deadlines are absolute on the monotonic clock. `EINTR` does not show here either: it is
//! reported as [`Woken::Spurious`], and every caller looks again after any return.

use crate::atomic::AtomicU32;
use crate::os::clock::Deadline;
use std::sync::atomic::AtomicU32 as PrivateWord;

/// Why a sleep ended. Only `TimedOut` and `Cancelled` say something; a caller looks again anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Somebody woke the word, its value had changed, or a signal came.
    Spurious,
    /// The deadline passed.
    TimedOut,
    /// The thread's cancel word was set.
    Cancelled,
}

/// Sleeps while `word` holds `expected`, until it is woken or `deadline` passes.
///
/// With `cancel`, a private word of this process, the sleep also ends when that one is no longer
/// zero (`futex_waitv`, Linux 5.16; on older kernels the caller's bounded slice ends it).
#[cfg(not(loom))]
pub(crate) fn wait(
    word: &AtomicU32,
    expected: u32,
    deadline: Deadline,
    cancel: Option<&PrivateWord>,
) -> Woken {
    use std::sync::atomic::Ordering;
    let nanoseconds = deadline.as_nanoseconds();
    let time = libc::timespec {
        tv_sec: (nanoseconds / 1_000_000_000) as libc::time_t,
        tv_nsec: (nanoseconds % 1_000_000_000) as _,
    };
    let time = if deadline == Deadline::FOREVER { std::ptr::null() } else { &raw const time };
    if let Some(cancel) = cancel {
        if cancel.load(Ordering::Acquire) != 0 {
            return Woken::Cancelled;
        }
        if let Some(woken) = wait_on_two(word, expected, time, cancel) {
            return woken;
        }
    }
    // SAFETY: `word` is a valid, aligned 32-bit word for the whole call; `time` is null or valid.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET,
            expected,
            time,
            std::ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        )
    };
    let timed_out = result < 0 && errno() == libc::ETIMEDOUT;
    if cancel.is_some_and(|cancel| cancel.load(Ordering::Acquire) != 0) {
        Woken::Cancelled
    } else if timed_out {
        Woken::TimedOut
    } else {
        Woken::Spurious
    }
}

/// Waits on the shared word and the private cancel word at once; `None` where the kernel cannot.
#[cfg(not(loom))]
fn wait_on_two(
    word: &AtomicU32,
    expected: u32,
    time: *const libc::timespec,
    cancel: &PrivateWord,
) -> Option<Woken> {
    use std::sync::atomic::Ordering;

    /// `struct futex_waitv` of linux/futex.h.
    #[repr(C)]
    struct Waiter {
        value: u64,
        address: u64,
        flags: u32,
        reserved: u32,
    }
    const SIZE_U32: u32 = 2;
    const PRIVATE: u32 = 128;
    const SYS_FUTEX_WAITV: libc::c_long = 449;
    let waiters = [
        Waiter {
            value: u64::from(expected),
            address: word.as_ptr() as u64,
            flags: SIZE_U32,
            reserved: 0,
        },
        Waiter {
            value: 0,
            address: cancel.as_ptr() as u64,
            flags: SIZE_U32 | PRIVATE,
            reserved: 0,
        },
    ];
    // SAFETY: both addresses are valid, aligned 32-bit words for the whole call; the array has two.
    let result = unsafe {
        libc::syscall(SYS_FUTEX_WAITV, waiters.as_ptr(), 2, 0, time, libc::CLOCK_MONOTONIC)
    };
    let error = if result < 0 { errno() } else { 0 };
    if error == libc::ENOSYS || error == libc::EPERM {
        return None;
    }
    Some(if cancel.load(Ordering::Acquire) != 0 {
        Woken::Cancelled
    } else if error == libc::ETIMEDOUT {
        Woken::TimedOut
    } else {
        Woken::Spurious
    })
}

/// Wakes at most `count` sleepers on `word`, in any process; returns how many there were.
#[cfg(not(loom))]
pub(crate) fn wake(word: &AtomicU32, count: u32) -> u32 {
    // SAFETY: a wake only uses the address as a key; `word` is valid for the call.
    let woken = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE,
            count.min(i32::MAX as u32) as libc::c_int,
        )
    };
    u32::try_from(woken).unwrap_or(0)
}

/// Wakes the threads of this process that sleep on a private cancel word. Async-signal-safe.
pub(crate) fn wake_private(word: &PrivateWord) {
    // SAFETY: as in `wake`.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            i32::MAX,
        );
    }
}

#[cfg(not(loom))]
fn errno() -> i32 {
    // SAFETY: the thread's own errno.
    unsafe { *libc::__errno_location() }
}

// Under loom a futex is a lock and a condition for the whole model; sleeps never time out there,
// so a lost wake-up is a deadlock that the model reports.
#[cfg(loom)]
mod model {
    use super::{AtomicU32, Deadline, PrivateWord, Woken};
    use crate::atomic::{AtomicU64, step};
    use loom::sync::{Condvar, Mutex};

    /// Who sleeps: numbers of sleepers and the address of the word of each, oldest first.
    #[derive(Default)]
    struct Asleep {
        sleepers: Vec<(u32, usize)>,
        last: u32,
    }

    loom::lazy_static! {
        static ref KERNEL: (Mutex<Asleep>, Condvar) = Default::default();
    }

    /// What can be slept on in the models: a word, or the lower half of one.
    pub(crate) trait Word: Copy {
        fn value(self) -> u32;
        fn address(self) -> usize;
    }

    impl Word for &AtomicU32 {
        fn value(self) -> u32 {
            self.load_unseen()
        }

        fn address(self) -> usize {
            std::ptr::from_ref(self) as usize
        }
    }

    /// The lower half of a 64-bit word.
    #[derive(Clone, Copy)]
    pub(crate) struct Half<'a>(pub &'a AtomicU64);

    impl Word for Half<'_> {
        fn value(self) -> u32 {
            self.0.load_unseen() as u32
        }

        fn address(self) -> usize {
            std::ptr::from_ref(self.0) as usize
        }
    }

    pub(crate) fn wait(
        word: impl Word,
        expected: u32,
        _deadline: Deadline,
        _cancel: Option<&PrivateWord>,
    ) -> Woken {
        step(); // the call; whoever vanishes does so before it, and never in the kernel
        let mut asleep = KERNEL.0.lock().unwrap();
        if word.value() == expected {
            asleep.last += 1;
            let me = (asleep.last, word.address());
            asleep.sleepers.push(me);
            while asleep.sleepers.contains(&me) {
                asleep = KERNEL.1.wait(asleep).unwrap();
            }
        }
        Woken::Spurious
    }

    pub(crate) fn wake(word: impl Word, count: u32) -> u32 {
        // Exactly as many as asked for, so that a wake-up that should have been passed on shows.
        let mut asleep = KERNEL.0.lock().unwrap();
        let mut woken = 0;
        asleep.sleepers.retain(|&(_, address)| {
            let goes = address == word.address() && woken < count;
            woken += u32::from(goes);
            !goes
        });
        if woken > 0 {
            KERNEL.1.notify_all();
        }
        woken
    }
}
#[cfg(loom)]
pub(crate) use model::{Half, wait, wake};
