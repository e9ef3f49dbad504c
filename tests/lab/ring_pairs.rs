//! Rings with two who act: one that comes after a death, and dies too; and one that closes while both ends are in use.

use super::forms::{Refused, Wait, broken};
use super::lab::{Check, Child, Failure, Lab, Mode, Page, Route, Scenario, Sum, demand, in_child};
use super::model::{CLOSED, DONE, NEW, NOTHING};
use super::queues::DEADLINE;
use super::ring_forms::RingForm;
use super::ring_model::{Op, Role};
use super::ring_world::World;
use super::rings::Ringed;
use super::second::{EVERY, die, moments, usual_route};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// What the next one does with a ring in which somebody has died: it takes the role over in the course of its first call,
/// and is killed and stopped in that.
pub struct After<'s, F: RingForm> {
    first: &'s Ringed<F>,
    route: &'s Route,
    /// The point of the first death.
    k: usize,
    then: Ringed<F>,
    page: Page,
}

/// More first deaths than this are only told apart by what survivors see.
const MOMENTS: usize = 8;

/// Kills and stops who takes over after each distinct first death.
pub fn run<F: RingForm>(lab: &Lab, first: &Ringed<F>) {
    let name = format!("after/{}", first.name());
    if !lab.options.wants(&name) {
        return;
    }
    if let Err(failure) = try_run(lab, first) {
        lab.test(&name, Err(failure.to_string()));
    }
}

fn try_run<F: RingForm>(lab: &Lab, first: &Ringed<F>) -> Result<(), Failure> {
    let route = usual_route(lab, first)?;
    let moments = moments(lab, first, |world| first.memory(world))?;
    let calls: &[Op] = match first.role {
        Some(Role::Producer) => &[Op::TryPush],
        Some(Role::Consumer) => &[Op::TryPop, Op::TryClaim],
        None => &[Op::TryPush, Op::TryPop],
    };
    let all = moments.len() <= MOMENTS && !lab.options.is_quick();
    let mut met = Vec::new();
    for k in moments {
        let page = Page::new();
        let mut world = die(&page, first, &route, k)?;
        let stage = in_child(&page, "the survivor", DEADLINE, || first.survive(&mut world))?;
        if met.contains(&stage) && !all {
            continue;
        }
        // The first one is followed at every instruction, the others where something changes.
        let every = first.every && met.is_empty();
        met.push(stage);
        for &call in calls {
            let then = Ringed { every, ..first.next(call, &first.steps()[stage as usize]) };
            let killed = lab.run(&After { first, route: &route, k, then, page: Page::new() });
            lab.count(Sum::Double, killed);
        }
    }
    Ok(())
}

impl<F: RingForm> Scenario for After<'_, F> {
    type World = World<F>;

    fn name(&self) -> String {
        format!("{}/after/{} at {}", self.then.op.name(), self.first.name(), self.k)
    }

    fn setup(&self) -> Result<World<F>, Failure> {
        die(&self.page, self.first, self.route, self.k)
    }

    fn memory(&self, world: &World<F>) -> (*const u8, usize) {
        self.then.memory(world)
    }

    fn prepare(&self, world: &mut World<F>) {
        self.then.join(world);
    }

    fn operate(&self, world: &mut World<F>) -> u64 {
        self.then.operate(world)
    }

    fn conclude(&self, world: &mut World<F>, answer: u64) -> Result<u64, Failure> {
        self.then.conclude(world, answer)
    }

    fn dense(&self, mode: Mode) -> usize {
        if mode == Mode::Kill && self.then.every { EVERY } else { self.then.dense(mode) }
    }

    fn survive(&self, world: &mut World<F>) -> Result<u64, Failure> {
        self.then.survive(world)
    }

    fn stages(&self) -> Vec<u64> {
        self.then.stages()
    }

    fn meanwhile(&self, world: &mut World<F>) -> Result<u64, Failure> {
        self.then.meanwhile(world)
    }

    fn after(&self, world: &mut World<F>, answer: u64, mask: u64) -> Result<(), Failure> {
        self.then.after(world, answer, mask)
    }
}

/// A close by somebody who has neither role, while one process has both and has used them: its ends know of room, and of
/// items, and so learn of the close behind their own steps only.
pub struct Closing<F: RingForm> {
    inner: Ringed<F>,
}

/// The one that has both ends, and does with them what it is told.
pub struct Partner {
    _child: Child,
    line: UnixStream,
}

const PUSH: u8 = 0;
const TAKE: u8 = 1;

impl Partner {
    /// Returns when it has pushed what is to be in the ring.
    fn start<F: RingForm>(inner: &Ringed<F>, world: &mut World<F>) -> Result<Self, Failure> {
        let (line, mut orders) = UnixStream::pair().expect("a pair of sockets");
        let kind = inner.kind;
        let child = Child::fork(|| {
            let (producer, consumer) = (world.writes(), world.reads());
            let mut order = [0; 9];
            while orders.read_exact(&mut order).is_ok() {
                let number = u64::from_ne_bytes(order[1..].try_into().expect("eight bytes"));
                let answer = match order[0] {
                    PUSH => F::push(producer, number, Wait::No).map(|()| DONE),
                    _ => F::take(consumer, kind, Wait::No).map(|(number, _)| number),
                };
                let answer = match answer {
                    Ok(answer) => answer,
                    Err(Refused::Nothing) => NOTHING,
                    Err(Refused::Closed) => CLOSED,
                    Err(other) => panic!("{other:?}"),
                };
                orders.write_all(&answer.to_ne_bytes()).expect("who gives orders listens");
            }
            0
        });
        line.set_read_timeout(Some(DEADLINE)).expect("a time limit");
        let partner = Self { _child: child, line };
        for number in 1..=inner.items as u64 + 1 {
            demand(partner.push(number)? == DONE, Check::Lab, || "no room".to_owned())?;
        }
        let first = partner.take()?;
        demand(first == 1, Check::Lab, || format!("{first} came first"))?;
        Ok(partner)
    }

    fn ask(&self, order: u8, number: u64) -> Result<u64, Failure> {
        let mut line = &self.line;
        let mut answer = [0; 8];
        let order: Vec<u8> = [order].into_iter().chain(number.to_ne_bytes()).collect();
        let asked = line.write_all(&order).and_then(|()| line.read_exact(&mut answer));
        asked.map_err(|error| Failure::new(Check::Blocked, format!("the two ends: {error}")))?;
        Ok(u64::from_ne_bytes(answer))
    }

    fn push(&self, number: u64) -> Result<u64, Failure> {
        self.ask(PUSH, number)
    }

    fn take(&self) -> Result<u64, Failure> {
        self.ask(TAKE, 0)
    }

    /// Takes everything out; what is told then.
    fn drain(&self) -> Result<(Vec<u64>, u64), Failure> {
        let mut items = Vec::new();
        loop {
            match self.take()? {
                told @ (NOTHING | CLOSED) => return Ok((items, told)),
                number => items.push(number),
            }
            demand(items.len() < 20, Check::Doubled, || format!("endless: {items:?}"))?;
        }
    }
}

impl<F: RingForm> Closing<F> {
    pub fn new(items: usize) -> Self {
        Self { inner: Ringed::new(Op::Close, items) }
    }

    pub fn planted(items: usize, plant: fn(&mut World<F>) -> u64) -> Self {
        Self { inner: Ringed { plant: Some(plant), ..Ringed::new(Op::Close, items) } }
    }

    /// What is in the ring at first.
    fn items(&self) -> Vec<u64> {
        (2..2 + self.inner.items as u64).collect()
    }

    /// Both ends say so, from now on.
    fn is_over(&self, world: &(World<F>, Partner)) -> Result<(), Failure> {
        let (ring, partner) = (&world.0.ring, &world.1);
        let answers = [partner.push(NEW + 9)?, partner.take()?, partner.push(NEW + 9)?];
        let fine = answers == [CLOSED; 3] && ring.is_closed() && ring.is_empty();
        demand(fine, Check::Cycle, || format!("closed, and {answers:x?}, {} left", ring.len()))
    }

    /// What was pushed with success is in the ring, and nothing else; the stream has an end, or has not.
    fn agree(partner: &Partner, wanted: &[u64], told: u64) -> Result<(), Failure> {
        let (items, then) = partner.drain()?;
        let lost = wanted.iter().find(|number| !items.contains(number));
        demand(lost.is_none(), Check::Lost, || format!("{lost:?}, of {wanted:?}: {items:?}"))?;
        demand(items == wanted, Check::Doubled, || format!("{items:?}, not {wanted:?}"))?;
        demand(then == told, Check::Outcome, || format!("told {then:#x}, not {told:#x}"))
    }
}

impl<F: RingForm> Scenario for Closing<F> {
    type World = (World<F>, Partner);

    fn name(&self) -> String {
        format!("{}, in use", self.inner.name())
    }

    fn setup(&self) -> Result<Self::World, Failure> {
        // The items are the partner's.
        let mut world = Ringed::<F>::new(Op::Close, 0).setup()?;
        let partner = Partner::start(&self.inner, &mut world)?;
        Ok((world, partner))
    }

    fn memory(&self, world: &Self::World) -> (*const u8, usize) {
        self.inner.memory(&world.0)
    }

    fn prepare(&self, world: &mut Self::World) {
        self.inner.join(&world.0);
    }

    fn operate(&self, world: &mut Self::World) -> u64 {
        self.inner.operate(&mut world.0)
    }

    /// Stages: open; closing, and the first to need the end decides it; closed.
    fn survive(&self, world: &mut Self::World) -> Result<u64, Failure> {
        let partner = &world.1;
        let answers = [partner.push(NEW)?, partner.push(NEW + 1)?];
        let stages = [[DONE, DONE], [DONE, CLOSED], [CLOSED, CLOSED]];
        let stage = stages.iter().position(|one| *one == answers);
        let stage = stage.ok_or_else(|| {
            Failure::new(Check::Outcome, format!("two pushes are told {answers:x?}"))
        })?;
        let mut wanted = self.items();
        wanted.extend([NEW, NEW + 1].into_iter().take(2 - stage));
        Self::agree(partner, &wanted, if stage == 0 { NOTHING } else { CLOSED })?;
        world.0.ring.close().map_err(|error| broken(&error))?;
        self.is_over(world)?;
        Ok(stage as u64)
    }

    fn stages(&self) -> Vec<u64> {
        vec![0, 1, 2]
    }

    /// Answers with whether a push succeeded: its item stays in the ring, with the others but the first.
    fn meanwhile(&self, world: &mut Self::World) -> Result<u64, Failure> {
        let (_, partner) = world;
        let answer = partner.push(NEW)?;
        let taken = self.items().first().map_or(Ok(0), |_| partner.take())?;
        let fine = taken == self.items().first().copied().unwrap_or(0);
        demand(fine, Check::Lost, || format!("{taken} came first"))?;
        Ok(u64::from(answer == DONE))
    }

    fn after(&self, world: &mut Self::World, answer: u64, pushed: u64) -> Result<(), Failure> {
        demand(answer == DONE, Check::Outcome, || format!("answer {answer:#x}"))?;
        let partner = &world.1;
        let late = partner.push(NEW + 1)?;
        demand(late == CLOSED, Check::Outcome, || format!("told {late:#x} behind the close"))?;
        let mut wanted: Vec<u64> = self.items().into_iter().skip(1).collect();
        wanted.extend((pushed == 1).then_some(NEW));
        Self::agree(partner, &wanted, CLOSED)?;
        self.is_over(world)
    }
}
