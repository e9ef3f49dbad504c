//! Where things lie in a segment: read from its bytes, by the rules that the sources state.

use crate::damage::Field;
use std::collections::BTreeMap;
use std::ops::Range;

const LINE: usize = 128;
/// Bytes of a participant's slot, of a directory's head, and of its entries.
const SLOT: usize = 128;
const TABLE: usize = 256;

pub fn u32_at(image: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(image[at..at + 4].try_into().expect("four bytes"))
}

pub fn u64_at(image: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(image[at..at + 8].try_into().expect("eight bytes"))
}

/// The parts of a segment.
#[derive(Clone, Debug)]
pub struct Layout {
    pub participants: Range<usize>,
    pub directory: Range<usize>,
    pub arena: Range<usize>,
    /// The bytes of each object, in whole lines.
    pub objects: BTreeMap<String, Range<usize>>,
    /// The bytes that they use of them.
    pub lengths: BTreeMap<String, usize>,
    /// All objects that are damaged; they are neighbours.
    pub own: Range<usize>,
    /// What is free.
    pub slack: Range<usize>,
}

/// Names of objects that are not damaged, and of which no byte may change.
pub const CANARIES: [&str; 2] = ["before", "behind"];

impl Layout {
    /// The layout of a segment with objects.
    pub fn of(image: &[u8]) -> Self {
        assert_eq!(&image[..5], &u64::from_be_bytes(*b"mpshm\0\x89\x01").to_ne_bytes()[..5]);
        assert_eq!(u64_at(image, 16), image.len() as u64, "the header's size");
        let participants = TABLE..TABLE + u32_at(image, 64) as usize * SLOT;
        let entries = u32_at(image, 68) as usize;
        let directory = participants.end..participants.end + LINE + entries * SLOT;
        let arena = directory.end..image.len();
        assert_eq!(u64_at(image, 72), participants.start as u64, "the participants' place");
        assert_eq!(u64_at(image, 80), directory.start as u64, "the directory's place");
        assert_eq!(u64_at(image, 88), arena.start as u64, "the arena's place");
        let (mut objects, mut lengths) = (BTreeMap::new(), BTreeMap::new());
        for entry in 0..entries {
            let at = directory.start + LINE + entry * SLOT;
            if u64_at(image, at) & 7 != 3 {
                continue; // not ready
            }
            let length = u32_at(image, at + 60) as usize;
            let name = String::from_utf8(image[at + 64..at + 64 + length].to_vec()).unwrap();
            let start = arena.start + u64_at(image, at + 16) as usize * LINE;
            let lines = u64_at(image, at + 24) as usize;
            objects.insert(name.clone(), start..start + lines * LINE);
            lengths.insert(name, u64_at(image, at + 32) as usize);
        }
        let damaged = || objects.iter().filter(|(name, _)| !CANARIES.contains(&name.as_str()));
        let own = damaged().map(|(_, at)| at.start).min().unwrap_or(arena.start)
            ..damaged().map(|(_, at)| at.end).max().unwrap_or(arena.start);
        let inside: usize = damaged().map(|(_, at)| at.len()).sum();
        assert_eq!(inside, own.len(), "the damaged objects are neighbours");
        let end = objects.values().map(|at| at.end).max().unwrap_or(arena.start);
        let slack = end..arena.end;
        Self { participants, directory, arena, objects, lengths, own, slack }
    }

    /// How many participants there can be.
    pub fn slots(&self) -> usize {
        self.participants.len() / SLOT
    }
}

/// The header of the segment.
pub fn header() -> Vec<Field> {
    vec![
        Field::new("magic", 0, 8),
        Field::new("version", 8, 4),
        Field::new("fingerprint", 12, 4),
        Field::new("size", 16, 8),
        Field::new("id", 24, 8),
        Field::new("id", 32, 8),
        Field::new("boot", 40, 8),
        Field::new("boot", 48, 8),
        Field::new("creator_pid", 56, 4),
        Field::new("creator_user", 60, 4),
        Field::new("participants", 64, 4),
        Field::new("objects", 68, 4),
        Field::new("participants_offset", 72, 8),
        Field::new("directory_offset", 80, 8),
        Field::new("arena_offset", 88, 8),
    ]
}

/// The participants' slots.
pub fn participants(layout: &Layout) -> Vec<Field> {
    let slots = layout.participants.clone().step_by(SLOT);
    slots
        .flat_map(|at| {
            let state = Field::new("state", at, 8);
            [
                state,
                state.part("state.phase", 0, 8),
                state.part("state.generation", 8, 48),
                Field::new("start", at + 8, 8),
                Field::new("namespaces", at + 16, 8),
                Field::new("boot", at + 24, 8),
                Field::new("pid", at + 32, 4),
            ]
        })
        .collect()
}

/// The directory's head and entries.
pub fn directory(layout: &Layout) -> Vec<Field> {
    let at = layout.directory.start;
    let turn = Field::new("turn", at, 8);
    let mut fields = vec![
        turn,
        turn.part("turn.index", 0, 16),
        turn.part("turn.op", 16, 3),
        turn.part("turn.version", 19, 45),
        Field::new("used", at + 8, 4),
    ];
    for at in (at + LINE..layout.directory.end).step_by(SLOT) {
        let word = Field::new("entry.word", at, 8);
        fields.extend([
            word,
            word.part("entry.state", 0, 3),
            word.part("entry.slot", 3, 10),
            word.part("entry.generation", 13, 8),
            word.part("entry.claim", 21, 43),
            Field::new("entry.order", at + 8, 8),
            Field::new("entry.offset", at + 16, 8),
            Field::new("entry.lines", at + 24, 8),
            Field::new("entry.length", at + 32, 8),
            Field::new("entry.item_tag", at + 40, 8),
            Field::new("entry.kind", at + 48, 4),
            Field::new("entry.item_size", at + 52, 4),
            Field::new("entry.item_align", at + 56, 4),
            Field::new("entry.name_length", at + 60, 4),
        ]);
        fields.extend((0..7).map(|word| Field::new("entry.name", at + 64 + 8 * word, 8)));
    }
    fields
}

/// The lock of a mutex, a value or an array.
pub fn lock(at: usize) -> Vec<Field> {
    let word = Field::new("lock.word", at, 8);
    vec![
        word,
        word.part("lock.flags", 0, 4),
        word.part("lock.slot", 4, 12),
        word.part("lock.generation", 16, 48),
        Field::new("lock.threads_mark", at + 8, 8),
        Field::new("lock.thread", at + 16, 8),
        Field::new("lock.depth", at + 24, 8),
    ]
}

/// The shape of a queue, as its plan says.
pub struct Queue {
    pub in_slots: bool,
    pub capacity: usize,
    pub leases: usize,
    pub align: usize,
    /// Bytes and number of the blocks of each size that is in use.
    pub sizes: Vec<(usize, usize)>,
    /// Where the first block lies, and where the last one ends.
    pub blocks: Range<usize>,
    slots: usize,
    holders: usize,
    participants: usize,
}

impl Queue {
    /// Reads the plan at `at`, of a queue that is sound.
    pub fn of(image: &[u8], at: usize) -> Self {
        let number = |offset| u32_at(image, at + offset) as usize;
        let in_slots = number(0) == 2;
        let (participants, align, leases) = (number(8), number(12), number(16));
        let capacity = u64_at(image, at + 24) as usize;
        let classes = (0..8).map(|class| (number(40 + 8 * class), number(44 + 8 * class)));
        let mut sizes: Vec<_> = classes.take_while(|&class| class != (0, 0)).collect();
        if sizes.is_empty() && !in_slots {
            let bytes = u64_at(image, at + 32) as usize;
            sizes.push((bytes, capacity + participants * leases));
        }
        let holders = at + 640;
        let slots = at + (640 + 16 * participants).next_multiple_of(LINE);
        let slot = if in_slots { 16 } else { 8 };
        let first = at + (slots - at + slot * capacity).next_multiple_of(LINE);
        let bytes = sizes.iter().map(|&(bytes, count)| count * Self::stride(align, bytes));
        let blocks = first..first + bytes.sum::<usize>();
        Self { in_slots, capacity, leases, align, sizes, blocks, slots, holders, participants }
    }

    /// How far it is from a block of `bytes` to the next.
    pub fn stride(align: usize, bytes: usize) -> usize {
        (align.max(16) + bytes).next_multiple_of(align.max(64))
    }

    fn plan(at: usize) -> Vec<Field> {
        let mut fields = vec![
            Field::new("plan.form", at, 4),
            Field::new("plan.policies", at + 4, 4),
            Field::new("plan.participants", at + 8, 4),
            Field::new("plan.align", at + 12, 4),
            Field::new("plan.leases", at + 16, 4),
            Field::new("plan.producers", at + 20, 4),
            Field::new("plan.capacity", at + 24, 8),
            Field::new("plan.message_max", at + 32, 8),
        ];
        for class in 0..8 {
            fields.push(Field::new("plan.class_bytes", at + 40 + 8 * class, 4));
            fields.push(Field::new("plan.class_count", at + 44 + 8 * class, 4));
        }
        fields
    }

    /// All fields of the queue at `at`.
    pub fn fields(&self, at: usize) -> Vec<Field> {
        let bits_of = |count: usize| (usize::BITS - count.leading_zeros()).max(1);
        let index_bits = bits_of(self.capacity - 1);
        let mut fields = Self::plan(at);
        let hints =
            [("tail", "tail.index", "tail.lap", 128), ("head", "head.index", "head.lap", 256)];
        for (name, index, lap, offset) in hints {
            let hint = Field::new(name, at + offset, 8);
            let (index, lap) =
                (hint.part(index, 0, index_bits), hint.part(lap, index_bits, 64 - index_bits));
            fields.extend([hint, index, lap]);
        }
        let words = [("event.items", 384), ("event.space", 388), ("event.done", 392)];
        fields.extend(words.map(|(name, offset)| Field::new(name, at + offset, 4)));
        fields.push(Field::new("returned", at + 400, 8));
        fields.extend((0..5).map(|tally| Field::new("tallies", at + 512 + 8 * tally, 8)));
        for slot in 0..self.participants {
            fields.push(Field::new("holders", self.holders + 8 * slot, 8));
            let ends = Field::new("ends", self.holders + 8 * (self.participants + slot), 8);
            fields.extend([
                ends,
                ends.part("ends.here", 0, 16),
                ends.part("ends.leaving", 16, 16),
                ends.part("ends.came", 32, 32),
            ]);
        }
        let blocks = self.sizes.iter().map(|size| size.1).sum();
        let item_bits = if self.in_slots { 0 } else { bits_of(blocks) };
        for slot in 0..self.capacity {
            let width = if self.in_slots { 16 } else { 8 };
            let word = Field::new("slot", self.slots + width * slot, 8);
            fields.extend([
                word,
                word.part("slot.full", 0, 1),
                word.part("slot.closed", 1, 1),
                word.part("slot.lap", 2 + item_bits, 62 - item_bits),
            ]);
            fields.push(if self.in_slots {
                Field::new("slot.item", self.slots + width * slot + 8, 8)
            } else {
                word.part("slot.block", 2, item_bits)
            });
        }
        let mut block = self.blocks.start;
        for &(bytes, count) in &self.sizes {
            for _ in 0..count {
                self.add_block(block, bytes, &mut fields);
                block += Self::stride(self.align, bytes);
            }
        }
        fields
    }

    fn add_block(&self, at: usize, bytes: usize, fields: &mut Vec<Field>) {
        let word = Field::new("block.word", at, 8);
        fields.extend([
            word,
            word.part("block.state", 0, 2),
            word.part("block.owner", 2, 10),
            word.part("block.generation", 12, 52),
            Field::new("block.length", at + 8, 4),
            Field::new("block.redelivered", at + 12, 4),
        ]);
        let payload = at + self.align.max(16);
        fields.extend((0..bytes).map(|byte| Field::new("payload", payload + byte, 1)));
    }
}
