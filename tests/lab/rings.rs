//! Rings in each form, empty, part full, full and closed: what a killed or stopped end may leave behind.
//!
//! The ring holds items of known numbers and contents, at the end of its storage, so that operations cross the seam.
//! After a kill a survivor first does what the other end does, then takes over the dead one's role, drains the ring and
//! accounts for every item, for the mark on it, and for the role; then it runs the ring through a full cycle. While the
//! child is stopped, another process drains, or fills, what the child lets it; what the child answers when it has gone on
//! and what is left must fit together. What may be found is the [model](super::ring_model)'s affair.

use super::forms::{Refused, Wait, broken, maybe};
use super::lab::{Check, DENSE, Failure, Mode, Page, Scenario, demand, in_child};
use super::model::{HELD, NEW};
use super::queues::DEADLINE;
use super::ring_forms::RingForm;
use super::ring_look::{Ends, FILL, REFILL, Seen, Told};
use super::ring_model::{Content, Kind, Model, Op, Role, Stage};
use super::ring_world::{World, perform};
use mpshm::{Delivery, Ring, RingOptions, Segment, Value, WhenFull};
use std::marker::PhantomData;
use std::time::Duration;

/// What wakes a sleeper brings this item.
const ROUSED: u64 = 190;
const BLINK: Wait = Wait::For(Duration::from_nanos(1));
/// Longer operations on large items are stopped only where it tells.
const LONG: usize = 2500;

/// One operation on a ring that holds `items` items.
pub struct Ringed<F: RingForm> {
    pub op: Op,
    pub kind: Kind,
    /// Whose handle the child has, if any.
    pub role: Option<Role>,
    pub items: usize,
    pub closed: bool,
    /// Whether the child must look at the other end's cursor before it knows of what it needs.
    pub unseen: bool,
    /// Whether the first items have been handed out before.
    pub again: bool,
    /// Whether the operation is the first that the child does with its handle: it takes the role in its course.
    pub first_use: bool,
    /// Whether who had the role before has died.
    pub heir: bool,
    /// Whether the ring is closed while the child is stopped.
    pub closes: bool,
    /// Whether the child is woken by what it waits for.
    pub roused: bool,
    /// Whether it is killed at every instruction, also where that leaves nothing but what the one before left.
    pub every: bool,
    /// Left by others, in place of `items` and `again`.
    pub found: Option<Content>,
    /// Done instead of the operation: see `ring_plants.rs`.
    pub plant: Option<fn(&mut World<F>) -> u64>,
    pub form: PhantomData<F>,
}

impl<F: RingForm> Ringed<F> {
    pub fn of(op: Op, kind: Kind, items: usize) -> Self {
        Self {
            op,
            kind,
            role: op.role(),
            items,
            closed: false,
            unseen: false,
            again: false,
            first_use: false,
            heir: false,
            closes: false,
            roused: false,
            every: false,
            found: None,
            plant: None,
            form: PhantomData,
        }
    }

    pub fn new(op: Op, items: usize) -> Self {
        Self::of(op, Kind::Plain, items)
    }

    /// What the next one does with its first call, where another was left at `stage`: what it then finds.
    pub fn next(&self, op: Op, stage: &Stage) -> Self {
        let content = stage.content.clone();
        let heir = op.role() == self.role && self.is_named(stage);
        let next = Self { first_use: true, heir, ..Self::of(op, self.kind, content.items.len()) };
        Self { found: Some(content), ..next }
    }

    pub fn closed(self) -> Self {
        Self { closed: true, ..self }
    }

    pub fn unseen(self) -> Self {
        Self { unseen: true, ..self }
    }

    pub fn again(self) -> Self {
        Self { again: true, ..self }
    }

    pub fn first_use(self) -> Self {
        Self { first_use: true, ..self }
    }

    pub fn inherited(self) -> Self {
        Self { first_use: true, heir: true, ..self }
    }

    pub fn then_closed(self) -> Self {
        Self { closes: true, ..self }
    }

    pub fn roused(self) -> Self {
        Self { roused: true, ..self }
    }

    pub fn everywhere(self) -> Self {
        Self { every: true, ..self }
    }

    /// By who has this role.
    pub fn by(self, role: Role) -> Self {
        Self { role: Some(role), ..self }
    }

    pub fn capacity(&self) -> usize {
        F::capacity(self.kind)
    }

    fn model(&self) -> Model {
        Model {
            op: self.op,
            role: self.role,
            kind: self.kind,
            framed: F::FRAMED,
            capacity: self.capacity(),
            claimed: if self.op.has_claimed() { self.claims() } else { 0 },
            knows: self.has_looked(),
        }
    }

    /// How many items the child claims before the operation: of those handed out before, not all.
    fn claims(&self) -> usize {
        if F::FRAMED || self.again && self.op == Op::Release { 1 } else { 2 }
    }

    fn is(&self, role: Role) -> bool {
        self.role == Some(role)
    }

    /// Whether the child has seen the other end's cursor, and has taken an item out and put it back for that.
    fn has_looked(&self) -> bool {
        self.role.is_some() && !self.unseen && !self.first_use && self.kind != Kind::Following
    }

    /// What the ring holds when the operation begins.
    pub fn content(&self) -> Content {
        if let Some(found) = &self.found {
            return found.clone();
        }
        let mut items: Vec<u64> = (1..=self.items as u64).collect();
        if self.has_looked() && self.items > 0 {
            items.rotate_left(1);
        }
        match (self.roused, self.role) {
            (false, _) => {}
            (true, Some(Role::Consumer)) => items.push(ROUSED),
            (true, _) => drop(items.remove(0)),
        }
        let mut content = Content { items, closed: self.closed, ..Content::default() };
        let hand_out =
            |content: &mut Content, most| content.hand_out(if F::FRAMED { 1 } else { most });
        if self.again {
            hand_out(&mut content, 2);
            // Given back by a living one, and not by a dead one.
            content.held = if self.heir { content.held } else { 0 };
        }
        if self.op.has_claimed() {
            hand_out(&mut content, self.claims());
        }
        content
    }

    /// What there is from the operation's beginning on.
    pub fn steps(&self) -> Vec<Stage> {
        let has_role = self.role.is_some() && !self.first_use;
        let drops = self.heir && self.kind == Kind::AtMostOnce && self.is(Role::Consumer);
        let content = self.content();
        self.model().stages(Stage { content, has_role, settled: !drops, ..Stage::default() })
    }

    fn options(&self) -> RingOptions {
        let options = F::options(self.capacity());
        match self.kind {
            Kind::Plain => options,
            Kind::Overwriting => options.when_full(WhenFull::Overwrite),
            Kind::Failing => options.when_full(WhenFull::Fail),
            Kind::AtMostOnce => options.delivery(Delivery::AtMostOnce),
            Kind::Following => options.follow_ends(),
        }
    }

    /// A ring at the end of its storage, and the items in it. Nobody has a role then, but for those that are kept.
    pub fn fill(&self, ring: &Ring<F::Item>, keeps: &[Role]) -> Result<(), Failure> {
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        for _ in 0..F::seam(self.kind) {
            maybe(F::push(&mut producer, HELD, Wait::No))?;
            maybe(F::take(&mut consumer, self.kind, Wait::No))?;
        }
        for number in 1..=self.items as u64 {
            let done = maybe(F::push(&mut producer, number, Wait::No))?.is_some();
            demand(done, Check::Lab, || "the ring cannot be filled".to_owned())?;
        }
        if self.heir && self.again {
            std::mem::forget(maybe(F::claim(&mut consumer, 2, Wait::No))?.expect("an item"));
        }
        if keeps.contains(&Role::Producer) {
            std::mem::forget(producer);
        }
        if keeps.contains(&Role::Consumer) {
            std::mem::forget(consumer);
        }
        Ok(())
    }

    /// Takes part in the segment, and not in the ring.
    pub fn join(&self, world: &World<F>) {
        drop(Value::create(world.segment.at("spare"), 0_u64)); // it may be there
    }

    /// Brings the child's end to where it is when the operation begins.
    fn begin(&self, world: &mut World<F>) {
        let ring = world.ring.clone();
        let push = |end: &mut _, number| F::push(end, number, Wait::No).expect("room");
        let take = |end: &mut _| {
            F::pop(end, Wait::No)
                .map(|item| F::number(&item).expect("a whole one"))
                .expect("an item")
        };
        match self.role {
            Some(Role::Producer) => {
                let end = world.writes();
                F::take_producer(end).expect("a free role");
                if self.has_looked() {
                    let mut other = ring.consumer();
                    if self.items == 0 {
                        push(end, HELD);
                    }
                    let first = take(&mut other);
                    if self.items > 0 {
                        push(end, first);
                    }
                }
            }
            Some(Role::Consumer) => {
                let end = world.reads();
                F::take_consumer(end).expect("a free role");
                if self.kind == Kind::Following {
                    return;
                }
                let mut other = ring.producer();
                if self.items == 0 {
                    push(&mut other, HELD);
                }
                if self.kind != Kind::Overwriting {
                    // What was noted of old claims counts no more when their items have been popped.
                    F::claim(end, 1, Wait::No).expect("an item").give_back();
                    F::claim(end, 1, Wait::No).expect("an item").give_back();
                }
                let count = if self.has_looked() { 1 } else { self.items.max(1) };
                let taken: Vec<u64> = (0..count).map(|_| take(end)).collect();
                for &number in taken.iter().filter(|_| self.items > 0) {
                    push(&mut other, number);
                }
            }
            None => {}
        }
    }

    /// Whether the dead child's role names it, or its forerunner, who is dead too.
    fn is_named(&self, stage: &Stage) -> bool {
        stage.has_role || self.first_use && self.heir
    }

    /// What survivors see of a stage.
    fn seen_dead(&self, stage: &Stage) -> Seen {
        let mut content = stage.content.clone();
        let (len, named) = (self.len(&content), self.is_named(stage));
        let mut seen = Seen { len, closed: content.closed, ..Seen::default() };
        seen.role = self.role.map(|_| named);
        let ended = if content.closed { Told::Closed } else { Told::Nothing };
        let dead = self.kind == Kind::Following && named && !content.closed;
        let told = if dead { Told::PeerDead } else { ended };
        (seen.pushing, seen.popping) = (ended, ended);
        match self.role {
            Some(Role::Producer) => seen.popping = told,
            Some(Role::Consumer) => {
                seen.fills = if self.fills(&content) { self.capacity() - len } else { 0 };
                seen.pushing = told;
                let drops = self.kind == Kind::AtMostOnce && named;
                seen.dropped = if drops { content.held as u64 } else { 0 };
                content.remove(seen.dropped as usize);
                content.items.extend((0..seen.fills).map(|index| REFILL + index as u64));
            }
            None => {}
        }
        seen.items = content.expected();
        seen
    }

    /// What others see of a stage while the child is stopped there.
    fn seen_alive(&self, stage: &Stage) -> Seen {
        let content = &stage.content;
        let closed = content.closed || self.closes;
        let told = if closed { Told::Closed } else { Told::Nothing };
        let (role, len) = (self.asks_for_role().then_some(stage.has_role), self.len(content));
        let seen = Seen { len, closed, role, pushing: told, popping: told, ..Seen::default() };
        if self.is(Role::Consumer) {
            let fills = if self.fills(content) { self.capacity() - len } else { 0 };
            Seen { fills, popping: Told::Nothing, ..seen }
        } else {
            Seen { items: content.expected(), pushing: Told::Nothing, ..seen }
        }
    }

    /// What others make of a stage's content while the child is stopped there.
    fn now(&self, stage: &Stage) -> Content {
        let mut content = stage.content.clone();
        if self.is(Role::Consumer) {
            let fills =
                if self.fills(&content) { self.capacity() - content.items.len() } else { 0 };
            let over = if self.kind == Kind::Overwriting && !content.closed { 2 } else { fills };
            content.items.extend((0..over).map(|index| FILL + index as u64));
            content.remove(content.items.len().saturating_sub(self.capacity()));
        } else {
            content.remove(content.items.len());
            let leaves = self.role.is_none() && !content.closed;
            content.items.extend(leaves.then_some(FILL));
        }
        content.closed |= self.closes;
        content
    }

    /// Whether others push until the ring is full.
    fn fills(&self, content: &Content) -> bool {
        self.kind != Kind::Overwriting && !content.closed
    }

    /// How many items the ring says that there are: no more than its capacity where it can tell without counting.
    fn len(&self, content: &Content) -> usize {
        let count = content.items.len();
        if F::FRAMED { count } else { count.min(self.capacity()) }
    }

    /// Whether it is asked, while the child is stopped, if the role is to be had: where that changes nothing else.
    fn asks_for_role(&self) -> bool {
        self.role.is_some() && self.kind != Kind::AtMostOnce
    }

    /// Whether the child's role is somebody's.
    fn is_taken(&self, ring: &Ring<F::Item>) -> Result<bool, Failure> {
        let tried = match self.role {
            Some(Role::Producer) => F::take_producer(&mut ring.producer()),
            _ => F::take_consumer(&mut ring.consumer()),
        };
        match tried {
            Ok(()) => Ok(false),
            Err(Refused::Busy) => Ok(true),
            Err(other) => Err(Failure::new(Check::Outcome, format!("a free role: {other:?}"))),
        }
    }

    /// What survivors find; then they have both roles.
    fn look_dead(&self, ends: &mut Ends<'_, F>) -> Result<Seen, Failure> {
        let mut seen = Seen { len: ends.ring.len(), ..Seen::default() };
        let is_reader = self.is(Role::Consumer);
        if is_reader && self.kind != Kind::Overwriting {
            (seen.fills, seen.pushing) = ends.fill_up(REFILL, self.capacity())?;
        }
        let before = ends.ring.counters();
        let reader_named = ends.take_consumer()?;
        seen.dropped = ends.ring.counters().dropped - before.dropped;
        (seen.items, seen.popping) = ends.drain(self.kind)?;
        seen.closed = ends.ring.is_closed();
        if self.is(Role::Producer) {
            seen.role = Some(ends.take_producer()?);
        } else {
            seen.role = is_reader.then_some(reader_named);
        }
        if !is_reader || self.kind == Kind::Overwriting {
            seen.pushing = if seen.closed { Told::Closed } else { Told::Nothing };
        }
        Ok(seen)
    }

    /// What others find while the child is stopped.
    fn look_alive(&self, ends: &mut Ends<'_, F>) -> Result<Seen, Failure> {
        let mut seen = Seen { len: ends.ring.len(), ..Seen::default() };
        if self.asks_for_role() {
            seen.role = Some(self.is_taken(ends.ring)?);
        }
        if self.is(Role::Consumer) {
            self.look_at_reader(ends, &mut seen)?;
        } else {
            if self.closes {
                ends.ring.close().map_err(|error| broken(&error))?;
            }
            (seen.items, seen.popping) = ends.drain(self.kind)?;
        }
        seen.closed = ends.ring.is_closed();
        if self.role.is_none() && !seen.closed {
            let done = maybe(F::push(ends.producer, FILL, Wait::No))?.is_some();
            demand(done, Check::Blocked, || "no room in an empty ring".to_owned())?;
        }
        Ok(seen)
    }

    fn look_at_reader(&self, ends: &mut Ends<'_, F>, seen: &mut Seen) -> Result<(), Failure> {
        if self.kind == Kind::Overwriting {
            for number in [FILL, FILL + 1] {
                match F::push(ends.producer, number, Wait::For(DEADLINE)) {
                    Ok(()) => {}
                    Err(Refused::Closed) => seen.pushing = Told::Closed,
                    other => demand(false, Check::Blocked, || format!("pushed: {other:?}"))?,
                }
            }
        } else {
            (seen.fills, seen.pushing) = ends.fill_up(FILL, self.capacity())?;
        }
        if self.closes {
            ends.ring.close().map_err(|error| broken(&error))?;
            seen.pushing = ends.fill_up(FILL, 0)?.1;
        }
        Ok(())
    }

    /// The ends that the operation may come to, each with what survivors see of it.
    fn possible(&self, mask: u64) -> Vec<(u64, Seen)> {
        let stages = self.steps();
        let stopped = (0..stages.len()).filter(|stage| mask >> stage & 1 == 1);
        let ends =
            stopped.flat_map(|stage| self.model().ends(&stages, stage, &self.now(&stages[stage])));
        ends.map(|(answer, end)| (answer, self.seen_dead(&end))).collect()
    }
}

impl<F: RingForm> Scenario for Ringed<F> {
    type World = World<F>;

    fn name(&self) -> String {
        let mut state = match self.items {
            0 => "empty".to_owned(),
            items if items == self.capacity() => "full".to_owned(),
            items => format!("{items} of {}", self.capacity()),
        };
        let by = match self.role.filter(|_| self.op.role().is_none()) {
            Some(Role::Producer) => " by the producer",
            Some(Role::Consumer) => " by the consumer",
            None => "",
        };
        for (holds, what) in [
            (self.closed, "closed"),
            (self.unseen, "unseen"),
            (self.again, "handed out before"),
            (self.first_use, "first use"),
            (self.heir, "from the dead"),
            (self.closes, "then closed"),
        ] {
            state += &if holds { format!(", {what}") } else { String::new() };
        }
        let kind = match self.kind {
            Kind::Plain => "",
            Kind::Overwriting => "overwriting ",
            Kind::Failing => "failing ",
            Kind::AtMostOnce => "at-most-once ",
            Kind::Following => "following ",
        };
        format!("{}{by}/{kind}ring of {}/{state}", self.op.name(), F::NAME)
    }

    fn setup(&self) -> Result<World<F>, Failure> {
        let lab = |error: mpshm::Error| Failure::new(Check::Lab, error.to_string());
        let options = self.options();
        let size = Ring::<F::Item>::size_for(&options).map_err(lab)?;
        let segment =
            Segment::options().participants(6).objects(2).anonymous(size + 1024).map_err(lab)?;
        let ring = Ring::create(segment.at("ring"), &options).map_err(lab)?;
        let both = [Role::Producer, Role::Consumer];
        let keeps: &[Role] = match self.role {
            // The end of either role would be the end of the stream.
            _ if self.kind == Kind::Following => &both,
            Some(Role::Producer) if self.heir => &both[..1],
            Some(Role::Consumer) if self.heir => &both[1..],
            _ => &[],
        };
        if keeps.is_empty() {
            self.fill(&ring, keeps)?;
        } else {
            in_child(&Page::new(), "who fills", DEADLINE, || {
                self.fill(&ring, keeps)?;
                Ok(0)
            })?;
        }
        Ok(World::over(segment, ring))
    }

    fn memory(&self, world: &World<F>) -> (*const u8, usize) {
        world.view.memory()
    }

    fn prepare(&self, world: &mut World<F>) {
        self.join(world);
        if !self.first_use {
            self.begin(world);
            if self.again {
                F::claim(world.reads(), 2, Wait::No).expect("an item").give_back();
            }
            if self.op.has_reserved() {
                world.reserve(self.op);
            }
            if self.op.has_claimed() {
                world.claim(self.claims());
            }
        }
        // Waits that found nothing: the next one spins less before it sleeps.
        for _ in 0..4 {
            match self.op {
                Op::PushTimeout => drop(F::push(world.writes(), NEW, BLINK).expect_err("full")),
                Op::PopTimeout => drop(F::pop(world.reads(), BLINK).err().expect("empty")),
                _ => {}
            }
        }
        if self.closed {
            world.ring.close().expect("a sound ring");
        }
    }

    fn operate(&self, world: &mut World<F>) -> u64 {
        match self.plant {
            Some(plant) => plant(world),
            None => perform(self.op, self.role, self.claims(), world),
        }
    }

    fn conclude(&self, world: &mut World<F>, answer: u64) -> Result<u64, Failure> {
        world.conclude(answer)
    }

    fn rouse(&self, world: &mut World<F>) -> Result<(), Failure> {
        in_child(&Page::new(), "who wakes", DEADLINE, || {
            let Ends { producer, consumer, .. } = world.ends();
            let done = match self.role {
                Some(Role::Consumer) => maybe(F::push(producer, ROUSED, Wait::No))?.is_some(),
                _ => maybe(F::take(consumer, self.kind, Wait::No))?.is_some(),
            };
            demand(done, Check::Lab, || "nothing to wake for".to_owned()).map(|()| 0)
        })
        .map(drop)
    }

    fn survive(&self, world: &mut World<F>) -> Result<u64, Failure> {
        let ring = Ring::open(world.segment.at("ring")).map_err(|error| broken(&error))?;
        let (mut producer, mut consumer) = (ring.producer(), ring.consumer());
        let mut ends = Ends { ring: &ring, producer: &mut producer, consumer: &mut consumer };
        let seen = self.look_dead(&mut ends)?;
        let possible: Vec<Seen> = self.steps().iter().map(|stage| self.seen_dead(stage)).collect();
        let stage = seen.find_in(&possible)?;
        ends.finish(self.kind)?;
        Ok(stage as u64)
    }

    /// What a killed child leaves differs only from one telling point to the next. What it would have done next, if it is
    /// stopped, differs everywhere.
    fn dense(&self, mode: Mode) -> usize {
        match mode {
            Mode::Kill if !self.every => 0,
            Mode::Stop if !F::FRAMED && F::RECORD > 100 => LONG,
            _ => DENSE,
        }
    }

    fn loops(&self) -> bool {
        matches!(self.op, Op::PushTimeout | Op::PopTimeout)
    }

    fn stages(&self) -> Vec<u64> {
        let all: Vec<Seen> = self.steps().iter().map(|stage| self.seen_dead(stage)).collect();
        let mut first: Vec<u64> = all
            .iter()
            .filter_map(|seen| seen.find_in(&all).ok())
            .map(|stage| stage as u64)
            .collect();
        first.dedup();
        first
    }

    /// Answers with the stages that it may be at, a bit each.
    fn meanwhile(&self, world: &mut World<F>) -> Result<u64, Failure> {
        let seen = self.look_alive(&mut world.ends())?;
        let possible: Vec<Seen> = self.steps().iter().map(|stage| self.seen_alive(stage)).collect();
        seen.find_in(&possible)?;
        let fits = (0..possible.len()).filter(|&stage| possible[stage] == seen);
        Ok(fits.fold(0, |mask, stage| mask | 1 << stage))
    }

    fn after(&self, world: &mut World<F>, answer: u64, mask: u64) -> Result<(), Failure> {
        let mut ends = world.ends();
        let seen = self.look_dead(&mut ends)?;
        let possible = self.possible(mask);
        let fitting: Vec<Seen> =
            (possible.iter()).filter(|end| end.0 == answer).map(|end| end.1.clone()).collect();
        demand(!fitting.is_empty(), Check::Outcome, || {
            format!("answer {answer:#x}, and {seen:?}: possible are {possible:x?}")
        })?;
        seen.find_in(&fitting)?;
        ends.finish(self.kind)
    }
}
