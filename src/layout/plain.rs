//! Types that may lie in shared memory, and how a segment remembers which one it holds.
//!
//! The bound is [`bytemuck::Pod`]: plain bytes without padding, every bit pattern valid, no
//! pointers with a meaning. Any bytes a peer writes are then a value, if perhaps a wrong one.

use std::any::TypeId;

pub use bytemuck::{Pod, Zeroable};

/// The strictest alignment of an item, in bytes.
pub(crate) const ALIGN_MAX: usize = 128;

/// What an object's items are: size, alignment, and a tag where size alone would not tell.
///
/// Scalars have fixed tags, the same in every language: 1 to 10 for `i8 u8 i16 u16 i32 u32 i64
/// u64 f32 f64`, 11 for `bool`, 12 for a single byte of text, 13 and 14 for `i128` and `u128`. `isize` and `usize` are the integers
/// of their size. Other types have tag 0, or one that the user chooses (from 256 on).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeTag {
    /// Bytes of an item.
    pub size: u32,
    /// Alignment of an item in bytes.
    pub align: u32,
    /// 0 = any plain type of this size.
    pub tag: u64,
}

impl TypeTag {
    /// The tag of `T`.
    ///
    /// ```
    /// use mpshm::TypeTag;
    /// assert_ne!(TypeTag::of::<u32>(), TypeTag::of::<f32>());
    /// assert_eq!(TypeTag::of::<usize>(), TypeTag::of::<u64>());
    /// ```
    #[must_use]
    pub fn of<T: 'static>() -> Self {
        let scalars = [
            (TypeId::of::<i8>(), 1),
            (TypeId::of::<u8>(), 2),
            (TypeId::of::<i16>(), 3),
            (TypeId::of::<u16>(), 4),
            (TypeId::of::<i32>(), 5),
            (TypeId::of::<u32>(), 6),
            (TypeId::of::<i64>(), 7),
            (TypeId::of::<u64>(), 8),
            (TypeId::of::<f32>(), 9),
            (TypeId::of::<f64>(), 10),
            (TypeId::of::<bool>(), 11),
            (TypeId::of::<i128>(), 13),
            (TypeId::of::<u128>(), 14),
            (TypeId::of::<isize>(), if size_of::<isize>() == 8 { 7 } else { 5 }),
            (TypeId::of::<usize>(), if size_of::<usize>() == 8 { 8 } else { 6 }),
        ];
        let tag =
            scalars.iter().find(|(id, _)| *id == TypeId::of::<T>()).map_or(0, |scalar| scalar.1);
        Self { size: size_of::<T>() as u32, align: align_of::<T>() as u32, tag }
    }

    /// Items of `size` bytes and `align`, without a meaning that the library knows.
    #[must_use]
    pub const fn bytes(size: u32, align: u32) -> Self {
        Self { size, align, tag: 0 }
    }

    /// The same with a tag of the user's own, so that two types of one size are told apart.
    #[must_use]
    pub const fn with_tag(self, tag: u64) -> Self {
        Self { tag, ..self }
    }
}

impl std::fmt::Display for TypeTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const NAMES: [&str; 15] = [
            "plain", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "f32", "f64", "bool",
            "text", "i128", "u128",
        ];
        match NAMES.get(self.tag as usize) {
            Some(name) => write!(f, "{name}")?,
            None => write!(f, "tag {}", self.tag)?,
        }
        write!(f, " of {} bytes aligned to {}", self.size, self.align)
    }
}
