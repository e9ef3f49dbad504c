//! The writing end of a ring: role, room in place, waiting for room, and what the death of the reader means.
//!
//! An end belongs to one thread at a time and keeps its cursor in private memory, for one process: in a
//! forked child the first use takes the role anew, or says who has it.

use crate::error::{Error, ErrorKind, Result};
use crate::os::clock::Deadline;
use crate::os::cpu::{self, CACHE_LINE};
use crate::os::fork;
use crate::queue::core::tally;
use crate::queue::error::Failure;
use crate::queue::plan::WhenFull;
use crate::queue::spsc::core::{Core, Done, corrupt, failure, write_message};
use crate::queue::spsc::cursors::Writer;
use crate::queue::spsc::role;
use crate::queue::spsc::shape::PREFIX;
use crate::queue::spsc::station::{Station, wait};
use crate::queue::spsc::words;
use crate::wait::eventcount::Look;

/// So many bytes ahead of where it is written or read, lines are fetched: the other side had them last. Found by trial.
pub(super) const AHEAD: u64 = 4 * CACHE_LINE;

/// The writing end.
pub(crate) struct WriteEnd {
    writer: Writer,
    /// See [`Core::base`]; for all positions that the writer may use without another look.
    base: *mut u8,
    station: Station,
    pub core: Core,
}

// SAFETY: the pointer leads into the mirror that `core` keeps, and is used by one thread at a time.
unsafe impl Send for WriteEnd {}

impl WriteEnd {
    pub(crate) fn new(core: Core) -> Self {
        Self { writer: Writer::new(), base: core.base(0), station: Station::new(), core }
    }

    /// Sees to it that this process has the role.
    #[inline]
    pub(crate) fn ready(&mut self) -> Result<()> {
        if self.station.is_ready() { Ok(()) } else { self.take() }
    }

    /// Whether this process is the one that has the role.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        self.station.is_ready()
    }

    #[cold]
    fn take(&mut self) -> Result<()> {
        let process = fork::generation();
        let (me, _) = self.core.take(&self.core.header.roles.writer, "producer")?;
        self.writer = Writer::start(self.core.cursors());
        if !self.core.is_sound(self.writer.tail()) {
            role::leave(&self.core.header.roles.writer, me);
            return Err(corrupt());
        }
        self.station.me = me;
        self.base = self.core.base(self.writer.tail());
        self.station.process = process;
        Ok(())
    }

    /// Where the next record is written.
    #[inline(always)]
    pub(crate) fn place(&self) -> *mut u8 {
        self.base.wrapping_add(self.writer.tail() as usize)
    }

    /// Where the next item, or the bytes of the next message, are written.
    #[inline]
    pub(crate) fn first(&self) -> *mut u8 {
        self.place().wrapping_add(if self.core.is_framed() { PREFIX as usize } else { 0 })
    }

    /// Whether this process has the role, and knows of room for `count` bytes: then the writing may begin.
    #[inline(always)]
    fn has_room(&self, count: u64) -> bool {
        self.station.is_ready() && self.writer.room() >= count
    }

    /// Whether there is room for `count` bytes as is seen at a glance; says false also where only a longer look tells.
    #[inline]
    fn glance(&mut self, count: u64) -> bool {
        let header = self.core.header;
        self.base = self.core.rebase(self.base, self.writer.tail());
        self.station.is_ready()
            && self.writer.glance(&header.reader.head, &header.events.items, count)
    }

    /// Room for `count` bytes at least, contiguous; says for how many.
    #[inline]
    pub(crate) fn room(&mut self, count: u64) -> Done<u64> {
        if self.has_room(count) { Ok(self.writer.room()) } else { self.room_slowly(count) }
    }

    #[cold]
    fn room_slowly(&mut self, count: u64) -> Done<u64> {
        if self.glance(count) {
            return Ok(self.writer.room());
        }
        self.ready()?;
        self.look(count)
    }

    /// Where a record reaches into another line, one that lies further on is asked for: the reader had it last.
    #[inline(always)]
    fn fetch_ahead(&self, count: u64) {
        if self.writer.tail() % CACHE_LINE < count && self.writer.room() >= AHEAD + CACHE_LINE {
            cpu::prefetch_to_write(self.place().wrapping_add(AHEAD as usize));
        }
    }

    #[cold]
    fn look(&mut self, count: u64) -> Done<u64> {
        if count > self.longest() {
            return Err(self.too_big(count).into());
        }
        self.base = self.core.rebase(self.base, self.writer.tail());
        let shared = self.core.cursors();
        if !self.core.overwrites() {
            return self.writer.look(shared, count).map_err(failure);
        }
        let core = &self.core;
        let length_at = |position| core.record_at(position, core.shape.whole);
        let overwritten = self.writer.make_room(shared, count, length_at).map_err(failure)?;
        tally(&core.header.tallies.overwritten, overwritten);
        Ok(count)
    }

    /// Makes `count` bytes that were written at [`place`](Self::place) visible.
    #[inline(always)]
    pub(crate) fn commit(&mut self, count: u64) -> Done<()> {
        let header = self.core.header;
        if self.writer.commit(&header.tail.0, &header.events.items, count) {
            self.settle(count)?;
        }
        Ok(())
    }

    #[cold]
    fn settle(&mut self, count: u64) -> Done<()> {
        self.writer.settle(self.core.cursors(), count).map_err(failure)
    }

    /// Makes `count` items, or a message of `count` bytes, visible, which have been written where they belong.
    #[inline(always)]
    pub(crate) fn commit_items(&mut self, count: usize) -> Done<()> {
        if self.core.is_framed() {
            // SAFETY: the record begins here, aligned to eight; its room is ours.
            unsafe { self.place().cast::<u64>().write(count as u64) };
        }
        self.commit(self.core.bytes_of(count))?;
        if self.core.overwrites() { self.trim() } else { Ok(()) }
    }

    /// In a ring that overwrites, behind each commit: the oldest go where there are too many now.
    #[cold]
    fn trim(&mut self) -> Done<()> {
        let core = &self.core;
        let length_at = |position| core.record_at(position, core.shape.whole);
        let overwritten =
            self.writer.overwrite(core.cursors(), core.shape.limit, length_at).map_err(failure)?;
        tally(&core.header.tallies.overwritten, overwritten);
        Ok(())
    }

    /// One record of `count` bytes, written by `fill`.
    #[inline(always)]
    pub(crate) fn try_write(&mut self, count: u64, fill: impl FnOnce(*mut u8)) -> Done<()> {
        if self.has_room(count) {
            self.fetch_ahead(count);
            fill(self.place());
            return self.commit(count);
        }
        self.try_write_slowly(count, fill)
    }

    #[inline(never)]
    fn try_write_slowly(&mut self, count: u64, fill: impl FnOnce(*mut u8)) -> Done<()> {
        if self.glance(count) {
            fill(self.place());
            return self.commit(count);
        }
        if let Err(failure) = self.room(count) {
            self.or_dead(failure, count, false)?;
        }
        if !self.core.overwrites() {
            fill(self.place());
            return self.commit(count);
        }
        // A reader that is being overtaken may look on.
        let mut record = vec![0u64; count.div_ceil(8) as usize];
        fill(record.as_mut_ptr().cast());
        // SAFETY: `room` found room for `count` bytes.
        unsafe { words::write(self.place(), record.as_ptr().cast(), count as usize) };
        self.commit(count)?;
        self.trim()
    }

    /// Full for good, for the reader has died? What it had read before is found behind its death: then there is room.
    #[cold]
    fn or_dead(&mut self, failure: Failure, count: u64, now: bool) -> Done<()> {
        let reader = &self.core.header.roles.reader;
        if !failure.is_full() || !self.station.other_died(&self.core, reader, now)? {
            return Err(failure);
        }
        match self.look(count) {
            Err(failure) if failure.is_full() => Err(Failure::PeerDead),
            other => other.map(|_| ()),
        }
    }

    /// Room for `count` bytes, contiguous, to be committed at once; waited for if there is a deadline.
    #[inline(always)]
    pub(crate) fn room_for_one(&mut self, count: u64, deadline: Option<Deadline>) -> Done<()> {
        if self.has_room(count) || self.glance(count) {
            return Ok(());
        }
        self.room_for_one_slowly(count, deadline)
    }

    #[inline(never)]
    fn room_for_one_slowly(&mut self, count: u64, deadline: Option<Deadline>) -> Done<()> {
        let room = self.wait_if(count, deadline, |end| match end.room(count) {
            Err(failure) => {
                end.or_dead(failure, count, false)?;
                end.room(count)
            }
            found => found,
        });
        room.map(|_| ())
    }

    /// Waits where there is a deadline, else does not.
    #[cold]
    pub(crate) fn wait_if<T>(
        &mut self,
        count: u64,
        deadline: Option<Deadline>,
        mut attempt: impl FnMut(&mut Self) -> Done<T>,
    ) -> Done<T> {
        match deadline {
            Some(deadline) => self.wait(count, deadline, attempt),
            None => attempt(self),
        }
    }

    /// Copies in as many items, or messages, as there is room for, at least one, which is waited for if there is a
    /// deadline; they become visible at once.
    pub(crate) fn write_many<'b>(
        &mut self,
        items: impl Iterator<Item = &'b [u8]> + Clone,
        deadline: Option<Deadline>,
    ) -> Done<usize> {
        let framed = self.core.is_framed();
        let bytes_of =
            |core: &Core, item: &[u8]| core.bytes_of(if framed { item.len() } else { 1 });
        let write = |place: *mut u8, item: &[u8]| {
            // SAFETY: the caller has found room for the record.
            unsafe {
                if framed {
                    write_message(place, item);
                } else {
                    place.copy_from_nonoverlapping(item.as_ptr(), item.len());
                }
            }
        };
        let Some(first) = items.clone().next() else {
            self.ready()?;
            return Ok(0);
        };
        if self.core.overwrites() {
            return Self::as_many(items, |item| {
                self.try_write(bytes_of(&self.core, item), |place| write(place, item))
            });
        }
        self.room_for_one(bytes_of(&self.core, first), deadline)?;
        let (mut bytes, mut count) = (0, 0);
        for item in items {
            let next = bytes_of(&self.core, item);
            if self.room(bytes + next).is_err() {
                break;
            }
            write(self.place().wrapping_add(bytes as usize), item);
            bytes += next;
            count += 1;
        }
        self.commit(bytes)?;
        Ok(count)
    }

    /// Puts items in one by one, until one is refused; says how many, at least one unless it is refused.
    pub(crate) fn as_many<I>(
        items: impl Iterator<Item = I>,
        mut put: impl FnMut(I) -> Done<()>,
    ) -> Done<usize> {
        let mut count = 0;
        for item in items {
            match put(item) {
                Ok(()) => count += 1,
                Err(_) if count > 0 => break,
                Err(failure) => return Err(failure),
            }
        }
        Ok(count)
    }

    /// The most bytes that are ever written at once.
    fn longest(&self) -> u64 {
        let shape = &self.core.shape;
        if self.core.overwrites() { shape.whole - shape.limit } else { shape.limit }
    }

    #[cold]
    fn too_big(&self, count: u64) -> Error {
        let text = match self.core.shape.plan.size {
            0 => format!(
                "messages that take {count} bytes with their lengths do not fit a ring that takes {} at once",
                self.longest()
            ),
            size => format!(
                "{} items do not fit a ring that takes {} at once",
                count / u64::from(size),
                self.longest() / u64::from(size)
            ),
        };
        Error::new(ErrorKind::TooBig, text)
    }

    /// Runs `attempt`, which needs `count` bytes; if it finds too little room it waits, where that is the ring's policy.
    #[inline]
    pub(crate) fn wait<T>(
        &mut self,
        count: u64,
        deadline: Deadline,
        mut attempt: impl FnMut(&mut Self) -> Done<T>,
    ) -> Done<T> {
        match attempt(self) {
            Err(failure) if failure.is_full() && self.core.shape.plan.full != WhenFull::Fail => {
                self.wait_further(count, deadline, attempt)
            }
            other => other,
        }
    }

    #[cold]
    fn wait_further<T>(
        &mut self,
        count: u64,
        deadline: Deadline,
        mut attempt: impl FnMut(&mut Self) -> Done<T>,
    ) -> Done<T> {
        let header = self.core.header;
        let spin = std::mem::take(&mut self.station.spin);
        let done = wait(&header.events.space, &spin, deadline, header, |look| {
            let failure = match attempt(self) {
                Err(failure) if failure.is_full() => failure,
                other => return Some(other),
            };
            if look == Look::Items {
                return None;
            }
            match self.or_dead(failure, count, look == Look::Deaths) {
                Ok(()) => Some(attempt(self)),
                Err(failure) if failure.is_full() => None,
                Err(other) => Some(Err(other)),
            }
        });
        self.station.spin = spin;
        done
    }
}

impl Drop for WriteEnd {
    fn drop(&mut self) {
        if self.station.is_ready() {
            self.core.leave(&self.core.header.roles.writer, self.station.me);
        }
    }
}
