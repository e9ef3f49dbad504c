//! A condition variable: wait, under a lock, until somebody says that something has changed.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::offset::Region;
use crate::layout::plain::TypeTag;
use crate::os::clock::Deadline;
use crate::segment::Segment;
use crate::segment::directory::ObjectKind;
use crate::segment::place::{Object, Place, Plan};
use crate::sync::lock_error::LockError;
use crate::sync::mutex::{self, HeldLock, RawGuard};
use crate::sync::raw_mutex::{Doubt, Mark};
use crate::sync::waiters::{Ended, Head, Waiter, Waiters, by_mark};
use crate::wait::cancel;
use std::fmt;
use std::sync::atomic::Ordering;

/// How many can wait at a time, unless said otherwise.
const WAITERS: u32 = 128;
const WAITERS_MAX: u32 = 4096;

/// How many can wait at a time.
///
/// ```
/// use mpshm::{Condvar, CondvarOptions};
/// let few = Condvar::with_options(&CondvarOptions::new().waiters(4))?;
/// assert_eq!(few.waiters(), 0);
/// # Ok::<(), mpshm::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CondvarOptions {
    waiters: u32,
}

impl CondvarOptions {
    /// 128.
    #[must_use]
    pub fn new() -> Self {
        Self { waiters: WAITERS }
    }

    /// So many: 1 to 4096.
    #[must_use]
    pub fn waiters(self, waiters: u32) -> Self {
        Self { waiters }
    }
}

impl Default for CondvarOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Waits under a lock until another process, or thread, says that something has changed.
///
/// It is used with the guard of a [`Mutex`](crate::Mutex), plain or recursive, or of the lock of a value or an array:
/// with one lock as long as anybody waits. To wait gives the lock back, however often it is held, and returns with it as it
/// was. To notify, too, takes the lock; it never waits for who is notified, and where nobody waits nothing is remembered.
/// A wait comes back with the lock, and so not before its owner gives that back, whatever the deadline.
/// So look at the condition first, and again after a wait: [`wait_while`](Self::wait_while) and [`wait_for`](Self::wait_for)
/// do.
///
/// **What a dead peer does.** Who is killed while it waits is not notified; a notification that it had not acted on goes to the
/// one that has waited longest, within 80 ms. When the lock's owner is killed, who is notified, or whose time is over, gets
/// [`WaitError::OwnerDead`] with the lock held. **What a stopped peer does.** It keeps the notification that it got.
/// **Forks.** A guard belongs to the process that locked, and so does a wait.
///
/// ```standalone_crate
/// use mpshm::{Condvar, Mutex, Process};
/// let (state, changed) = (Mutex::<u32>::new(0)?, Condvar::new()?);
/// let child = Process::spawn(|| {
///     let mut guard = state.lock().unwrap();
///     changed.wait_while(&mut guard, |guard| guard.get() != 1).unwrap();
///     guard.set(2);
///     changed.notify_one(&guard).unwrap();
///     0
/// })?;
/// let mut guard = state.lock().unwrap();
/// guard.set(1);
/// changed.notify_all(&guard)?;
/// changed.wait_while(&mut guard, |guard| guard.get() != 2).unwrap();
/// drop(guard);
/// child.join()?;
/// # Ok::<(), mpshm::Error>(())
/// ```
pub struct Condvar {
    waiters: Waiters<'static>,
    object: Object,
}

/// Why a wait for a condition ended otherwise. In all cases but `NotRecoverable` the guard holds the lock again, or still.
#[non_exhaustive]
pub enum WaitError {
    /// The lock's owner died meanwhile: make what it guards whole, and mark that as consistent.
    OwnerDead,
    /// The lock was lost meanwhile. The guard does not hold it any more.
    NotRecoverable,
    /// The wait was cancelled before a notification came.
    Interrupted,
    /// It did not wait: `Limit`, so many wait already; `NotOwner`, the guard is another process's; `Invalid`, others wait
    /// with another lock.
    Failed(Error),
}

impl WaitError {
    /// What to decide on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::OwnerDead => ErrorKind::OwnerDead,
            Self::NotRecoverable => ErrorKind::NotRecoverable,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::Failed(error) => error.kind(),
        }
    }
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnerDead => LockError::OwnerDead(()).fmt(f),
            Self::NotRecoverable => LockError::<()>::NotRecoverable.fmt(f),
            Self::Interrupted => f.write_str("the wait for a condition was cancelled"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl fmt::Debug for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WaitError({}: {self})", self.kind().name())
    }
}

impl std::error::Error for WaitError {}

impl From<WaitError> for Error {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Failed(error) => error,
            other => Self::new(other.kind(), other.to_string()),
        }
    }
}

/// A condition has no items.
const ITEM: TypeTag = TypeTag::bytes(0, 1);

impl Condvar {
    /// An anonymous condition variable, which forked children inherit.
    ///
    /// # Errors
    /// `NoSpace`.
    pub fn new() -> Result<Self> {
        Self::with_options(&CondvarOptions::new())
    }

    /// An anonymous condition variable.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn with_options(options: &CondvarOptions) -> Result<Self> {
        Self::create(Place::ANONYMOUS, options)
    }

    /// Makes a condition variable at `place`: a name, or [`segment.at(name)`](Segment::at).
    ///
    /// # Errors
    /// `Invalid`: for nobody, or too many; `Exists`; `NoSpace`; `Limit`.
    pub fn create<'a>(place: impl Into<Place<'a>>, options: &CondvarOptions) -> Result<Self> {
        let count = options.waiters;
        if count == 0 || count > WAITERS_MAX {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("a condition for {count} that wait: 1 to {WAITERS_MAX} are possible"),
            ));
        }
        let plan = Plan { kind: ObjectKind::Condvar, item: ITEM, length: Self::size_for(count) };
        let object = place.into().create(plan, |region| {
            region.one::<Head>(0)?.count.store(count, Ordering::Relaxed);
            Ok(())
        })?;
        Self::over(object)
    }

    /// Opens the condition variable at `place`.
    ///
    /// # Errors
    /// `NotFound`; `Type`; `Version`, `Corrupt`, `Permission`.
    pub fn open<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        Self::over(place.into().open(ObjectKind::Condvar, ITEM)?)
    }

    /// Opens the condition variable at `place`, or makes it.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create) but for `NotFound` and `Exists`.
    pub fn open_or_create<'a>(
        place: impl Into<Place<'a>>,
        options: &CondvarOptions,
    ) -> Result<Self> {
        place.into().open_or_create(Self::open, |place| Self::create(place, options))
    }

    /// Bytes that a condition variable for so many needs in a segment.
    #[must_use]
    pub fn size_for(waiters: u32) -> u64 {
        size_of::<Head>() as u64 + u64::from(waiters) * size_of::<Waiter>() as u64
    }

    fn over(object: Object) -> Result<Self> {
        let region: Region = object.region;
        let head: &Head = region.one(0)?;
        let count = head.count.load(Ordering::Relaxed);
        if count == 0 || count > WAITERS_MAX {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("a condition for {count} that wait: 1 to {WAITERS_MAX} are possible"),
            ));
        }
        let words = region.array(size_of::<Head>() as u64, count as usize)?;
        Ok(Self { waiters: Waiters { head, words }, object })
    }

    /// The segment that the condition variable lies in.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.object.segment
    }

    /// Waits until it is notified.
    ///
    /// # Errors
    /// [`WaitError`]: `OwnerDead`, `NotRecoverable`, `Interrupted`, `Failed`.
    pub fn wait(&self, guard: &mut impl HeldLock) -> std::result::Result<(), WaitError> {
        self.wait_timeout(guard, Deadline::FOREVER).map(drop)
    }

    /// Waits until it is notified, or `deadline` (a [`Deadline`], a `Duration` or an `Instant`); whether it was notified.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(
        &self,
        guard: &mut impl HeldLock,
        deadline: impl Into<Deadline>,
    ) -> std::result::Result<bool, WaitError> {
        self.wait_raw(guard.raw(), deadline.into())
    }

    /// Waits as long as `goes_on` says so.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_while<G: HeldLock>(
        &self,
        guard: &mut G,
        mut goes_on: impl FnMut(&mut G) -> bool,
    ) -> std::result::Result<(), WaitError> {
        self.wait_for(guard, Deadline::FOREVER, |guard| !goes_on(guard)).map(drop)
    }

    /// Waits until `condition` is true, or `deadline`; what the condition was in the end.
    ///
    /// ```
    /// use std::time::Duration;
    /// let (value, changed) = (mpshm::Mutex::<u32>::new(3)?, mpshm::Condvar::new()?);
    /// let mut guard = value.lock().unwrap();
    /// let soon = Duration::from_millis(1);
    /// assert!(changed.wait_for(&mut guard, soon, |guard| guard.get() == 3).unwrap());
    /// assert!(!changed.wait_for(&mut guard, soon, |guard| guard.get() == 4).unwrap());
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_for<G: HeldLock>(
        &self,
        guard: &mut G,
        deadline: impl Into<Deadline>,
        mut condition: impl FnMut(&mut G) -> bool,
    ) -> std::result::Result<bool, WaitError> {
        let deadline = deadline.into();
        loop {
            if condition(guard) {
                return Ok(true);
            }
            if !self.wait_raw(guard.raw(), deadline)? && deadline.has_passed() {
                return Ok(condition(guard));
            }
        }
    }

    /// Notifies the one that has waited longest; whether there was one.
    ///
    /// # Errors
    /// `NotOwner`: the guard is another process's. `Invalid`: some wait with another lock.
    pub fn notify_one(&self, guard: &impl HeldLock) -> Result<bool> {
        self.notify(guard, 1).map(|notified| notified != 0)
    }

    /// Notifies the `count` that have waited longest; how many there were.
    ///
    /// # Errors
    /// As [`notify_one`](Self::notify_one).
    pub fn notify(&self, guard: &impl HeldLock, count: u32) -> Result<u32> {
        self.notify_raw(guard.raw(), count)
    }

    /// Notifies all that wait; how many there were.
    ///
    /// # Errors
    /// As [`notify_one`](Self::notify_one).
    pub fn notify_all(&self, guard: &impl HeldLock) -> Result<u32> {
        self.notify(guard, u32::MAX)
    }

    /// How many wait and are not notified; exact with the lock.
    #[must_use]
    pub fn waiters(&self) -> u32 {
        self.waiters.waiting(self.is_over(Doubt::Some))
    }

    fn is_over(&self, doubt: Doubt) -> impl Fn(Mark) -> bool + '_ {
        let segment = &self.object.segment;
        by_mark(
            move |slot, generation, doubt| mutex::is_over(segment, slot, generation, doubt),
            doubt,
        )
    }

    pub(crate) fn notify_raw(&self, guard: &RawGuard<'_>, count: u32) -> Result<u32> {
        self.check(guard)?;
        Ok(self.waiters.notify(count, &self.is_over(Doubt::Some)))
    }

    /// With the lock, and with the one that others wait with.
    fn check(&self, guard: &RawGuard<'_>) -> Result<()> {
        if !guard.is_here() {
            return Err(Error::new(
                ErrorKind::NotOwner,
                "the lock is not held by this thread of this process",
            ));
        }
        let key = key(guard);
        if self.waiters.head.lock.load(Ordering::Relaxed) == key {
            return Ok(());
        }
        if self.waiters.is_in_use() {
            // The dead wait with no lock.
            self.waiters.sweep(&self.is_over(Doubt::Much));
            if self.waiters.is_in_use() {
                return Err(Error::new(ErrorKind::Invalid, "others wait with another lock"));
            }
        }
        self.waiters.head.lock.store(key, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn wait_raw(
        &self,
        guard: &RawGuard<'_>,
        deadline: Deadline,
    ) -> std::result::Result<bool, WaitError> {
        self.check(guard).map_err(WaitError::Failed)?;
        let me = Mark::from(self.object.segment.me().map_err(WaitError::Failed)?);
        let entered = self.waiters.enter(me, self.is_over(Doubt::Much));
        let index = entered.ok_or_else(|| WaitError::Failed(self.is_full()))?;
        let (raw, segment) = guard.parts();
        let depth = raw.take_depth();
        raw.hand_on_doubt(); // whoever was told of a death, and has not sworn, is told again
        let ended = self.waiters.sleep(index, me, deadline, || self.pass_on(guard));
        let locked = cancel::without(|| mutex::lock(raw, segment, Deadline::FOREVER));
        let owner_dead = match locked {
            Ok(again) => {
                std::mem::forget(again); // `guard` is its guard
                false
            }
            Err(LockError::OwnerDead(again)) => {
                std::mem::forget(again);
                true
            }
            Err(error) => {
                self.waiters.leave(index, me); // ours alone, lock or no lock
                guard.lose();
                return Err(match error {
                    LockError::Failed(error) => WaitError::Failed(error),
                    _ => WaitError::NotRecoverable,
                });
            }
        };
        raw.restore(depth);
        let notified = self.waiters.leave(index, me);
        if owner_dead {
            Err(WaitError::OwnerDead)
        } else if ended == Ended::Cancelled && !notified {
            Err(WaitError::Interrupted)
        } else {
            Ok(notified)
        }
    }

    /// What a sleeper does after a slice: what lies with somebody dead is made another's, if the lock is to be had.
    fn pass_on(&self, guard: &RawGuard<'_>) {
        if !self.waiters.has_lost_one(self.is_over(Doubt::Much)) {
            return;
        }
        let (raw, segment) = guard.parts();
        match mutex::try_lock(raw, segment) {
            Ok(held) | Err(LockError::OwnerDead(held)) => {
                self.waiters.sweep(&self.is_over(Doubt::Much));
                raw.hand_on_doubt();
                std::mem::forget(held);
            }
            Err(_) => {} // after the next slice
        }
    }

    #[cold]
    fn is_full(&self) -> Error {
        Error::new(
            ErrorKind::Limit,
            format!("{} wait for the condition already", self.waiters.words.len()),
        )
    }
}

/// A number of a lock's own, whatever mapping it is seen through. Never 0.
fn key(guard: &RawGuard<'_>) -> u64 {
    let (raw, segment) = guard.parts();
    let offset = std::ptr::from_ref(raw) as u64 - segment.region().start() as u64;
    let id = segment.id();
    (id as u64 ^ (id >> 64) as u64).wrapping_add(offset) | 1
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").field("waiters", &self.waiters()).finish()
    }
}
