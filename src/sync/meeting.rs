//! The words of a barrier: who has come in this cycle, and how each cycle ended.
//!
//! # Overview
//! Whoever comes writes its mark into the first place that has none of this cycle (one CAS), and is then counted (another
//! CAS, which anybody may do for it). Who took the last place lets everybody go by a single CAS that begins the next cycle.
//! A cycle that cannot end well is ended by the same kind of CAS, after its number was entered in a list of those that
//! were broken: so whoever was in it learns how it ended, however late it looks, and whatever has happened since.
//! There is no lock: nobody who is stopped keeps others from coming, from giving up, from breaking the barrier.
//!
//! # Layout
//! | bits of `state` | what |
//! |---|---|
//! | 0–31 | the number of the cycle, never 0 |
//! | 32–45 | how many were counted in it |
//! | 46 | BROKEN: nobody may come until a reset |
//! | 48–55 | how many cycles were broken so far, modulo 256 |
//!
//! | bits of a mark | what |
//! |---|---|
//! | 0–19 | the lowest bits of a participant's generation |
//! | 20–31 | its slot |
//! | 32–63 | the cycle that it has come in |
//!
//! Break number *b* of all is entered at *b* mod [`BREAKS`], before it is counted in `state`.
//!
//! Numbers of cycles wrap after 2^32 of them: a mark of that age would have to be left in a place that was never taken since.
//! A dead participant is taken for a living one only if, at *every* look of a sleeper since its death (one in 80 ms), its
//! slot had been taken a multiple of 2^20 times: a sleeper that looks once in between breaks the cycle for good. Bits for a
//! whole generation would have to come from the cycle's, and a mark that seems to be of the present cycle lets parties go too
//! early, which is worse.
//!
//! # Invariants
//! - I1. `state` changes by CAS only, and never back: a cycle that was left does not come again.
//! - I2. Place *i* holds a mark of the present cycle before *i* + 1 are counted, and as long as the cycle lasts.
//! - I3. A cycle is in the list of the broken ones before `state` leaves it as broken. An entry whose number is not
//!   counted yet says nothing: the cycle may have ended well after all.
//!
//! # Ordering edges
//! - E1. Marks and counts are Release, and what reads them Acquire: who lets everybody go has seen what each did before it
//!   came, and who sees the next cycle sees that too.
//! - E2. An entry of the list is written before the CAS that counts it (Release), and read after `state` (Acquire).
//!
//! # Crash states
//! | killed | leaves | who repairs |
//! |---|---|---|
//! | before its mark | nothing | – |
//! | marked, not counted | a mark | the next one to come, or a sleeper after its slice, counts it |
//! | counted | a mark of a dead one | a sleeper after its slice breaks the barrier; if the last one comes before, the cycle ends well |
//! | last one, before it lets go | the same | a sleeper breaks the barrier |
//! | last one, after that | the next cycle, and sleepers | each sleeper, after its slice |
//! | who breaks, before it is counted | an entry that says nothing | the next one who breaks |
//!
//! # Progress
//! Coming, giving up, breaking, resetting are lock-free. To wait for the others is what a barrier is for.
//!
//! # Source
//! Ours.

use crate::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::layout::offset::Shared;
use crate::os::clock::Deadline;
use crate::segment::participant::Me;
use crate::wait::eventcount::{EventCount, GaveUp, Look, Spin, wait_for};

/// How many parties a barrier can have.
pub(crate) const PARTIES_MAX: u32 = 4096;
/// How many broken cycles are remembered, one of which may just be overwritten. Who sleeps through all is told that its
/// own was broken.
const BREAKS: usize = 16;
/// How many marks a sleeper looks at after a slice, for a proof that somebody is dead.
const LOOKS: u32 = 4;
/// How often words are read anew while others keep changing them.
const TRIES: u32 = 1000;

const CYCLE: u64 = 0xffff_ffff;
const ARRIVED_SHIFT: u32 = 32;
const ARRIVED: u64 = 0x3fff << ARRIVED_SHIFT;
const BROKEN: u64 = 1 << 46;
const COUNT_SHIFT: u32 = 48;
const COUNT: u64 = 0xff;

/// The head of a barrier as it lies in a segment; the marks follow.
#[repr(C, align(128))]
pub(crate) struct Head {
    /// See the module's layout.
    state: AtomicU64,
    /// Who waits sleeps here.
    event: EventCount,
    /// How many parties there are: by the maker.
    pub parties: AtomicU32,
    /// Nanoseconds that a wait takes by default, `u64::MAX` = for ever: by the maker.
    pub timeout: AtomicU64,
    /// The numbers of broken cycles.
    breaks: [AtomicU64; BREAKS],
}
// SAFETY: atomics only; padding is never read.
unsafe impl Shared for Head {}

/// A value of `state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State(u64);

impl State {
    fn cycle(self) -> u32 {
        (self.0 & CYCLE) as u32
    }

    fn arrived(self) -> u32 {
        ((self.0 & ARRIVED) >> ARRIVED_SHIFT) as u32
    }

    fn is_broken(self) -> bool {
        self.0 & BROKEN != 0
    }

    fn count(self) -> u64 {
        self.0 >> COUNT_SHIFT & COUNT
    }

    fn with_one_more(self) -> Self {
        Self(self.0 + (1 << ARRIVED_SHIFT))
    }

    /// The next cycle, in which nobody has come.
    fn next(self) -> Self {
        let cycle = self.cycle().wrapping_add(1).max(1);
        Self(self.count() << COUNT_SHIFT | u64::from(cycle))
    }

    /// The next cycle, after this one was broken.
    fn after_break(self, stays_broken: bool) -> Self {
        let count = self.count().wrapping_add(1) & COUNT;
        let broken = if stays_broken { BROKEN } else { 0 };
        Self(count << COUNT_SHIFT | broken | self.next().0 & CYCLE)
    }
}

/// Who comes: what a mark says of a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Party(u32);

impl From<Me> for Party {
    fn from(me: Me) -> Self {
        Self(me.slot << 20 | (me.generation & 0xf_ffff) as u32)
    }
}

impl Party {
    pub(crate) fn slot(self) -> u32 {
        self.0 >> 20
    }

    /// Whether the generation may be this one.
    pub(crate) fn may_be_of(self, generation: u64) -> bool {
        generation & 0xf_ffff == u64::from(self.0 & 0xf_ffff)
    }

    fn mark(self, cycle: u32) -> u64 {
        u64::from(cycle) << 32 | u64::from(self.0)
    }

    fn of(mark: u64) -> Self {
        Self(mark as u32)
    }
}

/// That somebody has come.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    cycle: u32,
    index: u32,
    /// How many cycles had been broken before.
    breaks: u64,
}

/// Why somebody could not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotNow {
    Broken,
    /// All parties are there, and the last one has not let them go yet.
    Full,
}

/// Why a wait ended without all parties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    Broken,
    Interrupted,
}

/// The words of one barrier.
#[derive(Clone, Copy)]
pub(crate) struct Meeting<'a> {
    pub head: &'a Head,
    pub marks: &'a [AtomicU64],
}

impl Meeting<'_> {
    /// What a new barrier begins with; not seen by anybody else.
    pub(crate) fn begin(head: &Head) {
        head.state.store(1, Ordering::Relaxed);
    }

    fn state(self) -> State {
        State(self.head.state.load(Ordering::Acquire)) // E1, E2
    }

    fn change(self, from: State, to: State) -> bool {
        // E1, E2. SeqCst: a change that sleepers wait for; pairs with their announcement.
        self.head.state.compare_exchange(from.0, to.0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    fn parties(self) -> u32 {
        self.marks.len() as u32
    }

    pub(crate) fn is_broken(self) -> bool {
        self.state().is_broken()
    }

    /// How many have come in the present cycle.
    pub(crate) fn waiting(self) -> u32 {
        self.state().arrived().min(self.parties())
    }

    /// Waits for all parties; the last one runs `action` before anybody goes on. `is_over` proves that a party is dead.
    /// Returns the place in the order of coming.
    pub(crate) fn wait(
        self,
        me: Party,
        deadline: Deadline,
        action: impl FnOnce(),
        is_over: impl Fn(Party) -> bool,
    ) -> Result<u32, Failed> {
        let arrival = self.come(me, deadline, &is_over)?;
        if arrival.index + 1 == self.parties() {
            return self.lead(arrival, action);
        }
        let mut looks = arrival.index;
        let waited = wait_for(&self.head.event, deadline, &Spin::new(), |look| {
            if look == Look::Deaths {
                self.break_for_the_dead(arrival.cycle, me, &mut looks, &is_over);
            }
            self.outcome(arrival)
        });
        let ended = waited.or_else(|gave_up| {
            self.break_cycle(arrival.cycle, true);
            match self.outcome(arrival) {
                Some(Err(_)) | None if gave_up == GaveUp::Interrupted => Err(Failed::Interrupted),
                Some(ended) => Ok(ended),
                None => Err(Failed::Broken),
            }
        })?;
        ended.map(|()| arrival.index)
    }

    /// Comes, in the next cycle where the last one of this has not let the others go.
    fn come(
        self,
        me: Party,
        deadline: Deadline,
        is_over: &impl Fn(Party) -> bool,
    ) -> Result<Arrival, Failed> {
        match self.arrive(me) {
            Ok(arrival) => return Ok(arrival),
            Err(NotNow::Broken) => return Err(Failed::Broken),
            Err(NotNow::Full) => {}
        }
        let mut looks = 0;
        let waited = wait_for(&self.head.event, deadline, &Spin::new(), |look| {
            if look == Look::Deaths {
                self.break_for_the_dead(self.state().cycle(), me, &mut looks, is_over);
            }
            match self.arrive(me) {
                Err(NotNow::Full) => None,
                settled => Some(settled),
            }
        });
        match waited {
            Ok(Ok(arrival)) => Ok(arrival),
            Ok(Err(_)) => Err(Failed::Broken),
            Err(gave_up) => {
                self.abort(); // one party does not come
                Err(match gave_up {
                    GaveUp::TimedOut => Failed::Broken,
                    GaveUp::Interrupted => Failed::Interrupted,
                })
            }
        }
    }

    /// Takes the next place, if there is one.
    fn arrive(self, me: Party) -> Result<Arrival, NotNow> {
        for _ in 0..TRIES {
            let seen = self.state();
            if seen.is_broken() {
                return Err(NotNow::Broken);
            }
            let index = seen.arrived();
            let Some(place) = self.marks.get(index as usize) else { return Err(NotNow::Full) };
            let mark = place.load(Ordering::Acquire); // E1: pairs with the mark of who is counted here
            if (mark >> 32) as u32 == seen.cycle() {
                self.change(seen, seen.with_one_more()); // by us or by others: it is counted
                continue;
            }
            let mine = me.mark(seen.cycle());
            // I2. E1: what was done before.
            if place.compare_exchange(mark, mine, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                // Fails when somebody has counted us, or broken the cycle.
                self.change(seen, seen.with_one_more());
                return Ok(Arrival { cycle: seen.cycle(), index, breaks: seen.count() });
            }
        }
        Err(NotNow::Full) // others were faster every time: to be tried again
    }

    /// What the last one does: runs the action, and lets everybody go.
    fn lead(self, arrival: Arrival, action: impl FnOnce()) -> Result<u32, Failed> {
        /// Breaks the cycle when the action panics.
        struct Unless<'a>(Meeting<'a>, u32);
        impl Drop for Unless<'_> {
            fn drop(&mut self) {
                self.0.break_cycle(self.1, true);
            }
        }
        let unless = Unless(self, arrival.cycle);
        action();
        std::mem::forget(unless);
        loop {
            let seen = self.state();
            if seen.cycle() != arrival.cycle || seen.is_broken() {
                return Err(Failed::Broken); // nobody else lets go
            }
            if self.change(seen, seen.next()) {
                self.head.event.notify(u32::MAX);
                return Ok(arrival.index);
            }
        }
    }

    /// How a cycle ended that somebody has come in; `None` while it lasts.
    fn outcome(self, arrival: Arrival) -> Option<Result<(), Failed>> {
        for _ in 0..TRIES {
            let seen = self.state();
            if seen.cycle() == arrival.cycle && !seen.is_broken() {
                return None;
            }
            let since = seen.count().wrapping_sub(arrival.breaks) & COUNT;
            if since >= BREAKS as u64 {
                break;
            }
            // I3: those that are counted.
            let was_broken = (1..=since).any(|back| {
                let entry = self.entry(seen.count().wrapping_sub(back));
                entry.load(Ordering::Acquire) == u64::from(arrival.cycle) // E2
            });
            // An entry is overwritten only when its number comes again.
            if self.state().count() == seen.count() {
                return Some(if was_broken { Err(Failed::Broken) } else { Ok(()) });
            }
        }
        Some(Err(Failed::Broken))
    }

    fn entry(&self, number: u64) -> &AtomicU64 {
        &self.head.breaks[(number & COUNT) as usize % BREAKS]
    }

    /// Breaks a cycle, if it still lasts.
    fn break_cycle(self, cycle: u32, stays_broken: bool) {
        loop {
            let seen = self.state();
            if seen.cycle() != cycle || seen.is_broken() {
                return;
            }
            let entry = self.entry(seen.count());
            let other = entry.load(Ordering::Acquire);
            let mine = u64::from(cycle);
            // I3. E2: pairs with `outcome`, by way of the change.
            if other != mine
                && entry.compare_exchange(other, mine, Ordering::AcqRel, Ordering::Relaxed).is_err()
            {
                continue;
            }
            if self.change(seen, seen.after_break(stays_broken)) {
                self.head.event.notify(u32::MAX);
                return;
            }
        }
    }

    /// Breaks the barrier: all who wait, and all who come, are told so.
    pub(crate) fn abort(self) {
        loop {
            let seen = self.state();
            if seen.is_broken() {
                return;
            }
            self.break_cycle(seen.cycle(), true);
        }
    }

    /// Makes the barrier as new; those who wait are told that theirs is broken.
    pub(crate) fn reset(self) {
        for _ in 0..TRIES {
            let seen = self.state();
            if seen.is_broken() {
                if self.change(seen, State(seen.0 & !BROKEN)) {
                    return;
                }
            } else if seen.arrived() == 0 {
                return;
            } else {
                self.break_cycle(seen.cycle(), false);
                return;
            }
        }
    }

    /// Looks at some marks of the cycle, and breaks it when the party behind one is dead.
    fn break_for_the_dead(
        self,
        cycle: u32,
        me: Party,
        at: &mut u32,
        is_over: &impl Fn(Party) -> bool,
    ) {
        let marked = (self.state().arrived() + 1).min(self.parties()); // perhaps one that is not counted
        for _ in 0..LOOKS.min(marked) {
            *at = (*at + 1) % marked;
            let mark = self.marks[*at as usize].load(Ordering::Acquire);
            let party = Party::of(mark);
            if (mark >> 32) as u32 == cycle && party != me && is_over(party) {
                self.break_cycle(cycle, true);
                return;
            }
        }
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::atomic::{Vanish, explore};
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;

    struct Shared {
        head: Head,
        marks: Vec<AtomicU64>,
        /// Written by the first party before it comes, read by the other behind the barrier.
        word: UnsafeCell<u32>,
    }
    // SAFETY: the cell is the first party's before the barrier, and read only behind it; loom checks that.
    unsafe impl Sync for Shared {}

    impl Shared {
        fn new(parties: u32) -> Arc<Self> {
            let head = Head {
                state: AtomicU64::new(0),
                event: EventCount::new(),
                parties: AtomicU32::new(parties),
                timeout: AtomicU64::new(u64::MAX),
                breaks: std::array::from_fn(|_| AtomicU64::new(0)),
            };
            Meeting::begin(&head);
            let marks = (0..parties).map(|_| AtomicU64::new(0)).collect();
            Arc::new(Self { head, marks, word: UnsafeCell::new(0) })
        }

        fn meeting(&self) -> Meeting<'_> {
            Meeting { head: &self.head, marks: &self.marks }
        }

        fn wait(&self, slot: u32) -> Result<u32, Failed> {
            self.meeting().wait(party(slot), Deadline::FOREVER, || (), |_| false)
        }
    }

    fn party(slot: u32) -> Party {
        Party::from(Me { slot, generation: 1 })
    }

    #[test]
    fn both_pass_together_twice_and_what_was_written_is_seen() {
        explore(2, || {
            let shared = Shared::new(2);
            let other = Arc::clone(&shared);
            let thread = loom::thread::spawn(move || {
                let first = other.wait(2).unwrap();
                // SAFETY: written before the barrier that this thread has passed.
                assert_eq!(other.word.with(|word| unsafe { *word }), 7);
                (first, other.wait(2).unwrap())
            });
            // SAFETY: nobody reads it before the barrier.
            shared.word.with_mut(|word| unsafe { *word = 7 });
            let mine = (shared.wait(1).unwrap(), shared.wait(1).unwrap());
            let theirs = thread.join().unwrap();
            assert_eq!((mine.0 + theirs.0, mine.1 + theirs.1), (1, 1), "two places in each cycle");
            assert_eq!(shared.meeting().waiting(), 0);
        });
    }

    #[test]
    fn whoever_breaks_it_breaks_it_for_both_or_neither() {
        explore(2, || {
            let shared = Shared::new(2);
            let (second, third) = (Arc::clone(&shared), Arc::clone(&shared));
            let aborts = loom::thread::spawn(move || second.meeting().abort());
            let waits = loom::thread::spawn(move || third.wait(2));
            let mine = shared.wait(1);
            let theirs = waits.join().unwrap();
            aborts.join().unwrap();
            assert_eq!(mine.is_ok(), theirs.is_ok());
            assert!(shared.meeting().is_broken());
            shared.meeting().reset();
            assert!(!shared.meeting().is_broken());
        });
    }

    #[test]
    fn a_reset_costs_each_party_at_most_one_cycle() {
        explore(2, || {
            let shared = Shared::new(2);
            let other = Arc::clone(&shared);
            let patient = |shared: &Shared, slot| {
                shared.wait(slot).or_else(|_| shared.wait(slot)).expect("one reset only")
            };
            let waits = loom::thread::spawn(move || patient(&other, 2));
            shared.meeting().reset();
            let mine = patient(&shared, 1);
            assert_eq!(mine + waits.join().unwrap(), 1);
        });
    }

    /// The other party dies at each step: this one goes on, or is told; and then the barrier works again.
    fn the_other_dies(comes_first: bool) {
        Vanish::at_every_step(2, move |vanish| {
            let shared = Shared::new(2);
            let (other, vanish) = (Arc::clone(&shared), vanish.clone());
            let first = comes_first.then(|| shared.meeting().arrive(party(1)).unwrap());
            let dying = loom::thread::spawn(move || {
                vanish.at(|| {
                    let meeting = other.meeting();
                    let Ok(arrival) = meeting.arrive(party(9)) else { return false };
                    if arrival.index == 1 {
                        meeting.lead(arrival, || ()).is_ok()
                    } else {
                        meeting.outcome(arrival).is_some_and(|ended| ended.is_ok())
                    }
                })
            });
            let meeting = shared.meeting();
            if comes_first {
                meeting.abort(); // before the other one has come, or let go, or after
            }
            let arrival = first.unwrap_or_else(|| meeting.arrive(party(1)).expect("a place"));
            let led = (arrival.index == 1).then(|| meeting.lead(arrival, || ()).is_ok());
            let theirs = dying.join().unwrap();
            let mine = led.unwrap_or_else(|| {
                let dead = theirs.is_none();
                let mut at = 0;
                for _ in 0..2 {
                    let is_over = |party: Party| dead && party.slot() == 9;
                    meeting.break_for_the_dead(arrival.cycle, party(1), &mut at, &is_over);
                }
                match meeting.outcome(arrival) {
                    Some(ended) => ended.is_ok(),
                    // It had not come: nobody is dead in there, and one is missing.
                    None => {
                        assert!(dead && meeting.waiting() == 1, "a dead one is waited for");
                        meeting.abort();
                        assert_eq!(meeting.outcome(arrival), Some(Err(Failed::Broken)));
                        false
                    }
                }
            });
            assert!(mine || theirs != Some(true), "one was let go, the other was not");
            meeting.reset();
            let again = [1, 2].map(|slot| meeting.arrive(party(slot)).expect("as new"));
            assert_eq!(meeting.lead(again[1], || ()), Ok(1));
            assert_eq!(meeting.outcome(again[0]), Some(Ok(())));
        });
    }

    #[test]
    fn a_first_party_that_dies_at_any_step() {
        the_other_dies(false);
    }

    #[test]
    fn a_last_party_that_dies_at_any_step() {
        the_other_dies(true);
    }
}
