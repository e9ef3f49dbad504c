//! Locks: who may have one, and what the data behind it may be, after a kill or a stop.
//!
//! The lock guards two words that are equal whenever the data are whole. The child finds it free, held by
//! a process that lives, or left behind by one that died. While the child is stopped, another takes
//! the lock if it is to be had, and dies with it: so the child that goes on must be told.

use super::lab::view::View;
use super::lab::{Check, Child, Failure, Page, Scenario, demand};
use mpshm::{LockError, Mutex, MutexGuard, Segment};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

type Data = [u64; 2];
type Attempt<'m> = Result<MutexGuard<'m, Data>, LockError<MutexGuard<'m, Data>>>;

const BEFORE: Data = [5, 5];
const AFTER: Data = [6, 6];
const DEADLINE: Duration = Duration::from_secs(2);
const NAP: Duration = Duration::from_millis(1);
/// How long after a death the next comer may still find the lock taken.
const SOON: u32 = 10;

/// What the child does with the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Lock,
    TryLock,
    /// Waits a moment for a lock that somebody else holds.
    WaitToLock,
    /// Unlocks what it locked before, with the data changed.
    Unlock,
    /// Locks, adds one to each word, unlocks; told of a death, makes the data whole first.
    Add,
    /// Locks after a death and unlocks without a word about the data.
    Abandon,
}

/// The lock as the child finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Free,
    Held,
    Dead,
}

/// One operation on a lock in one state.
pub struct Locked {
    pub op: Op,
    pub state: State,
    /// Whether the lock is a recursive one, which `Add` then locks a second time.
    pub recursive: bool,
    /// Done instead of the operation: see `plants.rs`.
    pub plant: Option<fn(&mut World) -> u64>,
}

/// A lock, and another one to warm up with.
pub struct World {
    pub mutex: Mutex<Data>,
    pub view: View,
    spare: Mutex<Data>,
    /// Who holds the lock in the state `Held`.
    holder: Option<Child>,
    /// In the child, for `Unlock`: what it holds. Never dropped before the operation.
    guard: Option<MutexGuard<'static, Data>>,
}

/// The child's answers.
pub const SOUND: u64 = 1;
pub const OWNER_DEAD: u64 = 2;
pub const BUSY: u64 = 3;
pub const DONE: u64 = 4;

/// What an attempt found. The lock is free again, or lost, or as it was.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Sound(Data),
    OwnerDead(Data),
    Busy,
    Lost,
}

/// Looks at what an attempt brought, makes the data whole, unlocks.
fn found(attempt: Attempt<'_>) -> Result<Found, Failure> {
    match attempt {
        Ok(guard) => Ok(Found::Sound(guard.get())),
        Err(LockError::OwnerDead(mut guard)) => {
            let data = guard.get();
            guard.set([data[0].max(data[1]); 2]);
            guard.mark_consistent();
            Ok(Found::OwnerDead(data))
        }
        Err(LockError::Busy | LockError::TimedOut) => Ok(Found::Busy),
        Err(LockError::NotRecoverable) => Ok(Found::Lost),
        Err(other) => Err(Failure::new(Check::Outcome, other.to_string())),
    }
}

/// Takes the lock for good: it is held until this process ends.
fn keep(attempt: Attempt<'_>) -> u64 {
    match attempt {
        Ok(guard) => {
            std::mem::forget(guard);
            SOUND
        }
        Err(LockError::OwnerDead(guard)) => {
            std::mem::forget(guard);
            OWNER_DEAD
        }
        Err(LockError::Busy | LockError::TimedOut) => BUSY,
        Err(other) => panic!("{other}"),
    }
}

/// The lock of the dead, which the next comer must get soon.
fn look(mutex: &Mutex<Data>) -> Result<Found, Failure> {
    let begin = Instant::now();
    for _ in 0..SOON {
        match found(mutex.try_lock())? {
            Found::Busy => {}
            other => return Ok(other),
        }
        match found(mutex.lock_timeout(NAP))? {
            Found::Busy => {}
            other => return Ok(other),
        }
    }
    match found(mutex.lock_timeout(DEADLINE))? {
        Found::Busy => {
            Err(Failure::new(Check::Hang, "the lock of a dead process was not to be had"))
        }
        _ => Err(Failure::new(Check::Late, format!("learned of after {:?}", begin.elapsed()))),
    }
}

/// Kills the lock's holder, and returns when it is dead.
fn end_of(holder: &Child) {
    // SAFETY: the holder is a child of the lab, which reaps it only after this trial; one descriptor,
    // polled and closed.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, holder.pid(), 0) as i32;
        libc::kill(holder.pid(), libc::SIGKILL);
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        libc::poll(&raw mut poll, 1, 1000);
        libc::close(fd);
    }
}

/// The end of every trial: the lock is sound, excludes, and can be taken again and again.
fn finish(mutex: &Mutex<Data>) -> Result<(), Failure> {
    for round in 0..2 {
        let mut guard = match mutex.lock_timeout(DEADLINE) {
            Ok(guard) => guard,
            Err(other) => {
                return Err(Failure::new(Check::Cycle, format!("round {round}: {other:?}")));
            }
        };
        let [first, second] = guard.get();
        demand(first == second, Check::Content, || format!("{first} and {second}"))?;
        guard.set([first + 1; 2]);
        let again = mutex.try_lock();
        let excluded = match &again {
            Ok(guard) => mutex.is_recursive() && guard.get() == [first + 1; 2],
            Err(refused) => matches!(refused, LockError::Deadlock) && !mutex.is_recursive(),
        };
        demand(excluded, Check::Cycle, || format!("locked, and again: {again:?}"))?;
    }
    Ok(())
}

impl Locked {
    pub fn new(op: Op, state: State) -> Self {
        Self { op, state, recursive: false, plant: None }
    }

    pub fn recursive(op: Op, state: State) -> Self {
        Self { recursive: true, ..Self::new(op, state) }
    }

    pub fn planted(op: Op, state: State, plant: fn(&mut World) -> u64) -> Self {
        Self { plant: Some(plant), ..Self::new(op, state) }
    }

    /// The stage of what was found, or what is wrong with it.
    fn stage(&self, found: &Found) -> Result<u64, Failure> {
        let wrong = |check, why: &str| Err(Failure::new(check, format!("{why}: {found:?}")));
        match (self.op, found) {
            (Op::Abandon, Found::Lost) => Ok(1),
            (_, Found::Lost) => wrong(Check::Lost, "the lock was lost"),
            (Op::Add, Found::Sound(BEFORE)) if self.state == State::Free => Ok(0),
            (Op::Add, Found::OwnerDead(BEFORE)) => Ok(1),
            (Op::Add, Found::OwnerDead([6, 5])) => Ok(2),
            (Op::Add, Found::OwnerDead(AFTER)) => Ok(3),
            (Op::Add, Found::Sound(AFTER)) => Ok(4),
            (Op::Unlock, Found::OwnerDead(AFTER)) => Ok(0),
            (Op::Unlock, Found::Sound(AFTER)) => Ok(1),
            (Op::Lock | Op::TryLock, Found::Sound(BEFORE)) if self.state == State::Free => Ok(0),
            (Op::Lock | Op::TryLock, Found::OwnerDead(BEFORE)) => {
                Ok(u64::from(self.state == State::Free))
            }
            (Op::Abandon, Found::OwnerDead(BEFORE)) => Ok(0),
            (Op::TryLock | Op::WaitToLock, Found::Busy) => Ok(0),
            (Op::Lock, Found::Busy) if self.state == State::Held => Ok(0),
            (_, Found::Sound(BEFORE | AFTER)) if self.state == State::Dead => {
                wrong(Check::Lost, "the mark of a dead owner")
            }
            (_, Found::Sound(_) | Found::OwnerDead(_)) => {
                wrong(Check::Content, "data that nobody left so")
            }
            _ => wrong(Check::Outcome, "not now"),
        }
    }

    /// What the lock is worth after the operation has ended one way or the other.
    fn settle(&self, world: &mut World) -> Result<u64, Failure> {
        let mutex = &world.mutex;
        if let Some(holder) = &world.holder {
            let stage = self.stage(&found(mutex.try_lock())?)?;
            end_of(holder);
            let freed = found(mutex.lock_timeout(DEADLINE))?;
            demand(freed == Found::OwnerDead(BEFORE), Check::Lost, || format!("{freed:?}"))?;
            finish(mutex)?;
            return Ok(stage);
        }
        let found = look(mutex)?;
        let stage = self.stage(&found)?;
        if found == Found::Lost {
            let again = mutex.try_lock();
            let stays = matches!(again, Err(LockError::NotRecoverable));
            demand(stays, Check::Lost, || format!("lost, and then {again:?}"))?;
        } else {
            finish(mutex)?;
        }
        Ok(stage)
    }
}

impl Scenario for Locked {
    type World = World;

    fn name(&self) -> String {
        let op = match self.op {
            Op::Lock => "lock",
            Op::TryLock => "try_lock",
            Op::WaitToLock => "lock_timeout",
            Op::Unlock => "unlock",
            Op::Add => "lock_add_unlock",
            Op::Abandon => "abandon",
        };
        let state = match self.state {
            State::Free if self.op == Op::Unlock => "its own",
            State::Free => "free",
            State::Held => "held",
            State::Dead => "owner dead",
        };
        let kind = if self.recursive { "recursive mutex" } else { "mutex" };
        format!("{op}/{kind}/{state}")
    }

    fn setup(&self) -> Result<World, Failure> {
        let lab = |error: mpshm::Error| Failure::new(Check::Lab, error.to_string());
        let options = Segment::options().participants(6).objects(2);
        let segment = options.anonymous(4 * Mutex::<Data>::size_for()).map_err(lab)?;
        let make = if self.recursive { Mutex::create_recursive } else { Mutex::create };
        let mutex = make(segment.at("mutex"), BEFORE).map_err(lab)?;
        let spare = make(segment.at("spare"), BEFORE).map_err(lab)?;
        let view = View::of(&segment, segment.size() as usize);
        let holder = (self.state != State::Free).then(|| {
            let ready = Page::new();
            let holder = Child::fork(|| {
                keep(mutex.lock());
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
        let holder = holder.filter(|_| self.state == State::Held); // dropped, it is killed
        Ok(World { mutex, view, spare, holder, guard: None })
    }

    fn memory(&self, world: &World) -> (*const u8, usize) {
        world.view.memory()
    }

    fn prepare(&self, world: &mut World) {
        drop(world.spare.lock().expect("nobody else's"));
        if self.op == Op::Unlock {
            let mut guard = world.mutex.lock().expect("free");
            guard.set(AFTER);
            // SAFETY: the guard refers to the mapping, which outlives this process's operation: the
            // child never drops its world.
            world.guard = Some(unsafe {
                std::mem::transmute::<MutexGuard<'_, Data>, MutexGuard<'static, Data>>(guard)
            });
        }
    }

    fn operate(&self, world: &mut World) -> u64 {
        if let Some(plant) = self.plant {
            return plant(world);
        }
        match self.op {
            Op::Lock => keep(world.mutex.lock()),
            Op::TryLock => keep(world.mutex.try_lock()),
            Op::WaitToLock => keep(world.mutex.lock_timeout(NAP)),
            Op::Unlock => {
                world.guard = None;
                DONE
            }
            Op::Add => {
                add(&world.mutex);
                DONE
            }
            Op::Abandon => {
                drop(world.mutex.lock().map_err(drop));
                DONE
            }
        }
    }

    fn survive(&self, world: &mut World) -> Result<u64, Failure> {
        self.settle(world)
    }

    fn loops(&self) -> bool {
        self.op == Op::WaitToLock
    }

    fn stages(&self) -> Vec<u64> {
        match (self.op, self.state) {
            (Op::Add, _) => Vec::new(), // one store of both words or two: the compiler's choice
            (Op::Lock | Op::TryLock, State::Free) | (Op::Unlock | Op::Abandon, _) => vec![0, 1],
            _ => vec![0],
        }
    }

    /// Answers 1 when another got the lock, and died with it.
    fn meanwhile(&self, world: &mut World) -> Result<u64, Failure> {
        let mutex = &world.mutex;
        if let (Op::Lock, Some(holder)) = (self.op, &world.holder) {
            // What it waits for has to come.
            end_of(holder);
            let freed = found(mutex.lock_timeout(DEADLINE))?;
            demand(freed == Found::OwnerDead(BEFORE), Check::Blocked, || format!("{freed:?}"))?;
            return Ok(0);
        }
        let attempt = mutex.try_lock();
        let outcome = match &attempt {
            Ok(_) => SOUND,
            Err(LockError::OwnerDead(_)) => OWNER_DEAD,
            Err(LockError::Busy) => BUSY,
            Err(LockError::NotRecoverable) if self.op == Op::Abandon => return Ok(0),
            Err(other) => return Err(Failure::new(Check::Outcome, format!("try_lock: {other}"))),
        };
        match outcome {
            BUSY => {
                // Somebody has it who lives, be it stopped: waiting for it ends in time.
                let waited = found(mutex.lock_timeout(NAP))?;
                demand(waited == Found::Busy, Check::Doubled, || {
                    format!("a living owner's lock: {waited:?}")
                })?;
                return Ok(0);
            }
            OWNER_DEAD => demand(self.state == State::Dead, Check::Doubled, || {
                "a living owner was taken for dead".to_owned()
            })?,
            _ => {
                let expected = match self.op {
                    Op::Unlock => vec![AFTER],
                    Op::Add => vec![BEFORE, AFTER],
                    _ => vec![BEFORE],
                };
                let data = attempt.as_ref().map(|guard| guard.get()).ok();
                demand(data.is_some_and(|data| expected.contains(&data)), Check::Content, || {
                    format!("{data:?} under a sound lock")
                })?;
                demand(self.state != State::Held, Check::Doubled, || "it is held".to_owned())?;
                // The operation is over, or not begun. Begun and over: the lock goes back.
                if data == Some(AFTER) {
                    return Ok(0);
                }
            }
        }
        keep(attempt);
        Ok(1)
    }

    fn after(&self, world: &mut World, answer: u64, taken: u64) -> Result<(), Failure> {
        if (self.op, self.state) == (Op::Lock, State::Held) {
            demand(answer == SOUND, Check::Outcome, || format!("answer {answer}, not {SOUND}"))?;
            let found = look(&world.mutex)?;
            demand(found == Found::OwnerDead(BEFORE), Check::Lost, || format!("{found:?}"))?;
            return finish(&world.mutex);
        }
        let wanted = match (self.op, self.state) {
            (Op::Unlock | Op::Add | Op::Abandon, _) => DONE,
            (_, State::Held) => BUSY,
            (_, State::Dead) => OWNER_DEAD,
            (_, State::Free) => {
                if taken == 1 {
                    OWNER_DEAD
                } else {
                    SOUND
                }
            }
        };
        demand(answer == wanted, Check::Outcome, || format!("answer {answer}, not {wanted}"))?;
        let stage = self.settle(world)?;
        let wanted = match (self.op, self.state) {
            (Op::Add, _) => 4,
            (Op::Unlock | Op::Abandon, _) | (Op::Lock | Op::TryLock, State::Free) => 1,
            _ => 0,
        };
        demand(stage == wanted, Check::Lost, || format!("stage {stage} at the end, not {wanted}"))
    }
}

/// Locks, adds one to both words, unlocks.
fn add(mutex: &Mutex<Data>) {
    let mut guard = match mutex.lock() {
        Ok(guard) => guard,
        Err(LockError::OwnerDead(mut guard)) => {
            let data = guard.get();
            guard.set([data[0].max(data[1]); 2]);
            guard.mark_consistent();
            guard
        }
        Err(other) => panic!("{other}"),
    };
    let [first, second] = guard.get();
    let inner = mutex.is_recursive().then(|| mutex.lock().expect("its own"));
    guard.set([first + 1, second + 1]);
    drop(inner);
}
