//! A ring in a trial: its handles, what the child has in its hands, and what it does.

use super::forms::{BATCH, Refused, Tried, Wait, broken};
use super::lab::Failure;
use super::lab::view::View;
use super::model::{CLOSED, DONE, NEW, NOTHING, counted, several};
use super::ring_forms::RingForm;
use super::ring_look::Ends;
use super::ring_model::{Op, Role};
use mpshm::{PushError, Ring, RingClaim, RingConsumer, RingProducer, RingReservation, Segment};
use std::time::Duration;

/// How long a sleeping operation sleeps.
const NAP: Wait = Wait::For(Duration::from_millis(1));

/// A fresh ring, and its bytes.
pub struct World<F: RingForm> {
    pub ring: Ring<F::Item>,
    pub view: View,
    pub segment: Segment,
    /// Made before anybody dies; each process uses its own copy.
    pub producer: Option<Box<RingProducer<F::Item>>>,
    pub consumer: Option<Box<RingConsumer<F::Item>>>,
    /// In the child: what it has when the operation begins, or in the end. Never dropped.
    kept: Kept<F>,
    /// In the child: what it has popped.
    got: Vec<F::Got>,
}

enum Kept<F: RingForm> {
    Nothing,
    Reserved(RingReservation<'static, F::Part>, usize),
    Claimed(RingClaim<'static, F::Part>),
}

impl<F: RingForm> World<F> {
    pub fn over(segment: Segment, ring: Ring<F::Item>) -> Self {
        let view = View::of(&segment, segment.size() as usize);
        let producer = Some(Box::new(ring.producer()));
        let consumer = Some(Box::new(ring.consumer()));
        Self { ring, view, segment, producer, consumer, kept: Kept::Nothing, got: Vec::new() }
    }

    /// The child's end, which it neither moves nor drops while something borrows from it.
    pub fn writes(&mut self) -> &'static mut RingProducer<F::Item> {
        let end = &raw mut **self.producer.as_mut().expect("an end");
        // SAFETY: boxed, and kept until the process ends, or until the operation that drops it, which has no other.
        unsafe { &mut *end }
    }

    /// The same for the other end.
    pub fn reads(&mut self) -> &'static mut RingConsumer<F::Item> {
        let end = &raw mut **self.consumer.as_mut().expect("an end");
        // SAFETY: as in `writes`.
        unsafe { &mut *end }
    }

    /// What the operation begins with.
    pub fn reserve(&mut self, op: Op) {
        let fewer = op == Op::CommitPart;
        let mut reservation = F::reserve(self.writes(), fewer, Wait::No).expect("room");
        let count = F::write(&mut reservation, NEW, fewer).expect("room for items");
        self.kept = Kept::Reserved(reservation, count);
    }

    pub fn claim(&mut self, most: usize) {
        self.kept = Kept::Claimed(F::claim(self.reads(), most, Wait::No).expect("an item"));
    }

    /// The answer, with the numbers of what was got.
    pub fn conclude(&self, answer: u64) -> Result<u64, Failure> {
        if answer != GOT {
            return Ok(answer);
        }
        let numbers = match &self.kept {
            Kept::Claimed(claim) => F::read(claim)?,
            _ => self.got.iter().map(F::number).collect::<Result<_, _>>()?,
        };
        Ok(several(&numbers))
    }

    /// Both ends as they were made before.
    pub fn ends(&mut self) -> Ends<'_, F> {
        Ends {
            ring: &self.ring,
            producer: self.producer.as_mut().expect("an end"),
            consumer: self.consumer.as_mut().expect("an end"),
        }
    }
}

/// What the operation answers when it has got items: which, is found out behind it.
const GOT: u64 = u64::MAX - 2;

/// The operation itself.
pub fn perform<F: RingForm>(
    op: Op,
    role: Option<Role>,
    claims: usize,
    world: &mut World<F>,
) -> u64 {
    const NEWS: [u64; BATCH] = [NEW, NEW + 1, NEW + 2];
    let wait = if op.waits() { Wait::Forever } else { Wait::No };
    let answer: Tried<u64> = match op {
        Op::TryPush | Op::Push => F::push(world.writes(), NEW, wait).map(|()| DONE),
        Op::PushTimeout => F::push(world.writes(), NEW, NAP).map(|()| DONE),
        Op::TryPushMany | Op::PushMany => {
            F::push_many(world.writes(), NEWS, wait).map(|count| counted(count as u64))
        }
        Op::TryPushAll | Op::PushAll => F::push_all(world.writes(), NEWS, wait).map(|()| DONE),
        Op::TryReserve | Op::Reserve => F::reserve(world.writes(), false, wait).map(|kept| {
            world.kept = Kept::Reserved(kept, 0);
            DONE
        }),
        Op::TryPop | Op::Pop => got(F::pop(world.reads(), wait).map(|one| vec![one]), world),
        Op::TryPopInto => got(F::pop_into(world.reads()).map(|one| vec![one]), world),
        Op::Read => got(F::read_bytes(world.reads()).map(|one| vec![one]), world),
        Op::PopTimeout => got(F::pop(world.reads(), NAP).map(|one| vec![one]), world),
        Op::TryPopMany | Op::PopMany => got(F::pop_many(world.reads(), BATCH, wait), world),
        Op::TryClaim | Op::Claim => F::claim(world.reads(), claims, wait).map(|claim| {
            world.kept = Kept::Claimed(claim);
            GOT
        }),
        Op::Close => {
            world.ring.close().map(|()| DONE).map_err(|error| Refused::Wrong(broken(&error)))
        }
        Op::Leave if role == Some(Role::Producer) => {
            world.producer = None;
            Ok(DONE)
        }
        Op::Leave => {
            world.consumer = None;
            Ok(DONE)
        }
        _ => end_of(op, std::mem::replace(&mut world.kept, Kept::Nothing)),
    };
    match answer {
        Ok(answer) => answer,
        Err(Refused::Nothing) => NOTHING,
        Err(Refused::Closed) => CLOSED,
        Err(other) => panic!("{other:?}"),
    }
}

fn got<F: RingForm>(tried: Tried<Vec<F::Got>>, world: &mut World<F>) -> Tried<u64> {
    world.got = tried?;
    Ok(GOT)
}

/// The end of what the child had when the operation began.
fn end_of<F: RingForm>(op: Op, kept: Kept<F>) -> Tried<u64> {
    match (op, kept) {
        (Op::Commit | Op::CommitPart, Kept::Reserved(reservation, count)) => {
            match reservation.commit(count) {
                Ok(()) => return Ok(DONE),
                Err(PushError::Closed(_)) => return Err(Refused::Closed),
                Err(other) => return Err(Refused::push("commit", other)),
            }
        }
        (Op::Abort, Kept::Reserved(reservation, _)) => drop(reservation),
        (Op::Release, Kept::Claimed(claim)) => claim.release(),
        (Op::ReleasePart, Kept::Claimed(claim)) => {
            let count = usize::from(!F::FRAMED);
            claim.release_first(count).expect("a part of what was claimed");
        }
        (Op::GiveBack, Kept::Claimed(claim)) => claim.give_back(),
        _ => unreachable!("something was kept"),
    }
    Ok(DONE)
}
