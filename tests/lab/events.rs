//! Events: set, or not, and whoever waits learns of it.

use super::lab::view::View;
use super::lab::{Check, Failure, Page, Scenario, demand, in_child};
use super::wakes::Sleeper;
use mpshm::{Event, Segment};
use std::time::Duration;

/// Far beyond the end of a slice.
const PATIENT: Duration = Duration::from_secs(6);
const NAP: Duration = Duration::from_millis(1);

/// What the child does with the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The event is not set.
    Set,
    /// It is set already.
    SetAgain,
    Clear,
    /// The event is set.
    Wait,
    /// It is not, for a moment.
    WaitTimeout,
    /// It is not set, and another process sleeps.
    SetForSleeper,
    /// Sleeps until it is set.
    Sleep,
    /// Sleeps until it is set, with another one asleep behind it.
    SleepFirst,
}

/// One operation.
pub struct Signalled {
    pub op: Op,
    /// Done instead of the operation: see `plants.rs`.
    pub plant: Option<fn(&mut World) -> u64>,
}

pub struct World {
    pub event: Event,
    pub view: View,
    sleeper: Option<Sleeper>,
}

/// The child's answers.
pub const DONE: u64 = 1;
const TIMED_OUT: u64 = 2;

fn waited(event: &Event, deadline: Duration) -> u64 {
    if event.wait_timeout(deadline).expect("nobody cancels") { DONE } else { TIMED_OUT }
}

/// The end of every trial: the event can be cleared and set, and says so.
fn finish(event: &Event) -> Result<(), Failure> {
    for _ in 0..2 {
        event.clear();
        let cleared = !event.is_set() && waited(event, Duration::ZERO) == TIMED_OUT;
        demand(cleared, Check::Cycle, || "cleared, and set".to_owned())?;
        event.set();
        let set = event.is_set() && waited(event, Duration::ZERO) == DONE;
        demand(set, Check::Cycle, || "set, and not set".to_owned())?;
    }
    Ok(())
}

impl World {
    /// The sleeper is told of a set.
    fn told(&self, why: &str) -> Result<(), Failure> {
        let Some(sleeper) = &self.sleeper else { return Ok(()) };
        let brought = sleeper.soon(why)?;
        demand(brought == DONE, Check::Lost, || format!("the sleeper answered {brought}: {why}"))
    }

    fn pulse(&self) {
        self.event.set();
        self.event.clear();
    }
}

impl Signalled {
    pub fn new(op: Op) -> Self {
        Self { op, plant: None }
    }

    /// Whether the event is set when the child begins.
    fn begins_set(&self) -> bool {
        matches!(self.op, Op::SetAgain | Op::Clear | Op::Wait)
    }

    fn is_a_set(&self) -> bool {
        matches!(self.op, Op::Set | Op::SetAgain | Op::SetForSleeper)
    }

    /// Whether the child has changed the event.
    fn stage(&self, event: &Event) -> Result<u64, Failure> {
        let changed = event.is_set() != self.begins_set();
        let may = matches!(self.op, Op::Set | Op::SetForSleeper | Op::Clear);
        demand(!changed || may, Check::Content, || "nobody changed it".to_owned())?;
        Ok(changed.into())
    }
}

impl Scenario for Signalled {
    type World = World;

    fn name(&self) -> String {
        let (call, state) = match self.op {
            Op::Set => ("set", "not set"),
            Op::SetAgain => ("set", "set"),
            Op::Clear => ("clear", "set"),
            Op::Wait => ("wait", "set"),
            Op::WaitTimeout => ("wait_timeout", "not set"),
            Op::SetForSleeper => ("set", "a waiter asleep"),
            Op::Sleep => ("wait", "not set"),
            Op::SleepFirst => ("wait", "a waiter behind"),
        };
        format!("{call}/event/{state}")
    }

    fn setup(&self) -> Result<World, Failure> {
        let lab = |error: mpshm::Error| Failure::new(Check::Lab, error.to_string());
        let segment = Segment::options().participants(6).objects(1).anonymous(4096).map_err(lab)?;
        let event = Event::create(segment.at("event")).map_err(lab)?;
        if self.begins_set() {
            event.set();
        }
        let view = View::of(&segment, segment.size() as usize);
        let mut world = World { event, view, sleeper: None };
        if self.op == Op::SetForSleeper {
            let event = &world.event;
            world.sleeper = Some(Sleeper::start(|| waited(event, PATIENT)));
        }
        Ok(world)
    }

    fn memory(&self, world: &World) -> (*const u8, usize) {
        world.view.memory()
    }

    fn operate(&self, world: &mut World) -> u64 {
        if let Some(plant) = self.plant {
            return plant(world);
        }
        match self.op {
            Op::Set | Op::SetAgain | Op::SetForSleeper => world.event.set(),
            Op::Clear => world.event.clear(),
            Op::Wait | Op::Sleep | Op::SleepFirst => world.event.wait().expect("nobody cancels"),
            Op::WaitTimeout => return waited(&world.event, NAP),
        }
        DONE
    }

    /// A pulse for two that sleep.
    fn rouse(&self, world: &mut World) -> Result<(), Failure> {
        let event = &world.event;
        world.sleeper = Some(Sleeper::start(|| waited(event, PATIENT)));
        let pulse = || {
            world.pulse();
            Ok(0)
        };
        in_child(&Page::new(), "who sets", PATIENT, pulse).map(drop)
    }

    fn survive(&self, world: &mut World) -> Result<u64, Failure> {
        let stage = self.stage(&world.event)?;
        if self.op == Op::SetForSleeper && stage == 0 {
            world.pulse();
        }
        world.told("it was set")?;
        finish(&world.event)?;
        Ok(stage)
    }

    fn loops(&self) -> bool {
        self.op == Op::WaitTimeout
    }

    fn stages(&self) -> Vec<u64> {
        match self.op {
            Op::Set | Op::Clear | Op::SetForSleeper => vec![0, 1],
            _ => vec![0],
        }
    }

    /// Answers whether the child had changed the event.
    fn meanwhile(&self, world: &mut World) -> Result<u64, Failure> {
        let event = &world.event;
        let stage = self.stage(event)?;
        let seen = waited(event, Duration::ZERO) == DONE;
        demand(seen == event.is_set(), Check::Blocked, || format!("a look says {seen}"))?;
        match self.op {
            Op::Sleep | Op::SleepFirst => {
                world.pulse();
                world.told("a pulse")?;
            }
            // Others that find it set leave it so; what the child makes of it then is its own.
            _ if self.is_a_set() && stage == 0 => event.clear(),
            Op::Set | Op::SetForSleeper => {
                world.told("it was set")?;
                finish(event)?;
            }
            // Done: what others set then stays.
            Op::Clear if stage == 1 => finish(event)?,
            Op::Clear | Op::Wait | Op::SetAgain => event.set(),
            Op::WaitTimeout => event.clear(),
        }
        if self.op == Op::SetAgain {
            event.set();
        }
        Ok(stage)
    }

    fn after(&self, world: &mut World, answer: u64, stage: u64) -> Result<(), Failure> {
        let wanted = if self.op == Op::WaitTimeout { TIMED_OUT } else { DONE };
        demand(answer == wanted, Check::Outcome, || format!("answer {answer}, not {wanted}"))?;
        let set = match self.op {
            Op::Clear => stage == 1,
            Op::WaitTimeout | Op::Sleep | Op::SleepFirst => false,
            _ => true,
        };
        let found = world.event.is_set();
        demand(found == set, Check::Lost, || format!("set: {found}, not {set}"))?;
        world.told("it was set")?;
        finish(&world.event)
    }
}
