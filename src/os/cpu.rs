//! How many processors this process may run on.

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
