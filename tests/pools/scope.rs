//! Maps over what the caller has borrowed: values, failures, deaths of children and caller, memory.

use crate::common::{Test, state_of, unique, until};
use crate::tests;
use mpshm::{
    Array, Canceller, ErrorKind, ExitStatus, Process, ScopeMapError, TaskError, Value, scope_map,
    scope_map_bytes, scope_map_each,
};
use std::cell::Cell;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(10);

fn kill(pid: u32, signal: i32) {
    // SAFETY: a signal to a process that this test started.
    unsafe { libc::kill(pid as i32, signal) };
}

fn own_pid() -> u32 {
    std::process::id()
}

/// The living children of a process.
fn children_of(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let all = list.unwrap_or_default();
    all.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn a_map_over_borrowed_items_equals_the_serial_one() {
    let factor = Cell::new(3u64);
    for count in [0usize, 1, 2, 3, 10, 1000, 100_000] {
        let words: Vec<String> = (0..count).map(|n| format!("word {n}")).collect();
        let items: Vec<&str> = words.iter().map(String::as_str).collect();
        let weigh = |word: &&str| word.bytes().map(u64::from).sum::<u64>() * factor.get();
        let serial: Vec<u64> = items.iter().map(weigh).collect();
        for workers in [1, 2, 5] {
            assert_eq!(scope_map(workers, &items, weigh).unwrap(), serial);
        }
    }
    let wide = scope_map(2, &[1u8, 2, 3], |n| [u128::from(*n); 3]).unwrap();
    assert_eq!(wide, [[1; 3], [2; 3], [3; 3]]);
    assert_eq!(scope_map(2, &[(), ()], |()| ()).unwrap(), [(), ()]);
    for workers in [0, 1001] {
        let error = scope_map(workers, &[1], |n: &u32| *n).unwrap_err();
        assert!(
            matches!(&error, ScopeMapError::Map(error) if error.kind() == ErrorKind::Invalid),
            "{error:?}"
        );
    }
}

fn values_of_any_length_come_home() {
    let lengths = [0usize, 1, 16_351, 16_352, 16_353, 3_000_000, 5];
    let values =
        scope_map_bytes(2, &lengths, |&length| (0..length).map(|n| (n % 251) as u8).collect());
    for (value, length) in values.unwrap().iter().zip(lengths) {
        assert_eq!(value.len(), length);
        assert!((0..).zip(value).all(|(n, &byte)| byte == (n % 251) as u8));
    }
    let many: Vec<usize> = (0..10_000).collect();
    let values = scope_map_bytes(3, &many, |n| n.to_string().into_bytes()).unwrap();
    assert!(values.iter().zip(&many).all(|(text, n)| *text == n.to_string().into_bytes()));
}

fn a_panic_names_its_item_and_the_others_complete() {
    let items: Vec<u64> = (0..1000).collect();
    let f = |n: &u64| if n % 100 == 7 { panic!("no {n}") } else { n * n };
    let each = scope_map_each(2, &items, f).unwrap();
    for (n, value) in (0..).zip(&each) {
        match value {
            Ok(value) => assert!(*value == n * n && n % 100 != 7),
            Err(TaskError::Failed { message, .. }) => {
                assert!(n % 100 == 7 && message.starts_with(&format!("no {n} (")), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }
    let error = scope_map(2, &items, f).unwrap_err();
    assert!(error.to_string().starts_with("item 7: the task failed in worker"), "{error}");
    let long = scope_map_bytes(2, &items, |n| {
        if *n == 999 { panic!("{}", "x".repeat(1 << 20)) } else { vec![] }
    });
    match long.unwrap_err() {
        ScopeMapError::Item { index: 999, error: TaskError::Failed { message, .. } } => {
            assert!(message.len() > 1 << 20);
        }
        other => panic!("{other:?}"),
    }
}

/// Runs of each item, in shared memory.
struct Runs(Array<u32>);

impl Runs {
    fn of(count: usize) -> Self {
        Self(Array::new(count).unwrap())
    }

    fn count(&self, index: usize) {
        self.0.fetch_add(index, 1).unwrap();
    }

    fn each_is(&self, times: u32) {
        let runs = self.0.to_vec();
        assert!(runs.iter().all(|&runs| runs == times), "{runs:?}");
    }
}

fn an_item_whose_child_dies_is_named_and_each_item_runs_once() {
    let items: Vec<usize> = (0..60).collect();
    let runs = Runs::of(items.len());
    let each = scope_map_each(2, &items, |&n| {
        runs.count(n);
        match n % 6 {
            1 => std::process::abort(),
            3 => std::process::exit(0),
            5 => kill(own_pid(), libc::SIGKILL),
            _ => {}
        }
        n as u64
    });
    for (n, value) in each.unwrap().iter().enumerate() {
        let died = |end| matches!(value, Err(TaskError::WorkerDied { status, attempts: 1, .. }) if *status == end);
        match n % 6 {
            1 => assert!(died(ExitStatus::Signaled(libc::SIGABRT)), "{n}: {value:?}"),
            3 => assert!(died(ExitStatus::Exited(0)), "{n}: {value:?}"),
            5 => assert!(died(ExitStatus::Signaled(libc::SIGKILL)), "{n}: {value:?}"),
            _ => assert_eq!(*value, Ok(n as u64)),
        }
    }
    runs.each_is(1);
}

fn children_killed_at_random_take_one_item_with_them_each() {
    let items: Vec<usize> = (0..20_000).collect();
    for round in 0..5u64 {
        let runs = Runs::of(items.len());
        let (caller, over) = (own_pid(), Value::<u32>::new(0).unwrap());
        let killer = Process::spawn(|| {
            let mut kills = 0;
            while over.load() == 0 {
                let victims = children_of(caller);
                let victims: Vec<u32> =
                    victims.into_iter().filter(|pid| *pid != own_pid()).collect();
                if !victims.is_empty() {
                    kill(victims[kills as usize % victims.len()], libc::SIGKILL);
                    kills += 1;
                }
                std::thread::sleep(Duration::from_micros(1500 + 200 * round));
            }
            kills
        });
        let killer = killer.unwrap();
        let each = scope_map_bytes_each(&items, &runs);
        over.store(1);
        let kills = killer.join().unwrap().code().unwrap();
        let died = each.iter().filter(|value| matches!(value, Err(TaskError::WorkerDied { .. })));
        let died = died.count() as i32;
        println!("    {kills} kills (modulo 256), {died} items died");
        assert!(died >= 1);
        for (n, value) in each.iter().enumerate() {
            match value {
                Ok(value) => assert_eq!(*value, n as u64),
                Err(TaskError::WorkerDied { status, .. }) => {
                    assert_eq!(*status, ExitStatus::Signaled(libc::SIGKILL));
                }
                other => panic!("{other:?}"),
            }
        }
        let counts = runs.0.to_vec();
        for (n, (count, value)) in counts.iter().zip(&each).enumerate() {
            // Killed between the note of what is in hand and the call, it did not run.
            assert!(
                *count == 1 || *count == 0 && value.is_err(),
                "item {n} ran {count} times: {value:?}"
            );
        }
    }
}

fn scope_map_bytes_each(items: &[usize], runs: &Runs) -> Vec<Result<u64, TaskError>> {
    scope_map_each(3, items, |&n| {
        runs.count(n);
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(5) {
            std::hint::spin_loop();
        }
        n as u64
    })
    .unwrap()
}

fn a_stopped_child_keeps_its_items_and_no_others() {
    let stopped = Value::<u32>::new(0).unwrap();
    let done = Value::<u32>::new(0).unwrap();
    let helper = Process::spawn(|| {
        until("one is stopped", SOON, || stopped.load() != 0);
        until("it is", SOON, || state_of(stopped.load()) == Some('T'));
        // All but the item in hand: a child takes one at first.
        until("the others are done", SOON, || done.load() == 99);
        kill(stopped.load(), libc::SIGCONT);
        0
    });
    let helper = helper.unwrap();
    let items: Vec<u32> = (0..100).collect();
    let values = scope_map(2, &items, |&n| {
        if n == 0 {
            stopped.store(own_pid());
            kill(own_pid(), libc::SIGSTOP);
        }
        done.fetch_add(1);
        n
    });
    assert_eq!(values.unwrap(), items);
    assert_eq!(helper.join().unwrap(), ExitStatus::Exited(0));
}

fn a_map_that_is_cancelled_leaves_no_child() {
    let pids = std::sync::Arc::new(Array::<u32>::new(2).unwrap());
    let canceller = Canceller::new();
    let other = canceller.clone();
    let child = Process::spawn(|| {
        let begun = std::sync::Arc::clone(&pids);
        let thread = std::thread::spawn(move || {
            until("both run", SOON, || begun.to_vec().iter().all(|pid| *pid != 0));
            other.cancel();
        });
        let nap = |&index: &usize| {
            pids.store(index, own_pid()).unwrap();
            std::thread::sleep(Duration::from_secs(100));
        };
        let error = canceller.run(|| scope_map(2, &[0usize, 1], nap)).unwrap_err();
        assert!(
            matches!(&error, ScopeMapError::Map(error) if error.kind() == ErrorKind::Interrupted),
            "{error:?}"
        );
        thread.join().unwrap();
        i32::from(crate::common::has_children())
    });
    assert_eq!(child.unwrap().join().unwrap(), ExitStatus::Exited(0));
}

fn children_die_with_the_caller() {
    let pids = Array::<u32>::new(3).unwrap();
    let caller = Process::spawn(|| {
        let _ = scope_map(3, &[0usize, 1, 2], |&index| -> u8 {
            pids.store(index, own_pid()).unwrap();
            loop {
                std::thread::park();
            }
        });
        0
    });
    let caller = caller.unwrap();
    until("all run", SOON, || pids.to_vec().iter().all(|pid| *pid != 0));
    caller.kill().unwrap();
    caller.join().unwrap();
    // They come to this process, which is why they can be reaped: were one to live on, this would not end.
    crate::common::reap_all_children();
    for pid in pids.to_vec() {
        assert_eq!(state_of(pid), None);
    }
}

extern "C" fn die() {
    // SAFETY: no pointers.
    unsafe { libc::_exit(3) };
}

fn children_that_die_before_they_begin_end_the_map() {
    let alone = Process::spawn(|| {
        // SAFETY: handlers that may run in any child.
        unsafe { libc::pthread_atfork(None, None, Some(die)) };
        let error = scope_map(2, &[1u8, 2, 3], |n| *n).unwrap_err();
        let text = error.to_string();
        let told = text.contains("4 workers of a map died") && text.contains("exit code 3");
        println!("    {text}");
        i32::from(mpshm::Error::from(error).kind() != ErrorKind::Broken || !told)
    });
    assert_eq!(alone.unwrap().join().unwrap(), ExitStatus::Exited(0));
}

/// A field of this process's memory, in kB.
fn memory(field: &str) -> u64 {
    let all = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = all.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

fn an_input_of_gigabytes_is_neither_copied_nor_sent() {
    let quick = std::env::var_os("MPSHM_QUICK").is_some();
    let length: usize = if quick { 256 << 20 } else { 4 << 30 };
    const ITEM: usize = 64 << 10;
    // SAFETY: a fresh mapping.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    assert_ne!(start, libc::MAP_FAILED);
    // SAFETY: the mapping, which stays.
    let bytes = unsafe { std::slice::from_raw_parts_mut(start.cast::<u8>(), length) };
    // Here and there a page that is the caller's own; 32 MiB of them in one piece.
    bytes[..32 << 20].fill(1);
    for at in (0..length).step_by(1 << 20) {
        bytes[at] = 1;
    }
    let items: Vec<&[u8]> = bytes.chunks(ITEM).collect();
    let before = memory("Private_Dirty");
    let values = scope_map(2, &items, |item| {
        let sum: u64 = item.chunks(512).map(|part| u64::from(part[0])).sum();
        // Now and then, for the kernel goes through all pages for the answer.
        let is_to_look = item.as_ptr() as usize / ITEM % 512 == 511;
        [sum, if is_to_look { memory("Private_Dirty") } else { 0 }]
    })
    .unwrap();
    let whole = (32u64 << 20) / 512;
    let sparse = (length - (32 << 20)) as u64 / (1 << 20);
    assert_eq!(values.iter().map(|value| value[0]).sum::<u64>(), whole + sparse);
    let most = values.iter().map(|value| value[1]).max().unwrap();
    println!(
        "    {} MiB: at most {most} kB private in a child, {before} kB in the caller",
        length >> 20
    );
    assert!(before > 32 << 10, "the caller has pages of its own");
    assert!(most < 4 << 10, "{most} kB were copied");
    // SAFETY: the mapping made above; nothing refers to it any more.
    unsafe { libc::munmap(start, length) };
}

fn a_map_in_a_child_of_a_map() {
    let sums = scope_map(2, &[10u64, 20], |&n| {
        let items: Vec<u64> = (0..n).collect();
        scope_map(2, &items, |m| m * n).unwrap().iter().sum::<u64>()
    });
    assert_eq!(sums.unwrap(), [450, 3800]);
}

fn a_hundred_maps_leave_nothing() {
    let name = unique("unused");
    for round in 0..100u32 {
        assert_eq!(scope_map(2, &[round, 1], |n| n + 1).unwrap(), [round + 1, 2]);
    }
    assert!(!std::path::Path::new(&format!("/dev/shm/mpshm.{name}")).exists());
    assert!(!crate::common::has_children());
}

pub const TESTS: &[Test] = tests![
    a_map_over_borrowed_items_equals_the_serial_one,
    values_of_any_length_come_home,
    a_panic_names_its_item_and_the_others_complete,
    an_item_whose_child_dies_is_named_and_each_item_runs_once,
    children_killed_at_random_take_one_item_with_them_each: 60,
    a_stopped_child_keeps_its_items_and_no_others,
    a_map_that_is_cancelled_leaves_no_child,
    children_die_with_the_caller,
    children_that_die_before_they_begin_end_the_map,
    an_input_of_gigabytes_is_neither_copied_nor_sent: 120,
    a_map_in_a_child_of_a_map,
    a_hundred_maps_leave_nothing,
];
