//! The two ends of a ring: roles, bytes in place, waiting, and what the death of the other end means.
//!
//! An end belongs to one thread at a time and keeps its cursor in private memory, for one process: in a
//! forked child the first use takes the role anew, or says who has it.

use crate::atomic::{AtomicU64, Ordering};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::plain::TypeTag;
use crate::os::barrier;
use crate::os::clock::{self, Deadline};
use crate::os::fork;
use crate::os::mirror::Mirror;
use crate::queue::core::{LOOK_EVERY, tally};
use crate::queue::error::Failure;
use crate::queue::plan::{Delivery, WhenFull};
use crate::queue::ring::Refusal;
use crate::queue::spsc::cursors::{Cursors, Reader, Writer};
use crate::queue::spsc::options::RingOptions;
use crate::queue::spsc::role;
use crate::queue::spsc::shape::{self, Header, Shape, record};
use crate::queue::spsc::words;
use crate::segment::directory::ObjectKind;
use crate::segment::participant::Me;
use crate::segment::place::{Object, Place, Plan as ObjectPlan};
use crate::wait::eventcount::{EventCount, Look, Spin, wait_quietly_for};
use std::sync::Arc;

type Done<T> = std::result::Result<T, Failure>;

/// A ring that is open: what both ends, and who only looks on, have.
#[derive(Clone)]
pub(crate) struct Core {
    pub header: &'static Header,
    pub shape: Shape,
    pub object: Object,
    mirror: Arc<Mirror>,
}

impl Core {
    pub(crate) fn create(
        place: Place<'_>,
        shape: impl Fn(u64) -> Result<Shape>,
        item: TypeTag,
    ) -> Result<Self> {
        let shape = shape(place.page_size())?;
        let plan = ObjectPlan { kind: ObjectKind::Ring, item, length: shape.total };
        Self::over(place.create(plan, |region| shape::begin(region, shape))?, item)
    }

    pub(crate) fn open(place: Place<'_>, item: TypeTag) -> Result<Self> {
        Self::over(place.open(ObjectKind::Ring, item)?, item)
    }

    fn over(object: Object, item: TypeTag) -> Result<Self> {
        let (header, shape, bytes) = shape::open(object.region)?;
        let plan = &shape.plan;
        if plan.size != item.size || plan.align != item.align {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("the ring's plan ({plan:?}) is not one for items of {item}"),
            ));
        }
        let mirror = Arc::new(object.segment.mirror(bytes)?);
        Ok(Self { header, shape, object, mirror })
    }

    #[inline]
    pub(crate) fn cursors(&self) -> Cursors<'_> {
        let header = self.header;
        Cursors {
            tail: &header.tail.0,
            head: &header.reader.head,
            claimed: &header.reader.claimed,
            times: &header.reader.times,
            end: &header.events.end,
            items: &header.events.items,
            space: &header.events.space,
            limit: self.shape.limit,
            whole: self.shape.whole,
        }
    }

    /// The byte at a position; what follows up to the size of the storage is contiguous.
    #[inline]
    fn at(&self, position: u64) -> *mut u8 {
        // SAFETY: less than the length of the first copy.
        unsafe { self.mirror.start().add((position % self.shape.bytes) as usize) }
    }

    /// Where position 0 would be, so that `position`, and what follows up to the size of the storage, is as far behind
    /// it as its number says. An address to reckon with, not to go to.
    fn base(&self, position: u64) -> *mut u8 {
        self.at(position).wrapping_sub(position as usize)
    }

    #[inline]
    pub(crate) fn overwrites(&self) -> bool {
        self.shape.plan.full == WhenFull::Overwrite
    }

    /// Bytes of the record at `position`, of which `available` can be read; `None` when that is impossible.
    #[inline]
    fn record_at(&self, position: u64, available: u64) -> Option<u64> {
        let size = match self.shape.plan.size {
            0 => {
                // SAFETY: eight bytes, aligned, inside the storage.
                let length =
                    unsafe { (*self.at(position).cast::<AtomicU64>()).load(Ordering::Relaxed) };
                if length > available {
                    return None;
                }
                record(length)
            }
            size => size.into(),
        };
        (size <= available).then_some(size)
    }

    pub(crate) fn close(&self) -> Result<()> {
        barrier::register(fork::generation())?;
        self.cursors().close();
        for event in [&self.header.events.items, &self.header.events.space] {
            event.notify(u32::MAX);
        }
        Ok(())
    }

    /// Whether the ring has been closed. A decision that is due may have to be made for it.
    pub(crate) fn is_closed(&self) -> bool {
        self.cursors().is_closing()
    }

    /// Bytes of records in the ring.
    pub(crate) fn used(&self) -> Result<u64> {
        let (head, tail) = self.span()?;
        Ok((tail - head).min(self.shape.limit))
    }

    /// Head and tail as they were at one moment.
    pub(crate) fn span(&self) -> Result<(u64, u64)> {
        barrier::register(fork::generation())?;
        self.cursors().span().map_err(|_| corrupt())
    }

    /// Items in the ring. Messages are counted by a walk, again when somebody took one meanwhile.
    pub(crate) fn len(&self) -> Result<u64> {
        let size = u64::from(self.shape.plan.size);
        if size != 0 {
            return Ok(self.used()? / size);
        }
        loop {
            let (head, tail) = self.span()?;
            let (mut at, mut count) = (head, 0);
            while at < tail {
                let Some(length) = self.record_at(at, tail - at) else { break };
                at += length;
                count += 1;
            }
            // Between two equal looks at the head nobody wrote over what was walked over.
            std::sync::atomic::fence(Ordering::Acquire);
            if self.header.reader.head.load(Ordering::Acquire) == head {
                return if at == tail { Ok(count) } else { Err(corrupt()) };
            }
        }
    }

    /// Takes a role for this process.
    fn take(&self, role: &AtomicU64, what: &str) -> Result<(Me, bool)> {
        barrier::register(fork::generation())?;
        let me = self.object.segment.me()?;
        let from_the_dead = role::take(role, me, &self.object.segment.table()?, what)?;
        tally(&self.header.tallies.repairs, u64::from(from_the_dead));
        Ok((me, from_the_dead))
    }

    fn leave(&self, role: &AtomicU64, me: Me) {
        if self.shape.plan.follows {
            // In vain for want of barriers only, without which nobody has a role.
            let _ = self.close();
        }
        role::leave(role, me);
    }
}

pub(super) fn corrupt() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "the ring's cursors or records contradict each other: expected head <= tail <= head + capacity, found others",
    )
}

fn failure(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::Corrupt => Failure::Failed(corrupt()),
        other => Failure::Refused(other),
    }
}

/// No process generation has this number.
const NO_PROCESS: u32 = u32::MAX;

/// What both ends keep beside their cursor.
struct Station {
    /// This process's generation, and the one that the cursor belongs to.
    now: &'static std::sync::atomic::AtomicU32,
    process: u32,
    me: Me,
    /// When it was last asked whether the other end has died, and the holder that has.
    looked: u64,
    dead: u64,
    spin: Spin,
}

impl Station {
    fn new() -> Self {
        let me = Me { slot: 0, generation: 0 };
        let now = fork::word();
        Self { now, process: NO_PROCESS, me, looked: 0, dead: 0, spin: Spin::default() }
    }

    /// Whether the ring ends with the holder of the other role, and that is proven dead: looked for at most every few
    /// milliseconds unless `now`.
    #[cold]
    fn other_died(&mut self, core: &Core, role: &AtomicU64, now: bool) -> Result<bool> {
        let holder = role.load(Ordering::Acquire);
        if !core.shape.plan.follows || holder == 0 {
            return Ok(false);
        }
        if holder == self.dead {
            return Ok(true);
        }
        let time = clock::now_coarse();
        if !now && time.wrapping_sub(self.looked) < LOOK_EVERY {
            return Ok(false);
        }
        self.looked = time;
        let died = role::is_dead(holder, &core.object.segment.table()?);
        self.dead = if died { holder } else { 0 };
        Ok(died)
    }

    #[inline]
    fn is_ready(&self) -> bool {
        self.now.load(Ordering::Relaxed) == self.process
    }
}

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

    #[cold]
    fn take(&mut self) -> Result<()> {
        let process = fork::generation();
        let (me, _) = self.core.take(&self.core.header.roles.writer, "producer")?;
        self.station.me = me;
        self.writer = Writer::start(self.core.cursors());
        self.base = self.core.base(self.writer.tail());
        self.station.process = process;
        Ok(())
    }

    /// Where the next record is written.
    #[inline(always)]
    pub(crate) fn place(&self) -> *mut u8 {
        self.base.wrapping_add(self.writer.tail() as usize)
    }

    /// Room for `count` bytes at least, contiguous; says for how many.
    #[inline]
    pub(crate) fn room(&mut self, count: u64) -> Done<u64> {
        self.ready()?;
        let room = self.writer.room();
        if room >= count { Ok(room) } else { self.look(count) }
    }

    #[cold]
    fn look(&mut self, count: u64) -> Done<u64> {
        if count > self.longest() {
            return Err(self.too_big(count).into());
        }
        self.base = self.core.base(self.writer.tail());
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

    /// In a ring that overwrites, behind each commit: the oldest go where there are too many now.
    #[cold]
    pub(crate) fn trim(&mut self) -> Done<()> {
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
        if self.station.is_ready() && self.writer.room() >= count {
            fill(self.place());
            return self.commit(count);
        }
        self.try_write_slowly(count, fill)
    }

    #[cold]
    #[inline(never)]
    fn try_write_slowly(&mut self, count: u64, fill: impl FnOnce(*mut u8)) -> Done<()> {
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
    #[inline]
    pub(crate) fn room_for_one(&mut self, count: u64, deadline: Option<Deadline>) -> Done<u64> {
        if self.station.is_ready() && self.writer.room() >= count {
            return Ok(count);
        }
        self.wait_if(count, deadline, |end| match end.room(count) {
            Err(failure) => {
                end.or_dead(failure, count, false)?;
                end.room(count)
            }
            found => found,
        })
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

/// The reading end.
pub(crate) struct ReadEnd {
    reader: Reader,
    /// See [`Core::base`]; for all positions that the reader knows of.
    base: *const u8,
    station: Station,
    pub core: Core,
}

// SAFETY: as for `WriteEnd`.
unsafe impl Send for ReadEnd {}

impl ReadEnd {
    pub(crate) fn new(core: Core) -> Self {
        Self { reader: Reader::new(), base: core.base(0), station: Station::new(), core }
    }

    #[inline]
    pub(crate) fn ready(&mut self) -> Result<()> {
        if self.station.is_ready() { Ok(()) } else { self.take() }
    }

    #[cold]
    fn take(&mut self) -> Result<()> {
        let process = fork::generation();
        let core = &self.core;
        let (me, _) = core.take(&core.header.roles.reader, "consumer")?;
        let drops = core.shape.plan.delivery == Delivery::AtMostOnce;
        let started = Reader::start(core.cursors(), drops);
        let (mut reader, dropped) = started.map_err(|_| {
            role::leave(&core.header.roles.reader, me);
            corrupt()
        })?;
        if core.overwrites() {
            reader.catch_up(core.cursors());
        }
        let each = u64::from(core.shape.plan.size);
        tally(&core.header.tallies.dropped, dropped.checked_div(each).unwrap_or(1).min(dropped));
        self.station.me = me;
        self.reader = reader;
        self.base = self.core.base(self.reader.head());
        self.station.process = process;
        Ok(())
    }

    /// The oldest byte.
    #[inline(always)]
    pub(crate) fn place(&self) -> *const u8 {
        self.base.wrapping_add(self.reader.head() as usize)
    }

    /// Bytes that can be read, contiguous: at least one record's.
    #[inline]
    pub(crate) fn available(&mut self) -> Done<u64> {
        self.ready()?;
        match self.reader.available() {
            0 => self.look(),
            some => Ok(some),
        }
    }

    #[cold]
    fn look(&mut self) -> Done<u64> {
        self.base = self.core.base(self.reader.head());
        self.reader.look(self.core.cursors()).map_err(failure)
    }

    /// The same, after another look when that is less than `wanted`.
    #[inline]
    pub(crate) fn available_up_to(&mut self, wanted: u64) -> Done<u64> {
        let known = self.available()?;
        if known >= wanted { Ok(known) } else { self.look() }
    }

    /// Bytes that can be claimed; waited for if there is a deadline.
    #[inline]
    pub(crate) fn claimable(&mut self, most: u64, deadline: Option<Deadline>) -> Done<u64> {
        if self.station.is_ready() && self.reader.available() > 0 && most > 0 {
            return Ok(self.reader.available());
        }
        self.claimable_slowly(most, deadline)
    }

    #[cold]
    fn claimable_slowly(&mut self, most: u64, deadline: Option<Deadline>) -> Done<u64> {
        if self.core.overwrites() {
            return Err(RingOptions::no_claims().into());
        }
        if most == 0 {
            let text = "0 items cannot be claimed: at least one is expected";
            return Err(Error::new(ErrorKind::Invalid, text).into());
        }
        match deadline {
            Some(deadline) => self.wait(deadline, Self::available_or_dead),
            None => self.available_or_dead(),
        }
    }

    /// The oldest byte's place in the order of all bytes.
    pub(crate) fn position(&self) -> u64 {
        self.reader.head()
    }

    /// Bytes of the record at the front; there is one.
    #[inline]
    pub(crate) fn record(&self, available: u64) -> Done<u64> {
        let record = self.core.record_at(self.reader.head(), available);
        record.ok_or_else(|| Failure::Failed(corrupt()))
    }

    /// `count` bytes have been read for good.
    #[inline(always)]
    pub(crate) fn consume(&mut self, count: u64) {
        let header = self.core.header;
        self.reader.consume(&header.reader.head, &header.events.space, count);
    }

    /// `count` bytes at most are going to be handed out in place; for how many that is done, and for the how-manieth
    /// time.
    #[inline]
    pub(crate) fn claim(&mut self, count: u64) -> (u64, u64) {
        let shared = self.core.cursors();
        let count = match self.reader.handed_out(shared) {
            0 => count,
            before => count.min(before),
        };
        let times = self.reader.claim(shared, count);
        if times > 1 {
            let each = u64::from(self.core.shape.plan.size);
            tally(&self.core.header.tallies.redelivered, count.checked_div(each).unwrap_or(1));
        }
        (count, times)
    }

    /// What was claimed beyond what was consumed is as if it had not been.
    pub(crate) fn unclaim(&self) {
        self.reader.unclaim(self.core.cursors());
    }

    /// One record, read by `read` from its first byte on, whose length it is told; taken unless `read` refuses.
    #[inline(always)]
    pub(crate) fn try_read<T>(
        &mut self,
        mut read: impl FnMut(*const u8, u64) -> Done<T>,
    ) -> Done<T> {
        if self.station.is_ready() && self.reader.available() > 0 {
            return self.read_one(&mut read);
        }
        self.try_read_slowly(&mut read)
    }

    /// The same for an item of a known size.
    #[inline(always)]
    pub(crate) fn try_read_item<T>(&mut self, size: u64, read: impl Fn(*const u8) -> T) -> Done<T> {
        if self.station.is_ready() && self.reader.available() >= size {
            let value = read(self.place());
            self.consume(size);
            return Ok(value);
        }
        self.try_read_slowly(&mut |place, _| Ok(read(place)))
    }

    #[cold]
    #[inline(never)]
    fn try_read_slowly<T>(&mut self, read: &mut impl FnMut(*const u8, u64) -> Done<T>) -> Done<T> {
        if self.core.overwrites() {
            return self.read_overwritten(read);
        }
        self.available_or_dead()?;
        self.read_one(read)
    }

    #[inline(always)]
    fn read_one<T>(&mut self, read: &mut impl FnMut(*const u8, u64) -> Done<T>) -> Done<T> {
        let count = self.record(self.reader.available())?;
        let value = read(self.place(), count)?;
        self.consume(count);
        Ok(value)
    }

    /// The writer may overtake: what was copied counts only if the head is still there then.
    #[cold]
    fn read_overwritten<T>(&mut self, read: &mut impl FnMut(*const u8, u64) -> Done<T>) -> Done<T> {
        self.ready()?;
        let mut copy = Vec::new();
        loop {
            let shared = self.core.cursors();
            self.reader.catch_up(shared);
            let head = self.reader.head();
            let overtaken = || shared.head.load(Ordering::Acquire) != head;
            let available = match self.reader.look(shared) {
                Err(Refusal::Corrupt) if overtaken() => continue,
                Err(refusal) => {
                    self.or_dead(failure(refusal), false)?;
                    continue;
                }
                Ok(available) => available,
            };
            let Some(count) = self.core.record_at(head, available) else {
                if overtaken() {
                    continue;
                }
                return Err(Failure::Failed(corrupt()));
            };
            copy.resize(count.div_ceil(8) as usize, 0u64);
            // SAFETY: `count` bytes from a position on lie in the storage; the buffer has room for them.
            unsafe { words::read(self.core.at(head), copy.as_mut_ptr().cast(), count as usize) };
            if overtaken() {
                continue;
            }
            let value = read(copy.as_ptr().cast(), count)?;
            if self.reader.try_consume(shared, count) {
                return Ok(value);
            }
        }
    }

    /// Bytes that can be read; when there are none, the death of the writer is looked for.
    #[inline]
    pub(crate) fn available_or_dead(&mut self) -> Done<u64> {
        match self.available() {
            Err(failure) => {
                self.or_dead(failure, false)?;
                self.available()
            }
            found => found,
        }
    }

    /// Empty for good, for the writer has died? What it had pushed before is found behind its death.
    #[cold]
    fn or_dead(&mut self, failure: Failure, now: bool) -> Done<()> {
        let writer = &self.core.header.roles.writer;
        if !failure.is_empty() || !self.station.other_died(&self.core, writer, now)? {
            return Err(failure);
        }
        match self.core.used()? {
            0 => Err(Failure::PeerDead),
            _ => Ok(()),
        }
    }

    /// Runs `attempt`; what it finds empty is waited for.
    #[inline]
    pub(crate) fn wait<T>(
        &mut self,
        deadline: Deadline,
        mut attempt: impl FnMut(&mut Self) -> Done<T>,
    ) -> Done<T> {
        match attempt(self) {
            Err(failure) if failure.is_empty() => self.wait_further(deadline, attempt),
            other => other,
        }
    }

    #[cold]
    fn wait_further<T>(
        &mut self,
        deadline: Deadline,
        mut attempt: impl FnMut(&mut Self) -> Done<T>,
    ) -> Done<T> {
        let header = self.core.header;
        let spin = std::mem::take(&mut self.station.spin);
        let done = wait(&header.events.items, &spin, deadline, header, |look| {
            let failure = match attempt(self) {
                Err(failure) if failure.is_empty() => failure,
                other => return Some(other),
            };
            if look == Look::Items {
                return None;
            }
            match self.or_dead(failure, look == Look::Deaths) {
                Ok(()) => Some(attempt(self)),
                Err(failure) if failure.is_empty() => None,
                Err(other) => Some(Err(other)),
            }
        });
        self.station.spin = spin;
        done
    }
}

impl Drop for ReadEnd {
    fn drop(&mut self) {
        if self.station.is_ready() {
            self.core.leave(&self.core.header.roles.reader, self.station.me);
        }
    }
}

/// Waits on one of the ring's events.
fn wait<T>(
    event: &EventCount,
    spin: &Spin,
    deadline: Deadline,
    header: &Header,
    mut attempt: impl FnMut(Look) -> Option<Done<T>>,
) -> Done<T> {
    wait_quietly_for(event, deadline, spin, |look| {
        if look == Look::DeathsIfDue {
            tally(&header.tallies.waits, 1);
        }
        attempt(look)
    })?
}
