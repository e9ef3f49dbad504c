//! Who this process is, and who its parent is.

use crate::error::Result;
use crate::os::clock::Deadline;
use crate::os::{child, liveness};
use crate::process::report::{self, Context};
use crate::process::sleep_until_readable;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The name of a process that is no child of [`Process::spawn`](crate::Process::spawn).
pub(super) const MAIN: &str = "MainProcess";

/// This process; see [`current`].
#[derive(Clone, Copy, Debug)]
pub struct Current {
    context: Option<&'static Context<'static>>,
}

/// This process: what its parent's handle says of it, seen from inside.
///
/// A process that other code forked has the name of the process that it is a copy of.
///
/// ```standalone_crate
/// use mpshm::{Process, current};
/// assert_eq!((current().name(), current().is_child()), ("MainProcess", false));
/// let child = Process::builder().name("w").spawn(|| {
///     let current = current();
///     i32::from(current.name() == "w" && current.is_child() && current.pid() == std::process::id())
/// })?;
/// assert_eq!(child.join()?.code(), Some(1));
/// # Ok::<(), mpshm::Error>(())
/// ```
#[must_use]
pub fn current() -> Current {
    Current { context: report::context() }
}

impl Current {
    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    /// The name; `MainProcess` for what is no child.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.context.map_or(MAIN, |context| context.name)
    }

    /// Whether this process runs a closure of [`Process::spawn`](crate::Process::spawn).
    #[must_use]
    pub fn is_child(&self) -> bool {
        self.context.is_some_and(Context::is_own)
    }

    /// Whether dropping the parent's handle kills this process; what it spawns is like it unless
    /// told otherwise.
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        self.context.is_some_and(|context| context.is_own() && context.daemon)
    }
}

/// The process that spawned this one; see [`parent`]. A handle that is taken along into a further child
/// still means the same process there.
#[derive(Debug)]
pub struct Parent {
    context: &'static Context<'static>,
    /// A copy of the context's, which a further child closes; none if there was no descriptor left.
    copy: Option<OwnedFd>,
}

/// The process that spawned this one; `None` in what is no child of
/// [`Process::spawn`](crate::Process::spawn): a main program, one that was executed, one that other
/// code forked.
///
/// A child has a descriptor of its parent (a pidfd) from its first instruction on, so what is said
/// here is of that very process for good, whoever has its id later.
///
/// ```standalone_crate
/// use mpshm::{Process, parent};
/// use std::time::Duration;
/// assert!(parent().is_none());
/// let me = std::process::id();
/// let child = Process::spawn(|| {
///     let parent = parent().expect("a child has one");
///     let alive = parent.is_alive() && !parent.wait_death(Duration::from_millis(1)).unwrap();
///     i32::from(alive && parent.pid() == me && parent.name() == "MainProcess")
/// })?;
/// assert_eq!(child.join()?.code(), Some(1));
/// # Ok::<(), mpshm::Error>(())
/// ```
#[must_use]
pub fn parent() -> Option<Parent> {
    let context = report::context().filter(|context| context.is_own())?;
    Some(Parent { context, copy: child::copy_descriptor(context.parent.fd).ok() })
}

impl Parent {
    /// The process id that it had when it spawned this process. Once it has died, that may be
    /// another process's.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.context.parent.pid
    }

    /// Its name, as [`current`] says it there.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.context.parent.name
    }

    /// Whether it has not ended. A stopped process has not; a zombie has.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !liveness::has_ended(self.as_fd().as_raw_fd())
    }

    /// Waits until it has ended, or the deadline has passed: then `false`. A time-out of zero only
    /// looks.
    ///
    /// # Errors
    /// `Interrupted` by a [`Canceller`](crate::Canceller), within 80 ms; `System` if this process closed
    /// the descriptor behind the library's back.
    pub fn wait_death(&self, deadline: impl Into<Deadline>) -> Result<bool> {
        sleep_until_readable(self.as_fd(), deadline.into())
    }
}

/// The descriptor of the parent that this process has for as long as it lives.
pub(crate) fn parent_fd() -> Option<BorrowedFd<'static>> {
    Some(report::context().filter(|context| context.is_own())?.parent.fd)
}

impl AsFd for Parent {
    /// A descriptor for `poll` and its like: readable when the parent has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.copy.as_ref().map_or(self.context.parent.fd, AsFd::as_fd)
    }
}
