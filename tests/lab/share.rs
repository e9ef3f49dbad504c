//! The work of a run, shared by several processes.

use super::process::{Child, Event, Ticker, said};
use super::residue::Residue;
use super::{Lab, Sum};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Something to be done by one of the processes.
pub type Job = Box<dyn Fn(&Lab)>;

/// Longer than any run is meant to last.
const LIMIT: Duration = Duration::from_secs(3600);

/// Runs all the jobs; each is taken by whichever process is free. Returns when all are done.
pub fn share(lab: &Lab, jobs: &[Job]) {
    // Half of the time the work sleeps.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let processes = lab.options.jobs.unwrap_or(2 * processors).clamp(1, jobs.len().max(1));
    let workers: Vec<Child> = (0..processes).map(|_| Child::fork(|| work(lab, jobs))).collect();
    let _ticker = Ticker::start();
    for mut worker in workers {
        let end = worker.wait(Instant::now() + LIMIT);
        if end != Some(Event::Exited(0)) {
            lab.test("the work", Err(format!("a process of the lab ended with {end:?}")));
        }
    }
}

fn work(lab: &Lab, jobs: &[Job]) -> i32 {
    // The pages that are shared with children are this process's own.
    let own = lab.with(lab.options.clone());
    let before = Residue::now();
    while let Some(job) = jobs.get(own.count(Sum::Job, 1)) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(&own))) {
            own.test("the lab", Err(format!("panicked: {}", said(&*panic))));
        }
    }
    own.test("nothing is left behind by a process of the lab", before.compare());
    0
}
