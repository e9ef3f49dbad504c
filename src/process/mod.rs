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

mod report;
pub(crate) mod roster;
pub(crate) mod server;
mod waitable;

use crate::error::{Error, ErrorKind, Result};
use crate::os::clock::Deadline;
use crate::os::process::{self as os, Ended, Flushed, Look, Side};
use crate::os::{fork, liveness};
use crate::wait::cancel;
pub(crate) use report::catch as catch_panic;
use report::{Context, Report};
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::time::Duration;

/// The exit code of a child whose closure panicked; that of a Rust program whose `main` did.
const PANICKED: i32 = 101;

/// How a process ended.
///
/// ```
/// use mpshm::ExitStatus;
/// assert_eq!(ExitStatus::Exited(3).code(), Some(3));
/// assert_eq!(ExitStatus::Signaled(9).code(), Some(-9));
/// assert_eq!(ExitStatus::Unknown.code(), None);
/// assert!(ExitStatus::Exited(0).success());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// It ended by itself, with this code from 0 to 255.
    Exited(i32),
    /// The signal of this number killed it.
    Signaled(i32),
    /// It has ended, but nobody can know any more how: other code of this process reaped it, or
    /// `SIGCHLD` is ignored, which makes the kernel throw the status away.
    Unknown,
}

impl ExitStatus {
    /// The code in Python's convention: 0 to 255, or −N for signal N; none for `Unknown`.
    #[must_use]
    pub fn code(self) -> Option<i32> {
        match self {
            Self::Exited(code) => Some(code),
            Self::Signaled(signal) => Some(-signal),
            Self::Unknown => None,
        }
    }

    /// Whether it is known to have ended with code 0.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Exited(0)
    }

    /// As one word; never 0, which is for "not known to have ended".
    fn to_word(self) -> u32 {
        match self {
            Self::Exited(code) => 0x100 | code as u32 & 0xff,
            Self::Signaled(signal) => 0x200 | signal as u32 & 0xff,
            Self::Unknown => 0x300,
        }
    }

    fn from_word(word: u32) -> Option<Self> {
        let low = (word & 0xff) as i32;
        match word >> 8 {
            1 => Some(Self::Exited(low)),
            2 => Some(Self::Signaled(low)),
            3 => Some(Self::Unknown),
            _ => None,
        }
    }
}

impl std::fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signaled(signal) => write!(f, "killed by signal {signal}"),
            Self::Unknown => f.write_str("unknown exit status"),
        }
    }
}

/// What a new process is to be like; made by [`Process::builder`].
#[derive(Clone, Debug, Default)]
#[must_use = "nothing runs before `spawn`"]
pub struct ProcessBuilder {
    name: Option<String>,
    kill_with_parent: bool,
    daemon: bool,
}

impl ProcessBuilder {
    /// Its name, for people. Default: `Process-N`, counted in each process; `Process-2:1` is the
    /// first one made by the second.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whether the kernel kills it (`SIGKILL`) when its parent dies, however that happens.
    /// Default: no, as in Python.
    ///
    /// The kernel goes by the **thread** that spawns: when that one ends, the child is killed,
    /// though the parent's other threads go on. Spawn such children from the main thread, or from
    /// one that lives as long. Whether the parent died before the child could ask for this is
    /// checked. Not effective for a child that gains privileges by `exec`.
    pub fn kill_with_parent(mut self, yes: bool) -> Self {
        self.kill_with_parent = yes;
        self
    }

    /// Whether dropping the handle kills the process (`SIGKILL`) and reaps it. Default: no, and it
    /// goes on without a handle; see [`Process`].
    pub fn daemon(mut self, yes: bool) -> Self {
        self.daemon = yes;
        self
    }

    /// Forks, and runs `f` in the child, whose exit code is the lowest 8 bits of what `f` returns,
    /// or 101 if it panics. See the notes on threads, output and the end of a child at
    /// [`Process`].
    ///
    /// Waits only for the locks named there. Also reaps children whose handles were dropped.
    ///
    /// # Errors
    /// `Limit` or `NoSpace` when there are no more processes, descriptors or memory to be had; no
    /// child is left then.
    pub fn spawn<F>(self, f: F) -> Result<Process>
    where
        F: FnOnce() -> i32,
    {
        reap_abandoned();
        report::install_hook();
        let (path, name) = identity(self.name);
        let because = |error: Error| {
            Error::from_errno(error.errno(), format_args!("cannot start process '{name}'"))
        };
        let report = Report::new().map_err(because)?;
        let generation = fork::generation();
        let parent = os::own_pid();
        // Keeps a place for the child's pidfd, and shows that the kernel knows them.
        let place = os::open_pidfd(parent).map_err(because)?;

        // The order is stated in the module docs. Both locks are this thread's on either side of
        // the fork, for a child's first thread is the copy of the one that forked.
        let mut out = io::stdout().lock();
        let _ = out.flush();
        let err = io::stderr().lock();
        let flushed = os::flush_c_streams(Flushed::All);
        let side = os::fork();
        drop((err, out, place));
        match side.map_err(because)? {
            Side::Parent(pid) => Process::adopt(pid, name, report, generation, self.daemon),
            Side::Child => {
                os::forget_c_output();
                if self.kill_with_parent {
                    os::die_with_parent(parent);
                }
                let context = Context::new(&report, &name, &path);
                run_child(&context, flushed, f)
            }
        }
    }
}

/// Runs the closure and ends the process. Nothing before the closure allocates or locks.
fn run_child<F: FnOnce() -> i32>(context: &Context<'_>, flushed: Flushed, f: F) -> ! {
    /// Ends the process even if something below unwinds.
    struct EndHere;
    impl Drop for EndHere {
        fn drop(&mut self) {
            os::exit_at_once(PANICKED);
        }
    }
    let _end = EndHere;
    SPAWNED.store(0, Ordering::Relaxed);
    cancel::begin_in_child();
    // SAFETY: this call does not return, so all that lives in its callers stays until the end.
    unsafe { context.enter() };
    let code = match std::panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(code) => code,
        Err(payload) => {
            context.report.conclude(&*payload);
            // Its destructor is the user's, and may panic.
            std::mem::forget(payload);
            PANICKED
        }
    };
    let _ = io::stdout().flush();
    os::flush_c_streams(flushed);
    os::exit_at_once(code & 0xff)
}

/// How many processes this one has spawned.
static SPAWNED: AtomicU32 = AtomicU32::new(0);

/// The new child's path of numbers, and its name.
fn identity(name: Option<String>) -> (String, String) {
    let number = SPAWNED.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    let path = match report::context() {
        Some(context) => format!("{}:{number}", context.path),
        None => number.to_string(),
    };
    let name = name.unwrap_or_else(|| format!("Process-{path}"));
    (path, name)
}

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
/// killed and reaped instead.
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
    pid: i32,
    name: String,
    /// The child's pidfd, or a readable descriptor in its place if it was gone too soon.
    /// Closed, or handed on, by `drop`.
    fd: ManuallyDrop<OwnedFd>,
    /// The process generation of the parent.
    generation: u32,
    /// An [`ExitStatus`] as a word, 0 until it is known. Set once, before the child is reaped.
    status: AtomicU32,
    report: Report,
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
        let handle = |fd, status| {
            let (fd, status) = (ManuallyDrop::new(fd), AtomicU32::new(status));
            Ok(Self { pid, name, fd, generation, status, report, daemon })
        };
        // Until it is reaped, the id can be nobody else's. Others may reap it, and an ignored
        // SIGCHLD does so: then there is none of that id, or one that is no child of ours.
        match os::open_pidfd(pid) {
            Ok(Some(fd)) if os::look(fd.as_fd()) != Look::NotOurs => handle(fd, 0),
            Ok(_) => handle(os::open_readable()?, ExitStatus::Unknown.to_word()),
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
        self.pid as u32
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits until the process has ended. May be called again, and by several threads at once:
    /// all get the same answer. A stopped process has not ended.
    ///
    /// # Errors
    /// `Forked` in any process but the parent.
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
        loop {
            if let Some(status) = self.exit_status()? {
                reap_abandoned();
                return Ok(Some(status));
            }
            if !os::wait_readable(self.fd.as_fd(), deadline)? {
                return self.exit_status();
            }
            if self.exit_status()?.is_none() {
                // Ended, but a tracer of another process has not let it go yet: nothing to sleep
                // on tells of that.
                if deadline.has_passed() {
                    return Ok(None);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// How the process ended, without waiting; `None` while it lives. Reaps it.
    ///
    /// # Errors
    /// As [`Process::join`].
    pub fn exit_status(&self) -> Result<Option<ExitStatus>> {
        self.check_parent()?;
        if let Some(status) = self.known_status() {
            return Ok(Some(status));
        }
        // The status is known to all threads before the child is reaped: whoever finds no child
        // any more finds the status, unless it was reaped by code that is not ours.
        let status = match os::look(self.fd.as_fd()) {
            Look::Alive => return Ok(None),
            Look::Ended(Ended::Exited(code)) => ExitStatus::Exited(code),
            Look::Ended(Ended::Signaled(signal)) => ExitStatus::Signaled(signal),
            Look::NotOurs if liveness::has_ended(self.fd.as_raw_fd()) => ExitStatus::Unknown,
            Look::NotOurs => return Ok(None),
        };
        // Whoever comes first decides, before the child is reaped: who finds it reaped finds this.
        let first =
            self.status.compare_exchange(0, status.to_word(), Ordering::AcqRel, Ordering::Acquire);
        os::reap(self.fd.as_fd());
        Ok(ExitStatus::from_word(first.map_or_else(|known| known, |_| status.to_word())))
    }

    fn known_status(&self) -> Option<ExitStatus> {
        ExitStatus::from_word(self.status.load(Ordering::Acquire))
    }

    /// Whether the process has not ended yet; a stopped one has not. Right in every process that
    /// has the handle, and when others reaped the child.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        match self.exit_status() {
            Ok(status) => status.is_none(),
            Err(_) => self.known_status().is_none() && !liveness::has_ended(self.fd.as_raw_fd()),
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
        os::signal(self.fd.as_fd(), number).map_err(|errno| {
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
        self.report.message(status == ExitStatus::Signaled(os::SIGABRT))
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

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process '{}' (pid {})", self.name, self.pid)
    }
}

impl AsFd for Process {
    /// A descriptor for `poll` and its like: readable when the process has ended. A pidfd, unless
    /// the process was reaped by others before its handle was made.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ours = self.generation == fork::generation();
        if ours && self.daemon && self.kill().is_ok() {
            let _ = self.join();
        }
        let ended = !ours || !matches!(self.exit_status(), Ok(None));
        // SAFETY: taken once, here, and not used again.
        let fd = unsafe { ManuallyDrop::take(&mut self.fd) };
        if !ended {
            push_abandoned(Box::new(Abandoned {
                fd,
                generation: self.generation,
                next: std::ptr::null_mut(),
            }));
        }
        reap_abandoned();
    }
}

/// A child whose handle was dropped before it ended.
struct Abandoned {
    fd: OwnedFd,
    /// Of its parent; a forked child finds the entries of its parent, and throws them away.
    generation: u32,
    next: *mut Abandoned,
}

/// A stack without a lock, which a fork could leave locked. Entries are taken off all at once.
static ABANDONED: AtomicPtr<Abandoned> = AtomicPtr::new(std::ptr::null_mut());

fn push_abandoned(entry: Box<Abandoned>) {
    let entry = Box::into_raw(entry);
    let mut top = ABANDONED.load(Ordering::Relaxed);
    loop {
        // SAFETY: ours alone until the exchange below publishes it.
        unsafe { (*entry).next = top };
        // Release: pairs with the swap in `reap_abandoned`, which takes the entries over.
        match ABANDONED.compare_exchange_weak(top, entry, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(newer) => top = newer,
        }
    }
}

/// Reaps those of the abandoned children that have ended. Does not wait.
fn reap_abandoned() {
    if ABANDONED.load(Ordering::Relaxed).is_null() {
        return;
    }
    // Acquire: pairs with the exchange in `push_abandoned`.
    let mut next = ABANDONED.swap(std::ptr::null_mut(), Ordering::Acquire);
    while !next.is_null() {
        // SAFETY: made by `Box::into_raw`, and taken off the stack by the swap above alone.
        let entry = unsafe { Box::from_raw(next) };
        next = entry.next;
        let mine = entry.generation == fork::generation();
        if mine && os::reap(entry.fd.as_fd()) == Look::Alive {
            push_abandoned(entry);
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
