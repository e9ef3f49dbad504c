//! The processor: how many there are for this process, and lines of its cache that are asked for ahead of their use.

/// The size of the affinity mask; 1 where the kernel does not tell.
pub(crate) fn cpus_allowed() -> usize {
    // SAFETY: an all-zero set is valid and a valid place for the answer.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
            return 1;
        }
        libc::CPU_COUNT(&set).max(1) as usize
    }
}

/// Bytes of a line of the cache.
pub(crate) const CACHE_LINE: u64 = 64;

/// The line of `place` will be read soon. Any address may be asked for.
#[inline(always)]
pub(crate) fn prefetch_to_read(place: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// The line of `place` will be written soon. Any address may be asked for.
#[inline(always)]
pub(crate) fn prefetch_to_write(place: *mut u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which never faults; processors that do not know it take it for one that does nothing.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) place, options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// A number that no other thread of this process has while this one lives: where its own data begin.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn thread() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        let place: u64;
        // SAFETY: reads the thread's own pointer to itself, which every x86-64 Linux thread has at the start of its segment.
        unsafe {
            std::arch::asm!(
                "mov {}, fs:0",
                out(reg) place,
                options(nostack, preserves_flags, readonly)
            );
        }
        place
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        thread_local!(static PLACE: u8 = const { 0 });
        PLACE.with(|place| std::ptr::from_ref(place) as u64)
    }
}
