//! The slots of a ring: what one holds, and its two encodings.
//!
//! | form | bits | carries |
//! |---|---|---|
//! | [`BlockSlots`] | 64: full 1, closed 1, block's number as many as needed, lap the rest | a block |
//! | [`ItemSlots`] | 128: full 1, closed 1, lap 62; item 64 | the item itself, up to 8 bytes |
//!
//! A lap of a ring of N slots takes at least 2·N changes. With 64-bit slots and b bits for the
//! block's number the lap wraps after N·2^(62−b) items; b is 9 for a ring of one slot and the default
//! spare blocks, so that is 2^53 items, 5.7 years at 50 million a second, and more for larger rings.

use crate::atomic::{AtomicU64, Ordering};
use crate::os::cpu;

/// What a slot holds, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// How often the ring has gone round when this slot is filled, or was.
    pub lap: u64,
    /// Holds an item of its lap; else waits for one.
    pub full: bool,
    /// The next fill of this slot will never come: the queue's end.
    pub closed: bool,
    /// The item, or the number of its block. When not full: a block that is probably free.
    pub item: u64,
}

impl Slot {
    /// Waits for an item of this lap, and may have one.
    #[inline]
    pub(crate) fn waits_in(self, lap: u64) -> bool {
        self.lap == lap && !self.full && !self.closed
    }

    /// The slot once its item has been taken: it waits for the next lap's.
    pub(crate) fn advanced(self) -> Self {
        Self { lap: self.lap.wrapping_add(1), full: false, ..self }
    }
}

/// A ring's slots.
pub(crate) trait Slots {
    /// How many there are; at least one.
    fn count(&self) -> u32;
    /// Acquire.
    fn load(&self, index: u32) -> Slot;
    /// One CAS, SeqCst on success: the change that an event count's waker makes.
    fn change(&self, index: u32, from: Slot, to: Slot) -> bool;
    /// The slot is going to be changed soon.
    #[inline]
    fn fetch(&self, _index: u32) {}
}

/// The bits of a 64-bit slot's number in its line of the cache.
const LINE_BITS: u32 = 3;
/// Items of more bytes cost more than what the slots can save.
const SMALL: u64 = 512;

/// The bits of the number of lines that neighbours among `slots` are spread over, so that one is filled while the one before
/// it is emptied, on another line; 0 when they are not: for long items, whose ring then would hold more of the caches, and
/// where the number of slots is no power of two.
pub(crate) fn line_bits(slots: u64, item: u64) -> u32 {
    if !slots.is_power_of_two() || item > SMALL {
        return 0;
    }
    slots.trailing_zeros().saturating_sub(LINE_BITS)
}

const FULL: u64 = 1;
const CLOSED: u64 = 2;

/// The bits of a block's number among `blocks`.
pub(crate) fn item_bits(blocks: u32) -> u32 {
    (32 - blocks.leading_zeros()).max(1)
}

/// 64-bit slots that name blocks.
#[derive(Clone, Copy)]
pub(crate) struct BlockSlots<'a> {
    words: &'a [AtomicU64],
    item_bits: u32,
    lines: u32,
}

impl<'a> BlockSlots<'a> {
    /// `item_bits` is [`item_bits`] of the number of blocks, and `lines` [`line_bits`] of the slots.
    pub(crate) fn new(words: &'a [AtomicU64], item_bits: u32, lines: u32) -> Self {
        Self { words, item_bits, lines }
    }

    #[inline]
    fn word(&self, index: u32) -> &AtomicU64 {
        let index = match self.lines {
            0 => index,
            lines => (index << LINE_BITS | index >> lines) & (self.words.len() as u32 - 1),
        };
        &self.words[index as usize]
    }

    fn encode(self, slot: Slot) -> u64 {
        (slot.lap << (2 + self.item_bits))
            | (slot.item << 2)
            | (u64::from(slot.closed) * CLOSED)
            | (u64::from(slot.full) * FULL)
    }
}

impl Slots for BlockSlots<'_> {
    #[inline]
    fn fetch(&self, index: u32) {
        if self.lines != 0 {
            cpu::prefetch_to_write(std::ptr::from_ref(self.word(index)).cast_mut().cast());
        }
    }

    #[inline]
    fn count(&self) -> u32 {
        self.words.len() as u32
    }

    #[inline]
    fn load(&self, index: u32) -> Slot {
        let word = self.word(index).load(Ordering::Acquire);
        Slot {
            lap: word >> (2 + self.item_bits),
            full: word & FULL != 0,
            closed: word & CLOSED != 0,
            item: word >> 2 & ((1 << self.item_bits) - 1),
        }
    }

    #[inline]
    fn change(&self, index: u32, from: Slot, to: Slot) -> bool {
        self.word(index)
            .compare_exchange(
                self.encode(from),
                self.encode(to),
                Ordering::SeqCst, // the event counts' E1
                Ordering::Relaxed,
            )
            .is_ok()
    }
}

mod items {
    #[cfg(any(loom, not(target_arch = "x86_64")))]
    use super::Ordering;
    use super::{CLOSED, FULL, Slot, Slots};

    #[cfg(not(loom))]
    pub(crate) use portable_atomic::AtomicU128;

    /// Loom has no 128-bit atomics: in the models a lock stands for one.
    #[cfg(loom)]
    pub(crate) struct AtomicU128(loom::sync::Mutex<u128>);

    #[cfg(loom)]
    impl AtomicU128 {
        pub(crate) fn new(value: u128) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        fn load(&self, _order: Ordering) -> u128 {
            crate::atomic::step();
            *self.0.lock().unwrap()
        }

        fn compare_exchange(
            &self,
            from: u128,
            to: u128,
            _: Ordering,
            _: Ordering,
        ) -> Result<u128, u128> {
            crate::atomic::step();
            let mut value = self.0.lock().unwrap();
            if *value != from {
                return Err(*value);
            }
            *value = to;
            Ok(from)
        }
    }

    /// 128-bit slots that carry items.
    #[derive(Clone, Copy)]
    pub(crate) struct ItemSlots<'a>(pub &'a [AtomicU128]);

    // SAFETY: an atomic. Its lock-free form is required at creation, for the fallback's lock is of
    // one process only.
    unsafe impl crate::layout::offset::Shared for AtomicU128 {}

    /// The two words of a slot.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Words {
        pub low: u64,
        pub item: u64,
    }

    fn encode(slot: Slot) -> Words {
        let low =
            (slot.lap << 2) | (u64::from(slot.closed) * CLOSED) | (u64::from(slot.full) * FULL);
        Words { low, item: slot.item }
    }

    impl Slots for ItemSlots<'_> {
        #[inline]
        fn count(&self) -> u32 {
            self.0.len() as u32
        }

        #[inline]
        fn load(&self, index: u32) -> Slot {
            let Words { low, item } = wide::load(&self.0[index as usize]);
            Slot { lap: low >> 2, full: low & FULL != 0, closed: low & CLOSED != 0, item }
        }

        #[inline]
        fn change(&self, index: u32, from: Slot, to: Slot) -> bool {
            // SeqCst: the event counts' E1
            wide::change(&self.0[index as usize], encode(from), encode(to))
        }
    }

    /// Everywhere: accesses to the whole slot.
    #[cfg(any(loom, not(target_arch = "x86_64")))]
    mod wide {
        use super::{AtomicU128, Ordering, Words};

        fn join(words: Words) -> u128 {
            u128::from(words.item) << 64 | u128::from(words.low)
        }

        pub(super) fn load(slot: &AtomicU128) -> Words {
            let word = slot.load(Ordering::Acquire);
            // In the models as on the processor below: the words of two times.
            let later = if cfg!(loom) { slot.load(Ordering::Acquire) } else { word };
            Words { low: word as u64, item: (later >> 64) as u64 }
        }

        pub(super) fn change(slot: &AtomicU128, from: Words, to: Words) -> bool {
            let (from, to) = (join(from), join(to));
            // SeqCst: the event counts' E1
            slot.compare_exchange(from, to, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        }
    }

    /// Here: what the processor does for that, without a question on the way whether it can. That was asked when the queue was
    /// made or opened.
    #[cfg(all(not(loom), target_arch = "x86_64"))]
    mod wide {
        use super::{AtomicU128, Words};
        use std::arch::asm;

        /// The words are read one after the other. An item never changes without its lap or its flags, so what belongs
        /// to a later time than they do fails the change that it is read for; and the flags alone are as true as ever.
        #[inline(always)]
        pub(super) fn load(slot: &AtomicU128) -> Words {
            let (low, item);
            // SAFETY: reads the slot. Acquire, as every load is here; the compiler keeps its order too.
            unsafe {
                asm!(
                    "mov {low}, qword ptr [{slot}]",
                    "mov {item}, qword ptr [{slot} + 8]",
                    slot = in(reg) slot.as_ptr(),
                    low = out(reg) low,
                    item = out(reg) item,
                    options(nostack, preserves_flags),
                );
            }
            Words { low, item }
        }

        #[inline(always)]
        pub(super) fn change(slot: &AtomicU128, from: Words, to: Words) -> bool {
            let changed: u64;
            // SAFETY: changes the slot, which is aligned to its size. `rbx` may be the compiler's own, and comes back.
            unsafe {
                asm!(
                    "xchg rbx, {low}",
                    "lock cmpxchg16b xmmword ptr [rdi]",
                    "sete cl",
                    "mov rbx, {low}",
                    low = inout(reg) to.low => _,
                    in("rdi") slot.as_ptr(),
                    inout("rcx") to.item => changed,
                    inout("rax") from.low => _,
                    inout("rdx") from.item => _,
                    options(nostack),
                );
            }
            changed as u8 != 0
        }
    }
}
#[cfg(all(test, loom))]
pub(crate) use items::AtomicU128;
pub(crate) use items::ItemSlots;
