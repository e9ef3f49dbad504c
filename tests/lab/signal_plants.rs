//! Planted bugs of events and semaphores: see `plants.rs`.

use super::events::{self, Op, Signalled};
use super::lab::{Check, Lab, Mode, Options, Thin};
use super::plants::{caught, dawdle};
use super::semaphores::{self, Permitted};

/// Sets, and wavers.
fn sets_twice(world: &mut events::World) -> u64 {
    world.event.set();
    dawdle();
    world.event.clear();
    dawdle();
    world.event.set();
    events::DONE
}

/// Clears once more, what others may have set meanwhile.
fn clears_twice(world: &mut events::World) -> u64 {
    world.event.clear();
    dawdle();
    world.event.clear();
    events::DONE
}

/// Takes a permit, and wavers.
fn takes_twice(world: &mut semaphores::World) -> u64 {
    drop(world.semaphore.try_acquire().unwrap());
    dawdle();
    world.semaphore.try_acquire().unwrap().forget();
    semaphores::DONE
}

/// Takes one too many.
fn takes_two(world: &mut semaphores::World) -> u64 {
    world.semaphore.try_acquire().unwrap().forget();
    dawdle();
    world.semaphore.try_acquire().unwrap().forget();
    semaphores::DONE
}

/// Runs every plant and counts each as a test.
pub fn run(lab: &Lab) {
    if !lab.options.wants("signal plant") {
        return;
    }
    let sample = lab.with(Options { thin: Thin::Every(7), ..Options::default() });
    let planted = |op, plant| Signalled { plant: Some(plant), ..Signalled::new(op) };
    for (name, scenario, mode, check) in [
        ("a set that wavers", planted(Op::Set, sets_twice), Mode::Kill, Check::Stage),
        ("a clear too many", planted(Op::Clear, clears_twice), Mode::Stop, Check::Lost),
    ] {
        let result = caught(&sample, &scenario, mode, check);
        lab.test(&format!("plant: {name} ({mode:?}): {check}"), result);
    }
    use semaphores::Op as Take;
    let planted =
        |owned, plant| Permitted { plant: Some(plant), ..Permitted::new(Take::TryAcquire, owned) };
    for (name, scenario, mode, check) in [
        ("a permit that wavers", planted(true, takes_twice), Mode::Kill, Check::Stage),
        ("a permit too many", planted(false, takes_two), Mode::Kill, Check::Content),
        ("a permit too many", planted(true, takes_two), Mode::Stop, Check::Content),
    ] {
        let result = caught(&sample, &scenario, mode, check);
        lab.test(&format!("plant: {name} ({mode:?}): {check}"), result);
    }
}
