//! The steps of the machine of queues, and how they are made up.

use super::model::How;
use super::spec::{Spec, Type};
use mpshm::{Delivery, WhenFull};
use proptest::prelude::*;

/// Which of those that there are, whatever their number.
pub type Pick = u8;

/// How a life ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    Kill,
    Retire,
}

/// How the others learn of it.
#[derive(Clone, Copy, Debug)]
pub enum Learn {
    /// The segment is swept at once.
    Sweep,
    /// Whoever finds nothing next repairs.
    Later,
}

/// What is done; first which worker, or whose handle, reservation or claim.
#[derive(Clone, Debug)]
pub enum Step {
    Create(Pick, Pick, Spec),
    OpenOrCreate(Pick, Pick, Spec),
    Open(Pick, Pick, Type),
    /// As what it is.
    OpenRight(Pick, Pick),
    Remove(Pick, Pick),
    List(Pick),
    Clone(Pick),
    Producer(Pick),
    Consumer(Pick),
    Drop(Pick),
    Push(Pick, How),
    PushMany(Pick, How, usize),
    /// Of the longest message, or of the next one.
    Reserve(Pick, How, bool),
    /// Of more than was reserved, or of what was written.
    Commit(Pick, bool),
    Abort(Pick),
    Pop(Pick, How),
    PopMany(Pick, How, usize),
    PopInto(Pick, usize),
    Claim(Pick, How),
    Release(Pick),
    GiveBack(Pick),
    TaskDone(Pick),
    Join(Pick, How),
    Close(Pick),
    /// Of a value: adds one to it.
    Look(Pick),
    Recover(Pick),
    Sweep,
    End(Pick, End, Learn),
    /// All who have producers' ends of a queue are killed.
    KillProducers(Pick, Learn),
}

fn how() -> impl Strategy<Value = How> + Clone {
    prop_oneof![4 => Just(How::Try), 1 => Just(How::Timed), 3 => Just(How::Ever)]
}

fn spec() -> impl Strategy<Value = Spec> + Clone {
    let of =
        prop_oneof![3 => Just(Type::Numbers), 4 => Just(Type::Messages), 1 => Just(Type::Value)];
    let full = prop_oneof![
        3 => Just(WhenFull::Wait), 1 => Just(WhenFull::Fail), 2 => Just(WhenFull::Overwrite)
    ];
    let delivery = prop_oneof![
        2 => Just(None),
        1 => Just(Some(Delivery::AtMostOnce)),
        1 => Just(Some(Delivery::AtLeastOnce))
    ];
    let producers = prop_oneof![2 => Just(0u32), 2 => Just(1u32), 1 => Just(2u32)];
    let longest = prop_oneof![3 => Just(68usize), 1 => Just(40usize)];
    let flags = (prop::bool::weighted(0.3), prop::bool::weighted(0.3));
    (of, 1..=4u64, full, delivery, flags, producers, longest).prop_map(
        |(of, capacity, full, delivery, (joinable, tight), producers, message_max)| {
            Spec { of, capacity, full, delivery, joinable, producers, message_max, tight }
                .possible()
        },
    )
}

/// One step. At the beginning most find nothing to do; so they come after a queue that is made and opened by all.
pub fn step() -> BoxedStrategy<Step> {
    let one = any::<Pick>;
    let made = || (any::<Pick>(), any::<Pick>(), spec());
    let asked = || (any::<Pick>(), how());
    let many = || (any::<Pick>(), how(), 2..=4usize);
    let ends = prop_oneof![3 => Just(End::Kill), 1 => Just(End::Retire)];
    let learns = || prop_oneof![Just(Learn::Sweep), Just(Learn::Later)];
    let of = prop_oneof![Just(Type::Numbers), Just(Type::Messages), Just(Type::Value)];
    prop_oneof![
        4 => made().prop_map(|(w, name, spec)| Step::Create(w, name, spec)),
        2 => made().prop_map(|(w, name, spec)| Step::OpenOrCreate(w, name, spec)),
        1 => (one(), one(), of).prop_map(|(w, name, of)| Step::Open(w, name, of)),
        14 => (one(), one()).prop_map(|(w, name)| Step::OpenRight(w, name)),
        5 => (one(), one()).prop_map(|(w, name)| Step::Remove(w, name)),
        1 => one().prop_map(Step::List),
        3 => one().prop_map(Step::Clone),
        10 => one().prop_map(Step::Producer),
        4 => one().prop_map(Step::Consumer),
        8 => one().prop_map(Step::Drop),
        26 => asked().prop_map(|(h, how)| Step::Push(h, how)),
        10 => many().prop_map(|(h, how, count)| Step::PushMany(h, how, count)),
        12 => (asked(), any::<bool>()).prop_map(|((h, how), all)| Step::Reserve(h, how, all)),
        12 => (one(), prop::bool::weighted(0.1)).prop_map(|(r, long)| Step::Commit(r, long)),
        2 => one().prop_map(Step::Abort),
        18 => asked().prop_map(|(h, how)| Step::Pop(h, how)),
        9 => many().prop_map(|(h, how, most)| Step::PopMany(h, how, most)),
        3 => (one(), 8..70usize).prop_map(|(h, room)| Step::PopInto(h, room)),
        14 => asked().prop_map(|(h, how)| Step::Claim(h, how)),
        5 => one().prop_map(Step::Release),
        8 => one().prop_map(Step::GiveBack),
        10 => one().prop_map(Step::TaskDone),
        5 => asked().prop_map(|(h, how)| Step::Join(h, how)),
        1 => one().prop_map(Step::Close),
        12 => one().prop_map(Step::Look),
        2 => one().prop_map(Step::Recover),
        2 => Just(Step::Sweep),
        10 => (one(), ends, learns()).prop_map(|(w, end, learn)| Step::End(w, end, learn)),
        3 => (one(), learns()).prop_map(|(h, learn)| Step::KillProducers(h, learn)),
    ]
    .boxed()
}

/// A queue that is there from the beginning.
pub fn first() -> BoxedStrategy<Spec> {
    spec()
        .prop_map(
            |spec| if spec.of == Type::Value { Spec { of: Type::Messages, ..spec } } else { spec },
        )
        .boxed()
}
