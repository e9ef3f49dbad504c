//! The children of a [`scope_map`](crate::scope_map), and the words that they share with the caller.
//!
//! # Overview
//! The children take ranges of items from a shared counter, note which item they are in, and say of each that it is done. Values of
//! a fixed size are written where the caller reads them; bytes, and the text of panics, travel through a queue
//! that the caller empties while it waits.
//!
//! # Layout
//! | what | written by | read by |
//! |---|---|---|
//! | the counter: items taken in this round | the children, by CAS | the children |
//! | for each seat: the item in hand + 1, or 0 | the child on it | the caller, when that is dead |
//! | for each item: done | the child that ran it, after its value | the caller |
//! | for each item: its value | the child that ran it | the caller, at the end |
//!
//! # Crash states
//! | a child is killed | what is left | and the caller |
//! |---|---|---|
//! | in an item | the item in hand, not done, and no complete message of it | says `WorkerDied` of that item |
//! | after it has said what came of it | the item in hand, done | counts it |
//! | at any other place | – | nothing: it had run nothing |
//! | anywhere | items that it took and did not begin | hands them out in another round |
//!
//! Another child takes its seat at once. Rounds end when all children of one have: a round leaves items over only if somebody died in
//! it, and that costs an item, or counts as a death for nothing, of which only so many in a row are borne.
//!
//! # Progress
//! A stopped child keeps the items that it has taken, and the caller, which waits for all.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::plain::Zeroable;
use crate::os::clock::{self, Deadline};
use crate::os::process::SharedPages;
use crate::pool::task::TaskError;
use crate::pool::wire::{FAILED, HEADER, LAST, PART, ResultHeader};
use crate::process::{ExitStatus, Process, catch_panic};
use crate::queue::{PopError, Queue, QueueOptions};
use crate::segment::Segment;
use crate::wait::select::{Waitable, select};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering, compiler_fence};
use std::time::Duration;

/// The most children of a map.
const MOST: usize = 1000;
/// So long is what a child takes at a time to last, in nanoseconds: much longer than to take it.
const BITE: u64 = 100_000;
/// A child takes at most this share of what is left, divided by the number of children.
const SHARE: usize = 4;
/// How many children may die in a row before they have begun an item.
const DEATHS_FOR_NOTHING: u32 = 3;
/// From a child, about no item: it has nothing more to do.
const BYE: u32 = 4;

#[repr(C, align(128))]
struct Line(AtomicU64);

/// The words and values that caller and children share.
pub(super) struct Board {
    pages: SharedPages,
    seats: usize,
    items: usize,
    /// Where the values lie, and bytes of each.
    values: usize,
    size: usize,
}

impl Board {
    /// Room for so many values of `size` bytes.
    pub(super) fn new(workers: usize, items: usize, size: usize, align: usize) -> Result<Self> {
        if workers == 0 || workers > MOST {
            let text = format!("a map by {workers} workers: 1 to {MOST} are possible");
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let seats = workers.min(items);
        let words = (1 + seats) * size_of::<Line>();
        let too_big = || Error::new(ErrorKind::TooBig, format!("values of {items} items"));
        let values = words.checked_add(items).and_then(|end| end.checked_next_multiple_of(align));
        let values = values.ok_or_else(too_big)?;
        let length = items.checked_mul(size).and_then(|bytes| bytes.checked_add(values));
        let pages = SharedPages::new(length.ok_or_else(too_big)?)?;
        Ok(Self { pages, seats, items, values, size })
    }

    fn lines(&self) -> &[Line] {
        // SAFETY: the page-aligned mapping begins with so many, lives as long as `self`, and all access to them is atomic.
        unsafe {
            std::slice::from_raw_parts(self.pages.start().as_ptr().cast::<Line>(), 1 + self.seats)
        }
    }

    fn counter(&self) -> &AtomicU64 {
        &self.lines()[0].0
    }

    fn in_hand(&self, seat: usize) -> &AtomicU64 {
        &self.lines()[1 + seat].0
    }

    fn done(&self) -> &[AtomicU8] {
        // SAFETY: a byte for each item lies behind the lines; the rest as there.
        unsafe {
            let first = self.pages.start().as_ptr().add(size_of_val(self.lines()));
            std::slice::from_raw_parts(first.cast::<AtomicU8>(), self.items)
        }
    }

    /// The place of an item's value.
    pub(super) fn value(&self, index: usize) -> *mut u8 {
        assert!(index < self.items);
        // SAFETY: inside the mapping, which has room for a value of every item.
        unsafe { self.pages.start().as_ptr().add(self.values + index * self.size) }
    }

    /// An item's value is complete.
    pub(super) fn say_done(&self, index: usize) {
        self.done()[index].store(1, Ordering::Release); // pairs with `is_done`
    }

    fn is_done(&self, index: usize) -> bool {
        self.done()[index].load(Ordering::Acquire) != 0 // pairs with `say_done`
    }

    /// Takes the next of `count` places: about `most`, but no more than a share of what is left.
    fn take(&self, count: usize, most: usize) -> Option<Range<usize>> {
        let mut taken = self.counter().load(Ordering::Relaxed);
        loop {
            let start = taken as usize;
            let left = count.checked_sub(start).filter(|left| *left > 0)?;
            let end = start + most.min(left.div_ceil(SHARE * self.seats));
            match self.counter().compare_exchange_weak(
                taken,
                end as u64,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(start..end),
                Err(now) => taken = now,
            }
        }
    }
}

/// A child's way home.
pub(super) struct Output<'a> {
    results: &'a Queue<[u8]>,
    pid: u32,
    sent: Result<()>,
}

impl Output<'_> {
    /// Sends an item's value, in as many messages as it takes.
    pub(super) fn bytes(&mut self, index: usize, bytes: &[u8]) {
        self.send(index, LAST, bytes);
    }

    fn send(&mut self, index: usize, last: u32, bytes: &[u8]) {
        let room = self.results.message_max() - HEADER;
        let count = bytes.len().div_ceil(room).max(1);
        for part in 0..count {
            let kind = if part + 1 == count { last } else { PART };
            let header =
                ResultHeader { id: index as u64, kind, pid: self.pid, ..ResultHeader::zeroed() };
            let bytes = &bytes[part * room..bytes.len().min((part + 1) * room)];
            let sent = self.results.reserve(HEADER + bytes.len()).map_err(Into::into);
            let sent = sent.and_then(|mut place| {
                place.write_at(0, bytemuck::bytes_of(&header))?;
                place.write_at(HEADER, bytes)?;
                Ok(place.commit(HEADER + bytes.len())?)
            });
            if sent.is_err() {
                self.sent = sent;
                return;
            }
        }
    }
}

/// Runs one item and says what came of it; a panic is that item's failure.
pub(super) type Run<'a> = &'a dyn Fn(usize, &mut Output<'_>);

/// What has come of the items: what is in neither was done in place.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) failures: HashMap<usize, TaskError>,
    pub(super) values: HashMap<usize, Vec<u8>>,
}

struct Child {
    process: Process,
    seat: usize,
    said_bye: bool,
}

/// The caller's side.
pub(super) struct Crew<'a> {
    board: &'a Board,
    run: Run<'a>,
    results: Queue<[u8]>,
    children: Vec<Child>,
    /// What this round runs: all items, or those that the last one left over.
    order: Option<Vec<usize>>,
    outcome: Outcome,
    /// What has come of values that are not complete.
    parts: HashMap<usize, Vec<u8>>,
    deaths_for_nothing: u32,
}

impl<'a> Crew<'a> {
    /// For messages of up to `message_max` bytes.
    pub(super) fn new(board: &'a Board, run: Run<'a>, message_max: u64) -> Result<Self> {
        let participants = board.seats as u32 + 6;
        let messages = 4 * board.seats as u64 + 8;
        let options = QueueOptions::new(messages).message_max(message_max).leases(1);
        let size = Queue::<[u8]>::size_with(&options, participants)? + 4096;
        let segment = Segment::options().participants(participants).objects(2).anonymous(size)?;
        Ok(Self {
            board,
            run,
            results: Queue::create(segment.at("results"), &options)?,
            children: Vec::new(),
            order: None,
            outcome: Outcome::default(),
            parts: HashMap::new(),
            deaths_for_nothing: 0,
        })
    }

    /// Has all items run. If this fails, or unwinds, the children are killed where their handles are dropped.
    pub(super) fn work(mut self) -> Result<Outcome> {
        loop {
            self.round()?;
            let left: Vec<usize> = (0..self.board.items).filter(|&i| !self.has_ended(i)).collect();
            if left.is_empty() {
                return Ok(self.outcome);
            }
            self.order = Some(left);
            self.board.counter().store(0, Ordering::Relaxed);
        }
    }

    /// How many items this round runs.
    fn count(&self) -> usize {
        self.order.as_ref().map_or(self.board.items, Vec::len)
    }

    fn has_ended(&self, index: usize) -> bool {
        self.board.is_done(index)
            || self.outcome.values.contains_key(&index)
            || self.outcome.failures.contains_key(&index)
    }

    fn round(&mut self) -> Result<()> {
        for seat in 0..self.board.seats.min(self.count()) {
            self.fork(seat)?;
        }
        while !self.children.is_empty() {
            self.collect()?;
            if self.children.iter().all(|child| child.said_bye) {
                self.children.iter().try_for_each(|child| child.process.join().map(|_| ()))?;
            }
            if !self.bury_the_dead()? && !self.children.is_empty() {
                self.sleep()?;
            }
        }
        Ok(())
    }

    /// Sleeps until there is a message, or a child has ended.
    fn sleep(&mut self) -> Result<()> {
        let readable = self.results.readable();
        let mut items: Vec<&dyn Waitable> = vec![&readable];
        items.extend(self.children.iter().map(|child| &child.process as &dyn Waitable));
        let ready = select(&items, Deadline::FOREVER)?;
        if !ready.contains(0) && !self.bury_the_dead()? {
            // Ended, but a tracer has not let it go yet: nothing to sleep on tells of that.
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn fork(&mut self, seat: usize) -> Result<()> {
        self.board.in_hand(seat).store(0, Ordering::Relaxed);
        // A daemon is killed when its handle is dropped.
        let options = Process::builder().name(format!("MapWorker-{seat}"));
        let process =
            options.kill_with_parent(true).daemon(true).spawn(|| self.run_in_child(seat))?;
        self.children.push(Child { process, seat, said_bye: false });
        Ok(())
    }

    fn run_in_child(&self, seat: usize) -> i32 {
        let (board, count) = (self.board, self.count());
        let pid = std::process::id();
        let mut output = Output { results: &self.results, pid, sent: Ok(()) };
        let mut most = 1;
        while let Some(places) = board.take(count, most) {
            let start = clock::now();
            for place in places {
                let index = self.order.as_ref().map_or(place, |order| order[place]);
                board.in_hand(seat).store(index as u64 + 1, Ordering::Relaxed);
                // This process may be killed between any two instructions; the caller sees those before.
                compiler_fence(Ordering::SeqCst);
                let ran = catch_panic(|| (self.run)(index, &mut output));
                if let Err(text) = ran {
                    output.send(index, FAILED, text.as_bytes());
                }
                if output.sent.is_err() {
                    return 1;
                }
                compiler_fence(Ordering::SeqCst);
            }
            let took = clock::now().saturating_sub(start);
            most = if took > BITE { (most / 2).max(1) } else { most.saturating_mul(2) };
        }
        board.in_hand(seat).store(0, Ordering::Relaxed);
        output.send(seat, BYE, &[]);
        0
    }

    /// Takes what messages are there.
    fn collect(&mut self) -> Result<()> {
        loop {
            let message = match self.results.try_claim() {
                Ok(message) => message,
                Err(PopError::Empty) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let mut header = ResultHeader::zeroed();
            message.read_at(0, bytemuck::bytes_of_mut(&mut header))?;
            let bytes = message.to_vec_from(HEADER);
            message.release();
            self.receive(header, bytes);
        }
    }

    fn receive(&mut self, header: ResultHeader, bytes: Vec<u8>) {
        let index = header.id as usize;
        let said = self.children.iter_mut().find(|child| child.process.pid() == header.pid);
        match (header.kind, said) {
            (BYE, said) => said.into_iter().for_each(|child| child.said_bye = true),
            (kind, _) => {
                let mut whole = self.parts.remove(&index).unwrap_or_default();
                if whole.is_empty() {
                    whole = bytes
                } else {
                    whole.extend_from_slice(&bytes)
                }
                match kind {
                    LAST => drop(self.outcome.values.insert(index, whole)),
                    FAILED => {
                        let message = String::from_utf8_lossy(&whole).into_owned();
                        let error = TaskError::Failed { message, pid: header.pid };
                        self.outcome.failures.insert(index, error);
                    }
                    _ => drop(self.parts.insert(index, whole)),
                }
            }
        }
    }

    /// Sees to children that have ended; says whether one had.
    fn bury_the_dead(&mut self) -> Result<bool> {
        let mut ended = Vec::new();
        for (at, child) in self.children.iter().enumerate().rev() {
            if let Some(status) = child.process.exit_status()? {
                ended.push((at, status));
            }
        }
        if ended.is_empty() {
            return Ok(false);
        }
        // What they had said before counts.
        self.collect()?;
        for (at, status) in ended {
            let child = self.children.swap_remove(at);
            if !child.said_bye {
                self.bury(&child, status)?;
            }
        }
        Ok(true)
    }

    fn bury(&mut self, child: &Child, status: ExitStatus) -> Result<()> {
        let pid = child.process.pid();
        let in_hand = self.board.in_hand(child.seat).load(Ordering::Relaxed);
        match in_hand.checked_sub(1).map(|index| index as usize) {
            Some(index) => {
                self.deaths_for_nothing = 0;
                self.parts.remove(&index);
                if !self.has_ended(index) {
                    let error = TaskError::WorkerDied { pid, status, attempts: 1 };
                    self.outcome.failures.insert(index, error);
                }
            }
            None => self.deaths_for_nothing += 1,
        }
        if self.deaths_for_nothing > DEATHS_FOR_NOTHING {
            let text = format!(
                "{} workers of a map died in a row before they had begun an item, the last one was {pid} ({status})",
                self.deaths_for_nothing
            );
            return Err(Error::new(ErrorKind::Broken, text));
        }
        if (self.board.counter().load(Ordering::Relaxed) as usize) < self.count() {
            self.fork(child.seat)?;
        }
        Ok(())
    }
}
