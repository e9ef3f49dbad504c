//! The monotonic clock, and deadlines on it.

use std::time::{Duration, Instant};

/// Nanoseconds on `CLOCK_MONOTONIC`. No system call (vDSO).
pub(crate) fn now() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// The same clock at tick resolution (1 to 10 ms), several times cheaper to read.
pub(crate) fn now_coarse() -> u64 {
    read(libc::CLOCK_MONOTONIC_COARSE)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result; both clocks exist on every supported kernel.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// When a blocking call gives up: never, or at a moment of the monotonic clock.
///
/// Made from a [`Duration`] (relative to now) or an [`Instant`]; a duration that reaches past the
/// clock's end (centuries) means for ever.
///
/// ```
/// use mpshm::Deadline;
/// use std::time::Duration;
/// let soon: Deadline = Duration::from_millis(5).into();
/// assert!(!soon.has_passed());
/// assert!(!Deadline::from(Duration::MAX).has_passed());
/// assert!(Deadline::from(Duration::ZERO).has_passed());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(u64);

impl Deadline {
    /// Waits for ever.
    pub const FOREVER: Self = Self(u64::MAX);

    /// The moment that lies `after` from now.
    #[must_use]
    pub fn after(after: Duration) -> Self {
        let nanoseconds = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        Self(now().saturating_add(nanoseconds))
    }

    /// Whether the moment has passed.
    #[must_use]
    pub fn has_passed(self) -> bool {
        self != Self::FOREVER && now() >= self.0
    }

    /// Nanoseconds of the monotonic clock; `u64::MAX` is for ever.
    pub(crate) fn as_nanoseconds(self) -> u64 {
        self.0
    }

    /// The earlier of two.
    pub(crate) fn earlier(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }

    /// The earlier of this deadline and `slice` nanoseconds from now.
    pub(crate) fn at_most(self, slice: u64) -> Self {
        Self(self.0.min(now().saturating_add(slice)))
    }
}

impl From<Duration> for Deadline {
    fn from(after: Duration) -> Self {
        Self::after(after)
    }
}

impl From<Instant> for Deadline {
    fn from(moment: Instant) -> Self {
        Self::after(moment.saturating_duration_since(Instant::now()))
    }
}
