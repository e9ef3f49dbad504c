//! DPDK's ring, with many producers and many consumers, between processes.

use crate::Result;
use crate::peers::native::Ring;

/// Its name in the report.
pub const NAME: &str = "DPDK rte_ring MP/MC";

/// What makes rings of as many numbers as every channel of its kind holds, or why nothing does.
pub fn ring() -> std::result::Result<fn() -> Result<Ring>, String> {
    #[cfg(dpdk)]
    return Ok(built::ring);
    #[cfg(not(dpdk))]
    Err("rte_ring.h was not found when this was built; Debian: libdpdk-dev".into())
}

#[cfg(dpdk)]
mod built {
    use crate::Result;
    use crate::channel::{WORD, capacity};
    use crate::peers::native::{Functions, Ring};
    use crate::shared::Memory;

    unsafe extern "C" {
        fn compare_dpdk_size(slots: u32) -> usize;
        fn compare_dpdk_make(at: *mut u8, slots: u32);
        fn compare_dpdk_try_push(ring: *mut u8, number: u64) -> bool;
        fn compare_dpdk_try_pop(ring: *mut u8, number: *mut u64) -> bool;
        fn compare_dpdk_push_all(ring: *mut u8, number: u64, end: u64);
        fn compare_dpdk_pop_all(ring: *mut u8, count: u64) -> u64;
    }

    const FUNCTIONS: Functions = Functions {
        try_push: compare_dpdk_try_push,
        try_pop: compare_dpdk_try_pop,
        push_all: compare_dpdk_push_all,
        pop_all: compare_dpdk_pop_all,
    };

    pub fn ring() -> Result<Ring> {
        let slots = capacity(WORD) as u32;
        // SAFETY: a plain number.
        let memory = Memory::new(unsafe { compare_dpdk_size(slots) })?;
        // SAFETY: the memory is zeroed, aligned and of the size that was asked for.
        unsafe { compare_dpdk_make(memory.start(), slots) };
        // SAFETY: made just now.
        Ok(unsafe { Ring::over(memory, FUNCTIONS) })
    }
}
