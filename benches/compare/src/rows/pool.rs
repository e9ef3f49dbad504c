//! Pools of two workers: made, and asked to run one task, many, and a stream of them.

use crate::Result;
use crate::measure::{Row, Side, Sides, Unit, Work};
use crate::python::Python;
use crate::rows::{spawn, wake};

use mpshm::{Pool, TaskError};
use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};
use std::time::{Duration, Instant};

/// How long nothing is asked of a worker that is to fall asleep.
const PAUSE: Duration = Duration::from_micros(100);
/// Calls of a round in which the worker falls asleep before each.
const CALLS: u64 = 500;
/// Workers killed in a round.
const DEATHS: u64 = 40;
/// After this, a worker that was killed is taken for one that is never replaced.
const LIMIT: Duration = Duration::from_secs(20);

pub fn rows() -> Vec<Row> {
    let python =
        |arguments: &'static [&'static str], each: fn(u64) -> u64| move || python(arguments, each);
    vec![
        row(
            "pool_create_vs_python",
            Unit::Milliseconds,
            PYTHON,
            20.0,
            Work::Grains(1),
            || create(2),
            python(&["create", "2"], |work| work),
        ),
        row(
            "worker_replaced_vs_fork",
            Unit::Microseconds,
            "limit: fork, _exit, waitpid",
            0.5,
            Work::Fixed(DEATHS),
            replace,
            || Ok(Box::new(spawn::fork_and_wait)),
        ),
        row(
            "map_1k_vs_python",
            Unit::Microseconds,
            PYTHON,
            20.0,
            Work::Grains(1),
            || map(1_000),
            python(&["map", "1000"], |work| squares(1_000).wrapping_mul(work)),
        ),
        row(
            "map_1m_vs_python",
            Unit::Milliseconds,
            PYTHON,
            100.0,
            Work::Grains(1),
            || map(1_000_000),
            python(&["map", "1000000"], |work| squares(1_000_000).wrapping_mul(work)),
        ),
        row(
            "map_1m_vs_rayon",
            Unit::Milliseconds,
            "rayon, two threads",
            0.5,
            Work::Grains(1),
            || map(1_000_000),
            || in_threads(1_000_000),
        ),
        row(
            "call_awake",
            Unit::Microseconds,
            "limit: 3 µs",
            1.0,
            Work::Grains(100),
            call_awake,
            || Ok(Box::new(|work| Ok(work as f64 * 3e-6))),
        ),
        row(
            "call_asleep_vs_futex",
            Unit::Microseconds,
            "two bare futex wake-ups",
            0.9,
            Work::Fixed(CALLS),
            call_asleep,
            || Ok(Box::new(|work| Ok(2e-9 * wake::bare_times(work)?.iter().sum::<u64>() as f64))),
        ),
        row(
            "call_asleep_vs_python",
            Unit::Microseconds,
            "Python multiprocessing.Pool(2).apply",
            1.5,
            Work::Fixed(CALLS),
            call_asleep,
            python(&["call"], |work| 49 * work),
        ),
        row(
            "stream_chunk1_vs_python",
            Unit::Microseconds,
            "Python multiprocessing.Pool(2).imap_unordered, chunks of 1",
            30.0,
            Work::Grains(1000),
            stream,
            python(&["stream"], squares),
        ),
    ]
}

const PYTHON: &str = "Python multiprocessing.Pool(2)";

fn row(
    id: &'static str,
    unit: Unit,
    peer_name: &'static str,
    target: f64,
    work: Work,
    ours: impl Fn() -> Result<Side> + 'static,
    peer: impl Fn() -> Result<Side> + 'static,
) -> Row {
    let prepare = Box::new(move || {
        Ok(Sides { ours: ours()?, peer: peer().map_err(|error| error.to_string()) })
    });
    Row { id, unit, peer_name, target, work, prepare }
}

fn square(number: u64) -> u64 {
    number.wrapping_mul(number)
}

/// The sum of the first so many squares.
pub fn squares(count: u64) -> u64 {
    (0..count).fold(0, |sum, number| sum.wrapping_add(square(number)))
}

fn check(found: u64, expected: u64, seconds: f64) -> Result<f64> {
    if found != expected {
        return Err(format!("the sum is {found}, {expected} was expected").into());
    }
    Ok(seconds)
}

fn failed(error: TaskError) -> mpshm::Error {
    error.into()
}

/// The pools' ends are not timed.
pub fn create(workers: usize) -> Result<Side> {
    Ok(Box::new(move |work| {
        let mut seconds = 0.0;
        for _ in 0..work {
            let begun = Instant::now();
            let pool = Pool::new(workers)?;
            seconds += begun.elapsed().as_secs_f64();
            pool.terminate()?;
        }
        Ok(seconds)
    }))
}

/// From a worker's death, an idle one's, to the moment when there is another process in its place.
fn replace() -> Result<Side> {
    let pool = Pool::new(2)?;
    Ok(Box::new(move |work| {
        let mut seconds = 0.0;
        for _ in 0..work {
            let dead = *pool.worker_pids()?.first().ok_or("a pool without workers")?;
            let begun = Instant::now();
            // SAFETY: no pointers. A worker's id is its own until its parent, the fork server, has seen it end.
            unsafe { libc::kill(dead as i32, libc::SIGKILL) };
            loop {
                let living = pool.worker_pids()?;
                if living.len() == 2 && !living.contains(&dead) {
                    break;
                }
                if begun.elapsed() > LIMIT {
                    return Err("a dead worker was not replaced".into());
                }
                std::thread::yield_now();
            }
            seconds += begun.elapsed().as_secs_f64();
            // The pool sees to the end of the old one.
            let answers: u64 = pool.map(square, &[1, 2, 3, 4]).map_err(failed)?.iter().sum();
            check(answers, 30, 0.0)?;
        }
        Ok(seconds)
    }))
}

pub fn map(items: u64) -> Result<Side> {
    let pool = Pool::new(2)?;
    let inputs: Vec<u64> = (0..items).collect();
    Ok(Box::new(move |work| {
        let mut seconds = 0.0;
        for _ in 0..work {
            let begun = Instant::now();
            let found = pool.map(square, &inputs).map_err(failed)?;
            seconds += begun.elapsed().as_secs_f64();
            check_squares(&found, items)?;
        }
        Ok(seconds)
    }))
}

/// What one thread takes for it.
pub fn alone(items: u64) -> Result<Side> {
    let inputs: Vec<u64> = (0..items).collect();
    Ok(Box::new(move |work| {
        let mut seconds = 0.0;
        for _ in 0..work {
            let begun = Instant::now();
            let found: Vec<u64> = inputs.iter().map(|&number| square(number)).collect();
            seconds += begun.elapsed().as_secs_f64();
            check_squares(&found, items)?;
        }
        Ok(seconds)
    }))
}

pub fn in_threads(items: u64) -> Result<Side> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build()?;
    let inputs: Vec<u64> = (0..items).collect();
    Ok(Box::new(move |work| {
        let mut seconds = 0.0;
        for _ in 0..work {
            let begun = Instant::now();
            let found: Vec<u64> =
                pool.install(|| inputs.par_iter().map(|&number| square(number)).collect());
            seconds += begun.elapsed().as_secs_f64();
            check_squares(&found, items)?;
        }
        Ok(seconds)
    }))
}

fn check_squares(found: &[u64], items: u64) -> Result<()> {
    if found.len() as u64 != items || !found.iter().zip(0..).all(|(s, n)| *s == square(n)) {
        return Err("the squares are not the numbers' squares".into());
    }
    Ok(())
}

fn call_awake() -> Result<Side> {
    let pool = Pool::new(1)?;
    Ok(Box::new(move |work| {
        let begun = Instant::now();
        let mut sum = 0;
        for _ in 0..work {
            sum += pool.call(square, 7).map_err(failed)?;
        }
        check(sum, 49 * work, begun.elapsed().as_secs_f64())
    }))
}

fn call_asleep() -> Result<Side> {
    let pool = Pool::new(2)?;
    Ok(Box::new(move |work| {
        let (mut seconds, mut sum) = (0.0, 0);
        for _ in 0..work {
            let idle = Instant::now();
            while idle.elapsed() < PAUSE {
                std::hint::spin_loop();
            }
            let begun = Instant::now();
            sum += pool.call(square, 7).map_err(failed)?;
            seconds += begun.elapsed().as_secs_f64();
        }
        check(sum, 49 * work, seconds)
    }))
}

fn stream() -> Result<Side> {
    let pool = Pool::new(2)?;
    Ok(Box::new(move |work| {
        let begun = Instant::now();
        let mut sum = 0u64;
        for value in pool.imap_unordered(square, 0..work) {
            sum = sum.wrapping_add(value.map_err(failed)?);
        }
        check(sum, squares(work), begun.elapsed().as_secs_f64())
    }))
}

/// Sums are checked against what `each` makes of the operations.
pub fn python(arguments: &[&str], each: impl Fn(u64) -> u64 + 'static) -> Result<Side> {
    let mut python = Python::start_with("pool.py", arguments)?;
    Ok(Box::new(move |work| {
        let (seconds, sum) = python.round(work)?;
        check(sum, each(work), seconds)
    }))
}
