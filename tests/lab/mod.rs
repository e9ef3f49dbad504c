//! The crash lab: every operation killed, and stopped, at every one of its instructions.
//!
//! A [`Scenario`] says how to make an object in some state, what the one operation is, and what must
//! hold afterwards. For each point k of the operation the lab makes a fresh object and forks a fresh
//! child, runs it to instruction k (`trace.rs`), and then
//!
//! - **kill**: ends it there with SIGKILL; a survivor, another process, repairs by using the object, and
//!   checks. The stage that it reports (0 = as if the operation had never begun, and up) must not go back
//!   from one k to the next: what was there after a kill at k is there after a kill at k + 1.
//! - **stop**: stops it there with SIGSTOP; another process must get all its try-operations done
//!   meanwhile; then SIGCONT, and the operation must return rightly, and the object be right after all.
//!
//! Where an operation has fewer than [`DENSE`] instructions, every k is a point. In a longer one the points are
//! those after which others may find something else than before: each change of the object's memory, each system call.
//! An operation that blocks is also killed and stopped inside its system calls, asleep in them, and just woken
//! (`calls.rs`).
//!
//! Each part of a trial that uses the object runs in a process of its own with a time limit, so that a call
//! that never returns, and one that ends its process, are found as such. The parts are usable alone,
//! for trials of another shape (a second death inside the repair): [`Traced`], [`in_child`], [`Watch`].

// Each test program uses its own part of the lab.
#![allow(dead_code)]

pub mod calls;
pub mod page;
pub mod process;
pub mod residue;
pub mod route;
pub mod share;
pub mod sweep;
pub mod trace;
pub mod verdict;
pub mod view;
pub mod watch;

use calls::Call;
pub use calls::{Moment, Phase, Which};
pub use page::Page;
pub use process::{Child, in_child};
pub use route::Route;
pub use sweep::{Mode, Sweep, begin};
pub use trace::{Arrival, Traced, place};
pub use verdict::{Check, Failure, demand};
pub use watch::Watch;

use std::collections::{BTreeSet, HashSet};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long the operation, a survivor, or another's turn may take. Every single call in it has a deadline of
/// its own, so this one only ends what ignores deadlines.
pub const PATIENCE: Duration = Duration::from_secs(12);

/// From so many points on only the telling ones are taken, by default. What calls the operation has about a hundred
/// of its own.
pub const DENSE: usize = 600;

/// One operation on an object in one state.
pub trait Scenario {
    /// What the trial needs: handles, mapped memory.
    type World;

    /// `operation/object/state`.
    fn name(&self) -> String;

    /// In the lab: a fresh object in its state.
    fn setup(&self) -> Result<Self::World, Failure>;

    /// The object's shared bytes, for telling states apart; they stay mapped as long as the world.
    fn memory(&self, world: &Self::World) -> (*const u8, usize);

    /// In the child, at full speed, before the first marker: whatever the operation is not about.
    fn prepare(&self, _world: &mut Self::World) {}

    /// In the lab, while the child prepares.
    fn before(&self, _world: &mut Self::World) {}

    /// In the child, between the markers: the operation; its answer as a number.
    fn operate(&self, world: &mut Self::World) -> u64;

    /// In the child, after the second marker: looks at what the operation brought; its answer for
    /// [`after`](Self::after).
    fn conclude(&self, _world: &mut Self::World, answer: u64) -> Result<u64, Failure> {
        Ok(answer)
    }

    /// In the lab, while the operation is asleep in a system call: what wakes it. Only for operations that are taken
    /// to [`Phase::Roused`].
    fn rouse(&self, _world: &mut Self::World) -> Result<(), Failure> {
        Err(Failure::new(Check::Lab, "nothing wakes it"))
    }

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

    /// From how many points on only the telling ones are taken.
    fn dense(&self, _mode: Mode) -> usize {
        DENSE
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

/// Which of an operation's points are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Thin {
    #[default]
    All,
    /// Every nth, and both ends, where else all would be taken; all that are telling elsewhere.
    Every(usize),
    /// About so many, evenly, and both ends.
    About(usize),
}

impl Thin {
    fn of<T: Copy>(self, points: &[T]) -> Vec<T> {
        let step = match self {
            Self::All => 1,
            Self::Every(step) => step,
            Self::About(count) => points.len().div_ceil(count).max(1),
        };
        let end = |at: usize| at < 2 || at + 2 >= points.len();
        let taken = points.iter().enumerate().filter(|&(at, _)| end(at) || at % step == 0);
        taken.map(|(_, &point)| point).collect()
    }
}

/// The sample of the quick form.
const QUICK: Thin = Thin::About(14);

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub thin: Thin,
    /// Only what has this in its name.
    pub only: Option<String>,
    /// Only this point.
    pub at: Option<usize>,
    /// Step by step, never by breakpoint.
    pub steps_only: bool,
    /// A sweep ends with the first failure of this check: to see that it can fail.
    pub until: Option<Check>,
    /// How many processes share the work; two for each processor, if not said.
    pub jobs: Option<usize>,
}

impl Options {
    /// From the command line. What libtest would understand is let through without effect.
    pub fn from_args(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        if std::env::var_os("MPSHM_QUICK").is_some() {
            options.thin = QUICK;
        }
        let mut args = args;
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            let number = |text: String| text.parse().map_err(|_| format!("{arg} needs a number"));
            match arg.as_str() {
                "--quick" => options.thin = QUICK,
                "--steps-only" => options.steps_only = true,
                "--only" => options.only = Some(value()?),
                "--at" => options.at = Some(number(value()?)?),
                "--jobs" => options.jobs = Some(number(value()?)?),
                "--nocapture" | "--show-output" | "--quiet" | "-q" => {}
                other if other.starts_with("--test-threads") => {}
                other if other.starts_with('-') => return Err(format!("unknown option {other}")),
                name => options.only = Some(name.to_owned()),
            }
        }
        Ok(options)
    }

    pub fn quick(&mut self) {
        self.thin = QUICK;
    }

    pub fn is_quick(&self) -> bool {
        self.thin != Thin::All
    }

    pub fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }
}

/// The sums of a run, by their place in the page that all who share the work have.
#[derive(Clone, Copy)]
pub enum Sum {
    Killed,
    Stopped,
    Double,
    FailedPoints,
    Passed,
    Failed,
    /// The next job to be taken.
    Job,
}

/// The lab: options, the pages shared with the two kinds of children, and the sums.
pub struct Lab {
    pub options: Options,
    operator: Page,
    checker: Page,
    sums: Rc<Page>,
}

impl Lab {
    pub fn new(options: Options) -> Self {
        Self { options, operator: Page::new(), checker: Page::new(), sums: Rc::new(Page::new()) }
    }

    /// Another one, which counts into the same sums.
    pub fn with(&self, options: Options) -> Self {
        Self { sums: Rc::clone(&self.sums), ..Self::new(options) }
    }

    /// What has been counted so far, by all who share the work.
    pub fn sum(&self, of: Sum) -> usize {
        self.sums.words()[of as usize].load(Ordering::SeqCst) as usize
    }

    /// Counts; answers with what there was before.
    pub fn count(&self, of: Sum, more: usize) -> usize {
        self.sums.words()[of as usize].fetch_add(more as u64, Ordering::SeqCst) as usize
    }

    /// Counts one test, and prints it when it failed.
    pub fn test(&self, name: &str, result: Result<(), String>) {
        match result {
            Ok(()) => {
                self.count(Sum::Passed, 1);
            }
            Err(why) => {
                self.count(Sum::Failed, 1);
                println!("FAILED {name}: {why}");
            }
        }
    }

    /// Kills and stops the scenario's operation at its points, and prints one line about it. Answers with how many
    /// were killed.
    pub fn run<S: Scenario>(&self, scenario: &S) -> usize {
        let name = scenario.name();
        if !self.options.wants(&name) {
            return 0;
        }
        let begin = Instant::now();
        let route = match self.route(scenario) {
            Ok(route) => route,
            Err(failure) => {
                self.test(&name, Err(failure.to_string()));
                return 0;
            }
        };
        let sweeps = [Mode::Kill, Mode::Stop].map(|mode| {
            let points = self.points(scenario, &route, mode);
            let sweep = self.sweep(scenario, &route, &points, mode);
            let few = sweep.points.len() * 2 < points.len() && sweep.failures.is_empty();
            if few && !scenario.loops() {
                let met = sweep.points.len();
                self.test(&name, Err(format!("{met} of {} points were reached", points.len())));
            }
            sweep
        });
        let mark = if route.points() < scenario.dense(Mode::Kill) { ' ' } else { '~' };
        let show = |k: usize| format!("next instruction: {}", place(route.address(k)));
        self.report(&name, &format!("{:>5}{mark}", route.points()), sweeps, begin, show)
    }

    /// Kills and stops the scenario's operation before and after each of its system calls, and prints one line about it:
    /// for what only the kernel keeps.
    pub fn run_in_calls<S: Scenario>(&self, scenario: &S) {
        let name = format!("{}, call by call", scenario.name());
        if self.options.wants(&name) {
            self.run_at(scenario, &name, self.around_calls(scenario), false);
        }
    }

    /// Kills and stops an operation that blocks in its system calls: each up to the first one that it sleeps in, the end
    /// of that sleep, and the next one. Prints one line about it.
    pub fn run_asleep<S: Scenario>(&self, scenario: &S) {
        let name = format!("{}, asleep", scenario.name());
        if self.options.wants(&name) {
            self.run_at(scenario, &name, self.around_sleeps(scenario), true);
        }
    }

    /// Kills and stops an operation when it has slept and was just woken, and prints one line about it.
    pub fn run_roused<S: Scenario>(&self, scenario: &S) {
        let name = format!("{}, just woken", scenario.name());
        if self.options.wants(&name) {
            let moments = self.calls(scenario, 2).and_then(|calls| {
                sleeps(&calls)?;
                Ok(vec![Moment { which: Which::Sleep(0), phase: Phase::Roused }])
            });
            self.run_at(scenario, &name, moments, true);
        }
    }

    /// Before and after each system call.
    pub fn around_calls<S: Scenario>(&self, scenario: &S) -> Result<Vec<Moment>, Failure> {
        let calls = self.calls(scenario, usize::MAX)?;
        Ok(self.options.thin.of(&around(0..calls.len())))
    }

    /// Before and after each system call up to the first sleep, then in two sleeps.
    pub fn around_sleeps<S: Scenario>(&self, scenario: &S) -> Result<Vec<Moment>, Failure> {
        let calls = self.calls(scenario, 2)?;
        let [first, _] = sleeps(&calls)?;
        let mut moments = self.options.thin.of(&around(0..first));
        for (which, phase) in [
            (Which::Call(first), Phase::Entered),
            (Which::Sleep(0), Phase::Asleep),
            (Which::Sleep(0), Phase::Returned),
            (Which::Sleep(1), Phase::Asleep),
        ] {
            moments.push(Moment { which, phase });
        }
        Ok(moments)
    }

    /// The operation's system calls, up to the so manieth that it sleeps in.
    fn calls<S: Scenario>(&self, scenario: &S, until: usize) -> Result<Vec<Call>, Failure> {
        let (_world, mut traced) = self.begin(scenario, scenario.setup()?)?;
        traced.survey(until)
    }

    fn run_at<S: Scenario>(
        &self,
        scenario: &S,
        name: &str,
        moments: Result<Vec<Moment>, Failure>,
        sleeps: bool,
    ) {
        let begin = Instant::now();
        let mut moments = match moments {
            Ok(moments) => moments,
            Err(failure) => return self.test(name, Err(failure.to_string())),
        };
        if let Some(at) = self.options.at {
            moments = moments.get(at).copied().into_iter().collect();
        }
        let [kill, stop] = [Mode::Kill, Mode::Stop]
            .map(|mode| self.sweep_calls(scenario, &moments, mode, !sleeps));
        if sleeps && self.options.at.is_none() {
            for sweep in [&kill, &stop].into_iter().filter(|sweep| sweep.failures.is_empty()) {
                let asleep = |phase| [Phase::Asleep, Phase::Roused].contains(&phase);
                let met = sweep.points.iter().any(|&index| asleep(moments[index].phase));
                self.test(name, if met { Ok(()) } else { Err("it never slept".to_owned()) });
            }
        }
        let show = |index: usize| format!("{:?}", moments.get(index));
        self.report(name, &format!("{:>5} ", moments.len()), [kill, stop], begin, show);
    }

    fn report(
        &self,
        name: &str,
        points: &str,
        [kill, stop]: [Sweep; 2],
        begin: Instant,
        show: impl Fn(usize) -> String,
    ) -> usize {
        let states: HashSet<_> = kill.states.union(&stop.states).collect();
        let failed = kill.failures.len() + stop.failures.len();
        let slowest = kill.slowest.max(stop.slowest).as_secs_f64() * 1e3;
        println!(
            "{name:<44} points {points}  killed {:>4}  stopped {:>4}  states {:>3}  stages {:?}  failed {failed}  slowest {slowest:.1} ms  {:.1} s",
            kill.points.len(),
            stop.points.len(),
            states.len(),
            kill.stages.values().collect::<BTreeSet<_>>(),
            begin.elapsed().as_secs_f64(),
        );
        let killed = kill.points.len();
        self.count(Sum::Killed, killed);
        self.count(Sum::Stopped, stop.points.len());
        self.count(Sum::FailedPoints, failed);
        for (mode, sweep) in [("kill", kill), ("stop", stop)] {
            let result = if sweep.points.is_empty() && self.options.at.is_none() {
                Err("not one point was reached".to_owned())
            } else if sweep.failures.is_empty() {
                Ok(())
            } else {
                Err(sweep.explain(&show))
            };
            self.test(&format!("{name} ({mode})"), result);
        }
        killed
    }

    /// Runs the operation once from marker to marker and records its way.
    pub fn route<S: Scenario>(&self, scenario: &S) -> Result<Route, Failure> {
        let (world, mut traced) = self.begin(scenario, scenario.setup()?)?;
        let watch = Watch::new(scenario.memory(&world));
        traced.record(|| watch.changes())
    }

    /// The points to be taken.
    pub fn points<S: Scenario>(&self, scenario: &S, route: &Route, mode: Mode) -> Vec<usize> {
        if let Some(at) = self.options.at {
            return vec![at];
        }
        let every = route.points() < scenario.dense(mode);
        let mut points = if every { (0..route.points()).collect() } else { route.telling() };
        if scenario.loops() {
            points.retain(|&k| route.times(k) <= 2);
        }
        match self.options.thin {
            Thin::Every(_) if !every => points,
            thin => thin.of(&points),
        }
    }

    /// Forks the child for one trial in `world`; returns it at point 0.
    pub fn begin<S: Scenario>(
        &self,
        scenario: &S,
        world: S::World,
    ) -> Result<(S::World, Traced<'_>), Failure> {
        begin(&self.operator, scenario, world)
    }
}

fn around(calls: std::ops::Range<usize>) -> Vec<Moment> {
    let both = |call| {
        [Phase::Entered, Phase::Returned].map(|phase| Moment { which: Which::Call(call), phase })
    };
    calls.flat_map(both).collect()
}

/// The first two calls that were slept in.
fn sleeps(calls: &[Call]) -> Result<[usize; 2], Failure> {
    let slept: Vec<usize> = (0..calls.len()).filter(|&call| calls[call].slept).collect();
    let two = slept[..].try_into();
    two.map_err(|_| Failure::new(Check::Lab, format!("it did not sleep twice: {calls:?}")))
}
