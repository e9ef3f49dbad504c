//! Processes: a closure that runs in a forked child, and the handle on it.
//!
//! # What a fork is
//! The child is a copy of the whole process, but of its threads only the one that forked goes on.
//! The closure and all that it captured exist twice from then on: the child uses up its copy, the
//! parent drops its own before [`ProcessBuilder::spawn`] returns. Nothing that the child changes in
//! its copy is seen by the parent; for that, give it what lies in shared memory.
//!
//! # Threads of the parent
//! Between the fork and the closure nothing is allocated and no lock is taken, and the C library
//! sees to its `malloc`. A lock of any other code that another thread held at the fork stays
//! locked in the child for ever, so **a closure that is spawned from a program with threads must
//! only use what those threads cannot have had locked.** What this library sees to:
//! - Rust's `stdout` and `stderr`: their locks are held over the fork by the thread that forks, so
//!   that the child has them free and their buffers empty. Whoever keeps one of them locked in
//!   another thread delays the spawn; whoever waits for `stdout` while holding `stderr` must not
//!   do so while another thread spawns.
//! - the C library's streams, whose locks it resets itself in the child;
//! - the panic hook: a panic in the child comes home and is printed even if other threads of the
//!   parent were printing panics at the fork (then without a backtrace).
//!
//! What nobody can see to from outside the standard library: a fork while another thread replaces
//! the panic hook, captures a backtrace outside a panic, or reads from `stdin` (which is then
//! locked in the child).
//!
//! # Output
//! Buffers of Rust's `stdout` and of the C library's streams are written out before the fork and
//! again in the child when its closure has returned or panicked, so that everything comes out
//! once. Two exceptions: what another thread of the parent writes to C streams other than `stdout`
//! and `stderr` during the call may come twice; and when a thread is reading C's `stdin`, a flush
//! of all C streams would have to wait for it, so only these two are flushed and the child has to
//! close what others it writes to.
//!
//! # The end of a child
//! When the closure returns, the process ends with `_exit`, whatever other threads it started
//! still do: join them first (`std::thread::scope` does). No destructor outside the closure and no
//! `atexit` handler of the parent runs there. `std::process::exit` called inside the closure does
//! run the latter; prefer to return the code.
//!
//! # The end of the parent
//! Nothing happens to the children, unless [`ProcessBuilder::kill_with_parent`] asked for it.

mod builder;
mod children;
mod exec;
mod family;
mod report;
pub(crate) mod roster;
pub(crate) mod server;
mod setup;
mod status;
mod waitable;

use crate::error::{Error, ErrorKind, Result};
use crate::os::clock::Deadline;
use crate::os::process::{self as os, Look};
use crate::os::{fork, liveness};
use crate::wait::cancel;
pub use builder::ProcessBuilder;
pub use children::active_children;
pub(crate) use family::parent_fd;
pub use family::{Current, Parent, current, parent};
use report::Report;
pub(crate) use report::catch as catch_panic;
pub use setup::Stdio;
pub use status::ExitStatus;
use status::Word;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A sleep that a canceller may end looks this often whether it did, in nanoseconds: nothing but the end
/// of the process wakes who sleeps on a descriptor. 12 looks a second are 0.05 % of a processor.
const CANCEL_SLICE: u64 = 80_000_000;
/// The exit code of a child whose closure panicked; that of a Rust program whose `main` did.
const PANICKED: i32 = 101;

/// A child process that runs, or ran, a closure.
///
/// # Threads, forks
/// All methods take `&self` and may be called from several threads at once. The handle is its
/// maker's: in a process forked later, [`Process::join`] and all else that needs to be the parent
/// says `Forked`, and dropping it there only closes the descriptor. [`Process::is_alive`],
/// [`Process::pid`], [`Process::name`] and the descriptor work there too.
///
/// # Dropping it
/// The process goes on without it, as a thread does whose `JoinHandle` is dropped: unlike Python,
/// nothing waits at the end of the program. One that ended is reaped then and there; one that has
/// not is remembered, and reaped by the next spawn, join or drop in this process that comes after
/// its end, so that zombies do not pile up. A process made with [`ProcessBuilder::daemon`] is
/// killed and reaped instead. There is no other way to close a handle, and so none to use a closed
/// one:
///
/// ```compile_fail,E0382
/// let child = mpshm::Process::spawn(|| 0).unwrap();
/// drop(child);
/// let status = child.join();
/// ```
///
/// What lives, also without a handle, is in [`active_children`].
///
/// # Several threads, output, the end of a child
/// The child goes on with one thread: the copy of the caller. A lock that **another** thread held
/// at that moment stays locked in the child for ever, so in a program with threads the closure must
/// use only what they cannot have had locked. Memory allocation, `print!`, `eprint!`, C's `stdio`
/// and panics are seen to, except where another thread at that moment replaces the panic hook,
/// captures a backtrace outside a panic, or reads from `stdin`. To this end a spawn takes the
/// locks of Rust's `stdout` and then `stderr`, and waits for a thread that has them.
///
/// Output buffers, Rust's and C's, are flushed before the fork and again at the end of the child,
/// so that nothing is lost and nothing comes twice. When the closure returns or panics the child
/// ends with `_exit`: threads that it started and did not join end with it, and no destructor
/// outside the closure and no `atexit` handler runs. What the closure captured by value is dropped
/// in both processes; borrowed data may be used, and is the child's own copy.
///
/// A panic is printed by the panic hook as ever, the exit code is 101, and
/// [`Process::panic_message`] has the text. To that end the first spawn puts a hook in front of the
/// present one; outside of such children it does nothing but call that.
///
/// ```standalone_crate
/// use mpshm::{ExitStatus, Process};
/// let worker = Process::builder().name("worker").spawn(|| 6 * 7)?;
/// assert_eq!(worker.name(), "worker");
/// assert_eq!(worker.join()?, ExitStatus::Exited(42));
/// # Ok::<(), mpshm::Error>(())
/// ```
#[derive(Debug)]
pub struct Process {
    child: Arc<Child>,
    /// The handle that the spawn returned, not a further one.
    first: bool,
}

/// What all handles of a child share.
#[derive(Debug)]
struct Child {
    pid: i32,
    name: String,
    /// The child's pidfd, or a readable descriptor in its place if it was gone too soon.
    fd: OwnedFd,
    /// The process generation of the parent.
    generation: u32,
    /// A [`Word`], 0 until the child is known to have ended. Set once, before the child is reaped.
    status: AtomicU32,
    /// Handed on by `drop`.
    report: ManuallyDrop<Report>,
    daemon: bool,
}

impl Process {
    /// Sets out to make a process with a name or other options.
    pub fn builder() -> ProcessBuilder {
        ProcessBuilder::default()
    }

    /// Runs `f` in a child with the default options; see [`ProcessBuilder::spawn`].
    ///
    /// # Errors
    /// As there.
    pub fn spawn<F>(f: F) -> Result<Self>
    where
        F: FnOnce() -> i32,
    {
        Self::builder().spawn(f)
    }

    /// The name of the process that calls this, if it runs inside a closure of
    /// [`ProcessBuilder::spawn`], as its parent's handle has it.
    #[must_use]
    pub fn current_name() -> Option<&'static str> {
        report::context().map(|context| context.name)
    }

    fn adopt(
        pid: i32,
        name: String,
        report: Report,
        generation: u32,
        daemon: bool,
    ) -> Result<Self> {
        let handle = |fd, Word(status)| {
            let status = AtomicU32::new(status);
            let report = ManuallyDrop::new(report);
            let child = Arc::new(Child { pid, name, fd, generation, status, report, daemon });
            if child.known_status().is_none() {
                children::add(&child);
            }
            Ok(Self { child, first: true })
        };
        // Until it is reaped, the id can be nobody else's. Others may reap it, and an ignored
        // SIGCHLD does so: then there is none of that id, or one that is no child of ours.
        match os::open_pidfd(pid) {
            Ok(Some(fd)) if os::look(fd.as_fd()) != Look::NotOurs => handle(fd, Word(0)),
            Ok(_) => handle(os::open_readable()?, Word::UNKNOWN),
            Err(error) => {
                os::kill_unopened(pid);
                Err(error)
            }
        }
    }

    /// The process id. May be another process's once this one was reaped: signals go through the
    /// methods here, which cannot hit another.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.child.name
    }

    /// Whether dropping the handle kills it. Fixed when it is spawned.
    ///
    /// ```standalone_crate
    /// use mpshm::{Process, current};
    /// // What a daemon spawns is a daemon, unless told otherwise.
    /// let child = Process::builder().daemon(true).spawn(|| {
    ///     let inner = Process::spawn(|| i32::from(current().is_daemon())).unwrap();
    ///     i32::from(inner.is_daemon() && inner.join().unwrap().code() == Some(1))
    /// })?;
    /// assert!(child.is_daemon() && child.join()?.code() == Some(1));
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        self.child.daemon
    }

    /// Waits until the process has ended. May be called again, and by several threads at once:
    /// all get the same answer. A stopped process has not ended.
    ///
    /// # Errors
    /// `Forked` in any process but the parent; `Interrupted` by a [`Canceller`](crate::Canceller), within
    /// 20 ms.
    ///
    /// ```standalone_crate
    /// use mpshm::Process;
    /// let child = Process::spawn(|| 300)?;
    /// assert_eq!(child.join()?.code(), Some(44), "an exit code has 8 bits");
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    pub fn join(&self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.join_timeout(Deadline::FOREVER)? {
                return Ok(status);
            }
        }
    }

    /// Waits until the process has ended or the deadline has passed, then `None`; a time-out of
    /// zero only looks.
    ///
    /// # Errors
    /// As [`Process::join`].
    ///
    /// ```standalone_crate
    /// use mpshm::{ExitStatus, Process};
    /// use std::time::Duration;
    /// let child = Process::spawn(|| loop { std::thread::park() })?;
    /// assert_eq!(child.join_timeout(Duration::from_millis(10))?, None);
    /// child.kill()?;
    /// assert_eq!(child.join()?, ExitStatus::Signaled(9));
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    pub fn join_timeout(&self, deadline: impl Into<Deadline>) -> Result<Option<ExitStatus>> {
        let deadline = deadline.into();
        self.child.check_parent()?;
        // Who is going to wait anyway looks when the descriptor says that there is something to see.
        let mut waits = self.child.known_status().is_none() && !cancel::is_cancelled();
        if waits && deadline == Deadline::FOREVER && cancel::current().is_none() {
            // Nothing else can end this wait: the kernel's own is the shortest way.
            os::wait_for_end(self.as_fd());
            waits = false;
        }
        loop {
            if waits && !deadline.has_passed() && !sleep_until_readable(self.as_fd(), deadline)? {
                return self.exit_status();
            }
            if let Some(status) = self.exit_status()? {
                children::reap_abandoned();
                return Ok(Some(status));
            }
            if deadline.has_passed() {
                return Ok(None);
            }
            if waits {
                // Ended, but a tracer of another process has not let it go yet: nothing to sleep
                // on tells of that.
                std::thread::sleep(Duration::from_millis(1));
            }
            waits = true;
        }
    }

    /// How the process ended, without waiting; `None` while it lives. Reaps it.
    ///
    /// # Errors
    /// As [`Process::join`].
    pub fn exit_status(&self) -> Result<Option<ExitStatus>> {
        self.child.exit_status()
    }

    /// Whether the signal that ended it left a core; no while it lives, or where nobody can know.
    ///
    /// # Errors
    /// `Forked` in any process but the parent.
    ///
    /// ```standalone_crate
    /// use mpshm::Process;
    /// let child = Process::spawn(|| loop { std::thread::park() })?;
    /// child.kill()?;
    /// child.join()?;
    /// assert!(!child.core_dumped()?, "not by SIGKILL");
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    pub fn core_dumped(&self) -> Result<bool> {
        self.exit_status()?;
        Ok(Word(self.child.status.load(Ordering::Acquire)).core_dumped())
    }

    /// Whether the process has not ended yet; a stopped one has not. Right in every process that
    /// has the handle, and when others reaped the child.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match self.exit_status() {
            Ok(status) => status.is_none(),
            Err(_) => {
                self.child.known_status().is_none()
                    && !liveness::has_ended(self.as_fd().as_raw_fd())
            }
        }
    }

    /// Sends `SIGKILL`, which ends it at once. `Ok` if it has ended already, as for all signals.
    /// Its own children live on.
    ///
    /// # Errors
    /// `Forked` in any process but the parent; `Permission` if the child changed its user.
    pub fn kill(&self) -> Result<()> {
        self.signal(os::SIGKILL)
    }

    /// Sends `SIGTERM`, which ends it unless it sees to that signal. No destructor runs in it.
    ///
    /// # Errors
    /// As [`Process::kill`].
    pub fn terminate(&self) -> Result<()> {
        self.signal(os::SIGTERM)
    }

    /// Sends `SIGTERM` and, if it has not ended when `grace` is over, `SIGKILL`; waits until it has
    /// ended. A stopped process does not see the first one.
    ///
    /// # Errors
    /// As [`Process::kill`] and [`Process::join`]: cancelled while it waits, it has sent `SIGTERM` alone.
    ///
    /// ```standalone_crate
    /// use mpshm::Process;
    /// use std::time::Duration;
    /// let child = Process::spawn(|| loop { std::thread::park() })?;
    /// let status = child.terminate_then_kill(Duration::from_secs(60))?;
    /// assert_eq!(status.code(), Some(-15));
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    pub fn terminate_then_kill(&self, grace: impl Into<Deadline>) -> Result<ExitStatus> {
        self.terminate()?;
        if let Some(status) = self.join_timeout(grace)? {
            return Ok(status);
        }
        self.kill()?;
        self.join()
    }

    /// Sends `SIGINT`, as Ctrl-C does.
    ///
    /// # Errors
    /// As [`Process::kill`].
    pub fn interrupt(&self) -> Result<()> {
        self.signal(os::SIGINT)
    }

    /// Sends the signal of this number. Never hits another process that got the same id later.
    ///
    /// # Errors
    /// As [`Process::kill`], and `Invalid` if there is no such signal.
    pub fn signal(&self, number: i32) -> Result<()> {
        let ended = self.exit_status()?.is_some();
        if !os::is_signal(number) {
            let message = format!("cannot send signal {number} to {self}: there is no such signal");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        if ended {
            return Ok(());
        }
        os::signal(self.as_fd(), number).map_err(|errno| {
            Error::from_errno(errno, format_args!("cannot send signal {number} to {self}"))
        })
    }

    /// The message and place of the panic that ended the process, or of its closure's last one if
    /// it aborted (as all panics do where they abort); `None` if it lives or ended otherwise.
    ///
    /// At most 4 KB come home, longer messages are cut and marked. The place is missing if the
    /// panic hook was replaced, after the first spawn, by one that does not call its predecessor.
    ///
    /// ```standalone_crate
    /// use mpshm::Process;
    /// let child = Process::spawn(|| panic!("no more paper"))?;
    /// assert_eq!(child.join()?.code(), Some(101));
    /// let message = child.panic_message().unwrap();
    /// assert!(message.starts_with("no more paper (") && message.contains(".rs:"), "{message}");
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    #[must_use]
    pub fn panic_message(&self) -> Option<String> {
        let status = self.exit_status().ok()??;
        self.child.report.message(status == ExitStatus::Signaled(os::SIGABRT))
    }

    /// The backtrace of that panic, if the child's environment asked for one (`RUST_BACKTRACE=1`), as text.
    ///
    /// At most 28 KB come home, longer ones are cut and marked. There is none where the place is missing,
    /// too, nor if another thread of this process was printing a panic when it spawned the child.
    ///
    /// ```standalone_crate
    /// use mpshm::Process;
    /// let child = Process::spawn(|| panic!("no more paper"))?;
    /// child.join()?;
    /// if let Some(trace) = child.panic_backtrace() {
    ///     eprintln!("{}\n{trace}", child.panic_message().unwrap());
    /// }
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    #[must_use]
    pub fn panic_backtrace(&self) -> Option<String> {
        let status = self.exit_status().ok()??;
        self.child.report.backtrace(status == ExitStatus::Signaled(os::SIGABRT))
    }
}

impl Child {
    fn pid(&self) -> u32 {
        self.pid as u32
    }

    /// How it ended; reaps it.
    fn exit_status(&self) -> Result<Option<ExitStatus>> {
        self.check_parent()?;
        if let Some(status) = self.known_status() {
            return Ok(Some(status));
        }
        // The status is known to all threads before the child is reaped: whoever finds no child
        // any more finds the status, unless it was reaped by code that is not ours.
        let word = match os::look(self.fd.as_fd()) {
            Look::Alive => return Ok(None),
            Look::Ended(ended) => Word::of(ended),
            Look::NotOurs if liveness::has_ended(self.fd.as_raw_fd()) => Word::UNKNOWN,
            Look::NotOurs => return Ok(None),
        };
        // Whoever comes first decides, before the child is reaped: who finds it reaped finds this.
        let first = self.status.compare_exchange(0, word.0, Ordering::AcqRel, Ordering::Acquire);
        os::reap(self.fd.as_fd());
        children::remove(self);
        Ok(first.map_or_else(Word, |_| word).status())
    }

    fn known_status(&self) -> Option<ExitStatus> {
        Word(self.status.load(Ordering::Acquire)).status()
    }

    fn check_parent(&self) -> Result<()> {
        if self.generation == fork::generation() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Forked,
            format!("{self} is a child of the process that made the handle, not of this one"),
        ))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: taken once, here, and not used again.
        let report = unsafe { ManuallyDrop::take(&mut self.report) };
        // Who knows the status knows that nobody writes there any more.
        if self.generation == fork::generation() && self.known_status().is_some() {
            report.recycle();
        }
    }
}

impl std::fmt::Display for Child {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process '{}' (pid {})", self.name, self.pid)
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.child.fmt(f)
    }
}

impl AsFd for Process {
    /// A descriptor for `poll` and its like: readable when the process has ended. A pidfd, unless
    /// the process was reaped by others before its handle was made.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.child.fd.as_fd()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.first && self.child.generation == fork::generation() {
            if self.child.daemon && self.kill().is_ok() {
                let _ = cancel::without(|| self.join());
            }
            if matches!(self.exit_status(), Ok(None)) {
                children::abandon(&self.child);
            }
        }
        children::reap_abandoned();
    }
}

/// Sleeps until `fd` is readable, or the deadline has passed: then false. A canceller ends it.
fn sleep_until_readable(fd: BorrowedFd<'_>, deadline: Deadline) -> Result<bool> {
    loop {
        if cancel::is_cancelled() && !deadline.has_passed() {
            return Err(Error::new(ErrorKind::Interrupted, "the wait was cancelled"));
        }
        let slice = match cancel::current() {
            Some(_) => deadline.at_most(CANCEL_SLICE),
            None => deadline,
        };
        if os::wait_readable(fd, slice)? {
            return Ok(true);
        }
        if deadline.has_passed() {
            return Ok(false);
        }
    }
}

/// How many processes can run at once: the processors that this process is allowed to use, less
/// where its control group limits its share of time. At least 1.
///
/// ```
/// assert!(mpshm::cpu_count() >= 1);
/// ```
#[must_use]
pub fn cpu_count() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
