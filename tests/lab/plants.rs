//! Planted bugs: wrong operations on the real objects, each of which the lab must catch.
//!
//! What is wrong with them is what a careless queue or lock would do. They are done instead of the operation
//! that the scenario is about, and held against the same checks, at every seventh instruction. A plant passes
//! when the check that is named beside it has failed.

use super::lab::{Check, Lab, Mode, Options, Scenario};
use super::locks::{self, Locked, State};
use super::queues::{Blocks, CAPACITY, DONE, Form, NEW, NOTHING, Op, Queued, World, message};
use mpshm::LockError;
use std::time::Duration;

const ZERO: Duration = Duration::ZERO;
const SOME: usize = CAPACITY / 2;

/// Takes everything out and puts it back before its own item: a death in between loses what was committed.
fn holds_all_in_hand(world: &World<Blocks>) -> u64 {
    let queue = &world.queue;
    let taken: Vec<u64> =
        std::iter::from_fn(|| Blocks::pop(queue, ZERO).unwrap()).map(|one| one.0).collect();
    for number in taken {
        assert!(Blocks::push(queue, number, ZERO).unwrap());
    }
    push(world)
}

/// Puts a copy back before it ends its claim.
fn copies_before_release(world: &World<Blocks>) -> u64 {
    let claim = world.queue.try_claim().unwrap();
    assert!(Blocks::push(&world.queue, SECOND, ZERO).unwrap());
    claim.release();
    SECOND
}

/// The item that is first when the child begins with a part full queue.
const SECOND: u64 = 2;

/// Moves the oldest item behind the others.
fn rotates(world: &World<Blocks>) -> u64 {
    let (number, _) = Blocks::pop(&world.queue, ZERO).unwrap().unwrap();
    assert!(Blocks::push(&world.queue, number, ZERO).unwrap());
    push(world)
}

/// Publishes the message before it writes it.
fn publishes_first(world: &World<Blocks>) -> u64 {
    let bytes = message(NEW);
    let mut reservation = world.queue.try_reserve(bytes.len()).unwrap();
    let at = reservation.as_mut_ptr();
    reservation.commit(bytes.len()).unwrap();
    // SAFETY: a payload with room for so many bytes; that it is nobody's any more is the bug.
    unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    DONE
}

/// Marks the block that it claimed as the filler's, who lives and knows nothing of it.
fn names_another_owner(world: &World<Blocks>) -> u64 {
    let claim = world.queue.try_claim().unwrap();
    let payload = world.view.find(&claim.to_vec()).unwrap();
    let (head, owner) = (16, 0x3ff << 2);
    world.view.plant_word(payload - head, |word| word & !owner);
    std::mem::forget(claim);
    SECOND
}

/// Makes its effect twice.
fn wavers(world: &World<Blocks>) -> u64 {
    push(world);
    assert_eq!(Blocks::pop(&world.queue, ZERO).unwrap(), Some((NEW, false)));
    push(world)
}

/// Closes a slot that is not the tail's.
fn closes_ahead(world: &World<Blocks>) -> u64 {
    let word = |index: u64| (index << 2).to_ne_bytes(); // what an unused slot holds
    let last: Vec<u8> = (1..CAPACITY as u64).flat_map(word).collect();
    let Some(slots) = world.view.find(&last) else { return NOTHING }; // others have used them
    world.view.plant_word(slots + 8 * (CAPACITY - 2), |word| word | 2);
    NOTHING
}

fn closes(world: &World<Blocks>) -> u64 {
    push(world);
    Blocks::close(&world.queue).unwrap();
    DONE
}

fn push(world: &World<Blocks>) -> u64 {
    if Blocks::push(&world.queue, NEW, ZERO).unwrap() { DONE } else { NOTHING }
}

/// Unlocks before the second word is written.
fn unlocks_early(world: &mut locks::World) -> u64 {
    let mut guard = world.mutex.lock().unwrap();
    let [first, second] = guard.get();
    guard.set([first + 1, second]);
    let data = guard.as_ptr().cast::<u64>();
    drop(guard);
    // SAFETY: the second word of the mutex's data; that the lock is not held is the bug.
    unsafe { data.add(1).write_volatile(second + 1) };
    locks::DONE
}

/// Swears that the data of the dead are whole before it has looked at them.
fn swears_first(world: &mut locks::World) -> u64 {
    match world.mutex.lock() {
        Err(LockError::OwnerDead(mut guard)) => guard.mark_consistent(),
        other => panic!("{other:?}"),
    };
    let mut guard = world.mutex.lock().unwrap();
    let [first, second] = guard.get();
    guard.set([first + 1, second + 1]);
    locks::DONE
}

/// Runs every plant and counts each as a test.
pub fn run(lab: &mut Lab) {
    if !lab.options.wants("plant") {
        return;
    }
    let sample = Options { quick: true, ..Options::default() };
    let options = std::mem::replace(&mut lab.options, sample);
    use Check::{Audit, Blocked, Content, Cycle, Doubled, Lost, Order, Outcome, Stage};
    use Mode::{Kill, Stop};
    type Plant = fn(&World<Blocks>) -> u64;
    let queues: [(&str, Op, usize, Plant, Mode, Check); 10] = [
        ("a push holds all items in its hand", Op::Push, SOME, holds_all_in_hand, Kill, Lost),
        ("a pop puts a copy back", Op::Pop, SOME, copies_before_release, Kill, Doubled),
        ("a push moves the oldest item", Op::Push, SOME, rotates, Kill, Order),
        ("a push publishes before it writes", Op::Push, SOME, publishes_first, Kill, Content),
        ("a claim under another's name", Op::Pop, SOME, names_another_owner, Kill, Audit),
        ("a slot closed ahead of the tail", Op::Pop, 0, closes_ahead, Kill, Cycle),
        ("a push that wavers", Op::Push, 0, wavers, Kill, Stage),
        ("a push that closes", Op::Push, SOME, closes, Kill, Outcome),
        ("a slot closed ahead of the tail", Op::Pop, 0, closes_ahead, Stop, Blocked),
        ("a push publishes before it writes", Op::Push, SOME, publishes_first, Stop, Content),
    ];
    for (name, op, items, plant, mode, check) in queues {
        let result = caught(lab, &Queued::planted(op, items, plant), mode, check);
        lab.test(&format!("plant: {name} ({mode:?}): {check}"), result);
    }
    type LockPlant = fn(&mut locks::World) -> u64;
    let locks: [(&str, State, LockPlant, Mode, Check); 2] = [
        ("an unlock before the last write", State::Free, unlocks_early, Kill, Content),
        ("an oath before the look", State::Dead, swears_first, Kill, Lost),
    ];
    for (name, state, plant, mode, check) in locks {
        let result = caught(lab, &Locked::planted(locks::Op::Add, state, plant), mode, check);
        lab.test(&format!("plant: {name} ({mode:?}): {check}"), result);
    }
    lab.options = options;
}

/// Whether the check failed, and the operation was not simply refused from its first instruction on.
fn caught<S: Scenario>(lab: &Lab, scenario: &S, mode: Mode, check: Check) -> Result<(), String> {
    let route = lab.route(scenario).map_err(|failure| failure.to_string())?;
    let sweep = lab.sweep(scenario, &route, mode);
    let found = sweep.checks();
    if sweep.failures.contains_key(&0) {
        return Err(format!("it failed before its first instruction: {:?}", sweep.failures[&0]));
    }
    if found.contains(&check) { Ok(()) } else { Err(format!("{found:?} failed")) }
}
