//! A descriptor for event loops that tells when any of several things is ready: [`EventFd`].
//!
//! # Overview
//! A thread of the handle's own [selects](crate::select). When something is ready it makes the descriptor readable, and sleeps until somebody
//! has read it (`os/eventfd.rs`); then it looks again. So the descriptor is readable from a moment after something became ready
//! until it is read, and again as long as something still is: level-triggered, with the read as the question.
//!
//! A pulse of an event that comes between a report and the read counts for the next report: what a wait remembers from its
//! beginning is taken before the descriptor is made readable.
//!
//! # The end
//! The handle's drop cancels the thread, and then reads the descriptor. The thread makes it readable, and then asks whether it is
//! cancelled. Both go through the descriptor's lock in the kernel: either the drop's read finds what the thread wrote, which wakes it, or
//! the thread writes later, and then sees that it is cancelled.

use crate::error::{Error, ErrorKind, Result};
use crate::os::clock::Deadline;
use crate::os::eventfd;
use crate::os::fork;
use crate::wait::cancel::Canceller;
use crate::wait::eventcount::GaveUp;
use crate::wait::select::sealed::Source;
use crate::wait::select::{Mode, Waitable, Waiting};
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::thread::JoinHandle;

/// A descriptor, for epoll and for asynchronous runtimes, that is readable when any of several things is ready: what
/// [`select`](crate::select) waits for, as something to poll.
///
/// **How to use it.** Wait until it is readable; read 8 bytes from it (or call [`clear`](Self::clear)); then try everything. The read makes it
/// unreadable, and it becomes readable again at once when something is still ready. So nothing is missed by who reads first and
/// tries then; who tries without a read is told again and again, or with an edge-triggered epoll, never again.
///
/// **What it costs.** A thread of its own, named `mpshm-eventfd`: the library makes no other, and this one only because it was asked to. It sleeps in
/// the kernel, runs no signal handler, and ends when this is dropped. **Deaths** of others are found as by `select`. **Forks**: a child's copy
/// is the same descriptor, which is better left alone there; the thread stays with the parent, and dropping the copy does
/// nothing but close it.
///
/// ```standalone_crate
/// use mpshm::{Event, EventFd, Queue};
/// use std::os::fd::AsFd;
/// use std::sync::Arc;
/// let (queue, stop) = (Queue::<u64>::new(8)?, Arc::new(Event::new()?));
/// let ready = EventFd::new(vec![Box::new(queue.readable()), Box::new(Arc::clone(&stop))])?;
/// let descriptor = ready.as_fd(); // for epoll, or poll, or a runtime
/// # use std::os::fd::AsRawFd;
/// # let mut poll = libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
/// queue.push(7)?;
/// # unsafe { libc::poll(&mut poll, 1, 10_000) };
/// // It is readable now.
/// ready.clear();
/// assert_eq!(queue.try_pop(), Ok(7));
/// # Ok::<(), mpshm::Error>(())
/// ```
pub struct EventFd {
    /// Shared with the thread; freed when that has ended.
    shared: NonNull<Shared>,
    thread: Option<JoinHandle<()>>,
    /// The process that has the thread.
    process: u32,
}

struct Shared {
    fd: eventfd::EventFd,
    /// The thread's alone until it has ended.
    items: Vec<Box<dyn Waitable + Send>>,
    stop: Canceller,
}

// SAFETY: the items are sent to the thread, and back when it has ended; all else is used through `&` by both, and may be.
unsafe impl Send for EventFd {}
// SAFETY: through `&self` only the descriptor is used.
unsafe impl Sync for EventFd {}

/// The thread's part, and the wait that it begins with: what happens from the maker's call on counts.
struct Part(&'static Shared, Waiting<'static>);
// SAFETY: see `EventFd`.
unsafe impl Send for Part {}

impl EventFd {
    /// Begins to wait for any of `items`.
    ///
    /// # Errors
    /// `Invalid` for no items; `System` when there is no descriptor or no thread to be had.
    pub fn new(items: Vec<Box<dyn Waitable + Send>>) -> Result<Self> {
        if items.is_empty() {
            return Err(Error::new(
                ErrorKind::Invalid,
                "an eventfd for any of no items: at least one is expected",
            ));
        }
        let shared =
            Box::new(Shared { fd: eventfd::EventFd::new()?, items, stop: Canceller::new() });
        let shared = NonNull::from(Box::leak(shared));
        let mut this = Self { shared, thread: None, process: fork::generation() };
        // SAFETY: freed by the drop only, which joins the thread first.
        let of_the_thread: &'static Shared = unsafe { shared.as_ref() };
        let part = Part(of_the_thread, of_the_thread.begin());
        let builder = std::thread::Builder::new().name("mpshm-eventfd".to_owned());
        let thread = eventfd::without_signals(|| {
            builder.spawn(move || {
                let part = part; // whole: it is what may be sent
                part.0.run(part.1);
            })
        });
        match thread {
            Ok(thread) => this.thread = Some(thread),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                return Err(Error::from_errno(errno, "cannot start the thread of an eventfd"));
            }
        }
        Ok(this)
    }

    fn shared(&self) -> &Shared {
        // SAFETY: valid until the drop.
        unsafe { self.shared.as_ref() }
    }

    /// Makes it unreadable until something is ready the next time that the thread looks, which it does now. As a read of 8 bytes.
    pub fn clear(&self) {
        self.shared().fd.drain();
    }
}

impl Shared {
    fn begin(&self) -> Waiting<'_> {
        Waiting::new(self.items.iter().map(|item| &**item as &dyn Source), Mode::Any)
    }

    fn run<'s>(&'s self, mut waiting: Waiting<'s>) {
        self.stop.run(|| {
            loop {
                match waiting.wait(Deadline::FOREVER) {
                    Ok(Ok(()) | Err(GaveUp::TimedOut)) => {}
                    Ok(Err(GaveUp::Interrupted)) => return,
                    // The system refuses to wait: the user's own tries are all that is left.
                    Err(_) => return self.fd.fill(),
                }
                waiting = self.begin();
                self.fd.fill();
                if self.stop.is_cancelled() {
                    return;
                }
                self.fd.wait_drained();
                if self.stop.is_cancelled() {
                    return;
                }
            }
        });
    }
}

impl AsFd for EventFd {
    /// Readable when something is ready. It does not block.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared().fd.as_fd()
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        let thread = self.thread.take();
        if self.process == fork::generation() {
            self.shared().stop.cancel();
            self.shared().fd.drain();
            // A panic in a condition of the user's has been told by its hook.
            let _ = thread.map(JoinHandle::join);
        } else {
            // There is no such thread in this process.
            std::mem::forget(thread);
        }
        // SAFETY: made by `Box::leak`, and nobody else's any more.
        drop(unsafe { Box::from_raw(self.shared.as_ptr()) });
    }
}

impl std::fmt::Debug for EventFd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventFd").field("fd", &self.as_fd()).finish_non_exhaustive()
    }
}
