//! Who takes part in a segment.

use crate::error::{Error, ErrorKind};
use crate::ffi::segment::mpshm_segment_t;
use crate::ffi::{call, check_out, deadline, free, given, hand_out, put};
use crate::wait::death::Participant;
use std::ffi::c_int;

/// A process that takes part in a segment: alive, or not. One incarnation: who comes later with the same number is another.
pub struct mpshm_participant_t(pub(super) Participant);

/// Writes the process ids of the living that own or may own something in the segment, but for this process, to `pids`, at most `room`, and how many
/// they are to `*count`. `pids` may be NULL when `room` is 0.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_segment_peers(
    segment: *const mpshm_segment_t,
    pids: *mut u32,
    room: usize,
    count: *mut usize,
) -> c_int {
    call(|| {
        if room > 0 {
            check_out(pids, "pids")?;
        }
        check_out(count, "count")?;
        // SAFETY: the caller's pointer.
        let peers = unsafe { given(segment, "segment") }?.0.peers()?;
        for (place, peer) in peers.iter().take(room).enumerate() {
            // SAFETY: room for so many, as the caller says.
            unsafe { pids.add(place).write(peer.pid()) };
        }
        // SAFETY: the caller's pointer.
        unsafe { put(count, peers.len(), "count") }
    })
}

/// Opens the participant with this process id. ENOTFOUND when no living process of that number takes part.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_participant_open(
    segment: *const mpshm_segment_t,
    pid: u32,
    participant: *mut *mut mpshm_participant_t,
) -> c_int {
    call(|| {
        check_out(participant, "participant")?;
        // SAFETY: the caller's pointers.
        unsafe {
            let found = given(segment, "segment")?.0.participant(pid)?;
            hand_out(participant, mpshm_participant_t(found));
        }
        Ok(())
    })
}

/// Whether it is not proven that it is dead, or has left the segment.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_participant_is_alive(
    participant: *const mpshm_participant_t,
    is_alive: *mut bool,
) -> c_int {
    // SAFETY: the caller's pointers.
    call(|| unsafe { put(is_alive, given(participant, "participant")?.0.is_alive(), "is_alive") })
}

/// Waits until it is dead, or has left the segment: at once where its process can be opened, else within 80 ms. ETIMEDOUT when the time-out
/// passed first, also for one of 0, which is a look; EINTERRUPTED.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mpshm_participant_wait_death(
    participant: *const mpshm_participant_t,
    timeout_ns: i64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's pointer.
        let participant = &unsafe { given(participant, "participant") }?.0;
        if participant.wait_death(deadline(timeout_ns)?)? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::TimedOut, "the participant lived on until the deadline"))
    })
}

/// Closes the handle; NULL is a no-op.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mpshm_participant_close(participant: *mut mpshm_participant_t) {
    // SAFETY: the caller's handle.
    unsafe { free(participant) }
}
