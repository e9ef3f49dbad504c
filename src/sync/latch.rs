//! A count that goes down to nothing, once.
//!
//! # Overview
//! A word that is counted down, and sleepers that wait until it is 0. It never goes up, so what was true once stays true.
//!
//! # Layout
//! | field | what |
//! |---|---|
//! | `left` | how many have still to arrive |
//! | `sleepers` | who waits ([`EventCount`]) |
//!
//! # Invariants
//! - I1. `left` only shrinks, by compare-and-swap, and never below 0.
//!
//! # Ordering edges
//! - E1. What was done before a count down is seen by whoever has waited: each is a Release in one chain of
//!   read-modify-writes, the last look an Acquire.
//! - E2. The event count's E1: the change is a SeqCst read-modify-write.
//!
//! # Crash states
//! | killed | leaves | who repairs |
//! |---|---|---|
//! | before it counted down | a count that stays: who waits does so until its deadline | nobody: it has not arrived |
//! | after that, before the wake | sleepers at a count of 0 | each after its slice |
//!
//! # Progress
//! `count_down` and `count` are lock-free.
//!
//! # Source
//! C++20's `std::latch`.

use crate::atomic::{AtomicU64, Ordering};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::offset::Shared;
use crate::layout::plain::TypeTag;
use crate::os::clock::Deadline;
use crate::segment::Segment;
use crate::segment::directory::ObjectKind;
use crate::segment::place::{Object, Place, Plan};
use crate::wait::eventcount::Look;
use crate::wait::eventcount::{EventCount, GaveUp};
use crate::wait::patience::look_or_wait;
use crate::wait::select::Waitable;
use crate::wait::select::sealed::{Bed, Source};

/// How often a count down begins anew because others were faster: no storm of honest peers wins so often in a row.
const TRIES: u32 = 1 << 16;

/// The latch as it lies in a segment.
#[repr(C)]
struct RawLatch {
    /// By whoever arrives; read by everybody.
    left: AtomicU64,
    /// By sleepers, and by who wakes them.
    sleepers: EventCount,
    /// Not used.
    reserved: u32,
}
// SAFETY: atomics; the reserved word is never read.
unsafe impl Shared for RawLatch {}

/// Why nothing was counted down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotCounted {
    /// So many are left.
    Below(u64),
    Storm,
}

impl RawLatch {
    fn count_down(&self, count: u64) -> std::result::Result<(), NotCounted> {
        let mut seen = self.left.load(Ordering::Relaxed);
        for _ in 0..TRIES {
            let left = seen.checked_sub(count).ok_or(NotCounted::Below(seen))?;
            // E1, E2.
            match self.left.compare_exchange_weak(seen, left, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => {
                    if left == 0 {
                        self.sleepers.notify(u32::MAX);
                    }
                    return Ok(());
                }
                Err(now) => seen = now,
            }
        }
        Err(NotCounted::Storm)
    }

    fn is_open(&self) -> bool {
        self.left.load(Ordering::Acquire) == 0 // E1: pairs with `count_down`
    }

    fn wait(&self, deadline: Deadline) -> std::result::Result<(), GaveUp> {
        look_or_wait(&self.sleepers, deadline, |_| self.is_open().then_some(()))
    }
}

/// A count in shared memory that processes count down, and wait for until it is 0. Then it stays so: for parties that meet
/// again and again there is a barrier.
///
/// **What a dead peer does.** Who dies before it has arrived does not arrive: the others wait until their deadlines.
/// Killed as it arrives last, it has arrived, and sleepers find that within 80 ms. **A stopped peer** keeps nobody but those that wait for
/// it. **Forks**: shared with children.
///
/// ```standalone_crate
/// use mpshm::{Latch, Process};
/// let ready = Latch::new(3)?;
/// let children: Vec<_> = (0..2)
///     .map(|_| {
///         Process::spawn(|| {
///             ready.arrive_and_wait().unwrap();
///             0
///         })
///     })
///     .collect::<Result<_, _>>()?;
/// ready.arrive_and_wait()?;
/// assert_eq!(ready.count(), 0);
/// for child in &children {
///     child.join()?;
/// }
/// # Ok::<(), mpshm::Error>(())
/// ```
pub struct Latch {
    raw: &'static RawLatch,
    object: Object,
}

/// What an object's items are, for the directory: nothing.
const ITEM: TypeTag = TypeTag::bytes(0, 1);

impl Latch {
    /// An anonymous latch that waits for `count` to arrive, which forked children inherit. With 0 it is open.
    ///
    /// # Errors
    /// `NoSpace`.
    pub fn new(count: u64) -> Result<Self> {
        Self::create(Place::ANONYMOUS, count)
    }

    /// Makes a latch at `place`: a name, or [`segment.at(name)`](Segment::at).
    ///
    /// # Errors
    /// `Exists`; `Invalid`; `NoSpace`; `Limit`.
    pub fn create<'a>(place: impl Into<Place<'a>>, count: u64) -> Result<Self> {
        let plan = Plan { kind: ObjectKind::Latch, item: ITEM, length: Self::size_for() };
        let object = place.into().create(plan, |region| {
            region.one::<RawLatch>(0)?.left.store(count, Ordering::Relaxed);
            Ok(())
        })?;
        Self::over(object)
    }

    /// Opens the latch at `place`.
    ///
    /// # Errors
    /// `NotFound`; `Type`; `Version`, `Corrupt`, `Permission`.
    pub fn open<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        Self::over(place.into().open(ObjectKind::Latch, ITEM)?)
    }

    /// Opens the latch at `place`, which stays as it is, or makes it.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create) but for `NotFound` and `Exists`.
    pub fn open_or_create<'a>(place: impl Into<Place<'a>>, count: u64) -> Result<Self> {
        place.into().open_or_create(Self::open, |place| Self::create(place, count))
    }

    /// Bytes that a latch needs in a segment.
    #[must_use]
    pub fn size_for() -> u64 {
        size_of::<RawLatch>() as u64
    }

    fn over(object: Object) -> Result<Self> {
        Ok(Self { raw: object.region.one(0)?, object })
    }

    /// Another handle of the same latch.
    pub(crate) fn another(&self) -> Self {
        Self { raw: self.raw, object: self.object.clone() }
    }

    /// The segment that the latch lies in.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.object.segment
    }

    /// How many have still to arrive.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.raw.left.load(Ordering::Acquire)
    }

    /// `count` have arrived. Never waits.
    ///
    /// # Errors
    /// `Invalid` for 0, and when fewer are left: nothing is changed then.
    pub fn count_down(&self, count: u64) -> Result<()> {
        if count == 0 {
            return Err(Error::new(
                ErrorKind::Invalid,
                "a latch counted down by 0: 1 or more are expected",
            ));
        }
        self.raw.count_down(count).map_err(|why| match why {
            NotCounted::Below(left) => Error::new(
                ErrorKind::Invalid,
                format!("a latch counted down by {count}, where {left} are left"),
            ),
            NotCounted::Storm => {
                Error::new(ErrorKind::Corrupt, "the latch's count changes without a pause")
            }
        })
    }

    /// Waits until all have arrived.
    ///
    /// # Errors
    /// `Interrupted`.
    pub fn wait(&self) -> Result<()> {
        self.wait_timeout(Deadline::FOREVER).map(drop)
    }

    /// The same until `deadline` (a [`Deadline`], a `Duration` or an `Instant`); false when that passed first.
    ///
    /// # Errors
    /// `Interrupted`.
    pub fn wait_timeout(&self, deadline: impl Into<Deadline>) -> Result<bool> {
        if self.raw.is_open() {
            return Ok(true);
        }
        match self.raw.wait(deadline.into()) {
            Ok(()) => Ok(true),
            Err(GaveUp::TimedOut) => Ok(false),
            Err(GaveUp::Interrupted) => {
                Err(Error::new(ErrorKind::Interrupted, "the wait for the latch was cancelled"))
            }
        }
    }

    /// Arrives, and waits for the others.
    ///
    /// # Errors
    /// Those of [`count_down`](Self::count_down) and [`wait`](Self::wait). After `Interrupted` it has arrived.
    pub fn arrive_and_wait(&self) -> Result<()> {
        self.count_down(1)?;
        self.wait()
    }
}

impl Source for Latch {
    fn bed(&self) -> Bed<'_> {
        Bed::Word(&self.raw.sleepers)
    }

    fn is_ready(&self, _: u64, _: Look) -> bool {
        self.raw.is_open()
    }
}

impl Waitable for Latch {}

impl std::fmt::Debug for Latch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Latch").field(&self.count()).finish()
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::atomic::{Vanish, explore};
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    struct Parties {
        latch: RawLatch,
        data: [UnsafeCell<u32>; 2],
    }
    // SAFETY: each one's datum is written before it arrives, and read after the wait; loom checks it.
    unsafe impl Sync for Parties {}
    // SAFETY: as above.
    unsafe impl Send for Parties {}

    fn parties(left: u64) -> Arc<Parties> {
        Arc::new(Parties {
            latch: RawLatch {
                left: AtomicU64::new(left),
                sleepers: EventCount::new(),
                reserved: 0,
            },
            data: [UnsafeCell::new(0), UnsafeCell::new(0)],
        })
    }

    fn meet(parties: &Parties, own: usize) {
        parties.data[own].with_mut(|data| {
            // SAFETY: see `Parties`.
            unsafe { *data = 7 }
        });
        parties.latch.count_down(1).unwrap();
        parties.latch.wait(Deadline::FOREVER).unwrap();
        // SAFETY: see `Parties`.
        assert_eq!(parties.data[1 - own].with(|data| unsafe { *data }), 7);
    }

    #[test]
    fn all_go_on_when_the_last_has_arrived_and_see_what_was_done() {
        explore(3, || {
            let parties = parties(2);
            let other = Arc::clone(&parties);
            let thread = loom::thread::spawn(move || meet(&other, 1));
            meet(&parties, 0);
            thread.join().unwrap();
            assert_eq!(parties.latch.count_down(1), Err(NotCounted::Below(0)));
        });
    }

    /// Who dies has arrived or not; never more than that, and the next to come finds the rest.
    #[test]
    fn who_dies_arrives_once_at_most() {
        Vanish::at_every_step(3, |vanish| {
            let parties = parties(3);
            let (other, vanish) = (Arc::clone(&parties), vanish.clone());
            let dying = loom::thread::spawn(move || vanish.at(|| other.latch.count_down(1)));
            parties.latch.count_down(1).unwrap();
            let done = dying.join().unwrap();
            let left = parties.latch.left.load(Ordering::Relaxed);
            assert!(left == 1 || left == 2 && done.is_none(), "{left}");
            parties.latch.count_down(left).unwrap();
            parties.latch.wait(Deadline::FOREVER).unwrap();
        });
    }
}
