//! A child that does nothing: forked, ended and waited for.

use crate::Result;
use crate::measure::{Row, Side, Sides, Unit, Work, sides};
use crate::python::Python;
use mpshm::Process;
use std::time::Instant;

pub fn rows() -> Vec<Row> {
    vec![against_fork(), against_python()]
}

/// What the kernel takes for it, in the same process.
fn against_fork() -> Row {
    Row {
        id: "spawn_join_vs_fork",
        unit: Unit::Microseconds,
        peer_name: "limit: fork, _exit, waitpid",
        target: 0.85,
        work: Work::Grains(10),
        prepare: sides(ours, Ok(fork_and_wait)),
    }
}

/// Against what everybody knows.
fn against_python() -> Row {
    Row {
        id: "spawn_join_vs_python",
        unit: Unit::Microseconds,
        peer_name: "Python multiprocessing.Process, start and join",
        target: 15.0,
        work: Work::Grains(5),
        prepare: Box::new(|| {
            let peer = Python::start("spawn_join.py").map(|mut python| -> Side {
                Box::new(move |work| {
                    let (seconds, sum) = python.round(work)?;
                    check(work, sum, seconds)
                })
            });
            Ok(Sides { ours: Box::new(ours), peer: peer.map_err(|error| error.to_string()) })
        }),
    }
}

fn ours(work: u64) -> Result<f64> {
    let begun = Instant::now();
    let mut sum = 0;
    for _ in 0..work {
        let child = Process::spawn(|| 1)?;
        sum += u64::from(child.join()?.code() == Some(1));
    }
    check(work, sum, begun.elapsed().as_secs_f64())
}

pub fn fork_and_wait(work: u64) -> Result<f64> {
    let begun = Instant::now();
    let mut sum = 0;
    for _ in 0..work {
        let mut status = 0;
        // SAFETY: this program has one thread; the child ends at once.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: does not return.
            unsafe { libc::_exit(1) };
        }
        // SAFETY: a valid place for the status of the child made above.
        let ended = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        sum += u64::from(pid > 0 && ended == pid && libc::WEXITSTATUS(status) == 1);
    }
    check(work, sum, begun.elapsed().as_secs_f64())
}

fn check(work: u64, found: u64, seconds: f64) -> Result<f64> {
    if found != work {
        return Err(format!("{found} of {work} children ended as they were told").into());
    }
    Ok(seconds)
}
