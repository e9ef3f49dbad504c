//! What can be asked of a queue, and what it may answer: plain values, for they lie in memory that processes share.

use std::fmt;

/// Items of one call, at most.
pub const MANY: usize = 3;

/// How long a call waits for what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    Not,
    /// Some microseconds.
    Short,
    Ever,
}

/// A call. Items are numbers, each pushed once in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Push(Wait, u64),
    /// Reserves, writes and commits.
    PushInPlace(Wait, u64),
    /// The items from the first number on, so many.
    PushMany(Wait, u64, usize),
    Pop(Wait),
    PopMany(Wait, usize),
    Claim(Wait),
    /// Up to so many, as far as they lie one behind the other.
    ClaimMany(Wait, usize),
    /// Of what was claimed before, if anything was.
    Release,
    GiveBack,
    /// Releases so many of what was claimed, if there are so many.
    ReleaseFirst(usize),
    /// Drops the handles that push and pop: roles that they had are free.
    Leave,
    Len,
    IsEmpty,
    IsFull,
    IsClosed,
    Close,
    /// Repairs what the dead left.
    Recover,
}

impl Call {
    pub fn pushes(self) -> bool {
        matches!(self, Self::Push(..) | Self::PushInPlace(..) | Self::PushMany(..))
    }

    pub fn pops(self) -> bool {
        let claims = matches!(self, Self::Claim(_) | Self::ClaimMany(..));
        claims || matches!(self, Self::Pop(_) | Self::PopMany(..))
    }

    /// Ends what another call of the same process began.
    pub fn ends_claim(self) -> bool {
        matches!(self, Self::Release | Self::ReleaseFirst(_) | Self::GiveBack)
    }

    /// Whether it may wait until somebody pushes, or pops.
    pub fn waits_for_an_item(self) -> bool {
        matches!(
            self,
            Self::Pop(Wait::Ever)
                | Self::PopMany(Wait::Ever, _)
                | Self::Claim(Wait::Ever)
                | Self::ClaimMany(Wait::Ever, _)
        )
    }

    pub fn waits_for_room(self) -> bool {
        matches!(
            self,
            Self::Push(Wait::Ever, _)
                | Self::PushInPlace(Wait::Ever, _)
                | Self::PushMany(Wait::Ever, ..)
        )
    }
}

/// Why a call did not do (all of) what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum No {
    Full,
    Empty,
    TimedOut,
    Closed,
    /// Somebody else has the role.
    Busy,
}

/// Some items.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Items {
    count: usize,
    values: [u64; MANY],
}

impl Items {
    pub fn of(items: &[u64]) -> Self {
        let mut values = [0; MANY];
        values[..items.len()].copy_from_slice(items);
        Self { count: items.len(), values }
    }

    pub fn all(&self) -> &[u64] {
        &self.values[..self.count]
    }
}

impl fmt::Debug for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.all().fmt(f)
    }
}

/// What a call returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Done,
    /// So many items of several were pushed; why no more, where the call says so.
    Pushed(usize, Option<No>),
    Popped(Items),
    /// An item, and how often it has been delivered with this time.
    Claimed(u64, u32),
    /// Some items, and how often they have been handed out with this time.
    Handed(Items, u32),
    /// Nothing was done.
    No(No),
    Count(usize),
    Is(bool),
}
