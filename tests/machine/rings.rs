//! The machine of rings: several processes with handles of both ends, of which one each has its role at a time.

use super::crew::Crew;
use super::model::{How, Life, PARTICIPANTS, Stuck};
use super::play::Machine;
use super::ring_model::{Holder, Model};
use super::ring_steps::{RingSpec, RingStep, Side, ring, ring_step};
use super::ring_worker::{Carries, Messages, NAME, Numbers, RingWorker};
use super::spec::length;
use super::steps::{End, Pick};
use mpshm::{Ring, Segment};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;

const WORKERS: usize = 3;
/// Handles of one worker and side, at most.
const HANDLES: usize = 2;
/// A call that looks for the dead at most every 5 ms, on a clock that moves on every 10 ms at worst, looks after this.
const SETTLED: Duration = Duration::from_millis(16);

/// A handle as the machine knows it.
struct Handle {
    number: u64,
    /// What it has reserved, or claimed: numbers of a ring of numbers, bytes of a message's room, messages.
    holds: Option<usize>,
}

/// A worker as the machine knows it.
#[derive(Default)]
struct Hands {
    ins: Vec<Handle>,
    outs: Vec<Handle>,
}

impl Hands {
    fn of(&self, side: Side) -> &Vec<Handle> {
        if side == Side::In { &self.ins } else { &self.outs }
    }

    fn of_mut(&mut self, side: Side) -> &mut Vec<Handle> {
        if side == Side::In { &mut self.ins } else { &mut self.outs }
    }
}

/// A handle that a step is about: whose, and where in its list, and what the model knows it by.
#[derive(Clone, Copy)]
struct Which {
    w: usize,
    at: usize,
    me: Holder,
}

struct World<F> {
    segment: Segment,
    crew: Crew<F>,
    hands: Vec<Hands>,
    dead: BTreeSet<Life>,
    model: Model,
    /// The numbers that come next: of an item, of a handle.
    item: u64,
    handle: u64,
}

/// An error says what was expected; a step that cannot be done is passed over.
type Done = Result<(), String>;

fn expect(reply: &str, expected: &str) -> Done {
    expect_one(reply, &[expected])
}

fn expect_one(reply: &str, expected: &[&str]) -> Done {
    if expected.contains(&reply) { Ok(()) } else { Err(format!("{expected:?} was expected")) }
}

fn word(side: Side) -> &'static str {
    if side == Side::In { "in" } else { "out" }
}

fn spaced(numbers: &[u64]) -> String {
    numbers.iter().map(|number| format!(" {number}")).collect()
}

pub struct Rings;

impl Machine for Rings {
    type Case = (RingSpec, Vec<RingStep>);

    fn cases() -> BoxedStrategy<Self::Case> {
        (ring(), prop::collection::vec(ring_step(), 1..=100)).boxed()
    }

    fn play((spec, steps): &Self::Case) -> Done {
        match spec.messages {
            true => play_on::<Messages>(*spec, steps),
            false => play_on::<Numbers>(*spec, steps),
        }
    }
}

fn play_on<C: Carries>(spec: RingSpec, steps: &[RingStep]) -> Done {
    let options = spec.options();
    let segment = Ring::<C::Of>::size_for(&options)
        .and_then(|size| Segment::options().participants(PARTICIPANTS).anonymous(size))
        .map_err(|error| error.to_string())?;
    let made = Ring::<C::Of>::create(segment.at(NAME), &options);
    drop(made.map_err(|error| error.to_string())?);
    let inherited = segment.clone();
    let crew = Crew::new(WORKERS, || RingWorker::<C>::new(&inherited));
    let mut world = World {
        segment,
        crew,
        hands: (0..WORKERS).map(|_| Hands::default()).collect(),
        dead: BTreeSet::new(),
        model: Model::new(spec),
        item: 0,
        handle: 0,
    };
    let made = [RingStep::Handle(0, Side::In), RingStep::Handle(1, Side::Out)];
    let result = made.iter().chain(steps).try_for_each(|step| world.step(step));
    let result = result.and_then(|()| world.last_look());
    if std::env::var_os("STORY").is_some() {
        eprintln!("STORY {spec:?}{}", world.crew.story());
    }
    result.map_err(|why| format!("{why}; what was done:{}", world.crew.story()))
}

impl<C: Carries, F: Fn() -> RingWorker<C>> World<F> {
    fn step(&mut self, step: &RingStep) -> Done {
        match *step {
            RingStep::Handle(w, side) => self.new_handle(w, side),
            RingStep::Drop(h, side) => self.put_down(h, side),
            RingStep::Push(h, how) => self.push(h, how),
            RingStep::PushMany(h, how, count, true) => self.push_all(h, how, count),
            RingStep::PushMany(h, how, count, false) => self.push_many(h, how, count),
            RingStep::Reserve(h, how, count) => self.reserve(h, how, count),
            RingStep::Commit(h, less) => self.commit(h, less),
            RingStep::CommitBeyond(h) => self.commit_beyond(h),
            RingStep::Abort(h) => self.abort(h),
            RingStep::Pop(h, how) => self.pop(h, how),
            RingStep::PopMany(h, how, most) => self.pop_many(h, how, most),
            RingStep::PopInto(h, how, room) => self.pop_into(h, how, room),
            RingStep::Claim(h, how, most) => self.claim(h, how, most),
            RingStep::Release(h) => self.release(h),
            RingStep::ReleaseFirst(h, count) => self.release_first(h, count),
            RingStep::GiveBack(h) => self.give_back(h),
            RingStep::Close(w) => self.close(w),
            RingStep::Look(w) => self.look(w),
            RingStep::Sweep => self.sweep(),
            RingStep::End(w, end) => self.end(w as usize % WORKERS, end),
            RingStep::KillHolder(side) => self.kill_holder(side),
        }
    }

    // ---- handles ----

    fn which(&self, w: usize, at: usize, side: Side) -> Which {
        Which { w, at, me: (self.crew.life(w), self.hands[w].of(side)[at].number) }
    }

    /// One of all handles of a side that have something in their hands, or do not.
    fn one_of(
        &self,
        which: Pick,
        side: Side,
        fits: impl Fn(&Handle, Holder) -> bool,
    ) -> Option<Which> {
        let of = |w: usize| {
            let handles = self.hands[w].of(side).iter().enumerate();
            let life = self.crew.life(w);
            let fit = handles.filter(|(_, handle)| fits(handle, (life, handle.number)));
            fit.map(|(at, _)| (w, at)).collect::<Vec<_>>()
        };
        let all: Vec<(usize, usize)> = (0..WORKERS).flat_map(of).collect();
        let (w, at) = *all.get(which as usize % all.len().max(1))?;
        Some(self.which(w, at, side))
    }

    /// A handle with free hands: mostly one that has the role, or may take it.
    fn free(&self, which: Pick, side: Side) -> Option<Which> {
        let free = |handle: &Handle, _| handle.holds.is_none();
        let may =
            |handle: &Handle, me| free(handle, me) && !self.model.is_taken(side, me, &self.dead);
        let any = which % 8 == 7;
        let better = if any { None } else { self.one_of(which, side, may) };
        better.or_else(|| self.one_of(which, side, free))
    }

    fn holding(&self, which: Pick, side: Side) -> Option<(Which, usize)> {
        let it = self.one_of(which, side, |handle, _| handle.holds.is_some())?;
        let holds = self.hands[it.w].of(side)[it.at].holds.expect("as asked");
        Some((it, holds))
    }

    fn holds(&mut self, it: Which, side: Side, what: Option<usize>) {
        self.hands[it.w].of_mut(side)[it.at].holds = what;
    }

    fn new_handle(&mut self, w: Pick, side: Side) -> Done {
        let w = w as usize % WORKERS;
        if self.hands[w].of(side).len() == HANDLES {
            return Ok(());
        }
        self.handle += 1;
        let number = self.handle;
        self.hands[w].of_mut(side).push(Handle { number, holds: None });
        let reply = self.crew.tell(w, &format!("handle {}", word(side)))?;
        expect(&reply, "ok")
    }

    fn put_down(&mut self, h: Pick, side: Side) -> Done {
        let Some(it) = self.one_of(h, side, |_, _| true) else { return Ok(()) };
        let reply = self.crew.tell(it.w, &format!("drop {} {}", word(side), it.at))?;
        self.dropped(it, side);
        expect(&reply, "ok")
    }

    /// What was reserved is aborted, what was claimed released.
    fn dropped(&mut self, it: Which, side: Side) {
        let handle = self.hands[it.w].of_mut(side).remove(it.at);
        if let (Some(count), Side::Out) = (handle.holds, side) {
            self.model.release(count);
        }
        self.model.leave(side, it.me);
    }

    fn next_items(&mut self, count: usize) -> Vec<u64> {
        let first = self.item + 1;
        self.item += count as u64;
        (first..first + count as u64).collect()
    }

    /// Does what the model does of it, in such a way that it ends: a call that would wait for ever is a timed one.
    fn unstuck<T>(
        &mut self,
        how: How,
        mut call: impl FnMut(&mut Model, How, &BTreeSet<Life>) -> Result<T, Stuck>,
    ) -> (How, T) {
        let before = self.model.clone();
        if let Ok(done) = call(&mut self.model, how, &self.dead) {
            return (how, done);
        }
        self.model = before;
        let Ok(done) = call(&mut self.model, How::Timed, &self.dead) else {
            panic!("a timed call waits for ever in the model")
        };
        (How::Timed, done)
    }

    // ---- pushing ----

    fn push(&mut self, h: Pick, how: How) -> Done {
        let Some(it) = self.free(h, Side::In) else { return Ok(()) };
        let numbers = self.next_items(1);
        let (how, expected) =
            self.unstuck(how, |model, how, dead| model.push_all(how, it.me, dead, &numbers));
        let command = format!("push {} {} {}", it.at, how.word(), numbers[0]);
        let reply = self.crew.tell(it.w, &command)?;
        expect(&reply, expected.err().unwrap_or("ok"))
    }

    fn push_all(&mut self, h: Pick, how: How, count: usize) -> Done {
        let Some(it) = self.free(h, Side::In) else { return Ok(()) };
        let numbers = self.next_items(count);
        let (how, expected) = if count == 0 {
            (how, self.model.empty(it.me, &self.dead))
        } else {
            let (how, expected) =
                self.unstuck(how, |model, how, dead| model.push_all(how, it.me, dead, &numbers));
            (how, vec![expected.err().unwrap_or("ok")])
        };
        let command = format!("push-all {} {}{}", it.at, how.word(), spaced(&numbers));
        let reply = self.crew.tell(it.w, &command)?;
        expect_one(&reply, &expected)
    }

    fn push_many(&mut self, h: Pick, how: How, count: usize) -> Done {
        let Some(it) = self.free(h, Side::In) else { return Ok(()) };
        let numbers = self.next_items(count);
        let (how, (pushed, no)) =
            self.unstuck(how, |model, how, dead| model.push_many(how, it.me, dead, &numbers));
        let command = format!("push-many {} {}{}", it.at, how.word(), spaced(&numbers));
        let reply = self.crew.tell(it.w, &command)?;
        expect(&reply, &no.map_or(pushed.to_string(), |no| format!("{pushed} {no}")))
    }

    fn reserve(&mut self, h: Pick, how: How, count: usize) -> Done {
        let Some(it) = self.free(h, Side::In) else { return Ok(()) };
        let messages = self.model.spec.messages;
        let room = if messages { length(self.item + 1) + count } else { count };
        let (how, expected) =
            self.unstuck(how, |model, how, dead| model.reserve(how, it.me, dead, room));
        let reply = self.crew.tell(it.w, &format!("reserve {} {} {room}", it.at, how.word()))?;
        if reply == "ok" {
            self.holds(it, Side::In, Some(room));
        }
        match expected {
            Some(expected) => expect(&reply, expected.err().unwrap_or("ok")),
            None => expect_one(&reply, &["ok", "CLOSED"]),
        }
    }

    fn commit(&mut self, h: Pick, less: usize) -> Done {
        let Some((it, room)) = self.holding(h, Side::In) else { return Ok(()) };
        let count = if self.model.spec.messages { 1 } else { room.saturating_sub(less) };
        if self.model.spec.messages && length(self.item + 1) > room {
            return Ok(()); // others have had the number that it was for
        }
        let numbers = self.next_items(count);
        let expected = if numbers.is_empty() {
            self.model.empty(it.me, &self.dead)
        } else {
            vec![self.model.commit(&numbers).err().unwrap_or("ok")]
        };
        let reply = self.crew.tell(it.w, &format!("commit {}{}", it.at, spaced(&numbers)))?;
        if reply == "ok" {
            self.holds(it, Side::In, None);
        }
        expect_one(&reply, &expected)
    }

    fn commit_beyond(&mut self, h: Pick) -> Done {
        let Some((it, _)) = self.holding(h, Side::In) else { return Ok(()) };
        let reply = self.crew.tell(it.w, &format!("commit-beyond {}", it.at))?;
        expect(&reply, "TOOBIG")
    }

    fn abort(&mut self, h: Pick) -> Done {
        let Some((it, _)) = self.holding(h, Side::In) else { return Ok(()) };
        self.holds(it, Side::In, None);
        let reply = self.crew.tell(it.w, &format!("abort {}", it.at))?;
        expect(&reply, "ok")
    }

    // ---- popping ----

    fn pop(&mut self, h: Pick, how: How) -> Done {
        let Some(it) = self.free(h, Side::Out) else { return Ok(()) };
        let (how, expected) = self.unstuck(how, |model, how, dead| model.pops(how, it.me, dead));
        let reply = self.crew.tell(it.w, &format!("pop {} {}", it.at, how.word()))?;
        match expected {
            Ok(()) => expect(&reply, spaced(&self.model.pop(1)).trim_start()),
            Err(no) => expect(&reply, no),
        }
    }

    fn pop_many(&mut self, h: Pick, how: How, most: usize) -> Done {
        let Some(it) = self.free(h, Side::Out) else { return Ok(()) };
        let (how, expected) = if most == 0 {
            (how, self.model.take(Side::Out, it.me, &self.dead)) // and that is all
        } else {
            self.unstuck(how, |model, how, dead| model.pops(how, it.me, dead))
        };
        let reply = self.crew.tell(it.w, &format!("pop-many {} {} {most}", it.at, how.word()))?;
        let one_by_one = self.model.spec.messages || self.model.overwrites();
        if expected == Err("PEERDEAD") && how != How::Try && !one_by_one {
            self.model.counts_a_wait();
        }
        match expected {
            Ok(()) => expect(&reply, spaced(&self.model.pop(most)).trim_start()),
            Err(no) => expect(&reply, no),
        }
    }

    fn pop_into(&mut self, h: Pick, how: How, room: usize) -> Done {
        let Some(it) = self.free(h, Side::Out) else { return Ok(()) };
        if !self.model.spec.messages {
            return Ok(());
        }
        let (how, expected) = self.unstuck(how, |model, how, dead| model.pops(how, it.me, dead));
        let reply = self.crew.tell(it.w, &format!("pop-into {} {} {room}", it.at, how.word()))?;
        match (expected, self.model.first()) {
            (Err(no), _) => expect(&reply, no),
            (Ok(()), Some(number)) if length(number) > room => expect(&reply, "TOOBIG"),
            (Ok(()), _) => expect(&reply, spaced(&self.model.pop(1)).trim_start()),
        }
    }

    fn claim(&mut self, h: Pick, how: How, most: usize) -> Done {
        let Some(it) = self.free(h, Side::Out) else { return Ok(()) };
        let most = if self.model.spec.messages { 1 } else { most };
        let (how, expected) = if most == 0 || self.model.overwrites() {
            (how, Err("INVAL"))
        } else {
            self.unstuck(how, |model, how, dead| model.pops(how, it.me, dead))
        };
        let reply = self.crew.tell(it.w, &format!("claim {} {} {most}", it.at, how.word()))?;
        if let Err(no) = expected {
            return expect(&reply, no);
        }
        let numbers = self.model.claim(most);
        self.holds(it, Side::Out, Some(numbers.len()));
        let (times, found) = reply.split_once(' ').unwrap_or((&reply, ""));
        let allowed = self.model.deliveries();
        match times.parse() {
            Ok(times) if allowed.contains(&times) => self.model.were_told(times),
            _ => return Err(format!("a number of {allowed:?} was expected")),
        }
        expect(found, spaced(&numbers).trim_start())
    }

    fn release(&mut self, h: Pick) -> Done {
        let Some((it, count)) = self.holding(h, Side::Out) else { return Ok(()) };
        self.holds(it, Side::Out, None);
        self.model.release(count);
        let reply = self.crew.tell(it.w, &format!("release {}", it.at))?;
        expect(&reply, "ok")
    }

    /// Of a message, so many bytes; more than there are when all numbers or more are asked for.
    fn release_first(&mut self, h: Pick, first: usize) -> Done {
        let Some((it, count)) = self.holding(h, Side::Out) else { return Ok(()) };
        self.holds(it, Side::Out, None);
        let number = self.model.first().expect("what is claimed");
        let bytes = length(number);
        let (asked, expected) = match (self.model.spec.messages, first) {
            (false, _) if first <= count => (first, Ok(first)),
            (false, _) => (first, Err("TOOBIG")),
            (true, 0) => (0, Ok(0)),
            (true, 1) => (bytes, Ok(1)),
            (true, 2) => (bytes + 1, Err("TOOBIG")),
            (true, _) => (first, Err("INVAL")),
        };
        match expected {
            Ok(count) => self.model.release(count),
            Err(_) => self.model.give_back(),
        }
        let reply = self.crew.tell(it.w, &format!("release-first {} {asked}", it.at))?;
        expect(&reply, expected.err().unwrap_or("ok"))
    }

    fn give_back(&mut self, h: Pick) -> Done {
        let Some((it, _)) = self.holding(h, Side::Out) else { return Ok(()) };
        self.holds(it, Side::Out, None);
        self.model.give_back();
        let reply = self.crew.tell(it.w, &format!("give-back {}", it.at))?;
        expect(&reply, "ok")
    }

    // ---- the whole ring ----

    fn close(&mut self, w: Pick) -> Done {
        self.model.closed = true;
        let reply = self.crew.tell(w as usize % WORKERS, "close")?;
        expect(&reply, "ok")
    }

    fn look(&mut self, w: Pick) -> Done {
        let reply = self.crew.tell(w as usize % WORKERS, "look")?;
        expect(&reply, &self.model.looks())
    }

    /// Nothing comes of it: roles are taken by whoever comes.
    fn sweep(&mut self) -> Done {
        self.crew.note("the segment is swept".into());
        mpshm::recover(&self.segment).map_err(|error| error.to_string())
    }

    // ---- life and death ----

    fn end(&mut self, w: usize, end: End) -> Done {
        let life = self.crew.life(w);
        match end {
            End::Kill => self.crew.kill(w),
            End::Retire => {
                for side in [Side::In, Side::Out] {
                    while !self.hands[w].of(side).is_empty() {
                        self.dropped(self.which(w, 0, side), side);
                    }
                }
                self.crew.retire(w)?;
            }
        }
        self.hands[w] = Hands::default();
        self.dead.insert(life);
        if self.model.spec.follows {
            std::thread::sleep(SETTLED);
        }
        Ok(())
    }

    fn kill_holder(&mut self, side: Side) -> Done {
        let holder = self.model.holder(side);
        let is_its = |w: &usize| holder.is_some_and(|(life, _)| life == self.crew.life(*w));
        match (0..WORKERS).find(is_its) {
            Some(w) => self.end(w, End::Kill),
            None => Ok(()),
        }
    }

    /// Everybody is killed; then the ring holds what it should, and works.
    fn last_look(&mut self) -> Done {
        for w in 0..WORKERS {
            self.dead.insert(self.crew.life(w));
        }
        self.crew.kill_all();
        self.sweep()?;
        let ring = Ring::<C::Of>::open(self.segment.at(NAME)).map_err(|error| error.to_string())?;
        let mut consumer = ring.consumer();
        self.model.take(Side::Out, (0, 0), &self.dead).expect("everybody is dead");
        let found: Vec<String> = std::iter::from_fn(|| C::pop(&mut consumer, "try").ok()).collect();
        let rest = self.model.rest();
        if found.join(" ") != spaced(&rest).trim_start() {
            return Err(format!("{rest:?} should be left in the ring, and {found:?} is"));
        }
        if self.model.closed {
            return expect(&C::pop(&mut consumer, "ever").unwrap_or_else(|no| no), "CLOSED");
        }
        // Eight bytes, which any ring takes.
        expect(&C::push(&mut ring.producer(), "ever", 61).unwrap_or_else(|no| no), "ok")?;
        expect(&C::pop(&mut consumer, "ever").unwrap_or_else(|no| no), "61")
    }
}
