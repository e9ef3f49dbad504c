//! Sleepers: who wakes them may be killed, or stopped, between its change and the wake.
//!
//! A process is asleep in a blocking call when the child begins its operation, and the operation is what the
//! sleeper waits for. Once the change is made, the sleeper must act on it without any more help; if it
//! was not made, the sleeper must be as wakeable as before.

use super::lab::view::View;
use super::lab::{Check, Child, Failure, Scenario, demand};
use super::locks;
use super::queues::{CAPACITY, DONE, Form, NEW, NOTHING, Op, Queued, World as QueueWorld, perform};
use super::second::Repairable;
use mpshm::{LockError, Mutex, MutexGuard, Segment};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A sleeper that nobody wakes looks again by itself after a tenth of a second; this is far beyond.
const SOON: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(6);
/// What others push, and what the sleeper pushes.
const OTHER: u64 = 201;

/// A process that is asleep in a call, and will tell what the call brought.
pub struct Sleeper {
    child: Child,
    answer: UnixStream,
}

impl Sleeper {
    /// Returns once it sleeps on a futex.
    pub fn start(call: impl FnOnce() -> u64) -> Self {
        let (answer, mut tell) = UnixStream::pair().expect("a pair of sockets");
        let child = Child::fork(|| {
            let brought = call();
            i32::from(tell.write_all(&brought.to_ne_bytes()).is_err())
        });
        let path = format!("/proc/{}/syscall", child.pid());
        let futex = [libc::SYS_futex, 449].map(|number| number.to_string()); // 449: futex_waitv
        loop {
            let call = std::fs::read_to_string(&path).unwrap_or_default();
            if call.split(' ').next().is_some_and(|number| futex.iter().any(|one| one == number)) {
                return Self { child, answer };
            }
            std::thread::yield_now();
        }
    }

    /// What its call brought, if it has returned within `wait`. May be asked again, by any process.
    pub fn brought(&self, wait: Duration) -> Option<u64> {
        let fd = self.answer.as_raw_fd();
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut bytes = [0_u8; 8];
        // SAFETY: one valid pollfd; then a buffer of eight bytes, left in the socket.
        let got = unsafe {
            libc::poll(&raw mut poll, 1, wait.as_millis() as i32);
            libc::recv(fd, bytes.as_mut_ptr().cast(), 8, libc::MSG_PEEK | libc::MSG_DONTWAIT)
        };
        (got == 8).then(|| u64::from_ne_bytes(bytes))
    }

    fn soon(&self, why: &str) -> Result<u64, Failure> {
        self.brought(SOON).ok_or_else(|| {
            Failure::new(Check::Late, format!("the sleeper {} slept on: {why}", self.child.pid()))
        })
    }
}

/// A push, a pop or a close that a sleeper waits for.
pub struct Waking<F: Form> {
    inner: Queued<F>,
}

pub struct Waited<F: Form> {
    queue: QueueWorld<F>,
    sleeper: Sleeper,
}

impl<F: Form> Waking<F> {
    pub fn new(op: Op) -> Self {
        let items = if op == Op::Pop { CAPACITY } else { 0 };
        Self { inner: Queued { first_use: true, ..Queued::new(op, items) } }
    }

    /// Sees to it that the sleeper has what it waits for, and accounts for everything. Answers with
    /// the stage.
    fn settle(&self, world: &Waited<F>) -> Result<u64, Failure> {
        let (queue, sleeper) = (&world.queue.queue, &world.sleeper);
        match self.inner.op {
            Op::Push => {
                if F::len(queue) == 1 {
                    let brought = sleeper.soon("an item is there")?;
                    demand(brought == NEW, Check::Lost, || format!("it got {brought}"))?;
                    return Ok(1);
                }
                let done = F::push(queue, OTHER, Duration::ZERO)?;
                demand(done, Check::Blocked, || "no room in an empty queue".to_owned())?;
                let brought = sleeper.soon("an item was pushed")?;
                let left: Vec<_> = Queued::<F>::drain(queue)?.iter().map(|one| one.0).collect();
                let wanted = if brought == NEW { vec![OTHER] } else { vec![] };
                let fits = (brought == NEW || brought == OTHER) && left == wanted;
                demand(fits, Check::Lost, || format!("it got {brought}, and {left:?} is left"))?;
                Ok(u64::from(brought == NEW))
            }
            Op::Close => {
                let closed = F::is_closed(queue).unwrap_or(false);
                if !closed {
                    F::close(queue)
                        .map_err(|error| Failure::new(Check::Outcome, format!("close: {error}")))?;
                }
                let brought = sleeper.soon("the queue is closed")?;
                demand(brought == NOTHING, Check::Outcome, || format!("it got {brought}"))?;
                Ok(u64::from(closed))
            }
            _ => {
                let mut got = Vec::new();
                if F::len(queue) == CAPACITY {
                    got.extend(F::pop(queue, Duration::ZERO)?);
                }
                let brought = sleeper.soon("there is room")?;
                demand(brought == DONE, Check::Outcome, || format!("it answered {brought}"))?;
                got.extend(Queued::<F>::drain(queue)?);
                // What a dead one held comes at the first look that finds nothing.
                let order = self.inner.order();
                Queued::<F>::compare(&got, &order, true, Some(OTHER))?;
                let there = |number: u64| got.iter().find(|one| one.0 == number);
                demand(there(OTHER).is_some(), Check::Lost, || format!("{OTHER}: {got:?}"))?;
                Ok(match there(order[0]) {
                    Some((_, false)) => 0,
                    Some((_, true)) => 1,
                    None => 2,
                })
            }
        }
    }
}

impl<F: Form> Scenario for Waking<F> {
    type World = Waited<F>;

    fn name(&self) -> String {
        let sleeper = if self.inner.op == Op::Pop { "a pusher asleep" } else { "a popper asleep" };
        let name = self.inner.name();
        let (call, _) = name.rsplit_once('/').expect("operation/form/state");
        format!("{call}/{sleeper}")
    }

    fn setup(&self) -> Result<Waited<F>, Failure> {
        let queue = self.inner.setup()?;
        let sleeper = Sleeper::start(|| {
            let done = if self.inner.op == Op::Pop {
                F::push(&queue.queue, OTHER, LONG).map(|done| if done { DONE } else { NOTHING })
            } else {
                F::pop(&queue.queue, LONG).map(|one| one.map_or(NOTHING, |one| one.0))
            };
            done.expect("a sleeping call")
        });
        Ok(Waited { queue, sleeper })
    }

    fn memory(&self, world: &Waited<F>) -> (*const u8, usize) {
        self.inner.memory(&world.queue)
    }

    /// Not the queue itself: any push or pop there would wake the sleeper.
    fn prepare(&self, world: &mut Waited<F>) {
        self.inner.join(&mut world.queue);
    }

    fn operate(&self, world: &mut Waited<F>) -> u64 {
        if let Some(plant) = self.inner.plant {
            return plant(&world.queue);
        }
        perform::<F>(self.inner.op, &world.queue.queue)
    }

    fn survive(&self, world: &mut Waited<F>) -> Result<u64, Failure> {
        let stage = self.settle(world)?;
        Queued::<F>::finish(&world.queue.queue)?;
        Ok(stage)
    }

    fn stages(&self) -> Vec<u64> {
        match self.inner.op {
            Op::Pop if F::REDELIVERS => vec![0, 1, 2],
            Op::Pop => vec![0, 2],
            _ => vec![0, 1],
        }
    }

    fn meanwhile(&self, world: &mut Waited<F>) -> Result<u64, Failure> {
        self.settle(world)
    }

    fn after(&self, world: &mut Waited<F>, answer: u64, stage: u64) -> Result<(), Failure> {
        let queue = &world.queue.queue;
        let left: Vec<_> = Queued::<F>::drain(queue)?.iter().map(|one| one.0).collect();
        let (wanted, answered) = match self.inner.op {
            // Others had NEW, or it is here.
            Op::Push => (if stage == 1 { vec![] } else { vec![NEW] }, DONE),
            Op::Close => (vec![], DONE),
            // Others had everything, or the first one is the child's.
            _ => (vec![], if stage == 0 { NOTHING } else { self.inner.order()[0] }),
        };
        demand(left == wanted, Check::Lost, || format!("{left:?} is left, not {wanted:?}"))?;
        demand(answer == answered, Check::Outcome, || format!("answer {answer}, not {answered}"))?;
        Queued::<F>::finish(queue)
    }
}

/// An unlock that a sleeper waits for.
pub struct Unlocking;

pub struct WaitedLock {
    mutex: Mutex<u64>,
    view: View,
    sleeper: Option<Sleeper>,
    guard: Option<MutexGuard<'static, u64>>,
    go: UnixStream,
    locked: UnixStream,
}

impl Scenario for Unlocking {
    type World = WaitedLock;

    fn name(&self) -> String {
        "unlock/mutex/a locker asleep".to_owned()
    }

    fn setup(&self) -> Result<WaitedLock, Failure> {
        let lab = |error: mpshm::Error| Failure::new(Check::Lab, error.to_string());
        let segment = Segment::options().participants(6).objects(1).anonymous(4096).map_err(lab)?;
        let mutex = Mutex::create(segment.at("mutex"), 5_u64).map_err(lab)?;
        let view = View::of(&segment, segment.size() as usize);
        let (go, locked) = UnixStream::pair().expect("a pair of sockets");
        go.set_read_timeout(Some(LONG)).expect("a time limit");
        Ok(WaitedLock { mutex, view, sleeper: None, guard: None, go, locked })
    }

    fn memory(&self, world: &WaitedLock) -> (*const u8, usize) {
        world.view.memory()
    }

    /// Locks, and waits until the lab has put somebody to sleep at the lock.
    fn prepare(&self, world: &mut WaitedLock) {
        let guard = world.mutex.lock().expect("free");
        // SAFETY: the guard refers to the mapping, and the child never drops its world.
        world.guard = Some(unsafe {
            std::mem::transmute::<MutexGuard<'_, u64>, MutexGuard<'static, u64>>(guard)
        });
        world.locked.write_all(&[1]).expect("the lab listens");
        let mut byte = [0];
        std::io::Read::read_exact(&mut world.locked, &mut byte).expect("the lab answers");
    }

    /// In the lab, once the child has the lock.
    fn before(&self, world: &mut WaitedLock) {
        let mut byte = [0];
        std::io::Read::read_exact(&mut world.go, &mut byte).expect("the child has locked");
        let mutex = &world.mutex;
        world.sleeper = Some(Sleeper::start(|| match mutex.lock_timeout(LONG) {
            Ok(_) => locks::SOUND,
            Err(LockError::OwnerDead(mut guard)) => {
                guard.mark_consistent();
                locks::OWNER_DEAD
            }
            Err(other) => panic!("{other}"),
        }));
        world.go.write_all(&[1]).expect("the child listens");
    }

    fn operate(&self, world: &mut WaitedLock) -> u64 {
        world.guard = None;
        DONE
    }

    fn survive(&self, world: &mut WaitedLock) -> Result<u64, Failure> {
        let sleeper = world.sleeper.as_ref().expect("put to sleep");
        let stage = match sleeper.soon("the owner is dead, or has unlocked")? {
            locks::SOUND => 1,
            _ => 0,
        };
        end(&world.mutex)?;
        Ok(stage)
    }

    fn stages(&self) -> Vec<u64> {
        vec![0, 1]
    }

    fn meanwhile(&self, world: &mut WaitedLock) -> Result<u64, Failure> {
        let sleeper = world.sleeper.as_ref().expect("put to sleep");
        if matches!(world.mutex.try_lock(), Err(LockError::Busy)) {
            return Ok(0);
        }
        sleeper.soon("the owner has unlocked")?;
        Ok(1)
    }

    fn after(&self, world: &mut WaitedLock, answer: u64, _: u64) -> Result<(), Failure> {
        demand(answer == DONE, Check::Outcome, || format!("answer {answer}"))?;
        let sleeper = world.sleeper.as_ref().expect("put to sleep");
        let brought = sleeper.soon("the owner has unlocked")?;
        demand(brought == locks::SOUND, Check::Outcome, || format!("it got {brought}"))?;
        end(&world.mutex)
    }
}

fn end(mutex: &Mutex<u64>) -> Result<(), Failure> {
    let last = mutex.lock_timeout(SOON).map(|guard| guard.get());
    demand(matches!(last, Ok(5)), Check::Cycle, || format!("at the end: {last:?}"))
}
