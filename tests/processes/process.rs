//! What a `Process` promises, over real processes.
//!
//! Lines of the list of behaviours that are not here: a01, a02, a05, a10 and a11 are in `process_family`, a16
//! is in `process_start`. Of a06 and a14, no handle exists before the start and none can be used after it was
//! closed: the compiler refuses both, which documentation tests of `ProcessBuilder` and `Process` show.
//!
//! `MPSHM_QUICK` forks 500 times from busy threads, not 10,000.

use crate::common::{
    Test, captured, has_children, pipe, readable, reap_all_children, state_of, until,
};
use crate::tests;
use mpshm::{Error, ErrorKind, ExitStatus, Process, cpu_count};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(30);

pub const TESTS: &[Test] = tests![
    a03_alive_after_the_start_and_ended_with_zero_after_join,
    a04_the_child_sees_its_arguments_name_and_pid,
    a07_join_with_a_time_out_waits_that_long_and_leaves_the_child_running,
    a08_signals_show_as_negative_codes,
    a09_exit_codes_are_eight_bits_and_a_panic_is_printed_with_its_place,
    a12_a_tree_of_processes_reports_in_order,
    a13_the_descriptor_is_readable_when_the_child_has_ended,
    a15_a_hundred_short_children_and_a_hundred_terminated_ones: 60,
    a17_a_thread_left_running_ends_with_the_child,
    a18_a_child_without_stdout_and_stderr_runs,
    a19_join_outlasts_signals,
    a21_a_child_spawns_children_of_its_own,
    a22_cpu_count_lies_within_the_affinity_mask,
    b22_a_fork_from_busy_threads_reaches_the_closure: 1200,
    b23_two_threads_that_join_at_once_get_the_same_status: 60,
    b23_status_is_unknown_with_sigchld_ignored,
    b23_status_is_unknown_after_a_foreign_wait,
    b31_a_handle_in_a_forked_child_says_so_and_its_drop_harms_nobody,
    b34_dropped_handles_leave_no_zombie,
    a_stopped_child_is_alive,
    a_signal_number_that_does_not_exist_is_invalid,
    a_dropped_daemon_is_killed_and_reaped,
    kill_with_parent_kills_when_the_parent_is_killed,
    without_kill_with_parent_the_child_lives_on,
    no_descriptor_left_is_an_error_and_leaves_no_child,
    output_of_parent_and_child_comes_out_once,
    output_of_other_threads_comes_out_once: 60,
    c_output_of_other_threads_comes_out_once: 60,
    a_thread_in_a_read_of_c_stdin_does_not_hold_up_a_spawn,
    a_parents_destructors_and_atexit_handlers_do_not_run_in_the_child,
    a_panic_message_comes_home_with_its_place,
    a_panic_that_the_closure_caught_is_no_message,
    a_panic_of_another_thread_of_the_child_is_no_message,
    a_resumed_panic_comes_home_without_a_place,
    a_panic_under_a_hook_that_replaced_ours_comes_home_without_a_place,
    a_panic_hook_that_hung_at_the_fork_does_not_hang_the_child,
    the_users_panic_hook_is_called_in_the_child,
];

/// A closure that never returns.
fn sleep_for_ever() -> i32 {
    loop {
        std::thread::park();
    }
}

/// Waits until one byte comes; a closure's body.
fn wait_for_byte(mut reader: &std::fs::File) -> i32 {
    reader.read_exact(&mut [0]).expect("a byte");
    0
}

fn a03_alive_after_the_start_and_ended_with_zero_after_join() {
    let (reader, writer) = pipe();
    let child = Process::spawn(|| wait_for_byte(&reader)).unwrap();
    assert!(child.is_alive());
    assert_eq!(child.exit_status().unwrap(), None);
    assert_eq!(child.panic_message(), None);
    (&writer).write_all(b"x").unwrap();
    assert_eq!(child.join().unwrap(), ExitStatus::Exited(0));
    assert!(!child.is_alive());
    assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Exited(0)));
    assert_eq!(child.join().unwrap(), ExitStatus::Exited(0), "joined again");
    assert!(!has_children());
}

fn a04_the_child_sees_its_arguments_name_and_pid() {
    assert_eq!(Process::current_name(), None);
    let (mut reader, mut writer) = pipe();
    let argument = vec![1, 2, 3];
    let named = Process::builder()
        .name("w")
        .spawn(|| {
            let name = Process::current_name().unwrap();
            write!(writer, "{argument:?} {name} {}", std::process::id()).unwrap();
            0
        })
        .unwrap();
    let second = Process::spawn(|| {
        let nested = Process::spawn(|| 0).unwrap();
        write!(&writer, " {} {}", Process::current_name().unwrap(), nested.name()).unwrap();
        nested.join().unwrap().code().unwrap()
    });
    named.join().unwrap();
    let second = second.unwrap();
    assert!(second.join().unwrap().success());
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let (first, rest) = (format!("[1, 2, 3] w {}", named.pid()), " Process-2 Process-2:1");
    assert!(text == format!("{first}{rest}") || text == format!("{rest}{first}"), "{text}");
    assert_eq!((named.name(), second.name()), ("w", "Process-2"));
}

fn a07_join_with_a_time_out_waits_that_long_and_leaves_the_child_running() {
    let child = Process::spawn(sleep_for_ever).unwrap();
    let start = Instant::now();
    assert_eq!(child.join_timeout(Duration::ZERO).unwrap(), None);
    assert_eq!(child.join_timeout(Instant::now() - SHORT).unwrap(), None);
    assert!(start.elapsed() < SHORT, "{:?}", start.elapsed());
    let start = Instant::now();
    assert_eq!(child.join_timeout(SHORT).unwrap(), None);
    assert!(start.elapsed() >= SHORT);
    assert!(child.is_alive());
    child.kill().unwrap();
    assert_eq!(child.join_timeout(Duration::MAX).unwrap(), Some(ExitStatus::Signaled(9)));
    assert_eq!(child.join_timeout(Duration::ZERO).unwrap(), Some(ExitStatus::Signaled(9)));
}

fn a08_signals_show_as_negative_codes() {
    type Act = fn(&Process) -> Result<(), Error>;
    let acts: [(Act, i32); 4] = [
        (Process::terminate, -15),
        (Process::kill, -9),
        (Process::interrupt, -2),
        (|child| child.signal(libc::SIGUSR1), -libc::SIGUSR1),
    ];
    for (act, code) in acts {
        let child = Process::spawn(sleep_for_ever).unwrap();
        act(&child).unwrap();
        assert_eq!(child.join().unwrap().code(), Some(code));
        act(&child).expect("a signal to the dead is no error");
    }
    let child = Process::spawn(|| std::process::abort()).unwrap();
    assert_eq!(child.join().unwrap().code(), Some(-6));
    assert_eq!(child.panic_message(), None);
}

fn a09_exit_codes_are_eight_bits_and_a_panic_is_printed_with_its_place() {
    for (returned, code) in [(0, 0), (8, 8), (255, 255), (256, 0), (300, 44), (-1, 255)] {
        let child = Process::spawn(|| returned).unwrap();
        assert_eq!(child.join().unwrap(), ExitStatus::Exited(code), "returned {returned}");
    }
    let text = captured(2, || {
        let child = Process::spawn(|| panic!("out of {}", "paper")).unwrap();
        assert_eq!(child.join().unwrap(), ExitStatus::Exited(101));
    });
    assert!(
        text.contains("out of paper") && text.contains("tests/processes/process.rs:"),
        "{text}"
    );
}

fn a12_a_tree_of_processes_reports_in_order() {
    fn grow(path: &str, depth: u32, mut writer: &std::fs::File) -> i32 {
        writeln!(writer, "{path}").unwrap();
        for branch in ["0", "1"].iter().filter(|_| depth > 0) {
            let path = format!("{path}{branch}");
            let child = Process::spawn(|| grow(&path, depth - 1, writer)).unwrap();
            assert!(child.join().unwrap().success());
        }
        0
    }
    let (mut reader, writer) = pipe();
    grow("r", 3, &writer);
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let expected = "r r0 r00 r000 r001 r01 r010 r011 r1 r10 r100 r101 r11 r110 r111";
    assert_eq!(text.split_whitespace().collect::<Vec<_>>().join(" "), expected);
}

fn a13_the_descriptor_is_readable_when_the_child_has_ended() {
    let (reader, writer) = pipe();
    let child = Process::spawn(|| wait_for_byte(&reader)).unwrap();
    let fd = child.as_fd().as_raw_fd();
    assert!(!readable(fd, SHORT));
    (&writer).write_all(b"x").unwrap();
    assert!(readable(fd, Duration::from_secs(1)));
    assert!(!child.is_alive());
    assert!(readable(fd, Duration::ZERO), "still readable after it was reaped");
    // SAFETY: descriptors of our own, and an event of our own to be filled in.
    unsafe {
        let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 7 };
        assert_eq!(libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event), 0);
        assert_eq!(libc::epoll_wait(epoll, &raw mut event, 1, 1000), 1);
        libc::close(epoll);
    }
    assert!(child.join().unwrap().success());
}

fn a15_a_hundred_short_children_and_a_hundred_terminated_ones() {
    let short: Vec<_> = (0..100).map(|_| Process::spawn(|| 0).unwrap()).collect();
    for child in &short {
        assert_eq!(child.join().unwrap(), ExitStatus::Exited(0));
    }
    let sleeping: Vec<_> = (0..100).map(|_| Process::spawn(sleep_for_ever).unwrap()).collect();
    for child in &sleeping {
        child.terminate().unwrap();
    }
    for child in &sleeping {
        assert_eq!(child.join().unwrap().code(), Some(-15));
    }
}

fn a17_a_thread_left_running_ends_with_the_child() {
    let child = Process::spawn(|| {
        let (started, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            started.send(()).unwrap();
            sleep_for_ever()
        });
        wait.recv().unwrap();
        5
    })
    .unwrap();
    assert_eq!(child.join().unwrap(), ExitStatus::Exited(5));
    // The way to wait for threads.
    let child = Process::spawn(|| {
        let done = AtomicU32::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(SHORT);
                done.store(1, Ordering::Relaxed);
            });
        });
        done.into_inner() as i32
    })
    .unwrap();
    assert_eq!(child.join().unwrap(), ExitStatus::Exited(1));
}

fn a18_a_child_without_stdout_and_stderr_runs() {
    let child = Process::spawn(|| {
        // SAFETY: the child's own descriptors.
        unsafe {
            libc::close(1);
            libc::close(2);
        }
        print!("lost");
        eprint!("lost");
        0
    })
    .unwrap();
    assert_eq!(child.join().unwrap(), ExitStatus::Exited(0));
    // The same from a parent that has none.
    let parent = Process::spawn(|| {
        // SAFETY: the child's own descriptors.
        unsafe {
            libc::close(0);
            libc::close(1);
            libc::close(2);
        }
        let child = Process::spawn(|| {
            println!("lost");
            panic!("lost")
        })
        .unwrap();
        let code = child.join().unwrap().code().unwrap();
        code - i32::from(child.panic_message().unwrap().starts_with("lost ("))
    })
    .unwrap();
    assert_eq!(parent.join().unwrap(), ExitStatus::Exited(100));
}

fn a19_join_outlasts_signals() {
    static SEEN: AtomicU32 = AtomicU32::new(0);
    extern "C" fn count(_: i32) {
        SEEN.fetch_add(1, Ordering::Relaxed);
    }
    let (reader, writer) = pipe();
    // SAFETY: the handler adds to a word; without SA_RESTART system calls are interrupted.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as extern "C" fn(i32) as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
    }
    let target = std::process::id() as i32;
    let child = Process::spawn(|| wait_for_byte(&reader)).unwrap();
    let pest = Process::spawn(|| {
        for _ in 0..50 {
            // SAFETY: a signal to the test, which waits for this process before it ends.
            unsafe { libc::kill(target, libc::SIGUSR1) };
            std::thread::sleep(Duration::from_millis(1));
        }
        (&writer).write_all(b"x").unwrap();
        0
    })
    .unwrap();
    let start = Instant::now();
    assert_eq!(child.join_timeout(Duration::from_millis(20)).unwrap(), None);
    assert!(start.elapsed() >= Duration::from_millis(20));
    assert_eq!(child.join().unwrap(), ExitStatus::Exited(0));
    assert!(pest.join().unwrap().success());
    assert!(SEEN.load(Ordering::Relaxed) > 5, "too few signals to tell");
}

fn a21_a_child_spawns_children_of_its_own() {
    let child = Process::spawn(|| {
        let children: Vec<_> = (1..=3).map(|n| Process::spawn(move || n).unwrap()).collect();
        children.iter().map(|child| child.join().unwrap().code().unwrap()).sum()
    })
    .unwrap();
    assert_eq!(child.join().unwrap(), ExitStatus::Exited(6));
}

fn a22_cpu_count_lies_within_the_affinity_mask() {
    // SAFETY: valid sets of this thread.
    let allowed = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&set), &raw mut set);
        libc::CPU_COUNT(&set) as usize
    };
    assert!((1..=allowed).contains(&cpu_count()), "{} of {allowed}", cpu_count());
    // SAFETY: as above.
    unsafe {
        let mut first: libc::cpu_set_t = std::mem::zeroed();
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&set), &raw mut set);
        let one = (0..1024).find(|&cpu| libc::CPU_ISSET(cpu, &set)).unwrap();
        libc::CPU_SET(one, &mut first);
        libc::sched_setaffinity(0, size_of_val(&first), &raw const first);
    }
    assert_eq!(cpu_count(), 1);
}

/// Threads that allocate, print and format until told to stop.
fn with_busy_threads(threads: usize, f: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let stop = &stop;
            scope.spawn(move || {
                let mut kept = Vec::new();
                for round in 0_usize.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    kept.push(vec![round; round % 500]);
                    if kept.len() > 50 {
                        kept.clear();
                    }
                    println!("thread {thread}");
                    eprintln!("thread {thread}");
                    // SAFETY: a terminated string.
                    unsafe { libc::puts(c"from C".as_ptr()) };
                }
            });
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
        stop.store(true, Ordering::Relaxed);
        result.unwrap();
    });
}

/// Sends descriptor `number` of this process to nowhere.
fn to_nowhere(number: i32) {
    let nowhere = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
    // SAFETY: descriptors of our own.
    assert_eq!(unsafe { libc::dup2(nowhere.as_raw_fd(), number) }, number);
}

fn b22_a_fork_from_busy_threads_reaches_the_closure() {
    let rounds = if std::env::var_os("MPSHM_QUICK").is_some() { 500 } else { 10_000 };
    let begun = Instant::now();
    let tester = Process::spawn(|| {
        to_nowhere(1);
        to_nowhere(2);
        // To find the names of functions takes a hundred times as long as a fork.
        // SAFETY: this process has one thread yet.
        unsafe { std::env::set_var("RUST_BACKTRACE", "0") };
        with_busy_threads(8, || {
            for round in 0..rounds {
                let child = Process::spawn(|| {
                    let kept: Vec<_> = (0..100).map(|n| vec![n; n]).collect();
                    println!("{kept:?}");
                    eprintln!("{}", kept.len());
                    // SAFETY: a terminated string.
                    unsafe { libc::puts(c"from C".as_ptr()) };
                    if round % 10 == 0 {
                        panic!("printed under load");
                    }
                    7
                })
                .unwrap();
                let status = child.join_timeout(LONG).unwrap();
                if status.is_none() {
                    child.kill().unwrap();
                    child.join().unwrap();
                }
                let expected = if round % 10 == 0 { 101 } else { 7 };
                assert_eq!(status, Some(ExitStatus::Exited(expected)), "fork {round}");
            }
        });
        0
    })
    .unwrap();
    let status = tester.join().unwrap();
    assert!(status.success(), "{status}: {:?}", tester.panic_message());
    let each = begun.elapsed() / rounds;
    println!("{rounds} forks, {each:?} each");
}

fn b23_two_threads_that_join_at_once_get_the_same_status() {
    for round in 0..300 {
        let child = Process::spawn(|| round % 200).unwrap();
        let expected = ExitStatus::Exited(round % 200);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| child.join().unwrap());
            let third = scope.spawn(|| {
                loop {
                    if let Some(status) = child.exit_status().unwrap() {
                        break status;
                    }
                }
            });
            assert_eq!(child.join().unwrap(), expected, "round {round}");
            assert_eq!(other.join().unwrap(), expected, "round {round}, second thread");
            assert_eq!(third.join().unwrap(), expected, "round {round}, third thread");
        });
    }
}

fn b23_status_is_unknown_with_sigchld_ignored() {
    // SAFETY: sets a standard action.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    for _ in 0..50 {
        let child = Process::spawn(|| 3).unwrap();
        assert_eq!(child.join().unwrap(), ExitStatus::Unknown);
        assert!(!child.is_alive());
        assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Unknown));
        child.kill().unwrap();
    }
    let child = Process::spawn(sleep_for_ever).unwrap();
    assert!(child.is_alive());
    assert_eq!(child.join_timeout(SHORT).unwrap(), None);
    child.kill().unwrap();
    assert_eq!(child.join().unwrap().code(), None);
    assert!(readable(child.as_fd().as_raw_fd(), Duration::ZERO));
}

fn b23_status_is_unknown_after_a_foreign_wait() {
    let child = Process::spawn(|| 3).unwrap();
    let mut status = 0;
    // SAFETY: waits for our own child, behind the handle's back.
    let reaped = unsafe { libc::waitpid(child.pid() as i32, &raw mut status, 0) };
    assert_eq!(reaped as u32, child.pid());
    assert!(!child.is_alive());
    assert_eq!(child.exit_status().unwrap(), Some(ExitStatus::Unknown));
    assert_eq!(child.join().unwrap(), ExitStatus::Unknown);
    child.terminate().expect("a signal to the dead is no error");

    let panicked = Process::spawn(|| panic!("heard all the same")).unwrap();
    // SAFETY: as above.
    unsafe { libc::waitpid(panicked.pid() as i32, &raw mut status, 0) };
    assert_eq!(panicked.join().unwrap(), ExitStatus::Unknown);
    assert!(panicked.panic_message().unwrap().starts_with("heard all the same"));
}

fn b31_a_handle_in_a_forked_child_says_so_and_its_drop_harms_nobody() {
    let child = Process::builder().daemon(true).spawn(sleep_for_ever).unwrap();
    let (held, pid) = (&child, child.pid());
    let stranger = Process::spawn(move || {
        let refused = [
            held.join().map(drop),
            held.join_timeout(Duration::ZERO).map(drop),
            held.exit_status().map(drop),
            held.kill(),
            held.terminate(),
            held.interrupt(),
            held.signal(0),
        ];
        for (at, result) in refused.iter().enumerate() {
            let error = result.as_ref().expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Forked, "{at}");
            assert!(error.to_string().contains(&pid.to_string()), "{error}");
        }
        assert!(held.is_alive() && held.panic_message().is_none() && held.pid() == pid);
        0
    })
    .unwrap();
    let status = stranger.join().unwrap();
    assert!(status.success(), "{status}: {:?}", stranger.panic_message());
    assert!(child.is_alive());

    // Dropped in the other process: a daemon is not killed by it.
    let cell = std::cell::Cell::new(Some(child));
    let stranger = Process::spawn(|| {
        let child = cell.take().unwrap();
        let fd = child.as_fd().as_raw_fd();
        drop(child);
        // SAFETY: a look at a number.
        i32::from(unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1)
    })
    .unwrap();
    assert!(stranger.join().unwrap().success(), "the descriptor was closed there");
    let child = cell.take().unwrap();
    assert!(child.is_alive());
    child.kill().unwrap();
    child.join().unwrap();
}

fn b34_dropped_handles_leave_no_zombie() {
    // Ended before the drop: reaped there.
    let child = Process::spawn(|| 0).unwrap();
    assert!(readable(child.as_fd().as_raw_fd(), LONG));
    drop(child);
    assert!(!has_children());

    // Ends after the drop: reaped by what comes next.
    let (reader, writer) = pipe();
    let pids: Vec<_> =
        (0..10).map(|_| Process::spawn(|| wait_for_byte(&reader)).unwrap().pid()).collect();
    for pid in &pids {
        assert!(matches!(state_of(*pid), Some('R' | 'S')), "dropping does not kill");
    }
    (&writer).write_all(&[0; 10]).unwrap();
    for pid in &pids {
        until("the child ends", LONG, || state_of(*pid) == Some('Z'));
    }
    let next = Process::spawn(|| 0).unwrap();
    for pid in &pids {
        assert_eq!(state_of(*pid), None, "reaped by the next spawn");
    }
    next.join().unwrap();

    // A forked child forgets those of its parent.
    drop(Process::spawn(|| wait_for_byte(&reader)).unwrap());
    let child = Process::spawn(|| {
        let before = crate::common::descriptors().len();
        Process::spawn(|| 0).unwrap().join().unwrap();
        i32::from(crate::common::descriptors().len() >= before)
    })
    .unwrap();
    assert!(child.join().unwrap().success(), "the parent's pidfd was closed in the child");
    (&writer).write_all(&[0]).unwrap();
    until("the last is reaped", LONG, || {
        Process::spawn(|| 0).unwrap().join().unwrap();
        !has_children()
    });
}

fn a_stopped_child_is_alive() {
    let child = Process::spawn(sleep_for_ever).unwrap();
    child.signal(libc::SIGSTOP).unwrap();
    until("the child stops", LONG, || state_of(child.pid()) == Some('T'));
    assert!(child.is_alive());
    assert_eq!(child.join_timeout(SHORT).unwrap(), None);
    assert!(!readable(child.as_fd().as_raw_fd(), Duration::ZERO));
    child.signal(libc::SIGCONT).unwrap();
    child.terminate().unwrap();
    assert_eq!(child.join().unwrap().code(), Some(-15));
}

fn a_signal_number_that_does_not_exist_is_invalid() {
    let child = Process::spawn(sleep_for_ever).unwrap();
    for number in [-1, 65, i32::MAX, i32::MIN] {
        let error = child.signal(number).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(&number.to_string()), "{error}");
    }
    child.signal(0).unwrap();
    assert!(child.is_alive());
    child.kill().unwrap();
    child.join().unwrap();
    assert_eq!(child.signal(-1).unwrap_err().kind(), ErrorKind::Invalid);
}

fn a_dropped_daemon_is_killed_and_reaped() {
    let child = Process::builder().daemon(true).spawn(sleep_for_ever).unwrap();
    assert!(has_children());
    drop(child);
    assert!(!has_children());
}

/// Makes a child that makes a child and tells its id; returns both.
fn grandchild(kill_with_parent: bool) -> (Process, u32) {
    let (mut reader, writer) = pipe();
    let child = Process::spawn(|| {
        let grandchild = Process::builder()
            .kill_with_parent(kill_with_parent)
            .spawn(|| {
                (&writer).write_all(&std::process::id().to_ne_bytes()).unwrap();
                sleep_for_ever()
            })
            .unwrap();
        grandchild.join().unwrap();
        0
    })
    .unwrap();
    let mut pid = [0; 4];
    reader.read_exact(&mut pid).unwrap();
    (child, u32::from_ne_bytes(pid))
}

fn kill_with_parent_kills_when_the_parent_is_killed() {
    let (child, grandchild) = grandchild(true);
    assert!(matches!(state_of(grandchild), Some('R' | 'S')));
    child.kill().unwrap();
    assert_eq!(child.join().unwrap().code(), Some(-9));
    // It comes to the test when its parent dies.
    let mut status = 0;
    // SAFETY: waits for what has become our own child.
    assert_eq!(unsafe { libc::waitpid(grandchild as i32, &raw mut status, 0) }, grandchild as i32);
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == 9);
}

fn without_kill_with_parent_the_child_lives_on() {
    let (child, grandchild) = grandchild(false);
    child.kill().unwrap();
    child.join().unwrap();
    std::thread::sleep(SHORT);
    assert_eq!(state_of(grandchild), Some('S'));
    // SAFETY: what has become our own child.
    unsafe { libc::kill(grandchild as i32, libc::SIGKILL) };
    reap_all_children();
}

fn no_descriptor_left_is_an_error_and_leaves_no_child() {
    let tester = Process::spawn(|| {
        let used =
            crate::common::descriptors().last_key_value().map_or(0, |(&number, _)| number) + 1;
        let limit = libc::rlimit { rlim_cur: used as u64, rlim_max: used as u64 };
        // SAFETY: a valid limit, of this child alone.
        unsafe {
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
            while libc::dup(2) >= 0 {}
        }
        let error = Process::builder().name("one too many").spawn(|| 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert!(error.to_string().contains("one too many"), "{error}");
        assert!(!has_children());
        0
    })
    .unwrap();
    let status = tester.join().unwrap();
    assert!(status.success(), "{status}: {:?}", tester.panic_message());
}

fn output_of_parent_and_child_comes_out_once() {
    // SAFETY: terminated strings; `puts` to the C library's own buffer, since stdout is a pipe.
    let c_text = |text: &std::ffi::CStr| unsafe { libc::puts(text.as_ptr()) };
    let text = captured(1, || {
        print!("[parent, Rust]");
        c_text(c"[parent, C]");
        let child = Process::spawn(|| {
            print!("[child, Rust]");
            c_text(c"[child, C]");
            0
        })
        .unwrap();
        assert!(child.join().unwrap().success());
        let panicking = Process::spawn(|| {
            print!("[panicking, Rust]");
            c_text(c"[panicking, C]");
            std::panic::resume_unwind(Box::new("quietly"))
        })
        .unwrap();
        assert_eq!(panicking.join().unwrap().code(), Some(101));
        print!("[after]");
    });
    let pieces = [
        "[parent, Rust]",
        "[parent, C]",
        "[child, Rust]",
        "[child, C]",
        "[panicking, Rust]",
        "[panicking, C]",
        "[after]",
    ];
    assert_eq!(text.replace('\n', ""), pieces.concat());
}

/// What comes out of a pipe while two threads print numbers, by `print`, and 200 children are made
/// that print one each, if they are to: the numbers as `source:number`, source 2 the children.
fn printed_by_threads(print: fn(String), children_print: bool) -> String {
    let (mut reader, writer) = pipe();
    let tester = Process::spawn(|| {
        // SAFETY: descriptors of our own.
        unsafe { libc::dup2(writer.as_raw_fd(), 1) };
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let stop = &stop;
                scope.spawn(move || {
                    for number in 0_u32.. {
                        print(format!("{thread}:{number} "));
                        // A lock may starve one of them while the children are made.
                        if number > 100 && stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                });
            }
            for child in 0..200 {
                let child = Process::spawn(|| {
                    if children_print {
                        print(format!("2:{child} "));
                    }
                    0
                });
                child.unwrap().join().unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        0
    })
    .unwrap();
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(tester.join().unwrap().success());
    text
}

/// Checks that each source's numbers are there once and in order; how many the children's are.
fn check_numbers(text: &str) -> u32 {
    let mut next = [0_u32; 3];
    for piece in text.split_whitespace() {
        let (source, number) = piece.split_once(':').expect("a whole piece");
        let (source, number): (usize, u32) = (source.parse().unwrap(), number.parse().unwrap());
        assert_eq!(number, next[source], "of source {source}: lost, or come twice");
        next[source] += 1;
    }
    assert!(next[0] > 100 && next[1] > 100, "lost");
    next[2]
}

fn output_of_other_threads_comes_out_once() {
    // In one piece, and without a newline, so that it stays in the buffer.
    let text = printed_by_threads(|piece| print!("{piece}"), true);
    assert_eq!(check_numbers(&text), 200);
}

fn c_output_of_other_threads_comes_out_once() {
    // The children are silent: the C library cuts pieces where its buffer ends, and theirs would
    // come between the halves.
    let print = |piece: String| {
        let piece = std::ffi::CString::new(piece).unwrap();
        // SAFETY: a format that takes one terminated string.
        unsafe { libc::printf(c"%s".as_ptr(), piece.as_ptr()) };
    };
    check_numbers(&printed_by_threads(print, false));
}

fn a_thread_in_a_read_of_c_stdin_does_not_hold_up_a_spawn() {
    let (reader, writer) = pipe();
    let (tid_reader, tid_writer) = pipe();
    let tester = Process::builder()
        .daemon(true)
        .spawn(|| {
            // SAFETY: descriptors of our own; getchar locks its stream itself.
            unsafe { libc::dup2(reader.as_raw_fd(), 0) };
            std::thread::spawn(move || {
                // SAFETY: no preconditions.
                let tid = unsafe { libc::syscall(libc::SYS_gettid) } as u32;
                (&tid_writer).write_all(&tid.to_ne_bytes()).unwrap();
                // SAFETY: no preconditions.
                unsafe { libc::getchar() }
            });
            let mut tid = [0; 4];
            (&tid_reader).read_exact(&mut tid).unwrap();
            let tid = u32::from_ne_bytes(tid);
            until("the thread waits", LONG, || {
                state_of(tid) == Some('S')
                    && std::fs::read_to_string(format!("/proc/{tid}/syscall"))
                        .map_or(true, |call| call.starts_with("0 0x0 "))
            });
            let child = Process::spawn(|| 4).unwrap();
            child.join().unwrap().code().unwrap()
        })
        .unwrap();
    assert_eq!(tester.join_timeout(LONG).unwrap(), Some(ExitStatus::Exited(4)));
    // Until here nothing could end the read.
    drop(writer);
}

fn a_parents_destructors_and_atexit_handlers_do_not_run_in_the_child() {
    struct Loud;
    impl Drop for Loud {
        fn drop(&mut self) {
            print!("[dropped]");
        }
    }
    extern "C" fn at_exit() {
        print!("[at exit]");
    }
    // SAFETY: the handler only prints.
    unsafe { libc::atexit(at_exit) };
    let text = captured(1, || {
        let _loud = Loud;
        for panics in [false, true] {
            let child = Process::spawn(|| {
                if panics {
                    std::panic::resume_unwind(Box::new(0));
                }
                0
            });
            child.unwrap().join().unwrap();
        }
        print!("[end]");
    });
    assert_eq!(text, "[end][dropped]");
}

/// Spawns, joins, and gives the code and the panic message; what the hook prints goes nowhere.
fn message_of(f: impl FnOnce() -> i32) -> (i32, Option<String>) {
    let mut result = None;
    captured(2, || {
        let child = Process::spawn(f).unwrap();
        let code = child.join().unwrap().code().unwrap();
        result = Some((code, child.panic_message()));
    });
    result.unwrap()
}

fn a_panic_message_comes_home_with_its_place() {
    let line = line!() + 1;
    let (code, message) = message_of(|| panic!("paper {}", 7));
    let place = format!("paper 7 ({}:{line}:", file!());
    let message = message.unwrap();
    assert!(code == 101 && message.starts_with(&place) && message.ends_with(')'), "{message}");

    let (_, message) = message_of(|| panic!("{}", "ä".repeat(100_000)));
    let message = message.unwrap();
    let cut = format!("ä… [cut] ({}:", file!());
    assert!(message.len() < 4096 && message.contains(&cut), "{message}");

    let (code, message) = message_of(|| std::panic::panic_any(5));
    assert_eq!(code, 101);
    assert!(message.unwrap().starts_with("a panic whose payload is no text ("));

    // As under `panic = "abort"`.
    let (code, message) = message_of(|| {
        struct Twice;
        impl Drop for Twice {
            fn drop(&mut self) {
                panic!("second");
            }
        }
        let _twice = Twice;
        panic!("first")
    });
    assert_eq!(code, -6);
    assert!(message.is_some());
}

fn a_panic_that_the_closure_caught_is_no_message() {
    let caught = || std::panic::catch_unwind(|| panic!("caught")).is_err();
    assert_eq!(message_of(|| i32::from(caught())), (1, None));
    let (code, message) = message_of(|| {
        caught();
        panic!("not caught")
    });
    assert_eq!(code, 101);
    assert!(message.unwrap().starts_with("not caught ("));
}

fn a_panic_of_another_thread_of_the_child_is_no_message() {
    let (code, message) = message_of(|| {
        let thread = std::thread::spawn(|| panic!("in a thread"));
        if thread.join().is_err() { panic!("in the closure") } else { 0 }
    });
    assert_eq!(code, 101);
    assert!(message.unwrap().starts_with("in the closure ("));
    let thread = || std::thread::spawn(|| panic!("in a thread")).join().is_err();
    assert_eq!(message_of(|| i32::from(thread())), (1, None));
    let abort = || if thread() { std::process::abort() } else { 0 };
    assert_eq!(message_of(abort), (-6, None));
}

fn a_resumed_panic_comes_home_without_a_place() {
    let resumed = || std::panic::resume_unwind(Box::new("resumed"));
    assert_eq!(message_of(resumed), (101, Some("resumed".into())));
    let other = || {
        let _ = std::panic::catch_unwind(|| panic!("caught"));
        std::panic::resume_unwind(Box::new("resumed"))
    };
    assert_eq!(message_of(other), (101, Some("resumed".into())));
}

fn a_panic_under_a_hook_that_replaced_ours_comes_home_without_a_place() {
    Process::spawn(|| 0).unwrap().join().unwrap();
    std::panic::set_hook(Box::new(|_| {}));
    assert_eq!(message_of(|| panic!("bare")), (101, Some("bare".into())));
}

fn a_panic_hook_that_hung_at_the_fork_does_not_hang_the_child() {
    // As the standard hook does: prints under a lock.
    static PRINTING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    static INSIDE: AtomicBool = AtomicBool::new(false);
    static GO_ON: AtomicBool = AtomicBool::new(false);
    std::panic::set_hook(Box::new(|_| {
        let _printing = PRINTING.lock();
        INSIDE.store(true, Ordering::Relaxed);
        while !GO_ON.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
    }));
    Process::spawn(|| 0).unwrap().join().unwrap();
    let thread = std::thread::spawn(|| panic!("in the parent"));
    until("the thread panics", LONG, || INSIDE.load(Ordering::Relaxed));
    let mut message = None;
    let mut status = None;
    let text = captured(2, || {
        let child = Process::builder().name("w").spawn(|| panic!("in the child")).unwrap();
        status = child.join_timeout(LONG).unwrap();
        child.kill().unwrap();
        child.join().unwrap();
        message = child.panic_message();
    });
    GO_ON.store(true, Ordering::Relaxed);
    assert!(thread.join().is_err());
    // From here on a failed assertion prints under the hook above, which returns at once.
    assert_eq!(status, Some(ExitStatus::Exited(101)));
    assert!(message.unwrap().starts_with("in the child ("));
    assert!(text.contains("process 'w' panicked at") && text.contains("in the child"), "{text}");
}

fn the_users_panic_hook_is_called_in_the_child() {
    std::panic::set_hook(Box::new(|info| eprintln!("mine: {}", info.location().unwrap().file())));
    let text = captured(2, || {
        let child = Process::spawn(|| panic!("x")).unwrap();
        assert_eq!(child.join().unwrap().code(), Some(101));
    });
    assert_eq!(text, format!("mine: {}\n", file!()));
}
