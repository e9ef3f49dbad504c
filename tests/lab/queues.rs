//! Queues in both forms, empty, part full and full: what a killed or stopped process may leave behind.
//!
//! The queue holds items of known numbers and contents. The child has taken part in it before its
//! operation (one item popped, and pushed again at the end), and positions are such that operations cross
//! the ring's seam. After a kill a survivor drains the queue and accounts for every item and every
//! block; while the child is stopped, another process drains, fills to the capacity, drains again and
//! leaves some items; after the child has gone on, its answer and what is left must fit together.

use super::lab::view::View;
use super::lab::{Check, Failure, Page, Scenario, demand, in_child};
use super::second::Repairable;
use mpshm::{Audit, PopError, PushError, Queue, QueueOptions, Segment, Value};
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

pub const CAPACITY: usize = 4;
/// The item that the child pushes.
pub const NEW: u64 = 100;
/// The items that others push while it is stopped, to fill the queue.
const FILL: u64 = 200;
/// The items that they leave in it.
const LEFT: u64 = 220;
/// The items of the full cycle at the end.
const CYCLE: u64 = 240;
const NUMBERS: u64 = 256;

/// The child's answer when the queue was full, or empty.
pub const NOTHING: u64 = 0;
/// The child's answer when it has done what has no other answer.
pub const DONE: u64 = u64::MAX;

/// A survivor's single calls wait at most this long; what is not there then is not there.
const DEADLINE: Duration = Duration::from_secs(2);
/// How often a survivor may look, a millisecond apart, before it must have learned of a death.
const LOOKS: u32 = 10;

/// What is pushed for a number: 16 to 48 bytes that depend on it.
pub fn message(number: u64) -> &'static [u8] {
    static ALL: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let length = |number: u64| 16 + 8 * (number as usize % 5);
        let byte = |number: u64, index: usize| (number as usize * 7 + index * 31) as u8;
        let rest = |number| (8..length(number)).map(move |index| byte(number, index));
        (0..NUMBERS).map(|one| one.to_le_bytes().into_iter().chain(rest(one)).collect()).collect()
    });
    &all[number as usize]
}

/// The number that a message was made for, if it is whole.
pub fn number(bytes: &[u8]) -> Result<u64, Failure> {
    let broken = || Failure::new(Check::Content, format!("an item that nobody pushed: {bytes:?}"));
    let number = u64::from_le_bytes(bytes.get(..8).ok_or_else(broken)?.try_into().unwrap());
    if number < NUMBERS && message(number) == bytes { Ok(number) } else { Err(broken()) }
}

/// The two forms of a queue, behind one face.
pub trait Form {
    const NAME: &'static str;
    /// Whether what the dead had claimed comes back.
    const REDELIVERS: bool;
    type Queue: Clone;

    fn create(segment: &Segment, options: &QueueOptions) -> mpshm::Result<Self::Queue>;
    fn size(options: &QueueOptions) -> mpshm::Result<u64>;
    /// False = full (for `Duration::ZERO`) or still full.
    fn push(queue: &Self::Queue, number: u64, wait: Duration) -> Result<bool, Failure>;
    /// The number, and whether it is marked as redelivered.
    fn pop(queue: &Self::Queue, wait: Duration) -> Result<Option<(u64, bool)>, Failure>;
    fn audit(queue: &Self::Queue) -> mpshm::Result<Audit>;
    fn len(queue: &Self::Queue) -> usize;
    fn recover(queue: &Self::Queue) -> mpshm::Result<()>;
    fn close(queue: &Self::Queue) -> mpshm::Result<()>;
    fn is_closed(queue: &Self::Queue) -> mpshm::Result<bool>;
    /// Claims and gives back; only where items lie in blocks.
    fn give_back(_queue: &Self::Queue) -> Result<u64, Failure> {
        unreachable!()
    }
    /// Reserves and gives up; only where items lie in blocks.
    fn abort(_queue: &Self::Queue) -> Result<u64, Failure> {
        unreachable!()
    }
}

fn pushed<V>(result: Result<(), PushError<V>>) -> Result<bool, Failure> {
    match result {
        Ok(()) => Ok(true),
        Err(PushError::Full(_) | PushError::TimedOut(_)) => Ok(false),
        Err(other) => Err(Failure::new(Check::Outcome, format!("push: {other}"))),
    }
}

fn popped<V>(result: Result<V, PopError>) -> Result<Option<V>, Failure> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(PopError::Empty | PopError::TimedOut | PopError::Closed) => Ok(None),
        Err(other) => Err(Failure::new(Check::Outcome, format!("pop: {other}"))),
    }
}

/// Messages in blocks.
pub struct Blocks;

impl Form for Blocks {
    const NAME: &'static str = "blocks";
    const REDELIVERS: bool = true;
    type Queue = Queue<[u8]>;

    fn create(segment: &Segment, options: &QueueOptions) -> mpshm::Result<Self::Queue> {
        Queue::<[u8]>::create(segment.at("queue"), options)
    }

    fn size(options: &QueueOptions) -> mpshm::Result<u64> {
        Queue::<[u8]>::size_for(options)
    }

    fn push(queue: &Self::Queue, number: u64, wait: Duration) -> Result<bool, Failure> {
        let bytes = message(number);
        pushed(if wait.is_zero() { queue.try_push(bytes) } else { queue.push_timeout(bytes, wait) })
    }

    fn pop(queue: &Self::Queue, wait: Duration) -> Result<Option<(u64, bool)>, Failure> {
        let claim = if wait.is_zero() { queue.try_claim() } else { queue.claim_timeout(wait) };
        let Some(claim) = popped(claim)? else { return Ok(None) };
        let marked = claim.deliveries() > 1;
        let number = number(&claim.to_vec())?;
        claim.release();
        Ok(Some((number, marked)))
    }

    fn audit(queue: &Self::Queue) -> mpshm::Result<Audit> {
        queue.audit()
    }

    fn len(queue: &Self::Queue) -> usize {
        queue.len()
    }

    fn recover(queue: &Self::Queue) -> mpshm::Result<()> {
        queue.recover()
    }

    fn close(queue: &Self::Queue) -> mpshm::Result<()> {
        queue.close()
    }

    fn is_closed(queue: &Self::Queue) -> mpshm::Result<bool> {
        queue.is_closed()
    }

    fn give_back(queue: &Self::Queue) -> Result<u64, Failure> {
        let Some(claim) = popped(queue.try_claim())? else { return Ok(NOTHING) };
        let number = number(&claim.to_vec())?;
        claim.give_back();
        Ok(number)
    }

    fn abort(queue: &Self::Queue) -> Result<u64, Failure> {
        match queue.try_reserve(40) {
            Ok(mut reservation) => {
                let _ = reservation.write_at(0, &[0xee; 40]);
                drop(reservation);
                Ok(DONE)
            }
            Err(other) => pushed(Err(other)).map(|_| NOTHING),
        }
    }
}

/// Numbers in the ring's slots.
pub struct Slots;

impl Slots {
    /// An item whose halves tell whether it is whole.
    fn item(number: u64) -> u64 {
        number | number.wrapping_mul(0x9e37_79b9_7f4a_7c15) & !0xffff_ffff
    }

    fn number(item: u64) -> Result<u64, Failure> {
        let number = item & 0xffff_ffff;
        let whole = number < NUMBERS && Self::item(number) == item;
        demand(whole, Check::Content, || format!("an item that nobody pushed: {item:#x}"))?;
        Ok(number)
    }
}

impl Form for Slots {
    const NAME: &'static str = "slots";
    const REDELIVERS: bool = false;
    type Queue = Queue<u64>;

    fn create(segment: &Segment, options: &QueueOptions) -> mpshm::Result<Self::Queue> {
        Queue::<u64>::create(segment.at("queue"), options)
    }

    fn size(options: &QueueOptions) -> mpshm::Result<u64> {
        Queue::<u64>::size_for(options)
    }

    fn push(queue: &Self::Queue, number: u64, wait: Duration) -> Result<bool, Failure> {
        let item = Self::item(number);
        pushed(if wait.is_zero() { queue.try_push(item) } else { queue.push_timeout(item, wait) })
    }

    fn pop(queue: &Self::Queue, wait: Duration) -> Result<Option<(u64, bool)>, Failure> {
        let item = if wait.is_zero() { queue.try_pop() } else { queue.pop_timeout(wait) };
        let Some(item) = popped(item)? else { return Ok(None) };
        Ok(Some((Self::number(item)?, false)))
    }

    fn audit(queue: &Self::Queue) -> mpshm::Result<Audit> {
        queue.audit()
    }

    fn len(queue: &Self::Queue) -> usize {
        queue.len()
    }

    fn recover(queue: &Self::Queue) -> mpshm::Result<()> {
        queue.recover()
    }

    fn close(queue: &Self::Queue) -> mpshm::Result<()> {
        queue.close()
    }

    fn is_closed(queue: &Self::Queue) -> mpshm::Result<bool> {
        queue.is_closed()
    }
}

/// What the child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Push,
    Pop,
    /// A push, and a pop, that find nothing and sleep for a moment.
    WaitToPush,
    WaitToPop,
    GiveBack,
    Abort,
    Close,
}

impl Op {
    fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Pop => "pop",
            Self::WaitToPush => "push_timeout",
            Self::WaitToPop => "pop_timeout",
            Self::GiveBack => "give_back",
            Self::Abort => "abort",
            Self::Close => "close",
        }
    }

    fn pushes(self) -> bool {
        matches!(self, Self::Push | Self::WaitToPush)
    }

    fn pops(self) -> bool {
        matches!(self, Self::Pop | Self::WaitToPop)
    }

    /// Whether it takes the oldest item out, for good or not.
    fn claims(self) -> bool {
        self.pops() || self == Self::GiveBack
    }
}

/// How long a sleeping operation sleeps.
const NAP: Duration = Duration::from_millis(1);
const BLINK: Duration = Duration::from_nanos(1);

/// One operation on a queue that holds `items` items.
pub struct Queued<F: Form> {
    pub op: Op,
    pub items: usize,
    /// Whether who filled the queue is gone. Else it lives, and is asked about whenever deaths are looked for.
    pub filler_gone: bool,
    /// Whether the operation is the first that the child does in the segment: it joins in its course.
    pub first_use: bool,
    /// Done instead of the operation: see `plants.rs`.
    pub plant: Option<fn(&World<F>) -> u64>,
    pub form: PhantomData<F>,
}

/// A fresh queue, and its bytes.
pub struct World<F: Form + ?Sized> {
    pub queue: F::Queue,
    pub view: View,
    segment: Segment,
}

impl<F: Form> Queued<F> {
    pub fn new(op: Op, items: usize) -> Self {
        Self {
            op,
            items,
            // Single steps make each look of a wait due.
            filler_gone: op == Op::WaitToPush,
            first_use: false,
            plant: None,
            form: PhantomData,
        }
    }

    pub fn planted(op: Op, items: usize, plant: fn(&World<F>) -> u64) -> Self {
        Self { plant: Some(plant), ..Self::new(op, items) }
    }

    /// The items as the child finds them: it has popped the first and pushed it again.
    pub fn order(&self) -> Vec<u64> {
        let mut order: Vec<u64> = (1..=self.items as u64).collect();
        if self.items > 0 && !self.first_use {
            order.rotate_left(1);
        }
        order
    }

    /// What others leave while the child is stopped: never nothing, so that a pop finds something.
    fn left(&self) -> Vec<u64> {
        (LEFT..LEFT + self.items.max(1) as u64).collect()
    }

    /// Puts the items in. Positions: an empty queue at its beginning, others further on.
    fn fill(&self, queue: &F::Queue) -> Result<(), Failure> {
        for number in (1..=self.items as u64).cycle().take(self.items / 2) {
            F::push(queue, number, Duration::ZERO)?;
            F::pop(queue, Duration::ZERO)?;
        }
        for number in 1..=self.items as u64 {
            let done = F::push(queue, number, Duration::ZERO)?;
            demand(done, Check::Lab, || "the queue cannot be filled".to_owned())?;
        }
        Ok(())
    }

    /// Every block is free, held or queued, each once, and at most `held` of them are held.
    pub fn account(queue: &F::Queue, held: u64) -> Result<Audit, Failure> {
        let audit = F::audit(queue).map_err(|error| broken(&error))?;
        let Audit { blocks, free, reserved, queued, leased, returned, .. } = audit;
        let in_blocks = blocks != 0;
        let sum = free.wrapping_add(reserved).wrapping_add(queued);
        let sum = sum.wrapping_add(leased).wrapping_add(returned);
        let fits = !in_blocks || sum == blocks && reserved <= held && leased <= held;
        demand(fits, Check::Audit, || format!("with at most {held} held: {audit:?}"))?;
        Ok(audit)
    }

    /// Nothing is in the queue and nothing is held.
    pub fn is_clear(audit: &Audit) -> bool {
        audit.free == audit.blocks && audit.queued == 0
    }

    /// Pops everything there is, without waiting.
    pub fn drain(queue: &F::Queue) -> Result<Vec<(u64, bool)>, Failure> {
        let mut got = Vec::new();
        while let Some(one) = F::pop(queue, Duration::ZERO)? {
            got.push(one);
            demand(got.len() <= 3 * CAPACITY, Check::Doubled, || format!("endless: {got:?}"))?;
        }
        Ok(got)
    }

    /// What was drained holds against what may be there: `certain` in this order, with its first
    /// one missing or marked if `first_open`, and `maybe` at the end.
    pub fn compare(
        got: &[(u64, bool)],
        certain: &[u64],
        first_open: bool,
        maybe: Option<u64>,
    ) -> Result<(), Failure> {
        let mut numbers: Vec<u64> = got.iter().map(|one| one.0).collect();
        let possible: Vec<u64> = certain.iter().copied().chain(maybe).collect();
        let all = || format!("{got:?} of {possible:?}");
        let in_order: Vec<u64> = got.iter().filter(|one| !one.1).map(|one| one.0).collect();
        for &(number, marked) in got {
            demand(possible.contains(&number), Check::Doubled, || {
                format!("{number} should not be here: {}", all())
            })?;
            let may_be_marked = first_open && certain.first() == Some(&number);
            demand(!marked || may_be_marked, Check::Doubled, || {
                format!("{number} is marked as redelivered, and nobody had it: {}", all())
            })?;
        }
        numbers.sort_unstable();
        let distinct = numbers.len();
        numbers.dedup();
        demand(numbers.len() == distinct, Check::Doubled, all)?;
        for &number in &certain[usize::from(first_open).min(certain.len())..] {
            demand(numbers.contains(&number), Check::Lost, || format!("{number}: {}", all()))?;
        }
        let places: Vec<_> =
            in_order.iter().map(|one| possible.iter().position(|other| other == one)).collect();
        demand(places.is_sorted(), Check::Order, all)
    }

    /// Fills the queue to its capacity, finds it full, drains it.
    fn cycle(queue: &F::Queue, first: u64, check: Check) -> Result<(), Failure> {
        let wait = if check == Check::Cycle { DEADLINE } else { Duration::ZERO };
        for step in 0..CAPACITY as u64 {
            let done = F::push(queue, first + step, wait);
            let fine = matches!(done, Ok(true));
            demand(fine, check, || format!("push {} of {CAPACITY}: {done:?}", step + 1))?;
        }
        let beyond = F::push(queue, first + CAPACITY as u64, Duration::ZERO);
        demand(matches!(beyond, Ok(false)), check, || format!("beyond the capacity: {beyond:?}"))?;
        let length = F::len(queue);
        demand(length == CAPACITY, check, || format!("len of a full queue: {length}"))?;
        let got = Self::drain(queue)?;
        let wanted: Vec<_> = (first..first + CAPACITY as u64).map(|one| (one, false)).collect();
        demand(got == wanted, check, || format!("drained {got:?}"))
    }

    /// The end of every trial: nothing is held any more, and the queue works, or is closed.
    pub fn finish(queue: &F::Queue) -> Result<(), Failure> {
        let audit = Self::account(queue, 0)?;
        demand(Self::is_clear(&audit), Check::Audit, || format!("at the end: {audit:?}"))?;
        if F::is_closed(queue).map_err(|error| broken(&error))? {
            return Ok(());
        }
        Self::cycle(queue, CYCLE, Check::Cycle)?;
        let audit = Self::account(queue, 0)?;
        demand(Self::is_clear(&audit), Check::Cycle, || format!("after the cycle: {audit:?}"))
    }
}

fn broken(error: &mpshm::Error) -> Failure {
    Failure::new(Check::Outcome, error.to_string())
}

/// Whether others saw the item that the child pushes, or the one that it would pop.
const SAW_NEW: u64 = 1;
const SAW_FIRST: u64 = 2;
const SAW_CLOSED: u64 = 4;

impl<F: Form> Scenario for Queued<F> {
    type World = World<F>;

    fn name(&self) -> String {
        let state = match self.items {
            0 => "empty".to_owned(),
            CAPACITY => "full".to_owned(),
            some => format!("{some} of {CAPACITY}"),
        };
        let first = if self.first_use { ", first use" } else { "" };
        format!("{}/{}/{state}{first}", self.op.name(), F::NAME)
    }

    fn setup(&self) -> Result<World<F>, Failure> {
        let lab = |error: mpshm::Error| Failure::new(Check::Lab, error.to_string());
        let options = QueueOptions::new(CAPACITY as u64).message_max(48).leases(2);
        let size = F::size(&options).map_err(lab)?;
        let segment =
            Segment::options().participants(6).objects(2).anonymous(size + 1024).map_err(lab)?;
        let queue = F::create(&segment, &options).map_err(lab)?;
        let view = View::of(&segment, segment.size() as usize);
        if self.filler_gone {
            let filled = Page::new();
            in_child(&filled, "who fills", DEADLINE, || {
                self.fill(&queue)?;
                Ok(0)
            })?;
        } else {
            self.fill(&queue)?;
        }
        Ok(World { queue, view, segment })
    }

    fn memory(&self, world: &World<F>) -> (*const u8, usize) {
        world.view.memory()
    }

    fn prepare(&self, world: &mut World<F>) {
        let zero = Duration::ZERO;
        if self.first_use {
            return;
        }
        if self.items == 0 {
            assert!(F::push(&world.queue, NEW, zero).unwrap());
        }
        let (number, _) = F::pop(&world.queue, zero).unwrap().unwrap();
        if self.items > 0 {
            assert!(F::push(&world.queue, number, zero).unwrap());
        }
        // Waits that found nothing: the next one spins less before it sleeps.
        for _ in 0..4 {
            match self.op {
                Op::WaitToPush => assert!(!F::push(&world.queue, number, BLINK).unwrap()),
                Op::WaitToPop => assert!(F::pop(&world.queue, BLINK).unwrap().is_none()),
                _ => {}
            }
        }
    }

    fn operate(&self, world: &mut World<F>) -> u64 {
        if let Some(plant) = self.plant {
            return plant(world);
        }
        perform::<F>(self.op, &world.queue)
    }

    fn survive(&self, world: &mut World<F>) -> Result<u64, Failure> {
        let queue = &world.queue;
        Self::account(queue, 1)?;
        let mut got = Self::drain(queue)?;
        // What the dead one held comes back by itself, and soon.
        let begin = Instant::now();
        let mut looks = 0;
        while !Self::is_clear(&Self::account(queue, 1)?) {
            got.extend(F::pop(queue, Duration::from_millis(1))?);
            looks += 1;
            demand(begin.elapsed() < DEADLINE, Check::Audit, || {
                format!("held by a dead process for good: {:?}", F::audit(queue))
            })?;
        }
        demand(looks <= LOOKS, Check::Late, || {
            format!("learned of after {looks} looks and {:?}", begin.elapsed())
        })?;
        let order = self.order();
        let maybe = self.op.pushes().then_some(NEW);
        Self::compare(&got, &order, self.op.claims(), maybe)?;
        let first = order.first().and_then(|first| got.iter().find(|one| one.0 == *first));
        let closed = F::is_closed(queue).map_err(|error| broken(&error))?;
        let stage = match self.op {
            Op::Push | Op::WaitToPush => u64::from(got.iter().any(|one| one.0 == NEW)),
            Op::Close => u64::from(closed),
            Op::Abort => 0,
            Op::Pop | Op::WaitToPop if order.is_empty() => 0,
            Op::GiveBack if order.is_empty() => 0,
            _ => match first {
                Some((_, false)) => 0,
                Some((_, true)) => 1,
                None if self.op == Op::GiveBack => {
                    return Err(Failure::new(Check::Lost, "the item that was given back"));
                }
                None => 2,
            },
        };
        demand(!closed || self.op == Op::Close, Check::Outcome, || "closed by nobody".to_owned())?;
        Self::finish(queue)?;
        Ok(stage)
    }

    fn loops(&self) -> bool {
        matches!(self.op, Op::WaitToPush | Op::WaitToPop)
    }

    fn stages(&self) -> Vec<u64> {
        let empty = self.items == 0;
        match self.op {
            Op::Push if self.items < CAPACITY => vec![0, 1],
            Op::Pop if !empty && F::REDELIVERS => vec![0, 1, 2],
            Op::Pop if !empty => vec![0, 2],
            Op::GiveBack if !empty => vec![0, 1],
            Op::Close => vec![0, 1],
            _ => vec![0],
        }
    }

    fn meanwhile(&self, world: &mut World<F>) -> Result<u64, Failure> {
        let queue = &world.queue;
        Self::account(queue, 1)?;
        let got = Self::drain(queue)?;
        let order = self.order();
        Self::compare(&got, &order, self.op.claims(), self.op.pushes().then_some(NEW))?;
        let mut saw = 0;
        for (number, _) in got {
            saw |= u64::from(number == NEW) * SAW_NEW;
            saw |= u64::from(order.first() == Some(&number)) * SAW_FIRST;
        }
        let full = self.items == CAPACITY;
        if F::is_closed(queue).map_err(|error| broken(&error))? {
            return Ok(saw | SAW_CLOSED);
        }
        Self::cycle(queue, FILL, Check::Blocked)?;
        for number in self.left() {
            let done = F::push(queue, number, Duration::ZERO)?;
            demand(done, Check::Blocked, || format!("{number} was not let in"))?;
        }
        let audit = Self::account(queue, 1)?;
        demand(audit.queued == self.left().len() as u64, Check::Audit, || format!("{audit:?}"))?;
        let beyond = if full { F::push(queue, FILL, Duration::ZERO)? } else { false };
        demand(!beyond, Check::Outcome, || "an item beyond the capacity".to_owned())?;
        Ok(saw)
    }

    fn after(&self, world: &mut World<F>, answer: u64, saw: u64) -> Result<(), Failure> {
        let queue = &world.queue;
        let order = self.order();
        let mut left = if saw & SAW_CLOSED == 0 { self.left() } else { Vec::new() };
        let got = Self::drain(queue)?;
        let outcome = |holds: bool| {
            demand(holds, Check::Outcome, || {
                format!("answer {answer}, others saw {saw}, left {got:?}")
            })
        };
        let full = self.items == CAPACITY;
        let mut redelivered = None;
        match self.op {
            Op::Push | Op::WaitToPush if answer == NOTHING => outcome(full && saw & SAW_NEW == 0)?,
            Op::Push | Op::WaitToPush => {
                outcome(answer == DONE)?;
                if saw & SAW_NEW == 0 {
                    left.push(NEW);
                }
            }
            Op::Abort => outcome(answer == DONE || answer == NOTHING && full)?,
            Op::Close => outcome(answer == DONE && F::is_closed(queue).unwrap_or(false))?,
            _ if answer == NOTHING => outcome(order.is_empty())?,
            _ => {
                if order.first() == Some(&answer) {
                    demand(
                        saw & SAW_FIRST == 0 || self.op == Op::GiveBack,
                        Check::Doubled,
                        || format!("{answer} was popped twice"),
                    )?;
                } else {
                    outcome(left.first() == Some(&answer))?;
                    demand(order.is_empty() || saw & SAW_FIRST != 0, Check::Lost, || {
                        format!("{:?}: the operation answered {answer}", order.first())
                    })?;
                    left.remove(0);
                }
                let others_had_it = order.first() == Some(&answer) && saw & SAW_FIRST != 0;
                redelivered = (self.op == Op::GiveBack && !others_had_it).then_some(answer);
            }
        }
        let (marked, got): (Vec<_>, Vec<_>) = got.into_iter().partition(|one| one.1);
        Self::compare(&got, &left, false, None)?;
        let wanted: Vec<_> = redelivered.into_iter().map(|number| (number, true)).collect();
        demand(marked == wanted, Check::Lost, || {
            format!("given back: {marked:?}, not {wanted:?}")
        })?;
        Self::finish(queue)
    }
}

impl<F: Form> Repairable for Queued<F> {
    fn join(&self, world: &mut World<F>) {
        drop(Value::create(world.segment.at("spare"), 0_u64).expect("room for a spare object"));
    }

    fn repair(&self, world: &mut World<F>) {
        F::recover(&world.queue).expect("a sound queue");
    }

    fn finish(&self, world: &mut World<F>) -> Result<(), Failure> {
        Self::finish(&world.queue)
    }
}

/// The operation itself.
pub fn perform<F: Form>(op: Op, queue: &F::Queue) -> u64 {
    let popped = |result: Result<Option<(u64, bool)>, Failure>| {
        result.map(|one| one.map_or(NOTHING, |(number, _)| number))
    };
    let pushed =
        |result: Result<bool, Failure>| result.map(|done| if done { DONE } else { NOTHING });
    let answer = match op {
        Op::Push => pushed(F::push(queue, NEW, Duration::ZERO)),
        Op::WaitToPush => pushed(F::push(queue, NEW, NAP)),
        Op::Pop => popped(F::pop(queue, Duration::ZERO)),
        Op::WaitToPop => popped(F::pop(queue, NAP)),
        Op::GiveBack => F::give_back(queue),
        Op::Abort => F::abort(queue),
        Op::Close => F::close(queue).map(|()| DONE).map_err(|error| broken(&error)),
    };
    answer.unwrap_or_else(|failure| panic!("{failure}"))
}
