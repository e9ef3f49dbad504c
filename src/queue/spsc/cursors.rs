//! Two cursors on a ring of bytes: one process writes and moves the tail, one reads and moves the head.
//!
//! # Overview
//! Positions count bytes from the ring's beginning and only grow; a byte's place is its position modulo the size
//! of the storage. Each side keeps its own cursor and what it last saw of the other's in private memory, and looks
//! at the other's line only when that is used up. What is written becomes visible, all at once, with
//! one store of the tail.
//!
//! A ring may be asked to overwrite. Then the writer, too, moves the head, past the oldest records; both sides do so
//! with a CAS, and the reader copies a record before it takes it: what it copied counts only if its CAS succeeds. The
//! storage has room for the longest record beyond the capacity, so the oldest go only after the new one
//! is in.
//!
//! # Closing
//! Anybody may close, while the writer is in the middle of a commit, or stopped there for an hour. So the end of the
//! stream is a position that is decided once, by a CAS: the closer raises a flag, makes a barrier for the writer
//! too, and only then reads the tail, which it proposes as the end. The writer looks at the flag behind
//! each store of the tail (the word is the one that tells it of sleepers, so that costs nothing): if it is up, it
//! proposes its own new tail. Whoever decides, an item is in the stream exactly if it lies before the end, and
//! both sides know.
//!
//! # Invariants
//! - I1. head ≤ tail ≤ head + whole, and ≤ head + limit at the end of every commit.
//! - I2. Only the holder of the writer's role stores the tail, and only it writes between tail and head + whole.
//! - I3. Only the holder of the reader's role moves the head; in a ring that overwrites, the writer too.
//! - I4. Once the end is decided it stays; what lies behind it is never read, and its commit said `Closed`.
//!
//! # Ordering edges
//! - E1. The tail is stored with Release after the bytes before it, and loaded with Acquire by the reader.
//! - E2. The head is stored with Release after the last read of the bytes before it, and loaded with Acquire by the
//!   writer before it writes there again.
//! - E3. Writer: tail, light barrier, flag. Closer: flag, heavy barrier, tail. If the closer misses a tail, the writer
//!   sees the flag behind it, and so does the reader who sees that tail.
//! - E4. `end` is decided and read with Acquire and Release: the records before it are there.
//! - E5. In a ring that overwrites: the writer moves the head, fence, and writes the next record. The reader copies,
//!   fence, and looks at the head: if it copied any of that record, it sees the head moved.
//!
//! # Crash states
//! | killed | leaves | who repairs |
//! |---|---|---|
//! | writer, before its store of the tail | bytes that nobody will read | – |
//! | writer, behind it | the record is in | – |
//! | writer that overwrites, behind it | one record more than the capacity | its successor, at its next write |
//! | reader, before its store of the head | records not taken; marked as redelivered if they were handed out in place | its successor |
//! | reader, with records in its hands | where they end, so that a ring may drop them, and not what had been given back | its successor |
//! | closer, between flag and decision | a flag, no end | whoever sees the flag decides |
//!
//! # Progress
//! Wait-free, but for a ring that overwrites: there a reader tries again only when the writer has overwritten its
//! record meanwhile, and the writer only when a reader has taken one.
//!
//! # Source
//! Lamport 1983; the cached cursors are FastForward's and MCRingBuffer's idea (2008, 2010); the close is ours.
//! 2^64 bytes wrap after 19 years at 30 GB/s.

use crate::atomic::{AtomicU64, Ordering, fence};
use crate::os::barrier;
use crate::queue::ring::Refusal;
use crate::wait::eventcount::EventCount;

/// The shared words, borrowed, and the sizes that go with them.
#[derive(Clone, Copy)]
pub(crate) struct Cursors<'a> {
    pub tail: &'a AtomicU64,
    pub head: &'a AtomicU64,
    /// Up to where bytes have been handed out in place, and how often that was.
    pub claimed: &'a AtomicU64,
    pub times: &'a AtomicU64,
    /// Up to where the reader has them in its hands.
    pub held: &'a AtomicU64,
    /// The end of the stream, plus one; 0 = not decided.
    pub end: &'a AtomicU64,
    /// Readers sleep here; its flag says that the ring is closing.
    pub items: &'a EventCount,
    /// Writers sleep here.
    pub space: &'a EventCount,
    /// Bytes of records that the ring holds at most.
    pub limit: u64,
    /// Bytes that may be in use for a moment: `limit`, or more in a ring that overwrites.
    pub whole: u64,
}

impl Cursors<'_> {
    fn overwrites(&self) -> bool {
        self.whole > self.limit
    }

    /// Whether the stream has an end, or will have as soon as somebody needs to know.
    #[inline]
    pub(crate) fn is_closing(&self) -> bool {
        self.items.is_flagged()
    }

    /// Ends the stream behind what has been committed.
    pub(crate) fn close(&self) {
        self.items.raise_flag();
        self.end();
    }

    /// The end of a stream that is closing: decides it if nobody has.
    #[cold]
    pub(crate) fn end(&self) -> u64 {
        match self.end.load(Ordering::Acquire) {
            0 => {
                barrier::heavy(); // E3: pairs with `notify_quietly` in commit
                self.decide(self.tail.load(Ordering::Acquire)) // E1
            }
            decided => decided - 1,
        }
    }

    fn decide(&self, proposal: u64) -> u64 {
        let decided = proposal.wrapping_add(1);
        match self.end.compare_exchange(0, decided, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => proposal, // E4
            Err(before) => before.wrapping_sub(1),
        }
    }

    /// The tail as far as it counts.
    fn readable(&self) -> u64 {
        let tail = self.tail.load(Ordering::Acquire); // E1
        barrier::light(); // E3: the closer's heavy half is made for this side too
        if self.is_closing() { tail.min(self.end()) } else { tail }
    }

    /// Head and tail as they were at one moment.
    pub(crate) fn span(&self) -> Result<(u64, u64), Refusal> {
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let tail = self.readable();
            fence(Ordering::Acquire); // the second look comes after the tail's
            let after = self.head.load(Ordering::Acquire);
            if after == head {
                return match tail.wrapping_sub(head) <= self.whole {
                    true => Ok((head, tail)),
                    false => Err(Refusal::Corrupt),
                };
            }
            if after < head {
                return Err(Refusal::Corrupt);
            }
            head = after;
        }
    }
}

/// The writer's private part.
#[derive(Debug)]
pub(crate) struct Writer {
    tail: u64,
    /// Up to where the tail may go without a look at the head.
    until: u64,
    /// The ring's; 0 in a ring that overwrites, which looks before each record.
    limit: u64,
}

impl Writer {
    /// One that has not begun.
    pub(crate) fn new() -> Self {
        Self { tail: 0, until: 0, limit: 0 }
    }

    /// Takes up where the last writer left off.
    pub(crate) fn start(shared: Cursors<'_>) -> Self {
        let tail = shared.tail.load(Ordering::Acquire);
        Self { tail, until: tail, limit: if shared.overwrites() { 0 } else { shared.limit } }
    }

    #[inline]
    pub(crate) fn tail(&self) -> u64 {
        self.tail
    }

    /// Bytes that can be written without a look at the head.
    #[inline]
    pub(crate) fn room(&self) -> u64 {
        self.until.wrapping_sub(self.tail)
    }

    /// Looks whether there is room for `count` bytes in a ring that is open; decides nothing else.
    #[inline]
    pub(crate) fn glance(&mut self, head: &AtomicU64, items: &EventCount, count: u64) -> bool {
        let head = head.load(Ordering::Acquire); // E2
        let sound = self.tail.wrapping_sub(head) <= self.limit && !items.is_flagged();
        if sound {
            self.until = head.wrapping_add(self.limit);
        }
        sound && self.room() >= count
    }

    /// Finds room for `count` bytes at least; says for how many. A ring that overwrites is asked with
    /// [`make_room`](Self::make_room) instead.
    #[cold]
    pub(crate) fn look(&mut self, shared: Cursors<'_>, count: u64) -> Result<u64, Refusal> {
        let head = shared.head.load(Ordering::Acquire); // E2
        let used = self.tail.wrapping_sub(head);
        if shared.is_closing() && self.tail >= shared.end() {
            return Err(Refusal::Closed);
        }
        if used > shared.limit {
            return Err(Refusal::Corrupt);
        }
        self.until = head.wrapping_add(shared.limit);
        let room = self.room();
        if room < count { Err(Refusal::Full) } else { Ok(room) }
    }

    /// In a ring that overwrites: sees to it that `count` bytes, one record, can be written beyond the
    /// capacity. Says how many records were overwritten for it: none, but after the death of a writer.
    #[cold]
    pub(crate) fn make_room(
        &mut self,
        shared: Cursors<'_>,
        count: u64,
        length_at: impl Fn(u64) -> Option<u64>,
    ) -> Result<u64, Refusal> {
        if shared.is_closing() && self.tail >= shared.end() {
            return Err(Refusal::Closed);
        }
        self.overwrite(shared, shared.whole.saturating_sub(count), length_at)
    }

    /// Moves the head until at most `most` bytes are in use, and says how many records that cost. `length_at` tells
    /// the length of the record at a position.
    pub(crate) fn overwrite(
        &mut self,
        shared: Cursors<'_>,
        most: u64,
        length_at: impl Fn(u64) -> Option<u64>,
    ) -> Result<u64, Refusal> {
        self.until = self.tail; // such a ring looks before each record
        let mut overwritten = 0;
        let mut head = shared.head.load(Ordering::Acquire); // E2
        loop {
            let used = self.tail.wrapping_sub(head);
            if used > shared.whole {
                return Err(Refusal::Corrupt);
            }
            if used <= most {
                return Ok(overwritten);
            }
            let length = length_at(head).filter(|&length| length > 0 && length <= used);
            let next = head.wrapping_add(length.ok_or(Refusal::Corrupt)?);
            // AcqRel: pairs with `Reader::try_consume`, and E2
            match shared.head.compare_exchange(head, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    fence(Ordering::Release); // E5: pairs with `is_overtaken`
                    overwritten += 1;
                    head = next;
                }
                Err(moved) => head = moved, // the reader took it
            }
        }
    }

    /// Makes the next `count` bytes, which have been written, visible. When this says that the ring is closing,
    /// [`settle`](Self::settle) tells whether they are in.
    #[inline(always)]
    #[must_use]
    pub(crate) fn commit(&mut self, tail: &AtomicU64, items: &EventCount, count: u64) -> bool {
        self.tail = self.tail.wrapping_add(count);
        tail.store(self.tail, Ordering::Release); // E1: pairs with `readable`
        items.notify_quietly(1) // E3: the light barrier is in it
    }

    /// Whether the last commit, of `count` bytes, was before the end of a ring that is closing.
    #[cold]
    pub(crate) fn settle(&mut self, shared: Cursors<'_>, count: u64) -> Result<(), Refusal> {
        if shared.decide(self.tail) >= self.tail {
            return Ok(());
        }
        self.tail = self.tail.wrapping_sub(count);
        self.until = self.tail;
        Err(Refusal::Closed)
    }
}

/// The reader's private part.
#[derive(Debug)]
pub(crate) struct Reader {
    head: u64,
    /// The tail, as far as it has been seen.
    known: u64,
    /// Bytes that may be in the ring; 0 in a ring that overwrites, which looks before each record.
    whole: u64,
}

impl Reader {
    /// One that has not begun.
    pub(crate) fn new() -> Self {
        Self { head: 0, known: 0, whole: 0 }
    }

    /// Takes up where the last reader left off; what that had in its hands it drops if `drops`, and says how many bytes
    /// that was.
    pub(crate) fn start(shared: Cursors<'_>, drops: bool) -> Result<(Self, u64), Refusal> {
        let (head, known) = shared.span()?;
        let whole = if shared.overwrites() { 0 } else { shared.whole };
        let mut reader = Self { head, known, whole };
        let dropped = if drops { reader.up_to(shared.held) } else { 0 };
        if dropped > 0 {
            reader.consume(shared.head, shared.space, dropped);
        }
        reader.let_go(shared);
        Ok((reader, dropped))
    }

    #[inline]
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    /// Bytes that can be read without a look at the tail.
    #[inline]
    pub(crate) fn available(&self) -> u64 {
        self.known.wrapping_sub(self.head)
    }

    /// Looks whether `count` bytes can be read in a ring that is open; decides nothing else.
    #[inline]
    pub(crate) fn glance(&mut self, tail: &AtomicU64, items: &EventCount, count: u64) -> bool {
        let tail = tail.load(Ordering::Acquire); // E1
        barrier::light(); // E3, as in `readable`
        let available = tail.wrapping_sub(self.head);
        let sound = available <= self.whole && !items.is_flagged();
        if sound {
            self.known = tail;
        }
        sound && available >= count
    }

    /// Looks how many bytes can be read; never 0.
    #[cold]
    pub(crate) fn look(&mut self, shared: Cursors<'_>) -> Result<u64, Refusal> {
        let known = shared.readable();
        let available = known.wrapping_sub(self.head);
        if available > shared.whole {
            return Err(Refusal::Corrupt);
        }
        self.known = known;
        match available {
            0 if shared.is_closing() && self.head >= shared.end() => Err(Refusal::Closed),
            0 => Err(Refusal::Empty),
            some => Ok(some),
        }
    }

    /// The first `count` bytes have been read, for good.
    #[inline(always)]
    pub(crate) fn consume(&mut self, head: &AtomicU64, space: &EventCount, count: u64) {
        self.head = self.head.wrapping_add(count);
        head.store(self.head, Ordering::Release); // E2: pairs with `Writer::look`
        space.notify_quietly(1);
    }

    /// In a ring that overwrites: begins at the head as it is now.
    pub(crate) fn catch_up(&mut self, shared: Cursors<'_>) {
        self.head = shared.head.load(Ordering::Acquire);
        self.forget();
    }

    /// Nothing that was seen of the tail counts any more.
    pub(crate) fn forget(&mut self) {
        self.known = self.head;
    }

    /// In a ring that overwrites: whether what was read since [`catch_up`](Self::catch_up) may have been overwritten.
    pub(crate) fn is_overtaken(&self, shared: Cursors<'_>) -> bool {
        fence(Ordering::Acquire); // E5: pairs with `overwrite`
        shared.head.load(Ordering::Relaxed) != self.head
    }

    /// In a ring that overwrites: the first `count` bytes have been copied; they count if nobody has overwritten them.
    pub(crate) fn try_consume(&mut self, shared: Cursors<'_>, count: u64) -> bool {
        let next = self.head.wrapping_add(count);
        // Release: the copy is made before. E2
        let taken =
            shared.head.compare_exchange(self.head, next, Ordering::AcqRel, Ordering::Relaxed);
        if taken.is_ok() {
            (self.head, self.known) = (next, next);
            shared.space.notify_quietly(1);
        }
        taken.is_ok()
    }

    /// Bytes at the front that have been handed out in place before, and not been consumed.
    #[inline]
    pub(crate) fn handed_out(&self, shared: Cursors<'_>) -> u64 {
        self.up_to(shared.claimed)
    }

    /// Bytes at the front that lie before a position which stands in the ring.
    #[inline]
    fn up_to(&self, position: &AtomicU64) -> u64 {
        let position = position.load(Ordering::Relaxed);
        if position <= self.head { 0 } else { (position - self.head).min(self.available()) }
    }

    /// The first `count` bytes are going to be handed out in place; says for the how-manieth time. `count` reaches
    /// not beyond what was [`handed_out`](Self::handed_out) before, if anything was.
    #[inline]
    pub(crate) fn claim(&mut self, shared: Cursors<'_>, count: u64) -> u64 {
        let again = self.handed_out(shared) > 0;
        let times =
            if again { shared.times.load(Ordering::Relaxed).max(1).wrapping_add(1) } else { 1 };
        // Killed behind the first: nothing was seen, and a ring that drops what the dead had in their hands drops it.
        let end = self.head.wrapping_add(count);
        shared.held.store(end, Ordering::Relaxed);
        barrier::light();
        // Killed between the two: the old range, and that is empty, or has the old count.
        shared.times.store(times, Ordering::Relaxed);
        if !again {
            shared.claimed.store(end, Ordering::Relaxed);
        }
        barrier::light(); // before the first byte is seen by anybody
        times
    }

    /// What was handed out is in nobody's hands any more.
    pub(crate) fn let_go(&self, shared: Cursors<'_>) {
        shared.held.store(self.head, Ordering::Relaxed);
    }

    /// What is left of what was handed out for the `times`-th time is as it was before that.
    pub(crate) fn unclaim(&self, shared: Cursors<'_>, times: u64) {
        if times > 1 {
            shared.times.store(times - 1, Ordering::Relaxed);
        } else {
            shared.claimed.store(self.head, Ordering::Relaxed);
        }
        barrier::light();
        self.let_go(shared);
    }
}
