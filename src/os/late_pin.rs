//! Pins that are made when they are needed: at the first fork.
//!
//! What only this process has open needs no [`Pin`]: it knows itself when it lets go. A forked child would have it open
//! too, so right before each fork, in an at-fork handler, the pins that are still wanting are made, and the child inherits
//! them. A process that forks nobody makes no system call for them.
//!
//! A child made by a bare `clone(2)` runs no such handler, and has no pin.

use crate::os::memory::FileId;
use crate::os::pin::Pin;
use std::cell::UnsafeCell;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

/// What a late pin is of, or the pin itself.
enum Slot {
    Unused,
    Wanting {
        fd: RawFd,
        file: Option<FileId>,
        byte: u64,
    },
    Made {
        _pin: Pin,
    },
    /// It could not be made: a child may have the byte's object open, and nobody can tell.
    Failed,
}

/// All late pins of this process.
struct Registry {
    slots: Vec<Slot>,
    unused: Vec<usize>,
    /// How many are wanting.
    wanting: usize,
}

static REGISTRY: Mutex<Registry> =
    Mutex::new(Registry { slots: Vec::new(), unused: Vec::new(), wanting: 0 });

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who may have open what a late pin was of, now that it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// There was no fork.
    Nobody,
    /// Those who have the pin.
    Pinned,
    /// Somebody without a pin.
    Unknown,
}

/// A pin that is made when the process forks, if it has not ended by then.
#[derive(Debug)]
pub(crate) struct LatePin(usize);

impl LatePin {
    /// Will lock byte `byte` of the file behind `fd`, as [`Pin::new`] does.
    ///
    /// # Safety
    /// `fd` stays open until this has ended.
    pub(crate) unsafe fn new(fd: BorrowedFd<'_>, file: Option<FileId>, byte: u64) -> Self {
        watch_forks();
        let slot = Slot::Wanting { fd: fd.as_raw_fd(), file, byte };
        let mut registry = registry();
        registry.wanting += 1;
        match registry.unused.pop() {
            Some(index) => {
                registry.slots[index] = slot;
                Self(index)
            }
            None => {
                registry.slots.push(slot);
                Self(registry.slots.len() - 1)
            }
        }
    }

    /// Ends it; who else may have it.
    pub(crate) fn end(self) -> Others {
        let mut registry = registry();
        registry.unused.push(self.0);
        let slot = std::mem::replace(&mut registry.slots[self.0], Slot::Unused);
        match slot {
            Slot::Wanting { .. } => {
                registry.wanting -= 1;
                Others::Nobody
            }
            Slot::Made { .. } => Others::Pinned,
            Slot::Unused | Slot::Failed => Others::Unknown,
        }
    }
}

/// The registry, locked by the thread that forks, from before the fork until behind it, on both sides.
struct Locked(UnsafeCell<Option<MutexGuard<'static, Registry>>>);

// SAFETY: touched only by at-fork handlers, by the thread that has the registry locked.
unsafe impl Sync for Locked {}

static LOCKED: Locked = Locked(UnsafeCell::new(None));

fn watch_forks() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        // SAFETY: the handlers do not unwind; those behind the fork only unlock.
        unsafe { libc::pthread_atfork(Some(before), Some(behind), Some(behind)) };
    });
}

extern "C" fn before() {
    let mut registry = registry();
    if registry.wanting > 0 {
        registry.make_all();
    }
    // SAFETY: this thread has just locked the registry.
    unsafe { *LOCKED.0.get() = Some(registry) };
}

extern "C" fn behind() {
    // SAFETY: this thread, or in the child its only copy, has locked the registry in `before`.
    drop(unsafe { (*LOCKED.0.get()).take() });
}

impl Registry {
    fn make_all(&mut self) {
        for slot in &mut self.slots {
            if let Slot::Wanting { fd, file, byte } = *slot {
                // SAFETY: open until the pin ends, by the word given for it.
                let fd = unsafe { BorrowedFd::borrow_raw(fd) };
                // Without a descriptor to be had, the segment's own description holds the byte, longer than is needed.
                let pin = Pin::new(fd, file, byte).or_else(|_| Pin::through(fd, file, byte));
                *slot = pin.map_or(Slot::Failed, |pin| Slot::Made { _pin: pin });
            }
        }
        self.wanting = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::memory;
    use crate::os::pin::Asker;
    use std::os::fd::AsFd;

    #[test]
    fn a_pin_is_made_by_the_first_fork_and_lasts_as_long_as_any_process_has_it() {
        let _alone = crate::os::alone();
        let fd = memory::create_anonymous("late", 4096, false).unwrap();
        let file = FileId::of(fd.as_fd());
        let asker = Asker::new(fd.as_fd(), file).unwrap();
        // SAFETY: the descriptor outlives them.
        let [never, early, late] =
            [3, 4, 5].map(|byte| unsafe { LatePin::new(fd.as_fd(), file, byte) });
        assert_eq!(never.end(), Others::Nobody);
        assert!(!asker.is_pinned(4));
        // SAFETY: the child only waits to be killed.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: no pointers.
            unsafe { libc::pause() };
        }
        assert!(!asker.is_pinned(3) && asker.is_pinned(4) && asker.is_pinned(5));
        assert_eq!(early.end(), Others::Pinned);
        assert!(asker.is_pinned(4), "the child has it");
        // SAFETY: our own child.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
        assert!(!asker.is_pinned(4) && asker.is_pinned(5));
        assert_eq!(late.end(), Others::Pinned);
        assert!(!asker.is_pinned(5));
    }
}
