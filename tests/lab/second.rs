//! The second death: the repairer is killed, or stopped, too.
//!
//! Of a first operation, one moment for each distinct state of its marks is taken. There its process is
//! killed; another one begins to repair, and that repair is the operation which is killed and stopped at
//! its points. The checks are those for the first operation's death: a third one finishes.

use super::lab::{
    Arrival, Check, DENSE, Failure, Lab, Mode, Page, Route, Scenario, Sum, Watch, begin,
    trace::Traced,
};
use std::collections::HashSet;

/// A repair of fewer instructions is killed at every one of them.
pub const EVERY: usize = 3_000;

/// A scenario whose aftermath can be repaired by a call of its own.
pub trait Repairable: Scenario {
    /// Takes part, without repairing.
    fn join(&self, world: &mut Self::World);
    fn repair(&self, world: &mut Self::World);
    /// Everything is in its place, once more.
    fn finish(&self, world: &mut Self::World) -> Result<(), Failure>;
    /// The part of the memory that tells what there is to repair.
    fn marks(&self, world: &Self::World) -> (*const u8, usize) {
        self.memory(world)
    }
}

/// The repair after a first death.
pub struct Second<'s, S> {
    first: &'s S,
    route: &'s Route,
    /// The point of the first death.
    k: usize,
    page: Page,
}

/// Kills and stops the repairer after each of `most` first deaths, or fewer where there are no more distinct ones.
pub fn run<S: Repairable>(lab: &Lab, first: &S, most: usize) {
    let name = format!("repair/{}", first.name());
    if !lab.options.wants(&name) {
        return;
    }
    let marks = |world: &S::World| first.marks(world);
    let known = usual_route(lab, first).and_then(|route| Ok((route, moments(lab, first, marks)?)));
    match known {
        Ok((route, moments)) => {
            let most = if lab.options.is_quick() { most.min(2) } else { most };
            for k in spread(&moments, most) {
                let killed = lab.run(&Second { first, route: &route, k, page: Page::new() });
                lab.count(Sum::Double, killed);
            }
        }
        Err(failure) => lab.test(&name, Err(failure.to_string())),
    }
}

/// So many of them, evenly, the first and the last included.
fn spread(moments: &[usize], most: usize) -> Vec<usize> {
    let count = most.min(moments.len());
    let place = |index: usize| index * (moments.len() - 1) / (count - 1).max(1);
    (0..count).map(|index| moments[place(index)]).collect()
}

/// The first point of each distinct state of the marks that the operation passes through, but for the first one where
/// it leaves nothing to repair.
pub fn moments<S: Scenario>(
    lab: &Lab,
    first: &S,
    marks: impl Fn(&S::World) -> (*const u8, usize),
) -> Result<Vec<usize>, Failure> {
    let (world, mut traced): (_, Traced<'_>) = lab.begin(first, first.setup()?)?;
    let watch = Watch::new(marks(&world));
    let mut known = HashSet::from([watch.changes()]);
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

/// How often a way is tried that an interrupt in the vdso's clock, say, makes another one.
const TRIES: usize = 5;

/// The way that the operation takes when nothing comes between: two runs in turn took it.
pub fn usual_route<S: Scenario>(lab: &Lab, first: &S) -> Result<Route, Failure> {
    let mut route = lab.route(first)?;
    for _ in 0..TRIES {
        let again = lab.route(first)?;
        if again.is_like(&route) {
            return Ok(route);
        }
        route = again;
    }
    Err(Failure::new(Check::Lab, "the operation goes another way each time"))
}

/// A world in which one has died at its point k.
pub fn die<S: Scenario>(
    page: &Page,
    first: &S,
    route: &Route,
    k: usize,
) -> Result<S::World, Failure> {
    for _ in 0..TRIES {
        let (world, mut traced) = begin(page, first, first.setup()?)?;
        if traced.run_to(k, Some(route))? == Arrival::There {
            traced.kill();
            return Ok(world);
        }
    }
    Err(Failure::new(Check::Lab, format!("nobody came to the point of the first death, {k}")))
}

impl<S: Repairable> Scenario for Second<'_, S> {
    type World = S::World;

    fn name(&self) -> String {
        format!("repair/{} at {}", self.first.name(), self.k)
    }

    fn setup(&self) -> Result<S::World, Failure> {
        die(&self.page, self.first, self.route, self.k)
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

    /// Killed, the repairer leaves a half of something to the third one wherever it was.
    fn dense(&self, mode: Mode) -> usize {
        if mode == Mode::Kill { EVERY } else { DENSE }
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
