//! What a ring may hold after a part of an operation, and what the operation then has to answer.
//!
//! As for queues (`model.rs`): an operation is a sequence of stages. Killed anywhere, it must have left one of them;
//! stopped anywhere, the others must find one of them, and it must go on from there.

use super::forms::BATCH;
use super::model::{CLOSED, DONE, NEW, NOTHING, counted, several};

/// What the child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    TryPush,
    Push,
    /// A push, and a pop, that find nothing and sleep for a moment.
    PushTimeout,
    PopTimeout,
    /// As many as fit.
    TryPushMany,
    PushMany,
    /// All, or none.
    TryPushAll,
    PushAll,
    TryReserve,
    Reserve,
    /// Of what was reserved before.
    Commit,
    /// Of less than what was reserved before.
    CommitPart,
    Abort,
    TryPop,
    /// Into a buffer.
    TryPopInto,
    Pop,
    TryPopMany,
    PopMany,
    TryClaim,
    Claim,
    /// Of what was claimed before.
    Release,
    /// Of the first item of several; of none of the only message.
    ReleasePart,
    GiveBack,
    /// A message as a stream of bytes: some of them, then the rest.
    Read,
    Close,
    /// The end of a handle that has a role.
    Leave,
}

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Producer,
    Consumer,
}

/// Policies of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Plain,
    /// A push into a full ring replaces the oldest items.
    Overwriting,
    /// Who would wait for room is told that there is none.
    Failing,
    /// What a dead consumer had claimed is gone with it.
    AtMostOnce,
    /// The stream ends when one of its ends does.
    Following,
}

impl Op {
    /// As it is written.
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.extend(letter.to_lowercase());
        }
        name
    }

    /// Whose operation it is; nobody's in particular, if none.
    pub fn role(self) -> Option<Role> {
        use Op::{
            Abort, Commit, CommitPart, Push, PushAll, PushMany, PushTimeout, Reserve, TryPush,
            TryPushAll, TryPushMany, TryReserve,
        };
        match self {
            TryPush | Push | PushTimeout | TryPushMany | PushMany | TryPushAll | PushAll
            | TryReserve | Reserve | Commit | CommitPart | Abort => Some(Role::Producer),
            Self::Close | Self::Leave => None,
            _ => Some(Role::Consumer),
        }
    }

    fn takes_many(self) -> bool {
        matches!(self, Self::TryPopMany | Self::PopMany)
    }

    /// How many items it pops, at most.
    fn pops(self) -> usize {
        match self {
            Self::TryPop | Self::TryPopInto | Self::Pop | Self::PopTimeout => 1,
            Self::TryPopMany | Self::PopMany => BATCH,
            _ => 0,
        }
    }

    fn is_all_or_none(self) -> bool {
        !matches!(self, Self::TryPushMany | Self::PushMany)
    }

    /// Whether it begins with a reservation, and with a claim.
    pub fn has_reserved(self) -> bool {
        matches!(self, Self::Commit | Self::CommitPart | Self::Abort)
    }

    pub fn has_claimed(self) -> bool {
        matches!(self, Self::Release | Self::ReleasePart | Self::GiveBack)
    }

    /// Whether it waits until it has done all that it is for.
    pub fn waits(self) -> bool {
        use Op::{Claim, Pop, PopMany, Push, PushAll, PushMany, Read, Reserve};
        matches!(self, Push | PushMany | PushAll | Reserve | Pop | PopMany | Claim | Read)
    }
}

/// What is in a ring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// In order.
    pub items: Vec<u64>,
    /// How many of them, from the first on, have been handed out in place, and how often.
    pub handed: usize,
    pub times: u64,
    /// How many the reader has in its hands.
    pub held: usize,
    pub closed: bool,
}

impl Content {
    /// The first `count` are taken out.
    pub fn remove(&mut self, count: usize) {
        self.items.drain(..count);
        self.handed = self.handed.saturating_sub(count);
        self.held = self.held.saturating_sub(count);
        self.settle();
    }

    fn settle(&mut self) {
        if self.handed == 0 {
            self.times = 0;
        }
    }

    /// Up to `most` are handed out in place; says how many.
    pub fn hand_out(&mut self, most: usize) -> usize {
        let mut count = most.min(self.items.len());
        if self.handed > 0 {
            count = count.min(self.handed);
        } else {
            self.handed = count;
        }
        self.times += u64::from(count > 0);
        self.held = count;
        count
    }

    /// The items, and the how-manieth time each comes when it is claimed.
    pub fn expected(&self) -> Vec<(u64, u32)> {
        let times = |index| if index < self.handed { self.times as u32 + 1 } else { 1 };
        self.items.iter().enumerate().map(|(index, &item)| (item, times(index))).collect()
    }
}

/// An operation's progress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    pub content: Content,
    /// How many of its items are in.
    pub pushed: usize,
    /// What it has taken, or claimed, in order.
    pub taken: Vec<u64>,
    /// Whether the child has its role.
    pub has_role: bool,
    /// Whether what a dead one had claimed has been seen to.
    pub settled: bool,
    /// How many of its further steps have been made.
    pub steps: usize,
}

/// One operation on one ring.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    pub op: Op,
    pub role: Option<Role>,
    pub kind: Kind,
    pub framed: bool,
    pub capacity: usize,
    /// How many items it has claimed when it begins.
    pub claimed: usize,
    /// Whether it knows of room when it begins: that is given out without a look, and a commit behind the end refused.
    pub knows: bool,
}

impl Model {
    /// How many items it pushes, if all goes well.
    pub fn pushes(self) -> usize {
        match self.op {
            Op::TryPush | Op::Push | Op::PushTimeout => 1,
            Op::TryPushMany | Op::PushMany | Op::TryPushAll | Op::PushAll => BATCH,
            Op::Commit | Op::CommitPart if self.framed => 1,
            Op::Commit => BATCH,
            Op::CommitPart => BATCH - 1,
            _ => 0,
        }
    }

    /// How many items a claim asks for.
    pub fn claims(self) -> usize {
        if self.framed { 1 } else { 2 }
    }

    /// How many items there is room for, in a ring that overwrites, beyond its capacity included.
    fn whole(self) -> usize {
        if self.framed { 2 * self.capacity } else { self.capacity + 1 }
    }

    /// What there is from the operation's beginning on, up to where it ends or finds nothing to do.
    pub fn stages(self, before: Stage) -> Vec<Stage> {
        let mut stages = vec![before];
        while let Some(next) = self.next(&stages[stages.len() - 1]) {
            stages.push(next);
        }
        stages
    }

    fn next(self, at: &Stage) -> Option<Stage> {
        let mut then = at.clone();
        if self.op == Op::Leave {
            return self.leave(then);
        }
        if self.role.is_some() && !at.has_role {
            then.has_role = true;
            return Some(then);
        }
        if !at.settled {
            then.content.remove(at.content.held);
            then.settled = true;
            return Some(then);
        }
        match self.op {
            Op::Close if !at.content.closed => {
                then.content.closed = true;
                Some(then)
            }
            Op::GiveBack if at.content.held > 0 => {
                then.content.held = 0;
                Some(then)
            }
            Op::Release => self.release(then, self.claimed),
            Op::ReleasePart => self.release(then, usize::from(!self.framed)),
            Op::TryClaim | Op::Claim => self.claim(then),
            Op::Read => self.read(then),
            _ if self.pushes() > 0 => self.push(then),
            _ => self.pop(then),
        }
    }

    fn leave(self, mut then: Stage) -> Option<Stage> {
        if !then.has_role {
            return None;
        }
        if self.kind == Kind::Following && !then.content.closed {
            then.content.closed = true;
        } else {
            then.has_role = false;
        }
        Some(then)
    }

    fn push(self, mut then: Stage) -> Option<Stage> {
        let content = &mut then.content;
        let (left, used) = (self.pushes() - then.pushed, content.items.len());
        let mut room = self.capacity.saturating_sub(used);
        if self.kind == Kind::Overwriting {
            room = if self.op.is_all_or_none() { left } else { 1 };
            // A forerunner that died has left more than the capacity: that goes first only where there is no room at all.
            let fits = then.pushed == 0 && used + room <= self.whole() && !content.closed;
            if used > self.capacity && !fits {
                content.remove(1);
                return Some(then);
            }
        }
        let count = if self.op.is_all_or_none() && room < left { 0 } else { room.min(left) };
        let once = self.op == Op::TryPushMany && self.kind != Kind::Overwriting && then.pushed > 0;
        if count == 0 || content.closed || once {
            return None;
        }
        content.items.extend((0..count).map(|index| NEW + (then.pushed + index) as u64));
        then.pushed += count;
        Some(then)
    }

    fn pop(self, mut then: Stage) -> Option<Stage> {
        let one_by_one = self.framed || self.kind == Kind::Overwriting;
        let left = self.op.pops().saturating_sub(then.taken.len());
        let most = if self.op.takes_many() && !one_by_one { left } else { left.min(1) };
        let count = most.min(then.content.items.len());
        if count == 0 || !one_by_one && !then.taken.is_empty() {
            return None;
        }
        then.taken.extend(&then.content.items[..count]);
        then.content.remove(count);
        Some(then)
    }

    fn claim(self, mut then: Stage) -> Option<Stage> {
        if !then.taken.is_empty() {
            return None;
        }
        let count = then.content.hand_out(self.claims());
        then.taken.extend(&then.content.items[..count]);
        (count > 0).then_some(then)
    }

    /// A message is handed out with its first bytes, and gone with its last.
    fn read(self, mut then: Stage) -> Option<Stage> {
        if then.taken.is_empty() {
            return self.claim(then);
        }
        then.steps += 1;
        then.content.remove(1);
        (then.steps == 1).then_some(then)
    }

    /// The first `count` go; what is left of the claim is then as it was before it.
    fn release(self, mut then: Stage, count: usize) -> Option<Stage> {
        then.steps += 1;
        let content = &mut then.content;
        match then.steps {
            1 => content.remove(count),
            2 if count == self.claimed && content.times < 2 => {}
            2 if content.times > 1 => content.times -= 1,
            2 => {
                content.handed = 0;
                content.settle();
            }
            3 if content.held > 0 => content.held = 0,
            _ => return None,
        }
        Some(then)
    }

    /// The ways in which the operation may end that was stopped at `stage` of `stages`, when others have meanwhile made
    /// `now` of what was in the ring: its answer, and what there is then.
    pub fn ends(self, stages: &[Stage], stage: usize, now: &Content) -> Vec<(u64, Stage)> {
        let resumed = Stage { content: now.clone(), ..stages[stage].clone() };
        let end = self.stages(resumed.clone()).pop().expect("one at least");
        let mut ends = vec![(self.answer(&end), end)];
        // It may have seen already what there was for it to do.
        let last = &stages[stages.len() - 1];
        let waits = self.op.waits() && self.kind != Kind::Failing;
        if waits && !self.is_complete(last) {
            return ends;
        }
        let (pushed, taken) =
            (last.pushed - resumed.pushed, last.taken.len() - resumed.taken.len());
        let mut then = Stage { has_role: last.has_role, ..resumed };
        if pushed > 0 && !now.closed && self.kind != Kind::Overwriting {
            let numbers = then.pushed..last.pushed;
            then.content.items.extend(numbers.map(|index| NEW + index as u64));
            then.pushed = last.pushed;
            ends.push((self.answer(&then), then));
        } else if taken > 0 && self.role == Some(Role::Consumer) && self.kind != Kind::Overwriting {
            let claims = matches!(self.op, Op::TryClaim | Op::Claim);
            let count = if claims { then.content.hand_out(taken) } else { taken };
            then.taken.extend(&then.content.items[..count]);
            if !claims {
                then.content.remove(count);
            }
            ends.push((self.answer(&then), then));
        } else if pushed == 0 && taken == 0 {
            ends.push((self.answer(last), then));
        }
        ends.dedup();
        ends
    }

    /// Whether it has done what it waits for.
    fn is_complete(self, end: &Stage) -> bool {
        match self.op {
            Op::Reserve => self.answer(end) != NOTHING,
            _ if self.pushes() > 0 => end.pushed == self.pushes() || end.content.closed,
            _ => !end.taken.is_empty() || end.content.closed,
        }
    }

    fn answer(self, end: &Stage) -> u64 {
        let nothing = if end.content.closed { CLOSED } else { NOTHING };
        match self.op {
            Op::TryPushMany | Op::PushMany if end.pushed > 0 => counted(end.pushed as u64),
            Op::TryReserve | Op::Reserve => {
                let room = self.capacity.saturating_sub(end.content.items.len());
                let needed = if self.framed { 1 } else { BATCH };
                let fits = room >= needed || self.kind == Kind::Overwriting;
                if fits && (self.knows || !end.content.closed) { DONE } else { nothing }
            }
            _ if self.pushes() > 0 => {
                if end.pushed == self.pushes() {
                    DONE
                } else {
                    nothing
                }
            }
            Op::TryClaim | Op::Claim | Op::Read => several_or(&end.taken, nothing),
            _ if self.op.pops() > 0 => several_or(&end.taken, nothing),
            _ => DONE,
        }
    }
}

fn several_or(taken: &[u64], nothing: u64) -> u64 {
    if taken.is_empty() { nothing } else { several(taken) }
}
