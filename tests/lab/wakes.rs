//! Sleepers: who wakes them may be killed, or stopped, between its change and the wake.
//!
//! A process is asleep in a blocking call when the child begins its operation, and the operation is what the
//! sleeper waits for. Once the change is made, the sleeper must act on it without any more help; if it
//! was not made, the sleeper must be as wakeable as before.

use super::forms::{Form, Wait, broken, maybe};
use super::lab::process::Event;
use super::lab::view::View;
use super::lab::{Check, Child, Failure, Mode, Page, Scenario, demand, in_child};
use super::locks;
use super::model::{CAPACITY, Content, DONE, Found, Kind, NEW, NOTHING, Op};
use super::queues::{DEADLINE, Queued, World as QueueWorld, conclude, perform};
use super::second::Repairable;
use mpshm::{LockError, Mutex, MutexGuard, Segment};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A sleeper that nobody wakes looks again by itself after a tenth of a second; this is far beyond.
const SOON: Duration = Duration::from_secs(3);
const PATIENT: Duration = Duration::from_secs(6);
pub const LONG: Wait = Wait::For(PATIENT);
/// What others push, and what the sleeper pushes.
pub const OTHER: u64 = 201;

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
        let end = Instant::now() + PATIENT;
        let futex = [libc::SYS_futex, 449].map(|number| number.to_string()); // 449: futex_waitv
        loop {
            let call = std::fs::read_to_string(&path).unwrap_or_default();
            if call.split(' ').next().is_some_and(|number| futex.iter().any(|one| one == number)) {
                return Self { child, answer };
            }
            assert!(Instant::now() < end, "it does not sleep");
            std::thread::yield_now();
        }
    }

    /// Killed where it sleeps, and reaped.
    pub fn die(self) {
        drop(self); // its child is killed with it
    }

    pub fn signal(&self, number: i32) {
        self.child.signal(number);
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

    /// The same, soon; `why` it has to be.
    pub fn soon(&self, why: &str) -> Result<u64, Failure> {
        self.brought(SOON).ok_or_else(|| {
            Failure::new(Check::Late, format!("the sleeper {} slept on: {why}", self.child.pid()))
        })
    }
}

/// From so many points on only the telling ones are taken: many a trial waits for the end of a slice.
const DENSE: usize = 300;

/// A push, a pop, a close or a `task_done` that a sleeper waits for.
pub struct Waking<F: Form> {
    inner: Queued<F>,
}

pub struct Waited<F: Form> {
    queue: QueueWorld<F>,
    sleeper: Option<Sleeper>,
}

impl<F: Form> Waited<F> {
    fn soon(&self, why: &str) -> Result<u64, Failure> {
        self.sleeper.as_ref().expect("put to sleep").soon(why)
    }
}

/// A popper, or a pusher, asleep in its call.
fn asleep<F: Form>(queue: &F::Queue, pushes: bool) -> Sleeper {
    Sleeper::start(|| {
        let brought = if pushes {
            maybe(F::push(queue, OTHER, LONG)).map(|done| done.map_or(NOTHING, |()| DONE))
        } else {
            maybe(F::take(queue, LONG)).map(|one| one.map_or(NOTHING, |one| one.0))
        };
        brought.expect("a sleeping call")
    })
}

impl<F: Form> Waking<F> {
    pub fn new(op: Op) -> Self {
        let inner = match op {
            Op::TryPop => Queued::new(op, CAPACITY),
            Op::TaskDone => Queued::of(op, Kind::Joinable, 1),
            _ => Queued::new(op, 0),
        };
        Self { inner: Queued { first_use: true, ..inner } }
    }

    /// Sees to it that the sleeper has what it waits for, and accounts for everything. Answers with
    /// the stage.
    fn settle(&self, world: &Waited<F>, dead: bool) -> Result<u64, Failure> {
        let queue = &world.queue.queue;
        match self.inner.op {
            Op::TryPush => {
                if F::len(queue) == 1 {
                    let brought = world.soon("an item is there")?;
                    demand(brought == NEW, Check::Lost, || format!("it got {brought}"))?;
                    return Ok(1);
                }
                let done = maybe(F::push(queue, OTHER, Wait::No))?.is_some();
                demand(done, Check::Blocked, || "no room in an empty queue".to_owned())?;
                let brought = world.soon("an item was pushed")?;
                let left = Queued::<F>::drain(queue)?.plain;
                let wanted = if brought == NEW { vec![OTHER] } else { vec![] };
                let fits = (brought == NEW || brought == OTHER) && left == wanted;
                demand(fits, Check::Lost, || format!("it got {brought}, and {left:?} is left"))?;
                Ok(u64::from(brought == NEW))
            }
            Op::Close => {
                let closed = F::is_closed(queue).unwrap_or(false);
                if !closed {
                    F::close(queue).map_err(|error| broken(&error))?;
                }
                let brought = world.soon("the queue is closed")?;
                demand(brought == NOTHING, Check::Outcome, || format!("it got {brought}"))?;
                Ok(u64::from(closed))
            }
            Op::TaskDone if dead => {
                let found = Queued::<F>::drain_after_death(queue, 1)?;
                let brought = world.soon("all is done")?;
                demand(brought == DONE, Check::Outcome, || format!("it answered {brought}"))?;
                Ok(u64::from(found.marked.is_empty()))
            }
            Op::TaskDone => {
                let done = F::join(queue, Wait::No).is_ok();
                if done {
                    world.soon("all is done")?;
                }
                Ok(u64::from(done))
            }
            _ => {
                let mut found = Found::default();
                if F::len(queue) == CAPACITY {
                    found.plain.extend(maybe(F::take(queue, Wait::No))?.map(|one| one.0));
                }
                let brought = world.soon("there is room")?;
                demand(brought == DONE, Check::Outcome, || format!("it answered {brought}"))?;
                // What a dead one held comes at the first look that finds nothing.
                let rest = Queued::<F>::drain(queue)?;
                found.plain.extend(rest.plain);
                found.marked.extend(rest.marked);
                let queued = self.inner.content().queued;
                let content = |gone: usize, held: usize| Content {
                    queued: queued[gone..].iter().copied().chain([OTHER]).collect(),
                    held: queued[..held].to_vec(),
                    ..Content::default()
                };
                let stages = [content(0, 0), content(1, 1), content(1, 0)];
                // While it lives, what it holds is not seen.
                let fits = |stage: &Content| found.is(stage, dead);
                let Some(stage) = stages.iter().position(fits) else {
                    return Err(found.judge(&stages.each_ref(), dead));
                };
                Ok(if stage == 1 && !dead { 2 } else { stage as u64 })
            }
        }
    }
}

impl<F: Form> Scenario for Waking<F> {
    type World = Waited<F>;

    fn name(&self) -> String {
        let sleeper = match self.inner.op {
            Op::TryPop => "a pusher asleep",
            Op::TaskDone => "a joiner asleep",
            _ => "a popper asleep",
        };
        let name = self.inner.name();
        let (call, _) = name.rsplit_once('/').expect("operation/form/state");
        format!("{call}/{sleeper}")
    }

    fn setup(&self) -> Result<Waited<F>, Failure> {
        let world = self.inner.setup()?;
        let queue = &world.queue;
        let sleeper = match self.inner.op {
            Op::TaskDone => Sleeper::start(|| {
                F::join(queue, LONG).expect("all is done");
                DONE
            }),
            op => asleep::<F>(queue, op == Op::TryPop),
        };
        Ok(Waited { sleeper: Some(sleeper), queue: world })
    }

    fn memory(&self, world: &Waited<F>) -> (*const u8, usize) {
        self.inner.memory(&world.queue)
    }

    /// Not the queue itself: any push or pop there would wake the sleeper. Who joins is not woken by a pop.
    fn prepare(&self, world: &mut Waited<F>) {
        self.inner.join(&mut world.queue);
        if self.inner.op == Op::TaskDone {
            world.queue.take_first(Op::TaskDone);
        }
    }

    fn operate(&self, world: &mut Waited<F>) -> u64 {
        if let Some(plant) = self.inner.plant {
            return plant(&mut world.queue);
        }
        perform::<F>(self.inner.op, &mut world.queue)
    }

    fn conclude(&self, world: &mut Waited<F>, answer: u64) -> Result<u64, Failure> {
        conclude(&world.queue, answer)
    }

    fn survive(&self, world: &mut Waited<F>) -> Result<u64, Failure> {
        let stage = self.settle(world, true)?;
        self.inner.finish(&world.queue.queue)?;
        Ok(stage)
    }

    fn dense(&self, _: Mode) -> usize {
        DENSE
    }

    fn stages(&self) -> Vec<u64> {
        match self.inner.op {
            Op::TryPop if F::IN_BLOCKS => vec![0, 1, 2],
            Op::TryPop => vec![0, 2],
            _ => vec![0, 1],
        }
    }

    fn meanwhile(&self, world: &mut Waited<F>) -> Result<u64, Failure> {
        self.settle(world, false)
    }

    fn after(&self, world: &mut Waited<F>, answer: u64, stage: u64) -> Result<(), Failure> {
        let queue = &world.queue.queue;
        let left = Queued::<F>::drain(queue)?.plain;
        let (wanted, answered) = match self.inner.op {
            // Others had NEW, or it is here.
            Op::TryPush => (if stage == 1 { vec![] } else { vec![NEW] }, DONE),
            Op::TaskDone => {
                world.soon("all is done")?;
                (vec![], DONE)
            }
            Op::Close => (vec![], DONE),
            // Others had everything, or the first one is the child's.
            _ => (vec![], if stage == 0 { NOTHING } else { self.inner.content().queued[0] }),
        };
        demand(left == wanted, Check::Lost, || format!("{left:?} is left, not {wanted:?}"))?;
        demand(answer == answered, Check::Outcome, || format!("answer {answer}, not {answered}"))?;
        self.inner.finish(queue)
    }
}

/// A blocked push or pop that is woken, and dies or is stopped before it has acted: the next sleeper gets what it was
/// woken for.
pub struct Roused<F: Form> {
    inner: Queued<F>,
}

impl<F: Form> Roused<F> {
    pub fn new(op: Op) -> Self {
        let items = if op == Op::Push { CAPACITY } else { 0 };
        Self { inner: Queued { first_use: true, ..Queued::new(op, items) } }
    }

    fn pushes(&self) -> bool {
        self.inner.op == Op::Push
    }

    /// The sleeper behind has been served, without anybody's help.
    fn served(&self, world: &Waited<F>) -> Result<(), Failure> {
        let brought = world.soon("another one was woken, and has not acted")?;
        let wanted = if self.pushes() { DONE } else { OTHER };
        demand(brought == wanted, Check::Lost, || format!("it got {brought}, not {wanted}"))
    }
}

impl<F: Form> Scenario for Roused<F> {
    type World = Waited<F>;

    fn name(&self) -> String {
        let behind = if self.pushes() { "a pusher behind" } else { "a popper behind" };
        format!("{}/{}/{behind}", self.inner.op.name(), F::NAME)
    }

    fn setup(&self) -> Result<Waited<F>, Failure> {
        Ok(Waited { queue: self.inner.setup()?, sleeper: None })
    }

    fn memory(&self, world: &Waited<F>) -> (*const u8, usize) {
        self.inner.memory(&world.queue)
    }

    fn prepare(&self, world: &mut Waited<F>) {
        self.inner.join(&mut world.queue);
    }

    fn operate(&self, world: &mut Waited<F>) -> u64 {
        perform::<F>(self.inner.op, &mut world.queue)
    }

    /// One is served, when two sleep: the first of them, the child, is woken.
    fn rouse(&self, world: &mut Waited<F>) -> Result<(), Failure> {
        let queue = &world.queue.queue;
        world.sleeper = Some(asleep::<F>(queue, self.pushes()));
        in_child(&Page::new(), "who wakes", DEADLINE, || {
            let done = if self.pushes() {
                maybe(F::take(queue, Wait::No))?.is_some()
            } else {
                maybe(F::push(queue, OTHER, Wait::No))?.is_some()
            };
            demand(done, Check::Lab, || "nothing to wake for".to_owned()).map(|()| 0)
        })
        .map(drop)
    }

    fn conclude(&self, world: &mut Waited<F>, answer: u64) -> Result<u64, Failure> {
        conclude(&world.queue, answer)
    }

    fn survive(&self, world: &mut Waited<F>) -> Result<u64, Failure> {
        self.served(world)?;
        Queued::<F>::drain(&world.queue.queue)?;
        self.inner.finish(&world.queue.queue)?;
        Ok(0)
    }

    fn meanwhile(&self, world: &mut Waited<F>) -> Result<u64, Failure> {
        self.served(world)?;
        let queue = &world.queue.queue;
        let done = if self.pushes() {
            maybe(F::take(queue, Wait::No))?.is_some()
        } else {
            maybe(F::push(queue, OTHER + 1, Wait::No))?.is_some()
        };
        demand(done, Check::Blocked, || "nothing could be done".to_owned())?;
        Ok(0)
    }

    fn after(&self, world: &mut Waited<F>, answer: u64, _: u64) -> Result<(), Failure> {
        let wanted = if self.pushes() { DONE } else { OTHER + 1 };
        demand(answer == wanted, Check::Outcome, || format!("answer {answer}, not {wanted}"))?;
        Queued::<F>::drain(&world.queue.queue)?;
        self.inner.finish(&world.queue.queue)
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
        go.set_read_timeout(Some(PATIENT)).expect("a time limit");
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
        world.sleeper = Some(locker_asleep(mutex));
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

/// A locker that is woken, and dies or is stopped before it has the lock: the next sleeper gets it.
pub struct RousedLocker;

pub struct Lockers {
    mutex: Mutex<u64>,
    spare: Mutex<u64>,
    view: View,
    holder: Child,
    go: UnixStream,
    behind: Option<Sleeper>,
}

impl Lockers {
    fn served(&self) -> Result<(), Failure> {
        let behind = self.behind.as_ref().expect("put to sleep");
        let brought = behind.soon("another one was woken, and has not acted")?;
        demand(brought == locks::SOUND, Check::Outcome, || format!("it got {brought}"))
    }
}

impl Scenario for RousedLocker {
    type World = Lockers;

    fn name(&self) -> String {
        "lock/mutex/a locker behind".to_owned()
    }

    fn setup(&self) -> Result<Lockers, Failure> {
        let lab = |error: mpshm::Error| Failure::new(Check::Lab, error.to_string());
        let segment = Segment::options().participants(6).objects(2).anonymous(4096).map_err(lab)?;
        let mutex = Mutex::create(segment.at("mutex"), 5_u64).map_err(lab)?;
        let spare = Mutex::create(segment.at("spare"), 5_u64).map_err(lab)?;
        let view = View::of(&segment, segment.size() as usize);
        let (go, mut told) = UnixStream::pair().expect("a pair of sockets");
        let holder = Child::fork(|| {
            let guard = mutex.lock().expect("free");
            told.write_all(&[1]).expect("the lab listens");
            std::io::Read::read_exact(&mut told, &mut [0]).expect("the lab says when");
            drop(guard);
            0
        });
        std::io::Read::read_exact(&mut &go, &mut [0]).expect("it has the lock");
        Ok(Lockers { mutex, spare, view, holder, go, behind: None })
    }

    fn memory(&self, world: &Lockers) -> (*const u8, usize) {
        world.view.memory()
    }

    fn prepare(&self, world: &mut Lockers) {
        drop(world.spare.lock().expect("free"));
    }

    fn operate(&self, world: &mut Lockers) -> u64 {
        match world.mutex.lock() {
            Ok(_) => locks::SOUND,
            Err(other) => panic!("{other}"),
        }
    }

    fn rouse(&self, world: &mut Lockers) -> Result<(), Failure> {
        world.behind = Some(locker_asleep(&world.mutex));
        world.go.write_all(&[1]).expect("the holder listens");
        match world.holder.wait(Instant::now() + SOON) {
            Some(Event::Exited(0)) => Ok(()),
            other => Err(Failure::new(Check::Lab, format!("the holder: {other:?}"))),
        }
    }

    fn survive(&self, world: &mut Lockers) -> Result<u64, Failure> {
        world.served()?;
        end(&world.mutex).map(|()| 0)
    }

    fn meanwhile(&self, world: &mut Lockers) -> Result<u64, Failure> {
        world.served()?;
        end(&world.mutex).map(|()| 0)
    }

    fn after(&self, world: &mut Lockers, answer: u64, _: u64) -> Result<(), Failure> {
        demand(answer == locks::SOUND, Check::Outcome, || format!("answer {answer}"))?;
        end(&world.mutex)
    }
}

fn locker_asleep(mutex: &Mutex<u64>) -> Sleeper {
    Sleeper::start(|| match mutex.lock_timeout(PATIENT) {
        Ok(_) => locks::SOUND,
        Err(LockError::OwnerDead(mut guard)) => {
            guard.mark_consistent();
            locks::OWNER_DEAD
        }
        Err(other) => panic!("{other}"),
    })
}
