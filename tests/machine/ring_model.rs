//! What a ring must answer, when calls come one after another.
//!
//! A role belongs to the handle that was used first, until it is dropped or its process is dead. Calls that look at
//! nothing but their own end's memory may pass over a close: of such a call both answers are allowed, and that is told
//! where it is so ([`Model::empty`], [`Model::reserve`]). All else is exact, but for how often items were handed
//! out that come together after some of them came with others: there is a least and a greatest number.

use super::model::{How, Life, No, Stuck};
use super::ring_steps::{RingSpec, Side};
use super::spec::length;
use mpshm::WhenFull;
use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;

/// A handle: its process, and a number that no other has.
pub type Holder = (Life, u64);

#[derive(Clone, Copy, Debug)]
struct Item {
    number: u64,
    /// How often it was handed out in place.
    handed: u32,
}

#[derive(Clone)]
pub struct Model {
    pub spec: RingSpec,
    /// The oldest first.
    items: VecDeque<Item>,
    pub closed: bool,
    writer: Option<Holder>,
    reader: Option<Holder>,
    /// Items at the front that the reader has in its hands, and how often they were handed out with that.
    held: usize,
    times: u32,
    /// How often what was handed out last and not consumed was handed out, or more.
    most_times: u32,
    pushed: u64,
    popped: u64,
    overwritten: u64,
    redelivered: u64,
    dropped: u64,
    waits: u64,
    repairs: u64,
}

impl Model {
    pub fn new(spec: RingSpec) -> Self {
        Self {
            spec,
            items: VecDeque::new(),
            closed: false,
            writer: None,
            reader: None,
            held: 0,
            times: 0,
            most_times: 0,
            pushed: 0,
            popped: 0,
            overwritten: 0,
            redelivered: 0,
            dropped: 0,
            waits: 0,
            repairs: 0,
        }
    }

    pub fn overwrites(&self) -> bool {
        self.spec.full == WhenFull::Overwrite
    }

    /// What something takes of the capacity: a number 1; a message its bytes and those of its length.
    fn record(&self, length: usize) -> u64 {
        if self.spec.messages { 8 + length.next_multiple_of(8) as u64 } else { 1 }
    }

    fn takes(&self, number: u64) -> u64 {
        self.record(length(number))
    }

    fn sum(&self, numbers: &[u64]) -> u64 {
        numbers.iter().map(|&number| self.takes(number)).sum()
    }

    fn limit(&self) -> u64 {
        if self.spec.messages {
            self.record(self.spec.capacity as usize)
        } else {
            self.spec.capacity
        }
    }

    /// What is written at once takes this at most.
    fn longest(&self) -> u64 {
        if self.overwrites() && !self.spec.messages { 1 } else { self.limit() }
    }

    fn used(&self) -> u64 {
        self.items.iter().map(|item| self.takes(item.number)).sum()
    }

    // ---- roles ----

    pub fn holder(&self, side: Side) -> Option<Holder> {
        if side == Side::In { self.writer } else { self.reader }
    }

    fn other_is_dead(&self, side: Side, dead: &BTreeSet<Life>) -> bool {
        let other = if side == Side::In { self.reader } else { self.writer };
        self.spec.follows && other.is_some_and(|(life, _)| dead.contains(&life))
    }

    /// Whether a call through this handle is refused for somebody else's sake.
    pub fn is_taken(&self, side: Side, me: Holder, dead: &BTreeSet<Life>) -> bool {
        self.holder(side).is_some_and(|it| it != me && !dead.contains(&it.0))
    }

    /// The handle is used.
    pub fn take(&mut self, side: Side, me: Holder, dead: &BTreeSet<Life>) -> Result<(), No> {
        if self.is_taken(side, me, dead) {
            return Err("BUSY");
        }
        let before = self.holder(side);
        if before == Some(me) {
            return Ok(());
        }
        self.repairs += u64::from(before.is_some());
        if side == Side::In {
            self.writer = Some(me);
            return Ok(());
        }
        self.reader = Some(me);
        let held = std::mem::take(&mut self.held);
        if self.spec.drops && held > 0 {
            self.consume(held);
            self.dropped += if self.spec.messages { 1 } else { held as u64 };
        }
        Ok(())
    }

    /// A handle is dropped, with nothing in its hands.
    pub fn leave(&mut self, side: Side, me: Holder) {
        if self.holder(side) == Some(me) {
            self.closed |= self.spec.follows;
            *(if side == Side::In { &mut self.writer } else { &mut self.reader }) = None;
        }
    }

    // ---- pushing ----

    /// Whether there is room, or can be made.
    fn room(&self, bytes: u64, dead: &BTreeSet<Life>) -> Result<(), No> {
        if bytes > self.longest() {
            return Err("TOOBIG");
        }
        if self.closed {
            return Err("CLOSED");
        }
        if self.overwrites() || self.used() + bytes <= self.limit() {
            return Ok(());
        }
        Err(if self.other_is_dead(Side::In, dead) { "PEERDEAD" } else { "FULL" })
    }

    fn append(&mut self, numbers: &[u64]) {
        self.items.extend(numbers.iter().map(|&number| Item { number, handed: 0 }));
        self.pushed += self.sum(numbers);
        while self.used() > self.limit() {
            let item = self.items.pop_front().expect("too much is in use");
            self.overwritten += 1;
            self.popped += if self.spec.messages { self.takes(item.number) } else { 0 };
        }
    }

    /// Whether there is room, waited for as the call says.
    fn waits_for_room(
        &mut self,
        how: How,
        bytes: u64,
        dead: &BTreeSet<Life>,
    ) -> Result<Result<(), No>, Stuck> {
        match (self.room(bytes, dead), how) {
            (Err("FULL"), How::Timed | How::Ever) if self.spec.full == WhenFull::Wait => {
                self.waits += 1;
                if how == How::Ever { Err(Stuck) } else { Ok(Err("TIMEDOUT")) }
            }
            (other, _) => Ok(other),
        }
    }

    /// All of them, or none.
    pub fn push_all(
        &mut self,
        how: How,
        me: Holder,
        dead: &BTreeSet<Life>,
        numbers: &[u64],
    ) -> Result<Result<(), No>, Stuck> {
        if let Err(no) = self.take(Side::In, me, dead) {
            return Ok(Err(no));
        }
        let room = self.waits_for_room(how, self.sum(numbers), dead)?;
        if room.is_ok() {
            self.append(numbers);
        }
        Ok(room)
    }

    /// Nothing is pushed at once: the answers of which one comes.
    pub fn empty(&mut self, me: Holder, dead: &BTreeSet<Life>) -> Vec<No> {
        match self.take(Side::In, me, dead) {
            Err(no) => vec![no],
            Ok(()) if self.closed => vec!["ok", "CLOSED"],
            Ok(()) => vec!["ok"],
        }
    }

    /// How many were pushed, and why no more.
    pub fn push_many(
        &mut self,
        how: How,
        me: Holder,
        dead: &BTreeSet<Life>,
        numbers: &[u64],
    ) -> Result<(usize, Option<No>), Stuck> {
        if let Err(no) = self.take(Side::In, me, dead) {
            return Ok((0, Some(no)));
        }
        let mut pushed = 0;
        while pushed < numbers.len() {
            let first = self.takes(numbers[pushed]);
            if let Err(no) = self.waits_for_room(how, first, dead)? {
                return Ok((pushed, Some(no)));
            }
            while pushed < numbers.len() && self.room(self.takes(numbers[pushed]), dead).is_ok() {
                self.append(&numbers[pushed..=pushed]);
                pushed += 1;
            }
            if how == How::Try {
                break;
            }
        }
        Ok((pushed, None))
    }

    /// Room for so many numbers, or bytes of a message. In a closed ring the room that is known of may be had, to
    /// no avail: nothing is said then.
    pub fn reserve(
        &mut self,
        how: How,
        me: Holder,
        dead: &BTreeSet<Life>,
        room: usize,
    ) -> Result<Option<Result<(), No>>, Stuck> {
        if let Err(no) = self.take(Side::In, me, dead) {
            return Ok(Some(Err(no)));
        }
        let bytes = if self.spec.messages { self.record(room) } else { room as u64 };
        if self.closed && bytes <= self.longest() {
            return Ok(None);
        }
        if bytes == 0 {
            return Ok(Some(Ok(())));
        }
        self.waits_for_room(how, bytes, dead).map(Some)
    }

    /// There is room for them.
    pub fn commit(&mut self, numbers: &[u64]) -> Result<(), No> {
        if self.closed {
            return Err("CLOSED");
        }
        self.append(numbers);
        Ok(())
    }

    // ---- popping ----

    fn consume(&mut self, count: usize) {
        for item in self.items.drain(..count).collect::<Vec<_>>() {
            self.popped += self.takes(item.number);
        }
        if self.marked() == 0 {
            self.most_times = 0;
        }
    }

    /// Items at the front that were handed out before.
    fn marked(&self) -> usize {
        self.items.iter().take_while(|item| item.handed > 0).count()
    }

    fn nothing(&self, dead: &BTreeSet<Life>) -> Result<(), No> {
        match (self.items.is_empty(), self.closed) {
            (false, _) => Ok(()),
            (true, true) => Err("CLOSED"),
            (true, false) if self.other_is_dead(Side::Out, dead) => Err("PEERDEAD"),
            (true, false) => Err("EMPTY"),
        }
    }

    /// Whether there is something to pop.
    pub fn pops(
        &mut self,
        how: How,
        me: Holder,
        dead: &BTreeSet<Life>,
    ) -> Result<Result<(), No>, Stuck> {
        if let Err(no) = self.take(Side::Out, me, dead) {
            return Ok(Err(no));
        }
        match (self.nothing(dead), how) {
            (Err("EMPTY"), How::Timed | How::Ever) => {
                self.waits += 1;
                if how == How::Ever { Err(Stuck) } else { Ok(Err("TIMEDOUT")) }
            }
            (other, _) => Ok(other),
        }
    }

    /// A call for several learns of a death only where it would go to sleep, and counts as one that does.
    pub fn counts_a_wait(&mut self) {
        self.waits += 1;
    }

    pub fn first(&self) -> Option<u64> {
        self.items.front().map(|item| item.number)
    }

    /// Pops up to so many.
    pub fn pop(&mut self, most: usize) -> Vec<u64> {
        let numbers: Vec<u64> = self.items.iter().take(most).map(|item| item.number).collect();
        self.consume(numbers.len());
        numbers
    }

    /// Hands out up to so many; what comes again comes without others.
    pub fn claim(&mut self, most: usize) -> Vec<u64> {
        let marked = self.marked();
        let count = most.min(if marked > 0 { marked } else { self.items.len() });
        self.held = count;
        self.items.iter().take(count).map(|item| item.number).collect()
    }

    /// The count of hand-outs that what was just claimed may be told with.
    pub fn deliveries(&self) -> RangeInclusive<u32> {
        let most = self.items.iter().take(self.held).map(|item| item.handed).max().unwrap_or(0);
        if most == 0 { 1..=1 } else { most + 1..=self.most_times + 1 }
    }

    /// That is what it was told with.
    pub fn were_told(&mut self, times: u32) {
        let held = self.held;
        self.items.iter_mut().take(held).for_each(|item| item.handed += 1);
        self.times = times;
        self.most_times = self.most_times.max(times);
        if times > 1 {
            self.redelivered += if self.spec.messages { 1 } else { held as u64 };
        }
    }

    /// The first ones of what is claimed are consumed, the others are as if they had not been claimed.
    pub fn release(&mut self, count: usize) {
        let held = std::mem::take(&mut self.held);
        self.items.iter_mut().take(held).skip(count).for_each(|item| item.handed -= 1);
        self.most_times = self.times - 1;
        self.consume(count);
    }

    pub fn give_back(&mut self) {
        self.held = 0;
    }

    // ---- looks ----

    /// Length, flags and counters, as the worker tells them.
    pub fn looks(&self) -> String {
        let (used, least) = (self.used(), if self.spec.messages { 8 } else { 1 });
        format!(
            "{} {} {} {} {}; {} {} {} {} {} {} {}",
            self.items.len(),
            used == 0,
            used + least > self.limit(),
            self.closed,
            self.spec.capacity,
            self.pushed,
            self.popped,
            self.overwritten,
            self.redelivered,
            self.dropped,
            self.waits,
            self.repairs
        )
    }

    pub fn rest(&self) -> Vec<u64> {
        self.items.iter().map(|item| item.number).collect()
    }
}
