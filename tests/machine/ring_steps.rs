//! How rings of the machine are made, and the steps that are taken with them.

use super::forms::LONGEST;
use super::model::How;
use super::steps::{End, Pick};
use mpshm::{Delivery, RingOptions, WhenFull};
use proptest::prelude::*;

/// A ring as it is made.
#[derive(Clone, Copy, Debug)]
pub struct RingSpec {
    /// Of messages, not of numbers.
    pub messages: bool,
    /// Numbers, or bytes of messages.
    pub capacity: u64,
    pub full: WhenFull,
    pub drops: bool,
    pub follows: bool,
}

impl RingSpec {
    pub fn options(self) -> RingOptions {
        let delivery = if self.drops { Delivery::AtMostOnce } else { Delivery::AtLeastOnce };
        let options = RingOptions::new(self.capacity).when_full(self.full).delivery(delivery);
        if self.follows { options.follow_ends() } else { options }
    }
}

/// Which of the ring's ends a handle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    In,
    Out,
}

/// What is done; first which worker, or which handle, of all workers'.
#[derive(Clone, Debug)]
pub enum RingStep {
    Handle(Pick, Side),
    Drop(Pick, Side),
    Push(Pick, How),
    /// So many, as far as they fit; or all or none.
    PushMany(Pick, How, usize, bool),
    /// So many numbers; or a message of up to the next one's length and some bytes more.
    Reserve(Pick, How, usize),
    /// Of all that was reserved but so many numbers; or of a message as long as it is, if it fits.
    Commit(Pick, usize),
    /// Of more than was reserved.
    CommitBeyond(Pick),
    Abort(Pick),
    Pop(Pick, How),
    PopMany(Pick, How, usize),
    PopInto(Pick, How, usize),
    Claim(Pick, How, usize),
    Release(Pick),
    ReleaseFirst(Pick, usize),
    GiveBack(Pick),
    Close(Pick),
    Look(Pick),
    Sweep,
    End(Pick, End),
    /// Whoever has the role is killed.
    KillHolder(Side),
}

fn how() -> impl Strategy<Value = How> + Clone {
    prop_oneof![4 => Just(How::Try), 1 => Just(How::Timed), 3 => Just(How::Ever)]
}

fn side() -> impl Strategy<Value = Side> + Clone {
    prop_oneof![Just(Side::In), Just(Side::Out)]
}

pub fn ring() -> BoxedStrategy<RingSpec> {
    let full = prop_oneof![
        5 => Just(WhenFull::Wait), 2 => Just(WhenFull::Fail), 2 => Just(WhenFull::Overwrite)
    ];
    // Room for one to five numbers; for one message that is not among the longest to some of them.
    let longest = LONGEST as u64;
    let capacity = (1..=5u64, longest / 2..=longest * 3);
    (any::<bool>(), capacity, full, any::<bool>(), any::<bool>())
        .prop_map(|(messages, (numbers, bytes), full, drops, follows)| {
            let capacity = if messages { bytes } else { numbers };
            RingSpec { messages, capacity, full, drops, follows }
        })
        .boxed()
}

pub fn ring_step() -> BoxedStrategy<RingStep> {
    let one = any::<Pick>;
    let asked = || (any::<Pick>(), how());
    let many = || (any::<Pick>(), how(), 0..=6usize);
    let ends = prop_oneof![3 => Just(End::Kill), 1 => Just(End::Retire)];
    prop_oneof![
        12 => (one(), side()).prop_map(|(w, side)| RingStep::Handle(w, side)),
        4 => (one(), side()).prop_map(|(h, side)| RingStep::Drop(h, side)),
        24 => asked().prop_map(|(h, how)| RingStep::Push(h, how)),
        16 => (many(), any::<bool>())
            .prop_map(|((h, how, count), all)| RingStep::PushMany(h, how, count, all)),
        16 => many().prop_map(|(h, how, count)| RingStep::Reserve(h, how, count)),
        14 => (one(), 0..=2usize).prop_map(|(h, less)| RingStep::Commit(h, less)),
        1 => one().prop_map(RingStep::CommitBeyond),
        2 => one().prop_map(RingStep::Abort),
        14 => asked().prop_map(|(h, how)| RingStep::Pop(h, how)),
        6 => many().prop_map(|(h, how, most)| RingStep::PopMany(h, how, most)),
        3 => (asked(), 8..=LONGEST).prop_map(|((h, how), room)| RingStep::PopInto(h, how, room)),
        22 => many().prop_map(|(h, how, most)| RingStep::Claim(h, how, most)),
        6 => one().prop_map(RingStep::Release),
        8 => (one(), 0..=5usize).prop_map(|(h, count)| RingStep::ReleaseFirst(h, count)),
        8 => one().prop_map(RingStep::GiveBack),
        1 => one().prop_map(RingStep::Close),
        14 => one().prop_map(RingStep::Look),
        1 => Just(RingStep::Sweep),
        3 => (one(), ends).prop_map(|(w, end)| RingStep::End(w, end)),
        5 => side().prop_map(RingStep::KillHolder),
    ]
    .boxed()
}
