//! Pools.

use crate::error::{Error, ErrorKind, Result};
use crate::ffi::pool_options::{mpshm_pool_options_t, with_options};
use crate::ffi::{
    MPSHM_FOREVER, call, check_out, check_size, deadline, free, given, hand_out, invalid, put,
};
use crate::os::clock::Deadline;
use crate::pool::Pool;
use std::ffi::c_int;
use std::time::Duration;

/// A pool of worker processes, of the process that made it.
pub struct mpshm_pool_t(pub(super) Pool);

/// Makes a pool of `workers` processes, 1 to 1000, and a fork server that is their parent, replaces those that die
/// and ends with all of them when the calling process ends. Server and workers keep what memory and descriptors this
/// process has now. `options` may be NULL. Errors: EINVAL, ENOSPACE, ELIMIT.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_pool_create(
    workers: u32,
    options: *const mpshm_pool_options_t,
    pool: *mut *mut mpshm_pool_t,
) -> c_int {
    call(|| {
        check_out(pool, "pool")?;
        let builder = Pool::builder().workers(workers as usize);
        // SAFETY: the caller's pointers; it vouches for its initializer.
        unsafe { hand_out(pool, mpshm_pool_t(with_options(builder, options)?.build()?)) };
        Ok(())
    })
}

/// Takes no more tasks; those that were handed over go on. Errors: EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_pool_close_tasks(pool: *const mpshm_pool_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { given(pool, "pool") }?.0.close()
    })
}

fn join(pool: &Pool, deadline: Deadline) -> Result<()> {
    if pool.join_timeout(deadline)? {
        return Ok(());
    }
    Err(Error::new(ErrorKind::TimedOut, "the pool's tasks have not all ended"))
}

/// Waits at most `timeout_ns` until all tasks of a pool that takes no more have ended, and ends the workers.
/// Errors: EINVAL (it takes tasks), ETIMEDOUT, EINTERRUPTED, EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_pool_join(pool: *const mpshm_pool_t, timeout_ns: i64) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        join(&unsafe { given(pool, "pool") }?.0, deadline(timeout_ns)?)
    })
}

/// Takes no more tasks, waits at most `timeout_ns` until all have ended, and ends the workers:
/// mpshm_pool_close_tasks() and mpshm_pool_join(). Errors: ETIMEDOUT, EINTERRUPTED, EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_pool_finish(pool: *const mpshm_pool_t, timeout_ns: i64) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let pool = &unsafe { given(pool, "pool") }?.0;
        let deadline = deadline(timeout_ns)?;
        pool.close()?;
        join(pool, deadline)
    })
}

/// Ends the workers now: SIGTERM, half a second later SIGKILL. Tasks that have not ended say ECANCELLED.
/// Errors: EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_pool_terminate(pool: *const mpshm_pool_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { given(pool, "pool") }?.0.terminate()
    })
}

/// mpshm_pool_terminate() with another time between SIGTERM and SIGKILL; MPSHM_FOREVER: no SIGKILL.
/// Errors: EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_pool_terminate_after(
    pool: *const mpshm_pool_t,
    grace_ns: i64,
) -> c_int {
    call(|| {
        let grace = match grace_ns {
            MPSHM_FOREVER => Duration::MAX,
            0.. => Duration::from_nanos(grace_ns as u64),
            other => return Err(invalid(format!("a grace of {other} ns"))),
        };
        // SAFETY: the caller's pointer.
        unsafe { given(pool, "pool") }?.0.terminate_after(grace)
    })
}

/// How many workers the pool keeps.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_pool_workers(pool: *const mpshm_pool_t, workers: *mut u64) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(workers, given(pool, "pool")?.0.workers() as u64, "workers") }
    })
}

/// Changes how many workers the pool keeps, from 1 to the options' workers_max. New ones are forked at once; those that
/// are too many end when they have no task in hand. Errors: EINVAL, ECLOSED, EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_pool_resize(pool: *const mpshm_pool_t, workers: u32) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { given(pool, "pool") }?.0.resize(workers as usize)
    })
}

/// How many workers have been forked in place of others. Errors: EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_pool_restarts(
    pool: *const mpshm_pool_t,
    restarts: *mut u64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(restarts, given(pool, "pool")?.0.restarts()?, "restarts") }
    })
}

/// The process ids of the workers as of now: at most `room` go to `pids`, and how many they are to `*count`. `pids` may
/// be NULL when `room` is 0. Errors: EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_pool_worker_pids(
    pool: *const mpshm_pool_t,
    pids: *mut i32,
    room: usize,
    count: *mut usize,
) -> c_int {
    call(|| {
        check_list(pids, room, "pids")?;
        check_out(count, "count")?;
        // SAFETY: the caller's pointer.
        let workers = unsafe { given(pool, "pool") }?.0.worker_pids()?;
        for (place, &pid) in workers.iter().take(room).enumerate() {
            // SAFETY: room for so many, as the caller says.
            unsafe { pids.add(place).write_unaligned(pid as i32) };
        }
        // SAFETY: the caller's pointer.
        unsafe { put(count, workers.len(), "count") }
    })
}

/// The process id of the fork server, the parent of all workers. Errors: ENOTFOUND once the pool has ended; EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_pool_server_pid(pool: *const mpshm_pool_t, pid: *mut i32) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe {
            let server = given(pool, "pool")?.0.server_pid()?;
            let none = || Error::new(ErrorKind::NotFound, "the pool has ended, and its server");
            put(pid, server.ok_or_else(none)? as i32, "pid")
        }
    })
}

/// What one worker has done so far. Set by mpshm_pool_stats().
#[derive(Clone, Copy)]
#[repr(C)]
pub struct mpshm_worker_stats_t {
    /// Bytes of this struct: set by the caller in the first of several; EINVAL when that is another number.
    pub struct_size: usize,
    /// Its process id.
    pub pid: i32,
    /// Whether its initializer is done.
    pub is_ready: bool,
    /// Whether it runs a task at the moment.
    pub is_busy: bool,
    /// 0.
    pub reserved: u16,
    /// Tasks, or chunks of maps, that it has run, those that failed included.
    pub tasks: u64,
    /// How long it has spent in tasks, the present one included, in nanoseconds.
    pub busy_ns: u64,
    /// How long it has waited for tasks, or for room for results, since it was ready, in nanoseconds.
    pub idle_ns: u64,
}

/// What each living worker has done, read from shared words: no worker is disturbed. At most `room` go to `stats`, and how
/// many workers there are to `*count`. `stats` may be NULL when `room` is 0. Errors: EINVAL, EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_pool_stats(
    pool: *const mpshm_pool_t,
    stats: *mut mpshm_worker_stats_t,
    room: usize,
    count: *mut usize,
) -> c_int {
    call(|| {
        check_list(stats, room, "stats")?;
        check_out(count, "count")?;
        if room > 0 {
            // SAFETY: the caller's pointer.
            check_size::<mpshm_worker_stats_t>(unsafe { stats.read_unaligned() }.struct_size)?;
        }
        // SAFETY: the caller's pointer.
        let workers = unsafe { given(pool, "pool") }?.0.stats()?;
        for (place, worker) in workers.iter().take(room).enumerate() {
            let entry = mpshm_worker_stats_t {
                struct_size: size_of::<mpshm_worker_stats_t>(),
                pid: worker.pid as i32,
                is_ready: worker.is_ready,
                is_busy: worker.is_busy,
                reserved: 0,
                tasks: worker.tasks,
                busy_ns: worker.busy.as_nanos() as u64,
                idle_ns: worker.idle.as_nanos() as u64,
            };
            // SAFETY: room for so many, as the caller says.
            unsafe { stats.add(place).write_unaligned(entry) };
        }
        // SAFETY: the caller's pointer.
        unsafe { put(count, workers.len(), "count") }
    })
}

fn check_list<T>(list: *mut T, room: usize, what: &str) -> Result<()> {
    if list.is_null() && room > 0 {
        return Err(invalid(format!("{what} is NULL, with room for {room}")));
    }
    Ok(())
}

/// Terminates the pool and closes the handle; NULL is a no-op. In a forked child the pool goes on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_pool_close(pool: *mut mpshm_pool_t) {
    // SAFETY: the caller's handle.
    unsafe { free(pool) }
}
