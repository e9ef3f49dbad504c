//! Semaphores: no permit is lost, and none is there twice.
//!
//! There are three permits, counted or owned. The child takes some or gives some back; what it has when it is killed is
//! free again where permits have owners, and stays taken where they are only counted.

use super::lab::view::View;
use super::lab::{Check, Child, DENSE, Failure, Mode, Page, Scenario, demand, in_child};
use super::second::Repairable;
use super::wakes::Sleeper;
use mpshm::{AcquireError, ErrorKind, Permit, Segment, Semaphore, SemaphoreOptions};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Far beyond the end of a slice.
const PATIENT: Duration = Duration::from_secs(6);
const NAP: Duration = Duration::from_millis(1);
pub const ALL: u32 = 3;

/// What the child does with the semaphore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    TryAcquire,
    /// Two at once.
    TryAcquireMany,
    /// None is free, for a moment.
    AcquireTimeout,
    /// All are a dead one's.
    AcquireFromDead,
    /// One of two that it has.
    Release,
    /// Both.
    ReleaseMany,
    /// The only one that it has, while another process sleeps.
    ReleaseForSleeper,
    /// None is free: sleeps until one is.
    Sleep,
    /// The same, with another one asleep behind it.
    SleepFirst,
}

/// One operation.
pub struct Permitted {
    pub op: Op,
    pub owned: bool,
    /// Whether somebody repairs before the survivor comes.
    pub repaired: bool,
    /// Done instead of the operation: see `signal_plants.rs`.
    pub plant: Option<fn(&mut World) -> u64>,
}

pub struct World {
    pub semaphore: Semaphore,
    spare: Semaphore,
    pub view: View,
    sleeper: Option<Sleeper>,
    /// Who has all permits that are not the child's, where they have owners; ends when it is told to.
    holder: Option<Child>,
    go: Page,
}

/// The child's answers.
pub const DONE: u64 = 1;
const NONE: u64 = 2;

fn answer(taken: Result<Permit<'_>, AcquireError>) -> u64 {
    match taken {
        Ok(permit) => {
            permit.forget();
            DONE
        }
        Err(AcquireError::Busy | AcquireError::TimedOut) => NONE,
        Err(other) => panic!("{other}"),
    }
}

fn broken(error: &mpshm::Error) -> Failure {
    Failure::new(Check::Outcome, error.to_string())
}

/// Takes all of `count` permits and gives them back, twice; one more is not to be had.
fn finish(semaphore: &Semaphore, count: u32) -> Result<(), Failure> {
    for round in 0..2 {
        let all = semaphore.acquire_many_timeout(count, PATIENT);
        let Ok(all) = all else {
            return Err(Failure::new(Check::Audit, format!("round {round}: {all:?}")));
        };
        let more = semaphore.try_acquire();
        demand(matches!(more, Err(AcquireError::Busy)), Check::Doubled, || format!("{more:?}"))?;
        drop(all);
        let value = semaphore.value();
        demand(value == count, Check::Cycle, || format!("{value} free of {count}"))?;
    }
    Ok(())
}

impl World {
    fn brought(&self, why: &str) -> Result<(), Failure> {
        let Some(sleeper) = &self.sleeper else { return Ok(()) };
        let brought = sleeper.soon(why)?;
        demand(brought == DONE, Check::Lost, || format!("the sleeper answered {brought}: {why}"))
    }

    /// One permit more, by who has it or by anybody.
    fn free_one(&self) -> Result<(), Failure> {
        if self.holder.is_some() {
            self.go.words()[1].store(1, Ordering::Release);
            while self.go.words()[1].load(Ordering::Acquire) == 1 {
                std::thread::yield_now();
            }
            return Ok(());
        }
        self.semaphore.release(1).map_err(|error| broken(&error))
    }
}

impl Permitted {
    pub fn new(op: Op, owned: bool) -> Self {
        Self { op, owned, repaired: false, plant: None }
    }

    /// How many the child has, or wants, to do something with.
    fn childs(&self) -> u32 {
        match self.op {
            Op::TryAcquireMany | Op::Release | Op::ReleaseMany => 2,
            _ => 1,
        }
    }

    /// How many the child has when it begins.
    fn begins_with(&self) -> u32 {
        match self.op {
            Op::Release | Op::ReleaseMany => 2,
            Op::ReleaseForSleeper => 1,
            _ => 0,
        }
    }

    /// How many living others have all the time.
    fn others(&self) -> u32 {
        match self.op {
            Op::AcquireTimeout | Op::Sleep | Op::SleepFirst => ALL,
            Op::ReleaseForSleeper => ALL - 1,
            _ => 0,
        }
    }

    /// How many are free when the child begins.
    fn begins_free(&self) -> u32 {
        if self.op == Op::AcquireFromDead { 0 } else { ALL - self.others() - self.begins_with() }
    }

    /// What can be had after a death that left `free`.
    fn left(&self, free: u32) -> u32 {
        if self.owned { ALL - self.others() } else { free }
    }

    fn seats(&self) -> SemaphoreOptions {
        let options = SemaphoreOptions::new(ALL);
        if self.owned { options.owned() } else { options.bound(ALL) }
    }

    /// Whether so many free ones can have been found.
    fn fits(&self, free: u32) -> bool {
        let begin = self.begins_free();
        match self.op {
            Op::TryAcquire => [begin, begin - 1].contains(&free),
            // Owned ones are taken one after the other.
            Op::TryAcquireMany => {
                [begin, begin - 2].contains(&free) || self.owned && free == begin - 1
            }
            // Freed for it, and for others.
            Op::AcquireFromDead => free <= ALL,
            Op::Release => [begin, begin + 1].contains(&free),
            Op::ReleaseMany => {
                [begin, begin + 2].contains(&free) || self.owned && free == begin + 1
            }
            // The sleeper may have it already.
            Op::ReleaseForSleeper => free <= 1,
            Op::AcquireTimeout | Op::Sleep | Op::SleepFirst => free == 0,
        }
    }
}

impl Scenario for Permitted {
    type World = World;

    fn name(&self) -> String {
        let (call, state) = match self.op {
            Op::TryAcquire => ("try_acquire", "all free"),
            Op::TryAcquireMany => ("try_acquire_many", "all free"),
            Op::AcquireTimeout => ("acquire_timeout", "none free"),
            Op::AcquireFromDead => ("try_acquire", "owner dead"),
            Op::Release => ("release", "one of two"),
            Op::ReleaseMany => ("release", "both"),
            Op::ReleaseForSleeper => ("release", "an acquirer asleep"),
            Op::Sleep => ("acquire", "none free"),
            Op::SleepFirst => ("acquire", "an acquirer behind"),
        };
        format!("{call}/semaphore {}/{state}", if self.owned { "owned" } else { "counted" })
    }

    fn setup(&self) -> Result<World, Failure> {
        let lab = |error: mpshm::Error| Failure::new(Check::Lab, error.to_string());
        let segment = Segment::options().participants(8).objects(2).anonymous(4096).map_err(lab)?;
        let semaphore = Semaphore::create(segment.at("seats"), &self.seats()).map_err(lab)?;
        let spare = Semaphore::create(segment.at("spare"), &self.seats()).map_err(lab)?;
        let view = View::of(&segment, segment.size() as usize);
        let go = Page::new();
        let taken = if self.op == Op::AcquireFromDead { ALL } else { self.others() };
        let mut holder = None;
        if taken > 0 && self.owned {
            let child = Child::fork(|| {
                assert_eq!(answer(semaphore.acquire_many(taken)), DONE);
                go.words()[0].store(1, Ordering::Release);
                loop {
                    if go.words()[1].load(Ordering::Acquire) == 1 {
                        semaphore.release(1).expect("its own");
                        go.words()[1].store(2, Ordering::Release);
                    }
                    // SAFETY: sleeps for a moment, until it is killed.
                    unsafe { libc::usleep(200) };
                }
            });
            while go.words()[0].load(Ordering::Acquire) == 0 {
                std::thread::yield_now();
            }
            holder = Some(child);
        } else if taken > 0 {
            assert_eq!(answer(semaphore.acquire_many(taken)), DONE);
        }
        if self.op == Op::AcquireFromDead {
            drop(holder.take()); // it is killed, and reaped
        }
        Ok(World { semaphore, spare, view, sleeper: None, holder, go })
    }

    fn memory(&self, world: &World) -> (*const u8, usize) {
        world.view.memory()
    }

    fn prepare(&self, world: &mut World) {
        drop(world.spare.acquire().expect("nobody else's"));
        if self.begins_with() > 0 {
            assert_eq!(answer(world.semaphore.try_acquire_many(self.begins_with())), DONE);
        }
        world.go.words()[2].store(1, Ordering::Release);
        if self.op == Op::ReleaseForSleeper {
            while world.go.words()[3].load(Ordering::Acquire) == 0 {
                std::thread::yield_now();
            }
        }
    }

    /// Puts somebody to sleep once the child has what is left.
    fn before(&self, world: &mut World) {
        if self.op == Op::ReleaseForSleeper {
            while world.go.words()[2].load(Ordering::Acquire) == 0 {
                std::thread::yield_now();
            }
            let semaphore = &world.semaphore;
            world.sleeper = Some(Sleeper::start(|| answer(semaphore.acquire_timeout(PATIENT))));
            world.go.words()[3].store(1, Ordering::Release);
        }
    }

    fn operate(&self, world: &mut World) -> u64 {
        if let Some(plant) = self.plant {
            return plant(world);
        }
        let semaphore = &world.semaphore;
        match self.op {
            Op::TryAcquire | Op::AcquireFromDead => answer(semaphore.try_acquire()),
            Op::TryAcquireMany => answer(semaphore.try_acquire_many(2)),
            Op::AcquireTimeout => answer(semaphore.acquire_timeout(NAP)),
            Op::Sleep | Op::SleepFirst => answer(semaphore.acquire()),
            Op::Release | Op::ReleaseForSleeper | Op::ReleaseMany => {
                let count = if self.op == Op::ReleaseMany { 2 } else { 1 };
                semaphore.release(count).expect("its own");
                DONE
            }
        }
    }

    /// One permit, when two sleep: the first of them, the child, is woken.
    fn rouse(&self, world: &mut World) -> Result<(), Failure> {
        let semaphore = &world.semaphore;
        world.sleeper = Some(Sleeper::start(|| answer(semaphore.acquire_timeout(PATIENT))));
        in_child(&Page::new(), "who frees one", PATIENT, || world.free_one().map(|()| 0)).map(drop)
    }

    fn survive(&self, world: &mut World) -> Result<u64, Failure> {
        let semaphore = &world.semaphore;
        if self.op == Op::SleepFirst {
            world.brought("another one was woken, and has not acted")?;
            return Ok(0);
        }
        let free = semaphore.value();
        demand(self.fits(free), Check::Content, || format!("{free} are free"))?;
        if self.op == Op::ReleaseForSleeper {
            // Owned: the child's is free, one way or the other. Counted: if it was given back.
            let there = self.owned || free == 1 || {
                let waited = world.sleeper.as_ref().and_then(|one| one.brought(NAP * 200));
                waited.is_some()
            };
            if !there {
                world.free_one()?;
            }
            world.brought("a permit was given back")?;
            return Ok(there.into());
        }
        if self.others() == ALL {
            // Nothing is free, and nothing is the child's: one is given back.
            world.free_one()?;
            demand(answer(semaphore.acquire_timeout(PATIENT)) == DONE, Check::Lost, || {
                "one was given back".to_owned()
            })?;
            return Ok(0);
        }
        let left = self.left(free);
        if left > 0 {
            finish(semaphore, left)?;
        }
        let known = !self.repaired && self.op != Op::AcquireFromDead;
        Ok(if known { free.abs_diff(self.begins_free()).into() } else { 0 })
    }

    fn loops(&self) -> bool {
        self.op == Op::AcquireTimeout
    }

    /// Many a trial with a sleeper waits for the end of a slice.
    fn dense(&self, _: Mode) -> usize {
        if self.op == Op::ReleaseForSleeper { 300 } else { DENSE }
    }

    fn stages(&self) -> Vec<u64> {
        match self.op {
            Op::TryAcquire | Op::Release => vec![0, 1],
            Op::TryAcquireMany | Op::ReleaseMany if self.owned => vec![0, 1, 2],
            Op::TryAcquireMany | Op::ReleaseMany => vec![0, 2],
            Op::ReleaseForSleeper if !self.owned => vec![0, 1],
            Op::ReleaseForSleeper => vec![1],
            _ => vec![0],
        }
    }

    /// Takes all that is free, and gives it back. Answers how many those were.
    fn meanwhile(&self, world: &mut World) -> Result<u64, Failure> {
        let semaphore = &world.semaphore;
        if self.op == Op::SleepFirst {
            world.brought("another one was woken, and has not acted")?;
            world.free_one()?;
            return Ok(0);
        }
        let free = semaphore.value();
        demand(self.fits(free), Check::Content, || format!("{free} are free"))?;
        match self.op {
            Op::Sleep => world.free_one()?,
            Op::ReleaseForSleeper => {}
            _ if free == 0 && self.op != Op::AcquireFromDead => {
                let none = answer(semaphore.try_acquire()) == NONE;
                demand(none, Check::Doubled, || "none was free".to_owned())?;
            }
            _ => {
                // All but the one that a stopped taker of the dead one's has.
                let count = if self.op == Op::AcquireFromDead { 2 } else { free };
                let taken = semaphore.try_acquire_many(count).map_err(|error| {
                    Failure::new(Check::Blocked, format!("{count} of {free}: {error}"))
                })?;
                if self.owned && count < ALL {
                    let more = semaphore.release(ALL);
                    let refused = more.is_err_and(|error| error.kind() == ErrorKind::NotOwner);
                    demand(refused, Check::Outcome, || "too many given back".to_owned())?;
                }
                drop(taken);
            }
        }
        Ok(free.into())
    }

    fn after(&self, world: &mut World, got: u64, _: u64) -> Result<(), Failure> {
        let wanted = if self.op == Op::AcquireTimeout { NONE } else { DONE };
        demand(got == wanted, Check::Outcome, || format!("answer {got}, not {wanted}"))?;
        world.brought("a permit was given back")?;
        let semaphore = &world.semaphore;
        // The child has ended with what it had: as after a death.
        let left = match self.op {
            Op::AcquireTimeout => return Ok(()),
            Op::Sleep | Op::SleepFirst | Op::ReleaseForSleeper if !self.owned => 0,
            Op::Sleep | Op::ReleaseForSleeper => 1,
            Op::SleepFirst => 2,
            Op::AcquireFromDead => ALL,
            Op::TryAcquire | Op::TryAcquireMany => self.left(ALL - self.childs()),
            Op::Release => self.left(2),
            Op::ReleaseMany => ALL,
        };
        if left > 0 {
            return finish(semaphore, left);
        }
        let value = semaphore.value();
        demand(value == 0, Check::Doubled, || format!("{value} are free"))
    }
}

impl Repairable for Permitted {
    fn join(&self, world: &mut World) {
        drop(world.spare.acquire().expect("nobody else's"));
    }

    fn repair(&self, world: &mut World) {
        mpshm::recover(world.semaphore.segment()).expect("a sound segment");
    }

    fn finish(&self, world: &mut World) -> Result<(), Failure> {
        finish(&world.semaphore, ALL)
    }

    fn marks(&self, world: &World) -> (*const u8, usize) {
        world.view.memory()
    }
}
