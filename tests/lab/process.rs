//! Children with a time limit: forked from the single-threaded lab, always reaped.

use super::page::Page;
use super::verdict::{Check, Failure};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// What a wait brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Exited(i32),
    Killed(i32),
    Stopped(i32),
}

impl std::fmt::Display for Event {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(code) => write!(out, "exited with {code}"),
            Self::Killed(signal) => write!(out, "died of signal {signal}"),
            Self::Stopped(signal) => write!(out, "stopped with signal {signal}"),
        }
    }
}

/// A child of the lab. Dropped, it is killed and reaped, in whatever state it is.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    reaped: bool,
}

impl Child {
    /// Forks; the child runs `body` and ends with its result as exit code, without destructors.
    pub fn fork(body: impl FnOnce() -> i32) -> Self {
        // SAFETY: the lab has one thread, so the child may do whatever the parent may.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
        if pid == 0 {
            // SAFETY: no pointers; the lab's death must not leave children behind.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let code = catch_unwind(AssertUnwindSafe(body)).unwrap_or(101);
            // SAFETY: ends the child; nothing of the parent's is run.
            unsafe { libc::_exit(code) };
        }
        Self { pid, reaped: false }
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits for the next event, until `deadline`; `None` when that passed. Needs a [`Ticker`].
    pub fn wait(&mut self, deadline: Instant) -> Option<Event> {
        loop {
            let mut status = 0;
            // SAFETY: our own child; a valid place for the status.
            let result =
                unsafe { libc::waitpid(self.pid, &raw mut status, libc::WUNTRACED | libc::__WALL) };
            if result == self.pid {
                return Some(self.decode(status));
            }
            let error = std::io::Error::last_os_error();
            assert_eq!(error.raw_os_error(), Some(libc::EINTR), "waitpid: {error}");
            if Instant::now() >= deadline {
                return None;
            }
        }
    }

    /// The next event, if there is one already.
    pub fn look(&mut self) -> Option<Event> {
        let mut status = 0;
        let flags = libc::WUNTRACED | libc::__WALL | libc::WNOHANG;
        // SAFETY: our own child; a valid place for the status.
        let result = unsafe { libc::waitpid(self.pid, &raw mut status, flags) };
        assert!(result >= 0, "waitpid: {}", std::io::Error::last_os_error());
        (result == self.pid).then(|| self.decode(status))
    }

    /// Whether it sleeps in the kernel, to be woken by a signal at the latest.
    pub fn is_asleep(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
    }

    fn decode(&mut self, status: i32) -> Event {
        if libc::WIFSTOPPED(status) {
            return Event::Stopped(libc::WSTOPSIG(status));
        }
        self.reaped = true;
        if libc::WIFSIGNALED(status) {
            Event::Killed(libc::WTERMSIG(status))
        } else {
            Event::Exited(libc::WEXITSTATUS(status))
        }
    }

    pub fn signal(&self, signal: i32) {
        assert!(!self.reaped);
        // SAFETY: our own child, not yet reaped, so the pid is its own.
        unsafe { libc::kill(self.pid, signal) };
    }

    /// Kills it and waits until it is gone for good.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        while !self.reaped {
            self.signal(libc::SIGKILL);
            let mut status = 0;
            // SAFETY: as in `wait`. Nothing outlives SIGKILL, so this wait ends.
            let result = unsafe { libc::waitpid(self.pid, &raw mut status, libc::__WALL) };
            if result == self.pid {
                self.decode(status);
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

/// While one lives, a signal every few milliseconds interrupts the lab's waits, so that their
/// deadlines are looked at. (It repeats: one that comes just before a wait is made good.)
pub struct Ticker(());

impl Ticker {
    pub fn start() -> Self {
        extern "C" fn nothing(_: i32) {}
        // SAFETY: an all-zero sigaction is valid; without SA_RESTART waits end with EINTR.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
        // SAFETY: a handler that does nothing is async-signal-safe.
        unsafe { libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()) };
        Self::set(Duration::from_millis(20));
        Self(())
    }

    fn set(interval: Duration) {
        let interval =
            libc::timeval { tv_sec: 0, tv_usec: interval.subsec_micros() as libc::suseconds_t };
        let timer = libc::itimerval { it_interval: interval, it_value: interval };
        // SAFETY: a valid timer; the old one is not asked for.
        unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        Self::set(Duration::ZERO);
    }
}

/// Runs `body` in a child of its own and brings its answer home; a child that takes longer than
/// `limit`, or dies, is a failure with a name. `who` says which part it plays.
pub fn in_child(
    page: &Page,
    who: &str,
    limit: Duration,
    body: impl FnOnce() -> Result<u64, Failure>,
) -> Result<u64, Failure> {
    page.reset();
    let ticker = Ticker::start();
    let mut child = Child::fork(|| {
        match catch_unwind(AssertUnwindSafe(body)) {
            Ok(Ok(answer)) => page.answer(answer),
            Ok(Err(failure)) => page.fail(&failure),
            Err(panic) => {
                page.fail(&Failure::new(Check::Died, format!("{who} panicked: {}", said(&*panic))));
            }
        }
        0
    });
    let event = child.wait(Instant::now() + limit);
    drop(ticker);
    match event {
        Some(Event::Exited(0)) => page.result(),
        Some(event) => Err(Failure::new(Check::Died, format!("{who} {event}"))),
        None => Err(Failure::new(Check::Hang, format!("{who} was not done after {limit:?}"))),
    }
}

/// The text of a panic.
pub fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("?")
}
