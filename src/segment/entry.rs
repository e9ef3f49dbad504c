//! What the directory consists of: its head, its entries, and how their words are made up.

use crate::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::offset::Shared;
use crate::layout::plain::TypeTag;
use crate::segment::participant::Me;

/// The longest name of an object, in bytes.
pub(crate) const OBJECT_NAME_MAX: usize = 56;

/// What an object is; the numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u32)]
pub enum ObjectKind {
    /// A [`Value`](crate::Value).
    Value = 1,
    /// An [`Array`](crate::Array).
    Array = 2,
    /// A [`Mutex`](crate::Mutex).
    Mutex = 3,
    /// A [`Queue`](crate::Queue).
    Queue = 4,
    /// A [`Ring`](crate::Ring).
    Ring = 5,
    /// A [`RwLock`](crate::RwLock).
    RwLock = 6,
    /// A [`Condvar`](crate::Condvar).
    Condvar = 7,
    /// A [`Barrier`](crate::Barrier).
    Barrier = 8,
    /// A [`Semaphore`](crate::Semaphore).
    Semaphore = 9,
    /// An [`Event`](crate::Event).
    Event = 10,
    /// A [`Once`](crate::Once).
    Once = 11,
    /// A [`Latch`](crate::Latch).
    Latch = 12,
    /// A [`Latest`](crate::Latest).
    Latest = 13,
}

impl ObjectKind {
    pub(crate) fn of(number: u32) -> Option<Self> {
        [
            Self::Value,
            Self::Array,
            Self::Mutex,
            Self::Queue,
            Self::Ring,
            Self::RwLock,
            Self::Condvar,
            Self::Barrier,
            Self::Semaphore,
            Self::Event,
            Self::Once,
            Self::Latch,
            Self::Latest,
        ]
        .into_iter()
        .find(|&kind| kind as u32 == number)
    }
}

/// What an entry's word says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum State {
    /// Nobody's; its other fields mean nothing.
    Free = 0,
    /// A maker's, without an extent.
    Claimed = 1,
    /// A maker's, with an extent that nobody else has.
    Held = 2,
    /// An object.
    Ready = 3,
    /// Without a name, but its extent may still be in use.
    Removed = 4,
}

const STATE: u64 = 7;
const SLOT_SHIFT: u32 = 3;
const SLOT_MASK: u64 = 0x3ff;
const GENERATION_SHIFT: u32 = 13;
const GENERATION_MASK: u64 = 0xff;
const CLAIM_SHIFT: u32 = 21;

/// An entry's word: {claim: 43 bits, generation (low 8), slot: 10, state: 3}.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(pub u64);

impl Word {
    pub(crate) fn is(self, state: State) -> bool {
        self.0 & STATE == state as u64
    }

    /// Whether it is somebody's who makes an object.
    pub(crate) fn is_a_makers(self) -> bool {
        self.is(State::Claimed) || self.is(State::Held)
    }

    /// Whether it has an extent that is its own.
    pub(crate) fn has_extent(self) -> bool {
        self.is(State::Held) || self.is(State::Ready) || self.is(State::Removed)
    }

    pub(crate) fn to(self, state: State) -> Self {
        Self(self.0 & !STATE | state as u64)
    }

    /// The next claim's.
    pub(crate) fn claimed_by(self, me: Me) -> Self {
        let claim = (self.0 >> CLAIM_SHIFT).wrapping_add(1);
        Self(
            claim << CLAIM_SHIFT
                | (me.generation & GENERATION_MASK) << GENERATION_SHIFT
                | u64::from(me.slot) << SLOT_SHIFT
                | State::Claimed as u64,
        )
    }

    pub(crate) fn slot(self) -> u32 {
        (self.0 >> SLOT_SHIFT & SLOT_MASK) as u32
    }

    /// Whether the maker's generation may be this one.
    pub(crate) fn may_be_of(self, generation: u64) -> bool {
        generation & GENERATION_MASK == self.0 >> GENERATION_SHIFT & GENERATION_MASK
    }
}

/// A change of the directory that counts from the moment it is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Op {
    /// Claimed → Held: the extent written in the entry is its own.
    Allocate = 1,
    /// Held → Ready: the name is there.
    Publish = 2,
    /// Ready → Removed: the name is gone.
    Remove = 3,
    /// Removed → Free: the extent is nobody's.
    Free = 4,
}

impl Op {
    pub(crate) fn before(self) -> State {
        match self {
            Self::Allocate => State::Claimed,
            Self::Publish => State::Held,
            Self::Remove => State::Ready,
            Self::Free => State::Removed,
        }
    }

    pub(crate) fn after(self) -> State {
        match self {
            Self::Allocate => State::Held,
            Self::Publish => State::Ready,
            Self::Remove => State::Removed,
            Self::Free => State::Free,
        }
    }
}

const OP_SHIFT: u32 = 16;
const OP_MASK: u64 = 7;
const VERSION_SHIFT: u32 = 19;

/// The head's word: {version: 45 bits, op: 3, index: 16}; the last change, which may not be in the
/// entry's word as yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn(pub u64);

impl Turn {
    pub(crate) fn index(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    pub(crate) fn version(self) -> u64 {
        self.0 >> VERSION_SHIFT
    }

    /// `None` before the first change.
    pub(crate) fn op(self) -> Option<Op> {
        let number = self.0 >> OP_SHIFT & OP_MASK;
        [Op::Allocate, Op::Publish, Op::Remove, Op::Free]
            .into_iter()
            .find(|&op| op as u64 == number)
    }

    pub(crate) fn next(self, op: Op, index: usize) -> Self {
        let version = self.version().wrapping_add(1);
        Self(version << VERSION_SHIFT | (op as u64) << OP_SHIFT | index as u64 & 0xffff)
    }
}

/// One line: the last change, and how much of the table was ever used.
#[repr(C, align(128))]
pub(crate) struct Head {
    /// A [`Turn`]. By whoever announces a change.
    pub turn: AtomicU64,
    /// No entry from this one on was ever claimed. Only grows; by makers.
    pub used: AtomicU32,
}
// SAFETY: atomics; the rest of the line is never read.
unsafe impl Shared for Head {}

/// One object. All but the word is its maker's, while the word says CLAIMED or HELD.
#[repr(C, align(128))]
pub(crate) struct Entry {
    /// A [`Word`].
    pub word: AtomicU64,
    /// The version of the change that published it: who is newer.
    pub order: AtomicU64,
    /// Where the extent begins, in lines from the arena's beginning.
    pub offset: AtomicU64,
    /// Lines of the extent.
    pub lines: AtomicU64,
    /// Bytes of the extent that the object uses.
    pub length: AtomicU64,
    pub item_tag: AtomicU64,
    /// An `ObjectKind`.
    pub kind: AtomicU32,
    pub item_size: AtomicU32,
    pub item_align: AtomicU32,
    pub name_length: AtomicU32,
    /// The name, eight bytes a word, native order.
    pub name: [AtomicU64; OBJECT_NAME_MAX / 8],
}
// SAFETY: atomics only; padding is never read.
unsafe impl Shared for Entry {}

impl Entry {
    pub(crate) fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire)) // E2
    }

    /// Whether the word is still the one that was read before other fields were.
    pub(crate) fn is_still(&self, word: Word) -> bool {
        fence(Ordering::Acquire); // E3: what was read before this was read before the word
        self.word.load(Ordering::Relaxed) == word.0
    }

    /// From one word to another; false when it was changed meanwhile.
    pub(crate) fn change(&self, from: Word, to: Word) -> bool {
        // E2: what the maker wrote is visible to whoever sees the word; a new claim follows all use.
        self.word.compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    pub(crate) fn item(&self) -> TypeTag {
        TypeTag {
            size: self.item_size.load(Ordering::Relaxed),
            align: self.item_align.load(Ordering::Relaxed),
            tag: self.item_tag.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn set_item(&self, item: TypeTag) {
        self.item_size.store(item.size, Ordering::Relaxed);
        self.item_align.store(item.align, Ordering::Relaxed);
        self.item_tag.store(item.tag, Ordering::Relaxed);
    }

    pub(crate) fn has_name(&self, name: &str) -> bool {
        self.name_length.load(Ordering::Relaxed) as usize == name.len()
            && words_of(name)
                .zip(&self.name)
                .all(|(word, place)| place.load(Ordering::Relaxed) == word)
    }

    pub(crate) fn name(&self) -> String {
        let length = (self.name_length.load(Ordering::Relaxed) as usize).min(OBJECT_NAME_MAX);
        let bytes: Vec<u8> =
            self.name.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    pub(crate) fn set_name(&self, name: &str) {
        self.name_length.store(name.len() as u32, Ordering::Relaxed);
        for (word, place) in words_of(name).zip(&self.name) {
            place.store(word, Ordering::Relaxed);
        }
    }
}

fn words_of(name: &str) -> impl Iterator<Item = u64> {
    name.as_bytes().chunks(8).map(|bytes| {
        let mut eight = [0; 8];
        eight[..bytes.len()].copy_from_slice(bytes);
        u64::from_ne_bytes(eight)
    })
}

/// Names of objects: at most [`OBJECT_NAME_MAX`] bytes, not empty, no NUL.
pub(crate) fn check_object_name(name: &str) -> Result<()> {
    let problem = if name.is_empty() {
        "is empty"
    } else if name.len() > OBJECT_NAME_MAX {
        "is too long"
    } else if name.contains('\0') {
        "has a NUL inside"
    } else {
        return Ok(());
    };
    let shown: String = name.chars().take(40).collect();
    Err(Error::new(
        ErrorKind::Invalid,
        format!(
            "object name '{shown}' {problem}: 1 to {OBJECT_NAME_MAX} bytes are expected, {} were found",
            name.len()
        ),
    ))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::layout::header::{LINE, OBJECTS_MAX, PARTICIPANTS_MAX, SLOT};

    #[test]
    fn an_entry_is_one_slot_of_the_format() {
        assert_eq!(size_of::<Entry>(), SLOT);
        assert_eq!(size_of::<Head>(), LINE);
    }

    #[test]
    fn words_hold_the_largest_of_everything() {
        let me = Me { slot: PARTICIPANTS_MAX - 1, generation: u64::MAX >> 16 };
        let word = Word(u64::MAX).to(State::Free).claimed_by(me);
        assert!(word.is(State::Claimed) && word.slot() == me.slot);
        assert!(word.may_be_of(me.generation) && !word.may_be_of(me.generation - 1));
        assert_ne!(word.to(State::Free).claimed_by(me), word, "each claim has its own number");
        let last = OBJECTS_MAX as usize - 1;
        let turn = Turn(u64::MAX >> 1).next(Op::Free, last);
        assert_eq!((turn.index(), turn.op()), (last, Some(Op::Free)));
    }
}
