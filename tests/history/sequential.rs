//! What the checker holds histories against: something that does one step after another.

use super::call::{Answer, Call};
use std::fmt::Debug;
use std::hash::Hash;

/// What kind of structure it is.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub capacity: usize,
    /// Items travel in the slots: nobody ever holds one.
    pub slots: bool,
    pub overwrites: bool,
    /// What a dead process held is gone.
    pub drops: bool,
    /// A ring, of what; else a queue of many producers and consumers.
    pub ring: Option<RingOf>,
}

/// What a ring is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingOf {
    Numbers,
    /// Of one length.
    Messages,
}

/// Who does a step, and in which call.
#[derive(Clone, Copy, Debug)]
pub struct Actor {
    pub process: usize,
    pub invoked: u64,
    /// Nobody saw the call's end: its process was killed in it.
    pub unseen: bool,
}

/// A state that a step may lead to, and whether the step is at its end with it.
pub type Outcome<S> = (S, bool);

/// A sequential structure. A call is a row of steps; each takes effect at one moment, between the call and its return,
/// and those of one call in their order.
pub trait Sequential {
    /// What is in the structure, and in the hands of those who use it; at first nothing.
    type State: Clone + Debug + Default + Eq + Hash;
    /// A moment of a call at which something happens, or is seen.
    type Step: Copy + Debug;
    /// The actor is dead.
    const DIE: Self::Step;

    /// `deaths` is when a process was seen to be dead.
    fn new(rules: Rules, deaths: Vec<Option<u64>>) -> Self;
    /// The steps of a call that returned.
    fn steps(&self, call: Call, answer: Answer) -> Vec<Self::Step>;
    /// The steps that a call whose process was killed in it may have done: none, or some from the first on.
    fn unseen_steps(&self, call: Call) -> Vec<Self::Step>;
    /// Every state that `step` may lead to; none when it is impossible here.
    fn outcomes(
        &self,
        state: &Self::State,
        actor: Actor,
        step: Self::Step,
    ) -> Vec<Outcome<Self::State>>;
}
