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
    let time = time_of(deadline);
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    if let Some(cancel) = cancel {
        if is_cancelled(Some(cancel)) {
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
    if is_cancelled(cancel) {
        Woken::Cancelled
    } else if timed_out {
        Woken::TimedOut
    } else {
        Woken::Spurious
    }
}

/// So many words can be slept on at once, beside a cancel word.
pub(crate) const AT_ONCE: usize = 127;

/// One word of several, as `struct futex_waitv` of linux/futex.h has it.
#[cfg(not(loom))]
#[derive(Clone, Copy)]
#[repr(C)]
struct Waiter {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

#[cfg(not(loom))]
impl Waiter {
    const SIZE_U32: u32 = 2;
    const PRIVATE: u32 = 128;
    const NONE: Self = Self { value: 0, address: 0, flags: 0, reserved: 0 };

    fn shared(word: &AtomicU32, expected: u32) -> Self {
        let address = word.as_ptr() as u64;
        Self { value: expected.into(), address, flags: Self::SIZE_U32, reserved: 0 }
    }

    fn cancel(word: &PrivateWord) -> Self {
        let address = word.as_ptr() as u64;
        Self { value: 0, address, flags: Self::SIZE_U32 | Self::PRIVATE, reserved: 0 }
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
    wait_on(&[Waiter::shared(word, expected), Waiter::cancel(cancel)], time, Some(cancel))
}

#[cfg(not(loom))]
fn wait_on(
    waiters: &[Waiter],
    time: *const libc::timespec,
    cancel: Option<&PrivateWord>,
) -> Option<Woken> {
    const SYS_FUTEX_WAITV: libc::c_long = 449;
    // SAFETY: the addresses are those of valid, aligned 32-bit words for the whole call; the array has so many.
    let result = unsafe {
        let (first, count) = (waiters.as_ptr(), waiters.len());
        libc::syscall(SYS_FUTEX_WAITV, first, count, 0, time, libc::CLOCK_MONOTONIC)
    };
    let error = if result < 0 { errno() } else { 0 };
    if error == libc::ENOSYS || error == libc::EPERM {
        return None;
    }
    Some(if is_cancelled(cancel) {
        Woken::Cancelled
    } else if error == libc::ETIMEDOUT {
        Woken::TimedOut
    } else {
        Woken::Spurious
    })
}

#[cfg(not(loom))]
fn is_cancelled(cancel: Option<&PrivateWord>) -> bool {
    cancel.is_some_and(|cancel| cancel.load(std::sync::atomic::Ordering::Acquire) != 0)
}

/// Sleeps while each word holds the value beside it, of up to [`AT_ONCE`], until one of them is woken or `deadline` passes.
/// `None` where the kernel cannot (before Linux 5.16, or behind a filter of system calls).
#[cfg(not(loom))]
pub(crate) fn wait_any(
    words: &[(&AtomicU32, u32)],
    deadline: Deadline,
    cancel: Option<&PrivateWord>,
) -> Option<Woken> {
    if is_cancelled(cancel) {
        return Some(Woken::Cancelled);
    }
    let mut waiters = [Waiter::NONE; AT_ONCE + 1];
    let mut count = 0;
    let words = words.iter().take(AT_ONCE).map(|&(word, value)| Waiter::shared(word, value));
    for (place, waiter) in waiters.iter_mut().zip(words.chain(cancel.map(Waiter::cancel))) {
        *place = waiter;
        count += 1;
    }
    let time = time_of(deadline);
    let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    wait_on(&waiters[..count], time, cancel)
}

/// The moment as the kernel takes it; none for one that never comes.
#[cfg(not(loom))]
fn time_of(deadline: Deadline) -> Option<libc::timespec> {
    let nanoseconds = deadline.as_nanoseconds();
    (deadline != Deadline::FOREVER).then_some(libc::timespec {
        tv_sec: (nanoseconds / 1_000_000_000) as libc::time_t,
        tv_nsec: (nanoseconds % 1_000_000_000) as _,
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

    /// As the kernel does it: a sleeper on several words may be woken on more than one of them before it runs.
    pub(crate) fn wait_any(
        words: &[(&AtomicU32, u32)],
        _deadline: Deadline,
        _cancel: Option<&PrivateWord>,
    ) -> Option<Woken> {
        step();
        let mut asleep = KERNEL.0.lock().unwrap();
        if words.iter().all(|(word, expected)| word.value() == *expected) {
            asleep.last += 1;
            let me = asleep.last;
            asleep.sleepers.extend(words.iter().map(|(word, _)| (me, word.address())));
            let on = |asleep: &Asleep| asleep.sleepers.iter().filter(|one| one.0 == me).count();
            while on(&asleep) == words.len() {
                asleep = KERNEL.1.wait(asleep).unwrap();
            }
            asleep.sleepers.retain(|one| one.0 != me);
        }
        Some(Woken::Spurious)
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
pub(crate) use model::{Half, wait, wait_any, wake};
