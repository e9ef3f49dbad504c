//! Segments that end with a block of code: [`scope`].

use crate::error::Result;
use crate::os::file::Target;
use crate::os::fork;
use crate::os::memory::FileId;
use crate::segment::{Origin, Segment, SegmentOptions};
use std::cell::RefCell;
use std::os::fd::AsFd;
use std::path::Path;

/// Runs `body`, and takes away at its end, also when it panics, every segment that was made through the [`Scope`] it is given: names and
/// files are removed, and so is the mapping, unless something of it outlives the scope.
///
/// What is removed is what the scope made: a segment of another maker that has the name by now stays. In a forked child nothing is
/// removed, whatever it runs to the end of. **Killed inside**, a process leaves names behind, as everywhere; anonymous
/// segments always end with their last process.
///
/// ```
/// use mpshm::{ErrorKind, Queue, Segment};
/// let name = format!("doc-scope-{}", std::process::id());
/// let sum = mpshm::scope(|scope| {
///     let segment = scope.create(&name, 1 << 16)?;
///     let jobs = Queue::<u64>::create(segment.at("jobs"), &mpshm::QueueOptions::new(8))?;
///     jobs.push(1)?;
///     // Whoever knows the name takes part.
///     let same = Queue::<u64>::open(Segment::attach(&name)?.at("jobs"))?;
///     mpshm::Result::Ok(same.pop()? + 1)
/// })?;
/// assert_eq!(sum, 2);
/// assert_eq!(Segment::attach(&name).unwrap_err().kind(), ErrorKind::NotFound);
/// # Ok::<(), mpshm::Error>(())
/// ```
///
/// There is no scope before it begins, and none after its end:
///
/// ```compile_fail
/// let gone = mpshm::scope(|scope| scope);
/// gone.create("late", 4096)?;
/// ```
pub fn scope<R>(body: impl FnOnce(&Scope) -> R) -> R {
    let scope = Scope { made: RefCell::new(Vec::new()), process: fork::generation() };
    body(&scope)
}

/// What makes segments that end with a [`scope`].
#[derive(Debug)]
pub struct Scope {
    /// Oldest first.
    made: RefCell<Vec<Segment>>,
    /// The process that began it.
    process: u32,
}

impl Scope {
    fn keep(&self, made: Result<Segment>) -> Result<Segment> {
        let segment = made?;
        self.made.borrow_mut().push(segment.clone());
        Ok(segment)
    }

    /// Makes an anonymous segment; see [`Segment::anonymous`].
    ///
    /// # Errors
    /// As there.
    pub fn anonymous(&self, bytes: u64) -> Result<Segment> {
        self.keep(Segment::anonymous(bytes))
    }

    /// Makes the segment `name`; see [`Segment::create`].
    ///
    /// # Errors
    /// As there; the segment that has the name stays then.
    pub fn create(&self, name: &str, bytes: u64) -> Result<Segment> {
        self.create_with(&Segment::options(), name, bytes)
    }

    /// Makes the segment `name` as `options` say; see [`SegmentOptions::create`].
    ///
    /// # Errors
    /// As there.
    pub fn create_with(&self, options: &SegmentOptions, name: &str, bytes: u64) -> Result<Segment> {
        self.keep(options.create(name, bytes))
    }

    /// Makes a segment in the file `path`; see [`Segment::create_file`].
    ///
    /// # Errors
    /// As there.
    pub fn create_file(&self, path: impl AsRef<Path>, bytes: u64) -> Result<Segment> {
        self.keep(Segment::create_file(path, bytes))
    }
}

/// Removes the segment's name, if it is the segment's still.
fn unlink(segment: &Segment) -> Result<()> {
    let target = match &segment.0.origin {
        Origin::Anonymous => return Ok(()),
        Origin::Named(name) => Target::named(name)?,
        Origin::File(path) => Target::file(path)?,
    };
    let there = target.open(false)?;
    match FileId::of(there.as_fd()) {
        found if found.is_some() && found == segment.0.file => target.unlink(),
        _ => Ok(()),
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        if self.process != fork::generation() {
            return;
        }
        // The newest first. One that somebody has removed by now is as gone as can be.
        for segment in self.made.get_mut().drain(..).rev() {
            let _ = unlink(&segment);
        }
    }
}
