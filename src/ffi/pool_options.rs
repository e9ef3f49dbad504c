//! How a pool is made.

use crate::error::Result;
use crate::ffi::{MPSHM_FOREVER, call, check_flags, check_size, invalid, put};
use crate::pool::PoolBuilder;
use std::ffi::{c_int, c_void};
use std::time::Duration;

/// Each worker stays on one processor, in turn those that the pool's maker may use.
pub const MPSHM_POOL_PIN_CPUS: u64 = 1;
/// When the fork server dies, the pool is broken. Without this another one is forked, by whichever thread waits for a
/// result, from the process as it then is.
pub const MPSHM_POOL_NO_NEW_SERVER: u64 = 2;

/// What each worker calls once, before any task. It runs in the worker, a fork of the pool's maker, also in one that
/// replaces another: what `context` points to is the worker's own copy, as it was when the fork server was forked. Returns
/// 0; anything else is an error, and the worker ends.
pub type mpshm_pool_init_fn = Option<unsafe extern "C" fn(context: *mut c_void) -> c_int>;

/// How a pool is made. Set by mpshm_pool_options_init(), then changed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct mpshm_pool_options_t {
    /// Bytes of this struct, as mpshm_pool_options_init() sets it.
    pub struct_size: usize,
    /// MPSHM_POOL_… bits; 0 by default.
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
    /// Up to how many workers mpshm_pool_resize() may go, at most 1000; 0, the default: as many as the pool begins with.
    /// Memory is set aside for each.
    pub workers_max: u32,
    /// 0.
    pub reserved: u32,
    /// Or NULL. A pool in which it fails three times in a row is broken, with what it returned in the message.
    pub initializer: mpshm_pool_init_fn,
    /// What the initializer gets.
    pub initializer_context: *mut c_void,
}

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
            workers_max: 0,
            reserved: 0,
            initializer: None,
            initializer_context: std::ptr::null_mut(),
        };
        // SAFETY: the caller's pointer.
        unsafe { put(options, defaults, "options") }
    })
}

/// # Safety
/// NULL, or options; the initializer may be called with its context in every worker.
pub(super) unsafe fn with_options(
    builder: PoolBuilder,
    options: *const mpshm_pool_options_t,
) -> Result<PoolBuilder> {
    // SAFETY: the caller's word.
    let Some(options) = (unsafe { options.as_ref() }) else { return Ok(builder) };
    check_size::<mpshm_pool_options_t>(options.struct_size)?;
    check_flags(options.flags, MPSHM_POOL_PIN_CPUS | MPSHM_POOL_NO_NEW_SERVER)?;
    if options.reserved != 0 {
        return Err(invalid(format!("reserved is {}, 0 is expected", options.reserved)));
    }
    let mut builder = builder
        .queue(options.queue)
        .message_max(options.message_max)
        .retries(options.retries)
        .pin_cpus(options.flags & MPSHM_POOL_PIN_CPUS != 0)
        .replace_server(options.flags & MPSHM_POOL_NO_NEW_SERVER == 0);
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
    if options.workers_max != 0 {
        builder = builder.workers_max(options.workers_max as usize);
    }
    if let Some(function) = options.initializer {
        let initializer = Initializer { function, context: options.initializer_context };
        builder = builder.initializer(move || initializer.run());
    }
    match options.task_timeout_ns {
        MPSHM_FOREVER => Ok(builder),
        1.. => Ok(builder.task_timeout(Duration::from_nanos(options.task_timeout_ns as u64))),
        other => Err(invalid(format!(
            "{other} ns for a task: MPSHM_FOREVER (-1) or a positive number is expected"
        ))),
    }
}

/// A C program's initializer.
struct Initializer {
    function: unsafe extern "C" fn(*mut c_void) -> c_int,
    context: *mut c_void,
}

// SAFETY: it is used only in workers, each of which has one thread and a copy of its own.
unsafe impl Send for Initializer {}
// SAFETY: as above.
unsafe impl Sync for Initializer {}

impl Initializer {
    fn run(&self) {
        // SAFETY: the caller of `with_options` vouched for it.
        let code = unsafe { (self.function)(self.context) };
        if code != 0 {
            // Without the panic hook, which would print.
            std::panic::resume_unwind(Box::new(format!("the initializer returned {code}")));
        }
    }
}
