//! A barrier: everybody waits until all parties are there. The words it consists of are in `meeting.rs`.

use crate::atomic::{AtomicU64, Ordering};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::offset::Region;
use crate::layout::plain::TypeTag;
use crate::os::clock::Deadline;
use crate::segment::Segment;
use crate::segment::directory::ObjectKind;
use crate::segment::place::{Object, Place, Plan};
use crate::sync::meeting::{Failed, Head, Meeting, PARTIES_MAX, Party};
use std::fmt;
use std::time::Duration;

/// How many parties a barrier has, and how long they wait.
///
/// ```
/// use mpshm::{Barrier, BarrierOptions};
/// use std::time::Duration;
/// let options = BarrierOptions::new(3).timeout(Duration::from_secs(5));
/// let barrier = Barrier::with_options(&options)?;
/// assert_eq!(barrier.parties(), 3);
/// # Ok::<(), mpshm::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BarrierOptions {
    parties: u32,
    timeout: Option<Duration>,
}

impl BarrierOptions {
    /// So many parties (1 to 4096), who wait for ever.
    #[must_use]
    pub fn new(parties: u32) -> Self {
        Self { parties, timeout: None }
    }

    /// How long [`wait`](Barrier::wait) waits.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    fn nanoseconds(&self) -> u64 {
        self.timeout
            .map_or(u64::MAX, |timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Where several processes, or threads, wait for each other, as often as they like.
///
/// Each `wait` returns when all parties have called it; then the barrier is as new. It is **broken** for all who wait,
/// and all who come later, by a party that waits no longer (its time is over, or it was cancelled), by
/// [`abort`](Self::abort), and by the death of one that waits: sleepers look for that every 80 ms. [`reset`](Self::reset)
/// makes it usable again. To have come is what counts: a party that died after that is missed only if the others have to wait
/// for another one, and then within a second. If all come before anybody has waited that long, they pass.
///
/// **What a stopped peer does.** Who has not come is waited for; nobody who is stopped keeps the others from giving up.
/// **Forks.** Parent and child are two parties.
///
/// ```standalone_crate
/// use mpshm::{Array, Barrier, Process};
/// let barrier = Barrier::new(3)?;
/// let halves = Array::<u64>::new(2)?;
/// let children: Vec<_> = (0..2)
///     .map(|half| {
///         let (barrier, halves) = (&barrier, &halves);
///         Process::spawn(move || {
///             halves.store(half, 21).unwrap();
///             barrier.wait().unwrap();
///             0
///         })
///     })
///     .collect::<Result<_, _>>()?;
/// barrier.wait()?;
/// assert_eq!(halves.iter().sum::<u64>(), 42); // both have written
/// for child in &children {
///     child.join()?;
/// }
/// # Ok::<(), mpshm::Error>(())
/// ```
pub struct Barrier {
    head: &'static Head,
    marks: &'static [AtomicU64],
    timeout: Option<Duration>,
    object: Object,
}

/// That a barrier has let its parties go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierPass {
    index: u32,
    parties: u32,
}

impl BarrierPass {
    /// The place in the order of coming: 0 is the first one, `parties - 1` the last.
    #[must_use]
    pub fn index(self) -> u32 {
        self.index
    }

    /// Whether this is the one, of all parties, that came last: it has run the action, if there was one.
    #[must_use]
    pub fn is_leader(self) -> bool {
        self.index + 1 == self.parties
    }
}

/// Why a wait at a barrier ended without all parties.
#[non_exhaustive]
pub enum BarrierError {
    /// A party's time was over (perhaps this one's), it was cancelled, or it died; or somebody broke or reset the barrier.
    Broken,
    /// The wait was cancelled, and the barrier broken by that.
    Interrupted,
    /// This process cannot take part in the segment: see the error.
    Failed(Error),
}

impl BarrierError {
    /// What to decide on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Broken => ErrorKind::Broken,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::Failed(error) => error.kind(),
        }
    }
}

impl fmt::Display for BarrierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broken => {
                "the barrier is broken: a party gave up or died, or somebody broke or reset it"
            }
            Self::Interrupted => "the wait at the barrier was cancelled",
            Self::Failed(error) => return error.fmt(f),
        })
    }
}

impl fmt::Debug for BarrierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BarrierError({}: {self})", self.kind().name())
    }
}

impl std::error::Error for BarrierError {}

impl From<BarrierError> for Error {
    fn from(error: BarrierError) -> Self {
        match error {
            BarrierError::Failed(error) => error,
            other => Self::new(other.kind(), other.to_string()),
        }
    }
}

/// A barrier has no items.
const ITEM: TypeTag = TypeTag::bytes(0, 1);

fn marks_length(parties: u32) -> u64 {
    u64::from(parties) * size_of::<AtomicU64>() as u64
}

impl Barrier {
    /// An anonymous barrier for so many parties (1 to 4096), which forked children inherit.
    ///
    /// # Errors
    /// `Invalid`: no parties, or too many; `NoSpace`.
    pub fn new(parties: u32) -> Result<Self> {
        Self::with_options(&BarrierOptions::new(parties))
    }

    /// An anonymous barrier.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_options(options: &BarrierOptions) -> Result<Self> {
        Self::create(Place::ANONYMOUS, options)
    }

    /// Makes a barrier at `place`: a name, or [`segment.at(name)`](Segment::at).
    ///
    /// # Errors
    /// `Invalid`; `Exists`; `NoSpace`; `Limit`.
    pub fn create<'a>(place: impl Into<Place<'a>>, options: &BarrierOptions) -> Result<Self> {
        if options.parties == 0 || options.parties > PARTIES_MAX {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "a barrier of {} parties: 1 to {PARTIES_MAX} are possible",
                    options.parties
                ),
            ));
        }
        let length = Self::size_for(options.parties);
        let plan = Plan { kind: ObjectKind::Barrier, item: ITEM, length };
        let object = place.into().create(plan, |region| {
            let head = region.one::<Head>(0)?;
            Meeting::begin(head);
            head.parties.store(options.parties, Ordering::Relaxed);
            head.timeout.store(options.nanoseconds(), Ordering::Relaxed);
            Ok(())
        })?;
        Self::over(object)
    }

    /// Opens the barrier at `place`.
    ///
    /// # Errors
    /// `NotFound`; `Type`; `Version`, `Corrupt`, `Permission`.
    pub fn open<'a>(place: impl Into<Place<'a>>) -> Result<Self> {
        Self::over(place.into().open(ObjectKind::Barrier, ITEM)?)
    }

    /// Opens the barrier at `place`, or makes it.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`create`](Self::create) but for `NotFound` and `Exists`.
    pub fn open_or_create<'a>(
        place: impl Into<Place<'a>>,
        options: &BarrierOptions,
    ) -> Result<Self> {
        place.into().open_or_create(Self::open, |place| Self::create(place, options))
    }

    /// Bytes that a barrier of so many parties needs in a segment.
    #[must_use]
    pub fn size_for(parties: u32) -> u64 {
        size_of::<Head>() as u64 + marks_length(parties)
    }

    fn over(object: Object) -> Result<Self> {
        let region: Region = object.region;
        let head: &Head = region.one(0)?;
        let parties = head.parties.load(Ordering::Relaxed);
        if parties == 0 || parties > PARTIES_MAX {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("a barrier of {parties} parties: 1 to {PARTIES_MAX} are possible"),
            ));
        }
        let marks = region.array(size_of::<Head>() as u64, parties as usize)?;
        let timeout = match head.timeout.load(Ordering::Relaxed) {
            u64::MAX => None,
            nanoseconds => Some(Duration::from_nanos(nanoseconds)),
        };
        Ok(Self { head, marks, timeout, object })
    }

    fn meeting(&self) -> Meeting<'_> {
        Meeting { head: self.head, marks: self.marks }
    }

    /// The segment that the barrier lies in.
    #[must_use]
    pub fn segment(&self) -> &Segment {
        &self.object.segment
    }

    /// Waits for all parties, as long as it was said when the barrier was made.
    ///
    /// # Errors
    /// [`BarrierError`]: `Broken`, `Interrupted`, `Failed`.
    pub fn wait(&self) -> std::result::Result<BarrierPass, BarrierError> {
        self.wait_with(|| ())
    }

    /// Waits for all parties until `deadline` (a [`Deadline`], a `Duration` or an `Instant`); then it breaks the barrier.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(
        &self,
        deadline: impl Into<Deadline>,
    ) -> std::result::Result<BarrierPass, BarrierError> {
        self.wait_timeout_with(deadline, || ())
    }

    /// Waits for all parties; the last one runs its `action` before anybody goes on. When that panics, or its process dies
    /// in it, the barrier is broken.
    ///
    /// ```
    /// let barrier = mpshm::Barrier::new(1)?;
    /// let mut rounds = 0;
    /// barrier.wait_with(|| rounds += 1)?;
    /// assert_eq!(rounds, 1);
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`wait`](Self::wait); `Broken` after the action when another party gave up meanwhile.
    pub fn wait_with(
        &self,
        action: impl FnOnce(),
    ) -> std::result::Result<BarrierPass, BarrierError> {
        self.wait_timeout_with(self.timeout.map_or(Deadline::FOREVER, Deadline::after), action)
    }

    /// Both: a deadline and an action.
    ///
    /// # Errors
    /// As [`wait_with`](Self::wait_with).
    pub fn wait_timeout_with(
        &self,
        deadline: impl Into<Deadline>,
        action: impl FnOnce(),
    ) -> std::result::Result<BarrierPass, BarrierError> {
        let segment = &self.object.segment;
        let me = segment.me().map_err(BarrierError::Failed)?;
        let waited = self
            .meeting()
            .wait(me.into(), deadline.into(), action, |party| is_over(segment, party));
        match waited {
            Ok(index) => Ok(BarrierPass { index, parties: self.parties() }),
            Err(Failed::Broken) => Err(BarrierError::Broken),
            Err(Failed::Interrupted) => Err(BarrierError::Interrupted),
        }
    }

    /// Breaks the barrier: who waits and who comes is told so, until a [`reset`](Self::reset). Never waits.
    pub fn abort(&self) {
        self.meeting().abort();
    }

    /// Makes the barrier as new. Who waits is told that it is broken. Never waits.
    pub fn reset(&self) {
        self.meeting().reset();
    }

    /// Whether the barrier is broken.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.meeting().is_broken()
    }

    /// How many parties wait now.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.meeting().waiting()
    }

    /// How many parties it takes.
    #[must_use]
    pub fn parties(&self) -> u32 {
        self.marks.len() as u32
    }
}

fn is_over(segment: &Segment, party: Party) -> bool {
    let Ok(table) = segment.table() else { return false };
    match table.holder(party.slot()) {
        Some(generation) if party.may_be_of(generation) => table.is_over(party.slot(), generation),
        _ => true, // it left, or another one has its slot
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties())
            .field("waiting", &self.waiting())
            .field("is_broken", &self.is_broken())
            .finish()
    }
}
