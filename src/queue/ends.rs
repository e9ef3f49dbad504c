//! Producers' ends: how many have come, how many are here, and whether the stream is over.
//!
//! # Overview
//! A queue that follows its producers ends with them: who lets the last end go closes the queue, and when the last
//! one died its consumers are told so. A participant counts its ends in a word of its own.
//!
//! # Layout
//! A word a participant slot: ends that ever came, 32 bits; that are leaving, 16; that are here, 16.
//!
//! # Invariants
//! - I1. A word never comes again: who comes is counted for good, and while nobody comes, an end only goes from here to
//!   leaving to gone.
//! - I2. Only the incarnation that is noted for the slot changes its word, or who repairs after it.
//! - I3. Who leaves looks whether the stream is over after it said so and before it is gone; so when none is here and
//!   none is leaving, either the last one closed the queue, or it died.
//!
//! # Crash states
//! | killed | leaves | repaired as |
//! |---|---|---|
//! | with ends, or leaving | ends that are here, or leaving | neither: the last one died |
//! | repairer, anywhere | the word as it was, or repaired | the next one finds the note, and does it again |
//!
//! # Progress
//! Lock-free; a change is made again only when another thread of the same process made one, and [`over`] looks again
//! only when somebody came meanwhile.
//!
//! # Source
//! Ours.

use crate::atomic::{AtomicU64, Ordering};

const CAME: u32 = 32;
const LEAVING: u64 = 1 << 16;
const HERE: u64 = 0xffff;
const HERE_OR_LEAVING: u64 = 0xffff_ffff;

/// How often the words are looked at while others keep changing them.
const LOOKS: u32 = 1000;

fn change(word: &AtomicU64, to: impl FnMut(u64) -> Option<u64>) -> bool {
    // SeqCst: one order of all changes and looks, which I3 and `over` stand on.
    word.fetch_update(Ordering::SeqCst, Ordering::Relaxed, to).is_ok()
}

/// An end comes; not when the process has 65,535.
pub(crate) fn come(word: &AtomicU64) -> bool {
    change(word, |seen| (seen & HERE != HERE).then(|| seen.wrapping_add(1 << CAME | 1)))
}

/// An end leaves. The queue is closed if that is the end of the stream, and then it is [`gone`].
pub(crate) fn leave(word: &AtomicU64) -> bool {
    change(word, |seen| (seen & HERE != 0).then(|| seen - 1 + LEAVING))
}

pub(crate) fn gone(word: &AtomicU64) {
    change(word, |seen| (seen & HERE_OR_LEAVING >= LEAVING).then(|| seen - LEAVING));
}

/// The ends of the dead are gone. `seen` was read before it was asked whether the slot's note still named the dead
/// incarnation: who comes after it is noted first, so what was read is not the newcomer's (I1 does the rest).
pub(crate) fn bury(word: &AtomicU64, seen: u64) {
    // SeqCst: as in `change`
    let _ =
        word.compare_exchange(seen, seen & !HERE_OR_LEAVING, Ordering::SeqCst, Ordering::Relaxed);
}

/// Whether at least `expected` ends have come and none is here, at one moment of the call.
pub(crate) fn over(words: &[AtomicU64], expected: u32) -> bool {
    none(words, expected, HERE)
}

/// The same, and none is leaving: if the queue is not closed then, the last one died.
pub(crate) fn over_and_gone(words: &[AtomicU64], expected: u32) -> bool {
    none(words, expected, HERE_OR_LEAVING)
}

fn none(words: &[AtomicU64], expected: u32, which: u64) -> bool {
    // How many came; nothing when there are some of `which`.
    let look = || {
        words.iter().try_fold(0u64, |came, word| {
            let seen = word.load(Ordering::SeqCst); // SeqCst: as in `change`
            (seen & which == 0).then_some(came + (seen >> CAME))
        })
    };
    let Some(mut before) = look() else { return false };
    for _ in 0..LOOKS {
        if before < u64::from(expected) {
            return false;
        }
        match look() {
            // Nobody came to any word in between: there was none between the two looks (I1).
            Some(after) if after == before => return true,
            Some(after) => before = after,
            None => return false,
        }
    }
    false // somebody never stops coming
}
