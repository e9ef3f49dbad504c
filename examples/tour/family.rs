//! Children that are watched: when one dies, the others are ended, so that nobody waits for it.

use mpshm::{Error, Process, Result};
use std::time::Duration;

/// The processes of a part.
pub struct Family(Vec<Process>);

impl Family {
    /// Forks a child for each number below `count`; they die with this process.
    pub fn new(count: usize, name: &str, body: impl Fn(usize) -> Result<()>) -> Result<Self> {
        let mut family = Self(Vec::new());
        for index in 0..count {
            let child = Process::builder()
                .name(format!("{name}-{index}"))
                .kill_with_parent(true)
                .daemon(true)
                .spawn(|| match body(index) {
                    Ok(()) => 0,
                    Err(error) => {
                        eprintln!("  {name}-{index}: {error}");
                        1
                    }
                })?;
            family.0.push(child);
        }
        Ok(family)
    }

    /// Whether all have ended well; an error when one has not. Waits a moment for the first that runs.
    pub fn have_ended(&self) -> Result<bool> {
        let mut all = true;
        for child in &self.0 {
            let wait = if all { Duration::from_millis(5) } else { Duration::ZERO };
            match child.join_timeout(wait)? {
                None => all = false,
                Some(status) if status.success() => {}
                Some(status) => return Err(died(child, status)),
            }
        }
        Ok(all)
    }

    /// Waits for all; if one dies, the rest is ended with this value.
    pub fn join(self) -> Result<()> {
        while !self.have_ended()? {}
        Ok(())
    }
}

fn died(child: &Process, status: mpshm::ExitStatus) -> Error {
    Error::from(mpshm::TaskError::WorkerDied { pid: child.pid(), status, attempts: 1 })
}
