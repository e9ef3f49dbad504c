//! Planted bugs: queues in shared memory that are wrong in one way each, which the checker has to find; and the
//! same queues without the fault, in which it must find nothing.

use super::call::{Answer, Call, Items, No};
use super::plan::Menu;
use super::record::map;
use super::run::Subject;
use super::sequential::Rules;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Slots of a toy, at most.
const SLOTS: usize = 8;

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// An item is counted before it is written.
    PublishesFirst,
    /// The hint of the first item moves on before the item is taken.
    HeadAhead,
    /// The hint of the first free slot moves on before the slot is filled.
    TailAhead,
}

#[repr(C)]
#[derive(Default)]
struct Words {
    lock: AtomicU64,
    head: AtomicU64,
    tail: AtomicU64,
    slots: [AtomicU64; SLOTS],
}

/// A toy's words, which children inherit.
pub struct Mapped<W>(*mut W);

impl<W> Mapped<W> {
    /// Of zeros, which are valid for all that toys are made of.
    pub fn new() -> Self {
        Self(map(size_of::<W>()).cast())
    }
}

impl<W> std::ops::Deref for Mapped<W> {
    type Target = W;

    fn deref(&self) -> &W {
        // SAFETY: mapped as long as this; zeros are valid atomics.
        unsafe { &*self.0 }
    }
}

impl<W> Drop for Mapped<W> {
    fn drop(&mut self) {
        // SAFETY: our own mapping.
        unsafe { libc::munmap(self.0.cast(), size_of::<W>()) };
    }
}

fn menu(looks: bool) -> Menu {
    Menu {
        pushes: true,
        pops: true,
        looks,
        waits: false,
        in_place: false,
        closes: false,
        roles: false,
    }
}

fn pushed(room: bool) -> Answer {
    if room { Answer::Done } else { Answer::No(No::Full) }
}

fn popped(item: Option<u64>) -> Answer {
    item.map_or(Answer::No(No::Empty), |item| Answer::Popped(Items::of(&[item])))
}

/// A queue under a spin lock.
pub struct Locked(Mapped<Words>, usize, Fault);

impl Locked {
    pub fn new(capacity: usize, fault: Fault) -> Self {
        Self(Mapped::new(), capacity, fault)
    }

    fn locked<R>(&self, f: impl FnOnce() -> R) -> R {
        while self.0.lock.swap(1, SeqCst) == 1 {
            std::thread::yield_now();
        }
        let result = f();
        self.0.lock.store(0, SeqCst);
        result
    }

    fn slot(&self, position: u64) -> &AtomicU64 {
        &self.0.slots[position as usize % self.1]
    }

    fn len(&self) -> u64 {
        self.0.tail.load(SeqCst) - self.0.head.load(SeqCst)
    }

    fn push(&self, item: u64) -> bool {
        let late = self.2 == Fault::PublishesFirst;
        let place = self.locked(|| {
            let tail = self.0.tail.load(SeqCst);
            if self.len() == self.1 as u64 {
                return None;
            }
            if !late {
                self.slot(tail).store(item, SeqCst);
            }
            self.0.tail.store(tail + 1, SeqCst);
            Some(tail)
        });
        if let (true, Some(tail)) = (late, place) {
            self.slot(tail).store(item, SeqCst);
        }
        place.is_some()
    }

    fn pop(&self) -> Option<u64> {
        self.locked(|| {
            let head = self.0.head.load(SeqCst);
            (self.len() > 0).then(|| {
                self.0.head.store(head + 1, SeqCst);
                self.slot(head).load(SeqCst)
            })
        })
    }
}

fn rules(capacity: usize) -> Rules {
    Rules { capacity, slots: true, overwrites: false, drops: false, ring: None }
}

impl Subject for Locked {
    type Hand<'a> = ();

    fn rules(&self) -> Rules {
        rules(self.1)
    }

    fn menu(&self, _process: usize) -> Menu {
        menu(true)
    }

    fn act(&self, call: Call, (): &mut ()) -> Answer {
        match call {
            Call::Push(_, item) => pushed(self.push(item)),
            Call::Pop(_) => popped(self.pop()),
            Call::Len => Answer::Count(self.locked(|| self.len()) as usize),
            Call::IsEmpty => Answer::Is(self.locked(|| self.len()) == 0),
            Call::IsFull => Answer::Is(self.locked(|| self.len()) == self.1 as u64),
            other => panic!("{other:?} is not in the menu"),
        }
    }
}

/// A ring without locks: a slot's word says of which lap it is, whether it has an item, and which. Where the first
/// item is, and the first free slot, is found from hints on, which have to stay behind the truth.
pub struct Hinted(Mapped<Words>, usize, Fault);

/// A slot's word: 31 bits of lap, one that says full, the item.
const FULL: u64 = 1 << 32;
const LAP: u32 = 33;

impl Hinted {
    pub fn new(capacity: usize, fault: Fault) -> Self {
        Self(Mapped::new(), capacity, fault)
    }

    /// The slot of a position, and the lap in which it is the position's.
    fn slot(&self, position: u64) -> (&AtomicU64, u64) {
        let count = self.1 as u64;
        (&self.0.slots[(position % count) as usize], position / count)
    }

    fn push(&self, item: u64) -> bool {
        let mut position = self.0.tail.load(SeqCst);
        loop {
            let (slot, lap) = self.slot(position);
            let word = slot.load(SeqCst);
            let full = word & FULL != 0;
            match (word >> LAP, full) {
                (found, false) if found == lap => {
                    if self.2 == Fault::TailAhead {
                        self.0.tail.store(position + 1, SeqCst);
                    }
                    let filled = word >> LAP << LAP | FULL | item;
                    if slot.compare_exchange(word, filled, SeqCst, SeqCst).is_ok() {
                        self.0.tail.store(position + 1, SeqCst);
                        return true;
                    }
                }
                (found, true) if found + 1 == lap => return false,
                (found, _) if found >= lap => position += 1,
                _ => std::thread::yield_now(), // only a hint that is ahead leads here
            }
        }
    }

    fn pop(&self) -> Option<u64> {
        let mut position = self.0.head.load(SeqCst);
        loop {
            let (slot, lap) = self.slot(position);
            let word = slot.load(SeqCst);
            match (word >> LAP, word & FULL != 0) {
                (found, true) if found == lap => {
                    if self.2 == Fault::HeadAhead {
                        self.0.head.store(position + 1, SeqCst);
                    }
                    let emptied = (lap + 1) << LAP;
                    if slot.compare_exchange(word, emptied, SeqCst, SeqCst).is_ok() {
                        self.0.head.store(position + 1, SeqCst);
                        return Some(word & (FULL - 1));
                    }
                }
                (found, _) if found > lap => position += 1,
                _ => return None,
            }
        }
    }
}

impl Subject for Hinted {
    type Hand<'a> = ();

    fn rules(&self) -> Rules {
        rules(self.1)
    }

    fn menu(&self, _process: usize) -> Menu {
        menu(false)
    }

    fn act(&self, call: Call, (): &mut ()) -> Answer {
        match call {
            Call::Push(_, item) => pushed(self.push(item)),
            Call::Pop(_) => popped(self.pop()),
            other => panic!("{other:?} is not in the menu"),
        }
    }
}
