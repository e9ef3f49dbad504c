//! What others see of a ring, and what they make of it: the two ends in one process, behind the death of a third.

use super::forms::{Refused, Tried, Wait, maybe};
use super::lab::{Check, Failure, demand};
use super::queues::DEADLINE;
use super::ring_forms::RingForm;
use super::ring_model::Kind;
use mpshm::{Ring, RingConsumer, RingProducer};
use std::time::Duration;

/// The items that others push to fill a ring: while the child is stopped, and behind its end.
pub const FILL: u64 = 200;
pub const REFILL: u64 = 220;
/// The items of the full cycle at the end.
pub const CYCLE: u64 = 240;
/// A wait that is over at once.
const BLINK: Wait = Wait::For(Duration::from_nanos(1));

/// Why a call that found nothing to do did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Told {
    #[default]
    Nothing,
    Closed,
    PeerDead,
}

/// What others see of a ring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// What was drained, in order, and the how-manieth time each was handed out.
    pub items: Vec<(u64, u32)>,
    /// How many items could be pushed before that.
    pub fills: usize,
    /// How many items there were said to be at first.
    pub len: usize,
    pub closed: bool,
    /// Whether the child's role named somebody: a dead one, or one that lives; none if it was not asked for.
    pub role: Option<bool>,
    /// How many items were dropped when the role was taken over.
    pub dropped: u64,
    /// What was told when no more could be pushed, and popped.
    pub pushing: Told,
    pub popping: Told,
}

impl Seen {
    /// Which of `possible` this is, the first if several; what is wrong with it when it is none: compared with what it is
    /// most like.
    pub fn find_in(&self, possible: &[Self]) -> Result<usize, Failure> {
        if let Some(index) = possible.iter().position(|one| one == self) {
            return Ok(index);
        }
        let faults = possible.iter().map(|one| self.faults(one));
        let (check, why) = (faults.min_by_key(Vec::len))
            .and_then(|faults| faults.into_iter().next())
            .unwrap_or((Check::Outcome, "not so".to_owned()));
        Err(Failure::new(check, format!("{why}: {self:?}, which is none of {possible:?}")))
    }

    fn faults(&self, other: &Self) -> Vec<(Check, String)> {
        let mut faults = Vec::new();
        let mut numbers: Vec<u64> = self.items.iter().map(|one| one.0).collect();
        let place = |number: &u64| other.items.iter().position(|one| one.0 == *number);
        if !numbers.iter().filter_map(place).is_sorted() {
            faults.push((Check::Order, "in another order".to_owned()));
        }
        for (number, _) in other.items.iter().filter(|one| !numbers.contains(&one.0)) {
            faults.push((Check::Lost, format!("{number}")));
        }
        for &(number, times) in &self.items {
            match place(&number).map(|at| other.items[at].1) {
                None => faults.push((Check::Doubled, format!("{number} should not be here"))),
                Some(wanted) if wanted != times => {
                    let why = format!("{number} is handed out for time {times}, not {wanted}");
                    faults.push((Check::Doubled, why));
                }
                Some(_) => {}
            }
        }
        numbers.sort_unstable();
        let twice = numbers.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
        faults.extend(twice.map(|number| (Check::Doubled, format!("{number} came twice"))));
        for (differs, check, what) in [
            (self.fills != other.fills, Check::Audit, "room"),
            (self.len != other.len, Check::Audit, "len"),
            (self.dropped != other.dropped, Check::Audit, "dropped"),
            (self.closed != other.closed, Check::Outcome, "closed"),
            (self.role != other.role, Check::Outcome, "the role"),
            (self.pushing != other.pushing, Check::Outcome, "what a push is told"),
            (self.popping != other.popping, Check::Outcome, "what a pop is told"),
        ] {
            faults.extend(differs.then(|| (check, format!("{what} is not so"))));
        }
        faults
    }
}

/// What came of a call, or what it was told.
fn told<T>(tried: Tried<T>) -> Result<Result<T, Told>, Failure> {
    match tried {
        Ok(done) => Ok(Ok(done)),
        Err(Refused::Nothing) => Ok(Err(Told::Nothing)),
        Err(Refused::Closed) => Ok(Err(Told::Closed)),
        Err(Refused::PeerDead) => Ok(Err(Told::PeerDead)),
        Err(Refused::Busy) => Err(Failure::new(Check::Blocked, "the role is not to be had")),
        Err(Refused::Wrong(failure)) => Err(failure),
    }
}

/// A ring and handles of both its ends.
pub struct Ends<'e, F: RingForm> {
    pub ring: &'e Ring<F::Item>,
    pub producer: &'e mut RingProducer<F::Item>,
    pub consumer: &'e mut RingConsumer<F::Item>,
}

impl<F: RingForm> Ends<'_, F> {
    /// Pushes numbers from `first` on until no more goes in; `most` fit. How many did, and what is told then, by a wait as well.
    pub fn fill_up(&mut self, first: u64, most: usize) -> Result<(usize, Told), Failure> {
        let mut count = 0;
        loop {
            match told(F::push(self.producer, first + count as u64, Wait::No))? {
                Ok(()) => count += 1,
                Err(why) => {
                    let waited = told(F::push(self.producer, first, BLINK))?;
                    demand(waited == Err(why), Check::Outcome, || {
                        format!("{why:?} is told at once, and after a wait {waited:?}")
                    })?;
                    return Ok((count, why));
                }
            }
            demand(count <= most, Check::Audit, || format!("{count} pushed, and {most} fit"))?;
        }
    }

    /// Pops everything there is, by claims where that is possible, and what is told then, by a wait as well. Marks and the
    /// count of them agree.
    pub fn drain(&mut self, kind: Kind) -> Result<(Vec<(u64, u32)>, Told), Failure> {
        let before = self.ring.counters().redelivered;
        let mut items = Vec::new();
        let why = loop {
            match told(F::take(self.consumer, kind, Wait::No))? {
                Ok(item) => items.push(item),
                Err(why) => break why,
            }
            demand(items.len() < 20, Check::Doubled, || format!("endless: {items:?}"))?;
        };
        let waited = told(F::take(self.consumer, kind, BLINK))?;
        demand(waited == Err(why), Check::Outcome, || {
            format!("{why:?} is told at once, and after a wait {waited:?}")
        })?;
        let marked = items.iter().filter(|item| item.1 > 1).count() as u64;
        let counted = self.ring.counters().redelivered - before;
        demand(marked == counted, Check::Audit, || format!("{counted} redelivered: {items:?}"))?;
        let (len, is_empty) = (self.ring.len(), self.ring.is_empty());
        demand(len == 0 && is_empty, Check::Audit, || format!("{len} in a drained ring"))?;
        Ok((items, why))
    }

    /// Takes the role; whether from somebody dead.
    pub fn take_consumer(&mut self) -> Result<bool, Failure> {
        let before = self.ring.counters().repairs;
        let taken = told(F::take_consumer(self.consumer))?;
        demand(taken.is_ok(), Check::Outcome, || format!("to take the role: {taken:?}"))?;
        Ok(self.ring.counters().repairs > before)
    }

    pub fn take_producer(&mut self) -> Result<bool, Failure> {
        let before = self.ring.counters().repairs;
        let taken = told(F::take_producer(self.producer))?;
        demand(taken.is_ok(), Check::Outcome, || format!("to take the role: {taken:?}"))?;
        Ok(self.ring.counters().repairs > before)
    }

    /// The end of every trial: a drained ring works, or is closed.
    pub fn finish(&mut self, kind: Kind) -> Result<(), Failure> {
        if self.ring.is_closed() {
            let pushed = told(F::push(self.producer, CYCLE, Wait::For(DEADLINE)))?;
            let popped = told(F::take(self.consumer, kind, Wait::For(DEADLINE)))?;
            let fine = (pushed, popped) == (Err(Told::Closed), Err(Told::Closed));
            return demand(fine, Check::Cycle, || format!("closed, and {pushed:?}, {popped:?}"));
        }
        let capacity = F::capacity(kind);
        let before = self.ring.counters();
        for step in 0..capacity as u64 {
            let done = F::push(self.producer, CYCLE + step, Wait::For(DEADLINE));
            let fine = done.is_ok();
            demand(fine, Check::Cycle, || format!("push {} of {capacity}: {done:?}", step + 1))?;
        }
        let (len, is_full) = (self.ring.len(), self.ring.is_full());
        demand(len == capacity && is_full, Check::Cycle, || format!("{len} in a full ring"))?;
        let beyond = maybe(F::push(self.producer, CYCLE + capacity as u64, Wait::No))?;
        let replaced = u64::from(kind == Kind::Overwriting);
        let fine = beyond.is_some() == (replaced > 0);
        demand(fine, Check::Cycle, || format!("beyond the capacity: {beyond:?}"))?;
        let (found, why) = self.drain(kind)?;
        let first = CYCLE + replaced;
        let wanted: Vec<_> = (first..first + capacity as u64).map(|number| (number, 1)).collect();
        let fine = found == wanted && why == Told::Nothing;
        demand(fine, Check::Cycle, || format!("drained {found:?}, and then {why:?}"))?;
        let after = self.ring.counters();
        let each = if F::FRAMED { F::RECORD } else { 1 };
        let gone = if F::FRAMED { replaced } else { 0 };
        let counts = [
            (after.pushed - before.pushed) / each,
            (after.popped - before.popped) / each - gone,
            after.overwritten - before.overwritten,
        ];
        let fine = counts == [capacity as u64 + replaced, capacity as u64, replaced];
        demand(fine, Check::Audit, || format!("pushed, popped, overwritten: {counts:?}"))
    }
}
