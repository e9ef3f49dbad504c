//! A descriptor that is readable, or not, as it is told: an eventfd.
//!
//! It is made readable by filling its counter up to the brim. Then a write would block until somebody reads it, and the kernel tells
//! of that moment: whoever reads the descriptor, with whatever call, is noticed.

use crate::error::{Error, Result};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The most that the counter holds.
static BRIM: u64 = u64::MAX - 1;

/// The descriptor; reads of it do not block.
#[derive(Debug)]
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(Error::last_os("cannot make an eventfd"));
        }
        // SAFETY: a fresh descriptor that nobody else has.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Makes it readable.
    pub(crate) fn fill(&self) {
        while !self.try_fill()
            && std::io::Error::last_os_error().raw_os_error() == Some(libc::EAGAIN)
        {
            // Somebody has written to it.
            self.drain();
        }
    }

    fn try_fill(&self) -> bool {
        // SAFETY: eight readable bytes.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const BRIM).cast(), 8) == 8 }
    }

    /// Makes it unreadable.
    pub(crate) fn drain(&self) {
        let mut count = 0u64;
        // SAFETY: room for eight bytes. That there is nothing to read is as good.
        unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) };
    }

    /// Sleeps while it is readable.
    pub(crate) fn wait_drained(&self) {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        // SAFETY: one valid pollfd, no time, no signal mask. After a signal it sleeps on.
        while unsafe { libc::ppoll(&raw mut poll, 1, std::ptr::null(), std::ptr::null()) } < 0
            && std::io::Error::last_os_error().raw_os_error() == Some(libc::EINTR)
        {}
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Runs `body`, and what threads it starts, with all signals blocked: a program's handlers run on its own threads.
pub(crate) fn without_signals<R>(body: impl FnOnce() -> R) -> R {
    let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: valid places for sets, of which the first is filled before it is used.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
    }
    let result = body();
    // SAFETY: the set that was there before.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    result
}
