//! Repair of what a dead participant left in a queue.
//!
//! Anybody may repair, several at once, and each may die at any step: every change is a CAS from
//! a word that named the dead one to what its death means, so it happens once, whoever makes it.
//!
//! The order matters. The words are read first, and only then is it asked whether the incarnation in
//! question is still the one that this queue has noted for its slot: a newcomer in the same slot is
//! noted before it takes its first block, so no word read before is the newcomer's. Then the
//! slots are looked at once each: a block that one names was committed and stays; a committed block is named
//! by its slot for as long as its word does not change. `returned` moves on last but for the note
//! itself, so that a repairer killed in between leaves the note, and the next one repeats the walk.

use crate::atomic::{AtomicU64, Ordering};
use crate::block::{Block, Blocks, Standing, Word};
use crate::queue::ring::Ring;
use crate::queue::slot::Slots;

/// Frees and returns what the incarnation `generation` of participant slot `slot` held; it is proven
/// over. Returns whether the note was this call's to clear.
pub(crate) fn repair<S: Slots, B: Blocks + ?Sized>(
    ring: &Ring<'_, S>,
    blocks: &B,
    note: &AtomicU64,
    returned: &AtomicU64,
    slot: u32,
    generation: u64,
) -> bool {
    let held: Vec<(u32, &Block, Word)> = (0..blocks.count())
        .filter_map(|index| {
            let block = blocks.get(index)?;
            let word = block.load();
            let (Standing::Reserved(owner) | Standing::Leased(owner)) = word.standing() else {
                return None;
            };
            (owner == slot).then_some((index, block, word))
        })
        .collect();
    // Read, then verify: see above.
    if note.load(Ordering::Acquire) != generation {
        return false;
    }
    let mut committed = vec![false; held.len()];
    for index in 0..ring.slots.count() {
        let seen = ring.slots.load(index);
        if !seen.full {
            continue;
        }
        let Ok(at) = held.binary_search_by_key(&seen.item, |&(block, ..)| u64::from(block)) else {
            continue;
        };
        let (_, block, word) = held[at];
        match word.standing() {
            Standing::Reserved(_) => committed[at] = true,
            // Taken, but the slot was not advanced: before the block can be anything else it must be.
            _ if block.load() == word => ring.advance(index, seen),
            _ => {}
        }
    }
    for (&(_, block, word), committed) in held.iter().zip(committed) {
        match word.standing() {
            Standing::Reserved(_) if !committed => {
                block.free_of_the_dead(word);
            }
            Standing::Leased(_) => {
                block.give_back(word);
            }
            _ => {}
        }
    }
    returned.fetch_add(1, Ordering::SeqCst); // SeqCst: a change that event counts wake for
    note.compare_exchange(generation, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}
