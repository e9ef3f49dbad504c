//! Processes.

use crate::error::{Error, ErrorKind, Result};
use crate::ffi::segment::mpshm_segment_t;
use crate::ffi::{
    call, check_flags, check_out, check_size, deadline, free, given, hand_out, invalid, name,
    optional_name, put,
};
use crate::os::child;
use crate::process::{
    ExitStatus, Parent, Process, ProcessBuilder, Stdio, active_children, current, parent, parent_fd,
};
use crate::segment::Segment;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;

/// A forked child process. Closing the handle of one that runs leaves it running.
pub struct mpshm_process_t(pub(super) Process);

/// What has no number of its own here: the default of standard descriptors and of the process group.
pub const MPSHM_INHERIT: c_int = -1;
/// A standard descriptor out of which nothing comes, and what goes in is lost.
pub const MPSHM_NULL_DEVICE: c_int = -2;

/// The child is killed when the thread that forked it ends.
pub const MPSHM_PROCESS_KILL_WITH_PARENT: u64 = 1;
/// Closing the handle kills the child, and reaps it.
pub const MPSHM_PROCESS_DAEMON: u64 = 2;
/// Closing the handle leaves the child alone, also where this process is a daemon itself: what a daemon forks
/// is one, too, unless this says otherwise.
pub const MPSHM_PROCESS_NO_DAEMON: u64 = 4;
/// The child leads a session of its own, without a terminal.
pub const MPSHM_PROCESS_NEW_SESSION: u64 = 8;

/// The status of a child that somebody else has reaped.
pub const MPSHM_STATUS_UNKNOWN: c_int = -2147483647 - 1;

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
    /// The processors it may run on, counted from 0; NULL for this process's.
    pub cpus: *const u32,
    /// How many these are.
    pub cpu_count: usize,
    /// Added to its niceness: 1 or more to get less of a busy processor, below 0 (a privilege) for more.
    pub nice: c_int,
    /// A process group that it joins, 0 for a new one that it leads, or MPSHM_INHERIT.
    pub group: c_int,
    /// Its standard input: a descriptor, which stays the caller's, MPSHM_INHERIT or MPSHM_NULL_DEVICE.
    pub stdin_fd: c_int,
    /// Its standard output.
    pub stdout_fd: c_int,
    /// Its standard error.
    pub stderr_fd: c_int,
    /// 0.
    pub reserved: u32,
    /// mpshm_process_exec() only: variables to set in the environment, `NAME=VALUE`, a NULL at the end; or NULL.
    pub environment: *const *const c_char,
    /// mpshm_process_exec() only: segments that the program opens by mpshm_segment_inherited(); or NULL.
    pub segments: *const mpshm_process_segment_t,
    /// How many these are.
    pub segment_count: usize,
}

/// A segment to be handed over to a program.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct mpshm_process_segment_t {
    /// 1 to 100 bytes without ':', ',' and control characters.
    pub label: *const c_char,
    /// The segment; it may be closed when the program runs.
    pub segment: *const mpshm_segment_t,
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
            cpus: std::ptr::null(),
            cpu_count: 0,
            nice: 0,
            group: MPSHM_INHERIT,
            stdin_fd: MPSHM_INHERIT,
            stdout_fd: MPSHM_INHERIT,
            stderr_fd: MPSHM_INHERIT,
            reserved: 0,
            environment: std::ptr::null(),
            segments: std::ptr::null(),
            segment_count: 0,
        };
        // SAFETY: the caller's pointer.
        unsafe { put(options, defaults, "options") }
    })
}

/// A builder with the options; NULL is the defaults.
///
/// # Safety
/// NULL, or options whose pointers are as their comments say.
unsafe fn builder(options: *const mpshm_process_options_t) -> Result<ProcessBuilder> {
    // SAFETY: the caller's word, here and below.
    let Some(options) = (unsafe { options.as_ref() }) else { return Ok(Process::builder()) };
    check_size::<mpshm_process_options_t>(options.struct_size)?;
    let known = MPSHM_PROCESS_KILL_WITH_PARENT
        | MPSHM_PROCESS_DAEMON
        | MPSHM_PROCESS_NO_DAEMON
        | MPSHM_PROCESS_NEW_SESSION;
    check_flags(options.flags, known)?;
    if options.reserved != 0 {
        return Err(invalid(format!("reserved is {}, 0 is expected", options.reserved)));
    }
    let has = |flag| options.flags & flag != 0;
    let mut builder = Process::builder()
        .kill_with_parent(has(MPSHM_PROCESS_KILL_WITH_PARENT))
        .nice(options.nice)
        .stdin(stdio(options.stdin_fd)?)
        .stdout(stdio(options.stdout_fd)?)
        .stderr(stdio(options.stderr_fd)?);
    builder = match (has(MPSHM_PROCESS_DAEMON), has(MPSHM_PROCESS_NO_DAEMON)) {
        (true, true) => return Err(invalid("a daemon and no daemon at once")),
        (false, false) => builder,
        (daemon, _) => builder.daemon(daemon),
    };
    if has(MPSHM_PROCESS_NEW_SESSION) {
        builder = builder.new_session();
    }
    if options.group != MPSHM_INHERIT {
        let group = u32::try_from(options.group);
        let group = group.map_err(|_| invalid(format!("process group {}", options.group)))?;
        builder = builder.process_group(group);
    }
    // SAFETY: as above.
    if let Some(name) = unsafe { optional_name(options.name) }? {
        builder = builder.name(name);
    }
    // SAFETY: as above.
    let cpus = unsafe { items(options.cpus, options.cpu_count, "cpus") }?;
    if !options.cpus.is_null() {
        builder = builder.pin_cpus(cpus.iter().map(|&cpu| cpu as usize));
    }
    // SAFETY: as above.
    for setting in unsafe { strings(options.environment) } {
        let (name, value) = variable(setting)?;
        builder = builder.env(name, value);
    }
    // SAFETY: as above.
    for handed in unsafe { items(options.segments, options.segment_count, "segments") }? {
        // SAFETY: as above.
        let (label, segment) =
            unsafe { (name(handed.label)?, given(handed.segment, "a segment to hand over")?) };
        builder = builder.segment(label, &segment.0);
    }
    Ok(builder)
}

/// A standard descriptor of C's: a copy of it, for it stays the caller's.
fn stdio(fd: c_int) -> Result<Stdio> {
    match fd {
        MPSHM_INHERIT => Ok(Stdio::inherit()),
        MPSHM_NULL_DEVICE => Ok(Stdio::null()),
        _ => match child::copy_number(fd) {
            Ok(copy) => Ok(copy.into()),
            Err(errno) => Err(Error::from_errno(errno, format_args!("descriptor {fd}"))),
        },
    }
}

/// An array of C's.
///
/// # Safety
/// NULL, or `count` valid items.
unsafe fn items<'a, T>(start: *const T, count: usize, what: &str) -> Result<&'a [T]> {
    if start.is_null() {
        return if count == 0 { Ok(&[]) } else { Err(invalid(format!("{what} is NULL"))) };
    }
    if !start.is_aligned() || count > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(invalid(format!("{what} is no array of {count} items")));
    }
    // SAFETY: the caller's word.
    Ok(unsafe { std::slice::from_raw_parts(start, count) })
}

/// Strings of C's, up to a NULL.
///
/// # Safety
/// NULL, or an array of terminated strings that a NULL ends.
unsafe fn strings<'a>(mut start: *const *const c_char) -> Vec<&'a OsStr> {
    let mut all = Vec::new();
    // SAFETY: the caller's word, here and below.
    while let Some(&string) = unsafe { start.as_ref() }.filter(|string| !string.is_null()) {
        // SAFETY: as above.
        all.push(OsStr::from_bytes(unsafe { CStr::from_ptr(string) }.to_bytes()));
        start = start.wrapping_add(1);
    }
    all
}

fn variable(setting: &OsStr) -> Result<(&OsStr, &OsStr)> {
    let bytes = setting.as_bytes();
    let Some(at) = bytes.iter().position(|&byte| byte == b'=') else {
        let setting = setting.to_string_lossy();
        return Err(invalid(format!("'{setting}' in the environment: NAME=VALUE is expected")));
    };
    Ok((OsStr::from_bytes(&bytes[..at]), OsStr::from_bytes(&bytes[at + 1..])))
}

/// Forks a child that calls `function(context)` and exits with what that returns, without running the
/// parent's atexit handlers; output buffers are flushed on both sides. `options` may be NULL. What the options
/// ask for has been done when this returns, or is its error, and then there is no child.
/// Errors: EINVAL, EPERM, ELIMIT, ENOSPACE, EINTERRUPTED.
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
        // SAFETY: the caller's pointers; it vouches for its function and context.
        let child = unsafe { builder(options)?.spawn(|| function(context)) }?;
        // SAFETY: checked above.
        unsafe { hand_out(process, mpshm_process_t(child)) };
        Ok(())
    })
}

/// Forks a child that executes `program`: a path or, without a slash, looked for in PATH. `arguments` are what
/// follows its name, a NULL at the end; they and `options` may be NULL. It gets the standard descriptors, the
/// segments of the options, and no other descriptor; what the options ask for has been done, and the program runs,
/// when this returns.
/// Errors: ENOTFOUND (no such program), EPERM, EINVAL, EEXISTS (two segments of a label), ELIMIT, ENOSPACE,
/// ESYSTEM (it cannot be executed), EINTERRUPTED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_process_exec(
    program: *const c_char,
    arguments: *const *const c_char,
    options: *const mpshm_process_options_t,
    process: *mut *mut mpshm_process_t,
) -> c_int {
    call(|| {
        check_out(process, "process")?;
        if program.is_null() {
            return Err(invalid("the program is NULL"));
        }
        // SAFETY: the caller's pointers.
        let child = unsafe {
            let program = OsStr::from_bytes(CStr::from_ptr(program).to_bytes());
            builder(options)?.exec(program, strings(arguments))
        }?;
        // SAFETY: checked above.
        unsafe { hand_out(process, mpshm_process_t(child)) };
        Ok(())
    })
}

/// Attaches to the segment that the process which executed this program handed over as `label`, in the options of
/// mpshm_process_exec(). Errors: ENOTFOUND, EINVAL, EVERSION.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_segment_inherited(
    label: *const c_char,
    segment: *mut *mut mpshm_segment_t,
) -> c_int {
    call(|| {
        check_out(segment, "segment")?;
        // SAFETY: the caller's pointer.
        let inherited = Segment::inherited(unsafe { name(label) }?)?;
        // SAFETY: checked above.
        unsafe { hand_out(segment, mpshm_segment_t(inherited)) };
        Ok(())
    })
}

/// Waits for the child to end, at most `timeout_ns`; `*status`, unless that is NULL, gets its exit
/// code, −N when signal N killed it, or MPSHM_STATUS_UNKNOWN. Again and again.
/// Errors: ETIMEDOUT (it runs), EFORKED, EINTERRUPTED (within 80 ms).
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
        // SAFETY: the caller's pointer.
        unsafe { put_status(status, ended) }
    })
}

/// # Safety
/// `place` is NULL or can be written.
unsafe fn put_status(place: *mut c_int, status: ExitStatus) -> Result<()> {
    if place.is_null() {
        return Ok(());
    }
    // SAFETY: the caller's word.
    unsafe { put(place, status.code().unwrap_or(MPSHM_STATUS_UNKNOWN), "status") }
}

/// Sends SIGTERM, SIGKILL if the child has not ended `grace_ns` later, and waits until it has; `*status` as in
/// mpshm_process_join(). Errors: EFORKED, EINTERRUPTED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_process_terminate_then_kill(
    process: *const mpshm_process_t,
    grace_ns: i64,
    status: *mut c_int,
) -> c_int {
    call(|| {
        let grace = deadline(grace_ns)?;
        // SAFETY: the caller's pointers.
        unsafe {
            let ended = given(process, "process")?.0.terminate_then_kill(grace)?;
            put_status(status, ended)
        }
    })
}

/// Whether the signal that ended the child left a core. Errors: EFORKED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_process_core_dumped(
    process: *const mpshm_process_t,
    dumped: *mut bool,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(dumped, given(process, "process")?.0.core_dumped()?, "dumped") }
    })
}

/// Whether closing the handle kills the child.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_process_is_daemon(
    process: *const mpshm_process_t,
    daemon: *mut bool,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put(daemon, given(process, "process")?.0.is_daemon(), "daemon") }
    })
}

/// Copies the child's name, cut to `size` bytes with its NUL; `*length`, unless that is NULL, gets the bytes that
/// the whole name needs, its NUL included. `buffer` may be NULL when `size` is 0.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_process_name(
    process: *const mpshm_process_t,
    buffer: *mut c_char,
    size: usize,
    length: *mut usize,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put_text(given(process, "process")?.0.name(), buffer, size, length) }
    })
}

/// # Safety
/// `buffer` is NULL or has `size` bytes; `length` is NULL or can be written.
pub(super) unsafe fn put_text(
    text: &str,
    buffer: *mut c_char,
    size: usize,
    length: *mut usize,
) -> Result<()> {
    if buffer.is_null() && size > 0 {
        return Err(invalid(format!("a buffer of {size} bytes at NULL")));
    }
    if size > 0 {
        let count = text.len().min(size - 1);
        // SAFETY: the caller's word.
        unsafe {
            buffer.copy_from_nonoverlapping(text.as_ptr().cast(), count);
            buffer.add(count).write(0);
        }
    }
    if !length.is_null() {
        // SAFETY: as above.
        unsafe { put(length, text.len() + 1, "length")? };
    }
    Ok(())
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

/// Sends SIGINT, as Ctrl-C does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_process_interrupt(process: *const mpshm_process_t) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { given(process, "process") }?.0.interrupt()
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

/// The children of this process that have not ended, made by mpshm_process_spawn() or _exec(); those that have
/// are reaped. `*count` gets their number, `handles` a further handle on each, up to `room`, which are to be
/// closed; that does nothing to the child. `handles` may be NULL when `room` is 0.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_active_children(
    handles: *mut *mut mpshm_process_t,
    room: usize,
    count: *mut usize,
) -> c_int {
    call(|| {
        check_out(count, "count")?;
        if handles.is_null() && room > 0 {
            return Err(invalid(format!("room for {room} handles at NULL")));
        }
        let children = active_children();
        // SAFETY: the caller's pointers.
        unsafe { put(count, children.len(), "count")? };
        for (at, child) in children.into_iter().take(room).enumerate() {
            // SAFETY: as above; there is room.
            unsafe { hand_out(handles.add(at), mpshm_process_t(child)) };
        }
        Ok(())
    })
}

/// Copies this process's name as mpshm_process_name() does: `MainProcess` in what no mpshm_process_spawn() made.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_current_name(
    buffer: *mut c_char,
    size: usize,
    length: *mut usize,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put_text(current().name(), buffer, size, length) }
    })
}

/// Whether this process was made by mpshm_process_spawn().
#[unsafe(no_mangle)]
pub extern "C" fn mpshm_current_is_child() -> bool {
    current().is_child()
}

/// Whether closing the parent's handle kills this process.
#[unsafe(no_mangle)]
pub extern "C" fn mpshm_current_is_daemon() -> bool {
    current().is_daemon()
}

fn parent_or_error() -> Result<Parent> {
    let message = "this process was not made by mpshm_process_spawn: it knows no parent";
    parent().ok_or_else(|| Error::new(ErrorKind::NotFound, message))
}

/// The process id that the parent had when it made this process. Errors, here and below: ENOTFOUND in what no
/// mpshm_process_spawn() made.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_parent_pid(pid: *mut i32) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { put(pid, parent_or_error()?.pid() as i32, "pid") }
    })
}

/// Copies the parent's name as mpshm_process_name() does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_parent_name(
    buffer: *mut c_char,
    size: usize,
    length: *mut usize,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointers.
        unsafe { put_text(parent_or_error()?.name(), buffer, size, length) }
    })
}

/// Whether the parent has not ended; a stopped one has not, a zombie has.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_parent_is_alive(alive: *mut bool) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        unsafe { put(alive, parent_or_error()?.is_alive(), "alive") }
    })
}

/// Waits until the parent has ended, at most `timeout_ns`. Errors: ETIMEDOUT (it lives), EINTERRUPTED.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn mpshm_parent_wait_death(timeout_ns: i64) -> c_int {
    call(|| {
        let parent = parent_or_error()?;
        if parent.wait_death(deadline(timeout_ns)?)? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::TimedOut, format!("the parent (pid {}) lives", parent.pid())))
    })
}

/// A descriptor that becomes readable when the parent ends, for poll(2). It stays the library's.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_parent_fd(fd: *mut c_int) -> c_int {
    call(|| {
        parent_or_error()?;
        let known = parent_fd().map_or(-1, |fd| fd.as_raw_fd());
        // SAFETY: the caller's pointer.
        unsafe { put(fd, known, "fd") }
    })
}

/// How many processors this process may use: affinity and control group.
#[unsafe(no_mangle)]
pub extern "C" fn mpshm_cpu_count() -> u32 {
    crate::process::cpu_count() as u32
}
