//! Who takes part in a segment, and proof that somebody no longer does.
//!
//! # Overview
//! A process that takes ownership of anything (a lock, a block, a name half-way made) first takes
//! a slot of the participant table. It does so at the first such call, not at attach, so that
//! who only reads values needs no slot; a forked child notices at its first call that it is another
//! process and takes a slot of its own.
//!
//! The slot's byte lock is what makes it exclusive: an open-file-description lock on byte *slot*
//! of the segment's file, on a descriptor that is opened afresh (through `/proc/self/fd`, for an
//! inherited one shares its description with the parent), used for nothing else, and never mapped.
//! The kernel drops it when the process ends, however it ends.
//!
//! # Layout
//! | field | written by | read by |
//! |---|---|---|
//! | `state` = generation << 8, phase | who holds the byte lock | everybody |
//! | `pid`, `start`, `namespaces`, `boot` | the owner, while joining | who doubts that it lives |
//!
//! # Invariants
//! - I1. Only the holder of the byte lock changes `state`; it does so with a CAS from what it saw.
//! - I2. The generation grows by one with every join and never otherwise: (slot, generation) names one
//!   process for ever. 48 bits: at a join every 20 µs, 178 years.
//! - I3. The identity fields belong to `state`'s generation whenever the phase is ACTIVE.
//!
//! # Ordering edges
//! - E1. `state` ACTIVE is stored with Release after the identity, and loaded with Acquire before it.
//! - E2. A fence stands between JOINING and the identity's stores, and another between the identity's
//!   loads and the second look at `state`: who finds it unchanged has read one generation's identity.
//!
//! # Crash states
//! | killed | leaves | who repairs |
//! |---|---|---|
//! | before the CAS to JOINING | nothing: the kernel frees the lock | – |
//! | JOINING or ACTIVE | a slot whose byte lock is free: dead | the next one to join takes it over |
//!
//! What the dead one owned is found through the objects: each object notes which generation of a
//! slot may have left marks in it, and repairs those before it lets the next generation in.
//! So a slot can be taken again at once, and joining never has to wait for anybody's repair.
//!
//! # Progress
//! Joining is lock-free: a slot that somebody else is just taking is passed over.
//!
//! # Source
//! Ours; byte locks as proof of life are LMDB's and SQLite's idea, on OFD locks instead of POSIX's.

use crate::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::offset::Shared;
use crate::os::liveness::{self, Identity};
use crate::os::memory::FileId;
use crate::os::{fork, memory};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU32 as PrivateU32, AtomicU64 as PrivateU64};

const FREE: u64 = 0;
const JOINING: u64 = 1;
const ACTIVE: u64 = 2;

fn phase(state: u64) -> u64 {
    state & 0xff
}

fn generation(state: u64) -> u64 {
    state >> 8
}

fn state(generation: u64, phase: u64) -> u64 {
    generation << 8 | phase
}

/// A participant's slot in the segment.
#[repr(C, align(128))]
pub(crate) struct Slot {
    /// Generation and phase (see the module's layout table).
    state: AtomicU64,
    start: AtomicU64,
    namespaces: AtomicU64,
    boot: AtomicU64,
    pid: AtomicU32,
}
// SAFETY: atomics only; the rest of the line is never read.
unsafe impl Shared for Slot {}

/// One process's incarnation as a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Me {
    pub slot: u32,
    /// Never 0.
    pub generation: u64,
}

/// The table of a segment, borrowed, with the segment's own descriptor to ask about locks.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    pub slots: &'a [Slot],
    pub fd: BorrowedFd<'a>,
    /// The segment's file, as it was at attach. A program that closes all descriptors may have reused the
    /// number for another file, whose locks say nothing.
    pub file: Option<FileId>,
}

/// What the table says of an incarnation.
enum Known {
    Over,
    Joining,
    Active(Identity),
}

impl Table<'_> {
    /// Whether it is proven that this incarnation is over: it left, or its process is dead.
    ///
    /// Costs a system call while the participant lives, and about ten more (20 µs) for the proof by
    /// identity when its lock is still held.
    pub(crate) fn is_over(&self, slot: u32, of: u64) -> bool {
        self.has_let_go(slot, of) || self.is_gone(slot, of)
    }

    /// The cheap half of [`is_over`](Self::is_over): it left, or its byte lock is free. One system
    /// call; misses a dead one whose lock lives on in a forked child that never called.
    pub(crate) fn has_let_go(&self, slot: u32, of: u64) -> bool {
        let Some(entry) = self.slots.get(slot as usize) else { return true };
        let seen = entry.state.load(Ordering::Acquire); // E1
        generation(seen) != of
            || phase(seen) == FREE
            || !liveness::byte_is_held(self.fd, slot.into()) && FileId::of(self.fd) == self.file
    }

    /// The other half: the process that joined does not exist any more.
    fn is_gone(&self, slot: u32, of: u64) -> bool {
        match self.identity(slot, of) {
            Known::Over => true,
            Known::Joining => false,
            Known::Active(identity) => identity.is_gone(),
        }
    }

    fn identity(&self, slot: u32, of: u64) -> Known {
        let Some(entry) = self.slots.get(slot as usize) else { return Known::Over };
        let seen = entry.state.load(Ordering::Acquire); // E1
        if generation(seen) != of {
            return Known::Over;
        }
        if phase(seen) != ACTIVE {
            return Known::Joining;
        }
        let identity = Identity {
            pid: entry.pid.load(Ordering::Relaxed),
            start: entry.start.load(Ordering::Relaxed),
            namespaces: entry.namespaces.load(Ordering::Relaxed),
            boot: entry.boot.load(Ordering::Relaxed),
        };
        fence(Ordering::Acquire); // E2: pairs with the fence in join
        let over = entry.state.load(Ordering::Relaxed) != seen;
        if over { Known::Over } else { Known::Active(identity) }
    }

    /// A descriptor that is readable when the process of this incarnation has ended; none where that cannot be told so.
    pub(crate) fn open(&self, slot: u32, of: u64) -> Option<OwnedFd> {
        match self.identity(slot, of) {
            Known::Active(identity) => identity.open(),
            Known::Over | Known::Joining => None,
        }
    }

    /// The incarnation that holds `slot` now, dead or alive; `None` when it is free.
    pub(crate) fn holder(&self, slot: u32) -> Option<u64> {
        let seen = self.slots.get(slot as usize)?.state.load(Ordering::Acquire);
        (phase(seen) != FREE).then(|| generation(seen))
    }

    /// The process id that a slot's holder had in its own namespace; 0 = it is still joining, or nobody is there.
    pub(crate) fn pid(&self, slot: u32) -> u32 {
        self.slots.get(slot as usize).map_or(0, |entry| entry.pid.load(Ordering::Relaxed))
    }

    /// Process ids of the participants that are not proven dead (0 = still joining).
    pub(crate) fn living(&self) -> Vec<(Me, u32)> {
        (0..self.slots.len() as u32)
            .filter_map(|slot| {
                let generation = self.holder(slot)?;
                let pid = self.slots[slot as usize].pid.load(Ordering::Relaxed);
                (!self.is_over(slot, generation)).then_some((Me { slot, generation }, pid))
            })
            .collect()
    }

    /// Takes a slot for this process: a free one, else one of a dead participant.
    fn join(&self, lock: BorrowedFd<'_>) -> Result<Me> {
        let identity = Identity::own();
        for of_the_dead in [false, true] {
            for (slot, entry) in (0u32..).zip(self.slots) {
                let seen = entry.state.load(Ordering::Acquire);
                let free = phase(seen) == FREE;
                if free == of_the_dead || !free && !self.is_over(slot, generation(seen)) {
                    continue;
                }
                if !liveness::lock_byte(lock, slot.into()) {
                    continue;
                }
                let mine = (generation(seen) + 1) & (u64::MAX >> 16);
                let mine = mine.max(1);
                let joining = state(mine, JOINING);
                // I1: the byte lock is ours; the CAS fails only if another held it meanwhile.
                if entry
                    .state
                    .compare_exchange(seen, joining, Ordering::AcqRel, Ordering::Relaxed)
                    .is_err()
                {
                    liveness::unlock_byte(lock, slot.into());
                    continue;
                }
                fence(Ordering::Release); // E2: whoever sees what follows sees JOINING, or later
                entry.pid.store(identity.pid, Ordering::Relaxed);
                entry.start.store(identity.start, Ordering::Relaxed);
                entry.namespaces.store(identity.namespaces, Ordering::Relaxed);
                entry.boot.store(identity.boot, Ordering::Relaxed);
                entry.state.store(state(mine, ACTIVE), Ordering::Release); // E1: pairs with is_over
                return Ok(Me { slot, generation: mine });
            }
        }
        Err(Error::new(
            ErrorKind::Limit,
            format!(
                "all {} participant slots of the segment are held by living processes",
                self.slots.len()
            ),
        ))
    }

    fn leave(&self, me: Me) {
        if let Some(entry) = self.slots.get(me.slot as usize) {
            let _ = entry.state.compare_exchange(
                state(me.generation, ACTIVE),
                state(me.generation, FREE),
                Ordering::Release,
                Ordering::Relaxed,
            );
        }
    }
}

/// This process's part in a segment: private memory, valid for one process generation.
#[derive(Debug)]
pub(crate) struct Membership {
    /// The process generation that joined, or `NO_PROCESS`.
    joined: PrivateU32,
    /// The process generation that is joining right now; what a parent left here means nothing.
    joining: PrivateU32,
    slot: PrivateU32,
    generation: PrivateU64,
    /// The descriptor that holds the byte lock, or −1.
    lock: AtomicI32,
}

impl Membership {
    pub(crate) fn new() -> Self {
        Self {
            joined: PrivateU32::new(fork::NO_PROCESS),
            joining: PrivateU32::new(0),
            slot: PrivateU32::new(0),
            generation: PrivateU64::new(0),
            lock: AtomicI32::new(-1),
        }
    }

    /// This process as a participant; joins at the first call of a process.
    #[inline]
    pub(crate) fn me<'a>(&self, table: impl FnOnce() -> Table<'a>) -> Result<Me> {
        let process = fork::generation();
        if self.joined.load(Ordering::Acquire) == process {
            return Ok(self.read());
        }
        self.join(process, table())
    }

    /// As [`Membership::me`], but does not join; and this process.
    #[inline(always)]
    pub(crate) fn if_joined(&self) -> Option<(Me, fork::Process)> {
        let process = fork::Process::of(self.joined.load(Ordering::Acquire));
        process.is_this().then(|| (self.read(), process))
    }

    #[inline(always)]
    fn read(&self) -> Me {
        Me {
            slot: self.slot.load(Ordering::Relaxed),
            generation: self.generation.load(Ordering::Relaxed),
        }
    }

    #[cold]
    fn join(&self, process: u32, table: Table<'_>) -> Result<Me> {
        // Several threads may get here at once. A mark left by a thread of the parent that forked
        // in the middle holds another process generation, and so does not count.
        loop {
            let turn = self.joining.load(Ordering::Relaxed);
            if self.joined.load(Ordering::Acquire) == process {
                return Ok(self.read());
            }
            if turn == process {
                std::thread::yield_now();
            } else if self
                .joining
                .compare_exchange(turn, process, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
            {
                break;
            }
        }
        let result = if self.joined.load(Ordering::Acquire) == process {
            Ok(self.read())
        } else {
            self.join_alone(process, table)
        };
        self.joining.store(0, Ordering::Release);
        result
    }

    fn join_alone(&self, process: u32, table: Table<'_>) -> Result<Me> {
        self.close_lock();
        let lock = memory::reopen(table.fd).map_err(|errno| {
            Error::from_errno(errno, "cannot take part in the segment: its descriptor could not be opened again through /proc/self/fd")
        })?;
        if FileId::of(lock.as_fd()) != table.file {
            return Err(Error::new(
                ErrorKind::System,
                "the segment's descriptor was closed behind the library's back, and its number used for another file",
            ));
        }
        // Noted before it locks anything, so that a child forked in between finds and closes it.
        let lock = lock.into_raw_fd();
        self.lock.store(lock, Ordering::Relaxed);
        // SAFETY: open until `close_lock`.
        let me = table
            .join(unsafe { BorrowedFd::borrow_raw(lock) })
            .inspect_err(|_| self.close_lock())?;
        self.slot.store(me.slot, Ordering::Relaxed);
        self.generation.store(me.generation, Ordering::Relaxed);
        self.joined.store(process, Ordering::Release);
        Ok(me)
    }

    /// Closes, never unlocks: an inherited description is the parent's, and so is its lock.
    fn close_lock(&self) {
        let fd = self.lock.swap(-1, Ordering::Relaxed);
        if fd >= 0 {
            // SAFETY: the descriptor was stored here by `join_alone` and is owned by nothing else.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }

    /// Gives the slot back, when this very process has taken it.
    pub(crate) fn end(&self, table: Table<'_>) {
        if let Some((me, _)) = self.if_joined() {
            table.leave(me);
        }
        self.close_lock();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_one_line_of_the_format() {
        assert_eq!(size_of::<Slot>(), crate::layout::header::SLOT);
    }
}
