//! Items in blocks: how a block goes from producer to ring to consumer and back.
//!
//! The ring says in which order, the blocks' words say whose they are; this file joins the two, and
//! repairs what a dead participant leaves between them. It works on borrowed parts, so that the same
//! code runs on a mapping and, on the heap, in the models.
//!
//! # Crash states
//! | killed | leaves | repaired as |
//! |---|---|---|
//! | producer with a block, before the commit's CAS | RESERVED, in no slot | FREE: nothing was pushed |
//! | producer after that CAS | a committed item | left as it is |
//! | consumer before the lease's CAS | a committed item | left as it is |
//! | consumer after it, slot not advanced | LEASED, named by a slot | slot advanced, then RETURNED |
//! | consumer before the release | LEASED | RETURNED: delivered again, marked |
//! | consumer after the release | FREE | – |
//! | repairer, anywhere | some of this | the next repairer does the rest |

use crate::atomic::{AtomicU64, Ordering};
use crate::block::{Block, Blocks, Standing, Word};
use crate::queue::ring::{Items, Lease, Position, Refusal, Ring};
use crate::queue::slot::{BlockSlots, Slots};
use std::cell::Cell;
use std::ops::Range;

/// A search for a free block gives up after so many rounds in which others kept changing blocks.
const SEARCHES: u32 = 1000;

/// How often it is looked at `count` blocks while others keep changing them: fewer times where a look takes long, so
/// that a peer that never stops changing them holds nobody up for long.
pub(crate) fn looks(count: u32) -> u32 {
    16 + 100_000 / count.max(1)
}

/// A block that a participant owns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub block: u32,
    pub word: Word,
}

/// A block to be committed, and a position that the ring's tail had reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reserved {
    pub held: Held,
    near: Position,
}

/// What one repairer did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Repaired {
    /// Items that went back to be delivered again, and that were dropped.
    pub given_back: u64,
    pub dropped: u64,
    /// 1 for the repairer that was done first.
    pub deaths: u64,
}

/// The parts of a queue whose items lie in blocks, borrowed.
#[derive(Clone, Copy)]
pub(crate) struct Exchange<'a, B: ?Sized> {
    pub ring: Ring<'a, BlockSlots<'a>>,
    pub blocks: &'a B,
    /// Moves on whenever items may have been given back.
    pub returned: &'a AtomicU64,
}

impl<B: Blocks + ?Sized> Items for Exchange<'_, B> {
    #[inline]
    fn stands(&self, item: u64) -> Option<bool> {
        Some(self.blocks.get(u32::try_from(item).ok()?)?.load().is_reserved())
    }
}

impl<B: Blocks + ?Sized> Exchange<'_, B> {
    /// FREE → RESERVED(me), a block of the least size that has room for `length` bytes and one free, when the ring
    /// has room. `cursor` is where a search would begin.
    #[inline]
    pub(crate) fn try_reserve(
        &self,
        me: u32,
        length: u32,
        cursor: &Cell<u32>,
    ) -> Result<Reserved, Refusal> {
        let (near, likely) = self.ring.room(self)?;
        self.reserve_near(near, likely as u32, me, length, cursor)
    }

    /// The same, whether the ring has room or not.
    #[cold]
    pub(crate) fn reserve_anyway(
        &self,
        me: u32,
        length: u32,
        cursor: &Cell<u32>,
    ) -> Result<Reserved, Refusal> {
        let near = self.ring.tail_hint()?;
        self.reserve_near(near, u32::MAX, me, length, cursor)
    }

    #[inline]
    fn reserve_near(
        &self,
        near: Position,
        likely: u32,
        me: u32,
        length: u32,
        cursor: &Cell<u32>,
    ) -> Result<Reserved, Refusal> {
        let fitting = self.blocks.fitting(length);
        // The slot that comes next still names the block that was in it a lap ago: most likely free.
        let likely = if fitting.contains(&likely) { self.take_free(likely, me) } else { None };
        let held = match likely {
            Some(held) => held,
            None => self.search_free(fitting, me, cursor).ok_or(Refusal::Full)?,
        };
        Ok(Reserved { held, near })
    }

    #[inline]
    fn take_free(&self, block: u32, me: u32) -> Option<Held> {
        self.blocks.fetch(block);
        let head = self.blocks.get(block)?;
        let word = head.reserve(head.load(), me)?;
        Some(Held { block, word })
    }

    /// Looks at every block of the size, from `cursor` on and round, then at all larger ones; says that none is free
    /// only if none was at one moment. While one looks, others may free a block behind and take one ahead: generations
    /// only grow, so two looks with the same sum of them saw the same words.
    #[cold]
    fn search_free(&self, fitting: Range<u32>, me: u32, cursor: &Cell<u32>) -> Option<Held> {
        let (least, end) = (fitting.start, fitting.end);
        let turn = if fitting.contains(&cursor.get()) { cursor.get() } else { least };
        let mut before = None;
        for _ in 0..SEARCHES {
            let mut generations = 0u64;
            for block in (turn..end).chain(least..turn).chain(end..self.blocks.count()) {
                if let Some(held) = self.take_free(block, me) {
                    cursor.set(block + 1);
                    return Some(held);
                }
                let word = self.blocks.get(block)?.load();
                generations = generations.wrapping_add(word.generation());
            }
            if before == Some(generations) {
                return None;
            }
            before = Some(generations);
        }
        None
    }

    /// Puts a reserved block into the ring: committed when this returns `Ok`.
    #[inline]
    pub(crate) fn try_commit(&self, reserved: Reserved) -> Result<(), Refusal> {
        self.ring.commit(reserved.near, reserved.held.block.into(), self)
    }

    /// The oldest item, its block LEASED(me); what was given back comes first. `seen` is the value of
    /// `returned` at which this consumer found nothing given back. A consumer that again and again finds others to
    /// have been faster says so in the end.
    #[inline]
    pub(crate) fn try_claim(&self, me: u32, seen: &Cell<u64>) -> Result<Held, Refusal> {
        let mut left = looks(self.blocks.count());
        loop {
            let returned = self.returned.load(Ordering::Acquire);
            if returned != seen.get() {
                if let Some(held) = self.claim_returned(me) {
                    return Ok(held);
                }
                seen.set(returned);
            }
            match self.ring.take_block(|item, still| self.lease(item, me, still)) {
                // Between the two looks nothing was given back, so there was a moment without an item.
                Err(Refusal::Empty | Refusal::Closed)
                    if left > 0 && self.returned.load(Ordering::Acquire) != returned =>
                {
                    left -= 1;
                }
                taken => return taken,
            }
        }
    }

    /// The oldest item of a full ring, its block LEASED(me); none when it is not full any more, or others were faster.
    #[cold]
    pub(crate) fn take_oldest_of_full(&self, me: u32) -> Result<Option<Held>, Refusal> {
        self.ring.take_block_of_full(self, |item, still| self.lease(item, me, still))
    }

    #[inline]
    fn lease(&self, item: u64, me: u32, still: &dyn Fn() -> bool) -> Result<Lease<Held>, Refusal> {
        let block = u32::try_from(item).map_err(|_| Refusal::Corrupt)?;
        let head = self.blocks.get(block).ok_or(Refusal::Corrupt)?;
        self.blocks.fetch(block);
        let word = head.load();
        if !word.is_reserved() {
            return Ok(Lease::Taken);
        }
        // Read the word, then see that the slot still names it: else it may be a later tenure's.
        if !still() {
            return Ok(Lease::LookAgain);
        }
        Ok(match head.lease(word, me) {
            Some(word) => Lease::Ours(Held { block, word }),
            None => Lease::LookAgain,
        })
    }

    #[cold]
    fn claim_returned(&self, me: u32) -> Option<Held> {
        (0..self.blocks.count()).find_map(|block| {
            let head = self.blocks.get(block)?;
            let word = head.load();
            if word.standing() != Standing::Returned {
                return None;
            }
            head.lease(word, me).map(|word| Held { block, word })
        })
    }

    /// LEASED(me) → RETURNED, and says so.
    pub(crate) fn give_back(&self, held: Held) {
        if let Some(head) = self.blocks.get(held.block) {
            head.give_back(held.word);
        }
        self.returned.fetch_add(1, Ordering::SeqCst); // SeqCst: a change that event counts wake for
    }

    pub(crate) fn close(&self) -> Result<(), Refusal> {
        self.ring.close(self)
    }

    pub(crate) fn is_closed(&self) -> Result<bool, Refusal> {
        self.ring.is_closed(self)
    }

    /// Items in the ring; those that were given back are not among them.
    pub(crate) fn len(&self) -> Result<u64, Refusal> {
        self.ring.len(self)
    }

    /// Items that can be taken, in the ring and given back, at one moment of the call.
    ///
    /// Words that are RETURNED in two looks, with the same generations, were so all the time in between, when the ring
    /// was looked at; and nothing else had been given back by then, unless by a call that has not moved `returned` on
    /// as yet. What such a call gave back may be counted. Then `returned` moves on here, so that nobody who asks after
    /// this says that there is nothing.
    ///
    /// Where others give items back and take them without a pause for so many looks (milliseconds), the last look is the
    /// answer: the items in the ring at one moment of the call, and what was seen given back at others.
    pub(crate) fn available(&self) -> Result<u64, Refusal> {
        let mut looks = looks(self.blocks.count());
        loop {
            let returned = self.returned.load(Ordering::Acquire);
            let before = if returned == 0 { Vec::new() } else { self.given_back() };
            let queued = self.len()?;
            looks -= 1;
            if looks != 0
                && (returned != 0 && self.given_back() != before
                    || self.returned.load(Ordering::Acquire) != returned)
            {
                continue;
            }
            if !before.is_empty() {
                self.returned.fetch_add(1, Ordering::AcqRel);
            }
            return Ok(queued + before.len() as u64);
        }
    }

    /// The words that are RETURNED, as they were looked at one after another.
    #[cold]
    fn given_back(&self) -> Vec<(u32, Word)> {
        let words = (0..self.blocks.count())
            .filter_map(|block| Some((block, self.blocks.get(block)?.load())));
        words.filter(|(_, word)| word.standing() == Standing::Returned).collect()
    }

    /// Whether no item is in the ring, leased or given back, at one moment of the call.
    ///
    /// Between two looks at the words with the same sum of generations no word changed, so what the ring said in
    /// between belongs to them.
    pub(crate) fn is_finished(&self) -> Result<bool, Refusal> {
        // The sum of generations; nothing when some are leased or given back.
        let look = || {
            (0..self.blocks.count()).try_fold(0u64, |sum, block| {
                let word = self.blocks.get(block)?.load();
                let free = matches!(word.standing(), Standing::Free | Standing::Reserved(_));
                free.then(|| sum.wrapping_add(word.generation()))
            })
        };
        for _ in 0..SEARCHES {
            let Some(before) = look() else { return Ok(false) };
            if self.len()? != 0 {
                return Ok(false);
            }
            if look() == Some(before) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Repairs what incarnation `generation` of participant slot `slot` held; it is proven over.
    ///
    /// Anybody may repair, several at once, and each may die at any step: every change is a CAS from a
    /// word that named the dead one, so it happens once, whoever makes it. The order matters:
    /// - The words are read first, and only then is it asked whether `note`, this queue's note of who
    ///   may have left marks under that slot, still names the incarnation. A newcomer in the slot is
    ///   noted before it takes its first block, so no word read before is the newcomer's.
    /// - Then each slot is looked at once. A committed block is named by its slot for as long as its
    ///   word does not change; so a block that no slot named, and whose word has not changed, was not.
    /// - A leased block's slot is advanced before the block can become anything else.
    /// - `returned` moves on last but for the note: a repairer killed before leaves the note, and the
    ///   next one goes through it all again.
    ///
    /// `drops` says that what a dead consumer had is dropped, not given back.
    #[cold]
    pub(crate) fn repair(
        &self,
        note: &AtomicU64,
        slot: u32,
        generation: u64,
        drops: bool,
    ) -> Repaired {
        let mut repaired = Repaired::default();
        let mut held: Vec<(u32, &Block, Word, bool)> = (0..self.blocks.count())
            .filter_map(|index| {
                let block = self.blocks.get(index)?;
                let word = block.load();
                let (Standing::Reserved(owner) | Standing::Leased(owner)) = word.standing() else {
                    return None;
                };
                (owner == slot).then_some((index, block, word, false))
            })
            .collect();
        if note.load(Ordering::Acquire) != generation {
            return repaired;
        }
        for index in 0..self.ring.slots.count() {
            let seen = self.ring.slots.load(index);
            if !seen.full {
                continue;
            }
            let Ok(at) = held.binary_search_by_key(&seen.item, |&(block, ..)| u64::from(block))
            else {
                continue;
            };
            let (_, block, word, committed) = &mut held[at];
            match word.standing() {
                Standing::Reserved(_) => *committed = true,
                _ if block.load() == *word => self.ring.advance(index, seen),
                _ => {}
            }
        }
        for &(_, block, word, committed) in &held {
            match word.standing() {
                Standing::Reserved(_) if !committed => {
                    block.free_of_the_dead(word);
                }
                Standing::Leased(_) if drops => {
                    repaired.dropped += u64::from(block.free_of_the_dead(word));
                }
                Standing::Leased(_) => {
                    repaired.given_back += u64::from(block.give_back(word));
                }
                _ => {}
            }
        }
        self.returned.fetch_add(1, Ordering::SeqCst); // SeqCst: as in `give_back`
        let last = note.compare_exchange(generation, 0, Ordering::AcqRel, Ordering::Relaxed);
        repaired.deaths += u64::from(last.is_ok());
        repaired
    }
}
