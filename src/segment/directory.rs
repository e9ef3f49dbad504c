//! The named objects of a segment: made completely, then published; removed, and their space used again.
//!
//! # Overview
//! An object is an entry of the directory and an extent of the arena. A maker claims an entry with a CAS,
//! and then changes the directory in turns. There is one word, `turn`, that names the last change: which
//! entry, and which of four steps it took (allocate, publish, remove, free). A change is **announced** by a
//! CAS of that word, and counts from there on; it is then **settled**, by the announcer or
//! whoever comes next, by a CAS of the entry's word. Nobody announces before the last change is
//! settled, so what a maker read after settling is true at its own announcement, or the CAS fails:
//! an extent that was free is free, a name that was not there is not there. Free space has no list; it is what
//! no entry has, so neighbours need no joining, and nothing can be lost between two lists.
//!
//! # Who has an object open
//! Everybody who has (the maker included, from before it has an extent) has a [`Pin`] of the entry's byte
//! (`os/pin.rs`): the kernel holds the byte as long as the pin is mapped anywhere. A handle has one; a forked
//! child inherits it with the handle, needs no first call for that, and keeps it when it closes every
//! descriptor; `exec` and any death end it; a stopped process keeps it. So "the byte is free" proves that nobody
//! touches the extent, and nobody has to be told. Objects that are alone in their segment cannot
//! be removed, and have none.
//!
//! An object **without a name** is never published: it stays its maker's, who frees it. Nobody but the children that the maker
//! forks can have it open, so its pin is made at the first fork (`os/late_pin.rs`), and making and freeing it take no system
//! call where there was none.
//!
//! # Layout
//! One line with `turn` and `used`, then the entries ([`Entry`]). Each has a word {claim, maker's
//! generation, maker's slot, state}, what it is, and its extent in lines.
//!
//! | state | who may change it | to |
//! |---|---|---|
//! | FREE | any maker, by CAS | CLAIMED |
//! | CLAIMED | its maker, or who proved it dead | FREE |
//! | | the change *allocate* | HELD |
//! | HELD | its maker, or who proved it dead and settled its last change | REMOVED |
//! | | the change *publish* | READY |
//! | READY | the change *remove* | REMOVED |
//! | REMOVED | the change *free*, after the byte was found free | FREE |
//!
//! # Invariants
//! - I1. Extents of HELD, READY and REMOVED entries do not overlap.
//! - I2. Only the maker of a CLAIMED or HELD entry writes its other fields, and a HELD one's extent, unless it is an object
//!   without a name.
//! - I3. What READY names is complete, and has a name that no other READY entry has.
//! - I4. Whoever uses an extent had its byte pinned before it saw the entry READY for the last time.
//! - I5. A word never comes back: each claim has a new number.
//!
//! # Ordering edges
//! - E1. `turn` is changed with Release after everything that the change is about, and read with Acquire.
//! - E2. `word` is changed with Release and read with Acquire: fields and content of an entry before it.
//! - E3. Fields are read between two looks at the word: if it is the same, they belong to it.
//! - E4. Opener: pin, fence, word. Remover: word, fence, byte. One of the two sees the other.
//!
//! # Crash states
//! | killed | leaves | who repairs |
//! |---|---|---|
//! | before the claim | nothing | – |
//! | CLAIMED | an entry without extent | who needs it: FREE |
//! | allocate announced | the same, HELD when the next one comes | who needs it: REMOVED, then FREE |
//! | HELD | an unseen extent, or an object without a name | who needs it: REMOVED, then FREE |
//! | publish announced | a complete object | the next one who looks: READY |
//! | remove announced | no object | the next one who looks: REMOVED |
//! | REMOVED | an extent that openers may have; their pins go with them | who needs it: FREE |
//! | free announced | free space | the next one who looks: FREE |
//!
//! "Who needs it" is a maker who finds too little room, and [`recover`](crate::recover).
//!
//! The word has 43 bits of claims and the turn 45 of versions: at a claim every 10 µs, 2.8 years; and only
//! who was stopped between a load and its CAS for exactly that long would be misled. The maker's
//! generation has 8 bits: a dead maker is mistaken for a living one only while the same slot is held by
//! the 256th process after it, and then its space is used again later.
//!
//! # Progress
//! All calls are lock-free: an announcement fails only because another one succeeded. A stopped maker,
//! opener or remover holds up nobody; it only keeps what it has.
//!
//! # Source
//! Ours; announcing and helping are Herlihy's.

use crate::atomic::{Ordering, fence};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::header::LINE;
use crate::layout::offset::Region;
use crate::layout::plain::TypeTag;
use crate::os::late_pin::{LatePin, Others};
use crate::os::pin::{Asker, Pin};
pub use crate::segment::entry::ObjectKind;
pub(crate) use crate::segment::entry::{Entry, Head, check_object_name};
use crate::segment::entry::{Op, State, Turn, Word};
use crate::segment::participant::{Me, Table};

/// How often a change of the directory is tried, or a look at its turn, while others keep changing it: far more often
/// than honest peers can be faster, so that one who never stops holds nobody up for ever.
const TRIES: u32 = 1 << 16;
/// The same for what makes system calls.
const DEAR_TRIES: u32 = 1000;
/// Bytes of the file that pins lock begin here, one for each entry; participants' are at the beginning.
const PINS: u64 = 1 << 40;

/// What the maker or opener asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub name: &'a str,
    pub kind: ObjectKind,
    pub item: TypeTag,
}

/// What an object's bytes were before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Nothing: they are zeros. Their pages need not be touched to make sure of it.
    Fresh,
    /// Another object's, perhaps.
    Used,
}

/// An object's place in the segment, kept from being used for anything else.
#[derive(Debug)]
pub(crate) struct Extent {
    /// Offset in the segment.
    pub offset: u64,
    /// Bytes in use.
    pub length: u64,
    /// None for an object that is alone in its segment.
    pub pin: Option<Pin>,
}

/// An object without a name, in this process.
#[derive(Debug)]
pub(crate) struct Unnamed {
    index: usize,
    pin: LatePin,
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

impl Directory<'_> {
    /// Finds an object, checks that it is what is wanted, and pins it.
    pub(crate) fn open(&self, wanted: Wanted<'_>) -> Result<Extent> {
        for _ in 0..DEAR_TRIES {
            self.settle()?;
            let Some((index, word)) = self.find(wanted.name) else {
                return Err(not_found(wanted.name));
            };
            let pin = self.pin(index, wanted.name)?;
            // E4. SeqCst: the lock of the pin and the word are two places, and who removes looks
            // at them in the other order.
            fence(Ordering::SeqCst);
            let checked = self.checked(index, wanted);
            if self.entries[index].is_still(word) {
                let (offset, length) = checked?;
                return Ok(Extent { offset, length, pin }); // I4
            }
        }
        Err(self.restless())
    }

    /// Makes an object of `length` bytes: zeroed, then `fill`ed, then visible.
    ///
    /// `fill` gets the extent. An error from it undoes the making.
    pub(crate) fn create(
        &self,
        me: Me,
        wanted: Wanted<'_>,
        (length, memory): (u64, Memory),
        fill: impl FnOnce(Region) -> Result<()>,
    ) -> Result<Extent> {
        self.settle()?;
        if self.find(wanted.name).is_some() {
            return Err(exists(wanted.name));
        }
        let index = self.claim(me, wanted.name)?;
        let made = self.pin(index, wanted.name).and_then(|pin| {
            let offset = self.allocate(index, wanted.name, length)?;
            self.fill(index, wanted, (offset, length), memory).and_then(fill)?;
            self.publish(index, wanted.name)?;
            Ok(Extent { offset, length, pin })
        });
        if made.is_err() {
            self.give_up(index, true);
        }
        made
    }

    /// Makes an object without a name, as [`create`](Self::create) does one with a name.
    ///
    /// # Safety
    /// The segment's descriptor stays open until the object was [let go](Self::let_go).
    pub(crate) unsafe fn create_unnamed(
        &self,
        me: Me,
        wanted: Wanted<'_>,
        length: u64,
        fill: impl FnOnce(Region) -> Result<()>,
    ) -> Result<(Extent, Unnamed)> {
        let index = self.claim(me, wanted.name)?;
        let made = self.allocate(index, wanted.name, length).and_then(|offset| {
            self.fill(index, wanted, (offset, length), Memory::Used).and_then(fill)?;
            Ok(Extent { offset, length, pin: None })
        });
        if made.is_err() {
            self.give_up(index, false);
        }
        let extent = made?;
        let (fd, file) = (self.participants.fd, self.participants.file);
        // SAFETY: the caller's word.
        let pin = unsafe { LatePin::new(fd, file, PINS + index as u64) };
        Ok((extent, Unnamed { index, pin }))
    }

    /// The end of an object without a name in this process, which is its maker or, if `inherited`, another one.
    pub(crate) fn let_go(&self, unnamed: Unnamed, inherited: bool) {
        let others = unnamed.pin.end();
        // From here on only the maker knows that the entry is still the object's. What somebody may have without a pin
        // stays the maker's as long as that lives.
        if !inherited && others != Others::Unknown {
            self.give_up(unnamed.index, others == Others::Pinned);
        }
    }

    /// Takes the name away at once; the space is free when nobody has the object open any more.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        for _ in 0..TRIES {
            let turn = self.settle()?;
            let Some((index, _)) = self.find(name) else {
                return Err(not_found(name));
            };
            if self.announce(turn, Op::Remove, index)? {
                // If somebody has it open, the next maker who needs the room looks again.
                let asker = self.asker();
                return self.free(index, || is_pinned(asker.as_ref(), index));
            }
        }
        Err(self.restless())
    }

    /// The objects, newest first. Removed ones are not among them, whoever has them open.
    pub(crate) fn list(&self) -> Result<Vec<ObjectInfo>> {
        self.settle()?;
        let mut objects = Vec::new();
        for entry in self.used() {
            let word = entry.word();
            if !word.is(State::Ready) {
                continue;
            }
            let order = entry.order.load(Ordering::Relaxed);
            let info = ObjectInfo {
                name: entry.name(),
                kind: ObjectKind::of(entry.kind.load(Ordering::Relaxed)),
                item: entry.item(),
                size: entry.lines.load(Ordering::Relaxed).wrapping_mul(LINE as u64),
            };
            if entry.is_still(word) {
                objects.push((order, info));
            }
        }
        objects.sort_by_key(|&(order, _)| std::cmp::Reverse(order));
        Ok(objects.into_iter().map(|(_, info)| info).collect())
    }

    /// Frees what dead makers held, and what was removed and is not open any more.
    pub(crate) fn repair(&self) -> Result<()> {
        let asker = self.asker();
        self.settle()?;
        for (index, entry) in self.used().iter().enumerate() {
            let word = entry.word();
            if word.is_a_makers() && self.maker_is_over(word) {
                // It announces nothing any more; what it announced last is settled with this.
                self.settle()?;
                let left = if word.is(State::Held) { State::Removed } else { State::Free };
                entry.change(word, word.to(left));
            }
            self.free(index, || is_pinned(asker.as_ref(), index))?;
        }
        Ok(())
    }

    /// Brings the last change into its entry's word, unless that is done. The directory is then as the
    /// turn that is returned left it, until the next one is announced.
    #[inline]
    fn settle(&self) -> Result<Turn> {
        for _ in 0..TRIES {
            let turn = Turn(self.head.turn.load(Ordering::Acquire)); // E1
            let Some(op) = turn.op() else { return Ok(turn) };
            let Some(entry) = self.entries.get(turn.index()) else {
                return Err(self.corrupt(format!("names entry {}", turn.index())));
            };
            let word = entry.word();
            // Still the same turn: then that was the word before it, or the one after it.
            if self.head.turn.load(Ordering::Relaxed) != turn.0 {
                continue;
            }
            if word.is(op.before()) {
                entry.change(word, word.to(op.after())); // fails only when another did it
            }
            return Ok(turn);
        }
        Err(self.restless())
    }

    /// Makes a change that is right after `turn`; false when another one came first.
    #[inline]
    fn announce(&self, turn: Turn, op: Op, index: usize) -> Result<bool> {
        let next = turn.next(op, index);
        let result = self.head.turn.compare_exchange(
            turn.0,
            next.0,
            Ordering::AcqRel, // E1
            Ordering::Relaxed,
        );
        if result.is_ok() {
            self.settle()?;
        }
        Ok(result.is_ok())
    }

    fn used(&self) -> &[Entry] {
        let used = self.head.used.load(Ordering::Relaxed) as usize;
        &self.entries[..used.min(self.entries.len())]
    }

    fn find(&self, name: &str) -> Option<(usize, Word)> {
        self.used().iter().enumerate().find_map(|(index, entry)| {
            let word = entry.word();
            let found = word.is(State::Ready) && entry.has_name(name) && entry.is_still(word);
            found.then_some((index, word))
        })
    }

    /// Keeps an entry's extent from being used again; none for a segment's only object.
    fn pin(&self, index: usize, name: &str) -> Result<Option<Pin>> {
        if name.is_empty() {
            return Ok(None);
        }
        let table = &self.participants;
        Pin::new(table.fd, table.file, PINS + index as u64).map(Some)
    }

    fn asker(&self) -> Option<Asker> {
        Asker::new(self.participants.fd, self.participants.file)
    }

    fn maker_is_over(&self, word: Word) -> bool {
        self.participants.holder(word.slot()).is_none_or(|generation| {
            !word.may_be_of(generation) || self.participants.is_over(word.slot(), generation)
        })
    }

    /// Frees a removed entry that nobody has open.
    fn free(&self, index: usize, is_open: impl Fn() -> bool) -> Result<()> {
        for _ in 0..DEAR_TRIES {
            let turn = self.settle()?;
            if !self.entries[index].word().is(State::Removed) {
                return Ok(());
            }
            // E4. SeqCst: see `open`.
            fence(Ordering::SeqCst);
            if is_open() || self.announce(turn, Op::Free, index)? {
                return Ok(());
            }
        }
        Ok(()) // the next one who needs the room tries again
    }

    /// Takes an entry; where there is none, after the repair of all.
    fn claim(&self, me: Me, name: &str) -> Result<usize> {
        for repaired in [false, true] {
            if repaired {
                self.repair()?;
            }
            for (index, entry) in self.entries.iter().enumerate() {
                let word = entry.word();
                if !word.is(State::Free) {
                    continue;
                }
                if self.head.used.load(Ordering::Relaxed) as usize <= index {
                    self.head.used.fetch_max(index as u32 + 1, Ordering::Relaxed);
                }
                if entry.change(word, word.claimed_by(me)) {
                    return Ok(index);
                }
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

    /// Gives the claimed entry the first free extent that is large enough.
    fn allocate(&self, index: usize, name: &str, length: u64) -> Result<u64> {
        let entry = &self.entries[index];
        let lines = length.div_ceil(LINE as u64).max(1);
        let mut repaired = false;
        for _ in 0..TRIES {
            let turn = self.settle()?;
            let gap = self.first_gap(lines);
            if let Ok(Ok(offset)) = gap {
                entry.offset.store(offset, Ordering::Relaxed);
                entry.lines.store(lines, Ordering::Relaxed);
                if self.announce(turn, Op::Allocate, index)? {
                    return Ok(self.arena.0 + offset * LINE as u64); // I1
                }
            } else if self.head.turn.load(Ordering::Acquire) != turn.0 {
                // What was found is not true any more, or never was.
            } else if !repaired {
                self.repair()?;
                repaired = true;
            } else if let Err(largest) = gap? {
                return Err(Error::new(
                    ErrorKind::NoSpace,
                    format!(
                        "no space for {} in the segment: it needs {length} bytes, {} are left in one piece",
                        shown(name),
                        largest * LINE as u64
                    ),
                ));
            }
        }
        Err(self.restless())
    }

    /// Where so many lines are free, or how many the largest gap has. True if the turn has not changed.
    fn first_gap(&self, lines: u64) -> Result<std::result::Result<u64, u64>> {
        let all = (self.arena.1 - self.arena.0) / LINE as u64;
        let mut taken: Vec<(u64, u64)> = Vec::new();
        for entry in self.used() {
            if entry.word().has_extent() {
                let offset = entry.offset.load(Ordering::Relaxed);
                let end = offset.checked_add(entry.lines.load(Ordering::Relaxed));
                let Some(end) = end.filter(|&end| end <= all) else {
                    return Err(self.corrupt("has an extent past the end of the arena".into()));
                };
                taken.push((offset, end));
            }
        }
        taken.sort_unstable();
        let (mut free_from, mut largest) = (0, 0);
        for (offset, end) in taken.into_iter().chain([(all, all)]) {
            let gap = offset.saturating_sub(free_from);
            if gap >= lines {
                return Ok(Ok(free_from));
            }
            largest = largest.max(gap);
            free_from = free_from.max(end);
        }
        Ok(Err(largest))
    }

    fn fill(
        &self,
        index: usize,
        wanted: Wanted<'_>,
        (offset, length): (u64, u64),
        memory: Memory,
    ) -> Result<Region> {
        let entry = &self.entries[index];
        entry.kind.store(wanted.kind as u32, Ordering::Relaxed);
        entry.set_item(wanted.item);
        entry.length.store(length, Ordering::Relaxed);
        entry.set_name(wanted.name);
        let region = self.segment.slice(offset, length)?;
        if memory == Memory::Used {
            // SAFETY: I1, I2: nobody else touches the extent of an entry that we hold.
            unsafe { region.start().write_bytes(0, region.length()) };
        }
        Ok(region)
    }

    fn publish(&self, index: usize, name: &str) -> Result<()> {
        for _ in 0..TRIES {
            let turn = self.settle()?;
            if self.find(name).is_some() {
                return Err(exists(name));
            }
            self.entries[index].order.store(turn.version().wrapping_add(1), Ordering::Relaxed);
            if self.announce(turn, Op::Publish, index)? {
                return Ok(());
            }
        }
        Err(self.restless())
    }

    /// Undoes what this process, the maker, has done so far; its pin is gone already, but others may have one if `shared`.
    fn give_up(&self, index: usize, shared: bool) {
        let entry = &self.entries[index];
        let word = entry.word();
        let left = if word.is(State::Held) { State::Removed } else { State::Free };
        if word.is_a_makers() {
            entry.change(word, word.to(left));
        }
        let asker = if shared { self.asker() } else { None };
        let _ = self.free(index, || shared && is_pinned(asker.as_ref(), index));
    }

    /// Offset and length of an object that is what is wanted, checked against the arena.
    fn checked(&self, index: usize, wanted: Wanted<'_>) -> Result<(u64, u64)> {
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
        let item = entry.item();
        if item != wanted.item {
            return Err(Error::new(
                ErrorKind::Type,
                format!(
                    "{name} holds items of another type: expected {}, found {item}",
                    wanted.item
                ),
            ));
        }
        let bytes = |lines: u64| lines.checked_mul(LINE as u64);
        let length = entry.length.load(Ordering::Relaxed);
        let room = bytes(entry.lines.load(Ordering::Relaxed));
        let begin =
            bytes(entry.offset.load(Ordering::Relaxed)).and_then(|at| at.checked_add(self.arena.0));
        let place = begin.zip(room).filter(|&(begin, room)| {
            length <= room && begin.checked_add(room).is_some_and(|end| end <= self.arena.1)
        });
        let Some((begin, _)) = place else {
            return Err(self.corrupt(format!(
                "has {name} with {length} bytes at line {}, of {} lines set aside",
                entry.offset.load(Ordering::Relaxed),
                entry.lines.load(Ordering::Relaxed)
            )));
        };
        Ok((begin, length))
    }

    #[cold]
    fn restless(&self) -> Error {
        self.corrupt("changes all the time: somebody writes into it without rest".into())
    }

    fn corrupt(&self, what: String) -> Error {
        let message = format!(
            "the directory of {} entries and {} bytes {what}",
            self.entries.len(),
            self.arena.1 - self.arena.0
        );
        Error::new(ErrorKind::Corrupt, message)
    }
}

/// Whether anybody may have the entry's object open.
fn is_pinned(asker: Option<&Asker>, index: usize) -> bool {
    asker.is_none_or(|asker| asker.is_pinned(PINS + index as u64))
}

fn exists(name: &str) -> Error {
    Error::new(ErrorKind::Exists, format!("{} exists already", shown(name)))
}

fn not_found(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("{} does not exist", shown(name)))
}

fn shown(name: &str) -> String {
    if name.is_empty() { "the object".into() } else { format!("object '{name}'") }
}
