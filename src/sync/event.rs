//! A flag that processes wait for.
//!
//! # Overview
//! One word counts the changes between unset and set, so that it is at once the flag and the number of times that it
//! was raised. A waiter remembers the word as it was when the wait began: any other one later means that the event was
//! set since, whether it still is or not. So a pulse, set and cleared at once, reaches everybody who waits.
//!
//! # Layout
//! | field | what |
//! |---|---|
//! | `changes`, bit 0 | the event is set |
//! | `changes`, bits 1 to 63 | how often it was set before; at a change every 20 ns it wraps after 5,800 years |
//! | `sleepers` | who waits ([`EventCount`]) |
//!
//! # Invariants
//! - I1. `changes` only grows, by one: from even to odd is a set, from odd to even a clear.
//!
//! # Ordering edges
//! - E1. What was done before a [`set`](Event::set) is seen by whoever it lets go on: the change is Release, the look
//!   Acquire. A set that finds the event set changes the word for itself, and so publishes too.
//! - E2. The event count's E1: the change is a SeqCst read-modify-write.
//!
//! # Crash states
//! | killed | leaves | who repairs |
//! |---|---|---|
//! | who sets or clears, before the change | nothing | – |
//! | who sets, before the wake | a set event with sleepers | the next `set`, or each sleeper after its slice |
//! | a sleeper, woken or not | nothing: a set wakes all, and waits for none | – |
//!
//! # Progress
//! `set`, `clear` and `is_set` are wait-free: a compare-and-swap that fails was beaten by one that did the same. When
//! somebody sleeps, `set` wakes with one system call, before which it is lock-free.
//!
//! # Source
//! Ours.

use crate::atomic::{AtomicU64, Ordering};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::offset::Shared;
use crate::layout::plain::TypeTag;
use crate::os::clock::Deadline;
use crate::os::errno;
use crate::segment::Segment;
use crate::segment::directory::ObjectKind;
use crate::segment::place::{Object, Place, Plan};
use crate::wait::eventcount::Look;
use crate::wait::eventcount::{EventCount, GaveUp};
use crate::wait::patience::look_or_wait;
use crate::wait::select::Waitable;
use crate::wait::select::sealed::{Bed, Source};

const SET: u64 = 1;

/// The event as it lies in a segment.
#[repr(C)]
struct RawEvent {
    /// By whoever sets or clears; read by everybody.
    changes: AtomicU64,
    /// By sleepers, and by who wakes them.
    sleepers: EventCount,
    /// Not used.
    reserved: u32,
}
// SAFETY: atomics; the reserved word is never read.
unsafe impl Shared for RawEvent {}

impl RawEvent {
    #[inline]
    fn look(&self) -> u64 {
        self.changes.load(Ordering::Acquire) // E1: pairs with `set`
    }

    /// Whether it is set, or was since the look that returned `begin`.
    #[inline]
    fn was_set_since(&self, begin: u64) -> bool {
        let seen = self.look();
        seen & SET != 0 || seen != begin
    }

    #[inline]
    fn set(&self) {
        let seen = self.changes.load(Ordering::Relaxed);
        // E1, E2. Who finds the event set publishes by a change of nothing. A failure was beaten by another set, or found
        // a set event that was cleared just then: either way this set took place, as one that finds the event set.
        let _ =
            self.changes.compare_exchange(seen, seen | SET, Ordering::SeqCst, Ordering::Relaxed);
        // Also if there was nothing to change: who changed it may have been killed before it woke anybody.
        self.sleepers.notify(u32::MAX);
    }

    #[inline]
    fn clear(&self) {
        let seen = self.changes.load(Ordering::Relaxed);
        if seen & SET != 0 {
            // A failure was beaten by another clear.
            let _ = self.changes.compare_exchange(
                seen,
                seen.wrapping_add(1),
                Ordering::AcqRel, // what was published with a set stays so for the next
                Ordering::Relaxed,
            );
        }
    }

    fn wait_since(&self, begin: u64, deadline: Deadline) -> std::result::Result<(), GaveUp> {
        look_or_wait(&self.sleepers, deadline, |_| self.was_set_since(begin).then_some(()))
    }
}

/// A flag in shared memory that any process can set, clear and wait for; unset at first.
///
/// **No pulse is lost**: a wait returns true for any set after it began, also if the event was cleared again before the waiter
/// woke. **[`set`](Self::set) is async-signal-safe**, never waits for anybody, and leaves `errno` alone; so do
/// [`clear`](Self::clear) and [`is_set`](Self::is_set). **What a dead peer does**: nothing to others; when it is killed in the middle of
/// a set, sleepers find out within 80 ms. **Forks**: shared with children.
///
/// ```standalone_crate
/// use mpshm::{Event, Process};
/// use std::time::Duration;
/// let ready = Event::new()?;
/// let child = Process::spawn(|| {
///     ready.set();
///     0
/// })?;
/// ready.wait()?;
/// child.join()?;
/// ready.clear();
/// assert!(!ready.wait_timeout(Duration::from_millis(1))?);
/// # Ok::<(), mpshm::Error>(())
/// ```
pub struct Event {
    raw: &'static RawEvent,
    object: Object,
}

impl Event {
    /// An anonymous event, which forked children inherit.
    ///
    /// # Errors
    /// `NoSpace`.
    pub fn new() -> Result<Self> {
        Self::create(Place::ANONYMOUS)
    }

    /// Makes an event at `place`: a name, or [`segment.at(name)`](Segment::at).
    ///
    /// # Errors
    /// `Exists`; `Invalid`; `NoSpace`; `Limit`.
    pub fn create<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        let plan =
            Plan { kind: ObjectKind::Event, item: TypeTag::bytes(0, 1), length: Self::size_for() };
        Self::over(place.into().create(plan, |_| Ok(()))?)
    }

    /// Opens the event at `place`.
    ///
    /// # Errors
    /// `NotFound`; `Type`; `Version`, `Corrupt`, `Permission`.
    pub fn open<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        Self::over(place.into().open(ObjectKind::Event, TypeTag::bytes(0, 1))?)
    }

    /// Opens the event at `place`, or makes it.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create) but for `NotFound` and `Exists`.
    pub fn open_or_create<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        place.into().open_or_create(Self::open, Self::create)
    }

    /// Bytes that an event needs in a segment.
    #[must_use]
    pub fn size_for() -> u64 {
        size_of::<RawEvent>() as u64
    }

    fn over(object: Object) -> Result<Self> {
        Ok(Self { raw: object.region.one(0)?, object })
    }

    /// Another handle of the same event.
    pub(crate) fn another(&self) -> Self {
        Self { raw: self.raw, object: self.object.clone() }
    }

    /// The segment that the event lies in.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.object.segment
    }

    /// Sets the event: all who wait go on, and so does whoever comes until it is cleared. Nothing is changed if it is set.
    /// Async-signal-safe.
    #[inline]
    pub fn set(&self) {
        errno::kept(|| self.raw.set());
    }

    /// Clears the event; nothing is changed if it is not set. Async-signal-safe.
    #[inline]
    pub fn clear(&self) {
        self.raw.clear();
    }

    /// Whether the event is set now. Async-signal-safe.
    #[must_use]
    #[inline]
    pub fn is_set(&self) -> bool {
        self.raw.look() & SET != 0
    }

    /// Waits until the event is set, or has been since the call began.
    ///
    /// # Errors
    /// `Interrupted`.
    pub fn wait(&self) -> Result<()> {
        self.wait_timeout(Deadline::FOREVER).map(drop)
    }

    /// The same until `deadline` (a [`Deadline`], a `Duration` or an `Instant`); false when that passed first. A
    /// duration of zero is a look.
    ///
    /// # Errors
    /// `Interrupted`.
    pub fn wait_timeout(&self, deadline: impl Into<Deadline>) -> Result<bool> {
        let begin = self.raw.look();
        if begin & SET != 0 {
            return Ok(true);
        }
        match self.raw.wait_since(begin, deadline.into()) {
            Ok(()) => Ok(true),
            Err(GaveUp::TimedOut) => Ok(false),
            Err(GaveUp::Interrupted) => {
                Err(Error::new(ErrorKind::Interrupted, "the wait for the event was cancelled"))
            }
        }
    }
}

impl Source for Event {
    fn bed(&self) -> Bed<'_> {
        Bed::Word(&self.raw.sleepers)
    }

    /// As if it were cleared: that it is set shows in each look as long as it is.
    fn begin(&self) -> u64 {
        let seen = self.raw.look();
        seen.wrapping_add(seen & SET)
    }

    fn is_ready(&self, begin: u64, _: Look) -> bool {
        self.raw.was_set_since(begin)
    }
}

impl Waitable for Event {}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Event").field(&self.is_set()).finish()
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::atomic::{Vanish, explore};
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    fn event() -> Arc<RawEvent> {
        Arc::new(RawEvent { changes: AtomicU64::new(0), sleepers: EventCount::new(), reserved: 0 })
    }

    fn wait(event: &RawEvent, begin: u64) {
        event.wait_since(begin, Deadline::FOREVER).expect("nobody cancels");
    }

    #[test]
    fn a_set_reaches_all_who_wait() {
        explore(2, || {
            let event = event();
            let waiters: Vec<_> = (0..2)
                .map(|_| {
                    let event = Arc::clone(&event);
                    loom::thread::spawn(move || wait(&event, 0))
                })
                .collect();
            event.set();
            for waiter in waiters {
                waiter.join().unwrap();
            }
        });
    }

    #[test]
    fn a_pulse_reaches_who_began_to_wait_before_it() {
        explore(3, || {
            let event = event();
            let other = Arc::clone(&event);
            let begin = event.look();
            let waiter = loom::thread::spawn(move || wait(&other, begin));
            event.set();
            event.clear();
            waiter.join().unwrap();
        });
    }

    struct Told {
        event: Arc<RawEvent>,
        data: UnsafeCell<u32>,
    }
    // SAFETY: the data are written before the set, and read after the wait; loom checks it.
    unsafe impl Sync for Told {}
    // SAFETY: as above.
    unsafe impl Send for Told {}

    #[test]
    fn what_was_done_before_a_set_is_seen_after_the_wait() {
        explore(3, || {
            let told = Arc::new(Told { event: event(), data: UnsafeCell::new(0) });
            let other = Arc::clone(&told);
            let waiter = loom::thread::spawn(move || {
                wait(&other.event, 0);
                // SAFETY: see `Told`.
                assert_eq!(other.data.with(|data| unsafe { *data }), 7);
            });
            told.data.with_mut(|data| {
                // SAFETY: see `Told`.
                unsafe { *data = 7 }
            });
            told.event.set();
            waiter.join().unwrap();
        });
    }

    #[test]
    fn sets_and_clears_that_race_lose_no_waiter() {
        explore(2, || {
            let event = event();
            let (second, third) = (Arc::clone(&event), Arc::clone(&event));
            let waiter = loom::thread::spawn(move || wait(&second, 0));
            let clears = loom::thread::spawn(move || third.clear());
            event.set();
            waiter.join().unwrap();
            clears.join().unwrap();
        });
    }

    /// One dies as it sets; the next one's set wakes all the same, though it may find the event set.
    #[test]
    fn who_dies_in_a_set_is_made_good_by_the_next() {
        Vanish::at_every_step(2, |vanish| {
            let event = event();
            let (second, vanish) = (Arc::clone(&event), vanish.clone());
            let waiter = loom::thread::spawn(move || wait(&second, 0));
            vanish.at(|| event.set());
            event.set();
            waiter.join().unwrap();
        });
    }

    /// A waiter that dies at any step keeps neither the set nor the other waiter.
    #[test]
    fn who_dies_in_a_wait_keeps_nobody() {
        Vanish::at_every_step(2, |vanish| {
            let event = event();
            let (second, third, vanish) = (Arc::clone(&event), Arc::clone(&event), vanish.clone());
            let waiter = loom::thread::spawn(move || wait(&second, 0));
            let dying = loom::thread::spawn(move || {
                vanish.at(|| {
                    let seen = third.sleepers.announce();
                    (!third.was_set_since(0)).then_some(seen)
                })
            });
            event.set();
            waiter.join().unwrap();
            dying.join().unwrap();
        });
    }
}
