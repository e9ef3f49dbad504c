//! What a `Semaphore` promises, over real processes.

use crate::common::{Test, until};
use crate::probe::{
    Count, LONG, Random, SHORT, costs_next_to_nothing, for_ever, go_on, in_child, is, join, kill,
    spawn, stop, until_asleep, without_system_calls,
};
use crate::tests;
use mpshm::{
    AcquireError, Canceller, ErrorKind, Event, Process, Segment, Semaphore, SemaphoreOptions,
};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = tests![
    a37_permits_are_counted_down_and_up,
    a38_a_release_above_the_bound_is_an_error_and_changes_nothing,
    a39_none_free_is_false_at_once_or_after_the_time_out,
    permits_are_taken_all_or_none,
    a_release_of_several_wakes_several,
    who_waits_for_many_keeps_no_wake_up_from_who_waits_for_one,
    owned_permits_are_given_back_by_their_owner_only,
    owned_permits_of_the_dead_come_back_to_the_next_comer,
    owned_permits_of_the_dead_come_back_to_a_sleeper,
    recover_frees_what_the_dead_own,
    counted_permits_of_the_dead_stay_taken,
    a_stopped_owner_keeps_its_permits_and_nobody_waits_for_it,
    an_owner_whose_idle_child_lives_on_is_dead,
    a_permit_taken_before_a_fork_is_the_parents,
    a_thousand_lives_in_four_slots: 60,
    no_permit_is_lost_whoever_is_killed: 120,
    processes_never_have_more_than_there_are: 60,
    a_million_rounds_of_two_processes: 300,
    a_million_rounds_of_two_processes_on_one_processor: 300,
    a_killed_sleeper_takes_no_permit_with_it: 60,
    cancelling_ends_a_wait,
    options_that_make_no_sense_are_refused,
    opening_by_name_finds_it_as_it_is,
    waiting_costs_next_to_nothing,
    what_does_not_wait_makes_no_system_call,
];

fn quick() -> bool {
    std::env::var_os("MPSHM_QUICK").is_some()
}

fn owned(permits: u32) -> Semaphore {
    Semaphore::with_options(&SemaphoreOptions::new(permits).owned()).unwrap()
}

fn bounded(permits: u32) -> Semaphore {
    Semaphore::with_options(&SemaphoreOptions::new(permits).bound(permits)).unwrap()
}

fn a37_permits_are_counted_down_and_up() {
    let semaphore = Semaphore::new(2).unwrap();
    for left in [1, 0] {
        semaphore.try_acquire().unwrap().forget();
        assert_eq!(semaphore.value(), left);
    }
    assert!(matches!(semaphore.try_acquire(), Err(AcquireError::Busy)));
    assert_eq!(semaphore.value(), 0);
    for free in [1, 2, 3, 4] {
        in_child(|| semaphore.release(1).unwrap());
        assert_eq!(semaphore.value(), free);
    }
    drop(semaphore.acquire().unwrap());
    assert_eq!(semaphore.value(), 4);
    assert_eq!(semaphore.bound(), u32::MAX);
}

fn a38_a_release_above_the_bound_is_an_error_and_changes_nothing() {
    let semaphore = bounded(2);
    is(semaphore.release(1), ErrorKind::Invalid, &["1 permits more", "2 are free", "at most 2"]);
    assert_eq!(semaphore.value(), 2);
    semaphore.acquire().unwrap().forget();
    is(semaphore.release(2), ErrorKind::Invalid, &["1 are free"]);
    assert_eq!(semaphore.value(), 1);
    semaphore.release(1).unwrap();
    is(semaphore.release(0), ErrorKind::Invalid, &["0 permits", "1 to 2"]);
    let most = Semaphore::new(u32::MAX).unwrap();
    is(most.release(1), ErrorKind::Invalid, &["4294967295"]);
}

fn a39_none_free_is_false_at_once_or_after_the_time_out() {
    for semaphore in [Semaphore::new(0).unwrap(), owned(1)] {
        let child = spawn(|| {
            // Leaves an owned one taken by somebody who lives.
            if semaphore.value() == 1 {
                semaphore.acquire().unwrap().forget();
                for_ever();
            }
        });
        until("none is free", LONG, || semaphore.value() == 0);
        let start = Instant::now();
        assert!(matches!(semaphore.try_acquire(), Err(AcquireError::Busy)));
        let timed = semaphore.acquire_timeout(Duration::ZERO);
        assert!(matches!(timed, Err(AcquireError::TimedOut)));
        assert!(start.elapsed() < SHORT, "{:?}", start.elapsed());
        let start = Instant::now();
        is(semaphore.acquire_timeout(SHORT), ErrorKind::TimedOut, &["deadline"]);
        assert!(start.elapsed() >= SHORT);
        let _ = child.kill();
        child.join().unwrap();
    }
}

fn permits_are_taken_all_or_none() {
    for semaphore in [bounded(5), owned(5)] {
        let three = semaphore.acquire_many(3).unwrap();
        assert_eq!((three.count(), semaphore.value()), (3, 2));
        in_child(|| {
            assert!(matches!(semaphore.try_acquire_many(3), Err(AcquireError::Busy)));
            let timed = semaphore.acquire_many_timeout(3, Duration::from_millis(5));
            assert!(matches!(timed, Err(AcquireError::TimedOut)));
            assert_eq!(semaphore.value(), 2, "nothing is left of what failed");
            drop(semaphore.try_acquire_many(2).unwrap());
        });
        let waiter = spawn(|| drop(semaphore.acquire_many(4).unwrap()));
        until_asleep(waiter.pid());
        drop(three);
        join(&waiter);
        assert_eq!(semaphore.value(), 5);
        is(semaphore.try_acquire_many(6), ErrorKind::Invalid, &["6 permits", "1 to 5"]);
        is(semaphore.acquire_many(0), ErrorKind::Invalid, &["0 permits", "1 to 5"]);
    }
}

/// Children asleep in `acquire`, which tell of a permit by ending, and give none back.
fn sleepers(semaphore: &Semaphore, count: usize) -> Vec<Process> {
    let sleepers: Vec<Process> =
        (0..count).map(|_| spawn(|| semaphore.acquire().unwrap().forget())).collect();
    sleepers.iter().for_each(|sleeper| until_asleep(sleeper.pid()));
    sleepers
}

fn a_release_of_several_wakes_several() {
    let semaphore = Semaphore::new(0).unwrap();
    let start = Instant::now();
    for _ in 0..20 {
        let sleepers = sleepers(&semaphore, 3);
        semaphore.release(3).unwrap();
        sleepers.iter().for_each(join);
    }
    // A sleeper that nobody woke would have come only after 80 ms.
    assert!(start.elapsed() < Duration::from_millis(20 * 75), "{:?}", start.elapsed());
    assert_eq!(semaphore.value(), 0);
}

fn who_waits_for_many_keeps_no_wake_up_from_who_waits_for_one() {
    let semaphore = Semaphore::new(0).unwrap();
    let many = spawn(|| semaphore.acquire_many(3).unwrap().forget());
    until_asleep(many.pid());
    let start = Instant::now();
    for _ in 0..20 {
        let sleepers = sleepers(&semaphore, 1);
        semaphore.release(1).unwrap();
        sleepers.iter().for_each(join);
    }
    assert!(start.elapsed() < Duration::from_millis(20 * 75), "{:?}", start.elapsed());
    semaphore.release(3).unwrap();
    join(&many);
}

fn owned_permits_are_given_back_by_their_owner_only() {
    let semaphore = owned(3);
    is(semaphore.release(1), ErrorKind::NotOwner, &["1 permits", "fewer"]);
    let two = semaphore.acquire_many(2).unwrap();
    in_child(|| {
        is(semaphore.release(1), ErrorKind::NotOwner, &["1 permits", "fewer"]);
        let one = semaphore.acquire().unwrap();
        is(semaphore.release(2), ErrorKind::NotOwner, &["2 permits", "fewer"]);
        assert_eq!(semaphore.value(), 0, "nothing was changed");
        drop(one);
    });
    assert_eq!(semaphore.value(), 1);
    // From another thread of the same process: it is the process that owns.
    std::thread::scope(|scope| {
        scope.spawn(move || drop(two));
    });
    assert_eq!(semaphore.value(), 3);
}

/// A child that holds `count` permits until it is killed.
fn holder(semaphore: &Semaphore, count: u32) -> Process {
    let held = Count::new();
    let holder = spawn(|| {
        semaphore.acquire_many(count).unwrap().forget();
        held.add(1);
        for_ever();
    });
    until("it holds them", LONG, || held.get() == 1);
    holder
}

fn owned_permits_of_the_dead_come_back_to_the_next_comer() {
    let semaphore = owned(4);
    let mine = semaphore.acquire().unwrap();
    for _ in 0..5 {
        let dead = holder(&semaphore, 3);
        assert!(matches!(semaphore.try_acquire(), Err(AcquireError::Busy)));
        kill(&dead);
        assert_eq!(semaphore.value(), 0, "until somebody needs them");
        let start = Instant::now();
        let all = semaphore.try_acquire_many(3).unwrap();
        assert!(start.elapsed() < Duration::from_millis(10), "{:?}", start.elapsed());
        drop(all);
        assert_eq!(semaphore.value(), 3);
    }
    drop(mine);
    assert_eq!(semaphore.value(), 4);
}

fn owned_permits_of_the_dead_come_back_to_a_sleeper() {
    let semaphore = owned(2);
    let dead = holder(&semaphore, 2);
    let sleepers = sleepers(&semaphore, 2);
    let start = Instant::now();
    kill(&dead);
    sleepers.iter().for_each(join);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

fn recover_frees_what_the_dead_own() {
    let segment = Segment::anonymous(8192).unwrap();
    let options = SemaphoreOptions::new(3).owned();
    let semaphore = Semaphore::create(segment.at("seats"), &options).unwrap();
    let dead = holder(&semaphore, 3);
    mpshm::recover(&segment).unwrap();
    assert_eq!(semaphore.value(), 0, "it lives");
    kill(&dead);
    mpshm::recover(&segment).unwrap();
    assert_eq!(semaphore.value(), 3);
    assert_eq!(segment.objects().unwrap()[0].kind, Some(mpshm::ObjectKind::Semaphore));
}

fn counted_permits_of_the_dead_stay_taken() {
    let semaphore = Semaphore::new(1).unwrap();
    kill(&holder(&semaphore, 1));
    assert!(matches!(semaphore.try_acquire(), Err(AcquireError::Busy)));
    assert!(matches!(semaphore.acquire_timeout(SHORT), Err(AcquireError::TimedOut)));
    semaphore.release(1).unwrap();
    drop(semaphore.acquire().unwrap());
}

fn a_stopped_owner_keeps_its_permits_and_nobody_waits_for_it() {
    let semaphore = owned(2);
    let owner = holder(&semaphore, 1);
    stop(&owner);
    let other = semaphore.try_acquire().unwrap();
    assert!(matches!(semaphore.try_acquire(), Err(AcquireError::Busy)));
    assert!(matches!(semaphore.acquire_timeout(SHORT), Err(AcquireError::TimedOut)));
    mpshm::recover(semaphore.segment()).unwrap();
    drop(other);
    assert_eq!(semaphore.value(), 1);
    go_on(&owner);
    kill(&owner);
    drop(semaphore.acquire_many(2).unwrap());
}

fn an_owner_whose_idle_child_lives_on_is_dead() {
    let semaphore = owned(1);
    let (held, idle) = (Count::new(), Count::new());
    let owner = spawn(|| {
        semaphore.acquire().unwrap().forget();
        // SAFETY: the child sleeps until it is killed by the test.
        let child = unsafe { libc::fork() };
        if child == 0 {
            for_ever();
        }
        idle.add(child as u64);
        held.add(1);
        for_ever();
    });
    until("it holds it", LONG, || held.get() == 1);
    kill(&owner);
    // The child has the descriptor whose lock says that the owner lives: only its identity proves the death.
    drop(semaphore.acquire_timeout(LONG).unwrap());
    // SAFETY: a child of the owner's, which comes to the test when that dies.
    unsafe { libc::kill(idle.get() as i32, libc::SIGKILL) };
    crate::common::reap_all_children();
}

fn a_permit_taken_before_a_fork_is_the_parents() {
    for semaphore in [bounded(1), owned(1)] {
        let permit = semaphore.acquire().unwrap();
        in_child(|| {
            // SAFETY: a copy, as the fork made it; this one is dropped, the parent's is the parent's.
            let copy = unsafe { std::ptr::read(&raw const permit) };
            drop(copy);
            assert!(matches!(semaphore.try_acquire(), Err(AcquireError::Busy)));
        });
        assert_eq!(semaphore.value(), 0);
        drop(permit);
        assert_eq!(semaphore.value(), 1);
    }
}

fn a_thousand_lives_in_four_slots() {
    // Each takes the slot of a dead one, whose permits are still in its name.
    let segment = Segment::options().participants(4).objects(1).anonymous(4096).unwrap();
    let options = SemaphoreOptions::new(3).owned();
    let semaphore = Semaphore::create(segment.at("seats"), &options).unwrap();
    for _ in 0..if quick() { 100 } else { 1000 } {
        let child = spawn(|| {
            semaphore.acquire_many_timeout(2, LONG).unwrap().forget();
            // SAFETY: ends this process where it is.
            unsafe { libc::_exit(0) };
        });
        join(&child);
    }
    drop(semaphore.acquire_many_timeout(3, LONG).unwrap());
    assert_eq!(semaphore.value(), 3);
}

fn no_permit_is_lost_whoever_is_killed() {
    // Four at a time take one or two of three permits and give them back, and are killed anywhere.
    let semaphore = owned(3);
    let taken = Count::new();
    let mut random = Random::new(11);
    let begin = |taken: &Count| {
        spawn(|| {
            let mut random = Random::new(std::process::id().into());
            loop {
                let count = 1 + random.below(2) as u32;
                let permit = semaphore.acquire_many(count).unwrap();
                taken.add(1);
                random.pause(5);
                drop(permit);
            }
        })
    };
    let mut children: Vec<Process> = (0..4).map(|_| begin(&taken)).collect();
    for round in 0..if quick() { 100 } else { 1000 } {
        random.pause(500);
        let victim = random.below(4) as usize;
        kill(&children[victim]);
        children[victim] = begin(&taken);
        let before = taken.get();
        until(&format!("somebody takes one after kill {round}"), LONG, || taken.get() > before);
    }
    children.iter().for_each(kill);
    let all = semaphore.acquire_many_timeout(3, LONG).unwrap();
    drop(all);
    assert_eq!(semaphore.value(), 3);
}

fn processes_never_have_more_than_there_are() {
    for (kind, semaphore) in [bounded(3), owned(3)].iter().enumerate() {
        let (inside, rounds) = (Count::new(), if quick() { 2_000 } else { 50_000 });
        let children: Vec<Process> = (0..4)
            .map(|index| {
                let inside = &inside;
                spawn(move || {
                    for _ in 0..rounds {
                        let permit = semaphore.acquire_many(1 + index % 2).unwrap();
                        let count = u64::from(permit.count());
                        let now = inside.of(0).fetch_add(count, Ordering::SeqCst) + count;
                        assert!(now <= 3, "{now} at once");
                        inside.of(0).fetch_sub(count, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        children.iter().for_each(join);
        assert_eq!(semaphore.value(), 3, "kind {kind}");
    }
}

fn rounds_of_two(rounds: u64) {
    let (ping, pong) = (Semaphore::new(0).unwrap(), bounded(1));
    pong.acquire().unwrap().forget();
    let child = spawn(|| {
        for round in 0..rounds {
            let got = ping.acquire_timeout(LONG);
            got.unwrap_or_else(|error| panic!("{error} in round {round}")).forget();
            pong.release(1).unwrap();
        }
    });
    let start = Instant::now();
    for round in 0..rounds {
        ping.release(1).unwrap();
        let got = pong.acquire_timeout(LONG);
        got.unwrap_or_else(|error| panic!("{error} in round {round}")).forget();
    }
    println!("    {:.0} ns a round", start.elapsed().as_secs_f64() * 1e9 / rounds as f64);
    join(&child);
}

fn a_million_rounds_of_two_processes() {
    rounds_of_two(if quick() { 20_000 } else { 1_000_000 });
}

fn a_million_rounds_of_two_processes_on_one_processor() {
    crate::pin::to_one_processor();
    rounds_of_two(if quick() { 20_000 } else { 1_000_000 });
}

fn a_killed_sleeper_takes_no_permit_with_it() {
    for semaphore in [Semaphore::new(0).unwrap(), owned(1)] {
        let owner = spawn(|| {
            if semaphore.bound() == 1 {
                semaphore.acquire().unwrap().forget();
            }
            for_ever();
        });
        if semaphore.bound() == 1 {
            until("it is taken", LONG, || semaphore.value() == 0);
        }
        let go = Event::new().unwrap();
        let sleepers = sleepers(&semaphore, 3);
        let killer = spawn(|| go.set());
        go.wait().unwrap();
        // Just as they are woken.
        if semaphore.bound() == 1 {
            kill(&owner)
        } else {
            semaphore.release(1).unwrap()
        }
        let (first, others) = sleepers.split_first().unwrap();
        let _ = first.kill();
        first.join().unwrap();
        // The permit is the killed one's, and lost where it was only counted, or somebody's.
        join(&killer);
        if semaphore.bound() == 1 {
            others.iter().for_each(join);
        } else {
            semaphore.release(2).unwrap();
            others.iter().for_each(join);
            kill(&owner);
        }
    }
}

fn cancelling_ends_a_wait() {
    let semaphore = Semaphore::new(0).unwrap();
    let canceller = Canceller::new();
    let other = canceller.clone();
    let thread = std::thread::spawn(move || other.cancel());
    is(canceller.run(|| semaphore.acquire()), ErrorKind::Interrupted, &["permits", "cancelled"]);
    thread.join().unwrap();
    semaphore.release(1).unwrap();
    drop(canceller.run(|| semaphore.acquire()).unwrap());
}

fn options_that_make_no_sense_are_refused() {
    let make = |options: SemaphoreOptions| Semaphore::with_options(&options);
    is(make(SemaphoreOptions::new(3).bound(2)), ErrorKind::Invalid, &["3 permits", "at most 2"]);
    is(make(SemaphoreOptions::new(0).bound(0)), ErrorKind::Invalid, &["at most 0"]);
    is(make(SemaphoreOptions::new(0).owned()), ErrorKind::Invalid, &["at most 0"]);
    is(
        make(SemaphoreOptions::new(1).bound(2).owned()),
        ErrorKind::Invalid,
        &["owned", "at most 2"],
    );
    is(make(SemaphoreOptions::new(65_537).owned()), ErrorKind::Invalid, &["65537", "65536"]);
    let most = make(SemaphoreOptions::new(65_536).owned()).unwrap();
    drop(most.acquire_many(65_536).unwrap());
    assert_eq!(most.value(), 65_536);
}

fn opening_by_name_finds_it_as_it_is() {
    let name = crate::common::unique("semaphore");
    let options = SemaphoreOptions::new(2).owned();
    let semaphore = Semaphore::create(&name, &options).unwrap();
    in_child(|| {
        let opened = Semaphore::open(&name).unwrap();
        opened.acquire().unwrap().forget();
        assert_eq!(opened.bound(), 2);
        let other = SemaphoreOptions::new(7);
        assert_eq!(Semaphore::open_or_create(&name, &other).unwrap().value(), 1);
    });
    is(Semaphore::create(&name, &options), ErrorKind::Exists, &[&name]);
    is(Event::open(&name), ErrorKind::Type, &["Semaphore", "Event"]);
    drop(semaphore.acquire_many(2).unwrap());
    Segment::unlink(&name).unwrap();
    let size = Semaphore::size_for(&options).unwrap();
    let segment = Segment::anonymous(size).unwrap();
    Semaphore::create(segment.at("fits"), &options).unwrap();
}

fn waiting_costs_next_to_nothing() {
    for semaphore in [Semaphore::new(0).unwrap(), owned(1)] {
        let owner = (semaphore.bound() == 1).then(|| holder(&semaphore, 1));
        costs_next_to_nothing("Semaphore::acquire_timeout", || {
            let timed = semaphore.acquire_timeout(Duration::from_secs(2));
            assert!(matches!(timed, Err(AcquireError::TimedOut)));
        });
        owner.iter().for_each(kill);
    }
}

fn what_does_not_wait_makes_no_system_call() {
    for semaphore in [bounded(3), owned(3)] {
        let used = || {
            for _ in 0..100 {
                drop(semaphore.acquire().unwrap());
                drop(semaphore.acquire_many(2).unwrap());
                semaphore.try_acquire().unwrap().forget();
                assert_eq!(semaphore.value(), 2);
                semaphore.release(1).unwrap();
            }
        };
        assert!(without_system_calls(used, used));
        let waits = || {
            drop(semaphore.acquire_many(3).map(|_all| semaphore.acquire_timeout(SHORT).map(drop)))
        };
        assert!(!without_system_calls(used, waits), "the check can tell");
    }
}
