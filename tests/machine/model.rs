//! What a queue must answer, when calls come one after another.
//!
//! Only one thing is left open by what the queue promises: which of several items comes, when some were
//! given back. There the answer is taken as it is, if it is one of them. What the dead held stays with them until a call
//! repairs: one that finds nothing, `join`, and whoever asks for it; the machine waits for so long after a death that
//! every call that may look looks.

use super::spec::{LEASES, SMALL, Spec, TIGHT, length};
use mpshm::WhenFull;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Participants of the segment: more than there are lives in a case, so that no dead one's place is taken.
pub const PARTICIPANTS: u32 = 64;

/// How a call waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Try,
    /// For a millisecond.
    Timed,
    Ever,
}

impl How {
    pub fn word(self) -> &'static str {
        match self {
            Self::Try => "try",
            Self::Timed => "timed",
            Self::Ever => "ever",
        }
    }
}

/// Why a call does nothing: the names of [`mpshm::ErrorKind`].
pub type No = &'static str;

pub type Life = u32;

/// A call that waits for ever would do so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuck;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    pub number: u64,
    /// How often it will have been delivered with the next time.
    pub deliveries: u32,
    /// The size of its block.
    size: usize,
}

/// A block that is reserved.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub room: usize,
    size: usize,
}

#[derive(Clone)]
pub struct Model {
    pub spec: Spec,
    /// The oldest first.
    ring: VecDeque<Item>,
    returned: Vec<Item>,
    leased: Vec<(Life, Item)>,
    reserved: Vec<(Life, usize)>,
    /// Free blocks of each size.
    free: Vec<u64>,
    pub closed: bool,
    /// Who may have left marks here and was not repaired after.
    entered: BTreeSet<Life>,
    /// Producers' ends: of each process, and how many ever came.
    ends: BTreeMap<Life, u32>,
    came: u32,
    taken: u64,
    pushed: u64,
    overwritten: u64,
    redelivered: u64,
    dropped: u64,
    waits: u64,
    repairs: u64,
}

impl Model {
    pub fn new(spec: Spec) -> Self {
        let spare = u64::from(PARTICIPANTS * LEASES);
        Self {
            spec,
            ring: VecDeque::new(),
            returned: Vec::new(),
            leased: Vec::new(),
            reserved: Vec::new(),
            free: if spec.tight { vec![TIGHT; 2] } else { vec![spec.capacity + spare] },
            closed: false,
            entered: BTreeSet::new(),
            ends: BTreeMap::new(),
            came: 0,
            taken: 0,
            pushed: 0,
            overwritten: 0,
            redelivered: 0,
            dropped: 0,
            waits: 0,
            repairs: 0,
        }
    }

    fn in_slots(&self) -> bool {
        self.spec.in_slots()
    }

    fn enter(&mut self, life: Life) {
        self.entered.insert(life);
    }

    fn full(&self) -> bool {
        self.ring.len() as u64 == self.spec.capacity
    }

    // ---- death ----

    /// Whether somebody died whom nobody has repaired after.
    pub fn has_dead(&self, dead: &BTreeSet<Life>) -> bool {
        self.entered.iter().any(|life| dead.contains(life))
    }

    /// Looks for the dead, and says whether there were any.
    pub fn look(&mut self, life: Life, dead: &BTreeSet<Life>) -> bool {
        if self.in_slots() && self.spec.producers == 0 {
            return false; // nothing is ever held
        }
        self.enter(life);
        let over: Vec<Life> = self.entered.intersection(dead).copied().collect();
        over.iter().for_each(|&life| self.repair(life));
        !over.is_empty()
    }

    fn repair(&mut self, over: Life) {
        self.entered.remove(&over);
        self.ends.remove(&over);
        self.repairs += 1;
        for size in take_of(&mut self.reserved, over) {
            self.free[size] += 1;
        }
        for item in take_of(&mut self.leased, over) {
            if self.spec.drops() {
                self.free[item.size] += 1;
                self.dropped += 1;
            } else {
                self.give_back(item);
            }
        }
    }

    fn give_back(&mut self, item: Item) {
        self.redelivered += 1;
        self.returned.push(item);
    }

    // ---- producers' ends ----

    pub fn comes(&mut self, life: Life) {
        if self.spec.producers > 0 {
            self.enter(life);
            *self.ends.entry(life).or_default() += 1;
            self.came += 1;
        }
    }

    pub fn leaves(&mut self, life: Life) {
        if self.spec.producers == 0 {
            return;
        }
        *self.ends.get_mut(&life).expect("an end that came") -= 1;
        self.closed |= self.stream_is_over();
    }

    fn stream_is_over(&self) -> bool {
        let here: u32 = self.ends.values().sum();
        self.spec.producers > 0 && self.came >= self.spec.producers && here == 0
    }

    // ---- pushing ----

    /// The size of the block that something so long gets.
    fn block(&self, length: usize) -> Result<usize, No> {
        let first = if self.spec.tight && length > SMALL { 1 } else { 0 };
        (first..self.free.len()).find(|&size| self.free[size] > 0).ok_or("FULL")
    }

    fn try_reserve(&mut self, life: Life, length: usize) -> Result<usize, No> {
        if length > self.spec.message_max {
            return Err("TOOBIG");
        }
        if self.in_slots() {
            return Ok(0);
        }
        self.enter(life);
        if self.closed {
            return Err("CLOSED");
        }
        if self.full() && self.spec.full != WhenFull::Overwrite {
            return Err("FULL");
        }
        let size = self.block(length)?;
        self.free[size] -= 1;
        Ok(size)
    }

    /// With a block of `size`, which is free again when this fails and `keeps` is not.
    fn try_commit(&mut self, number: u64, size: usize) -> Result<(), No> {
        if self.closed {
            return Err("CLOSED");
        }
        if self.full() {
            if self.spec.full != WhenFull::Overwrite {
                return Err("FULL");
            }
            let oldest = self.ring.pop_front().expect("it is full");
            self.free[oldest.size] += u64::from(!self.in_slots());
            (self.taken, self.overwritten) = (self.taken + 1, self.overwritten + 1);
        }
        self.ring.push_back(Item { number, deliveries: 1, size });
        self.pushed += 1;
        Ok(())
    }

    fn try_push(&mut self, life: Life, number: u64) -> Result<(), No> {
        let length = if self.spec.of == super::spec::Type::Messages { length(number) } else { 8 };
        let size = self.try_reserve(life, length)?;
        let pushed = self.try_commit(number, size);
        if pushed.is_err() && !self.in_slots() {
            self.free[size] += 1;
        }
        pushed
    }

    /// What a push of some kind comes to.
    fn pushes<T>(
        &mut self,
        how: How,
        life: Life,
        dead: &BTreeSet<Life>,
        mut attempt: impl FnMut(&mut Self) -> Result<T, No>,
    ) -> Result<Result<T, No>, Stuck> {
        let refused = match attempt(self) {
            Err(no @ ("FULL" | "CLOSED")) => no,
            other => return Ok(other),
        };
        if how == How::Try {
            let looks = !self.in_slots() || self.spec.producers > 0;
            let again = looks && self.look(life, dead);
            return Ok(if again { attempt(self) } else { Err(refused) });
        }
        if refused == "CLOSED" || self.spec.full == WhenFull::Fail {
            return Ok(Err(refused));
        }
        self.waits += 1;
        let again = if self.look(life, dead) { attempt(self) } else { Err("FULL") };
        match again {
            Err("FULL") if how == How::Ever => Err(Stuck),
            Err("FULL") => Ok(Err("TIMEDOUT")),
            other => Ok(other),
        }
    }

    pub fn push(
        &mut self,
        how: How,
        life: Life,
        dead: &BTreeSet<Life>,
        number: u64,
    ) -> Result<Result<(), No>, Stuck> {
        self.pushes(how, life, dead, |model| model.try_push(life, number))
    }

    fn try_push_many(&mut self, life: Life, numbers: &[u64]) -> Result<usize, No> {
        let mut done = 0;
        for &number in numbers {
            match self.try_push(life, number) {
                Ok(()) => done += 1,
                Err(no) if done == 0 => return Err(no),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// How many were pushed, and why no more.
    pub fn push_many(
        &mut self,
        how: How,
        life: Life,
        dead: &BTreeSet<Life>,
        numbers: &[u64],
    ) -> Result<(usize, Option<No>), Stuck> {
        let mut pushed = 0;
        while pushed < numbers.len() {
            let rest = &numbers[pushed..];
            match self.pushes(how, life, dead, |model| model.try_push_many(life, rest))? {
                Ok(more) => pushed += more,
                Err(no) => return Ok((pushed, Some(no))),
            }
            if how == How::Try {
                break;
            }
        }
        Ok((pushed, None))
    }

    pub fn reserve(
        &mut self,
        how: How,
        life: Life,
        dead: &BTreeSet<Life>,
        room: usize,
    ) -> Result<Result<Place, No>, Stuck> {
        if self.in_slots() {
            return Ok(Err("INVAL"));
        }
        let size = self.pushes(how, life, dead, |model| model.try_reserve(life, room))?;
        Ok(size.map(|size| {
            self.reserved.push((life, size));
            Place { room, size }
        }))
    }

    pub fn commit(
        &mut self,
        how: How,
        life: Life,
        dead: &BTreeSet<Life>,
        place: Place,
        (number, length): (u64, usize),
    ) -> Result<Result<(), No>, Stuck> {
        if length > place.room {
            return Ok(Err("TOOBIG"));
        }
        let committed = match how {
            How::Try => self.try_commit(number, place.size),
            _ => self.pushes(how, life, dead, |model| model.try_commit(number, place.size))?,
        };
        if committed.is_ok() {
            remove_one(&mut self.reserved, |&it| it == (life, place.size));
        }
        Ok(committed)
    }

    pub fn abort(&mut self, life: Life, place: Place) {
        remove_one(&mut self.reserved, |&it| it == (life, place.size));
        self.free[place.size] += 1;
    }

    // ---- popping ----

    /// Why there is nothing to pop, if so.
    fn nothing(&self) -> Result<(), No> {
        match (self.ring.is_empty() && self.returned.is_empty(), self.closed) {
            (false, _) => Ok(()),
            (true, true) => Err("CLOSED"),
            (true, false) => Err("EMPTY"),
        }
    }

    /// Whether a pop gets something, after all repairs that it does.
    pub fn pops(
        &mut self,
        how: How,
        life: Life,
        dead: &BTreeSet<Life>,
    ) -> Result<Result<(), No>, Stuck> {
        if !self.in_slots() {
            self.enter(life);
        }
        let Err(refused) = self.nothing() else { return Ok(Ok(())) };
        if how != How::Try && refused == "EMPTY" {
            self.waits += 1;
        }
        let looks = match how {
            How::Try => !self.in_slots() || self.spec.producers > 0,
            _ => refused == "EMPTY" || !self.in_slots(),
        };
        if looks {
            self.look(life, dead);
        }
        let answer = match self.nothing() {
            Err("EMPTY") if self.stream_is_over() => Err("PEERDEAD"),
            other => other,
        };
        match (answer, how) {
            (Err("EMPTY"), How::Ever) => Err(Stuck),
            (Err("EMPTY"), How::Timed) => Ok(Err("TIMEDOUT")),
            (other, _) => Ok(other),
        }
    }

    /// The item that a pop got, if it may have got it.
    pub fn take(&mut self, number: u64) -> Option<Item> {
        if self.ring.front().is_some_and(|item| item.number == number) {
            self.taken += 1;
            return self.ring.pop_front();
        }
        let at = self.returned.iter().position(|item| item.number == number)?;
        Some(self.returned.swap_remove(at))
    }

    /// The items of which one must come now.
    pub fn candidates(&self) -> Vec<u64> {
        self.ring.front().into_iter().chain(&self.returned).map(|item| item.number).collect()
    }

    /// How many items one pop of up to `most` gets.
    pub fn candidates_of(&self, most: usize) -> usize {
        most.min(self.ring.len() + self.returned.len())
    }

    /// What was taken is consumed at once.
    pub fn consumed(&mut self, item: Item) {
        self.free[item.size] += u64::from(!self.in_slots());
    }

    /// What was taken stays the process's.
    pub fn keeps(&mut self, life: Life, item: Item) {
        self.leased.push((life, Item { deliveries: item.deliveries + 1, ..item }));
    }

    fn lets_go(&mut self, life: Life, number: u64) -> Item {
        let mine = |it: &(Life, Item)| it.0 == life && it.1.number == number;
        remove_one(&mut self.leased, mine).1
    }

    pub fn release(&mut self, life: Life, number: u64) {
        let item = self.lets_go(life, number);
        self.free[item.size] += 1;
    }

    pub fn gives_back(&mut self, life: Life, number: u64) {
        let item = self.lets_go(life, number);
        self.give_back(item);
    }

    pub fn join(
        &mut self,
        how: How,
        life: Life,
        dead: &BTreeSet<Life>,
    ) -> Result<Result<(), No>, Stuck> {
        if !self.spec.joinable {
            return Ok(Err("INVAL"));
        }
        let finished = |model: &Self| {
            model.ring.is_empty() && model.returned.is_empty() && model.leased.is_empty()
        };
        if !finished(self) {
            self.look(life, dead);
        }
        match (finished(self), how) {
            (true, _) => Ok(Ok(())),
            (false, How::Ever) => Err(Stuck),
            (false, _) => Ok(Err("TIMEDOUT")),
        }
    }

    // ---- looks ----

    /// Length, flags, counters, and what blocks there are, as the worker tells them.
    pub fn looks(&self) -> String {
        let length = self.ring.len() + self.returned.len();
        let (empty, full) = (length == 0, length as u64 >= self.spec.capacity);
        let mut words = format!(
            "{length} {empty} {full} {} {}; {} {} {} {} {} {} {}",
            self.closed,
            self.spec.capacity,
            self.pushed,
            self.taken - self.overwritten,
            self.overwritten,
            self.redelivered,
            self.dropped,
            self.waits,
            self.repairs
        );
        if !self.in_slots() {
            words += &format!(
                "; {} {} {} {} {}",
                self.free.iter().sum::<u64>(),
                self.reserved.len(),
                self.ring.len(),
                self.leased.len(),
                self.returned.len()
            );
        }
        words
    }

    /// What is left for the end: the ring's items in their order, and those given back, in any.
    pub fn rest(&self) -> (Vec<u64>, Vec<u64>) {
        let numbers = |item: &Item| item.number;
        (self.ring.iter().map(numbers).collect(), self.returned.iter().map(numbers).collect())
    }
}

fn take_of<T: Copy>(held: &mut Vec<(Life, T)>, life: Life) -> Vec<T> {
    let taken = held.iter().filter(|it| it.0 == life).map(|it| it.1).collect();
    held.retain(|it| it.0 != life);
    taken
}

fn remove_one<T>(all: &mut Vec<T>, which: impl Fn(&T) -> bool) -> T {
    let at = all.iter().position(which).expect("what is held");
    all.remove(at)
}
