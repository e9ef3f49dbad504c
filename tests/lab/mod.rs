//! The crash lab: every operation killed, and stopped, at every one of its instructions.
//!
//! A [`Scenario`] says how to make an object in some state, what the one operation is, and what must
//! hold afterwards. For every point k of the operation the lab makes a fresh object and forks a fresh
//! child, runs it to instruction k (`trace.rs`), and then
//!
//! - **kill**: ends it there with SIGKILL; a survivor, another process, repairs by using the object, and
//!   checks. The stage that it reports (0 = as if the operation had never begun, and up) must not go back
//!   from one k to the next: what was there after a kill at k is there after a kill at k + 1.
//! - **stop**: stops it there with SIGSTOP; another process must get all its try-operations done
//!   meanwhile; then SIGCONT, and the operation must return rightly, and the object be right after all.
//!
//! Each part of a trial that uses the object runs in a process of its own with a time limit, so that a call
//! that never returns, and one that ends its process, are found as such. The parts are usable alone,
//! for trials of another shape (a second death inside the repair): [`Traced`], [`in_child`], [`Watch`].

// Each test program uses its own part of the lab.
#![allow(dead_code)]

pub mod page;
pub mod process;
pub mod residue;
pub mod trace;
pub mod verdict;
pub mod view;
pub mod watch;

pub use page::Page;
pub use process::{Child, in_child};
pub use trace::{Arrival, Route, Traced, place};
pub use verdict::{Check, Failure, demand};
pub use watch::Watch;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

/// How long the operation, a survivor, or another's turn may take. Every single call in it has a deadline of
/// its own, so this one only ends what ignores deadlines.
pub const PATIENCE: Duration = Duration::from_secs(4);

/// One operation on an object in one state.
pub trait Scenario {
    /// What the trial needs: handles, mapped memory.
    type World;

    /// `operation/object/state`.
    fn name(&self) -> String;

    /// In the lab: a fresh object in its state.
    fn setup(&self) -> Result<Self::World, Failure>;

    /// The object's shared bytes, for counting distinct states; they stay mapped as long as the world.
    fn memory(&self, world: &Self::World) -> (*const u8, usize);

    /// In the child, at full speed, before the first marker: whatever the operation is not about.
    fn prepare(&self, _world: &mut Self::World) {}

    /// In the lab, while the child prepares.
    fn before(&self, _world: &mut Self::World) {}

    /// In the child, between the markers: the operation; its answer as a number.
    fn operate(&self, world: &mut Self::World) -> u64;

    /// In a survivor, after the kill: use, repair, check. Answers with the stage found.
    fn survive(&self, world: &mut Self::World) -> Result<u64, Failure>;

    /// In another process, while the child is stopped: every try-operation. Answers with
    /// whatever `after` needs to know about it.
    fn meanwhile(&self, world: &mut Self::World) -> Result<u64, Failure>;

    /// In yet another process, when the child has gone on, returned `answer` and ended.
    fn after(&self, world: &mut Self::World, answer: u64, meanwhile: u64) -> Result<(), Failure>;

    /// After how long a part of a trial counts as hanging.
    fn patience(&self) -> Duration {
        PATIENCE
    }

    /// Whether it goes round in loops whose length depends on the clock: then the first two times of each
    /// instruction are taken, and a point that is not reached at full speed is not stepped to.
    fn loops(&self) -> bool {
        false
    }

    /// The stages that kills at all points must show between them; empty = not checked.
    fn stages(&self) -> Vec<u64> {
        Vec::new()
    }
}

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Every seventh point and both ends.
    pub quick: bool,
    /// Only what has this in its name.
    pub only: Option<String>,
    /// Only this point.
    pub at: Option<usize>,
    /// Step by step, never by breakpoint.
    pub steps_only: bool,
}

impl Options {
    /// From the command line. What libtest would understand is let through without effect.
    pub fn from_args(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let quick = std::env::var_os("MPSHM_QUICK").is_some();
        let mut options = Self { quick, ..Self::default() };
        let mut args = args;
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            match arg.as_str() {
                "--quick" => options.quick = true,
                "--steps-only" => options.steps_only = true,
                "--only" => options.only = Some(value()?),
                "--at" => {
                    options.at = Some(value()?.parse().map_err(|_| "--at needs a number")?);
                }
                "--nocapture" | "--show-output" | "--quiet" | "-q" => {}
                other if other.starts_with("--test-threads") => {}
                other if other.starts_with('-') => return Err(format!("unknown option {other}")),
                name => options.only = Some(name.to_owned()),
            }
        }
        Ok(options)
    }

    pub fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }

    fn takes(&self, k: usize, route: &Route, loops: bool) -> bool {
        let points = route.points();
        match self.at {
            Some(at) => k == at,
            None if k < 2 || k + 3 > points => true,
            None if self.quick && k % 7 != 0 => false,
            None => !loops || route.times(k) <= 2,
        }
    }
}

/// How far beyond the recorded end it is looked whether a run is longer: an interrupt in the vdso's clock, say.
const BEYOND: usize = 40;

/// An operation with more points than this is taken for one that [loops](Scenario::loops).
const LONG: usize = 3_000;

fn loops<S: Scenario>(scenario: &S, route: &Route) -> bool {
    scenario.loops() || route.points() > LONG
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
}

/// The lab: options, the pages shared with the two kinds of children, and the sums.
pub struct Lab {
    pub options: Options,
    operator: Page,
    checker: Page,
    pub killed: usize,
    pub stopped: usize,
    pub failed_points: usize,
    pub passed: usize,
    pub failed: usize,
}

/// How the child ends at its point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Kill,
    Stop,
}

impl Lab {
    pub fn new(options: Options) -> Self {
        Self {
            options,
            operator: Page::new(),
            checker: Page::new(),
            killed: 0,
            stopped: 0,
            failed_points: 0,
            passed: 0,
            failed: 0,
        }
    }

    /// Counts one test, and prints it when it failed.
    pub fn test(&mut self, name: &str, result: Result<(), String>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(why) => {
                self.failed += 1;
                println!("FAILED {name}: {why}");
            }
        }
    }

    /// Kills and stops the scenario's operation at every point, and prints one line about it.
    pub fn run<S: Scenario>(&mut self, scenario: &S) {
        let name = scenario.name();
        if !self.options.wants(&name) {
            return;
        }
        let begin = Instant::now();
        let route = match self.route(scenario) {
            Ok(route) => route,
            Err(failure) => {
                self.test(&name, Err(failure.to_string()));
                return;
            }
        };
        let kill = self.sweep(scenario, &route, Mode::Kill);
        let stop = self.sweep(scenario, &route, Mode::Stop);
        let states: HashSet<_> = kill.states.union(&stop.states).collect();
        let failed = kill.failures.len() + stop.failures.len();
        println!(
            "{name:<34} points {:>5}{}  killed {:>5}  stopped {:>5}  states {:>3}  stages {:?}  failed {failed}  slowest {:.1} ms  {:.1} s",
            route.points(),
            if loops(scenario, &route) { "~" } else { " " },
            kill.points.len(),
            stop.points.len(),
            states.len(),
            kill.stages.values().collect::<BTreeSet<_>>(),
            kill.slowest.max(stop.slowest).as_secs_f64() * 1e3,
            begin.elapsed().as_secs_f64(),
        );
        self.killed += kill.points.len();
        self.stopped += stop.points.len();
        self.failed_points += failed;
        for (mode, sweep) in [("kill", kill), ("stop", stop)] {
            let result = if sweep.points.is_empty() && self.options.at.is_none() {
                Err("not one point was reached".to_owned())
            } else if sweep.failures.is_empty() {
                Ok(())
            } else {
                Err(explain(&sweep, &route))
            };
            self.test(&format!("{name} ({mode})"), result);
        }
    }

    /// Runs the operation once from marker to marker and records its way.
    pub fn route<S: Scenario>(&self, scenario: &S) -> Result<Route, Failure> {
        let world = scenario.setup()?;
        self.begin(scenario, world)?.1.record()
    }

    /// Forks the child for one trial in `world`; returns it at point 0.
    pub fn begin<S: Scenario>(
        &self,
        scenario: &S,
        world: S::World,
    ) -> Result<(S::World, Traced<'_>), Failure> {
        begin(&self.operator, scenario, world)
    }

    /// One trial at each point, in one mode.
    pub fn sweep<S: Scenario>(&self, scenario: &S, route: &Route, mode: Mode) -> Sweep {
        let mut sweep = Sweep::default();
        let loops = loops(scenario, route);
        // A little beyond the recorded end: a run may be longer than the recorded one.
        for k in 0.. {
            if k < route.points() && !self.options.takes(k, route, loops) {
                continue;
            }
            let enough = loops || self.options.at.is_some();
            if k >= route.points() && (enough || k >= route.points() + BEYOND) {
                break;
            }
            match self.trial(scenario, route, mode, k, &mut sweep) {
                Ok(true) => {}
                Ok(false) if k >= route.points() => break,
                Ok(false) => {} // this run was shorter: nothing was killed, nothing counts
                Err(failure) => {
                    sweep.failures.insert(k, failure);
                    // A hang costs seconds at each point; a few say enough.
                    let hangs =
                        sweep.failures.values().filter(|one| one.check == Check::Hang).count();
                    if hangs >= 5 || k >= route.points() {
                        break;
                    }
                }
            }
        }
        if mode == Mode::Kill {
            let mut failures = Vec::new();
            let mut before = (0, 0);
            // Where runs differ in length, the same k is not the same moment.
            let along_one_way = sweep.stages.iter().filter(|_| !loops);
            for (&k, &stage) in along_one_way {
                if stage < before.1 && !sweep.failures.contains_key(&k) {
                    let detail =
                        format!("stage {stage}, but {} after a kill at {}", before.1, before.0);
                    failures.push((k, Failure::new(Check::Stage, detail)));
                }
                before = if stage > before.1 { (k, stage) } else { before };
            }
            sweep.failures.extend(failures);
            // Every point was visited: then every stage must have been met.
            let met: BTreeSet<u64> = sweep.stages.values().copied().collect();
            let wanted: BTreeSet<u64> = scenario.stages().into_iter().collect();
            let all = !self.options.quick && self.options.at.is_none() && sweep.failures.is_empty();
            if all && !wanted.is_empty() && met != wanted {
                let detail = format!("stages {met:?} were met, not {wanted:?}");
                sweep.failures.insert(route.points(), Failure::new(Check::Stage, detail));
            }
        }
        sweep
    }

    /// One trial; false when the operation had returned before point `k`.
    fn trial<S: Scenario>(
        &self,
        scenario: &S,
        route: &Route,
        mode: Mode,
        k: usize,
        sweep: &mut Sweep,
    ) -> Result<bool, Failure> {
        let world = scenario.setup()?;
        let (mut world, mut traced) = self.begin(scenario, world)?;
        let mut watch = Watch::new(scenario.memory(&world));
        let by_breakpoint = (!self.options.steps_only && k < route.points()).then_some(route);
        let mut arrival = traced.run_to(k, by_breakpoint)?;
        if by_breakpoint.is_some() && arrival != Arrival::There {
            if loops(scenario, route) {
                return Ok(false); // loops of another length: no second try at such a price
            }
            drop(traced);
            world = scenario.setup()?;
            (world, traced) = self.begin(scenario, world)?;
            watch = Watch::new(scenario.memory(&world));
            arrival = traced.run_to(k, None)?;
        }
        if arrival != Arrival::There {
            return Ok(false);
        }
        let address = traced.address();
        sweep.points.insert(k);
        sweep.states.insert(watch.changes());
        match mode {
            Mode::Kill => {
                traced.kill();
                let begin = Instant::now();
                let stage = in_child(&self.checker, "the survivor", scenario.patience(), || {
                    scenario.survive(&mut world)
                })?;
                sweep.slowest = sweep.slowest.max(begin.elapsed());
                // Stages are compared along one way only: this k is another moment on another.
                if address == route.address(k) {
                    sweep.stages.insert(k, stage);
                }
            }
            Mode::Stop => {
                let stopped = traced.stop()?;
                let begin = Instant::now();
                let meanwhile =
                    in_child(&self.checker, "another process", scenario.patience(), || {
                        scenario.meanwhile(&mut world)
                    })
                    .map_err(|failure| match failure.check {
                        Check::Hang => Failure::new(Check::Blocked, failure.detail),
                        _ => failure,
                    })?;
                sweep.slowest = sweep.slowest.max(begin.elapsed());
                let answer = stopped.go_on()?;
                in_child(&self.checker, "the last one", scenario.patience(), || {
                    scenario.after(&mut world, answer, meanwhile).map(|()| 0)
                })?;
            }
        }
        Ok(true)
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
    );
    scenario.before(&mut world);
    traced.arrive()?;
    Ok((world, traced))
}

fn explain(sweep: &Sweep, route: &Route) -> String {
    let mut text = format!("at {} of {} points", sweep.failures.len(), sweep.points.len());
    for (&k, failure) in sweep.failures.iter().take(6) {
        text += &format!(
            "\n    k = {k}: {failure}\n        next instruction: {}",
            place(route.address(k))
        );
    }
    if sweep.failures.len() > 6 {
        let mut runs: Vec<(usize, usize, Check)> = Vec::new();
        for (&k, failure) in &sweep.failures {
            match runs.last_mut() {
                Some((_, last, check)) if *last + 1 == k && *check == failure.check => *last = k,
                _ => runs.push((k, k, failure.check)),
            }
        }
        let runs: Vec<_> =
            runs.iter().map(|(from, to, check)| format!("{from} to {to} {check}")).collect();
        text += &format!("\n    all: {}", runs.join(", "));
    }
    text
}
