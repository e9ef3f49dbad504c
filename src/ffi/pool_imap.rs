//! Streams of results: arguments are asked for as results are taken.

use crate::error::{Error, ErrorKind, Result};
use crate::ffi::pool::mpshm_pool_t;
use crate::ffi::pool_task::{mpshm_output_t, mpshm_task_fn, mpshm_task_t, run_task};
use crate::ffi::{
    call, check_flags, check_out, check_size, deadline, free, given, given_mut, invalid, put,
};
use crate::pool::feed::Feed;
use std::ffi::{c_int, c_void};

/// A stream of a pool's results.
pub struct mpshm_imap_t {
    feed: Feed,
    source: Source,
    context: *mut c_void,
}

type Source = unsafe extern "C" fn(*mut c_void, *mut mpshm_output_t) -> c_int;

/// What a source returns that has no more arguments.
pub const MPSHM_IMAP_END: c_int = 1;

/// Tasks come as they end, not in the order of their arguments.
pub const MPSHM_IMAP_UNORDERED: u64 = 1;

/// How a stream is made. Set by mpshm_imap_options_init(), then changed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct mpshm_imap_options_t {
    /// Bytes of this struct, as mpshm_imap_options_init() sets it.
    pub struct_size: usize,
    /// MPSHM_IMAP_… bits; 0 by default.
    pub flags: u64,
    /// How many tasks may be in flight beyond one for each worker; UINT64_MAX, the default: 16 for each worker.
    pub buffer: u64,
}

/// Gives the next argument: writes it with mpshm_output_write() and returns 0. MPSHM_IMAP_END: there are no more; anything else is
/// an error, whose message mpshm_output_fail() sets. It runs in the pool's own process, in the thread that calls
/// mpshm_imap_next() and inside that call, and may use the pool, but not the stream.
pub type mpshm_source_fn =
    Option<unsafe extern "C" fn(context: *mut c_void, argument: *mut mpshm_output_t) -> c_int>;

/// Sets the defaults.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_imap_options_init(options: *mut mpshm_imap_options_t) -> c_int {
    call(|| {
        let struct_size = size_of::<mpshm_imap_options_t>();
        let defaults = mpshm_imap_options_t { struct_size, flags: 0, buffer: u64::MAX };
        // SAFETY: the caller's pointer.
        unsafe { put(options, defaults, "options") }
    })
}

/// Makes a stream of tasks that run `function`, each on an argument of `source`, which is asked for it only inside
/// mpshm_imap_next(): it may be endless, for so many are in flight at most as the options say. `options` may be NULL. The
/// pool may be closed before the stream. Errors: EINVAL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_pool_imap(
    pool: *const mpshm_pool_t,
    function: mpshm_task_fn,
    source: mpshm_source_fn,
    context: *mut c_void,
    options: *const mpshm_imap_options_t,
    imap: *mut *mut mpshm_imap_t,
) -> c_int {
    call(|| {
        check_out(imap, "imap")?;
        let function = function.ok_or_else(|| invalid("the function is NULL"))?;
        let source = source.ok_or_else(|| invalid("the source is NULL"))?;
        // SAFETY: the caller's pointers, here and below.
        let pool = &unsafe { given(pool, "pool") }?.0;
        let (mut ordered, mut buffer) = (true, None);
        // SAFETY: as above.
        if let Some(options) = unsafe { options.as_ref() } {
            check_size::<mpshm_imap_options_t>(options.struct_size)?;
            check_flags(options.flags, MPSHM_IMAP_UNORDERED)?;
            ordered = options.flags & MPSHM_IMAP_UNORDERED == 0;
            buffer = Some(options.buffer).filter(|&buffer| buffer != u64::MAX);
        }
        let buffer = buffer.map(|tasks| usize::try_from(tasks).unwrap_or(usize::MAX));
        let feed = Feed::new(pool, run_task, function as usize as u64, ordered, buffer);
        // SAFETY: checked above.
        unsafe { super::hand_out(imap, mpshm_imap_t { feed, source, context }) };
        Ok(())
    })
}

/// Waits for the next task to end, at most `timeout_ns`, and hands it out: mpshm_task_get() has its result, or its error, without
/// waiting. `*task` is NULL at the end of the stream. What is wrong with the source (ETASKFAILED), with an argument
/// (ETOOBIG) or with the pool comes after the tasks that were in flight, once, and then the end.
/// Errors: ETIMEDOUT (it can be asked for again), ETASKFAILED, ETOOBIG, ECLOSED, EBROKEN, EINTERRUPTED, EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_imap_next(
    imap: *mut mpshm_imap_t,
    timeout_ns: i64,
    task: *mut *mut mpshm_task_t,
) -> c_int {
    call(|| {
        check_out(task, "task")?;
        let deadline = deadline(timeout_ns)?;
        // SAFETY: the caller's handle.
        let imap = unsafe { given_mut(imap, "imap") }?;
        let (source, context) = (imap.source, imap.context);
        // SAFETY: the caller vouched for both when the stream was made.
        let next = imap.feed.next(deadline, || unsafe { draw(source, context) })?;
        let next =
            next.map_or(std::ptr::null_mut(), |task| Box::into_raw(Box::new(mpshm_task_t(task))));
        // SAFETY: the caller's pointer.
        unsafe { put(task, next, "task") }
    })
}

/// # Safety
/// `source` may be called with `context`.
unsafe fn draw(source: Source, context: *mut c_void) -> Result<Option<Vec<u8>>> {
    let mut argument = mpshm_output_t::default();
    // SAFETY: the caller's word.
    match unsafe { source(context, &raw mut argument) } {
        0 => Ok(Some(argument.bytes)),
        MPSHM_IMAP_END => Ok(None),
        code => {
            let why = argument.why("the source of arguments", code);
            Err(Error::new(ErrorKind::TaskFailed, why))
        }
    }
}

/// Closes the handle; NULL is a no-op. Tasks in flight go on, their results are forgotten; those handed out stay.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_imap_close(imap: *mut mpshm_imap_t) {
    // SAFETY: the caller's handle.
    unsafe { free(imap) }
}
