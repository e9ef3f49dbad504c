//! Waiting for descriptors: several at once, until one of them can be read.

use crate::error::{Error, Result};
use crate::os::clock::{self, Deadline};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Descriptors that are looked at together, each by its number in the order in which they were added.
#[derive(Default)]
pub(crate) struct Descriptors(Vec<libc::pollfd>);

impl Descriptors {
    /// Adds one that stays open as long as this is used; says its number.
    pub(crate) fn add(&mut self, fd: BorrowedFd<'_>) -> usize {
        self.0.push(libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
        self.0.len() - 1
    }

    /// Leaves the one with this number out of looks and sleeps, or not any more.
    pub(crate) fn mute(&mut self, number: usize, mute: bool) {
        let one = &mut self.0[number];
        // The kernel passes over negative numbers.
        if mute != (one.fd < 0) {
            one.fd = !one.fd;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the one with this number could be read, or had an error, when they were last looked at.
    pub(crate) fn is_readable(&self, number: usize) -> bool {
        self.0[number].revents != 0
    }

    /// Looks at all of them: one system call, none where there is none.
    pub(crate) fn look(&mut self) -> Result<bool> {
        if self.is_empty() {
            Ok(false)
        } else {
            self.wait(Deadline::after(std::time::Duration::ZERO))
        }
    }

    /// Sleeps until one can be read; false when the deadline passed first, or a signal came.
    pub(crate) fn wait(&mut self, deadline: Deadline) -> Result<bool> {
        let left = deadline.as_nanoseconds().saturating_sub(clock::now());
        let time = libc::timespec {
            tv_sec: (left / 1_000_000_000) as libc::time_t,
            tv_nsec: (left % 1_000_000_000) as _,
        };
        let time = if deadline == Deadline::FOREVER { std::ptr::null() } else { &raw const time };
        let count = self.0.len() as libc::nfds_t;
        // SAFETY: so many valid pollfds, a valid or null time, no signal mask.
        match unsafe { libc::ppoll(self.0.as_mut_ptr(), count, time, std::ptr::null()) } {
            -1 => {
                self.0.iter_mut().for_each(|one| one.revents = 0);
                let error = std::io::Error::last_os_error();
                match error.raw_os_error() {
                    Some(libc::EINTR) => Ok(false),
                    _ => Err(Error::last_os("cannot wait for descriptors")),
                }
            }
            ready => Ok(ready > 0),
        }
    }
}
