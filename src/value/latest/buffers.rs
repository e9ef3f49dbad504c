//! The buffers of a [`Latest`](super::Latest) in a segment: how they lie there, who has one, and who of those is dead.

use super::LatestOptions;
use super::words::{Buffer, Head, Held, Nonsense, PINS_MAX, Pin, Words};
use crate::atomic::Ordering;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::plain::{ALIGN_MAX, TypeTag};
use crate::os::clock::Deadline;
use crate::os::fork;
use crate::segment::directory::ObjectKind;
use crate::segment::participant::{Me, Table};
use crate::segment::place::{Object, Place, Plan};
use crate::wait::eventcount::{EventCount, GaveUp, Look, Spin, wait_for};

const WRITERS_MAX: u32 = 64;
/// What buffers are aligned to and apart, in bytes.
const LINE: u64 = 128;

/// Where everything lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    readers: u32,
    writers: u32,
    size: u64,
}

impl Shape {
    fn new(readers: u32, writers: u32, size: u64) -> Result<Self> {
        let invalid = |message| Err(Error::new(ErrorKind::Invalid, message));
        if readers == 0 || readers as usize > PINS_MAX {
            return invalid(format!(
                "a latest value for {readers} readers: 1 to {PINS_MAX} are possible"
            ));
        }
        if writers == 0 || writers > WRITERS_MAX {
            return invalid(format!(
                "a latest value for {writers} writers: 1 to {WRITERS_MAX} are possible"
            ));
        }
        if size == 0 {
            return invalid("a latest value of 0 bytes: at least 1 is expected".into());
        }
        let shape = Self { readers, writers, size };
        if size >= 1 << 40 {
            return Err(Error::new(
                ErrorKind::NoSpace,
                format!("a latest value of {size} bytes: at most 2^40 are possible"),
            ));
        }
        Ok(shape)
    }

    fn buffers(self) -> u64 {
        u64::from(self.readers) + u64::from(self.writers) + 1
    }

    fn pins_at(self) -> u64 {
        size_of::<Head>() as u64
    }

    fn words_at(self) -> u64 {
        self.pins_at() + u64::from(self.readers) * size_of::<Pin>() as u64
    }

    fn content_at(self) -> u64 {
        (self.words_at() + self.buffers() * size_of::<Buffer>() as u64).next_multiple_of(LINE)
    }

    fn stride(self) -> u64 {
        self.size.next_multiple_of(LINE)
    }

    fn total(self) -> u64 {
        self.content_at() + self.buffers() * self.stride()
    }
}

/// A latest value whose type is known at run time.
#[derive(Clone)]
pub(crate) struct RawLatest {
    words: Words<'static>,
    shape: Shape,
    content: *mut u8,
    pub object: Object,
}

// SAFETY: the words are atomics, and a buffer is touched only by who holds it.
unsafe impl Send for RawLatest {}
// SAFETY: as above.
unsafe impl Sync for RawLatest {}

/// A mark that words bear: participant and generation, never 0.
fn mark(me: Me) -> u64 {
    me.generation << 16 | u64::from(me.slot)
}

fn is_over(table: Table<'_>, mark: u64, surely: bool) -> bool {
    let (slot, generation) = ((mark & 0xffff) as u32, mark >> 16);
    if surely { table.is_over(slot, generation) } else { table.has_let_go(slot, generation) }
}

impl RawLatest {
    fn shape(options: &LatestOptions, item: TypeTag) -> Result<Shape> {
        if item.align as usize > ALIGN_MAX {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("a type aligned to {}: at most {ALIGN_MAX} is possible", item.align),
            ));
        }
        let size = if item.size == 0 { options.bytes } else { item.size.into() };
        Shape::new(options.readers, options.writers, size)
    }

    pub(crate) fn size_for(options: &LatestOptions, item: TypeTag) -> Result<u64> {
        Ok(Self::shape(options, item)?.total())
    }

    /// Makes one that begins as `bytes`, or as zeros.
    pub(crate) fn create(
        place: Place<'_>,
        options: &LatestOptions,
        item: TypeTag,
        bytes: Option<&[u8]>,
    ) -> Result<Self> {
        let shape = Self::shape(options, item)?;
        let plan = Plan { kind: ObjectKind::Latest, item, length: shape.total() };
        let object = place.create(plan, |region| {
            let head: &Head = region.one(0)?;
            head.readers.store(shape.readers, Ordering::Relaxed);
            head.writers.store(shape.writers, Ordering::Relaxed);
            head.size.store(shape.size, Ordering::Relaxed);
            if let Some(bytes) = bytes {
                let first = region.slice(shape.content_at(), bytes.len() as u64)?;
                // SAFETY: inside the extent, which nobody else sees yet.
                unsafe { first.start().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
            }
            let buffers = region.array(shape.words_at(), shape.buffers() as usize)?;
            Words { head, buffers, pins: &[] }.begin();
            Ok(())
        })?;
        Self::over(object, shape)
    }

    /// Opens one; an item of size 0 stands for bytes of any length.
    pub(crate) fn open(place: Place<'_>, item: TypeTag) -> Result<Self> {
        let object = place.open(ObjectKind::Latest, item)?;
        let head: &Head = object.region.one(0)?;
        let shape = Shape::new(
            head.readers.load(Ordering::Relaxed),
            head.writers.load(Ordering::Relaxed),
            head.size.load(Ordering::Relaxed),
        );
        let found = shape.ok().filter(|shape| {
            shape.total() == object.region.length() as u64
                && (item.size == 0 || u64::from(item.size) == shape.size)
        });
        let shape = found.ok_or_else(|| {
            Error::new(
                ErrorKind::Corrupt,
                format!(
                    "a latest value of {} bytes says it is for {:?} readers, {:?} writers and values of {:?} bytes",
                    object.region.length(),
                    head.readers,
                    head.writers,
                    head.size
                ),
            )
        })?;
        Self::over(object, shape)
    }

    fn over(object: Object, shape: Shape) -> Result<Self> {
        let region = object.region;
        let words = Words {
            head: region.one(0)?,
            pins: region.array(shape.pins_at(), shape.readers as usize)?,
            buffers: region.array(shape.words_at(), shape.buffers() as usize)?,
        };
        let content = region.slice(shape.content_at(), shape.buffers() * shape.stride())?.start();
        Ok(Self { words, shape, content, object })
    }

    /// Bytes of a value.
    pub(crate) fn size(&self) -> usize {
        self.shape.size as usize
    }

    pub(crate) fn version(&self) -> u64 {
        self.words.version()
    }

    /// Where a buffer lies.
    fn at(&self, buffer: usize) -> *mut u8 {
        assert!((buffer as u64) < self.shape.buffers(), "`Words` hands out buffers that exist");
        // SAFETY: as just checked; the shape says that so many lie here.
        unsafe { self.content.add(buffer * self.shape.stride() as usize) }
    }

    /// Where one sleeps until there is a newer value.
    pub(crate) fn news(&self) -> &EventCount {
        &self.words.head.news
    }

    /// Waits for a value newer than `version`; returns its version.
    pub(crate) fn wait_newer(&self, version: u64, deadline: Deadline) -> Result<u64> {
        let attempt = || Some(self.version()).filter(|&now| now != version);
        if let Some(now) = attempt() {
            return Ok(now);
        }
        wait_for(&self.words.head.news, deadline, &Spin::new(), |_| attempt())
            .map_err(|gave_up| gave_up_on("a newer value", gave_up))
    }

    /// Takes a buffer to write.
    pub(crate) fn reserve(&self, deadline: Deadline) -> Result<RawWrite<'_>> {
        let mark = mark(self.object.segment.me()?);
        let attempt = |surely: Option<bool>| {
            self.words.take(mark).or_else(|| {
                let surely = surely?;
                let table = self.object.segment.table().ok()?;
                self.words.repair(|mark| is_over(table, mark, surely));
                self.words.take(mark)
            })
        };
        let buffer = attempt(None).or_else(|| attempt(Some(false))).map_or_else(
            || {
                wait_for(&self.words.head.spare, deadline, &Spin::new(), |look| {
                    attempt((look == Look::Deaths).then_some(true))
                })
                .map_err(|gave_up| gave_up_on("a buffer that no other writer has", gave_up))
            },
            Ok,
        )?;
        Ok(RawWrite { latest: self, buffer, process: fork::generation() })
    }

    /// A pin of this process, for one read at a time.
    pub(crate) fn reader(&self) -> Result<RawReader> {
        let pin = self.take_pin()?;
        Ok(RawReader { latest: self.clone(), pin, process: fork::generation() })
    }

    fn take_pin(&self) -> Result<usize> {
        let mark = mark(self.object.segment.me()?);
        let table = self.object.segment.table()?;
        let words = self.words;
        let pin = words.take_pin(mark, |_| false);
        let pin = pin.or_else(|| words.take_pin(mark, |mark| is_over(table, mark, false)));
        pin.or_else(|| words.take_pin(mark, |mark| is_over(table, mark, true))).ok_or_else(|| {
            Error::new(
                ErrorKind::Limit,
                format!("all {} readers of the latest value are there already", self.shape.readers),
            )
        })
    }
}

fn nonsense(_: Nonsense) -> Error {
    Error::new(ErrorKind::Corrupt, "a latest value whose words make no sense, or never keep still")
}

/// Repairs what dead participants left in the latest value at `place`, whatever its type.
pub(crate) fn recover(place: Place<'_>, item: TypeTag) -> Result<()> {
    let latest = RawLatest::open(place, item)?;
    let table = latest.object.segment.table()?;
    latest.words.repair(|mark| is_over(table, mark, true));
    Ok(())
}

fn gave_up_on(what: &str, gave_up: GaveUp) -> Error {
    match gave_up {
        GaveUp::TimedOut => {
            Error::new(ErrorKind::TimedOut, format!("{what} did not come before the deadline"))
        }
        GaveUp::Interrupted => {
            Error::new(ErrorKind::Interrupted, format!("the wait for {what} was cancelled"))
        }
    }
}

/// A buffer that this process writes.
pub(crate) struct RawWrite<'l> {
    latest: &'l RawLatest,
    buffer: usize,
    process: u32,
}

impl<'l> RawWrite<'l> {
    /// Takes up again what [`suspend`](Self::suspend) returned.
    pub(crate) fn resume(latest: &'l RawLatest, buffer: usize, process: u32) -> Self {
        Self { latest, buffer, process }
    }

    /// Keeps the buffer for somebody without lifetimes.
    pub(crate) fn suspend(self) -> usize {
        let buffer = self.buffer;
        std::mem::forget(self);
        buffer
    }

    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.latest.at(self.buffer)
    }

    pub(crate) fn size(&self) -> usize {
        self.latest.size()
    }

    /// Refuses a buffer that is the parent process's.
    #[inline]
    pub(crate) fn check_here(&self) -> Result<()> {
        if self.process == fork::generation() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Forked,
            "the value was reserved by the parent process: only it can write and commit it",
        ))
    }

    pub(crate) fn commit(self) -> Result<u64> {
        self.check_here()?;
        let version = self.latest.words.publish(self.buffer);
        std::mem::forget(self);
        version.map_err(nonsense)
    }
}

impl Drop for RawWrite<'_> {
    fn drop(&mut self) {
        if self.check_here().is_ok() {
            self.latest.words.give_back(self.buffer);
        }
    }
}

/// A pin of this process. A forked child takes one of its own at its first read.
pub(crate) struct RawReader {
    latest: RawLatest,
    pin: usize,
    process: u32,
}

impl RawReader {
    pub(crate) fn latest(&self) -> &RawLatest {
        &self.latest
    }

    /// Pins the newest value until [`unpin`](Self::unpin).
    #[inline]
    pub(crate) fn pin(&mut self) -> Result<Held> {
        if self.process != fork::generation() {
            self.pin = self.latest.take_pin()?;
            self.process = fork::generation();
        }
        self.latest.words.pin(self.pin).map_err(|nonsense| self.refuse(nonsense))
    }

    #[cold]
    fn refuse(&self, words: Nonsense) -> Error {
        self.latest.words.unpin(self.pin);
        nonsense(words)
    }

    /// Where what is pinned lies.
    pub(crate) fn at(&self, held: Held) -> *const u8 {
        self.latest.at(held.buffer)
    }

    /// Lets go of what is pinned; in a forked child it is the parent's.
    #[inline]
    pub(crate) fn unpin(&mut self) {
        if self.process == fork::generation() {
            self.latest.words.unpin(self.pin);
        }
    }
}

impl Drop for RawReader {
    fn drop(&mut self) {
        if self.process == fork::generation() {
            self.latest.words.drop_pin(self.pin);
        }
    }
}
