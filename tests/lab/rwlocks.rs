//! Read-write locks: readers and writers killed and stopped at any instruction.
//!
//! The lock guards two words that are equal whenever the data are whole. The child finds it free, read or written by
//! somebody who lives, or left behind by one that died.

use super::lab::view::View;
use super::lab::{Check, Child, Failure, Page, Scenario, demand};
use super::wakes::Sleeper;
use mpshm::{LockError, ReadGuard, RwLock, Segment, WriteGuard};
use std::sync::atomic::Ordering;
use std::time::Duration;

type Data = [u64; 2];

const BEFORE: Data = [5, 5];
const AFTER: Data = [6, 6];
const DEADLINE: Duration = Duration::from_secs(2);
const PATIENT: Duration = Duration::from_secs(6);
const NAP: Duration = Duration::from_millis(1);

const DONE: u64 = 1;
const REFUSED: u64 = 2;
/// Done, and told of a death.
const IN_DOUBT: u64 = 3;

/// What the child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Locks to read, looks, unlocks.
    Read,
    TryRead,
    /// Locks to write, adds one to each word, unlocks.
    Write,
    TryWrite,
    /// Wants to write, for a moment only.
    GiveUp,
    /// Ends a reading that a writer waits for.
    LetIn,
}

/// The lock as the child finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Free,
    /// Somebody else reads.
    Read,
    /// Somebody else writes.
    Written,
    /// Who wrote is dead.
    Dead,
}

pub struct Guarded {
    pub op: Op,
    pub state: State,
    /// Done instead of the operation: see `plants.rs`.
    pub plant: Option<fn(&mut World) -> u64>,
}

pub struct World {
    pub lock: RwLock<Data>,
    spare: RwLock<Data>,
    view: View,
    holder: Option<Child>,
    /// In the child, for `LetIn`. Never dropped before the operation.
    reads: Option<ReadGuard<'static, Data>>,
    /// A writer asleep, for `LetIn`.
    sleeper: Option<Sleeper>,
    page: Page,
}

/// Whole data, or what a dead writer left, made whole by one that writes.
fn writes(got: Result<WriteGuard<'_, Data>, LockError<WriteGuard<'_, Data>>>) -> u64 {
    let (mut guard, answer) = match got {
        Ok(guard) => (guard, DONE),
        Err(LockError::OwnerDead(mut guard)) => {
            let data = guard.get();
            guard.set([data[0].max(data[1]); 2]);
            guard.mark_consistent();
            (guard, IN_DOUBT)
        }
        Err(LockError::Busy | LockError::TimedOut) => return REFUSED,
        Err(other) => panic!("{other}"),
    };
    let [first, second] = guard.get();
    guard.set([first + 1, second + 1]);
    answer
}

fn reads(got: Result<ReadGuard<'_, Data>, LockError<ReadGuard<'_, Data>>>) -> u64 {
    match got {
        Ok(guard) => {
            let [first, second] = guard.get();
            assert_eq!(first, second, "torn, under a sound lock");
            DONE
        }
        Err(LockError::OwnerDead(_)) => IN_DOUBT,
        Err(LockError::Busy | LockError::TimedOut) => REFUSED,
        Err(other) => panic!("{other}"),
    }
}

impl Guarded {
    pub fn new(op: Op, state: State) -> Self {
        Self { op, state, plant: None }
    }

    fn has_written(&self) -> bool {
        [Op::Write, Op::TryWrite].contains(&self.op)
    }

    /// What the lock is worth at the end, when nobody else has it: how far the child's writing had come.
    fn settle(&self, world: &World) -> Result<u64, Failure> {
        let lock = &world.lock;
        if let Some(holder) = &world.holder {
            holder.signal(libc::SIGKILL);
        }
        let (in_doubt, data) = match lock.read_timeout(DEADLINE) {
            Ok(guard) => (false, guard.get()),
            Err(LockError::OwnerDead(guard)) => (true, guard.get()),
            Err(other) => return Err(Failure::new(Check::Hang, format!("a reading: {other:?}"))),
        };
        let whole = data == BEFORE || self.has_written() && data == AFTER;
        demand(whole || in_doubt, Check::Content, || format!("{data:?} and no doubt"))?;
        let may_doubt = self.has_written() || self.op == Op::GiveUp || self.state == State::Dead;
        demand(!in_doubt || may_doubt || self.state == State::Written, Check::Doubled, || {
            "in doubt, and no writer died".to_owned()
        })?;
        // The next writer is told as the reader was, and then it is sound.
        let mut guard = match lock.write_timeout(DEADLINE) {
            Ok(guard) if !in_doubt => guard,
            Err(LockError::OwnerDead(mut guard)) if in_doubt => {
                guard.mark_consistent();
                guard
            }
            other => return Err(Failure::new(Check::Lost, format!("a writing: {other:?}"))),
        };
        guard.set(BEFORE);
        drop(guard);
        for round in 0..2 {
            let outcome = (reads(lock.try_read()), writes(lock.try_write()));
            demand(outcome == (DONE, DONE), Check::Cycle, || {
                format!("round {round}: {outcome:?}")
            })?;
        }
        Ok(if in_doubt { 1 } else { u64::from(data == AFTER) * 2 })
    }
}

impl Scenario for Guarded {
    type World = World;

    fn name(&self) -> String {
        let op = match self.op {
            Op::Read => "read",
            Op::TryRead => "try_read",
            Op::Write => "write",
            Op::TryWrite => "try_write",
            Op::GiveUp => "write_timeout",
            Op::LetIn => "read_unlock",
        };
        let state = match self.state {
            State::Read if self.op == Op::LetIn => "a writer asleep",
            State::Free => "free",
            State::Read => "read",
            State::Written => "written",
            State::Dead => "writer dead",
        };
        format!("{op}/rwlock/{state}")
    }

    fn setup(&self) -> Result<World, Failure> {
        let lab = |error: mpshm::Error| Failure::new(Check::Lab, error.to_string());
        let options = Segment::options().participants(6).objects(2);
        let segment = options.anonymous(4 * RwLock::<Data>::size_for(6)).map_err(lab)?;
        let lock = RwLock::create(segment.at("lock"), BEFORE).map_err(lab)?;
        let spare = RwLock::create(segment.at("spare"), BEFORE).map_err(lab)?;
        let view = View::of(&segment, segment.size() as usize);
        let held = self.state != State::Free && self.op != Op::LetIn;
        let holder = held.then(|| {
            let ready = Page::new();
            let holder = Child::fork(|| {
                if self.state == State::Read {
                    std::mem::forget(lock.read().expect("free"));
                } else {
                    std::mem::forget(lock.write().expect("free"));
                }
                ready.words()[0].store(1, Ordering::Release);
                loop {
                    // SAFETY: sleeps until it is killed.
                    unsafe { libc::pause() };
                }
            });
            while ready.words()[0].load(Ordering::Acquire) == 0 {
                std::thread::yield_now();
            }
            holder
        });
        let holder = holder.filter(|_| self.state != State::Dead); // dropped, it is killed
        let page = Page::new();
        Ok(World { lock, spare, view, holder, reads: None, sleeper: None, page })
    }

    fn memory(&self, world: &World) -> (*const u8, usize) {
        world.view.memory()
    }

    fn prepare(&self, world: &mut World) {
        drop(world.spare.read().expect("nobody else's"));
        drop(world.spare.write().expect("nobody else's"));
        if self.op == Op::LetIn {
            let guard = world.lock.read().expect("free");
            // SAFETY: the guard refers to the mapping, and the child never drops its world.
            world.reads = Some(unsafe {
                std::mem::transmute::<ReadGuard<'_, Data>, ReadGuard<'static, Data>>(guard)
            });
            world.page.words()[0].store(1, Ordering::Release);
            while world.page.words()[0].load(Ordering::Acquire) != 2 {
                std::thread::yield_now();
            }
        }
    }

    fn before(&self, world: &mut World) {
        if self.op == Op::LetIn {
            while world.page.words()[0].load(Ordering::Acquire) != 1 {
                std::thread::yield_now();
            }
            let lock = &world.lock;
            world.sleeper = Some(Sleeper::start(|| match lock.write_timeout(PATIENT) {
                Ok(_) => DONE,
                Err(other) => panic!("{other}"),
            }));
            world.page.words()[0].store(2, Ordering::Release);
        }
    }

    fn operate(&self, world: &mut World) -> u64 {
        if let Some(plant) = self.plant {
            return plant(world);
        }
        match self.op {
            Op::Read => reads(world.lock.read()),
            Op::TryRead => reads(world.lock.try_read()),
            Op::Write => writes(world.lock.write()),
            Op::TryWrite => writes(world.lock.try_write()),
            Op::GiveUp => writes(world.lock.write_timeout(NAP)),
            Op::LetIn => {
                world.reads = None;
                DONE
            }
        }
    }

    fn survive(&self, world: &mut World) -> Result<u64, Failure> {
        if let Some(sleeper) = &world.sleeper {
            let brought = sleeper.soon("nobody reads any more")?;
            demand(brought == DONE, Check::Outcome, || format!("it got {brought}"))?;
        }
        let stage = self.settle(world)?;
        Ok(if self.has_written() && self.state == State::Free { stage } else { 0 })
    }

    fn loops(&self) -> bool {
        self.op == Op::GiveUp
    }

    /// Whether the child has it, or is on its way; others do what they may.
    fn meanwhile(&self, world: &mut World) -> Result<u64, Failure> {
        let lock = &world.lock;
        if let Some(sleeper) = &world.sleeper {
            let busy = reads(lock.try_read()) == REFUSED;
            let let_in = busy || sleeper.soon("nobody reads any more")? == DONE;
            demand(let_in, Check::Outcome, || "it did not get in".to_owned())?;
            return Ok(0);
        }
        let others = reads(lock.try_read());
        if [Op::Read, Op::TryRead].contains(&self.op) {
            let wanted = match self.state {
                State::Free | State::Read => DONE,
                State::Written if self.op == Op::Read => {
                    // What it waits for has to come.
                    world.holder.as_ref().expect("who writes").signal(libc::SIGKILL);
                    return Ok(0);
                }
                State::Written => REFUSED,
                State::Dead => IN_DOUBT,
            };
            demand(others == wanted, Check::Blocked, || format!("others read: {others}"))?;
        } else if self.state == State::Read {
            if self.op == Op::Write {
                world.holder.as_ref().expect("who reads").signal(libc::SIGKILL);
            }
        } else if others == REFUSED {
            let waited = reads(lock.read_timeout(NAP));
            demand(waited == REFUSED, Check::Doubled, || {
                format!("a living writer's lock: {waited}")
            })?;
        }
        Ok(0)
    }

    fn after(&self, world: &mut World, answer: u64, _: u64) -> Result<(), Failure> {
        let fits = match (self.op, self.state) {
            (Op::TryRead | Op::TryWrite, State::Written) => answer == REFUSED,
            (Op::TryWrite | Op::GiveUp, State::Read) => answer == REFUSED,
            (Op::Read, State::Written) => answer == IN_DOUBT,
            (_, State::Dead) => answer == IN_DOUBT,
            (Op::TryWrite, State::Free) => [DONE, REFUSED].contains(&answer), // somebody read meanwhile
            _ => answer == DONE,
        };
        demand(fits, Check::Outcome, || format!("answer {answer}"))?;
        if let Some(sleeper) = &world.sleeper {
            sleeper.soon("nobody reads any more")?;
        }
        self.settle(world).map(drop)
    }
}
