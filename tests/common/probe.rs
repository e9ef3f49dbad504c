//! Looks at processes from outside: what they cost, what system calls they make, whether they sleep.

#![allow(dead_code)]

use crate::common::{state_of, until};
use mpshm::{Error, ErrorKind, ExitStatus, Process};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Long enough for anything that should happen.
pub const LONG: Duration = Duration::from_secs(10);
pub const SHORT: Duration = Duration::from_millis(50);

/// A child that dies with its parent; 0 unless `f` panics.
#[track_caller]
pub fn spawn(f: impl FnOnce()) -> Process {
    let child = Process::builder().kill_with_parent(true).spawn(|| {
        f();
        0
    });
    child.expect("a child")
}

/// Fails when the child did not end well.
#[track_caller]
pub fn join(child: &Process) {
    let status = child.join_timeout(LONG).unwrap().expect("the child hangs");
    assert!(status.success(), "{status}: {:?}", child.panic_message());
}

/// Runs `f` in a child, and fails when the child does.
#[track_caller]
pub fn in_child(f: impl FnOnce()) {
    join(&spawn(f));
}

/// Kills the child, wherever it is, and reaps it.
#[track_caller]
pub fn kill(child: &Process) {
    child.kill().unwrap();
    assert_eq!(child.join().unwrap(), ExitStatus::Signaled(9));
}

/// Stops the child, and returns when it does not run any more.
pub fn stop(child: &Process) {
    child.signal(libc::SIGSTOP).unwrap();
    until("the child is stopped", LONG, || state_of(child.pid()) == Some('T'));
}

/// Lets a stopped child go on.
pub fn go_on(child: &Process) {
    child.signal(libc::SIGCONT).unwrap();
}

/// Waits until the process sleeps, as it does in a futex.
pub fn until_asleep(pid: u32) {
    until("it sleeps", LONG, || state_of(pid) == Some('S'));
}

/// A loop that ends when the process is killed.
pub fn for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

/// The error is of this kind, and its sentence holds these words.
#[track_caller]
pub fn is<T>(result: Result<T, impl Into<Error>>, kind: ErrorKind, words: &[&str]) {
    let error: Error = result.err().expect("an error").into();
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "'{word}' is missing in: {error}");
    }
}

/// Runs `warm_up`, then `f` in a child that the kernel kills at its first system call. Says whether
/// it came through.
pub fn without_system_calls(warm_up: impl FnOnce(), f: impl FnOnce()) -> bool {
    let child = spawn(|| {
        warm_up();
        kill_at_system_calls();
        f();
        // SAFETY: ends this process of one thread; nothing needs to be flushed.
        unsafe { libc::syscall(libc::SYS_exit, 33) };
    });
    match child.join_timeout(LONG).unwrap().expect("the child hangs") {
        ExitStatus::Exited(33) => true,
        ExitStatus::Signaled(libc::SIGSYS) => false,
        other => panic!("{other}: {:?}", child.panic_message()),
    }
}

/// From here on this thread can exit; every other system call kills the process.
fn kill_at_system_calls() {
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = [
        // The number of the call, which is the first field of what the filter sees.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_exit as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
    ];
    install(&mut program);
}

fn install(program: &mut [libc::sock_filter]) {
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: a valid filter, which the kernel copies.
    let refused = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) != 0
    };
    assert!(!refused, "no filter: {}", std::io::Error::last_os_error());
}

/// From here on this process, and its children, have no `futex_waitv`, as on Linux before 5.16.
pub fn without_futex_waitv() {
    const FUTEX_WAITV: libc::c_long = 449;
    refuse(FUTEX_WAITV);
    // SAFETY: refused before it looks at anything.
    let answer = unsafe { libc::syscall(FUTEX_WAITV, 0, 0, 0, 0, 0) };
    let error = std::io::Error::last_os_error().raw_os_error();
    assert_eq!((answer, error), (-1, Some(libc::ENOSYS)), "it is there all the same");
}

/// From here on the system call of this number says that there is none.
fn refuse(number: libc::c_long) {
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let refused = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    let mut program = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, refused),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    install(&mut program);
}

/// Seconds of processor time that this process has used.
pub fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Fails when `wait`, which waits for two seconds, is woken more often than every 70 ms, or takes more than a whole
/// percent of a processor, as it does when it spins. What it takes is printed: what one waking-up costs depends on the
/// machine, and on what else runs there.
pub fn costs_next_to_nothing(what: &str, wait: impl Fn()) {
    let (start, before, woken_before) = (Instant::now(), cpu_seconds(), times_woken());
    wait();
    let (took, used) = (start.elapsed().as_secs_f64(), cpu_seconds() - before);
    let woken = times_woken() - woken_before;
    assert!(took > 1.9, "{what}: did not wait");
    println!(
        "    {what}: {:.4} % of a processor while waiting, woken {woken} times",
        used / took * 100.0
    );
    // The yields before the first sleep may count too.
    let most = (took / 0.070) as i64 + 10;
    assert!(woken <= most, "{what}: woken {woken} times in {took:.1} s");
    assert!(used / took <= 0.01, "{what}: {:.3} % of a processor", used / took * 100.0);
}

/// How often this process has slept.
fn times_woken() -> i64 {
    // SAFETY: a struct of numbers, for which zeros are valid, and which the kernel writes.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage.ru_nvcsw
    }
}

/// A generator for tests: the same numbers for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    /// Waits busily for up to `microseconds`, so that a kill hits any instruction.
    pub fn pause(&mut self, microseconds: u64) {
        let end = Instant::now() + Duration::from_nanos(self.below(microseconds * 1000));
        while Instant::now() < end {
            std::hint::spin_loop();
        }
    }
}

/// A count that is shared with children forked later, in memory that is not the library's.
pub struct Count(*mut AtomicU64);

impl Count {
    pub fn new() -> Self {
        // SAFETY: a fresh shared mapping of one page, zeroed.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(page, libc::MAP_FAILED);
        Self(page.cast())
    }

    /// One of 512 counts.
    pub fn of(&self, index: usize) -> &AtomicU64 {
        assert!(index < 512);
        // SAFETY: inside the page, which stays mapped as long as this.
        unsafe { &*self.0.add(index) }
    }

    pub fn get(&self) -> u64 {
        self.of(0).load(Ordering::SeqCst)
    }

    pub fn add(&self, count: u64) {
        self.of(0).fetch_add(count, Ordering::SeqCst);
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        // SAFETY: our own mapping.
        unsafe { libc::munmap(self.0.cast(), 4096) };
    }
}
