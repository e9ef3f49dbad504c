//! The calls that are made on a damaged object: each one timed, each error looked at.

use crate::board::{Board, Fault};
use crate::probe::Random;
use mpshm::{AcquireError, Error, ErrorKind, LockError, PopError, PushError};
use std::time::Duration;

/// Errors of every call.
pub trait Says {
    fn kind(&self) -> ErrorKind;
}

macro_rules! says {
    ($($error:ty $(, $value:ident)?);*) => {$(
        impl$(<$value>)? Says for $error {
            fn kind(&self) -> ErrorKind {
                self.kind()
            }
        }
    )*};
}
says!(Error; AcquireError; PopError; PushError<V>, V; LockError<G>, G);

impl Says for ErrorKind {
    fn kind(&self) -> ErrorKind {
        *self
    }
}

/// What says that the bytes are wrong; a sound object, in whatever state, says none of these.
const REFUSALS: [ErrorKind; 9] = [
    ErrorKind::NotFound,
    ErrorKind::Exists,
    ErrorKind::Permission,
    ErrorKind::Limit,
    ErrorKind::System,
    ErrorKind::Version,
    ErrorKind::Type,
    ErrorKind::Corrupt,
    ErrorKind::NotRecoverable,
];

fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What calls may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How much later than its deadline one may come back.
    pub late: Duration,
    /// What it may use of the processor in a storm.
    pub busy: Duration,
}

/// Makes calls in a child.
pub struct Calls<'a> {
    board: &'a Board,
    pub random: Random,
    bounds: Bounds,
    /// Whether somebody goes on writing while the calls are made.
    pub in_a_storm: bool,
    /// The first refusal.
    refused: Option<(&'static str, ErrorKind)>,
}

impl<'a> Calls<'a> {
    pub fn new(board: &'a Board, random: Random, bounds: Bounds) -> Self {
        Self { board, random, bounds, in_a_storm: false, refused: None }
    }

    /// Which call said first that the bytes are wrong.
    pub fn refused(&self) -> Option<(&'static str, ErrorKind)> {
        self.refused
    }

    /// Makes a call, and fails when it comes back too late. In a storm it fails, too, when it has used much of the
    /// processor: it was then kept by those who write, and would be for as long as they do, but that they are
    /// interrupted now and then.
    fn made<T>(&self, name: &'static str, wait: Duration, call: impl FnOnce() -> T) -> T {
        self.board.calls(name);
        let before = if self.in_a_storm { cpu_time() } else { Duration::ZERO };
        let result = call();
        let took = self.board.took();
        if took > wait + self.bounds.late {
            let text = format!("{name} with {wait:?} to wait came back after {took:?}");
            self.board.fail(Fault::Hang, &text);
        }
        if self.in_a_storm {
            let used = cpu_time() - before;
            if used > self.bounds.busy {
                let text = format!("{name} used {used:?} of the processor while others wrote");
                self.board.fail(Fault::Hang, &text);
            }
        }
        result
    }

    fn say<T, E: Says>(&mut self, name: &'static str, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.refuse(name, error.kind());
                None
            }
        }
    }

    fn refuse(&mut self, name: &'static str, kind: ErrorKind) {
        if REFUSALS.contains(&kind) && self.refused.is_none() {
            self.refused = Some((name, kind));
        }
    }

    /// A call that does not wait, and cannot fail.
    pub fn info<T>(&mut self, name: &'static str, call: impl FnOnce() -> T) -> T {
        self.made(name, Duration::ZERO, call)
    }

    /// A call that does not wait.
    pub fn call<T, E: Says>(
        &mut self,
        name: &'static str,
        call: impl FnOnce() -> Result<T, E>,
    ) -> Option<T> {
        let result = self.info(name, call);
        self.say(name, result)
    }

    /// A call that waits until a deadline: a millisecond or two away, seldom so far that the waiter looks for the dead.
    pub fn timed<T, E: Says>(
        &mut self,
        name: &'static str,
        call: impl FnOnce(Duration) -> Result<T, E>,
    ) -> Option<T> {
        let wait = match self.random.below(2000) {
            0 => Duration::from_millis(100),
            1..20 => Duration::from_millis(5),
            _ if self.in_a_storm => Duration::from_micros(100 + self.random.below(200)),
            _ => Duration::from_micros(1000 + self.random.below(1000)),
        };
        let result = self.made(name, wait, || call(wait));
        self.say(name, result)
    }

    /// The same through C, which gives numbers for errors and takes nanoseconds.
    pub fn code(&mut self, name: &'static str, call: impl FnOnce() -> i32) -> bool {
        self.call(name, || kind_of(call())).is_some()
    }

    /// As [`code`](Self::code), with a deadline.
    pub fn timed_code(&mut self, name: &'static str, call: impl FnOnce(i64) -> i32) -> bool {
        self.timed(name, |wait| kind_of(call(wait.as_nanos() as i64))).is_some()
    }

    /// The numbers from 0 to below `count`, each once, in any order.
    pub fn shuffled(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, self.random.below(last as u64 + 1) as usize);
        }
        order
    }
}

/// What a number of C's says; all that is no refusal is one to us.
pub fn kind_of(code: i32) -> Result<(), ErrorKind> {
    assert_ne!(code, -(ErrorKind::Panic as i32), "a panic was stopped at the C boundary");
    if code == 0 {
        return Ok(());
    }
    let refusal = REFUSALS.into_iter().find(|&kind| -(kind as i32) == code);
    Err(refusal.unwrap_or(ErrorKind::Empty))
}
