//! Planted bugs: wrong operations on the real objects, each of which the lab must catch.
//!
//! What is wrong with them is what a careless queue, lock or directory would do. They are done instead of the operation
//! that the scenario is about, and held against the same checks, at every seventh point. A plant passes
//! when the check that is named beside it has failed.

use super::barriers::{self, Met};
use super::conditions::{self, Waited};
use super::ends::{self, Followed};
use super::forms::{Blocks, Form, Wait, maybe};
use super::lab::{Check, Lab, Mode, Options, Scenario, Sweep, Thin};
use super::latest::{self, Newest};
use super::locks::{self, Locked, State};
use super::model::{CAPACITY, DONE, Kind, NEW, NOTHING, Op};
use super::objects::{self, Directed};
use super::queues::{Queued, World};
use super::rwlocks::{self, Guarded};
use super::segments::{Named, NamedOp};
use mpshm::{LockError, Value};
use std::time::Duration;

const SOME: usize = CAPACITY / 2;

fn push(world: &World<Blocks>) -> u64 {
    put(world, NEW)
}

fn put(world: &World<Blocks>, number: u64) -> u64 {
    maybe(Blocks::push(&world.queue, number, Wait::No)).unwrap().map_or(NOTHING, |()| DONE)
}

fn take(world: &World<Blocks>) -> Option<u64> {
    maybe(Blocks::take(&world.queue, Wait::No)).unwrap().map(|one| one.0)
}

/// Long enough for a sample to hit.
pub fn dawdle() {
    for _ in 0..std::hint::black_box(10) {
        std::hint::spin_loop();
    }
}

/// Takes everything out and puts it back before its own item: a death in between loses what was committed.
fn holds_all_in_hand(world: &mut World<Blocks>) -> u64 {
    let taken: Vec<u64> = std::iter::from_fn(|| take(world)).collect();
    for number in taken {
        put(world, number);
    }
    push(world)
}

/// The item that is first when the child begins with a part full queue.
const SECOND: u64 = 2;

/// Puts a copy back before it ends its claim.
fn copies_before_release(world: &mut World<Blocks>) -> u64 {
    let claim = world.queue.try_claim().unwrap();
    put(world, SECOND);
    claim.release();
    SECOND
}

/// Moves the oldest item behind the others.
fn rotates(world: &mut World<Blocks>) -> u64 {
    let number = take(world).unwrap();
    put(world, number);
    push(world)
}

/// Publishes the message before it writes it.
fn publishes_first(world: &mut World<Blocks>) -> u64 {
    let bytes = Blocks::message(NEW);
    let mut reservation = world.queue.try_reserve(bytes.len()).unwrap();
    let at = reservation.as_mut_ptr();
    reservation.commit(bytes.len()).unwrap();
    // SAFETY: a payload with room for so many bytes; that it is nobody's any more is the bug.
    unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    DONE
}

/// Marks the block that it claimed as the filler's, who lives and knows nothing of it.
fn names_another_owner(world: &mut World<Blocks>) -> u64 {
    let claim = world.queue.try_claim().unwrap();
    let payload = world.view.find(&claim.to_vec()).unwrap();
    let (head, owner) = (16, 0x3ff << 2);
    world.view.plant_word(payload - head, |word| word & !owner);
    std::mem::forget(claim);
    SECOND
}

/// Leaves an idle child behind, which keeps the lock that proves it alive for a while.
fn lives_on_in_a_child(world: &mut World<Blocks>) -> u64 {
    std::mem::forget(world.queue.try_claim().unwrap());
    // SAFETY: the child sleeps, and ends.
    unsafe {
        if libc::fork() == 0 {
            libc::usleep(150_000);
            libc::_exit(0);
        }
    }
    SECOND
}

/// Makes its effect twice.
fn wavers(world: &mut World<Blocks>) -> u64 {
    push(world);
    assert_eq!(take(world), Some(NEW));
    push(world)
}

/// Closes a slot that is not the tail's.
fn closes_ahead(world: &mut World<Blocks>) -> u64 {
    let word = |index: u64| (index << 2).to_ne_bytes(); // what an unused slot holds
    let last: Vec<u8> = (1..CAPACITY as u64).flat_map(word).collect();
    let Some(slots) = world.view.find(&last) else { return NOTHING }; // others have used them
    world.view.plant_word(slots + 8 * (CAPACITY - 2), |word| word | 2);
    NOTHING
}

fn closes(world: &mut World<Blocks>) -> u64 {
    push(world);
    Blocks::close(&world.queue).unwrap();
    DONE
}

/// Pushes its second item first.
fn pushes_backwards(world: &mut World<Blocks>) -> u64 {
    for number in [NEW + 1, NEW, NEW + 2] {
        put(world, number);
    }
    super::model::counted(3)
}

/// Is done with the item that it pops, though nobody has said so.
fn forgets_what_it_popped(world: &mut World<Blocks>) -> u64 {
    take(world).unwrap()
}

/// Throws the oldest item away before the new one is in.
fn replaces_too_early(world: &mut World<Blocks>) -> u64 {
    take(world).unwrap();
    push(world)
}

/// Sleeps with the oldest item in its hand.
fn sleeps_with_an_item(world: &mut World<Blocks>) -> u64 {
    let number = take(world).unwrap();
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(200)); // long enough to be seen asleep on a busy machine
    }
    put(world, number)
}

/// Unlocks before the second word is written.
fn unlocks_early(world: &mut locks::World) -> u64 {
    let mut guard = world.mutex.lock().unwrap();
    let [first, second] = guard.get();
    guard.set([first + 1, second]);
    let data = guard.as_ptr().cast::<u64>();
    drop(guard);
    dawdle();
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

/// Lets readers in before the second word is written.
fn lets_readers_in_early(world: &mut rwlocks::World) -> u64 {
    let mut guard = world.lock.write().unwrap();
    let [first, second] = guard.get();
    guard.set([first + 1, second]);
    let data = guard.as_ptr().cast::<u64>();
    drop(guard);
    dawdle();
    // SAFETY: the second word of the lock's data; that the lock is not held is the bug.
    unsafe { data.add(1).write_volatile(second + 1) };
    1
}

/// Changes what is waited for, and notifies nobody.
fn changes_in_silence(world: &mut conditions::World) -> u64 {
    let mut guard = world.lock.lock().unwrap();
    guard.set(1);
    dawdle();
    conditions::DONE
}

/// Lets the other one go, and breaks the barrier behind it.
fn breaks_what_has_passed(world: &mut barriers::World) -> u64 {
    world.barrier.wait().unwrap();
    world.barrier.abort();
    barriers::PASSED
}

/// Leaves, and says that everybody has.
fn ends_the_stream(world: &mut ends::World<Blocks>) -> u64 {
    Blocks::close(&world.queue).unwrap();
    DONE
}

/// Makes the object visible before it holds anything.
fn shows_it_empty(world: &objects::World) -> u64 {
    let value = Value::create(world.segment.at("x"), 0_u64).unwrap();
    value.store(objects::MINE);
    std::mem::forget(value);
    DONE
}

/// Frees the entry of what it removes, whoever has it open.
fn frees_too_early(world: &objects::World) -> u64 {
    let name = world.view.find(b"x\0\0\0\0\0\0\0").unwrap();
    world.segment.remove("x").unwrap();
    let (word, state) = (64, 7); // so far before the name; its lowest bits, of which none is FREE
    world.view.plant_word(name - word, |word| word & !state);
    DONE
}

/// Makes the file under its name, and then what is in it.
fn names_it_first(name: &str) -> u64 {
    let path = format!("/dev/shm/mpshm.{name}");
    std::fs::File::create(&path).unwrap().set_len(8192).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::mem::forget(mpshm::Queue::<u64>::create(name, &super::segments::options()).unwrap());
    DONE
}

/// Makes the file under another name first.
fn leaves_a_file(name: &str) -> u64 {
    let path = format!("/dev/shm/mpshm.{name}.tmp");
    std::fs::File::create(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::mem::forget(mpshm::Queue::<u64>::create(name, &super::segments::options()).unwrap());
    DONE
}

/// Runs every plant and counts each as a test.
pub fn run(lab: &Lab) {
    if !lab.options.wants("plant") {
        return;
    }
    let sample = lab.with(Options { thin: Thin::Every(7), ..Options::default() });
    let test = |name: &str, mode: Mode, check: Check, result| {
        lab.test(&format!("plant: {name} ({mode:?}): {check}"), result);
    };
    use Check::{
        Audit, Blocked, Content, Cycle, Doubled, Late, Lost, Order, Outcome, Residue, Stage,
    };
    use Mode::{Kill, Stop};
    let plain = |op, items, plant| Queued::<Blocks>::planted(op, items, plant);
    let of = |op, kind, items, plant| Queued::<Blocks> {
        plant: Some(plant),
        ..Queued::of(op, kind, items)
    };
    let push = Op::TryPush;
    for (name, scenario, mode, check) in [
        ("all items in its hand", plain(push, SOME, holds_all_in_hand), Kill, Lost),
        ("a copy put back", plain(Op::TryPop, SOME, copies_before_release), Kill, Doubled),
        ("the oldest item moved", plain(push, SOME, rotates), Kill, Order),
        ("published before written", plain(push, SOME, publishes_first), Kill, Content),
        ("a claim under another's name", plain(Op::TryPop, SOME, names_another_owner), Kill, Audit),
        ("an idle child left", plain(Op::TryClaim, SOME, lives_on_in_a_child), Kill, Late),
        ("a slot closed ahead", plain(Op::TryPop, 0, closes_ahead), Kill, Cycle),
        ("a push that wavers", plain(push, 0, wavers), Kill, Stage),
        ("a push that closes", plain(push, SOME, closes), Kill, Outcome),
        ("a slot closed ahead", plain(Op::TryPop, 0, closes_ahead), Stop, Blocked),
        ("published before written", plain(push, SOME, publishes_first), Stop, Content),
        ("the second of a batch first", plain(Op::TryPushMany, 0, pushes_backwards), Kill, Order),
        (
            "forgotten before it is done",
            of(Op::TryPop, Kind::Joinable, SOME, forgets_what_it_popped),
            Kill,
            Lost,
        ),
        (
            "replaced before the new one is in",
            of(push, Kind::Overwriting, CAPACITY, replaces_too_early),
            Kill,
            Lost,
        ),
    ] {
        test(name, mode, check, caught(&sample, &scenario, mode, check));
    }
    let asleep = plain(Op::Push, CAPACITY, sleeps_with_an_item);
    test("asleep with an item", Kill, Lost, caught_asleep(&sample, &asleep, Lost));
    let locked = |state, plant| Locked::planted(locks::Op::Add, state, plant);
    for (name, scenario, check) in [
        ("an unlock before the last write", locked(State::Free, unlocks_early), Content),
        ("an oath before the look", locked(State::Dead, swears_first), Lost),
    ] {
        test(name, Kill, check, caught(&sample, &scenario, Kill, check));
    }
    for (name, op, mode, plant) in [
        (
            "a value written where it is read",
            latest::Op::Store,
            Kill,
            writes_in_place as LatestPlant,
        ),
        ("a value read when it is let go", latest::Op::Load, Stop, reads_what_it_let_go),
    ] {
        let scenario = Newest::planted(op, plant);
        test(name, mode, Content, caught(&sample, &scenario, mode, Content));
    }
    let early = Guarded {
        plant: Some(lets_readers_in_early),
        ..Guarded::new(rwlocks::Op::Write, rwlocks::State::Free)
    };
    test("readers let in early", Kill, Content, caught(&sample, &early, Kill, Content));
    let silent = Waited { plant: Some(changes_in_silence), ..Waited::new(conditions::Op::Notify) };
    test("nobody is notified", Stop, Late, caught(&sample, &silent, Stop, Late));
    let broken = Met { plant: Some(breaks_what_has_passed), ..Met::new(barriers::Op::Last) };
    test("broken behind its pass", Kill, Outcome, caught(&sample, &broken, Kill, Outcome));
    let mut leaves = Followed::<Blocks>::new(ends::Op::Leave, ends::Other::Stays);
    leaves.plant = Some(ends_the_stream);
    test("the stream ended", Kill, Outcome, caught(&sample, &leaves, Kill, Outcome));
    let object = |op, state, plant| Directed::<Value<u64>> {
        plant: Some(plant),
        ..Directed::new(op, state)
    };
    use objects::{Op as Change, State as Found};
    let shown = object(Change::Create, Found::Empty, shows_it_empty);
    test("shown before it is filled", Kill, Content, caught(&sample, &shown, Kill, Content));
    let freed = object(Change::Remove, Found::InUse, frees_too_early);
    test("freed while in use", Kill, Audit, caught(&sample, &freed, Kill, Audit));
    let named = |plant| Named { plant: Some(plant), ..Named::new(NamedOp::Create, false) };
    for (name, plant, check) in [
        ("named before it is made", named(names_it_first), Content),
        ("a file under another name", named(leaves_a_file), Residue),
    ] {
        test(name, Kill, check, caught_in_calls(lab, &plant, check));
    }
}

type LatestPlant = fn(&mut latest::World) -> u64;

/// Writes the new value over the newest one.
fn writes_in_place(world: &mut latest::World) -> u64 {
    let mut reader = world.latest.reader().expect("a pin");
    let at = reader.claim().expect("a value").as_ptr().cast_mut().cast::<u64>();
    for index in 0..32 {
        // SAFETY: a word of the value; that others read it is the bug.
        unsafe { at.add(index).write_volatile(6) };
    }
    2
}

/// Lets go of the newest value, and then reads it.
fn reads_what_it_let_go(world: &mut latest::World) -> u64 {
    let reader = world.reader.as_mut().expect("its own");
    let at = reader.claim().expect("a value").as_ptr().cast::<u64>();
    dawdle();
    let mut data = [0; 32];
    for (index, word) in data.iter_mut().enumerate() {
        // SAFETY: a word of the value; that it is written by now is the bug.
        *word = unsafe { at.add(index).read_volatile() };
    }
    data[0] * u64::from(latest::number(&data).is_ok())
}

/// Whether the check failed, and the operation was not simply refused from its first instruction on.
pub fn caught<S: Scenario>(
    lab: &Lab,
    scenario: &S,
    mode: Mode,
    check: Check,
) -> Result<(), String> {
    let lab = until(lab, check);
    let route = lab.route(scenario).map_err(|failure| failure.to_string())?;
    let points = lab.points(scenario, &route, mode);
    let sweep = lab.sweep(scenario, &route, &points, mode);
    match sweep.failures.get(&0) {
        Some(failure) => Err(format!("it failed before its first instruction: {failure}")),
        None => found(&sweep, check),
    }
}

/// The same for what is caught asleep, and is not awake.
fn caught_asleep<S: Scenario>(lab: &Lab, scenario: &S, check: Check) -> Result<(), String> {
    let lab = until(lab, check);
    let moments = lab.around_sleeps(scenario).map_err(|failure| failure.to_string())?;
    let sweep = lab.sweep_calls(scenario, &moments, Mode::Kill, false);
    found(&sweep, check)
}

/// The same between system calls.
fn caught_in_calls<S: Scenario>(lab: &Lab, scenario: &S, check: Check) -> Result<(), String> {
    let all = until(&lab.with(Options::default()), check);
    let moments = all.around_calls(scenario).map_err(|failure| failure.to_string())?;
    found(&all.sweep_calls(scenario, &moments, Mode::Kill, false), check)
}

/// The same lab, which goes no further once the check has failed.
fn until(lab: &Lab, check: Check) -> Lab {
    lab.with(Options { until: Some(check), ..lab.options.clone() })
}

fn found(sweep: &Sweep, check: Check) -> Result<(), String> {
    let found = sweep.checks();
    if found.contains(&check) {
        Ok(())
    } else {
        Err(format!("{found:?} failed: {:?}", sweep.failures))
    }
}
