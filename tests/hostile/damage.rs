//! What is done to the bytes: named fields, and hostile values for them.

use crate::probe::Random;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Some bits of a word of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Fields of one name are counted together.
    pub name: &'static str,
    /// Where the word begins in the segment, and its bytes: 1, 4 or 8.
    pub at: usize,
    pub bytes: usize,
    /// Which of its bits.
    low: u32,
    bits: u32,
}

impl Field {
    /// A whole word.
    pub fn new(name: &'static str, at: usize, bytes: usize) -> Self {
        assert!([1, 4, 8].contains(&bytes) && at % bytes == 0, "{name}: {bytes} bytes at {at}");
        Self { name, at, bytes, low: 0, bits: 8 * bytes as u32 }
    }

    /// Only `bits` of its bits, from bit `low` on.
    pub fn part(self, name: &'static str, low: u32, bits: u32) -> Self {
        assert!(low + bits <= 8 * self.bytes as u32 && bits > 0, "{name}");
        Self { name, low, bits, ..self }
    }

    /// The same field of a word so many bytes further on.
    pub fn further(self, bytes: usize) -> Self {
        Self { at: self.at + bytes, ..self }
    }

    pub fn end(&self) -> usize {
        self.at + self.bytes
    }

    fn mask(&self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }

    fn word(&self, image: &[u8]) -> u64 {
        let bytes = &image[self.at..self.end()];
        match *bytes {
            [one] => one.into(),
            [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]).into(),
            _ => u64::from_ne_bytes(bytes.try_into().expect("eight bytes")),
        }
    }

    /// The value in an image of the segment.
    pub fn read(&self, image: &[u8]) -> u64 {
        self.word(image) >> self.low & self.mask()
    }

    fn changed(&self, word: u64, value: u64) -> u64 {
        word & !(self.mask() << self.low) | (value & self.mask()) << self.low
    }

    /// Writes it into an image of the segment.
    pub fn write(&self, image: &mut [u8], value: u64) {
        let word = self.changed(self.word(image), value);
        let place = &mut image[self.at..self.end()];
        match self.bytes {
            1 => place.copy_from_slice(&(word as u8).to_ne_bytes()),
            4 => place.copy_from_slice(&(word as u32).to_ne_bytes()),
            _ => place.copy_from_slice(&word.to_ne_bytes()),
        }
    }

    /// Writes it into the segment itself, which others may be using.
    ///
    /// # Safety
    /// The segment is mapped, writable, at `base`.
    pub unsafe fn store(&self, base: *mut u8, value: u64) {
        const ORDER: Ordering = Ordering::SeqCst;
        // SAFETY: inside the mapping and aligned, as `new` checked.
        unsafe {
            let at = base.add(self.at);
            match self.bytes {
                1 => {
                    let word = AtomicU8::from_ptr(at);
                    word.store(self.changed(word.load(ORDER).into(), value) as u8, ORDER);
                }
                4 => {
                    let word = AtomicU32::from_ptr(at.cast());
                    word.store(self.changed(word.load(ORDER).into(), value) as u32, ORDER);
                }
                _ => {
                    let word = AtomicU64::from_ptr(at.cast());
                    word.store(self.changed(word.load(ORDER), value), ORDER);
                }
            }
        }
    }
}

/// The fields of a segment by name: each name is damaged as often as every other.
pub struct Fields {
    names: Vec<&'static str>,
    all: Vec<Vec<Field>>,
    /// Those that are asked for; the first one of a damage is one of them.
    wanted: Vec<usize>,
}

impl Fields {
    pub fn new(fields: Vec<Field>, only: Option<&str>) -> Self {
        let (mut names, mut all) = (Vec::new(), Vec::<Vec<Field>>::new());
        for field in fields {
            let known = names.iter().position(|&name| name == field.name);
            match known {
                Some(row) => all[row].push(field),
                None => {
                    names.push(field.name);
                    all.push(vec![field]);
                }
            }
        }
        let asked = |&row: &usize| only.is_none_or(|only| names[row].contains(only));
        let wanted = (0..names.len()).filter(asked).collect();
        Self { names, all, wanted }
    }

    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// Whether there is anything to damage.
    pub fn is_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Field> {
        self.all.iter().flatten()
    }

    fn any(&self, random: &mut Random) -> Field {
        let row = random.below(self.all.len() as u64) as usize;
        self.one_of(row, random)
    }

    fn one_of(&self, row: usize, random: &mut Random) -> Field {
        let row = &self.all[row];
        row[random.below(row.len() as u64) as usize]
    }
}

/// What is written where.
#[derive(Clone, Debug)]
pub struct Damage {
    /// Which name it counts for.
    pub row: usize,
    pub writes: Vec<(Field, u64)>,
}

impl Damage {
    /// A damage to the segment that looks as `states[state]`, which it changes.
    pub fn new(random: &mut Random, fields: &Fields, states: &[Vec<u8>], state: usize) -> Self {
        let image = &states[state];
        let other = &states[random.below(states.len() as u64) as usize];
        let row = fields.wanted[random.below(fields.wanted.len() as u64) as usize];
        let first = fields.one_of(row, random);
        let mut chosen = vec![first];
        let torn = random.below(8) == 0;
        match random.below(8) {
            0..5 => {}
            5..7 => chosen.push(fields.any(random)),
            _ => chosen.extend((0..2 + random.below(4)).map(|_| fields.any(random))),
        }
        if torn {
            // Part of another sound state: what each field says is true, but not at the same time.
            let some = 1 + random.below(3);
            let differs = |field: &&Field| field.read(image) != field.read(other);
            chosen.extend(fields.iter().filter(differs).filter(|_| random.below(4) < some));
        }
        let mut damaged = image.clone();
        let writes = chosen.into_iter().map(|field| {
            let value = if torn && field != first {
                field.read(other)
            } else {
                hostile(random, &field, image, fields, other)
            };
            field.write(&mut damaged, value);
            (field, value)
        });
        let mut writes: Vec<_> = writes.collect();
        if damaged == *image {
            let value = first.read(image) ^ 1 << random.below(first.bits.into());
            writes.push((first, value));
        }
        Self { row, writes }
    }
}

/// A value that an honest participant would not have written just now.
fn hostile(random: &mut Random, field: &Field, image: &[u8], fields: &Fields, other: &[u8]) -> u64 {
    let now = field.read(image);
    match random.below(14) {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        3 => 1 << (field.bits - 1),
        4 => now.wrapping_add(1),
        5 => now.wrapping_sub(1),
        6 | 7 => now ^ 1 << random.below(field.bits.into()),
        8 => random.below(1 << 32) << 32 | random.below(1 << 32),
        9 => random.below(64),
        10 => now.wrapping_add(random.below(1 << 16)).wrapping_sub(1 << 15),
        11 => (image.len() as u64).wrapping_add(random.below(256)).wrapping_sub(128),
        12 => fields.any(random).read(image),
        _ => field.read(other),
    }
}

/// One number of two, as unlike its neighbours' as can be.
pub fn mix(seed: u64, number: u64) -> u64 {
    let mut mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number);
    for factor in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb] {
        mixed = (mixed ^ mixed >> 30).wrapping_mul(factor);
        mixed ^= mixed >> 27;
    }
    mixed ^ mixed >> 31
}
