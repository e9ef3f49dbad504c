//! Elements of an array: all of them, or a range.
//!
//! Each element is as atomic as a [`Value`](crate::Value); what concerns several is done one after the other.

use crate::error::{Error, ErrorKind, Result};
use crate::value::scalar::{Bits, Number, Scalar, update};
use std::ops::Range;
use std::sync::atomic::Ordering;

/// Elements of an [`Array`](crate::Array): all of them, which is what an array is used as, or a [range](Self::range), in
/// which indexes count from its beginning. Indexes are checked always; what reaches past the end is an error and changes
/// nothing.
///
/// ```
/// let array = mpshm::Array::<u16>::from_slice(&[1, 2, 3, 4])?;
/// let middle = array.range(1..3)?;
/// middle.fetch_add(0, 10)?;
/// middle.fill(1..2, 7)?;
/// assert_eq!(array.to_vec(), [1, 12, 7, 4]);
/// assert_eq!(middle.iter().sum::<u16>(), 19);
/// assert!(middle.load(2).is_err());
/// # Ok::<(), mpshm::Error>(())
/// ```
///
/// They lie in memory that the array keeps mapped, and cannot outlive it:
///
/// ```compile_fail,E0505
/// let array = mpshm::Array::<u16>::new(4)?;
/// let middle = array.range(1..3)?;
/// drop(array);
/// middle.load(0)?;
/// # Ok::<(), mpshm::Error>(())
/// ```
pub struct Elements<'a, T: Scalar> {
    cells: &'a [T::Cell],
}

impl<'a, T: Scalar> Elements<'a, T> {
    pub(crate) fn new(cells: &'a [T::Cell]) -> Self {
        Self { cells }
    }

    /// A view of some elements: what is done to it is done to them.
    ///
    /// # Errors
    /// `Invalid` when the range reaches past the end, or ends before it begins.
    pub fn range(&self, range: Range<usize>) -> Result<Elements<'_, T>> {
        let cells = self.cells.get(range.clone());
        cells.map(Elements::new).ok_or_else(|| self.outside(range.start, range.end))
    }

    /// Where the elements lie, one behind the other. They stay there as long as the array's handle.
    ///
    /// Others may change them at any time: what is read through the pointer without an atomic operation may be torn, and a
    /// `bool` there may hold any byte. Who has the [lock](crate::Array::lock), and knows that the others take it
    /// too, may copy whole slices with it.
    #[must_use]
    pub fn as_ptr(&self) -> *mut T {
        self.cells.as_ptr().cast_mut().cast()
    }

    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there is none: never so of a whole array.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    #[inline]
    fn cell(&self, index: usize) -> Result<&T::Cell> {
        self.cells.get(index).ok_or_else(|| self.outside(index, index.saturating_add(1)))
    }

    fn part(&self, start: usize, count: usize) -> Result<&[T::Cell]> {
        let end = start.saturating_add(count);
        self.cells.get(start..end).ok_or_else(|| self.outside(start, end))
    }

    /// Whether `count` elements from `start` on exist.
    pub(crate) fn check_range(&self, start: usize, count: usize) -> Result<()> {
        self.part(start, count).map(|_| ())
    }

    #[cold]
    fn outside(&self, start: usize, end: usize) -> Error {
        Error::new(
            ErrorKind::Invalid,
            format!("elements {start}..{end} of an array of {}", self.cells.len()),
        )
    }

    /// The element now.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    #[inline]
    pub fn load(&self, index: usize) -> Result<T> {
        self.load_with(index, Ordering::Acquire)
    }

    /// The same with another ordering than Acquire.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    ///
    /// # Panics
    /// For `Release` and `AcqRel`, as std's atomics.
    #[inline]
    pub fn load_with(&self, index: usize, order: Ordering) -> Result<T> {
        Ok(T::load(self.cell(index)?, order))
    }

    /// Replaces the element.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    #[inline]
    pub fn store(&self, index: usize, value: T) -> Result<()> {
        self.store_with(index, value, Ordering::Release)
    }

    /// The same with another ordering than Release.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    ///
    /// # Panics
    /// For `Acquire` and `AcqRel`, as std's atomics.
    #[inline]
    pub fn store_with(&self, index: usize, value: T, order: Ordering) -> Result<()> {
        T::store(self.cell(index)?, value, order);
        Ok(())
    }

    /// Replaces the element, and returns the one before.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    #[inline]
    pub fn swap(&self, index: usize, value: T) -> Result<T> {
        self.swap_with(index, value, Ordering::AcqRel)
    }

    /// The same with another ordering than AcqRel.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    #[inline]
    pub fn swap_with(&self, index: usize, value: T, order: Ordering) -> Result<T> {
        Ok(T::swap(self.cell(index)?, value, order))
    }

    /// Replaces the element if it is `current`; the inner result is as in std's atomics.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    #[inline]
    pub fn compare_exchange(
        &self,
        index: usize,
        current: T,
        new: T,
    ) -> Result<std::result::Result<T, T>> {
        self.compare_exchange_with(index, current, new, Ordering::AcqRel, Ordering::Acquire)
    }

    /// The same with other orderings of a success than AcqRel, and of a failure than Acquire.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    ///
    /// # Panics
    /// For a failure that is `Release` or `AcqRel`, as std's atomics.
    #[inline]
    pub fn compare_exchange_with(
        &self,
        index: usize,
        current: T,
        new: T,
        done: Ordering,
        failed: Ordering,
    ) -> Result<std::result::Result<T, T>> {
        Ok(T::compare_exchange(self.cell(index)?, current, new, done, failed))
    }

    /// Replaces the element by `change` of it; returns the one before. `change` may run several times.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    #[inline]
    pub fn update(&self, index: usize, change: impl FnMut(T) -> T) -> Result<T> {
        Ok(update::<T>(self.cell(index)?, Ordering::AcqRel, change))
    }

    /// Copies `elements` in, from element `start` on.
    ///
    /// # Errors
    /// `Invalid` when they reach past the end; nothing is copied then.
    pub fn copy_from_slice(&self, start: usize, elements: &[T]) -> Result<()> {
        for (cell, &element) in self.part(start, elements.len())?.iter().zip(elements) {
            T::store(cell, element, Ordering::Release);
        }
        Ok(())
    }

    /// Copies elements out, from element `start` on, as many as `elements` holds.
    ///
    /// # Errors
    /// `Invalid` when they reach past the end; nothing is copied then.
    pub fn copy_to_slice(&self, start: usize, elements: &mut [T]) -> Result<()> {
        let cells = self.part(start, elements.len())?;
        for (element, cell) in elements.iter_mut().zip(cells) {
            *element = T::load(cell, Ordering::Acquire);
        }
        Ok(())
    }

    /// A copy of all elements.
    #[must_use]
    pub fn to_vec(&self) -> Vec<T> {
        self.iter().collect()
    }

    /// Sets the elements of `range` to `value`.
    ///
    /// # Errors
    /// `Invalid` when it reaches past the end; nothing is set then.
    pub fn fill(&self, range: Range<usize>, value: T) -> Result<()> {
        for cell in self.part(range.start, range.len())? {
            T::store(cell, value, Ordering::Release);
        }
        Ok(())
    }

    /// The elements one after another, each as it is when its turn comes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> + '_ {
        self.cells.iter().map(|cell| T::load(cell, Ordering::Acquire))
    }
}

impl<T: Number> Elements<'_, T> {
    /// Adds to the element (integers wrap), and returns the element as it was before.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    #[inline]
    pub fn fetch_add(&self, index: usize, value: T) -> Result<T> {
        self.fetch_add_with(index, value, Ordering::AcqRel)
    }

    /// The same with another ordering than AcqRel.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    #[inline]
    pub fn fetch_add_with(&self, index: usize, value: T, order: Ordering) -> Result<T> {
        Ok(T::fetch_add(self.cell(index)?, value, order))
    }

    /// Subtracts from the element (integers wrap), and returns the element as it was before.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    #[inline]
    pub fn fetch_sub(&self, index: usize, value: T) -> Result<T> {
        self.fetch_sub_with(index, value, Ordering::AcqRel)
    }

    /// The same with another ordering than AcqRel.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    #[inline]
    pub fn fetch_sub_with(&self, index: usize, value: T, order: Ordering) -> Result<T> {
        Ok(T::fetch_sub(self.cell(index)?, value, order))
    }

    /// Keeps the smaller, and returns the element as it was before.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    #[inline]
    pub fn fetch_min(&self, index: usize, value: T) -> Result<T> {
        self.fetch_min_with(index, value, Ordering::AcqRel)
    }

    /// The same with another ordering than AcqRel.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    #[inline]
    pub fn fetch_min_with(&self, index: usize, value: T, order: Ordering) -> Result<T> {
        Ok(T::fetch_min(self.cell(index)?, value, order))
    }

    /// Keeps the greater, and returns the element as it was before.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    #[inline]
    pub fn fetch_max(&self, index: usize, value: T) -> Result<T> {
        self.fetch_max_with(index, value, Ordering::AcqRel)
    }

    /// The same with another ordering than AcqRel.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    #[inline]
    pub fn fetch_max_with(&self, index: usize, value: T, order: Ordering) -> Result<T> {
        Ok(T::fetch_max(self.cell(index)?, value, order))
    }
}

impl<T: Bits> Elements<'_, T> {
    /// Keeps the bits that are in both, and returns the element as it was before.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    #[inline]
    pub fn fetch_and(&self, index: usize, value: T) -> Result<T> {
        self.fetch_and_with(index, value, Ordering::AcqRel)
    }

    /// The same with another ordering than AcqRel.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    #[inline]
    pub fn fetch_and_with(&self, index: usize, value: T, order: Ordering) -> Result<T> {
        Ok(T::fetch_and(self.cell(index)?, value, order))
    }

    /// Keeps the bits that are not in both, and returns the element as it was before.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    #[inline]
    pub fn fetch_nand(&self, index: usize, value: T) -> Result<T> {
        self.fetch_nand_with(index, value, Ordering::AcqRel)
    }

    /// The same with another ordering than AcqRel.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    #[inline]
    pub fn fetch_nand_with(&self, index: usize, value: T, order: Ordering) -> Result<T> {
        Ok(T::fetch_nand(self.cell(index)?, value, order))
    }

    /// Keeps the bits that are in either, and returns the element as it was before.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    #[inline]
    pub fn fetch_or(&self, index: usize, value: T) -> Result<T> {
        self.fetch_or_with(index, value, Ordering::AcqRel)
    }

    /// The same with another ordering than AcqRel.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    #[inline]
    pub fn fetch_or_with(&self, index: usize, value: T, order: Ordering) -> Result<T> {
        Ok(T::fetch_or(self.cell(index)?, value, order))
    }

    /// Keeps the bits that are in one of the two, and returns the element as it was before.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    #[inline]
    pub fn fetch_xor(&self, index: usize, value: T) -> Result<T> {
        self.fetch_xor_with(index, value, Ordering::AcqRel)
    }

    /// The same with another ordering than AcqRel.
    ///
    /// # Errors
    /// `Invalid` when there is no such element.
    #[inline]
    pub fn fetch_xor_with(&self, index: usize, value: T, order: Ordering) -> Result<T> {
        Ok(T::fetch_xor(self.cell(index)?, value, order))
    }
}

impl<T: Scalar> std::fmt::Debug for Elements<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
