//! Waiting for a newer value together with other things.

use crate::value::latest::{Content, Latest, RawLatest};
use crate::wait::eventcount::Look;
use crate::wait::select::Waitable;
use crate::wait::select::sealed::{Bed, Source};

/// Another version of a [`Latest`] than one that was seen, for [`select`](crate::select). Made by [`Latest::newer`].
pub struct Newer {
    raw: RawLatest,
    seen: u64,
}

impl<T: Content + ?Sized> Latest<T> {
    /// What [`select`](crate::select) waits for until the newest value's version is another than `seen`.
    ///
    /// ```
    /// use mpshm::{Latest, select};
    /// use std::time::Duration;
    /// let level = Latest::<u32>::new(&10)?;
    /// let newer = level.newer(level.version());
    /// assert!(select(&[&newer], Duration::ZERO)?.is_empty());
    /// level.store(&11)?;
    /// assert!(select(&[&newer], Duration::ZERO)?.contains(0));
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    #[must_use]
    pub fn newer(&self, seen: u64) -> Newer {
        Newer::of(&self.raw, seen)
    }
}

impl Newer {
    pub(crate) fn of(raw: &RawLatest, seen: u64) -> Self {
        Self { raw: raw.clone(), seen }
    }
}

impl Source for Newer {
    fn bed(&self) -> Bed<'_> {
        Bed::Word(self.raw.news())
    }

    fn is_ready(&self, _: u64, _: Look) -> bool {
        self.raw.version() != self.seen
    }
}

impl Waitable for Newer {}

impl std::fmt::Debug for Newer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Newer").field("seen", &self.seen).finish_non_exhaustive()
    }
}
