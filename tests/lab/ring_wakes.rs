//! Ends that sleep: who wakes one may be killed, or stopped, between its change and the wake.
//!
//! As for queues (`wakes.rs`): once the change is made, the sleeper must act on it without any more help; if it was
//! not made, the sleeper must be as wakeable as before.

use super::forms::{Refused, Tried, Wait, broken, maybe};
use super::lab::{Check, Failure, Mode, Scenario, demand};
use super::model::{CLOSED, DONE, NEW, NOTHING};
use super::ring_forms::RingForm;
use super::ring_look::Ends;
use super::ring_model::{Kind, Op, Role};
use super::ring_world::World;
use super::rings::Ringed;
use super::wakes::{LONG, OTHER, Sleeper};
use mpshm::Ring;

/// A push, a pop or a close that the other end, or one of them, is asleep for.
pub struct RingWaking<F: RingForm> {
    inner: Ringed<F>,
    /// Who sleeps.
    sleeper: Role,
}

pub struct Waited<F: RingForm> {
    world: World<F>,
    sleeper: Sleeper,
    /// How many bytes or items had gone in, and out, when it fell asleep.
    before: [u64; 2],
}

fn gone<F: RingForm>(ring: &Ring<F::Item>) -> [u64; 2] {
    let counters = ring.counters();
    [counters.pushed, counters.popped]
}

fn told(tried: Tried<u64>) -> u64 {
    match tried {
        Ok(brought) => brought,
        Err(Refused::Nothing) => NOTHING,
        Err(Refused::Closed) => CLOSED,
        Err(other) => panic!("{other:?}"),
    }
}

impl<F: RingForm> RingWaking<F> {
    /// A close finds `sleeper` asleep; a push or a pop, the other end.
    pub fn new(op: Op, sleeper: Role) -> Self {
        let items = if sleeper == Role::Producer { F::capacity(Kind::Plain) } else { 0 };
        Self { inner: Ringed::new(op, items), sleeper }
    }

    /// The end is a handle of its own, which is gone when the call has returned.
    fn asleep(&self, ring: &Ring<F::Item>) -> Sleeper {
        Sleeper::start(|| match self.sleeper {
            Role::Producer => told(F::push(&mut ring.producer(), OTHER, LONG).map(|()| DONE)),
            Role::Consumer => {
                told(F::take(&mut ring.consumer(), Kind::Plain, LONG).map(|one| one.0))
            }
        })
    }

    /// Whether the change was made; then the sleeper has what it waits for. If it was not, and `dead` is who was to make it,
    /// another one does.
    fn settle(&self, world: &Waited<F>, dead: bool) -> Result<u64, Failure> {
        let (ring, sleeper) = (&world.world.ring, &world.sleeper);
        let [pushed, popped] = gone::<F>(ring);
        let made = match self.inner.op {
            Op::TryPush => pushed > world.before[0],
            Op::TryPop => popped > world.before[1],
            _ => ring.is_closed(),
        };
        if !made && !dead {
            return Ok(0);
        }
        if !made {
            let done = match self.inner.op {
                Op::TryPush => maybe(F::push(&mut ring.producer(), OTHER, Wait::No))?,
                Op::TryPop => {
                    maybe(F::take(&mut ring.consumer(), Kind::Plain, Wait::No))?.map(drop)
                }
                _ => Some(ring.close().map_err(|error| broken(&error))?),
            };
            demand(done.is_some(), Check::Blocked, || "the change cannot be made".to_owned())?;
        }
        let brought = sleeper.soon("the change was made")?;
        let wanted = match self.inner.op {
            Op::TryPush => [OTHER, NEW][usize::from(made)],
            Op::TryPop => DONE,
            _ => CLOSED,
        };
        demand(brought == wanted, Check::Lost, || format!("it got {brought}, not {wanted}"))?;
        Ok(u64::from(made))
    }

    /// All is as it must be when the sleeper was served.
    fn end(&self, world: &Waited<F>) -> Result<(), Failure> {
        let ring = &world.world.ring;
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        let mut ends = Ends::<F> { ring, producer: &mut producer, consumer: &mut consumer };
        let found: Vec<u64> = ends.drain(Kind::Plain)?.0.iter().map(|item| item.0).collect();
        let mut wanted: Vec<u64> = (1..=self.inner.items as u64).collect();
        if self.inner.op == Op::TryPop {
            wanted.remove(0);
            wanted.push(OTHER);
        }
        demand(found == wanted, Check::Lost, || format!("{found:?} is left, not {wanted:?}"))?;
        ends.finish(Kind::Plain)
    }
}

impl<F: RingForm> Scenario for RingWaking<F> {
    type World = Waited<F>;

    fn name(&self) -> String {
        let sleeper = if self.sleeper == Role::Producer { "pusher" } else { "popper" };
        format!("{}/ring of {}/a {sleeper} asleep", self.inner.op.name(), F::NAME)
    }

    fn setup(&self) -> Result<Waited<F>, Failure> {
        let world = self.inner.setup()?;
        let before = gone::<F>(&world.ring);
        let sleeper = self.asleep(&world.ring);
        Ok(Waited { world, sleeper, before })
    }

    fn memory(&self, world: &Waited<F>) -> (*const u8, usize) {
        self.inner.memory(&world.world)
    }

    fn prepare(&self, world: &mut Waited<F>) {
        self.inner.join(&world.world);
        match self.inner.role {
            Some(Role::Producer) => F::take_producer(world.world.writes()).expect("a free role"),
            Some(Role::Consumer) => F::take_consumer(world.world.reads()).expect("a free role"),
            None => {}
        }
    }

    fn operate(&self, world: &mut Waited<F>) -> u64 {
        self.inner.operate(&mut world.world)
    }

    fn conclude(&self, world: &mut Waited<F>, answer: u64) -> Result<u64, Failure> {
        self.inner.conclude(&mut world.world, answer)
    }

    fn survive(&self, world: &mut Waited<F>) -> Result<u64, Failure> {
        let stage = self.settle(world, true)?;
        self.end(world)?;
        Ok(stage)
    }

    /// Only where something changes: many a trial waits for the end of a slice.
    fn dense(&self, _: Mode) -> usize {
        0
    }

    fn stages(&self) -> Vec<u64> {
        vec![0, 1]
    }

    fn meanwhile(&self, world: &mut Waited<F>) -> Result<u64, Failure> {
        self.settle(world, false)
    }

    fn after(&self, world: &mut Waited<F>, answer: u64, _: u64) -> Result<(), Failure> {
        let wanted = if self.inner.op == Op::TryPop { 1 } else { DONE };
        demand(answer == wanted, Check::Outcome, || format!("answer {answer}, not {wanted}"))?;
        let made = self.settle(world, false)?;
        demand(made == 1, Check::Lost, || "the change is not there".to_owned())?;
        self.end(world)
    }
}
