//! The forms of a ring behind one face: what each trial does with a ring, whatever its items are.
//!
//! Storage is whole pages. Records of 1 KiB fill it to the last byte, so that a place that is free is a place that the
//! next push writes to: what is read too late is read wrong. Small items show what happens within a word.

use super::forms::{BATCH, NUMBERS, Refused, Tried, Wait, checked, deadline};
use super::lab::{Check, Failure};
use super::ring_model::Kind;
use mpshm::{Item, Pod, RingClaim, RingConsumer, RingOptions, RingProducer, RingReservation};
use std::io::Read;
use std::marker::PhantomData;
use std::sync::OnceLock;

/// Bytes of a page: what storage is a multiple of.
const PAGE: u64 = 4096;
/// So many make a page.
const KIB: usize = 1024;

/// A form of a ring. Numbers stand for items.
pub trait RingForm: 'static {
    const NAME: &'static str;
    /// Whether items are messages, each behind its length.
    const FRAMED: bool;
    /// Bytes that an item takes in the ring.
    const RECORD: u64;
    type Item: ?Sized + Item;
    /// What a reservation, or a claim, is of.
    type Part: Pod;
    type Got;

    /// How many items a ring holds.
    fn capacity(kind: Kind) -> usize;
    fn options(count: usize) -> RingOptions;

    fn push(end: &mut RingProducer<Self::Item>, number: u64, wait: Wait) -> Tried<()>;
    /// How many of the items were pushed.
    fn push_many(
        end: &mut RingProducer<Self::Item>,
        numbers: [u64; BATCH],
        wait: Wait,
    ) -> Tried<usize>;
    fn push_all(end: &mut RingProducer<Self::Item>, numbers: [u64; BATCH], wait: Wait)
    -> Tried<()>;
    /// Room for several items, or for a message; `more` of it than is going to be committed.
    fn reserve(
        end: &mut RingProducer<Self::Item>,
        more: bool,
        wait: Wait,
    ) -> Tried<RingReservation<'_, Self::Part>>;
    /// Writes the items from `number` on into a reservation, `fewer` of them than there is room for, and says how much
    /// is to be committed.
    fn write(
        reservation: &mut RingReservation<'_, Self::Part>,
        number: u64,
        fewer: bool,
    ) -> mpshm::Result<usize>;

    fn pop(end: &mut RingConsumer<Self::Item>, wait: Wait) -> Tried<Self::Got>;
    fn pop_many(
        end: &mut RingConsumer<Self::Item>,
        most: usize,
        wait: Wait,
    ) -> Tried<Vec<Self::Got>>;
    /// Into a buffer. Messages only, as the next.
    fn pop_into(_: &mut RingConsumer<Self::Item>) -> Tried<Self::Got> {
        unreachable!("no messages")
    }
    /// As a stream of bytes, in two reads; waits for a message.
    fn read_bytes(_: &mut RingConsumer<Self::Item>) -> Tried<Self::Got> {
        unreachable!("no messages")
    }
    /// The number of an item, if it is whole.
    fn number(got: &Self::Got) -> Result<u64, Failure>;
    /// As many items as there are, up to `most`; or one message.
    fn claim(
        end: &mut RingConsumer<Self::Item>,
        most: usize,
        wait: Wait,
    ) -> Tried<RingClaim<'_, Self::Part>>;
    /// The numbers of what was claimed.
    fn read(claim: &RingClaim<'_, Self::Part>) -> Result<Vec<u64>, Failure>;

    /// Becomes the producer, and pushes nothing.
    fn take_producer(end: &mut RingProducer<Self::Item>) -> Tried<()>;
    /// Becomes the consumer, and pops nothing.
    fn take_consumer(end: &mut RingConsumer<Self::Item>) -> Tried<()>;

    /// The oldest item, and the how-manieth time it is handed out.
    fn take(end: &mut RingConsumer<Self::Item>, kind: Kind, wait: Wait) -> Tried<(u64, u32)> {
        if kind == Kind::Overwriting {
            return Ok((Self::number(&Self::pop(end, wait)?)?, 1));
        }
        let claim = Self::claim(end, 1, wait)?;
        let taken = (Self::read(&claim)?[0], claim.deliveries());
        claim.release();
        Ok(taken)
    }

    /// How many items must have gone by for the next two to lie at the end of the storage.
    fn seam(kind: Kind) -> u64 {
        let count = Self::capacity(kind) as u64;
        let more = match (kind, Self::FRAMED) {
            (Kind::Overwriting, true) => count,
            (Kind::Overwriting, false) => 1,
            _ => 0,
        };
        ((count + more) * Self::RECORD).next_multiple_of(PAGE) / Self::RECORD - 2
    }
}

/// A plain item that is made of a number.
pub trait Numbered: Pod + PartialEq + std::fmt::Debug {
    const NAME: &'static str;
    fn of(number: u64) -> Self;
    fn number(self) -> u64;
}

impl Numbered for u64 {
    const NAME: &'static str = "numbers";

    fn of(number: u64) -> Self {
        super::forms::Numbered::of(number)
    }

    fn number(self) -> u64 {
        super::forms::Numbered::number(self)
    }
}

type Large = [u64; KIB / 8];

impl Numbered for Large {
    const NAME: &'static str = "large items";

    fn of(number: u64) -> Self {
        static ALL: OnceLock<Vec<Large>> = OnceLock::new();
        let word = |number: u64, index: usize| number ^ (index as u64).rotate_left(number as u32);
        let item = |number| std::array::from_fn(|index| word(number, index));
        ALL.get_or_init(|| (0..NUMBERS).map(item).collect())[number as usize]
    }

    fn number(self) -> u64 {
        self[0]
    }
}

/// Items of one type.
pub struct Items<T>(PhantomData<T>);

/// Numbers of eight bytes.
pub type Numbers = Items<u64>;

/// Items that fill the storage.
pub type LargeItems = Items<Large>;

impl<T: Numbered> Items<T> {
    fn whole(item: T) -> Result<u64, Failure> {
        let number = item.number();
        checked(number, number < NUMBERS && T::of(number) == item, &item)
    }
}

/// What a push of many says when not all fit: how many did, if any.
fn some(call: &str, error: mpshm::PushError<usize>) -> Tried<usize> {
    use mpshm::PushError::{Closed, Full, PeerDead, TimedOut};
    match error {
        Full(some) | TimedOut(some) | Closed(some) | PeerDead(some) if some > 0 => Ok(some),
        error => Err(Refused::push(call, error)),
    }
}

/// The calls that are the same for every ring.
macro_rules! the_same {
    () => {
        fn pop(end: &mut RingConsumer<Self::Item>, wait: Wait) -> Tried<Self::Got> {
            match wait {
                Wait::No => end.try_pop(),
                Wait::For(time) => end.pop_timeout(time),
                Wait::Forever => end.pop(),
            }
            .map_err(|error| Refused::pop("pop", error))
        }

        fn pop_many(
            end: &mut RingConsumer<Self::Item>,
            most: usize,
            wait: Wait,
        ) -> Tried<Vec<Self::Got>> {
            match wait {
                Wait::No => end.try_pop_many(most),
                _ => end.pop_many_timeout(most, deadline(wait)),
            }
            .map_err(|error| Refused::pop("pop_many", error))
        }
    };
}

impl<T: Numbered> RingForm for Items<T> {
    const NAME: &'static str = T::NAME;
    const FRAMED: bool = false;
    const RECORD: u64 = size_of::<T>() as u64;
    type Item = T;
    type Part = T;
    type Got = T;

    fn capacity(kind: Kind) -> usize {
        // With the one in which a ring that overwrites is ahead, large items fill the storage, too.
        if kind == Kind::Overwriting && size_of::<T>() == KIB { 3 } else { 4 }
    }

    fn options(count: usize) -> RingOptions {
        RingOptions::new(count as u64)
    }

    fn push(end: &mut RingProducer<T>, number: u64, wait: Wait) -> Tried<()> {
        let item = T::of(number);
        match wait {
            Wait::No => end.try_push(item),
            Wait::For(time) => end.push_timeout(item, time),
            Wait::Forever => end.push(item),
        }
        .map_err(|error| Refused::push("push", error))
    }

    fn push_many(end: &mut RingProducer<T>, numbers: [u64; BATCH], wait: Wait) -> Tried<usize> {
        let all = numbers.map(T::of);
        match wait {
            Wait::No => {
                end.try_push_many(&all).map_err(|error| Refused::push("try_push_many", error))
            }
            _ => (end.push_many_timeout(&all, deadline(wait)))
                .map(|()| all.len())
                .or_else(|error| some("push_many", error)),
        }
    }

    fn push_all(end: &mut RingProducer<T>, numbers: [u64; BATCH], wait: Wait) -> Tried<()> {
        let all = numbers.map(T::of);
        match wait {
            Wait::No => end.try_push_all(&all),
            _ => end.push_all_timeout(&all, deadline(wait)),
        }
        .map_err(|error| Refused::push("push_all", error))
    }

    fn reserve(
        end: &mut RingProducer<T>,
        _more: bool,
        wait: Wait,
    ) -> Tried<RingReservation<'_, T>> {
        match wait {
            Wait::No => end.try_reserve(BATCH),
            _ => end.reserve_timeout(BATCH, deadline(wait)),
        }
        .map_err(|error| Refused::push("reserve", error))
    }

    fn write(
        reservation: &mut RingReservation<'_, T>,
        number: u64,
        fewer: bool,
    ) -> mpshm::Result<usize> {
        let count = BATCH - usize::from(fewer);
        for index in 0..count {
            reservation.write(index, T::of(number + index as u64))?;
        }
        Ok(count)
    }

    the_same!();

    fn number(got: &T) -> Result<u64, Failure> {
        Self::whole(*got)
    }

    fn claim(end: &mut RingConsumer<T>, most: usize, wait: Wait) -> Tried<RingClaim<'_, T>> {
        match wait {
            Wait::No => end.try_claim(most),
            Wait::For(time) => end.claim_timeout(most, time),
            Wait::Forever => end.claim(most),
        }
        .map_err(|error| Refused::pop("claim", error))
    }

    fn read(claim: &RingClaim<'_, T>) -> Result<Vec<u64>, Failure> {
        claim.to_vec().into_iter().map(Self::whole).collect()
    }

    fn take_producer(end: &mut RingProducer<T>) -> Tried<()> {
        let none = end.try_push_many(&[]).map(|_| ());
        none.map_err(|error| Refused::push("try_push_many", error))
    }

    fn take_consumer(end: &mut RingConsumer<T>) -> Tried<()> {
        let none = end.try_pop_many(0).map(|_| ());
        none.map_err(|error| Refused::pop("try_pop_many", error))
    }
}

/// Messages, each of which takes 1 KiB with its length and what makes that a multiple of eight.
pub struct Messages;

/// In front of each message.
const PREFIX: usize = 8;
const LONGEST: usize = KIB - PREFIX;
/// Fewer bytes than any message has.
const FEW: usize = 16;

impl Messages {
    /// What is pushed for a number: bytes that depend on it, and so does how many there are.
    pub fn message(number: u64) -> &'static [u8] {
        static ALL: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
        let length = |number: u64| LONGEST - number as usize % 8;
        let byte = |number: u64, index: usize| (number as usize * 7 + index * 31) as u8;
        let rest = |number| (8..length(number)).map(move |index| byte(number, index));
        let message = |one: u64| one.to_le_bytes().into_iter().chain(rest(one)).collect();
        &ALL.get_or_init(|| (0..NUMBERS).map(message).collect())[number as usize]
    }

    fn whole(bytes: &[u8]) -> Result<u64, Failure> {
        let first = bytes.get(..8).map(|first| u64::from_le_bytes(first.try_into().unwrap()));
        let number = first.unwrap_or(NUMBERS);
        checked(number, number < NUMBERS && Self::message(number) == bytes, &bytes)
    }
}

impl RingForm for Messages {
    const NAME: &'static str = "messages";
    const FRAMED: bool = true;
    const RECORD: u64 = KIB as u64;
    type Item = [u8];
    type Part = u8;
    type Got = Vec<u8>;

    fn capacity(_: Kind) -> usize {
        4
    }

    /// The last length is not counted.
    fn options(count: usize) -> RingOptions {
        RingOptions::new((count * KIB - PREFIX) as u64)
    }

    fn push(end: &mut RingProducer<[u8]>, number: u64, wait: Wait) -> Tried<()> {
        let bytes = Self::message(number);
        match wait {
            Wait::No => end.try_push(bytes),
            Wait::For(time) => end.push_timeout(bytes, time),
            Wait::Forever => end.push(bytes),
        }
        .map_err(|error| Refused::push("push", error))
    }

    fn push_many(end: &mut RingProducer<[u8]>, numbers: [u64; BATCH], wait: Wait) -> Tried<usize> {
        let all = numbers.map(Self::message);
        match wait {
            Wait::No => {
                end.try_push_many(&all).map_err(|error| Refused::push("try_push_many", error))
            }
            _ => (end.push_many_timeout(&all, deadline(wait)))
                .map(|()| all.len())
                .or_else(|error| some("push_many", error)),
        }
    }

    fn push_all(end: &mut RingProducer<[u8]>, numbers: [u64; BATCH], wait: Wait) -> Tried<()> {
        let all = numbers.map(Self::message);
        match wait {
            Wait::No => end.try_push_all(&all),
            _ => end.push_all_timeout(&all, deadline(wait)),
        }
        .map_err(|error| Refused::push("push_all", error))
    }

    fn reserve(
        end: &mut RingProducer<[u8]>,
        more: bool,
        wait: Wait,
    ) -> Tried<RingReservation<'_, u8>> {
        let length = if more { LONGEST + KIB } else { LONGEST };
        match wait {
            Wait::No => end.try_reserve(length),
            _ => end.reserve_timeout(length, deadline(wait)),
        }
        .map_err(|error| Refused::push("reserve", error))
    }

    fn write(
        reservation: &mut RingReservation<'_, u8>,
        number: u64,
        _fewer: bool,
    ) -> mpshm::Result<usize> {
        let bytes = Self::message(number);
        reservation.write_at(0, bytes).map(|()| bytes.len())
    }

    the_same!();

    fn pop_into(end: &mut RingConsumer<[u8]>) -> Tried<Vec<u8>> {
        let mut buffer = vec![0; LONGEST];
        let count =
            end.try_pop_into(&mut buffer).map_err(|error| Refused::pop("pop_into", error))?;
        buffer.truncate(count);
        Ok(buffer)
    }

    fn read_bytes(end: &mut RingConsumer<[u8]>) -> Tried<Vec<u8>> {
        let mut buffer = vec![0; LONGEST];
        let wrong = |error: std::io::Error| {
            Refused::Wrong(Failure::new(Check::Outcome, format!("read: {error}")))
        };
        let mut count = end.read(&mut buffer[..FEW]).map_err(wrong)?;
        if count == 0 {
            return Err(Refused::Closed);
        }
        if count == FEW {
            count += end.read(&mut buffer[FEW..]).map_err(wrong)?;
        }
        buffer.truncate(count);
        Ok(buffer)
    }

    fn number(got: &Vec<u8>) -> Result<u64, Failure> {
        Self::whole(got)
    }

    fn claim(end: &mut RingConsumer<[u8]>, _: usize, wait: Wait) -> Tried<RingClaim<'_, u8>> {
        match wait {
            Wait::No => end.try_claim(),
            Wait::For(time) => end.claim_timeout(time),
            Wait::Forever => end.claim(),
        }
        .map_err(|error| Refused::pop("claim", error))
    }

    fn read(claim: &RingClaim<'_, u8>) -> Result<Vec<u64>, Failure> {
        Self::whole(&claim.to_vec()).map(|number| vec![number])
    }

    fn take_producer(end: &mut RingProducer<[u8]>) -> Tried<()> {
        let none = end.try_push_many::<[u8; 0]>(&[]).map(|_| ());
        none.map_err(|error| Refused::push("try_push_many", error))
    }

    fn take_consumer(end: &mut RingConsumer<[u8]>) -> Tried<()> {
        let none = end.try_pop_many(0).map(|_| ());
        none.map_err(|error| Refused::pop("try_pop_many", error))
    }
}
