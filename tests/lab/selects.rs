//! Waits for several things: who is killed or stopped in one, at any instruction, keeps nobody who waits for one of them.
//!
//! There are an event and a semaphore without permits. The child waits for either.

use super::lab::view::View;
use super::lab::{Check, Failure, Mode, Page, Scenario, demand, in_child};
use super::wakes::Sleeper;
use mpshm::{AcquireError, Event, Segment, Semaphore, SemaphoreOptions, Waitable, select};
use mpshm::{Ready, select_all};
use std::time::Duration;

/// Far beyond the end of a slice.
const PATIENT: Duration = Duration::from_secs(6);
const NAP: Duration = Duration::from_millis(1);

/// What the child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The event is set.
    Look,
    /// Neither is ready, for a moment.
    TimeOut,
    /// Neither is, until others make both ready.
    Sleep,
    /// The same, with another process asleep behind it, for the permit alone.
    SleepFirst,
    /// Waits for both; another process sleeps behind it, for the permit alone.
    AllFirst,
}

pub struct Selected(pub Op);

pub struct World {
    event: Event,
    seats: Semaphore,
    view: View,
    sleeper: Option<Sleeper>,
}

/// The child's answer: which were ready, and that it has answered.
const ANSWERED: u64 = 4;
const EVENT: u64 = 1;
const SEATS: u64 = 2;
/// The sleeper's.
const DONE: u64 = 1;
const NONE: u64 = 2;

fn answer(ready: &Ready) -> u64 {
    ready.iter().fold(ANSWERED, |answer, place| answer | 1 << place)
}

fn acquired(seats: &Semaphore, wait: Duration) -> u64 {
    match seats.acquire_timeout(wait) {
        Ok(permit) => {
            permit.forget();
            DONE
        }
        Err(AcquireError::TimedOut) => NONE,
        Err(other) => panic!("{other}"),
    }
}

impl World {
    /// The sleeper has the permit.
    fn brought(&self) -> Result<(), Failure> {
        let Some(sleeper) = &self.sleeper else { return Ok(()) };
        let brought = sleeper.soon("there was a permit")?;
        demand(brought == DONE, Check::Lost, || format!("the sleeper answered {brought}"))
    }

    /// Both can be used, and waited for, by others.
    fn finish(&self) -> Result<(), Failure> {
        let items: [&dyn Waitable; 2] = [&self.event, &self.seats];
        let look = || select(&items, Duration::ZERO).map_or(0, |ready| answer(&ready));
        self.event.clear();
        let (none, event) = (look(), {
            self.event.set();
            look()
        });
        self.seats.release(1).map_err(|error| Failure::new(Check::Cycle, error.to_string()))?;
        let both = look();
        let taken = acquired(&self.seats, Duration::ZERO);
        let found = (none, event, both, taken);
        let wanted = (ANSWERED, ANSWERED | EVENT, ANSWERED | EVENT | SEATS, DONE);
        demand(found == wanted, Check::Cycle, || format!("{found:?}, not {wanted:?}"))
    }
}

impl Selected {
    fn has_a_sleeper(&self) -> bool {
        matches!(self.0, Op::SleepFirst | Op::AllFirst)
    }
}

impl Scenario for Selected {
    type World = World;

    fn name(&self) -> String {
        let (call, state) = match self.0 {
            Op::Look => ("select", "one ready"),
            Op::TimeOut => ("select", "none ready, for a moment"),
            Op::Sleep => ("select", "none ready"),
            Op::SleepFirst => ("select", "an acquirer behind"),
            Op::AllFirst => ("select_all", "an acquirer behind"),
        };
        format!("{call}/event and semaphore/{state}")
    }

    fn setup(&self) -> Result<World, Failure> {
        let lab = |error: mpshm::Error| Failure::new(Check::Lab, error.to_string());
        let segment = Segment::options().participants(6).objects(2).anonymous(4096).map_err(lab)?;
        let event = Event::create(segment.at("event")).map_err(lab)?;
        let none = SemaphoreOptions::new(0);
        let seats = Semaphore::create(segment.at("seats"), &none).map_err(lab)?;
        if self.0 == Op::Look {
            event.set();
        }
        let view = View::of(&segment, segment.size() as usize);
        Ok(World { event, seats, view, sleeper: None })
    }

    fn memory(&self, world: &World) -> (*const u8, usize) {
        world.view.memory()
    }

    fn operate(&self, world: &mut World) -> u64 {
        let items: [&dyn Waitable; 2] = [&world.event, &world.seats];
        let ready = match self.0 {
            Op::TimeOut => select(&items, NAP),
            Op::AllFirst => select_all(&items, PATIENT),
            _ => select(&items, PATIENT),
        };
        answer(&ready.expect("nobody cancels"))
    }

    /// A permit, for which another one sleeps too; then what ends the wait for certain.
    fn rouse(&self, world: &mut World) -> Result<(), Failure> {
        if self.has_a_sleeper() {
            let seats = &world.seats;
            world.sleeper = Some(Sleeper::start(|| acquired(seats, PATIENT)));
        }
        let world = &*world;
        let wakes = || {
            world.seats.release(1).expect("it has no bound");
            if self.0 == Op::AllFirst {
                // The permit that it was woken for goes on to who sleeps behind it; another one stays.
                world.brought()?;
                world.seats.release(1).expect("it has no bound");
            }
            world.event.set();
            Ok(0)
        };
        in_child(&Page::new(), "who wakes", PATIENT, wakes).map(drop)
    }

    fn survive(&self, world: &mut World) -> Result<u64, Failure> {
        world.brought()?;
        while acquired(&world.seats, Duration::ZERO) == DONE {}
        world.finish()?;
        Ok(0)
    }

    fn loops(&self) -> bool {
        self.0 == Op::TimeOut
    }

    /// Every instruction, few as change anything.
    fn dense(&self, _: Mode) -> usize {
        3000
    }

    fn stages(&self) -> Vec<u64> {
        vec![0]
    }

    fn meanwhile(&self, world: &mut World) -> Result<u64, Failure> {
        world.brought()?;
        let free = world.seats.value();
        let items: [&dyn Waitable; 2] = [&world.event, &world.seats];
        let look = select(&items, Duration::ZERO).map(|ready| ready.contains(1));
        demand(look.as_ref().ok() == Some(&(free > 0)), Check::Blocked, || format!("{look:?}"))?;
        if matches!(self.0, Op::Sleep | Op::SleepFirst | Op::AllFirst) {
            // Whether it was woken before or not.
            world.event.set();
            world
                .seats
                .release(1)
                .map_err(|error| Failure::new(Check::Blocked, error.to_string()))?;
        }
        Ok(free.into())
    }

    fn after(&self, world: &mut World, answer: u64, _: u64) -> Result<(), Failure> {
        let right = match self.0 {
            Op::Look => answer == ANSWERED | EVENT,
            Op::TimeOut => answer == ANSWERED,
            Op::Sleep | Op::SleepFirst => answer & ANSWERED != 0 && answer != ANSWERED,
            Op::AllFirst => answer == ANSWERED | EVENT | SEATS,
        };
        demand(right, Check::Outcome, || format!("answer {answer}"))?;
        world.brought()?;
        while acquired(&world.seats, Duration::ZERO) == DONE {}
        world.finish()
    }
}
