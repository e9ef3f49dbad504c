//! The scalars that processes can share, and the atomic operations on each.
//!
//! Integers map to one instruction. Floats add, subtract and compare by a CAS loop on their bits. A
//! `bool` is a byte, in which anything but 0 reads as true, so that no byte is invalid. 128 bits need a processor that can
//! exchange so many at once: that is asked for before there is a value of them.

use crate::error::{Error, ErrorKind, Result as Done};
use portable_atomic::{AtomicI128, AtomicU128};
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32,
    AtomicU64, AtomicUsize, Ordering,
};

mod sealed {
    pub trait Sealed {
        /// The atomic of the same size.
        type Cell: Sync;
    }
}
pub(crate) use sealed::Sealed;

/// A type of a [`Value`](crate::Value) or of an [`Array`](crate::Array)'s elements: integers of 8 to 128
/// bits, `bool`, `f32`, `f64`.
pub trait Scalar: Sealed + Copy + PartialEq + Send + Sync + std::fmt::Debug + 'static {
    /// Whether the processor changes so many bits in one step, so that others are never kept waiting. False only of
    /// `i128` and `u128` on old or small processors; values and arrays of those cannot be made there.
    ///
    /// ```
    /// use mpshm::Scalar;
    /// assert!(u64::is_lock_free() && f32::is_lock_free());
    /// ```
    #[must_use]
    fn is_lock_free() -> bool {
        true
    }
    #[doc(hidden)]
    fn load(cell: &Self::Cell, order: Ordering) -> Self;
    #[doc(hidden)]
    fn store(cell: &Self::Cell, value: Self, order: Ordering);
    #[doc(hidden)]
    fn swap(cell: &Self::Cell, value: Self, order: Ordering) -> Self;
    #[doc(hidden)]
    fn compare_exchange(
        cell: &Self::Cell,
        current: Self,
        new: Self,
        done: Ordering,
        failed: Ordering,
    ) -> Result<Self, Self>;
}

/// Refuses what the processor cannot do in one step.
pub(crate) fn check_lock_free<T: Scalar>() -> Done<()> {
    if T::is_lock_free() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::System,
        format!(
            "this processor has no atomic operations on the {} bytes of a {}",
            size_of::<T>(),
            std::any::type_name::<T>()
        ),
    ))
}

/// Scalars that can be added and ordered: all but `bool`.
pub trait Number: Scalar + PartialOrd {
    #[doc(hidden)]
    fn fetch_add(cell: &Self::Cell, value: Self, order: Ordering) -> Self;
    #[doc(hidden)]
    fn fetch_sub(cell: &Self::Cell, value: Self, order: Ordering) -> Self;
    #[doc(hidden)]
    fn fetch_min(cell: &Self::Cell, value: Self, order: Ordering) -> Self;
    #[doc(hidden)]
    fn fetch_max(cell: &Self::Cell, value: Self, order: Ordering) -> Self;
}

/// Scalars whose bits can be combined: integers and `bool`.
pub trait Bits: Scalar {
    #[doc(hidden)]
    fn fetch_and(cell: &Self::Cell, value: Self, order: Ordering) -> Self;
    #[doc(hidden)]
    fn fetch_nand(cell: &Self::Cell, value: Self, order: Ordering) -> Self;
    #[doc(hidden)]
    fn fetch_or(cell: &Self::Cell, value: Self, order: Ordering) -> Self;
    #[doc(hidden)]
    fn fetch_xor(cell: &Self::Cell, value: Self, order: Ordering) -> Self;
}

/// The ordering of a failed exchange, and of the look before it, where the one of a success is `order`: as std has it in its loops.
#[inline]
fn of_a_failure(order: Ordering) -> Ordering {
    match order {
        Ordering::AcqRel => Ordering::Acquire,
        Ordering::Release => Ordering::Relaxed,
        other => other,
    }
}

macro_rules! methods {
    ($cell:ty: $($name:ident),*) => {$(
        #[inline]
        fn $name(cell: &$cell, value: Self, order: Ordering) -> Self {
            cell.$name(value, order)
        }
    )*};
}

macro_rules! integers {
    ($($integer:ty: $cell:ty $(, $wide:ident)?;)*) => {$(
        impl Sealed for $integer {
            type Cell = $cell;
        }
        impl Scalar for $integer {
            $(
                fn is_lock_free() -> bool {
                    <$cell>::$wide()
                }
            )?
            #[inline]
            fn load(cell: &$cell, order: Ordering) -> Self {
                cell.load(order)
            }
            #[inline]
            fn store(cell: &$cell, value: Self, order: Ordering) {
                cell.store(value, order);
            }
            methods!($cell: swap);
            #[inline]
            fn compare_exchange(
                cell: &$cell,
                current: Self,
                new: Self,
                done: Ordering,
                failed: Ordering,
            ) -> Result<Self, Self> {
                cell.compare_exchange(current, new, done, failed)
            }
        }
        impl Number for $integer {
            methods!($cell: fetch_add, fetch_sub, fetch_min, fetch_max);
        }
        impl Bits for $integer {
            methods!($cell: fetch_and, fetch_nand, fetch_or, fetch_xor);
        }
    )*};
}

integers!(
    i8: AtomicI8;
    u8: AtomicU8;
    i16: AtomicI16;
    u16: AtomicU16;
    i32: AtomicI32;
    u32: AtomicU32;
    i64: AtomicI64;
    u64: AtomicU64;
    isize: AtomicIsize;
    usize: AtomicUsize;
    i128: AtomicI128, is_lock_free;
    u128: AtomicU128, is_lock_free;
);

macro_rules! floats {
    ($($float:ty: $cell:ty),*) => {$(
        impl Sealed for $float {
            type Cell = $cell;
        }
        impl Scalar for $float {
            #[inline]
            fn load(cell: &$cell, order: Ordering) -> Self {
                Self::from_bits(cell.load(order))
            }
            #[inline]
            fn store(cell: &$cell, value: Self, order: Ordering) {
                cell.store(value.to_bits(), order);
            }
            #[inline]
            fn swap(cell: &$cell, value: Self, order: Ordering) -> Self {
                Self::from_bits(cell.swap(value.to_bits(), order))
            }
            #[inline]
            fn compare_exchange(
                cell: &$cell,
                current: Self,
                new: Self,
                done: Ordering,
                failed: Ordering,
            ) -> Result<Self, Self> {
                cell.compare_exchange(current.to_bits(), new.to_bits(), done, failed)
                    .map(Self::from_bits)
                    .map_err(Self::from_bits)
            }
        }
        impl Number for $float {
            #[inline]
            fn fetch_add(cell: &$cell, value: Self, order: Ordering) -> Self {
                update::<Self>(cell, order, |old| old + value)
            }
            #[inline]
            fn fetch_sub(cell: &$cell, value: Self, order: Ordering) -> Self {
                update::<Self>(cell, order, |old| old - value)
            }
            #[inline]
            fn fetch_min(cell: &$cell, value: Self, order: Ordering) -> Self {
                update::<Self>(cell, order, |old| old.min(value))
            }
            #[inline]
            fn fetch_max(cell: &$cell, value: Self, order: Ordering) -> Self {
                update::<Self>(cell, order, |old| old.max(value))
            }
        }
    )*};
}

floats!(f32: AtomicU32, f64: AtomicU64);

impl Sealed for bool {
    type Cell = AtomicU8;
}

impl Scalar for bool {
    #[inline]
    fn load(cell: &AtomicU8, order: Ordering) -> Self {
        cell.load(order) != 0
    }
    #[inline]
    fn store(cell: &AtomicU8, value: Self, order: Ordering) {
        cell.store(value.into(), order);
    }
    #[inline]
    fn swap(cell: &AtomicU8, value: Self, order: Ordering) -> Self {
        cell.swap(value.into(), order) != 0
    }
    #[inline]
    fn compare_exchange(
        cell: &AtomicU8,
        current: Self,
        new: Self,
        done: Ordering,
        failed: Ordering,
    ) -> Result<Self, Self> {
        change_bool(cell, done, failed, |found| (found == current).then_some(new))
    }
}

/// Changes the byte as a bool, whatever byte stands for true in it; `Err` when `change` declines.
#[inline]
fn change_bool(
    cell: &AtomicU8,
    done: Ordering,
    failed: Ordering,
    change: impl Fn(bool) -> Option<bool>,
) -> Result<bool, bool> {
    let changed = cell.fetch_update(done, failed, |raw| change(raw != 0).map(u8::from));
    changed.map(|raw| raw != 0).map_err(|raw| raw != 0)
}

macro_rules! bits_of_bool {
    ($($name:ident: $change:expr;)*) => {$(
        #[inline]
        fn $name(cell: &AtomicU8, value: Self, order: Ordering) -> Self {
            let change: fn(bool, bool) -> bool = $change;
            change_bool(cell, order, of_a_failure(order), |old| Some(change(old, value)))
                .unwrap_or_else(|old| old)
        }
    )*};
}

impl Bits for bool {
    bits_of_bool! {
        fetch_and: |old, value| old & value;
        fetch_nand: |old, value| !(old & value);
        fetch_or: |old, value| old | value;
        fetch_xor: |old, value| old ^ value;
    }
}

/// Replaces the value by `change` of it, however often it takes; returns the one before.
#[inline]
pub(crate) fn update<T: Scalar>(
    cell: &T::Cell,
    order: Ordering,
    mut change: impl FnMut(T) -> T,
) -> T {
    let failed = of_a_failure(order);
    let mut seen = T::load(cell, failed);
    loop {
        match T::compare_exchange(cell, seen, change(seen), order, failed) {
            Ok(old) => return old,
            Err(now) => seen = now,
        }
    }
}
