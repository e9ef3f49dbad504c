//! The queue of many producers and consumers, with items in blocks and in slots.

use super::ledger::Item;
use super::probe::Random;
use super::stream::{Pushed, Stream, Take, Taker, VOID};
use mpshm::{PopError, PushError, Queue, QueueOptions};
use std::time::Duration;

const CAPACITY: u64 = 16;
const LONGEST: usize = 8 + 120;

/// Messages in blocks: what a killed consumer held comes again, marked.
pub struct Blocks(Queue<[u8]>);

/// The message of an item; a void one says that it must never be seen.
fn message(word: u64) -> ([u8; LONGEST], usize) {
    let length = 8 + (word % 113) as usize;
    let mut bytes = [word as u8; LONGEST];
    bytes[..8].copy_from_slice(&word.to_ne_bytes());
    (bytes, length)
}

fn word(item: Item) -> u64 {
    (item.producer as u64) << 56 | item.number
}

fn item(word: u64) -> Item {
    Item { producer: (word >> 56 & 15) as usize, number: word & ((1 << 56) - 1) }
}

fn pushed<V: std::fmt::Debug>(result: Result<(), PushError<V>>) -> Pushed {
    match result {
        Ok(()) => Pushed::Yes,
        Err(PushError::Full(_) | PushError::TimedOut(_)) => Pushed::No,
        Err(other) => panic!("push: {other:?}"),
    }
}

fn nothing(error: PopError) -> Take {
    match error {
        PopError::Empty | PopError::TimedOut => Take::Nothing,
        other => panic!("pop: {other:?}"),
    }
}

impl Stream for Blocks {
    const REDELIVERS: bool = true;

    fn new() -> Self {
        let options = QueueOptions::new(CAPACITY).message_max(LONGEST as u64);
        Self(Queue::<[u8]>::with_options(&options).unwrap())
    }

    fn push(&self, item: Item, way: u64, random: &mut Random) -> Pushed {
        let (bytes, length) = message(word(item));
        let bytes = &bytes[..length];
        let queue = &self.0;
        match way % 8 {
            0 => pushed(queue.try_push(bytes)),
            1 | 2 => pushed(queue.push_timeout(bytes, Duration::from_micros(random.below(300)))),
            3 | 4 => pushed(queue.push(bytes)),
            5 => {
                // Reserved, filled with what nobody may ever see, and dropped.
                if let Ok(mut reservation) = queue.try_reserve(LONGEST) {
                    reservation.write_at(0, &(word(item) | VOID).to_ne_bytes()).unwrap();
                    random.pause(2);
                }
                Pushed::No
            }
            _ => {
                let mut reservation = queue.reserve(LONGEST).unwrap();
                reservation.write_at(0, bytes).unwrap();
                pushed(reservation.commit(length).map_err(|error| match error {
                    PushError::Full(_) => PushError::Full(()),
                    other => panic!("commit: {other:?}"),
                }))
            }
        }
    }

    fn take(&self, wait: Option<Duration>, taker: &mut Taker<'_>) -> Take {
        let claim = match wait {
            None => self.0.claim(),
            Some(Duration::ZERO) => self.0.try_claim(),
            Some(wait) => self.0.claim_timeout(wait),
        };
        let claim = match claim {
            Ok(claim) => claim,
            Err(error) => return nothing(error),
        };
        let bytes = claim.to_vec();
        let first = u64::from_ne_bytes(bytes[..8].try_into().expect("eight bytes"));
        assert!(first & VOID == 0, "an item that was never committed: {first:#x}");
        let (expected, length) = message(first);
        assert_eq!(bytes, expected[..length], "a torn message");
        let marked = claim.deliveries() > 1;
        match taker.chance(16) {
            0 => {
                taker.holds(item(first), marked);
                taker.pause();
                taker.lets_go();
                claim.release();
                taker.finished();
            }
            1 => {
                taker.holds(item(first), marked);
                taker.gives_back();
                claim.give_back();
                taker.gave_back();
            }
            _ => {
                taker.got(item(first), marked);
                claim.release();
                taker.finished();
            }
        }
        Take::Item
    }

    fn recover(&self) {
        self.0.recover().unwrap();
    }

    fn check_clear(&self) -> Result<(), String> {
        let audit = self.0.audit().unwrap();
        let clear = audit.free == audit.blocks && audit.queued == 0 && self.0.is_empty();
        if clear { Ok(()) } else { Err(format!("not clear: {audit:?}")) }
    }
}

/// Numbers in the ring's slots: what a killed consumer had just taken is gone with it.
pub struct Slots(Queue<u64>);

impl Stream for Slots {
    const REDELIVERS: bool = false;

    fn new() -> Self {
        Self(Queue::<u64>::new(CAPACITY).unwrap())
    }

    fn push(&self, item: Item, way: u64, random: &mut Random) -> Pushed {
        let item = word(item);
        match way % 4 {
            0 => pushed(self.0.try_push(item)),
            1 => pushed(self.0.push_timeout(item, Duration::from_micros(random.below(300)))),
            _ => pushed(self.0.push(item)),
        }
    }

    fn take(&self, wait: Option<Duration>, taker: &mut Taker<'_>) -> Take {
        let popped = match wait {
            None => self.0.pop(),
            Some(Duration::ZERO) => self.0.try_pop(),
            Some(wait) => self.0.pop_timeout(wait),
        };
        match popped {
            Ok(word) => {
                taker.got(item(word), false);
                Take::Item
            }
            Err(error) => nothing(error),
        }
    }

    fn recover(&self) {
        self.0.recover().unwrap();
    }

    fn check_clear(&self) -> Result<(), String> {
        let length = self.0.len();
        if length == 0 { Ok(()) } else { Err(format!("{length} items are left")) }
    }
}
