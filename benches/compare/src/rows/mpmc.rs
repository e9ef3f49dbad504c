//! Many producers and many consumers on one queue, messages of 8 bytes.

use crate::crew::{self, Gate};
use crate::measure::{Row, Sides, Unit};
use crate::{Result, cpu};
use crossbeam_queue::ArrayQueue;
use crossbeam_utils::Backoff;
use mpshm::Queue;

const CAPACITY: u64 = 1024;

/// Ours between processes, the peer between threads.
pub fn against_array_queue() -> Row {
    let crew = Crew { producers: 2, consumers: 2 };
    Row {
        id: "mpmc_2p2c_vs_arrayqueue",
        unit: Unit::MillionsPerSecond,
        peer_name: "crossbeam ArrayQueue, threads",
        target: 1.0,
        grain: crew.grain(),
        prepare: Box::new(move || {
            Ok(Sides {
                ours: Box::new(move |work| ours(crew, work)),
                peer: Ok(Box::new(move |work| array_queue(crew, work))),
            })
        }),
    }
}

/// The peer against itself: anything but 1 is the machinery's own doing.
pub fn self_check() -> Row {
    let crew = Crew { producers: 2, consumers: 2 };
    Row {
        id: "self_check",
        unit: Unit::MillionsPerSecond,
        peer_name: "the same ArrayQueue",
        target: 1.0,
        grain: crew.grain(),
        prepare: Box::new(move || {
            Ok(Sides {
                ours: Box::new(move |work| array_queue(crew, work)),
                peer: Ok(Box::new(move |work| array_queue(crew, work))),
            })
        }),
    }
}

/// Who takes part. Producers are on one core, consumers on another.
#[derive(Clone, Copy)]
struct Crew {
    producers: u64,
    consumers: u64,
}

impl Crew {
    /// So many messages, or a multiple, can be shared out evenly.
    fn grain(self) -> u64 {
        100 * self.producers * self.consumers
    }

    fn cpus(self) -> Vec<usize> {
        let (first, second) = cpu::pair();
        let producers = std::iter::repeat_n(first, self.producers as usize);
        producers.chain(std::iter::repeat_n(second, self.consumers as usize)).collect()
    }

    /// A member's part of `work` messages: a producer pushes its share of the numbers below `work`, a
    /// consumer pops as many as every other, and returns their sum.
    fn part(self, work: u64, gate: Gate<'_>, queue: &impl Ends) -> u64 {
        let index = gate.index as u64;
        if index < self.producers {
            let share = work / self.producers;
            gate.pass();
            (index * share..(index + 1) * share).for_each(|number| queue.push(number));
            0
        } else {
            let share = work / self.consumers;
            gate.pass();
            (0..share).fold(0, |sum: u64, _| sum.wrapping_add(queue.pop()))
        }
    }

    fn check(self, work: u64, round: crew::Round) -> Result<f64> {
        let sum = round.values.iter().fold(0, |sum: u64, part| sum.wrapping_add(*part));
        let expected = (u128::from(work) * u128::from(work - 1) / 2) as u64;
        if sum != expected {
            return Err(format!("the sum is {sum}, {expected} was expected").into());
        }
        Ok(round.seconds)
    }
}

/// A queue's two ends, both blocking.
trait Ends {
    fn push(&self, number: u64);
    fn pop(&self) -> u64;
}

impl Ends for Queue<u64> {
    #[inline]
    fn push(&self, number: u64) {
        Queue::<u64>::push(self, number).expect("pushed");
    }

    #[inline]
    fn pop(&self) -> u64 {
        Queue::<u64>::pop(self).expect("popped")
    }
}

/// It does not block by itself: its own authors' back-off spins first, then yields.
impl Ends for ArrayQueue<u64> {
    #[inline]
    fn push(&self, number: u64) {
        if ArrayQueue::push(self, number).is_err() {
            let backoff = Backoff::new();
            while ArrayQueue::push(self, number).is_err() {
                backoff.snooze();
            }
        }
    }

    #[inline]
    fn pop(&self) -> u64 {
        let backoff = Backoff::new();
        loop {
            match ArrayQueue::pop(self) {
                Some(number) => return number,
                None => backoff.snooze(),
            }
        }
    }
}

fn ours(crew: Crew, work: u64) -> Result<f64> {
    let queue = Queue::<u64>::new(CAPACITY)?;
    crew.check(work, crew::processes(&crew.cpus(), |gate| crew.part(work, gate, &queue))?)
}

fn array_queue(crew: Crew, work: u64) -> Result<f64> {
    let queue = ArrayQueue::new(CAPACITY as usize);
    crew.check(work, crew::threads(&crew.cpus(), |gate| crew.part(work, gate, &queue))?)
}
