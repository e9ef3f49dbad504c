//! Loom models of the ring, of the block words and of repair.
//!
//! Each explores every interleaving of two or three threads with at most the stated number of
//! preemptions, under the C++ memory model; payloads are loom cells, so an unordered access is an error.

use crate::atomic::{AtomicU64, Ordering, explore};
use crate::block::Block;
use crate::queue::exchange::{Exchange, Held, Reserved};
use crate::queue::ring::{InSlots, Refusal, Ring, index_bits};
use crate::queue::slot::{AtomicU128, BlockSlots, ItemSlots, Slots, item_bits};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use std::cell::Cell;

/// A queue with blocks on the heap.
pub(super) struct Heap {
    head: AtomicU64,
    tail: AtomicU64,
    slots: Vec<AtomicU64>,
    blocks: Vec<Block>,
    payloads: Vec<UnsafeCell<u64>>,
    returned: AtomicU64,
    /// The notes of participants 1 and 2.
    notes: [AtomicU64; 3],
}

// SAFETY: payloads are touched by a block's owner only, which loom checks.
unsafe impl Sync for Heap {}

impl Heap {
    pub(super) fn new(capacity: usize, blocks: usize) -> Arc<Self> {
        Arc::new(Self {
            head: AtomicU64::new(0),
            tail: AtomicU64::new(0),
            slots: (0..capacity as u64).map(|index| AtomicU64::new(index << 2)).collect(),
            blocks: (0..blocks).map(|_| Block::new()).collect(),
            payloads: (0..blocks).map(|_| UnsafeCell::new(0)).collect(),
            returned: AtomicU64::new(0),
            notes: [AtomicU64::new(0), AtomicU64::new(1), AtomicU64::new(1)],
        })
    }

    pub(super) fn exchange(&self) -> Exchange<'_, [Block]> {
        Exchange {
            ring: Ring {
                head: &self.head,
                tail: &self.tail,
                slots: BlockSlots::new(&self.slots, item_bits(self.blocks.len() as u32), 0),
                bits: index_bits(self.slots.len() as u32),
            },
            blocks: &self.blocks,
            returned: &self.returned,
        }
    }

    pub(super) fn reserve(&self, me: u32, value: u64) -> Result<Reserved, Refusal> {
        let reserved = self.exchange().try_reserve(me, 8, &Cell::new(0))?;
        self.payloads[reserved.held.block as usize].with_mut(|payload| {
            // SAFETY: the block is ours.
            unsafe { *payload = value }
        });
        Ok(reserved)
    }

    pub(super) fn push(&self, me: u32, value: u64) -> Result<(), Refusal> {
        let reserved = self.reserve(me, value)?;
        let held = reserved.held;
        let committed = self.exchange().try_commit(reserved);
        if committed.is_err() {
            self.blocks[held.block as usize].free(held.word);
        }
        committed
    }

    pub(super) fn claim(&self, me: u32) -> Result<(Held, u64), Refusal> {
        let held = self.exchange().try_claim(me, &Cell::new(0))?;
        let value = self.payloads[held.block as usize].with(|payload| {
            // SAFETY: the block is ours.
            unsafe { *payload }
        });
        Ok((held, value))
    }

    pub(super) fn pop(&self, me: u32) -> Result<u64, Refusal> {
        let (held, value) = self.claim(me)?;
        self.blocks[held.block as usize].free(held.word);
        Ok(value)
    }

    pub(super) fn drain(&self, me: u32) -> Vec<u64> {
        std::iter::from_fn(|| self.pop(me).ok()).collect()
    }

    /// Repairs after participant 1, which is gone.
    pub(super) fn repair(&self) {
        self.exchange().repair(&self.notes[1], 1, 1, false);
    }

    pub(super) fn all_free(&self) -> bool {
        self.blocks.iter().all(|block| block.load().standing() == crate::block::Standing::Free)
    }
}

#[test]
fn two_producers_lose_and_double_nothing() {
    explore(3, || {
        let heap = Heap::new(2, 4);
        let other = Arc::clone(&heap);
        let producer = loom::thread::spawn(move || other.push(1, 10));
        let mine = heap.push(2, 20);
        assert_eq!((producer.join().unwrap(), mine), (Ok(()), Ok(())));
        let mut all = heap.drain(2);
        all.sort_unstable();
        assert_eq!(all, [10, 20]);
        assert!(heap.all_free());
    });
}

#[test]
fn a_consumer_sees_what_was_written_before_the_commit_and_in_order() {
    explore(3, || {
        let heap = Heap::new(1, 3);
        let other = Arc::clone(&heap);
        let consumer = loom::thread::spawn(move || [other.pop(2), other.pop(2)]);
        let first = heap.push(1, 10);
        let second = heap.push(1, 20);
        let mut got: Vec<u64> = consumer.join().unwrap().into_iter().flatten().collect();
        assert_eq!(first, Ok(()));
        got.extend(heap.drain(2));
        let pushed: &[u64] = if second.is_ok() { &[10, 20] } else { &[10] };
        assert_eq!(got, pushed);
        assert!(heap.all_free());
    });
}

#[test]
fn two_consumers_share_two_items() {
    explore(3, || {
        let heap = Heap::new(2, 4);
        heap.push(1, 10).unwrap();
        heap.push(1, 20).unwrap();
        let other = Arc::clone(&heap);
        let consumer = loom::thread::spawn(move || other.pop(1));
        let mine = heap.pop(2);
        let mut got = vec![consumer.join().unwrap().unwrap(), mine.unwrap()];
        got.sort_unstable();
        assert_eq!(got, [10, 20]);
        assert_eq!(heap.pop(2), Err(Refusal::Empty));
        assert!(heap.all_free());
    });
}

#[test]
fn nothing_comes_behind_a_close() {
    explore(3, || {
        let heap = Heap::new(1, 3);
        let other = Arc::clone(&heap);
        let producer = loom::thread::spawn(move || other.push(1, 10));
        heap.exchange().close().unwrap();
        let before = heap.pop(2);
        let pushed = producer.join().unwrap();
        match before {
            Ok(10) => assert_eq!(pushed, Ok(())),
            Err(Refusal::Closed) => assert_eq!(pushed, Err(Refusal::Closed)),
            other => panic!("{other:?} after a push that gave {pushed:?}"),
        }
        assert_eq!(heap.pop(2), Err(Refusal::Closed));
        assert_eq!(heap.push(2, 30), Err(Refusal::Closed));
    });
}

/// A consumer looks at a slot; another takes the item and its block is reserved anew: the first must not take
/// what is not committed yet.
#[test]
fn a_block_is_not_taken_before_its_commit() {
    explore(3, || {
        let heap = Heap::new(1, 2);
        heap.push(2, 10).unwrap();
        let other = Arc::clone(&heap);
        let thread = loom::thread::spawn(move || {
            let got = other.pop(1);
            let pushed = other.push(1, 20);
            (got, pushed)
        });
        let mine = heap.pop(2);
        let (theirs, pushed) = thread.join().unwrap();
        let mut got: Vec<u64> = mine.into_iter().chain(theirs).chain(heap.drain(2)).collect();
        got.sort_unstable();
        let expected: &[u64] = if pushed.is_ok() { &[10, 20] } else { &[10] };
        assert_eq!(got, expected);
        assert!(heap.all_free());
    });
}

/// The only item is taken, but its slot not advanced, before a push begins: the ring is not full.
#[test]
fn a_slot_whose_item_is_taken_does_not_make_the_ring_full() {
    explore(3, || {
        let heap = Heap::new(1, 3);
        heap.push(2, 10).unwrap();
        let taken = Arc::new(AtomicU64::new(0));
        let (other, says) = (Arc::clone(&heap), Arc::clone(&taken));
        let thread = loom::thread::spawn(move || {
            let slot = other.exchange().ring.slots.load(0);
            let block = &other.blocks[0];
            let word = block.lease(block.load(), 1).unwrap();
            says.store(1, Ordering::Release);
            other.exchange().ring.advance(0, slot);
            block.free(word);
            // The same block again, in another tenure, and not committed.
            let held = block.reserve(block.load(), 1);
            held.map(|word| block.free(word))
        });
        if taken.load(Ordering::Acquire) == 1 {
            assert_eq!(heap.push(2, 20), Ok(()), "full, though its only item was taken before");
        }
        thread.join().unwrap();
    });
}

/// A block that one participant has read is written by another, through the same slot.
#[test]
fn a_block_is_written_only_after_its_last_reader() {
    explore(3, || {
        let heap = Heap::new(1, 1);
        heap.push(2, 10).unwrap();
        let other = Arc::clone(&heap);
        let producer = loom::thread::spawn(move || other.push(2, 20));
        assert_eq!(heap.pop(1), Ok(10));
        let pushed = producer.join().unwrap();
        assert_eq!(heap.drain(2), if pushed.is_ok() { vec![20] } else { vec![] });
    });
}

/// Participant 1 vanishes while it holds one reserved block and one claim; two others repair at once.
#[test]
fn two_repairers_free_the_reserved_and_return_the_leased_once() {
    explore(2, || {
        let heap = Heap::new(2, 4);
        heap.push(2, 10).unwrap();
        heap.push(1, 20).unwrap();
        let _vanished = heap.claim(1).unwrap();
        let _too = heap.reserve(1, 99).unwrap();
        let other = Arc::clone(&heap);
        let repairer = loom::thread::spawn(move || {
            other.exchange().repair(&other.notes[1], 1, 1, false);
        });
        heap.exchange().repair(&heap.notes[1], 1, 1, false);
        repairer.join().unwrap();
        assert_eq!(heap.notes[1].load(Ordering::Relaxed), 0);
        let mut got = heap.drain(2);
        got.sort_unstable();
        assert_eq!(got, [10, 20]);
        assert!(heap.all_free());
    });
}

/// Participant 1 has taken a block but vanished before it advanced the slot; a consumer and a repairer
/// meet the mark at once.
#[test]
fn a_claim_that_was_never_advanced_is_delivered_once() {
    explore(2, || {
        let heap = Heap::new(1, 3);
        heap.push(2, 10).unwrap();
        let block = &heap.blocks[0];
        block.lease(block.load(), 1).unwrap();
        let other = Arc::clone(&heap);
        let repairer = loom::thread::spawn(move || {
            other.exchange().repair(&other.notes[1], 1, 1, false);
        });
        let mine = heap.pop(2);
        repairer.join().unwrap();
        assert!(
            !heap.exchange().ring.slots.load(0).full,
            "a slot names a block that is not queued"
        );
        let rest = heap.drain(2);
        assert_eq!(mine.into_iter().chain(rest).collect::<Vec<_>>(), [10]);
        assert_eq!(heap.push(2, 20), Ok(()));
        assert_eq!(heap.drain(2), [20]);
        assert!(heap.all_free());
    });
}

/// While participant 1's repair runs, a newcomer takes the same slot number: its blocks stay its own.
#[test]
fn a_late_repairer_leaves_a_newcomer_alone() {
    explore(2, || {
        let heap = Heap::new(1, 3);
        let _vanished = heap.reserve(1, 99).unwrap();
        let other = Arc::clone(&heap);
        let repairer = loom::thread::spawn(move || {
            other.exchange().repair(&other.notes[1], 1, 1, false);
        });
        // The newcomer: repair what is noted, note itself, only then take a block.
        heap.exchange().repair(&heap.notes[1], 1, 1, false);
        let entered = heap.notes[1].compare_exchange(0, 2, Ordering::AcqRel, Ordering::Relaxed);
        assert_eq!(entered, Ok(0));
        heap.push(1, 10).unwrap();
        let (held, value) = heap.claim(1).unwrap();
        repairer.join().unwrap();
        assert_eq!(value, 10);
        assert_eq!(heap.blocks[held.block as usize].load(), held.word, "taken from the living");
        heap.blocks[held.block as usize].free(held.word);
        assert!(heap.all_free());
    });
}

/// One item was given back; another is pushed, and then the first one taken: there is always one at least.
#[test]
fn a_length_is_one_that_was_true() {
    explore(3, || {
        let heap = Heap::new(1, 3);
        heap.push(2, 10).unwrap();
        let (held, _) = heap.claim(2).unwrap();
        heap.exchange().give_back(held);
        let other = Arc::clone(&heap);
        let thread = loom::thread::spawn(move || other.exchange().available().unwrap());
        heap.push(1, 20).unwrap();
        let (_, value) = heap.claim(1).unwrap();
        assert_eq!(value, 10, "what was given back comes first");
        let length = thread.join().unwrap();
        assert!((1..=2).contains(&length), "{length} items, where there were 1, 2 and 1");
        assert_eq!(heap.exchange().available(), Ok(1));
    });
}

/// Who was told of an item that is just being given back can take it.
#[test]
fn what_a_length_counted_is_found() {
    explore(3, || {
        let heap = Heap::new(1, 3);
        heap.push(2, 10).unwrap();
        let (held, _) = heap.claim(2).unwrap();
        heap.exchange().give_back(held);
        // The consumer knows of all that was given back until now.
        let seen = Cell::new(0);
        let held = heap.exchange().try_claim(2, &seen).unwrap();
        assert_eq!(heap.exchange().try_claim(2, &seen).unwrap_err(), Refusal::Empty);
        let other = Arc::clone(&heap);
        let thread = loom::thread::spawn(move || other.exchange().give_back(held));
        if heap.exchange().available() == Ok(1) {
            let claimed = heap.exchange().try_claim(2, &seen);
            assert!(claimed.is_ok(), "{claimed:?}, though one was counted");
        }
        thread.join().unwrap();
    });
}

/// The first item is taken before the second one comes, and its block reserved anew before its slot is looked at again.
#[test]
fn an_item_that_is_taken_is_not_counted() {
    explore(5, || {
        let heap = Heap::new(3, 4);
        heap.push(2, 10).unwrap();
        let other = Arc::clone(&heap);
        let thread = loom::thread::spawn(move || other.exchange().available().unwrap());
        let slot = heap.exchange().ring.slots.load(0);
        let block = &heap.blocks[slot.item as usize];
        let word = block.lease(block.load(), 1).unwrap();
        heap.push(2, 20).unwrap();
        heap.exchange().ring.advance(0, slot);
        block.free(word);
        block.reserve(block.load(), 1).unwrap();
        let length = thread.join().unwrap();
        assert!(length <= 1, "{length} items, where there were 1, 0 and 1");
        assert_eq!(heap.exchange().available(), Ok(1));
    });
}

/// Who overwrites takes out the oldest item of a full ring, or none: not the next one, when that leaves room.
#[test]
fn nothing_is_taken_out_of_a_ring_with_room() {
    explore(3, || {
        let heap = Heap::new(2, 4);
        heap.push(2, 10).unwrap();
        heap.push(2, 20).unwrap();
        let other = Arc::clone(&heap);
        let overwriting = loom::thread::spawn(move || {
            let oldest = other.exchange().take_oldest_of_full(1).unwrap()?;
            // SAFETY: the block is ours.
            Some(other.payloads[oldest.block as usize].with(|payload| unsafe { *payload }))
        });
        let popped = heap.pop(2).unwrap();
        let taken_out = overwriting.join().unwrap();
        assert!(
            matches!((popped, taken_out), (10, None) | (20, Some(10))),
            "popped {popped}, taken out {taken_out:?}"
        );
    });
}

#[test]
fn items_in_slots_go_through_once_and_in_order() {
    explore(3, || {
        let parts = Arc::new((AtomicU64::new(0), AtomicU64::new(0), [AtomicU128::new(0)]));
        fn ring(parts: &(AtomicU64, AtomicU64, [AtomicU128; 1])) -> Ring<'_, ItemSlots<'_>> {
            Ring { head: &parts.0, tail: &parts.1, slots: ItemSlots(&parts.2), bits: 1 }
        }
        assert_eq!(ring(&parts).slots.count(), 1);
        let other = Arc::clone(&parts);
        let producer = loom::thread::spawn(move || {
            let push = |item| {
                let ring = ring(&other);
                ring.commit(ring.tail_hint().unwrap(), item, &InSlots)
            };
            (push(10), push(20))
        });
        let mut got: Vec<u64> = Vec::new();
        got.extend(ring(&parts).take());
        got.extend(ring(&parts).take());
        let (first, second) = producer.join().unwrap();
        assert_eq!(first, Ok(()));
        got.extend(std::iter::from_fn(|| ring(&parts).take().ok()));
        let pushed: &[u64] = if second.is_ok() { &[10, 20] } else { &[10] };
        assert_eq!(got, pushed);
    });
}
