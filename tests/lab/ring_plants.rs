//! Planted bugs on rings: what a careless ring would do, done on the real one instead of the operation that the scenario
//! is about. As in `plants.rs`, a plant passes when the check that is named beside it has failed.

use super::forms::{Wait, maybe};
use super::lab::{Check, Lab, Mode, Options, Thin};
use super::model::{DONE, NEW, counted, several};
use super::plants::{caught, dawdle};
use super::ring_forms::{LargeItems, Messages, Numbers, RingForm};
use super::ring_model::{Kind, Op};
use super::ring_pairs::Closing;
use super::ring_world::World;
use super::rings::Ringed;

const EMPTY: usize = 0;
const SOME: usize = 2;
const FULL: usize = 4;

/// Where a ring's words are, from its beginning on: see `src/queue/spsc/shape.rs`.
const TAIL: usize = 128;
const HEAD: usize = 256;
const CLAIMED: usize = HEAD + 8;
const TIMES: usize = HEAD + 16;
const END: usize = 384 + 8;
const READER: usize = 512 + 8;

/// Where the ring of numbers begins.
fn ring(world: &World<Numbers>) -> usize {
    let plan = [1, 4, 8, 8, FULL as u32, 0].map(u32::to_ne_bytes).concat();
    world.view.find(&plan).expect("the plan of a ring of numbers")
}

fn put(world: &mut World<Numbers>, number: u64) -> u64 {
    Numbers::push(world.writes(), number, Wait::No).expect("room");
    DONE
}

/// Stores the tail before the message is written.
fn publishes_first(world: &mut World<Messages>) -> u64 {
    let bytes = Messages::message(NEW);
    let mut reservation = world.writes().try_reserve(bytes.len()).unwrap();
    let at = reservation.as_mut_ptr();
    reservation.commit(bytes.len()).unwrap();
    // SAFETY: so many bytes in the ring; that they are nobody's any more is the bug.
    unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    DONE
}

/// Stores the head before the item is read.
fn reads_late(world: &mut World<LargeItems>) -> u64 {
    let claim = world.reads().try_claim(1).unwrap();
    let at = claim.as_ptr().cast::<u64>();
    claim.release();
    dawdle();
    // SAFETY: a word of the ring; that it is nobody's any more is the bug.
    unsafe { at.read_volatile() }
}

/// Takes the oldest number out, and reads it where it lay afterwards: who dies in between has lost it.
fn takes_what_it_claims(world: &mut World<Numbers>) -> u64 {
    world.reads().try_claim(2).unwrap().release();
    dawdle();
    several(&[2, 1])
}

/// Claims, and takes the note of it back while it reads: what it has would come again without a mark.
fn claims_in_secret(world: &mut World<Numbers>) -> u64 {
    let words = [CLAIMED, TIMES].map(|word| ring(world) + word);
    let before = words.map(|word| world.view.word(word));
    world.reads().try_claim(2).unwrap().give_back();
    for (word, before) in words.into_iter().zip(before) {
        world.view.plant_word(word, |_| before);
    }
    dawdle();
    several(&[2, 1])
}

/// Takes over from a dead consumer, and what that had claimed for untouched.
fn forgets_the_claims_of_the_dead(world: &mut World<Numbers>) -> u64 {
    maybe(Numbers::take_consumer(world.reads())).unwrap();
    let ring = ring(world);
    let head = world.view.word(ring + HEAD);
    world.view.plant_word(ring + CLAIMED, |_| head);
    maybe(Numbers::take(world.reads(), Kind::Plain, Wait::No)).unwrap().unwrap().0
}

/// Closes without a decision, and makes one for itself later, whatever the ends have decided meanwhile.
fn decides_for_itself(world: &mut World<Numbers>) -> u64 {
    let ring = ring(world);
    let tail = world.view.word(ring + TAIL);
    world.ring.close().unwrap();
    world.view.plant_word(ring + END, |_| 0);
    dawdle();
    world.view.plant_word(ring + END, |_| tail + 1);
    DONE
}

/// Puts items that belong together in one by one.
fn pushes_one_by_one(world: &mut World<Numbers>) -> u64 {
    for number in NEW..NEW + 3 {
        put(world, number);
    }
    counted(3)
}

/// Pushes its second item first.
fn pushes_backwards(world: &mut World<Messages>) -> u64 {
    for number in [NEW + 1, NEW, NEW + 2] {
        Messages::push(world.writes(), number, Wait::No).expect("room");
    }
    counted(3)
}

/// Throws the oldest item away before the new one is in.
fn replaces_too_early(world: &mut World<Numbers>) -> u64 {
    world.ring.consumer().try_pop().unwrap();
    dawdle();
    put(world, NEW)
}

/// Frees the role of the consumer, who holds it and knows nothing of it.
fn frees_the_role(world: &mut World<Numbers>) -> u64 {
    let reader = ring(world) + READER;
    let number = Numbers::take(world.reads(), Kind::Plain, Wait::No).unwrap().0;
    world.view.plant_word(reader, |_| 0);
    dawdle();
    number
}

/// Runs each as a test.
pub fn run(lab: &Lab) {
    if !lab.options.wants("ring plant") {
        return;
    }
    let sample = lab.with(Options { thin: Thin::Every(7), ..Options::default() });
    let test = |name: &str, mode: Mode, check: Check, result| {
        lab.test(&format!("ring plant: {name} ({mode:?}): {check}"), result);
    };
    use Check::{Content, Doubled, Lost, Order, Outcome, Stage};
    use Mode::{Kill, Stop};
    let planted =
        |op, items, plant| Ringed::<Numbers> { plant: Some(plant), ..Ringed::new(op, items) };
    let heir = Ringed::<Numbers>::new(Op::TryPop, SOME).inherited().again();
    let full = Ringed::<Numbers>::of(Op::TryPush, Kind::Overwriting, FULL);
    type Plant = fn(&mut World<Numbers>) -> u64;
    let takes: Plant = takes_what_it_claims;
    for (name, scenario, mode, check) in [
        ("a claim that takes", planted(Op::TryClaim, SOME, takes), Kill, Lost),
        ("a note taken back", planted(Op::TryClaim, SOME, claims_in_secret), Kill, Stage),
        (
            "the claims of the dead forgotten",
            Ringed { plant: Some(forgets_the_claims_of_the_dead), ..heir },
            Kill,
            Doubled,
        ),
        ("one by one", planted(Op::TryPushAll, EMPTY, pushes_one_by_one), Kill, Doubled),
        (
            "replaced before the new one is in",
            Ringed { plant: Some(replaces_too_early), ..full },
            Kill,
            Lost,
        ),
        ("a role that is free", planted(Op::TryPop, SOME, frees_the_role), Kill, Outcome),
    ] {
        test(name, mode, check, caught(&sample, &scenario, mode, check));
    }
    let messages = |op, plant: fn(&mut World<Messages>) -> u64| Ringed::<Messages> {
        plant: Some(plant),
        ..Ringed::new(op, EMPTY)
    };
    for (name, scenario, mode, check) in [
        ("the tail before the message", messages(Op::TryPush, publishes_first), Kill, Content),
        ("the tail before the message", messages(Op::TryPush, publishes_first), Stop, Content),
        ("the second of a batch first", messages(Op::TryPushMany, pushes_backwards), Kill, Order),
    ] {
        test(name, mode, check, caught(&sample, &scenario, mode, check));
    }
    let late = Ringed::<LargeItems> { plant: Some(reads_late), ..Ringed::new(Op::TryPop, FULL) };
    test("the head before the item", Stop, Outcome, caught(&sample, &late, Stop, Outcome));
    let closing = Closing::planted(SOME, decides_for_itself);
    test("each decides for itself", Stop, Lost, caught(&sample, &closing, Stop, Lost));
}
