//! The shapes of what lies in a segment: plain `#[repr(C)]`, no behaviour beyond checks.

pub(crate) mod header;
pub(crate) mod offset;
pub(crate) mod plain;
