//! Rings of numbers and of messages: one process pushes at a time, one pops, others look on and close; two more want
//! the roles, which they get when those who have them leave, or die.

use super::call::{Answer, Call, Items, No, Wait};
use super::hold::Hold;
use super::plan::Menu;
use super::run::Subject;
use super::sequential::{RingOf, Rules};
use mpshm::{
    Deadline, Delivery, ErrorKind, Item, Pod, PopError, PushError, Ring, RingClaim, RingConsumer,
    RingOptions, RingProducer, Segment, WhenFull,
};
use std::marker::PhantomData;
use std::time::Duration;

/// How long a call of [`Wait::Short`] waits.
const SHORT: Duration = Duration::from_micros(40);
/// The parent, its workers, and one that is being replaced.
const PARTICIPANTS: u32 = 8;

/// From this process on, whoever wants a role gets it from others.
pub const FIRST_OF_OTHERS: usize = 3;

/// Until when a call waits; nothing when it does not.
fn until(wait: Wait) -> Option<Deadline> {
    match wait {
        Wait::Not => None,
        Wait::Short => Some(SHORT.into()),
        Wait::Ever => Some(Deadline::FOREVER),
    }
}

type Pushed = Result<(), PushError<()>>;
type Popped = Result<Vec<u64>, PopError>;

/// What a ring is of, and the calls whose shape depends on that.
pub trait Form: 'static {
    type Of: ?Sized + Item;
    type Unit: Pod;
    type One;
    const OF: RingOf;

    fn options(capacity: u64) -> RingOptions;
    fn one(number: u64) -> Self::One;
    fn numbers(units: &[Self::Unit]) -> Vec<u64>;
    fn push(end: &mut RingProducer<Self::Of>, wait: Wait, number: u64) -> Pushed;
    fn push_in_place(end: &mut RingProducer<Self::Of>, wait: Wait, number: u64) -> Pushed;
    fn push_many(end: &mut RingProducer<Self::Of>, wait: Wait, items: &[Self::One]) -> Answer;
    fn pop(end: &mut RingConsumer<Self::Of>, wait: Wait) -> Popped;
    fn pop_many(end: &mut RingConsumer<Self::Of>, wait: Wait, most: usize) -> Popped;
    fn claim(
        end: &mut RingConsumer<Self::Of>,
        wait: Wait,
        most: usize,
    ) -> Result<RingClaim<'_, Self::Unit>, PopError>;
    fn release(claim: RingClaim<'_, Self::Unit>, count: usize) -> usize;
}

pub enum Numbers {}
/// Messages of 16 bytes.
pub enum Messages {}

fn bare<V>(error: PushError<V>) -> PushError<()> {
    match error {
        PushError::Full(_) => PushError::Full(()),
        PushError::TimedOut(_) => PushError::TimedOut(()),
        PushError::Closed(_) => PushError::Closed(()),
        PushError::Failed(_, error) => PushError::Failed((), error),
        other => panic!("push: {:?}", other.kind()),
    }
}

fn refused<V>(error: PushError<V>) -> No {
    match error.kind() {
        ErrorKind::Full => No::Full,
        ErrorKind::TimedOut => No::TimedOut,
        ErrorKind::Closed => No::Closed,
        ErrorKind::Busy => No::Busy,
        other => panic!("push: {other:?}"),
    }
}

fn nothing(error: PopError) -> Answer {
    Answer::No(match error.kind() {
        ErrorKind::Empty => No::Empty,
        ErrorKind::TimedOut => No::TimedOut,
        ErrorKind::Closed => No::Closed,
        ErrorKind::Busy => No::Busy,
        _ => panic!("pop: {error}"),
    })
}

/// Of several items that are waited for: none may have been pushed.
fn pushed_some(result: Result<(), PushError<usize>>, count: usize) -> Answer {
    match result {
        Ok(()) => Answer::Pushed(count, None),
        Err(error) if error.kind() == ErrorKind::Busy => Answer::No(No::Busy),
        Err(error) => {
            let why = refused(error.clone());
            Answer::Pushed(error.into_inner(), Some(why))
        }
    }
}

macro_rules! push_many {
    ($end:ident, $wait:ident, $items:ident) => {
        match until($wait) {
            None => $end
                .try_push_many($items)
                .map_or_else(|error| Answer::No(refused(error)), |done| Answer::Pushed(done, None)),
            Some(until) => pushed_some($end.push_many_timeout($items, until), $items.len()),
        }
    };
}

macro_rules! waits {
    ($wait:ident, $end:ident, $try:ident, $timed:ident, ($($argument:expr),*)) => {
        match until($wait) {
            None => $end.$try($($argument),*),
            Some(until) => $end.$timed($($argument,)* until),
        }
    };
}

impl Form for Numbers {
    type Of = u64;
    type Unit = u64;
    type One = u64;
    const OF: RingOf = RingOf::Numbers;

    fn options(capacity: u64) -> RingOptions {
        RingOptions::new(capacity)
    }

    fn one(number: u64) -> u64 {
        number
    }

    fn numbers(units: &[u64]) -> Vec<u64> {
        units.to_vec()
    }

    fn push(end: &mut RingProducer<u64>, wait: Wait, number: u64) -> Pushed {
        waits!(wait, end, try_push, push_timeout, (number)).map_err(bare)
    }

    fn push_in_place(end: &mut RingProducer<u64>, wait: Wait, number: u64) -> Pushed {
        let mut place = waits!(wait, end, try_reserve, reserve_timeout, (1))?;
        place.write(0, number).unwrap();
        place.commit(1).map_err(bare)
    }

    fn push_many(end: &mut RingProducer<u64>, wait: Wait, items: &[u64]) -> Answer {
        push_many!(end, wait, items)
    }

    fn pop(end: &mut RingConsumer<u64>, wait: Wait) -> Popped {
        waits!(wait, end, try_pop, pop_timeout, ()).map(|number| vec![number])
    }

    fn pop_many(end: &mut RingConsumer<u64>, wait: Wait, most: usize) -> Popped {
        waits!(wait, end, try_pop_many, pop_many_timeout, (most))
    }

    fn claim(
        end: &mut RingConsumer<u64>,
        wait: Wait,
        most: usize,
    ) -> Result<RingClaim<'_, u64>, PopError> {
        waits!(wait, end, try_claim, claim_timeout, (most))
    }

    fn release(claim: RingClaim<'_, u64>, count: usize) -> usize {
        let count = count.min(claim.len());
        claim.release_first(count).unwrap();
        count
    }
}

fn message(number: u64) -> [u8; 16] {
    (u128::from(!number) << 64 | u128::from(number)).to_le_bytes()
}

fn of_message(bytes: &[u8]) -> u64 {
    let number = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
    assert_eq!(bytes, message(number), "a torn message");
    number
}

impl Form for Messages {
    type Of = [u8];
    type Unit = u8;
    type One = [u8; 16];
    const OF: RingOf = RingOf::Messages;

    /// The last length is not counted.
    fn options(capacity: u64) -> RingOptions {
        RingOptions::new(capacity * 24 - 8)
    }

    fn one(number: u64) -> [u8; 16] {
        message(number)
    }

    fn numbers(units: &[u8]) -> Vec<u64> {
        vec![of_message(units)]
    }

    fn push(end: &mut RingProducer<[u8]>, wait: Wait, number: u64) -> Pushed {
        waits!(wait, end, try_push, push_timeout, (&message(number)))
    }

    fn push_in_place(end: &mut RingProducer<[u8]>, wait: Wait, number: u64) -> Pushed {
        let mut place = waits!(wait, end, try_reserve, reserve_timeout, (16))?;
        place.write_at(0, &message(number)).unwrap();
        place.commit(16).map_err(bare)
    }

    fn push_many(end: &mut RingProducer<[u8]>, wait: Wait, items: &[[u8; 16]]) -> Answer {
        push_many!(end, wait, items)
    }

    fn pop(end: &mut RingConsumer<[u8]>, wait: Wait) -> Popped {
        waits!(wait, end, try_pop, pop_timeout, ()).map(|bytes| vec![of_message(&bytes)])
    }

    fn pop_many(end: &mut RingConsumer<[u8]>, wait: Wait, most: usize) -> Popped {
        let popped = waits!(wait, end, try_pop_many, pop_many_timeout, (most));
        popped.map(|messages| messages.iter().map(|bytes| of_message(bytes)).collect())
    }

    fn claim(
        end: &mut RingConsumer<[u8]>,
        wait: Wait,
        _most: usize,
    ) -> Result<RingClaim<'_, u8>, PopError> {
        waits!(wait, end, try_claim, claim_timeout, ())
    }

    /// All of it, or nothing.
    fn release(claim: RingClaim<'_, u8>, count: usize) -> usize {
        let bytes = if count == 0 { 0 } else { claim.len() };
        claim.release_first(bytes).unwrap();
        count.min(1)
    }
}

/// A ring that is tested.
pub struct Tested<F: Form>(Ring<F::Of>, Rules);

impl<F: Form> Tested<F> {
    pub fn new(rules: Rules) -> Self {
        let delivery = if rules.drops { Delivery::AtMostOnce } else { Delivery::AtLeastOnce };
        let full = if rules.overwrites { WhenFull::Overwrite } else { WhenFull::Wait };
        let options = F::options(rules.capacity as u64).delivery(delivery).when_full(full);
        let size = Ring::<F::Of>::size_for(&options).unwrap();
        let segment = Segment::options().participants(PARTICIPANTS).anonymous(size).unwrap();
        let ring = Ring::create(segment.at("ring"), &options).unwrap();
        Self(ring, Rules { ring: Some(F::OF), ..rules })
    }
}

/// With what is claimed.
type Consumer<F> = Hold<RingConsumer<<F as Form>::Of>, RingClaim<'static, <F as Form>::Unit>>;

/// A process's handles, and what it has claimed.
pub struct Hand<'a, F: Form> {
    producer: Option<RingProducer<F::Of>>,
    consumer: Option<Consumer<F>>,
    ring: PhantomData<&'a ()>,
}

impl<F: Form> Default for Hand<'_, F> {
    fn default() -> Self {
        Self { producer: None, consumer: None, ring: PhantomData }
    }
}

impl<F: Form> Hand<'_, F> {
    fn producer(&mut self, ring: &Ring<F::Of>) -> &mut RingProducer<F::Of> {
        self.producer.get_or_insert_with(|| ring.producer())
    }

    fn consumer(&mut self, ring: &Ring<F::Of>) -> &mut Consumer<F> {
        self.consumer.get_or_insert_with(|| Hold::new(ring.consumer()))
    }

    /// Ends the claim, if there is one.
    fn end(&mut self, end: impl FnOnce(RingClaim<'static, F::Unit>) -> Answer) -> Answer {
        let claim = self.consumer.as_mut().and_then(|consumer| consumer.held.take());
        claim.map_or(Answer::No(No::Empty), end)
    }
}

impl<F: Form> Subject for Tested<F> {
    type Hand<'a> = Hand<'a, F>;

    fn rules(&self) -> Rules {
        self.1
    }

    fn menu(&self, process: usize) -> Menu {
        let (pushes, pops) = match process {
            0 | FIRST_OF_OTHERS => (true, false),
            1 | 4 => (false, true),
            _ => (false, false),
        };
        let in_place = !self.1.overwrites;
        Menu { pushes, pops, looks: true, waits: true, in_place, closes: true, roles: true }
    }

    fn act<'a>(&'a self, call: Call, hand: &mut Hand<'a, F>) -> Answer {
        let ring = &self.0;
        let pushed = |result: Pushed| {
            result.map_or_else(|error| Answer::No(refused(error)), |()| Answer::Done)
        };
        let popped = |result: Popped| {
            result.map_or_else(nothing, |numbers| Answer::Popped(Items::of(&numbers)))
        };
        match call {
            Call::Push(wait, number) => pushed(F::push(hand.producer(ring), wait, number)),
            Call::PushInPlace(wait, number) => {
                pushed(F::push_in_place(hand.producer(ring), wait, number))
            }
            Call::PushMany(wait, first, count) => {
                let items: Vec<F::One> = (first..first + count as u64).map(F::one).collect();
                F::push_many(hand.producer(ring), wait, &items)
            }
            Call::Pop(wait) => popped(F::pop(hand.consumer(ring).free(), wait)),
            Call::PopMany(wait, most) => {
                popped(F::pop_many(hand.consumer(ring).free(), wait, most))
            }
            Call::ClaimMany(wait, most) => {
                let consumer = hand.consumer(ring);
                match F::claim(consumer.free(), wait, most) {
                    Ok(claim) => {
                        let numbers = Items::of(&F::numbers(&claim.to_vec()));
                        let answer = Answer::Handed(numbers, claim.deliveries());
                        consumer.held = Some(claim);
                        answer
                    }
                    Err(error) => nothing(error),
                }
            }
            Call::Release => hand.end(|claim| {
                claim.release();
                Answer::Done
            }),
            Call::ReleaseFirst(count) => hand.end(|claim| Answer::Count(F::release(claim, count))),
            Call::GiveBack => hand.end(|claim| {
                claim.give_back();
                Answer::Done
            }),
            Call::Leave => {
                *hand = Hand::default();
                Answer::Done
            }
            Call::Len => Answer::Count(ring.len()),
            Call::IsEmpty => Answer::Is(ring.is_empty()),
            Call::IsFull => Answer::Is(ring.is_full()),
            Call::IsClosed => Answer::Is(ring.is_closed()),
            Call::Close => {
                ring.close().unwrap();
                Answer::Done
            }
            Call::Claim(_) | Call::Recover => panic!("{call:?} of a ring"),
        }
    }

    fn check_clear(&self) -> Result<(), String> {
        let mut hand = Hand::<F>::default();
        let (all, room) = (0..self.1.capacity as u64, !self.0.is_closed());
        let empty = (self.0.is_empty(), self.0.len()) == (true, 0);
        for number in all.clone().filter(|_| room) {
            let pushed = F::push(hand.producer(&self.0), Wait::Not, number);
            pushed.map_err(|error| format!("no room for {number}: {error}"))?;
        }
        let full = self.0.is_full() == room;
        let rest = std::iter::from_fn(|| F::pop(hand.consumer(&self.0).free(), Wait::Not).ok());
        let rest: Vec<u64> = rest.flatten().collect();
        let whole = rest.into_iter().eq(all.filter(|_| room));
        if empty && full && whole { Ok(()) } else { Err("the ring is not clear".into()) }
    }
}
