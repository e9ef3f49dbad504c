//! What was done: of one test, and, in memory that tests in processes of their own share, of all.

use super::call::{Answer, No};
use super::history::{History, Made, Overlap};
use super::record::map;
use super::rings::FIRST_OF_OTHERS;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Calls that have to overlap for a history to say something.
const ENOUGH: u64 = 3;

#[derive(Clone, Debug, Default)]
pub struct Totals {
    pub histories: u64,
    pub operations: u64,
    pub overlap: Overlap,
    /// Histories with [`ENOUGH`] calls under way at a time.
    pub overlapping: u64,
    pub deaths: u64,
    /// Of these, inside a call.
    pub inside: u64,
    /// Calls that were refused, for somebody else had the role.
    pub sent_away: u64,
    /// Calls for a role of those who only get it when another leaves it, or dies with it.
    pub taken_over: u64,
    pub states: u64,
    pub most_states: u64,
}

impl Totals {
    pub fn add(&mut self, history: &History, states: usize) {
        let overlap = history.overlap(history.processes() - 1);
        self.histories += 1;
        self.operations += history.calls.len() as u64;
        self.overlap.most = self.overlap.most.max(overlap.most);
        self.overlap.sum += overlap.sum;
        self.overlap.calls += overlap.calls;
        self.overlapping += u64::from(overlap.most >= ENOUGH);
        self.deaths += history.deaths.iter().flatten().count() as u64;
        self.inside += history.calls.iter().filter(|call| call.answer.is_none()).count() as u64;
        let away = |call: &&Made| call.answer == Some(Answer::No(No::Busy));
        let second = |call: &&Made| {
            let others = call.process >= FIRST_OF_OTHERS && call.process < history.processes() - 1;
            others && (call.call.pushes() || call.call.pops()) && !away(call)
        };
        self.sent_away += history.calls.iter().filter(away).count() as u64;
        if history.rules.ring.is_some() {
            self.taken_over += history.calls.iter().filter(second).count() as u64;
        }
        self.states += states as u64;
        self.most_states = self.most_states.max(states as u64);
    }

    /// A run in which few calls overlap says nothing.
    #[track_caller]
    pub fn check_overlap(&self) {
        assert!(
            3 * self.overlapping >= self.histories,
            "only {} of {} histories had {ENOUGH} calls under way at a time",
            self.overlapping,
            self.histories
        );
    }

    /// Nor does one of rings whose roles stay where they are.
    #[track_caller]
    pub fn check_roles(&self) {
        assert!(
            self.sent_away > 0 && self.taken_over > 0,
            "{} calls were sent away, {} were made by those who took over",
            self.sent_away,
            self.taken_over
        );
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "histories {}, operations {}, overlap max {} mean {:.1} (at least {ENOUGH} in {} histories), \
             deaths {} ({} inside a call), states {} (most {})",
            self.histories,
            self.operations,
            self.overlap.most,
            self.overlap.sum as f64 / self.overlap.calls.max(1) as f64,
            self.overlapping,
            self.deaths,
            self.inside,
            self.states,
            self.most_states
        )?;
        if self.sent_away + self.taken_over > 0 {
            write!(f, ", sent away {}, taken over {}", self.sent_away, self.taken_over)?;
        }
        Ok(())
    }
}

/// The sums of all tests.
pub struct Sums(*const [AtomicU64; 7]);
// SAFETY: leads to atomics in a mapping that is never unmapped.
unsafe impl Sync for Sums {}
// SAFETY: as above.
unsafe impl Send for Sums {}

/// Made by the first call, which comes before any fork.
pub fn sums() -> &'static Sums {
    static SUMS: OnceLock<Sums> = OnceLock::new();
    SUMS.get_or_init(|| Sums(map(size_of::<[AtomicU64; 7]>()).cast()))
}

impl Sums {
    fn words(&self) -> &[AtomicU64; 7] {
        // SAFETY: see above; zeros are valid atomics.
        unsafe { &*self.0 }
    }

    /// Adds a test's totals, and whether it found a history that is not linearizable.
    pub fn add(&self, totals: &Totals, found: bool) {
        let [histories, operations, sum, calls, deaths, not, most] = self.words();
        histories.fetch_add(totals.histories, Relaxed);
        operations.fetch_add(totals.operations, Relaxed);
        sum.fetch_add(totals.overlap.sum, Relaxed);
        calls.fetch_add(totals.overlap.calls, Relaxed);
        deaths.fetch_add(totals.deaths, Relaxed);
        not.fetch_add(u64::from(found), Relaxed);
        most.fetch_max(totals.overlap.most, Relaxed);
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [histories, operations, sum, calls, deaths, not, most] =
            self.words().each_ref().map(|word| word.load(Relaxed));
        write!(
            f,
            "total: histories {histories}, operations {operations}, overlap max {most} mean {:.1}, \
             deaths {deaths}, not linearizable {not}",
            sum as f64 / calls.max(1) as f64
        )
    }
}
