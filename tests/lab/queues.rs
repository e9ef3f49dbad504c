//! Queues in each form, empty, part full, full and closed: what a killed or stopped process may leave behind.
//!
//! The queue holds items of known numbers and contents. The child has taken part in it before its
//! operation (one item popped, and pushed again at the end), and positions are such that operations cross
//! the ring's seam. After a kill a survivor drains the queue and accounts for every item and every
//! block; while the child is stopped, another process drains, fills to the capacity, drains again and
//! leaves some items; after the child has gone on, its answer and what is left must fit together. What may be found
//! is the [model](super::model)'s affair.

use super::forms::{BATCH, Blocks, Form, Large, Refused, Tried, Wait, broken, maybe};
use super::lab::view::View;
use super::lab::{Check, Failure, Page, Scenario, demand, in_child};
use super::model::{
    CAPACITY, CLOSED, Content, DONE, Found, HELD, Kind, Model, NEW, NOTHING, Op, Stage, counted,
    several,
};
use super::second::Repairable;
use mpshm::{
    Audit, Canceller, Claim, ErrorKind, PushError, QueueOptions, Reservation, Segment, Value,
    WhenFull,
};
use std::marker::PhantomData;
use std::time::{Duration, Instant};

/// The items that others push while the child is stopped, to fill the queue.
const FILL: u64 = 200;
/// The items that they leave in it.
const LEFT: u64 = 220;
/// The items of the full cycle at the end.
const CYCLE: u64 = 240;

/// A survivor's single calls wait at most this long; what is not there then is not there.
pub const DEADLINE: Duration = Duration::from_secs(2);
const SOME: usize = 2;

/// How often a survivor may look, a millisecond apart, before it must have learned of a death.
const LOOKS: u32 = 10;

/// How long a sleeping operation sleeps.
const NAP: Wait = Wait::For(Duration::from_millis(1));
const BLINK: Wait = Wait::For(Duration::from_nanos(1));

/// One operation on a queue that holds `items` items.
pub struct Queued<F: Form> {
    pub op: Op,
    pub kind: Kind,
    pub items: usize,
    pub closed: bool,
    /// Whether who filled the queue is gone. Else it lives, and is asked about whenever deaths are looked for.
    pub filler_gone: bool,
    /// Whether the operation is the first that the child does in the segment: it joins in its course.
    pub first_use: bool,
    /// Whether the operation can be cancelled: it sleeps in another system call then.
    pub cancellable: bool,
    /// Done instead of the operation: see `plants.rs`.
    pub plant: Option<fn(&mut World<F>) -> u64>,
    pub form: PhantomData<F>,
}

/// A fresh queue, and its bytes.
pub struct World<F: Form> {
    pub queue: F::Queue,
    pub view: View,
    pub segment: Segment,
    /// In the child: what it has when the operation begins, or in the end. Never dropped.
    kept: Kept<F>,
    /// In the child: what it has popped.
    got: Got<F::Item>,
}

enum Got<I> {
    Nothing,
    One(I),
    Many(Vec<I>),
}

enum Kept<F: Form> {
    Nothing,
    Reserved(Reservation<'static>, usize),
    Claimed(Claim<'static>),
    /// A handle that has popped an item which is not done.
    Popped(Box<F::Queue>),
}

impl<F: Form> World<F> {
    /// Takes the first item, and keeps it for the operation.
    pub fn take_first(&mut self, op: Op) {
        self.kept = Kept::take(op, &self.queue);
    }
}

impl<F: Form> Queued<F> {
    pub fn new(op: Op, items: usize) -> Self {
        Self {
            op,
            kind: Kind::Plain,
            items,
            closed: false,
            // Single steps make each look of a wait due.
            filler_gone: op == Op::PushTimeout,
            first_use: false,
            cancellable: false,
            plant: None,
            form: PhantomData,
        }
    }

    pub fn of(op: Op, kind: Kind, items: usize) -> Self {
        Self { kind, ..Self::new(op, items) }
    }

    pub fn planted(op: Op, items: usize, plant: fn(&mut World<F>) -> u64) -> Self {
        Self { plant: Some(plant), ..Self::new(op, items) }
    }

    fn model(&self) -> Model {
        Model { op: self.op, kind: self.kind, in_blocks: F::IN_BLOCKS }
    }

    /// What the queue holds when the operation begins.
    pub fn content(&self) -> Content {
        let mut queued: Vec<u64> = (1..=self.items as u64).collect();
        let mut held = Vec::new();
        if self.op.has_taken() {
            queued.push(HELD);
            held.push(queued.remove(0));
        } else if self.items > 0 && !self.first_use {
            queued.rotate_left(1);
        }
        Content { queued, held, returned: Vec::new(), closed: self.closed }
    }

    fn steps(&self) -> Vec<Stage> {
        self.model().stages(&self.content())
    }

    /// What others leave while the child is stopped: what it waits for is there then.
    fn left(&self) -> Vec<u64> {
        let count = match self.op {
            Op::Join => 0,
            // Behind others' backs it holds a block that they would need for more.
            _ if self.kind == Kind::Tight => SOME,
            op if op.waits() => 1,
            _ => self.items.max(1),
        };
        (LEFT..LEFT + count as u64).collect()
    }

    fn options(&self) -> QueueOptions {
        let options = QueueOptions::new(CAPACITY as u64).message_max(F::LONGEST as u64).leases(1);
        match self.kind {
            Kind::Plain => options,
            Kind::Joinable => options.joinable(),
            Kind::Overwriting => options.when_full(WhenFull::Overwrite),
            Kind::Tight => {
                options.when_full(WhenFull::Overwrite).blocks(F::LONGEST as u64, CAPACITY as u64)
            }
        }
    }

    /// Puts the items in. Positions: an empty queue at its beginning, others further on.
    fn fill(&self, queue: &F::Queue) -> Result<(), Failure> {
        for number in (1..=self.items as u64).cycle().take(self.items / 2) {
            maybe(F::push(queue, number, Wait::No))?;
            maybe(F::take(queue, Wait::No))?;
        }
        for number in 1..=self.items as u64 {
            let done = maybe(F::push(queue, number, Wait::No))?.is_some();
            demand(done, Check::Lab, || "the queue cannot be filled".to_owned())?;
        }
        Ok(())
    }

    /// So many blocks may be reserved, and so many leased, by the child.
    fn most_held(&self) -> u64 {
        if self.kind == Kind::Joinable { self.op.pops().max(1) as u64 } else { 1 }
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
    pub fn drain(queue: &F::Queue) -> Result<Found, Failure> {
        let mut found = Found::default();
        while let Some((number, marked)) = maybe(F::take(queue, Wait::No))? {
            if marked { &mut found.marked } else { &mut found.plain }.push(number);
            let count = found.plain.len() + found.marked.len();
            demand(count <= 4 * CAPACITY, Check::Doubled, || format!("endless: {found:?}"))?;
        }
        found.closed = F::is_closed(queue).map_err(|error| broken(&error))?;
        Ok(found)
    }

    /// Pops everything there is, what a dead one held included: it comes back by itself, and soon.
    pub fn drain_after_death(queue: &F::Queue, held: u64) -> Result<Found, Failure> {
        Self::account(queue, held)?;
        let mut found = Self::drain(queue)?;
        let begin = Instant::now();
        let mut looks = 0;
        while !Self::is_clear(&Self::account(queue, held)?) {
            let wait = Wait::For(Duration::from_millis(1));
            if let Some((number, marked)) = maybe(F::take(queue, wait))? {
                if marked { &mut found.marked } else { &mut found.plain }.push(number);
            }
            looks += 1;
            demand(begin.elapsed() < DEADLINE, Check::Audit, || {
                format!("held by a dead process for good: {:?}", F::audit(queue))
            })?;
        }
        demand(looks <= LOOKS, Check::Late, || {
            format!("learned of after {looks} looks and {:?}", begin.elapsed())
        })?;
        Ok(found)
    }

    /// Fills the queue to its capacity, finds it full, drains it.
    fn cycle(&self, queue: &F::Queue, first: u64, check: Check) -> Result<(), Failure> {
        let wait = if check == Check::Cycle { Wait::For(DEADLINE) } else { Wait::No };
        for step in 0..CAPACITY as u64 {
            let done = F::push(queue, first + step, wait);
            let fine = done.is_ok();
            demand(fine, check, || format!("push {} of {CAPACITY}: {done:?}", step + 1))?;
        }
        let beyond = F::push(queue, first + CAPACITY as u64, Wait::No);
        // A stopped process may hold the block that a queue without spare ones needs for this.
        let replaced = if self.kind.overwrites() { 1 } else { 0 };
        let fine = matches!((&beyond, replaced), (Ok(()), 1) | (Err(Refused::Nothing), 0));
        demand(fine, check, || format!("beyond the capacity: {beyond:?}"))?;
        let length = F::len(queue);
        let found = Self::drain(queue)?;
        let wanted: Vec<_> = (first + replaced..first + replaced + CAPACITY as u64).collect();
        let short = self.kind == Kind::Tight && check == Check::Blocked && length < CAPACITY;
        let wanted = &wanted[wanted.len() - length.min(CAPACITY)..];
        demand(length == CAPACITY || short, check, || format!("len of a full queue: {length}"))?;
        let fine = found.plain == wanted && found.marked.is_empty();
        demand(fine, check, || format!("drained {found:?}"))
    }

    /// The end of every trial: nothing is held any more, and the queue works, or is closed.
    pub fn finish(&self, queue: &F::Queue) -> Result<(), Failure> {
        let audit = Self::account(queue, 0)?;
        demand(Self::is_clear(&audit), Check::Audit, || format!("at the end: {audit:?}"))?;
        if self.kind == Kind::Joinable {
            let joined = F::join(queue, Wait::For(DEADLINE));
            demand(joined.is_ok(), Check::Cycle, || format!("with nothing to do: {joined:?}"))?;
        }
        if F::is_closed(queue).map_err(|error| broken(&error))? {
            return Self::stays_closed(queue, Check::Cycle);
        }
        self.cycle(queue, CYCLE, Check::Cycle)?;
        let audit = Self::account(queue, 0)?;
        demand(Self::is_clear(&audit), Check::Cycle, || format!("after the cycle: {audit:?}"))
    }

    /// Nothing goes into a closed queue, and what has nothing more says so.
    fn stays_closed(queue: &F::Queue, check: Check) -> Result<(), Failure> {
        let pushed = F::push(queue, CYCLE, Wait::No);
        let popped = F::take(queue, Wait::No);
        let fine = matches!((&pushed, &popped), (Err(Refused::Closed), Err(Refused::Closed)));
        demand(fine, check, || format!("closed, and {pushed:?}, {popped:?}"))
    }
}

impl<F: Form> Scenario for Queued<F> {
    type World = World<F>;

    fn name(&self) -> String {
        let mut state = match self.items {
            0 => "empty".to_owned(),
            CAPACITY => "full".to_owned(),
            some => format!("{some} of {CAPACITY}"),
        };
        if self.closed {
            state = if self.items == 0 { "closed, empty".to_owned() } else { "closed".to_owned() };
        }
        if self.first_use {
            state += ", first use";
        }
        if self.cancellable {
            state += ", cancellable";
        }
        let form = match self.kind {
            Kind::Plain => F::NAME.to_owned(),
            Kind::Joinable => format!("joinable {}", F::NAME),
            Kind::Overwriting => format!("overwriting {}", F::NAME),
            Kind::Tight => format!("tight {}", F::NAME),
        };
        format!("{}/{form}/{state}", self.op.name())
    }

    fn setup(&self) -> Result<World<F>, Failure> {
        let lab = |error: mpshm::Error| Failure::new(Check::Lab, error.to_string());
        let options = self.options();
        let size = F::size(&options).map_err(lab)?;
        let segment =
            Segment::options().participants(4).objects(2).anonymous(size + 1024).map_err(lab)?;
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
        Ok(World { queue, view, segment, kept: Kept::Nothing, got: Got::Nothing })
    }

    fn memory(&self, world: &World<F>) -> (*const u8, usize) {
        world.view.memory()
    }

    fn prepare(&self, world: &mut World<F>) {
        if self.first_use {
            return;
        }
        let queue = &world.queue;
        let push = |number| F::push(queue, number, Wait::No).expect("room");
        let take = || F::take(queue, Wait::No).expect("an item").0;
        if self.items == 0 {
            push(HELD);
        }
        if self.op.has_taken() {
            world.kept = Kept::take(self.op, queue);
            if self.items > 0 {
                push(HELD);
            }
        } else {
            let number = take();
            if self.op.has_reserved() {
                world.kept = Kept::reserve(self.op, queue);
            }
            if self.items > 0 {
                push(number);
            }
        }
        // Waits that found nothing: the next one spins less before it sleeps.
        for _ in 0..4 {
            match self.op {
                Op::PushTimeout => drop(F::push(queue, NEW, BLINK).expect_err("full")),
                Op::PopTimeout => drop(F::pop(queue, BLINK).err().expect("empty")),
                _ => {}
            }
        }
        if self.closed {
            F::close(queue).expect("a sound queue");
        }
    }

    fn operate(&self, world: &mut World<F>) -> u64 {
        if let Some(plant) = self.plant {
            return plant(world);
        }
        if self.cancellable {
            return Canceller::new().run(|| perform::<F>(self.op, world));
        }
        perform::<F>(self.op, world)
    }

    fn conclude(&self, world: &mut World<F>, answer: u64) -> Result<u64, Failure> {
        conclude(world, answer)
    }

    fn survive(&self, world: &mut World<F>) -> Result<u64, Failure> {
        let queue = &world.queue;
        let found = Self::drain_after_death(queue, self.most_held())?;
        let stages = self.steps();
        let Some(stage) = Model::stage_of(&stages, &found) else {
            let possible: Vec<_> = stages.iter().map(|stage| &stage.content).collect();
            return Err(found.judge(&possible, true));
        };
        self.finish(queue)?;
        Ok(stage as u64)
    }

    fn loops(&self) -> bool {
        matches!(self.op, Op::PushTimeout | Op::PopTimeout)
    }

    fn stages(&self) -> Vec<u64> {
        Model::distinct(&self.steps())
    }

    /// Answers with the stages that it may be at, a bit each.
    fn meanwhile(&self, world: &mut World<F>) -> Result<u64, Failure> {
        let queue = &world.queue;
        Self::account(queue, self.most_held())?;
        let found = Self::drain(queue)?;
        let stages = self.steps();
        let mut fits: Vec<usize> =
            (0..stages.len()).filter(|&stage| found.is(&stages[stage].content, false)).collect();
        if self.kind == Kind::Joinable {
            let done = match F::join(queue, Wait::No) {
                Err(error) if error.kind() != ErrorKind::TimedOut => return Err(broken(&error)),
                joined => joined.is_ok(),
            };
            fits.retain(|&stage| stages[stage].content.held.is_empty() == done);
        }
        if fits.is_empty() {
            let possible: Vec<_> = stages.iter().map(|stage| &stage.content).collect();
            return Err(found.judge(&possible, false));
        }
        let mask = fits.iter().fold(0, |mask, stage| mask | 1 << stage);
        if found.closed {
            Self::stays_closed(queue, Check::Blocked)?;
            return Ok(mask);
        }
        self.cycle(queue, FILL, Check::Blocked)?;
        let left = self.left();
        for &number in &left {
            let done = maybe(F::push(queue, number, Wait::No))?.is_some();
            demand(done, Check::Blocked, || format!("{number} was not let in"))?;
        }
        let audit = Self::account(queue, self.most_held())?;
        demand(audit.queued == left.len() as u64, Check::Audit, || format!("{audit:?}"))?;
        Ok(mask)
    }

    fn after(&self, world: &mut World<F>, answer: u64, mask: u64) -> Result<(), Failure> {
        let queue = &world.queue;
        let stages = self.steps();
        let closed_before = |stage: &usize| stages[*stage].content.closed;
        let ends: Vec<(u64, Content)> = (0..stages.len())
            .filter(|stage| mask >> stage & 1 == 1)
            .flat_map(|stage| {
                let left = if closed_before(&stage) { Vec::new() } else { self.left() };
                self.model().ends(&stages, stage, &left)
            })
            .collect();
        let found = Self::drain_after_death(queue, self.most_held())?;
        let possible: Vec<&Content> =
            ends.iter().filter(|end| end.0 == answer).map(|end| &end.1).collect();
        if !possible.iter().any(|content| found.is(content, true)) {
            demand(!possible.is_empty(), Check::Outcome, || {
                format!("answer {answer:#x}, and {found:?}: possible are {ends:x?}")
            })?;
            return Err(found.judge(&possible, true));
        }
        self.finish(queue)
    }
}

impl<F: Form> Kept<F> {
    fn reserve(op: Op, queue: &F::Queue) -> Self {
        let wait = if op == Op::WaitToCommit { Wait::Forever } else { Wait::No };
        let mut reservation = F::reserve(queue, wait).expect("room");
        let length = F::write(&mut reservation, NEW).expect("room for an item");
        // SAFETY: the reservation refers to the queue's handle in the world, which the child neither moves nor
        // drops.
        Self::Reserved(
            unsafe { std::mem::transmute::<Reservation<'_>, Reservation<'static>>(reservation) },
            length,
        )
    }

    fn take(op: Op, queue: &F::Queue) -> Self {
        if matches!(op, Op::TaskDone | Op::Drop) {
            let other = queue.clone();
            F::pop(&other, Wait::No).expect("an item");
            return Self::Popped(Box::new(other));
        }
        let claim = F::claim(queue, Wait::No).expect("an item");
        // SAFETY: as in `reserve`.
        Self::Claimed(unsafe { std::mem::transmute::<Claim<'_>, Claim<'static>>(claim) })
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
        Self::finish(self, &world.queue)
    }
}

/// Whatever is found out or made once in a process: the operations that are counted find it done.
pub fn warm_up() {
    Blocks::message(0);
    Large::message(0);
    let queue = mpshm::Queue::<u64>::new(1).expect("a queue");
    let blink = Duration::from_nanos(1);
    queue.pop_timeout(blink).expect_err("empty");
    queue.push(1).expect("room");
    queue.push_timeout(2, blink).expect_err("full");
}

/// What the operation answers when it has got items: which, is found out behind it.
const GOT: u64 = u64::MAX - 2;

/// The operation itself.
pub fn perform<F: Form>(op: Op, world: &mut World<F>) -> u64 {
    let kept = std::mem::replace(&mut world.kept, Kept::Nothing);
    let queue = &world.queue;
    const NEWS: [u64; BATCH] = [NEW, NEW + 1, NEW + 2];
    let pushed = |tried: Tried<()>| tried.map(|()| DONE);
    let mut got = |tried: Tried<Got<F::Item>>| {
        tried.map(|items| {
            world.got = items;
            GOT
        })
    };
    let one = |wait| F::pop(queue, wait).map(Got::One);
    let many = |wait| F::pop_many(queue, BATCH, wait).map(Got::Many);
    let answer: Tried<u64> = match op {
        Op::TryPush => pushed(F::push(queue, NEW, Wait::No)),
        Op::Push => pushed(F::push(queue, NEW, Wait::Forever)),
        Op::PushTimeout => pushed(F::push(queue, NEW, NAP)),
        Op::TryPushMany => F::push_many(queue, NEWS, Wait::No).map(counted),
        Op::PushMany => F::push_many(queue, NEWS, Wait::Forever).map(counted),
        Op::TryReserve => F::reserve(queue, Wait::No).map(keep),
        Op::Reserve => F::reserve(queue, Wait::Forever).map(keep),
        Op::TryPop => got(one(Wait::No)),
        Op::Pop => got(one(Wait::Forever)),
        Op::PopTimeout => got(one(NAP)),
        Op::TryPopMany => got(many(Wait::No)),
        Op::PopMany => got(many(Wait::Forever)),
        Op::Work => got(one(Wait::No)).inspect(|_| {
            F::task_done(queue).expect("an item that is not done");
        }),
        Op::TryClaim | Op::Claim => {
            let wait = if op == Op::TryClaim { Wait::No } else { Wait::Forever };
            F::claim(queue, wait).map(|claim| {
                // SAFETY: as in `Kept::reserve`.
                let claim = unsafe { std::mem::transmute::<Claim<'_>, Claim<'static>>(claim) };
                world.kept = Kept::Claimed(claim);
                GOT
            })
        }
        Op::Close => fine(F::close(queue)),
        Op::Join => fine(F::join(queue, Wait::Forever)),
        _ => end_of(op, kept),
    };
    match answer {
        Ok(answer) => answer,
        Err(Refused::Nothing) => NOTHING,
        Err(Refused::Closed) => CLOSED,
        Err(other) => panic!("{other:?}"),
    }
}

/// The end of what the child had when the operation began.
fn end_of<F: Form>(op: Op, kept: Kept<F>) -> Tried<u64> {
    match (op, kept) {
        (Op::Commit | Op::WaitToCommit, Kept::Reserved(reservation, length)) => {
            return committed(reservation.commit(length));
        }
        (Op::Abort, Kept::Reserved(reservation, _)) => drop(reservation),
        (Op::Release, Kept::Claimed(claim)) => claim.release(),
        (Op::GiveBack, Kept::Claimed(claim)) => claim.give_back(),
        (Op::Drop, Kept::Popped(handle)) => drop(handle),
        (Op::TaskDone, Kept::Popped(handle)) => {
            let done = fine(F::task_done(&handle));
            std::mem::forget(handle);
            return done;
        }
        _ => unreachable!("something was kept"),
    }
    Ok(DONE)
}

/// The answer, with the numbers of what was got.
pub fn conclude<F: Form>(world: &World<F>, answer: u64) -> Result<u64, Failure> {
    if answer != GOT {
        return Ok(answer);
    }
    match (&world.got, &world.kept) {
        (Got::One(item), _) => F::number(item),
        (Got::Many(items), _) => {
            Ok(several(&items.iter().map(F::number).collect::<Result<Vec<_>, _>>()?))
        }
        (Got::Nothing, Kept::Claimed(claim)) => F::read(claim),
        (Got::Nothing, _) => unreachable!("something was got"),
    }
}

/// What is reserved stays so until the process ends.
fn keep<T>(kept: T) -> u64 {
    std::mem::forget(kept);
    DONE
}

fn fine(result: mpshm::Result<()>) -> Tried<u64> {
    result.map(|()| DONE).map_err(|error| Refused::Wrong(broken(&error)))
}

fn committed(result: Result<(), PushError<Reservation<'_>>>) -> Tried<u64> {
    match result {
        Ok(()) => Ok(DONE),
        Err(PushError::Full(_) | PushError::TimedOut(_)) => Err(Refused::Nothing),
        Err(PushError::Closed(_)) => Err(Refused::Closed),
        Err(other) => Err(Refused::Wrong(Failure::new(Check::Outcome, format!("commit: {other}")))),
    }
}
