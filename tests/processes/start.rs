//! What a child is to be like before its closure or its program runs, and that what cannot be is the
//! spawn's error: options, standard descriptors, programs that are executed (a16).

use crate::common::{Test, has_children, pipe, state_of};
use crate::tests;
use mpshm::{Canceller, ErrorKind, ExitStatus, Process, ProcessBuilder, Segment, Stdio, Value};
use mpshm::{active_children, cpu_count, parent};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(10);

/// What this program is when a test executes it.
pub fn play_role() {
    // What the tests execute is this very program.
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("--as") {
        let role = arguments.next().expect("a role");
        std::process::exit(play(&role, arguments.collect()));
    }
}

pub const TESTS: &[Test] = tests![
    a16_only_what_was_asked_for_crosses_exec_and_the_kth_child_has_no_more_than_the_first,
    a_segment_is_handed_over_to_a_program_but_not_to_what_that_executes,
    a_label_that_cannot_be_or_comes_twice_is_an_error,
    arguments_environment_and_code_of_a_program,
    a_program_is_looked_for_in_the_path,
    a_program_that_cannot_be_executed_is_the_spawns_error,
    a_program_has_no_signal_blocked_and_dies_of_a_broken_pipe,
    a_program_is_signalled_and_counted_like_any_child,
    an_exec_ends_though_other_threads_keep_children_of_that_moment: 60,
    a_child_is_pinned,
    processors_that_are_not_there_are_the_spawns_error,
    niceness_is_added_and_a_privilege_that_lacks_is_the_spawns_error,
    standard_descriptors_are_nothing_a_pipe_or_a_file,
    standard_descriptors_may_be_each_other,
    standard_descriptors_may_have_standard_numbers,
    a_session_or_a_group_of_its_own,
    a_child_killed_while_it_is_set_up_ends_the_spawn: 120,
    a_child_stopped_while_it_is_set_up_keeps_the_spawn_until_it_is_cancelled: 120,
];

/// What this program does when it is executed by a test.
fn play(role: &str, arguments: Vec<String>) -> i32 {
    match role {
        "descriptors" => {
            let open: Vec<String> =
                crate::common::descriptors().keys().map(ToString::to_string).collect();
            println!("{}", open.join(" "));
        }
        "arguments" => println!("{arguments:?} {:?}", std::env::var("ROLE_OF_THE_TEST").ok()),
        "add" => return add(&arguments),
        "signals" => {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            for word in ["SigBlk:", "SigIgn:"] {
                let line = status.lines().find_map(|line| line.strip_prefix(word)).unwrap();
                let set = u64::from_str_radix(line.trim(), 16).unwrap();
                // 32 and up are the C library's own, and whoever started all this may ignore some.
                println!("{word} {:x}", set & 0x7fff_ffff);
            }
        }
        "ends" => return arguments[0].parse().unwrap(),
        "sleeps" => loop {
            std::thread::park();
        },
        other => panic!("no role '{other}'"),
    }
    0
}

/// Adds to the value that was handed over; what it executes then must not have it.
fn add(arguments: &[String]) -> i32 {
    let label = &arguments[0];
    let Ok(segment) = Segment::inherited(label) else { return 5 };
    let again = Segment::inherited(label).expect("again");
    assert_eq!(segment.id(), again.id());
    Value::<u64>::open(segment.at("sum")).unwrap().fetch_add(7);
    assert_eq!(Segment::inherited("other").unwrap_err().kind(), ErrorKind::NotFound);
    assert!(parent().is_none(), "an executed program");
    let variable = std::env::var("MPSHM_SEGMENTS").unwrap();
    let inner = std::process::Command::new(myself()).args(["--as", "add", label]).status().unwrap();
    assert_eq!(inner.code(), Some(5), "it came to a program that it was not handed to: {variable}");
    0
}

fn myself() -> std::path::PathBuf {
    std::env::current_exe().unwrap()
}

/// Executes this program in a role, and returns what it prints.
fn printed(builder: ProcessBuilder, role: &[&str]) -> String {
    let (mut reader, writer) = pipe();
    let arguments = ["--as"].iter().chain(role);
    let child = builder.stdout(writer).exec(myself(), arguments).unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(child.join().unwrap(), ExitStatus::Exited(0));
    text
}

fn a16_only_what_was_asked_for_crosses_exec_and_the_kth_child_has_no_more_than_the_first() {
    // Ones that an exec would leave open.
    // SAFETY: copies of a descriptor, closed at the end.
    let open: Vec<i32> = (0..5).map(|_| unsafe { libc::dup(0) }).collect();
    let segment = Segment::anonymous(4096).unwrap();
    let mut kept = Vec::new();
    for _ in 0..10 {
        let child = Process::builder().exec(myself(), ["--as", "sleeps"]).unwrap();
        kept.push(child);
        assert_eq!(printed(Process::builder(), &["descriptors"]), "0 1 2\n");
        let text = printed(Process::builder().segment("s", &segment), &["descriptors"]);
        let numbers: Vec<i32> = text.split_whitespace().map(|n| n.parse().unwrap()).collect();
        assert!(numbers.len() == 4 && numbers.starts_with(&[0, 1, 2]), "{text}");
    }
    for child in kept {
        child.kill().unwrap();
        child.join().unwrap();
    }
    // SAFETY: those made above.
    open.into_iter().for_each(|fd| unsafe {
        libc::close(fd);
    });
}

fn a_segment_is_handed_over_to_a_program_but_not_to_what_that_executes() {
    let segment = Segment::anonymous(4096).unwrap();
    let other = Segment::anonymous(4096).unwrap();
    let sum = Value::<u64>::create(segment.at("sum"), 1).unwrap();
    let builder = Process::builder().segment("first", &other).segment("a label", &segment);
    let child = builder.clone().exec(myself(), ["--as", "add", "a label"]).unwrap();
    assert_eq!(child.join().unwrap(), ExitStatus::Exited(0));
    assert_eq!(sum.load(), 8);
    // This process is not who it was handed to; a program without any does not see an older list.
    assert_eq!(Segment::inherited("a label").unwrap_err().kind(), ErrorKind::NotFound);
    let child = Process::builder().env("MPSHM_SEGMENTS", "a label:0:1");
    let child = child.exec(myself(), ["--as", "add", "a label"]).unwrap();
    assert_eq!(child.join().unwrap(), ExitStatus::Exited(5));
    // The parent may close its own before the program attaches, and killed, it leaves the rest alone.
    let child = builder.exec(myself(), ["--as", "sleeps"]).unwrap();
    child.kill().unwrap();
    child.join().unwrap();
    assert_eq!(sum.fetch_add(1), 8);
}

fn a_label_that_cannot_be_or_comes_twice_is_an_error() {
    let segment = Segment::anonymous(4096).unwrap();
    for (labels, kind) in [
        (["a:b", "c"], ErrorKind::Invalid),
        (["", "c"], ErrorKind::Invalid),
        (["c", "c"], ErrorKind::Exists),
    ] {
        let builder = Process::builder().segment(labels[0], &segment).segment(labels[1], &segment);
        assert_eq!(builder.exec("true", [""; 0]).unwrap_err().kind(), kind, "{labels:?}");
    }
    assert_eq!(Segment::inherited("a:b").unwrap_err().kind(), ErrorKind::Invalid);
}

fn arguments_environment_and_code_of_a_program() {
    let role = ["arguments", "a b", "", "ä"];
    let builder = Process::builder().env("ROLE_OF_THE_TEST", "old");
    let text = printed(builder.clone().env("ROLE_OF_THE_TEST", "x=y"), &role);
    assert_eq!(text, "[\"a b\", \"\", \"ä\"] Some(\"x=y\")\n");
    assert_eq!(printed(Process::builder(), &["arguments"]), "[] None\n");
    let child = builder.name("ender").exec(myself(), ["--as", "ends", "9"]).unwrap();
    assert_eq!(child.name(), "ender");
    assert_eq!(child.join().unwrap(), ExitStatus::Exited(9));
    for bad in ["", "A=B", "A\0"] {
        let error = Process::builder().env(bad, "1").exec("true", [""; 0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
    }
    assert_eq!(Process::builder().exec("tr\0ue", [""; 0]).unwrap_err().kind(), ErrorKind::Invalid);
    let error = Process::builder().exec("true", ["a\0b"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

/// A folder of its own, which goes with it.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("mpshm-start-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A file of these bytes and this mode.
    fn file(&self, name: &str, text: &str, mode: u32) -> std::path::PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn a_program_is_looked_for_in_the_path() {
    let folder = Folder::new();
    folder.file("not-allowed", "#!/bin/sh\nexit 1\n", 0o644);
    folder.file("only-here", "#!/bin/sh\nexit 21\n", 0o755);
    let builder = Process::builder().env("PATH", folder.0.join("none").join(":").as_os_str());
    let error = builder.exec("only-here", [""; 0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let path = format!("/no/such/folder:{}:/bin:/usr/bin", folder.0.display());
    let builder = Process::builder().env("PATH", path);
    let child = builder.clone().exec("only-here", [""; 0]).unwrap();
    assert_eq!(child.join().unwrap(), ExitStatus::Exited(21));
    let error = builder.exec("not-allowed", [""; 0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission);
}

fn a_program_that_cannot_be_executed_is_the_spawns_error() {
    let folder = Folder::new();
    let closed = folder.file("closed", "#!/bin/sh\n", 0o600);
    let no_program = folder.file("no-program", "\x01\x02\x03\x04", 0o755);
    let cases: [(&std::path::Path, ErrorKind, i32); 5] = [
        ("/no/such/program".as_ref(), ErrorKind::NotFound, libc::ENOENT),
        ("no-such-program-anywhere".as_ref(), ErrorKind::NotFound, libc::ENOENT),
        (&closed, ErrorKind::Permission, libc::EACCES),
        (&folder.0, ErrorKind::Permission, libc::EACCES),
        (&no_program, ErrorKind::System, libc::ENOEXEC),
    ];
    for (program, kind, errno) in cases {
        let error = Process::builder().name("w").exec(program, [""; 0]).unwrap_err();
        assert_eq!((error.kind(), error.errno()), (kind, errno), "{error}");
        let text = error.to_string();
        assert!(text.contains("process 'w'") && text.contains(program.to_str().unwrap()), "{text}");
        assert!(!has_children(), "{text}");
    }
    assert!(active_children().is_empty());
}

fn a_program_has_no_signal_blocked_and_dies_of_a_broken_pipe() {
    // SAFETY: valid sets; this test's process alone.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut set, libc::SIGUSR1);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        libc::signal(libc::SIGUSR2, libc::SIG_IGN);
    }
    let text = printed(Process::builder(), &["signals"]);
    // A Rust program ignores SIGPIPE itself. What else is ignored here stays so, what the tests were started with included.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    // The C library has two beyond these for itself.
    let numbered = |text: &str| u64::from_str_radix(text.trim(), 16).unwrap() & 0x7fff_ffff;
    assert_eq!(numbered(ignored) >> (libc::SIGUSR2 - 1) & 1, 1);
    let theirs = text.strip_prefix("SigBlk: 0\nSigIgn: ").unwrap_or_else(|| panic!("{text}"));
    assert_eq!(numbered(theirs), numbered(ignored));
    let (reader, writer) = pipe();
    drop(reader);
    let child = Process::builder().stdout(writer).exec("sh", ["-c", "echo x; kill -9 $$"]).unwrap();
    assert_eq!(child.join().unwrap().code(), Some(-libc::SIGPIPE));
}

fn a_program_is_signalled_and_counted_like_any_child() {
    let child = Process::builder().exec(myself(), ["--as", "sleeps"]).unwrap();
    assert!(child.is_alive());
    assert_eq!(active_children().len(), 1);
    child.terminate().unwrap();
    assert_eq!(child.join().unwrap().code(), Some(-15));
    let daemon = Process::builder().daemon(true).exec(myself(), ["--as", "sleeps"]).unwrap();
    drop(daemon);
    assert!(!has_children());
    let (reader, writer) = pipe();
    let outer = Process::spawn(|| {
        let builder = Process::builder().kill_with_parent(true);
        let inner = builder.exec(myself(), ["--as", "sleeps"]).unwrap();
        (&writer).write_all(&inner.pid().to_ne_bytes()).unwrap();
        inner.join().unwrap().code().unwrap()
    })
    .unwrap();
    let mut pid = [0; 4];
    (&reader).read_exact(&mut pid).unwrap();
    outer.kill().unwrap();
    outer.join().unwrap();
    crate::common::reap_all_children();
    assert_eq!(state_of(u32::from_ne_bytes(pid)), None);
}

fn an_exec_ends_though_other_threads_keep_children_of_that_moment() {
    // Such a child has a copy of every descriptor that was open when it was forked, for as long as it lives:
    // a spawn that waited for one to be closed would wait for it.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut kept = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let sleeper = Process::spawn(|| {
                    loop {
                        std::thread::park();
                    }
                });
                kept.push(sleeper.unwrap());
                if kept.len() == 30 {
                    for child in kept.drain(..) {
                        child.kill().unwrap();
                        child.join().unwrap();
                    }
                }
            }
            for child in kept {
                child.kill().unwrap();
                child.join().unwrap();
            }
        });
        for _ in 0..100 {
            let child = Process::builder().exec("true", [""; 0]).unwrap();
            assert!(child.join().unwrap().success());
            assert!(Process::builder().exec("/no/such/program", [""; 0]).is_err());
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// The processors that this process may use.
fn allowed() -> Vec<usize> {
    // SAFETY: a valid set.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, size_of_val(&set), &raw mut set), 0);
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect()
    }
}

/// Spawns a closure and returns what it prints.
fn closure_prints(builder: ProcessBuilder, text: impl FnOnce() -> String) -> String {
    let (mut reader, writer) = pipe();
    let child = builder
        .spawn(|| {
            (&writer).write_all(text().as_bytes()).unwrap();
            0
        })
        .unwrap();
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(child.join().unwrap().success(), "{text}");
    text
}

fn a_child_is_pinned() {
    let all = allowed();
    for cpu in &all {
        let builder = Process::builder().pin_cpu(*cpu);
        assert_eq!(closure_prints(builder, || format!("{:?}", allowed())), format!("[{cpu}]"));
    }
    let builder = Process::builder().pin_cpus(all.iter().copied());
    assert_eq!(closure_prints(builder, || format!("{:?}", allowed())), format!("{all:?}"));
    // Handed on, to a program too.
    let outer = Process::builder().pin_cpu(all[0]).spawn(|| {
        let inner = Process::spawn(|| cpu_count() as i32).unwrap();
        inner.join().unwrap().code().unwrap()
    });
    assert_eq!(outer.unwrap().join().unwrap().code(), Some(1));
    assert_eq!(allowed(), all, "the parent's own stay");
}

fn processors_that_are_not_there_are_the_spawns_error() {
    let ran = Value::<u8>::new(0).unwrap();
    let last = allowed().last().unwrap() + 1;
    for cpus in [vec![], vec![last], vec![allowed()[0], last], vec![60_000], vec![usize::MAX]] {
        let builder = Process::builder().pin_cpus(cpus.iter().copied());
        let error = builder.spawn(|| ran.fetch_add(1) as i32).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{cpus:?}: {error}");
        assert!(!has_children());
    }
    assert_eq!(ran.load(), 0, "the closure ran");
    let error = Process::builder().pin_cpu(last).exec("true", [""; 0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

fn nice_of_this() -> i32 {
    // SAFETY: no pointers.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

fn niceness_is_added_and_a_privilege_that_lacks_is_the_spawns_error() {
    let before = nice_of_this();
    let nicer = closure_prints(Process::builder().nice(3), || nice_of_this().to_string());
    assert_eq!(nicer, (before + 3).min(19).to_string());
    let nicest = closure_prints(Process::builder().nice(i32::MAX), || nice_of_this().to_string());
    assert_eq!(nicest, "19");
    assert_eq!(nice_of_this(), before);
    let plain = Process::spawn(|| {
        // SAFETY: gives up privileges, of this child alone.
        unsafe {
            let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            libc::setrlimit(libc::RLIMIT_NICE, &raw const none);
            if libc::geteuid() == 0 {
                assert_eq!(libc::setresuid(65534, 65534, 65534), 0);
            }
        }
        let error = Process::builder().nice(-1).spawn(|| 0).unwrap_err();
        i32::from(error.kind() == ErrorKind::Permission && !has_children())
    });
    assert_eq!(plain.unwrap().join().unwrap().code(), Some(1));
}

fn standard_descriptors_are_nothing_a_pipe_or_a_file() {
    let (input, mut to_child) = pipe();
    let (mut from_child, output) = pipe();
    let builder = Process::builder().stdin(input).stdout(output).stderr(Stdio::null());
    let child = builder
        .spawn(|| {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).unwrap();
            print!("got {line}");
            eprintln!("lost");
            // Each pipe's end of this process, and the other end, which the fork copied: the number
            // that this end had before is closed.
            let open = crate::common::descriptors();
            let ends = |number| open.values().filter(|to| **to == open[&number]).count() as i32;
            10 * ends(0) + ends(1)
        })
        .unwrap();
    to_child.write_all(b"a line\n").unwrap();
    let mut text = String::new();
    from_child.read_to_string(&mut text).unwrap();
    assert_eq!(text, "got a line\n");
    assert_eq!(child.join().unwrap().code(), Some(22));
    let lost = Process::builder().stdin(Stdio::null()).spawn(|| {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).unwrap() as i32
    });
    assert!(lost.unwrap().join().unwrap().success());
}

fn standard_descriptors_may_be_each_other() {
    let (mut reader, writer) = pipe();
    let both = Stdio::from(writer);
    let child = Process::builder()
        .stdout(both.clone())
        .stderr(both)
        .exec("sh", ["-c", "echo out; echo err >&2; exec true"])
        .unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "out\nerr\n");
    assert!(child.join().unwrap().success());
}

fn standard_descriptors_may_have_standard_numbers() {
    let tester = Process::spawn(|| {
        let (mut reader, writer) = pipe();
        // Descriptor 0 is the pipe's writing end, and 2 is standard output of the child to be.
        // SAFETY: descriptors of this child's own.
        let (zero, one) = unsafe {
            libc::dup2(writer.as_raw_fd(), 0);
            libc::dup2(writer.as_raw_fd(), 2);
            libc::fcntl(0, libc::F_SETFD, libc::FD_CLOEXEC);
            use std::os::fd::FromRawFd;
            (OwnedFd::from_raw_fd(0), OwnedFd::from_raw_fd(2))
        };
        drop(writer);
        let (input, mut to_child) = pipe();
        to_child.write_all(b"in").unwrap();
        drop(to_child);
        let builder = Process::builder().stdin(input).stdout(one).stderr(zero);
        let child = builder.exec("sh", ["-c", "cat; printf out; printf err >&2"]).unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert!(child.join().unwrap().success());
        i32::from(text == "inouterr")
    })
    .unwrap();
    assert_eq!(tester.join().unwrap().code(), Some(1));
}

fn a_session_or_a_group_of_its_own() {
    // SAFETY: no pointers.
    let own = || unsafe { (libc::getpid(), libc::getsid(0), libc::getpgrp()) };
    let (_, session, group) = own();
    let ids = |(pid, session, group)| format!("{} {}", session == pid, group == pid);
    let text = closure_prints(Process::builder().new_session(), || ids(own()));
    assert_eq!(text, "true true");
    let text = closure_prints(Process::builder().process_group(0), || ids(own()));
    assert_eq!(text, "false true");
    let text = closure_prints(Process::builder(), || format!("{} {}", own().1, own().2));
    assert_eq!(text, format!("{session} {group}"));
    let leader = Process::builder().process_group(0).exec("sleep", ["100"]).unwrap();
    let builder = Process::builder().process_group(leader.pid());
    assert_eq!(closure_prints(builder, || own().2.to_string()), leader.pid().to_string());
    leader.kill().unwrap();
    leader.join().unwrap();
    for group in [u32::MAX, leader.pid()] {
        let error = Process::builder().process_group(group).spawn(|| 0).unwrap_err();
        let kind = error.kind();
        assert!(matches!(kind, ErrorKind::Invalid | ErrorKind::Permission), "{error}");
        assert!(!has_children());
    }
}

/// Has a thread do something to the child that is just being made, again and again, while `rounds` make
/// one each; it is told of by `active_children` before its spawn has returned.
fn disturbed(act: impl Fn(&Process) + Sync, rounds: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                active_children().iter().for_each(&act);
                std::thread::yield_now();
            }
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(rounds));
        stop.store(true, Ordering::Relaxed);
        result.unwrap();
    });
}

fn a_child_killed_while_it_is_set_up_ends_the_spawn() {
    let (mut early, mut late) = (0, 0);
    disturbed(
        |child| child.kill().unwrap(),
        || {
            for round in 0..400 {
                let builder = Process::builder().nice(1).stdout(Stdio::null());
                let child = if round % 2 == 0 {
                    builder.exec("sleep", ["100"])
                } else {
                    builder.spawn(|| {
                        loop {
                            std::thread::park();
                        }
                    })
                };
                let child = child.unwrap();
                match child.exit_status().unwrap() {
                    Some(_) => early += 1,
                    None => late += 1,
                }
                assert_eq!(child.join_timeout(LONG).unwrap().unwrap().code(), Some(-9));
            }
        },
    );
    println!("killed before the spawn returned: {early}, after: {late}");
    assert!(early > 0, "none was killed early enough to tell");
    assert!(!has_children());
}

fn a_child_stopped_while_it_is_set_up_keeps_the_spawn_until_it_is_cancelled() {
    let canceller = Canceller::new();
    let (mut cancelled, mut stopped_later) = (0, 0);
    let stop = |child: &Process| {
        let _ = child.signal(libc::SIGSTOP);
        if state_of(child.pid()) == Some('T') {
            canceller.cancel();
        }
    };
    disturbed(stop, || {
        for _ in 0..1000 {
            canceller.reset();
            let made = canceller.run(|| Process::builder().nice(1).exec("sleep", ["100"]));
            match made {
                Ok(child) => {
                    stopped_later += 1;
                    child.kill().unwrap();
                    child.join_timeout(LONG).unwrap().expect("ended");
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
                    cancelled += 1;
                }
            }
            if cancelled == 5 {
                break;
            }
        }
    });
    println!("stopped while set up: {cancelled}, later: {stopped_later}");
    assert!(cancelled > 0, "none was stopped early enough to tell");
    assert!(!has_children());
}
