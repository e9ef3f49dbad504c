//! Pools.

use crate::error::{Error, ErrorKind, Result};
use crate::ffi::{
    MPSHM_FOREVER, bytes, call, check_flags, check_out, check_size, deadline, free, given,
    hand_out, invalid, put,
};
use crate::pool::worker::{Argument, Output};
use crate::pool::{Pool, PoolBuilder, Task, TaskError, decode_bytes};
use std::ffi::{c_int, c_void};
use std::time::Duration;

/// A pool of worker processes, of the process that made it.
pub struct mpshm_pool_t(Pool);

/// A task that was handed to a pool.
pub struct mpshm_task_t(Task<Vec<u8>>);

/// Where a task's function puts its result.
pub struct mpshm_output_t(Vec<u8>);

/// How a pool is made. Set by mpshm_pool_options_init(), then changed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct mpshm_pool_options_t {
    /// Bytes of this struct, as mpshm_pool_options_init() sets it.
    pub struct_size: usize,
    /// 0: no flags are known yet.
    pub flags: u64,
    /// Tasks that the queue to the workers holds; 128 by default.
    pub queue: u64,
    /// Bytes of the longest argument, or chunk of a map; 16 KiB by default.
    pub message_max: u64,
    /// Tasks, or chunks of maps, after which a worker ends and another takes its place; 0, the default: never.
    pub max_tasks_per_worker: u64,
    /// How long a task may run before its worker is killed and it says ETIMELIMIT; MPSHM_FOREVER by default.
    pub task_timeout_ns: i64,
    /// Bytes of address space that a worker may have beyond those it begins with; 0, the default: no limit.
    pub memory_limit: u64,
    /// How often a task is run again whose worker died in it; 0 by default.
    pub retries: u32,
    /// How many workers may die within restart_within_ns, or the pool is broken; counts only if that is not 0.
    pub restart_limit: u32,
    /// In nanoseconds; 0, the default: as many as will.
    pub restart_within_ns: u64,
}

/// A task: reads `length` bytes at `input`, puts its result out with mpshm_output_write(), returns 0;
/// anything else is an error. It runs in a worker, forked when the pool was made: it must have
/// been in the program's memory by then.
pub type mpshm_task_fn = Option<
    unsafe extern "C" fn(input: *const c_void, length: usize, output: *mut mpshm_output_t) -> c_int,
>;

/// One step of a map: makes a result out of an item. Returns 0; anything else is an error.
pub type mpshm_map_fn =
    Option<unsafe extern "C" fn(item: *const c_void, result: *mut c_void) -> c_int>;

/// Sets the defaults.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_pool_options_init(options: *mut mpshm_pool_options_t) -> c_int {
    call(|| {
        let defaults = mpshm_pool_options_t {
            struct_size: size_of::<mpshm_pool_options_t>(),
            flags: 0,
            queue: 128,
            message_max: 16 << 10,
            max_tasks_per_worker: 0,
            task_timeout_ns: MPSHM_FOREVER,
            memory_limit: 0,
            retries: 0,
            restart_limit: 0,
            restart_within_ns: 0,
        };
        // SAFETY: the caller's pointer.
        unsafe { put(options, defaults, "options") }
    })
}

/// Makes a pool of `workers` processes, 1 to 1000, and a fork server that is their parent, replaces those that die
/// and ends with all of them when the calling process ends. `options` may be NULL. Errors: EINVAL, ENOSPACE, ELIMIT.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_pool_create(
    workers: u32,
    options: *const mpshm_pool_options_t,
    pool: *mut *mut mpshm_pool_t,
) -> c_int {
    call(|| {
        check_out(pool, "pool")?;
        let mut builder = Pool::builder().workers(workers as usize);
        // SAFETY: the caller's pointer.
        if let Some(options) = unsafe { options.as_ref() } {
            check_size::<mpshm_pool_options_t>(options.struct_size)?;
            check_flags(options.flags, 0)?;
            builder = with_options(builder, options)?;
        }
        // SAFETY: checked above.
        unsafe { hand_out(pool, mpshm_pool_t(builder.build()?)) };
        Ok(())
    })
}

fn with_options(builder: PoolBuilder, options: &mpshm_pool_options_t) -> Result<PoolBuilder> {
    let mut builder = builder.queue(options.queue).message_max(options.message_max);
    builder = builder.retries(options.retries);
    if options.max_tasks_per_worker != 0 {
        builder = builder.max_tasks_per_worker(options.max_tasks_per_worker);
    }
    if options.memory_limit != 0 {
        builder = builder.memory_limit(options.memory_limit);
    }
    if options.restart_within_ns != 0 {
        let within = Duration::from_nanos(options.restart_within_ns);
        builder = builder.restart_limit(options.restart_limit, within);
    }
    match options.task_timeout_ns {
        MPSHM_FOREVER => Ok(builder),
        1.. => Ok(builder.task_timeout(Duration::from_nanos(options.task_timeout_ns as u64))),
        other => Err(invalid(format!(
            "{other} ns for a task: MPSHM_FOREVER (-1) or a positive number is expected"
        ))),
    }
}

/// # Safety
/// `target` is the address of an `mpshm_task_fn`'s function.
unsafe fn run_task(target: u64, argument: Argument, output: &mut Output<'_>) {
    type Function = unsafe extern "C" fn(*const c_void, usize, *mut mpshm_output_t) -> c_int;
    // SAFETY: the owner, a process with this very code, wrote the function's address there.
    let function: Function = unsafe { std::mem::transmute(target as usize) };
    let mut result = mpshm_output_t(Vec::new());
    // SAFETY: the argument is there for the call.
    match unsafe { function(argument.start.cast(), argument.length, &raw mut result) } {
        0 => output.bytes(&result.0),
        code => output.fail(&format!("the task's function returned {code}")),
    }
}

/// The head of a chunk of a C map.
const CHUNK_HEAD: usize = 16;

/// # Safety
/// `target` is the address of an `mpshm_map_fn`'s function; the argument begins with the sizes of an
/// item and of a result.
unsafe fn run_map(target: u64, argument: Argument, output: &mut Output<'_>) {
    type Function = unsafe extern "C" fn(*const c_void, *mut c_void) -> c_int;
    // SAFETY: the owner, a process with this very code, wrote the function's address there.
    let function: Function = unsafe { std::mem::transmute(target as usize) };
    // SAFETY: the head is there.
    let [item, result] =
        unsafe { argument.start.cast::<[u64; 2]>().read() }.map(|size| size as usize);
    let count = (argument.length - CHUNK_HEAD) / item;
    let mut results = vec![0u128; (count * result).div_ceil(16)];
    for index in 0..count {
        // SAFETY: `count` items and room for as many results.
        let code = unsafe {
            function(
                argument.start.add(CHUNK_HEAD + index * item).cast(),
                results.as_mut_ptr().cast::<u8>().add(index * result).cast(),
            )
        };
        if code != 0 {
            return output.fail(&format!("the map's function returned {code}"));
        }
    }
    output.bytes(&bytemuck::cast_slice(&results)[..count * result]);
}

/// Hands a task with a copy of `length` bytes at `input` to the workers, and does not wait.
/// Errors: ETOOBIG (more than message_max), ECLOSED, EFORKED.
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

/// Appends `length` bytes to the result. To be called by a task's function.
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
            super::given_mut(output, "output")?.0.extend_from_slice(bytes);
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

/// Closes the handle; NULL is a no-op. The task goes on, its result is forgotten.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_task_close(task: *mut mpshm_task_t) {
    // SAFETY: the caller's handle.
    unsafe { free(task) }
}

/// Calls `function` for each of `count` items of `item_size` bytes at `items` in the workers, and waits; the
/// results of `result_size` bytes each go to `results`, in order. `chunk` items go to a worker at a time; 0
/// = as many as seems best. On an error the content of `results` is undefined.
/// Errors: ETASKFAILED, EWORKERDIED, ECLOSED, EINVAL, ETOOBIG, EINTERRUPTED, EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_pool_map(
    pool: *const mpshm_pool_t,
    function: mpshm_map_fn,
    items: *const c_void,
    item_size: usize,
    count: usize,
    results: *mut c_void,
    result_size: usize,
    chunk: usize,
) -> c_int {
    call(|| {
        let function = function.ok_or_else(|| invalid("the function is NULL"))?;
        if item_size == 0 || result_size == 0 {
            return Err(invalid("items and results have at least 1 byte"));
        }
        let overflow = || invalid(format!("{count} items overflow the address space"));
        let total = item_size.checked_mul(count).ok_or_else(overflow)?;
        let room = result_size.checked_mul(count).ok_or_else(overflow)?;
        if count == 0 {
            return Ok(());
        }
        check_out(results, "results")?;
        // SAFETY: the caller's pointers.
        let (pool, items) = unsafe { (&given(pool, "pool")?.0, bytes(items, total)?) };
        let inner = pool.inner();
        inner.check_argument(CHUNK_HEAD + item_size)?;
        let fit = (inner.message_max() - CHUNK_HEAD) / item_size;
        let share = count.div_ceil(4 * pool.workers().max(1));
        let chunk = if chunk == 0 { share } else { chunk }.min(fit).max(1);
        let mut failed: Option<TaskError> = None;
        let head: Vec<u8> = [item_size as u64, result_size as u64]
            .iter()
            .flat_map(|size| size.to_ne_bytes())
            .collect();
        let arguments = items.chunks(chunk * item_size).map(|chunk| [&head, chunk].concat());
        let target = function as usize as u64;
        inner.map(run_map, target, arguments, |index, result| match result {
            Ok(bytes) => {
                let start = index * chunk * result_size;
                let expected = (room - start).min(chunk * result_size);
                if bytes.len() == expected {
                    // SAFETY: `results` has room for `room` bytes.
                    unsafe {
                        results
                            .cast::<u8>()
                            .add(start)
                            .copy_from_nonoverlapping(bytes.as_ptr(), expected);
                    }
                } else {
                    let text = format!(
                        "a chunk's result of {} bytes, {expected} were expected",
                        bytes.len()
                    );
                    failed.get_or_insert(Error::new(ErrorKind::Corrupt, text).into());
                }
            }
            Err(error) => {
                failed.get_or_insert(error);
            }
        })?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    })
}

/// Takes no more tasks, waits at most `timeout_ns` until all have ended, and ends the workers.
/// Errors: ETIMEDOUT, EINTERRUPTED, EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_pool_finish(pool: *const mpshm_pool_t, timeout_ns: i64) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let pool = &unsafe { given(pool, "pool") }?.0;
        let deadline = deadline(timeout_ns)?;
        pool.close()?;
        if pool.join_timeout(deadline)? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::TimedOut, "the pool's tasks have not all ended"))
    })
}

/// Ends the workers now; tasks that have not ended say ECANCELLED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_pool_terminate(pool: *const mpshm_pool_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { given(pool, "pool") }?.0.terminate()
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

/// Terminates the pool and closes the handle; NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_pool_close(pool: *mut mpshm_pool_t) {
    // SAFETY: the caller's handle.
    unsafe { free(pool) }
}
