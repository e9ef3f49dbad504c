//! What processes are told to do: calls at random, and where they are interrupted.

use super::call::{Call, MANY, Wait};
use super::disturb::Fate;
use super::probe::Random;
use super::record::Planned;

/// Numbers that were not pushed before.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn some(&mut self, count: usize) -> u64 {
        self.0 += count as u64;
        self.0 - count as u64
    }
}

/// Which calls a process makes.
#[derive(Clone, Copy, Debug)]
pub struct Menu {
    pub pushes: bool,
    pub pops: bool,
    pub looks: bool,
    /// Calls that wait, and such of several items.
    pub waits: bool,
    /// Items can be written and read in place; a ring's can always be written so.
    pub in_place: bool,
    /// Somebody may close.
    pub closes: bool,
    /// A ring's: what is claimed is several items and has to be put down before the next call of its end, and the
    /// roles are left in the end, and sometimes before.
    pub roles: bool,
}

impl Menu {
    fn push(self, random: &mut Random, numbers: &mut Numbers) -> Call {
        let wait = self.wait(random);
        match random.below(if self.waits { 10 } else { 6 }) {
            7 if self.in_place || self.roles => Call::PushInPlace(wait, numbers.some(1)),
            8.. => {
                let count = 2 + random.below(MANY as u64 - 1) as usize;
                Call::PushMany(wait, numbers.some(count), count)
            }
            _ => Call::Push(wait, numbers.some(1)),
        }
    }

    fn pop(self, random: &mut Random) -> Call {
        let wait = self.wait(random);
        match random.below(if self.waits { 10 } else { 5 }) {
            5..=7 if self.in_place && self.roles => {
                Call::ClaimMany(wait, 1 + random.below(MANY as u64) as usize)
            }
            5..=7 if self.in_place => Call::Claim(wait),
            8.. => Call::PopMany(wait, 2 + random.below(MANY as u64 - 1) as usize),
            _ => Call::Pop(wait),
        }
    }

    fn look(self, random: &mut Random) -> Call {
        match random.below(7) {
            0 | 1 => Call::IsEmpty,
            2 => Call::IsFull,
            3 if self.waits => Call::IsClosed,
            _ => Call::Len,
        }
    }

    fn wait(self, random: &mut Random) -> Wait {
        match random.below(if self.waits { 6 } else { 1 }) {
            0..=2 => Wait::Not,
            3 => Wait::Short,
            _ => Wait::Ever,
        }
    }

    fn call(self, random: &mut Random, numbers: &mut Numbers) -> Call {
        match (random.below(8), self.pushes, self.pops) {
            (0 | 1, ..) if self.looks => self.look(random),
            (_, false, false) => self.look(random),
            (..=4, true, _) | (_, true, false) => self.push(random, numbers),
            _ => self.pop(random),
        }
    }

    /// So many calls of one process. What it claims, it releases or gives back in the end.
    pub fn plan(self, length: usize, random: &mut Random, numbers: &mut Numbers) -> Vec<Planned> {
        let mut calls = Vec::new();
        let mut holds = false;
        while calls.len() < length || holds {
            let ends_claim = holds && (random.below(3) == 0 || calls.len() >= length);
            let call = match (ends_claim, self.call(random, numbers)) {
                (true, _) => self.end_of_claim(random),
                (false, Call::Claim(_)) if holds => continue,
                (false, call) if holds && self.roles && (call.pushes() || call.pops()) => {
                    self.look(random)
                }
                (false, _) if self.roles && !holds && random.below(12) == 0 => Call::Leave,
                (false, call) => call,
            };
            holds = match call {
                Call::Claim(_) | Call::ClaimMany(..) => true,
                Call::Release | Call::ReleaseFirst(_) | Call::GiveBack => false,
                _ => holds,
            };
            calls.push(call);
        }
        calls.extend(self.roles.then_some(Call::Leave));
        calls.into_iter().map(|call| planned(call, random)).collect()
    }

    fn end_of_claim(self, random: &mut Random) -> Call {
        match random.below(if self.roles { 4 } else { 2 }) {
            0 => Call::GiveBack,
            1 => Call::Release,
            _ => Call::ReleaseFirst(random.below(MANY as u64) as usize),
        }
    }
}

/// Instructions of a call, of which each may be its last for a while. A trap after each costs a microsecond.
const INSTRUCTIONS: u64 = if cfg!(debug_assertions) { 4_000 } else { 350 };

fn planned(call: Call, random: &mut Random) -> Planned {
    let yields = [0, 0, 0, 1, 2][random.below(5) as usize];
    let fate = match random.below(4) {
        0 => Fate::Yield(instruction(random), 1 + random.below(3) as u32),
        _ => Fate::None,
    };
    Planned { call, yields, fate }
}

/// The first ones more often.
fn instruction(random: &mut Random) -> u32 {
    let bound = 1 + random.below(INSTRUCTIONS);
    random.below(bound) as u32
}

/// One of the plan's calls is to be its process's last.
pub fn doom(plan: &mut [Planned], random: &mut Random) {
    let at = random.below(plan.len() as u64) as usize;
    plan[at].fate = Fate::Die(instruction(random));
}
