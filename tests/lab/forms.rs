//! The forms of a queue behind one face: what each trial does with a queue, whatever its items are.

use super::lab::{Check, Failure, demand};
use mpshm::{
    Audit, Claim, Deadline, ErrorKind, Pod, PopError, PushError, Queue, QueueOptions, Reservation,
    Segment,
};
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::time::Duration;

/// There are items for all numbers below.
pub const NUMBERS: u64 = 256;

/// How many items a call for many pushes.
pub const BATCH: usize = 3;

/// How long a call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    No,
    For(Duration),
    Forever,
}

/// Why a call did not do what it is for.
#[derive(Debug)]
pub enum Refused {
    /// Full, or empty, or still so at the deadline.
    Nothing,
    Closed,
    PeerDead,
    /// Somebody else has the role.
    Busy,
    Wrong(Failure),
}

pub type Tried<T> = Result<T, Refused>;

impl Refused {
    pub fn push<V>(call: &str, error: PushError<V>) -> Self {
        match error {
            PushError::Full(_) | PushError::TimedOut(_) => Self::Nothing,
            PushError::Closed(_) => Self::Closed,
            PushError::PeerDead(_) => Self::PeerDead,
            PushError::Failed(_, error) if error.kind() == ErrorKind::Busy => Self::Busy,
            other => Self::Wrong(Failure::new(Check::Outcome, format!("{call}: {other}"))),
        }
    }

    pub fn pop(call: &str, error: PopError) -> Self {
        match error {
            PopError::Empty | PopError::TimedOut => Self::Nothing,
            PopError::Closed => Self::Closed,
            PopError::PeerDead => Self::PeerDead,
            PopError::Failed(error) if error.kind() == ErrorKind::Busy => Self::Busy,
            other => Self::Wrong(Failure::new(Check::Outcome, format!("{call}: {other}"))),
        }
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Wrong(failure)
    }
}

/// A success, or nothing for whatever reason but a failure.
pub fn maybe<T>(tried: Tried<T>) -> Result<Option<T>, Failure> {
    match tried {
        Ok(value) => Ok(Some(value)),
        Err(Refused::Wrong(failure)) => Err(failure),
        Err(_) => Ok(None),
    }
}

/// An error of the library that should not be.
pub fn broken(error: &mpshm::Error) -> Failure {
    Failure::new(Check::Outcome, error.to_string())
}

/// A form of a queue. Numbers stand for items.
pub trait Form {
    const NAME: &'static str;
    /// Bytes of the longest item.
    const LONGEST: usize;
    /// Whether items lie in blocks; then what the dead had claimed comes back.
    const IN_BLOCKS: bool;
    type Queue: Clone;
    type Item;

    fn create(segment: &Segment, options: &QueueOptions) -> mpshm::Result<Self::Queue>;
    fn open(segment: &Segment) -> mpshm::Result<Self::Queue>;
    fn size(options: &QueueOptions) -> mpshm::Result<u64>;

    fn push(queue: &Self::Queue, number: u64, wait: Wait) -> Tried<()>;
    /// How many of the items were pushed.
    fn push_many(queue: &Self::Queue, numbers: [u64; BATCH], wait: Wait) -> Tried<u64>;
    fn pop(queue: &Self::Queue, wait: Wait) -> Tried<Self::Item>;
    fn pop_many(queue: &Self::Queue, most: usize, wait: Wait) -> Tried<Vec<Self::Item>>;
    /// The number of an item, if it is whole.
    fn number(item: &Self::Item) -> Result<u64, Failure>;

    fn reserve(queue: &Self::Queue, wait: Wait) -> Tried<Reservation<'_>>;
    fn claim(queue: &Self::Queue, wait: Wait) -> Tried<Claim<'_>>;
    /// Writes the item of `number` into a reservation, and says how many bytes it has.
    fn write(reservation: &mut Reservation<'_>, number: u64) -> mpshm::Result<usize>;
    /// The number of a claimed item.
    fn read(claim: &Claim<'_>) -> Result<u64, Failure>;

    fn task_done(queue: &Self::Queue) -> mpshm::Result<()>;
    fn join(queue: &Self::Queue, wait: Wait) -> mpshm::Result<()>;
    fn close(queue: &Self::Queue) -> mpshm::Result<()>;
    fn is_closed(queue: &Self::Queue) -> mpshm::Result<bool>;
    fn len(queue: &Self::Queue) -> usize;
    fn recover(queue: &Self::Queue) -> mpshm::Result<()>;
    fn audit(queue: &Self::Queue) -> mpshm::Result<Audit>;

    /// The oldest item, done at once, and whether it is marked as redelivered.
    fn take(queue: &Self::Queue, wait: Wait) -> Tried<(u64, bool)> {
        if !Self::IN_BLOCKS {
            return Ok((Self::number(&Self::pop(queue, wait)?)?, false));
        }
        let claim = Self::claim(queue, wait)?;
        let taken = (Self::read(&claim)?, claim.deliveries() > 1);
        claim.release();
        Ok(taken)
    }
}

pub fn deadline(wait: Wait) -> Deadline {
    match wait {
        Wait::For(time) => time.into(),
        _ => Deadline::FOREVER,
    }
}

pub fn checked(number: u64, holds: bool, item: &dyn std::fmt::Debug) -> Result<u64, Failure> {
    demand(holds, Check::Content, || format!("an item that nobody pushed: {item:?}"))?;
    Ok(number)
}

/// The calls that are the same for every queue.
macro_rules! the_same {
    () => {
        fn pop(queue: &Self::Queue, wait: Wait) -> Tried<Self::Item> {
            match wait {
                Wait::No => queue.try_pop(),
                Wait::For(time) => queue.pop_timeout(time),
                Wait::Forever => queue.pop(),
            }
            .map_err(|error| Refused::pop("pop", error))
        }

        fn pop_many(queue: &Self::Queue, most: usize, wait: Wait) -> Tried<Vec<Self::Item>> {
            match wait {
                Wait::No => queue.try_pop_many(most),
                _ => queue.pop_many_timeout(most, deadline(wait)),
            }
            .map_err(|error| Refused::pop("pop_many", error))
        }

        fn task_done(queue: &Self::Queue) -> mpshm::Result<()> {
            queue.task_done()
        }

        fn join(queue: &Self::Queue, wait: Wait) -> mpshm::Result<()> {
            match wait {
                Wait::No => queue.join_timeout(Duration::ZERO),
                Wait::For(time) => queue.join_timeout(time),
                Wait::Forever => queue.join(),
            }
        }

        fn close(queue: &Self::Queue) -> mpshm::Result<()> {
            queue.close()
        }

        fn is_closed(queue: &Self::Queue) -> mpshm::Result<bool> {
            queue.is_closed()
        }

        fn len(queue: &Self::Queue) -> usize {
            queue.len()
        }

        fn recover(queue: &Self::Queue) -> mpshm::Result<()> {
            queue.recover()
        }

        fn audit(queue: &Self::Queue) -> mpshm::Result<Audit> {
            queue.audit()
        }

        fn claim(queue: &Self::Queue, wait: Wait) -> Tried<Claim<'_>> {
            match wait {
                Wait::No => queue.try_claim(),
                Wait::For(time) => queue.claim_timeout(time),
                Wait::Forever => queue.claim(),
            }
            .map_err(|error| Refused::pop("claim", error))
        }
    };
}

/// Messages of 16 to 48 bytes in blocks, or so many times as long.
pub struct Messages<const TIMES: usize>;

pub type Blocks = Messages<1>;

/// Messages whose copying has many instructions.
pub type Large = Messages<64>;

impl<const TIMES: usize> Messages<TIMES> {
    const LONGEST: usize = 48 * TIMES;

    /// What is pushed for a number: bytes that depend on it, and so does how many there are.
    pub fn message(number: u64) -> &'static [u8] {
        static ALL: [OnceLock<Vec<Vec<u8>>>; 2] = [const { OnceLock::new() }; 2];
        let all = ALL[usize::from(TIMES > 1)].get_or_init(|| {
            let length = |number: u64| TIMES * (16 + 8 * (number as usize % 5));
            let byte = |number: u64, index: usize| (number as usize * 7 + index * 31) as u8;
            let rest = |number| (8..length(number)).map(move |index| byte(number, index));
            let message = |one: u64| one.to_le_bytes().into_iter().chain(rest(one)).collect();
            (0..NUMBERS).map(message).collect()
        });
        &all[number as usize]
    }

    /// The number that a message was made for, if it is whole.
    fn whole(bytes: &[u8]) -> Result<u64, Failure> {
        let first = bytes.get(..8).map(|first| u64::from_le_bytes(first.try_into().unwrap()));
        let number = first.unwrap_or(NUMBERS);
        checked(number, number < NUMBERS && Self::message(number) == bytes, &bytes)
    }
}

impl<const TIMES: usize> Form for Messages<TIMES> {
    const NAME: &'static str = if TIMES > 1 { "large" } else { "blocks" };
    const LONGEST: usize = Self::LONGEST;
    const IN_BLOCKS: bool = true;
    type Queue = Queue<[u8]>;
    type Item = Vec<u8>;

    fn create(segment: &Segment, options: &QueueOptions) -> mpshm::Result<Self::Queue> {
        Queue::<[u8]>::create(segment.at("queue"), options)
    }

    fn open(segment: &Segment) -> mpshm::Result<Self::Queue> {
        Queue::<[u8]>::open(segment.at("queue"))
    }

    fn size(options: &QueueOptions) -> mpshm::Result<u64> {
        Queue::<[u8]>::size_for(options)
    }

    fn push(queue: &Self::Queue, number: u64, wait: Wait) -> Tried<()> {
        let bytes = Self::message(number);
        match wait {
            Wait::No => queue.try_push(bytes),
            Wait::For(time) => queue.push_timeout(bytes, time),
            Wait::Forever => queue.push(bytes),
        }
        .map_err(|error| Refused::push("push", error))
    }

    fn push_many(queue: &Self::Queue, numbers: [u64; BATCH], wait: Wait) -> Tried<u64> {
        let all = numbers.map(Self::message);
        match wait {
            Wait::No => {
                queue.try_push_many(&all).map_err(|error| Refused::push("try_push_many", error))
            }
            _ => (queue.push_many_timeout(&all, deadline(wait)))
                .map(|()| all.len())
                .or_else(|error| some("push_many", error)),
        }
        .map(|count| count as u64)
    }

    the_same!();

    fn number(item: &Vec<u8>) -> Result<u64, Failure> {
        Self::whole(item)
    }

    fn reserve(queue: &Self::Queue, wait: Wait) -> Tried<Reservation<'_>> {
        match wait {
            Wait::No => queue.try_reserve(Self::LONGEST),
            Wait::For(time) => queue.reserve_timeout(Self::LONGEST, time),
            Wait::Forever => queue.reserve(Self::LONGEST),
        }
        .map_err(|error| Refused::push("reserve", error))
    }

    fn write(reservation: &mut Reservation<'_>, number: u64) -> mpshm::Result<usize> {
        let bytes = Self::message(number);
        reservation.write_at(0, bytes).map(|()| bytes.len())
    }

    fn read(claim: &Claim<'_>) -> Result<u64, Failure> {
        Self::whole(&claim.to_vec())
    }
}

/// What a push of many says when not all fit: how many did, if any.
fn some(call: &str, error: PushError<usize>) -> Tried<usize> {
    let (PushError::Full(pushed) | PushError::TimedOut(pushed) | PushError::Closed(pushed)) = error
    else {
        return Err(Refused::push(call, error));
    };
    if pushed == 0 { Err(Refused::push(call, error)) } else { Ok(pushed) }
}

/// A plain item that is made of a number.
pub trait Numbered: Pod {
    const NAME: &'static str;
    fn of(number: u64) -> Self;
    fn number(self) -> u64;
}

impl Numbered for u64 {
    const NAME: &'static str = "slots";

    /// The halves tell whether it is whole.
    fn of(number: u64) -> Self {
        number | number.wrapping_mul(0x9e37_79b9_7f4a_7c15) & !0xffff_ffff
    }

    fn number(self) -> u64 {
        self & 0xffff_ffff
    }
}

impl Numbered for [u64; 3] {
    const NAME: &'static str = "items";

    fn of(number: u64) -> Self {
        [number, !number, number.rotate_left(13)]
    }

    fn number(self) -> u64 {
        self[0]
    }
}

/// Items of one type.
pub struct Plain<T>(PhantomData<T>);

/// Numbers of eight bytes, in the ring's slots.
pub type Slots = Plain<u64>;

/// Items of 24 bytes, in blocks.
pub type Items = Plain<[u64; 3]>;

impl<T: Numbered + PartialEq + std::fmt::Debug> Plain<T> {
    fn whole(item: T) -> Result<u64, Failure> {
        let number = item.number();
        checked(number, number < NUMBERS && T::of(number) == item, &item)
    }
}

impl<T: Numbered + PartialEq + std::fmt::Debug> Form for Plain<T> {
    const NAME: &'static str = T::NAME;
    const LONGEST: usize = size_of::<T>();
    const IN_BLOCKS: bool = size_of::<T>() > 8;
    type Queue = Queue<T>;
    type Item = T;

    fn create(segment: &Segment, options: &QueueOptions) -> mpshm::Result<Self::Queue> {
        Queue::<T>::create(segment.at("queue"), options)
    }

    fn open(segment: &Segment) -> mpshm::Result<Self::Queue> {
        Queue::<T>::open(segment.at("queue"))
    }

    fn size(options: &QueueOptions) -> mpshm::Result<u64> {
        Queue::<T>::size_for(options)
    }

    fn push(queue: &Self::Queue, number: u64, wait: Wait) -> Tried<()> {
        let item = T::of(number);
        match wait {
            Wait::No => queue.try_push(item),
            Wait::For(time) => queue.push_timeout(item, time),
            Wait::Forever => queue.push(item),
        }
        .map_err(|error| Refused::push("push", error))
    }

    fn push_many(queue: &Self::Queue, numbers: [u64; BATCH], wait: Wait) -> Tried<u64> {
        let all = numbers.map(T::of);
        match wait {
            Wait::No => {
                queue.try_push_many(&all).map_err(|error| Refused::push("try_push_many", error))
            }
            _ => (queue.push_many_timeout(&all, deadline(wait)))
                .map(|()| all.len())
                .or_else(|error| some("push_many", error)),
        }
        .map(|count| count as u64)
    }

    the_same!();

    fn number(item: &T) -> Result<u64, Failure> {
        Self::whole(*item)
    }

    fn reserve(queue: &Self::Queue, wait: Wait) -> Tried<Reservation<'_>> {
        match wait {
            Wait::No => queue.try_reserve(),
            Wait::For(time) => queue.reserve_timeout(time),
            Wait::Forever => queue.reserve(),
        }
        .map_err(|error| Refused::push("reserve", error))
    }

    fn write(reservation: &mut Reservation<'_>, number: u64) -> mpshm::Result<usize> {
        let item = T::of(number);
        reservation.write_at(0, bytemuck::bytes_of(&item)).map(|()| size_of::<T>())
    }

    fn read(claim: &Claim<'_>) -> Result<u64, Failure> {
        Self::whole(claim.read::<T>().map_err(|error| broken(&error))?)
    }
}
