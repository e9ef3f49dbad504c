//! The seam to the operating system: the only folder that calls `libc` or `memmap2`.
//!
//! One small file per subject, one function per system call or per small fixed sequence of them.

pub(crate) mod barrier;
pub(crate) mod c_output;
pub(crate) mod child;
pub(crate) mod children;
pub(crate) mod clock;
pub(crate) mod copy;
pub(crate) mod cpu;
pub(crate) mod errno;
pub(crate) mod eventfd;
pub(crate) mod file;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod late_pin;
pub(crate) mod liveness;
pub(crate) mod memory;
pub(crate) mod mirror;
pub(crate) mod pin;
pub(crate) mod poll;
pub(crate) mod proc;
pub(crate) mod process;
pub(crate) mod socket;

/// A forked child has what other threads' tests had mapped at that moment: tests that fork, and those that this would
/// disturb, run one at a time.
#[cfg(test)]
pub(crate) fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
