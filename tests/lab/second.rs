//! The second death: the repairer is killed, or stopped, too.
//!
//! Of a first operation, one moment for each distinct state of the memory is taken. There its process is
//! killed; another one begins to repair, and that repair is the operation which is killed and stopped at
//! each of its instructions. The checks are those for the first operation's death.

use super::lab::{Arrival, Check, Failure, Lab, Page, Route, Scenario, Watch, begin};

/// A scenario whose aftermath can be repaired by a call of its own.
pub trait Repairable: Scenario {
    /// Takes part, without repairing.
    fn join(&self, world: &mut Self::World);
    fn repair(&self, world: &mut Self::World);
    /// Everything is in its place, once more.
    fn finish(&self, world: &mut Self::World) -> Result<(), Failure>;
}

/// The repair after a first death.
pub struct Second<'s, S> {
    first: &'s S,
    route: &'s Route,
    /// The point of the first death.
    k: usize,
    page: Page,
}

impl<'s, S: Repairable> Second<'s, S> {
    pub fn new(first: &'s S, route: &'s Route, k: usize) -> Self {
        Self { first, route, k, page: Page::new() }
    }
}

/// The first point of each distinct state that the operation passes through, but for the untouched one.
pub fn moments<S: Scenario>(lab: &Lab, scenario: &S) -> Result<Vec<usize>, Failure> {
    let (world, mut traced) = lab.begin(scenario, scenario.setup()?)?;
    let watch = Watch::new(scenario.memory(&world));
    let mut known = std::collections::HashSet::from([watch.changes()]);
    let mut moments = Vec::new();
    for k in 1.. {
        if !traced.step()? {
            break;
        }
        if known.insert(watch.changes()) {
            moments.push(k);
        }
    }
    Ok(moments)
}

impl<S: Repairable> Scenario for Second<'_, S> {
    type World = S::World;

    fn name(&self) -> String {
        format!("repair/{} at {}", self.first.name(), self.k)
    }

    fn setup(&self) -> Result<S::World, Failure> {
        let (world, mut traced) = begin(&self.page, self.first, self.first.setup()?)?;
        let arrival = traced.run_to(self.k, Some(self.route))?;
        if arrival != Arrival::There {
            return Err(Failure::new(Check::Lab, format!("the first death: {arrival:?}")));
        }
        traced.kill();
        Ok(world)
    }

    fn memory(&self, world: &S::World) -> (*const u8, usize) {
        self.first.memory(world)
    }

    fn prepare(&self, world: &mut S::World) {
        self.first.join(world);
    }

    fn operate(&self, world: &mut S::World) -> u64 {
        self.first.repair(world);
        0
    }

    fn survive(&self, world: &mut S::World) -> Result<u64, Failure> {
        self.first.survive(world)
    }

    /// A stopped repairer holds nothing: the others repair everything without it.
    fn meanwhile(&self, world: &mut S::World) -> Result<u64, Failure> {
        self.first.survive(world)
    }

    fn after(&self, world: &mut S::World, _: u64, _: u64) -> Result<(), Failure> {
        self.first.finish(world)
    }
}
