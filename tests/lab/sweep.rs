//! Trials: one for each point of an operation, in one mode.

use super::calls::{Moment, Phase};
use super::page::Page;
use super::process::in_child;
use super::route::Route;
use super::trace::{Arrival, Traced};
use super::verdict::{Check, Failure};
use super::watch::Watch;
use super::{Lab, Scenario};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

/// How far beyond the recorded end it is looked whether a run is longer: an interrupt in the vdso's clock, say.
const BEYOND: usize = 40;

/// A hang costs seconds at each point; so many say enough.
const HANGS: usize = 5;
/// How many children are taken for one moment of a system call, until one of them arrives there.
const CHILDREN: usize = 5;

/// How the child ends at its point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Kill,
    Stop,
}

/// What a sweep over all points found.
#[derive(Default)]
pub struct Sweep {
    /// Points at which a child was really killed, or stopped, between the markers.
    pub points: BTreeSet<usize>,
    /// Hashes of what the operation had changed at those points.
    pub states: HashSet<u64>,
    pub failures: BTreeMap<usize, Failure>,
    /// Stages by point (kill only).
    pub stages: BTreeMap<usize, u64>,
    /// The longest that one survivor, or one turn of the others, took.
    pub slowest: Duration,
}

impl Sweep {
    /// The checks that failed, at whatever point.
    pub fn checks(&self) -> BTreeSet<Check> {
        self.failures.values().map(|failure| failure.check).collect()
    }

    fn hangs(&self) -> usize {
        self.failures.values().filter(|one| one.check == Check::Hang).count()
    }

    /// What failed, and where; `show` says more about a point.
    pub fn explain(&self, show: &impl Fn(usize) -> String) -> String {
        let mut text = format!("at {} of {} points", self.failures.len(), self.points.len());
        for (&k, failure) in self.failures.iter().take(6) {
            text += &format!("\n    k = {k}: {failure}\n        {}", show(k));
        }
        if self.failures.len() > 6 {
            let mut runs: Vec<(usize, usize, Check)> = Vec::new();
            for (&k, failure) in &self.failures {
                match runs.last_mut() {
                    Some((_, last, check)) if *last + 1 == k && *check == failure.check => {
                        *last = k;
                    }
                    _ => runs.push((k, k, failure.check)),
                }
            }
            let runs: Vec<_> =
                runs.iter().map(|(from, to, check)| format!("{from} to {to} {check}")).collect();
            text += &format!("\n    all: {}", runs.join(", "));
        }
        text
    }
}

/// A child that stands at its point.
struct Ready<'a, W> {
    world: W,
    traced: Traced<'a>,
    /// A hash of what the operation has changed.
    changes: u64,
    /// Whether the point is the one of the recorded run.
    on_the_way: bool,
    /// Whether it sleeps in a system call.
    asleep: bool,
}

impl Lab {
    /// One trial at each of the points, in one mode.
    pub fn sweep<S: Scenario>(
        &self,
        scenario: &S,
        route: &Route,
        points: &[usize],
        mode: Mode,
    ) -> Sweep {
        let mut sweep = Sweep::default();
        // A little beyond the recorded end: a run may be longer than the recorded one.
        let last = route.points();
        let every = points.len() == last && self.options.at.is_none();
        let further = if every { BEYOND } else { 0 };
        for k in points.iter().copied().chain(last..last + further) {
            let result = self.at_point(scenario, route, k, mode).and_then(|ready| match ready {
                Some(ready) => self.trial(scenario, ready, mode, k, &mut sweep).map(|()| true),
                None => Ok(false), // this run was shorter: nothing was killed, nothing counts
            });
            if let Err(failure) = result {
                let wanted = self.is_wanted(&failure);
                sweep.failures.insert(k, failure);
                if wanted || sweep.hangs() >= HANGS || k >= last {
                    break;
                }
            } else if result.is_ok_and(|there| !there) && k >= last {
                break;
            }
        }
        if mode == Mode::Kill {
            self.check_stages(scenario, Some(last), &mut sweep);
        }
        sweep
    }

    /// One trial at each of the moments inside system calls, in one mode; `complete` if others can find nothing that
    /// they cannot find at one of these.
    pub fn sweep_calls<S: Scenario>(
        &self,
        scenario: &S,
        moments: &[Moment],
        mode: Mode,
        complete: bool,
    ) -> Sweep {
        let mut sweep = Sweep::default();
        for (index, &moment) in moments.iter().enumerate() {
            // A sleep that ended with its slice is not the one that was looked for, and nothing was interrupted in it:
            // another child is taken then.
            let arrived = (0..CHILDREN).find_map(|_| self.in_call(scenario, moment).transpose());
            let result = arrived.transpose().and_then(|ready| match ready {
                Some(ready) => self.trial(scenario, ready, mode, index, &mut sweep),
                None => Ok(()),
            });
            if let Err(failure) = result {
                let wanted = self.is_wanted(&failure);
                sweep.failures.insert(index, failure);
                if wanted || sweep.hangs() >= HANGS {
                    break;
                }
            }
        }
        if mode == Mode::Kill {
            let last = complete.then_some(moments.len());
            self.check_stages(scenario, last, &mut sweep);
        }
        sweep
    }

    fn is_wanted(&self, failure: &Failure) -> bool {
        self.options.until == Some(failure.check)
    }

    /// Stages go up only, and all that there are were met, if every point up to `last` was taken.
    fn check_stages<S: Scenario>(&self, scenario: &S, last: Option<usize>, sweep: &mut Sweep) {
        let mut failures = Vec::new();
        let mut before = (0, 0);
        // Where runs differ in length, the same k is not the same moment.
        let along_one_way = sweep.stages.iter().filter(|_| !scenario.loops());
        for (&k, &stage) in along_one_way {
            if stage < before.1 && !sweep.failures.contains_key(&k) {
                let detail =
                    format!("stage {stage}, but {} after a kill at {}", before.1, before.0);
                failures.push((k, Failure::new(Check::Stage, detail)));
            }
            before = if stage > before.1 { (k, stage) } else { before };
        }
        sweep.failures.extend(failures);
        let met: BTreeSet<u64> = sweep.stages.values().copied().collect();
        let wanted: BTreeSet<u64> = scenario.stages().into_iter().collect();
        let all =
            !self.options.is_quick() && self.options.at.is_none() && sweep.failures.is_empty();
        if let Some(last) = last.filter(|_| all && !wanted.is_empty() && met != wanted) {
            let detail = format!("stages {met:?} were met, not {wanted:?}");
            sweep.failures.insert(last, Failure::new(Check::Stage, detail));
        }
    }

    /// A child at point `k`; none when the operation had returned before it.
    fn at_point<S: Scenario>(
        &self,
        scenario: &S,
        route: &Route,
        k: usize,
        mode: Mode,
    ) -> Result<Option<Ready<'_, S::World>>, Failure> {
        let known = !self.options.steps_only && k < route.points();
        // Loops of another length, and long ways that differ, are not stepped through: that costs too much.
        let stepped = !scenario.loops() && route.points() < scenario.dense(mode);
        let tries = if !known { [None; 3] } else { [Some(route), Some(route), None] };
        let tries = if stepped {
            &tries[..]
        } else if known {
            &tries[..2]
        } else {
            &tries[..1]
        };
        for by in tries {
            let (world, mut traced) = self.begin(scenario, scenario.setup()?)?;
            let watch = Watch::new(scenario.memory(&world));
            let arrival = traced.run_to(k, *by)?;
            if arrival == Arrival::There {
                let on_the_way = traced.address() == route.address(k);
                let changes = watch.changes();
                return Ok(Some(Ready { world, traced, changes, on_the_way, asleep: false }));
            }
            if by.is_none() {
                break; // step by step it is no other at a second try
            }
        }
        Ok(None)
    }

    /// A child at a moment inside a system call; none when it did not come by there.
    fn in_call<S: Scenario>(
        &self,
        scenario: &S,
        moment: Moment,
    ) -> Result<Option<Ready<'_, S::World>>, Failure> {
        let (mut world, mut traced) = self.begin(scenario, scenario.setup()?)?;
        let watch = Watch::new(scenario.memory(&world));
        if !traced.run_to_call(moment, || scenario.rouse(&mut world))? {
            return Ok(None);
        }
        let changes = watch.changes();
        let asleep = moment.phase == Phase::Asleep;
        Ok(Some(Ready { world, traced, changes, on_the_way: true, asleep }))
    }

    /// What happens to the child at its point, and what others find.
    fn trial<S: Scenario>(
        &self,
        scenario: &S,
        ready: Ready<'_, S::World>,
        mode: Mode,
        key: usize,
        sweep: &mut Sweep,
    ) -> Result<(), Failure> {
        let Ready { mut world, mut traced, changes, on_the_way, asleep } = ready;
        let limit = scenario.patience();
        sweep.points.insert(key);
        sweep.states.insert(changes);
        match mode {
            Mode::Kill => {
                traced.kill();
                let begin = Instant::now();
                let stage = in_child(&self.checker, "the survivor", limit, || {
                    scenario.survive(&mut world)
                })?;
                sweep.slowest = sweep.slowest.max(begin.elapsed());
                // Stages are compared along one way only: this k is another moment on another.
                if on_the_way {
                    sweep.stages.insert(key, stage);
                }
            }
            Mode::Stop => {
                if asleep {
                    traced.interrupt()?;
                }
                let stopped = traced.stop()?;
                let begin = Instant::now();
                let meanwhile = in_child(&self.checker, "another process", limit, || {
                    scenario.meanwhile(&mut world)
                })
                .map_err(|failure| match failure.check {
                    Check::Hang => Failure::new(Check::Blocked, failure.detail),
                    _ => failure,
                })?;
                sweep.slowest = sweep.slowest.max(begin.elapsed());
                let answer = stopped.go_on()?;
                in_child(&self.checker, "the last one", limit, || {
                    scenario.after(&mut world, answer, meanwhile).map(|()| 0)
                })?;
            }
        }
        Ok(())
    }
}

/// Forks the child for one trial in `world`; returns it at point 0.
pub fn begin<'p, S: Scenario>(
    page: &'p Page,
    scenario: &S,
    mut world: S::World,
) -> Result<(S::World, Traced<'p>), Failure> {
    let shared = &mut world;
    let mut traced = Traced::fork(
        page,
        scenario.patience(),
        || {
            scenario.prepare(shared);
            shared
        },
        |world| scenario.operate(world),
        |world, answer| scenario.conclude(world, answer),
    );
    scenario.before(&mut world);
    traced.arrive()?;
    Ok((world, traced))
}
