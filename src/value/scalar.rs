//! The scalars that processes can share, and the atomic operations on each.
//!
//! Integers map to one instruction. Floats add, subtract and compare by a CAS loop on their bits. A
//! `bool` is a byte, in which anything but 0 reads as true, so that no byte is invalid.

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

/// A type of a [`Value`](crate::Value) or of an [`Array`](crate::Array)'s elements: integers of 8 to 64
/// bits, `bool`, `f32`, `f64`.
pub trait Scalar: Sealed + Copy + PartialEq + Send + Sync + std::fmt::Debug + 'static {
    #[doc(hidden)]
    fn load(cell: &Self::Cell, order: Ordering) -> Self;
    #[doc(hidden)]
    fn store(cell: &Self::Cell, value: Self, order: Ordering);
    #[doc(hidden)]
    fn swap(cell: &Self::Cell, value: Self) -> Self;
    #[doc(hidden)]
    fn compare_exchange(cell: &Self::Cell, current: Self, new: Self) -> Result<Self, Self>;
}

/// Scalars that can be added and ordered: all but `bool`.
pub trait Number: Scalar + PartialOrd {
    #[doc(hidden)]
    fn fetch_add(cell: &Self::Cell, value: Self) -> Self;
    #[doc(hidden)]
    fn fetch_sub(cell: &Self::Cell, value: Self) -> Self;
    #[doc(hidden)]
    fn fetch_min(cell: &Self::Cell, value: Self) -> Self;
    #[doc(hidden)]
    fn fetch_max(cell: &Self::Cell, value: Self) -> Self;
}

/// Scalars whose bits can be combined: integers and `bool`.
pub trait Bits: Scalar {
    #[doc(hidden)]
    fn fetch_and(cell: &Self::Cell, value: Self) -> Self;
    #[doc(hidden)]
    fn fetch_or(cell: &Self::Cell, value: Self) -> Self;
    #[doc(hidden)]
    fn fetch_xor(cell: &Self::Cell, value: Self) -> Self;
}

macro_rules! integers {
    ($($integer:ty: $cell:ty),*) => {$(
        impl Sealed for $integer {
            type Cell = $cell;
        }
        impl Scalar for $integer {
            #[inline]
            fn load(cell: &$cell, order: Ordering) -> Self {
                cell.load(order)
            }
            #[inline]
            fn store(cell: &$cell, value: Self, order: Ordering) {
                cell.store(value, order);
            }
            #[inline]
            fn swap(cell: &$cell, value: Self) -> Self {
                cell.swap(value, Ordering::AcqRel)
            }
            #[inline]
            fn compare_exchange(cell: &$cell, current: Self, new: Self) -> Result<Self, Self> {
                cell.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire)
            }
        }
        impl Number for $integer {
            #[inline]
            fn fetch_add(cell: &$cell, value: Self) -> Self {
                cell.fetch_add(value, Ordering::AcqRel)
            }
            #[inline]
            fn fetch_sub(cell: &$cell, value: Self) -> Self {
                cell.fetch_sub(value, Ordering::AcqRel)
            }
            #[inline]
            fn fetch_min(cell: &$cell, value: Self) -> Self {
                cell.fetch_min(value, Ordering::AcqRel)
            }
            #[inline]
            fn fetch_max(cell: &$cell, value: Self) -> Self {
                cell.fetch_max(value, Ordering::AcqRel)
            }
        }
        impl Bits for $integer {
            #[inline]
            fn fetch_and(cell: &$cell, value: Self) -> Self {
                cell.fetch_and(value, Ordering::AcqRel)
            }
            #[inline]
            fn fetch_or(cell: &$cell, value: Self) -> Self {
                cell.fetch_or(value, Ordering::AcqRel)
            }
            #[inline]
            fn fetch_xor(cell: &$cell, value: Self) -> Self {
                cell.fetch_xor(value, Ordering::AcqRel)
            }
        }
    )*};
}

integers!(
    i8: AtomicI8, u8: AtomicU8, i16: AtomicI16, u16: AtomicU16, i32: AtomicI32, u32: AtomicU32,
    i64: AtomicI64, u64: AtomicU64, isize: AtomicIsize, usize: AtomicUsize
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
            fn swap(cell: &$cell, value: Self) -> Self {
                Self::from_bits(cell.swap(value.to_bits(), Ordering::AcqRel))
            }
            #[inline]
            fn compare_exchange(cell: &$cell, current: Self, new: Self) -> Result<Self, Self> {
                cell.compare_exchange(
                    current.to_bits(),
                    new.to_bits(),
                    Ordering::AcqRel,
                    Ordering::Acquire,
                )
                .map(Self::from_bits)
                .map_err(Self::from_bits)
            }
        }
        impl Number for $float {
            #[inline]
            fn fetch_add(cell: &$cell, value: Self) -> Self {
                update::<Self>(cell, |old| old + value)
            }
            #[inline]
            fn fetch_sub(cell: &$cell, value: Self) -> Self {
                update::<Self>(cell, |old| old - value)
            }
            #[inline]
            fn fetch_min(cell: &$cell, value: Self) -> Self {
                update::<Self>(cell, |old| old.min(value))
            }
            #[inline]
            fn fetch_max(cell: &$cell, value: Self) -> Self {
                update::<Self>(cell, |old| old.max(value))
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
    fn swap(cell: &AtomicU8, value: Self) -> Self {
        cell.swap(value.into(), Ordering::AcqRel) != 0
    }
    #[inline]
    fn compare_exchange(cell: &AtomicU8, current: Self, new: Self) -> Result<Self, Self> {
        change_bool(cell, |found| (found == current).then_some(new))
    }
}

/// Changes the byte as a bool, whatever byte stands for true in it; `Err` when `change` declines.
#[inline]
fn change_bool(cell: &AtomicU8, change: impl Fn(bool) -> Option<bool>) -> Result<bool, bool> {
    let changed = cell
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |raw| change(raw != 0).map(u8::from));
    changed.map(|raw| raw != 0).map_err(|raw| raw != 0)
}

impl Bits for bool {
    #[inline]
    fn fetch_and(cell: &AtomicU8, value: Self) -> Self {
        change_bool(cell, |old| Some(old & value)).unwrap_or_else(|old| old)
    }
    #[inline]
    fn fetch_or(cell: &AtomicU8, value: Self) -> Self {
        change_bool(cell, |old| Some(old | value)).unwrap_or_else(|old| old)
    }
    #[inline]
    fn fetch_xor(cell: &AtomicU8, value: Self) -> Self {
        change_bool(cell, |old| Some(old ^ value)).unwrap_or_else(|old| old)
    }
}

/// Replaces the value by `change` of it, however often it takes; returns the one before.
#[inline]
pub(crate) fn update<T: Scalar>(cell: &T::Cell, mut change: impl FnMut(T) -> T) -> T {
    let mut seen = T::load(cell, Ordering::Acquire);
    loop {
        match T::compare_exchange(cell, seen, change(seen)) {
            Ok(old) => return old,
            Err(now) => seen = now,
        }
    }
}
