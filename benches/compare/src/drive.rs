//! The work of a round: messages through a channel as fast as they go, or there and back.

use crate::channel::{Channel, Pop, Push, expected};
use crate::crew::{self, Gate, Round};
use crate::shared::Numbers;
use crate::{Result, cpu};
use std::time::Instant;

/// Who takes part. Producers are on one core, consumers on another.
#[derive(Clone, Copy)]
pub struct Crew {
    pub producers: u64,
    pub consumers: u64,
}

impl Crew {
    /// One of each.
    pub const PAIR: Self = Self::of(1);

    /// So many of each.
    pub const fn of(each: u64) -> Self {
        Self { producers: each, consumers: each }
    }

    /// So many messages, or a multiple, can be shared out evenly.
    pub const fn grain(self) -> u64 {
        100 * self.producers * self.consumers
    }

    fn cpus(self) -> Vec<usize> {
        let (first, second) = cpu::pair();
        let producers = std::iter::repeat_n(first, self.producers as usize);
        producers.chain(std::iter::repeat_n(second, self.consumers as usize)).collect()
    }

    /// A member's part of `work` messages: a producer pushes its share of the numbers below `work`, a
    /// consumer pops as many as every other, and returns the sum of what was in them.
    fn part(self, work: u64, gate: Gate<'_>, channel: &impl Channel) -> u64 {
        let index = gate.index as u64;
        if index < self.producers {
            let share = work / self.producers;
            let mut producer = channel.producer().expect("a producer");
            gate.pass();
            producer.push_all(index * share..(index + 1) * share);
            gate.finish();
            0
        } else {
            let share = work / self.consumers;
            let mut consumer = channel.consumer().expect("a consumer");
            gate.pass();
            let sum = consumer.pop_all(share);
            gate.finish();
            sum
        }
    }
}

/// `work` messages of `bytes` from the crew's producers to its consumers, all of them processes; the seconds.
pub fn processes(crew: Crew, channel: &impl Channel, bytes: usize, work: u64) -> Result<f64> {
    let round = crew::processes(&crew.cpus(), |gate| crew.part(work, gate, channel))?;
    check_sum(round, expected(work, bytes))
}

/// The same, all of them threads of one process.
pub fn threads(
    crew: Crew,
    channel: &(impl Channel + Sync),
    bytes: usize,
    work: u64,
) -> Result<f64> {
    let round = crew::threads(&crew.cpus(), |gate| crew.part(work, gate, channel))?;
    check_sum(round, expected(work, bytes))
}

fn check_sum(round: Round, expected: u64) -> Result<f64> {
    let sum = round.values.iter().fold(0, |sum: u64, part| sum.wrapping_add(*part));
    if sum != expected {
        return Err(format!("the sum is {sum}, {expected} was expected").into());
    }
    Ok(round.seconds)
}

/// One process alone pushes and pops a message of `bytes`, `work` times; the seconds.
pub fn alone(channel: &impl Channel, bytes: usize, work: u64) -> Result<f64> {
    let round = crew::processes(&[cpu::pair().1], |gate| {
        let mut producer = channel.producer().expect("a producer");
        let mut consumer = channel.consumer().expect("a consumer");
        gate.pass();
        let mut sum = 0_u64;
        for number in 0..work {
            assert!(producer.try_push(number), "an empty channel has no room");
            sum = sum.wrapping_add(consumer.try_pop().expect("what was just pushed"));
        }
        gate.finish();
        sum
    })?;
    check_sum(round, expected(work, bytes))
}

/// `trips` messages of 8 bytes, every other one there and back again between two processes that poll; the seconds.
pub fn ping_pong(there: &impl Channel, back: &impl Channel, trips: u64) -> Result<f64> {
    let round = crew::processes(&both(), |gate| {
        if gate.index == 0 {
            call(&gate, there, back, trips / 2, |_| ());
        } else {
            answer(&gate, there, back, trips / 2);
        }
        0
    })?;
    Ok(round.seconds)
}

/// The same; the nanoseconds of half of each way there and back.
pub fn trip_times(there: &impl Channel, back: &impl Channel, trips: u64) -> Result<Vec<u64>> {
    let times = Numbers::new(trips as usize)?;
    crew::processes(&both(), |gate| {
        if gate.index == 0 {
            let mut before = Instant::now();
            call(&gate, there, back, trips, |number| {
                let now = Instant::now();
                times.set(number as usize, (now - before).as_nanos() as u64 / 2);
                before = now;
            });
        } else {
            answer(&gate, there, back, trips);
        }
        0
    })?;
    Ok(times.to_vec())
}

fn both() -> [usize; 2] {
    cpu::pair().into()
}

/// Sends the numbers below `count` there, each when the one before has come `back`, and was told of.
fn call(
    gate: &Gate<'_>,
    there: &impl Channel,
    back: &impl Channel,
    count: u64,
    mut came: impl FnMut(u64),
) {
    let mut there = there.producer().expect("a producer");
    let mut back = back.consumer().expect("a consumer");
    gate.pass();
    for number in 0..count {
        poll(|| there.try_push(number).then_some(()));
        assert_eq!(poll(|| back.try_pop()), number, "another message came back");
        came(number);
    }
    gate.finish();
}

/// Sends back what comes from there.
fn answer(gate: &Gate<'_>, there: &impl Channel, back: &impl Channel, count: u64) {
    let mut there = there.consumer().expect("a consumer");
    let mut back = back.producer().expect("a producer");
    gate.pass();
    for _ in 0..count {
        let number = poll(|| there.try_pop());
        poll(|| back.try_push(number).then_some(()));
    }
    gate.finish();
}

/// Tries without giving way to anybody.
#[inline]
fn poll<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(done) = attempt() {
            return done;
        }
        std::hint::spin_loop();
    }
}
