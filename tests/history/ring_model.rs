//! The sequential ring that histories are held against: what the README and the docs of the ring promise.
//!
//! | what | in the model |
//! |---|---|
//! | a role | is taken by a step of its own, before anything else that a call does, from nobody or from the dead; `Busy` was true at some moment |
//! | a push of several, without waiting | is one step: all that fit become visible at once. How much room there was when there was too little for all, is a step before it |
//! | a push of several that waits | is one step for each item: which of them found room together is not told |
//! | a pop of several, a claim | is one step, of numbers; of messages, a step for each |
//! | a ring that overwrites | is for a moment longer than its capacity: the oldest go in a step behind the push. A push of several is one after another, a pop of several too |
//! | what is claimed | stays in the ring, is counted, and is the first that comes again, marked, by itself |
//! | the death of a reader | leaves the marks. What it had in its hands is dropped, where the ring drops it, in the step behind the one in which the next one takes the role |
//! | the call of a process that was killed in it | has done any number of its steps, from none to all; a claim, a release and a giving back may be half done |
//!
//! A commit that is refused, for the ring was closed meanwhile, has changed nothing.

use super::call::{Answer, Call, Items, No, Wait};
use super::sequential::{Actor, Outcome, RingOf, Rules, Sequential};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    In,
    Out,
}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The role is taken, if the process does not have it.
    Take(Side),
    /// A reader that has just taken the role drops what the dead one held.
    Settle,
    Busy(Side),
    Leave(Side),
    /// So many items from the first number on, all at once.
    Append(u64, usize),
    /// The same of a call that nobody saw the end of: so many, or fewer, but one at least.
    AppendUnseen(u64, usize),
    /// Before a push into a ring that overwrites: what is too much, for one who pushed before has died.
    MakeRoom,
    /// After it: the oldest that are too many go.
    Trim,
    Room(usize),
    Full,
    Refused,
    /// All of them, at once.
    Remove(Items),
    /// So many, or fewer, but one at least, in a call that nobody saw the end of.
    RemoveUnseen(usize),
    /// There are exactly so many.
    There(usize),
    /// The same, where none is marked: those that are come without others.
    ThereUnlessMarked(usize),
    Empty,
    Drained,
    /// So many at most, which are these, for the how-manieth time.
    Claim(usize, Items, u32),
    ClaimUnseen(usize),
    /// So many of what is claimed; nothing = all.
    Release(Option<usize>),
    ReleaseUnseen(Option<usize>),
    GiveBack,
    Length(usize),
    IsEmpty(bool),
    IsFull(bool),
    IsClosed(bool),
    Close,
    Die,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// The oldest first.
    items: Vec<u64>,
    closed: bool,
    writer: Option<usize>,
    reader: Option<usize>,
    /// Items at the front that have been handed out, and how often.
    marked: usize,
    times: u32,
    /// Items at the front that the reader has in its hands.
    held: usize,
    /// The reader has taken the role from the dead, and not looked yet what that held.
    drops: bool,
    /// A bit for each process that has died.
    dead: u64,
}

/// A ring of some rules.
pub struct RingModel {
    rules: Rules,
    of: RingOf,
}

impl State {
    fn holder(&mut self, side: Side) -> &mut Option<usize> {
        if side == Side::In { &mut self.writer } else { &mut self.reader }
    }

    fn is_dead(&self, process: usize) -> bool {
        self.dead & 1 << process != 0
    }

    /// Whether a process lives and has the role.
    fn has(&self, side: Side) -> Option<usize> {
        let holder = if side == Side::In { self.writer } else { self.reader };
        holder.filter(|&process| !self.is_dead(process))
    }

    /// The first ones are gone.
    fn without(mut self, count: usize) -> Self {
        self.items.drain(..count);
        self.marked = self.marked.saturating_sub(count);
        self.held = self.held.saturating_sub(count);
        self.forget()
    }

    /// How often what is not marked was handed out has no meaning.
    fn forget(mut self) -> Self {
        self.times = if self.marked == 0 { 0 } else { self.times };
        self
    }

    fn with_nothing_held(self) -> Self {
        Self { held: 0, ..self }
    }

    /// What is left of a claim is as it was before it.
    fn unclaimed(self) -> Self {
        let mut next = self.with_nothing_held();
        match next.times {
            0 => {}
            1 => (next.marked, next.times) = (0, 0),
            times => next.times = times - 1,
        }
        next
    }

    fn begins_with(&self, items: &Items) -> bool {
        self.items.starts_with(items.all())
    }
}

fn done(state: State) -> Vec<Outcome<State>> {
    vec![(state, true)]
}

impl RingModel {
    /// The most that a ring holds for a moment, and whoever pushes then leaves room for one.
    fn most_before_a_push(&self) -> usize {
        match self.of {
            RingOf::Numbers => self.rules.capacity,
            RingOf::Messages => 2 * self.rules.capacity - 1,
        }
    }

    fn room(&self, state: &State) -> usize {
        self.rules.capacity.saturating_sub(state.items.len())
    }

    fn append(&self, state: &State, first: u64, count: usize) -> Option<State> {
        let room = if self.rules.overwrites {
            self.most_before_a_push() + 1 - state.items.len()
        } else {
            self.room(state)
        };
        (!state.closed && count <= room).then(|| {
            let mut next = state.clone();
            next.items.extend(first..first + count as u64);
            next
        })
    }

    fn take(&self, state: &State, actor: Actor, side: Side) -> Vec<Outcome<State>> {
        let mut next = state.clone();
        let before = next.holder(side).replace(actor.process);
        if before == Some(actor.process) {
            return done(next);
        }
        if before.is_some_and(|process| !state.is_dead(process)) {
            return Vec::new();
        }
        if side == Side::Out {
            next.drops = before.is_some() && self.rules.drops;
            next.held = if next.drops { next.held } else { 0 };
        }
        done(next)
    }

    /// Takes the oldest out, one after another, until there are at most so many.
    fn shorten(state: &State, most: usize) -> Vec<Outcome<State>> {
        match state.items.len() > most {
            true => vec![(state.clone().without(1), false)],
            false => done(state.clone()),
        }
    }

    fn claim(state: &State, most: usize, items: &Items, times: u32) -> Option<State> {
        let count = items.all().len();
        let fits = if state.marked > 0 { count == most.min(state.marked) } else { count <= most };
        let next = Self::claimed(state, count);
        (fits && state.begins_with(items) && next.times == times).then_some(next)
    }

    fn claimed(state: &State, count: usize) -> State {
        let marked = if state.marked > 0 { state.marked } else { count };
        State { marked, times: state.times + 1, held: count, ..state.clone() }
    }

    /// A claim may have come as far as to its count, or to its marks.
    fn claim_unseen(state: &State, most: usize) -> Vec<Outcome<State>> {
        let there = state.items.len().min(most);
        let counts = if state.marked > 0 {
            there.min(state.marked)..=there.min(state.marked)
        } else {
            1..=there
        };
        let whole = counts.map(|count| Self::claimed(state, count));
        whole
            .flat_map(|next| [next.clone().with_nothing_held(), next])
            .map(|next| (next, true))
            .collect()
    }

    fn released(state: &State, count: Option<usize>) -> State {
        let next = state.clone().without(count.unwrap_or(state.held).min(state.held));
        next.unclaimed()
    }

    fn release_unseen(state: &State, count: Option<usize>) -> Vec<Outcome<State>> {
        let begun = state.clone().without(count.unwrap_or(state.held).min(state.held));
        let put_down = begun.clone().with_nothing_held();
        [begun, put_down, Self::released(state, count)].map(|next| (next, true)).into()
    }

    fn of_many(&self, call: Call, taken: &Items, most: usize) -> Vec<Step> {
        let count = taken.all().len();
        let one_by_one = self.of == RingOf::Messages || self.rules.overwrites;
        match (call, one_by_one) {
            (Call::PopMany(..), true) => {
                let removals = taken.all().iter().map(|&item| Step::Remove(Items::of(&[item])));
                removals.chain((count < most).then_some(Step::There(0))).collect()
            }
            _ => {
                let fewer = (count < most).then_some(Step::There(count));
                fewer.into_iter().chain([Step::Remove(*taken)]).collect()
            }
        }
    }

    /// A push, with what a ring that overwrites does before and behind it.
    fn push(&self, first: u64, count: usize) -> Vec<Step> {
        match self.rules.overwrites {
            true => vec![Step::MakeRoom, Step::Append(first, count), Step::Trim],
            false => vec![Step::Append(first, count)],
        }
    }

    fn pushes(&self, first: u64, count: usize) -> Vec<Step> {
        (first..first + count as u64).flat_map(|number| self.push(number, 1)).collect()
    }

    fn push_many(&self, wait: Wait, first: u64, count: usize, pushed: usize) -> Vec<Step> {
        if wait != Wait::Not || self.rules.overwrites {
            return self.pushes(first, pushed);
        }
        let fewer = (pushed < count).then_some(Step::Room(pushed));
        fewer.into_iter().chain([Step::Append(first, pushed)]).collect()
    }

    fn refusal(no: No) -> Step {
        match no {
            No::Closed => Step::Refused,
            _ => Step::Full,
        }
    }

    /// What is seen, or done, when the role is the process's.
    fn acts(&self, call: Call, answer: Answer) -> Vec<Step> {
        match (call, answer) {
            (Call::Push(_, value) | Call::PushInPlace(_, value), Answer::Done) => {
                self.push(value, 1)
            }
            (Call::Push(..) | Call::PushInPlace(..) | Call::PushMany(..), Answer::No(no)) => {
                vec![Self::refusal(no)]
            }
            (Call::PushMany(wait, first, count), Answer::Pushed(pushed, why)) => {
                let mut steps = self.push_many(wait, first, count, pushed);
                match why {
                    Some(no) => steps.push(Self::refusal(no)),
                    // One after another, until the ring was closed.
                    None if pushed < count && self.rules.overwrites => steps.push(Step::Refused),
                    None => {}
                }
                steps
            }
            (Call::Pop(_), Answer::Popped(items)) => vec![Step::Remove(items)],
            (Call::PopMany(_, most), Answer::Popped(items)) => self.of_many(call, &items, most),
            (Call::ClaimMany(_, most), Answer::Handed(items, times)) => {
                let most = self.at_once(most);
                let fewer = (items.all().len() < most).then_some(items.all().len());
                let seen = fewer.map(Step::ThereUnlessMarked);
                seen.into_iter().chain([Step::Claim(most, items, times)]).collect()
            }
            (Call::Pop(_) | Call::PopMany(..) | Call::ClaimMany(..), Answer::No(No::Closed)) => {
                vec![Step::Drained]
            }
            (Call::Pop(_) | Call::PopMany(..) | Call::ClaimMany(..), Answer::No(_)) => {
                vec![Step::Empty]
            }
            (call, answer) => panic!("{call:?} cannot answer {answer:?}"),
        }
    }

    /// Of how many items a claim is, at most.
    fn at_once(&self, most: usize) -> usize {
        if self.of == RingOf::Messages { 1 } else { most }
    }

    fn side(call: Call) -> Option<Side> {
        match call {
            Call::Push(..) | Call::PushInPlace(..) | Call::PushMany(..) => Some(Side::In),
            Call::Pop(..) | Call::PopMany(..) | Call::ClaimMany(..) => Some(Side::Out),
            _ => None,
        }
    }

    fn takes(side: Side) -> Vec<Step> {
        match side {
            Side::In => vec![Step::Take(Side::In)],
            Side::Out => vec![Step::Take(Side::Out), Step::Settle],
        }
    }
}

impl Sequential for RingModel {
    type State = State;
    type Step = Step;
    const DIE: Step = Step::Die;

    fn new(rules: Rules, _deaths: Vec<Option<u64>>) -> Self {
        Self { rules, of: rules.ring.expect("the rules of a ring") }
    }

    fn steps(&self, call: Call, answer: Answer) -> Vec<Step> {
        if let Some(side) = Self::side(call) {
            if answer == Answer::No(No::Busy) {
                return vec![Step::Busy(side)];
            }
            return Self::takes(side).into_iter().chain(self.acts(call, answer)).collect();
        }
        match (call, answer) {
            (Call::Release, Answer::Done) => vec![Step::Release(None)],
            (Call::ReleaseFirst(_), Answer::Count(count)) => vec![Step::Release(Some(count))],
            (Call::GiveBack, Answer::Done) => vec![Step::GiveBack],
            (Call::Release | Call::ReleaseFirst(_) | Call::GiveBack, Answer::No(_)) => Vec::new(),
            (Call::Leave, Answer::Done) => vec![Step::Leave(Side::In), Step::Leave(Side::Out)],
            (Call::Len, Answer::Count(count)) => vec![Step::Length(count)],
            (Call::IsEmpty, Answer::Is(answer)) => vec![Step::IsEmpty(answer)],
            (Call::IsFull, Answer::Is(answer)) => vec![Step::IsFull(answer)],
            (Call::IsClosed, Answer::Is(answer)) => vec![Step::IsClosed(answer)],
            (Call::Close, Answer::Done) => vec![Step::Close],
            (call, answer) => panic!("{call:?} cannot answer {answer:?}"),
        }
    }

    fn unseen_steps(&self, call: Call) -> Vec<Step> {
        let mut steps = Self::side(call).map(Self::takes).unwrap_or_default();
        match call {
            Call::Push(_, value) | Call::PushInPlace(_, value) => steps.extend(self.push(value, 1)),
            Call::PushMany(Wait::Not, first, count) if !self.rules.overwrites => {
                steps.push(Step::AppendUnseen(first, count));
            }
            Call::PushMany(_, first, count) => steps.extend(self.pushes(first, count)),
            Call::Pop(_) => steps.push(Step::RemoveUnseen(1)),
            Call::PopMany(_, most) => match self.of == RingOf::Messages || self.rules.overwrites {
                true => steps.extend([Step::RemoveUnseen(1)].repeat(most)),
                false => steps.push(Step::RemoveUnseen(most)),
            },
            Call::ClaimMany(_, most) => steps.push(Step::ClaimUnseen(self.at_once(most))),
            Call::Release => steps.push(Step::ReleaseUnseen(None)),
            Call::ReleaseFirst(count) => steps.push(Step::ReleaseUnseen(Some(count))),
            Call::GiveBack => steps.push(Step::GiveBack),
            Call::Leave => steps.extend([Step::Leave(Side::In), Step::Leave(Side::Out)]),
            Call::Close => steps.push(Step::Close),
            Call::Len | Call::IsEmpty | Call::IsFull | Call::IsClosed => {}
            Call::Claim(_) | Call::Recover => panic!("{call:?} of a ring"),
        }
        steps
    }

    fn outcomes(&self, state: &State, actor: Actor, step: Step) -> Vec<Outcome<State>> {
        let same_if = |holds: bool| if holds { done(state.clone()) } else { Vec::new() };
        let (length, most) = (state.items.len(), self.rules.capacity);
        match step {
            Step::Take(side) => self.take(state, actor, side),
            Step::Settle if state.drops => {
                let next = State { drops: false, ..state.clone().without(state.held) };
                done(next.with_nothing_held())
            }
            Step::Settle => done(state.clone()),
            Step::Busy(side) => {
                same_if(state.has(side).is_some_and(|process| process != actor.process))
            }
            Step::Leave(side) => {
                let mut next = state.clone();
                let its = *next.holder(side) == Some(actor.process);
                *next.holder(side) = next.holder(side).filter(|_| !its);
                done(next)
            }
            Step::Append(first, count) => {
                self.append(state, first, count).into_iter().flat_map(done).collect()
            }
            Step::AppendUnseen(first, count) => {
                let some = |count| self.append(state, first, count).map(|next| (next, true));
                (1..=count).filter_map(some).collect()
            }
            Step::MakeRoom => Self::shorten(state, self.most_before_a_push()),
            Step::Trim => Self::shorten(state, most),
            Step::Room(count) => same_if(self.room(state) == count && !state.closed),
            Step::Full => same_if(length >= most && !state.closed && !self.rules.overwrites),
            Step::Refused if !state.closed && length > self.most_before_a_push() => {
                Self::shorten(state, self.most_before_a_push())
            }
            Step::Refused => same_if(state.closed),
            Step::Remove(items) => match state.begins_with(&items) {
                true => done(state.clone().without(items.all().len())),
                false => Vec::new(),
            },
            Step::RemoveUnseen(most) => {
                let some = |count| (state.clone().without(count), true);
                (1..=most.min(length)).map(some).collect()
            }
            Step::There(count) => same_if(length == count),
            Step::ThereUnlessMarked(count) => same_if(state.marked > 0 || length == count),
            Step::Empty => same_if(length == 0 && !state.closed),
            Step::Drained => same_if(length == 0 && state.closed),
            Step::Claim(most, items, times) => {
                Self::claim(state, most, &items, times).into_iter().flat_map(done).collect()
            }
            Step::ClaimUnseen(most) => Self::claim_unseen(state, most),
            Step::Release(count) => done(Self::released(state, count)),
            Step::ReleaseUnseen(count) => Self::release_unseen(state, count),
            Step::GiveBack => done(state.clone().with_nothing_held()),
            Step::Length(count) => same_if(count == self.counted(length)),
            Step::IsEmpty(answer) => same_if(answer == (length == 0)),
            Step::IsFull(answer) => same_if(answer == (length >= most)),
            Step::IsClosed(answer) => same_if(answer == state.closed),
            Step::Close => done(State { closed: true, ..state.clone() }),
            Step::Die => done(State { dead: state.dead | 1 << actor.process, ..state.clone() }),
        }
    }
}

impl RingModel {
    /// What `len` says: numbers are reckoned from the bytes in use, messages are counted.
    fn counted(&self, length: usize) -> usize {
        match self.of {
            RingOf::Numbers => length.min(self.rules.capacity),
            RingOf::Messages => length,
        }
    }
}
