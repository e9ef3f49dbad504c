//! What a queue may hold after a part of an operation, and what the operation then has to answer.
//!
//! An operation on a queue is a sequence of steps, each of which takes effect at one moment. The model lists what is
//! there before the first of them, after each, and after the last: the operation's stages. Killed anywhere, it must have
//! left one of them; stopped anywhere, the others must find one of them, and it must go on from there.

use super::forms::BATCH;
use super::lab::{Check, Failure};

pub const CAPACITY: usize = 4;
/// The items that the child pushes.
pub const NEW: u64 = 100;
/// What it claims when the queue is otherwise empty, and pushes to replace what it claimed.
pub const HELD: u64 = 150;

/// The child's answers: a number that it popped, or these.
pub const NOTHING: u64 = 0;
pub const DONE: u64 = u64::MAX;
pub const CLOSED: u64 = u64::MAX - 1;

/// The child's answer for several items that it popped.
pub fn several(numbers: &[u64]) -> u64 {
    numbers.iter().enumerate().fold(0, |sum, (index, number)| sum | number << (8 * index))
}

/// The child's answer for so many items that it pushed.
pub fn counted(pushed: u64) -> u64 {
    1 << 32 | pushed
}

/// What the child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    TryPush,
    Push,
    /// A push, and a pop, that find nothing and sleep for a moment.
    PushTimeout,
    PopTimeout,
    TryPushMany,
    PushMany,
    TryReserve,
    Reserve,
    /// Of what was reserved before.
    Commit,
    /// The same, of a reservation that may wait.
    WaitToCommit,
    Abort,
    TryPop,
    Pop,
    TryPopMany,
    PopMany,
    TryClaim,
    Claim,
    /// Of what was claimed before.
    Release,
    GiveBack,
    /// Of what was popped before.
    TaskDone,
    /// A pop and its `task_done`.
    Work,
    /// The end of a handle that has popped what is not done.
    Drop,
    Join,
    Close,
}

impl Op {
    pub fn name(self) -> &'static str {
        match self {
            Self::TryPush => "try_push",
            Self::Push => "push",
            Self::PushTimeout => "push_timeout",
            Self::PopTimeout => "pop_timeout",
            Self::TryPushMany => "try_push_many",
            Self::PushMany => "push_many",
            Self::TryReserve => "try_reserve",
            Self::Reserve => "reserve",
            Self::Commit => "commit",
            Self::WaitToCommit => "commit, waiting",
            Self::Abort => "abort",
            Self::TryPop => "try_pop",
            Self::Pop => "pop",
            Self::TryPopMany => "try_pop_many",
            Self::PopMany => "pop_many",
            Self::TryClaim => "try_claim",
            Self::Claim => "claim",
            Self::Release => "release",
            Self::GiveBack => "give_back",
            Self::TaskDone => "task_done",
            Self::Work => "pop + task_done",
            Self::Drop => "drop",
            Self::Join => "join",
            Self::Close => "close",
        }
    }

    /// How many items it pushes, if all goes well.
    pub fn pushes(self) -> usize {
        match self {
            Self::TryPush | Self::Push | Self::PushTimeout | Self::Commit | Self::WaitToCommit => 1,
            Self::TryPushMany | Self::PushMany => BATCH,
            _ => 0,
        }
    }

    /// How many items it pops, at most.
    pub fn pops(self) -> usize {
        match self {
            Self::TryPop | Self::Pop | Self::PopTimeout | Self::Work => 1,
            Self::TryPopMany | Self::PopMany => BATCH,
            _ => 0,
        }
    }

    /// Whether it begins with a reservation.
    pub fn has_reserved(self) -> bool {
        [Self::Commit, Self::WaitToCommit, Self::Abort].contains(&self)
    }

    /// Whether it begins with an item that the child has taken and is not done with.
    pub fn has_taken(self) -> bool {
        [Self::Release, Self::GiveBack, Self::TaskDone, Self::Drop].contains(&self)
    }

    /// Whether it waits until it has done all that it is for.
    pub fn waits(self) -> bool {
        use Op::{Claim, Join, Pop, PopMany, Push, PushMany, Reserve, WaitToCommit};
        [Push, PushMany, Reserve, WaitToCommit, Pop, PopMany, Claim, Join].contains(&self)
    }
}

/// Policies of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Plain,
    /// Items are popped and then done.
    Joinable,
    /// A push into a full queue replaces the oldest item.
    Overwriting,
    /// The same, and there are no more blocks than items fit in.
    Tight,
}

impl Kind {
    pub fn overwrites(self) -> bool {
        matches!(self, Self::Overwriting | Self::Tight)
    }
}

/// What is in a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// In order.
    pub queued: Vec<u64>,
    /// Held by the child: nobody gets it while the child lives, and it comes back marked when it dies.
    pub held: Vec<u64>,
    /// Given back: comes again, marked.
    pub returned: Vec<u64>,
    pub closed: bool,
}

/// An operation's progress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    pub content: Content,
    /// How many of its items are in.
    pub pushed: usize,
    /// What it has taken, in order.
    pub taken: Vec<u64>,
}

/// One operation on one queue.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    pub op: Op,
    pub kind: Kind,
    pub in_blocks: bool,
}

impl Model {
    /// What there is from the operation's beginning on, up to where it ends or finds nothing to do.
    pub fn stages(self, before: &Content) -> Vec<Stage> {
        let mut stages = vec![Stage { content: before.clone(), ..Stage::default() }];
        self.go_on(&mut stages);
        stages
    }

    /// Adds the stages that follow the last one.
    fn go_on(self, stages: &mut Vec<Stage>) {
        let op = self.op;
        while self.push_one(stages) || self.pop_one(stages) {}
        let mut then = stages[stages.len() - 1].clone();
        let content = &mut then.content;
        match op {
            Op::TryClaim | Op::Claim if then.taken.is_empty() && !content.queued.is_empty() => {
                let first = content.queued.remove(0);
                content.held.push(first);
                then.taken.push(first);
            }
            Op::Release | Op::TaskDone => content.held.clear(),
            Op::Work if !content.held.is_empty() => content.held.clear(),
            Op::GiveBack | Op::Drop => content.returned.append(&mut content.held),
            Op::Close => content.closed = true,
            _ => return,
        }
        stages.push(then);
    }

    fn push_one(self, stages: &mut Vec<Stage>) -> bool {
        let mut then = stages[stages.len() - 1].clone();
        if then.pushed == self.op.pushes() || then.content.closed {
            return false;
        }
        let new = NEW + then.pushed as u64;
        if then.content.queued.len() == CAPACITY {
            if !self.kind.overwrites() {
                return false;
            }
            let oldest = then.content.queued.remove(0);
            if self.in_blocks {
                let held = |stage: &Stage| {
                    let content = Content { held: vec![oldest], ..stage.content.clone() };
                    Stage { content, ..stage.clone() }
                };
                stages.push(held(&then));
                if self.kind == Kind::Tight {
                    stages.push(then.clone()); // its block is what the new one is written into
                } else {
                    then.content.queued.push(new);
                    then.pushed += 1;
                    stages.push(held(&then));
                    stages.push(then);
                    return true;
                }
            }
        }
        then.content.held.clear();
        then.content.queued.push(new);
        then.pushed += 1;
        stages.push(then);
        true
    }

    fn pop_one(self, stages: &mut Vec<Stage>) -> bool {
        let mut then = stages[stages.len() - 1].clone();
        if then.taken.len() == self.op.pops() || then.content.queued.is_empty() {
            return false;
        }
        let first = then.content.queued.remove(0);
        then.taken.push(first);
        if self.in_blocks {
            then.content.held.push(first);
            stages.push(then.clone());
        }
        if self.kind != Kind::Joinable {
            then.content.held.clear();
            stages.push(then);
        } else if !self.in_blocks {
            unreachable!("items of joinable queues lie in blocks");
        }
        true
    }

    /// The ways in which the operation may end that was stopped at `stage` of `stages`, when others have taken everything
    /// out that they could, and left `left`: its answer, and what there is then, once the child is dead.
    pub fn ends(self, stages: &[Stage], stage: usize, left: &[u64]) -> Vec<(u64, Content)> {
        let at = &stages[stage];
        let content = Content {
            queued: left.to_vec(),
            held: at.content.held.clone(),
            returned: Vec::new(), // others had it
            closed: at.content.closed,
        };
        let resumed = Stage { content, ..at.clone() };
        let mut on = vec![resumed.clone()];
        if self.op.pushes() > 0 {
            on[0].content.held.clear(); // what was replaced is free when the new one is in
        }
        if !self.is_over(at) {
            self.go_on(&mut on);
        }
        let mut ends = vec![on.pop().expect("one at least")];
        // It may have seen already that there was nothing more for it to do.
        let has_enough = self.op == Op::PopMany && !at.taken.is_empty();
        if stage + 1 == stages.len() && (!self.op.waits() || has_enough) {
            ends.push(resumed);
        }
        let end = |stage: Stage| (self.answer(&stage), self.settled(stage.content));
        let mut ends: Vec<_> = ends.into_iter().map(end).collect();
        if self.kind == Kind::Tight {
            ends.extend(self.spared(at, &ends[0]));
        }
        ends.dedup();
        ends
    }

    /// The end of a push that took the oldest item for its block, and found then that others had freed one: the item is
    /// given back.
    fn spared(self, at: &Stage, end: &(u64, Content)) -> Option<(u64, Content)> {
        let mut content = end.1.clone();
        if let &[held] = &at.content.held[..] {
            content.returned.push(held);
        } else if at.pushed == 0 {
            content.returned.push(content.queued.remove(0));
        } else {
            return None;
        }
        Some((end.0, content))
    }

    /// The stage, of those that others can tell apart when the child is dead.
    pub fn stage_of(stages: &[Stage], found: &Found) -> Option<usize> {
        stages.iter().position(|stage| found.is(&stage.content, true))
    }

    /// The stages that others can tell apart when the child is dead.
    pub fn distinct(stages: &[Stage]) -> Vec<u64> {
        let seen = |stage: &Stage| {
            let content = &stage.content;
            let marked = [&content.returned[..], &content.held].concat();
            Found { plain: content.queued.clone(), marked, closed: content.closed }
        };
        let mut first: Vec<u64> = (stages.iter())
            .filter_map(|stage| Some(Self::stage_of(stages, &seen(stage))? as u64))
            .collect();
        first.dedup();
        first
    }

    /// Whether nothing of the operation is left to be done at this stage.
    fn is_over(self, at: &Stage) -> bool {
        match self.op {
            Op::GiveBack | Op::Drop | Op::Release | Op::TaskDone => at.content.held.is_empty(),
            Op::Work => !at.taken.is_empty() && at.content.held.is_empty(),
            Op::TryClaim | Op::Claim => !at.taken.is_empty(),
            Op::Close => at.content.closed,
            _ => false,
        }
    }

    /// What the operation leaves when it has ended, and its process too.
    fn settled(self, mut content: Content) -> Content {
        let keeps = matches!(self.op, Op::TryClaim | Op::Claim) || self.kind == Kind::Joinable;
        if !keeps {
            content.held.clear();
        }
        content
    }

    fn answer(self, end: &Stage) -> u64 {
        let nothing = if end.content.closed { CLOSED } else { NOTHING };
        match self.op {
            Op::TryPush | Op::Push | Op::PushTimeout | Op::Commit | Op::WaitToCommit => {
                if end.pushed == 1 { DONE } else { nothing }
            }
            Op::TryPushMany | Op::PushMany => {
                if end.pushed > 0 {
                    counted(end.pushed as u64)
                } else {
                    nothing
                }
            }
            Op::TryPop | Op::Pop | Op::PopTimeout | Op::Work | Op::TryClaim | Op::Claim => {
                end.taken.first().copied().unwrap_or(nothing)
            }
            Op::TryPopMany | Op::PopMany => {
                if end.taken.is_empty() {
                    nothing
                } else {
                    several(&end.taken)
                }
            }
            Op::TryReserve | Op::Reserve => {
                if end.content.closed {
                    CLOSED
                } else if self.op == Op::TryReserve
                    && end.content.queued.len() == CAPACITY
                    && !self.kind.overwrites()
                {
                    NOTHING
                } else {
                    DONE
                }
            }
            _ => DONE,
        }
    }
}

/// What was drained: in the order in which it came, and what of it was marked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub plain: Vec<u64>,
    pub marked: Vec<u64>,
    pub closed: bool,
}

impl Found {
    pub fn has(&self, number: u64) -> bool {
        self.plain.contains(&number) || self.marked.contains(&number)
    }

    /// Whether this is what there was; `dead` when its holder is.
    pub fn is(&self, content: &Content, dead: bool) -> bool {
        let mut marked = content.returned.clone();
        if dead {
            marked.extend(&content.held);
        }
        let mut found = self.marked.clone();
        marked.sort_unstable();
        found.sort_unstable();
        self.plain == content.queued && found == marked && self.closed == content.closed
    }

    /// What is wrong with it, when it is none of `possible`: compared with what it is most like.
    pub fn judge(&self, possible: &[&Content], dead: bool) -> Failure {
        let faults = possible.iter().map(|content| self.faults(content, dead));
        let (check, why) = (faults.min_by_key(Vec::len))
            .and_then(|faults| faults.into_iter().next())
            .unwrap_or((Check::Outcome, "not so".to_owned()));
        Failure::new(check, format!("{why}: {self:?}, which is none of {possible:?}"))
    }

    fn faults(&self, content: &Content, dead: bool) -> Vec<(Check, String)> {
        let held = if dead { &content.held[..] } else { &[] };
        let marked = [&content.returned[..], held].concat();
        let mut faults = Vec::new();
        let mut all = [&self.plain[..], &self.marked[..]].concat();
        all.sort_unstable();
        let twice = all.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
        faults.extend(twice.map(|number| (Check::Doubled, format!("{number} came twice"))));
        for number in content.queued.iter().chain(&marked).filter(|number| !self.has(**number)) {
            faults.push((Check::Lost, format!("{number}")));
        }
        for number in &self.plain {
            if marked.contains(number) {
                faults.push((Check::Doubled, format!("{number} is not marked")));
            } else if !content.queued.contains(number) {
                faults.push((Check::Doubled, format!("{number} should not be here")));
            }
        }
        for number in self.marked.iter().filter(|number| !marked.contains(number)) {
            faults.push((Check::Doubled, format!("{number} is marked, and nobody had it")));
        }
        let place = |one: &u64| content.queued.iter().position(|other| other == one);
        if !self.plain.iter().filter_map(place).is_sorted() {
            faults.push((Check::Order, "in another order".to_owned()));
        }
        if self.closed != content.closed {
            faults.push((Check::Outcome, format!("closed: {}", self.closed)));
        }
        faults
    }
}
