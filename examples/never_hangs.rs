//! What a pool does when something in it dies, beside what Python's does: a table of both, with times.
//!
//! ```sh
//! cargo run --release --features serde --example never_hangs
//! ```
//! Python's half needs `python3`; a case of it that takes longer than 5 seconds counts as hung, and is killed.

use mpshm::{Error, Event, Pool, PoolBuilder, Process, Task, TaskError, Value};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What counts as hung.
const LIMIT: Duration = Duration::from_secs(5);

/// What a case comes to, in words.
type Outcome = Result<String, Error>;

type Case = (&'static str, &'static str, fn() -> Outcome);

/// What happens, what the case is called in `never_hangs.py`, and what is done here: what came of it.
const CASES: &[Case] = &[
    ("a worker is killed in a task", "killed_in_a_task", killed_in_a_task),
    ("a task exits", "exits_in_a_task", exits_in_a_task),
    ("all idle workers are killed", "idle_workers_killed", idle_workers_killed),
    ("the initializer fails", "initializer_fails", initializer_fails),
    ("terminated with 10,000 tasks waiting", "terminated_with_tasks_waiting", terminated),
    ("the workers ignore SIGTERM", "ignores_sigterm", ignores_sigterm),
    ("the owner is killed, the workers busy", "owner_killed", owner_killed),
    ("a lazy map of an endless input", "endless_input", endless_input),
    ("a callback fails", "callback_fails", callback_fails),
    #[cfg(feature = "serde")]
    ("a result cannot be read", "result_that_cannot_be_read", result_that_cannot_be_read),
];

fn main() -> Result<(), Error> {
    println!("{:<40} {:<44} mpshm", "", "Python");
    for &(what, name, run) in CASES {
        let python = in_python(name);
        let start = Instant::now();
        let here = run()?;
        println!("{what:<40} {python:<44} {here}, {}", after(start.elapsed()));
    }
    Ok(())
}

fn after(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{:.1} ms", time.as_secs_f64() * 1e3)
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

/// Runs a case of Python's in a session of its own, and ends what is left of that.
fn in_python(case: &str) -> String {
    let mut python = Command::new("python3");
    python.args(["-c", include_str!("never_hangs.py"), case]);
    python.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // SAFETY: `setsid` is async-signal-safe.
    unsafe {
        python.pre_exec(|| {
            libc::setsid();
            Ok(())
        })
    };
    let start = Instant::now();
    let Ok(child) = python.spawn() else { return "no python3".into() };
    while runs(child.id()) && start.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (ended, took) = (!runs(child.id()), after(start.elapsed()));
    // SAFETY: the group that the child leads, which is not reaped yet.
    unsafe { libc::kill(-(child.id() as i32), libc::SIGKILL) };
    let output = child.wait_with_output();
    match output {
        Ok(output) if ended => {
            format!("{}, {took}", String::from_utf8_lossy(&output.stdout).trim())
        }
        _ => format!("hangs (killed after {} s)", LIMIT.as_secs()),
    }
}

/// Whether the process has not ended.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat[stat.rfind(')').unwrap_or(0)..].starts_with(") Z"))
}

fn two() -> PoolBuilder {
    Pool::builder().workers(2)
}

fn square(n: u64) -> u64 {
    n * n
}

/// What became of a task.
fn outcome<R: std::fmt::Debug>(result: Result<R, TaskError>) -> String {
    match result {
        Ok(value) => format!("value {value:?}"),
        Err(TaskError::WorkerDied { status, .. }) => format!("WorkerDied ({status})"),
        Err(error) => error.kind().name().to_string(),
    }
}

fn killed_in_a_task() -> Outcome {
    let die = |signal: i32| {
        // SAFETY: no pointers.
        unsafe { libc::raise(signal) }
    };
    Ok(outcome(two().build()?.call(die, libc::SIGKILL)))
}

fn exits_in_a_task() -> Outcome {
    let leave = |code: i32| -> i32 { std::process::exit(code) };
    Ok(outcome(two().build()?.call(leave, 3)))
}

fn idle_workers_killed() -> Outcome {
    let pool = two().build()?;
    pool.map(square, &[1, 2, 3])?;
    for pid in pool.worker_pids()? {
        // SAFETY: no pointers; workers of our own pool.
        unsafe { libc::kill(pid as i32, libc::SIGKILL) };
    }
    Ok(outcome(pool.call(square, 5)))
}

fn initializer_fails() -> Outcome {
    let runs = Arc::new(Value::<u32>::new(0)?);
    let counted = Arc::clone(&runs);
    let fails = move || {
        counted.fetch_add(1);
        // Not a panic, which would be printed.
        std::process::exit(1)
    };
    let result = two().initializer(fails).build()?.call(square, 5);
    Ok(format!("{} after {} forks", outcome(result), runs.load()))
}

fn terminated() -> Outcome {
    let pool = two().build()?;
    let sleep = |ms: u64| -> u64 {
        std::thread::sleep(Duration::from_millis(ms));
        ms
    };
    let tasks: Vec<Task<u64>> =
        (0..10_000).map(|_| pool.submit(sleep, 100)).collect::<Result<_, _>>()?;
    pool.terminate()?;
    Ok(outcome(tasks[9_999].get()))
}

fn ignores_sigterm() -> Outcome {
    let ignore = || {
        // SAFETY: no handler.
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    };
    let begun = Arc::new(Event::new()?);
    let tells = Arc::clone(&begun);
    let sleeps = move |seconds: u64| {
        tells.set();
        sleep_long(seconds)
    };
    let pool = two().initializer(ignore).build_with(sleeps)?;
    let busy = pool.submit(1000)?;
    begun.wait()?;
    pool.terminate()?;
    Ok(format!("ended, its task {}", outcome(busy.get())))
}

fn sleep_long(seconds: u64) -> u64 {
    std::thread::sleep(Duration::from_secs(seconds));
    seconds
}

fn owner_killed() -> Outcome {
    let pids = mpshm::Array::<u32>::new(3)?;
    let ready = Event::new()?;
    let owner = Process::spawn(|| {
        let pool = two().build().expect("a pool");
        let tasks = [(); 2].map(|()| pool.submit(sleep_long, 1000));
        pids.store(2, pool.server_pid().expect("a pool").expect("its server")).expect("three");
        for (index, pid) in pool.worker_pids().expect("a pool").into_iter().enumerate() {
            pids.store(index, pid).expect("three");
        }
        ready.set();
        drop(tasks);
        sleep_long(1000) as i32
    })?;
    ready.wait()?;
    owner.kill()?;
    owner.join()?;
    let pids =
        [0, 1, 2].map(|index| pids.load(index)).into_iter().collect::<Result<Vec<_>, _>>()?;
    while pids.iter().any(|&pid| runs(pid)) {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok("workers and server ended".into())
}

fn endless_input() -> Outcome {
    let pool = two().build()?;
    let drawn = std::cell::Cell::new(0);
    let numbers = std::iter::from_fn(|| {
        drawn.set(drawn.get() + 1);
        Some(drawn.get())
    });
    let mut results = pool.imap(square, numbers);
    for _ in 0..10 {
        results.next().expect("endless")?;
    }
    std::thread::sleep(Duration::from_secs(1));
    Ok(format!("10 results, {} items taken", drawn.get()))
}

fn callback_fails() -> Outcome {
    let pool = two().build()?;
    let printed = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let task = pool.submit(square, 1)?;
    task.on_done(|_| panic!("no"))?;
    task.wait(Duration::from_secs(1))?;
    std::panic::set_hook(printed);
    Ok(format!("{}, its panic is kept", outcome(pool.call(square, 5))))
}

#[cfg(feature = "serde")]
fn result_that_cannot_be_read() -> Outcome {
    /// Can be sent, but not read again.
    #[derive(Debug)]
    struct Unreadable;
    impl serde::Serialize for Unreadable {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.serialize_unit()
        }
    }
    impl<'d> serde::Deserialize<'d> for Unreadable {
        fn deserialize<D: serde::Deserializer<'d>>(_: D) -> Result<Self, D::Error> {
            Err(serde::de::Error::custom("no"))
        }
    }
    Ok(outcome(two().build()?.call_serde(|_: u64| Unreadable, &1)))
}
