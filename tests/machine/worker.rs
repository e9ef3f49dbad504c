//! A worker that uses queues and other objects of one segment, as it is told.
//!
//! Handles, reservations and claims are named by their places in the lists of those that the worker has; the machine
//! keeps the same lists.

use super::crew::Obeys;
use super::forms::{decode, encode};
use super::spec::{Spec, Type};
use mpshm::{
    Claim, Consumer, Error, Item, PopError, Producer, PushError, Queue, Reservation, Segment, Value,
};
use std::time::Duration;

/// How long a timed call waits.
pub const TIMED: Duration = Duration::from_millis(1);

enum Handle {
    Numbers(Queue<u64>),
    NumbersIn(Producer<u64>),
    NumbersOut(Consumer<u64>),
    Messages(Queue<[u8]>),
    MessagesIn(Producer<[u8]>),
    MessagesOut(Consumer<[u8]>),
    Value(Value<u64>),
}

/// A handle that reservations and claims borrow from: it is freed by hand, after them.
struct Place(*mut Handle);

impl Place {
    fn new(handle: Handle) -> Self {
        Self(Box::into_raw(Box::new(handle)))
    }

    fn get(&self) -> &'static Handle {
        // SAFETY: lives until `free`, before which everything that borrows from it is dropped.
        unsafe { &*self.0 }
    }

    fn free(self) {
        // SAFETY: made by `new`; nothing borrows from it any more, see `Worker::put_down`.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

pub struct Worker<'s> {
    segment: &'s Segment,
    handles: Vec<Place>,
    /// With the handle that each is of.
    reservations: Vec<(*mut Handle, Reservation<'static>)>,
    claims: Vec<(*mut Handle, Claim<'static>)>,
}

type Said = Result<String, Error>;

fn ok() -> Said {
    Ok("ok".into())
}

fn joined(numbers: impl IntoIterator<Item = u64>) -> Said {
    Ok(numbers.into_iter().map(|n| n.to_string()).collect::<Vec<_>>().join(" "))
}

/// A call that is made in one of three ways.
macro_rules! how {
    ($how:expr, $queue:expr, $try:ident, $timed:ident, $ever:ident, ($($argument:expr),*)) => {
        match $how {
            "try" => $queue.$try($($argument),*),
            "timed" => $queue.$timed($($argument,)* TIMED),
            _ => $queue.$ever($($argument),*),
        }
    };
}

/// What works on every queue's handle.
macro_rules! any {
    ($handle:expr, $queue:ident => $call:expr) => {
        match $handle {
            Handle::Numbers($queue) => $call,
            Handle::NumbersIn($queue) => $call,
            Handle::NumbersOut($queue) => $call,
            Handle::Messages($queue) => $call,
            Handle::MessagesIn($queue) => $call,
            Handle::MessagesOut($queue) => $call,
            Handle::Value(_) => panic!("a value is no queue"),
        }
    };
}

/// What works on handles that push: for numbers, and for messages.
macro_rules! pushing {
    ($handle:expr, $queue:ident => $numbers:expr, $messages:expr) => {
        match $handle {
            Handle::Numbers($queue) => $numbers,
            Handle::NumbersIn($queue) => $numbers,
            Handle::Messages($queue) => $messages,
            Handle::MessagesIn($queue) => $messages,
            _ => panic!("it does not push"),
        }
    };
}

/// The same of handles that pop.
macro_rules! popping {
    ($handle:expr, $queue:ident => $numbers:expr, $messages:expr) => {
        match $handle {
            Handle::Numbers($queue) => $numbers,
            Handle::NumbersOut($queue) => $numbers,
            Handle::Messages($queue) => $messages,
            Handle::MessagesOut($queue) => $messages,
            _ => panic!("it does not pop"),
        }
    };
}

fn no<V>(error: PushError<V>) -> String {
    error.kind().name().into()
}

fn nothing(error: PopError) -> String {
    error.kind().name().into()
}

/// What is popped or pushed, or why not, as one line.
fn told(said: Result<String, String>) -> Said {
    Ok(said.unwrap_or_else(|no| no))
}

fn number_of(claim: &Claim<'_>, of: Type) -> u64 {
    match of {
        Type::Messages => decode(&claim.to_vec()),
        _ => claim.read().unwrap(),
    }
}

impl<'s> Worker<'s> {
    pub fn new(segment: &'s Segment) -> Self {
        Self { segment, handles: Vec::new(), reservations: Vec::new(), claims: Vec::new() }
    }

    fn handle(&self, at: &str) -> &'static Handle {
        self.handles[at.parse::<usize>().unwrap()].get()
    }

    fn has(&mut self, handle: Handle) -> Said {
        self.handles.push(Place::new(handle));
        ok()
    }

    fn make(&mut self, call: &str, name: &str, spec: Spec) -> Said {
        fn queue<T: ?Sized + Item>(
            call: &str,
            segment: &Segment,
            name: &str,
            spec: Spec,
        ) -> Result<Queue<T>, Error> {
            match call {
                "create" => Queue::create(segment.at(name), &spec.options()),
                _ => Queue::open_or_create(segment.at(name), &spec.options()),
            }
        }
        let segment = self.segment;
        let handle = match spec.of {
            Type::Numbers => Handle::Numbers(queue(call, segment, name, spec)?),
            Type::Messages => Handle::Messages(queue(call, segment, name, spec)?),
            Type::Value if call == "create" => Handle::Value(Value::create(segment.at(name), 0)?),
            Type::Value => Handle::Value(Value::open_or_create(segment.at(name), 0)?),
        };
        self.has(handle)
    }

    fn open(&mut self, name: &str, of: Type) -> Said {
        let place = self.segment.at(name);
        let handle = match of {
            Type::Numbers => Handle::Numbers(Queue::open(place)?),
            Type::Messages => Handle::Messages(Queue::open(place)?),
            Type::Value => Handle::Value(Value::open(place)?),
        };
        self.has(handle)
    }

    /// Another handle, made from one that there is.
    fn derive(&mut self, how: &str, at: &str) -> Said {
        let handle = match (how, self.handle(at)) {
            ("clone", Handle::Numbers(queue)) => Handle::Numbers(queue.clone()),
            ("clone", Handle::NumbersIn(queue)) => Handle::NumbersIn(queue.clone()),
            ("clone", Handle::NumbersOut(queue)) => Handle::NumbersOut(queue.clone()),
            ("clone", Handle::Messages(queue)) => Handle::Messages(queue.clone()),
            ("clone", Handle::MessagesIn(queue)) => Handle::MessagesIn(queue.clone()),
            ("clone", Handle::MessagesOut(queue)) => Handle::MessagesOut(queue.clone()),
            ("producer", Handle::Numbers(queue)) => Handle::NumbersIn(queue.producer()?),
            ("producer", Handle::Messages(queue)) => Handle::MessagesIn(queue.producer()?),
            ("consumer", Handle::Numbers(queue)) => Handle::NumbersOut(queue.consumer()),
            ("consumer", Handle::Messages(queue)) => Handle::MessagesOut(queue.consumer()),
            (how, _) => panic!("{how} of such a handle"),
        };
        self.has(handle)
    }

    /// Drops a handle, and before it all that borrows from it: reservations, then claims, in their order.
    fn put_down(&mut self, at: usize) -> Said {
        let place = self.handles.remove(at);
        self.reservations.retain(|(handle, _)| *handle != place.0);
        self.claims.retain(|(handle, _)| *handle != place.0);
        place.free();
        ok()
    }

    fn push(&self, at: &str, how: &str, number: u64) -> Said {
        let message = encode(number);
        told(pushing!(
            self.handle(at),
            queue => how!(how, queue, try_push, push_timeout, push, (number)).map_err(|error| {
                assert!(matches!(error, PushError::Failed(..)) || error.clone().into_inner() == number);
                no(error)
            }),
            how!(how, queue, try_push, push_timeout, push, (&message)).map_err(no)
        )
        .map(|()| "ok".into()))
    }

    fn push_many(&self, at: &str, how: &str, numbers: &[u64]) -> Said {
        let messages: Vec<Vec<u8>> = numbers.iter().map(|&number| encode(number)).collect();
        let all = |()| numbers.len().to_string();
        let some =
            |error: PushError<usize>| format!("{} {}", error.clone().into_inner(), no(error));
        told(match how {
            "try" => pushing!(
                self.handle(at),
                queue => queue.try_push_many(numbers),
                queue.try_push_many(&messages)
            )
            .map(|done| done.to_string())
            .map_err(|error| format!("0 {}", no(error))),
            "timed" => pushing!(
                self.handle(at),
                queue => queue.push_many_timeout(numbers, TIMED),
                queue.push_many_timeout(&messages, TIMED)
            )
            .map(all)
            .map_err(some),
            _ => pushing!(
                self.handle(at),
                queue => queue.push_many(numbers),
                queue.push_many(&messages)
            )
            .map(all)
            .map_err(some),
        })
    }

    fn reserve(&mut self, at: &str, how: &str, room: usize) -> Said {
        let handle = self.handle(at);
        let reserved = pushing!(
            handle,
            queue => how!(how, queue, try_reserve, reserve_timeout, reserve, ()),
            how!(how, queue, try_reserve, reserve_timeout, reserve, (room))
        );
        told(reserved.map_err(no).map(|reservation| {
            self.reservations.push((std::ptr::from_ref(handle).cast_mut(), reservation));
            "ok".into()
        }))
    }

    fn commit(&mut self, at: usize, number: u64, length: usize, of: Type) -> Said {
        let (handle, mut reservation) = self.reservations.remove(at);
        let bytes = if of == Type::Messages { encode(number) } else { number.to_ne_bytes().into() };
        let _ = reservation.write_at(0, &bytes); // what does not fit is refused by the commit
        told(match reservation.commit(length) {
            Ok(()) => Ok("ok".into()),
            Err(error) => {
                let kind = error.kind().name().to_string();
                self.reservations.insert(at, (handle, error.into_inner()));
                Err(kind)
            }
        })
    }

    fn pop(&self, at: &str, how: &str) -> Said {
        told(
            popping!(
                self.handle(at),
                queue => how!(how, queue, try_pop, pop_timeout, pop, ()),
                how!(how, queue, try_pop, pop_timeout, pop, ()).map(|message| decode(&message))
            )
            .map(|number| number.to_string())
            .map_err(nothing),
        )
    }

    fn pop_many(&self, at: &str, how: &str, most: usize) -> Said {
        popping!(
            self.handle(at),
            queue => how!(how, queue, try_pop_many, pop_many_timeout, pop_many, (most)),
            how!(how, queue, try_pop_many, pop_many_timeout, pop_many, (most))
                .map(|messages| messages.iter().map(|message| decode(message)).collect())
        )
        .map_or_else(|error| Ok(nothing(error)), joined)
    }

    fn pop_into(&self, at: &str, room: usize) -> Said {
        let mut buffer = vec![0; room];
        let popped = popping!(
            self.handle(at),
            _queue => panic!("numbers are not popped into a buffer"),
            _queue.pop_into(&mut buffer)
        );
        told(popped.map(|length| decode(&buffer[..length]).to_string()).map_err(nothing))
    }

    fn claim(&mut self, at: &str, how: &str) -> Said {
        let handle = self.handle(at);
        let (claimed, of) = popping!(
            handle,
            queue => (how!(how, queue, try_claim, claim_timeout, claim, ()), Type::Numbers),
            (how!(how, queue, try_claim, claim_timeout, claim, ()), Type::Messages)
        );
        told(claimed.map_err(nothing).map(|claim| {
            let said = format!("{} {}", number_of(&claim, of), claim.deliveries());
            self.claims.push((std::ptr::from_ref(handle).cast_mut(), claim));
            said
        }))
    }

    fn look(&self, at: &str) -> Said {
        let handle = self.handle(at);
        Ok(any!(handle, queue => {
            let counters = queue.counters();
            let mut words = format!(
                "{} {} {} {} {}; {} {} {} {} {} {} {}",
                queue.len(), queue.is_empty(), queue.is_full(), queue.is_closed()?, queue.capacity(),
                counters.pushed, counters.popped, counters.overwritten, counters.redelivered,
                counters.dropped, counters.waits, counters.repairs
            );
            let audit = queue.audit()?;
            if audit.blocks > 0 {
                words += &format!(
                    "; {} {} {} {} {}",
                    audit.free, audit.reserved, audit.queued, audit.leased, audit.returned
                );
            }
            words
        }))
    }

    fn join(&self, at: &str, how: &str) -> Said {
        any!(self.handle(at), queue => match how {
            "ever" => queue.join(),
            _ => queue.join_timeout(TIMED),
        })?;
        ok()
    }

    fn list(&self) -> Said {
        let objects = self.segment.objects()?;
        Ok(objects.iter().map(|object| format!("{}:{:?} ", object.name, object.kind)).collect())
    }

    fn quit(&mut self) -> Said {
        while !self.handles.is_empty() {
            self.put_down(0)?;
        }
        ok()
    }

    fn done(&mut self, words: &[&str]) -> Said {
        let number = |word: &str| word.parse::<u64>().unwrap();
        let at = |word: &str| word.parse::<usize>().unwrap();
        match *words {
            [call @ ("create" | "open-or-create"), name, ref spec @ ..] => {
                self.make(call, name, Spec::read(spec))
            }
            ["open", name, of] => self.open(name, Type::read(of)),
            ["remove", name] => self.segment.remove(name).and_then(|()| ok()),
            ["list"] => self.list(),
            [how @ ("clone" | "producer" | "consumer"), handle] => self.derive(how, handle),
            ["drop", handle] => self.put_down(at(handle)),
            ["push", handle, how, item] => self.push(handle, how, number(item)),
            ["push-many", handle, how, ref items @ ..] => {
                let numbers: Vec<u64> = items.iter().map(|item| number(item)).collect();
                self.push_many(handle, how, &numbers)
            }
            ["reserve", handle, how, room] => self.reserve(handle, how, at(room)),
            ["commit", which, item, length, of] => {
                self.commit(at(which), number(item), at(length), Type::read(of))
            }
            ["abort", which] => {
                drop(self.reservations.remove(at(which)));
                ok()
            }
            ["pop", handle, how] => self.pop(handle, how),
            ["pop-many", handle, how, most] => self.pop_many(handle, how, at(most)),
            ["pop-into", handle, room] => self.pop_into(handle, at(room)),
            ["claim", handle, how] => self.claim(handle, how),
            ["release", which] => {
                self.claims.remove(at(which)).1.release();
                ok()
            }
            ["give-back", which] => {
                self.claims.remove(at(which)).1.give_back();
                ok()
            }
            ["task-done", handle] => {
                popping!(self.handle(handle), queue => queue.task_done(), queue.task_done())?;
                ok()
            }
            ["join", handle, how] => self.join(handle, how),
            ["close", handle] => {
                any!(self.handle(handle), queue => queue.close())?;
                ok()
            }
            ["look", handle] => self.look(handle),
            ["recover", handle] => {
                any!(self.handle(handle), queue => queue.recover())?;
                ok()
            }
            ["add", handle] => match self.handle(handle) {
                Handle::Value(value) => Ok(value.fetch_add(1).to_string()),
                _ => panic!("a queue is no value"),
            },
            ["quit"] => self.quit(),
            _ => panic!("{words:?}"),
        }
    }
}

impl Obeys for Worker<'_> {
    fn obey(&mut self, words: &[&str]) -> String {
        self.done(words).unwrap_or_else(|error| error.kind().name().into())
    }
}
