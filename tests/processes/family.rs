//! Who this process is, who its parent is and which of its children live; the ways to end a wait for
//! one; and what a child tells of its end beside a code.

use crate::common::{Test, captured, has_children, pipe, reap_all_children, state_of, until};
use crate::tests;
use mpshm::{Canceller, ErrorKind, ExitStatus, Process};
use mpshm::{active_children, cpu_count, current, parent};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(10);

pub const TESTS: &[Test] = tests![
    a01_the_main_program_is_no_child_and_no_daemon,
    a02_a_child_is_active_from_its_start_and_no_more_after_join,
    a05_a_daemon_is_what_its_creator_is_unless_told_otherwise,
    a10_a_grandchild_learns_of_its_parents_death,
    a11_a_child_knows_its_parents_pid_and_name,
    b23_a_parent_that_is_a_zombie_is_dead_and_a_stopped_one_is_not,
    a_parent_whose_pid_is_another_processs_is_dead,
    a_handle_on_the_parent_means_the_same_process_further_down,
    a_child_has_one_descriptor_of_its_parent_however_deep,
    a_process_forked_by_other_code_has_no_parent_and_no_children,
    active_children_are_those_that_live_also_without_a_handle,
    a_further_handle_does_all_but_end_a_daemon_when_dropped,
    children_of_several_threads_are_all_there: 60,
    a_child_of_a_threaded_program_can_have_children: 120,
    a_join_is_cancelled_by_another_thread_and_by_a_signal_handler,
    a_join_that_is_cancelled_before_it_begins_looks_all_the_same,
    a_wait_for_the_parents_death_is_cancelled,
    a_wait_that_can_be_cancelled_uses_no_processor: 60,
    terminate_then_kill_gives_time_and_then_no_more,
    a_core_is_told_of,
    a_backtrace_comes_home_if_the_environment_asks_for_it: 60,
    a_long_backtrace_is_cut: 60,
    cpu_count_heeds_the_control_group,
];

fn sleep_for_ever() -> i32 {
    loop {
        std::thread::park();
    }
}

/// What a closure found; its code is 1 if all of it is so, and the panic says what is not.
fn holds(child: Process) {
    let status = child.join().unwrap();
    assert_eq!(status, ExitStatus::Exited(1), "{:?}", child.panic_message());
}

/// Reads a process id that another process wrote.
fn read_pid(mut reader: &std::fs::File) -> u32 {
    let mut pid = [0; 4];
    reader.read_exact(&mut pid).unwrap();
    u32::from_ne_bytes(pid)
}

fn write_pid(mut writer: &std::fs::File) {
    writer.write_all(&std::process::id().to_ne_bytes()).unwrap();
}

fn a01_the_main_program_is_no_child_and_no_daemon() {
    let me = current();
    assert_eq!((me.pid(), me.name()), (std::process::id(), "MainProcess"));
    assert!(!me.is_child() && !me.is_daemon());
    assert!(parent().is_none());
}

fn a02_a_child_is_active_from_its_start_and_no_more_after_join() {
    // Nothing is there before the start: a builder is no process, and makes each once.
    let builder = Process::builder().name("w");
    assert!(active_children().is_empty());
    let child = builder.spawn(sleep_for_ever).unwrap();
    let active = active_children();
    assert_eq!(active.len(), 1);
    assert_eq!((active[0].pid(), active[0].name()), (child.pid(), "w"));
    assert_eq!(active[0].as_fd().as_raw_fd(), child.as_fd().as_raw_fd());
    child.kill().unwrap();
    child.join().unwrap();
    assert!(active_children().is_empty());
    assert_eq!(active[0].join().unwrap().code(), Some(-9), "by the further handle");
}

fn a05_a_daemon_is_what_its_creator_is_unless_told_otherwise() {
    fn inner(of_daemon: bool) -> i32 {
        assert_eq!(current().is_daemon(), of_daemon);
        for (told, expected) in [(None, of_daemon), (Some(true), true), (Some(false), false)] {
            let builder = Process::builder();
            let builder = told.map_or(builder.clone(), |yes| builder.daemon(yes));
            let child = builder.spawn(|| i32::from(current().is_daemon())).unwrap();
            assert_eq!(child.is_daemon(), expected, "told {told:?}");
            assert_eq!(child.join().unwrap().code(), Some(i32::from(expected)));
        }
        1
    }
    assert_eq!(inner(false), 1);
    for daemon in [false, true] {
        holds(Process::builder().daemon(daemon).spawn(|| inner(daemon)).unwrap());
    }
}

fn a10_a_grandchild_learns_of_its_parents_death() {
    let (from_grandchild, to_test) = pipe();
    let child = Process::spawn(|| {
        let grandchild = Process::spawn(|| {
            let parent = parent().unwrap();
            let before = parent.is_alive() && !parent.wait_death(SHORT).unwrap();
            (&to_test).write_all(&[u8::from(before)]).unwrap();
            let dead = parent.wait_death(LONG).unwrap() && !parent.is_alive();
            let said = crate::common::readable(parent.as_fd().as_raw_fd(), Duration::ZERO);
            (&to_test).write_all(&[u8::from(dead && said)]).unwrap();
            0
        });
        std::mem::forget(grandchild.unwrap());
        sleep_for_ever()
    })
    .unwrap();
    let mut byte = [0];
    (&from_grandchild).read_exact(&mut byte).unwrap();
    assert_eq!(byte, [1], "alive before");
    let start = Instant::now();
    child.kill().unwrap();
    (&from_grandchild).read_exact(&mut byte).unwrap();
    assert_eq!(byte, [1], "dead after");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    child.join().unwrap();
    reap_all_children();
}

fn a11_a_child_knows_its_parents_pid_and_name() {
    let me = std::process::id();
    let child = Process::builder().name("middle").spawn(|| {
        let above = parent().unwrap();
        assert_eq!((above.pid(), above.name()), (me, "MainProcess"));
        let middle = std::process::id();
        let inner = Process::spawn(|| {
            let above = parent().unwrap();
            i32::from((above.pid(), above.name()) == (middle, "middle") && above.is_alive())
        });
        inner.unwrap().join().unwrap().code().unwrap()
    });
    holds(child.unwrap());
}

/// A child that makes a grandchild and then sleeps. The grandchild writes `?` whenever it is told to,
/// by a byte: whether its parent lives.
struct Observed {
    child: Process,
    ask: std::fs::File,
    answers: std::fs::File,
}

impl Observed {
    fn new() -> Self {
        let (questions, ask) = pipe();
        let (answers, answer) = pipe();
        let child = Process::spawn(|| {
            let grandchild = Process::spawn(|| {
                let above = parent().unwrap();
                write_pid(&answer);
                while (&questions).read_exact(&mut [0]).is_ok() {
                    let waited = above.wait_death(Duration::ZERO).unwrap();
                    assert_eq!(waited, !above.is_alive());
                    (&answer).write_all(&[u8::from(!waited)]).unwrap();
                }
                0
            });
            std::mem::forget(grandchild.unwrap());
            sleep_for_ever()
        })
        .unwrap();
        let observed = Self { child, ask, answers };
        read_pid(&observed.answers);
        observed
    }

    fn says_alive(&self) -> bool {
        (&self.ask).write_all(b"?").unwrap();
        let mut byte = [0];
        (&self.answers).read_exact(&mut byte).unwrap();
        byte == [1]
    }
}

fn b23_a_parent_that_is_a_zombie_is_dead_and_a_stopped_one_is_not() {
    let observed = Observed::new();
    assert!(observed.says_alive());
    let pid = observed.child.pid();
    observed.child.signal(libc::SIGSTOP).unwrap();
    until("it stops", LONG, || state_of(pid) == Some('T'));
    assert!(observed.says_alive(), "a stopped parent");
    observed.child.kill().unwrap();
    until("it is a zombie", LONG, || state_of(pid) == Some('Z'));
    assert!(!observed.says_alive(), "a zombie");
    observed.child.join().unwrap();
    assert_eq!(state_of(pid), None);
    assert!(!observed.says_alive(), "reaped");
    drop((observed.ask, observed.answers));
    // The grandchild has a copy of the writing end of its questions: it does not see their end.
    until("the grandchild is known", LONG, has_children);
    // SAFETY: signals to this test's own process group but itself, which ignores this one.
    unsafe {
        libc::signal(libc::SIGTERM, libc::SIG_IGN);
        libc::kill(0, libc::SIGTERM);
    }
    reap_all_children();
}

fn a_parent_whose_pid_is_another_processs_is_dead() {
    // In a namespace of its own, where ids can be given again at will.
    let tester = Process::spawn(|| {
        // SAFETY: the children of this process alone.
        if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
            return 77;
        }
        let init = Process::spawn(|| {
            let observed = Observed::new();
            assert!(observed.says_alive());
            let pid = observed.child.pid();
            observed.child.kill().unwrap();
            observed.child.join().unwrap();
            let last = (pid - 1).to_string();
            if std::fs::write("/proc/sys/kernel/ns_last_pid", last).is_err() {
                return 77;
            }
            let other = Process::spawn(sleep_for_ever).unwrap();
            assert_eq!(other.pid(), pid, "the id is given again");
            assert!(!observed.says_alive());
            other.kill().unwrap();
            other.join().unwrap();
            // The namespace ends with this process, and with it the grandchild.
            1
        });
        init.unwrap().join().unwrap().code().unwrap()
    });
    let tester = tester.unwrap();
    match tester.join().unwrap().code() {
        Some(77) => println!("skipped: no privilege to give ids again"),
        code => assert_eq!(code, Some(1), "{:?}", tester.panic_message()),
    }
}

fn a_handle_on_the_parent_means_the_same_process_further_down() {
    let (from_below, to_test) = pipe();
    let child = Process::spawn(|| {
        let above = parent().unwrap();
        let pid = above.pid();
        let below = Process::spawn(|| {
            assert!(above.is_alive() && above.pid() == pid && parent().unwrap().pid() != pid);
            assert!(!above.wait_death(SHORT).unwrap());
            write_pid(&to_test);
            i32::from(above.wait_death(LONG).unwrap() && !above.is_alive())
        });
        below.unwrap().join().unwrap().code().unwrap()
    });
    // Its parent is this process, which cannot end; so a middle one is put in between.
    let child = child.unwrap();
    read_pid(&from_below);
    child.kill().unwrap();
    child.join().unwrap();
    let outer = Process::spawn(|| {
        let inner = Process::spawn(|| {
            let above = parent().unwrap();
            let below = Process::spawn(|| {
                write_pid(&to_test);
                let dead = above.wait_death(LONG).unwrap() && !above.is_alive();
                (&to_test).write_all(&[u8::from(dead)]).unwrap();
                0
            });
            below.unwrap().join().unwrap().code().unwrap()
        });
        std::mem::forget(inner.unwrap());
        sleep_for_ever()
    })
    .unwrap();
    read_pid(&from_below);
    outer.kill().unwrap();
    let mut byte = [0];
    (&from_below).read_exact(&mut byte).unwrap();
    assert_eq!(byte, [1], "two below");
    outer.join().unwrap();
    // SAFETY: this test's own process group but itself.
    unsafe {
        libc::signal(libc::SIGTERM, libc::SIG_IGN);
        libc::kill(0, libc::SIGTERM);
    }
    reap_all_children();
}

fn a_child_has_one_descriptor_of_its_parent_however_deep() {
    fn down(depth: i32, above: usize) -> i32 {
        let open = crate::common::descriptors().len();
        let expected = if depth == 0 { above + 1 } else { above };
        assert_eq!(open, expected, "at depth {depth}");
        if depth == 5 {
            return 1;
        }
        // The handles on children are copied too, but here each is made after the fork that counts.
        Process::spawn(|| down(depth + 1, open)).unwrap().join().unwrap().code().unwrap()
    }
    let open = crate::common::descriptors().len();
    holds(Process::spawn(|| down(0, open)).unwrap());
}

fn a_process_forked_by_other_code_has_no_parent_and_no_children() {
    let child = Process::builder().name("w").spawn(|| {
        let sleeper = Process::spawn(sleep_for_ever).unwrap();
        // SAFETY: this process has one thread.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let alone = parent().is_none() && active_children().is_empty();
            let plain = !current().is_child() && current().name() == "w";
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(alone && plain)) };
        }
        let mut status = 0;
        // SAFETY: waits for the child made above.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert_eq!(active_children().len(), 1);
        sleeper.kill().unwrap();
        sleeper.join().unwrap();
        libc::WEXITSTATUS(status)
    });
    holds(child.unwrap());
}

fn active_children_are_those_that_live_also_without_a_handle() {
    let kept = Process::builder().name("kept").spawn(sleep_for_ever).unwrap();
    drop(Process::builder().name("dropped").spawn(sleep_for_ever).unwrap());
    let ended = Process::builder().name("ended").spawn(|| 0).unwrap();
    assert!(crate::common::readable(ended.as_fd().as_raw_fd(), LONG));
    let mut active = active_children();
    active.sort_by(|a, b| a.name().cmp(b.name()));
    let names: Vec<&str> = active.iter().map(Process::name).collect();
    assert_eq!(names, ["dropped", "kept"]);
    assert_eq!(state_of(ended.pid()), None, "who has ended is reaped");
    assert!(ended.join().unwrap().success());
    // None of this process's are a child's.
    holds(Process::spawn(|| i32::from(active_children().is_empty())).unwrap());
    for child in &active {
        child.kill().unwrap();
        child.join().unwrap();
    }
    assert!(active_children().is_empty() && !has_children());
    drop((active, kept));
    // One that other code reaped is no more, either.
    let child = Process::spawn(|| 0).unwrap();
    // SAFETY: our own child.
    unsafe { libc::waitpid(child.pid() as i32, std::ptr::null_mut(), 0) };
    assert!(active_children().is_empty());
}

fn a_further_handle_does_all_but_end_a_daemon_when_dropped() {
    let daemon = Process::builder().daemon(true).spawn(sleep_for_ever).unwrap();
    drop(active_children());
    assert!(daemon.is_alive() && active_children()[0].is_daemon());
    let further = active_children().pop().unwrap();
    drop(daemon);
    assert_eq!(further.exit_status().unwrap(), Some(ExitStatus::Signaled(9)));
    // Dropped first, the last handle has nothing to end.
    let plain = Process::spawn(sleep_for_ever).unwrap();
    let further = active_children().pop().unwrap();
    drop(plain);
    drop(further);
    let again = active_children().pop().expect("it goes on");
    again.kill().unwrap();
    again.join().unwrap();
}

fn children_of_several_threads_are_all_there() {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let child = Process::spawn(sleep_for_ever).unwrap();
                    let mine = |other: &Process| other.pid() == child.pid();
                    assert!(active_children().iter().any(mine));
                    child.kill().unwrap();
                    child.join().unwrap();
                    assert!(!active_children().iter().any(mine));
                }
            });
        }
    });
    assert!(active_children().is_empty());
}

fn a_child_of_a_threaded_program_can_have_children() {
    // At the fork, other threads are likely to be at the table of children, or about to spawn.
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let _ = active_children();
                }
            });
        }
        for round in 0..300 {
            let child = Process::spawn(|| {
                assert!(active_children().is_empty());
                let inner = Process::spawn(|| 1).unwrap();
                assert!(active_children().len() <= 1);
                inner.join().unwrap().code().unwrap()
            })
            .unwrap();
            let status = child.join_timeout(LONG).unwrap();
            if status.is_none() {
                child.kill().unwrap();
            }
            stop.store(status != Some(ExitStatus::Exited(1)), Ordering::Relaxed);
            assert_eq!(status, Some(ExitStatus::Exited(1)), "{round}: {:?}", child.panic_message());
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// The canceller that the signal handler uses.
static OF_HANDLER: AtomicPtr<Canceller> = AtomicPtr::new(std::ptr::null_mut());

extern "C" fn cancel_in_handler(_: i32) {
    // SAFETY: set before the signal, and never freed.
    unsafe { (*OF_HANDLER.load(Ordering::Acquire)).cancel() };
}

fn a_join_is_cancelled_by_another_thread_and_by_a_signal_handler() {
    let child = Process::spawn(sleep_for_ever).unwrap();
    let canceller = Canceller::new();
    for round in 0..20 {
        canceller.reset();
        let other = canceller.clone();
        let begun = std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(round));
                other.cancel();
            });
            let begun = Instant::now();
            let error = canceller.run(|| child.join()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Interrupted);
            begun
        });
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    // Outside the region it waits on.
    assert_eq!(child.join_timeout(SHORT).unwrap(), None);

    let canceller = Box::leak(Box::new(Canceller::new()));
    OF_HANDLER.store(canceller, Ordering::Release);
    // SAFETY: a handler that is async-signal-safe, and a timer of this process.
    unsafe {
        libc::signal(libc::SIGALRM, cancel_in_handler as extern "C" fn(i32) as usize);
        let once = libc::itimerval {
            it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 },
            it_value: libc::timeval { tv_sec: 0, tv_usec: 30_000 },
        };
        libc::setitimer(libc::ITIMER_REAL, &raw const once, std::ptr::null_mut());
    }
    let error = canceller.run(|| child.join()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    // Stopped, it has not ended of the first signal before the wait looks.
    child.signal(libc::SIGSTOP).unwrap();
    until("it stops", LONG, || state_of(child.pid()) == Some('T'));
    let error = canceller.run(|| child.terminate_then_kill(LONG)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    child.signal(libc::SIGCONT).unwrap();
    assert_eq!(child.join().unwrap().code(), Some(-15));
}

fn a_join_that_is_cancelled_before_it_begins_looks_all_the_same() {
    let child = Process::spawn(sleep_for_ever).unwrap();
    let canceller = Canceller::new();
    canceller.cancel();
    canceller.run(|| {
        assert_eq!(child.join().unwrap_err().kind(), ErrorKind::Interrupted);
        assert_eq!(child.join_timeout(LONG).unwrap_err().kind(), ErrorKind::Interrupted);
        assert_eq!(child.join_timeout(Duration::ZERO).unwrap(), None);
        child.kill().unwrap();
        assert!(crate::common::readable(child.as_fd().as_raw_fd(), LONG));
        assert_eq!(child.join().unwrap().code(), Some(-9), "there is nothing to wait for");
        // What a dropped daemon waits for is not cancelled.
        drop(Process::builder().daemon(true).spawn(sleep_for_ever).unwrap());
        assert!(!has_children());
    });
}

fn a_wait_for_the_parents_death_is_cancelled() {
    let child = Process::spawn(|| {
        let canceller = Canceller::new();
        let other = canceller.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(SHORT);
            other.cancel();
        });
        let parent = parent().unwrap();
        let error = canceller.run(|| parent.wait_death(LONG)).unwrap_err();
        thread.join().unwrap();
        i32::from(error.kind() == ErrorKind::Interrupted)
    });
    holds(child.unwrap());
}

fn a_wait_that_can_be_cancelled_uses_no_processor() {
    /// Seconds of processor that this thread has used.
    fn used() -> f64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: a valid place for the answer.
        unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
        time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
    }
    let child = Process::spawn(sleep_for_ever).unwrap();
    let seconds = 5.0;
    // The rest of the machine has a part in what a look costs: the best of a few is what it is.
    let shares = (0..3).map(|_| {
        let before = used();
        let waited = Canceller::new().run(|| child.join_timeout(Duration::from_secs_f64(seconds)));
        assert_eq!(waited.unwrap(), None);
        (used() - before) / seconds
    });
    let share = shares.fold(f64::MAX, f64::min);
    println!("{:.4} % of a processor", share * 100.0);
    assert!(share < 0.001, "{share}");
    child.kill().unwrap();
    child.join().unwrap();
}

fn terminate_then_kill_gives_time_and_then_no_more() {
    extern "C" fn end_with_7(_: i32) {
        // SAFETY: async-signal-safe.
        unsafe { libc::_exit(7) };
    }
    let (ready, is_ready) = pipe();
    let start = |handler: usize| {
        let child = Process::spawn(|| {
            // SAFETY: a standard action, or a handler that ends the process.
            unsafe { libc::signal(libc::SIGTERM, handler) };
            write_pid(&is_ready);
            sleep_for_ever()
        });
        read_pid(&ready);
        child.unwrap()
    };
    let child = start(end_with_7 as extern "C" fn(i32) as usize);
    assert_eq!(child.terminate_then_kill(LONG).unwrap(), ExitStatus::Exited(7));
    let child = start(libc::SIG_DFL);
    assert_eq!(child.terminate_then_kill(LONG).unwrap().code(), Some(-15));
    assert_eq!(child.terminate_then_kill(LONG).unwrap().code(), Some(-15), "again");
    for stopped in [false, true] {
        let child = start(if stopped { libc::SIG_DFL } else { libc::SIG_IGN });
        if stopped {
            child.signal(libc::SIGSTOP).unwrap();
            until("it stops", LONG, || state_of(child.pid()) == Some('T'));
        }
        let begun = Instant::now();
        assert_eq!(child.terminate_then_kill(SHORT).unwrap().code(), Some(-9));
        assert!(begun.elapsed() >= SHORT);
    }
    let child = Process::spawn(|| 3).unwrap();
    assert!(crate::common::readable(child.as_fd().as_raw_fd(), LONG));
    assert_eq!(child.terminate_then_kill(Duration::ZERO).unwrap(), ExitStatus::Exited(3));
}

fn a_core_is_told_of() {
    /// Dies in `folder` of a signal that leaves a core as large as is allowed.
    fn die(folder: &std::path::Path, allowed: libc::rlim_t) -> ! {
        let _ = std::env::set_current_dir(folder);
        // SAFETY: limits of this child alone; aborts by the standard action.
        unsafe {
            let mut limit: libc::rlimit = std::mem::zeroed();
            libc::getrlimit(libc::RLIMIT_CORE, &raw mut limit);
            limit.rlim_cur = allowed.min(limit.rlim_max);
            libc::setrlimit(libc::RLIMIT_CORE, &raw const limit);
            libc::signal(libc::SIGQUIT, libc::SIG_DFL);
            libc::raise(libc::SIGQUIT);
            libc::_exit(1)
        }
    }
    let folder = std::env::temp_dir().join(format!("mpshm-core-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut seen = Vec::new();
    for allowed in [0, libc::RLIM_INFINITY] {
        // SAFETY: this program has one thread.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            die(&folder, allowed);
        }
        let mut status = 0;
        // SAFETY: our own child.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        let child = Process::spawn(|| die(&folder, allowed)).unwrap();
        assert_eq!(child.join().unwrap(), ExitStatus::Signaled(libc::SIGQUIT));
        assert_eq!(child.core_dumped().unwrap(), libc::WCOREDUMP(status), "of {allowed}");
        seen.push(libc::WCOREDUMP(status));
    }
    std::fs::remove_dir_all(&folder).unwrap();
    if !seen.contains(&true) {
        println!("this machine leaves no cores: only their absence was checked");
    }
    let killed = Process::spawn(sleep_for_ever).unwrap();
    assert!(!killed.core_dumped().unwrap());
    killed.kill().unwrap();
    killed.join().unwrap();
    assert!(!killed.core_dumped().unwrap());
}

/// What a child's panic brings home: the message and the backtrace.
fn panic_of(trace: &str, f: impl FnOnce() -> i32) -> (Option<String>, Option<String>) {
    // SAFETY: the test has one thread. Read by the standard library at its first panic.
    unsafe { std::env::set_var("RUST_BACKTRACE", trace) };
    let mut result = None;
    captured(2, || {
        let child = Process::spawn(f).unwrap();
        child.join().unwrap();
        result = Some((child.panic_message(), child.panic_backtrace()));
    });
    result.unwrap()
}

#[inline(never)]
fn a_function_to_be_named() -> i32 {
    panic!("here")
}

fn a_backtrace_comes_home_if_the_environment_asks_for_it() {
    let (message, trace) = panic_of("1", a_function_to_be_named);
    assert!(message.unwrap().starts_with("here (tests/processes/family.rs:"));
    let trace = trace.expect("a backtrace");
    assert!(
        trace.contains("a_function_to_be_named") && trace.contains("processes/family.rs:"),
        "{trace}"
    );
    let (message, trace) = panic_of("0", a_function_to_be_named);
    assert_eq!((message.is_some(), trace), (true, None));
    // Of one that was caught, nothing stays, nor of another one than that which ended it.
    let caught = || std::panic::catch_unwind(a_function_to_be_named).is_err();
    assert_eq!(panic_of("1", || i32::from(caught())), (None, None));
    let resumed = || {
        caught();
        std::panic::resume_unwind(Box::new("resumed"))
    };
    assert_eq!(panic_of("1", resumed), (Some("resumed".into()), None));
    let aborted = || {
        struct Twice;
        impl Drop for Twice {
            fn drop(&mut self) {
                panic!("second");
            }
        }
        let _twice = Twice;
        a_function_to_be_named()
    };
    let (message, trace) = panic_of("1", aborted);
    assert!(message.is_some() && trace.is_some(), "an abort by a panic");
}

fn a_long_backtrace_is_cut() {
    #[inline(never)]
    fn deep(depth: u32) -> i32 {
        if depth == 0 {
            panic!("deep")
        }
        std::hint::black_box(deep(depth - 1)) + 1
    }
    let (message, trace) = panic_of("1", || deep(400));
    assert!(message.unwrap().starts_with("deep ("));
    let trace = trace.unwrap();
    assert!(trace.ends_with("… [cut]") && trace.len() <= 28 << 10, "{}", trace.len());
    assert!(trace.len() > 27 << 10, "{}", trace.len());
}

/// In a child that has its own view of files: `/proc/self/cgroup` and a tree of control groups as told.
fn cpu_count_under(cgroup: &str, files: &[(&str, &str)]) -> Option<i32> {
    let child = Process::spawn(|| {
        let mount = |from: &std::ffi::CStr, to: &std::ffi::CStr, kind: &std::ffi::CStr, flags| {
            // SAFETY: terminated strings; of this child's own view alone.
            unsafe {
                libc::mount(from.as_ptr(), to.as_ptr(), kind.as_ptr(), flags, std::ptr::null()) == 0
            }
        };
        // SAFETY: no pointers.
        let own = unsafe { libc::unshare(libc::CLONE_NEWNS) } == 0;
        let private = libc::MS_REC | libc::MS_PRIVATE;
        if !own
            || !mount(c"none", c"/", c"", private)
            || !mount(c"none", c"/sys/fs/cgroup", c"tmpfs", 0)
        {
            return 200;
        }
        std::fs::write("/sys/fs/cgroup/own", cgroup).unwrap();
        for (path, text) in files {
            let path = std::path::Path::new("/sys/fs/cgroup").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        if !mount(c"/sys/fs/cgroup/own", c"/proc/self/cgroup", c"", libc::MS_BIND) {
            return 200;
        }
        cpu_count() as i32
    });
    let code = child.unwrap().join().unwrap().code().unwrap();
    (code != 200).then_some(code)
}

fn cpu_count_heeds_the_control_group() {
    let all = cpu_count() as i32;
    let Some(free) = cpu_count_under("0::/a\n", &[("cgroup.controllers", "cpu\n")]) else {
        println!("skipped: no privilege for a view of files of one's own");
        return;
    };
    assert_eq!(free, all);
    let second = |quota: &str| {
        let files = [("cgroup.controllers", "cpu\n"), ("a/cgroup.controllers", "cpu\n")];
        let quota = [("a/b/cgroup.controllers", "cpu\n"), ("a/b/cpu.max", quota)];
        cpu_count_under("0::/a/b\n", &[&files[..], &quota[..]].concat()).unwrap()
    };
    assert_eq!(second("max 100000\n"), all);
    assert_eq!(second("100000 100000\n"), 1);
    assert_eq!(second("199999 100000\n"), 1, "a second one would not be full");
    assert_eq!(second("1000 100000\n"), 1, "less than one is one");
    assert_eq!(second("10000000 100000\n"), all, "more than there are");
    // A folder above limits, too.
    let above = [
        ("a/cgroup.controllers", "cpu\n"),
        ("a/cpu.max", "100000 100000\n"),
        ("a/b/cgroup.controllers", "cpu\n"),
        ("a/b/cpu.max", "max 100000\n"),
    ];
    assert_eq!(cpu_count_under("0::/a/b\n", &above), Some(1));
    // Version 1, at its usual place.
    let first = |quota: &str| {
        let files = [("cpu/a/cpu.cfs_quota_us", quota), ("cpu/a/cpu.cfs_period_us", "100000\n")];
        cpu_count_under("4:memory:/x\n3:cpu,cpuacct:/a\n", &files).unwrap()
    };
    assert_eq!(first("-1\n"), all);
    assert_eq!(first("100000\n"), 1);
    assert_eq!(first("10000000\n"), all);
}
