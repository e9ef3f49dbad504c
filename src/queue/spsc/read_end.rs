//! The reading end of a ring: role, records in place, waiting for them, and what the death of the writer means.

use crate::error::{Error, ErrorKind, Result};
use crate::os::clock::Deadline;
use crate::os::cpu::{self, CACHE_LINE};
use crate::os::fork;
use crate::queue::core::tally;
use crate::queue::error::Failure;
use crate::queue::plan::Delivery;
use crate::queue::ring::Refusal;
use crate::queue::spsc::core::{Core, Done, corrupt, failure, message};
use crate::queue::spsc::cursors::Reader;
use crate::queue::spsc::options::RingOptions;
use crate::queue::spsc::role;
use crate::queue::spsc::station::{Station, wait};
use crate::queue::spsc::words;
use crate::queue::spsc::write_end::AHEAD;
use crate::wait::eventcount::Look;

/// The reading end.
pub(crate) struct ReadEnd {
    reader: Reader,
    /// See [`Core::base`]; for all positions that the reader knows of.
    base: *mut u8,
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

    /// Whether this process is the one that has the role.
    #[inline]
    pub(crate) fn is_here(&self) -> bool {
        self.station.is_ready()
    }

    #[cold]
    fn take(&mut self) -> Result<()> {
        let process = fork::generation();
        let core = &self.core;
        let (me, from_the_dead) = core.take(&core.header.roles.reader, "consumer")?;
        let drops = from_the_dead && core.shape.plan.delivery == Delivery::AtMostOnce;
        let started = Reader::start(core.cursors(), drops).ok();
        let Some((mut reader, dropped)) = started.filter(|one| core.is_sound(one.0.head())) else {
            role::leave(&core.header.roles.reader, me);
            return Err(corrupt());
        };
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

    /// Whether this process has the role, and knows of `count` bytes: then they can be read, contiguous.
    #[inline(always)]
    fn has(&self, count: u64) -> bool {
        self.station.is_ready() && self.reader.available() >= count
    }

    /// Whether there are `count` bytes as is seen at a glance; says false also where only a longer look tells.
    #[inline]
    fn glance(&mut self, count: u64) -> bool {
        let header = self.core.header;
        self.base = self.core.rebase(self.base, self.reader.head());
        self.station.is_ready() && self.reader.glance(&header.tail.0, &header.events.items, count)
    }

    /// Where a record reaches into another line, one that lies further on is asked for: the writer had it last.
    #[inline(always)]
    fn fetch_ahead(&self, count: u64) {
        if self.reader.head() % CACHE_LINE < count && self.reader.available() >= AHEAD + CACHE_LINE
        {
            cpu::prefetch_to_read(self.place().wrapping_add(AHEAD as usize));
        }
    }

    /// Bytes that can be read, contiguous: at least one record's.
    #[inline]
    pub(crate) fn available(&mut self) -> Done<u64> {
        if self.has(1) { Ok(self.reader.available()) } else { self.available_slowly() }
    }

    #[cold]
    fn available_slowly(&mut self) -> Done<u64> {
        if self.glance(1) {
            return Ok(self.reader.available());
        }
        self.ready()?;
        match self.reader.available() {
            0 => self.look(),
            some => Ok(some),
        }
    }

    #[cold]
    fn look(&mut self) -> Done<u64> {
        self.base = self.core.rebase(self.base, self.reader.head());
        self.reader.look(self.core.cursors()).map_err(failure)
    }

    /// The same, after another look when that is less than `wanted`.
    #[inline]
    pub(crate) fn available_up_to(&mut self, wanted: u64) -> Done<u64> {
        if self.has(wanted) || self.glance(wanted) {
            return Ok(self.reader.available());
        }
        self.available()?;
        self.look()
    }

    /// Sees to it that there is something to claim; waits for it if there is a deadline.
    #[inline(never)]
    fn claimable(&mut self, most: usize, deadline: Option<Deadline>) -> Done<()> {
        if most > 0 && self.glance(1) {
            return Ok(());
        }
        if self.core.overwrites() {
            return Err(RingOptions::no_claims().into());
        }
        if most == 0 {
            let text = "0 items cannot be claimed: at least one is expected";
            return Err(Error::new(ErrorKind::Invalid, text).into());
        }
        match deadline {
            Some(deadline) => self.wait(deadline, Self::available_or_dead)?,
            None => self.available_or_dead()?,
        };
        self.look().map(|_| ())
    }

    /// The oldest byte's place in the order of all bytes.
    pub(crate) fn position(&self) -> u64 {
        self.reader.head()
    }

    /// Bytes of the record at the front; there is one.
    #[inline]
    pub(crate) fn record(&self, available: u64) -> Done<u64> {
        // SAFETY: the head's place.
        let record = unsafe { self.core.record_in(self.place(), available) };
        record.ok_or_else(|| Failure::Failed(corrupt()))
    }

    /// `count` bytes have been read for good.
    #[inline(always)]
    pub(crate) fn consume(&mut self, count: u64) {
        let header = self.core.header;
        self.reader.consume(&header.reader.head, &header.events.space, count);
    }

    /// `bytes`, of one or several records, are going to be handed out in place; says for the how-manieth time.
    #[inline(always)]
    fn claim(&mut self, bytes: u64) -> u64 {
        let times = self.reader.claim(self.core.cursors(), bytes);
        if times > 1 {
            self.redelivered(bytes);
        }
        times
    }

    #[cold]
    fn redelivered(&self, bytes: u64) {
        let each = u64::from(self.core.shape.plan.size);
        tally(&self.core.header.tallies.redelivered, bytes.checked_div(each).unwrap_or(1));
    }

    /// Claims items of `size` at the front, `most` at most: what it takes, where it begins, how many items it is, and
    /// the how-manieth time it is handed out. Waits if there is a deadline.
    #[inline(always)]
    pub(crate) fn claim_items(
        &mut self,
        size: u64,
        most: usize,
        deadline: Option<Deadline>,
    ) -> Done<Claimed> {
        let wanted = (most as u64).saturating_mul(size);
        if most == 0 || !(self.has(wanted) || self.glance(wanted)) {
            self.claimable(most, deadline)?;
        }
        let there = self.reader.available().min(wanted);
        let whole = |bytes: u64| bytes - bytes % size;
        let before = whole(self.reader.handed_out(self.core.cursors()));
        let bytes = if before == 0 { whole(there) } else { whole(there).min(before) };
        if bytes == 0 {
            return Err(Failure::Failed(corrupt()));
        }
        let deliveries = self.claim(bytes);
        Ok(Claimed { bytes, start: self.place(), count: (bytes / size) as usize, deliveries })
    }

    /// The first message, claimed if `claims`; waited for if there is a deadline.
    #[inline(always)]
    pub(crate) fn front_message(
        &mut self,
        deadline: Option<Deadline>,
        claims: bool,
    ) -> Done<Claimed> {
        if !self.has(1) {
            self.claimable(1, deadline)?;
        }
        let bytes = self.record(self.reader.available())?;
        // SAFETY: a record of so many bytes can be read there.
        let (start, count) = unsafe { message(self.place(), bytes) }?;
        let deliveries = if claims { self.claim(bytes) } else { 0 };
        Ok(Claimed { bytes, start, count, deliveries })
    }

    /// What was claimed stays in the ring, as handed out.
    pub(crate) fn give_back(&self) {
        self.reader.let_go(self.core.cursors());
    }

    /// What is left of a claim that was handed out for the `times`-th time is as it was before.
    pub(crate) fn unclaim(&self, times: u64) {
        self.reader.unclaim(self.core.cursors(), times);
    }

    /// One record, read by `read` from its first byte on, whose length it is told; taken unless `read` refuses.
    #[inline(always)]
    pub(crate) fn try_read<T>(
        &mut self,
        mut read: impl FnMut(*const u8, u64) -> Done<T>,
    ) -> Done<T> {
        if self.has(1) {
            return self.read_one(&mut read);
        }
        self.try_read_slowly(&mut read)
    }

    /// The same for an item of a known size.
    #[inline(always)]
    pub(crate) fn try_read_item<T>(&mut self, size: u64, read: impl Fn(*const u8) -> T) -> Done<T> {
        if self.has(size) {
            self.fetch_ahead(size);
            let value = read(self.place());
            self.consume(size);
            return Ok(value);
        }
        self.try_read_slowly(&mut |place, _| Ok(read(place)))
    }

    #[inline(never)]
    fn try_read_slowly<T>(&mut self, read: &mut impl FnMut(*const u8, u64) -> Done<T>) -> Done<T> {
        if self.glance(1) {
            return self.read_one(read);
        }
        if self.core.overwrites() {
            return self.read_overwritten(read);
        }
        self.available_or_dead()?;
        self.read_one(read)
    }

    #[inline(always)]
    fn read_one<T>(&mut self, read: &mut impl FnMut(*const u8, u64) -> Done<T>) -> Done<T> {
        let count = self.record(self.reader.available())?;
        self.fetch_ahead(count);
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
            let found = self.reader.look(shared);
            // Whatever comes of this look, the next call makes one of its own.
            self.reader.forget();
            let available = match found {
                Err(Refusal::Corrupt) if self.reader.is_overtaken(shared) => continue,
                Err(refusal) => {
                    self.or_dead(failure(refusal), false)?;
                    continue;
                }
                Ok(available) => available,
            };
            let Some(count) = self.core.record_at(head, available) else {
                if self.reader.is_overtaken(shared) {
                    continue;
                }
                return Err(Failure::Failed(corrupt()));
            };
            copy.resize(count.div_ceil(8) as usize, 0u64);
            // SAFETY: `count` bytes from a position on lie in the storage; the buffer has room for them.
            unsafe { words::read(self.core.at(head), copy.as_mut_ptr().cast(), count as usize) };
            if self.reader.is_overtaken(shared) {
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

/// What a claim is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claimed {
    pub bytes: u64,
    pub start: *const u8,
    /// Items, or bytes of the message.
    pub count: usize,
    pub deliveries: u64,
}
