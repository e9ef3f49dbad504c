//! The way of one operation: which instructions, and after which of them something had changed.

use std::collections::HashMap;

/// What a recorded step did, beside moving on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where the next instruction is.
    pub address: u64,
    /// The watched memory is not what it was a step before.
    pub changed: bool,
    /// It was a system call: whatever the kernel keeps for the process may have changed.
    pub called: bool,
}

/// How a point is reached without a stop at each instruction before it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anchor {
    /// So many system calls are let pass first,
    pub calls: usize,
    /// and with the last of them this point is reached;
    pub base: usize,
    /// then the instruction of this point is met,
    pub at: usize,
    /// so often; and the rest is stepped.
    pub times: usize,
}

/// One full run: point k is the state after k steps.
pub struct Route {
    steps: Vec<Step>,
    /// For each k, the cheapest way there.
    anchors: Vec<Anchor>,
    /// For each k, the how-manieth time its address is met.
    times: Vec<usize>,
}

impl Route {
    pub fn new(steps: Vec<Step>) -> Self {
        // On long ways there are numbers and texts from the kernel, with another length in each run. System calls are
        // the same in all of them, so such a way is counted from the last one.
        let by_calls = steps.len() >= super::DENSE;
        let mut all = HashMap::new();
        let mut met = HashMap::new();
        let mut best = Anchor::default();
        let mut times = Vec::with_capacity(steps.len());
        let mut anchors = Vec::with_capacity(steps.len());
        for (k, step) in steps.iter().enumerate() {
            if by_calls && step.called {
                best = Anchor { calls: best.calls + 1, base: k, at: k, times: 0 };
                met.clear();
            } else {
                let count: &mut usize = met.entry(step.address).or_default();
                *count += 1;
                // The cost of point k by way of point i: its breakpoints met, and k - i steps.
                if *count <= best.times + (k - best.at) {
                    best = Anchor { at: k, times: *count, ..best };
                }
            }
            let count: &mut usize = all.entry(step.address).or_default();
            *count += 1;
            times.push(*count);
            anchors.push(best);
        }
        Self { steps, anchors, times }
    }

    /// Whether another run went the same way. Long ways differ by the numbers and texts in them, and are not compared.
    pub fn is_like(&self, other: &Self) -> bool {
        let way = |route: &Self| route.steps.iter().map(|step| step.address).collect::<Vec<_>>();
        self.points().max(other.points()) >= super::DENSE || way(self) == way(other)
    }

    /// The number of points: instructions between the markers, and the first marker itself.
    pub fn points(&self) -> usize {
        self.steps.len()
    }

    /// The address of point k.
    pub fn address(&self, k: usize) -> u64 {
        self.steps.get(k).map_or(0, |step| step.address)
    }

    /// The way to point k.
    pub fn anchor(&self, k: usize) -> Anchor {
        self.anchors.get(k).copied().unwrap_or_default()
    }

    /// The how-manieth time the address of point k is met there.
    pub fn times(&self, k: usize) -> usize {
        self.times.get(k).copied().unwrap_or(0)
    }

    /// The points at which others may find something else than at the one before: after each change of the
    /// memory and after each system call. With each, the point just before it; and both ends.
    pub fn telling(&self) -> Vec<usize> {
        let last = self.steps.len() - 1;
        let tells = |k: usize| self.steps.get(k).is_some_and(|step| step.changed || step.called);
        (0..=last).filter(|&k| k < 2 || k + 2 > last || tells(k) || tells(k + 1)).collect()
    }
}
