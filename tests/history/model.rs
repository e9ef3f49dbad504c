//! The sequential queue that histories are held against: what the README and the docs of the queue promise.
//!
//! A call is a row of steps; each takes effect at one moment, between the call and its return, and those of one call
//! in their order. Most calls are one step. `push_many` is one for each item, for others' items may come in between.
//!
//! | what | in the model |
//! |---|---|
//! | items | come out in the order of their pushes; there are never more than the capacity |
//! | `Full`, `Empty`, `Closed`, lengths | were true at the moment of the step |
//! | a time-out | is `Full`, or `Empty`, at some moment of the call |
//! | a queue that overwrites | takes the oldest item out at the moment when it is full: in slots with the push, in blocks as a step before it |
//! | what was given back | is counted, keeps the queue from being empty, may come before or after any other item, and is marked |
//! | the call of a process that was killed in it | has done any number of its steps, from none to all |
//! | a pop that was killed | in slots: takes at most what it asked for along; in blocks: has consumed the item, or holds it |
//! | what the dead held, in blocks | is in limbo until somebody has repaired; then as if given back (or gone, where the queue drops it) |
//! | repairs | are done by any call, but at the latest by one that says `Closed`, or `recover`, and began after the death; by one that finds nothing, and began [`LATE`] after it |
//!
//! What is in limbo counts nowhere. The model is not deterministic: a step has all the outcomes that are allowed.

use super::call::{Answer, Call, No};
use super::sequential::{Actor, Outcome, Rules, Sequential};

/// A call that finds nothing, and begins so many nanoseconds after a death, has to learn of it: 5 ms after a handle's
/// last look, on a clock that moves on every 10 ms at worst.
pub const LATE: u64 = 16_000_000;

/// A moment of a call at which something happens, or is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Append(u64),
    /// An item leaves the queue; how often it was delivered, where the call says so.
    Take(u64, Option<u32>),
    /// As `Take`, but the process has it from there on.
    Claim(u64, Option<u32>),
    /// A call that nobody saw the end of has taken some item.
    TakeUnseen,
    /// What it has taken is consumed.
    Consume,
    Release,
    GiveBack,
    /// `give_back` of a process that was killed in it.
    GiveBackUnseen,
    Full,
    /// A push finds the queue closed.
    Refused,
    FullOrRefused,
    /// A call says that there is nothing.
    Empty,
    /// A pop says that the queue is closed and drained.
    Drained,
    /// A call that has something sees that there is no more.
    NoMore,
    Length(usize),
    IsEmpty(bool),
    IsFull(bool),
    IsClosed(bool),
    Close,
    Recover,
    Die,
}

/// An item that has been delivered before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Again {
    value: u64,
    /// How often, with the next time.
    deliveries: u32,
}

/// Items that processes have.
type Held = Vec<(usize, Again)>;

/// What is in the queue, and in the hands of those who use it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// The oldest first.
    ring: Vec<u64>,
    /// Given back; sorted, for their order means nothing.
    returned: Vec<Again>,
    claimed: Held,
    /// Taken by calls that are not at their end: unseen pops, and pushes that overwrite.
    loose: Held,
    /// What the dead held and nobody has found as yet.
    limbo: Held,
    closed: bool,
}

/// A queue of some rules, and who of its users died.
pub struct Model {
    pub rules: Rules,
    /// When a process was seen to be dead.
    pub deaths: Vec<Option<u64>>,
}

impl Sequential for Model {
    type State = State;
    type Step = Step;
    const DIE: Step = Step::Die;

    fn new(rules: Rules, deaths: Vec<Option<u64>>) -> Self {
        Self { rules, deaths }
    }

    fn steps(&self, call: Call, answer: Answer) -> Vec<Step> {
        steps(call, answer)
    }

    fn unseen_steps(&self, call: Call) -> Vec<Step> {
        unseen_steps(call)
    }

    fn outcomes(&self, state: &State, actor: Actor, step: Step) -> Vec<Outcome<State>> {
        let same_if = |holds: bool| if holds { vec![(state.clone(), true)] } else { Vec::new() };
        let room = state.ring.len() < self.rules.capacity;
        match step {
            Step::Append(value) => self.append(state, actor, value),
            Step::Take(value, deliveries) => {
                let taken = self.takes(state, Some(value), deliveries);
                taken.into_iter().map(|(state, _)| (state, true)).collect()
            }
            Step::Claim(value, deliveries) => {
                let taken = self.takes(state, Some(value), deliveries).into_iter();
                taken.map(|(state, item)| (state.with_claim(actor.process, item), true)).collect()
            }
            Step::TakeUnseen => self.take_unseen(state, actor),
            Step::Consume => vec![(state.clone().without_loose(actor.process), true)],
            Step::Release => state
                .ends_claim(actor.process)
                .map(|(state, _)| (state, true))
                .into_iter()
                .collect(),
            Step::GiveBack => {
                let ended = state.ends_claim(actor.process);
                ended.map(|(state, item)| (state.with_returned(item), true)).into_iter().collect()
            }
            Step::GiveBackUnseen => match state.ends_claim(actor.process) {
                // It is back, or will be found to be.
                Some((state, item)) => vec![
                    (state.clone().with_returned(item), true),
                    (state.with_limbo(actor.process, item), true),
                ],
                None => Vec::new(),
            },
            Step::Full => same_if(!room && !state.closed && !self.rules.overwrites),
            Step::Refused => self.refused(state, actor),
            Step::FullOrRefused => {
                let mut outcomes = self.outcomes(state, actor, Step::Full);
                if outcomes.is_empty() {
                    outcomes = self.refused(state, actor);
                }
                outcomes
            }
            Step::Empty => same_if(
                state.has_nothing() && !state.closed && !self.should_know(state, actor, LATE),
            ),
            Step::Drained => {
                same_if(state.has_nothing() && state.closed && !self.should_know(state, actor, 0))
            }
            Step::NoMore => same_if(state.has_nothing()),
            Step::Length(count) => state.of_length(count..=count),
            Step::IsEmpty(true) => state.of_length(0..=0),
            Step::IsEmpty(false) => state.of_length(1..=usize::MAX),
            Step::IsFull(true) => state.of_length(self.rules.capacity..=usize::MAX),
            Step::IsFull(false) => state.of_length(0..=self.rules.capacity - 1),
            Step::IsClosed(closed) => same_if(state.closed == closed),
            Step::Close => vec![(State { closed: true, ..state.clone() }, true)],
            Step::Recover => vec![(self.repaired(state, actor), true)],
            Step::Die => vec![(self.without(state, actor.process), true)],
        }
    }
}

impl Model {
    /// Whether somebody has been dead for so long that the actor's call has to find what is in limbo.
    fn should_know(&self, state: &State, actor: Actor, late: u64) -> bool {
        state.limbo.iter().any(|&(owner, _)| self.known(owner, actor, late))
    }

    fn known(&self, owner: usize, actor: Actor, late: u64) -> bool {
        self.deaths[owner].is_some_and(|death| death + late < actor.invoked)
    }

    fn repaired(&self, state: &State, actor: Actor) -> State {
        let mut state = state.clone();
        let limbo = std::mem::take(&mut state.limbo);
        for (owner, item) in limbo {
            state = match self.known(owner, actor, 0) {
                true => state.with_returned(item),
                false => state.with_limbo(owner, item),
            };
        }
        state
    }

    /// What the process held is in limbo, or gone.
    fn without(&self, state: &State, process: usize) -> State {
        let mut state = state.clone();
        let all = [std::mem::take(&mut state.claimed), std::mem::take(&mut state.loose)];
        for (held, place) in all.into_iter().zip([true, false]) {
            for (owner, item) in held {
                state = match (owner == process, place) {
                    (true, _) if self.rules.slots || self.rules.drops => state,
                    (true, _) => state.with_limbo(owner, item),
                    (false, true) => state.with_claim(owner, item),
                    (false, false) => state.with_loose(owner, item),
                };
            }
        }
        state
    }

    fn append(&self, state: &State, actor: Actor, value: u64) -> Vec<Outcome<State>> {
        if state.closed {
            return Vec::new();
        }
        let mut next = state.clone();
        let room = state.ring.len() < self.rules.capacity;
        if !room && self.rules.overwrites && self.rules.slots {
            next.ring.remove(0);
        } else if !room {
            return self.take_out(state, actor);
        }
        next.ring.push(value);
        self.overwritten(next, actor).into_iter().map(|next| (next, true)).collect()
    }

    /// A push that overwrites takes out the oldest of a queue that is full. What it had taken out before is gone.
    fn take_out(&self, state: &State, actor: Actor) -> Vec<Outcome<State>> {
        if !self.rules.overwrites || self.rules.slots || state.ring.len() < self.rules.capacity {
            return Vec::new();
        }
        let mut next = state.clone();
        let item = Again { value: next.ring.remove(0), deliveries: 2 };
        let gone = self.overwritten(next, actor).into_iter();
        gone.map(|next| (next.with_loose(actor.process, item), false)).collect()
    }

    /// What the actor had taken out is gone; if it is killed before that, it is not.
    fn overwritten(&self, state: State, actor: Actor) -> Vec<State> {
        let gone = state.clone().without_loose(actor.process);
        let killed_before = actor.unseen && gone != state;
        [gone].into_iter().chain(killed_before.then_some(state)).collect()
    }

    /// A push finds the queue closed; what it had taken out goes back.
    fn refused(&self, state: &State, actor: Actor) -> Vec<Outcome<State>> {
        if !state.closed {
            return self.take_out(state, actor);
        }
        let mut next = state.clone().without_loose(actor.process);
        for &(_, item) in state.loose.iter().filter(|(owner, _)| *owner == actor.process) {
            next = next.with_returned(item);
        }
        vec![(next, true)]
    }

    /// The ways to take an item: the oldest, one that was given back, one that the dead held. With it, as what it
    /// would come again.
    fn takes(
        &self,
        state: &State,
        wanted: Option<u64>,
        deliveries: Option<u32>,
    ) -> Vec<(State, Again)> {
        let is = |value: u64, times: u32| {
            wanted.is_none_or(|wanted| wanted == value)
                && deliveries.is_none_or(|told| told == times)
        };
        let again = |item: Again| Again { deliveries: item.deliveries + 1, ..item };
        let mut ways = Vec::new();
        if let Some(&value) = state.ring.first().filter(|&&value| is(value, 1)) {
            let mut next = state.clone();
            next.ring.remove(0);
            ways.push((next, Again { value, deliveries: 2 }));
        }
        for (at, &item) in state.returned.iter().enumerate() {
            if is(item.value, item.deliveries) {
                let mut next = state.clone();
                next.returned.remove(at);
                ways.push((next, again(item)));
            }
        }
        for (at, &(_, item)) in state.limbo.iter().enumerate() {
            if is(item.value, item.deliveries) {
                let mut next = state.clone();
                next.limbo.remove(at);
                ways.push((next, again(item)));
            }
        }
        ways
    }

    fn take_unseen(&self, state: &State, actor: Actor) -> Vec<Outcome<State>> {
        let mut outcomes = Vec::new();
        for (next, item) in self.takes(state, None, None) {
            if item.deliveries > 2 {
                // It counts a redelivery only after it has taken the item.
                let uncounted = Again { deliveries: item.deliveries - 1, ..item };
                outcomes.push((next.clone().with_loose(actor.process, uncounted), true));
            }
            outcomes.push((next.with_loose(actor.process, item), true));
        }
        outcomes
    }
}

impl State {
    fn has_nothing(&self) -> bool {
        self.ring.is_empty() && self.returned.is_empty()
    }

    fn with_returned(mut self, item: Again) -> Self {
        self.returned.push(item);
        self.returned.sort_unstable();
        self
    }

    fn with_claim(mut self, process: usize, item: Again) -> Self {
        self.claimed.push((process, item));
        self.claimed.sort_unstable();
        self
    }

    fn with_loose(mut self, process: usize, item: Again) -> Self {
        self.loose.push((process, item));
        self.loose.sort_unstable();
        self
    }

    fn with_limbo(mut self, process: usize, item: Again) -> Self {
        self.limbo.push((process, item));
        self.limbo.sort_unstable();
        self
    }

    fn without_loose(mut self, process: usize) -> Self {
        self.loose.retain(|(owner, _)| *owner != process);
        self
    }

    fn ends_claim(&self, process: usize) -> Option<(Self, Again)> {
        let mut state = self.clone();
        let at = state.claimed.iter().position(|(owner, _)| *owner == process)?;
        let (_, item) = state.claimed.remove(at);
        Some((state, item))
    }

    /// The states of such a length: this one, if possible; else those in which some of what is in limbo has come back.
    fn of_length(&self, wanted: std::ops::RangeInclusive<usize>) -> Vec<Outcome<State>> {
        if wanted.contains(&(self.ring.len() + self.returned.len())) {
            return vec![(self.clone(), true)];
        }
        let mut found: Vec<Outcome<State>> = Vec::new();
        for at in 0..self.limbo.len() {
            let mut next = self.clone();
            let (_, item) = next.limbo.remove(at);
            found.extend(next.with_returned(item).of_length(wanted.clone()));
        }
        found
    }
}

/// The steps of a call that returned.
fn steps(call: Call, answer: Answer) -> Vec<Step> {
    let refusal = |no: No| match no {
        No::Closed => Step::Refused,
        _ => Step::Full,
    };
    match (call, answer) {
        (Call::Push(_, value) | Call::PushInPlace(_, value), Answer::Done) => {
            vec![Step::Append(value)]
        }
        (Call::Push(..) | Call::PushInPlace(..) | Call::PushMany(..), Answer::No(no)) => {
            vec![refusal(no)]
        }
        (Call::PushMany(_, first, count), Answer::Pushed(pushed, why)) => {
            let mut steps: Vec<Step> = appends(first, pushed).collect();
            match why {
                Some(no) => steps.push(refusal(no)),
                None if pushed < count => steps.push(Step::FullOrRefused),
                None => {}
            }
            steps
        }
        (Call::Pop(_), Answer::Popped(items)) => takes(items.all()).collect(),
        (Call::PopMany(_, most), Answer::Popped(items)) => {
            let no_more = (items.all().len() < most).then_some(Step::NoMore);
            takes(items.all()).chain(no_more).collect()
        }
        (Call::Claim(_), Answer::Claimed(value, deliveries)) => {
            vec![Step::Claim(value, Some(deliveries))]
        }
        (Call::Pop(_) | Call::PopMany(..) | Call::Claim(_), Answer::No(No::Closed)) => {
            vec![Step::Drained]
        }
        (Call::Pop(_) | Call::PopMany(..) | Call::Claim(_), Answer::No(_)) => vec![Step::Empty],
        (Call::Release, Answer::Done) => vec![Step::Release],
        (Call::GiveBack, Answer::Done) => vec![Step::GiveBack],
        (Call::Release | Call::GiveBack, Answer::No(_)) => Vec::new(), // had nothing in hand
        (Call::Len, Answer::Count(count)) => vec![Step::Length(count)],
        (Call::IsEmpty, Answer::Is(answer)) => vec![Step::IsEmpty(answer)],
        (Call::IsFull, Answer::Is(answer)) => vec![Step::IsFull(answer)],
        (Call::IsClosed, Answer::Is(answer)) => vec![Step::IsClosed(answer)],
        (Call::Close, Answer::Done) => vec![Step::Close],
        (Call::Recover, Answer::Done) => vec![Step::Recover],
        (call, answer) => panic!("{call:?} cannot answer {answer:?}"),
    }
}

/// The steps that a call whose process was killed in it may have done: none, or some from the first on.
fn unseen_steps(call: Call) -> Vec<Step> {
    match call {
        Call::Push(_, value) | Call::PushInPlace(_, value) => vec![Step::Append(value)],
        Call::PushMany(_, first, count) => appends(first, count).collect(),
        Call::Pop(_) => vec![Step::TakeUnseen, Step::Consume],
        Call::PopMany(_, most) => [Step::TakeUnseen, Step::Consume].repeat(most),
        Call::Claim(_) => vec![Step::TakeUnseen],
        Call::Release => vec![Step::Release],
        Call::GiveBack => vec![Step::GiveBackUnseen],
        Call::Close => vec![Step::Close],
        Call::Len | Call::IsEmpty | Call::IsFull | Call::IsClosed | Call::Recover => Vec::new(),
        Call::ClaimMany(..) | Call::ReleaseFirst(_) | Call::Leave => panic!("{call:?} of a queue"),
    }
}

fn appends(first: u64, count: usize) -> impl Iterator<Item = Step> {
    (first..first + count as u64).map(Step::Append)
}

fn takes(items: &[u64]) -> impl Iterator<Item = Step> + '_ {
    items.iter().map(|&value| Step::Take(value, None))
}
