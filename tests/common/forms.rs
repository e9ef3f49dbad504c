//! The three forms of a queue behind one face, so that each behaviour is asked of all of them.

#![allow(dead_code)]

use mpshm::{Place, PopError, PushError, Queue, QueueOptions};
use std::time::Duration;

/// A queue of numbers: in slots, in blocks of a fixed size, or in messages of many lengths.
pub enum Numbers {
    Slots(Queue<u64>),
    Blocks(Queue<[u64; 5]>),
    Messages(Queue<[u8]>),
}

/// The longest message that carries a number.
pub const LONGEST: usize = 8 + 60;

/// A number as a message: eight bytes, and a tail whose length and bytes follow from it.
pub fn encode(number: u64) -> Vec<u8> {
    let mut message = number.to_ne_bytes().to_vec();
    message.resize(8 + (number % 61) as usize, number as u8);
    message
}

/// The number of a message; fails when the message is not whole.
#[track_caller]
pub fn decode(message: &[u8]) -> u64 {
    let number = u64::from_ne_bytes(message[..8].try_into().expect("eight bytes"));
    assert_eq!(message, encode(number), "a torn message");
    number
}

#[track_caller]
fn whole(block: [u64; 5]) -> u64 {
    let number = block[0];
    assert_eq!(block, wide(number), "a torn block");
    number
}

fn wide(number: u64) -> [u64; 5] {
    [number, !number, number ^ 1, number.rotate_left(7), number]
}

fn nothing<V>(error: PushError<V>) -> PushError<()> {
    match error {
        PushError::Full(_) => PushError::Full(()),
        PushError::TimedOut(_) => PushError::TimedOut(()),
        PushError::Closed(_) => PushError::Closed(()),
        PushError::Interrupted(_) => PushError::Interrupted(()),
        PushError::Failed(_, error) => PushError::Failed((), error),
        other => panic!("{:?}", other.kind()),
    }
}

macro_rules! each {
    ($numbers:expr, $queue:ident => $call:expr) => {
        match $numbers {
            Numbers::Slots($queue) => $call,
            Numbers::Blocks($queue) => $call,
            Numbers::Messages($queue) => $call,
        }
    };
}

impl Numbers {
    /// Anonymous queues of every form.
    pub fn all(capacity: u64) -> [Self; 3] {
        [
            Self::Slots(Queue::<u64>::new(capacity).unwrap()),
            Self::Blocks(Queue::<[u64; 5]>::new(capacity).unwrap()),
            Self::Messages(Queue::<[u8]>::new(capacity, LONGEST as u64).unwrap()),
        ]
    }

    /// Queues of every form at three places.
    pub fn create(places: [Place<'_>; 3], options: &QueueOptions) -> mpshm::Result<[Self; 3]> {
        let options = options.clone().message_max(LONGEST as u64);
        Ok([
            Self::Slots(Queue::<u64>::create(places[0], &options)?),
            Self::Blocks(Queue::<[u64; 5]>::create(places[1], &options)?),
            Self::Messages(Queue::<[u8]>::create(places[2], &options)?),
        ])
    }

    /// What it is, for messages of tests.
    pub fn form(&self) -> &'static str {
        match self {
            Self::Slots(_) => "slots",
            Self::Blocks(_) => "blocks",
            Self::Messages(_) => "messages",
        }
    }

    pub fn try_push(&self, number: u64) -> Result<(), PushError<()>> {
        match self {
            Self::Slots(queue) => queue.try_push(number).map_err(nothing),
            Self::Blocks(queue) => queue.try_push(wide(number)).map_err(nothing),
            Self::Messages(queue) => queue.try_push(&encode(number)),
        }
    }

    pub fn push(&self, number: u64) -> Result<(), PushError<()>> {
        match self {
            Self::Slots(queue) => queue.push(number).map_err(nothing),
            Self::Blocks(queue) => queue.push(wide(number)).map_err(nothing),
            Self::Messages(queue) => queue.push(&encode(number)),
        }
    }

    pub fn push_timeout(&self, number: u64, wait: Duration) -> Result<(), PushError<()>> {
        match self {
            Self::Slots(queue) => queue.push_timeout(number, wait).map_err(nothing),
            Self::Blocks(queue) => queue.push_timeout(wide(number), wait).map_err(nothing),
            Self::Messages(queue) => queue.push_timeout(&encode(number), wait),
        }
    }

    pub fn try_pop(&self) -> Result<u64, PopError> {
        match self {
            Self::Slots(queue) => queue.try_pop(),
            Self::Blocks(queue) => queue.try_pop().map(whole),
            Self::Messages(queue) => queue.try_pop().map(|message| decode(&message)),
        }
    }

    pub fn pop(&self) -> Result<u64, PopError> {
        match self {
            Self::Slots(queue) => queue.pop(),
            Self::Blocks(queue) => queue.pop().map(whole),
            Self::Messages(queue) => queue.pop().map(|message| decode(&message)),
        }
    }

    pub fn pop_timeout(&self, wait: Duration) -> Result<u64, PopError> {
        match self {
            Self::Slots(queue) => queue.pop_timeout(wait),
            Self::Blocks(queue) => queue.pop_timeout(wait).map(whole),
            Self::Messages(queue) => queue.pop_timeout(wait).map(|message| decode(&message)),
        }
    }

    /// Everything that can be popped without waiting.
    pub fn drain(&self) -> Vec<u64> {
        std::iter::from_fn(|| self.try_pop().ok()).collect()
    }

    pub fn len(&self) -> usize {
        each!(self, queue => queue.len())
    }

    pub fn is_empty(&self) -> bool {
        each!(self, queue => queue.is_empty())
    }

    pub fn is_full(&self) -> bool {
        each!(self, queue => queue.is_full())
    }

    pub fn capacity(&self) -> usize {
        each!(self, queue => queue.capacity())
    }

    pub fn close(&self) {
        each!(self, queue => queue.close()).unwrap();
    }

    pub fn is_closed(&self) -> bool {
        each!(self, queue => queue.is_closed()).unwrap()
    }

    /// Another handle, for another thread.
    pub fn another(&self) -> Self {
        match self {
            Self::Slots(queue) => Self::Slots(queue.clone()),
            Self::Blocks(queue) => Self::Blocks(queue.clone()),
            Self::Messages(queue) => Self::Messages(queue.clone()),
        }
    }

    /// Repairs what the dead left, and fails unless every block is free or holds an item.
    #[track_caller]
    pub fn check_blocks(&self) {
        each!(self, queue => queue.recover()).unwrap();
        let audit = each!(self, queue => queue.audit()).unwrap();
        assert_eq!((audit.reserved, audit.leased), (0, 0), "{}: {audit:?}", self.form());
        if audit.blocks > 0 {
            assert_eq!(audit.free + audit.queued + audit.returned, audit.blocks, "{audit:?}");
        }
    }

    /// Fails unless the empty queue takes exactly its capacity, and gives it back in order.
    #[track_caller]
    pub fn check_full_cycle(&self) {
        assert!(self.is_empty(), "{}: {} items are left", self.form(), self.len());
        self.check_blocks();
        let capacity = self.capacity() as u64;
        for number in 0..capacity {
            assert_eq!(self.try_push(number), Ok(()), "{}: {number} of {capacity}", self.form());
        }
        assert_eq!(self.try_push(0), Err(PushError::Full(())));
        assert_eq!(self.drain(), (0..capacity).collect::<Vec<_>>());
        self.check_blocks();
    }
}
