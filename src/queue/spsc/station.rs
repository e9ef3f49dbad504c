//! What both ends of a ring have in common: for which process they hold a role, when they last looked for the death of
//! the other end, how they wait.

use crate::atomic::{AtomicU64, Ordering};
use crate::error::Result;
use crate::os::clock::{self, Deadline};
use crate::os::fork::{self, NO_PROCESS};
use crate::queue::core::{LOOK_EVERY, tally};
use crate::queue::spsc::core::{Core, Done};
use crate::queue::spsc::role;
use crate::queue::spsc::shape::Header;
use crate::segment::participant::Me;
use crate::wait::eventcount::{EventCount, Look, Spin, wait_quietly_for};

/// What both ends keep beside their cursor.
pub(super) struct Station {
    /// This process's generation, and the one that the cursor belongs to.
    now: &'static std::sync::atomic::AtomicU32,
    pub process: u32,
    pub me: Me,
    /// When it was last asked whether the other end has died, and the holder that has.
    looked: u64,
    dead: u64,
    pub spin: Spin,
}

impl Station {
    pub(super) fn new() -> Self {
        let me = Me { slot: 0, generation: 0 };
        let now = fork::word();
        Self { now, process: NO_PROCESS, me, looked: 0, dead: 0, spin: Spin::default() }
    }

    /// Whether the ring ends with the holder of the other role, and that is proven dead: looked for at most every few
    /// milliseconds unless `now`.
    #[cold]
    pub(super) fn other_died(&mut self, core: &Core, role: &AtomicU64, now: bool) -> Result<bool> {
        let holder = role.load(Ordering::Acquire);
        if !core.shape.plan.follows || holder == 0 {
            return Ok(false);
        }
        if holder == self.dead {
            return Ok(true);
        }
        let time = clock::now_coarse();
        if !now && time.wrapping_sub(self.looked) < LOOK_EVERY {
            return Ok(false);
        }
        self.looked = time;
        let died = role::is_dead(holder, &core.object.segment.table()?);
        self.dead = if died { holder } else { 0 };
        Ok(died)
    }

    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        self.now.load(Ordering::Relaxed) == self.process
    }
}

/// Waits on one of the ring's events.
pub(super) fn wait<T>(
    event: &EventCount,
    spin: &Spin,
    deadline: Deadline,
    header: &Header,
    mut attempt: impl FnMut(Look) -> Option<Done<T>>,
) -> Done<T> {
    wait_quietly_for(event, deadline, spin, |look| {
        if look == Look::DeathsIfDue {
            tally(&header.tallies.waits, 1);
        }
        attempt(look)
    })?
}
