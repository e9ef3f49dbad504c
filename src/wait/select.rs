//! Waiting for several things at once: [`select`] for any, [`select_all`] for all.
//!
//! # Overview
//! Whatever can be waited for is a [`Source`]: it says where its waiters sleep ([`Bed`]: an event count, a descriptor, or
//! nothing that tells of it) and whether it is ready. A wait announces itself at every event count, looks at every
//! source, and sleeps on all the words at the values that were read before the looks. Nothing is consumed:
//! what is said to be ready was so at one moment of the call, and somebody else may have it by now.
//!
//! # Invariants
//! - I1. A sleep on a source's word is one on a value with the announcement in it that was read before the last look at that
//!   source. Such a value stays good for as many sleeps as one likes: any notification after it changes the word.
//! - I2. A wake-up that was meant for one sleeper, and that a wait may have taken, is not lost to the others: see "What a
//!   wait takes".
//!
//! # Ordering edges
//! - E1. Each event count's own E1, for each source by itself: the announcements at all of them stand before the looks at all of
//!   them. Who changes one source sees the announcement there, or its change is seen by the look.
//! - E2. Where a source's changes are plain stores, one heavy barrier stands between all announcements and all looks.
//!
//! # Words and descriptors
//! | sleeps on | how | a change elsewhere is found |
//! |---|---|---|
//! | up to 127 words | all at once (`futex_waitv`) | – |
//! | more words | 127 at a time, in turn | by a glance |
//! | words, without `futex_waitv` | one at a time, in turn | by a glance |
//! | descriptors only | all at once (`ppoll`); a cancel is found by a glance | – |
//! | words and descriptors | the words | a descriptor by a glance |
//!
//! A glance at everything comes after a sixteenth of the time that was waited so far, but 1 ms at the least and [`GLANCE`] at the most. So
//! no source waits longer than that to be noticed, however many there are. Every slice ([`SLICE`]) the sources look for deaths.
//!
//! # What a wait takes
//! Who makes one item available wakes one sleeper. When that is a wait here, the item is still there after it:
//! somebody has to take it, or another sleeper has to be woken. A caller that is told of one thing alone is expected
//! to go and try it. In all other cases a wait wakes one more sleeper of each source that it finds ready and
//! whose wake-up it may have taken: when it reports several (the caller may be content with the first), when it waits for all and
//! sleeps on, and when it gives up. What it finds not ready, somebody else has taken, and the next change wakes anew. A caller
//! that is told of one thing and does not go for it leaves other sleepers to the end of their slice.
//!
//! # Crash states
//! | killed | leaves | who repairs |
//! |---|---|---|
//! | announced, asleep, or looking | announcements: each costs one needless wake | the next notification of each |
//! | woken, before it passed on | an item and its other sleepers | each of these after its slice |
//!
//! # Progress
//! A wait ends by its deadline. Nobody waits for a wait.
//!
//! # Source
//! Ours; `futex_waitv` is Linux 5.16's.

use crate::error::{Error, ErrorKind, Result};
use crate::os::barrier;
use crate::os::clock::{self, Deadline};
use crate::os::futex::{self, Woken};
use crate::os::poll::Descriptors;
use crate::wait::cancel;
use crate::wait::eventcount::{EventCount, GaveUp, Look, SLICE};
use crate::wait::patience::linger;
use sealed::{Bed, Source};

/// The longest sleep on some words without a look at the other words, or descriptors, in nanoseconds; and the shortest.
const GLANCE: u64 = 40_000_000;
const GLANCE_LEAST: u64 = 1_000_000;
/// Such a sleep is so many times shorter than what has been waited already: what comes soon is found soon, and who waits long costs little.
const GLANCES: u64 = 16;
/// With more sources, or with descriptors, a wait sleeps without looking again and again first.
const LINGERS: usize = 8;

/// What [`select`] can wait for.
///
/// | what | ready when |
/// |---|---|
/// | [`Event`](crate::Event) | it is set, or was since the call began |
/// | [`Semaphore`](crate::Semaphore) | a permit is free, or its owner dead |
/// | [`Readable`](crate::Readable), of a queue or ring | a `try_pop` would not say `Empty` |
/// | [`Writable`](crate::Writable), of a queue or ring | a `try_push` would not say `Full` |
/// | [`When`](crate::When), of a waitable [`Value`](crate::Value) | its condition is true |
/// | [`Latch`](crate::Latch) | all have arrived |
/// | [`Newer`](crate::Newer), of a [`Latest`](crate::Latest) | there is another version |
/// | [`Process`](crate::Process) | it has ended |
/// | [`Participant`](crate::Participant) | it has left the segment, or is dead |
///
/// And a reference to, an `Arc` or a `Box` of any of them. Sealed: nobody else can implement it.
pub trait Waitable: sealed::Source {}

pub(crate) mod sealed {
    use super::{EventCount, Look};
    use std::os::fd::BorrowedFd;

    /// Where one sleeps who waits for a source.
    #[derive(Clone, Copy)]
    pub enum Bed<'a> {
        /// On its event count.
        Word(&'a EventCount),
        /// The same where changes are plain stores, and waiters make the barrier for both.
        Quiet(&'a EventCount),
        /// On a descriptor, which is readable when the source is ready.
        Descriptor(BorrowedFd<'a>),
        /// Nothing tells of it: it is looked at every slice.
        Nowhere,
    }

    /// See [`Waitable`](super::Waitable).
    pub trait Source {
        /// Where to sleep; always the same.
        fn bed(&self) -> Bed<'_>;

        /// What a wait remembers from its beginning.
        fn begin(&self) -> u64 {
            0
        }

        /// Whether it is ready, or something is wrong with it: the caller's try tells what. It is told what
        /// [`begin`](Self::begin) answered. A descriptor's readability is looked at elsewhere.
        fn is_ready(&self, begin: u64, look: Look) -> bool;
    }
}

macro_rules! through {
    ($($pointer:ty),*) => {$(
        impl<W: Waitable + ?Sized> Source for $pointer {
            fn bed(&self) -> Bed<'_> {
                (**self).bed()
            }

            fn begin(&self) -> u64 {
                (**self).begin()
            }

            fn is_ready(&self, begin: u64, look: Look) -> bool {
                (**self).is_ready(begin, look)
            }
        }
        impl<W: Waitable + ?Sized> Waitable for $pointer {}
    )*};
}
use std::sync::Arc;
through!(&W, Arc<W>, Box<W>);

/// Which of the items of a [`select`] were ready, by their places in the list.
///
/// ```
/// use mpshm::{Event, select};
/// use std::time::Duration;
/// let (first, second) = (Event::new()?, Event::new()?);
/// second.set();
/// let ready = select(&[&first, &second], Duration::ZERO)?;
/// assert!(!ready.contains(0) && ready.contains(1));
/// assert_eq!(ready.iter().collect::<Vec<_>>(), [1]);
/// assert!(!ready.is_empty() && !ready.is_all());
/// # Ok::<(), mpshm::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// In order.
    places: Vec<usize>,
    of: usize,
}

impl Ready {
    /// Whether the item at this place was ready.
    #[must_use]
    pub fn contains(&self, place: usize) -> bool {
        self.places.binary_search(&place).is_ok()
    }

    /// The places of those that were ready, in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.places.iter().copied()
    }

    /// How many were ready.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether none was: the deadline passed first.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether all were.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.places.len() == self.of
    }
}

/// Waits until any of `items` is ready, or `deadline` (a [`Deadline`], a `Duration` or an `Instant`) has passed. Says which are
/// ready: all that are, none when the time is over. A duration of zero is a look.
///
/// **Nothing is consumed.** An item was ready at one moment of the call; by now another process may have been faster. So the caller
/// tries (`try_pop`, `try_acquire`, …), and selects again when it was too late. It is expected to try what it is told: one that is
/// told of a single item and does not go for it leaves others that sleep there to the end of their slice (80 ms).
///
/// **How many.** Any number; up to 127 that are no processes or participants wake the caller at once. Beyond that, and where those are
/// mixed with the others, and on Linux before 5.16, what is ready is found within a sixteenth of the time that was waited before, and within 40 ms. **Deaths** are found within 80 ms, as
/// by every call that sleeps. **A dead or stopped** caller keeps nobody.
///
/// ```standalone_crate
/// use mpshm::{Event, Process, Queue, select};
/// use std::time::Duration;
/// let (queue, stop) = (Queue::<u64>::new(8)?, Event::new()?);
/// let child = Process::spawn(|| {
///     (1..=3).for_each(|n| queue.push(n).unwrap());
///     stop.set();
///     0
/// })?;
/// let items = queue.readable();
/// let mut sum = 0;
/// loop {
///     let ready = select(&[&items, &stop], Duration::from_secs(10))?;
///     if ready.contains(0) {
///         sum += queue.try_pop().unwrap_or(0);
///     } else if ready.contains(1) {
///         break;
///     }
/// }
/// assert_eq!(sum, 6);
/// child.join()?;
/// # Ok::<(), mpshm::Error>(())
/// ```
///
/// # Errors
/// `Interrupted` by a [`Canceller`](crate::Canceller); `Invalid` for no items.
pub fn select(items: &[&dyn Waitable], deadline: impl Into<Deadline>) -> Result<Ready> {
    wait(items, Mode::Any, deadline.into())
}

/// Waits until all of `items` are ready in one look at them, one after another. When `deadline` passes first, says which are ready then:
/// see [`Ready::is_all`]. All else is as with [`select`].
///
/// ```
/// use mpshm::{Latch, Process, select_all};
/// use std::time::Duration;
/// let open = Latch::new(0)?;
/// let child = Process::spawn(|| 0)?;
/// assert!(select_all(&[&open, &child], Duration::from_secs(10))?.is_all());
/// # Ok::<(), mpshm::Error>(())
/// ```
///
/// # Errors
/// As [`select`].
pub fn select_all(items: &[&dyn Waitable], deadline: impl Into<Deadline>) -> Result<Ready> {
    wait(items, Mode::All, deadline.into())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Any,
    All,
}

pub(crate) fn wait(items: &[&dyn Waitable], mode: Mode, deadline: Deadline) -> Result<Ready> {
    if items.is_empty() {
        return Err(Error::new(
            ErrorKind::Invalid,
            "a wait for none of no items: at least one is expected",
        ));
    }
    let mut waiting = Waiting::new(items.iter().map(|&item| item as &dyn Source), mode);
    match waiting.wait(deadline)? {
        Ok(()) | Err(GaveUp::TimedOut) => {
            Ok(Ready { places: waiting.ready().collect(), of: items.len() })
        }
        Err(GaveUp::Interrupted) => {
            Err(Error::new(ErrorKind::Interrupted, "the wait for any of several was cancelled"))
        }
    }
}

/// One source, and what a wait knows of it.
struct Seat<'a> {
    source: &'a dyn Source,
    bed: Bed<'a>,
    begin: u64,
    /// The number of its descriptor.
    descriptor: Option<usize>,
    /// What its word held when this wait last announced itself there.
    seen: Option<u32>,
    is_ready: bool,
    /// Whether a wake-up that was meant for one may have been taken.
    took: bool,
}

impl<'a> Seat<'a> {
    fn event(&self) -> Option<&'a EventCount> {
        match self.bed {
            Bed::Word(event) | Bed::Quiet(event) => Some(event),
            Bed::Descriptor(_) | Bed::Nowhere => None,
        }
    }

    /// What it sleeps on, if it has announced itself there.
    fn word(&self) -> Option<(&'a EventCount, u32)> {
        Some((self.event()?, self.seen?))
    }

    /// I2: somebody else is woken for what is there, if anybody has to be.
    fn pass_on(&mut self) {
        if std::mem::take(&mut self.took) && self.is_ready {
            if let Some(event) = self.event() {
                event.notify(1);
            }
        }
    }
}

/// Why a sleep ended.
enum Slept {
    /// Something may have changed.
    Changed,
    /// It is time to look for deaths.
    Slice,
    Cancelled,
}

/// A wait for several sources.
pub(crate) struct Waiting<'a> {
    seats: Vec<Seat<'a>>,
    mode: Mode,
    descriptors: Descriptors,
    /// With which of the words the next sleep begins.
    turn: usize,
    /// When it is time to look for deaths.
    slice: Deadline,
    /// When the first sleep began.
    start: u64,
}

impl<'a> Waiting<'a> {
    pub(crate) fn new(sources: impl Iterator<Item = &'a dyn Source>, mode: Mode) -> Self {
        let mut descriptors = Descriptors::default();
        let seats = sources.map(|source| {
            let bed = source.bed();
            let descriptor = match bed {
                Bed::Descriptor(fd) => Some(descriptors.add(fd)),
                _ => None,
            };
            let begin = source.begin();
            Seat { source, bed, begin, descriptor, seen: None, is_ready: false, took: false }
        });
        let seats = seats.collect();
        Self { seats, mode, descriptors, turn: 0, slice: Deadline::FOREVER, start: 0 }
    }

    /// The places of the ready.
    pub(crate) fn ready(&self) -> impl Iterator<Item = usize> + '_ {
        self.seats.iter().enumerate().filter_map(|(place, seat)| seat.is_ready.then_some(place))
    }

    /// Looks at all sources; whether that is what is waited for.
    fn look(&mut self, look: Look) -> Result<bool> {
        self.mute(false);
        self.descriptors.look()?;
        let descriptors = &self.descriptors;
        let mut ready = 0;
        for seat in &mut self.seats {
            seat.is_ready = seat.descriptor.is_some_and(|number| descriptors.is_readable(number))
                || seat.source.is_ready(seat.begin, look);
            ready += usize::from(seat.is_ready);
        }
        Ok(match self.mode {
            Mode::Any => ready > 0,
            Mode::All => ready == self.seats.len(),
        })
    }

    /// Leaves the descriptors of what is ready out, or not any more.
    fn mute(&mut self, mute: bool) {
        for seat in &self.seats {
            if let Some(number) = seat.descriptor {
                self.descriptors.mute(number, mute && seat.is_ready);
            }
        }
    }

    /// Announces itself at each source that was not ready (E1, E2).
    fn announce(&mut self) {
        let mut quiet = false;
        for seat in &mut self.seats {
            seat.seen = match seat.bed {
                Bed::Word(event) | Bed::Quiet(event) if !seat.is_ready => Some(event.announce()),
                _ => None,
            };
            quiet |= seat.seen.is_some() && matches!(seat.bed, Bed::Quiet(_));
        }
        if quiet {
            barrier::heavy();
        }
    }

    /// The outer error is one of the system's.
    pub(crate) fn wait(&mut self, deadline: Deadline) -> Result<std::result::Result<(), GaveUp>> {
        if self.look(Look::Items)? {
            return Ok(Ok(()));
        }
        if deadline.has_passed() {
            let found = self.look(Look::DeathsIfDue)?;
            return Ok(if found { Ok(()) } else { Err(GaveUp::TimedOut) });
        }
        if self.seats.len() <= LINGERS && self.descriptors.is_empty() {
            let look = || match self.look(Look::Items) {
                Ok(false) => None,
                found => Some(found),
            };
            if let Some(found) = linger(look) {
                return found.map(|_| Ok(()));
            }
        }
        self.sleep_and_look(deadline)
    }

    fn sleep_and_look(&mut self, deadline: Deadline) -> Result<std::result::Result<(), GaveUp>> {
        let mut look = Look::DeathsIfDue;
        self.start = clock::now();
        self.slice = Deadline::FOREVER.at_most(SLICE);
        loop {
            self.announce();
            if self.look(look)? {
                self.pass_on_if_reported();
                return Ok(Ok(()));
            }
            self.seats.iter_mut().for_each(Seat::pass_on); // I2: of all that are waited for, some are ready
            if deadline.has_passed() {
                return Ok(Err(GaveUp::TimedOut));
            }
            look = match self.sleep(deadline)? {
                Slept::Changed => Look::Items,
                Slept::Slice => {
                    self.slice = Deadline::FOREVER.at_most(SLICE);
                    Look::Deaths
                }
                Slept::Cancelled => {
                    let found = self.look(Look::Items)?;
                    if found {
                        self.pass_on_if_reported();
                        return Ok(Ok(()));
                    }
                    self.seats.iter_mut().for_each(Seat::pass_on);
                    return Ok(Err(GaveUp::Interrupted));
                }
            };
        }
    }

    /// I2: a caller that is told of several may be content with one; one that waited for all takes them all.
    fn pass_on_if_reported(&mut self) {
        if self.mode == Mode::Any && self.ready().nth(1).is_some() {
            self.seats.iter_mut().for_each(Seat::pass_on);
        }
    }

    /// Sleeps until something that was not ready may be, or a slice or the deadline has passed.
    fn sleep(&mut self, deadline: Deadline) -> Result<Slept> {
        // In a wait for all: one that has been ready until now, and at which nothing was announced.
        if self
            .seats
            .iter()
            .any(|seat| !seat.is_ready && seat.seen.is_none() && seat.event().is_some())
        {
            return Ok(Slept::Changed);
        }
        self.mute(true);
        let asleep = |seat: &Seat<'a>| if seat.is_ready { None } else { seat.word() };
        let words: Vec<_> = self.seats.iter().filter_map(asleep).collect();
        loop {
            let slept = if words.is_empty() {
                self.sleep_without_words(deadline)?
            } else {
                self.sleep_on_words(&words, deadline)
            };
            if let Some(slept) = slept {
                return Ok(slept);
            }
            let moved = |&(event, seen): &(&EventCount, u32)| event.has_moved(seen);
            if words.iter().any(moved) || self.descriptors.look()? {
                return Ok(Slept::Changed);
            }
            if deadline.has_passed() || self.slice.has_passed() {
                return Ok(Slept::Slice);
            }
        }
    }

    /// The end of a sleep that does not tell of everything.
    fn glance(&self, until: Deadline) -> Deadline {
        let waited = clock::now().saturating_sub(self.start);
        until.at_most((waited / GLANCES).clamp(GLANCE_LEAST, GLANCE))
    }

    /// Nothing when the time was over.
    fn sleep_on_words(
        &mut self,
        words: &[(&'a EventCount, u32)],
        deadline: Deadline,
    ) -> Option<Slept> {
        let cancel = cancel::current();
        let all = words.len() <= futex::AT_ONCE;
        let mut until = deadline.earlier(self.slice);
        if !all || !self.descriptors.is_empty() {
            until = self.glance(until);
        }
        let from = self.turn % words.len();
        let (behind, first) = words.split_at(if all { 0 } else { from });
        let group = first.iter().chain(behind).map(|&(event, seen)| (event.word(), seen));
        let group: Vec<_> = group.take(futex::AT_ONCE).collect();
        self.turn = from + group.len();
        let woken = futex::wait_any(&group, until, cancel).unwrap_or_else(|| {
            // One at a time, for want of a better call.
            let (event, seen) = words[from];
            self.turn = from + 1;
            let until = if words.len() > 1 { self.glance(until) } else { until };
            futex::wait(event.word(), seen, until, cancel)
        });
        if woken == Woken::TimedOut {
            return None;
        }
        // Which one it was is not asked: there may have been several.
        for seat in self.seats.iter_mut().filter(|seat| seat.seen.is_some()) {
            seat.took = true;
        }
        Some(if woken == Woken::Cancelled { Slept::Cancelled } else { Slept::Changed })
    }

    /// Nothing when the time was over, or a signal came.
    fn sleep_without_words(&mut self, deadline: Deadline) -> Result<Option<Slept>> {
        let mut until = deadline.earlier(self.slice);
        if cancel::current().is_some() {
            until = self.glance(until);
        }
        self.descriptors.wait(until)?; // of none, it only sleeps
        Ok(cancel::is_cancelled().then_some(Slept::Cancelled))
    }
}
