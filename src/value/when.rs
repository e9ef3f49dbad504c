//! Waiting for a value together with other things.

use crate::error::{Error, ErrorKind, Result};
use crate::segment::place::Object;
use crate::value::atomic::Value;
use crate::value::scalar::Scalar;
use crate::wait::eventcount::{EventCount, Look};
use crate::wait::select::Waitable;
use crate::wait::select::sealed::{Bed, Source};
use std::sync::atomic::Ordering;

/// A condition of a waitable [`Value`], for [`select`](crate::select): ready while it is true. Made by [`Value::when`].
pub struct When<T: Scalar, F> {
    cell: &'static T::Cell,
    waiters: &'static EventCount,
    condition: F,
    /// Keeps the value mapped.
    _object: Object,
}

impl<T: Scalar> Value<T> {
    /// What [`select`](crate::select) waits for until `condition` is true of the value. What the value is for a moment only, between
    /// two changes, may be missed.
    ///
    /// ```
    /// use mpshm::{Value, select};
    /// use std::time::Duration;
    /// let level = Value::<u32>::new_waitable(3)?;
    /// let high = level.when(|level| level > 5);
    /// assert!(select(&[&high?], Duration::ZERO)?.is_empty());
    /// # Ok::<(), mpshm::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` when the value was not made waitable.
    pub fn when<F: Fn(T) -> bool>(&self, condition: F) -> Result<When<T, F>> {
        let waiters = self.waiters.ok_or_else(not_waitable)?;
        Ok(When { cell: self.cell, waiters, condition, _object: self.object.clone() })
    }
}

pub(super) fn not_waitable() -> Error {
    Error::new(
        ErrorKind::Invalid,
        "the value is not waitable: nobody wakes who waits for its changes; make it with create_waitable",
    )
}

impl<T: Scalar, F: Fn(T) -> bool> Source for When<T, F> {
    fn bed(&self) -> Bed<'_> {
        Bed::Word(self.waiters)
    }

    fn is_ready(&self, _: u64, _: Look) -> bool {
        (self.condition)(T::load(self.cell, Ordering::Acquire))
    }
}

impl<T: Scalar, F: Fn(T) -> bool> Waitable for When<T, F> {}

impl<T: Scalar, F> std::fmt::Debug for When<T, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("When").finish_non_exhaustive()
    }
}
