//! Producers that a queue follows: one that comes, pushes or leaves is killed or stopped, and the consumers must learn
//! how the stream ended, or that it has not.

use super::forms::{Blocks, Form, Refused, Slots, Tried, Wait, broken, maybe};
use super::lab::view::View;
use super::lab::{Check, Child, Failure, Page, Scenario, demand};
use super::model::{CAPACITY, DONE, NEW};
use super::queues::DEADLINE;
use super::second::Repairable;
use mpshm::{Producer, PushError, QueueOptions, Segment, Value};
use std::io::{Read, Write};
use std::marker::PhantomData;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The item that is in the queue from the beginning, and one that others leave.
const FIRST: u64 = 1;
const LEFT: u64 = 220;
/// How often a survivor may look, a millisecond apart, before it must have learned of a death: its first look is due at
/// once.
const LOOKS: u32 = 3;

/// A form whose producers can be followed.
pub trait Ended: Form {
    type End;
    fn come(queue: &Self::Queue) -> mpshm::Result<Self::End>;
    fn push_through(end: &Self::End, number: u64) -> Tried<()>;
}

fn pushed<V>(result: Result<(), PushError<V>>) -> Tried<()> {
    result.map_err(|error| {
        Refused::Wrong(Failure::new(Check::Outcome, format!("a producer's push: {error}")))
    })
}

impl Ended for Slots {
    type End = Producer<u64>;

    fn come(queue: &Self::Queue) -> mpshm::Result<Self::End> {
        queue.producer()
    }

    fn push_through(end: &Self::End, number: u64) -> Tried<()> {
        pushed(end.try_push(super::forms::Numbered::of(number)))
    }
}

impl Ended for Blocks {
    type End = Producer<[u8]>;

    fn come(queue: &Self::Queue) -> mpshm::Result<Self::End> {
        queue.producer()
    }

    fn push_through(end: &Self::End, number: u64) -> Tried<()> {
        pushed(end.try_push(Self::message(number)))
    }
}

/// What the child does with its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Come,
    Push,
    Leave,
}

/// Who else is a producer; then the queue expects two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    Nobody,
    /// One who is there all the time.
    Stays,
    /// One who came and left.
    Left,
}

pub struct Followed<F: Ended> {
    pub op: Op,
    pub other: Other,
    /// Done instead of the operation: see `plants.rs`.
    pub plant: Option<fn(&mut World<F>) -> u64>,
    pub form: PhantomData<F>,
}

pub struct World<F: Ended> {
    pub queue: F::Queue,
    segment: Segment,
    view: View,
    /// In the child: never dropped but by the operation.
    end: Option<F::End>,
    other: Option<(Child, UnixStream)>,
}

/// What consumers are told when nothing is left in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Open,
    Closed,
    PeerDead,
}

impl<F: Ended> Followed<F> {
    pub fn new(op: Op, other: Other) -> Self {
        Self { op, other, plant: None, form: PhantomData }
    }

    /// Pops everything; then what is said. A death is told of after a few looks at the latest.
    fn drain(queue: &F::Queue) -> Result<(Vec<u64>, Told), Failure> {
        let (mut got, mut told) = Self::pop_all(queue)?;
        for _ in 0..LOOKS {
            if told == Told::Open {
                // What is pushed by nobody does not come any more.
                told = Self::told(F::take(queue, Wait::For(Duration::from_millis(1))), &mut got)?;
            }
        }
        if told == Told::Open {
            let (more, then) = Self::drain_on(queue)?;
            demand(then == told && more.is_empty(), Check::Late, || {
                format!("{then:?} is told, and {more:?} is there, after a repair only")
            })?;
        }
        Ok((got, told))
    }

    /// The same where a producer is there: when all the dead are repaired, nothing has ended.
    fn drain_on(queue: &F::Queue) -> Result<(Vec<u64>, Told), Failure> {
        F::recover(queue).map_err(|error| broken(&error))?;
        Self::pop_all(queue)
    }

    fn pop_all(queue: &F::Queue) -> Result<(Vec<u64>, Told), Failure> {
        let mut got = Vec::new();
        loop {
            let before = got.len();
            let told = Self::told(F::take(queue, Wait::No), &mut got)?;
            if got.len() == before {
                return Ok((got, told));
            }
            demand(before <= 4 * CAPACITY, Check::Doubled, || format!("endless: {got:?}"))?;
        }
    }

    fn told(taken: Tried<(u64, bool)>, got: &mut Vec<u64>) -> Result<Told, Failure> {
        match taken {
            Ok((number, _)) => {
                got.push(number);
                Ok(Told::Open)
            }
            Err(Refused::Nothing) => Ok(Told::Open),
            Err(Refused::Closed) => Ok(Told::Closed),
            Err(Refused::PeerDead) => Ok(Told::PeerDead),
            Err(Refused::Wrong(failure)) => Err(failure),
            Err(Refused::Busy) => unreachable!("queues have no roles"),
        }
    }

    fn look(&self, queue: &F::Queue) -> Result<(Vec<u64>, Told), Failure> {
        if self.other == Other::Stays { Self::drain_on(queue) } else { Self::drain(queue) }
    }

    /// The other one leaves; returns when it has.
    fn leaves(other: &(Child, UnixStream)) -> Result<(), Failure> {
        let (_, line) = other;
        let mut line = line;
        let wrong = |error| Failure::new(Check::Lab, format!("the other producer: {error}"));
        line.set_read_timeout(Some(DEADLINE)).map_err(wrong)?;
        line.write_all(&[1]).and_then(|()| line.read_exact(&mut [0])).map_err(wrong)
    }

    /// What is told in the end: the others leave, and if too few have come yet, one comes and leaves. `told` is what was
    /// said before.
    fn end(&self, world: &World<F>, told: Told) -> Result<Told, Failure> {
        if let Some(other) = &world.other {
            demand(told == Told::Open, Check::Outcome, || {
                format!("{told:?}, and there is a producer")
            })?;
            Self::leaves(other)?;
            return Ok(Self::pop_all(&world.queue)?.1);
        }
        Ok(told)
    }

    /// The stage, from what is told when all that were there are gone. The stream goes on until as many have come as
    /// were expected.
    fn settle(&self, world: &World<F>, told: Told) -> Result<u64, Failure> {
        let told = self.end(world, told)?;
        let stage = match (self.op, self.other, told) {
            (Op::Come, _, Told::Open) => {
                drop(F::come(&world.queue).map_err(|error| broken(&error))?);
                let (_, then) = Self::pop_all(&world.queue)?;
                demand(then == Told::Closed, Check::Outcome, || {
                    format!("the last one has left: {then:?}")
                })?;
                0
            }
            (Op::Come, Other::Stays, Told::Closed) => 1,
            (Op::Come, _, Told::PeerDead) => 1,
            (Op::Push | Op::Leave, Other::Stays, Told::Closed) => 0,
            (Op::Push | Op::Leave, _, Told::PeerDead) => 0,
            (Op::Leave, _, Told::Closed) => 1,
            _ => {
                let check = if told == Told::Open { Check::Late } else { Check::Outcome };
                return Err(Failure::new(check, format!("told {told:?}, all being gone")));
            }
        };
        let audit = F::audit(&world.queue).map_err(|error| broken(&error))?;
        let clear = audit.free == audit.blocks && audit.queued == 0;
        demand(clear, Check::Audit, || format!("at the end: {audit:?}"))?;
        Ok(stage)
    }

    /// The items that were there are there, and how many of the child's.
    fn items(got: &[u64], before: &[u64]) -> Result<u64, Failure> {
        let rest = got.strip_prefix(before);
        match rest {
            Some([]) => Ok(0),
            Some([NEW]) => Ok(1),
            _ => Err(Failure::new(Check::Lost, format!("{got:?}, and {before:?} was there"))),
        }
    }
}

impl<F: Ended> Scenario for Followed<F> {
    type World = World<F>;

    fn name(&self) -> String {
        let op = match self.op {
            Op::Come => "producer",
            Op::Push => "push",
            Op::Leave => "drop(producer)",
        };
        let other = match self.other {
            Other::Nobody => "the only one",
            Other::Stays => "one of two",
            Other::Left => "the last one",
        };
        format!("{op}/followed {}/{other}", F::NAME)
    }

    fn setup(&self) -> Result<World<F>, Failure> {
        let lab = |error: mpshm::Error| Failure::new(Check::Lab, error.to_string());
        let expected = if self.other == Other::Nobody { 1 } else { 2 };
        let options = QueueOptions::new(CAPACITY as u64)
            .message_max(F::LONGEST as u64)
            .leases(2)
            .follow_producers(expected);
        let size = F::size(&options).map_err(lab)?;
        let segment =
            Segment::options().participants(6).objects(2).anonymous(size + 1024).map_err(lab)?;
        let queue = F::create(&segment, &options).map_err(lab)?;
        let view = View::of(&segment, segment.size() as usize);
        let other = (self.other != Other::Nobody).then(|| {
            let (here, mut there) = UnixStream::pair().expect("a pair of sockets");
            let ready = Page::new();
            let queue = &queue;
            let stays = self.other == Other::Stays;
            let ready_too = &ready;
            let child = Child::fork(move || {
                let end = F::come(queue).expect("a producer");
                if stays {
                    ready_too.words()[0].store(1, Ordering::Release);
                    there.read_exact(&mut [0]).expect("to be told");
                }
                drop(end);
                ready_too.words()[0].store(1, Ordering::Release);
                i32::from(there.write_all(&[1]).is_err())
            });
            while ready.words()[0].load(Ordering::Acquire) == 0 {
                std::thread::yield_now();
            }
            (child, here)
        });
        let other = other.filter(|_| self.other == Other::Stays);
        maybe(F::push(&queue, FIRST, Wait::No))?;
        Ok(World { queue, segment, view, end: None, other })
    }

    fn memory(&self, world: &World<F>) -> (*const u8, usize) {
        world.view.memory()
    }

    fn prepare(&self, world: &mut World<F>) {
        self.join(world);
        let (number, _) = F::take(&world.queue, Wait::No).expect("an item");
        F::push(&world.queue, number, Wait::No).expect("room");
        if self.op != Op::Come {
            world.end = Some(F::come(&world.queue).expect("a producer"));
        }
    }

    fn operate(&self, world: &mut World<F>) -> u64 {
        if let Some(plant) = self.plant {
            return plant(world);
        }
        match self.op {
            Op::Come => {
                world.end = Some(F::come(&world.queue).expect("a producer"));
            }
            Op::Push => {
                let end = world.end.as_ref().expect("its end");
                F::push_through(end, NEW).expect("room");
            }
            Op::Leave => drop(world.end.take()),
        }
        DONE
    }

    fn survive(&self, world: &mut World<F>) -> Result<u64, Failure> {
        let (got, told) = self.look(&world.queue)?;
        let pushed = Self::items(&got, &[FIRST])?;
        let stage = self.settle(world, told)?;
        Ok(if self.op == Op::Push { pushed } else { stage })
    }

    fn stages(&self) -> Vec<u64> {
        // Who leaves while another one stays ends nothing.
        if self.op == Op::Leave && self.other == Other::Stays { vec![0] } else { vec![0, 1] }
    }

    /// Answers with how many of the child's items were there, and whether the queue was closed.
    fn meanwhile(&self, world: &mut World<F>) -> Result<u64, Failure> {
        let queue = &world.queue;
        let (got, told) = Self::drain_on(queue)?;
        let pushed = Self::items(&got, &[FIRST])?;
        let may_be_closed = self.op == Op::Leave && self.other != Other::Stays;
        demand(
            told == Told::Open || told == Told::Closed && may_be_closed,
            Check::Doubled,
            || format!("{told:?}, and a stopped producer is there, or not yet"),
        )?;
        if told == Told::Closed {
            return Ok(2);
        }
        let done = maybe(F::push(queue, LEFT, Wait::No))?.is_some();
        demand(done, Check::Blocked, || "no room in an empty queue".to_owned())?;
        Ok(pushed)
    }

    fn after(&self, world: &mut World<F>, answer: u64, saw: u64) -> Result<(), Failure> {
        demand(answer == DONE, Check::Outcome, || format!("answer {answer}"))?;
        let (got, told) = self.look(&world.queue)?;
        let before: &[u64] = if saw == 2 { &[] } else { &[LEFT] };
        let pushed = Self::items(&got, before)?;
        let wanted = u64::from(self.op == Op::Push && saw == 0);
        demand(pushed == wanted, Check::Lost, || format!("{got:?} was left"))?;
        let stage = self.settle(world, told)?;
        // The child has ended: with its end, or without.
        let wanted = match self.op {
            Op::Come => 1,
            Op::Leave if self.other != Other::Stays => 1,
            _ => 0,
        };
        demand(stage == wanted, Check::Outcome, || format!("stage {stage} at the end"))
    }
}

impl<F: Ended> Repairable for Followed<F> {
    fn join(&self, world: &mut World<F>) {
        let _ = Value::create(world.segment.at("spare"), 0_u64); // it may be there
    }

    fn repair(&self, world: &mut World<F>) {
        F::recover(&world.queue).expect("a sound queue");
    }

    fn finish(&self, world: &mut World<F>) -> Result<(), Failure> {
        let (got, told) = Self::drain(&world.queue)?;
        demand(got.is_empty() && told != Told::Open, Check::Cycle, || format!("{got:?}, {told:?}"))
    }
}
