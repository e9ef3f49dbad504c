//! Planted bugs of rings: one process pushes, one pops, the others look on and close. See `toys.rs`.

use super::call::{Answer, Call, Items, No};
use super::plan::Menu;
use super::run::Subject;
use super::sequential::{RingOf, Rules};
use super::toys::Mapped;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Slots of a toy, at most.
const SLOTS: usize = 8;

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingFault {
    None,
    /// The tail moves on before the item is written.
    PublishesFirst,
    /// Who pushes and who pops look at the flag each when it comes by, and agree on no end.
    EachDecides,
}

#[repr(C)]
struct Words {
    head: AtomicU64,
    tail: AtomicU64,
    closing: AtomicU64,
    /// Where the stream ends, plus one.
    end: AtomicU64,
    slots: [AtomicU64; SLOTS],
}

/// A ring of one producer and one consumer.
pub struct Spsc(Mapped<Words>, usize, RingFault);

impl Spsc {
    pub fn new(capacity: usize, fault: RingFault) -> Self {
        Self(Mapped::new(), capacity, fault)
    }

    fn slot(&self, position: u64) -> &AtomicU64 {
        &self.0.slots[position as usize % self.1]
    }

    fn is_closing(&self) -> bool {
        self.0.closing.load(SeqCst) == 1
    }

    /// Whether the end is at `proposal`, or where it has been decided to be before.
    fn end(&self, proposal: u64) -> u64 {
        let decided = self.0.end.compare_exchange(0, proposal + 1, SeqCst, SeqCst);
        decided.map_or_else(|before| before - 1, |_| proposal)
    }

    /// The tail as far as it counts.
    fn tail(&self) -> u64 {
        let tail = self.0.tail.load(SeqCst);
        match self.is_closing() && self.2 != RingFault::EachDecides {
            true => tail.min(self.end(self.0.tail.load(SeqCst))),
            false => tail,
        }
    }

    fn push(&self, item: u64) -> Result<(), No> {
        let tail = self.0.tail.load(SeqCst);
        if self.is_closing() && tail >= self.end(tail) {
            return Err(No::Closed);
        }
        if tail - self.0.head.load(SeqCst) >= self.1 as u64 {
            return Err(No::Full);
        }
        if self.2 != RingFault::PublishesFirst {
            self.slot(tail).store(item, SeqCst);
        }
        self.0.tail.store(tail + 1, SeqCst);
        if self.2 == RingFault::PublishesFirst {
            self.slot(tail).store(item, SeqCst);
        }
        if !self.is_closing() {
            return Ok(());
        }
        match self.2 {
            RingFault::EachDecides => Err(No::Closed),
            _ if self.end(tail + 1) > tail => Ok(()),
            _ => Err(No::Closed),
        }
    }

    fn pop(&self) -> Result<u64, No> {
        let head = self.0.head.load(SeqCst);
        if self.tail() == head {
            let drained = self.is_closing() && self.end(self.0.tail.load(SeqCst)) <= head;
            return Err(if drained { No::Closed } else { No::Empty });
        }
        let item = self.slot(head).load(SeqCst);
        self.0.head.store(head + 1, SeqCst);
        Ok(item)
    }

    /// Nobody else moves the head while the tail is read, or it is read again.
    fn len(&self) -> u64 {
        loop {
            let head = self.0.head.load(SeqCst);
            let tail = self.tail();
            if self.0.head.load(SeqCst) == head {
                return tail - head;
            }
        }
    }
}

impl Subject for Spsc {
    type Hand<'a> = ();

    fn rules(&self) -> Rules {
        Rules {
            capacity: self.1,
            slots: false,
            overwrites: false,
            drops: false,
            ring: Some(RingOf::Numbers),
        }
    }

    fn menu(&self, process: usize) -> Menu {
        Menu {
            pushes: process == 0,
            pops: process == 1,
            looks: true,
            waits: false,
            in_place: false,
            closes: true,
            roles: true,
        }
    }

    fn act(&self, call: Call, (): &mut ()) -> Answer {
        match call {
            Call::Push(_, item) => self.push(item).map_or_else(Answer::No, |()| Answer::Done),
            Call::Pop(_) => {
                self.pop().map_or_else(Answer::No, |item| Answer::Popped(Items::of(&[item])))
            }
            Call::Close => {
                self.0.closing.store(1, SeqCst);
                self.end(self.0.tail.load(SeqCst));
                Answer::Done
            }
            Call::Len => Answer::Count(self.len() as usize),
            Call::IsEmpty => Answer::Is(self.len() == 0),
            Call::IsFull => Answer::Is(self.len() == self.1 as u64),
            // The roles are whose they are.
            Call::Leave => Answer::Done,
            other => panic!("{other:?} is not in the menu"),
        }
    }
}
