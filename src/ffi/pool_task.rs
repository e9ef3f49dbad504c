//! Tasks of pools.

use crate::error::{Error, ErrorKind, Result};
use crate::ffi::pool::mpshm_pool_t;
use crate::ffi::process::{MPSHM_STATUS_UNKNOWN, put_text};
use crate::ffi::{
    bytes, call, check_out, check_size, deadline, free, given, given_mut, hand_out, invalid, name,
    put,
};
use crate::pool::worker::{Argument, Output};
use crate::pool::{Task, TaskError, decode_bytes};
use std::ffi::{c_char, c_int, c_void};
use std::time::Duration;

/// A task that was handed to a pool.
pub struct mpshm_task_t(pub(super) Task<Vec<u8>>);

/// Where a function of the program's puts bytes: a task its result, a source the next argument.
#[derive(Default)]
pub struct mpshm_output_t {
    pub(super) bytes: Vec<u8>,
    pub(super) message: Option<String>,
}

/// A task: reads `length` bytes at `input`, puts its result out with mpshm_output_write(), returns 0;
/// anything else is an error, whose message mpshm_output_fail() sets. It runs in a worker, forked when the pool was made: it
/// must have been in the program's memory by then, and what it changes is the worker's own, but for shared memory.
pub type mpshm_task_fn = Option<
    unsafe extern "C" fn(input: *const c_void, length: usize, output: *mut mpshm_output_t) -> c_int,
>;

/// Why a task has no result. Set by mpshm_task_error().
#[derive(Clone, Copy)]
#[repr(C)]
pub struct mpshm_task_error_t {
    /// Bytes of this struct, set by the caller; EINVAL when that is another number.
    pub struct_size: usize,
    /// ETASKFAILED, EWORKERDIED, ETIMELIMIT, ECANCELLED, EBROKEN; 0 for a task that has a result.
    pub code: c_int,
    /// ETASKFAILED, EWORKERDIED, ETIMELIMIT: the worker's process id; else 0.
    pub pid: i32,
    /// EWORKERDIED: its exit code, −N when signal N killed it, or MPSHM_STATUS_UNKNOWN; else 0.
    pub status: c_int,
    /// EWORKERDIED: how many workers have died in this task; else 0.
    pub attempts: u32,
}

/// # Safety
/// `target` is the address of an `mpshm_task_fn`'s function.
pub(super) unsafe fn run_task(target: u64, argument: Argument, output: &mut Output<'_>) {
    type Function = unsafe extern "C" fn(*const c_void, usize, *mut mpshm_output_t) -> c_int;
    // SAFETY: the owner, a process with this very code, wrote the function's address there.
    let function: Function = unsafe { std::mem::transmute(target as usize) };
    let mut result = mpshm_output_t::default();
    // SAFETY: the argument is there for the call.
    match unsafe { function(argument.start.cast(), argument.length, &raw mut result) } {
        0 => output.bytes(&result.bytes),
        code => output.fail(&result.why("the task's function", code)),
    }
}

impl mpshm_output_t {
    /// What is said of a function that returned something else than 0.
    pub(super) fn why(&self, what: &str, code: c_int) -> String {
        self.message.clone().unwrap_or_else(|| format!("{what} returned {code}"))
    }
}

/// Hands a task with a copy of `length` bytes at `input` to the workers, and does not wait.
/// Errors: ETOOBIG (more than message_max), ECLOSED, EBROKEN, EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_pool_submit(
    pool: *const mpshm_pool_t,
    function: mpshm_task_fn,
    input: *const c_void,
    length: usize,
    task: *mut *mut mpshm_task_t,
) -> c_int {
    call(|| {
        check_out(task, "task")?;
        let function = function.ok_or_else(|| invalid("the function is NULL"))?;
        // SAFETY: the caller's pointers.
        unsafe {
            let pool = &given(pool, "pool")?.0;
            let argument = bytes(input, length)?;
            let target = function as usize as u64;
            let submitted = pool.submit_run(run_task, target, argument, decode_bytes)?;
            hand_out(task, mpshm_task_t(submitted));
        }
        Ok(())
    })
}

/// Appends `length` bytes to the result, or the argument. To be called by the function that was given the output, in that call.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_output_write(
    output: *mut mpshm_output_t,
    data: *const c_void,
    length: usize,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            let bytes = bytes(data, length)?;
            given_mut(output, "output")?.bytes.extend_from_slice(bytes);
        }
        Ok(())
    })
}

/// Sets the message of the error that the function is going to return, of any length; without it the message has the number that it
/// returns. To be called as mpshm_output_write().
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_output_fail(
    output: *mut mpshm_output_t,
    message: *const c_char,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            let message = name(message)?.to_owned();
            given_mut(output, "output")?.message = Some(message);
        }
        Ok(())
    })
}

/// Waits for the task's result, at most `timeout_ns`, and copies it to `buffer` of `size` bytes; `*length`,
/// unless that is NULL, gets the length that it has. Again and again.
/// Errors: ETASKFAILED, EWORKERDIED, ECANCELLED, ETIMEDOUT, ETOOBIG (`*length` says what it needs),
/// ETIMELIMIT, EBROKEN, EINTERRUPTED, EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_task_get(
    task: *const mpshm_task_t,
    buffer: *mut c_void,
    size: usize,
    timeout_ns: i64,
    length: *mut usize,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let task = &unsafe { given(task, "task") }?.0;
        if buffer.is_null() && size != 0 {
            return Err(invalid(format!("a buffer of {size} bytes at NULL")));
        }
        let result = task.get_timeout(deadline(timeout_ns)?)?;
        if !length.is_null() {
            // SAFETY: the caller's pointer.
            unsafe { length.write_unaligned(result.len()) };
        }
        if result.len() > size {
            let text = format!("the result has {} bytes, the buffer {size}", result.len());
            return Err(Error::new(ErrorKind::TooBig, text));
        }
        if !result.is_empty() {
            // SAFETY: the buffer has no fewer bytes.
            unsafe { buffer.cast::<u8>().copy_from_nonoverlapping(result.as_ptr(), result.len()) };
        }
        Ok(())
    })
}

/// Waits until the task has ended, with a result or without, at most `timeout_ns`.
/// Errors: ETIMEDOUT, EINTERRUPTED, EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_task_wait(task: *const mpshm_task_t, timeout_ns: i64) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        if unsafe { given(task, "task") }?.0.wait(deadline(timeout_ns)?)? {
            return Ok(());
        }
        Err(TaskError::TimedOut.into())
    })
}

/// Whether the task has ended, with a result or without. Never waits, but moves the pool on: tasks that the queue to
/// the workers had no room for, results that have come. Errors: EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_task_is_done(
    task: *const mpshm_task_t,
    is_done: *mut bool,
) -> c_int {
    call(|| {
        check_out(is_done, "is_done")?;
        // SAFETY: the caller's pointers.
        unsafe { put(is_done, given(task, "task")?.0.wait(Duration::ZERO)?, "is_done") }
    })
}

/// Ends the task as ECANCELLED if no worker has begun it; `*cancelled`, unless that is NULL, gets whether that was so.
/// Errors: EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_task_cancel(
    task: *const mpshm_task_t,
    cancelled: *mut bool,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let was_so = unsafe { given(task, "task") }?.0.cancel()?;
        if cancelled.is_null() {
            return Ok(());
        }
        // SAFETY: the caller's pointer.
        unsafe { put(cancelled, was_so, "cancelled") }
    })
}

/// Why a task that has ended has no result; nothing for one that has.
///
/// # Safety
/// NULL, or a task.
unsafe fn outcome(task: *const mpshm_task_t) -> Result<Option<TaskError>> {
    // SAFETY: the caller's word.
    let task = &unsafe { given(task, "task") }?.0;
    if !task.wait(Duration::ZERO)? {
        return Err(TaskError::TimedOut.into());
    }
    Ok(task.get_timeout(Duration::ZERO).err())
}

/// Sets `*error`, whose struct_size the caller has set, to what came of a task that has ended. Never waits.
/// Errors: ETIMEDOUT (it has not ended), EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_task_error(
    task: *const mpshm_task_t,
    error: *mut mpshm_task_error_t,
) -> c_int {
    call(|| {
        check_out(error, "error")?;
        // SAFETY: the caller's pointers, here and below.
        check_size::<mpshm_task_error_t>(unsafe { error.read_unaligned() }.struct_size)?;
        // SAFETY: as above.
        let came = unsafe { outcome(task) }?;
        let code = came.as_ref().map_or(0, |error| -(error.kind() as c_int));
        let (pid, status, attempts) = match came {
            Some(TaskError::Failed { pid, .. } | TaskError::TimeLimit { pid }) => (pid, 0, 0),
            Some(TaskError::WorkerDied { pid, status, attempts }) => {
                (pid, status.code().unwrap_or(MPSHM_STATUS_UNKNOWN), attempts)
            }
            _ => (0, 0, 0),
        };
        let struct_size = size_of::<mpshm_task_error_t>();
        let details = mpshm_task_error_t { struct_size, code, pid: pid as i32, status, attempts };
        // SAFETY: as above.
        unsafe { put(error, details, "error") }
    })
}

/// Copies what is to be said of a task that has ended without a result, as mpshm_process_name() copies: of one that failed, its
/// own message. Of one that has a result, nothing. Errors: ETIMEDOUT (it has not ended), EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_task_message(
    task: *const mpshm_task_t,
    buffer: *mut c_char,
    size: usize,
    length: *mut usize,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let text = match unsafe { outcome(task) }? {
            Some(TaskError::Failed { message, .. }) => message,
            Some(other) => other.to_string(),
            None => String::new(),
        };
        // SAFETY: the caller's pointers.
        unsafe { put_text(&text, buffer, size, length) }
    })
}

/// Closes the handle; NULL is a no-op. The task goes on, its result is forgotten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_task_close(task: *mut mpshm_task_t) {
    // SAFETY: the caller's handle.
    unsafe { free(task) }
}
