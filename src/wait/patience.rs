//! Waiting of handles that several threads use at once: how long to spin is each thread's own experience.

use crate::os::clock::Deadline;
use crate::wait::eventcount::{self, EventCount, GaveUp, Look, Spin, wait_for};

thread_local! {
    // Needs no destructor and no allocation: a signal handler may wait.
    static SPIN: Spin = const { Spin::new() };
}

/// Tries `attempt`; what it does not find is [waited for](wait_for) until `deadline`. A deadline that has passed is one
/// look, without a pause.
pub(crate) fn look_or_wait<T>(
    event: &EventCount,
    deadline: Deadline,
    mut attempt: impl FnMut(Look) -> Option<T>,
) -> Result<T, GaveUp> {
    if let Some(done) = attempt(Look::Items) {
        return Ok(done);
    }
    if deadline.has_passed() {
        return attempt(Look::Deaths).ok_or(GaveUp::TimedOut);
    }
    SPIN.with(|spin| wait_for(event, deadline, spin, attempt))
}

/// Looks again and again for a moment, by this thread's experience, before a sleep of another kind.
pub(crate) fn linger<T>(attempt: impl FnMut() -> Option<T>) -> Option<T> {
    SPIN.with(|spin| eventcount::linger(spin, attempt))
}
