//! Permits that processes take and give back.
//!
//! The state and its protocol, what a death leaves, and what keeps a wake-up from being lost: see `permits.rs`.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::plain::TypeTag;
use crate::os::clock::Deadline;
use crate::os::fork;
use crate::segment::Segment;
use crate::segment::directory::ObjectKind;
use crate::segment::participant::{Me, Table};
use crate::segment::place::{Object, Place, Plan};
use crate::sync::permits::{Counted, GENERATION_MASK, Head, NotGiven, OWNED_MOST, Owned, WORDS};
use crate::wait::eventcount::{GaveUp, Look};
use crate::wait::patience::look_or_wait;
use crate::wait::select::Waitable;
use crate::wait::select::sealed::{Bed, Source};
use std::fmt;
use std::sync::atomic::Ordering;

/// How a semaphore is made.
///
/// ```
/// use mpshm::{Semaphore, SemaphoreOptions};
/// let bounded = Semaphore::with_options(&SemaphoreOptions::new(2).bound(2))?;
/// assert!(bounded.release(1).is_err(), "there are two already");
/// # Ok::<(), mpshm::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct SemaphoreOptions {
    initial: u32,
    bound: Option<u32>,
    owned: bool,
}

impl SemaphoreOptions {
    /// A semaphore of `initial` free permits.
    pub fn new(initial: u32) -> Self {
        Self { initial, bound: None, owned: false }
    }

    /// There are never more free permits than `bound`, 1 to 2^32 − 1 (the default).
    pub fn bound(self, bound: u32) -> Self {
        Self { bound: Some(bound), ..self }
    }

    /// Permits have owners: only the process that took one gives it back, and those of the dead come back by themselves.
    /// There are at most 65,536, and there are never more than there were at first. Each takes 8 bytes, and a claim looks
    /// at them one after the other.
    pub fn owned(self) -> Self {
        Self { owned: true, ..self }
    }

    /// The bound, if the options make sense.
    fn check(&self) -> Result<u32> {
        let Self { initial, owned, .. } = *self;
        let bound = self.bound.unwrap_or(if owned { initial } else { u32::MAX });
        let wrong = if bound == 0 {
            "a semaphore of at most 0 permits: a bound from 1 on is expected".to_owned()
        } else if initial > bound {
            format!(
                "{initial} permits at first and at most {bound}: not more than the bound are expected"
            )
        } else if owned && initial != bound {
            format!(
                "{initial} owned permits at first and at most {bound}: owned permits are all there from the beginning"
            )
        } else if owned && bound > OWNED_MOST {
            format!("{bound} owned permits: at most {OWNED_MOST} are possible")
        } else {
            return Ok(bound);
        };
        Err(Error::new(ErrorKind::Invalid, wrong))
    }
}

/// Why permits were not taken.
#[derive(Debug)]
#[non_exhaustive]
pub enum AcquireError {
    /// Not so many are free, and the call does not wait.
    Busy,
    /// Not so many were free before the deadline.
    TimedOut,
    /// The wait was cancelled.
    Interrupted,
    /// An argument is wrong, or this process cannot take part in the segment: see the error.
    Failed(Error),
}

impl AcquireError {
    /// What to decide on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Busy => ErrorKind::Busy,
            Self::TimedOut => ErrorKind::TimedOut,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::Failed(error) => error.kind(),
        }
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "the permits are not free",
            Self::TimedOut => "the permits were not free before the deadline",
            Self::Interrupted => "the wait for permits was cancelled",
            Self::Failed(error) => return error.fmt(f),
        })
    }
}

impl std::error::Error for AcquireError {}

impl From<AcquireError> for Error {
    fn from(error: AcquireError) -> Self {
        match error {
            AcquireError::Failed(error) => error,
            other => Self::new(other.kind(), other.to_string()),
        }
    }
}

#[derive(Clone, Copy)]
enum Permits {
    Counted(Counted<'static>),
    Owned(Owned<'static>),
}

/// A number of permits in shared memory: who wants one takes it, or waits until it is free.
///
/// **Whose permits.** Plain ones are only counted: anybody may [`release`](Self::release), and what the dead took stays taken.
/// [Owned](SemaphoreOptions::owned) ones belong to the process that took them, and come back when it dies: at once for
/// who finds none free, within 80 ms for who sleeps. **Order**: none; a newcomer may overtake. **A stopped peer** keeps what it has,
/// and nothing else. **Forks**: shared with children; a [`Permit`] stays with the process that took it, and its copy in
/// a child does nothing.
///
/// ```standalone_crate
/// use mpshm::{Process, Semaphore, SemaphoreOptions};
/// let seats = Semaphore::with_options(&SemaphoreOptions::new(2).owned())?;
/// let child = Process::spawn(|| {
///     let _permit = seats.acquire().unwrap();
///     std::process::abort()
/// })?;
/// child.join()?;
/// let both = seats.acquire_many(2)?;
/// assert_eq!(seats.value(), 0);
/// drop(both);
/// assert_eq!(seats.value(), 2);
/// # Ok::<(), mpshm::Error>(())
/// ```
pub struct Semaphore {
    head: &'static Head,
    permits: Permits,
    bound: u32,
    object: Object,
}

/// What an object's items are, for the directory: nothing.
const ITEM: TypeTag = TypeTag::bytes(0, 1);

impl Semaphore {
    /// An anonymous semaphore of `initial` permits, which are counted and have no bound but 2^32 − 1; forked children inherit it.
    ///
    /// # Errors
    /// `NoSpace`.
    pub fn new(initial: u32) -> Result<Self> {
        Self::with_options(&SemaphoreOptions::new(initial))
    }

    /// An anonymous semaphore.
    ///
    /// # Errors
    /// `Invalid` for options that make no sense; `NoSpace`.
    pub fn with_options(options: &SemaphoreOptions) -> Result<Self> {
        Self::create(Place::ANONYMOUS, options)
    }

    /// Makes a semaphore at `place`: a name, or [`segment.at(name)`](Segment::at).
    ///
    /// # Errors
    /// `Exists`; `Invalid`; `NoSpace`; `Limit`.
    pub fn create<'a>(place: impl Into<Place<'a>>, options: &SemaphoreOptions) -> Result<Self> {
        let bound = options.check()?;
        let plan =
            Plan { kind: ObjectKind::Semaphore, item: ITEM, length: Self::size_for(options)? };
        let object = place.into().create(plan, |region| {
            let head = region.one::<Head>(0)?;
            head.owned.store(options.owned.into(), Ordering::Relaxed);
            head.bound.store(bound.into(), Ordering::Relaxed);
            head.free.store(options.initial.into(), Ordering::Relaxed);
            Ok(())
        })?;
        Self::over(object)
    }

    /// Opens the semaphore at `place`, however it was made.
    ///
    /// # Errors
    /// `NotFound`; `Type`; `Version`, `Corrupt`, `Permission`.
    pub fn open<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        Self::over(place.into().open(ObjectKind::Semaphore, ITEM)?)
    }

    /// Opens the semaphore at `place`, or makes it; an existing one stays as it is.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create) but for `NotFound` and `Exists`.
    pub fn open_or_create<'a>(
        place: impl Into<Place<'a>>,
        options: &SemaphoreOptions,
    ) -> Result<Self> {
        place.into().open_or_create(Self::open, |place| Self::create(place, options))
    }

    /// Bytes that such a semaphore needs in a segment.
    ///
    /// # Errors
    /// `Invalid` for options that make no sense.
    pub fn size_for(options: &SemaphoreOptions) -> Result<u64> {
        let bound = options.check()?;
        Ok(WORDS + if options.owned { 8 * u64::from(bound) } else { 0 })
    }

    fn over(object: Object) -> Result<Self> {
        let region = object.region;
        let head = region.one::<Head>(0)?;
        let (owned, bound) =
            (head.owned.load(Ordering::Relaxed), head.bound.load(Ordering::Relaxed));
        let corrupt = || {
            Error::new(
                ErrorKind::Corrupt,
                format!(
                    "a semaphore of kind {owned} of {bound} permits: 0 or 1 and 1 to 2^32 - 1 are expected"
                ),
            )
        };
        let bound = u32::try_from(bound).ok().filter(|&bound| bound > 0).ok_or_else(corrupt)?;
        let sleepers = &head.sleepers;
        let permits = match owned {
            0 => Permits::Counted(Counted { free: &head.free, bound, sleepers }),
            1 => Permits::Owned(Owned { words: region.array(WORDS, bound as usize)?, sleepers }),
            _ => return Err(corrupt()),
        };
        Ok(Self { head, permits, bound, object })
    }

    /// Another handle of the same semaphore.
    pub(crate) fn another(&self) -> Self {
        Self { object: self.object.clone(), ..*self }
    }

    /// The segment that the semaphore lies in.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.object.segment
    }

    /// The most permits that there can be.
    #[must_use]
    pub fn bound(&self) -> u32 {
        self.bound
    }

    /// How many permits are free; those of the dead are not, until somebody needs them.
    #[must_use]
    pub fn value(&self) -> u32 {
        match self.permits {
            Permits::Counted(counted) => counted.value() as u32,
            Permits::Owned(owned) => owned.value(),
        }
    }

    /// Takes a permit, waiting until one is free.
    ///
    /// # Errors
    /// [`AcquireError`]: `Interrupted`; `Failed`, with `Limit`, when an owned semaphore's segment has no participant's slot left.
    #[inline]
    pub fn acquire(&self) -> std::result::Result<Permit<'_>, AcquireError> {
        self.acquire_many_timeout(1, Deadline::FOREVER)
    }

    /// Takes a permit, waiting until `deadline` (a [`Deadline`], a `Duration` or an `Instant`).
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), and `TimedOut`.
    #[inline]
    pub fn acquire_timeout(
        &self,
        deadline: impl Into<Deadline>,
    ) -> std::result::Result<Permit<'_>, AcquireError> {
        self.acquire_many_timeout(1, deadline)
    }

    /// Takes a permit if one is free, or an owned one's owner dead.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), and `Busy`.
    #[inline]
    pub fn try_acquire(&self) -> std::result::Result<Permit<'_>, AcquireError> {
        self.try_acquire_many(1)
    }

    /// Takes `count` permits, all or none, waiting until so many are free.
    ///
    /// Owned permits are taken one after the other, and given back if they do not suffice: others may find them taken
    /// meanwhile.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire); `Failed`, with `Invalid`, for 0, and for more than the bound.
    #[inline]
    pub fn acquire_many(&self, count: u32) -> std::result::Result<Permit<'_>, AcquireError> {
        self.acquire_many_timeout(count, Deadline::FOREVER)
    }

    /// Takes `count` permits, all or none, waiting until `deadline`.
    ///
    /// # Errors
    /// As [`acquire_many`](Self::acquire_many), and `TimedOut`.
    #[inline]
    pub fn acquire_many_timeout(
        &self,
        count: u32,
        deadline: impl Into<Deadline>,
    ) -> std::result::Result<Permit<'_>, AcquireError> {
        let me = self.check(count)?;
        if !self.take(me, count) {
            self.wait(me, count, deadline.into())?;
        }
        Ok(self.permit(count))
    }

    /// Takes `count` permits if so many are free: all or none.
    ///
    /// # Errors
    /// As [`acquire_many`](Self::acquire_many), and `Busy`.
    #[inline]
    pub fn try_acquire_many(&self, count: u32) -> std::result::Result<Permit<'_>, AcquireError> {
        let me = self.check(count)?;
        if self.take(me, count) || self.repair_and_take(me, count, false) {
            return Ok(self.permit(count));
        }
        Err(AcquireError::Busy)
    }

    fn permit(&self, count: u32) -> Permit<'_> {
        Permit { semaphore: self, count, process: fork::generation() }
    }

    /// Whether so many can be wanted, and who wants them: nobody in particular where they are only counted.
    #[inline]
    fn check(&self, count: u32) -> std::result::Result<Option<Me>, AcquireError> {
        if count == 0 || count > self.bound {
            return Err(AcquireError::Failed(self.outside(count)));
        }
        self.who().map_err(AcquireError::Failed)
    }

    #[inline]
    fn who(&self) -> Result<Option<Me>> {
        match self.permits {
            Permits::Counted(_) => Ok(None),
            Permits::Owned(_) => self.segment().me().map(Some),
        }
    }

    #[cold]
    fn outside(&self, count: u32) -> Error {
        Error::new(
            ErrorKind::Invalid,
            format!("{count} permits of a semaphore: 1 to {} are expected", self.bound),
        )
    }

    #[inline]
    fn take(&self, me: Option<Me>, count: u32) -> bool {
        match (self.permits, me) {
            (Permits::Counted(counted), _) => counted.take(count),
            (Permits::Owned(owned), Some(me)) => owned.take(me, count),
            (Permits::Owned(_), None) => false,
        }
    }

    #[cold]
    fn wait(
        &self,
        me: Option<Me>,
        count: u32,
        deadline: Deadline,
    ) -> std::result::Result<(), AcquireError> {
        if count > 1 {
            self.head.sleepers.raise_flag(); // see `permits::serve`
        }
        look_or_wait(&self.head.sleepers, deadline, |look| {
            let took = self.take(me, count)
                || look != Look::Items && self.repair_and_take(me, count, look == Look::Deaths);
            took.then_some(())
        })
        .map_err(|gave_up| match gave_up {
            GaveUp::TimedOut => AcquireError::TimedOut,
            GaveUp::Interrupted => AcquireError::Interrupted,
        })
    }

    /// Gives `count` permits back. Plain ones may be anybody's, or new; owned ones are this process's.
    ///
    /// # Errors
    /// `Invalid` for 0, and if there would be more than the bound; `NotOwner` if this process holds fewer owned ones. Nothing
    /// is changed then.
    #[inline]
    pub fn release(&self, count: u32) -> Result<()> {
        if count == 0 || count > self.bound {
            return Err(self.outside(count));
        }
        let given = match (self.permits, self.who()?) {
            (Permits::Counted(counted), _) => counted.give(count),
            (Permits::Owned(owned), Some(me)) => owned.give(me, count),
            (Permits::Owned(_), None) => Err(NotGiven::NotHeld),
        };
        given.map_err(|why| self.not_given(count, why))
    }

    #[cold]
    fn not_given(&self, count: u32, why: NotGiven) -> Error {
        match why {
            NotGiven::AboveBound(free) => Error::new(
                ErrorKind::Invalid,
                format!(
                    "{count} permits more, where {free} are free: at most {} are expected",
                    self.bound
                ),
            ),
            NotGiven::NotHeld => Error::new(
                ErrorKind::NotOwner,
                format!("{count} permits to give back: this process holds fewer"),
            ),
            NotGiven::Storm => {
                Error::new(ErrorKind::Corrupt, "the count of permits changes without a pause")
            }
        }
    }

    /// Looks for what the dead hold, and then again for free permits: others may have freed those of the dead meanwhile.
    #[cold]
    fn repair_and_take(&self, me: Option<Me>, count: u32, thorough: bool) -> bool {
        self.repair(thorough) && self.take(me, count)
    }

    /// Frees what the dead hold; false if permits have no owners.
    fn repair(&self, thorough: bool) -> bool {
        let (Permits::Owned(owned), Ok(table)) = (self.permits, self.segment().table()) else {
            return false;
        };
        let mut judge = Judge { table, thorough, alive: [0; 16] };
        owned.repair(|slot, generation| judge.is_over(slot, generation));
        true
    }
}

/// Who of the owners is dead; each is asked once.
struct Judge<'s> {
    table: Table<'s>,
    thorough: bool,
    /// A bit for each slot whose holder is alive.
    alive: [u64; 16],
}

impl Judge<'_> {
    /// Whether the process that held `slot` with these low bits of its generation is proven dead.
    fn is_over(&mut self, slot: u32, generation: u64) -> bool {
        let Some(holder) = self.table.holder(slot) else { return true };
        if holder & GENERATION_MASK != generation {
            return true;
        }
        let (word, bit) = (slot as usize / 64, 1 << (slot % 64));
        if self.alive[word] & bit != 0 {
            return false;
        }
        let over = if self.thorough {
            self.table.is_over(slot, holder)
        } else {
            self.table.has_let_go(slot, holder)
        };
        self.alive[word] |= u64::from(!over) * bit;
        over
    }
}

/// What a sweep does: frees the permits of the dead.
pub(crate) fn recover(place: Place<'_>) -> Result<()> {
    Semaphore::open(place)?.repair(true);
    Ok(())
}

impl Source for Semaphore {
    fn bed(&self) -> Bed<'_> {
        Bed::Word(&self.head.sleepers)
    }

    fn is_ready(&self, _: u64, look: Look) -> bool {
        self.value() > 0
            || look != Look::Items && self.repair(look == Look::Deaths) && self.value() > 0
    }
}

impl Waitable for Semaphore {}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("value", &self.value())
            .field("bound", &self.bound)
            .finish()
    }
}

/// Permits that were taken. Dropped, they are given back; in a forked child, nothing is done.
///
/// ```
/// let semaphore = mpshm::Semaphore::new(1)?;
/// semaphore.acquire()?.forget();
/// assert_eq!(semaphore.value(), 0);
/// semaphore.release(1)?; // whoever does it
/// # Ok::<(), mpshm::Error>(())
/// ```
#[must_use = "dropped, it gives the permits back"]
pub struct Permit<'s> {
    semaphore: &'s Semaphore,
    count: u32,
    process: u32,
}

impl Permit<'_> {
    /// How many they are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Keeps the permits: they are given back by [`release`](Semaphore::release).
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.process == fork::generation() {
            // Fails only when they were given back by hand before.
            let _ = self.semaphore.release(self.count);
        }
    }
}

impl fmt::Debug for Permit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.count).finish()
    }
}
