//! Which process is this? A word that changes in a forked child.
//!
//! A handle remembers the process generation that it was used in; a load and a compare at the
//! start of each operation tell whether it has crossed a fork since. The word lies in a page of
//! its own under `MADV_WIPEONFORK`, so that a child made by a raw `clone` notices as well; where the
//! kernel knows no such advice, an at-fork handler zeroes it.

use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// A generation that no process has: of what was used in none yet.
pub(crate) const NO_PROCESS: u32 = u32::MAX;

/// What stands for the page until it is mapped; never stored to.
static NO_PAGE: AtomicU32 = AtomicU32::new(0);
/// The word's page.
static PAGE: AtomicPtr<AtomicU32> = AtomicPtr::new((&raw const NO_PAGE).cast_mut());
/// The newest generation handed out in this process or an ancestor; copied by fork.
static NEWEST: AtomicU32 = AtomicU32::new(0);

/// This process's word: zero until the process has first called [`generation`] after a fork.
#[inline]
pub(crate) fn word() -> &'static AtomicU32 {
    let page = PAGE.load(Ordering::Acquire).cast_const();
    if page == &raw const NO_PAGE {
        return map_page();
    }
    // SAFETY: the page is mapped for the life of the process and holds an AtomicU32.
    unsafe { &*page }
}

/// A process, to ask later whether it is still this one: by a load from an address that is at hand.
#[derive(Clone, Copy)]
pub(crate) struct Process {
    word: &'static AtomicU32,
    generation: u32,
}

impl Process {
    /// The process of that generation, which need not be this one.
    #[inline(always)]
    pub(crate) fn of(generation: u32) -> Self {
        // SAFETY: a static, or a page that is mapped for the life of the process; either holds an AtomicU32.
        let word = unsafe { &*PAGE.load(Ordering::Acquire) };
        Self { word, generation }
    }

    pub(crate) fn this() -> Self {
        let generation = generation();
        Self::of(generation)
    }

    pub(crate) fn none() -> Self {
        Self::of(NO_PROCESS)
    }

    #[inline(always)]
    pub(crate) fn is_this(self) -> bool {
        // A process that has not asked for its generation yet has 0, which none is.
        self.word.load(Ordering::Relaxed) == self.generation
    }
}

/// The process generation: differs between a process and each of its forked descendants.
#[inline]
pub(crate) fn generation() -> u32 {
    let current = word().load(Ordering::Relaxed);
    if current != 0 { current } else { begin_generation() }
}

/// The same for a child that was just forked: its page is written without being read first, which would be a page
/// fault of its own.
#[cold]
pub(crate) fn begin_generation() -> u32 {
    // Several threads of a fresh process may race here; the first one's number stands.
    let fresh = NEWEST.fetch_add(1, Ordering::Relaxed) % (NO_PROCESS - 1) + 1;
    match word().compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => fresh,
        Err(winner) => winner,
    }
}

#[cold]
fn map_page() -> &'static AtomicU32 {
    extern "C" fn child() {
        // SAFETY: registered when the page was there.
        unsafe { (*PAGE.load(Ordering::Relaxed)).store(0, Ordering::Relaxed) };
    }
    const SIZE: usize = 4096;
    // SAFETY: a fresh private anonymous mapping; nothing else refers to it.
    let mapped = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            SIZE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert!(mapped != libc::MAP_FAILED, "mpshm: no memory for one page");
    // SAFETY: the range is the mapping just made.
    let wiped = unsafe { libc::madvise(mapped, SIZE, libc::MADV_WIPEONFORK) } == 0;
    match PAGE.compare_exchange(
        (&raw const NO_PAGE).cast_mut(),
        mapped.cast(),
        Ordering::AcqRel,
        Ordering::Acquire,
    ) {
        Ok(_) if wiped => {}
        Ok(_) => {
            // SAFETY: `child` is async-signal-safe: it stores one word.
            unsafe { libc::pthread_atfork(None, None, Some(child)) };
        }
        // Another thread was first.
        // SAFETY: our own mapping, which nobody has seen.
        Err(_) => unsafe {
            libc::munmap(mapped, SIZE);
        },
    }
    word()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_child_sees_another_generation_and_the_parent_keeps_its_own() {
        let _alone = crate::os::alone();
        let mine = generation();
        assert_ne!(mine, 0);
        let this = Process::this();
        assert!(this.is_this() && Process::of(mine).is_this() && !Process::none().is_this());
        // SAFETY: the child calls only what is async-signal-safe before `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let differs = !this.is_this() && generation() != mine && !this.is_this();
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(!differs)) };
        }
        let mut status = 0;
        // SAFETY: waits for the child made above.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(status, 0);
        assert_eq!(generation(), mine);
    }
}
