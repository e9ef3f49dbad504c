//! Processes.

use crate::error::{Error, ErrorKind};
use crate::ffi::{
    call, check_flags, check_out, check_size, deadline, free, given, hand_out, invalid,
    optional_name, put,
};
use crate::process::{ExitStatus, Process};
use std::ffi::{c_char, c_int, c_void};
use std::os::fd::{AsFd, AsRawFd};

/// A forked child process. Closing the handle of one that runs leaves it running.
pub struct mpshm_process_t(pub(super) Process);

/// The child is killed when the thread that forked it ends.
pub const MPSHM_PROCESS_KILL_WITH_PARENT: u64 = 1;
/// Closing the handle kills the child, and reaps it.
pub const MPSHM_PROCESS_DAEMON: u64 = 2;

/// The status of a child that somebody else has reaped.
pub const MPSHM_STATUS_UNKNOWN: c_int = c_int::MIN;

/// How a process is made. Set by mpshm_process_options_init(), then changed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct mpshm_process_options_t {
    /// Bytes of this struct, as mpshm_process_options_init() sets it.
    pub struct_size: usize,
    /// MPSHM_PROCESS_… bits; 0 by default.
    pub flags: u64,
    /// A name, or NULL for `Process-N`.
    pub name: *const c_char,
}

/// What a child runs; what it returns is the exit code (its lowest 8 bits).
pub type mpshm_process_fn = Option<unsafe extern "C" fn(context: *mut c_void) -> c_int>;

/// Sets the defaults.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_process_options_init(
    options: *mut mpshm_process_options_t,
) -> c_int {
    call(|| {
        let defaults = mpshm_process_options_t {
            struct_size: size_of::<mpshm_process_options_t>(),
            flags: 0,
            name: std::ptr::null(),
        };
        // SAFETY: the caller's pointer.
        unsafe { put(options, defaults, "options") }
    })
}

/// Forks a child that calls `function(context)` and exits with what that returns, without running the
/// parent's atexit handlers; output buffers are flushed on both sides. `options` may be NULL.
/// Errors: EINVAL, ELIMIT, ENOSPACE.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_process_spawn(
    function: mpshm_process_fn,
    context: *mut c_void,
    options: *const mpshm_process_options_t,
    process: *mut *mut mpshm_process_t,
) -> c_int {
    call(|| {
        check_out(process, "process")?;
        let function = function.ok_or_else(|| invalid("the function is NULL"))?;
        let mut builder = Process::builder();
        // SAFETY: the caller's pointers.
        if let Some(options) = unsafe { options.as_ref() } {
            check_size::<mpshm_process_options_t>(options.struct_size)?;
            check_flags(options.flags, MPSHM_PROCESS_KILL_WITH_PARENT | MPSHM_PROCESS_DAEMON)?;
            builder = builder
                .kill_with_parent(options.flags & MPSHM_PROCESS_KILL_WITH_PARENT != 0)
                .daemon(options.flags & MPSHM_PROCESS_DAEMON != 0);
            // SAFETY: the caller's pointer.
            if let Some(name) = unsafe { optional_name(options.name) }? {
                builder = builder.name(name);
            }
        }
        // SAFETY: the caller vouches for its function and context.
        let child = builder.spawn(|| unsafe { function(context) })?;
        // SAFETY: checked above.
        unsafe { hand_out(process, mpshm_process_t(child)) };
        Ok(())
    })
}

/// Waits for the child to end, at most `timeout_ns`; `*status`, unless that is NULL, gets its exit
/// code, −N when signal N killed it, or MPSHM_STATUS_UNKNOWN. Again and again.
/// Errors: ETIMEDOUT (it runs), EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_process_join(
    process: *const mpshm_process_t,
    timeout_ns: i64,
    status: *mut c_int,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let process = &unsafe { given(process, "process") }?.0;
        let Some(ended) = process.join_timeout(deadline(timeout_ns)?)? else {
            return Err(Error::new(ErrorKind::TimedOut, format!("{process} still runs")));
        };
        if !status.is_null() {
            let code = match ended {
                ExitStatus::Unknown => MPSHM_STATUS_UNKNOWN,
                other => other.code().unwrap_or(MPSHM_STATUS_UNKNOWN),
            };
            // SAFETY: the caller's pointer.
            unsafe { put(status, code, "status")? };
        }
        Ok(())
    })
}

/// Whether the child runs; a stopped one does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_process_is_alive(
    process: *const mpshm_process_t,
    alive: *mut bool,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(alive, given(process, "process")?.0.is_alive(), "alive") }
    })
}

/// Sends a signal; to a child that has ended, nothing. Errors: EINVAL, EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_process_signal(
    process: *const mpshm_process_t,
    signal: c_int,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { given(process, "process") }?.0.signal(signal)
    })
}

/// Sends SIGKILL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_process_kill(process: *const mpshm_process_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { given(process, "process") }?.0.kill()
    })
}

/// Sends SIGTERM.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_process_terminate(process: *const mpshm_process_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { given(process, "process") }?.0.terminate()
    })
}

/// The child's process id.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_process_pid(
    process: *const mpshm_process_t,
    pid: *mut i32,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(pid, given(process, "process")?.0.pid() as i32, "pid") }
    })
}

/// A descriptor that becomes readable when the child ends, for poll(2). It stays the handle's.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_process_fd(
    process: *const mpshm_process_t,
    fd: *mut c_int,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(fd, given(process, "process")?.0.as_fd().as_raw_fd(), "fd") }
    })
}

/// Closes the handle; NULL is a no-op. A child that runs goes on (MPSHM_PROCESS_DAEMON: is killed).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_process_close(process: *mut mpshm_process_t) {
    // SAFETY: the caller's handle.
    unsafe { free(process) }
}

/// How many processors this process may use: affinity and control group.
#[unsafe(no_mangle)]
pub extern "C" fn mpshm_cpu_count() -> u32 {
    crate::process::cpu_count() as u32
}
