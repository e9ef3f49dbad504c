//! The queue of many producers and consumers: numbers in slots, numbers in blocks, messages.

use super::call::{Answer, Call, Items, No, Wait};
use super::forms::{LONGEST, decode, encode};
use super::plan::Menu;
use super::run::Subject;
use super::sequential::Rules;
use mpshm::{Claim, Delivery, Item, PopError, PushError, Queue, QueueOptions, Segment, WhenFull};
use std::convert::identity;
use std::time::Duration;

/// How long a call of [`Wait::Short`] waits.
const SHORT: Duration = Duration::from_micros(40);
/// The parent, its workers, and one that is being replaced.
const PARTICIPANTS: u32 = 8;

/// What was claimed.
#[derive(Default)]
pub struct Hand<'a>(Option<Claim<'a>>);

/// Numbers, in slots or in blocks.
pub struct Numbers(Queue<u64>, Rules);

/// The same as messages of many lengths.
pub struct Messages(Queue<[u8]>, Rules);

fn make<T: ?Sized + Item>(rules: Rules) -> Queue<T> {
    let delivery =
        if rules.drops || rules.slots { Delivery::AtMostOnce } else { Delivery::AtLeastOnce };
    let full = if rules.overwrites { WhenFull::Overwrite } else { WhenFull::Wait };
    let options = QueueOptions::new(rules.capacity as u64)
        .message_max(LONGEST as u64)
        .delivery(delivery)
        .when_full(full);
    let size = Queue::<T>::size_for(&options).unwrap();
    let segment = Segment::options().participants(PARTICIPANTS).anonymous(size).unwrap();
    Queue::create(segment.at("queue"), &options).unwrap()
}

impl Numbers {
    pub fn new(rules: Rules) -> Self {
        Self(make(rules), rules)
    }
}

impl Messages {
    pub fn new(rules: Rules) -> Self {
        Self(make(rules), rules)
    }
}

fn refused<V>(error: PushError<V>) -> No {
    match error {
        PushError::Full(_) => No::Full,
        PushError::TimedOut(_) => No::TimedOut,
        PushError::Closed(_) => No::Closed,
        other => panic!("push: {:?}", other.kind()),
    }
}

fn nothing(error: PopError) -> Answer {
    Answer::No(match error {
        PopError::Empty => No::Empty,
        PopError::TimedOut => No::TimedOut,
        PopError::Closed => No::Closed,
        other => panic!("pop: {other}"),
    })
}

fn pushed<V>(result: Result<(), PushError<V>>) -> Answer {
    result.map_or_else(|error| Answer::No(refused(error)), |()| Answer::Done)
}

/// Of several items: none may have been pushed.
fn pushed_some(result: Result<(), PushError<usize>>, count: usize) -> Answer {
    match result {
        Ok(()) => Answer::Pushed(count, None),
        Err(PushError::Failed(_, error)) => panic!("push: {error}"),
        Err(error) => {
            let kind = error.kind();
            let done = error.into_inner();
            let error = match kind {
                mpshm::ErrorKind::Full => PushError::Full(()),
                mpshm::ErrorKind::TimedOut => PushError::TimedOut(()),
                mpshm::ErrorKind::Closed => PushError::Closed(()),
                other => panic!("push: {other:?}"),
            };
            Answer::Pushed(done, Some(refused(error)))
        }
    }
}

fn ended<'a>(hand: &mut Hand<'a>, end: impl FnOnce(Claim<'a>)) -> Answer {
    match hand.0.take() {
        Some(claim) => {
            end(claim);
            Answer::Done
        }
        None => Answer::No(No::Empty),
    }
}

/// The same calls by the same names, where items are made of numbers, and numbers of items.
macro_rules! subject {
    ($name:ident, $push:ident, $item:expr, $from:expr, $claimed:expr, ($($length:expr)?), $bytes:expr) => {
        impl Subject for $name {
            type Hand<'a> = Hand<'a>;

            fn rules(&self) -> Rules {
                self.1
            }

            fn menu(&self, _process: usize) -> Menu {
                Menu {
                    pushes: true,
                    pops: true,
                    looks: true,
                    waits: true,
                    in_place: !self.1.slots,
                    closes: true,
                    roles: false,
                }
            }

            fn act<'a>(&'a self, call: Call, hand: &mut Hand<'a>) -> Answer {
                let queue = &self.0;
                match call {
                    Call::Push(wait, number) => pushed(match wait {
                        Wait::Not => queue.try_push($push!(number)),
                        Wait::Short => queue.push_timeout($push!(number), SHORT),
                        Wait::Ever => queue.push($push!(number)),
                    }),
                    Call::PushInPlace(wait, number) => {
                        let place = match wait {
                            Wait::Not => queue.try_reserve($($length)?),
                            Wait::Short => queue.reserve_timeout($($length,)? SHORT),
                            Wait::Ever => queue.reserve($($length)?),
                        };
                        match place {
                            Ok(mut place) => {
                                let bytes = $bytes(number);
                                place.write_at(0, &bytes).unwrap();
                                pushed(place.commit(bytes.len()))
                            }
                            Err(error) => Answer::No(refused(error)),
                        }
                    }
                    Call::PushMany(wait, first, count) => {
                        let numbers = first..first + count as u64;
                        let items: Vec<_> = numbers.map($item).collect();
                        match wait {
                            Wait::Not => match queue.try_push_many(&items) {
                                Ok(done) => Answer::Pushed(done, None),
                                Err(error) => Answer::No(refused(error)),
                            },
                            Wait::Short => pushed_some(queue.push_many_timeout(&items, SHORT), count),
                            Wait::Ever => pushed_some(queue.push_many(&items), count),
                        }
                    }
                    Call::Pop(wait) => {
                        let popped = match wait {
                            Wait::Not => queue.try_pop(),
                            Wait::Short => queue.pop_timeout(SHORT),
                            Wait::Ever => queue.pop(),
                        };
                        popped.map_or_else(nothing, |item| Answer::Popped(Items::of(&[$from(item)])))
                    }
                    Call::PopMany(wait, most) => {
                        let popped = match wait {
                            Wait::Not => queue.try_pop_many(most),
                            Wait::Short => queue.pop_many_timeout(most, SHORT),
                            Wait::Ever => queue.pop_many(most),
                        };
                        popped.map_or_else(nothing, |items| {
                            let numbers: Vec<u64> = items.into_iter().map($from).collect();
                            Answer::Popped(Items::of(&numbers))
                        })
                    }
                    Call::Claim(wait) => {
                        let claimed = match wait {
                            Wait::Not => queue.try_claim(),
                            Wait::Short => queue.claim_timeout(SHORT),
                            Wait::Ever => queue.claim(),
                        };
                        match claimed {
                            Ok(claim) => {
                                let answer = Answer::Claimed($claimed(&claim), claim.deliveries());
                                assert!(hand.0.replace(claim).is_none());
                                answer
                            }
                            Err(error) => nothing(error),
                        }
                    }
                    Call::Release => ended(hand, Claim::release),
                    Call::GiveBack => ended(hand, Claim::give_back),
                    Call::Len => Answer::Count(queue.len()),
                    Call::IsEmpty => Answer::Is(queue.is_empty()),
                    Call::IsFull => Answer::Is(queue.is_full()),
                    Call::IsClosed => Answer::Is(queue.is_closed().unwrap()),
                    Call::Close => {
                        queue.close().unwrap();
                        Answer::Done
                    }
                    Call::Recover => {
                        queue.recover().unwrap();
                        Answer::Done
                    }
                    Call::ClaimMany(..) | Call::ReleaseFirst(_) | Call::Leave => {
                        panic!("{call:?} of a queue")
                    }
                }
            }

            fn check_clear(&self) -> Result<(), String> {
                self.0.recover().unwrap();
                let audit = self.0.audit().unwrap();
                let clear = audit.free == audit.blocks && audit.queued == 0 && self.0.is_empty();
                if clear { Ok(()) } else { Err(format!("not clear: {audit:?}")) }
            }
        }
    };
}

macro_rules! as_it_is {
    ($number:ident) => {
        $number
    };
}

macro_rules! encoded {
    ($number:ident) => {
        &encode($number)
    };
}

subject!(
    Numbers,
    as_it_is,
    identity,
    identity,
    |claim: &Claim<'_>| claim.read::<u64>().unwrap(),
    (),
    u64::to_ne_bytes
);

subject!(
    Messages,
    encoded,
    encode,
    |message: Vec<u8>| decode(&message),
    |claim: &Claim<'_>| decode(&claim.to_vec()),
    (LONGEST),
    encode
);
