//! Latches, and what is done once.

use super::lab::view::View;
use super::lab::{Check, Failure, Page, Scenario, demand, in_child};
use super::wakes::Sleeper;
use mpshm::{Attempt, ErrorKind, Latch, Once, Segment, Value};
use std::time::Duration;

/// Far beyond the end of a slice.
const PATIENT: Duration = Duration::from_secs(6);
const NAP: Duration = Duration::from_millis(1);

/// What the child does with the latch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Two are left, and arrive at once.
    CountDown,
    /// Five are.
    CountDownSome,
    /// Two are left, and another process sleeps.
    CountDownForSleeper,
    /// It is open.
    Wait,
    /// Sleeps until it is open.
    Sleep,
    /// The same, with another one asleep behind it.
    SleepFirst,
}

/// One operation.
pub struct Latched(pub Op);

pub struct World {
    latch: Latch,
    view: View,
    sleeper: Option<Sleeper>,
}

/// The child's answer.
const DONE: u64 = 1;
/// How many the child counts for.
const CHILDS: u64 = 2;

fn waited(latch: &Latch, deadline: Duration) -> u64 {
    u64::from(latch.wait_timeout(deadline).expect("nobody cancels"))
}

fn broken(error: &mpshm::Error) -> Failure {
    Failure::new(Check::Outcome, error.to_string())
}

impl World {
    fn told(&self, why: &str) -> Result<(), Failure> {
        let Some(sleeper) = &self.sleeper else { return Ok(()) };
        let brought = sleeper.soon(why)?;
        demand(brought == DONE, Check::Lost, || format!("the sleeper answered {brought}: {why}"))
    }

    /// All that are left arrive; then it is open for everybody, for good.
    fn finish(&self) -> Result<(), Failure> {
        let left = self.latch.count();
        if left > 0 {
            let early = waited(&self.latch, Duration::ZERO) == DONE;
            demand(!early, Check::Doubled, || format!("open, and {left} are left"))?;
            self.latch.count_down(left).map_err(|error| broken(&error))?;
        }
        self.told("all have arrived")?;
        demand(waited(&self.latch, PATIENT) == DONE, Check::Cycle, || "not open".to_owned())?;
        let more = self.latch.count_down(1);
        demand(more.is_err(), Check::Cycle, || "counted below nothing".to_owned())
    }
}

impl Latched {
    fn begins_with(&self) -> u64 {
        match self.0 {
            Op::CountDownSome => 5,
            Op::Wait => 0,
            Op::Sleep | Op::SleepFirst => 1,
            _ => CHILDS,
        }
    }

    fn counts_down(&self) -> bool {
        matches!(self.0, Op::CountDown | Op::CountDownSome | Op::CountDownForSleeper)
    }

    /// Whether the child has arrived.
    fn stage(&self, latch: &Latch) -> Result<u64, Failure> {
        let (left, begin) = (latch.count(), self.begins_with());
        let arrived = left + CHILDS == begin && self.counts_down();
        let fits = arrived || left == begin;
        demand(fits, Check::Content, || format!("{left} of {begin} are left"))?;
        Ok(arrived.into())
    }
}

impl Scenario for Latched {
    type World = World;

    fn name(&self) -> String {
        match self.0 {
            Op::CountDown => "count_down/latch/the last",
            Op::CountDownSome => "count_down/latch/some are left",
            Op::CountDownForSleeper => "count_down/latch/a waiter asleep",
            Op::Wait => "wait/latch/open",
            Op::Sleep => "wait/latch/one is left",
            Op::SleepFirst => "wait/latch/a waiter behind",
        }
        .to_owned()
    }

    fn setup(&self) -> Result<World, Failure> {
        let lab = |error: mpshm::Error| Failure::new(Check::Lab, error.to_string());
        let segment = Segment::options().participants(6).objects(1).anonymous(4096).map_err(lab)?;
        let latch = Latch::create(segment.at("latch"), self.begins_with()).map_err(lab)?;
        let view = View::of(&segment, segment.size() as usize);
        let sleeper =
            (self.0 == Op::CountDownForSleeper).then(|| Sleeper::start(|| waited(&latch, PATIENT)));
        Ok(World { latch, view, sleeper })
    }

    fn memory(&self, world: &World) -> (*const u8, usize) {
        world.view.memory()
    }

    fn operate(&self, world: &mut World) -> u64 {
        if self.counts_down() {
            world.latch.count_down(CHILDS).expect("so many are left");
        } else {
            world.latch.wait().expect("nobody cancels");
        }
        DONE
    }

    fn rouse(&self, world: &mut World) -> Result<(), Failure> {
        let latch = &world.latch;
        world.sleeper = Some(Sleeper::start(|| waited(latch, PATIENT)));
        let arrives = || world.latch.count_down(1).map_err(|error| broken(&error)).map(|()| 0);
        in_child(&Page::new(), "who arrives", PATIENT, arrives).map(drop)
    }

    fn survive(&self, world: &mut World) -> Result<u64, Failure> {
        let stage = if self.0 == Op::SleepFirst { 0 } else { self.stage(&world.latch)? };
        if stage == 1 && world.latch.count() == 0 {
            world.told("the last has arrived")?;
        }
        world.finish()?;
        Ok(stage)
    }

    fn stages(&self) -> Vec<u64> {
        if self.counts_down() { vec![0, 1] } else { vec![0] }
    }

    /// Answers whether the child had arrived. Others do not wait for it to say how many are left.
    fn meanwhile(&self, world: &mut World) -> Result<u64, Failure> {
        if matches!(self.0, Op::Sleep | Op::SleepFirst) {
            world.finish()?;
            return Ok(0);
        }
        let stage = self.stage(&world.latch)?;
        if self.0 == Op::CountDownSome {
            let arrived = world.latch.count_down(1);
            demand(arrived.is_ok(), Check::Blocked, || format!("{arrived:?}"))?;
        }
        if stage == 1 && world.latch.count() == 0 {
            world.finish()?;
        }
        Ok(stage)
    }

    fn after(&self, world: &mut World, answer: u64, _: u64) -> Result<(), Failure> {
        demand(answer == DONE, Check::Outcome, || format!("answer {answer}"))?;
        let left = world.latch.count();
        let wanted = if self.0 == Op::CountDownSome { 2 } else { 0 };
        demand(left == wanted, Check::Lost, || format!("{left} are left, not {wanted}"))?;
        world.finish()
    }
}

/// How the child finds what is to be done once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    New,
    /// The one before died in the middle.
    Begun,
    Done,
}

/// A call, which does in two steps what is to be done.
pub struct Called(pub Found);

pub struct OnceWorld {
    once: Once,
    spare: Once,
    half: Value<u64>,
    all: Value<u64>,
    view: View,
}

/// The child's answers.
const RAN: u64 = 1;
const WAS_DONE: u64 = 2;

impl OnceWorld {
    /// Whether this call did it.
    fn call(&self, deadline: Duration) -> mpshm::Result<bool> {
        self.once.call_timeout(deadline, |attempt| {
            if attempt == Attempt::First {
                assert_eq!((self.half.load(), self.all.load()), (0, 0), "nobody was told");
            }
            self.half.store(1);
            self.all.store(1);
        })
    }

    /// It is done, whoever did it.
    fn finish(&self) -> Result<(), Failure> {
        let again = self.call(PATIENT);
        demand(again.as_ref().is_ok_and(|&ran| !ran), Check::Doubled, || format!("{again:?}"))?;
        let whole = (self.half.load(), self.all.load()) == (1, 1) && self.once.is_done();
        demand(whole, Check::Content, || "half done".to_owned())
    }
}

impl Scenario for Called {
    type World = OnceWorld;

    fn name(&self) -> String {
        match self.0 {
            Found::New => "call/once/new",
            Found::Begun => "call/once/runner dead",
            Found::Done => "call/once/done",
        }
        .to_owned()
    }

    fn setup(&self) -> Result<OnceWorld, Failure> {
        let lab = |error: mpshm::Error| Failure::new(Check::Lab, error.to_string());
        let segment = Segment::options().participants(6).objects(4).anonymous(8192).map_err(lab)?;
        let world = OnceWorld {
            once: Once::create(segment.at("once")).map_err(lab)?,
            spare: Once::create(segment.at("spare")).map_err(lab)?,
            half: Value::create(segment.at("half"), 0).map_err(lab)?,
            all: Value::create(segment.at("all"), 0).map_err(lab)?,
            view: View::of(&segment, segment.size() as usize),
        };
        let begin = || {
            // SAFETY: ends the child in the middle of its run.
            let _ = world.once.call(|_| unsafe { libc::_exit(0) });
            Ok(0)
        };
        match self.0 {
            Found::New => {}
            Found::Begun => drop(in_child(&Page::new(), "who begins", PATIENT, begin)),
            Found::Done => assert!(world.call(PATIENT).map_err(lab)?),
        }
        Ok(world)
    }

    fn memory(&self, world: &OnceWorld) -> (*const u8, usize) {
        world.view.memory()
    }

    fn prepare(&self, world: &mut OnceWorld) {
        world.spare.call(|_| ()).expect("nobody else's");
    }

    fn operate(&self, world: &mut OnceWorld) -> u64 {
        if world.call(PATIENT).expect("a sound once") { RAN } else { WAS_DONE }
    }

    fn survive(&self, world: &mut OnceWorld) -> Result<u64, Failure> {
        let done = world.once.is_done();
        let ran = world.call(PATIENT).map_err(|error| broken(&error))?;
        demand(ran != done, Check::Doubled, || format!("done: {done}, ran again: {ran}"))?;
        world.finish()?;
        Ok(done.into())
    }

    fn stages(&self) -> Vec<u64> {
        if self.0 == Found::Done { vec![1] } else { vec![0, 1] }
    }

    /// Answers whether it was done here.
    fn meanwhile(&self, world: &mut OnceWorld) -> Result<u64, Failure> {
        match world.call(NAP) {
            Ok(ran) => {
                world.finish()?;
                Ok(ran.into())
            }
            // The stopped one is in the middle of it.
            Err(error) if error.kind() == ErrorKind::TimedOut && self.0 != Found::Done => Ok(0),
            Err(error) => Err(broken(&error)),
        }
    }

    fn after(&self, world: &mut OnceWorld, answer: u64, here: u64) -> Result<(), Failure> {
        let wanted = if here == 1 || self.0 == Found::Done { WAS_DONE } else { RAN };
        demand(answer == wanted, Check::Outcome, || format!("answer {answer}, not {wanted}"))?;
        world.finish()
    }
}
