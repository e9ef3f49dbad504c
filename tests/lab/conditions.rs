//! Condition variables: who waits, and who notifies, killed and stopped at any instruction.
//!
//! Under the lock is a number that is waited for. Where another one waits, it is asleep when the child begins; it must have
//! its notification, or still be there to get one.

use super::lab::view::View;
use super::lab::{Check, Failure, Page, Scenario, demand, in_child};
use super::wakes::Sleeper;
use mpshm::{Condvar, CondvarOptions, LockError, Mutex, MutexGuard, Segment, WaitError};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(3);
const PATIENT: Duration = Duration::from_secs(6);
const NAP: Duration = Duration::from_millis(1);

const NOTIFIED: u64 = 1;
const TIMED_OUT: u64 = 2;
const IN_DOUBT: u64 = 3;
pub const DONE: u64 = 4;

/// What the child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Locks, changes the number, notifies, unlocks.
    Notify,
    /// Locks and waits.
    Wait,
    /// Locks, waits for a moment only, unlocks.
    GiveUp,
    /// Waits, and is notified; another one waits behind it.
    Roused,
    /// As `Notify`; who has waited longest has died.
    NotifyPast,
    /// Waits for a moment only, and has to free the word of one who died with a notification, which another one waits for.
    PassOn,
}

pub struct Waited {
    pub op: Op,
    /// Done instead of the operation: see `plants.rs`.
    pub plant: Option<fn(&mut World) -> u64>,
}

pub struct World {
    pub lock: Mutex<u64>,
    pub changed: Condvar,
    spare: Mutex<u64>,
    unused: Condvar,
    view: View,
    sleeper: Option<Sleeper>,
}

/// The lock, whatever its owner has come to.
fn locked(lock: &Mutex<u64>) -> Result<MutexGuard<'_, u64>, Failure> {
    match lock.lock_timeout(SOON) {
        Ok(guard) => Ok(guard),
        Err(LockError::OwnerDead(mut guard)) => {
            guard.mark_consistent();
            Ok(guard)
        }
        Err(other) => Err(Failure::new(Check::Hang, other.to_string())),
    }
}

/// Waits for one notification, whatever the number.
fn wait_once(lock: &Mutex<u64>, changed: &Condvar) -> u64 {
    let mut guard = lock.lock().expect("nobody dies with it");
    match changed.wait_timeout(&mut guard, PATIENT) {
        Ok(true) => NOTIFIED,
        Ok(false) => TIMED_OUT,
        Err(WaitError::OwnerDead) => {
            guard.mark_consistent();
            IN_DOUBT
        }
        Err(other) => panic!("{other}"),
    }
}

/// Waits until the number is not 0.
fn wait(lock: &Mutex<u64>, changed: &Condvar, limit: Duration) -> u64 {
    let (mut guard, mut doubt) = match lock.lock() {
        Ok(guard) => (guard, false),
        Err(LockError::OwnerDead(mut guard)) => {
            guard.mark_consistent();
            (guard, true)
        }
        Err(other) => panic!("{other}"),
    };
    match changed.wait_for(&mut guard, limit, |guard| guard.get() != 0) {
        Ok(true) => {}
        Ok(false) => return TIMED_OUT,
        Err(WaitError::OwnerDead) => {
            guard.mark_consistent();
            doubt = true;
        }
        Err(other) => panic!("{other}"),
    }
    if doubt { IN_DOUBT } else { NOTIFIED }
}

impl World {
    /// The number is changed, and all are notified; nobody waits then who does not live.
    fn notify(&self) -> Result<u32, Failure> {
        let mut guard = locked(&self.lock)?;
        guard.set(1);
        let notified = self.changed.notify_all(&guard);
        notified.map_err(|error| Failure::new(Check::Outcome, error.to_string()))
    }

    /// At the end of every trial: nothing is left in the table, and a notification gets through.
    fn finish(&self) -> Result<(), Failure> {
        for round in 0..2 {
            locked(&self.lock)?.set(0);
            let others =
                [(); 2].map(|()| Sleeper::start(|| wait(&self.lock, &self.changed, PATIENT)));
            let notified = self.notify()?;
            demand(notified == 2, Check::Cycle, || format!("round {round}: {notified} notified"))?;
            for other in &others {
                let brought = other.soon("it was notified")?;
                demand(brought == NOTIFIED, Check::Cycle, || format!("it got {brought}"))?;
            }
        }
        // As many as there is room for: nobody dead has a word.
        let waiting = self.changed.waiters();
        demand(waiting == 0, Check::Audit, || format!("{waiting} wait"))
    }

    fn others(&self) -> Result<u64, Failure> {
        self.sleeper.as_ref().expect("put to sleep").soon("it was notified")
    }
}

impl Waited {
    pub fn new(op: Op) -> Self {
        Self { op, plant: None }
    }

    fn notifies(&self) -> bool {
        [Op::Notify, Op::NotifyPast].contains(&self.op)
    }
}

impl Waited {
    /// What the dead one was notified of, the one that goes on now has, without anybody's help.
    fn passed_on(&self, world: &World) -> Result<(), Failure> {
        let Some(sleeper) = world.sleeper.as_ref().filter(|_| self.op == Op::PassOn) else {
            return Ok(());
        };
        sleeper.signal(libc::SIGCONT);
        let brought = world.others()?;
        let fits = [NOTIFIED, IN_DOUBT].contains(&brought);
        demand(fits, Check::Lost, || format!("the one that waited got {brought}"))
    }
}

impl Scenario for Waited {
    type World = World;

    fn name(&self) -> String {
        let name = match self.op {
            Op::Notify => "notify/condvar/a waiter asleep",
            Op::Wait => "wait/condvar/nobody there",
            Op::GiveUp => "wait_timeout/condvar/nobody there",
            Op::Roused => "wait/condvar/a waiter behind",
            Op::NotifyPast => "notify/condvar/a dead waiter, one asleep",
            Op::PassOn => "wait_timeout/condvar/a notified one dead, one stopped",
        };
        name.to_owned()
    }

    fn setup(&self) -> Result<World, Failure> {
        let lab = |error: mpshm::Error| Failure::new(Check::Lab, error.to_string());
        let segment = Segment::options().participants(8).objects(4).anonymous(8192).map_err(lab)?;
        let two = CondvarOptions::new().waiters(2);
        let lock = Mutex::create(segment.at("lock"), 0).map_err(lab)?;
        let changed = Condvar::create(segment.at("changed"), &two).map_err(lab)?;
        let spare = Mutex::create(segment.at("spare"), 0).map_err(lab)?;
        let unused = Condvar::create(segment.at("unused"), &two).map_err(lab)?;
        let view = View::of(&segment, segment.size() as usize);
        let waits = || Sleeper::start(|| wait(&lock, &changed, PATIENT));
        if self.op == Op::NotifyPast {
            waits().die();
        }
        let mut sleeper = self.notifies().then(waits);
        if self.op == Op::PassOn {
            let [dies, stays] = [(); 2].map(|()| Sleeper::start(|| wait_once(&lock, &changed)));
            // Before it can take it.
            dies.signal(libc::SIGSTOP);
            changed.notify_one(&lock.lock().expect("free")).map_err(lab)?;
            dies.die();
            // It would do the child's work.
            stays.signal(libc::SIGSTOP);
            sleeper = Some(stays);
        }
        Ok(World { lock, changed, spare, unused, view, sleeper })
    }

    fn memory(&self, world: &World) -> (*const u8, usize) {
        world.view.memory()
    }

    fn prepare(&self, world: &mut World) {
        let mut guard = world.spare.lock().expect("nobody else's");
        let waited = world.unused.wait_timeout(&mut guard, Duration::ZERO);
        assert!(matches!(waited, Ok(false)), "{waited:?}");
    }

    fn operate(&self, world: &mut World) -> u64 {
        if let Some(plant) = self.plant {
            return plant(world);
        }
        match self.op {
            Op::Notify | Op::NotifyPast => {
                let mut guard = world.lock.lock().expect("free");
                guard.set(1);
                world.changed.notify_one(&guard).expect("its lock");
                DONE
            }
            Op::Wait => wait(&world.lock, &world.changed, PATIENT),
            Op::GiveUp | Op::PassOn => wait(&world.lock, &world.changed, NAP),
            Op::Roused => wait_once(&world.lock, &world.changed),
        }
    }

    fn rouse(&self, world: &mut World) -> Result<(), Failure> {
        world.sleeper = Some(Sleeper::start(|| wait_once(&world.lock, &world.changed)));
        in_child(&Page::new(), "who notifies", SOON, || {
            let notified = world.changed.notify_one(&locked(&world.lock)?);
            let older = notified.is_ok_and(|there_was_one| there_was_one);
            demand(older && world.changed.waiters() == 1, Check::Lab, || "not one".to_owned())?;
            Ok(0)
        })
        .map(drop)
    }

    fn survive(&self, world: &mut World) -> Result<u64, Failure> {
        let mut stage = 0;
        if self.op == Op::Roused {
            // Without anybody's help.
            let brought = world.others()?;
            let fits = [NOTIFIED, IN_DOUBT].contains(&brought);
            demand(fits, Check::Lost, || format!("the one behind got {brought}"))?;
        } else if self.notifies() {
            // As far as it had come: the sleeper is served, or waits to be.
            let guard = locked(&world.lock)?;
            let (set, waiting) = (guard.get(), world.changed.waiters());
            drop(guard);
            stage = if waiting == 0 { 2 } else { set };
            if waiting != 0 {
                world.notify()?;
            }
            let brought = world.others()?;
            let fits = brought == NOTIFIED || brought == IN_DOUBT;
            demand(fits, Check::Outcome, || format!("the sleeper got {brought}"))?;
        } else {
            self.passed_on(world)?;
            // Nobody is notified who is dead.
            let notified = world.notify()?;
            demand(notified == 0, Check::Audit, || format!("{notified} notified"))?;
        }
        world.finish()?;
        Ok(stage)
    }

    fn loops(&self) -> bool {
        [Op::GiveUp, Op::PassOn].contains(&self.op)
    }

    fn stages(&self) -> Vec<u64> {
        if self.notifies() { vec![0, 1, 2] } else { Vec::new() }
    }

    /// Others who try do not wait for a stopped one, unless that has the lock.
    fn meanwhile(&self, world: &mut World) -> Result<u64, Failure> {
        if self.op == Op::Roused {
            // Who is stopped keeps its own; the one behind gets another.
            let notified = world.changed.notify_one(&locked(&world.lock)?);
            demand(notified == Ok(true), Check::Blocked, || format!("{notified:?}"))?;
            let brought = world.others()?;
            demand(brought == NOTIFIED, Check::Outcome, || {
                format!("the one behind got {brought}")
            })?;
            return Ok(0);
        }
        match world.lock.try_lock() {
            Err(LockError::Busy) => Ok(0),
            Ok(mut guard) => {
                guard.set(1);
                let notified = world.changed.notify_all(&guard);
                drop(guard);
                notified.map_err(|error| Failure::new(Check::Blocked, error.to_string()))?;
                Ok(1)
            }
            Err(other) => Err(Failure::new(Check::Outcome, other.to_string())),
        }
    }

    fn after(&self, world: &mut World, answer: u64, others: u64) -> Result<(), Failure> {
        let fits = match self.op {
            Op::Notify | Op::NotifyPast => answer == DONE,
            Op::Wait | Op::Roused => answer == NOTIFIED,
            // Its time may have been over before.
            Op::GiveUp | Op::PassOn => answer == TIMED_OUT || others == 1 && answer == NOTIFIED,
        };
        demand(fits, Check::Outcome, || format!("answer {answer}"))?;
        self.passed_on(world)?;
        if self.notifies() {
            let brought = world.others()?;
            demand(brought == NOTIFIED, Check::Outcome, || format!("the sleeper got {brought}"))?;
        }
        world.finish()
    }
}
