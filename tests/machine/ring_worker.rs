//! A worker that uses one ring, as it is told: its handles are named by their places in two lists, which the
//! machine keeps too. What a handle has reserved, or claimed, is put down with it.

use super::crew::Obeys;
use super::forms::{LONGEST, decode, encode};
use super::hold::Hold;
use super::worker::TIMED;
use mpshm::{
    Error, Item, Pod, PopError, PushError, Ring, RingClaim, RingConsumer, RingProducer,
    RingReservation, Segment,
};

/// Where the ring is in its segment.
pub const NAME: &str = "ring";

type Said = Result<String, Error>;
/// What a call does, or why not, as one line.
type Told = Result<String, String>;

fn no<V>(error: PushError<V>) -> String {
    error.kind().name().into()
}

fn nothing(error: PopError) -> String {
    error.kind().name().into()
}

fn ok<T>(_: T) -> String {
    "ok".into()
}

fn joined(numbers: impl IntoIterator<Item = u64>) -> String {
    numbers.into_iter().map(|n| n.to_string()).collect::<Vec<_>>().join(" ")
}

/// A call that is made in one of three ways.
macro_rules! how {
    ($how:expr, $end:expr, $try:ident, $timed:ident, $ever:ident, ($($argument:expr),*)) => {
        match $how {
            "try" => $end.$try($($argument),*),
            "timed" => $end.$timed($($argument,)* TIMED),
            _ => $end.$ever($($argument),*),
        }
    };
}

/// What rings are of: items that carry numbers, and the calls whose shape depends on that.
pub trait Carries: 'static {
    type Of: ?Sized + Item;
    /// What is written and read in place.
    type Unit: Pod;

    /// The numbers as they lie in a reservation, and how many units of it they take.
    fn units(numbers: &[u64]) -> Vec<Self::Unit>;
    fn numbers(units: &[Self::Unit]) -> Vec<u64>;
    fn push(end: &mut RingProducer<Self::Of>, how: &str, number: u64) -> Told;
    fn push_many(end: &mut RingProducer<Self::Of>, how: &str, numbers: &[u64]) -> Told;
    fn push_all(end: &mut RingProducer<Self::Of>, how: &str, numbers: &[u64]) -> Told;
    fn reserve<'r>(
        end: &'r mut RingProducer<Self::Of>,
        how: &str,
        room: usize,
    ) -> Result<RingReservation<'r, Self::Unit>, PushError<()>>;
    fn pop(end: &mut RingConsumer<Self::Of>, how: &str) -> Told;
    fn pop_many(end: &mut RingConsumer<Self::Of>, how: &str, most: usize) -> Told;
    fn pop_into(end: &mut RingConsumer<Self::Of>, how: &str, room: usize) -> Told;
    fn claim<'r>(
        end: &'r mut RingConsumer<Self::Of>,
        how: &str,
        most: usize,
    ) -> Result<RingClaim<'r, Self::Unit>, PopError>;
}

/// Numbers as they are.
pub enum Numbers {}
/// Numbers as messages of many lengths.
pub enum Messages {}

/// What was pushed of several; and why no more.
fn pushed(how: &str, count: usize, result: Result<usize, PushError<usize>>) -> Told {
    match result {
        Ok(done) => Ok(if how == "try" { done } else { count }.to_string()),
        Err(error) => Err(format!("{} {}", error.clone().into_inner(), no(error))),
    }
}

macro_rules! push_many {
    ($end:ident, $how:ident, $items:expr) => {
        match $how {
            "try" => pushed(
                $how,
                $items.len(),
                $end.try_push_many(&$items).map_err(|error| match error {
                    PushError::Full(()) => PushError::Full(0),
                    PushError::Closed(()) => PushError::Closed(0),
                    PushError::PeerDead(()) => PushError::PeerDead(0),
                    PushError::Failed((), error) => PushError::Failed(0, error),
                    other => panic!("{:?}", other.kind()),
                }),
            ),
            "timed" => {
                pushed($how, $items.len(), $end.push_many_timeout(&$items, TIMED).map(|()| 0))
            }
            _ => pushed($how, $items.len(), $end.push_many(&$items).map(|()| 0)),
        }
    };
}

impl Carries for Numbers {
    type Of = u64;
    type Unit = u64;

    fn units(numbers: &[u64]) -> Vec<u64> {
        numbers.to_vec()
    }

    fn numbers(units: &[u64]) -> Vec<u64> {
        units.to_vec()
    }

    fn push(end: &mut RingProducer<u64>, how: &str, number: u64) -> Told {
        let pushed = how!(how, end, try_push, push_timeout, push, (number));
        pushed.map(ok).map_err(|error| {
            assert_eq!(error.clone().into_inner(), number, "another number came back");
            no(error)
        })
    }

    fn push_many(end: &mut RingProducer<u64>, how: &str, numbers: &[u64]) -> Told {
        push_many!(end, how, numbers)
    }

    fn push_all(end: &mut RingProducer<u64>, how: &str, numbers: &[u64]) -> Told {
        how!(how, end, try_push_all, push_all_timeout, push_all, (numbers)).map(ok).map_err(no)
    }

    fn reserve<'r>(
        end: &'r mut RingProducer<u64>,
        how: &str,
        room: usize,
    ) -> Result<RingReservation<'r, u64>, PushError<()>> {
        how!(how, end, try_reserve, reserve_timeout, reserve, (room))
    }

    fn pop(end: &mut RingConsumer<u64>, how: &str) -> Told {
        how!(how, end, try_pop, pop_timeout, pop, ()).map(|n| n.to_string()).map_err(nothing)
    }

    fn pop_many(end: &mut RingConsumer<u64>, how: &str, most: usize) -> Told {
        let popped = how!(how, end, try_pop_many, pop_many_timeout, pop_many, (most));
        popped.map(joined).map_err(nothing)
    }

    fn pop_into(_: &mut RingConsumer<u64>, _: &str, _: usize) -> Told {
        panic!("numbers are not popped into a buffer")
    }

    fn claim<'r>(
        end: &'r mut RingConsumer<u64>,
        how: &str,
        most: usize,
    ) -> Result<RingClaim<'r, u64>, PopError> {
        how!(how, end, try_claim, claim_timeout, claim, (most))
    }
}

impl Carries for Messages {
    type Of = [u8];
    type Unit = u8;

    fn units(numbers: &[u64]) -> Vec<u8> {
        let [number] = numbers else { panic!("{numbers:?} are to be one message") };
        encode(*number)
    }

    fn numbers(units: &[u8]) -> Vec<u64> {
        vec![decode(units)]
    }

    fn push(end: &mut RingProducer<[u8]>, how: &str, number: u64) -> Told {
        let message = encode(number);
        how!(how, end, try_push, push_timeout, push, (&message)).map(ok).map_err(no)
    }

    fn push_many(end: &mut RingProducer<[u8]>, how: &str, numbers: &[u64]) -> Told {
        let messages: Vec<Vec<u8>> = numbers.iter().map(|&number| encode(number)).collect();
        push_many!(end, how, messages)
    }

    fn push_all(end: &mut RingProducer<[u8]>, how: &str, numbers: &[u64]) -> Told {
        let messages: Vec<Vec<u8>> = numbers.iter().map(|&number| encode(number)).collect();
        how!(how, end, try_push_all, push_all_timeout, push_all, (&messages)).map(ok).map_err(no)
    }

    fn reserve<'r>(
        end: &'r mut RingProducer<[u8]>,
        how: &str,
        room: usize,
    ) -> Result<RingReservation<'r, u8>, PushError<()>> {
        how!(how, end, try_reserve, reserve_timeout, reserve, (room))
    }

    fn pop(end: &mut RingConsumer<[u8]>, how: &str) -> Told {
        let popped = how!(how, end, try_pop, pop_timeout, pop, ());
        popped.map(|message| decode(&message).to_string()).map_err(nothing)
    }

    fn pop_many(end: &mut RingConsumer<[u8]>, how: &str, most: usize) -> Told {
        let popped = how!(how, end, try_pop_many, pop_many_timeout, pop_many, (most));
        let numbers = |messages: Vec<Vec<u8>>| joined(messages.iter().map(|bytes| decode(bytes)));
        popped.map(numbers).map_err(nothing)
    }

    fn pop_into(end: &mut RingConsumer<[u8]>, how: &str, room: usize) -> Told {
        let mut bytes = [0; LONGEST];
        let buffer = &mut bytes[..room];
        let popped = how!(how, end, try_pop_into, pop_into_timeout, pop_into, (buffer));
        popped.map(|length| decode(&bytes[..length]).to_string()).map_err(nothing)
    }

    fn claim<'r>(
        end: &'r mut RingConsumer<[u8]>,
        how: &str,
        _most: usize,
    ) -> Result<RingClaim<'r, u8>, PopError> {
        how!(how, end, try_claim, claim_timeout, claim, ())
    }
}

type In<C> = Hold<RingProducer<<C as Carries>::Of>, RingReservation<'static, <C as Carries>::Unit>>;
type Out<C> = Hold<RingConsumer<<C as Carries>::Of>, RingClaim<'static, <C as Carries>::Unit>>;

pub struct RingWorker<C: Carries> {
    ring: Ring<C::Of>,
    ins: Vec<In<C>>,
    outs: Vec<Out<C>>,
}

impl<C: Carries> RingWorker<C> {
    pub fn new(segment: &Segment) -> Self {
        let ring = Ring::open(segment.at(NAME)).unwrap();
        Self { ring, ins: Vec::new(), outs: Vec::new() }
    }

    fn reserve(&mut self, at: usize, how: &str, room: usize) -> Told {
        let reserved = C::reserve(self.ins[at].free(), how, room).map_err(no)?;
        assert_eq!(reserved.len(), room);
        self.ins[at].held = Some(reserved);
        Ok("ok".into())
    }

    fn commit(&mut self, at: usize, numbers: &[u64]) -> Told {
        let mut reserved = self.ins[at].held.take().expect("a reservation");
        let units = C::units(numbers);
        reserved.write_at(0, &units).expect("room for what is written");
        self.committed(at, reserved, units.len())
    }

    fn commit_beyond(&mut self, at: usize) -> Told {
        let reserved = self.ins[at].held.take().expect("a reservation");
        let count = reserved.len() + 1;
        self.committed(at, reserved, count)
    }

    fn committed(
        &mut self,
        at: usize,
        reserved: RingReservation<'static, C::Unit>,
        count: usize,
    ) -> Told {
        reserved.commit(count).map(ok).map_err(|error| {
            let why = error.kind().name().to_string();
            self.ins[at].held = Some(error.into_inner());
            why
        })
    }

    fn claim(&mut self, at: usize, how: &str, most: usize) -> Told {
        let claim = C::claim(self.outs[at].free(), how, most).map_err(nothing)?;
        let said = format!("{} {}", claim.deliveries(), joined(C::numbers(&claim.to_vec())));
        self.outs[at].held = Some(claim);
        Ok(said)
    }

    fn claimed(&mut self, at: usize) -> RingClaim<'static, C::Unit> {
        self.outs[at].held.take().expect("a claim")
    }

    /// Of messages: all bytes of it, or none.
    fn release_first(&mut self, at: usize, count: usize) -> Said {
        self.claimed(at).release_first(count).map(ok)
    }

    fn look(&self) -> Said {
        let (ring, counters) = (&self.ring, self.ring.counters());
        Ok(format!(
            "{} {} {} {} {}; {} {} {} {} {} {} {}",
            ring.len(),
            ring.is_empty(),
            ring.is_full(),
            ring.is_closed(),
            ring.capacity(),
            counters.pushed,
            counters.popped,
            counters.overwritten,
            counters.redelivered,
            counters.dropped,
            counters.waits,
            counters.repairs
        ))
    }

    fn handle(&mut self, side: &str) -> Said {
        match side {
            "in" => self.ins.push(Hold::new(self.ring.producer())),
            _ => self.outs.push(Hold::new(self.ring.consumer())),
        }
        Ok("ok".into())
    }

    fn put_down(&mut self, side: &str, at: usize) -> Said {
        match side {
            "in" => drop(self.ins.remove(at)),
            _ => drop(self.outs.remove(at)),
        }
        Ok("ok".into())
    }

    fn done(&mut self, words: &[&str]) -> Said {
        let at = |word: &str| word.parse::<usize>().unwrap();
        let all = |words: &[&str]| words.iter().map(|word| word.parse().unwrap()).collect();
        let told = match *words {
            ["handle", side] => return self.handle(side),
            ["drop", side, which] => return self.put_down(side, at(which)),
            ["push", which, how, number] => {
                C::push(self.ins[at(which)].free(), how, number.parse().unwrap())
            }
            ["push-many", which, how, ref numbers @ ..] => {
                let numbers: Vec<u64> = all(numbers);
                C::push_many(self.ins[at(which)].free(), how, &numbers)
            }
            ["push-all", which, how, ref numbers @ ..] => {
                let numbers: Vec<u64> = all(numbers);
                C::push_all(self.ins[at(which)].free(), how, &numbers)
            }
            ["reserve", which, how, room] => self.reserve(at(which), how, at(room)),
            ["commit", which, ref numbers @ ..] => {
                let numbers: Vec<u64> = all(numbers);
                self.commit(at(which), &numbers)
            }
            ["commit-beyond", which] => self.commit_beyond(at(which)),
            ["abort", which] => Ok(ok(self.ins[at(which)].held.take().expect("a reservation"))),
            ["pop", which, how] => C::pop(self.outs[at(which)].free(), how),
            ["pop-many", which, how, most] => {
                C::pop_many(self.outs[at(which)].free(), how, at(most))
            }
            ["pop-into", which, how, room] => {
                C::pop_into(self.outs[at(which)].free(), how, at(room))
            }
            ["claim", which, how, most] => self.claim(at(which), how, at(most)),
            ["release", which] => {
                self.claimed(at(which)).release();
                Ok("ok".into())
            }
            ["release-first", which, count] => return self.release_first(at(which), at(count)),
            ["give-back", which] => {
                self.claimed(at(which)).give_back();
                Ok("ok".into())
            }
            ["close"] => return self.ring.close().map(ok),
            ["look"] => return self.look(),
            ["quit"] => {
                self.ins.clear();
                self.outs.clear();
                Ok("ok".into())
            }
            _ => panic!("{words:?}"),
        };
        Ok(told.unwrap_or_else(|why| why))
    }
}

impl<C: Carries> Obeys for RingWorker<C> {
    fn obey(&mut self, words: &[&str]) -> String {
        self.done(words).unwrap_or_else(|error| error.kind().name().into())
    }
}
