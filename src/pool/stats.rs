//! What workers have done, as the words say that they keep in shared memory.

use crate::error::Result;
use crate::os::clock;
use crate::pool::owner::Inner;
use crate::process::roster::Standing;
use std::time::Duration;

/// What one worker has done so far. See [`Pool::stats`](crate::Pool::stats).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its process id.
    pub pid: u32,
    /// Whether its initializer is done.
    pub is_ready: bool,
    /// Whether it runs a task at the moment.
    pub is_busy: bool,
    /// Tasks, or chunks of maps, that it has run, those that failed included.
    pub tasks: u64,
    /// How long it has spent in tasks, the present one included.
    pub busy: Duration,
    /// How long it has waited for tasks, or for room for results, since it was ready.
    pub idle: Duration,
}

impl Inner {
    pub(super) fn stats(&self) -> Result<Vec<WorkerStats>> {
        let Some(server) = self.lock()?.server.clone() else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for record in server.records() {
            let (entry, tally) = (record.entry(), record.tally());
            let is_ready = entry.standing == Standing::Ready;
            if entry.pid == 0 || !is_ready && entry.standing != Standing::Starting {
                continue;
            }
            let now = clock::now();
            let present = if tally.since == 0 { 0 } else { now.saturating_sub(tally.since) };
            let busy = tally.busy + present;
            let age = if is_ready { now.saturating_sub(tally.ready) } else { 0 };
            all.push(WorkerStats {
                pid: entry.pid,
                is_ready,
                is_busy: tally.since != 0,
                tasks: tally.tasks,
                busy: Duration::from_nanos(busy),
                idle: Duration::from_nanos(age.saturating_sub(busy)),
            });
        }
        Ok(all)
    }

    pub(super) fn restarts(&self) -> Result<u64> {
        let state = self.lock()?;
        let forks = state.server.as_ref().map_or(0, |server| u64::from(server.forks()));
        Ok((state.forked_before + forks).saturating_sub(u64::from(self.plan.rules.workers)))
    }
}
