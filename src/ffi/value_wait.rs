//! Waiting for a value.

use crate::error::{Error, ErrorKind, Result};
use crate::ffi::value::{Any, argument, before, each, mpshm_value_t};
use crate::ffi::{call, deadline, given, invalid};
use std::cmp::Ordering;
use std::ffi::{c_int, c_void};

/// The value is the operand.
pub const MPSHM_WAIT_EQUAL: u32 = 1;
/// It is not.
pub const MPSHM_WAIT_NOT_EQUAL: u32 = 2;
/// It is less.
pub const MPSHM_WAIT_LESS: u32 = 3;
/// It is less, or the same.
pub const MPSHM_WAIT_AT_MOST: u32 = 4;
/// It is greater.
pub const MPSHM_WAIT_GREATER: u32 = 5;
/// It is greater, or the same.
pub const MPSHM_WAIT_AT_LEAST: u32 = 6;

/// What a condition makes of a comparison.
pub(super) fn holds(condition: u32) -> Result<fn(Option<Ordering>) -> bool> {
    Ok(match condition {
        MPSHM_WAIT_EQUAL => |order| order == Some(Ordering::Equal),
        MPSHM_WAIT_NOT_EQUAL => |order| order != Some(Ordering::Equal),
        MPSHM_WAIT_LESS => |order| order == Some(Ordering::Less),
        MPSHM_WAIT_AT_MOST => |order| matches!(order, Some(Ordering::Less | Ordering::Equal)),
        MPSHM_WAIT_GREATER => |order| order == Some(Ordering::Greater),
        MPSHM_WAIT_AT_LEAST => |order| matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        other => return Err(invalid(format!("there is no condition {other} to wait for"))),
    })
}

/// Waits until a waitable value compares to `*operand` as `condition` says (one of MPSHM_WAIT_); the value that did goes to
/// `*out`, unless that is NULL. What the value is for a moment only, between two changes, may be missed. EINVAL when it was
/// not made by mpshm_value_create_waitable(); ETIMEDOUT, also for a time-out of 0, which is a look; EINTERRUPTED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_value_wait(
    value: *const mpshm_value_t,
    condition: u32,
    operand: *const c_void,
    timeout_ns: i64,
    out: *mut c_void,
) -> c_int {
    call(|| {
        let holds = holds(condition)?;
        // SAFETY: the caller's pointers.
        unsafe {
            each!(&given(value, "value")?.0, value => {
                let operand = argument(operand, "operand")?;
                let reached = value.wait_until_timeout(deadline(timeout_ns)?, |value| {
                    holds(value.partial_cmp(&operand))
                })?;
                let late = || Error::new(ErrorKind::TimedOut, "the value was not reached before the deadline");
                before(out, reached.ok_or_else(late)?);
            });
        }
        Ok(())
    })
}
