//! What is compared: mpshm's own channels, the peers', and the bare means that nobody can beat.

pub mod array_queue;
pub mod boost;
pub mod cloudtoid;
pub mod dpdk;
pub mod iceoryx;
pub mod limit;
#[cfg_attr(not(any(boost, dpdk)), allow(dead_code))]
mod native;
pub mod queue;
pub mod ring;
pub mod rtrb;

use std::sync::atomic::{AtomicU32, Ordering};

/// A name that nothing else on this machine has.
pub fn unique() -> String {
    static MADE: AtomicU32 = AtomicU32::new(0);
    format!("mpshm-compare-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed))
}
