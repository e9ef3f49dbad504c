//! What travels between a pool and its workers: messages of the pool's own two queues, and the word
//! that says how far each task is.
//!
//! The segment is anonymous and never handed out, so both sides trust it, code addresses included:
//! a worker is a fork of the pool's owner and has the same code at the same addresses.

use crate::layout::plain::{Pod, Zeroable};

/// Bytes before a message's payload, which is aligned to 16.
pub(crate) const HEADER: usize = 32;

/// The head of a task's message; the argument's bytes follow.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct TaskHeader {
    /// Never used twice in a pool.
    pub id: u64,
    /// Address of a [`Run`](super::worker::Run).
    pub run: u64,
    /// What `run` makes of it: a C function's address, or nothing.
    pub target: u64,
    /// Which of the state words is the task's.
    pub slot: u32,
    pub reserved: u32,
}

/// The head of a result's message; some or all of the result's bytes follow.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct ResultHeader {
    pub id: u64,
    pub slot: u32,
    /// One of the kinds below.
    pub kind: u32,
    /// The worker's process id.
    pub pid: u32,
    pub reserved: [u32; 3],
}

/// More of this result follows, from the same worker.
pub(crate) const PART: u32 = 1;
/// The last or only part of a result.
pub(crate) const LAST: u32 = 2;
/// The task failed; the bytes are the last or only part of its message.
pub(crate) const FAILED: u32 = 3;
/// The task was not run: a worker that had taken it before, and not begun it, died.
pub(crate) const REFUSED: u32 = 5;
/// From the fork server, and about no task: there is something to see in the records.
pub(crate) const LOOK: u32 = 4;

const _: () = assert!(size_of::<TaskHeader>() == HEADER && size_of::<ResultHeader>() == HEADER);

/// A state word: the task's id << 16, and whether a worker has begun it.
///
/// | low half | means | changed by |
/// |---|---|---|
/// | 0 | waits | the worker that begins it, or the owner who cancels it, by CAS |
/// | n | the worker of record n − 1 has begun it | the owner, when it has ended |
/// | 0xffff | cancelled | – |
pub(crate) const CANCELLED: u64 = 0xffff;

pub(crate) fn waiting(id: u64) -> u64 {
    id << 16
}

pub(crate) fn begun(id: u64, worker: u32) -> u64 {
    id << 16 | u64::from(worker + 1)
}
