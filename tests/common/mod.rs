//! Runs tests that fork: one after another, each in a process of its own that has one thread.
//!
//! `cargo test` runs tests on threads, from which nobody should fork. A test program with
//! `harness = false` calls [`main`] with its list instead. Around each test the runner checks that
//! it ends within its time, and that it leaves no process, no descriptor and no entry of its own in
//! `/dev/shm` behind. The last line says `N passed, N failed`; the first argument that is no option
//! picks the tests whose names contain it.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// One test.
pub struct Test {
    /// Its name.
    pub name: &'static str,
    /// How long it may take before it counts as hung.
    pub limit: Duration,
    /// What it does; it fails by a panic.
    pub run: fn(),
}

/// A list of tests: `tests![first, second, slow: 60]`, with a limit in seconds where 20 is not it.
#[macro_export]
macro_rules! tests {
    ($($name:ident $(: $seconds:literal)?),* $(,)?) => {
        &[$($crate::common::Test {
            name: concat!(module_path!(), "::", stringify!($name)),
            limit: ::std::time::Duration::from_secs($crate::tests!(@limit $($seconds)?)),
            run: $name,
        }),*]
    };
    (@limit $seconds:literal) => { $seconds };
    (@limit) => { 20 };
}

/// The process of the running test, for names that nobody else uses.
static TEST: AtomicI32 = AtomicI32::new(0);

/// A name for a segment of the running test: the same in the test and in its children, checked to
/// be gone after the test.
pub fn unique(label: &str) -> String {
    format!("{}{label}", own_prefix(TEST.load(Ordering::Relaxed)))
}

fn own_prefix(test: i32) -> String {
    format!("test{test}.")
}

/// Runs the tests and ends the program: with 0 if all passed, else 1.
pub fn main(tests: &[Test]) -> ! {
    main_of(&[tests])
}

/// As [`main`], with the tests of several files.
pub fn main_of(files: &[&[Test]]) -> ! {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let (mut passed, mut failed) = (0, 0);
    for tests in files {
        let (good, bad) = run(tests, filter.as_deref());
        (passed, failed) = (passed + good, failed + bad);
    }
    println!("{passed} passed, {failed} failed");
    std::process::exit(i32::from(failed != 0));
}

/// Runs the tests whose names contain `filter`; says how many passed, and how many failed.
pub fn run(tests: &[Test], filter: Option<&str>) -> (u32, u32) {
    // A shell starts what runs in its background with these ignored, and children would inherit that.
    // SAFETY: no handlers, only the default.
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_DFL);
        libc::signal(libc::SIGQUIT, libc::SIG_DFL);
    }
    let picked = |test: &&Test| filter.is_none_or(|part| test.name.contains(part));
    // What a test leaves comes here when the test's own process ends.
    // SAFETY: no pointers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    let (mut passed, mut failed) = (0, 0);
    for test in tests.iter().filter(picked) {
        let start = Instant::now();
        let verdict = run_one(test);
        let took = start.elapsed().as_secs_f64();
        match &verdict {
            Ok(()) => passed += 1,
            Err(_) => failed += 1,
        }
        let verdict = verdict.map_or_else(|why| format!("FAILED: {why}"), |()| "ok".into());
        println!("test {} ... {verdict} ({took:.2} s)", test.name);
    }
    (passed, failed)
}

/// Runs one test in a child that leads a process group, so that all it leaves can be killed.
fn run_one(test: &Test) -> Result<(), String> {
    // SAFETY: this program has one thread.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "cannot fork: {}", std::io::Error::last_os_error());
    // On both sides, for neither knows who comes first.
    // SAFETY: no pointers.
    unsafe { libc::setpgid(pid, pid) };
    if pid == 0 {
        child(test);
    }
    let ended = wait_for(pid, test.limit);
    // SAFETY: the group of our own child, not reaped yet: the number is nobody else's.
    unsafe { libc::kill(-pid, libc::SIGKILL) };
    let mut status = 0;
    // SAFETY: reaps our own child.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    let all_ended = reap_what_is_left(Duration::from_secs(2));
    let left = own_entries(pid);
    for entry in &left {
        let _ = std::fs::remove_file(entry);
    }
    if !ended {
        return Err(format!("still running after {:?}", test.limit));
    }
    if libc::WIFSIGNALED(status) {
        return Err(format!("killed by signal {}", libc::WTERMSIG(status)));
    }
    if libc::WEXITSTATUS(status) != 0 {
        return Err("see above".into());
    }
    if !all_ended {
        return Err("a process is left that changed its process group".into());
    }
    if left.is_empty() { Ok(()) } else { Err(format!("left behind: {left:?}")) }
}

/// Reaps what came from the test's process when that ended; false if something still runs.
fn reap_what_is_left(limit: Duration) -> bool {
    let end = Instant::now() + limit;
    loop {
        // SAFETY: a null status is allowed.
        match unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } {
            0 if Instant::now() >= end => return false,
            0 => std::thread::sleep(Duration::from_millis(1)),
            pid if pid < 0 => return true,
            _ => {}
        }
    }
}

/// Whether the child ends within the time; leaves it to be reaped.
fn wait_for(pid: i32, limit: Duration) -> bool {
    // SAFETY: no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as i32;
    assert!(fd >= 0, "cannot open a pidfd: {}", std::io::Error::last_os_error());
    let ended = readable(fd, limit);
    // SAFETY: our own descriptor.
    unsafe { libc::close(fd) };
    ended
}

/// Whether a descriptor becomes readable, or its other end closes, within the time.
pub fn readable(fd: i32, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    loop {
        let left = end.saturating_duration_since(Instant::now());
        // SAFETY: one valid pollfd.
        match unsafe { libc::poll(&raw mut poll, 1, left.as_millis() as i32 + 1) } {
            0 if left.is_zero() => return false,
            1 => return true,
            _ => {}
        }
    }
}

fn child(test: &Test) -> ! {
    TEST.store(std::process::id() as i32, Ordering::Relaxed);
    // Grandchildren whose parent dies come to the test, so that it sees them.
    // SAFETY: no pointers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    let before = descriptors();
    let result = std::panic::catch_unwind(AssertUnwindSafe(test.run));
    let mut ok = result.is_ok();
    if ok && has_children() {
        eprintln!("{}: a child process is left", test.name);
        ok = false;
    }
    let after = descriptors();
    if ok && before != after {
        eprintln!("{}: descriptors before {before:?}, after {after:?}", test.name);
        ok = false;
    }
    // SAFETY: ends the process without the runner's destructors.
    unsafe { libc::_exit(i32::from(!ok)) }
}

/// Whether this process has any child, running or to be reaped.
pub fn has_children() -> bool {
    // SAFETY: an all-zero siginfo is valid, and a valid place for the answer.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(
            libc::P_ALL,
            0,
            &raw mut info,
            libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL,
        ) == 0
    }
}

/// Reaps all children of this process, those that came to it from children that died included.
/// Waits for them: the test's time limit holds.
pub fn reap_all_children() {
    // SAFETY: a null status is allowed.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {}
}

/// The open descriptors and what they refer to.
pub fn descriptors() -> BTreeMap<i32, String> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return BTreeMap::new() };
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let number = path.file_name()?.to_str()?.parse().ok()?;
            let target = std::fs::read_link(&path).ok()?.to_string_lossy().into_owned();
            // The descriptor of this very listing.
            (!target.contains("/proc/")).then_some((number, target))
        })
        .collect()
}

/// What the test with this process left in `/dev/shm` under its own names.
fn own_entries(test: i32) -> Vec<std::path::PathBuf> {
    let prefix = format!("mpshm.{}", own_prefix(test));
    let Ok(entries) = std::fs::read_dir("/dev/shm") else { return Vec::new() };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&prefix)))
        .collect()
}

/// Waits until something is so that no descriptor or word tells of; fails after `limit`.
pub fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The letter of a process's state in `/proc`, none if there is no such process.
pub fn state_of(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].trim_start().chars().next()
}

/// Runs `f` with descriptor `number` redirected into a pipe, and returns what came out of it. What
/// is written must fit into the pipe (1 MiB).
pub fn captured(number: i32, f: impl FnOnce()) -> String {
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    let (mut reader, writer) = pipe();
    // SAFETY: no pointers.
    let room = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, 1 << 20) };
    assert!(room >= 1 << 20, "cannot make room in a pipe");
    let _ = std::io::stdout().flush();
    // SAFETY: descriptors of our own; the saved one is put back below.
    let saved = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 10) };
    assert!(saved >= 0, "cannot save descriptor {number}");
    // SAFETY: as above.
    assert_eq!(unsafe { libc::dup2(writer.as_raw_fd(), number) }, number);
    drop(writer);
    let result = std::panic::catch_unwind(AssertUnwindSafe(f));
    let _ = std::io::stdout().flush();
    // SAFETY: as above.
    unsafe {
        libc::fflush(std::ptr::null_mut());
        libc::dup2(saved, number);
        libc::close(saved);
    }
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("text");
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
    text
}

/// A pipe: its reading and its writing end, closed on exec.
pub fn pipe() -> (std::fs::File, std::fs::File) {
    use std::os::fd::FromRawFd;
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors, which are owned by what is returned.
    unsafe {
        assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (std::fs::File::from_raw_fd(ends[0]), std::fs::File::from_raw_fd(ends[1]))
    }
}
