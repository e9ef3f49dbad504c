//! Blocks of payload memory, and who owns each.
//!
//! # Overview
//! A block is a header of 16 bytes and a payload. The header's word says who may touch the payload;
//! every change of hands is one CAS that names the new owner, so that what a dead participant
//! held is found by looking at the words. There is no free list and no log that a death could leave
//! half-written.
//!
//! # Layout
//! `word` = generation: 52 bits, owner's slot: 10, state: 2. At a change every 20 ns of one and the same block,
//! the generation wraps after 2.8 years; a wrap matters only to a participant that was stopped
//! in the middle of one operation for exactly that long.
//!
//! | state | means | changed by |
//! |---|---|---|
//! | FREE | nobody's | anybody: → RESERVED(me) |
//! | RESERVED(o), in no slot | o is writing it | o: → FREE; repair of o: → FREE |
//! | RESERVED(o), named by a slot | a committed item | any consumer: → LEASED(me) |
//! | LEASED(o) | o is reading it | o: → FREE or RETURNED; repair of o: → RETURNED |
//! | RETURNED | an item that was given back | any consumer: → LEASED(me), marked as redelivered |
//!
//! # Invariants
//! - I1. Every change of a word bumps its generation, so a CAS from what was read changes the very
//!   tenure that was read.
//! - I2. The payload and `length` are written only by the owner of RESERVED, read only by the owner
//!   of LEASED.
//! - I3. A block is RESERVED and named by a slot from its commit to its claim, and in no slot otherwise, but
//!   that a slot may for a moment still name a block that is LEASED.
//!
//! # Ordering edges
//! - E1. A word leaves LEASED with Release after the last read of the payload, and becomes RESERVED
//!   with Acquire before its first write.
//! - E2. A word becomes LEASED with Acquire: what the producer wrote before its commit (the ring's
//!   edge) or what the last reader did before it gave the item back is visible.
//!
//! # Progress
//! Every step is one CAS or one store of the owner.
//!
//! # Source
//! Ours; the claim that carries its owner is the idea of iceoryx2's robust index set.

use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::layout::offset::Shared;
use std::ops::Range;

const STATE: u64 = 3;
const FREE: u64 = 0;
const RESERVED: u64 = 1;
const LEASED: u64 = 2;
const RETURNED: u64 = 3;
const OWNER_SHIFT: u32 = 2;
const OWNER_MASK: u64 = 0x3ff;
const GENERATION_SHIFT: u32 = 12;

/// What a word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Free,
    /// Being written by, or committed by, the participant in this slot.
    Reserved(u32),
    /// Being read by the participant in this slot.
    Leased(u32),
    Returned,
}

/// A word as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(u64);

impl Word {
    pub(crate) fn standing(self) -> Standing {
        let owner = (self.0 >> OWNER_SHIFT & OWNER_MASK) as u32;
        match self.0 & STATE {
            FREE => Standing::Free,
            RESERVED => Standing::Reserved(owner),
            LEASED => Standing::Leased(owner),
            _ => Standing::Returned,
        }
    }

    pub(crate) fn is_reserved(self) -> bool {
        self.0 & STATE == RESERVED
    }

    /// Grows with every change of the word.
    pub(crate) fn generation(self) -> u64 {
        self.0 >> GENERATION_SHIFT
    }

    /// I1: the same block in its next tenure.
    fn then(self, state: u64, owner: u32) -> Self {
        let generation = (self.0 >> GENERATION_SHIFT).wrapping_add(1);
        Self(generation << GENERATION_SHIFT | u64::from(owner) << OWNER_SHIFT | state)
    }
}

/// The head of a block.
#[repr(C)]
pub(crate) struct Block {
    word: AtomicU64,
    /// Bytes of the payload in use. By the owner of RESERVED, before the commit.
    length: AtomicU32,
    /// How often the item was claimed after it had been given back. By the owner.
    redelivered: AtomicU32,
}
// SAFETY: atomics only.
unsafe impl Shared for Block {}

/// Bytes of a block's head.
pub(crate) const HEAD: usize = 16;

impl Block {
    #[cfg(all(test, loom))]
    pub(crate) fn new() -> Self {
        Self { word: AtomicU64::new(0), length: AtomicU32::new(0), redelivered: AtomicU32::new(0) }
    }

    #[inline]
    pub(crate) fn load(&self) -> Word {
        Word(self.word.load(Ordering::Acquire)) // E1, E2
    }

    #[inline]
    fn change(&self, from: Word, to: Word) -> bool {
        self.word.compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// FREE → RESERVED(me).
    #[inline]
    pub(crate) fn reserve(&self, seen: Word, me: u32) -> Option<Word> {
        let mine = seen.then(RESERVED, me);
        // E1: pairs with `free`.
        if seen.standing() != Standing::Free || !self.change(seen, mine) {
            return None;
        }
        self.redelivered.store(0, Ordering::Relaxed);
        Some(mine)
    }

    /// RESERVED by anybody, or RETURNED → LEASED(me). E2.
    #[inline]
    pub(crate) fn lease(&self, seen: Word, me: u32) -> Option<Word> {
        let mine = seen.then(LEASED, me);
        if !self.change(seen, mine) {
            return None;
        }
        if seen.0 & STATE == RETURNED {
            // Ours alone now. A consumer killed just here makes the count one too low, never the mark.
            self.redelivered.fetch_add(1, Ordering::Relaxed);
        }
        Some(mine)
    }

    /// The owner's own word → FREE. Nobody else changes the word of a living owner.
    #[inline]
    pub(crate) fn free(&self, mine: Word) {
        self.word.store(mine.then(FREE, 0).0, Ordering::Release); // E1: pairs with `reserve`
    }

    /// A dead owner's RESERVED → FREE, if it is still what was seen.
    pub(crate) fn free_of_the_dead(&self, seen: Word) -> bool {
        self.change(seen, seen.then(FREE, 0))
    }

    /// LEASED → RETURNED, if it is still what was seen.
    pub(crate) fn give_back(&self, seen: Word) -> bool {
        self.change(seen, seen.then(RETURNED, 0))
    }

    #[inline]
    pub(crate) fn set_length(&self, length: u32) {
        self.length.store(length, Ordering::Relaxed);
    }

    /// Bytes in use, as the producer said: to be checked against the block's size.
    #[inline]
    pub(crate) fn length(&self) -> u32 {
        self.length.load(Ordering::Relaxed)
    }

    pub(crate) fn redelivered(&self) -> u32 {
        self.redelivered.load(Ordering::Relaxed)
    }
}

/// The blocks of a queue: on a mapping, or on the heap for the models.
pub(crate) trait Blocks {
    fn count(&self) -> u32;
    /// The block's head; `None` when there is no such block (a hostile number).
    fn get(&self, index: u32) -> Option<&Block>;
    /// The blocks of the least size that has room for `length` bytes; those behind them have more.
    fn fitting(&self, length: u32) -> Range<u32>;
    /// The block, if there is one, is about to change hands, and its first bytes to be written or read.
    #[inline]
    fn fetch(&self, _index: u32) {}
}

impl Blocks for [Block] {
    fn count(&self) -> u32 {
        self.len() as u32
    }

    fn get(&self, index: u32) -> Option<&Block> {
        <[Block]>::get(self, index as usize)
    }

    fn fitting(&self, _length: u32) -> Range<u32> {
        0..self.len() as u32
    }
}
