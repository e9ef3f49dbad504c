//! The named objects of a segment: made completely, then linked in with one CAS.
//!
//! # Overview
//! An object is an entry of the directory and an extent of the arena. Its maker claims an entry and
//! its extent with one CAS, fills both while nobody can see them, and links the entry into a list
//! with another CAS. So a name never shows something half-made, nobody ever waits for a maker, and
//! of two who make the same name at once the second finds the first one's in the list and gives up.
//!
//! # Layout
//! One line with `head` = version << 32, index + 1 of the newest entry; then the entries. An entry's
//! `word` holds {extent in lines: 32 bits, generation (low 20 bits), slot: 10, state: 2}. An extent begins
//! where the one before it ends, so it needs no field of its own and cannot overlap another.
//!
//! # Invariants
//! - I1. EMPTY entries form the tail of the table; a claimed one keeps its extent's length for ever.
//! - I2. Only the owner named by a CLAIMED word writes the entry's other fields and its extent.
//! - I3. Linked ⇔ complete. A linked entry is READY, or CLAIMED by an owner that is about to say so.
//!
//! # Ordering edges
//! - E1. `head` is changed with Release after everything about the object, and read with Acquire.
//! - E2. `word` leaves CLAIMED with Release; a new claim reads it with Acquire before it writes.
//!
//! # Crash states
//! | killed | leaves | who repairs |
//! |---|---|---|
//! | before the claim | nothing | – |
//! | CLAIMED, not linked | an unseen entry | the next maker: HOLE, to be used again |
//! | linked, still CLAIMED | a complete object | the next maker: READY |
//!
//! The claim's generation has 20 bits: a dead maker is mistaken for a living one only if the same
//! slot has been joined a multiple of 2^20 times since, and then its hole is used again later.
//!
//! # Progress
//! Opening is wait-free (at most one step an entry), making is lock-free; a stopped maker holds up nobody.
//!
//! # Source
//! Ours; the list is Treiber's, without removal.

use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::header::LINE;
use crate::layout::offset::{Region, Shared};
use crate::layout::plain::TypeTag;
use crate::segment::participant::{Me, Table};

/// The longest name of an object, in bytes.
pub(crate) const OBJECT_NAME_MAX: usize = 56;

const STATE: u64 = 3;
const EMPTY: u64 = 0;
const CLAIMED: u64 = 1;
const READY: u64 = 2;
const HOLE: u64 = 3;
const SLOT_SHIFT: u32 = 2;
const SLOT_MASK: u64 = 0x3ff;
const GENERATION_SHIFT: u32 = 12;
const GENERATION_MASK: u64 = 0xf_ffff;
const LINES_SHIFT: u32 = 32;

fn lines(word: u64) -> u64 {
    word >> LINES_SHIFT
}

fn claimed_by(lines: u64, me: Me) -> u64 {
    lines << LINES_SHIFT
        | (me.generation & GENERATION_MASK) << GENERATION_SHIFT
        | u64::from(me.slot) << SLOT_SHIFT
        | CLAIMED
}

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
}

impl ObjectKind {
    fn of(number: u32) -> Option<Self> {
        [Self::Value, Self::Array, Self::Mutex, Self::Queue]
            .into_iter()
            .find(|&kind| kind as u32 == number)
    }
}

/// One line: where the list begins.
#[repr(C, align(128))]
pub(crate) struct Head {
    /// version << 32, index + 1 of the first entry (0 = none).
    newest: AtomicU64,
}
// SAFETY: an atomic; the rest of the line is never read.
unsafe impl Shared for Head {}

/// One object.
#[repr(C, align(128))]
pub(crate) struct Entry {
    /// State, owner and extent (see the module's layout).
    word: AtomicU64,
    /// Index + 1 of the next older entry. By the maker, before linking.
    next: AtomicU32,
    /// An `ObjectKind`. By the maker.
    kind: AtomicU32,
    item_size: AtomicU32,
    item_align: AtomicU32,
    item_tag: AtomicU64,
    /// Bytes of the extent that the object uses. By the maker.
    length: AtomicU64,
    name_length: AtomicU32,
    reserved: AtomicU32,
    /// The name, eight bytes a word, native order. By the maker.
    name: [AtomicU64; OBJECT_NAME_MAX / 8],
}
// SAFETY: atomics only; padding is never read.
unsafe impl Shared for Entry {}

/// What the maker or opener asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub name: &'a str,
    pub kind: ObjectKind,
    pub item: TypeTag,
}

/// An object's place in the arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Offset in the segment.
    pub offset: u64,
    /// Bytes in use.
    pub length: u64,
}

/// A line of [`Segment::objects`](crate::Segment::objects).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// The object's name; empty for the only object of a segment of its own.
    pub name: String,
    /// What it is; `None` for a kind that this version does not know.
    pub kind: Option<ObjectKind>,
    /// What its items are.
    pub item: TypeTag,
    /// Bytes that it occupies in the arena.
    pub size: u64,
}

/// A segment's directory, borrowed.
#[derive(Clone, Copy)]
pub(crate) struct Directory<'a> {
    pub head: &'a Head,
    pub entries: &'a [Entry],
    /// Where the arena begins and ends in the segment.
    pub arena: (u64, u64),
    pub segment: Region,
    pub participants: Table<'a>,
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

impl Directory<'_> {
    /// Finds an object and checks that it is what is wanted.
    pub(crate) fn open(&self, wanted: Wanted<'_>) -> Result<Extent> {
        match self.find(wanted.name, 0)? {
            Some(index) => self.checked(index, wanted),
            None => Err(Error::new(
                ErrorKind::NotFound,
                format!("{} does not exist", shown(wanted.name)),
            )),
        }
    }

    /// Makes an object of `length` bytes: zeroed, then `fill`ed, then visible.
    ///
    /// `fill` gets the extent. An error from it undoes the making.
    pub(crate) fn create(
        &self,
        me: Me,
        wanted: Wanted<'_>,
        length: u64,
        fill: impl FnOnce(Region) -> Result<()>,
    ) -> Result<Extent> {
        let exists =
            || Err(Error::new(ErrorKind::Exists, format!("{} exists already", shown(wanted.name))));
        if self.find(wanted.name, 0)?.is_some() {
            return exists();
        }
        let (index, offset) = self.claim(me, wanted.name, length)?;
        let entry = &self.entries[index];
        let filled = self.fill(entry, wanted, offset, length).and_then(fill);
        if let Err(error) = filled {
            self.give_up(entry);
            return Err(error);
        }
        let mut seen = 0;
        loop {
            let head = self.head.newest.load(Ordering::Acquire); // E1
            // Only what was linked since the last look can be new.
            match self.find(wanted.name, seen) {
                Ok(None) => {}
                Ok(Some(_)) => {
                    self.give_up(entry);
                    return exists();
                }
                Err(error) => {
                    self.give_up(entry);
                    return Err(error);
                }
            }
            seen = head as u32;
            entry.next.store(head as u32, Ordering::Relaxed);
            let linked = ((head >> 32) + 1) << 32 | (index as u64 + 1);
            // E1: everything about the object is visible to whoever finds it.
            if self
                .head
                .newest
                .compare_exchange(head, linked, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
            {
                break;
            }
        }
        let word = entry.word.load(Ordering::Relaxed);
        // E2. A repairer that took us for dead would have said the same.
        let _ = entry.word.compare_exchange(
            word,
            lines(word) << LINES_SHIFT | READY,
            Ordering::Release,
            Ordering::Relaxed,
        );
        Ok(Extent { offset, length })
    }

    /// The linked objects, newest first.
    pub(crate) fn list(&self) -> Result<Vec<ObjectInfo>> {
        let mut objects = Vec::new();
        self.walk(0, |index| {
            let entry = &self.entries[index];
            objects.push(ObjectInfo {
                name: name_of(entry).into_owned(),
                kind: ObjectKind::of(entry.kind.load(Ordering::Relaxed)),
                item: item_of(entry),
                size: lines(entry.word.load(Ordering::Relaxed)) * LINE as u64,
            });
            false
        })?;
        Ok(objects)
    }

    /// Finishes or frees what dead makers left; the next maker would do it too.
    pub(crate) fn repair(&self) {
        for index in 0..self.entries.len() {
            self.repair_entry(index);
        }
    }

    /// The newest entry of that name, looking no further back than the entry `until` (index + 1).
    fn find(&self, name: &str, until: u32) -> Result<Option<usize>> {
        let mut found = None;
        self.walk(until, |index| {
            if name_of(&self.entries[index]) == name {
                found = Some(index);
            }
            found.is_some()
        })?;
        Ok(found)
    }

    /// Visits the linked entries, newest first, until `visit` says stop.
    fn walk(&self, until: u32, mut visit: impl FnMut(usize) -> bool) -> Result<()> {
        let mut next = self.head.newest.load(Ordering::Acquire) as u32; // E1
        for _ in 0..=self.entries.len() {
            if next == until || next == 0 {
                return Ok(());
            }
            let index = next as usize - 1;
            let Some(entry) = self.entries.get(index) else {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    format!("the directory of {} entries names entry {index}", self.entries.len()),
                ));
            };
            if visit(index) {
                return Ok(());
            }
            next = entry.next.load(Ordering::Relaxed);
        }
        Err(Error::new(ErrorKind::Corrupt, "the directory's list runs in a circle"))
    }

    fn checked(&self, index: usize, wanted: Wanted<'_>) -> Result<Extent> {
        let entry = &self.entries[index];
        let kind = entry.kind.load(Ordering::Relaxed);
        let name = shown(wanted.name);
        if kind != wanted.kind as u32 {
            let found = ObjectKind::of(kind)
                .map_or_else(|| format!("kind {kind}"), |kind| format!("{kind:?}"));
            return Err(Error::new(
                ErrorKind::Type,
                format!(
                    "{name} is another kind of object: expected {:?}, found {found}",
                    wanted.kind
                ),
            ));
        }
        let item = item_of(entry);
        if item != wanted.item {
            return Err(Error::new(
                ErrorKind::Type,
                format!(
                    "{name} holds items of another type: expected {}, found {item}",
                    wanted.item
                ),
            ));
        }
        let length = entry.length.load(Ordering::Relaxed);
        let offset = self.offset_of(index)?;
        let room = lines(entry.word.load(Ordering::Acquire)) * LINE as u64; // E2
        if length > room || offset + room > self.arena.1 {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "{name} claims {length} bytes at {offset}: {room} are set aside, the arena ends at {}",
                    self.arena.1
                ),
            ));
        }
        Ok(Extent { offset, length })
    }

    /// Where the extent of an entry begins; checked against the arena's end.
    fn offset_of(&self, index: usize) -> Result<u64> {
        let before = self.entries[..index]
            .iter()
            .try_fold(0u64, |sum, entry| sum.checked_add(lines(entry.word.load(Ordering::Relaxed))))
            .and_then(|lines| lines.checked_mul(LINE as u64)?.checked_add(self.arena.0))
            .filter(|&offset| offset <= self.arena.1);
        before.ok_or_else(|| {
            Error::new(
                ErrorKind::Corrupt,
                "the directory's extents reach past the end of the arena",
            )
        })
    }

    /// Claims an entry and its extent in one CAS: a hole that is large enough, else the next new one.
    fn claim(&self, me: Me, name: &str, length: u64) -> Result<(usize, u64)> {
        let needed = length.div_ceil(LINE as u64).max(1);
        if needed > u64::from(u32::MAX) {
            return Err(self.no_space(name, length, self.arena.0));
        }
        let mut index = 0;
        let mut offset = self.arena.0;
        while let Some(entry) = self.entries.get(index) {
            let mut word = entry.word.load(Ordering::Acquire); // E2
            if word & STATE == CLAIMED {
                self.repair_entry(index);
                word = entry.word.load(Ordering::Acquire); // E2
            }
            let extent = match word & STATE {
                EMPTY => {
                    if offset + needed * LINE as u64 > self.arena.1 {
                        return Err(self.no_space(name, length, offset));
                    }
                    needed
                }
                HOLE if lines(word) >= needed => lines(word),
                _ => {
                    offset = self.offset_of(index + 1)?;
                    index += 1;
                    continue;
                }
            };
            // E2. On failure another maker was first: look at this entry again.
            if entry
                .word
                .compare_exchange(word, claimed_by(extent, me), Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
            {
                return Ok((index, offset));
            }
        }
        Err(Error::new(
            ErrorKind::Limit,
            format!(
                "{} cannot be made: the directory's {} entries are taken",
                shown(name),
                self.entries.len()
            ),
        ))
    }

    fn no_space(&self, name: &str, length: u64, offset: u64) -> Error {
        let left = self.arena.1.saturating_sub(offset);
        Error::new(
            ErrorKind::NoSpace,
            format!(
                "no space for {} in the segment: it needs {length} bytes, {left} are left",
                shown(name)
            ),
        )
    }

    fn fill(&self, entry: &Entry, wanted: Wanted<'_>, offset: u64, length: u64) -> Result<Region> {
        entry.kind.store(wanted.kind as u32, Ordering::Relaxed);
        entry.item_size.store(wanted.item.size, Ordering::Relaxed);
        entry.item_align.store(wanted.item.align, Ordering::Relaxed);
        entry.item_tag.store(wanted.item.tag, Ordering::Relaxed);
        entry.length.store(length, Ordering::Relaxed);
        entry.name_length.store(wanted.name.len() as u32, Ordering::Relaxed);
        for (word, bytes) in entry.name.iter().zip(wanted.name.as_bytes().chunks(8)) {
            let mut eight = [0; 8];
            eight[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(eight), Ordering::Relaxed);
        }
        let region = self.segment.slice(offset, length)?;
        // SAFETY: I2: nobody else touches the extent of an entry that we have claimed.
        unsafe { region.start().write_bytes(0, region.length()) };
        Ok(region)
    }

    fn give_up(&self, entry: &Entry) {
        let word = entry.word.load(Ordering::Relaxed);
        let hole = lines(word) << LINES_SHIFT | HOLE;
        // E2: what we wrote there happens before the next claim.
        let _ = entry.word.compare_exchange(word, hole, Ordering::Release, Ordering::Relaxed);
    }

    /// A dead maker's entry becomes what it had reached: an object, or a hole.
    fn repair_entry(&self, index: usize) {
        let entry = &self.entries[index];
        let word = entry.word.load(Ordering::Acquire); // E2
        if word & STATE != CLAIMED {
            return;
        }
        let slot = (word >> SLOT_SHIFT & SLOT_MASK) as u32;
        let wanted = word >> GENERATION_SHIFT & GENERATION_MASK;
        let holder = self.participants.holder(slot);
        let over = holder.is_none_or(|generation| {
            generation & GENERATION_MASK != wanted || self.participants.is_over(slot, generation)
        });
        if !over {
            return;
        }
        // The dead one links nothing any more, so the answer stays true.
        let mut linked = false;
        let walked = self.walk(0, |at| {
            linked |= at == index;
            linked
        });
        if walked.is_err() {
            return;
        }
        let state = if linked { READY } else { HOLE };
        let _ = entry.word.compare_exchange(
            word,
            lines(word) << LINES_SHIFT | state,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }
}

fn item_of(entry: &Entry) -> TypeTag {
    TypeTag {
        size: entry.item_size.load(Ordering::Relaxed),
        align: entry.item_align.load(Ordering::Relaxed),
        tag: entry.item_tag.load(Ordering::Relaxed),
    }
}

fn name_of(entry: &Entry) -> std::borrow::Cow<'static, str> {
    let length = (entry.name_length.load(Ordering::Relaxed) as usize).min(OBJECT_NAME_MAX);
    let bytes: Vec<u8> =
        entry.name.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).collect();
    String::from_utf8_lossy(&bytes[..length]).into_owned().into()
}

fn shown(name: &str) -> String {
    if name.is_empty() { "the segment's object".into() } else { format!("object '{name}'") }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_slot_of_the_format() {
        assert_eq!(size_of::<Entry>(), crate::layout::header::SLOT);
        assert_eq!(size_of::<Head>(), LINE);
    }
}
