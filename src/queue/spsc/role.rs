//! The two roles of a ring: one writes, one reads.
//!
//! # Overview
//! A role is a word that names the participant who has it. It is taken at a handle's first use in a process, by a CAS
//! from nobody, or from a holder that is proven dead; it is left when the handle is dropped.
//!
//! # Layout
//! The holder's generation, 48 bits, and its slot, 10 bits; 0 = nobody.
//!
//! # Invariants
//! - I1. A word names one process for ever: generations are not used again.
//! - I2. Only its holder changes a word that names somebody alive.
//!
//! # Crash states
//! A holder's death leaves its name, which is the proof that it died; the next one takes over from it.
//!
//! # Progress
//! Lock-free: taking fails only because somebody else took it.
//!
//! # Source
//! Ours.

use crate::atomic::{AtomicU64, Ordering};
use crate::error::{Error, ErrorKind, Result};
use crate::segment::participant::{Me, Table};

const SLOT_BITS: u32 = 10;

fn pack(me: Me) -> u64 {
    me.generation << SLOT_BITS | u64::from(me.slot)
}

/// Slot and generation of a holder.
fn unpack(word: u64) -> (u32, u64) {
    ((word & ((1 << SLOT_BITS) - 1)) as u32, word >> SLOT_BITS)
}

/// Takes the role for a handle of this process; says whether from the dead.
pub(crate) fn take(word: &AtomicU64, me: Me, table: &Table<'_>, what: &str) -> Result<bool> {
    loop {
        let seen = word.load(Ordering::Acquire);
        if seen == pack(me) {
            return Err(Error::new(
                ErrorKind::Busy,
                format!("another handle of this process is the ring's {what}: a ring has one"),
            ));
        }
        if seen != 0 && !is_dead(seen, table) {
            let (slot, _) = unpack(seen);
            let pid = table.pid(slot);
            return Err(Error::new(
                ErrorKind::Busy,
                format!("process {pid} is the ring's {what}, and lives: a ring has one"),
            ));
        }
        // Acquire: what its last holder did before it left, or died.
        if word.compare_exchange(seen, pack(me), Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            return Ok(seen != 0);
        }
    }
}

/// Leaves the role.
pub(crate) fn leave(word: &AtomicU64, me: Me) {
    // Release: pairs with `take`.
    let _ = word.compare_exchange(pack(me), 0, Ordering::Release, Ordering::Relaxed);
}

/// Whether the holder that a word names is proven dead.
pub(crate) fn is_dead(word: u64, table: &Table<'_>) -> bool {
    let (slot, generation) = unpack(word);
    table.is_over(slot, generation)
}
