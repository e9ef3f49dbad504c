//! Cancelling a blocked call on purpose, from another thread or from a signal handler.

use crate::os::futex;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

thread_local! {
    /// The word that cancels this thread's blocking calls, or null.
    static CURRENT: Cell<*const AtomicU32> = const { Cell::new(std::ptr::null()) };
}

/// Ends the blocking calls made inside [`run`](Canceller::run): they say `Interrupted`.
///
/// The library installs no signal handler and ordinary signals do not show; this is the way to end
/// a wait early. [`cancel`](Canceller::cancel) is async-signal-safe and sticks until
/// [`reset`](Canceller::reset). On kernels before 5.16 a sleeper notices within 100 ms, else at once.
///
/// ```standalone_crate
/// use mpshm::{Canceller, PopError, Queue};
/// let canceller = Canceller::new();
/// let queue = Queue::<u64>::new(4)?;
/// let other = canceller.clone();
/// std::thread::spawn(move || other.cancel());
/// assert!(matches!(canceller.run(|| queue.pop()), Err(PopError::Interrupted)));
/// # Ok::<(), mpshm::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Canceller(Arc<AtomicU32>);

impl Canceller {
    /// A canceller that nobody has used yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `f`; what blocks inside it, in this thread, ends when this canceller is used.
    pub fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        struct Restore(*const AtomicU32);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }
        let _restore = Restore(CURRENT.replace(Arc::as_ptr(&self.0)));
        f()
    }

    /// Ends the blocking calls, now and in the future, until [`reset`](Self::reset).
    pub fn cancel(&self) {
        self.0.store(1, Ordering::Release); // pairs with the loads in futex::wait
        futex::wake_private(&self.0);
    }

    /// Makes calls block again.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// Whether [`cancel`](Self::cancel) was called since the last reset.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire) != 0
    }

    /// Begins a region like [`run`](Self::run)'s; the caller ends it with what this returns.
    pub(crate) fn enter(&self) -> *const AtomicU32 {
        CURRENT.replace(Arc::as_ptr(&self.0))
    }

    /// Ends a region begun with [`enter`](Self::enter).
    pub(crate) fn leave(before: *const AtomicU32) {
        CURRENT.set(before);
    }
}

/// Runs what must not be cancelled.
pub(crate) fn without<R>(f: impl FnOnce() -> R) -> R {
    let before = CURRENT.replace(std::ptr::null());
    let result = f();
    CURRENT.set(before);
    result
}

/// A forked child begins outside every region: what its parent cancels is the parent's affair.
pub(crate) fn begin_in_child() {
    CURRENT.set(std::ptr::null());
}

/// Whether this thread's blocking calls are cancelled.
pub(crate) fn is_cancelled() -> bool {
    current().is_some_and(|word| word.load(Ordering::Acquire) != 0)
}

/// The cancel word of this thread's innermost region.
pub(crate) fn current<'a>() -> Option<&'a AtomicU32> {
    // SAFETY: `run` keeps the word alive while it is current, and a wait ends inside that call.
    unsafe { CURRENT.get().as_ref() }
}
