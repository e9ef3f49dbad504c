//! Shared values and arrays: the hardware's own atomic operations on shared memory.

pub(crate) mod array;
pub(crate) mod atomic;
pub(crate) mod elements;
pub(crate) mod latest;
pub(crate) mod scalar;
pub(crate) mod when;

pub use array::{Array, LockedArray};
pub use atomic::{LockedValue, Value};
pub use elements::Elements;
pub use latest::{Content, Latest, LatestClaim, LatestOptions, LatestReader, LatestWrite, Newer};
pub use scalar::{Bits, Number, Scalar};
pub use when::When;
