//! What messages go through, whoever made it: two ends, and the work that rounds do with them.
//!
//! A message carries a number: once in 8 bytes, in every 8 bytes of a longer one. All of it is
//! written when it is pushed, and read when it is popped.

use crate::Result;
use crossbeam_utils::Backoff;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Bytes of the numbers that messages are made of.
pub const WORD: usize = size_of::<u64>();

/// The end where messages go in.
pub trait Push {
    /// Pushes the message of `number`, unless there is no room.
    fn try_push(&mut self, number: u64) -> bool;

    /// Pushes the messages of all `numbers`, waiting for room.
    fn push_all(&mut self, numbers: Range<u64>) {
        for number in numbers {
            until(|| self.try_push(number).then_some(()));
        }
    }
}

/// The end where messages come out.
pub trait Pop {
    /// Pops a message; the sum of its words.
    fn try_pop(&mut self) -> Option<u64>;

    /// Pops `count` messages, waiting for them; the sum of their words.
    fn pop_all(&mut self, count: u64) -> u64 {
        (0..count).fold(0, |sum: u64, _| sum.wrapping_add(until(|| self.try_pop())))
    }
}

/// Both ends; each is made in the process or thread that uses it.
pub trait Channel {
    /// An end to push at.
    fn producer(&self) -> Result<impl Push + '_>;
    /// An end to pop at.
    fn consumer(&self) -> Result<impl Pop + '_>;
}

/// Tries until it succeeds: spins a little, then offers the processor to others.
#[inline]
pub fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    if let Some(done) = attempt() {
        return done;
    }
    let backoff = Backoff::new();
    loop {
        backoff.snooze();
        if let Some(done) = attempt() {
            return done;
        }
    }
}

/// The sum of the words of the messages of all numbers below `count`, in messages of `bytes`.
pub fn expected(count: u64, bytes: usize) -> u64 {
    let numbers = u128::from(count) * u128::from(count - 1) / 2;
    (numbers as u64).wrapping_mul((bytes / WORD) as u64)
}

/// Messages of so many bytes that a channel holds: 1 MiB of them, but neither very few nor very many.
pub const fn capacity(bytes: usize) -> usize {
    match (1 << 20) / bytes {
        0..4 => 4,
        4..1024 => (1 << 20) / bytes,
        _ => 1024,
    }
}

/// The sum of a message's words.
#[inline]
pub fn sum(words: &[u64]) -> u64 {
    words.iter().fold(0, |sum: u64, word| sum.wrapping_add(*word))
}

/// Writes the numbers from `first` on.
#[inline]
pub fn fill(places: &mut [MaybeUninit<u64>], first: u64) {
    for (place, number) in places.iter_mut().zip(first..) {
        place.write(number);
    }
}

/// The words as bytes.
pub fn bytes(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: the same memory; bytes and words may have any value.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
}
